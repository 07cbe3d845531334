//! A small engine of plain values: it logs events as Docker does, and answers calls from its present state.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bollard::models::{
    ContainerSummary, ContainerSummaryHostConfig, ContainerSummaryNetworkSettings, ContainerSummaryStateEnum,
    EndpointResource, EndpointSettings, NetworkInspect, PortSummary, PortSummaryTypeEnum,
};

use super::super::{Answer, Call, Event, Listed, Listing};
use crate::inventory::{ContainerId, NetworkId};

/// A container of the small engine.
#[derive(Clone, Default)]
pub(super) struct Process {
    pub(super) name: String,
    pub(super) running: bool,
    /// The port of the host that was chosen for it, a new one whenever its way to the outside changes.
    pub(super) port: u16,
    /// The one that the list shows: a change comes there later than its event.
    pub(super) written_port: u16,
    /// Network and, while it runs, endpoint id and address.
    pub(super) networks: BTreeMap<String, Option<(String, u8)>>,
}

#[derive(Default)]
pub(super) struct Engine {
    pub(super) networks: BTreeMap<String, String>,
    pub(super) containers: BTreeMap<String, Process>,
    pub(super) log: VecDeque<Event>,
    pub(super) endpoints: u32,
    pub(super) names: u32,
    pub(super) ports: u16,
}

pub(super) fn container_id(id: &str) -> ContainerId {
    ContainerId(id.into())
}

pub(super) fn network_id(id: &str) -> NetworkId {
    NetworkId(format!("{id}-0123456789ab").into())
}

impl Engine {
    pub(super) fn with(networks: &[&str], containers: &[&str]) -> Engine {
        let mut engine = Engine::default();
        for network in networks {
            engine.create_network(network);
        }
        for container in containers {
            engine.create(container, networks);
        }
        engine.log.clear();
        engine
    }

    pub(super) fn create_network(&mut self, id: &str) {
        if self.networks.insert(id.to_owned(), format!("{id}-name")).is_none() {
            self.log.push_back(Event::NetworkCreated(network_id(id)));
        }
    }

    fn is_used(&self, network: &str) -> bool {
        self.containers.values().any(|container| container.networks.get(network).is_some_and(Option::is_some))
    }

    /// Whether it is a network of a swarm that is not on this host, because nobody is on it.
    fn is_elsewhere(&self, network: &str) -> bool {
        network.starts_with("swarm") && !self.is_used(network)
    }

    /// Docker refuses to remove a network that has endpoints.
    pub(super) fn remove_network(&mut self, id: &str) {
        if !self.is_used(id) && self.networks.remove(id).is_some() {
            self.log.push_back(Event::NetworkDestroyed(network_id(id)));
        }
    }

    pub(super) fn create(&mut self, id: &str, networks: &[&str]) {
        let networks: BTreeMap<_, _> = networks
            .iter()
            .filter(|network| self.networks.contains_key(**network))
            .map(|network| ((*network).to_owned(), None))
            .collect();
        self.containers.entry(id.to_owned()).or_insert_with(|| {
            self.log.push_back(Event::ContainerChanged(container_id(id)));
            Process { name: id.to_owned(), networks, ..Process::default() }
        });
    }

    /// The lowest free address, as Docker does it.
    pub(super) fn connect(&mut self, id: &str, network: &str) {
        if self.is_elsewhere(network) {
            self.log.push_back(Event::NetworkCreated(network_id(network)));
        }
        let taken: BTreeSet<u8> = self
            .containers
            .values()
            .filter_map(|container| Some(container.networks.get(network)?.as_ref()?.1))
            .collect();
        let free = (2..=254).find(|byte| !taken.contains(byte)).expect("fewer than 253 containers");
        self.endpoints += 1;
        self.choose_port(id);
        let endpoint = Some((format!("endpoint-{}", self.endpoints), free));
        self.containers.get_mut(id).expect("a container").networks.insert(network.to_owned(), endpoint);
        self.log.push_back(Event::Connected { container: container_id(id), network: network_id(network) });
    }

    fn choose_port(&mut self, id: &str) {
        self.ports += 1;
        self.containers.get_mut(id).expect("a container").port = self.ports;
    }

    /// What was done with a container comes into the list.
    pub(super) fn write(&mut self, id: &str) {
        if let Some(container) = self.containers.get_mut(id) {
            container.written_port = container.port;
        }
    }

    pub(super) fn start(&mut self, id: &str) {
        let Some(container) = self.containers.get(id).filter(|container| !container.running) else { return };
        let networks: Vec<String> = container.networks.keys().cloned().collect();
        if networks.iter().any(|network| !self.networks.contains_key(network)) {
            return;
        }
        for network in networks {
            self.connect(id, &network);
        }
        self.containers.get_mut(id).expect("a container").running = true;
        self.write(id);
        self.log.push_back(Event::ContainerChanged(container_id(id)));
    }

    /// Docker reports `die` before it gives the addresses back, and then each `disconnect`.
    pub(super) fn stop(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id).filter(|container| container.running) else { return };
        container.running = false;
        self.log.push_back(Event::ContainerDied(container_id(id)));
        let left: Vec<String> = container.networks.keys().cloned().collect();
        for (network, endpoint) in &mut container.networks {
            *endpoint = None;
            self.log.push_back(Event::Disconnected { container: container_id(id), network: network_id(network) });
        }
        for network in left {
            self.forsake(&network);
        }
    }

    /// Somebody has left a network.
    fn forsake(&mut self, network: &str) {
        if self.is_elsewhere(network) {
            self.log.push_back(Event::NetworkDestroyed(network_id(network)));
        }
    }

    pub(super) fn attach(&mut self, id: &str, network: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.networks.contains_key(network) || !self.networks.contains_key(network) {
            return;
        }
        if container.running {
            self.connect(id, network);
        } else {
            // Docker reports nothing here; the test engine does, because only a listing repairs it otherwise.
            container.networks.insert(network.to_owned(), None);
            self.log.push_back(Event::ContainerChanged(container_id(id)));
        }
    }

    /// Docker reports it twice.
    pub(super) fn detach(&mut self, id: &str, network: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.networks.remove(network).is_some() {
            self.choose_port(id);
            let event = Event::Disconnected { container: container_id(id), network: network_id(network) };
            self.log.extend([event.clone(), event]);
            self.forsake(network);
        }
    }

    pub(super) fn rename(&mut self, id: &str) {
        self.names += 1;
        self.write(id);
        if let Some(container) = self.containers.get_mut(id) {
            container.name = format!("{id}-{}", self.names);
            self.log.push_back(Event::ContainerChanged(container_id(id)));
        }
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.stop(id);
        if self.containers.remove(id).is_some() {
            self.log.push_back(Event::ContainerDestroyed(container_id(id)));
        }
    }

    pub(super) fn inspect(&self, id: &str) -> Option<NetworkInspect> {
        let name = self.networks.get(id)?.clone();
        let endpoint = |container: &Process| {
            let (endpoint, byte) = container.networks.get(id)?.clone()?;
            Some(EndpointResource {
                endpoint_id: Some(endpoint),
                ipv4_address: Some(format!("10.0.0.{byte}/24")),
                ..EndpointResource::default()
            })
        };
        let is_elsewhere = self.is_elsewhere(id);
        let containers: HashMap<_, _> =
            self.containers.iter().filter_map(|(id, container)| Some((id.clone(), endpoint(container)?))).collect();
        Some(NetworkInspect {
            id: Some(network_id(id).to_string()),
            name: Some(name),
            driver: Some("bridge".to_owned()),
            scope: Some(if id.starts_with("swarm") { "swarm" } else { "local" }.to_owned()),
            containers: (!is_elsewhere).then_some(containers),
            ..NetworkInspect::default()
        })
    }

    pub(super) fn summary(&self, id: &str) -> Option<ContainerSummary> {
        let container = self.containers.get(id)?;
        let networks: HashMap<_, _> =
            container.networks.keys().map(|network| (format!("{network}-name"), EndpointSettings::default())).collect();
        let state =
            if container.running { ContainerSummaryStateEnum::RUNNING } else { ContainerSummaryStateEnum::EXITED };
        let port = PortSummary {
            ip: Some("0.0.0.0".to_owned()),
            private_port: 80,
            public_port: Some(container.written_port),
            typ: Some(PortSummaryTypeEnum::TCP),
        };
        Some(ContainerSummary {
            ports: container.running.then(|| vec![port]),
            id: Some(id.to_owned()),
            names: Some(vec![format!("/{}", container.name)]),
            state: Some(state),
            host_config: Some(ContainerSummaryHostConfig::default()),
            network_settings: Some(ContainerSummaryNetworkSettings { networks: Some(networks) }),
            ..ContainerSummary::default()
        })
    }

    pub(super) fn listing(&self) -> Listing {
        Listing {
            networks: self.networks.keys().filter_map(|id| self.inspect(id)).collect(),
            containers: self.containers.keys().filter_map(|id| Listed::of(self.summary(id)?)).collect(),
        }
    }

    pub(super) fn answer(&self, call: Call) -> Answer {
        match call {
            Call::Network(id) => {
                let found = self.inspect(id.0.trim_end_matches("-0123456789ab")).map(Box::new);
                Answer::Network(id, found)
            }
            Call::Containers(ids) => {
                let found = ids.iter().filter_map(|id| Listed::of(self.summary(&id.0)?)).collect();
                Answer::Containers(ids, found)
            }
        }
    }
}
