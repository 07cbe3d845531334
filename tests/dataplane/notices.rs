//! The kernel's notifications of changes by others.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use dockgate::dataplane::{Notice, Step, Touched, Variant, watch};
use dockgate::net::Family;
use tokio::sync::mpsc::Receiver;

use super::namespace::{in_namespace, sh};
use super::world::World;
use super::{docker_host, kernel};

/// Something about rules.
fn rules() -> Notice {
    Notice { rules: true, ..Notice::default() }
}

/// The index of a link in this namespace, as the kernel knows it.
fn index(link: &str) -> u32 {
    nix::net::if_::if_nametoindex(link).expect("there is such a link")
}

/// What is notified within `patience`, from the first notice until there has been none for a while.
fn notified(notices: &mut Receiver<Notice>, patience: Duration) -> Notice {
    notified_until_quiet(notices, patience, Duration::from_millis(100))
}

fn notified_until_quiet(notices: &mut Receiver<Notice>, patience: Duration, quiet: Duration) -> Notice {
    let mut all = Notice::default();
    let mut end = Instant::now() + patience;
    while Instant::now() < end {
        if let Ok(notice) = notices.try_recv() {
            all.rules |= notice.rules;
            all.links.extend(notice.links);
            end = Instant::now() + quiet;
        }
        thread::sleep(Duration::from_millis(1));
    }
    all
}

#[test]
fn changes_by_other_hands_are_notified_and_no_others() {
    in_namespace(|| {
        sh(&docker_host(Variant::Nft));
        kernel(Variant::Nft).repair(&World::default().ruleset()).expect("a kernel that can enforce");
        // The kernel does not notify of settings of a link that is down, which carries no packets.
        sh("ip link set br-a up");
        let (a, b) = (index("br-a"), index("br-b"));
        let link = |index| Notice { links: Touched::Only([index].into()), ..Notice::default() };
        for (change, expected) in [
            ("iptables-nft -t mangle -F DG-FORWARD", Some(rules())),
            ("iptables-nft -F DG-INPUT", Some(rules())),
            ("ip6tables-nft -I INPUT -j ACCEPT", Some(rules())),
            ("iptables-nft -F DOCKER-USER", Some(rules())),
            ("iptables-nft -A DOCKER -j RETURN", None),
            ("iptables-nft -t nat -A OUTPUT -j RETURN", None),
            ("nft add table inet filter; nft add chain inet filter x; nft add rule inet filter x drop", None),
            ("nft delete table ip6 filter", Some(rules())),
            ("nft flush ruleset", Some(rules())),
            ("nft add table bridge dockgate", Some(rules())),
            ("nft add table bridge other", None),
            ("iptables-nft-save; ip6tables-nft-save; ipset save", None),
            ("ip link set br-a type bridge nf_call_iptables 0", Some(link(a))),
            ("ip link add v0 type veth peer name v1", None),
            ("ip link set v0 master br-a", Some(link(a))),
            ("ip link set v0 nomaster", Some(link(a))),
            ("ip link del v0", None),
            ("ip link del br-b", Some(link(b))),
        ] {
            // Anew for each: what is notified of one change is no other's, however late it is read.
            let mut notices = watch().expect("this kernel notifies");
            sh(change);
            let patience = Duration::from_millis(if expected.is_some() { 5000 } else { 300 });
            // The kernel tells of a lost carrier once a second at most.
            let quiet = Duration::from_millis(if expected.as_ref().is_some_and(|notice| !notice.links.is_nothing()) {
                1200
            } else {
                100
            });
            let heard = notified_until_quiet(&mut notices, patience, quiet);
            assert_eq!(heard, expected.unwrap_or_default(), "{change}");
        }
    });
}

#[test]
fn notifications_that_were_lost_count_as_a_change() {
    in_namespace(|| {
        let mut notices = watch().expect("this kernel notifies");
        // The thread waits with the second one until the first is taken, and reads nothing meanwhile.
        for _ in 0..2 {
            sh("iptables-nft -A INPUT -j ACCEPT");
            thread::sleep(Duration::from_millis(200));
        }
        let mut flood = "*nat\n".to_owned();
        for number in 0..5000 {
            // Writing to a String cannot fail.
            let _ = writeln!(flood, "-A OUTPUT -p tcp --dport {number} -j RETURN");
        }
        let file = tempfile::NamedTempFile::new().expect("a fixture of this test");
        std::fs::write(file.path(), flood + "COMMIT\n").expect("a fixture of this test");
        sh(&format!("iptables-nft-restore --noflush {}", file.path().display()));
        assert_eq!(notices.try_recv(), Ok(rules()));
        let waiting = || Ok::<_, ()>(rules());
        assert_eq!(notices.blocking_recv().ok_or(()), waiting(), "the one that waited");
        assert_eq!(notified(&mut notices, Duration::from_secs(5)), rules(), "the flood, though none of it is minded");
    });
}

#[test]
fn our_own_changes_lead_to_no_end_of_read_backs() {
    in_namespace(|| {
        sh(&docker_host(Variant::Nft));
        let desired = World::default().ruleset();
        let mut kernel = kernel(Variant::Nft);
        let mut notices = watch().expect("this kernel notifies");
        let steps = kernel.repair(&desired).expect("a kernel that can enforce").steps;
        assert!(!steps.is_empty());
        assert!(notified(&mut notices, Duration::from_secs(5)).rules, "our own jumps are notified, too");
        assert_eq!(kernel.repair(&desired).expect("a kernel that can enforce").steps, [], "nothing differs");
        assert_eq!(notified(&mut notices, Duration::from_millis(500)), Notice::default(), "reading changes nothing");

        let edited = World { port: 81, ..World::default() }.ruleset();
        let steps = kernel.enforce(&edited).expect("a kernel that can enforce").steps;
        assert!(steps.iter().any(|step| matches!(step, Step::Restore { .. })), "{steps:?}");
        assert_eq!(notified(&mut notices, Duration::from_millis(500)), Notice::default(), "our own rules are not");
        sh("iptables-nft -t mangle -A DG-FORWARD -j ACCEPT");
        assert!(notified(&mut notices, Duration::from_secs(5)).rules, "those of others in the same chains are");
        assert_eq!(desired.chains.len(), Family::ALL.len());
    });
}

#[test]
fn a_bridge_that_was_switched_off_is_found_without_reading_rules() {
    in_namespace(|| {
        sh(&docker_host(Variant::Nft));
        let desired = World::default().ruleset();
        let mut kernel = kernel(Variant::Nft);
        kernel.repair(&desired).expect("a kernel that can enforce");
        let settled = |kernel: &mut dockgate::dataplane::Kernel, touched: &Touched<u32>| {
            kernel.observe_links(touched).expect("links can be read");
            kernel.enforce(&desired).expect("a kernel that can enforce").steps.len()
        };
        let touched = |link: &str| Touched::Only([index(link)].into());
        assert_eq!(settled(&mut kernel, &Touched::Any), 0);
        for which in [Touched::Any, touched("br-a")] {
            sh("ip link set br-a type bridge nf_call_ip6tables 0");
            assert_eq!(settled(&mut kernel, &touched("br-b")), 0, "only what was touched is looked at");
            assert_eq!(settled(&mut kernel, &touched("lo")), 0, "what is no bridge is none of ours");
            assert_eq!(settled(&mut kernel, &which), 1, "the bridge is switched on again");
            assert_eq!(settled(&mut kernel, &which), 0);
        }
        let former = touched("br-a");
        sh("ip link del br-a");
        assert_eq!(settled(&mut kernel, &former), 0, "a bridge that is not there is not complained of");
        sh("ip link add br-a type bridge");
        assert_eq!(
            settled(&mut kernel, &former),
            1,
            "whoever is gone may have been any, and one that comes back is off"
        );
    });
}
