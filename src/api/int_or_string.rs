//! Values that a person may write as a number or as text: ports and protocols.
//!
//! Input: a JSON or YAML scalar. Output: the scalar as it was written; what it means is for the checker to say, because
//! only that knows the rule's other fields. In a cluster such a field has no type but `x-kubernetes-int-or-string`, so the
//! schema is written here by hand and the schema module turns it into plain JSON Schema.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A number or a text. [`fmt::Display`] gives both in one form, so that `80` and `"80"` are read alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// Written as a number.
    Int(i64),
    /// Written as text.
    String(String),
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IntOrString::Int(number) => write!(f, "{number}"),
            IntOrString::String(text) => f.write_str(text),
        }
    }
}

impl From<i64> for IntOrString {
    fn from(number: i64) -> Self {
        IntOrString::Int(number)
    }
}

impl From<&str> for IntOrString {
    fn from(text: &str) -> Self {
        IntOrString::String(text.to_owned())
    }
}

/// A port of a Calico rule: a number, a range `first:last`, or the name of a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Port(pub IntOrString);

/// A protocol of a Calico rule: a number or a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Protocol(pub IntOrString);

/// A port of a Kubernetes rule: a number, or the name of a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KubernetesPort(pub IntOrString);

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for KubernetesPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The schema of a number from 1 to `maximum` or a text that is not empty.
///
/// Texts have no pattern here: the checker says what is wrong with one better than a regular expression does.
fn int_or_string(description: &str, maximum: u16) -> Schema {
    json_schema!({
        "description": description,
        "x-kubernetes-int-or-string": true,
        "minimum": 1,
        "maximum": maximum,
        "minLength": 1,
    })
}

impl JsonSchema for Port {
    fn schema_name() -> Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        int_or_string(
            "A port from 1 to 65535, a range `first:last` with first <= last, or the name of a port: at most 15 of a-z, 0-9 \
             and `-`, at least one letter, no `-` at either end and no two in a row.",
            u16::MAX,
        )
    }
}

impl JsonSchema for Protocol {
    fn schema_name() -> Cow<'static, str> {
        "Protocol".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        int_or_string(
            "A protocol: TCP, UDP, ICMP, ICMPv6, SCTP or UDPLite in exactly this case, or an IP protocol number from 1 to 255.",
            255,
        )
    }
}

impl JsonSchema for KubernetesPort {
    fn schema_name() -> Cow<'static, str> {
        "KubernetesPort".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        int_or_string(
            "A port from 1 to 65535, or the name of a port: at most 15 of a-z, 0-9 and `-`, at least one letter.",
            u16::MAX,
        )
    }
}
