//! A way to the engine that can be cut.
//!
//! Input: the address of an engine. Output: another address of it. To cut what is open there makes the controller connect
//! anew, without an end of the engine and its containers.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A socket that leads to the engine's. Its thread ends with the test program.
pub(super) struct Relay {
    socket: PathBuf,
    open: Arc<Mutex<Vec<UnixStream>>>,
}

impl Relay {
    /// `engine` is `unix://PATH`.
    pub(super) fn start(socket: PathBuf, engine: &str) -> Relay {
        let engine =
            PathBuf::from(engine.strip_prefix("unix://").expect("the laboratory's engines have a unix socket"));
        // One that a scenario before has made leads nowhere any more.
        let _none_before = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("the laboratory's directory takes sockets");
        let open = Arc::<Mutex<Vec<UnixStream>>>::default();
        let kept = Arc::clone(&open);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, UnixStream::connect(&engine)) else { continue };
                let ends = [(&client, &server), (&server, &client)];
                for (from, to) in ends.map(|(from, to)| (from.try_clone(), to.try_clone())) {
                    let (Ok(from), Ok(to)) = (from, to) else { continue };
                    thread::spawn(move || carry(from, to));
                }
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(client);
            }
        });
        Relay { socket, open }
    }

    /// The address, as `DOCKER_HOST` takes it.
    pub(super) fn address(&self) -> String {
        format!("unix://{}", Path::new(&self.socket).display())
    }

    /// Cuts every connection. Returns how many there were.
    pub(super) fn cut(&self) -> usize {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has ended by itself cannot be cut.
        open.drain(..).filter(|stream| stream.shutdown(Shutdown::Both).is_ok()).count()
    }
}

fn carry(mut from: UnixStream, mut to: UnixStream) {
    let mut buffer = [0; 8192];
    while let Ok(length) = from.read(&mut buffer) {
        if length == 0 || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // Each end is told that the other has gone.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
