//! Calico's policy kinds, enforced and staged.
//!
//! Input: the wire form. Output: a [`Policy`]. Types default as Calico's API server does it; its agent has another default,
//! which it never gets to use.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::findings::{Checked, Findings, all};
use super::metadata::{self, NameForm};
use super::{Resource, peer, rule, spec};
use crate::api::calico::{self, PolicySpec, PolicyType, StagedAction};
use crate::policy::field::FieldPath;
use crate::policy::{DEFAULT_TIER, Direction, Order, Policy, PolicyKey, PolicyKind, Rule, codes};
use crate::selector::{NAMESPACE_LABEL, Selector};

pub(super) fn check(
    findings: &mut Findings<'_>,
    kind: PolicyKind,
    metadata: &ObjectMeta,
    wire: PolicySpec,
) -> Checked<Resource> {
    let namespaced = matches!(kind, PolicyKind::NetworkPolicy | PolicyKind::StagedNetworkPolicy);
    let form = if namespaced { NameForm::Namespaced } else { NameForm::Global };
    let identity = metadata::check(findings, metadata, form, namespaced);
    let namespace = metadata.namespace.as_deref();
    if wire.staged_action == Some(StagedAction::Delete) {
        deletion(findings)?;
        return identity.map(|_| Resource::Nothing);
    }
    unsupported(findings, &wire);
    let selector = selector(findings, &wire, namespace);
    let tier = tier(findings, wire.tier);
    let ingress = rules(findings, Direction::Ingress, wire.ingress.as_deref(), namespace);
    let egress = rules(findings, Direction::Egress, wire.egress.as_deref(), namespace);
    let (identity, ingress, egress) = (identity?, ingress?, egress?);
    let governed = governed(wire.types.as_deref(), !ingress.is_empty(), !egress.is_empty());
    let key = PolicyKey { kind, namespace: identity.namespace, name: identity.name };
    let policy = Policy {
        key,
        tier: tier?,
        order: Order(wire.order),
        selector: selector?,
        ingress: governing(findings, governed.contains(&PolicyType::Ingress), Direction::Ingress, ingress),
        egress: governing(findings, governed.contains(&PolicyType::Egress), Direction::Egress, egress),
        location: findings.locate(&FieldPath::root()),
    };
    Ok(Resource::Policy(policy, findings.locate(&spec().key("tier"))))
}

/// Checks that a staged deletion says nothing else.
pub(super) fn deletion(findings: &mut Findings<'_>) -> Checked<()> {
    let document = findings.document();
    let fields = document.get(&spec()).and_then(serde_json::Value::as_object).into_iter().flatten();
    all(fields.filter(|(name, value)| !["tier", "stagedAction"].contains(&name.as_str()) && !value.is_null()).map(
        |(name, _)| -> Checked<()> {
            let message = format!("a staged deletion may not have `{name}`");
            let help = "leave out everything but `tier` and `stagedAction`";
            Err(findings.key_with_help(&codes::STAGED_DELETE, &spec().literal_key(name), message, help))
        },
    ))?;
    Ok(())
}

/// The rules of a direction, if the policy governs it.
pub(super) fn governing(
    findings: &mut Findings<'_>,
    governs: bool,
    direction: Direction,
    rules: Vec<Rule>,
) -> Option<Arc<Vec<Rule>>> {
    if !governs && !rules.is_empty() {
        let message = format!("these rules have no effect: the policy does not govern {direction}");
        let help = format!("add `{direction:?}` to the list of types, or leave the list out");
        findings.key_with_help(&codes::INERT_RULES, &spec().key(&direction.to_string()), message, help);
    }
    governs.then(|| rules.into())
}

fn unsupported(findings: &mut Findings<'_>, wire: &PolicySpec) {
    if wire.service_account_selector.as_deref().is_some_and(|text| !text.is_empty()) {
        let help = "select the containers by label";
        let path = spec().key("serviceAccountSelector");
        findings.key_with_help(&codes::SERVICE_ACCOUNTS, &path, "service accounts are not supported", help);
    }
    let flags =
        [("doNotTrack", wire.do_not_track), ("preDNAT", wire.pre_dnat), ("applyOnForward", wire.apply_on_forward)];
    for (name, value) in flags {
        if value == Some(true) {
            let message = format!("`{name}` is not supported: there are no host endpoints");
            findings.key_with_help(&codes::HOST_ENDPOINT, &spec().key(name), message, "leave it out");
        }
    }
}

/// The endpoints the policy selects: the selector, within the namespace or the namespaces that are named.
fn selector(findings: &mut Findings<'_>, wire: &PolicySpec, namespace: Option<&str>) -> Checked<Selector> {
    let own = findings.selector_without_global(&spec().key("selector"), wire.selector.as_deref().unwrap_or_default());
    let namespaces = match wire.namespace_selector.as_deref() {
        None | Some("") => Ok(Selector::all()),
        Some(text) => {
            findings.selector_without_global(&spec().key("namespaceSelector"), text).map(Selector::on_namespaces)
        }
    };
    let within = namespace.map_or_else(Selector::all, |namespace| Selector::equals(NAMESPACE_LABEL, namespace));
    Ok(own?.and(within).and(namespaces?))
}

fn tier(findings: &mut Findings<'_>, name: Option<String>) -> Checked<String> {
    let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| DEFAULT_TIER.to_owned());
    metadata::name(findings, &spec().key("tier"), &name, NameForm::Label)
}

fn rules(
    findings: &mut Findings<'_>,
    direction: Direction,
    rules: Option<&[calico::Rule]>,
    namespace: Option<&str>,
) -> Checked<Vec<Rule>> {
    let path = spec().key(&direction.to_string());
    let rules = rules.unwrap_or_default().iter().enumerate();
    all(rules.map(|(index, rule)| {
        let path = path.index(index);
        let (side, peer) = match direction {
            Direction::Ingress => ("source", &rule.source),
            Direction::Egress => ("destination", &rule.destination),
        };
        peer::warn_if_empty(findings, &path.key(side), peer.as_ref());
        rule::check(findings, &path, rule, index, namespace)
    }))
}

/// The directions that are governed: those stated, else as Calico's API defaults them. A policy without any rules
/// closes ingress and leaves egress alone.
fn governed(stated: Option<&[PolicyType]>, ingress: bool, egress: bool) -> Vec<PolicyType> {
    match (stated, ingress, egress) {
        (Some(types), ..) if !types.is_empty() => types.to_vec(),
        (_, true, true) => vec![PolicyType::Ingress, PolicyType::Egress],
        (_, false, true) => vec![PolicyType::Egress],
        (_, _, false) => vec![PolicyType::Ingress],
    }
}
