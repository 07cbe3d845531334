//! What an invariant says nothing of, and whether it had to be said.
//!
//! Input: the [`Exception`]s of an [`Invariant`]. Output: the ports that they leave out of each pair, and a note for each that
//! leaves nothing out or need not: it was made for something that is gone, or is misspelt, and waits for what it would hide.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::net::{Cidr, PortSet};
use crate::reach::{Party, Service};
use crate::verdict::Decision;
use crate::verdict::path::End;

use super::judge::Judge;
use super::{Ends, Exception, Invariant, PolicyTest};

/// What an exception is good for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It fits nothing that is asked about.
    None,
    /// It fits, and the invariant would hold without it.
    Idle,
    /// Without it the invariant would not hold.
    Needed,
}

/// An exception, with the parties of both its ends; `None` is anybody.
pub(super) struct Excepted<'t> {
    pub(super) exception: &'t Exception,
    from: Option<Vec<Party>>,
    to: Option<Vec<Party>>,
    /// Why an end is nobody.
    nobody: Option<String>,
    pub(super) used: Use,
}

impl Excepted<'_> {
    /// The ports that it leaves out of a pair, be they asked about or not.
    pub(super) fn of(&self, sender: Party, receiver: Party, service: Service) -> PortSet {
        let fits = |parties: &Option<Vec<Party>>, party| parties.as_ref().is_none_or(|all| all.contains(&party));
        if !fits(&self.from, sender) || !fits(&self.to, receiver) {
            return PortSet::empty();
        }
        let ports = self.exception.services.iter().filter(|(other, _)| *other == service);
        ports.fold(PortSet::empty(), |all, (_, ports)| all.union(ports))
    }

    /// What is to be told of one that was not needed.
    pub(super) fn unused(&self, expect: Decision) -> Option<String> {
        let place = &self.exception.location;
        match (self.used, expect) {
            (Use::Needed, _) => None,
            (Use::Idle, Decision::Deny) => {
                Some(format!("the exception at {place} is not needed: nothing that it leaves out is open"))
            }
            (Use::Idle, Decision::Allow) => {
                Some(format!("the exception at {place} is not needed: all that it leaves out is open"))
            }
            (Use::None, _) => {
                let reason = self.nobody.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                Some(format!("the exception at {place} fits nothing that is asked about{reason}"))
            }
        }
    }
}

impl Judge<'_> {
    pub(super) fn excepted<'t>(&self, invariant: &'t Invariant) -> Result<Vec<Excepted<'t>>, String> {
        let read = |exception: &'t Exception| {
            let mut nobody = None;
            let mut parties = |ends: &Option<Ends>| {
                let Some(ends) = ends else { return Ok(None) };
                // An exception may be about somebody whom policy cannot reach, or who is not there today.
                let found = self.everybody(ends).unwrap_or_else(|reason| {
                    nobody.get_or_insert(reason);
                    Vec::new()
                });
                if let Some((name, _)) = found.iter().find(|(_, end)| self.is_part(end)) {
                    let place = &exception.location;
                    return Err(format!("the exception at {place} is about one network of the container of {name}"));
                }
                Ok(Some(found.iter().filter_map(|(_, end)| self.party(end)).collect()))
            };
            let (from, to) = (parties(&exception.from)?, parties(&exception.to)?);
            Ok(Excepted { exception, from, to, nobody, used: Use::None })
        };
        invariant.except.iter().map(read).collect()
    }

    /// Whether an end is a container without all of its networks. Taken for the whole container, an exception would leave out
    /// more than was written, and an invariant would be met, or broken, by way of another network.
    pub(super) fn is_part(&self, end: &End) -> bool {
        let End::Container { container, network: Some(_) } = end else { return false };
        self.finder.endpoints_of(container).count() > 1
    }

    /// Whether an exception leaves an end out altogether.
    pub(super) fn excludes(&self, exception: &Exception, end: &End) -> bool {
        let is_whole = exception.services.len() == Service::ALL.len()
            && exception.services.iter().all(|(_, ports)| ports.is_all());
        let has = |ends: &Ends| self.everybody(ends).is_ok_and(|found| found.iter().any(|(_, other)| other == end));
        is_whole
            && match (&exception.from, &exception.to) {
                (Some(ends), None) | (None, Some(ends)) => has(ends),
                _ => false,
            }
    }
}

/// The addresses that exceptions name: those beside them, which no rule tells from them, are not excepted.
pub(super) fn boundaries(of: &PolicyTest) -> BTreeSet<Cidr> {
    let exceptions = of.invariants.iter().flat_map(|invariant| &invariant.except);
    let ends = exceptions.flat_map(|exception| exception.from.iter().chain(&exception.to));
    let address = |ends: &Ends| match ends {
        // As the end is found: an IPv4 address may be written as one of IPv6.
        Ends::Named(text) => text.parse::<IpAddr>().ok().map(|address| Cidr::host(address.to_canonical())),
        Ends::Outside | Ends::Selected { .. } => None,
    };
    ends.filter_map(address).collect()
}
