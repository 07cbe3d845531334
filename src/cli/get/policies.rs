//! `dockgate get policies`: the checked policies in evaluation order, and how many endpoints each governs.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::world::{PolicyArguments, WorldArguments};
use crate::inventory::Inventory;
use crate::policy::location::file_name;
use crate::policy::{Direction, Order, Policy, PolicyKind};
use crate::selector::Selector;

use super::{ListFormat, Listed, joined, list};

/// Policies in the order in which they are evaluated
///
/// The endpoints that a policy selects come from the inventory; where no engine answers and no --inventory or --compose
/// is given they are left out.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Form of the list
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table, value_name = "FORMAT")]
    output: ListFormat,

    #[command(flatten)]
    policies: PolicyArguments,

    #[command(flatten)]
    world: WorldArguments,
}

/// The documented JSON form.
#[derive(Serialize)]
struct Row {
    kind: &'static str,
    namespace: Option<String>,
    name: String,
    tier: String,
    order: Order,
    types: Vec<Direction>,
    /// Whether it is checked and shown but never enforced.
    staged: bool,
    /// In canonical form, namespace folded in.
    selector: Selector,
    /// `CONTAINER@NETWORK` of every endpoint that it selects; `None` when there is no inventory.
    endpoints: Option<Vec<String>>,
    #[serde(serialize_with = "crate::policy::location::serialize_file")]
    file: PathBuf,
    line: u32,
}

impl Row {
    fn new(policy: &Policy, inventory: Option<&Inventory>) -> Row {
        let selected = |inventory: &Inventory| {
            let endpoints = inventory.endpoints();
            let selected = endpoints.iter().filter(|endpoint| policy.selector.matches(&endpoint.labels));
            selected.map(crate::inventory::Endpoint::name).collect()
        };
        Row {
            kind: policy.key.kind.name(),
            namespace: policy.key.namespace.clone(),
            name: policy.key.name.clone(),
            tier: policy.tier.clone(),
            order: policy.order,
            types: Direction::ALL.into_iter().filter(|direction| policy.rules(*direction).is_some()).collect(),
            staged: policy.key.kind.is_staged(),
            selector: policy.selector.clone(),
            endpoints: inventory.map(selected),
            file: policy.location.file.clone(),
            line: policy.location.line,
        }
    }
}

impl Listed for Row {
    const HEADER: &'static [&'static str] =
        &["TIER", "ORDER", "NAMESPACE", "NAME", "KIND", "TYPES", "ENDPOINTS", "FILE", "SELECTOR"];
    const NARROW: usize = 8;

    fn cells(&self) -> Vec<String> {
        vec![
            self.tier.clone(),
            self.order.0.map(|order| order.to_string()).unwrap_or_default(),
            self.namespace.clone().unwrap_or_default(),
            self.name.clone(),
            PolicyKind::in_words(self.kind).to_owned(),
            joined(&self.types),
            self.endpoints.as_ref().map_or("?".to_owned(), |endpoints| endpoints.len().to_string()),
            format!("{}:{}", file_name(&self.file), self.line),
            self.selector.to_string(),
        ]
    }
}

impl Arguments {
    pub(super) async fn execute(self, output: &mut dyn Write) -> anyhow::Result<()> {
        let policies = self.policies.require()?;
        let inventory = match self.world.inventory().await {
            Ok(inventory) => Some(inventory),
            Err(error) if self.world.option().is_some() => return Err(error),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "no engine answers: endpoints are left out");
                None
            }
        };
        let rows: Vec<_> = policies.policies.iter().map(|policy| Row::new(policy, inventory.as_ref())).collect();
        list(output, self.output, &rows)
    }
}
