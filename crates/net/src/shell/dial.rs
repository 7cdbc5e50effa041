//! Making connections.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout_at;

use super::clock;

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A two-way stream of bytes to a broker.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Makes connections to brokers. Replace it to go through a proxy, or to a cluster inside the process in tests.
pub trait Dialer: Send + Sync + 'static {
    /// Connects to a host. The caller gives up at `deadline` and then drops the future.
    ///
    /// An error of kind [`io::ErrorKind::NotFound`] says that the host has no address.
    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        deadline: Instant,
    ) -> BoxFuture<'a, io::Result<Box<dyn Stream>>>;

    /// Like [`dial`](Self::dial), beginning with another of the host's addresses for each `turn`: it grows when the peer at
    /// an address took the connection and was then of no use. A dialer that knows one address a host need not care.
    fn dial_in_turn<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        turn: usize,
        deadline: Instant,
    ) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        let _ = turn;
        self.dial(host, port, deadline)
    }
}

/// Dials TCP: resolves the host each time and tries all its addresses in turn (`client.dns.lookup=use_all_dns_ips`), with
/// `TCP_NODELAY` and keep-alive on.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDialer {
    _private: (),
}

impl Dialer for TcpDialer {
    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        deadline: Instant,
    ) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        self.dial_in_turn(host, port, 0, deadline)
    }

    fn dial_in_turn<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        turn: usize,
        deadline: Instant,
    ) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let mut addresses = resolve(host, port, deadline).await?;
            begin_at(&mut addresses, turn);
            let stream = connect_to_one(&addresses, deadline).await;
            let stream = stream.unwrap_or_else(|| {
                Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address")))
            })?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// The same addresses, round and round, from another one for each turn.
fn begin_at(addresses: &mut [SocketAddr], turn: usize) {
    let first = turn.checked_rem(addresses.len()).unwrap_or(0);
    addresses.rotate_left(first);
}

/// A connection to the first address that takes one; `None` without any address.
async fn connect_to_one(addresses: &[SocketAddr], deadline: Instant) -> Option<io::Result<TcpStream>> {
    let mut last = None;
    for (n, address) in addresses.iter().enumerate() {
        // An address that swallows packets must leave time for the ones behind it.
        let now = clock::now();
        let share = deadline.saturating_duration_since(now) / (addresses.len() - n) as u32;
        last = Some(match timeout_at((now + share).into(), connect(*address)).await {
            Ok(Ok(stream)) => return Some(Ok(stream)),
            Ok(Err(error)) => Err(io::Error::new(error.kind(), format!("{address}: {error}"))),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("{address}: no answer"))),
        });
    }
    last
}

async fn resolve(host: &str, port: u16, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
    let not_found = |why: String| io::Error::new(io::ErrorKind::NotFound, why);
    match timeout_at(deadline.into(), lookup_host((host, port))).await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(not_found(format!("{host} cannot be resolved: {error}"))),
        Err(_) => Err(not_found(format!("{host} cannot be resolved: the name server does not answer"))),
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_turn_begins_at_the_next_address_and_leaves_none_out() {
        let addresses = [1, 2, 3].map(|last| SocketAddr::from(([127, 0, 0, last], 9092)));
        for (turn, expected) in [(0, [0, 1, 2]), (1, [1, 2, 0]), (5, [2, 0, 1]), (usize::MAX, [0, 1, 2])] {
            let mut rotated = addresses;
            begin_at(&mut rotated, turn);
            assert_eq!(rotated, expected.map(|n| addresses[n]), "turn {turn}");
        }
        begin_at(&mut [], 7);
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_followed_by_the_next() {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [refused.local_addr().unwrap(), taken.local_addr().unwrap()];
        drop(refused);
        let deadline = clock::after(std::time::Duration::from_secs(10));
        let stream = connect_to_one(&addresses, deadline).await.unwrap().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addresses[1]);
        let error = connect_to_one(&addresses[..1], deadline).await.unwrap().unwrap_err();
        assert!(error.kind() == io::ErrorKind::ConnectionRefused && error.to_string().contains("127.0.0.1"));
        assert!(connect_to_one(&[], deadline).await.is_none());
    }
}
