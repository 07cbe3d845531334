//! The Docker door: lists networks and containers and follows the engine's events.
//!
//! Input: the engine's API. Output: an [`Inventory`], or a stream of [`Change`](super::Change)s.
//! Labels and networks are known when a container is created, so that one call and one change remain when it gets its
//! address. Addresses come from `GET /networks/{id}` only: the container list shows them hundreds of milliseconds late and
//! keeps those of containers that failed to start, and inspecting a container waits until it runs.
//!
//! Requests name no API version: every engine answers in its own newest one, and what is read here is in all of them.

mod about;
mod connect;
mod follow;
mod listing;
mod tracker;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bollard::Docker;

use super::Inventory;

pub use connect::connect;
pub use follow::follow;

/// Longest wait for one answer. The engine answers in milliseconds; one that is busy starting hundreds of containers takes
/// a second or two.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the engine could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `DOCKER_HOST` is not one that dockgate can use.
    #[error(
        "DOCKER_HOST is `{host}`, and dockgate takes `unix:///PATH` or `tcp://HOST:PORT` only: it belongs on the engine's own host"
    )]
    Host {
        /// The value.
        host: String,
    },
    /// `DOCKER_TLS` asks for TLS that trusts anyone.
    #[error("DOCKER_TLS without DOCKER_TLS_VERIFY would trust any server: set DOCKER_TLS_VERIFY=1")]
    UnverifiedTls,
    /// No directory for certificates: neither `DOCKER_CERT_PATH` nor `DOCKER_CONFIG` nor a home directory.
    #[error("no directory for TLS certificates is known: set DOCKER_CERT_PATH")]
    NoCertificateDirectory,
    /// A certificate file is missing or cannot be read.
    #[error("cannot read {path}: DOCKER_CERT_PATH must name the directory of ca.pem, cert.pem and key.pem")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// There is no socket.
    #[error("there is no Docker socket at {path}: start the engine, or name its socket in DOCKER_HOST")]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// The socket may not be opened.
    #[error("no permission for the Docker socket: run dockgate as root")]
    Permission(#[source] io::Error),
    /// Nothing answers at the address.
    #[error("the Docker engine is not running at its address")]
    NotRunning(#[source] io::Error),
    /// The engine took too long.
    #[error("the Docker engine did not answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    /// The engine answered with an error, or with something unreadable.
    #[error("cannot ask the Docker engine")]
    Engine(#[source] bollard::errors::Error),
    /// The event stream ended, as it does when the engine stops.
    #[error("the Docker engine ended its event stream")]
    EventsEnded,
}

impl From<bollard::errors::Error> for Error {
    /// Tells by the operating system's error what a person must do.
    fn from(error: bollard::errors::Error) -> Error {
        if matches!(error, bollard::errors::Error::RequestTimeoutError) {
            return Error::Timeout;
        }
        let Some(cause) = system_error(&error) else { return Error::Engine(error) };
        let copy = || cause.raw_os_error().map_or_else(|| cause.kind().into(), io::Error::from_raw_os_error);
        match cause.kind() {
            io::ErrorKind::PermissionDenied => Error::Permission(copy()),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::NotRunning(copy()),
            _ => Error::Engine(error),
        }
    }
}

/// The operating system's error at the root of the client's, several layers below.
fn system_error(error: &bollard::errors::Error) -> Option<&io::Error> {
    // The client shows this one through as if it were its own text, and so leaves it out of the chain of causes.
    if let bollard::errors::Error::IOError { err } = error {
        return Some(err);
    }
    let mut cause = std::error::Error::source(error);
    while let Some(current) = cause {
        if let Some(found) = current.downcast_ref() {
            return Some(found);
        }
        cause = current.source();
    }
    None
}

/// Lists everything once.
pub async fn snapshot(docker: &Docker) -> Result<Inventory, Error> {
    let mut inventory = listing::everything(docker).await?.assemble(&mut listing::Texts::default()).inventory;
    inventory.trust_ports();
    Ok(inventory)
}

/// The answer of a call, bounded in time: the client's own timeout ends with the answer's headers.
async fn answer<T>(call: impl Future<Output = Result<T, bollard::errors::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(Error::from),
        Err(_) => Err(Error::Timeout),
    }
}

/// As [`answer`], for an object that may be gone already.
async fn answer_if_present<T>(
    call: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<Option<T>, Error> {
    match answer(call).await {
        Ok(found) => Ok(Some(found)),
        Err(Error::Engine(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. })) => Ok(None),
        Err(error) => Err(error),
    }
}
