//! A host with many endpoints.
//!
//! Input: a laboratory and how many endpoints there are to be. Output: networks, containers on all of them, a policy
//! directory that governs them, and an address that nobody has. Few containers on many networks make as many endpoints as
//! many containers on one would, with a fraction of the processes.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::ops::Range;

use super::api::{Api, Plan};
use super::scale::Scale;
use super::support::Lab;
use super::support::world::Policies;

/// Networks at most.
const NETWORKS: usize = 33;
/// Label sets that policies tell apart.
const LABEL_SETS: usize = 20;

/// What there is.
pub(crate) struct World {
    /// Policies.
    pub(crate) policies: Policies,
    /// The container to be started: one more of the class of the first one.
    pub(crate) newcomer: Plan,
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// The id of its network.
    pub(crate) network: String,
    /// The bridge of that.
    pub(crate) bridge: String,
    networks: Vec<String>,
    scale: Scale,
    /// How many of the containers are there already.
    running: usize,
}

impl World {
    /// Makes networks and policies, and the first container.
    pub(crate) fn found(lab: &Lab, api: &Api, endpoints: usize) -> World {
        let networks = NETWORKS.min(endpoints.isqrt().max(1));
        let containers = endpoints.div_ceil(networks);
        let scale = Scale { endpoints: containers, networks: 1, policies: 40, rules: 5, label_sets: LABEL_SETS };
        let policies = Policies::new(lab);
        for (number, text) in scale.policies().iter().enumerate() {
            policies.save(&format!("{number}.yaml"), text);
        }
        let networks: Vec<String> = (0..networks).map(|number| format!("network-{number}")).collect();
        for (number, name) in networks.iter().enumerate() {
            api.network(name, &format!("10.20.{number}.0/24"));
        }
        // The engine gives the lowest free addresses away first.
        let address = Ipv4Addr::new(10, 20, 0, 250);
        let newcomer = Plan {
            name: None,
            labels: labels(&scale, LABEL_SETS * containers),
            // A question for the name service: the first thing that this process does is to send a datagram.
            command: ["nslookup", "name.invalid", "10.20.0.1"].map(str::to_owned).to_vec(),
            networks: vec![(networks[0].clone(), Some(address))],
        };
        let network = api.inspect(&networks[0]);
        let bridge = format!("br-{}", &network[..12]);
        let mut world = World { policies, newcomer, address, network, bridge, networks, scale, running: 0 };
        world.populate(api, 1);
        world
    }

    /// Adds the other containers.
    pub(crate) fn complete(&mut self, api: &Api) {
        self.populate(api, self.scale.endpoints);
    }

    /// How many endpoints there are.
    pub(crate) fn endpoints(&self) -> usize {
        self.running * self.networks.len()
    }

    /// How many networks there are.
    pub(crate) fn networks(&self) -> usize {
        self.networks.len()
    }

    fn populate(&mut self, api: &Api, containers: usize) {
        let new: Range<usize> = self.running..containers;
        let resident = |number: usize| Plan {
            name: Some(format!("resident-{number}")),
            labels: labels(&self.scale, number),
            command: ["sleep", "1000000"].map(str::to_owned).to_vec(),
            networks: self.networks.iter().map(|name| (name.clone(), None)).collect(),
        };
        api.run_all(&new.map(resident).collect::<Vec<_>>());
        self.running = containers;
    }
}

fn labels(scale: &Scale, number: usize) -> HashMap<String, String> {
    scale.container(number).labels.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}
