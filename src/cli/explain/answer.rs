//! The answer of `dockgate explain`, as data and as text.

use std::io::{self, Write};
use std::path::Path as FilePath;

use serde::Serialize;

use crate::compile::{Compiled, Origin, policies_of};
use crate::dataplane::{Counters, CountersByRule};
use crate::inventory::Endpoint;
use crate::net::Family;
use crate::policy::{Direction, PolicyKind};
use crate::ruleset::Action;
use crate::verdict::path::{End, Path, Paths, Route, Traffic};
use crate::verdict::reason::{Explanation, World};
use crate::verdict::{Decision, Hit, Packet};

use crate::cli::output::{BAD, GOOD, REMARK, printable};

use super::gate::Refusal;
use super::notes::notes;
use super::suggestion::Suggestion;
use super::trace::{Asking, Count, Set, counted};

/// What was asked, in the user's words.
pub(super) struct Question<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) receiver: &'a End,
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
    /// Whether policy allows a way, but Docker's own rules close all that it allows.
    closed_by_docker: bool,
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
    /// Whether Docker's own rules close it, whatever policy says.
    closed_by_docker: bool,
    /// Why they do.
    remark: Option<&'static str>,
    /// What else is worth knowing, for people.
    notes: Vec<String>,
    /// What policy says.
    decision: &'static str,
    packet: &'a Packet,
    /// What the source's policies say; absent when the source is no container here.
    egress: Option<Judgement<'a>>,
    /// What the destination's policies say; absent when the destination is no container here.
    ingress: Option<Judgement<'a>>,
    /// The fixed rule that denied before or beside all policy.
    fixed: Option<&'a str>,
    /// What that means, if it is one of the gate: sentences, for people.
    gate: Option<Refusal>,
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
        let out_of_reach = ways
            .out_of_reach
            .iter()
            .map(|(endpoint, reason)| OutOfReach { endpoint: endpoint.clone(), reason: reason.to_string() });
        let (protocol, port) = match question.traffic {
            Traffic::Ports { protocol, destination, .. } => (protocol.to_string(), Some(destination)),
            Traffic::EchoRequest => ("ICMP".to_owned(), None),
        };
        let paths: Vec<_> = judged.into_iter().map(|way| Way::new(world, question, way)).collect();
        let open = paths.iter().any(Way::is_open);
        Answer {
            from: question.from,
            to: question.to,
            protocol,
            port,
            decision: word(if open { Decision::Allow } else { Decision::Deny }),
            closed_by_docker: !open && paths.iter().any(Way::is_allowed),
            live,
            paths,
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
            for note in &way.notes {
                writeln!(output, "  {REMARK}note{REMARK:#}: {}", printable(note))?;
            }
            way.write_help(output, &self.paths[..number])?;
        }
        if self.paths.len() > 1 {
            let open = self.paths.iter().filter(|way| way.is_open()).count();
            write!(output, "\n{open} of {} ways open", self.paths.len())?;
            match self.paths.iter().filter(|way| way.is_allowed() && way.closed_by_docker).count() {
                0 => writeln!(output)?,
                closed => writeln!(output, ", {closed} allowed by policy and closed by Docker")?,
            }
        }
        if self.closed_by_docker {
            writeln!(
                output,
                "\n{BAD}closed{BAD:#}: policy allows it, but by no way that Docker's own rules leave open"
            )?;
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
        let (style, decision) = match way.decision {
            _ if way.is_open() => (GOOD, way.decision),
            _ if way.is_allowed() => (BAD, "closed"),
            decision => (BAD, decision),
        };
        let (from, to) = (printable(self.from), printable(self.to));
        writeln!(output, "{style}{decision}{style:#}  {from} -> {to}, {sent}, {}, {}", way.ip_version, way.route)?;
        writeln!(output, "  packet   {source} -> {destination} in {}", way.packet.hook.kernel_chain())?;
        for (name, judgement) in [("egress ", &way.egress), ("ingress", &way.ingress)] {
            if let Some(judgement) = judgement {
                judgement.write(output, name)?;
            }
        }
        match (&way.gate, way.fixed) {
            (Some(gate), _) => writeln!(output, "  denied by dockgate's gate: {}", printable(&gate.reason))?,
            (None, Some(fixed)) => writeln!(output, "  denied by dockgate's own rule: {}", printable(fixed))?,
            (None, None) => {}
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
    fn new(world: World<'a>, question: &Question<'_>, way: Judged<'a>) -> Way<'a> {
        let Judged { path, explanation, suggestion, counters } = way;
        let (compiled, verdict, counters) = (world.compiled, &explanation.verdict, counters.as_ref());
        let judgement = |endpoint: &Option<Endpoint<'_>>, direction| {
            let mut askings = explanation.askings.iter().filter(|asking| asking.direction == direction);
            let asked = askings.clone().map(|asking| Asking::new(asking, counters)).collect();
            // Behind a published port each endpoint of the container is asked about: the last one decides.
            let endpoint = askings.next_back().map(|asking| &asking.endpoint).or(endpoint.as_ref());
            let found = |endpoint| Judgement::new(world, path, endpoint, direction, (&verdict.trace, asked));
            endpoint.map(found)
        };
        let last = verdict.trace.last();
        let denied = verdict.decision == Decision::Deny;
        let fixed = last.filter(|hit| denied && !compiled.origins.contains_key(&hit.comment));
        Way {
            ip_version: path.family(),
            route: &path.route,
            closed_by_docker: path.closed_by_docker().is_some(),
            remark: path.route.closed_by_docker(),
            notes: notes(path, question.receiver, question.traffic),
            decision: word(verdict.decision),
            packet: &path.packet,
            egress: judgement(&path.source, Direction::Egress),
            ingress: judgement(&path.destination, Direction::Ingress),
            fixed: fixed.map(|hit| &*hit.comment),
            gate: fixed.and_then(|hit| Refusal::new(&hit.comment, path, world.inventory)),
            trace: verdict.trace.iter().map(|hit| Traced::new(compiled, hit, counters)).collect(),
            sets: explanation.sets.iter().map(Set::new).collect(),
            suggestion,
        }
    }

    /// What would allow it, unless that was said of a way before.
    fn write_help(&self, output: &mut dyn Write, before: &[Way<'_>]) -> io::Result<()> {
        let help = |way: &Way<'_>| way.gate.as_ref().map(|gate| gate.help.clone());
        let Some(suggestion) = &self.suggestion else { return Ok(()) };
        if before.iter().any(|way| help(way) == help(self) && way.suggestion.as_ref() == Some(suggestion)) {
            return writeln!(output, "  {REMARK}help{REMARK:#}: as above");
        }
        match help(self) {
            Some(help) => writeln!(output, "  {REMARK}help{REMARK:#}: {}", printable(&help)),
            None => suggestion.write(output),
        }
    }

    /// Whether policy allows it.
    fn is_allowed(&self) -> bool {
        self.decision == word(Decision::Allow)
    }

    /// Whether the connection comes about by it.
    fn is_open(&self) -> bool {
        self.is_allowed() && !self.closed_by_docker
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
            decided_by: decider.and_then(|hit| compiled.origins.get(&hit.comment)).map(|origin| Decider::new(origin)),
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
        let kind = PolicyKind::in_words(self.kind);
        match self.rule {
            Some(rule) => write!(f, "{kind} {} {}[{rule}]", self.policy, self.direction)?,
            None => write!(f, "no rule matched; end of tier {} after {kind} {}", self.tier, self.policy)?,
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
            origin: compiled.origins.get(&hit.comment).map(|origin| Decider::new(origin)),
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
