//! Published ports that change with each start, and with networks: nobody gets through one before policy is in force on it.
//!
//! Docker gives a container with `--publish-all`, or with a range of ports, new ones at each start and whenever its way to the
//! outside becomes another network, `docker-proxy` accepts on them before the engine says which they are, and what the proxy
//! then sends to the container looks as if this host had sent it. Clients that policy forbids try all ports of the range all
//! the time while that happens.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::lab::{HOST, IMAGE};
use crate::support::world::{Policies, rules, wait_for};
use crate::support::{Controller, Engine, Lab, Namespace, Protection, Tap};

const CHANGES: usize = 12;
/// The container's one greeting.
const GREETING: &[u8] = b"here";
/// Docker takes the next one of the range at each start. It is small, so that all of them can be tried at once, and not among
/// those that the kernel gives to clients: where one has it, Docker does not start the container.
const PORTS: std::ops::RangeInclusive<u16> = 30_000..=30_007;

/// Begin of the addresses where proxies are halted: no other laboratory has them.
const SUBNET: &str = "10.86.0.";

/// What stands in the comments of the rules between this host and a container.
const GATE: &str = "gate: unlisted destination";

/// Whoever comes from outside over IPv6 is forbidden, and this host is not asked.
const POLICY: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: only-friends}
spec: {selector: app == 'api', ingress: [{action: Allow, source: {selector: friend == 'yes'}}]}
";

/// Starts the container, at a port of the range.
fn start_api(lab: &Lab, subnet: &str) {
    lab.network("front", &[&format!("{subnet}0/24")]);
    let mapping = format!("{}-{}:80", PORTS.start(), PORTS.end());
    let serve = ["nc", "-ll", "-p", "80", "-e", "echo", "here"];
    let api = ["run", "-d", "--name", "api", "--network", "front", "--label", "app=api", "-p", &mapping, IMAGE];
    lab.docker(&[api.as_slice(), &serve].concat());
}

/// The port of this host behind which it is now.
fn published_port(lab: &Lab) -> u16 {
    let mapped = lab.docker(&["port", "api", "80/tcp"]);
    let first = mapped.lines().next().and_then(|line| line.rsplit(':').next()).expect("a mapping");
    first.parse().expect("a port")
}

/// Connects and reads. Returns whether the container was reached.
fn greeted(to: SocketAddr) -> bool {
    // The proxy's own connection can take longer than a second: that is when a SYN that was dropped is sent again.
    let patience = Duration::from_millis(1300);
    let Ok(mut stream) = TcpStream::connect_timeout(&to, Duration::from_millis(30)) else { return false };
    let mut greeting = [0; GREETING.len()];
    stream.set_read_timeout(Some(patience)).is_ok() && stream.read_exact(&mut greeting).is_ok() && greeting == GREETING
}

/// What many clients saw.
#[derive(Debug, Default)]
struct Seen {
    attempts: AtomicUsize,
    reached: AtomicUsize,
    stop: AtomicBool,
}

impl Seen {
    /// Tries a port over and over, until it is told to stop.
    fn hammer(&self, from: &Namespace, port: u16) {
        from.run(|| {
            while !self.stop.load(Ordering::Relaxed) {
                self.attempts.fetch_add(1, Ordering::Relaxed);
                if greeted(SocketAddr::new(HOST[1], port)) {
                    self.reached.fetch_add(1, Ordering::Relaxed);
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
    }
}

/// Ends the clients, also when the test panics.
struct Stop<'a>(&'a Seen);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Changes the ports of a container by `change`, while a forbidden client tries them. Returns how often it got through,
/// and how long the host itself had to wait for the container after each change.
fn changed_under_fire(lab: &Lab, change: impl Fn(usize), meanwhile: impl Fn() + Sync) -> (usize, Vec<Duration>) {
    let seen = Seen::default();
    let mut waits = Vec::new();
    let mut ports = vec![published_port(lab)];
    thread::scope(|scope| {
        let _stop = Stop(&seen);
        scope.spawn(|| {
            while !seen.stop.load(Ordering::Relaxed) {
                meanwhile();
                thread::sleep(Duration::from_millis(50));
            }
        });
        for port in PORTS {
            let seen = &seen;
            scope.spawn(move || seen.hammer(lab.outside(), port));
        }
        for round in 0..CHANGES {
            change(round);
            let start = Instant::now();
            ports.push(published_port(lab));
            let own = SocketAddr::new("127.0.0.1".parse().expect("an address"), ports[ports.len() - 1]);
            let reached = || lab.host().run(|| greeted(own));
            wait_for("this host to reach the container through its port", reached);
            waits.push(start.elapsed());
        }
    });
    let changed = ports.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changed >= CHANGES / 2, "the ports stay the same, so this shows nothing: {ports:?}");
    let attempts = seen.attempts.load(Ordering::Relaxed);
    let reached = seen.reached.load(Ordering::Relaxed);
    println!(
        "{CHANGES} changes, {attempts} forbidden attempts, {reached} got through; own waits {waits:?}, ports {ports:?}"
    );
    (reached, waits)
}

/// Nobody gets in while `change` gives a container other ports, and somebody does without the gate between the proxy and
/// the container.
fn is_no_way_in(lab: &Lab, change: impl Fn(usize)) {
    start_api(lab, "10.84.0.");
    let policies = Policies::new(lab);
    policies.save("p.yaml", POLICY);
    let mut controller = lab.dockgate(&["run", "--policies", &policies.argument()]);
    controller.wait_until_ready();

    let (reached, waits) = changed_under_fire(lab, &change, || ());
    assert_eq!(reached, 0, "{}", controller.log());
    let slowest = waits.iter().max().expect("changes");
    assert!(*slowest < Duration::from_secs(4), "this host was kept out for {slowest:?}");

    let (reached, _) = changed_under_fire(lab, &change, || {
        // The controller is at work, and repairs what it notices.
        if rules(lab).contains(GATE) {
            Protection::Rules(GATE).remove(lab);
        }
    });
    assert!(reached > 0, "it holds without the gate as well, so something else makes it hold");
}

#[test]
fn a_port_that_a_restart_changes_is_no_way_in() {
    let lab = Lab::start(Engine::Installed);
    is_no_way_in(&lab, |_| drop(lab.docker(&["restart", "--time", "0", "api"])));
}

#[test]
fn a_port_that_another_network_changes_is_no_way_in() {
    let lab = Lab::start(Engine::Installed);
    // The network whose name comes first is the way to the outside. Back again the container goes while it is stopped: when
    // one that runs leaves such a network, the engine opens the new port before it says anything.
    lab.network("a-back", &["10.85.0.0/24"]);
    // With it, policy is in force on that network before the other one comes.
    lab.docker(&["run", "-d", "--network", "a-back", "--label", "app=api", IMAGE, "sleep", "infinity"]);
    let leave: &[&[&str]] =
        &[&["stop", "--time", "0", "api"], &["network", "disconnect", "a-back", "api"], &["start", "api"]];
    is_no_way_in(&lab, |round| {
        let commands = if round % 2 == 0 { &[["network", "connect", "a-back", "api"].as_slice()] } else { leave };
        for command in commands {
            lab.docker(command);
        }
    });
}

/// The processes that hold a port of this host for a container of this subnet.
fn proxies(port: u16, subnet: &str) -> Vec<Pid> {
    let port = port.to_string();
    let is_one = |arguments: &[&str]| {
        let value = |option: &str| arguments.iter().skip_while(|argument| **argument != option).nth(1);
        value("-host-port") == Some(&&*port) && value("-container-ip").is_some_and(|ip| ip.starts_with(subnet))
    };
    let processes = fs::read_dir("/proc").expect("/proc is mounted").filter_map(Result::ok);
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let of_port = numbers.filter(|number| {
        let line = fs::read_to_string(format!("/proc/{number}/cmdline")).unwrap_or_default();
        is_one(&line.split('\0').collect::<Vec<_>>())
    });
    of_port.map(Pid::from_raw).collect()
}

/// Proxies that accept nobody, so that clients wait in the kernel's queue, until this is dropped.
struct Halted(Vec<Pid>);

impl Halted {
    fn new(proxies: Vec<Pid>) -> Halted {
        assert!(!proxies.is_empty(), "the port has a proxy");
        let halted = Halted(proxies);
        halted.signal(Signal::SIGSTOP);
        halted
    }

    fn signal(&self, signal: Signal) {
        for proxy in &self.0 {
            kill(*proxy, signal).expect("a proxy lives as long as its container");
        }
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        self.signal(Signal::SIGCONT);
    }
}

/// The name of the port of a bridge at which a container of one network is.
fn port_of(lab: &Lab, container: &str) -> String {
    let peer = lab.docker(&["exec", container, "cat", "/sys/class/net/eth0/iflink"]);
    let links = lab.run(&["ip", "-o", "link", "show"]);
    // 7: veth1234567@if6: <BROADCAST,...
    let of_peer = links.lines().find_map(|line| line.strip_prefix(&format!("{}: ", peer.trim())));
    let name = of_peer.and_then(|line| line.split(['@', ':']).next()).expect("the other end of the container's cable");
    name.to_owned()
}

/// What a controller is to find that begins: a container that has got another port meanwhile.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    /// It ran when the last controller ended, whose kernel still lets this host reach it.
    Restarted,
    /// It did not.
    Started,
    /// There was no policy, which begins for all at once.
    Ungoverned,
}

/// Ends the controller and starts another, with clients in the queue of a port that none of them has seen yet. Returns how
/// many packets of theirs the container gets while that port settles, which its proxy accepts them by, and whether the proxy
/// did so early enough.
fn heard_by_a_new_controller(
    lab: &Lab,
    policies: &Policies,
    controller: Controller,
    meanwhile: Meanwhile,
) -> (Controller, usize, bool) {
    const CLIENTS: usize = 4;
    /// For so long at least, who has been let in by a proxy is refused by the container's gate.
    const SETTLING: Duration = Duration::from_millis(250);
    let known = |address: &str| lab.run(&["ipset", "save", "dg-4-known"]).contains(&format!(" {address},"));
    let address =
        || lab.docker(&["inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "api"]);
    let before = address().trim().to_owned();
    match meanwhile {
        Meanwhile::Restarted => {
            controller.crash();
            lab.docker(&["restart", "--time", "0", "api"]);
        }
        Meanwhile::Started => {
            lab.docker(&["stop", "--time", "0", "api"]);
            wait_for("the address to be unknown", || !known(&before));
            controller.crash();
            lab.docker(&["start", "api"]);
        }
        Meanwhile::Ungoverned => {
            let state = controller.state().to_string_lossy().into_owned();
            controller.crash();
            assert!(lab.dockgate_output(&["cleanup", "--state-dir", &state]).status.success());
            lab.docker(&["restart", "--time", "0", "api"]);
        }
    }
    let (port, address, cable) = (published_port(lab), address().trim().to_owned(), port_of(lab, "api"));
    let halted = Halted::new(proxies(port, SUBNET));
    let connect = || TcpStream::connect_timeout(&SocketAddr::new(HOST[1], port), Duration::from_secs(1));
    let clients = lab.outside().run(|| (0..CLIENTS).map(|_| connect()).collect::<Result<Vec<_>, _>>());
    let clients = clients.expect("a port without a rule takes clients");
    let tap = Tap::start(lab.host(), &[80]);

    let controller = lab.dockgate(&["run", "--policies", &policies.argument()]);
    let script = format!(
        "ip6tables-save | grep -q 'published port {port}/TCP' && ipset save dg-4-known | grep -q ' {address},' &&
            nft list table bridge dockgate | grep -q '\"{cable}\"'"
    );
    let mut unjudged = Instant::now();
    wait_for("the port to be judged", || {
        let asked = Instant::now();
        let judged = lab.output(&["sh", "-c", &script]).status.success();
        unjudged = if judged { unjudged } else { asked };
        judged
    });
    drop(halted);
    let is_timely = unjudged.elapsed() < SETTLING * 4 / 5;
    thread::sleep(SETTLING);
    let of_that_time = |at: &Instant| *at < unjudged + SETTLING;
    let heard = tap.packets().iter().filter(|(at, packet)| packet.kind == "tcp" && of_that_time(at)).count();
    drop(clients);
    (controller, heard, is_timely)
}

/// A client that the kernel has accepted for a proxy before there was a rule is refused when the proxy takes it up after that.
#[test]
fn who_was_accepted_while_no_controller_ran_does_not_get_in() {
    const ROUNDS: usize = 3;
    let lab = Lab::start(Engine::Installed);
    start_api(&lab, SUBNET);
    let policies = Policies::new(&lab);
    policies.save("p.yaml", POLICY);
    let mut controller = lab.dockgate(&["run", "--policies", &policies.argument()]);
    controller.wait_until_ready();
    for (meanwhile, get_in) in
        [(Meanwhile::Restarted, false), (Meanwhile::Started, false), (Meanwhile::Ungoverned, true)]
    {
        // Where this machine was busy with something else, clients came later than what is asked about.
        let mut timely = 0;
        for round in 0.. {
            assert!(round < 10 * ROUNDS, "{meanwhile:?}: this machine is too busy to try");
            let heard;
            let is_timely;
            (controller, heard, is_timely) = heard_by_a_new_controller(&lab, &policies, controller, meanwhile);
            let is_expected = if get_in { heard > 0 || !is_timely } else { heard == 0 };
            assert!(is_expected, "{meanwhile:?}: {heard} packets got in\n{}", controller.log());
            let own = SocketAddr::new("127.0.0.1".parse().expect("an address"), published_port(&lab));
            wait_for("this host to reach the container", || lab.host().run(|| greeted(own)));
            timely += usize::from(is_timely);
            if timely == ROUNDS {
                break;
            }
        }
    }
}
