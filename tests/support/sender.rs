//! A sender that does not stop: every 20 ms a TCP SYN, a datagram and a ping to each of its targets.
//!
//! Input: where it sends from, a number that marks its packets, and addresses. Output: packets, until it is dropped;
//! a [`Tap`](super::Tap) tells which of them arrived. A sender of a container follows it through restarts: its packets
//! begin when the container has a network namespace, before its own process runs.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::Lab;
use super::leftovers::control_groups;
use super::namespace::Namespace;

/// From one round to the next.
const INTERVAL: Duration = Duration::from_millis(20);
/// How often a container that is not there is looked for.
const SEARCH: Duration = Duration::from_millis(2);
/// Rounds after which a connection attempt is given up.
const ROUNDS: usize = 10;

/// Sends until it is dropped.
#[derive(Debug)]
pub(crate) struct Sender {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    /// Sends from a namespace.
    pub(crate) fn from_namespace(namespace: &Namespace, mark: u16, targets: &[IpAddr]) -> Sender {
        Sender::start(Origin::Namespace { namespace: namespace.clone(), entered: false }, mark, targets)
    }

    /// Sends from the container with this full id, whenever it runs.
    pub(crate) fn from_container(lab: &Lab, id: &str, mark: u16, targets: &[IpAddr]) -> Sender {
        let groups = control_groups(lab.name()).into_iter().map(|group| group.join(id)).collect();
        let host = lab.host().clone();
        let host_inode = host.run(|| inode(Path::new("/proc/thread-self/ns/net")).expect("a thread has a namespace"));
        Sender::start(Origin::Container { groups, host, host_inode, current: None }, mark, targets)
    }

    /// Rounds that it has sent.
    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    fn start(mut origin: Origin, mark: u16, targets: &[IpAddr]) -> Sender {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = {
            let (stop, rounds, targets) = (Arc::clone(&stop), Arc::clone(&rounds), targets.to_vec());
            thread::spawn(move || {
                let mut pending: VecDeque<Vec<Socket>> = VecDeque::new();
                while !stop.load(Ordering::Relaxed) {
                    if !origin.enter() {
                        // A thread or a socket in it would keep the namespace of a container that has ended, and with it
                        // the port of its bridge.
                        pending.clear();
                        thread::sleep(SEARCH);
                        continue;
                    }
                    let next = Instant::now() + INTERVAL;
                    let sockets = targets.iter().flat_map(|target| send(*target, mark)).collect();
                    pending.push_back(sockets);
                    pending.drain(..pending.len().saturating_sub(ROUNDS));
                    rounds.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            })
        };
        Sender { stop, rounds, thread: Some(thread) }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread shows as packets that are missing.
            drop(thread.join());
        }
    }
}

/// Where packets come from.
enum Origin {
    Namespace {
        namespace: Namespace,
        entered: bool,
    },
    Container {
        /// The container's control groups, one of which lists its processes.
        groups: Vec<PathBuf>,
        /// The host's namespace, in which the thread waits, and a container's first process is for a moment.
        host: Namespace,
        host_inode: u64,
        /// The namespace that the thread is in, if it is the container's.
        current: Option<u64>,
    },
}

impl Origin {
    /// Moves the calling thread to where packets are to come from now. Returns whether there is such a place.
    fn enter(&mut self) -> bool {
        match self {
            Origin::Namespace { namespace, entered } => {
                if !*entered {
                    prepare(namespace);
                    namespace.enter();
                    *entered = true;
                }
                true
            }
            Origin::Container { groups, host, host_inode, current } => {
                let process = groups.iter().find_map(|group| first_process(group));
                let found = process.as_deref().and_then(inode).filter(|found| found != host_inode);
                let (Some(path), Some(_)) = (process, found) else {
                    if current.take().is_some() {
                        host.enter();
                    }
                    return false;
                };
                if found != *current {
                    let Ok(namespace) = Namespace::open(&path) else { return false };
                    prepare(&namespace);
                    namespace.enter();
                }
                *current = found;
                true
            }
        }
    }
}

/// Ping sockets are open to the groups in this range; by default to none.
fn prepare(namespace: &Namespace) {
    namespace.set_sysctl("net.ipv4.ping_group_range", "0 2147483647");
}

fn first_process(group: &Path) -> Option<PathBuf> {
    let listed = fs::read_to_string(group.join("cgroup.procs")).ok()?;
    Some(PathBuf::from(format!("/proc/{}/ns/net", listed.lines().next()?)))
}

fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// Sends one packet of each kind, each from a new socket: one of a flow that the kernel knows would be judged by that.
fn send(target: IpAddr, mark: u16) -> Vec<Socket> {
    let (domain, icmp) = match target {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let connect = |kind: Type, protocol: Option<Protocol>, port: u16| -> io::Result<Socket> {
        let socket = Socket::new(domain, kind, protocol)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&SocketAddr::new(target, port).into()) {
            Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => Err(error),
            _ => Ok(socket),
        }
    };
    let tcp = connect(Type::STREAM, Some(Protocol::TCP), mark);
    if let Ok(udp) = connect(Type::DGRAM, Some(Protocol::UDP), mark) {
        // What cannot be sent now is sent in the next round.
        let _unsent = udp.send(b"marked");
    }
    if let Ok(ping) = connect(Type::DGRAM, Some(icmp), 0) {
        // Type and code; the kernel fills in checksum and identifier.
        let [high, low] = mark.to_be_bytes();
        let kind = if target.is_ipv4() { 8 } else { 128 };
        let _unsent = ping.send(&[kind, 0, 0, 0, 0, 0, 0, 0, high, low]);
    }
    tcp.into_iter().collect()
}
