//! The status document: what `dockgate status` prints and what the control socket sends.
//!
//! The JSON form is an interface. Fields are added, never renamed; a reader of an older or newer version ignores what
//! it does not know and takes the default for what is not there, so that `status` works across an upgrade.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::dataplane::Variant;
use crate::policy::{Diagnostic, Severity};

/// The controller's state as `dockgate status` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Version of the running controller.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Whether policies and inventory are known, the kernel holds what they say, with nothing held back, and the engine has
    /// said that it filters in a way on which that can be relied.
    pub ready: bool,
    /// Whether the kernel holds the compiled ruleset.
    pub in_sync: bool,
    /// Everything that keeps `ready` from being true, and every other trouble, as sentences.
    pub problems: Vec<String>,
    /// The policy directory.
    pub policies: PoliciesStatus,
    /// The Docker engine.
    pub engine: EngineStatus,
    /// The containers' attachments.
    pub endpoints: EndpointsStatus,
    /// The kernel.
    pub kernel: KernelStatus,
}

/// What the policy directory says and how much of it is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoliciesStatus {
    /// The directory.
    #[serde(serialize_with = "crate::policy::location::serialize_file")]
    pub directory: PathBuf,
    /// Number of files read.
    pub files: usize,
    /// Number of policies in force, without staged ones.
    pub policies: usize,
    /// Findings about the files as they are now.
    pub diagnostics: Vec<Finding>,
    /// Files whose last good version is in force instead of what they say now.
    #[serde(serialize_with = "crate::policy::location::serialize_files")]
    pub held: Vec<PathBuf>,
    /// Invalid files that never had a good version: nothing of them is in force.
    #[serde(serialize_with = "crate::policy::location::serialize_files")]
    pub missing: Vec<PathBuf>,
}

/// A finding about a policy file, in the form that `validate -o json` prints too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How grave.
    pub severity: Severity,
    /// Stable code.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// The file.
    #[serde(serialize_with = "crate::policy::location::serialize_file")]
    pub file: PathBuf,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Path of the field; empty for the document.
    pub field: String,
    /// What to do.
    pub help: Option<String>,
}

impl From<&Diagnostic> for Finding {
    fn from(diagnostic: &Diagnostic) -> Self {
        Finding {
            severity: diagnostic.severity,
            code: diagnostic.code.to_owned(),
            message: diagnostic.message.clone(),
            file: diagnostic.location.file.clone(),
            line: diagnostic.location.line,
            column: diagnostic.location.column,
            field: diagnostic.field.clone(),
            help: diagnostic.help.clone(),
        }
    }
}

/// The Docker engine as the controller sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EngineStatus {
    /// Whether the event stream is open.
    pub connected: bool,
    /// How the engine writes firewall rules, by its own word; engines before 28 do not say, and know iptables only. Nothing,
    /// too, while it has not been asked since it was connected, which `problems` tells.
    pub firewall: Option<String>,
}

/// The containers' attachments to networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointsStatus {
    /// All endpoints.
    pub total: usize,
    /// Endpoints that at least one policy in force selects.
    pub governed: usize,
    /// Endpoints that policy cannot reach.
    pub unenforceable: Vec<UnenforceableEndpoint>,
    /// Parts of `dockgate.io/ports` labels that could not be read, each with its container: rules that name such a port
    /// do not match it.
    pub unreadable_ports: Vec<String>,
}

/// An endpoint that policy cannot reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct UnenforceableEndpoint {
    /// Container name.
    pub container: String,
    /// Network name; `None` for a container without a network of its own.
    pub network: Option<String>,
    /// Why.
    pub reason: String,
    /// Policies that select it and are not in force for it, in evaluation order.
    pub policies: Vec<String>,
    /// Whether whoever runs the controller accepted that, by `--accept-out-of-reach`.
    pub accepted: bool,
}

impl fmt::Display for UnenforceableEndpoint {
    /// `CONTAINER@NETWORK: REASON`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.container)?;
        if let Some(network) = &self.network {
            write!(f, "@{network}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// What the controller did to the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KernelStatus {
    /// The iptables implementation in use, once it is known.
    pub variant: Option<Variant>,
    /// Number of changes applied since the start.
    pub applied: u64,
    /// Number of times that someone else's change was repaired.
    pub repairs: u64,
    /// Number of open flows that were ended since the start: policy had come to forbid them, or their container had ended.
    pub flows_cut: u64,
    /// The last error, until an apply succeeds.
    pub last_error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_another_version_is_read() {
        let status: Status =
            serde_json::from_str(r#"{"ready": true, "kernel": {"applied": 3, "new": 1}, "later": {}}"#).unwrap();
        assert!(status.ready && !status.in_sync);
        assert_eq!(status.kernel.applied, 3);
    }

    #[test]
    fn the_document_survives_the_socket() {
        let status = Status {
            version: "1.2.3".to_owned(),
            problems: vec!["a".to_owned()],
            policies: PoliciesStatus {
                diagnostics: vec![Finding {
                    severity: Severity::Error,
                    code: "DG1001".to_owned(),
                    message: "m".to_owned(),
                    file: "a.yaml".into(),
                    line: 1,
                    column: 2,
                    field: String::new(),
                    help: None,
                }],
                ..PoliciesStatus::default()
            },
            kernel: KernelStatus { variant: Some(Variant::Nft), ..KernelStatus::default() },
            ..Status::default()
        };
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
    }
}
