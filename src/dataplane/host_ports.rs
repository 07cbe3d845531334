//! Ports of this host by which containers are reached, as far as rules of ours say.
//!
//! Input: rules, wanted or read back. Output: the ports. Who comes to one of them is judged, whatever policy says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::dataplane::chains::value_of;
use crate::dataplane::place::Placed;
use crate::net::{Cidr, Family, PortRange, PortSet, Protocol};
use crate::ruleset::{ChainName, Hook, Match, Rule, Side};

/// By whose policy a chain judges who comes to a container through ports of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ByHostPort {
    /// The container's.
    Ingress,
    /// The client's.
    Egress,
}

impl ByHostPort {
    /// Both.
    pub const ALL: [ByHostPort; 2] = [ByHostPort::Ingress, ByHostPort::Egress];

    /// That of the chain of a name; `None` of one with other tasks.
    fn of_chain(name: &str) -> Option<ByHostPort> {
        if name == ChainName::base(Hook::Input).as_str() {
            return Some(ByHostPort::Ingress);
        }
        ChainName::is_reached(name).then_some(ByHostPort::Egress)
    }
}

/// A port of this host by which clients reach a container, and whose policy judges them there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// Whose policy is asked.
    pub by: ByHostPort,
    /// Family of the clients.
    pub family: Family,
    /// Protocol.
    pub protocol: Protocol,
    /// The only address of this host that it is about; `None` is all.
    pub bound_to: Option<IpAddr>,
    /// Number.
    pub port: u16,
}

/// What ports of a rule have in common.
type Place = (ByHostPort, Family, Protocol, Option<IpAddr>);

/// Ports of this host, by rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPorts(BTreeSet<(Place, PortRange)>);

impl HostPorts {
    /// Those of wanted rules.
    pub(super) fn of(wanted: &Placed<'_>) -> HostPorts {
        let mut ports = HostPorts::default();
        for ((family, _), named) in wanted {
            for (name, rules) in named {
                let Some(by) = ByHostPort::of_chain(name.as_str()) else { continue };
                for (protocol, bound_to, range) in rules.iter().flat_map(destinations) {
                    ports.0.insert(((by, *family, protocol, bound_to), range));
                }
            }
        }
        ports
    }

    /// Takes in a rule of ours as `iptables-save` writes it, in words.
    pub(super) fn read(&mut self, family: Family, chain: &str, rule: &[String]) {
        let Some(by) = ByHostPort::of_chain(chain) else { return };
        let protocol = value_of(rule, &["-p"]).and_then(|name| name.to_ascii_uppercase().parse().ok());
        let (Some(protocol), Some(ranges)) = (protocol, value_of(rule, &["--dports"])) else { return };
        let bound_to = value_of(rule, &["-d"]).map(|net| net.parse().ok().and_then(address));
        // What is about more than one address, and not about all, covers nothing.
        let Some(bound_to) = bound_to.map_or(Some(None), |address| address.map(Some)) else { return };
        let ranges = ranges.split(',').filter_map(|range| range.parse().ok());
        self.0.extend(ranges.map(|range| ((by, family, protocol, bound_to), range)));
    }

    /// The same to be asked about one port after another.
    pub fn joined(&self) -> JoinedPorts {
        let mut ranges: BTreeMap<Place, Vec<PortRange>> = BTreeMap::new();
        for (place, range) in &self.0 {
            ranges.entry(*place).or_default().push(*range);
        }
        JoinedPorts(ranges.into_iter().map(|(place, ranges)| (place, ranges.into_iter().collect())).collect())
    }
}

/// Ports of this host, whatever rules they are of.
#[derive(Clone, Debug)]
pub struct JoinedPorts(BTreeMap<Place, PortSet>);

impl JoinedPorts {
    /// Whether a rule is about this port, and bound to exactly this address, or to all.
    pub fn contains(&self, at: &HostPort) -> bool {
        let HostPort { by, family, protocol, bound_to, port } = *at;
        self.0.get(&(by, family, protocol, bound_to)).is_some_and(|ports| ports.contains(port))
    }

    /// Whether rules are about all of this port.
    pub fn cover(&self, at: &HostPort) -> bool {
        self.contains(at) || self.contains(&HostPort { bound_to: None, ..*at })
    }
}

fn address(net: Cidr) -> Option<IpAddr> {
    net.is_host().then(|| net.network())
}

/// The ports of destinations that a rule is about.
fn destinations(rule: &Rule) -> impl Iterator<Item = (Protocol, Option<IpAddr>, PortRange)> {
    let protocol = rule.matches.iter().find_map(|condition| match condition {
        Match::Protocol { protocol, negated: false } => Some(*protocol),
        _ => None,
    });
    let bound_to = rule.matches.iter().find_map(|condition| match condition {
        Match::Net { side: Side::Destination, net, negated: false } => address(*net),
        _ => None,
    });
    let ranges = rule.matches.iter().filter_map(|condition| match condition {
        Match::Ports { side: Side::Destination, ranges, negated: false } => Some(ranges),
        _ => None,
    });
    ranges.flatten().filter_map(move |range| Some((protocol?, bound_to, *range)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::chains::words;

    #[test]
    fn the_ports_of_a_rule_are_those_of_its_destinations() {
        let mut ports = HostPorts::default();
        for (chain, rule) in [
            ("DG-INPUT", "-p tcp -m multiport --dports 8080:8082 -m comment --comment \"published port\" -j DG-pub-a"),
            ("DG-reach-a-xyz", "-d 10.0.0.1/32 -p 132 -m multiport --dports 90 -j DG-via-a"),
            ("DG-in-a-xyz", "-p tcp -m multiport --dports 91 -j RETURN"),
            ("DG-INPUT", "-p udp -m multiport --sports 92 -j DROP"),
            ("DG-INPUT", "-d 10.0.0.0/8 -p tcp -m multiport --dports 93 -j DG-pub-a"),
            ("DG-INPUT", "-i br-a -j DG-from-a"),
        ] {
            ports.read(Family::V4, chain, &words(rule));
        }
        let range = |first, last| PortRange::new(first, last).expect("a range");
        let address: Option<IpAddr> = "10.0.0.1".parse().ok();
        let expected = [
            ((ByHostPort::Ingress, Family::V4, Protocol::TCP, None), range(8080, 8082)),
            ((ByHostPort::Egress, Family::V4, Protocol::SCTP, address), range(90, 90)),
        ];
        assert_eq!(ports.0, expected.into_iter().collect());
        let ports = ports.joined();
        let (by, protocol) = (ByHostPort::Ingress, Protocol::TCP);
        let tcp = HostPort { by, family: Family::V4, protocol, bound_to: address, port: 8081 };
        assert!(ports.cover(&tcp), "a rule of all addresses is about each");
        assert!(!ports.cover(&HostPort { by: ByHostPort::Egress, ..tcp }), "another policy was asked");
        assert!(!ports.cover(&HostPort { family: Family::V6, ..tcp }));
        let sctp = HostPort { by: ByHostPort::Egress, protocol: Protocol::SCTP, port: 90, ..tcp };
        assert!(
            ports.cover(&sctp) && !ports.cover(&HostPort { bound_to: None, ..sctp }),
            "of other addresses it says nothing"
        );
    }
}
