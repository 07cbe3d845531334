//! Port names that stand for no port.
//!
//! Input: policies and a world. Output: a finding for each name in a rule that none of the containers in question declares.

use std::collections::BTreeSet;

use crate::inventory::Endpoint;
use crate::net::Protocol;
use crate::policy::{Direction, Port, codes};

use super::place::{Finding, Place};
use super::{Context, declared, own_side, ports};

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let Some(world) = &context.world else { return Vec::new() };
    let mut findings = Vec::new();
    for (policy, direction, rules) in context.rules() {
        for rule in rules {
            for (side, peer) in [("source", &rule.source), ("destination", &rule.destination)] {
                let mut meant: Vec<&Endpoint<'_>> = world.peers(peer.selector.as_ref());
                if side == own_side(direction) {
                    meant.retain(|endpoint| policy.selector.matches(&endpoint.labels));
                }
                if meant.is_empty() {
                    continue;
                }
                let who = match (side == own_side(direction), direction) {
                    (true, _) => "the policy selects",
                    (false, Direction::Ingress) => "the rule may be about as its source",
                    (false, Direction::Egress) => "the rule may be about as its destination",
                };
                let known: BTreeSet<String> = declared(&meant)
                    .into_iter()
                    .filter(|port| rule.protocol.is_none_or(|protocol| protocol == port.protocol))
                    .map(|port| port.name)
                    .collect();
                for (field, list) in [("ports", &peer.ports), ("notPorts", &peer.not_ports)] {
                    for (index, name) in ports::names(list).filter(|(_, name)| !known.contains(*name)) {
                        let meant = (index, Port::Named(name.to_owned()));
                        let place = Place::port(policy, direction, rule, &format!("{side}.{field}"), meant);
                        let of = rule.protocol.map_or_else(String::new, |protocol| format!(" of {protocol}"));
                        let message = format!("none of the containers that {who} declares a port{of} named `{name}`");
                        let help = match known.len() {
                            0 => {
                                let protocol = rule.protocol.unwrap_or(Protocol::TCP).to_string().to_lowercase();
                                format!(
                                    "write the number, or label the containers: `dockgate.io/ports: {name}=8080/{protocol}`"
                                )
                            }
                            _ => format!("they declare {}", known.iter().cloned().collect::<Vec<_>>().join(", ")),
                        };
                        findings.push(Finding::new(&codes::UNDECLARED_PORT, place, message).with_help(help));
                    }
                }
            }
        }
    }
    findings
}
