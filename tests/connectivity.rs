//! The rows of `connectivity` are the answers of `reach`, for every container and every port.
//!
//! Worlds are those of `tests/reach.rs`, which holds `reach` against `verdict`. What a row says of a service must be true of
//! each of its containers, and of two parties nothing may be left out. `DOCKGATE_REACH_WORLDS` (default 1000) and
//! `DOCKGATE_REACH_SEED` (default 0) choose the worlds.

#![expect(clippy::print_stdout, reason = "how much was compared belongs to the output of the test")]

#[path = "support/policies.rs"]
mod policies;
#[path = "support/worlds.rs"]
mod worlds;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;

use dockgate::compile::{Options, compile};
use dockgate::net::{Family, PortSet};
use dockgate::policy::{SourceFile, load};
use dockgate::reach::table::{By, Table};
use dockgate::reach::{Party, Reach, Service, Via};
use dockgate::verdict::Decision;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Ports by how they are reached and what becomes of it.
type Answers = BTreeMap<(Via, Family, Service), (PortSet, PortSet)>;

fn add(answers: &mut Answers, key: (Via, Family, Service), decision: Decision, ports: &PortSet) {
    let (open, closed) = answers.entry(key).or_default();
    let side = if decision == Decision::Allow { open } else { closed };
    *side = side.union(ports);
}

/// What `reach` says of two parties; what one of several networks lets pass is open.
fn answered(reach: &Reach<'_>, from: Party, to: Party) -> Answers {
    let mut answers = Answers::new();
    for way in reach.ways(from, to) {
        for part in &way.parts {
            add(&mut answers, (way.via.clone(), way.family, way.service), part.decision, &part.ports);
        }
    }
    for (open, closed) in answers.values_mut() {
        *closed = closed.difference(open);
    }
    answers
}

/// What the rows say of two groups.
fn told(table: &Table) -> BTreeMap<(usize, usize), Answers> {
    let mut told: BTreeMap<_, Answers> = BTreeMap::new();
    for row in &table.rows {
        for family in &row.families {
            let answers = told.entry((row.from, row.to)).or_default();
            add(answers, (row.via.clone(), *family, row.service), row.decision, &row.ports);
        }
    }
    told
}

fn own(answers: &Answers, family: Option<Family>) -> Answers {
    let of_family = |of: &Family| family.is_none_or(|family| *of == family);
    let own = answers.iter().filter(|((via, of, _), _)| *via == Via::Direct && of_family(of));
    own.map(|(key, ports)| (key.clone(), ports.clone())).collect()
}

/// Compares the table of one world; gives the number of pairs, and of groups with more than one member.
fn compare(seed: u64) -> (usize, usize) {
    let text = policies::policies(seed);
    let loaded = load(&[SourceFile::new("policies.yaml", text.as_str())]);
    let world = worlds::inventory(seed);
    let compiled = compile(&loaded.policies, &world, &Options::default());
    let reach = Reach::new(&world, &compiled, &BTreeSet::new());
    let (mut pairs, mut joined) = (0, 0);
    for by in [By::Container, By::Service] {
        let table = Table::new(&reach, &world, by);
        let told = told(&table);
        let members: Vec<Party> = table.groups.iter().flat_map(|group| group.members.clone()).collect();
        assert_eq!(
            members.iter().collect::<BTreeSet<_>>().len(),
            members.len(),
            "seed {seed}: somebody is there twice"
        );
        assert_eq!(members.len(), reach.parties().count(), "seed {seed}: somebody is missing");
        let names: BTreeSet<&str> = table.groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names.len(), table.groups.len(), "seed {seed}: a name stands for two");
        for (from, senders) in table.groups.iter().enumerate() {
            joined += usize::from(senders.members.len() > 1 && by == By::Service);
            for (to, receivers) in table.groups.iter().enumerate() {
                let told = told.get(&(from, to)).cloned().unwrap_or_default();
                let mut all = Answers::new();
                for sender in &senders.members {
                    for receiver in receivers.members.iter().filter(|receiver| *receiver != sender) {
                        let answered = answered(&reach, *sender, *receiver);
                        // An address outside has one family, and the remainder of the outside both.
                        let family = [*sender, *receiver].into_iter().find_map(|party| match party {
                            Party::Outside(index) => Some(reach.outside()[index].family()),
                            Party::Container(_) | Party::Host => None,
                        });
                        let (one, group) = (own(&answered, family), own(&told, family));
                        assert_eq!(one, group, "seed {seed}: {sender:?} -> {receiver:?} of {from} -> {to}\n{text}");
                        for (key, (open, closed)) in answered {
                            add(&mut all, key.clone(), Decision::Allow, &open);
                            add(&mut all, key, Decision::Deny, &closed);
                        }
                        pairs += 1;
                    }
                }
                for (open, closed) in all.values_mut() {
                    *closed = closed.difference(open);
                }
                assert_eq!(told, all, "seed {seed}: {from} -> {to} by {by:?}\n{text}");
            }
        }
    }
    (pairs, joined)
}

#[test]
fn rows_say_of_every_pair_what_reach_says() {
    let worlds = number("DOCKGATE_REACH_WORLDS", 1000);
    let first = number("DOCKGATE_REACH_SEED", 0);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = |thread: usize| {
        let seeds = (first..first + worlds).skip(thread).step_by(threads);
        seeds.map(compare).fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1))
    };
    let tallies: Vec<(usize, usize)> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread that failed has said why")).collect()
    });
    let (pairs, joined) = tallies.into_iter().fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1));
    println!("{worlds} worlds from seed {first}: {pairs} pairs, {joined} groups of several, all as `reach` says");
    assert!(u64::try_from(joined).is_ok_and(|joined| joined >= worlds), "hardly anybody was told as one: {joined}");
}
