//! Flows that are open when policy comes to forbid them, and those that it goes on allowing.

mod many;
mod world;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use socket2::{Domain, Protocol as Ip, Socket, Type};

use crate::scenario::{Group, Scenario, World};
use crate::support::Protection::{self, Judgement, Rules};
use crate::support::Transport::{Tcp, Udp};
use crate::support::lab::{HOST, OUTSIDE};
use crate::support::world::wait_for;
use crate::support::{Conversation, Namespace, Transport, assert_by_packets};

use world::{ALLOWED, FORBIDDEN, Flows, HOST_ALLOWED, HOST_FORBIDDEN, REUSED, between, both, deny, open, policy};

/// What every TCP packet that opens no flow meets on its way to or from a governed bridge.
const NO_PICK_UP: Protection = Rules("TCP packet of a flow that is not open");
const NO_ANSWER: Protection = Rules("answer from published port");

fn on_one_bridge(world: &mut Flows, transport: Transport, v6: bool) {
    let protocol = if transport == Tcp { "TCP" } else { "UDP" };
    let (forbidden, allowed) = both(|port| between(transport, [&world.client, &world.server], port, v6));
    world.expect_ends(&deny("app == 'server'", "Ingress", protocol, FORBIDDEN), forbidden, allowed);
}

fn routed(world: &mut Flows, v6: bool) {
    let (forbidden, allowed) = both(|port| between(Tcp, [&world.east, &world.west], port, v6));
    world.expect_ends(&deny("app == 'east'", "Egress", "TCP", FORBIDDEN), forbidden, allowed);
}

fn published(world: &mut Flows, transport: Transport, v6: bool) {
    let protocol = if transport == Tcp { "TCP" } else { "UDP" };
    let forbidden = vec![world.outside_flow(transport, v6, (HOST_FORBIDDEN, FORBIDDEN))];
    let allowed = vec![world.outside_flow(transport, v6, (HOST_ALLOWED, ALLOWED))];
    world.expect_ends(&deny("app == 'published'", "Ingress", protocol, FORBIDDEN), forbidden, allowed);
}

fn to_outside(world: &mut Flows, v6: bool) {
    let to = OUTSIDE[usize::from(v6)];
    let (forbidden, allowed) = both(|port| open(Tcp, world.client.namespace(), to, port, (world.lab.outside(), port)));
    world.expect_ends(&deny("app == 'client'", "Egress", "TCP", FORBIDDEN), forbidden, allowed);
}

fn to_host(world: &mut Flows, v6: bool) {
    let to = HOST[usize::from(v6)];
    let (forbidden, allowed) = both(|port| open(Tcp, world.client.namespace(), to, port, (world.lab.host(), port)));
    world.expect_ends(&deny("app == 'client'", "Egress", "TCP", FORBIDDEN), forbidden, allowed);
}

fn udp_on_one_bridge(world: &mut Flows, v6: bool) {
    let (forbidden, allowed) = both(|port| between(Udp, [&world.client, &world.server], port, v6));
    world.expect_ends(&deny_udp("server"), forbidden, allowed);
}

/// A specification that denies a container UDP on the forbidden port, either way: a datagram of the one who was asked
/// would else open a flow of its own.
fn deny_udp(app: &str) -> String {
    format!(
        "{{order: 10, selector: \"app == '{app}'\", types: [Ingress, Egress], \
         ingress: [{{action: Deny, protocol: UDP, destination: {{ports: [{FORBIDDEN}]}}}}, {{action: Allow}}], \
         egress: [{{action: Deny, protocol: UDP, source: {{ports: [{FORBIDDEN}]}}}}, {{action: Allow}}]}}"
    )
}

/// Echo requests with one identifier, which the kernel tracks as one flow.
struct Pings(Socket);

impl Pings {
    fn open(from: &Namespace, to: IpAddr) -> Pings {
        from.set_sysctl("net.ipv4.ping_group_range", "0 2147483647");
        let (domain, protocol) = match to {
            IpAddr::V4(_) => (Domain::IPV4, Ip::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Ip::ICMPV6),
        };
        let socket = from.run(|| {
            let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
            socket.connect(&SocketAddr::new(to, 0).into())?;
            socket.set_read_timeout(Some(Duration::from_millis(300)))?;
            Ok::<_, io::Error>(socket)
        });
        Pings(socket.expect("a ping socket opens"))
    }

    fn is_answered(&self) -> bool {
        let is_v4 = self.0.domain().expect("a socket has a domain") == Domain::IPV4;
        let kind = if is_v4 { 8 } else { 128 };
        // Type, code; the kernel fills in checksum and identifier; sequence number, and something to carry.
        let _unsent = self.0.send(&[kind, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
        let mut buffer = [std::mem::MaybeUninit::uninit(); 64];
        self.0.recv(&mut buffer).is_ok()
    }
}

fn ping(world: &mut Flows, v6: bool) {
    let address = world.server.address("flat", v6);
    let pings = Pings::open(world.client.namespace(), address);
    assert!(pings.is_answered(), "a flow that never was cannot be ended");
    // A controller that ended every flow would pass otherwise.
    let allowed = between(Udp, [&world.client, &world.server], ALLOWED, v6).talk();
    let protocol = if v6 { "ICMPv6" } else { "ICMP" };
    let deny = format!(
        "{{order: 10, selector: \"app == 'server'\", types: [Ingress], \
         ingress: [{{action: Deny, protocol: {protocol}}}, {{action: Allow}}]}}"
    );
    world.under(&deny, |world| {
        wait_for("the policy to be in force", || world.status()["policies"]["policies"] == 2);
        assert_by_packets!((0..3).all(|_| !pings.is_answered()), "pings go on");
    });
    allowed.expect_unbroken();
}

/// Somebody has all packets tracked in a zone of his own, so that flows are not ended: then nobody is told that they are.
fn in_another_zone(world: &mut Flows) {
    Judgement.remove(&world.lab);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let _open = between(Udp, [&world.client, &world.server], FORBIDDEN, false).talk();
        world.under(&deny("app == 'server'", "Ingress", "UDP", FORBIDDEN), |world| {
            wait_for("the status to tell of the zone", || {
                let status = world.status();
                status["ready"] == false && status["problems"].to_string().contains("in other conntrack zones")
            });
        });
    }));
    Judgement.put_back(&world.lab);
    wait_for("nothing to be told", || world.status()["ready"] == true);
    outcome.unwrap_or_else(|panic| resume_unwind(panic));
}

/// Another container that goes to the host's port, which the proxy holds for it.
fn by_the_proxy_from_a_container(world: &mut Flows) {
    let open = |(host_port, port)| {
        let gateway = "10.81.0.1".parse().expect("an address");
        open(Tcp, world.east.namespace(), gateway, host_port, (world.published.namespace(), port))
    };
    let forbidden = vec![open((HOST_FORBIDDEN, FORBIDDEN))];
    let allowed = vec![open((HOST_ALLOWED, ALLOWED))];
    world.expect_ends(&deny("app == 'published'", "Ingress", "TCP", FORBIDDEN), forbidden, allowed);
}

/// Only a set changes: the outside host is no partner any more.
fn a_peer_leaves(world: &mut Flows) {
    let partners = |net: &str| {
        policy(
            "strict",
            &format!(
                "{{order: 10, selector: \"app == 'published'\", types: [Ingress], ingress: [\
                 {{action: Allow, source: {{selector: \"set == 'partners'\"}}}}, \
                 {{action: Deny, protocol: TCP, destination: {{ports: [{FORBIDDEN}]}}}}, {{action: Allow}}]}}\n---\n\
                 apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\n\
                 metadata: {{name: partners, labels: {{set: partners}}}}\nspec: {{nets: [{net}]}}"
            ),
        )
    };
    let with = |address: IpAddr| partners(&address.to_string()).split_once("spec: ").expect("a policy").1.to_owned();
    let (with_it, without) = (with(OUTSIDE[0]), partners("203.0.113.200"));
    world.under(&with_it, |world| {
        world.wait_until_in_force(2);
        let forbidden = world.outside_flow(Tcp, false, (HOST_FORBIDDEN, FORBIDDEN));
        let allowed = world.outside_flow(Tcp, false, (HOST_ALLOWED, ALLOWED)).talk();
        world.policies.save("strict.yaml", &without);
        world.expect_silent(vec![forbidden]);
        allowed.expect_unbroken();
    });
}

/// A policy that comes, is renamed, allows more and goes, and none of it forbids anything that is open.
fn nothing_is_cut(world: &mut Flows) {
    let cut = world.flows_cut();
    let talks: Vec<_> = [(Tcp, false), (Tcp, true), (Udp, false), (Udp, true)]
        .map(|(transport, v6)| {
            // A server's socket takes both families, so that each has a port of its own.
            between(transport, [&world.client, &world.server], ALLOWED + u16::from(v6), v6).talk()
        })
        .into();
    let outside = world.outside_flow(Tcp, false, (HOST_ALLOWED, ALLOWED)).talk();
    let specs = [FORBIDDEN, FORBIDDEN + 9].map(|port| deny("all()", "Ingress", "TCP", port));
    world.under(&specs[0], |world| {
        world.wait_until_in_force(2);
        for (name, spec) in [("strict", &specs[1]), ("other", &specs[1])] {
            let before = world.status()["kernel"]["applied"].clone();
            world.policies.save("strict.yaml", &policy(name, spec));
            wait_for("the edit to be in force", || world.status()["kernel"]["applied"] != before);
        }
    });
    for talk in talks.into_iter().chain([outside]) {
        talk.expect_unbroken();
    }
    assert_eq!(world.flows_cut(), cut, "flows were cut");
}

/// Flows of a network that nobody governs, of the host with itself, and of the host with the outside.
fn others_are_left_alone(world: &mut Flows) {
    const OTHERS: u16 = 7500;
    world.lab.network("free", &["10.83.0.0/24"]);
    let free = world.lab.container("free").network("free").start();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let (host, outside) = (world.lab.host(), world.lab.outside());
        let _others = [
            open(Tcp, free.namespace(), OUTSIDE[0], OTHERS, (outside, OTHERS)),
            open(Tcp, free.namespace(), "10.83.0.1".parse().expect("an address"), OTHERS, (host, OTHERS)),
            open(Tcp, host, HOST[0], OTHERS + 1, (host, OTHERS + 1)),
            open(Udp, host, OUTSIDE[0], OTHERS + 1, (outside, OTHERS + 1)),
        ];
        let others = [world.ids(OTHERS), world.ids(OTHERS + 1)];
        assert_eq!(others.each_ref().map(BTreeSet::len), [2, 2], "{:#?}", world.tracked());
        let (forbidden, allowed) = both(|port| between(Tcp, [&world.client, &world.server], port, false));
        let cut = world.flows_cut();
        world.expect_ends(&deny("all()", "Ingress", "TCP", FORBIDDEN), forbidden, allowed);
        assert_eq!([world.ids(OTHERS), world.ids(OTHERS + 1)], others, "other flows were ended");
        assert_eq!(world.flows_cut(), cut + 1, "the status counts what was cut");
    }));
    free.remove();
    world.lab.docker(&["network", "rm", "free"]);
    outcome.unwrap_or_else(|panic| resume_unwind(panic));
}

fn an_end_removes_flows(world: &mut Flows) {
    let conversations = world.with_reused_address("first", |world, first| {
        let flow = |transport, port| between(transport, [&world.client, first], port, false);
        let outward = open(Udp, first.namespace(), OUTSIDE[0], ALLOWED, (world.lab.outside(), ALLOWED));
        [flow(Tcp, FORBIDDEN), flow(Udp, FORBIDDEN), outward]
    });
    let mut left = Vec::new();
    for _ in 0..60 {
        left = world.tracked().into_iter().filter(|line| line.contains(REUSED)).collect();
        if left.is_empty() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(left.is_empty(), "flows of a container that has ended: {left:#?}");
    drop(conversations);
}

/// A container takes the address of one that ended, and what the peer goes on sending does not reach it. The flow is one
/// that Docker masquerades: engine 20.10 itself ends the others of a container's address.
fn an_address_goes_on(world: &mut Flows, while_down: bool) {
    // While the controller runs, it does not matter what the next container may do: the flow is not its own.
    let selector = if while_down { "app == 'second'" } else { "app == 'nobody'" };
    world.under(&deny(selector, "Egress", "UDP", FORBIDDEN), |world| {
        world.wait_until_in_force(2);
        let mut flow = world.with_reused_address("first", |world, first| {
            let flow = open(Udp, first.namespace(), OUTSIDE[0], FORBIDDEN, (world.lab.outside(), FORBIDDEN));
            if while_down {
                world.controller.take().expect("a controller runs").crash();
            }
            flow
        });
        // The peer has noticed nothing.
        flow.server_speaks();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            world.with_reused_address("second", |world, second| {
                if while_down {
                    world.start_controller();
                }
                flow.exchange_client(second.namespace());
                flow.expect_deaf_client();
            });
        }));
        if world.controller.is_none() {
            world.start_controller();
        }
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
    });
}

fn edited_while_down(world: &mut Flows) {
    let (forbidden, allowed) = both(|port| between(Tcp, [&world.client, &world.server], port, false));
    let allowed = allowed.into_iter().map(Conversation::talk).collect::<Vec<_>>();
    let mut forbidden = Some(forbidden);
    let spec = deny("app == 'server'", "Ingress", "TCP", FORBIDDEN);
    world.without_controller(|world| world.policies.save("strict.yaml", &policy("strict", &spec)));
    world.under(&spec, |world| world.expect_silent(forbidden.take().unwrap_or_default()));
    for talk in allowed {
        talk.expect_unbroken();
    }
}

/// The controller died between the rules and the judgement: the kernel holds the rules, and the flow is still tracked.
fn died_before_the_judgement(world: &mut Flows) {
    let mut flow = between(Udp, [&world.client, &world.server], FORBIDDEN, false);
    world.under(&deny_udp("server"), |world| {
        flow.wait_until_cut();
        let (client, server) = (flow.client_address(), world.server.address("flat", false));
        world.without_controller(|world| {
            let ends = ["-s", &client.ip().to_string(), "-d", &server.to_string()];
            let ports = ["--sport", &client.port().to_string(), "--dport", &FORBIDDEN.to_string()];
            let insert =
                [&["conntrack", "-I", "-p", "udp", "-t", "120", "-u", "SEEN_REPLY,ASSURED"], &ends[..], &ports];
            world.lab.run(&insert.concat());
            assert!(flow.client_is_heard(), "the flow that was put back is open");
        });
        world.expect_silent(vec![flow]);
    });
}

/// Somebody flushes our rules, a forbidden flow opens meanwhile, and the rules come back.
fn opened_while_rules_were_missing(world: &mut Flows) {
    world.under(&deny("app == 'server'", "Ingress", "TCP", FORBIDDEN), |world| {
        world.wait_until_in_force(2);
        world.controller().halt();
        let opened = catch_unwind(AssertUnwindSafe(|| {
            world.lab.run(&[&world.lab.tool("iptables"), "-t", "mangle", "-F", "DG-FORWARD"]);
            between(Tcp, [&world.client, &world.server], FORBIDDEN, false)
        }));
        world.controller().signal(Signal::SIGCONT);
        world.expect_silent(vec![opened.unwrap_or_else(|panic| resume_unwind(panic))]);
    });
}

const STRICTER: &str = "policy becomes stricter";
const BRIDGE: &str = "container → container, same bridge";
const HOSTWARDS: &str = "container → host";

fn scenario(
    name: &'static str,
    path: &'static str,
    family: &'static str,
    accident: &'static str,
    rests_on: &'static [Protection],
    run: fn(&mut Flows),
) -> Scenario<Flows> {
    Scenario { name, path, family, accident, rests_on, run }
}

pub(crate) fn group() -> Group<Flows> {
    let scenarios = [connections(), datagrams(), accidents()].into_iter().flatten().collect();
    Group { name: "flows", build: Flows::build, scenarios }
}

/// TCP on every path.
fn connections() -> Vec<Scenario<Flows>> {
    let route = "container → container, routed";
    vec![
        scenario("tcp_ends_on_one_bridge_v4", BRIDGE, "IPv4", STRICTER, &[Judgement, NO_PICK_UP], |world| {
            on_one_bridge(world, Tcp, false);
        }),
        scenario("tcp_ends_on_one_bridge_v6", BRIDGE, "IPv6", STRICTER, &[Judgement, NO_PICK_UP], |world| {
            on_one_bridge(world, Tcp, true);
        }),
        // Docker masquerades what a container sends to another network over IPv4, so that no packet picks a flow up.
        scenario("tcp_ends_between_networks_v4", route, "IPv4", STRICTER, &[Judgement], |world| {
            routed(world, false);
        }),
        scenario("tcp_ends_between_networks_v6", route, "IPv6", STRICTER, &[Judgement, NO_PICK_UP], |world| {
            routed(world, true);
        }),
        scenario("tcp_ends_behind_dnat", "outside → port, by DNAT", "IPv4", STRICTER, &[Judgement], |world| {
            published(world, Tcp, false);
        }),
        scenario(
            "tcp_ends_behind_the_proxy",
            "outside → port, by docker-proxy",
            "IPv6",
            STRICTER,
            &[Judgement, NO_ANSWER],
            |world| published(world, Tcp, true),
        ),
        scenario(
            "udp_ends_behind_the_proxy",
            "outside → port, by docker-proxy",
            "IPv6",
            STRICTER,
            &[Judgement, NO_ANSWER],
            |world| published(world, Udp, true),
        ),
        scenario("tcp_ends_to_the_outside_v4", "container → outside", "IPv4", STRICTER, &[Judgement], |world| {
            to_outside(world, false);
        }),
        scenario("tcp_ends_to_the_outside_v6", "container → outside", "IPv6", STRICTER, &[Judgement], |world| {
            to_outside(world, true);
        }),
        scenario("tcp_ends_to_the_host_v4", HOSTWARDS, "IPv4", STRICTER, &[Judgement, NO_PICK_UP], |world| {
            to_host(world, false);
        }),
        scenario("tcp_ends_to_the_host_v6", HOSTWARDS, "IPv6", STRICTER, &[Judgement, NO_PICK_UP], |world| {
            to_host(world, true);
        }),
    ]
}

/// Protocols without connections, and what is open beside.
fn datagrams() -> Vec<Scenario<Flows>> {
    vec![
        scenario("udp_ends_on_one_bridge_v4", BRIDGE, "IPv4", STRICTER, &[Judgement], |world| {
            udp_on_one_bridge(world, false);
        }),
        scenario("udp_ends_on_one_bridge_v6", BRIDGE, "IPv6", STRICTER, &[Judgement], |world| {
            udp_on_one_bridge(world, true);
        }),
        scenario("udp_ends_behind_dnat", "outside → port, by DNAT", "IPv4", STRICTER, &[Judgement], |world| {
            let forbidden = vec![world.outside_flow(Udp, false, (HOST_FORBIDDEN, FORBIDDEN))];
            let allowed = vec![world.outside_flow(Udp, false, (HOST_ALLOWED, ALLOWED))];
            world.expect_ends(&deny_udp("published"), forbidden, allowed);
        }),
        scenario(
            "a_flow_of_another_zone_is_told",
            BRIDGE,
            "IPv4",
            "conntrack zones of somebody's",
            &[],
            in_another_zone,
        ),
        scenario("pings_end_v4", BRIDGE, "IPv4", STRICTER, &[Judgement], |world| ping(world, false)),
        scenario("pings_end_v6", BRIDGE, "IPv6", STRICTER, &[Judgement], |world| ping(world, true)),
        scenario(
            "tcp_ends_by_the_proxy_from_a_container",
            "container → port, by docker-proxy",
            "IPv4",
            STRICTER,
            &[Judgement],
            by_the_proxy_from_a_container,
        ),
    ]
}

/// What goes wrong meanwhile.
fn accidents() -> Vec<Scenario<Flows>> {
    vec![
        scenario(
            "a_flow_ends_when_its_peer_leaves_a_set",
            "outside → port, by DNAT",
            "IPv4",
            "a network set changes",
            &[Judgement],
            a_peer_leaves,
        ),
        scenario("what_stays_allowed_is_not_cut", "all", "both", "policy is edited", &[], nothing_is_cut),
        scenario("many_flows_end_and_an_edit_does_not_wait_for_it", BRIDGE, "IPv4", STRICTER, &[], many::end),
        scenario("other_flows_are_left_alone", "all", "IPv4", STRICTER, &[], others_are_left_alone),
        scenario(
            "a_containers_end_ends_its_flows",
            "container ↔ all",
            "IPv4",
            "container ends",
            // What is left in the kernel is no packet: the next scenario shows what it is good for.
            &[],
            an_end_removes_flows,
        ),
        scenario(
            "an_old_flow_does_not_reach_the_next_container",
            "outside → container",
            "IPv4",
            "address is reused",
            &[Judgement],
            |world| an_address_goes_on(world, false),
        ),
        scenario(
            "none_of_many_old_flows_reaches_the_next_container",
            "outside → container",
            "IPv4",
            "address is reused",
            &[],
            many::none_reaches_the_next_container,
        ),
        scenario(
            "no_old_flow_behind_many_reaches_the_next_container_by_the_proxy",
            "outside → port, by docker-proxy",
            "IPv6",
            "port is reused",
            &[],
            many::none_reaches_the_next_container_by_the_proxy,
        ),
        scenario(
            "an_old_flow_does_not_outlive_a_controller_that_was_down",
            "outside → container",
            "IPv4",
            "address is reused, controller killed",
            &[Judgement],
            |world| an_address_goes_on(world, true),
        ),
        scenario(
            "a_policy_edited_while_the_controller_is_down_ends_flows",
            BRIDGE,
            "IPv4",
            "controller killed",
            &[Judgement],
            edited_while_down,
        ),
        scenario(
            "the_judgement_is_made_up_for",
            BRIDGE,
            "IPv4",
            "controller killed between rules and judgement",
            &[],
            died_before_the_judgement,
        ),
        scenario(
            "a_flow_that_opened_without_rules_ends",
            BRIDGE,
            "IPv4",
            "rules flushed by somebody",
            &[Judgement],
            opened_while_rules_were_missing,
        ),
    ]
}
