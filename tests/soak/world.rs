//! A host with two networks on which everybody may be asked by clients and by nobody else, and whoever tries it.
//!
//! Input: how long, and a seed. Output: what packets have shown meanwhile, and what the kernel holds at the end.
//!
//! Who sends what is told by a mark, the port: packets with the mark of an intruder are forbidden wherever they arrive,
//! whichever address they come from or go to, so that nothing has to be known of who has which address when.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::actors::containers::Containers;
use crate::actors::{accidents, engine, files};
use crate::ledger::{Counts, Ledger, Report};
use crate::pair::{Outage, outages};
use crate::support::engine::tail;
use crate::support::lab::{HOST, OUTSIDE};
use crate::support::world::{Policies, packet_filter, wait_for};
use crate::support::{Container, Controller, Delivery, Lab, Options, Protection, Responder, Sender, Tap, Vigil};

/// Allowed: from a client to a server, from this host to it, from a client to the outside.
const SERVICE: u16 = 7000;
/// Allowed: from outside to a port that the server publishes.
const VISITOR: u16 = 7001;
/// From whoever is no client, to anybody.
pub(crate) const INTRUDER: u16 = 7666;
/// From whoever may send nothing.
pub(crate) const SEALED: u16 = 7667;
/// From outside to the addresses of containers and to a port that the server publishes.
const BURGLAR: u16 = 7668;
/// From a guest, who may come in as long as there is a file that says so.
const GUEST: u16 = 7669;

/// The same policies in several forms: of other kinds, in other tiers, by other selectors. To go from one to another
/// replaces most chains and sets, and changes nothing that is probed.
pub(crate) const FORMS: [&str; 3] = [
    "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: ingress}
spec:
  order: 600
  selector: all()
  types: [Ingress]
  ingress:
    - {action: Allow, source: {selector: role == 'client'}}
    - {action: Allow, protocol: UDP, source: {nets: [203.0.113.9/32]}, destination: {ports: [7001]}}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: sealed}
spec: {selector: role == 'sealed', types: [Egress]}
",
    "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: ingress}
spec:
  order: 700
  selector: has(role)
  types: [Ingress]
  ingress:
    - {action: Deny, source: {selector: \"role in {'intruder', 'sealed'}\"}}
    - {action: Allow, source: {selector: \"role in {'client'}\"}}
    - {action: Allow, protocol: UDP, source: {nets: [203.0.113.8/30]}, destination: {ports: ['7001:7001']}}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: sealed}
spec: {selector: role == 'sealed', types: [Egress], egress: [{action: Deny}]}
",
    "
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: guards}
spec: {order: 900}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: egress}
spec:
  tier: guards
  selector: has(role)
  types: [Egress]
  egress:
    - {action: Deny, source: {selector: role == 'sealed'}}
    - {action: Allow}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: ingress}
spec:
  order: 800
  selector: all()
  types: [Ingress]
  ingress:
    - {action: Allow, source: {selector: role == 'client' && !has(nothing)}}
    - {action: Allow, protocol: UDP, source: {nets: [203.0.113.9/32]}, destination: {ports: [7001]}}
",
];

/// Lets guests in, before anything else is asked.
pub(crate) const GUESTS: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: guests}
spec:
  order: 0
  selector: role == 'server'
  types: [Ingress]
  ingress: [{action: Allow, source: {selector: role == 'guest'}}]
";

/// The host, and who probes it.
pub(crate) struct World {
    // Dropped in this order: the controller before the laboratory.
    controller: Mutex<Option<Controller>>,
    containers: Mutex<Vec<Container>>,
    senders: Vec<(Sender, usize)>,
    tap: Tap,
    _outside: Responder,
    account: Mutex<Account>,
    over: Mutex<Option<Instant>>,
    state: PathBuf,
    /// When a guest may come in.
    pub(crate) guests: Guests,
    /// Held by whoever needs dockerd, and alone by whoever ends it.
    pub(crate) engine_stays: RwLock<()>,
    /// What was done.
    pub(crate) ledger: Ledger,
    /// The policy directory.
    pub(crate) policies: Policies,
    /// The laboratory.
    pub(crate) lab: Lab,
}

/// What became of allowed datagrams, and how many forbidden packets those have sent who are gone.
#[derive(Debug, Default)]
struct Account {
    outages: Vec<Outage>,
    counts: Counts,
}

impl World {
    /// Starts everything, with policy in force.
    pub(crate) fn build() -> World {
        let lab = Lab::start(Options { live_restore: true, ..Options::default() });
        lab.network("front", &["10.90.0.0/24", "2001:db8:90::/64"]);
        lab.network("back", &["10.91.0.0/24", "2001:db8:91::/64"]);
        let builder = |name: &str| lab.container(name).network("front").label("role", name);
        let mut containers =
            lab.start_all(["client", "intruder", "sealed", "guest"].map(|name| builder(name).serve(&[SERVICE])).into());
        let ports = [VISITOR, INTRUDER, BURGLAR, GUEST].iter().fold(builder("server"), |builder, port| {
            let tcp = builder.publish(&format!("{port}:{port}/tcp"));
            tcp.publish(&format!("{port}:{port}/udp"))
        });
        containers.push(ports.serve(&[SERVICE, VISITOR]).start());
        let policies = Policies::new(&lab);
        policies.save("policies.yaml", FORMS[0]);
        let world = World {
            controller: Mutex::new(None),
            senders: Vec::new(),
            tap: Tap::start(lab.host(), &[]),
            _outside: Responder::start(lab.outside(), &[SERVICE]),
            account: Mutex::default(),
            over: Mutex::new(None),
            state: PathBuf::new(),
            guests: Guests::default(),
            engine_stays: RwLock::new(()),
            ledger: Ledger::new(),
            containers: Mutex::new(containers),
            policies,
            lab,
        };
        world.enforced()
    }

    fn enforced(mut self) -> World {
        let mut controller = self.start_controller();
        controller.wait_until_ready();
        controller.state().clone_into(&mut self.state);
        self.controller = Mutex::new(Some(controller));
        self.tap = Tap::start(self.lab.host(), &[INTRUDER, SEALED, BURGLAR, GUEST]);
        self.ledger = Ledger::new();
        let containers = self.containers.get_mut().unwrap_or_else(PoisonError::into_inner);
        let id = |name: &str| containers.iter().find(|container| container.name() == name).expect("it runs").id();
        let gateways = ["10.90.0.1", "2001:db8:90::1"].map(|text| text.parse().expect("an address"));
        let everywhere = [&inside()[..], &gateways, &HOST].concat();
        let everywhere_and_out = [&everywhere[..], &OUTSIDE].concat();
        let inner = |name: &str, mark, to: &[IpAddr]| (Sender::from_container(&self.lab, id(name), mark, to), to.len());
        self.senders = vec![
            inner("intruder", INTRUDER, &everywhere),
            inner("sealed", SEALED, &everywhere_and_out),
            inner("guest", GUEST, &everywhere),
            (Sender::from_namespace(self.lab.outside(), BURGLAR, &everywhere), everywhere.len()),
        ];
        self
    }

    /// A controller that reads the kernel back often, because nobody notifies of changed sets.
    pub(crate) fn start_controller(&self) -> Controller {
        self.lab.dockgate(&["run", "--policies", self.policies.path(), "--resync-interval", "400ms"])
    }

    /// Whether the time is over.
    pub(crate) fn is_over(&self) -> bool {
        self.over.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| Instant::now() >= at)
    }

    /// Sleeps for so many milliseconds, or until the time is over.
    pub(crate) fn rest(&self, milliseconds: u64) {
        let end = Instant::now() + Duration::from_millis(milliseconds);
        while Instant::now() < end && !self.is_over() {
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Has accidents happen for so long, chosen by the seed.
    pub(crate) fn endure(&mut self, duration: Duration, seed: u64) {
        let containers = std::mem::take(self.containers.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mut controller = self.controller.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let (world, running) = (&*self, &mut controller);
        let containers = Containers::new(world, containers);
        world.set_over(Instant::now() + duration);
        // Whoever panics ends the others.
        let guarded = |work: &mut dyn FnMut(&mut StdRng), number: u64| {
            let _end = EndOnPanic(world);
            work(&mut StdRng::seed_from_u64(seed.wrapping_mul(8).wrapping_add(number)));
        };
        let mut sent = 0;
        thread::scope(|scope| {
            let mut containers = Some(containers);
            let sent = &mut sent;
            let threads = [
                scope.spawn(move || {
                    guarded(&mut |random| *sent = containers.take().map_or(0, |them| them.act(random)), 0);
                }),
                scope.spawn(move || guarded(&mut |random| accidents::act(world, running, random), 1)),
                scope.spawn(move || guarded(&mut |random| engine::act(world, random), 2)),
                scope.spawn(move || guarded(&mut |random| files::act(world, random), 3)),
            ];
            for thread in threads {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
        });
        self.account.get_mut().unwrap_or_else(PoisonError::into_inner).counts.forbidden = sent;
        *self.controller.get_mut().unwrap_or_else(PoisonError::into_inner) = controller;
    }

    fn set_over(&self, at: Instant) {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    /// Notes what became of an allowed way.
    fn note(&self, outages: Vec<Outage>, passed: usize, lost: usize) {
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        account.outages.extend(outages);
        account.counts.passed += passed;
        account.counts.lost += lost;
    }

    /// Notes how long a container that has restarted was without one of its ways.
    pub(crate) fn note_settled(&self, after: Duration) {
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        account.counts.settled = account.counts.settled.max(after);
    }

    /// What packets have shown.
    pub(crate) fn report(&self) -> Report {
        let account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        let fixed: u64 = self.senders.iter().map(|(sender, targets)| sender.rounds() * *targets as u64 * 3).sum();
        let counts = Counts { forbidden: account.counts.forbidden + fixed, ..account.counts };
        self.ledger.report(&self.forbidden(), &account.outages, counts)
    }

    /// Whether a forbidden packet was delivered within this time.
    pub(crate) fn was_open_within(&self, time: Duration) -> bool {
        self.forbidden().last().is_some_and(|(at, _)| at.elapsed() < time)
    }

    /// The forbidden packets that were delivered.
    fn forbidden(&self) -> Vec<(Instant, Delivery)> {
        let is_forbidden = |(at, delivery): &(Instant, Delivery)| delivery.mark != GUEST || self.guests.are_out(*at);
        self.tap.packets().into_iter().filter(is_forbidden).collect()
    }

    /// What the kernel holds that a controller would not write which has never seen anything but this.
    pub(crate) fn compare_with_a_fresh_start(&mut self) -> Vec<String> {
        self.remove_those_with_a_twin();
        self.controller().wait_until_ready();
        wait_for("nothing to be left to do", || {
            self.lab.dockgate_output(&["plan", "--policies", self.policies.path()]).status.code() == Some(0)
        });
        let found = in_order(&packet_filter(&self.lab));
        let running = self.controller.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        running.expect("the accidents leave a controller").stop();
        let cleanup = self.lab.dockgate_output(&["cleanup", "--state-dir", &self.state.to_string_lossy()]);
        assert!(cleanup.status.success(), "{}", String::from_utf8_lossy(&cleanup.stderr));
        let left = packet_filter(&self.lab);
        let mut fresh = self.start_controller();
        fresh.wait_until_ready();
        *self.controller.get_mut().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
        let wanted = in_order(&packet_filter(&self.lab));
        let ours = |line: &&String| line.contains("DG-") || line.contains("dg-");
        println!("{:>8}  lines of ours in the kernel at the end", found.iter().filter(ours).count());
        let mut differences: Vec<String> = Vec::new();
        differences.extend(wanted.iter().filter(|line| !found.contains(line)).map(|line| format!("missing: {line}")));
        differences.extend(found.iter().filter(|line| !wanted.contains(line)).map(|line| format!("left over: {line}")));
        if differences.is_empty() && found != wanted {
            differences.push(format!("in another order:\n{}\n{}", found.join("\n"), wanted.join("\n")));
        }
        if left.contains("DG-") || left.contains("dg-") {
            differences.push(format!("cleanup leaves:\n{left}"));
        }
        differences
    }

    /// Removes containers to which the engine has given the address of one that it has lost. An engine that is killed while
    /// it removes a container can forget it and leave its port on the bridge; whoever gets that address is closed, and the
    /// status says so for as long as both are there. That is right, and no end state to compare with.
    fn remove_those_with_a_twin(&mut self) {
        let twins = |world: &mut World| -> Vec<String> {
            let document = world.controller().document();
            let problems = document["problems"].as_array().cloned().unwrap_or_default();
            let of_twin = |problem: &serde_json::Value| {
                let (endpoint, reason) = problem.as_str()?.split_once(" is closed: ")?;
                let spare = endpoint.split('@').next().filter(|name| name.starts_with("spare-"))?;
                reason.contains(" all have its MAC address ").then(|| spare.to_owned())
            };
            problems.iter().filter_map(of_twin).collect()
        };
        let end = Instant::now() + Duration::from_secs(20);
        while self.controller().document()["ready"] != true && twins(self).is_empty() && Instant::now() < end {
            thread::sleep(Duration::from_millis(50));
        }
        for name in twins(self) {
            println!("{name} is removed: the engine has given it the address of a container that it has lost");
            self.lab.docker(&["rm", "--force", &name]);
        }
    }

    /// With our jump out of the way and nobody to put it back, forbidden packets must be seen to arrive: a soak that sees
    /// none would see none in any case otherwise.
    pub(crate) fn show_that_a_hole_would_show(&mut self) -> Option<String> {
        self.controller().halt();
        let began = Instant::now();
        Protection::Jumps("FORWARD").remove(&self.lab);
        let end = began + Duration::from_secs(10);
        let marks = |world: &World| {
            let packets = world.forbidden().into_iter().filter(|(at, _)| *at > began);
            packets.map(|(_, delivery)| delivery.mark).collect::<std::collections::BTreeSet<u16>>()
        };
        while marks(self).len() < 4 && Instant::now() < end {
            thread::sleep(Duration::from_millis(50));
        }
        let seen = marks(self);
        println!("{:>8}  of 4 kinds of forbidden packets arrive without our jump", seen.len());
        self.controller().signal(Signal::SIGCONT);
        (seen.len() < 4).then(|| format!("without our jump only these marks arrive: {seen:?}"))
    }

    /// The end of the controllers' log.
    pub(crate) fn log(&self) -> String {
        format!("dockgate's log:\n{}", tail(&self.state.with_file_name("dockgate.log"), 60))
    }

    fn controller(&mut self) -> &mut Controller {
        let running = self.controller.get_mut().unwrap_or_else(PoisonError::into_inner);
        running.as_mut().expect("the accidents leave a controller")
    }
}

struct EndOnPanic<'w>(&'w World);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.set_over(Instant::now());
        }
    }
}

/// The addresses that containers may get on the networks that are always there. What is sent to one that is gone leaves by the
/// default route, as Docker lets it.
pub(crate) fn inside() -> Vec<IpAddr> {
    let front = (2..=9).flat_map(|last| [format!("10.90.0.{last}"), format!("2001:db8:90::{last}")]);
    let back = (2..=4).flat_map(|last| [format!("10.91.0.{last}"), format!("2001:db8:91::{last}")]);
    front.chain(back).map(|text| text.parse().expect("an address")).collect()
}

/// The rules of a chain in their order, and everything else by name: in which order chains and sets were made is history.
fn in_order(packet_filter: &str) -> Vec<String> {
    let mut lines: Vec<String> = packet_filter
        .lines()
        .map(|line| match line.split_once("dockgate:") {
            // The serial number of a jump.
            Some((before, after)) if after.starts_with(|first: char| first.is_ascii_digit()) => {
                format!("{before}dockgate:N{}", after.trim_start_matches(|digit: char| digit.is_ascii_digit()))
            }
            _ => line.to_owned(),
        })
        .collect();
    lines.sort_by_key(|line| {
        let mut words = line.split(' ');
        match words.next() {
            Some("-A") => format!("-A {}", words.next().unwrap_or_default()),
            _ => line.clone(),
        }
    });
    lines
}

/// When guests may come in.
#[derive(Debug, Default)]
pub(crate) struct Guests(Mutex<Vec<(Instant, Option<Instant>)>>);

impl Guests {
    /// From this moment on they may.
    pub(crate) fn open(&self, at: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((at, None));
    }

    /// From this moment on they may not.
    pub(crate) fn close(&self, at: Instant) {
        if let Some(last) = self.0.lock().unwrap_or_else(PoisonError::into_inner).last_mut() {
            last.1 = Some(at);
        }
    }

    fn are_out(&self, at: Instant) -> bool {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !times.iter().any(|(from, until)| *from <= at && until.is_none_or(|until| at <= until))
    }
}

/// An allowed way.
pub(crate) struct Way {
    /// What it is.
    pub(crate) name: &'static str,
    /// The containers at its ends.
    pub(crate) of: &'static [&'static str],
    vigil: Option<(Vigil, Instant, usize)>,
}

impl Way {
    /// All of them, not probed yet.
    pub(crate) fn all() -> Vec<Way> {
        let way = |name, of| Way { name, of, vigil: None };
        vec![
            way("client → server", &["client", "server"]),
            way("client → outside", &["client"]),
            way("host → server", &["server"]),
            way("outside → published port", &["server"]),
        ]
    }

    /// Probes it from now on, between the containers as they are now.
    pub(crate) fn begin(&mut self, world: &World, containers: &[Container]) {
        let of = |name: &str| containers.iter().find(|container| container.name() == name).expect("it is there");
        let server = || [false, true].map(|v6| SocketAddr::new(of("server").address("front", v6), SERVICE)).to_vec();
        let (from, to) = match self.name {
            "client → server" => (of("client").namespace(), server()),
            "client → outside" => (of("client").namespace(), OUTSIDE.map(|to| SocketAddr::new(to, SERVICE)).to_vec()),
            "host → server" => (world.lab.host(), server()),
            _ => (world.lab.outside(), vec![SocketAddr::new(HOST[0], VISITOR)]),
        };
        self.vigil = Some((Vigil::start(from, &to), Instant::now(), to.len()));
    }

    /// Whether a datagram came through to each of its addresses.
    pub(crate) fn is_open(&self) -> bool {
        self.vigil.as_ref().is_some_and(|(vigil, since, addresses)| {
            let mut reached: Vec<_> = vigil.passed_since(*since).into_iter().map(|(_, to)| to).collect();
            reached.sort_unstable();
            reached.dedup();
            reached.len() == *addresses
        })
    }

    /// From now on it must be open.
    pub(crate) fn settle(&mut self) {
        if let Some((_, since, _)) = &mut self.vigil {
            *since = Instant::now();
        }
    }

    /// Probes it no more, and notes what became of the datagrams.
    pub(crate) fn end(&mut self, world: &World) {
        if let Some((vigil, since, _)) = self.vigil.take() {
            let (outages, passed, lost) = outages(self.name, &vigil, since);
            world.note(outages, passed, lost);
        }
    }
}
