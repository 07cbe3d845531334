//! Netlink messages: the little of the format that links, flows, sets and notifications need.
//!
//! Input: a request's type, flags and body. Output: the kernel's answers, each as its type and body; attributes of a body.
//! Sockets belong to the network namespace of the thread that opened them.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

// linux/netlink.h
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_EXCL: u16 = 0x200;
pub(super) const NLM_F_CREATE: u16 = 0x400;
const HEADER_LENGTH: usize = 16;
// linux/rtnetlink.h: what every question about links needs.
pub(super) const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_DELLINK: u16 = 17;
pub(super) const RTM_GETLINK: u16 = 18;
pub(super) const LINK_HEADER_LENGTH: usize = 16;
/// The link's index in that header.
pub(super) const LINK_INDEX: std::ops::Range<usize> = 4..8;
// Group 1 as a bit.
pub(super) const RTNLGRP_LINK: u32 = 1;
// linux/if_link.h
pub(super) const IFLA_ADDRESS: u16 = 1;
pub(super) const IFLA_IFNAME: u16 = 3;
pub(super) const IFLA_MASTER: u16 = 10;
pub(super) const IFLA_LINKINFO: u16 = 18;
pub(super) const IFLA_INFO_KIND: u16 = 1;
const NLA_F_NESTED: u16 = 1 << 15;
/// The upper two bits of an attribute's type are flags.
const TYPE_MASK: u16 = 0x3fff;
/// Longest datagram: of a dump the kernel fills at most 32 KiB.
const BUFFER: usize = 1 << 16;
/// Seconds to wait for an answer of the kernel, which gives it at once.
const ANSWER_LIMIT: i64 = 5;

/// How often a listing is begun anew when what it lists changes meanwhile.
const DUMP_TRIES: usize = 10;

/// A socket for requests.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    /// Opens a socket of a netlink protocol in the network namespace of the calling thread.
    pub(super) fn open(protocol: SockProtocol) -> io::Result<Netlink> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_LIMIT))?;
        Ok(Netlink(socket))
    }

    /// As [`Netlink::open`], at a netlink port of ours; at any where somebody else has it, which anybody can.
    pub(super) fn open_at(protocol: SockProtocol, port: u32) -> io::Result<Netlink> {
        let netlink = Netlink::open(protocol)?;
        match bind(netlink.0.as_raw_fd(), &NetlinkAddr::new(port, 0)) {
            Err(Errno::EADDRINUSE) => {
                tracing::warn!(
                    port,
                    "somebody else has our netlink port: each change of ours is read back as if it were another's"
                );
                Ok(netlink)
            }
            bound => Ok(bound.map(|()| netlink)?),
        }
    }

    /// Asks for a listing; `each` gets the type and the body of every answer. A listing in which something may be missing,
    /// because it changed meanwhile, is begun anew.
    pub(super) fn dump(&self, kind: u16, body: &[u8], mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        let whole = uninterrupted(|| {
            let mut answers = Vec::new();
            self.dump_once(kind, body, |kind, body| answers.push((kind, body.to_vec())))?;
            Ok(answers)
        })?;
        for (kind, body) in whole {
            each(kind, &body);
        }
        Ok(())
    }

    /// As [`Netlink::dump`], of a table that may be too long to be held, and of which an answer may come twice.
    pub(super) fn dump_long(&self, kind: u16, body: &[u8], mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        uninterrupted(|| self.dump_once(kind, body, &mut each))
    }

    fn dump_once(&self, kind: u16, body: &[u8], each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.send(kind, NLM_F_REQUEST | NLM_F_DUMP, body)?;
        self.receive(each)
    }

    /// Makes a request and waits until the kernel has carried it out; `each` gets what it answers beside that.
    pub(super) fn request(&self, kind: u16, body: &[u8], each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.send(kind, NLM_F_REQUEST | NLM_F_ACK, body)?;
        self.receive(each)
    }

    /// Asks for something new, which must not exist yet, and waits until the kernel has made it.
    pub(super) fn create(&self, kind: u16, body: &[u8]) -> io::Result<()> {
        self.send(kind, NLM_F_REQUEST | NLM_F_ACK | NLM_F_EXCL | NLM_F_CREATE, body)?;
        self.receive(|_, _| {})
    }

    /// Makes requests that the kernel carries out together or not at all, and waits until it has. The first and the last are
    /// the frame of that; the last but one is acknowledged after all are in force. After a failure the socket has more
    /// answers to give, and is of no further use.
    pub(super) fn transaction(&self, parts: &[Part]) -> io::Result<()> {
        self.send_parts(parts, 2)
    }

    /// Makes requests that the kernel carries out in order, each whatever comes of the others, and waits until it has. An error
    /// is that of the first that was refused, and after it the socket is of no further use either.
    pub(super) fn requests(&self, parts: &[Part]) -> io::Result<()> {
        self.send_parts(parts, 1)
    }

    /// Sends messages, of which the one at a place from the end is acknowledged. What is refused is told of all.
    fn send_parts(&self, parts: &[Part], from_the_end: usize) -> io::Result<()> {
        let mut datagram = Vec::new();
        for (position, Part { kind, flags, body }) in parts.iter().enumerate() {
            let acknowledged = if position + from_the_end == parts.len() { NLM_F_ACK } else { 0 };
            append(&mut datagram, *kind, NLM_F_REQUEST | flags | acknowledged, body)?;
        }
        self.send_datagram(&datagram)?;
        self.receive(|_, _| {})
    }

    fn send(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        let mut message = Vec::with_capacity(HEADER_LENGTH + body.len());
        append(&mut message, kind, flags, body)?;
        self.send_datagram(&message)
    }

    fn send_datagram(&self, datagram: &[u8]) -> io::Result<()> {
        sendto(self.0.as_raw_fd(), datagram, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        Ok(())
    }

    /// Reads messages up to the acknowledgement or the end of a dump. A dump in which something may be missing is an error
    /// of the kind [`io::ErrorKind::Interrupted`].
    fn receive(&self, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        let mut interrupted = false;
        loop {
            let length = match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                received => received?,
            };
            let mut rest = &buffer[..length];
            while !rest.is_empty() {
                let cut_off = || io::Error::new(io::ErrorKind::InvalidData, "a netlink message is cut off");
                let (Message { kind, flags, body }, next) = message(rest).ok_or_else(cut_off)?;
                interrupted |= flags & NLM_F_DUMP_INTR != 0;
                match kind {
                    // Both begin with a code: a dump can fail in the middle, too.
                    NLMSG_DONE | NLMSG_ERROR => {
                        let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                        return match code {
                            // That of DONE is the length of what it dumped last in some subsystems.
                            0.. if interrupted => Err(io::ErrorKind::Interrupted.into()),
                            0.. => Ok(()),
                            _ => Err(io::Error::from_raw_os_error(-code)),
                        };
                    }
                    kind => each(kind, body),
                }
                rest = next;
            }
        }
    }
}

/// A socket that is kept from one use to the next.
#[derive(Debug, Default)]
pub(super) struct Kept(Option<Netlink>);

impl Kept {
    /// Uses the socket, which `open` opens where there is none. After a failure there may be more answers to come, so that it
    /// is not used again.
    pub(super) fn with(
        &mut self,
        open: impl FnOnce() -> io::Result<Netlink>,
        work: impl FnOnce(&Netlink) -> io::Result<()>,
    ) -> io::Result<()> {
        let netlink = self.0.take().map_or_else(open, Ok)?;
        work(&netlink)?;
        self.0 = Some(netlink);
        Ok(())
    }
}

/// A message of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) body: Vec<u8>,
}

/// Appends a message to a datagram.
fn append(datagram: &mut Vec<u8>, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(HEADER_LENGTH + body.len()).map_err(io::Error::other)?;
    datagram.extend_from_slice(&length.to_ne_bytes());
    datagram.extend_from_slice(&kind.to_ne_bytes());
    datagram.extend_from_slice(&flags.to_ne_bytes());
    // Sequence number and sender: a socket waits for one answer before its next question, so neither tells anything.
    datagram.extend_from_slice(&[0; 8]);
    datagram.extend_from_slice(body);
    datagram.resize(aligned(datagram.len()), 0);
    Ok(())
}

/// Tries until nothing has interrupted, or often enough.
fn uninterrupted<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut left = DUMP_TRIES;
    loop {
        left -= 1;
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted && left > 0 => {}
            done => return done,
        }
    }
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) body: &'a [u8],
}

/// The first message of a datagram, and what follows it.
pub(super) fn message(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let flags = u16::from_ne_bytes(*bytes.get(6..)?.first_chunk()?);
    let body = bytes.get(HEADER_LENGTH..length)?;
    Some((Message { kind, flags, body }, bytes.get(aligned(length)..).unwrap_or_default()))
}

/// Subscribes to notifications, in the network namespace of the calling thread. The groups are bits.
pub(super) fn subscribe(protocol: SockProtocol, groups: u32) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(socket)
}

/// Reads all the notifications there are, datagram by datagram; `None` stands for what was lost.
pub(super) fn drain(socket: &OwnedFd, mut each: impl FnMut(Option<&[u8]>)) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => each(Some(&buffer[..length])),
            Err(Errno::EAGAIN) => return Ok(()),
            Err(Errno::EINTR) => {}
            // The kernel had more to say than the socket holds: what was lost may have mattered.
            Err(Errno::ENOBUFS) => each(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The port of the first message of a datagram: that of the socket which asked for what is told here.
pub(super) fn origin(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(12..)?.first_chunk()?))
}

/// The header of a message about a link by its index; 0 for all links, and for one that an attribute names.
pub(super) fn link_header(index: u32) -> Vec<u8> {
    let mut header = vec![0; LINK_HEADER_LENGTH];
    header[LINK_INDEX].copy_from_slice(&index.to_ne_bytes());
    header
}

/// `struct nfgenmsg`: what every message to netfilter begins with.
pub(super) fn netfilter_header(family: u8, resource: u16) -> Vec<u8> {
    let [high, low] = resource.to_be_bytes();
    vec![family, 0, high, low]
}

/// Appends an attribute: length, type, value, padding.
pub(super) fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // Names, addresses and switches are far below the 64 KiB that the length can say; lists of elements are bounded where
    // they are made.
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    to.extend_from_slice(&length.to_ne_bytes());
    to.extend_from_slice(&kind.to_ne_bytes());
    to.extend_from_slice(value);
    to.resize(aligned(to.len()), 0);
}

/// Appends an attribute that holds others.
pub(super) fn nested(to: &mut Vec<u8>, kind: u16, attributes: &[u8]) {
    attribute(to, NLA_F_NESTED | kind, attributes);
}

/// The value of the first attribute of a type.
pub(super) fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
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

/// A number; `None` where it is cut off.
pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// The value of an attribute that holds a text.
pub(super) fn zero_ended(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// A text that ends with a zero byte, or with the value.
pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(bytes)).ok()
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// What comes of a datagram: of each message its type, flags and code.
    fn received(messages: &[(u16, u16, i32)]) -> (io::Result<()>, usize) {
        let mut datagram = Vec::new();
        for (kind, flags, code) in messages {
            datagram.extend_from_slice(&20_u32.to_ne_bytes());
            datagram.extend_from_slice(&kind.to_ne_bytes());
            datagram.extend_from_slice(&flags.to_ne_bytes());
            datagram.extend_from_slice(&[0; 8]);
            datagram.extend_from_slice(&code.to_ne_bytes());
        }
        let (ours, kernels) = UnixDatagram::pair().expect("sockets");
        kernels.send(&datagram).expect("it fits");
        let mut answers = 0;
        (Netlink(ours.into()).receive(|_, _| answers += 1), answers)
    }

    #[test]
    fn an_incomplete_dump_is_not_taken_for_a_complete_one() {
        const ANSWER: (u16, u16, i32) = (16, 2, 0);
        let code = |result: (io::Result<()>, usize)| result.0.expect_err("not complete").raw_os_error();
        assert!(matches!(received(&[ANSWER, ANSWER, (NLMSG_DONE, 2, 0)]), (Ok(()), 2)));
        assert_eq!(code(received(&[ANSWER, (NLMSG_DONE, 2, -(Errno::ENOMEM as i32))])), Some(Errno::ENOMEM as i32));
        assert_eq!(code(received(&[(NLMSG_ERROR, 0, -(Errno::EPERM as i32))])), Some(Errno::EPERM as i32));
        for interrupted in [
            [(16, NLM_F_DUMP_INTR, 0), ANSWER, (NLMSG_DONE, 2, 0)],
            [ANSWER, ANSWER, (NLMSG_DONE, 2 | NLM_F_DUMP_INTR, 0)],
        ] {
            let (result, answers) = received(&interrupted);
            assert_eq!(result.expect_err("not complete").kind(), io::ErrorKind::Interrupted);
            assert_eq!(answers, 2, "nothing of it is left in the socket");
        }
    }

    #[test]
    fn an_interrupted_dump_is_begun_anew_but_not_for_ever() {
        for (interruptions, complete) in [(0, true), (DUMP_TRIES - 1, true), (DUMP_TRIES, false)] {
            let mut tries = 0;
            let result = uninterrupted(|| {
                tries += 1;
                if tries > interruptions { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
            });
            assert_eq!(result.is_ok(), complete, "{interruptions}");
        }
    }
}
