//! Flows that are so many that ending them takes seconds, and what else happens meanwhile.

use std::net::{IpAddr, UdpSocket};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use nix::sys::signal::Signal;

use crate::scenario::World;
use crate::support::Transport::Udp;
use crate::support::lab::{HOST, OUTSIDE};
use crate::support::world::wait_for;
use crate::support::{Container, assert_by_packets};

use super::world::{FORBIDDEN, Flows, deny, open, policy};

/// Flows end in ascending order of their addresses, those of IPv6 last, and then of their source ports: so that one between the
/// same addresses from a port that the kernel chooses is among the last.
const SOURCES: Range<u16> = 1_100..1_102;
const DESTINATIONS: Range<u16> = 2_000..62_000;

/// What the log says of each shift.
const ENDED: &str = "ended flows that policy forbids";

/// For how long the kernel keeps a flow of which it has seen one direction, in seconds: by itself for thirty.
const TIMEOUT: &str = "/proc/sys/net/netfilter/nf_conntrack_udp_timeout";
const LONG_ENOUGH: &str = "600";

/// The port of this host behind which one container after the other is.
const HOST_PORT: u16 = 8_100;

/// Opens many flows from a container to ports of another one, or of whoever has the address. Returns how many.
fn open_many(world: &Flows, from: &Container, to: IpAddr) -> u64 {
    let tracked = || world.lab.run(&["conntrack", "-C"]).trim().parse::<u64>().expect("a number");
    let before = tracked();
    let own = from.addresses_by_network().into_values().flatten().find(|own| own.is_ipv4() == to.is_ipv4());
    let own = own.expect("it has an address");
    let timeout = |seconds: &str| world.lab.run(&["sh", "-c", &format!("cat {TIMEOUT}; echo {seconds} > {TIMEOUT}")]);
    let usual = timeout(LONG_ENOUGH);
    let sent = from.namespace().run(|| {
        let mut sources = SOURCES;
        sources.try_for_each(|source| {
            let socket = UdpSocket::bind((own, source))?;
            let mut ports = DESTINATIONS;
            ports.try_for_each(|port| socket.send_to(b"one of many", (to, port)).map(drop))
        })
    });
    timeout(usual.trim());
    sent.expect("a container can send");
    let opened = tracked().saturating_sub(before);
    assert!(opened > u64::from(DESTINATIONS.end - DESTINATIONS.start), "only {opened} flows are open");
    opened
}

/// A specification that denies a container UDP.
fn deny_udp(selector: &str) -> String {
    format!(
        "{{order: 10, selector: \"{selector}\", types: [Ingress], \
         ingress: [{{action: Deny, protocol: UDP}}, {{action: Allow}}]}}"
    )
}

/// Waits until flows are being ended, which takes seconds from then on, and until that is known.
fn wait_for_the_first_shift(world: &mut Flows, written: usize) {
    wait_for("the first flows to be ended", || world.controller().log_since(written).contains(ENDED));
    wait_for("that to be told", || world.status()["problems"].to_string().contains("outlive"));
}

/// Waits until no flow is left that policy forbids. Runs `body` now and then meanwhile.
fn wait_for_the_last_shift(world: &Flows, mut body: impl FnMut()) {
    let is_over = || {
        let status = world.status();
        status["problems"].is_array() && !status["problems"].to_string().contains("outlive")
    };
    loop {
        let before = world.flows_cut();
        body();
        wait_for("all flows to be ended, or more of them", || is_over() || world.flows_cut() > before);
        if is_over() {
            break;
        }
    }
}

/// Runs `body` with a controller that is halted in the middle of ending flows, and lets it go on then.
fn halted_in_between(world: &mut Flows, written: usize, body: impl FnOnce(&mut Flows)) {
    wait_for_the_first_shift(world, written);
    world.controller().halt();
    let outcome = catch_unwind(AssertUnwindSafe(|| body(world)));
    world.controller().signal(Signal::SIGCONT);
    outcome.unwrap_or_else(|panic| resume_unwind(panic));
}

/// A container may open as many flows as it likes. To end them takes seconds, and an edit meanwhile does not wait for that.
pub(super) fn end(world: &mut Flows) {
    let (cut, written) = (world.flows_cut(), world.controller().written());
    let (from, to) = (world.client.address("flat", false), world.server.address("flat", false));
    let opened = open_many(world, &world.client, to);
    world.under(&deny_udp("app == 'server'"), |world| {
        wait_for_the_first_shift(world, written);
        world
            .policies
            .save("meanwhile.yaml", &policy("meanwhile", &deny("app == 'west'", "Ingress", "TCP", FORBIDDEN)));
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            world.wait_until_in_force(3);
            wait_for_the_last_shift(world, || ());
        }));
        world.policies.remove("meanwhile.yaml");
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
    });
    let of_them = SOURCES.map(|source| format!(" src={from} dst={to} sport={source} ")).collect::<Vec<_>>();
    let is_one = |line: &&String| of_them.iter().any(|flow| line.contains(flow));
    let left = world.tracked().iter().filter(is_one).count();
    let ended = world.flows_cut() - cut;
    assert!(ended > opened / 2 && left == 0, "{ended} of {opened} were ended, and {left} are left");
    let log = world.controller().log_since(written);
    let shifts: Vec<_> = log.match_indices(ENDED).map(|(at, _)| at).collect();
    let [first, .., last] = shifts[..] else { panic!("they were all ended at once:\n{log}") };
    assert!(log[first..last].contains("applied"), "the other policy waited for their end:\n{log}");
}

/// A container takes the address of one whose flows are still being ended.
pub(super) fn none_reaches_the_next_container(world: &mut Flows) {
    let (mut flow, written) = world.with_reused_address("first", |world, first| {
        open_many(world, first, OUTSIDE[0]);
        let flow = open(Udp, first.namespace(), OUTSIDE[0], FORBIDDEN, (world.lab.outside(), FORBIDDEN));
        (flow, world.controller().written())
    });
    let mut second = None;
    halted_in_between(world, written, |world| {
        second = Some(world.reused_address("second"));
        assert!(world.is_tracked(&flow), "its turn has come already, so this shows nothing");
    });
    let second = second.expect("it was started");
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        flow.exchange_client(second.namespace());
        flow.expect_deaf_client();
    }));
    second.remove();
    outcome.unwrap_or_else(|panic| resume_unwind(panic));
}

/// A container takes the port of another while very many flows of others are being ended. What a client sends who was let
/// through to the one before is for `docker-proxy`, whose port this host may reach, and its flow is none of the container's.
pub(super) fn none_reaches_the_next_container_by_the_proxy(world: &mut Flows) {
    let start = |world: &Flows, app: &str| {
        let container = world.lab.container(app).network("flat").label("app", app);
        container.publish(&format!("{HOST_PORT}:{FORBIDDEN}/udp")).start()
    };
    let first = start(world, "first");
    let mut flow = open(Udp, world.lab.outside(), HOST[1], HOST_PORT, (first.namespace(), FORBIDDEN));
    open_many(world, &world.client, world.server.address("flat", false));
    let written = world.controller().written();
    world.under(&deny_udp("app in {'server', 'second'}"), |world| {
        let mut second = None;
        halted_in_between(world, written, |world| {
            first.remove();
            second = Some(start(world, "second"));
            assert!(world.is_tracked(&flow), "the flow has ended already, so this shows nothing");
        });
        let second = second.expect("it was started");
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            flow.exchange_server(second.namespace(), FORBIDDEN);
            wait_for_the_last_shift(world, || {
                assert_by_packets!(!flow.client_is_heard(), "the server hears a client on a flow that is not its own");
            });
        }));
        second.remove();
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
    });
}
