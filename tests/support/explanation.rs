//! Whether an explanation tells what the policies say when they are read word by word.
//!
//! Input: a packet, what the reference and the ruleset say of it. Output: how much was explained, or what in it is wrong.

use std::collections::BTreeSet;

use dockgate::compile::{Options, compile};
use dockgate::inventory::{Endpoint, Inventory, PublishedPort};
use dockgate::net::{Cidr, Family, Protocol};
use dockgate::policy::{Direction, PolicySet, RuleAction};
use dockgate::ruleset::{Action, ChainName};
use dockgate::verdict::path::{End, Finder, Path, Route, Traffic};
use dockgate::verdict::reason::{Asking, RuleTrace, TierTrace, World};
use dockgate::verdict::remedy::{Hopeless, remedy};
use dockgate::verdict::{Decision, Hit, Packet, Verdict, evaluate};

use crate::reference::{Judgement, Reason, Reference};

/// One of so many denied packets is allowed by rules that are suggested: each costs several compilations.
const REMEDIED: usize = 17;

/// The first of the host's ports that containers publish: two for each.
const FIRST_PORT: u16 = 8000;

/// What was explained.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Explained {
    /// Packets.
    packets: usize,
    /// Rules that did not match, each with a reason.
    pub(crate) unmet: usize,
    /// Packets that were denied.
    denied: usize,
    /// Packets that the rules that were suggested allowed.
    pub(crate) remedied: usize,
    /// Packets for which nothing was suggested.
    pub(crate) hopeless: usize,
}

impl std::ops::AddAssign for Explained {
    fn add_assign(&mut self, other: Explained) {
        self.packets += other.packets;
        self.unmet += other.unmet;
        self.denied += other.denied;
        self.remedied += other.remedied;
        self.hopeless += other.hopeless;
    }
}

/// Explains a packet, and compares.
pub(crate) fn explain(
    world: World<'_>,
    reference: &Reference<'_>,
    packet: &Packet,
    judgement: &Judgement<'_>,
    verdict: &Verdict,
) -> Result<Explained, String> {
    let path = path(world, packet);
    let explanation = world.explain(&path);
    let mut explained = Explained { packets: 1, ..Explained::default() };
    if explanation.verdict != *verdict {
        return Err(format!("another verdict: {:?}", explanation.verdict));
    }
    let of = |direction| explanation.askings.iter().filter(move |asking| asking.direction == direction);
    let sides = [
        (Direction::Egress, &judgement.egress, true),
        (Direction::Ingress, &judgement.ingress, judgement.egress.allows()),
    ];
    for (direction, reason, asked) in sides {
        let askings: Vec<&Asking<'_>> = of(direction).collect();
        match (askings.as_slice(), reason) {
            ([], Reason::Open) => {}
            ([], _) if !asked => {}
            ([asking], reason) if asked => decider(asking, reason)?,
            (askings, reason) => return Err(format!("{direction} asked {} times: {reason:?}", askings.len())),
        }
        for (tier, rule) in askings.iter().flat_map(|asking| rules(asking)) {
            fared(reference, packet, verdict, tier, rule, direction)?;
            explained.unmet += usize::from(!rule.matched);
        }
    }
    if verdict.decision == Decision::Deny {
        explained.denied += 1;
        if (usize::from(packet.destination_port.unwrap_or(1)) + verdict.trace.len()).is_multiple_of(REMEDIED) {
            let suggested = suggested(world, &path, packet)?;
            *(if suggested { &mut explained.remedied } else { &mut explained.hopeless }) += 1;
        }
    }
    Ok(explained)
}

fn path<'a>(world: World<'a>, packet: &Packet) -> Path<'a> {
    let at = |address: std::net::IpAddr| -> Option<Endpoint<'a>> {
        let mut endpoints = world.inventory.endpoints().into_iter().filter(|endpoint| endpoint.unenforceable.is_none());
        endpoints.find(|endpoint| endpoint.address(Family::of(address)) == Some(address))
    };
    // Which of the ways that are forwarded it is makes no difference.
    let route = Route::SameNetwork { network: "any".to_owned() };
    Path { route, packet: packet.clone(), source: at(packet.source), destination: at(packet.destination) }
}

fn rules<'t, 'a>(asking: &'t Asking<'a>) -> impl Iterator<Item = (&'t TierTrace<'a>, &'t RuleTrace<'a>)> {
    asking
        .tiers
        .iter()
        .flat_map(|tier| tier.policies.iter().flat_map(move |policy| policy.rules.iter().map(move |rule| (tier, rule))))
}

/// Whether what is said to have decided is what the reference names.
fn decider(asking: &Asking<'_>, reason: &Reason<'_>) -> Result<(), String> {
    let tier = asking.tiers.last().ok_or("asked without a tier")?;
    let found = tier.decider().map(|(policy, rule)| (&policy.key, rule.map(|rule| (rule.index, rule.action))));
    let passes = tier.end.as_ref().is_some_and(|end| !matches!(end.action, Action::Drop | Action::Reject));
    let right = match (reason, &found) {
        (Reason::Rule { policy, index, action }, Some((key, Some(rule)))) => {
            (*policy, (*index, *action)) == (*key, *rule)
        }
        (Reason::EndOfTier(name), Some((_, None))) => *name == tier.tier && !passes,
        (Reason::Passed, Some((_, Some((_, action))))) => *action == RuleAction::Pass,
        (Reason::Passed, Some((_, None))) => passes,
        _ => false,
    };
    if right { Ok(()) } else { Err(format!("decided by {found:?} and not by {reason:?}")) }
}

/// Whether a rule fared as is said: by the reference, and by the rules of the kernel that matched.
fn fared(
    reference: &Reference<'_>,
    packet: &Packet,
    verdict: &Verdict,
    tier: &TierTrace<'_>,
    trace: &RuleTrace<'_>,
    direction: Direction,
) -> Result<(), String> {
    let policy = tier.policies.iter().find(|policy| policy.rules.iter().any(|rule| std::ptr::eq(rule, trace)));
    let written = policy.and_then(|policy| policy.policy.rules(direction)).ok_or("a rule of no policy")?;
    let mut same = written.iter().filter(|rule| rule.index == trace.rule.index);
    let matches = same.any(|rule| reference.rule_matches(rule, packet));
    let hit = verdict.trace.iter().any(|hit| hit.chain == tier.chain && trace.rules.contains(&hit.index));
    if (matches, hit) != (trace.matched, trace.matched) {
        return Err(format!("the policies say {matches}, the kernel's rules {hit}: {trace:?}"));
    }
    if trace.matched != trace.unmet.is_empty() {
        return Err(format!("no reason, or one too many: {trace:?}"));
    }
    Ok(())
}

/// Explains ways through published ports, which the reference knows nothing of: whether the explanation agrees with the
/// kernel's rules, and whether what is suggested works. `seed` chooses the pairs.
pub(crate) fn explain_published(seed: u64, policies: &PolicySet, inventory: &Inventory) -> Result<Explained, String> {
    let inventory = published(inventory);
    let compiled = compile(policies, &inventory, &Options::default());
    let world = World { policies, inventory: &inventory, compiled: &compiled };
    let ends: Vec<End> = inventory
        .containers
        .keys()
        .map(|id| End::Container { container: id.clone(), network: None })
        .chain(["203.0.113.9", "2001:db8:1::9"].map(|address| End::Address(address.parse().expect("address"))))
        .collect();
    let mut explained = Explained::default();
    // Of this host, each published port in turn.
    let host = [End::Host(None)];
    let to_host = (FIRST_PORT..).zip(inventory.containers.keys()).map(|(number, _)| 2 * number - FIRST_PORT);
    let to_host = to_host.flat_map(|port| ends.iter().map(move |from| (from, port)));
    let to_host: Vec<_> = to_host.map(|(from, port)| (from, &host[0], port)).collect();
    let pairs = ends.iter().flat_map(|from| ends.iter().map(move |to| (from, to, 80)));
    for (number, (from, to, port)) in (seed..).zip(pairs.chain(to_host)) {
        if !number.is_multiple_of(7) {
            continue;
        }
        let (protocol, destination) = match (number.is_multiple_of(2), port) {
            (true, port) => (Protocol::TCP, port),
            (false, 80) => (Protocol::UDP, 53),
            (false, port) => (Protocol::UDP, port + 1),
        };
        let traffic = Traffic::Ports { protocol, source: 40_000, destination };
        let Ok(ways) = Finder::new(&inventory).connections(from, to, traffic, &Family::ALL) else { continue };
        for path in &ways.judged {
            explained += agrees(world, path).map_err(|wrong| format!("{wrong}\n{path:#?}"))?;
        }
    }
    Ok(explained)
}

/// The same world with every container's services published, and addresses of the host to reach them by.
fn published(inventory: &Inventory) -> Inventory {
    let mut inventory = inventory.clone();
    for network in inventory.networks.values_mut() {
        let gateway = |subnet: &Cidr| subnet.hosts().next().expect("a subnet has addresses");
        network.gateways = network.subnets.iter().map(gateway).collect();
    }
    for (host_port, container) in (FIRST_PORT..).step_by(2).zip(inventory.containers.values_mut()) {
        let port = |host_port, container_port, protocol| PublishedPort {
            host_address: None,
            host_port: Some(host_port),
            container_port,
            protocol,
        };
        container.published = vec![port(host_port, 80, Protocol::TCP), port(host_port + 1, 53, Protocol::UDP)];
    }
    inventory.trust_ports();
    inventory
}

fn agrees(world: World<'_>, path: &Path<'_>) -> Result<Explained, String> {
    let explanation = world.explain(path);
    let verdict = &explanation.verdict;
    let origin = |hit: &Hit| world.compiled.origins.get(&hit.comment);
    let mut explained = Explained { packets: 1, ..Explained::default() };
    if *verdict != evaluate(&world.compiled.ruleset, &path.packet) {
        return Err(format!("another verdict: {verdict:?}"));
    }
    let asked: BTreeSet<&ChainName> =
        verdict.trace.iter().filter(|hit| origin(hit).is_some()).map(|hit| &hit.chain).collect();
    let told = explanation.askings.iter().flat_map(|asking| &asking.tiers).map(|tier| &tier.chain).collect();
    if asked != told {
        return Err(format!("asked {asked:?} and told {told:?}"));
    }
    for direction in Direction::ALL {
        let of_direction = |hit: &&Hit| origin(hit).is_some_and(|origin| origin.direction == direction);
        let decided = verdict.trace.iter().rev().find(of_direction).and_then(origin);
        let last = explanation.askings.iter().rev().find(|asking| asking.direction == direction);
        let told = last.and_then(|asking| asking.tiers.last()?.decider());
        let found = told.map(|(policy, rule)| (&policy.key, rule.map(|rule| rule.index)));
        if found != decided.map(|origin| (&origin.policy, origin.rule)) {
            return Err(format!("{direction} decided by {decided:?} and not by {found:?}"));
        }
    }
    for (tier, rule) in explanation.askings.iter().flat_map(rules) {
        let hit = verdict.trace.iter().any(|hit| hit.chain == tier.chain && rule.rules.contains(&hit.index));
        if hit != rule.matched || rule.matched != rule.unmet.is_empty() {
            return Err(format!("the kernel's rules say {hit}: {rule:?}"));
        }
        explained.unmet += usize::from(!rule.matched);
    }
    let denied = verdict.trace.last().filter(|_| verdict.decision == Decision::Deny);
    if denied.is_some_and(|hit| origin(hit).is_some()) {
        explained.denied += 1;
        match remedy(world, path, &Options::default()) {
            Ok(found) => {
                let compiled = compile(&found.policies, world.inventory, &Options::default());
                if evaluate(&compiled.ruleset, &path.packet).decision == Decision::Deny {
                    return Err(format!("this does not allow it: {:#?}", found.additions));
                }
                explained.remedied += 1;
            }
            Err(Hopeless::Inexpressible { .. } | Hopeless::NotByPolicy) => explained.hopeless += 1,
            Err(hopeless) => return Err(format!("nothing suggested: {hopeless}")),
        }
    }
    Ok(explained)
}

/// Whether rules are suggested that allow the packet, and do not allow what else the same two may want.
fn suggested(world: World<'_>, path: &Path<'_>, packet: &Packet) -> Result<bool, String> {
    let found = match remedy(world, path, &Options::default()) {
        Ok(found) => found,
        Err(Hopeless::Inexpressible { .. }) => return Ok(false),
        Err(hopeless) => return Err(format!("nothing suggested: {hopeless}")),
    };
    let (before, after) =
        (Reference::new(world.policies, world.inventory), Reference::new(&found.policies, world.inventory));
    if !after.judge(packet).allows() {
        return Err(format!("this does not allow it: {:#?}", found.additions));
    }
    let mut other = packet.clone();
    other.destination_port = packet.destination_port.map(|port| port ^ 1);
    if packet.destination_port.is_some() && before.judge(&other).allows() != after.judge(&other).allows() {
        return Err(format!("this allows another port, too: {:#?}", found.additions));
    }
    Ok(true)
}
