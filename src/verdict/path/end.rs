//! The ends of a flow, as a person names them.
//!
//! Input: a text. Output: an [`End`], looked up in the inventory, so that a typing error is never taken for an address
//! that nobody has.

use std::net::{IpAddr, Ipv4Addr};

use crate::inventory::{Container, ContainerId, Endpoint, Inventory, NetworkId, Unenforceable};

use super::{Error, network_of, on_link};

/// The name of this host as an end.
pub const HOST: &str = "host";
/// Shortest beginning of a container id that is taken for one; Docker itself takes any, but prints 12.
const SHORTEST_ID: usize = 4;

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A container.
    Container {
        /// The container whose network stack it is.
        container: ContainerId,
        /// The only network that counts; `None` is all of the container's.
        network: Option<NetworkId>,
    },
    /// An address that no container of the inventory has.
    Address(IpAddr),
    /// This host.
    Host(Option<IpAddr>),
}

impl End {
    /// The end that a text names: `host`, an address, a container by name or id, or `CONTAINER@NETWORK`.
    ///
    /// An address that a container has is that container on that network; a gateway or loopback address is the host,
    /// and so is one to which a published port is bound.
    pub fn find(inventory: &Inventory, text: &str) -> Result<End, Error> {
        if text == HOST {
            return Ok(End::Host(None));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return End::of_address(inventory, address.to_canonical());
        }
        let (name, network) = text.split_once('@').map_or((text, None), |(name, network)| (name, Some(network)));
        let named = find_container(inventory, name).ok_or(()).or_else(|()| find_by_id(inventory, name))?;
        let container = inventory.stack_of(named).unwrap_or(named);
        if container.unenforceable == Some(Unenforceable::HostNetwork) {
            // Such a container is host processes to every packet filter.
            return Ok(End::Host(None));
        }
        if container.attachments.is_empty() && container.unenforceable.is_none() {
            return Err(Error::NoNetwork(container.name.clone()));
        }
        let network = network.map(|network| {
            let attached = |id: &NetworkId| inventory.networks.get(id).is_some_and(|found| found.name == network);
            let attachment = container.attachments.iter().find(|attachment| attached(&attachment.network));
            attachment
                .map(|attachment| attachment.network.clone())
                .ok_or_else(|| Error::NotAttached { container: container.name.clone(), network: network.to_owned() })
        });
        Ok(End::Container { container: container.id.clone(), network: network.transpose()? })
    }

    fn of_address(inventory: &Inventory, address: IpAddr) -> Result<End, Error> {
        if address.is_unspecified() {
            return Err(Error::Unspecified(address));
        }
        if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) || is_broadcast(inventory, address) {
            return Err(Error::Group(address));
        }
        for container in inventory.containers.values() {
            for attachment in &container.attachments {
                if [attachment.ipv4, attachment.ipv6].contains(&Some(address)) {
                    let network = Some(attachment.network.clone());
                    return Ok(End::Container { container: container.id.clone(), network });
                }
            }
        }
        let is_gateway = || inventory.networks.values().any(|network| network.gateways.contains(&address));
        let mut published = inventory.containers.values().flat_map(|container| &container.published);
        // A port can only be bound to an address that this host has.
        if address.is_loopback() || is_gateway() || published.any(|port| port.bound_to() == Some(address)) {
            return Ok(End::Host(Some(address)));
        }
        // Those of IPv4 are not asked about their link: a cloud's metadata service is one of them, and no neighbour.
        let is_of_a_link = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        if is_of_a_link
            && network_of(inventory, address).is_none()
            && on_link(&inventory.endpoints(), address).is_none()
        {
            return Err(Error::LinkLocal(address));
        }
        Ok(End::Address(address))
    }

    pub(super) fn includes(&self, endpoint: &Endpoint<'_>) -> bool {
        let End::Container { container, network } = self else { return false };
        endpoint.container.id == *container
            && network.as_ref().is_none_or(|network| endpoint.network.is_some_and(|found| found.id == *network))
    }
}

/// Whether it is the address of all of a subnet.
fn is_broadcast(inventory: &Inventory, address: IpAddr) -> bool {
    let mut subnets = inventory.networks.values().flat_map(|network| &network.subnets);
    // A subnet of two addresses has none to spare (RFC 3021).
    address.is_ipv4() && subnets.any(|subnet| subnet.prefix() < 31 && subnet.last() == address)
}

fn find_container<'a>(inventory: &'a Inventory, name: &str) -> Option<&'a Container> {
    inventory.containers.values().find(|container| container.name == name)
}

fn find_by_id<'a>(inventory: &'a Inventory, beginning: &str) -> Result<&'a Container, Error> {
    let unknown = || Error::Unknown(beginning.to_owned());
    if beginning.len() < SHORTEST_ID {
        return Err(unknown());
    }
    // In a file that states no ids the name stands for it, and the beginning of a name is nobody's.
    let has_id = |container: &&Container| *container.id.0 != *container.name;
    let begins_so = |container: &&Container| container.id.0.starts_with(beginning);
    let mut found = inventory.containers.values().filter(has_id).filter(begins_so);
    match (found.next(), found.next()) {
        (Some(container), None) => Ok(container),
        (Some(_), Some(_)) => Err(Error::Ambiguous(beginning.to_owned())),
        _ => Err(unknown()),
    }
}
