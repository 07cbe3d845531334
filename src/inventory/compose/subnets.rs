//! The subnets of networks: stated ones, checked, and those that an engine would choose.
//!
//! Input: networks as the file declares them. Output: a [`Plan`] for each. Docker takes the first of its default pools that
//! overlaps nothing on the host; here it is the first that overlaps nothing in the file and is not the default network's.

use std::net::{IpAddr, Ipv6Addr};

use super::model::{Network, Pool};
use super::node::Node;
use crate::inventory::addresses;
use crate::net::{Cidr, Family};
use crate::policy::{Diagnostic, Location, codes};

/// Of Docker's default network, `docker0`: the first of the default pools.
pub(super) const DEFAULT_BRIDGE: (IpAddr, u8) = (IpAddr::V4(std::net::Ipv4Addr::new(172, 17, 0, 0)), 16);
/// Length of the prefix of a subnet with IPv6: Docker's for unique local addresses.
const PREFIX_V6: u8 = 64;

/// The addresses of a network.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) subnets: Vec<Cidr>,
    pub(super) gateways: Vec<IpAddr>,
    /// Parts of the subnets from which addresses come that nobody states.
    pub(super) ranges: Vec<Cidr>,
    /// Addresses that no container gets.
    pub(super) reserved: Vec<(IpAddr, Node)>,
    /// Families whose subnets the file states, so that it may state addresses.
    pub(super) stated: Vec<Family>,
}

/// The subnets that are taken.
pub(super) struct Subnets<'f> {
    taken: Vec<Cidr>,
    /// Those that are taken by what stands in the file.
    stated: Vec<(Cidr, Location)>,
    findings: &'f mut Vec<Diagnostic>,
}

impl<'f> Subnets<'f> {
    pub(super) fn new(findings: &'f mut Vec<Diagnostic>) -> Subnets<'f> {
        let (address, prefix) = DEFAULT_BRIDGE;
        Subnets { taken: Cidr::new(address, prefix).into_iter().collect(), stated: Vec::new(), findings }
    }

    /// What a network states. `hints` are addresses that containers state on it.
    pub(super) fn stated(&mut self, network: &Network, hints: &[IpAddr]) -> Plan {
        let mut plan = Plan::default();
        if matches!(network.driver.as_str(), "host" | "null") {
            return plan;
        }
        for pool in &network.pools {
            self.pool(network, pool, &mut plan);
        }
        if network.external {
            // Only the engine knows its subnets; what is stated lies in one of a usual size.
            for hint in hints {
                let prefix = if hint.is_ipv4() { DEFAULT_BRIDGE.1 } else { PREFIX_V6 };
                let subnet =
                    Cidr::new(*hint, prefix).filter(|_| !plan.subnets.iter().any(|known| known.contains(*hint)));
                if let Some(subnet) = subnet {
                    plan.subnets.push(subnet);
                    plan.gateways.extend(addresses::first(subnet).filter(|gateway| !hints.contains(gateway)));
                    self.taken.push(subnet);
                }
            }
            plan.stated = Family::ALL.to_vec();
        }
        plan
    }

    fn pool(&mut self, network: &Network, pool: &Pool, plan: &mut Plan) {
        let Some(subnet) = self.subnet(&pool.subnet) else { return };
        if !network.families.contains(&subnet.family()) {
            return;
        }
        // Overlay networks are in an address space of their own.
        if network.driver != "overlay" {
            if let Some((other, place)) = self.stated.iter().find(|(other, _)| overlap(*other, subnet)) {
                let message = format!("`{subnet}` overlaps `{other}` ({place}), and no two networks of a host may");
                self.findings
                    .push(pool.subnet.finding(&codes::ADDRESS_TWICE, message).with_help("state another subnet"));
                return;
            }
            self.stated.push((subnet, pool.subnet.location.clone()));
            self.taken.push(subnet);
        }
        plan.subnets.push(subnet);
        plan.stated.push(subnet.family());
        match &pool.gateway {
            Some(gateway) => plan.gateways.extend(self.address(gateway, subnet)),
            None => plan.gateways.extend(addresses::first(subnet)),
        }
        if let Some(node) = &pool.range
            && let Some(range) = self.subnet(node)
        {
            if subnet.contains(range.network()) && range.prefix() >= subnet.prefix() {
                plan.ranges.push(range);
            } else {
                self.findings.push(node.finding(&codes::ADDRESS, format!("`{range}` is not within `{subnet}`")));
            }
        }
        for node in &pool.reserved {
            if let Some(address) = self.address(node, subnet) {
                plan.reserved.push((address, node.clone()));
            }
        }
    }

    fn subnet(&mut self, node: &Node) -> Option<Cidr> {
        let text = node.text().unwrap_or_default();
        let Some(subnet) = text.parse::<Cidr>().ok().filter(|_| text.contains('/')) else {
            let message = format!("`{text}` is not a subnet such as `172.20.0.0/16`");
            self.findings.push(node.finding(&codes::CIDR, message));
            return None;
        };
        if addresses::has_host_bits(&text, subnet) {
            let message = format!("`{text}` has bits set beyond its prefix: `{subnet}`");
            self.findings.push(node.finding(&codes::HOST_BITS, message));
            return None;
        }
        Some(subnet)
    }

    fn address(&mut self, node: &Node, subnet: Cidr) -> Option<IpAddr> {
        let text = node.text().unwrap_or_default();
        let problem = match text.parse::<IpAddr>() {
            Ok(address) if subnet.contains(address) => return Some(address),
            Ok(_) => format!("`{text}` is not in `{subnet}`"),
            Err(_) => format!("`{text}` is not an IP address"),
        };
        self.findings.push(node.finding(&codes::ADDRESS, problem));
        None
    }

    /// Adds the subnets that an engine would choose. Those of all networks that state theirs are to be known before.
    pub(super) fn choose(&mut self, network: &Network, plan: &mut Plan) {
        // Only a Swarm gives the networks of its own driver subnets, from other pools.
        if matches!(network.driver.as_str(), "host" | "null" | "overlay") {
            return;
        }
        for family in network.families.iter().copied() {
            if plan.subnets.iter().any(|subnet| subnet.family() == family) {
                continue;
            }
            let is_free = |candidate: &Cidr| !self.taken.iter().any(|taken| overlap(*taken, *candidate));
            let free = match family {
                Family::V4 => default_pools().find(is_free),
                Family::V6 => unique_local_pools().find(is_free),
            };
            let Some(subnet) = free else {
                let message = format!("Docker's default pools have no {family} subnet left for this network");
                let help = "give it one under `ipam.config`, or fewer networks";
                self.findings.push(network.place.finding(&codes::SUBNET_FULL, message).with_help(help));
                continue;
            };
            self.taken.push(subnet);
            plan.subnets.push(subnet);
            plan.gateways.extend(addresses::first(subnet));
        }
    }
}

fn overlap(one: Cidr, other: Cidr) -> bool {
    one.contains(other.network()) || other.contains(one.network())
}

/// Docker's pools for bridge networks: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in parts of 4096 addresses.
fn default_pools() -> impl Iterator<Item = Cidr> {
    let large = (17..=31).filter_map(|second| Cidr::new(IpAddr::from([172, second, 0, 0]), 16));
    let small = (0..=15).filter_map(|part| Cidr::new(IpAddr::from([192, 168, part * 16, 0]), 20));
    large.chain(small)
}

/// Unique local subnets. Docker derives the first bits from the host; here they are zero, so that every host agrees.
fn unique_local_pools() -> impl Iterator<Item = Cidr> {
    (1..=u16::MAX)
        .filter_map(|number| Cidr::new(IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, number, 0, 0, 0, 0)), PREFIX_V6))
}
