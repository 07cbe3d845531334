//! The door to ipset: changes of some members over netlink, everything else through `ipset`.
//!
//! Input: lines of `ipset` commands. Output: the kernel has carried them out, or the word of what was refused.
//!
//! One container that comes is some members. The kernel takes each in some 7 µs; a process that stays and reads lines takes
//! four times as long and two changes of process, and one for each change a millisecond.

use std::io;
use std::net::IpAddr;

use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use super::exec::{self, Error};
use super::netlink::{Kept, Netlink, Part, attribute, nested, netfilter_header, zero_ended};

// linux/netfilter/nfnetlink.h, ipset/ip_set.h
const NFNL_SUBSYS_IPSET: u16 = 6;
const IPSET_CMD_DESTROY: u16 = 3;
const IPSET_CMD_ADD: u16 = 9;
const IPSET_CMD_DEL: u16 = 10;
const IPSET_ATTR_PROTOCOL: u16 = 1;
const IPSET_ATTR_SETNAME: u16 = 2;
const IPSET_ATTR_DATA: u16 = 7;
const IPSET_ATTR_IP: u16 = 1;
const IPSET_ATTR_CIDR: u16 = 3;
const IPSET_ATTR_PORT: u16 = 4;
const IPSET_ATTR_PROTO: u16 = 7;
const IPSET_ATTR_IFACE: u16 = 23;
const IPSET_ATTR_IPADDR_IPV4: u16 = 1;
const IPSET_ATTR_IPADDR_IPV6: u16 = 2;
/// The oldest version of the protocol that is in use. Kernels that know a newer one take it.
const PROTOCOL: u8 = 6;
// linux/netlink.h
const NLA_F_NET_BYTEORDER: u16 = 1 << 14;

/// Lines in one datagram, which has to fit into the socket's buffer.
const BATCH: usize = 200;
/// Larger changes go to a process, whose `restore` packs many members into one message to the kernel.
const RESTORE_FROM: usize = 500;

/// Carries out changes of sets.
#[derive(Debug, Default)]
pub(super) struct Ipset {
    netlink: Kept,
}

impl Ipset {
    /// Applies lines of `ipset` input in order and returns once the kernel has them. Each has to be repeatable: what the kernel
    /// does not take is applied again by `ipset`, which says why.
    pub(super) fn apply(&mut self, lines: &[String]) -> Result<(), Error> {
        let few = Some(lines).filter(|lines| lines.len() < RESTORE_FROM);
        let requests = few.and_then(|lines| lines.iter().map(|line| request(line)).collect::<Option<Vec<Part>>>());
        let Some(requests) = requests else { return restore(lines) };
        requests.chunks(BATCH).try_for_each(|batch| self.send(batch)).or_else(|error| {
            tracing::debug!(%error, "the kernel does not take members of sets over netlink; ipset is to try");
            restore(lines)
        })
    }

    /// Destroys a set, unless there is none of this name. Returns whether that is done: the kernel lets go of a set a moment
    /// after its last rule.
    pub(super) fn destroy(&mut self, set: &str) -> bool {
        match self.send(&[about(IPSET_CMD_DESTROY, set)]) {
            Ok(()) => true,
            Err(error) => error.raw_os_error() == Some(Errno::ENOENT as i32),
        }
    }

    fn send(&mut self, requests: &[Part]) -> io::Result<()> {
        self.netlink.with(|| Netlink::open(SockProtocol::NetlinkNetFilter), |netlink| netlink.requests(requests))
    }
}

/// Carries out lines by a process of its own.
pub(super) fn restore(lines: &[String]) -> Result<(), Error> {
    exec::run("ipset", &["restore"], &exec::lines(lines)).map(drop)
}

/// A line as a message to the kernel; `None` for one that is about more than a member, and for one that is not understood.
fn request(line: &str) -> Option<Part> {
    let words: Vec<&str> = line.split(' ').collect();
    // Without the flag for "exclusive", which is what the word says.
    let [verb, set, member, "-exist"] = words[..] else { return None };
    let kind = match verb {
        "add" => IPSET_CMD_ADD,
        "del" => IPSET_CMD_DEL,
        _ => return None,
    };
    let mut request = about(kind, set);
    nested(&mut request.body, IPSET_ATTR_DATA, &data(member)?);
    Some(request)
}

fn about(kind: u16, set: &str) -> Part {
    let mut body = netfilter_header(0, 0);
    attribute(&mut body, IPSET_ATTR_PROTOCOL, &[PROTOCOL]);
    attribute(&mut body, IPSET_ATTR_SETNAME, &zero_ended(set));
    Part { kind: NFNL_SUBSYS_IPSET << 8 | kind, flags: 0, body }
}

/// What a member is made of: an address or a block, and a service or an interface.
fn data(member: &str) -> Option<Vec<u8>> {
    let (net, rest) = member.split_once(',').map_or((member, None), |(net, rest)| (net, Some(rest)));
    let (address, length) = net.split_once('/').map_or((net, None), |(address, length)| (address, Some(length)));
    let mut ip = Vec::new();
    match address.parse().ok()? {
        IpAddr::V4(address) => attribute(&mut ip, NLA_F_NET_BYTEORDER | IPSET_ATTR_IPADDR_IPV4, &address.octets()),
        IpAddr::V6(address) => attribute(&mut ip, NLA_F_NET_BYTEORDER | IPSET_ATTR_IPADDR_IPV6, &address.octets()),
    }
    let mut data = Vec::new();
    nested(&mut data, IPSET_ATTR_IP, &ip);
    if let Some(length) = length {
        attribute(&mut data, IPSET_ATTR_CIDR, &[length.parse().ok()?]);
    }
    match rest.map(|rest| rest.split_once(':').ok_or(rest)) {
        None => {}
        Some(Ok((protocol, port))) => {
            attribute(&mut data, IPSET_ATTR_PROTO, &[protocol.parse().ok()?]);
            let port: u16 = port.parse().ok()?;
            attribute(&mut data, NLA_F_NET_BYTEORDER | IPSET_ATTR_PORT, &port.to_be_bytes());
        }
        Some(Err(interface)) => attribute(&mut data, IPSET_ATTR_IFACE, &zero_ended(interface)),
    }
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_message_as_ipset_writes_it() {
        let add = request("add dg-4-x 10.0.0.9 -exist").expect("a line of ours");
        assert_eq!((add.kind, add.flags), (0x0609, 0), "not exclusive");
        let head = [&[0, 0, 0, 0, 5, 0, 1, 0, 6, 0, 0, 0, 11, 0, 2, 0][..], b"dg-4-x\0\0"].concat();
        assert_eq!(add.body[..head.len()], head);
        assert_eq!(add.body[head.len()..], [16, 0, 7, 0x80, 12, 0, 1, 0x80, 8, 0, 1, 0x40, 10, 0, 0, 9]);
        assert_eq!(request("del dg-4-x 10.0.0.9 -exist").map(|part| (part.kind, part.body)), Some((0x060a, add.body)));
        let v6 = [&[24, 0, 1, 0x80, 20, 0, 2, 0x40, 0xfd][..], &[0; 14], &[1]].concat();
        for (member, expected) in [
            ("fd00::1", v6),
            ("10.0.0.0/8", vec![12, 0, 1, 0x80, 8, 0, 1, 0x40, 10, 0, 0, 0, 5, 0, 3, 0, 8, 0, 0, 0]),
            (
                "10.0.0.9,17:53",
                vec![12, 0, 1, 0x80, 8, 0, 1, 0x40, 10, 0, 0, 9, 5, 0, 7, 0, 17, 0, 0, 0, 6, 0, 4, 0x40, 0, 53, 0, 0],
            ),
            (
                "10.0.0.9/32,br-a",
                [
                    &[12, 0, 1, 0x80, 8, 0, 1, 0x40, 10, 0, 0, 9, 5, 0, 3, 0, 32, 0, 0, 0, 9, 0, 23, 0][..],
                    b"br-a\0\0\0\0",
                ]
                .concat(),
            ),
        ] {
            assert_eq!(data(member), Some(expected), "{member}");
        }
    }

    #[test]
    fn what_is_not_about_one_member_is_left_to_the_command() {
        for line in [
            "create dg-4-x hash:ip family inet maxelem 1048576 -exist",
            "destroy dg-4-x",
            "add dg-4-x 10.0.0.9",
            "add dg-4-x name -exist",
            "add dg-4-x 10.0.0.0/x -exist",
            "add dg-4-x 10.0.0.9,udp:53 -exist",
            "add dg-4-x 10.0.0.9,17:99999 -exist",
        ] {
            assert_eq!(request(line), None, "{line}");
        }
    }
}
