//! `dockgate schema`: the JSON Schemas of the kinds, for editors.

use std::io::Write;

use clap::Args;

use crate::api::{self, Kind};

use super::Outcome;
use super::crds::kind;

/// Print the JSON Schema (draft 7) of a kind
///
/// With it an editor completes and checks policy files as they are written.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The kind: its name, plural or short name [default: whichever the document says it is]
    #[arg(value_name = "KIND", value_parser = kind)]
    kind: Option<&'static Kind>,
}

impl Arguments {
    pub(super) fn execute(self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        let text = self.kind.map_or_else(api::any_schema_json, api::schema_json);
        write!(output, "{text}")?;
        Ok(Outcome::Yes)
    }
}
