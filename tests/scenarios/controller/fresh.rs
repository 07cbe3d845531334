//! The first containers of a network on which nobody was.

use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use nix::sys::signal::Signal;

use super::{Accidents, PORT};
use crate::scenario::World;
use crate::support::world::{rules, wait_for};
use crate::support::{Container, Lab, Vigil, assert_by_packets};

/// Nobody was on the network before, so no policy was in force there when dockgate was halted.
pub(super) fn first_of_a_network(accidents: &mut Accidents) {
    on_a_fresh_network(accidents, |accidents| {
        accidents.controller().halt();
        None
    });
}

/// One that no policy selects was known a moment before dockgate was halted: that opens the network to nobody else.
pub(super) fn second_of_a_network(accidents: &mut Accidents) {
    on_a_fresh_network(accidents, |accidents| {
        for _ in 0..10 {
            let peer = thread::scope(|scope| {
                let starting = scope.spawn(|| start_on_fresh(&accidents.lab, "peer"));
                wait_for("it to be known", || accidents.lab.list(&["ipset", "save"]).contains(" 10.85.0.2,"));
                accidents.controller.as_mut().expect("it runs").halt();
                starting.join().expect("it starts")
            });
            if rules(&accidents.lab).contains("from network fresh") {
                return Some(peer);
            }
            // Too late: it is known that nobody else is there.
            accidents.controller().signal(Signal::SIGCONT);
            peer.remove();
            wait_for("the network to be closed again", || rules(&accidents.lab).contains("from network fresh"));
        }
        panic!("dockgate could not be halted within a moment");
    });
}

fn start_on_fresh(lab: &Lab, app: &str) -> Container {
    lab.container(&format!("first-{app}")).network("fresh").label("app", app).serve(&[PORT]).start()
}

/// `halt` halts the controller, which knows of the empty network, and may start the container that no policy selects before.
fn on_a_fresh_network(accidents: &mut Accidents, halt: impl FnOnce(&mut Accidents) -> Option<Container>) {
    let was_halted = accidents.controller().is_halted();
    accidents.lab.network("fresh", &["10.85.0.0/24", "2001:db8:85::/64"]);
    let mut peer = None;
    if !was_halted {
        wait_for("the network to be known", || rules(&accidents.lab).contains("from network fresh"));
        peer = halt(accidents);
    }
    let closed = start_on_fresh(&accidents.lab, "closed");
    let peer = peer.unwrap_or_else(|| start_on_fresh(&accidents.lab, "peer"));
    let began = Instant::now();
    let to = [false, true].map(|v6| SocketAddr::new(closed.address("fresh", v6), PORT));
    let vigil = Vigil::start(peer.namespace(), &to);
    wait_for("the first container to be probed", || vigil.sent() > 60);
    let mut passed = vigil.passed_since(began);
    if !was_halted {
        accidents.controller().signal(Signal::SIGCONT);
        accidents.controller().wait_until_ready();
        let enough = vigil.sent() + 60;
        wait_for("it to be probed when it is known", || vigil.sent() > enough);
        passed = vigil.passed_since(began);
    }
    drop(vigil);
    closed.remove();
    peer.remove();
    accidents.lab.docker(&["network", "rm", "fresh"]);
    if !was_halted {
        wait_for("the network to be forgotten", || !rules(&accidents.lab).contains("network fresh"));
    }
    assert_by_packets!(passed.is_empty(), "forbidden packets have passed to the first container: {passed:?}");
}
