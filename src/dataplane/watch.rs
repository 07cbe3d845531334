//! The kernel's own word that somebody changed rules or links, so that a change by other hands is repaired at once and
//! not at the next periodic read-back.
//!
//! Input: the notifications of nftables and of rtnetlink in the network namespace of the thread that opened the watch.
//! Output: [`Notice`]s on a channel. A notice says that something *may* differ, never what: whoever gets it reads the kernel
//! back and compares. What processes of ours have changed is not told, but for single jumps: after an edit of policy the
//! whole kernel would be read back for it.
//!
//! There are no notifications of iptables-legacy, of ipset, or of `/proc/sys/net/bridge`; for these the periodic
//! read-back is there. (A bridge that has its own switch on does not heed `/proc/sys/net/bridge`.)

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::SockProtocol;
use tokio::sync::mpsc;

use super::netlink::{
    IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MASTER, LINK_HEADER_LENGTH, LINK_INDEX, Message, RTNLGRP_LINK, drain, find,
    message, number, origin, subscribe, text,
};
use super::nftables::{NFNL_SUBSYS_NFTABLES, NFPROTO_BRIDGE};
use super::place::Xtable;
use super::state::DOCKER_USER;
use super::writers::is_ours;
use crate::ruleset::{CHAIN_PREFIX, Hook};

// linux/netfilter/nfnetlink.h: group 7 as a bit.
const NFNLGRP_NFTABLES: u32 = 1 << 6;
const NFNETLINK_HEADER_LENGTH: usize = 4;
// linux/netfilter/nf_tables.h
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_DELCHAIN: u16 = 5;
const NFT_MSG_NEWRULE: u16 = 6;
const NFT_MSG_DELRULE: u16 = 8;
const NFT_MSG_NEWGEN: u16 = 15;
/// The table's name has this number in messages about tables, chains, rules, sets and elements.
const NFTA_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_RULE_CHAIN: u16 = 2;
// linux/netfilter.h
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// The table of ours in the bridge family.
const BRIDGE_TABLE: &str = "dockgate";
const AF_BRIDGE: u8 = 7;

/// How often the thread looks whether anybody still listens, in milliseconds.
const CLOSED_POLL: u16 = 1000;

/// What may have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// Rules, chains or tables in which something of ours is or should be.
    pub rules: bool,
    /// Bridges, by interface index: one came, went or was set otherwise, or a port of it.
    pub links: Touched<u32>,
}

/// Those that a change may have touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched<T> {
    /// These and no others.
    Only(BTreeSet<T>),
    /// It is not known which.
    Any,
}

impl<T: Ord> Touched<T> {
    /// Whether nothing was touched.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Touched::Only(these) if these.is_empty())
    }

    /// Adds what another change has touched.
    pub fn extend(&mut self, other: Touched<T>) {
        match (&mut *self, other) {
            (Touched::Only(these), Touched::Only(others)) => these.extend(others),
            (_, Touched::Any) => *self = Touched::Any,
            (Touched::Any, _) => {}
        }
    }
}

impl<T> Default for Touched<T> {
    fn default() -> Touched<T> {
        Touched::Only(BTreeSet::new())
    }
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
        let mut notice = Notice::default();
        drain(&self.rules, |datagram| notice.rules |= datagram.is_none_or(concerns_us))?;
        drain(&self.links, |datagram| notice.links.extend(datagram.map_or(Touched::Any, bridges_of)))?;
        Ok(notice)
    }
}

/// Whether a datagram of nftables is about what we keep. One that cannot be read is.
fn concerns_us(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some((Message { kind, body, .. }, next)) = message(rest) else { return true };
        if concerns_rules(kind, body) && !origin(rest).is_some_and(is_ours) {
            return true;
        }
        rest = next;
    }
    false
}

/// The bridges that a datagram of rtnetlink is about. One that cannot be read may be about any.
fn bridges_of(mut rest: &[u8]) -> Touched<u32> {
    let mut touched = Touched::default();
    while !rest.is_empty() {
        let Some((Message { body, .. }, next)) = message(rest) else { return Touched::Any };
        touched.extend(bridge_of(body));
        rest = next;
    }
    touched
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

/// The bridge that a message of rtnetlink is about: itself or a port of it.
fn bridge_of(body: &[u8]) -> Touched<u32> {
    let (Some(family), Some(attributes)) = (body.first(), body.get(LINK_HEADER_LENGTH..)) else { return Touched::Any };
    let kind = find(attributes, IFLA_LINKINFO).and_then(|info| text(find(info, IFLA_INFO_KIND)?));
    let master = find(attributes, IFLA_MASTER);
    // What leaves a bridge is told by a message of the bridge family, which names it, too.
    if *family == AF_BRIDGE && master.is_none() {
        return Touched::Any;
    }
    let as_port = master.map(number);
    // A bridge can have a master of its own.
    let itself = (kind == Some("bridge")).then(|| body.get(LINK_INDEX).and_then(number));
    // A number that is cut off may be any.
    let touched: Option<BTreeSet<u32>> = as_port.into_iter().chain(itself).collect();
    touched.map_or(Touched::Any, Touched::Only)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::netlink::attribute;
    use crate::dataplane::nftables::NFT_MSG_NEWSETELEM;

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
    fn a_link_is_about_its_bridge_or_about_none() {
        const INDEX: u32 = 5;
        let link = |family: u8, attributes: &[u8]| {
            let mut body = vec![0; LINK_HEADER_LENGTH];
            body[0] = family;
            body[LINK_INDEX].copy_from_slice(&INDEX.to_ne_bytes());
            body.extend_from_slice(attributes);
            bridge_of(&body)
        };
        let made = |kind, value: &[u8]| {
            let mut bytes = Vec::new();
            attribute(&mut bytes, kind, value);
            bytes
        };
        let of_kind = |kind: &[u8]| made(IFLA_LINKINFO, &made(IFLA_INFO_KIND, kind));
        let master = made(IFLA_MASTER, &7_u32.to_ne_bytes());
        assert_eq!(link(0, &of_kind(b"bridge\0")), Touched::Only([INDEX].into()), "a bridge");
        assert_eq!(link(0, &master), Touched::Only([7].into()), "a port");
        assert_eq!(link(AF_BRIDGE, &master), Touched::Only([7].into()), "a port that leaves");
        let both = [of_kind(b"bridge\0"), master].concat();
        assert_eq!(link(0, &both), Touched::Only([INDEX, 7].into()), "a bridge that has a master itself");
        assert_eq!(link(0, &made(IFLA_MASTER, &[7])), Touched::Any, "a number that is cut off");
        assert_eq!(link(AF_BRIDGE, &[]), Touched::Any, "something about a bridge that is not named");
        assert_eq!(link(0, &of_kind(b"veth\0")), Touched::default(), "a link of nobody's");
        assert_eq!(bridge_of(&[0, 0]), Touched::Any, "a message that is cut off");
    }

    #[test]
    fn what_cannot_be_read_counts() {
        assert!(concerns_us(&[1, 2, 3]) && !concerns_us(&[]));
        assert_eq!((bridges_of(&[1, 2, 3]), bridges_of(&[])), (Touched::Any, Touched::default()));
    }

    #[test]
    fn what_two_changes_have_touched_is_what_either_has() {
        let only = |these: &[u32]| Touched::Only(these.iter().copied().collect());
        for (one, other, both) in [
            (only(&[]), only(&[]), only(&[])),
            (only(&[1]), only(&[2]), only(&[1, 2])),
            (only(&[1]), Touched::Any, Touched::Any),
            (Touched::Any, only(&[1]), Touched::Any),
        ] {
            let mut touched = one;
            touched.extend(other);
            assert_eq!(touched.is_nothing(), both == only(&[]));
            assert_eq!(touched, both);
        }
    }
}
