//! `dockgate get networks`: the networks, and whether policy reaches what is on them.

use std::io::Write;
use std::net::IpAddr;

use clap::Args;
use serde::Serialize;

use crate::cli::world::WorldArguments;
use crate::inventory::{Inventory, Network};
use crate::net::{Cidr, InterfaceName};

use super::{ListFormat, Listed, joined, list};

/// Docker networks, their bridges and subnets
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Form of the list
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table, value_name = "FORMAT")]
    output: ListFormat,

    #[command(flatten)]
    world: WorldArguments,
}

/// The documented JSON form.
#[derive(Serialize)]
struct Row {
    name: String,
    id: String,
    driver: String,
    bridge: Option<InterfaceName>,
    subnets: Vec<Cidr>,
    gateways: Vec<IpAddr>,
    internal: bool,
    /// Whether policy reaches endpoints on it.
    enforced: bool,
    /// Number of endpoints.
    endpoints: usize,
}

impl Row {
    fn new(network: &Network, inventory: &Inventory) -> Row {
        let attachments = inventory.containers.values().flat_map(|container| &container.attachments);
        Row {
            name: network.name.clone(),
            id: network.id.to_string(),
            driver: network.driver.clone(),
            bridge: network.bridge.clone(),
            subnets: network.subnets.clone(),
            gateways: network.gateways.clone(),
            internal: network.internal,
            enforced: network.bridge.is_some(),
            endpoints: attachments.filter(|attachment| attachment.network == network.id).count(),
        }
    }
}

impl Listed for Row {
    const HEADER: &'static [&'static str] =
        &["NAME", "DRIVER", "BRIDGE", "SUBNETS", "INTERNAL", "ENFORCED", "ENDPOINTS", "GATEWAYS", "ID"];
    const NARROW: usize = 7;

    fn cells(&self) -> Vec<String> {
        let yes_or_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        vec![
            self.name.clone(),
            self.driver.clone(),
            self.bridge.as_ref().map(ToString::to_string).unwrap_or_default(),
            joined(&self.subnets),
            yes_or_no(self.internal),
            yes_or_no(self.enforced),
            self.endpoints.to_string(),
            joined(&self.gateways),
            self.id.clone(),
        ]
    }
}

impl Arguments {
    pub(super) async fn execute(self, output: &mut dyn Write) -> anyhow::Result<()> {
        let inventory = self.world.inventory().await?;
        let mut rows: Vec<_> = inventory.networks.values().map(|network| Row::new(network, &inventory)).collect();
        rows.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        list(output, self.output, &rows)
    }
}
