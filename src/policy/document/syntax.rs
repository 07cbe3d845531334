//! What the parser complains of, in words for whoever wrote the file.
//!
//! Input: an error of the parser and the text of its document. Output: a finding at its place. The parser speaks of its own
//! types and counters, and of what it met after the mistake; what helps is mostly in the line.

use std::path::Path;

use serde_yaml::budget::BudgetBreach;
use serde_yaml::{Error, MessageFormatter, UserMessageFormatter};

use super::split::Part;
use super::tree::Place;
use super::{MAX_DEPTH, MAX_NODES};
use crate::policy::codes::{self, Code};
use crate::policy::field::FieldPath;
use crate::policy::{Diagnostic, Location};

/// What to do with a template.
const RENDER_FIRST: &str = "this is a template: render it first, e.g. with `helm template`";
/// What to do about too many aliases.
const WRITE_OUT: &str = "write values out instead of repeating them by aliases, or split the document";

/// What to do about errors of the scanner, by a part of what it says.
const HELP: [(&str, &str); 9] = [
    ("mapping values are not allowed", "check the indentation, and put quotes around text that holds `: `"),
    ("tabs disallowed", "indent with spaces"),
    ("trailing content after", "put the whole value into one kind of quotes, and use the other kind inside"),
    ("unexpected character: `\\", "remove this control character"),
    ("unexpected character", "put quotes around text that begins with this character"),
    ("did not find expected key", "the keys of a mapping begin in the same column: check the indentation"),
    ("simple key expected", "a key ends with `:`, and text that goes on is indented deeper than its key"),
    ("indentation in multiline quoted scalar", "a text in quotes goes on here: is the quote at its end missing?"),
    ("BOM must not appear", "remove the byte order mark (U+FEFF) before this line: files that were joined keep theirs"),
];

/// The finding about a part of a file that cannot be parsed.
pub(super) fn describe(file: &Path, error: &Error, part: &Part<'_>) -> Diagnostic {
    let place = error.location().map_or(Place { line: 1, column: 1 }, Place::from);
    // The parser reports an unexpected end one line after the last.
    let last_line = u32::try_from(part.text.lines().count().max(1)).unwrap_or(u32::MAX);
    let line = place.line.min(last_line);
    let error = match error {
        Error::AliasError { error, .. } => error,
        other => other,
    };
    let Words { code, message, help } = words(error);
    // The most specific comes first: what the line itself tells, then what is known of the error, and last that there is a
    // template somewhere, which may have nothing to do with it.
    let help = of_template_line(part.text, line)
        .or_else(|| about_line(part.text, line))
        .or(help)
        .or_else(|| is_template(part.text).then_some(RENDER_FIRST));
    let column = if code == &codes::TAG { tag_column(part.text, place) } else { place.column };
    let location = Location { file: file.to_owned(), line: line + part.lines_before, column };
    let diagnostic = Diagnostic::new(code, location, &FieldPath::root(), message);
    match help {
        Some(help) => diagnostic.with_help(help),
        None => diagnostic,
    }
}

struct Words {
    code: &'static Code,
    message: String,
    help: Option<&'static str>,
}

fn words(error: &Error) -> Words {
    let limit = |message: String, help| Words { code: &codes::LIMIT, message, help };
    let syntax = |message: &str, help| Words { code: &codes::SYNTAX, message: message.to_owned(), help: Some(help) };
    match error {
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => {
            limit(format!("the document is nested more than {MAX_DEPTH} levels deep"), None)
        }
        Error::Budget { breach: BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. }, .. } => {
            limit(format!("the document has more than {MAX_NODES} values, with aliases expanded"), Some(WRITE_OUT))
        }
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::Budget {
            breach:
                BudgetBreach::Aliases { .. }
                | BudgetBreach::Anchors { .. }
                | BudgetBreach::AliasAnchorRatio { .. }
                | BudgetBreach::MergeKeys { .. },
            ..
        } => limit("the document expands too many aliases".to_owned(), Some(WRITE_OUT)),
        Error::Budget { .. } => limit("the document is too large".to_owned(), Some("split it")),
        Error::NullIntoString { .. } => {
            syntax("a key is empty", "give it a name, or put quotes around it if it is to be `null` or `~`")
        }
        Error::Unexpected { expected: "string scalar", .. } => {
            syntax("a key must be text", "put quotes around text that begins with `{` or `[`")
        }
        Error::MergeValueNotMapOrSeqOfMaps { .. } => syntax(
            "`<<` takes in something that is no mapping",
            "give it an alias of a mapping, such as `<<: *defaults`",
        ),
        Error::UnknownAnchor { .. } => syntax(
            "an alias without its anchor",
            "an anchor counts in its own document and below it; put quotes around text that begins with `*`",
        ),
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            syntax("an alias within the value that it stands for", "write the value out")
        }
        Error::InvalidScalar { .. } => syntax("the value does not fit its tag", "leave out the tag, the word with `!`"),
        Error::UnsupportedTag { .. } => Words {
            code: &codes::TAG,
            message: told_by_parser(error),
            help: Some("put quotes around a value that begins with `!`"),
        },
        _ => {
            let message = told_by_parser(error);
            let help = HELP.iter().find(|(part, _)| message.contains(part)).map(|(_, help)| *help);
            Words { code: &codes::SYNTAX, message, help }
        }
    }
}

fn told_by_parser(error: &Error) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    UserMessageFormatter.format_message(error).chars().map(escaped).collect()
}

/// Whether a line holds a template's actions: a chart's template that was not rendered is no YAML, and the parser complains
/// of what looks like YAML in it.
fn holds_actions(line: &str) -> bool {
    line.contains("{{") && !line.trim_start().starts_with('#')
}

fn is_template(text: &str) -> bool {
    text.lines().any(holds_actions)
}

/// What to do where the line, or the one before it that says anything, is a template's: often the parser notices only then.
fn of_template_line(text: &str, line: u32) -> Option<&'static str> {
    let lines: Vec<&str> = text.lines().take(line as usize).collect();
    let mut told = lines.iter().rev().filter(|line| !line.trim().is_empty()).take(2);
    told.any(|line| holds_actions(line)).then_some(RENDER_FIRST)
}

/// What to do about a syntax error, as far as the line tells that it is in.
fn about_line(text: &str, line: u32) -> Option<&'static str> {
    let line = text.lines().nth(line as usize - 1)?;
    (line.trim() == "---").then_some("`---` begins a document only at the start of its line")
}

/// Where the tag begins that the parser reports behind its end.
fn tag_column(text: &str, place: Place) -> u32 {
    let line = text.lines().nth(place.line as usize - 1).unwrap_or_default();
    let before = line.chars().take(place.column as usize).collect::<String>();
    let column = before.rfind('!').map(|offset| before[..offset].chars().count() + 1);
    column.and_then(|column| u32::try_from(column).ok()).unwrap_or(place.column)
}
