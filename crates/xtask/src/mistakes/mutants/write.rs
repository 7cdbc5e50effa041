//! Files with mutants written in, and which mutant stands where.

use std::ops::Range;

use super::Mutant;
use super::find::Piece;

/// A file with its mutants.
pub(super) struct Written {
    pub(super) text: String,
    /// Where the pieces of each mutant are.
    places: Vec<(u32, Range<usize>)>,
}

/// Writes mutants, which are numbered and in the order in which they were found: who lies within another comes after it.
pub(super) fn write(source: &str, mutants: &[(u32, &Mutant)]) -> Written {
    let mut pieces: Vec<(usize, u32, &Piece)> = Vec::new();
    for (order, (number, mutant)) in mutants.iter().enumerate() {
        pieces.extend(mutant.pieces.iter().map(|piece| (order, *number, piece)));
    }
    // What ends somewhere ends before anything begins there; of those that end the inner ones first, of those that begin the outer ones.
    pieces.sort_by_key(|(order, _, piece)| {
        let order = if piece.closes && piece.range.is_empty() { usize::MAX - order } else { *order };
        (piece.range.start, !(piece.closes && piece.range.is_empty()), !piece.range.is_empty(), order)
    });
    let mut written = Written { text: String::with_capacity(source.len() * 4), places: Vec::new() };
    let mut done = 0;
    for (_, number, piece) in pieces {
        let start = piece.range.start.max(done);
        written.text.push_str(&source[done..start]);
        let from = written.text.len();
        written.text.push_str(&piece.text.replace("{n}", &number.to_string()));
        written.places.push((number, from..written.text.len()));
        done = piece.range.end.max(start);
    }
    written.text.push_str(&source[done..]);
    written
}

impl Written {
    /// Whose fault an error at this place can be: of those whose own words are in it the innermost; else of those around it the innermost.
    pub(super) fn blame(&self, at: &Range<usize>) -> Option<u32> {
        let extent = |number: u32| {
            let own = || self.places.iter().filter(|(other, _)| *other == number).map(|(_, place)| place);
            own().map(|place| place.start).min().unwrap_or(0)..own().map(|place| place.end).max().unwrap_or(0)
        };
        let touches = |place: &Range<usize>| place.start < at.end && at.start < place.end;
        let touching = self.places.iter().filter(|(_, place)| touches(place)).map(|(number, _)| *number);
        let around = self.places.iter().map(|(number, _)| *number).filter(|number| {
            let extent = extent(*number);
            extent.start <= at.start && at.end <= extent.end
        });
        // An error tells the whole of what is wrong: it is the outermost of what lies in it.
        let outermost = touching.max_by_key(|number| extent(*number).len());
        let within = outermost.filter(|number| {
            let extent = extent(*number);
            extent.start <= at.end && at.start <= extent.end
        });
        within.or_else(|| around.min_by_key(|number| extent(*number).len()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::find::find;
    use super::*;
    use crate::mistakes::tokens::tokens;

    /// A source with the mutants of these kinds in it.
    fn with(source: &str, kinds: &[&str]) -> String {
        let mutants = find("a.rs", source).unwrap();
        let chosen = (1..).zip(mutants.iter().filter(|mutant| kinds.contains(&mutant.kind)));
        write(source, &chosen.collect::<Vec<_>>()).text.replace("::kavka_wire::mistakes::", "")
    }

    fn same(one: &str, other: &str) {
        let words = |text: &str| tokens(text).iter().map(|token| token.text.to_owned()).collect::<Vec<_>>();
        assert_eq!(words(one), words(other), "{one}");
    }

    #[test]
    fn mutants_are_put_around_what_is_there() {
        same(
            &with("fn f() { if a < b { g(); } }", &["`<` is `<=`", "condition is false", "call left out"]),
            "fn f() { if (!on(1) && (lt(2, &(a), &(b)))) { if !on(3) { g(); } } }",
        );
        same(
            &with("fn f() -> bool { !a && b }", &["`&&` is `||`", "`!` left out", "returns true"]),
            "fn f() -> bool { if on(1) { return true; } \
             ({ let __l: bool = ((a) ^ !on(3)); if __l != on(2) { b } else { __l } }) }",
        );
        same(
            &with("fn f() { x[i] += a - 1; }", &["`+=` is `-=`", "`-` is `+`"]),
            "fn f() { { let __r = (match ((a), (1)) { (__l, __r) => if on(2) { __l + __r } else { __l - __r } }); \
             if on(1) { x[i] -= __r } else { x[i] += __r } }; }",
        );
        same(
            &with(
                "fn f() { if let Some(a) = b && a.is() { } }",
                &["condition is true", "condition is false"],
            ),
            "fn f() { if !on(1) && let Some(a) = b && (on(2) || (a.is())) { } }",
        );
    }

    #[test]
    fn nothing_is_found_where_nothing_can_be_switched_or_only_tests_are() {
        let source =
            "const A: u8 = 1 + 1; const fn f() -> bool { A < 2 } #[cfg(test)] mod tests { fn g() { h(); } }
            impl fmt::Debug for B { fn fmt(&self) -> bool { self.a == 1 } } #[test] fn t() { h(); }";
        assert!(find("a.rs", source).unwrap().is_empty());
    }

    #[test]
    fn what_is_blamed_is_at_the_place_of_the_error() {
        let source = "fn f() { if a < b { g(); } }";
        let mutants = find("a.rs", source).unwrap();
        let numbered: Vec<_> = (1..).zip(&mutants).collect();
        let written = write(source, &numbered);
        let number = |kind: &str| {
            (1..).zip(&mutants).find(|(_, mutant)| mutant.kind == kind).map(|(number, _)| number)
        };
        let at = |text: &str| {
            let start = written.text.find(text).unwrap();
            written.blame(&(start..start + text.len()))
        };
        assert_eq!(at("mistakes::lt"), number("`<` is `<=`"));
        assert_eq!(at("g()"), number("call left out"));
        assert_eq!(at("return"), number("does nothing"));
        assert_eq!(at("fn f"), None);
    }

    #[test]
    fn all_mutants_of_all_sources_can_be_written_at_once() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let sources = super::super::sources::read(&root).unwrap();
        let mut count = 0;
        for (file, text) in &sources {
            let mutants = find(file, text).unwrap();
            count += mutants.len();
            let written = write(text, &(1..).zip(&mutants).collect::<Vec<_>>());
            syn::parse_file(&written.text).unwrap_or_else(|error| panic!("{file}: {error}"));
        }
        assert!(count > 3000, "only {count} mutants were found");
    }
}
