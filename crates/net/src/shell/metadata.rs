//! The task that owns the metadata.

use std::sync::Arc;
use std::time::Duration;

use kavka_wire::messages::{MetadataRequest, MetadataResponse};
use tokio::sync::{mpsc, oneshot, watch};

use super::clock;
use super::dial::BoxFuture;
use super::route::Route;
use crate::config::Config;
use crate::core::backoff::Range;
use crate::core::metadata::{Cluster, Input, Metadata, Output, Settings};
use crate::core::pool::Lane;
use crate::error::Result;

pub(crate) type Command = Input<Waiter>;
type Waiter = oneshot::Sender<Result<Arc<Cluster>>>;
/// The oldest version that can forbid the creation of topics.
const MIN_VERSION: i16 = 4;

pub(crate) struct Keeper {
    core: Metadata<Waiter>,
    route: Route,
    publish: watch::Sender<Arc<Cluster>>,
    asking: Option<BoxFuture<'static, (u64, Result<MetadataResponse>)>>,
}

impl Keeper {
    pub(crate) fn new(config: &Config, route: Route, publish: watch::Sender<Arc<Cluster>>) -> Self {
        let settings = Settings {
            max_age: config.metadata_max_age,
            rebootstrap_after: config.rebootstrap_after,
            retry: Range::new(config.retry_backoff, config.retry_backoff_max),
            request_timeout: config.request_timeout,
            allow_auto_topic_creation: config.allow_auto_topic_creation,
        };
        let core = Metadata::new(settings, config.seed, clock::now());
        Keeper { core, route, publish, asking: None }
    }

    /// Runs until the last handle is dropped or the pool stops.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            self.drain_outputs();
            let due = self.core.next_timeout().unwrap_or_else(|| clock::after(Duration::MAX));
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                command = commands.recv() => match command {
                    Some(command) => self.core.handle(clock::now(), command),
                    None => return,
                },
                (token, answer) = answered(&mut self.asking) => {
                    self.asking = None;
                    if let Err(error) = &answer {
                        tracing::warn!(%error, "no metadata");
                    }
                    self.core.handle(clock::now(), Input::Answer(token, answer));
                }
                () = clock::sleep_until(due) => self.core.handle(clock::now(), Input::Timeout),
            }
        }
    }

    fn drain_outputs(&mut self) {
        while let Some(output) = self.core.poll() {
            match output {
                Output::Ask { token, request, bootstrap, patience } => {
                    let route = self.route.clone();
                    self.asking =
                        Some(Box::pin(
                            async move { (token, ask(route, request, bootstrap, patience).await) },
                        ));
                }
                Output::Changed(cluster) => {
                    tracing::debug!(
                        generation = cluster.generation,
                        brokers = cluster.brokers.len(),
                        "metadata changed"
                    );
                    self.publish.send_replace(cluster);
                }
                // A waiter that has gone away needs no outcome.
                Output::Done(waiter, outcome) => drop(waiter.send(outcome)),
            }
        }
    }
}

async fn answered(
    asking: &mut Option<BoxFuture<'static, (u64, Result<MetadataResponse>)>>,
) -> (u64, Result<MetadataResponse>) {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
}

async fn ask(
    route: Route,
    request: MetadataRequest,
    bootstrap: bool,
    timeout: Duration,
) -> Result<MetadataResponse> {
    let deadline = clock::after(timeout);
    loop {
        let connection = route.any(bootstrap, Lane::General, deadline).await?;
        match connection.call_within(&request, MIN_VERSION..=i16::MAX, deadline).await {
            Err(error) if error.is_unsent_disconnect() && clock::now() < deadline => {}
            other => return other,
        }
    }
}
