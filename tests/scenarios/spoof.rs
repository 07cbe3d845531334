//! A container is judged as itself, whatever it sends.
//!
//! `mallory` has Docker's default capabilities, so she can send any frame; `eve` has `NET_ADMIN`, so she can give her
//! interface any address. Policy lets only `alice` reach `bob`. Every lie is followed by an honest frame the same way: a lie
//! counts as stopped when the honest frame has arrived and the lie has not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::scenario::{Group, Scenario, World};
use crate::support::Protection::{self, Rules};
use crate::support::frame::{
    ARP, BROADCAST, Ear, Hears, IPV6, Mac, Wire, advertisement, arp, frame, icmpv6, mac_of, solicitation, tagged, udp,
};
use crate::support::lab::{HOST, OUTSIDE};
use crate::support::world::{Policies, wait_for};
use crate::support::{Cell, Container, Controller, Engine, Lab, Probe, Survey, Target, assert_by_packets};

const PORT: u16 = 7100;
const GATEWAY: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 82, 0, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x82, 0, 0, 0, 0, 1))];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Addresses that bridges keep for their own protocols: that of LLDP, which the kernel treats apart, and another one.
const BRIDGE_PROTOCOLS: [Mac; 2] = [[0x01, 0x80, 0xc2, 0, 0, 0x0e], [0x01, 0x80, 0xc2, 0, 0, 0x03]];
/// How long an honest frame may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(3);

const ONLY_ALICE: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: only-alice}
spec: {selector: app == 'bob', types: [Ingress], ingress: [{action: Allow, source: {selector: app == 'alice'}}]}
";

pub(crate) struct Spoof {
    // Dropped in this order: the controller before the laboratory.
    controller: Controller,
    alice: Container,
    bob: Container,
    mallory: Container,
    eve: Container,
    /// Has alice's rights and an address that is used again; `None` while it is.
    former: Option<Container>,
    policies: Policies,
    bridge: String,
    lab: Lab,
}

impl World for Spoof {
    fn lab(&self) -> &Lab {
        &self.lab
    }

    fn controller(&mut self) -> &mut Controller {
        &mut self.controller
    }
}

/// Index of a family in pairs such as [`GATEWAY`].
const V4: usize = 0;
const V6: usize = 1;

impl Spoof {
    fn build() -> Spoof {
        let lab = Lab::start(Engine::Installed);
        lab.network("front", &["10.82.0.0/24", "2001:db8:82::/64"]);
        lab.network("back", &["10.83.0.0/24", "2001:db8:83::/64"]);
        let builder = |name: &str| lab.container(name).network("front").label("app", name).serve(&[80]);
        let builders = vec![
            builder("alice"),
            builder("bob"),
            builder("mallory"),
            builder("eve").option("--cap-add").option("NET_ADMIN"),
        ];
        let containers: [Container; 4] = lab.start_all(builders).try_into().expect("four were asked for");
        let [alice, bob, mallory, eve] = containers;
        let former = Some(with_former_address(&lab, "former"));
        let policies = Policies::new(&lab);
        policies.save("only-alice.yaml", ONLY_ALICE);
        let controller = start_controller(&lab, &policies);
        let id = lab.docker(&["network", "inspect", "--format", "{{.Id}}", "front"]);
        let bridge = format!("br-{}", &id[..12]);
        Spoof { controller, alice, bob, mallory, eve, former, policies, bridge, lab }
    }

    fn survey(&self) -> Survey {
        [&self.alice, &self.bob, &self.mallory, &self.eve]
            .into_iter()
            .fold(Survey::new(), |survey, container| survey.source(container.source()))
    }

    /// What the policy means, with honest packets.
    fn expect_policy(&self) {
        let probes = [Probe::Tcp(80), Probe::Udp(80), Probe::Ping];
        let survey = self.survey().target(self.bob.target(&probes)).target(self.alice.target(&probes));
        survey.expect(by_policy);
    }

    /// Has a container forget its neighbours, so that they are asked for again.
    fn forget_neighbours(&self, container: &Container) {
        self.inside(container, &["ip", "neigh", "flush", "all"]);
    }

    /// Runs a program of the machine in the network namespace of a container.
    fn inside(&self, container: &Container, command: &[&str]) -> String {
        let enter = format!("--net=/proc/{}/ns/net", container.process_id());
        self.lab.run(&[&["nsenter", enter.as_str()], command].concat())
    }
}

/// A container with alice's rights, under an address that is free again when it ends.
fn with_former_address(lab: &Lab, name: &str) -> Container {
    lab.container(name).network("front").ip("10.82.0.200").ip("2001:db8:82::200").label("app", "alice").start()
}

fn start_controller(lab: &Lab, policies: &Policies) -> Controller {
    let mut controller = lab.dockgate(&["run", "--policies", &policies.argument(), "--resync-interval", "1s"]);
    controller.wait_until_ready();
    controller
}

fn by_policy(cell: &Cell) -> bool {
    cell.target != "bob" || ["alice", "bob"].contains(&cell.source.as_str())
}

fn address(container: &Container, family: usize) -> IpAddr {
    container.address("front", family == V6)
}

fn wire(container: &Container) -> Wire {
    Wire::open(container.namespace(), "eth0")
}

fn mac(container: &Container) -> Mac {
    mac_of(container.namespace(), "eth0")
}

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address} is not an IPv4 address"),
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => panic!("{address} is not an IPv6 address"),
    }
}

/// The link-local address that a station forms from its MAC address.
fn link_local(mac: Mac) -> Ipv6Addr {
    let mut bytes = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, 0, 0, 0];
    bytes[13..].copy_from_slice(&mac[3..]);
    Ipv6Addr::from(bytes)
}

/// Panics unless the honest text arrives and the lies do not.
fn expect_stopped(ear: &impl Hears, honest: &[u8], lies: &[&[u8]]) {
    let (honest, lies) = ear.listen(&[honest], lies, PATIENCE);
    assert!(honest[0], "not even the honest frame has arrived: nothing is shown");
    assert_by_packets!(lies.iter().all(|heard| !heard), "a lie has arrived: {lies:?}");
}

/// An ARP request under one's own name, which reaches everybody.
fn honest_arp(mallory: &Container, about: IpAddr) -> Vec<u8> {
    let body = arp(1, (mac(mallory), v4(address(mallory, V4))), ([0; 6], v4(about)));
    frame(BROADCAST, mac(mallory), ARP, &body)
}

/// Mallory sends bob a datagram in alice's name, with her own MAC address and with alice's.
fn bridged(world: &mut Spoof, family: usize) {
    let (sender, ear) = (wire(&world.mallory), wire(&world.bob));
    let (alice, bob) = (address(&world.alice, family), address(&world.bob, family));
    for (from, text) in [(sender.mac, &b"a lie by mallory"[..]), (mac(&world.alice), b"a lie under her MAC too")] {
        let (protocol, packet) = udp(alice, bob, PORT, text);
        sender.send(&frame(ear.mac, from, protocol, &packet));
    }
    let honest = honest_arp(&world.mallory, GATEWAY[V4]);
    sender.send(&honest);
    expect_stopped(&ear, &honest[..42], &[b"a lie by mallory", b"a lie under her MAC too"]);
}

/// Mallory sends a datagram in alice's name by way of the gateway to whoever listens there.
fn by_the_gateway(world: &mut Spoof, family: usize, to: IpAddr, ear: &Ear) {
    let gateway = mac_of(world.lab.host(), &world.bridge);
    let sender = wire(&world.mallory);
    for (from, text) in [
        (address(&world.alice, family), &b"a lie by mallory"[..]),
        // Nobody's address, of this network and of another.
        (
            [IpAddr::from([10, 82, 0, 250]), IpAddr::from([0x2001, 0xdb8, 0x82, 0, 0, 0, 0, 0x250])][family],
            b"of nobody",
        ),
        (
            [IpAddr::from([10, 83, 0, 250]), IpAddr::from([0x2001, 0xdb8, 0x83, 0, 0, 0, 0, 0x250])][family],
            b"elsewhere",
        ),
        (address(&world.mallory, family), b"honestly mallory"),
    ] {
        let (protocol, packet) = udp(from, to, PORT, text);
        sender.send(&frame(gateway, sender.mac, protocol, &packet));
    }
    expect_stopped(ear, b"honestly mallory", &[b"a lie by mallory", b"of nobody", b"elsewhere"]);
}

fn routed(world: &mut Spoof, family: usize) {
    let ear = Ear::open(world.lab.outside(), PORT);
    by_the_gateway(world, family, OUTSIDE[family], &ear);
}

fn to_the_host(world: &mut Spoof, family: usize) {
    let ear = Ear::open(world.lab.host(), PORT);
    by_the_gateway(world, family, GATEWAY[family], &ear);
    by_the_gateway(world, family, HOST[family], &ear);
}

/// A frame to an address of bridge protocols enters the host by the port, past all rules that name the bridge.
fn to_the_host_as_a_bridge_protocol(world: &mut Spoof, family: usize) {
    let ear = Ear::open(world.lab.host(), PORT);
    let sender = wire(&world.mallory);
    let foreign = [IpAddr::from([198, 51, 100, 7]), IpAddr::from([0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 7])][family];
    let texts: [&[u8]; 2] = [b"LLDP", b"a bridge protocol"];
    for (to, text) in BRIDGE_PROTOCOLS.into_iter().zip(texts) {
        let (protocol, packet) = udp(foreign, HOST[family], PORT, text);
        sender.send(&frame(to, sender.mac, protocol, &packet));
        sender.send(&tagged(to, sender.mac, &[(0x8100, 0)], protocol, &packet));
    }
    let (protocol, packet) = udp(address(&world.mallory, family), HOST[family], PORT, b"honestly mallory");
    sender.send(&frame(mac_of(world.lab.host(), &world.bridge), sender.mac, protocol, &packet));
    expect_stopped(&ear, b"honestly mallory", &texts);
}

/// A container that nobody has classified sends such frames, plain and with tags of no VLAN, which the kernel takes off
/// after the bridge.
fn to_the_host_as_a_bridge_protocol_of_nobody(world: &Spoof, late: &Container, family: usize) {
    const NO_VLAN: [(u16, u16); 2] = [(0x8100, 0), (0x88a8, 0)];
    let ear = Ear::open(world.lab.host(), PORT);
    let (sender, honest) = (wire(late), wire(&world.mallory));
    let foreign = [IpAddr::from([198, 51, 100, 7]), IpAddr::from([0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 7])][family];
    let gateway = mac_of(world.lab.host(), &world.bridge);
    let ways: [(&[(u16, u16)], &str); 4] =
        [(&[], "plain"), (&NO_VLAN[..1], "one tag"), (&NO_VLAN[1..], "one of a provider"), (&[NO_VLAN[0]; 2], "two")];
    let mut lies = Vec::new();
    for (tags, name) in ways {
        let mut send = |to: Mac, from: IpAddr, text: String| {
            let (protocol, packet) = udp(from, HOST[family], PORT, text.as_bytes());
            sender.send(&match tags {
                [] => frame(to, sender.mac, protocol, &packet),
                tags => tagged(to, sender.mac, tags, protocol, &packet),
            });
            lies.push(text);
        };
        for to in BRIDGE_PROTOCOLS {
            send(to, foreign, format!("{name} to {:02x}", to[5]));
        }
        // By the bridge itself, in the name of one that is classified.
        send(gateway, address(&world.alice, family), format!("{name} to the gateway"));
    }
    let (protocol, packet) = udp(address(&world.mallory, family), HOST[family], PORT, b"honestly mallory");
    honest.send(&frame(gateway, honest.mac, protocol, &packet));
    expect_stopped(&ear, b"honestly mallory", &lies.iter().map(String::as_bytes).collect::<Vec<_>>());
}

/// Eve makes alice's address her own with the tools of an administrator, without and with alice's MAC address.
fn taken_over(world: &mut Spoof, family: usize) {
    let eve = &world.eve;
    let own = mac(eve);
    let text = |mac: Mac| mac.map(|byte| format!("{byte:02x}")).join(":");
    let taken = format!("{}/{}", address(&world.alice, family), if family == V4 { 32 } else { 128 });
    let undo = Undo(|| {
        world.inside(eve, &["ip", "link", "set", "eth0", "address", &text(own)]);
        world.inside(eve, &["ip", "address", "del", &taken, "dev", "eth0"]);
    });
    let _forgotten = Undo(|| world.forget_neighbours(&world.bob));
    // Without duplicate address detection, which would find alice.
    let mut add = vec!["ip", "address", "add", &taken, "dev", "eth0"];
    if family == V6 {
        add.push("nodad");
    }
    world.inside(eve, &add);
    let ear = wire(&world.bob);
    let mut lies = Vec::new();
    for change in [None, Some(mac(&world.alice))] {
        if let Some(mac) = change {
            eve.exec(&["ip", "link", "set", "eth0", "address", &text(mac)]);
        }
        let lie = format!("eve {} under {}", if change.is_some() { "disguised" } else { "plain" }, taken);
        let socket = eve.namespace().run(|| std::net::UdpSocket::bind((address(&world.alice, family), 0)));
        let socket = socket.expect("the address is eve's now");
        let sent = socket.send_to(lie.as_bytes(), (address(&world.bob, family), PORT));
        assert!(sent.is_ok(), "eve's own kernel sends for her: {sent:?}");
        lies.push(lie);
    }
    let honest = honest_arp(&world.mallory, GATEWAY[V4]);
    // Her kernel asks for bob's address first, and again after a second.
    let (_, heard) = ear.listen(&[b"never sent"], &lies.iter().map(String::as_bytes).collect::<Vec<_>>(), PATIENCE / 2);
    wire(&world.mallory).send(&honest);
    assert!(ear.listen(&[&honest[..42]], &[], PATIENCE).0[0], "bob hears nothing at all: nothing is shown");
    drop(undo);
    assert_by_packets!(heard.iter().all(|heard| !heard), "eve has taken alice's address: {heard:?}");
}

/// What an address that Docker did not give is good for.
fn added_address(world: &mut Spoof, family: usize) {
    let added = ["10.82.0.222", "2001:db8:82::222"][family];
    let prefix = if family == V4 { 24 } else { 64 };
    let interface = format!("{added}/{prefix}");
    let mut add = vec!["ip", "address", "add", &interface, "dev", "eth0"];
    if family == V6 {
        add.push("nodad");
    }
    world.inside(&world.eve, &add);
    let _undo = Undo(|| drop(world.inside(&world.eve, &["ip", "address", "del", &interface, "dev", "eth0"])));
    let ear = wire(&world.alice);
    let socket = world.eve.namespace().run(|| std::net::UdpSocket::bind((added, 0))).expect("the address is eve's");
    let _unsent = socket.send_to(b"from an added address", (address(&world.alice, family), PORT));
    let socket = world.eve.namespace().run(|| std::net::UdpSocket::bind((address(&world.eve, family), 0)));
    let sent = socket.expect("eve's own").send_to(b"honestly eve", (address(&world.alice, family), PORT));
    sent.expect("eve's kernel sends");
    expect_stopped(&ear, b"honestly eve", &[b"from an added address"]);
}

/// Runs something when it goes, also in a panic.
struct Undo<F: FnMut()>(F);

impl<F: FnMut()> Drop for Undo<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Mallory tells bob in ARP that an address is hers: as an answer, as a question, and unasked.
fn arp_for(world: &mut Spoof, whose: IpAddr) {
    let _forgotten = Undo(|| world.forget_neighbours(&world.bob));
    let (sender, ear) = (wire(&world.mallory), wire(&world.bob));
    let bob = (ear.mac, v4(address(&world.bob, V4)));
    let lies = [arp(2, (sender.mac, v4(whose)), bob), arp(1, (sender.mac, v4(whose)), bob)];
    let unasked = arp(2, (sender.mac, v4(whose)), (BROADCAST, v4(whose)));
    // What ARP says and what the frame says need not agree.
    let disguised = arp(2, (mac(&world.alice), v4(whose)), bob);
    sender.send(&frame(ear.mac, sender.mac, ARP, &lies[0]));
    sender.send(&frame(ear.mac, sender.mac, ARP, &lies[1]));
    sender.send(&frame(BROADCAST, sender.mac, ARP, &unasked));
    sender.send(&frame(ear.mac, sender.mac, ARP, &disguised));
    let honest = honest_arp(&world.mallory, GATEWAY[V4]);
    sender.send(&honest);
    expect_stopped(&ear, &honest[..42], &[&lies[0], &lies[1], &unasked, &disguised]);
}

/// Mallory tells bob in neighbour discovery that an address is hers.
fn neighbour_discovery_for(world: &mut Spoof, whose: IpAddr) {
    let _forgotten = Undo(|| world.forget_neighbours(&world.bob));
    let (sender, ear) = (wire(&world.mallory), wire(&world.bob));
    let (own, bob) = (v6(address(&world.mallory, V6)), v6(address(&world.bob, V6)));
    let lie = |from, body: Vec<u8>, kind| icmpv6(from, bob, kind, &body).1;
    let lies = [
        lie(own, advertisement(v6(whose), sender.mac), 136),
        lie(v6(whose), advertisement(v6(whose), sender.mac), 136),
        lie(link_local(sender.mac), advertisement(v6(whose), sender.mac), 136),
        lie(v6(whose), solicitation(bob, Some(sender.mac)), 135),
    ];
    for lie in &lies {
        sender.send(&frame(ear.mac, sender.mac, IPV6, lie));
    }
    let (_, honest) = icmpv6(own, bob, 135, &solicitation(bob, Some(sender.mac)));
    sender.send(&frame(ear.mac, sender.mac, IPV6, &honest));
    expect_stopped(&ear, &honest, &lies.each_ref().map(Vec::as_slice));
}

/// Mallory says what only routers say, under her own name, to alice, who is open.
fn router(world: &mut Spoof) {
    let _forgotten = Undo(|| {
        world.inside(&world.alice, &["ip", "-6", "route", "flush", "proto", "ra"]);
        world.inside(&world.alice, &["ip", "-6", "route", "flush", "cache"]);
        world.forget_neighbours(&world.alice);
    });
    let (sender, ear) = (wire(&world.mallory), wire(&world.alice));
    let own = link_local(sender.mac);
    let alice = v6(address(&world.alice, V6));
    // A router for half an hour; a redirect of what goes to bob.
    let advertisement = icmpv6(own, alice, 134, &[64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]).1;
    let bob = v6(address(&world.bob, V6));
    let redirect = icmpv6(own, alice, 137, &[&[0; 4][..], &own.octets(), &bob.octets()].concat()).1;
    for lie in [&advertisement, &redirect] {
        sender.send(&frame(ear.mac, sender.mac, IPV6, lie));
    }
    let honest = honest_arp(&world.mallory, GATEWAY[V4]);
    sender.send(&honest);
    expect_stopped(&ear, &honest[..42], &[&advertisement, &redirect]);
}

/// Mallory tries to have the bridge send her what is alice's.
fn bridge_learns(world: &mut Spoof) {
    let (mallory, alice, bob) = (wire(&world.mallory), wire(&world.alice), wire(&world.bob));
    let _forgotten = Undo(|| world.forget_neighbours(&world.bob));
    let hello = arp(1, (alice.mac, v4(address(&world.alice, V4))), ([0; 6], v4(GATEWAY[V4])));
    alice.send(&frame(BROADCAST, alice.mac, ARP, &hello));
    assert!(bob.listen(&[&hello], &[], PATIENCE).0[0], "the bridge knows where alice is");
    for to in [bob.mac, BROADCAST, BRIDGE_PROTOCOLS[0], BRIDGE_PROTOCOLS[1]] {
        mallory.send(&frame(to, alice.mac, ARP, &hello));
        mallory.send(&frame(to, alice.mac, 0x88b5, b"an experiment"));
    }
    // An answer for alice's MAC address goes where the bridge believes her to be.
    let answer = arp(2, (bob.mac, v4(address(&world.bob, V4))), (alice.mac, v4(address(&world.alice, V4))));
    bob.send(&frame(alice.mac, bob.mac, ARP, &answer));
    let arrived = alice.listen(&[&answer], &[], PATIENCE / 2).0[0];
    // So that the bridge knows better again.
    alice.send(&frame(BROADCAST, alice.mac, ARP, &hello));
    assert_by_packets!(arrived, "what is alice's went to mallory");
}

/// Frames that no rule about IP looks into.
fn other_protocols(world: &mut Spoof) {
    const VLAN: u16 = 0x8100;
    const SERVICE_VLAN: u16 = 0x88a8;
    const PPPOE: u16 = 0x8864;
    let (sender, ear) = (wire(&world.mallory), wire(&world.bob));
    let texts: [&[u8]; 5] =
        [b"tag of a VLAN", b"tag of no VLAN", b"two tags at once", b"PPP over Ethernet", b"experiment"];
    let packet = |text: &[u8]| udp(address(&world.mallory, V4), address(&world.bob, V4), PORT, text);
    for (text, tags) in
        [(texts[0], vec![(VLAN, 5)]), (texts[1], vec![(VLAN, 0)]), (texts[2], vec![(SERVICE_VLAN, 5), (VLAN, 6)])]
    {
        let (protocol, packet) = packet(text);
        sender.send(&tagged(ear.mac, sender.mac, &tags, protocol, &packet));
    }
    let (_, inner) = packet(texts[3]);
    let session =
        [&[0x11, 0, 0, 1][..], &u16::try_from(inner.len() + 2).unwrap_or(0).to_be_bytes(), &[0, 0x21], &inner];
    sender.send(&frame(ear.mac, sender.mac, PPPOE, &session.concat()));
    sender.send(&frame(ear.mac, sender.mac, 0x88b5, texts[4]));
    let honest = honest_arp(&world.mallory, GATEWAY[V4]);
    sender.send(&honest);
    expect_stopped(&ear, &honest[..42], &texts);
}

/// Neighbour discovery, multicast membership and policy's own traffic go on.
fn legitimate(world: &mut Spoof) {
    for container in [&world.alice, &world.bob, &world.mallory, &world.eve] {
        world.forget_neighbours(container);
    }
    world.expect_policy();
    let (sender, ear) = (wire(&world.mallory), wire(&world.bob));
    let (own4, own6, local) =
        (v4(address(&world.mallory, V4)), v6(address(&world.mallory, V6)), link_local(sender.mac));
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x1234);
    let to_bob = v6(address(&world.bob, V6));
    let report = [&[0, 0, 0, 1, 4, 0, 0, 0][..], &group.octets()].concat();
    let probe = arp(1, (sender.mac, Ipv4Addr::UNSPECIFIED), ([0; 6], own4));
    let announcement = arp(1, (sender.mac, own4), ([0; 6], own4));
    let nothing = Ipv6Addr::UNSPECIFIED;
    let messages = [
        icmpv6(nothing, ALL_NODES, 135, &solicitation(own6, None)).1,
        icmpv6(nothing, ALL_NODES, 135, &solicitation(local, None)).1,
        icmpv6(nothing, ALL_NODES, 143, &report[..]).1,
        icmpv6(local, ALL_NODES, 143, &report[..]).1,
        icmpv6(local, to_bob, 135, &solicitation(to_bob, Some(sender.mac))).1,
        icmpv6(own6, to_bob, 136, &advertisement(own6, sender.mac)).1,
        icmpv6(local, to_bob, 136, &advertisement(local, sender.mac)).1,
    ];
    sender.send(&frame(BROADCAST, sender.mac, ARP, &probe));
    sender.send(&frame(BROADCAST, sender.mac, ARP, &announcement));
    for message in &messages {
        // Unicast on the link, so that no bridge's idea of multicast groups matters.
        sender.send(&frame(ear.mac, sender.mac, IPV6, message));
    }
    let wanted: Vec<&[u8]> = [&probe, &announcement].into_iter().chain(&messages).map(Vec::as_slice).collect();
    let (heard, _) = ear.listen(&wanted, &[], PATIENCE);
    assert!(heard.iter().all(|heard| *heard), "{heard:?}");

    // The same in another's name is not legitimate.
    let lies = [
        arp(1, (sender.mac, Ipv4Addr::UNSPECIFIED), ([0; 6], v4(address(&world.alice, V4)))),
        icmpv6(nothing, ALL_NODES, 135, &solicitation(v6(address(&world.alice, V6)), None)).1,
    ];
    sender.send(&frame(BROADCAST, sender.mac, ARP, &lies[0]));
    sender.send(&frame(ear.mac, sender.mac, IPV6, &lies[1]));
    sender.send(&frame(BROADCAST, sender.mac, ARP, &announcement));
    expect_stopped(&ear, &announcement, &[&lies[0], &lies[1]]);
}

/// Link-local addresses are no way around policy: as source, as destination, to a neighbour and to the host.
fn link_local_is_closed(world: &mut Spoof, from_own_address: bool) {
    let (sender, ear) = (wire(&world.mallory), wire(&world.bob));
    let from = if from_own_address { v6(address(&world.mallory, V6)) } else { link_local(sender.mac) };
    let (protocol, packet) = udp(from.into(), link_local(ear.mac).into(), PORT, b"to a link-local address");
    sender.send(&frame(ear.mac, sender.mac, protocol, &packet));
    let honest = honest_arp(&world.mallory, GATEWAY[V4]);
    sender.send(&honest);
    expect_stopped(&ear, &honest[..42], &[b"to a link-local address"]);
}

/// A container that nobody has classified gets nothing and is reached by nobody.
fn expect_nothing(world: &Spoof, late: &Container) {
    let probes = [Probe::Tcp(80), Probe::Udp(80), Probe::Ping];
    let survey = Survey::new()
        .source(late.source())
        .source(world.mallory.source())
        .source(world.lab.host_source())
        .target(world.alice.target(&probes))
        .target(late.target_on("front", &probes));
    survey.expect(|cell| {
        cell.source == "late" && cell.target == "late@front" || cell.target == "alice" && cell.source != "late"
    });
    // By the network from which it may have come it has a way to the outside; there nothing is governed.
    if late.addresses_by_network().len() == 1 {
        let place = |name: &str, addresses: &[IpAddr]| Target {
            name: name.to_owned(),
            addresses: addresses.to_vec(),
            probes: vec![Probe::Ping],
            home: None,
        };
        let survey = Survey::new().source(late.source());
        survey.target(place("host", &GATEWAY)).target(place("outside", &OUTSIDE)).expect(|_| false);
    }
}

/// Removes a container, if there is one of this name.
fn remove(lab: &Lab, name: &str) {
    let id = lab.docker(&["ps", "--all", "--quiet", "--filter", &format!("name=^/{name}$")]);
    if !id.is_empty() {
        lab.docker(&["rm", "--force", &id]);
    }
}

/// Starts a container that the controller cannot learn of, has it tried, and ends it; also when a trial panics.
fn unclassified(world: &Spoof, attach: impl Fn(&Spoof) -> Container, trial: impl Fn(&Spoof, &Container)) {
    let _end = Undo(|| remove(&world.lab, "late"));
    let late = attach(world);
    trial(world, &late);
}

fn on_front(world: &Spoof) -> Container {
    world.lab.container("late").network("front").label("app", "late").serve(&[80]).start()
}

/// Attached while it runs.
fn moved_to_front(world: &Spoof) -> Container {
    let late = world.lab.container("late").network("back").label("app", "late").serve(&[80]).start();
    late.connect("front");
    late
}

/// Halts the controller meanwhile.
fn halted(world: &mut Spoof, scenario: impl FnOnce(&Spoof)) {
    world.controller.halt();
    let outcome = catch_unwind(AssertUnwindSafe(|| scenario(world)));
    world.controller.signal(Signal::SIGCONT);
    world.controller.wait_until_ready();
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// Kills the controller, and starts another one afterwards.
fn killed(world: &mut Spoof, scenario: impl FnOnce(&Spoof)) {
    world.controller.signal(Signal::SIGKILL);
    wait_for("the controller to be dead", || world.controller.ended().is_some());
    let outcome = catch_unwind(AssertUnwindSafe(|| scenario(world)));
    world.controller = start_controller(&world.lab, &world.policies);
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// An address is given to another container while the controller is halted. The rules still give it its former rights.
fn reused_address(world: &mut Spoof) {
    let probes = [Probe::Tcp(80), Probe::Udp(80), Probe::Ping];
    let to_bob = |world: &Spoof, from: &Container| {
        let survey = Survey::new().source(from.source()).source(world.alice.source());
        survey.target(world.bob.target(&probes))
    };
    let former = world.former.take().unwrap_or_else(|| with_former_address(&world.lab, "former"));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        to_bob(world, &former).expect(|_| true);
        halted(world, |world| {
            world.lab.docker(&["rm", "--force", "former"]);
            unclassified(
                world,
                |world| with_former_address(&world.lab, "late"),
                |world, late| drop(to_bob(world, late).expect(|cell| cell.source == "alice")),
            );
        });
    }));
    remove(&world.lab, "former");
    world.former = Some(with_former_address(&world.lab, "former"));
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// Somebody has switched bridge netfilter off, so that packets on one bridge pass no rule of iptables.
fn without_bridge_netfilter(world: &Spoof) {
    let switch = |value: &str| {
        for name in ["net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"] {
            world.lab.host().set_sysctl(name, value);
        }
        let link = ["ip", "link", "set", &world.bridge, "type", "bridge"];
        world.lab.run(&[&link[..], &["nf_call_iptables", value, "nf_call_ip6tables", value]].concat());
    };
    let _on = Undo(|| switch("1"));
    switch("0");
    unclassified(world, on_front, |world, late| {
        let probes = [Probe::Tcp(80), Probe::Udp(80), Probe::Ping];
        let survey = Survey::new().source(late.source()).source(world.mallory.source());
        survey.target(world.alice.target(&probes)).expect(|cell| cell.source != "late");
    });
}

/// A new container is classified and gets what policy gives it: on a new port, and on one that it gets while it runs.
fn newcomers_are_classified(world: &mut Spoof) {
    for attach in [on_front, moved_to_front] {
        unclassified(world, attach, |world, late| {
            let probes = [Probe::Tcp(80), Probe::Udp(80), Probe::Ping];
            let survey = Survey::new().source(late.source()).source(world.mallory.source());
            let survey = survey.target(world.alice.target(&probes)).target(world.bob.target(&probes));
            survey.target(late.target_on("front", &probes)).expect(|cell| cell.target != "bob");
        });
    }
}

/// Eve takes alice's MAC address while no controller runs. The next one knows from the table whose port is whose.
fn restart_with_a_stolen_mac(world: &mut Spoof) {
    let own = mac(&world.eve).map(|byte| format!("{byte:02x}")).join(":");
    let stolen = mac(&world.alice).map(|byte| format!("{byte:02x}")).join(":");
    world.eve.exec(&["ip", "link", "set", "eth0", "address", &stolen]);
    killed(world, |_| ());
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let probes = [Probe::Tcp(80), Probe::Ping];
        let survey = Survey::new().source(world.alice.source()).source(world.eve.source());
        survey.target(world.bob.target(&probes)).expect(|cell| cell.source == "alice");
        assert!(world.controller.status().status.success(), "nothing is wrong, alice is at her port and eve at hers");
    }));
    world.inside(&world.eve, &["ip", "link", "set", "eth0", "address", &own]);
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// Bridges that are not Docker's, and what goes over them, are left alone.
fn foreign_bridges(world: &mut Spoof) {
    let host = world.lab.host().clone();
    world.lab.run(&["sh", "-ec", "ip link add lx0 type bridge; ip link set lx0 up
        for i in 1 2; do ip link add lx0p$i type veth peer name lx0c$i; ip link set lx0p$i master lx0 up; ip link set lx0c$i up; done"]);
    let _gone = Undo(|| {
        drop(world.lab.run(&["sh", "-c", "ip link del lx0p1; ip link del lx0p2; ip link del lx0"]));
    });
    let (one, other) = (Wire::open(&host, "lx0c1"), Wire::open(&host, "lx0c2"));
    let others = Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 1);
    // IPv6, because Docker's own rules drop what is IPv4.
    let (_, packet) = udp(others.into(), others.into(), PORT, b"of another network");
    let hello = arp(1, (one.mac, [192, 0, 2, 1].into()), ([0; 6], [192, 0, 2, 2].into()));
    let texts: [&[u8]; 3] = [b"of another network", b"an experiment", &hello];
    one.send(&tagged(other.mac, one.mac, &[(0x8100, 5)], 0x88b5, texts[1]));
    one.send(&frame(other.mac, one.mac, IPV6, &packet));
    one.send(&frame(BROADCAST, one.mac, ARP, &hello));
    let (heard, _) = other.listen(&texts, &[], PATIENCE);
    assert!(heard.iter().all(|heard| *heard), "{heard:?}");
    // Addresses of containers are not theirs.
    let (_, packet) = udp(address(&world.alice, V6), others.into(), PORT, b"in the name of alice");
    one.send(&frame(other.mac, one.mac, IPV6, &packet));
    one.send(&frame(BROADCAST, one.mac, ARP, &hello));
    expect_stopped(&other, &hello, &[b"in the name of alice"]);
}

/// Two ports that are nobody's, on a bridge where policy is in force, cannot talk to each other.
fn ports_of_nobody(world: &mut Spoof) {
    let host = world.lab.host().clone();
    let make = "for i in 1 2; do ip link add dgp$i type veth peer name dgc$i
        ip link set dgp$i master $0; ip link set dgp$i up; ip link set dgc$i up; done";
    world.lab.run(&["sh", "-ec", make, &world.bridge]);
    let _gone = Undo(|| drop(world.lab.run(&["sh", "-c", "ip link del dgp1; ip link del dgp2"])));
    // Once the controller has seen them, which it does when the kernel tells it. Without a table it never has.
    let seen =
        "for i in $(seq 30); do nft list set bridge dockgate free | grep -q 'dgp1.*dgp2' && exit; sleep 0.1; done";
    world.lab.run(&["sh", "-c", &format!("({seen}) 2>/dev/null || true")]);
    let (one, other) = (Wire::open(&host, "dgc1"), Wire::open(&host, "dgc2"));
    let foreign = Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 1);
    let (protocol, packet) = udp(foreign.into(), foreign.into(), PORT, b"a foreign packet");
    let texts: [&[u8]; 4] = [b"a foreign packet", b"a tag of a VLAN", b"an experiment", b"to everybody"];
    one.send(&frame(other.mac, one.mac, protocol, &packet));
    one.send(&tagged(other.mac, one.mac, &[(0x8100, 5)], 0x88b5, texts[1]));
    one.send(&frame(other.mac, one.mac, 0x88b5, texts[2]));
    one.send(&frame(BROADCAST, one.mac, 0x88b5, texts[3]));
    let hello = arp(1, (one.mac, [192, 0, 2, 1].into()), ([0; 6], [192, 0, 2, 2].into()));
    one.send(&frame(BROADCAST, one.mac, ARP, &hello));
    expect_stopped(&other, &hello, &texts);
}

const BRIDGED: &str = "container → container, same bridge";
const ROUTED: &str = "container → outside";
const TO_HOST: &str = "container → host";
const TABLE: &[Protection] = &[Protection::Table];
const BOTH: &[Protection] = &[Protection::Together(&[Protection::Table, Rules("gate: ")])];

pub(crate) fn group() -> Group<Spoof> {
    let scenarios = lies().into_iter().chain(accidents()).collect();
    Group { name: "spoof", build: Spoof::build, scenarios }
}

fn scenario(
    name: &'static str,
    path: &'static str,
    family: &'static str,
    rests_on: &'static [Protection],
    run: fn(&mut Spoof),
) -> Scenario<Spoof> {
    Scenario { name, path, family, accident: "", rests_on, run }
}

/// While the controller follows what happens.
fn lies() -> Vec<Scenario<Spoof>> {
    vec![
        scenario("legitimate_traffic_goes_on", BRIDGED, "both", &[], legitimate),
        scenario("foreign_source_bridged_v4", BRIDGED, "IPv4", TABLE, |world| bridged(world, V4)),
        scenario("foreign_source_bridged_v6", BRIDGED, "IPv6", TABLE, |world| bridged(world, V6)),
        scenario("foreign_source_routed_v4", ROUTED, "IPv4", TABLE, |world| routed(world, V4)),
        scenario("foreign_source_routed_v6", ROUTED, "IPv6", TABLE, |world| routed(world, V6)),
        scenario("foreign_source_to_the_host_v4", TO_HOST, "IPv4", TABLE, |world| to_the_host(world, V4)),
        scenario("foreign_source_to_the_host_v6", TO_HOST, "IPv6", TABLE, |world| to_the_host(world, V6)),
        scenario("bridge_protocol_address_to_the_host_v4", TO_HOST, "IPv4", TABLE, |world| {
            to_the_host_as_a_bridge_protocol(world, V4);
        }),
        scenario("bridge_protocol_address_to_the_host_v6", TO_HOST, "IPv6", TABLE, |world| {
            to_the_host_as_a_bridge_protocol(world, V6);
        }),
        scenario("administrator_takes_an_address_v4", BRIDGED, "IPv4", TABLE, |world| taken_over(world, V4)),
        scenario("administrator_takes_an_address_v6", BRIDGED, "IPv6", TABLE, |world| taken_over(world, V6)),
        scenario("administrator_adds_an_address_v4", BRIDGED, "IPv4", BOTH, |world| added_address(world, V4)),
        scenario("administrator_adds_an_address_v6", BRIDGED, "IPv6", BOTH, |world| added_address(world, V6)),
        scenario("arp_for_a_neighbour", BRIDGED, "IPv4", TABLE, |world| {
            arp_for(world, address(&world.alice, V4));
        }),
        scenario("arp_for_the_gateway", BRIDGED, "IPv4", TABLE, |world| arp_for(world, GATEWAY[V4])),
        scenario("neighbour_discovery_for_a_neighbour", BRIDGED, "IPv6", TABLE, |world| {
            neighbour_discovery_for(world, address(&world.alice, V6));
        }),
        scenario("neighbour_discovery_for_the_gateway", BRIDGED, "IPv6", TABLE, |world| {
            neighbour_discovery_for(world, GATEWAY[V6]);
        }),
        scenario("container_is_no_router", BRIDGED, "IPv6", BOTH, router),
        scenario("bridge_does_not_learn_a_lie", BRIDGED, "both", TABLE, bridge_learns),
        scenario("vlan_tags_and_other_protocols", BRIDGED, "both", TABLE, other_protocols),
        scenario(
            "link_local_neighbour_from_own_address",
            BRIDGED,
            "IPv6",
            &[Rules("gate: unknown destination")],
            |world| {
                link_local_is_closed(world, true);
            },
        ),
        scenario("link_local_neighbour_from_link_local", BRIDGED, "IPv6", BOTH, |world| {
            link_local_is_closed(world, false);
        }),
        scenario("newcomers_are_classified", BRIDGED, "both", &[], newcomers_are_classified),
        scenario("ports_of_nobody_are_closed_to_each_other", BRIDGED, "both", TABLE, ports_of_nobody),
        scenario("foreign_bridges_are_left_alone", BRIDGED, "both", BOTH, foreign_bridges),
    ]
}

/// While it does not.
fn accidents() -> Vec<Scenario<Spoof>> {
    vec![
        Scenario {
            accident: "controller halted",
            ..scenario("unclassified_gets_nothing", "every way", "both", BOTH, |world| {
                halted(world, |world| unclassified(world, on_front, expect_nothing));
            })
        },
        Scenario {
            accident: "controller halted",
            ..scenario("bridge_protocol_address_to_the_host_of_nobody_v4", TO_HOST, "IPv4", TABLE, |world| {
                halted(world, |world| {
                    unclassified(world, on_front, |world, late| {
                        to_the_host_as_a_bridge_protocol_of_nobody(world, late, V4);
                    });
                });
            })
        },
        Scenario {
            accident: "controller halted",
            ..scenario("bridge_protocol_address_to_the_host_of_nobody_v6", TO_HOST, "IPv6", TABLE, |world| {
                halted(world, |world| {
                    unclassified(world, on_front, |world, late| {
                        to_the_host_as_a_bridge_protocol_of_nobody(world, late, V6);
                    });
                });
            })
        },
        Scenario {
            accident: "controller halted",
            ..scenario("connected_while_running_gets_nothing", "every way", "both", BOTH, |world| {
                halted(world, |world| unclassified(world, moved_to_front, expect_nothing));
            })
        },
        Scenario {
            accident: "controller killed",
            ..scenario("unclassified_gets_nothing_from_the_dead", "every way", "both", BOTH, |world| {
                killed(world, |world| unclassified(world, on_front, expect_nothing));
            })
        },
        Scenario {
            accident: "controller halted",
            ..scenario("reused_address_has_no_rights", BRIDGED, "both", TABLE, reused_address)
        },
        Scenario {
            accident: "controller halted, bridge netfilter off",
            ..scenario("unclassified_gets_nothing_unfiltered", BRIDGED, "both", TABLE, |world| {
                halted(world, without_bridge_netfilter);
            })
        },
        Scenario {
            accident: "controller killed",
            ..scenario("stolen_mac_address_outlasts_no_restart", BRIDGED, "both", &[], restart_with_a_stolen_mac)
        },
    ]
}
