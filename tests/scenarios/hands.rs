//! Other hands on the packet filter: whatever they take away or put above ours is found and repaired, and what they have
//! there for themselves stays as it is.
//!
//! While somebody else's hand is at work, three forbidden ways are probed every 20 ms: between two containers of one
//! bridge, from a container to this host, and from this host to an address that nobody has classified.
//!
//! firewalld itself is not run, because it needs a system bus; what it does to the tables is done in its place.

#![expect(clippy::print_stderr, reason = "how long a way was open is worth knowing")]

mod legacy;
mod switches;
mod ufw;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use crate::scenario::{Group, Scenario, World};
use crate::support::evidence::NOT_REPAIRED;
use crate::support::sabotage::bridge_filters;
use crate::support::world::{Policies, packet_filter, repair_limit, wait_for};
use crate::support::{
    Container, Controller, Engine, Iptables, Lab, Options, Protection, Responder, Vigil, assert_by_packets, command,
};

pub(crate) use legacy::legacy_group;

const PORT: u16 = 7000;

/// How long it must stay quiet after that.
const QUIET: Duration = Duration::from_millis(300);

/// Nothing in, nothing out.
const CLOSED: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: closed}
spec: {selector: app == 'closed', types: [Ingress, Egress]}
";

/// Rules of somebody else, made before dockgate has ever run.
const FOREIGN: &str = "
for f in iptables ip6tables; do
    $f -N OTHERS
    $f -A OTHERS -p tcp --dport 25 -m comment --comment 'a \"quoted\" word' -j DROP
    $f -A FORWARD -j OTHERS
    $f -I INPUT -p tcp --dport 22 -j ACCEPT
    $f -A OUTPUT -p udp --dport 9 -j DROP
    $f -t nat -A PREROUTING -p tcp --dport 2222 -j REDIRECT --to-ports 22
    $f -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
done
iptables -I DOCKER-USER -s 198.51.100.0/24 -j DROP
ipset create others hash:net
ipset add others 192.0.2.0/24
nft 'add table inet others; add chain inet others in { type filter hook input priority 10; };
    add rule inet others in tcp dport 23 drop'
";

/// A host on which others have rules, too.
pub(crate) struct Hands {
    // Dropped in this order: the controller before the laboratory.
    controller: Option<Controller>,
    forbidden: [(&'static str, Vigil); 3],
    allowed: Vigil,
    _containers: Vec<Container>,
    _server: Responder,
    interval: &'static str,
    policies: Policies,
    bridge: String,
    /// What was there before dockgate came.
    before: String,
    kept: Kept,
    lab: Lab,
}

impl World for Hands {
    fn lab(&self) -> &Lab {
        &self.lab
    }

    fn controller(&mut self) -> &mut Controller {
        self.controller.as_mut().expect("every scenario leaves a controller behind")
    }

    /// With the switches of bridges, which the next scenario relies on.
    fn in_force(&self) -> String {
        self.enforced()
    }
}

/// The packet filter as it is with dockgate in force, to be put back whole.
#[derive(Clone)]
struct Kept {
    namespace: String,
    tables: [(String, String); 2],
    sets: String,
    foreign: String,
}

impl Kept {
    fn of(lab: &Lab) -> Kept {
        Kept {
            namespace: format!("--net=/run/netns/{}", lab.name()),
            tables: ["iptables", "ip6tables"].map(|family| {
                let saved = lab.run(&[&lab.tool(&format!("{family}-save"))]) + "\n";
                (lab.tool(&format!("{family}-restore")), saved)
            }),
            sets: lab.run(&["ipset", "save"]) + "\n",
            foreign: lab.run(&["nft", "list", "table", "inet", "others"]) + "\n",
        }
    }
}

/// Puts the packet filter back when a scenario ends, also by a panic.
impl Drop for Kept {
    fn drop(&mut self) {
        let [(restore_v4, v4), (restore_v6, v6)] = &self.tables;
        let foreign = format!("table inet others\ndelete table inet others\n{}", self.foreign);
        for (command, input) in [
            (&["ipset", "restore", "-exist"][..], &self.sets),
            (&[restore_v4.as_str()], v4),
            (&[restore_v6.as_str()], v6),
            (&["nft", "-f", "-"], &foreign),
        ] {
            let entered = [&["nsenter", &self.namespace], command].concat();
            let output = command::output(&entered, input.as_bytes());
            // The laboratory is gone when the group ends; a scenario that could not be undone fails the next one.
            if !output.status.success() && fs::exists(&self.namespace["--net=".len()..]).unwrap_or(false) {
                eprintln!("cannot put back: {command:?}: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }
}

/// What the kernel must hold after the repair.
enum Then<'a> {
    /// Exactly what it held before.
    Same,
    /// That and one more rule of somebody else's, below ours.
    SameAnd(&'a str),
    /// Everything of ours; what others had is lost by their own hand.
    Ours,
}

impl Hands {
    /// With the default interval of ten seconds: what is repaired within one was notified.
    fn notified() -> Hands {
        Hands::build("10s", Engine::Installed)
    }

    /// With a short interval: there are no notifications of sets.
    fn read_back() -> Hands {
        Hands::build("400ms", Engine::Installed)
    }

    /// With the older iptables, of which the kernel notifies nobody.
    fn legacy() -> Hands {
        let variant = Some(Iptables::Legacy);
        Hands::build("400ms", Options { variant, ..Options::default() })
    }

    fn build(interval: &'static str, engine: impl Into<Options>) -> Hands {
        let lab = Lab::start(engine);
        lab.network("front", &["10.81.0.0/24", "2001:db8:81::/64"]);
        let id = lab.docker(&["network", "inspect", "--format", "{{.Id}}", "front"]);
        let start = |name: &str| lab.container(name).network("front").label("app", name).serve(&[PORT]).start();
        let [closed, open, peer] = ["closed", "open", "peer"].map(start);
        let server = Responder::start(lab.host(), &[PORT]);
        script(&lab, FOREIGN);
        let before = foreign(&lab);

        let policies = Policies::new(&lab);
        policies.save("closed.yaml", CLOSED);
        let mut controller = lab.dockgate(&["run", "--policies", &policies.argument(), "--resync-interval", interval]);
        controller.wait_until_ready();

        // Addresses that the engine did not give: the host may not reach them.
        let stray = ["10.81.0.99/24", "2001:db8:81::99/64"];
        for address in stray {
            let namespace = format!("/proc/{}/ns/net", peer.process_id());
            let enter = format!("--net={namespace}");
            command::run(&["nsenter", &enter, "ip", "address", "add", address, "dev", "eth0", "nodad"]);
        }
        let at =
            |text: &str| SocketAddr::new(text.split('/').next().unwrap_or(text).parse().expect("an address"), PORT);
        let of = |container: &Container| {
            [false, true].map(|v6| SocketAddr::new(container.address("front", v6), PORT)).to_vec()
        };
        let forbidden = [
            ("container → container", Vigil::start(open.namespace(), &of(&closed))),
            ("container → host", Vigil::start(closed.namespace(), &["10.81.0.1", "2001:db8:81::1"].map(at))),
            ("host → container", Vigil::start(lab.host(), &stray.map(at))),
        ];
        let allowed = Vigil::start(open.namespace(), &of(&peer));
        let kept = Kept::of(&lab);
        let bridge = format!("br-{}", &id[..12]);
        let hands = Hands {
            controller: Some(controller),
            forbidden,
            allowed,
            _containers: vec![closed, open, peer],
            _server: server,
            interval,
            policies,
            bridge,
            before,
            kept,
            lab,
        };
        assert_eq!(foreign(&hands.lab), hands.before, "dockgate's start changed foreign rules");
        hands.expect_quiet(Instant::now(), "before anything");
        hands
    }

    /// Lets somebody change something by a shell command on the host, and expects that within [`repair_limit`] everything
    /// forbidden is closed again for good, that the change was counted, and that what is allowed works.
    fn repairs_after(&mut self, change: &str, then: &Then) {
        let enforced = self.enforced();
        let before = foreign(&self.lab);
        let repairs = self.settled_repairs();
        let written = self.controller().written();
        let _undo = self.kept.clone();
        let limit = repair_limit();
        let began = Instant::now();
        script(&self.lab, change);
        while began.elapsed() < limit && !self.is_repaired(&enforced, then) {
            thread::sleep(Duration::from_millis(5));
        }
        let repaired = Instant::now();
        self.expect_closed(repaired, change);
        assert!(self.is_repaired(&enforced, then), "{NOT_REPAIRED}`{change}`, after {limit:?}");
        match then {
            Then::Same => assert_eq!(foreign(&self.lab), before, "foreign rules have changed"),
            Then::SameAnd(rule) => assert_eq!(without(&foreign(&self.lab), rule), before, "foreign rules have changed"),
            // With Docker's own rules gone nothing is forwarded any more.
            Then::Ours => {}
        }
        if !matches!(then, Then::Ours) {
            self.expect_open(change);
        }
        wait_for("the repair to be counted", || self.count_repairs() > repairs);
        let log = self.controller().log_since(written);
        assert!(log.contains("somebody changed our rules; repaired"), "the repair is not in the log:\n{log}");
        for (way, vigil) in &self.forbidden {
            let passed = vigil.passed_since(began);
            if let Some((last, _)) = passed.last() {
                let change = change.lines().next().unwrap_or_default();
                eprintln!("{way} was open for {} ms after `{change}`", last.duration_since(began).as_millis());
            }
        }
    }

    /// Expects that nothing forbidden passes from a moment on, for a while.
    fn expect_closed(&self, since: Instant, what: &str) {
        let sent: Vec<usize> = self.forbidden.iter().map(|(_, vigil)| vigil.sent()).collect();
        thread::sleep(QUIET);
        for ((way, vigil), sent) in self.forbidden.iter().zip(sent) {
            let passed = vigil.passed_since(since);
            assert_by_packets!(passed.is_empty(), "{way}: {} forbidden packets have passed: {what}", passed.len());
            assert!(vigil.sent() > sent, "{way}: nothing was probed");
        }
    }

    /// Expects that what is allowed passes, in both families.
    fn expect_open(&self, what: &str) {
        let begin = Instant::now();
        for v6 in [false, true] {
            wait_for(&format!("an allowed packet to pass (IPv6 {v6}): {what}"), || {
                self.allowed.passed_since(begin).iter().any(|(_, to)| to.is_ipv6() == v6)
            });
        }
    }

    fn expect_quiet(&self, since: Instant, what: &str) {
        self.expect_closed(since, what);
        self.expect_open(what);
    }

    /// What the kernel holds, with the switches of its bridges.
    fn enforced(&self) -> String {
        format!("{}\n{}", packet_filter(&self.lab), bridge_filters(&self.lab))
    }

    fn is_repaired(&self, enforced: &str, then: &Then) -> bool {
        let now = self.enforced();
        let firsts = |text: &str| first_rules(text);
        match then {
            Then::Same => now == enforced,
            Then::SameAnd(rule) => without(&now, rule) == enforced && firsts(&now) == firsts(enforced),
            Then::Ours => self.plan().status.code() == Some(0),
        }
    }

    /// What `dockgate plan` says is still to be done.
    fn plan(&self) -> Output {
        self.lab.dockgate_output(&["plan", "--policies", &self.policies.argument()])
    }

    fn count_repairs(&self) -> u64 {
        let controller = self.controller.as_ref().expect("every scenario leaves a controller behind");
        controller.document()["kernel"]["repairs"].as_u64().expect("a number")
    }

    /// The number of repairs, once it has ceased to grow: what a scenario before has put back is one more. 0 while the
    /// controller is halted and says nothing.
    fn settled_repairs(&mut self) -> u64 {
        let mut last = (0, Instant::now());
        // Longer than the pause between two read-backs, and than the interval where nothing is notified.
        while last.1.elapsed() < Duration::from_millis(700) {
            // It may have been sent the signal a moment ago, and not be halted yet.
            if self.controller().is_halted() {
                return 0;
            }
            let Some(now) = self.controller().document()["kernel"]["repairs"].as_u64() else { return 0 };
            if now != last.0 {
                last = (now, Instant::now());
            }
            thread::sleep(Duration::from_millis(50));
        }
        last.0
    }

    /// The name of a set of ours that starts so and has members.
    fn set(&self, prefix: &str) -> String {
        let saved = self.lab.run(&["ipset", "save"]);
        let name = saved
            .lines()
            .find_map(|line| line.strip_prefix("add ")?.split(' ').next().filter(|n| n.starts_with(prefix)));
        name.unwrap_or_else(|| panic!("no set {prefix} has members:\n{saved}")).to_owned()
    }
}

/// Runs somebody's shell script on the host. Its `iptables` is the one that the engine uses.
fn script(lab: &Lab, text: &str) {
    let mut path = "/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
    if let Some(variant) = lab.options().variant {
        let directory = lab.directory().join("commands");
        fs::create_dir_all(&directory).expect("the laboratory's directory takes directories");
        for command in
            ["iptables", "ip6tables"].iter().flat_map(|family| ["", "-save", "-restore"].map(|verb| (family, verb)))
        {
            let (family, verb) = command;
            // The program goes by the name that it is called by.
            let target = format!("/usr/sbin/{family}-{}{verb}", variant.name());
            let _made_before = symlink(target, directory.join(format!("{family}{verb}")));
        }
        path = format!("{}:{path}", directory.display());
    }
    lab.run(&["env", &format!("PATH={path}"), "sh", "-ec", text]);
}

/// Everything in the packet filter that is not ours, in order, without counters.
fn foreign(lab: &Lab) -> String {
    let mut all = String::new();
    for save in ["iptables-save", "ip6tables-save"] {
        for line in lab.run(&[&lab.tool(save)]).lines().filter(|line| !line.starts_with('#')) {
            let is_ours = [":DG-", "-A DG-"].iter().any(|head| line.starts_with(head)) || line.contains("-j DG-");
            if !is_ours {
                all += line.split(" [").next().unwrap_or(line);
                all += "\n";
            }
        }
    }
    let sets = lab.run(&["ipset", "save"]);
    let sets = sets.lines().filter(|line| !line.split(' ').nth(1).unwrap_or_default().starts_with("dg-"));
    all += &sets.collect::<Vec<_>>().join("\n");
    all + &lab.run(&["nft", "list", "table", "inet", "others"])
}

/// The text without the lines that are exactly this rule.
fn without(text: &str, rule: &str) -> String {
    let ends = text.ends_with('\n');
    let left: Vec<&str> = text.lines().filter(|line| *line != rule).collect();
    left.join("\n") + if ends { "\n" } else { "" }
}

/// The chains of a dump whose first rule is a jump of ours, each with the family's place in the dump.
fn first_rules(dump: &str) -> Vec<String> {
    let mut seen: Vec<&str> = Vec::new();
    let mut first = Vec::new();
    for line in dump.lines() {
        if line.starts_with('*') {
            seen.clear();
        } else if let Some(chain) = line.strip_prefix("-A ").and_then(|rule| rule.split(' ').next())
            && !seen.contains(&chain)
        {
            seen.push(chain);
            if line.contains("-j DG-") && !chain.starts_with("DG-") {
                first.push(line.to_owned());
            }
        }
    }
    first
}

/// A scenario that rests on the controller: nothing else closes again what somebody has opened.
fn repaired(name: &'static str, accident: &'static str, run: fn(&mut Hands)) -> Scenario<Hands> {
    Scenario {
        name,
        path: "same bridge, container → host, host → container",
        family: "both",
        accident,
        rests_on: &[Protection::Controller],
        run,
    }
}

/// The same for what opens nothing: that it is put back is all that there is to see.
fn put_back(name: &'static str, accident: &'static str, run: fn(&mut Hands)) -> Scenario<Hands> {
    Scenario { rests_on: &[Protection::Repair], ..repaired(name, accident, run) }
}

/// The same for what opens nothing and needs no repair, because our rules for forwarded packets are elsewhere.
fn in_vain(name: &'static str, accident: &'static str, run: fn(&mut Hands)) -> Scenario<Hands> {
    let path = "same bridge";
    Scenario { path, rests_on: &[Protection::Jumps("FORWARD")], ..repaired(name, accident, run) }
}

/// Somebody's command for both families.
fn both(command: &str) -> String {
    format!("iptables {command}; ip6tables {command}")
}

/// Deletes every rule that `grep` finds among the rules of both families, with that rule's text.
fn delete_rules(pattern: &str) -> String {
    format!(
        "for f in iptables ip6tables; do for t in mangle filter; do
            ($f-save -t $t | grep -e '{pattern}' | sed 's/^-A/-D/'; echo COMMIT) | (echo \"*$t\"; cat) | $f-restore --noflush
        done; done"
    )
}

/// Somebody's rule above our jump.
fn put_above(hands: &mut Hands, table: &str, chain: &str) {
    let change = both(&format!("-t {table} -I {chain} -p udp -j ACCEPT"));
    hands.repairs_after(&change, &Then::SameAnd(&format!("-A {chain} -p udp -j ACCEPT")));
}

/// What others do to the filter table's FORWARD, where our rules for it are not: nothing opens, and nothing is to be done.
fn changed_in_vain(hands: &mut Hands, change: &str) {
    let enforced = hands.enforced();
    let ours = |text: &str| text.lines().filter(|line| line.contains("DG-")).map(str::to_owned).collect::<Vec<_>>();
    let _undo = hands.kept.clone();
    let began = Instant::now();
    hands.lab.run(&["sh", "-ec", change]);
    hands.expect_closed(began, change);
    if !hands.controller().is_halted() {
        assert_eq!(ours(&hands.enforced()), ours(&enforced), "`{change}` has changed rules of ours");
        assert_eq!(hands.plan().status.code(), Some(0), "nothing is to be done");
    }
}

/// What firewalld does at a reload, and `iptables-restore` in somebody's script: the tables as they were saved once.
fn restore_of_old(hands: &mut Hands) {
    let old = hands.before.clone();
    let tables: Vec<&str> = old.split_inclusive("COMMIT\n").collect();
    let (v4, v6) = tables.split_at(tables.len() / 2);
    let restore = |command: &str, tables: &[&str]| {
        let tables: String = tables.iter().filter(|table| table.contains("COMMIT")).copied().collect();
        format!("{command} <<'END'\n{tables}END\n")
    };
    let change = restore("iptables-restore", v4) + &restore("ip6tables-restore", v6);
    hands.repairs_after(&change, &Then::Same);
}

/// Everything that dockgate does, and nothing of anyone else's is touched.
fn come_and_go(hands: &mut Hands) {
    let controller = hands.controller.take().expect("every scenario leaves a controller behind");
    let state = controller.state().to_string_lossy().into_owned();
    let stopped = controller.stop();
    let cleaned = hands.lab.dockgate_output(&["cleanup", "--state-dir", &state]);
    let (after, left) = (foreign(&hands.lab), packet_filter(&hands.lab));
    let arguments = ["run", "--policies", &hands.policies.argument(), "--resync-interval", hands.interval];
    let mut controller = hands.lab.dockgate(&arguments);
    controller.wait_until_ready();
    hands.controller = Some(controller);
    assert!(stopped.success() && cleaned.status.success(), "{}", String::from_utf8_lossy(&cleaned.stderr));
    assert_eq!(after, hands.before, "foreign rules have changed");
    assert!(!left.contains("DG-") && !left.contains("dg-"), "something of ours is left:\n{left}");
    assert_eq!(foreign(&hands.lab), hands.before, "foreign rules have changed");
    hands.expect_quiet(Instant::now(), "after a new start");
}

/// Changes of our rules that any iptables can make.
fn of_any_variant() -> Vec<Scenario<Hands>> {
    vec![
        repaired("a_flush_of_all_chains_is_repaired", "iptables -F", |hands| {
            hands.repairs_after(&both("-F"), &Then::Ours);
        }),
        repaired("a_flush_of_our_chain_is_repaired", "iptables -t mangle -F DG-FORWARD", |hands| {
            hands.repairs_after(&both("-t mangle -F DG-FORWARD"), &Then::Same);
        }),
        repaired("a_rule_that_was_deleted_is_put_back", "iptables -D of one rule", |hands| {
            hands.repairs_after(&delete_rules("-A DG-in-.*end of tier"), &Then::Same);
        }),
        repaired("a_rule_above_ours_in_forward_goes_below", "iptables -t mangle -I FORWARD -j ACCEPT", |hands| {
            put_above(hands, "mangle", "FORWARD");
        }),
        repaired("a_restore_of_old_tables_is_repaired", "firewalld-like flush and restore", restore_of_old),
    ]
}

pub(crate) fn group() -> Group<Hands> {
    let mut scenarios = of_any_variant();
    scenarios.extend(of_the_newer_variant());
    Group { name: "hands", build: Hands::notified, scenarios }
}

/// Changes that the kernel notifies of.
fn of_the_newer_variant() -> Vec<Scenario<Hands>> {
    vec![
        repaired("a_flush_of_the_mangle_table_is_repaired", "iptables -t mangle -F", |hands| {
            hands.repairs_after(&both("-t mangle -F"), &Then::Ours);
        }),
        in_vain("a_flush_of_docker_user_opens_nothing", "iptables -F DOCKER-USER", |hands| {
            changed_in_vain(hands, "iptables -F DOCKER-USER");
        }),
        in_vain("a_rule_of_others_in_docker_user_opens_nothing", "iptables -I DOCKER-USER -j ACCEPT", |hands| {
            changed_in_vain(hands, "iptables -I DOCKER-USER -j ACCEPT");
        }),
        in_vain("a_rule_of_others_in_forward_opens_nothing", "iptables -I FORWARD -j ACCEPT", |hands| {
            changed_in_vain(hands, &both("-I FORWARD -j ACCEPT"));
        }),
        repaired("a_chain_that_was_deleted_is_put_back", "iptables -X of a chain", |hands| {
            // In one transaction, or the repair comes in between and the chain is in use again.
            let change = r"for f in iptables ip6tables; do
                    $f-save -t mangle | sed -n -e 's/^:\(DG-to-[^ ]*\|DG-all-[^ ]*\) .*/:\1 - [0:0]/p' \
                        -e 's/^:\(DG-in-[^ ]*\) .*/:\1 - [0:0]\n-X \1/p' |
                        sort -r | (echo '*mangle'; cat; echo COMMIT) | $f-restore --noflush
                done";
            hands.repairs_after(change, &Then::Same);
        }),
        repaired("a_rule_above_ours_in_input_goes_below", "iptables -I INPUT -j ACCEPT", |hands| {
            put_above(hands, "filter", "INPUT");
        }),
        // The table against spoofing stops what this host sends to an address that nobody has.
        put_back("a_rule_above_ours_in_output_goes_below", "iptables -I OUTPUT -j ACCEPT", |hands| {
            put_above(hands, "filter", "OUTPUT");
        }),
        repaired("a_jump_that_was_deleted_is_put_back", "iptables -D of our jumps", |hands| {
            hands.repairs_after(&delete_rules("-j DG-"), &Then::Same);
        }),
        put_back("a_second_copy_of_our_jump_is_removed", "iptables -A of our jump", |hands| {
            let copy = "-A INPUT -m comment --comment dockgate:1 -j DG-INPUT";
            hands.repairs_after(&both(copy), &Then::Same);
        }),
        repaired("a_table_that_was_deleted_is_made_again", "nft delete table", |hands| {
            let change = "for f in ip ip6; do for t in filter mangle; do nft delete table $f $t; done; done";
            hands.repairs_after(change, &Then::Ours);
        }),
        repaired("a_flush_of_the_whole_ruleset_is_repaired", "nft flush ruleset", |hands| {
            hands.repairs_after("nft flush ruleset", &Then::Ours);
        }),
        repaired("a_bridge_that_was_switched_off_is_filtered_again", "bridge netfilter off", switches::bridge_off),
        Scenario {
            rests_on: &[],
            ..repaired(
                "the_namespaces_switch_opens_nothing",
                "sysctl bridge-nf-call-iptables=0",
                switches::namespace_off,
            )
        },
        Scenario { rests_on: &[], ..repaired("ufw_opens_nothing", "ufw enable, ufw disable", ufw::enable_and_disable) },
        Scenario {
            rests_on: &[],
            ..repaired("foreign_rules_survive_our_coming_and_going", "cleanup, run", come_and_go)
        },
    ]
}

/// What the kernel does not notify of.
pub(crate) fn read_back_group() -> Group<Hands> {
    Group {
        name: "hands_sets",
        build: Hands::read_back,
        scenarios: vec![
            repaired("a_member_that_left_its_class_comes_back", "ipset del", |hands| {
                let change = ["dg-4-in-", "dg-6-in-"].map(|prefix| format!("ipset flush {}", hands.set(prefix)));
                hands.repairs_after(&change.join("; "), &Then::Same);
            }),
            // With nobody known, nobody is let through: it opens nothing that lasts.
            put_back("a_flush_of_all_sets_is_repaired", "ipset flush", |hands| {
                hands.repairs_after("for s in $(ipset list -n | grep ^dg-); do ipset flush $s; done", &Then::Same);
            }),
            // The table against spoofing stops an address that Docker did not give all the same.
            put_back("an_address_that_others_made_known_is_not", "ipset add", |hands| {
                let add = |family: u8, address: &str| {
                    let member = format!("{address},{}", hands.bridge);
                    format!("ipset add dg-{family}-known {member}; ipset add dg-{family}-listed {member}")
                };
                let change = [add(4, "10.81.0.99"), add(6, "2001:db8:81::99")].join("; ");
                hands.repairs_after(&change, &Then::Same);
            }),
            // Where the repair is quicker, what is left of them is in use again and stays.
            repaired("sets_that_were_destroyed_are_made_again", "iptables -F, ipset destroy", |hands| {
                let change = delete_rules("-j DG-")
                    + "; for f in iptables ip6tables; do for t in mangle filter; do
                        $f-save -t $t | sed -n 's/^:\\(DG-[^ ]*\\) .*/-F \\1/p' | (echo \"*$t\"; cat; echo COMMIT) |
                            $f-restore --noflush; done; done
                    for s in $(ipset list -n | grep ^dg-); do ipset destroy $s || echo in use again; done";
                hands.repairs_after(&change, &Then::Ours);
            }),
        ],
    }
}
