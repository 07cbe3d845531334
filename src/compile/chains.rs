//! The chains: from the hooks through each network's gate to the classes and their tiers.
//!
//! Input: governed networks and their classes. Output: the chains of one family and the origin of each policy comment.
//!
//! A packet walks `DG-FORWARD` → `DG-from-NET` → the class of its source, back, → `DG-to-NET` → the class of its
//! destination, back, and on to Docker's rules. Classes are entered by goto, so that a RETURN there (Allow) goes on in
//! the base chain, where the other side's policy is still to be asked; no marks are needed. `DG-INPUT` asks the same
//! egress chains for what a container sends to this host, and `DG-pub-POLICY` for ports that `docker-proxy` holds.

pub(super) mod block;
pub(super) mod dispatch;
pub(super) mod published;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::inventory::{Endpoint, Network};
use crate::net::{Cidr, Family, InterfaceName, Protocol};
use crate::policy::{DefaultAction, Direction, Policy, PolicyKey, PolicySet, RuleAction, Tier};
use crate::ruleset::{Action, Chain, ChainName, ConnectionState, Hook, Match, Rule, SetKind, SetName, Side};

use super::gate::Gate;
use super::rules::Published;
use super::sets::SetBuilder;
use super::{DenyAction, Options, Origin};

use block::{Block, Conditions};
use dispatch::{Entrance, Limits, OfClasses};

/// Neighbour solicitation and advertisement, router solicitation and multicast listener messages: without them IPv6
/// does not start. Router advertisements (134) and redirects (137) are no business of a container.
const NEIGHBOUR_DISCOVERY: [u8; 7] = [130, 131, 132, 133, 135, 136, 143];

/// Endpoints of one network that the same policies govern in one direction.
pub(super) struct Class<'a> {
    pub(super) policies: Vec<&'a Policy>,
    /// Their positions in the policy set.
    pub(super) governing: Arc<[usize]>,
    pub(super) members: Vec<&'a Endpoint<'a>>,
}

impl<'a> Class<'a> {
    /// The class that policies at these positions govern.
    pub(super) fn new(policies: &'a PolicySet, governing: &Arc<[usize]>, members: Vec<&'a Endpoint<'a>>) -> Class<'a> {
        let policies = governing.iter().map(|position| &policies.policies[*position]).collect();
        Class { policies, governing: Arc::clone(governing), members }
    }

    /// Classes in the order of their policies.
    pub(super) fn sorted(classes: impl Iterator<Item = Class<'a>>) -> Vec<Class<'a>> {
        let mut classes: Vec<_> = classes.collect();
        classes.sort_by(|one, other| one.keys().cmp(other.keys()));
        classes
    }

    /// The policies, by name.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a PolicyKey> {
        self.policies.iter().map(|policy| &policy.key)
    }

    /// What tells it from every other class of its network.
    fn identity(&self, direction: Direction) -> String {
        let keys: Vec<_> =
            self.policies.iter().map(|policy| format!("{} {}", policy.key.kind.name(), policy.key)).collect();
        format!("{direction} {}", keys.join(", "))
    }
}

/// A network on which a policy is in force, or may come to be with its first endpoint.
pub(super) struct GovernedNetwork<'a> {
    pub(super) network: &'a Network,
    pub(super) bridge: InterfaceName,
    pub(super) ingress: Vec<Class<'a>>,
    pub(super) egress: Vec<Class<'a>>,
}

/// Builds the chains of one family.
pub(super) struct ChainBuilder<'s, 'a> {
    policies: &'a PolicySet,
    options: &'a Options,
    sets: &'s mut SetBuilder<'a>,
    family: Family,
    limits: Limits,
    /// All endpoints of the host that are on a network and publish ports.
    endpoints: &'s [&'a Endpoint<'a>],
    /// Comment text of each policy of the set: its key, with the kind in front where two policies would read alike.
    titles: Vec<String>,
    /// The rules of policies that were made already, by position and direction.
    blocks: HashMap<(usize, Direction), Arc<Block>>,
    /// The chains of classes that were built already: classes of different networks can have the same policies.
    class_chains: HashMap<(Direction, Arc<[usize]>), ChainName>,
    /// The chains of the last compilation. One that is the same is taken, so that this is seen without looking at its rules.
    former: &'s BTreeMap<ChainName, Chain>,
    chains: BTreeMap<ChainName, Chain>,
    origins: BTreeMap<Arc<str>, Arc<Origin>>,
}

/// Rules of a chain that is being made.
type Rules = Vec<Rule>;

/// What a ruleset is made from.
#[derive(Clone, Copy)]
pub(super) struct Source<'s, 'a> {
    pub(super) policies: &'a PolicySet,
    pub(super) options: &'a Options,
    /// Governed networks by name.
    pub(super) networks: &'s [GovernedNetwork<'a>],
    /// All endpoints of the host that are on a network and publish ports.
    pub(super) publishing: &'s [&'a Endpoint<'a>],
    /// As many networks and classes may stand in a row.
    pub(super) few: usize,
}

impl<'s, 'a> ChainBuilder<'s, 'a> {
    pub(super) fn new(
        source: Source<'s, 'a>,
        family: Family,
        sets: &'s mut SetBuilder<'a>,
        former: &'s BTreeMap<ChainName, Chain>,
    ) -> Self {
        let Source { policies, options, publishing, few, .. } = source;
        let enforced = policies.policies.iter().filter(|policy| !policy.key.kind.is_staged());
        let tiers: BTreeSet<&str> = enforced.map(|policy| policy.tier.as_str()).collect();
        ChainBuilder {
            policies,
            options,
            sets,
            family,
            limits: Limits::new(few, tiers.len()),
            endpoints: publishing,
            titles: titles(policies),
            blocks: HashMap::new(),
            class_chains: HashMap::new(),
            former,
            chains: BTreeMap::new(),
            origins: BTreeMap::new(),
        }
    }

    pub(super) fn finish(self) -> (BTreeMap<ChainName, Chain>, BTreeMap<Arc<str>, Arc<Origin>>) {
        (self.chains, self.origins)
    }

    /// The base chains of all hooks and everything that they lead to.
    pub(super) fn base_chains(&mut self, networks: &[GovernedNetwork<'a>]) {
        let mut bases: BTreeMap<Hook, Rules> = Hook::ALL.map(|hook| (hook, Vec::new())).into();
        if !networks.is_empty() {
            bases = Hook::ALL.map(|hook| (hook, self.base_prologue(hook))).into();
        }
        let from = self.network_dispatch(&Entrance::FROM, networks, |all, governed| Some(all.egress_chain(governed)));
        let via = self.network_dispatch(&Entrance::VIA, networks, Self::via_chain);
        let to = self.network_dispatch(&Entrance::TO, networks, |all, governed| Some(all.ingress_chain(governed)));
        let host = self.network_dispatch(&Entrance::HOST, networks, |all, governed| Some(all.host_to_chain(governed)));
        let (published, answers) = self.published_ports(networks);
        let dispatch = [
            (Hook::Forward, vec![from.clone(), to]),
            (Hook::Input, vec![from, via, published]),
            (Hook::Output, vec![host, answers]),
        ];
        for (hook, rules) in dispatch {
            bases.entry(hook).or_default().extend(rules.into_iter().flatten());
        }
        for (hook, rules) in bases {
            self.keep(ChainName::base(hook), rules);
        }
    }

    /// Stores a chain.
    fn keep(&mut self, name: ChainName, mut rules: Rules) {
        rules.shrink_to_fit();
        let same = self.former.get(&name).filter(|former| former[..] == rules[..]);
        let chain = same.map_or_else(|| rules.into(), Arc::clone);
        self.chains.insert(name, chain);
    }

    fn base_prologue(&self, hook: Hook) -> Rules {
        // -m conntrack --ctstate ESTABLISHED -j RETURN. Not RELATED: see `errors_about_flows`.
        let mut chain = vec![rule(vec![state(&[ConnectionState::Established])], Action::Return, "flow allowed before")];
        if hook == Hook::Input {
            // -i lo -j RETURN
            let loopback = Match::InInterface(InterfaceName::loopback());
            chain.push(rule(vec![loopback], Action::Return, "from this host itself"));
        }
        if hook == Hook::Output {
            // -o lo -j RETURN
            let loopback = Match::OutInterface(InterfaceName::loopback());
            chain.push(rule(vec![loopback], Action::Return, "to this host itself"));
        }
        if hook != Hook::Forward {
            chain.extend(self.neighbour_discovery(None));
        }
        if hook != Hook::Output {
            // -m set ! --match-set dg-4-known src,src -m set --match-set dg-4-subnets src -j DROP
            // In this order an endpoint is looked up once.
            let claimed = Match::Set {
                side: Side::Source,
                set: SetName::bridged_subnets(self.family),
                kind: SetKind::Net,
                negated: false,
            };
            let matches = vec![self.unknown(Side::Source), claimed];
            chain.push(rule(matches, Action::Drop, Gate::Elsewhere.to_string()));
        }
        chain
    }

    /// Rules that let neighbour discovery pass: within one link only, so that nothing is carried elsewhere under its name.
    fn neighbour_discovery(&self, same_link: Option<&Match>) -> Rules {
        if self.family == Family::V4 {
            return Vec::new();
        }
        // -o br-NET -p icmpv6 -m icmp6 --icmpv6-type 135 -j RETURN
        let rule_of = |icmp_type| {
            let mut matches: Vec<_> = same_link.cloned().into_iter().collect();
            matches.push(Match::Protocol { protocol: Protocol::ICMPV6, negated: false });
            matches.push(Match::Icmp { icmp_type, code: None, negated: false });
            rule(matches, Action::Return, "neighbour discovery")
        };
        NEIGHBOUR_DISCOVERY.map(rule_of).into()
    }

    /// Not in the set of classified endpoints: `-m set ! --match-set dg-4-known src,src`.
    fn unknown(&self, side: Side) -> Match {
        Match::Set { side, set: SetName::known(self.family), kind: SetKind::NetInterface, negated: true }
    }

    /// What every packet of a governed network has to pass: `INVALID` is no flow, and a packet of TCP or SCTP that opens no
    /// flow may not create one, or a flow that was cut comes back through mid-stream pick-up: that of SCTP by a HEARTBEAT.
    fn flow_checks() -> Rules {
        let invalid = rule(vec![state(&[ConnectionState::Invalid])], Action::Drop, "invalid packet");
        [invalid].into_iter().chain(Self::no_pick_up()).collect()
    }

    /// `-p tcp ! --syn -m conntrack --ctstate NEW -j DROP`, and
    /// `-p sctp -m sctp ! --chunk-types any INIT -m conntrack --ctstate NEW -j DROP`
    fn no_pick_up() -> [Rule; 2] {
        [(Match::TcpNotSyn, "TCP"), (Match::SctpNotInit, "SCTP")].map(|(opens_nothing, protocol)| {
            let matches = vec![opens_nothing, state(&[ConnectionState::New])];
            rule(matches, Action::Drop, format!("{protocol} packet of a flow that is not open"))
        })
    }

    /// What an endpoint must hear whatever its policy: errors about a flow of its own, path MTU discovery above all.
    ///
    /// RELATED alone says too little. Connection tracking calls an ICMP error RELATED to the flow that it quotes whoever
    /// sent it, with any data in it, so a container that may send nothing could send that; its errors are judged as
    /// what else it sends. And a connection that a helper expects is RELATED, too: whoever makes a server repeat the
    /// right words has a helper expect any port.
    fn errors_about_flows(&self) -> Rule {
        // -p icmp -m conntrack --ctstate RELATED -j RETURN
        let icmp = Match::Protocol { protocol: self.family.icmp(), negated: false };
        rule(vec![icmp, state(&[ConnectionState::Related])], Action::Return, "error about a flow allowed before")
    }

    /// `DG-from-NET`: the gate on the source, then the egress policy of its class.
    fn egress_chain(&mut self, governed: &GovernedNetwork<'a>) -> ChainName {
        let network = &governed.network.name;
        let mut chain = self.neighbour_discovery(Some(&Match::OutInterface(governed.bridge.clone())));
        chain.extend(Self::flow_checks());
        // -m set ! --match-set dg-4-known src,src -j DROP
        let comment = format!("{} on {network}", Gate::UnknownSource);
        chain.push(rule(vec![self.unknown(Side::Source)], Action::Drop, comment));
        let classes = self.class_chains(&governed.egress, Direction::Egress);
        let direction = Direction::Egress;
        chain.extend(self.class_dispatch(&OfClasses { governed, direction, role: "from", classes }));
        self.network_chain("from", governed, chain)
    }

    /// `DG-to-NET`: group addresses, the gate on the destination, then the ingress policy of its class.
    fn ingress_chain(&mut self, governed: &GovernedNetwork<'a>) -> ChainName {
        let network = &governed.network.name;
        let mut chain = self.neighbour_discovery(Some(&Match::InInterface(governed.bridge.clone())));
        chain.extend(Self::flow_checks());
        let group = self.group_chain(governed);
        for net in group_addresses(governed.network, self.family) {
            let matches = vec![Match::Net { side: Side::Destination, net, negated: false }];
            chain.push(rule(matches, Action::Goto(group.clone()), format!("to every endpoint of {network}")));
        }
        // -m set ! --match-set dg-4-known dst,dst -j DROP
        let comment = format!("{} on {network}", Gate::UnknownDestination);
        chain.push(rule(vec![self.unknown(Side::Destination)], Action::Drop, comment));
        chain.push(self.errors_about_flows());
        let classes = self.class_chains(&governed.ingress, Direction::Ingress);
        let direction = Direction::Ingress;
        chain.extend(self.class_dispatch(&OfClasses { governed, direction, role: "to", classes }));
        self.network_chain("to", governed, chain)
    }

    /// `DG-all-NET`: a multicast or broadcast packet reaches every endpoint of the network, so every class must allow it.
    fn group_chain(&mut self, governed: &GovernedNetwork<'a>) -> ChainName {
        let mut chain = Vec::new();
        let mut asked = BTreeSet::new();
        for class in &governed.ingress {
            // Different policies can come to the same chain, e.g. where one of them has no rule in this family.
            let target = self.class_chain(class, Direction::Ingress, None);
            if asked.insert(target.clone()) {
                chain.push(rule([], Action::Jump(target), self.class_comment(class, Direction::Ingress)));
            }
        }
        self.network_chain("all", governed, chain)
    }

    /// `DG-host-NET`: this host may reach its containers, but nobody, `docker-proxy` included, reaches an address that
    /// is not classified yet, or whose published ports are not known and judged yet. Nor may what this host still sends on
    /// a flow that was cut open it anew, the other way round.
    ///
    /// TCP and SCTP are refused and not dropped: `docker-proxy` accepts its client before it connects to the container, and
    /// a SYN or INIT that is dropped is sent again some seconds later, when the gate is open and the client, who was never
    /// judged, still there. Refused, the proxy hangs up on its client, as it does while the container's server is not up
    /// yet. (Only to SCTP over IPv6 there is no answer that ends it.)
    fn host_to_chain(&mut self, governed: &GovernedNetwork<'a>) -> ChainName {
        let mut chain: Rules = Self::no_pick_up().into();
        chain.extend(self.answers_to(governed));
        for net in group_addresses(governed.network, self.family) {
            let matches = vec![Match::Net { side: Side::Destination, net, negated: false }];
            chain.push(rule(matches, Action::Return, "host to every endpoint"));
        }
        let unlisted = Match::Set {
            side: Side::Destination,
            set: SetName::listed(self.family),
            kind: SetKind::NetInterface,
            negated: true,
        };
        let comment = format!("{} on {}", Gate::UnlistedDestination, governed.network.name);
        for net in subnets(governed.network, self.family) {
            let matches = vec![Match::Net { side: Side::Destination, net, negated: false }, unlisted.clone()];
            // -p tcp -d SUBNET -m set ! --match-set dg-4-listed dst,dst -j REJECT --reject-with tcp-reset
            for protocol in [Protocol::TCP, Protocol::SCTP] {
                let of_protocol = Match::Protocol { protocol, negated: false };
                chain.push(rule([vec![of_protocol], matches.clone()].concat(), Action::Reject, comment.clone()));
            }
            chain.push(rule(matches, Action::Drop, comment.clone()));
        }
        self.network_chain("host", governed, chain)
    }

    /// Stores a chain of a network under a name that only the network decides, so that it is refilled in place.
    fn network_chain(&mut self, role: &str, governed: &GovernedNetwork<'a>, chain: Rules) -> ChainName {
        let network = governed.network;
        let name = ChainName::of_content(&format!("{role}-{}", network.name), &format!("{role} {}", network.id));
        self.keep(name.clone(), chain);
        name
    }

    fn class_chains<'n>(&mut self, classes: &'n [Class<'a>], direction: Direction) -> Vec<(&'n Class<'a>, ChainName)> {
        classes.iter().map(|class| (class, self.class_chain(class, direction, None))).collect()
    }

    fn class_comment(&self, class: &Class<'_>, direction: Direction) -> String {
        let titles: Vec<_> = class.governing.iter().map(|position| self.titles[*position].as_str()).collect();
        format!("{direction} of {}", titles.join(", "))
    }

    /// The chain of a class: its first tier; each further tier is a chain of its own that Pass goes to. With a published
    /// service, the chain judges connections to that service as INPUT sees them.
    fn class_chain(&mut self, class: &Class<'a>, direction: Direction, service: Option<&Published<'_>>) -> ChainName {
        let key = (direction, Arc::clone(&class.governing));
        if let (None, Some(known)) = (service, self.class_chains.get(&key)) {
            return known.clone();
        }
        let policies = &self.policies.policies;
        let mut next: Option<ChainName> = None;
        for tier in self.policies.tiers.iter().rev() {
            let in_tier = |position: &usize| policies[*position].tier == tier.name;
            let of_tier: Vec<usize> = class.governing.iter().copied().filter(in_tier).collect();
            if !of_tier.is_empty() {
                next = Some(self.tier_chain(tier, &of_tier, direction, next.as_ref(), service));
            }
        }
        let first = next.expect("a class has a policy, and every policy's tier is in the policy set");
        if service.is_none() {
            self.class_chains.insert(key, first.clone());
        }
        first
    }

    /// Its name says which rules it has: those of its policies, where they go from there, and what its end is.
    fn tier_chain(
        &mut self,
        tier: &Tier,
        policies: &[usize],
        direction: Direction,
        next: Option<&ChainName>,
        service: Option<&Published<'_>>,
    ) -> ChainName {
        let role = match (service, direction) {
            (None, _) => short(direction),
            (Some(_), Direction::Ingress) => "pub",
            (Some(_), Direction::Egress) => "via",
        };
        // Rules that exist in no alternative make no difference.
        let blocks = policies.iter().map(|position| self.block(*position, direction, service));
        let blocks: Vec<_> = blocks.filter(|block| !block.rules.is_empty()).collect();
        let end = self.end_of_tier(tier, policies, direction, next);
        let passes = |block: &Arc<Block>| block.rules.iter().any(|rule| rule.action == RuleAction::Pass);
        let ends_there = end.as_ref().is_some_and(|end| matches!(end.action, Action::Goto(_)));
        let goes_on = next.filter(|_| ends_there || blocks.iter().any(passes));
        let mut content = vec![format!("{role} {} {:?}", tier.name, self.options)];
        content.extend(blocks.iter().map(|block| block.digest.clone()));
        content.push(format!("next {goes_on:?}\n{end:?}"));
        let readable = format!("{role}-{}", self.policies.policies[policies[0]].key.name);
        let name = ChainName::of_content(&readable, &content.join("\n"));
        let rules = || {
            let conditions = blocks.iter().flat_map(|block| &block.rules);
            let rules = conditions.flat_map(|Conditions { comment, action, alternatives }| {
                let action = self.action(*action, comment, next);
                alternatives.iter().map(move |matches| rule(matches.clone(), action.clone(), comment.clone()))
            });
            rules.chain(end.clone())
        };
        let is_same = |former: &&Chain| {
            let mut rules = rules();
            former.iter().all(|former| rules.next().is_some_and(|rule| is_same(former, &rule)))
                && rules.next().is_none()
        };
        let same = self.former.get(&name).filter(is_same);
        let made = || {
            let mut rules: Rules = rules().collect();
            rules.shrink_to_fit();
            Arc::new(rules)
        };
        let chain = same.map_or_else(made, Arc::clone);
        self.chains.insert(name.clone(), chain);
        name
    }

    fn end_of_tier(
        &mut self,
        tier: &Tier,
        policies: &[usize],
        direction: Direction,
        next: Option<&ChainName>,
    ) -> Option<Rule> {
        let last = *policies.last()?;
        let comment: Arc<str> = format!("end of tier {} after {}, {direction}", tier.name, self.titles[last]).into();
        let action = match tier.default_action {
            DefaultAction::Deny => self.deny(),
            DefaultAction::Pass => pass(next),
        };
        let last = &self.policies.policies[last];
        self.origins.entry(comment.clone()).or_insert_with(|| {
            Arc::new(Origin {
                policy: last.key.clone(),
                tier: tier.name.clone(),
                direction,
                rule: None,
                location: last.location.clone(),
            })
        });
        Some(rule([], action, comment))
    }

    fn action(&self, action: RuleAction, comment: &str, next: Option<&ChainName>) -> Action {
        match action {
            RuleAction::Allow => Action::Return,
            RuleAction::Deny => self.deny(),
            RuleAction::Pass => pass(next),
            RuleAction::Log => Action::Log { group: self.options.log_group, prefix: comment.to_owned() },
        }
    }

    fn deny(&self) -> Action {
        match self.options.deny_action {
            DenyAction::Drop => Action::Drop,
            DenyAction::Reject => Action::Reject,
        }
    }
}

/// On to the next tier that governs the endpoint; after the last one the packet is allowed (design §2.1).
fn pass(next: Option<&ChainName>) -> Action {
    next.map_or(Action::Return, |next| Action::Goto(next.clone()))
}

fn rule(matches: impl Into<Arc<[Match]>>, action: Action, comment: impl Into<Arc<str>>) -> Rule {
    Rule { matches: matches.into(), action, comment: comment.into() }
}

/// Whether two rules are equal. Those of a policy that has not changed share what is long.
fn is_same(one: &Rule, other: &Rule) -> bool {
    let shares = Arc::ptr_eq(&one.matches, &other.matches) && Arc::ptr_eq(&one.comment, &other.comment);
    if shares { one.action == other.action } else { one == other }
}

fn state(states: &[ConnectionState]) -> Match {
    Match::State(states.iter().copied().collect())
}

fn short(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "in",
        Direction::Egress => "out",
    }
}

fn subnets(network: &Network, family: Family) -> impl Iterator<Item = Cidr> {
    network.subnets.iter().copied().filter(move |subnet| subnet.family() == family)
}

/// Destinations that are several endpoints at once: multicast, limited broadcast and the subnets' own broadcast.
fn group_addresses(network: &Network, family: Family) -> Vec<Cidr> {
    match family {
        Family::V4 => {
            let fixed = [[224, 0, 0, 0], [255, 255, 255, 255]].into_iter().zip([4, 32]);
            let fixed = fixed.filter_map(|(address, prefix)| Cidr::new(address.into(), prefix));
            fixed.chain(subnets(network, family).map(|subnet| Cidr::host(subnet.last()))).collect()
        }
        Family::V6 => Cidr::new([0xff00, 0, 0, 0, 0, 0, 0, 0].into(), 8).into_iter().collect(),
    }
}

fn titles(policies: &PolicySet) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut ambiguous = BTreeSet::new();
    for policy in &policies.policies {
        let text = policy.key.to_string();
        if !seen.insert(text.clone()) {
            ambiguous.insert(text);
        }
    }
    let title = |policy: &Policy| {
        let text = policy.key.to_string();
        if ambiguous.contains(&text) { format!("{} {text}", policy.key.kind.name()) } else { text }
    };
    policies.policies.iter().map(title).collect()
}
