//! What policy cannot reach is said: by `status`, in the log, by `validate --inventory`, with its reason.

use std::fs;

use serde_json::Value;

use crate::support::lab::IMAGE;
use crate::support::world::{Policies, wait_for};
use crate::support::{Controller, Engine, Lab};

const POLICY: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: closed}
spec: {selector: app == 'closed', types: [Ingress, Egress]}
";

struct World {
    controller: Controller,
    policies: Policies,
    lab: Lab,
}

impl World {
    fn start() -> World {
        let lab = Lab::start(Engine::Installed);
        lab.network("front", &["10.85.0.0/24"]);
        let policies = Policies::new(&lab);
        policies.save("p.yaml", POLICY);
        let mut controller =
            lab.dockgate(&["run", "--policies", &policies.argument(), "--accept-out-of-reach", "accepted"]);
        controller.wait_until_ready();
        World { controller, policies, lab }
    }

    fn run(&self, name: &str, network: &str, label: &str) {
        let run = ["run", "-d", "--name", name, "--network", network, "--label", label, IMAGE, "sleep", "1000000"];
        self.lab.docker(&run);
    }

    fn status(&self) -> Value {
        let state = self.controller.state().to_string_lossy();
        let answer = self.lab.dockgate_output(&["status", "--state-dir", &state, "-o", "json"]);
        serde_json::from_slice(&answer.stdout).unwrap_or_default()
    }

    /// Waits until the one problem is that policy does not reach this endpoint, and panics unless everybody says so.
    fn expect_told(&self, endpoint: &str, reason: &str) {
        let problem = |status: &Value| status["problems"][0].as_str().map(str::to_owned).unwrap_or_default();
        let said = format!("policy is not enforced on {endpoint}: ");
        wait_for(&format!("{endpoint} to be told"), || problem(&self.status()).starts_with(&said));
        let status = self.status();
        assert!(problem(&status).contains(reason), "{status:#}");
        assert_eq!((&status["ready"], &status["in_sync"]), (&false.into(), &true.into()), "{status:#}");
        assert_eq!(self.controller.status().status.code(), Some(1));
        let log = self.controller.log();
        let is_line = |line: &&str| line.contains("not enforced on this endpoint") && line.contains(endpoint);
        assert_eq!(log.lines().filter(is_line).count(), 1, "one line: {log}");

        let inventory = self.lab.dockgate_output(&["get", "inventory", "-o", "yaml"]);
        let file = self.lab.directory().join("inventory.yaml");
        fs::write(&file, inventory.stdout).expect("the laboratory's directory takes files");
        let path = file.to_string_lossy();
        let directory = self.policies.argument();
        let found = self.lab.dockgate_output(&["validate", &directory, "--inventory", &path]);
        let text = String::from_utf8_lossy(&found.stdout).into_owned();
        assert!(text.contains("warning[DG3105]") && text.contains(reason) && text.contains("p.yaml:"), "{text}");
        assert_eq!(found.status.code(), Some(0), "a warning");
        let strict = self.lab.dockgate_output(&["validate", &directory, "--inventory", &path, "--strict"]);
        assert_eq!(strict.status.code(), Some(1));
    }

    /// Waits until policy is in force on the only endpoint of a container.
    fn wait_until_enforced(&self, container: &str) {
        let selector = format!("dockgate.io/container == '{container}'");
        wait_for(&format!("policy to be in force on {container}"), || {
            let listed = self.lab.dockgate_output(&["get", "endpoints", "-o", "json", "-l", &selector]);
            let rows: Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
            rows[0]["enforced"] == true && rows[0]["ipv4"].is_string()
        });
    }

    fn expect_ready(&self) {
        wait_for("the controller to be ready", || self.controller.status().status.success());
    }

    fn remove(&self, names: &[&str]) {
        self.lab.docker(&[&["rm", "--force"], names].concat());
        self.expect_ready();
    }
}

#[test]
fn what_policy_selects_and_cannot_reach_is_told_everywhere() {
    let world = World::start();
    world.run("on-host", "host", "app=closed");
    world.expect_told("on-host", "host network");
    world.remove(&["on-host"]);

    let parent = ["-o", "parent=ext0"];
    world
        .lab
        .docker(&[&["network", "create", "-d", "macvlan", "--subnet", "10.86.0.0/24"], &parent[..], &["lan"]].concat());
    world.run("on-lan", "lan", "app=closed");
    world.expect_told("on-lan@lan", "driver macvlan");
    world.remove(&["on-lan"]);

    world.lab.docker(&["swarm", "init", "--advertise-addr", "203.0.113.1"]);
    world.lab.docker(&["network", "create", "-d", "overlay", "--attachable", "--subnet", "10.87.0.0/24", "wide"]);
    world.run("on-wide", "wide", "app=closed");
    world.expect_told("on-wide@wide", "driver overlay");
    world.remove(&["on-wide"]);
    // The swarm's own word of a network is no bridge on this host: that is there as long as somebody is on it.
    world.lab.docker(&["network", "create", "--config-only", "--subnet", "10.88.0.0/24", "of-bridged"]);
    let of_swarm = ["--scope", "swarm", "--attachable", "--config-from", "of-bridged"];
    world.lab.docker(&[&["network", "create", "-d", "bridge"], &of_swarm[..], &["bridged"]].concat());
    world.run("on-bridged", "bridged", "app=closed");
    world.wait_until_enforced("on-bridged");
    let log = world.controller.log();
    assert!(!log.contains("there is no such bridge"), "{log}");
    world.remove(&["on-bridged"]);
    world.lab.docker(&["swarm", "leave", "--force"]);

    // Present and not selected, or selected and accepted: listed, and no trouble.
    world.run("quiet", "host", "app=other");
    world.run("accepted", "host", "app=accepted");
    world
        .policies
        .save("p.yaml", &POLICY.replace("app == 'closed'", "app == 'closed' || dockgate.io/container == 'accepted'"));
    wait_for("the policy to select the accepted one", || {
        let status = world.status();
        let listed = status["endpoints"]["unenforceable"].as_array().cloned().unwrap_or_default();
        listed.len() == 2 && listed[0]["policies"] == serde_json::json!(["closed"]) && listed[0]["accepted"] == true
    });
    world.expect_ready();
}

#[test]
fn who_shares_an_endpoint_is_judged_as_its_owner() {
    let world = World::start();
    world.run("owner", "front", "app=open");
    world.run("first", "container:owner", "app=closed");
    world.run("second", "container:owner", "app=open");
    world.expect_told("first", "shares the endpoint of container owner, whose labels count");
    let told = world.status();
    let listed = told["endpoints"]["unenforceable"].as_array().map(Vec::len);
    assert_eq!((listed, told["problems"].as_array().map(Vec::len)), (Some(2), Some(1)), "{told:#}");

    // The owner restarts, and nothing of that changes.
    world.lab.docker(&["restart", "--time", "0", "owner"]);
    world.wait_until_enforced("owner");
    world.expect_told("first", "shares the endpoint of container owner");

    // The owner is gone: whose endpoint it was is known by id only.
    let owner = world.lab.docker(&["inspect", "--format", "{{.Id}}", "owner"]);
    world.lab.docker(&["rm", "--force", "owner"]);
    let reason = format!("shares the endpoint of container {}", &owner[..12]);
    wait_for("the owner's name to be forgotten", || world.status()["problems"].to_string().contains(&reason));

    // An owner that the policy governs: what shares its endpoint is in its reach.
    world.remove(&["first", "second"]);
    world.run("owner", "front", "app=closed");
    world.run("third", "container:owner", "app=closed");
    wait_for("the third one to be listed", || {
        world.status()["endpoints"]["unenforceable"].as_array().is_some_and(|listed| listed.len() == 1)
    });
    world.expect_ready();
}
