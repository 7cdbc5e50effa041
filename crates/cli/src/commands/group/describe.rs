//! `kavka group describe`.

use std::collections::{BTreeMap, BTreeSet};

use kavka::{
    Admin, Error, GroupDescription, GroupOffsets, IsolationLevel, MemberDescription, OffsetSpec,
    TopicPartition,
};
use serde_json::{Value, json};

use super::{note_failure, number, outcome, summary};
use crate::args::group::GroupDescribe;
use crate::commands::{admin, connect};
use crate::output::{Failure, Printer, Table};

/// A partition that a group reads or has read.
struct Row<'a> {
    partition: &'a TopicPartition,
    committed: Option<i64>,
    end: Result<Option<i64>, &'a Error>,
    owner: Option<&'a MemberDescription>,
}

/// Shows groups with offsets, lag and owners.
pub(super) async fn run(args: GroupDescribe, printer: &Printer) -> Result<(), Failure> {
    let client = connect(&args.connection).await?;
    let admin = admin(&client, &args.connection);
    let described = admin.describe_groups(&args.groups).await;
    let offsets = admin.list_group_offsets(&args.groups).await;
    let mut failure = None;
    let mut first = true;
    for (group, offsets) in described.into_iter().zip(offsets) {
        match group.and_then(|group| Ok((group, offsets?))) {
            Ok((group, offsets)) => {
                if !printer.is_json() && !std::mem::take(&mut first) {
                    printer.result("", Value::default)?;
                }
                show(&admin, &group, &offsets, &mut failure, printer).await?;
            }
            Err(error) => note_failure(&mut failure, error, printer),
        }
    }
    outcome(failure)
}

async fn show(
    admin: &Admin,
    group: &GroupDescription,
    offsets: &GroupOffsets,
    failure: &mut Option<Failure>,
    printer: &Printer,
) -> Result<(), Failure> {
    let owners: BTreeMap<&TopicPartition, &MemberDescription> = group
        .members
        .iter()
        .flat_map(|member| member.assignment.iter().map(move |partition| (partition, member)))
        .collect();
    let partitions: BTreeSet<&TopicPartition> = offsets.keys().chain(owners.keys().copied()).collect();
    let asked = partitions.iter().map(|partition| ((*partition).clone(), OffsetSpec::Latest));
    let ends = admin.list_offsets(asked, IsolationLevel::ReadUncommitted).await;
    let mut rows = Vec::with_capacity(partitions.len());
    for (partition, end) in partitions.into_iter().zip(&ends) {
        let committed = offsets.get(partition).and_then(|committed| match committed {
            Ok(committed) => Some(committed.offset),
            Err(error) => {
                note_failure(failure, error.clone(), printer);
                None
            }
        });
        let end = end.as_ref().map(|end| end.offset);
        if let Err(error) = end {
            note_failure(failure, error.clone(), printer);
        }
        rows.push(Row { partition, committed, end, owner: owners.get(partition).copied() });
    }
    if printer.is_json() {
        printer.result("", || group_json(group, &rows))?;
        return Ok(());
    }
    printer.result(summary(group), Value::default)?;
    if rows.is_empty() {
        printer.result("it has committed nothing", Value::default)?;
    }
    let mut table = Table::new(["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "OWNER", "HOST", "MEMBER"]);
    for row in &rows {
        table.row([
            row.partition.topic.to_string(),
            row.partition.partition.to_string(),
            number(row.committed),
            row.end.map_or_else(|_| "?".to_owned(), number),
            number(row.lag()),
            row.owner.map_or("-".to_owned(), |member| name(member).to_owned()),
            row.owner.map_or("-".to_owned(), |member| member.host.to_string()),
            row.owner.map_or("-".to_owned(), |member| member.member_id.to_string()),
        ]);
    }
    table.print(printer)?;
    if let Some(total) = total_lag(&rows) {
        printer.result(format_args!("lag in all: {total}"), Value::default)?;
    }
    Ok(())
}

impl Row<'_> {
    /// Records behind what was committed. Negative if the log has lost what was read.
    fn lag(&self) -> Option<i64> {
        let end = self.end.ok().flatten()?;
        Some(end.saturating_sub(self.committed?))
    }
}

fn total_lag(rows: &[Row<'_>]) -> Option<i64> {
    rows.iter().filter_map(Row::lag).reduce(i64::saturating_add)
}

/// A static member's name does not change; that of its client is what people know next best.
fn name(member: &MemberDescription) -> &str {
    member.instance_id.as_deref().unwrap_or(&member.client_id)
}

fn group_json(group: &GroupDescription, rows: &[Row<'_>]) -> Value {
    let partition = |row: &Row<'_>| {
        json!({
            "topic": &*row.partition.topic, "partition": row.partition.partition,
            "committed": row.committed, "end": row.end.ok().flatten(), "lag": row.lag(),
            "member": row.owner.map(|member| &*member.member_id),
            "client": row.owner.map(|member| &*member.client_id),
            "instance": row.owner.and_then(|member| member.instance_id.as_deref()),
            "host": row.owner.map(|member| &*member.host),
        })
    };
    json!({
        "group": &*group.group, "type": group.kind.name(), "state": group.state.name(),
        "protocol": &*group.protocol_type, "assignor": &*group.assignor,
        "coordinator": group.coordinator.id, "epoch": group.epoch, "members": group.members.len(),
        "lag": total_lag(rows), "partitions": rows.iter().map(partition).collect::<Vec<_>>(),
    })
}
