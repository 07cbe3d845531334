//! What may be reached under one ruleset and not under another.
//!
//! Input: two [`Reach`]es, whose outside is divided alike. Output: [`Change`]s, each with all ports that it is about and
//! the rules that decided before and decide now. Every way of every pair is compared over the whole port space, so that
//! what is not told has not changed. What is the same for several is told once: see `merge`.

mod merge;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::compile::Compiled;
use crate::inventory::Container;
use crate::net::{Cidr, Family, PortSet};
use crate::ruleset::Action;
use crate::verdict::Decision;

use super::{Block, Party, Reach, Service, Via, Way};

/// One of the two that are compared.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Its answers.
    pub reach: &'a Reach<'a>,
    /// What they are answers about.
    pub compiled: &'a Compiled,
}

/// Whether more may be reached than before, or less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// What was denied is allowed.
    Widened,
    /// What was allowed is denied.
    Narrowed,
}

/// What became of the connection between two parties as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// There was no open way from the one to the other, and now there is.
    Added,
    /// There was an open way, and now there is none.
    Removed,
    /// There was one and there is one.
    Changed,
}

/// What changed for two parties.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    /// More or less than before.
    pub effect: Effect,
    /// What that makes of the connection.
    pub kind: Kind,
    /// How it goes.
    pub via: Via,
    /// The network by which it goes, where the other networks of both have not changed in the same way.
    pub network: Option<String>,
    /// The families; none where a party is outside, whose addresses say it.
    pub families: Vec<Family>,
    /// The services and their ports.
    pub traffic: BTreeMap<Service, PortSet>,
    /// What decided before.
    pub old: Reason,
    /// What decides now.
    pub new: Reason,
}

/// Why something is allowed or denied on one side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// There is no such way: a party, a network or a published port is in one of the two worlds only.
    NoWay,
    /// Policy rules, as keys into [`Compiled::origins`]: for what is allowed those of both sides, the sender's first. None
    /// where no policy governs, or where a rule of dockgate's own denies.
    Rules(Vec<String>),
}

/// A party, or several that are told as one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// A container, by its name.
    Container(String),
    /// All replicas of a service.
    Service {
        /// `PROJECT/SERVICE` of Compose, or what the names have in common.
        name: String,
        /// The containers' names.
        containers: Vec<String>,
    },
    /// This host.
    Host,
    /// Addresses outside.
    Outside {
        /// The addresses.
        nets: Vec<Cidr>,
        /// What of them is not meant.
        except: Vec<Cidr>,
    },
}

/// A fact and all whom it is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// What changed.
    pub fact: Fact,
    /// Who connects.
    pub from: Vec<Unit>,
    /// To each of whom, themselves excepted.
    pub to: Vec<Unit>,
}

/// What tells a party from others in both worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who<'a> {
    Container(&'a str),
    Host,
    Outside(&'a Block),
}

/// A party in the old world and in the new one.
struct Known<'a> {
    who: Who<'a>,
    old: Option<Party>,
    new: Option<Party>,
}

/// All that may be reached on one side only. The outside of both has to be divided by the boundaries of both.
pub fn compare(old: Side<'_>, new: Side<'_>) -> Vec<Change> {
    let parties = parties(old.reach, new.reach);
    let mut comparison = Comparison {
        old,
        new,
        denying: [denying(old.compiled), denying(new.compiled)],
        facts: BTreeMap::new(),
        answers: BTreeMap::new(),
    };
    let mut pairs: BTreeMap<usize, BTreeSet<(usize, usize)>> = BTreeMap::new();
    for (index, from) in parties.iter().enumerate() {
        for (other, to) in parties.iter().enumerate().filter(|(other, _)| *other != index) {
            for fact in comparison.pair(from, to) {
                pairs.entry(*fact).or_default().insert((index, other));
            }
        }
    }
    let containers: Vec<Option<&Container>> =
        parties.iter().map(|party| container(old.reach, new.reach, party)).collect();
    let whos: Vec<Who<'_>> = parties.iter().map(|party| party.who).collect();
    let grouping = merge::Grouping::of(&whos, &containers);
    let mut changes: Vec<Change> = Vec::new();
    for (fact, number) in comparison.facts {
        for (from, to) in grouping.merge(&pairs[&number]) {
            changes.push(Change { fact: fact.clone(), from, to });
        }
    }
    changes
}

/// The parties of both worlds: containers by name. Addresses that are outside in one world and a network's in the other are
/// left out: nobody outside has them in both.
fn parties<'a>(old: &'a Reach<'_>, new: &'a Reach<'_>) -> Vec<Known<'a>> {
    let mut found: BTreeMap<Who<'a>, (Option<Party>, Option<Party>)> = BTreeMap::new();
    for party in old.parties() {
        found.entry(who(old, party)).or_default().0 = Some(party);
    }
    for party in new.parties() {
        found.entry(who(new, party)).or_default().1 = Some(party);
    }
    let known = found.into_iter().map(|(who, (old, new))| Known { who, old, new });
    known.filter(|known| !matches!(known.who, Who::Outside(_)) || known.old.is_some() && known.new.is_some()).collect()
}

fn who<'a>(reach: &'a Reach<'_>, party: Party) -> Who<'a> {
    match party {
        Party::Container(index) => Who::Container(&reach.containers()[index].name),
        Party::Host => Who::Host,
        Party::Outside(index) => Who::Outside(&reach.outside()[index]),
    }
}

fn container<'a>(old: &'a Reach<'_>, new: &'a Reach<'_>, party: &Known<'_>) -> Option<&'a Container> {
    match (party.new, party.old) {
        (Some(Party::Container(index)), _) => Some(new.containers()[index]),
        (None, Some(Party::Container(index))) => Some(old.containers()[index]),
        _ => None,
    }
}

fn ways<'a>(reach: &'a Reach<'_>, from: Option<Party>, to: Option<Party>) -> &'a [Way] {
    match (from, to) {
        (Some(from), Some(to)) => reach.ways(from, to),
        _ => &[],
    }
}

/// The policy rules that deny, by their comments.
fn denying(compiled: &Compiled) -> BTreeSet<&str> {
    let rules = compiled.ruleset.chains.rules();
    let denying = rules.filter(|rule| matches!(rule.action, Action::Drop | Action::Reject));
    denying.map(|rule| &*rule.comment).filter(|comment| compiled.origins.contains_key(*comment)).collect()
}

/// The answers about two parties in both worlds, by their numbers, and whether one is outside: all that is compared.
type Question = ([Option<usize>; 2], bool);

struct Comparison<'a> {
    old: Side<'a>,
    new: Side<'a>,
    denying: [BTreeSet<&'a str>; 2],
    /// Numbers of facts.
    facts: BTreeMap<Fact, usize>,
    answers: BTreeMap<Question, Vec<usize>>,
}

/// A way that both sides can have.
type Place<'a> = (Service, Family, &'a Via, Option<&'a str>);

/// What changed by one way, without its place.
type Difference = (Effect, Reason, Reason);

impl Comparison<'_> {
    /// The numbers of the facts about two parties.
    fn pair(&mut self, from: &Known<'_>, to: &Known<'_>) -> &[usize] {
        let answer = |reach: &Reach<'_>, from: Option<Party>, to: Option<Party>| reach.answer(from?, to?);
        let outside = [from.who, to.who].iter().any(|who| matches!(who, Who::Outside(_)));
        let question = ([answer(self.old.reach, from.old, to.old), answer(self.new.reach, from.new, to.new)], outside);
        if !self.answers.contains_key(&question) {
            let before = ways(self.old.reach, from.old, to.old);
            let now = ways(self.new.reach, from.new, to.new);
            let numbers = self.compared(before, now, outside).into_iter().map(|fact| {
                let next = self.facts.len();
                *self.facts.entry(fact).or_insert(next)
            });
            let numbers = numbers.collect();
            self.answers.insert(question, numbers);
        }
        &self.answers[&question]
    }

    /// What differs between the ways of two parties.
    fn compared(&self, before: &[Way], now: &[Way], outside: bool) -> Vec<Fact> {
        if before == now {
            return Vec::new();
        }
        let is_open = |ways: &[Way]| ways.iter().any(|way| !way.open().is_empty());
        let kind = match (is_open(before), is_open(now)) {
            (false, _) => Kind::Added,
            (_, false) => Kind::Removed,
            (true, true) => Kind::Changed,
        };
        let mut places: BTreeMap<Place<'_>, [Vec<&Way>; 2]> = BTreeMap::new();
        for (side, ways) in [before, now].into_iter().enumerate() {
            for way in ways {
                places.entry((way.service, way.family, &way.via, way.network.as_deref())).or_default()[side].push(way);
            }
        }
        // Networks that have changed in the same way need no names.
        let mut by_network: BTreeMap<_, BTreeMap<Option<&str>, BTreeMap<Difference, PortSet>>> = BTreeMap::new();
        for ((service, family, via, network), [before, now]) in &places {
            let differences = self.differences(before, now);
            by_network.entry((*service, *family, *via)).or_default().insert(*network, differences);
        }
        let mut by_family: BTreeMap<_, Vec<Family>> = BTreeMap::new();
        for ((service, family, via), networks) in by_network {
            let alike = networks.values().all(|differences| Some(differences) == networks.values().next());
            let told = networks.into_iter().take(if alike { 1 } else { usize::MAX });
            for (network, differences) in told {
                let network = network.filter(|_| !alike);
                for ((effect, old, new), ports) in differences {
                    by_family.entry((effect, via, network, old, new, service, ports)).or_default().push(family);
                }
            }
        }
        let mut by_reason: BTreeMap<_, BTreeMap<Service, PortSet>> = BTreeMap::new();
        for ((effect, via, network, old, new, service, ports), families) in by_family {
            let families = if outside { Vec::new() } else { families };
            by_reason.entry((effect, via, network, families, old, new)).or_default().insert(service, ports);
        }
        let fact = |((effect, via, network, families, old, new), traffic): ((_, &Via, Option<&str>, _, _, _), _)| {
            Fact { effect, kind, via: via.clone(), network: network.map(str::to_owned), families, traffic, old, new }
        };
        by_reason.into_iter().map(fact).collect()
    }

    /// The ports whose verdict differs, by effect and reasons.
    fn differences(&self, before: &[&Way], now: &[&Way]) -> BTreeMap<Difference, PortSet> {
        let open = |ways: &[&Way]| ways.iter().fold(PortSet::empty(), |open, way| open.union(&way.open()));
        let (was, is) = (open(before), open(now));
        let mut found: BTreeMap<Difference, PortSet> = BTreeMap::new();
        for (effect, ports) in [(Effect::Widened, is.difference(&was)), (Effect::Narrowed, was.difference(&is))] {
            let decisions = match effect {
                Effect::Widened => [Decision::Deny, Decision::Allow],
                Effect::Narrowed => [Decision::Allow, Decision::Deny],
            };
            for (old, of_old) in self.reasons(0, before, decisions[0], &ports) {
                for (new, of_both) in self.reasons(1, now, decisions[1], &of_old) {
                    let so_far = found.entry((effect, old.clone(), new)).or_default();
                    *so_far = so_far.union(&of_both);
                }
            }
        }
        found
    }

    /// Divides ports by what decides about them on a side.
    fn reasons(&self, side: usize, ways: &[&Way], decision: Decision, ports: &PortSet) -> Vec<(Reason, PortSet)> {
        let mut rest = ports.clone();
        let mut found = Vec::new();
        for part in ways.iter().flat_map(|way| &way.parts).filter(|part| part.decision == decision) {
            let common = rest.intersection(&part.ports);
            if common.is_empty() {
                continue;
            }
            rest = rest.difference(&common);
            // What let the packet go on to the rule that denies it is not why.
            let is_why =
                |comment: &&String| decision == Decision::Allow || self.denying[side].contains(comment.as_str());
            found.push((Reason::Rules(part.rules.iter().filter(is_why).cloned().collect()), common));
        }
        if !rest.is_empty() {
            found.push((Reason::NoWay, rest));
        }
        found
    }
}
