//! A peer that never stops sending.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use kavka_net::{BoxFuture, CallOptions, Dialer, Endpoint, ErrorKind, Lane, Stream, To};
use kavka_wire::messages::{HeartbeatRequest, HeartbeatResponse};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::support::start_with;

/// A connection that, once told so, always has some bytes of an answer that does not end.
struct Flooding {
    stream: Box<dyn Stream>,
    flood: Arc<AtomicBool>,
    begun: bool,
}

impl AsyncRead for Flooding {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.flood.load(SeqCst) {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let turn = std::task::ready!(tokio::task::coop::poll_proceed(cx));
        turn.made_progress();
        // The size first.
        let bytes: i32 = if std::mem::replace(&mut self.begun, true) { 0 } else { 16 << 20 };
        buf.put_slice(&bytes.to_be_bytes()[..buf.remaining().min(4)]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flooding {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

struct Flood(Arc<dyn Dialer>, Arc<AtomicBool>);

impl Dialer for Flood {
    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        by: Instant,
    ) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let stream = self.0.dial(host, port, by).await?;
            Ok(Box::new(Flooding { stream, flood: self.1.clone(), begun: false }) as Box<dyn Stream>)
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_never_stops_sending_keeps_neither_requests_nor_time_nor_the_end_waiting() {
    let (flood, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let change = |config: &mut kavka_net::Config| {
        config.dialer = Arc::new(Flood(config.dialer.clone(), flood.clone()));
    };
    let count = seen.clone();
    let rig = start_with(&[1], change, move |mut peer| {
        let count = count.clone();
        async move {
            peer.shake_hands().await;
            while let Some(asked) = peer.read().await {
                count.fetch_add(1, SeqCst);
                peer.write(&asked, &HeartbeatResponse::default()).await;
            }
        }
    });
    let node = To::Node(Endpoint { id: 1, host: "broker".into(), port: 1 });
    let options = |millis| CallOptions { timeout: Duration::from_millis(millis), ..CallOptions::default() };
    let request = HeartbeatRequest::default();
    let connection =
        rig.net.connection(node.clone(), Lane::General, crate::support::within(10)).await.unwrap();
    connection.call(&request, i16::MAX, Duration::from_secs(10)).await.unwrap();
    flood.store(true, SeqCst);
    let ends = async {
        let error = rig.net.call(node, Lane::General, &request, options(300)).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Timeout { outcome_unknown: true, .. }), "{error}");
        assert_eq!(seen.load(SeqCst), 2, "the request was sent");
        rig.net.close().await;
        while !connection.is_closed() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3), ends).await.expect("something was kept waiting");
}
