//! Groups as lines of text, and what assignors make of them (protocol-specs/vectors/README.md has the format).

use std::collections::BTreeMap;
use std::sync::Arc;

use kavka_group::assignor::{
    Assignment, Assignor, CooperativeSticky, GroupSubscription, MemberSubscription, Range, RoundRobin, Sticky,
};
use kavka_group::{TopicInfo, TopicMap, TopicPartition};

/// What the assignor named in a line makes of the rest of it.
pub(crate) fn answer(line: &str) -> Result<String, String> {
    let (assignor, group, topics) = parse(line)?;
    Ok(text(&assignor.assign(&group, &topics)))
}

/// The assignor, group and topics of a line.
pub(crate) fn parse(line: &str) -> Result<(&'static dyn Assignor, GroupSubscription, TopicMap), String> {
    let bad = || format!("not a case: {line}");
    let mut parts = line.split('\t');
    let mut part = || parts.next().ok_or_else(bad);
    let assignor: &'static dyn Assignor = match part()? {
        "range" => &Range,
        "roundrobin" => &RoundRobin,
        "sticky" => &Sticky,
        "cooperative-sticky" => &CooperativeSticky,
        other => return Err(format!("no assignor {other}")),
    };
    let topics = topics(part()?).ok_or_else(bad)?;
    let mut group = GroupSubscription::default();
    for text in split(part()?, ' ') {
        let (id, subscription) = member(assignor, text).ok_or_else(bad)?;
        group.members.insert(id, subscription);
    }
    Ok((assignor, group, topics))
}

fn split(text: &str, by: char) -> impl Iterator<Item = &str> {
    text.split(by).filter(move |_| !text.is_empty())
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn topics(text: &str) -> Option<TopicMap> {
    let mut topics = TopicMap::new();
    for topic in split(text, ' ') {
        let (name, known) = topic.split_once('=')?;
        let (partitions, racks) = known.split_once('@').unwrap_or((known, ""));
        let racks = split(racks, ',').map(|racks| split(racks, '+').map(Arc::from).collect()).collect();
        topics.insert(name, TopicInfo { partitions: partitions.parse().ok()?, racks, ..Default::default() });
    }
    Some(topics)
}

fn member(assignor: &dyn Assignor, text: &str) -> Option<(Arc<str>, MemberSubscription)> {
    let parts: Vec<&str> = text.split('/').collect();
    let [id, instance, rack, version, topics, owned, generation, user_data] = parts[..] else { return None };
    let version: i16 = version.parse().ok()?;
    let owned = partitions(owned)?;
    let generation = some(generation).map(|generation| generation.parse()).transpose().ok()?;
    let told = || assignor.user_data(&owned.iter().cloned().collect(), generation.or(Some(-1)));
    let user_data = match user_data {
        "" => None,
        "1" => told(),
        // The first version of `sticky` told no generation.
        "0" if assignor.name() == "sticky" => told().map(|data| data.slice(..data.len() - 4)),
        "0" => told(),
        hex => Some(
            (1..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
                .collect::<Option<_>>()?,
        ),
    };
    let subscription = MemberSubscription {
        instance_id: some(instance).map(Into::into),
        topics: Arc::new(split(topics, ',').map(Arc::from).collect()),
        owned: if version >= 1 { owned } else { Vec::new() },
        generation: generation.filter(|generation| version >= 2 && *generation >= 0),
        rack: some(rack).filter(|_| version >= 3).map(Into::into),
        user_data,
    };
    Some((id.into(), subscription))
}

fn partitions(text: &str) -> Option<Vec<TopicPartition>> {
    let mut partitions = Vec::new();
    for topic in split(text, ';') {
        let (name, ids) = topic.split_once(':')?;
        let name: Arc<str> = name.into();
        for range in split(ids, ',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let ids = first.parse::<i32>().ok()?..=last.parse().ok()?;
            partitions.extend(ids.map(|partition| TopicPartition { topic: name.clone(), partition }));
        }
    }
    Some(partitions)
}

/// An assignment as text.
pub(crate) fn text(assignment: &Assignment) -> String {
    let members = assignment.by_member().into_iter().map(|(id, partitions)| {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for TopicPartition { topic, partition } in &partitions {
            topics.entry(topic).or_default().push(*partition);
        }
        let topics = topics.into_iter().map(|(topic, ids)| format!("{topic}:{}", ranges(ids)));
        format!("{id}={}", topics.collect::<Vec<_>>().join(";"))
    });
    members.collect::<Vec<_>>().join(" ")
}

fn ranges(mut ids: Vec<i32>) -> String {
    ids.sort_unstable();
    let runs = ids.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        _ => run[0].to_string(),
    });
    runs.collect::<Vec<_>>().join(",")
}
