//! The data plane against the real kernel, each test in a network namespace of its own, with both variants of iptables
//! and both families. Needs root.

#![expect(clippy::print_stdout, reason = "a measured latency is told to whoever runs the tests")]

mod claim;
mod dispatch;
mod links;
mod members;
mod namespace;
mod notices;
mod read_back;
mod sctp;
mod shortcuts;
mod spoof;
mod variant;
mod world;

use std::time::{Duration, Instant};

use dockgate::dataplane::{Error, Jump, Kernel, Options, Problem, State, Step, Variant, Xtable, plan, removal};
use dockgate::net::Family;
use dockgate::ruleset::{Match, Ruleset, SetKind, SetName};

use namespace::{assert_same, dump, in_namespace, run, sh};
use world::{World, interface};

/// Runs the test in a fresh namespace per variant.
fn with_both_variants(test: impl Fn(Variant) + Sync) {
    for variant in [Variant::Nft, Variant::Legacy] {
        in_namespace(|| test(variant));
    }
}

fn kernel(variant: Variant) -> Kernel {
    Kernel::open(Options { variant: Some(variant) }).expect("a kernel that can enforce")
}

/// What a kernel that never held anything else holds after enforcing the ruleset.
fn fresh_dump(variant: Variant, ruleset: &Ruleset, prepare: &str) -> String {
    let (sender, receiver) = std::sync::mpsc::channel();
    in_namespace(move || {
        sh(prepare);
        kernel(variant).repair(ruleset).expect("a kernel that can enforce");
        sender.send(dump(variant)).expect("a kernel that can enforce");
    });
    receiver.recv().expect("a kernel that can enforce")
}

/// A host as an engine leaves it, with rules of other people.
fn docker_host(variant: Variant) -> String {
    let bridges = "ip link add br-a type bridge; ip link add br-b type bridge; \
         ipset create blocklist hash:net; ipset add blocklist 192.0.2.0/24; "
        .to_owned();
    let tables = ["iptables", "ip6tables"].map(|command| {
        format!(
            "{command}-{variant}-restore --noflush <<'END'\n*filter\n:DOCKER - [0:0]\n:DOCKER-USER - [0:0]\n:OTHER - [0:0]\n\
             -A FORWARD -j DOCKER-USER\n-A FORWARD -o br-a -j DOCKER\n\
             -A DOCKER-USER -m comment --comment \"a \\\"quoted\\\" word\" -p tcp --dport 9 -j DROP\n\
             -A DOCKER-USER -j RETURN\n-A INPUT -p tcp --dport 22 -j ACCEPT\n-A INPUT -j OTHER\nCOMMIT\nEND\n"
        )
    });
    bridges + &tables.concat()
}

fn assert_settled(variant: Variant, desired: &Ruleset) {
    let observed = kernel(variant).observe_for(desired).expect("a kernel that can enforce");
    assert_eq!(plan(&observed, desired), [], "a fresh kernel recognises everything ({variant})");
}

#[test]
fn a_second_apply_is_empty_and_a_restart_recognises_everything() {
    with_both_variants(|variant| {
        sh(&docker_host(variant));
        for reject in [false, true] {
            let desired = World { reject, ..World::default() }.ruleset();
            let mut kernel = kernel(variant);
            let outcome = kernel.repair(&desired).expect("a kernel that can enforce");
            assert!(!outcome.steps.is_empty());
            assert_eq!(outcome.problems, []);
            assert_eq!(kernel.enforce(&desired).expect("a kernel that can enforce").steps, [], "from memory");
            let observed = kernel.observe().expect("a kernel that can enforce");
            assert_eq!(observed.after(&desired), observed, "the state that was expected is the one that is there");
            assert_settled(variant, &desired);
        }
    });
}

#[test]
fn the_end_does_not_depend_on_the_way() {
    with_both_variants(|variant| {
        let prepare = docker_host(variant);
        sh(&prepare);
        let one = World::default().ruleset();
        let other = World { bridges: vec!["br-a", "br-b"], replicas: 5, port: 81, reject: true }.ruleset();
        let mut kernel = kernel(variant);
        kernel.repair(&one).expect("a kernel that can enforce");
        let first = dump(variant);
        assert_same(&first, &fresh_dump(variant, &one, &prepare), "fresh");
        kernel.enforce(&other).expect("a kernel that can enforce");
        assert_same(&dump(variant), &fresh_dump(variant, &other, &prepare), "on the way");
        assert_settled(variant, &other);
        kernel.enforce(&one).expect("a kernel that can enforce");
        assert_same(&dump(variant), &first, "and back");
    });
}

#[test]
fn a_crash_between_any_two_steps_is_repaired_by_the_next_start() {
    with_both_variants(|variant| {
        let prepare = docker_host(variant);
        let old = World::default().ruleset();
        let new = World { bridges: vec!["br-a", "br-b"], replicas: 2, port: 81, reject: true }.ruleset();
        for (from, to) in [(None, &old), (Some(&old), &new), (Some(&new), &old)] {
            let expected = fresh_dump(variant, to, &prepare);
            for survived in 0.. {
                let mut finished = false;
                in_namespace(|| {
                    sh(&prepare);
                    let mut crashing = kernel(variant);
                    if let Some(from) = from {
                        crashing.repair(from).expect("a kernel that can enforce");
                    }
                    let steps = plan(&crashing.observe().expect("a kernel that can enforce"), to);
                    finished = survived >= steps.len();
                    crashing.apply(&steps[..survived.min(steps.len())]).expect("a kernel that can enforce");
                    drop(crashing);
                    kernel(variant).repair(to).expect("a kernel that can enforce");
                    assert_same(&dump(variant), &expected, &format!("crash after {survived} steps"));
                });
                if finished {
                    break;
                }
            }
        }
    });
}

#[test]
fn removal_leaves_the_kernel_as_it_was() {
    with_both_variants(|variant| {
        sh(&docker_host(variant));
        let before = dump(variant);
        let mut kernel = kernel(variant);
        kernel.repair(&World::default().ruleset()).expect("a kernel that can enforce");
        kernel
            .repair(&World { bridges: vec!["br-a", "br-b"], ..World::default() }.ruleset())
            .expect("a kernel that can enforce");
        assert_ne!(dump(variant), before);
        let observed = kernel.observe().expect("a kernel that can enforce");
        assert_eq!(kernel.apply(&removal(&observed)).expect("a kernel that can enforce"), []);
        assert_same(&dump(variant), &before, "after removal");
        let observed = kernel.observe().expect("a kernel that can enforce");
        assert_eq!(removal(&observed), []);
    });
}

#[test]
fn tables_that_came_with_us_go_with_us() {
    in_namespace(|| {
        let everything = || sh("iptables-nft-save; ip6tables-nft-save; nft list ruleset; ipset list");
        sh("ip link add br-a type bridge");
        let desired = World::default().ruleset();
        for (name, by_others, left) in [
            ("as it was", "", ""),
            ("a rule of others in INPUT", "ip6tables-nft -A INPUT -s 2001:db8::1 -j DROP", "2001:db8::1"),
            ("a chain of others", "iptables-nft -N OTHER", "OTHER"),
        ] {
            assert_eq!(everything(), "", "{name}");
            let mut kernel = kernel(Variant::Nft);
            kernel.repair(&desired).expect("a kernel that can enforce");
            assert_settled(Variant::Nft, &desired);
            sh(by_others);
            let observed = kernel.observe().expect("a kernel that can enforce");
            assert_eq!(kernel.apply(&removal(&observed)).expect("a kernel that can enforce"), [], "{name}");
            let after = everything();
            assert!(after.contains(left) && !after.contains("DG-"), "{name}: {after}");
            assert_eq!(after.is_empty(), by_others.is_empty(), "{name}: {after}");
            assert_eq!(removal(&kernel.observe().expect("a kernel that can enforce")), [], "{name}");
            sh("nft flush ruleset");
        }
    });
}

#[test]
fn foreign_rules_are_left_byte_for_byte() {
    with_both_variants(|variant| {
        sh(&docker_host(variant));
        let foreign = || {
            let ours = |line: &&str| !line.contains("DG-") && !line.contains("dg-");
            dump(variant).lines().filter(ours).collect::<Vec<_>>().join("\n")
        };
        let before = foreign();
        let mut kernel = kernel(variant);
        for replicas in [1, 4, 0] {
            kernel.enforce(&World { replicas, ..World::default() }.ruleset()).expect("a kernel that can enforce");
            assert_same(&foreign(), &before, "foreign rules");
        }
    });
}

/// The rules of a chain, without `-A CHAIN`.
fn rules(variant: Variant, command: &str, [table, chain]: [&str; 2]) -> Vec<String> {
    let prefix = format!("-A {chain} ");
    let listing = run(&format!("{command}-{variant}"), &["-t", table, "-S", chain]);
    listing.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
}

/// Where forwarded packets are met, and whether denied ones are answered, for which there is another table.
const MET: [(bool, &[[&str; 2]]); 2] =
    [(false, &[["mangle", "FORWARD"]]), (true, &[["filter", "DOCKER-USER"], ["filter", "FORWARD"]])];

#[test]
fn anchors_are_repaired_in_first_place_and_stay_single() {
    with_both_variants(|variant| {
        let prepare = docker_host(variant);
        for (reject, met) in MET {
            sh(&prepare);
            let desired = World { reject, ..World::default() }.ruleset();
            let mut kernel = kernel(variant);
            kernel.repair(&desired).expect("a kernel that can enforce");
            let good = dump(variant);
            for place in met {
                assert!(rules(variant, "iptables", *place)[0].ends_with("-j DG-FORWARD"), "{place:?}");
            }
            let jump = |serial: u32| format!("-m comment --comment dockgate:{serial} -j DG-FORWARD");
            let (first, second) = (jump(1), jump(2));
            let [table, chain] = met[0];
            let (v4, v6) = (format!("iptables-{variant} -t {table}"), format!("ip6tables-{variant} -t {table}"));
            let filter = format!("iptables-{variant}");
            let damages = [
                ("deleted", format!("{v4} -D {chain} {first}")),
                ("a copy at the end", format!("{v4} -A {chain} {first}")),
                (
                    "below another",
                    format!("{v4} -D {chain} {first}; {v4} -A {chain} {first}; {v4} -I {chain} -s 192.0.2.1"),
                ),
                ("copies everywhere", format!("for i in 1 2 3; do {v6} -I {chain} 2 {first}; done")),
                ("a stopgap left behind", format!("{v4} -I {chain} {second}")),
                ("only a stopgap", format!("{v4} -I {chain} {second}; {v4} -D {chain} {first}")),
            ];
            for (name, damage) in damages {
                sh(&damage);
                assert_ne!(dump(variant), good, "{name}");
                assert!(!kernel.repair(&desired).expect("a kernel that can enforce").steps.is_empty(), "{name}");
                if name == "below another" {
                    sh(&format!("{v4} -D {chain} -s 192.0.2.1"));
                }
                assert_same(&dump(variant), &good, name);
                assert_eq!(kernel.repair(&desired).expect("a kernel that can enforce").steps, [], "{name}");
            }
            for [table, chain] in [met[0], met[met.len() - 1], ["filter", "INPUT"], ["filter", "OUTPUT"]] {
                sh(&format!("{filter} -t {table} -I {chain} -s 192.0.2.1 -j ACCEPT"));
                kernel.repair(&desired).expect("a kernel that can enforce");
                sh(&format!("{filter} -t {table} -D {chain} -s 192.0.2.1 -j ACCEPT"));
                assert_same(&dump(variant), &good, chain);
            }
            sh(&format!("iptables-{variant} -F; ip6tables-{variant} -F; iptables-{variant} -t mangle -F"));
            kernel.repair(&desired).expect("a kernel that can enforce");
            let last = met[met.len() - 1];
            assert!(rules(variant, "iptables", last)[0].ends_with("-j DG-FORWARD"), "nothing jumps to DOCKER-USER");
            kernel.apply(&removal(&kernel_state(variant))).expect("a kernel that can enforce");
            sh(&format!(
                "iptables-{variant} -F; ip6tables-{variant} -F; ipset destroy blocklist; ip link del br-a; ip link del br-b"
            ));
            for command in ["iptables", "ip6tables"] {
                sh(&format!("for c in DOCKER DOCKER-USER OTHER; do {command}-{variant} -X $c; done"));
            }
        }
    });
}

#[test]
fn there_is_never_a_moment_without_an_anchor() {
    with_both_variants(|variant| {
        sh(&docker_host(variant));
        for (reject, met) in MET {
            let [table, chain] = met[0];
            let desired = World { reject, ..World::default() }.ruleset();
            let mut kernel = kernel(variant);
            kernel.repair(&desired).expect("a kernel that can enforce");
            sh(&format!("iptables-{variant} -t {table} -I {chain} -j RETURN"));
            sh(&format!("iptables-{variant} -t {table} -A {chain} -m comment --comment dockgate:1 -j DG-FORWARD"));
            let steps = plan(&kernel.observe().expect("a kernel that can enforce"), &desired);
            assert!(steps.len() > 3, "{steps:?}");
            for step in &steps {
                kernel.apply(std::slice::from_ref(step)).expect("a kernel that can enforce");
                let rules = rules(variant, "iptables", met[0]);
                assert!(rules[0].ends_with("-j DG-FORWARD"), "after {step}: {rules:?}");
            }
            assert_settled(variant, &desired);
        }
    });
}

#[test]
fn rules_are_in_one_table_or_the_other_whenever_they_move() {
    with_both_variants(|variant| {
        sh(&docker_host(variant));
        let world = |reject| World { reject, ..World::default() }.ruleset();
        for (from, to) in [(false, true), (true, false)] {
            let (from, to) = (world(from), world(to));
            let mut kernel = kernel(variant);
            kernel.repair(&from).expect("a kernel that can enforce");
            for step in plan(&kernel.observe().expect("a kernel that can enforce"), &to) {
                kernel.apply(std::slice::from_ref(&step)).expect("a kernel that can enforce");
                let state = kernel_state(variant);
                let stands = |(table, chain): (Xtable, &str)| {
                    let is_there =
                        |jump: &Jump| (jump.family, jump.table, jump.chain.as_str()) == (Family::V4, table, chain);
                    let filled = state.chains.get(&(Family::V4, table)).and_then(|named| named.get("DG-FORWARD"));
                    state.jumps.keys().any(is_there) && filled.is_some_and(|rules| !rules.is_empty())
                };
                let ways = [(Xtable::Mangle, "FORWARD"), (Xtable::Filter, "DOCKER-USER")];
                assert!(ways.into_iter().any(stands), "after {step}");
            }
            assert_settled(variant, &to);
        }
    });
}

#[test]
fn a_thousand_members_change_no_rule() {
    with_both_variants(|variant| {
        sh(&docker_host(variant));
        let world = |replicas| World { replicas, ..World::default() }.ruleset();
        let rules = || dump(variant).split("== sets").next().expect("a dump").to_owned();
        let mut kernel = kernel(variant);
        kernel.repair(&world(3)).expect("a kernel that can enforce");
        let before = rules();
        let mut desired = world(3);
        for replica in 3..1000 {
            world::add_replica(&mut desired, "br-a", replica);
            let steps = kernel.enforce(&desired).expect("a kernel that can enforce").steps;
            let [Step::Sets(class), Step::Sets(known)] = steps.as_slice() else { panic!("{steps:?}") };
            // Known last, and only when the class has it.
            assert!(class.len() == 2 && known.iter().all(|line| line.contains("-known ")), "{steps:?}");
        }
        assert_eq!(desired, world(1000));
        assert_eq!(rules(), before);
        assert_settled(variant, &world(1000));
        kernel.enforce(&world(3)).expect("a kernel that can enforce");
        assert_eq!(rules(), before);
        assert_settled(variant, &world(3));
    });
}

#[test]
fn a_member_is_in_the_kernel_when_the_call_returns() {
    in_namespace(|| {
        let mut kernel = kernel(Variant::Nft);
        kernel
            .apply(&[Step::Sets(vec!["create dg-4-x hash:ip family inet".to_owned()])])
            .expect("a kernel that can enforce");
        let mut times: Vec<Duration> = (0..500)
            .map(|index| {
                let address = format!("192.0.{}.{}", index / 250, index % 250);
                let begin = Instant::now();
                kernel
                    .apply(&[Step::Sets(vec![format!("add dg-4-x {address} -exist")])])
                    .expect("a kernel that can enforce");
                let took = begin.elapsed();
                if index % 50 == 0 {
                    run("ipset", &["test", "dg-4-x", &address]);
                }
                took
            })
            .collect();
        times.sort();
        let median = times[times.len() / 2];
        // A process per change takes at least a millisecond; measured here are some 50 µs.
        assert!(median < Duration::from_millis(1), "{median:?}");
        println!("one member: {median:?} (median), {:?} (99 of 100)", times[times.len() * 99 / 100]);
    });
}

#[test]
fn drift_and_odd_sets_are_repaired() {
    with_both_variants(|variant| {
        sh(&docker_host(variant));
        let desired = World::default().ruleset();
        let mut kernel = kernel(variant);
        kernel.repair(&desired).expect("a kernel that can enforce");
        let good = dump(variant);
        let class = SetName::of_content(Family::V4, SetKind::Ip, "web", "br-a");
        let jumps = format!(
            "iptables-{variant} -D INPUT -m comment --comment dockgate:1 -j DG-INPUT; \
             iptables-{variant} -F DG-INPUT; iptables-{variant} -X DG-INPUT"
        );
        let unused = "ipset create dg-4-left-behind hash:ip; ipset add dg-4-left-behind 192.0.2.1".to_owned();
        let table = [
            ("a rule deleted", format!("ip6tables-{variant} -t mangle -D DG-FORWARD 2")),
            ("a rule inserted", format!("iptables-{variant} -t mangle -I DG-FORWARD -j ACCEPT")),
            ("a rule replaced", format!("iptables-{variant} -R DG-INPUT 1 -j ACCEPT")),
            ("a chain flushed", format!("iptables-{variant} -t mangle -F DG-FORWARD")),
            (
                "a chain of nobody",
                format!("iptables-{variant} -N DG-nobody; iptables-{variant} -A DG-nobody -j ACCEPT"),
            ),
            ("a base chain removed", jumps),
            ("a set of nobody", unused),
            ("a set of another kind of nobody", "ipset create dg-x bitmap:port range 1-9; ipset add dg-x 7".to_owned()),
            ("a member deleted", format!("ipset del {class} 172.18.0.2")),
            ("a member added", format!("ipset add {class} 192.0.2.1")),
            ("a set flushed", "ipset flush dg-6-known".to_owned()),
        ];
        for (name, damage) in table {
            sh(&damage);
            assert_ne!(dump(variant), good, "{name}");
            assert_eq!(kernel.repair(&desired).expect("a kernel that can enforce").problems, [], "{name}");
            assert_same(&dump(variant), &good, name);
        }
        let replace = |set: &str, create: &str| {
            let observed = kernel_state(variant);
            let mut other = self::kernel(variant);
            other.apply(&removal(&observed)).expect("a kernel that can enforce");
            sh(&format!("ipset create {set} {create}"));
            // The rules are back and use the set as it is, so that it cannot simply be destroyed.
            let mut desired = desired.clone();
            desired.sets.remove(set);
            other
                .apply(&plan(&State { odd_sets: [].into(), ..kernel_state(variant) }, &desired))
                .expect("a kernel that can enforce");
        };
        for (name, set, create) in [
            ("another type", class.as_str(), "hash:net"),
            ("another family", class.as_str(), "hash:ip family inet6"),
            ("an option", "dg-4-known", "hash:net,iface timeout 5"),
            ("too small", "dg-4-known", "hash:net,iface maxelem 10"),
        ] {
            if create.contains("inet6") {
                // No rule of the other family could use it.
                kernel.apply(&removal(&kernel_state(variant))).expect("a kernel that can enforce");
                sh(&format!("ipset create {set} {create}"));
            } else {
                replace(set, create);
            }
            assert_eq!(kernel.repair(&desired).expect("a kernel that can enforce").problems, [], "{name}");
            assert_same(&dump(variant), &good, name);
        }
    });
}

fn kernel_state(variant: Variant) -> State {
    kernel(variant).observe().expect("a kernel that can enforce")
}

#[test]
fn a_foreign_rule_that_leads_to_a_chain_of_ours_is_reported_and_blocks_nothing() {
    with_both_variants(|variant| {
        sh(&docker_host(variant));
        let desired = World::default().ruleset();
        let mut kernel = kernel(variant);
        kernel.repair(&desired).expect("a kernel that can enforce");
        let chain = rules(variant, "iptables", ["mangle", "DG-FORWARD"])
            .iter()
            .find_map(|rule| rule.split_once("-j DG-ingress").map(|(_, rest)| format!("DG-ingress{rest}")))
            .expect("a kernel that can enforce");
        sh(&format!("iptables-{variant} -t mangle -N OTHER; iptables-{variant} -t mangle -A OTHER -j {chain}"));
        sh(&format!("iptables-{variant} -A OTHER -m set --match-set dg-4-known src,src -j ACCEPT"));
        let observed = kernel.observe().expect("a kernel that can enforce");
        let problems = kernel.apply(&removal(&observed)).expect("a kernel that can enforce");
        assert!(matches!(&problems[..], [Problem::SetInUse { set, .. }] if set == "dg-4-known"), "{problems:?}");
        let observed = kernel.observe().expect("a kernel that can enforce");
        let problems = observed.problems(&Ruleset::default());
        assert!(matches!(&problems[..], [Problem::ForeignReference { chain: c, .. }] if *c == chain), "{problems:?}");
        assert_eq!(kernel.repair(&desired).expect("a kernel that can enforce").problems.len(), 1);
        assert_settled(variant, &desired);
    });
}

#[test]
fn a_set_that_could_not_be_destroyed_is_not_taken_for_a_new_one() {
    with_both_variants(|variant| {
        sh(&docker_host(variant));
        let one = World::default().ruleset();
        let other = World { bridges: vec!["br-b"], ..World::default() }.ruleset();
        let fewer = World { replicas: 1, ..World::default() }.ruleset();
        let mut kernel = kernel(variant);
        kernel.repair(&one).expect("a kernel that can enforce");
        let class = SetName::of_content(Family::V4, SetKind::Ip, "web", "br-a");
        sh(&format!("iptables-{variant} -A OTHER -m set --match-set {class} src -j ACCEPT"));
        for _ in 0..2 {
            let problems = kernel.enforce(&other).expect("a kernel that can enforce").problems;
            assert!(matches!(&problems[..], [Problem::SetInUse { set, .. }] if set == class.as_str()), "{problems:?}");
        }
        assert_eq!(kernel.enforce(&fewer).expect("a kernel that can enforce").problems, []);
        assert_settled(variant, &fewer);
    });
}

#[test]
fn bridges_are_filtered_in_the_namespace_of_the_thread() {
    in_namespace(|| {
        sh("echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables");
        sh("ip link add br-a type bridge");
        let switches = || sh("ip -d link show br-a | grep -o 'nf_call_ip6*tables [01]'");
        assert_eq!(switches(), "nf_call_iptables 0\nnf_call_ip6tables 0\n");
        let desired = World { bridges: vec!["br-a", "br-gone"], ..World::default() }.ruleset();
        let mut kernel = kernel(Variant::Nft);
        let problems = kernel.repair(&desired).expect("a kernel that can enforce").problems;
        assert!(
            matches!(&problems[..], [Problem::NoBridge { bridge }] if *bridge == interface("br-gone")),
            "{problems:?}"
        );
        assert_eq!(switches(), "nf_call_iptables 1\nnf_call_ip6tables 1\n");
        sh("ip link set br-a type bridge nf_call_ip6tables 0; ip link add br-gone type bridge");
        let outcome = kernel.repair(&desired).expect("a kernel that can enforce");
        assert_eq!(outcome.problems, []);
        assert_eq!(outcome.steps.len(), 2);
        assert_eq!(switches(), "nf_call_iptables 1\nnf_call_ip6tables 1\n");
        assert_eq!(kernel.repair(&desired).expect("a kernel that can enforce").steps, []);
    });
}

#[test]
fn a_bridge_with_the_spanning_tree_protocol_is_told_of() {
    in_namespace(|| {
        sh("ip link add br-a type bridge stp_state 1");
        let desired = World { bridges: vec!["br-a"], ..World::default() }.ruleset();
        let mut kernel = kernel(Variant::Nft);
        for _ in 0..2 {
            let outcome = kernel.repair(&desired).expect("a kernel that can enforce");
            let told: Vec<String> = outcome.problems.iter().map(ToString::to_string).collect();
            assert!(told.len() == 1 && told[0].contains("`ip link set br-a type bridge stp_state 0`"), "{told:?}");
        }
        sh("ip link set br-a type bridge stp_state 0");
        assert_eq!(kernel.repair(&desired).expect("a kernel that can enforce").problems, []);
    });
}

#[test]
fn a_table_that_iptables_cannot_show_is_an_error() {
    in_namespace(|| {
        sh("nft add table ip filter; nft add chain ip filter x; nft add rule ip filter x meta mark set 5");
        let error = kernel(Variant::Nft).observe().unwrap_err();
        assert!(error.to_string().contains("iptables-nft-save"), "{error}");
    });
    in_namespace(|| {
        sh("nft add table ip filter; nft 'add chain ip filter INPUT { type filter hook input priority 10; }'");
        let error = kernel(Variant::Nft).observe().unwrap_err();
        assert!(matches!(error, Error::Listing { family: Family::V4, .. }), "{error}");
    });
}

#[test]
fn a_refused_batch_names_the_step_and_the_line_and_is_forgotten() {
    with_both_variants(|variant| {
        sh(&docker_host(variant));
        let good = World::default().ruleset();
        let mut kernel = kernel(variant);
        kernel.repair(&good).expect("a kernel that can enforce");
        let held = dump(variant);
        let mut bad = World { port: 81, ..World::default() }.ruleset();
        let chains = bad.chains.get_mut(&Family::V6).expect("a kernel that can enforce");
        let broken = chains
            .values_mut()
            .find(|rules| rules.iter().any(|rule| &*rule.comment == "end of tier default"))
            .expect("a kernel that can enforce");
        let broken = std::sync::Arc::make_mut(broken);
        // The kernel has no net of the other family.
        let other_family = Match::Net {
            side: dockgate::ruleset::Side::Destination,
            net: "10.0.0.0/8".parse().expect("a kernel that can enforce"),
            negated: false,
        };
        broken[3].matches = broken[3].matches.iter().cloned().chain([other_family]).collect();
        broken[3].comment = "default/culprit ingress[0]".into();
        let told = |error: Error| {
            assert!(error.is_refusal(), "{error:?}");
            let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
            let text = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
            assert!(text.contains("cannot change the IPv6 chains"), "{text}");
            assert!(text.contains("default/culprit ingress[0]"), "{text}");
        };
        told(kernel.test(&bad).unwrap_err());
        kernel.test_nothing().expect("a kernel that can enforce");
        assert_same(&dump(variant), &held, "a test changes nothing");
        told(kernel.enforce(&bad).unwrap_err());
        kernel.test(&good).expect("a kernel that can enforce");
        kernel.enforce(&good).expect("a kernel that can enforce");
        assert_same(&dump(variant), &held, "the failure is forgotten");
    });
}
