//! Peers that are not what a client hopes for.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// How a peer behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Accepts, reads, says nothing.
    Silent,
    /// Accepts and closes at once.
    Closes,
    /// Answers as an HTTP server does to what it does not understand.
    Http,
    /// Answers as a TLS listener does to a client without TLS: with an alert.
    Tls,
    /// Answers with a frame that says it is 2 GiB long.
    Huge,
    /// Answers with a frame of nonsense.
    Nonsense,
}

/// A listener on a loopback socket. It stops when it is dropped.
#[derive(Debug)]
pub struct Peer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Peer {
    /// Listens.
    ///
    /// # Errors
    /// There is no socket to be had.
    pub async fn start(manner: Manner) -> io::Result<Peer> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // A connection that ended with an error has ended.
                connections.spawn(async move { serve(stream, manner).await.ok() });
            }
        });
        Ok(Peer { address, task })
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// An address where nobody listens.
    ///
    /// # Errors
    /// There is no socket to be had.
    pub async fn closed() -> io::Result<String> {
        Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, manner: Manner) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        if manner == Manner::Closes || stream.read(&mut buffer).await? == 0 {
            return Ok(());
        }
        match manner {
            Manner::Silent | Manner::Closes => {}
            Manner::Http => {
                let answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
                return stream.write_all(answer).await;
            }
            Manner::Tls => return stream.write_all(&[0x15, 3, 3, 0, 2, 2, 10]).await,
            Manner::Huge => stream.write_all(&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]).await?,
            Manner::Nonsense => stream.write_all(&[0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]).await?,
        }
    }
}
