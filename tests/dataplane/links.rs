//! The ports of bridges, followed by the kernel's notifications, are those that a listing shows.

use std::collections::BTreeSet;

use dockgate::dataplane::{Touched, Variant};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::namespace::{in_namespace, run, sh};
use super::spoof::{API, Containers, WEB, api, containers, ruleset, web};
use super::{assert_settled, kernel};

const EXPECT: &str = "a kernel that can enforce";

/// What happens to links that have nothing to do with a container, and to the bridge.
fn accident(random: &mut StdRng, present: &mut BTreeSet<u32>) -> String {
    let number = random.random_range(10..14);
    let name = format!("dgl{number}");
    let on = ["master br-a", "nomaster", "master br-other"][random.random_range(0..3)];
    if present.insert(number) {
        return format!("ip link add {name} type veth peer name dgp{number}; ip link set {name} {on} up");
    }
    match random.random_range(0..4) {
        0 => {
            present.remove(&number);
            format!("ip link del {name}")
        }
        // Two changes at once, of which the second undoes the first.
        1 => format!("ip link set {name} nomaster; ip link set {name} {on}"),
        2 => format!(
            "ip link set {name} down; ip link set {name} name dgx; ip link set dgx {on}; ip link set dgx name {name}"
        ),
        _ => format!("ip link set {name} {on}"),
    }
}

#[test]
fn ports_that_are_followed_are_those_that_are_listed() {
    in_namespace(|| {
        let guard = Containers(containers(&[WEB, API]));
        sh("ip link add br-other type bridge");
        let desired = ruleset(&[web(), api()]);
        let mut kernel = kernel(Variant::Nft);
        kernel.repair(&desired).expect(EXPECT);
        let mut random = StdRng::seed_from_u64(7);
        let mut present = BTreeSet::new();
        let mut changes = 0;
        for round in 0..60 {
            let accidents: Vec<String> =
                (0..random.random_range(1..4)).map(|_| accident(&mut random, &mut present)).collect();
            sh(&accidents.join("; "));
            kernel.observe_links(&Touched::Any).expect(EXPECT);
            changes += kernel.enforce(&desired).expect(EXPECT).steps.len();
            // One that knows nothing lists them.
            assert_settled(Variant::Nft, &desired);
            assert_eq!(kernel.enforce(&desired).expect(EXPECT).steps, [], "round {round}: {accidents:?}");
        }
        assert!(changes > 20, "only {changes} of these rounds changed a port of the bridge");
        drop(guard);
    });
}

/// More notifications than the socket holds, while nobody reads them.
#[test]
fn ports_are_listed_anew_when_notifications_were_lost() {
    in_namespace(|| {
        let guard = Containers(containers(&[WEB, API]));
        let desired = ruleset(&[web(), api()]);
        let mut kernel = kernel(Variant::Nft);
        kernel.repair(&desired).expect(EXPECT);
        // Each takes some 2 KiB, and counts for more.
        let file = tempfile::NamedTempFile::new().expect("a fixture of this test");
        let flaps = "link set dev br-a alias x\nlink set dev br-a alias y\n".repeat(10_000);
        std::fs::write(file.path(), flaps).expect("a fixture of this test");
        sh(&format!("ip -batch {}", file.path().display()));
        run("ip", &["link", "add", "dgl1", "type", "veth", "peer", "name", "dgl2"]);
        run("ip", &["link", "set", "dgl1", "master", "br-a"]);
        kernel.observe_links(&Touched::Any).expect(EXPECT);
        assert_eq!(kernel.enforce(&desired).expect(EXPECT).steps.len(), 1, "the new port is nobody's");
        assert_settled(Variant::Nft, &desired);
        drop(guard);
    });
}
