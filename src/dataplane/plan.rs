//! From what is to what should be, as data.
//!
//! Input: a [`State`] and the desired [`Ruleset`]. Output: steps in an order that opens nothing on the way. The order
//! rests on two facts. An address that is known on its bridge but in no class set yet is not governed. So an address
//! becomes known last and unknown first, and sets are filled before a rule uses them and emptied after none does. And what
//! is in a set has the rights of the set. So an address that goes from one endpoint to another has no port from before the
//! first change until it has left the sets of the one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdSet;

use crate::dataplane::Step;
use crate::dataplane::antispoof::{self, Decision};
use crate::dataplane::place::{Place, Placed, places};
use crate::dataplane::render;
use crate::dataplane::sets::{create_line, member_line};
use crate::dataplane::state::{Jump, RuleHash, State, TABLE_MARK, interfaces};
use crate::net::{Family, InterfaceName};
use crate::ruleset::{
    AddressSet, Chain, ChainName, Chains, Match, Member, Ruleset, SetName, differences, differing_sets,
};

/// The steps from what is to what should be; none when nothing differs.
pub fn plan(observed: &State, desired: &Ruleset) -> Vec<Step> {
    plan_decided(observed, desired, observed.decide(desired).as_ref(), None)
}

/// As [`plan`], with what was decided of the bridges, and the chains whose rules the observed state holds, if they are known:
/// one that stays as it was is not rendered again.
pub(super) fn plan_decided(
    observed: &State,
    desired: &Ruleset,
    decision: Option<&Decision>,
    held: Option<&Chains>,
) -> Vec<Step> {
    if let Some(detour) = around_odd_sets(observed, desired) {
        let mut steps = plan(observed, &detour);
        steps.extend(plan(&observed.after(&detour), desired));
        return steps;
    }
    let sets = SetChanges::between(observed, desired, &interfaces(desired));
    in_order(observed, desired, decision, sets, rule_steps(observed, desired, held))
}

/// The steps when no rule, jump or bridge differs. This is the path of a container that comes or goes, so no rule is
/// rendered for it. More than one step: a process that refuses a line of a batch goes on with the next one, and an address
/// whose class was refused must not become known.
pub(super) fn plan_sets(observed: &State, desired: &Ruleset, decision: Option<&Decision>) -> Vec<Step> {
    in_order(observed, desired, decision, SetChanges::between(observed, desired, &observed.interfaces), Vec::new())
}

/// Changes of sets, rules, and the table against spoofing in their order. An address loses its port first of all, and gets
/// one when it is in the sets that it belongs to and in no others, before it is known itself.
fn in_order(
    observed: &State,
    desired: &Ruleset,
    decision: Option<&Decision>,
    sets: SetChanges,
    rules: Vec<Step>,
) -> Vec<Step> {
    let table = antispoof::Changes::between(observed, desired, decision);
    let mut steps = table.before;
    steps.extend(sets_step(sets.first));
    steps.extend(sets_step(sets.before));
    steps.extend(rules);
    steps.extend(sets_step(sets.between));
    steps.extend(table.after);
    steps.extend(sets_step(sets.after));
    steps.extend(destroy_step(observed, desired));
    steps.extend(table.last);
    steps
}

/// The steps that remove everything of ours. What bridges pass to netfilter stays as it is: what it was before us is
/// not recorded anywhere, and it ends with the bridge.
pub fn removal(observed: &State) -> Vec<Step> {
    plan(observed, &Ruleset::default())
}

fn destroy_step(observed: &State, desired: &Ruleset) -> Option<Step> {
    let odd = observed.odd_sets.iter().filter(|name| !desired.sets.contains_key(name.as_str()));
    let gone = differing_sets(&observed.sets, &desired.sets).filter(|(_, _, wanted)| wanted.is_none());
    let mut unused: Vec<String> = gone.map(|(name, _, _)| name.to_string()).chain(odd.cloned()).collect();
    unused.sort_unstable();
    (!unused.is_empty()).then_some(Step::Destroy(unused))
}

fn sets_step(lines: Vec<String>) -> Option<Step> {
    (!lines.is_empty()).then_some(Step::Sets(lines))
}

/// The changes of set members in four batches: two before a change of rules, one between it and the ports, and one after those.
struct SetChanges {
    /// Known addresses that go. In a batch of their own, so that nothing that is refused keeps them.
    first: Vec<String>,
    /// Creations; addresses that become known where nothing is judged yet; members that come.
    before: Vec<String>,
    /// Members that go.
    between: Vec<String>,
    /// Addresses that become known; known addresses that go where nothing is judged any more.
    after: Vec<String>,
}

impl SetChanges {
    /// Compares sets. On an interface that no rule in force names, being known changes nothing yet; there an address
    /// becomes known before the first rule does, and ceases to be known after the last, so that neither costs a packet. The
    /// same goes for an endpoint that changes its class: see [`SetName::branch`] for the order by names.
    ///
    /// `judged_after` are the interfaces that rules name then.
    fn between(observed: &State, desired: &Ruleset, judged_after: &BTreeSet<InterfaceName>) -> SetChanges {
        let mut changes = Changes::default();
        let mut added = Vec::new();
        let of_known: Vec<SetName> =
            Family::ALL.into_iter().flat_map(|family| [SetName::known(family), SetName::listed(family)]).collect();
        for (name, present, set) in differing_sets(&observed.sets, &desired.sets) {
            let Some(set) = set else { continue };
            if present.is_none() {
                changes.created.push(create_line(name, set));
            }
            let nothing = OrdSet::new();
            let (come, gone) = differences(present.map_or(&nothing, |present| &present.members), &set.members);
            let known = of_known.contains(name);
            let mut added_here = Vec::new();
            for member in come {
                let batch = match known {
                    false => &mut added_here,
                    true if is_on(member, &observed.interfaces) && present.is_some() => &mut changes.known_late,
                    true => &mut changes.known_early,
                };
                batch.push(member_line("add", name.as_str(), member));
            }
            added.push(added_here);
            for member in gone {
                let batch = match known {
                    false => &mut changes.removed,
                    true if is_on(member, judged_after) => &mut changes.forgotten_early,
                    true => &mut changes.forgotten_late,
                };
                batch.push(member_line("del", name.as_str(), member));
            }
        }
        changes.added = added.into_iter().rev().flatten().collect();
        changes.in_order()
    }
}

/// The changes of set members by what they are.
#[derive(Default)]
struct Changes {
    created: Vec<String>,
    added: Vec<String>,
    removed: Vec<String>,
    known_early: Vec<String>,
    known_late: Vec<String>,
    forgotten_early: Vec<String>,
    forgotten_late: Vec<String>,
}

impl Changes {
    fn in_order(self) -> SetChanges {
        SetChanges {
            first: self.forgotten_early,
            before: [self.created, self.known_early, self.added].concat(),
            between: self.removed,
            after: [self.known_late, self.forgotten_late].concat(),
        }
    }
}

fn is_on(member: &Member, interfaces: &BTreeSet<InterfaceName>) -> bool {
    match member {
        Member::NetInterface { interface, .. } => interfaces.contains(interface),
        Member::Ip(_) | Member::Net(_) | Member::IpPort { .. } => true,
    }
}

/// Everything but sets: chains, jumps, bridges.
fn rule_steps(observed: &State, desired: &Ruleset, held: Option<&Chains>) -> Vec<Step> {
    let wanted = observed.filtered(desired);
    let anchors = observed.anchors(&wanted);
    let anchored = |jump: &Jump| anchors.iter().any(|a| (a.family, a.hook) == (jump.family, jump.hook));
    let in_place = |jump: &Jump| anchors.iter().any(|anchor| same_place(anchor, jump));
    // A jump to a base chain that goes away has to go before it; one that stands where none is wanted any more goes when
    // the others stand.
    let ended = observed.jumps.iter().filter(|(jump, _)| !anchored(jump));
    let strays = || observed.jumps.iter().filter(|(jump, _)| anchored(jump) && !in_place(jump));
    // Where rules go from one table to another, the former loses its own when the latter has them.
    let moves = |place: Place| {
        let goes = |jump: &Jump| !anchors.iter().any(|a| (a.family, a.table, a.hook) == (place.0, place.1, jump.hook));
        strays().any(|(jump, _)| (jump.family, jump.table) == place && goes(jump))
    };

    let mut steps: Vec<Step> = ended.flat_map(deletions).collect();
    for place in places().filter(|place| !moves(*place)) {
        steps.extend(table_steps(place, observed, &wanted, held));
    }
    steps.extend(desired.bridges.difference(&observed.filtered_bridges).cloned().map(Step::FilterBridge));
    steps.extend(anchors.iter().flat_map(|anchor| anchor_steps(observed, anchor)));
    steps.extend(strays().flat_map(deletions));
    for place in places().filter(|place| moves(*place)) {
        steps.extend(table_steps(place, observed, &wanted, held));
    }
    at_once(steps)
}

/// The steps with neighbouring transactions of one family in one process, which lists what there is once for both tables.
fn at_once(steps: Vec<Step>) -> Vec<Step> {
    let mut merged: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps {
        match (merged.last_mut(), step) {
            (Some(Step::Restore { family, input }), Step::Restore { family: next, input: more }) if *family == next => {
                input.reserve_exact(more.len());
                input.push_str(&more);
            }
            (_, step) => merged.push(step),
        }
    }
    merged
}

/// What brings the chains of a table to what they should be.
fn table_steps(place: Place, observed: &State, wanted: &Placed<'_>, held: Option<&Chains>) -> Vec<Step> {
    let ends = observed.ends_table(place, wanted).then_some(Step::DeleteTable(place));
    restore(place, observed, wanted, held).into_iter().chain(ends).collect()
}

/// Whether two jumps do the same in the same chain.
fn same_place(one: &Jump, other: &Jump) -> bool {
    (one.family, one.table, one.hook, &one.chain) == (other.family, other.table, other.hook, &other.chain)
}

fn deletions((jump, positions): (&Jump, &Vec<usize>)) -> impl Iterator<Item = Step> {
    positions.iter().map(move |_| Step::DeleteJump(jump.clone()))
}

/// Brings the jumps in one chain to exactly one, in first place, with no moment without one.
fn anchor_steps(observed: &State, anchor: &Jump) -> Vec<Step> {
    let held = observed.holds(anchor);
    let copies = || observed.jumps.iter().filter(|(jump, _)| same_place(anchor, jump));
    let misplaced = copies().filter(|(jump, _)| !(held && *jump == anchor)).flat_map(deletions);
    if held {
        return misplaced.collect();
    }
    let insert = Step::InsertJump(anchor.clone());
    if !observed.jumps.contains_key(anchor) {
        return [insert].into_iter().chain(misplaced).collect();
    }
    // To delete a copy by its text would hit the new one, so a jump with another text holds its place meanwhile.
    let highest = copies().map(|(jump, _)| jump.serial).max().unwrap_or(Jump::LASTING);
    let stopgap = Jump { serial: highest.wrapping_add(1), ..anchor.clone() };
    let mut steps = vec![Step::InsertJump(stopgap.clone())];
    steps.extend(misplaced);
    steps.extend([insert, Step::DeleteJump(stopgap)]);
    steps
}

/// Whether a chain has the rules that it is known to have.
pub(super) fn stays(held: Option<&Chains>, family: Family, name: &ChainName, rules: &Chain) -> bool {
    held.and_then(|chains| chains.get(&family)?.get(name)).is_some_and(|held| held == rules)
}

/// One transaction that brings all chains of a table to what they should be; `None` when they are.
fn restore(place: Place, observed: &State, all_wanted: &Placed<'_>, held: Option<&Chains>) -> Option<Step> {
    let (nothing, none_wanted) = (BTreeMap::new(), BTreeMap::new());
    let present = observed.chains.get(&place).unwrap_or(&nothing);
    let wanted = all_wanted.get(&place).unwrap_or(&none_wanted);
    let names: BTreeSet<&str> = wanted.keys().map(|name| name.as_str()).collect();
    let (family, table) = place;

    let mut heads = Vec::new();
    let mut lines = String::new();
    for (name, rules) in wanted {
        if present.contains_key(name.as_str()) && stays(held, family, name, rules) {
            continue;
        }
        let rendered = render::chain(family, name.as_str(), rules);
        let same = present.get(name.as_str()).is_some_and(|hashes| {
            hashes.len() == rendered.len()
                && hashes.iter().zip(&rendered).all(|(hash, line)| hash.is_some() && *hash == RuleHash::of(&line.hash))
        });
        if !same {
            heads.push(name.as_str());
            for line in &rendered {
                lines.extend([&line.text, "\n"]);
            }
        }
    }
    let keeps_mark = !wanted.is_empty() || observed.ends_table(place, all_wanted);
    if !wanted.is_empty() && observed.absent_tables.contains(&place) {
        heads.push(TABLE_MARK);
    }
    for (name, hashes) in present.iter().filter(|(name, _)| !names.contains(name.as_str())) {
        if name == TABLE_MARK && keeps_mark && hashes.is_empty() {
            continue;
        }
        if !observed.pinned.contains_key(&(place, name.clone())) {
            heads.push(name);
            lines.extend(["-X ", name, "\n"]);
        } else if !hashes.is_empty() {
            heads.push(name);
        }
    }
    if heads.is_empty() {
        return None;
    }
    // A head creates the chain, or empties it if it exists.
    let heads = heads.into_iter().flat_map(|head| [":", head, " - [0:0]\n"]);
    let beginning: String = ["*", table.name(), "\n"].into_iter().chain(heads).collect();
    // There can be many megabytes of lines, and one copy of them is enough.
    lines.insert_str(0, &beginning);
    lines.push_str("COMMIT\n");
    lines.shrink_to_fit();
    Some(Step::Restore { family, input: lines })
}

/// The desired ruleset under other names for the sets that the kernel holds in a form that cannot be changed in place.
/// To go there first and then to the desired ruleset frees the right names without a moment in which rules are missing.
/// `None` when no set is odd.
fn around_odd_sets(observed: &State, desired: &Ruleset) -> Option<Ruleset> {
    let odd = |name: &SetName, set: &AddressSet| {
        observed.odd_sets.contains(name.as_str())
            || observed.sets.get(name.as_str()).is_some_and(|at| (at.family, at.kind) != (set.family, set.kind))
    };
    let renamed: BTreeMap<&SetName, SetName> = desired
        .sets
        .iter()
        .filter(|(name, set)| odd(name, set))
        .map(|(name, set)| (name, SetName::of_content(set.family, set.kind, "repair", name.as_str())))
        .collect();
    if renamed.is_empty() {
        return None;
    }
    let mut detour = desired.clone();
    detour.sets =
        desired.sets.iter().map(|(name, set)| (renamed.get(name).unwrap_or(name).clone(), set.clone())).collect();
    let rules = detour.chains.values_mut().flat_map(BTreeMap::values_mut).flat_map(Arc::make_mut);
    let asks = |condition: &Match| matches!(condition, Match::Set { set, .. } if renamed.contains_key(set));
    let concerned = rules.filter(|rule| rule.matches.iter().any(asks));
    for condition in concerned.flat_map(|rule| Arc::make_mut(&mut rule.matches)) {
        if let Match::Set { set, .. } = condition
            && let Some(name) = renamed.get(set)
        {
            *set = name.clone();
        }
    }
    Some(detour)
}

#[cfg(test)]
mod tests;
