//! What is tried on each engine, with packets.
//!
//! Input: a combination. Output: a note per check, and an error with what failed first.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::board::{Board, FAILED};
use crate::support::lab::{HOST, OUTSIDE};
use crate::support::world::{JUMPS, Policies, jumps, packet_filter, wait_for};
use crate::support::{
    Cell, Container, Controller, Engine, Iptables, Lab, Matrix, Options, Outcome, Probe, Responder, Survey, Target,
};

/// The checks, in the order in which they are made.
pub(crate) const CHECKS: [&str; 11] = [
    "variant",
    "cleanup",
    "same bridge",
    "routed",
    "to host",
    "from outside",
    "proxy",
    "gate",
    "restart",
    "no policy",
    "no trace",
];

const PORT: u16 = 80;
/// The ports of the host for the server and the shy one.
const PUBLISHED: [u16; 2] = [8080, 8081];
/// Of the host and of the outside host.
const SERVER: u16 = 7000;

/// server: a client and the outside host may come in. shy: nobody. sealed: it may not go out.
const POLICIES: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: server}
spec:
  selector: role == 'server'
  ingress:
    - {action: Allow, source: {selector: role == 'client'}}
    - {action: Allow, source: {nets: [203.0.113.9/32]}}
    - {action: Allow, source: {nets: ['2001:db8:1::9/128']}}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: shy}
spec: {selector: role == 'shy', types: [Ingress]}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: sealed}
spec: {selector: role == 'sealed', types: [Egress]}
";

/// An engine and how it is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Combination {
    engine: Engine,
    variant: Iptables,
    userland_proxy: bool,
    /// Whether the engine writes rules for IPv4.
    iptables: bool,
    /// Whether it writes rules for IPv6.
    ip6tables: bool,
}

impl Combination {
    /// All of them.
    pub(crate) fn all() -> Vec<Combination> {
        let mut all = Vec::new();
        for engine in [Engine::Installed, Engine::Trixie, Engine::Sid] {
            for variant in [Iptables::Nft, Iptables::Legacy] {
                for userland_proxy in [true, false] {
                    for ip6tables in [true, false] {
                        all.push(Combination { engine, variant, userland_proxy, iptables: true, ip6tables });
                    }
                }
            }
            // It filters nothing then, and there is no DOCKER-USER.
            let variant = Iptables::Nft;
            all.push(Combination { engine, variant, userland_proxy: true, iptables: false, ip6tables: false });
        }
        all
    }

    /// Whether `make test` runs it: on the newest engine every pair of settings once.
    pub(crate) fn is_run_often(self) -> bool {
        let odd = [self.variant == Iptables::Legacy, !self.userland_proxy, !self.ip6tables];
        self.engine == Engine::Sid && self.iptables && odd.iter().filter(|odd| **odd).count() % 2 == 0
    }

    /// Its name, by which it can be chosen.
    pub(crate) fn name(self) -> String {
        let engine = match self.engine {
            Engine::Installed => "installed",
            Engine::Trixie => "trixie",
            Engine::Sid => "sid",
        };
        if !self.iptables {
            return format!("{engine}::no-iptables");
        }
        let proxy = if self.userland_proxy { "proxy" } else { "no-proxy" };
        let ip6tables = if self.ip6tables { "ip6tables" } else { "no-ip6tables" };
        format!("{engine}::{}::{proxy}::{ip6tables}", self.variant.name())
    }

    fn options(self) -> Options {
        Options {
            engine: self.engine,
            variant: Some(self.variant),
            userland_proxy: self.userland_proxy,
            iptables: self.iptables,
            ip6tables: Some(self.ip6tables),
            // The engines differ in whether they turn it on; where they do not, dockgate has to.
            bridge_netfilter: Some(false),
            ..Options::default()
        }
    }
}

/// Runs the checks. The first that fails is the result, and keeps the later ones from being made.
pub(crate) fn run(combination: Combination, board: &Board) -> Result<(), String> {
    let began = Instant::now();
    let mut current = CHECKS[0];
    let outcome = catch_unwind(AssertUnwindSafe(|| check_all(combination, board, &mut current)));
    let outcome = outcome.map_err(|panic| format!("{current}: {}", message(panic.as_ref())));
    if outcome.is_err() {
        board.note(combination, current, FAILED.to_owned());
    }
    board.finish(combination, began.elapsed());
    outcome
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "panic".to_owned())
}

fn check_all(combination: Combination, board: &Board, current: &mut &'static str) {
    let mut host = Host::build(combination);
    board.note_engine(combination, &host.lab.engine_version(), &host.bridge_netfilter);
    for (check, make) in CHECKS.into_iter().zip(MAKE) {
        *current = check;
        let outcome = make(&mut host);
        board.note(combination, check, outcome);
    }
}

/// How each check of [`CHECKS`] is made.
const MAKE: [fn(&mut Host) -> String; CHECKS.len()] = [
    Host::check_variant,
    Host::check_cleanup,
    |host| host.check_path(|cell| is_container(&cell.source) && is_container(&cell.target) && cell.source != "other"),
    |host| host.check_path(|cell| cell.target == "outside" || is_container(&cell.target) && is_elsewhere(&cell.source)),
    |host| host.check_path(|cell| cell.target == "gateway"),
    |host| host.check_path(|cell| cell.target.starts_with("port") && cell.source == "outside"),
    |host| host.check_path(|cell| cell.target.starts_with("port") && cell.source != "outside"),
    Host::check_gate,
    Host::check_restart,
    Host::check_no_policy,
    Host::check_no_trace,
];

fn is_container(name: &str) -> bool {
    !["outside", "host", "gateway"].contains(&name) && !name.starts_with("port")
}

/// Whether a source is on none of the server's networks.
fn is_elsewhere(source: &str) -> bool {
    ["other", "outside"].contains(&source)
}

/// What is asked of a pair, whatever addresses the engine has given out.
type Question = (String, String, Probe, bool);

fn question(cell: &Cell) -> Question {
    (cell.source.clone(), cell.target.clone(), cell.probe, cell.address.is_ipv6())
}

/// A host with containers, their peers, and what the engine lets through without dockgate.
struct Host {
    // Dropped in this order: the controller before the laboratory.
    controller: Option<Controller>,
    containers: Vec<Container>,
    _servers: [Responder; 2],
    policies: Policies,
    combination: Combination,
    bridge_netfilter: String,
    without_policy: BTreeMap<Question, Outcome>,
    /// See [`Host::lost_by_the_engine`].
    lost: Vec<Probe>,
    with_policy: Matrix,
    lab: Lab,
}

impl Host {
    fn build(combination: Combination) -> Host {
        let lab = Lab::start(combination.options());
        lab.network("front", &["10.78.0.0/24", "2001:db8:78::/64"]);
        lab.network("back", &["10.79.0.0/24", "2001:db8:79::/64"]);
        let builder = |name: &str, network: &str| {
            let builder = lab.container(name).network(network).label("role", name).serve(&[PORT]);
            builder.option("--restart").option("always")
        };
        // One after the other: engine 20.10 with iptables-legacy loses rules for IPv6 when two are published at once.
        let [server, shy] = PUBLISHED;
        let publishing = [("server", server), ("shy", shy)].map(|(name, port)| {
            let tcp = builder(name, "front").publish(&format!("{port}:80/tcp"));
            tcp.publish(&format!("{port}:80/udp")).start()
        });
        let mut containers = lab.start_all(vec![
            builder("client", "front"),
            builder("intruder", "front"),
            builder("sealed", "front"),
            builder("other", "back"),
        ]);
        containers.extend(publishing);
        let servers = [lab.host(), lab.outside()].map(|namespace| Responder::start(namespace, &[SERVER]));
        let bridge_netfilter = ["iptables", "ip6tables"]
            .map(|family| lab.run(&["cat", &format!("/proc/sys/net/bridge/bridge-nf-call-{family}")]))
            .join("/");
        let policies = Policies::new(&lab);
        policies.save("policies.yaml", POLICIES);
        let mut host = Host {
            controller: None,
            containers,
            _servers: servers,
            policies,
            combination,
            bridge_netfilter,
            without_policy: BTreeMap::new(),
            lost: Vec::new(),
            with_policy: Matrix::default(),
            lab,
        };
        host.measure_without_policy();
        host
    }

    /// What the engine lets through. The bridges show their traffic to netfilter meanwhile, as they will with dockgate:
    /// without docker-proxy, a container that asks for a published port of its own network gets the answer from a wrong
    /// address otherwise. Then they are as the engine has left them.
    fn measure_without_policy(&mut self) {
        let bridges = self.lab.run(&["ip", "-o", "link", "show", "type", "bridge"]);
        let names = bridges.lines().filter_map(|line| Some(line.split(": ").nth(1)?.to_owned()));
        let names: Vec<String> = names.collect();
        let switch = |value: &str| {
            for name in &names {
                let switches = ["nf_call_iptables", value, "nf_call_ip6tables", value];
                self.lab.run(&[&["ip", "link", "set", "dev", name, "type", "bridge"][..], &switches].concat());
            }
        };
        // A bridge has its IPv6 address only when nobody else has been found to have it. Until then docker-proxy answers a
        // datagram from another address, by chance from the one that was asked.
        wait_for("the bridges to have their addresses", || !self.lab.host().has_tentative_address());
        switch("1");
        let baseline = self.survey().measure_against(|_| true);
        switch("0");
        self.without_policy = baseline.cells.iter().map(|(cell, outcome)| (question(cell), *outcome)).collect();
        self.lost = self.lost_by_the_engine();
    }

    fn container(&self, name: &str) -> &Container {
        self.containers.iter().find(|container| container.name() == name).expect("it was started")
    }

    fn survey(&self) -> Survey {
        let mut survey = Survey::new().source(self.lab.outside_source());
        for container in self.containers.iter().filter(|container| !["server", "shy"].contains(&container.name())) {
            survey = survey.source(container.source());
        }
        let probes = [Probe::Tcp(PORT), Probe::Udp(PORT), Probe::Ping];
        for name in ["server", "shy"] {
            survey = survey.target(self.container(name).target(&probes));
        }
        for port in PUBLISHED {
            for probe in [Probe::Tcp(port), Probe::Udp(port)] {
                survey = survey.target(Target::published(&format!("port {port}"), &HOST, probe));
            }
        }
        let servers = [
            ("gateway", ["10.78.0.1", "2001:db8:78::1"].map(|text| text.parse().expect("an address")), self.lab.host()),
            ("outside", OUTSIDE, self.lab.outside()),
        ];
        for (name, addresses, home) in servers {
            let probes = vec![Probe::Tcp(SERVER), Probe::Udp(SERVER)];
            let (name, addresses, home) = (name.to_owned(), Vec::<IpAddr>::from(addresses), Some(home.clone()));
            survey = survey.target(Target { name, addresses, probes, home });
        }
        survey
    }

    /// Whether the engine lets it through, as it is now.
    fn was_open(&self, cell: &Cell) -> bool {
        let was_open = |question| self.without_policy.get(&question).is_some_and(|outcome| outcome.is_open());
        let (source, target, probe, is_ipv6) = question(cell);
        if !(self.loses_ports() && is_ipv6 && target.starts_with("port")) {
            return was_open((source, target, probe, is_ipv6));
        }
        // Which ports are lost differs from start to start. Of those that are not, one is as open as another.
        let as_open = |port: u16| {
            let probe = if matches!(probe, Probe::Tcp(_)) { Probe::Tcp(port) } else { Probe::Udp(port) };
            was_open((source.clone(), format!("port {port}"), probe, true))
        };
        !self.lost.contains(&probe) && PUBLISHED.into_iter().any(as_open)
    }

    fn start_controller(&mut self) {
        let arguments = ["run", "--policies", &self.policies.argument(), "--resync-interval", "1s"];
        let mut controller = self.lab.dockgate(&arguments);
        controller.wait_until_ready();
        self.controller = Some(controller);
    }

    fn controller(&mut self) -> &mut Controller {
        self.controller.as_mut().expect("it was started")
    }

    fn cleanup(&mut self) {
        let controller = self.controller.take().expect("it was started");
        let state = controller.state().to_string_lossy().into_owned();
        controller.stop();
        let cleanup = self.lab.dockgate_output(&["cleanup", "--state-dir", &state]);
        assert!(cleanup.status.success(), "{}", String::from_utf8_lossy(&cleanup.stdout));
    }

    /// It finds the variant that the engine uses by itself.
    fn check_variant(&mut self) -> String {
        self.start_controller();
        let document = self.controller().document();
        let found = document["kernel"]["variant"].as_str().unwrap_or_default().to_owned();
        assert_eq!(found, self.combination.variant.name(), "{document}");
        // Engines before 28 do not say.
        let said = if self.combination.engine == Engine::Sid { "iptables".into() } else { serde_json::Value::Null };
        assert_eq!(document["engine"]["firewall"], said, "{document}");
        found
    }

    /// Everything is as before the first start.
    fn check_cleanup(&mut self) -> String {
        self.cleanup();
        let before = packet_filter(&self.lab);
        self.start_controller();
        assert_ne!(packet_filter(&self.lab), before, "it wrote nothing");
        self.cleanup();
        assert_eq!(packet_filter(&self.lab), before);
        self.start_controller();
        "exact".to_owned()
    }

    /// One measurement serves all paths.
    fn check_path(&mut self, is_on_path: impl Fn(&Cell) -> bool) -> String {
        if self.with_policy.cells.is_empty() {
            self.with_policy = self.survey().measure_against(|cell| self.was_open(cell) && is_allowed(cell));
        }
        let on_path = self.with_policy.cells.iter().filter(|(cell, _)| is_on_path(cell));
        let on_path = Matrix { cells: on_path.map(|(cell, outcome)| (cell.clone(), *outcome)).collect() };
        on_path.assert(|cell| self.was_open(cell) && is_allowed(cell));
        let open = on_path.cells.values().filter(|outcome| outcome.is_open()).count();
        let closed = on_path.cells.keys().filter(|cell| self.was_open(cell) && !is_allowed(cell)).count();
        assert!(closed > 0 && open > 0, "nothing is shown: {closed} closed by policy, {open} open\n{on_path}");
        format!("{closed}/{open}")
    }

    /// What starts while dockgate cannot act gets nothing; then it gets what its labels give it.
    fn check_gate(&mut self) -> String {
        self.controller().halt();
        let late = self.lab.container("late").network("front").label("role", "client").serve(&[PORT]).start();
        let probes = [Probe::Tcp(PORT), Probe::Udp(PORT), Probe::Ping];
        let survey = Survey::new()
            .source(late.source())
            .source(self.container("intruder").source())
            .target(self.container("server").target(&probes))
            .target(late.target(&probes));
        survey.expect(|cell| cell.source == "late" && cell.target == "late");
        self.controller().signal(Signal::SIGCONT);
        // It may send to the server, and nobody governs what comes to it.
        let allowed = |cell: &Cell| cell.source == "late" || cell.target == "late";
        wait_for("the late container to be known", || survey.measure().differences(allowed).is_empty());
        late.remove();
        "closed".to_owned()
    }

    fn check_restart(&mut self) -> String {
        self.lab.restart_engine();
        for container in &mut self.containers {
            container.rejoin();
        }
        let ids: Vec<String> = self.containers.iter().map(|container| container.id().to_owned()).collect();
        wait_for("the controller to have listed the engine", || {
            let document = self.controller().document();
            document["ready"] == true && document["endpoints"]["total"] == ids.len()
        });
        self.lost = self.lost_by_the_engine();
        self.survey().expect(|cell| self.was_open(cell) && is_allowed(cell));
        for command in ["iptables", "ip6tables"] {
            assert_eq!(jumps(&self.lab, command), JUMPS, "jumps of ours in {command}");
        }
        if self.lost.is_empty() {
            return "holds".to_owned();
        }
        let ports: Vec<String> = self.lost.iter().map(ToString::to_string).collect();
        format!("holds; engine lost {} over IPv6", ports.join(", "))
    }

    /// Whether nothing but the engine's own rules serves published ports over IPv6, and the engine is one that loses them.
    fn loses_ports(&self) -> bool {
        let Combination { engine, variant, userland_proxy, ip6tables, .. } = self.combination;
        engine == Engine::Installed && variant == Iptables::Legacy && ip6tables && !userland_proxy
    }

    /// Published ports for which the engine has not written its own rule that translates them for IPv6. Engine 20.10 with
    /// iptables-legacy does so for some of them only, with dockgate or without, and for others after each start.
    fn lost_by_the_engine(&self) -> Vec<Probe> {
        if !self.loses_ports() {
            return Vec::new();
        }
        let rules = self.lab.list(&[&self.lab.tool("ip6tables"), "-t", "nat", "-S", "DOCKER"]);
        let is_lost = |probe: &Probe| {
            let (protocol, port) = match probe {
                Probe::Tcp(port) => ("tcp", port),
                Probe::Udp(port) => ("udp", port),
                Probe::Ping => return false,
            };
            !rules
                .lines()
                .any(|rule| rule.contains(&format!("-p {protocol} ")) && rule.contains(&format!("--dport {port} ")))
        };
        PUBLISHED.into_iter().flat_map(|port| [Probe::Tcp(port), Probe::Udp(port)]).filter(is_lost).collect()
    }

    fn check_no_policy(&mut self) -> String {
        self.policies.remove("policies.yaml");
        wait_for("the policies to be gone", || {
            let document = self.controller().document();
            document["ready"] == true && document["policies"]["policies"] == 0
        });
        self.survey().expect(|cell| self.was_open(cell));
        "open".to_owned()
    }

    fn check_no_trace(&mut self) -> String {
        self.policies.save("policies.yaml", POLICIES);
        wait_for("the policies to be back", || self.controller().document()["policies"]["policies"] == 3);
        self.cleanup();
        let left = packet_filter(&self.lab) + &self.lab.run(&["nft", "list", "ruleset"]);
        let ours = |line: &&str| ["DG-", "dg-", "dockgate"].iter().any(|mark| line.contains(mark));
        let traces: Vec<&str> = left.lines().filter(ours).collect();
        assert!(traces.is_empty(), "{traces:?}");
        "none".to_owned()
    }
}

/// What [`POLICIES`] allow.
fn is_allowed(cell: &Cell) -> bool {
    match cell.target.as_str() {
        _ if cell.source == "sealed" => false,
        "server" | "port 8080" => ["client", "outside"].contains(&cell.source.as_str()),
        "shy" | "port 8081" => false,
        _ => true,
    }
}
