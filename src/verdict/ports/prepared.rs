//! A ruleset in the form in which it is asked about many packets.
//!
//! Input: a [`Ruleset`]. Output: its rules with what they ask of the two ends of a packet as numbers, and [`View`]s: the
//! answers of one end to all of that. Nearly every condition is about one end alone, and there are far fewer ends than
//! pairs of them, so that a pair costs no more than the rules that are about both.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::net::{Cidr, Family, InterfaceName};
use crate::ruleset::{Action, ChainName, Match, Member, Rule, Ruleset, SetKind, SetName, Side};

/// A chain with more rules than this is not walked rule by rule.
const SHORT: usize = 8;

/// The prepared form.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    pub(super) ruleset: &'a Ruleset,
    numbers: BTreeMap<(Family, &'a ChainName), usize>,
    chains: Vec<Chain<'a>>,
    /// Chains with many rules and their families, in the order of [`Chain::long`].
    long: Vec<(Family, usize)>,
    /// What rules ask of each side: a number for each condition.
    conditions: BTreeMap<Side, BTreeMap<&'a Match, usize>>,
    /// The blocks for which rules ask without a set.
    nets: BTreeSet<Cidr>,
    holders: BTreeMap<Cidr, Vec<Holder<'a>>>,
    /// What sets of addresses and ports have for an address.
    ports: BTreeMap<IpAddr, BTreeSet<(&'a SetName, u8, u16)>>,
}

/// A set that has a block, and for which interface, if it is one of two dimensions.
type Holder<'a> = (&'a SetName, SetKind, Option<&'a InterfaceName>);

#[derive(Debug)]
pub(super) struct Chain<'a> {
    pub(super) rules: Vec<Asked<'a>>,
    /// Its number among those with many rules.
    pub(super) long: Option<usize>,
}

/// A rule by what it asks about.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) rule: &'a Rule,
    /// Numbers of conditions about the source, and the destination, alone.
    pub(super) of_source: Vec<usize>,
    pub(super) of_destination: Vec<usize>,
    /// Conditions that divide destination ports.
    pub(super) of_ports: Vec<&'a Match>,
    pub(super) others: Vec<&'a Match>,
    /// The chain it leads to, if it leads to one that exists.
    pub(super) target: Option<usize>,
}

/// All that rules can ask about an address, answered: those for which this is equal are the same to every rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Memberships<'a> {
    family: Family,
    sets: BTreeSet<&'a SetName>,
    nets: BTreeSet<Cidr>,
    ports: BTreeSet<(&'a SetName, u8, u16)>,
}

/// One end of packets: the answers to what rules ask about it alone.
#[derive(Debug)]
pub struct View {
    answers: Vec<bool>,
    /// The rules of each long chain that can match, in ascending order.
    rules: Vec<Vec<usize>>,
}

impl View {
    pub(super) fn holds(&self, conditions: &[usize]) -> bool {
        conditions.iter().all(|condition| self.answers[*condition])
    }

    pub(super) fn rules(&self, long: usize) -> &[usize] {
        &self.rules[long]
    }
}

impl<'a> Prepared<'a> {
    pub(super) fn new(ruleset: &'a Ruleset) -> Prepared<'a> {
        let all =
            || ruleset.chains.iter().flat_map(|(family, chains)| chains.iter().map(move |found| (*family, found)));
        let numbers = all().enumerate().map(|(number, (family, (name, _)))| ((family, name), number)).collect();
        let mut prepared = Prepared {
            ruleset,
            numbers,
            chains: Vec::new(),
            long: Vec::new(),
            conditions: BTreeMap::from([(Side::Source, BTreeMap::new()), (Side::Destination, BTreeMap::new())]),
            nets: BTreeSet::new(),
            holders: BTreeMap::new(),
            ports: BTreeMap::new(),
        };
        for (family, (_, rules)) in all() {
            let rules: Vec<Asked<'a>> = rules.iter().map(|rule| prepared.asked(family, rule)).collect();
            let long = (rules.len() > SHORT).then_some(prepared.long.len());
            prepared.long.extend(long.map(|_| (family, prepared.chains.len())));
            prepared.chains.push(Chain { rules, long });
        }
        for (name, set) in &ruleset.sets {
            let mut hold =
                |net: Cidr, interface| prepared.holders.entry(net).or_default().push((name, set.kind, interface));
            for member in &set.members {
                match member {
                    Member::Ip(address) => hold(Cidr::host(*address), None),
                    Member::Net(net) => hold(*net, None),
                    Member::NetInterface { net, interface } => hold(*net, Some(interface)),
                    Member::IpPort { address, protocol, port } => {
                        prepared.ports.entry(*address).or_default().insert((name, *protocol, *port));
                    }
                }
            }
        }
        prepared
    }

    pub(super) fn chain(&self, family: Family, name: &ChainName) -> Option<&Chain<'a>> {
        self.numbers.get(&(family, name)).map(|number| self.chain_at(*number))
    }

    pub(super) fn chain_at(&self, number: usize) -> &Chain<'a> {
        &self.chains[number]
    }

    fn asked(&mut self, family: Family, rule: &'a Rule) -> Asked<'a> {
        let target = match &rule.action {
            Action::Goto(target) | Action::Jump(target) => self.numbers.get(&(family, target)).copied(),
            _ => None,
        };
        let mut asked = Asked {
            rule,
            of_source: Vec::new(),
            of_destination: Vec::new(),
            of_ports: Vec::new(),
            others: Vec::new(),
            target,
        };
        for condition in rule.matches.iter() {
            match condition {
                Match::Ports { side: Side::Destination, .. }
                | Match::Set { side: Side::Destination, kind: SetKind::IpPort, .. } => asked.of_ports.push(condition),
                Match::Set { side: Side::Source, kind: SetKind::IpPort, .. }
                | Match::Ports { side: Side::Source, .. }
                | Match::State(_)
                | Match::TcpNotSyn
                | Match::SctpNotInit
                | Match::Protocol { .. }
                | Match::Icmp { .. } => asked.others.push(condition),
                Match::Net { side, net, .. } => {
                    self.nets.insert(*net);
                    asked.of(*side).push(self.number(*side, condition));
                }
                Match::Set { side, .. } => asked.of(*side).push(self.number(*side, condition)),
                Match::InInterface(_) | Match::InInterfacePrefix(_) => {
                    asked.of_source.push(self.number(Side::Source, condition));
                }
                Match::OutInterface(_) | Match::OutInterfacePrefix(_) => {
                    asked.of_destination.push(self.number(Side::Destination, condition));
                }
            }
        }
        asked
    }

    fn number(&mut self, side: Side, condition: &'a Match) -> usize {
        let numbers = self.conditions.entry(side).or_default();
        let next = numbers.len();
        *numbers.entry(condition).or_insert(next)
    }

    /// The sets of addresses that have an address.
    fn sets(&self, address: IpAddr, interface: Option<&InterfaceName>) -> BTreeSet<(&'a SetName, SetKind)> {
        let nets = (0..=Family::of(address).host_prefix()).filter_map(|prefix| Cidr::new(address, prefix));
        let holders = nets.filter_map(|net| self.holders.get(&net)).flatten();
        let held = holders.filter(|(_, _, of_interface)| of_interface.is_none() || *of_interface == interface);
        held.map(|(name, kind, _)| (*name, *kind)).collect()
    }

    pub(super) fn memberships(&self, address: IpAddr, interface: Option<&InterfaceName>) -> Memberships<'a> {
        Memberships {
            family: Family::of(address),
            sets: self.sets(address, interface).into_iter().map(|(name, _)| name).collect(),
            nets: self.nets.iter().filter(|net| net.contains(address)).copied().collect(),
            ports: self.ports.get(&address).cloned().unwrap_or_default(),
        }
    }

    pub(super) fn view(&self, address: IpAddr, interface: Option<&InterfaceName>, side: Side) -> View {
        let sets = self.sets(address, interface);
        let numbers = &self.conditions[&side];
        let mut answers = vec![false; numbers.len()];
        for (condition, number) in numbers {
            answers[*number] = match condition {
                Match::InInterface(name) | Match::OutInterface(name) => interface == Some(name),
                Match::InInterfacePrefix(prefix) | Match::OutInterfacePrefix(prefix) => {
                    interface.is_some_and(|name| prefix.begins(name))
                }
                Match::Net { net, negated, .. } => net.contains(address) != *negated,
                Match::Set { set, kind, negated, .. } => sets.contains(&(set, *kind)) != *negated,
                _ => false,
            };
        }
        let mut view = View { answers, rules: Vec::new() };
        for (family, number) in &self.long {
            let rules = self.chains[*number].rules.iter().filter(|_| *family == Family::of(address)).enumerate();
            let can_match = rules.filter(|(_, asked)| view.holds(asked.about(side))).map(|(index, _)| index);
            let can_match = can_match.collect();
            view.rules.push(can_match);
        }
        view
    }
}

impl Asked<'_> {
    fn about(&self, side: Side) -> &[usize] {
        match side {
            Side::Source => &self.of_source,
            Side::Destination => &self.of_destination,
        }
    }

    fn of(&mut self, side: Side) -> &mut Vec<usize> {
        match side {
            Side::Source => &mut self.of_source,
            Side::Destination => &mut self.of_destination,
        }
    }
}
