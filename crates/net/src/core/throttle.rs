//! How long a broker asked us to be quiet (KIP-219).

use std::time::Duration;

/// The pause in an answer's throttle time; nonsense is no pause.
pub(crate) fn pause(throttle_time_ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(throttle_time_ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use kavka_wire::codec::Message;
    use kavka_wire::messages as m;

    use super::*;

    #[test]
    fn finds_the_throttle_time_wherever_the_answer_has_it() {
        let of = |answer: &dyn Fn() -> i32| pause(answer());
        let fetch = m::FetchResponse { throttle_time_ms: 5, ..Default::default() };
        let produce = m::ProduceResponse { throttle_time_ms: 7, ..Default::default() };
        let end = m::EndTxnResponse { throttle_time_ms: -1, ..Default::default() };
        assert_eq!(of(&|| fetch.throttle_time_ms()), Duration::from_millis(5));
        assert_eq!(of(&|| produce.throttle_time_ms()), Duration::from_millis(7));
        assert_eq!(of(&|| end.throttle_time_ms()), Duration::ZERO);
        assert_eq!(of(&|| m::SaslHandshakeResponse::default().throttle_time_ms()), Duration::ZERO);
    }
}
