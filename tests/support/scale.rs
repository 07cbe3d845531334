//! Worlds of a given size: endpoints, labels and policies as a large host has them.
//!
//! Input: how much there is of everything. Output: an [`Inventory`], and the text of the policy files. The same numbers give
//! the same world. Every container has labels of its own, as Compose gives them, beside those that policies ask for: what
//! selectors can tell apart are the label sets.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dockgate::inventory::{Attachment, Container, ContainerId, Inventory, Network, NetworkId};
use dockgate::net::Cidr;

/// Endpoints on each network of a large world. The kernel has 1,024 ports for each bridge, and hosts are far from that.
const ENDPOINTS_PER_NETWORK: usize = 100;
/// As many as a subnet with 10 bits for them has room for.
const SMALL_SUBNET: usize = 1000;

/// How large a world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    /// Containers, each on one network with both families.
    pub(crate) endpoints: usize,
    /// Networks; the containers are spread over them.
    pub(crate) networks: usize,
    /// Policies.
    pub(crate) policies: usize,
    /// Rules of each policy, half of them for each direction.
    pub(crate) rules: usize,
    /// Label sets that policies can tell apart.
    pub(crate) label_sets: usize,
}

impl Scale {
    /// The world of which most targets speak: 1,000 policies with 5 rules each, and 200 label sets.
    pub(crate) fn large(endpoints: usize) -> Scale {
        let networks = endpoints.div_ceil(ENDPOINTS_PER_NETWORK);
        Scale { endpoints, networks, policies: 1000, rules: 5, label_sets: 200 }
    }

    /// The same networks, label sets and policies with as few endpoints as have each label set on each network that it is on:
    /// all further ones are replicas.
    pub(crate) fn without_replicas(&self) -> Scale {
        // The number of a container decides about both, in turns.
        let apart = (1..=self.networks)
            .rfind(|divisor| self.networks.is_multiple_of(*divisor) && self.label_sets.is_multiple_of(*divisor));
        let different = self.networks * self.label_sets / apart.unwrap_or(1);
        Scale { endpoints: self.endpoints.min(different), ..*self }
    }

    /// The containers and networks.
    pub(crate) fn inventory(&self) -> Inventory {
        let networks = (0..self.networks).map(|number| network(number, self.host_bits()));
        let networks = networks.map(|network| (network.id.clone(), network)).collect();
        let containers = (0..self.endpoints).map(|number| self.container(number));
        let containers = containers.map(|container| (container.id.clone(), container)).collect();
        Inventory { networks, containers, ..Inventory::default() }
    }

    /// The policies, a file each.
    pub(crate) fn policies(&self) -> Vec<String> {
        (0..self.policies).map(|number| self.policy(number)).collect()
    }

    /// One container of the world.
    pub(crate) fn container(&self, number: usize) -> Container {
        let (network, host) = (number % self.networks, number / self.networks + 2);
        let set = number % self.label_sets;
        let labels = [
            ("app", format!("app-{set}")),
            ("team", format!("team-{}", set % 20)),
            ("com.docker.compose.project", format!("project-{}", set % 10)),
            ("com.docker.compose.service", format!("app-{set}")),
            ("com.docker.compose.container-number", number.to_string()),
            ("com.docker.compose.config-hash", format!("{number:064x}")),
        ];
        let id = format!("{number:064x}");
        let (v4, v6) = addresses(network, host, self.host_bits());
        let attachment = Attachment {
            network: NetworkId(network_id(network).into()),
            endpoint_id: format!("{number:063x}e").into(),
            ipv4: Some(v4),
            ipv6: Some(v6),
            mac: Some(format!(
                "02:42:{:02x}:{:02x}:{:02x}:{:02x}",
                network / 256,
                network % 256,
                host / 256,
                host % 256
            ))
            .map(|mac| mac.parse().expect("a MAC address")),
        };
        Container {
            id: ContainerId(id.into()),
            name: format!("project-{}-app-{set}-{number}", set % 10),
            image: "registry.example.org/app:1".to_owned(),
            attachments: vec![attachment],
            labels: labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            unenforceable: None,
            published: vec![],
            listed: true,
            judged: BTreeSet::new(),
            stated_namespace: None,
        }
    }

    /// A /22 has room for as many as a bridge has ports; more of them, as only policy can tell apart, have a /16.
    fn host_bits(&self) -> u32 {
        if self.endpoints.div_ceil(self.networks) <= SMALL_SUBNET { 10 } else { 16 }
    }

    fn policy(&self, number: usize) -> String {
        let subject = number % self.label_sets;
        let selector = match number % 4 {
            0 => format!("app == 'app-{subject}'"),
            1 => format!("team == 'team-{}' && has(app)", subject % 20),
            2 => format!("app in {{'app-{subject}', 'app-{}'}}", (subject + 7) % self.label_sets),
            _ => format!("app starts with 'app-{subject}' && team != 'team-3'"),
        };
        let mut text = format!(
            "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: policy-{number}}}\nspec:\n  \
             order: {number}\n  selector: \"{selector}\"\n  types: [Ingress, Egress]\n"
        );
        for (direction, rules) in [("ingress", self.rules.div_ceil(2)), ("egress", self.rules / 2)] {
            writeln!(text, "  {direction}:").expect("a String takes everything");
            for rule in 0..rules {
                let peer = (subject + 13 * (rule + 1)) % self.label_sets;
                let side = if direction == "ingress" { "source" } else { "destination" };
                let ports = format!("ports: [{}, '{}:{}']", 80 + rule, 8000 + rule, 8010 + rule);
                let (selected, ports) = match direction {
                    "ingress" => (format!("{{selector: \"app == 'app-{peer}'\"}}"), format!("{{{ports}}}")),
                    _ => (format!("{{selector: \"app == 'app-{peer}'\", {ports}}}"), String::new()),
                };
                write!(text, "    - {{action: Allow, protocol: TCP, {side}: {selected}")
                    .expect("a String takes everything");
                if !ports.is_empty() {
                    write!(text, ", destination: {ports}").expect("a String takes everything");
                }
                text.push_str("}\n");
            }
        }
        text
    }
}

fn network_id(number: usize) -> String {
    format!("{:064x}", 0xa000_0000_0000_0000_u64 + number as u64)
}

fn network(number: usize, host_bits: u32) -> Network {
    let id = network_id(number);
    let (v4, v6) = addresses(number, 0, host_bits);
    let (gateway_v4, gateway_v6) = addresses(number, 1, host_bits);
    Network {
        name: format!("network-{number}"),
        driver: "bridge".to_owned(),
        bridge: Some(format!("br-{number:012x}").parse().expect("an interface name")),
        subnets: vec![
            format!("{v4}/{}", 32 - host_bits).parse::<Cidr>().expect("a subnet"),
            format!("{v6}/64").parse::<Cidr>().expect("a subnet"),
        ],
        gateways: vec![gateway_v4, gateway_v6],
        internal: false,
        id: NetworkId(id.into()),
    }
}

/// Addresses of a host number on a network: of a subnet with so many bits for hosts, from 10.0.0.0 on, and of a /64.
fn addresses(network: usize, host: usize, host_bits: u32) -> (IpAddr, IpAddr) {
    let part = |number: usize| u32::try_from(number).expect("a small number");
    let v4 = Ipv4Addr::from_bits((10 << 24) + (part(network) << host_bits) + part(host));
    let v6 = Ipv6Addr::from_bits((0x2001_0db8 << 96) + ((network as u128) << 64) + host as u128);
    (v4.into(), v6.into())
}
