//! A survey: every source probes every target, all at once.
//!
//! Input: sources, targets and probes. Output: a [`Matrix`]. A survey takes about its deadline, however many cells it
//! has: one thread per source, all shots of a thread in flight together.
//!
//! A negative is only worth something while a positive is possible. So each target also probes itself, from inside its
//! own namespace and with the same deadline: when that gets no answer, the server is not up or the machine is stalled,
//! and the round does not count.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use super::evidence::TOO_LATE;
use super::matrix::{Cell, Matrix};
use super::namespace::Namespace;
use super::probe::{Outcome, Probe, fire};

/// How long an answer may take in a round that counts at once.
const DEADLINE: Duration = Duration::from_millis(400);

/// How long it may take where an answer was expected and did not come in the first round.
const PATIENT_DEADLINE: Duration = Duration::from_secs(2);

/// Where probes come from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Its name in the matrix.
    pub(crate) name: String,
    /// Where its packets start.
    pub(crate) namespace: Namespace,
}

impl Source {
    /// A source by name.
    pub(crate) fn new(name: impl Into<String>, namespace: &Namespace) -> Source {
        Source { name: name.into(), namespace: namespace.clone() }
    }
}

/// What is probed.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Its name in the matrix.
    pub(crate) name: String,
    /// Its addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// The probes for it.
    pub(crate) probes: Vec<Probe>,
    /// The namespace in which the addresses are local, for the positive control; `None` for an address that is
    /// translated on the way, such as a published port.
    pub(crate) home: Option<Namespace>,
}

impl Target {
    /// Addresses of a host on which a port is published: no server of its own, so no positive control.
    pub(crate) fn published(name: &str, addresses: &[IpAddr], probe: Probe) -> Target {
        Target { name: name.to_owned(), addresses: addresses.to_vec(), probes: vec![probe], home: None }
    }
}

/// Sources and targets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    sources: Vec<Source>,
    targets: Vec<Target>,
}

impl Survey {
    /// A survey without any cell.
    pub(crate) fn new() -> Survey {
        Survey::default()
    }

    /// Adds a source.
    #[must_use]
    pub(crate) fn source(mut self, source: Source) -> Survey {
        self.sources.push(source);
        self
    }

    /// Adds a target.
    #[must_use]
    pub(crate) fn target(mut self, target: Target) -> Survey {
        self.targets.push(target);
        self
    }

    /// Probes every target from every source once. Panics when the positive control finds no server, three times.
    pub(crate) fn measure(&self) -> Matrix {
        for deadline in [DEADLINE, PATIENT_DEADLINE, PATIENT_DEADLINE] {
            let (matrix, control) = self.round(deadline, |_| true);
            if control.cells.values().all(|outcome| outcome.is_open()) {
                return matrix;
            }
            eprintln!("the positive control failed with a deadline of {deadline:?}: measuring again\n{control}");
        }
        panic!("{TOO_LATE}the targets do not answer themselves; no measurement is possible");
    }

    /// Measures, and panics with a table unless the open cells are exactly those that `expected` names.
    ///
    /// A cell that is closed against the expectation is asked once more, with patience: a packet may get lost on a
    /// busy machine. One that is open against it is wrong at once.
    pub(crate) fn expect(&self, expected: impl Fn(&Cell) -> bool + Sync) -> Matrix {
        let matrix = self.measure_against(&expected);
        matrix.assert(expected);
        matrix
    }

    /// As [`Survey::expect`], for a caller that looks at the differences itself.
    pub(crate) fn measure_against(&self, expected: impl Fn(&Cell) -> bool + Sync) -> Matrix {
        let mut matrix = self.measure();
        let missing: Vec<Cell> = matrix
            .differences(&expected)
            .into_iter()
            .filter(|(_, outcome)| !outcome.is_open())
            .map(|(cell, _)| cell.clone())
            .collect();
        if !missing.is_empty() {
            let (again, _) = self.round(PATIENT_DEADLINE, |cell| missing.contains(cell));
            matrix.cells.extend(again.cells);
        }
        matrix
    }

    /// The measured cells, and the cells of the positive control.
    fn round(&self, deadline: Duration, wanted: impl Fn(&Cell) -> bool) -> (Matrix, Matrix) {
        let mut volleys: Vec<(&Namespace, Vec<Cell>)> = Vec::new();
        for source in &self.sources {
            let cells = self.targets.iter().flat_map(|target| cells(&source.name, target));
            volleys.push((&source.namespace, cells.filter(&wanted).collect()));
        }
        let controls = volleys.len();
        for target in &self.targets {
            if let Some(home) = &target.home {
                volleys.push((home, cells(&target.name, target).collect()));
            }
        }
        let mut results = thread::scope(|scope| {
            let threads: Vec<_> =
                volleys.into_iter().map(|(from, cells)| scope.spawn(move || volley(from, cells, deadline))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect::<Vec<_>>()
        });
        let control = results.split_off(controls);
        (merge(results), merge(control))
    }
}

fn cells<'a>(source: &'a str, target: &'a Target) -> impl Iterator<Item = Cell> + 'a {
    target.addresses.iter().flat_map(move |address| {
        target.probes.iter().map(move |probe| Cell {
            source: source.to_owned(),
            target: target.name.clone(),
            address: *address,
            probe: *probe,
        })
    })
}

fn volley(from: &Namespace, cells: Vec<Cell>, deadline: Duration) -> Vec<(Cell, Outcome)> {
    let shots: Vec<(IpAddr, Probe)> = cells.iter().map(|cell| (cell.address, cell.probe)).collect();
    let outcomes = fire(from, &shots, deadline);
    cells.into_iter().zip(outcomes).collect()
}

fn merge(results: Vec<Vec<(Cell, Outcome)>>) -> Matrix {
    Matrix { cells: results.into_iter().flatten().collect::<BTreeMap<_, _>>() }
}
