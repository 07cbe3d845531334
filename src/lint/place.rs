//! Where a lint's finding stands in the files.
//!
//! Input: findings that name a resource and a field of it. Output: diagnostics with line and column. Checked policies
//! remember where they and their rules begin; single fields are looked up by parsing the file again, and only files with
//! findings are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::policy::codes::Code;
use crate::policy::document::{self, Document};
use crate::policy::field::FieldPath;
use crate::policy::{Diagnostic, Direction, Location, NetworkSet, Policy, PolicyKind, Rule, SourceFile};

/// A field of a resource.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Where the resource begins.
    resource: Location,
    /// Where the closest thing begins whose place is remembered.
    closest: Location,
    field: FieldPath,
}

impl Place {
    /// A resource as a whole.
    pub(super) fn policy(policy: &Policy) -> Place {
        Place { resource: policy.location.clone(), closest: policy.location.clone(), field: FieldPath::root() }
    }

    /// What the policy selects.
    pub(super) fn selector(policy: &Policy) -> Place {
        let field = if is_kubernetes(policy.key.kind) { "spec.podSelector" } else { "spec.selector" };
        Place { field: FieldPath::root().key(field), ..Place::policy(policy) }
    }

    /// The policy's namespace.
    pub(super) fn namespace(policy: &Policy) -> Place {
        Place { field: FieldPath::root().key("metadata.namespace"), ..Place::policy(policy) }
    }

    /// A rule.
    pub(super) fn rule(policy: &Policy, direction: Direction, rule: &Rule) -> Place {
        let field = FieldPath::root().key("spec").key(&direction.to_string()).index(rule.index);
        Place { field, closest: rule.location.clone(), ..Place::policy(policy) }
    }

    /// A field of a rule, as Calico names it. A rule of Kubernetes is taken apart, and it is not remembered from which peer
    /// a part comes: there it is the rule.
    pub(super) fn within(policy: &Policy, direction: Direction, rule: &Rule, field: &str) -> Place {
        let place = Place::rule(policy, direction, rule);
        if is_kubernetes(policy.key.kind) { place } else { Place { field: place.field.key(field), ..place } }
    }

    /// An item of a list of a rule; see [`Place::within`].
    pub(super) fn item(policy: &Policy, direction: Direction, rule: &Rule, field: &str, index: usize) -> Place {
        let place = Place::within(policy, direction, rule, field);
        if is_kubernetes(policy.key.kind) { place } else { Place { field: place.field.index(index), ..place } }
    }

    /// A block of a network set.
    pub(super) fn block(set: &NetworkSet, index: usize) -> Place {
        let field = FieldPath::root().key("spec.nets").index(index);
        Place { resource: set.location.clone(), closest: set.location.clone(), field }
    }
}

fn is_kubernetes(kind: PolicyKind) -> bool {
    matches!(kind, PolicyKind::KubernetesNetworkPolicy | PolicyKind::StagedKubernetesNetworkPolicy)
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
            Some(document) => document.finding(code, &place.field, message),
            None => Diagnostic::new(code, place.closest, &place.field, message),
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
