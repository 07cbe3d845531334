//! The world of flows: who talks to whom, and how a policy comes between them.
//!
//! Input: the specification of a policy, and open flows. Output: whether it ends the right ones.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use nix::sys::signal::Signal;

use crate::scenario::World;
use crate::support::Protection::{self, Judgement};
use crate::support::lab::HOST;
use crate::support::world::{Policies, wait_for};
use crate::support::{Container, Controller, Conversation, Engine, Lab, Namespace, Transport};

/// The port of flows that policy comes to forbid, and one that it goes on allowing.
pub(super) const FORBIDDEN: u16 = 7000;
pub(super) const ALLOWED: u16 = 7001;
/// The ports of the host behind which they are, of the container `published`.
pub(super) const HOST_FORBIDDEN: u16 = 8000;
pub(super) const HOST_ALLOWED: u16 = 8001;

/// An address that containers take in turns.
pub(super) const REUSED: &str = "10.80.0.50";

/// What has the label is governed, and everything is allowed to it.
const OPEN: &str = "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: open}
spec: {order: 1000, selector: has(app), types: [Ingress, Egress], ingress: [{action: Allow}], egress: [{action: Allow}]}
";

/// A client, a server and a container with published ports on one network; two containers on two others, between which somebody's own
/// rule lifts Docker's isolation.
pub(crate) struct Flows {
    // Dropped in this order: the controller before the laboratory.
    pub(super) controller: Option<Controller>,
    pub(super) client: Container,
    pub(super) server: Container,
    pub(super) published: Container,
    pub(super) east: Container,
    pub(super) west: Container,
    pub(super) policies: Policies,
    /// What is to be taken out once flows have ended.
    sabotage: Option<Protection>,
    /// What was taken out.
    sabotaged: Option<Protection>,
    pub(super) lab: Lab,
}

impl World for Flows {
    fn lab(&self) -> &Lab {
        &self.lab
    }

    fn controller(&mut self) -> &mut Controller {
        self.controller.as_mut().expect("only a scenario is without a controller, for a while")
    }

    /// Rules are taken out when the controller has ended the flows: see [`Flows::flows_have_ended`].
    fn sabotage(&mut self, protection: Protection) {
        if protection == Judgement {
            protection.remove(&self.lab);
            self.sabotaged = Some(protection);
        } else {
            self.sabotage = Some(protection);
        }
    }

    fn end_sabotage(&mut self) {
        let sabotaged = self.sabotaged.take();
        if let Some(protection) = sabotaged {
            protection.put_back(&self.lab);
        }
        self.controller().signal(Signal::SIGCONT);
        self.sabotage = None;
        assert!(sabotaged.is_some(), "it failed before anything was taken out");
    }
}

impl Flows {
    pub(super) fn build() -> Flows {
        let lab = Lab::start(Engine::Installed);
        for (name, octet) in [("flat", 80), ("east", 81), ("west", 82)] {
            lab.network(name, &[&format!("10.{octet}.0.0/24"), &format!("2001:db8:{octet}::/64")]);
        }
        for [from, to] in [["10.81.0.0/24", "10.82.0.0/24"], ["10.82.0.0/24", "10.81.0.0/24"]] {
            lab.run(&[&lab.tool("iptables"), "-I", "DOCKER-USER", "-s", from, "-d", to, "-j", "ACCEPT"]);
        }
        // Tables that a scenario without judgement leaves behind, empty.
        Judgement.remove(&lab);
        Judgement.put_back(&lab);
        let container = |name: &str, network: &str| lab.container(name).network(network).label("app", name);
        let mut publishing = container("published", "flat");
        for (host, port) in [(HOST_FORBIDDEN, FORBIDDEN), (HOST_ALLOWED, ALLOWED)] {
            publishing = publishing.publish(&format!("{host}:{port}/tcp")).publish(&format!("{host}:{port}/udp"));
        }
        let [client, server] = ["client", "server"].map(|name| container(name, "flat").start());
        let [east, west] = ["east", "west"].map(|name| container(name, name).start());
        let published = publishing.start();
        let policies = Policies::new(&lab);
        policies.save("open.yaml", OPEN);
        let mut world = Flows {
            controller: None,
            client,
            server,
            published,
            east,
            west,
            policies,
            sabotage: None,
            sabotaged: None,
            lab,
        };
        world.start_controller();
        world
    }

    pub(super) fn start_controller(&mut self) {
        let arguments =
            ["run", "--policies", &self.policies.argument(), "--resync-interval", "1s", "--log-level", "debug"];
        let mut controller = self.lab.dockgate(&arguments);
        // Flows that are not judged keep it from being ready.
        let is_unjudged = self.sabotaged == Some(Judgement);
        if !is_unjudged {
            controller.wait_until_ready();
        }
        self.controller = Some(controller);
        if is_unjudged {
            wait_for("the rules to be in force", || self.status()["in_sync"] == true);
        }
    }

    /// Kills the controller, and starts another one after `body`, whatever comes of it.
    pub(super) fn without_controller(&mut self, body: impl FnOnce(&mut Flows)) {
        self.controller.take().expect("a controller runs").crash();
        let outcome = catch_unwind(AssertUnwindSafe(|| body(self)));
        self.start_controller();
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
    }

    /// A container at the address that is reused.
    pub(super) fn reused_address(&self, app: &str) -> Container {
        self.lab.container(app).network("flat").ip(REUSED).label("app", app).start()
    }

    /// Runs `body` with such a container, and removes the container.
    pub(super) fn with_reused_address<T>(&mut self, app: &str, body: impl FnOnce(&mut Flows, &Container) -> T) -> T {
        let container = self.reused_address(app);
        let outcome = catch_unwind(AssertUnwindSafe(|| body(self, &container)));
        container.remove();
        outcome.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// The connection table, as the `conntrack` command lists it.
    pub(super) fn tracked(&self) -> Vec<String> {
        let list = |family: &str| self.lab.run(&["conntrack", "-L", "-f", family, "-o", "id"]);
        ["ipv4", "ipv6"].map(list).join("\n").lines().map(str::to_owned).collect()
    }

    /// Whether the kernel knows a flow of this client.
    pub(super) fn is_tracked(&self, flow: &Conversation) -> bool {
        let from = format!(" sport={} ", flow.client_address().port());
        self.tracked().iter().any(|line| line.contains(&from))
    }

    /// The ids of tracked flows to a port.
    pub(super) fn ids(&self, port: u16) -> BTreeSet<String> {
        let to = format!(" dport={port} ");
        let of_port = self.tracked().into_iter().filter(|line| line.contains(&to));
        of_port.filter_map(|line| line.rsplit("id=").next().map(str::to_owned)).collect()
    }

    pub(super) fn flows_cut(&self) -> u64 {
        self.status()["kernel"]["flows_cut"].as_u64().expect("the status counts them")
    }

    /// Runs `body` with one more policy, and then waits until the rules are without it.
    pub(super) fn under(&mut self, spec: &str, body: impl FnOnce(&mut Flows)) {
        self.policies.save("strict.yaml", &policy("strict", spec));
        let outcome = catch_unwind(AssertUnwindSafe(|| body(self)));
        self.policies.remove("strict.yaml");
        // A controller that is halted is waited for by who halted it.
        let is_halted = self.sabotaged.is_some_and(|protection| protection != Judgement);
        if !is_halted && self.controller.is_some() {
            self.wait_until_in_force(1);
        }
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
    }

    /// Waits until so many policies are in force.
    pub(super) fn wait_until_in_force(&self, policies: u64) {
        wait_for("the policies to be in force", || {
            let status = self.status();
            status["in_sync"] == true && status["policies"]["policies"] == policies
        });
    }

    pub(super) fn status(&self) -> serde_json::Value {
        let controller = self.controller.as_ref().expect("a controller runs");
        let state = controller.state().to_string_lossy();
        let answer = self.lab.dockgate_output(&["status", "--state-dir", &state, "-o", "json"]);
        serde_json::from_slice(&answer.stdout).unwrap_or_default()
    }

    /// Where a scenario without its rules goes wrong from: the flows have ended, and the controller rests.
    pub(super) fn flows_have_ended(&mut self) {
        if let Some(protection) = self.sabotage.take() {
            self.controller().halt();
            self.sabotaged = Some(protection);
            protection.remove(&self.lab);
        }
    }

    /// A policy ends the forbidden flows for good and does not touch the allowed ones.
    pub(super) fn expect_ends(&mut self, spec: &str, forbidden: Vec<Conversation>, allowed: Vec<Conversation>) {
        let talks: Vec<_> = allowed.into_iter().map(Conversation::talk).collect();
        self.under(spec, |world| world.expect_silent(forbidden));
        for talk in talks {
            talk.expect_unbroken();
        }
    }

    pub(super) fn expect_silent(&mut self, mut forbidden: Vec<Conversation>) {
        for conversation in &mut forbidden {
            conversation.wait_until_cut();
        }
        self.flows_have_ended();
        let outcomes: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> =
                forbidden.iter_mut().map(|conversation| scope.spawn(|| conversation.expect_silence())).collect();
            threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        for outcome in outcomes {
            outcome.unwrap_or_else(|panic| resume_unwind(panic));
        }
    }

    /// A flow from outside to a port of the host.
    pub(super) fn outside_flow(&self, transport: Transport, v6: bool, (host_port, port): (u16, u16)) -> Conversation {
        open(transport, self.lab.outside(), HOST[usize::from(v6)], host_port, (self.published.namespace(), port))
    }
}

/// A flow between containers, to the server's own address on its only network.
pub(super) fn between(transport: Transport, ends: [&Container; 2], port: u16, v6: bool) -> Conversation {
    let [client, server] = ends;
    let networks = server.addresses_by_network();
    let address = networks.into_values().flatten().find(|address| address.is_ipv6() == v6).expect("an address");
    open(transport, client.namespace(), address, port, (server.namespace(), port))
}

/// Forbidden and allowed flows of one kind.
pub(super) fn both(open: impl Fn(u16) -> Conversation) -> (Vec<Conversation>, Vec<Conversation>) {
    (vec![open(FORBIDDEN)], vec![open(ALLOWED)])
}

/// A flow to an address and port, which lead to a server and its port.
pub(super) fn open(
    transport: Transport,
    client: &Namespace,
    address: IpAddr,
    port: u16,
    server: (&Namespace, u16),
) -> Conversation {
    Conversation::open(transport, client, SocketAddr::new(address, port), server)
}

pub(super) fn policy(name: &str, spec: &str) -> String {
    format!("apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// A specification that denies a port of a protocol in one direction.
pub(super) fn deny(selector: &str, direction: &str, protocol: &str, port: u16) -> String {
    let section = direction.to_lowercase();
    format!(
        "{{order: 10, selector: \"{selector}\", types: [{direction}], {section}: \
         [{{action: Deny, protocol: {protocol}, destination: {{ports: [{port}]}}}}, {{action: Allow}}]}}"
    )
}
