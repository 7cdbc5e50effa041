//! Frames: a size, a header, a message.

use bytes::Bytes;
use bytestring::ByteString;

use crate::ApiKey;
use crate::codec::{DecodeError, EncodeError, Frame, Limits, Message, Reader, Request, Writer};
use crate::messages::{RequestHeader, ResponseHeader};

/// A whole request frame, size included, in the header version that the API version asks for.
pub fn request_frame<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&ByteString>,
) -> Result<Frame, EncodeError> {
    let mut writer = begin_request(R::KEY, version, correlation_id, client_id)?;
    request.encode(&mut writer, version)?;
    Ok(sized(writer))
}

/// A whole response frame, size included.
pub fn response_frame<M: Message>(
    key: ApiKey,
    response: &M,
    version: i16,
    correlation_id: i32,
) -> Result<Frame, EncodeError> {
    let mut writer = begin_response(key, version, correlation_id)?;
    response.encode(&mut writer, version)?;
    Ok(sized(writer))
}

// What frames have in common does not depend on the type of the message, so that it is compiled once.

fn begin_request(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    client_id: Option<&ByteString>,
) -> Result<Writer, EncodeError> {
    let header = RequestHeader {
        request_api_key: key.0,
        request_api_version: version,
        correlation_id,
        client_id: client_id.cloned(),
        ..RequestHeader::default()
    };
    begin(&header, if key.is_flexible(version) { 2 } else { 1 })
}

fn begin_response(key: ApiKey, version: i16, correlation_id: i32) -> Result<Writer, EncodeError> {
    let header = ResponseHeader { correlation_id, ..ResponseHeader::default() };
    begin(&header, response_header_version(key, version))
}

/// A frame of which the message is still to be written.
fn begin<H: Message>(header: &H, version: i16) -> Result<Writer, EncodeError> {
    let mut writer = Writer::new();
    writer.raw(&[0; 4]);
    header.encode(&mut writer, version)?;
    Ok(writer)
}

/// The frame that was written, with its size in front.
fn sized(mut writer: Writer) -> Frame {
    // A frame beyond two GiB cannot be said in its size field; the peer's own limit is far below, so a saturated size
    // only has to be wrong in the direction that the peer rejects.
    let size = i32::try_from(writer.len() - 4).unwrap_or(i32::MAX);
    writer.patch_i32(0, size);
    writer.into_frame()
}

/// The answer to `R` inside a response frame (without its size): the correlation id and the message.
pub fn decode_response<R: Request>(
    frame: Bytes,
    version: i16,
    limits: &Limits,
) -> Result<(i32, R::Response), DecodeError> {
    let (mut reader, correlation_id) = open_response(frame, R::KEY, version, limits)?;
    let response = R::Response::decode(&mut reader, version)?;
    reader.finish()?;
    Ok((correlation_id, response))
}

/// Reads the header of a response; the message is next.
fn open_response(
    frame: Bytes,
    key: ApiKey,
    version: i16,
    limits: &Limits,
) -> Result<(Reader, i32), DecodeError> {
    let mut reader = Reader::new(frame, limits);
    let header = ResponseHeader::decode(&mut reader, response_header_version(key, version))?;
    Ok((reader, header.correlation_id))
}

/// What stands in front of every request.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestHead {
    /// The API asked for; possibly one that is not known here.
    pub key: ApiKey,
    /// The version of the request that follows.
    pub version: i16,
    /// To be repeated in the answer.
    pub correlation_id: i32,
    /// The client's own name for itself.
    pub client_id: Option<ByteString>,
}

/// Reads the header of a request frame (without its size) and leaves the reader at the message.
pub fn read_request_head(reader: &mut Reader, frame: &Bytes) -> Result<RequestHead, DecodeError> {
    // The header's own version depends on the API and version in its first four bytes.
    let number = |at: usize| frame.get(at..at + 2).map_or(0, |b| i16::from_be_bytes([b[0], b[1]]));
    let flexible = ApiKey(number(0)).is_flexible(number(2));
    let header = RequestHeader::decode(reader, if flexible { 2 } else { 1 })?;
    Ok(RequestHead {
        key: ApiKey(header.request_api_key),
        version: header.request_api_version,
        correlation_id: header.correlation_id,
        client_id: header.client_id,
    })
}

/// ApiVersions is answered in the oldest header, so that a client of any age can read it.
fn response_header_version(key: ApiKey, version: i16) -> i16 {
    i16::from(key != ApiKey::API_VERSIONS && key.is_flexible(version))
}
