//! A tap on the Docker host: which marked packets were handed to a container or to the outside, and when.
//!
//! Input: a host's namespace. Output: a [`Delivery`] for each path that marked packets took to their end. It sees what
//! the host sends into a container's cable, after every firewall, so that it misses no container however new, and needs
//! no server in it; when, the kernel says. Packets are marked by a number: the destination port of TCP and UDP, the first
//! two bytes of what a ping carries.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::net::if_::if_indextoname;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, RecvMsg, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;

use super::namespace::Namespace;

/// `PACKET_OUTGOING` of `linux/if_packet.h`
const OUTGOING: u8 = 4;
/// Packets that may wait while this machine is busy.
const BUFFER: usize = 64 << 20;

/// Packets of one kind from one address to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Delivery {
    /// The number that marks them.
    pub(crate) mark: u16,
    /// `tcp`, `udp` or `ping`.
    pub(crate) kind: &'static str,
    /// Source address as the receiver sees it.
    pub(crate) source: IpAddr,
    /// Destination address as the receiver sees it.
    pub(crate) destination: IpAddr,
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} from {} to {}", self.mark, self.kind, self.source, self.destination)
    }
}

/// How many, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    /// Number of packets.
    pub(crate) packets: u64,
    /// The first.
    pub(crate) first: Instant,
    /// The last.
    pub(crate) last: Instant,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub(crate) struct Tap {
    seen: Arc<Mutex<Vec<(Instant, Delivery)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    /// Starts to watch for packets with these marks. Returns when it sees everything.
    pub(crate) fn start(host: &Namespace, marks: &[u16]) -> Tap {
        let seen: Arc<Mutex<Vec<(Instant, Delivery)>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = mpsc::channel();
        let thread = {
            let (host, seen, stop) = (host.clone(), Arc::clone(&seen), Arc::clone(&stop));
            let marks: BTreeSet<u16> = marks.iter().copied().collect();
            thread::spawn(move || {
                host.enter();
                let socket = open();
                // The receiver is gone only when the test is already ending.
                let _ = ready.send(());
                watch(&socket, &marks, &seen, &stop);
            })
        };
        is_ready.recv().expect("the tap has its socket");
        Tap { seen, stop, thread: Some(thread) }
    }

    /// Every packet that was delivered so far, with the moment.
    pub(crate) fn packets(&self) -> Vec<(Instant, Delivery)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was delivered so far, by way.
    pub(crate) fn deliveries(&self) -> BTreeMap<Delivery, Count> {
        let mut counts = BTreeMap::new();
        for (at, delivery) in self.packets() {
            let count = counts.entry(delivery).or_insert(Count { packets: 0, first: at, last: at });
            (count.packets, count.last) = (count.packets + 1, at);
        }
        counts
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread shows as packets that are missing.
            drop(thread.join());
        }
    }
}

fn open() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll);
    let socket = socket.expect("a packet socket takes root");
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).expect("a large buffer takes root");
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).expect("the kernel notes when packets went");
    socket
}

fn watch(socket: &OwnedFd, marks: &BTreeSet<u16>, seen: &Mutex<Vec<(Instant, Delivery)>>, stop: &AtomicBool) {
    let mut buffer = [0; 256];
    let mut notes = nix::cmsg_space!(TimeSpec);
    let mut ends: HashMap<usize, bool> = HashMap::new();
    while !stop.load(Ordering::Relaxed) {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        match recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut parts, Some(&mut notes), MsgFlags::empty()) {
            Ok(message) => {
                let (length, went) = (message.bytes, went(&message));
                let link = message.address.filter(|from| from.pkttype() == OUTGOING).map(|from| from.ifindex());
                if let Some(link) = link
                    && *ends.entry(link).or_insert_with_key(|index| is_end(*index))
                    && let Some(delivery) = read(&buffer[..length]).filter(|found| marks.contains(&found.mark))
                {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push((went, delivery));
                }
            }
            Err(Errno::EINTR | Errno::ENETDOWN) => (),
            Err(Errno::EAGAIN) => {
                let timeout = PollTimeout::try_from(Duration::from_millis(100)).expect("the interval fits");
                let mut interest = [PollFd::new(std::os::fd::AsFd::as_fd(socket), PollFlags::POLLIN)];
                // Whatever woke us, the next read tells.
                let _woken = poll(&mut interest, timeout);
            }
            Err(error) => panic!("the tap broke: {error}"),
        }
    }
}

/// When a packet went, by the kernel: on a busy machine it is read much later.
fn went(message: &RecvMsg<'_, '_, LinkAddr>) -> Instant {
    let noted = message.cmsgs().into_iter().flatten().find_map(|note| match note {
        ControlMessageOwned::ScmTimestampns(time) => Some(UNIX_EPOCH + Duration::from(time)),
        _ => None,
    });
    let ago = SystemTime::now().duration_since(noted.expect("it was asked for")).unwrap_or_default();
    Instant::now().checked_sub(ago).expect("this machine was up by then")
}

/// Whether an interface of the host leads out of it: to a container, or to the outside. One that is gone already was a
/// container's.
fn is_end(index: usize) -> bool {
    let name = u32::try_from(index).ok().and_then(|index| if_indextoname(index).ok());
    name.is_none_or(|name| {
        let name = name.to_string_lossy();
        name.starts_with("veth") || name == "ext0"
    })
}

/// The first packet of a connection, a datagram or a ping; `None` for anything else.
fn read(packet: &[u8]) -> Option<Delivery> {
    let (protocol, source, destination, rest) = match packet.first()? >> 4 {
        4 => {
            let address =
                |at: usize| Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?)));
            let header = usize::from(packet[0] & 0x0f) * 4;
            (*packet.get(9)?, address(12)?, address(16)?, packet.get(header..)?)
        }
        6 => {
            let address =
                |at: usize| Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?)));
            (*packet.get(6)?, address(8)?, address(24)?, packet.get(40..)?)
        }
        _ => return None,
    };
    let number = |at: usize| Some(u16::from_be_bytes(<[u8; 2]>::try_from(rest.get(at..at + 2)?).ok()?));
    let (kind, mark) = match protocol {
        // SYN without ACK.
        6 if rest.get(13)? & 0x12 == 0x02 => ("tcp", number(2)?),
        17 => ("udp", number(2)?),
        1 if *rest.first()? == 8 => ("ping", number(8)?),
        58 if *rest.first()? == 128 => ("ping", number(8)?),
        _ => return None,
    };
    Some(Delivery { mark, kind, source, destination })
}
