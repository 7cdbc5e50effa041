//! ApiVersions, the first exchange on every connection (KIP-35, KIP-511, KIP-1242).
//!
//! ```text
//!   Ask(highest) ──UNSUPPORTED_VERSION──▶ Ask(what the broker offers, strictly lower) ──▶ ...
//!        └───────────────────ok──────────────────┴──▶ done
//! ```
//!
//! TLS comes before this, in the stream that the dialer gives; SASL comes after it and before the first request, as
//! another step of this machine.

use bytes::Bytes;
use bytestring::ByteString;
use kavka_wire::codec::{EncodeError, Frame, Limits};
use kavka_wire::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kavka_wire::{ApiKey, ErrorCode, decode_response, request_frame};

use super::guess::guess;
use super::versions::Versions;
use crate::error::{Error, ErrorKind, Peer};

const OWN_MAX: i16 = 5;

/// What a connection says about its client, and which version of ApiVersions it starts with.
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    pub(crate) client_id: ByteString,
    /// The cluster this connection is meant for, once known: the broker refuses strangers (KIP-1242).
    pub(crate) cluster_id: Option<ByteString>,
    /// The broker this connection is meant for; negative when only its address is known.
    pub(crate) node: i32,
    /// The version to start with.
    pub(crate) version: i16,
}

impl Hello {
    /// The highest version of ApiVersions that is spoken here.
    pub(crate) const MAX: i16 = OWN_MAX;
}

#[derive(Debug)]
pub(crate) struct Handshake {
    hello: Hello,
    version: i16,
}

/// What follows from an answer.
#[derive(Debug)]
pub(crate) enum Step {
    /// Ask again, in the version that is now set.
    Again,
    /// Both sides know each other.
    Done(Versions, ApiVersionsResponse),
    /// It cannot work.
    Failed(Error),
}

impl Handshake {
    pub(crate) fn new(hello: Hello) -> Self {
        Handshake { version: hello.version.clamp(0, OWN_MAX), hello }
    }

    pub(crate) fn request(&self, correlation_id: i32) -> Result<Frame, EncodeError> {
        let Hello { client_id, cluster_id, node, .. } = &self.hello;
        let request = ApiVersionsRequest {
            client_software_name: "kavka".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
            cluster_id: cluster_id.clone(),
            // An id without a cluster to look it up in would say nothing.
            node_id: if cluster_id.is_some() { (*node).max(-1) } else { -1 },
            ..ApiVersionsRequest::default()
        };
        request_frame(&request, self.version, correlation_id, Some(client_id))
    }

    pub(crate) fn answer(&mut self, frame: Bytes, limits: &Limits, peer: &Peer) -> Step {
        // The error code stands behind the correlation id in every version. This one is always answered as version 0.
        let code =
            frame.get(4..6).map_or(ErrorCode(0), |code| ErrorCode(i16::from_be_bytes([code[0], code[1]])));
        let refused = code == ErrorCode::UNSUPPORTED_VERSION;
        let first = frame.clone();
        let answer = match decode_response::<ApiVersionsRequest>(
            frame,
            if refused { 0 } else { self.version },
            limits,
        ) {
            Ok((_, answer)) => answer,
            // Some brokers refuse with nothing behind the code.
            Err(_) if refused => ApiVersionsResponse { error_code: code, ..ApiVersionsResponse::default() },
            Err(error) => {
                let (what, remedy) = guess(&first);
                return Step::Failed(
                    Error::new(ErrorKind::NotKafka, format!("no version negotiation: {what}"))
                        .at(peer)
                        .caused_by(error)
                        .remedy(remedy),
                );
            }
        };
        match answer.error_code {
            ErrorCode::NONE => Step::Done(Versions::new(&answer), answer),
            ErrorCode::UNSUPPORTED_VERSION => self.lower(&answer, peer),
            code => {
                let remedy = match code {
                    ErrorCode::REBOOTSTRAP_REQUIRED => {
                        "this address now belongs to another cluster or broker"
                    }
                    _ => "see the broker's log",
                };
                let error = Error::new(
                    ErrorKind::Broker(code),
                    format!("version negotiation was refused with {code}"),
                );
                Step::Failed(error.at(peer).remedy(remedy))
            }
        }
    }

    fn lower(&mut self, answer: &ApiVersionsResponse, peer: &Peer) -> Step {
        let offered = answer.api_keys.iter().find(|api| api.api_key == ApiKey::API_VERSIONS.0);
        let version = offered.map_or(0, |api| api.max_version.min(OWN_MAX));
        // Strictly lower each time, or a confused peer could keep us asking for ever.
        if version >= self.version || version < 0 {
            let what =
                format!("the broker refused version {} of ApiVersions and offers no lower one", self.version);
            return Step::Failed(Error::new(ErrorKind::Unsupported, what).at(peer));
        }
        self.version = version;
        Step::Again
    }
}

#[cfg(test)]
mod tests {
    use kavka_wire::messages::api_versions::ApiVersion;
    use kavka_wire::response_frame;

    use super::*;

    fn hello(version: i16) -> Hello {
        Hello { client_id: "t".into(), cluster_id: None, node: 1, version }
    }

    fn frame(answer: &ApiVersionsResponse, version: i16) -> Bytes {
        response_frame(ApiKey::API_VERSIONS, answer, version, 0).unwrap().into_bytes().slice(4..)
    }

    fn offers(error_code: ErrorCode, max_version: i16) -> ApiVersionsResponse {
        let api_keys = vec![ApiVersion { api_key: 18, min_version: 0, max_version, ..Default::default() }];
        ApiVersionsResponse { error_code, api_keys, ..Default::default() }
    }

    fn peer() -> Peer {
        Peer::new(1, "a", 1)
    }

    #[test]
    fn a_refused_version_is_followed_by_the_one_the_broker_offers() {
        let mut handshake = Handshake::new(hello(Hello::MAX));
        let refused = frame(&offers(ErrorCode::UNSUPPORTED_VERSION, 3), 0);
        assert!(matches!(handshake.answer(refused, &Limits::default(), &peer()), Step::Again));
        assert_eq!(handshake.version, 3);
        let accepted = frame(&offers(ErrorCode::NONE, 3), 3);
        let Step::Done(versions, _) = handshake.answer(accepted, &Limits::default(), &peer()) else {
            panic!()
        };
        assert_eq!(versions.range(ApiKey::API_VERSIONS), Some(0..=3));
    }

    #[test]
    fn a_refusal_without_an_offer_means_version_0_and_then_the_end() {
        let mut handshake = Handshake::new(hello(Hello::MAX));
        let bare = Bytes::from_static(&[0, 0, 0, 0, 0, 35]);
        assert!(matches!(handshake.answer(bare.clone(), &Limits::default(), &peer()), Step::Again));
        assert_eq!(handshake.version, 0);
        let Step::Failed(error) = handshake.answer(bare, &Limits::default(), &peer()) else { panic!() };
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn an_offer_that_is_not_lower_ends_it() {
        let mut handshake = Handshake::new(hello(2));
        let refused = frame(&offers(ErrorCode::UNSUPPORTED_VERSION, 4), 0);
        assert!(matches!(handshake.answer(refused, &Limits::default(), &peer()), Step::Failed(_)));
    }

    #[test]
    fn other_error_codes_and_nonsense_are_told() {
        let mut handshake = Handshake::new(hello(5));
        let refused = frame(&offers(ErrorCode::REBOOTSTRAP_REQUIRED, 5), 5);
        let Step::Failed(error) = handshake.answer(refused, &Limits::default(), &peer()) else { panic!() };
        assert_eq!(error.kind(), ErrorKind::Broker(ErrorCode::REBOOTSTRAP_REQUIRED));
        let nonsense = Bytes::from_static(b"\0\0\0\0\0\0nonsense");
        let Step::Failed(error) = handshake.answer(nonsense, &Limits::default(), &peer()) else { panic!() };
        assert_eq!(error.kind(), ErrorKind::NotKafka);
    }

    #[test]
    fn the_broker_is_named_only_together_with_its_cluster() {
        let sent = |hello: Hello| {
            use kavka_wire::codec::{Message, Reader};
            let frame = Handshake::new(hello).request(0).unwrap().into_bytes().slice(4..);
            let mut reader = Reader::new(frame.clone(), &Limits::default());
            let head = kavka_wire::read_request_head(&mut reader, &frame).unwrap();
            ApiVersionsRequest::decode(&mut reader, head.version).unwrap()
        };
        assert_eq!(sent(hello(5)).node_id, -1);
        let known = sent(Hello { cluster_id: Some("c".into()), ..hello(5) });
        assert_eq!((known.node_id, known.cluster_id.as_deref()), (1, Some("c")));
        let bootstrap = sent(Hello { cluster_id: Some("c".into()), node: -2, ..hello(5) });
        assert_eq!(bootstrap.node_id, -1);
    }
}
