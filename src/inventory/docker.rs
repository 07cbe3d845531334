//! The Docker door: lists networks and containers and follows the engine's events.

use bollard::Docker;
use tokio::sync::mpsc;

use super::{Change, Inventory};

/// Why the engine could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine did not answer, or answered with an error.
    #[error("cannot ask the Docker engine")]
    Engine(#[from] bollard::errors::Error),
}

/// A client for the engine that `DOCKER_HOST`, `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` name, as the docker CLI reads them.
pub fn connect() -> Result<Docker, Error> {
    todo!()
}

/// Lists everything once.
pub async fn snapshot(_docker: &Docker) -> Result<Inventory, Error> {
    todo!()
}

/// Follows the engine until the receiver is dropped: subscribes, then lists, then sends each change as it happens;
/// reconnects with back-off and lists anew.
pub async fn follow(_docker: Docker, _changes: mpsc::Sender<Change>) {
    todo!()
}
