//! The intermediate form between policy and kernel: address sets, chains, rules and hooks.
//!
//! Input: what [`crate::compile`] decided. Output: what [`crate::dataplane`] renders and [`crate::verdict`] evaluates.
//! It knows no policy and no container, so that one evaluator and one renderer are all that has to agree with the kernel.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use imbl::{OrdMap, OrdSet, ordmap, ordset};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::net::{Cidr, Family, InterfaceName, InterfacePrefix, MacAddress, PortRange, Protocol};

/// Prefix of every chain that dockgate owns.
pub const CHAIN_PREFIX: &str = "DG-";
const REACHED: &str = "reach-";
/// Prefix of every set that dockgate owns.
pub const SET_PREFIX: &str = "dg-";
/// Longest chain name that xtables takes (`XT_EXTENSION_MAXNAMELEN` is 29 with the terminating zero).
const CHAIN_LIMIT: usize = 28;
/// Longest set name that ipset takes (`IPSET_MAXNAMELEN` is 32 with the terminating zero).
const SET_LIMIT: usize = 31;
/// Characters of a content hash in names: 10 of base 32 are 50 bits.
pub(crate) const CONTENT_HASH_LENGTH: usize = 10;

/// A short, stable, lower-case hash of a text, as it stands in names and comments.
pub fn content_hash(text: &str) -> String {
    short_text(&Sha256::digest(text.as_bytes()))
}

fn short_text(digest: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    digest.iter().take(CONTENT_HASH_LENGTH).map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

/// As [`content_hash`], of a value. It is the same for equal values of one build of this program; another may hash them
/// otherwise, so that it gives other names, and an upgrade puts chains of new names in the place of the old.
pub(crate) fn value_hash(value: &impl Hash) -> String {
    let mut digest = Digester(Sha256::new());
    value.hash(&mut digest);
    short_text(&digest.0.finalize())
}

/// Feeds a value into a digest of content, as text is.
struct Digester(Sha256);

impl Hasher for Digester {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Of no use here: 64 bits are not the digest.
    fn finish(&self) -> u64 {
        0
    }
}

/// Builds `PREFIX + readable part + '-' + hash`, cutting the readable part so that the whole stays within `limit`.
fn meaningful_name(prefix: &str, readable: &str, content: &str, limit: usize) -> String {
    let room = limit - prefix.len() - 1 - CONTENT_HASH_LENGTH;
    let readable: String =
        readable.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(room).collect();
    format!("{prefix}{readable}-{}", content_hash(content))
}

/// Name of a chain of ours: prefix `DG-`, at most 28 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainName(String);

impl ChainName {
    /// A name that says what the chain is and changes when `content` does.
    pub fn of_content(readable: &str, content: &str) -> ChainName {
        ChainName(meaningful_name(CHAIN_PREFIX, readable, content, CHAIN_LIMIT))
    }

    /// The base chain of a hook.
    pub fn base(hook: Hook) -> ChainName {
        ChainName(format!("{CHAIN_PREFIX}{}", hook.kernel_chain()))
    }

    /// A chain that asks the egress policy of a class about the containers behind ports of this host.
    pub fn reached(readable: &str, content: &str) -> ChainName {
        ChainName::of_content(&format!("{REACHED}{readable}"), content)
    }

    /// Whether that is what a chain of this name does.
    pub fn is_reached(name: &str) -> bool {
        name.strip_prefix(CHAIN_PREFIX).is_some_and(|rest| rest.starts_with(REACHED))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a set of ours: prefix `dg-`, at most 31 bytes. Copies share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SetName(Arc<str>);

impl SetName {
    /// A name that says what the set holds, and changes with `content`, the family and the kind: the kernel refuses to
    /// change the type of a set in place.
    pub fn of_content(family: Family, kind: SetKind, readable: &str, content: &str) -> SetName {
        let prefix = format!("{SET_PREFIX}{}-", family.digit());
        let content = format!("{kind}\n{content}");
        SetName(meaningful_name(&prefix, readable, &content, SET_LIMIT).into())
    }

    /// The name that the kernel shows for a set; `None` if it is not one of ours.
    pub(crate) fn shown(name: &str) -> Option<SetName> {
        name.starts_with(SET_PREFIX).then(|| SetName(name.into()))
    }

    /// The set of a branch: the members of several classes, by which a packet finds the way to its own. `level` is 0 where
    /// packets come in, and has one digit. By name a branch thus comes before the branches and the classes beneath it (`in-`
    /// and `out-`): sets that are filled in the opposite order and emptied in this one have nobody in a branch who is in
    /// none of its classes.
    pub fn branch(family: Family, level: u8, readable: &str, content: &str) -> SetName {
        SetName::of_content(family, SetKind::Ip, &format!("{level}-{readable}"), content)
    }

    /// The set of classified endpoints of a family: (address, bridge).
    pub fn known(family: Family) -> SetName {
        SetName(format!("{SET_PREFIX}{}-known", family.digit()).into())
    }

    /// The set of those classified endpoints of a family that this host, `docker-proxy` included, may reach:
    /// (address, bridge). Their published ports are known and judged.
    pub fn listed(family: Family) -> SetName {
        SetName(format!("{SET_PREFIX}{}-listed", family.digit()).into())
    }

    /// The set of the subnets of all bridge networks of a family.
    pub fn bridged_subnets(family: Family) -> SetName {
        SetName(format!("{SET_PREFIX}{}-subnets", family.digit()).into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for SetName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The ipset types in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SetKind {
    /// `hash:ip`
    Ip,
    /// `hash:net`
    Net,
    /// `hash:ip,port`
    IpPort,
    /// `hash:net,iface`
    NetInterface,
}

impl fmt::Display for SetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SetKind::Ip => "hash:ip",
            SetKind::Net => "hash:net",
            SetKind::IpPort => "hash:ip,port",
            SetKind::NetInterface => "hash:net,iface",
        })
    }
}

/// An element of a set. Its variant agrees with the set's [`SetKind`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Member {
    /// Of `hash:ip`.
    Ip(IpAddr),
    /// Of `hash:net`; never of prefix length 0 (see [`Cidr::storable`]).
    Net(Cidr),
    /// Of `hash:ip,port`.
    IpPort {
        /// The address.
        address: IpAddr,
        /// TCP, UDP or SCTP, as its number.
        protocol: u8,
        /// The port.
        port: u16,
    },
    /// Of `hash:net,iface`.
    NetInterface {
        /// The block, usually one address.
        net: Cidr,
        /// The bridge.
        interface: InterfaceName,
    },
}

/// Addresses of one family under one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressSet {
    /// Family of all members.
    pub family: Family,
    /// The ipset type.
    pub kind: SetKind,
    /// The members, ordered so that equal sets print equally. Copies share what they have in common, so that a ruleset of
    /// ten thousand endpoints is compared with the one before in the time that its differences take.
    pub members: OrdSet<Member>,
}

/// What two sorted sets differ in, each in order: what only `after` has, and what only `before` has. What they share is not
/// looked at.
pub fn differences<'a, T: Ord>(before: &'a OrdSet<T>, after: &'a OrdSet<T>) -> (Vec<&'a T>, Vec<&'a T>) {
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    if before.ptr_eq(after) {
        return (added, removed);
    }
    for difference in before.diff(after) {
        match difference {
            ordset::DiffItem::Add(item) => added.push(item),
            ordset::DiffItem::Remove(item) => removed.push(item),
        }
    }
    (added, removed)
}

/// Sets by name. Copies share what they have in common, as those of members do.
pub type Sets = OrdMap<SetName, AddressSet>;

/// The sets in which two rulesets differ, in the order of their names: each as it is before and after, `None` where it is not.
/// What they share is not looked at.
pub fn differing_sets<'a>(
    before: &'a Sets,
    after: &'a Sets,
) -> impl Iterator<Item = (&'a SetName, Option<&'a AddressSet>, Option<&'a AddressSet>)> {
    before.diff(after).map(|difference| match difference {
        ordmap::DiffItem::Add(name, set) => (name, None, Some(set)),
        ordmap::DiffItem::Update { old: (name, old), new: (_, new) } => (name, Some(old), Some(new)),
        ordmap::DiffItem::Remove(name, set) => (name, Some(set), None),
    })
}

/// A set of sorted elements. What is inserted in order leaves every node of a set half empty: it is split in its middle when
/// it is full, and nothing comes to its first half after that. So every second element comes first, and the others fill up
/// what that leaves.
pub fn packed<T: Ord + Clone>(sorted: impl IntoIterator<Item = T>) -> OrdSet<T> {
    let mut set = OrdSet::new();
    let mut others = Vec::new();
    for (position, element) in sorted.into_iter().enumerate() {
        if position % 2 == 0 {
            set.insert(element);
        } else {
            others.push(element);
        }
    }
    set.extend(others);
    set
}

/// Where packets are seen: a hook of netfilter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Hook {
    /// Container to container, to the outside, from the outside.
    Forward,
    /// Container, or anyone, to this host.
    Input,
    /// This host, `docker-proxy` included, to a container.
    Output,
}

impl Hook {
    /// All hooks, in rendering order.
    pub const ALL: [Hook; 3] = [Hook::Forward, Hook::Input, Hook::Output];

    /// The kernel's chain of that hook.
    pub fn kernel_chain(self) -> &'static str {
        match self {
            Hook::Forward => "FORWARD",
            Hook::Input => "INPUT",
            Hook::Output => "OUTPUT",
        }
    }
}

/// Which end of the packet a match looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Side {
    /// Source address or port, or the interface the packet came in by.
    Source,
    /// Destination address or port, or the interface the packet leaves by.
    Destination,
}

/// Connection-tracking states, as `-m conntrack --ctstate` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConnectionState {
    /// First packet of a flow.
    New,
    /// Packet of a known flow.
    Established,
    /// Packet that belongs to a known flow in another way, e.g. an ICMP error.
    Related,
    /// Packet that fits no flow.
    Invalid,
}

/// One condition of a rule. All conditions of a rule hold together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Match {
    /// `-i NAME`
    InInterface(InterfaceName),
    /// `-o NAME`
    OutInterface(InterfaceName),
    /// `-i PREFIX+`; only to lead to chains whose rules name each interface that they judge.
    InInterfacePrefix(InterfacePrefix),
    /// `-o PREFIX+`; as before.
    OutInterfacePrefix(InterfacePrefix),
    /// `-m conntrack --ctstate A,B`
    State(BTreeSet<ConnectionState>),
    /// `-p tcp ! --syn`
    TcpNotSyn,
    /// `-p sctp -m sctp ! --chunk-types any INIT`
    SctpNotInit,
    /// `-s CIDR`, `-d CIDR`
    Net {
        /// Which address.
        side: Side,
        /// The block.
        net: Cidr,
        /// Whether the condition is inverted.
        negated: bool,
    },
    /// `-m set --match-set NAME src`; two dimensions for `hash:ip,port` and `hash:net,iface` sets.
    Set {
        /// Which end; both dimensions of a two-dimensional set use the same end.
        side: Side,
        /// The set.
        set: SetName,
        /// The set's type, which decides the number of dimensions.
        kind: SetKind,
        /// Whether the condition is inverted.
        negated: bool,
    },
    /// `-p NUMBER`
    Protocol {
        /// The protocol.
        protocol: Protocol,
        /// Whether the condition is inverted.
        negated: bool,
    },
    /// `-m multiport --dports ...`; at most 15 slots, and only beside a positive protocol match (the kernel's rule).
    Ports {
        /// Which port.
        side: Side,
        /// The ranges, any of which matches.
        ranges: Vec<PortRange>,
        /// Whether the condition is inverted.
        negated: bool,
    },
    /// `-m icmp --icmp-type T/C` or `-m icmp6 --icmpv6-type T/C`; only beside the family's ICMP protocol match.
    Icmp {
        /// ICMP type.
        icmp_type: u8,
        /// ICMP code; `None` matches every code.
        code: Option<u8>,
        /// Whether the condition is inverted.
        negated: bool,
    },
}

/// What a rule does with a packet that matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    /// `-j RETURN`: back to the calling chain; from a base chain, on to the rules of others.
    Return,
    /// `-j DROP`
    Drop,
    /// `-j REJECT`: a TCP reset for TCP, protocol unreachable for SCTP over IPv4, port unreachable for the rest.
    Reject,
    /// `-j CHAIN`: a RETURN there comes back here.
    Jump(ChainName),
    /// `-g CHAIN`: a RETURN there goes to where this chain was jumped to from.
    Goto(ChainName),
    /// `-j NFLOG --nflog-group G --nflog-prefix P`: logs and goes on with the next rule.
    Log {
        /// NFLOG group.
        group: u16,
        /// Prefix, at most 63 bytes.
        prefix: String,
    },
}

/// One rule of a chain. Copies share what is long: a rule of a policy stands in the chains of all classes that it governs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// Conditions, all of which must hold; none means every packet.
    pub matches: Arc<[Match]>,
    /// What is done.
    pub action: Action,
    /// Names policy and rule, e.g. `default/allow-web-to-api ingress[0]`, or says which fixed rule this is.
    pub comment: Arc<str>,
}

/// Rules in order. A packet that no rule decides returns to the caller. Copies share them, so that chains that nothing has
/// changed are told without looking at a rule.
pub type Chain = Arc<Vec<Rule>>;

/// Chains by name, both families. Copies share them until one is changed: a container that comes or goes changes none, and
/// that is seen without looking at a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<Family, BTreeMap<ChainName, Chain>>", into = "BTreeMap<Family, BTreeMap<ChainName, Chain>>")]
pub struct Chains(Arc<BTreeMap<Family, BTreeMap<ChainName, Chain>>>);

impl Chains {
    /// The rules of all chains.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.values().flat_map(BTreeMap::values).flat_map(|chain| chain.iter())
    }
}

impl From<BTreeMap<Family, BTreeMap<ChainName, Chain>>> for Chains {
    fn from(chains: BTreeMap<Family, BTreeMap<ChainName, Chain>>) -> Chains {
        Chains(Arc::new(chains))
    }
}

impl From<Chains> for BTreeMap<Family, BTreeMap<ChainName, Chain>> {
    fn from(chains: Chains) -> Self {
        Arc::unwrap_or_clone(chains.0)
    }
}

impl Deref for Chains {
    type Target = BTreeMap<Family, BTreeMap<ChainName, Chain>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Chains {
    fn deref_mut(&mut self) -> &mut Self::Target {
        Arc::make_mut(&mut self.0)
    }
}

/// What one endpoint may call itself. The kernel knows it by its bridge port, which the dataplane finds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Binding {
    /// Its bridge. It comes first, so that those of one bridge stand together.
    pub bridge: InterfaceName,
    /// `CONTAINER@NETWORK`, for messages.
    pub endpoint: String,
    /// Docker's id of the attachment: with another one, the same addresses may be at another port.
    pub attachment: Arc<str>,
    /// Its MAC address; `None` while it is not known, and then the endpoint cannot be bound.
    pub mac: Option<MacAddress>,
    /// Its addresses, of both families, without link-local ones. There are few of them.
    pub addresses: Vec<IpAddr>,
    /// What else holds at its port.
    pub role: Role,
}

/// Why an endpoint is bound to its port, and with that what may pass there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// It is on a governed network: at its port passes what is its own, and nothing else.
    Governed,
    /// It is on a network without policy, and a rule elsewhere names it: nobody else goes by its addresses, and it goes by
    /// no others where its packets leave the bridge. Else its network is as if we were not there.
    Peer,
}

/// Who may send as whom on the bridges of governed networks, and of those whose endpoints rules name. [`crate::verdict`] takes this for granted: it takes the
/// source of a packet for the endpoint that has that address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AntiSpoofing {
    /// Every endpoint of a governed network, and those of other networks that rules name. Copies share them.
    pub bindings: OrdSet<Arc<Binding>>,
    /// This host's own addresses on governed networks: no endpoint may claim them.
    pub gateways: BTreeSet<IpAddr>,
    /// The subnets of governed networks: a source among them comes from a bound port or is a lie.
    pub subnets: BTreeSet<Cidr>,
    /// Whether the engine is away, so that nobody can tell whose a new port is: bindings can only be lost then. An engine
    /// gives MAC addresses out by address, so that whoever it starts next can look like whoever had that address before.
    pub frozen: bool,
}

impl AntiSpoofing {
    /// The endpoints of a bridge.
    pub fn bindings_on(&self, bridge: &InterfaceName) -> impl Iterator<Item = &Arc<Binding>> {
        let first = Arc::new(Binding {
            bridge: bridge.clone(),
            endpoint: String::new(),
            attachment: "".into(),
            mac: None,
            addresses: Vec::new(),
            role: Role::Governed,
        });
        self.bindings.range(first..).take_while(move |binding| binding.bridge == *bridge)
    }
}

/// Everything that dockgate wants in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Sets by name, both families.
    pub sets: Sets,
    /// Chains per family. The base chains of [`Hook::ALL`] are always there, with no rules if nothing is governed.
    pub chains: Chains,
    /// Bridges of governed networks: same-bridge traffic on them must pass through netfilter.
    pub bridges: BTreeSet<InterfaceName>,
    /// Who may send as whom; `None` where nothing is governed.
    pub anti_spoofing: Option<AntiSpoofing>,
}

impl Ruleset {
    /// The chain of this name; `None` if there is none.
    pub fn chain(&self, family: Family, name: &ChainName) -> Option<&Chain> {
        self.chains.get(&family)?.get(name)
    }

    /// The ruleset for a kernel that cannot look into packets of SCTP.
    #[must_use]
    pub fn without_sctp(&self) -> Ruleset {
        let of_sctp = |rule: &Rule| rule.matches.contains(&Match::SctpNotInit);
        let mut ruleset = self.clone();
        for chain in ruleset.chains.values_mut().flat_map(BTreeMap::values_mut) {
            if chain.iter().any(of_sctp) {
                *chain = Arc::new(chain.iter().filter(|rule| !of_sctp(rule)).cloned().collect());
            }
        }
        ruleset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_the_kernels_limits() {
        let long = "a-very-long-name-of-a-policy-that-does-not-fit-anywhere";
        assert_eq!(ChainName::of_content(long, "x").as_str().len(), CHAIN_LIMIT);
        let set = SetName::of_content(Family::V6, SetKind::Net, long, "x");
        assert_eq!(set.as_str().len(), SET_LIMIT);
        assert_eq!(ChainName::of_content("sh op/ü", "x").as_str(), &format!("DG-sh_op__-{}", content_hash("x")));
    }

    #[test]
    fn a_packed_set_has_all_of_its_elements() {
        for length in 0..300 {
            let set = packed(0..length);
            assert!(set.iter().copied().eq(0..length), "{length}");
            assert!((0..length).all(|element| set.contains(&element)), "{length}");
        }
    }

    #[test]
    fn names_change_with_content_and_kind() {
        let name = |kind, content| SetName::of_content(Family::V4, kind, "web", content);
        assert_ne!(name(SetKind::Ip, "a"), name(SetKind::Ip, "b"));
        assert_ne!(name(SetKind::Ip, "a"), name(SetKind::Net, "a"));
        assert_eq!(name(SetKind::Ip, "a"), name(SetKind::Ip, "a"));
    }
}
