//! How a rule names one end of a flow and nobody else.
//!
//! Input: an endpoint or an address. Output: labels that stand for it, the best first. Replicas of a service are one, since
//! a rule that names one of them is wrong as soon as it is started anew.

use std::net::IpAddr;

use crate::inventory::{CONTAINER_LABEL, Endpoint};
use crate::policy::PolicySet;
use crate::selector::{NAMESPACE_LABEL, NAMESPACE_PREFIX, ORCHESTRATOR_LABEL, Selector};
use crate::verdict::reason::World;

/// The label by which Compose tells services apart.
const SERVICE_LABEL: &str = "com.docker.compose.service";
/// Labels that people use to say what a container is, the best first. The last one is always there and always exact.
const TELLING_LABELS: [&str; 7] =
    ["role", "app", "app.kubernetes.io/name", "component", "tier", SERVICE_LABEL, CONTAINER_LABEL];

/// How the keys of labels begin that every container has, whoever made it.
const IMPLICIT_LABELS: [&str; 4] = ["dockgate.io/", NAMESPACE_LABEL, ORCHESTRATOR_LABEL, NAMESPACE_PREFIX];

/// One end of a flow, as a policy sees it.
pub(super) enum Peer<'a> {
    /// A container.
    Endpoint(&'a Endpoint<'a>),
    /// An address that no container has, or one of this host.
    Address(IpAddr),
}

/// A label that stands for an endpoint.
pub(super) struct Telling<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a str,
    /// The namespace, where it has to be said.
    pub(super) namespace: Option<&'a str>,
}

/// The labels that stand for an endpoint in a policy of this namespace, and for no other service.
pub(super) fn telling<'a>(
    endpoint: &'a Endpoint<'_>,
    policy_namespace: Option<&str>,
    world: World<'a>,
) -> Vec<Telling<'a>> {
    let endpoints = world.inventory.endpoints();
    let own = endpoint.labels.get(NAMESPACE_LABEL).map(String::as_str);
    let identity = identity(endpoint);
    let is_exact = |key: &str, value: &str, namespace: Option<&str>| {
        let mut selector = Selector::equals(key, value);
        if let Some(namespace) = namespace {
            selector = selector.and(Selector::equals(NAMESPACE_LABEL, namespace));
        }
        let mut selected = endpoints.iter().filter(|other| selector.matches(&other.labels));
        let mut sets = world.policies.network_sets.iter();
        selected.all(|other| self::identity(other) == identity) && !sets.any(|set| selector.matches(&set.labels))
    };
    let mut found = Vec::new();
    for key in keys(world.policies) {
        let Some(value) = endpoint.labels.get(key).filter(|value| !value.is_empty()) else { continue };
        match (policy_namespace, own) {
            (Some(scope), Some(own)) if scope == own => {
                if is_exact(key, value, Some(own)) {
                    found.push(Telling { key, value, namespace: None });
                }
            }
            (None, _) if is_exact(key, value, None) => found.push(Telling { key, value, namespace: None }),
            _ => {
                if is_exact(key, value, own) {
                    found.push(Telling { key, value, namespace: own });
                }
            }
        }
    }
    found
}

/// The labels to try, the best first: those by which the policies name containers already, the most used one first.
fn keys(policies: &PolicySet) -> Vec<&str> {
    let rank = |key: &str| TELLING_LABELS.iter().position(|telling| *telling == key).unwrap_or(TELLING_LABELS.len());
    // What dockgate says of every container counts only where nothing else tells it.
    let is_own = |key: &str| IMPLICIT_LABELS.iter().any(|prefix| key.starts_with(prefix));
    let used = policies.label_keys();
    let mut keys: Vec<(&str, usize)> = used.into_iter().filter(|(key, _)| !is_own(key)).collect();
    keys.sort_by_key(|(key, uses)| (std::cmp::Reverse(*uses), rank(key)));
    let mut keys: Vec<&str> = keys.into_iter().map(|(key, _)| key).collect();
    let unused: Vec<&str> = TELLING_LABELS.into_iter().filter(|key| !keys.contains(key)).collect();
    keys.extend(unused);
    keys
}

/// What replicas have in common: namespace and service, or else the name of the container.
fn identity<'e>(endpoint: &'e Endpoint<'_>) -> (&'e str, &'e str) {
    let label = |key: &str| endpoint.labels.get(key).map_or("", String::as_str);
    match label(SERVICE_LABEL) {
        "" => (label(NAMESPACE_LABEL), label(CONTAINER_LABEL)),
        service => (label(NAMESPACE_LABEL), service),
    }
}
