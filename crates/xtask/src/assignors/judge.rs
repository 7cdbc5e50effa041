//! Whether two answers to a case agree, and what any answer must be like.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{Partitions, World};

pub(super) type Answer = BTreeMap<String, Partitions>;

/// Reads an answer. A partition that is in it twice makes it none.
pub(super) fn read(text: &str) -> Result<Answer, String> {
    let mut answer = Answer::new();
    let bad = || format!("not an answer: {text}");
    for member in text.split(' ').filter(|member| !member.is_empty()) {
        let (id, topics) = member.split_once('=').ok_or_else(bad)?;
        let all = answer.entry(id.to_owned()).or_default();
        for topic in topics.split(';').filter(|topic| !topic.is_empty()) {
            let (name, ids) = topic.split_once(':').ok_or_else(bad)?;
            let known = all.entry(name.to_owned()).or_default();
            for range in ids.split(',') {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let first: i32 = first.parse().map_err(|_| bad())?;
                for id in first..=last.parse().map_err(|_| bad())? {
                    if !known.insert(id) {
                        return Err(format!("{name}-{id} twice for {id}"));
                    }
                }
            }
        }
    }
    Ok(answer)
}

/// Why Kafka's assignors cannot be a model for a case, if they cannot: kavka then keeps the rules that they break.
pub(super) fn known_fault(world: &World, java: &str, ours: &Answer) -> Option<&'static str> {
    if !world.assignor.ends_with("sticky") {
        return None;
    }
    if world.assignor == "cooperative-sticky" {
        let twice = claimed_twice(world);
        let same = |java: Answer| without(java, &twice) == without(ours.clone(), &twice);
        if !twice.is_empty() && read(java).is_ok_and(same) {
            return Some("a claim that a later one made void may give a partition a second owner");
        }
    }
    let members = world.members.values();
    let sets: BTreeSet<&BTreeSet<String>> = members.clone().map(|member| &member.topics).collect();
    if sets.len() > 1 && sets.iter().any(|set| set.is_empty()) {
        return Some("a member that wants nothing may be taken to want what the others want");
    }
    let claims = |member: &'_ super::world::Member| [Some(member.owned.clone()), member.told.clone()];
    for member in members {
        for (topic, ids) in claims(member).into_iter().flatten().flatten() {
            let Some(known) = world.topics.get(&topic) else { continue };
            if ids.iter().any(|id| *id as usize >= known.partitions) {
                return Some("members say they have partitions that no longer exist");
            }
            if sets.len() > 1 && !member.topics.contains(&topic) {
                return Some("a partition may go back to a member that no longer wants its topic");
            }
        }
    }
    java.starts_with('!').then_some("Kafka's assignor throws, or does not end")
}

/// Partitions that several members say they have.
fn claimed_twice(world: &World) -> BTreeSet<(String, i32)> {
    let mut claims: BTreeMap<(String, i32), usize> = BTreeMap::new();
    for member in world.members.values() {
        for (topic, ids) in member.told.as_ref().unwrap_or(&member.owned) {
            ids.iter().for_each(|id| *claims.entry((topic.clone(), *id)).or_default() += 1);
        }
    }
    claims.into_iter().filter(|(_, count)| *count > 1).map(|(partition, _)| partition).collect()
}

fn without(mut answer: Answer, partitions: &BTreeSet<(String, i32)>) -> Answer {
    for topics in answer.values_mut() {
        topics
            .iter_mut()
            .for_each(|(topic, ids)| ids.retain(|id| !partitions.contains(&(topic.clone(), *id))));
        topics.retain(|_, ids| !ids.is_empty());
    }
    answer
}

/// What must be so whatever the assignor decides.
pub(super) fn check(world: &World, answer: &Answer) -> Result<(), String> {
    let mut owners: BTreeMap<(&str, i32), &str> = BTreeMap::new();
    for (id, partitions) in answer {
        let member = world.members.get(id).ok_or_else(|| format!("{id} is no member"))?;
        for (topic, ids) in partitions {
            if !member.topics.contains(topic) {
                return Err(format!("{id} does not want {topic}"));
            }
            let known = world.topics.get(topic).map_or(0, |topic| topic.partitions);
            for partition in ids {
                if *partition < 0 || *partition as usize >= known {
                    return Err(format!("{topic}-{partition} does not exist"));
                }
                if owners.insert((topic, *partition), id).is_some() {
                    return Err(format!("{topic}-{partition} twice"));
                }
            }
        }
    }
    let mut complete = true;
    for (name, topic) in &world.topics {
        let wanted = world.members.values().any(|member| member.topics.contains(name));
        for partition in (0..topic.partitions as i32).filter(|_| wanted) {
            if owners.contains_key(&(name.as_str(), partition)) {
                continue;
            }
            complete = false;
            let had = |member: &'_ super::world::Member| {
                member.owned.get(name).is_some_and(|ids| ids.contains(&partition))
            };
            if world.assignor != "cooperative-sticky" || !world.members.values().any(had) {
                return Err(format!("{name}-{partition} goes to nobody"));
            }
        }
    }
    let wishes: BTreeSet<_> = world.members.values().map(|member| &member.topics).collect();
    if complete && wishes.len() == 1 && world.assignor != "range" {
        let sizes: Vec<usize> =
            answer.values().map(|partitions| partitions.values().map(BTreeSet::len).sum()).collect();
        let (least, most) = (sizes.iter().min(), sizes.iter().max());
        if least.zip(most).is_some_and(|(least, most)| most - least > 1) {
            return Err(format!("sizes are {sizes:?}"));
        }
    }
    Ok(())
}
