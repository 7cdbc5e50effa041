//! What a peer that does not answer as Kafka does might be.

/// A guess from the first bytes of its first answer, and what to do about it.
pub(crate) fn guess(first: &[u8]) -> (String, &'static str) {
    const PORT: &str = "check host and port: this port belongs to another service";
    const TLS: &str = "this listener expects TLS (security.protocol SSL or SASL_SSL): use it, or the port of a PLAINTEXT listener";
    match first {
        // A TLS record: alert or handshake, versions 3.0 to 3.4.
        [0x15 | 0x16, 3, 0..=4, ..] => ("the answer is a TLS record".into(), TLS),
        [b'H', b'T', b'T', b'P', ..] => ("the answer is HTTP".into(), PORT),
        [b'S', b'S', b'H', b'-', ..] => ("the answer is SSH".into(), PORT),
        [b'2' | b'4' | b'5', b'0'..=b'9', b'0'..=b'9', b' ' | b'-', ..] => {
            ("the answer looks like a mail or FTP server".into(), PORT)
        }
        [b'-' | b'+', b'A'..=b'Z', ..] => ("the answer looks like Redis".into(), PORT),
        [] => (
            "the connection was closed before a byte came back".into(),
            "check the port, and whether this listener expects TLS or SASL",
        ),
        _ => ("the answer is not a Kafka response".into(), "check host and port"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_usual_suspects() {
        for (bytes, word) in [
            (&b"HTTP/1.1 400 Bad Request"[..], "HTTP"),
            (&[0x15, 3, 3, 0, 2, 2, 70], "TLS"),
            (b"SSH-2.0-OpenSSH", "SSH"),
            (b"220 mail ESMTP", "mail"),
            (b"-ERR unknown command", "Redis"),
            (b"", "closed"),
            (b"\0\0\0", "not a Kafka"),
        ] {
            assert!(guess(bytes).0.contains(word), "{bytes:?}");
        }
    }
}
