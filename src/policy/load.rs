//! Files to a policy set: every document is told its kind, checked, and put in its place.
//!
//! Input: [`SourceFile`]s. Output: [`Loaded`]. The result does not depend on the order of the files.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::check::{self, Resource};
use super::diagnostic::{closest, did_you_mean};
use super::document::{self, Document};
use super::field::FieldPath;
use super::{
    Diagnostic, Loaded, Location, NetworkSet, Policy, PolicySet, SourceFile, Tier, codes, foreign, order, repair,
};
use crate::api::{self, Kind};

/// Kinds of `dockgate.io` that other commands use.
const NOT_POLICY: [&str; 2] = ["Inventory", "PolicyTest"];

/// Parses and checks policy files. The daemon and `validate` both call this and nothing else.
pub fn load(files: &[SourceFile]) -> Loaded {
    let mut files: Vec<&SourceFile> = files.iter().collect();
    files.sort();
    load_with_former(files, []).0
}

/// Like [`load`], but of two resources with one identity the one counts whose file comes first here. After
/// the files come former versions, which give only what nothing before them defines; for each of them the second result
/// says what that is. Of what is wrong with them, only an unknown tier is a finding.
pub(super) fn load_with_former<'a>(
    files: impl IntoIterator<Item = &'a SourceFile>,
    former: impl IntoIterator<Item = &'a SourceFile>,
) -> (Loaded, Vec<Vec<Identity>>) {
    let mut loader = Loader::default();
    for file in files {
        let (documents, diagnostics) = document::parse(file);
        loader.diagnostics.extend(diagnostics);
        for document in documents {
            loader.document(document);
        }
    }
    let given = former.into_iter().map(|version| loader.fill(version)).collect();
    (loader.finish(), given)
}

/// What tells resources apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    kind: &'static str,
    namespace: Option<String>,
    name: String,
}

impl Identity {
    /// The identity of a document; `None` when it has no name.
    fn of(document: &Document, kind: &Kind) -> Option<Identity> {
        let namespace = document.text("metadata.namespace").map(str::to_owned);
        Some(Identity { kind: kind.name, namespace, name: document.text("metadata.name")?.to_owned() })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity { kind, namespace, name } = self;
        match namespace {
            Some(namespace) => write!(f, "{kind} `{namespace}/{name}`"),
            None => write!(f, "{kind} `{name}`"),
        }
    }
}

#[derive(Default)]
struct Loader {
    policies: Vec<(Policy, Location)>,
    /// Tiers that invalid policies name, and where.
    named_tiers: Vec<(String, Location)>,
    network_sets: Vec<NetworkSet>,
    tiers: Vec<Tier>,
    /// Where each resource was first defined.
    defined: BTreeMap<Identity, Location>,
    resources: BTreeMap<String, usize>,
    diagnostics: Vec<Diagnostic>,
}

impl Loader {
    fn document(&mut self, document: Document) {
        match classify(&document) {
            Class::Known(kind) => self.resource(&document, kind),
            Class::List => self.list(document),
            Class::Other { diagnostics, meant } => {
                self.diagnostics.extend(diagnostics);
                if let Some(kind) = meant {
                    self.misnamed(&document, kind);
                }
            }
        }
    }

    /// Takes from a former version what nothing has defined yet, and says what that was.
    fn fill(&mut self, version: &SourceFile) -> Vec<Identity> {
        let (findings, named_tiers) = (self.diagnostics.len(), self.named_tiers.len());
        let mut given = Vec::new();
        let (mut documents, _) = document::parse(version);
        while let Some(document) = documents.pop() {
            match classify(&document) {
                Class::Known(kind) => {
                    let identity = Identity::of(&document, kind);
                    if let Some(identity) = identity.filter(|identity| !self.defined.contains_key(identity)) {
                        self.resource(&document, kind);
                        given.push(identity);
                    }
                }
                Class::List => documents.extend(document.into_items().unwrap_or_default()),
                Class::Other { .. } => {}
            }
        }
        self.diagnostics.truncate(findings);
        self.named_tiers.truncate(named_tiers);
        given
    }

    /// Checks the items of a list as if each were a document.
    fn list(&mut self, document: Document) {
        let root = FieldPath::root();
        for name in document.value().as_object().into_iter().flatten().map(|(name, _)| name) {
            if !["apiVersion", "kind", "metadata", "items"].contains(&name.as_str()) {
                let message = format!("unknown field `{name}`");
                let finding = document.key_finding(&codes::UNKNOWN_FIELD, &root.literal_key(name), message);
                self.diagnostics.push(finding.with_help("the resources of a list stand under `items`"));
            }
        }
        let items = root.key("items");
        match document.get(&items) {
            Some(Value::Array(_)) => {}
            Some(_) => {
                self.diagnostics.push(document.finding(&codes::WRONG_TYPE, &items, "expected a list"));
                return;
            }
            None => {
                self.diagnostics.push(document.finding(&codes::MISSING_FIELD, &items, "the field `items` is required"));
                return;
            }
        }
        for item in document.into_items().unwrap_or_default() {
            if item.value().is_object() {
                self.document(item);
            } else {
                self.diagnostics.push(item.finding(&codes::NOT_A_MAPPING, &root, "an item must be a mapping"));
            }
        }
    }

    fn resource(&mut self, document: &Document, kind: &'static Kind) {
        *self.resources.entry(kind.name.to_owned()).or_default() += 1;
        let (shape, faults) = document.inspect(kind);
        let is_usable = self.is_first(document, kind) && document.is_unambiguous() && shape.is_empty();
        let resource = if shape.is_empty() {
            let (resource, diagnostics) = check::check(document, kind);
            self.diagnostics.extend(diagnostics);
            resource
        } else {
            self.faulty(document, kind, shape, faults);
            None
        };
        if resource.is_none() {
            self.note_tier(document, kind);
        }
        match resource.filter(|_| is_usable) {
            Some(Resource::Policy(policy, tier_place)) => self.policies.push((policy, tier_place)),
            Some(Resource::NetworkSet(set)) => self.network_sets.push(set),
            Some(Resource::Tier(tier)) => self.tiers.push(tier),
            Some(Resource::Nothing) | None => {}
        }
    }

    /// Reports what is wrong with a document that does not have the shape of its kind: that, and what would be wrong if it
    /// had.
    fn faulty(&mut self, document: &Document, kind: &Kind, shape: Vec<Diagnostic>, faults: Vec<repair::Fault>) {
        let (mended, faults) = repair::mended(document, kind, faults);
        let (_, diagnostics) = check::check(&mended, kind);
        self.diagnostics.extend(shape);
        self.diagnostics.extend(repair::telling(document, &faults, diagnostics));
    }

    /// Reports what else is wrong with a document whose kind or version was misspelt.
    fn misnamed(&mut self, document: &Document, kind: &'static Kind) {
        let (shape, faults) = document.inspect(kind);
        // The schema may insist on the names as well, which has been reported.
        let is_header = |field: &str| {
            ["apiVersion", "kind"].iter().any(|name| field == document.field(&FieldPath::root().key(name)))
        };
        let shape = shape.into_iter().filter(|finding| !is_header(&finding.field)).collect();
        self.faulty(document, kind, shape, faults);
        self.note_tier(document, kind);
    }

    /// Keeps the tier of a policy that is not usable, so that it is reported in the same run if there is none.
    fn note_tier(&mut self, document: &Document, kind: &Kind) {
        if kind.api_version == "projectcalico.org/v3" && kind.kind.ends_with("Policy") {
            let named = document.text("spec.tier").filter(|name| check::is_tier_name(name)).map(str::to_owned);
            self.named_tiers.extend(named.map(|name| (name, document.locate(&FieldPath::root().key("spec.tier")))));
        }
    }

    /// Whether no resource of this identity came before; reports it otherwise. An invalid one counts too: which of two
    /// is meant is not for us to guess.
    fn is_first(&mut self, document: &Document, kind: &'static Kind) -> bool {
        let path = FieldPath::root().key("metadata.name");
        let Some(identity) = Identity::of(document, kind) else { return true };
        let location = document.locate(&path);
        let first = self.defined.entry(identity).or_insert_with(|| location.clone());
        if *first == location {
            return true;
        }
        let name = document.text("metadata.name").unwrap_or_default();
        let message = format!("{} `{name}` is defined already at {first}", kind.name);
        let finding = document.finding(&codes::DUPLICATE_RESOURCE, &path, message);
        self.diagnostics.push(finding.with_help("remove one of the two, or give it another name or namespace"));
        false
    }

    fn finish(mut self) -> Loaded {
        let places: Vec<Location> = self.policies.iter().map(|(_, place)| place.clone()).collect();
        let mut policies: Vec<Policy> = self.policies.into_iter().map(|(policy, _)| policy).collect();
        let tiers = order::tiers(self.tiers, &policies);
        let named = policies.iter().map(|policy| policy.tier.clone()).zip(places).chain(self.named_tiers);
        for (name, place) in named {
            let known = || tiers.iter().filter(|tier| tier.declared).map(|tier| tier.name.as_str());
            if known().all(|known| known != name) {
                let help = did_you_mean(&name, known()).unwrap_or_else(|| "add a Tier of this name".to_owned());
                let message = format!("there is no tier `{name}`");
                let path = FieldPath::root().key("spec.tier");
                self.diagnostics.push(Diagnostic::new(&codes::UNKNOWN_TIER, place, &path, message).with_help(help));
            }
        }
        order::sort_policies(&mut policies, &tiers);
        self.network_sets.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        Diagnostic::sort(&mut self.diagnostics);
        Loaded {
            policies: PolicySet { tiers, policies, network_sets: self.network_sets },
            diagnostics: self.diagnostics,
            resources: self.resources,
        }
    }
}

/// What a document is.
enum Class {
    Known(&'static Kind),
    List,
    /// Nothing that is loaded.
    Other {
        /// Why.
        diagnostics: Vec<Diagnostic>,
        /// The kind that was probably meant.
        meant: Option<&'static Kind>,
    },
}

impl Class {
    fn other(diagnostic: Diagnostic) -> Class {
        Class::Other { diagnostics: vec![diagnostic], meant: None }
    }
}

fn classify(document: &Document) -> Class {
    let api_version = header(document, "apiVersion");
    let kind = header(document, "kind");
    match (api_version, kind) {
        (Ok(None), Ok(None)) if document.value().get("services").is_some_and(Value::is_object) => {
            let path = FieldPath::root();
            Class::other(document.finding(&codes::NOT_POLICY, &path, "this is a Compose file, not a policy"))
        }
        (Ok(Some(api_version)), Ok(Some(kind))) => classify_as(document, api_version, kind),
        (api_version, kind) => {
            let meant = match &kind {
                Ok(Some(kind)) => only(api::KINDS.iter().filter(|known| known.kind == *kind)),
                _ => None,
            };
            let homes = kind.as_ref().ok().copied().flatten().and_then(homes_of);
            let faults = [("apiVersion", api_version, homes), ("kind", kind, None)].into_iter().filter_map(
                |(name, found, help)| match found {
                    Ok(Some(_)) => None,
                    Ok(None) => Some(missing(document, name, help)),
                    Err(diagnostic) => Some(*diagnostic),
                },
            );
            Class::Other { diagnostics: faults.collect(), meant }
        }
    }
}

/// A finding about `apiVersion` or `kind` that is not there, at the key that was probably meant to be it.
fn missing(document: &Document, name: &str, help: Option<String>) -> Diagnostic {
    let root = FieldPath::root();
    let message = format!("the field `{name}` is required");
    let keys = document.value().as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    match closest(name, keys.filter(|key| !["apiVersion", "kind"].contains(key))) {
        Some(key) => {
            let finding = document.key_finding(&codes::NO_KIND, &root.literal_key(key), message);
            finding.with_help(format!("write `{name}` instead of `{key}`"))
        }
        None => Diagnostic { help, ..document.finding(&codes::NO_KIND, &root.key(name), message) },
    }
}

/// Which versions have a kind, in words; `None` when none has.
fn homes_of(kind: &str) -> Option<String> {
    let homes: Vec<String> =
        api::KINDS.iter().filter(|known| known.kind == kind).map(|known| format!("`{}`", known.api_version)).collect();
    (!homes.is_empty()).then(|| format!("{kind} belongs to {}", homes.join(" or ")))
}

fn header<'d>(document: &'d Document, name: &str) -> Result<Option<&'d str>, Box<Diagnostic>> {
    let path = FieldPath::root().key(name);
    match document.get(&path) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Box::new(document.finding(&codes::WRONG_TYPE, &path, "expected text"))),
    }
}

fn classify_as(document: &Document, api_version: &str, kind: &str) -> Class {
    let kind_path = FieldPath::root().key("kind");
    if NOT_POLICY.contains(&kind) && api_version.starts_with("dockgate.io/") {
        let message = format!("a resource of kind {kind} is not a policy");
        return Class::other(document.finding(&codes::NOT_POLICY, &kind_path, message));
    }
    if let Some(known) = api::find(api_version, kind) {
        return Class::Known(known);
    }
    let lists_known = kind.strip_suffix("List").is_some_and(|item| api::find(api_version, item).is_some());
    if lists_known || (api_version, kind) == ("v1", "List") {
        return Class::List;
    }
    if let Some(instead) = foreign::instead(api_version, kind) {
        let message = format!("the kind {kind} of `{api_version}` is not supported");
        return Class::other(document.finding(&codes::UNSUPPORTED_KIND, &kind_path, message).with_help(instead));
    }
    Class::Other { diagnostics: vec![unknown(document, api_version, kind)], meant: meant(api_version, kind) }
}

/// The kind that a misspelt one or a wrong version was probably meant to be; none where there is a choice.
fn meant(api_version: &str, kind: &str) -> Option<&'static Kind> {
    let of_version = |version: &str| api::KINDS.iter().filter(|known| known.api_version == version).collect::<Vec<_>>();
    let succeeded = foreign::successor(api_version).and_then(|successor| api::find(successor, kind));
    let named = succeeded.or_else(|| only(api::KINDS.iter().filter(|known| known.kind == kind)));
    named.or_else(|| {
        let kinds = of_version(closest(api_version, api::KINDS.iter().map(|known| known.api_version))?);
        let name = closest(kind, kinds.iter().map(|known| known.kind))?;
        kinds.into_iter().find(|known| known.kind == name)
    })
}

/// The item of an iterator that has just one.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    items.next().filter(|_| items.next().is_none())
}

/// A finding about a kind that is not known, or an API version that is not.
fn unknown(document: &Document, api_version: &str, kind: &str) -> Diagnostic {
    let kinds: Vec<&str> =
        api::KINDS.iter().filter(|known| known.api_version == api_version).map(|known| known.kind).collect();
    let homes: Vec<&str> =
        api::KINDS.iter().filter(|known| known.kind == kind).map(|known| known.api_version).collect();
    if kinds.is_empty() && api_version != "v1" {
        let path = FieldPath::root().key("apiVersion");
        let message = format!("unknown apiVersion `{api_version}`");
        let finding = document.finding(&codes::UNKNOWN_API_VERSION, &path, message);
        return finding.with_help(right_version(api_version, kind, &homes));
    }
    let path = FieldPath::root().key("kind");
    let finding = |message| document.finding(&codes::UNKNOWN_KIND, &path, message);
    match (homes.first(), did_you_mean(kind, kinds)) {
        _ if api_version == "v1" && homes.is_empty() => {
            finding(format!("the kind {kind} of `v1` is no policy")).with_help(foreign::beside_policies(kind))
        }
        (Some(home), _) => finding(unknown_kind(api_version, kind)).with_help(format!("{kind} belongs to `{home}`")),
        (None, Some(suggestion)) => finding(unknown_kind(api_version, kind)).with_help(suggestion),
        (None, None) => finding(unknown_kind(api_version, kind)),
    }
}

fn unknown_kind(api_version: &str, kind: &str) -> String {
    format!("unknown kind `{kind}` of `{api_version}`")
}

/// What to write in the place of an unknown `apiVersion`, if the kind belongs to the ones given.
fn right_version(api_version: &str, kind: &str, homes: &[&str]) -> String {
    let successor = foreign::successor(api_version).filter(|home| homes.contains(home));
    if let Some(home) = successor.or_else(|| only(homes.iter().copied())) {
        return format!("{kind} belongs to `{home}`");
    }
    did_you_mean(api_version, api::KINDS.iter().map(|kind| kind.api_version))
        .unwrap_or_else(|| "policies are of `projectcalico.org/v3` or `networking.k8s.io/v1`".to_owned())
}

#[cfg(test)]
mod tests;
