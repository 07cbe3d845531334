//! `dockgate plan`: what `run` would change in the kernel now.

use std::io::Write;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::compile::{self, DenyAction, Options};
use crate::dataplane::{self, Step, Variant};

use super::Outcome;
use super::output::{AnswerFormat, count, json};
use super::world::{KernelArguments, PolicyArguments, WorldArguments};

/// Show what `run` would change in the kernel now, and change nothing
///
/// Prints the steps as commands with the very input that they get. The options that shape rules must be those of the
/// controller. Exit code 0: the kernel holds what the policies say; 1: there are steps; 2: it cannot be told.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How a denied packet is answered
    #[arg(long, value_name = "ACTION", env = "DOCKGATE_DENY_ACTION", default_value = "drop")]
    deny_action: DenyAction,

    /// NFLOG group of Log rules
    #[arg(long, value_name = "N", env = "DOCKGATE_LOG_GROUP", default_value_t = Options::default().log_group)]
    log_group: u16,

    /// Form of the steps
    #[arg(short, long, value_enum, default_value_t = AnswerFormat::Human, value_name = "FORMAT")]
    output: AnswerFormat,

    #[command(flatten)]
    policies: PolicyArguments,

    #[command(flatten)]
    world: WorldArguments,

    #[command(flatten)]
    kernel: KernelArguments,
}

/// The documented JSON form.
#[derive(Serialize)]
struct Answer<'a> {
    variant: Variant,
    changes: bool,
    steps: &'a [Step],
    /// The same steps as commands.
    commands: Vec<String>,
    problems: Vec<String>,
}

impl Arguments {
    pub(super) async fn execute(self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        let policies = self.policies.require()?;
        let inventory = self.world.inventory().await?;
        let options = Options { deny_action: self.deny_action, log_group: self.log_group };
        let desired = compile::compile(&policies, &inventory, &options).ruleset;
        let mut kernel = self.kernel.open()?;
        let observed = kernel.observe_for(&desired).context("cannot read what the kernel holds")?;
        let steps = dataplane::plan(&observed, &desired);
        // What the steps would put right is no problem of theirs.
        let problems: Vec<String> =
            observed.after(&desired).problems(&desired).iter().map(ToString::to_string).collect();
        match self.output {
            AnswerFormat::Json => {
                let commands = steps.iter().map(ToString::to_string).collect();
                let changes = !steps.is_empty();
                json(output, &Answer { variant: kernel.variant(), changes, steps: &steps, commands, problems })?;
            }
            AnswerFormat::Human => {
                for step in &steps {
                    writeln!(output, "{step}\n")?;
                }
                for problem in &problems {
                    writeln!(output, "# problem: {problem}")?;
                }
                let variant = kernel.variant();
                match steps.len() {
                    0 => writeln!(output, "# nothing to change (iptables-{variant})")?,
                    number => writeln!(output, "# {} to take (iptables-{variant})", count(number, "step", "steps"))?,
                }
            }
        }
        Ok(Outcome::from_clean(steps.is_empty()))
    }
}
