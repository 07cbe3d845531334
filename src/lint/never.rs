//! Rules whose conditions exclude each other.
//!
//! Input: policies. Output: a finding for each rule that no packet can match, with the conditions at fault. Selectors that
//! contradict themselves are told by [`super::selectors`], at the selector.

use crate::net::{Cidr, Family, PortRange};
use crate::policy::{Direction, Peer, Policy, Rule, codes};
use crate::selector::{ORCHESTRATOR_LABEL, Selector};

use super::cover::{exists, hold};
use super::place::{Finding, Place};
use super::{Context, container, own_side, ports, shown};

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (policy, direction, rules) in context.rules() {
        // A part of a Kubernetes rule that never matches leaves the others.
        let reasons: Option<Vec<Reason>> = rules.iter().map(|rule| reason(context, policy, direction, rule)).collect();
        if let (Some([reason, ..]), Some(rule)) = (reasons.as_deref(), rules.first()) {
            let place = match &reason.field {
                Some(field) => Place::within(policy, direction, rule, field),
                None => Place::rule(policy, direction, rule),
            };
            let message = format!("the rule can never match: {}", reason.text);
            findings.push(Finding::new(&codes::NEVER_MATCHES, place, message).with_help(reason.help));
        }
    }
    findings
}

/// Whether a rule can never match, its selectors included.
pub(super) fn is_dead(context: &Context<'_>, policy: &Policy, direction: Direction, rule: &Rule) -> bool {
    let selectors = [&rule.source, &rule.destination].into_iter().filter_map(|peer| peer.selector.as_ref());
    selectors.into_iter().any(names_nothing) || reason(context, policy, direction, rule).is_some()
}

/// Whether the selector of a peer is proved to stand for no container and no network set.
pub(super) fn names_nothing(selector: &Selector) -> bool {
    let set = Selector::has(ORCHESTRATOR_LABEL).negate();
    selector.clone().and(container()).is_contradiction() && selector.clone().and(set).is_contradiction()
}

/// Why a rule can never match.
struct Reason {
    field: Option<String>,
    text: String,
    help: &'static str,
}

const NARROW: &str = "narrow what is excluded, or leave the rule out";

fn reason(context: &Context<'_>, policy: &Policy, direction: Direction, rule: &Rule) -> Option<Reason> {
    if let Some(protocol) = rule.protocol.filter(|protocol| rule.not_protocol == Some(*protocol)) {
        let text = format!("{protocol} is required and excluded");
        return Some(Reason { field: Some("notProtocol".to_owned()), text, help: "leave `notProtocol` out" });
    }
    if !Family::ALL.into_iter().any(|family| exists(rule, family)) {
        let text = "its conditions belong to different IP versions".to_owned();
        return Some(Reason { field: None, text, help: "write one rule for each IP version" });
    }
    if let (Some(icmp), Some(not)) = (rule.icmp, rule.not_icmp)
        && icmp.icmp_type == not.icmp_type
        && (not.code.is_none() || not.code == icmp.code)
    {
        let text = format!("ICMP type {} is required and excluded", icmp.icmp_type);
        return Some(Reason { field: Some("notICMP".to_owned()), text, help: "leave `notICMP` out" });
    }
    for (side, peer) in [("source", &rule.source), ("destination", &rule.destination)] {
        if let Some(text) = excluded_nets(peer) {
            return Some(Reason { field: Some(format!("{side}.notNets")), text, help: NARROW });
        }
        if let Some(text) = excluded_ports(peer) {
            return Some(Reason { field: Some(format!("{side}.notPorts")), text, help: NARROW });
        }
    }
    foreign(context, policy, direction, rule)
}

/// All blocks lie within those that are excluded.
fn excluded_nets(peer: &Peer) -> Option<String> {
    if peer.not_nets.is_empty() {
        return None;
    }
    let everything = Family::ALL.map(Cidr::everything);
    let all_of_family = everything.iter().any(|everything| hold(&peer.not_nets, &[*everything]));
    if peer.nets.is_empty() {
        return all_of_family.then(|| "`notNets` excludes every address".to_owned());
    }
    hold(&peer.not_nets, &peer.nets).then(|| "`notNets` excludes all of `nets`".to_owned())
}

/// All ports are excluded.
fn excluded_ports(peer: &Peer) -> Option<String> {
    if peer.ports.is_empty() {
        let every = PortRange::new(1, u16::MAX)?;
        let excluded = ports::within(every, &ports::ranges(&peer.not_ports));
        return excluded.then(|| "`notPorts` excludes every port".to_owned());
    }
    ports::hold(&peer.not_ports, &peer.ports).then(|| "`notPorts` excludes all of `ports`".to_owned())
}

/// The rule's condition on the policy's own end contradicts the policy's selector. A network set may hold the address of
/// a container, so this is only said where none can be meant.
fn foreign(context: &Context<'_>, policy: &Policy, direction: Direction, rule: &Rule) -> Option<Reason> {
    let peer = match direction {
        Direction::Ingress => &rule.destination,
        Direction::Egress => &rule.source,
    };
    let side = own_side(direction);
    let own = policy.selector.clone().and(container());
    let selector = peer.selector.as_ref()?;
    if own.is_contradiction() || names_nothing(selector) || context.may_match_network_set(selector) {
        return None;
    }
    if !own.and(selector.clone()).is_contradiction() {
        return None;
    }
    let text = format!(
        "`{side}` of an {direction} rule is what the policy selects, and that is never {}",
        shown(policy, selector)
    );
    let help = match direction {
        Direction::Ingress => "name the peer under `source`",
        Direction::Egress => "name the peer under `destination`",
    };
    Some(Reason { field: Some(format!("{side}.selector")), text, help })
}
