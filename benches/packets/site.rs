//! A host with two containers on one bridge, and the rules that judge what they send to each other.
//!
//! Input: a world, and what kind of rules. Output: three network namespaces, enforced and tried: what should pass passes,
//! and what policy forbids does not. None of them has a name, so they end with this process however it ends.
//!
//! Of the other endpoints of the world there are addresses, classes and bindings, and no cables.

use std::fmt::Write;
use std::io::Write as _;
use std::process::{Command, Stdio};

use dockgate::dataplane::{Kernel, Options, Problem, Variant};

use crate::namespace::Namespace;
use crate::traffic;
use crate::world::{ALLOWED, End, FORBIDDEN, World};

/// The chain of the rules that ours are compared with. It is entered where ours are: first in FORWARD of the mangle table.
const CHAIN: &str = "BENCH";

/// What judges the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// What no packet filter can do without: flows that are open pass, and one rule accepts.
    Bare,
    /// A rule per endpoint, that of the server last.
    Linear,
    /// What dockgate makes of the world's policies.
    Policy,
}

/// A host and its two containers.
#[derive(Debug)]
pub(crate) struct Site {
    /// The host.
    pub(crate) host: Namespace,
    /// The container that sends.
    pub(crate) client: Namespace,
    /// The container that receives.
    pub(crate) server: Namespace,
    /// The ends of the cables.
    pub(crate) ends: [End; 2],
    rules: Rules,
    variant: Variant,
}

impl Site {
    /// Builds it, enforces, and tries whether the rules do what they say.
    pub(crate) fn new(world: &World, rules: Rules, variant: Variant) -> Site {
        let ends = [world.client.clone(), world.server.clone()];
        let [host, client, server] = [(); 3].map(|()| Namespace::anonymous());
        let site = Site { host, client, server, ends, rules, variant };
        site.lay_cables(world);
        match rules {
            Rules::Policy => site.enforce(world),
            Rules::Bare | Rules::Linear => site.load(world),
        }
        site.try_rules();
        site
    }

    fn lay_cables(&self, world: &World) {
        let bridge = world.bridge.as_str();
        // One that is in the way of a packet is in the way of its measurement.
        for container in [&self.client, &self.server] {
            container.set_sysctl("net.ipv6.conf.all.disable_ipv6", "1");
            container.set_sysctl("net.core.somaxconn", "16384");
        }
        let mut script = format!(
            "ip link add {bridge} type bridge nf_call_iptables 1 nf_call_ip6tables 1\nip link set {bridge} up\n"
        );
        for (index, (container, end)) in [&self.client, &self.server].into_iter().zip(&self.ends).enumerate() {
            let (path, End { address, mac }, prefix) = (container.path(), end, world.prefix);
            write!(
                script,
                "ip link add veth{index} type veth peer name eth0 address {mac} netns {path}\n\
                 ip link set veth{index} master {bridge} up\n\
                 nsenter --net={path} ip address add {address}/{prefix} dev eth0\n\
                 nsenter --net={path} ip link set eth0 up\n"
            )
            .expect("a String takes everything");
        }
        self.on_host("sh", &["-e"], &script);
    }

    fn enforce(&self, world: &World) {
        let ruleset = world.ruleset();
        let outcome = self.host.run(|| {
            let kernel = Kernel::open(Options { variant: Some(self.variant) });
            kernel.and_then(|mut kernel| kernel.enforce(&ruleset))
        });
        let outcome = outcome.unwrap_or_else(|error| panic!("{:#}", anyhow::Error::from(error)));
        let of_a_world_without_cables =
            |problem: &&Problem| matches!(problem, Problem::NoBridge { .. } | Problem::Unbound { .. });
        let others: Vec<_> = outcome.problems.iter().filter(|problem| !of_a_world_without_cables(problem)).collect();
        assert!(others.is_empty(), "what users have is not what would be measured: {others:?}");
    }

    fn load(&self, world: &World) {
        let mut input = format!(
            "*mangle\n:{CHAIN} - [0:0]\n-A FORWARD -j {CHAIN}\n\
             -A {CHAIN} -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN\n"
        );
        match self.rules {
            Rules::Linear => {
                let ends = self.ends.iter().map(|end| end.address);
                for address in world.other_addresses().chain(ends) {
                    writeln!(input, "-A {CHAIN} -d {address} -j ACCEPT").expect("a String takes everything");
                }
                // That the connection passes shows that the last rule was reached.
                writeln!(input, "-A {CHAIN} -j DROP").expect("a String takes everything");
            }
            _ => writeln!(input, "-A {CHAIN} -j ACCEPT").expect("a String takes everything"),
        }
        input += "COMMIT\n";
        self.on_host(&format!("iptables-{}-restore", self.variant), &["--noflush"], &input);
    }

    /// Panics unless packets go through the rules, and those that policy forbids no further.
    fn try_rules(&self) {
        let is_policy = self.rules == Rules::Policy;
        for (port, should_pass) in [(*ALLOWED.start(), true), (FORBIDDEN, !is_policy)] {
            let connects = traffic::connects(self, port);
            let arrives = traffic::arrives(self, port);
            assert_eq!((connects, arrives), (should_pass, should_pass), "TCP and UDP to port {port}, {:?}", self.rules);
        }
        if !is_policy {
            let accepted = self.on_host(&format!("iptables-{}", self.variant), &["-t", "mangle", "-vS", CHAIN], "");
            let last = accepted.lines().rfind(|line| line.contains("-j ACCEPT")).expect("there is a rule that accepts");
            assert!(!last.contains("-c 0 "), "no packet has come to `{last}`: the bridge hides them from the rules");
        }
    }

    /// Runs a program on the host with `input`, to its successful end.
    fn on_host(&self, program: &str, arguments: &[&str], input: &str) -> String {
        self.host.run(|| {
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
            // It is closed at the end of the statement. None of these programs answers before it has read everything.
            let written = child.stdin.take().expect("standard input is piped").write_all(input.as_bytes());
            let output = child.wait_with_output().unwrap_or_else(|error| panic!("cannot wait for {program}: {error}"));
            written.unwrap_or_else(|error| panic!("{program} does not read its input: {error}"));
            assert!(output.status.success(), "{program} failed ({})", output.status);
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    }
}
