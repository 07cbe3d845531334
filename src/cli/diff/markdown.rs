//! The report as Markdown for a comment on a pull request.
//!
//! Input: a report. Output: a headline, a table with what was widened first, and folded details. GitHub refuses comments
//! of more than 65,536 characters, so what does not fit is counted instead; tables go first, because they say most.

use std::fmt::Write as _;

use crate::cli::output::{count, printable};

use super::report::{Report, Row, Ruling, list};

/// Longest text, in bytes, which are never fewer than characters.
const LIMIT: usize = 65_000;
/// What of it the table may take, and what the table and the rules.
const TABLE: usize = 30_000;
const RULES: usize = 55_000;
/// Kept free for what closes the sections.
const ENDS: usize = 500;

pub(super) fn text(report: &Report) -> String {
    let sign = match (report.is_empty(), report.changes.iter().any(Row::is_widened)) {
        (true, _) => "✅",
        (_, true) => "⚠️",
        (_, false) => "🔒",
    };
    let mut text = format!("### {sign} Network policy: {}\n", report.summary());
    if !report.is_empty() {
        text.push_str("\n| | from | to | traffic | connection |\n|---|---|---|---|---|\n");
        let rows = report.changes.iter().map(|row| {
            let sign = if row.is_widened() { "⚠️ widened" } else { "narrowed" };
            let (from, to, traffic) = (cell(&list(&row.from)), cell(&list(&row.to)), cell(&row.traffic()));
            format!("| {sign} | {from} | {to} | {traffic} | {} |\n", row.connection)
        });
        let left_out = append(&mut text, rows, TABLE);
        if left_out > 0 {
            let _ = write!(text, "\n{} not shown here.\n", count(left_out, "more change is", "more changes are"));
        }
        text.push_str("\n<details><summary>The rules responsible</summary>\n\n");
        let left_out = append(&mut text, report.changes.iter().map(details), RULES);
        if left_out > 0 {
            let _ = writeln!(text, "The rules of {} are not shown.", count(left_out, "more change", "more changes"));
        }
        text.push_str("\n</details>\n");
    }
    let remarks = report.remarks();
    if !remarks.is_empty() {
        text.push_str("\n<details><summary>What changed in the files</summary>\n\n");
        let left_out = append(&mut text, remarks.iter().map(|remark| format!("- {}\n", code(remark))), LIMIT - ENDS);
        if left_out > 0 {
            let _ = writeln!(text, "- and {left_out} more");
        }
        text.push_str("\n</details>\n");
    }
    text
}

/// Appends while there is room; gives how many are left out.
fn append(text: &mut String, parts: impl ExactSizeIterator<Item = String>, limit: usize) -> usize {
    let all = parts.len();
    for (index, part) in parts.enumerate() {
        if text.len() + part.len() > limit {
            return all - index;
        }
        text.push_str(&part);
    }
    0
}

fn details(row: &Row) -> String {
    let (from, to, traffic) = (code(&list(&row.from)), code(&list(&row.to)), code(&row.traffic()));
    format!("- **{}** {from} → {to} {traffic}\n{}{}", row.effect, ruling("was", &row.old), ruling("now", &row.new))
}

fn ruling(when: &str, ruling: &Ruling) -> String {
    let told = ruling.told().into_iter().map(|(what, place)| match place {
        Some(place) => format!("{} at {}", code(&what), code(&place)),
        None => what,
    });
    let word = if ruling.decision == "allow" { "allowed" } else { "denied" };
    format!("  - {when} {word}: {}\n", told.collect::<Vec<_>>().join("; "))
}

/// Text in which nothing is markup, and nobody is mentioned.
fn code(text: &str) -> String {
    format!("`{}`", printable(text).replace('`', "'"))
}

/// The same in a table, where a bar would end the cell in spite of all. Elsewhere the backslash would be seen.
fn cell(text: &str) -> String {
    code(text).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let parts = || ["aaaa", "bbbb", "cccc"].map(str::to_owned).into_iter();
        for (limit, expected, left_out) in [(100, "aaaabbbbcccc", 0), (9, "aaaabbbb", 1), (0, "", 3)] {
            let mut text = String::new();
            assert_eq!(append(&mut text, parts(), limit), left_out);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn no_text_is_markup() {
        assert_eq!(code("a|b `c` @d <e>\n"), "`a|b 'c' @d <e>\\n`");
        assert_eq!(cell("a|b `c`"), "`a\\|b 'c'`");
    }
}
