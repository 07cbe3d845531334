//! JSON Schemas and CRDs from the types.
//!
//! Input: a type with `JsonSchema`. Output: a draft-07 JSON Schema of the whole document, which editors and the policy
//! loader use, or a CRD for a cluster. The two languages differ (null, int-or-string, additional properties): a type says
//! what both need, and each side here takes its own part.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::Kind;

/// The draft that editors read best.
const META_SCHEMA: &str = "http://json-schema.org/draft-07/schema#";
/// Keyword under which a type hands over JSON Schema that has no structural form in a CRD.
const JSON_SCHEMA_ONLY: &str = "x-dockgate-json-schema";
/// Kubernetes' keyword for a value that is a number or a text. A schema that has it may have no `type`.
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
/// Kubernetes' keyword for how a list is merged; `set` also means that no item stands in it twice.
const LIST_TYPE: &str = "x-kubernetes-list-type";
/// Kubernetes' keyword for an object whose fields are not known to the schema.
const PRESERVE_UNKNOWN: &str = "x-kubernetes-preserve-unknown-fields";

/// Turns what schemars makes of a documented enum (a `oneOf` of constants) into one `enum` with a description for each
/// value, so that a wrong value gives one clear finding and a CRD lists the values.
pub(super) fn plain_enum(schema: &mut Schema) {
    let Some(variants) = schema.get("oneOf").and_then(Value::as_array).cloned() else { return };
    let values: Vec<Value> = variants.iter().filter_map(|variant| variant.get("const").cloned()).collect();
    let descriptions: Vec<Value> = variants.iter().filter_map(|variant| variant.get("description").cloned()).collect();
    schema.remove("oneOf");
    schema.insert("type".to_owned(), json!("string"));
    schema.insert("enum".to_owned(), Value::Array(values));
    // Not of JSON Schema, but editors show it beside each value.
    schema.insert("enumDescriptions".to_owned(), Value::Array(descriptions));
}

/// The schema of a value that is a text or an object. A CRD cannot say that, so there the value is left open.
pub(super) fn text_or_object(description: &str, object: Schema) -> Schema {
    let mut either = into_map(object.to_value());
    either.insert("type".to_owned(), json!(["string", "object"]));
    either.insert("minLength".to_owned(), json!(1));
    either.insert("description".to_owned(), json!(description));
    Schema::from(into_map(json!({
        "description": description,
        PRESERVE_UNKNOWN: true,
        JSON_SCHEMA_ONLY: either,
    })))
}

/// The schema of a value that is an object or a list of such objects. A CRD cannot say that either.
pub(super) fn object_or_list(description: &str, object: Schema) -> Schema {
    let object = object.to_value();
    let mut either = into_map(object.clone());
    either.insert("type".to_owned(), json!(["object", "array"]));
    either.insert("items".to_owned(), object);
    either.insert("description".to_owned(), json!(description));
    Schema::from(into_map(json!({
        "description": description,
        PRESERVE_UNKNOWN: true,
        JSON_SCHEMA_ONLY: either,
    })))
}

/// What schemars says of the root type of a kind: its `spec` and, where it has one, its `status`.
pub(super) fn root<T: JsonSchema>() -> Value {
    // Everything is inlined: a schema without references is read by every tool, and a finding's path in the schema is its
    // path in the document.
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// What the schema of a document says beside its spec.
pub(super) struct Document<'a> {
    /// The exact `apiVersion`.
    pub(super) api_version: &'a str,
    /// The exact `kind`.
    pub(super) kind: &'a str,
    /// Whether `metadata.namespace` exists.
    pub(super) namespaced: bool,
    /// Whether `metadata.name` is required.
    pub(super) named: bool,
}

impl Document<'_> {
    /// Completes what [`root`] gave to the JSON Schema of a whole document. No level of it takes a field that it does not
    /// name, except `status`, which only a cluster writes.
    pub(super) fn json_schema(&self, root: Value) -> Value {
        let mut schema = into_map(root);
        let mut properties = into_map(schema.remove("properties").unwrap_or_default());
        properties.entry("status").or_insert_with(|| json!({ "type": ["object", "null"] }));
        for (name, property) in [
            (
                "apiVersion",
                json!({ "type": "string", "const": self.api_version, "description": "API group and version of the kind." }),
            ),
            ("kind", json!({ "type": "string", "const": self.kind, "description": "The kind of the document." })),
            ("metadata", metadata(self.namespaced, self.named)),
        ] {
            properties.insert(name.to_owned(), property);
        }
        if let Some(Value::Object(status)) = properties.get_mut("status") {
            status.insert("description".to_owned(), json!("What a cluster reports of the resource. Read over."));
        }
        schema.insert("properties".to_owned(), Value::Object(properties));
        schema.insert("$schema".to_owned(), json!(META_SCHEMA));
        schema.insert("title".to_owned(), json!(format!("{} {}", self.api_version, self.kind)));
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("required".to_owned(), json!(["apiVersion", "kind", "metadata", "spec"]));
        schema.insert("additionalProperties".to_owned(), json!(false));
        plain_json_schema(&mut schema, true);
        Value::Object(schema)
    }
}

/// A schema of documents of any kind, for a file or directory that mixes them: it chooses by `apiVersion` and `kind` among
/// the kinds' own schemas, which it holds.
pub(super) fn any_document<'a>(kinds: impl Iterator<Item = (&'a Kind, Value)>) -> Value {
    let mut choices = Vec::new();
    let mut definitions = Map::from_iter([("List".to_owned(), list_of_documents())]);
    let mut known: BTreeMap<&str, BTreeSet<String>> = BTreeMap::from([("v1", BTreeSet::from(["List".to_owned()]))]);
    for (kind, schema) in kinds {
        let mut schema = into_map(schema);
        schema.remove("$schema");
        definitions.insert(kind.name.to_owned(), Value::Object(schema));
        known.entry(kind.api_version).or_default().extend([kind.kind.to_owned(), format!("{}List", kind.kind)]);
        choices.push(json!({
            "if": { "properties": { "apiVersion": { "const": kind.api_version }, "kind": { "const": kind.kind } } },
            "then": { "$ref": format!("#/definitions/{}", kind.name) },
        }));
    }
    choices.push(json!({
        "if": { "properties": { "kind": { "type": "string", "pattern": "List$" } } },
        "then": { "$ref": "#/definitions/List" },
    }));
    let known = known.iter().map(|(api_version, kinds)| {
        json!({ "properties": { "apiVersion": { "const": api_version }, "kind": { "enum": kinds } } })
    });
    json!({
        "$schema": META_SCHEMA,
        "title": "Any document that dockgate reads",
        "type": "object",
        "required": ["apiVersion", "kind"],
        "anyOf": known.collect::<Vec<_>>(),
        "allOf": choices,
        "definitions": definitions,
    })
}

/// The schema of a list whose items are documents of the schema that this one stands in.
fn list_of_documents() -> Value {
    json!({
        "title": "A list",
        "description": "Several documents in one, as `kubectl get -o yaml` prints them.",
        "type": "object",
        "required": ["apiVersion", "kind", "items"],
        "properties": {
            "apiVersion": { "type": "string", "description": "API group and version of the list: `v1` for any documents." },
            "kind": { "type": "string", "description": "The kind of the items with `List` behind it, or `List` for any." },
            "metadata": { "description": "Written by a cluster. Read over." },
            "items": {
                "type": "array",
                "items": { "$ref": "#" },
                "description": "The documents. Each has its own `apiVersion` and `kind`.",
            },
        },
        "additionalProperties": false,
    })
}

/// The schema of `metadata`. Only four fields mean anything here; the others are what a cluster adds, and are read over so
/// that `kubectl get -o yaml` gives a valid file.
fn metadata(namespaced: bool, named: bool) -> Value {
    let texts = json!({ "type": ["object", "null"], "additionalProperties": { "type": "string" } });
    let mut properties = Map::new();
    for (name, mut schema, description) in [
        (
            "name",
            json!({ "type": "string", "minLength": 1, "maxLength": 253 }),
            "Name of the resource, unique within its kind and namespace.",
        ),
        (
            "namespace",
            json!({ "type": ["string", "null"], "maxLength": 253 }),
            "Namespace of the resource. Default: none, which here means the whole host.",
        ),
        ("labels", texts.clone(), "Labels of the resource. Rule selectors match those of network sets. Default: none."),
        ("annotations", texts, "Free texts by key; they have no effect. Default: none."),
    ] {
        schema["description"] = json!(description);
        properties.insert(name.to_owned(), schema);
    }
    for (name, json_type) in [
        ("creationTimestamp", "string"),
        ("deletionGracePeriodSeconds", "integer"),
        ("deletionTimestamp", "string"),
        ("finalizers", "array"),
        ("generateName", "string"),
        ("generation", "integer"),
        ("managedFields", "array"),
        ("ownerReferences", "array"),
        ("resourceVersion", "string"),
        ("selfLink", "string"),
        ("uid", "string"),
    ] {
        let schema = json!({ "type": [json_type, "null"], "description": "Written by a cluster. Read over." });
        properties.insert(name.to_owned(), schema);
    }
    for name in ["creationTimestamp", "deletionTimestamp"] {
        properties[name]["format"] = json!("date-time");
    }
    if !namespaced {
        properties.remove("namespace");
    }
    let required: &[&str] = if named { &["name"] } else { &[] };
    if !named {
        properties["name"]["type"] = json!(["string", "null"]);
    }
    json!({
        "type": "object",
        "description": "Name and labels of the resource.",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// Rewrites a schema and all within it to plain JSON Schema. `required` says whether the value must be there; one that need
/// not be may also be null, as in Kubernetes.
fn plain_json_schema(schema: &mut Map<String, Value>, required: bool) {
    if let Some(Value::Object(replacement)) = schema.remove(JSON_SCHEMA_ONLY) {
        *schema = replacement;
        if let (false, Some(Value::Array(types))) = (required, schema.get_mut("type")) {
            types.push(json!("null"));
        }
    }
    if schema.remove(INT_OR_STRING).is_some() {
        let types: &[&str] = if required { &["integer", "string"] } else { &["integer", "string", "null"] };
        schema.insert("type".to_owned(), json!(types));
    }
    if schema.remove(LIST_TYPE).is_some_and(|list_type| list_type == "set") {
        schema.insert("uniqueItems".to_owned(), json!(true));
    }
    one_line_description(schema);
    remove_machine_format(schema);
    let required = names(schema.get("required"));
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (name, property) in properties {
            if let Value::Object(property) = property {
                plain_json_schema(property, required.contains(name));
            }
        }
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(Value::Object(inner)) = schema.get_mut(keyword) {
            plain_json_schema(inner, true);
        }
    }
}

/// The CRD with its schema in the form that Kubernetes calls structural.
pub(super) fn structural(definition: &CustomResourceDefinition) -> Value {
    let mut definition = serde_json::to_value(definition).unwrap_or_default();
    if let Some(Value::Array(versions)) = definition.pointer_mut("/spec/versions") {
        for version in versions {
            if let Some(Value::Object(schema)) = version.pointer_mut("/schema/openAPIV3Schema") {
                structural_schema(schema);
            }
        }
    }
    definition
}

/// What [`structural`] gave, as a definition again.
pub(super) fn typed(structural: Value) -> CustomResourceDefinition {
    serde_json::from_value(structural)
        .expect("a definition stays one when descriptions, formats and numbers in its schema are rewritten")
}

/// A JSON value as the text of a YAML file.
pub(super) fn yaml(value: &Value) -> String {
    serde_yaml::to_string(value).expect("keys of a JSON value are texts, so it has a YAML form")
}

/// Rewrites a schema of a CRD and all within it: descriptions on one line, formats that Kubernetes knows, and numbers that
/// are whole written as such.
fn structural_schema(schema: &mut Map<String, Value>) {
    one_line_description(schema);
    remove_machine_format(schema);
    for keyword in ["minimum", "maximum"] {
        if let Some(whole) = schema.get(keyword).and_then(whole_number) {
            schema.insert(keyword.to_owned(), json!(whole));
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut().filter_map(Value::as_object_mut) {
            structural_schema(property);
        }
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(Value::Object(inner)) = schema.get_mut(keyword) {
            structural_schema(inner);
        }
    }
}

/// Joins the lines of a description that a doc comment broke at its width; paragraphs stay.
fn one_line_description(schema: &mut Map<String, Value>) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        let paragraphs: Vec<String> = description.split("\n\n").map(|text| text.trim().replace('\n', " ")).collect();
        *description = paragraphs.join("\n\n");
    }
}

/// Removes formats that name a Rust type: Kubernetes warns of unknown ones, and `minimum` and `maximum` say the same.
fn remove_machine_format(schema: &mut Map<String, Value>) {
    let is_machine = |format: &Value| format.as_str().is_some_and(|name| name.starts_with("uint"));
    if schema.get("format").is_some_and(is_machine) {
        schema.remove("format");
    }
}

/// A number of the CRD's `f64` fields as a whole one, if it is.
fn whole_number(number: &Value) -> Option<i64> {
    let number = number.as_f64().filter(|number| number.fract() == 0.0)?;
    format!("{number:.0}").parse().ok()
}

fn names(required: Option<&Value>) -> Vec<String> {
    required.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn into_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
