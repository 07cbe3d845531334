//! The world of the corpus, and what may happen in it.
//!
//! Input: `world.yaml` and checked policies. Output: a decision for every way of a [`Flow`].

use std::fmt;
use std::fs;

use dockgate::compile::{Compiled, Options, compile};
use dockgate::inventory::{Inventory, file};
use dockgate::net::{Family, Protocol};
use dockgate::policy::{PolicySet, SourceFile};
use dockgate::verdict::path::{End, Finder, Traffic};
use dockgate::verdict::{Decision, evaluate};

use crate::case::directory;

/// The first packet of a connection, as a head writes it: `FROM -> TO PORT/PROTOCOL` or `FROM -> TO ping`.
#[derive(Debug)]
pub(crate) struct Flow {
    from: String,
    to: String,
    traffic: Traffic,
}

impl Flow {
    pub(crate) fn read(text: &str) -> Flow {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let [from, "->", to, what] = parts[..] else { panic!("`FROM -> TO PORT/PROTOCOL`, not `{text}`") };
        let traffic = match what.split_once('/') {
            None if what == "ping" => Traffic::EchoRequest,
            Some((port, protocol)) => Traffic::Ports {
                protocol: match protocol {
                    "tcp" => Protocol::TCP,
                    "udp" => Protocol::UDP,
                    "sctp" => Protocol::SCTP,
                    _ => panic!("{text}: no such protocol"),
                },
                source: 49152,
                destination: port.parse().unwrap_or_else(|error| panic!("{text}: {error}")),
            },
            None => panic!("{text}: no port"),
        };
        Flow { from: from.to_owned(), to: to.to_owned(), traffic }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {:?}", self.from, self.to, self.traffic)
    }
}

pub(crate) struct World(Inventory);

impl World {
    pub(crate) fn load() -> World {
        let text = fs::read_to_string(directory().join("world.yaml")).expect("the corpus has a world");
        let (inventory, diagnostics) = file::load(&SourceFile::new("world.yaml", text));
        assert_eq!(diagnostics, []);
        World(inventory)
    }

    pub(crate) fn compile(&self, policies: &PolicySet) -> Compiled {
        compile(policies, &self.0, &Options::default())
    }

    /// The decision for each way of a flow: in each family that both ends have.
    pub(crate) fn decide(&self, compiled: &Compiled, flow: &Flow) -> Vec<(String, Decision)> {
        let end = |text: &str| End::find(&self.0, text).unwrap_or_else(|error| panic!("{flow}: {error}"));
        let ways = Finder::new(&self.0).paths(&end(&flow.from), &end(&flow.to), flow.traffic, &Family::ALL);
        let ways = ways.unwrap_or_else(|error| panic!("{flow}: {error}"));
        let judged = ways.judged.iter().map(|way| {
            let decision = evaluate(&compiled.ruleset, &way.packet).decision;
            (format!("{:?}", way.family()), decision)
        });
        judged.collect()
    }
}
