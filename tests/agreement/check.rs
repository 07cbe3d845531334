//! One world: every command is asked, and held against the truth and the others.
//!
//! Input: a world. Output: how much was compared, or the first thing that is not as it should be.

mod cases;
mod explanations;

use std::collections::{BTreeMap, BTreeSet};

use dockgate::compile::{Options, compile};
use dockgate::net::{Family, PortSet};
use dockgate::policy::{Loaded, Severity, SourceFile, load};
use dockgate::reach::{Service, Via};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{RngExt, SeedableRng};

use crate::commands::Desk;
use crate::differences::{Change, Effect, as_texts, changes, mirrored};
use crate::matrix::{Key, Matrix, is_of};
use crate::truth::{Party, Place, Question, Truth, Way, by_place};
use crate::world::World;

/// Pairs of which ports are drawn; of the others the commands are only held against each other.
const PAIRS: usize = 8;
/// Ports of each service that are drawn from those at which an answer may change.
const PORTS: usize = 6;
/// Addresses outside: in blocks that generated rules name, and in none.
const OUTSIDE: [&str; 7] =
    ["203.0.113.9", "203.0.113.200", "198.51.100.7", "10.97.0.1", "2001:db8:1::9", "2001:db8:ffff::9", "2600::9"];
/// Ports at which generated rules begin and end, and their neighbours.
const EDGES: [u16; 14] = [1, 49, 50, 53, 54, 60, 61, 79, 80, 81, 82, 100, 2000, 65535];

/// How much was compared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    worlds: usize,
    /// Ports of pairs at which `verdict` was asked.
    questions: usize,
    open: usize,
    closed: usize,
    /// Pairs of which both answers of `connectivity` and the report of `diff` were compared, on every port.
    pairs: usize,
    widened: usize,
    narrowed: usize,
    explained: usize,
    /// Of those, connections that policy allows and Docker's own rules close.
    closed_by_docker: usize,
    /// Cases that had to pass, and those that had not.
    passing: usize,
    failing: usize,
    /// Cases that named the rule that had to decide.
    by: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        let Tally { worlds, questions, open, closed, pairs, widened, narrowed, .. } = other;
        let Tally { explained, closed_by_docker, passing, failing, by, .. } = other;
        self.worlds += worlds;
        self.questions += questions;
        self.open += open;
        self.closed += closed;
        self.pairs += pairs;
        self.widened += widened;
        self.narrowed += narrowed;
        self.explained += explained;
        self.closed_by_docker += closed_by_docker;
        self.passing += passing;
        self.failing += failing;
        self.by += by;
    }
}

impl Tally {
    /// What there has to be of each in a hundred worlds, or they do not try enough.
    pub(crate) fn least(&self) -> [(&'static str, usize, usize); 9] {
        [
            ("valid worlds", self.worlds, 95),
            ("open", self.open, 3000),
            ("closed", self.closed, 3000),
            ("widened", self.widened, 100),
            ("narrowed", self.narrowed, 50),
            ("explained", self.explained, 150),
            ("passing cases", self.passing, 500),
            ("failing cases", self.failing, 100),
            ("cases with `by`", self.by, 50),
        ]
    }
}

fn loaded(world: &World, side: usize) -> Option<Loaded> {
    let loaded = load(&[SourceFile::new("policies.yaml", world.text(side))]);
    let is_valid = loaded.diagnostics.iter().all(|found| found.severity != Severity::Error);
    is_valid.then_some(loaded)
}

/// Compares everything in one world. Nothing in one whose policies are not valid, as a smaller one may be.
pub(crate) fn check(world: &World, desk: &Desk) -> Result<Tally, String> {
    let (Some(old), Some(new)) = (loaded(world, 0), loaded(world, 1)) else { return Ok(Tally::default()) };
    let compiled = [&old, &new].map(|side| compile(&side.policies, &world.inventory, &Options::default()));
    let truths = compiled.each_ref().map(|compiled| Truth::new(&world.inventory, compiled));
    desk.put(world);
    let random = &mut StdRng::seed_from_u64(world.seed);
    let by = if random.random() { "service" } else { "container" };
    let mut matrices = Vec::new();
    for side in 0..2 {
        let answer = desk.connectivity(side, by).filter(|answer| answer.is_yes).ok_or("connectivity: no answer")?;
        matrices.push(Matrix::read(&answer.json));
    }
    let mut comparison = Comparison {
        truths: &truths,
        matrices: &matrices,
        changes: report(world, desk)?,
        tally: Tally { worlds: 1, ..Tally::default() },
    };
    let parties = comparison.parties();
    for from in &parties {
        for to in parties.iter().filter(|to| *to != from) {
            comparison.pair(from, to)?;
        }
    }
    let mut questions = Vec::new();
    for _ in 0..PAIRS {
        let (from, to) = (parties.choose(random).expect("the host"), parties.choose(random).expect("the host"));
        if from != to {
            questions.extend(comparison.questions(from, to, random)?);
        }
    }
    for question in &questions {
        comparison.question(question)?;
    }
    let mut tally = comparison.tally;
    explanations::check(&truths[0], &questions, desk, random, &mut tally)?;
    let rules: BTreeSet<_> = compiled[0].origins.values().map(|origin| crate::truth::name_of(origin)).collect();
    cases::check(&truths[0], &questions, &rules, desk, random, &mut tally)?;
    Ok(tally)
}

/// The changes, after a look at what is nothing, and in every second world at the mirror: each answer takes long.
fn report(world: &World, desk: &Desk) -> Result<Vec<Change>, String> {
    let diff = |old, new| desk.diff(old, new).ok_or("diff: no answer");
    let forth = diff(0, 1)?;
    let found = changes(&forth.json);
    if forth.is_yes != found.is_empty() {
        return Err("diff: the exit code does not say whether there are changes".to_owned());
    }
    if (world.seed / 4).is_multiple_of(2) {
        let back = diff(1, 0)?;
        if mirrored(&forth.json) != as_texts(&back.json) || back.is_yes != found.is_empty() {
            return Err(format!(
                "diff: not the same backwards:\n{:#}\n{:#}",
                forth.json["changes"], back.json["changes"]
            ));
        }
    }
    if world.is_rewritten && !found.is_empty() {
        return Err(format!("diff: nothing was changed but the order:\n{:#}", forth.json["changes"]));
    }
    if world.seed.is_multiple_of(8) {
        let none = diff(0, 0)?;
        if !none.is_yes || !changes(&none.json).is_empty() {
            return Err(format!("diff: a set of policies differs from itself:\n{:#}", none.json["changes"]));
        }
    }
    Ok(found)
}

struct Comparison<'c, 'a> {
    truths: &'c [Truth<'a>; 2],
    matrices: &'c [Matrix],
    changes: Vec<Change>,
    tally: Tally,
}

impl Comparison<'_, '_> {
    fn parties(&self) -> Vec<Party> {
        let containers = self.truths[0].containers().into_iter().map(Party::Container);
        let outside = OUTSIDE.iter().map(|address| Party::Outside(address.parse().expect("an address")));
        containers.chain([Party::Host]).chain(outside).collect()
    }

    /// Holds `diff` against what `connectivity` says before and after, for all ports of two parties.
    fn pair(&mut self, from: &Party, to: &Party) -> Result<(), String> {
        let host_ports = self.truths[0].host_ports(to);
        let [old, new] = [0, 1].map(|side: usize| self.matrices[side].open(from, to, &host_ports));
        let (old, new) = (old?, new?);
        let of_pair: Vec<&Change> = self.changes.iter().filter(|change| change.is_of(from, to)).collect();
        let kind = match (old.is_empty(), new.is_empty()) {
            (true, _) => "added",
            (_, true) => "removed",
            (false, false) => "changed",
        };
        if let Some(wrong) = of_pair.iter().find(|change| change.connection != kind) {
            return Err(format!("diff: {from} -> {to} is {kind} and not {}", wrong.connection));
        }
        // What changes on one of several networks need not change whether there is a way.
        let mut told: BTreeMap<(Key, Effect), [PortSet; 2]> = BTreeMap::new();
        for change in &of_pair {
            for (service, ports) in &change.traffic {
                for family in Family::ALL {
                    if change.has_family(family) && is_of(family, from, to) {
                        let key = ((change.via.clone(), family, *service), change.effect);
                        let of_key = &mut told.entry(key).or_default()[usize::from(change.network.is_some())];
                        *of_key = of_key.union(ports);
                    }
                }
            }
        }
        let mut keys: BTreeSet<Key> = old.keys().chain(new.keys()).cloned().collect();
        keys.extend(told.keys().map(|(key, _)| key.clone()));
        for key in keys {
            let open = |side: &BTreeMap<Key, PortSet>| side.get(&key).cloned().unwrap_or_default();
            let (old, new) = (open(&old), open(&new));
            for (effect, differing) in
                [(Effect::Widened, new.difference(&old)), (Effect::Narrowed, old.difference(&new))]
            {
                let [everywhere, somewhere] = told.remove(&(key.clone(), effect)).unwrap_or_default();
                let (least, most) = (&everywhere, everywhere.union(&somewhere));
                if !least.difference(&differing).is_empty() || !differing.difference(&most).is_empty() {
                    return Err(format!(
                        "diff: {from} -> {to}, {key:?}: `connectivity` has {old} before and {new} after; {effect:?} is \
                         told of {most}"
                    ));
                }
            }
        }
        self.tally.pairs += 1;
        Ok(())
    }

    /// Questions about two parties, at ports where an answer may change.
    fn questions(&self, from: &Party, to: &Party, random: &mut StdRng) -> Result<Vec<Question>, String> {
        let host_ports = self.truths[0].host_ports(to);
        let mut edges: BTreeMap<Service, BTreeSet<u16>> = BTreeMap::new();
        for matrix in self.matrices {
            for row in matrix.rows(from, to, &host_ports)? {
                let ports = row.ports.ranges().iter().flat_map(|range| {
                    [
                        range.first(),
                        range.last(),
                        range.first().saturating_sub(1).max(1),
                        range.last().saturating_add(1),
                    ]
                });
                edges.entry(row.service).or_default().extend(ports);
            }
        }
        let mut questions = Vec::new();
        let mut ask = |service, port, family| {
            questions.push(Question { from: from.clone(), to: to.clone(), service, port, family });
        };
        for service in Service::ALL {
            if service == Service::Ping {
                ask(service, 1, None);
                continue;
            }
            let mut ports: BTreeSet<u16> = edges.remove(&service).unwrap_or_default();
            // Ports of this host lead to containers.
            ports.extend(EDGES.iter().copied().chain(8080..8084));
            for port in ports.into_iter().sample(random, PORTS).into_iter().chain([random.random_range(1..=u16::MAX)]) {
                ask(service, port, None);
            }
        }
        Ok(questions)
    }

    /// Holds `connectivity` and `diff` against the truth at one port.
    fn question(&mut self, question: &Question) -> Result<(), String> {
        let ways = self.truths.each_ref().map(|truth| truth.ways(question));
        for (side, ways) in ways.iter().enumerate() {
            self.row(question, ways, side)?;
        }
        self.change(question, &ways.each_ref().map(|ways| by_place(ways)))?;
        self.tally.questions += 1;
        Ok(())
    }

    fn row(&mut self, question: &Question, ways: &[Way<'_>], side: usize) -> Result<(), String> {
        let Question { from, to, service, port, .. } = question;
        let host_ports = self.truths[0].host_ports(to);
        let mut expected: BTreeMap<_, Vec<&Way<'_>>> = BTreeMap::new();
        for ((via, family, _), ways) in by_place(ways) {
            expected.entry((via, family)).or_default().extend(ways);
        }
        let mut told = BTreeMap::new();
        for row in self.matrices[side].rows(from, to, &host_ports)? {
            if row.service != *service || !row.ports.contains(*port) {
                continue;
            }
            for family in row.families.iter().filter(|family| is_of(**family, from, to)) {
                told.entry((row.via.clone(), *family)).or_insert_with(Vec::new).push(row);
            }
        }
        let is_open =
            |(key, ways): (&(Via, Family), &Vec<&Way<'_>>)| (key.clone(), ways.iter().any(|way| way.is_open()));
        let expected_answers: BTreeMap<_, bool> = expected.iter().map(is_open).collect();
        let told_answers: BTreeMap<_, bool> =
            told.iter().map(|(key, rows)| (key.clone(), rows.iter().any(|row| row.is_allowed))).collect();
        let is_both = told.values().any(|rows| rows.iter().any(|row| row.is_allowed != rows[0].is_allowed));
        if told_answers != expected_answers || is_both {
            return Err(format!(
                "connectivity (side {side}): {from} -> {to}, {service} {port}: told {told_answers:?}, true is \
                 {expected_answers:?}"
            ));
        }
        for (key, rows) in &told {
            if let ([row], [way]) = (rows.as_slice(), expected[key].as_slice())
                && row.rules != way.asked
            {
                return Err(format!(
                    "connectivity (side {side}): {from} -> {to}, {service} {port}: by {:?} and not {:?}",
                    row.rules, way.asked
                ));
            }
        }
        let open = expected_answers.values().filter(|is_open| **is_open).count();
        self.tally.open += open;
        self.tally.closed += expected_answers.len() - open;
        Ok(())
    }

    fn change(&mut self, question: &Question, places: &[BTreeMap<Place, Vec<&Way<'_>>>; 2]) -> Result<(), String> {
        let Question { from, to, service, port, .. } = question;
        let is_open = |side: usize, place: &Place| {
            places[side].get(place).is_some_and(|ways| ways.iter().any(|way| way.is_open()))
        };
        let about: Vec<&Change> =
            self.changes.iter().filter(|change| change.is_of(from, to) && change.has_port(*service, *port)).collect();
        let all: BTreeSet<&Place> = places.iter().flat_map(BTreeMap::keys).collect();
        for place in all {
            let expected = match (is_open(0, place), is_open(1, place)) {
                (false, true) => Some(Effect::Widened),
                (true, false) => Some(Effect::Narrowed),
                _ => None,
            };
            let told: Vec<&&Change> = about.iter().filter(|change| change.has_place(place)).collect();
            let effects: BTreeSet<Effect> = told.iter().map(|change| change.effect).collect();
            if effects != expected.into_iter().collect() {
                return Err(format!(
                    "diff: {from} -> {to}, {service} {port}, {place:?}: told {effects:?}, true is {expected:?}"
                ));
            }
            let ways = [0, 1].map(|side: usize| places[side].get(place).map_or(&[][..], Vec::as_slice));
            if let ([change], [[old], [new]]) = (told.as_slice(), ways)
                && (change.rules[0] != old.deciders || change.rules[1] != new.deciders)
            {
                return Err(format!(
                    "diff: {from} -> {to}, {service} {port}, {place:?}: told {:?}, true is {:?} => {:?}",
                    change.rules, old.deciders, new.deciders
                ));
            }
            self.tally.widened += usize::from(expected == Some(Effect::Widened));
            self.tally.narrowed += usize::from(expected == Some(Effect::Narrowed));
        }
        Ok(())
    }
}
