//! The command line of `kavka group`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Connection;
use crate::commands::group::time;

/// `kavka group`.
#[derive(Debug, Clone, Args)]
pub struct Group {
    /// What to do with them
    #[command(subcommand)]
    pub command: GroupCommand,
}

/// What to do with consumer groups.
#[derive(Debug, Clone, Subcommand)]
pub enum GroupCommand {
    /// List groups with their states and types
    List(GroupList),
    /// Show what groups have committed, how far behind they are, and who reads what
    Describe(GroupDescribe),
    /// Show the members of a group
    Members(GroupMembers),
    /// Delete groups and all that they have committed; they must have no members
    Delete(GroupDelete),
    /// Set where a group goes on reading; shows what would be done, unless --execute is given
    Reset(GroupReset),
}

/// `kavka group list`.
#[derive(Debug, Clone, Args)]
pub struct GroupList {
    /// Where the cluster is
    #[command(flatten)]
    pub connection: Connection,

    /// Only groups in one of these states, as Stable,Empty
    #[arg(long, value_delimiter = ',')]
    pub state: Vec<String>,

    /// Only groups of one of these types: classic, consumer
    #[arg(long = "type", value_delimiter = ',')]
    pub kind: Vec<String>,
}

/// `kavka group describe`.
#[derive(Debug, Clone, Args)]
pub struct GroupDescribe {
    /// The groups
    #[arg(required = true, value_name = "GROUP")]
    pub groups: Vec<String>,

    /// Where the cluster is
    #[command(flatten)]
    pub connection: Connection,
}

/// `kavka group members`.
#[derive(Debug, Clone, Args)]
pub struct GroupMembers {
    /// The group
    pub group: String,

    /// Where the cluster is
    #[command(flatten)]
    pub connection: Connection,

    /// What each member has, shall have and subscribed to, too
    #[arg(long)]
    pub verbose: bool,
}

/// `kavka group delete`.
#[derive(Debug, Clone, Args)]
pub struct GroupDelete {
    /// The groups
    #[arg(required = true, value_name = "GROUP")]
    pub groups: Vec<String>,

    /// Where the cluster is
    #[command(flatten)]
    pub connection: Connection,
}

/// `kavka group reset`.
#[derive(Debug, Clone, Args)]
pub struct GroupReset {
    /// The group
    pub group: String,

    /// Where the cluster is
    #[command(flatten)]
    pub connection: Connection,

    /// Which partitions
    #[command(flatten)]
    pub scope: Scope,

    /// Where to
    #[command(flatten)]
    pub to: ResetTo,

    /// Do it
    #[arg(long)]
    pub execute: bool,

    /// Print topic,partition,offset lines for --from-file
    #[arg(long)]
    pub export: bool,
}

/// Which partitions are reset.
#[derive(Debug, Clone, Args)]
pub struct Scope {
    /// All topics that the group has committed offsets of
    #[arg(long, conflicts_with = "topics", required_unless_present_any = ["topics", "from_file"])]
    pub all_topics: bool,

    /// A topic, all of it or some partitions, TOPIC[:PARTITION,…]; may be repeated
    #[arg(long = "topic", value_name = "TOPIC[:PARTITION,…]", value_parser = topic_scope)]
    pub topics: Vec<TopicScope>,
}

/// A topic and which of its partitions; none means all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicScope {
    /// The topic.
    pub topic: String,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

/// Where partitions are reset to.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct ResetTo {
    /// To the oldest record
    #[arg(long)]
    pub to_earliest: bool,

    /// Behind the newest record
    #[arg(long)]
    pub to_latest: bool,

    /// To this offset
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    pub to_offset: Option<i64>,

    /// To the first record written at or after this time, as 2026-01-31T12:00:00Z; UTC unless it says otherwise
    #[arg(long, value_name = "TIME", value_parser = time::instant)]
    pub to_datetime: Option<i64>,

    /// To the first record written since this long ago, as PT1H30M or 90m
    #[arg(long, value_name = "DURATION", value_parser = time::duration_ms)]
    pub by_duration: Option<i64>,

    /// This many records onward, or back if negative
    #[arg(long, value_name = "RECORDS", allow_negative_numbers = true)]
    pub shift_by: Option<i64>,

    /// To what a file of topic,partition,offset lines says
    #[arg(long, value_name = "FILE", conflicts_with_all = ["all_topics", "topics"])]
    pub from_file: Option<PathBuf>,

    /// To what is committed, moved into the log if that is outside; to the end where nothing is
    #[arg(long)]
    pub to_current: bool,
}

fn topic_scope(text: &str) -> Result<TopicScope, String> {
    // No topic has a colon in its name.
    let (topic, partitions) = match text.split_once(':') {
        None => (text, Vec::new()),
        Some((topic, list)) => {
            let number = |text: &str| match text.trim().parse() {
                Ok(partition @ 0..) => Ok(partition),
                _ => Err(format!("`{text}` is not the number of a partition")),
            };
            (topic, list.split(',').map(number).collect::<Result<Vec<i32>, _>>()?)
        }
    };
    match topic {
        "" => Err("expected TOPIC or TOPIC:PARTITION,…".to_owned()),
        topic => Ok(TopicScope { topic: topic.to_owned(), partitions }),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn reset(args: &str) -> Result<GroupReset, clap::Error> {
        let words = ["kavka", "group", "reset", "g"].into_iter().chain(args.split_whitespace());
        match Cli::try_parse_from(words)?.command {
            Command::Group(Group { command: GroupCommand::Reset(reset) }) => Ok(reset),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_reset_says_which_partitions_and_where_to() {
        let parsed = reset("--topic a --topic b:0,2 --shift-by -5").unwrap();
        let scope = |topic: &str, partitions: &[i32]| TopicScope {
            topic: topic.to_owned(),
            partitions: partitions.to_vec(),
        };
        assert_eq!(parsed.scope.topics, [scope("a", &[]), scope("b", &[0, 2])]);
        assert_eq!((parsed.to.shift_by, parsed.execute, parsed.export), (Some(-5), false, false));
        assert!(reset("--from-file plan.csv --execute").unwrap().execute);
        for wrong in [
            "--to-earliest",
            "--all-topics",
            "--all-topics --to-earliest --to-latest",
            "--all-topics --topic a --to-earliest",
            "--topic a:x --to-earliest",
            "--topic a:-1 --to-earliest",
            "--topic :1 --to-earliest",
            "--topic a --from-file plan.csv",
            "--topic a --to-offset -1",
            "--topic a --to-datetime yesterday",
        ] {
            assert!(reset(wrong).is_err(), "{wrong}");
        }
    }
}
