//! The report for people at a terminal.

use std::io::{self, Write};

use crate::cli::output::{BAD, GOOD, printable};

use super::report::{Report, Ruling, list};

pub(super) fn write(report: &Report, output: &mut dyn Write) -> io::Result<()> {
    for row in &report.changes {
        // More is what has to be looked at.
        let (style, sign) = if row.is_widened() { (BAD, '+') } else { (GOOD, '-') };
        let (from, to, traffic) = (list(&row.from), list(&row.to), row.traffic());
        writeln!(
            output,
            "{style}{sign} {}{style:#}  {} -> {}  {}  (connection {})",
            row.effect,
            printable(&from),
            printable(&to),
            printable(&traffic),
            row.connection
        )?;
        ruling(output, "was", &row.old)?;
        ruling(output, "now", &row.new)?;
        writeln!(output)?;
    }
    let remarks = report.remarks();
    for remark in &remarks {
        writeln!(output, "  {}", printable(remark))?;
    }
    if !remarks.is_empty() {
        writeln!(output)?;
    }
    writeln!(output, "{}", report.summary())
}

fn ruling(output: &mut dyn Write, when: &str, ruling: &Ruling) -> io::Result<()> {
    let word = if ruling.decision == "allow" { "allowed" } else { "denied " };
    for (index, (what, place)) in ruling.told().iter().enumerate() {
        let start = if index == 0 { format!("    {when} {word}  ") } else { " ".repeat(17) };
        let place = place.as_ref().map(|place| format!("  {place}")).unwrap_or_default();
        writeln!(output, "{start}{}{}", printable(what), printable(&place))?;
    }
    Ok(())
}
