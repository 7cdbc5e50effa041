/// What a control record says to consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlRecord {
    /// The producer's transaction was aborted.
    Abort {
        /// Epoch of the transaction coordinator that decided it.
        coordinator_epoch: i32,
    },
    /// The producer's transaction was committed.
    Commit {
        /// Epoch of the transaction coordinator that decided it.
        coordinator_epoch: i32,
    },
    /// Something between brokers, by its type.
    Other(i16),
}

/// Reads a control record's key (version, type) and value; `None` when they cannot be one.
pub fn control_record(key: Option<&[u8]>, value: Option<&[u8]>) -> Option<ControlRecord> {
    let key = key?;
    if i16::from_be_bytes(*key.first_chunk()?) < 0 {
        return None;
    }
    let kind = i16::from_be_bytes(*key.get(2..)?.first_chunk()?);
    // An end marker's value is a version and the epoch; newer versions may go on behind it.
    let epoch = || Some(i32::from_be_bytes(*value?.get(2..)?.first_chunk()?));
    Some(match kind {
        0 => ControlRecord::Abort { coordinator_epoch: epoch()? },
        1 => ControlRecord::Commit { coordinator_epoch: epoch()? },
        other => ControlRecord::Other(other),
    })
}
