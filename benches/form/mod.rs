//! What the programs under `benches` measure, in the form in which `benches/report.rs` puts it together.
//!
//! Input: an [`Outcome`]. Output: `bench/NAME.json` in the target directory, and its rows as a table on standard output.
//! A row that falls short is an outcome like any other; a bench fails only when something could not be measured.

#![allow(dead_code, reason = "each bench compiles this module and uses a part of it")]
#![expect(clippy::print_stdout, reason = "the table is what a bench is run for")]

use std::fs;
use std::io;
use std::path::PathBuf;

use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};

/// One line of the table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// What was measured, and in which world.
    pub(crate) what: String,
    /// What it should be; empty where nothing is asked for.
    pub(crate) target: String,
    /// What it is, with its unit.
    pub(crate) measured: String,
    /// What it is compared with, and what that is in the same run; empty where there is nothing.
    pub(crate) compared: String,
    /// The measured value divided by the one that it is compared with.
    pub(crate) ratio: Option<f64>,
    /// Whether the target is met; `None` where there is none, or where this run cannot tell.
    pub(crate) holds: Option<bool>,
}

/// A line of the growth plot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    /// What is plotted. Over endpoints, unless it says otherwise.
    pub(crate) name: String,
    /// Unit of the values.
    pub(crate) unit: String,
    /// How large the world is, and the value there.
    pub(crate) points: Vec<(f64, f64)>,
}

/// What one program has measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Lines of the table, in its order.
    pub(crate) rows: Vec<Row>,
    /// Lines of the plot.
    pub(crate) series: Vec<Series>,
}

/// Prints the rows and leaves the outcome for the report.
pub(crate) fn write(name: &str, outcome: &Outcome) -> io::Result<()> {
    println!("{}", table(&outcome.rows));
    let path = path(name);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, serde_json::to_string_pretty(outcome)? + "\n")
}

/// What the program of this name has left; `None` if it was not run.
pub(crate) fn read(name: &str) -> io::Result<Option<Outcome>> {
    match fs::read(path(name)) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The rows, aligned for a terminal.
pub(crate) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(HEADER.to_vec());
    table.add_rows(rows.iter().map(Row::cells));
    table
}

/// Names of the columns.
pub(crate) const HEADER: [&str; 6] = ["what", "target", "measured", "compared with", "ratio", "holds"];

impl Row {
    /// Its cells, in the order of [`HEADER`].
    pub(crate) fn cells(&self) -> [String; 6] {
        let ratio = self.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let holds = self.holds.map_or("", |holds| if holds { "yes" } else { "NO" });
        let [what, target] = [&self.what, &self.target].map(String::as_str);
        [what, target, &self.measured, &self.compared, &ratio, holds].map(str::to_owned)
    }
}

/// Beside what cargo gives to benches for their files.
fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench").join(format!("{name}.json"))
}
