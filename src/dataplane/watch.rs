//! The kernel's own word that somebody changed rules or links, so that a change by other hands is repaired at once and
//! not at the next periodic read-back.
//!
//! Input: the notifications of nftables and of rtnetlink in the network namespace of the thread that opened the watch.
//! Output: [`Notice`]s on a channel. A notice says that something *may* differ, never what: whoever gets it reads the kernel
//! back and compares. Our own changes are notified like everybody's, but for set members that our `nft` changes; reading
//! back finds nothing then, so there is no endless loop, and a foreign change in the same moment is not taken for ours.
//!
//! There are no notifications of iptables-legacy, of ipset, or of `/proc/sys/net/bridge`; for these the periodic
//! read-back is there. (A bridge that has its own switch on does not heed `/proc/sys/net/bridge`.)

#![expect(clippy::disallowed_methods, reason = "the door to the kernel's notifications")]

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use tokio::sync::mpsc;

use super::netlink::{
    BUFFER, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MASTER, LINK_HEADER_LENGTH, Message, find, message, origin, text,
};
use super::place::Xtable;
use super::state::DOCKER_USER;
use crate::ruleset::{CHAIN_PREFIX, Hook};

// linux/netfilter/nfnetlink.h: group 7 as a bit.
const NFNLGRP_NFTABLES: u32 = 1 << 6;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNETLINK_HEADER_LENGTH: usize = 4;
// linux/netfilter/nf_tables.h
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_DELCHAIN: u16 = 5;
const NFT_MSG_NEWRULE: u16 = 6;
const NFT_MSG_DELRULE: u16 = 8;
const NFT_MSG_NEWSETELEM: u16 = 12;
const NFT_MSG_DELSETELEM: u16 = 14;
const NFT_MSG_NEWGEN: u16 = 15;
/// The table's name has this number in messages about tables, chains, rules, sets and elements.
const NFTA_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_RULE_CHAIN: u16 = 2;
// linux/netfilter.h
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_BRIDGE: u8 = 7;
const NFPROTO_IPV6: u8 = 10;
/// The table of ours in the bridge family.
const BRIDGE_TABLE: &str = "dockgate";
// linux/rtnetlink.h: group 1 as a bit.
const RTNLGRP_LINK: u32 = 1;
const AF_BRIDGE: u8 = 7;

/// How often the thread looks whether anybody still listens, in milliseconds.
const CLOSED_POLL: u16 = 1000;

/// What may have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// Rules, chains or tables in which something of ours is or should be.
    pub rules: bool,
    /// Bridges and their ports: one came, went or was set otherwise.
    pub links: bool,
}

/// Subscribes, and sends a notice for every change from here on, until the receiver is dropped. While the receiver is
/// busy the kernel keeps what it has to say; what it cannot keep counts as a change. The channel ends when the kernel
/// ends the subscription.
pub fn watch() -> io::Result<mpsc::Receiver<Notice>> {
    let watch = Watch {
        rules: subscribe(SockProtocol::NetlinkNetFilter, NFNLGRP_NFTABLES)?,
        links: subscribe(SockProtocol::NetlinkRoute, RTNLGRP_LINK)?,
    };
    // A thread and no asynchronous socket: tokio takes a foreign descriptor only by an unsafe call.
    let (sender, receiver) = mpsc::channel(1);
    thread::Builder::new().name("kernel-watch".to_owned()).spawn(move || watch.run(&sender))?;
    Ok(receiver)
}

struct Watch {
    rules: OwnedFd,
    links: OwnedFd,
}

impl Watch {
    fn run(&self, sender: &mpsc::Sender<Notice>) {
        while !sender.is_closed() {
            match self.next() {
                Ok(notice) if notice == Notice::default() => {}
                // Fails only when the receiver is gone.
                Ok(notice) => drop(sender.blocking_send(notice)),
                Err(error) => {
                    tracing::error!(%error, "cannot read the kernel's notifications");
                    return;
                }
            }
        }
    }

    /// Waits for messages, for a while, and reads all there are.
    fn next(&self) -> io::Result<Notice> {
        let mut interest = [&self.rules, &self.links].map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        match poll(&mut interest, CLOSED_POLL) {
            Ok(0) | Err(Errno::EINTR) => return Ok(Notice::default()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Notice { rules: drain(&self.rules, concerns_rules)?, links: drain(&self.links, concerns_bridges)? })
    }
}

fn subscribe(protocol: SockProtocol, groups: u32) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(socket)
}

/// Reads all there is, and says whether any of it matters.
fn drain(socket: &OwnedFd, matters: fn(u16, &[u8]) -> bool) -> io::Result<bool> {
    let mut any = false;
    let mut buffer = vec![0; BUFFER];
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => any |= datagram_matters(&buffer[..length], matters),
            Err(Errno::EAGAIN) => return Ok(any),
            Err(Errno::EINTR) => {}
            // The kernel had more to say than the socket holds: what was lost may have mattered.
            Err(Errno::ENOBUFS) => any = true,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether a message of a datagram matters. One that cannot be read does.
fn datagram_matters(mut rest: &[u8], matters: fn(u16, &[u8]) -> bool) -> bool {
    while !rest.is_empty() {
        let Some((Message { kind, body, .. }, next)) = message(rest) else { return true };
        if matters(kind, body) && !is_of_our_nft(kind, rest) {
            return true;
        }
        rest = next;
    }
    false
}

/// Whether a message tells of set members that the `nft` which we keep running has changed: a child of this process. It is the
/// one change of ours that is told apart, because there is one with every container that comes or goes, and a read-back
/// for it would be in the way of the next.
fn is_of_our_nft(kind: u16, message: &[u8]) -> bool {
    if kind >> 8 != NFNL_SUBSYS_NFTABLES || ![NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM].contains(&(kind & 0xff)) {
        return false;
    }
    let parent = |process: u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // `PID (NAME) STATE PARENT ...`, and a name may contain anything.
        stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    origin(message).and_then(parent) == Some(std::process::id())
}

/// Whether a message of nftables is about what we keep: the tables of iptables with chains of ours, there the kernel's chains, Docker's
/// chain for the rules of others and chains of ours; and our own table. Docker writes its other chains at every start of a
/// container, which is none of our business.
fn concerns_rules(kind: u16, body: &[u8]) -> bool {
    let (subsystem, verb) = (kind >> 8, kind & 0xff);
    if subsystem != NFNL_SUBSYS_NFTABLES || verb == NFT_MSG_NEWGEN {
        return false;
    }
    let (Some(family), Some(attributes)) = (body.first(), body.get(NFNETLINK_HEADER_LENGTH..)) else { return true };
    let Some(table) = find(attributes, NFTA_TABLE).and_then(text) else { return true };
    match *family {
        NFPROTO_BRIDGE => table == BRIDGE_TABLE,
        NFPROTO_IPV4 | NFPROTO_IPV6 if Xtable::ALL.iter().any(|of_ours| table == of_ours.name()) => {
            let chain = match verb {
                NFT_MSG_NEWRULE | NFT_MSG_DELRULE => find(attributes, NFTA_RULE_CHAIN),
                NFT_MSG_NEWCHAIN | NFT_MSG_DELCHAIN => find(attributes, NFTA_CHAIN_NAME),
                _ => return true,
            };
            chain.and_then(text).is_none_or(is_minded)
        }
        _ => false,
    }
}

fn is_minded(chain: &str) -> bool {
    chain == DOCKER_USER
        || chain.starts_with(CHAIN_PREFIX)
        || Hook::ALL.into_iter().any(|hook| chain == hook.kernel_chain())
}

/// Whether a message of rtnetlink is about a bridge or a port of one.
fn concerns_bridges(_kind: u16, body: &[u8]) -> bool {
    let (Some(family), Some(attributes)) = (body.first(), body.get(LINK_HEADER_LENGTH..)) else { return true };
    let kind = || text(find(find(attributes, IFLA_LINKINFO)?, IFLA_INFO_KIND)?);
    // What leaves a bridge is told by a message of the bridge family.
    *family == AF_BRIDGE || find(attributes, IFLA_MASTER).is_some() || kind() == Some("bridge")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::netlink::attribute;

    fn rules(verb: u16, family: u8, attributes: &[(u16, &str)]) -> bool {
        let mut body = vec![family, 0, 0, 0];
        for (kind, value) in attributes {
            attribute(&mut body, *kind, &[value.as_bytes(), &[0]].concat());
        }
        concerns_rules(NFNL_SUBSYS_NFTABLES << 8 | verb, &body)
    }

    #[test]
    fn only_what_holds_rules_of_ours_is_minded() {
        const NFT_MSG_DELTABLE: u16 = 2;
        const NFPROTO_INET: u8 = 1;
        let (table, rule, chain) = (NFTA_TABLE, NFTA_RULE_CHAIN, NFTA_CHAIN_NAME);
        for (name, verb, family, attributes, minded) in [
            (
                "a rule in a chain of ours",
                NFT_MSG_DELRULE,
                NFPROTO_IPV4,
                &[(table, "filter"), (rule, "DG-x")][..],
                true,
            ),
            ("a rule in INPUT", NFT_MSG_NEWRULE, NFPROTO_IPV6, &[(table, "filter"), (rule, "INPUT")], true),
            ("a rule in DOCKER-USER", NFT_MSG_NEWRULE, NFPROTO_IPV4, &[(table, "filter"), (rule, "DOCKER-USER")], true),
            ("a rule of Docker's", NFT_MSG_NEWRULE, NFPROTO_IPV4, &[(table, "filter"), (rule, "DOCKER")], false),
            ("a rule in mangle", NFT_MSG_DELRULE, NFPROTO_IPV6, &[(table, "mangle"), (rule, "FORWARD")], true),
            ("a rule in nat", NFT_MSG_NEWRULE, NFPROTO_IPV4, &[(table, "nat"), (rule, "OUTPUT")], false),
            ("a chain of ours", NFT_MSG_DELCHAIN, NFPROTO_IPV4, &[(table, "filter"), (chain, "DG-x")], true),
            ("a foreign chain", NFT_MSG_NEWCHAIN, NFPROTO_IPV4, &[(table, "filter"), (chain, "f2b")], false),
            ("the filter table", NFT_MSG_DELTABLE, NFPROTO_IPV4, &[(table, "filter")], true),
            ("a foreign table of that name", NFT_MSG_DELTABLE, NFPROTO_INET, &[(table, "filter")], false),
            ("our bridge table", NFT_MSG_NEWSETELEM, NFPROTO_BRIDGE, &[(table, "dockgate")], true),
            ("a foreign bridge table", NFT_MSG_NEWRULE, NFPROTO_BRIDGE, &[(table, "filter")], false),
            ("the end of a transaction", NFT_MSG_NEWGEN, NFPROTO_IPV4, &[], false),
            ("something without a table", NFT_MSG_NEWRULE, NFPROTO_IPV4, &[], true),
        ] {
            assert_eq!(rules(verb, family, attributes), minded, "{name}");
        }
        assert!(!concerns_rules(0x0100, &[]), "another subsystem");
    }

    #[test]
    fn only_bridges_and_their_ports_are_minded() {
        let link = |family: u8, attributes: &[u8]| {
            let mut body = vec![0; LINK_HEADER_LENGTH];
            body[0] = family;
            body.extend_from_slice(attributes);
            concerns_bridges(16, &body)
        };
        let made = |kind, value: &[u8]| {
            let mut bytes = Vec::new();
            attribute(&mut bytes, kind, value);
            bytes
        };
        let of_kind = |kind: &[u8]| made(IFLA_LINKINFO, &made(IFLA_INFO_KIND, kind));
        assert!(link(0, &of_kind(b"bridge\0")));
        assert!(link(0, &made(IFLA_MASTER, &7_u32.to_ne_bytes())));
        assert!(link(AF_BRIDGE, &[]), "a port that leaves");
        assert!(!link(0, &of_kind(b"veth\0")), "a link of nobody's");
    }

    #[test]
    fn what_cannot_be_read_counts() {
        assert!(datagram_matters(&[1, 2, 3], |_, _| false));
        assert!(!datagram_matters(&[], |_, _| true));
    }
}
