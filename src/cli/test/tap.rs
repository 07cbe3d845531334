//! Outcomes in the Test Anything Protocol, version 14.
//!
//! Input: a report. Output: a line for each outcome, and a YAML block below one that is not as expected or has notes. Texts in it
//! are written as JSON, which is YAML without any doubt.

use std::io::{self, Write};

use super::report::{Report, covered};

pub(super) fn write(report: &Report, output: &mut dyn Write) -> io::Result<()> {
    writeln!(output, "TAP version 14\n1..{}", report.entries.len())?;
    for (number, entry) in (1..).zip(&report.entries) {
        let result = if entry.outcome.is_met() { "ok" } else { "not ok" };
        writeln!(output, "{result} {number} - {}", described(&entry.title()))?;
        let (failures, notes) = (entry.failures(), entry.notes());
        if failures.is_empty() && notes.is_empty() {
            continue;
        }
        writeln!(output, "  ---")?;
        if !failures.is_empty() {
            writeln!(output, "  message: {}", quoted(&failures.join("; ")))?;
            writeln!(output, "  at: {}", quoted(&entry.place()))?;
        }
        list("notes", &notes, output)?;
        list("trace", &entry.trace_lines(), output)?;
        writeln!(output, "  ...")?;
    }
    if let Some(coverage) = &report.coverage {
        writeln!(output, "# {}", covered(coverage))?;
    }
    Ok(())
}

fn list(key: &str, lines: &[String], output: &mut dyn Write) -> io::Result<()> {
    if !lines.is_empty() {
        writeln!(output, "  {key}:")?;
    }
    lines.iter().try_for_each(|line| writeln!(output, "    - {}", quoted(line)))
}

/// A description: `#` would begin a directive.
fn described(text: &str) -> String {
    text.replace('\\', "\\\\").replace('#', "\\#")
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
