//! Changes to a text, all told by places in the text as it was.

use std::ops::Range;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    /// What is taken out; nothing, if the text is only put in here.
    pub(crate) range: Range<usize>,
    pub(crate) text: String,
    /// Whose change it is, for errors.
    pub(crate) whose: String,
}

/// Makes all changes. Those at the same place are made in the order given.
pub(crate) fn apply(text: &str, edits: &[Edit]) -> Result<String, String> {
    let mut edits: Vec<&Edit> = edits.iter().collect();
    edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
    let mut out = String::with_capacity(text.len() * 2);
    let mut done = 0;
    let mut last = "";
    for edit in edits {
        if edit.range.start < done {
            return Err(format!("{last} and {} change the same words", edit.whose));
        }
        out.push_str(&text[done..edit.range.start]);
        out.push_str(&edit.text);
        (done, last) = (edit.range.end, &edit.whose);
    }
    out.push_str(&text[done..]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(range: Range<usize>, text: &str) -> Edit {
        Edit { whose: format!("`{text}`"), range, text: text.into() }
    }

    #[test]
    fn changes_are_made_by_the_places_of_the_text_as_it_was() {
        let edits = [edit(6..11, "you"), edit(0..0, "> "), edit(5..5, ",")];
        assert_eq!(apply("hello world", &edits).unwrap(), "> hello, you");
    }

    #[test]
    fn changes_of_the_same_words_are_refused_by_name() {
        let error = apply("hello world", &[edit(0..7, "one"), edit(6..11, "two")]).unwrap_err();
        assert_eq!(error, "`one` and `two` change the same words");
    }
}
