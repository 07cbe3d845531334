//! The laboratory itself: that its probes tell the truth, what an engine without any policy lets through, and that
//! nothing stays behind.

#![expect(clippy::print_stderr, reason = "measurements of the laboratory are worth reading")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::lab::{HOST, OUTSIDE};
use support::leftovers::Claim;
use support::{Cell, Container, Engine, Flow, Lab, Options, Outcome, Probe, Responder, Survey, Target, command};

const ALL_PROBES: [Probe; 3] = [Probe::Tcp(80), Probe::Udp(80), Probe::Ping];

/// web on front, api on both, db on back; web is published.
fn shop(lab: &Lab) -> Vec<Container> {
    lab.network("front", &["10.10.1.0/24", "2001:db8:10:1::/64"]);
    lab.network("back", &["10.10.2.0/24", "2001:db8:10:2::/64"]);
    lab.start_all(vec![
        lab.container("web").network("front").publish("8080:80").serve(&[80]),
        lab.container("api").network("front").network("back").serve(&[80]),
        lab.container("db").network("back").serve(&[80]),
    ])
}

fn survey_of(lab: &Lab, containers: &[Container]) -> Survey {
    let published = Target::published("host", &HOST, Probe::Tcp(8080));
    let survey = Survey::new().source(lab.outside_source()).source(lab.host_source()).target(published);
    containers.iter().fold(survey, |survey, container| {
        let survey = survey.source(container.source());
        let networks = container.addresses_by_network().into_keys();
        networks.fold(survey, |survey, network| survey.target(container.target_on(&network, &ALL_PROBES)))
    })
}

/// What an engine does for its networks.
struct Separation {
    /// Whether it has rules for IPv6.
    ipv6: bool,
    /// Whether the outside can reach the container behind a published port by the container's own address.
    direct: bool,
    /// Whether `docker-proxy` serves published ports to containers of other networks too. Without it their packets are
    /// translated, and then are packets between networks.
    proxy: bool,
}

impl Separation {
    /// What Docker itself allows in the shop: everything within a network, from the host, and to a published port;
    /// nothing else between networks or from outside.
    fn allows(&self, cell: &Cell) -> bool {
        let networks: &[&str] = match cell.source.as_str() {
            "web" => &["front"],
            "api" => &["front", "back"],
            "db" => &["back"],
            _ => &[],
        };
        let Some((container, network)) = cell.target.split_once('@') else {
            // The default route of api is that of `back`.
            return self.proxy || !["api", "db"].contains(&cell.source.as_str());
        };
        let direct = cell.source == "outside" && container == "web" && cell.probe == Probe::Tcp(80) && self.direct;
        let unfiltered = cell.address.is_ipv6() && !self.ipv6;
        cell.source == "host" || networks.contains(&network) || direct || unfiltered
    }
}

#[test]
fn an_engine_without_policy_separates_its_networks() {
    let installed = Options::from(Engine::Installed);
    for (name, options) in [
        ("as it comes", installed.clone()),
        ("with ip6tables", Options { ip6tables: Some(true), ..installed.clone() }),
        ("without docker-proxy", Options { userland_proxy: false, ip6tables: Some(true), ..installed }),
        ("the newer one", Options::from(Engine::Sid)),
    ] {
        let proxy = options.userland_proxy;
        let lab = Lab::start(options);
        let containers = shop(&lab);
        let separation = Separation {
            proxy,
            ipv6: lab.run(&["ip6tables", "-S"]).contains("DOCKER"),
            direct: !lab.run(&["iptables", "-t", "raw", "-S"]).contains("-j DROP"),
        };
        eprintln!(
            "engine {}, {name}: IPv6 filtered: {}, direct access: {}",
            lab.engine_version(),
            separation.ipv6,
            separation.direct
        );
        survey_of(&lab, &containers).expect(|cell| separation.allows(cell));
    }
}

#[test]
fn an_engine_ends_and_another_takes_its_containers_over() {
    let mut lab = Lab::start(Options { live_restore: true, ..Options::default() });
    lab.network("front", &["10.10.1.0/24"]);
    let web = lab.container("web").network("front").serve(&[80]).start();
    let before = (web.process_id(), web.address("front", false), lab.engine_version());
    let state = |lab: &Lab| (web.process_id(), web.address("front", false), lab.engine_version());
    lab.stop_engine();
    lab.start_engine();
    assert_eq!(state(&lab), before, "stopped and started");
    lab.kill_engine();
    lab.start_engine();
    assert_eq!(state(&lab), before, "killed and started");
    lab.stop_engine();
    lab.start_engine_as(Options { engine: Engine::Sid, live_restore: true, ..Options::default() });
    let after = state(&lab);
    assert_eq!((after.0, after.1), (before.0, before.1), "another engine");
    assert_ne!(after.2, before.2);
    assert_eq!(web.exec(&["echo", "alive"]), "alive");
    eprintln!("a container of engine {} lives on in engine {}", before.2, after.2);
    lab.restart_engine();
    assert_eq!(state(&lab), after, "the other engine again");
}

#[test]
fn an_engine_that_is_killed_starts_again() {
    let lab = Lab::start(Engine::Installed);
    lab.network("front", &["10.10.1.0/24"]);
    let mut web = lab.container("web").network("front").option("--restart").option("always").serve(&[80]).start();
    let before = web.process_id();
    lab.kill_engine();
    lab.start_engine();
    web.rejoin();
    assert_ne!(web.process_id(), before);
}

#[test]
fn a_survey_takes_its_deadline_and_not_the_sum_of_its_cells() {
    let lab = Lab::start(Engine::Installed);
    lab.network("front", &["10.10.1.0/24", "2001:db8:10:1::/64"]);
    let ports: Vec<u16> = (9000..9004).collect();
    let builders = (0..6).map(|number| lab.container(&format!("c{number}")).network("front").serve(&ports));
    let containers = lab.start_all(builders.collect());
    // Nothing answers a dropped packet, so every cell takes as long as a cell can.
    lab.run(&["iptables", "-I", "DOCKER-USER", "-j", "DROP"]);
    let probes: Vec<Probe> = ports.iter().flat_map(|port| [Probe::Tcp(*port), Probe::Udp(*port)]).collect();
    let survey = containers
        .iter()
        .fold(Survey::new(), |survey, container| survey.source(container.source()).target(container.target(&probes)));
    let start = Instant::now();
    let matrix = survey.measure();
    let took = start.elapsed();
    eprintln!("{} cells in {took:?}", matrix.cells.len());
    assert!(took < Duration::from_secs(3), "{took:?}");
    matrix.assert(|cell| cell.address.is_ipv6() || cell.target == cell.source);
}

/// What an address gives when it is probed from the client, after the host's packet filter was told `rule`.
fn outcomes_with(lab: &Lab, containers: &[Container], rule: &[&str]) -> Vec<(Probe, bool, Outcome)> {
    let command = |action| {
        let mut command = vec![if rule.contains(&"icmp6-port-unreachable") { "ip6tables" } else { "iptables" }, action];
        command.extend(["FORWARD"].iter().chain(rule));
        command
    };
    lab.run(&command("-I"));
    let matrix = Survey::new().source(containers[0].source()).target(containers[1].target(&ALL_PROBES)).measure();
    lab.run(&command("-D"));
    matrix.cells.iter().map(|(cell, outcome)| (cell.probe, cell.address.is_ipv6(), *outcome)).collect()
}

#[test]
fn probes_tell_their_outcomes_apart() {
    let lab = Lab::start(Engine::Installed);
    lab.network("front", &["10.10.1.0/24", "2001:db8:10:1::/64"]);
    let containers = lab.start_all(vec![
        lab.container("client").network("front"),
        lab.container("server").network("front").serve(&[80]),
    ]);

    let open = outcomes_with(&lab, &containers, &["-p", "tcp", "--dport", "1", "-j", "DROP"]);
    assert!(open.iter().all(|(_, _, outcome)| *outcome == Outcome::Open), "{open:?}");

    // That a rule in FORWARD stops them shows that same-bridge packets pass through the packet filter here.
    let dropped = outcomes_with(&lab, &containers, &["-j", "DROP"]);
    for (probe, v6, outcome) in dropped {
        assert_eq!(outcome, if v6 { Outcome::Open } else { Outcome::Blocked }, "{probe} IPv6 {v6} with DROP");
    }
    for (rule, v6) in [("icmp-port-unreachable", false), ("icmp6-port-unreachable", true)] {
        let rejected = outcomes_with(&lab, &containers, &["-j", "REJECT", "--reject-with", rule]);
        for (probe, _, outcome) in rejected.into_iter().filter(|(_, family, _)| *family == v6) {
            assert_eq!(outcome, Outcome::Refused, "{probe} with {rule}");
        }
    }

    let to = |probe, address| {
        let target = Target { name: "x".to_owned(), addresses: vec![address], probes: vec![probe], home: None };
        let matrix = Survey::new().source(containers[0].source()).target(target).measure();
        *matrix.cells.values().next().expect("one cell was asked for")
    };
    let server = containers[1].address("front", false);
    assert_eq!(to(Probe::Tcp(81), server), Outcome::Refused, "nobody listens");
    assert_eq!(to(Probe::Udp(81), server), Outcome::Refused, "nobody listens");
    lab.run(&["ip", "route", "add", "unreachable", "192.0.2.0/24"]);
    assert_eq!(to(Probe::Tcp(80), "192.0.2.1".parse().unwrap()), Outcome::Unreachable, "the host has no route");
}

#[test]
fn a_port_that_only_the_proxy_holds_reads_as_reset() {
    let lab = Lab::start(Engine::Installed);
    lab.network("front", &["10.10.1.0/24"]);
    // Published, but nobody serves it: docker-proxy accepts over IPv6 and cannot go on.
    let _idle = lab.container("idle").network("front").publish("8080:80").start();
    let target = Target::published("host", &HOST, Probe::Tcp(8080));
    let matrix = Survey::new().source(lab.outside_source()).target(target).measure();
    assert_eq!(matrix.outcome("outside", "host", Probe::Tcp(8080), false), Outcome::Refused);
    assert_eq!(matrix.outcome("outside", "host", Probe::Tcp(8080), true), Outcome::Reset);
}

#[test]
fn containers_and_hosts_serve_and_keep_serving() {
    let lab = Lab::start(Engine::Installed);
    let mut containers = shop(&lab);
    let _host = Responder::start(lab.host(), &[7000]);
    let _outside = Responder::start(lab.outside(), &[7000]);
    let at = |name: &str, addresses: &[_], home| Target {
        name: name.to_owned(),
        addresses: addresses.to_vec(),
        probes: vec![Probe::Tcp(7000), Probe::Udp(7000), Probe::Ping],
        home: Some(home),
    };
    let hosts = Survey::new().source(containers[0].source()).target(at("host", &HOST, lab.host().clone())).target(at(
        "outside",
        &OUTSIDE,
        lab.outside().clone(),
    ));
    hosts.expect(|_| true);

    let web = containers[0].namespace().clone();
    let api = SocketAddr::new(containers[1].address("front", false), 80);
    let mut flow = Flow::open(&web, api).expect("web and api share a network");
    assert!(flow.is_alive(Duration::from_secs(2)));

    containers[1].restart();
    assert!(!flow.is_alive(Duration::from_millis(300)), "the server's namespace is a new one");
    let survey = |containers: &[Container]| {
        Survey::new().source(containers[0].source()).target(containers[1].target_on("front", &ALL_PROBES))
    };
    survey(&containers).expect(|_| true);

    containers[1].disconnect("front");
    containers[1].connect("front");
    survey(&containers).expect(|_| true);
    containers[1].stop();
    containers[1].start();
    survey(&containers).expect(|_| true);
    assert_eq!(containers[1].exec(&["hostname"]), containers[1].id()[..12]);
    containers.remove(2).remove();
    assert_eq!(lab.docker(&["ps", "--all", "--format", "{{.Names}}"]).lines().count(), 2);
}

/// Everything in the machine that carries the name of a laboratory.
fn traces(name: &str) -> Vec<String> {
    let mut traces = Vec::new();
    let entries = |directory: &str| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    for directory in ["/run/netns", "/var/lib/dockgate-lab", "/sys/fs/cgroup"] {
        traces.extend(entries(directory));
    }
    traces.extend(entries("/sys/fs/cgroup").iter().flat_map(|group| entries(&group.to_string_lossy())));
    let mut traces: Vec<String> = traces.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    for process in entries("/proc") {
        // One that has ended and that its parent has not taken note of yet has no command line, and holds nothing.
        if fs::read(process.join("cmdline")).unwrap_or_default().is_empty() {
            continue;
        }
        for file in ["environ", "mountinfo", "cgroup", "cmdline"] {
            let text = fs::read(process.join(file)).unwrap_or_default();
            if String::from_utf8_lossy(&text).contains(name) {
                traces.push(format!("{name} in {}", process.join(file).display()));
            }
        }
    }
    traces.retain(|trace| trace.contains(name));
    traces
}

/// The machine's own interfaces and packet filter.
fn machine() -> String {
    let filters = ["iptables-save", "ip6tables-save"].map(|save| command::run(&[save]));
    let rules = filters.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with("-A"));
    let links = fs::read_dir("/sys/class/net").expect("sysfs is mounted").flatten();
    let mut all: Vec<String> = links.map(|link| link.file_name().to_string_lossy().into_owned()).collect();
    all.sort();
    all.extend(rules.map(str::to_owned));
    all.join("\n")
}

#[test]
fn nothing_stays_behind() {
    let before = machine();
    let mut names = Vec::new();
    for engine in [Engine::Installed, Engine::Sid] {
        let lab = Lab::start(engine);
        let _containers = shop(&lab);
        names.push(lab.name().to_owned());
        assert!(traces(lab.name()).len() > 10, "the search for traces finds some while the laboratory is there");
        assert_eq!(machine(), before, "while {engine:?} runs");
    }
    // A test that fails ends its laboratory too.
    let failing = std::thread::spawn(|| {
        let lab = Lab::start(Engine::Installed);
        let _containers = shop(&lab);
        std::panic::panic_any(lab.name().to_owned());
    });
    let name = failing.join().expect_err("it panics");
    names.push(*name.downcast::<String>().expect("it panics with the name"));
    for name in &names {
        assert_eq!(traces(name), [""; 0]);
    }
    assert_eq!(machine(), before);
}

/// Set in the process that is to be killed.
const VICTIM: &str = "DOCKGATE_LAB_VICTIM";

#[test]
fn the_next_start_removes_what_a_killed_test_left() {
    const THIS_TEST: &str = "the_next_start_removes_what_a_killed_test_left";
    if std::env::var_os(VICTIM).is_some() {
        let lab = Lab::start(Engine::Installed);
        let _containers = shop(&lab);
        eprintln!("victim {}", lab.name());
        std::thread::sleep(Duration::from_mins(2));
        return;
    }
    let mut victim = Command::new(std::env::current_exe().expect("this program has a path"))
        .args(["--exact", THIS_TEST, "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this program can be run");
    let lines = BufReader::new(victim.stderr.take().expect("standard error is piped")).lines();
    let name = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("victim ").map(str::to_owned));
    let name = name.unwrap_or_else(|| panic!("the laboratory of the victim did not start"));
    victim.kill().expect("the victim is our child");
    victim.wait().expect("the victim is our child");
    assert!(traces(&name).len() > 10, "a killed process cannot clean up");
    drop(Claim::new());
    assert_eq!(traces(&name), [""; 0]);
}
