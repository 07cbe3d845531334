//! Whether a document has the shape of its kind: its fields, their types and limits.
//!
//! Input: a [`Document`] and its [`Kind`]. Output: all findings at once, each at the key or value at fault.
//! The shape is the kind's JSON Schema, the same one that editors use, so that the two never disagree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, OnceLock};

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, ValidationError, Validator};
use serde_json::Value;

use super::Diagnostic;
use super::codes;
use super::diagnostic::{closest, did_you_mean};
use super::document::Document;
use super::field::FieldPath;
use super::repair::{Fault, stand_in};
use crate::api::{self, Kind};

/// A schema and its compiled form.
struct Shape {
    schema: Value,
    validator: Validator,
}

/// Shapes by [`Kind::name`], compiled when first used.
static SHAPES: LazyLock<BTreeMap<&'static str, OnceLock<Shape>>> =
    LazyLock::new(|| api::KINDS.iter().map(|kind| (kind.name, OnceLock::new())).collect());

impl Shape {
    fn of(kind: &Kind) -> &'static Shape {
        let shape = SHAPES.get(kind.name).expect("every Kind is one of KINDS: its fields cannot be set elsewhere");
        shape.get_or_init(|| {
            let schema = kind.json_schema();
            let validator = jsonschema::draft7::new(&schema)
                .expect("the schemas of all kinds compile: the test `every_kind_has_a_shape` does it");
            Shape { schema, validator }
        })
    }

    /// The part of the schema that an error breaks.
    fn schema_of(&self, error: &ValidationError<'_>) -> Option<&Value> {
        let keyword = error.schema_path().as_str();
        self.schema.pointer(keyword.rsplit_once('/').map_or("", |(schema, _)| schema))
    }

    /// The fields that the schema knows where an unknown one was found.
    fn fields_beside(&self, error: &ValidationError<'_>) -> Vec<&str> {
        let properties = self.schema_of(error).and_then(|object| object.get("properties"));
        properties.and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str()).collect()
    }
}

impl Document {
    /// Checks the document against the schema of its kind.
    pub fn check(&self, kind: &Kind) -> Vec<Diagnostic> {
        self.inspect(kind).0
    }

    /// Checks the document against the schema of its kind, and says what would have to be different.
    pub(super) fn inspect(&self, kind: &Kind) -> (Vec<Diagnostic>, Vec<Fault>) {
        let shape = Shape::of(kind);
        let errors: Vec<_> = shape.validator.iter_errors(self.value()).collect();
        // A value of the wrong type breaks its other limits too, which says nothing new.
        let is_type = |error: &ValidationError<'_>| matches!(error.kind(), ValidationErrorKind::Type { .. });
        let mistyped: BTreeSet<&str> =
            errors.iter().filter(|error| is_type(error)).map(|error| error.instance_path().as_str()).collect();
        let errors = errors.iter().filter(|error| is_type(error) || !mistyped.contains(error.instance_path().as_str()));
        let mut diagnostics = Vec::new();
        let mut faults = Vec::new();
        for error in errors {
            diagnostics.extend(self.describe(shape, error));
            faults.extend(self.faults(shape, error));
        }
        (diagnostics, faults)
    }

    fn faults(&self, shape: &Shape, error: &ValidationError<'_>) -> Vec<Fault> {
        let path = self.path_of(error.instance_path().as_str());
        let schema = shape.schema_of(error);
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let known = shape.fields_beside(error);
                let unknown = unexpected.iter().map(|name| Fault::Unknown {
                    path: path.literal_key(name),
                    meant: closest(name, known.iter().copied()).map(|meant| path.literal_key(meant)),
                });
                unknown.collect()
            }
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let schema = schema.and_then(|schema| schema.get("properties")?.get(name));
                vec![Fault::Wrong { path: path.literal_key(name), stand_in: schema.map(stand_in) }]
            }
            ValidationErrorKind::Type { .. }
            | ValidationErrorKind::Enum { .. }
            | ValidationErrorKind::Minimum { .. }
            | ValidationErrorKind::Maximum { .. } => {
                vec![Fault::Wrong { path, stand_in: schema.map(stand_in) }]
            }
            // Only the item is at fault, or the others of its list would not be looked at.
            ValidationErrorKind::UniqueItems => {
                let again = repeated(error.instance().as_ref()).map(|(index, _)| path.index(index));
                again.map(|path| Fault::Wrong { path, stand_in: None }).collect()
            }
            ValidationErrorKind::MaxItems { .. } | ValidationErrorKind::MaxProperties { .. } => Vec::new(),
            _ => vec![Fault::Wrong { path, stand_in: None }],
        }
    }

    fn describe(&self, shape: &Shape, error: &ValidationError<'_>) -> Vec<Diagnostic> {
        let path = self.path_of(error.instance_path().as_str());
        let instance = error.instance().as_ref();
        let (code, message) = match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let known = shape.fields_beside(error);
                return unexpected.iter().map(|name| self.unknown_field(&path, name, &known)).collect();
            }
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let message = format!("the field `{name}` is required");
                return vec![self.finding(&codes::MISSING_FIELD, &path.literal_key(name), message)];
            }
            ValidationErrorKind::Type { kind } => return vec![self.wrong_type(&path, kind, instance)],
            ValidationErrorKind::Enum { options } => return vec![self.not_allowed(&path, options, instance)],
            ValidationErrorKind::UniqueItems => return self.duplicate_items(&path, instance),
            ValidationErrorKind::Minimum { limit } => {
                (&codes::OUT_OF_RANGE, format!("{instance} is below {limit}, the smallest number allowed"))
            }
            ValidationErrorKind::Maximum { limit } => {
                (&codes::OUT_OF_RANGE, format!("{instance} is above {limit}, the largest number allowed"))
            }
            ValidationErrorKind::MinLength { limit: 1 } => (&codes::LENGTH, "the text is empty".to_owned()),
            ValidationErrorKind::MinLength { limit } => {
                (&codes::LENGTH, format!("the text is shorter than {limit} characters"))
            }
            ValidationErrorKind::MaxLength { limit } => {
                let length = instance.as_str().map_or(0, |text| text.chars().count());
                (&codes::LENGTH, format!("the text has {length} characters; at most {limit} are allowed"))
            }
            ValidationErrorKind::MinItems { limit } | ValidationErrorKind::MinProperties { limit } => {
                (&codes::COUNT, format!("at least {limit} {} needed", plural(*limit, "item is", "items are")))
            }
            ValidationErrorKind::MaxItems { limit } | ValidationErrorKind::MaxProperties { limit } => {
                let count = instance.as_array().map_or(0, Vec::len);
                (&codes::COUNT, format!("there are {count} items; at most {limit} are allowed"))
            }
            ValidationErrorKind::Pattern { pattern } => {
                (&codes::PATTERN, format!("{instance} does not have the form `{pattern}`"))
            }
            ValidationErrorKind::Format { format } => (&codes::PATTERN, format!("{instance} is not a {format}")),
            _ => (&codes::SHAPE, error.to_string()),
        };
        vec![self.finding(code, &path, message)]
    }

    fn unknown_field(&self, path: &FieldPath, name: &str, known: &[&str]) -> Diagnostic {
        let diagnostic =
            self.key_finding(&codes::UNKNOWN_FIELD, &path.literal_key(name), format!("unknown field `{name}`"));
        match did_you_mean(name, known.iter().copied()) {
            Some(suggestion) => diagnostic.with_help(suggestion),
            None if known.is_empty() => diagnostic,
            None => diagnostic.with_help(format!("the fields here are {}", quoted(known.iter()))),
        }
    }

    fn wrong_type(&self, path: &FieldPath, expected: &TypeKind, found: &Value) -> Diagnostic {
        let expected: Vec<JsonType> = match expected {
            TypeKind::Single(single) => vec![*single],
            TypeKind::Multiple(several) => several.iter().filter(|several| *several != JsonType::Null).collect(),
        };
        let names: Vec<&str> = expected.iter().map(|json_type| type_name(*json_type)).collect();
        let message = format!("expected {}, found {}", names.join(" or "), found_name(found));
        let diagnostic = self.finding(&codes::WRONG_TYPE, path, message);
        match (expected.first(), found) {
            (Some(JsonType::String), Value::Number(_) | Value::Bool(_)) => {
                diagnostic.with_help(format!("put it in quotes: `\"{found}\"`"))
            }
            (Some(JsonType::Array), Value::String(_) | Value::Object(_)) => {
                diagnostic.with_help("begin each item with `- `, or put the items in `[]`")
            }
            (Some(JsonType::Integer | JsonType::Number), Value::String(text)) => match number_in(text) {
                Some("") => diagnostic.with_help("leave the quotes out"),
                Some(_) => diagnostic.with_help("put `#` between the number and a comment"),
                None => diagnostic,
            },
            (Some(JsonType::Boolean), Value::String(text)) if ["true", "false"].contains(&text.as_str()) => {
                diagnostic.with_help("leave the quotes out")
            }
            _ => diagnostic,
        }
    }

    fn not_allowed(&self, path: &FieldPath, options: &Value, found: &Value) -> Diagnostic {
        // What need not be there may be null; nobody writes that.
        let options = options.as_array().into_iter().flatten().filter(|option| !option.is_null());
        let options: Vec<String> = options.map(shown).collect();
        let found = shown(found);
        let message = format!("`{found}` is not one of {}", quoted(options.iter()));
        let diagnostic = self.finding(&codes::NOT_ALLOWED, path, message);
        match did_you_mean(&found, options.iter().map(String::as_str)) {
            Some(suggestion) => diagnostic.with_help(suggestion),
            None => diagnostic,
        }
    }

    fn duplicate_items(&self, path: &FieldPath, list: &Value) -> Vec<Diagnostic> {
        let findings = repeated(list).map(|(index, item)| {
            let message = format!("`{}` stands in the list twice", shown(item));
            self.finding(&codes::DUPLICATE_ITEM, &path.index(index), message)
        });
        findings.collect()
    }
}

/// The items of a list that stand in it again, and their places in it.
fn repeated(list: &Value) -> impl Iterator<Item = (usize, &Value)> {
    let mut seen = BTreeSet::new();
    let items = list.as_array().into_iter().flatten().enumerate();
    items.filter(move |(_, item)| !seen.insert(item.to_string()))
}

/// What stands behind the number with which a text begins; `None` when it begins with none.
fn number_in(text: &str) -> Option<&str> {
    let (first, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
    first.parse::<f64>().ok().map(|_| rest.trim())
}

fn type_name(json_type: JsonType) -> &'static str {
    match json_type {
        JsonType::Array => "a list",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Null => "nothing",
        JsonType::Number => "a number",
        JsonType::Object => "a mapping",
        JsonType::String => "text",
    }
}

fn found_name(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) => format!("`{value}`"),
        Value::String(_) => "text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

/// A scalar as it stands in a file.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn quoted<T: std::fmt::Display>(names: impl Iterator<Item = T>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn plural(count: u64, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{SourceFile, document};

    fn found(text: &str) -> Vec<(String, String, String, Option<String>)> {
        let (documents, diagnostics) = document::parse(&SourceFile::new("p.yaml", text));
        assert_eq!(diagnostics, []);
        let document = &documents[0];
        let kind = api::find(document.text("apiVersion").expect("text"), document.text("kind").expect("text"));
        let mut diagnostics = document.check(kind.expect("a known kind"));
        Diagnostic::sort(&mut diagnostics);
        let place = |d: &Diagnostic| format!("{}:{}:{}", d.code, d.location.line, d.location.column);
        diagnostics.into_iter().map(|d| (place(&d), d.field, d.message, d.help)).collect()
    }

    #[test]
    fn every_kind_has_a_shape() {
        for kind in api::KINDS {
            assert!(!Shape::of(kind).validator.is_valid(&Value::Null), "{}", kind.name);
        }
    }

    #[test]
    fn all_errors_of_a_document_are_found_at_once_and_at_their_place() {
        let text = "\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  nmae: x
spec:
  order: \"10\"
  selector: 5
  types: [Ingress, Ingress]
  ingress:
  - action: allow
    protocol: 300
    source:
      notselector: a == 'b'
      nets: 10.0.0.0/8
  - source: {}
  - action: Deny
    icmp: {type: 255}
  egress: {}
";
        let expected = [
            ("DG2004:4:3", "metadata.nmae", "unknown field `nmae`", Some("did you mean `name`?")),
            ("DG2005:4:3", "metadata.name", "the field `name` is required", None),
            ("DG2006:6:10", "spec.order", "expected a number, found text", Some("leave the quotes out")),
            ("DG2006:7:13", "spec.selector", "expected text, found `5`", Some("put it in quotes: `\"5\"`")),
            ("DG2011:8:20", "spec.types[1]", "`Ingress` stands in the list twice", None),
            (
                "DG2007:10:13",
                "spec.ingress[0].action",
                "`allow` is not one of `Allow`, `Deny`, `Log`, `Pass`",
                Some("did you mean `Allow`?"),
            ),
            ("DG2008:11:15", "spec.ingress[0].protocol", "300 is above 255, the largest number allowed", None),
            (
                "DG2004:13:7",
                "spec.ingress[0].source.notselector",
                "unknown field `notselector`",
                Some("did you mean `notSelector`?"),
            ),
            (
                "DG2006:14:13",
                "spec.ingress[0].source.nets",
                "expected a list, found text",
                Some("begin each item with `- `, or put the items in `[]`"),
            ),
            ("DG2005:15:5", "spec.ingress[1].action", "the field `action` is required", None),
            ("DG2008:17:18", "spec.ingress[2].icmp.type", "255 is above 254, the largest number allowed", None),
            (
                "DG2006:18:11",
                "spec.egress",
                "expected a list, found a mapping",
                Some("begin each item with `- `, or put the items in `[]`"),
            ),
        ];
        let found = found(text);
        let shown: Vec<_> = found.iter().map(|f| (&f.0[..], &f.1[..], &f.2[..], f.3.as_deref())).collect();
        assert_eq!(shown, expected);
    }
}
