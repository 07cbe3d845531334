//! Findings about files in the style of a compiler: the line, the place in it, the code and what to do.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

use crate::policy::location::file_name;
use crate::policy::{Diagnostic, Severity, SourceFile};

use super::output::{count, printable};

/// Column up to which a line is shown.
const LAST_COLUMN: usize = 1000;
/// Characters that are shown behind it.
const SHOWN_BEHIND: usize = 200;

/// Number of findings by severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) errors: usize,
    pub(super) warnings: usize,
    pub(super) notes: usize,
}

impl Tally {
    pub(super) fn of(diagnostics: &[Diagnostic]) -> Tally {
        let number = |severity| diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
        Tally { errors: number(Severity::Error), warnings: number(Severity::Warning), notes: number(Severity::Note) }
    }

    /// `3 errors, 1 warning`; `no problems` when there is nothing.
    pub(super) fn summary(self) -> String {
        let parts =
            [(self.errors, "error", "errors"), (self.warnings, "warning", "warnings"), (self.notes, "note", "notes")];
        let parts: Vec<_> = parts
            .into_iter()
            .filter(|(number, ..)| *number > 0)
            .map(|(number, singular, plural)| count(number, singular, plural))
            .collect();
        if parts.is_empty() { "no problems".to_owned() } else { parts.join(", ") }
    }
}

/// Renders findings, styled, each followed by an empty line.
pub(super) fn render(diagnostics: &[Diagnostic], sources: &[SourceFile]) -> String {
    let texts: BTreeMap<&Path, Vec<&str>> =
        sources.iter().map(|source| (source.path.as_path(), source.text.lines().collect())).collect();
    let renderer = Renderer::styled();
    let mut text = String::new();
    for diagnostic in diagnostics {
        let source = texts.get(diagnostic.location.file.as_path()).map(Vec::as_slice).unwrap_or_default();
        let _ = writeln!(text, "{}\n", render_one(&renderer, diagnostic, source));
    }
    text
}

fn render_one(renderer: &Renderer, diagnostic: &Diagnostic, lines: &[&str]) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(&diagnostic.message).id(diagnostic.code);
    let location = &diagnostic.location;
    let path = file_name(&location.file);
    let path = printable(&path);
    let line_number = usize::try_from(location.line).unwrap_or(usize::MAX);
    let column = usize::try_from(location.column).unwrap_or(usize::MAX);
    let line = lines.get(line_number.saturating_sub(1)).copied().filter(|line| !line.trim().is_empty());
    let line = line.and_then(|line| shown(line, column));
    let mut group = match line {
        Some(line) => {
            let label = Some(diagnostic.field.as_str()).filter(|field| !field.is_empty());
            let annotation = AnnotationKind::Primary.span(token(line, column)).label(label);
            // The one line is all that is shown, so the rest of the file need not be gone through.
            title.element(Snippet::source(line).line_start(line_number).path(path).annotation(annotation))
        }
        None => title.element(Origin::path(path).line(line_number).char_column(column)),
    };
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help));
    }
    renderer.render(&[group])
}

/// What is shown of a line: all, or up to some characters behind the column. Of a place far to the right nothing is, since
/// nobody could read it and the line would be gone through once for each finding.
fn shown(line: &str, column: usize) -> Option<&str> {
    let end = |length| line.char_indices().nth(length).map_or(line.len(), |(index, _)| index);
    (column <= LAST_COLUMN).then(|| &line[..end(LAST_COLUMN + SHOWN_BEHIND)])
}

/// The bytes of the word that begins at a column (in characters, from 1): a quoted string, or all up to the next white
/// space, bracket or comma, or the colon after a key. At the end of the line it is empty.
fn token(line: &str, column: usize) -> Range<usize> {
    let start = line.char_indices().nth(column.saturating_sub(1)).map_or(line.len(), |(index, _)| index);
    let rest = &line[start..];
    let end = match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => rest[1..].find(quote).map_or(rest.len(), |index| index + 2),
        _ => rest
            .char_indices()
            .skip(1)
            .find(|(index, c)| c.is_whitespace() || ",[]{}".contains(*c) || is_key_end(&rest[*index..]))
            .map_or(rest.len(), |(index, _)| index),
    };
    start..start + end
}

/// A colon ends a key only before white space or the end of the line; `2001:db8::1` and `80:90` go on.
fn is_key_end(rest: &str) -> bool {
    rest.strip_prefix(':').is_some_and(|after| after.is_empty() || after.starts_with(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_at_the_place_is_marked() {
        for (name, line, column, marked) in [
            ("key", "  ingres:", 3, "ingres"),
            ("key and value", "  order: ten", 3, "order"),
            ("value", "  order: ten", 10, "ten"),
            ("quoted", "selector: \"a == 'b c'\" # x", 11, "\"a == 'b c'\""),
            ("flow", "nets: [10.0.0.0/33, x]", 8, "10.0.0.0/33"),
            ("IPv6", "nets: [2001:db8::/129]", 8, "2001:db8::/129"),
            ("after wide characters", "ü: ß", 4, "ß"),
            ("open quote", "a: 'b", 4, "'b"),
            ("end of line", "a:", 3, ""),
            ("past the line", "a:", 9, ""),
        ] {
            assert_eq!(&line[token(line, column)], marked, "{name}");
        }
    }

    #[test]
    fn the_summary_names_what_there_is() {
        for (name, tally, text) in [
            ("nothing", Tally::default(), "no problems"),
            ("one", Tally { errors: 1, ..Tally::default() }, "1 error"),
            ("all", Tally { errors: 3, warnings: 1, notes: 2 }, "3 errors, 1 warning, 2 notes"),
        ] {
            assert_eq!(tally.summary(), text, "{name}");
        }
    }
}
