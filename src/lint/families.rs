//! Rules for one IP version that govern containers with addresses of both.
//!
//! Input: policies and a world. Output: a finding for each rule whose counterpart for the other version is missing. A rule
//! about single blocks outside is none: whom they belong to may have no address of the other version.

use crate::inventory::{Endpoint, Network};
use crate::net::{Cidr, Family, Protocol};
use crate::policy::{Direction, Peer, Policy, Rule, RuleAction, codes};

use super::cover::{exists, holds};
use super::place::{Finding, Place};
use super::{Context, listing, ports};

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let Some(world) = &context.world else { return Vec::new() };
    let mut findings = Vec::new();
    for (policy, direction, rules) in context.rules() {
        for rule in rules.iter().filter(|rule| matches!(rule.action, RuleAction::Allow | RuleAction::Deny)) {
            let Some(family) = only_family(rule) else { continue };
            let selected = world.selected(policy);
            let dual: Vec<&&Endpoint<'_>> =
                selected.iter().filter(|endpoint| endpoint.network.is_some_and(has_both)).collect();
            let subnets: Vec<Cidr> =
                dual.iter().filter_map(|endpoint| endpoint.network).flat_map(|n| n.subnets.iter().copied()).collect();
            if dual.is_empty() || !means_everything(rule, &subnets) || has_counterpart(policy, direction, rule, family)
            {
                continue;
            }
            let message = format!(
                "the rule is {family} only, and these containers have both IP versions: {}",
                listing(dual.iter().map(|endpoint| endpoint.name()))
            );
            let help = match rule.action {
                RuleAction::Deny => "what it denies may be open in the other version: add the same rule for it",
                _ => {
                    "what it allows is closed in the other version, unless another rule allows it: add the same rule for it"
                }
            };
            let place = match reason(rule) {
                Some(field) => Place::within(policy, direction, rule, &field),
                None => Place::rule(policy, direction, rule),
            };
            findings.push(Finding::new(&codes::ONE_FAMILY, place, message).with_help(help));
        }
    }
    findings
}

/// The only family of a rule that could be about both.
fn only_family(rule: &Rule) -> Option<Family> {
    let by_protocol = rule.protocol.and_then(Protocol::family).is_some();
    let families: Vec<Family> = Family::ALL.into_iter().filter(|family| exists(rule, *family)).collect();
    match families[..] {
        [family] if !by_protocol => Some(family),
        _ => None,
    }
}

/// The field that makes a rule one of a single family.
fn reason(rule: &Rule) -> Option<String> {
    if rule.family.is_some() {
        return Some("ipVersion".to_owned());
    }
    let sides = [("source", &rule.source), ("destination", &rule.destination)].into_iter();
    let mut lists = sides.flat_map(|(side, peer)| [(side, "nets", &peer.nets), (side, "notNets", &peer.not_nets)]);
    lists.find(|(.., nets)| !nets.is_empty()).map(|(side, field, _)| format!("{side}.{field}"))
}

fn has_both(network: &Network) -> bool {
    Family::ALL.iter().all(|family| network.subnets.iter().any(|subnet| subnet.family() == *family))
}

/// Whether a rule is meant for more than some addresses that may only exist in its family: it names no block, or one that
/// is everything, or one in the containers' own networks.
fn means_everything(rule: &Rule, subnets: &[Cidr]) -> bool {
    let nets: Vec<Cidr> = [&rule.source, &rule.destination].iter().flat_map(|peer| peer.nets.iter().copied()).collect();
    let own = |net: Cidr| subnets.iter().any(|subnet| holds(*subnet, net) || holds(net, *subnet));
    nets.is_empty() || nets.iter().any(|net| net.prefix() == 0 || own(*net))
}

/// Whether the policy has a rule for the other family that does the same on at least the same ports.
fn has_counterpart(policy: &Policy, direction: Direction, rule: &Rule, family: Family) -> bool {
    let wide_ports = |wide: &Peer| {
        let own = &rule.destination.ports;
        wide.ports.is_empty() || (!own.is_empty() && ports::hold(&wide.ports, own))
    };
    policy.rules(direction).unwrap_or_default().iter().any(|other| {
        other.action == rule.action
            && Family::ALL.into_iter().any(|wanted| wanted != family && exists(other, wanted))
            && (other.protocol.is_none() || other.protocol == rule.protocol)
            && wide_ports(&other.destination)
    })
}
