//! Frames as an attacker builds them: every byte is ours, whatever the sender's kernel would think of it.
//!
//! Input: a namespace and its interface. Output: frames on the cable, and whether a frame with a marker arrived.
//! The builders fill in lengths and checksums, because a packet that its receiver would drop shows nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::namespace::Namespace;

/// A MAC address.
pub(crate) type Mac = [u8; 6];

/// The MAC address of everybody.
pub(crate) const BROADCAST: Mac = [0xff; 6];

// IANA protocol numbers.
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const SCTP: u8 = 132;

/// TCP's flag that opens a flow.
pub(crate) const SYN: u8 = 0x02;

const ETHERTYPE_V4: u16 = 0x0800;
const ETHERTYPE_V6: u16 = 0x86dd;

/// A source port, or a number of a datagram in fragments, that this process has not used: what an earlier flow or
/// fragment left in the kernel must not let the next one pass.
pub(crate) fn fresh_number() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A packet socket on one interface of a namespace.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: OwnedFd,
    link: LinkAddr,
}

impl Wire {
    /// Opens a socket on an interface. It hears everything that the namespace does from now on.
    pub(crate) fn open(namespace: &Namespace, interface: &str) -> Wire {
        namespace.run(|| {
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll)
                .expect("a packet socket takes root");
            let link = getifaddrs()
                .expect("a namespace lists its interfaces")
                .filter(|entry| entry.interface_name == interface)
                .find_map(|entry| entry.address.as_ref().and_then(|address| address.as_link_addr().copied()))
                .unwrap_or_else(|| panic!("there is no interface {interface}"));
            Wire { socket, link }
        })
    }

    /// The interface's own MAC address.
    pub(crate) fn mac(&self) -> Mac {
        self.link.addr().expect("a cable of Ethernet has a MAC address")
    }

    /// Sends an IP packet to a MAC address, from our own.
    pub(crate) fn send(&self, to: Mac, packet: &[u8]) {
        let ethertype = if packet[0] >> 4 == 4 { ETHERTYPE_V4 } else { ETHERTYPE_V6 };
        self.send_frame(to, ethertype, packet);
    }

    /// Sends anything to a MAC address, from our own.
    fn send_frame(&self, to: Mac, ethertype: u16, payload: &[u8]) {
        let frame = [&to, &self.mac(), &ethertype.to_be_bytes()[..], payload].concat();
        sendto(self.socket.as_raw_fd(), &frame, &self.link, MsgFlags::empty()).expect("the cable takes frames");
    }

    /// Whether a frame that contains `marker` arrives before `patience` is over.
    pub(crate) fn hears(&self, marker: &[u8], patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let mut buffer = vec![0; 65536];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let microseconds = i64::try_from(left.as_micros()).expect("patience is short");
            setsockopt(&self.socket, sockopt::ReceiveTimeout, &TimeVal::microseconds(microseconds.max(1)))
                .expect("a socket has a timeout");
            // A wait that ends for lack of frames is an error, too; the clock decides.
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap_or(0);
            if buffer[..length].windows(marker.len()).any(|window| window == marker) {
                return true;
            }
        }
    }
}

/// The MAC address that a namespace has resolved a neighbour's address to; asks for it with one datagram if need be.
pub(crate) fn neighbour(namespace: &Namespace, address: IpAddr) -> Mac {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let table = namespace.run(|| {
            // Whether the datagram itself may pass does not matter: it cannot be sent before the neighbour is known.
            let _asked = std::net::UdpSocket::bind((any, 0)).and_then(|socket| socket.send_to(b"?", (address, 9)));
            let output = Command::new("ip").args(["neighbour", "show", "to", &address.to_string()]).output();
            String::from_utf8(output.expect("ip can be run").stdout).expect("ip writes text")
        });
        let mac = table.split_whitespace().skip_while(|word| *word != "lladdr").nth(1);
        if let Some(mac) = mac {
            let bytes: Vec<u8> = mac
                .split(':')
                .map(|byte| u8::from_str_radix(byte, 16).expect("a MAC address is hexadecimal"))
                .collect();
            return bytes.try_into().expect("a MAC address has six bytes");
        }
        assert!(Instant::now() < end, "{address} does not answer for its MAC address");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The Internet checksum over several parts, each of even length but the last.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let bytes = parts.concat();
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or_default()])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).expect("the carry is folded in")).to_be_bytes()
}

fn length_of(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).expect("a packet is short").to_be_bytes()
}

/// The checksum of an upper protocol, with the pseudo header.
fn sum_of(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> [u8; 2] {
    let pseudo = [octets(source), octets(destination), vec![0, protocol], length_of(payload).to_vec()].concat();
    checksum(&[&pseudo, payload])
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A whole packet of either family.
pub(crate) fn packet(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => v4(source, destination, protocol, Extras::default(), payload),
        (IpAddr::V6(source), IpAddr::V6(destination)) => v6(source, destination, protocol, payload),
        _ => panic!("{source} and {destination} are of two families"),
    }
}

/// What an IPv4 header can say beside addresses and protocol.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extras<'a> {
    /// Options; a multiple of four bytes.
    pub(crate) options: &'a [u8],
    /// The number that the fragments of a datagram share.
    pub(crate) id: u16,
    /// The field with flags (0x2000: more follow) and the offset in units of eight bytes.
    pub(crate) fragment: u16,
}

/// An IPv4 packet.
pub(crate) fn v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, extras: Extras<'_>, payload: &[u8]) -> Vec<u8> {
    let header_length = 20 + extras.options.len();
    let total = u16::try_from(header_length + payload.len()).expect("a packet is short");
    let mut header = vec![0x40 | u8::try_from(header_length / 4).expect("options fit"), 0];
    header.extend(total.to_be_bytes());
    header.extend(extras.id.to_be_bytes());
    header.extend(extras.fragment.to_be_bytes());
    header.extend([64, protocol, 0, 0]);
    header.extend(source.octets());
    header.extend(destination.octets());
    header.extend(extras.options);
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum);
    [header.as_slice(), payload].concat()
}

/// An IPv6 packet; extension headers are part of the payload.
pub(crate) fn v6(source: Ipv6Addr, destination: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(length_of(payload));
    header.extend([next, 64]);
    header.extend(source.octets());
    header.extend(destination.octets());
    [header.as_slice(), payload].concat()
}

/// A UDP datagram to be carried between two addresses.
pub(crate) fn udp(source: IpAddr, destination: IpAddr, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + data.len()).expect("a datagram is short").to_be_bytes();
    let mut datagram =
        [&ports.0.to_be_bytes()[..], &ports.1.to_be_bytes()[..], &length[..], &[0, 0][..], data].concat();
    let sum = sum_of(source, destination, UDP, &datagram);
    datagram[6..8].copy_from_slice(&sum);
    datagram
}

/// A TCP segment to be carried between two addresses.
pub(crate) fn tcp(source: IpAddr, destination: IpAddr, ports: (u16, u16), flags: u8, data: &[u8]) -> Vec<u8> {
    let mut segment = [&ports.0.to_be_bytes()[..], &ports.1.to_be_bytes()[..]].concat();
    segment.extend(1_000_u32.to_be_bytes());
    segment.extend(2_000_u32.to_be_bytes());
    segment.extend([0x50, flags]);
    segment.extend(64_000_u16.to_be_bytes());
    segment.extend([0, 0, 0, 0]);
    segment.extend(data);
    let sum = sum_of(source, destination, TCP, &segment);
    segment[16..18].copy_from_slice(&sum);
    segment
}

/// A packet of SCTP with one chunk: of this type, after the verification tag.
pub(crate) fn sctp(ports: (u16, u16), tag: u32, chunk: u8, data: &[u8]) -> Vec<u8> {
    let mut packet = [&ports.0.to_be_bytes()[..], &ports.1.to_be_bytes(), &tag.to_be_bytes(), &[0; 4]].concat();
    packet.extend([chunk, 0]);
    packet.extend(length_of(&[&[0; 4], data].concat()));
    packet.extend(data);
    packet.resize(packet.len().next_multiple_of(4), 0);
    let sum = crc32c(&packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
    packet
}

/// RFC 9260, appendix A.
fn crc32c(bytes: &[u8]) -> u32 {
    let shift = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), shift))
}

/// An ICMP message of either family with four bytes after the checksum.
pub(crate) fn icmp(source: IpAddr, destination: IpAddr, kind: (u8, u8), word: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut message = [&[kind.0, kind.1, 0, 0][..], &word[..], data].concat();
    let sum = match source {
        IpAddr::V4(_) => checksum(&[&message]),
        IpAddr::V6(_) => sum_of(source, destination, ICMPV6, &message),
    };
    message[2..4].copy_from_slice(&sum);
    message
}

/// The ICMP error "port unreachable" with whatever it claims to answer.
pub(crate) fn unreachable(source: IpAddr, destination: IpAddr, about: &[u8]) -> Vec<u8> {
    let (protocol, kind) = if source.is_ipv4() { (ICMP, (3, 3)) } else { (ICMPV6, (1, 4)) };
    packet(source, destination, protocol, &icmp(source, destination, kind, [0; 4], about))
}
