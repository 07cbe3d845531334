//! A Compose document in one form: without what no policy can see, with variables substituted, and with a mapping wherever
//! Compose takes a list or a mapping.
//!
//! Input: the tree of a document. Output: the same tree, ready to be merged. Variables are substituted only in what is
//! kept, so that nobody has to know a password to ask who may reach whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value as Json;

use super::merge::form;
use super::node::{Content, Entry, Map, Mode, Node};
use super::template::{Problem, substitute};
use crate::policy::diagnostic::did_you_mean;
use crate::policy::{Diagnostic, codes};

/// Keys of a file that are read.
const TOP_KEYS: [&str; 4] = ["include", "name", "networks", "services"];
/// Keys of a file that are not, and could be taken for a misspelling of one that is.
const OTHER_TOP_KEYS: [&str; 5] = ["configs", "models", "secrets", "version", "volumes"];
/// Keys of a service that are read.
const SERVICE_KEYS: [&str; 20] = [
    "cgroup",
    "container_name",
    "depends_on",
    "deploy",
    "extends",
    "image",
    "ipc",
    "label_file",
    "labels",
    "links",
    "mac_address",
    "network_mode",
    "networks",
    "pid",
    "ports",
    "profiles",
    "provider",
    "scale",
    "uts",
    "volumes_from",
];
/// Keys of a service that are not, and could be taken for a misspelling of one that is.
const OTHER_SERVICE_KEYS: [&str; 3] = ["init", "expose", "develop"];
/// Keys under `deploy` that are read.
const DEPLOY_KEYS: [&str; 2] = ["mode", "replicas"];
/// Keys of a network that are read.
const NETWORK_KEYS: [&str; 8] =
    ["driver", "driver_opts", "enable_ipv4", "enable_ipv6", "external", "internal", "ipam", "name"];

/// Where a document stands.
#[derive(Clone, Copy)]
pub(super) struct Context<'c> {
    /// The directory from which its paths begin.
    pub(super) directory: &'c Path,
    /// Values of variables.
    pub(super) variables: &'c BTreeMap<String, String>,
}

/// Brings documents into form.
pub(super) struct Former<'f> {
    pub(super) findings: &'f mut Vec<Diagnostic>,
    /// Variables of which it was said that they are not set.
    pub(super) unset: &'f mut BTreeSet<String>,
    pub(super) context: Context<'f>,
}

impl Former<'_> {
    pub(super) fn document(&mut self, node: Node) -> Node {
        if let Some(finding) = resource(&node) {
            self.findings.push(finding);
            return node.with(Content::Map(Map::new()));
        }
        self.unknown_top_keys(&node);
        self.map(node, |former, map| {
            former.keep(map, &TOP_KEYS, &OTHER_TOP_KEYS, |former, name, value| match name {
                "services" => former.each(value, |former, service| former.map(service, Self::service)),
                "networks" => former.each(value, |former, network| {
                    let network = if network.is_null() { network.with(Content::Map(Map::new())) } else { network };
                    former.map(network, Self::network)
                }),
                _ => former.substituted(value),
            })
        })
    }

    /// Reports what no Compose file has at its top: a file that is something else must not pass as one without services.
    fn unknown_top_keys(&mut self, node: &Node) {
        let Content::Map(map) = &node.content else { return };
        let is_known =
            |name: &str| TOP_KEYS.contains(&name) || OTHER_TOP_KEYS.contains(&name) || name.starts_with("x-");
        for (name, entry) in map.iter().filter(|(name, _)| !is_known(name)) {
            let message = format!("Compose knows no key `{name}` here");
            let help = did_you_mean(name, TOP_KEYS.iter().copied()).unwrap_or_else(|| {
                if entry.value.get("image").or_else(|| entry.value.get("build")).is_some() {
                    format!("a service stands under `services`: `services: {{{name}: ...}}`")
                } else {
                    "name an extension `x-...`".to_owned()
                }
            });
            let finding = Diagnostic::new(&codes::UNKNOWN_FIELD, entry.key.clone(), &entry.value.field, message);
            self.findings.push(finding.with_help(help));
        }
    }

    fn service(&mut self, map: Map) -> Map {
        self.keep(map, &SERVICE_KEYS, &OTHER_SERVICE_KEYS, |former, name, value| {
            let value = match name {
                "deploy" => former.map(value, |former, map| {
                    former.keep(map, &DEPLOY_KEYS, &[], |former, _, value| former.substituted(value))
                }),
                _ => former.substituted(value),
            };
            match name {
                "labels" => former.labels(value),
                "depends_on" | "networks" => former.keys(value),
                "profiles" | "links" | "volumes_from" => former.list(value),
                "label_file" => former.paths(value),
                "extends" => match value.text() {
                    Some(_) => single(value, "service"),
                    None => value,
                },
                _ => value,
            }
        })
    }

    fn network(&mut self, map: Map) -> Map {
        let mut map = self.keep(map, &NETWORK_KEYS, &[], |former, _, value| former.substituted(value));
        // The old form of an external network with another name.
        if let Some(external) = map.get("external").filter(|entry| matches!(entry.value.content, Content::Map(_))) {
            let external = external.clone();
            if let Content::Map(mut inner) = external.value.content.clone()
                && let Some(name) = inner.remove("name")
            {
                map.entry("name".to_owned()).or_insert(name);
            }
            let value = external.value.with(Content::Scalar(Json::Bool(true)));
            map.insert("external".to_owned(), Entry { value, ..external });
        }
        map
    }

    /// Applies a change to a mapping; reports what is none, and takes it for an empty one.
    fn map(&mut self, node: Node, change: impl FnOnce(&mut Self, Map) -> Map) -> Node {
        let (location, field) = (node.location.clone(), node.field.clone());
        let map = match node.content {
            Content::Map(map) => map,
            ref content => {
                let message = format!("a mapping is expected here, not {}", form(content));
                self.findings.push(node.finding(&codes::WRONG_TYPE, message));
                Map::new()
            }
        };
        Node { content: Content::Map(change(self, map)), location, field }
    }

    /// Applies a change to every value of a mapping, except those that are reset and `x-` extensions.
    fn each(&mut self, node: Node, change: impl Fn(&mut Self, Node) -> Node) -> Node {
        self.map(node, |former, map| {
            map.into_iter()
                .filter(|(name, _)| !name.starts_with("x-"))
                .map(|(name, entry)| match entry.mode {
                    Mode::Reset => (name, entry),
                    Mode::Merge | Mode::Override => {
                        (name, Entry { value: change(former, entry.value), key: entry.key, mode: entry.mode })
                    }
                })
                .collect()
        })
    }

    /// The keys that are read and not null. Others may be what later versions of Compose know; only what looks like a
    /// misspelling is reported. At the top of a file [`Former::unknown_top_keys`] has reported them all.
    fn keep(
        &mut self,
        map: Map,
        read: &[&str],
        others: &[&str],
        change: impl Fn(&mut Self, &str, Node) -> Node,
    ) -> Map {
        let mut kept = Map::new();
        for (name, entry) in map {
            if !read.contains(&name.as_str()) {
                let hint = did_you_mean(&name, read.iter().copied());
                let is_top = read == TOP_KEYS;
                let is_known = is_top || others.contains(&name.as_str()) || name.starts_with("x-");
                if let Some(hint) = hint.filter(|_| !is_known) {
                    let message = format!("Compose knows no key `{name}` here");
                    let finding =
                        Diagnostic::new(&codes::UNKNOWN_FIELD, entry.key.clone(), &entry.value.field, message);
                    self.findings.push(finding.with_help(hint));
                }
            } else if entry.mode == Mode::Reset {
                kept.insert(name, entry);
            } else if !entry.value.is_null() {
                let value = change(self, &name, entry.value);
                kept.insert(name, Entry { value, key: entry.key, mode: entry.mode });
            }
        }
        kept
    }

    /// The value with variables substituted in every text. Keys are left as they are, as Compose leaves them.
    fn substituted(&mut self, node: Node) -> Node {
        let content = match node.content {
            Content::Scalar(Json::String(ref text)) if text.contains('$') => {
                Content::Scalar(Json::String(self.substituted_text(&node, text)))
            }
            scalar @ Content::Scalar(_) => scalar,
            Content::List(items) => Content::List(items.into_iter().map(|item| self.substituted(item)).collect()),
            Content::Map(map) => Content::Map(
                map.into_iter()
                    .map(|(name, entry)| {
                        (name, Entry { value: self.substituted(entry.value), key: entry.key, mode: entry.mode })
                    })
                    .collect(),
            ),
        };
        Node { content, location: node.location, field: node.field }
    }

    fn substituted_text(&mut self, node: &Node, text: &str) -> String {
        let mut unset = BTreeSet::new();
        let result = substitute(text, self.context.variables, &mut unset);
        for name in unset {
            if self.unset.insert(name.clone()) {
                let message = format!("the variable `{name}` is not set, and taken as empty");
                let help = format!(
                    "set it in the environment, in `.env` or in a file named with --env-file, or write `${{{name}:-DEFAULT}}`"
                );
                self.findings.push(node.finding(&codes::VARIABLE_UNSET, message).with_help(help));
            }
        }
        result.unwrap_or_else(|problem| {
            let finding = match problem {
                Problem::Invalid(_) | Problem::Deep => node.finding(&codes::SUBSTITUTION, problem.to_string()),
                Problem::Required { .. } => node
                    .finding(&codes::VARIABLE_REQUIRED, problem.to_string())
                    .with_help("set it in the environment, in `.env` or in a file named with --env-file"),
            };
            self.findings.push(finding);
            String::new()
        })
    }

    /// Labels as a mapping of texts, from a mapping or a list of `KEY=VALUE`.
    fn labels(&mut self, node: Node) -> Node {
        let Content::List(items) = node.content else { return node };
        let mut map = Map::new();
        for item in items {
            let Some(text) = item.text() else {
                self.findings.push(item.finding(&codes::WRONG_TYPE, "a label is text such as `KEY=VALUE`"));
                continue;
            };
            let (name, value) = text.split_once('=').unwrap_or((&text, ""));
            let value = item.with(Content::Scalar(Json::String(value.to_owned())));
            map.insert(name.to_owned(), Entry { key: item.location.clone(), value, mode: Mode::Merge });
        }
        Node { content: Content::Map(map), location: node.location, field: node.field }
    }

    /// A list of names as a mapping of names to nothing.
    fn keys(&mut self, node: Node) -> Node {
        let Content::List(items) = node.content else { return node };
        let mut map = Map::new();
        for item in items {
            match item.text() {
                Some(name) => {
                    let value = item.with(Content::Scalar(Json::Null));
                    map.insert(name, Entry { key: item.location.clone(), value, mode: Mode::Merge });
                }
                None => self.findings.push(item.finding(&codes::WRONG_TYPE, "a name is expected here")),
            }
        }
        Node { content: Content::Map(map), location: node.location, field: node.field }
    }

    /// A list, also where there is one text instead.
    #[expect(clippy::unused_self, reason = "one of a family that is called alike")]
    fn list(&mut self, node: Node) -> Node {
        let Content::Scalar(_) = node.content else { return node };
        Node { location: node.location.clone(), field: node.field.clone(), content: Content::List(vec![node]) }
    }

    /// A list of paths, from the directory of the document.
    fn paths(&mut self, node: Node) -> Node {
        let mut node = self.list(node);
        if let Content::List(items) = &mut node.content {
            for item in items {
                if let Some(text) = item.text() {
                    let path = self.context.directory.join(text);
                    item.content = Content::Scalar(Json::String(path.to_string_lossy().into_owned()));
                }
            }
        }
        node
    }
}

/// What is to be said of a resource of Kubernetes, Calico or dockgate in the place of a Compose file.
fn resource(node: &Node) -> Option<Diagnostic> {
    let Content::Map(map) = &node.content else { return None };
    let (version, kind) = (map.get("apiVersion")?, node.get("kind")?.text()?);
    if map.contains_key("services") {
        return None;
    }
    let (what, help) = if kind == "Inventory" {
        ("an inventory", "name it with --inventory in the place of --compose")
    } else {
        ("a policy", "--compose takes the file that `docker compose` takes; policies are named apart from it")
    };
    let message = format!("this is {what} (`kind: {kind}`), not a Compose file");
    let finding = Diagnostic::new(&codes::UNKNOWN_FIELD, version.key.clone(), &version.value.field, message);
    Some(finding.with_help(help))
}

/// A mapping with the value under one key.
fn single(node: Node, name: &str) -> Node {
    let (location, field) = (node.location.clone(), node.field.clone());
    let entry = Entry { key: location.clone(), value: node, mode: Mode::Merge };
    Node { content: Content::Map(Map::from([(name.to_owned(), entry)])), location, field }
}
