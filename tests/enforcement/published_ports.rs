//! Published ports that change with each start, and with networks: nobody gets through one before policy is in force on it.
//!
//! Docker gives a container with `--publish-all`, or with a range of ports, new ones at each start and whenever its way to the
//! outside becomes another network, `docker-proxy` accepts on them before the engine says which they are, and what the proxy
//! then sends to the container looks as if this host had sent it. Clients that policy forbids try all ports of the range all
//! the time while that happens.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::lab::{HOST, IMAGE};
use crate::support::world::{Policies, rules, wait_for};
use crate::support::{Engine, Lab, Namespace, Protection};

const CHANGES: usize = 12;
/// The container's one greeting.
const GREETING: &[u8] = b"here";
/// Docker takes the next one of the range at each start. It is small, so that all of them can be tried at once.
const PORTS: std::ops::RangeInclusive<u16> = 40_000..=40_007;

/// What stands in the comments of the rules between this host and a container.
const GATE: &str = "gate: unlisted destination";

/// Whoever comes from outside over IPv6 is forbidden, and this host is not asked.
const POLICY: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: only-friends}
spec: {selector: app == 'api', ingress: [{action: Allow, source: {selector: friend == 'yes'}}]}
";

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
    let port = |name: &str| -> u16 {
        let mapped = lab.docker(&["port", name, "80/tcp"]);
        let first = mapped.lines().next().and_then(|line| line.rsplit(':').next()).expect("a mapping");
        first.parse().expect("a port")
    };
    let mut waits = Vec::new();
    let mut ports = vec![port("api")];
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
            ports.push(port("api"));
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
    lab.network("front", &["10.84.0.0/24"]);
    let mapping = format!("{}-{}:80", PORTS.start(), PORTS.end());
    let serve = ["nc", "-ll", "-p", "80", "-e", "echo", "here"];
    let api = ["run", "-d", "--name", "api", "--network", "front", "--label", "app=api", "-p", &mapping, IMAGE];
    lab.docker(&[api.as_slice(), &serve].concat());
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
