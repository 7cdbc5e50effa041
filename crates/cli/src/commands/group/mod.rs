//! `kavka group`.

mod csv;
mod describe;
mod members;
mod plan;
mod reset;
pub mod time;

use kavka::{GroupDescription, GroupFilter, GroupState, GroupType};
use serde_json::json;

use super::{admin, connect};
use crate::args::group::{Group, GroupCommand, GroupDelete, GroupList};
use crate::output::{Failure, Printer, Table};

/// Lists, describes, deletes or resets consumer groups.
pub async fn run(args: Group, printer: &Printer) -> Result<(), Failure> {
    match args.command {
        GroupCommand::List(args) => list(args, printer).await,
        GroupCommand::Describe(args) => describe::run(args, printer).await,
        GroupCommand::Members(args) => members::run(args, printer).await,
        GroupCommand::Delete(args) => delete(args, printer).await,
        GroupCommand::Reset(args) => reset::run(args, printer).await,
    }
}

async fn list(args: GroupList, printer: &Printer) -> Result<(), Failure> {
    let states: Vec<GroupState> = parsed(&args.state);
    let types: Vec<GroupType> = parsed(&args.kind);
    let client = connect(&args.connection).await?;
    let filter = GroupFilter::new().states(states).types(types);
    let listings = admin(&client, &args.connection).list_groups(filter).await?;
    let mut table = Table::new(["GROUP", "TYPE", "STATE", "PROTOCOL", "COORDINATOR"]);
    for group in &listings.groups {
        let kind = group.kind.as_ref().map(GroupType::name);
        let state = group.state.as_ref().map(GroupState::name);
        if printer.is_json() {
            printer.result("", || {
                json!({
                    "group": &*group.group, "type": kind, "state": state,
                    "protocol": &*group.protocol_type, "coordinator": group.coordinator,
                })
            })?;
        } else {
            table.row([
                group.group.to_string(),
                or_dash(kind),
                or_dash(state),
                or_dash(Some(&*group.protocol_type)),
                group.coordinator.to_string(),
            ]);
        }
    }
    table.print(printer)?;
    match listings.errors.into_iter().next() {
        None => Ok(()),
        Some(error) => Err(format!("the list is not complete: {error}").into()),
    }
}

async fn delete(args: GroupDelete, printer: &Printer) -> Result<(), Failure> {
    let client = connect(&args.connection).await?;
    let results = admin(&client, &args.connection).delete_groups(&args.groups).await;
    // Every group is tried; the last failure is the command's.
    let mut failure = None;
    for (group, result) in args.groups.iter().zip(results) {
        match result {
            Ok(()) => printer
                .result(format_args!("deleted {group}"), || json!({ "group": group, "deleted": true }))?,
            Err(error) => note_failure(&mut failure, error, printer),
        }
    }
    outcome(failure)
}

/// Names have all a parse, known or not.
fn parsed<T: std::str::FromStr<Err = std::convert::Infallible>>(names: &[String]) -> Vec<T> {
    names.iter().map(|name| name.parse().unwrap_or_else(|never| match never {})).collect()
}

/// Of several failures the last one ends the command; those before it are said when they happen.
fn note_failure(failure: &mut Option<Failure>, error: impl Into<Failure>, printer: &Printer) {
    if let Some(before) = failure.replace(error.into()) {
        printer.failure(&before.what);
    }
}

fn outcome(failure: Option<Failure>) -> Result<(), Failure> {
    failure.map_or(Ok(()), Err)
}

fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}

fn number(number: Option<i64>) -> String {
    number.map_or("-".to_owned(), |number| number.to_string())
}

/// `Stable, classic protocol, assignor range, 2 members, coordinator 1 (host:9092)`.
fn summary(group: &GroupDescription) -> String {
    let mut text = format!("{}: {}, {} protocol", group.group, group.state, group.kind);
    if !group.assignor.is_empty() {
        text += &format!(", assignor {}", group.assignor);
    }
    if let Some(epoch) = group.epoch {
        text += &format!(", epoch {epoch}");
    }
    text + &format!(", {}, coordinator {}", members(group), group.coordinator)
}

/// `1 member`, `2 members`.
fn members(group: &GroupDescription) -> String {
    let count = group.members.len();
    format!("{count} member{}", if count == 1 { "" } else { "s" })
}
