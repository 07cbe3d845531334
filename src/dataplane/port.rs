//! The ports of bridges, and what the other end of each port calls itself: read over rtnetlink.
//!
//! Input: the network namespace of the calling thread. Output: [`Port`]s. The other end of a container's port is in the
//! container's namespace, which the kernel names by a number of ours; its MAC address is asked of the kernel and never
//! taken from what the container sends. Whoever has `CAP_NET_ADMIN` in there can change it all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockProtocol;

use super::netlink::{
    IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MASTER, LINK_HEADER_LENGTH, Netlink, RTM_GETLINK,
    RTM_NEWLINK, attribute, find, link_header, number, text,
};
use crate::net::{InterfaceName, MacAddress};
use crate::ruleset::AntiSpoofing;

// linux/rtnetlink.h
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
// linux/if_link.h
const IFLA_LINK: u16 = 5;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_TARGET_NETNSID: u16 = 46;

/// A port of a bridge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The bridge that it is a port of. It comes first, so that those of one bridge stand together.
    pub bridge: InterfaceName,
    /// Its name.
    pub name: InterfaceName,
    /// The MAC address of the other end; `None` when it was not asked for, is no cable to a container, or is being pulled.
    pub mac: Option<MacAddress>,
}

/// Those of some ports that are on a bridge.
pub(super) fn on_bridge<'p>(
    ports: &'p BTreeSet<Port>,
    bridge: &InterfaceName,
) -> impl Iterator<Item = &'p Port> + use<'p> {
    let bridge = bridge.clone();
    from(ports, &bridge, InterfaceName::least()).take_while(move |port| port.bridge == bridge)
}

/// The one of this name that is on a bridge.
pub(super) fn port_of<'p>(ports: &'p BTreeSet<Port>, bridge: &InterfaceName, name: &InterfaceName) -> Option<&'p Port> {
    from(ports, bridge, name.clone()).next().filter(|port| port.bridge == *bridge && port.name == *name)
}

/// Ports in order, from a bridge and a name on.
fn from<'p>(
    ports: &'p BTreeSet<Port>,
    bridge: &InterfaceName,
    name: InterfaceName,
) -> impl Iterator<Item = &'p Port> + use<'p> {
    ports.range(Port { bridge: bridge.clone(), name, mac: None }..)
}

/// Whether a bridge has other ports than before, or one whose other end calls itself otherwise. That of ports that are known
/// was not asked for.
pub(super) fn have_moved(
    before: &BTreeSet<Port>,
    now: &BTreeSet<Port>,
    known: &BTreeSet<InterfaceName>,
    bridge: &InterfaceName,
) -> bool {
    let shown = |port: &Port| port.mac.filter(|_| !known.contains(&port.name));
    let mut now = on_bridge(now, bridge);
    let same = on_bridge(before, bridge)
        .all(|port| now.next().is_some_and(|other| other.name == port.name && shown(other) == shown(port)));
    !same || now.next().is_some()
}

/// The body of a request that lists all links.
pub(super) fn every_link() -> Vec<u8> {
    about(0)
}

/// The body of a request about a link by its index.
fn about(index: u32) -> Vec<u8> {
    let mut body = link_header(index);
    attribute(&mut body, IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    body
}

/// The ports of these bridges, listed. A bridge that does not exist has none. Of the ports that are known already the other end is
/// not asked for: that is a request for each.
pub(super) fn ports(bridges: &BTreeSet<InterfaceName>, known: &BTreeSet<&InterfaceName>) -> io::Result<BTreeSet<Port>> {
    let netlink = Netlink::open(SockProtocol::NetlinkRoute)?;
    let index = |bridge: &InterfaceName| Some((if_nametoindex(bridge.as_str()).ok()?, bridge.clone()));
    let masters: BTreeMap<u32, InterfaceName> = bridges.iter().filter_map(index).collect();
    let mut cables = Vec::new();
    netlink.dump(RTM_GETLINK, &every_link(), |kind, body| {
        if kind == RTM_NEWLINK {
            cables.extend(body.get(LINK_HEADER_LENGTH..).and_then(|attributes| Cable::read(attributes, &masters)));
        }
    })?;
    let port = |Cable { name, bridge, peer }: Cable| {
        let mac = peer.filter(|_| !known.contains(&name)).and_then(|peer| peer.mac(&netlink));
        Port { bridge, name, mac }
    };
    Ok(cables.into_iter().map(port).collect())
}

/// A port with the way to its other end, if it has one.
struct Cable {
    name: InterfaceName,
    bridge: InterfaceName,
    peer: Option<Peer>,
}

/// The other end of a veth pair: its index, and the number of the namespace in which it has that index.
struct Peer {
    index: u32,
    namespace: Option<[u8; 4]>,
}

impl Cable {
    /// `None` for a link that is no port of one of these bridges, by index.
    fn read(attributes: &[u8], masters: &BTreeMap<u32, InterfaceName>) -> Option<Cable> {
        let bridge = masters.get(&number(find(attributes, IFLA_MASTER)?)?)?.clone();
        let name = text(find(attributes, IFLA_IFNAME)?)?.parse().ok()?;
        Some(Cable { name, bridge, peer: Peer::read(attributes) })
    }
}

/// The MAC address of the other end of a link; `None` where it is no cable, or is being pulled.
pub(super) fn mac_behind(index: u32, netlink: &Netlink) -> Option<MacAddress> {
    let mut peer = None;
    let asked = netlink.request(RTM_GETLINK, &about(index), |kind, body| {
        if kind == RTM_NEWLINK {
            peer = body.get(LINK_HEADER_LENGTH..).and_then(Peer::read);
        }
    });
    asked.ok().and(peer)?.mac(netlink)
}

impl Peer {
    /// `None` for a link that is no cable.
    fn read(attributes: &[u8]) -> Option<Peer> {
        let kind = find(attributes, IFLA_LINKINFO).and_then(|info| text(find(info, IFLA_INFO_KIND)?));
        if kind != Some("veth") {
            return None;
        }
        let namespace = find(attributes, IFLA_LINK_NETNSID).and_then(|id| id.first_chunk().copied());
        Some(Peer { index: number(find(attributes, IFLA_LINK)?)?, namespace })
    }

    fn mac(&self, netlink: &Netlink) -> Option<MacAddress> {
        let mut body = about(self.index);
        if let Some(namespace) = &self.namespace {
            attribute(&mut body, IFLA_TARGET_NETNSID, namespace);
        }
        let mut mac = None;
        let asked = netlink.request(RTM_GETLINK, &body, |kind, body| {
            if kind == RTM_NEWLINK {
                let attributes = body.get(LINK_HEADER_LENGTH..);
                let address = attributes.and_then(|attributes| find(attributes, IFLA_ADDRESS));
                mac = address.and_then(|bytes| MacAddress::new(*bytes.first_chunk()?));
            }
        });
        // It went while we asked, with its container.
        asked.ok().and(mac)
    }
}

/// How far apart a port and the word of its endpoint may come while everything is followed as it happens: the engine tells
/// of an attachment when the port is there.
const TOGETHER: Duration = Duration::from_millis(200);

/// The same at a first look, after a start of ours or one of the engine's: what came while nobody looked comes at once.
/// It is also how long a port is young, which may not show yet whose it is, and how long a binding is in doubt.
const AT_FIRST: Duration = Duration::from_secs(3);

/// When each port and each attachment was first seen.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    bridges: BTreeMap<InterfaceName, OnBridge>,
    /// Whether there was a first look.
    began: bool,
    /// Whether what is there is followed as it happens.
    follows: bool,
}

#[derive(Debug, Default)]
struct OnBridge {
    ports: BTreeMap<InterfaceName, Instant>,
    attachments: BTreeMap<Arc<str>, Sighting>,
    /// Since when attachments are bound without interruption; `None` where that was before the first look.
    bound: BTreeMap<Arc<str>, Option<Instant>>,
}

/// When an attachment was first seen, and how far from that its port may have been.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    at: Instant,
    tolerance: Duration,
}

/// What the times of the sightings say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Pairs of a free port and an attachment that did not come together.
    pub(super) strangers: BTreeSet<(InterfaceName, Arc<str>)>,
    /// Ports that may not show yet whose they are.
    pub(super) young: BTreeSet<InterfaceName>,
}

impl Sightings {
    /// Takes in what is on some bridges, all of whose ports are given. `held` are the ports that the kernel holds for
    /// attachments there.
    pub(super) fn see(
        &mut self,
        now: Instant,
        bridges: &BTreeSet<InterfaceName>,
        ports: &BTreeSet<Port>,
        held: &BTreeSet<(InterfaceName, Arc<str>)>,
        wanted: &AntiSpoofing,
    ) -> Seen {
        let tolerance = if self.follows && !wanted.frozen { TOGETHER } else { AT_FIRST };
        self.follows = !wanted.frozen;
        let first = Sighting { at: now, tolerance };
        for bridge in bridges {
            let former = self.bridges.remove(bridge).unwrap_or_default();
            let came = |port: &Port| former.ports.get(&port.name).copied().unwrap_or(now);
            let seen = |attachment: &Arc<str>| former.attachments.get(attachment).copied().unwrap_or(first);
            let now_there = OnBridge {
                ports: on_bridge(ports, bridge).map(|port| (port.name.clone(), came(port))).collect(),
                attachments: wanted
                    .bindings_on(bridge)
                    .map(|binding| (binding.attachment.clone(), seen(&binding.attachment)))
                    .collect(),
                bound: former.bound,
            };
            if !now_there.ports.is_empty() || !now_there.attachments.is_empty() {
                self.bridges.insert(bridge.clone(), now_there);
            }
        }
        self.see_bound(now, bridges, held, wanted);
        let held: BTreeSet<&InterfaceName> = held.iter().map(|(name, _)| name).collect();
        let mut told = Seen::default();
        for (bridge, seen) in bridges.iter().filter_map(|bridge| self.bridges.get_key_value(bridge)) {
            let free = on_bridge(ports, bridge).filter(|port| !held.contains(&port.name));
            seen.judge(now, free, &mut told);
        }
        told
    }

    /// Forgets bridges that are none of our business any more. Should they be again, what is on them then comes at once: a
    /// port that was older than the word of its own endpoint would be taken for another's.
    pub(super) fn forget<'b>(&mut self, bridges: impl Iterator<Item = &'b InterfaceName>) {
        for bridge in bridges {
            self.bridges.remove(bridge);
        }
    }

    /// Forgets all bridges but these.
    pub(super) fn forget_all_but(&mut self, bridges: &BTreeSet<InterfaceName>) {
        self.bridges.retain(|bridge, _| bridges.contains(bridge));
    }

    /// Takes in which attachments on some bridges have a port. What a controller before us has bound is past doubt: it was
    /// its to doubt.
    pub(super) fn see_bound(
        &mut self,
        now: Instant,
        bridges: &BTreeSet<InterfaceName>,
        held: &BTreeSet<(InterfaceName, Arc<str>)>,
        wanted: &AntiSpoofing,
    ) {
        let new = self.began.then_some(now);
        let held: BTreeSet<&Arc<str>> = held.iter().map(|(_, attachment)| attachment).collect();
        for bridge in bridges {
            let Some(seen) = self.bridges.get_mut(bridge) else { continue };
            let since = |attachment: &Arc<str>| seen.bound.get(attachment).copied().unwrap_or(new);
            let attachments = wanted.bindings_on(bridge).map(|binding| &binding.attachment);
            let bound = attachments.filter(|attachment| held.contains(attachment));
            seen.bound = bound.map(|attachment| (attachment.clone(), since(attachment))).collect();
        }
        self.began = true;
    }
}

impl OnBridge {
    /// What the times say of the free ports.
    fn judge<'p>(&self, now: Instant, free: impl Iterator<Item = &'p Port>, told: &mut Seen) {
        // Whatever shows its MAC address later is no reason to doubt a port that has been its own for long.
        let is_past_doubt = |attachment: &Arc<str>| {
            let bound = self.bound.get(attachment);
            bound.is_some_and(|since| since.is_none_or(|since| now.duration_since(since) > AT_FIRST))
        };
        let attachments: Vec<(&Arc<str>, &Sighting, bool)> = self
            .attachments
            .iter()
            .map(|(attachment, sighting)| (attachment, sighting, is_past_doubt(attachment)))
            .collect();
        for port in free {
            let Some(came) = self.ports.get(&port.name) else { continue };
            if now.duration_since(*came) <= AT_FIRST {
                told.young.insert(port.name.clone());
            }
            for (attachment, sighting, past_doubt) in &attachments {
                let apart = (*came).max(sighting.at).duration_since((*came).min(sighting.at));
                if apart > sighting.tolerance || *past_doubt {
                    told.strangers.insert((port.name.clone(), (*attachment).clone()));
                }
            }
        }
    }
}
