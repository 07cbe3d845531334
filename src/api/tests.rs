//! What the schemas and the types say of the same documents must be the same.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::dockgate::{PublishedPort, PublishedProtocol};
use super::*;

/// A document and what the type of its kind makes of it: the document read and written again, or why it cannot be read.
type Read = fn(Value) -> Result<Value, serde_json::Error>;

fn read_and_write<T: DeserializeOwned + Serialize>(document: Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(document)?)
}

fn reader(kind: &Kind) -> Read {
    match kind.name {
        "GlobalNetworkPolicy" => read_and_write::<calico::GlobalNetworkPolicy>,
        "GlobalNetworkSet" => read_and_write::<calico::GlobalNetworkSet>,
        "Inventory" => read_and_write::<dockgate::Inventory>,
        "KubernetesNetworkPolicy" => read_and_write::<kubernetes::KubernetesNetworkPolicy>,
        "NetworkPolicy" => read_and_write::<calico::NetworkPolicy>,
        "NetworkSet" => read_and_write::<calico::NetworkSet>,
        "PolicyTest" => read_and_write::<policy_test::PolicyTest>,
        "StagedGlobalNetworkPolicy" => read_and_write::<calico::StagedGlobalNetworkPolicy>,
        "StagedKubernetesNetworkPolicy" => read_and_write::<calico::StagedKubernetesNetworkPolicy>,
        "StagedNetworkPolicy" => read_and_write::<calico::StagedNetworkPolicy>,
        "Tier" => read_and_write::<calico::Tier>,
        other => panic!("no type for {other}"),
    }
}

/// One document of every kind, together with every field there is.
fn documents() -> Vec<(&'static Kind, Value)> {
    [
        include_str!("documents/calico.yaml"),
        include_str!("documents/kubernetes.yaml"),
        include_str!("documents/dockgate.yaml"),
        include_str!("documents/policy-test.yaml"),
    ]
    .into_iter()
    .flat_map(documents_in)
    .collect()
}

fn documents_in(text: &str) -> Vec<(&'static Kind, Value)> {
    let documents = serde_yaml::from_multiple::<Value>(text).unwrap();
    let with_kind = |document: Value| {
        let text = |name: &str| document[name].as_str().unwrap_or_default();
        let kind = find(text("apiVersion"), text("kind")).unwrap_or_else(|| panic!("no kind: {document}"));
        (kind, document)
    };
    documents.into_iter().map(with_kind).collect()
}

/// Every document of `examples/`, with its file; those of `examples/ci` are for pipelines.
fn examples() -> Vec<(PathBuf, &'static Kind, Value)> {
    fn files(directory: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
    }
    let is_resource = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "yaml")
            && !path.ends_with("compose.yaml")
            && !path.parent().is_some_and(|directory| directory.ends_with("examples/ci"))
    };
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"))
        .into_iter()
        .filter(is_resource)
        .flat_map(|path| {
            let documents = documents_in(&std::fs::read_to_string(&path).unwrap());
            documents.into_iter().map(move |(kind, document)| (path.clone(), kind, document))
        })
        .collect()
}

fn validator(kind: &Kind) -> jsonschema::Validator {
    jsonschema::draft7::new(&kind.json_schema()).unwrap()
}

/// Pointers to every object of a document that is not a map with free keys, and for each the keys it has.
fn objects(document: &Value) -> Vec<(String, Vec<String>)> {
    const FREE: [&str; 5] = ["labels", "annotations", "matchLabels", "groups", "status"];
    fn walk(value: &Value, pointer: &str, found: &mut Vec<(String, Vec<String>)>) {
        match value {
            Value::Object(map) => {
                found.push((pointer.to_owned(), map.keys().cloned().collect()));
                for (key, value) in map.iter().filter(|(key, _)| !FREE.contains(&key.as_str())) {
                    walk(value, &format!("{pointer}/{key}"), found);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    walk(item, &format!("{pointer}/{index}"), found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(document, "", &mut found);
    // What a cluster writes into metadata is read over in whatever form.
    found.retain(|(pointer, _)| !pointer.starts_with("/metadata/"));
    found
}

fn with(document: &Value, pointer: &str, key: &str, value: Option<Value>) -> Value {
    let mut changed = document.clone();
    let object = changed.pointer_mut(pointer).and_then(Value::as_object_mut).unwrap();
    match value {
        Some(value) => object.insert(key.to_owned(), value),
        None => object.remove(key),
    };
    changed
}

/// All property names that a schema has, with the path of property names that leads to each.
fn properties(schema: &Value) -> BTreeSet<String> {
    fn walk(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            walk(property, &path, found);
            found.insert(path);
        }
        walk_if_there(&schema["items"], path, found);
    }
    fn walk_if_there(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
        if schema.is_object() {
            walk(schema, path, found);
        }
    }
    let mut found = BTreeSet::new();
    walk(schema, "", &mut found);
    found
}

#[test]
fn every_document_is_valid_and_comes_back_as_it_was() {
    for (kind, document) in documents() {
        let errors: Vec<String> = validator(kind).iter_errors(&document).map(|error| error.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new(), "{}", kind.name);
        assert_eq!(reader(kind)(document.clone()).unwrap(), document, "{}", kind.name);
    }
}

#[test]
fn the_examples_are_valid_and_readable() {
    let examples = examples();
    assert!(!examples.is_empty());
    for (path, kind, document) in examples {
        let errors: Vec<String> = validator(kind).iter_errors(&document).map(|error| error.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new(), "{}", path.display());
        let written = reader(kind)(document).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(validator(kind).is_valid(&written), "{}", path.display());
    }
}

#[test]
fn the_documents_use_every_field_of_the_kinds() {
    let kinds: BTreeSet<&str> = documents().iter().map(|(kind, _)| kind.name).collect();
    assert_eq!(kinds, KINDS.iter().map(|kind| kind.name).collect());
    // The fields of rules and peers are used once; that is enough, since the kinds share the types.
    let used: BTreeSet<String> =
        documents().iter().flat_map(|(_, document)| objects(document)).flat_map(|(_, keys)| keys).collect();
    for (kind, _) in documents() {
        for path in properties(&kind.json_schema()) {
            let name = path.rsplit('.').next().unwrap();
            assert!(name == "status" || path.starts_with(".status.") || used.contains(name), "{}: {path}", kind.name);
        }
    }
}

#[test]
fn an_unknown_field_is_refused_everywhere() {
    for (kind, document) in documents() {
        let (validator, read) = (validator(kind), reader(kind));
        for (pointer, _) in objects(&document) {
            let changed = with(&document, &pointer, "unknownField", Some(json!("x")));
            assert!(!validator.is_valid(&changed), "schema: {} {pointer}", kind.name);
            if pointer.starts_with("/spec") {
                assert!(read(changed).is_err(), "type: {} {pointer}", kind.name);
            }
        }
    }
}

/// Null is what YAML makes of a key with nothing behind it; Kubernetes takes it for an absent field.
#[test]
fn null_and_absence_are_alike_and_refused_only_for_required_fields() {
    let required = |kind: &Kind, pointer: &str, key: &str| match pointer {
        "" => ["apiVersion", "kind", "metadata", "spec"].contains(&key),
        "/metadata" => key == "name" && kind.group() != "dockgate.io",
        // The whole field is refused later, with or without a name.
        _ if pointer.ends_with("/services") => false,
        _ if pointer.starts_with("/spec/matrix") => key == "table",
        _ if pointer.starts_with("/spec/cases/") || pointer.starts_with("/spec/invariants/") => {
            let of_exception = pointer.contains("/except/") && !pointer.ends_with("/to");
            !of_exception && ["from", "to", "expect", "selector"].contains(&key)
        }
        _ => ["name", "action", "cidr", "key", "operator", "target"].contains(&key),
    };
    for (kind, document) in documents() {
        let (validator, read) = (validator(kind), reader(kind));
        for (pointer, keys) in objects(&document) {
            for key in keys {
                for value in [Some(Value::Null), None] {
                    let changed = with(&document, &pointer, &key, value.clone());
                    let valid = validator.is_valid(&changed);
                    let at = format!("{} {pointer}/{key} {value:?}", kind.name);
                    assert_eq!(valid, !required(kind, &pointer, &key), "schema: {at}");
                    if pointer.starts_with("/spec") {
                        assert_eq!(read(changed).is_ok(), valid, "type: {at}");
                    }
                }
            }
        }
    }
}

#[test]
fn shapes_that_are_refused() {
    let (kind, document) = documents().into_iter().find(|(kind, _)| kind.name == "NetworkPolicy").unwrap();
    let validator = validator(kind);
    for (case, pointer, key, value) in [
        ("another version", "", "apiVersion", json!("projectcalico.org/v4")),
        ("a selector as an object", "/spec", "selector", json!({})),
        ("a selector that is too long", "/spec", "selector", json!("a".repeat(1025))),
        ("types twice", "/spec", "types", json!(["Ingress", "Ingress"])),
        ("no types at all", "/spec", "types", json!([])),
        ("types in lower case", "/spec", "types", json!(["ingress"])),
        ("an order as text", "/spec", "order", json!("1")),
        ("too many rules", "/spec", "ingress", json!(vec![json!({ "action": "Allow" }); 1025])),
        ("an action in lower case", "/spec/ingress/0", "action", json!("allow")),
        ("IP version 5", "/spec/ingress/0", "ipVersion", json!(5)),
        ("protocol 0", "/spec/ingress/0", "protocol", json!(0)),
        ("protocol 256", "/spec/ingress/0", "protocol", json!(256)),
        ("ICMP type 255", "/spec/egress/0/icmp", "type", json!(255)),
        ("port 0", "/spec/ingress/0/source", "ports", json!([0])),
        ("port 65536", "/spec/ingress/0/source", "ports", json!([65536])),
        ("a port that is a list", "/spec/ingress/0/source", "ports", json!([[80]])),
        ("too many ports", "/spec/ingress/0/source", "ports", json!((1..=51).collect::<Vec<_>>())),
        ("a net twice", "/spec/ingress/0/source", "nets", json!(["10.0.0.0/8", "10.0.0.0/8"])),
        ("too many nets", "/spec/ingress/0/source", "nets", json!((0..257).map(|i| i.to_string()).collect::<Vec<_>>())),
        ("a label that is a number", "/metadata", "labels", json!({ "version": 1 })),
        ("an empty name", "/metadata", "name", json!("")),
    ] {
        assert!(!validator.is_valid(&with(&document, pointer, key, Some(value))), "{case}");
    }
}

#[test]
fn a_kind_of_the_host_has_no_namespace() {
    for (kind, document) in documents() {
        let changed = with(&document, "/metadata", "namespace", Some(json!("shop")));
        assert_eq!(validator(kind).is_valid(&changed), kind.namespaced, "{}", kind.name);
    }
}

#[test]
fn the_list_of_kinds_says_what_the_types_say() {
    for kind in KINDS {
        let definition = (kind.definition)();
        let spec = &definition.spec;
        assert_eq!(kind.api_version, format!("{}/{}", spec.group, spec.versions[0].name));
        assert_eq!(kind.kind, spec.names.kind);
        assert_eq!(spec.scope, if kind.namespaced { "Namespaced" } else { "Cluster" }, "{}", kind.name);
        assert_eq!(kind.crd().is_none(), kind.group() == "networking.k8s.io", "{}", kind.name);
    }
}

#[test]
fn kinds_are_found_by_what_people_call_them() {
    for (text, name) in [
        ("NetworkPolicy", Some("NetworkPolicy")),
        ("networkpolicies", Some("NetworkPolicy")),
        ("cnp", Some("NetworkPolicy")),
        ("networkpolicies.networking.k8s.io", Some("KubernetesNetworkPolicy")),
        ("kubernetesnetworkpolicy", Some("KubernetesNetworkPolicy")),
        ("netpol", Some("KubernetesNetworkPolicy")),
        ("networkpolicy.projectcalico.org", Some("NetworkPolicy")),
        ("GNP", Some("GlobalNetworkPolicy")),
        ("inventories", Some("Inventory")),
        ("pod", None),
        ("", None),
        (".projectcalico.org", None),
    ] {
        assert_eq!(find_named(text).map(|kind| kind.name), name, "{text}");
    }
}

#[test]
fn published_ports_are_read_as_compose_reads_them() {
    let port = |target, published, host_ip: Option<&str>, protocol| PublishedPort {
        target,
        published,
        host_ip: host_ip.map(str::to_owned),
        protocol: Some(protocol),
    };
    let (tcp, udp) = (PublishedProtocol::Tcp, PublishedProtocol::Udp);
    for (text, expected) in [
        ("80", Some(port(80, None, None, tcp))),
        ("8080:80", Some(port(80, Some(8080), None, tcp))),
        ("53:53/udp", Some(port(53, Some(53), None, udp))),
        ("127.0.0.1:8080:80", Some(port(80, Some(8080), Some("127.0.0.1"), tcp))),
        ("127.0.0.1::80", Some(port(80, None, Some("127.0.0.1"), tcp))),
        ("[::1]:8080:80/tcp", Some(port(80, Some(8080), Some("::1"), tcp))),
        ("::1:8080:80", None),
        ("0:80", None),
        ("8080:", None),
        (":80", None),
        ("80-90:80-90", None),
        ("80/icmp", None),
        ("shop:8080:80", None),
        ("", None),
    ] {
        assert_eq!(text.parse().ok(), expected, "{text}");
    }
}

#[test]
fn ports_and_protocols_print_as_they_are_read() {
    for (written, printed) in [(json!(80), "80"), (json!("80"), "80"), (json!("1:2"), "1:2"), (json!("http"), "http")] {
        let port: int_or_string::Port = serde_json::from_value(written).unwrap();
        assert_eq!(port.to_string(), printed);
    }
}
