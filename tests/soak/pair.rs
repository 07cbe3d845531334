//! An allowed way that is probed all the time, and when it was shut.
//!
//! Input: a [`Vigil`] and the moment from which on it must pass. Output: the [`Outage`]s, stretches of time in which one
//! datagram after the other was lost.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::Vigil;

/// Datagrams that are lost one after the other until it is an outage: a single one gets lost on a busy machine.
const IN_A_ROW: usize = 5;

/// A stretch of time in which nothing came through.
#[derive(Clone, Debug)]
pub(crate) struct Outage {
    /// Which way.
    pub(crate) way: &'static str,
    /// Where to.
    pub(crate) to: SocketAddr,
    /// When the first datagram was sent that did not come through.
    pub(crate) from: Instant,
    /// When the last one was.
    pub(crate) until: Instant,
}

impl Outage {
    /// How long it was.
    pub(crate) fn length(&self) -> Duration {
        self.until.duration_since(self.from)
    }
}

/// The outages of a vigil since a moment, and how many datagrams came through and how many did not.
pub(crate) fn outages(way: &'static str, vigil: &Vigil, since: Instant) -> (Vec<Outage>, usize, usize) {
    let (passed, lost) = (vigil.passed_since(since), vigil.lost_since(since));
    let mut moments: BTreeMap<SocketAddr, Vec<(Instant, bool)>> = BTreeMap::new();
    for (moment, came_through) in
        passed.iter().map(|moment| (moment, true)).chain(lost.iter().map(|moment| (moment, false)))
    {
        moments.entry(moment.1).or_default().push((moment.0, came_through));
    }
    let mut found = Vec::new();
    for (to, mut moments) in moments {
        moments.sort_unstable();
        for run in moments.chunk_by(|a, b| a.1 == b.1).filter(|run| !run[0].1 && run.len() >= IN_A_ROW) {
            found.push(Outage { way, to, from: run[0].0, until: run[run.len() - 1].0 });
        }
    }
    (found, passed.len(), lost.len())
}
