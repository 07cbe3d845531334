//! Containers that may connect to the outside and to no name server.
//!
//! Input: policies and, if there is one, the world. Output: a finding for each policy with such a rule. Closed egress alone
//! is none: Docker's embedded resolver tells the names of containers without a packet on any bridge. Only who is let out
//! to addresses that are known by name is missing something.

use std::net::IpAddr;

use crate::inventory::Endpoint;
use crate::net::{Cidr, Protocol};
use crate::policy::{DefaultAction, Direction, Peer, Policy, Rule, RuleAction, codes};

use super::place::{Finding, Place};
use super::{Context, listing, ports};

/// Port of name servers.
const DNS: u16 = 53;
/// The one bridge network on which there is no embedded resolver.
const DEFAULT_NETWORK: &str = "bridge";

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let governing: Vec<&Policy> = context
        .enforced()
        .map(|(_, policy)| policy)
        .filter(|policy| policy.rules(Direction::Egress).is_some())
        .collect();
    let mut findings = Vec::new();
    for policy in &governing {
        let rules = policy.rules(Direction::Egress).unwrap_or_default();
        let Some(rule) = rules.iter().find(|rule| leads_outside(context, rule)) else { continue };
        let place = Place::rule(policy, Direction::Egress, rule);
        let Some(world) = &context.world else {
            let together = |other: &&&Policy| !other.selector.clone().and(policy.selector.clone()).is_contradiction();
            let possible: Vec<&Policy> = governing.iter().filter(together).copied().collect();
            if !may_ask_for_names(context, &possible) {
                findings.push(told(place, &possible, &[], HELP));
            }
            continue;
        };
        let outward = |endpoint: &&&Endpoint<'_>| endpoint.network.is_some_and(|network| !network.internal);
        let selected = world.selected(policy);
        let of_endpoint = |endpoint: &Endpoint<'_>| -> Vec<&Policy> {
            governing.iter().filter(|policy| policy.selector.matches(&endpoint.labels)).copied().collect()
        };
        let mute: Vec<&&Endpoint<'_>> = selected
            .iter()
            .filter(outward)
            .filter(|endpoint| !may_ask_for_names(context, &of_endpoint(endpoint)))
            .collect();
        let Some(first) = mute.first() else { continue };
        let by_default = |endpoint: &&&Endpoint<'_>| endpoint.network.is_some_and(|n| n.name == DEFAULT_NETWORK);
        let help = if mute.iter().all(by_default) { HELP_DEFAULT_NETWORK } else { HELP };
        findings.push(told(place, &of_endpoint(first), &mute, help));
    }
    findings
}

const HELP: &str = "Names of containers need no rule; Docker's resolver forwards other queries from the container's address, \
                    unless the host's own resolver is on a loopback address";
const HELP_DEFAULT_NETWORK: &str = "On the default network Docker has no resolver for containers";

/// The finding about containers, if they are known, which these policies keep from asking for names.
fn told(place: Place, policies: &[&Policy], containers: &[&&Endpoint<'_>], help: &str) -> Finding {
    let (why, before) = match denial(policies) {
        Some((policy, rule)) => {
            let by = format!("egress[{}] of policy {} ({})", rule.index, policy.key, rule.location);
            (format!("{by} denies DNS (UDP port 53) before a rule allows it"), " before that rule")
        }
        None => ("no rule allows DNS (UDP port 53)".to_owned(), ""),
    };
    let whose = match containers {
        [] => String::new(),
        known => format!(": {}", listing(known.iter().map(|endpoint| endpoint.name()))),
    };
    let message = format!("the rule leads to addresses outside, but {why}{whose}");
    let help = format!("allow UDP and TCP port 53{before}. {help}");
    Finding::new(&codes::NO_NAMES, place, message).with_help(help)
}

/// The rule that denies every query where a later one of its policy would allow some.
fn denial<'p>(policies: &[&'p Policy]) -> Option<(&'p Policy, &'p Rule)> {
    policies.iter().find_map(|policy| {
        let rules = policy.rules(Direction::Egress).unwrap_or_default();
        let at = rules.iter().position(denies_every_query)?;
        rules[at..].iter().any(may_match_query).then(|| (*policy, &rules[at]))
    })
}

/// Whether these policies, taken together, may let a query through. Where it is not certain that they do not, they may.
fn may_ask_for_names(context: &Context<'_>, policies: &[&Policy]) -> bool {
    let end = policies.iter().max_by_key(|policy| context.tier(policy)).and_then(|last| context.tier(last));
    let open_end = end.is_some_and(|tier| context.policies.tiers[tier].default_action == DefaultAction::Pass);
    let rules = policies.iter().flat_map(|policy| {
        let rules = policy.rules(Direction::Egress).unwrap_or_default();
        // What follows such a rule in its policy never sees a query.
        rules.iter().take_while(|rule| !denies_every_query(rule))
    });
    open_end || rules.into_iter().any(may_match_query)
}

/// Whether a rule denies queries to whatever address.
fn denies_every_query(rule: &Rule) -> bool {
    let Peer { nets, not_nets, selector, not_selector, ports, not_ports } = &rule.destination;
    rule.action == RuleAction::Deny
        && rule.family.is_none()
        && rule.protocol.is_none_or(|protocol| protocol == Protocol::UDP)
        && rule.not_protocol.is_none_or(|protocol| protocol != Protocol::UDP)
        && rule.icmp.is_none()
        && rule.not_icmp.is_none()
        && rule.source == Peer::default()
        && nets.is_empty()
        && not_nets.is_empty()
        && selector.is_none()
        && not_selector.is_none()
        && (ports.is_empty() || ports::list_number(ports, DNS))
        && not_ports.is_empty()
}

fn may_match_query(rule: &Rule) -> bool {
    let lets_through = matches!(rule.action, RuleAction::Allow | RuleAction::Pass);
    let udp =
        rule.protocol.is_none_or(|protocol| protocol == Protocol::UDP) && rule.not_protocol != Some(Protocol::UDP);
    let listed = &rule.destination.ports;
    let port = listed.is_empty() || ports::list_number(listed, DNS) || ports::names(listed).next().is_some();
    lets_through && udp && port && !ports::list_number(&rule.destination.not_ports, DNS)
}

/// Whether a rule allows connections to addresses that are neither this host's containers nor private.
fn leads_outside(context: &Context<'_>, rule: &Rule) -> bool {
    let Peer { nets, selector, .. } = &rule.destination;
    let public = |nets: &[Cidr]| nets.iter().any(|net| !is_private(*net));
    rule.action == RuleAction::Allow
        && match selector {
            _ if !nets.is_empty() => public(nets),
            None => true,
            Some(selector) => context.network_sets.iter().any(|set| selector.matches(&set.labels) && public(set.nets)),
        }
}

/// Whether a block is in a range for private use. None of these ranges lies between two others of one block.
fn is_private(net: Cidr) -> bool {
    [net.network(), net.last()].iter().all(|address| match address {
        IpAddr::V4(address) => address.is_private() || address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_loopback() || address.is_unicast_link_local(),
    })
}
