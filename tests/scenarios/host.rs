//! From a container to the host that it runs on: egress policy is asked in INPUT.

use std::net::IpAddr;

use crate::scenario::{Group, Scenario, World};
use crate::support::lab::HOST;
use crate::support::world::Policies;
use crate::support::{Container, Controller, Engine, Lab, Probe, Responder, Source, Survey, Target};

const PORT: u16 = 7000;

const CLOSED: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: closed}
spec: {selector: app == 'closed', types: [Egress]}
";

/// A host with a server of its own, and two containers: one that may send nothing, and one that no policy selects.
pub(crate) struct Host {
    // Dropped in this order: the controller before the laboratory.
    controller: Controller,
    closed: Container,
    open: Container,
    _server: Responder,
    lab: Lab,
}

impl World for Host {
    fn lab(&self) -> &Lab {
        &self.lab
    }

    fn controller(&mut self) -> &mut Controller {
        &mut self.controller
    }
}

impl Host {
    fn build() -> Host {
        let lab = Lab::start(Engine::Installed);
        lab.network("front", &["10.78.0.0/24", "2001:db8:78::/64"]);
        lab.network("back", &["10.79.0.0/24", "2001:db8:79::/64"]);
        let start = |name: &str| lab.container(name).network("front").label("app", name).start();
        let [closed, open] = ["closed", "open"].map(start);
        let policies = Policies::new(&lab);
        policies.save("closed.yaml", CLOSED);
        let mut controller = lab.dockgate(&["run", "--policies", &policies.argument(), "--resync-interval", "1s"]);
        controller.wait_until_ready();
        let server = Responder::start(lab.host(), &[PORT]);
        Host { controller, closed, open, _server: server, lab }
    }

    /// Both containers probe an address of the host; only the open one may get an answer.
    fn expect_closed_to(&self, addresses: &[IpAddr]) {
        let target = Target {
            name: "host".to_owned(),
            addresses: addresses.to_vec(),
            probes: vec![Probe::Tcp(PORT), Probe::Udp(PORT), Probe::Ping],
            home: Some(self.lab.host().clone()),
        };
        let source = |container: &Container| Source::new(container.name(), container.namespace());
        let survey = Survey::new().source(source(&self.closed)).source(source(&self.open)).target(target);
        survey.expect(|cell| cell.source == "open");
    }
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

pub(crate) fn group() -> Group<Host> {
    use crate::support::Protection::Rules;
    let scenario = |name, family, run| Scenario {
        name,
        path: "container → host",
        family,
        accident: "",
        rests_on: &[Rules("from network front")],
        run,
    };
    Group {
        name: "host",
        build: Host::build,
        scenarios: vec![
            scenario("own_gateway_is_closed_v4", "IPv4", |host: &mut Host| {
                host.expect_closed_to(&addresses(&["10.78.0.1"]));
            }),
            scenario("own_gateway_is_closed_v6", "IPv6", |host| host.expect_closed_to(&addresses(&["2001:db8:78::1"]))),
            scenario("another_networks_gateway_is_closed_v4", "IPv4", |host| {
                host.expect_closed_to(&addresses(&["10.79.0.1"]));
            }),
            scenario("another_networks_gateway_is_closed_v6", "IPv6", |host| {
                host.expect_closed_to(&addresses(&["2001:db8:79::1"]));
            }),
            scenario("the_hosts_other_address_is_closed_v4", "IPv4", |host| host.expect_closed_to(&HOST[..1])),
            scenario("the_hosts_other_address_is_closed_v6", "IPv6", |host| host.expect_closed_to(&HOST[1..])),
        ],
    }
}
