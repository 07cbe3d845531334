//! A graph for Graphviz: a node for each party, an edge for each two of them.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::view::View;
use crate::cli::output::printable;
use crate::verdict::Decision;

/// Writes it.
pub(super) fn write(view: &View<'_>, output: &mut dyn Write) -> io::Result<()> {
    writeln!(output, "digraph connectivity {{")?;
    writeln!(output, "  rankdir=LR;")?;
    writeln!(output, "  node [shape=box, fontname=\"sans-serif\"];")?;
    writeln!(output, "  edge [fontname=\"sans-serif\", fontsize=10];")?;
    for (index, party) in view.parties() {
        let shape = match party.kind {
            "host" => ", shape=house",
            "outside" => ", shape=ellipse",
            _ => "",
        };
        writeln!(output, "  p{index} [label={}, tooltip={}{shape}];", quoted(party.name), quoted(&party.detail()))?;
    }
    let mut edges: BTreeMap<_, (Vec<String>, Vec<String>)> = BTreeMap::new();
    for line in view.lines() {
        let (labels, reasons) = edges.entry((line.from, line.to, line.decision)).or_default();
        labels.push(format!("{}{}", line.what(), line.by_way_of()));
        reasons.push(view.reason(&line));
    }
    for ((from, to, decision), (labels, reasons)) in edges {
        let style = match decision {
            Decision::Allow => "",
            Decision::Deny => ", style=dashed, color=\"#b71c1c\", fontcolor=\"#b71c1c\"",
        };
        let (label, tooltip) = (quoted_lines(&labels), quoted_lines(&reasons));
        writeln!(output, "  p{from} -> p{to} [label={label}, labeltooltip={tooltip}, edgetooltip={tooltip}{style}];")?;
    }
    for (index, out) in view.out_of_reach.iter().enumerate() {
        let label = quoted_lines(&[out.endpoint.clone(), "out of reach".to_owned()]);
        let tooltip = quoted(&out.reason);
        writeln!(output, "  n{index} [label={label}, tooltip={tooltip}, style=dashed, color=\"#757575\"];")?;
    }
    writeln!(output, "}}")
}

/// A string. Behind a backslash Graphviz reads escapes of its own.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

fn quoted_lines(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| escaped(line)).collect();
    format!("\"{}\"", lines.join("\\n"))
}

fn escaped(text: &str) -> String {
    // Graphviz reads HTML entities, too.
    printable(text).replace('\\', "\\\\").replace('"', "\\\"").replace('&', "&amp;")
}
