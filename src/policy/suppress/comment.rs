//! The comments of a file that ignore findings, and where.
//!
//! Input: a [`SourceFile`]. Output: every `# dockgate:ignore` in it with the part of the file that it covers. What is a comment is for
//! the YAML parser to say: in a block of text the same characters are text.

use granit_parser::{Event, Parser};

use crate::policy::document::split::{self, Part, is_marker};
use crate::policy::{Location, SourceFile};

/// What such a comment begins with, after `#`.
const KEYWORD: &str = "dockgate:ignore";

/// A comment that ignores findings.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Comment {
    /// Where its `#` stands.
    pub(super) location: Location,
    /// Whose findings it is about.
    pub(super) scope: Scope,
    /// The codes as they are written.
    pub(super) codes: Vec<String>,
    /// What follows them; may be empty.
    pub(super) reason: String,
}

/// The part of a file whose findings a comment is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// One line.
    Line(u32),
    /// A document, from its first to its last line.
    Document(u32, u32),
}

impl Scope {
    /// Whether a line of the file is in it.
    pub(super) fn contains(self, line: u32) -> bool {
        match self {
            Scope::Line(own) => line == own,
            Scope::Document(first, last) => (first..=last).contains(&line),
        }
    }
}

/// The comments of a file that ignore findings.
pub(super) fn comments(file: &SourceFile) -> Vec<Comment> {
    // Few files have any, and this is much faster than a parser.
    if file.unreadable.is_some() || !file.text.contains(KEYWORD) {
        return Vec::new();
    }
    let parts = split::documents(&file.text);
    let mut comments = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let lines = Lines::of(part, parts.get(index + 1));
        // Of a document that cannot be parsed, there are the comments before the fault: what comes after it is unknown.
        for (event, span) in Parser::new_from_str(part.text).map_while(Result::ok) {
            let (Event::Comment(text, _), Some(offset)) = (event, span.start.byte_offset()) else { continue };
            let Some((codes, reason)) = parse(&text) else { continue };
            let (line, before) = lines.at(offset);
            let column = number(before.chars().count()) + 1;
            let location = Location { file: file.path.clone(), line: part.lines_before + number(line) + 1, column };
            comments.push(Comment { location, scope: lines.scope(line, before), codes, reason });
        }
    }
    comments
}

/// Codes and reason of a comment (the text after its `#`); `None` for any other comment.
fn parse(text: &str) -> Option<(Vec<String>, String)> {
    let rest = text.trim().strip_prefix(KEYWORD)?;
    if !rest.is_empty() && !rest.starts_with(char::is_whitespace) {
        return None;
    }
    let mut rest = rest.trim_start();
    let mut codes = Vec::new();
    loop {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        codes.extend(word.split(',').filter(|code| !code.is_empty()).map(str::to_uppercase));
        rest = after.trim_start();
        // `DG1, DG2 reason` and `DG1 ,DG2 reason` are lists too.
        if !(word.ends_with(',') || rest.starts_with(',')) || rest.is_empty() {
            return Some((codes, rest.to_owned()));
        }
    }
}

/// The lines of a document, gone through once: a file may be all comments.
struct Lines<'a> {
    part: &'a Part<'a>,
    /// The document itself, and the next one in the file.
    scopes: (Scope, Option<Scope>),
    /// Offset of each line.
    starts: Vec<usize>,
    /// For each line, the first one after it that is not a comment, from 0.
    below: Vec<usize>,
    /// The first and the last line that hold something, from 0.
    content: Option<(usize, usize)>,
}

impl<'a> Lines<'a> {
    fn of(part: &'a Part<'a>, next: Option<&'a Part<'a>>) -> Lines<'a> {
        let lines: Vec<&str> = part.text.split_inclusive('\n').collect();
        let starts = lines.iter().scan(0, |offset, line| {
            let start = *offset;
            *offset += line.len();
            Some(start)
        });
        let starts = starts.collect();
        let mut below = vec![lines.len(); lines.len()];
        for index in (1..lines.len()).rev() {
            let is_comment = lines[index].trim_start().starts_with('#');
            below[index - 1] = if is_comment { below[index] } else { index };
        }
        let first = lines.iter().position(|line| !is_idle(line));
        let last = lines.iter().rposition(|line| !is_idle(line));
        Lines { part, scopes: (document(part), next.map(document)), starts, below, content: first.zip(last) }
    }

    /// The line of an offset, from 0, and what stands before the offset there.
    fn at(&self, offset: usize) -> (usize, &'a str) {
        let line = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        (line, &self.part.text[self.starts[line]..offset])
    }

    /// What a comment in a line is about, before which this stands there.
    fn scope(&self, line: usize, before: &str) -> Scope {
        let in_file = |line: usize| self.part.lines_before + number(line) + 1;
        let before = before.trim_start_matches('\u{feff}');
        // Behind `---` alone it stands above the document.
        let is_alone = before.trim().is_empty() || before.trim() == "---" && is_marker(before, "---");
        if !is_alone {
            return Scope::Line(in_file(line));
        }
        let is_behind = self.content.is_none_or(|(_, last)| line > last);
        match (self.scopes, self.content) {
            ((_, Some(next)), _) if is_behind => next,
            ((own, _), Some((first, _))) if line < first => own,
            _ => Scope::Line(in_file(self.below[line])),
        }
    }
}

/// Whether a line holds nothing of a document: it is empty, a comment, a directive or a marker.
fn is_idle(line: &str) -> bool {
    let line = line.trim_start_matches('\u{feff}');
    let rest =
        ["---", "..."].iter().find(|marker| is_marker(line, marker)).map_or(line, |marker| &line[marker.len()..]);
    let rest = rest.trim_start();
    rest.is_empty() || rest.starts_with('#') || line.starts_with('%')
}

fn document(part: &Part<'_>) -> Scope {
    Scope::Document(part.lines_before + 1, part.lines_before + number(part.text.lines().count()))
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
