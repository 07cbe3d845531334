//! Other hands on the packet filter, and the end of dockgate: one after the other, because nobody else repairs what
//! others have changed.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::RngExt;
use rand::rngs::StdRng;

use super::pause;
use crate::ledger::Kind;
use crate::support::Controller;
use crate::support::world::repair_limit;
use crate::world::World;

/// How long nothing forbidden has to pass until what was taken out is taken for put back.
const QUIET: Duration = Duration::from_millis(400);

/// What others do to our rules. `$n` is a random number.
const HANDS: [(&str, &str); 10] = [
    ("iptables -t mangle -F DG-FORWARD", "for f in iptables ip6tables; do $f -t mangle -F DG-FORWARD; done"),
    ("iptables -F DG-INPUT, DG-OUTPUT", "for f in iptables ip6tables; do $f -F DG-INPUT; $f -F DG-OUTPUT; done"),
    (
        "iptables -F of a chain of ours",
        "for f in iptables ip6tables; do
            c=$($f -t mangle -S | sed -n 's/^-N \\(DG-.*\\)/\\1/p' | awk -v n=$n '{l[NR]=$0} END {print l[n % NR + 1]}')
            $f -t mangle -F \"$c\" || true
        done",
    ),
    (
        "iptables -D of our jumps",
        "for f in iptables ip6tables; do for t in mangle filter; do
            ($f-save -t $t | grep -e '-j DG-' | grep -v '^-A DG-' | sed 's/^-A/-D/'; echo COMMIT) |
                (echo \"*$t\"; cat) | $f-restore --noflush || true
        done; done",
    ),
    ("iptables -F INPUT, -t mangle -F FORWARD", "iptables -F INPUT; ip6tables -F INPUT; iptables -t mangle -F FORWARD"),
    (
        "iptables -I ... -j ACCEPT",
        "for f in iptables ip6tables; do $f -I INPUT -p udp -j ACCEPT; done
        for f in iptables ip6tables; do $f -t mangle -I FORWARD -j ACCEPT; done
        sleep 0.3
        for f in iptables ip6tables; do $f -D INPUT -p udp -j ACCEPT; $f -t mangle -D FORWARD -j ACCEPT; done",
    ),
    ("nft delete table bridge dockgate", "nft delete table bridge dockgate"),
    ("nft flush table bridge dockgate", "nft flush table bridge dockgate"),
    ("ipset flush of our sets", "for s in $(ipset list -n | grep ^dg-); do ipset flush $s || true; done"),
    (
        "ipset flush of a set of ours",
        "s=$(ipset list -n | grep ^dg- | awk -v n=$n '{l[NR]=$0} END {print l[n % NR + 1]}'); ipset flush $s || true",
    ),
];

/// What others do to Docker's rules, where nothing of ours is.
const OTHER_HANDS: [(&str, &str); 2] = [
    ("iptables -F DOCKER-USER", "iptables -F DOCKER-USER"),
    (
        "iptables -I DOCKER-USER -j ACCEPT",
        "iptables -I DOCKER-USER -j ACCEPT; sleep 0.3; iptables -D DOCKER-USER -j ACCEPT",
    ),
];

/// Changes rules behind dockgate's back, and kills it, time and again. Leaves a running controller.
pub(crate) fn act(world: &World, controller: &mut Option<Controller>, random: &mut StdRng) {
    while !world.is_over() {
        world.rest(random.random_range(200..2500));
        let is_ready = controller.as_ref().is_some_and(|controller| controller.status().status.success());
        if is_ready && random.random_ratio(1, 2) {
            change_rules(world, random);
        } else {
            end_dockgate(world, controller, random);
        }
    }
}

fn change_rules(world: &World, random: &mut StdRng) {
    if random.random_ratio(1, 8) {
        let (what, command) = OTHER_HANDS[random.random_range(0..OTHER_HANDS.len())];
        world.ledger.record(Kind::OtherHand, what, || world.lab.run(&["sh", "-ec", command]));
        return;
    }
    let (what, command) = HANDS[random.random_range(0..HANDS.len())];
    let number = random.random_range(0..1000_u32);
    // Each of these is repaired within a second on a machine that has nothing else to do, and the report says how soon it
    // was. That it is repaired at all does not hang on what else the machine has to do.
    let excused = 5 * repair_limit();
    world.ledger.record_with(Kind::Hand, what, excused, || {
        world.lab.run(&["sh", "-ec", &format!("n={number}; {command}")]);
    });
    let end = Instant::now() + excused;
    thread::sleep(repair_limit());
    while world.was_open_within(QUIET) && Instant::now() < end {
        thread::sleep(QUIET / 2);
    }
}

fn end_dockgate(world: &World, controller: &mut Option<Controller>, random: &mut StdRng) {
    let Some(mut running) = controller.take() else { return };
    if let Some(status) = running.ended() {
        panic!("dockgate ended by itself ({status}):\n{}", running.log());
    }
    let what = ["dockgate is killed", "dockgate is stopped", "dockgate is halted"][random.random_range(0..3)];
    *controller = world.ledger.record(Kind::Dockgate, what, || {
        let next = match what {
            "dockgate is killed" => {
                running.crash();
                None
            }
            "dockgate is stopped" => {
                running.stop();
                None
            }
            _ => {
                running.halt();
                Some(running)
            }
        };
        pause(random, 1500);
        let mut next = next.unwrap_or_else(|| world.start_controller());
        next.signal(Signal::SIGCONT);
        Some(next)
    });
}
