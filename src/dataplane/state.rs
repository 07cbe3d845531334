//! What the kernel holds of ours, as far as a decision depends on it.
//!
//! Input: what [`super::Kernel::observe`] read, or an earlier state and the ruleset that was applied to it. Output:
//! what [`super::plan()`] compares. Both come to the same value, so that a running controller need not read the kernel
//! before each change and a restarted one recognises everything that it finds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dataplane::antispoof::{self, Decision, Table};
use crate::dataplane::host_ports::HostPorts;
use crate::dataplane::place::{Place, Placed, Xtable, placed, places};
use crate::dataplane::plan::stays;
use crate::dataplane::port::Port;
use crate::dataplane::render;
use crate::net::{Family, InterfaceName};
use crate::ruleset::{self, CONTENT_HASH_LENGTH, ChainName, Hook, Match, Ruleset, Sets};

/// Docker's chain for the rules of others.
pub(super) const DOCKER_USER: &str = "DOCKER-USER";

/// An empty chain in a table that did not exist before us, which tells the removal to end the table too.
pub(super) const TABLE_MARK: &str = "DG-made-this-table";

/// Position of an anchor that is right.
const FIRST: usize = 1;

/// A jump of ours in a chain that is not ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Jump {
    /// Family.
    pub family: Family,
    /// The table.
    #[serde(default)]
    pub table: Xtable,
    /// The base chain it leads to.
    pub hook: Hook,
    /// The foreign chain it stands in.
    pub chain: String,
    /// Tells copies of the same jump apart, so that a misplaced copy can be deleted by its text while another one is in
    /// force: a deletion by number could hit a foreign rule when somebody else changes the chain at the same moment.
    pub serial: u32,
}

impl Jump {
    /// Serial of a jump that is to stay; any other is a stopgap while copies of it are removed.
    pub(super) const LASTING: u32 = 1;
    const COMMENT: &'static str = "dockgate:";

    /// The rule as iptables arguments.
    pub fn rule(&self) -> String {
        format!("-m comment --comment {}{} -j {}", Self::COMMENT, self.serial, ChainName::base(self.hook))
    }

    /// The jump whose rule this is; `None` if it is not exactly a jump of ours.
    pub(super) fn recognise((family, table): Place, chain: &str, rule: &[String]) -> Option<Jump> {
        let ["-m", "comment", "--comment", comment, "-j", target] =
            rule.iter().map(String::as_str).collect::<Vec<_>>()[..]
        else {
            return None;
        };
        let serial = comment.strip_prefix(Self::COMMENT)?.parse().ok()?;
        let hook = Hook::ALL.into_iter().find(|hook| ChainName::base(*hook).as_str() == target)?;
        Some(Jump { family, table, hook, chain: chain.to_owned(), serial })
    }
}

/// The content hash in the comment of a rule of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleHash([u8; CONTENT_HASH_LENGTH]);

impl RuleHash {
    /// The hash of this text; `None` of one that we would not write.
    pub(super) fn of(text: &str) -> Option<RuleHash> {
        text.as_bytes().try_into().ok().map(RuleHash)
    }
}

/// The hash of each rule of a chain, in order; `None` for a rule that is not ours. Copies share them.
pub type Hashes = Arc<Vec<Option<RuleHash>>>;

/// What the kernel holds of ours, or what it should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Our sets by name.
    pub sets: Sets,
    /// Sets with our prefix that we would not have made: another type, an option that we do not use, an unknown member.
    pub odd_sets: BTreeSet<String>,
    /// Our chains.
    pub chains: BTreeMap<Place, BTreeMap<String, Hashes>>,
    /// Interfaces that rules of ours name: an address on one of them is judged already.
    pub interfaces: BTreeSet<InterfaceName>,
    /// Ports of this host of which rules of ours judge who comes to the container behind them.
    pub host_ports: HostPorts,
    /// Our jumps in foreign chains, with the positions of their copies there, counted from 1.
    pub jumps: BTreeMap<Jump, Vec<usize>>,
    /// Tables that do not exist yet. Only iptables-nft can undo their creation.
    pub absent_tables: BTreeSet<Place>,
    /// Tables that hold nothing of others.
    pub bare_tables: BTreeSet<Place>,
    /// Families that cannot be filtered here, and of which this kernel has no packets.
    pub without: BTreeSet<Family>,
    /// Where FORWARD jumps to DOCKER-USER.
    pub docker_user: BTreeSet<Family>,
    /// Our chains to which a foreign rule leads, with that rule. The kernel does not delete such a chain.
    pub pinned: BTreeMap<(Place, String), String>,
    /// Bridges whose same-bridge traffic passes through netfilter in both families.
    pub filtered_bridges: BTreeSet<InterfaceName>,
    /// Our table against spoofing, if it is there.
    pub table: Option<Table>,
    /// The table as we left it, if that is known: whatever others do to it, a port stays its endpoint's.
    pub former_table: Option<Table>,
    /// Why there cannot be such a table here, if so.
    pub without_table: Option<String>,
    /// Whether it could not be found out if that table is there.
    pub unread_table: bool,
    /// Ports of the bridges on which endpoints are bound.
    pub ports: BTreeSet<Port>,
    /// Free ports and attachments of which one was there long before the other, or that are bound elsewhere past doubt.
    pub strangers: BTreeSet<(InterfaceName, Arc<str>)>,
    /// Free ports that are so new that they may not show yet whose they are.
    pub young: BTreeSet<InterfaceName>,
}

impl State {
    /// The state after the steps of [`super::plan()`] from this state to `desired`.
    #[must_use]
    pub fn after(&self, desired: &Ruleset) -> State {
        self.after_decided(desired, self.decide(desired).as_ref(), None)
    }

    /// As [`State::after`], with what was decided of the bridges, and the chains whose rules this state holds, if they are
    /// known.
    pub(super) fn after_decided(
        &self,
        desired: &Ruleset,
        decision: Option<&Decision>,
        held: Option<&ruleset::Chains>,
    ) -> State {
        let mut chains: BTreeMap<Place, BTreeMap<String, Hashes>> = BTreeMap::new();
        let wanted = self.filtered(desired);
        for (&place, named) in &wanted {
            let present = self.chains.get(&place);
            let hashes_of = |name: &ChainName, rules| {
                let kept = present.and_then(|named| named.get(name.as_str()));
                if let Some(kept) = kept.filter(|_| stays(held, place.0, name, rules)) {
                    return (name.as_str().to_owned(), Arc::clone(kept));
                }
                let lines = render::chain(place.0, name.as_str(), rules);
                (name.as_str().to_owned(), Arc::new(lines.iter().map(|line| RuleHash::of(&line.hash)).collect()))
            };
            let mut hashes: BTreeMap<String, _> = named.iter().map(|(name, rules)| hashes_of(name, rules)).collect();
            if self.made_table(place) {
                hashes.insert(TABLE_MARK.to_owned(), Arc::default());
            }
            chains.insert(place, hashes);
        }
        for (place, name) in self.pinned.keys() {
            chains.entry(*place).or_default().entry(name.clone()).or_default();
        }
        let made: BTreeSet<Place> = chains.keys().copied().collect();
        let filtered = self.filtered_bridges.union(&desired.bridges).cloned().collect();
        State {
            sets: desired.sets.clone(),
            odd_sets: BTreeSet::new(),
            chains,
            interfaces: interfaces(desired),
            host_ports: HostPorts::of(&wanted),
            jumps: self.anchors(&wanted).into_iter().map(|anchor| (anchor, vec![FIRST])).collect(),
            absent_tables: places()
                .filter(|place| self.absent_tables.contains(place) || self.ends_table(*place, &wanted))
                .filter(|place| !made.contains(place))
                .collect(),
            bare_tables: self.bare_tables.clone(),
            without: self.without.clone(),
            docker_user: self.docker_user.clone(),
            pinned: self.pinned.clone(),
            filtered_bridges: filtered,
            table: antispoof::after(self, decision),
            former_table: None,
            without_table: self.without_table.clone(),
            unread_table: self.unread_table,
            ports: self.ports.clone(),
            strangers: self.strangers.clone(),
            young: self.young.clone(),
        }
    }

    /// The state after a change of sets alone, in which those named in `kept` could not be destroyed.
    #[must_use]
    pub(super) fn with_sets(mut self, desired: &Ruleset, kept: &BTreeSet<&str>, decision: Option<&Decision>) -> State {
        self.table = antispoof::after(&self, decision);
        let former = std::mem::replace(&mut self.sets, desired.sets.clone());
        self.keep_sets(&former, kept);
        self.odd_sets.retain(|name| kept.contains(name.as_str()));
        self
    }

    /// Remembers sets that could not be destroyed as they were.
    pub(super) fn keep_sets(&mut self, former: &Sets, kept: &BTreeSet<&str>) {
        let undestroyed = former.iter().filter(|(name, _)| !kept.is_empty() && kept.contains(name.as_str()));
        self.sets.extend(undestroyed.map(|(name, set)| (name.clone(), set.clone())));
    }

    /// The desired chains by place, of the families that can be filtered here.
    pub(super) fn filtered<'a>(&self, desired: &'a Ruleset) -> Placed<'a> {
        let mut placed = placed(desired);
        placed.retain(|(family, _), _| !self.without.contains(family));
        placed
    }

    /// Whether a table exists because of us, or will do so.
    pub(super) fn made_table(&self, place: Place) -> bool {
        self.absent_tables.contains(&place)
            || self.chains.get(&place).is_some_and(|named| named.contains_key(TABLE_MARK))
    }

    /// Whether a table goes away with the last of our chains, as it came with the first.
    pub(super) fn ends_table(&self, place: Place, wanted: &Placed<'_>) -> bool {
        let made = self.chains.get(&place).is_some_and(|named| named.contains_key(TABLE_MARK));
        made && self.bare_tables.contains(&place) && !wanted.contains_key(&place)
    }

    /// The jumps to each base chain among those that are wanted.
    pub(super) fn anchors(&self, wanted: &Placed<'_>) -> Vec<Jump> {
        let mut anchors = Vec::new();
        for (place, named) in wanted {
            for hook in Hook::ALL.into_iter().filter(|hook| named.contains_key(&ChainName::base(*hook))) {
                let (family, table) = *place;
                let jump = |chain: &str| Jump { family, table, hook, chain: chain.to_owned(), serial: Jump::LASTING };
                anchors.extend(self.anchor_chains(*place, hook).into_iter().map(jump));
            }
        }
        anchors
    }

    /// Whether there is nothing of ours.
    pub fn is_blank(&self) -> bool {
        self.sets.is_empty() && self.odd_sets.is_empty() && self.chains.is_empty() && self.jumps.is_empty()
    }

    /// The ports of this host of which the rules of `desired` judge who comes there.
    pub fn wanted_host_ports(&self, desired: &Ruleset) -> HostPorts {
        HostPorts::of(&self.filtered(desired))
    }

    /// Whether every jump to the rules of `desired` is there already.
    pub fn is_entered(&self, desired: &Ruleset) -> bool {
        self.anchors(&self.filtered(desired)).iter().all(|anchor| self.holds(anchor))
    }

    /// Whether the jump is there, once, and in first place.
    pub(super) fn holds(&self, anchor: &Jump) -> bool {
        self.jumps.get(anchor).is_some_and(|positions| **positions == [FIRST])
    }

    /// In FORWARD of the filter table Docker pushes foreign jumps below its own rules when it makes a network or starts, and
    /// leaves the content of DOCKER-USER alone; but to keep its jump to that chain on top it deletes it and inserts it anew,
    /// and between the two its own rules accept what DOCKER-USER never sees. So there is a jump in both, where FORWARD leads
    /// to DOCKER-USER: a packet that passes our rules twice fares as if it had passed them once.
    fn anchor_chains(&self, (family, table): Place, hook: Hook) -> Vec<&'static str> {
        match (table, hook) {
            (Xtable::Filter, Hook::Forward) if self.docker_user.contains(&family) => {
                vec![DOCKER_USER, hook.kernel_chain()]
            }
            _ => vec![hook.kernel_chain()],
        }
    }

    /// Who is at which port; `None` where nothing is governed. Without a table nobody is asked.
    pub(super) fn decide(&self, desired: &Ruleset) -> Option<Decision> {
        let wanted = desired.anti_spoofing.as_ref()?;
        let is_asked = self.without_table.is_none();
        Some(if is_asked { Decision::of(wanted, self, &desired.bridges) } else { Decision::default() })
    }

    /// What keeps `desired` from being enforced in full, or our removal from being complete, in this state.
    pub fn problems(&self, desired: &Ruleset) -> Vec<Problem> {
        self.problems_decided(desired, self.decide(desired).as_ref())
    }

    /// As [`State::problems`], with what was decided of the bridges.
    pub(super) fn problems_decided(&self, desired: &Ruleset, decision: Option<&Decision>) -> Vec<Problem> {
        let mut problems = Vec::new();
        for bridge in desired.bridges.difference(&self.filtered_bridges) {
            problems.push(Problem::UnfilteredBridge { bridge: bridge.clone(), reason: "it is off".to_owned() });
        }
        for (((family, _), chain), rule) in &self.pinned {
            problems.push(Problem::ForeignReference { family: *family, chain: chain.clone(), rule: rule.clone() });
        }
        if let (Some(_), Some(reason)) = (&desired.anti_spoofing, &self.without_table) {
            problems.push(Problem::Spoofing { reason: reason.clone() });
        }
        problems.extend(decision.into_iter().flat_map(Decision::unbound));
        problems
    }
}

/// Every interface that a rule of the ruleset names. What several begin with names none of them: it leads to rules that do,
/// and where none does, nothing is judged yet.
pub(super) fn interfaces(ruleset: &Ruleset) -> BTreeSet<InterfaceName> {
    let rules = ruleset.chains.rules();
    rules
        .flat_map(|rule| rule.matches.iter())
        .filter_map(|condition| match condition {
            Match::InInterface(name) | Match::OutInterface(name) => Some(name.clone()),
            Match::InInterfacePrefix(_)
            | Match::OutInterfacePrefix(_)
            | Match::State(_)
            | Match::TcpNotSyn
            | Match::SctpNotInit
            | Match::Net { .. }
            | Match::Set { .. }
            | Match::Protocol { .. }
            | Match::Ports { .. }
            | Match::Icmp { .. } => None,
        })
        .collect()
}

/// Something that a person should know: the rules are in force, but not everything is as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Same-bridge traffic of a governed network is not seen by netfilter.
    UnfilteredBridge {
        /// Its bridge.
        bridge: InterfaceName,
        /// Why.
        reason: String,
    },
    /// A bridge of a governed network is not in this network namespace.
    NoBridge {
        /// Its name.
        bridge: InterfaceName,
    },
    /// A rule of somebody else leads to a chain of ours, which can thus not be removed.
    ForeignReference {
        /// Family.
        family: Family,
        /// Our chain.
        chain: String,
        /// The foreign rule.
        rule: String,
    },
    /// A set of ours that is no longer needed could not be removed, as when a foreign rule uses it.
    SetInUse {
        /// The set.
        set: String,
        /// What the kernel said.
        reason: String,
    },
    /// Addresses are bound to their networks only.
    Spoofing {
        /// Why.
        reason: String,
    },
    /// The packet filter takes no rules about SCTP.
    Sctp,
    /// An endpoint has no port of its bridge that is known to be its own, so that nothing passes from or to it.
    Unbound {
        /// `CONTAINER@NETWORK`
        endpoint: String,
        /// The bridge.
        bridge: InterfaceName,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::UnfilteredBridge { bridge, reason } => {
                write!(
                    f,
                    "policy between containers on bridge {bridge} is NOT enforced: the bridge does not \
                     pass all its traffic to netfilter (nf_call_iptables, nf_call_ip6tables, bit 14 of group_fwd_mask, no \
                     stp_state): {reason}"
                )
            }
            Problem::NoBridge { bridge } => write!(
                f,
                "policy on bridge {bridge} is NOT enforced: there is no such bridge in this network namespace; dockgate \
                 belongs on the engine's own host and in its network namespace"
            ),
            Problem::ForeignReference { family, chain, rule } => {
                write!(f, "{family}: the chain {chain} cannot be removed while this foreign rule leads to it: {rule}")
            }
            Problem::SetInUse { set, reason } => write!(f, "the set {set} could not be removed: {reason}"),
            Problem::Spoofing { reason } => write!(
                f,
                "spoofing is NOT prevented: a container that can send raw packets, as every container can that Docker \
                 starts with its default capabilities, can take the address of another container of its network and be \
                 judged as that one; and while a bridge does not pass its traffic to netfilter, containers that are not \
                 classified yet reach others on it; a table that was made before may still be in force as it was: {reason}"
            ),
            Problem::Sctp => f.write_str(
                "flows of SCTP that a policy has ended are NOT kept from coming back: the packet filter takes no rules about \
                 SCTP's chunks; the kernel module xt_sctp is missing",
            ),
            Problem::Unbound { endpoint, bridge, reason } => {
                write!(f, "{endpoint} is closed: its port on bridge {bridge} cannot be told: {reason}")
            }
        }
    }
}
