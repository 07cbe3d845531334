//! `dockgate get endpoints`: every attachment of a container to a network, and the policies that govern it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::cli::world::{PolicyArguments, WorldArguments};
use crate::compile::policies_of;
use crate::inventory::Endpoint;
use crate::net::Family;
use crate::policy::{Direction, PolicySet};
use crate::selector::{NAMESPACE_PREFIX, Selector};

use super::{ListFormat, Listed, list, pairs};

/// Containers' attachments to networks, with labels and the policies in force for them
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only endpoints that this selector matches, e.g. "app == 'web' && env in {'prod'}"
    #[arg(short = 'l', long, value_name = "EXPR", default_value = "all()")]
    selector: String,

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
#[serde(rename_all = "camelCase")]
struct Row {
    container: String,
    network: Option<String>,
    namespace: String,
    ipv4: Option<IpAddr>,
    ipv6: Option<IpAddr>,
    labels: BTreeMap<String, String>,
    /// Whether policy reaches it.
    enforced: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Names in evaluation order; `None` when no policies were named.
    ingress_policies: Option<Vec<String>>,
    egress_policies: Option<Vec<String>>,
}

impl Row {
    fn new(endpoint: &Endpoint<'_>, policies: Option<&PolicySet>) -> Row {
        let names = |direction| {
            let governing = policies_of(policies?, endpoint, direction);
            Some(governing.iter().map(|policy| policy.key.to_string()).collect())
        };
        Row {
            container: endpoint.container.name.clone(),
            network: endpoint.network.map(|network| network.name.clone()),
            namespace: endpoint.container.namespace().to_owned(),
            ipv4: endpoint.address(Family::V4),
            ipv6: endpoint.address(Family::V6),
            labels: endpoint.labels.as_ref().clone(),
            enforced: endpoint.unenforceable.is_none(),
            reason: endpoint.unenforceable.as_ref().map(ToString::to_string),
            ingress_policies: names(Direction::Ingress),
            egress_policies: names(Direction::Egress),
        }
    }
}

impl Listed for Row {
    const HEADER: &'static [&'static str] =
        &["CONTAINER", "NETWORK", "NAMESPACE", "IPV4", "IPV6", "ENFORCED", "INGRESS", "EGRESS", "REASON", "LABELS"];
    const NARROW: usize = 8;

    fn cells(&self) -> Vec<String> {
        let address = |address: Option<IpAddr>| address.map(|address| address.to_string()).unwrap_or_default();
        let names = |names: &Option<Vec<String>>| match names {
            Some(names) if names.is_empty() => "open".to_owned(),
            Some(names) => names.join(","),
            None => "?".to_owned(),
        };
        // The namespace's own labels would be repeated in every row.
        let own = self.labels.iter().filter(|(key, _)| !key.starts_with(NAMESPACE_PREFIX));
        vec![
            self.container.clone(),
            self.network.clone().unwrap_or_default(),
            self.namespace.clone(),
            address(self.ipv4),
            address(self.ipv6),
            if self.enforced { "yes" } else { "no" }.to_owned(),
            names(&self.ingress_policies),
            names(&self.egress_policies),
            self.reason.clone().unwrap_or_default(),
            pairs(own),
        ]
    }
}

impl Arguments {
    pub(super) async fn execute(self, output: &mut dyn Write) -> anyhow::Result<()> {
        let selector =
            Selector::parse(&self.selector).with_context(|| format!("cannot read the selector `{}`", self.selector))?;
        let policies = self.policies.load()?;
        let inventory = self.world.inventory().await?;
        let rows: Vec<_> = inventory
            .endpoints()
            .iter()
            .filter(|endpoint| selector.matches(&endpoint.labels))
            .map(|endpoint| Row::new(endpoint, policies.as_ref()))
            .collect();
        list(output, self.output, &rows)
    }
}
