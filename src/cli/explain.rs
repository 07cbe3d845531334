//! `dockgate explain`: whether a flow is allowed, and by which rules.

mod answer;
mod gate;
mod notes;
mod suggestion;
mod trace;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Write;

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use crate::compile::{self, DenyAction, Options};
use crate::dataplane::CountersByRule;
use crate::net::{Family, Protocol};
use crate::policy_test::Evidence;
use crate::ruleset::Hook;
use crate::verdict::Decision;
use crate::verdict::path::{self, End, Finder, Paths, Traffic};
use crate::verdict::reason::World;
use crate::verdict::remedy::remedy;

pub(super) use answer::Decider;

use super::Outcome;
use super::failure::Failure;
use super::output::{AnswerFormat, json};
use super::world::{KernelArguments, PolicyArguments, WorldArguments};

use answer::{Answer, Judged, Question};
use suggestion::Suggestion;

/// Say whether a connection is allowed, and which rule decides
///
/// Compiles the policies as `run` does and walks the very rules that the kernel gets. A connection can have several
/// ways: IPv4 and IPv6, and every network that both ends share; each is judged. The trace has every rule that was asked,
/// and what in it did not hold; for a way that is denied, the rules follow that would allow it, tried out before. Exit
/// code 0: at least one way is open; 1: all are denied, or closed by Docker's own rules; 2: the question has no answer.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Who connects: container, CONTAINER@NETWORK, address, or `host`
    #[arg(long, value_name = "END")]
    from: String,

    /// To whom: container, CONTAINER@NETWORK, address, or `host`
    #[arg(long, value_name = "END")]
    to: String,

    /// Port of the destination, as in 80/tcp, 53/udp or 80: of a container its own, of `host` the one that is published
    #[arg(long, value_name = "PORT", value_parser = port, required_unless_present = "ping")]
    port: Option<(u16, Protocol)>,

    /// Ask about a ping (ICMP echo request) instead of a port
    #[arg(long, conflicts_with = "port")]
    ping: bool,

    /// Port of the source
    #[arg(long, value_name = "PORT", default_value_t = 49152, value_parser = clap::value_parser!(u16).range(1..))]
    source_port: u16,

    /// Judge only this family
    #[arg(long, value_name = "4|6", value_parser = family)]
    ip_version: Option<Family>,

    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = AnswerFormat::Human, value_name = "FORMAT")]
    output: AnswerFormat,

    /// Show the chains, rules and sets of the kernel, too
    #[arg(long)]
    rules: bool,

    /// Add what the kernel has counted at the rules of the trace: packets that opened a flow, since the rule was written
    ///
    /// Needs the rights of `run`. The options that shape rules must be those of the controller, or its rules are not found.
    #[arg(long)]
    live: bool,

    /// How the controller answers a denied packet
    #[arg(long, value_name = "ACTION", env = "DOCKGATE_DENY_ACTION", default_value = "drop")]
    deny_action: DenyAction,

    /// NFLOG group of the controller's Log rules
    #[arg(long, value_name = "N", env = "DOCKGATE_LOG_GROUP", default_value_t = Options::default().log_group)]
    log_group: u16,

    #[command(flatten)]
    kernel: KernelArguments,

    #[command(flatten)]
    policies: PolicyArguments,

    #[command(flatten)]
    world: WorldArguments,
}

impl Arguments {
    pub(super) async fn execute(self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        let policies = self.policies.require()?;
        let inventory = self.world.inventory().await?;
        let find = |text: &str| End::find(&inventory, text).map_err(|error| self.failure(&error));
        let (from, to) = (find(&self.from)?, find(&self.to)?);
        let families = self.ip_version.map_or(Family::ALL.to_vec(), |family| vec![family]);
        let traffic = self.traffic();
        let ways = Finder::new(&inventory)
            .connections(&from, &to, traffic, &families)
            .map_err(|error| self.failure(&error))?;
        let options = Options { deny_action: self.deny_action, log_group: self.log_group };
        let compiled = compile::compile(&policies, &inventory, &options);
        let world = World { policies: &policies, inventory: &inventory, compiled: &compiled };
        let explanations: Vec<_> = ways.judged.iter().map(|path| world.explain(path)).collect();
        let counters = if self.live { Some(self.counters(world, &ways)?) } else { None };
        let judged = ways.judged.iter().zip(&explanations).enumerate().map(|(number, (path, explanation))| {
            let is_denied = explanation.verdict.decision == Decision::Deny;
            let suggestion = is_denied.then(|| Suggestion::new(remedy(world, path, &options)));
            let counters = counters.as_ref().and_then(|counters| counters.get(number).cloned());
            Judged { path, explanation, suggestion, counters }
        });
        let question = Question { from: &self.from, to: &self.to, receiver: &to, traffic };
        let answer = Answer::new(&question, world, &ways, judged.collect(), self.live);
        match self.output {
            AnswerFormat::Json => json(output, &answer)?,
            AnswerFormat::Human => answer.write(output, self.rules)?,
        }
        Ok(Outcome::from_clean(answer.is_open()))
    }

    /// What the kernel has counted, for every way; it is asked once for each family and hook.
    fn counters(&self, world: World<'_>, ways: &Paths<'_>) -> anyhow::Result<Vec<CountersByRule>> {
        let kernel = self.kernel.open()?;
        let mut read: BTreeMap<(Family, Hook), CountersByRule> = BTreeMap::new();
        for path in &ways.judged {
            let place = (path.family(), path.packet.hook);
            if let Entry::Vacant(entry) = read.entry(place) {
                let counters = kernel.counters(&world.compiled.ruleset, place.0, place.1);
                entry.insert(counters.context("cannot read the counters of the kernel")?);
            }
        }
        let of = |path: &path::Path<'_>| read.get(&(path.family(), path.packet.hook)).cloned().unwrap_or_default();
        Ok(ways.judged.iter().map(of).collect())
    }

    fn traffic(&self) -> Traffic {
        match self.port {
            Some((destination, protocol)) => Traffic::Ports { protocol, source: self.source_port, destination },
            None => Traffic::EchoRequest,
        }
    }

    /// Why there is no answer, and what to ask instead.
    fn failure(&self, error: &path::Error) -> anyhow::Error {
        let help = match error {
            path::Error::Published { container, container_port, protocol, .. } => format!(
                "ask about that container: `--to {container} --port {container_port}/{}`",
                protocol.to_string().to_ascii_lowercase()
            ),
            path::Error::NoContainer => "name a container as one of the ends".to_owned(),
            path::Error::NoNetwork(container) => format!(
                "nothing but its own loopback is in reach of it; `docker network connect NETWORK {container}` puts it on one"
            ),
            path::Error::Unspecified(_) => "name this host as `host`, a container, or one address".to_owned(),
            path::Error::Group(_) => {
                "ask about the containers one by one: what is sent to all of a network passes if the policies of all allow it"
                    .to_owned()
            }
            path::Error::LinkLocal(_) => "name the container, or take an address that it has from Docker".to_owned(),
            path::Error::Loopback(_) => {
                "for this host ask with `--to host`, and for another container with its name".to_owned()
            }
            path::Error::Itself(_) | path::Error::NoCommonFamily | path::Error::OutOfReach { .. } => {
                return error.clone().into();
            }
            path::Error::Unknown(_) | path::Error::Ambiguous(_) | path::Error::NotAttached { .. } => {
                let source = self.world.option().map(|option| format!(" with the same {option}")).unwrap_or_default();
                format!("`dockgate get endpoints`{source} lists containers, networks and addresses")
            }
        };
        Failure { message: error.to_string(), help }.into()
    }
}

/// The answer about a connection of a test, for people and for machines. `None` where it has no way.
pub(super) fn evidence(world: World<'_>, evidence: &Evidence) -> anyhow::Result<Option<(String, Value)>> {
    let Evidence { from, to, sender, receiver, traffic, families } = evidence;
    let Ok(ways) = Finder::new(world.inventory).connections(sender, receiver, *traffic, families) else {
        return Ok(None);
    };
    let explanations: Vec<_> = ways.judged.iter().map(|path| world.explain(path)).collect();
    let judged = ways.judged.iter().zip(&explanations).map(|(path, explanation)| {
        let is_denied = explanation.verdict.decision == Decision::Deny;
        let suggestion = is_denied.then(|| Suggestion::new(remedy(world, path, &Options::default())));
        Judged { path, explanation, suggestion, counters: None }
    });
    let answer =
        Answer::new(&Question { from, to, receiver, traffic: *traffic }, world, &ways, judged.collect(), false);
    let mut text = Vec::new();
    answer.write(&mut text, false)?;
    let value = serde_json::to_value(&answer).context("cannot print the trace as JSON")?;
    Ok(Some((String::from_utf8_lossy(&text).into_owned(), value)))
}

/// Reads `PORT` or `PORT/PROTOCOL`; the protocol's case does not matter here, as with `docker run --publish`.
pub(super) fn port(text: &str) -> Result<(u16, Protocol), String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::TCP,
        "udp" => Protocol::UDP,
        "sctp" => Protocol::SCTP,
        _ => return Err("the protocol is tcp, udp or sctp; a ping is asked for with --ping".to_owned()),
    };
    match number.parse() {
        Ok(number) if number > 0 => Ok((number, protocol)),
        _ => Err("a port is a number from 1 to 65535, with a protocol after a slash: 80/tcp".to_owned()),
    }
}

fn family(text: &str) -> Result<Family, String> {
    let family = Family::ALL.into_iter().find(|family| text == family.digit().to_string());
    family.ok_or_else(|| "the family is 4 or 6".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_with_and_without_protocol() {
        for (text, expected) in
            [("80", (80, Protocol::TCP)), ("53/UDP", (53, Protocol::UDP)), ("9/sctp", (9, Protocol::SCTP))]
        {
            assert_eq!(port(text), Ok(expected), "{text}");
        }
        for text in ["0", "65536", "http", "80/icmp", "80/", "/tcp", ""] {
            assert!(port(text).is_err(), "{text}");
        }
    }
}
