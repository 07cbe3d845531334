mod arrivals;

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::arrivals::ARRIVAL;
use super::settling::SETTLING;
use super::*;
use crate::compile::worlds;
use crate::inventory::{Attachment, Container, ContainerId, Containers, Network, NetworkId, PublishedPort};
use crate::net::Protocol;
use crate::policy::PolicyKind;
use crate::ruleset::{Action, Hook};
use crate::verdict::{Decision, Packet, evaluate};

const POLICY: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p}
spec: {selector: app == 'api', ingress: [{action: Allow}]}
";

fn core() -> Core {
    Core::new(compile::Options::default(), Store::default())
}

fn files(text: &str) -> Event {
    Event::Policies(Ok(vec![SourceFile::new("p.yaml", text)]))
}

fn vanished() -> Event {
    Event::Policies(Err(files::Error::Read { path: PathBuf::from("policies"), source: io::ErrorKind::NotFound.into() }))
}

fn listing() -> Inventory {
    let network = Network {
        id: NetworkId("n".into()),
        name: "n".to_owned(),
        driver: "bridge".to_owned(),
        bridge: "br-n".parse().ok(),
        subnets: vec!["10.0.0.0/24".parse().expect("subnet")],
        gateways: vec![],
        internal: false,
    };
    let api = Container {
        id: ContainerId("api".into()),
        name: "api".to_owned(),
        image: "i".to_owned(),
        labels: BTreeMap::from([("app".into(), "api".into())]),
        attachments: vec![Attachment {
            network: network.id.clone(),
            endpoint_id: "e".into(),
            ipv4: "10.0.0.2".parse().ok(),
            ipv6: None,
            mac: None,
        }],
        unenforceable: None,
        published: vec![],
        listed: true,
        judged: BTreeSet::new(),
        stated_namespace: None,
    };
    Inventory {
        networks: BTreeMap::from([(network.id.clone(), network)]),
        containers: [(api.id.clone(), api)].into_iter().collect(),
        ..Inventory::default()
    }
}

/// The only container of the listing.
fn listed_api() -> Container {
    listing().containers.values().next().expect("one container").clone()
}

fn snapshot() -> Event {
    Event::Inventory(Change::Snapshot(listing()))
}

#[test]
fn nothing_is_wanted_before_policies_and_inventory_are_known() {
    let mut by_policies = core();
    by_policies.take(files(POLICY));
    assert!(by_policies.compiled().is_none());
    by_policies.take(Event::Inventory(Change::NetworkGone(NetworkId("x".into()))));
    assert!(by_policies.compiled().is_none(), "a change is not a listing");
    assert_eq!(by_policies.take(snapshot()), Need::Observe);
    assert!(by_policies.compiled().is_some());
    let mut by_inventory = core();
    by_inventory.take(snapshot());
    assert!(by_inventory.compiled().is_none());
    assert_eq!(by_inventory.take(files(POLICY)), Need::Apply);
    assert_eq!(by_inventory.compiled().cloned(), by_policies.compiled().cloned());
}

#[test]
fn what_changes_nothing_needs_nothing_and_what_docker_rewrites_is_read_back() {
    let mut core = core();
    core.take(files(POLICY));
    core.take(snapshot());
    assert_eq!(core.take(files(POLICY)), Need::Nothing);
    assert_eq!(core.take(snapshot()), Need::Observe);
    let is_frozen = |core: &mut Core| {
        let compiled = core.compiled().expect("rules stay while the engine is away");
        compiled.ruleset.anti_spoofing.as_ref().is_some_and(|bindings| bindings.frozen)
    };
    assert!(!is_frozen(&mut core));
    assert_eq!(core.take(Event::Inventory(Change::Unreachable("gone".to_owned()))), Need::Apply);
    assert!(is_frozen(&mut core), "nobody can tell whose a new port is");
    assert_eq!(core.take(Event::Inventory(Change::Unreachable("gone".to_owned()))), Need::Nothing);
    assert_eq!(core.unreachable(), Some("gone"));
    core.take(snapshot());
    assert_eq!(core.unreachable(), None);
    assert!(!is_frozen(&mut core));
}

#[test]
fn a_directory_that_vanishes_keeps_its_policies_also_across_a_restart() {
    let mut running = core();
    running.take(files(POLICY));
    running.take(snapshot());
    let wanted = running.compiled().cloned();
    assert_eq!(running.take(vanished()), Need::Nothing);
    assert_eq!(running.compiled().cloned(), wanted);
    assert!(running.policies().is_some_and(|state| state.unreadable.is_some()));

    let mut restarted = Core::new(compile::Options::default(), running.store().clone());
    restarted.take(vanished());
    restarted.take(snapshot());
    assert_eq!(restarted.compiled().cloned(), wanted);
    assert!(restarted.policies().is_some_and(|state| !state.held.is_empty() && state.unreadable.is_some()));
}

fn attached(container: &str, endpoint: &str) -> Event {
    let attachment = Attachment {
        network: NetworkId("n".into()),
        endpoint_id: endpoint.into(),
        ipv4: "10.0.0.2".parse().ok(),
        ipv6: None,
        mac: None,
    };
    Event::Inventory(Change::Attached { container: ContainerId(container.into()), attachment })
}

#[test]
fn containers_of_which_there_is_something_to_tell_are_followed() {
    let mut core = core();
    let told = |core: &Core| core.remarkable().map(|container| container.id.to_string()).collect::<Vec<_>>();
    let api = listed_api();
    let with = |id: &str, label: &str| Container {
        id: ContainerId(id.into()),
        labels: [("dockgate.io/ports".into(), label.into())].into(),
        attachments: vec![],
        ..api.clone()
    };
    let put = |core: &mut Core, container: Container| core.take(Event::Inventory(Change::Container(container.into())));
    core.take(snapshot());
    assert_eq!(told(&core), [""; 0]);
    put(&mut core, with("web", "http"));
    put(&mut core, with("db", "sql=5432"));
    assert_eq!(told(&core), ["web"], "a label that cannot be read");
    core.take(Event::Inventory(Change::NetworkGone(NetworkId("n".into()))));
    let mut before = told(&core);
    let network = listing().networks.into_values().next().expect("one network");
    core.take(Event::Inventory(Change::Network(Network { bridge: None, driver: "macvlan".to_owned(), ..network })));
    core.take(attached("api", "e"));
    before.insert(0, "api".to_owned());
    assert_eq!(told(&core), before, "a network without a bridge");
    put(&mut core, with("web", "http=80"));
    core.take(Event::Inventory(Change::ContainerGone(ContainerId("api".into()))));
    assert_eq!(told(&core), [""; 0], "all of it has ended");
}

#[test]
fn flows_are_judged_when_they_may_have_become_forbidden() {
    let mut core = core();
    assert!(!core.concerned().is_nobody(), "nothing was ever judged");
    core.take(files(POLICY));
    core.take(snapshot());
    core.compiled();
    assert!(!core.concerned().is_nobody());
    core.flows_are_judged();
    assert!(core.concerned().is_nobody());
    core.take(snapshot());
    core.compiled();
    assert!(core.concerned().is_nobody(), "nothing changed");
    core.take(files(&POLICY.replace("Allow", "Deny")));
    core.take(snapshot());
    core.compiled();
    assert!(!core.concerned().is_nobody(), "several changes since the last judgement");
    core.take(files(POLICY));
    core.compiled();
    assert!(core.concerned().is_nobody(), "a change that was taken back");
}

#[test]
fn an_address_is_handed_on_when_another_endpoint_has_it() {
    let mut core = core();
    core.take(files(POLICY));
    core.take(snapshot());
    core.compiled();
    core.flows_are_judged();
    let address = BTreeSet::from(["10.0.0.2".parse().expect("address")]);
    let held = |core: &Core| core.newly_held().addresses;
    let handed_on = |core: &Core| core.newly_held().handed_on;
    assert!(held(&core).is_empty());
    core.take(attached("api", ""));
    assert!(handed_on(&core).is_empty(), "an id that is not known yet says nothing");
    assert_eq!(held(&core), address, "somebody may have had it until flows were judged");
    core.take(attached("api", "e"));
    assert!(handed_on(&core).is_empty() && held(&core).is_empty(), "it was nobody else's");
    core.take(attached("api", "f"));
    assert_eq!(handed_on(&core), address, "the container was restarted");
    assert_eq!(held(&core), address);
    core.compiled();
    core.flows_are_judged();
    assert!(handed_on(&core).is_empty());
    let gone = Change::Detached { container: ContainerId("api".into()), network: NetworkId("n".into()) };
    core.take(Event::Inventory(gone));
    assert!(handed_on(&core).is_empty() && held(&core).is_empty(), "nobody has it");
}

fn governed() -> Core {
    let mut core = core();
    core.take(files(POLICY));
    core.take(snapshot());
    core
}

/// Whether this host may reach the container.
fn is_open(core: &mut Core) -> bool {
    let packet = Packet {
        hook: Hook::Output,
        in_interface: None,
        out_interface: "br-n".parse().ok(),
        source: "10.0.0.1".parse().expect("address"),
        destination: "10.0.0.2".parse().expect("address"),
        protocol: Protocol::TCP,
        source_port: Some(40_000),
        destination_port: Some(80),
        icmp: None,
    };
    evaluate(&core.compiled().expect("compiled").ruleset, &packet).decision == Decision::Allow
}

/// The container runs, or not, with these published ports.
fn run(core: &mut Core, listed: bool, ports: &[u16]) {
    let api = listed_api();
    let port = |number: &u16| PublishedPort {
        host_address: None,
        host_port: Some(*number),
        container_port: 80,
        protocol: Protocol::TCP,
    };
    let published = ports.iter().map(port).collect();
    core.take(Event::Inventory(Change::Container(Container { published, listed, ..api }.into())));
}

/// Since when dockgate has been listening.
fn long_ago() -> Instant {
    Instant::now().checked_sub(ARRIVAL * 60).expect("the machine runs for longer")
}

/// Without doubt.
fn applied(core: &mut Core, now: Instant) {
    core.applied(now, &Doubt::At(LocalPorts::new()));
}

#[test]
fn this_host_reaches_a_container_when_its_published_ports_have_been_judged_for_a_while() {
    let start = Instant::now();
    for is_recognised in [true, false] {
        let mut core = governed();
        assert!(core.is_new());
        run(&mut core, true, &[8080]);
        assert!(!is_open(&mut core), "nobody has looked what was in force");
        core.recognise(|inventory, _| {
            let all = inventory.containers.keys().cloned();
            if is_recognised { all.collect() } else { Vec::new() }
        });
        assert!(!core.is_new());
        assert_eq!(is_open(&mut core), is_recognised, "before anything is written");
        applied(&mut core, start);
        assert_eq!(core.settles_at(), (!is_recognised).then_some(start + SETTLING));
    }

    let mut core = governed();
    run(&mut core, false, &[]);
    assert!(!is_open(&mut core), "it starts, and its ports are not known");
    run(&mut core, true, &[8080]);
    assert!(!is_open(&mut core), "they are known, and not judged yet");
    assert_eq!(core.settles_at(), None, "the rules are not in force yet");
    let settling = BTreeSet::from([(Protocol::TCP, 8080)]);
    assert_eq!(core.settling_ports(), settling, "they are about to be");
    applied(&mut core, start);
    assert_eq!(core.settling_ports(), settling);
    applied(&mut core, start + SETTLING / 2);
    assert_eq!(core.settles_at(), Some(start + SETTLING), "since they came into force, not since the last time");
    assert_eq!(core.settle(start + SETTLING / 2, long_ago()), Need::Nothing);
    assert!(!is_open(&mut core));
    assert_eq!(core.settle(start + SETTLING, long_ago()), Need::Apply);
    assert!(is_open(&mut core));
    applied(&mut core, start + SETTLING);
    assert_eq!(core.settles_at(), None);
    assert!(core.settling_ports().is_empty());

    run(&mut core, false, &[]);
    assert!(!is_open(&mut core), "it starts again");
    run(&mut core, true, &[8080]);
    assert!(is_open(&mut core), "policy on this port was in force all the time");

    run(&mut core, true, &[8081]);
    applied(&mut core, start);
    run(&mut core, true, &[8082]);
    applied(&mut core, start + SETTLING / 2);
    assert_eq!(core.settle(start + SETTLING, long_ago()), Need::Nothing, "another port has its own time");
    assert!(!is_open(&mut core));
}

#[test]
fn published_ports_stay_shut_while_a_forbidden_flow_may_lead_there() {
    let start = Instant::now();
    let mut core = governed();
    run(&mut core, true, &[8083]);
    let at = |port| Doubt::At(LocalPorts::from([port]));
    let doubt = at((Protocol::TCP, 8083));
    for doubt in [&doubt, &Doubt::Everywhere] {
        core.applied(start, doubt);
        core.compiled();
        assert_eq!((core.settles_at(), core.shut(doubt).count()), (None, 1), "{doubt:?}");
        assert_eq!(core.settling_ports(), LocalPorts::from([(Protocol::TCP, 8083)]));
    }
    core.applied(start, &at((Protocol::UDP, 8083)));
    assert_eq!((core.settles_at(), core.shut(&doubt).count()), (Some(start + SETTLING), 0), "none does any more");
    core.unsettle(LocalPorts::from([(Protocol::TCP, 8080)]));
    assert_eq!(core.settles_at(), Some(start + SETTLING), "one led to another port");
    core.unsettle(LocalPorts::from([(Protocol::TCP, 8083)]));
    assert_eq!(core.settles_at(), None, "one led to it until now");
    applied(&mut core, start + SETTLING / 2);
    assert_eq!(core.settles_at(), Some(start + SETTLING / 2 + SETTLING));
    core.applied(start + SETTLING, &doubt);
    assert_eq!(core.settle(start + SETTLING * 2, long_ago()), Need::Nothing, "one may lead to it again");
    assert!(!is_open(&mut core));
}

#[test]
fn published_ports_are_shut_again_where_what_opens_them_cannot_be_applied() {
    let start = Instant::now();
    let mut core = governed();
    run(&mut core, true, &[8080]);
    applied(&mut core, start);
    assert_eq!(core.settle(start + SETTLING, long_ago()), Need::Apply);
    assert!(is_open(&mut core));
    core.not_applied();
    assert!(!is_open(&mut core));
    applied(&mut core, start + SETTLING);
    assert_eq!(core.settles_at(), Some(start + SETTLING * 2), "it begins anew");
    assert_eq!(core.settle(start + SETTLING * 2, long_ago()), Need::Apply);
    applied(&mut core, start + SETTLING * 2);
    core.not_applied();
    assert!(is_open(&mut core), "what has been in force is");
}

#[test]
fn a_refused_policy_is_closed_and_not_left_out() {
    let mut core = core();
    core.take(files(POLICY));
    core.take(snapshot());
    let packet = Packet {
        hook: Hook::Forward,
        in_interface: None,
        out_interface: "br-n".parse().ok(),
        source: "203.0.113.9".parse().expect("address"),
        destination: "10.0.0.2".parse().expect("address"),
        protocol: crate::net::Protocol::TCP,
        source_port: Some(40_000),
        destination_port: Some(80),
        icmp: None,
    };
    let judged = |core: &mut Core| evaluate(&core.compiled().expect("compiled").ruleset, &packet);
    assert_eq!(judged(&mut core).decision, Decision::Allow);
    let key = PolicyKey { kind: PolicyKind::NetworkPolicy, namespace: None, name: "p".to_owned() };
    assert!(core.alone(&key).is_some());
    assert!(core.refuse(BTreeSet::from([key.clone()])));
    let verdict = judged(&mut core);
    assert_eq!(verdict.decision, Decision::Deny);
    assert_eq!(verdict.trace.last().map(|hit| &hit.action), Some(&Action::Drop));
    assert!(!core.refuse(BTreeSet::from([key])), "nothing new");
    core.take(files(&POLICY.replace("name: p", "name: q")));
    assert_eq!(judged(&mut core).decision, Decision::Allow, "an edit is a new chance");
}

/// What policies, containers and networks do in whatever order, and whatever the kernel refuses of it: what is wanted is what a
/// full compilation of all that is known makes.
#[test]
fn what_is_wanted_does_not_depend_on_the_way_there() {
    let (mut compiled, mut with_refused, mut frozen, mut settled, mut shut_again) = (0, 0, 0, 0, 0);
    let (mut arriving, mut opened) = (0, 0);
    for seed in 0..150 {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut core = core();
        core.take(files(&worlds::edited(random)));
        core.take(Event::Inventory(Change::Snapshot(any_inventory(random))));
        for step in 0..30 {
            let known = core.inventory().expect("it was listed").clone();
            match random.random_range(0..20) {
                0..=10 => drop(core.take(Event::Inventory(worlds::change(random, &known)))),
                11 => drop(
                    core.take(Event::Inventory(Change::NetworkGone(worlds::network_id(random.random_range(0..4))))),
                ),
                12 => drop(core.take(Event::Inventory(Change::Network(any_network(random))))),
                13 => drop(core.take(Event::Inventory(Change::Snapshot(any_inventory(random))))),
                14 => drop(core.take(Event::Inventory(Change::Snapshot(known)))),
                15 => drop(core.take(Event::Inventory(Change::Unreachable("gone".to_owned())))),
                16..=17 => drop(core.take(files(&worlds::edited(random)))),
                18 => {
                    let policies = core.policies().expect("they were read").policies.policies.iter();
                    let refused =
                        policies.map(|policy| policy.key.clone()).filter(|_| random.random_bool(0.4)).collect();
                    core.refuse(refused);
                }
                _ => core.flows_are_judged(),
            }
            // Ports come to be judged, without an event.
            if random.random_bool(0.2) {
                let now = Instant::now();
                let doubt = if random.random_bool(0.1) { Doubt::Everywhere } else { Doubt::At(LocalPorts::new()) };
                core.applied(now, &doubt);
                let (after, is_awaited) = (if random.random_bool(0.5) { SETTLING } else { ARRIVAL }, arrivals(&core));
                let is_over = core.settle(now + after, long_ago()) == Need::Apply;
                settled += usize::from(is_over);
                opened += is_awaited - arrivals(&core);
                if random.random_bool(0.5) {
                    core.compiled();
                }
                if random.random_bool(0.3) {
                    core.not_applied();
                    shut_again += usize::from(is_over);
                }
            }
            // Several things can happen at once.
            if random.random_bool(0.4) {
                continue;
            }
            let wanted = core.compiled().expect("everything is known").clone();
            let policies = closed(&core.policies().expect("they were read").policies, core.refused());
            let mut anew = compile::compile(&policies, core.inventory().expect("it was listed"), &core.options);
            if let Some(anti_spoofing) = &mut anew.ruleset.anti_spoofing {
                anti_spoofing.frozen = core.unreachable().is_some();
            }
            assert_eq!(wanted, anew, "seed {seed}, step {step}");
            compiled += 1;
            with_refused += usize::from(!core.refused().is_empty());
            frozen += usize::from(core.unreachable().is_some());
            arriving += arrivals(&core);
        }
    }
    assert!(compiled > 2000 && with_refused > 100 && frozen > 300, "{compiled}, {with_refused}, {frozen}");
    assert!(settled > 100 && shut_again > 30, "{settled}, {shut_again}");
    assert!(arriving > 100 && opened > 20, "{arriving}, {opened}");
}

fn arrivals(core: &Core) -> usize {
    core.inventory().map_or(0, |inventory| inventory.arrivals.len())
}

fn any_network(random: &mut StdRng) -> Network {
    let mut network = worlds::networks().swap_remove(random.random_range(0..4));
    if random.random_bool(0.3) {
        network.subnets.truncate(1);
    }
    if random.random_bool(0.2) {
        network.name.push('2');
    }
    network
}

fn any_inventory(random: &mut StdRng) -> Inventory {
    let networks = worlds::networks().into_iter().filter(|_| random.random_bool(0.9));
    let networks = networks.map(|network| (network.id.clone(), network)).collect();
    let mut inventory = Inventory { networks, ..Inventory::default() };
    for _ in 0..random.random_range(0..12) {
        inventory.apply(Change::Container(worlds::container(random).into()));
    }
    inventory
}
