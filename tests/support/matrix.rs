//! Who reached whom: the outcomes of many probes, as a table and against an expectation.
//!
//! Input: measured cells. Output: a table for a person, and the cells that differ from what was expected.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use super::evidence::BY_PACKETS;
use super::probe::{Outcome, Probe};

/// One question: does this source reach this address of this target with this probe?
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    /// Name of the source.
    pub(crate) source: String,
    /// Name of the target.
    pub(crate) target: String,
    /// The address of the target; its family is the family of the probe.
    pub(crate) address: IpAddr,
    /// What is sent.
    pub(crate) probe: Probe,
}

impl Cell {
    fn column(&self) -> (String, Probe, bool) {
        (self.target.clone(), self.probe, self.address.is_ipv6())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {} ({})", self.source, self.target, self.probe, self.address)
    }
}

/// Measured outcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matrix {
    /// The outcome of each question that was asked.
    pub(crate) cells: BTreeMap<Cell, Outcome>,
}

impl Matrix {
    /// The outcome between two names. Panics unless exactly one address was probed in the family that `v6` says.
    pub(crate) fn outcome(&self, source: &str, target: &str, probe: Probe, v6: bool) -> Outcome {
        let mut found = self.cells.iter().filter(|(cell, _)| {
            cell.source == source && cell.target == target && cell.probe == probe && cell.address.is_ipv6() == v6
        });
        match (found.next(), found.next()) {
            (Some((_, outcome)), None) => *outcome,
            _ => panic!("not exactly one measurement of {source} -> {target} {probe}, IPv6 {v6}:\n{self}"),
        }
    }

    /// Whether a cell was measured, and open.
    pub(crate) fn is_open(&self, cell: &Cell) -> bool {
        self.cells.get(cell).is_some_and(|outcome| outcome.is_open())
    }

    /// The outcomes as they would be if one more name answered and were answered as `name` is.
    #[must_use]
    pub(crate) fn with_twin(&self, name: &str, twin: &str) -> Matrix {
        let names = |own: &String| if own == name { vec![own.clone(), twin.to_owned()] } else { vec![own.clone()] };
        let mut cells = BTreeMap::new();
        for (cell, outcome) in &self.cells {
            for source in names(&cell.source) {
                for target in names(&cell.target) {
                    cells.insert(Cell { source: source.clone(), target, ..cell.clone() }, *outcome);
                }
            }
        }
        Matrix { cells }
    }

    /// The cells whose openness is not what `expected` says, each with its measured outcome.
    pub(crate) fn differences(&self, expected: impl Fn(&Cell) -> bool) -> BTreeMap<&Cell, Outcome> {
        let differing = self.cells.iter().filter(|(cell, outcome)| outcome.is_open() != expected(cell));
        differing.map(|(cell, outcome)| (cell, *outcome)).collect()
    }

    /// Panics with the table and one line per difference unless everything is as `expected` says.
    pub(crate) fn assert(&self, expected: impl Fn(&Cell) -> bool) {
        use fmt::Write as _;
        let differences = self.differences(expected);
        if differences.is_empty() {
            return;
        }
        let mut lines = String::new();
        for (cell, outcome) in &differences {
            let wanted = if outcome.is_open() { "closed" } else { "open" };
            writeln!(lines, "  {cell}: expected {wanted}, measured {outcome}").expect("a String takes everything");
        }
        panic!("{BY_PACKETS}{} of {} cells differ:\n{lines}\n{self}", differences.len(), self.cells.len());
    }
}

impl fmt::Display for Matrix {
    /// A table with a line per target, probe and family, and a column per source.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources: BTreeSet<&str> = self.cells.keys().map(|cell| cell.source.as_str()).collect();
        let mut lines: BTreeMap<(String, Probe, bool), BTreeMap<&str, Outcome>> = BTreeMap::new();
        for (cell, outcome) in &self.cells {
            // Several addresses of one name and family share a line; the worst of their outcomes is shown.
            let shown = lines.entry(cell.column()).or_default().entry(&cell.source).or_insert(*outcome);
            *shown = (*shown).max(*outcome);
        }
        let titles: Vec<String> = lines
            .keys()
            .map(|(target, probe, v6)| format!("{target} {probe} {}", if *v6 { "IPv6" } else { "IPv4" }))
            .collect();
        let width = titles.iter().map(String::len).max().unwrap_or(0);
        let columns: Vec<usize> = sources.iter().map(|source| source.len().max("unreachable".len())).collect();
        write!(f, "{:width$}", "to \\ from")?;
        for (source, column) in sources.iter().zip(&columns) {
            write!(f, "  {source:column$}")?;
        }
        writeln!(f)?;
        for (title, outcomes) in titles.iter().zip(lines.values()) {
            write!(f, "{title:width$}")?;
            for (source, column) in sources.iter().zip(&columns) {
                let text = outcomes.get(source).map_or_else(String::new, ToString::to_string);
                write!(f, "  {text:column$}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
