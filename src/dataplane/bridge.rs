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

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::net::InterfaceName;

// linux/rtnetlink.h, linux/netlink.h
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const HEADER_LENGTH: usize = 16;
const LINK_HEADER_LENGTH: usize = 16;
// linux/if_link.h
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_BR_NF_CALL_IPTABLES: u16 = 36;
const IFLA_BR_NF_CALL_IP6TABLES: u16 = 37;
/// The upper two bits of an attribute's type are flags.
const TYPE_MASK: u16 = 0x3fff;
/// Longest datagram of a dump: the kernel fills at most 32 KiB.
const BUFFER: usize = 1 << 16;
/// Seconds to wait for an answer of the kernel, which gives it at once.
const ANSWER_LIMIT: i64 = 5;

/// Whether the kernel can pass bridged traffic through netfilter in this namespace.
pub(super) fn available() -> bool {
    // `/proc/sys/net` shows the namespace of the reading thread.
    Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists()
}

/// The bridges whose traffic passes through netfilter in both families by a switch of their own.
pub(super) fn filtered() -> io::Result<BTreeSet<InterfaceName>> {
    if !available() {
        return Ok(BTreeSet::new());
    }
    let socket = open()?;
    let mut body = vec![0; LINK_HEADER_LENGTH];
    attribute(&mut body, IFLA_LINKINFO, &kind_bridge());
    send(&socket, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, &body)?;
    let mut names = BTreeSet::new();
    receive(&socket, |kind, body| {
        if kind == RTM_NEWLINK
            && let Some(attributes) = body.get(LINK_HEADER_LENGTH..)
            && let Some(name) = filtered_bridge(attributes)
        {
            names.insert(name);
        }
    })?;
    Ok(names)
}

/// Makes traffic of a bridge pass through netfilter in both families.
pub(super) fn filter(bridge: &InterfaceName) -> io::Result<()> {
    let socket = open()?;
    let mut name = bridge.as_str().as_bytes().to_vec();
    name.push(0);
    let mut switches = Vec::new();
    attribute(&mut switches, IFLA_BR_NF_CALL_IPTABLES, &[1]);
    attribute(&mut switches, IFLA_BR_NF_CALL_IP6TABLES, &[1]);
    let mut info = kind_bridge();
    attribute(&mut info, IFLA_INFO_DATA, &switches);
    let mut body = vec![0; LINK_HEADER_LENGTH];
    attribute(&mut body, IFLA_IFNAME, &name);
    attribute(&mut body, IFLA_LINKINFO, &info);
    send(&socket, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, &body)?;
    receive(&socket, |_, _| {})
}

fn kind_bridge() -> Vec<u8> {
    let mut kind = Vec::new();
    attribute(&mut kind, IFLA_INFO_KIND, b"bridge\0");
    kind
}

/// The name of a link that is a bridge with both switches on.
fn filtered_bridge(attributes: &[u8]) -> Option<InterfaceName> {
    let info = find(attributes, IFLA_LINKINFO)?;
    if text(find(info, IFLA_INFO_KIND)?)? != "bridge" {
        return None;
    }
    let data = find(info, IFLA_INFO_DATA)?;
    let on = |switch| find(data, switch) == Some(&[1]);
    if !on(IFLA_BR_NF_CALL_IPTABLES) || !on(IFLA_BR_NF_CALL_IP6TABLES) {
        return None;
    }
    text(find(attributes, IFLA_IFNAME)?)?.parse().ok()
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(bytes)).ok()
}

fn open() -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_LIMIT))?;
    Ok(socket)
}

fn send(socket: &OwnedFd, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(HEADER_LENGTH + body.len()).map_err(io::Error::other)?;
    let mut message = Vec::with_capacity(HEADER_LENGTH + body.len());
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    // Sequence number and sender: each socket asks one question, so neither tells anything.
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(body);
    sendto(socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    Ok(())
}

/// Reads messages up to the acknowledgement or the end of a dump.
fn receive(socket: &OwnedFd, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = &buffer[..length];
        while let Some((kind, body, next)) = message(rest) {
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                kind => each(kind, body),
            }
            rest = next;
        }
    }
}

/// The first message of a datagram: its type, its body, and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEADER_LENGTH..length)?;
    Some((kind, body, bytes.get(aligned(length)..).unwrap_or_default()))
}

/// Appends an attribute: length, type, value, padding.
fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // Interface names and three switches: far below the 64 KiB that the length can say.
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    to.extend_from_slice(&length.to_ne_bytes());
    to.extend_from_slice(&kind.to_ne_bytes());
    to.extend_from_slice(value);
    to.resize(aligned(to.len()), 0);
}

/// The value of the first attribute of a type.
fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let this = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?) & TYPE_MASK;
        let value = attributes.get(4..length)?;
        if this == kind {
            return Some(value);
        }
        attributes = attributes.get(aligned(length)..)?;
    }
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}
