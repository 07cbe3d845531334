//! SCTP: what is allowed arrives, and nothing else does.
//!
//! The kernels here have no SCTP of their own, so that no server answers. But whoever gets an association's first packet says
//! so: that protocol is unknown to it. Silence means that the packet did not arrive.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dockgate::compile::{self, compile};
use dockgate::inventory::{Attachment, Container, ContainerId, Inventory, Network, NetworkId, PublishedPort};
use dockgate::net::Protocol;
use dockgate::policy::{SourceFile, load};
use dockgate::ruleset::Ruleset;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{SockaddrStorage, recvfrom};
use socket2::{Domain, Socket, Type};

use super::namespace::{run, sh};
use super::world::interface;
use super::{kernel, with_both_variants};

const EXPECT: &str = "a fixture of this test";

/// How long an answer takes at most.
const PATIENCE: Duration = Duration::from_millis(700);

const POLICY: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: server}
spec:
  selector: app == 'server'
  ingress:
    - {action: Allow, protocol: SCTP, source: {selector: app == 'friend'}, destination: {ports: [3868, signalling]}}
";

/// Hosts on `br-a` by the last number of their addresses; this host is the first.
const HOSTS: [(&str, u8); 3] = [("server", 2), ("friend", 3), ("stranger", 4)];

fn address(v6: bool, host: u8) -> IpAddr {
    if v6 { IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)]) } else { IpAddr::from([172, 18, 0, host]) }
}

fn inventory(judged: bool) -> Inventory {
    let network = Network {
        id: NetworkId("a".into()),
        name: "a".to_owned(),
        driver: "bridge".to_owned(),
        bridge: Some(interface("br-a")),
        subnets: ["172.18.0.0/24", "2001:db8::/64"].map(|subnet| subnet.parse().expect(EXPECT)).into(),
        gateways: [false, true].map(|v6| address(v6, 1)).into(),
        internal: false,
    };
    let container = |(name, host): (&str, u8)| {
        let port =
            PublishedPort { host_address: None, host_port: Some(9000), container_port: 3868, protocol: Protocol::SCTP };
        let published = if name == "server" { vec![port] } else { vec![] };
        let attachment = Attachment {
            network: NetworkId("a".into()),
            endpoint_id: name.into(),
            ipv4: Some(address(false, host)),
            ipv6: Some(address(true, host)),
            mac: None,
        };
        let labels = [("app", name), ("dockgate.io/ports", "signalling=2905/sctp")];
        Container {
            id: ContainerId(name.into()),
            name: name.to_owned(),
            image: "busybox".to_owned(),
            labels: labels.map(|(key, value)| (key.into(), value.into())).into(),
            attachments: vec![attachment],
            unenforceable: None,
            judged: published.iter().filter(|_| judged).cloned().collect(),
            published,
            listed: true,
            stated_namespace: None,
        }
    };
    Inventory {
        networks: [(network.id.clone(), network)].into(),
        containers: HOSTS.map(container).into_iter().map(|container| (container.id.clone(), container)).collect(),
        ..Inventory::default()
    }
}

/// Without the table against spoofing, which knows no protocols.
fn ruleset(judged: bool) -> Ruleset {
    let policies = load(&[SourceFile::new("p.yaml", POLICY)]).policies;
    let compiled = compile(&policies, &inventory(judged), &compile::Options::default());
    Ruleset { anti_spoofing: None, ..compiled.ruleset }
}

/// Namespaces of the hosts, removed whatever becomes of the test.
struct Neighbours(BTreeMap<&'static str, String>);

impl Neighbours {
    fn make() -> Neighbours {
        sh("sysctl -qw net.ipv6.conf.default.accept_dad=0; ip link set lo up; \
            ip link add br-a type bridge; ip link set br-a up; \
            ip addr add 172.18.0.1/24 dev br-a; ip addr add 2001:db8::1/64 dev br-a nodad");
        let inode = std::fs::read_link("/proc/thread-self/ns/net").expect(EXPECT).to_string_lossy().into_owned();
        let own = inode.trim_matches(|c: char| !c.is_ascii_digit()).to_owned();
        let make = |(name, host): (&'static str, u8)| {
            let namespace = format!("dgt-s-{own}-{host}");
            sh(&format!(
                "ip netns add {namespace}; ip link add v{host} type veth peer name eth0 netns {namespace}; \
                 ip link set v{host} master br-a up; ip -n {namespace} link set eth0 up; \
                 ip -n {namespace} addr add 172.18.0.{host}/24 dev eth0; \
                 ip -n {namespace} addr add 2001:db8::{host}/64 dev eth0 nodad"
            ));
            (name, namespace)
        };
        Neighbours(HOSTS.map(make).into())
    }

    /// Who says to `from` that it does not know the protocol, when `from` opens an association.
    fn answer(&self, from: &str, to: SocketAddr) -> Option<IpAddr> {
        let Some(namespace) = self.0.get(from) else { return opened(to) };
        let entered = File::open(format!("/run/netns/{namespace}")).expect(EXPECT);
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(entered, CloneFlags::CLONE_NEWNET).expect(EXPECT);
                opened(to)
            });
            inside.join().expect(EXPECT)
        })
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.0.values().for_each(|namespace| drop(run("ip", &["netns", "del", namespace])));
    }
}

/// Sends the first packet of an association, and waits for the ICMP error that quotes it.
fn opened(to: SocketAddr) -> Option<IpAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(50_000);
    let (domain, icmp) = if to.is_ipv6() { (Domain::IPV6, 58) } else { (Domain::IPV4, 1) };
    let raw = |protocol: u8| Socket::new(domain, Type::RAW, Some(i32::from(protocol).into())).expect(EXPECT);
    let ear = raw(icmp);
    let packet = init(NEXT.fetch_add(1, Ordering::Relaxed), to.port());
    // What this host's own rules drop cannot be sent.
    let _ = raw(Protocol::SCTP.number()).send_to(&packet, &SocketAddr::new(to.ip(), 0).into());
    // Protocol unreachable with the IP header before it, or a parameter problem with the next header.
    let (start, unknown) = if to.is_ipv6() { (0, [4, 1]) } else { (20, [3, 2]) };
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        ear.set_read_timeout(Some(left)).expect(EXPECT);
        let Ok((length, from)) = recvfrom::<SockaddrStorage>(ear.as_raw_fd(), &mut buffer) else { continue };
        let message = buffer.get(start..length).unwrap_or_default();
        if message.starts_with(&unknown) && message.windows(4).any(|bytes| bytes == &packet[..4]) {
            let from = from.expect(EXPECT);
            let v4 = from.as_sockaddr_in().map(|from| from.ip().into());
            return v4.or_else(|| from.as_sockaddr_in6().map(|from| from.ip().into()));
        }
    }
}

/// An INIT as RFC 9260 has it, 3.3.2.
fn init(source: u16, destination: u16) -> Vec<u8> {
    let mut packet = [source.to_be_bytes(), destination.to_be_bytes(), [0; 2], [0; 2], [0; 2], [0; 2]].concat();
    packet.extend([1, 0, 0, 20]);
    for word in [0x0102_0304_u32, 0x0001_0000, 0x0001_0001, 0x0506_0708] {
        packet.extend(word.to_be_bytes());
    }
    // CRC32c; connection tracking takes a packet with a wrong one for no packet of a flow.
    let crc = packet.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 })
    });
    packet[8..12].copy_from_slice(&(!crc).to_le_bytes());
    packet
}

/// Waits for the first answer: a bridge takes a moment to know its ports.
fn wait_for_answer(neighbours: &Neighbours, from: &str, to: SocketAddr) -> Option<IpAddr> {
    (0..10).find_map(|_| neighbours.answer(from, to))
}

#[test]
fn sctp_arrives_where_policy_allows_it_and_nowhere_else() {
    with_both_variants(|variant| {
        let neighbours = Neighbours::make();
        kernel(variant).repair(&ruleset(true)).expect("a kernel that can enforce");
        for v6 in [false, true] {
            let (server, host) = (address(v6, 2), address(v6, 1));
            for (name, from, to, port, answer) in [
                ("a port by number", "friend", server, 3868, Some(server)),
                ("a port by name", "friend", server, 2905, Some(server)),
                ("another port", "friend", server, 3869, None),
                ("another source", "stranger", server, 3868, None),
                ("a published port", "friend", host, 9000, Some(host)),
                ("a published port, another source", "stranger", host, 9000, None),
                ("a port that nobody published", "stranger", host, 9001, Some(host)),
                ("this host", "host", server, 3869, Some(server)),
            ] {
                let to = SocketAddr::new(to, port);
                let heard = match answer {
                    Some(_) => wait_for_answer(&neighbours, from, to),
                    None => neighbours.answer(from, to),
                };
                assert_eq!(heard, answer, "{name}, {from} to {to}, {variant}");
            }
        }
    });
}

/// `docker-proxy` sends an INIT that was dropped again, when the gate is open; of one that is refused it lets go.
#[test]
fn an_association_to_a_container_that_is_not_listed_is_refused() {
    with_both_variants(|variant| {
        let neighbours = Neighbours::make();
        let mut kernel = kernel(variant);
        kernel.repair(&ruleset(true)).expect("a kernel that can enforce");
        let server = SocketAddr::new(address(false, 2), 3868);
        assert_eq!(wait_for_answer(&neighbours, "host", server), Some(server.ip()), "{variant}: it is listed");
        kernel.repair(&ruleset(false)).expect("a kernel that can enforce");
        assert_eq!(neighbours.answer("host", server), Some(address(false, 1)), "{variant}: by this host itself");
    });
}
