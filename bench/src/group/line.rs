//! What a members program writes.

use std::collections::BTreeMap;

/// A line of a members program. Times are nanoseconds of a clock of the program's own; members count from 0 in the order of their
/// starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// `N name`: the client and its version.
    Name(String),
    /// `S member nanos`: a member is about to be made, before its client is.
    Started(usize, u64),
    /// `A member partitions nanos`: the member saw that it has so many partitions.
    Assigned(usize, usize, u64),
    /// `R member partition first next nanos`: the member was handed the records from offset `first` up to before `next`.
    Records(Receipt),
    /// `X member text`: the client told its application of an error.
    Failed(usize, String),
}

/// Records as a member got them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Who.
    pub member: usize,
    /// Of which partition.
    pub partition: i32,
    /// The first record's offset.
    pub first: i64,
    /// The offset after the last record.
    pub next: i64,
    /// When.
    pub nanos: u64,
}

impl Line {
    /// `None` for anything else that a client or its runtime prints.
    pub fn parse(line: &str) -> Option<Line> {
        let (kind, rest) = line.split_once(' ')?;
        let mut words = rest.split(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        Some(match kind {
            "N" => Line::Name(rest.to_owned()),
            "S" => Line::Started(number()? as usize, number()?),
            "A" => Line::Assigned(number()? as usize, number()? as usize, number()?),
            "R" => Line::Records(Receipt {
                member: number()? as usize,
                partition: number()? as i32,
                first: number()? as i64,
                next: number()? as i64,
                nanos: number()?,
            }),
            "X" => {
                let (member, text) = rest.split_once(' ')?;
                Line::Failed(member.parse().ok()?, text.to_owned())
            }
            _ => return None,
        })
    }
}

/// Everything that one members program wrote so far.
#[derive(Debug, Default, Clone)]
pub struct Log {
    /// The client and its version.
    pub name: String,
    /// When each member was started.
    pub started: BTreeMap<usize, u64>,
    /// How many partitions each member has, as far as it saw.
    pub assigned: BTreeMap<usize, usize>,
    /// When each member first saw that it has partitions.
    pub first_assigned: BTreeMap<usize, u64>,
    /// In the order of the program's output, which is that of time to within its writer's rhythm.
    pub receipts: Vec<Receipt>,
    /// The program has ended.
    pub ended: bool,
}

impl Log {
    /// Takes a line in.
    pub fn add(&mut self, line: Line) {
        match line {
            Line::Name(name) => self.name = name,
            Line::Started(member, nanos) => drop(self.started.insert(member, nanos)),
            Line::Assigned(member, partitions, nanos) => {
                self.assigned.insert(member, partitions);
                if partitions > 0 {
                    self.first_assigned.entry(member).or_insert(nanos);
                }
            }
            Line::Records(receipt) => self.receipts.push(receipt),
            Line::Failed(member, text) => eprintln!("{} member {member}: {text}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_format_are_read_and_others_are_not() {
        let receipt = Receipt { member: 2, partition: 11, first: 5, next: 9, nanos: 77 };
        assert_eq!(Line::parse("R 2 11 5 9 77"), Some(Line::Records(receipt)));
        assert_eq!(Line::parse("N franz-go 1.22"), Some(Line::Name("franz-go 1.22".to_owned())));
        assert_eq!(Line::parse("X 1 a b"), Some(Line::Failed(1, "a b".to_owned())));
        for line in ["R 2 11 5 9", "SLF4J: no logger", "A x 1 2", ""] {
            assert_eq!(Line::parse(line), None, "{line}");
        }
    }
}
