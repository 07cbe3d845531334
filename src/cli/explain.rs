//! `dockgate explain`: whether a flow is allowed, and by which rules.

mod answer;

use std::io::Write;

use clap::Args;

use crate::compile::{self, Options};
use crate::net::{Family, Protocol};
use crate::verdict::path::{self, End, Finder, Traffic};

pub(super) use answer::Decider;

use super::Outcome;
use super::failure::Failure;
use super::output::{AnswerFormat, json};
use super::world::{PolicyArguments, WorldArguments};

/// Say whether a connection is allowed, and which rule decides
///
/// Compiles the policies as `run` does and walks the very rules that the kernel gets. A connection can have several
/// ways: IPv4 and IPv6, and every network that both ends share; each is judged. Exit code 0: at least one way is open;
/// 1: all are denied; 2: the question has no answer.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Who connects: container, CONTAINER@NETWORK, address, or `host`
    #[arg(long, value_name = "END")]
    from: String,

    /// To whom: container, CONTAINER@NETWORK, address, or `host`
    #[arg(long, value_name = "END")]
    to: String,

    /// Port of the destination, as in 80/tcp, 53/udp or 80; the container's own when it is published under another
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

    #[command(flatten)]
    policies: PolicyArguments,

    #[command(flatten)]
    world: WorldArguments,
}

impl Arguments {
    pub(super) async fn execute(self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        let policies = self.policies.require()?;
        let inventory = self.world.inventory().await?;
        let find = |text: &str| End::find(&inventory, text).map_err(|error| self.unknown_end(&error));
        let (from, to) = (find(&self.from)?, find(&self.to)?);
        let families = self.ip_version.map_or(Family::ALL.to_vec(), |family| vec![family]);
        let traffic = self.traffic();
        let ways = Finder::new(&inventory).paths(&from, &to, traffic, &families)?;
        let compiled = compile::compile(&policies, &inventory, &Options::default());
        let verdicts = answer::judge(&compiled, &ways);
        let answer = answer::Answer::new(
            &answer::Question { from: &self.from, to: &self.to, traffic },
            &policies,
            &compiled,
            &ways,
            &verdicts,
        );
        match self.output {
            AnswerFormat::Json => json(output, &answer)?,
            AnswerFormat::Human => answer.write(output)?,
        }
        Ok(Outcome::from_clean(answer.is_open()))
    }

    fn traffic(&self) -> Traffic {
        match self.port {
            Some((destination, protocol)) => Traffic::Ports { protocol, source: self.source_port, destination },
            None => Traffic::EchoRequest,
        }
    }

    fn unknown_end(&self, error: &path::Error) -> anyhow::Error {
        let source = self.world.option().map(|option| format!(" with the same {option}")).unwrap_or_default();
        Failure {
            message: error.to_string(),
            help: format!("`dockgate get endpoints`{source} lists containers, networks and addresses"),
        }
        .into()
    }
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
