//! Which parties are told as one, and what they are called.
//!
//! Input: a [`Reach`] and its inventory. Output: [`Group`]s. A name that a service would share with another, or with this
//! host or the outside, is replaced by those of its containers: whoever reads the table has to know who is meant.

use std::collections::{BTreeMap, BTreeSet};

use crate::inventory::{Container, Inventory};
use crate::net::{Cidr, Family};

use super::{By, Group, GroupKind};
use crate::reach::{Block, Party, Reach, Via, Way};

/// Compose's label with the name of the service.
const SERVICE_LABEL: &str = "com.docker.compose.service";
/// Compose's label with the name of the project.
const PROJECT_LABEL: &str = "com.docker.compose.project";
/// Names that no container's group has.
const RESERVED: [&str; 2] = ["host", "outside"];
/// Containers or blocks that a name lists before it counts the others.
const LISTED: usize = 3;

/// All groups, in the order of the table.
pub(super) fn groups(reach: &Reach<'_>, inventory: &Inventory, by: By) -> Vec<Group> {
    let mut groups = match by {
        By::Container => containers(reach, inventory, |one| (CandidateKind::Single, one.name.clone())),
        By::Service => containers(reach, inventory, service),
        By::Network => of_networks(reach, inventory),
    };
    groups.push(Group {
        name: RESERVED[0].to_owned(),
        kind: GroupKind::Host,
        members: vec![Party::Host],
        namespace: None,
        networks: Vec::new(),
        nets: Vec::new(),
    });
    groups.extend(outside(reach));
    groups
}

/// What containers of one service have in common before their answers are compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate<'a> {
    namespace: &'a str,
    name: String,
    kind: CandidateKind,
    networks: Vec<String>,
}

/// By what containers are taken for one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum CandidateKind {
    Compose,
    Numbered,
    Single,
}

/// The networks on which policy can reach a container, by name.
fn of_networks(reach: &Reach<'_>, inventory: &Inventory) -> Vec<Group> {
    let mut members: BTreeMap<String, Vec<Party>> = BTreeMap::new();
    for (index, container) in reach.containers.iter().enumerate() {
        for network in networks(inventory, container) {
            members.entry(network).or_default().push(Party::Container(index));
        }
    }
    let group = |(network, members): (String, Vec<Party>)| Group {
        name: if is_reserved(&network) { format!("network {network}") } else { network.clone() },
        kind: GroupKind::Network,
        members,
        namespace: None,
        networks: vec![network],
        nets: Vec::new(),
    };
    members.into_iter().map(group).collect()
}

fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || name.starts_with("outside ")
}

fn containers(
    reach: &Reach<'_>,
    inventory: &Inventory,
    service_of: impl Fn(&Container) -> (CandidateKind, String),
) -> Vec<Group> {
    let mut candidates: BTreeMap<Candidate<'_>, Vec<Party>> = BTreeMap::new();
    for (index, container) in reach.containers.iter().enumerate() {
        let (kind, name) = service_of(container);
        let networks = networks(inventory, container);
        let candidate = Candidate { namespace: container.namespace(), name, kind, networks };
        candidates.entry(candidate).or_default().push(Party::Container(index));
    }
    let mut split = Vec::new();
    for (candidate, members) in candidates {
        let parts = alike(reach, &members);
        let is_whole = parts.len() == 1;
        split.extend(parts.into_iter().map(|members| (candidate.clone(), members, is_whole)));
    }
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    for (candidate, ..) in &split {
        *uses.entry(candidate.name.clone()).or_default() += 1;
    }
    let mut groups: Vec<Group> = split
        .into_iter()
        .map(|(candidate, members, is_whole)| {
            let names = members.iter().map(|member| name(reach, *member));
            // A single one may get replicas one day, but today it is known by its own name.
            let own = candidate.kind == CandidateKind::Numbered && members.len() == 1;
            let ambiguous = uses[&candidate.name] > 1 || !is_whole || own;
            let name = if ambiguous { listed(names) } else { candidate.name };
            Group {
                name: if is_reserved(&name) { format!("container {name}") } else { name },
                kind: GroupKind::Containers,
                members,
                namespace: Some(candidate.namespace.to_owned()),
                networks: candidate.networks,
                nets: Vec::new(),
            }
        })
        .collect();
    groups.sort_by(|a, b| (&a.namespace, &a.name, &a.members).cmp(&(&b.namespace, &b.name, &b.members)));
    groups
}

fn name(reach: &Reach<'_>, member: Party) -> String {
    match member {
        Party::Container(index) => reach.containers[index].name.clone(),
        Party::Host | Party::Outside(_) => String::new(),
    }
}

/// The service to which a container belongs: what Compose says, else its name up to a number.
fn service(container: &Container) -> (CandidateKind, String) {
    let label = |key: &str| container.labels.get(key).filter(|value| !value.is_empty());
    if let Some(service) = label(SERVICE_LABEL) {
        let name = label(PROJECT_LABEL).map_or_else(|| service.to_string(), |project| format!("{project}-{service}"));
        return (CandidateKind::Compose, name);
    }
    let without_number = container.name.trim_end_matches(|c: char| c.is_ascii_digit());
    let stem = without_number.strip_suffix(['-', '_']).filter(|stem| !stem.is_empty());
    match stem.filter(|_| without_number.len() < container.name.len()) {
        Some(stem) => (CandidateKind::Numbered, stem.to_owned()),
        None => (CandidateKind::Single, container.name.clone()),
    }
}

/// The networks of a container on which policy can reach it.
fn networks(inventory: &Inventory, container: &Container) -> Vec<String> {
    let attached = container.attachments.iter().filter_map(|attachment| inventory.networks.get(&attachment.network));
    let names: BTreeSet<&str> =
        attached.filter(|network| network.bridge.is_some()).map(|network| network.name.as_str()).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Candidates in groups of the same answers.
fn alike(reach: &Reach<'_>, candidates: &[Party]) -> Vec<Vec<Party>> {
    let mut groups: Vec<Vec<Party>> = Vec::new();
    for candidate in candidates {
        let same = |group: &&mut Vec<Party>| answers_are_equal(reach, candidates, group[0], *candidate);
        match groups.iter_mut().find(same) {
            Some(group) => group.push(*candidate),
            None => groups.push(vec![*candidate]),
        }
    }
    groups
}

/// Whether two containers of one service have the same answers, apart from the ports of this host that lead to them.
fn answers_are_equal(reach: &Reach<'_>, candidates: &[Party], one: Party, other: Party) -> bool {
    if reach.class(one) == reach.class(other) {
        return true;
    }
    let same_direct = |one: &[Way], other: &[Way]| direct(one).eq(direct(other));
    let mut others = reach.parties().filter(|party| *party != one && *party != other);
    same_direct(reach.ways(one, other), reach.ways(other, one))
        && others.all(|party| {
            let (sent, sent_by_other) = (reach.ways(one, party), reach.ways(other, party));
            let sends_the_same =
                if candidates.contains(&party) { same_direct(sent, sent_by_other) } else { sent == sent_by_other };
            sends_the_same && same_direct(reach.ways(party, one), reach.ways(party, other))
        })
}

fn direct(ways: &[Way]) -> impl Iterator<Item = &Way> {
    ways.iter().filter(|way| way.via == Via::Direct)
}

/// Blocks with the same answers as one. What remains of each family, its largest group, is `outside` without more.
fn outside(reach: &Reach<'_>) -> Vec<Group> {
    let mut remainder = Vec::new();
    let mut named = Vec::new();
    for family in Family::ALL {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (index, _) in reach.outside.iter().enumerate().filter(|(_, block)| block.family() == family) {
            match groups.iter_mut().find(|group| blocks_are_equal(reach, group[0], index)) {
                Some(group) => group.push(index),
                None => groups.push(vec![index]),
            }
        }
        let largest = (0..groups.len()).max_by_key(|group| {
            let sizes = groups[*group].iter().map(|index| reach.outside[*index].size());
            sizes.fold(0, u128::saturating_add)
        });
        remainder.extend(largest.map(|largest| groups.remove(largest)).unwrap_or_default());
        named.extend(groups);
    }
    let group_of = |blocks: Vec<usize>, is_named: bool| {
        let nets = Block::joined(blocks.iter().map(|index| &reach.outside[*index]));
        let by_nets = is_named.then(|| listed(nets.iter().map(Cidr::to_string)));
        Group {
            name: by_nets.map_or_else(|| RESERVED[1].to_owned(), |nets| format!("outside {nets}")),
            kind: GroupKind::Outside,
            members: blocks.into_iter().map(Party::Outside).collect(),
            namespace: None,
            networks: Vec::new(),
            nets,
        }
    };
    let remainder = (!remainder.is_empty()).then(|| group_of(remainder, false));
    remainder.into_iter().chain(named.into_iter().map(|blocks| group_of(blocks, true))).collect()
}

/// Whether two blocks of one family have the same answers.
fn blocks_are_equal(reach: &Reach<'_>, one: usize, other: usize) -> bool {
    let (one, other) = (Party::Outside(one), Party::Outside(other));
    reach.class(one) == reach.class(other)
        || (0..reach.containers.len()).map(Party::Container).all(|container| {
            reach.ways(one, container) == reach.ways(other, container)
                && reach.ways(container, one) == reach.ways(container, other)
        })
}

/// `a, b, c and 4 more`.
fn listed(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    let shown = names[..names.len().min(LISTED)].join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
