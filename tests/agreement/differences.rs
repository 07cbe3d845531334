//! What `diff` says, read from its JSON.
//!
//! Input: the report. Output: [`Change`]s, which can be asked whether they are about two parties.

use std::collections::BTreeMap;

use dockgate::net::{Cidr, Family, PortSet};
use dockgate::reach::{Service, Via};
use serde_json::{Value, json};

use crate::matrix::{family, list, net, ports, service, text, via};
use crate::truth::{Party, Place, RuleName, told_name};

/// What became of some ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    Widened,
    Narrowed,
}

/// Parties that are told as one.
enum Unit {
    Containers(Vec<String>),
    Host,
    Outside { nets: Vec<Cidr>, except: Vec<Cidr> },
}

/// One change.
pub(crate) struct Change {
    pub(crate) effect: Effect,
    /// `added`, `removed` or `changed`.
    pub(crate) connection: String,
    from: Vec<Unit>,
    to: Vec<Unit>,
    pub(crate) via: Via,
    pub(crate) network: Option<String>,
    families: Vec<Family>,
    pub(crate) traffic: BTreeMap<Service, PortSet>,
    /// The rules that decided before, and those that decide after.
    pub(crate) rules: [Vec<RuleName>; 2],
}

impl Change {
    fn read(json: &Value) -> Change {
        let rules = |side: &str| list(&json[side]["rules"]).iter().map(told_name).collect();
        let traffic = list(&json["traffic"]).iter().map(|traffic| {
            let service = service(&traffic["protocol"]);
            (service, if service == Service::Ping { PortSet::all() } else { ports(&traffic["ports"]) })
        });
        Change {
            effect: if json["effect"] == "widened" { Effect::Widened } else { Effect::Narrowed },
            connection: text(&json["connection"]),
            from: list(&json["from"]).iter().map(Unit::read).collect(),
            to: list(&json["to"]).iter().map(Unit::read).collect(),
            via: via(&json["via"], &json["host_port"]),
            network: json["network"].as_str().map(str::to_owned),
            families: list(&json["ip_versions"]).iter().map(family).collect(),
            traffic: traffic.collect(),
            rules: [rules("old"), rules("new")],
        }
    }

    /// Whether it is about two parties.
    pub(crate) fn is_of(&self, from: &Party, to: &Party) -> bool {
        let has = |units: &[Unit], party| units.iter().any(|unit| unit.has(party));
        from != to && has(&self.from, from) && has(&self.to, to)
    }

    /// Whether a family is meant.
    pub(crate) fn has_family(&self, family: Family) -> bool {
        self.families.is_empty() || self.families.contains(&family)
    }

    /// Whether a place is meant.
    pub(crate) fn has_place(&self, (via, family, network): &Place) -> bool {
        self.via == *via && self.has_family(*family) && (self.network.is_none() || self.network == *network)
    }

    /// Whether a port is meant.
    pub(crate) fn has_port(&self, service: Service, port: u16) -> bool {
        self.traffic.get(&service).is_some_and(|ports| ports.contains(port))
    }
}

impl Unit {
    fn read(json: &Value) -> Unit {
        let nets = |key: &str| list(&json[key]).iter().map(net).collect();
        match json["kind"].as_str() {
            Some("container") => Unit::Containers(vec![text(&json["name"])]),
            Some("service") => Unit::Containers(list(&json["containers"]).iter().map(text).collect()),
            Some("host") => Unit::Host,
            Some("outside") => Unit::Outside { nets: nets("nets"), except: nets("except") },
            _ => panic!("{json} is nobody"),
        }
    }

    fn has(&self, party: &Party) -> bool {
        match (self, party) {
            (Unit::Containers(names), Party::Container(name)) => names.contains(name),
            (Unit::Host, Party::Host) => true,
            (Unit::Outside { nets, except }, Party::Outside(address)) => {
                let is_in = |nets: &[Cidr]| nets.iter().any(|net| net.contains(*address));
                is_in(nets) && !is_in(except)
            }
            _ => false,
        }
    }
}

pub(crate) fn changes(report: &Value) -> Vec<Change> {
    list(&report["changes"]).iter().map(Change::read).collect()
}

/// The changes as texts in one order.
pub(crate) fn as_texts(report: &Value) -> Vec<String> {
    let mut texts: Vec<String> = list(&report["changes"]).iter().map(Value::to_string).collect();
    texts.sort();
    texts
}

/// The changes as they are seen from the other side, as texts.
pub(crate) fn mirrored(report: &Value) -> Vec<String> {
    let swapped = |json: &Value, one: &str, other: &str| match json.as_str() {
        Some(text) if text == one => json!(other),
        Some(text) if text == other => json!(one),
        _ => json.clone(),
    };
    let mut mirrored = report.clone();
    for change in mirrored["changes"].as_array_mut().into_iter().flatten() {
        let (old, new) = (change["old"].clone(), change["new"].clone());
        (change["old"], change["new"]) = (new, old);
        change["effect"] = swapped(&change["effect"], "widened", "narrowed");
        change["connection"] = swapped(&change["connection"], "added", "removed");
    }
    as_texts(&mirrored)
}
