//! Generated policies, measured with packets and predicted by `verdict`, cell by cell.
//!
//! Nine containers on three networks, the outside and the host itself; TCP, UDP and ICMP; IPv4 and IPv6. Docker's own
//! isolation is switched off in the laboratory, so that the cells between networks say something too.
//!
//! It asks `verdict` alone, and no command. That `explain`, `connectivity`, `test` and `diff` say the same as the kernel
//! follows in three steps. The kernel does what `evaluate` says of a packet: this test. The packets of a connection, as
//! `verdict::path` makes them of two ends for every command, are those that are sent here: the tests beside it have a row
//! for each hook. And every command says of a connection what `evaluate` says of these packets: `tests/agreement`, in other
//! worlds with the same policies. What Docker's own rules close (between networks, from outside to what is not published)
//! is switched off here; `tests/enforcement/published_ports.rs` and `main_job.rs` measure with it.
//!
//! `DOCKGATE_DIFFERENTIAL_CASES` (default 200) and `DOCKGATE_DIFFERENTIAL_SEED` (default 0) choose the policies.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dockgate::compile::{Compiled, Options, compile};
use dockgate::dataplane::{self, Kernel};
use dockgate::inventory::{Inventory, docker};
use dockgate::net::{Family, InterfaceName, Protocol};
use dockgate::policy::{Severity, SourceFile, load};
use dockgate::ruleset::Hook;
use dockgate::verdict::{Decision, Packet, evaluate};

use crate::support::lab::HOST;
use crate::support::policies::{SUBNETS, policies};
use crate::support::{Cell, Container, Engine, Lab, Probe, Responder, Survey, Target};

const PROBES: [Probe; 4] = [Probe::Tcp(80), Probe::Tcp(81), Probe::Udp(53), Probe::Ping];
/// Flows that earlier cases left are forgotten after so many cases, or the kernel's table would fill.
const CASES_PER_FLUSH: u64 = 10;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Three containers on each network, with different labels, namespaces and named ports.
fn containers(lab: &Lab) -> Vec<Container> {
    let mut builders = Vec::new();
    for (index, (network, v4, v6)) in SUBNETS.iter().enumerate() {
        lab.network(network, &[v4, v6]);
        let host = 10 * (index + 1);
        let members = [
            ("x", None, "a", "http=80/tcp"),
            ("y", Some("db"), "a", "http=81/tcp,dns=53/udp"),
            ("x", Some("db"), "b", "dns=53/udp"),
        ];
        for (offset, (app, role, namespace, ports)) in members.into_iter().enumerate() {
            let address = host + offset;
            let name = format!("{network}-{app}{offset}");
            let app = if index == 2 && offset == 0 { "zone" } else { app };
            let mut builder = lab
                .container(&name)
                .network(network)
                .ip(&v4.replace("0/24", &address.to_string()))
                .ip(&v6.replace("/64", &address.to_string()))
                .label("app", app)
                .label("projectcalico.org/namespace", namespace)
                .label("dockgate.io/ports", ports)
                .serve(&[53, 80, 81]);
            if let Some(role) = role {
                builder = builder.label("role", role);
            }
            builders.push(builder);
        }
    }
    lab.start_all(builders)
}

/// Where the packet of a cell is seen, and how.
fn packet(inventory: &Inventory, addresses: &BTreeMap<(String, bool), IpAddr>, cell: &Cell) -> Packet {
    let bridge_of = |address: IpAddr| -> Option<InterfaceName> {
        let holds = |subnets: &Vec<dockgate::net::Cidr>| subnets.iter().any(|subnet| subnet.contains(address));
        inventory.networks.values().find(|network| holds(&network.subnets)).and_then(|network| network.bridge.clone())
    };
    let destination = cell.address;
    let source = addresses[&(cell.source.clone(), destination.is_ipv6())];
    let family = Family::of(destination);
    let (protocol, port) = match cell.probe {
        Probe::Tcp(port) => (Protocol::TCP, Some(port)),
        Probe::Udp(port) => (Protocol::UDP, Some(port)),
        Probe::Ping => (family.icmp(), None),
    };
    let echo = if family == Family::V4 { 8 } else { 128 };
    let hook = match (cell.source.as_str(), cell.target.as_str()) {
        (_, "host") => Hook::Input,
        ("host", _) => Hook::Output,
        _ => Hook::Forward,
    };
    Packet {
        hook,
        in_interface: (hook != Hook::Output).then(|| bridge_of(source)).flatten(),
        out_interface: (hook != Hook::Input).then(|| bridge_of(destination)).flatten(),
        source,
        destination,
        protocol,
        // No generated rule tells source ports apart but by the ranges that hold all of the prober's.
        source_port: port.map(|_| 30_000),
        destination_port: port,
        icmp: port.is_none().then_some((echo, 0)),
    }
}

fn predicted(compiled: &Compiled, packet: &Packet) -> bool {
    evaluate(&compiled.ruleset, packet).decision == Decision::Allow
}

#[test]
fn the_kernel_does_what_verdict_says() {
    let cases = number("DOCKGATE_DIFFERENTIAL_CASES", 200);
    let first = number("DOCKGATE_DIFFERENTIAL_SEED", 0);
    let lab = Lab::start(Engine::Installed);
    let containers = containers(&lab);
    let _host_services = Responder::start(lab.host(), &[53, 80, 81]);
    for command in [
        ["iptables", "-F", "DOCKER-ISOLATION-STAGE-1"].as_slice(),
        &["iptables", "-P", "FORWARD", "ACCEPT"],
        // Without its disguise a container is seen as itself on the other network.
        &["iptables", "-t", "nat", "-F", "POSTROUTING"],
    ] {
        lab.run(command);
    }
    let mut survey = Survey::new().source(lab.outside_source()).source(lab.host_source()).target(Target {
        name: "host".to_owned(),
        addresses: HOST.to_vec(),
        probes: PROBES.to_vec(),
        home: Some(lab.host().clone()),
    });
    let mut addresses = BTreeMap::new();
    for (name, [v4, v6]) in [("outside", crate::support::lab::OUTSIDE), ("host", HOST)] {
        addresses.extend([((name.to_owned(), false), v4), ((name.to_owned(), true), v6)]);
    }
    for container in &containers {
        survey = survey.source(container.source()).target(container.target(&PROBES));
        for address in container.addresses_by_network().into_values().flatten() {
            addresses.insert((container.name().to_owned(), address.is_ipv6()), address);
        }
    }
    // Without policy everything is open.
    survey.expect(|_| true);

    let inventory = listed(&lab);
    let mut kernel = lab.host().run(|| Kernel::open(dataplane::Options::default())).expect("a kernel that can enforce");
    let (mut open, mut blocked) = (0, 0);
    for case in 0..cases {
        let seed = first + case;
        let text = policies(seed);
        let loaded = load(&[SourceFile::new("generated.yaml", text.clone())]);
        let errors: Vec<_> = loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "seed {seed}: {errors:#?}\n{text}");
        let compiled = compile(&loaded.policies, &inventory, &Options::default());
        let enforced = lab.host().run(|| kernel.enforce(&compiled.ruleset));
        enforced.unwrap_or_else(|error| panic!("seed {seed}: {error:?}\n{text}"));
        let expected = |cell: &Cell| {
            // What a party sends to itself passes no hook.
            cell.source == cell.target || predicted(&compiled, &packet(&inventory, &addresses, cell))
        };
        let measured = survey.measure_against(expected);
        let wrong = measured.differences(expected);
        if !wrong.is_empty() {
            for (cell, outcome) in wrong.iter().take(5) {
                let verdict = evaluate(&compiled.ruleset, &packet(&inventory, &addresses, cell));
                println!("{cell}: measured {outcome}, predicted {:?} by {:#?}", verdict.decision, verdict.trace);
            }
            panic!("seed {seed}: {} of {} cells are wrong\n{text}", wrong.len(), measured.cells.len());
        }
        let count = measured.cells.values().filter(|outcome| outcome.is_open()).count();
        open += count;
        blocked += measured.cells.len() - count;
        if (case + 1) % CASES_PER_FLUSH == 0 {
            lab.run(&["conntrack", "-F"]);
            println!("{} of {cases} cases: {open} cells open, {blocked} closed, none wrong", case + 1);
        }
    }
    assert!(open > 0 && blocked > 0, "the cases are worth nothing: {open} open, {blocked} blocked");
}

/// What the engine's own listing says, as the controller sees it.
fn listed(lab: &Lab) -> Inventory {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let docker = bollard::Docker::connect_with_unix(
        lab.docker_host().trim_start_matches("unix://"),
        10,
        bollard::API_DEFAULT_VERSION,
    );
    runtime.block_on(async {
        let docker = docker.expect("a socket").negotiate_version().await.expect("an engine that answers");
        docker::snapshot(&docker).await.expect("a listing")
    })
}
