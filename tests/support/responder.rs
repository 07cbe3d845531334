//! Servers inside a namespace: TCP and UDP on given ports, on every address the namespace has.
//!
//! Input: a namespace and ports. Output: answers, as long as the guard lives. One thread per namespace serves all of
//! them; the container itself stays idle, so nothing has to be started in it.
//!
//! Sockets are bound to the addresses one by one, because an answer sent from a wildcard UDP socket of a container on
//! two networks may leave with its other address. Addresses that come and go are followed.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::namespace::{Namespace, local_addresses};

/// What a TCP server says first; a proxy that accepts for a dead server does not.
pub(crate) const GREETING: &[u8] = b"here\n";

/// How often addresses are looked at anew.
const REFRESH: Duration = Duration::from_millis(100);

/// Serves until it is dropped.
#[derive(Debug)]
pub(crate) struct Responder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// Serves the ports, TCP and UDP both, in a namespace. Returns when the present addresses answer.
    pub(crate) fn start(namespace: &Namespace, ports: &[u16]) -> Responder {
        // An answer that says "refused" is an ICMP message, and those are limited to a few per second by default.
        for limit in ["net.ipv4.icmp_ratelimit", "net.ipv6.icmp.ratelimit"] {
            namespace.set_sysctl(limit, "0");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = mpsc::channel();
        let thread = {
            let (namespace, ports, stop) = (namespace.clone(), ports.to_vec(), Arc::clone(&stop));
            thread::spawn(move || {
                namespace.enter();
                let mut servers = Servers { ports, ..Servers::default() };
                servers.follow_addresses();
                // The receiver is gone only when the test is already ending.
                let _ = ready.send(());
                while !stop.load(Ordering::Relaxed) {
                    servers.serve_once();
                    servers.follow_addresses();
                }
            })
        };
        is_ready.recv().expect("the responder has bound its sockets");
        Responder { stop, thread: Some(thread) }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed; the test sees it as missing answers.
            drop(thread.join());
        }
    }
}

#[derive(Default)]
struct Servers {
    ports: Vec<u16>,
    listeners: BTreeMap<IpAddr, Vec<(TcpListener, UdpSocket)>>,
    streams: Vec<TcpStream>,
}

impl Servers {
    fn follow_addresses(&mut self) {
        let addresses = local_addresses();
        self.listeners.retain(|address, _| addresses.contains(address));
        for address in addresses {
            if !self.listeners.contains_key(&address) {
                // A tentative IPv6 address refuses to be bound; the next round tries again.
                if let Ok(bound) = self.ports.iter().map(|port| bind(address, *port)).collect() {
                    self.listeners.insert(address, bound);
                }
            }
        }
    }

    /// Waits for something to do, at most [`REFRESH`], and does it.
    fn serve_once(&mut self) {
        let sockets = self.listeners.values().flatten();
        let mut interest: Vec<PollFd<'_>> = sockets
            .flat_map(|(tcp, udp)| [tcp.as_fd(), udp.as_fd()])
            .chain(self.streams.iter().map(AsFd::as_fd))
            .map(|socket: BorrowedFd<'_>| PollFd::new(socket, PollFlags::POLLIN))
            .collect();
        let timeout = PollTimeout::try_from(REFRESH).expect("the interval fits");
        if poll(&mut interest, timeout).unwrap_or(0) == 0 {
            return;
        }
        self.streams.retain_mut(echo);
        for (tcp, udp) in self.listeners.values().flatten() {
            answer_datagrams(udp);
            while let Ok((mut stream, _)) = tcp.accept() {
                if stream.set_nonblocking(true).is_ok() && stream.write_all(GREETING).is_ok() {
                    self.streams.push(stream);
                }
            }
        }
    }
}

fn bind(address: IpAddr, port: u16) -> io::Result<(TcpListener, UdpSocket)> {
    let tcp = TcpListener::bind(SocketAddr::new(address, port))?;
    let udp = UdpSocket::bind(SocketAddr::new(address, port))?;
    tcp.set_nonblocking(true)?;
    udp.set_nonblocking(true)?;
    Ok((tcp, udp))
}

/// Sends back what came in. Returns whether the stream goes on.
fn echo(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 1024];
    match stream.read(&mut buffer) {
        Ok(0) => false,
        Ok(length) => stream.write_all(&buffer[..length]).is_ok(),
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

fn answer_datagrams(socket: &UdpSocket) {
    let mut buffer = [0; 1024];
    loop {
        match socket.recv_from(&mut buffer) {
            // An answer that cannot be sent is one that the prober will miss; that is its finding, not ours.
            Ok((length, peer)) => {
                let _unsent = socket.send_to(&buffer[..length], peer);
            }
            // An ICMP error for an earlier answer is reported here once.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => (),
            Err(_) => return,
        }
    }
}
