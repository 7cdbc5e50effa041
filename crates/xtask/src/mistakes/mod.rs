//! Mistakes that are written into a copy of the sources, all at once, and switched on one at a time: one build serves them all, and
//! who reads the sources does not meet them.
//!
//! - `planted`: mistakes somebody thought of, from `tests/mistakes`, each of which the simulation has to notice.

mod cargo;
mod catalogue;
mod copy;
mod edit;
pub(crate) mod planted;
mod process;
mod tokens;
