//! One table and one picture of everything that the other benches have measured.
//!
//! Input: what they have left in the target directory. Output: the table on standard output and between its markers in
//! `docs/performance.md`, with `docs/performance.svg` below it. A bench that has left nothing is named.

#![expect(clippy::print_stdout, reason = "the table is what the report is run for")]
#![expect(clippy::cast_precision_loss, reason = "a picture has few panels and small numbers")]

#[path = "../form/mod.rs"]
mod form;
mod plot;

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use form::{HEADER, Row};

/// The programs that measure, in the order of the table.
const BENCHES: [&str; 3] = ["engine", "control", "packets"];
const PICTURE: &str = "performance.svg";
const BEGIN: &str = "<!-- table of `make bench`: begin -->\n";
const END: &str = "<!-- table of `make bench`: end -->\n";

fn main() -> io::Result<()> {
    let (mut rows, mut series, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for name in BENCHES {
        match form::read(name)? {
            Some(outcome) => {
                rows.extend(outcome.rows);
                series.extend(outcome.series);
            }
            None => missing.push(name),
        }
    }
    println!("{}", form::table(&rows));
    for name in &missing {
        println!("`{name}` has left nothing: it was not run, or it failed.");
    }
    let document = documents().join("performance.md");
    let text = fs::read_to_string(&document)?;
    let mut table = format!("{}\n{}", machine(&missing), markdown(&rows));
    if let Some(picture) = plot::draw(&series) {
        fs::write(documents().join(PICTURE), picture)?;
        table += "\n![Growth with the size of the world](";
        table += PICTURE;
        table += ")\n";
    }
    let written = between_markers(&text, &table)
        .ok_or_else(|| io::Error::other(format!("{} has lost the markers of the table", document.display())))?;
    fs::write(document, written)
}

fn documents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn between_markers(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{table}{END}{after}"))
}

fn markdown(rows: &[Row]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut table = line(&HEADER.map(str::to_owned)) + &line(&HEADER.map(|_| "---".to_owned()));
    for row in rows {
        table += &line(&row.cells().map(|cell| cell.replace('|', "\\|")));
    }
    table
}

/// Where the table comes from, in a sentence.
fn machine(missing: &[&str]) -> String {
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("a processor without a name", |(_, model)| model);
    let processors = available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut text = format!("Measured on {processors} processors ({model}), Linux {}.\n", kernel.trim());
    for name in missing {
        writeln!(text, "The rows of `{name}` are missing: it was not run, or it failed.")
            .expect("a String takes everything");
    }
    text
}
