//! Trees by which a packet finds its network among many, and there its class, so that it meets few rules.
//!
//! Input: the names of bridges, or the identities of the classes of one network. Output: a tree. Up to [`FEW`] stand in a row, because a fork would cost as much. Networks fork by the next character of their
//! bridge's name, which iptables compares with a `+` behind it; classes by the bits of a hash, each branch with a set of all
//! members of its classes, so that no packet needs a mark, in any table or hook.
//!
//! nftables takes no way from a hook to a chain that is longer than 15 steps, and a goto is one as well as a jump
//! (`NFT_JUMP_STACK_SIZE`: measured on 6.18, `Too many links`). Tiers need steps, too, so that trees are the lower, the
//! more tiers there are.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::net::{InterfaceName, InterfacePrefix};

/// As many as this stand in a row.
pub(in crate::compile) const FEW: usize = 8;
/// Bits of the hash by which classes fork: four branches, of which a packet is looked up in two and a half.
const BITS: u32 = 2;
/// The steps that nftables takes, less those that every packet needs: `DOCKER-USER`, the base chain and the chain of the
/// network on the way to a container; the base chain, `DG-via-NET` and `DG-reach-POLICY` on the way to a published port.
const STEPS: usize = 15 - 3;
/// Levels of groups of networks at most: enough for some 4,096 groups of bridges as Docker names them.
const NETWORK_LEVELS: usize = 3;
/// Levels of branches of classes at most: 256 branches.
const CLASS_LEVELS: usize = 4;

/// How large trees become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Limits {
    few: usize,
    network_levels: usize,
    class_levels: usize,
}

impl Limits {
    /// The limits where a packet may go through so many tiers. `DG-all-NET` needs a step, too, where others are branches.
    pub(in super::super) fn new(few: usize, tiers: usize) -> Limits {
        let free = STEPS.saturating_sub(tiers);
        let network_levels = NETWORK_LEVELS.min(free.saturating_sub(1));
        Limits { few, network_levels, class_levels: CLASS_LEVELS.min(free - network_levels) }
    }
}

/// Part of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node<K> {
    /// One, by its position in what the tree was made from.
    One(usize),
    /// Several, entered by one rule.
    Several(K, Vec<Node<K>>),
}

impl<K> Node<K> {
    /// The positions of all that it leads to.
    pub(super) fn positions(&self) -> Vec<usize> {
        match self {
            Node::One(position) => vec![*position],
            Node::Several(_, below) => below.iter().flat_map(Node::positions).collect(),
        }
    }
}

/// A branch of classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Branch {
    /// A digit for each fork.
    pub(super) path: String,
    /// 0 where packets come in.
    pub(super) level: u8,
}

/// Groups bridges. No two nodes beside each other are about the same interface, unless two networks have the same bridge.
pub(super) fn networks(names: &[&InterfaceName], limits: Limits) -> Vec<Node<InterfacePrefix>> {
    group(names, (0..names.len()).collect(), limits.few, limits.network_levels)
}

fn group(names: &[&InterfaceName], positions: Vec<usize>, few: usize, levels: usize) -> Vec<Node<InterfacePrefix>> {
    if positions.len() <= few || levels == 0 {
        return positions.into_iter().map(Node::One).collect();
    }
    let text = |position: usize| names[position].as_str();
    let common = positions.iter().map(|position| common_length(text(positions[0]), text(*position))).min().unwrap_or(0);
    // A name that is the beginning of all others has no next character.
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for position in positions {
        let name = text(position);
        groups.entry(name.get(..=common).unwrap_or(name)).or_default().push(position);
    }
    let mut nodes = Vec::new();
    for (beginning, positions) in groups {
        let differ = positions.iter().any(|position| names[*position] != names[positions[0]]);
        match beginning.parse() {
            Ok(prefix) if differ => {
                nodes.push(Node::Several(prefix, group(names, positions, few, levels - 1)));
            }
            _ => nodes.extend(positions.into_iter().map(Node::One)),
        }
    }
    nodes
}

fn common_length(one: &str, other: &str) -> usize {
    one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count()
}

/// Branches of the classes of one network and direction, by what tells each from the others.
pub(super) fn classes(identities: &[String], limits: Limits) -> Vec<Node<Branch>> {
    let hashes: Vec<u32> = identities.iter().map(|identity| hash(identity)).collect();
    fork(&hashes, (0..hashes.len()).collect(), String::new(), 0, limits)
}

fn fork(hashes: &[u32], positions: Vec<usize>, mut path: String, level: u8, limits: Limits) -> Vec<Node<Branch>> {
    if positions.len() <= limits.few || usize::from(level) >= limits.class_levels {
        return positions.into_iter().map(Node::One).collect();
    }
    let mut depth = u32::try_from(path.len()).unwrap_or(u32::MAX).saturating_mul(BITS);
    while depth < u32::BITS {
        let mut branches: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for position in &positions {
            let digit = (hashes[*position] >> depth) % (1 << BITS);
            branches.entry(digit).or_default().push(*position);
        }
        if branches.len() > 1 {
            let node = |(digit, positions): (u32, Vec<usize>)| {
                if let [only] = positions[..] {
                    return Node::One(only);
                }
                let path = format!("{path}{digit}");
                let below = fork(hashes, positions, path.clone(), level + 1, limits);
                Node::Several(Branch { path, level }, below)
            };
            return branches.into_iter().map(node).collect();
        }
        path.extend(branches.keys().map(u32::to_string));
        depth += BITS;
    }
    positions.into_iter().map(Node::One).collect()
}

/// The same in every version of this program and on every machine, so that a restart finds the chains that it would make.
fn hash(identity: &str) -> u32 {
    let [first, second, third, fourth, ..] = <[u8; 32]>::from(Sha256::digest(identity.as_bytes()));
    u32::from_le_bytes([first, second, third, fourth])
}
