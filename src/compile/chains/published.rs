//! Ports of this host that containers publish, as INPUT and OUTPUT see them: `docker-proxy` holds them.
//!
//! Input: governed networks and their classes. Output: rules and chains that judge whoever comes to such a port.
//! Behind the proxy a connection looks as if this host had made it, so that INPUT is the last place where the client is
//! seen. What a rule says of the container behind the port is decided here and not in the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::inventory::Endpoint;
use crate::net::{Cidr, Family, PortRange, Protocol};
use crate::policy::Direction;
use crate::ruleset::{Action, ChainName, ConnectionState, Match, Rule, Side};

use super::super::rules::Published;
use super::dispatch::OfClasses;
use super::{ChainBuilder, Class, GovernedNetwork, Rules, rule, state};

/// Where `docker-proxy` listens for a service.
#[derive(Clone, Copy)]
pub(in super::super) struct HostPort {
    pub(in super::super) protocol: Protocol,
    /// The only address of this host on which it does; `None` is all.
    bound_to: Option<IpAddr>,
    pub(in super::super) number: u16,
}

/// Neighbouring ports of this host for which the same holds.
struct Held<T> {
    protocol: Protocol,
    bound_to: Option<IpAddr>,
    range: PortRange,
    same: T,
}

impl<T> Held<T> {
    /// `-p tcp -d ADDRESS -m multiport --dports 8080:8099`
    fn matches(&self, side: Side) -> Vec<Match> {
        let mut matches = vec![Match::Protocol { protocol: self.protocol, negated: false }];
        matches.extend(self.bound_to.map(|address| Match::Net { side, net: Cidr::host(address), negated: false }));
        matches.push(Match::Ports { side, ranges: vec![self.range], negated: false });
        matches
    }

    fn name(&self) -> String {
        format!("{}/{}", self.range, self.protocol)
    }
}

/// Each set of neighbouring ports with the same `T` as one, so that a range that was published as a whole is one rule, and
/// not one per port.
fn in_ranges<T: Ord + Clone>(ports: impl IntoIterator<Item = (HostPort, T)>) -> Vec<Held<T>> {
    let mut numbers: BTreeMap<(Protocol, Option<IpAddr>, T), BTreeSet<u16>> = BTreeMap::new();
    for (HostPort { protocol, bound_to, number }, same) in ports {
        numbers.entry((protocol, bound_to, same)).or_default().insert(number);
    }
    let held = numbers.into_iter().flat_map(|((protocol, bound_to, same), numbers)| {
        let ranges = PortRange::covering(&numbers);
        ranges.into_iter().map(move |range| Held { protocol, bound_to, range, same: same.clone() })
    });
    held.collect()
}

/// The services of an endpoint that clients of a family reach through ports of this host.
pub(in super::super) fn services<'e>(endpoint: &'e Endpoint<'e>, family: Family) -> Vec<(HostPort, Published<'e>)> {
    let (named_ports, _) = endpoint.container.named_ports();
    // The proxy connects in its client's family where the container has it, and else in the other one.
    let address = [family].into_iter().chain(Family::ALL).find_map(|family| endpoint.address(family));
    let mut services = Vec::new();
    for port in &endpoint.container.published {
        let Some(number) = port.host_port else { continue };
        let bound_to = port.bound_to();
        if bound_to.is_some_and(|address| Family::of(address) != family) {
            continue;
        }
        let service = Published {
            endpoint,
            address,
            named_ports: named_ports.clone(),
            protocol: port.protocol,
            port: port.container_port,
        };
        services.push((HostPort { protocol: port.protocol, bound_to, number }, service));
    }
    services
}

impl<'a> ChainBuilder<'_, 'a> {
    /// Rules of INPUT for ports of the host behind which `docker-proxy` carries connections to a container: the
    /// container's ingress policy is asked here, where the client's true address is still seen. A container on several
    /// networks is reached only when all of its endpoints' policies allow it, because Docker does not say which it uses.
    ///
    /// The second chain is for OUTPUT, and keeps the proxy from opening anew what was cut in INPUT.
    pub(super) fn published_ports(&mut self, networks: &[GovernedNetwork<'a>]) -> (Rules, Rules) {
        let mut judged = Vec::new();
        for class in networks.iter().flat_map(|governed| &governed.ingress) {
            for endpoint in &class.members {
                for (port, service) in services(endpoint, self.family) {
                    judged.push((port, self.class_chain(class, Direction::Ingress, Some(&service))));
                }
            }
        }
        let answers = Self::proxy_answers(judged.iter().map(|(port, _)| *port));
        // -p tcp -d ADDRESS -m multiport --dports 8080 -j DG-pub-POLICY
        let rule_of = |held: Held<ChainName>| {
            let comment = format!("published port {}", held.name());
            rule(held.matches(Side::Destination), Action::Jump(held.same), comment)
        };
        (in_ranges(judged).into_iter().map(rule_of).collect(), answers)
    }

    /// `DG-via-NET`: whoever goes from a network to a port of the host that `docker-proxy` holds reaches the container behind
    /// it, so that the client's egress policy is asked about that container, too, governed or not: about the host it was
    /// asked before. `None` where no egress policy is in force, or nothing is published.
    pub(super) fn via_chain(&mut self, governed: &GovernedNetwork<'a>) -> Option<ChainName> {
        let classes = governed.egress.iter().map(|class| Some((class, self.reached_chain(class)?)));
        let classes = classes.collect::<Option<_>>()?;
        let chain = self.class_dispatch(&OfClasses { governed, direction: Direction::Egress, role: "via", classes });
        (!chain.is_empty()).then(|| self.network_chain("via", governed, chain))
    }

    /// `DG-reach-POLICY`: the egress policy of a class on every container behind a port of the host. Its name says only
    /// which policies it is about, so that it is refilled in place when ports come and go.
    fn reached_chain(&mut self, class: &Class<'a>) -> Option<ChainName> {
        let content = format!("reach {}", class.identity(Direction::Egress));
        let name = ChainName::reached(&class.policies[0].key.name, &content);
        if !self.chains.contains_key(&name) {
            let mut asked = Vec::new();
            for endpoint in self.endpoints {
                for (port, service) in services(endpoint, self.family) {
                    asked.push((port, self.class_chain(class, Direction::Egress, Some(&service))));
                }
            }
            // -p tcp -d ADDRESS -m multiport --dports 8080 -j DG-via-POLICY
            let rule_of = |held: Held<ChainName>| {
                let comment = format!("to a container through published port {}", held.name());
                rule(held.matches(Side::Destination), Action::Jump(held.same), comment)
            };
            let chain: Rules = in_ranges(asked).into_iter().map(rule_of).collect();
            if chain.is_empty() {
                return None;
            }
            self.keep(name.clone(), chain);
        }
        Some(name)
    }

    /// Rules of `DG-host-NET` for what is sent to clients whose egress policy was asked about a published port.
    pub(super) fn answers_to(&self, governed: &GovernedNetwork<'a>) -> Rules {
        if governed.egress.is_empty() {
            return Vec::new();
        }
        let ports = self.endpoints.iter().flat_map(|endpoint| services(endpoint, self.family)).map(|(port, _)| port);
        // That of TCP is refused for every port.
        Self::proxy_answers(ports.filter(|port| port.protocol != Protocol::TCP))
    }

    /// Rules of OUTPUT for what is sent from a published port: an answer never opens a flow. Else the next answer of the
    /// proxy opens the flow that was cut, with the proxy as the one who asked, and the client's packets belong to it.
    fn proxy_answers(ports: impl Iterator<Item = HostPort>) -> Rules {
        // -p tcp -s ADDRESS -m multiport --sports 8080 ! --syn -m conntrack --ctstate NEW -j DROP
        let rule_of = |held: Held<()>| -> Rule {
            let mut matches = held.matches(Side::Source);
            // UDP does not say which packet is the first. No other program has the port while the proxy does; without a
            // proxy, a program of this host that happens to draw the port as its own has to try again.
            match held.protocol {
                Protocol::TCP => matches.push(Match::TcpNotSyn),
                Protocol::SCTP => matches.push(Match::SctpNotInit),
                _ => {}
            }
            matches.push(state(&[ConnectionState::New]));
            let comment = format!("answer from published port {} to a flow that is not open", held.name());
            rule(matches, Action::Drop, comment)
        };
        in_ranges(ports.map(|port| (port, ()))).into_iter().map(rule_of).collect()
    }
}
