//! Lints: policies that are valid and probably not what was meant.
//!
//! Input: a [`PolicySet`], the files it was read from, and the world if there is one. Output: [`Diagnostic`]s.
//! A lint says only what it can prove. One that cries wolf is switched off, and all others with it.

mod cover;
mod database;
mod dns;
mod families;
mod host_port;
mod implied;
mod named_port;
mod nets;
mod never;
mod order;
mod pass;
mod place;
mod ports;
mod reach;
mod selectors;
mod shadow;
#[cfg(test)]
mod tests;
mod union;

use std::collections::{BTreeMap, BTreeSet};

use crate::inventory::{Endpoint, Inventory, NamedPort, Unenforceable};
use crate::net::Cidr;
use crate::policy::{Diagnostic, Direction, Policy, PolicySet, Rule, SourceFile};
use crate::selector::{NAMESPACE_LABEL, ORCHESTRATOR, ORCHESTRATOR_LABEL, Selector};

use implied::Implications;
use place::{Finding, Places};

/// One lint.
type Lint = fn(&Context<'_>) -> Vec<Finding>;

const LINTS: &[Lint] = &[
    reach::find,
    selectors::find,
    never::find,
    shadow::find,
    order::find,
    pass::find,
    dns::find,
    families::find,
    host_port::find,
    named_port::find,
    database::find,
    nets::find,
];

/// All that the lints find, ordered by place. Those that need containers are silent without a world. The files give the
/// places of single fields; what stands in none of them is placed where its rule or its resource begins.
pub fn lint(policies: &PolicySet, world: Option<&Inventory>, files: &[SourceFile]) -> Vec<Diagnostic> {
    let context = Context::new(policies, world);
    let mut places = Places::new(files);
    let findings = LINTS.iter().flat_map(|lint| lint(&context));
    let mut diagnostics: Vec<Diagnostic> = findings.map(|finding| places.place(finding)).collect();
    Diagnostic::sort(&mut diagnostics);
    // A Kubernetes rule is several checked rules, and what is wrong with each of them is one thing to a reader.
    diagnostics
        .dedup_by(|a, b| (a.code, &a.location, &a.field, &a.message) == (b.code, &b.location, &b.field, &b.message));
    diagnostics
}

/// What the lints look at.
struct Context<'a> {
    policies: &'a PolicySet,
    world: Option<World<'a>>,
    network_sets: Vec<LabelledNets<'a>>,
    implications: Implications<'a>,
}

/// The containers.
struct World<'a> {
    inventory: &'a Inventory,
    endpoints: Vec<Endpoint<'a>>,
}

/// A network set with its labels as selectors see them.
struct LabelledNets<'a> {
    labels: BTreeMap<String, String>,
    nets: &'a [Cidr],
}

impl<'a> Context<'a> {
    fn new(policies: &'a PolicySet, inventory: Option<&'a Inventory>) -> Context<'a> {
        // Without an inventory a namespace has its implicit labels only.
        let bare = Inventory::default();
        let network_sets = policies.network_sets.iter().map(|set| {
            let mut labels = set.labels.clone();
            if let Some(namespace) = &set.namespace {
                labels.extend(inventory.unwrap_or(&bare).namespace_labels(namespace));
            }
            LabelledNets { labels, nets: &set.nets }
        });
        let world = inventory.map(|inventory| World { inventory, endpoints: inventory.endpoints() });
        let network_sets = network_sets.collect();
        Context { policies, world, network_sets, implications: Implications::new(policies) }
    }

    /// Policies that are not staged, each with its place in the order of evaluation.
    fn enforced(&self) -> impl Iterator<Item = (usize, &'a Policy)> {
        self.policies.policies.iter().enumerate().filter(|(_, policy)| !policy.key.kind.is_staged())
    }

    /// Every direction that a policy governs, with the rules as the file has them: one, or those into which a Kubernetes
    /// rule was taken apart.
    fn rules(&self) -> impl Iterator<Item = (&'a Policy, Direction, &'a [Rule])> {
        self.policies.policies.iter().flat_map(|policy| {
            Direction::ALL.into_iter().flat_map(move |direction| {
                as_written(policy.rules(direction).unwrap_or_default()).map(move |rules| (policy, direction, rules))
            })
        })
    }

    /// Place of a tier among all tiers.
    fn tier(&self, policy: &Policy) -> Option<usize> {
        self.policies.tiers.iter().position(|tier| tier.name == policy.tier)
    }

    /// Whether a rule's selector may stand for an address by way of a network set. Without a world the labels of
    /// namespaces are not known, so that any set of a namespace may match.
    fn may_match_network_set(&self, selector: &Selector) -> bool {
        let unknown = self.world.is_none() && self.policies.network_sets.iter().any(|set| set.namespace.is_some());
        unknown || self.network_sets.iter().any(|set| selector.matches(&set.labels))
    }
}

impl<'a> World<'a> {
    /// The endpoints that a policy selects, and that policy reaches.
    fn selected(&self, policy: &Policy) -> Vec<&Endpoint<'a>> {
        let reached = self.endpoints.iter().filter(|endpoint| endpoint.unenforceable.is_none());
        reached.filter(|endpoint| policy.selector.matches(&endpoint.labels)).collect()
    }

    /// The endpoints that a rule's selector stands for; all without one.
    fn peers(&self, selector: Option<&Selector>) -> Vec<&Endpoint<'a>> {
        let is_shown = |reason: &Unenforceable| reason.shows_its_address();
        let found = self.endpoints.iter().filter(|endpoint| endpoint.unenforceable.as_ref().is_none_or(is_shown));
        found.filter(|endpoint| selector.is_none_or(|selector| selector.matches(&endpoint.labels))).collect()
    }
}

/// The rules that stand at one place of the file, one place after the other.
fn as_written(rules: &[Rule]) -> impl Iterator<Item = &[Rule]> {
    rules.chunk_by(|one, other| one.index == other.index)
}

/// A selector in the words of the policy's author: without what the kind and the namespace of the policy add to it.
fn shown(policy: &Policy, selector: &Selector) -> String {
    let parts = selector.conjuncts();
    let scope =
        policy.key.namespace.as_ref().map(|namespace| (namespace, Selector::equals(NAMESPACE_LABEL, namespace)));
    let scope = scope.filter(|(_, scope)| parts.contains(scope));
    let of_kind = place::is_kubernetes(policy).then(|| Selector::equals(ORCHESTRATOR_LABEL, ORCHESTRATOR));
    let is_added = |part: &Selector| of_kind.as_ref() == Some(part) || scope.as_ref().is_some_and(|(_, s)| s == part);
    let own = parts.iter().filter(|part| !is_added(part)).cloned().reduce(Selector::and);
    let own = own.unwrap_or_else(Selector::all);
    match scope {
        Some((namespace, _)) => format!("`{}` in namespace `{namespace}`", own.written()),
        None => format!("`{}`", own.written()),
    }
}

/// What holds for the labels of every container.
fn container() -> Selector {
    Selector::equals(ORCHESTRATOR_LABEL, ORCHESTRATOR).and(Selector::has(NAMESPACE_LABEL))
}

/// Whether a policy selector is proved to select no container, whatever runs.
fn selects_no_container(selector: &Selector) -> bool {
    selector.clone().and(container()).is_contradiction()
}

/// The side of a rule that the policy's own endpoint is on.
fn own_side(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "destination",
        Direction::Egress => "source",
    }
}

/// The named ports of endpoints.
fn declared(endpoints: &[&Endpoint<'_>]) -> BTreeSet<NamedPort> {
    endpoints.iter().flat_map(|endpoint| endpoint.container.named_ports().0).collect()
}

/// `a, b, c and 4 more`.
fn listing(names: impl IntoIterator<Item = String>) -> String {
    const SHOWN: usize = 3;
    let names: BTreeSet<String> = names.into_iter().collect();
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
