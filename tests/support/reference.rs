//! What the policies say of a packet, read off the policies themselves.
//!
//! Input: a [`PolicySet`], an [`Inventory`] and the first packet of a flow. Output: a [`Judgement`].
//! It has no sets, chains, classes or families of rules, so that it shares no mistake with `compile`. It is slow and
//! follows the documentation of the types sentence by sentence; it knows no gate, no hooks and no connection state.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dockgate::inventory::{Endpoint, Inventory, Unenforceable};
use dockgate::net::{Cidr, Family, Protocol};
use dockgate::policy::{DefaultAction, Direction, Icmp, Peer, Policy, PolicyKey, PolicySet, Port, Rule, RuleAction};
use dockgate::selector::Selector;
use dockgate::verdict::Packet;

/// The judge.
pub(crate) struct Reference<'a> {
    policies: &'a PolicySet,
    endpoints: Vec<Endpoint<'a>>,
    network_sets: Vec<(BTreeMap<String, String>, &'a [Cidr])>,
}

/// What the two ends of a packet say of it; it passes when both let it.
#[derive(Debug)]
pub(crate) struct Judgement<'a> {
    pub(crate) egress: Reason<'a>,
    pub(crate) ingress: Reason<'a>,
}

impl Judgement<'_> {
    pub(crate) fn allows(&self) -> bool {
        self.egress.allows() && self.ingress.allows()
    }
}

/// What decides one direction.
#[derive(Debug)]
pub(crate) enum Reason<'a> {
    /// No policy selects the endpoint in this direction, or there is no endpoint.
    Open,
    /// Every tier passed the packet on, by a rule or at its end.
    Passed,
    /// A rule that allows or denies.
    Rule { policy: &'a PolicyKey, index: usize, action: RuleAction },
    /// The end of a tier whose default is Deny.
    EndOfTier(&'a str),
}

impl Reason<'_> {
    pub(crate) fn allows(&self) -> bool {
        match self {
            Reason::Open | Reason::Passed => true,
            Reason::Rule { action, .. } => *action == RuleAction::Allow,
            Reason::EndOfTier(_) => false,
        }
    }
}

impl<'a> Reference<'a> {
    pub(crate) fn new(policies: &'a PolicySet, inventory: &'a Inventory) -> Self {
        let network_sets = policies.network_sets.iter().map(|set| {
            let mut labels = set.labels.clone();
            labels.extend(set.namespace.iter().flat_map(|namespace| inventory.namespace_labels(namespace)));
            (labels, set.nets.as_slice())
        });
        Reference { policies, endpoints: inventory.endpoints(), network_sets: network_sets.collect() }
    }

    /// The egress policy of the source, then the ingress policy of the destination.
    pub(crate) fn judge(&self, packet: &Packet) -> Judgement<'a> {
        Judgement {
            egress: self.judge_direction(packet, Direction::Egress, packet.source),
            ingress: self.judge_direction(packet, Direction::Ingress, packet.destination),
        }
    }

    fn judge_direction(&self, packet: &Packet, direction: Direction, address: IpAddr) -> Reason<'a> {
        let policed = |endpoint: &&Endpoint<'_>| endpoint.unenforceable.is_none();
        let Some(endpoint) = self.endpoints_at(address).find(policed) else { return Reason::Open };
        let mut reason = Reason::Open;
        'tiers: for tier in &self.policies.tiers {
            let governs = |policy: &&Policy| {
                policy.tier == tier.name
                    && !policy.key.kind.is_staged()
                    && policy.rules(direction).is_some()
                    && policy.selector.matches(&endpoint.labels)
            };
            let policies: Vec<&'a Policy> = self.policies.policies.iter().filter(governs).collect();
            if policies.is_empty() {
                continue;
            }
            for policy in policies {
                for rule in policy.rules(direction).unwrap_or_default() {
                    if !self.rule_matches(rule, packet) {
                        continue;
                    }
                    match rule.action {
                        RuleAction::Log => {}
                        RuleAction::Pass => {
                            reason = Reason::Passed;
                            continue 'tiers;
                        }
                        action @ (RuleAction::Allow | RuleAction::Deny) => {
                            return Reason::Rule { policy: &policy.key, index: rule.index, action };
                        }
                    }
                }
            }
            match tier.default_action {
                DefaultAction::Deny => return Reason::EndOfTier(&tier.name),
                DefaultAction::Pass => reason = Reason::Passed,
            }
        }
        reason
    }

    pub(crate) fn rule_matches(&self, rule: &Rule, packet: &Packet) -> bool {
        let family = Family::of(packet.source);
        let lists = [&rule.source.nets, &rule.source.not_nets, &rule.destination.nets, &rule.destination.not_nets];
        // A list of blocks, positive or negative, with none of the packet's family takes the rule out.
        let speaks_of_family = |nets: &&Vec<Cidr>| nets.is_empty() || nets.iter().any(|net| net.family() == family);
        let is_icmp = |icmp: Icmp| {
            packet.icmp.is_some_and(|(icmp_type, code)| {
                icmp_type == icmp.icmp_type && icmp.code.is_none_or(|expected| expected == code)
            })
        };
        rule.family.is_none_or(|only| only == family)
            && lists.iter().all(speaks_of_family)
            && rule.protocol.is_none_or(|protocol| protocol == packet.protocol)
            && rule.not_protocol.is_none_or(|protocol| protocol != packet.protocol)
            && rule.icmp.is_none_or(is_icmp)
            && !rule.not_icmp.is_some_and(is_icmp)
            && self.peer_matches(&rule.source, packet.source, packet.source_port, packet.protocol)
            && self.peer_matches(&rule.destination, packet.destination, packet.destination_port, packet.protocol)
    }

    fn peer_matches(&self, peer: &Peer, address: IpAddr, port: Option<u16>, protocol: Protocol) -> bool {
        let within = |nets: &[Cidr]| nets.iter().any(|net| net.contains(address));
        let selects = |selector: &Selector| self.selects(selector, address);
        let among = |ports: &[Port]| {
            port.is_some_and(|number| {
                ports.iter().any(|port| match port {
                    Port::Range(range) => range.contains(number),
                    Port::Named(name) => self.is_named_port(peer, address, name, number, protocol),
                })
            })
        };
        (peer.nets.is_empty() || within(&peer.nets))
            && !within(&peer.not_nets)
            && peer.selector.as_ref().is_none_or(selects)
            && !peer.not_selector.as_ref().is_some_and(selects)
            && (peer.ports.is_empty() || among(&peer.ports))
            && !among(&peer.not_ports)
    }

    /// Whether an endpoint or a network set that the selector matches has the address.
    fn selects(&self, selector: &Selector, address: IpAddr) -> bool {
        let holds = |nets: &[Cidr]| nets.iter().any(|net| net.contains(address));
        self.endpoints_at(address).any(|endpoint| selector.matches(&endpoint.labels))
            || self.network_sets.iter().any(|(labels, nets)| holds(nets) && selector.matches(labels))
    }

    /// Whether an endpoint at the address declares this port under the name. Only endpoints that the positive selector
    /// of the side matches count, for `ports` and `notPorts` alike.
    fn is_named_port(&self, peer: &Peer, address: IpAddr, name: &str, number: u16, protocol: Protocol) -> bool {
        let selected =
            |endpoint: &&Endpoint<'_>| peer.selector.as_ref().is_none_or(|selector| selector.matches(&endpoint.labels));
        self.endpoints_at(address).filter(selected).any(|endpoint| {
            let (declared, _) = endpoint.container.named_ports();
            declared.iter().any(|port| port.name == name && port.port == number && port.protocol == protocol)
        })
    }

    /// The endpoints whose packets have this address.
    fn endpoints_at(&self, address: IpAddr) -> impl Iterator<Item = &Endpoint<'a>> {
        let shows =
            |endpoint: &&Endpoint<'_>| endpoint.unenforceable.as_ref().is_none_or(Unenforceable::shows_its_address);
        self.endpoints
            .iter()
            .filter(shows)
            .filter(move |endpoint| endpoint.address(Family::of(address)) == Some(address))
    }
}
