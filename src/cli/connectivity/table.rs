//! The table for people.

use std::io::{self, Write};

use super::view::{ViaText, View, between, word};
use crate::cli::output;

/// Writes it, and the notes below.
pub(super) fn write(view: &View<'_>, output: &mut dyn Write) -> io::Result<()> {
    let lines = view.lines();
    if lines.is_empty() {
        writeln!(output, "no connection is allowed")?;
    } else {
        let mut header = vec!["FROM", "TO", "PROTOCOL", "PORTS", "VIA", "IP", "RULES"];
        if view.by_network {
            header.insert(2, "PAIRS");
        }
        if view.all {
            header.insert(2, "DECISION");
        }
        let rows: Vec<Vec<String>> = lines
            .iter()
            .map(|line| {
                let mut row = vec![
                    view.party(line.from).name.to_owned(),
                    view.party(line.to).name.to_owned(),
                    line.protocols(),
                    line.port_text(),
                    ViaText(line.via).to_string(),
                    line.ip_versions(),
                    view.reason(line),
                ];
                if view.by_network {
                    row.insert(2, between(line.pairs).to_owned());
                }
                if view.all {
                    row.insert(2, word(line.decision).to_owned());
                }
                row
            })
            .collect();
        output::table(output, &header, &rows)?;
    }
    if !view.out_of_reach.is_empty() {
        writeln!(output)?;
    }
    view.write_notes(output)
}
