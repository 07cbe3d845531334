//! From a container to the host that it runs on: egress policy is asked in INPUT.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, UdpSocket};
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use socket2::{Domain, Socket, Type};

use crate::scenario::{Group, Scenario, World};
use crate::support::lab::{HOST, OUTSIDE};
use crate::support::world::Policies;
use crate::support::{Container, Controller, Engine, Lab, Probe, Responder, Source, Survey, Target, assert_by_packets};

const PORT: u16 = 7000;
const LINK_LOCAL_PORT: u16 = 7001;

const CLOSED: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: closed}
spec: {selector: app == 'closed', types: [Egress]}
";

/// A host with a server of its own, and two containers: one that may send nothing, and one that no policy selects.
pub(crate) struct Host {
    // Dropped in this order: the controller before the laboratory.
    controller: Controller,
    closed: Container,
    open: Container,
    _server: Responder,
    lab: Lab,
}

impl World for Host {
    fn lab(&self) -> &Lab {
        &self.lab
    }

    fn controller(&mut self) -> &mut Controller {
        &mut self.controller
    }
}

impl Host {
    fn build() -> Host {
        let lab = Lab::start(Engine::Installed);
        lab.network("front", &["10.78.0.0/24", "2001:db8:78::/64"]);
        lab.network("back", &["10.79.0.0/24", "2001:db8:79::/64"]);
        let start = |name: &str| {
            let container = lab.container(name).network("front").label("app", name);
            container.option("--dns").option(&OUTSIDE[0].to_string()).start()
        };
        let [closed, open] = ["closed", "open"].map(start);
        let policies = Policies::new(&lab);
        policies.save("closed.yaml", CLOSED);
        let mut controller = lab.dockgate(&["run", "--policies", &policies.argument(), "--resync-interval", "1s"]);
        controller.wait_until_ready();
        let server = Responder::start(lab.host(), &[PORT]);
        Host { controller, closed, open, _server: server, lab }
    }

    /// Both containers probe an address of the host; only the open one may get an answer.
    fn expect_closed_to(&self, addresses: &[IpAddr]) {
        let target = Target {
            name: "host".to_owned(),
            addresses: addresses.to_vec(),
            probes: vec![Probe::Tcp(PORT), Probe::Udp(PORT), Probe::Ping],
            home: Some(self.lab.host().clone()),
        };
        let source = |container: &Container| Source::new(container.name(), container.namespace());
        let survey = Survey::new().source(source(&self.closed)).source(source(&self.open)).target(target);
        survey.expect(|cell| cell.source == "open");
    }
}

impl Host {
    fn address_of(&self, interface: &str, v6: bool) -> IpAddr {
        let family = if v6 { "-6" } else { "-4" };
        let listed = self.lab.run(&["ip", "-o", family, "address", "show", "dev", interface]);
        let link_local = |line: &&str| !v6 || line.contains("scope link");
        let line = listed.lines().find(link_local).unwrap_or_else(|| panic!("{interface} has no address: {listed}"));
        let address = line.split_whitespace().nth(3).and_then(|text| text.split('/').next()).expect("an address");
        address.parse().expect("ip prints addresses")
    }

    /// Both containers try the host's link-local address on their network, from one of their own addresses.
    fn expect_link_local(&self, from_link_local: bool, open: &[&str]) {
        let bridge = self.lab.docker(&["network", "inspect", "--format", "br-{{slice .Id 0 12}}", "front"]);
        let IpAddr::V6(gateway) = self.address_of(&bridge, true) else { panic!("an IPv6 address") };
        let _server = self.lab.host().run(|| TcpListener::bind(("::", LINK_LOCAL_PORT))).expect("a free port");
        for container in [&self.closed, &self.open] {
            let global = container.address("front", true);
            let connected = container.namespace().run(|| {
                let scope = if_nametoindex("eth0").expect("Docker calls it so");
                let to = SocketAddrV6::new(gateway, LINK_LOCAL_PORT, 0, scope);
                let from = if from_link_local { Ipv6Addr::UNSPECIFIED } else { as_v6(global) };
                connect(from, to)
            });
            let expected = open.contains(&container.name());
            assert_by_packets!(connected.is_ok() == expected, "{} to {gateway}: {connected:?}", container.name());
        }
    }
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => address.to_ipv6_mapped(),
    }
}

fn connect(from: Ipv6Addr, to: SocketAddrV6) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from.into(), 0).into())?;
    socket.connect_timeout(&to.into(), Duration::from_millis(1500))
}

/// Asks the engine's name server, inside of a container, for the IPv4 address of a name. `None`: no answer.
fn resolve(container: &Container, name: &str) -> Option<usize> {
    // Header: id 7, recursion desired, one question. Question: the name in parts, type A, class IN.
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for part in name.split('.') {
        query.push(u8::try_from(part.len()).expect("a part of a name is short"));
        query.extend(part.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    container.namespace().run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        socket.send_to(&query, "127.0.0.11:53").ok()?;
        let mut answer = [0; 512];
        let (length, _) = socket.recv_from(&mut answer).ok()?;
        // Bytes 6 and 7 of the header: the number of answers.
        (length > 12).then(|| usize::from(answer[6]) << 8 | usize::from(answer[7]))
    })
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

pub(crate) fn group() -> Group<Host> {
    use crate::support::Protection::{Rules, Table, Together};
    // The table against spoofing closes it as well.
    const GATE: &[crate::support::Protection] = &[Together(&[Table, Rules("gate: unknown source")])];
    let scenario = |name, family, run| Scenario {
        name,
        path: "container → host",
        family,
        accident: "",
        rests_on: &[Rules("from network front")],
        run,
    };
    Group {
        name: "host",
        build: Host::build,
        scenarios: vec![
            scenario("own_gateway_is_closed_v4", "IPv4", |host: &mut Host| {
                host.expect_closed_to(&addresses(&["10.78.0.1"]));
            }),
            scenario("own_gateway_is_closed_v6", "IPv6", |host| host.expect_closed_to(&addresses(&["2001:db8:78::1"]))),
            scenario("another_networks_gateway_is_closed_v4", "IPv4", |host| {
                host.expect_closed_to(&addresses(&["10.79.0.1"]));
            }),
            scenario("another_networks_gateway_is_closed_v6", "IPv6", |host| {
                host.expect_closed_to(&addresses(&["2001:db8:79::1"]));
            }),
            scenario("the_hosts_other_address_is_closed_v4", "IPv4", |host| host.expect_closed_to(&HOST[..1])),
            scenario("the_hosts_other_address_is_closed_v6", "IPv6", |host| host.expect_closed_to(&HOST[1..])),
            scenario("the_default_bridge_is_closed_v4", "IPv4", |host| {
                host.expect_closed_to(&[host.address_of("docker0", false)]);
            }),
            scenario("the_gateways_link_local_address_is_closed_v6", "IPv6", |host| {
                host.expect_link_local(false, &["open"]);
            }),
            Scenario {
                // No address of that kind is classified, so that the gate is closed for it, whoever sends.
                rests_on: GATE,
                ..scenario("nobody_comes_from_a_link_local_address_v6", "IPv6", |host| {
                    host.expect_link_local(true, &[]);
                })
            },
            Scenario {
                path: "container → 127.0.0.11",
                rests_on: &[],
                ..scenario("names_of_containers_need_no_rule", "IPv4", |host| {
                    for container in [&host.closed, &host.open] {
                        assert_eq!(resolve(container, "open"), Some(1), "{}", container.name());
                    }
                })
            },
            Scenario {
                path: "container → 127.0.0.11 → outside",
                ..scenario("names_of_the_outside_need_a_rule", "IPv4", |host| {
                    for (container, expected) in [(&host.closed, false), (&host.open, true)] {
                        let server = host.lab.outside().run(|| UdpSocket::bind((OUTSIDE[0], 53))).expect("a free port");
                        server.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
                        // The question is what matters: nobody answers it.
                        resolve(container, "example.org");
                        let asked = server.recv_from(&mut [0; 512]).is_ok();
                        assert_by_packets!(asked == expected, "{} asks outside: {asked}", container.name());
                    }
                })
            },
        ],
    }
}
