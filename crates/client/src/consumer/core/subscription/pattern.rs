//! Topics by pattern.

use std::fmt::Write;
use std::sync::Arc;

use kavka_group::{SortedSet, Subscription};
use kavka_net::Cluster;
use kavka_wire::ErrorCode;
use regex_lite::Regex;

use crate::{Error, ErrorKind, Result};

/// The longest pattern: far above what a person writes, far below what a request may hold.
const MAX_LEN: usize = 1 << 20;

/// The longest string that Kafka's protocol can carry, in bytes.
pub(crate) const LONGEST_STRING: usize = 32_767;

/// What a consumer subscribes to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Topics by name.
    pub(crate) names: SortedSet<Arc<str>>,
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    text: Arc<str>,
    regex: Regex,
}

impl Wanted {
    pub(crate) fn names<S: Into<Arc<str>>>(topics: impl IntoIterator<Item = S>) -> Wanted {
        Wanted { names: topics.into_iter().map(Into::into).collect(), patterns: Vec::new() }
    }

    /// Adds a pattern. Fails when it is not one.
    pub(crate) fn add_pattern(&mut self, text: &str) -> Result<()> {
        if text.is_empty() {
            return Err(broken(text, "it is empty"));
        }
        if text.len() > MAX_LEN {
            return Err(broken("", "it is longer than 1 MiB"));
        }
        // On its own first: with brackets around it, `a)|(b` would pass.
        Regex::new(text).map_err(|error| broken(text, &error.to_string()))?;
        let regex =
            Regex::new(&format!(r"\A(?:{text})\z")).map_err(|error| broken(text, &error.to_string()))?;
        self.patterns.push(Pattern { text: text.into(), regex });
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.patterns.is_empty()
    }

    pub(crate) fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Fails when there is nothing to consume, or something that cannot exist.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |what| Err(Error::new(ErrorKind::Configuration, what));
        if self.is_empty() {
            return wrong("a subscription names no topic");
        }
        if self.names.contains("") {
            return wrong("a subscription has a topic with an empty name");
        }
        if self.names.iter().any(|name| name.len() > LONGEST_STRING) {
            return wrong("a subscription has a topic with a name of more than 32,767 bytes");
        }
        Ok(())
    }

    /// Whether a request to the coordinator can carry the patterns: they are one string there.
    pub(crate) fn can_be_told(&self) -> bool {
        self.regex().is_none_or(|regex| regex.len() <= LONGEST_STRING)
    }

    /// Fails when the coordinator would have to match more than it can be told.
    pub(crate) fn check_told(&self) -> Result<()> {
        if self.can_be_told() {
            return Ok(());
        }
        let length = self.regex().map_or(0, |regex| regex.len());
        let what = format!(
            "the patterns are {length} bytes long together; in the consumer protocol the coordinator can be told 32,767"
        );
        let remedy = "use fewer or shorter patterns, or the classic protocol, where this client matches them";
        Err(Error::new(ErrorKind::Configuration, what).remedy(remedy))
    }

    /// All patterns as one, for the coordinator.
    fn regex(&self) -> Option<Arc<str>> {
        match &self.patterns[..] {
            [] => None,
            [one] => Some(one.text.clone()),
            all => {
                let mut text = String::new();
                for (at, pattern) in all.iter().enumerate() {
                    let bar = if at == 0 { "" } else { "|" };
                    // Writing to a string does not fail.
                    let _ = write!(text, "{bar}(?:{})", pattern.text);
                }
                Some(text.into())
            }
        }
    }

    /// What the group machine is told; `matched` are the topics that were found for the patterns on this side.
    pub(crate) fn subscription(&self, matched: &SortedSet<Arc<str>>) -> Subscription {
        Subscription { topics: self.names.iter().chain(matched).cloned().collect(), regex: self.regex() }
    }

    /// The topics of the cluster that the patterns match. Kafka's own are not for consumers.
    pub(crate) fn matches(&self, cluster: &Cluster) -> SortedSet<Arc<str>> {
        if self.patterns.is_empty() {
            return SortedSet::new();
        }
        let fits = |name: &str| self.patterns.iter().any(|pattern| pattern.regex.is_match(name));
        let topics = cluster.topics.iter();
        let there = topics
            .filter(|(_, topic)| !topic.internal && topic.error != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        there.map(|(name, _)| name).filter(|name| fits(name)).cloned().collect()
    }
}

fn broken(text: &str, why: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("the pattern {text:?} cannot be used: {why}"))
        .remedy("it is a regular expression for whole topic names, as orders-.*")
}

#[cfg(test)]
mod tests {
    use kavka_net::Topic;

    use super::*;

    fn cluster() -> Cluster {
        let topic = |internal| Arc::new(Topic { internal, ..Topic::default() });
        let mut cluster = Cluster::default();
        for name in ["orders", "orders-eu", "orders-us", "reorders", "o.x"] {
            cluster.topics.insert(name.into(), topic(false));
        }
        cluster.topics.insert("__consumer_offsets".into(), topic(true));
        let gone = Topic { error: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ..Topic::default() };
        cluster.topics.insert("orders-old".into(), Arc::new(gone));
        cluster
    }

    fn matched(patterns: &[&str]) -> Vec<String> {
        let mut wanted = Wanted::default();
        patterns.iter().for_each(|pattern| wanted.add_pattern(pattern).unwrap());
        wanted.matches(&cluster()).iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn patterns_match_whole_names_of_topics_that_exist_and_are_not_internal() {
        assert_eq!(matched(&["orders"]), ["orders"]);
        assert_eq!(matched(&["orders-.*"]), ["orders-eu", "orders-us"]);
        assert_eq!(matched(&["^orders-[e]u$"]), ["orders-eu"]);
        assert_eq!(matched(&["orders|re.*"]), ["orders", "reorders"]);
        assert_eq!(matched(&["o.*s", ".*eu", "orders-.*"]), ["orders", "orders-eu", "orders-us"]);
        assert_eq!(matched(&[".*"]).len(), 5);
        assert_eq!(matched(&["none"]), Vec::<String>::new());
    }

    #[test]
    fn a_broken_pattern_is_refused_by_name() {
        for text in ["^.*[0", "", "a)|(b", "(", "x{4,2}"] {
            let error = Wanted::default().add_pattern(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
        assert!(Wanted::default().add_pattern(&"x".repeat(MAX_LEN + 1)).is_err());
    }

    #[test]
    fn the_coordinator_gets_all_patterns_as_one() {
        let mut wanted = Wanted::names(["a"]);
        assert_eq!(wanted.subscription(&SortedSet::new()).regex, None);
        wanted.add_pattern("x|y").unwrap();
        assert_eq!(wanted.subscription(&SortedSet::new()).regex.as_deref(), Some("x|y"));
        wanted.add_pattern("z.*").unwrap();
        let told = wanted.subscription(&SortedSet::from(["found".into()]));
        assert_eq!(told.regex.as_deref(), Some("(?:x|y)|(?:z.*)"));
        assert_eq!(told.topics.len(), 2);
    }

    #[test]
    fn patterns_that_no_request_can_carry_are_not_for_the_coordinator() {
        let mut wanted = Wanted::default();
        wanted.add_pattern(&"x".repeat(LONGEST_STRING)).unwrap();
        wanted.check_told().unwrap();
        let mut wanted = Wanted::default();
        // With "(?:" and ")" around each and a bar between them: one byte too many.
        wanted.add_pattern(&"x".repeat(LONGEST_STRING - 9)).unwrap();
        wanted.add_pattern("y").unwrap();
        let error = wanted.check_told().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("32768"), "{error}");
    }

    #[test]
    fn a_topic_whose_name_no_request_can_carry_is_refused() {
        Wanted::names(["x".repeat(LONGEST_STRING)]).check().unwrap();
        assert_eq!(
            Wanted::names(["x".repeat(LONGEST_STRING + 1)]).check().unwrap_err().kind(),
            ErrorKind::Configuration
        );
    }
}
