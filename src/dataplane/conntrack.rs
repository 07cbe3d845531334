//! The kernel's connection table: reads the flows that are open, and ends some of them.
//!
//! Input: the network namespace of the calling thread, and a judge of flows. Output: the flows that were ended. A packet
//! of such a flow is then the first of a new one, which the rules in force judge.
//!
//! Flows are named to the kernel one by one, by their own tuple and id. Its deletion by filter is never used: kernels
//! that do not know the filter leave it out and delete every flow of the host.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use super::netlink::{Netlink, attribute, find, nested};
use crate::net::Protocol;
use crate::verdict::flow::{Flow, LocalPort};

// linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h: subsystem 1, and its messages.
const CT_NEW: u16 = 0x100;
const CT_GET: u16 = 0x101;
const CT_DELETE: u16 = 0x102;
/// `struct nfgenmsg`: family, version, resource.
const HEADER_LENGTH: usize = 4;
// linux/rtnetlink.h, linux/if_addr.h: `struct ifaddrmsg`
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const ADDRESS_HEADER_LENGTH: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_PROTOINFO: u16 = 4;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_TUPLE_ZONE: u16 = 3;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_ICMP_TYPE: u16 = 5;
const CTA_PROTO_ICMP_CODE: u16 = 6;
const CTA_PROTO_ICMPV6_TYPE: u16 = 8;
const CTA_PROTO_ICMPV6_CODE: u16 = 9;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_FLAGS_ORIGINAL: u16 = 4;
/// What `tcp_new` of the kernel gives to a flow whose beginning it has not seen.
const IP_CT_TCP_FLAG_BE_LIBERAL: u8 = 0x08;

/// Why flows could not be read or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not speak of its connection table.
    #[error(
        "the kernel has no netlink interface to its connection table: load the module nf_conntrack_netlink (`modprobe \
         nf_conntrack_netlink`)"
    )]
    NoInterface,
    /// Nothing can be said to the kernel about it.
    #[error("cannot open a netlink socket to the connection table")]
    Socket(#[source] io::Error),
    /// The connection table could not be listed.
    #[error("cannot list the open flows")]
    List(#[source] io::Error),
    /// A flow is still open.
    #[error("cannot end the flow {flow}")]
    End {
        /// The flow.
        flow: Box<Flow>,
        /// The cause.
        source: io::Error,
    },
    /// Flows that were to be ended are where nobody but who put them there can tell whose their addresses are.
    #[error(
        "{flows} of them in other conntrack zones than ours (`CT --zone`), where the same addresses can be those of others, so \
         that they are left to who tracks them there; the first is {first}"
    )]
    Elsewhere {
        /// Their number.
        flows: usize,
        /// One of them.
        first: Box<Flow>,
    },
    /// The addresses of this host are not known, so it is not known where flows go.
    #[error("cannot list this host's addresses")]
    Addresses(#[source] io::Error),
}

/// A flow as the connection table has it.
struct Entry {
    flow: Flow,
    family: u8,
    /// The attributes by which the kernel knows it: its original tuple and its id, as the kernel wrote them.
    name: Vec<u8>,
    /// Whether it is of another conntrack zone than the packets of this host by themselves.
    is_elsewhere: bool,
}

/// A flow that is to be ended.
#[derive(Debug)]
struct Doomed {
    family: u8,
    flow: Flow,
    /// The ports of this host that it is from and to.
    local_ports: Vec<LocalPort>,
}

/// Flows by the names that the kernel has for them: tuple and id, which one that opens later between the same ports can share only by
/// chance.
#[derive(Debug, Default)]
struct ByName {
    flows: BTreeMap<Vec<u8>, Doomed>,
    /// How many of them there are at each port of this host.
    at_ports: BTreeMap<LocalPort, usize>,
}

impl ByName {
    fn insert(&mut self, name: Vec<u8>, doomed: Doomed) {
        for port in &doomed.local_ports {
            *self.at_ports.entry(*port).or_default() += 1;
        }
        let former = self.flows.insert(name, doomed);
        self.forget_ports(former.as_ref());
    }

    fn pop_first(&mut self) -> Option<(Vec<u8>, Doomed)> {
        let first = self.flows.pop_first();
        self.forget_ports(first.as_ref().map(|(_, doomed)| doomed));
        first
    }

    fn forget_ports(&mut self, doomed: Option<&Doomed>) {
        for port in doomed.into_iter().flat_map(|doomed| &doomed.local_ports) {
            if let Some(count) = self.at_ports.get_mut(port) {
                *count -= 1;
                if *count == 0 {
                    self.at_ports.remove(port);
                }
            }
        }
    }

    /// Moves those for which this holds to others. The list is not made anew: it can be long where they are few.
    fn hand_over(&mut self, mut is_one: impl FnMut(&Doomed) -> bool, others: &mut ByName) {
        let these = self.flows.iter().filter(|(_, doomed)| is_one(doomed));
        let names: Vec<_> = these.map(|(name, _)| name.clone()).collect();
        for name in names {
            if let Some((name, doomed)) = self.flows.remove_entry(&name) {
                self.forget_ports(Some(&doomed));
                others.insert(name, doomed);
            }
        }
    }
}

/// Flows that are to be ended.
#[derive(Debug, Default)]
pub struct Condemned {
    untried: ByName,
    /// Those that could not be ended.
    refused: ByName,
}

impl Condemned {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.untried.flows.len() + self.refused.flows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether one of them is from or to this port of this host.
    pub fn are_at(&self, port: LocalPort) -> bool {
        [&self.untried, &self.refused].into_iter().any(|flows| flows.at_ports.contains_key(&port))
    }

    /// Whether [`Condemned::end`] has something to do.
    pub fn has_untried(&self) -> bool {
        !self.untried.flows.is_empty()
    }

    /// Whether some could not be ended.
    pub fn has_refused(&self) -> bool {
        !self.refused.flows.is_empty()
    }

    /// Of those that could not be ended, the ones for which this holds are to be tried again.
    pub fn retry(&mut self, mut is_one: impl FnMut(&Flow) -> bool) {
        self.refused.hand_over(|doomed| is_one(&doomed.flow), &mut self.untried);
    }

    /// Adds the open flows that `judge` condemns, by saying from and to which ports of this host they are. Those of other
    /// conntrack zones are told and not added.
    pub fn add(&mut self, mut judge: impl FnMut(&Flow) -> Option<Vec<LocalPort>>) -> Result<(), Error> {
        let mut elsewhere = Vec::new();
        let listed = open()?.dump_long(CT_GET, &[0; HEADER_LENGTH], |kind, body| {
            let entry = (kind == CT_NEW).then(|| entry(body)).flatten();
            let condemned = entry.and_then(|entry| Some((judge(&entry.flow)?, entry)));
            let Some((local_ports, Entry { flow, family, name, is_elsewhere })) = condemned else { return };
            if is_elsewhere {
                elsewhere.push(flow);
            } else {
                // Whether its ends are this host's may have changed.
                let known = self.refused.flows.contains_key(&name);
                let flows = if known { &mut self.refused } else { &mut self.untried };
                flows.insert(name, Doomed { family, flow, local_ports });
            }
        });
        listed.map_err(|error| failure(error, Error::List))?;
        match elsewhere.len() {
            0 => Ok(()),
            flows => Err(Error::Elsewhere { flows, first: Box::new(elsewhere.swap_remove(0)) }),
        }
    }

    /// Takes out those that are to be tried and for which this holds, to be tried before the others. It is told from and to
    /// which ports of this host they are.
    #[must_use]
    pub fn take(&mut self, mut is_one: impl FnMut(&Flow, &[LocalPort]) -> bool) -> Condemned {
        let mut these = Condemned::default();
        self.untried.hand_over(|doomed| is_one(&doomed.flow, &doomed.local_ports), &mut these.untried);
        these
    }

    /// Takes in what is left of others.
    pub fn put_back(&mut self, mut others: Condemned) {
        others.untried.hand_over(|_| true, &mut self.untried);
        others.refused.hand_over(|_| true, &mut self.refused);
    }

    /// Ends some of them, at most so many, and returns those that had not ended by themselves.
    ///
    /// An error is that of the first flow that could not be ended; the others are ended all the same. With any other error
    /// none was, and none could be.
    pub fn end(&mut self, at_most: usize) -> (Vec<Flow>, Result<(), Error>) {
        if !self.has_untried() {
            return (Vec::new(), Ok(()));
        }
        let socket = match open() {
            Ok(socket) => socket,
            Err(error) => {
                self.untried.hand_over(|_| true, &mut self.refused);
                return (Vec::new(), Err(error));
            }
        };
        let (mut ended, mut outcome) = (Vec::new(), Ok(()));
        for _ in 0..at_most {
            let Some((name, doomed)) = self.untried.pop_first() else { break };
            let body = [&[doomed.family, 0, 0, 0], name.as_slice()].concat();
            match socket.request(CT_DELETE, &body, |_, _| {}) {
                Ok(()) => ended.push(doomed.flow),
                Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => (),
                Err(source) => {
                    if outcome.is_ok() {
                        outcome = Err(Error::End { flow: Box::new(doomed.flow.clone()), source });
                    }
                    self.refused.insert(name, doomed);
                }
            }
        }
        (ended, outcome)
    }
}

/// The addresses of this host.
pub fn host_addresses() -> Result<BTreeSet<IpAddr>, Error> {
    let mut addresses = BTreeSet::new();
    // Not by `getifaddrs`, which lists the links as well: a host of containers has thousands.
    let netlink = Netlink::open(SockProtocol::NetlinkRoute).map_err(Error::Addresses)?;
    let listed = netlink.dump(RTM_GETADDR, &[0; ADDRESS_HEADER_LENGTH], |kind, body| {
        let attributes = body.get(ADDRESS_HEADER_LENGTH..).filter(|_| kind == RTM_NEWADDR);
        // Of a link between two points the other one is the address.
        let own =
            attributes.and_then(|attributes| find(attributes, IFA_LOCAL).or_else(|| find(attributes, IFA_ADDRESS)));
        addresses.extend(own.and_then(ip));
    });
    listed.map_err(Error::Addresses)?;
    Ok(addresses)
}

/// An address of either family from its bytes.
fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// A socket by which the kernel speaks of its connection table.
fn open() -> Result<Netlink, Error> {
    Netlink::open(SockProtocol::NetlinkNetFilter).map_err(|error| failure(error, Error::Socket))
}

/// What the kernel says of a subsystem that it does not have and could not load, and of other trouble.
fn failure(error: io::Error, otherwise: fn(io::Error) -> Error) -> Error {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EINVAL | Errno::EPROTONOSUPPORT | Errno::EOPNOTSUPP) => Error::NoInterface,
        _ => otherwise(error),
    }
}

/// Reads an entry. `None` for one that nobody can judge: of a protocol without a number.
fn entry(body: &[u8]) -> Option<Entry> {
    let family = *body.first()?;
    let attributes = body.get(HEADER_LENGTH..)?;
    let (original, reply) = (find(attributes, CTA_TUPLE_ORIG)?, find(attributes, CTA_TUPLE_REPLY)?);
    let in_zone = find(attributes, CTA_ZONE).is_some_and(|zone| zone != [0, 0]);
    let is_elsewhere = in_zone || [original, reply].into_iter().any(|tuple| find(tuple, CTA_TUPLE_ZONE).is_some());
    let protocol = find(original, CTA_TUPLE_PROTO)?;
    let answering = find(reply, CTA_TUPLE_PROTO)?;
    let byte = |kind| find(protocol, kind).and_then(<[u8]>::first).copied();
    let icmp_type = byte(CTA_PROTO_ICMP_TYPE).or_else(|| byte(CTA_PROTO_ICMPV6_TYPE));
    let icmp_code = byte(CTA_PROTO_ICMP_CODE).or_else(|| byte(CTA_PROTO_ICMPV6_CODE));
    let flow = Flow {
        // DNAT shows in who answers, SNAT in who is answered; the rules see a packet between the two.
        source: address(original, CTA_IP_V4_SRC, CTA_IP_V6_SRC)?,
        destination: address(reply, CTA_IP_V4_SRC, CTA_IP_V6_SRC)?,
        protocol: Protocol::from_number(byte(CTA_PROTO_NUM)?)?,
        ports: port(protocol, CTA_PROTO_SRC_PORT).zip(port(answering, CTA_PROTO_SRC_PORT)),
        icmp: icmp_type.zip(icmp_code),
        picked_up: is_picked_up(attributes),
    };
    let mut name = Vec::new();
    nested(&mut name, CTA_TUPLE_ORIG, original);
    attribute(&mut name, CTA_ID, find(attributes, CTA_ID)?);
    Some(Entry { flow, family, name, is_elsewhere })
}

fn address(tuple: &[u8], v4: u16, v6: u16) -> Option<IpAddr> {
    let addresses = find(tuple, CTA_TUPLE_IP)?;
    let in_v4 = || Some(IpAddr::from(*find(addresses, v4)?.first_chunk::<4>()?));
    in_v4().or_else(|| Some(IpAddr::from(*find(addresses, v6)?.first_chunk::<16>()?)))
}

fn port(protocol: &[u8], kind: u16) -> Option<u16> {
    Some(u16::from_be_bytes(*find(protocol, kind)?.first_chunk()?))
}

fn is_picked_up(attributes: &[u8]) -> bool {
    let tcp = find(attributes, CTA_PROTOINFO).and_then(|info| find(info, CTA_PROTOINFO_TCP));
    let flags = tcp.and_then(|tcp| find(tcp, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL));
    flags.and_then(<[u8]>::first).is_some_and(|flags| flags & IP_CT_TCP_FLAG_BE_LIBERAL != 0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A flow at these ports of this host that the kernel would not end.
    pub(crate) fn refused(flow: Flow, local_ports: Vec<LocalPort>) -> Condemned {
        // A name without a tuple would name every flow.
        let mut name = Vec::new();
        nested(&mut name, CTA_TUPLE_ORIG, &[]);
        let mut condemned = Condemned::default();
        condemned.refused.insert(name, Doomed { family: 0, flow, local_ports });
        condemned
    }

    /// An IPv4 tuple of a protocol: addresses and the attributes of the protocol.
    fn tuple(source: [u8; 4], destination: [u8; 4], protocol: u8, values: &[(u16, &[u8])]) -> Vec<u8> {
        let (mut addresses, mut numbers, mut tuple) = (Vec::new(), Vec::new(), Vec::new());
        attribute(&mut addresses, CTA_IP_V4_SRC, &source);
        attribute(&mut addresses, 2, &destination);
        attribute(&mut numbers, CTA_PROTO_NUM, &[protocol]);
        for (kind, value) in values {
            attribute(&mut numbers, *kind, value);
        }
        nested(&mut tuple, CTA_TUPLE_IP, &addresses);
        nested(&mut tuple, CTA_TUPLE_PROTO, &numbers);
        tuple
    }

    /// A message about 203.0.113.9:40000 → 203.0.113.1:8080, which is 10.1.0.3:80 in truth.
    fn translated(more: &[(u16, &[u8])]) -> Vec<u8> {
        let (client, asked) = (40_000_u16.to_be_bytes(), 8080_u16.to_be_bytes());
        let answering = 80_u16.to_be_bytes();
        let original = tuple([203, 0, 113, 9], [203, 0, 113, 1], 6, &[(2, &client), (3, &asked)]);
        let reply = tuple([10, 1, 0, 3], [203, 0, 113, 9], 6, &[(2, &answering), (3, &client)]);
        let mut body = vec![2, 0, 0, 0];
        nested(&mut body, CTA_TUPLE_ORIG, &original);
        nested(&mut body, CTA_TUPLE_REPLY, &reply);
        for (kind, value) in more {
            attribute(&mut body, *kind, value);
        }
        attribute(&mut body, CTA_ID, &[1, 2, 3, 4]);
        body
    }

    #[test]
    fn a_flow_is_read_as_the_rules_see_it_and_named_as_the_kernel_does() {
        let read = entry(&translated(&[])).expect("an entry");
        assert_eq!(read.flow.to_string(), "TCP 203.0.113.9:40000 -> 10.1.0.3:80");
        assert!(!read.flow.picked_up);
        assert_eq!(find(&read.name, CTA_ID), Some(&[1, 2, 3, 4][..]));
        let original = find(&read.name, CTA_TUPLE_ORIG).expect("without a tuple the kernel would delete every flow");
        assert_eq!(address(original, CTA_IP_V4_SRC, CTA_IP_V6_SRC), Some(IpAddr::from([203, 0, 113, 9])));

        let mut tcp = Vec::new();
        attribute(&mut tcp, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, &[IP_CT_TCP_FLAG_BE_LIBERAL | 2, 0]);
        let mut info = Vec::new();
        nested(&mut info, CTA_PROTOINFO_TCP, &tcp);
        assert!(entry(&translated(&[(CTA_PROTOINFO, &info)])).expect("an entry").flow.picked_up);
    }

    #[test]
    fn flows_of_other_zones_are_known_as_such() {
        let is_elsewhere = |zone: &[u8]| entry(&translated(&[(CTA_ZONE, zone)])).expect("an entry").is_elsewhere;
        assert!(!is_elsewhere(&[0, 0]) && is_elsewhere(&[0, 7]));
    }

    #[test]
    fn pings_have_a_type_and_no_ports() {
        let mut body = vec![2, 0, 0, 0];
        let values: [(u16, &[u8]); 3] = [(4, &[0, 9]), (CTA_PROTO_ICMP_TYPE, &[8]), (CTA_PROTO_ICMP_CODE, &[0])];
        nested(&mut body, CTA_TUPLE_ORIG, &tuple([10, 1, 0, 2], [10, 1, 0, 3], 1, &values));
        nested(&mut body, CTA_TUPLE_REPLY, &tuple([10, 1, 0, 3], [10, 1, 0, 2], 1, &values));
        attribute(&mut body, CTA_ID, &[0; 4]);
        let flow = entry(&body).expect("an entry").flow;
        assert_eq!((flow.ports, flow.icmp), (None, Some((8, 0))));
    }

    #[test]
    fn what_is_at_a_port_is_known_wherever_it_goes() {
        let flow = entry(&translated(&[])).expect("an entry").flow;
        let [at, nowhere] = [8080, 80].map(|port| (Protocol::TCP, port));
        let mut condemned = refused(flow, vec![at]);
        let is_known = |condemned: &Condemned| condemned.are_at(at) && !condemned.are_at(nowhere);
        assert!(is_known(&condemned) && !condemned.has_untried());
        assert!(condemned.take(|_, _| true).is_empty(), "it was tried");
        condemned.retry(|_| false);
        assert!(!condemned.has_untried());
        condemned.retry(|_| true);
        assert!(is_known(&condemned) && condemned.has_untried() && !condemned.has_refused());
        let taken = condemned.take(|_, ports| ports == [at]);
        assert!(is_known(&taken) && condemned.is_empty() && !condemned.are_at(at));
        condemned.put_back(taken);
        assert!(is_known(&condemned));
        condemned.untried.pop_first();
        assert!(condemned.is_empty() && !condemned.are_at(at));
    }

    #[test]
    fn a_kernel_without_the_interface_is_told_from_one_that_fails() {
        let error = |errno: Errno| failure(errno.into(), Error::List);
        assert!(matches!(error(Errno::EINVAL), Error::NoInterface));
        assert!(matches!(error(Errno::EPERM), Error::List(_)));
    }
}
