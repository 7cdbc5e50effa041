//! The fetch machine: where each assigned partition stands, and what to ask which broker next.
//!
//! Pure: no task, clock, socket, lock or random source. One [`Fetcher`] serves one consumer. Give it what happened
//! with [`Fetcher::handle`], drain [`Fetcher::poll`], and call it again at [`Fetcher::next_timeout`]. Requests are
//! planned when `poll` finds nothing else to say, so several inputs may be handled before one drain; that is better
//! than draining after each, because a fetch that leaves too early carries fewer partitions.
//!
//! ```text
//!             Assign / Seek
//!                  │
//!      ┌───────────┼──────────────────────┐
//!      │ no offset │ offset (and epoch)   │ no offset, policy none
//!      v           v                      v
//!   Lookup ───> Validating ───────> Stopped (until a Seek)
//!   (ListOffsets)  │  ^  (OffsetForLeaderEpoch)
//!      ^  └────────┤  │ new leader epoch
//!      │           v  │
//!      └──────── Fetching ──> (an error that needs a person: reported, tried again after a pause)
//!        out of range
//! ```
//!
//! Two numbers tell late things apart. The *epoch* is the shell's: it goes up with every `Assign` and `Seek` of a
//! slot, comes back with each output, and data of an older epoch must be dropped at hand-off. The *revision* is the
//! machine's own: it changes with every repositioning (also a reset or a truncation), and answers to requests of an
//! older revision are ignored. Data that was handed out before a reset stays valid: outputs of a slot are to be
//! applied in the order in which they come.

mod answer;
mod api;
mod backoff;
mod brokers;
mod failure;
mod leaders;
mod machine;
mod plan;
mod position;
mod reset;
mod room;
mod scan;
mod session;
#[cfg(test)]
mod tests;
mod topics;
mod trouble;
mod validate;
mod window;

pub(crate) use api::{
    Assign, CallFailure, FetchCall, FetchConfig, FetchReply, FetchRequests, Fetched, Input, LeaderHint,
    Output, Seek, Slot, Start, Token,
};
pub use api::{IsolationLevel, OffsetReset};
pub(crate) use machine::Fetcher;
pub(crate) use room::{Charge, Gauge, PartitionGauges};
