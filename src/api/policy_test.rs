//! The `dockgate.io/v1alpha1` PolicyTest as a person writes it: who is to reach whom, beside the policies that say so.
//!
//! Input: a PolicyTest document. Output: its fields, unchecked; [`crate::policy_test`] reads them. Ends of connections are
//! texts or objects, because a selector as a text could not be told from a name.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kube_derive::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::calico::IpVersion;
use super::dockgate::InventorySpec;
use super::int_or_string::Port;
use super::schema::{object_or_list, plain_enum, text_or_object};

/// A world, policies, and what they are expected to allow and deny.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "dockgate.io",
    version = "v1alpha1",
    kind = "PolicyTest",
    plural = "policytests",
    derive = "PartialEq",
    doc = "What policies are expected to allow and deny in a world. `dockgate test` runs it.",
    crates(kube_core = "::kube_core")
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicyTestSpec {
    /// Where containers and networks come from; `--inventory` and `--compose` come before it. Default: only these options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub world: Option<World>,
    /// Policy files and directories, relative to this file; `--policies` comes before them. Default: only this option.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<String>>,
    /// Names for selectors, which then stand for all endpoints that these match, e.g. `web: app == 'web'`. They can be used
    /// wherever a container can, and come before containers of the same name. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<BTreeMap<String, String>>,
    /// Single connections. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cases: Option<Vec<Case>>,
    /// Tables of who reaches whom: one, or a list. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix: Option<Matrices>,
    /// What holds for all pairs, on every port. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invariants: Option<Vec<Invariant>>,
}

/// Where containers and networks come from: exactly one of `inventory`, `compose` and `inline`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct World {
    /// An Inventory file, relative to this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inventory: Option<String>,
    /// Compose files, relative to this file; several are merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compose: Option<Vec<String>>,
    /// Active profiles of the Compose files, or `*`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Vec<String>>,
    /// Project name of the Compose files. Default: as `docker compose` finds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_name: Option<String>,
    /// The `spec` of an Inventory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline: Option<InventorySpec>,
}

/// One connection and what is expected of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Case {
    /// What the case is about, for people. Default: the connection itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who connects.
    pub from: End,
    /// To whom.
    pub to: End,
    /// The protocol. ICMP is a ping, in both IP versions. Default: TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<TestProtocol>,
    /// Port of the destination, 1 to 65535; the container's own where it is published under another. Required, but for ICMP.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// The only IP version that counts. Default: both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_version: Option<IpVersion>,
    /// The only way that counts. Default: every way there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// What is expected.
    pub expect: Expectation,
    /// The policy, or the rule, that must be the one that decides: `shop/api`, `shop/api ingress`, `shop/api ingress[0]`.
    /// Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// One table, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Matrices {
    /// One.
    One(Matrix),
    /// Several.
    Several(Vec<Matrix>),
}

impl JsonSchema for Matrices {
    fn schema_name() -> Cow<'static, str> {
        "Matrices".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let description = "Who reaches whom on one port or several, as a table, or a list of such tables.";
        object_or_list(description, Matrix::json_schema(generator))
    }
}

/// Who reaches whom on one port or several, as a table. Exactly one of `port` and `ports` is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Matrix {
    /// What it is about: `PORT/PROTOCOL`, such as `5432/tcp`, or `ping`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Several that it is about, each in the form of `port`: every cell holds for all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<String>>,
    /// The only IP version that counts. Default: both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_version: Option<IpVersion>,
    /// The only way that counts. Default: every way there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// Lines of words. The first line is `from/to` and a name for each column, whom to connect to. Every other line begins with
    /// the name of who connects, and has `yes`, `no`, or for what is not asked `-` or `.` under each column.
    pub table: String,
}

/// What holds for every pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Invariant {
    /// What it says, for people. Default: its ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who connects: every one of them.
    pub from: End,
    /// To whom: every one of them.
    pub to: End,
    /// The only protocol that counts. Default: TCP, UDP, SCTP and ping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<TestProtocol>,
    /// The only ports of the destination that count: numbers and ranges `first:last`. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<Port>>,
    /// The only IP version that counts. Default: both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_version: Option<IpVersion>,
    /// The only way that counts. Default: every way there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// What is expected: that all of it is allowed, or that nothing is.
    pub expect: Expectation,
    /// Connections of which it says nothing. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub except: Option<Vec<Exception>>,
}

/// Connections of which an invariant says nothing: those to which all fields apply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Exception {
    /// Who connects. Default: anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<End>,
    /// To whom. Default: anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<End>,
    /// The protocol. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<TestProtocol>,
    /// Ports of the destination: numbers and ranges `first:last`. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<Port>>,
}

/// One end of connections, as text or as a selector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum End {
    /// `host`, `outside`, a group, a container, `CONTAINER@NETWORK`, or an address.
    Named(String),
    /// All endpoints that a selector matches.
    Selected(SelectedEnd),
}

/// All endpoints that a selector matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SelectedEnd {
    /// A selector as in policies, without any namespace implied: `app == 'web'`.
    pub selector: String,
}

impl JsonSchema for End {
    fn schema_name() -> Cow<'static, str> {
        "End".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        text_or_object(
            "`host`, `outside` (every address outside), a group, a container, CONTAINER@NETWORK, an address, or an object \
             with `selector`, which means all endpoints that it matches.",
            SelectedEnd::json_schema(generator),
        )
    }
}

/// A protocol that a test can ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enum)]
pub enum TestProtocol {
    /// Transmission Control Protocol.
    #[serde(rename = "TCP")]
    Tcp,
    /// User Datagram Protocol.
    #[serde(rename = "UDP")]
    Udp,
    /// Stream Control Transmission Protocol.
    #[serde(rename = "SCTP")]
    Sctp,
    /// A ping: an echo request of ICMP or ICMPv6, as the IP version has it.
    #[serde(rename = "ICMP")]
    Icmp,
}

/// How a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(transform = plain_enum)]
pub enum Via {
    /// To the other's own address.
    Direct,
    /// From outside to a port of this host that the kernel translates to the container's.
    Published,
    /// To a port of this host that `docker-proxy` holds.
    Proxy,
}

/// What is expected of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enum)]
pub enum Expectation {
    /// They come through.
    Allow,
    /// They do not.
    Deny,
}
