//! The control socket: a connection is answered with one JSON [`Status`] document and closed.
//!
//! The socket is for root (and whoever runs the controller) alone: by its mode, and again by the peer's credentials,
//! because the mode is set an instant after the socket exists.

#![expect(clippy::disallowed_methods, reason = "the door to the control socket")]

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::lock::Lock;
use super::status::Status;

/// File name of the control socket in the state directory.
pub const CONTROL_SOCKET: &str = "control.sock";
/// How long the controller may take to answer, and an asker to read.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause after a failed accept: the usual cause is too many open files, and it does not go away by trying faster.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Longest document that is read; far above any real one, so that whatever answers there cannot fill the memory.
const DOCUMENT_LIMIT: u64 = 64 * 1024 * 1024;

/// Why the control socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Something that is not a socket has its name.
    #[error("{} exists and is not a socket", .0.display())]
    Occupied(PathBuf),
    /// The socket cannot be made there.
    #[error("cannot open the control socket {}", .path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Why the controller did not say how it is.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens there.
    #[error("no controller is running on {}", .0.display())]
    NotRunning(PathBuf),
    /// Somebody listens and does not answer.
    #[error("the controller on {} does not answer", .0.display())]
    Silent(PathBuf),
    /// The socket is there and cannot be used; usually for want of permission.
    #[error("cannot use the control socket {}", .path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The answer is no status document.
    #[error("the controller on {} answers in a form that this version does not know", .path.display())]
    Unreadable {
        /// The state directory.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
}

/// Opens the control socket of a state directory. The lock proves that a socket file found there is a dead one's.
pub fn bind(lock: &Lock) -> Result<UnixListener, BindError> {
    let path = lock.directory().join(CONTROL_SOCKET);
    let failed = |source| BindError::Socket { path: path.clone(), source };
    match std::fs::symlink_metadata(&path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(&path).map_err(failed)?,
        Ok(_) => return Err(BindError::Occupied(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Answers every connection with the latest status until it is dropped.
pub async fn serve(listener: UnixListener, status: watch::Receiver<Status>) {
    // The answers are tasks of this set, so that they end with it, and one slow reader keeps nobody waiting.
    let mut answers = JoinSet::new();
    loop {
        while answers.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let document = serde_json::to_vec(&*status.borrow());
                answers.spawn(async move {
                    match document {
                        Ok(document) => answer(stream, &document).await,
                        Err(error) => tracing::error!(%error, "the status has no JSON form"),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the control socket");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, document: &[u8]) {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw() => {}
        Ok(peer) => return tracing::warn!(uid = peer.uid(), "refused a reader of the control socket"),
        Err(error) => return tracing::warn!(%error, "cannot tell who reads the control socket"),
    }
    let send = async {
        stream.write_all(document).await?;
        stream.shutdown().await
    };
    // A reader that goes away early or never reads is its own affair.
    match timeout(PATIENCE, send).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a reader of the control socket went away"),
        Err(_) => tracing::debug!("a reader of the control socket did not read"),
    }
}

/// Asks the controller whose state directory this is.
pub async fn ask(state_directory: &Path) -> Result<Status, AskError> {
    let directory = || state_directory.to_owned();
    let path = state_directory.join(CONTROL_SOCKET);
    let fetch = async {
        let stream = UnixStream::connect(&path).await?;
        let mut document = Vec::new();
        stream.take(DOCUMENT_LIMIT).read_to_end(&mut document).await?;
        io::Result::Ok(document)
    };
    match timeout(PATIENCE, fetch).await {
        Err(_) => Err(AskError::Silent(directory())),
        Ok(Ok(document)) if document.is_empty() => Err(AskError::Silent(directory())),
        Ok(Ok(document)) => {
            serde_json::from_slice(&document).map_err(|source| AskError::Unreadable { path: directory(), source })
        }
        Ok(Err(error)) => Err(match error.kind() {
            // Refused is a socket file whose owner is dead.
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::ConnectionRefused => {
                AskError::NotRunning(directory())
            }
            _ => AskError::Socket { path, source: error },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_latest_status_is_told_and_only_to_the_owner() {
        let directory = tempfile::tempdir().unwrap();
        let lock = Lock::acquire(directory.path()).unwrap();
        let listener = bind(&lock).unwrap();
        let mode = std::fs::metadata(directory.path().join(CONTROL_SOCKET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (publish, latest) = watch::channel(Status { pid: 7, ..Status::default() });
        let server = tokio::spawn(serve(listener, latest));
        assert_eq!(ask(directory.path()).await.unwrap().pid, 7);
        publish.send_modify(|status| status.ready = true);
        assert!(ask(directory.path()).await.unwrap().ready);
        server.abort();
    }

    #[tokio::test]
    async fn one_reader_that_never_reads_keeps_nobody_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let listener = bind(&Lock::acquire(directory.path()).unwrap()).unwrap();
        // More than a socket buffers, so that the answer to the silent reader stays open.
        let problems = vec!["x".repeat(1 << 22)];
        let (_publish, latest) = watch::channel(Status { problems, ..Status::default() });
        let server = tokio::spawn(serve(listener, latest));
        let _silent = UnixStream::connect(directory.path().join(CONTROL_SOCKET)).await.unwrap();
        assert_eq!(ask(directory.path()).await.unwrap().problems[0].len(), 1 << 22);
        server.abort();
    }

    #[tokio::test]
    async fn nobody_there_is_told_apart_from_somebody_silent() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        assert!(matches!(ask(&missing).await, Err(AskError::NotRunning(path)) if path == missing));

        let lock = Lock::acquire(directory.path()).unwrap();
        let listener = bind(&lock).unwrap();
        let deaf = tokio::spawn(async move {
            // Takes the connection and hangs up without a word.
            listener.accept().await.map(drop)
        });
        assert!(matches!(ask(directory.path()).await, Err(AskError::Silent(_))));
        deaf.await.unwrap().unwrap();

        // The file is still there and its owner is gone.
        assert!(directory.path().join(CONTROL_SOCKET).exists());
        assert!(matches!(ask(directory.path()).await, Err(AskError::NotRunning(_))));
        bind(&lock).unwrap();
    }

    #[tokio::test]
    async fn what_is_not_a_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(CONTROL_SOCKET);
        std::fs::write(&path, "precious").unwrap();
        let lock = Lock::acquire(directory.path()).unwrap();
        assert!(matches!(bind(&lock), Err(BindError::Occupied(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn an_answer_of_another_kind_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let listener = bind(&Lock::acquire(directory.path()).unwrap()).unwrap();
        let stranger = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").await.unwrap();
        });
        assert!(matches!(ask(directory.path()).await, Err(AskError::Unreadable { .. })));
        stranger.await.unwrap();
    }
}
