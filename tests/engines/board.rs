//! The table of what each combination came to.
//!
//! Input: a note per check. Output: a line per combination, also for one that was not run, and a column per check.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::suite::{CHECKS, Combination};

/// The lines of the table.
#[derive(Clone, Default)]
pub(crate) struct Board {
    rows: Arc<Mutex<Vec<Row>>>,
}

struct Row {
    name: String,
    engine: String,
    bridge_netfilter: String,
    cells: Vec<(&'static str, String)>,
    seconds: Option<f64>,
    why_not: &'static str,
}

impl Board {
    /// A line for a combination that may or may not be run.
    pub(crate) fn expect(&self, combination: Combination) {
        let why_not = if combination.is_run_often() { "not chosen" } else { "not run: make test-engines runs it" };
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).push(Row {
            name: combination.name(),
            engine: String::new(),
            bridge_netfilter: String::new(),
            cells: Vec::new(),
            seconds: None,
            why_not,
        });
    }

    /// What the engine is and what it left bridge netfilter at.
    pub(crate) fn note_engine(&self, combination: Combination, version: &str, bridge_netfilter: &str) {
        self.change(combination, |row| {
            version.clone_into(&mut row.engine);
            bridge_netfilter.clone_into(&mut row.bridge_netfilter);
        });
    }

    /// What a check came to.
    pub(crate) fn note(&self, combination: Combination, check: &'static str, outcome: String) {
        self.change(combination, |row| row.cells.push((check, outcome)));
    }

    /// How long the combination took.
    pub(crate) fn finish(&self, combination: Combination, took: Duration) {
        self.change(combination, |row| row.seconds = Some(took.as_secs_f64()));
    }

    fn change(&self, combination: Combination, change: impl FnOnce(&mut Row)) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let name = combination.name();
        change(rows.iter_mut().find(|row| row.name == name).expect("every combination has a line"));
    }
}

impl fmt::Display for Board {
    /// The table. A cell says `CLOSED/OPEN`: how many pairs policy has closed and how many it has left open.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = vec![[&["combination", "engine", "bridge nf"][..], &CHECKS, &["seconds"]].concat()];
        let texts: Vec<Vec<String>> = rows.iter().map(Row::texts).collect();
        lines.extend(texts.iter().map(|line| line.iter().map(String::as_str).collect()));
        let columns = lines[0].len();
        let width = |column: usize| {
            // Why a combination was not run stands in the place of all columns but the first.
            let in_columns = lines.iter().filter(|line| column == 0 || line.len() == columns);
            in_columns.map(|line| line[column].chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for line in &lines {
            let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        let run = rows.iter().filter(|row| row.seconds.is_some());
        let (held, run) = run.fold((0, 0), |(held, run), row| (held + usize::from(row.holds()), run + 1));
        write!(f, "{held} of {run} combinations hold; {} were not run", rows.len() - run)
    }
}

impl Row {
    fn holds(&self) -> bool {
        self.cells.len() == CHECKS.len() && self.cells.iter().all(|(_, outcome)| outcome != FAILED)
    }

    fn texts(&self) -> Vec<String> {
        let Some(seconds) = self.seconds else { return vec![self.name.clone(), self.why_not.to_owned()] };
        let cell = |check: &&str| {
            let noted = self.cells.iter().find(|(name, _)| name == check);
            noted.map_or_else(|| "not reached".to_owned(), |(_, outcome)| outcome.clone())
        };
        let mut texts = vec![self.name.clone(), self.engine.clone(), self.bridge_netfilter.clone()];
        texts.extend(CHECKS.iter().map(cell));
        texts.push(format!("{seconds:.0}"));
        texts
    }
}

/// The cell of a check that failed; the test says why.
pub(crate) const FAILED: &str = "FAILS";
