//! Findings as workflow commands, which GitHub Actions shows beside the changed lines.
//!
//! Input: a report. Output: one line for each finding, `::error file=F,line=L,col=C,title=T::MESSAGE`. A line break ends a
//! command and a comma or colon a property, so they are escaped as the runner's own toolkit does it (`%0A`, `%2C`, `%3A`).

use std::io::{self, Write};

use crate::cli::output::printable;
use crate::policy::Severity;

use super::report::{Report, message, title};

pub(super) fn write(report: &Report<'_>, output: &mut dyn Write) -> io::Result<()> {
    for found in report.told().map(|finding| &finding.diagnostic) {
        let command = match found.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        let file = property(&report.name(found));
        let title = property(&format!("{} {}", found.code, title(found)));
        let (line, column) = (found.location.line, found.location.column);
        writeln!(output, "::{command} file={file},line={line},col={column},title={title}::{}", data(&message(found)))?;
    }
    Ok(())
}

/// A message, in which line breaks stay line breaks and other control characters are shown.
fn data(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(|line| printable(line).replace('%', "%25")).collect();
    lines.join("%0A")
}

/// The value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_command_or_a_property_is_escaped() {
        assert_eq!(data("50% of a: b, c\nhelp: d\r"), "50%25 of a: b, c%0Ahelp: d\\r");
        assert_eq!(property("a, b: 1%\n::c"), "a%2C b%3A 1%25%0A%3A%3Ac");
    }
}
