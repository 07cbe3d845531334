//! Whether a document has the shape of its kind: its fields, their types and limits.
//!
//! Input: a [`Document`] and its [`Kind`]. Output: all findings at once, each at the key or value at fault.
//! The shape is the kind's JSON Schema, the same one that editors use, so that the two never disagree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, OnceLock};

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, ValidationError, Validator};
use serde_json::{Map, Value};

use super::Diagnostic;
use super::codes;
use super::diagnostic::{closest, did_you_mean};
use super::document::Document;
use super::field::{FieldPath, Step};
use super::repair::{Fault, stand_in};
use crate::api::{self, Kind};
use crate::net::Cidr;

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
        let number = || self.written(&path).unwrap_or_else(|| shown(instance));
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
                (&codes::OUT_OF_RANGE, format!("{} is below {limit}, the smallest number allowed", number()))
            }
            ValidationErrorKind::Maximum { limit } => {
                (&codes::OUT_OF_RANGE, format!("{} is above {limit}, the largest number allowed", number()))
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
        if name.starts_with('-') {
            return diagnostic.with_help("an item of a list begins with `-` and a blank");
        }
        match did_you_mean(name, known.iter().copied()).or_else(|| home_of(path, name, known)) {
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
        let written = self.written(path).filter(|_| found.is_number());
        let found_name = written.as_ref().map_or_else(|| found_name(found), |written| format!("`{written}`"));
        let message = format!("expected {}, found {found_name}", names.join(" or "));
        let diagnostic = self.finding(&codes::WRONG_TYPE, path, message);
        match (expected.first(), found) {
            (Some(JsonType::String), Value::Number(_) | Value::Bool(_)) => {
                // A version `1.10` is the number 1.1, and means another text than that.
                let text = written.unwrap_or_else(|| found.to_string());
                diagnostic.with_help(format!("put it in quotes: `\"{text}\"`"))
            }
            (Some(JsonType::String), Value::Object(labels)) if is_selector(path) => {
                diagnostic.with_help(format!("a selector is text: `{}`", selector_of(labels)))
            }
            (Some(JsonType::String), Value::Null) => diagnostic.with_help("give it a value, or leave it out"),
            (Some(JsonType::Object), Value::Null) => {
                diagnostic.with_help("indent what belongs to it deeper, or write `{}` if nothing does")
            }
            (Some(JsonType::Object), Value::String(text)) if is_peer(path) => {
                let is_block = text.parse::<Cidr>().is_ok();
                let field = if is_block { format!("nets: [{text}]") } else { "selector: app == 'web'".to_owned() };
                diagnostic.with_help(format!("say what is meant by it, such as `{field}`"))
            }
            (Some(JsonType::Array), Value::String(_) | Value::Object(_)) => {
                diagnostic.with_help("begin each item with `- `, or put the items in `[]`")
            }
            (Some(JsonType::Integer | JsonType::Number), Value::String(text)) => {
                match about_number(text, self.written(path).is_none()) {
                    Some(help) => diagnostic.with_help(help),
                    None => diagnostic,
                }
            }
            (Some(JsonType::Boolean), Value::String(text)) if ["true", "false"].contains(&text.as_str()) => {
                diagnostic.with_help("leave the quotes out")
            }
            _ => diagnostic,
        }
    }

    fn not_allowed(&self, path: &FieldPath, options: &Value, found: &Value) -> Diagnostic {
        // That an optional field may be `null` is no choice that anybody looks for.
        let options = options.as_array().into_iter().flatten().filter(|option| !option.is_null());
        let options: Vec<String> = options.map(shown).collect();
        let text = self.written(path).filter(|_| found.is_number()).unwrap_or_else(|| shown(found));
        let message = format!("`{text}` is not one of {}", quoted(options.iter()));
        let diagnostic = self.finding(&codes::NOT_ALLOWED, path, message);
        // A number is not misspelt by a digit: 5 is as far from 4 as from 6.
        match other_value(&text, &options).filter(|_| found.is_string()) {
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

/// What to do about a text in the place of a number.
fn about_number(text: &str, is_quoted: bool) -> Option<String> {
    let (first, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
    let plain = first.replace('_', "");
    let number: f64 = plain.parse().ok().filter(|number: &f64| number.is_finite())?;
    Some(match rest.trim() {
        "" if is_quoted && plain == first => "leave the quotes out".to_owned(),
        // YAML 1.1 read some of these as other numbers, and YAML 1.2 reads them as text.
        "" => format!("write `{number}`"),
        _ => "put `#` between the number and a comment".to_owned(),
    })
}

/// Words for actions and directions that other packet filters have, in lower case, and what they are here.
const OTHER_VALUES: [(&str, &str); 13] = [
    ("drop", "Deny"),
    ("reject", "Deny"),
    ("block", "Deny"),
    ("refuse", "Deny"),
    ("accept", "Allow"),
    ("permit", "Allow"),
    ("pass-through", "Pass"),
    ("next-tier", "Pass"),
    ("inbound", "Ingress"),
    ("input", "Ingress"),
    ("outbound", "Egress"),
    ("output", "Egress"),
    ("equals", "In"),
];

fn other_value(written: &str, options: &[String]) -> Option<String> {
    let other = OTHER_VALUES.iter().find(|(word, _)| *word == written.to_lowercase()).map(|(_, value)| *value);
    match other.filter(|value| options.iter().any(|option| option == value)) {
        Some(value) => Some(format!("write `{value}`")),
        None => did_you_mean(written, options.iter().map(String::as_str)),
    }
}

/// Fields of a rule's ends.
const OF_PEERS: [&str; 7] = ["ports", "notPorts", "nets", "notNets", "selector", "notSelector", "namespaceSelector"];

/// Where a field belongs that stands one level too high.
fn home_of(path: &FieldPath, name: &str, known: &[&str]) -> Option<String> {
    if known == ["matchExpressions", "matchLabels"] {
        return Some(format!("labels stand under `matchLabels`: `matchLabels: {{{name}: ...}}`"));
    }
    if !["source", "destination"].iter().all(|field| known.contains(field)) {
        return None;
    }
    let field = closest(name, OF_PEERS)?;
    let is_ingress = path.steps().contains(&Step::Key("ingress".to_owned()));
    let side = if is_ingress && !field.to_lowercase().contains("port") { "source" } else { "destination" };
    Some(format!("put it under `{side}`: `{side}: {{{field}: ...}}`"))
}

fn is_peer(path: &FieldPath) -> bool {
    matches!(path.steps().last(), Some(Step::Key(name)) if ["source", "destination"].contains(&name.as_str()))
}

fn is_selector(path: &FieldPath) -> bool {
    matches!(path.steps().last(), Some(Step::Key(name)) if name.to_lowercase().ends_with("selector"))
}

/// A mapping of labels, or a label selector of Kubernetes that holds one, in the language of selectors.
fn selector_of(labels: &Map<String, Value>) -> String {
    let labels = labels.get("matchLabels").and_then(Value::as_object).unwrap_or(labels);
    let tests: Option<Vec<String>> =
        labels.iter().map(|(key, value)| Some(format!("{key} == '{}'", value.as_str()?))).collect();
    tests.filter(|tests| !tests.is_empty()).map_or_else(|| "app == 'web'".to_owned(), |tests| tests.join(" && "))
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
