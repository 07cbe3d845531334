//! Environment files: `.env` beside the Compose file, `--env-file`, `label_file`.
//!
//! Input: a file's text and the variables that are set already. Output: what the file sets, and findings with their line.

use std::collections::{BTreeMap, BTreeSet};

use super::template::substitute;
use crate::policy::field::FieldPath;
use crate::policy::{Diagnostic, Location, SourceFile, codes, document};

/// Reads a file of `NAME=value` lines. A variable that is set in `known` keeps its value where another value uses it.
pub(super) fn read(file: &SourceFile, known: &BTreeMap<String, String>) -> (BTreeMap<String, String>, Vec<Diagnostic>) {
    if file.unreadable.is_some() {
        return (BTreeMap::new(), document::parse(file).1);
    }
    let (set, visible) = (BTreeMap::new(), known.clone());
    let mut reader = Reader { file, known, line: 1, set, visible, diagnostics: Vec::new() };
    reader.all(file.text.trim_start_matches('\u{feff}'));
    (reader.set, reader.diagnostics)
}

struct Reader<'a> {
    file: &'a SourceFile,
    known: &'a BTreeMap<String, String>,
    /// Number of the line in which the rest begins.
    line: u32,
    set: BTreeMap<String, String>,
    /// What a value can use: `known`, and of `set` what is not in it.
    visible: BTreeMap<String, String>,
    diagnostics: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn all(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
            let statement = line.trim_start();
            if statement.trim_end().is_empty() || statement.starts_with('#') {
                rest = after;
                self.line += 1;
                continue;
            }
            let exported = statement.strip_prefix("export").filter(|left| left.starts_with(char::is_whitespace));
            let statement = exported.map_or(statement, str::trim_start);
            rest = self.statement(statement, &rest[line.len() - statement.len()..], after);
        }
    }

    /// Reads the statement with which a line begins. `from` is the text from the statement on, `after` what follows the
    /// line. Returns what is left.
    fn statement<'t>(&mut self, statement: &'t str, from: &'t str, after: &'t str) -> &'t str {
        let Some(end) = statement.find(['=', ':']) else {
            // A name alone takes the value that the variable has elsewhere.
            let name = statement.trim_end();
            self.check_name(name);
            if let Some(value) = self.known.get(name) {
                self.set.insert(name.to_owned(), value.clone());
            }
            self.line += 1;
            return after;
        };
        let name = statement[..end].trim_end();
        let is_valid = self.check_name(name);
        let value = statement[end + 1..].trim_start();
        let (value, left, lines) = if let Some(quote @ ('"' | '\'')) = value.chars().next() {
            let offset = statement.len() - value.len();
            let Some((text, length)) = quoted(&from[offset..], quote) else {
                self.report("a quoted value does not end");
                self.line += 1;
                return after;
            };
            let end = offset + length;
            let lines = from[..end].matches('\n').count();
            (if quote == '"' { self.substituted(&escapes(&text)) } else { text }, &from[end..], lines)
        } else {
            let plain = value.split_once(" #").map_or(value, |(plain, _)| plain).trim_end();
            (self.substituted(plain), after, 1)
        };
        self.line += u32::try_from(lines).unwrap_or(u32::MAX);
        if is_valid {
            if !self.known.contains_key(name) {
                self.visible.insert(name.to_owned(), value.clone());
            }
            self.set.insert(name.to_owned(), value);
        }
        left
    }

    fn check_name(&mut self, name: &str) -> bool {
        let is_valid =
            !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']'));
        if !is_valid {
            self.report(format!("`{name}` is not the name of a variable"));
        }
        is_valid
    }

    fn substituted(&mut self, text: &str) -> String {
        match substitute(text, &self.visible, &mut BTreeSet::new()) {
            Ok(value) => value,
            Err(problem) => {
                self.report(problem.to_string());
                String::new()
            }
        }
    }

    fn report(&mut self, message: impl Into<String>) {
        let location = Location { file: self.file.path.clone(), line: self.line, column: 1 };
        self.diagnostics.push(Diagnostic::new(&codes::ENVIRONMENT, location, &FieldPath::root(), message));
    }
}

/// The text of a quoted value, in which a backslash before the quote is taken off, and its length with both quotes.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        match c {
            _ if c == quote && !escaped => return Some((value, index + 1)),
            '\\' if !escaped => escaped = true,
            _ => {
                if escaped && c != quote {
                    value.push('\\');
                }
                value.push(c);
                escaped = false;
            }
        }
    }
    None
}

/// The escapes of double quotes. `\$` is a dollar sign that begins no variable.
fn escapes(text: &str) -> String {
    let mut value = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        if c != '\\' {
            value.push(c);
            continue;
        }
        match characters.next() {
            Some('n') => value.push('\n'),
            Some('r') => value.push('\r'),
            Some('t') => value.push('\t'),
            Some('"') => value.push('"'),
            Some('$') => value.push_str("$$"),
            Some('\\') | None => value.push('\\'),
            Some(other) => value.extend(['\\', other]),
        }
    }
    value
}
