//! One probe: a packet from a namespace to an address, and what came back.
//!
//! Input: a namespace and a list of shots. Output: an [`Outcome`] for each. All shots of a source are in flight at once
//! on non-blocking sockets, so that hundreds of them take one deadline and not the sum.
//!
//! Each shot that has no answer at half of the deadline is fired a second time from a new socket: a packet that was
//! lost on a busy machine, or in neighbour discovery, must not read as policy (TCP itself would retry after a second).

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::namespace::Namespace;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Probe {
    /// A TCP connection to a port; open when the server's greeting arrives.
    Tcp(u16),
    /// A UDP datagram to a port; open when it is echoed.
    Udp(u16),
    /// An ICMP echo request.
    Ping,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Probe::Tcp(port) => write!(f, "{port}/tcp"),
            Probe::Udp(port) => write!(f, "{port}/udp"),
            Probe::Ping => f.write_str("ping"),
        }
    }
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// The server's answer.
    Open,
    /// Nothing until the deadline, twice; or our own host forbade to send.
    Blocked,
    /// A TCP reset or an ICMP "port unreachable" in place of an answer.
    Refused,
    /// A connection that was accepted and then closed without an answer: a proxy before a closed door.
    Reset,
    /// An ICMP error of another kind, or no route.
    Unreachable,
}

impl Outcome {
    /// Whether the server answered.
    pub(crate) fn is_open(self) -> bool {
        self == Outcome::Open
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Outcome::Open => "open",
            Outcome::Blocked => "blocked",
            Outcome::Refused => "refused",
            Outcome::Reset => "reset",
            Outcome::Unreachable => "unreachable",
        })
    }
}

/// Fires all shots from a namespace at once and waits for their outcomes, in the order of the shots.
pub(crate) fn fire(namespace: &Namespace, shots: &[(IpAddr, Probe)], deadline: Duration) -> Vec<Outcome> {
    // Ping sockets, which need no raw packets, are open to the groups in this range; by default to none.
    namespace.set_sysctl("net.ipv4.ping_group_range", "0 2147483647");
    namespace.run(|| Volley::new(shots).run(deadline))
}

/// Ports that probes are sent from. Each volley takes a new one: a flow that an earlier volley left in the kernel's
/// connection table must not be taken for a new one, nor a new one for that flow.
fn source_port() -> u16 {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 40_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(7919);
    let port = FIRST + (start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT);
    u16::try_from(port).expect("20000 + 39999 is a port")
}

struct Flight {
    shot: usize,
    socket: Socket,
    connecting: bool,
}

struct Volley<'a> {
    shots: &'a [(IpAddr, Probe)],
    outcomes: Vec<Option<Outcome>>,
    flights: Vec<Flight>,
}

impl<'a> Volley<'a> {
    fn new(shots: &'a [(IpAddr, Probe)]) -> Volley<'a> {
        Volley { shots, outcomes: vec![None; shots.len()], flights: Vec::new() }
    }

    fn run(mut self, deadline: Duration) -> Vec<Outcome> {
        for _ in 0..2 {
            self.launch();
            // From the last launch on: on a busy machine the launching alone can take longer than an answer.
            self.collect_until(Instant::now() + deadline / 2);
        }
        // An ICMP error that arrives while the kernel is still inside `connect` is kept aside and wakes nobody.
        for flight in &self.flights {
            if let Some(error) = flight.socket.take_error().ok().flatten() {
                self.outcomes[flight.shot].get_or_insert(outcome_of(&error));
            }
        }
        self.outcomes.into_iter().map(|outcome| outcome.unwrap_or(Outcome::Blocked)).collect()
    }

    fn launch(&mut self) {
        let port = source_port();
        for (shot, (address, probe)) in self.shots.iter().enumerate() {
            if self.outcomes[shot].is_some() {
                continue;
            }
            let mut launched = launch(*address, *probe, port);
            // Some other socket of the namespace may have the port: those of the engine's proxies are chosen by the kernel.
            while launched.as_ref().is_err_and(|error| error.kind() == ErrorKind::AddrInUse) {
                launched = launch(*address, *probe, source_port());
            }
            match launched {
                Ok((socket, connecting)) => self.flights.push(Flight { shot, socket, connecting }),
                Err(error) => self.outcomes[shot] = Some(outcome_of(&error)),
            }
        }
    }

    fn collect_until(&mut self, end: Instant) {
        loop {
            self.flights.retain(|flight| self.outcomes[flight.shot].is_none());
            let left = end.saturating_duration_since(Instant::now());
            if self.flights.is_empty() || left.is_zero() {
                return;
            }
            let mut interest: Vec<PollFd<'_>> = self
                .flights
                .iter()
                .map(|flight| {
                    let wanted = if flight.connecting { PollFlags::POLLOUT } else { PollFlags::POLLIN };
                    PollFd::new(flight.socket.as_fd(), wanted)
                })
                .collect();
            // Rounded up, so that the last wait does not become a busy loop of waits of 0 ms.
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            if poll(&mut interest, timeout).unwrap_or(0) == 0 {
                return;
            }
            let ready: Vec<bool> = interest.iter().map(|entry| entry.any().unwrap_or(false)).collect();
            for (flight, _) in self.flights.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
                if let Some(outcome) = flight.advance(self.shots[flight.shot].1) {
                    self.outcomes[flight.shot] = Some(outcome);
                }
            }
        }
    }
}

impl Flight {
    /// Looks at a socket that has something to say. `None`: not decided yet.
    fn advance(&mut self, probe: Probe) -> Option<Outcome> {
        if let Some(error) = self.socket.take_error().ok().flatten() {
            return Some(outcome_of(&error));
        }
        if self.connecting {
            self.connecting = false;
            return None;
        }
        let mut buffer = [0; 256];
        match self.socket.read(&mut buffer) {
            Ok(0) if matches!(probe, Probe::Tcp(_)) => Some(Outcome::Reset),
            Ok(_) => Some(Outcome::Open),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(Outcome::Reset),
            Err(error) => Some(outcome_of(&error)),
        }
    }
}

/// Sends the first packet. Returns the socket and whether it is a connection that is not yet made.
fn launch(address: IpAddr, probe: Probe, source_port: u16) -> io::Result<(Socket, bool)> {
    let (domain, any, icmp) = match address {
        IpAddr::V4(_) => (Domain::IPV4, IpAddr::V4(Ipv4Addr::UNSPECIFIED), Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, IpAddr::V6(Ipv6Addr::UNSPECIFIED), Protocol::ICMPV6),
    };
    let (kind, protocol, port) = match probe {
        Probe::Tcp(port) => (Type::STREAM, Protocol::TCP, port),
        Probe::Udp(port) => (Type::DGRAM, Protocol::UDP, port),
        Probe::Ping => (Type::DGRAM, icmp, 0),
    };
    let socket = Socket::new(domain, kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if probe != Probe::Ping {
        // The shots of a volley share the port: their destinations tell them apart.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(any, source_port).into())?;
    }
    match socket.connect(&SocketAddr::new(address, port).into()) {
        Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => return Ok((socket, true)),
        other => other?,
    }
    match probe {
        Probe::Tcp(_) => (),
        Probe::Udp(_) => {
            socket.send(b"probe")?;
        }
        // Type 8 or 128, code 0; the kernel fills in checksum and identifier, the sequence number is 1.
        Probe::Ping => {
            let kind = if address.is_ipv4() { 8 } else { 128 };
            socket.send(&[kind, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])?;
        }
    }
    Ok((socket, false))
}

fn outcome_of(error: &io::Error) -> Outcome {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ECONNREFUSED) => Outcome::Refused,
        Some(Errno::ECONNRESET) => Outcome::Reset,
        // What our own output rules drop is reported to the sender of a datagram in this way.
        Some(Errno::EPERM) => Outcome::Blocked,
        Some(Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EACCES | Errno::EPROTO) => Outcome::Unreachable,
        _ => panic!("a probe could not be sent: {error}"),
    }
}
