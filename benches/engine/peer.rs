//! dfw, the nearest peer, on the same host.
//!
//! Input: its program. Output: rows of what it does when a container starts: when its last command for the packet filter
//! has ended, how many of them it runs, how many calls to the engine's API it makes. It listens to events as dockgate does,
//! gathers them for half a second by default, and writes all of its rules anew.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::api::Api;
use super::first_packet::FirstPacket;
use super::form::Row;
use super::processes::{Notes, Processes};
use super::relay::Relay;
use super::rounds::milliseconds;
use super::rows::quantile;
use super::support::leftovers::MARK;
use super::support::{Engine, Lab};
use super::world::World;
use super::{Progress, version};

/// When nothing was started for so long, it has done what it does: longer than it gathers events for.
const QUIET: Duration = Duration::from_millis(1500);
/// Longest wait for that.
const PATIENCE: Duration = Duration::from_secs(30);
/// Its default, and what it can be set to, in milliseconds.
const BURST_TIMEOUTS: [&str; 2] = ["500", "1"];

/// One rule of each kind, between containers and networks of the world.
const CONFIGURATION: &str = r#"
[global_defaults]
external_network_interfaces = "ext0"

[container_to_container]
default_policy = "drop"
[[container_to_container.rules]]
network = "network-0"
src_container = "resident-0"
dst_container = "resident-1"
verdict = "accept"

[container_to_wider_world]
default_policy = "drop"
[[container_to_wider_world.rules]]
network = "network-0"
src_container = "resident-0"
verdict = "accept"

[container_to_host]
default_policy = "drop"
[[container_to_host.rules]]
network = "network-0"
src_container = "resident-1"
verdict = "accept"

[[wider_world_to_container.rules]]
network = "network-0"
dst_container = "resident-0"
expose_port = 80
"#;

/// What was seen of one start, in milliseconds.
struct Reaction {
    /// From the engine's `start` event to the end of the last command.
    after_start: f64,
    /// From its `network connect` event.
    after_connect: f64,
    /// From that to the container's first packet.
    packet: f64,
    /// Commands.
    processes: usize,
    /// Calls.
    calls: usize,
}

/// Measures dfw with either of its backends.
pub(crate) fn measure(program: &Path, endpoints: usize, rounds: usize) -> Vec<Row> {
    let lab = Lab::start(Engine::Installed);
    let progress = Progress::of(&version(&lab));
    progress.say(&format!("making {endpoints} endpoints"));
    let api = Api::connect(lab.docker_host());
    let mut world = World::found(&lab, &api, endpoints);
    world.complete(&api);
    let relay = Relay::open(&lab.directory(), lab.docker_host());
    let mut rows = Vec::new();
    // The last one empties the filter table of everything that is not its own, Docker's rules included.
    for backend in ["nftables", "iptables"] {
        for timeout in BURST_TIMEOUTS {
            progress.say(&format!("dfw, {backend}, --burst-timeout {timeout}: {rounds} starts"));
            let processes = Processes::watch(&lab.directory(), Notes::BeginningAndEnd);
            let dfw = Dfw::start(program, &lab, &relay, &processes, &["--firewall-backend", backend, timeout]);
            wait_until_quiet(&processes);
            assert!(processes.begun() > 0, "dfw has run no command:\n{}", dfw.log());
            let starts: Vec<_> = (0..rounds).map(|_| start(&lab, &api, &world, &relay, &processes)).collect();
            let place = format!("{backend}, --burst-timeout {timeout}, {} endpoints", world.endpoints());
            rows.extend(tell(&starts, &place));
        }
        let filter = lab.list(&["iptables-save", "--table", "filter"]);
        let docker = if filter.contains(":DOCKER-USER ") { "there" } else { "gone" };
        rows.push(Row {
            what: format!("dfw: the engine's own chains in the filter table afterwards, {backend}"),
            measured: docker.to_owned(),
            ..Row::default()
        });
    }
    rows
}

fn start(lab: &Lab, api: &Api, world: &World, relay: &Relay, processes: &Processes) -> Reaction {
    let container = api.create(&world.newcomer);
    // It reacts to that as well.
    wait_until_quiet(processes);
    let begun = processes.begun();
    relay.take();
    let packets = FirstPacket::listen(lab.host());
    let starting = api.start(&container);
    let connected = api.event("connect", &container).at;
    let packet = packets.from(world.address);
    let started = api.event("start", &container).at;
    api.started(starting);
    wait_until_quiet(processes);
    let (processes_begun, calls) = (processes.begun() - begun, relay.take().len());
    assert!(!processes.has_failed(), "a command of dfw's has failed:\n{}", processes.notes());
    let ended = processes.last_end().expect("a command has ended");
    assert!(ended > started, "dfw has run no command after the start:\n{}", processes.notes());
    api.remove(&container);
    wait_until_quiet(processes);
    Reaction {
        after_start: milliseconds(started, ended),
        after_connect: milliseconds(connected, ended),
        packet: milliseconds(connected, packet),
        processes: processes_begun,
        calls,
    }
}

fn wait_until_quiet(processes: &Processes) {
    let end = Instant::now() + PATIENCE;
    let (mut seen, mut since) = (processes.notes().len(), Instant::now());
    while since.elapsed() < QUIET {
        assert!(Instant::now() < end, "dfw does not come to an end:\n{}", processes.notes());
        thread::sleep(Duration::from_millis(20));
        let now = processes.notes().len();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
}

fn tell(starts: &[Reaction], place: &str) -> Vec<Row> {
    let sorted = |of: fn(&Reaction) -> f64| {
        let mut values: Vec<f64> = starts.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let (after_start, after_connect) = (sorted(|start| start.after_start), sorted(|start| start.after_connect));
    let packet = quantile(&sorted(|start| start.packet), 0.5);
    let range = |values: &[f64]| {
        format!("{:.0} ms (median), {:.0} to {:.0} ms", quantile(values, 0.5), values[0], quantile(values, 1.0))
    };
    let counts = |count: fn(&Reaction) -> usize| {
        let mut all: Vec<usize> = starts.iter().map(count).collect();
        all.sort_unstable();
        all.dedup();
        all.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ")
    };
    vec![
        Row {
            what: format!("dfw: `container start` event → its last firewall command has ended, {place}"),
            measured: range(&after_start),
            ..Row::default()
        },
        Row {
            what: format!("dfw: `network connect` event → its last firewall command has ended, {place}"),
            measured: range(&after_connect),
            compared: format!("the container's first packet, {packet:.0} ms after the event"),
            ratio: Some(quantile(&after_connect, 0.5) / packet),
            ..Row::default()
        },
        Row {
            what: format!("dfw: firewall processes and calls to the engine's API per start, {place}"),
            measured: format!("{} and {}", counts(|start| start.processes), counts(|start| start.calls)),
            ..Row::default()
        },
    ]
}

/// A running dfw.
struct Dfw {
    process: Child,
    log: std::path::PathBuf,
}

impl Dfw {
    /// Starts it on the laboratory's host. It asks at `/run/docker.sock`, which it finds in a mount namespace of its own.
    fn start(program: &Path, lab: &Lab, relay: &Relay, processes: &Processes, options: &[&str; 3]) -> Dfw {
        const SCRIPT: &str = "mount -t tmpfs dockgate-lab /run; ln -s \"$1\" /run/docker.sock; shift; exec \"$@\"";
        let directory = lab.directory();
        let configuration = directory.join("dfw.toml");
        fs::write(&configuration, CONFIGURATION).expect("the laboratory's directory takes files");
        let log = directory.join("dfw.log");
        let file = fs::File::create(&log).expect("the laboratory's directory takes files");
        let [backend_option, backend, timeout] = options;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", lab.name()));
        command.args(["unshare", "--mount", "sh", "-ec", SCRIPT, "sh"]).arg(relay.socket()).arg(program);
        command.arg("--config-file").arg(&configuration).args([backend_option, backend, "--burst-timeout", timeout]);
        command.env("PATH", processes.path()).env(MARK, lab.name()).env_remove("DOCKER_HOST");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a file can be opened twice")).stderr(file);
        Dfw { process: command.spawn().expect("nsenter can be run"), log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Dfw {
    fn drop(&mut self) {
        let _already_dead = self.process.kill();
        let _reaped = self.process.wait();
    }
}
