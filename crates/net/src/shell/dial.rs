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
        Box::pin(async move {
            let addresses = resolve(host, port, deadline).await?;
            let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
            let mut left = addresses.len() as u32;
            for address in addresses {
                // An address that swallows packets must leave time for the ones behind it.
                let now = clock::now();
                let share = deadline.saturating_duration_since(now) / left.max(1);
                left -= 1;
                match timeout_at((now + share).into(), connect(address)).await {
                    Ok(Ok(stream)) => return Ok(Box::new(stream) as Box<dyn Stream>),
                    Ok(Err(error)) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
                    Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("{address}: no answer")),
                }
            }
            Err(last)
        })
    }
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
