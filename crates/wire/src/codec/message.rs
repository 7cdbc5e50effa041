use std::ops::RangeInclusive;

use bytes::Bytes;

use super::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind, Field, Limits, Reader, Writer};
use crate::ApiKey;

/// A struct of fields, as the schemas define them.
pub trait Struct: Field + Default {}

/// A whole message: a request, a response, or a value embedded in one.
pub trait Message: Struct + Send + Sync + 'static {
    /// The schema's name, as `FetchRequest`.
    const NAME: &'static str;
    /// The versions that this library reads and writes.
    const VERSIONS: RangeInclusive<i16>;
    /// The first flexible version (KIP-482); `i16::MAX` when there is none.
    const FLEXIBLE: i16;

    /// How long the sender of this answer asks to be left alone (KIP-219), in milliseconds; 0 for messages that cannot say so.
    fn throttle_time_ms(&self) -> i32 {
        0
    }

    /// Reads the message from where the reader stands; bytes may follow it.
    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(r.error(DecodeErrorKind::Version).within(Self::NAME, version));
        }
        Self::read(r, version, version >= Self::FLEXIBLE).map_err(|e| e.within(Self::NAME, version))
    }

    /// Reads the message from bytes that hold nothing else.
    fn from_bytes(bytes: Bytes, version: i16, limits: &Limits) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, limits);
        let message = Self::decode(&mut reader, version)?;
        reader.finish().map_err(|e| e.within(Self::NAME, version))?;
        Ok(message)
    }

    /// Writes the message.
    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::new(Self::NAME, "", version, EncodeErrorKind::Version));
        }
        self.write(w, version, version >= Self::FLEXIBLE).map_err(|e| e.within(Self::NAME, version))
    }

    /// The message alone, in one piece.
    fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut writer = Writer::new();
        self.encode(&mut writer, version)?;
        Ok(writer.into_bytes())
    }
}

/// A request, with the answer that belongs to it.
pub trait Request: Message {
    /// The API.
    const KEY: ApiKey;
    /// What the broker answers.
    type Response: Message;
}
