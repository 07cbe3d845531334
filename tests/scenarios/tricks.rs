//! Tricks with packets and names: what an attacker with raw sockets, an outside host or an odd name could try.
//!
//! Every negative has its positive beside it: the same kind of packet arrives where policy lets it pass, so that a
//! scenario cannot hold because its packets were malformed.

mod names;
mod packets;
mod peers;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::scenario::{Group, Scenario, World};
use crate::support::Protection::Rules;
use crate::support::lab::{HOST, OUTSIDE};
use crate::support::wire::{self, Mac, TCP, UDP, Wire, neighbour};
use crate::support::world::Policies;
use crate::support::{Container, Controller, Engine, Flow, Lab, Namespace, Protection, Responder, assert_by_packets};

/// Open on `guard`, TCP and UDP.
const OPEN: u16 = 7000;
/// Closed on `guard`, though something listens.
const CLOSED: u16 = 7001;
/// Open on `guard` for `web` alone, and published on the host.
const FOR_WEB: u16 = 7002;
/// FTP's control port.
const FTP: u16 = 21;

/// How long a packet that may arrive is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one that may not is waited for, after its positive control has arrived by the same way.
const SHORT: Duration = Duration::from_millis(300);

const BRIDGED: &str = "container → container, same bridge";
const OUT: &str = "container → outside";
const IN: &str = "outside → container";
const TO_HOST: &str = "container → host";
/// What closes `shut`.
const SHUT: Protection = Rules("end of tier default after shut, egress");
/// What keeps sources that no container has from its neighbours.
const SOURCES: &[Protection] = &[Protection::Together(&[Protection::Table, Rules("gate: unknown source")])];
/// What closes `guard`.
const GUARD: Protection = Rules("end of tier default after guard, ingress");

const POLICIES: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: guard}
spec:
  selector: app == 'guard'
  types: [Ingress]
  ingress:
    - {action: Allow, protocol: TCP, destination: {ports: [7000, 21]}}
    - {action: Allow, protocol: UDP, destination: {ports: [7000]}}
    - {action: Allow, protocol: UDP, source: {selector: app == 'web'}, destination: {ports: [7002]}}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: shut}
spec: {selector: app == 'shut', types: [Egress]}
";

/// A governed network, an ungoverned one, and the outside.
pub(crate) struct Tricks {
    // Dropped in this order: the controller before the laboratory.
    controller: Controller,
    /// May send nothing.
    shut: Container,
    /// No policy selects it, nor `peer`.
    free: Container,
    peer: Container,
    /// Receives on [`OPEN`] from everybody, on [`FOR_WEB`] from `web`.
    guard: Container,
    /// On a network without policy.
    web: Container,
    /// Beside it. No rule names it.
    imitator: Container,
    _outside: Responder,
    lab: Lab,
}

impl World for Tricks {
    fn lab(&self) -> &Lab {
        &self.lab
    }

    fn controller(&mut self) -> &mut Controller {
        &mut self.controller
    }
}

impl Tricks {
    fn build() -> Tricks {
        let lab = Lab::start(Engine::Installed);
        lab.network("front", &["10.88.0.0/24", "2001:db8:88::/64"]);
        lab.network("side", &["10.89.0.0/24", "2001:db8:89::/64"]);
        let on = |network: &str, name: &str| lab.container(name).network(network).label("app", name);
        let served = [OPEN, CLOSED, FOR_WEB, FTP];
        let published = format!("{FOR_WEB}:{FOR_WEB}/udp");
        let containers = lab.start_all(vec![
            on("front", "shut"),
            on("front", "free"),
            on("front", "peer").serve(&[OPEN]),
            on("front", "guard").serve(&served).publish(&published),
            on("side", "web"),
            on("side", "imitator"),
        ]);
        let policies = Policies::new(&lab);
        policies.save("tricks.yaml", POLICIES);
        let mut controller = lab.dockgate(&["run", "--policies", &policies.argument(), "--resync-interval", "1s"]);
        controller.wait_until_ready();
        // The table of others that some scenarios put a rule into comes with the first rule and stays.
        drop(Foreign::add(&lab, &["-t", "raw"], "PREROUTING", &["-p", "tcp", "--dport", "9", "-j", "DROP"]));
        let outside = Responder::start(lab.outside(), &[OPEN]);
        let [shut, free, peer, guard, web, imitator] = containers.try_into().expect("six were started");
        Tricks { controller, shut, free, peer, guard, web, imitator, _outside: outside, lab }
    }
}

fn wire_of(container: &Container) -> Wire {
    Wire::open(container.namespace(), "eth0")
}

fn front(container: &Container, v6: bool) -> IpAddr {
    container.address("front", v6)
}

/// The gateway of `front`.
fn gateway(v6: bool) -> IpAddr {
    if v6 { Ipv6Addr::new(0x2001, 0xdb8, 0x88, 0, 0, 0, 0, 1).into() } else { Ipv4Addr::new(10, 88, 0, 1).into() }
}

fn v4_of(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address} is no IPv4 address"),
    }
}

fn v6_of(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => panic!("{address} is no IPv6 address"),
    }
}

/// An error that a closed container makes up about a flow of others: connection tracking calls it RELATED to that flow,
/// and what it quotes can be anything.
fn forged_error(world: &Tricks, v6: bool) {
    let mut flow = Flow::open(world.free.namespace(), SocketAddr::new(front(&world.peer, v6), OPEN))
        .expect("a flow between containers that no policy selects");
    let (free, peer) = (front(&world.free, v6), front(&world.peer, v6));
    let quoted = |data: &[u8]| {
        let segment = wire::tcp(free, peer, (flow.local().port(), OPEN), 0x10, data);
        wire::packet(free, peer, TCP, &segment)
    };
    let to = neighbour(world.peer.namespace(), free);
    let listener = wire_of(&world.free);
    // The peer itself may complain about what it was sent.
    wire_of(&world.peer).send(to, &wire::unreachable(peer, free, &quoted(b"peer speaks")));
    assert!(listener.hears(b"peer speaks", PATIENCE), "an error about one's own flow arrives");
    wire_of(&world.shut).send(to, &wire::unreachable(front(&world.shut, v6), free, &quoted(b"shut speaks")));
    assert_by_packets!(!listener.hears(b"shut speaks", SHORT), "an error carried data out of a closed container");
    assert!(flow.is_alive(PATIENCE));
}

/// The same towards an accomplice outside, who opened no flow to the closed container.
fn forged_error_to_the_outside(world: &Tricks, v6: bool) {
    let outside = OUTSIDE[usize::from(v6)];
    let flow = Flow::open(world.free.namespace(), SocketAddr::new(outside, OPEN)).expect("the way out is open");
    // IPv4 is masqueraded: the accomplice knows the flow as one of the host's.
    let seen_as = front(&world.free, v6);
    let to = neighbour(world.free.namespace(), gateway(v6));
    let quoted = |data: &[u8]| {
        let segment = wire::tcp(outside, seen_as, (OPEN, flow.local().port()), 0x10, data);
        wire::packet(outside, seen_as, TCP, &segment)
    };
    let listener = Wire::open(world.lab.outside(), "ext0");
    wire_of(&world.free).send(to, &wire::unreachable(front(&world.free, v6), outside, &quoted(b"free speaks")));
    assert!(listener.hears(b"free speaks", PATIENCE), "an open container's error arrives");
    wire_of(&world.shut).send(to, &wire::unreachable(front(&world.shut, v6), outside, &quoted(b"shut speaks")));
    assert_by_packets!(!listener.hears(b"shut speaks", SHORT), "an error carried data out of a closed container");
}

/// Somebody assigns the FTP helper. A client makes the server repeat the words that announce a data port, and the
/// helper expects a connection to whatever port they name.
fn helper_opens_nothing(world: &Tricks) {
    let helper = Foreign::add(
        &world.lab,
        &["-t", "raw"],
        "PREROUTING",
        &["-p", "tcp", "--dport", "21", "-j", "CT", "--helper", "ftp"],
    );
    let guard = v4_of(front(&world.guard, false));
    let mut control = Flow::open(world.free.namespace(), SocketAddr::new(guard.into(), FTP)).expect("port 21 is open");
    let [a, b, c, d] = guard.octets();
    control.say(&format!("227 Entering Passive Mode ({a},{b},{c},{d},{},{})\r\n", CLOSED >> 8, CLOSED & 0xff));
    assert!(control.is_alive(PATIENCE));
    let expected = world.lab.run(&["conntrack", "-L", "expect"]);
    assert!(expected.contains(&format!("dport={CLOSED}")), "the helper fell for it: {expected}");
    let data = Flow::open(world.free.namespace(), SocketAddr::new(guard.into(), CLOSED));
    drop(helper);
    assert_by_packets!(data.is_none(), "a closed port was reached as RELATED to an open one");
}

/// A rule of somebody else's, deleted when dropped.
struct Foreign<'a> {
    lab: &'a Lab,
    specification: Vec<String>,
}

impl<'a> Foreign<'a> {
    fn add(lab: &'a Lab, table: &[&str], chain: &str, rule: &[&str]) -> Foreign<'a> {
        let command = |verb: &str| -> Vec<String> {
            [&["iptables", "-w"], table, &[verb, chain], rule].concat().iter().map(ToString::to_string).collect()
        };
        lab.run(&command("-I").iter().map(String::as_str).collect::<Vec<_>>());
        Foreign { lab, specification: command("-D") }
    }
}

impl Drop for Foreign<'_> {
    fn drop(&mut self) {
        self.lab.run(&self.specification.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

/// The outside claims to be a container of a network without policy, which a policy elsewhere trusts.
fn outside_claims_to_be_a_container(world: &Tricks, v6: bool) {
    let outside = Wire::open(world.lab.outside(), "ext0");
    let to = neighbour(world.lab.outside(), HOST[usize::from(v6)]);
    let listener = wire_of(&world.guard);
    // IPv4 by the published port; IPv6 is routed.
    let destination = if v6 { front(&world.guard, true) } else { HOST[0] };
    let datagram = |source: IpAddr, port: u16, data: &[u8]| {
        wire::packet(source, destination, UDP, &wire::udp(source, destination, (wire::fresh_number(), port), data))
    };
    let web = world.web.address("side", v6);
    if v6 {
        outside.send(to, &datagram(OUTSIDE[1], OPEN, b"an open port"));
        assert!(listener.hears(b"an open port", PATIENCE));
    }
    let by_web = wire_of(&world.web);
    let gateway_of_side: IpAddr = if v6 { "2001:db8:89::1" } else { "10.89.0.1" }.parse().expect("an address");
    if v6 {
        by_web.send(neighbour(world.web.namespace(), gateway_of_side), &datagram(web, FOR_WEB, b"web itself"));
        assert!(listener.hears(b"web itself", PATIENCE));
    }
    outside.send(to, &datagram(web, FOR_WEB, b"as if web"));
    assert_by_packets!(
        !listener.hears(b"as if web", SHORT),
        "an address of a network without policy was claimed from outside"
    );
}

/// A sysctl that is put back when dropped.
struct Sysctl<'a> {
    namespace: &'a Namespace,
    name: String,
    before: String,
}

impl<'a> Sysctl<'a> {
    fn set(namespace: &'a Namespace, name: &str, value: &str) -> Sysctl<'a> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let before = namespace.run(|| std::fs::read_to_string(path).expect("the kernel has this sysctl"));
        namespace.set_sysctl(name, value);
        Sysctl { namespace, name: name.to_owned(), before: before.trim().to_owned() }
    }
}

impl Drop for Sysctl<'_> {
    fn drop(&mut self) {
        self.namespace.set_sysctl(&self.name, &self.before);
    }
}

/// The frame goes to one neighbour, the packet in it to another.
fn another_neighbours_mac(world: &Tricks, v6: bool) {
    let (free, peer, guard) = (front(&world.free, v6), front(&world.peer, v6), front(&world.guard, v6));
    let attacker = wire_of(&world.free);
    let datagram =
        |data: &[u8]| wire::packet(free, peer, UDP, &wire::udp(free, peer, (wire::fresh_number(), CLOSED), data));
    let to_peer = neighbour(world.free.namespace(), peer);
    let to_guard = neighbour(world.free.namespace(), guard);
    let at_peer = wire_of(&world.peer);
    attacker.send(to_peer, &datagram(b"to the peer"));
    assert!(at_peer.hears(b"to the peer", PATIENCE));
    let at_guard = wire_of(&world.guard);
    attacker.send(to_guard, &datagram(b"to the guard"));
    attacker.send(wire::BROADCAST, &datagram(b"to the guard"));
    assert_by_packets!(
        !at_guard.hears(b"to the guard", SHORT),
        "a frame reached a container that its packet was not for"
    );
}

/// What is for several endpoints at once, by the address or by the frame.
fn groups(world: &Tricks, v6: bool) {
    let free = front(&world.free, v6);
    let attacker = wire_of(&world.free);
    let listener = wire_of(&world.guard);
    let addresses: &[&str] = if v6 {
        &["ff02::1", "ff02::fb", "ff05::1", "ff0e::1", "ff02::1:ff00:1"]
    } else {
        &["255.255.255.255", "10.88.0.255", "224.0.0.1", "224.0.0.251", "239.1.2.3"]
    };
    for group in addresses {
        let group: IpAddr = group.parse().expect("an address");
        let datagram = |port: u16, data: &[u8]| {
            wire::packet(free, group, UDP, &wire::udp(free, group, (wire::fresh_number(), port), data))
        };
        let to = group_mac(group);
        let marker = format!("open for all of {group}");
        attacker.send(to, &datagram(OPEN, marker.as_bytes()));
        assert!(listener.hears(marker.as_bytes(), PATIENCE), "{marker}");
        attacker.send(to, &datagram(CLOSED, b"closed for one"));
    }
    assert_by_packets!(!listener.hears(b"closed for one", SHORT), "a group's address reached a closed port");
}

fn group_mac(group: IpAddr) -> Mac {
    match group {
        IpAddr::V4(group) if group.is_multicast() => {
            let [_, b, c, d] = group.octets();
            [0x01, 0x00, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V4(_) => wire::BROADCAST,
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            [0x33, 0x33, a, b, c, d]
        }
    }
}

/// Destinations that are no endpoint of the bridge, in frames that its containers receive.
fn destinations_of_nobody(world: &Tricks, v6: bool) {
    let free = front(&world.free, v6);
    let attacker = wire_of(&world.free);
    let listener = wire_of(&world.guard);
    let web = world.web.address("side", v6).to_string();
    let texts: &[&str] = if v6 {
        &["::1", "::", "2001:db8:88::ffff", "2001:db8:89::1", "::ffff:10.88.0.5", "fe80::1", "64:ff9b::a58:5", &web]
    } else {
        &["0.0.0.0", "10.88.0.0", "10.88.0.200", "10.89.0.255", "127.0.0.1", "169.254.1.1", "203.0.113.9", &web]
    };
    let guard = neighbour(world.free.namespace(), front(&world.guard, v6));
    for destination in texts {
        let destination: IpAddr = destination.parse().expect("an address");
        let datagram = wire::udp(free, destination, (wire::fresh_number(), OPEN), b"for nobody here");
        for to in [guard, wire::BROADCAST] {
            attacker.send(to, &wire::packet(free, destination, UDP, &datagram));
        }
    }
    assert_by_packets!(!listener.hears(b"for nobody here", SHORT), "a container got what was not for it");
}

/// Sources that no container of the network has.
fn sources_of_nobody(world: &Tricks, v6: bool) {
    let peer = front(&world.peer, v6);
    let attacker = wire_of(&world.free);
    let listener = wire_of(&world.peer);
    let to = neighbour(world.free.namespace(), peer);
    let web = world.web.address("side", v6).to_string();
    let texts: &[&str] = if v6 {
        &["::", "::1", "ff02::1", "::ffff:10.88.0.2", "fe80::1", "2001:db8:88::1", "2001:db8:88::ffff", &web]
    } else {
        &["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.88.0.1", "10.88.0.200", "203.0.113.9", &web]
    };
    let datagram = |source: IpAddr, data: &[u8]| {
        wire::packet(source, peer, UDP, &wire::udp(source, peer, (wire::fresh_number(), OPEN), data))
    };
    attacker.send(to, &datagram(front(&world.free, v6), b"as myself"));
    assert!(listener.hears(b"as myself", PATIENCE));
    for source in texts {
        attacker.send(to, &datagram(source.parse().expect("an address"), b"as nobody"));
    }
    assert_by_packets!(!listener.hears(b"as nobody", SHORT), "a source that is no container's passed");
}

/// The host's own loopback address, which an engine without `docker-proxy` makes routable on its bridges.
fn loopback_of_the_host(world: &Tricks) {
    let _restored = Sysctl::set(world.lab.host(), "net.ipv4.conf.all.route_localnet", "1");
    let server = world.lab.host().run(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).expect("the host has a loopback");
    let port = server.local_addr().expect("it is bound").port();
    let to = neighbour(world.free.namespace(), gateway(false));
    let hears = |patience: Duration| {
        server.set_read_timeout(Some(patience)).expect("a timeout is not zero");
        server.recv(&mut [0; 64]).is_ok()
    };
    let send = |from: &Container| {
        let (source, destination) = (front(from, false), Ipv4Addr::LOCALHOST.into());
        let datagram = wire::udp(source, destination, (wire::fresh_number(), port), b"to the loopback");
        wire_of(from).send(to, &wire::packet(source, destination, UDP, &datagram));
    };
    send(&world.free);
    assert!(hears(PATIENCE), "an open container's datagram arrives");
    send(&world.shut);
    assert_by_packets!(!hears(SHORT), "a closed container reached the host's loopback");
}

pub(crate) fn group() -> Group<Tricks> {
    let scenarios = [forgeries(), destinations(), packets::scenarios(), peers::scenarios(), names::scenarios()];
    Group { name: "tricks", build: Tricks::build, scenarios: scenarios.into_iter().flatten().collect() }
}

fn scenario(
    name: &'static str,
    path: &'static str,
    family: &'static str,
    accident: &'static str,
    rests_on: &'static [Protection],
    run: fn(&mut Tricks),
) -> Scenario<Tricks> {
    Scenario { name, path, family, accident, rests_on, run }
}

/// What claims to be something that it is not.
fn forgeries() -> Vec<Scenario<Tricks>> {
    vec![
        scenario("a_forged_error_carries_nothing_to_a_neighbour_v4", BRIDGED, "IPv4", "", &[SHUT], |w: &mut Tricks| {
            forged_error(w, false);
        }),
        scenario("a_forged_error_carries_nothing_to_a_neighbour_v6", BRIDGED, "IPv6", "", &[SHUT], |w| {
            forged_error(w, true);
        }),
        scenario("a_forged_error_carries_nothing_out_v4", OUT, "IPv4", "", &[SHUT], |w| {
            forged_error_to_the_outside(w, false);
        }),
        scenario("a_forged_error_carries_nothing_out_v6", OUT, "IPv6", "", &[SHUT], |w| {
            forged_error_to_the_outside(w, true);
        }),
        scenario(
            "a_helpers_expectation_opens_no_port",
            BRIDGED,
            "IPv4",
            "FTP helper assigned by somebody",
            &[GUARD],
            |w| helper_opens_nothing(w),
        ),
        scenario(
            "an_ungoverned_containers_address_is_not_claimed_from_outside_v4",
            IN,
            "IPv4",
            "",
            &[Rules("gate: address of a bridge network from elsewhere")],
            |w| outside_claims_to_be_a_container(w, false),
        ),
        scenario(
            "an_ungoverned_containers_address_is_not_claimed_from_outside_v6",
            IN,
            "IPv6",
            "",
            &[Rules("gate: address of a bridge network from elsewhere")],
            |w| outside_claims_to_be_a_container(w, true),
        ),
        scenario("only_endpoints_are_sources_v4", BRIDGED, "IPv4", "", SOURCES, |w| sources_of_nobody(w, false)),
        scenario("only_endpoints_are_sources_v6", BRIDGED, "IPv6", "", SOURCES, |w| sources_of_nobody(w, true)),
    ]
}

/// What goes where policy does not look at first.
fn destinations() -> Vec<Scenario<Tricks>> {
    vec![
        scenario("a_frame_and_its_packet_have_one_receiver_v4", BRIDGED, "IPv4", "", &[Protection::Table], |w| {
            another_neighbours_mac(w, false);
        }),
        scenario("a_frame_and_its_packet_have_one_receiver_v6", BRIDGED, "IPv6", "", &[Protection::Table], |w| {
            another_neighbours_mac(w, true);
        }),
        scenario("group_addresses_reach_no_closed_port_v4", BRIDGED, "IPv4", "", &[GUARD], |w| groups(w, false)),
        scenario("group_addresses_reach_no_closed_port_v6", BRIDGED, "IPv6", "", &[GUARD], |w| groups(w, true)),
        scenario(
            "only_endpoints_are_destinations_v4",
            BRIDGED,
            "IPv4",
            "",
            &[Rules("gate: unknown destination")],
            |w| destinations_of_nobody(w, false),
        ),
        scenario(
            "only_endpoints_are_destinations_v6",
            BRIDGED,
            "IPv6",
            "",
            &[Rules("gate: unknown destination")],
            |w| destinations_of_nobody(w, true),
        ),
        scenario("the_hosts_loopback_is_closed", TO_HOST, "IPv4", "route_localnet switched on", &[SHUT], |w| {
            loopback_of_the_host(w);
        }),
    ]
}
