//! Changes of what the sets of the table hold, as data.
//!
//! Input: elements as `nft` writes them. Output: a command for `nft`, and the same for the kernel, in the form of its sets.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::table::{NAME, Set};
use crate::dataplane::nftables::{Key, Request, Verb};
use crate::net::{Cidr, MacAddress};

/// Length of an interface name in a set: `IFNAMSIZ`.
const NAME_LENGTH: usize = 16;
/// Each part of a concatenation fills whole registers of this length.
const REGISTER: usize = 4;

/// Members that come to a set of the table against spoofing, or go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetChange {
    pub(super) verb: Verb,
    pub(super) set: Set,
    pub(super) elements: Vec<Arc<str>>,
}

impl fmt::Display for SetChange {
    /// The change as a command of `nft`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.verb {
            Verb::Add => "add",
            Verb::Delete => "delete",
        };
        write!(f, "{verb} element {} {} {{ {} }}", NAME.join(" "), self.set.name(), self.elements.join(", "))
    }
}

impl Serialize for SetChange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl SetChange {
    /// What the kernel is asked for; `None` where an element is not understood, which `nft` is to judge.
    pub(in crate::dataplane) fn request(&self) -> Option<Request> {
        let keys = self.elements.iter().map(|element| keys(self.set, element)).collect::<Option<Vec<_>>>()?;
        let keys = keys.into_iter().flatten().collect();
        Some(Request { verb: self.verb, table: NAME[1], set: self.set.name(), keys })
    }
}

/// An element in the kernel's form: in a set of intervals its first address and the one behind its last.
fn keys(set: Set, element: &str) -> Option<Vec<Key>> {
    if let Set::Subnets(_) = set {
        let block: Cidr = element.parse().ok()?;
        let end = behind(block.last()).map(|bytes| Key { bytes, ends_interval: true });
        return Some([Key { bytes: octets(block.network()), ends_interval: false }].into_iter().chain(end).collect());
    }
    let mut parts = element.split(" . ").map(part).collect::<Option<Vec<_>>>()?;
    if parts.len() > 1 {
        for part in &mut parts {
            part.resize(part.len().next_multiple_of(REGISTER), 0);
        }
    }
    Some(vec![Key { bytes: parts.concat(), ends_interval: false }])
}

/// A part of an element: a port in quotes, an address, a MAC address, or an address as the number that it is.
fn part(text: &str) -> Option<Vec<u8>> {
    if let Some(name) = text.strip_prefix('"') {
        let mut bytes = name.strip_suffix('"')?.as_bytes().to_vec();
        // The name ends with a zero byte.
        (bytes.len() < NAME_LENGTH).then(|| bytes.resize(NAME_LENGTH, 0))?;
        return Some(bytes);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return Some(u128::from_str_radix(digits, 16).ok()?.to_be_bytes().to_vec());
    }
    let mac = || text.parse::<MacAddress>().map(|mac| mac.octets().to_vec());
    text.parse().map(octets).or_else(|_| mac()).ok()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The address behind another; behind the last there is none.
fn behind(address: IpAddr) -> Option<Vec<u8>> {
    match address {
        IpAddr::V4(address) => Some(u32::from(address).checked_add(1)?.to_be_bytes().to_vec()),
        IpAddr::V6(address) => Some(u128::from(address).checked_add(1)?.to_be_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Family;

    #[test]
    fn an_element_is_laid_out_as_the_kernel_lays_out_its_sets() {
        let name = |text: &str| format!("{text:\0<16}").into_bytes();
        let (mac, v4) = ([2, 0x42, 10, 0, 0, 2], [10, 0, 0, 2]);
        let v6 = "2001:db8::5".parse::<std::net::Ipv6Addr>().expect("an address").octets();
        let one = |bytes: Vec<u8>| Some(vec![Key { bytes, ends_interval: false }]);
        for (set, element, expected) in [
            (Set::Ports, "\"veth1\"", one(name("veth1"))),
            (Set::Macs, "02:42:0a:00:00:02", one(mac.to_vec())),
            (Set::Claimed(Family::V4), "10.0.0.2", one(v4.to_vec())),
            (Set::ClaimedTargets, "0x20010db8000000000000000000000005", one(v6.to_vec())),
            (Set::Stations, "\"veth1\" . 02:42:0a:00:00:02", one([&name("veth1")[..], &mac, &[0, 0]].concat())),
            (
                Set::Bound(Family::V4),
                "\"veth1\" . 02:42:0a:00:00:02 . 10.0.0.2",
                one([&name("veth1")[..], &mac, &[0, 0], &v4].concat()),
            ),
            (
                Set::Bound(Family::V6),
                "\"veth1\" . 02:42:0a:00:00:02 . 2001:db8::5",
                one([&name("veth1")[..], &mac, &[0, 0], &v6].concat()),
            ),
            (Set::Ports, "\"a-name-of-16-byte\"", None),
            (Set::Ports, "\"veth1", None),
            (Set::Macs, "nobody", None),
        ] {
            assert_eq!(keys(set, element), expected, "{element}");
        }
    }

    #[test]
    fn a_block_is_an_interval_whose_end_is_behind_it() {
        let ends = |element: &str| -> Vec<(Vec<u8>, bool)> {
            let keys = keys(Set::Subnets(Family::V4), element).expect("a block");
            keys.into_iter().map(|key| (key.bytes, key.ends_interval)).collect()
        };
        assert_eq!(ends("10.1.0.0/24"), [(vec![10, 1, 0, 0], false), (vec![10, 1, 1, 0], true)]);
        assert_eq!(ends("10.1.0.9"), [(vec![10, 1, 0, 9], false), (vec![10, 1, 0, 10], true)]);
        assert_eq!(ends("255.255.255.0/24"), [(vec![255, 255, 255, 0], false)], "nothing is behind the last address");
    }
}
