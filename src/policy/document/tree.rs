//! A YAML value together with the place of every key and value in it.
//!
//! Input: what the parser delivers. Output: a JSON value and, beside it and of the same form, its [`Places`]. Two trees and
//! not one, because schema and wire types want plain JSON.

use std::collections::{BTreeMap, btree_map};
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_yaml::Spanned;

use crate::policy::field::FieldPath;

/// Line and column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl From<serde_yaml::Location> for Place {
    fn from(location: serde_yaml::Location) -> Place {
        let position = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).max(1);
        Place { line: position(location.line()), column: position(location.column()) }
    }
}

/// The places of a value and of all that is in it.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) place: Place,
    pub(super) children: Children,
}

/// The places within a value.
#[derive(Clone, Debug)]
pub(super) enum Children {
    /// A scalar has none.
    None,
    /// Items of a sequence.
    Items(Vec<Places>),
    /// Entries of a mapping.
    Entries(Mapping),
}

/// The entries of a mapping in the order of the file, and which keys stand in it again.
#[derive(Clone, Debug, Default)]
pub(super) struct Mapping {
    entries: Vec<Entry>,
    /// Index of the first entry of each key.
    first: BTreeMap<String, usize>,
    /// Index of the first entry and place of the later key.
    again: Vec<(usize, Place)>,
}

impl Mapping {
    fn push(&mut self, key: String, place: Place, value: Places) {
        match self.first.entry(key.clone()) {
            btree_map::Entry::Occupied(first) => self.again.push((*first.get(), place)),
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(self.entries.len());
                self.entries.push(Entry { key, place, value });
            }
        }
    }

    /// The entry of a key, the first if it stands there twice.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.first.get(key).and_then(|index| self.entries.get(*index))
    }

    /// The places of a key's value.
    pub(super) fn into_value(mut self, key: &str) -> Option<Places> {
        let index = *self.first.get(key)?;
        Some(self.entries.swap_remove(index).value)
    }

    /// Keys that stand there again: the first entry of each, and the place of the later key.
    pub(super) fn duplicates(&self) -> impl Iterator<Item = (&Entry, Place)> {
        self.again.iter().filter_map(|(first, place)| Some((self.entries.get(*first)?, *place)))
    }
}

/// A key of a mapping and the places of its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Places,
}

impl Places {
    /// Calls `visit` for these places and all below.
    pub(super) fn walk(&self, path: &FieldPath, visit: &mut impl FnMut(&FieldPath, &Places)) {
        visit(path, self);
        match &self.children {
            Children::None => {}
            Children::Items(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.walk(&path.index(index), visit);
                }
            }
            Children::Entries(entries) => {
                for entry in &entries.entries {
                    entry.value.walk(&path.literal_key(&entry.key), visit);
                }
            }
        }
    }
}

/// A YAML value as the parser delivers it.
pub(super) enum Tree {
    Scalar(Value),
    Sequence(Vec<Spanned<Tree>>),
    Mapping(Vec<(Spanned<String>, Spanned<Tree>)>),
}

impl Tree {
    /// Parts the value from its places. `lines_before` is the number of lines before the text that was parsed.
    pub(super) fn of(tree: Spanned<Tree>, lines_before: u32) -> (Value, Places) {
        let shift = |location| {
            let Place { line, column } = Place::from(location);
            Place { line: line.saturating_add(lines_before), column }
        };
        let place = shift(tree.referenced);
        match tree.value {
            Tree::Scalar(value) => (value, Places { place, children: Children::None }),
            Tree::Sequence(items) => {
                let (values, items) = items.into_iter().map(|item| Tree::of(item, lines_before)).unzip();
                (Value::Array(values), Places { place, children: Children::Items(items) })
            }
            Tree::Mapping(pairs) => {
                let mut object = Map::new();
                let mut entries = Mapping::default();
                for (key, value) in pairs {
                    let (value, places) = Tree::of(value, lines_before);
                    object.entry(key.value.as_str()).or_insert(value);
                    entries.push(key.value, shift(key.referenced), places);
                }
                (Value::Object(object), Places { place, children: Children::Entries(entries) })
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

/// The whole number that `80.0` and `1e3` are: JSON Schema takes them for one, and so does the API server of Kubernetes.
fn whole(value: f64) -> Option<i64> {
    let whole = format!("{value:.0}").parse().ok()?;
    #[expect(clippy::cast_precision_loss, clippy::float_cmp, reason = "a number that is not the same stays as it is")]
    (whole as f64 == value).then_some(whole)
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        if let Some(whole) = whole(value) {
            return Ok(Tree::Scalar(Value::from(whole)));
        }
        // A number that JSON cannot hold stays recognisable as what it is: not a number.
        let value = Number::from_f64(value).map_or_else(|| Value::String(value.to_string()), Value::Number);
        Ok(Tree::Scalar(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::String(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::String(value)))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Tree::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Tree, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = mapping.next_entry()? {
            pairs.push(pair);
        }
        Ok(Tree::Mapping(pairs))
    }
}
