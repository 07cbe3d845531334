//! Checked policies, valid by construction, in the order in which they are evaluated.
//!
//! Input: the text of policy files. Output: a [`PolicySet`] and a list of [`Diagnostic`]s; the two never mix.
//! Scoping by namespace is already folded into the selectors here, so that nothing downstream can forget it.

mod check;
pub mod codes;
pub mod diagnostic;
pub mod document;
pub mod field;
pub mod files;
mod foreign;
mod load;
pub mod location;
mod order;
mod reading;
mod repair;
mod shape;
mod store;
pub mod suppress;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::net::{Cidr, Family, PortRange, Protocol};
use crate::selector::Selector;

pub use diagnostic::{Diagnostic, Severity};
pub use load::load;
pub use location::Location;
pub use store::{Store, Update};

/// The kinds that hold policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum PolicyKind {
    /// `projectcalico.org/v3` GlobalNetworkPolicy.
    GlobalNetworkPolicy,
    /// `networking.k8s.io/v1` NetworkPolicy.
    KubernetesNetworkPolicy,
    /// `projectcalico.org/v3` NetworkPolicy.
    NetworkPolicy,
    /// `projectcalico.org/v3` StagedGlobalNetworkPolicy.
    StagedGlobalNetworkPolicy,
    /// `projectcalico.org/v3` StagedKubernetesNetworkPolicy.
    StagedKubernetesNetworkPolicy,
    /// `projectcalico.org/v3` StagedNetworkPolicy.
    StagedNetworkPolicy,
}

impl PolicyKind {
    /// Whether policies of this kind are checked and shown but never enforced.
    pub fn is_staged(self) -> bool {
        matches!(
            self,
            PolicyKind::StagedGlobalNetworkPolicy
                | PolicyKind::StagedKubernetesNetworkPolicy
                | PolicyKind::StagedNetworkPolicy
        )
    }

    /// The name for machines; Kubernetes' own NetworkPolicy is told apart from Calico's.
    pub fn name(self) -> &'static str {
        match self {
            PolicyKind::GlobalNetworkPolicy => "GlobalNetworkPolicy",
            PolicyKind::KubernetesNetworkPolicy => "KubernetesNetworkPolicy",
            PolicyKind::NetworkPolicy => "NetworkPolicy",
            PolicyKind::StagedGlobalNetworkPolicy => "StagedGlobalNetworkPolicy",
            PolicyKind::StagedKubernetesNetworkPolicy => "StagedKubernetesNetworkPolicy",
            PolicyKind::StagedNetworkPolicy => "StagedNetworkPolicy",
        }
    }

    /// The name of a kind for people, from [`PolicyKind::name`]: no file has a kind `KubernetesNetworkPolicy`.
    pub fn in_words(name: &str) -> &str {
        if name == PolicyKind::KubernetesNetworkPolicy.name() { "Kubernetes NetworkPolicy" } else { name }
    }
}

/// Identity of a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PolicyKey {
    /// The kind.
    pub kind: PolicyKind,
    /// `metadata.namespace`; `None` for the whole host.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
}

impl fmt::Display for PolicyKey {
    /// `NAMESPACE/NAME`, or `NAME` for a policy of the whole host, as it stands in comments and tables.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A policy's place within its tier: lower first, absent last (Calico: `order`, absent is +infinity).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Order(pub Option<f64>);

impl Eq for Order {}

impl PartialOrd for Order {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Order {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let value = |order: &Order| order.0.unwrap_or(f64::INFINITY);
        // `-0.0` and `0.0` are the same order to Calico.
        (value(self) + 0.0).total_cmp(&(value(other) + 0.0))
    }
}

/// Name of the tier of policies that name none, and of Kubernetes' policies.
pub const DEFAULT_TIER: &str = "default";

/// What happens to packets that a tier's policies select but do not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum DefaultAction {
    /// They are dropped.
    Deny,
    /// They go on to the next tier.
    Pass,
}

impl fmt::Display for DefaultAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DefaultAction::Deny => "Deny",
            DefaultAction::Pass => "Pass",
        })
    }
}

/// A tier, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tier {
    /// Name.
    pub name: String,
    /// Place among the tiers.
    pub order: Order,
    /// What its end does.
    pub default_action: DefaultAction,
    /// Whether a Tier resource or a well-known name stands behind it. A tier that only a policy mentions is evaluated
    /// after all others, with default Deny.
    pub declared: bool,
}

/// What a rule does with a packet that matches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum RuleAction {
    /// The packet passes this side's policy.
    Allow,
    /// The packet is dropped.
    Deny,
    /// The packet is logged and goes on to the next rule.
    Log,
    /// The packet goes on to the next tier.
    Pass,
}

/// A direction of policy, seen from the endpoint that it protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Towards the endpoint.
    Ingress,
    /// From the endpoint.
    Egress,
}

impl Direction {
    /// Both directions.
    pub const ALL: [Direction; 2] = [Direction::Ingress, Direction::Egress];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        })
    }
}

/// A port in a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Port {
    /// A port or a range by number.
    Range(PortRange),
    /// A name that endpoints declare with the label `dockgate.io/ports`.
    Named(String),
}

/// ICMP type and code of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Icmp {
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code; `None` matches every code.
    pub code: Option<u8>,
}

/// One end of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Blocks, one of which must hold the address; empty matches any.
    pub nets: Vec<Cidr>,
    /// Blocks, none of which may hold the address.
    pub not_nets: Vec<Cidr>,
    /// Endpoints and network sets, one of which must have the address. Scoping by namespace and a
    /// `notSelector` beside a positive selector are folded in. `None` matches any address.
    pub selector: Option<Selector>,
    /// Endpoints and network sets, none of which may have the address; only where `selector` is `None`.
    pub not_selector: Option<Selector>,
    /// Ports, one of which must match; empty matches any.
    pub ports: Vec<Port>,
    /// Ports, none of which may match.
    pub not_ports: Vec<Port>,
}

/// A rule of a policy. All its criteria hold together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// What is done.
    pub action: RuleAction,
    /// The only family it applies to: `ipVersion`, or inferred from ICMP and ICMPv6; `None` is both.
    pub family: Option<Family>,
    /// Protocol that must match.
    pub protocol: Option<Protocol>,
    /// Protocol that must not match.
    pub not_protocol: Option<Protocol>,
    /// ICMP type that must match; only beside an ICMP protocol.
    pub icmp: Option<Icmp>,
    /// ICMP type that must not match; only beside an ICMP protocol.
    pub not_icmp: Option<Icmp>,
    /// Where the packet comes from.
    pub source: Peer,
    /// Where the packet goes to.
    pub destination: Peer,
    /// Index of the rule in the list of its direction in the file. Several rules share one where a Kubernetes rule had
    /// to be taken apart.
    pub index: usize,
    /// Of a Kubernetes rule that lists peers, the index in `from` or `to` of the one that this part is about.
    pub peer: Option<usize>,
    /// Where the rule stands in the file.
    pub location: Location,
}

/// A policy, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Identity.
    pub key: PolicyKey,
    /// Name of its tier.
    pub tier: String,
    /// Place within the tier.
    pub order: Order,
    /// Endpoints it selects, scoping folded in.
    pub selector: Selector,
    /// Rules for packets towards the endpoints; `None` when the policy does not govern that direction. Copies share them, so
    /// that those that an edit has left alone are told without looking into them.
    pub ingress: Option<Arc<Vec<Rule>>>,
    /// Rules for packets from the endpoints; `None` when the policy does not govern that direction.
    pub egress: Option<Arc<Vec<Rule>>>,
    /// Where the policy stands.
    pub location: Location,
}

impl Policy {
    /// The rules of a direction; `None` when the policy does not govern it.
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref().map(Vec::as_slice),
            Direction::Egress => self.egress.as_deref().map(Vec::as_slice),
        }
    }

    /// As [`Policy::rules`], to be shared.
    pub fn shared_rules(&self, direction: Direction) -> Option<&Arc<Vec<Rule>>> {
        match direction {
            Direction::Ingress => self.ingress.as_ref(),
            Direction::Egress => self.egress.as_ref(),
        }
    }

    /// Every selector, those of the peers of rules included.
    pub fn selectors(&self) -> impl Iterator<Item = &Selector> {
        let rules = self.ingress.iter().chain(&self.egress).flat_map(|rules| rules.iter());
        let peers = rules.flat_map(|rule| [&rule.source, &rule.destination]);
        let of_peers = peers.flat_map(|peer| peer.selector.iter().chain(&peer.not_selector));
        std::iter::once(&self.selector).chain(of_peers)
    }
}

/// A NetworkSet or GlobalNetworkSet, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetworkSet {
    /// `metadata.namespace`; `None` for a set of the whole host.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
    /// Labels that rule selectors match. For a namespaced set they include `projectcalico.org/namespace`; its
    /// namespace's own labels are added when the inventory is known.
    pub labels: BTreeMap<String, String>,
    /// The blocks, both families.
    pub nets: Vec<Cidr>,
    /// Where the set stands.
    pub location: Location,
}

/// Everything that policy files say, checked and in evaluation order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PolicySet {
    /// Tiers in evaluation order, as in Calico: declared before undeclared, then by order, then by name.
    pub tiers: Vec<Tier>,
    /// Policies, staged ones included, in evaluation order: by tier as in `tiers`, then by order, then by the text
    /// `name/namespace/kind`.
    pub policies: Vec<Policy>,
    /// Network sets, by namespace and name.
    pub network_sets: Vec<NetworkSet>,
}

impl PolicySet {
    /// The keys of the labels that selectors ask for, each with the number of selectors that do.
    pub fn label_keys(&self) -> BTreeMap<&str, usize> {
        let mut keys = BTreeMap::new();
        for key in self.selectors().flat_map(Selector::keys) {
            *keys.entry(key).or_default() += 1;
        }
        keys
    }

    /// Every selector of every policy, those of the peers of rules included.
    pub fn selectors(&self) -> impl Iterator<Item = &Selector> {
        self.policies.iter().flat_map(Policy::selectors)
    }
}

/// A policy file as it was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceFile {
    /// The path under which findings name it.
    pub path: PathBuf,
    /// Its content, or what of it can be shown when it is unreadable.
    pub text: String,
    /// Why `text` is not the content. Such a file is a finding, never an absent file: its policies would vanish.
    pub unreadable: Option<Unreadable>,
}

impl SourceFile {
    /// A file that was read.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> SourceFile {
        SourceFile { path: path.into(), text: text.into(), unreadable: None }
    }
}

/// Why a file that is there could not be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Unreadable {
    /// The operating system refused it.
    #[error("cannot be read: {0}")]
    Refused(String),
    /// It is larger than [`files::MAX_FILE_SIZE`].
    #[error("the file has at least {size} bytes, more than the {} that are read", files::MAX_FILE_SIZE)]
    TooLarge {
        /// Size in bytes, as far as it was seen.
        size: u64,
    },
    /// It is not UTF-8.
    #[error("the file is not UTF-8 text")]
    NotUtf8 {
        /// Line of the first invalid byte, from 1.
        line: u32,
        /// Column of the first invalid byte in characters, from 1.
        column: u32,
    },
}

/// What a set of files says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Every resource that is valid, also those of files that hold invalid ones too.
    pub policies: PolicySet,
    /// Everything found, ordered by file, line and column.
    pub diagnostics: Vec<Diagnostic>,
    /// Number of resources by kind, invalid ones included.
    pub resources: BTreeMap<String, usize>,
}
