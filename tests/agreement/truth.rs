//! What is so: the ways of a connection, each judged by the rules for its first packet.
//!
//! Input: an inventory and what policies were compiled to. Output: [`Way`]s. Which packets a connection is, is asked of
//! [`Finder`], as the commands do; what the rules do with a packet, of [`evaluate`], which tests with real packets hold to
//! the kernel. What Docker's own rules leave of that is written down here a second time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dockgate::compile::{Compiled, Origin};
use dockgate::inventory::{Inventory, PublishedPort};
use dockgate::net::Family;
use dockgate::reach::{CLIENT_PORT, Service, Via};
use dockgate::ruleset::Action;
use dockgate::verdict::path::{End, Finder, Path, Route, Traffic};
use dockgate::verdict::{Decision, Verdict, evaluate};
use serde_json::Value;

/// Who connects, or to whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Party {
    Container(String),
    Host,
    Outside(IpAddr),
}

impl std::fmt::Display for Party {
    /// As a user names it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Party::Container(name) => f.write_str(name),
            Party::Host => f.write_str("host"),
            Party::Outside(address) => address.fmt(f),
        }
    }
}

/// A connection to ask about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question {
    pub(crate) from: Party,
    pub(crate) to: Party,
    pub(crate) service: Service,
    /// Of a ping any.
    pub(crate) port: u16,
    pub(crate) family: Option<Family>,
}

impl Question {
    pub(crate) fn families(&self) -> Vec<Family> {
        self.family.map_or(Family::ALL.to_vec(), |family| vec![family])
    }
}

/// A rule of a policy: its policy, direction and index; no index is the end of its tier.
pub(crate) type RuleName = (String, String, Option<usize>);

pub(crate) fn name_of(origin: &Origin) -> RuleName {
    (origin.policy.to_string(), origin.direction.to_string(), origin.rule)
}

/// The rule that an answer names.
pub(crate) fn told_name(decider: &Value) -> RuleName {
    let text = |key: &str| decider[key].as_str().expect("a text").to_owned();
    (text("policy"), text("direction"), decider["rule"].as_u64().map(|rule| usize::try_from(rule).expect("an index")))
}

/// One way of a connection.
pub(crate) struct Way<'a> {
    pub(crate) path: Path<'a>,
    pub(crate) verdict: Verdict,
    /// How it goes; several for the ports of this host that lead to one port. None where Docker's own rules close the way,
    /// and where the port of this host is a container's.
    pub(crate) vias: Vec<Via>,
    /// The word for how it would go, as cases of tests have it; `None` where the port of this host is a container's.
    pub(crate) word: Option<&'static str>,
    /// The network of the sender, or of the destination where that has no network.
    pub(crate) network: Option<String>,
    /// Rules of policies that let it go on or denied it, in order.
    pub(crate) asked: Vec<RuleName>,
    /// Those that decide: the one that denies, else all.
    pub(crate) deciders: Vec<RuleName>,
}

impl Way<'_> {
    pub(crate) fn is_allowed(&self) -> bool {
        self.verdict.decision == Decision::Allow
    }

    /// Whether packets pass, by the rules of both.
    pub(crate) fn is_open(&self) -> bool {
        self.is_allowed() && !self.vias.is_empty()
    }
}

/// How, in which family and by which network.
pub(crate) type Place = (Via, Family, Option<String>);

/// The ways by their place.
pub(crate) fn by_place<'w, 'a>(ways: &'w [Way<'a>]) -> BTreeMap<Place, Vec<&'w Way<'a>>> {
    let mut places: BTreeMap<Place, Vec<&Way<'_>>> = BTreeMap::new();
    for way in ways {
        for via in &way.vias {
            places.entry((via.clone(), way.path.family(), way.network.clone())).or_default().push(way);
        }
    }
    places
}

/// Knows the truth about one world and one set of policies.
pub(crate) struct Truth<'a> {
    inventory: &'a Inventory,
    compiled: &'a Compiled,
    finder: Finder<'a>,
}

impl<'a> Truth<'a> {
    pub(crate) fn new(inventory: &'a Inventory, compiled: &'a Compiled) -> Truth<'a> {
        Truth { inventory, compiled, finder: Finder::new(inventory) }
    }

    /// All ways in the order in which they are found; none where the question has no answer.
    pub(crate) fn ways(&self, question: &Question) -> Vec<Way<'a>> {
        let end = |party: &Party| End::find(self.inventory, &party.to_string()).expect("a party of this world");
        let traffic = match question.service {
            Service::Ports(protocol) => Traffic::Ports { protocol, source: CLIENT_PORT, destination: question.port },
            Service::Ping => Traffic::EchoRequest,
        };
        let found = self.finder.paths(&end(&question.from), &end(&question.to), traffic, &question.families());
        found.map_or_else(
            |_| Vec::new(),
            |paths| paths.judged.into_iter().map(|path| self.way(path, question)).collect(),
        )
    }

    fn way(&self, path: Path<'a>, question: &Question) -> Way<'a> {
        let verdict = evaluate(&self.compiled.ruleset, &path.packet);
        let ends = |hit: &&dockgate::verdict::Hit| {
            matches!(hit.action, Action::Return | Action::Drop | Action::Reject)
                && self.compiled.origins.contains_key(&hit.comment)
        };
        let rules = verdict.trace.iter().filter(ends);
        let named = |hit: &dockgate::verdict::Hit| name_of(&self.compiled.origins[&hit.comment]);
        let asked = rules.clone().map(named).collect();
        let allows = verdict.decision == Decision::Allow;
        let deciders = rules.filter(|hit| (hit.action == Action::Return) == allows).map(named).collect();
        let receiver = path.destination.as_ref().filter(|_| !matches!(path.route, Route::ThroughPublishedPort { .. }));
        let network = path.source.as_ref().or(receiver).and_then(|endpoint| endpoint.network);
        let network = network.map(|network| network.name.clone());
        let (word, vias) = self.passage(&path, question);
        Way { path, verdict, vias, word, network, asked, deciders }
    }

    /// What Docker's own rules make of a way.
    fn passage(&self, path: &Path<'_>, question: &Question) -> (Option<&'static str>, Vec<Via>) {
        let family = path.family();
        let same = |port: &PublishedPort| Service::Ports(port.protocol) == question.service;
        match &path.route {
            // Docker isolates its networks from each other, and internal ones from the outside.
            Route::BetweenNetworks { .. } | Route::ToOutside { internal: true, .. } => (Some("direct"), Vec::new()),
            Route::FromOutside { internal: true, .. } => (Some("published"), Vec::new()),
            Route::FromOutside { .. } => {
                let container = path.destination.as_ref().expect("it goes to a container").container;
                let leads = |port: &&PublishedPort| {
                    let bound = port.host_address;
                    let outside = bound.is_none_or(|bound| Family::of(bound) == family && !bound.is_loopback());
                    same(port) && port.container_port == question.port && outside
                };
                let ports = container.published.iter().filter(leads).filter_map(|port| port.host_port);
                (Some("published"), ports.map(|host_port| Via::Published { host_port }).collect())
            }
            Route::ThroughPublishedPort { port, .. } => (Some("proxy"), vec![Via::Proxy { host_port: *port }]),
            Route::ToHost { .. } => {
                let is_held =
                    self.inventory.containers.values().flat_map(|container| &container.published).any(|port| {
                        let bound = port
                            .host_address
                            .is_none_or(|bound| bound.is_unspecified() || bound == path.packet.destination);
                        bound && same(port) && port.host_port == Some(question.port)
                    });
                if is_held { (None, Vec::new()) } else { (Some("direct"), vec![Via::Direct]) }
            }
            Route::SameNetwork { .. } | Route::FromHost { .. } | Route::ToOutside { .. } => {
                (Some("direct"), vec![Via::Direct])
            }
        }
    }

    /// The ports of this host that lead to a container.
    pub(crate) fn host_ports(&self, party: &Party) -> BTreeSet<u16> {
        let Party::Container(name) = party else { return BTreeSet::new() };
        let containers = self.inventory.containers.values().filter(|container| container.name == *name);
        containers.flat_map(|container| &container.published).filter_map(|port| port.host_port).collect()
    }

    /// Containers that policy can reach on some network, by name.
    pub(crate) fn containers(&self) -> BTreeSet<String> {
        let reached = self.finder.endpoints().iter().filter(|endpoint| endpoint.unenforceable.is_none());
        reached.map(|endpoint| endpoint.container.name.clone()).collect()
    }
}
