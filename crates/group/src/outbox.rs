use std::collections::VecDeque;
use std::time::Duration;

use litemap::LiteMap;

use crate::api::{CallLane, CallTo, Event, Output, Token};
use crate::coordinator::LookupId;
use crate::requests::GroupRequest;

/// Which part of a group asked, and is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    Lookup(LookupId),
    Member,
    Commits,
    Fetches,
}

/// What is waiting to be polled, and who waits for the answers of calls.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    outputs: VecDeque<Output>,
    tokens: u64,
    asked: LiteMap<Token, Asker>,
}

impl Outbox {
    pub(crate) fn call(
        &mut self,
        asker: Asker,
        to: CallTo,
        lane: CallLane,
        request: GroupRequest,
        timeout: Duration,
    ) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.asked.insert(token, asker);
        let max_version = request.max_version();
        self.outputs.push_back(Output::Call { token, to, lane, request, max_version, timeout });
        token
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Who asked. Each call is answered once: what comes after that is nobody's.
    pub(crate) fn answered(&mut self, token: Token) -> Option<Asker> {
        self.asked.remove(&token)
    }
}
