//! What a ruleset does with one packet, and why.
//!
//! Input: a [`Ruleset`] and the first [`Packet`] of a flow. Output: a [`Verdict`] with the rules that led to it.

use std::net::IpAddr;

use serde::Serialize;

use crate::net::{InterfaceName, Protocol};
use crate::ruleset::{Action, ChainName, Hook, Ruleset};

/// The first packet of a flow, as a hook sees it (after DNAT).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Packet {
    /// Where it is seen.
    pub hook: Hook,
    /// Interface it came in by.
    pub in_interface: Option<InterfaceName>,
    /// Interface it leaves by.
    pub out_interface: Option<InterfaceName>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Source port of TCP, UDP and SCTP.
    pub source_port: Option<u16>,
    /// Destination port of TCP, UDP and SCTP.
    pub destination_port: Option<u16>,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
}

/// Whether the packet goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Decision {
    /// dockgate lets it pass; Docker's own rules may still drop it.
    Allow,
    /// dockgate drops or rejects it.
    Deny,
}

/// A rule that matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hit {
    /// Chain.
    pub chain: ChainName,
    /// Index in the chain.
    pub index: usize,
    /// Comment of the rule; the key into `compile::Compiled::origins`.
    pub comment: String,
    /// What it did.
    pub action: Action,
}

/// The outcome and the rules that matched on the way, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The outcome.
    pub decision: Decision,
    /// The rules that matched; when it is Deny, the last one decided.
    pub trace: Vec<Hit>,
}

/// Evaluates the ruleset for the first packet of a flow.
pub fn evaluate(_ruleset: &Ruleset, _packet: &Packet) -> Verdict {
    todo!()
}
