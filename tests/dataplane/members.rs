//! Members of sets over netlink: the kernel holds what `ipset` itself would have put there.

use std::collections::BTreeSet;

use dockgate::dataplane::{Error, Step, Variant};
use nix::sched::{CloneFlags, unshare};

use super::kernel;
use super::namespace::{in_namespace, run, sh};

const EXPECT: &str = "a kernel that can enforce";

/// Each kind of set in each family, with two members of it.
const SETS: [(&str, &str, [&str; 2]); 8] = [
    ("dg-4-ip", "hash:ip family inet", ["10.0.0.1", "255.255.255.254"]),
    ("dg-6-ip", "hash:ip family inet6", ["fd00::1", "2001:db8:ffff:ffff:ffff:ffff:ffff:fffe"]),
    ("dg-4-net", "hash:net family inet", ["10.0.0.0/8", "10.0.0.7/32"]),
    ("dg-6-net", "hash:net family inet6", ["fd00::/9", "fd00::7/128"]),
    ("dg-4-port", "hash:ip,port family inet", ["10.0.0.1,6:80", "10.0.0.1,132:65535"]),
    ("dg-6-port", "hash:ip,port family inet6", ["fd00::1,17:53", "fd00::1,6:1"]),
    ("dg-4-known", "hash:net,iface family inet", ["10.0.0.1/32,br-0123456789ab", "172.17.0.0/16,docker0"]),
    ("dg-6-known", "hash:net,iface family inet6", ["fd00::1/128,a-name.15_bytes", "fd00:1::/64,br-a"]),
];

fn create() -> String {
    SETS.map(|(set, kind, _)| format!("ipset create {set} {kind} maxelem 1048576")).join("; ")
}

fn lines(verb: &str, which: &[usize]) -> Vec<String> {
    let of_set = |(set, _, members): &(&str, &str, [&str; 2])| {
        which.iter().map(|number| format!("{verb} {set} {} -exist", members[*number])).collect::<Vec<_>>()
    };
    SETS.iter().flat_map(of_set).collect()
}

fn members() -> BTreeSet<String> {
    run("ipset", &["save"]).lines().filter(|line| line.starts_with("add ")).map(str::to_owned).collect()
}

fn by_ipset(lines: &[String]) {
    let input = format!("{}\n", lines.join("\n"));
    sh(&format!("ipset restore <<'END'\n{input}END\n"));
}

#[test]
fn every_kind_of_member_comes_and_goes_as_by_ipset() {
    let [both, second] = [&[0, 1][..], &[1]].map(|which| {
        let (sender, receiver) = std::sync::mpsc::channel();
        in_namespace(move || {
            sh(&create());
            by_ipset(&lines("add", which));
            sender.send(members()).expect(EXPECT);
        });
        receiver.recv().expect(EXPECT)
    });
    assert_eq!((both.len(), second.len()), (2 * SETS.len(), SETS.len()));
    in_namespace(move || {
        sh(&create());
        let mut kernel = kernel(Variant::Nft);
        let mut apply = |lines: Vec<String>| assert_eq!(kernel.apply(&[Step::Sets(lines)]).expect(EXPECT), []);
        apply(lines("add", &[0, 1]));
        assert_eq!(members(), both);
        apply(lines("add", &[1, 0]));
        assert_eq!(members(), both, "what is there already stays");
        apply(lines("del", &[0]));
        assert_eq!(members(), second);
        apply(lines("del", &[0]));
        assert_eq!(members(), second, "what is not there need not go");
    });
}

/// What would be tried again by the command, were it not taken by the kernel at once, is not.
#[test]
fn members_come_and_go_without_a_process() {
    in_namespace(|| {
        sh(&create());
        let mut kernel = kernel(Variant::Nft);
        // Mounts of this thread alone, which end with it.
        unshare(CloneFlags::CLONE_NEWNS).expect(EXPECT);
        let ipset = sh("command -v ipset");
        sh(&format!("mount --make-rprivate /; mount --bind /dev/null {ipset}"));
        kernel.apply(&[Step::Sets(vec!["create dg-4-new hash:ip -exist".to_owned()])]).expect_err("there is no ipset");
        kernel.apply(&[Step::Sets(lines("add", &[0, 1]))]).expect(EXPECT);
        kernel.apply(&[Step::Sets(lines("del", &[0]))]).expect(EXPECT);
        assert_eq!(kernel.apply(&[Step::Destroy(vec!["dg-4-ip".to_owned(), "dg-4-ip".to_owned()])]).expect(EXPECT), []);
        sh(&format!("umount {ipset}"));
        assert_eq!(members().len(), SETS.len() - 1);
    });
}

#[test]
fn changes_of_any_length_are_whole_and_in_order() {
    in_namespace(|| {
        sh(&create());
        let mut kernel = kernel(Variant::Nft);
        // One datagram, several, and a process of their own.
        for length in [1, 200, 201, 499, 500, 1000] {
            let member = |number: u16| format!("10.1.{}.{}", number / 250, number % 250);
            let add = (0..length).map(|number| format!("add dg-4-ip {} -exist", member(number)));
            // The last word about each counts.
            let del = (1..length).map(|number| format!("del dg-4-ip {} -exist", member(number)));
            kernel.apply(&[Step::Sets(add.clone().collect())]).expect(EXPECT);
            assert_eq!(members().len(), usize::from(length));
            kernel.apply(&[Step::Sets(add.chain(del).collect())]).expect(EXPECT);
            assert_eq!(members(), BTreeSet::from(["add dg-4-ip 10.1.0.0".to_owned()]), "{length}");
        }
    });
}

#[test]
fn what_is_refused_is_told_in_the_words_of_ipset_and_forgotten() {
    in_namespace(|| {
        sh(&create());
        let mut kernel = kernel(Variant::Nft);
        for (name, line, complaint) in [
            ("no such set", "add dg-4-nothing 10.0.0.1 -exist", "does not exist"),
            ("another family", "add dg-4-ip fd00::1 -exist", "IPv4"),
        ] {
            let lines = ["add dg-4-ip 10.0.0.1 -exist", line, "add dg-4-ip 10.0.0.2 -exist"];
            let refused: Error = kernel.apply(&[Step::Sets(lines.map(str::to_owned).into())]).expect_err(name);
            let source = std::error::Error::source(&refused).expect("a step has a cause").to_string();
            assert!(source.contains("ipset") && source.contains(complaint), "{name}: {source}");
            assert!(refused.is_refusal(), "{name}: {refused:?}");
            kernel.apply(&[Step::Sets(lines[..1].iter().map(|line| (*line).to_owned()).collect())]).expect(name);
        }
    });
}
