//! Real sockets on the loopback.

use crate::support::within;
use kavka_net::{Config, Dialer, ErrorKind, Net, TcpDialer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn all_addresses_of_a_host_are_tried() {
    // `localhost` may resolve to ::1 first, where nobody listens on this port.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dialer = TcpDialer::default();
    let (stream, accepted) = tokio::join!(dialer.dial("localhost", port, within(10)), listener.accept());
    let (mut stream, (mut theirs, _)) = (stream.unwrap(), accepted.unwrap());
    stream.write_all(b"hello").await.unwrap();
    let mut got = [0; 5];
    theirs.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hello");
}

#[tokio::test]
async fn an_ipv6_address_can_be_dialled() {
    // A machine without IPv6 has nothing to dial.
    let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
    let port = listener.local_addr().unwrap().port();
    let dialer = TcpDialer::default();
    let (stream, accepted) = tokio::join!(dialer.dial("::1", port, within(10)), listener.accept());
    assert!(stream.is_ok() && accepted.is_ok());
}

#[tokio::test]
async fn names_without_an_address_and_closed_ports_are_told_apart() {
    let error = TcpDialer::default().dial("no.such.host.invalid", 9092, within(10)).await.err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = TcpDialer::default().dial("127.0.0.1", port, within(10)).await.err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tls_listener_is_recognised() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut first = [0; 8];
            // What a TLS server says to something that is not TLS: a fatal alert.
            if stream.read_exact(&mut first).await.is_ok() {
                let _ = stream.write_all(&[0x15, 3, 3, 0, 2, 2, 10]).await;
            }
        }
    });
    let net = Net::start(Config::new([address.to_string()])).unwrap();
    let error = net.refresh(within(10)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotKafka);
    assert!(error.to_string().contains("TLS"), "{error}");
    net.close().await;
}

#[test]
fn outside_a_runtime_the_start_fails() {
    let error = Net::start(Config::new(["localhost:9092"])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}
