//! Small checked values of the network layer: families, protocols, port ranges, CIDR blocks, interface names.
//!
//! Input: text or numbers as a person or Docker wrote them. Output: values that are valid by construction.
//! They are here so that no later module has to ask again whether a port is 0 or a prefix has host bits.

mod interface;
mod port_set;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};
use serde::{Deserialize, Serialize};

pub use interface::{InterfaceName, InterfacePrefix};
pub use port_set::PortSet;

/// An IP version. Code that differs only in the version loops over [`Family::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "4")]
    V4,
    /// IPv6.
    #[serde(rename = "6")]
    V6,
}

impl Family {
    /// Both families, in the order in which they are rendered.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family an address belongs to.
    pub fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// Length of a host prefix: 32 or 128.
    pub fn host_prefix(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    /// The one-character form used in set names and texts: `4` or `6`.
    pub fn digit(self) -> char {
        match self {
            Family::V4 => '4',
            Family::V6 => '6',
        }
    }

    /// The ICMP protocol of the family.
    pub fn icmp(self) -> Protocol {
        match self {
            Family::V4 => Protocol::ICMP,
            Family::V6 => Protocol::ICMPV6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Family::V4 => f.write_str("IPv4"),
            Family::V6 => f.write_str("IPv6"),
        }
    }
}

/// Why a text is not one of this module's values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a protocol name of Calico's list and not a number from 1 to 255.
    #[error("`{0}` is not a protocol: use TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or a number from 1 to 255")]
    Protocol(String),
    /// Not `N` or `N:M` with 1 <= N <= M <= 65535.
    #[error("`{0}` is not a port or a port range: use 1 to 65535, or `first:last`")]
    Port(String),
    /// Not an address with a prefix length.
    #[error("`{0}` is not a CIDR block")]
    Cidr(String),
    /// Not the MAC address of a station.
    #[error("`{0}` is not a MAC address of one station, such as `02:42:ac:14:00:02`")]
    Mac(String),
    /// Not usable as a Linux interface name.
    #[error("`{0}` is not an interface name: 1 to 15 letters, digits, `-`, `_` and `.`")]
    Interface(String),
}

/// An IP protocol number, 1 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(u8);

impl Protocol {
    /// ICMP for IPv4.
    pub const ICMP: Protocol = Protocol(1);
    /// TCP.
    pub const TCP: Protocol = Protocol(6);
    /// UDP.
    pub const UDP: Protocol = Protocol(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Protocol = Protocol(58);
    /// SCTP.
    pub const SCTP: Protocol = Protocol(132);
    /// UDP-Lite.
    pub const UDPLITE: Protocol = Protocol(136);

    /// Calico's names for protocols (`numorstring.Protocol`), in their exact case.
    const NAMES: [(&'static str, Protocol); 6] = [
        ("TCP", Protocol::TCP),
        ("UDP", Protocol::UDP),
        ("ICMP", Protocol::ICMP),
        ("ICMPv6", Protocol::ICMPV6),
        ("SCTP", Protocol::SCTP),
        ("UDPLite", Protocol::UDPLITE),
    ];

    /// The protocol with this number; `None` for 0, which Calico refuses.
    pub fn from_number(number: u8) -> Option<Protocol> {
        (number != 0).then_some(Protocol(number))
    }

    /// The protocol number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Whether rules on ports may be written for it: TCP, UDP and SCTP (Calico's rule).
    pub fn has_ports(self) -> bool {
        matches!(self, Protocol::TCP | Protocol::UDP | Protocol::SCTP)
    }

    /// The only family this protocol can occur in, if there is one (Calico infers it for ICMP and ICMPv6).
    pub fn family(self) -> Option<Family> {
        match self {
            Protocol::ICMP => Some(Family::V4),
            Protocol::ICMPV6 => Some(Family::V6),
            _ => None,
        }
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some((_, protocol)) = Protocol::NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*protocol);
        }
        text.parse::<u8>().ok().and_then(Protocol::from_number).ok_or_else(|| Error::Protocol(text.to_owned()))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Protocol::NAMES.iter().find(|(_, protocol)| protocol == self) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// An inclusive range of ports, never empty and never containing 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The range from `first` to `last`; `None` when `first` is 0 or above `last`.
    pub fn new(first: u16, last: u16) -> Option<PortRange> {
        (first != 0 && first <= last).then_some(PortRange { first, last })
    }

    /// The range of one port; `None` for 0.
    pub fn single(port: u16) -> Option<PortRange> {
        PortRange::new(port, port)
    }

    /// Ports as ranges, as few as possible: neighbours share one. A port 0 is left out.
    pub fn covering(ports: &BTreeSet<u16>) -> Vec<PortRange> {
        let mut ranges: Vec<PortRange> = Vec::new();
        for range in ports.iter().filter_map(|port| PortRange::single(*port)) {
            match ranges.last_mut().filter(|last| last.last.checked_add(1) == Some(range.first)) {
                Some(last) => last.last = range.last,
                None => ranges.push(range),
            }
        }
        ranges
    }

    /// Lowest port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// Highest port.
    pub fn last(self) -> u16 {
        self.last
    }

    /// Whether the port lies in the range.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Slots of iptables' 15 that a `multiport` match spends on it: a range takes two.
    pub fn multiport_slots(self) -> usize {
        if self.first == self.last { 1 } else { 2 }
    }
}

impl Serialize for Protocol {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for PortRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From the text that the type's `Serialize` writes and its `FromStr` checks.
fn from_text<'de, T: FromStr<Err = Error>, D: serde::Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

impl<'de> Deserialize<'de> for MacAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

impl FromStr for PortRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) => PortRange::new(first, last),
            _ => None,
        }
        .ok_or_else(|| Error::Port(text.to_owned()))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}:{}", self.first, self.last) }
    }
}

/// A CIDR block without host bits. A single address is a block of full prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Cidr(IpNet);

impl Cidr {
    /// The block that contains `address` with this prefix length, host bits cleared; `None` if the prefix is too long.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Cidr> {
        IpNet::new(address, prefix).ok().map(|net| Cidr(net.trunc()))
    }

    /// The block of one address.
    pub fn host(address: IpAddr) -> Cidr {
        Cidr(IpNet::from(address))
    }

    /// Every address of a family: `0.0.0.0/0` or `::/0`.
    pub fn everything(family: Family) -> Cidr {
        match family {
            Family::V4 => Cidr(IpNet::V4(Ipv4Net::default())),
            Family::V6 => Cidr(IpNet::V6(Ipv6Net::default())),
        }
    }

    /// The family.
    pub fn family(self) -> Family {
        Family::of(self.0.network())
    }

    /// First address of the block.
    pub fn network(self) -> IpAddr {
        self.0.network()
    }

    /// Last address of the block: in IPv4 the directed broadcast address.
    pub fn last(self) -> IpAddr {
        self.0.broadcast()
    }

    /// Prefix length.
    pub fn prefix(self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether the block is one address.
    pub fn is_host(self) -> bool {
        self.prefix() == self.family().host_prefix()
    }

    /// Whether the address lies in the block; false across families.
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// The same addresses in as few blocks as possible, none of which overlap.
    pub fn aggregate(blocks: impl Iterator<Item = Cidr>) -> Vec<Cidr> {
        let blocks: Vec<IpNet> = blocks.map(|block| block.0).collect();
        IpNet::aggregate(&blocks).into_iter().map(Cidr).collect()
    }

    /// The addresses from `first` to `last` in as few blocks as possible; none when the two are of different families or
    /// `last` comes first.
    pub fn covering(first: IpAddr, last: IpAddr) -> Vec<Cidr> {
        if first > last {
            return Vec::new();
        }
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                Ipv4Subnets::new(first, last, 0).map(|net| Cidr(IpNet::V4(net))).collect()
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                Ipv6Subnets::new(first, last, 0).map(|net| Cidr(IpNet::V6(net))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Addresses of the block that a host may have, in order.
    pub fn hosts(self) -> impl Iterator<Item = IpAddr> {
        self.0.hosts()
    }

    /// The block as it can stand in an ipset of type `hash:net`, which cannot hold a prefix length of 0: itself, or the
    /// two halves of everything.
    pub fn storable(self) -> Vec<Cidr> {
        if self.prefix() > 0 {
            return vec![self];
        }
        self.0.subnets(1).map(|halves| halves.map(Cidr).collect()).unwrap_or_default()
    }
}

impl FromStr for Cidr {
    type Err = Error;

    /// Reads `address/prefix` or a bare address; host bits are cleared, as Calico does for network sets.
    fn from_str(text: &str) -> Result<Self, Error> {
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(Cidr(net.trunc()));
        }
        text.parse::<IpAddr>().map(Cidr::host).map_err(|_| Error::Cidr(text.to_owned()))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An Ethernet address of one station: never that of a group, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// An address from its bytes; `None` for a group's and for zero, which no station has.
    pub fn new(bytes: [u8; 6]) -> Option<MacAddress> {
        (bytes[0] & 1 == 0 && bytes != [0; 6]).then_some(MacAddress(bytes))
    }

    /// Its bytes.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }

    /// The link-local IPv6 address that a station forms from this address (RFC 4291, appendix A).
    pub fn link_local(self) -> Ipv6Addr {
        let mut bytes = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 0];
        bytes[8..11].copy_from_slice(&self.0[..3]);
        bytes[13..].copy_from_slice(&self.0[3..]);
        bytes[8] ^= 2;
        Ipv6Addr::from(bytes)
    }
}

impl FromStr for MacAddress {
    type Err = Error;

    /// Reads six pairs of hexadecimal digits with colons between them.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        let mut octets = || {
            for byte in &mut bytes {
                let part =
                    parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))?;
                *byte = u8::from_str_radix(part, 16).ok()?;
            }
            parts.next().is_none().then_some(bytes)
        };
        octets().and_then(MacAddress::new).ok_or_else(|| Error::Mac(text.to_owned()))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.map(|byte| format!("{byte:02x}")).join(":"))
    }
}

impl Serialize for MacAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_read_by_exact_name_or_number() {
        for (text, number) in [("TCP", 6), ("ICMPv6", 58), ("1", 1), ("255", 255), ("47", 47)] {
            assert_eq!(text.parse::<Protocol>().map(Protocol::number), Ok(number), "{text}");
        }
        for text in ["tcp", "0", "256", "", "TCPx"] {
            assert!(text.parse::<Protocol>().is_err(), "{text}");
        }
        assert_eq!("6".parse::<Protocol>().map(|p| p.to_string()), Ok("TCP".to_owned()));
    }

    #[test]
    fn port_ranges_are_never_empty_and_never_hold_zero() {
        assert_eq!("80".parse(), Ok(PortRange { first: 80, last: 80 }));
        assert_eq!("80:90".parse(), Ok(PortRange { first: 80, last: 90 }));
        for text in ["0", "90:80", "0:5", "1:65536", "80-90", "http", ":", "1:2:3"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn neighbouring_ports_share_a_range() {
        let ranges = |ports: &[u16]| {
            let covering = PortRange::covering(&ports.iter().copied().collect());
            covering.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[0, 1, 80, 81, 82, 90, 65534, 65535]), "1 80:82 90 65534:65535");
    }

    #[test]
    fn cidr_blocks_lose_their_host_bits() {
        for (text, shown) in [
            ("10.0.0.1/8", "10.0.0.0/8"),
            ("10.0.0.1", "10.0.0.1/32"),
            ("2001:db8::1/64", "2001:db8::/64"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(text.parse::<Cidr>().map(|c| c.to_string()), Ok(shown.to_owned()));
        }
        assert!("10.0.0.0/33".parse::<Cidr>().is_err());
    }

    #[test]
    fn everything_is_stored_as_two_halves() {
        let shown = |family| Cidr::everything(family).storable().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(Family::V4), ["0.0.0.0/1", "128.0.0.0/1"]);
        assert_eq!(shown(Family::V6), ["::/1", "8000::/1"]);
    }

    #[test]
    fn a_mac_address_is_one_stations() {
        let mac = |text: &str| text.parse::<MacAddress>();
        assert_eq!(mac("02:42:AC:11:00:02").map(|mac| mac.to_string()), Ok("02:42:ac:11:00:02".to_owned()));
        assert_eq!(
            mac("02:42:ac:11:00:02").map(|mac| mac.link_local().to_string()),
            Ok("fe80::42:acff:fe11:2".to_owned())
        );
        for text in [
            "",
            "x",
            "02:42:ac:11:00",
            "02:42:ac:11:00:02:03",
            "2:42:ac:11:0:2",
            "01:00:5e:00:00:01",
            "+2:42:ac:11:00:02",
        ] {
            assert!(mac(text).is_err(), "{text}");
        }
        assert!(mac("00:00:00:00:00:00").is_err() && mac("ff:ff:ff:ff:ff:ff").is_err());
    }
}
