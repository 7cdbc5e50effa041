//! Sockets and pipes: frames in, frames out, one request at a time.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kavka_wire::codec::Frame;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::call::Action;
use crate::state::Event;

/// The largest request: Kafka's `socket.request.max.bytes`.
const MAX_FRAME: usize = 100 << 20;
/// Memory reserved for a frame before its bytes have arrived.
const FIRST_READ: usize = 256 << 10;

/// A request frame that a connection hands to the owner of the cluster.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) broker: i32,
    pub(crate) host: Arc<str>,
    /// The frame without its size.
    pub(crate) frame: Bytes,
    pub(crate) reply: oneshot::Sender<Action>,
}

/// What the connections of one broker share.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) broker: i32,
    pub(crate) events: mpsc::UnboundedSender<Event>,
    /// False while the broker is cut off from its clients.
    pub(crate) reachable: watch::Receiver<bool>,
}

/// Accepts connections of one broker until dropped; dropping closes the listener and every connection.
pub(crate) async fn serve_broker(
    door: Door,
    listener: Option<TcpListener>,
    mut dials: mpsc::UnboundedReceiver<DuplexStream>,
) {
    let mut connections = JoinSet::new();
    let accept = async || match &listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    };
    loop {
        tokio::select! {
            biased;
            accepted = accept() => match accepted {
                Ok((stream, peer)) => {
                    // Small answers must not wait for the peer's acknowledgement of earlier ones.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "no TCP_NODELAY");
                    }
                    let host = Arc::from(format!("/{}", peer.ip()));
                    connections.spawn(serve(door.clone(), host, stream));
                }
                Err(error) => {
                    tracing::warn!(%error, broker = door.broker, "accept failed");
                    // Out of file descriptors, most likely: do not spin.
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            },
            Some(stream) = dials.recv() => {
                connections.spawn(serve(door.clone(), Arc::from("/127.0.0.1"), stream));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite>(door: Door, host: Arc<str>, stream: S) {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::with_capacity(16 << 10, reader);
    if let Err(error) = converse(door, host, &mut reader, &mut writer).await {
        tracing::debug!(%error, "connection closed");
    }
    // The peer sees the end of the stream whatever else happens; it may be gone already.
    writer.shutdown().await.ok();
}

async fn converse(
    mut door: Door,
    host: Arc<str>,
    reader: &mut (impl AsyncBufRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    while let Some(frame) = read_frame(reader).await? {
        door.wait_until_reachable().await?;
        let (reply, answer) = oneshot::channel();
        let incoming = Incoming { broker: door.broker, host: Arc::clone(&host), frame, reply };
        if door.events.send(Event::Request(incoming)).is_err() {
            return Ok(());
        }
        match answer.await {
            Ok(Action::Send(frame, pause)) => {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                door.wait_until_reachable().await?;
                write_frame(writer, &frame).await?;
            }
            Ok(Action::Silent) => {}
            Ok(Action::Close) | Err(_) => return Ok(()),
            Ok(Action::Never) => {
                tokio::io::copy_buf(reader, &mut tokio::io::sink()).await?;
                return Ok(());
            }
        }
    }
    Ok(())
}

impl Door {
    async fn wait_until_reachable(&mut self) -> io::Result<()> {
        match self.reachable.wait_for(|reachable| *reachable).await {
            Ok(_) => Ok(()),
            Err(_) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

/// The next frame without its size, or `None` at the end of the stream.
async fn read_frame(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Bytes>> {
    let mut size = [0; 4];
    match reader.read_exact(&mut size).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let size = usize::try_from(i32::from_be_bytes(size))
        .ok()
        .filter(|size| *size <= MAX_FRAME)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "impossible frame size"))?;
    let mut frame = BytesMut::with_capacity(size.min(FIRST_READ));
    let mut limited = reader.take(size as u64);
    while frame.len() < size {
        if frame.len() == frame.capacity() {
            // The peer has proved that it sends: trust it with twice as much, up to the end of the frame.
            frame.reserve(frame.len().min(size - frame.len()));
        }
        if limited.read_buf(&mut frame).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(frame.freeze()))
}

async fn write_frame(writer: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = frame.chunks().iter().map(|chunk| IoSlice::new(chunk)).collect();
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        let written = writer.write_vectored(rest).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut rest, written);
    }
    writer.flush().await
}
