//! The commands that do one thing.

pub mod broker;
pub mod consume;
pub mod group;
pub mod produce;
pub mod topics;

use kavka::{Admin, Client, Result};

use crate::args::Connection;

/// Connects as the command line says.
pub async fn connect(connection: &Connection) -> Result<Client> {
    Client::builder()
        .bootstrap(&connection.bootstrap)
        .client_id("kavka-cli")
        .request_timeout(connection.timeout)
        .connect_timeout(connection.timeout)
        .connect()
        .await
}

/// The admin, which gives up when the command line says.
pub fn admin(client: &Client, connection: &Connection) -> Admin {
    client.admin().timeout(connection.timeout)
}

/// Completes at the first signal that asks the process to end.
pub async fn interrupted() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Without a way to listen, the process ends as the system does it.
    if interrupt.await.is_err() {
        std::future::pending::<()>().await;
    }
}
