//! Whether a bridge shows its traffic to netfilter: read and set over rtnetlink.
//!
//! Input: the network namespace of the calling thread. Output: the bridges in it whose `nf_call_iptables` and
//! `nf_call_ip6tables` are both on, and the same switched on.
//!
//! The files in `/sys/class/net/BRIDGE/bridge` would show the namespace in which `/sys` was mounted, which need not be
//! the caller's, and both `/sys` and `/proc/sys` are read-only under a hardened service manager. The switch of the
//! namespace, `/proc/sys/net/bridge/bridge-nf-call-iptables`, is left alone: it concerns the bridges of others too, and
//! whoever turns it off leaves a bridge that has its own switch on as it is.

#![expect(clippy::disallowed_methods, reason = "the door to the kernel's bridges")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;

use nix::sys::socket::SockProtocol;

use super::netlink::{
    IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, LINK_HEADER_LENGTH, Netlink, RTM_GETLINK, RTM_NEWLINK,
    attribute, find, link_header, text, zero_ended,
};
use crate::net::InterfaceName;

// linux/if_link.h
const IFLA_INFO_DATA: u16 = 2;
const IFLA_BR_STP_STATE: u16 = 5;
const IFLA_BR_GROUP_FWD_MASK: u16 = 9;
const IFLA_BR_NF_CALL_IPTABLES: u16 = 36;
const IFLA_BR_NF_CALL_IP6TABLES: u16 = 37;

/// The bit of the forwarding mask for `01:80:c2:00:00:0e`, the address of LLDP. Without it the kernel takes a frame to that
/// address off the bridge before any hook: it would learn the sender's address from it, and an IP packet in it would enter
/// this host by the port, where no rule for the bridge sees it. Frames to its other addresses of this sort pass a hook.
const FORWARD_LLDP: u16 = 1 << 0x0e;

/// Whether the kernel can pass bridged traffic through netfilter in this namespace.
pub(super) fn available() -> bool {
    // `/proc/sys/net` shows the namespace of the reading thread.
    Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists()
}

/// The bridges whose traffic, all of it, passes through netfilter in both families by switches of their own.
pub(super) fn filtered() -> io::Result<BTreeSet<InterfaceName>> {
    Ok(switches()?.into_iter().filter_map(|(name, on)| on.then_some(name)).collect())
}

/// All bridges, each with whether it has its traffic pass through netfilter in both families.
pub(super) fn switches() -> io::Result<BTreeMap<InterfaceName, bool>> {
    if !available() {
        return Ok(BTreeMap::new());
    }
    let mut body = link_header(0);
    attribute(&mut body, IFLA_LINKINFO, &kind_bridge());
    let mut bridges = BTreeMap::new();
    Netlink::open(SockProtocol::NetlinkRoute)?.dump(RTM_GETLINK, &body, |kind, body| {
        if kind == RTM_NEWLINK
            && let Some(attributes) = body.get(LINK_HEADER_LENGTH..)
            && let Some((name, on)) = bridge(attributes)
        {
            bridges.insert(name, on);
        }
    })?;
    Ok(bridges)
}

/// The bridge of this index, with whether it has its traffic pass through netfilter in both families; `None` where the link is
/// no bridge. That there is no such link is an error.
pub(super) fn switch(index: u32) -> io::Result<Option<(InterfaceName, bool)>> {
    let mut found = None;
    Netlink::open(SockProtocol::NetlinkRoute)?.request(RTM_GETLINK, &link_header(index), |_, body| {
        found = body.get(LINK_HEADER_LENGTH..).and_then(bridge);
    })?;
    Ok(found.map(|(name, on)| (name, on && available())))
}

/// Makes traffic of a bridge pass through netfilter in both families.
pub(super) fn filter(bridge: &InterfaceName) -> io::Result<()> {
    let netlink = Netlink::open(SockProtocol::NetlinkRoute)?;
    let (mut forwarded, mut spanning_tree) = (0, false);
    netlink.request(RTM_GETLINK, &named(bridge), |_, body| {
        let info = body.get(LINK_HEADER_LENGTH..).and_then(|attributes| find(attributes, IFLA_LINKINFO));
        let data = info.and_then(|info| find(info, IFLA_INFO_DATA));
        forwarded = data.map_or(0, forwarded_groups);
        spanning_tree = data.is_some_and(has_spanning_tree);
    })?;
    netlink.request(RTM_NEWLINK, &filtering(bridge, forwarded), |_, _| {})?;
    if spanning_tree {
        return Err(io::Error::other(format!(
            "frames to 01:80:c2:00:00:00 pass no hook while it speaks the spanning tree protocol; \
             run `ip link set {bridge} type bridge stp_state 0`"
        )));
    }
    Ok(())
}

/// Makes a bridge whose traffic passes through netfilter in both families from its first packet on, with what an engine
/// would set only when it makes the bridge itself: an address that does not change with its ports, and no heed of router
/// advertisements, which containers could send.
pub(super) fn make(bridge: &InterfaceName) -> io::Result<()> {
    let mut body = filtering(bridge, 0);
    let random = RandomState::new().hash_one(bridge.as_str()).to_ne_bytes();
    attribute(&mut body, IFLA_ADDRESS, &[0x02, 0x42, random[0], random[1], random[2], random[3]]);
    Netlink::open(SockProtocol::NetlinkRoute)?.create(RTM_NEWLINK, &body)?;
    let accept_ra = format!("/proc/sys/net/ipv6/conf/{bridge}/accept_ra");
    match fs::write(accept_ra, "0") {
        // A kernel without IPv6.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The body of a message that names a bridge.
fn named(bridge: &InterfaceName) -> Vec<u8> {
    let mut body = link_header(0);
    attribute(&mut body, IFLA_IFNAME, &zero_ended(bridge.as_str()));
    body
}

/// The body of a message that names a bridge and turns its switches on, beside what it forwards already.
fn filtering(bridge: &InterfaceName, forwarded: u16) -> Vec<u8> {
    let mut switches = Vec::new();
    attribute(&mut switches, IFLA_BR_GROUP_FWD_MASK, &(forwarded | FORWARD_LLDP).to_ne_bytes());
    attribute(&mut switches, IFLA_BR_NF_CALL_IPTABLES, &[1]);
    attribute(&mut switches, IFLA_BR_NF_CALL_IP6TABLES, &[1]);
    let mut info = kind_bridge();
    attribute(&mut info, IFLA_INFO_DATA, &switches);
    let mut body = named(bridge);
    attribute(&mut body, IFLA_LINKINFO, &info);
    body
}

/// The forwarding mask in a bridge's data.
fn forwarded_groups(data: &[u8]) -> u16 {
    find(data, IFLA_BR_GROUP_FWD_MASK).and_then(|mask| mask.first_chunk()).map_or(0, |mask| u16::from_ne_bytes(*mask))
}

/// Whether a bridge speaks the spanning tree protocol. If so, the kernel takes frames to `01:80:c2:00:00:00` off the bridge
/// before any hook, as it does for LLDP, but there is no bit that has it forward them.
fn has_spanning_tree(data: &[u8]) -> bool {
    find(data, IFLA_BR_STP_STATE).is_some_and(|state| state.iter().any(|byte| *byte != 0))
}

fn kind_bridge() -> Vec<u8> {
    let mut kind = Vec::new();
    attribute(&mut kind, IFLA_INFO_KIND, &zero_ended("bridge"));
    kind
}

/// The name of a link that is a bridge, and whether all switches are on.
fn bridge(attributes: &[u8]) -> Option<(InterfaceName, bool)> {
    let info = find(attributes, IFLA_LINKINFO)?;
    if text(find(info, IFLA_INFO_KIND)?)? != "bridge" {
        return None;
    }
    let data = find(info, IFLA_INFO_DATA)?;
    let on = |switch| find(data, switch) == Some(&[1]);
    let name = text(find(attributes, IFLA_IFNAME)?)?.parse().ok()?;
    let filtered = on(IFLA_BR_NF_CALL_IPTABLES) && on(IFLA_BR_NF_CALL_IP6TABLES);
    Some((name, filtered && forwarded_groups(data) & FORWARD_LLDP != 0 && !has_spanning_tree(data)))
}
