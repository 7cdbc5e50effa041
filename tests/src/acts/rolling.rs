//! Members are replaced one after the other by members on other terms, under load.

use super::Stage;
use crate::Outcome;
use crate::group::{Kind, Protocol, Terms};

/// Members of these kinds join on the first terms and are replaced on each of the others, one after the other: as a service is
/// restarted. The partitions are shared evenly after each step and go on; the group has a member at each moment.
///
/// # Errors
/// Something else happened.
pub async fn terms_change(stage: &mut Stage<'_>, kinds: &[Kind], terms: &[Protocol]) -> Outcome {
    let mut terms = terms.iter();
    let first = Terms::under(*terms.next().ok_or("no terms")?);
    let mut members = Vec::new();
    for kind in kinds {
        members.push((stage.join(*kind, &first)?, *kind));
    }
    stage.shared().await?;
    stage.load();
    stage.goes_on().await?;
    for protocol in terms {
        for (member, kind) in &mut members {
            stage.crew.leave(*member).await?;
            *member = stage.join(*kind, &Terms::under(*protocol))?;
            let step = async {
                stage.shared().await?;
                stage.goes_on().await
            };
            step.await.map_err(|error| format!("a {kind:?} member joins under {protocol:?}: {error}"))?;
        }
    }
    Ok(())
}
