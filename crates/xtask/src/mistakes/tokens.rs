//! Rust text as words and signs with their places, so that a piece of it is found however it is laid out.

use std::ops::Range;

/// A word, a number or one sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) at: Range<usize>,
}

/// Cuts a text up. Space is left out, and so is a comma before a closing bracket: a formatter adds and removes both.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((start, first)) = rest.next() {
        if first.is_whitespace() {
            continue;
        }
        let mut end = start + first.len_utf8();
        if is_word(first) {
            while let Some((at, _)) = rest.next_if(|(_, c)| is_word(*c)) {
                end = at + text[at..].chars().next().map_or(1, char::len_utf8);
            }
        }
        if matches!(first, ')' | ']' | '}') && tokens.last().is_some_and(|last| last.text == ",") {
            tokens.pop();
        }
        tokens.push(Token { text: &text[start..end], at: start..end });
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where the words of `wanted` stand in `all`, one after the other: the index of the first, for each place.
pub(crate) fn find(all: &[Token<'_>], wanted: &[Token<'_>]) -> Vec<usize> {
    let same = |window: &[Token<'_>]| window.iter().zip(wanted).all(|(one, other)| one.text == other.text);
    let places = all.windows(wanted.len().max(1)).enumerate();
    places.filter(|(_, window)| same(window)).map(|(place, _)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_found_however_it_is_laid_out() {
        let source = "fn f() {\n    call(\n        one,\n        two,\n    );\n    call(one);\n}";
        let all = tokens(source);
        let places = find(&all, &tokens("call(one, two)"));
        assert_eq!(places.len(), 1);
        assert_eq!(&source[all[places[0]].at.clone()], "call");
        assert_eq!(find(&all, &tokens("call(one")).len(), 2);
        assert!(find(&all, &tokens("call(o")).is_empty(), "half a word is none");
    }
}
