//! YAML text to documents in which every value knows its place.
//!
//! Input: a [`SourceFile`]. Output: its [`Document`]s as JSON values with a line and column for every key and value,
//! and findings about what could not be parsed. The documents of a file are parsed one by one, so that a syntax error
//! in one hides nothing of the others.

pub(super) mod split;
mod syntax;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_yaml::{DuplicateKeyPolicy, options::NonFiniteFloatPolicy};

use super::codes;
use super::field::{FieldPath, Step};
use super::{Diagnostic, Location, SourceFile, Unreadable};

use tree::{Children, Place, Places, Tree};

/// Nesting beyond which a document is refused; the deepest field of any kind is below 16, and parsing one level takes some 32 KiB of stack.
const MAX_DEPTH: usize = 32;
/// Values, counted after aliases are expanded, beyond which a document is refused.
const MAX_NODES: usize = 500_000;

/// Column beyond which the text of a line is not looked at for details: a file of one line would be gone through again for
/// each of its findings.
const LAST_COLUMN: u32 = 1000;

/// One document of a file, or one item of a `List`.
#[derive(Clone, Debug)]
pub struct Document {
    file: PathBuf,
    /// Path of this document within the one that stands in the file; not empty for items of a `List`.
    prefix: FieldPath,
    value: Value,
    places: Places,
    /// Whether every key of the document in the file stands there once. Otherwise it is not known what it says.
    unambiguous: bool,
    /// Lines of the whole file.
    source: Arc<[String]>,
}

/// Parses a file. Empty documents are left out; those that are not mappings are findings.
pub fn parse(file: &SourceFile) -> (Vec<Document>, Vec<Diagnostic>) {
    let mut documents = Vec::new();
    let mut diagnostics = Vec::new();
    if let Some(unreadable) = &file.unreadable {
        diagnostics.push(describe_unreadable(&file.path, unreadable));
        return (documents, diagnostics);
    }
    let source: Arc<[String]> = file.text.lines().map(str::to_owned).collect();
    for part in split::documents(&file.text) {
        match serde_yaml::from_str_with_options::<serde_yaml::Spanned<Tree>>(part.text, options()) {
            Ok(tree) => {
                let (value, places) = Tree::of(tree, part.lines_before);
                if value.is_null() {
                    continue;
                }
                let (file, source) = (file.path.clone(), source.clone());
                let prefix = FieldPath::root();
                let mut document = Document { file, prefix, value, places, unambiguous: true, source };
                let duplicates = document.duplicate_keys();
                document.unambiguous = duplicates.is_empty();
                diagnostics.extend(duplicates);
                if document.value.is_object() {
                    documents.push(document);
                } else {
                    let message = "a document must be a mapping";
                    let finding = document.finding(&codes::NOT_A_MAPPING, &FieldPath::root(), message);
                    diagnostics.push(if document.value.is_array() {
                        finding.with_help("put several resources under `items:` of a `v1` List, or `---` between them")
                    } else {
                        finding
                    });
                }
            }
            Err(error) => diagnostics.push(syntax::describe(&file.path, &error, &part)),
        }
    }
    (documents, diagnostics)
}

impl Document {
    /// The file it stands in.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The document as JSON; of a key that stands twice, the first value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Whether no key stands twice. What is ambiguous may be checked, but must not be used.
    pub fn is_unambiguous(&self) -> bool {
        self.unambiguous
    }

    /// The same document with another value, for which the places of this one are taken as far as they go.
    pub(super) fn with_value(&self, value: Value) -> Document {
        Document { value, ..self.clone() }
    }

    /// The path by which a finding about a value names it.
    pub(super) fn field(&self, path: &FieldPath) -> String {
        self.prefix.join(path).to_string()
    }

    /// The value at a path; `None` when there is none.
    pub fn get(&self, path: &FieldPath) -> Option<&Value> {
        path.steps().iter().try_fold(&self.value, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(index),
        })
    }

    /// The text at a dotted path of keys; `None` when there is none or it is not text.
    pub fn text(&self, dotted: &str) -> Option<&str> {
        self.get(&FieldPath::root().key(dotted))?.as_str()
    }

    /// Where the value at a path stands; where there is none, the closest place above it.
    pub fn locate(&self, path: &FieldPath) -> Location {
        let (places, _) = self.descend(path);
        self.location(places.place)
    }

    /// Where the key at the end of a path stands; like [`Document::locate`] for items and absent keys.
    pub fn locate_key(&self, path: &FieldPath) -> Location {
        let (places, key) = self.descend(path);
        self.location(key.unwrap_or(places.place))
    }

    /// Where a byte of the text at a path stands. Where the file does not show the text as it is (escapes, folded lines,
    /// an alias), the place of the value.
    pub fn locate_within(&self, path: &FieldPath, text: &str, offset: usize) -> Location {
        let location = self.locate(path);
        if location.column > LAST_COLUMN {
            return location;
        }
        let line = self.source.get(location.line as usize - 1).map_or("", String::as_str);
        let value: String = line.chars().skip(location.column as usize - 1).collect();
        let quote = usize::from(value.starts_with(['"', '\'']));
        let Some(before) = text.get(..offset).filter(|_| value[quote..].starts_with(text)) else { return location };
        let column = location.column as usize + quote + before.chars().count();
        Location { column: u32::try_from(column).unwrap_or(location.column), ..location }
    }

    /// The scalar at a path as the file has it, where it stands there without quotes: `1e3` and `1.10`, not 1000 and 1.1.
    pub(super) fn written(&self, path: &FieldPath) -> Option<String> {
        let location = self.locate(path);
        let line = self.source.get(location.line as usize - 1).filter(|_| location.column <= LAST_COLUMN)?;
        let text = line.chars().skip(location.column as usize - 1);
        let text: String = text.take_while(|c| !c.is_whitespace() && !",[]{}".contains(*c)).collect();
        (!text.is_empty() && !text.starts_with(['"', '\'', '*', '&', '!', '|', '>'])).then_some(text)
    }

    /// Where a line of the text at a path stands, from its first character that is not blank; `None` where the file does not
    /// show the text line by line, as a literal block (`|`) does.
    pub fn locate_line(&self, path: &FieldPath, index: usize, text: &str) -> Option<Location> {
        let location = self.locate(path);
        let start = location.line as usize - 1;
        let shows = |line: &String| line.trim() == text.trim();
        let at = [start + index, start + index + 1].into_iter().find(|at| self.source.get(*at).is_some_and(shows))?;
        let column = self.source[at].chars().take_while(|c| c.is_whitespace()).count() + 1;
        Some(Location {
            line: u32::try_from(at + 1).unwrap_or(location.line),
            column: u32::try_from(column).unwrap_or(location.column),
            ..location
        })
    }

    /// A finding about the value at a path.
    pub fn finding(&self, code: &codes::Code, path: &FieldPath, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, self.locate(path), &self.prefix.join(path), message)
    }

    /// A finding about the key at the end of a path.
    pub fn key_finding(&self, code: &codes::Code, path: &FieldPath, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, self.locate_key(path), &self.prefix.join(path), message)
    }

    /// Reads the document as a wire type. Fails only where the type is stricter than its schema.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, Box<Diagnostic>> {
        T::deserialize(&self.value).map_err(|error| {
            let message = format!("cannot be read as its kind: {error}");
            Box::new(self.finding(&codes::SHAPE, &FieldPath::root(), message))
        })
    }

    /// The path that a JSON pointer into this document means.
    pub fn path_of(&self, pointer: &str) -> FieldPath {
        let mut value = Some(&self.value);
        pointer
            .split('/')
            .skip(1)
            .map(|segment| {
                let segment = segment.replace("~1", "/").replace("~0", "~");
                let step = match (value, segment.parse()) {
                    (Some(Value::Array(_)), Ok(index)) => Step::Index(index),
                    _ => Step::Key(segment),
                };
                value = value.and_then(|value| match &step {
                    Step::Key(key) => value.get(key),
                    Step::Index(index) => value.get(index),
                });
                step
            })
            .collect()
    }

    /// The items of a `List`, each a document of its own that still knows its place; `None` when there is no list under
    /// `items`.
    pub fn into_items(self) -> Option<Vec<Document>> {
        let items = FieldPath::root().key("items");
        let Value::Object(mut object) = self.value else { return None };
        let Some(Value::Array(values)) = object.remove("items") else { return None };
        let Children::Entries(entries) = self.places.children else { return None };
        let places = entries.into_value("items").map(|value| value.children);
        let Some(Children::Items(places)) = places else { return None };
        let documents = values.into_iter().zip(places).enumerate().map(|(index, (value, places))| Document {
            file: self.file.clone(),
            prefix: self.prefix.join(&items.index(index)),
            value,
            places,
            unambiguous: self.unambiguous,
            source: self.source.clone(),
        });
        Some(documents.collect())
    }

    /// The places at a path or the closest above it, and the place of the last key if the whole path exists.
    fn descend(&self, path: &FieldPath) -> (&Places, Option<Place>) {
        let mut places = &self.places;
        let mut key_place = None;
        for step in path.steps() {
            let found = match (step, &places.children) {
                (Step::Key(key), Children::Entries(entries)) => {
                    entries.get(key).map(|entry| (&entry.value, Some(entry.place)))
                }
                (Step::Index(index), Children::Items(items)) => items.get(*index).map(|item| (item, None)),
                _ => None,
            };
            let Some((below, key)) = found else { return (places, None) };
            (places, key_place) = (below, key);
        }
        (places, key_place)
    }

    fn location(&self, place: Place) -> Location {
        Location { file: self.file.clone(), line: place.line, column: place.column }
    }

    fn duplicate_keys(&self) -> Vec<Diagnostic> {
        let mut diagnostics = Vec::new();
        self.places.walk(&FieldPath::root(), &mut |path, places| {
            let Children::Entries(entries) = &places.children else { return };
            for (first, place) in entries.duplicates() {
                let message =
                    format!("the key `{}` stands twice; the first is in line {}", first.key, first.place.line);
                let field = self.prefix.join(&path.literal_key(&first.key));
                diagnostics.push(Diagnostic::new(&codes::DUPLICATE_KEY, self.location(place), &field, message));
            }
        });
        diagnostics
    }
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        // Found and reported by this module, all of them and with both places.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
        budget: serde_yaml::budget! { max_depth: MAX_DEPTH, max_nodes: MAX_NODES },
    }
}

fn describe_unreadable(file: &Path, unreadable: &Unreadable) -> Diagnostic {
    let (code, line, column, help) = match unreadable {
        Unreadable::Refused(_) => (&codes::UNREADABLE, 1, 1, None),
        Unreadable::TooLarge { .. } => (&codes::TOO_LARGE, 1, 1, Some("split it")),
        Unreadable::NotUtf8 { line, column } => (&codes::NOT_UTF8, *line, *column, Some("save it as UTF-8")),
    };
    let location = Location { file: file.to_owned(), line, column };
    let help = help.map(str::to_owned);
    Diagnostic { help, ..Diagnostic::new(code, location, &FieldPath::root(), unreadable.to_string()) }
}

#[cfg(test)]
mod tests;
