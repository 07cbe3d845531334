//! One table of everything that the other benches have measured.
//!
//! Input: what they have left in the target directory. Output: the table on standard output.

#[path = "form/mod.rs"]
mod form;

use std::io;

/// The programs that measure, in the order of the table.
const BENCHES: [&str; 3] = ["engine", "control", "packets"];

#[expect(clippy::print_stdout, reason = "the table is what the report is run for")]
fn main() -> io::Result<()> {
    let mut rows = Vec::new();
    for name in BENCHES {
        rows.extend(form::read(name)?.into_iter().flat_map(|outcome| outcome.rows));
    }
    println!("{}", form::table(&rows));
    Ok(())
}
