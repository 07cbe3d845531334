//! The answer of `dockgate explain`, as data and as text.

use std::io::{self, Write};
use std::path::Path as FilePath;

use serde::Serialize;

use crate::compile::{Compiled, Origin, policies_of};
use crate::dataplane::{Counters, CountersByRule};
use crate::inventory::Endpoint;
use crate::net::Family;
use crate::policy::Direction;
use crate::ruleset::Action;
use crate::verdict::path::{Path, Paths, Route, Traffic};
use crate::verdict::reason::{Explanation, World};
use crate::verdict::{Decision, Hit, Packet};

use crate::cli::output::{BAD, GOOD, REMARK, printable};

use super::suggestion::Suggestion;
use super::trace::{Asking, Count, Set, counted};

/// What was asked, in the user's words.
pub(super) struct Question<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) traffic: Traffic,
}

/// One way, judged.
pub(super) struct Judged<'a> {
    pub(super) path: &'a Path<'a>,
    pub(super) explanation: &'a Explanation<'a>,
    /// What would have allowed it, if it is denied.
    pub(super) suggestion: Option<Suggestion>,
    /// What the kernel has counted, if it was asked.
    pub(super) counters: Option<CountersByRule>,
}

/// The documented JSON form.
#[derive(Debug, Serialize)]
pub(super) struct Answer<'a> {
    from: &'a str,
    to: &'a str,
    protocol: String,
    port: Option<u16>,
    /// `allow` if one of the ways is open.
    decision: &'static str,
    /// Whether the counters of the kernel were read.
    live: bool,
    paths: Vec<Way<'a>>,
    /// Endpoints by which the flow may go without being judged.
    out_of_reach: Vec<OutOfReach>,
}

/// One way and its verdict.
#[derive(Debug, Serialize)]
struct Way<'a> {
    ip_version: Family,
    route: &'a Route,
    /// What Docker's own rules add.
    remark: Option<&'static str>,
    decision: &'static str,
    packet: &'a Packet,
    /// What the source's policies say; absent when the source is no container here.
    egress: Option<Judgement<'a>>,
    /// What the destination's policies say; absent when the destination is no container here.
    ingress: Option<Judgement<'a>>,
    /// The fixed rule that denied before or beside all policy.
    fixed: Option<&'a str>,
    /// The rules of the kernel that matched, in order.
    trace: Vec<Traced<'a>>,
    /// The sets that were asked on the way, in order.
    sets: Vec<Set>,
    /// What would have allowed it; absent when it is allowed.
    suggestion: Option<Suggestion>,
}

/// One direction of policy at one endpoint.
#[derive(Debug, Serialize)]
struct Judgement<'a> {
    endpoint: String,
    /// `allow`, `deny`, `open` when no policy governs the direction, `unasked` when it was denied before, `exempt`
    /// when this host sends, which policy on its containers is not asked about, or `missed` when the rules let pass what
    /// they should have asked about, which is a defect.
    result: &'static str,
    /// The policies that govern it, in the order in which they are asked.
    policies: Vec<String>,
    /// The rule that decided.
    decided_by: Option<Decider<'a>>,
    /// Every time that the policies were asked, tier by tier and rule by rule up to the one that decided. On the way to a
    /// published port that is more than once.
    asked: Vec<Asking<'a>>,
}

/// Where a rule stands.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Decider<'a> {
    policy: String,
    kind: &'static str,
    tier: &'a str,
    /// Index in the policy's list of that direction; absent when the tier's default action decided.
    rule: Option<usize>,
    direction: Direction,
    #[serde(serialize_with = "crate::policy::location::serialize_file")]
    file: &'a FilePath,
    line: u32,
    column: u32,
}

/// A rule that matched, with its origin in the files.
#[derive(Debug, Serialize)]
struct Traced<'a> {
    chain: &'a str,
    index: usize,
    comment: &'a str,
    action: String,
    origin: Option<Decider<'a>>,
    /// Absent without `--live`, and where the kernel does not hold the rule.
    counters: Option<Counters>,
}

#[derive(Debug, Serialize)]
struct OutOfReach {
    endpoint: String,
    reason: String,
}

impl<'a> Answer<'a> {
    /// Puts what was found out about every way into words.
    pub(super) fn new(
        question: &Question<'a>,
        world: World<'a>,
        ways: &'a Paths<'a>,
        judged: Vec<Judged<'a>>,
        live: bool,
    ) -> Answer<'a> {
        let open = judged.iter().any(|way| way.explanation.verdict.decision == Decision::Allow);
        let out_of_reach = ways
            .out_of_reach
            .iter()
            .map(|(endpoint, reason)| OutOfReach { endpoint: endpoint.clone(), reason: reason.to_string() });
        let (protocol, port) = match question.traffic {
            Traffic::Ports { protocol, destination, .. } => (protocol.to_string(), Some(destination)),
            Traffic::EchoRequest => ("ICMP".to_owned(), None),
        };
        Answer {
            from: question.from,
            to: question.to,
            protocol,
            port,
            decision: word(if open { Decision::Allow } else { Decision::Deny }),
            live,
            paths: judged.into_iter().map(|way| Way::new(world, way)).collect(),
            out_of_reach: out_of_reach.collect(),
        }
    }

    /// Whether one of the ways is open.
    pub(super) fn is_open(&self) -> bool {
        self.decision == word(Decision::Allow)
    }

    /// Prints it for people.
    pub(super) fn write(&self, output: &mut dyn Write, with_rules: bool) -> io::Result<()> {
        for (number, way) in self.paths.iter().enumerate() {
            if number > 0 {
                writeln!(output)?;
            }
            self.write_way(output, way)?;
            if with_rules {
                way.write_rules(output, self.live)?;
            }
            if let Some(remark) = way.remark {
                writeln!(output, "  {REMARK}note{REMARK:#}: {remark}")?;
            }
            match &way.suggestion {
                Some(known) if self.paths[..number].iter().any(|way| way.suggestion.as_ref() == Some(known)) => {
                    writeln!(output, "  {REMARK}help{REMARK:#}: as above")?;
                }
                Some(suggestion) => suggestion.write(output)?,
                None => {}
            }
        }
        if self.paths.len() > 1 {
            let open = self.paths.iter().filter(|way| way.decision == word(Decision::Allow)).count();
            writeln!(output, "\n{open} of {} ways open", self.paths.len())?;
        }
        for OutOfReach { endpoint, reason } in &self.out_of_reach {
            let (endpoint, reason) = (printable(endpoint), printable(reason));
            writeln!(output, "\n{REMARK}note{REMARK:#}: policy cannot reach {endpoint}: {reason}")?;
        }
        Ok(())
    }

    fn write_way(&self, output: &mut dyn Write, way: &Way<'_>) -> io::Result<()> {
        let Packet { source, destination, .. } = way.packet;
        let sent = match self.port {
            Some(port) => format!("{} port {port}", self.protocol),
            None => "ping".to_owned(),
        };
        let style = if way.decision == word(Decision::Allow) { GOOD } else { BAD };
        let (from, to) = (printable(self.from), printable(self.to));
        writeln!(
            output,
            "{style}{}{style:#}  {from} -> {to}, {sent}, {}, {}",
            way.decision, way.ip_version, way.route
        )?;
        writeln!(output, "  packet   {source} -> {destination} in {}", way.packet.hook.kernel_chain())?;
        for (name, judgement) in [("egress ", &way.egress), ("ingress", &way.ingress)] {
            if let Some(judgement) = judgement {
                judgement.write(output, name)?;
            }
        }
        if let Some(fixed) = way.fixed {
            writeln!(output, "  denied by dockgate's own rule: {}", printable(fixed))?;
        }
        let sides = [(Direction::Egress, &way.egress), (Direction::Ingress, &way.ingress)];
        if sides.iter().any(|(_, side)| side.as_ref().is_some_and(|judgement| !judgement.asked.is_empty())) {
            writeln!(output, "  trace")?;
        }
        for (direction, judgement) in sides {
            for asking in judgement.iter().flat_map(|judgement| &judgement.asked) {
                asking.write(output, direction, self.live)?;
            }
        }
        Ok(())
    }
}

impl<'a> Way<'a> {
    fn new(world: World<'a>, way: Judged<'a>) -> Way<'a> {
        let Judged { path, explanation, suggestion, counters } = way;
        let (compiled, verdict, counters) = (world.compiled, &explanation.verdict, counters.as_ref());
        let judgement = |endpoint: &Option<Endpoint<'_>>, direction| {
            let asked = explanation.askings.iter().filter(|asking| asking.direction == direction);
            let asked = asked.map(|asking| Asking::new(asking, counters)).collect();
            let found = |endpoint| Judgement::new(world, path, endpoint, direction, (&verdict.trace, asked));
            endpoint.as_ref().map(found)
        };
        let last = verdict.trace.last();
        let denied = verdict.decision == Decision::Deny;
        let fixed = last.filter(|hit| denied && !compiled.origins.contains_key(&hit.comment));
        Way {
            ip_version: path.family(),
            route: &path.route,
            remark: path.route.remark(),
            decision: word(verdict.decision),
            packet: &path.packet,
            egress: judgement(&path.source, Direction::Egress),
            ingress: judgement(&path.destination, Direction::Ingress),
            fixed: fixed.map(|hit| hit.comment.as_str()),
            trace: verdict.trace.iter().map(|hit| Traced::new(compiled, hit, counters)).collect(),
            sets: explanation.sets.iter().map(Set::new).collect(),
            suggestion,
        }
    }

    /// The chains, rules and sets of the kernel.
    fn write_rules(&self, output: &mut dyn Write, live: bool) -> io::Result<()> {
        writeln!(output, "  rules that matched")?;
        for Traced { chain, index, comment, action, counters, .. } in &self.trace {
            let count = Count(*counters, live);
            writeln!(output, "    {chain}[{index}]  {action}  {}{count}", printable(comment))?;
        }
        if !self.sets.is_empty() {
            writeln!(output, "  sets that were asked")?;
        }
        self.sets.iter().try_for_each(|set| set.write(output))
    }
}

impl<'a> Judgement<'a> {
    fn new(
        world: World<'a>,
        path: &Path<'_>,
        endpoint: &Endpoint<'_>,
        direction: Direction,
        (trace, asked): (&'a [Hit], Vec<Asking<'a>>),
    ) -> Judgement<'a> {
        let compiled = world.compiled;
        let governing = policies_of(world.policies, endpoint, direction);
        let of_direction = |hit: &&Hit| compiled.origins.get(&hit.comment).is_some_and(|o| o.direction == direction);
        let decider = trace.iter().rev().find(of_direction);
        let result = match decider {
            _ if governing.is_empty() => "open",
            Some(hit) if matches!(hit.action, Action::Drop | Action::Reject) => word(Decision::Deny),
            Some(hit) if hit.action == Action::Return => word(Decision::Allow),
            _ if trace.last().is_some_and(|hit| matches!(hit.action, Action::Drop | Action::Reject)) => "unasked",
            _ if matches!(path.route, Route::FromHost { .. }) => "exempt",
            _ => "missed",
        };
        Judgement {
            endpoint: endpoint.name(),
            result,
            policies: governing.iter().map(|policy| policy.key.to_string()).collect(),
            decided_by: decider.and_then(|hit| compiled.origins.get(&hit.comment)).map(Decider::new),
            asked,
        }
    }

    fn write(&self, output: &mut dyn Write, name: &str) -> io::Result<()> {
        let endpoint = printable(&self.endpoint);
        match &self.decided_by {
            Some(decider) => writeln!(output, "  {name}  {} at {endpoint}: {decider}", self.result),
            None if self.result == "open" => writeln!(output, "  {name}  open at {endpoint}: no policy governs it"),
            None if self.result == "exempt" => {
                writeln!(output, "  {name}  not asked at {endpoint}: this host may always reach its containers")
            }
            None if self.result == "missed" => writeln!(
                output,
                "  {name}  NOT ASKED at {endpoint}, although {} governs it: a defect of dockgate, please report it",
                printable(&self.policies.join(", "))
            ),
            None => writeln!(output, "  {name}  not asked at {endpoint}: denied before"),
        }
    }
}

impl<'a> Decider<'a> {
    /// The place of a rule of the ruleset.
    pub(in crate::cli) fn new(origin: &'a Origin) -> Decider<'a> {
        Decider {
            policy: origin.policy.to_string(),
            kind: origin.policy.kind.name(),
            tier: &origin.tier,
            rule: origin.rule,
            direction: origin.direction,
            file: &origin.location.file,
            line: origin.location.line,
            column: origin.location.column,
        }
    }
}

impl std::fmt::Display for Decider<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.rule {
            Some(rule) => write!(f, "{} {} {}[{rule}]", self.kind, self.policy, self.direction)?,
            None => write!(f, "no rule matched; end of tier {} after {} {}", self.tier, self.kind, self.policy)?,
        }
        write!(f, " ({}:{}:{})", printable(&self.file.to_string_lossy()), self.line, self.column)
    }
}

impl<'a> Traced<'a> {
    fn new(compiled: &'a Compiled, hit: &'a Hit, counters: Option<&CountersByRule>) -> Traced<'a> {
        Traced {
            chain: hit.chain.as_str(),
            index: hit.index,
            comment: &hit.comment,
            action: action(&hit.action),
            origin: compiled.origins.get(&hit.comment).map(Decider::new),
            counters: counted(counters, &hit.chain, &[hit.index]),
        }
    }
}

/// An action as `iptables -S` writes it.
fn action(action: &Action) -> String {
    match action {
        Action::Return => "-j RETURN".to_owned(),
        Action::Drop => "-j DROP".to_owned(),
        Action::Reject => "-j REJECT".to_owned(),
        Action::Jump(chain) => format!("-j {chain}"),
        Action::Goto(chain) => format!("-g {chain}"),
        Action::Log { group, .. } => format!("-j NFLOG --nflog-group {group}"),
    }
}

fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny",
    }
}
