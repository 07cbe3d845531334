//! Outcomes as JUnit XML, the form that every pipeline reads.
//!
//! Input: a report. Output: a suite for each file and a case for each expectation in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use crate::cli::validate::escaped_for_xml as escaped;

use super::report::{Entry, Report, covered};

pub(super) fn write(report: &Report, output: &mut dyn Write) -> io::Result<()> {
    let mut suites: BTreeMap<String, Vec<&Entry>> = BTreeMap::new();
    for entry in &report.entries {
        suites.entry(entry.outcome.location.file.to_string_lossy().into_owned()).or_default().push(entry);
    }
    let (passed, failed) = report.counts();
    writeln!(output, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    let counts = counts(passed + failed, failed);
    writeln!(output, "<testsuites name=\"dockgate test\" {counts}>")?;
    for (file, entries) in &suites {
        suite(&escaped(file), entries, output)?;
    }
    if let Some(coverage) = &report.coverage {
        writeln!(output, "  <!-- {} -->", covered(coverage))?;
    }
    writeln!(output, "</testsuites>")
}

fn counts(tests: usize, failures: usize) -> String {
    format!("tests=\"{tests}\" failures=\"{failures}\" skipped=\"0\" errors=\"0\" time=\"0\"")
}

fn suite(file: &str, entries: &[&Entry], output: &mut dyn Write) -> io::Result<()> {
    let failed = entries.iter().filter(|entry| !entry.outcome.is_met()).count();
    writeln!(output, "  <testsuite name=\"{file}\" {}>", counts(entries.len(), failed))?;
    let mut known = BTreeSet::new();
    for entry in entries {
        // Pipelines take two cases of one name for one.
        let mut title = entry.title();
        if !known.insert(title.clone()) {
            let location = &entry.outcome.location;
            title = format!("{title} at {}:{}", location.line, location.column);
        }
        let (name, line) = (escaped(&title), entry.outcome.location.line);
        let case = format!("<testcase name=\"{name}\" classname=\"{file}\" file=\"{file}\" line=\"{line}\" time=\"0\"");
        let (failures, notes) = (entry.failures(), entry.notes());
        if failures.is_empty() && notes.is_empty() {
            writeln!(output, "    {case}/>")?;
            continue;
        }
        writeln!(output, "    {case}>")?;
        if let Some(first) = failures.first() {
            let (summary, place) = (escaped(first), escaped(&entry.place()));
            let lines = failures.iter().cloned().chain(entry.trace_lines()).map(|line| escaped(&line));
            let text = lines.collect::<Vec<_>>().join("\n");
            writeln!(output, "      <failure type=\"expectation\" message=\"{summary}\">{place}\n{text}</failure>")?;
        }
        if !notes.is_empty() {
            let text = notes.iter().map(|note| format!("note: {}", escaped(note))).collect::<Vec<_>>().join("\n");
            writeln!(output, "      <system-out>{text}</system-out>")?;
        }
        writeln!(output, "    </testcase>")?;
    }
    writeln!(output, "  </testsuite>")
}
