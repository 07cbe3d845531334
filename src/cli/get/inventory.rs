//! `dockgate get inventory`: everything that dockgate knows of the host, as a file that can stand in for it.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::world::{self, WorldArguments};
use crate::inventory::{Attachment, Container, Inventory, PublishedPort, file};

use super::{ListFormat, Listed, joined, pairs, print};

/// The whole inventory; with `-o yaml` as a file for --inventory
///
/// Of a container it has name, image, labels, networks and published ports: no environment, no command and no mounts.
/// Labels are written as they are. Some programs take passwords from them; --for-policies leaves out those that policies
/// do not need.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Form of the inventory; tables show containers only
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table, value_name = "FORMAT")]
    output: ListFormat,

    /// Leave out labels that no policy of this directory asks for
    #[arg(long, value_name = "DIR")]
    for_policies: Option<PathBuf>,

    #[command(flatten)]
    world: WorldArguments,
}

/// A container and the inventory that it is part of.
struct Row<'a> {
    container: &'a Container,
    inventory: &'a Inventory,
}

impl Listed for Row<'_> {
    const HEADER: &'static [&'static str] = &["CONTAINER", "NAMESPACE", "IMAGE", "NETWORKS", "PORTS", "ID", "LABELS"];
    const NARROW: usize = 5;

    fn cells(&self) -> Vec<String> {
        let Row { container, inventory } = self;
        let network = |attachment: &Attachment| {
            let network = inventory.networks.get(&attachment.network);
            network.map_or_else(|| attachment.network.to_string(), |network| network.name.clone())
        };
        let mut networks: Vec<_> = container.attachments.iter().map(network).collect();
        networks.sort();
        vec![
            container.name.clone(),
            container.namespace().to_owned(),
            container.image.clone(),
            joined(&networks),
            joined(&container.published.iter().map(published).collect::<Vec<_>>()),
            container.id.to_string(),
            pairs(&container.labels),
        ]
    }
}

/// A published port in the order of `docker ps`.
fn published(port: &PublishedPort) -> String {
    let PublishedPort { host_address, host_port, container_port, protocol } = port;
    let inside = format!("{container_port}/{}", protocol.to_string().to_lowercase());
    match (host_address, host_port) {
        (_, None) => inside,
        (None, Some(host_port)) => format!("{host_port}->{inside}"),
        (Some(address), Some(host_port)) => {
            format!("{}->{inside}", std::net::SocketAddr::new(*address, *host_port))
        }
    }
}

impl Arguments {
    pub(super) async fn execute(self, output: &mut dyn Write) -> anyhow::Result<()> {
        let mut inventory = self.world.inventory().await?;
        if let Some(path) = &self.for_policies {
            let policies = world::policies(path)?;
            let keys = policies.label_keys();
            inventory.keep_labels(|key| keys.contains_key(key));
        }
        let mut rows: Vec<_> =
            inventory.containers.values().map(|container| Row { container, inventory: &inventory }).collect();
        rows.sort_by(|a, b| (&a.container.name, &a.container.id).cmp(&(&b.container.name, &b.container.id)));
        print(output, self.output, &rows, &file::to_resource(&inventory))
    }
}

#[cfg(test)]
mod tests {
    use crate::net::Protocol;

    use super::*;

    #[test]
    fn ports_read_as_docker_prints_them() {
        let port = |host_address: Option<&str>, host_port| {
            published(&PublishedPort {
                host_address: host_address.map(|address| address.parse().unwrap()),
                host_port,
                container_port: 80,
                protocol: Protocol::TCP,
            })
        };
        assert_eq!(port(None, None), "80/tcp");
        assert_eq!(port(None, Some(8080)), "8080->80/tcp");
        assert_eq!(port(Some("127.0.0.1"), Some(8080)), "127.0.0.1:8080->80/tcp");
        assert_eq!(port(Some("::1"), Some(8080)), "[::1]:8080->80/tcp");
    }
}
