//! The right to change the rules of a network namespace: one controller has it at a time.
//!
//! Input: the network namespace of the calling thread. Output: a claim that lasts as long as the process that made it, or
//! the word that another process has it.
//!
//! The claim is an NFLOG group of our own, to which no rule logs. The kernel keeps the groups for each network namespace,
//! lets one socket have a group, gives it free when that socket ends, and listens only to those who may change rules
//! (`CAP_NET_ADMIN` over the namespace): nobody else can keep a controller from starting. It needs no path that a
//! controller in a container would have to share with one on the host.

use std::io;

use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use super::netlink::{Netlink, attribute};

/// Our group: no default of anything that logs.
const GROUP: u16 = 0xd06a;

// linux/netfilter/nfnetlink.h, nfnetlink_log.h
const NFNL_SUBSYS_ULOG: u16 = 4;
const NFULNL_MSG_CONFIG: u16 = 1;
const NFULA_CFG_CMD: u16 = 1;
const NFULNL_CFG_CMD_BIND: u8 = 1;
/// A message that this subsystem does not have.
const NO_MESSAGE: u16 = 0xff;

/// The right to change the rules of this network namespace; given back when dropped.
#[derive(Debug)]
pub struct Claim {
    // Closing the socket gives the group free.
    _socket: Netlink,
}

/// Why there is no claim.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another process has it.
    #[error("NFLOG group {GROUP} of this network namespace is taken")]
    Taken,
    /// The kernel has no such groups, or this process may not change rules.
    #[error("cannot take NFLOG group {GROUP}, which tells controllers of one network namespace from each other")]
    Impossible(#[source] io::Error),
}

/// Claims the network namespace of the calling thread.
pub fn claim() -> Result<Claim, ClaimError> {
    let socket = Netlink::open(SockProtocol::NetlinkNetFilter).map_err(ClaimError::Impossible)?;
    // `struct nfgenmsg`: no family, version 0, and the group in network byte order.
    let mut body = vec![0, 0];
    body.extend_from_slice(&GROUP.to_be_bytes());
    attribute(&mut body, NFULA_CFG_CMD, &[NFULNL_CFG_CMD_BIND]);
    let answer = |kind: u16| socket.request(NFNL_SUBSYS_ULOG << 8 | kind, &body, |_, _| {});
    match answer(NFULNL_MSG_CONFIG) {
        Ok(()) => Ok(Claim { _socket: socket }),
        // The word for both a group that another socket has and a process without rights. Rights are looked at first,
        // before the kernel finds that there is no such message.
        Err(error) if is(&error, Errno::EPERM) => match answer(NO_MESSAGE) {
            Err(other) if is(&other, Errno::EPERM) => Err(ClaimError::Impossible(error)),
            _ => Err(ClaimError::Taken),
        },
        // Both came at once.
        Err(error) if is(&error, Errno::EEXIST) => Err(ClaimError::Taken),
        Err(error) => Err(ClaimError::Impossible(error)),
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}
