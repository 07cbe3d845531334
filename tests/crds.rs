//! `crds/` holds what the types say: `UPDATE_CRDS=1 cargo test --test crds` writes it anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dockgate::api;
use serde_json::{Value, json};

/// Written by hand, and the only thing there that is.
const README: &str = "README.md";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crds")
}

/// Every generated file, by its path within `crds/`.
fn generated() -> BTreeMap<PathBuf, String> {
    let any = Path::new("schemas").join(api::ANY_SCHEMA_FILE_NAME);
    let mut files = BTreeMap::from([(any, api::any_schema_json())]);
    for kind in api::KINDS {
        if let (Some(name), Some(text)) = (api::crd_file_name(kind), api::crd_yaml(kind)) {
            files.insert(PathBuf::from(name), text);
        }
        files.insert(Path::new("schemas").join(api::schema_file_name(kind)), api::schema_json(kind));
    }
    files
}

/// Every file below a directory, by its path within it.
fn files_below(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.expect("crds/ can be listed").path();
        let name = PathBuf::from(path.file_name().expect("a listed file has a name"));
        if path.is_dir() {
            files.extend(files_below(&path).into_iter().map(|(inner, text)| (name.join(inner), text)));
        } else {
            files.insert(name, std::fs::read_to_string(&path).expect("crds/ holds texts"));
        }
    }
    files
}

#[test]
fn the_files_are_what_the_types_say() {
    let mut present = files_below(&directory());
    present.remove(Path::new(README));
    let generated = generated();
    if std::env::var_os("UPDATE_CRDS").is_some() {
        for path in present.keys().filter(|path| !generated.contains_key(*path)) {
            std::fs::remove_file(directory().join(path)).unwrap();
        }
        for (path, text) in &generated {
            let path = directory().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        return;
    }
    let stale: Vec<_> =
        generated.iter().filter(|(path, text)| present.get(*path) != Some(*text)).map(|(path, _)| path).collect();
    let superfluous: Vec<_> = present.keys().filter(|path| !generated.contains_key(*path)).collect();
    assert!(
        stale.is_empty() && superfluous.is_empty(),
        "stale or missing: {stale:?}, superfluous: {superfluous:?}; UPDATE_CRDS=1 cargo test --test crds writes them anew"
    );
}

#[test]
fn the_schema_of_any_document_chooses_by_kind() {
    let schema = serde_json::from_str(&api::any_schema_json()).unwrap();
    let validator = jsonschema::draft7::new(&schema).unwrap();
    let policy = |api_version: &str, kind: &str, spec: Value| json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "web" }, "spec": spec });
    let list = |api_version: &str, kind: &str, items: &[Value]| json!({ "apiVersion": api_version, "kind": kind, "items": items });
    for (case, document, valid) in [
        ("Calico's", policy("projectcalico.org/v3", "NetworkPolicy", json!({ "selector": "all()" })), true),
        ("Kubernetes'", policy("networking.k8s.io/v1", "NetworkPolicy", json!({ "podSelector": {} })), true),
        (
            "the one with the other's spec",
            policy("networking.k8s.io/v1", "NetworkPolicy", json!({ "selector": "all()" })),
            false,
        ),
        ("a kind of another group", policy("networking.k8s.io/v1", "Tier", json!({})), false),
        ("an unknown kind", policy("v1", "Pod", json!({})), false),
        ("no kind", json!({ "apiVersion": "projectcalico.org/v3" }), false),
        ("a list", list("v1", "List", &[policy("projectcalico.org/v3", "Tier", json!({}))]), true),
        ("a list of a kind", list("projectcalico.org/v3", "TierList", &[]), true),
        ("a list of an unknown kind", list("projectcalico.org/v3", "PoolList", &[]), false),
        ("a list with an unknown item", list("v1", "List", &[policy("v1", "Pod", json!({}))]), false),
        (
            "a list with an unknown field",
            list("v1", "List", &[policy("projectcalico.org/v3", "Tier", json!({ "x": 1 }))]),
            false,
        ),
        ("a list without items", json!({ "apiVersion": "v1", "kind": "List" }), false),
    ] {
        assert_eq!(validator.is_valid(&document), valid, "{case}");
    }
}

/// Names as Calico gives them, so that a CRD applied by habit and `kubectl get gnp` mean the same thing.
#[test]
fn names_are_calicos() {
    let table = [
        ("Inventory", "inventories.dockgate.io", "Cluster", &[][..]),
        ("PolicyTest", "policytests.dockgate.io", "Cluster", &[]),
        ("GlobalNetworkPolicy", "globalnetworkpolicies.projectcalico.org", "Cluster", &["gnp", "cgnp"]),
        ("GlobalNetworkSet", "globalnetworksets.projectcalico.org", "Cluster", &["gns"]),
        ("NetworkPolicy", "networkpolicies.projectcalico.org", "Namespaced", &["cnp", "caliconetworkpolicy"]),
        ("NetworkSet", "networksets.projectcalico.org", "Namespaced", &["netset", "netsets"]),
        ("StagedGlobalNetworkPolicy", "stagedglobalnetworkpolicies.projectcalico.org", "Cluster", &["sgnp"]),
        ("StagedKubernetesNetworkPolicy", "stagedkubernetesnetworkpolicies.projectcalico.org", "Namespaced", &["sknp"]),
        ("StagedNetworkPolicy", "stagednetworkpolicies.projectcalico.org", "Namespaced", &["scnp", "snp"]),
        ("Tier", "tiers.projectcalico.org", "Cluster", &[]),
    ];
    let definitions: Vec<_> = api::KINDS.iter().filter_map(api::Kind::crd).collect();
    assert_eq!(definitions.len(), table.len());
    for (definition, (kind, name, scope, short_names)) in definitions.iter().zip(table) {
        let names = &definition.spec.names;
        assert_eq!(names.kind, kind);
        assert_eq!(definition.metadata.name.as_deref(), Some(name), "{kind}");
        assert_eq!(definition.spec.scope, scope, "{kind}");
        assert_eq!(names.short_names.clone().unwrap_or_default(), short_names, "{kind}");
        assert_eq!(names.singular.as_deref(), Some(kind.to_lowercase().as_str()), "{kind}");
    }
}

/// The rules of a structural schema, which the API server demands of a CRD.
#[test]
fn the_schemas_of_crds_are_structural() {
    for definition in api::KINDS.iter().filter_map(api::Kind::crd) {
        let kind = &definition.spec.names.kind;
        let schema = &definition.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema;
        let schema = serde_json::to_value(schema).unwrap();
        assert_eq!(schema["type"], "object", "{kind}");
        assert_structural(&schema, kind);
    }
}

fn assert_structural(schema: &Value, path: &str) {
    const FORMATS: [&str; 4] = ["int32", "int64", "double", "date-time"];
    let has = |keyword: &str| schema.get(keyword).is_some();
    assert!(!has("$ref") && !has("$schema") && !has("definitions"), "{path}: reference");
    assert!(!has("oneOf") && !has("anyOf") && !has("allOf") && !has("not"), "{path}: junctor");
    assert!(!(has("properties") && has("additionalProperties")), "{path}: properties beside additionalProperties");
    assert_ne!(schema.get("uniqueItems"), Some(&Value::Bool(true)), "{path}: uniqueItems");
    let untyped = has("x-kubernetes-int-or-string") || has("x-kubernetes-preserve-unknown-fields");
    assert_eq!(schema.get("type").is_some_and(Value::is_string), !untyped, "{path}: type");
    assert!(
        path.contains(".status") || has("description") || path.ends_with("[]") || path.ends_with("{}"),
        "{path}: description"
    );
    if let Some(format) = schema.get("format") {
        assert!(format.as_str().is_some_and(|format| FORMATS.contains(&format)), "{path}: format {format}");
    }
    if schema.get("x-kubernetes-list-type").is_some_and(|list_type| list_type == "set") {
        assert_eq!(schema["items"]["type"], "string", "{path}: set of scalars");
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        assert_structural(property, &format!("{path}.{name}"));
    }
    if has("items") {
        assert_structural(&schema["items"], &format!("{path}[]"));
    }
    if has("additionalProperties") {
        assert_structural(&schema["additionalProperties"], &format!("{path}{{}}"));
    }
}

/// An editor shows the description of whatever the cursor is on, and offers the values of an enum with theirs.
#[test]
fn every_field_and_every_value_is_described() {
    for kind in api::KINDS {
        assert_described(&kind.json_schema(), kind.name);
    }
    let any: Value = serde_json::from_str(&api::any_schema_json()).unwrap();
    assert_described(&any["definitions"]["List"], "List");
}

fn assert_described(schema: &Value, path: &str) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let description = property["description"].as_str().unwrap_or_default();
        assert!(description.len() > 15 && description.ends_with('.'), "{path}: `{description}`");
        assert_described(property, &path);
    }
    if let Some(values) = schema["enum"].as_array().filter(|values| values.iter().any(Value::is_string)) {
        let descriptions = schema["enumDescriptions"].as_array().map_or(0, Vec::len);
        assert_eq!(descriptions, values.iter().filter(|value| value.is_string()).count(), "{path}: {values:?}");
    }
    if schema["items"].is_object() {
        assert_described(&schema["items"], &format!("{path}[]"));
    }
}
