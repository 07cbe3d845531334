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

/// What every class allows among its own members, by TCP and by UDP.
pub(crate) const ALLOWED: std::ops::RangeInclusive<u16> = 5000..=5009;

/// What no class allows.
pub(crate) const FORBIDDEN: u16 = 6000;

/// Endpoints and classes of each of many networks: one endpoint per class, and a second of the first one. No number of
/// networks here is a multiple of the classes, or the classes of a network would be fewer.
const ENDPOINTS_OF_ONE_OF_MANY: usize = CLASSES_OF_ONE_OF_MANY + 1;
const CLASSES_OF_ONE_OF_MANY: usize = 7;

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
    /// The end that receives: of the client's class and network.
    pub(crate) server: End,
}

impl World {
    /// One network with so many classes; the ends are of the class at this position.
    pub(crate) fn of_classes(endpoints: usize, classes: usize, position: Position) -> World {
        let members = endpoints / classes;
        let class = position.of(classes);
        let member = |nth: usize| class + classes * nth;
        World::new((endpoints, classes, 1), [member((members - 1) / 2), member(members.div_ceil(2))])
    }

    /// So many networks with eight endpoints each; the ends are on the average one.
    pub(crate) fn of_networks(networks: usize) -> World {
        // Dispatch has them in the order of their names.
        let mut order: Vec<usize> = (0..networks).collect();
        order.sort_by_key(|number| format!("network-{number}"));
        let is_of_middle_class = |number: &usize| number % CLASSES_OF_ONE_OF_MANY == CLASSES_OF_ONE_OF_MANY / 2;
        let candidates = order.iter().enumerate().filter(|(_, number)| is_of_middle_class(number));
        let nearest = candidates.min_by_key(|(place, _)| place.abs_diff(Position::Average.of(networks)));
        let (_, &network) = nearest.expect("four networks or more have such a one");
        let size = (networks * ENDPOINTS_OF_ONE_OF_MANY, CLASSES_OF_ONE_OF_MANY, networks);
        World::new(size, [network, network + networks * CLASSES_OF_ONE_OF_MANY])
    }

    fn new((endpoints, classes, networks): (usize, usize, usize), ends: [usize; 2]) -> World {
        let scale = Scale { endpoints, networks, policies: 0, rules: 0, label_sets: classes };
        let [client, server] = ends.map(|number| scale.container(number));
        assert_eq!(client.labels["app"], server.labels["app"], "both ends are of one class");
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

/// The policy of a class. Another class comes first in it, so that what is measured is not its first rule.
fn policy(class: usize, classes: usize) -> String {
    let neighbour = (class + 1) % classes;
    let mut text = format!(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: class-{class:04}}}\nspec:\n  \
         order: {class}\n  selector: \"app == 'app-{class}'\"\n  types: [Ingress, Egress]\n"
    );
    let own = format!("{}:{}", ALLOWED.start(), ALLOWED.end());
    for (direction, peer_is) in [("ingress", "source"), ("egress", "destination")] {
        writeln!(text, "  {direction}:").expect("a String takes everything");
        for (protocol, peer, ports) in
            [("TCP", neighbour, "80:88"), ("TCP", class, own.as_str()), ("UDP", class, own.as_str())]
        {
            let (peer, ports) = (format!("selector: \"app == 'app-{peer}'\""), format!("ports: ['{ports}']"));
            let sides = match peer_is {
                "source" => format!("source: {{{peer}}}, destination: {{{ports}}}"),
                _ => format!("destination: {{{peer}, {ports}}}"),
            };
            writeln!(text, "    - {{action: Allow, protocol: {protocol}, {sides}}}")
                .expect("a String takes everything");
        }
    }
    text
}
