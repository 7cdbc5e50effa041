//! The machine under virtual time: scripted answers, and a model cluster with sessions.

mod budget;
mod errors;
mod model;
mod resets;
pub(super) mod rig;
mod sessions;
mod walk;
