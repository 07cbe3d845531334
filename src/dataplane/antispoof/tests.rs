use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::dataplane::port::Port;
use crate::dataplane::state::Problem;
use crate::net::{InterfaceName, MacAddress};
use crate::ruleset::{AntiSpoofing, Binding, Role};

/// Changes as commands.
fn words(changes: &[SetChange]) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}

const WEB: &str = "02:42:0a:00:00:02";
const API: &str = "02:42:0a:00:00:03";

fn name(text: &str) -> InterfaceName {
    text.parse().expect("an interface name")
}

fn port(port: &str, bridge: &str, mac: &str) -> Port {
    Port { name: name(port), bridge: name(bridge), mac: mac.parse().ok() }
}

fn binding(endpoint: &str, mac: &str, address: &str) -> Binding {
    Binding {
        endpoint: endpoint.to_owned(),
        attachment: endpoint.into(),
        bridge: name("br-a"),
        mac: mac.parse().ok(),
        addresses: address.parse().into_iter().collect(),
        role: Role::Governed,
    }
}

fn desired(bindings: &[Binding]) -> AntiSpoofing {
    AntiSpoofing {
        bindings: bindings.iter().cloned().map(Arc::new).collect(),
        subnets: ["10.0.0.0/24".parse().expect("subnet")].into(),
        ..AntiSpoofing::default()
    }
}

fn state(ports: &[Port]) -> State {
    State { ports: ports.iter().cloned().collect(), ..State::default() }
}

/// Decides for a host whose networks are none that policy governs.
fn assign(wanted: &AntiSpoofing, observed: &State) -> Decision {
    Decision::of(wanted, observed, &BTreeSet::new())
}

/// The table after a change.
fn table(observed: &State, wanted: &Ruleset) -> Option<Table> {
    after(observed, observed.decide(wanted).as_ref())
}

fn changes_between(observed: &State, wanted: &Ruleset) -> Changes {
    Changes::between(observed, wanted, observed.decide(wanted).as_ref())
}

/// What is decided: `ENDPOINT PORT` of each that is bound, and `ENDPOINT` of each that is not.
fn assigned(wanted: &AntiSpoofing, observed: &State) -> Vec<String> {
    let decision = assign(wanted, observed);
    let held = decision.held(wanted, &decision.all(wanted, &BTreeSet::new()));
    let mut bound: Vec<String> = held.into_iter().map(|(port, endpoint)| format!("{endpoint} {port}")).collect();
    bound.sort();
    let unbound = decision.unbound().filter_map(|problem| match problem {
        Problem::Unbound { endpoint, .. } => Some(endpoint),
        _ => None,
    });
    bound.into_iter().chain(unbound).collect()
}

#[test]
fn while_the_engine_is_away_a_port_can_only_be_lost() {
    let held = desired(&[binding("web", WEB, "10.0.0.2")]);
    let started = state(&[port("v1", "br-a", WEB)]);
    let wanted = Ruleset { anti_spoofing: Some(held.clone()), ..Ruleset::default() };
    let bound = State { table: table(&started, &wanted), ..started };
    let frozen = AntiSpoofing { frozen: true, ..held };
    assert_eq!(assigned(&frozen, &bound), ["web v1"], "what is bound stays so");
    let other = State { ports: [port("v2", "br-a", WEB)].into(), ..bound };
    assert_eq!(assigned(&frozen, &other), ["web"], "another port with the same MAC address is another's");
}

#[test]
fn an_endpoint_has_one_port_and_a_port_one_endpoint() {
    let web = || binding("web", WEB, "10.0.0.2");
    let api = || binding("api", API, "10.0.0.3");
    for (case, bindings, ports, expected) in [
        ("found", vec![web(), api()], vec![port("v1", "br-a", WEB), port("v2", "br-a", API)], vec!["api v2", "web v1"]),
        ("no port yet", vec![web()], vec![port("v1", "br-a", "")], vec!["web"]),
        ("on another bridge", vec![web()], vec![port("v1", "br-b", WEB)], vec!["web"]),
        ("two ports", vec![web()], vec![port("v1", "br-a", WEB), port("v2", "br-a", WEB)], vec!["web"]),
        (
            "two endpoints",
            vec![web(), binding("api", WEB, "10.0.0.3")],
            vec![port("v1", "br-a", WEB)],
            vec!["api", "web"],
        ),
        ("no MAC address", vec![binding("web", "", "10.0.0.2")], vec![port("v1", "br-a", "")], vec!["web"]),
    ] {
        assert_eq!(assigned(&desired(&bindings), &state(&ports)), expected, "{case}");
    }
}

#[test]
fn a_port_that_did_not_come_with_an_endpoint_is_not_its_own() {
    let (eve, alice) = (binding("eve", API, "10.0.0.3"), binding("alice", WEB, "10.0.0.2"));
    let wanted = desired(&[eve.clone(), alice.clone()]);
    let lying = port("v1", "br-a", WEB);
    let strangers = |pairs: &[(&str, &str)]| pairs.iter().map(|(port, of)| (name(port), (*of).into())).collect();
    let at = |ports: &[Port], pairs: &[(&str, &str)]| State { strangers: strangers(pairs), ..state(ports) };

    let early = at(std::slice::from_ref(&lying), &[("v1", "alice")]);
    assert_eq!(assigned(&wanted, &early), ["alice", "eve"], "alice's own port does not show her address yet");
    let both = at(&[lying.clone(), port("v2", "br-a", WEB)], &[("v1", "alice")]);
    assert_eq!(assigned(&wanted, &both), ["alice v2", "eve"]);
    let before_all = at(std::slice::from_ref(&lying), &[("v1", "alice"), ("v1", "eve")]);
    assert_eq!(assigned(&wanted, &before_all), ["alice v1", "eve"], "the engine was away when it came");
    let only = desired(std::slice::from_ref(&alice));
    assert_eq!(assigned(&only, &early), ["alice v1"], "whose else could it be");

    // Bound in the moment in which only eve's port showed alice's address.
    let ruleset = Ruleset { anti_spoofing: Some(wanted.clone()), ..Ruleset::default() };
    let bound = state(std::slice::from_ref(&lying)).after(&ruleset);
    assert_eq!(assigned(&wanted, &bound), ["alice v1", "eve"]);
    let twins = State { ports: [port("v1", "br-a", ""), port("v2", "br-a", WEB)].into(), ..bound.clone() };
    assert_eq!(assigned(&wanted, &twins), ["alice", "eve"]);
    let decision = assign(&wanted, &twins);
    assert!(decision.unbound().any(|problem| problem.to_string().contains("beside v1")), "{decision:?}");
    // One that came much later or much earlier than alice is no reason to doubt hers.
    let later = State { strangers: strangers(&[("v2", "alice")]), ..twins };
    assert_eq!(assigned(&wanted, &later), ["alice v1", "eve"]);
}

/// Eve started a moment before alice and took the MAC address that alice would have; alice's own port does not show it yet.
#[test]
fn a_port_that_may_be_anothers_is_not_taken_while_ones_own_may_be_hidden() {
    const NOT_YET: &str = "8e:00:00:00:00:01";
    let (eve, alice) = (binding("eve", API, "10.0.0.3"), binding("alice", WEB, "10.0.0.2"));
    let wanted = desired(&[eve.clone(), alice.clone()]);
    let (lying, own) = (port("v1", "br-a", WEB), port("v2", "br-a", NOT_YET));
    let at = |ports: &[&Port], young: &[&str]| State {
        ports: ports.iter().map(|port| (*port).clone()).collect(),
        young: young.iter().map(|port| name(port)).collect(),
        ..State::default()
    };
    assert_eq!(assigned(&wanted, &at(&[&lying, &own], &["v1", "v2"])), ["alice", "eve"]);
    let shows = port("v2", "br-a", WEB);
    assert_eq!(assigned(&wanted, &at(&[&lying, &shows], &["v1", "v2"])), ["alice", "eve"], "no telling");
    let honest = port("v1", "br-a", API);
    assert_eq!(assigned(&wanted, &at(&[&honest, &shows], &["v1", "v2"])), ["alice v2", "eve v1"]);
    // None of these is a reason to wait.
    let of_eve = port("v3", "br-a", API);
    for (case, ports, young, expected) in [
        (
            "eve shows a port of her own",
            vec![&lying, &own, &of_eve],
            vec!["v1", "v2", "v3"],
            vec!["alice v1", "eve v3"],
        ),
        ("one that never shows anybody's", vec![&lying, &own], vec!["v1"], vec!["alice v1", "eve"]),
        ("no other port", vec![&lying], vec!["v1"], vec!["alice v1", "eve"]),
    ] {
        assert_eq!(assigned(&wanted, &at(&ports, &young)), expected, "{case}");
    }
    let only = desired(std::slice::from_ref(&alice));
    assert_eq!(assigned(&only, &at(&[&lying, &own], &["v1", "v2"])), ["alice v1"], "whose else could it be");
}

#[test]
fn what_came_together_is_told_by_when_it_was_first_seen() {
    use std::time::{Duration, Instant};
    let begin = Instant::now();
    let at = |milliseconds| begin + Duration::from_millis(milliseconds);
    let ports = |names: &[&str]| names.iter().map(|name| port(name, "br-a", WEB)).collect();
    let (eve, alice) = (binding("eve", API, "10.0.0.3"), binding("alice", WEB, "10.0.0.2"));
    let (eve, alice) = (|| eve.clone(), || alice.clone());
    let stranger = |port: &str, of: &str| (name(port), Arc::from(of));
    let held = |pairs: &[(&str, &str)]| pairs.iter().map(|(port, of)| stranger(port, of)).collect();
    let mut sightings = crate::dataplane::port::Sightings::default();
    let mut see = |time, names: &[&str], of: &[(&str, &str)], all: &[Binding]| {
        sightings.see(at(time), &[name("br-a")].into(), &ports(names), &held(of), &desired(all)).strangers
    };
    // At a first look what is found may have come seconds apart.
    assert_eq!(see(0, &["v1"], &[], &[eve()]), [].into());
    assert_eq!(see(2000, &["v1", "v2"], &[], &[eve()]), [].into());
    // Later a port and the word of its endpoint come at once.
    assert_eq!(see(2100, &["v1", "v2"], &[], &[eve(), alice()]), [stranger("v1", "alice")].into());
    let apart = [stranger("v1", "alice"), stranger("v3", "alice"), stranger("v3", "eve")];
    assert_eq!(see(9000, &["v1", "v2", "v3"], &[], &[eve(), alice()]), apart.into());
    // A port that was an endpoint's is as old as it was.
    let both = [("v1", "eve"), ("v2", "alice")];
    assert_eq!(see(20_000, &["v1", "v2"], &both, &[eve(), alice()]), [].into());
    assert_eq!(see(21_000, &["v1", "v2"], &[("v2", "alice")], &[eve(), alice()]), [stranger("v1", "alice")].into());
    // What has gone is forgotten.
    assert_eq!(see(30_000, &[], &[], &[]), [].into());
    assert_eq!(see(40_000, &["v1"], &[], &[alice()]), [].into());
    // What shows the MAC address of one that has been bound for long is no reason to doubt its port.
    assert_eq!(see(41_000, &["v1", "v4"], &[("v1", "alice")], &[alice()]), [stranger("v4", "alice")].into());
    assert_eq!(see(50_000, &["v5"], &[], &[eve()]), [].into());
    // For a moment it may have been bound to another's.
    assert_eq!(see(50_100, &["v5", "v6"], &[("v5", "eve")], &[eve()]), [].into());
    assert_eq!(see(53_200, &["v5", "v6"], &[("v5", "eve")], &[eve()]), [stranger("v6", "eve")].into());
}

/// A network that no policy governs for a while: what is on it when one does again comes at once, whatever was there before.
#[test]
fn a_bridge_that_was_let_go_is_seen_for_the_first_time_again() {
    use std::time::{Duration, Instant};
    let begin = Instant::now();
    let on = BTreeSet::from([name("br-a")]);
    let old = BTreeSet::from([port("v1", "br-a", API)]);
    for (case, lets_go, strangers) in [
        ("it is forgotten", true, BTreeSet::new()),
        ("it is kept", false, BTreeSet::from([(name("v1"), "alice".into())])),
    ] {
        let mut sightings = crate::dataplane::port::Sightings::default();
        let see = |sightings: &mut crate::dataplane::port::Sightings, seconds, of: &[Binding]| {
            let at = begin + Duration::from_secs(seconds);
            sightings.see(at, &on, &old, &BTreeSet::new(), &desired(of)).strangers
        };
        see(&mut sightings, 0, &[binding("eve", API, "10.0.0.3")]);
        see(&mut sightings, 10, &[]);
        if lets_go {
            sightings.forget(on.iter());
        }
        let alice = binding("alice", WEB, "10.0.0.2");
        assert_eq!(see(&mut sightings, 20, &[alice]), strangers, "{case}");
    }
    let mut wanted = desired(&[binding("web", WEB, "10.0.0.2")]);
    let observed = state(&[port("v1", "br-a", WEB)]);
    let decision = Decision::of(&wanted, &observed, &on);
    assert!(decision.is_about(&name("br-a")));
    wanted.bindings = imbl::OrdSet::new();
    let outdated = decision.outdated(&wanted, &BTreeSet::new());
    let renewed = decision.renewed(&wanted, &observed, &BTreeSet::new(), &outdated);
    assert!(!renewed.is_about(&name("br-a")), "nobody on it is governed or named any more");
}

/// While the engine is away nobody tells of attachments; what is told of when it is back may have come long before.
#[test]
fn after_the_engine_was_away_everything_comes_at_once() {
    use std::time::{Duration, Instant};
    let begin = Instant::now();
    let alice = binding("alice", WEB, "10.0.0.2");
    let mut sightings = crate::dataplane::port::Sightings::default();
    let mut see = |seconds, names: &[&str], wanted: &AntiSpoofing| {
        let ports = names.iter().map(|name| port(name, "br-a", WEB)).collect();
        sightings.see(begin + Duration::from_secs(seconds), &[name("br-a")].into(), &ports, &BTreeSet::new(), wanted)
    };
    let away = AntiSpoofing { frozen: true, ..desired(&[]) };
    see(0, &[], &desired(&[]));
    see(1, &["v1"], &away);
    let seen = see(3, &["v1"], &desired(std::slice::from_ref(&alice)));
    assert!(seen.strangers.is_empty() && seen.young.contains(&name("v1")), "{seen:?}");
    assert!(!see(5, &["v1"], &desired(std::slice::from_ref(&alice))).young.contains(&name("v1")));
}

#[test]
fn a_port_stays_its_endpoints_whatever_its_inside_shows() {
    let wanted = desired(&[binding("web", WEB, "10.0.0.2"), binding("api", API, "10.0.0.3")]);
    let ruleset = Ruleset { anti_spoofing: Some(wanted.clone()), ..Ruleset::default() };
    let at_first = state(&[port("v1", "br-a", WEB), port("v2", "br-a", API)]);
    let bound = at_first.after(&ruleset);
    for (case, ports, expected) in [
        ("a neighbour's", vec![port("v1", "br-a", WEB), port("v2", "br-a", WEB)], vec!["api v2", "web v1"]),
        ("none", vec![port("v1", "br-a", ""), port("v2", "br-a", "")], vec!["api v2", "web v1"]),
        ("exchanged", vec![port("v1", "br-a", API), port("v2", "br-a", WEB)], vec!["api v2", "web v1"]),
        ("gone", vec![port("v2", "br-a", API)], vec!["api v2", "web"]),
        ("gone, and another shows its", vec![port("v2", "br-a", WEB)], vec!["api v2", "web"]),
        ("a new one", vec![port("v2", "br-a", WEB), port("v3", "br-a", WEB)], vec!["api v2", "web v3"]),
        ("moved to another bridge", vec![port("v1", "br-b", WEB), port("v2", "br-a", API)], vec!["api v2", "web"]),
    ] {
        let now = State { ports: ports.into_iter().collect(), ..bound.clone() };
        assert_eq!(assigned(&wanted, &now), expected, "{case}");
    }
}

/// Of a network without policy only the addresses of those whom a rule names are anybody's.
#[test]
fn whom_a_rule_names_elsewhere_is_bound_and_its_network_is_not() {
    let peer = Binding { bridge: name("br-side"), role: Role::Peer, ..binding("peer", API, "10.9.0.2") };
    let wanted = desired(&[binding("web", WEB, "10.0.0.2"), peer]);
    let observed = state(&[port("v1", "br-a", WEB), port("v2", "br-side", API)]);
    let lines = Decision::of(&wanted, &observed, &[name("br-a")].into()).elements().changes(Verb::Add);
    let lines = words(&lines).join("\n");
    for expected in [
        "ports { \"v1\" }".to_owned(),
        "peers { \"v2\" }".to_owned(),
        format!("stations {{ \"v1\" . {WEB}, \"v2\" . {API} }}"),
        format!("bound4 {{ \"v1\" . {WEB} . 10.0.0.2, \"v2\" . {API} . 10.9.0.2 }}"),
        "claimed4 { 10.0.0.2, 10.9.0.2 }".to_owned(),
        "subnets4 { 10.0.0.0/24, 10.9.0.2 }".to_owned(),
    ] {
        assert!(lines.contains(&expected), "no `{expected}` in\n{lines}");
    }
}

#[test]
fn ports_of_nobodys_on_governed_bridges_are_known_as_such() {
    let wanted = desired(&[
        binding("web", WEB, "10.0.0.2"),
        Binding { role: Role::Peer, bridge: name("br-side"), ..binding("peer", API, "10.9.0.2") },
    ]);
    let ports = [port("v1", "br-a", WEB), port("v2", "br-a", API), port("v3", "br-side", ""), port("v4", "br-a", "")];
    let ruleset = |bridges: &[&str]| Ruleset {
        anti_spoofing: Some(wanted.clone()),
        bridges: bridges.iter().map(|bridge| name(bridge)).collect(),
        ..Ruleset::default()
    };
    let governed = ruleset(&["br-a"]);
    let lines = Decision::of(&wanted, &state(&ports), &governed.bridges).elements().changes(Verb::Add);
    let lines = words(&lines).join("\n");
    assert!(lines.contains("element bridge dockgate free { \"v2\", \"v4\" }"), "{lines}");
    // One that gets an endpoint ceases to be nobody's in the moment in which it is the endpoint's.
    let before = state(&ports[1..]).after(&governed);
    let now = State { ports: ports.into(), ..before };
    let changes = changes_between(&now, &governed);
    assert_eq!(changes.before, []);
    let [Step::Elements(lines)] = &changes.after[..] else { panic!("{:?}", changes.after) };
    let lines = words(lines);
    assert!(lines.iter().all(|line| !line.starts_with("delete")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("ports { \"v1\" }")), "{lines:?}");
}

#[test]
fn an_address_loses_its_port_first_and_gets_one_before_it_is_known() {
    let ruleset = |bindings: &[Binding]| Ruleset {
        anti_spoofing: Some(desired(bindings)),
        bridges: [name("br-a")].into(),
        ..Ruleset::default()
    };
    let ports = [port("v1", "br-a", WEB), port("v2", "br-a", API)];
    let old = state(&ports).after(&ruleset(&[binding("web", WEB, "10.0.0.2")]));
    let changes = changes_between(&old, &ruleset(&[binding("api", API, "10.0.0.2")]));
    let lines = |steps: &[Step]| match steps {
        [Step::Elements(changes)] => words(changes).join("; "),
        other => panic!("{other:?}"),
    };
    let (before, after) = (lines(&changes.before), lines(&changes.after));
    assert!(before.contains("delete element bridge dockgate bound4 { \"v1\""), "{before}");
    let freed = "add element bridge dockgate free { \"v1\" }";
    assert!(after.contains(freed) && !after.replace(freed, "").contains("\"v1\""), "{after}");
    assert!(!before.contains("add "), "{before}");
    assert!(after.contains("add element bridge dockgate bound4 { \"v2\""), "{after}");
    assert!(changes.last.is_empty());

    let none = Ruleset { bridges: [name("br-a")].into(), ..Ruleset::default() };
    let removal = changes_between(&old, &none);
    assert!(removal.before.is_empty() && removal.after.is_empty() && removal.last.len() == 1, "the table goes last");
    let stale = State { without_table: Some("no nft".to_owned()), ..old.clone() };
    assert_eq!(changes_between(&stale, &none).last.len(), 1, "one that is there is removed all the same");
    assert_eq!(stale.after(&none).table, None);
    let without = State { without_table: Some("no nft".to_owned()), table: None, ..old };
    let nothing = changes_between(&without, &ruleset(&[]));
    assert!(nothing.before.is_empty() && nothing.after.is_empty() && nothing.last.is_empty());
}

const PORTS: [&str; 5] = ["1", "2", "3", "4", "5"];

fn mac(random: &mut StdRng) -> MacAddress {
    format!("02:00:00:00:00:{:02x}", random.random_range(0..4)).parse().expect("a MAC address")
}

/// An endpoint of one of two bridges; its addresses are of that bridge's subnet.
fn any_binding(random: &mut StdRng, bridge: usize) -> Binding {
    let host = random.random_range(2..6);
    Binding {
        bridge: name(&format!("br-{bridge}")),
        endpoint: format!("c{host}@{bridge}"),
        attachment: random.random_range(0..20).to_string().into(),
        mac: random.random_bool(0.9).then(|| mac(random)),
        // One that has no address is bound to nothing.
        addresses: [format!("10.0.{bridge}.{host}"), format!("fd00:{}::{host}", bridge + 1)]
            .iter()
            .take(random.random_range(1..=2))
            .filter_map(|address| address.parse().ok())
            .collect(),
        role: if bridge == 1 { Role::Peer } else { Role::Governed },
    }
}

/// A bridge as it is seen: its ports anew, with who came with whom.
fn look_at(random: &mut StdRng, observed: &mut State, wanted: &AntiSpoofing, bridge: &InterfaceName) {
    observed.ports.retain(|port| port.bridge != *bridge);
    let of_bridge = |name: &InterfaceName| name.as_str().starts_with(bridge.as_str());
    observed.strangers.retain(|(port, _)| !of_bridge(port));
    observed.young.retain(|port| !of_bridge(port));
    for number in PORTS.iter().filter(|_| random.random_bool(0.6)).collect::<Vec<_>>() {
        let port = name(&format!("{bridge}-{number}"));
        let mac = random.random_bool(0.8).then(|| mac(random));
        if random.random_bool(0.3) {
            observed.young.insert(port.clone());
        }
        let bindings: Vec<_> = wanted.bindings_on(bridge).collect();
        if let Some(stranger) = bindings.choose(random).filter(|_| random.random_bool(0.4)) {
            observed.strangers.insert((port.clone(), stranger.attachment.clone()));
        }
        observed.ports.insert(Port { bridge: bridge.clone(), name: port, mac });
    }
}

/// What is decided of the bridges that have changed, and kept of the others, is what is decided of all anew.
#[test]
fn deciding_anew_what_has_changed_is_deciding_everything_anew() {
    let mut kept = 0;
    for seed in 0..300 {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut observed = State::default();
        let mut wanted = AntiSpoofing::default();
        let mut governed = BTreeSet::from([name("br-0"), name("br-2")]);
        let mut decision = Decision::of(&wanted, &observed, &governed);
        for step in 0..20 {
            observed.table = Some(decision.table());
            for _ in 0..random.random_range(0..3) {
                let bridge = random.random_range(0..3);
                let binding = any_binding(random, bridge);
                let others = wanted.bindings.iter().filter(|other| other.endpoint != binding.endpoint);
                wanted.bindings = others.cloned().collect();
                if random.random_bool(0.7) {
                    wanted.bindings.insert(binding.into());
                }
            }
            match random.random_range(0..12) {
                0 => wanted.frozen = !wanted.frozen,
                1 => wanted.gateways = [format!("10.0.0.{}", random.random_range(1..4)).parse().expect("one")].into(),
                2 => wanted.subnets = ["10.0.0.0/24".parse().expect("a subnet")].into(),
                3 if !governed.remove(&name("br-2")) => drop(governed.insert(name("br-2"))),
                _ => {}
            }
            let mut outdated = decision.outdated(&wanted, &governed);
            if random.random_bool(0.3) {
                outdated.insert(name(&format!("br-{}", random.random_range(0..3))));
            }
            kept += 3_usize.saturating_sub(outdated.len());
            for bridge in &outdated {
                look_at(random, &mut observed, &wanted, bridge);
            }
            decision = decision.renewed(&wanted, &observed, &governed, &outdated);
            let anew = Decision::of(&wanted, &observed, &governed);
            assert_eq!(decision, anew, "seed {seed}, step {step}");
        }
    }
    assert!(kept > 1000, "bridges are kept as they are: {kept}");
}
