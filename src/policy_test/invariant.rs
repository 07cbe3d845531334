//! Whether what is said of all pairs holds.
//!
//! Input: an [`Invariant`] and who reaches whom. Output: an [`Outcome`] with the pairs, the ports and the rules that break
//! it. It is exact over the whole port space.

use std::net::IpAddr;

use crate::net::PortSet;
use crate::reach::{self, Part, Party, Service, Way};
use crate::verdict::Decision;
use crate::verdict::path::{End, Traffic};

use super::judge::{Judge, origin, shortened, word};
use super::{Ends, Evidence, Exception, Form, Invariant, Outcome, Via, to_port};

/// An exception, and the parties of both its ends; `None` is anybody.
type Excepted<'t> = (&'t Exception, Option<Vec<Party>>, Option<Vec<Party>>);

/// An invariant with everybody whom it means.
struct Meant<'t> {
    from: Vec<(String, Party)>,
    to: Vec<(String, Party)>,
    except: Vec<Excepted<'t>>,
}

/// What breaks an invariant.
struct Breach {
    text: String,
    sender: (String, Party),
    receiver: (String, Party),
    traffic: Traffic,
}

impl Judge<'_> {
    pub(super) fn invariant(&self, invariant: &Invariant) -> Outcome {
        let mut outcome = Outcome {
            name: invariant.name.clone(),
            location: invariant.location.clone(),
            form: Form::Invariant,
            expect: invariant.expect,
            failures: Vec::new(),
            notes: Vec::new(),
            evidence: None,
        };
        match self.meant(invariant, &mut outcome.notes) {
            Ok(meant) => {
                let breaches = self.breaches(invariant, &meant, &mut outcome);
                outcome.evidence = breaches.first().map(|breach| self.evidence(invariant, breach));
                let texts = breaches.into_iter().map(|breach| breach.text).collect();
                outcome.failures.extend(shortened(texts));
            }
            Err(reason) => outcome.failures.push(reason),
        }
        outcome
    }

    fn meant<'t>(&self, invariant: &'t Invariant, notes: &mut Vec<String>) -> Result<Meant<'t>, String> {
        let mut except = Vec::new();
        for exception in &invariant.except {
            let parties = |ends: &Option<Ends>| match ends {
                // An exception may be about somebody whom policy cannot reach, or who is not there today.
                Some(ends) => self.everybody(ends).map_or_else(
                    |_| Some(Vec::new()),
                    |found| Some(found.iter().filter_map(|(_, end)| self.party(end)).collect()),
                ),
                None => None,
            };
            except.push((exception, parties(&exception.from), parties(&exception.to)));
        }
        let from = self.parties(invariant, &invariant.from, notes)?;
        let to = self.parties(invariant, &invariant.to, notes)?;
        notes.sort();
        notes.dedup();
        Ok(Meant { from, to, except })
    }

    fn parties(
        &self,
        invariant: &Invariant,
        ends: &Ends,
        notes: &mut Vec<String>,
    ) -> Result<Vec<(String, Party)>, String> {
        let mut parties = Vec::new();
        for (name, end) in self.everybody(ends)? {
            let End::Container { container, .. } = &end else {
                let party =
                    self.party(&end).ok_or_else(|| format!("{name} is no address outside and no container's"))?;
                parties.push((name, party));
                continue;
            };
            let endpoints = self.inventory.endpoints();
            let of_container = endpoints.iter().filter(|endpoint| endpoint.container.id == *container);
            let mut unreached = of_container.filter_map(|endpoint| {
                Some(format!("policy cannot reach {}: {}", endpoint.name(), endpoint.unenforceable.as_ref()?))
            });
            match self.party(&end) {
                Some(party) => {
                    notes.extend(unreached);
                    parties.push((name, party));
                }
                None if invariant.except.iter().any(|exception| self.excludes(exception, &end)) => {}
                None => {
                    let reason = unreached.next().unwrap_or_else(|| format!("{name} is on no network"));
                    return Err(format!("cannot be judged: {reason}"));
                }
            }
        }
        Ok(parties)
    }

    /// Whether an exception leaves an end out altogether.
    fn excludes(&self, exception: &Exception, end: &End) -> bool {
        let is_whole = exception.services.len() == Service::ALL.len()
            && exception.services.iter().all(|(_, ports)| ports.is_all());
        let has = |ends: &Ends| self.everybody(ends).is_ok_and(|found| found.iter().any(|(_, other)| other == end));
        is_whole
            && match (&exception.from, &exception.to) {
                (Some(ends), None) | (None, Some(ends)) => has(ends),
                _ => false,
            }
    }

    fn party(&self, end: &End) -> Option<Party> {
        let reach = self.reach();
        let block = |address: &IpAddr| reach.outside().iter().position(|block| block.contains(*address));
        match end {
            End::Container { container, .. } => reach.party_of(container),
            End::Host(_) => Some(Party::Host),
            End::Address(address) => block(address).map(Party::Outside),
        }
    }

    fn breaches(&self, invariant: &Invariant, meant: &Meant<'_>, outcome: &mut Outcome) -> Vec<Breach> {
        let mut breaches = Vec::new();
        let mut asked_anything = false;
        for sender in &meant.from {
            for receiver in meant.to.iter().filter(|receiver| receiver.1 != sender.1) {
                let ways: Vec<&Way> =
                    self.reach().ways(sender.1, receiver.1).iter().filter(|way| counts(invariant, way)).collect();
                for (service, ports) in &invariant.services {
                    let asked = meant.asked(sender.1, receiver.1, *service, ports);
                    if asked.is_empty() {
                        continue;
                    }
                    asked_anything = true;
                    let ways = ways.iter().copied().filter(|way| way.service == *service);
                    let told = match invariant.expect {
                        Decision::Deny => self.opened(ways, &asked),
                        Decision::Allow => self.closed(ways, &asked),
                    };
                    breaches.extend(told.into_iter().map(|(ports, reason)| Breach {
                        text: format!("{} -> {} {reason}", sender.0, receiver.0),
                        sender: sender.clone(),
                        receiver: receiver.clone(),
                        traffic: traffic(*service, &ports),
                    }));
                }
            }
        }
        if !asked_anything {
            let mut pairs =
                meant.from.iter().flat_map(|sender| meant.to.iter().map(move |receiver| (sender, receiver)));
            let reason = if pairs.any(|(sender, receiver)| sender.1 != receiver.1) {
                "exceptions leave nothing of it"
            } else {
                "there is no pair of two different ends"
            };
            outcome.failures.push(format!("asks about nothing: {reason}"));
        }
        breaches
    }

    /// What is open of what is asked about, by way and rules.
    fn opened<'w>(&self, ways: impl Iterator<Item = &'w Way>, asked: &PortSet) -> Vec<(PortSet, String)> {
        let mut told = Vec::new();
        for way in ways {
            for part in way.parts.iter().filter(|part| part.decision == Decision::Allow) {
                let ports = part.ports.intersection(asked);
                if !ports.is_empty() {
                    let sent = in_words(way.service, &ports);
                    let how = word(via(&way.via));
                    told.push((ports, format!("is open for {sent} {how} in {}: {}", way.family, self.rules(part))));
                }
            }
        }
        told
    }

    /// What no way opens of what is asked about.
    fn closed<'w>(&self, ways: impl Iterator<Item = &'w Way>, asked: &PortSet) -> Vec<(PortSet, String)> {
        let ways: Vec<&Way> = ways.collect();
        let open = ways.iter().fold(PortSet::empty(), |open, way| open.union(&way.open()));
        let missing = asked.difference(&open);
        let (Some(first), Some(service)) = (missing.first(), ways.first().map(|way| way.service)) else {
            return (!missing.is_empty()).then(|| (missing, "has no way".to_owned())).into_iter().collect();
        };
        let parts = ways.iter().flat_map(|way| &way.parts);
        let deciding = parts.filter(|part| part.ports.contains(first)).map(|part| self.rules(part));
        let reason = deciding.last().unwrap_or_else(|| "Docker closes it".to_owned());
        let text = format!("is closed for {}: {reason}", in_words(service, &missing));
        vec![(missing, text)]
    }

    /// The rules that decide about a part, in words.
    fn rules(&self, part: &Part) -> String {
        let origins = part.rules.iter().filter_map(|comment| self.compiled.origins.get(comment));
        let rules: Vec<String> = origins.map(origin).collect();
        match (rules.as_slice(), part.decision) {
            ([], Decision::Allow) => "no policy governs it".to_owned(),
            ([], Decision::Deny) => "by dockgate's own rule".to_owned(),
            // Those of the sender's side before it have allowed.
            ([.., last], Decision::Deny) => format!("by {last}"),
            (all, Decision::Allow) => format!("by {}", all.join(" and ")),
        }
    }

    fn evidence(&self, invariant: &Invariant, breach: &Breach) -> Evidence {
        let end = |party| match party {
            Party::Container(index) => {
                End::Container { container: self.reach().containers()[index].id.clone(), network: None }
            }
            Party::Host => End::Host(None),
            Party::Outside(index) => End::Address(self.reach().outside()[index].first),
        };
        Evidence {
            from: breach.sender.0.clone(),
            to: breach.receiver.0.clone(),
            sender: end(breach.sender.1),
            receiver: end(breach.receiver.1),
            traffic: breach.traffic,
            families: invariant.families.clone(),
        }
    }
}

impl Meant<'_> {
    /// What is asked about of a pair: without its exceptions.
    fn asked(&self, sender: Party, receiver: Party, service: Service, ports: &PortSet) -> PortSet {
        let mut asked = ports.clone();
        for (exception, from, to) in &self.except {
            let applies = |parties: &Option<Vec<Party>>, party| parties.as_ref().is_none_or(|all| all.contains(&party));
            if applies(from, sender) && applies(to, receiver) {
                let excluded = exception.services.iter().filter(|(other, _)| *other == service);
                asked = excluded.fold(asked, |asked, (_, ports)| asked.difference(ports));
            }
        }
        asked
    }
}

fn counts(invariant: &Invariant, way: &Way) -> bool {
    invariant.families.contains(&way.family) && invariant.via.is_none_or(|wanted| wanted == via(&way.via))
}

fn via(via: &reach::Via) -> Via {
    match via {
        reach::Via::Direct => Via::Direct,
        reach::Via::Published { .. } => Via::Published,
        reach::Via::Proxy { .. } => Via::Proxy,
    }
}

fn in_words(service: Service, ports: &PortSet) -> String {
    match service {
        Service::Ports(protocol) if ports.is_all() => format!("every {protocol} port"),
        Service::Ports(protocol) => format!("{protocol} {ports}"),
        Service::Ping => "ping".to_owned(),
    }
}

fn traffic(service: Service, ports: &PortSet) -> Traffic {
    match (service, ports.first()) {
        (Service::Ports(protocol), Some(port)) => to_port(protocol, port),
        _ => Traffic::EchoRequest,
    }
}
