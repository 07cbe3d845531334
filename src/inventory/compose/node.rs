//! Compose documents as trees in which every value knows its place, also after the trees of several files became one.
//!
//! Input: a file's text. Output: a [`Node`] per document. `!reset` and `!override` are tags, which the YAML parser of
//! policies refuses; they are taken out of the text where that parser stumbles over them, so that one in a comment or
//! within quotes is none.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::policy::codes::{self, Code};
use crate::policy::document::{self, Document};
use crate::policy::field::FieldPath;
use crate::policy::{Diagnostic, Location, SourceFile};

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) location: Location,
    pub(super) field: FieldPath,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Text, number, boolean or null.
    Scalar(Json),
    List(Vec<Node>),
    Map(Map),
}

/// A mapping; Compose gives the order of its keys no meaning.
pub(super) type Map = BTreeMap<String, Entry>;

/// A key's value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Where the key stands.
    pub(super) key: Location,
    pub(super) value: Node,
    /// What becomes of the value that an earlier file gives to the key.
    pub(super) mode: Mode,
}

/// How a value meets the one of an earlier file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// By Compose's rules for the key.
    Merge,
    /// `!override`: it takes its place.
    Override,
    /// `!reset`: neither stays.
    Reset,
}

impl Node {
    /// The value of a key; `None` where there is none, where it is null, and in what is no mapping.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let Content::Map(map) = &self.content else { return None };
        map.get(key).map(|entry| &entry.value).filter(|value| !value.is_null())
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.content, Content::Scalar(Json::Null))
    }

    /// A scalar as Compose turns it into text: null is empty, and 1.0 is 1.
    pub(super) fn text(&self) -> Option<String> {
        match &self.content {
            Content::Scalar(Json::Null) => Some(String::new()),
            Content::Scalar(Json::String(text)) => Some(text.clone()),
            Content::Scalar(Json::Number(number)) => match (number.is_f64(), number.as_f64()) {
                (true, Some(float)) => Some(float.to_string()),
                _ => Some(number.to_string()),
            },
            Content::Scalar(scalar) => Some(scalar.to_string()),
            Content::List(_) | Content::Map(_) => None,
        }
    }

    /// The same place with another value.
    pub(super) fn with(&self, content: Content) -> Node {
        Node { content, location: self.location.clone(), field: self.field.clone() }
    }

    pub(super) fn finding(&self, code: &Code, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, self.location.clone(), &self.field, message)
    }

    /// Reads the value below a path of a document, and marks keys whose value has a tag.
    fn of(document: &Document, path: &FieldPath, value: &Json, tags: &mut Tags<'_>) -> Node {
        let content = match value {
            Json::Array(items) => Content::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| Node::of(document, &path.index(index), item, tags))
                    .collect(),
            ),
            Json::Object(object) => Content::Map(
                object
                    .iter()
                    .map(|(name, value)| {
                        let path = path.literal_key(name);
                        let key = document.locate_key(&path);
                        let mode = tags.take(&key, name);
                        let mut value = Node::of(document, &path, value, tags);
                        if value.is_null() {
                            // Where nothing stands, the key is what one looks for.
                            value.location = key.clone();
                        }
                        (name.clone(), Entry { key, value, mode })
                    })
                    .collect(),
            ),
            scalar => Content::Scalar(scalar.clone()),
        };
        Node { content, location: document.locate(path), field: path.clone() }
    }
}

/// A tag that was taken out of the text.
struct Tag {
    line: u32,
    column: u32,
    mode: Mode,
    used: bool,
}

/// The tags of a file.
struct Tags<'a> {
    text: &'a str,
    tags: Vec<Tag>,
}

impl Tags<'_> {
    /// The mode of a key's value: its tag stands behind the key and nothing but the colon in between.
    fn take(&mut self, key: &Location, name: &str) -> Mode {
        let Some(line) = self.text.lines().nth(key.line as usize - 1) else { return Mode::Merge };
        let between = |tag: &Tag| -> Option<String> {
            let length = tag.column.checked_sub(key.column)?;
            Some(line.chars().skip(key.column as usize - 1).take(length as usize).collect())
        };
        let is_of_key = |tag: &Tag| {
            tag.line == key.line
                && between(tag).is_some_and(|text| {
                    let written = text.trim_end().strip_suffix(':').map(str::trim);
                    written.is_some_and(|written| written.trim_matches(['"', '\'']) == name)
                })
        };
        let Some(tag) = self.tags.iter_mut().find(|tag| is_of_key(tag)) else { return Mode::Merge };
        tag.used = true;
        tag.mode
    }
}

const TAGS: [(&str, Mode); 2] = [("!reset", Mode::Reset), ("!override", Mode::Override)];

/// The documents of a file; Compose takes each as an override of those before it.
pub(super) fn parse(file: &SourceFile) -> (Vec<Node>, Vec<Diagnostic>) {
    let mut source = file.clone();
    let mut tags = Tags { text: &file.text, tags: Vec::new() };
    let (documents, mut diagnostics) = loop {
        let (documents, diagnostics) = document::parse(&source);
        let stumbled = diagnostics.iter().filter(|finding| finding.code == codes::TAG.id);
        let found: Vec<Tag> = stumbled.filter_map(|finding| blank(&mut source.text, &finding.location)).collect();
        if found.is_empty() {
            break (documents, diagnostics);
        }
        tags.tags.extend(found);
    };
    let root = FieldPath::root();
    let nodes = documents.iter().map(|document| Node::of(document, &root, document.value(), &mut tags)).collect();
    for tag in tags.tags.iter().filter(|tag| !tag.used) {
        let location = Location { file: file.path.clone(), line: tag.line, column: tag.column };
        diagnostics.push(Diagnostic::new(
            &codes::TAG,
            location,
            &root,
            "a tag that does not stand directly after a key",
        ));
    }
    for finding in diagnostics.iter_mut().filter(|finding| finding.code == codes::TAG.id) {
        let help = "of Compose's tags, `!reset` and `!override` are read, directly after a key and its colon";
        finding.help = Some(help.to_owned());
    }
    for finding in diagnostics.iter_mut().filter(|finding| finding.code == codes::NOT_A_MAPPING.id) {
        "a Compose file must be a mapping".clone_into(&mut finding.message);
        finding.help = Some("its services stand under `services`".to_owned());
    }
    (nodes, diagnostics)
}

/// Overwrites a tag of Compose with blanks. It is at a place or, where its value begins in a later line, at the end of the
/// last line before that has more than a comment.
fn blank(text: &mut String, location: &Location) -> Option<Tag> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let index = location.line as usize - 1;
    let in_line = lines.get(index)?.char_indices().nth(location.column as usize - 1)?.0;
    let (line, offset, mode, length) =
        tag_at(lines[index], in_line).map(|(tag, mode)| (index, in_line, mode, tag.len())).or_else(|| {
            let before = lines[..index].iter().enumerate().rev().map(|(line, text)| (line, without_comment(text)));
            let (line, text) = before.into_iter().find(|(_, text)| !text.is_empty())?;
            let (tag, mode) = TAGS.into_iter().find(|(tag, _)| text.ends_with(tag))?;
            Some((line, text.len() - tag.len(), mode, tag.len()))
        })?;
    let column = lines[line][..offset].chars().count() + 1;
    let start = lines[..line].iter().map(|line| line.len()).sum::<usize>() + offset;
    text.replace_range(start..start + length, &" ".repeat(length));
    let position = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Some(Tag { line: position(line + 1), column: position(column), mode, used: false })
}

fn tag_at(line: &str, offset: usize) -> Option<(&'static str, Mode)> {
    TAGS.into_iter().find(|(tag, _)| {
        let rest = line[offset..].strip_prefix(tag);
        rest.is_some_and(|rest| rest.chars().next().is_none_or(|next| next.is_whitespace() || ",}]".contains(next)))
    })
}

fn without_comment(line: &str) -> &str {
    let comment = line
        .match_indices('#')
        .map(|(index, _)| index)
        .find(|index| line[..*index].chars().next_back().is_none_or(char::is_whitespace));
    line[..comment.unwrap_or(line.len())].trim_end()
}
