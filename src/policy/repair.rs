//! A document as if its faults of shape were mended, so that the faults of meaning are found in the same run.
//!
//! Input: a document and its [`Fault`]s. Output: a document that can be read as its kind. It serves to find more errors
//! and nothing else: a resource with a fault is never used, however well it was mended.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::document::Document;
use super::field::{FieldPath, Step};
use super::{Diagnostic, Severity, codes};
use crate::api::Kind;

/// What is wrong with the shape of a document, at one place.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// A field that the kind does not have, and the one that was probably meant.
    Unknown {
        /// The field.
        path: FieldPath,
        /// The field that was probably meant.
        meant: Option<FieldPath>,
    },
    /// A value that is missing or of the wrong type or size.
    Wrong {
        /// The value.
        path: FieldPath,
        /// What can be read in its place; `None` where the value itself can.
        stand_in: Option<Value>,
    },
}

/// How often a document is mended: what was moved can hold a field that is misspelt in turn, and no field lies deeper.
const MAX_ROUNDS: usize = 16;

impl Fault {
    /// The field that was probably meant.
    fn meant(&self) -> Option<&FieldPath> {
        match self {
            Fault::Unknown { meant, .. } => meant.as_ref(),
            Fault::Wrong { .. } => None,
        }
    }

    /// The values about which nothing more is to be said.
    fn paths(&self) -> impl Iterator<Item = &FieldPath> {
        let (Fault::Unknown { path, .. } | Fault::Wrong { path, .. }) = self;
        std::iter::once(path).chain(self.meant())
    }
}

/// The document with its faults mended, and those that came to light on the way. A value that is moved to the field that was
/// probably meant may not fit there, so the result is looked at again.
pub(super) fn mended(document: &Document, kind: &Kind, mut faults: Vec<Fault>) -> (Document, Vec<Fault>) {
    let mut document = mended_once(document, &faults);
    for _ in 0..MAX_ROUNDS {
        let (_, mut more) = document.inspect(kind);
        let guessed: BTreeSet<&FieldPath> = faults.iter().filter_map(Fault::meant).collect();
        for fault in &mut more {
            // What does not fit where it was moved is left out: something else in its place could mean something.
            if let Fault::Wrong { path, .. } = fault
                && guessed.contains(path)
            {
                *fault = Fault::Unknown { path: path.clone(), meant: None };
            }
        }
        let again = mended_once(&document, &more);
        if again.value() == document.value() {
            break;
        }
        document = again;
        faults.extend(more);
    }
    (document, faults)
}

fn mended_once(document: &Document, faults: &[Fault]) -> Document {
    let mut value = document.value().clone();
    for fault in faults {
        match fault {
            Fault::Unknown { path, meant } => {
                let Some((object, name)) = parent(&mut value, path) else { continue };
                let Some(unknown) = object.remove(name) else { continue };
                if let Some(Step::Key(meant)) = meant.as_ref().and_then(|meant| meant.steps().last()) {
                    object.entry(meant.as_str()).or_insert(unknown);
                }
            }
            Fault::Wrong { path, stand_in: Some(stand_in) } => put(&mut value, path, stand_in),
            Fault::Wrong { stand_in: None, .. } => {}
        }
    }
    document.with_value(value)
}

/// The findings about a mended document that hold for the original: errors, and none about what was mended, what is in it,
/// or the mapping or list as a whole that it is in.
pub(super) fn telling(document: &Document, faults: &[Fault], found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mended: Vec<&FieldPath> = faults.iter().flat_map(Fault::paths).collect();
    let fields: Vec<String> = mended.iter().map(|path| document.field(path)).collect();
    let holders: Vec<String> = mended.iter().filter_map(|path| Some(document.field(&holder(path)?))).collect();
    let concerns = |field: &str, mended: &str| {
        field.strip_prefix(mended).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let told = |finding: &Diagnostic| {
        holders.contains(&finding.field) || fields.iter().any(|mended| concerns(&finding.field, mended))
    };
    found
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error && finding.code != codes::SHAPE.id && !told(finding))
        .collect()
}

/// The path of what a value is in; `None` for the document.
fn holder(path: &FieldPath) -> Option<FieldPath> {
    path.steps().split_last().map(|(_, above)| above.iter().cloned().collect())
}

/// The smallest value that a schema takes.
pub(super) fn stand_in(schema: &Value) -> Value {
    if let Some(first) = schema.get("enum").and_then(|values| values.get(0)) {
        return first.clone();
    }
    let json_type = schema.get("type").map(|json_type| json_type.get(0).unwrap_or(json_type));
    match json_type.and_then(Value::as_str) {
        Some("string") => Value::String(String::new()),
        Some("array") => Value::Array(Vec::new()),
        Some("object") => {
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            let fields = required.filter_map(|name| {
                let name = name.as_str()?;
                Some((name.to_owned(), stand_in(schema.get("properties")?.get(name)?)))
            });
            Value::Object(fields.collect())
        }
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| Value::from(0)),
        Some("boolean") => Value::Bool(false),
        _ => Value::Null,
    }
}

fn put(value: &mut Value, path: &FieldPath, replacement: &Value) {
    match path.steps().split_last() {
        None => *value = replacement.clone(),
        Some((Step::Index(index), above)) => {
            let item = descend(value, above).and_then(|list| list.get_mut(index));
            if let Some(item) = item {
                *item = replacement.clone();
            }
        }
        Some((Step::Key(name), above)) => {
            if let Some(Value::Object(object)) = descend(value, above) {
                object.insert(name.clone(), replacement.clone());
            }
        }
    }
}

fn parent<'v, 'p>(value: &'v mut Value, path: &'p FieldPath) -> Option<(&'v mut Map<String, Value>, &'p str)> {
    let (Step::Key(name), above) = path.steps().split_last()? else { return None };
    Some((descend(value, above)?.as_object_mut()?, name))
}

fn descend<'v>(value: &'v mut Value, steps: &[Step]) -> Option<&'v mut Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    })
}
