//! Findings as JUnit XML, the form that every pipeline reads.
//!
//! Input: a report. Output: a suite for each file and a case for each finding in it. What makes the exit code 1 is a failure,
//! what does not is a skipped case with its message, and a file without findings is a case that passes.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::cli::output::printable;
use crate::policy::Diagnostic;
use crate::policy::suppress::name;

use super::report::{Report, message, title};

pub(super) fn write(report: &Report<'_>, output: &mut dyn Write) -> io::Result<()> {
    let policies = report.sources.iter().take(report.files).map(|source| name(&source.path, report.base));
    let mut suites: BTreeMap<String, Vec<&Diagnostic>> = policies.map(|name| (name, Vec::new())).collect();
    for found in report.told().map(|finding| &finding.diagnostic) {
        suites.entry(report.name(found)).or_default().push(found);
    }
    let counts = suites.values().map(|found| Counts::of(report, found));
    let all = counts.fold(Counts::default(), |all, suite| Counts {
        tests: all.tests + suite.tests,
        failures: all.failures + suite.failures,
        skipped: all.skipped + suite.skipped,
    });
    writeln!(output, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(
        output,
        "<testsuites name=\"dockgate validate\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" errors=\"0\" time=\"0\">",
        all.tests, all.failures, all.skipped
    )?;
    for (file, found) in &suites {
        suite(report, file, found, output)?;
    }
    writeln!(output, "</testsuites>")
}

#[derive(Default)]
struct Counts {
    tests: usize,
    failures: usize,
    skipped: usize,
}

impl Counts {
    fn of(report: &Report<'_>, found: &[&Diagnostic]) -> Counts {
        let failures = found.iter().filter(|found| report.is_failure(found.severity)).count();
        Counts { tests: found.len().max(1), failures, skipped: found.len() - failures }
    }
}

fn suite(report: &Report<'_>, file: &str, found: &[&Diagnostic], output: &mut dyn Write) -> io::Result<()> {
    let Counts { tests, failures, skipped } = Counts::of(report, found);
    let name = escaped(file);
    writeln!(
        output,
        "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" skipped=\"{skipped}\" errors=\"0\" \
         time=\"0\">"
    )?;
    if found.is_empty() {
        writeln!(output, "    <testcase name=\"no problems\" classname=\"{name}\" file=\"{name}\" time=\"0\"/>")?;
    }
    for found in found {
        case(report, &name, found, output)?;
    }
    writeln!(output, "  </testsuite>")
}

fn case(report: &Report<'_>, file: &str, found: &Diagnostic, output: &mut dyn Write) -> io::Result<()> {
    let Diagnostic { severity, code, location, field, .. } = found;
    let place = format!("{}:{}", location.line, location.column);
    writeln!(
        output,
        "    <testcase name=\"{code} {} at {place}\" classname=\"{file}\" file=\"{file}\" line=\"{}\" time=\"0\">",
        escaped(title(found)),
        location.line
    )?;
    let summary = escaped(&found.message);
    if report.is_failure(*severity) {
        let place = format!("{file}:{place}: {}", escaped(field));
        let text: Vec<String> = message(found).split('\n').map(escaped).collect();
        let text = text.join("\n");
        writeln!(output, "      <failure type=\"{severity}\" message=\"{summary}\">{text}\n{place}</failure>")?;
    } else {
        writeln!(output, "      <skipped message=\"{severity}: {summary}\"/>")?;
    }
    writeln!(output, "    </testcase>")
}

/// Text as it may stand in an attribute or an element. Control characters are shown: XML has no way to write most of them.
pub(in crate::cli) fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for character in printable(text).chars() {
        match character {
            '&' => result.push_str("&amp;"),
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '"' => result.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => result.push('\u{fffd}'),
            other => result.push(other),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_hold_is_escaped() {
        assert_eq!(escaped("a < b && \"c\" > 'd'"), "a &lt; b &amp;&amp; &quot;c&quot; &gt; 'd'");
        assert_eq!(escaped("\u{1b}[2J\n\u{0}\u{ffff}"), "\\u{1b}[2J\\n\\u{0}\u{fffd}");
    }
}
