//! Subscriptions by regular expression: the coordinator finds the topics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kavka_wire::ErrorCode;
use regex::{Regex, RegexBuilder};
use tokio::time::Instant;

use super::{ConsumerGroup, Refusal};
use crate::groups::World;
use crate::state::State;

/// How long a resolution is good whatever happens.
const MIN_REFRESH: Duration = Duration::from_secs(10);
/// Memory that a compiled expression may take: a test broker needs no more, and a peer could ask for gigabytes.
const COMPILED_LIMIT: usize = 1 << 20;

/// The resolved expressions of a group.
#[derive(Debug, Default)]
pub(super) struct Regexes {
    resolved: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// When they were resolved, and by what count of topics ever made.
    refreshed: Option<(Instant, u64)>,
}

/// What a heartbeat means for the group's expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// The member's expression is another one and still to be resolved.
    Unresolved,
    /// The member's expression is another one whose topics are known, or none any longer.
    Resolved,
}

impl Regexes {
    pub(super) fn topics(&self, regex: &str) -> Option<&BTreeSet<Arc<str>>> {
        self.resolved.get(regex)
    }
}

/// Whether an expression can be compiled. Kafka has RE2/J; both know what can be matched in linear time.
fn check(regex: &str) -> Result<(), Refusal> {
    compile(regex).map(|_| ()).map_err(|error| {
        let message = format!("SubscribedTopicRegex `{regex}` is not a valid regular expression: {error}");
        Refusal::new(ErrorCode::INVALID_REGULAR_EXPRESSION, message)
    })
}

/// The expression must match the whole name of a topic.
fn compile(regex: &str) -> Result<Regex, regex::Error> {
    // By itself first: `a)|(b` is valid only between parentheses.
    RegexBuilder::new(regex).size_limit(COMPILED_LIMIT).build()?;
    RegexBuilder::new(&format!("^(?:{regex})$")).size_limit(COMPILED_LIMIT).build()
}

impl ConsumerGroup {
    /// What it means that a member's expression becomes another one, which must be valid.
    pub(super) fn regex_change(&self, before: &str, after: &str) -> Result<Change, Refusal> {
        if before == after {
            return Ok(Change::None);
        }
        if after.is_empty() {
            return Ok(Change::Resolved);
        }
        if !self.members.values().any(|member| *member.said.regex == *after) {
            check(after)?;
            return Ok(Change::Unresolved);
        }
        let known = self.regexes.resolved.contains_key(after);
        Ok(if known { Change::Resolved } else { Change::Unresolved })
    }

    /// Forgets the expressions that nobody uses any longer.
    pub(super) fn forget_regexes(&mut self) {
        let used: BTreeSet<&Arc<str>> = self.members.values().map(|member| &member.said.regex).collect();
        self.regexes.resolved.retain(|regex, _| used.contains(regex));
        if self.regexes.resolved.is_empty() {
            self.regexes.refreshed = None;
        }
    }

    /// Resolves the expressions when one is new, topics were made, or it is long ago. Bumps the group epoch when other
    /// topics come out.
    fn refresh_regexes(&mut self, world: &World<'_>, topics_made: u64) {
        let used: BTreeSet<Arc<str>> = self
            .members
            .values()
            .map(|member| &member.said.regex)
            .filter(|r| !r.is_empty())
            .cloned()
            .collect();
        if used.is_empty() {
            return;
        }
        if let Some((at, made)) = self.regexes.refreshed {
            let age = world.now - at;
            let stale = self.regexes.resolved.len() != used.len()
                || made < topics_made
                || age > world.settings.group_consumer_regex_refresh_interval;
            if age <= world.settings.group_consumer_regex_refresh_interval.min(MIN_REFRESH) || !stale {
                return;
            }
        }
        let mut changed = false;
        for regex in used {
            // It was compiled before, when the member said it.
            let Ok(compiled) = compile(&regex) else { continue };
            let visible =
                |name: &&Arc<str>| compiled.is_match(name) && !world.denied.topics.contains(&***name);
            let topics: BTreeSet<Arc<str>> = world.topics.keys().filter(visible).cloned().collect();
            let before = self.regexes.resolved.insert(regex, topics.clone());
            changed |= before.unwrap_or_default() != topics;
        }
        self.regexes.refreshed = Some((world.now, topics_made));
        self.look_at_topics(world, changed);
    }
}

impl State {
    /// What Kafka's coordinator does in the background after a heartbeat.
    pub(crate) fn refresh_regexes(&mut self, group: &str) {
        let topics_made = self.topics_made;
        if let Some((group, world)) = self.consumer_group(group) {
            group.refresh_regexes(&world, topics_made);
        }
    }
}
