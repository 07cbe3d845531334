//! How a packet finds its network and its class: the rules that lead from the base chains to those of networks, and from
//! there to those of classes.
//!
//! Input: networks and classes, each with its chain. Output: rules, and where there are many, chains between. The base
//! chains enter by jump, and everything below is a goto, so that a RETURN in a class goes on in the base chain, however
//! many chains are between; the end of what matched nothing is there, too.

#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;

use crate::net::{InterfaceName, InterfacePrefix};
use crate::policy::Direction;
use crate::ruleset::{Action, ChainName, Match, SetKind, SetName, Side};

use super::super::meaning::Meaning;
use super::{ChainBuilder, Class, GovernedNetwork, Rules, rule, short};

pub(in crate::compile) use tree::FEW;
pub(super) use tree::Limits;

use tree::{Branch, Node};

/// A place of base chains where packets from or to networks are looked for.
pub(super) struct Entrance {
    /// What the chains of networks that it leads to are called.
    role: &'static str,
    side: Side,
    /// More about the packets.
    through: &'static str,
}

impl Entrance {
    pub(super) const FROM: Entrance = Entrance { role: "from", side: Side::Source, through: "" };
    pub(super) const VIA: Entrance = Entrance { role: "via", side: Side::Source, through: " through published ports" };
    pub(super) const TO: Entrance = Entrance { role: "to", side: Side::Destination, through: "" };
    pub(super) const HOST: Entrance = Entrance { role: "host", side: Side::Destination, through: "" };

    fn comment(&self, of: &str) -> String {
        let end = match self.side {
            Side::Source => "from",
            Side::Destination => "to",
        };
        format!("{end} {of}{}", self.through)
    }
}

/// A network and the chain of its packets.
struct OfNetwork<'n> {
    name: &'n str,
    bridge: &'n InterfaceName,
    chain: ChainName,
}

/// The classes of one network and direction, each with the chain in which its packets are judged.
pub(super) struct OfClasses<'n, 'a> {
    pub(super) governed: &'n GovernedNetwork<'a>,
    pub(super) direction: Direction,
    /// The chain of the network from which they are entered: `from`, `to` or `via`.
    pub(super) role: &'static str,
    pub(super) classes: Vec<(&'n Class<'a>, ChainName)>,
}

impl<'a> ChainBuilder<'_, 'a> {
    /// Rules of a base chain: `-i br-NET -j DG-from-NET`, or `-i br-0+ -j DG-from-br-0` for many networks. The chains between
    /// are named by their role and what the bridges begin with, so that they are refilled in place; several base chains can
    /// have the same rules. A network without a chain of that role is left out.
    pub(super) fn network_dispatch(
        &mut self,
        entrance: &Entrance,
        networks: &[GovernedNetwork<'a>],
        chain_of: impl Fn(&mut Self, &GovernedNetwork<'a>) -> Option<ChainName>,
    ) -> Rules {
        let mut with_chains = Vec::new();
        for governed in networks {
            if let Some(chain) = chain_of(self, governed) {
                with_chains.push(OfNetwork { name: &governed.network.name, bridge: &governed.bridge, chain });
            }
        }
        let names: Vec<_> = with_chains.iter().map(|network| network.bridge).collect();
        let nodes = tree::networks(&names, self.limits);
        self.network_rules(entrance, &with_chains, &nodes, true)
    }

    fn network_rules(
        &mut self,
        entrance: &Entrance,
        networks: &[OfNetwork<'_>],
        nodes: &[Node<InterfacePrefix>],
        in_base: bool,
    ) -> Rules {
        // Where networks have one bridge in common, every one of them is asked.
        let mut last = BTreeMap::new();
        for node in nodes {
            if let Node::One(position) = node {
                last.insert(networks[*position].bridge, *position);
            }
        }
        let mut chain = Vec::new();
        for node in nodes {
            let (condition, target, of, comes_back) = match node {
                Node::One(position) => {
                    let OfNetwork { name, bridge, chain } = &networks[*position];
                    let condition = match entrance.side {
                        Side::Source => Match::InInterface((*bridge).clone()),
                        Side::Destination => Match::OutInterface((*bridge).clone()),
                    };
                    (condition, chain.clone(), format!("network {name}"), last[bridge] != *position)
                }
                Node::Several(prefix, below) => {
                    let rules = self.network_rules(entrance, networks, below, false);
                    let role = entrance.role;
                    let name = ChainName::of_content(&format!("{role}-{prefix}"), &format!("{role} bridges {prefix}"));
                    self.keep(name.clone(), rules);
                    let condition = match entrance.side {
                        Side::Source => Match::InInterfacePrefix(prefix.clone()),
                        Side::Destination => Match::OutInterfacePrefix(prefix.clone()),
                    };
                    (condition, name, format!("networks on {prefix}+"), false)
                }
            };
            let action = if in_base || comes_back { Action::Jump(target) } else { Action::Goto(target) };
            chain.push(rule(vec![condition], action, entrance.comment(&of)));
        }
        chain
    }

    /// `-m set --match-set CLASS src -g CHAIN`, or `-m set --match-set BRANCH src -g DG-from-1-NET` for many classes; the one
    /// place that decides how a packet finds its class.
    pub(super) fn class_dispatch(&mut self, of: &OfClasses<'_, 'a>) -> Rules {
        let identities: Vec<_> = of.classes.iter().map(|(class, _)| class.identity(of.direction)).collect();
        let nodes = tree::classes(&identities, self.limits);
        self.class_rules(of, &identities, &nodes)
    }

    fn class_rules(&mut self, of: &OfClasses<'_, 'a>, identities: &[String], nodes: &[Node<Branch>]) -> Rules {
        let mut chain = Vec::new();
        for node in nodes {
            let (set, target, comment) = match node {
                Node::One(position) => {
                    let (class, target) = &of.classes[*position];
                    let set = self.class_set(of, class, &identities[*position]);
                    (set, target.clone(), self.class_comment(class, of.direction))
                }
                Node::Several(branch, below) => {
                    let mut rules = self.class_rules(of, identities, below);
                    let comment = format!("{} on {}, branch {}", of.direction, of.governed.network.name, branch.path);
                    // Who is in a branch is in one of its classes; where sets say otherwise, nobody is judged.
                    rules.push(rule([], Action::Drop, format!("{comment}: in none of its classes")));
                    let set = self.branch_set(of, identities, branch, &node.positions());
                    (set, self.branch_chain(of, branch, rules), comment)
                }
            };
            let side = match of.direction {
                Direction::Egress => Side::Source,
                Direction::Ingress => Side::Destination,
            };
            let condition = Match::Set { side, set, kind: SetKind::Ip, negated: false };
            chain.push(rule(vec![condition], Action::Goto(target), comment));
        }
        chain
    }

    fn class_set(&mut self, of: &OfClasses<'_, 'a>, class: &Class<'a>, identity: &str) -> SetName {
        let network = of.governed.network;
        let readable = format!("{}-{}", short(of.direction), class.policies[0].key.name);
        let content = format!("{} {identity}", network.id);
        let policies = class.policies.iter().map(|policy| policy.key.clone()).collect();
        let meaning = Meaning::Class { network: network.name.clone(), direction: of.direction, policies };
        self.sets.class(self.family, (&readable, &content), meaning, (&network.id, of.direction), class)
    }

    /// The set is another one as soon as other classes are in the branch. When an endpoint changes its class for a new one,
    /// the old rules thus still find the old sets as they were, and the new ones sets with nobody whose class they lack.
    fn branch_set(
        &mut self,
        of: &OfClasses<'_, 'a>,
        identities: &[String],
        Branch { path, level }: &Branch,
        positions: &[usize],
    ) -> SetName {
        let network = of.governed.network;
        let readable = format!("{}-{}", short(of.direction), network.name);
        let classes: Vec<_> = positions.iter().map(|position| identities[*position].as_str()).collect();
        let content = format!("branch {level} of {}\n{}", network.id, classes.join("\n"));
        let meaning = Meaning::Branch { network: network.name.clone(), direction: of.direction, path: path.clone() };
        let classes = positions.iter().map(|position| of.classes[*position].0);
        self.sets.branch(self.family, (*level, &readable, &content), meaning, (&network.id, of.direction), classes)
    }

    /// Stores a chain under a name that only its place decides, so that it is refilled in place.
    fn branch_chain(&mut self, of: &OfClasses<'_, 'a>, Branch { path, .. }: &Branch, chain: Rules) -> ChainName {
        let (role, network) = (of.role, of.governed.network);
        let name = ChainName::of_content(
            &format!("{role}-{path}-{}", network.name),
            &format!("{role} {} branch {path}", network.id),
        );
        self.keep(name.clone(), chain);
        name
    }
}
