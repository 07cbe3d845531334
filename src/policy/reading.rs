//! What one file says, apart from all others: every document is told its kind and checked.
//!
//! Input: a [`SourceFile`]. Output: its [`Reading`]. It depends on nothing but the file, so that a file that has not changed
//! is not read again: of a thousand files an edit changes one.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::check::{self, Resource};
use super::diagnostic::{closest, did_you_mean};
use super::document::{self, Document};
use super::field::FieldPath;
use super::{Diagnostic, Location, SourceFile, codes, foreign, repair};
use crate::api::{self, Kind};

/// Kinds of `dockgate.io` that other commands use.
const NOT_POLICY: [&str; 2] = ["Inventory", "PolicyTest"];

/// What a file says, in the order of its documents.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) entries: Vec<Entry>,
    /// Whether it has no document and nothing is wrong with that.
    pub(super) is_blank: bool,
}

/// A part of a reading.
#[derive(Debug)]
pub(super) enum Entry {
    /// A finding about something that is no resource.
    Finding(Diagnostic),
    /// A tier that something names which is meant to be a policy, and where.
    Tier(String, Location),
    /// A resource.
    Resource(Box<Found>),
}

/// A resource as its document has it.
#[derive(Debug)]
pub(super) struct Found {
    /// Name of its kind.
    pub(super) kind: &'static str,
    /// `None` when it has no name.
    pub(super) identity: Option<Identity>,
    /// Where its name stands.
    pub(super) place: Location,
    /// What is wrong with it, or worth knowing.
    pub(super) findings: Vec<Diagnostic>,
    /// What is to be said if another resource has the identity already; the message lacks where.
    pub(super) duplicate: Diagnostic,
    /// The resource; `None` when it is not usable.
    pub(super) resource: Option<Resource>,
    /// The tier that it names, and where, when it is invalid.
    pub(super) tier: Option<(String, Location)>,
}

impl Reading {
    /// Reads a file.
    pub(super) fn of(file: &SourceFile) -> Reading {
        let (documents, diagnostics) = document::parse(file);
        let mut reading = Reading { is_blank: documents.is_empty() && diagnostics.is_empty(), ..Reading::default() };
        reading.tell_all(diagnostics);
        for document in documents {
            reading.document(document);
        }
        reading
    }

    /// Its resources in order.
    pub(super) fn resources(&self) -> impl DoubleEndedIterator<Item = &Found> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Resource(found) => Some(&**found),
            Entry::Finding(_) | Entry::Tier(..) => None,
        })
    }

    fn tell(&mut self, finding: Diagnostic) {
        self.entries.push(Entry::Finding(finding));
    }

    fn tell_all(&mut self, findings: Vec<Diagnostic>) {
        self.entries.extend(findings.into_iter().map(Entry::Finding));
    }

    fn document(&mut self, document: Document) {
        match classify(&document) {
            Class::Known(kind) => self.entries.push(Entry::Resource(Box::new(resource(&document, kind)))),
            Class::List => self.list(document),
            Class::Other { diagnostics, meant } => {
                self.tell_all(diagnostics);
                if let Some(kind) = meant {
                    self.misnamed(&document, kind);
                }
            }
        }
    }

    /// Checks the items of a list as if each were a document.
    fn list(&mut self, document: Document) {
        let root = FieldPath::root();
        for name in document.value().as_object().into_iter().flatten().map(|(name, _)| name) {
            if !["apiVersion", "kind", "metadata", "items"].contains(&name.as_str()) {
                let message = format!("unknown field `{name}`");
                let finding = document.key_finding(&codes::UNKNOWN_FIELD, &root.literal_key(name), message);
                self.tell(finding.with_help("the resources of a list stand under `items`"));
            }
        }
        let items = root.key("items");
        match document.get(&items) {
            Some(Value::Array(_)) => {}
            Some(_) => {
                self.tell(document.finding(&codes::WRONG_TYPE, &items, "expected a list"));
                return;
            }
            None => {
                self.tell(document.finding(&codes::MISSING_FIELD, &items, "the field `items` is required"));
                return;
            }
        }
        for item in document.into_items().unwrap_or_default() {
            if item.value().is_object() {
                self.document(item);
            } else {
                self.tell(item.finding(&codes::NOT_A_MAPPING, &root, "an item must be a mapping"));
            }
        }
    }

    /// Reports what else is wrong with a document whose kind or version was misspelt.
    fn misnamed(&mut self, document: &Document, kind: &'static Kind) {
        let (shape, faults) = document.inspect(kind);
        // The schema may insist on the names as well, which has been reported.
        let is_header = |field: &str| {
            ["apiVersion", "kind"].iter().any(|name| field == document.field(&FieldPath::root().key(name)))
        };
        let shape = shape.into_iter().filter(|finding| !is_header(&finding.field)).collect();
        let findings = faulty(document, kind, shape, faults);
        self.tell_all(findings);
        self.entries.extend(unusable_tier(document, kind).map(|(name, place)| Entry::Tier(name, place)));
    }
}

fn resource(document: &Document, kind: &'static Kind) -> Found {
    let (shape, faults) = document.inspect(kind);
    let is_usable = document.is_unambiguous() && shape.is_empty();
    let (resource, findings) =
        if shape.is_empty() { check::check(document, kind) } else { (None, faulty(document, kind, shape, faults)) };
    let path = FieldPath::root().key("metadata.name");
    let message = format!("{} `{}` is defined already", kind.name, document.text("metadata.name").unwrap_or_default());
    let duplicate = document.finding(&codes::DUPLICATE_RESOURCE, &path, message);
    Found {
        kind: kind.name,
        identity: Identity::of(document, kind),
        place: document.locate(&path),
        findings,
        duplicate: duplicate.with_help("remove one of the two, or give it another name or namespace"),
        tier: if resource.is_none() { unusable_tier(document, kind) } else { None },
        resource: resource.filter(|_| is_usable),
    }
}

/// What is wrong with a document that does not have the shape of its kind: that, and what would be wrong if it had.
fn faulty(document: &Document, kind: &Kind, shape: Vec<Diagnostic>, faults: Vec<repair::Fault>) -> Vec<Diagnostic> {
    let (mended, faults) = repair::mended(document, kind, faults);
    let (_, diagnostics) = check::check(&mended, kind);
    [shape, repair::telling(document, &faults, diagnostics)].concat()
}

/// The tier of a policy that is not usable, so that it is reported in the same run if there is none.
fn unusable_tier(document: &Document, kind: &Kind) -> Option<(String, Location)> {
    if kind.api_version != "projectcalico.org/v3" || !kind.kind.ends_with("Policy") {
        return None;
    }
    let name = document.text("spec.tier").filter(|name| check::is_tier_name(name))?;
    Some((name.to_owned(), document.locate(&FieldPath::root().key("spec.tier"))))
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

/// Readings of files as they were, by path and digest of the text.
#[derive(Clone, Debug, Default)]
pub(super) struct Readings {
    known: HashMap<(PathBuf, [u8; 32]), Kept>,
}

#[derive(Clone, Debug)]
struct Kept {
    reading: Arc<Reading>,
    /// Whether it was asked for since others were forgotten.
    is_used: bool,
}

impl Readings {
    /// The reading of a file; what was read before is not read again.
    pub(super) fn of(&mut self, file: &SourceFile) -> Arc<Reading> {
        if file.unreadable.is_some() {
            return Arc::new(Reading::of(file));
        }
        let key = (file.path.clone(), Sha256::digest(file.text.as_bytes()).into());
        let anew = || Kept { reading: Arc::new(Reading::of(file)), is_used: true };
        let kept = self.known.entry(key).or_insert_with(anew);
        kept.is_used = true;
        Arc::clone(&kept.reading)
    }

    /// Forgets what was not asked for since the last time.
    pub(super) fn forget_unused(&mut self) {
        self.known.retain(|_, kept| std::mem::take(&mut kept.is_used));
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
