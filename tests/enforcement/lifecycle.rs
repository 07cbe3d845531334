//! The life of a controller: start, reload, crash, restart, and what others do to its rules meanwhile.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::world::{OWNERS_EXAMPLE, Policies, packet_filter, rules, wait_for};
use crate::support::{Container, Controller, Engine, Lab, Probe, Survey};

const FILE: &str = "allow-web-to-api.yaml";

struct World {
    lab: Lab,
    policies: Policies,
    containers: Vec<Container>,
}

impl World {
    fn new() -> World {
        let lab = Lab::start(Engine::Installed);
        lab.network("shop", &["10.77.0.0/24"]);
        let start = |name: &str| lab.container(name).network("shop").label("app", name).serve(&[80]).start();
        let containers = ["web", "api", "other"].map(start).into();
        let policies = Policies::new(&lab);
        policies.save(FILE, OWNERS_EXAMPLE);
        World { lab, policies, containers }
    }

    fn run(&self) -> Controller {
        self.run_with(&[])
    }

    fn run_with(&self, environment: &[(&str, &str)]) -> Controller {
        let policies = self.policies.argument();
        self.lab.dockgate_with(environment, &["run", "--policies", &policies, "--resync-interval", "1s"])
    }

    /// The status as the documented JSON.
    fn status(&self, controller: &Controller) -> serde_json::Value {
        let state = controller.state().to_string_lossy();
        let answer = self.lab.dockgate_output(&["status", "--state-dir", &state, "-o", "json"]);
        serde_json::from_slice(&answer.stdout).unwrap_or_default()
    }

    /// Panics unless web reaches api, and other does not.
    fn expect_enforced(&self) {
        let [web, api, other] = self.containers.as_slice() else { panic!("three containers") };
        let survey = Survey::new().source(web.source()).source(other.source()).target(api.target(&[Probe::Tcp(80)]));
        survey.expect(|cell| cell.source == "web");
    }
}

#[test]
fn the_rules_outlive_whatever_happens_to_the_controller() {
    let world = World::new();
    let mut first = world.run();
    first.wait_until_ready();
    let enforced = packet_filter(&world.lab);

    let state = first.state().to_string_lossy().into_owned();
    let policies = world.policies.argument();
    let second = world.lab.dockgate_output(&["run", "--policies", &policies, "--state-dir", &state]);
    assert_eq!(second.status.code(), Some(2), "a second controller on the same state directory refuses");
    assert!(String::from_utf8_lossy(&second.stderr).contains("is in use by process"), "{second:?}");

    // A broken edit, and a crash on top of it: the last good version is in force, and the status says so.
    world.policies.save(FILE, "apiVersion: [");
    wait_for("the broken file to be noticed", || first.status().status.code() == Some(1));
    first.crash();
    world.expect_enforced();
    assert_eq!(packet_filter(&world.lab), enforced);
    let mut restarted = world.run();
    wait_for("the restarted controller to be in sync", || world.status(&restarted)["in_sync"] == true);
    let status = world.status(&restarted);
    assert_eq!((&status["ready"], restarted.status().status.code()), (&false.into(), Some(1)));
    assert!(status["problems"][0].as_str().is_some_and(|text| text.contains(&format!("{FILE}:1:"))), "{status:#}");
    world.expect_enforced();
    assert_eq!(packet_filter(&world.lab), enforced, "a restart changes nothing in the kernel");

    world.policies.save(FILE, OWNERS_EXAMPLE);
    restarted.wait_until_ready();

    // The directory vanishes: an error, not an empty policy.
    let away = world.lab.directory().join("away");
    fs::rename(&policies, &away).expect("a directory can be moved");
    wait_for("the missing directory to be noticed", || restarted.status().status.code() == Some(1));
    assert_eq!(packet_filter(&world.lab), enforced);
    fs::rename(&away, &policies).expect("and back");
    restarted.wait_until_ready();

    // Other hands.
    let repaired = |what: &str| {
        wait_for(what, || packet_filter(&world.lab) == enforced);
        world.expect_enforced();
    };
    for (what, command) in [
        ("flushed base chain", ["iptables", "-t", "mangle", "-F", "DG-FORWARD"].as_slice()),
        ("flushed FORWARD", &["iptables", "-t", "mangle", "-F", "FORWARD"]),
        ("rule above ours", &["sh", "-c", "iptables -I INPUT -j RETURN && sleep 3 && iptables -D INPUT 2"]),
        ("emptied set", &["ipset", "flush", "dg-4-known"]),
    ] {
        world.lab.run(command);
        repaired(what);
    }
    let repairs = world.status(&restarted)["kernel"]["repairs"].as_u64();
    assert!(repairs.is_some_and(|repairs| repairs >= 4), "{repairs:?} repairs were counted");
    assert!(restarted.stop().success());
    assert_eq!(packet_filter(&world.lab), enforced, "stopped: the rules stay");
}

#[test]
fn a_first_start_on_an_invalid_directory_is_refused() {
    let world = World::new();
    world.policies.save(FILE, &OWNERS_EXAMPLE.replace("selector: app == 'api'", "selectr: app == 'api'"));
    let before = packet_filter(&world.lab);
    let state = world.lab.directory().join("fresh-state");
    let policies = world.policies.argument();
    let refused = world.lab.dockgate_output(&["run", "--policies", &policies, "--state-dir", &state.to_string_lossy()]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("{FILE}:7:3")) && said.contains("did you mean"), "{said}");
    assert_eq!(packet_filter(&world.lab), before, "nothing was written");
}

#[test]
fn the_service_manager_is_told_when_it_asks() {
    let world = World::new();
    let socket = world.lab.directory().join("notify");
    let manager = UnixDatagram::bind(&socket).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let heard = |wanted: &str| {
        let mut all = String::new();
        while !all.contains(wanted) {
            let mut buffer = [0; 4096];
            let length =
                manager.recv(&mut buffer).unwrap_or_else(|error| panic!("no {wanted}: {error}; heard:\n{all}"));
            all.push_str(&String::from_utf8_lossy(&buffer[..length]));
            all.push('\n');
        }
        all
    };
    let socket = socket.to_string_lossy().into_owned();
    let mut controller = world.run_with(&[("NOTIFY_SOCKET", &socket), ("WATCHDOG_USEC", "1000000")]);
    heard("READY=1");
    heard("WATCHDOG=1");
    controller.signal(Signal::SIGHUP);
    assert!(heard("RELOADING=1").contains("MONOTONIC_USEC="));
    heard("READY=1");
    controller.signal(Signal::SIGTERM);
    heard("STOPPING=1");
    assert!(controller.stop().success());
    assert!(rules(&world.lab).contains("allow-web-to-api"));
}

#[test]
fn what_cannot_be_enforced_is_said() {
    let world = World::new();
    world.lab.docker(&[
        "run",
        "-d",
        "--name",
        "on-host",
        "--label",
        "app=api",
        "--network",
        "host",
        "busybox",
        "sleep",
        "1000",
    ]);
    world.lab.docker(&["run", "-d", "--name", "beside", "--network", "container:web", "busybox", "sleep", "1000"]);
    let listed =
        world.lab.dockgate_output(&["get", "endpoints", "-o", "json", "--policies", &world.policies.argument()]);
    let endpoints: Vec<serde_json::Value> = serde_json::from_slice(&listed.stdout).expect("a JSON list");
    let of = |name: &str| {
        endpoints
            .iter()
            .find(|endpoint| endpoint["container"] == name)
            .unwrap_or_else(|| panic!("no {name}: {endpoints:#?}"))
    };
    for (name, reason) in [("on-host", "host network"), ("beside", "web")] {
        assert_eq!(of(name)["enforced"], false);
        assert!(of(name)["reason"].as_str().is_some_and(|text| text.contains(reason)), "{}", of(name));
    }
    assert_eq!(of("api")["enforced"], true);
    assert_eq!(of("api")["network"], "shop");
    assert_eq!(of("api")["ingressPolicies"], serde_json::json!(["allow-web-to-api"]));
    assert!(of("api")["ipv4"].as_str().is_some_and(|address| address.starts_with("10.77.0.")));
    let controller = world.run();
    wait_for("the controller to be in sync", || world.status(&controller)["in_sync"] == true);
    assert_eq!(controller.status().status.code(), Some(1), "a policy selects what it cannot reach");
    let status = String::from_utf8_lossy(&controller.status().stdout).into_owned();
    assert!(status.contains("policy is not enforced on on-host: host network"), "{status}");
    assert!(!status.contains("policy is not enforced on beside"), "nothing selects it: {status}");

    // What would be changed is nothing while the controller runs, and everything after a cleanup.
    let plan = world.lab.dockgate_output(&["plan", "--policies", &world.policies.argument()]);
    assert_eq!(plan.status.code(), Some(0), "{}", String::from_utf8_lossy(&plan.stdout));
    let state = controller.state().to_string_lossy().into_owned();
    assert!(controller.stop().success());
    assert!(world.lab.dockgate_output(&["cleanup", "--state-dir", &state]).status.success());
    let plan = world.lab.dockgate_output(&["plan", "--policies", &world.policies.argument()]);
    assert_eq!(plan.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&plan.stdout).contains("allow-web-to-api ingress[0]"));
}

#[test]
fn an_explanation_has_what_the_kernel_has_counted() {
    let world = World::new();
    let mut controller = world.run();
    controller.wait_until_ready();
    let policies = world.policies.argument();
    let explain = |from: &str| -> serde_json::Value {
        let question = ["--from", from, "--to", "api", "--port", "80/tcp", "--ip-version", "4", "-o", "json", "--live"];
        let answer = world.lab.dockgate_output(&[&["explain", "--policies", &policies], &question[..]].concat());
        serde_json::from_slice(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    };
    // The rule that lets web pass, and the end of the tier that stops other.
    let tier = "/paths/0/ingress/asked/0/tiers/0";
    let allowed = format!("{tier}/policies/0/rules/0/counters/packets");
    let denied = format!("{tier}/end/counters/packets");
    let count = |from: &str, at: &str| -> u64 {
        let answer = explain(from);
        for hit in answer["paths"][0]["trace"].as_array().into_iter().flatten() {
            assert!(hit["counters"]["packets"].is_u64(), "a rule that is not found in the kernel: {hit:#}");
        }
        answer.pointer(at).and_then(serde_json::Value::as_u64).unwrap_or_else(|| panic!("no {at}: {answer:#}"))
    };
    let before = (count("web", &allowed), count("other", &denied));
    world.expect_enforced();
    let after = (count("web", &allowed), count("other", &denied));
    assert!(after.0 > before.0 && after.1 > before.1, "{before:?} {after:?}");

    // Rules of other options are not taken for those of the controller.
    let question = ["--from", "web", "--to", "api", "--port", "80", "--ip-version", "4", "--live", "--rules"];
    let other = ["explain", "--policies", &policies, "--deny-action", "reject"];
    let answer = world.lab.dockgate_output(&[&other[..], &question[..]].concat());
    let text = String::from_utf8_lossy(&answer.stdout);
    assert!(text.contains("[not in the kernel]"), "{text}");
}
