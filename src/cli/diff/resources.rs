//! What two sets of policy files say differently, be it of consequence for anyone or not.
//!
//! Input: two sides. Output: the resources that came, went, mean something else or stand elsewhere, and the files in which
//! only the text differs. Places in files are no part of a meaning.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::policy::{Location, NetworkSet, Order, Policy, Rule, Tier};

use super::side::Side;

/// What became of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// It is in the new files only.
    Added,
    /// It was in the old files only.
    Removed,
    /// It says something else.
    Changed,
    /// It says the same in another file.
    Moved,
}

/// A resource that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Resource {
    /// Its kind.
    pub(super) kind: &'static str,
    /// `NAMESPACE/NAME`, or `NAME`.
    pub(super) name: String,
    /// What became of it.
    pub(super) change: Kind,
    /// What of it differs.
    pub(super) fields: Vec<Field>,
    /// Whether one of the changes in reachability names it.
    pub(super) responsible: bool,
    /// Its file before, below what was named, and line.
    pub(super) old: Option<Place>,
    /// Its file after and line.
    pub(super) new: Option<Place>,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Field {
    /// Its name.
    pub(super) name: &'static str,
    /// Its value before, where that is short.
    pub(super) old: Option<String>,
    /// Its value after, where that is short.
    pub(super) new: Option<String>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Place {
    /// The file.
    #[serde(serialize_with = "crate::policy::location::serialize_file")]
    pub(super) file: PathBuf,
    /// The line.
    pub(super) line: u32,
}

/// All that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Differences {
    pub(super) resources: Vec<Resource>,
    /// Files of both sides whose texts differ and whose resources mean the same.
    pub(super) rewritten: Vec<PathBuf>,
}

/// A resource as it is compared: its fields by name, each as text, and whether that is short enough to be told.
struct Stated<'a> {
    fields: Vec<(&'static str, String, bool)>,
    location: Option<&'a Location>,
}

/// Kind and name.
type Identity = (&'static str, String);

/// Compares two sides.
pub(super) fn compare(old: &Side, new: &Side) -> Differences {
    let (before, now) = (stated(old), stated(new));
    let identities: BTreeSet<&Identity> = before.keys().chain(now.keys()).collect();
    let mut resources = Vec::new();
    // Files that hold a resource which differs, or did.
    let mut touched: BTreeSet<PathBuf> = BTreeSet::new();
    for identity in identities {
        let (was, is) = (before.get(identity), now.get(identity));
        let old_place = was.and_then(|was| was.location).map(|location| place(old, location));
        let new_place = is.and_then(|is| is.location).map(|location| place(new, location));
        let fields = was.zip(is).map(|(was, is)| differing(was, is)).unwrap_or_default();
        let file = |place: &Option<Place>| place.as_ref().map(|place| place.file.clone());
        let change = match (was, is) {
            (None, _) => Kind::Added,
            (_, None) => Kind::Removed,
            _ if !fields.is_empty() => Kind::Changed,
            _ if file(&old_place) != file(&new_place) => Kind::Moved,
            _ => continue,
        };
        touched.extend([&old_place, &new_place].into_iter().filter_map(file));
        let (kind, name) = identity.clone();
        resources.push(Resource { kind, name, change, fields, responsible: false, old: old_place, new: new_place });
    }
    let differs = |(path, source): &(&PathBuf, &crate::policy::SourceFile)| {
        new.files.get(*path).is_some_and(|other| other.text != source.text) && !touched.contains(*path)
    };
    let rewritten = old.files.iter().filter(differs).map(|(path, _)| path.clone()).collect();
    Differences { resources, rewritten }
}

fn place(side: &Side, location: &Location) -> Place {
    let relative = side.relative(&location.file);
    let file = if relative == Path::new("") { location.file.file_name().map(PathBuf::from) } else { None };
    Place { file: file.unwrap_or_else(|| relative.to_owned()), line: location.line }
}

fn stated(side: &Side) -> BTreeMap<Identity, Stated<'_>> {
    let policies = side
        .policies
        .policies
        .iter()
        .map(|policy| ((policy.key.kind.name(), policy.key.to_string()), of_policy(policy)));
    let sets = side.policies.network_sets.iter().map(of_set);
    let tiers = side.policies.tiers.iter().map(|tier| (("Tier", tier.name.clone()), of_tier(tier)));
    policies.chain(sets).chain(tiers).collect()
}

fn of_policy(policy: &Policy) -> Stated<'_> {
    let Policy { key: _, tier, order: place, selector, ingress, egress, location } = policy;
    Stated {
        fields: vec![
            ("tier", tier.clone(), true),
            ("order", order(*place), true),
            ("selector", selector.to_string(), true),
            ("ingress", rules(ingress.as_deref().map(Vec::as_slice)), false),
            ("egress", rules(egress.as_deref().map(Vec::as_slice)), false),
        ],
        location: Some(location),
    }
}

fn of_set(set: &NetworkSet) -> (Identity, Stated<'_>) {
    let NetworkSet { namespace, name, labels, nets, location } = set;
    let (kind, name) = match namespace {
        Some(namespace) => ("NetworkSet", format!("{namespace}/{name}")),
        None => ("GlobalNetworkSet", name.clone()),
    };
    let nets: BTreeSet<_> = nets.iter().collect();
    let fields = vec![("labels", format!("{labels:?}"), false), ("nets", format!("{nets:?}"), false)];
    ((kind, name), Stated { fields, location: Some(location) })
}

fn of_tier(tier: &Tier) -> Stated<'_> {
    let Tier { name: _, order: place, default_action, declared } = tier;
    Stated {
        fields: vec![
            ("order", order(*place), true),
            ("defaultAction", default_action.to_string(), true),
            ("declared", declared.to_string(), true),
        ],
        location: None,
    }
}

fn order(order: Order) -> String {
    order.0.map_or_else(|| "none".to_owned(), |order| order.to_string())
}

/// Rules as text, without their places.
fn rules(rules: Option<&[Rule]>) -> String {
    let Some(rules) = rules else { return String::new() };
    let nowhere = Location { file: PathBuf::new(), line: 0, column: 0 };
    let texts = rules.iter().map(|rule| format!("{:?}", Rule { location: nowhere.clone(), ..rule.clone() }));
    format!("{:?}", texts.collect::<Vec<_>>())
}

fn differing(was: &Stated<'_>, is: &Stated<'_>) -> Vec<Field> {
    let differing = was.fields.iter().zip(&is.fields).filter(|(was, is)| was.1 != is.1);
    let field = |((name, old, short), (_, new, _)): (&(&'static str, String, bool), &(&'static str, String, bool))| {
        Field { name, old: short.then(|| old.clone()), new: short.then(|| new.clone()) }
    };
    differing.map(field).collect()
}
