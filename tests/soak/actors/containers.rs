//! Containers and networks come, change and go: those of the probed ways by restarts, others in every way that there is.

use std::sync::PoisonError;
use std::time::Instant;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::{pause, wait};
use crate::ledger::Kind;
use crate::support::lab::IMAGE;
use crate::support::{Container, Sender};
use crate::world::{INTRUDER, SEALED, Way, World, inside};

/// Containers of no probed way that there are at most at a time.
const SPARES: usize = 4;

/// A container that comes and goes.
struct Spare {
    id: String,
    name: String,
    network: &'static str,
    /// It sends what its role may not, from its first moment on.
    sender: Option<Sender>,
}

/// What the actor has in hand.
pub(crate) struct Containers<'w> {
    world: &'w World,
    probed: Vec<Container>,
    ways: Vec<Way>,
    spares: Vec<Spare>,
    has_extra_network: bool,
    number: usize,
    /// Forbidden packets that senders have sent which are gone.
    sent: u64,
}

impl<'w> Containers<'w> {
    /// With the ways between these containers, probed from now on.
    pub(crate) fn new(world: &'w World, probed: Vec<Container>) -> Containers<'w> {
        let mut containers = Containers {
            world,
            probed,
            ways: Way::all(),
            spares: Vec::new(),
            has_extra_network: false,
            number: 0,
            sent: 0,
        };
        for way in &mut containers.ways {
            way.begin(world, &containers.probed);
            settle(way);
        }
        containers
    }

    /// Has them come, change and go until the time is over. Returns how many forbidden packets those that come and go have
    /// sent.
    pub(crate) fn act(mut self, random: &mut StdRng) -> u64 {
        while !self.world.is_over() {
            match random.random_range(0..10) {
                0 | 1 => self.restart(random),
                2 => self.extra_network(),
                3..=6 if self.spares.len() < SPARES => self.add(random),
                _ => self.change(random),
            }
            pause(random, 400);
        }
        for way in &mut self.ways {
            way.end(self.world);
        }
        self.sent += self.spares.iter().map(rounds).sum::<u64>();
        self.sent * inside().len() as u64 * 3
    }

    fn restart(&mut self, random: &mut StdRng) {
        let index = random.random_range(0..self.probed.len());
        let name = self.probed[index].name().to_owned();
        let world = self.world;
        let mut ways: Vec<&mut Way> = self.ways.iter_mut().filter(|way| way.of.contains(&&*name)).collect();
        for way in &mut ways {
            way.end(world);
        }
        world.ledger.record(Kind::Restart, format!("{name} restarts"), || {
            {
                let _engine = world.engine_stays.read().unwrap_or_else(PoisonError::into_inner);
                self.probed[index].restart();
                for way in &mut ways {
                    way.begin(world, &self.probed);
                }
            }
            let restarted = Instant::now();
            ways.into_iter().for_each(settle);
            world.note_settled(restarted.elapsed());
        });
    }

    /// A network that is there or is not.
    fn extra_network(&mut self) {
        let world = self.world;
        if self.has_extra_network {
            let leaving = self.spares.extract_if(.., |spare| spare.network == "extra");
            let leaving: Vec<Spare> = leaving.collect();
            for spare in &leaving {
                self.remove(spare);
            }
            let removed = world.ledger.record(Kind::Network, "a network is removed", || {
                world.lab.try_docker(&["network", "rm", "extra"]).is_ok()
            });
            self.has_extra_network = !removed;
        } else {
            let create = ["network", "create", "--ipv6", "--subnet", "10.92.0.0/24", "--subnet", "2001:db8:92::/64"];
            self.has_extra_network = world.ledger.record(Kind::Network, "a network is created", || {
                world.lab.try_docker(&[&create[..], &["extra"]].concat()).is_ok()
            });
        }
    }

    fn add(&mut self, random: &mut StdRng) {
        self.number += 1;
        let name = format!("spare-{}", self.number);
        let role = *["client", "intruder", "sealed", "server"].choose(random).expect("there are roles");
        let networks: &[&str] = if self.has_extra_network { &["front", "back", "extra"] } else { &["front", "back"] };
        let network = *networks.choose(random).expect("there are networks");
        let world = self.world;
        let spare = world.ledger.record(Kind::Container, format!("{name} comes as {role} on {network}"), || {
            let label = format!("role={role}");
            let create = ["create", "--name", &name, "--label", &label, "--network", network, "--stop-signal", "KILL"];
            let id = world.lab.try_docker(&[&create[..], &[IMAGE, "sleep", "1000000"]].concat()).ok()?;
            let mark = match role {
                "intruder" => Some(INTRUDER),
                "sealed" => Some(SEALED),
                _ => None,
            };
            let sender = mark.map(|mark| Sender::from_container(&world.lab, &id, mark, &inside()));
            // An engine that is away starts nothing; the container is there all the same.
            let _started = world.lab.try_docker(&["start", &id]);
            Some(Spare { id, name: name.clone(), network, sender })
        });
        self.spares.extend(spare);
    }

    fn change(&mut self, random: &mut StdRng) {
        if self.spares.is_empty() {
            return;
        }
        let index = random.random_range(0..self.spares.len());
        let other = if self.spares[index].network == "back" { "front" } else { "back" };
        let id = self.spares[index].id.clone();
        let (what, command): (_, &[&str]) = match random.random_range(0..6) {
            0 => ("restarts", &["restart", "--time", "0", &id]),
            1 => ("stops", &["stop", "--time", "0", &id]),
            2 => ("starts", &["start", &id]),
            3 => ("is connected to another network", &["network", "connect", other, &id]),
            4 => ("is disconnected from another network", &["network", "disconnect", other, &id]),
            _ => {
                let spare = self.spares.remove(index);
                return self.remove(&spare);
            }
        };
        let world = self.world;
        world.ledger.record(Kind::Container, format!("{} {what}", self.spares[index].name), || {
            // It may be refused: one that runs is not started, and the engine may be away.
            let _refused = world.lab.try_docker(command);
        });
    }

    fn remove(&mut self, spare: &Spare) {
        self.sent += rounds(spare);
        let world = self.world;
        world.ledger.record(Kind::Container, format!("{} goes", spare.name), || {
            // Where the engine is away the container stays, as one more that nobody knows of.
            let _refused = world.lab.try_docker(&["rm", "--force", &spare.id]);
        });
    }
}

/// Waits until a way is open, as it has to be from then on.
fn settle(way: &mut Way) {
    wait(&format!("an allowed way to open: {}", way.name), || way.is_open());
    way.settle();
}

fn rounds(spare: &Spare) -> u64 {
    spare.sender.as_ref().map_or(0, Sender::rounds)
}
