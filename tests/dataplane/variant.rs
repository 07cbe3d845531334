//! Which of the two iptables variants is worked with, and what becomes of the other.

use dockgate::dataplane::{Error, Jump, Kernel, Options, Variant, Xtable};
use dockgate::net::Family;
use dockgate::ruleset::Hook;

use super::namespace::{dump, in_namespace, sh};
use super::world::World;
use super::{assert_settled, kernel};

#[test]
fn the_variant_is_the_one_that_holds_dockers_chains() {
    let detected = |prepare: &str| {
        let (sender, receiver) = std::sync::mpsc::channel();
        in_namespace(move || {
            sh(prepare);
            let before = sh("cat /proc/net/ip_tables_names; nft list tables");
            sender
                .send(Kernel::open(Options::default()).map(|kernel| kernel.variant()))
                .expect("a kernel that can enforce");
            assert_eq!(sh("cat /proc/net/ip_tables_names; nft list tables"), before, "looking creates no table");
        });
        receiver.recv().expect("a kernel that can enforce")
    };
    let nft = "iptables-nft -N DOCKER; ";
    let legacy = "iptables-legacy -N DOCKER; ";
    let legacy_ipv6 = "ip6tables-legacy -N DOCKER-FORWARD; ";
    assert_eq!(detected(nft).expect("a kernel that can enforce"), Variant::Nft);
    assert_eq!(detected(legacy).expect("a kernel that can enforce"), Variant::Legacy);
    assert_eq!(detected(legacy_ipv6).expect("a kernel that can enforce"), Variant::Legacy);
    assert!(matches!(detected(&format!("{nft}{legacy_ipv6}")), Err(Error::BothVariants)));
    let plain = if sh("iptables --version").contains("nf_tables") { Variant::Nft } else { Variant::Legacy };
    assert_eq!(detected("").expect("a kernel that can enforce"), plain);
}

/// `restore` has put the last rules back by the variant of before the boot, and somebody has chosen the other one for the
/// engine (`update-alternatives`).
#[test]
fn rules_go_over_to_the_engines_variant_and_nothing_is_left_in_the_other() {
    for (before, after) in [(Variant::Nft, Variant::Legacy), (Variant::Legacy, Variant::Nft)] {
        in_namespace(|| {
            sh("ip link add br-a type bridge; ip link add br-b type bridge");
            let old = World { port: 81, reject: true, ..World::default() }.ruleset();
            let stood = [("DOCKER-USER", Family::V4), ("DOCKER-USER", Family::V6)];
            let jump = |(chain, family): (&str, Family)| Jump {
                family,
                table: Xtable::Filter,
                hook: Hook::Forward,
                chain: chain.to_owned(),
                serial: 1,
            };
            kernel(before).prepare(&old, &stood.map(jump)).expect("a kernel that can enforce");
            assert!(dump(before).contains("-A DOCKER-USER -m comment --comment \"dockgate:1\" -j DG-FORWARD"));
            sh(&format!(
                "for f in iptables ip6tables; do $f-{after} -N DOCKER-USER; $f-{after} -N DOCKER
                $f-{after} -A FORWARD -j DOCKER-USER; $f-{after} -A DOCKER-USER -j RETURN; done"
            ));

            let mut kernel = Kernel::open(Options::default()).expect("one variant has Docker's chains");
            assert_eq!(kernel.variant(), after);
            let new = World::default().ruleset();
            let outcome = kernel.repair(&new).expect("a kernel that can enforce");
            assert_eq!(outcome.problems, [], "sets of the old rules are in nobody's way");
            let left = dump(before);
            let rules = left.split("== sets").next().unwrap_or_default();
            assert!(!rules.contains("DG-"), "packets are still judged by the rules of the boot:\n{rules}");
            assert_settled(after, &new);
            assert_eq!(kernel.repair(&new).expect("a kernel that can enforce").steps, []);
        });
    }
}
