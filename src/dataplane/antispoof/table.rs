//! The table as `nft` input, and back from `nft list table`.
//!
//! Its chains never change; what changes is in its sets. Every rule has a comment that ends with a hash of the rule and of
//! all above it, so that an edited table is told from one that is as it was written, however `nft` words a rule.
//!
//! Tags are looked for by `ether type`: the kernel takes a VLAN tag off a frame before the bridge sees it, so
//! `meta protocol` and with it `ip saddr` alone see through the tag, while a link-layer load shows it.

mod parse;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use imbl::OrdSet;

use super::change::SetChange;
use crate::dataplane::nftables::Verb;
use crate::dataplane::render::HASH_MARK;
use crate::net::{Cidr, Family, InterfaceName, MacAddress};
use crate::ruleset::{content_hash, differences, packed};

pub(in crate::dataplane) use parse::parse;

/// The table, as `nft` names it after `list table`.
pub(in crate::dataplane) const NAME: [&str; 2] = ["bridge", "dockgate"];

/// The sets of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Set {
    /// Ports that are bound to an endpoint of a governed network.
    Ports,
    /// Ports that are bound to an endpoint of another network, which a rule names.
    Peers,
    /// Ports of governed bridges that are bound to nobody.
    Free,
    /// (port, MAC address) of each that is bound.
    Stations,
    /// (port, MAC address, address) of each that is bound.
    Bound(Family),
    /// The same for IPv6 as the target of neighbour discovery, which `nft` before 1.0.9 knows as a number only.
    Targets,
    /// MAC addresses of endpoints.
    Macs,
    /// Addresses that nobody on another port may claim.
    Claimed(Family),
    /// The same for IPv6 as the target of neighbour discovery.
    ClaimedTargets,
    /// Subnets of governed networks, and addresses on others of those whom rules name.
    Subnets(Family),
}

impl Set {
    const ALL: [Set; 13] = [
        Set::Ports,
        Set::Peers,
        Set::Free,
        Set::Stations,
        Set::Bound(Family::V4),
        Set::Bound(Family::V6),
        Set::Targets,
        Set::Macs,
        Set::Claimed(Family::V4),
        Set::Claimed(Family::V6),
        Set::ClaimedTargets,
        Set::Subnets(Family::V4),
        Set::Subnets(Family::V6),
    ];

    pub(super) fn name(self) -> String {
        match self {
            Set::Ports => "ports".to_owned(),
            Set::Peers => "peers".to_owned(),
            Set::Free => "free".to_owned(),
            Set::Stations => "stations".to_owned(),
            Set::Bound(family) => format!("bound{}", family.digit()),
            Set::Targets => "targets6".to_owned(),
            Set::Macs => "macs".to_owned(),
            Set::Claimed(family) => format!("claimed{}", family.digit()),
            Set::ClaimedTargets => "claimedtargets6".to_owned(),
            Set::Subnets(family) => format!("subnets{}", family.digit()),
        }
    }

    /// What stands in its declaration, a property per line.
    fn properties(self) -> Vec<String> {
        let address = |family| match family {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        };
        match self {
            Set::Ports | Set::Peers | Set::Free => vec!["type ifname".to_owned()],
            Set::Stations => vec!["type ifname . ether_addr".to_owned()],
            Set::Bound(family) => vec![format!("type ifname . ether_addr . {}", address(family))],
            Set::Targets => vec!["typeof iifname . ether saddr . @th,64,128".to_owned()],
            Set::Macs => vec!["type ether_addr".to_owned()],
            Set::Claimed(family) => vec![format!("type {}", address(family))],
            Set::ClaimedTargets => vec!["typeof @th,64,128".to_owned()],
            Set::Subnets(family) => vec![format!("type {}", address(family)), "flags interval".to_owned()],
        }
    }
}

/// A chain: its name, its hook if it has one, and its rules with what each is for.
type ChainText = (&'static str, Option<&'static str>, &'static [(&'static str, &'static str)]);

/// Priority of the hooks: before `br_netfilter` and before everything that others commonly put there. `nft` shows it for
/// prerouting as `dstnat`.
const PRIORITIES: [&str; 2] = ["-300", "dstnat"];

/// MAC addresses of bridge protocols, which bridges do not pass on. A frame to one of them skips prerouting and enters this
/// host by the port itself, so that rules of INPUT that name the bridge never see it. (One of them, `01:80:c2:00:00:0e`,
/// passes no hook at all unless the bridge is told to forward it: see `bridge.rs`.)
macro_rules! reserved {
    ($rest:literal) => {
        concat!("ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 ", $rest)
    };
}

/// Frames to one station, and so to no bridge protocol: the bit of Ethernet's group addresses is not set. One byte is loaded
/// and compared faster than six.
macro_rules! for_one {
    () => {
        "@ll,7,1 0 "
    };
}

const CHAINS: [ChainText; 13] = [
    (
        "bound",
        None,
        &[
            (reserved!("drop"), "a bridge protocol"),
            ("iifname . ether saddr != @stations drop", "MAC address of another"),
            ("ether type ip igmp type membership-query drop", "only routers ask for multicast members"),
            ("ether type ip iifname . ether saddr . ip saddr @bound4 accept", "IPv4 under its own address"),
            ("ether type arp goto bound_arp", "ARP"),
            ("ether type ip6 goto bound_ip6", "IPv6"),
            ("drop", "another address, a VLAN tag, another protocol"),
        ],
    ),
    (
        "bound_arp",
        None,
        &[
            (
                "arp htype 1 arp ptype ip arp hlen 6 arp plen 4 iifname . arp saddr ether . arp saddr ip @bound4 accept",
                "speaks for itself",
            ),
            (
                "arp htype 1 arp ptype ip arp hlen 6 arp plen 4 arp operation request arp saddr ip 0.0.0.0 \
                 iifname . arp saddr ether . arp daddr ip @bound4 accept",
                "asks whether its address is taken",
            ),
            ("drop", "speaks for another"),
        ],
    ),
    (
        "bound_ip6",
        None,
        &[
            ("icmpv6 type { nd-router-advert, nd-redirect, mld-listener-query } drop", "what only routers say"),
            ("ip6 saddr :: goto bound_unspecified", "has no address yet"),
            ("iifname . ether saddr . ip6 saddr != @bound6 drop", "address of another"),
            (
                "icmpv6 type nd-neighbor-advert iifname . ether saddr . @th,64,128 != @targets6 drop",
                "speaks for another",
            ),
            (
                "ip6 saddr fe80::/10 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, \
                 mld-listener-report, mld-listener-done, mld2-listener-report } accept",
                "neighbour discovery from its link-local address",
            ),
            ("ip6 saddr fe80::/10 drop", "policy knows no link-local addresses"),
            ("accept", "IPv6 under its own address"),
        ],
    ),
    (
        "bound_unspecified",
        None,
        &[
            (
                "icmpv6 type nd-neighbor-solicit iifname . ether saddr . @th,64,128 @targets6 accept",
                "asks whether its address is taken",
            ),
            (
                "icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } accept",
                "joins multicast groups before it has an address",
            ),
            ("drop", "nothing else comes from no address"),
        ],
    ),
    (
        "unbound",
        None,
        &[
            (
                "ether type { 8021q, 8021ad } meta protocol { 8021q, 8021ad } @ll,116,12 0 drop",
                "a tag of no VLAN that hides another tag, and no rule below sees what both hide",
            ),
            ("ether saddr @macs iifname . ether saddr != @stations drop", "MAC address of an endpoint"),
            ("ip saddr @subnets4 iifname . ether saddr . ip saddr != @bound4 drop", "address of an endpoint or none's"),
            (
                "arp saddr ether @macs iifname . arp saddr ether != @stations drop",
                "speaks for the MAC address of an endpoint",
            ),
            (
                "arp saddr ip @claimed4 iifname . arp saddr ether . arp saddr ip != @bound4 drop",
                "speaks for an endpoint or a gateway",
            ),
            (
                "ip6 saddr @claimed6 iifname . ether saddr . ip6 saddr != @bound6 drop",
                "address of an endpoint or a gateway",
            ),
            (
                "icmpv6 type nd-neighbor-advert @th,64,128 @claimedtargets6 \
                 iifname . ether saddr . @th,64,128 != @targets6 drop",
                "speaks for an endpoint or a gateway",
            ),
            ("icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept", "speaks for itself or for nobody"),
            (
                "ip6 saddr @subnets6 iifname . ether saddr . ip6 saddr != @bound6 drop",
                "address of an endpoint or none's",
            ),
        ],
    ),
    (
        "edge",
        None,
        &[
            ("ether type arp accept", "ARP"),
            ("ether type ip6 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept", "neighbour discovery"),
            ("drop", "nothing else from or to a port of nobody's on a governed bridge"),
        ],
    ),
    (
        "addressed",
        None,
        &[
            ("ether type ip oifname . ether daddr . ip daddr @bound4 accept", "IPv4 for its receiver"),
            ("ether type ip6 oifname . ether daddr . ip6 daddr @bound6 accept", "IPv6 for its receiver"),
            ("ip daddr 224.0.0.0/4 accept", "for a group: every receiver's policy is asked"),
            ("ip6 daddr ff00::/8 accept", "for a group: every receiver's policy is asked"),
            (
                "ether type { ip, ip6 } ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 drop",
                "the frame is for another than its packet, which is what policy judges",
            ),
            ("ip daddr @claimed4 drop", "for all, what is for one"),
            ("ip6 daddr @claimed6 drop", "for all, what is for one"),
        ],
    ),
    (
        "reserved",
        None,
        &[
            ("iifname @ports drop", "a bridge protocol from a container"),
            ("ether saddr @macs drop", "MAC address of an endpoint"),
            ("ether type 0-1535 accept", "no Ethernet type: the spanning tree protocol, as all protocols of LLC"),
            ("ether type { 0x88cc, 0x8809, 0x888e, 0x88f5, 0x88f7 } accept", "LLDP, LACP, 802.1X, MVRP, PTP"),
            (
                "drop",
                "would enter by the port, past all rules for its bridge, some with a tag that the kernel takes off",
            ),
        ],
    ),
    (
        "leaving",
        None,
        &[
            ("meta protocol ip iifname . ether saddr . ip saddr != @bound4 drop", "address of another"),
            ("ip6 saddr { ::, fe80::/10 } accept", "neighbour discovery; the gate knows no link-local addresses"),
            ("meta protocol ip6 iifname . ether saddr . ip6 saddr != @bound6 drop", "address of another"),
        ],
    ),
    (
        "prerouting",
        Some("prerouting"),
        &[
            (
                concat!(
                    "ether type ip ip protocol != igmp ",
                    for_one!(),
                    "iifname . ether saddr . ip saddr @bound4 accept"
                ),
                "IPv4 under its own address",
            ),
            // By a name that `nft` knows itself: an image may have no `/etc/protocols`.
            (
                concat!(
                    "ether type ip6 meta l4proto != icmpv6 ip6 saddr != fe80::/10 ",
                    for_one!(),
                    "iifname . ether saddr . ip6 saddr @bound6 accept"
                ),
                "IPv6 under its own address",
            ),
            ("iifname @ports goto bound", "from an endpoint"),
            ("goto unbound", "from any other port"),
        ],
    ),
    (
        "forward",
        Some("forward"),
        &[
            ("iifname @ports oifname @ports goto addressed", "between endpoints"),
            ("iifname @ports goto edge", "from an endpoint to a port of nobody's"),
            ("oifname @ports goto edge", "from a port of nobody's to an endpoint"),
            // Two that nobody has seen on their bridge yet pass here: not every kernel can tell a bridge by its name.
            ("iifname @free goto edge", "from a port of nobody's on a governed bridge"),
            ("oifname @free goto edge", "to a port of nobody's on a governed bridge"),
        ],
    ),
    (
        "input",
        Some("input"),
        &[
            (reserved!("goto reserved"), "a bridge protocol"),
            ("iifname @peers goto leaving", "from one whom a rule names, to this host or by way of it"),
        ],
    ),
    (
        "postrouting",
        Some("postrouting"),
        &[
            ("ether type ip oifname . ether daddr . ip daddr @bound4 accept", "IPv4 for its receiver"),
            ("ether type ip6 oifname . ether daddr . ip6 daddr @bound6 accept", "IPv6 for its receiver"),
            ("ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 accept", "to a group"),
            (
                "ether type ip ip daddr @subnets4 oifname . ether daddr . ip daddr != @bound4 drop",
                "to an address that is no longer, or not yet, that of the endpoint at the port",
            ),
            ("ether type ip6 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept", "neighbour discovery"),
            (
                "ether type ip6 ip6 daddr @subnets6 oifname . ether daddr . ip6 daddr != @bound6 drop",
                "to an address that is no longer, or not yet, that of the endpoint at the port",
            ),
        ],
    ),
];

/// The rules of a chain, each with the hash at the end of its comment.
fn rules(name: &str, rules: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut previous = content_hash(name);
    let mut lines = Vec::new();
    for (rule, purpose) in rules {
        let hash = content_hash(&format!("{previous}\n{rule}\n{purpose}"));
        lines.push((format!("{rule} comment \"{purpose} {HASH_MARK}{hash}\""), hash.clone()));
        previous = hash;
    }
    lines
}

/// Members of the sets, as `nft` writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::dataplane) struct Elements(BTreeMap<Set, OrdSet<Arc<str>>>);

impl Elements {
    pub(super) fn insert(&mut self, set: Set, element: String) {
        self.0.entry(set).or_default().insert(Arc::from(element));
    }

    /// The same in as little memory as it takes, for what stays.
    pub(super) fn pack(&mut self) {
        for elements in self.0.values_mut() {
            *elements = packed(elements.iter().cloned());
        }
    }

    fn of(&self, set: Set) -> impl Iterator<Item = &str> {
        self.0.get(&set).into_iter().flatten().map(Arc::as_ref)
    }

    pub(super) fn contains(&self, set: Set, element: &str) -> bool {
        self.0.get(&set).is_some_and(|elements| elements.contains(element))
    }

    /// Whether the condition holds for all.
    pub(super) fn all(&self, condition: impl Fn(Set, &str) -> bool) -> bool {
        self.0.iter().all(|(set, elements)| elements.iter().all(|element| condition(*set, element)))
    }

    /// Adds all of another.
    pub(super) fn extend(&mut self, other: &Elements) {
        for (set, elements) in &other.0 {
            let of_set = self.0.entry(*set).or_default();
            if of_set.is_empty() {
                of_set.clone_from(elements);
            } else {
                of_set.extend(elements.iter().cloned());
            }
        }
    }

    /// Takes all of another out.
    pub(super) fn remove(&mut self, other: &Elements) {
        for (set, elements) in &other.0 {
            let Some(of_set) = self.0.get_mut(set) else { continue };
            for element in elements {
                of_set.remove(element);
            }
            if of_set.is_empty() {
                self.0.remove(set);
            }
        }
    }

    /// What of this is not in the other.
    pub(super) fn difference(&self, other: &Elements) -> Elements {
        let mut difference = Elements::default();
        let nothing = OrdSet::new();
        for (set, elements) in &self.0 {
            let (added, _) = differences(other.0.get(set).unwrap_or(&nothing), elements);
            if !added.is_empty() {
                difference.0.insert(*set, added.into_iter().cloned().collect());
            }
        }
        difference
    }

    /// The ports that any of this is about.
    pub(super) fn ports(&self) -> BTreeSet<&str> {
        let elements = |set: &Set| self.of(*set).filter_map(|element| port_of(*set, element)).collect::<Vec<_>>();
        self.0.keys().flat_map(elements).collect()
    }

    /// Those for which the condition holds, and the others.
    pub(super) fn split(&self, condition: impl Fn(Set, &str) -> bool) -> (Elements, Elements) {
        let (mut holding, mut others) = (Elements::default(), Elements::default());
        for (set, elements) in &self.0 {
            for element in elements {
                let half = if condition(*set, element) { &mut holding } else { &mut others };
                half.0.entry(*set).or_default().insert(Arc::clone(element));
            }
        }
        (holding, others)
    }

    /// A change per set.
    pub(super) fn changes(&self, verb: Verb) -> Vec<SetChange> {
        let change = |(set, elements): (&Set, &OrdSet<Arc<str>>)| {
            let elements = elements.iter().cloned().collect();
            SetChange { verb, set: *set, elements }
        };
        self.0.iter().map(change).collect()
    }
}

pub(super) fn port(port: &InterfaceName) -> String {
    format!("\"{port}\"")
}

pub(super) fn station(port: &InterfaceName, mac: MacAddress) -> String {
    format!("\"{port}\" . {mac}")
}

pub(super) fn bound(port: &InterfaceName, mac: MacAddress, address: IpAddr) -> String {
    format!("\"{port}\" . {mac} . {address}")
}

pub(super) fn target(port: &InterfaceName, mac: MacAddress, address: Ipv6Addr) -> String {
    format!("\"{port}\" . {mac} . {}", hexadecimal(address))
}

/// An address as the number that it is.
pub(super) fn hexadecimal(address: Ipv6Addr) -> String {
    format!("0x{:032x}", u128::from(address))
}

/// A block; of one address, the address.
pub(super) fn subnet(subnet: Cidr) -> String {
    if subnet == Cidr::host(subnet.last()) { subnet.last().to_string() } else { subnet.to_string() }
}

/// The port in an element of a set that has one.
pub(super) fn port_of(set: Set, element: &str) -> Option<&str> {
    match set {
        Set::Ports | Set::Peers | Set::Free | Set::Stations | Set::Bound(_) | Set::Targets => element.split('"').nth(1),
        Set::Macs | Set::Claimed(_) | Set::ClaimedTargets | Set::Subnets(_) => None,
    }
}

/// The address that an element binds to a port.
pub(super) fn address_of(set: Set, element: &str) -> Option<IpAddr> {
    match set {
        Set::Bound(_) => element.rsplit(" . ").next()?.parse().ok(),
        Set::Ports
        | Set::Peers
        | Set::Free
        | Set::Stations
        | Set::Targets
        | Set::Macs
        | Set::Claimed(_)
        | Set::ClaimedTargets
        | Set::Subnets(_) => None,
    }
}

/// Input that makes the table anew, whatever there was, in one transaction.
pub(super) fn whole(elements: &Elements) -> String {
    let table = NAME.join(" ");
    let mut lines = vec![format!("add table {table}\n{}table {table} {{", removal())];
    for set in Set::ALL {
        lines.push(format!("  set {} {{", set.name()));
        lines.extend(set.properties().into_iter().map(|property| format!("    {property}")));
        let elements: Vec<&str> = elements.of(set).collect();
        if !elements.is_empty() {
            lines.push(format!("    elements = {{ {} }}", elements.join(", ")));
        }
        lines.push("  }".to_owned());
    }
    for (name, hook, chain) in CHAINS {
        lines.push(format!("  chain {name} {{"));
        lines
            .extend(hook.map(|hook| format!("    type filter hook {hook} priority {}; policy accept;", PRIORITIES[0])));
        lines.extend(rules(name, chain).into_iter().map(|(rule, _)| format!("    {rule}")));
        lines.push("  }".to_owned());
    }
    lines.push("}\n".to_owned());
    lines.join("\n")
}

/// Input that removes the table.
pub(super) fn removal() -> String {
    format!("delete table {}\n", NAME.join(" "))
}

/// Input by which `nft --check` finds out whether it and the kernel can do all this.
pub(in crate::dataplane) fn trial() -> String {
    whole(&Elements::default())
}

/// The table as the kernel holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Whether everything but the sets' members is as we make it.
    pub(in crate::dataplane) intact: bool,
    /// The sets' members.
    pub(in crate::dataplane) elements: Elements,
}

impl Table {
    /// The ports that each (MAC address, address) is bound to: one, unless somebody else has written into the sets.
    pub(super) fn bound(&self) -> HashMap<(MacAddress, IpAddr), BTreeSet<InterfaceName>> {
        let mut bound: HashMap<_, BTreeSet<InterfaceName>> = HashMap::new();
        for element in Family::ALL.into_iter().flat_map(|family| self.elements.of(Set::Bound(family))) {
            let parts: Vec<&str> = element.split(" . ").collect();
            if let [port, mac, address] = &parts[..]
                && let (Ok(port), Ok(mac), Ok(address)) = (port.trim_matches('"').parse(), mac.parse(), address.parse())
            {
                bound.entry((mac, address)).or_default().insert(port);
            }
        }
        bound
    }
}

#[cfg(test)]
mod tests;
