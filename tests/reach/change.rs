//! What `diff` rests on: a change is told exactly where two verdicts differ.
//!
//! Two sets of generated policies are compared in one world: of every second pair they have nothing in common, and of the
//! others one is the other without some of its policies. Drawn pairs of parties are asked of `verdict` under both.

use std::collections::BTreeSet;

use dockgate::compile::{Compiled, Options, compile};
use dockgate::net::Family;
use dockgate::policy::{SourceFile, load};
use dockgate::reach::change::{Change, Effect, Fact, Kind, Side, Unit, compare};
use dockgate::reach::{Party, Reach, Service, Via, boundaries};
use dockgate::verdict::Decision;
use dockgate::verdict::path::End;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::policies::policies;
use crate::worlds::inventory;
use crate::{PAIRS, asked, end, for_every_world, traffic};

/// The other policies of a seed.
fn others(seed: u64, random: &mut StdRng) -> String {
    if seed.is_multiple_of(2) {
        return policies(seed + 1_000_000);
    }
    let text = policies(seed);
    let kept = text.split("\n---\n").filter(|part| !part.contains("\"spec\"") || random.random_ratio(2, 3));
    kept.collect::<Vec<_>>().join("\n---\n")
}

fn is_of(units: &[Unit], end: &End, reach: &Reach<'_>, party: Party) -> bool {
    let name = |index: usize| &reach.containers()[index].name;
    units.iter().any(|unit| match (unit, party, end) {
        (Unit::Container(one), Party::Container(index), _) => one == name(index),
        (Unit::Service { containers, .. }, Party::Container(index), _) => containers.contains(name(index)),
        (Unit::Host, Party::Host, _) => true,
        (Unit::Outside { nets, except }, Party::Outside(_), End::Address(address)) => {
            nets.iter().any(|net| net.contains(*address)) && !except.iter().any(|net| net.contains(*address))
        }
        _ => false,
    })
}

/// The same change seen from the other side.
fn reversed(change: &Change) -> Change {
    let Change { fact, from, to } = change.clone();
    let effect = match fact.effect {
        Effect::Widened => Effect::Narrowed,
        Effect::Narrowed => Effect::Widened,
    };
    let kind = match fact.kind {
        Kind::Added => Kind::Removed,
        Kind::Removed => Kind::Added,
        Kind::Changed => Kind::Changed,
    };
    Change { fact: Fact { effect, kind, old: fact.new, new: fact.old, ..fact }, from, to }
}

type Differing = BTreeSet<(Via, Family, Option<String>, Effect)>;

fn check(seed: u64) -> (usize, usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let world = inventory(seed);
    let texts = [policies(seed), others(seed, &mut random)];
    let compiled: [Compiled; 2] = texts.clone().map(|text| {
        let loaded = load(&[SourceFile::new("generated.yaml", text)]);
        compile(&loaded.policies, &world, &Options::default())
    });
    let both = compiled.iter().flat_map(|compiled| boundaries(&compiled.ruleset)).collect();
    let reach = compiled.each_ref().map(|compiled| Reach::new(&world, compiled, &both));
    let side = |number: usize| Side { reach: &reach[number], compiled: &compiled[number] };
    let changes = compare(side(0), side(1));
    assert_eq!(compare(side(0), side(0)), [], "seed {seed}");
    let back: BTreeSet<Change> = compare(side(1), side(0)).iter().map(reversed).collect();
    assert_eq!(changes.iter().cloned().collect::<BTreeSet<_>>(), back, "seed {seed}");

    let parties: Vec<Party> = reach[0].parties().collect();
    let (mut widened, mut narrowed) = (0, 0);
    for _ in 0..PAIRS {
        let mut one = || *parties.choose(&mut random).expect("the host is a party");
        let (from, to) = (one(), one());
        if from == to {
            continue;
        }
        let (sender, receiver) = (end(&reach[0], from), end(&reach[0], to));
        let of_pair: Vec<&Change> = changes
            .iter()
            .filter(|change| {
                is_of(&change.from, &sender, &reach[0], from) && is_of(&change.to, &receiver, &reach[0], to)
            })
            .collect();
        for service in Service::ALL {
            let ways = reach.iter().flat_map(|reach| reach.ways(from, to)).filter(|way| way.service == service);
            let edges = ways.flat_map(|way| &way.parts).flat_map(|part| part.ports.ranges());
            let edges = edges.flat_map(|range| [range.first(), range.last()]);
            let mut ports: BTreeSet<u16> = edges.chain([53, 80, random.random_range(1..=u16::MAX)]).collect();
            if service == Service::Ping {
                ports = BTreeSet::from([1]);
            }
            for port in ports {
                let ask = |number: usize| asked(&world, &compiled[number], &sender, &receiver, traffic(service, port));
                let (before, now) = (ask(0), ask(1));
                let is =
                    |answers: &crate::Answers, (via, family, network): &(Via, Family, Option<String>), decision| {
                        answers.contains(&(via.clone(), *family, network.clone(), decision))
                    };
                let places: BTreeSet<_> = before
                    .iter()
                    .chain(&now)
                    .map(|(via, family, network, _)| (via.clone(), *family, network.clone()))
                    .collect();
                let mut expected = Differing::new();
                for place in &places {
                    let (could, can) = (is(&before, place, Decision::Allow), is(&now, place, Decision::Allow));
                    let (via, family, network) = place.clone();
                    match (could, can) {
                        (false, true) => expected.insert((via, family, network, Effect::Widened)),
                        (true, false) => expected.insert((via, family, network, Effect::Narrowed)),
                        _ => continue,
                    };
                }
                let mut found = Differing::new();
                for Change { fact, .. } in &of_pair {
                    if fact.traffic.get(&service).is_some_and(|ports| ports.contains(port)) {
                        let meant = places.iter().filter(|(via, family, network)| {
                            *via == fact.via
                                && (fact.families.is_empty() || fact.families.contains(family))
                                && (fact.network.is_none() || fact.network == *network)
                        });
                        found.extend(
                            meant.map(|(via, family, network)| (via.clone(), *family, network.clone(), fact.effect)),
                        );
                    }
                }
                assert_eq!(
                    found, expected,
                    "seed {seed}: {sender:?} -> {receiver:?}, {service} {port}\n{}\n\n=>\n\n{}",
                    texts[0], texts[1]
                );
                widened += expected.iter().filter(|(.., effect)| *effect == Effect::Widened).count();
                narrowed += expected.iter().filter(|(.., effect)| *effect == Effect::Narrowed).count();
            }
        }
    }
    (widened, narrowed)
}

#[test]
fn a_change_is_told_exactly_where_two_verdicts_differ() {
    let (widened, narrowed) = for_every_world(check);
    println!("{widened} ways widened, {narrowed} narrowed, all as `verdict` says, and the same backwards");
    assert!(widened.min(narrowed) > 1000, "too little changes: {widened} widened, {narrowed} narrowed");
}
