//! Connecting to what is not a Kafka broker: an error within its deadline that names the cause and the remedy.

use std::time::{Duration, Instant};

use kavka::{Client, ErrorKind};
use kavka_tests::peers::{Manner, Peer};

/// Fails to connect, within `limit`.
async fn refused(bootstrap: &str, limit: Duration) -> kavka::Error {
    let start = Instant::now();
    let error = Client::builder()
        .bootstrap(bootstrap)
        .connect_timeout(Duration::from_secs(2))
        .connect()
        .await
        .unwrap_err();
    assert!(start.elapsed() < limit, "{:?}: {error}", start.elapsed());
    error
}

fn names(error: &kavka::Error, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_at_once() {
    for (bootstrap, word) in
        [("kafka", "no port"), ("kafka:http", "port"), ("", "empty"), ("ssl://a:1", "scheme")]
    {
        let error = refused(bootstrap, Duration::from_millis(100)).await;
        assert_eq!(error.kind(), ErrorKind::Configuration);
        names(&error, &[word]);
    }
}

#[tokio::test]
async fn a_wrong_host_name_is_named() {
    let error = refused("kavka-no-such-host.invalid:9092", Duration::from_secs(4)).await;
    names(&error, &["kavka-no-such-host.invalid", "cannot be resolved"]);
}

#[tokio::test]
async fn a_closed_port_is_named() {
    let address = Peer::closed().await.unwrap();
    let error = refused(&address, Duration::from_secs(4)).await;
    names(&error, &[&address, "refused"]);
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_given_up_in_time() {
    let peer = Peer::start(Manner::Silent).await.unwrap();
    let error = refused(&peer.address(), Duration::from_secs(4)).await;
    names(&error, &[&peer.address()]);
}

#[tokio::test]
async fn a_peer_that_closes_is_given_up_in_time() {
    let peer = Peer::start(Manner::Closes).await.unwrap();
    let error = refused(&peer.address(), Duration::from_secs(4)).await;
    names(&error, &[&peer.address()]);
}

#[tokio::test]
async fn an_http_server_is_recognised() {
    let peer = Peer::start(Manner::Http).await.unwrap();
    let error = refused(&peer.address(), Duration::from_secs(1)).await;
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    names(&error, &[&peer.address(), "HTTP"]);
}

#[tokio::test]
async fn a_tls_listener_is_recognised() {
    let peer = Peer::start(Manner::Tls).await.unwrap();
    let error = refused(&peer.address(), Duration::from_secs(1)).await;
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    names(&error, &[&peer.address(), "TLS"]);
}

#[tokio::test]
async fn a_frame_of_two_gigabytes_is_not_waited_for() {
    let peer = Peer::start(Manner::Huge).await.unwrap();
    let error = refused(&peer.address(), Duration::from_secs(4)).await;
    names(&error, &[&peer.address()]);
}

#[tokio::test]
async fn nonsense_is_an_error_and_no_panic() {
    let peer = Peer::start(Manner::Nonsense).await.unwrap();
    let error = refused(&peer.address(), Duration::from_secs(4)).await;
    names(&error, &[&peer.address()]);
}
