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
