//! The controller's state and what it makes of each event: pure, without kernel, files or clock.
//!
//! Input: an [`Event`]. Output: what it asks of the kernel, a [`Need`], and the ruleset that is to be there. One owner
//! holds this state; nothing in it is shared or locked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::compile::{self, Compiled};
use crate::inventory::{Change, Inventory};
use crate::policy::{
    Diagnostic, Direction, Peer, Policy, PolicyKey, PolicySet, Rule, RuleAction, SourceFile, Store, files,
};
use crate::telemetry::chain;

/// Something that happened outside.
#[derive(Debug)]
pub enum Event {
    /// The policy directory was read, or could not be.
    Policies(Result<Vec<SourceFile>, files::Error>),
    /// Docker changed.
    Inventory(Change),
}

/// What an event asks of the kernel, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// The difference between what we applied last and what is wanted now.
    Apply,
    /// The kernel is to be read first, because somebody else has changed it: Docker rewrites its own chains when it
    /// starts and whenever a network is created, and moves our jump in FORWARD below its own rules.
    Observe,
}

/// What is known of the policy directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyState {
    /// The policies in force.
    pub policies: PolicySet,
    /// Findings about the files as they are now.
    pub diagnostics: Vec<Diagnostic>,
    /// Files whose last good version is in force.
    pub held: Vec<PathBuf>,
    /// Invalid files that have no good version.
    pub missing: Vec<PathBuf>,
    /// Number of files read.
    pub files: usize,
    /// Why the directory could not be read the last time.
    pub unreadable: Option<String>,
}

/// The state of the loop.
#[derive(Debug)]
pub struct Core {
    options: compile::Options,
    store: Store,
    policies: Option<PolicyState>,
    inventory: Option<Inventory>,
    unreachable: Option<String>,
    refused: BTreeSet<PolicyKey>,
    compiled: Option<Compiled>,
}

impl Core {
    /// The state before anything is known.
    pub fn new(options: compile::Options, store: Store) -> Core {
        Core {
            options,
            store,
            policies: None,
            inventory: None,
            unreachable: None,
            refused: BTreeSet::new(),
            compiled: None,
        }
    }

    /// Takes an event. The wanted ruleset is up to date afterwards.
    pub fn take(&mut self, event: Event) -> Need {
        let need = match event {
            Event::Policies(Ok(files)) => self.take_files(&files),
            Event::Policies(Err(error)) => self.take_unreadable(&error),
            Event::Inventory(Change::Unreachable(reason)) => {
                self.unreachable = Some(reason);
                Need::Nothing
            }
            Event::Inventory(change) => self.take_change(change),
        };
        if need > Need::Nothing {
            self.compile();
        }
        need
    }

    fn take_files(&mut self, files: &[SourceFile]) -> Need {
        let update = self.store.update(files);
        let before = self.policies.take();
        let changed = before.as_ref().is_none_or(|before| before.policies != update.policies);
        if changed {
            self.refused.clear();
        }
        self.policies = Some(PolicyState {
            policies: update.policies,
            diagnostics: update.diagnostics,
            held: update.held,
            missing: update.missing,
            files: update.files,
            unreadable: None,
        });
        if changed { Need::Apply } else { Need::Nothing }
    }

    /// A directory that cannot be read is an error, not an empty policy: what was in force stays, and after a restart
    /// the last good versions of all files are taken.
    fn take_unreadable(&mut self, error: &files::Error) -> Need {
        let reason = chain(error);
        if let Some(state) = &mut self.policies {
            state.unreadable = Some(reason);
            return Need::Nothing;
        }
        let text_of = |(path, text): (&PathBuf, &String)| SourceFile::new(path, text);
        let good: Vec<_> = self.store.good().iter().map(text_of).collect();
        let need = self.take_files(&good);
        if let Some(state) = &mut self.policies {
            state.held = self.store.good().keys().cloned().collect();
            state.files = 0;
            state.unreadable = Some(reason);
        }
        need
    }

    fn take_change(&mut self, change: Change) -> Need {
        let rewrites_chains = matches!(change, Change::Snapshot(_) | Change::Network(_) | Change::NetworkGone(_));
        // A stream that has broken begins anew with a snapshot.
        if matches!(change, Change::Snapshot(_)) {
            self.unreachable = None;
        } else if self.inventory.is_none() {
            // A change before the first listing is part of that listing.
            return Need::Nothing;
        }
        let changed = self.inventory.get_or_insert_default().apply(change);
        match (rewrites_chains, changed) {
            (true, _) => Need::Observe,
            (false, true) => Need::Apply,
            (false, false) => Need::Nothing,
        }
    }

    /// Keeps policies out that the kernel refused: in their place stands a rule that denies what they select, because
    /// leaving them out could open what they close. Returns whether anything differs now.
    pub fn refuse(&mut self, policies: BTreeSet<PolicyKey>) -> bool {
        let changed = policies != self.refused;
        self.refused = policies;
        self.compile();
        changed
    }

    fn compile(&mut self) {
        let (Some(state), Some(inventory)) = (&self.policies, &self.inventory) else { return };
        let compiled = if self.refused.is_empty() {
            compile::compile(&state.policies, inventory, &self.options)
        } else {
            compile::compile(&closed(&state.policies, &self.refused), inventory, &self.options)
        };
        self.compiled = Some(compiled);
    }

    /// The wanted ruleset; `None` until both policies and inventory are known, and nothing is written before.
    pub fn compiled(&self) -> Option<&Compiled> {
        self.compiled.as_ref()
    }

    /// What is known of the policy directory; `None` until it was read.
    pub fn policies(&self) -> Option<&PolicyState> {
        self.policies.as_ref()
    }

    /// What is known of Docker; `None` until it was listed.
    pub fn inventory(&self) -> Option<&Inventory> {
        self.inventory.as_ref()
    }

    /// Why the engine cannot be reached, while it cannot.
    pub fn unreachable(&self) -> Option<&str> {
        self.unreachable.as_deref()
    }

    /// Policies that the kernel refused.
    pub fn refused(&self) -> &BTreeSet<PolicyKey> {
        &self.refused
    }

    /// Last good texts of the policy files, to be kept across restarts.
    pub fn good(&self) -> &BTreeMap<PathBuf, String> {
        self.store.good()
    }

    /// The ruleset of one policy alone, to find out whether the kernel takes it.
    pub fn alone(&self, key: &PolicyKey) -> Option<Compiled> {
        let (state, inventory) = (self.policies.as_ref()?, self.inventory.as_ref()?);
        let policies = state.policies.policies.iter().filter(|policy| policy.key == *key).cloned().collect();
        let alone = PolicySet { policies, ..state.policies.clone() };
        Some(compile::compile(&alone, inventory, &self.options))
    }
}

/// The policies with the rules of some replaced by one that denies everything.
fn closed(policies: &PolicySet, refused: &BTreeSet<PolicyKey>) -> PolicySet {
    let mut closed = policies.clone();
    for policy in closed.policies.iter_mut().filter(|policy| refused.contains(&policy.key)) {
        for direction in Direction::ALL {
            let deny = policy.rules(direction).map(|_| vec![deny_everything(policy)]);
            match direction {
                Direction::Ingress => policy.ingress = deny,
                Direction::Egress => policy.egress = deny,
            }
        }
    }
    closed
}

fn deny_everything(policy: &Policy) -> Rule {
    Rule {
        index: 0,
        action: RuleAction::Deny,
        family: None,
        protocol: None,
        not_protocol: None,
        icmp: None,
        not_icmp: None,
        source: Peer::default(),
        destination: Peer::default(),
        location: policy.location.clone(),
    }
}
