//! Where a partition is reset to.

/// Where to, as the command line says it for all partitions or a file for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Earliest,
    Latest,
    Offset(i64),
    /// To the first record of a time or later.
    Time(i64),
    Shift(i64),
    Current,
}

/// What is known of a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) committed: Option<i64>,
    pub(super) earliest: i64,
    pub(super) latest: i64,
    /// The first record of the time that was asked for, if there is one.
    pub(super) at_time: Option<i64>,
}

/// An offset to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) new: i64,
    /// What is to be said of it: that it is not what was asked for, and why.
    pub(super) note: Option<String>,
}

impl Target {
    /// The new offset, always inside the log. Fails where there is nothing to shift.
    pub(super) fn apply(self, known: &Known) -> Result<Step, &'static str> {
        let Known { committed, earliest, latest, at_time } = *known;
        let exact = |new| Ok(Step { new, note: None });
        match self {
            Target::Earliest => exact(earliest),
            Target::Latest => exact(latest),
            Target::Offset(offset) => Ok(clamped(offset, known)),
            Target::Time(_) => match at_time {
                Some(offset) => exact(offset),
                None => Ok(Step { new: latest, note: Some("no record so new: the end".to_owned()) }),
            },
            Target::Shift(by) => match committed {
                Some(offset) => Ok(clamped(offset.saturating_add(by), known)),
                None => Err(
                    "nothing is committed that could be shifted; give an offset, or --to-earliest or --to-latest",
                ),
            },
            Target::Current => match committed {
                Some(offset) => Ok(clamped(offset, known)),
                None => Ok(Step { new: latest, note: Some("nothing is committed: the end".to_owned()) }),
            },
        }
    }
}

fn clamped(wanted: i64, known: &Known) -> Step {
    let Known { earliest, latest, .. } = *known;
    // A log that is being truncated may tell its end before its beginning.
    let new = wanted.max(earliest).min(latest.max(earliest));
    let note = (new != wanted).then(|| match wanted < new {
        true => format!("{wanted} is before the log: its beginning"),
        false => format!("{wanted} is behind the log: its end"),
    });
    Step { new, note }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(committed: Option<i64>, at_time: Option<i64>) -> Known {
        Known { committed, earliest: 10, latest: 100, at_time }
    }

    #[test]
    fn every_target_is_inside_the_log() {
        for (target, committed, at_time, new, noted) in [
            (Target::Earliest, None, None, 10, false),
            (Target::Latest, Some(5), None, 100, false),
            (Target::Offset(50), None, None, 50, false),
            (Target::Offset(100), None, None, 100, false),
            (Target::Offset(101), None, None, 100, true),
            (Target::Offset(9), None, None, 10, true),
            (Target::Time(0), None, Some(70), 70, false),
            (Target::Time(0), None, None, 100, true),
            (Target::Shift(-5), Some(20), None, 15, false),
            (Target::Shift(-15), Some(20), None, 10, true),
            (Target::Shift(i64::MAX), Some(20), None, 100, true),
            (Target::Shift(i64::MIN), Some(20), None, 10, true),
            (Target::Current, Some(20), None, 20, false),
            (Target::Current, Some(5), None, 10, true),
            (Target::Current, None, None, 100, true),
        ] {
            let step = target.apply(&known(committed, at_time)).unwrap();
            assert_eq!((step.new, step.note.is_some()), (new, noted), "{target:?} from {committed:?}");
        }
        assert!(Target::Shift(1).apply(&known(None, None)).is_err());
    }
}
