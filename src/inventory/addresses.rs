//! Which addresses of a network a container can have, and which one is next.
//!
//! Input: a network's subnets and gateways, and stated addresses. Output: assigned addresses, as Docker assigns them: the
//! lowest free one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::net::{Cidr, Family};
use crate::policy::codes::{self, Code};

/// Why a container cannot have an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("is in no subnet of the network")]
    Outside,
    #[error("is the address of the subnet itself")]
    Network,
    #[error("is the broadcast address of the subnet")]
    Broadcast,
    #[error("is a gateway of the network")]
    Gateway,
    #[error("belongs to `{0}` already")]
    Taken(String),
}

impl Refusal {
    pub(super) fn code(&self) -> &'static Code {
        match self {
            Refusal::Taken(_) => &codes::ADDRESS_TWICE,
            Refusal::Outside | Refusal::Network | Refusal::Broadcast | Refusal::Gateway => &codes::ADDRESS,
        }
    }
}

/// The addresses of one network.
pub(super) struct Pool {
    subnets: Vec<Cidr>,
    gateways: Vec<IpAddr>,
    holders: BTreeMap<IpAddr, String>,
    candidates: BTreeMap<Family, Box<dyn Iterator<Item = IpAddr>>>,
}

impl Pool {
    pub(super) fn new(subnets: &[Cidr], gateways: &[IpAddr]) -> Pool {
        let mut candidates: BTreeMap<Family, Box<dyn Iterator<Item = IpAddr>>> = BTreeMap::new();
        for family in Family::ALL {
            let subnets: Vec<Cidr> = subnets.iter().copied().filter(|subnet| subnet.family() == family).collect();
            if !subnets.is_empty() {
                candidates.insert(family, Box::new(subnets.into_iter().flat_map(Cidr::hosts)));
            }
        }
        Pool { subnets: subnets.to_owned(), gateways: gateways.to_owned(), holders: BTreeMap::new(), candidates }
    }

    /// Takes the addresses that are not stated from these parts of the subnets, where a subnet has one.
    pub(super) fn within(mut self, ranges: &[Cidr]) -> Pool {
        for family in Family::ALL {
            let of_family = self.subnets.iter().filter(|subnet| subnet.family() == family);
            let parts: Vec<Cidr> = of_family
                .map(|subnet| ranges.iter().find(|range| subnet.contains(range.network())).unwrap_or(subnet))
                .copied()
                .collect();
            if !parts.is_empty() {
                self.candidates.insert(family, Box::new(parts.into_iter().flat_map(Cidr::hosts)));
            }
        }
        self
    }

    /// Whether the network has a subnet of this family.
    pub(super) fn has(&self, family: Family) -> bool {
        self.candidates.contains_key(&family)
    }

    /// Gives a stated address away. A network without a subnet of the family takes every address: an engine may not say
    /// which subnets the network of another driver has.
    pub(super) fn claim(&mut self, address: IpAddr, holder: &str) -> Result<(), Refusal> {
        self.check(address)?;
        self.holders.insert(address, holder.to_owned());
        Ok(())
    }

    /// Gives the lowest free address away; `None` if there is none.
    pub(super) fn next(&mut self, family: Family) -> Option<IpAddr> {
        loop {
            let address = self.candidates.get_mut(&family)?.next()?;
            if self.check(address).is_ok() {
                return Some(address);
            }
        }
    }

    fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        let subnet = self.subnets.iter().find(|subnet| subnet.contains(address));
        match subnet {
            None if self.has(Family::of(address)) => return Err(Refusal::Outside),
            Some(subnet) if is_network_address(*subnet, address) => return Err(Refusal::Network),
            Some(subnet) if is_broadcast_address(*subnet, address) => return Err(Refusal::Broadcast),
            None | Some(_) => {}
        }
        if self.gateways.contains(&address) {
            return Err(Refusal::Gateway);
        }
        self.holders.get(&address).map_or(Ok(()), |holder| Err(Refusal::Taken(holder.clone())))
    }
}

/// Whether a subnet contains the address, or there is no subnet of its family.
pub(super) fn is_covered(address: IpAddr, subnets: &[Cidr]) -> bool {
    let mut of_family = subnets.iter().filter(|subnet| subnet.family() == Family::of(address)).peekable();
    of_family.peek().is_none() || of_family.any(|subnet| subnet.contains(address))
}

/// The first address of a subnet that a host may have: the gateway's, unless another one is stated.
pub(super) fn first(subnet: Cidr) -> Option<IpAddr> {
    subnet.hosts().find(|address| !is_network_address(subnet, *address))
}

/// Whether the address before the slash has bits beyond the prefix of `subnet`, which was read from the same text.
pub(super) fn has_host_bits(text: &str, subnet: Cidr) -> bool {
    let address = text.split('/').next().and_then(|address| address.parse::<IpAddr>().ok());
    address != Some(subnet.network())
}

/// In subnets of two addresses or one, both families give every address to hosts (RFC 3021, RFC 6164).
fn is_network_address(subnet: Cidr, address: IpAddr) -> bool {
    subnet.prefix() + 1 < subnet.family().host_prefix() && address == subnet.network()
}

fn is_broadcast_address(subnet: Cidr, address: IpAddr) -> bool {
    subnet.family() == Family::V4 && subnet.prefix() < 31 && address == subnet.last()
}
