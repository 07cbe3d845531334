//! The outside, divided into blocks of which no rule can tell one address from another.
//!
//! Input: a ruleset and the networks of this host. Output: [`Block`]s that together are every address that a host
//! outside can have. A rule tells addresses apart only by the blocks and the single addresses that it names, so that between
//! two neighbouring boundaries of those all addresses are the same to it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::inventory::Inventory;
use crate::net::{Cidr, Family};
use crate::ruleset::{Match, Member, Ruleset};

/// Addresses that nobody outside has: this host's own, those of links, of groups, and of nobody.
const NOBODYS: [&str; 9] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/3",
    "::/127",
    "::ffff:0:0/96",
    "fe80::/10",
    "ff00::/8",
    "100::/64",
];

/// Neighbouring addresses outside that are the same to every rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// The first address.
    pub first: IpAddr,
    /// The last address, of the same family.
    pub last: IpAddr,
}

impl Block {
    /// The family.
    pub fn family(&self) -> Family {
        Family::of(self.first)
    }

    /// Its addresses as blocks of CIDR.
    pub fn nets(&self) -> Vec<Cidr> {
        Cidr::covering(self.first, self.last)
    }

    /// Number of its addresses but one, so that it fits also where it is all of them.
    pub(super) fn size(&self) -> u128 {
        number(self.last) - number(self.first)
    }

    /// The addresses of blocks in ascending order as blocks of CIDR; neighbours are joined before they are divided.
    pub(super) fn joined<'a>(blocks: impl Iterator<Item = &'a Block>) -> Vec<Cidr> {
        let mut joined: Vec<Block> = Vec::new();
        for block in blocks {
            let is_next = |last: &&mut Block| {
                last.family() == block.family() && number(last.last).checked_add(1) == Some(number(block.first))
            };
            match joined.last_mut().filter(is_next) {
                Some(last) => last.last = block.last,
                None => joined.push(block.clone()),
            }
        }
        joined.iter().flat_map(Block::nets).collect()
    }

    /// Whether it has an address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.family() == Family::of(address) && (self.first..=self.last).contains(&address)
    }
}

/// What a ruleset names of addresses, in its rules and its sets.
pub fn boundaries(ruleset: &Ruleset) -> BTreeSet<Cidr> {
    let of_sets = ruleset.sets.values().flat_map(|set| &set.members).filter_map(|member| match member {
        Member::Ip(address) | Member::IpPort { address, .. } => Some(Cidr::host(*address)),
        Member::Net(net) => Some(*net),
        // Nobody outside comes by the bridge of a network.
        Member::NetInterface { .. } => None,
    });
    of_sets.chain(nets(ruleset)).collect()
}

/// The blocks for which rules ask without a set.
fn nets(ruleset: &Ruleset) -> BTreeSet<Cidr> {
    let rules = ruleset.chains.rules();
    let net_of = |condition: &Match| match condition {
        Match::Net { net, .. } => Some(*net),
        _ => None,
    };
    rules.flat_map(|rule| rule.matches.iter()).filter_map(net_of).collect()
}

/// The blocks, in ascending order, IPv4 first.
pub(super) fn blocks(inventory: &Inventory, ruleset: &Ruleset, further: &BTreeSet<Cidr>) -> Vec<Block> {
    let bridged = inventory.networks.values().filter(|network| network.bridge.is_some());
    let mut inside: BTreeSet<Cidr> = bridged.flat_map(|network| network.subnets.iter().copied()).collect();
    inside.extend(NOBODYS.iter().filter_map(|net| net.parse::<Cidr>().ok()));
    let named = boundaries(ruleset);
    let mut blocks = Vec::new();
    for family in Family::ALL {
        let all: Vec<Cidr> =
            named.iter().chain(further).chain(&inside).copied().filter(|net| net.family() == family).collect();
        // Where a block begins, and behind which address one ends.
        let mut starts: BTreeSet<u128> = [0].into();
        for net in all {
            starts.insert(number(net.network()));
            starts.extend(number(net.last()).checked_add(1).filter(|start| *start <= number(last(family))));
        }
        let starts: Vec<u128> = starts.into_iter().collect();
        for (index, start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).map_or(number(last(family)), |next| next - 1);
            let block = Block { first: address(family, *start), last: address(family, end) };
            if !inside.iter().any(|net| net.contains(block.first)) {
                blocks.push(block);
            }
        }
    }
    blocks
}

fn last(family: Family) -> IpAddr {
    Cidr::everything(family).last()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The address of a number that [`number`] gave, or that lies between two such.
fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Family::V6 => Ipv6Addr::from(number).into(),
    }
}
