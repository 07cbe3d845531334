//! Wire form to checked form: the one way from what a person wrote to a value that later stages may trust.
//!
//! Input: a [`Document`] that has the shape of its kind. Output: a checked resource, or none, and every finding there is.
//! Nothing stops at the first error; a resource with any error is not there at all, so a rule is never enforced with
//! a criterion missing.

mod findings;
mod kubernetes;
mod metadata;
mod network_set;
mod peer;
mod policy;
mod rule;
mod tier;

use serde::de::DeserializeOwned;

use super::document::Document;
use super::field::FieldPath;
use super::{Diagnostic, Location, NetworkSet, Policy, PolicyKind, Tier};
use crate::api::{Kind, calico, kubernetes as wire};

use findings::{Checked, Findings};
use metadata::NameForm;

/// A checked resource.
#[derive(Clone, Debug)]
pub(super) enum Resource {
    /// A policy, and where its tier is named: at `spec.tier`, else where the policy stands.
    Policy(Policy, Location),
    /// A network set.
    NetworkSet(NetworkSet),
    /// A tier.
    Tier(Tier),
    /// A valid resource from which nothing follows, such as a staged deletion.
    Nothing,
}

/// Checks a document of a kind whose shape it has. `None` when there is an error among the findings.
pub(super) fn check(document: &Document, kind: &Kind) -> (Option<Resource>, Vec<Diagnostic>) {
    let mut findings = Findings::new(document);
    let resource = dispatch(document, kind, &mut findings);
    (resource.ok().filter(|_| !findings.has_errors()), findings.into_diagnostics())
}

fn dispatch(document: &Document, kind: &Kind, findings: &mut Findings<'_>) -> Checked<Resource> {
    match kind.name {
        "NetworkPolicy" => {
            let calico::NetworkPolicy { metadata, spec } = read(document, findings)?;
            policy::check(findings, PolicyKind::NetworkPolicy, &metadata, spec.into())
        }
        "GlobalNetworkPolicy" => {
            let calico::GlobalNetworkPolicy { metadata, spec } = read(document, findings)?;
            policy::check(findings, PolicyKind::GlobalNetworkPolicy, &metadata, spec.into())
        }
        "StagedNetworkPolicy" => {
            let calico::StagedNetworkPolicy { metadata, spec } = read(document, findings)?;
            policy::check(findings, PolicyKind::StagedNetworkPolicy, &metadata, spec.into())
        }
        "StagedGlobalNetworkPolicy" => {
            let calico::StagedGlobalNetworkPolicy { metadata, spec } = read(document, findings)?;
            policy::check(findings, PolicyKind::StagedGlobalNetworkPolicy, &metadata, spec.into())
        }
        "KubernetesNetworkPolicy" => {
            let wire::KubernetesNetworkPolicy { metadata, spec } = read(document, findings)?;
            kubernetes::check(findings, PolicyKind::KubernetesNetworkPolicy, &metadata, &spec)
        }
        "StagedKubernetesNetworkPolicy" => {
            let calico::StagedKubernetesNetworkPolicy { metadata, spec } = read(document, findings)?;
            kubernetes::check_staged(findings, &metadata, spec)
        }
        "NetworkSet" => {
            let calico::NetworkSet { metadata, spec } = read(document, findings)?;
            network_set::check(findings, &metadata, spec.nets.as_deref(), true)
        }
        "GlobalNetworkSet" => {
            let calico::GlobalNetworkSet { metadata, spec } = read(document, findings)?;
            network_set::check(findings, &metadata, spec.nets.as_deref(), false)
        }
        "Tier" => {
            let calico::Tier { metadata, spec, .. } = read(document, findings)?;
            tier::check(findings, &metadata, &spec)
        }
        _ => Ok(Resource::Nothing),
    }
}

fn read<T: DeserializeOwned>(document: &Document, findings: &mut Findings<'_>) -> Checked<T> {
    document.deserialize().map_err(|diagnostic| findings.report(*diagnostic))
}

/// Whether a tier can have this name.
pub(super) fn is_tier_name(name: &str) -> bool {
    metadata::is_name(name, NameForm::Label)
}

/// The path of the spec, from which most paths start.
fn spec() -> FieldPath {
    FieldPath::root().key("spec")
}

#[cfg(test)]
mod tests;
