//! The matrix of pictures and pages: who connects on the left, to whom on top.
//!
//! Input: a [`View`]. Output: what is in each cell that has something. What is denied is in it whatever lists have: a
//! cell says whether policy closes a way, or there is none.

use std::collections::{BTreeMap, BTreeSet};

use super::view::{Line, View, word};
use crate::net::Family;
use crate::reach::Via;
use crate::reach::table::Pairs;
use crate::verdict::Decision;

/// What a cell is at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Everything is allowed.
    Any,
    /// Some ports or protocols are.
    Some,
    /// Policy denies everything.
    Denied,
}

impl State {
    /// Its class in style sheets.
    pub(super) fn class(self) -> &'static str {
        match self {
            State::Any => "any",
            State::Some => "some",
            State::Denied => "denied",
        }
    }

    /// A sign for those who do not tell its colour from others.
    pub(super) fn sign(self) -> &'static str {
        match self {
            State::Any => "●",
            State::Some => "◐",
            State::Denied => "×",
        }
    }

    /// What it means.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            State::Any => "everything is allowed",
            State::Some => "what it says is allowed",
            State::Denied => "denied by policy",
        }
    }
}

/// What may pass between two parties.
#[derive(Debug)]
pub(super) struct Cell<'v> {
    /// All of it at a glance.
    pub(super) state: State,
    /// What is allowed and what is denied.
    pub(super) lines: Vec<Line<'v>>,
}

/// The cells that have something.
pub(super) fn cells<'v>(view: &'v View<'_>) -> BTreeMap<(usize, usize), Cell<'v>> {
    let mut lines_of: BTreeMap<(usize, usize), Vec<Line<'v>>> = BTreeMap::new();
    for line in view.every_line() {
        lines_of.entry((line.from, line.to)).or_default().push(line);
    }
    lines_of.into_iter().map(|(pair, lines)| (pair, Cell { state: state(&lines), lines })).collect()
}

fn state(lines: &[Line<'_>]) -> State {
    let is_open = |line: &&Line<'_>| line.decision == Decision::Allow;
    let everything =
        lines.iter().filter(is_open).any(|line| line.is_any() && line.pairs == Pairs::All && *line.via == Via::Direct);
    match lines.iter().filter(is_open).count() {
        0 => State::Denied,
        open if everything && open == lines.len() => State::Any,
        _ => State::Some,
    }
}

impl Cell<'_> {
    /// What is allowed, a line each: `TCP 80`. A family is named where the other one differs.
    pub(super) fn texts(&self) -> Vec<String> {
        let families: BTreeSet<Family> = self.lines.iter().flat_map(|line| line.families).copied().collect();
        let open = self.lines.iter().filter(|line| line.decision == Decision::Allow);
        let texts = open.map(|line| {
            let only = line.families.first().filter(|_| *line.families != families);
            let only = only.map(|family| format!(" {family}")).unwrap_or_default();
            format!("{}{}{only}", line.what(), line.by_way_of())
        });
        texts.collect()
    }

    /// All that is known of it, a line each, with the rules of what is allowed.
    pub(super) fn explanation(&self, view: &View<'_>) -> Vec<String> {
        if self.state == State::Denied {
            return vec![self.state.meaning().to_owned()];
        }
        let told = self.lines.iter().map(|line| {
            let (what, way) = (line.what(), line.by_way_of());
            format!("{} {what}{way}, IPv{}: {}", word(line.decision), line.ip_versions(), view.reason(line))
        });
        told.collect()
    }
}
