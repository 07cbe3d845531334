//! Trees of networks and classes in the kernel: both variants take them, and packets go the way that `verdict` says.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use dockgate::compile::{self, compile};
use dockgate::inventory::file;
use dockgate::policy::{SourceFile, load};
use dockgate::ruleset::Ruleset;
use nix::sched::{CloneFlags, setns};

use super::namespace::{run, sh};
use super::{assert_settled, kernel, with_both_variants};

const EXPECT: &str = "a fixture of this test";

/// How long an answer takes at most.
const PATIENCE: Duration = Duration::from_millis(400);

/// Bridges that begin like each other; one has all bytes that a name can have. Who is on them is told by the labels.
const BRIDGES: [(&str, &str); 4] =
    [("br-1", "closed"), ("br-10", "open"), ("br-100", "shut"), ("br-1000000000-a", "open")];
/// More networks and more classes than stand in a row.
const MORE: usize = 12;

fn policy(label: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: {label}}}\n\
         spec: {{selector: has({label}), {spec}}}\n"
    )
}

fn ruleset() -> Ruleset {
    let mut policies = vec![
        policy("closed", "types: [Egress]"),
        policy("open", "types: [Ingress, Egress], ingress: [{action: Allow}], egress: [{action: Allow}]"),
        policy("shut", "types: [Ingress]"),
    ];
    let (mut networks, mut containers) = (Vec::new(), Vec::new());
    for (number, (bridge, label)) in BRIDGES.iter().enumerate() {
        networks.push(format!(
            "    - {{name: n{number}, bridge: {bridge}, subnets: [10.7.{number}.0/24, 'fd07:{number}::/64'], \
             gateways: [10.7.{number}.1, 'fd07:{number}::1']}}\n"
        ));
        let addresses = format!("ipv4Address: 10.7.{number}.2, ipv6Address: 'fd07:{number}::2'");
        containers.push(format!(
            "    - {{name: c{number}, labels: {{{label}: ''}}, networks: [{{name: n{number}, {addresses}}}]}}\n"
        ));
    }
    for number in 0..MORE {
        networks.push(format!("    - {{name: m{number}, bridge: br-m{number}, subnets: [10.8.{number}.0/24]}}\n"));
        policies.push(policy(&format!("more{number}"), "types: [Ingress, Egress]"));
        containers.extend(
            (0..BRIDGES.len()).map(|of| {
                format!("    - {{name: more{of}-{number}, labels: {{more{number}: ''}}, networks: [n{of}]}}\n")
            }),
        );
    }
    let (networks, containers, policies) = (networks.concat(), containers.concat(), policies.concat());
    let inventory = format!(
        "apiVersion: dockgate.io/v1alpha1\nkind: Inventory\nmetadata: {{name: world}}\nspec:\n  networks:\n{networks}  \
         containers:\n{containers}"
    );
    let (inventory, findings) = file::load(&SourceFile::new("inventory.yaml", &inventory));
    assert!(findings.is_empty(), "{findings:#?}");
    let policies = load(&[SourceFile::new("p.yaml", &policies)]);
    assert!(policies.diagnostics.is_empty(), "{:#?}", policies.diagnostics);
    let compiled = compile(&policies.policies, &inventory, &compile::Options::default());
    // Without the table against spoofing, which knows nothing of networks and classes.
    Ruleset { anti_spoofing: None, ..compiled.ruleset }
}

/// A namespace for the container on each bridge, removed whatever becomes of the test.
struct Containers(Vec<String>);

impl Containers {
    fn make() -> Containers {
        sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0; \
            ip link set lo up");
        (0..MORE).for_each(|number| drop(sh(&format!("ip link add br-m{number} type bridge"))));
        let inode = std::fs::read_link("/proc/thread-self/ns/net").expect(EXPECT).to_string_lossy().into_owned();
        let own = inode.trim_matches(|c: char| !c.is_ascii_digit()).to_owned();
        let mut containers = Containers(Vec::new());
        for (number, (bridge, _)) in BRIDGES.iter().enumerate() {
            let namespace = format!("dgt-d-{own}-{number}");
            sh(&format!("ip netns add {namespace}"));
            containers.0.push(namespace.clone());
            sh(&format!(
                "ip link add {bridge} type bridge; ip link set {bridge} up; ip addr add 10.7.{number}.1/24 dev {bridge}; \
                 ip addr add fd07:{number}::1/64 dev {bridge} nodad; \
                 ip link add v{number} type veth peer name eth0 netns {namespace}; \
                 ip link set v{number} master {bridge} up; ip -n {namespace} link set lo up; \
                 ip -n {namespace} link set eth0 up; ip -n {namespace} addr add 10.7.{number}.2/24 dev eth0; \
                 ip -n {namespace} addr add fd07:{number}::2/64 dev eth0 nodad; \
                 ip -n {namespace} route add default via 10.7.{number}.1; \
                 ip -n {namespace} route add default via fd07:{number}::1"
            ));
        }
        containers
    }

    /// Whether a SYN arrives: nobody listens, and whoever gets it says so.
    fn reaches(&self, from: Option<usize>, to: IpAddr) -> bool {
        let to = SocketAddr::new(to, 80);
        let arrives = move || match TcpStream::connect_timeout(&to, PATIENCE) {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionRefused,
        };
        let Some(from) = from else { return arrives() };
        let entered = File::open(format!("/run/netns/{}", self.0[from])).expect(EXPECT);
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(entered, CloneFlags::CLONE_NEWNET).expect(EXPECT);
                arrives()
            });
            inside.join().expect(EXPECT)
        })
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        self.0.iter().for_each(|namespace| drop(run("ip", &["netns", "del", namespace])));
    }
}

fn address(v6: bool, network: usize, host: u8) -> IpAddr {
    let text = if v6 { format!("fd07:{network}::{host}") } else { format!("10.7.{network}.{host}") };
    text.parse().expect(EXPECT)
}

#[test]
fn packets_find_their_network_and_class_among_names_that_begin_like_each_other() {
    with_both_variants(|variant| {
        let containers = Containers::make();
        for network in 0..BRIDGES.len() {
            let arrives = || [false, true].iter().all(|v6| containers.reaches(None, address(*v6, network, 2)));
            assert!((0..20).any(|_| arrives()), "{variant}: the bridge of {network} works");
        }
        let desired = ruleset();
        let mut kernel = kernel(variant);
        assert_eq!(kernel.repair(&desired).expect("a kernel that can enforce").problems, []);
        let observed = kernel.observe().expect("a kernel that can enforce");
        assert_eq!(observed.after(&desired), observed, "the state that was expected is the one that is there");
        assert_settled(variant, &desired);
        let rules = sh(&format!("iptables-{variant} -t mangle -S; iptables-{variant} -S"));
        for wanted in
            ["-A DG-FORWARD -i br-1+ ", "-A DG-FORWARD -o br-1+ ", "-A DG-INPUT -i br-1+ ", "-A DG-OUTPUT -o br-1+ "]
        {
            assert!(rules.contains(wanted), "{variant}: {wanted}in {rules}");
        }
        assert!(rules.contains("--match-set dg-4-0-out-n0-"), "{variant}: there are branches in {rules}");
        for v6 in [false, true] {
            for (from, (_, label)) in BRIDGES.iter().enumerate() {
                let host = containers.reaches(Some(from), address(v6, from, 1));
                assert_eq!(host, *label != "closed", "{variant}: {from} to this host");
                assert!(containers.reaches(None, address(v6, from, 2)), "{variant}: this host to {from}");
                for (to, (_, other)) in BRIDGES.iter().enumerate().filter(|(to, _)| *to != from) {
                    let reached = containers.reaches(Some(from), address(v6, to, 2));
                    assert_eq!(reached, *label != "closed" && *other != "shut", "{variant}: {from} to {to}, v6: {v6}");
                }
            }
        }
    });
}
