//! What all forms show: the chosen part of a table, in the words of the user.
//!
//! Input: a [`Table`] and what was chosen of it. Output: parties, [`Row`]s for machines, and [`Line`]s for people, in which
//! protocols with the same answer are one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;

use super::choice::Chosen;
use crate::cli::explain::Decider;
use crate::cli::output::{REMARK, count, printable};
use crate::compile::{Compiled, Origin};
use crate::inventory::{Inventory, Unenforceable};
use crate::net::{Cidr, Family, PortRange, PortSet};
use crate::reach::table::{Group, GroupKind, Pairs, Row, Table};
use crate::reach::{Party, Reach, Service, Via};
use crate::verdict::Decision;

/// Rules that a line for people names before it counts the others.
const LISTED: usize = 4;

/// The part that is shown.
pub(super) struct View<'a> {
    parties: Vec<Shown<'a>>,
    /// Whether rows can hold for some of a party only.
    pub(super) by_network: bool,
    /// Parties that connect: a row of a matrix each.
    pub(super) from: BTreeSet<usize>,
    /// Parties to which they do: a column of a matrix each.
    pub(super) to: BTreeSet<usize>,
    rows: Vec<Row>,
    /// Whether lists have what is denied.
    pub(super) all: bool,
    origins: &'a BTreeMap<Arc<str>, Arc<Origin>>,
    /// Endpoints about which nothing can be said.
    pub(super) out_of_reach: Vec<OutOfReach>,
}

/// A party in the documented JSON form.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Shown<'a> {
    pub(super) name: &'a str,
    /// `containers`, `network`, `host` or `outside`.
    pub(super) kind: &'static str,
    pub(super) namespace: Option<&'a str>,
    pub(super) containers: Vec<&'a str>,
    pub(super) networks: &'a [String],
    pub(super) nets: &'a [Cidr],
}

/// An endpoint that no rule can reach.
#[derive(Clone, Debug, Serialize)]
pub(super) struct OutOfReach {
    pub(super) endpoint: String,
    pub(super) reason: String,
}

/// Rows that differ in nothing but the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'v> {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) decision: Decision,
    pub(super) pairs: Pairs,
    pub(super) via: &'v Via,
    pub(super) services: Vec<Service>,
    pub(super) families: &'v BTreeSet<Family>,
    pub(super) ports: &'v PortSet,
    pub(super) rules: &'v [String],
}

impl<'a> View<'a> {
    /// The chosen part of a table.
    pub(super) fn new(
        table: &'a Table,
        reach: &'a Reach<'a>,
        compiled: &'a Compiled,
        inventory: &Inventory,
        chosen: Chosen<'_>,
        all: bool,
    ) -> View<'a> {
        let shown = table.rows.iter().filter(|row| chosen.from.contains(&row.from) && chosen.to.contains(&row.to));
        let rows = shown.filter_map(|row| with_port(row, chosen.port)).collect();
        let endpoints = inventory.endpoints().into_iter().filter(|endpoint| {
            chosen.network.is_none()
                || endpoint.network.is_none_or(|network| Some(network.name.as_str()) == chosen.network)
        });
        let out_of_reach = endpoints.filter_map(|endpoint| {
            let reason: &Unenforceable = endpoint.unenforceable.as_ref()?;
            Some(OutOfReach { endpoint: endpoint.name(), reason: reason.to_string() })
        });
        View {
            parties: table.groups.iter().map(|group| Shown::new(group, reach)).collect(),
            rows,
            by_network: table.groups.iter().any(|group| group.kind == GroupKind::Network),
            all,
            origins: &compiled.origins,
            out_of_reach: out_of_reach.collect(),
            from: chosen.from,
            to: chosen.to,
        }
    }

    /// A party by its index.
    pub(super) fn party(&self, index: usize) -> &Shown<'a> {
        &self.parties[index]
    }

    /// The parties that are shown on either side, with their indices.
    pub(super) fn parties(&self) -> impl Iterator<Item = (usize, &Shown<'a>)> {
        let either = |index: &usize| self.from.contains(index) || self.to.contains(index);
        self.parties.iter().enumerate().filter(move |(index, _)| either(index))
    }

    /// What lists have for machines.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| self.all || row.decision == Decision::Allow)
    }

    /// What lists have for people.
    pub(super) fn lines(&self) -> Vec<Line<'_>> {
        let mut lines = self.every_line();
        lines.retain(|line| self.all || line.decision == Decision::Allow);
        lines
    }

    /// All lines, of what is denied too.
    pub(super) fn every_line(&self) -> Vec<Line<'_>> {
        let mut lines: Vec<Line<'_>> = Vec::new();
        for row in &self.rows {
            let pair = lines.iter().rev().take_while(|line| (line.from, line.to) == (row.from, row.to));
            match pair.clone().position(|line| line.is_like(row)) {
                Some(back) => {
                    let index = lines.len() - 1 - back;
                    lines[index].services.push(row.service);
                }
                None => lines.push(Line::of(row)),
            }
        }
        lines
    }

    /// The rules of a row; none where no policy governs, or where a fixed rule denies.
    pub(super) fn rules<'v>(&'v self, comments: &'v [String]) -> impl Iterator<Item = Decider<'v>> {
        comments.iter().filter_map(|comment| self.origins.get(comment.as_str())).map(|origin| Decider::new(origin))
    }

    /// The reason of a line in words.
    pub(super) fn reason(&self, line: &Line<'_>) -> String {
        let mut rules: Vec<String> = self.rules(line.rules).map(|rule| rule.to_string()).collect();
        // Between networks there can be any number of them.
        let more = rules.len().saturating_sub(LISTED);
        if more > 0 {
            rules.truncate(LISTED);
            rules.push(format!("and {more} more"));
        }
        match (rules.is_empty(), line.decision) {
            (false, _) => rules.join("; "),
            // Nobody is governed there, or this host sends, which policy on its containers is not asked about.
            (true, Decision::Allow) => "no policy is asked".to_owned(),
            (true, Decision::Deny) => "a fixed rule".to_owned(),
        }
    }

    /// How much there is, in one line.
    pub(super) fn summary(&self) -> String {
        let allowed = self.every_line().iter().filter(|line| line.decision == Decision::Allow).count();
        let parties = count(self.parties().count(), "party", "parties");
        format!("{} allowed between {parties}", count(allowed, "connection", "connections"))
    }

    /// What policy cannot reach, a line each.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        self.out_of_reach.iter().map(|OutOfReach { endpoint, reason }| {
            format!("policy cannot reach {}: {}", printable(endpoint), printable(reason))
        })
    }

    /// The notes behind an answer for people.
    pub(super) fn write_notes(&self, output: &mut dyn Write) -> io::Result<()> {
        for note in self.notes() {
            writeln!(output, "{REMARK}note{REMARK:#}: {note}")?;
        }
        Ok(())
    }
}

/// The row, or what it says of the only port.
fn with_port(row: &Row, port: Option<(u16, crate::net::Protocol)>) -> Option<Row> {
    let Some((port, protocol)) = port else { return Some(row.clone()) };
    let is_asked = row.service == Service::Ports(protocol) && row.ports.contains(port);
    is_asked.then(|| Row { ports: PortRange::single(port).into_iter().collect(), ..row.clone() })
}

impl<'a> Shown<'a> {
    fn new(group: &'a Group, reach: &'a Reach<'a>) -> Shown<'a> {
        let container = |member: &Party| match member {
            Party::Container(index) => Some(reach.containers()[*index].name.as_str()),
            Party::Host | Party::Outside(_) => None,
        };
        Shown {
            name: &group.name,
            kind: match group.kind {
                GroupKind::Containers => "containers",
                GroupKind::Network => "network",
                GroupKind::Host => "host",
                GroupKind::Outside => "outside",
            },
            namespace: group.namespace.as_deref(),
            containers: group.members.iter().filter_map(container).collect(),
            networks: &group.networks,
            nets: &group.nets,
        }
    }

    /// Parties of one section stand together.
    pub(super) fn section(&self) -> (&'static str, Option<&'a str>) {
        (self.kind, self.namespace)
    }

    /// Who it is in a few words, for those who point at its name.
    pub(super) fn detail(&self) -> String {
        match self.kind {
            "host" => "this host".to_owned(),
            "outside" if self.name == "outside" => "every address outside that no other party has".to_owned(),
            "network" => format!("network of {}", self.containers.join(", ")),
            "outside" => self.nets.iter().map(Cidr::to_string).collect::<Vec<_>>().join(", "),
            _ => {
                let namespace = self.namespace.unwrap_or_default();
                let (containers, networks) = (self.containers.join(", "), self.networks.join(", "));
                format!("namespace {namespace}; {containers}; on {networks}")
            }
        }
    }
}

impl<'v> Line<'v> {
    fn of(row: &'v Row) -> Line<'v> {
        let Row { from, to, service, via, decision, pairs, ports, families, rules } = row;
        let services = vec![*service];
        Line { from: *from, to: *to, decision: *decision, pairs: *pairs, via, services, families, ports, rules }
    }

    /// Whether a row says the same of another protocol.
    fn is_like(&self, row: &Row) -> bool {
        let Row { from, to, service: _, via, decision, pairs, ports, families, rules } = row;
        (self.from, self.to, self.decision, self.pairs, self.via) == (*from, *to, *decision, *pairs, via)
            && (self.ports, self.families, self.rules) == (ports, families, rules.as_slice())
    }

    /// Whether it is about all protocols and ports.
    pub(super) fn is_any(&self) -> bool {
        self.services == Service::ALL && self.ports.is_all()
    }

    /// The protocols: `TCP,UDP`, or `any`.
    pub(super) fn protocols(&self) -> String {
        if self.is_any() {
            return "any".to_owned();
        }
        self.services.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// The ports: `80,443`, `all`, `all but 80`; nothing for a ping.
    pub(super) fn port_text(&self) -> String {
        let others = self.ports.complement();
        match () {
            () if self.services == [Service::Ping] => String::new(),
            () if !others.is_empty() && others.ranges().len() < self.ports.ranges().len() => {
                format!("all but {others}")
            }
            () => self.ports.to_string(),
        }
    }

    /// Protocols and ports: `TCP 80,443`, `any`, `ping`; `some: ping` where it is only between some of two networks.
    pub(super) fn what(&self) -> String {
        let (protocols, ports) = (self.protocols(), self.port_text());
        let what = if self.is_any() || ports.is_empty() { protocols } else { format!("{protocols} {ports}") };
        match self.pairs {
            Pairs::All => what,
            Pairs::Some => format!("some: {what}"),
        }
    }

    /// The families: `4,6`.
    pub(super) fn ip_versions(&self) -> String {
        self.families.iter().map(|family| family.digit().to_string()).collect::<Vec<_>>().join(",")
    }

    /// What follows protocols and ports where it does not go by the other's own address.
    pub(super) fn by_way_of(&self) -> String {
        if *self.via == Via::Direct { String::new() } else { format!(" via {}", ViaText(self.via)) }
    }
}

/// A way in words: `direct`, `published 8080`, `proxy 8080`.
pub(super) struct ViaText<'v>(pub(super) &'v Via);

impl fmt::Display for ViaText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Via::Direct => f.write_str("direct"),
            Via::Published { host_port } => write!(f, "published {host_port}"),
            Via::Proxy { host_port } => write!(f, "proxy {host_port}"),
        }
    }
}

/// Between whom, in a word.
pub(super) fn between(pairs: Pairs) -> &'static str {
    match pairs {
        Pairs::All => "all",
        Pairs::Some => "some",
    }
}

/// A decision in a word.
pub(super) fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny",
    }
}
