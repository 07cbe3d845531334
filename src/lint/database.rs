//! Databases that any address may connect to.
//!
//! Input: policies and, for named ports, the world. Output: a finding for each port of a database in an Allow rule without
//! a condition on its source. A wide range is left alone: who writes it has not thought of a database.

use crate::net::{Cidr, Family, PortRange, Protocol};
use crate::policy::{Direction, Peer, Policy, Port, Rule, RuleAction, codes};

use super::cover::hold;
use super::place::{Finding, Place, is_kubernetes};
use super::{Context, declared};

/// Ports on which databases and stores listen by default, each with its name.
const DATABASES: [(u16, Protocol, &str); 14] = [
    (1433, Protocol::TCP, "SQL Server"),
    (1521, Protocol::TCP, "Oracle Database"),
    (2379, Protocol::TCP, "etcd"),
    (3306, Protocol::TCP, "MySQL"),
    (5432, Protocol::TCP, "PostgreSQL"),
    (5984, Protocol::TCP, "CouchDB"),
    (6379, Protocol::TCP, "Redis"),
    (7687, Protocol::TCP, "Neo4j"),
    (9042, Protocol::TCP, "Cassandra"),
    (9200, Protocol::TCP, "Elasticsearch"),
    (11211, Protocol::TCP, "Memcached"),
    (11211, Protocol::UDP, "Memcached"),
    (26257, Protocol::TCP, "CockroachDB"),
    (27017, Protocol::TCP, "MongoDB"),
];

/// Most ports of a range whose author may have thought of each. A wider one is as good as no condition on ports.
const MAX_RANGE: u16 = 1024;

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (policy, direction, rules) in context.rules().filter(|(_, direction, _)| *direction == Direction::Ingress) {
        for rule in rules.iter().filter(|rule| rule.action == RuleAction::Allow && is_anyone(&rule.source)) {
            for (index, port) in rule.destination.ports.iter().enumerate() {
                let open = numbers(context, policy, rule, port);
                let database = DATABASES.iter().find(|(number, protocol, _)| {
                    rule.protocol.is_none_or(|of_rule| of_rule == *protocol)
                        && open.iter().any(|range| range.contains(*number))
                        && !super::ports::list_number(&rule.destination.not_ports, *number)
                });
                let Some((number, protocol, name)) = database else { continue };
                let meant = match port {
                    Port::Range(_) => PortRange::single(*number).map_or_else(|| port.clone(), Port::Range),
                    Port::Named(_) => port.clone(),
                };
                let place = Place::port(policy, direction, rule, "destination.ports", (index, meant));
                let message = format!("any address may connect to {name} ({number}/{protocol})");
                let field = if is_kubernetes(policy) { "from" } else { "source" };
                let help = format!("name the clients under `{field}`: a selector, or blocks of addresses");
                findings.push(Finding::new(&codes::OPEN_DATABASE, place, message).with_help(help));
            }
        }
    }
    findings
}

/// Whether every address of a family may be the peer.
fn is_anyone(peer: &Peer) -> bool {
    let everything = Family::ALL.map(Cidr::everything);
    peer.selector.is_none()
        && peer.not_selector.is_none()
        && peer.not_nets.is_empty()
        && (peer.nets.is_empty() || everything.iter().any(|everything| hold(&peer.nets, &[*everything])))
}

/// The numbers that a port of a rule stands for, as far as they are known.
fn numbers(context: &Context<'_>, policy: &Policy, rule: &Rule, port: &Port) -> Vec<PortRange> {
    match (port, &context.world) {
        (Port::Range(range), _) if range.last() - range.first() < MAX_RANGE => vec![*range],
        (Port::Named(name), Some(world)) => declared(&world.selected(policy))
            .into_iter()
            .filter(|declared| declared.name == *name && rule.protocol.is_none_or(|p| p == declared.protocol))
            .filter_map(|declared| PortRange::single(declared.port))
            .collect(),
        (Port::Range(_) | Port::Named(_), _) => Vec::new(),
    }
}
