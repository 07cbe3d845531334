//! Frames made by hand, as any container can send them that has Docker's default capabilities, and ears for what arrives.
//!
//! Input: a namespace and an interface in it. Output: a [`Wire`] that sends any bytes and hears everything before the
//! kernel judges it, or an [`Ear`] that hears what the kernel delivers to a UDP port.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::namespace::Namespace;

/// A MAC address.
pub(crate) type Mac = [u8; 6];

/// The address of everybody on a link.
pub(crate) const BROADCAST: Mac = [0xff; 6];

pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const ARP: u16 = 0x0806;
pub(crate) const IPV6: u16 = 0x86dd;

/// The MAC address of an interface. Panics when there is no such interface.
pub(crate) fn mac_of(namespace: &Namespace, interface: &str) -> Mac {
    let address = namespace.run(|| link_address(interface));
    address.as_link_addr().and_then(nix::sys::socket::LinkAddr::addr).expect("an Ethernet interface has an address")
}

fn link_address(interface: &str) -> SockaddrStorage {
    let mut all = getifaddrs().expect("the kernel lists interfaces");
    let link = all.find(|found| {
        found.interface_name == interface && found.address.as_ref().is_some_and(|a| a.as_link_addr().is_some())
    });
    link.and_then(|link| link.address).unwrap_or_else(|| panic!("there is no interface {interface}"))
}

/// A socket at one interface, below IP.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: OwnedFd,
    /// The interface's own MAC address.
    pub(crate) mac: Mac,
}

impl Wire {
    /// Listens from now on.
    pub(crate) fn open(namespace: &Namespace, interface: &str) -> Wire {
        let mac = mac_of(namespace, interface);
        let socket = namespace.run(|| {
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
                .expect("packet sockets take CAP_NET_RAW, which Docker gives to containers");
            // The address names the interface; the protocol stays that of the socket.
            bind(socket.as_raw_fd(), &link_address(interface)).expect("the interface is there");
            socket
        });
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(20)).expect("sockets take a timeout");
        Wire { socket, mac }
    }

    /// Sends a frame.
    pub(crate) fn send(&self, frame: &[u8]) {
        let sent = send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).expect("the interface is up");
        assert_eq!(sent, frame.len());
    }
}

/// A UDP port of a namespace, under all of its addresses.
#[derive(Debug)]
pub(crate) struct Ear {
    socket: UdpSocket,
}

impl Ear {
    pub(crate) fn open(namespace: &Namespace, port: u16) -> Ear {
        let socket = namespace.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).expect("the port is free"));
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("sockets take a timeout");
        Ear { socket }
    }
}

/// Something that hears.
pub(crate) trait Hears {
    /// The next message; `None` when there is none for a moment.
    fn next(&self) -> Option<Vec<u8>>;

    /// Listens until all of `wanted` were heard, or until the patience is over, and then for a moment longer. Returns
    /// whether each of `wanted`, and each of `others`, was heard.
    fn listen(&self, wanted: &[&[u8]], others: &[&[u8]], patience: Duration) -> (Vec<bool>, Vec<bool>) {
        let end = Instant::now() + patience;
        let mut late = None;
        let (mut heard, mut also) = (vec![false; wanted.len()], vec![false; others.len()]);
        let mark = |heard: &mut Vec<bool>, texts: &[&[u8]], message: &[u8]| {
            for (heard, text) in heard.iter_mut().zip(texts) {
                *heard |= message.windows(text.len()).any(|part| part == *text);
            }
        };
        while Instant::now() < late.unwrap_or(end) {
            if let Some(message) = self.next() {
                mark(&mut heard, wanted, &message);
                mark(&mut also, others, &message);
            }
            if late.is_none() && heard.iter().all(|heard| *heard) {
                late = Some(Instant::now() + Duration::from_millis(150));
            }
        }
        (heard, also)
    }
}

impl Hears for Wire {
    fn next(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65536];
        let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }
}

impl Hears for Ear {
    fn next(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65536];
        match self.socket.recv(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                Some(buffer)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            // An ICMP error for something that this socket has sent; it sends nothing.
            Err(error) => panic!("cannot listen: {error}"),
        }
    }
}

/// A frame.
pub(crate) fn frame(to: Mac, from: Mac, protocol: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &from, &protocol.to_be_bytes(), payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// A frame with VLAN tags, the outermost first, each as its protocol and VLAN.
pub(crate) fn tagged(to: Mac, from: Mac, tags: &[(u16, u16)], protocol: u16, payload: &[u8]) -> Vec<u8> {
    let mut inner = Vec::new();
    for (_, vlan) in tags {
        inner.extend(vlan.to_be_bytes());
        let next = inner.len() / 4 + 1;
        inner.extend(tags.get(next).map_or(protocol, |(protocol, _)| *protocol).to_be_bytes());
    }
    inner.extend(payload);
    frame(to, from, tags[0].0, &inner)
}

/// An IP packet with a UDP datagram, and the protocol that its frame has.
pub(crate) fn udp(from: IpAddr, to: IpAddr, port: u16, text: &[u8]) -> (u16, Vec<u8>) {
    let length = u16::try_from(8 + text.len()).expect("texts are short");
    let mut datagram = [&port.to_be_bytes()[..], &port.to_be_bytes(), &length.to_be_bytes(), &[0, 0], text].concat();
    let sum = checksum(&[&pseudo_header(from, to, 17, length), &datagram]);
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    ip(from, to, 17, 64, &datagram)
}

/// An ICMPv6 message with the hop limit of neighbour discovery.
pub(crate) fn icmpv6(from: Ipv6Addr, to: Ipv6Addr, kind: u8, body: &[u8]) -> (u16, Vec<u8>) {
    let mut message = [&[kind, 0, 0, 0][..], body].concat();
    let length = u16::try_from(message.len()).expect("messages are short");
    let sum = checksum(&[&pseudo_header(from.into(), to.into(), 58, length), &message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ip(from.into(), to.into(), 58, 255, &message)
}

/// A neighbour advertisement's body: solicited and overriding, with the MAC address as an option.
pub(crate) fn advertisement(target: Ipv6Addr, mac: Mac) -> Vec<u8> {
    [&[0x60, 0, 0, 0][..], &target.octets(), &[2, 1], &mac].concat()
}

/// A neighbour solicitation's body, with the MAC address as an option where the sender has an address.
pub(crate) fn solicitation(target: Ipv6Addr, mac: Option<Mac>) -> Vec<u8> {
    let option = mac.map(|mac| [&[1, 1][..], &mac].concat()).unwrap_or_default();
    [&[0, 0, 0, 0][..], &target.octets(), &option].concat()
}

/// An ARP message: 1 asks, 2 answers.
pub(crate) fn arp(operation: u8, from: (Mac, Ipv4Addr), to: (Mac, Ipv4Addr)) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    [&head[..], &from.0, &from.1.octets(), &to.0, &to.1.octets()].concat()
}

fn ip(from: IpAddr, to: IpAddr, protocol: u8, hops: u8, payload: &[u8]) -> (u16, Vec<u8>) {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = u16::try_from(20 + payload.len()).expect("packets are short").to_be_bytes();
            let start = [0x45, 0, length[0], length[1], 0, 0, 0, 0, hops, protocol, 0, 0];
            let mut header = [&start[..], &from.octets(), &to.octets()].concat();
            let sum = checksum(&[&header]);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            (IPV4, [&header, payload].concat())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let length = u16::try_from(payload.len()).expect("packets are short").to_be_bytes();
            let start = [0x60, 0, 0, 0, length[0], length[1], protocol, hops];
            (IPV6, [&start[..], &from.octets(), &to.octets(), payload].concat())
        }
        _ => panic!("a packet has one family"),
    }
}

fn pseudo_header(from: IpAddr, to: IpAddr, protocol: u8, length: u16) -> Vec<u8> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    [octets(from), octets(to), u32::from(length).to_be_bytes().to_vec(), vec![0, 0, 0, protocol]].concat()
}

/// The Internet checksum of parts of even length but for the last.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 = words.map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("two folds leave 16 bits")
}
