//! Why the gate of a network refuses a packet, for people.
//!
//! Input: a way that dockgate's own rules deny. Output: what is wrong with which address, and what to do. The rule's comment
//! is made for a listing of the kernel, and names neither.

use std::net::IpAddr;

use serde::Serialize;

use crate::compile::Gate;
use crate::inventory::{Endpoint, Inventory, Network};
use crate::verdict::path::Path;

/// A refusal in words.
#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    /// Which address is refused, and why.
    pub(super) reason: String,
    /// What to do.
    pub(super) help: String,
}

impl Refusal {
    /// Why the rule with this comment denies a way; `None` if it is none of the gate.
    pub(super) fn new(comment: &str, path: &Path<'_>, inventory: &Inventory) -> Option<Refusal> {
        let (address, endpoint) = match Gate::of_comment(comment)? {
            Gate::Elsewhere | Gate::UnknownSource => (path.packet.source, &path.source),
            Gate::UnknownDestination | Gate::UnlistedDestination => (path.packet.destination, &path.destination),
        };
        Some(match endpoint {
            Some(endpoint) => Refusal::of_endpoint(address, endpoint),
            None => Refusal::of_nobody(address, inventory),
        })
    }

    fn of_nobody(address: IpAddr, inventory: &Inventory) -> Refusal {
        let holds = |network: &&Network| network.subnets.iter().any(|subnet| subnet.contains(address));
        let network = inventory.networks.values().find(holds);
        let place =
            network.map_or_else(|| "a Docker network".to_owned(), |network| format!("network {}", network.name));
        Refusal {
            reason: format!("{address} is an address on {place} that no container is known to have"),
            help: "where policy is in force, only addresses of known containers pass, since no policy could be asked about \
                   another: ask about a container, or start the one that is to have this address; `dockgate get endpoints` \
                   lists those that are known"
                .to_owned(),
        }
    }

    fn of_endpoint(address: IpAddr, endpoint: &Endpoint<'_>) -> Refusal {
        let name = endpoint.name();
        Refusal {
            reason: format!("{address} is not known, or not yet, as an address by which {name} may be met"),
            help: format!(
                "a container passes when the engine has told its addresses and ports and policy on them is in force: ask \
                 about {} by the addresses that `dockgate get endpoints` lists, or again in some seconds",
                endpoint.container.name
            ),
        }
    }
}
