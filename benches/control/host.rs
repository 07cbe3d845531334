//! A Docker host without an engine: bridges, and a cable for each container.
//!
//! Input: an inventory. Output: two network namespaces, the host's and one for the inner ends of all cables. Both end with
//! the value. Policy is bound to ports, so that a world without cables would be one that dockgate takes for broken.

use std::fmt::Write;

use dockgate::inventory::{Container, Inventory, Network};

use crate::command::run_with_input;
use crate::namespace::Namespace;

/// The host and its containers' ends.
#[derive(Debug)]
pub(crate) struct Host {
    namespace: Namespace,
    inside: Namespace,
}

impl Host {
    pub(crate) fn new(inventory: &Inventory) -> Host {
        let host = Host { namespace: Namespace::anonymous(), inside: Namespace::anonymous() };
        for namespace in [&host.namespace, &host.inside] {
            // Nobody sends a packet here, and addresses of links nobody asks for cost the kernel most of a cable's making.
            namespace.set_sysctl("net.ipv6.conf.default.disable_ipv6", "1");
        }
        let mut batch = String::new();
        for bridge in inventory.networks.values().filter_map(|network| network.bridge.as_ref()) {
            writeln!(batch, "link add {bridge} type bridge").expect("a String takes everything");
        }
        for container in inventory.containers.values() {
            batch.push_str(&host.cable(container, &inventory.networks[&container.attachments[0].network]));
        }
        host.ip(&batch);
        host
    }

    /// The namespace of the host.
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Plugs a container in, as an engine does before it tells of the attachment.
    pub(crate) fn plug(&self, container: &Container, network: &Network) {
        self.ip(&self.cable(container, network));
    }

    /// Pulls the container's cable.
    pub(crate) fn unplug(&self, container: &Container) {
        self.ip(&format!("link del {}\n", port(container)));
    }

    fn cable(&self, container: &Container, network: &Network) -> String {
        let (port, inside) = (port(container), self.inside.path());
        let bridge = network.bridge.as_ref().expect("generated networks have bridges");
        let mac = container.attachments[0].mac.expect("generated containers have MAC addresses");
        format!("link add {port} master {bridge} type veth peer name {port} address {mac} netns {inside}\n")
    }

    fn ip(&self, batch: &str) {
        self.namespace.run(|| run_with_input(&["ip", "-batch", "-"], batch.as_bytes()));
    }
}

/// The end of the id tells generated containers apart, and a link's name has 15 characters.
fn port(container: &Container) -> String {
    let id = &container.id.0;
    format!("veth{}", &id[id.len() - 8..])
}
