//! Benchmarks of group membership: programs that run members of a group, each in its own language, and what drives and judges them.
//!
//! A members program is started as `PROGRAM BOOTSTRAP TOPIC GROUP PROTOCOL` with a protocol of [`PROTOCOLS`]. Each line `start` on
//! its standard input starts one more member, a client of its own; `quit` or the end of the input ends the program. What happens
//! to the members is written to its standard output, see [`Line`].

mod clients;
mod figures;
mod journal;
mod line;
mod process;
pub mod proxy;

pub use clients::{Clients, options};
pub use figures::{Figures, figures, settled};
pub use journal::{Arguments, CLIENT_ID, Journal, starts};
pub use line::{Line, Log, Receipt};
pub use process::{Members, cpu_seconds};

/// How the members share partitions: two of the classic protocol's assignors, and the consumer protocol (KIP-848).
pub const PROTOCOLS: [&str; 3] = ["range", "cooperative-sticky", "consumer"];

/// The middle one, or half way between the middle two. Zero of nothing.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = |at: usize| figures.get(at).copied().unwrap_or_default();
    (middle(figures.len().saturating_sub(1) / 2) + middle(figures.len() / 2)) / 2.0
}

/// `median (min-max)`, rounded.
pub fn spread(figures: &[f64]) -> String {
    let low = figures.iter().copied().fold(f64::MAX, f64::min);
    let high = figures.iter().copied().fold(0.0, f64::max);
    format!("{:.0} ({low:.0}-{high:.0})", median(figures.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
        assert_eq!(spread(&[4.0, 1.0, 2.0]), "2 (1-4)");
    }
}
