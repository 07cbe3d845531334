//! JSON Schemas and CRDs from the types.
//!
//! Input: a type with `JsonSchema`. Output: a draft-07 JSON Schema of the whole document, which editors and the policy loader
//! use, or a CRD for a cluster. The two languages differ (nullable, int-or-string, additional properties): types say what
//! both need, and each side here takes its own part.

use schemars::Schema;
use serde_json::{Map, Value, json};

/// Keyword under which a type hands over JSON Schema that has no structural form in a CRD.
const JSON_SCHEMA_ONLY: &str = "x-dockgate-json-schema";

/// Turns what schemars makes of a documented enum (a `oneOf` of constants) into one `enum` with a description for each value,
/// so that a wrong value gives one clear finding and a CRD lists the values.
pub(super) fn plain_enum(schema: &mut Schema) {
    let Some(variants) = schema.get("oneOf").and_then(Value::as_array).cloned() else { return };
    let values: Vec<Value> = variants.iter().filter_map(|variant| variant.get("const").cloned()).collect();
    let descriptions: Vec<Value> = variants.iter().filter_map(|variant| variant.get("description").cloned()).collect();
    schema.remove("oneOf");
    schema.insert("type".to_owned(), json!("string"));
    schema.insert("enum".to_owned(), Value::Array(values));
    schema.insert("enumDescriptions".to_owned(), Value::Array(descriptions));
}

/// The schema of a value that is a text or an object. A CRD cannot say that, so there the value is left open.
pub(super) fn text_or_object(description: &str, object: Schema) -> Schema {
    let mut either: Map<String, Value> = object.as_object().cloned().unwrap_or_default();
    either.insert("type".to_owned(), json!(["string", "object"]));
    either.insert("minLength".to_owned(), json!(1));
    either.insert("description".to_owned(), json!(description));
    let schema = json!({
        "description": description,
        "x-kubernetes-preserve-unknown-fields": true,
        JSON_SCHEMA_ONLY: either,
    });
    Schema::from(schema.as_object().cloned().unwrap_or_default())
}
