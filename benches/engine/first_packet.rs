//! When a container sends its first packet.
//!
//! Input: the host's namespace and an address. Output: the moment at which the kernel took the first frame from the
//! container's cable, before any firewall. That is mostly its question for the MAC address of its gateway. What the
//! engine announces in the container's name has the address as source and target, and does not count.

use std::io::IoSliceMut;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeSpec, TimeVal, TimeValLike};

use super::support::Namespace;

/// `PACKET_OUTGOING` of `linux/if_packet.h`
const OUTGOING: u8 = 4;
/// Frames that may wait until they are looked at.
const BUFFER: usize = 16 << 20;
/// Longest wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// Hears every frame that comes to the host, from now on.
pub(crate) struct FirstPacket {
    socket: OwnedFd,
}

impl FirstPacket {
    /// Opens its ears.
    pub(crate) fn listen(host: &Namespace) -> FirstPacket {
        let flags = SockFlag::SOCK_CLOEXEC;
        let open = || socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll);
        let socket = host.run(open).expect("a packet socket takes root");
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).expect("a large buffer takes root");
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true).expect("sockets have timestamps");
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(100)).expect("sockets take a timeout");
        FirstPacket { socket }
    }

    /// The moment of the first frame from an address, by the kernel's clock: nanoseconds since the beginning of 1970.
    pub(crate) fn from(&self, address: Ipv4Addr) -> i64 {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "no packet from {address} within {PATIENCE:?}");
            if let Some(at) = self.next(address) {
                return at;
            }
        }
    }

    fn next(&self, address: Ipv4Addr) -> Option<i64> {
        let mut buffer = [0; 128];
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg::<LinkAddr>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty());
        let message = match received {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => return None,
            Err(error) => panic!("the packet socket broke: {error}"),
        };
        let is_incoming = message.address.is_some_and(|from| from.pkttype() != OUTGOING);
        let at = message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(at) => Some(at.num_nanoseconds()),
            _ => None,
        });
        let length = message.bytes;
        (is_incoming && is_from(&buffer[..length], address)).then_some(at).flatten()
    }
}

/// Whether a frame without its Ethernet header is the address' own.
fn is_from(frame: &[u8], address: Ipv4Addr) -> bool {
    let has = |at: usize| frame.get(at..at + 4) == Some(&address.octets());
    match frame.first() {
        // IPv4 has its source at 12.
        Some(byte) if byte >> 4 == 4 => has(12),
        // ARP for IPv4 over Ethernet begins with `00 01 08 00 06 04`, and has the sender's address at 14, the target's at
        // 24.
        Some(0) => frame.starts_with(&[0, 1, 8, 0, 6, 4]) && has(14) && !has(24),
        _ => false,
    }
}
