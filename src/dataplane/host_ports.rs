//! Ports of this host by which containers are reached, as far as rules of ours say.
//!
//! Input: rules, wanted or read back. Output: the ports. Who comes to one of them is judged, whatever policy says of it.

use imbl::OrdSet;

use crate::dataplane::chains::value_of;
use crate::dataplane::place::Placed;
use crate::net::{Family, PortRange, Protocol};
use crate::ruleset::{ChainName, Match, Rule, Side};

/// Ports, each with the family of the clients whom its rule is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPorts(OrdSet<(Family, Protocol, u16)>);

impl HostPorts {
    /// Those of wanted rules.
    pub(super) fn of(wanted: &Placed<'_>) -> HostPorts {
        let mut ports = HostPorts::default();
        for ((family, _), named) in wanted {
            for (_, rules) in named.iter().filter(|(name, _)| ChainName::is_about_host_ports(name.as_str())) {
                for (protocol, range) in rules.iter().flat_map(destinations) {
                    ports.add(*family, protocol, range);
                }
            }
        }
        ports
    }

    /// Takes in a rule of ours as `iptables-save` writes it, in words.
    pub(super) fn read(&mut self, family: Family, chain: &str, rule: &[String]) {
        if !ChainName::is_about_host_ports(chain) {
            return;
        }
        let protocol = value_of(rule, &["-p"]).and_then(|name| name.to_ascii_uppercase().parse().ok());
        let (Some(protocol), Some(ranges)) = (protocol, value_of(rule, &["--dports"])) else { return };
        for range in ranges.split(',').filter_map(|range| range.parse().ok()) {
            self.add(family, protocol, range);
        }
    }

    fn add(&mut self, family: Family, protocol: Protocol, range: PortRange) {
        self.0.extend((range.first()..=range.last()).map(|port| (family, protocol, port)));
    }

    /// Whether a port is among them.
    pub fn contains(&self, family: Family, protocol: Protocol, port: u16) -> bool {
        self.0.contains(&(family, protocol, port))
    }
}

/// The ports of destinations that a rule is about.
fn destinations(rule: &Rule) -> impl Iterator<Item = (Protocol, PortRange)> {
    let protocol = rule.matches.iter().find_map(|condition| match condition {
        Match::Protocol { protocol, negated: false } => Some(*protocol),
        _ => None,
    });
    let ranges = rule.matches.iter().filter_map(|condition| match condition {
        Match::Ports { side: Side::Destination, ranges, negated: false } => Some(ranges),
        _ => None,
    });
    ranges.flatten().filter_map(move |range| Some((protocol?, *range)))
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
            ("DG-INPUT", "-i br-a -j DG-from-a"),
        ] {
            ports.read(Family::V6, chain, &words(rule));
        }
        let expected = [
            (Family::V6, Protocol::TCP, 8080),
            (Family::V6, Protocol::TCP, 8081),
            (Family::V6, Protocol::TCP, 8082),
            (Family::V6, Protocol::SCTP, 90),
        ];
        assert_eq!(ports.0, expected.into_iter().collect());
        assert!(ports.contains(Family::V6, Protocol::TCP, 8081) && !ports.contains(Family::V4, Protocol::TCP, 8081));
    }
}
