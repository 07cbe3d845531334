//! NetworkSet and GlobalNetworkSet.
//!
//! Input: the wire form. Output: a [`NetworkSet`]. Unlike in rules, single addresses are welcome and host bits are
//! cleared, as in Calico: such lists come from elsewhere.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::findings::{Checked, Findings, all};
use super::metadata::{self, NameForm};
use super::{Resource, spec};
use crate::policy::NetworkSet;
use crate::policy::codes;
use crate::policy::field::FieldPath;
use crate::selector::{NAMESPACE_LABEL, NAMESPACE_PREFIX, ORCHESTRATOR_LABEL};

/// Prefix of the labels that say what Docker says of a container.
const IMPLICIT_PREFIX: &str = "dockgate.io/";

pub(super) fn check(
    findings: &mut Findings<'_>,
    metadata: &ObjectMeta,
    nets: Option<&[String]>,
    namespaced: bool,
) -> Checked<Resource> {
    let identity = metadata::check(findings, metadata, NameForm::Subdomain, namespaced);
    let labels = labels(findings, metadata);
    let path = spec().key("nets");
    let nets = all(nets.unwrap_or_default().iter().enumerate().map(|(index, text)| {
        let path = path.index(index);
        findings.lenient_block(&path, text).ok_or_else(|| {
            let help = "use an address or a block, e.g. `203.0.113.7` or `2001:db8::/32`";
            let message = format!("`{text}` is not an address or a CIDR block");
            findings.value_with_help(&codes::CIDR, &path, message, help)
        })
    }));
    let (identity, mut labels) = (identity?, labels?);
    if let Some(namespace) = &identity.namespace {
        labels.insert(NAMESPACE_LABEL.to_owned(), namespace.clone());
    }
    Ok(Resource::NetworkSet(NetworkSet {
        namespace: identity.namespace,
        name: identity.name,
        labels,
        nets: nets?,
        location: findings.locate(&FieldPath::root()),
    }))
}

/// The labels, none of which may claim what only dockgate knows: a set that says it is a container of a namespace would
/// be let in wherever that namespace is.
fn labels(findings: &mut Findings<'_>, metadata: &ObjectMeta) -> Checked<BTreeMap<String, String>> {
    let path = FieldPath::root().key("metadata.labels");
    let labels = metadata.labels.clone().unwrap_or_default();
    let pairs = all(labels.into_iter().map(|(key, value)| {
        let reserved = [NAMESPACE_LABEL, ORCHESTRATOR_LABEL].contains(&key.as_str())
            || key.starts_with(NAMESPACE_PREFIX)
            || key.starts_with(IMPLICIT_PREFIX);
        if reserved {
            let help = "leave it out: the namespace of a set is `metadata.namespace`";
            let message = format!("the label `{key}` is reserved");
            return Err(findings.key_with_help(&codes::RESERVED_LABEL, &path.literal_key(&key), message, help));
        }
        Ok((key, value))
    }))?;
    Ok(pairs.into_iter().collect())
}
