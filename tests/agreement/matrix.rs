//! What `connectivity` says, read from its JSON.
//!
//! Input: the answer. Output: a [`Matrix`] that can be asked about two parties. What a row says of a service it says of each
//! of its containers, except that a port of this host leads to one of them.

use std::collections::{BTreeMap, BTreeSet};

use dockgate::net::{Cidr, Family, PortRange, PortSet};
use dockgate::reach::{Service, Via};
use serde_json::Value;

use crate::truth::{Party, RuleName, told_name};

/// How, in which family, and what.
pub(crate) type Key = (Via, Family, Service);

/// Ports that are allowed or denied.
pub(crate) struct Row {
    pub(crate) is_allowed: bool,
    pub(crate) service: Service,
    pub(crate) via: Via,
    pub(crate) families: Vec<Family>,
    pub(crate) ports: PortSet,
    pub(crate) rules: Vec<RuleName>,
}

struct Group {
    name: String,
    kind: String,
    containers: BTreeSet<String>,
    nets: Vec<Cidr>,
}

/// The whole answer.
pub(crate) struct Matrix {
    groups: Vec<Group>,
    rows: BTreeMap<(String, String), Vec<Row>>,
}

impl Matrix {
    pub(crate) fn read(json: &Value) -> Matrix {
        let groups = list(&json["parties"]).iter().map(|party| Group {
            name: text(&party["name"]),
            kind: text(&party["kind"]),
            containers: list(&party["containers"]).iter().map(text).collect(),
            nets: list(&party["nets"]).iter().map(net).collect(),
        });
        let mut rows: BTreeMap<_, Vec<Row>> = BTreeMap::new();
        for row in list(&json["connections"]) {
            rows.entry((text(&row["from"]), text(&row["to"]))).or_default().push(Row {
                is_allowed: row["decision"] == "allow",
                service: service(&row["protocol"]),
                via: via(&row["via"], &row["host_port"]),
                families: list(&row["ip_versions"]).iter().map(family).collect(),
                ports: if row["ports"].is_null() { PortSet::all() } else { ports(&row["ports"]) },
                rules: list(&row["rules"]).iter().map(told_name).collect(),
            });
        }
        Matrix { groups: groups.collect(), rows }
    }

    /// The name of the row and column that a party is in; `None` where it is in none, or in two.
    fn group(&self, party: &Party) -> Option<&str> {
        let is_in = |group: &&Group| match party {
            Party::Container(name) => group.containers.contains(name),
            Party::Host => group.kind == "host",
            Party::Outside(address) => group.nets.iter().any(|net| net.contains(*address)),
        };
        let mut groups = self.groups.iter().filter(is_in);
        let found = groups.next()?;
        groups.next().is_none().then_some(found.name.as_str())
    }

    /// The rows about two parties, the second of which has these ports of the host.
    pub(crate) fn rows<'m>(
        &'m self,
        from: &Party,
        to: &Party,
        host_ports: &'m BTreeSet<u16>,
    ) -> Result<impl Iterator<Item = &'m Row>, String> {
        let group = |party| self.group(party).ok_or_else(|| format!("connectivity: {party} is not there once"));
        let rows = self.rows.get(&(group(from)?.to_owned(), group(to)?.to_owned()));
        Ok(rows.into_iter().flatten().filter(move |row| match row.via {
            Via::Direct => true,
            Via::Published { host_port } | Via::Proxy { host_port } => host_ports.contains(&host_port),
        }))
    }

    /// All ports that are open between two parties.
    pub(crate) fn open(
        &self,
        from: &Party,
        to: &Party,
        host_ports: &BTreeSet<u16>,
    ) -> Result<BTreeMap<Key, PortSet>, String> {
        let mut open: BTreeMap<Key, PortSet> = BTreeMap::new();
        for row in self.rows(from, to, host_ports)?.filter(|row| row.is_allowed) {
            for family in row.families.iter().filter(|family| is_of(**family, from, to)) {
                let ports = open.entry((row.via.clone(), *family, row.service)).or_default();
                *ports = ports.union(&row.ports);
            }
        }
        Ok(open)
    }
}

/// Whether two parties may have a family in common: an address has one.
pub(crate) fn is_of(family: Family, from: &Party, to: &Party) -> bool {
    [from, to].into_iter().all(|party| match party {
        Party::Outside(address) => Family::of(*address) == family,
        Party::Container(_) | Party::Host => true,
    })
}

pub(crate) fn list(json: &Value) -> &[Value] {
    json.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn text(json: &Value) -> String {
    json.as_str().unwrap_or_else(|| panic!("{json} is no text")).to_owned()
}

pub(crate) fn net(json: &Value) -> Cidr {
    text(json).parse().expect("a block of addresses")
}

pub(crate) fn ports(json: &Value) -> PortSet {
    list(json).iter().map(|range| text(range).parse::<PortRange>().expect("a range of ports")).collect()
}

pub(crate) fn family(json: &Value) -> Family {
    if text(json) == "4" { Family::V4 } else { Family::V6 }
}

pub(crate) fn service(json: &Value) -> Service {
    Service::ALL.into_iter().find(|service| *json == service.to_string()).expect("a service")
}

pub(crate) fn via(json: &Value, host_port: &Value) -> Via {
    let port = || host_port.as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port of the host");
    match json.as_str() {
        Some("direct") => Via::Direct,
        Some("published") => Via::Published { host_port: port() },
        Some("proxy") => Via::Proxy { host_port: port() },
        _ => panic!("{json} is no way"),
    }
}
