//! The answers as a table that people can read: replicas are one service, addresses with the same answers one row.
//!
//! Input: a [`Reach`]. Output: a [`Table`]: groups of parties, and for every two of them what may pass and what may not.
//! Nothing is averaged: containers are one service only where every answer about their own addresses is the same, so
//! that each row holds for every container of its groups. Only a port of this host leads to one of them: a row that goes
//! by such a port is there for each. Of networks a row says whether it holds for all of their containers: see
//! `networks`.

mod groups;
mod networks;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::inventory::Inventory;
use crate::net::{Cidr, Family, PortSet};
use crate::verdict::Decision;

use super::{Class, Party, Reach, Service, Via, Way};

/// What is a group of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Every container.
    Container,
    /// The replicas of a service: containers of one Compose service, or with the same name up to a number, in one
    /// namespace and on the same networks, whose answers are the same.
    Service,
    /// A network: the endpoints of its containers. Networks of one name are one.
    Network,
}

/// What a group is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupKind {
    /// Containers.
    Containers,
    /// The containers of a network, with their endpoints there.
    Network,
    /// This host.
    Host,
    /// Addresses outside.
    Outside,
}

/// Parties that are told as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What it is called; no other group of the table has the same name.
    pub name: String,
    /// What it is of.
    pub kind: GroupKind,
    /// Its parties, never none. A container on several networks is of each.
    pub members: Vec<Party>,
    /// Namespace of its containers; `None` for all others.
    pub namespace: Option<String>,
    /// Names of the networks on which its containers are and policy can reach them, sorted.
    pub networks: Vec<String>,
    /// Its addresses outside; none for all others.
    pub nets: Vec<Cidr>,
}

/// For which pairs of two groups a row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pairs {
    /// For each of the one group with each of the other.
    All,
    /// For some, and not for others.
    Some,
}

/// Ports of one service that may be reached from one group to another, or may not, for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Index of the group that connects.
    pub from: usize,
    /// Index of the group to which it does; its own where replicas are meant among themselves.
    pub to: usize,
    /// The service.
    pub service: Service,
    /// How it goes.
    pub via: Via,
    /// Whether policy lets it pass. What one of several networks lets pass is not in a row that denies.
    pub decision: Decision,
    /// Between whom: of other groups than networks always between all.
    pub pairs: Pairs,
    /// The ports, never none; all of them for a ping.
    pub ports: PortSet,
    /// The families for which this holds.
    pub families: BTreeSet<Family>,
    /// Comments of the policy rules that say so, as in [`super::Part`]; of networks those that say so for any pair.
    pub rules: Vec<String>,
}

/// Who may reach whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Containers by namespace and name, then this host, then the outside with its largest remainder first.
    pub groups: Vec<Group>,
    /// In the order of the groups.
    pub rows: Vec<Row>,
}

impl Table {
    /// The table of answers about an inventory.
    pub fn new(reach: &Reach<'_>, inventory: &Inventory, by: By) -> Table {
        let groups = groups::groups(reach, inventory, by);
        let classes: Vec<Classes> = groups.iter().map(|group| classes(reach, group)).collect();
        let mut rows = Vec::new();
        for (from, senders) in classes.iter().enumerate() {
            for (to, receivers) in classes.iter().enumerate() {
                rows.extend(match by {
                    By::Container | By::Service => between(reach, (from, senders), (to, receivers)),
                    By::Network => {
                        let (from, to) = ((from, &groups[from], senders), (to, &groups[to], receivers));
                        networks::between(reach, &networks::Two { from, to })
                    }
                });
            }
        }
        Table { groups, rows }
    }
}

/// Of each class that a group has, two members where there are so many.
type Classes = BTreeMap<Class, Vec<Party>>;

fn classes(reach: &Reach<'_>, group: &Group) -> Classes {
    let mut classes = Classes::new();
    for member in &group.members {
        let of_class = classes.entry(reach.class(*member)).or_default();
        if of_class.len() < 2 {
            of_class.push(*member);
        }
    }
    classes
}

fn between(reach: &Reach<'_>, from: (usize, &Classes), to: (usize, &Classes)) -> Vec<Row> {
    let mut ways: Vec<&Way> = Vec::new();
    for sender in from.1.values().filter_map(|of_class| of_class.first()) {
        for receivers in to.1.values() {
            let other = receivers.iter().find(|receiver| *receiver != sender);
            ways.extend(other.into_iter().flat_map(|other| reach.ways(*sender, *other)));
        }
    }
    let mut rows: Vec<Row> = merged(&ways)
        .into_iter()
        .map(|((service, via, decision, ports, rules), families)| Row {
            from: from.0,
            to: to.0,
            service,
            via: via.clone(),
            decision,
            pairs: Pairs::All,
            ports,
            families,
            rules: rules.to_vec(),
        })
        .collect();
    rows.sort();
    rows
}

/// Everything of a row but its ends and families.
type Content<'a> = (Service, &'a Via, Decision, PortSet, &'a [String]);

/// What ways of two groups say, with the families in which they do.
fn merged<'a>(ways: &[&'a Way]) -> BTreeMap<Content<'a>, BTreeSet<Family>> {
    let mut open: BTreeMap<_, PortSet> = BTreeMap::new();
    let mut ports_of: BTreeMap<_, PortSet> = BTreeMap::new();
    for way in ways {
        let of_way = (way.service, &way.via, way.family);
        let so_far = open.entry(of_way).or_default();
        *so_far = so_far.union(&way.open());
        for part in &way.parts {
            let so_far = ports_of.entry((of_way, part.decision, part.rules.as_slice())).or_default();
            *so_far = so_far.union(&part.ports);
        }
    }
    let mut merged: BTreeMap<Content<'a>, BTreeSet<Family>> = BTreeMap::new();
    for ((of_way, decision, rules), ports) in ports_of {
        let ports = match decision {
            Decision::Allow => ports,
            Decision::Deny => ports.difference(&open[&of_way]),
        };
        if !ports.is_empty() {
            let (service, via, family) = of_way;
            merged.entry((service, via, decision, ports, rules)).or_default().insert(family);
        }
    }
    merged
}
