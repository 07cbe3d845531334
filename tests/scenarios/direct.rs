//! Forwarded packets: on one bridge, between bridges, to the outside and in from there.
//!
//! Bridge netfilter is off when the controller starts, as on a host that was hardened. Docker's isolation of its networks
//! from each other is taken out, so that what passes between them is for policy alone to decide.

use std::net::IpAddr;

use crate::proxy::second_outside;
use crate::scenario::{Group, Scenario, World};
use crate::support::sabotage::bridge_filters;
use crate::support::world::{Policies, packet_filter, wait_for};
use crate::support::{
    Container, Controller, Engine, Lab, Namespace, Probe, Protection, Responder, Source, Survey, Target,
};

const PROBES: [Probe; 3] = [Probe::Tcp(80), Probe::Udp(80), Probe::Ping];

const POLICIES: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: only-friends}
spec:
  selector: app in {'server', 'dual'}
  ingress:
    - {action: Allow, source: {selector: client == 'friend'}}
    - {action: Allow, source: {nets: [203.0.113.9/32]}}
    - {action: Allow, source: {nets: ['2001:db8:1::9/128']}}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: caged}
spec:
  selector: app == 'caged'
  types: [Egress]
  egress: [{action: Allow, destination: {selector: door == 'open'}}]
";

/// Two networks with clients on both, one container on both, and the outside.
pub(crate) struct Direct {
    // Dropped in this order: the controller before the laboratory.
    controller: Controller,
    containers: Vec<Container>,
    passer_by: Namespace,
    _server: Responder,
    filters: String,
    lab: Lab,
}

impl World for Direct {
    fn lab(&self) -> &Lab {
        &self.lab
    }

    fn controller(&mut self) -> &mut Controller {
        &mut self.controller
    }

    fn wait_until_repaired(&mut self, enforced: &str) {
        wait_for("the controller to repair what was taken out", || {
            packet_filter(&self.lab) == enforced && bridge_filters(&self.lab) == self.filters
        });
    }
}

impl Direct {
    fn build() -> Direct {
        let lab = Lab::start(Engine::Installed);
        lab.network("front", &["10.82.0.0/24", "2001:db8:82::/64"]);
        lab.network("back", &["10.83.0.0/24", "2001:db8:83::/64"]);
        lab.run(&["iptables", "-I", "DOCKER-ISOLATION-STAGE-1", "-j", "RETURN"]);
        Protection::BridgeNetfilter.remove(&lab);
        let passer_by = second_outside(&lab);
        let server = |name: &str, network: &str| lab.container(name).network(network).label("app", name).serve(&[80]);
        let client = |name: &str, network: &str, role: &str| lab.container(name).network(network).label("client", role);
        let containers = lab.start_all(vec![
            server("server", "front").publish("8080:80"),
            server("dual", "front").network("back"),
            server("open", "front").label("door", "open"),
            server("shut", "front"),
            server("far-open", "back").label("door", "open"),
            server("far-shut", "back"),
            client("friend", "front", "friend"),
            client("stranger", "front", "stranger"),
            client("far-friend", "back", "friend"),
            client("far-stranger", "back", "stranger"),
            client("caged", "front", "stranger").label("app", "caged"),
        ]);
        let policies = Policies::new(&lab);
        policies.save("policies.yaml", POLICIES);
        let mut controller = lab.dockgate(&["run", "--policies", &policies.argument(), "--resync-interval", "1s"]);
        controller.wait_until_ready();
        let filters = bridge_filters(&lab);
        let server = Responder::start(lab.outside(), &[80]);
        Direct { controller, containers, passer_by, _server: server, filters, lab }
    }

    fn container(&self, name: &str) -> &Container {
        self.containers.iter().find(|container| container.name() == name).expect("a container of this world")
    }

    fn survey(&self, sources: &[&str]) -> Survey {
        let of = |name: &&str| match *name {
            "outside" => self.lab.outside_source(),
            "passer-by" => Source::new("passer-by", &self.passer_by),
            name => self.container(name).source(),
        };
        sources.iter().map(of).fold(Survey::new(), Survey::source)
    }

    /// A container on one of its networks, in one family.
    fn target(&self, name: &str, network: &str, v6: bool) -> Target {
        let mut target = self.container(name).target_on(network, &PROBES);
        target.addresses.retain(|address| address.is_ipv6() == v6);
        target
    }

    /// The friends reach it, and nobody else.
    fn expect_friends(&self, sources: &[&str], name: &str, network: &str, v6: bool) {
        let survey = self.survey(sources).target(self.target(name, network, v6));
        survey.expect(|cell| cell.source.ends_with("friend") || cell.source == "outside");
    }

    /// The caged one reaches what has an open door, and the stranger everything.
    fn expect_cage(&self, targets: [(&str, &str); 2], v6: bool) {
        let survey = self.survey(&["caged", "stranger"]);
        let targets = targets.map(|(name, network)| self.target(name, network, v6));
        let survey = targets.into_iter().fold(survey, Survey::target);
        survey.expect(|cell| cell.source == "stranger" || cell.target.contains("open"));
    }

    fn expect_no_way_out(&self, v6: bool) {
        let addresses: Vec<IpAddr> =
            crate::support::lab::OUTSIDE.into_iter().filter(|address| address.is_ipv6() == v6).collect();
        let home = Some(self.lab.outside().clone());
        let outside = Target { name: "outside".to_owned(), addresses, probes: PROBES.to_vec(), home };
        self.survey(&["caged", "stranger"]).target(outside).expect(|cell| cell.source == "stranger");
    }
}

pub(crate) fn group() -> Group<Direct> {
    use Protection::{BridgeNetfilter, Rules};
    const TO: Protection = Rules("to network front");
    const FROM: Protection = Rules("from network front");
    const BRIDGED_IN: &[Protection] = &[TO, Rules("ingress of only-friends"), BridgeNetfilter];
    const BRIDGED_OUT: &[Protection] = &[FROM, Rules("egress of caged"), BridgeNetfilter];
    let scenario = |name, path, family, rests_on, run| Scenario { name, path, family, accident: "", rests_on, run };
    let bridged = "container → container, same bridge";
    let routed = "container → container, routed";
    Group {
        name: "direct",
        build: Direct::build,
        scenarios: vec![
            scenario("same_bridge_ingress_v4", bridged, "IPv4", BRIDGED_IN, |world: &mut Direct| {
                world.expect_friends(&["friend", "stranger"], "server", "front", false);
            }),
            scenario("same_bridge_ingress_v6", bridged, "IPv6", BRIDGED_IN, |world| {
                world.expect_friends(&["friend", "stranger"], "server", "front", true);
            }),
            scenario("same_bridge_egress_v4", bridged, "IPv4", BRIDGED_OUT, |world| {
                world.expect_cage([("open", "front"), ("shut", "front")], false);
            }),
            scenario("same_bridge_egress_v6", bridged, "IPv6", BRIDGED_OUT, |world| {
                world.expect_cage([("open", "front"), ("shut", "front")], true);
            }),
            scenario("routed_ingress_v4", routed, "IPv4", &[TO], |world| {
                world.expect_friends(&["far-friend", "far-stranger"], "server", "front", false);
            }),
            scenario("routed_ingress_v6", routed, "IPv6", &[TO], |world| {
                world.expect_friends(&["far-friend", "far-stranger"], "server", "front", true);
            }),
            scenario("routed_egress_v4", routed, "IPv4", &[FROM], |world| {
                world.expect_cage([("far-open", "back"), ("far-shut", "back")], false);
            }),
            scenario("routed_egress_v6", routed, "IPv6", &[FROM], |world| {
                world.expect_cage([("far-open", "back"), ("far-shut", "back")], true);
            }),
            scenario(
                "each_network_of_a_container_on_two_v4",
                bridged,
                "IPv4",
                &[TO, Rules("to network back")],
                |world| {
                    world.expect_friends(&["friend", "stranger"], "dual", "front", false);
                    world.expect_friends(&["far-friend", "far-stranger"], "dual", "back", false);
                },
            ),
            scenario(
                "each_network_of_a_container_on_two_v6",
                bridged,
                "IPv6",
                &[TO, Rules("to network back")],
                |world| {
                    world.expect_friends(&["friend", "stranger"], "dual", "front", true);
                    world.expect_friends(&["far-friend", "far-stranger"], "dual", "back", true);
                },
            ),
            scenario("container_to_outside_v4", "container → outside", "IPv4", &[FROM], |world| {
                world.expect_no_way_out(false);
            }),
            scenario("container_to_outside_v6", "container → outside", "IPv6", &[FROM], |world| {
                world.expect_no_way_out(true);
            }),
            scenario("outside_through_a_published_port_v4", "outside → host port → DNAT", "IPv4", &[TO], |world| {
                let published = Target::published("published", &crate::support::lab::HOST[..1], Probe::Tcp(8080));
                let survey = world.survey(&["outside", "passer-by"]).target(published);
                survey.expect(|cell| cell.source == "outside");
            }),
            scenario("outside_to_a_container_v6", "outside → container, routed", "IPv6", &[TO], |world| {
                world.expect_friends(&["outside", "passer-by"], "server", "front", true);
            }),
            Scenario {
                name: "bridge_netfilter_switched_off_while_it_runs",
                path: bridged,
                family: "both",
                accident: "net.bridge sysctls and bridge options set to 0",
                // The mutation of the first scenarios is the same hand with the controller halted.
                rests_on: &[],
                run: |world| {
                    BridgeNetfilter.remove(&world.lab);
                    wait_for("bridge netfilter to be back", || bridge_filters(&world.lab) == world.filters);
                    for v6 in [false, true] {
                        world.expect_friends(&["friend", "stranger"], "server", "front", v6);
                    }
                },
            },
        ],
    }
}
