//! Published ports on which policy has come into force, until this host may reach them.
//!
//! Input: which containers have changed, whether the kernel holds the wanted ruleset, which ports forbidden flows may lead to,
//! and the time. Output: containers whose published ports count as judged. Networks have a time of their own, in
//! [`super::arrivals`], which begins and ends with the same calls.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{Core, Need};
use crate::inventory::{Container, ContainerId, PublishedPort};
use crate::net::{Cidr, Family};
use crate::ruleset::{Member, SetName};
use crate::verdict::flow::LocalPort;

/// How long policy on a published port has to be in force until this host may reach the container behind it.
///
/// `docker-proxy` listens before Docker says on which port. Who came through that port until the rule was there has been
/// accepted unjudged; the gate to the container refuses the proxy's own connection, and it hangs up. In this time it does
/// so with the last of them: from accepting to connecting it takes well under a millisecond, or a few on a busy machine.
pub(super) const SETTLING: Duration = Duration::from_millis(250);

/// Ports of this host behind which containers are.
pub type LocalPorts = BTreeSet<LocalPort>;

/// Where flows may lead that policy forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// To any port: nobody knows.
    Everywhere,
    /// To these.
    At(LocalPorts),
}

impl Doubt {
    fn concerns(&self, container: &Container) -> bool {
        match self {
            Doubt::Everywhere => true,
            Doubt::At(ports) => local_ports(container).any(|port| ports.contains(&port)),
        }
    }
}

/// Containers of which this host may reach published ports later than now.
#[derive(Debug, Default)]
pub(super) struct Settling {
    /// Those of which the time has not begun.
    waiting: BTreeSet<ContainerId>,
    /// Those of which it has: on which ports, and when it is over.
    begun: BTreeMap<ContainerId, (Vec<PublishedPort>, Instant)>,
    /// Those of which it is over, until the ruleset that says so is applied.
    over: BTreeSet<ContainerId>,
}

impl Settling {
    /// These may have other ports than before.
    pub(super) fn wait_for<'a>(&mut self, containers: impl Iterator<Item = &'a ContainerId>) {
        self.waiting.extend(containers.cloned());
    }
}

impl Core {
    /// Takes policy on the published ports of a container as in force for long enough, or as not.
    pub(super) fn judge_ports(&mut self, id: &ContainerId, are_judged: bool) {
        let Some(inventory) = &mut self.inventory else { return };
        let judge = |container: &mut Container| {
            container.judged = if are_judged { container.published.iter().cloned().collect() } else { BTreeSet::new() };
        };
        let former = inventory.containers.change(id, judge);
        // Who is reached through a port is the same as before, so that no open flow need be judged for it.
        self.changed.entry(id.clone()).or_insert(former);
    }

    /// Says that the wanted ruleset is in force now. The time begins of networks to which somebody has come, and of containers to
    /// whose published ports no flow leads that policy forbids; of the others it begins anew later, also where it had begun.
    pub fn applied(&mut self, now: Instant, doubt: &Doubt) {
        if self.unreachable.is_none() {
            self.arrivals.applied(now);
        }
        let Some(inventory) = &self.inventory else { return };
        let Settling { waiting, begun, over } = &mut self.settling;
        over.clear();
        let is_settling = |id: &ContainerId| inventory.containers.get(id).filter(|container| is_settling(container));
        begun.retain(|id, (ports, _)| {
            let goes_on =
                is_settling(id).is_some_and(|container| container.published == *ports && !doubt.concerns(container));
            if !goes_on {
                waiting.insert(id.clone());
            }
            goes_on
        });
        waiting.retain(|id| {
            let Some(container) = is_settling(id) else { return false };
            let waits = doubt.concerns(container);
            if !waits {
                begun.entry(id.clone()).or_insert_with(|| (container.published.clone(), now + SETTLING));
            }
            waits
        });
    }

    /// Says that flows led to these published ports until now that policy forbids. The time of their containers begins anew when the
    /// wanted ruleset is applied.
    pub fn unsettle(&mut self, ports: LocalPorts) {
        let Some(inventory) = &self.inventory else { return };
        let doubt = Doubt::At(ports);
        let Settling { waiting, begun, .. } = &mut self.settling;
        begun.retain(|id, _| {
            let is_in_doubt = inventory.containers.get(id).is_some_and(|container| doubt.concerns(container));
            if is_in_doubt {
                waiting.insert(id.clone());
            }
            !is_in_doubt
        });
    }

    /// Says that the wanted ruleset could not be applied: what is in force is not known, and somebody may have been let in.
    pub fn not_applied(&mut self) {
        let Settling { waiting, begun, over } = &mut self.settling;
        let over = std::mem::take(over);
        waiting.extend(std::mem::take(begun).into_keys().chain(over.iter().cloned()));
        for id in over {
            self.judge_ports(&id, false);
        }
    }

    /// When [`Core::settle`] has something to do.
    pub fn settles_at(&self) -> Option<Instant> {
        let ports = self.settling.begun.values().map(|(_, at)| *at).min();
        ports.into_iter().chain(self.arrivals.open_at()).min()
    }

    /// Says what time it is, and since when dockgate has been listening: published ports on which policy has been in force for
    /// long enough are open to this host, and networks to which nobody has come for a moment are to those whom no policy selects.
    pub fn settle(&mut self, now: Instant, listening_since: Instant) -> Need {
        let begun = std::mem::take(&mut self.settling.begun);
        let (over, begun) = begun.into_iter().partition(|(_, (_, at))| *at <= now);
        self.settling.begun = begun;
        let over: BTreeMap<_, _> = over;
        for (id, (ports, _)) in &over {
            let container = self.inventory.as_ref().and_then(|inventory| inventory.containers.get(id));
            if container.is_some_and(|container| container.listed && container.published == *ports) {
                self.judge_ports(id, true);
                self.settling.over.insert(id.clone());
            }
        }
        let opens = self.let_networks_open(now, listening_since);
        if over.is_empty() && !opens { Need::Nothing } else { Need::Apply }
    }

    /// Published ports of this host on which policy came into force a moment ago, or does so when the wanted ruleset is applied.
    pub fn settling_ports(&self) -> LocalPorts {
        let Some(inventory) = &self.inventory else { return LocalPorts::new() };
        let ids = self.settling.waiting.iter().chain(self.settling.begun.keys());
        let settling = ids.filter_map(|id| inventory.containers.get(id)).filter(|container| is_settling(container));
        settling.flat_map(local_ports).collect()
    }

    /// The containers whose published ports do not open to this host because of a doubt.
    pub fn shut(&self, doubt: &Doubt) -> impl Iterator<Item = &Container> {
        let waiting = self.settling.waiting.iter();
        let containers = waiting.filter_map(|id| self.inventory.as_ref()?.containers.get(id));
        containers.filter(|container| is_settling(container) && doubt.concerns(container) && self.is_gated(container))
    }

    /// Whether policy is in force on its published ports: where none is, this host reaches them at once.
    fn is_gated(&self, container: &Container) -> bool {
        let (Some(inventory), Some(compiler)) = (&self.inventory, &self.compiler) else { return false };
        let sets = &compiler.compiled().ruleset.sets;
        let has = |name: SetName, member: &Member| sets.get(&name).is_some_and(|set| set.members.contains(member));
        container.attachments.iter().any(|attachment| {
            let bridge = inventory.networks.get(&attachment.network).and_then(|network| network.bridge.as_ref());
            let mut addresses = [attachment.ipv4, attachment.ipv6].into_iter().flatten();
            bridge.is_some_and(|bridge| {
                addresses.any(|address| {
                    let member = Member::NetInterface { net: Cidr::host(address), interface: bridge.clone() };
                    let family = Family::of(address);
                    has(SetName::known(family), &member) && !has(SetName::listed(family), &member)
                })
            })
        })
    }
}

/// Whether this host may reach it once policy has been in force on its published ports for long enough.
fn is_settling(container: &Container) -> bool {
    container.listed && !container.ports_are_judged()
}

/// The ports of this host behind which a container is.
fn local_ports(container: &Container) -> impl Iterator<Item = LocalPort> {
    container.published.iter().filter_map(|published| Some((published.protocol, published.host_port?)))
}
