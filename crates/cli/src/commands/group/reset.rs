//! `kavka group reset`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use kavka::{
    Admin, ErrorCode, GroupState, IsolationLevel, ListedOffset, OffsetAndMetadata, OffsetSpec, TopicPartition,
};
use serde_json::json;

use super::plan::{Known, Step, Target};
use super::{csv, members, note_failure, number, outcome};
use crate::args::group::{GroupReset, ResetTo, TopicScope};
use crate::commands::{admin, connect};
use crate::output::{Failure, Printer, Table};

/// A partition and where it is reset to.
struct Move {
    partition: TopicPartition,
    old: Option<i64>,
    step: Step,
}

/// Plans a reset, shows it, and carries it out if told to.
pub(super) async fn run(args: GroupReset, printer: &Printer) -> Result<(), Failure> {
    if args.export && printer.is_json() {
        return Err(Failure { code: 2, what: "--export prints CSV: leave out --output json".to_owned() });
    }
    let file = match &args.to.from_file {
        None => None,
        Some(path) => {
            let named = |what: String| format!("{}: {what}", path.display());
            let text = tokio::fs::read_to_string(path).await.map_err(|error| named(error.to_string()))?;
            Some(csv::read(&text).map_err(named)?)
        }
    };
    let client = connect(&args.connection).await?;
    let admin = admin(&client, &args.connection);
    check_group(&admin, &args, printer).await?;

    let mut failure = None;
    let committed = committed(&admin, &args.group, &mut failure, printer).await?;
    let partitions = match &file {
        Some(plan) => plan.keys().cloned().collect(),
        None if args.scope.all_topics => committed.keys().cloned().collect(),
        None => in_scope(&admin, &args.scope.topics).await?,
    };
    if partitions.is_empty() {
        let what = format!("group {} has committed nothing; name topics with --topic", args.group);
        return Err(what.into());
    }
    let target = |partition: &TopicPartition| match &file {
        Some(plan) => plan.get(partition).map_or(Target::Current, |offset| Target::Offset(*offset)),
        None => common_target(&args.to),
    };
    let moves = plan(&admin, &partitions, &committed, target, &mut failure, printer).await;
    // Half of a plan is not what was asked for.
    if args.execute
        && let Some(failure) = failure
    {
        return Err(Failure { what: format!("nothing was reset: {}", failure.what), ..failure });
    }
    let done = if args.execute { execute(&admin, &args.group, &moves).await } else { Vec::new() };
    show(&args, &moves, done, &mut failure, printer)?;
    outcome(failure)
}

/// A group with members would go on from where they are.
async fn check_group(admin: &Admin, args: &GroupReset, printer: &Printer) -> Result<(), Failure> {
    let group = match admin.describe_groups([&args.group]).await.remove(0) {
        Ok(group) => group,
        Err(error) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => {
            let what = format!("no coordinator knows the group {}; a reset makes it", args.group);
            printer.progress(&what, || json!({ "note": what }));
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    if matches!(group.state, GroupState::Empty | GroupState::Dead) {
        return Ok(());
    }
    let what = format!(
        "group {} is {} and has {}: it can be reset when they have stopped",
        args.group,
        group.state,
        members(&group)
    );
    if args.execute {
        return Err(what.into());
    }
    printer.progress(&what, || json!({ "note": what }));
    Ok(())
}

async fn committed(
    admin: &Admin,
    group: &str,
    failure: &mut Option<Failure>,
    printer: &Printer,
) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let mut committed = BTreeMap::new();
    for (partition, value) in admin.list_group_offsets([group]).await.remove(0)? {
        match value {
            Ok(value) => {
                committed.insert(partition, value.offset);
            }
            Err(error) => note_failure(failure, error, printer),
        }
    }
    Ok(committed)
}

async fn in_scope(admin: &Admin, scopes: &[TopicScope]) -> Result<BTreeSet<TopicPartition>, Failure> {
    let described = admin.describe_topics(scopes.iter().map(|scope| &scope.topic)).await;
    let mut partitions = BTreeSet::new();
    for (scope, topic) in scopes.iter().zip(described) {
        let topic = topic?;
        let known: BTreeSet<i32> = topic.partitions.iter().map(|p| p.partition).collect();
        if let Some(wrong) = scope.partitions.iter().find(|partition| !known.contains(partition)) {
            let count = known.len();
            return Err(format!("topic {} has no partition {wrong}: it has {count}", scope.topic).into());
        }
        let wanted =
            if scope.partitions.is_empty() { known.into_iter().collect() } else { scope.partitions.clone() };
        partitions.extend(wanted.into_iter().map(|number| TopicPartition::new(topic.name.clone(), number)));
    }
    Ok(partitions)
}

/// The target that the command line names; it names exactly one.
fn common_target(to: &ResetTo) -> Target {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let since = |duration: i64| Target::Time(now().saturating_sub(duration));
    let offset = to.to_offset.map(Target::Offset);
    let time = to.to_datetime.map(Target::Time).or(to.by_duration.map(since));
    match offset.or(time).or(to.shift_by.map(Target::Shift)) {
        Some(target) => target,
        None if to.to_earliest => Target::Earliest,
        None if to.to_latest => Target::Latest,
        None => Target::Current,
    }
}

/// Works out what to do. What cannot be done is said, and left out.
async fn plan(
    admin: &Admin,
    partitions: &BTreeSet<TopicPartition>,
    committed: &BTreeMap<TopicPartition, i64>,
    target: impl Fn(&TopicPartition) -> Target,
    failure: &mut Option<Failure>,
    printer: &Printer,
) -> Vec<Move> {
    let targets: Vec<(&TopicPartition, Target)> = partitions.iter().map(|p| (p, target(p))).collect();
    let mut asked = Vec::with_capacity(3 * targets.len());
    for (partition, target) in &targets {
        asked.push(((*partition).clone(), OffsetSpec::Earliest));
        asked.push(((*partition).clone(), OffsetSpec::Latest));
        asked.push(match target {
            Target::Time(ms) => ((*partition).clone(), OffsetSpec::Timestamp(*ms)),
            _ => continue,
        });
    }
    let mut listed = admin.list_offsets(asked, IsolationLevel::ReadUncommitted).await.into_iter();
    let mut moves = Vec::with_capacity(targets.len());
    for (partition, target) in targets {
        let (earliest, latest) = (listed.next(), listed.next());
        let at_time = if let Target::Time(_) = target { listed.next() } else { None };
        let old = committed.get(partition).copied();
        match known(old, earliest, latest, at_time).map(|known| target.apply(&known)) {
            Ok(Ok(step)) => moves.push(Move { partition: partition.clone(), old, step }),
            Ok(Err(why)) => {
                let TopicPartition { topic, partition } = partition;
                note_failure(failure, format!("topic {topic}, partition {partition}: {why}"), printer);
            }
            Err(error) => note_failure(failure, error, printer),
        }
    }
    moves
}

/// What was listed of an offset, if it was asked for.
type Listed = Option<kavka::Result<ListedOffset>>;

fn known(
    committed: Option<i64>,
    earliest: Listed,
    latest: Listed,
    at_time: Listed,
) -> Result<Known, Failure> {
    let offset = |listed: Listed| -> kavka::Result<Option<i64>> {
        Ok(listed.transpose()?.and_then(|listed| listed.offset))
    };
    // Every log has both. To guess one would move the group to where nobody wanted it.
    let untold = "the leader of a partition did not tell where its log begins and ends";
    Ok(Known {
        committed,
        earliest: offset(earliest)?.ok_or(untold)?,
        latest: offset(latest)?.ok_or(untold)?,
        at_time: offset(at_time)?,
    })
}

async fn execute(admin: &Admin, group: &str, moves: &[Move]) -> Vec<kavka::Result<()>> {
    let offsets = moves.iter().map(|m| (m.partition.clone(), OffsetAndMetadata::new(m.step.new)));
    admin.alter_group_offsets(group, offsets).await
}

fn show(
    args: &GroupReset,
    moves: &[Move],
    done: Vec<kavka::Result<()>>,
    failure: &mut Option<Failure>,
    printer: &Printer,
) -> std::io::Result<()> {
    let mut table = Table::new(["TOPIC", "PARTITION", "OLD", "NEW", "NOTE"]);
    let mut done = done.into_iter();
    let mut set = 0;
    for Move { partition, old, step } in moves {
        let mut applied = false;
        match done.next() {
            None => {}
            Some(Ok(())) => {
                applied = true;
                set += 1;
            }
            Some(Err(error)) => {
                note_failure(failure, error, printer);
                continue;
            }
        }
        if args.export {
            printer.result(csv::line(partition, step.new), Default::default)?;
        } else if printer.is_json() {
            printer.result("", || {
                json!({
                    "group": args.group, "topic": &*partition.topic, "partition": partition.partition,
                    "old": old, "new": step.new, "note": step.note, "applied": applied,
                })
            })?;
        } else {
            table.row([
                partition.topic.to_string(),
                partition.partition.to_string(),
                number(*old),
                step.new.to_string(),
                step.note.clone().unwrap_or_default(),
            ]);
        }
    }
    table.print(printer)?;
    let what = match args.execute {
        true => format!("{set} of {} offsets were set", moves.len()),
        false => "nothing was changed; --execute does it".to_owned(),
    };
    printer.progress(&what, || json!({ "note": what }));
    Ok(())
}
