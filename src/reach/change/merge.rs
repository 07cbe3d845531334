//! Many pairs of parties about whom the same is to be said, as few lines.
//!
//! Input: the pairs of one fact. Output: rows of those who connect and those whom each of them connects to, which
//! together are exactly the pairs. Replicas are one where all of them are meant, blocks outside are one list of nets, and
//! senders with the same destinations are one row.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::inventory::Container;
use crate::net::{Cidr, Family};

use super::{Block, Unit, Who};

const PROJECT_LABEL: &str = "com.docker.compose.project";
const SERVICE_LABEL: &str = "com.docker.compose.service";

/// Who is a replica of whom.
pub(super) struct Grouping<'a> {
    whos: &'a [Who<'a>],
    /// The group of each party; blocks have none.
    group_of: Vec<Option<usize>>,
    groups: Vec<Group>,
}

struct Group {
    name: String,
    members: Vec<usize>,
}

/// Parties on one side of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// A whole group.
    Group(usize),
    /// One member of a larger group.
    One(usize),
    Blocks(BTreeSet<usize>),
}

impl<'a> Grouping<'a> {
    pub(super) fn of(whos: &'a [Who<'a>], containers: &[Option<&Container>]) -> Grouping<'a> {
        let mut numbers: BTreeMap<(bool, String), usize> = BTreeMap::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut group_of = Vec::new();
        for (index, (who, container)) in whos.iter().zip(containers).enumerate() {
            let (is_host, name) = match who {
                Who::Outside(_) => {
                    group_of.push(None);
                    continue;
                }
                Who::Host => (true, String::new()),
                Who::Container(name) => (false, container.map_or_else(|| (*name).to_owned(), service)),
            };
            let number = *numbers.entry((is_host, name.clone())).or_insert(groups.len());
            if number == groups.len() {
                groups.push(Group { name, members: Vec::new() });
            }
            groups[number].members.push(index);
            group_of.push(Some(number));
        }
        Grouping { whos, group_of, groups }
    }

    /// The rows of some pairs.
    pub(super) fn merge(&self, pairs: &BTreeSet<(usize, usize)>) -> Vec<(Vec<Unit>, Vec<Unit>)> {
        let parts = self.parts(pairs);
        let mut to_by_from: BTreeMap<Part, BTreeSet<Part>> = BTreeMap::new();
        for (from, to) in parts {
            to_by_from.entry(from).or_default().insert(to);
        }
        // Whoever is one of many that may all reach each other does not reach himself, which goes without saying.
        let with_itself = |from: &Part, to: &BTreeSet<Part>| {
            let mut to = to.clone();
            if self.is_single(from) {
                to.insert(from.clone());
            }
            to
        };
        let mut shared: BTreeMap<BTreeSet<Part>, usize> = BTreeMap::new();
        for (from, to) in &to_by_from {
            *shared.entry(with_itself(from, to)).or_default() += 1;
        }
        let mut rows: BTreeMap<BTreeSet<Part>, Vec<Part>> = BTreeMap::new();
        for (from, to) in to_by_from {
            let extended = with_itself(&from, &to);
            let key = if shared[&extended] > 1 { extended } else { to };
            rows.entry(key).or_default().push(from);
        }
        let mut rows: Vec<(Vec<Unit>, Vec<Unit>)> = rows
            .into_iter()
            .map(|(to, from)| {
                let units = |parts: &mut dyn Iterator<Item = &Part>| {
                    let mut units: Vec<Unit> = parts.map(|part| self.unit(part)).collect();
                    units.sort();
                    units
                };
                (units(&mut from.iter()), units(&mut to.iter()))
            })
            .collect();
        rows.sort();
        rows
    }

    fn is_single(&self, part: &Part) -> bool {
        match part {
            Part::Group(number) => self.groups[*number].members.len() == 1,
            Part::One(_) => true,
            Part::Blocks(_) => false,
        }
    }

    /// The pairs, with groups for parties where all members have the same.
    fn parts(&self, pairs: &BTreeSet<(usize, usize)>) -> BTreeSet<(Part, Part)> {
        let mut parts = BTreeSet::new();
        let mut between: BTreeMap<(usize, usize), BTreeSet<(usize, usize)>> = BTreeMap::new();
        // Blocks by the party at the other end; whether they are the senders.
        let mut outside: BTreeMap<(usize, bool), BTreeSet<usize>> = BTreeMap::new();
        for (from, to) in pairs {
            match (self.group_of[*from], self.group_of[*to]) {
                (Some(group), Some(other)) => {
                    between.entry((group, other)).or_default().insert((*from, *to));
                }
                (None, Some(_)) => {
                    outside.entry((*to, true)).or_default().insert(*from);
                }
                (Some(_), None) => {
                    outside.entry((*from, false)).or_default().insert(*to);
                }
                (None, None) => {}
            }
        }
        for ((group, other), found) in between {
            let (from, to) = (&self.groups[group].members, &self.groups[other].members);
            let all_of = |from: &usize| to.iter().all(|to| to == from || found.contains(&(*from, *to)));
            if from.iter().all(all_of) {
                parts.insert((Part::Group(group), Part::Group(other)));
                continue;
            }
            for (from, to) in &found {
                // Of its own group a member reaches the others, which are not the whole.
                if group != other && all_of(from) {
                    parts.insert((self.one(*from), Part::Group(other)));
                } else {
                    parts.insert((self.one(*from), self.one(*to)));
                }
            }
        }
        for ((party, inward), blocks) in &outside {
            let Some(group) = self.group_of[*party] else { continue };
            let of_all = |member: &usize| outside.get(&(*member, *inward)) == Some(blocks);
            let inner =
                if self.groups[group].members.iter().all(of_all) { Part::Group(group) } else { self.one(*party) };
            let outer = Part::Blocks(blocks.clone());
            parts.insert(if *inward { (outer, inner) } else { (inner, outer) });
        }
        parts
    }

    fn one(&self, party: usize) -> Part {
        match self.group_of[party] {
            Some(group) if self.groups[group].members.len() == 1 => Part::Group(group),
            _ => Part::One(party),
        }
    }

    fn unit(&self, part: &Part) -> Unit {
        match part {
            Part::One(party) => self.party(*party),
            Part::Group(number) => match self.groups[*number].members.as_slice() {
                [one] => self.party(*one),
                members => Unit::Service {
                    name: self.groups[*number].name.clone(),
                    containers: members.iter().filter_map(|member| self.name(*member)).collect(),
                },
            },
            Part::Blocks(blocks) => {
                let (mut nets, mut except) = (Vec::new(), Vec::new());
                for family in Family::ALL {
                    let (of_family, without) = self.nets(family, blocks);
                    nets.extend(of_family);
                    except.extend(without);
                }
                Unit::Outside { nets, except }
            }
        }
    }

    fn party(&self, party: usize) -> Unit {
        self.name(party).map_or(Unit::Host, Unit::Container)
    }

    fn name(&self, party: usize) -> Option<String> {
        match self.whos[party] {
            Who::Container(name) => Some(name.to_owned()),
            _ => None,
        }
    }

    /// Blocks of a family as nets and exceptions, whichever are fewer: those, or all but the others.
    fn nets(&self, family: Family, blocks: &BTreeSet<usize>) -> (Vec<Cidr>, Vec<Cidr>) {
        let all: Vec<(&Block, bool)> = self
            .whos
            .iter()
            .enumerate()
            .filter_map(|(index, who)| match who {
                Who::Outside(block) if block.family() == family => Some((*block, blocks.contains(&index))),
                _ => None,
            })
            .collect();
        let (nets, others) = (covering(family, &all, true), covering(family, &all, false));
        if nets.len() > others.len() + 1 { (vec![Cidr::everything(family)], others) } else { (nets, Vec::new()) }
    }
}

/// The nets of the blocks that are, or are not, meant. Addresses between two of them that nobody outside has do not divide
/// them.
fn covering(family: Family, blocks: &[(&Block, bool)], meant: bool) -> Vec<Cidr> {
    let everything = Cidr::everything(family);
    let mut runs: Vec<(IpAddr, IpAddr)> = Vec::new();
    let mut before = true;
    for (index, (block, is_meant)) in blocks.iter().enumerate() {
        if *is_meant == meant {
            let first = if index == 0 { everything.network() } else { block.first };
            let last = if index + 1 == blocks.len() { everything.last() } else { block.last };
            match runs.last_mut().filter(|_| before) {
                Some(run) => run.1 = last,
                None => runs.push((first, last)),
            }
        }
        before = *is_meant == meant;
    }
    runs.into_iter().flat_map(|(first, last)| Cidr::covering(first, last)).collect()
}

/// The service that a container is a replica of: that of Compose, or its name up to the number at its end.
fn service(container: &Container) -> String {
    let label = |key| container.labels.get(key).filter(|value| !value.is_empty());
    if let (Some(project), Some(service)) = (label(PROJECT_LABEL), label(SERVICE_LABEL)) {
        return format!("{project}/{service}");
    }
    let stem = container.name.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_numbered = stem.len() < container.name.len() && stem.ends_with(['-', '_']) && stem.len() > 1;
    if is_numbered { format!("{stem}*") } else { container.name.clone() }
}
