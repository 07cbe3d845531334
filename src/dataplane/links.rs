//! Which links are ports of which bridge, followed by the kernel's notifications.
//!
//! Input: the network namespace of the thread that asks first. Output: the [`Port`]s of some bridges as they are at the moment of
//! the question, without a listing, for which the kernel walks over all links there are (0.7 µs for each).
//!
//! A port that is not known of must not let another one be taken for an endpoint's. The kernel puts a notification into our
//! socket before the call returns by which a link comes, goes or changes its bridge. So whoever has read all of it knows
//! what the engine had done before it told us of anything. What was lost counts as everything: the links are listed anew.
//! Only names and bridges are kept. What the other end of a port calls itself is asked each time.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;

use nix::sys::socket::{SockProtocol, setsockopt, sockopt};

use super::netlink::{
    IFLA_IFNAME, IFLA_MASTER, LINK_HEADER_LENGTH, LINK_INDEX, Message, Netlink, RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK,
    RTNLGRP_LINK, drain, find, message, number, subscribe, text,
};
use super::port::{Port, every_link, mac_behind};
use crate::net::InterfaceName;

// linux/socket.h
const AF_UNSPEC: u8 = 0;
// linux/if_link.h
const IFLA_WIRELESS: u16 = 11;

/// What the socket may hold, in bytes: the notifications of some thousand links, which come at once when an engine starts its
/// containers.
const ROOM: usize = 8 << 20;

/// The links of this network namespace.
#[derive(Debug, Default)]
pub(super) struct Links(Option<Followed>);

#[derive(Debug)]
struct Followed {
    notifications: OwnedFd,
    known: Known,
}

/// What is known of links, by index.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    names: BTreeMap<u32, InterfaceName>,
    indices: BTreeMap<InterfaceName, u32>,
    /// The bridge, or whatever else a link is a member of.
    masters: BTreeMap<u32, u32>,
    members: BTreeMap<u32, BTreeSet<u32>>,
}

impl Links {
    /// Knows nothing any more: what is asked next is listed.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// Takes in what was notified, so that it does not pile up in the kernel while nobody asks.
    pub(super) fn catch_up(&mut self) {
        let is_whole = self.0.as_mut().is_none_or(|followed| followed.catch_up().unwrap_or(false));
        if !is_whole {
            self.forget();
        }
    }

    /// The ports of these bridges. A bridge that does not exist has none. Of those in `known` the other end is not asked for.
    pub(super) fn ports(
        &mut self,
        bridges: &BTreeSet<InterfaceName>,
        known: &BTreeSet<&InterfaceName>,
    ) -> io::Result<BTreeSet<Port>> {
        let mut followed = self.0.take().map_or_else(Followed::begin, Ok)?;
        if !followed.catch_up()? {
            followed = Followed::begin()?;
        }
        let netlink = Netlink::open(SockProtocol::NetlinkRoute)?;
        let links = &followed.known;
        let mut ports = BTreeSet::new();
        for bridge in bridges {
            let members = links.indices.get(bridge).and_then(|index| links.members.get(index));
            for member in members.into_iter().flatten() {
                let Some(name) = links.names.get(member) else { continue };
                // It may go meanwhile, or to another bridge; of both we shall hear.
                let mac = if known.contains(name) { None } else { mac_behind(*member, &netlink) };
                ports.insert(Port { bridge: bridge.clone(), name: name.clone(), mac });
            }
        }
        self.0 = Some(followed);
        Ok(ports)
    }
}

impl Followed {
    /// Subscribes, and then lists: what changes in between is notified, and the last word counts.
    fn begin() -> io::Result<Followed> {
        let notifications = subscribe(SockProtocol::NetlinkRoute, RTNLGRP_LINK)?;
        // Without the right to, the kernel's limit holds.
        let _ = setsockopt(&notifications, sockopt::RcvBufForce, &ROOM);
        let mut known = Known::default();
        Netlink::open(SockProtocol::NetlinkRoute)?.dump(RTM_GETLINK, &every_link(), |kind, body| {
            known.take(kind, body);
        })?;
        Ok(Followed { notifications, known })
    }

    /// Takes in all that was notified; `false` where something was lost.
    fn catch_up(&mut self) -> io::Result<bool> {
        let mut is_whole = true;
        drain(&self.notifications, |datagram| {
            is_whole &= datagram.is_some_and(|datagram| self.known.take_all(datagram));
        })?;
        Ok(is_whole)
    }
}

impl Known {
    /// Takes in a datagram; `false` where it cannot be read.
    fn take_all(&mut self, mut rest: &[u8]) -> bool {
        while !rest.is_empty() {
            let Some((Message { kind, body, .. }, next)) = message(rest) else { return false };
            if !self.take(kind, body) {
                return false;
            }
            rest = next;
        }
        true
    }

    /// Takes in what is said of a link; `false` where it cannot be read. A bridge speaks of its ports in messages of its own
    /// family as well, which say nothing more.
    fn take(&mut self, kind: u16, body: &[u8]) -> bool {
        let (Some(family), Some(attributes)) = (body.first(), body.get(LINK_HEADER_LENGTH..)) else { return false };
        // What a wireless driver tells of a link is not about the link as such, and does not say whose member it is.
        let is_of_link = *family == AF_UNSPEC && find(attributes, IFLA_WIRELESS).is_none();
        if !is_of_link || ![RTM_NEWLINK, RTM_DELLINK].contains(&kind) {
            return true;
        }
        let Some(index) = body.get(LINK_INDEX).and_then(number) else { return false };
        if let Some(name) = self.names.remove(&index)
            && self.indices.get(&name) == Some(&index)
        {
            self.indices.remove(&name);
        }
        if let Some(master) = self.masters.remove(&index) {
            let members = self.members.entry(master).or_default();
            members.remove(&index);
            if members.is_empty() {
                self.members.remove(&master);
            }
        }
        if kind == RTM_DELLINK {
            return true;
        }
        let (Some(name), master) = (find(attributes, IFLA_IFNAME), find(attributes, IFLA_MASTER).map(number)) else {
            return false;
        };
        // One that cannot be the name of a bridge or port of an engine's is none.
        if let Some(name) = text(name).and_then(|name| name.parse::<InterfaceName>().ok()) {
            self.indices.insert(name.clone(), index);
            self.names.insert(index, name);
        }
        match master {
            Some(None) => return false,
            Some(Some(master)) => {
                self.masters.insert(index, master);
                self.members.entry(master).or_default().insert(index);
            }
            None => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::netlink::attribute;

    const AF_BRIDGE: u8 = 7;

    /// A message about a link.
    fn link(index: u32, family: u8, name: &str, master: Option<u32>) -> Vec<u8> {
        let mut body = vec![0; LINK_HEADER_LENGTH];
        body[0] = family;
        body[LINK_INDEX].copy_from_slice(&index.to_ne_bytes());
        attribute(&mut body, IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
        if let Some(master) = master {
            attribute(&mut body, IFLA_MASTER, &master.to_ne_bytes());
        }
        body
    }

    fn ports(known: &Known, bridge: &str) -> Vec<String> {
        let index = known.indices.get(&bridge.parse().expect("a name"));
        let members = index.and_then(|index| known.members.get(index)).into_iter().flatten();
        members.filter_map(|member| known.names.get(member)).map(ToString::to_string).collect()
    }

    #[test]
    fn the_last_word_about_a_link_counts() {
        let mut known = Known::default();
        let mut take = |kind, body: &[u8]| assert!(known.take(kind, body));
        take(RTM_NEWLINK, &link(2, AF_UNSPEC, "br-a", None));
        take(RTM_NEWLINK, &link(3, AF_UNSPEC, "br-b", None));
        take(RTM_NEWLINK, &link(4, AF_UNSPEC, "veth4", None));
        take(RTM_NEWLINK, &link(4, AF_UNSPEC, "veth4", Some(2)));
        take(RTM_NEWLINK, &link(5, AF_UNSPEC, "veth5", Some(2)));
        take(RTM_DELLINK, &link(4, AF_BRIDGE, "veth4", Some(2)));
        let mut wireless = link(4, AF_UNSPEC, "veth4", None);
        attribute(&mut wireless, IFLA_WIRELESS, &[0; 8]);
        take(RTM_NEWLINK, &wireless);
        assert_eq!(ports(&known, "br-a"), ["veth4", "veth5"], "the bridge's own word is no more than the link's");
        let mut take = |kind, body: &[u8]| assert!(known.take(kind, body));
        take(RTM_NEWLINK, &link(4, AF_UNSPEC, "veth4", Some(3)));
        take(RTM_NEWLINK, &link(5, AF_UNSPEC, "renamed", Some(2)));
        take(RTM_NEWLINK, &link(6, AF_UNSPEC, "veth5", Some(2)));
        assert_eq!(ports(&known, "br-a"), ["renamed", "veth5"]);
        assert_eq!(ports(&known, "br-b"), ["veth4"]);
        let mut take = |kind, body: &[u8]| assert!(known.take(kind, body));
        take(RTM_DELLINK, &link(6, AF_UNSPEC, "veth5", None));
        take(RTM_NEWLINK, &link(4, AF_UNSPEC, "veth4", None));
        take(RTM_NEWLINK, &link(7, AF_UNSPEC, "br-a", None));
        take(RTM_DELLINK, &link(2, AF_UNSPEC, "br-a", None));
        assert_eq!((ports(&known, "br-a"), ports(&known, "br-b")), (vec![], vec![]), "another bridge of that name");
        assert!(known.indices.contains_key(&"br-a".parse().expect("a name")));
    }

    #[test]
    fn what_cannot_be_read_is_lost() {
        let mut cut_off = link(4, AF_UNSPEC, "veth4", None);
        attribute(&mut cut_off, IFLA_MASTER, &[7]);
        for (name, body) in [("no header", &[0; 8][..]), ("no name", &[0; LINK_HEADER_LENGTH]), ("a master", &cut_off)]
        {
            assert!(!Known::default().take(RTM_NEWLINK, body), "{name}");
        }
        assert!(!Known::default().take_all(&[1, 2, 3]) && Known::default().take_all(&[]));
    }
}
