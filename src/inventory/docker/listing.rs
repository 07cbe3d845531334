//! What the engine's answers mean: networks, their members, containers.
//!
//! Input: answers of `GET /networks/{id}` and `GET /containers/json`. Output: [`Network`]s, [`Attachment`]s and
//! [`Container`]s whose attachments are all pending; [`Listing::assemble`] puts them together.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use bollard::Docker;
use bollard::models::{
    ContainerSummary, ContainerSummaryStateEnum, EndpointResource, IpamConfig, NetworkInspect, PortSummary,
    PortSummaryTypeEnum,
};
use bollard::query_parameters::{
    InspectContainerOptions, InspectNetworkOptions, ListContainersOptionsBuilder, ListNetworksOptions,
};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::super::{Attachment, Container, ContainerId, Inventory, Network, NetworkId, PublishedPort, Unenforceable};
use super::{Error, answer, answer_if_present};
use crate::net::{Cidr, Protocol};

/// Containers that are listed in one call, while everything is. What an engine says of one takes several times the memory of
/// what is kept of it, and more than one call is made only where there are very many.
const CONTAINERS_PER_PAGE: i32 = 1000;
/// Networks that are asked for at the same time while everything is listed: enough to hide the way to the engine, few
/// enough that it can serve others.
const PARALLEL_CALLS: usize = 4;
/// The network through which the containers of Swarm's overlay networks reach the outside. No event tells of its members.
pub(super) const SWARM_GATEWAY: &str = "docker_gwbridge";

/// A network with its members; `None` if there is none of this id.
pub(super) async fn network(docker: &Docker, id: &str) -> Result<Option<NetworkInspect>, Error> {
    answer_if_present(docker.inspect_network(id, None::<InspectNetworkOptions>)).await
}

/// Those of these containers that exist.
pub(super) async fn containers(docker: &Docker, ids: &BTreeSet<ContainerId>) -> Result<Vec<Listed>, Error> {
    let filters = HashMap::from([("id", ids.iter().map(|id| &*id.0).collect())]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    Ok(answer(docker.list_containers(Some(options))).await?.into_iter().filter_map(Listed::of).collect())
}

/// Waits until nothing holds a container, whether there is one of this id or not.
pub(super) async fn inspected(docker: &Docker, id: &ContainerId) -> Result<(), Error> {
    let found = answer_if_present(docker.inspect_container(&id.0, None::<InspectContainerOptions>)).await?;
    drop(found);
    Ok(())
}

/// Everything. Networks come first: an address that is given in between is one more than the container list knows, and its
/// event is still to come.
pub(super) async fn everything(docker: &Docker) -> Result<Listing, Error> {
    let listed = answer(docker.list_networks(None::<ListNetworksOptions>)).await?;
    let ids = listed.into_iter().filter_map(|network| network.id);
    let networks: Vec<Option<NetworkInspect>> =
        stream::iter(ids).map(async |id| network(docker, &id).await).buffered(PARALLEL_CALLS).try_collect().await?;
    Ok(Listing { networks: networks.into_iter().flatten().collect(), containers: all_containers(docker).await? })
}

/// All containers, the latest first. Those of a page come before the last one of the page before, in the order of the moments
/// at which they were created. Of several that were created in the same nanosecond one could be missed until the next list.
async fn all_containers(docker: &Docker) -> Result<Vec<Listed>, Error> {
    let all = || ListContainersOptionsBuilder::default().all(true);
    let mut containers = Vec::new();
    let mut last: Option<String> = None;
    loop {
        let before: HashMap<_, _> = last.iter().map(|id| ("before", vec![id.as_str()])).collect();
        let options = all().limit(CONTAINERS_PER_PAGE).filters(&before).build();
        // Without an answer the last one of the page before has been removed meanwhile.
        let Some(page) = answer_if_present(docker.list_containers(Some(options))).await? else { break };
        let is_whole = i32::try_from(page.len()).is_ok_and(|length| length < CONTAINERS_PER_PAGE);
        let next = page.last().and_then(|summary| summary.id.clone());
        containers.extend(page.into_iter().filter_map(Listed::of));
        // One that does not know the filter says the same again and again.
        match next.filter(|id| last.as_ref() != Some(id)) {
            _ if is_whole => return Ok(containers),
            Some(id) => last = Some(id),
            None => break,
        }
    }
    drop(containers);
    Ok(answer(docker.list_containers(Some(all().build()))).await?.into_iter().filter_map(Listed::of).collect())
}

/// The engine's answers about everything.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) networks: Vec<NetworkInspect>,
    pub(super) containers: Vec<Listed>,
}

/// What counts of what the list says of a container.
#[derive(Debug)]
pub(super) struct Listed {
    id: String,
    name: String,
    image: String,
    labels: Vec<(String, String)>,
    /// Names of networks, each with the id where that is said.
    networks: Vec<(String, Option<NetworkId>)>,
    /// How it is on a network, as it was asked for: `host`, `container:ID`.
    mode: String,
    published: Vec<PublishedPort>,
    is_running: bool,
}

impl Listed {
    /// `None` if the answer lacks what every engine gives.
    pub(super) fn of(summary: ContainerSummary) -> Option<Listed> {
        let id = summary.id?;
        // Legacy links add names with more than one slash.
        let mut names = summary.names.iter().flatten().filter_map(|name| name.strip_prefix('/'));
        let name = names.find(|name| !name.contains('/')).map_or_else(|| id.clone(), str::to_owned);
        let networks = summary.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let networks = networks.into_iter().map(|(name, at)| (name, at.network_id.map(|id| NetworkId(id.into()))));
        let mut published: Vec<PublishedPort> =
            summary.ports.into_iter().flatten().filter_map(|port| published_port(&port)).collect();
        published.sort();
        published.dedup();
        Some(Listed {
            id,
            name,
            image: summary.image.unwrap_or_default(),
            labels: summary.labels.into_iter().flatten().collect(),
            networks: networks.collect(),
            mode: summary.host_config.and_then(|config| config.network_mode).unwrap_or_default(),
            published,
            is_running: matches!(
                summary.state,
                Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED)
            ),
        })
    }
}

/// What a listing amounts to.
#[derive(Debug)]
pub(super) struct Assembled {
    /// The networks and containers.
    pub(super) inventory: Inventory,
    /// Containers that name a network which is not there (see [`Described::unresolved`]).
    pub(super) unresolved: BTreeSet<ContainerId>,
}

/// Texts that occur in many containers, each once.
#[derive(Debug, Default)]
pub(super) struct Texts(HashSet<Arc<str>>);

impl Texts {
    fn shared(&mut self, text: String) -> Arc<str> {
        if let Some(known) = self.0.get(text.as_str()) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.0.insert(Arc::clone(&text));
        text
    }

    /// Forgets those that nobody shares.
    fn forget_rare(&mut self) {
        self.0.retain(|text| Arc::strong_count(text) > 2);
        self.0.shrink_to_fit();
    }
}

impl Listing {
    pub(super) fn assemble(self, texts: &mut Texts) -> Assembled {
        let mut inventory = Inventory::default();
        let mut unresolved = BTreeSet::new();
        let mut attachments: BTreeMap<ContainerId, Vec<Attachment>> = BTreeMap::new();
        for inspected in &self.networks {
            let Some(network) = describe_network(inspected) else { continue };
            for (container, attachment) in members(inspected) {
                attachments.entry(container).or_default().push(attachment);
            }
            inventory.networks.insert(network.id.clone(), network);
        }
        let names: BTreeMap<String, String> =
            self.containers.iter().map(|listed| (listed.id.clone(), listed.name.clone())).collect();
        for listed in self.containers {
            let known_name = |id: &str| names.get(id).cloned();
            let mut described = describe_container(listed, &inventory.networks, known_name, texts);
            for attachment in attachments.remove(&described.container.id).unwrap_or_default() {
                replace(&mut described.container.attachments, attachment);
            }
            described.container.attachments.shrink_to_fit();
            if described.unresolved {
                unresolved.insert(described.container.id.clone());
            }
            inventory.containers.insert(described.container.id.clone(), described.container);
        }
        texts.forget_rare();
        Assembled { inventory, unresolved }
    }
}

/// Puts an attachment in the place of one to the same network, or adds it; keeps the order by network.
pub(super) fn replace(attachments: &mut Vec<Attachment>, attachment: Attachment) {
    attachments.retain(|known| known.network != attachment.network);
    attachments.push(attachment);
    attachments.sort_by(|a, b| a.network.cmp(&b.network));
}

/// The network itself; `None` if it is not on this host, or the answer lacks what every engine gives.
///
/// A network of a swarm is on a host as long as a container of that host, or the swarm itself, is attached to it there. Otherwise
/// the engine says what the swarm has noted of it, which is without members, and one of driver `bridge` has no bridge. A swarm's
/// own network `bridge` is on no host by the swarm's id for it; all the same its creation is an event on some starts of a swarm.
pub(super) fn describe_network(inspected: &NetworkInspect) -> Option<Network> {
    if inspected.scope.as_deref() == Some("swarm") && inspected.containers.is_none() {
        return None;
    }
    let id = inspected.id.clone()?;
    let driver = inspected.driver.clone().filter(|driver| !driver.is_empty())?;
    let option = |key: &str| inspected.options.as_ref().and_then(|options| options.get(key));
    let bridge = if driver == "bridge" {
        let named = option("com.docker.network.bridge.name").filter(|name| !name.is_empty()).cloned();
        named.or_else(|| Some(format!("br-{}", id.get(..12)?))).and_then(|name| name.parse().ok())
    } else {
        None
    };
    let pools: Vec<&IpamConfig> =
        inspected.ipam.iter().flat_map(|ipam| ipam.config.iter().flatten()).filter(|p| p.subnet.is_some()).collect();
    let gateways =
        if driver == "bridge" { pools.iter().filter_map(|pool| gateway(pool)).collect() } else { Vec::new() };
    Some(Network {
        name: inspected.name.clone().unwrap_or_else(|| id.clone()),
        id: NetworkId(id.into()),
        driver,
        bridge,
        subnets: pools.iter().filter_map(|pool| pool.subnet.as_ref()?.parse().ok()).collect(),
        gateways,
        internal: inspected.internal.unwrap_or(false),
    })
}

/// The host's address in a pool. Engines do not report one that nobody stated; the bridge driver then takes the first address
/// of the range that containers get theirs from.
fn gateway(pool: &IpamConfig) -> Option<IpAddr> {
    if let Some(stated) = pool.gateway.as_deref().and_then(address) {
        return Some(stated);
    }
    let subnet: Cidr = pool.subnet.as_ref()?.parse().ok()?;
    let range: Option<Cidr> = pool.ip_range.as_ref().and_then(|range| range.parse().ok());
    match range.map(Cidr::network).filter(|first| *first != subnet.network()) {
        Some(first) => Some(first),
        None => subnet.hosts().find(|host| *host != subnet.network()),
    }
}

/// Reads `ADDRESS` or `ADDRESS/PREFIX`.
fn address(text: &str) -> Option<IpAddr> {
    text.split('/').next()?.parse().ok()
}

/// The attachments of a network's members that have an address.
pub(super) fn members(inspected: &NetworkInspect) -> BTreeMap<ContainerId, Attachment> {
    let Some(network) = inspected.id.as_deref().map(|id| NetworkId(id.into())) else { return BTreeMap::new() };
    let attachment = |endpoint: &EndpointResource| Attachment {
        network: network.clone(),
        endpoint_id: endpoint.endpoint_id.as_deref().unwrap_or_default().into(),
        ipv4: endpoint.ipv4_address.as_deref().and_then(address),
        ipv6: endpoint.ipv6_address.as_deref().and_then(address),
        mac: endpoint.mac_address.as_deref().and_then(|mac| mac.parse().ok()),
    };
    inspected
        .containers
        .iter()
        .flatten()
        .map(|(container, endpoint)| (ContainerId(container.as_str().into()), attachment(endpoint)))
        .filter(|(_, attachment)| !attachment.is_pending())
        .collect()
}

/// A container as the list shows it.
#[derive(Debug)]
pub(super) struct Described {
    /// The container; its attachments are all pending. If it is `listed`, its processes run, so that its attachments must
    /// have addresses.
    pub(super) container: Container,
    /// Whether it names a network that is not known: created a moment ago, or removed under a stopped container.
    pub(super) unresolved: bool,
}

/// Describes a container of the list.
///
/// `name_of` gives the name of another container by its id.
pub(super) fn describe_container(
    listed: Listed,
    networks: &BTreeMap<NetworkId, Network>,
    name_of: impl Fn(&str) -> Option<String>,
    texts: &mut Texts,
) -> Described {
    let Listed { id, name, image, labels, networks: named, mode, published, is_running } = listed;
    let mut unenforceable = match mode.strip_prefix("container:") {
        Some(other) => {
            let short = || other.get(..12).unwrap_or(other).to_owned();
            Some(Unenforceable::SharedWith(name_of(other).unwrap_or_else(short)))
        }
        None => (mode == "host").then_some(Unenforceable::HostNetwork),
    };
    let mut attachments = Vec::new();
    let mut unresolved = false;
    for (network_name, id) in named {
        // Before its first start a container knows a network by name only; a removed one keeps its id there.
        let by_id = id.and_then(|id| networks.get(&id));
        match by_id.or_else(|| networks.values().find(|network| network.name == network_name)) {
            Some(network) if network.driver == "host" => unenforceable = Some(Unenforceable::HostNetwork),
            Some(network) if network.driver == "null" => {}
            Some(network) => replace(&mut attachments, Attachment::pending(network.id.clone())),
            None => unresolved = true,
        }
    }
    let container = Container {
        id: ContainerId(id.into()),
        name,
        image,
        labels: labels.into_iter().map(|(key, value)| (texts.shared(key), texts.shared(value))).collect(),
        attachments,
        unenforceable,
        published,
        listed: is_running,
        judged: BTreeSet::new(),
        stated_namespace: None,
    };
    Described { container, unresolved }
}

/// A port of the list; `None` for one that the image exposes and nobody published.
fn published_port(port: &PortSummary) -> Option<PublishedPort> {
    let protocol = match port.typ? {
        PortSummaryTypeEnum::TCP => Protocol::TCP,
        PortSummaryTypeEnum::UDP => Protocol::UDP,
        PortSummaryTypeEnum::SCTP => Protocol::SCTP,
        PortSummaryTypeEnum::EMPTY => return None,
    };
    let host_port = port.public_port.filter(|port| *port != 0)?;
    let host_address = port.ip.as_deref().and_then(address);
    Some(PublishedPort { host_address, host_port: Some(host_port), container_port: port.private_port, protocol })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_swarm_has_noted_of_a_network_is_no_network_of_this_host() {
        for (scope, containers, is_here) in [
            ("swarm", None, false),
            ("swarm", Some(HashMap::new()), true),
            ("local", Some(HashMap::new()), true),
            // An engine may leave out what is empty.
            ("local", None, true),
        ] {
            let inspected = NetworkInspect {
                id: Some("lw85suqtkqa9npkld9dsdrd1g".to_owned()),
                name: Some("bridge".to_owned()),
                driver: Some("bridge".to_owned()),
                scope: Some(scope.to_owned()),
                containers: containers.clone(),
                ..NetworkInspect::default()
            };
            assert_eq!(describe_network(&inspected).is_some(), is_here, "{scope}, members {containers:?}");
        }
    }

    #[test]
    fn only_a_bridge_network_has_a_bridge() {
        // A kernel without ipvlan has no engine that could show this.
        for (driver, bridge) in
            [("bridge", Some("br-0123456789ab")), ("ipvlan", None), ("macvlan", None), ("overlay", None)]
        {
            let inspected = NetworkInspect {
                id: Some("0123456789abcdef".to_owned()),
                name: Some("n".to_owned()),
                driver: Some(driver.to_owned()),
                ..NetworkInspect::default()
            };
            let network = describe_network(&inspected).expect("an id is all it takes");
            assert_eq!(network.bridge.as_ref().map(ToString::to_string).as_deref(), bridge, "{driver}");
            let summary = ContainerSummary {
                id: Some("c".to_owned()),
                names: Some(vec!["/c".to_owned()]),
                network_settings: Some(bollard::models::ContainerSummaryNetworkSettings {
                    networks: Some(HashMap::from([("n".to_owned(), bollard::models::EndpointSettings::default())])),
                }),
                ..ContainerSummary::default()
            };
            let listing = Listing { networks: vec![inspected], containers: Listed::of(summary).into_iter().collect() };
            let inventory = listing.assemble(&mut Texts::default()).inventory;
            let endpoints = inventory.endpoints();
            let expected = bridge.is_none().then(|| Unenforceable::Driver(driver.to_owned()));
            assert_eq!((endpoints.len(), &endpoints[0].unenforceable), (1, &expected), "{driver}");
        }
    }
}
