//! The rows of a table whose groups are networks.
//!
//! Input: a [`Reach`] and two groups. Output: what may pass between all containers of both, what between some of them, and
//! what between none. A container takes part in a network with its endpoint there: what it sends by another of its networks
//! is told of that one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Classes, Group, GroupKind, Pairs, Row};
use crate::net::{Family, PortSet};
use crate::reach::{Party, Reach, Service, Via, Way};
use crate::verdict::Decision;

/// Two groups with their indices and classes.
pub(super) struct Two<'t> {
    pub(super) from: (usize, &'t Group, &'t Classes),
    pub(super) to: (usize, &'t Group, &'t Classes),
}

/// A service, how it goes, and in which family.
type Place<'a> = (Service, &'a Via, Family);

/// Everything of a row but its ends and families.
type Content<'a> = (Service, &'a Via, Decision, Pairs, PortSet, Vec<String>);

/// The rows of two groups, sorted.
pub(super) fn between(reach: &Reach<'_>, two: &Two<'_>) -> Vec<Row> {
    // One pair stands for all with the same answer: it is asked whether all are open, or any, and not how many.
    let mut answers: BTreeSet<(Option<Family>, usize)> = BTreeSet::new();
    for sender in two.from.2.values().filter_map(|of_class| of_class.first()) {
        for receivers in two.to.2.values() {
            let Some(other) = receivers.iter().find(|receiver| *receiver != sender) else { continue };
            let only = family(reach, *sender).or(family(reach, *other));
            answers.extend(reach.answer(*sender, *other).map(|answer| (only, answer)));
        }
    }
    let ways_of = |answer: usize| reach.answers[answer].iter().filter(|way| two.has(way)).collect();
    let pairs: Vec<(Option<Family>, Vec<&Way>)> =
        answers.into_iter().map(|(only, answer)| (only, ways_of(answer))).collect();
    let mut ways: BTreeMap<Place<'_>, Vec<&Way>> = BTreeMap::new();
    for way in pairs.iter().flat_map(|(_, ways)| ways) {
        ways.entry((way.service, &way.via, way.family)).or_default().push(way);
    }
    let mut merged: BTreeMap<Content<'_>, BTreeSet<Family>> = BTreeMap::new();
    for (place, ways) in &ways {
        let (service, via, family) = *place;
        let of_family = pairs.iter().filter(|(only, _)| only.is_none_or(|only| only == family));
        // To a pair without such a way it is closed.
        let of_each = of_family.map(|(_, pair)| open(pair.iter().filter(|way| place_of(way) == *place)));
        let to_all = of_each.reduce(|all, open| all.intersection(&open)).unwrap_or_default();
        let to_any = open(ways.iter());
        let asked = ways.iter().flat_map(|way| &way.parts).fold(PortSet::empty(), |all, part| all.union(&part.ports));
        for (decision, scope, ports) in [
            (Decision::Allow, Pairs::Some, to_any.difference(&to_all)),
            (Decision::Deny, Pairs::All, asked.difference(&to_any)),
            (Decision::Allow, Pairs::All, to_all),
        ] {
            if !ports.is_empty() {
                let rules = rules(ways, decision, &ports);
                merged.entry((service, via, decision, scope, ports, rules)).or_default().insert(family);
            }
        }
    }
    let row = |((service, via, decision, pairs, ports, rules), families): (Content<'_>, BTreeSet<Family>)| Row {
        from: two.from.0,
        to: two.to.0,
        service,
        via: via.clone(),
        decision,
        pairs,
        ports,
        families,
        rules,
    };
    let mut rows: Vec<Row> = merged.into_iter().map(row).collect();
    rows.sort();
    rows
}

/// The only family of a party, if it has but one.
fn family(reach: &Reach<'_>, party: Party) -> Option<Family> {
    match party {
        Party::Outside(index) => Some(reach.outside[index].family()),
        Party::Container(_) | Party::Host => None,
    }
}

fn place_of(way: &Way) -> Place<'_> {
    (way.service, &way.via, way.family)
}

/// The ports that are open by any of some ways.
fn open<'a>(ways: impl Iterator<Item = &'a &'a Way>) -> PortSet {
    ways.fold(PortSet::empty(), |open, way| open.union(&way.open()))
}

/// The rules that decide so about any of some ports.
fn rules(ways: &[&Way], decision: Decision, ports: &PortSet) -> Vec<String> {
    let such = ways.iter().flat_map(|way| &way.parts).filter(|part| part.decision == decision);
    let deciding = such.filter(|part| !part.ports.intersection(ports).is_empty()).flat_map(|part| &part.rules);
    deciding.collect::<BTreeSet<_>>().into_iter().cloned().collect()
}

impl Two<'_> {
    /// Whether a way between a container of the one and one of the other is a way between the two groups.
    fn has(&self, way: &Way) -> bool {
        let (from, to) = (self.from.1, self.to.1);
        let goes_by = |group: &Group| way.network.as_ref() == group.networks.first();
        match (from.kind, to.kind) {
            // What goes by the receiver's own address stays on the network.
            (GroupKind::Network, GroupKind::Network) => {
                goes_by(from) && (way.via != Via::Direct || self.from.0 == self.to.0)
            }
            (GroupKind::Network, _) => goes_by(from),
            // To a port that `docker-proxy` holds for a container, whichever its networks.
            (_, GroupKind::Network) => way.network.is_none() || goes_by(to),
            _ => true,
        }
    }
}
