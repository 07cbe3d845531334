//! The resources as a person writes them, and the list of their kinds.
//!
//! Input: a document's `apiVersion` and `kind`. Output: the type of that document, its JSON Schema and its CRD. What is
//! written is not checked here beyond its shape: what a document means is for `policy` and `inventory` to say.

pub mod calico;
pub mod dockgate;
pub mod int_or_string;
pub mod kubernetes;
pub mod policy_test;
mod schema;
#[cfg(test)]
mod tests;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_core::CustomResourceExt;
use schemars::JsonSchema;
use serde_json::Value;

/// One kind of document that dockgate reads.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The document's `apiVersion`.
    pub api_version: &'static str,
    /// The document's `kind`.
    pub kind: &'static str,
    /// The kind's name without its group, unique here: Kubernetes' NetworkPolicy is told apart from Calico's.
    pub name: &'static str,
    /// Whether a resource may lie in a namespace.
    pub namespaced: bool,
    /// Whether a cluster has the kind without a CRD.
    built_in: bool,
    definition: fn() -> CustomResourceDefinition,
    root_schema: fn() -> Value,
}

/// Every kind, by group and then by name.
pub const KINDS: &[Kind] = &[
    Kind::host::<dockgate::Inventory>("dockgate.io/v1alpha1", "Inventory"),
    Kind::host::<policy_test::PolicyTest>("dockgate.io/v1alpha1", "PolicyTest"),
    Kind::namespaced::<kubernetes::KubernetesNetworkPolicy>("networking.k8s.io/v1", "NetworkPolicy")
        .built_in("KubernetesNetworkPolicy"),
    Kind::host::<calico::GlobalNetworkPolicy>("projectcalico.org/v3", "GlobalNetworkPolicy"),
    Kind::host::<calico::GlobalNetworkSet>("projectcalico.org/v3", "GlobalNetworkSet"),
    Kind::namespaced::<calico::NetworkPolicy>("projectcalico.org/v3", "NetworkPolicy"),
    Kind::namespaced::<calico::NetworkSet>("projectcalico.org/v3", "NetworkSet"),
    Kind::host::<calico::StagedGlobalNetworkPolicy>("projectcalico.org/v3", "StagedGlobalNetworkPolicy"),
    Kind::namespaced::<calico::StagedKubernetesNetworkPolicy>("projectcalico.org/v3", "StagedKubernetesNetworkPolicy"),
    Kind::namespaced::<calico::StagedNetworkPolicy>("projectcalico.org/v3", "StagedNetworkPolicy"),
    Kind::host::<calico::Tier>("projectcalico.org/v3", "Tier"),
];

/// The kind of documents with this `apiVersion` and `kind`.
pub fn find(api_version: &str, kind: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|known| known.api_version == api_version && known.kind == kind)
}

/// The kind that a person names: by name, plural or short name, with or without `.GROUP`, in any case. Where two kinds
/// share a plural, the one without a group is Calico's.
pub fn find_named(text: &str) -> Option<&'static Kind> {
    let text = text.to_ascii_lowercase();
    let named = |kind: &Kind, text: &str| {
        let names = (kind.definition)().spec.names;
        let also = [kind.kind, kind.name, &names.plural];
        also.iter().any(|name| name.eq_ignore_ascii_case(text))
            || names.short_names.unwrap_or_default().iter().any(|name| name == text)
    };
    // Calico's group is last in the list, and its names win.
    KINDS.iter().rev().find(|kind| {
        named(kind, &text)
            || text
                .strip_suffix(kind.group())
                .and_then(|name| name.strip_suffix('.'))
                .is_some_and(|name| named(kind, name))
    })
}

impl Kind {
    const fn host<T: CustomResourceExt + JsonSchema>(api_version: &'static str, kind: &'static str) -> Kind {
        Kind {
            api_version,
            kind,
            name: kind,
            namespaced: false,
            built_in: false,
            definition: T::crd,
            root_schema: schema::root::<T>,
        }
    }

    const fn namespaced<T: CustomResourceExt + JsonSchema>(api_version: &'static str, kind: &'static str) -> Kind {
        Kind { namespaced: true, ..Kind::host::<T>(api_version, kind) }
    }

    const fn built_in(self, name: &'static str) -> Kind {
        Kind { built_in: true, name, ..self }
    }

    /// The API group: `apiVersion` without the version.
    pub fn group(&self) -> &'static str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// The custom resource definition; `None` for a kind that every cluster has.
    pub fn crd(&self) -> Option<CustomResourceDefinition> {
        (!self.built_in).then(|| schema::typed(schema::structural(&(self.definition)())))
    }

    /// The JSON Schema (draft 7) of a whole document of this kind. It refers to nothing outside itself and refuses every
    /// field that it does not name.
    pub fn json_schema(&self) -> Value {
        let document = schema::Document {
            api_version: self.api_version,
            kind: self.kind,
            namespaced: self.namespaced,
            // Nothing refers to an inventory or a test by its name.
            named: self.group() != "dockgate.io",
        };
        document.json_schema((self.root_schema)())
    }
}

/// The file name of a kind's CRD in `crds/`: `<group>_<plural>.yaml`; `None` for a kind that every cluster has.
pub fn crd_file_name(kind: &Kind) -> Option<String> {
    (!kind.built_in).then(|| format!("{}_{}.yaml", kind.group(), (kind.definition)().spec.names.plural))
}

/// A kind's CRD as the text of a YAML file; `None` for a kind that every cluster has.
pub fn crd_yaml(kind: &Kind) -> Option<String> {
    // Written from the rewritten value, not from the typed definition, whose bounds are floating-point numbers.
    (!kind.built_in).then(|| schema::yaml(&schema::structural(&(kind.definition)())))
}

/// The file name of a kind's JSON Schema in `crds/schemas/`.
pub fn schema_file_name(kind: &Kind) -> String {
    format!("{}.json", kind.name)
}

/// A kind's JSON Schema as the text of a file.
pub fn schema_json(kind: &Kind) -> String {
    format!("{:#}\n", kind.json_schema())
}

/// The file name in `crds/schemas/` of the schema that chooses among those of the kinds.
pub const ANY_SCHEMA_FILE_NAME: &str = "any.json";

/// A JSON Schema for files that mix kinds, as the text of a file. It refers to nothing outside itself.
pub fn any_schema_json() -> String {
    format!("{:#}\n", schema::any_document(KINDS.iter().map(|kind| (kind, kind.json_schema()))))
}
