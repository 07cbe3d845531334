//! What `policy_test` says of generated cases is what `verdict` says, by way of `reach`, which another test holds to it.
//!
//! In generated worlds, cases are written down as a person would, each expecting what `reach` answers: all are met. With one
//! of them turned round, that one is not met, and the others are. `DOCKGATE_POLICY_TEST_WORLDS` (default 1000) says in how
//! many worlds.

#[path = "support/policies.rs"]
mod policies;
#[path = "support/worlds.rs"]
mod worlds;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use dockgate::compile::{Compiled, Options, compile};
use dockgate::inventory::Inventory;
use dockgate::net::Family;
use dockgate::policy::{PolicySet, SourceFile, load};
use dockgate::policy_test::{self, Coverage, Judge, Outcome};
use dockgate::reach::{Party, Reach, Service, Via, Way};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use policies::policies;
use worlds::inventory;

/// Cases in each world.
const CASES: usize = 20;

struct Case {
    text: String,
    is_open: bool,
}

fn name(reach: &Reach<'_>, party: Party) -> String {
    match party {
        Party::Container(index) => reach.containers()[index].name.clone(),
        Party::Host => "host".to_owned(),
        Party::Outside(index) => format!("'{}'", reach.outside()[index].last),
    }
}

fn via(way: &Way) -> &'static str {
    match way.via {
        Via::Direct => "direct",
        Via::Published { .. } => "published",
        Via::Proxy { .. } => "proxy",
    }
}

/// A case about something that there is a way for.
fn case(random: &mut StdRng, world: &Inventory, reach: &Reach<'_>, parties: &[Party]) -> Option<Case> {
    let (from, to) = (*parties.choose(random)?, *parties.choose(random)?);
    // Under the address of a container that policy cannot reach, a case is about that container.
    let is_containers = |party: Party| {
        let Party::Outside(index) = party else { return false };
        let address = Some(reach.outside()[index].last);
        let attachments = world.containers.values().flat_map(|container| &container.attachments);
        attachments.into_iter().any(|attachment| [attachment.ipv4, attachment.ipv6].contains(&address))
    };
    if is_containers(from) || is_containers(to) {
        return None;
    }
    let way = reach.ways(from, to).choose(random)?;
    let share = way.parts.choose(random)?;
    let range = share.ports.ranges().choose(random)?;
    let port = if random.random() { range.first() } else { range.last() };
    let (by_family, by_via) = (random.random::<bool>(), random.random::<bool>());
    let counts = |other: &&Way| {
        other.service == way.service
            && (!by_family || other.family == way.family)
            && (!by_via || via(other) == via(way))
    };
    let is_open = reach.ways(from, to).iter().filter(counts).any(|other| other.open().contains(port));
    let mut text = format!("{{from: {}, to: {}", name(reach, from), name(reach, to));
    match way.service {
        Service::Ports(protocol) => write!(text, ", protocol: {protocol}, port: {port}").expect("a text grows"),
        Service::Ping => text.push_str(", protocol: ICMP"),
    }
    if by_family {
        text.push_str(if way.family == Family::V4 { ", ipVersion: 4" } else { ", ipVersion: 6" });
    }
    if by_via {
        write!(text, ", via: {}", via(way)).expect("a text grows");
    }
    Some(Case { text, is_open })
}

fn outcomes(
    world: &Inventory,
    policies: &PolicySet,
    compiled: &Compiled,
    cases: &[Case],
    turned: Option<usize>,
) -> (Vec<Outcome>, String) {
    let mut text = "apiVersion: dockgate.io/v1alpha1\nkind: PolicyTest\nmetadata: {}\nspec:\n  cases:\n".to_owned();
    for (index, case) in cases.iter().enumerate() {
        let expect = if case.is_open == (turned == Some(index)) { "Deny" } else { "Allow" };
        writeln!(text, "    - {}, expect: {expect}}}", case.text).expect("a text grows");
    }
    let (tests, findings) = policy_test::load(&[SourceFile::new("generated.yaml", text.clone())]);
    assert!(findings.is_empty() && tests.len() == 1, "{findings:#?}\n{text}");
    (Judge::new(world, policies, compiled).run(&tests[0], &mut Coverage::default()), text)
}

#[test]
fn cases_from_verdicts_are_met_and_the_one_that_is_turned_round_is_not() {
    let worlds = std::env::var("DOCKGATE_POLICY_TEST_WORLDS").map_or(1000, |text| text.parse().expect("a number"));
    let (mut open, mut closed) = (0, 0);
    for seed in 0..worlds {
        let loaded = load(&[SourceFile::new("policies.yaml", policies(seed))]);
        let world = inventory(seed);
        let compiled = compile(&loaded.policies, &world, &Options::default());
        let reach = Reach::new(&world, &compiled, &BTreeSet::new());
        let parties: Vec<Party> = reach.parties().collect();
        let random = &mut StdRng::seed_from_u64(seed);
        let cases: Vec<Case> = (0..CASES).filter_map(|_| case(random, &world, &reach, &parties)).collect();
        if cases.is_empty() {
            continue;
        }
        open += cases.iter().filter(|case| case.is_open).count();
        closed += cases.iter().filter(|case| !case.is_open).count();
        let (told, text) = outcomes(&world, &loaded.policies, &compiled, &cases, None);
        let failed: Vec<_> = told.iter().filter(|outcome| !outcome.is_met()).collect();
        assert!(failed.is_empty(), "seed {seed}: {failed:#?}\n{text}");
        let turned = random.random_range(0..cases.len());
        let (told, text) = outcomes(&world, &loaded.policies, &compiled, &cases, Some(turned));
        let failed: Vec<usize> = (0..told.len()).filter(|index| !told[*index].is_met()).collect();
        assert_eq!(failed, [turned], "seed {seed}\n{text}");
    }
    assert!(open.min(closed) * 10 > open + closed, "one-sided worlds: {open} open, {closed} closed");
}

/// Invariants say of all ports what cases say of each: what is open between two parties breaks `Deny` exactly there, and what
/// is excepted breaks nothing.
#[test]
fn an_invariant_is_broken_by_exactly_what_reach_says_is_open() {
    for seed in 0..100 {
        let loaded = load(&[SourceFile::new("policies.yaml", policies(seed))]);
        let world = inventory(seed);
        let compiled = compile(&loaded.policies, &world, &Options::default());
        let reach = Reach::new(&world, &compiled, &BTreeSet::new());
        let mut judge = Judge::new(&world, &loaded.policies, &compiled);
        let containers: Vec<Party> = reach.parties().filter(|party| matches!(party, Party::Container(_))).collect();
        for pair in containers.windows(2) {
            let (from, to) = (name(&reach, pair[0]), name(&reach, pair[1]));
            let is_open = reach.ways(pair[0], pair[1]).iter().any(|way| !way.open().is_empty());
            let text = format!(
                "apiVersion: dockgate.io/v1alpha1\nkind: PolicyTest\nmetadata: {{}}\nspec:\n  invariants:\n    \
                 - {{from: {from}, to: {to}, expect: Deny}}\n    \
                 - {{from: {from}, to: {to}, expect: Deny, except: [{{to: {to}}}]}}\n"
            );
            let (tests, findings) = policy_test::load(&[SourceFile::new("generated.yaml", text)]);
            assert_eq!(findings, []);
            let told = judge.run(&tests[0], &mut Coverage::default());
            assert_eq!(told[0].is_met(), !is_open, "seed {seed}: {:?}", told[0]);
            // Nothing is left of it, and that is no pass either.
            assert_eq!(told[1].failures, ["asks about nothing: exceptions leave nothing of it"], "seed {seed}");
        }
    }
}
