//! The engine ends and starts while packets are sent: its rules go and come, its containers too, perhaps with other
//! addresses, and not one forbidden packet reaches its target.
//!
//! Each scenario sends on every path in both families every 20 ms: on one bridge, routed, to ports published by
//! translation and to ports that docker-proxy holds. What arrives is counted where the host hands packets to containers
//! and to the outside. Some containers end with the engine, one that was stopped is started by it.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::scenario::{Group, Scenario, World};
use crate::support::lab::{HOST, OUTSIDE};
use crate::support::world::{JUMPS, Policies, jumps, packet_filter, wait_for};
use crate::support::{
    Container, Controller, Delivery, Engine, Lab, Options, Protection, Sender, Tap, assert_by_packets,
};

/// From the client to its network: allowed.
const CLIENT: u16 = 7000;
/// From outside to a port that the server publishes: allowed.
const VISITOR: u16 = 7001;
/// From the intruder to its network, and to the port that the server publishes.
const INTRUDER: u16 = 7666;
/// From the sealed container to the outside.
const SEALED: u16 = 7667;
/// From outside to a port that the server publishes, and to each address of the network.
const BURGLAR: u16 = 7668;

const ALLOWED: [u16; 2] = [CLIENT, VISITOR];
const FORBIDDEN: [u16; 3] = [INTRUDER, SEALED, BURGLAR];

/// Long enough for many rounds, and for an engine to be missed.
const WHILE: Duration = Duration::from_millis(700);

/// Whoever has whichever address: a client may come in, a visitor at one port, and nobody else; the sealed one may not
/// go out.
const POLICIES: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: ingress}
spec:
  selector: all()
  types: [Ingress]
  ingress:
    - {action: Allow, source: {selector: role == 'client'}}
    - {action: Allow, protocol: TCP, source: {nets: [203.0.113.9/32]}, destination: {ports: [7001]}}
    - {action: Allow, protocol: UDP, source: {nets: [203.0.113.9/32]}, destination: {ports: [7001]}}
    - {action: Allow, protocol: TCP, source: {nets: ['2001:db8:1::9/128']}, destination: {ports: [7001]}}
    - {action: Allow, protocol: UDP, source: {nets: ['2001:db8:1::9/128']}, destination: {ports: [7001]}}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: sealed}
spec: {selector: role == 'sealed', types: [Egress]}
";

/// A host whose engine ends and starts.
pub(crate) struct Restarted {
    // Dropped in this order: the controller before the laboratory.
    controller: Option<Controller>,
    /// Those that run all the time.
    containers: Vec<Container>,
    /// Stopped; the engine starts it when the engine itself starts.
    extra: Container,
    policies: Policies,
    lab: Lab,
}

impl World for Restarted {
    fn lab(&self) -> &Lab {
        &self.lab
    }

    fn controller(&mut self) -> &mut Controller {
        self.controller.as_mut().expect("every accident leaves a controller")
    }

    /// Addresses may be others after a restart, so the sets do not come to be as they were; the rules do.
    fn wait_until_repaired(&mut self, enforced: &str) {
        let rules: Vec<&str> =
            enforced.lines().filter(|line| line.starts_with("-A ") && line.contains("DG-")).collect();
        wait_for("the controller to repair what was taken out", || {
            let now = packet_filter(&self.lab);
            let tables = self.lab.run(&["nft", "list", "tables"]);
            rules.iter().all(|rule| now.lines().any(|line| line == *rule)) && tables.contains("bridge dockgate")
        });
        self.wait_until_ready();
        // What passed meanwhile and waits for an answer about the address of a container that is away would arrive later.
        self.lab.run(&["ip", "neighbour", "flush", "all", "nud", "all"]);
    }
}

impl Restarted {
    fn build(options: Options) -> Restarted {
        let lab = Lab::start(options);
        lab.network("front", &["10.77.0.0/24", "2001:db8:77::/64"]);
        let builder = |name: &str| {
            let builder = lab.container(name).network("front").label("role", name);
            builder.option("--restart").option("always")
        };
        let publish = |name: &str, ports: &[u16]| {
            ports.iter().fold(builder(name), |builder, port| {
                builder.publish(&format!("{port}:{port}/tcp")).publish(&format!("{port}:{port}/udp"))
            })
        };
        let mut containers =
            lab.start_all(vec![builder("client"), builder("intruder"), builder("sealed"), builder("extra")]);
        let mut extra = containers.pop().expect("four were started");
        extra.stop();
        // It has the address that the other one had.
        containers.push(publish("server", &[CLIENT, VISITOR, INTRUDER, BURGLAR]).serve(&[CLIENT, VISITOR]).start());
        let policies = Policies::new(&lab);
        policies.save("policies.yaml", POLICIES);
        let mut world = Restarted { controller: None, containers, extra, policies, lab };
        world.start_controller();
        world.wait_until_ready();
        world
    }

    fn start_controller(&mut self) {
        let arguments = ["run", "--policies", &self.policies.argument(), "--resync-interval", "1s"];
        self.controller = Some(self.lab.dockgate(&arguments));
    }

    fn kill_controller(&mut self) {
        if let Some(controller) = self.controller.take() {
            controller.crash();
        }
    }

    fn wait_until_ready(&mut self) {
        self.controller().wait_until_ready();
    }

    fn is_halted(&self) -> bool {
        self.controller.as_ref().is_some_and(Controller::is_halted)
    }

    fn container(&self, name: &str) -> &Container {
        self.containers.iter().find(|container| container.name() == name).expect("it was started")
    }

    /// Lets packets flow on all paths, has the accident happen, and looks at what arrived.
    ///
    /// While the controller is halted nothing is repaired and nobody becomes ready, so that only the forbidden packets
    /// are looked at: they are what a missing rule must show in.
    fn withstand(&mut self, accident: fn(&mut Restarted)) {
        let halted = self.is_halted();
        let tap = Tap::start(self.lab.host(), &[&ALLOWED[..], &FORBIDDEN].concat());
        let began = Instant::now();
        let senders = self.senders();
        if !halted {
            expect_allowed(&tap, "before");
        }
        self.containers.iter_mut().for_each(Container::release);
        accident(self);
        for container in &mut self.containers {
            container.rejoin();
        }
        if !halted {
            self.wait_until_ready();
            expect_allowed(&tap, "after");
            self.expect_one_jump_per_anchor();
        }
        wait_for_rounds(&senders);
        drop(senders);
        let deliveries = tap.deliveries();
        self.extra.stop();
        let forbidden = deliveries.iter().filter(|(delivery, _)| FORBIDDEN.contains(&delivery.mark));
        let lines: Vec<String> = forbidden
            .map(|(delivery, count)| {
                let [first, last] = [count.first, count.last].map(|at| at.duration_since(began).as_millis());
                format!("  {delivery}: {} packets, {first} to {last} ms after the start", count.packets)
            })
            .collect();
        let log = self.controller.as_ref().map(Controller::log).unwrap_or_default();
        assert_by_packets!(
            lines.is_empty(),
            "forbidden packets arrived:\n{}\ndockgate's log:\n{log}",
            lines.join("\n")
        );
    }

    fn senders(&self) -> Vec<Sender> {
        let range: Vec<IpAddr> = (2..8)
            .flat_map(|last| [format!("10.77.0.{last}"), format!("2001:db8:77::{last}")])
            .map(|text| text.parse().expect("an address"))
            .collect();
        let network = [&range[..], &gateways()].concat();
        let host_and_network = [&range[..], &HOST].concat();
        let inside = |name: &str, mark, targets: &[IpAddr]| {
            Sender::from_container(&self.lab, self.container(name).id(), mark, targets)
        };
        let outside = |mark, targets: &[IpAddr]| Sender::from_namespace(self.lab.outside(), mark, targets);
        vec![
            inside("client", CLIENT, &network),
            inside("intruder", INTRUDER, &network),
            inside("sealed", SEALED, &OUTSIDE),
            outside(VISITOR, &HOST),
            outside(BURGLAR, &host_and_network),
        ]
    }

    fn expect_one_jump_per_anchor(&self) {
        for command in ["iptables", "ip6tables"] {
            assert_eq!(jumps(&self.lab, command), JUMPS, "jumps of ours in {command}");
        }
    }

    /// Waits until the status says that the engine is away, unless nobody can answer.
    fn expect_status(&mut self, text: &str) {
        if self.is_halted() {
            return;
        }
        wait_for("the status to say that the engine is away", || {
            let document = self.controller().document();
            let is_away = document["engine"]["connected"] == false && document["ready"] == false;
            is_away && document["problems"].to_string().contains(text)
        });
    }

    /// The engine is away for a while, and packets go on.
    fn without_engine(&mut self) {
        self.expect_status("the Docker engine cannot be reached, rules stay in force");
        thread::sleep(WHILE);
    }

    fn restart_without_a_controller(&mut self) {
        self.kill_controller();
        self.lab.stop_engine();
        thread::sleep(WHILE);
        self.lab.start_engine();
        thread::sleep(WHILE);
        self.start_controller();
    }

    fn stop_and_start(&mut self) {
        self.lab.stop_engine();
        self.without_engine();
        self.lab.start_engine();
    }

    fn kill_and_start(&mut self) {
        self.lab.kill_engine();
        self.without_engine();
        self.lab.start_engine();
    }

    /// A newer engine takes the containers over.
    fn upgrade_to(&mut self, engine: Engine) {
        self.lab.stop_engine();
        self.without_engine();
        self.lab.start_engine_as(Options { engine, live_restore: true, ..Options::default() });
    }

    /// An engine arranges its rules anew with every network.
    fn make_networks(&mut self) {
        for number in 0..8 {
            self.lab.network("passing", &[&format!("10.76.{number}.0/24"), &format!("2001:db8:76:{number}::/64")]);
            self.lab.docker(&["network", "rm", "passing"]);
        }
    }
}

/// Waits until each sender has sent for as long as [`WHILE`].
fn wait_for_rounds(senders: &[Sender]) {
    let before: Vec<u64> = senders.iter().map(Sender::rounds).collect();
    wait_for("every sender to send", || {
        senders.iter().zip(&before).all(|(sender, before)| sender.rounds() > before + 25)
    });
}

/// Whether a delivery is one that is waited for.
type Condition = Box<dyn Fn(&Delivery) -> bool>;

/// Waits until allowed packets of each kind arrive on each path in both families.
fn expect_allowed(tap: &Tap, when: &str) {
    let begin = Instant::now();
    let gateways = gateways();
    let mut wanted: Vec<(String, Condition)> = Vec::new();
    for (number, family) in ["IPv4", "IPv6"].into_iter().enumerate() {
        for kind in ["tcp", "udp", "ping"] {
            let is_bridged = move |found: &Delivery| {
                let is_of_family = found.source.is_ipv6() == (number == 1);
                (found.mark, found.kind) == (CLIENT, kind) && is_of_family && !gateways.contains(&found.source)
            };
            wanted.push((format!("on one bridge, {kind}, {family}"), Box::new(is_bridged)));
        }
    }
    for kind in ["tcp", "udp"] {
        let by_proxy = move |mark| {
            move |found: &Delivery| (found.mark, found.kind) == (mark, kind) && gateways.contains(&found.source)
        };
        wanted.push((format!("from a container through docker-proxy, {kind}"), Box::new(by_proxy(CLIENT))));
        let translated = move |found: &Delivery| (found.mark, found.kind, found.source) == (VISITOR, kind, OUTSIDE[0]);
        wanted.push((format!("from outside, translated, {kind}"), Box::new(translated)));
        // Newer engines translate IPv6 as well.
        let by_either = move |found: &Delivery| {
            by_proxy(VISITOR)(found) || (found.mark, found.kind, found.source) == (VISITOR, kind, OUTSIDE[1])
        };
        wanted.push((format!("from outside by IPv6, {kind}"), Box::new(by_either)));
    }
    for (name, is_it) in wanted {
        wait_for(&format!("allowed packets {when}: {name}"), || {
            tap.deliveries().iter().any(|(found, count)| is_it(found) && count.last > begin)
        });
    }
}

/// The host's addresses on the network, from which docker-proxy connects.
fn gateways() -> [IpAddr; 2] {
    ["10.77.0.1", "2001:db8:77::1"].map(|text| text.parse().expect("an address"))
}

fn scenario(
    name: &'static str,
    accident: &'static str,
    rests_on: &'static [Protection],
    run: fn(&mut Restarted),
) -> Scenario<Restarted> {
    Scenario { name, path: "bridged, routed, published, by docker-proxy", family: "both", accident, rests_on, run }
}

fn restarted_without_a_controller() -> Scenario<Restarted> {
    let rests_on = &[Protection::Jumps("FORWARD")];
    scenario("restarted_without_a_controller", "dockgate is killed before dockerd stops", rests_on, |world| {
        world.withstand(Restarted::restart_without_a_controller);
    })
}

/// An engine that takes its containers with it.
pub(crate) fn group() -> Group<Restarted> {
    use Protection::{Jumps, Rules};
    Group {
        name: "engine",
        build: || Restarted::build(Options::default()),
        scenarios: vec![
            scenario(
                "stopped_and_started",
                "dockerd gets SIGTERM and starts again",
                &[Protection::Together(&[Rules("gate:"), Protection::Table]), Jumps("FORWARD")],
                |world| world.withstand(Restarted::stop_and_start),
            ),
            scenario("killed_and_started", "dockerd gets SIGKILL and starts again", &[Jumps("FORWARD")], |world| {
                world.withstand(Restarted::kill_and_start);
            }),
            scenario("networks_come_and_go", "docker network create, rm", &[Jumps("FORWARD")], |world| {
                world.withstand(Restarted::make_networks);
            }),
            restarted_without_a_controller(),
            scenario(
                "controller_waits_for_the_engine",
                "dockgate starts before dockerd does",
                &[Jumps("FORWARD")],
                |world| {
                    world.withstand(|world| {
                        world.lab.stop_engine();
                        world.kill_controller();
                        world.start_controller();
                        world.expect_status("the Docker engine cannot be reached");
                        thread::sleep(WHILE);
                        world.lab.start_engine();
                    });
                },
            ),
        ],
    }
}

/// An engine whose containers live on without it.
pub(crate) fn live_group() -> Group<Restarted> {
    use Protection::{Jumps, Rules};
    Group {
        name: "live_restore",
        build: || Restarted::build(Options { live_restore: true, ..Options::default() }),
        scenarios: vec![
            scenario(
                "stopped_and_started",
                "dockerd gets SIGTERM, its containers live on",
                &[Rules("from network front")],
                |world| world.withstand(Restarted::stop_and_start),
            ),
            scenario(
                "killed_and_started",
                "dockerd gets SIGKILL, its containers live on",
                &[Jumps("FORWARD")],
                |world| {
                    world.withstand(Restarted::kill_and_start);
                },
            ),
            restarted_without_a_controller(),
        ],
    }
}

/// The newest engine, whose containers live on without it.
pub(crate) fn newest_group() -> Group<Restarted> {
    use Protection::Jumps;
    Group {
        name: "live_restore_28",
        build: || Restarted::build(Options { live_restore: true, ..Engine::Sid.into() }),
        scenarios: vec![
            scenario("stopped_and_started", "dockerd 28.5 gets SIGTERM", &[Jumps("FORWARD")], |world| {
                world.withstand(Restarted::stop_and_start);
            }),
            scenario("killed_and_started", "dockerd 28.5 gets SIGKILL", &[Jumps("FORWARD")], |world| {
                world.withstand(Restarted::kill_and_start);
            }),
            scenario("networks_come_and_go", "docker network create, rm", &[Jumps("FORWARD")], |world| {
                world.withstand(Restarted::make_networks);
            }),
        ],
    }
}

/// Newer engines take over from the installed one. There is no way back, so without its protection a scenario is one of a
/// newer engine that starts anew.
pub(crate) fn upgrade_groups() -> [Group<Restarted>; 2] {
    let group = |name, accident, upgrade: fn(&mut Restarted)| Group {
        name,
        build: || Restarted::build(Options { live_restore: true, ..Options::default() }),
        scenarios: vec![scenario("a_newer_engine_takes_over", accident, &[Protection::Jumps("FORWARD")], upgrade)],
    };
    [
        group("upgrade_26", "dockerd 20.10, then 26.1", |world| {
            world.withstand(|world| world.upgrade_to(Engine::Trixie));
        }),
        group("upgrade_28", "dockerd 20.10, then 28.5", |world| {
            world.withstand(|world| world.upgrade_to(Engine::Sid));
        }),
    ]
}
