//! Names, namespaces, labels and annotations.
//!
//! Input: the metadata of a resource. Output: its [`Identity`]. Names follow Calico's validator, so that what is valid
//! here is valid in a cluster; namespaces are wider, because Compose projects are namespaces here.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::findings::{Checked, Findings};
use crate::policy::codes;
use crate::policy::field::FieldPath;

/// Longest name in bytes (Kubernetes: a DNS subdomain).
const MAX_NAME: usize = 253;
/// Longest namespace in bytes. Compose and Swarm set no limit; this one keeps comments readable.
const MAX_NAMESPACE: usize = 128;
/// Longest label value and longest name part of a label key in bytes (Kubernetes).
const MAX_LABEL: usize = 63;
/// Bytes of all annotations together (Kubernetes).
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// What a name may look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameForm {
    /// A DNS subdomain.
    Subdomain,
    /// One label or two joined by a dot, or what Calico gives to converted policies: `knp.default.NAME`.
    Namespaced,
    /// One label or two joined by a dot.
    Global,
    /// One label of at most 63 bytes.
    Label,
}

/// Name and namespace of a resource.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
}

/// Checks the metadata. `namespaced` says whether a missing namespace is worth a note; the schema has already refused
/// one where the kind has none.
pub(super) fn check(
    findings: &mut Findings<'_>,
    metadata: &ObjectMeta,
    form: NameForm,
    namespaced: bool,
) -> Checked<Identity> {
    let path = FieldPath::root().key("metadata");
    let name = name(findings, &path.key("name"), metadata.name.as_deref().unwrap_or_default(), form);
    let namespace = namespace(findings, &path, metadata.namespace.as_deref(), namespaced);
    labels(findings, &path.key("labels"), metadata);
    annotations(findings, &path.key("annotations"), metadata.annotations.as_ref());
    Ok(Identity { name: name?, namespace: namespace? })
}

/// Checks the name of a resource, or one that refers to it.
pub(super) fn name(findings: &mut Findings<'_>, path: &FieldPath, name: &str, form: NameForm) -> Checked<String> {
    if is_name(name, form) {
        return Ok(name.to_owned());
    }
    let help = match form {
        NameForm::Subdomain => "use lower-case letters, digits, `-` and `.`, with a letter or digit at both ends",
        NameForm::Global | NameForm::Namespaced => {
            "use lower-case letters, digits and `-`, with a letter or digit at both ends, and at most one `.`"
        }
        NameForm::Label => {
            "use at most 63 lower-case letters, digits and `-`, with a letter or digit at both ends and no `.`"
        }
    };
    Err(findings.value_with_help(&codes::NAME, path, format!("`{name}` is not a valid name"), help))
}

/// Whether a name has the form.
pub(super) fn is_name(name: &str, form: NameForm) -> bool {
    let labels: Vec<&str> = name.split('.').collect();
    name.len() <= MAX_NAME
        && labels.iter().all(|label| is_dns_label(label))
        && match form {
            NameForm::Subdomain => true,
            NameForm::Global => labels.len() <= 2,
            NameForm::Namespaced => labels.len() <= 2 || matches!(labels[..], ["knp" | "ossg", "default", _, ..]),
            NameForm::Label => labels.len() == 1 && name.len() <= MAX_LABEL,
        }
}

fn namespace(
    findings: &mut Findings<'_>,
    path: &FieldPath,
    namespace: Option<&str>,
    namespaced: bool,
) -> Checked<Option<String>> {
    let Some(namespace) = namespace else {
        if namespaced {
            findings.value_with_help(
                &codes::WHOLE_HOST,
                &path.key("name"),
                "without a namespace, this covers the containers of every namespace",
                "set `metadata.namespace` to restrict it, e.g. to a Compose project",
            );
        }
        return Ok(None);
    };
    // Compose projects and Swarm stacks are namespaces here, and their names may hold `_` and, of stacks, capitals.
    let valid = namespace.len() <= MAX_NAMESPACE
        && namespace.starts_with(|first: char| first.is_ascii_alphanumeric())
        && namespace.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if valid {
        return Ok(Some(namespace.to_owned()));
    }
    let help = "use letters, digits, `-`, `_` and `.`, beginning with a letter or digit; leave the field out to cover the \
                whole host";
    let path = path.key("namespace");
    Err(findings.value_with_help(&codes::NAMESPACE, &path, format!("`{namespace}` is not a valid namespace"), help))
}

fn labels(findings: &mut Findings<'_>, path: &FieldPath, metadata: &ObjectMeta) {
    for (key, value) in metadata.labels.iter().flatten() {
        let path = path.literal_key(key);
        if let Some(reason) = qualified_name_fault(key) {
            findings.key_with_help(&codes::LABEL, &path, format!("`{key}` is not a valid label key"), reason);
        }
        if !value.is_empty() && (value.len() > MAX_LABEL || !is_name_part(value)) {
            let help = "use at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends";
            findings.value_with_help(&codes::LABEL, &path, format!("`{value}` is not a valid label value"), help);
        }
    }
}

/// Checks annotations of a resource or of a rule.
pub(super) fn annotations(
    findings: &mut Findings<'_>,
    path: &FieldPath,
    annotations: Option<&std::collections::BTreeMap<String, String>>,
) {
    let mut size = 0;
    for (key, value) in annotations.into_iter().flatten() {
        size += key.len() + value.len();
        if let Some(reason) = qualified_name_fault(&key.to_lowercase()) {
            let message = format!("`{key}` is not a valid annotation key");
            findings.key_with_help(&codes::ANNOTATION, &path.literal_key(key), message, reason);
        }
    }
    if size > MAX_ANNOTATIONS {
        let message = format!("the annotations have {size} bytes; at most {MAX_ANNOTATIONS} are allowed");
        findings.value(&codes::ANNOTATION, path, message);
    }
}

/// What is wrong with a qualified name (`NAME` or `PREFIX/NAME`), if anything.
fn qualified_name_fault(key: &str) -> Option<&'static str> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let prefix_valid = prefix.is_none_or(|prefix| prefix.len() <= MAX_NAME && prefix.split('.').all(is_dns_label));
    if !prefix_valid {
        return Some("what stands before `/` is a DNS name in lower case");
    }
    let valid = name.len() <= MAX_LABEL && is_name_part(name);
    (!valid).then_some(
        "use at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, and at most one `/`",
    )
}

fn is_dns_label(label: &str) -> bool {
    label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && has_alphanumeric_ends(label)
}

fn is_name_part(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && has_alphanumeric_ends(text)
}

fn has_alphanumeric_ends(text: &str) -> bool {
    let is_alphanumeric = |end: Option<char>| end.is_some_and(|end| end.is_ascii_alphanumeric());
    is_alphanumeric(text.chars().next()) && is_alphanumeric(text.chars().next_back())
}
