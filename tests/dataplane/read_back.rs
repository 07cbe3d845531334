//! A read-back beside other work: what others have changed is found and set right, and our own changes meanwhile are not
//! taken for theirs.

use dockgate::dataplane::{Found, Kernel, Outcome, Scope, Step, Variant};
use dockgate::net::Family;
use dockgate::ruleset::{Ruleset, SetKind, SetName};

use super::namespace::{assert_same, dump, in_namespace, sh};
use super::spoof::{API, Containers, WEB, api, containers, ruleset, web};
use super::world::World;
use super::{assert_settled, docker_host, kernel, with_both_variants};

const EXPECT: &str = "a kernel that can enforce";
const UNFILTERED: &str = "ip link set br-a type bridge nf_call_ip6tables 0";

/// When we change something ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ours {
    Nothing,
    BeforeTheListing,
    AfterTheListing,
}

/// Reads the kernel back from before `damage` on, while it comes to hold `after` instead of `before`.
fn read_back(kernel: &mut Kernel, [before, after]: [&Ruleset; 2], damage: &str, ours: Ours) -> Found {
    kernel.repair(before).expect(EXPECT);
    let listing = kernel.read_back(before, Scope::Everything).expect("nothing is left to be tried");
    if ours == Ours::BeforeTheListing {
        kernel.enforce(after).expect(EXPECT);
    }
    sh(damage);
    let found = listing.list().expect(EXPECT);
    if ours == Ours::AfterTheListing {
        // It is refused where the damage is in its way.
        let _ = kernel.enforce(after);
    }
    found
}

/// One more of each class, another rule, and another network.
fn worlds() -> Vec<(&'static str, World)> {
    let world = World::default;
    vec![
        ("a member", World { replicas: 4, ..world() }),
        ("a rule", World { port: 81, ..world() }),
        ("a network", World { bridges: vec!["br-a", "br-b"], ..world() }),
    ]
}

#[test]
fn our_own_changes_are_not_taken_for_others() {
    with_both_variants(|variant| {
        sh(&docker_host(variant));
        let before = World::default().ruleset();
        let mut kernel = kernel(variant);
        for (name, after) in worlds() {
            let after = after.ruleset();
            for [from, to] in [[&before, &after], [&after, &before]] {
                for ours in [Ours::BeforeTheListing, Ours::AfterTheListing] {
                    let found = read_back(&mut kernel, [from, to], "", ours);
                    let outcome = kernel.settle(found, to).expect(EXPECT);
                    assert!(outcome.steps.is_empty() && !outcome.drift, "{name}, {ours:?}: {outcome:?}");
                    assert_eq!(outcome.problems, [], "{name}, {ours:?}");
                    assert_settled(variant, to);
                }
            }
        }
    });
}

#[test]
fn what_others_change_is_found_and_set_right() {
    with_both_variants(|variant| {
        sh(&docker_host(variant));
        let world = World::default().ruleset();
        let mut kernel = kernel(variant);
        let class = SetName::of_content(Family::V4, SetKind::Ip, "web", "br-a");
        let jump = "FORWARD -m comment --comment dockgate:1 -j DG-FORWARD";
        for (name, damage) in [
            ("a rule deleted", format!("ip6tables-{variant} -t mangle -D DG-FORWARD 2")),
            ("a rule inserted", format!("iptables-{variant} -t mangle -I DG-FORWARD -j ACCEPT")),
            ("a chain flushed", format!("iptables-{variant} -t mangle -F DG-FORWARD")),
            ("our jump deleted", format!("iptables-{variant} -t mangle -D {jump}")),
            ("a set of nobody", "ipset create dg-4-left-behind hash:ip".to_owned()),
            ("a set of another kind", "ipset create dg-x bitmap:port range 1-9".to_owned()),
            ("a member deleted", format!("ipset del {class} 172.18.0.2")),
            ("a member added", format!("ipset add {class} 192.0.2.1")),
            ("a set flushed", "ipset flush dg-6-known".to_owned()),
            ("a bridge that is not filtered", UNFILTERED.to_owned()),
        ] {
            let mut table = vec![("nothing", World::default(), Ours::Nothing)];
            for ours in [Ours::BeforeTheListing, Ours::AfterTheListing] {
                table.extend(worlds().into_iter().map(|(change, after)| (change, after, ours)));
            }
            for (change, after, ours) in table {
                let after = after.ruleset();
                kernel.repair(&after).expect(EXPECT);
                let good = dump(variant);
                let case = format!("{name}, while we change {change}, {ours:?}");
                let found = read_back(&mut kernel, [&world, &after], &damage, ours);
                // What we have written after it may have put it right.
                let is_damaged = dump(variant) != good || damage == UNFILTERED;
                let outcome = kernel.settle(found, &after).expect(EXPECT);
                assert_eq!((!outcome.steps.is_empty(), outcome.drift), (is_damaged, is_damaged), "{case}: {outcome:?}");
                assert!(is_damaged || ours == Ours::AfterTheListing, "{case}");
                assert_eq!(outcome.problems, [], "{case}");
                assert_same(&dump(variant), &good, &case);
                assert_settled(variant, &after);
            }
        }
    });
}

#[test]
fn what_nobody_notifies_us_of_is_found_without_listing_rules() {
    with_both_variants(|variant| {
        sh(&docker_host(variant));
        let world = World::default().ruleset();
        let mut kernel = kernel(variant);
        kernel.repair(&world).expect(EXPECT);
        let good = dump(variant);
        let mut settle = || {
            let listing = kernel.read_back(&world, Scope::Unnotified).expect("nothing is left to be tried");
            let found = listing.list().expect(EXPECT);
            kernel.settle(found, &world).expect(EXPECT)
        };
        for damage in ["ipset flush dg-6-known", "ipset create dg-4-left-behind hash:ip", UNFILTERED] {
            assert_eq!(settle(), Outcome::default(), "before {damage}");
            sh(damage);
            let outcome = settle();
            assert!(outcome.drift && outcome.problems.is_empty(), "{damage}: {outcome:?}");
            assert_same(&dump(variant), &good, damage);
            assert_settled(variant, &world);
        }
        sh(&format!("iptables-{variant} -t mangle -I DG-FORWARD -j ACCEPT"));
        assert_eq!(settle().drift, variant == Variant::Legacy, "the kernel notifies of it, or nobody");
        let found = kernel.read_back(&world, Scope::Everything).expect("nothing is left to be tried").list();
        kernel.settle(found.expect(EXPECT), &world).expect(EXPECT);
        assert_same(&dump(variant), &good, "a rule inserted");
    });
}

#[test]
fn what_is_to_be_tried_again_is_not_only_looked_at() {
    in_namespace(|| {
        sh(&docker_host(Variant::Nft));
        let world = World::default().ruleset();
        let mut kernel = kernel(Variant::Nft);
        assert!(kernel.read_back(&world, Scope::Everything).is_none(), "nothing is known yet");
        let absent = World { bridges: vec!["br-a", "br-c"], ..World::default() }.ruleset();
        assert_eq!(kernel.repair(&absent).expect(EXPECT).problems.len(), 1, "there is no such bridge");
        assert!(kernel.read_back(&absent, Scope::Everything).is_none(), "it may be there by now");
        kernel.repair(&world).expect(EXPECT);
        sh("ip link del br-b");
        let found = kernel.read_back(&world, Scope::Everything).expect("it is in line").list().expect(EXPECT);
        assert_eq!(kernel.settle(found, &world).expect(EXPECT), Outcome::default(), "a bridge of nobody's has gone");
    });
}

/// A cable is pulled and another plugged in, of which no notification has come yet.
#[test]
fn a_port_that_has_changed_is_found() {
    in_namespace(|| {
        let guard = Containers(containers(&[WEB, API]));
        let desired = ruleset(&[web(), api()]);
        let mut kernel = kernel(Variant::Nft);
        kernel.repair(&desired).expect(EXPECT);
        let listing = kernel.read_back(&desired, Scope::Everything).expect("it is in line");
        sh("ip link add veth7 type veth peer name veth8; ip link set veth7 master br-a up");
        let found = listing.list().expect(EXPECT);
        let outcome = kernel.settle(found, &desired).expect(EXPECT);
        assert!(matches!(&outcome.steps[..], [Step::Elements(_)]) && !outcome.drift, "it is nobody's: {outcome:?}");
        let found = kernel.read_back(&desired, Scope::Everything).expect("it is in line").list().expect(EXPECT);
        sh("nft flush set bridge dockgate stations");
        let again = kernel.read_back(&desired, Scope::Everything).expect("it is in line").list().expect(EXPECT);
        assert_eq!(kernel.settle(found, &desired).expect(EXPECT), Outcome::default(), "it was listed before");
        let outcome = kernel.settle(again, &desired).expect(EXPECT);
        assert!(outcome.drift && outcome.problems.is_empty(), "{outcome:?}");
        assert_settled(Variant::Nft, &desired);
        drop(guard);
    });
}
