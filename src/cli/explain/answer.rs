//! The answer of `dockgate explain`, as data and as text.

use std::io::{self, Write};
use std::path::Path as FilePath;

use serde::Serialize;

use crate::compile::{Compiled, Origin, policies_of};
use crate::inventory::Endpoint;
use crate::net::Family;
use crate::policy::{Direction, PolicySet};
use crate::ruleset::Action;
use crate::verdict::path::{Path, Paths, Route, Traffic};
use crate::verdict::{Decision, Hit, Packet, Verdict, evaluate};

use crate::cli::output::{BAD, GOOD, REMARK, printable};

/// What was asked, in the user's words.
pub(super) struct Question<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) traffic: Traffic,
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
    trace: Vec<Traced<'a>>,
}

/// One direction of policy at one endpoint.
#[derive(Debug, Serialize)]
struct Judgement<'a> {
    endpoint: String,
    /// `allow`, `deny`, `open` when no policy governs the direction, `unasked` when the other side denied first, or
    /// `missed` when the rules let pass what they should have asked about, which is a defect.
    result: &'static str,
    /// The policies that govern it, in the order in which they are asked.
    policies: Vec<String>,
    /// The rule that decided.
    decided_by: Option<Decider<'a>>,
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
}

#[derive(Debug, Serialize)]
struct OutOfReach {
    endpoint: String,
    reason: String,
}

impl<'a> Answer<'a> {
    /// Puts the verdicts of [`judge`], one for every way, into words.
    pub(super) fn new(
        question: &Question<'a>,
        policies: &PolicySet,
        compiled: &'a Compiled,
        ways: &'a Paths<'a>,
        verdicts: &'a [Verdict],
    ) -> Answer<'a> {
        let judged: Vec<_> = ways
            .judged
            .iter()
            .zip(verdicts)
            .map(|(path, verdict)| Way::new(policies, compiled, path, verdict))
            .collect();
        let open = verdicts.iter().any(|verdict| verdict.decision == Decision::Allow);
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
            paths: judged,
            out_of_reach: out_of_reach.collect(),
        }
    }

    /// Whether one of the ways is open.
    pub(super) fn is_open(&self) -> bool {
        self.decision == word(Decision::Allow)
    }

    /// Prints it for people.
    pub(super) fn write(&self, output: &mut dyn Write) -> io::Result<()> {
        for (number, way) in self.paths.iter().enumerate() {
            if number > 0 {
                writeln!(output)?;
            }
            self.write_way(output, way)?;
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
        writeln!(output, "  trace")?;
        for Traced { chain, index, comment, action, .. } in &way.trace {
            writeln!(output, "    {chain}[{index}]  {action}  {}", printable(comment))?;
        }
        if let Some(remark) = way.remark {
            writeln!(output, "  {REMARK}note{REMARK:#}: {remark}")?;
        }
        Ok(())
    }
}

/// The verdict of every way.
pub(super) fn judge(compiled: &Compiled, ways: &Paths<'_>) -> Vec<Verdict> {
    ways.judged.iter().map(|path| evaluate(&compiled.ruleset, &path.packet)).collect()
}

impl<'a> Way<'a> {
    fn new(policies: &PolicySet, compiled: &'a Compiled, path: &'a Path<'a>, verdict: &'a Verdict) -> Way<'a> {
        let judgement = |endpoint: &Option<Endpoint<'_>>, direction| {
            endpoint.as_ref().map(|endpoint| Judgement::new(policies, compiled, endpoint, direction, verdict))
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
            trace: verdict.trace.iter().map(|hit| Traced::new(compiled, hit)).collect(),
        }
    }
}

impl<'a> Judgement<'a> {
    fn new(
        policies: &PolicySet,
        compiled: &'a Compiled,
        endpoint: &Endpoint<'_>,
        direction: Direction,
        verdict: &'a Verdict,
    ) -> Judgement<'a> {
        let governing = policies_of(policies, endpoint, direction);
        let of_direction = |hit: &&Hit| compiled.origins.get(&hit.comment).is_some_and(|o| o.direction == direction);
        let decider = verdict.trace.iter().rev().find(of_direction);
        let result = match decider {
            _ if governing.is_empty() => "open",
            Some(hit) if matches!(hit.action, Action::Drop | Action::Reject) => word(Decision::Deny),
            Some(hit) if hit.action == Action::Return => word(Decision::Allow),
            _ if verdict.decision == Decision::Allow => "missed",
            _ => "unasked",
        };
        Judgement {
            endpoint: endpoint.name(),
            result,
            policies: governing.iter().map(|policy| policy.key.to_string()).collect(),
            decided_by: decider.and_then(|hit| compiled.origins.get(&hit.comment)).map(Decider::new),
        }
    }

    fn write(&self, output: &mut dyn Write, name: &str) -> io::Result<()> {
        let endpoint = printable(&self.endpoint);
        match &self.decided_by {
            Some(decider) => writeln!(output, "  {name}  {} at {endpoint}: {decider}", self.result),
            None if self.result == "open" => writeln!(output, "  {name}  open at {endpoint}: no policy governs it"),
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
    fn new(compiled: &'a Compiled, hit: &'a Hit) -> Traced<'a> {
        Traced {
            chain: hit.chain.as_str(),
            index: hit.index,
            comment: &hit.comment,
            action: action(&hit.action),
            origin: compiled.origins.get(&hit.comment).map(Decider::new),
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
