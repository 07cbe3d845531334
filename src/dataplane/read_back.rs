//! Reads the kernel back, also beside other work, and tells whether it still holds what it is known to hold.
//!
//! Input: the network namespace of the calling thread, and a [`State`] that is known. Output: a [`State`], or what was
//! [`Found`] to differ. To list the kernel takes 100 ms with a thousand endpoints and seconds with ten thousand, and a
//! container that starts must not wait for that. What we change meanwhile may be in the listing or not. So something counts
//! as changed by others only where the kernel is neither as it was known to be at the beginning nor as it is at the end.
//! What others put back to how it was at the beginning is found by the next listing.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdSet;

use crate::dataplane::antispoof::{self, Differing};
use crate::dataplane::exec::{self, Commands};
use crate::dataplane::place::places;
use crate::dataplane::port::Port;
use crate::dataplane::state::State;
use crate::dataplane::{Error, Variant, bridge, chains, port, preflight, sets};
use crate::net::InterfaceName;
use crate::ruleset::{Member, Ruleset, SetName, Sets, differences, differing_sets};

/// What the kernel holds of ours. Why there can be no table against spoofing is not asked.
pub(super) fn observe(variant: Variant) -> Result<State, Error> {
    let mut state = observe_rules(variant)?;
    observe_unnotified(&mut state)?;
    match read_table() {
        Ok(table) => state.table = table,
        Err(error) => {
            state.unread_table = true;
            state.without_table = Some(format!("its table cannot be read ({error})"));
        }
    }
    Ok(state)
}

/// What others can change without a notification by the kernel, and bridges.
fn observe_unnotified(state: &mut State) -> Result<(), Error> {
    sets::parse(&exec::list("ipset", &["save"])?, state);
    state.filtered_bridges = bridge::filtered().map_err(Error::Bridges)?;
    Ok(())
}

/// What the tables of a variant of iptables hold of ours.
pub(super) fn observe_rules(variant: Variant) -> Result<State, Error> {
    let mut state = State { without: preflight::without(variant), ..State::default() };
    for place in places().filter(|place| preflight::may_have_table(variant, *place)) {
        let (family, table) = place;
        let save = Commands::of(variant, family).save;
        let saved = exec::list(save, &["-t", table.name()])?;
        chains::parse(place, &saved, &mut state).map_err(|source| Error::Listing { family, source })?;
        // A table that does not exist is listed as an empty one when it is named.
        let empty = state.bare_tables.contains(&place) && !state.chains.contains_key(&place);
        // The full listing also fails for reasons that are in other tables.
        let absent = || exec::list(save, &[]).is_ok_and(|all| !chains::has_table(&all, table));
        if empty && variant == Variant::Nft && absent() {
            state.absent_tables.insert(place);
        }
    }
    Ok(state)
}

/// Our table against spoofing, if there is one.
fn read_table() -> Result<Option<antispoof::Table>, exec::Error> {
    match exec::run("nft", &[&["list", "table"][..], &antispoof::NAME].concat(), "") {
        Ok(listed) => Ok(Some(antispoof::parse(&listed))),
        // No such table, or a kernel without the bridge family.
        Err(exec::Error::Failed { complaint, .. })
            if ["No such file or directory", "Address family not supported", "Operation not supported"]
                .iter()
                .any(|reason| complaint.contains(reason)) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What is read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Everything,
    /// Sets, bridges and their ports: what the kernel gives no notice of, or not of all. The rest is taken for unchanged, as
    /// long as it says nothing else. To list rules and tables takes most of the time.
    Unnotified,
}

/// A listing that is to be made, on any thread of the kernel's network namespace.
#[derive(Debug)]
pub struct ReadBack {
    pub(super) variant: Variant,
    pub(super) scope: Scope,
    /// What the kernel is known to hold.
    pub(super) known: State,
    /// The bridges of which ports are listed.
    pub(super) bridges: BTreeSet<InterfaceName>,
    /// Ports whose other end is not asked for its MAC address, because they have an endpoint.
    pub(super) bound: BTreeSet<InterfaceName>,
    /// See [`Found::epoch`].
    pub(super) epoch: Arc<()>,
}

/// What a listing found.
#[derive(Debug)]
pub struct Found {
    pub(super) observed: State,
    /// What the kernel was known to hold when the listing began.
    before: State,
    /// See [`ReadBack::bridges`].
    bridges: BTreeSet<InterfaceName>,
    /// See [`ReadBack::bound`].
    bound: BTreeSet<InterfaceName>,
    /// Members of sets that are in one of the two and not in the other.
    members: Vec<(SetName, Member)>,
    elements: Differing,
    /// The state of the kernel's writing when the listing began.
    pub(super) epoch: Arc<()>,
}

impl ReadBack {
    /// Lists the kernel. Blocks, and changes nothing.
    pub fn list(self) -> Result<Found, Error> {
        let ReadBack { variant, scope, known: before, bridges, bound, epoch } = self;
        let mut observed = match scope {
            Scope::Everything => observe(variant)?,
            Scope::Unnotified => {
                let mut observed = State { sets: Sets::new(), odd_sets: BTreeSet::new(), ..before.clone() };
                observe_unnotified(&mut observed)?;
                observed
            }
        };
        observed.ports = port::ports(&bridges, &bound.iter().collect()).map_err(Error::Bridges)?;
        let members = differing(&before.sets, &observed.sets);
        let elements = Differing::between(before.table.as_ref(), observed.table.as_ref());
        Ok(Found { observed, before, bridges, bound, members, elements, epoch })
    }
}

impl Found {
    /// Whether nobody but us has changed anything, given what the kernel is known to hold now.
    pub(super) fn is_ours(&self, now: &State, desired: &Ruleset) -> bool {
        let Found { observed, before, .. } = self;
        let either = |same: &dyn Fn(&State) -> bool| same(before) || same(now);
        let places: BTreeSet<_> = [observed, before, now].into_iter().flat_map(|state| state.chains.keys()).collect();
        let of_set = |name: &SetName| observed.sets.get(name).map(|set| (set.family, set.kind));
        // One that has come since was listed too early.
        let mut filtered = desired
            .bridges
            .iter()
            .filter(|bridge| [before, now].iter().all(|state| state.filtered_bridges.contains(*bridge)));
        either(&|known| known.jumps == observed.jumps)
            && places.into_iter().all(|place| either(&|known| known.chains.get(place) == observed.chains.get(place)))
            && either(&|known| known.tables() == observed.tables())
            && filtered.all(|bridge| observed.filtered_bridges.contains(bridge))
            && observed.odd_sets.is_empty()
            && [&before.sets, &now.sets, &observed.sets]
                .into_iter()
                .flat_map(Sets::keys)
                .all(|name| either(&|known| known.sets.get(name).map(|set| (set.family, set.kind)) == of_set(name)))
            && self
                .members
                .iter()
                .all(|(name, member)| holds(&now.sets, name, member) == holds(&observed.sets, name, member))
            && self.elements.explained_by(now.table.as_ref())
    }

    /// Those of the listed bridges that have other ports than is known. One that has come since is looked at for itself.
    pub(super) fn moved(&self, ports: &BTreeSet<Port>) -> BTreeSet<InterfaceName> {
        let has_moved = |bridge: &&InterfaceName| port::have_moved(ports, &self.observed.ports, &self.bound, bridge);
        self.bridges.iter().filter(has_moved).cloned().collect()
    }
}

impl State {
    /// What is known of tables as such.
    fn tables(&self) -> impl PartialEq + use<'_> {
        let foreign = (&self.absent_tables, &self.bare_tables, &self.without, &self.docker_user, &self.pinned);
        (foreign, self.table.as_ref().map(|table| table.intact), &self.without_table, self.unread_table)
    }
}

/// Members that are in one and not in the other.
fn differing(before: &Sets, after: &Sets) -> Vec<(SetName, Member)> {
    let nothing = OrdSet::new();
    let mut differing = Vec::new();
    for (name, before, after) in differing_sets(before, after) {
        let [before, after] = [before, after].map(|set| set.map_or(&nothing, |set| &set.members));
        let (come, gone) = differences(before, after);
        differing.extend(come.into_iter().chain(gone).map(|member| (name.clone(), member.clone())));
    }
    differing
}

fn holds(sets: &Sets, name: &SetName, member: &Member) -> bool {
    sets.get(name).is_some_and(|set| set.members.contains(member))
}
