//! The mistakes in `tests/mistakes/*.txt`. `tests/mistakes/README.md` says how they are written.

use std::collections::BTreeMap;
use std::path::Path;

use super::copy::SWITCH;
use super::edit::Edit;
use super::tokens::{Token, find, tokens};

/// What stands in a mistake's text for the question whether it is to be made.
const MARK: &str = "mistake!()";

/// A mistake that somebody thought of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) name: String,
    /// A sentence.
    pub(crate) what: String,
    /// The kinds of runs in which it shows.
    pub(crate) kinds: Vec<String>,
    /// The seed to begin with.
    pub(crate) from: u64,
    /// Why nobody can notice it.
    pub(crate) unseen: Option<String>,
    changes: Vec<Change>,
}

/// A piece of a file, before and after.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    file: String,
    old: String,
    new: String,
}

/// Reads all mistakes of a folder.
pub(crate) fn read(folder: &Path) -> Result<Vec<Mistake>, String> {
    let at = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(at)?;
    let mut paths: Vec<_> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(at)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    let mut mistakes = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        mistakes.extend(parse(&text).map_err(|error| format!("{}: {error}", path.display()))?);
    }
    let mut names = BTreeMap::new();
    for mistake in &mistakes {
        if names.insert(&mistake.name, ()).is_some() {
            return Err(format!("two mistakes have the name {}", mistake.name));
        }
    }
    Ok(mistakes)
}

fn parse(text: &str) -> Result<Vec<Mistake>, String> {
    let mut mistakes: Vec<Mistake> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: &str| format!("line {}: {what}: {line}", number + 1);
        if let Some(name) = line.strip_prefix("== ") {
            mistakes.push(Mistake::new(name.trim()));
            continue;
        }
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let mistake = mistakes.last_mut().ok_or_else(|| wrong("a mistake begins with `== Name`"))?;
        if let Some(rest) = line.strip_prefix(['-', '+', ' ']) {
            let change = mistake.changes.last_mut().ok_or_else(|| wrong("no `file:` before this"))?;
            for (text, not) in [(&mut change.old, "+"), (&mut change.new, "-")] {
                if !line.starts_with(not) {
                    text.push_str(rest);
                    text.push('\n');
                }
            }
        } else if let Some(kinds) = line.strip_prefix("kinds:") {
            mistake.kinds = kinds.split_whitespace().map(str::to_owned).collect();
        } else if let Some(from) = line.strip_prefix("from:") {
            mistake.from = from.trim().parse().map_err(|_| wrong("not a number"))?;
        } else if let Some(why) = line.strip_prefix("unseen:") {
            mistake.unseen = Some(why.trim().to_owned());
        } else if let Some(file) = line.strip_prefix("file:") {
            mistake.changes.push(Change { file: file.trim().to_owned(), ..Change::default() });
        } else if mistake.changes.is_empty() {
            mistake.what = format!("{} {}", mistake.what, line.trim()).trim().to_owned();
        } else {
            return Err(wrong("neither `-`, `+`, a space nor a known word begins this"));
        }
    }
    for mistake in &mistakes {
        mistake.check()?;
    }
    Ok(mistakes)
}

impl Mistake {
    fn new(name: &str) -> Mistake {
        Mistake {
            name: name.to_owned(),
            what: String::new(),
            kinds: Vec::new(),
            from: 0,
            unseen: None,
            changes: Vec::new(),
        }
    }

    fn check(&self) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{}: {what}", self.name));
        if self.what.is_empty() {
            return wrong("a sentence must say what it does wrong");
        }
        if self.kinds.is_empty() && self.unseen.is_none() {
            return wrong("`kinds:` must say in which runs it shows, or `unseen:` why it does in none");
        }
        if self.changes.is_empty() {
            return wrong("it changes nothing");
        }
        if self.changes.iter().any(|change| !change.new.contains(MARK) || change.old.contains(MARK)) {
            return wrong("each change must ask `mistake!()` in what it puts in");
        }
        Ok(())
    }

    /// The changes, by file, that make this mistake whenever `number` is chosen. `source` reads a file.
    pub(crate) fn edits(
        &self,
        number: u32,
        source: &mut impl FnMut(&str) -> Result<String, String>,
    ) -> Result<Vec<(String, Edit)>, String> {
        let edit = |change: &Change| {
            let text = source(&change.file).map_err(|error| format!("{}: {error}", self.name))?;
            let edit = change
                .edit(&text, number)
                .map_err(|error| format!("{}: {}: {error}", self.name, change.file))?;
            Ok((change.file.clone(), Edit { whose: self.name.clone(), ..edit }))
        };
        self.changes.iter().map(edit).collect()
    }
}

impl Change {
    /// The change without the words at both ends that stay as they are: what several mistakes only have around them does not clash.
    fn edit(&self, source: &str, number: u32) -> Result<Edit, String> {
        let (all, mut old, mut new) = (tokens(source), tokens(&self.old), tokens(&self.new));
        // A comma at the end of both may be missing where a bracket follows.
        if [&old, &new].iter().all(|words| words.last().is_some_and(|last| last.text == ",")) {
            old.pop();
            new.pop();
        }
        let places = find(&all, &old);
        let place = match places[..] {
            _ if old.is_empty() => return Err("no words to look for".into()),
            [place] => place,
            [] => return Err(format!("these words are not there (any more):\n{}", self.old)),
            _ => return Err(format!("these words are there {} times:\n{}", places.len(), self.old)),
        };
        let same = |(one, other): &(&Token<'_>, &Token<'_>)| one.text == other.text;
        let before = old.iter().zip(&new).take_while(same).count();
        let most = old.len().min(new.len()) - before;
        let after = old.iter().rev().zip(new.iter().rev()).take(most).take_while(same).count();
        let gone = &all[place + before..place + old.len() - after];
        let range = match (gone, before) {
            ([], 0) => all[place].at.start..all[place].at.start,
            ([], _) => all[place + before - 1].at.end..all[place + before - 1].at.end,
            ([first, .., last], _) => first.at.start..last.at.end,
            ([only], _) => only.at.clone(),
        };
        let put = match &new[before..new.len() - after] {
            [] => "",
            [first, .., last] => &self.new[first.at.start..last.at.end],
            [only] => only.text,
        };
        let own = self.file.starts_with("crates/wire/");
        let switch = format!("{}::{SWITCH}::on({number})", if own { "crate" } else { "::kavka_wire" });
        Ok(Edit { range, text: format!(" {} ", put.replace(MARK, &switch)), whose: String::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::edit::apply;
    use super::*;

    const TWO: &str = "# A comment.
== Forgets
It forgets.
kinds: Eager Consumer
from: 7
file: a.rs
- self.known.clear();
+ if !mistake!() {
+     self.known.clear();
+ }

== Never
It never
does.
unseen: Nobody looks.
file: a.rs
  fn known(&self)
- -> bool { self.a
+ -> bool { !mistake!() && self.a
  && self.b
";

    #[test]
    fn mistakes_are_read_and_written_into_a_source_that_is_laid_out_otherwise() {
        let mistakes = parse(TWO).unwrap();
        assert_eq!(
            (&*mistakes[0].kinds[1], mistakes[0].from, &*mistakes[1].what),
            ("Consumer", 7, "It never does.")
        );
        let source = "fn known(&self) -> bool {\n    self.a && self.b\n}\nself.known\n    .clear();";
        let mut edits = Vec::new();
        for (mistake, number) in mistakes.iter().zip(1..) {
            edits.extend(
                mistake.edits(number, &mut |_| Ok(source.into())).unwrap().into_iter().map(|(_, edit)| edit),
            );
        }
        let words = |text: &str| tokens(text).iter().map(|token| token.text.to_owned()).collect::<Vec<_>>();
        let wanted = "fn known(&self) -> bool { !::kavka_wire::mistakes::on(2) && self.a && self.b }
            if !::kavka_wire::mistakes::on(1) { self.known.clear(); }";
        assert_eq!(words(&apply(source, &edits).unwrap()), words(wanted));
    }

    #[test]
    fn what_is_not_there_or_there_twice_is_told_with_the_name_of_the_mistake() {
        let mistakes = parse(TWO).unwrap();
        let edits = |source: &str| mistakes[0].edits(1, &mut |_| Ok(source.into())).unwrap_err();
        assert!(
            edits("self.other.clear();").starts_with("Forgets: a.rs: these words are not there (any more)")
        );
        let twice = "self.known.clear(); self.known.clear();";
        assert!(edits(twice).starts_with("Forgets: a.rs: these words are there 2 times"));
    }

    #[test]
    fn what_is_incomplete_is_refused() {
        let without = |what: &str| parse(&TWO.replace(what, "")).unwrap_err();
        assert!(without("It forgets.\n").contains("sentence"));
        assert!(without("kinds: Eager Consumer\n").contains("kinds"));
        assert!(without("!mistake!() && ").contains("mistake!()"));
        assert!(without("== Forgets\n").contains("line 2"));
    }

    #[test]
    fn every_mistake_of_the_catalogue_can_be_made_in_the_sources_as_they_are() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mistakes = read(&root.join("tests/mistakes")).unwrap();
        assert!(mistakes.len() > 40, "only {} mistakes", mistakes.len());
        super::super::planted::changed(&root, &mistakes).unwrap();
    }
}
