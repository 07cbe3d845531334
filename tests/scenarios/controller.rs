//! Accidents of the controller itself: killed at every step, started twice, without disk, directory, file descriptors or
//! a true clock. One forbidden pair is probed all the time.

mod disk;
mod fresh;
mod kills;
mod refusal;
mod relay;
mod wrappers;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::scenario::{Group, Scenario, World};
use crate::support::frame::mac_of;
use crate::support::world::{Policies, packet_filter, wait_for};
use crate::support::{Container, Controller, Engine, Lab, Protection, Vigil, assert_by_packets};

use disk::SmallDisk;
use fresh::{first_of_a_network, second_of_a_network};
use kills::{At, kill_everywhere};
use relay::Relay;

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

    /// A scenario that has failed ends in the middle: without a controller, or with other policies.
    fn end_sabotage(&mut self) {
        if let Some(controller) = self.controller.take() {
            controller.crash();
        }
        for entry in fs::read_dir(self.policies.path()).expect("the policy directory can be read").flatten() {
            fs::remove_file(entry.path()).expect("the policy directory holds files");
        }
        self.policies.save("closed.yaml", CLOSED);
        self.start_controller();
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
        self.expect_closed_since(began);
        wait_for("the kernel to be in order", || {
            let plan = self.lab.dockgate_output(&["plan", "--policies", self.policies.path()]);
            plan.status.code() == Some(0)
        });
        let settled = Instant::now();
        wait_for("what is allowed to pass", || !self.allowed.passed_since(settled).is_empty());
        self.expect_closed_since(began);
    }

    fn expect_closed_since(&self, began: Instant) {
        // What is open shows only in packets that are sent, and what was done until now can be done between two of them.
        let enough = self.forbidden.sent() + 20;
        wait_for("forbidden packets to be tried", || self.forbidden.sent() > enough);
        let passed = self.forbidden.passed_since(began);
        assert_by_packets!(passed.is_empty(), "forbidden packets have passed: {passed:?}");
    }

    fn problems(&self) -> String {
        let controller = self.controller.as_ref().expect("every scenario leaves a controller behind");
        controller.document()["problems"].to_string()
    }
}

/// A policy that selects nobody, so that nothing is governed.
const NOTHING: &str = "
{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: nobody}, spec: {
    selector: app == 'nobody', types: [Ingress]}}
";

/// `closed` goes from one class to another and stays closed; `peer` gets a class of its own, with sets of peers.
const STRICTER: &str = "
{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: still-closed}, spec: {
    selector: app == 'closed', ingress: [{action: Allow, protocol: TCP, source: {selector: app == 'peer'}}]}}
---
{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: peer}, spec: {
    selector: app == 'peer', ingress: [{action: Allow, protocol: TCP, source: {nets: [10.84.0.0/24]}}]}}
";

/// Nothing is forbidden at the one end of this way, so all that counts is where it leads to.
fn killed_between_nothing_and_a_policy(accidents: &mut Accidents) {
    let kills = kill_everywhere(accidents, At::Command, |accidents, there| {
        accidents.policies.save("closed.yaml", if there { NOTHING } else { CLOSED });
    });
    assert!(kills.iter().all(|kills| *kills >= 5), "it was killed only {kills:?} times");
}

fn killed_between_two_policies(accidents: &mut Accidents) {
    let began = Instant::now();
    let kills = kill_everywhere(accidents, At::Command, |accidents, there| {
        accidents.expect_closed_since(began);
        accidents.policies.save("closed.yaml", if there { STRICTER } else { CLOSED });
    });
    assert!(kills.iter().all(|kills| *kills >= 5), "it was killed only {kills:?} times");
    accidents.expect_order_since(began);
}

/// `trusted` may reach `closed`.
const TRUSTING: &str = "
{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: closed}, spec: {
    selector: app == 'closed', types: [Ingress], ingress: [{action: Allow, source: {selector: app == 'trusted'}}]}}
";

/// An address goes from a container with rights to one without, and back, while no controller runs, and the next one is
/// killed on its way to make that known.
fn killed_between_two_sets_of_endpoints(accidents: &mut Accidents) {
    let began = Instant::now();
    accidents.policies.save("closed.yaml", TRUSTING);
    let mut late: Option<(Container, Vec<Vigil>)> = None;
    let kills = kill_everywhere(accidents, At::Moment, |accidents, there| {
        if let Some((container, vigils)) = late.take() {
            for vigil in vigils {
                assert!(vigil.sent() > 0, "nothing was probed");
                let passed = vigil.passed_since(began);
                assert_by_packets!(passed.is_empty(), "forbidden packets have passed to or from the new container");
            }
            container.remove();
        }
        let app = if there { "closed" } else { "trusted" };
        let container = accidents.lab.container("late").network("front").label("app", app);
        let container = container.ip("10.84.0.77").ip("2001:db8:84::77").serve(&[PORT]).start();
        let of = |container: &Container| {
            [false, true].map(|v6| SocketAddr::new(container.address("front", v6), PORT)).to_vec()
        };
        let [closed, open, _] = &accidents.containers[..] else { panic!("three were started") };
        let forbidden = || {
            // Its kernel asks for a neighbour once a second, and what is open for a moment is to be seen.
            let mac = mac_of(closed.namespace(), "eth0").map(|byte| format!("{byte:02x}")).join(":");
            let inside = format!("--net=/proc/{}/ns/net", container.process_id());
            for address in of(closed).iter().map(|address| address.ip().to_string()) {
                let known = ["ip", "neighbour", "replace", &address, "lladdr", &mac, "dev", "eth0"];
                accidents.lab.run(&[&["nsenter", &inside], &known[..], &["nud", "permanent"]].concat());
            }
            let to_it = Vigil::start(open.namespace(), &of(&container));
            vec![to_it, Vigil::start(container.namespace(), &of(closed))]
        };
        let vigils = if there { forbidden() } else { Vec::new() };
        late = Some((container, vigils));
    });
    if let Some((container, _)) = late.take() {
        container.remove();
    }
    assert!(kills.iter().all(|kills| *kills >= 3), "it was killed only {kills:?} times");
    accidents.policies.save("closed.yaml", CLOSED);
    accidents.expect_order_since(began);
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

    // At once, on one state directory and on two: exactly one of them lives, and it does the work.
    for round in 0..6 {
        accidents.controller.take().expect("there is one between rounds").crash();
        let state = ["state", "beside"][round % 2];
        let run = ["run", "--policies", accidents.policies.path(), "--resync-interval", "1s"];
        // Neither has begun when the other is there: that takes longer than to make a process.
        let mut two = ["state", state].map(|state| accidents.lab.dockgate_on(state, &run));
        wait_for("one of two to be refused", || two.iter_mut().any(|one| one.ended().is_some()));
        let ended = two.iter_mut().position(|one| one.ended().is_some()).expect("one has ended");
        let [first, second] = two;
        let (mut refused, mut lives) = if ended == 0 { (first, second) } else { (second, first) };
        assert_eq!(refused.ended().and_then(|status| status.code()), Some(2), "{}", refused.log());
        lives.wait_until_ready();
        assert!(lives.ended().is_none(), "both have ended:\n{}", lives.log());
        accidents.expect_order_since(began);
        accidents.controller = Some(lives);
    }
    accidents.controller.take().expect("the one that lives").crash();
    accidents.start_controller();
}

/// What another version of dockgate would have left in the kernel: chains and sets of other names, and rules with other
/// hashes, which hold all the same.
const OTHER_VERSION: &str = r"
    renamed() { sed -E 's/dg:[a-z0-9]+/dg:before0000/; s/DG-in-/DG-xn-/g; s/DG-to-/DG-tx-/g; s/dg-([46])-in-/dg-\1-xn-/g'; }
    ipset save | grep -E ' dg-[46]-in-' | renamed | ipset restore
    for f in iptables ip6tables; do for t in mangle filter; do $f-save -t $t | renamed | $f-restore; done; done
    for set in $(ipset list -n | grep -E '^dg-[46]-in-'); do ipset destroy $set; done
";

/// The controller of another version has ended, and this one begins with what it has left.
fn upgraded(accidents: &mut Accidents) {
    let began = Instant::now();
    let before = packet_filter(&accidents.lab);
    accidents.controller.take().expect("there is one between scenarios").crash();
    accidents.lab.run(&["sh", "-ec", OTHER_VERSION]);
    let other = packet_filter(&accidents.lab);
    for name in ["DG-xn-", "DG-tx-", "dg-4-xn-", "dg-6-xn-", "dg:before0000"] {
        assert!(other.contains(name), "there is no {name}:\n{other}");
    }
    assert!(!other.contains("dg-4-in-") && !other.contains("DG-in-"), "something has kept its name:\n{other}");
    let enough = accidents.forbidden.sent() + 20;
    wait_for("probes of what the other version left", || accidents.forbidden.sent() >= enough);
    accidents.start_controller();
    accidents.expect_order_since(began);
    let after = packet_filter(&accidents.lab);
    assert_eq!(after, before, "something of the other version is left");
}

/// A file system as state directory that gets full and stays so, also while the controller is killed and started again.
fn no_space(accidents: &mut Accidents) {
    let began = Instant::now();
    let state = accidents.controller().state().to_owned();
    accidents.controller.take().expect("there is one between scenarios").crash();
    let small = SmallDisk::mount(&state);
    accidents.start_controller();
    wait_for("everything to be kept", || kept(&state, "closed"));
    small.fill();
    let more = CLOSED.replace("metadata: {name: closed}", "metadata: {name: renamed}");
    accidents.policies.save("closed.yaml", &more);
    let is_told = |accidents: &Accidents| {
        let document = accidents.controller.as_ref().expect("it was started").document();
        let problems = document["problems"].to_string();
        assert!(!problems.contains("cannot keep") || document["ready"] == false, "{document:#}");
        let both = ["cannot keep the last good policies", "cannot keep the ruleset for the next boot"];
        both.iter().all(|problem| problems.contains(problem)) && problems.contains("No space left on device")
    };
    wait_for("the full disk to be told", || is_told(accidents));
    // It is tried again every second, and there is no more space than before.
    thread::sleep(Duration::from_secs(2));
    assert!(is_told(accidents), "the trouble is forgotten: {}", accidents.problems());

    accidents.controller.take().expect("it was started").crash();
    // Somebody else takes the little that is given free when the lock is written anew.
    fs::write(state.join("lock"), "").expect("the file is ours");
    small.fill();
    let restored = accidents.lab.dockgate_output(&["restore", "--state-dir", &state.to_string_lossy()]);
    let complaint = String::from_utf8_lossy(&restored.stderr).into_owned();
    assert_eq!(restored.status.code(), Some(0), "the rules can be put back at boot: {complaint}");
    accidents.controller = Some(accidents.lab.dockgate(&accidents.arguments()));
    wait_for("the full disk to be told", || is_told(accidents));
    wait_for("the kernel to hold the policies", || accidents.controller().document()["in_sync"] == true);
    accidents.expect_order_since(began);

    small.empty();
    wait_for("everything to be kept", || accidents.problems() == "[]" && kept(&state, "renamed"));
    accidents.policies.save("closed.yaml", CLOSED);
    wait_for("everything to be kept", || accidents.problems() == "[]" && kept(&state, "closed"));
    accidents.controller = None;
    drop(small);
    accidents.start_controller();
    accidents.expect_order_since(began);
}

/// Whether both files of the state directory are of the policy with this name.
fn kept(state: &Path, name: &str) -> bool {
    let has = |file: &str, text: &str| fs::read_to_string(state.join(file)).is_ok_and(|found| found.contains(text));
    has("last-good.json", &format!("name: {name}")) && has("last-ruleset.json", name)
}

/// Mounts a file system on the policy directory, with the policies in it, for the controller that is started by it.
fn on_a_mount(directory: &str) -> String {
    format!(
        "mount --make-rprivate /; cp {directory}/closed.yaml /run/closed.$$; mount -t tmpfs dockgate-lab {directory}
         mv /run/closed.$$ {directory}/closed.yaml; exec \"$@\""
    )
}

/// The mount below the policy directory goes away under the controller.
fn vanished_mount(accidents: &mut Accidents) {
    let began = Instant::now();
    let directory = accidents.policies.path().to_owned();
    accidents.start_by(&on_a_mount(&directory), &[]);
    let id = accidents.controller().process_id().to_string();
    // What was below the mount is a directory without policies.
    accidents.policies.remove("closed.yaml");
    accidents.lab.run(&["nsenter", "--mount", "--target", &id, "umount", "--lazy", &directory]);
    wait_for("the missing mount to be told", || accidents.problems().contains("on another file system than before"));
    let noticed = Instant::now();
    thread::sleep(Duration::from_secs(1));
    assert!(!accidents.forbidden.lost_since(noticed).is_empty(), "nothing was probed");
    accidents.expect_closed_since(began);
    accidents.policies.save("closed.yaml", CLOSED);
    accidents.controller = None;
    accidents.start_controller();
    accidents.expect_order_since(began);
}

/// The controller is killed, as by a crash of the host, and when it starts again the mount is not there.
fn missing_mount(accidents: &mut Accidents) {
    let began = Instant::now();
    let directory = accidents.policies.path().to_owned();
    accidents.start_by(&on_a_mount(&directory), &[]);
    let state = accidents.controller().state().to_owned();
    wait_for("the policies to be kept", || kept(&state, "closed"));
    accidents.controller.take().expect("it was just started").crash();
    accidents.policies.remove("closed.yaml");
    for _ in 0..2 {
        // The second start must not find that the first one has forgotten.
        let controller = accidents.lab.dockgate(&accidents.arguments());
        accidents.controller = Some(controller);
        wait_for("the missing mount to be told", || accidents.problems().contains("is a mount missing?"));
        let told = Instant::now();
        wait_for("the kernel to hold the policies", || accidents.controller().document()["in_sync"] == true);
        thread::sleep(Duration::from_secs(1));
        assert!(!accidents.forbidden.lost_since(told).is_empty(), "nothing was probed");
        accidents.expect_closed_since(began);
        let document = accidents.controller().document();
        assert_eq!((&document["ready"], kept(&state, "closed")), (&false.into(), true), "{document:#}");
        accidents.controller.take().expect("it was just started").crash();
    }
    // Whoever means it says so.
    accidents.policies.save("none.yaml", "");
    accidents.start_controller();
    let confirmed = Instant::now();
    wait_for("the policies to be gone", || !accidents.forbidden.passed_since(confirmed).is_empty());
    accidents.policies.save("closed.yaml", CLOSED);
    accidents.policies.remove("none.yaml");
    wait_for("the policies to be back", || kept(&state, "closed") && accidents.problems() == "[]");
    accidents.expect_order_since(Instant::now());
}

/// The wall clock jumps by years in both directions; timers and the engine's events must not care. It is read only when the
/// controller connects to the engine: from then on it wants the events.
fn clock_jumps(accidents: &mut Accidents) {
    let began = Instant::now();
    let library = accidents.lab.run(&["sh", "-c", "ls /usr/lib/*/faketime/libfaketime.so.1"]);
    let file = accidents.lab.directory().join("clock");
    let set = |offset: &str| fs::write(&file, offset).expect("the laboratory's directory takes files");
    set("+0");
    let relay = Relay::start(accidents.lab.directory().join("relay.sock"), accidents.lab.docker_host());
    let address = relay.address();
    let environment = [
        ("DOCKER_HOST", address.as_str()),
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", &file.to_string_lossy()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    accidents.start_by("exec \"$@\"", &environment);
    for (number, offset) in ["+3650d", "-3650d", "+0"].into_iter().enumerate() {
        set(offset);
        let written = accidents.controller().written();
        assert!(relay.cut() > 0, "the controller has a connection for the engine's events");
        wait_for("the controller to connect anew", || {
            accidents.controller().log_since(written).contains("listed the Docker engine")
        });
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

/// More containers than the controller has file descriptors, created and removed as fast as the engine can, and started
/// as long as there is time: a start takes the engine some ten times as long as all the rest. Some of them are probed.
fn flood(accidents: &mut Accidents) {
    const THREADS: usize = 6;
    const EACH: usize = 50;
    const TIME: Duration = Duration::from_secs(40);
    let began = Instant::now();
    accidents.start_by("ulimit -n 64; exec \"$@\"", &[]);
    let before = packet_filter(&accidents.lab);
    let descriptors = |accidents: &mut Accidents| {
        let id = accidents.controller().process_id();
        fs::read_dir(format!("/proc/{id}/fd")).expect("the controller runs").count()
    };
    let open = descriptors(accidents);
    // Addresses that the engine gives to new containers, whoever has them at the moment.
    let addresses: Vec<SocketAddr> = (5..5 + 2 * THREADS)
        .flat_map(|host| [format!("10.84.0.{host}"), format!("2001:db8:84::{host:x}")])
        .map(|address| SocketAddr::new(address.parse().expect("an address"), PORT))
        .collect();
    let late = Vigil::start(accidents.containers[1].namespace(), &addresses);
    let lab = &accidents.lab;
    let (started, probed) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..THREADS {
            scope.spawn(move || {
                let name = format!("flood{number}");
                for _ in 0..EACH {
                    let in_time = began.elapsed() < TIME;
                    if in_time && number % 2 == 0 {
                        // This one answers.
                        let one = lab.container(&name).network("front").label("app", "closed").serve(&[PORT]).start();
                        thread::sleep(Duration::from_millis(100));
                        one.remove();
                        probed.fetch_add(1, Ordering::Relaxed);
                        started.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    let create = ["create", "--network", "front", "--label", "app=closed", "--name", &name];
                    lab.docker(&[&create[..], &["busybox", "sleep", "1000"]].concat());
                    if in_time {
                        lab.docker(&["start", &name]);
                        started.fetch_add(1, Ordering::Relaxed);
                    }
                    lab.docker(&["rm", "--force", &name]);
                }
            });
        }
    });
    let passed_to = late.passed_since(began);
    let sent = late.sent();
    drop(late);
    let [number_started, number_probed] = [started, probed].map(|number| number.load(Ordering::Relaxed));
    println!("{number_started} of {} containers were started, {number_probed} probed", THREADS * EACH);
    assert!(number_started >= 20 && number_probed >= 3, "only {number_started} and {number_probed}");
    assert!(sent > 0, "nothing was probed");
    assert_by_packets!(passed_to.is_empty(), "forbidden packets have passed to new containers: {passed_to:?}");
    wait_for("everything to be as before", || packet_filter(&accidents.lab) == before);
    wait_for("every descriptor to be closed", || descriptors(accidents) <= open + 4);
    assert!(accidents.controller().ended().is_none(), "the controller lives");
    accidents.expect_order_since(began);
    accidents.controller = None;
    accidents.start_controller();
}

pub(crate) fn group() -> Group<Accidents> {
    // What holds while there is no controller, or one that cannot do its work, are the rules that it wrote before.
    let scenario = |name, accident, run| Scenario {
        name,
        path: "same bridge",
        family: "both",
        accident,
        rests_on: &[Protection::Rules("end of tier")],
        run,
    };
    let without_mutation = |name, accident, run| Scenario { rests_on: &[], ..scenario(name, accident, run) };
    Group {
        name: "controller",
        build: Accidents::build,
        scenarios: vec![
            scenario("a_second_one_is_refused", "two state directories, one host", a_second_one as fn(&mut Accidents)),
            scenario(
                "killed_between_two_policies_it_opens_nothing",
                "kill -9 at every step of an apply",
                killed_between_two_policies,
            ),
            without_mutation(
                "killed_between_two_sets_of_endpoints_it_opens_nothing",
                "kill -9 every few milliseconds of an apply",
                killed_between_two_sets_of_endpoints,
            ),
            without_mutation(
                "killed_between_nothing_and_a_policy_it_is_repaired",
                "kill -9 at every step of an apply",
                killed_between_nothing_and_a_policy,
            ),
            without_mutation(
                "a_refused_policy_is_closed_and_no_other",
                "the kernel refuses one policy",
                refusal::refused,
            ),
            scenario("upgraded_it_opens_nothing", "a start on the rules of another version", upgraded),
            scenario("a_full_disk_changes_no_rule", "no space in the state directory", no_space),
            scenario("a_vanished_mount_opens_nothing", "umount of the policy directory", vanished_mount),
            scenario("a_missing_mount_opens_nothing", "kill, umount of the policy directory, start", missing_mount),
            scenario("clock_jumps_do_not_matter", "the wall clock jumps by ten years", clock_jumps),
            Scenario {
                rests_on: &[Protection::Controller],
                ..scenario(
                    "the_first_container_of_a_network_waits_for_it",
                    "the network is empty when dockgate is halted",
                    first_of_a_network,
                )
            },
            without_mutation(
                "the_first_that_is_known_of_a_network_opens_it_to_nobody_else",
                "dockgate is halted when it knows of one that no policy selects",
                second_of_a_network,
            ),
            without_mutation("a_flood_leaves_nothing_behind", "300 containers, 64 file descriptors", flood),
        ],
    }
}
