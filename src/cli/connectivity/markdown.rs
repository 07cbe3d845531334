//! A table of GitHub's Markdown.

use std::io::{self, Write};

use super::view::{ViaText, View, between, word};
use crate::cli::output::printable;

/// Writes it, and the notes as a list.
pub(super) fn write(view: &View<'_>, output: &mut dyn Write) -> io::Result<()> {
    let lines = view.lines();
    if lines.is_empty() {
        writeln!(output, "No connection is allowed.")?;
    } else {
        let mut header = vec!["from", "to", "protocol", "ports", "via", "IP", "rules"];
        if view.by_network {
            header.insert(2, "pairs");
        }
        if view.all {
            header.insert(2, "decision");
        }
        writeln!(output, "| {} |\n|{}", header.join(" | "), "---|".repeat(header.len()))?;
        for line in lines {
            let mut cells = vec![
                escaped(view.party(line.from).name),
                escaped(view.party(line.to).name),
                line.protocols(),
                line.port_text(),
                ViaText(line.via).to_string(),
                line.ip_versions(),
                escaped(&view.reason(&line)),
            ];
            if view.by_network {
                cells.insert(2, between(line.pairs).to_owned());
            }
            if view.all {
                cells.insert(2, word(line.decision).to_owned());
            }
            writeln!(output, "| {} |", cells.join(" | "))?;
        }
    }
    for (index, note) in view.notes().enumerate() {
        let before = if index == 0 { "\n" } else { "" };
        writeln!(output, "{before}- {}", escaped(&note))?;
    }
    Ok(())
}

/// A text in which Markdown and HTML find nothing.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in printable(text).chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '@' => escaped.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' => escaped.extend(['\\', c]),
            _ => escaped.push(c),
        }
    }
    escaped
}
