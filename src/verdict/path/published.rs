//! Ways through ports of this host that containers publish.
//!
//! Input: the ends of a flow and the published ports of an inventory. Output: ways with the port of the host in the packet and
//! the container behind it as their destination. That container is whom the rules of INPUT are about, so that whoever is
//! told of such a way is told of its policies.

use std::net::IpAddr;

use crate::inventory::{Endpoint, PublishedPort};
use crate::net::{Family, Protocol};
use crate::ruleset::Hook;

use super::{End, Ends, Error, Finder, Packet, Path, Paths, Point, Route, Traffic, unspecified};

/// A port of this host, and the container that publishes it.
type Holder<'f, 'a> = (&'f Endpoint<'a>, &'a PublishedPort);

impl<'a> Finder<'a> {
    /// All ways of a connection as [`Finder::paths`] has them, except that what is sent to a port of this host which a
    /// container publishes goes to that container. Of this host as a whole, an address to which a port is bound is one
    /// more that can be meant.
    pub fn connections(&self, from: &End, to: &End, traffic: Traffic, families: &[Family]) -> Result<Paths<'a>, Error> {
        let found = self.paths(from, to, traffic, families);
        let (End::Host(named), Traffic::Ports { protocol, destination: port, .. }) = (to, traffic) else {
            return found;
        };
        let holders = self.holders(protocol, port);
        let mut paths = match (found, holders.first()) {
            (Err(Error::NoContainer), Some((endpoint, published))) => {
                let container_port = published.container_port;
                return Err(Error::Published {
                    port,
                    container: endpoint.container.name.clone(),
                    container_port,
                    protocol,
                });
            }
            (found, _) => found?,
        };
        let mut judged = Vec::new();
        for path in paths.judged {
            let destination = path.packet.destination;
            let is_meant = |address: &IpAddr| {
                let other = named.is_none() && !address.is_loopback() && *address != destination;
                other && Family::of(*address) == Family::of(destination)
            };
            let elsewhere = holders.iter().filter_map(|holder| Some((holder, holder.1.bound_to().filter(is_meant)?)));
            let elsewhere: Vec<_> = elsewhere.map(|(holder, address)| leading_to(&path, holder, address)).collect();
            let is_of_other_family = |(_, port): &&Holder<'_, 'a>| {
                port.host_address.is_some_and(|address| Family::of(address) != Family::of(destination))
            };
            let here = holders.iter().filter(|(_, port)| port.is_at(destination)).min_by_key(is_of_other_family);
            judged.push(here.map_or_else(|| path.clone(), |holder| leading_to(&path, holder, destination)));
            judged.extend(elsewhere);
        }
        paths.judged = judged;
        Ok(paths)
    }

    /// The containers that publish a port of this host, each by one of its endpoints, which stands for all: by one that
    /// policy reaches, if there is any. The client's policy is asked about the others as well.
    fn holders(&self, protocol: Protocol, port: u16) -> Vec<Holder<'_, 'a>> {
        let mut holders: Vec<Holder<'_, 'a>> = Vec::new();
        let on_network = || self.endpoints.iter().filter(|endpoint| endpoint.network.is_some());
        let reached = on_network().filter(|endpoint| endpoint.unenforceable.is_none());
        for endpoint in reached.chain(on_network()) {
            if holders.iter().all(|(known, _)| known.container.id != endpoint.container.id) {
                let published = endpoint.container.published.iter();
                let held = published.filter(|held| held.protocol == protocol && held.host_port == Some(port));
                holders.extend(held.map(|held| (endpoint, held)));
            }
        }
        holders
    }
}

/// A way to an address of this host as one to the container that holds the port there.
fn leading_to<'a>(path: &Path<'a>, (endpoint, published): &Holder<'_, 'a>, address: IpAddr) -> Path<'a> {
    let (Route::ToHost { from }, Some(port)) = (&path.route, published.host_port) else { return path.clone() };
    Path {
        route: Route::ThroughPublishedPort { from: Some(from.clone()), port, container_port: published.container_port },
        packet: Packet { destination: address, ..path.packet.clone() },
        source: path.source.clone(),
        destination: Some((*endpoint).clone()),
    }
}

impl Ends<'_> {
    /// The ways through `docker-proxy`. Containers always take it when they use an address of the host; clients from
    /// outside take it where Docker has no DNAT: in a family that the container does not have, and in IPv6 on engines
    /// that leave ip6tables alone, which is their default up to version 26.
    pub(super) fn through_published_ports<'a>(
        &self,
        endpoints: &[&Endpoint<'a>],
        sources: &[Point<'a>],
    ) -> Vec<Path<'a>> {
        let Traffic::Ports { protocol, destination: wanted, .. } = self.traffic else { return vec![] };
        let reached: Vec<_> = endpoints.iter().filter(|endpoint| endpoint.unenforceable.is_none()).collect();
        // The published ports are the container's, so one of its endpoints stands for all.
        let Some(endpoint) = reached.first() else { return vec![] };
        let has_family = reached.iter().any(|endpoint| endpoint.address(self.family).is_some());
        let mut ways = Vec::new();
        for published in &endpoint.container.published {
            let Some(port) = published.host_port else { continue };
            let bound_to = published.bound_to();
            let right = published.protocol == protocol && published.container_port == wanted;
            if !right || bound_to.is_some_and(|address| Family::of(address) != self.family || address.is_loopback()) {
                continue;
            }
            for source in sources {
                let proxied = source.bridge.is_some() || !has_family || self.family == Family::V6;
                let address = match source.bridge {
                    Some((network, _)) => self.host(network, bound_to).map(|host| host.address),
                    // Which of its addresses the host has outside is not in the inventory, and no rule asks for it.
                    None => Some(bound_to.unwrap_or(unspecified(self.family))),
                };
                let (true, Some(address)) = (proxied, address) else { continue };
                let host = Point { endpoint: Some((**endpoint).clone()), bridge: None, address };
                let from = source.bridge.map(|(network, _)| network.name.clone());
                let route = Route::ThroughPublishedPort { from, port, container_port: wanted };
                let mut way = self.path(Hook::Input, route, source, &host);
                way.packet.destination_port = Some(port);
                ways.push(way);
            }
        }
        ways
    }
}
