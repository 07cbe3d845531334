//! Which clauses of a rule did not hold for a packet, in words.
//!
//! Input: the rules of a chain that a policy rule became, or the reason why it became none. Output: sentences such as
//! `protocol UDP is not TCP`. Each is about what the rule sees: behind a published port that is the container, and not the
//! address of this host that the packet shows.

use std::fmt::Display;
use std::net::IpAddr;

use crate::compile::Meaning;
use crate::compile::clause::{self, Clause, Service};
use crate::inventory::{Endpoint, Unenforceable};
use crate::net::{Cidr, Family};
use crate::policy::{Icmp, Port, Rule as PolicyRule};
use crate::ruleset::{Match, Rule, Side};
use crate::selector::Selector;
use crate::verdict::condition_holds;
use crate::verdict::path::Path;

use super::World;

/// Blocks that are named one by one.
const NAMED_BLOCKS: usize = 4;

/// Reads rules for one packet.
pub(super) struct Reader<'r, 'a> {
    pub(super) world: World<'a>,
    pub(super) path: &'r Path<'r>,
    /// What is behind the port of this host that the rules are about.
    pub(super) service: Option<Service<'r>>,
}

impl Reader<'_, '_> {
    /// What did not hold of a policy rule: `written` is the rule, taken apart, and `compiled` what it became.
    pub(super) fn unmet(&self, written: &[PolicyRule], compiled: &[&Rule]) -> Vec<String> {
        let failing: Vec<Vec<Clause>> = compiled.iter().map(|rule| self.failing(rule)).collect();
        let fewest = failing.iter().map(Vec::len).min();
        let mut clauses: Vec<Clause> = Vec::new();
        for clause in failing.into_iter().filter(|failing| Some(failing.len()) == fewest).flatten() {
            add(&mut clauses, clause);
        }
        if compiled.is_empty() {
            let absent: Vec<Vec<Clause>> = written.iter().map(|rule| self.absent(rule)).collect();
            let fewest = absent.iter().map(Vec::len).min();
            for clause in absent.into_iter().filter(|absent| Some(absent.len()) == fewest).flatten() {
                add(&mut clauses, clause);
            }
        }
        clauses.iter().flat_map(|clause| self.sentences(clause)).collect()
    }

    /// Whether a policy rule became rules of a chain that is about this service, or about none.
    pub(super) fn has_counterpart(&self, written: &[PolicyRule]) -> bool {
        written.iter().any(|rule| self.absent(rule).is_empty())
    }

    fn absent(&self, rule: &PolicyRule) -> Vec<Clause> {
        let World { policies, inventory, .. } = self.world;
        clause::absent(policies, inventory, rule, Family::of(self.path.packet.source), self.service.as_ref())
    }

    /// The conditions of a rule that do not hold, as clauses of the policy rule.
    fn failing(&self, rule: &Rule) -> Vec<Clause> {
        let compiled = self.world.compiled;
        let holds = |condition: &&Match| condition_holds(&compiled.ruleset, condition, &self.path.packet);
        rule.matches
            .iter()
            .filter(|condition| !holds(condition))
            .filter_map(|condition| self.clause(condition))
            .collect()
    }

    /// The clause that became this condition; `None` for conditions that no policy makes.
    fn clause(&self, condition: &Match) -> Option<Clause> {
        Some(match condition.clone() {
            Match::Protocol { protocol, negated } => Clause::Protocol { protocol, negated },
            Match::Icmp { icmp_type, code, negated } => Clause::Icmp { icmp: Icmp { icmp_type, code }, negated },
            Match::Net { side, net, negated } => Clause::Nets { side, nets: vec![net], negated },
            Match::Ports { side, ranges, negated } => {
                Clause::Ports { side, ports: ranges.into_iter().map(Port::Range).collect(), negated }
            }
            Match::Set { side, set, negated, .. } => match Meaning::clone(self.world.compiled.meanings.get(&set)?) {
                Meaning::Selected(selector) => Clause::Selector { side, selector, negated },
                Meaning::Nets(nets) => Clause::Nets { side, nets, negated },
                Meaning::NamedPort { name, selector, .. } => {
                    let labels = self.endpoint(side).map(|endpoint| endpoint.labels);
                    let outside = |selector: &Selector| !labels.as_ref().is_some_and(|labels| selector.matches(labels));
                    // The set of a named port holds only whom the selector beside it picks.
                    match selector.filter(outside).filter(|_| !negated) {
                        Some(selector) => Clause::Selector { side, selector, negated: false },
                        None => Clause::Ports { side, ports: vec![Port::Named(name)], negated },
                    }
                }
                Meaning::Class { .. }
                | Meaning::Branch { .. }
                | Meaning::Known
                | Meaning::Listed
                | Meaning::BridgedSubnets => return None,
            },
            Match::InInterface(_)
            | Match::OutInterface(_)
            | Match::InInterfacePrefix(_)
            | Match::OutInterfacePrefix(_)
            | Match::State(_)
            | Match::TcpNotSyn
            | Match::SctpNotInit => return None,
        })
    }

    fn sentences(&self, clause: &Clause) -> Vec<String> {
        let packet = &self.path.packet;
        let sentence = match clause {
            Clause::Family(family) => format!("the rule is for {family} only"),
            Clause::Blocks { side, family } => format!("the {} blocks are {family} only", name(*side)),
            Clause::Contradiction(protocol) => format!("it asks for {protocol} and excludes it"),
            Clause::Protocol { protocol, negated: false } => format!("protocol {} is not {protocol}", packet.protocol),
            Clause::Protocol { protocol, negated: true } => format!("protocol {protocol} is excluded"),
            Clause::Icmp { icmp, negated } => match (packet.icmp, negated) {
                (None, _) => format!("{} has no ICMP type", packet.protocol),
                (Some((icmp_type, code)), false) => {
                    let is = describe_icmp(Icmp { icmp_type, code: icmp.code.map(|_| code) });
                    format!("ICMP {is} is not {}", describe_icmp(*icmp))
                }
                (Some(_), true) => format!("ICMP {} is excluded", describe_icmp(*icmp)),
            },
            Clause::Nets { side, nets, negated } => self.about_nets(*side, nets, *negated),
            Clause::Ports { side, ports, negated } => self.about_ports(*side, ports, *negated),
            Clause::Selector { side, selector, negated } => return self.about_selector(*side, selector, *negated),
        };
        vec![sentence]
    }

    fn about_nets(&self, side: Side, nets: &[Cidr], negated: bool) -> String {
        let end = name(side);
        let Some(address) = self.address(side) else { return format!("the {end} has no address yet") };
        let what = if negated {
            let holding: Vec<&Cidr> = nets.iter().filter(|net| net.contains(address)).collect();
            return format!("{end} address {address} is in {}, which is excluded", listed(&holding));
        } else if nets.len() > 1 {
            "in none of"
        } else {
            "not in"
        };
        let of_family: Vec<&Cidr> = nets.iter().filter(|net| net.family() == Family::of(address)).collect();
        if let ([], Some(other)) = (of_family.as_slice(), nets.first()) {
            return self.sentences(&Clause::Blocks { side, family: other.family() }).concat();
        }
        format!("{end} address {address} is {what} {}", listed(&of_family))
    }

    fn about_ports(&self, side: Side, ports: &[Port], negated: bool) -> String {
        let end = name(side);
        let Some(port) = self.port(side) else {
            return format!("{} has no {end} port", self.path.packet.protocol);
        };
        if negated {
            return format!("{end} port {port} is excluded");
        }
        let mut ranges = Vec::new();
        let mut names = Vec::new();
        for port in ports {
            match port {
                Port::Range(range) => ranges.push(range.to_string()),
                Port::Named(name) => names.push(name.as_str()),
            }
        }
        let is = match ranges.as_slice() {
            [] => None,
            [one] if !one.contains(':') => Some(format!("not {one}")),
            several => Some(format!("not in {}", several.join(","))),
        };
        let is_called = (!names.is_empty()).then(|| format!("not named {}", names.join(",")));
        let both: Vec<String> = is.into_iter().chain(is_called).collect();
        format!("{end} port {port} is {}", both.join(" and "))
    }

    fn about_selector(&self, side: Side, selector: &Selector, negated: bool) -> Vec<String> {
        let end = name(side);
        let Some(endpoint) = self.endpoint(side) else {
            let address = self.address(side).map_or_else(String::new, |address| format!(" address {address}"));
            let verb = if negated { "belongs to a network set that matches" } else { "belongs to nobody who matches" };
            let excluded = if negated { ", which is excluded" } else { "" };
            return vec![format!("{end}{address} {verb} {}{excluded}", selector.written())];
        };
        let who = format!("{end} {}", endpoint.name());
        if negated {
            return vec![format!("{who} matches {selector}, which is excluded")];
        }
        let unmet = selector.unmet(&endpoint.labels);
        if unmet.is_empty() {
            return vec![format!("{who} is not among those who match {}", selector.written())];
        }
        let sentence = |part: crate::selector::Unmet| {
            let labels: Vec<String> = part.labels.iter().map(|(key, value)| described(key, value.as_deref())).collect();
            let labels = if labels.is_empty() { String::new() } else { format!(" ({})", labels.join(", ")) };
            let verb = if part.on_namespace { "is in a namespace that does not match" } else { "does not match" };
            format!("{who} {verb} {}{labels}", part.expression)
        };
        unmet.into_iter().map(sentence).collect()
    }

    /// The endpoint at one end, as rules see it.
    fn endpoint(&self, side: Side) -> Option<Endpoint<'_>> {
        if let (Side::Destination, Some(service)) = (side, &self.service) {
            return Some(service.endpoint.clone());
        }
        let address = self.path.packet.address(side);
        let shows = |endpoint: &Endpoint<'_>| {
            endpoint.unenforceable.as_ref().is_none_or(Unenforceable::shows_its_address)
                && endpoint.address(Family::of(address)) == Some(address)
        };
        self.world.inventory.endpoints().into_iter().find(shows)
    }

    fn address(&self, side: Side) -> Option<IpAddr> {
        let packet = &self.path.packet;
        match (side, &self.service) {
            (Side::Destination, Some(service)) => {
                let mut families = [Family::of(packet.source)].into_iter().chain(Family::ALL);
                families.find_map(|family| service.endpoint.address(family))
            }
            _ => Some(packet.address(side)),
        }
    }

    fn port(&self, side: Side) -> Option<u16> {
        match (side, &self.service) {
            (Side::Destination, Some(service)) => Some(service.port),
            _ => self.path.packet.port(side),
        }
    }
}

/// Adds a clause; ports of which one would do are told as one.
fn add(clauses: &mut Vec<Clause>, clause: Clause) {
    if let Clause::Ports { side, ports, negated: false } = &clause {
        for known in clauses.iter_mut() {
            if let Clause::Ports { side: of, ports: all, negated: false } = known
                && of == side
            {
                all.extend(ports.iter().filter(|port| !all.contains(port)).cloned().collect::<Vec<_>>());
                return;
            }
        }
    }
    if !clauses.contains(&clause) {
        clauses.push(clause);
    }
}

fn name(side: Side) -> &'static str {
    match side {
        Side::Source => "source",
        Side::Destination => "destination",
    }
}

fn describe_icmp(Icmp { icmp_type, code }: Icmp) -> String {
    match code {
        Some(code) => format!("type {icmp_type} code {code}"),
        None => format!("type {icmp_type}"),
    }
}

fn described(key: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("{key} is '{value}'"),
        None => format!("it has no label {key}"),
    }
}

fn listed(items: &[impl Display]) -> String {
    let shown: Vec<String> = items.iter().take(NAMED_BLOCKS).map(ToString::to_string).collect();
    match items.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
