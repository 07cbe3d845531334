//! The worlds in which packets are sent: so many endpoints, classes and networks, and two endpoints among them.
//!
//! Input: how much there is of each. Output: the ruleset that dockgate compiles for it, and the two ends. Each class has a
//! policy of its own for both directions, so that policies, label sets and classes are equal in number.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::PathBuf;

use dockgate::compile::{Options, compile};
use dockgate::inventory::Inventory;
use dockgate::net::{InterfaceName, MacAddress};
use dockgate::policy::{SourceFile, load};
use dockgate::ruleset::Ruleset;

use crate::scale::Scale;

/// What every class allows to everybody on this host, by TCP and by UDP.
pub(crate) const ALLOWED: std::ops::RangeInclusive<u16> = 5000..=5009;

/// What no class allows.
pub(crate) const FORBIDDEN: u16 = 6000;

/// Endpoints of each of many networks: those two that talk, each of another class.
const ENDPOINTS_OF_ONE_OF_MANY: usize = 2;
/// Classes of a host with many networks: no divisor of a number of networks here, or both endpoints were of one class.
const CLASSES_OF_MANY: usize = 7;

/// Where the two ends stand in the order in which dispatch has them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Position {
    /// In the middle.
    Average,
    /// Last, which is the worst place where rules are asked in a row.
    Last,
}

impl Position {
    fn of(self, count: usize) -> usize {
        match self {
            Position::Average => count / 2,
            Position::Last => count - 1,
        }
    }
}

/// One endpoint as a cable is laid to it.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// Its IPv4 address.
    pub(crate) address: IpAddr,
    /// Its MAC address.
    pub(crate) mac: MacAddress,
}

/// A host's networks and endpoints, and the two that talk.
#[derive(Debug)]
pub(crate) struct World {
    inventory: Inventory,
    classes: usize,
    /// The bridge of both ends.
    pub(crate) bridge: InterfaceName,
    /// Prefix length of their subnet.
    pub(crate) prefix: u8,
    /// The end that sends.
    pub(crate) client: End,
    /// The end that receives.
    pub(crate) server: End,
}

impl World {
    /// One network with so many classes; the ends are of the class at this position.
    pub(crate) fn of_classes(endpoints: u32, classes: u32, position: Position) -> World {
        let (endpoints, classes) = (endpoints as usize, classes as usize);
        let members = endpoints / classes;
        let class = position.of(classes);
        let member = |nth: usize| class + classes * nth;
        World::new((endpoints, classes, 1), [member((members - 1) / 2), member(members.div_ceil(2))])
    }

    /// So many networks with two endpoints each; the ends are those of the average network.
    pub(crate) fn of_networks(networks: u32) -> World {
        let networks = networks as usize;
        // Dispatch has them in the order of their names.
        let mut order: Vec<usize> = (0..networks).collect();
        order.sort_by_key(|number| format!("network-{number}"));
        let network = order[Position::Average.of(networks)];
        let size = (networks * ENDPOINTS_OF_ONE_OF_MANY, CLASSES_OF_MANY, networks);
        World::new(size, [network, network + networks])
    }

    fn new((endpoints, classes, networks): (usize, usize, usize), ends: [usize; 2]) -> World {
        let scale = Scale { endpoints, networks, policies: 0, rules: 0, label_sets: classes };
        let [client, server] = ends.map(|number| scale.container(number));
        let inventory = scale.inventory();
        let network = &inventory.networks[&client.attachments[0].network];
        assert_eq!(network.id, server.attachments[0].network, "both ends are on one network");
        let bridge = network.bridge.clone().expect("every network of such a world has a bridge");
        let prefix = network.subnets[0].prefix();
        let [client, server] = [client, server].map(|container| {
            let attachment = &container.attachments[0];
            let address = attachment.ipv4.expect("every container of such a world has an address");
            End { address, mac: attachment.mac.expect("every container of such a world has a MAC address") }
        });
        World { inventory, classes, bridge, prefix, client, server }
    }

    /// What dockgate makes of it.
    pub(crate) fn ruleset(&self) -> Ruleset {
        let files = (0..self.classes)
            .map(|class| SourceFile::new(PathBuf::from(format!("class-{class:04}.yaml")), policy(class, self.classes)));
        let loaded = load(&files.collect::<Vec<_>>());
        assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics.first());
        compile(&loaded.policies, &self.inventory, &Options::default()).ruleset
    }

    /// The addresses of all endpoints that are neither end.
    pub(crate) fn other_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let all = self.inventory.containers.values().filter_map(|container| container.attachments[0].ipv4);
        all.filter(|address| *address != self.client.address && *address != self.server.address)
    }
}

/// The policy of a class. Another rule comes first in it, so that what is measured is not its first one.
fn policy(class: usize, classes: usize) -> String {
    let mut text = format!(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: class-{class:04}}}\nspec:\n  \
         order: {class}\n  selector: \"app == 'app-{class}'\"\n  types: [Ingress, Egress]\n"
    );
    let neighbour = format!("app == 'app-{}'", (class + 1) % classes);
    let open = format!("{}:{}", ALLOWED.start(), ALLOWED.end());
    let rules = [("TCP", neighbour.as_str(), "80:88"), ("TCP", "has(app)", &open), ("UDP", "has(app)", &open)];
    for direction in ["ingress", "egress"] {
        writeln!(text, "  {direction}:").expect("a String takes everything");
        for (protocol, peer, ports) in rules {
            let (peer, ports) = (format!("selector: \"{peer}\""), format!("ports: ['{ports}']"));
            let sides = match direction {
                "ingress" => format!("source: {{{peer}}}, destination: {{{ports}}}"),
                _ => format!("destination: {{{peer}, {ports}}}"),
            };
            writeln!(text, "    - {{action: Allow, protocol: {protocol}, {sides}}}")
                .expect("a String takes everything");
        }
    }
    text
}
