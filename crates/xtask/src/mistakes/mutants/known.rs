//! `docs/MUTANTS.md`: mutants that no test notices, and why that is no gap.
//!
//! A line is ``- `file` `function` *kind* `text`: why``. It stands for all mutants of which this is true.

use std::path::Path;

use super::Mutant;

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    file: String,
    function: String,
    kind: String,
    text: String,
}

/// The list.
#[derive(Debug)]
pub(super) struct Known {
    entries: Vec<Entry>,
}

impl Known {
    pub(super) fn read(path: &Path) -> Result<Known, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Known::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn parse(text: &str) -> Result<Known, String> {
        let lines = text.lines().enumerate().filter(|(_, line)| line.starts_with("- `"));
        let entries = lines.map(|(number, line)| {
            Entry::parse(line)
                .ok_or_else(|| format!("line {}: - `file` `function` *kind* `text`: why", number + 1))
        });
        Ok(Known { entries: entries.collect::<Result<_, _>>()? })
    }

    pub(super) fn has(&self, mutant: &Mutant) -> bool {
        self.entries.iter().any(|entry| entry.is(mutant))
    }

    /// What is listed but not in the sources.
    pub(super) fn without_mutant(&self, mutants: &[Mutant]) -> Vec<String> {
        let gone = self.entries.iter().filter(|entry| !mutants.iter().any(|mutant| entry.is(mutant)));
        gone.map(|entry| format!("{}: {}: {}: `{}`", entry.file, entry.function, entry.kind, entry.text))
            .collect()
    }
}

impl Entry {
    fn parse(line: &str) -> Option<Entry> {
        let (file, rest) = line.strip_prefix("- `")?.split_once("` `")?;
        let (function, rest) = rest.split_once("` *")?;
        let (kind, rest) = rest.split_once("* `")?;
        let (text, why) = rest.split_once("`: ")?;
        let entry = [file, function, kind, text].map(str::to_owned);
        let [file, function, kind, text] = entry;
        (!why.trim().is_empty()).then_some(Entry { file, function, kind, text })
    }

    fn is(&self, mutant: &Mutant) -> bool {
        (&*self.file, &*self.function, &*self.kind, &*self.text)
            == (&*mutant.file, &*mutant.function, mutant.kind.replace('`', "").as_str(), &*mutant.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_names_a_mutant_and_says_why() {
        let known =
            Known::parse("# Title\n- `a.rs` `A::f` *< is <=* `a < b`: they are never equal.\n").unwrap();
        let mutant = |text: &str| Mutant {
            file: "a.rs".into(),
            function: "A::f".into(),
            kind: "`<` is `<=`",
            text: text.into(),
            line: 7,
            pieces: Vec::new(),
        };
        assert!(known.has(&mutant("a < b")));
        assert!(!known.has(&mutant("a < c")));
        assert_eq!(known.without_mutant(&[mutant("a < c")]), ["a.rs: A::f: < is <=: `a < b`"]);
        assert!(Known::parse("- `a.rs` `A::f` *< is <=* `a < b`:\n").is_err(), "without a reason");
    }
}
