//! Whether single connections are as expected.
//!
//! Input: a [`Case`] and a compiled world. Output: an [`Outcome`]. A connection is open when one of its ways is: when the
//! rules let its first packet pass and Docker's own do not close that way. So it is what `connectivity` says; that policy
//! alone would have allowed what Docker closes is a note, because it opens when somebody publishes a port.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use crate::compile::{Compiled, Origin};
use crate::inventory::Inventory;
use crate::net::{Cidr, Family, PortSet};
use crate::policy::PolicySet;
use crate::policy::diagnostic::did_you_mean;
use crate::reach::Reach;
use crate::ruleset::{Action, Side};
use crate::verdict::path::{End, Error, Finder, Path, Route, Traffic};
use crate::verdict::ports::{self, Evaluator};
use crate::verdict::{Decision, Hit, Packet, Verdict, evaluate};

use super::coverage::Exercise;
use super::{By, Case, Coverage, Ends, Evidence, Form, Outcome, PolicyTest, Via, describe, ends, exception};

/// Failures of one expectation that are told in full.
const TOLD: usize = 5;

/// Judges tests in one world.
pub struct Judge<'a> {
    pub(super) inventory: &'a Inventory,
    policies: &'a PolicySet,
    pub(super) compiled: &'a Compiled,
    pub(super) finder: Finder<'a>,
    reach: OnceCell<Reach<'a>>,
    evaluator: OnceCell<Evaluator<'a>>,
    /// What divides the outside beyond what rules do.
    boundaries: BTreeSet<Cidr>,
    coverage: RefCell<Coverage>,
}

/// A way of a connection.
pub(super) struct Way<'a> {
    pub(super) path: Path<'a>,
    pub(super) via: Via,
    pub(super) verdict: Verdict,
    /// Why Docker's own rules close it, where they do.
    pub(super) closed_by_docker: Option<&'static str>,
}

impl Way<'_> {
    fn in_words(&self) -> String {
        format!("{} in {}", self.path.route, self.path.family())
    }

    fn is_open(&self) -> bool {
        self.verdict.decision == Decision::Allow && self.closed_by_docker.is_none()
    }
}

/// Connections between two single ends.
struct Pair<'a> {
    sender: (String, End),
    receiver: (String, End),
    /// Those that count; none where the two have no address of one family.
    ways: Vec<Way<'a>>,
}

impl Pair<'_> {
    fn name(&self) -> String {
        format!("{} -> {}", self.sender.0, self.receiver.0)
    }

    fn is_open(&self) -> bool {
        self.ways.iter().any(Way::is_open)
    }
}

impl<'a> Judge<'a> {
    /// A judge of what `compiled`, made of `policies` and `inventory`, does.
    pub fn new(inventory: &'a Inventory, policies: &'a PolicySet, compiled: &'a Compiled) -> Judge<'a> {
        let finder = Finder::new(inventory);
        let (reach, evaluator, boundaries) = (OnceCell::new(), OnceCell::new(), BTreeSet::new());
        let coverage = RefCell::default();
        Judge { inventory, policies, compiled, finder, reach, evaluator, boundaries, coverage }
    }

    /// The outcomes of a test, in the order of the file. What it exercises is added to `coverage`.
    pub fn run(&mut self, test: &PolicyTest, coverage: &mut Coverage) -> Vec<Outcome> {
        let boundaries = exception::boundaries(test);
        if boundaries != self.boundaries {
            (self.boundaries, self.reach) = (boundaries, OnceCell::new());
        }
        coverage.add(self.policies);
        self.coverage.replace(std::mem::take(coverage));
        let mut outcomes: Vec<Outcome> = test.cases.iter().map(|case| self.case(case)).collect();
        outcomes.extend(test.invariants.iter().map(|invariant| self.invariant(invariant)));
        *coverage = self.coverage.take();
        outcomes.sort_by(|a, b| a.location.cmp(&b.location));
        outcomes
    }

    pub(super) fn reach(&self) -> &Reach<'a> {
        self.reach.get_or_init(|| Reach::new(self.inventory, self.compiled, &self.boundaries))
    }

    pub(super) fn everybody(&self, ends: &Ends) -> Result<Vec<(String, End)>, String> {
        let outside = if matches!(ends, Ends::Outside) { self.reach().outside() } else { &[] };
        ends::everybody(self.inventory, outside, ends)
    }

    fn case(&self, case: &Case) -> Outcome {
        let mut outcome = Outcome {
            name: case.name.clone(),
            location: case.location.clone(),
            form: if case.of_matrix { Form::Matrix } else { Form::Case },
            expect: case.expect,
            failures: Vec::new(),
            notes: Vec::new(),
            evidence: None,
        };
        match self.pairs(case, &mut outcome.notes) {
            Ok(pairs) => self.judge(case, &pairs, &mut outcome),
            Err(reason) => outcome.failures.push(reason),
        }
        outcome
    }

    /// All pairs of two different ends; an error when they cannot be judged, or when there is nothing to judge.
    fn pairs(&self, case: &Case, notes: &mut Vec<String>) -> Result<Vec<Pair<'a>>, String> {
        if let Some(by) = &case.by {
            self.check_name(by)?;
        }
        let (mut senders, mut receivers) = (self.everybody(&case.from)?, self.everybody(&case.to)?);
        // The outside has addresses of both versions, whatever is asked about.
        let counts = |(_, end): &(String, End)| match end {
            End::Address(address) => case.families.contains(&Family::of(*address)),
            End::Container { .. } | End::Host(_) => true,
        };
        for (ends, found) in [(&case.from, &mut senders), (&case.to, &mut receivers)] {
            if *ends == Ends::Outside {
                found.retain(counts);
            }
        }
        let mut pairs = Vec::new();
        let mut reasons = Vec::new();
        for sender in &senders {
            for receiver in &receivers {
                let ways = match self.finder.paths(&sender.1, &receiver.1, case.traffic, &case.families) {
                    Ok(paths) => {
                        notes.extend(
                            paths
                                .out_of_reach
                                .iter()
                                .map(|(endpoint, reason)| format!("policy cannot reach {endpoint}: {reason}")),
                        );
                        paths.judged.into_iter().filter_map(|path| self.way(path, case.traffic)).collect()
                    }
                    Err(error @ Error::Itself(_)) => {
                        reasons.push(error.to_string());
                        continue;
                    }
                    Err(error @ Error::NoCommonFamily) => {
                        reasons.push(error.to_string());
                        Vec::new()
                    }
                    Err(error) => return Err(format!("{} -> {} cannot be judged: {error}", sender.0, receiver.0)),
                };
                let counts = |way: &Way<'_>| case.via.is_none_or(|via| via == way.via);
                let ways: Vec<Way<'_>> = ways.into_iter().filter(counts).collect();
                for way in &ways {
                    self.exercise(&way.verdict, Exercise::Case);
                }
                pairs.push(Pair { sender: sender.clone(), receiver: receiver.clone(), ways });
            }
        }
        notes.sort();
        notes.dedup();
        if pairs.iter().any(|pair| !pair.ways.is_empty()) {
            return Ok(pairs);
        }
        let reason = reasons.pop().unwrap_or_else(|| match case.via {
            Some(via) => format!("no way goes {}", word(via)),
            None => "another container has this port of the host: ask about that container".to_owned(),
        });
        Err(format!("asks about nothing: {reason}"))
    }

    /// A way as a connection of a client; `None` for one to a port of this host that is a container's.
    pub(super) fn way(&self, path: Path<'a>, traffic: Traffic) -> Option<Way<'a>> {
        let closed_by_docker = path.closed_by_docker();
        let via = match (&path.route, traffic) {
            (Route::ThroughPublishedPort { .. }, _) => Via::Proxy,
            (Route::ToHost { .. }, Traffic::Ports { protocol, destination, .. }) => {
                let containers = self.finder.endpoints().iter().map(|endpoint| endpoint.container);
                let mut published = containers.flat_map(|container| &container.published);
                let is_held = published.any(|port| {
                    let same = port.protocol == protocol && port.host_port == Some(destination);
                    same && port.is_at(path.packet.destination)
                });
                if is_held {
                    return None;
                }
                Via::Direct
            }
            (Route::FromOutside { .. }, _) => Via::Published,
            _ => Via::Direct,
        };
        let verdict = evaluate(&self.compiled.ruleset, &path.packet);
        Some(Way { path, via, verdict, closed_by_docker })
    }

    pub(super) fn exercise(&self, verdict: &Verdict, by: Exercise) {
        let matched = verdict.trace.iter().map(|hit| &*hit.comment);
        self.coverage.borrow_mut().exercise(self.compiled, matched, by);
    }

    /// Takes the rules for exercised that match a packet to any of these ports.
    pub(super) fn exercise_ports(&self, packet: &Packet, ports: PortSet, by: Exercise) {
        let evaluator = self.evaluator.get_or_init(|| Evaluator::new(&self.compiled.ruleset));
        let [source, destination] = [Side::Source, Side::Destination].map(|side| evaluator.view(packet, side));
        let ends = ports::Ends { source: &source, destination: &destination };
        for share in evaluator.divide(packet, ends, ports) {
            let matched = share.trace.iter().map(|rule| &*rule.comment);
            self.coverage.borrow_mut().exercise(self.compiled, matched, by);
        }
    }

    fn judge(&self, case: &Case, pairs: &[Pair<'_>], outcome: &mut Outcome) {
        let (mut failures, mut evidence) = (Vec::new(), None);
        let mut undenied: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for pair in pairs {
            let failure = if pair.is_open() == (case.expect == Decision::Allow) {
                case.by.as_ref().and_then(|by| self.decided_otherwise(case.expect, by, pair))
            } else {
                Some(self.contrary(case, pair))
            };
            if let Some(failure) = failure {
                failures.push(failure);
                evidence.get_or_insert_with(|| Evidence {
                    from: pair.sender.0.clone(),
                    to: pair.receiver.0.clone(),
                    sender: pair.sender.1.clone(),
                    receiver: pair.receiver.1.clone(),
                    traffic: case.traffic,
                    families: case.families.clone(),
                });
            }
            let mut allowed = pair.ways.iter().filter(|way| way.verdict.decision == Decision::Allow);
            let reason = allowed.find_map(|way| way.closed_by_docker);
            if let Some(reason) = reason.filter(|_| !pair.is_open() && case.expect == Decision::Deny) {
                undenied.entry(reason).or_default().push(pair.name());
            }
        }
        outcome.notes.extend(undenied.into_iter().map(|(reason, names)| match names.as_slice() {
            [first, others @ ..] if !others.is_empty() => {
                format!("no policy denies {first} and {} more: {reason}", others.len())
            }
            names => format!("no policy denies {}: {reason}", names.concat()),
        }));
        outcome.failures.extend(shortened(failures));
        outcome.notes = shortened(std::mem::take(&mut outcome.notes));
        outcome.evidence = evidence;
    }

    /// What is wrong with a pair that is open and should not be, or the other way round.
    fn contrary(&self, case: &Case, pair: &Pair<'_>) -> String {
        let sent = describe(case.traffic);
        let name = pair.name();
        match case.expect {
            Decision::Deny => match pair.ways.iter().find(|way| way.is_open()) {
                Some(way) => format!("{name} is open for {sent} {}: {}", way.in_words(), self.deciders(&way.verdict)),
                None => format!("{name} is open for {sent}"),
            },
            Decision::Allow => {
                let mut text = format!("{name} is closed for {sent}");
                if pair.ways.is_empty() {
                    text.push_str(": there is no way");
                }
                for (index, way) in pair.ways.iter().enumerate() {
                    let reason = match (&way.closed_by_docker, way.verdict.decision) {
                        (Some(reason), Decision::Allow) => format!("policy allows it, but {reason}"),
                        _ => self.deciders(&way.verdict),
                    };
                    let separator = if index == 0 { "" } else { ";" };
                    let _ = write!(text, "{separator} {}: {reason}", way.in_words());
                }
                text
            }
        }
    }

    /// The rules that decide, in words.
    fn deciders(&self, verdict: &Verdict) -> String {
        let deciding: Vec<String> = self.deciding(verdict).into_iter().map(origin).collect();
        if !deciding.is_empty() {
            return format!("by {}", deciding.join(" and "));
        }
        match verdict.trace.last().filter(|_| verdict.decision == Decision::Deny) {
            Some(hit) => format!("by dockgate's own rule `{}`", hit.comment),
            None => "by no policy".to_owned(),
        }
    }

    /// The rules of policies that decide: the one that denies, else those of both sides that allow.
    fn deciding(&self, verdict: &Verdict) -> Vec<&'a Origin> {
        let is_end = |hit: &&Hit| match verdict.decision {
            Decision::Allow => hit.action == Action::Return,
            Decision::Deny => matches!(hit.action, Action::Drop | Action::Reject),
        };
        verdict
            .trace
            .iter()
            .filter(is_end)
            .filter_map(|hit| self.compiled.origins.get(&hit.comment))
            .map(Arc::as_ref)
            .collect()
    }

    /// What decides about a pair that is as expected, if it is not what should.
    fn decided_otherwise(&self, expect: Decision, by: &By, pair: &Pair<'_>) -> Option<String> {
        let decided = pair.ways.iter().filter(|way| match expect {
            Decision::Allow => way.is_open(),
            Decision::Deny => true,
        });
        let by_another = decided.map(|way| &way.verdict).find(|verdict| {
            verdict.decision != expect || !self.deciding(verdict).into_iter().any(|origin| matches(by, origin))
        });
        by_another.map(|verdict| {
            let reason =
                if verdict.decision == expect { self.deciders(verdict) } else { "by Docker's rules alone".to_owned() };
            format!("{} is decided {reason}, not by {by}", pair.name())
        })
    }

    fn check_name(&self, by: &By) -> Result<(), String> {
        let enforced = || self.policies.policies.iter().filter(|policy| !policy.key.kind.is_staged());
        let mut named = enforced().filter(|policy| policy.key.to_string() == by.policy).peekable();
        if named.peek().is_none() {
            let known: Vec<String> = enforced().map(|policy| policy.key.to_string()).collect();
            let suggestion = did_you_mean(&by.policy, known.iter().map(String::as_str));
            let suggestion = suggestion.map(|text| format!(": {text}")).unwrap_or_default();
            return Err(format!("there is no policy `{}` that is enforced{suggestion}", by.policy));
        }
        let (Some(direction), Some(index)) = (by.direction, by.rule) else { return Ok(()) };
        let has_rule = named
            .any(|policy| policy.rules(direction).is_some_and(|rules| rules.iter().any(|rule| rule.index == index)));
        if has_rule { Ok(()) } else { Err(format!("there is no rule `{by}`")) }
    }
}

fn matches(by: &By, origin: &Origin) -> bool {
    origin.policy.to_string() == by.policy
        && by.direction.is_none_or(|direction| direction == origin.direction)
        && by.rule.is_none_or(|rule| origin.rule == Some(rule))
}

/// A rule with its place.
pub(super) fn origin(origin: &Origin) -> String {
    let Origin { policy, tier, direction, rule, location } = origin;
    match rule {
        Some(rule) => format!("{policy} {direction}[{rule}] ({location})"),
        None => format!("the end of tier {tier} after {policy}, {direction} ({location})"),
    }
}

pub(super) fn word(via: Via) -> &'static str {
    match via {
        Via::Direct => "directly",
        Via::Published => "through a published port",
        Via::Proxy => "through `docker-proxy`",
    }
}

/// The first of many, and how many more there are.
pub(super) fn shortened(mut all: Vec<String>) -> Vec<String> {
    if all.len() > TOLD {
        let more = all.len() - TOLD;
        all.truncate(TOLD);
        all.push(format!("and {more} more"));
    }
    all
}
