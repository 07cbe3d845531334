//! `dockgate crds`: the custom resource definitions of the kinds.

use std::io::Write;

use clap::Args;

use crate::api::{self, Kind};

use super::Outcome;
use super::failure::Failure;

/// Print the custom resource definitions (CRDs) of the kinds that dockgate reads
///
/// A policy repository that is shared with a cluster, and editors that read CRDs, use them; dockgate itself does not.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only this kind: its name, plural or short name [default: all]
    #[arg(value_name = "KIND", value_parser = kind)]
    kind: Option<&'static Kind>,
}

impl Arguments {
    pub(super) fn execute(self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        let kinds = self.kind.map_or_else(|| api::KINDS.iter().collect(), |kind| vec![kind]);
        let definitions: Vec<_> = kinds.into_iter().filter_map(api::crd_yaml).collect();
        if definitions.is_empty() {
            return Err(Failure {
                message: "this kind has no CRD: every cluster has it".to_owned(),
                help: "`dockgate schema` prints its JSON Schema".to_owned(),
            }
            .into());
        }
        write!(output, "{}", definitions.join("---\n"))?;
        Ok(Outcome::Yes)
    }
}

/// The kind that an argument names.
pub(super) fn kind(text: &str) -> Result<&'static Kind, String> {
    api::find_named(text).ok_or_else(|| {
        let names: Vec<_> = api::KINDS.iter().map(|kind| kind.name).collect();
        format!("the kinds are {}", names.join(", "))
    })
}
