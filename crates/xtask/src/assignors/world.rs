//! Groups that come and go at random, round after round.

use std::collections::{BTreeMap, BTreeSet};

use super::random::Random;

/// Partitions by topic.
pub(super) type Partitions = BTreeMap<String, BTreeSet<i32>>;

#[derive(Debug, Clone)]
pub(super) struct Topic {
    pub(super) partitions: usize,
    /// The racks of each partition's replicas.
    racks: Vec<BTreeSet<usize>>,
}

#[derive(Debug, Clone)]
pub(super) struct Member {
    instance: Option<String>,
    rack: Option<usize>,
    /// Of its subscription.
    version: usize,
    pub(super) topics: BTreeSet<String>,
    pub(super) owned: Partitions,
    generation: Option<usize>,
    user_data: &'static str,
    /// Told in place of what it owned.
    pub(super) told: Option<Partitions>,
}

/// What a group can be like.
#[derive(Debug, Clone, Copy)]
struct Habits {
    small: bool,
    uniform: bool,
    racks: usize,
    fixed_members: bool,
    old_versions: bool,
    troubled: bool,
}

/// A group and its topics.
#[derive(Debug)]
pub(super) struct World {
    pub(super) assignor: &'static str,
    random: Random,
    habits: Habits,
    pub(super) topics: BTreeMap<String, Topic>,
    pub(super) members: BTreeMap<String, Member>,
    generation: usize,
    born: usize,
}

const ASSIGNORS: &[&str] = &[
    "sticky",
    "sticky",
    "sticky",
    "cooperative-sticky",
    "cooperative-sticky",
    "cooperative-sticky",
    "range",
    "roundrobin",
];

impl World {
    /// A group at its beginning. Small ones are for keeping as text.
    pub(super) fn new(mut random: Random, small: bool) -> World {
        let habits = Habits {
            small,
            uniform: random.one_in(2),
            racks: if random.one_in(2) { 0 } else { random.between(1, 4) },
            fixed_members: random.one_in(3),
            old_versions: random.one_in(4),
            troubled: random.one_in(3),
        };
        let assignor = ASSIGNORS[random.below(ASSIGNORS.len())];
        let mut world = World {
            assignor,
            habits,
            topics: BTreeMap::new(),
            members: BTreeMap::new(),
            generation: 0,
            born: random.below(1000),
            random,
        };
        let large = !small && world.random.one_in(12);
        let topics = if large {
            25
        } else if small {
            4
        } else {
            6
        };
        let members = if large {
            70
        } else if small {
            5
        } else {
            12
        };
        for _ in 0..world.random.between(1, topics) {
            world.add_topic();
        }
        for _ in 0..world.random.between(1, members) {
            world.add_member();
        }
        world
    }

    fn add_topic(&mut self) {
        self.born += 1;
        let most = match self.random.below(if self.habits.small { 8 } else { 10 }) {
            0 => 1,
            8 => 25,
            9 if self.random.one_in(8) => 150,
            _ => 8,
        };
        // Several topics of one size go together in `range`.
        let partitions = if self.random.one_in(3) { 4 } else { self.random.between(1, most) };
        let letter = char::from(b'a' + (self.born % 26) as u8);
        let name = match self.habits.small {
            true => letter.to_string(),
            false => format!("{letter}.{}", self.born % 97),
        };
        let topic = Topic { partitions: 0, racks: Vec::new() };
        self.topics.insert(name.clone(), topic);
        self.grow(&name, partitions);
        if self.habits.uniform {
            // Everybody hears of it in the same moment, or else it stays apart for good.
            self.members.values_mut().for_each(|member| _ = member.topics.insert(name.clone()));
        }
    }

    fn grow(&mut self, name: &str, by: usize) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.partitions += by;
        if self.habits.racks == 0 {
            return;
        }
        let random = &mut self.random;
        let everywhere = random.one_in(6);
        while topic.racks.len() < topic.partitions {
            let replicas = if random.one_in(12) { 0 } else { random.between(1, 3) };
            // One rack more than members live in.
            let racks = (0..replicas).map(|_| random.below(self.habits.racks + 1)).collect();
            topic.racks.push(if everywhere { (0..=self.habits.racks).collect() } else { racks });
        }
    }

    fn wishes(&mut self) -> BTreeSet<String> {
        if self.habits.uniform {
            if let Some(member) = self.members.values().next() {
                return member.topics.clone();
            }
            return self.topics.keys().cloned().collect();
        }
        let share = self.random.between(1, 4);
        let mut wishes: BTreeSet<String> =
            self.topics.keys().filter(|_| self.random.below(4) < share).cloned().collect();
        if self.random.one_in(15) {
            wishes.insert("gone".to_owned());
        }
        if wishes.is_empty() && !self.random.one_in(20) {
            wishes.extend(self.topics.keys().next().cloned());
        }
        wishes
    }

    fn add_member(&mut self) {
        self.born += 1;
        let born = self.born;
        let id = match self.random.below(12) {
            _ if self.habits.small => char::from(b'A' + (born % 26) as u8).to_string(),
            0 => format!("\u{1f600}{born}"),
            1 => format!("\u{ff5e}é{born}"),
            2..=5 => format!("consumer-g-{born}-{:08x}", self.random.below(1 << 32)),
            _ => format!("m{born}"),
        };
        let topics = self.wishes();
        let fixed = self.habits.fixed_members && self.random.one_in(2);
        let rack = (self.habits.racks > 0 && !self.random.one_in(6))
            .then(|| self.random.below(self.habits.racks + 1));
        let version = if self.habits.old_versions { self.random.below(4) } else { 3 };
        let instance = fixed.then(|| format!("{}-{}", self.random.below(9), born % 1000));
        let member = Member {
            instance,
            rack,
            version,
            topics,
            owned: Partitions::new(),
            generation: None,
            user_data: if self.random.one_in(2) { "" } else { "1" },
            told: None,
        };
        self.members.insert(id, member);
    }

    /// What the assignor is asked.
    pub(super) fn line(&self) -> String {
        let topics = self.topics.iter().map(|(name, topic)| {
            let racks: Vec<String> = topic
                .racks
                .iter()
                .map(|racks| joined(racks.iter().map(|rack| format!("r{rack}")), "+"))
                .collect();
            let racks = if racks.is_empty() { String::new() } else { format!("@{}", racks.join(",")) };
            format!("{name}={}{racks}", topic.partitions)
        });
        let members = self.members.iter().map(|(id, member)| self.member(id, member));
        format!("{}\t{}\t{}", self.assignor, joined(topics, " "), joined(members, " "))
    }

    fn member(&self, id: &str, member: &Member) -> String {
        let generation = member.generation.map(|generation| generation.to_string()).unwrap_or_default();
        let rack = member.rack.map(|rack| format!("r{rack}")).unwrap_or_default();
        let user_data = match &member.told {
            Some(told) if self.assignor == "sticky" => hex(told, member.generation),
            _ => member.user_data.to_owned(),
        };
        let instance = member.instance.as_deref().unwrap_or_default();
        let topics = joined(member.topics.iter().cloned(), ",");
        format!(
            "{id}/{instance}/{rack}/{}/{topics}/{}/{generation}/{user_data}",
            member.version,
            text(&member.owned)
        )
    }

    /// Lets the members take what they were given, and then something happen until the next round.
    pub(super) fn advance(&mut self, answer: &BTreeMap<String, Partitions>) {
        self.generation += 1;
        for (id, member) in &mut self.members {
            // Some do not hear of it.
            if self.habits.troubled && self.random.one_in(8) {
                continue;
            }
            member.owned = answer.get(id).cloned().unwrap_or_default();
            member.generation = Some(self.generation);
            member.told = None;
            member.user_data = match self.random.below(12) {
                0 => "0",
                1 if self.habits.troubled => "xfe",
                2 if self.habits.troubled => "",
                3 if self.habits.troubled => "x00000001000174",
                _ => "1",
            };
        }
        for _ in 0..self.random.between(0, 3) {
            self.happen();
        }
        if self.habits.troubled {
            self.trouble();
        }
    }

    fn happen(&mut self) {
        match self.random.below(8) {
            0 | 1 => self.add_member(),
            2 | 3 if self.members.len() > 1 => {
                let id = self.any_member();
                self.members.remove(&id);
            }
            4 => {
                let name = self.any_topic();
                let by = self.random.between(1, 4);
                self.grow(&name, by);
            }
            5 => self.add_topic(),
            6 if self.topics.len() > 1 => {
                let name = self.any_topic();
                self.topics.remove(&name);
                if self.random.one_in(2) {
                    self.members.values_mut().for_each(|member| _ = member.topics.remove(&name));
                }
            }
            7 if !self.habits.uniform || self.random.one_in(10) => {
                let (id, mut topics) = (self.any_member(), self.wishes());
                if self.habits.uniform && topics.len() > 1 {
                    topics.pop_first();
                }
                self.members.entry(id).and_modify(|member| member.topics = topics);
            }
            _ => {}
        }
    }

    fn any_member(&mut self) -> String {
        let at = self.random.below(self.members.len());
        self.members.keys().nth(at).cloned().unwrap_or_default()
    }

    fn any_topic(&mut self) -> String {
        let at = self.random.below(self.topics.len());
        self.topics.keys().nth(at).cloned().unwrap_or_default()
    }

    /// Members that lost their place, or say that they have what others have.
    fn trouble(&mut self) {
        let id = self.any_member();
        let other = self.any_member();
        let others = self.members.get(&other).map(|member| (member.owned.clone(), member.generation));
        let (Some((owned, generation)), Some(member)) = (others, self.members.get_mut(&id)) else { return };
        match self.random.below(6) {
            0 => {
                member.owned.clear();
                member.generation = None;
            }
            1 => member.generation = member.generation.and_then(|generation| generation.checked_sub(1)),
            2 => (member.owned, member.generation) = (owned, generation),
            3 => member.owned = owned,
            4 => member.told = Some(owned),
            _ if self.random.one_in(4) => {
                // The topic was made anew with fewer partitions.
                let name = self.any_topic();
                self.topics.entry(name).and_modify(|topic| {
                    topic.partitions = topic.partitions.div_ceil(2);
                    topic.racks.truncate(topic.partitions);
                });
            }
            _ => {}
        }
    }
}

fn joined(texts: impl Iterator<Item = String>, by: &str) -> String {
    texts.collect::<Vec<_>>().join(by)
}

fn text(partitions: &Partitions) -> String {
    let of = |(topic, ids): (&String, &BTreeSet<i32>)| {
        let ids: Vec<i32> = ids.iter().copied().collect();
        let ranges = ids.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
            [first, .., last] => format!("{first}-{last}"),
            _ => run[0].to_string(),
        });
        format!("{topic}:{}", joined(ranges, ","))
    };
    joined(partitions.iter().map(of), ";")
}

/// User data of `sticky`, version 1.
fn hex(partitions: &Partitions, generation: Option<usize>) -> String {
    let mut bytes = (partitions.len() as u32).to_be_bytes().to_vec();
    for (topic, ids) in partitions {
        bytes.extend((topic.len() as u16).to_be_bytes());
        bytes.extend(topic.as_bytes());
        bytes.extend((ids.len() as u32).to_be_bytes());
        ids.iter().for_each(|id| bytes.extend(id.to_be_bytes()));
    }
    bytes.extend(generation.map_or(-1, |generation| generation as i32).to_be_bytes());
    format!("x{}", joined(bytes.iter().map(|byte| format!("{byte:02x}")), ""))
}
