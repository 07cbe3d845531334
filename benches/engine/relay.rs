//! The calls that a program makes to the engine's API.
//!
//! Input: the engine's socket. Output: a socket that leads to it, and the request lines that went through. It costs what
//! it carries some time, so latency is measured without it.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A socket before the engine's. It serves until the bench ends.
pub(crate) struct Relay {
    socket: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Relay {
    /// Opens a socket in a directory.
    pub(crate) fn open(directory: &Path, docker_host: &str) -> Relay {
        let socket = directory.join("relay.sock");
        let engine = docker_host.strip_prefix("unix://").expect("laboratories have a unix socket").to_owned();
        let _not_there = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("the laboratory's directory takes sockets");
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let record = Arc::clone(&requests);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(engine) = UnixStream::connect(&engine) else { return };
                // A connection that breaks is the client's to notice.
                drop(serve(&client, &engine, &record));
            }
        });
        Relay { socket, requests }
    }

    /// Where it is.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The requests since the last time, as `METHOD PATH`.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn serve(client: &UnixStream, engine: &UnixStream, record: &Arc<Mutex<Vec<String>>>) -> io::Result<()> {
    let (from_client, to_engine, record) = (client.try_clone()?, engine.try_clone()?, Arc::clone(record));
    let (from_engine, to_client) = (engine.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        carry(from_client, to_engine, |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let lines = text.lines().filter_map(|line| line.strip_suffix(" HTTP/1.1")).map(str::to_owned);
            record.lock().unwrap_or_else(PoisonError::into_inner).extend(lines);
        });
    });
    thread::spawn(move || carry(from_engine, to_client, |_| ()));
    Ok(())
}

fn carry(mut from: UnixStream, mut to: UnixStream, mut look: impl FnMut(&[u8])) {
    let mut buffer = [0; 16 << 10];
    while let Ok(length) = from.read(&mut buffer)
        && length > 0
    {
        look(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _closed = to.shutdown(Shutdown::Write);
}
