//! How a consumer ends: what was stored is committed, the group is left, fetch sessions are given back.

use std::time::Instant;

use kavka_group::Input;
use kavka_net::clock;
use tokio::sync::oneshot;

use super::calls;
use super::driver::Driver;
use super::fetch::{Input as FetchInput, Output as FetchOutput};
use super::group_glue::CommitFor;
use crate::{Error, ErrorKind, Result};

/// A consumer on its way out.
///
/// ```text
///   Shutdown ──► partitions are revoked ──released──┐
///                                                   ▼
///   Close ─────► what is stored is committed ──► leaving ──left──► over
/// ```
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) deadline: Instant,
    replies: Vec<oneshot::Sender<Result<()>>>,
    leaving: bool,
    left: bool,
    error: Option<Error>,
}

impl Closing {
    /// Something that was to be done before the end failed.
    pub(super) fn failed(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    /// The group was left.
    pub(super) fn left(&mut self) {
        self.left = true;
    }

    pub(super) fn answer(&mut self, error: Option<Error>) {
        for reply in self.replies.drain(..) {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(error.clone().map_or(Ok(()), Err));
        }
    }
}

impl Driver {
    fn begin_closing(&mut self) -> &mut Closing {
        let deadline = clock::after(self.options.close_timeout);
        self.closing.get_or_insert_with(|| Closing {
            deadline,
            replies: Vec::new(),
            leaving: false,
            left: false,
            error: None,
        })
    }

    /// Closes in agreement with the application: it is told to give up its partitions first.
    pub(super) fn shutdown(&mut self) {
        if self.closing.is_some() {
            return;
        }
        let deadline = self.begin_closing().deadline;
        let partitions = self.slots.partitions();
        let placements = self.take_out(&partitions);
        if !placements.is_empty() {
            self.give(placements, Vec::new(), deadline);
        }
    }

    /// Closes without the application, which has given up the consumer.
    pub(super) fn close(&mut self, reply: oneshot::Sender<Result<()>>) {
        self.begin_closing().replies.push(reply);
        let partitions = self.slots.partitions();
        let mut placements = self.take_out(&partitions);
        placements
            .extend(std::mem::take(&mut self.given).into_iter().flat_map(|(_, given)| given.placements));
        // What is stored from now on would come too late: it is refused.
        placements.iter().for_each(|placement| placement.end());
        let offsets: Vec<_> = placements.iter().filter_map(|placement| placement.to_commit()).collect();
        if !offsets.is_empty() {
            self.commit(offsets, CommitFor::Closing);
        }
    }

    /// Takes the next step, if it is time for it. True when the machines may have something to say about it.
    pub(super) fn advance_closing(&mut self) -> bool {
        let Some(closing) = &mut self.closing else { return false };
        if !closing.leaving {
            if !self.given.is_empty() {
                return false;
            }
            closing.leaving = true;
            self.leave();
            return true;
        }
        let member = self.group.is_some() && self.options.source.is_member();
        let over = if member { closing.left } else { self.commits.is_empty() };
        if over {
            let error = closing.error.take();
            self.end(error);
        }
        false
    }

    fn leave(&mut self) {
        if self.options.source.is_member() {
            self.tell_group(Input::Leave { reason: "the consumer was closed".into() });
        }
        self.fetch(FetchInput::Close);
        while let Some(output) = self.fetcher.poll() {
            if let FetchOutput::Call(call) = output {
                // The session's end waits behind the fetch in flight; nobody needs its answer.
                tokio::spawn(calls::fetch(self.net.clone(), self.lanes, call));
            }
        }
    }

    pub(super) fn close_in_time(&mut self, now: Instant) {
        let Some(closing) = &mut self.closing else { return };
        if closing.deadline > now {
            return;
        }
        let late = Error::new(ErrorKind::Retriable, "closing took too long: the group was not left in time")
            .remedy("its members get the partitions when the session timeout has passed");
        let error = closing.error.take().unwrap_or(late);
        self.end(Some(error));
    }
}
