//! A world and its policies before and after a change, from a seed, and smaller ones.
//!
//! Input: a seed. Output: a [`World`]: what `worlds.rs` and `policies.rs` generate, some of its networks internal and some
//! of one family only, some of its containers replicas of a Compose service. The change is one of four: to other policies,
//! to fewer, to one that says something else in one place, or to the same in another order.

use std::fmt;

use dockgate::inventory::{Inventory, file};
use dockgate::net::{Cidr, Family};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

use crate::policies::policies;
use crate::worlds::inventory;

/// Between the documents of a file.
const SEPARATOR: &str = "\n---\n";
/// What a policy says, and what it says instead.
const EDITS: [(&str, &str); 6] = [
    (r#""action":"Allow""#, r#""action":"Deny""#),
    (r#""action":"Deny""#, r#""action":"Allow""#),
    (r#""order":1.0"#, r#""order":-5.0"#),
    ("81", "82"),
    ("53", "54"),
    ("app == 'x'", "app == 'y'"),
];

/// What the commands are asked about.
#[derive(Clone)]
pub(crate) struct World {
    /// The seed of all that is drawn in it.
    pub(crate) seed: u64,
    /// Containers and networks.
    pub(crate) inventory: Inventory,
    /// The documents before and after.
    policies: [Vec<String>; 2],
    /// Whether the change is none in what it means.
    pub(crate) is_rewritten: bool,
}

impl World {
    /// The world of a seed.
    pub(crate) fn generated(seed: u64) -> World {
        let random = &mut StdRng::seed_from_u64(seed ^ 0x5EED);
        let mut inventory = inventory(seed);
        vary(&mut inventory, random);
        let old = documents(&policies(seed));
        let new = match seed % 4 {
            0 => documents(&policies(seed + 1_000_000)),
            1 => {
                // Without its tier a policy is not valid.
                let mut stays = |document: &str| document.contains("\"Tier\"") || random.random_ratio(2, 3);
                old.iter().filter(|text| stays(text)).cloned().collect()
            }
            2 => edited(&old, random),
            _ => {
                let mut new = old.clone();
                new.shuffle(random);
                new
            }
        };
        World { seed, inventory, policies: [old, new], is_rewritten: seed % 4 == 3 }
    }

    /// The policy file before, or after.
    pub(crate) fn text(&self, side: usize) -> String {
        self.policies[side].join(SEPARATOR)
    }

    /// The Inventory file.
    pub(crate) fn inventory_text(&self) -> String {
        serde_json::to_string_pretty(&file::to_resource(&self.inventory)).expect("an inventory is JSON")
    }

    /// Worlds with one thing less.
    pub(crate) fn smaller(&self) -> Vec<World> {
        let mut smaller = Vec::new();
        for document in self.policies.iter().flatten() {
            let mut world = self.clone();
            for side in &mut world.policies {
                side.retain(|other| other != document);
            }
            // Of no policies at all `diff` and `test` have nothing to say, and say so.
            if world.policies.iter().all(|side| !side.is_empty()) {
                smaller.push(world);
            }
        }
        for id in self.inventory.containers.keys() {
            let mut world = self.clone();
            world.inventory.containers.remove(id);
            let ports = self.inventory.containers[id].published.iter();
            smaller.push(world);
            for port in ports {
                let mut world = self.clone();
                let container = world.inventory.containers.get_mut(id).expect("it is a copy");
                container.published.retain(|other| other != port);
                smaller.push(world);
            }
        }
        smaller
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [old, new] = [self.text(0), self.text(1)];
        write!(f, "# inventory.yaml\n{}\n\n# old.yaml\n{old}\n", self.inventory_text())?;
        if old == new { write!(f, "\n# new.yaml is the same") } else { write!(f, "\n# new.yaml\n{new}") }
    }
}

fn documents(text: &str) -> Vec<String> {
    text.split(SEPARATOR).map(str::to_owned).collect()
}

/// The same policies, but for one thing in one of them.
fn edited(old: &[String], random: &mut StdRng) -> Vec<String> {
    let mut new = old.to_vec();
    let can_be = |document: &String, (from, _): &(&str, &str)| document.contains("Policy") && document.contains(from);
    let possible: Vec<_> = (0..new.len())
        .flat_map(|index| EDITS.iter().map(move |edit| (index, edit)))
        .filter(|(index, edit)| can_be(&new[*index], edit))
        .collect();
    if let Some((index, (from, to))) = possible.choose(random) {
        new[*index] = new[*index].replacen(from, to, 1);
    }
    new
}

/// Networks that Docker keeps inside, networks of one family, and replicas.
fn vary(inventory: &mut Inventory, random: &mut StdRng) {
    for network in inventory.networks.values_mut() {
        network.internal = random.random_ratio(1, 4);
        if random.random_ratio(1, 4) {
            let gone = *Family::ALL.choose(random).expect("there are two");
            network.subnets.retain(|subnet: &Cidr| subnet.family() != gone);
            network.gateways.retain(|gateway| Family::of(*gateway) != gone);
            let attachments = inventory.containers.values_mut().flat_map(|container| &mut container.attachments);
            for attachment in attachments.filter(|attachment| attachment.network == network.id) {
                *(if gone == Family::V4 { &mut attachment.ipv4 } else { &mut attachment.ipv6 }) = None;
            }
        }
    }
    for container in inventory.containers.values_mut() {
        if random.random_ratio(1, 4) {
            let labels = [("com.docker.compose.project", "shop"), ("com.docker.compose.service", "web")];
            container.labels.extend(labels.map(|(key, value)| (key.into(), value.into())));
        }
    }
}
