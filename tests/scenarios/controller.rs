//! Accidents of the controller itself: started twice, without disk, directory, file descriptors or
//! a true clock. One forbidden pair is probed all the time.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::scenario::{Group, Scenario, World};
use crate::support::world::{Policies, packet_filter, wait_for};
use crate::support::{Container, Controller, Engine, Lab, Vigil};

const PORT: u16 = 7000;

/// What is in force whatever else is.
const CLOSED: &str = "
{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: closed}, spec: {
    selector: app == 'closed', types: [Ingress]}}
";

/// A host with a controller that meets with accidents.
pub(crate) struct Accidents {
    // Dropped in this order: the controller before the laboratory.
    controller: Option<Controller>,
    forbidden: Vigil,
    allowed: Vigil,
    containers: Vec<Container>,
    policies: Policies,
    lab: Lab,
}

impl World for Accidents {
    fn lab(&self) -> &Lab {
        &self.lab
    }

    fn controller(&mut self) -> &mut Controller {
        self.controller.as_mut().expect("every scenario leaves a controller behind")
    }
}

impl Accidents {
    fn build() -> Accidents {
        let lab = Lab::start(Engine::Installed);
        lab.network("front", &["10.84.0.0/24", "2001:db8:84::/64"]);
        let start = |name: &str| lab.container(name).network("front").label("app", name).serve(&[PORT]).start();
        let [closed, open, peer] = ["closed", "open", "peer"].map(start);
        let policies = Policies::new(&lab);
        policies.save("closed.yaml", CLOSED);
        let of = |container: &Container| {
            [false, true].map(|v6| SocketAddr::new(container.address("front", v6), PORT)).to_vec()
        };
        let mut accidents = Accidents {
            controller: None,
            forbidden: Vigil::start(open.namespace(), &[]),
            allowed: Vigil::start(open.namespace(), &of(&peer)),
            containers: Vec::new(),
            policies,
            lab,
        };
        accidents.start_controller();
        accidents.forbidden = Vigil::start(open.namespace(), &of(&closed));
        accidents.containers = vec![closed, open, peer];
        accidents
    }

    fn arguments(&self) -> [&str; 5] {
        ["run", "--policies", self.policies.path(), "--resync-interval", "1s"]
    }

    fn start_controller(&mut self) {
        let mut controller = self.lab.dockgate(&self.arguments());
        controller.wait_until_ready();
        self.controller = Some(controller);
    }

    /// Starts the controller as the last command of a shell script, in a mount namespace of its own.
    fn start_by(&mut self, script: &str, environment: &[(&str, &str)]) {
        self.controller = None;
        let mut controller = self.lab.dockgate_by(script, environment, &self.arguments());
        controller.wait_until_ready();
        self.controller = Some(controller);
    }

    /// Nothing forbidden has passed since a moment, what is allowed does, and the kernel holds what a fresh compile says.
    fn expect_order_since(&self, began: Instant) {
        wait_for("the kernel to be in order", || {
            let plan = self.lab.dockgate_output(&["plan", "--policies", self.policies.path()]);
            plan.status.code() == Some(0)
        });
        let settled = Instant::now();
        wait_for("what is allowed to pass", || !self.allowed.passed_since(settled).is_empty());
        assert!(self.forbidden.sent() > 0, "nothing was probed");
        assert_eq!(self.forbidden.passed_since(began), [], "forbidden packets have passed");
    }

    fn problems(&self) -> String {
        let controller = self.controller.as_ref().expect("every scenario leaves a controller behind");
        controller.document()["problems"].to_string()
    }
}

/// Another state directory is no way to a second controller of the same rules.
fn a_second_one(accidents: &mut Accidents) {
    let began = Instant::now();
    let other = accidents.lab.directory().join("other-state").to_string_lossy().into_owned();
    let run = ["run", "--policies", accidents.policies.path(), "--state-dir", &other];
    for (command, code) in [(&run[..], 2), (&["cleanup", "--state-dir", &other], 2)] {
        let answer = accidents.lab.dockgate_output(command);
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert_eq!(answer.status.code(), Some(code), "{command:?}: {said}");
        assert!(said.contains("another controller enforces policy in this network namespace"), "{said}");
    }
    accidents.expect_order_since(began);
}

/// `/dev/full` in the place of the file to be written: the kernel's own "no space left on device".
fn no_space(accidents: &mut Accidents) {
    let began = Instant::now();
    let state = accidents.controller().state().to_owned();
    let full = |name: &str| symlink("/dev/full", state.join(name)).expect("the state directory takes links");
    full("last-good.json.new");
    full("last-ruleset.json.new");
    let more = CLOSED.replace("metadata: {name: closed}", "metadata: {name: renamed}");
    accidents.policies.save("closed.yaml", &more);
    wait_for("the full disk to be told", || accidents.controller().log().contains("No space left on device"));
    // It is tried again, and there is space now.
    wait_for("everything to be kept", || accidents.problems() == "[]" && kept(&state, "renamed"));
    accidents.policies.save("closed.yaml", CLOSED);
    wait_for("everything to be kept", || accidents.problems() == "[]" && kept(&state, "closed"));
    accidents.expect_order_since(began);
}

/// Whether both files of the state directory are of the policy with this name.
fn kept(state: &Path, name: &str) -> bool {
    let has = |file: &str, text: &str| fs::read_to_string(state.join(file)).is_ok_and(|found| found.contains(text));
    has("last-good.json", &format!("name: {name}")) && has("last-ruleset.json", name)
}

/// The mount below the policy directory goes away under the controller.
fn vanished_mount(accidents: &mut Accidents) {
    let began = Instant::now();
    let directory = accidents.policies.path().to_owned();
    let script = format!(
        "mount --make-rprivate /; cp {directory}/closed.yaml /run/closed.$$; mount -t tmpfs dockgate-lab {directory}
         mv /run/closed.$$ {directory}/closed.yaml; exec \"$@\""
    );
    accidents.start_by(&script, &[]);
    let id = accidents.controller().process_id().to_string();
    // What was below the mount is a directory without policies.
    fs::rename(format!("{directory}/closed.yaml"), format!("{directory}/../closed.yaml")).expect("files can be moved");
    accidents.lab.run(&["nsenter", "--mount", "--target", &id, "umount", "--lazy", &directory]);
    thread::sleep(Duration::from_secs(2));
    let passed = accidents.forbidden.passed_since(began);
    fs::rename(format!("{directory}/../closed.yaml"), format!("{directory}/closed.yaml")).expect("files can be moved");
    accidents.controller = None;
    accidents.start_controller();
    assert_eq!(passed, [], "forbidden packets have passed");
    accidents.expect_order_since(began);
}

/// The wall clock jumps by years in both directions; timers and the engine's events must not care.
fn clock_jumps(accidents: &mut Accidents) {
    let began = Instant::now();
    let library = accidents.lab.run(&["sh", "-c", "ls /usr/lib/*/faketime/libfaketime.so.1"]);
    let file = accidents.lab.directory().join("clock");
    let set = |offset: &str| fs::write(&file, offset).expect("the laboratory's directory takes files");
    set("+0");
    let environment = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", &file.to_string_lossy()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    accidents.start_by("exec \"$@\"", &environment);
    for (number, offset) in ["+3650d", "-3650d", "+0"].into_iter().enumerate() {
        set(offset);
        // New containers are classified, and lost again.
        let name = format!("late{number}");
        let late = accidents.lab.container(&name).network("front").label("app", "late").start();
        let address = late.address("front", false).to_string();
        let known = || accidents.lab.run(&["ipset", "save", "dg-4-known"]).contains(&format!(" {address},"));
        wait_for("a new container to be known", known);
        late.remove();
        wait_for("its end to be known", || !known());
        // The read-back comes as before.
        accidents.lab.run(&["ipset", "add", "dg-4-known", "10.84.0.99,docker0"]);
        let stray = || accidents.lab.run(&["ipset", "save", "dg-4-known"]).contains("10.84.0.99");
        wait_for("the read-back", || !stray());
    }
    accidents.controller = None;
    accidents.start_controller();
    accidents.expect_order_since(began);
}

/// More containers than the controller has file descriptors, created and removed as fast as the engine can.
fn flood(accidents: &mut Accidents) {
    const THREADS: usize = 6;
    const EACH: usize = 50;
    let began = Instant::now();
    accidents.start_by("ulimit -n 64; exec \"$@\"", &[]);
    let before = packet_filter(&accidents.lab);
    let descriptors = |accidents: &mut Accidents| {
        let id = accidents.controller().process_id();
        fs::read_dir(format!("/proc/{id}/fd")).expect("the controller runs").count()
    };
    let open = descriptors(accidents);
    let lab = &accidents.lab;
    thread::scope(|scope| {
        for number in 0..THREADS {
            scope.spawn(move || {
                let name = format!("flood{number}");
                for round in 0..EACH {
                    let create = ["create", "--network", "front", "--label", "app=closed", "--name", &name];
                    lab.docker(&[&create[..], &["busybox", "sleep", "1000"]].concat());
                    // A start takes the engine some ten times as long as all the rest.
                    if round % 10 == 0 {
                        lab.docker(&["start", &name]);
                    }
                    lab.docker(&["rm", "--force", &name]);
                }
            });
        }
    });
    wait_for("everything to be as before", || packet_filter(&accidents.lab) == before);
    wait_for("every descriptor to be closed", || descriptors(accidents) <= open + 4);
    assert!(accidents.controller().ended().is_none(), "the controller lives");
    accidents.expect_order_since(began);
    accidents.controller = None;
    accidents.start_controller();
}

pub(crate) fn group() -> Group<Accidents> {
    let scenario =
        |name, accident, run| Scenario { name, path: "same bridge", family: "both", accident, rests_on: &[], run };
    Group {
        name: "controller",
        build: Accidents::build,
        scenarios: vec![
            scenario("a_second_one_is_refused", "two state directories, one host", a_second_one as fn(&mut Accidents)),
            scenario("a_full_disk_changes_no_rule", "no space in the state directory", no_space),
            scenario("a_vanished_mount_opens_nothing", "umount of the policy directory", vanished_mount),
            scenario("clock_jumps_do_not_matter", "the wall clock jumps by ten years", clock_jumps),
            scenario("a_flood_leaves_nothing_behind", "300 containers, 64 file descriptors", flood),
        ],
    }
}
