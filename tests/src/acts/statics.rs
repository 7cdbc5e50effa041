//! Static members (KIP-345): they come back, and nobody may have two of one name.

use std::time::Duration;

use super::Stage;
use crate::Outcome;
use crate::group::{Kind, Protocol, Terms};

/// Longer than a restart here takes.
const SESSION: Duration = Duration::from_secs(20);

fn terms(protocol: Protocol, instance: &str) -> Terms {
    Terms { instance: Some(instance.to_owned()), session: SESSION, ..Terms::under(protocol) }
}

/// A static member of each kind restarts within its session while a dynamic one looks on: it gets its own partitions again, and
/// the others hear of nothing.
///
/// # Errors
/// Something else happened.
pub async fn restarts_are_not_noticed(
    stage: &mut Stage<'_>,
    kinds: &[Kind],
    onlooker: Kind,
    protocol: Protocol,
    crashes: bool,
) -> Outcome {
    let onlooker = stage.join(onlooker, &Terms { session: SESSION, ..Terms::under(protocol) })?;
    let mut members = Vec::new();
    for (kind, instance) in kinds.iter().zip(["one", "two", "three"]) {
        members.push((stage.join(*kind, &terms(protocol, instance))?, *kind, instance));
    }
    stage.shared().await?;
    stage.load();
    stage.goes_on().await?;
    stage.calm(Duration::from_secs(1)).await?;
    let generation = stage.crew.generation();
    for at in 0..members.len() {
        let (member, kind, instance) = members[at];
        let owned = stage.crew.owned_by(member);
        let others = members.iter().map(|(other, ..)| *other).filter(|other| *other != member);
        let others: Vec<usize> = others.chain([onlooker]).collect();
        let told: Vec<usize> = others.iter().map(|other| stage.crew.told(*other)).collect();
        match crashes {
            true => stage.crew.crash(member),
            false => stage.crew.leave(member).await?,
        }
        members[at].0 = stage.join(kind, &terms(protocol, instance))?;
        stage.shared().await.map_err(|error| format!("{kind:?} member {instance} comes back: {error}"))?;
        stage.goes_on().await?;
        let now: Vec<usize> = others.iter().map(|other| stage.crew.told(*other)).collect();
        assert_eq!(now, told, "others heard of the restart of the {kind:?} member {instance}");
        assert_eq!(stage.crew.owned_by(members[at].0), owned, "{kind:?} member {instance}");
    }
    assert_eq!(stage.crew.generation(), generation);
    Ok(())
}

/// A second member with the same instance id comes. Under the classic protocol it takes over and the first one is told; under the
/// consumer protocol the first one stays and the second one is told. Says what was told.
///
/// # Errors
/// Something else happened.
pub async fn one_of_two_with_one_name_is_refused(
    stage: &mut Stage<'_>,
    first: Kind,
    second: Kind,
    protocol: Protocol,
) -> Outcome<String> {
    let first = stage.join(first, &terms(protocol, "same"))?;
    stage.shared().await?;
    stage.load();
    stage.goes_on().await?;
    let second = stage.join(second, &terms(protocol, "same"))?;
    let refused = match protocol {
        Protocol::Classic(_) => first,
        Protocol::Consumer => second,
    };
    let error = stage.crew.failure_of(refused).await?;
    stage.shared().await?;
    stage.goes_on().await?;
    Ok(error)
}
