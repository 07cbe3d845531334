//! The door to nftables: transactions of set elements over netlink, everything else through `nft`.
//!
//! Input: changes of set elements, or a file for `nft`. Output: the kernel has carried all of it out, or nothing.
//!
//! One container that comes is one transaction of some elements. The kernel takes it in some 50 µs. `nft` reads every set of the
//! table before each transaction, also one that keeps running: 2 to 3 ms with 1,000 endpoints, and more with more.

use std::io;

use nix::sys::socket::SockProtocol;

use super::antispoof::SetChange;
use super::exec::{self, Error};
use super::netlink::{Kept, NLM_F_CREATE, Netlink, Part, attribute, nested, netfilter_header, zero_ended};
use super::writers::own_port;

// linux/netfilter/nfnetlink.h
pub(super) const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;
// linux/netfilter/nf_tables.h
pub(super) const NFT_MSG_NEWSETELEM: u16 = 12;
const NFT_MSG_DELSETELEM: u16 = 14;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_DATA_VALUE: u16 = 1;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
// linux/netfilter.h
pub(super) const NFPROTO_BRIDGE: u8 = 7;

/// Longest transaction in bytes that is sent over netlink: it has to fit into the socket's buffer, and its lists of elements
/// into attributes (64 KiB). What is longer goes through `nft`, which divides it.
const LONGEST: usize = 1 << 15;

/// To add or to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// Elements that are there stay.
    Add,
    /// Each element must be there.
    Delete,
}

/// A change of a set's elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) verb: Verb,
    /// A table of the bridge family.
    pub(super) table: &'static str,
    pub(super) set: String,
    pub(super) keys: Vec<Key>,
}

/// An element's key in the form of its set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) bytes: Vec<u8>,
    /// Whether it is no element but what is behind the last one of an interval.
    pub(super) ends_interval: bool,
}

/// Carries out transactions of nftables.
#[derive(Debug, Default)]
pub(super) struct Nft {
    netlink: Kept,
}

impl Nft {
    /// Changes elements, all in one transaction.
    pub(super) fn change(&mut self, changes: &[SetChange]) -> Result<(), Error> {
        let requests: Option<Vec<Request>> = changes.iter().map(SetChange::request).collect();
        let sent = requests.and_then(|requests| self.send(&transaction(&requests)?).ok());
        // What the kernel has against it, `nft` says better. Where it only does not understand us, `nft` may do.
        sent.map_or_else(|| load(&exec::lines(changes)), Ok)
    }

    fn send(&mut self, transaction: &[Part]) -> io::Result<()> {
        let open = || Netlink::open_at(SockProtocol::NetlinkNetFilter, own_port());
        self.netlink.with(open, |netlink| netlink.transaction(transaction))
    }
}

/// Carries out a file of commands in one transaction, by a process of its own.
pub(super) fn load(input: &str) -> Result<(), Error> {
    exec::change("nft", &["-f", "-"], input).map(drop)
}

/// The messages of a transaction; `None` for one that is too long.
fn transaction(requests: &[Request]) -> Option<Vec<Part>> {
    let batch = |kind| Part { kind, flags: 0, body: netfilter_header(0, NFNL_SUBSYS_NFTABLES) };
    let parts: Vec<Part> = [batch(NFNL_MSG_BATCH_BEGIN)]
        .into_iter()
        .chain(requests.iter().map(message))
        .chain([batch(NFNL_MSG_BATCH_END)])
        .collect();
    (parts.iter().map(|part| part.body.len()).sum::<usize>() <= LONGEST).then_some(parts)
}

fn message(request: &Request) -> Part {
    let mut elements = Vec::new();
    for key in &request.keys {
        let mut value = Vec::new();
        attribute(&mut value, NFTA_DATA_VALUE, &key.bytes);
        let mut element = Vec::new();
        if key.ends_interval {
            attribute(&mut element, NFTA_SET_ELEM_FLAGS, &NFT_SET_ELEM_INTERVAL_END.to_be_bytes());
        }
        nested(&mut element, NFTA_SET_ELEM_KEY, &value);
        nested(&mut elements, NFTA_LIST_ELEM, &element);
    }
    let mut body = netfilter_header(NFPROTO_BRIDGE, 0);
    attribute(&mut body, NFTA_SET_ELEM_LIST_TABLE, &zero_ended(request.table));
    attribute(&mut body, NFTA_SET_ELEM_LIST_SET, &zero_ended(&request.set));
    nested(&mut body, NFTA_SET_ELEM_LIST_ELEMENTS, &elements);
    let (kind, flags) = match request.verb {
        Verb::Add => (NFT_MSG_NEWSETELEM, NLM_F_CREATE),
        Verb::Delete => (NFT_MSG_DELSETELEM, 0),
    };
    Part { kind: NFNL_SUBSYS_NFTABLES << 8 | kind, flags, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(verb: Verb, elements: usize) -> Request {
        let key = Key { bytes: vec![10, 0, 0, 1], ends_interval: false };
        Request { verb, table: "dockgate", set: "claimed4".to_owned(), keys: vec![key; elements] }
    }

    #[test]
    fn a_transaction_is_framed_and_says_what_it_changes() {
        let parts = transaction(&[request(Verb::Delete, 1), request(Verb::Add, 1)]).expect("a short one");
        let kinds: Vec<(u16, u16)> = parts.iter().map(|part| (part.kind, part.flags)).collect();
        assert_eq!(kinds, [(16, 0), (0x0a0e, 0), (0x0a0c, NLM_F_CREATE), (17, 0)]);
        assert_eq!(parts[0].body, [0, 0, 0, 10], "of nftables");
        // As `nft` writes it, without the number of the set within the transaction.
        let body = [&[7, 0, 0, 0, 13, 0, 1, 0][..], b"dockgate\0\0\0\0", &[13, 0, 2, 0], b"claimed4\0\0\0\0"].concat();
        assert_eq!(&parts[1].body[..body.len()], body);
        let element = [20, 0, 3, 0x80, 16, 0, 1, 0x80, 12, 0, 1, 0x80, 8, 0, 1, 0, 10, 0, 0, 1];
        assert_eq!(parts[1].body[body.len()..], element);
    }

    #[test]
    fn a_transaction_that_netlink_cannot_carry_is_none() {
        let each = 16;
        assert!(transaction(&[request(Verb::Add, LONGEST / each - 10)]).is_some());
        assert_eq!(transaction(&[request(Verb::Add, LONGEST / each + 1)]), None, "one that is long");
        let halves = [request(Verb::Add, LONGEST / each / 2), request(Verb::Delete, LONGEST / each / 2)];
        assert_eq!(transaction(&halves), None, "two that are long together");
    }
}
