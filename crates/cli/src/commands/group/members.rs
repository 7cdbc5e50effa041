//! `kavka group members`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kavka::{GroupDescription, MemberDescription, TopicPartition};
use serde_json::{Value, json};

use super::{or_dash, summary};
use crate::args::group::GroupMembers;
use crate::commands::{admin, connect};
use crate::output::{Failure, Printer, Table};

/// Shows the members of a group.
pub(super) async fn run(args: GroupMembers, printer: &Printer) -> Result<(), Failure> {
    let client = connect(&args.connection).await?;
    let group = admin(&client, &args.connection).describe_groups([&args.group]).await.remove(0)?;
    if printer.is_json() {
        for member in &group.members {
            printer.result("", || member_json(&group, member))?;
        }
        return Ok(());
    }
    printer.result(summary(&group), Value::default)?;
    if args.verbose {
        for member in &group.members {
            printer.result(verbose(member), Value::default)?;
        }
        return Ok(());
    }
    let mut table = Table::new(["MEMBER", "CLIENT", "INSTANCE", "HOST", "RACK", "EPOCH", "PARTITIONS"]);
    for member in &group.members {
        table.row([
            member.member_id.to_string(),
            member.client_id.to_string(),
            or_dash(member.instance_id.as_deref()),
            member.host.to_string(),
            or_dash(member.rack.as_deref()),
            super::number(member.epoch.map(i64::from)),
            member.assignment.len().to_string(),
        ]);
    }
    table.print(printer)?;
    Ok(())
}

fn verbose(member: &MemberDescription) -> String {
    let mut text = format!("{}\n  client {} at {}", member.member_id, member.client_id, member.host);
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            // Writing to a string does not fail.
            let _ = write!(text, "\n  {name} {value}");
        }
    };
    line("instance", member.instance_id.as_ref().map(ToString::to_string));
    line("rack", member.rack.as_ref().map(ToString::to_string));
    line("epoch", member.epoch.map(|epoch| epoch.to_string()));
    line("protocol", (member.epoch.is_some() && member.classic == Some(true)).then(|| "classic".to_owned()));
    line("subscribed to", Some(member.topics.join(", ")).filter(|topics| !topics.is_empty()));
    line("pattern", member.pattern.as_ref().map(ToString::to_string));
    line("has", Some(by_topic(&member.assignment)));
    line("shall have", member.target.as_deref().filter(|target| *target != member.assignment).map(by_topic));
    text
}

/// `orders(0,1) payments(3)`.
fn by_topic(partitions: &[TopicPartition]) -> String {
    let mut topics: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition.to_string());
    }
    let topics: Vec<String> =
        topics.iter().map(|(topic, numbers)| format!("{topic}({})", numbers.join(","))).collect();
    if topics.is_empty() { "nothing".to_owned() } else { topics.join(" ") }
}

fn member_json(group: &GroupDescription, member: &MemberDescription) -> Value {
    let topics: Vec<&str> = member.topics.iter().map(|topic| &**topic).collect();
    json!({
        "group": &*group.group, "member": &*member.member_id, "client": &*member.client_id,
        "host": &*member.host, "instance": member.instance_id.as_deref(), "rack": member.rack.as_deref(),
        "epoch": member.epoch, "classic": member.classic, "topics": topics, "pattern": member.pattern.as_deref(),
        "assignment": partitions_json(&member.assignment),
        "target": member.target.as_deref().map(partitions_json),
    })
}

fn partitions_json(partitions: &[TopicPartition]) -> Vec<Value> {
    partitions.iter().map(|p| json!({ "topic": &*p.topic, "partition": p.partition })).collect()
}
