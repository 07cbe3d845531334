//! Published ports that `docker-proxy` serves: its clients are judged in INPUT, by the policy of the container behind it.
//!
//! Every network here is reached in three ways that Docker does not translate: over IPv6 (this engine leaves ip6tables
//! alone), from a container on the same network, and from one on another. Each has a friend and a stranger.

mod raw;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::sys::signal::Signal;

use crate::scenario::{Group, Scenario, World};
use crate::support::container::Builder;
use crate::support::lab::HOST;
use crate::support::world::Policies;
use crate::support::{
    Container, Controller, Engine, Lab, Namespace, Options, Probe, Protection, Source, Survey, Target,
};

const POLICIES: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: friends}
spec:
  selector: app in {'api', 'bound', 'ranged'}
  ingress:
    - {action: Allow, source: {selector: client == 'friend'}}
    - {action: Allow, source: {nets: [203.0.113.9/32]}}
    - {action: Allow, source: {nets: ['2001:db8:1::9/128']}}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: strangers}
spec:
  selector: app == 'twin'
  ingress: [{action: Allow, source: {selector: client == 'stranger'}}]
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: walled}
spec: {selector: app == 'walled', ingress: [{action: Deny, destination: {nets: [10.80.0.0/24]}}, {action: Allow}]}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: caged}
spec: {selector: app == 'caged', types: [Egress]}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: not-to-open}
spec:
  selector: app == 'wary'
  types: [Egress]
  egress: [{action: Deny, destination: {selector: app == 'open'}}, {action: Allow}]
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: only-abroad}
spec:
  selector: app == 'abroad'
  types: [Egress]
  egress: [{action: Deny, destination: {nets: [10.80.0.0/24]}}, {action: Allow}]
";

/// The sources whose names begin so are friends of the api.
const FRIENDS: [&str; 3] = ["friend", "far-friend", "outside"];

/// A host with published ports, and clients of them on all sides.
pub(crate) struct Published {
    // Dropped in this order: the controller before the laboratory.
    controller: Controller,
    containers: Vec<Container>,
    passer_by: Namespace,
    lab: Lab,
}

impl World for Published {
    fn lab(&self) -> &Lab {
        &self.lab
    }

    fn controller(&mut self) -> &mut Controller {
        &mut self.controller
    }
}

/// One more host outside, on a cable of its own, with an address of its own.
pub(crate) fn second_outside(lab: &Lab) -> Namespace {
    let outside = Namespace::anonymous();
    for scope in ["all", "default"] {
        outside.set_sysctl(&format!("net.ipv6.conf.{scope}.accept_dad"), "0");
    }
    let into = outside.path();
    lab.run(&["ip", "link", "add", "ext1", "type", "veth", "peer", "name", "ext0", "netns", &into]);
    let inside = |command: &str| {
        lab.run(&["nsenter", &format!("--net={into}"), "sh", "-euc", command]);
    };
    lab.run(&[
        "sh",
        "-euc",
        "ip link set ext1 up; ip addr add 198.51.100.1/24 dev ext1; ip addr add 2001:db8:2::1/64 dev ext1",
    ]);
    inside(
        "ip link set lo up; ip link set ext0 up; ip addr add 198.51.100.9/24 dev ext0; ip addr add 2001:db8:2::9/64 dev ext0",
    );
    inside("ip route add default via 198.51.100.1; ip route add default via 2001:db8:2::1");
    outside
}

fn start(options: Options) -> Published {
    let lab = Lab::start(options);
    lab.network("front", &["10.80.0.0/24"]);
    lab.network("back", &["10.81.0.0/24", "2001:db8:81::/64"]);
    let passer_by = second_outside(&lab);
    let server = |name: &str| lab.container(name).network("front").label("app", name).serve(&[80]);
    let client = |name: &str, network: &str| {
        let role = if FRIENDS.contains(&name) || name == "caged" { "friend" } else { "stranger" };
        lab.container(name).network(network).label("app", name).label("client", role)
    };
    let builders = vec![
        server("api").publish("8080:80").publish("8080:80/udp"),
        ["203.0.113.1:8090:80", "[2001:db8:1::1]:8090:80", "203.0.113.1:8090:80/udp", "[2001:db8:1::1]:8090:80/udp"]
            .into_iter()
            .fold(server("bound"), Builder::publish),
        server("twin").publish("10.81.0.1:8090:80"),
        server("ranged").option("--expose").option("80").option("-P"),
        server("open").publish("8100:80").publish("8100:80/udp"),
        server("walled").publish("8140:80"),
        client("friend", "front"),
        client("stranger", "front"),
        client("far-friend", "back"),
        client("far-stranger", "back"),
        client("caged", "back"),
        client("wary", "back"),
        client("abroad", "back"),
    ];
    let containers = lab.start_all(builders);
    let policies = Policies::new(&lab);
    policies.save("policies.yaml", POLICIES);
    let mut controller = lab.dockgate(&["run", "--policies", &policies.argument(), "--resync-interval", "1s"]);
    controller.wait_until_ready();
    Published { controller, containers, passer_by, lab }
}

impl Published {
    fn container(&self, name: &str) -> &Container {
        self.containers.iter().find(|container| container.name() == name).expect("a container of this world")
    }

    fn sources(&self, names: &[&str]) -> Vec<Source> {
        let of = |name: &&str| match *name {
            "outside" => self.lab.outside_source(),
            "passer-by" => Source::new("passer-by", &self.passer_by),
            "host" => self.lab.host_source(),
            name => self.container(name).source(),
        };
        names.iter().map(of).collect()
    }

    /// All of these probe all of these addresses; exactly those that `expected` names get an answer.
    fn expect(&self, sources: &[&str], addresses: &[&str], probe: Probe, expected: impl Fn(&str) -> bool + Sync) {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        let survey = self.sources(sources).into_iter().fold(Survey::new(), Survey::source);
        let survey = survey.target(Target::published("published", &addresses, probe));
        survey.expect(|cell| expected(&cell.source));
    }

    fn expect_friends(&self, sources: &[&str], addresses: &[&str], probe: Probe) {
        self.expect(sources, addresses, probe, |source| FRIENDS.contains(&source));
    }

    /// Who may go to the host and not to the container behind its port does not get there, by an address of the host, over
    /// UDP by that of `gateway`, from which the proxy answers.
    fn expect_open_to_be_the_destination(&self, addresses: &[&str], gateway: &str) {
        let clients = ["far-stranger", "wary", "abroad"];
        self.expect(&clients, addresses, Probe::Tcp(8100), |source| source == "far-stranger");
        self.expect(&clients, &[gateway], Probe::Udp(8100), |source| source == "far-stranger");
        self.expect(&["wary"], &["10.81.0.1"], Probe::Tcp(8090), |_| true);
    }

    /// The port that Docker chose for a container, in a family.
    fn chosen_port(&self, name: &str, v6: bool) -> u16 {
        let mapped = self.lab.docker(&["port", name, "80/tcp"]);
        let of_family = mapped.lines().find(|line| (line.matches(':').count() > 1) == v6);
        let port = of_family.and_then(|line| line.rsplit(':').next()).expect("a mapping of each family");
        port.parse().expect("a port")
    }

    fn expect_chosen_port_to_be_judged(&self) {
        let (v4, v6) = (self.chosen_port("ranged", false), self.chosen_port("ranged", true));
        self.expect_friends(&["outside", "passer-by"], &["2001:db8:1::1"], Probe::Tcp(v6));
        self.expect_friends(&["friend", "stranger"], &["10.80.0.1"], Probe::Tcp(v4));
    }
}

/// A container that is removed when the scenario ends, however it ends.
struct Guest(Option<Container>);

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(container) = self.0.take() {
            container.remove();
        }
    }
}

/// A controller that does nothing meanwhile.
struct Halted<'a>(&'a mut Controller);

impl Drop for Halted<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::SIGCONT);
    }
}

/// A host whose table of translations is empty, until it is dropped.
struct Untranslated<'a> {
    lab: &'a Lab,
    saved: String,
}

impl<'a> Untranslated<'a> {
    fn new(lab: &'a Lab) -> Untranslated<'a> {
        let saved = lab.run(&[&lab.tool("iptables-save"), "-t", "nat"]);
        lab.run(&[&lab.tool("iptables"), "-w", "-t", "nat", "-F"]);
        Untranslated { lab, saved }
    }
}

impl Drop for Untranslated<'_> {
    fn drop(&mut self) {
        self.lab.run_with_input(&[&self.lab.tool("iptables-restore"), "-w"], self.saved.as_bytes());
    }
}

const PORT: &[Protection] = &[Protection::Rules("published port")];

const REACHED: &[Protection] = &[Protection::Rules("to a container through published port")];

const PROXY: &str = "client → docker-proxy → container";
const SAME: &str = "container → host port, same network";
const OTHER: &str = "container → host port, other network";

fn scenario(
    name: &'static str,
    path: &'static str,
    family: &'static str,
    rests_on: &'static [Protection],
    run: fn(&mut Published),
) -> Scenario<Published> {
    Scenario { name, path, family, accident: "", rests_on, run }
}

pub(crate) fn group() -> Group<Published> {
    let scenarios = [clients(), ports(), egress(), raw::scenarios(), vec![not_known_yet()]];
    Group {
        name: "proxy",
        build: || start(Engine::Installed.into()),
        scenarios: scenarios.into_iter().flatten().collect(),
    }
}

/// Clients of one port on all addresses, from all sides.
fn clients() -> Vec<Scenario<Published>> {
    vec![
        scenario("outside_to_a_container_without_ipv6_v6", PROXY, "IPv6", PORT, |world| {
            world.expect_friends(&["outside", "passer-by"], &["2001:db8:1::1", "2001:db8:2::1"], Probe::Tcp(8080));
        }),
        scenario("outside_over_udp_v6", PROXY, "IPv6", PORT, |world| {
            // The proxy answers from the address that is nearest to the client.
            world.expect_friends(&["outside"], &["2001:db8:1::1"], Probe::Udp(8080));
            world.expect_friends(&["passer-by"], &["2001:db8:2::1"], Probe::Udp(8080));
        }),
        scenario("same_network_through_its_gateway_v4", SAME, "IPv4", PORT, |world| {
            world.expect_friends(&["friend", "stranger"], &["10.80.0.1"], Probe::Tcp(8080));
        }),
        scenario("same_network_through_its_gateway_over_udp_v4", SAME, "IPv4", PORT, |world| {
            world.expect_friends(&["friend", "stranger"], &["10.80.0.1"], Probe::Udp(8080));
        }),
        scenario("same_network_through_another_address_of_the_host_v4", SAME, "IPv4", PORT, |world| {
            world.expect_friends(&["friend", "stranger"], &["203.0.113.1", "10.81.0.1"], Probe::Tcp(8080));
        }),
        scenario("other_network_through_its_own_gateway_v4", OTHER, "IPv4", PORT, |world| {
            world.expect_friends(&["far-friend", "far-stranger"], &["10.81.0.1"], Probe::Tcp(8080));
        }),
        scenario("other_network_through_the_containers_gateway_v4", OTHER, "IPv4", PORT, |world| {
            world.expect_friends(&["far-friend", "far-stranger"], &["10.80.0.1", "203.0.113.1"], Probe::Tcp(8080));
        }),
        scenario("other_network_over_udp", OTHER, "both", PORT, |world| {
            world.expect_friends(&["far-friend", "far-stranger"], &["10.81.0.1", "2001:db8:81::1"], Probe::Udp(8080));
        }),
        scenario("other_network_v6", OTHER, "IPv6", PORT, |world| {
            let addresses = ["2001:db8:81::1", "2001:db8:1::1"];
            world.expect_friends(&["far-friend", "far-stranger"], &addresses, Probe::Tcp(8080));
        }),
        scenario(
            "localhost_is_this_host_and_not_a_client",
            "host → docker-proxy → container",
            "both",
            &[Protection::Rules("from this host itself")],
            |world| {
                let addresses = ["127.0.0.1", "::1", "203.0.113.1", "2001:db8:1::1", "10.80.0.1"];
                world.expect(&["host"], &addresses, Probe::Tcp(8080), |_| true);
            },
        ),
        scenario("this_host_reaches_its_containers", "host → container", "IPv4", &[], |world| {
            let address = world.container("api").address("front", false).to_string();
            for probe in [Probe::Tcp(80), Probe::Udp(80), Probe::Ping] {
                world.expect(&["host"], &[&address], probe, |_| true);
            }
        }),
        scenario("blocks_of_the_destination_are_the_containers", PROXY, "both", PORT, |world| {
            world.expect(&["outside", "passer-by"], &["2001:db8:1::1"], Probe::Tcp(8140), |_| false);
            world.expect(&["friend"], &["10.80.0.1"], Probe::Tcp(8140), |_| false);
        }),
        Scenario {
            name: "outside_when_docker_translates_nothing_v4",
            path: PROXY,
            family: "IPv4",
            accident: "iptables -t nat -F",
            rests_on: PORT,
            run: |world| {
                let _flushed = Untranslated::new(&world.lab);
                world.expect_friends(&["outside", "passer-by"], &["203.0.113.1"], Probe::Tcp(8080));
                world.expect_friends(&["outside"], &["203.0.113.1"], Probe::Udp(8080));
                world.expect_friends(&["passer-by"], &["198.51.100.1"], Probe::Udp(8080));
            },
        },
    ]
}

/// Ports of the host that are bound to one address, or that Docker chooses.
fn ports() -> Vec<Scenario<Published>> {
    vec![
        scenario("a_port_bound_to_one_address_v4", OTHER, "IPv4", PORT, |world| {
            world.expect_friends(&["far-friend", "far-stranger"], &["203.0.113.1"], Probe::Tcp(8090));
        }),
        scenario("a_port_bound_to_one_address_v6", PROXY, "IPv6", PORT, |world| {
            world.expect_friends(&["outside", "passer-by"], &["2001:db8:1::1"], Probe::Tcp(8090));
        }),
        scenario("a_port_bound_to_one_address_over_udp", PROXY, "both", PORT, |world| {
            world.expect_friends(&["far-friend", "far-stranger"], &["203.0.113.1"], Probe::Udp(8090));
            world.expect_friends(&["outside", "passer-by"], &["2001:db8:1::1"], Probe::Udp(8090));
        }),
        scenario("the_same_port_on_another_address_is_another_service", OTHER, "IPv4", PORT, |world| {
            let strangers = |source: &str| source == "far-stranger";
            world.expect(&["far-friend", "far-stranger"], &["10.81.0.1"], Probe::Tcp(8090), strangers);
        }),
        scenario("ports_that_docker_chooses", "client → docker-proxy → container", "both", PORT, |world| {
            world.expect_chosen_port_to_be_judged();
        }),
        Scenario {
            name: "ports_that_docker_chooses_anew_at_a_restart",
            path: PROXY,
            family: "both",
            accident: "docker restart",
            // The restart changes Docker's own rules, so the mutation is a test of its own: `enforcement`,
            // `a_port_that_a_restart_changes_is_no_way_in`.
            rests_on: &[],
            run: |world| {
                let before = world.chosen_port("ranged", false);
                let ranged = world.containers.iter_mut().find(|container| container.name() == "ranged");
                ranged.expect("a container of this world").restart();
                assert_ne!(world.chosen_port("ranged", false), before, "Docker takes the next port");
                world.expect_chosen_port_to_be_judged();
            },
        },
    ]
}

/// Clients with an egress policy.
fn egress() -> Vec<Scenario<Published>> {
    vec![
        scenario("no_way_around_egress_policy", OTHER, "both", &[Protection::Rules("from network back")], |world| {
            let addresses = ["10.81.0.1", "203.0.113.1", "2001:db8:81::1", "2001:db8:1::1"];
            world.expect(&["far-stranger", "caged"], &addresses, Probe::Tcp(8100), |source| source != "caged");
        }),
        scenario("the_container_behind_a_port_is_the_destination_v4", OTHER, "IPv4", REACHED, |world| {
            world.expect_open_to_be_the_destination(&["10.81.0.1", "203.0.113.1"], "10.81.0.1");
        }),
        scenario("the_container_behind_a_port_is_the_destination_v6", OTHER, "IPv6", REACHED, |world| {
            world.expect_open_to_be_the_destination(&["2001:db8:81::1", "2001:db8:1::1"], "2001:db8:81::1");
        }),
    ]
}

fn not_known_yet() -> Scenario<Published> {
    Scenario {
        name: "a_container_that_is_not_known_yet_is_closed_to_the_host",
        path: "host, docker-proxy → container",
        family: "IPv4",
        accident: "the controller is halted",
        rests_on: &[Protection::Together(&[Protection::Table, Protection::Rules("gate: unlisted destination")])],
        run: |world| {
            let Published { controller, lab, .. } = world;
            controller.halt();
            let _halted = Halted(controller);
            let late = lab.container("late").network("front").serve(&[80]).publish("8120:80");
            let late = Guest(Some(late.start()));
            let target = late.0.as_ref().expect("it was started").target(&[Probe::Tcp(80), Probe::Udp(80)]);
            // Where Docker translates (the host's own IPv4 address), this host needs no proxy, and the kernel
            // still shows the loopback as the way out: the gate does not see that it goes to the network.
            let proxied = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST), HOST[1]];
            let published = Target::published("published", &proxied, Probe::Tcp(8120));
            let survey = Survey::new().source(lab.host_source()).target(target).target(published);
            survey.expect(|_| false);
        },
    }
}

/// The same without `docker-proxy`: Docker translates for containers of the same network, too, and packets of a client
/// are judged where all forwarded ones are.
pub(crate) fn without_proxy() -> Group<Published> {
    let ingress: &[Protection] = &[Protection::Rules("to network front")];
    Group {
        name: "proxy_off",
        build: || start(Options { userland_proxy: false, ..Options::default() }),
        scenarios: vec![
            scenario(
                "same_network_through_its_gateway_v4",
                "container → host port → DNAT",
                "IPv4",
                ingress,
                |world| {
                    world.expect_friends(&["friend", "stranger"], &["10.80.0.1", "203.0.113.1"], Probe::Tcp(8080));
                },
            ),
            scenario(
                "outside_through_a_published_port_v4",
                "outside → host port → DNAT",
                "IPv4",
                ingress,
                |world| {
                    world.expect_friends(&["outside", "passer-by"], &["203.0.113.1"], Probe::Tcp(8080));
                    world.expect_friends(&["outside", "passer-by"], &["203.0.113.1"], Probe::Udp(8080));
                },
            ),
            scenario("localhost_is_this_host", "host → DNAT → container", "IPv4", &[], |world| {
                world.expect(&["host"], &["127.0.0.1", "203.0.113.1"], Probe::Tcp(8080), |_| true);
            }),
        ],
    }
}
