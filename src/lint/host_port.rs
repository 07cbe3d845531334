//! Rules about a port of the host where a port of the container is judged.
//!
//! Input: policies and a world. Output: a finding for each port of a rule that is a published port of the containers in
//! question and no port of theirs that is known.

use std::collections::BTreeSet;

use crate::inventory::{Endpoint, PublishedPort};
use crate::net::Protocol;
use crate::policy::{Direction, Port, codes};

use super::place::{Finding, Place};
use super::{Context, declared, ports};

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let Some(world) = &context.world else { return Vec::new() };
    let mut findings = Vec::new();
    for (policy, direction, rules) in context.rules() {
        for rule in rules {
            let to = &rule.destination;
            let reached = match (direction, &to.selector) {
                (Direction::Ingress, _) => world.selected(policy),
                (Direction::Egress, Some(selector)) => world.peers(Some(selector)),
                (Direction::Egress, None) => continue,
            };
            let reached: Vec<&Endpoint<'_>> = reached
                .into_iter()
                .filter(|endpoint| to.selector.as_ref().is_none_or(|selector| selector.matches(&endpoint.labels)))
                .collect();
            for (index, port) in to.ports.iter().enumerate() {
                let Port::Range(range) = port else { continue };
                let number = range.first();
                let found = misnamed(&reached, rule.protocol, number).filter(|_| number == range.last());
                // Who lists the container's port as well knows it, and means another container by this one.
                let found = found.filter(|(_, known)| !ports::list_number(&to.ports, known.container_port));
                let Some((endpoint, PublishedPort { container_port, .. })) = found else { continue };
                let place = Place::port(policy, direction, rule, "destination.ports", (index, port.clone()));
                let container = &endpoint.container.name;
                let message =
                    format!("{number} is a port of the host that leads to port {container_port} of {container}");
                let help =
                    format!("write {container_port}: policy judges the container's port, also behind a published one");
                findings.push(Finding::new(&codes::HOST_PORT, place, message).with_help(help));
            }
        }
    }
    findings
}

/// A container that publishes a port under this number, if none of them has the number as its own port, as far as is known.
/// A container of which no port is known may have any.
fn misnamed<'e>(
    endpoints: &[&'e Endpoint<'e>],
    protocol: Option<Protocol>,
    number: u16,
) -> Option<(&'e Endpoint<'e>, &'e PublishedPort)> {
    let is_unknown =
        |endpoint: &&Endpoint<'_>| endpoint.container.published.is_empty() && declared(&[*endpoint]).is_empty();
    if endpoints.iter().any(is_unknown) {
        return None;
    }
    let of_protocol = |other: Protocol| protocol.is_none_or(|protocol| protocol == other);
    let own: BTreeSet<u16> = endpoints
        .iter()
        .flat_map(|endpoint| &endpoint.container.published)
        .filter(|port| of_protocol(port.protocol))
        .map(|port| port.container_port)
        .chain(declared(endpoints).into_iter().filter(|port| of_protocol(port.protocol)).map(|port| port.port))
        .collect();
    if own.contains(&number) {
        return None;
    }
    endpoints.iter().find_map(|endpoint| {
        let published = endpoint.container.published.iter();
        let found = published.into_iter().find(|port| port.host_port == Some(number) && of_protocol(port.protocol));
        found.map(|published| (*endpoint, published))
    })
}
