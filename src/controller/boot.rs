//! The ruleset in force, kept for the next boot: rules that the kernel has lost are put back before the engine starts.
//!
//! Input: what was applied. Output: after a reboot the same ruleset with no known endpoint: every governed network is
//! closed until the controller has classified who is on it. Members of other sets are as they were when the rules last
//! changed; on a closed network they open nothing.

#![expect(clippy::disallowed_methods, reason = "the door to the state directory")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use imbl::OrdSet;
use serde::{Deserialize, Serialize};

use crate::dataplane::{self, Jump, Kernel, Outcome, Variant};
use crate::net::{Cidr, Family, InterfaceName};
use crate::ruleset::{AntiSpoofing, Member, Ruleset, SetName, differences, differing_sets};
use crate::telemetry::{Lock, LockError, NamespaceLock};

use super::memory::write_whole;

/// File name in the state directory.
const FILE: &str = "last-ruleset.json";

/// What this version writes and reads.
const FORMAT: u32 = 1;

/// Why the last ruleset could not be kept, or not put back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A controller is running, which knows better; or the state directory is not usable.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The file cannot be read.
    #[error("cannot read the last ruleset from {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is not what this program wrote.
    #[error("the last ruleset in {path} is damaged: nothing is closed until the controller runs, which writes it anew")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// The file is of a version of this program that writes another format.
    #[error(
        "the last ruleset in {path} is of version {written_by}, which writes format {format}, and this one reads format \
         {FORMAT}: nothing is closed until the controller runs, which writes it anew"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version.
        written_by: String,
        /// Its format.
        format: u32,
    },
    /// The kernel did not take it.
    #[error(transparent)]
    Kernel(#[from] dataplane::Error),
    /// The file cannot be written or removed.
    #[error("cannot keep the ruleset for the next boot in {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// What can be read of every format.
#[derive(Debug, Deserialize)]
struct Head {
    format: u32,
    written_by: String,
}

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    format: u32,
    written_by: String,
    /// The engine's choice, which nothing in the kernel tells before the engine has started.
    variant: Variant,
    /// Where our jumps stood beside the engine's rules.
    anchors: Vec<Jump>,
    ruleset: Ruleset,
}

/// What a boot would have, as it is in force.
#[derive(Debug)]
pub(super) struct Coverage {
    variant: Variant,
    anchors: Vec<Jump>,
    ruleset: Ruleset,
}

impl Coverage {
    /// That of a kernel which holds a ruleset.
    pub(super) fn of(kernel: &Kernel, ruleset: &Ruleset) -> Coverage {
        Coverage { variant: kernel.variant(), anchors: kernel.anchors(), ruleset: ruleset.clone() }
    }

    /// Whether a boot would come to the same with either. Of sets and chains it takes the time of what they differ in.
    pub(super) fn is_same(&self, other: &Coverage) -> bool {
        let Coverage { variant, anchors, ruleset } = self;
        let Ruleset { sets: _, chains, bridges, anti_spoofing } = ruleset;
        (variant, anchors) == (&other.variant, &other.anchors)
            && (chains, bridges) == (&other.ruleset.chains, &other.ruleset.bridges)
            && anti_spoofing.as_ref().map(but_bindings) == other.ruleset.anti_spoofing.as_ref().map(but_bindings)
            && same_nets(ruleset, &other.ruleset)
    }

    /// Keeps it, whole or not at all.
    pub(super) fn keep(&self, state_directory: &Path) -> Result<(), Error> {
        let kept = Kept {
            format: FORMAT,
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
            variant: self.variant,
            anchors: self.anchors.clone(),
            ruleset: closed(self.ruleset.clone()),
        };
        kept.write(state_directory)
    }
}

impl Kept {
    fn write(&self, state_directory: &Path) -> Result<(), Error> {
        let written = write_whole(state_directory, FILE, |file| Ok(serde_json::to_writer(file, self)?));
        written.map_err(|source| Error::Write { path: state_directory.join(FILE), source })
    }

    fn recall(state_directory: &Path) -> Result<Option<Kept>, Error> {
        let path = state_directory.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { path, source }),
        };
        let damaged = |source| Error::Damaged { path: path.clone(), source };
        let head: Head = serde_json::from_str(&text).map_err(damaged)?;
        if head.format != FORMAT {
            return Err(Error::Version { path, written_by: head.written_by, format: head.format });
        }
        Ok(Some(serde_json::from_str(&text).map_err(damaged)?))
    }
}

/// Whether two rulesets with the same bridges have the same sets and bridge networks, and of those that no policy governs the
/// same places.
fn same_nets(one: &Ruleset, other: &Ruleset) -> bool {
    let is_one_of =
        |name: &SetName, those: fn(Family) -> SetName| Family::ALL.into_iter().any(|family| *name == those(family));
    differing_sets(&one.sets, &other.sets).all(|(name, before, after)| {
        let (Some(before), Some(after)) = (before, after) else { return false };
        if !is_one_of(name, SetName::known) {
            return !is_one_of(name, SetName::bridged_subnets);
        }
        let (come, gone) = differences(&before.members, &after.members);
        come.into_iter().chain(gone).all(|member| is_governed(member, &one.bridges))
    })
}

/// What is kept of who may send as whom.
fn but_bindings(anti_spoofing: &AntiSpoofing) -> (&BTreeSet<IpAddr>, &BTreeSet<Cidr>, bool) {
    let AntiSpoofing { bindings: _, gateways, subnets, frozen } = anti_spoofing;
    (gateways, subnets, *frozen)
}

/// Whether a member of the known or listed endpoints is on a governed bridge. What is on others are the subnets of networks
/// without policy, whose addresses come from there and from nowhere else.
fn is_governed(member: &Member, bridges: &BTreeSet<InterfaceName>) -> bool {
    match member {
        Member::NetInterface { interface, .. } => bridges.contains(interface),
        Member::Ip(_) | Member::Net(_) | Member::IpPort { .. } => true,
    }
}

/// The ruleset with nobody known on governed networks: nothing passes there. Other networks are none of its business.
fn closed(mut ruleset: Ruleset) -> Ruleset {
    for family in Family::ALL {
        for name in [SetName::known(family), SetName::listed(family)] {
            if let Some(set) = ruleset.sets.get_mut(&name) {
                set.members =
                    set.members.iter().filter(|member| !is_governed(member, &ruleset.bridges)).cloned().collect();
            }
        }
    }
    ruleset.anti_spoofing = ruleset.anti_spoofing.map(nobody_bound);
    ruleset
}

/// Ports of before the boot are gone.
fn nobody_bound(anti_spoofing: AntiSpoofing) -> AntiSpoofing {
    AntiSpoofing { bindings: OrdSet::new(), ..anti_spoofing }
}

/// What was put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Number of networks that are closed now.
    pub networks: usize,
    /// What was done and what is not as it should be.
    pub outcome: Outcome,
}

/// Puts the last ruleset into the kernel, closed. `None` when there is none, as before the controller's first run and
/// after a cleanup. Refuses while a controller runs.
pub fn restore(state_directory: &Path, options: dataplane::Options) -> Result<Option<Restored>, Error> {
    // Held until the end, so that no controller starts in between.
    let Some(_lock) = Lock::acquire_existing(state_directory)? else { return Ok(None) };
    let _namespace = NamespaceLock::acquire()?;
    let Some(kept) = Kept::recall(state_directory)? else { return Ok(None) };
    let mut kernel = Kernel::open(dataplane::Options { variant: options.variant.or(Some(kept.variant)) })?;
    let outcome = kernel.prepare(&closed(kept.ruleset.clone()), &kept.anchors)?;
    Ok(Some(Restored { networks: kept.ruleset.bridges.len(), outcome }))
}

/// Forgets the last ruleset, so that the next boot closes nothing.
pub fn forget(state_directory: &Path) -> Result<(), Error> {
    let path = state_directory.join(FILE);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Write { path, source }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::dataplane::Xtable;
    use crate::ruleset::{AddressSet, Binding, Hook, Role, SetKind};

    fn kept() -> Kept {
        let member = |text: &str| Member::Net(text.parse().expect("a block"));
        let set = |members: &[Member]| AddressSet {
            family: Family::V4,
            kind: SetKind::Net,
            members: members.iter().cloned().collect(),
        };
        let ruleset = Ruleset {
            sets: [
                (SetName::known(Family::V4), set(&[member("10.0.0.1/32")])),
                (SetName::bridged_subnets(Family::V4), set(&[member("10.0.0.0/24")])),
            ]
            .into_iter()
            .collect(),
            bridges: ["br-a".parse().expect("a name")].into(),
            ..Ruleset::default()
        };
        let ruleset = closed(ruleset);
        Kept { format: FORMAT, written_by: "x".to_owned(), variant: Variant::Nft, anchors: vec![], ruleset }
    }

    #[test]
    fn what_was_kept_is_recalled_with_nobody_known() {
        let directory = tempfile::tempdir().expect("temporary directory");
        assert_eq!(Kept::recall(directory.path()).expect("nothing kept yet"), None);
        kept().write(directory.path()).expect("keep");
        let recalled = Kept::recall(directory.path()).expect("recall").expect("something");
        assert_eq!(recalled, kept());
        assert!(recalled.ruleset.sets[&SetName::known(Family::V4)].members.is_empty());
        assert_eq!(recalled.ruleset.sets[&SetName::bridged_subnets(Family::V4)].members.len(), 1);
        forget(directory.path()).expect("forget");
        forget(directory.path()).expect("forgotten already");
        assert_eq!(Kept::recall(directory.path()).expect("nothing kept any more"), None);
    }

    type Change = Box<dyn Fn(&mut Coverage)>;

    fn table(coverage: &mut Coverage) -> &mut AntiSpoofing {
        coverage.ruleset.anti_spoofing.get_or_insert_default()
    }

    #[test]
    fn it_is_kept_anew_when_anything_differs_that_a_boot_would_have() {
        let coverage = || Coverage {
            variant: Variant::Nft,
            anchors: vec![],
            ruleset: Ruleset { anti_spoofing: Some(AntiSpoofing::default()), ..kept().ruleset },
        };
        let anchor = Jump {
            family: Family::V4,
            table: Xtable::Filter,
            hook: Hook::Forward,
            chain: "FORWARD".to_owned(),
            serial: 1,
        };
        let binding = Binding {
            bridge: "br-a".parse().expect("a name"),
            endpoint: "web@a".to_owned(),
            attachment: "e".into(),
            mac: None,
            addresses: vec![],
            role: Role::Governed,
        };
        let block: Cidr = "10.0.0.0/24".parse().expect("a block");
        let class = || SetName::of_content(Family::V4, SetKind::Ip, "class", "");
        let members = |members: &[Member]| AddressSet {
            family: Family::V4,
            kind: SetKind::Ip,
            members: members.iter().cloned().collect(),
        };
        let rows: [(&str, bool, Change); 11] = [
            ("nothing", true, Box::new(|_| {})),
            ("who is bound", true, Box::new(move |it| _ = table(it).bindings.insert(binding.clone().into()))),
            ("who is known on a governed bridge", true, {
                let member = Member::Net("10.0.0.9/32".parse().expect("a block"));
                Box::new(move |it| {
                    let known = it.ruleset.sets.get_mut(&SetName::known(Family::V4)).expect("it was put there");
                    known.members.insert(member.clone());
                })
            }),
            ("the variant", false, Box::new(|it| it.variant = Variant::Legacy)),
            ("anchors", false, Box::new(move |it| it.anchors.push(anchor.clone()))),
            ("bridges", false, Box::new(|it| _ = it.ruleset.bridges.insert("br-b".parse().expect("a name")))),
            ("chains", false, Box::new(|it| _ = it.ruleset.chains.insert(Family::V6, BTreeMap::new()))),
            ("a set more", false, Box::new(move |it| _ = it.ruleset.sets.insert(class(), members(&[])))),
            ("gateways", false, Box::new(move |it| _ = table(it).gateways.insert(block.network()))),
            ("subnets", false, Box::new(move |it| _ = table(it).subnets.insert(block))),
            ("whether the engine is away", false, Box::new(|it| table(it).frozen = true)),
        ];
        for (name, is_same, change) in rows {
            let mut changed = coverage();
            change(&mut changed);
            assert_eq!((coverage().is_same(&changed), changed.is_same(&coverage())), (is_same, is_same), "{name}");
        }
    }

    #[test]
    fn networks_without_policy_are_not_closed() {
        let at = |net: &str, bridge: &str| Member::NetInterface {
            net: net.parse().expect("a block"),
            interface: bridge.parse().expect("a name"),
        };
        let (governed, free) = (at("10.0.0.1/32", "br-a"), at("172.17.0.0/16", "docker0"));
        let members = [governed, free.clone()].into_iter().collect();
        let known = AddressSet { family: Family::V4, kind: SetKind::NetInterface, members };
        let mut ruleset = kept().ruleset;
        ruleset.sets.insert(SetName::known(Family::V4), known);
        let closed = closed(ruleset.clone());
        assert_eq!(closed.sets[&SetName::known(Family::V4)].members, OrdSet::unit(free.clone()));
        assert!(same_nets(&closed, &ruleset), "what is kept is up to date");
        let known = ruleset.sets.get_mut(&SetName::known(Family::V4)).expect("it was put there");
        known.members.remove(&free);
        known.members.insert(at("172.17.0.0/16", "br-b"));
        assert!(!same_nets(&closed, &ruleset), "a network without policy has moved to another bridge");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_an_error_and_not_nothing() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let recall = |text: &str| {
            fs::write(directory.path().join(FILE), text).expect("write");
            Kept::recall(directory.path()).expect_err("refused").to_string()
        };
        assert!(recall("{").contains("damaged"));
        assert!(recall(r#"{"format": 1, "written_by": "0.1.0", "ruleset": 7}"#).contains("damaged"));
        let newer = recall(r#"{"format": 2, "written_by": "9.0.0", "ruleset": 7}"#);
        assert!(newer.contains("9.0.0") && newer.contains("format 2"), "{newer}");
    }
}
