//! Outcomes in the Test Anything Protocol, version 14.
//!
//! Input: a report. Output: a line for each outcome, and below one that is not as expected a YAML block that says why. Texts
//! in it are written as JSON, which is YAML without any doubt.

use std::io::{self, Write};

use super::report::{Report, covered};

pub(super) fn write(report: &Report, output: &mut dyn Write) -> io::Result<()> {
    writeln!(output, "TAP version 14\n1..{}", report.entries.len())?;
    for (number, entry) in (1..).zip(&report.entries) {
        let result = if entry.outcome.is_met() { "ok" } else { "not ok" };
        writeln!(output, "{result} {number} - {}", described(&entry.title()))?;
        let failures = entry.failures();
        if failures.is_empty() {
            continue;
        }
        writeln!(output, "  ---\n  message: {}", quoted(&failures.join("; ")))?;
        writeln!(output, "  at: {}", quoted(&entry.place()))?;
        for (index, line) in entry.trace_lines().iter().enumerate() {
            if index == 0 {
                writeln!(output, "  trace:")?;
            }
            writeln!(output, "    - {}", quoted(line))?;
        }
        writeln!(output, "  ...")?;
    }
    if let Some(coverage) = &report.coverage {
        writeln!(output, "# {}", covered(coverage))?;
    }
    Ok(())
}

/// A description: `#` would begin a directive.
fn described(text: &str) -> String {
    text.replace('\\', "\\\\").replace('#', "\\#")
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
