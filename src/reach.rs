//! Who may reach whom, on which ports: exact answers about a whole world.
//!
//! Input: an [`Inventory`] and the ruleset that was compiled for it. Output: a [`Reach`], which has for every two parties
//! the ways between them, each with the whole port space divided among verdicts. It asks [`crate::verdict::ports`], so that
//! what it says is what the kernel does.
//!
//! Parties that no rule can tell apart are asked about once: a rule sees an endpoint only as a member of sets and blocks, so
//! that those with the same memberships, networks and published ports have the same answers. So the work grows with the
//! number of different services and not with that of their replicas.

pub mod change;
mod outside;
mod questioner;
#[cfg(test)]
mod sample;
pub mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;

use crate::compile::Compiled;
use crate::inventory::{Container, ContainerId, Inventory};
use crate::net::{Cidr, Family, PortSet, Protocol};
use crate::verdict::Decision;
use crate::verdict::path::End;

use questioner::Questioner;

pub use outside::{Block, boundaries};

/// The port that clients are taken to send from: the first that Linux gives them without being asked.
pub const CLIENT_PORT: u16 = 49_152;

/// Someone who may reach or be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A container: its index in [`Reach::containers`].
    Container(usize),
    /// This host.
    Host,
    /// Addresses outside of which no rule can tell one from another: the index in [`Reach::outside`].
    Outside(usize),
}

/// What is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Ports of a protocol that has them.
    Ports(Protocol),
    /// The answer to an ICMP or ICMPv6 echo request.
    Ping,
}

impl Service {
    /// All that is asked about.
    pub const ALL: [Service; 4] =
        [Service::Ports(Protocol::TCP), Service::Ports(Protocol::UDP), Service::Ports(Protocol::SCTP), Service::Ping];
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Service::Ports(protocol) => protocol.fmt(f),
            Service::Ping => f.write_str("ping"),
        }
    }
}

impl Serialize for Service {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How one reaches the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case", tag = "via")]
pub enum Via {
    /// By its own address: on a network of both, to and from this host, to the outside.
    Direct,
    /// From the outside to a port of this host that the kernel translates to the container's.
    Published {
        /// The port of the host.
        host_port: u16,
    },
    /// To a port of this host that `docker-proxy` holds.
    Proxy {
        /// The port of the host.
        host_port: u16,
    },
}

/// One way from a party to another, for one service in one family.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Way {
    /// How it goes.
    pub via: Via,
    /// The family.
    pub family: Family,
    /// The service.
    pub service: Service,
    /// The network of the containers by which it goes: the sender's, for what goes out of it; `None` from outside through
    /// `docker-proxy`.
    pub network: Option<String>,
    /// What becomes of it, by destination port: the container's own where it is published under another. For a ping one
    /// part of all ports.
    pub parts: Parts,
}

/// Parts in the order of their ports. Most pairs have some in common with others, so that they are kept once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// A hash of them, the same for equal ones.
    digest: u64,
    parts: Arc<[Part]>,
}

impl Parts {
    fn new(parts: Vec<Part>) -> Parts {
        let mut hasher = DefaultHasher::new();
        parts.hash(&mut hasher);
        Parts { digest: hasher.finish(), parts: parts.into() }
    }

    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Part> {
        self.parts.iter()
    }
}

impl Hash for Parts {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.digest);
    }
}

impl Deref for Parts {
    type Target = [Part];

    fn deref(&self) -> &[Part] {
        &self.parts
    }
}

impl<'p> IntoIterator for &'p Parts {
    type Item = &'p Part;
    type IntoIter = std::slice::Iter<'p, Part>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Ports that the same rules decide about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    /// The ports, never none.
    pub ports: PortSet,
    /// Whether they may be reached.
    pub decision: Decision,
    /// Comments of the policy rules that say so, keys into [`Compiled::origins`]: of the sender's side first. None where no
    /// policy governs, or where a fixed rule denies.
    pub rules: Vec<String>,
}

impl Way {
    /// The ports that may be reached by it.
    pub fn open(&self) -> PortSet {
        self.parts
            .iter()
            .filter(|part| part.decision == Decision::Allow)
            .fold(PortSet::empty(), |open, part| open.union(&part.ports))
    }
}

/// The answers.
#[derive(Debug)]
pub struct Reach<'a> {
    containers: Vec<&'a Container>,
    outside: Vec<Block>,
    /// The class of each container, and of each block.
    class_of_container: Vec<usize>,
    class_of_block: Vec<usize>,
    /// The answer for the classes of both ends, as an index; see [`Class`].
    answer_of: BTreeMap<(Class, Class), usize>,
    /// The different answers. There are far fewer than pairs: what closes a container closes it to nearly everyone.
    answers: Vec<Arc<[Way]>>,
}

/// Parties that no rule can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Containers(usize),
    Host,
    Outside(usize),
}

impl<'a> Reach<'a> {
    /// Answers about a world. `boundaries` divides the outside further than the ruleset itself does, so that the answers of
    /// two rulesets can be compared block by block: see [`boundaries`].
    pub fn new(inventory: &'a Inventory, compiled: &'a Compiled, boundaries: &BTreeSet<Cidr>) -> Reach<'a> {
        let questioner = Questioner::new(inventory, compiled);
        let containers = questioner.containers();
        let (class_of_container, members) = classes(containers.iter().map(|container| questioner.identity(container)));
        let outside = outside::blocks(inventory, &compiled.ruleset, boundaries);
        let (class_of_block, blocks) = classes(outside.iter().map(|block| questioner.memberships(block.first)));

        let end = |index: usize| End::Container { container: containers[index].id.clone(), network: None };
        let ends: Vec<(End, Option<End>)> =
            members.iter().map(|members| (end(members[0]), members.get(1).map(|member| end(*member)))).collect();
        let addresses: Vec<End> = blocks.iter().map(|blocks| End::Address(outside[blocks[0]].first)).collect();
        let mut found = Found::default();
        let host = End::Host(None);
        for (class, (from, another)) in ends.iter().enumerate() {
            let key = Class::Containers(class);
            for (other, (to, _)) in ends.iter().enumerate() {
                // Of one class two different members, where it has them: nobody reaches himself by way of the host.
                let Some(to) = (if other == class { another.as_ref() } else { Some(to) }) else { continue };
                found.insert((key, Class::Containers(other)), questioner.ways(from, to));
            }
            found.insert((key, Class::Host), questioner.ways(from, &host));
            found.insert((Class::Host, key), questioner.ways(&host, from));
            for (block, address) in addresses.iter().enumerate() {
                found.insert((key, Class::Outside(block)), questioner.ways(from, address));
                found.insert((Class::Outside(block), key), questioner.ways(address, from));
            }
        }
        let Found { answer_of, answers, .. } = found;
        Reach { containers, outside, class_of_container, class_of_block, answer_of, answers }
    }

    /// The containers that policy can reach, by name.
    pub fn containers(&self) -> &[&'a Container] {
        &self.containers
    }

    /// The addresses outside, in blocks of which no rule can tell one address from another.
    pub fn outside(&self) -> &[Block] {
        &self.outside
    }

    /// All parties: containers, this host, the outside.
    pub fn parties(&self) -> impl Iterator<Item = Party> + '_ {
        let containers = (0..self.containers.len()).map(Party::Container);
        containers.chain([Party::Host]).chain((0..self.outside.len()).map(Party::Outside))
    }

    /// The container with this id; `None` for one that policy cannot reach.
    pub fn party_of(&self, id: &ContainerId) -> Option<Party> {
        self.containers.iter().position(|container| container.id == *id).map(Party::Container)
    }

    /// The ways from one party to another. None from a party to itself, between this host and the outside, and where
    /// there is no common family.
    pub fn ways(&self, from: Party, to: Party) -> &[Way] {
        self.answer(from, to).map_or(&[], |answer| &self.answers[answer])
    }

    /// The number of the answer about two parties, the same wherever the ways are the same; `None` from a party to itself.
    fn answer(&self, from: Party, to: Party) -> Option<usize> {
        if from == to {
            return None;
        }
        self.answer_of.get(&(self.class(from), self.class(to))).copied()
    }

    /// All that an answer depends on of a party.
    pub(crate) fn class(&self, party: Party) -> Class {
        match party {
            Party::Container(index) => Class::Containers(self.class_of_container[index]),
            Party::Host => Class::Host,
            Party::Outside(index) => Class::Outside(self.class_of_block[index]),
        }
    }
}

/// Answers as they are found, each kept once.
#[derive(Default)]
struct Found {
    answer_of: BTreeMap<(Class, Class), usize>,
    answers: Vec<Arc<[Way]>>,
    numbers: HashMap<Arc<[Way]>, usize>,
}

impl Found {
    fn insert(&mut self, pair: (Class, Class), ways: Vec<Way>) {
        let number = if let Some(number) = self.numbers.get(ways.as_slice()) {
            *number
        } else {
            let number = self.answers.len();
            let ways: Arc<[Way]> = ways.into();
            self.answers.push(Arc::clone(&ways));
            self.numbers.insert(ways, number);
            number
        };
        self.answer_of.insert(pair, number);
    }
}

/// The class of each by what it is, and the members of each class.
fn classes<I: Ord>(identities: impl Iterator<Item = I>) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut numbers = BTreeMap::new();
    let mut members: Vec<Vec<usize>> = Vec::new();
    let mut class_of = Vec::new();
    for (index, identity) in identities.enumerate() {
        let class = *numbers.entry(identity).or_insert(members.len());
        if class == members.len() {
            members.push(Vec::new());
        }
        members[class].push(index);
        class_of.push(class);
    }
    (class_of, members)
}
