//! A connection that stays open, to see whether policy ends it.
//!
//! Input: a namespace and the address of a [`Responder`](super::responder::Responder). Output: whether what is sent
//! still comes back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::namespace::Namespace;
use super::responder::GREETING;

/// An established TCP connection to a responder, which echoes.
#[derive(Debug)]
pub(crate) struct Flow {
    stream: TcpStream,
}

impl Flow {
    /// Connects from a namespace. `None` when there is no answer within two seconds.
    pub(crate) fn open(namespace: &Namespace, to: SocketAddr) -> Option<Flow> {
        const PATIENCE: Duration = Duration::from_secs(2);
        let mut stream = namespace.run(|| TcpStream::connect_timeout(&to, PATIENCE)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut greeting = [0; GREETING.len()];
        stream.read_exact(&mut greeting).ok()?;
        Some(Flow { stream })
    }

    /// The address and port that it comes from, as its own namespace sees them.
    pub(crate) fn local(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket has an address")
    }

    /// Sends a line, whatever comes of it.
    pub(crate) fn say(&mut self, line: &str) {
        let _unsent = self.stream.write_all(line.as_bytes());
    }

    /// Whether a line that is sent now comes back before `patience` is over.
    pub(crate) fn is_alive(&mut self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        if self.stream.write_all(b"alive?\n").is_err() {
            return false;
        }
        let mut buffer = [0; 64];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.set_read_timeout(Some(left)).is_err() {
                return false;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return false,
                Ok(length) if buffer[..length].contains(&b'\n') => return true,
                Ok(_) => (),
            }
        }
    }
}
