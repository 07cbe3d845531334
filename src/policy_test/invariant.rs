//! Whether what is said of all pairs holds.
//!
//! Input: an [`Invariant`] and who reaches whom. Output: an [`Outcome`] with the pairs, the ports and the rules that break
//! it. It is exact over the whole port space.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::net::{Family, PortSet};
use crate::reach::{self, Part, Party, Service, Way};
use crate::verdict::Decision;
use crate::verdict::path::{End, Error, Traffic};

use super::coverage::Exercise;
use super::exception::{Excepted, Use};
use super::judge::{Judge, origin, shortened, word};
use super::{Ends, Evidence, Form, Invariant, Outcome, Via, to_port};

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
            Ok(mut meant) => {
                let breaches = self.breaches(invariant, &mut meant, &mut outcome);
                let unused = meant.except.iter().filter_map(|excepted| excepted.unused(invariant.expect));
                outcome.notes.extend(unused);
                outcome.evidence = breaches.first().map(|breach| self.evidence(invariant, breach));
                let texts = breaches.into_iter().map(|breach| breach.text).collect();
                outcome.failures.extend(shortened(texts));
            }
            Err(reason) => outcome.failures.push(reason),
        }
        outcome
    }

    fn meant<'t>(&self, invariant: &'t Invariant, notes: &mut Vec<String>) -> Result<Meant<'t>, String> {
        let mut except = self.excepted(invariant)?;
        let from = self.parties(&invariant.from, &mut except, notes)?;
        let to = self.parties(&invariant.to, &mut except, notes)?;
        notes.sort();
        notes.dedup();
        Ok(Meant { from, to, except })
    }

    fn parties(
        &self,
        ends: &Ends,
        except: &mut [Excepted<'_>],
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
            if self.is_part(&end) {
                return Err(format!(
                    "{name} is one network of its container, and an invariant is about whole containers"
                ));
            }
            let mut unreached = self.finder.endpoints_of(container).filter_map(|endpoint| {
                Some(format!("policy cannot reach {}: {}", endpoint.name(), endpoint.unenforceable.as_ref()?))
            });
            if let Some(party) = self.party(&end) {
                notes.extend(unreached);
                parties.push((name, party));
                continue;
            }
            let mut is_excluded = false;
            for excepted in except.iter_mut().filter(|excepted| self.excludes(excepted.exception, &end)) {
                excepted.used = Use::Needed;
                is_excluded = true;
            }
            if !is_excluded {
                let reason = unreached.next().unwrap_or_else(|| format!("{name} is on no network"));
                return Err(format!("cannot be judged: {reason}"));
            }
        }
        Ok(parties)
    }

    pub(super) fn party(&self, end: &End) -> Option<Party> {
        let reach = self.reach();
        let block = |address: &IpAddr| reach.outside().iter().position(|block| block.contains(*address));
        match end {
            End::Container { container, .. } => reach.party_of(container),
            End::Host(_) => Some(Party::Host),
            End::Address(address) => block(address).map(Party::Outside),
        }
    }

    fn breaches(&self, invariant: &Invariant, meant: &mut Meant<'_>, outcome: &mut Outcome) -> Vec<Breach> {
        let mut breaches = Vec::new();
        let (mut asked_anything, mut found_way) = (false, false);
        let mut exercised = BTreeSet::new();
        let Meant { from, to, except } = meant;
        let told = |ways: &[&Way], ports: &PortSet| match invariant.expect {
            Decision::Deny => self.opened(ways, ports),
            Decision::Allow => self.closed(ways, ports),
        };
        for (sender, receiver) in pairs(from, to) {
            let ways = self.reach().ways(sender.1, receiver.1).iter();
            let ways: Vec<&Way> = ways.filter(|way| counts(invariant, way)).collect();
            for (service, ports) in &invariant.services {
                let ways: Vec<&Way> = ways.iter().copied().filter(|way| way.service == *service).collect();
                let mut asked = ports.clone();
                for excepted in except.iter_mut() {
                    let left_out = excepted.of(sender.1, receiver.1, *service).intersection(ports);
                    asked = asked.difference(&left_out);
                    if !left_out.is_empty() && excepted.used != Use::Needed {
                        let is_needed = !told(&ways, &left_out).is_empty();
                        excepted.used = if is_needed { Use::Needed } else { Use::Idle };
                    }
                }
                if asked.is_empty() {
                    continue;
                }
                asked_anything = true;
                found_way |= !ways.is_empty();
                // Equal ways would not do: of what matches on the way and decides nothing they say nothing.
                let classes = [sender.1, receiver.1].map(|party| self.reach().class(party));
                if exercised.insert((classes, *service, asked.clone())) {
                    self.exercise_ways(sender.1, receiver.1, &ways, &asked);
                }
                breaches.extend(told(&ways, &asked).into_iter().map(|(ports, reason)| Breach {
                    text: format!("{} -> {} {reason}", sender.0, receiver.0),
                    sender: sender.clone(),
                    receiver: receiver.clone(),
                    traffic: traffic(*service, &ports),
                }));
            }
        }
        if !asked_anything {
            let reason = match pairs(from, to).next() {
                Some(_) => "exceptions leave nothing of it",
                None => "there is no pair of two different ends",
            };
            outcome.failures.push(format!("asks about nothing: {reason}"));
        } else if !found_way && invariant.expect == Decision::Deny {
            match self.pointless(invariant, from, to) {
                Some(reason) => outcome.failures.push(reason),
                None => outcome
                    .notes
                    .push("no policy is asked: there is no way between these ends, whatever policy says".to_owned()),
            }
        }
        breaches
    }

    /// Takes the rules that match anything of what is asked about for exercised.
    fn exercise_ways(&self, sender: Party, receiver: Party, ways: &[&Way], asked: &PortSet) {
        let (from, to) = (self.end(sender), self.end(receiver));
        for way in ways {
            let ports = way.parts.iter().fold(PortSet::empty(), |all, part| all.union(&part.ports)).intersection(asked);
            if ports.is_empty() {
                continue;
            }
            let sent = traffic(way.service, &ports);
            let paths =
                self.finder.paths(&from, &to, sent, &[way.family]).map(|paths| paths.judged).unwrap_or_default();
            let found = paths.into_iter().filter_map(|path| self.way(path, sent));
            for found in found.filter(|found| found.via == via(&way.via) && found.closed_by_docker.is_none()) {
                // `docker-proxy` holds another port than the container's, and there is only one.
                if found.via == Via::Proxy || way.service == Service::Ping {
                    self.exercise(&found.verdict, Exercise::Invariant);
                    continue;
                }
                self.exercise_ports(&found.path.packet, ports.clone(), Exercise::Invariant);
            }
        }
    }

    /// Why nothing could ever come through; `None` where a change of networks or of published ports can open a way.
    fn pointless(&self, invariant: &Invariant, from: &[(String, Party)], to: &[(String, Party)]) -> Option<String> {
        let can_go = |(sender, receiver): (&(String, Party), &(String, Party))| {
            let (sender, receiver) = (sender.1, receiver.1);
            let to_container = matches!(receiver, Party::Container(_));
            match invariant.via {
                None => true,
                Some(Via::Direct) => !matches!(sender, Party::Outside(_)),
                Some(Via::Published) => matches!(sender, Party::Outside(_)) && to_container,
                Some(Via::Proxy) => sender != Party::Host && to_container,
            }
        };
        if let Some(via) = invariant.via.filter(|_| !pairs(from, to).any(can_go)) {
            return Some(format!("asks about nothing: no way between these ends goes {}", word(via)));
        }
        let mut reason = None;
        for (sender, receiver) in pairs(from, to) {
            let (sender, receiver) = (self.end(sender.1), self.end(receiver.1));
            match self.finder.paths(&sender, &receiver, Traffic::EchoRequest, &invariant.families) {
                Err(error @ Error::NoContainer) => reason = Some(format!("cannot be judged: {error}")),
                Err(error @ Error::NoCommonFamily) if invariant.families.len() < Family::ALL.len() => {
                    reason = Some(format!("asks about nothing: {error}"));
                }
                _ => return None,
            }
        }
        reason
    }

    /// What is open of what is asked about, by way and rules.
    fn opened(&self, ways: &[&Way], asked: &PortSet) -> Vec<(PortSet, String)> {
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
    fn closed(&self, ways: &[&Way], asked: &PortSet) -> Vec<(PortSet, String)> {
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
        let origins = part.rules.iter().filter_map(|comment| self.compiled.origins.get(comment.as_str()));
        let rules: Vec<String> = origins.map(|found| origin(found)).collect();
        match (rules.as_slice(), part.decision) {
            ([], Decision::Allow) => "by no policy".to_owned(),
            ([], Decision::Deny) => "by dockgate's own rule".to_owned(),
            // Those of the sender's side before it have allowed.
            ([.., last], Decision::Deny) => format!("by {last}"),
            (all, Decision::Allow) => format!("by {}", all.join(" and ")),
        }
    }

    fn end(&self, party: Party) -> End {
        match party {
            Party::Container(index) => {
                End::Container { container: self.reach().containers()[index].id.clone(), network: None }
            }
            Party::Host => End::Host(None),
            Party::Outside(index) => End::Address(self.reach().outside()[index].first),
        }
    }

    fn evidence(&self, invariant: &Invariant, breach: &Breach) -> Evidence {
        Evidence {
            from: breach.sender.0.clone(),
            to: breach.receiver.0.clone(),
            sender: self.end(breach.sender.1),
            receiver: self.end(breach.receiver.1),
            traffic: breach.traffic,
            families: invariant.families.clone(),
        }
    }
}

/// All pairs of two different parties.
fn pairs<'p>(
    from: &'p [(String, Party)],
    to: &'p [(String, Party)],
) -> impl Iterator<Item = (&'p (String, Party), &'p (String, Party))> {
    let all = from.iter().flat_map(move |sender| to.iter().map(move |receiver| (sender, receiver)));
    all.filter(|(sender, receiver)| sender.1 != receiver.1)
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
