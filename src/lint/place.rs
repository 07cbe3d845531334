//! Where a lint's finding stands in the files.
//!
//! Input: findings that name a resource and a field of it. Output: diagnostics with line and column. Checked policies
//! remember where they and their rules begin; single fields are looked up by parsing the file again, and only files with
//! findings are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::net::{PortRange, Protocol};
use crate::policy::codes::Code;
use crate::policy::document::{self, Document};
use crate::policy::field::FieldPath;
use crate::policy::{Diagnostic, Direction, Location, NetworkSet, Policy, PolicyKind, Port, Rule, SourceFile};

/// A field of a resource.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Where the resource begins.
    resource: Location,
    /// Where the closest thing begins whose place is remembered.
    closest: Location,
    /// Fields of which the first that is there is meant, and else the last.
    fields: Vec<FieldPath>,
    /// The entry of a Kubernetes rule's `ports` that is meant. They are checked sorted and joined, so only the text tells.
    port: Option<(Protocol, Port)>,
}

impl Place {
    /// A resource as a whole.
    pub(super) fn policy(policy: &Policy) -> Place {
        Place::of(policy, FieldPath::root())
    }

    fn of(policy: &Policy, field: FieldPath) -> Place {
        let location = policy.location.clone();
        Place { resource: location.clone(), closest: location, fields: vec![field], port: None }
    }

    /// What the policy selects.
    pub(super) fn selector(policy: &Policy) -> Place {
        let field = if is_kubernetes(policy) { "spec.podSelector" } else { "spec.selector" };
        Place::of(policy, FieldPath::root().key(field))
    }

    /// The policy's namespace.
    pub(super) fn namespace(policy: &Policy) -> Place {
        Place::of(policy, FieldPath::root().key("metadata.namespace"))
    }

    /// A rule.
    pub(super) fn rule(policy: &Policy, direction: Direction, rule: &Rule) -> Place {
        Place { closest: rule.location.clone(), ..Place::of(policy, path(direction, rule)) }
    }

    /// A field of a rule, as Calico names it; of a Kubernetes rule what stands for it, or the peer.
    pub(super) fn within(policy: &Policy, direction: Direction, rule: &Rule, field: &str) -> Place {
        let fields = if is_kubernetes(policy) {
            in_kubernetes(direction, rule, field)
        } else {
            vec![path(direction, rule).key(field)]
        };
        Place { fields, ..Place::rule(policy, direction, rule) }
    }

    /// An item of a list of blocks; see [`Place::within`].
    pub(super) fn item(policy: &Policy, direction: Direction, rule: &Rule, field: &str, index: usize) -> Place {
        let place = Place::within(policy, direction, rule, field);
        // The one block of a Kubernetes peer is in no list.
        let is_listed = !is_kubernetes(policy) || field.ends_with(".notNets");
        let item = place.fields.first().filter(|_| is_listed).map(|list| list.index(index));
        Place { fields: item.into_iter().chain(place.fields).collect(), ..place }
    }

    /// The `index`th port of a list of a rule, which is or holds `port`.
    pub(super) fn port(
        policy: &Policy,
        direction: Direction,
        rule: &Rule,
        field: &str,
        (index, port): (usize, Port),
    ) -> Place {
        let place = Place::rule(policy, direction, rule);
        match rule.protocol.filter(|_| is_kubernetes(policy)) {
            Some(protocol) => Place { port: Some((protocol, port)), ..place },
            None => Place { fields: vec![path(direction, rule).key(field).index(index)], ..place },
        }
    }

    /// A block of a network set.
    pub(super) fn block(set: &NetworkSet, index: usize) -> Place {
        let (resource, closest) = (set.location.clone(), set.location.clone());
        Place { resource, closest, fields: vec![FieldPath::root().key("spec.nets").index(index)], port: None }
    }

    /// The field that is meant.
    fn field(&self, document: Option<&Document>) -> FieldPath {
        let Some(document) = document else { return self.fields.last().cloned().unwrap_or_default() };
        let is_there = |field: &&FieldPath| document.get(field).is_some();
        let field = self.fields.iter().find(is_there).or(self.fields.last()).cloned().unwrap_or_default();
        let listed = field.key("ports");
        let entries = document.get(&listed).and_then(serde_json::Value::as_array).into_iter().flatten();
        let entry = self
            .port
            .as_ref()
            .and_then(|(protocol, port)| entries.into_iter().position(|entry| is_entry(entry, *protocol, port)));
        entry.map_or(field, |index| listed.index(index).key("port"))
    }
}

/// Whether a policy is of a kind of Kubernetes.
pub(super) fn is_kubernetes(policy: &Policy) -> bool {
    matches!(policy.key.kind, PolicyKind::KubernetesNetworkPolicy | PolicyKind::StagedKubernetesNetworkPolicy)
}

fn path(direction: Direction, rule: &Rule) -> FieldPath {
    FieldPath::root().key("spec").key(&direction.to_string()).index(rule.index)
}

/// Where a Kubernetes rule says what Calico would say in a field: the closest first, the whole rule last.
fn in_kubernetes(direction: Direction, rule: &Rule, field: &str) -> Vec<FieldPath> {
    let whole = path(direction, rule);
    let (side, list) = match direction {
        Direction::Ingress => ("source.", "from"),
        Direction::Egress => ("destination.", "to"),
    };
    let peer = rule.peer.filter(|_| field.starts_with(side)).map(|index| whole.key(list).index(index));
    let closest = peer.iter().flat_map(|peer| {
        let fields: &[&str] = match &field[side.len()..] {
            "selector" => &["podSelector", "namespaceSelector"],
            "namespaceSelector" => &["namespaceSelector", "podSelector"],
            "nets" => &["ipBlock.cidr"],
            "notNets" => &["ipBlock.except"],
            _ => &[],
        };
        fields.iter().map(|field| peer.key(field))
    });
    closest.chain(peer.clone()).chain([whole]).collect()
}

/// Whether an entry of a Kubernetes rule's `ports`, as it is written, is or holds a port.
fn is_entry(entry: &serde_json::Value, protocol: Protocol, port: &Port) -> bool {
    let written = entry.get("protocol").and_then(serde_json::Value::as_str).unwrap_or("TCP");
    let first = match entry.get("port") {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(number) => number.to_string(),
        None => return false,
    };
    let is_port = match port {
        Port::Named(name) => first == *name,
        Port::Range(wanted) => {
            let number = |text: &str| text.parse::<u16>().ok();
            let last = entry.get("endPort").map_or_else(|| first.clone(), ToString::to_string);
            let range = number(&first).zip(number(&last)).and_then(|(first, last)| PortRange::new(first, last));
            range.is_some_and(|range| range.first() <= wanted.first() && wanted.last() <= range.last())
        }
    };
    is_port && written.parse() == Ok(protocol)
}

/// A finding whose line is not known yet.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    code: &'static Code,
    place: Place,
    message: String,
    help: Option<String>,
}

impl Finding {
    pub(super) fn new(code: &'static Code, place: Place, message: impl Into<String>) -> Finding {
        Finding { code, place, message: message.into(), help: None }
    }

    #[must_use]
    pub(super) fn with_help(self, help: impl Into<String>) -> Finding {
        Finding { help: Some(help.into()), ..self }
    }
}

/// Finds fields in files.
pub(super) struct Places<'a> {
    files: BTreeMap<&'a Path, &'a SourceFile>,
    parsed: BTreeMap<PathBuf, BTreeMap<Location, Document>>,
}

impl<'a> Places<'a> {
    pub(super) fn new(files: &'a [SourceFile]) -> Places<'a> {
        let files = files.iter().map(|file| (file.path.as_path(), file)).collect();
        Places { files, parsed: BTreeMap::new() }
    }

    pub(super) fn place(&mut self, finding: Finding) -> Diagnostic {
        let Finding { code, place, message, help } = finding;
        let found = match self.document(&place.resource) {
            Some(document) => document.finding(code, &place.field(Some(document)), message),
            None => Diagnostic::new(code, place.closest.clone(), &place.field(None), message),
        };
        Diagnostic { help, ..found }
    }

    /// The resource that begins at a place.
    fn document(&mut self, location: &Location) -> Option<&Document> {
        if !self.parsed.contains_key(&location.file) {
            let file = self.files.get(location.file.as_path())?;
            let (documents, _) = document::parse(file);
            self.parsed.insert(location.file.clone(), by_place(documents));
        }
        self.parsed.get(&location.file)?.get(location)
    }
}

/// Documents, items of lists included, by where they begin.
fn by_place(documents: Vec<Document>) -> BTreeMap<Location, Document> {
    let mut by_place = BTreeMap::new();
    let mut open = documents;
    let items = FieldPath::root().key("items");
    while let Some(document) = open.pop() {
        if document.get(&items).is_some_and(serde_json::Value::is_array) {
            open.extend(document.into_items().unwrap_or_default());
        } else {
            by_place.insert(document.locate(&FieldPath::root()), document);
        }
    }
    by_place
}
