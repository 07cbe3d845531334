use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::net::{Cidr, Protocol};
use crate::ruleset::{AddressSet, ConnectionState, Hook, SetKind};
use crate::verdict::evaluate;

const SETS: usize = 5;

fn set_name(number: usize, kind: SetKind) -> SetName {
    SetName::of_content(Family::V4, kind, &format!("set{number}"), &number.to_string())
}

fn address(number: u8) -> IpAddr {
    [10, 0, 0, number].into()
}

fn bridge(number: u8) -> InterfaceName {
    format!("br-{number}").parse().expect("an interface")
}

/// Conditions on either end, on both, and on ports.
fn condition(random: &mut StdRng) -> Match {
    let side = if random.random_bool(0.5) { Side::Source } else { Side::Destination };
    let negated = random.random_bool(0.3);
    let kinds = [SetKind::Ip, SetKind::Net, SetKind::IpPort, SetKind::NetInterface];
    match random.random_range(0..8) {
        0..=3 => {
            let kind = *kinds.choose(random).expect("there are four");
            Match::Set { side, set: set_name(random.random_range(0..=SETS), kind), kind, negated }
        }
        4 => Match::Net { side, net: Cidr::new(address(random.random()), 30).expect("a block"), negated },
        5 => match (random.random_range(0..4), bridge(random.random_range(0..2))) {
            (0, name) => Match::InInterface(name),
            (1, name) => Match::OutInterface(name),
            (2, name) => Match::InInterfacePrefix(name.as_str().parse().expect("a beginning")),
            (_, name) => Match::OutInterfacePrefix(name.as_str()[..3].parse().expect("a beginning")),
        },
        6 => Match::Protocol { protocol: Protocol::UDP, negated },
        _ => Match::Ports { side, ranges: vec!["70:90".parse().expect("a range")], negated },
    }
}

fn ruleset(random: &mut StdRng) -> Ruleset {
    let mut sets = BTreeMap::new();
    for number in 0..SETS {
        for kind in [SetKind::Ip, SetKind::Net, SetKind::IpPort, SetKind::NetInterface] {
            let mut member = || {
                let of = address(random.random_range(0..8));
                match kind {
                    SetKind::Ip => Member::Ip(of),
                    SetKind::Net => Member::Net(Cidr::new(of, random.random_range(29..=32)).expect("a block")),
                    SetKind::IpPort => Member::IpPort { address: of, protocol: 6, port: random.random_range(79..82) },
                    SetKind::NetInterface => {
                        Member::NetInterface { net: Cidr::host(of), interface: bridge(random.random_range(0..2)) }
                    }
                }
            };
            let members: BTreeSet<Member> = (0..4).map(|_| member()).collect();
            sets.insert(set_name(number, kind), AddressSet { family: Family::V4, kind, members: members.into() });
        }
    }
    let inner = |number: usize| ChainName::of_content(&format!("inner{number}"), &number.to_string());
    let mut chains = BTreeMap::new();
    for (depth, name) in [ChainName::base(Hook::Forward), inner(1), inner(2)].into_iter().enumerate() {
        let rules = (0..random.random_range(0..40)).map(|index| {
            let matches: Vec<_> = (0..random.random_range(1..4)).map(|_| condition(random)).collect();
            let action = match random.random_range(0..6) {
                0 => Action::Drop,
                1 => Action::Return,
                2 if depth < 2 => Action::Goto(inner(depth + 1)),
                3 if depth < 2 => Action::Jump(inner(depth + 1)),
                // There is no such chain.
                4 if random.random_bool(0.2) => Action::Jump(inner(9)),
                _ => Action::Log { group: 1, prefix: "seen".to_owned() },
            };
            Rule { matches: matches.into(), action, comment: format!("{depth}/{index}").into() }
        });
        chains.insert(name, Arc::new(rules.collect()));
    }
    Ruleset { chains: BTreeMap::from([(Family::V4, chains)]).into(), sets: sets.into(), ..Ruleset::default() }
}

#[test]
fn every_port_has_the_verdict_of_its_own_packet_in_chains_of_any_length() {
    let mut decided = BTreeMap::new();
    for seed in 0..150 {
        let mut random = StdRng::seed_from_u64(seed);
        let ruleset = ruleset(&mut random);
        let evaluator = Evaluator::new(&ruleset);
        for _ in 0..40 {
            let protocol =
                *[Protocol::TCP, Protocol::UDP, Protocol::ICMP].choose(&mut random).expect("there are three");
            let has_ports = protocol != Protocol::ICMP;
            let packet = Packet {
                hook: Hook::Forward,
                in_interface: random.random_bool(0.7).then(|| bridge(random.random_range(0..2))),
                out_interface: random.random_bool(0.7).then(|| bridge(random.random_range(0..2))),
                source: address(random.random_range(0..8)),
                destination: address(random.random_range(0..8)),
                protocol,
                source_port: has_ports.then_some(80),
                destination_port: has_ports.then_some(1),
                icmp: (!has_ports).then_some((8, 0)),
            };
            let views = [Side::Source, Side::Destination].map(|side| evaluator.view(&packet, side));
            let ends = Ends { source: &views[0], destination: &views[1] };
            let shares = evaluator.divide(&packet, ends, PortSet::all());
            assert_eq!(shares.iter().map(|share| share.ports.len()).sum::<usize>(), 65_535, "seed {seed}: {packet:?}");
            for port in [1, 69, 70, 79, 80, 81, 82, 90, 91, 65_535] {
                let alone = Packet { destination_port: packet.destination_port.map(|_| port), ..packet.clone() };
                let expected = evaluate(&ruleset, &alone);
                let share = shares.iter().find(|share| share.ports.contains(port)).expect("every port has a share");
                let comments: Vec<&str> = share.trace.iter().map(|rule| &*rule.comment).collect();
                let hits: Vec<&str> = expected.trace.iter().map(|hit| &*hit.comment).collect();
                assert_eq!((share.decision, comments), (expected.decision, hits), "seed {seed}: {alone:?}");
                *decided.entry(share.decision).or_insert(0) += 1;
            }
        }
    }
    assert!(decided.values().all(|times| *times > 1000), "{decided:?}");
}

#[test]
fn what_belongs_to_a_known_flow_is_not_the_first_packet() {
    let established = Match::State(BTreeSet::from([ConnectionState::Established]));
    let rule = Rule { matches: [established].into(), action: Action::Drop, comment: "established".into() };
    let chains = BTreeMap::from([(ChainName::base(Hook::Forward), vec![rule].into())]);
    let ruleset = Ruleset { chains: BTreeMap::from([(Family::V4, chains)]).into(), ..Ruleset::default() };
    let evaluator = Evaluator::new(&ruleset);
    let packet = Packet {
        hook: Hook::Forward,
        in_interface: None,
        out_interface: None,
        source: address(1),
        destination: address(2),
        protocol: Protocol::TCP,
        source_port: Some(1),
        destination_port: Some(1),
        icmp: None,
    };
    let views = [Side::Source, Side::Destination].map(|side| evaluator.view(&packet, side));
    let shares = evaluator.divide(&packet, Ends { source: &views[0], destination: &views[1] }, PortSet::all());
    assert_eq!(shares.iter().map(|share| share.decision).collect::<Vec<_>>(), [Decision::Allow]);
}
