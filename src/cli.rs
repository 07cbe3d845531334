//! The command line: one file per subcommand, and the only place where the doors to the world are wired together.
//!
//! Input: arguments. Output: text on standard output, which is the answer; remarks and the log on standard error; and
//! an exit code that is part of the answer: 0 yes or clean, 1 no or found something, 2 could not run.

mod cleanup;
mod completions;
mod connectivity;
mod crds;
mod diagnostics;
mod diff;
mod explain;
mod explain_code;
mod failure;
mod file;
mod get;
mod man;
mod output;
mod plan;
mod report_options;
mod restore;
mod run;
mod schema;
mod status;
mod test;
mod validate;
mod world;

use std::io::Write;

use anstream::ColorChoice;
use anyhow::Context;
use clap::builder::PossibleValue;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::telemetry::{Format, Level, Log};

pub use failure::report;

/// Where the state directory is unless told otherwise.
const STATE_DIRECTORY: &str = "/var/lib/dockgate";

/// The text below every command's help.
const EXIT_CODES: &str = "Exit codes: 0 yes or clean; 1 no, denied or something found; 2 could not run.";

/// Kubernetes-style network policy for plain Docker hosts.
///
/// Reads NetworkPolicy files (projectcalico.org/v3 and networking.k8s.io/v1), resolves their selectors to containers
/// through the Docker API, and enforces the result with iptables and ipsets.
#[derive(Debug, Parser)]
#[command(name = "dockgate", version, after_help = EXIT_CODES, max_term_width = 120, infer_long_args = false)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalOptions,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct GlobalOptions {
    /// When to use colours; `auto` is: on a terminal that wants them
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", value_parser = ["auto", "always", "never"])]
    color: String,

    /// Log more; twice for every detail
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with_all = ["quiet", "log_level"])]
    verbose: u8,

    /// Log less; twice for errors only
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "log_level")]
    quiet: u8,

    /// Log this much, whatever `RUST_LOG` says
    #[arg(long, global = true, value_name = "LEVEL", env = "DOCKGATE_LOG_LEVEL")]
    log_level: Option<Level>,

    /// Form of the log on standard error
    #[arg(long, global = true, value_name = "FORMAT", env = "DOCKGATE_LOG_FORMAT", default_value = "text")]
    log_format: Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Validate(validate::Arguments),
    Diff(diff::Arguments),
    Test(test::Arguments),
    Explain(explain::Arguments),
    ExplainCode(explain_code::Arguments),
    Connectivity(connectivity::Arguments),
    Plan(plan::Arguments),
    Get(get::Arguments),
    Status(status::Arguments),
    Restore(restore::Arguments),
    Cleanup(cleanup::Arguments),
    Crds(crds::Arguments),
    Schema(schema::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// What a command that could run found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Yes, clean, allowed, in sync, nothing to do.
    Yes,
    /// No, findings, denied, out of sync, something to do.
    No,
}

impl Outcome {
    fn from_clean(clean: bool) -> Outcome {
        if clean { Outcome::Yes } else { Outcome::No }
    }
}

impl Cli {
    /// When standard output and standard error get colours; to be made global before anything is written.
    pub fn colour(&self) -> ColorChoice {
        match self.global.color.as_str() {
            "always" => ColorChoice::Always,
            "never" => ColorChoice::Never,
            _ => ColorChoice::Auto,
        }
    }

    /// Runs the command to its end.
    pub fn execute(self) -> anyhow::Result<Outcome> {
        self.global.log(&self.command, self.colour()).install().context("cannot set up the log")?;
        let mut output = output::Output::new();
        let outcome = self.execute_into(&mut output)?;
        output.flush().context("cannot write to standard output")?;
        Ok(outcome)
    }

    /// Runs the command to its end with its answer to `output`, and sets up no log: for a process that runs several.
    pub fn execute_into(self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the asynchronous runtime")?;
        runtime.block_on(self.command.execute(output))
    }
}

impl GlobalOptions {
    fn log(&self, command: &Command, colour: ColorChoice) -> Log {
        const LEVELS: [Level; 5] = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
        // The controller tells its story; a command that answers a question tells only what went wrong on the way.
        let default_level = if matches!(command, Command::Run(_)) { Level::Info } else { Level::Warn };
        let moved = (self.verbose != 0 || self.quiet != 0).then(|| {
            let start = LEVELS.iter().position(|level| *level == default_level).unwrap_or_default();
            let index = (start + usize::from(self.verbose)).saturating_sub(usize::from(self.quiet));
            LEVELS[index.min(LEVELS.len() - 1)]
        });
        let colour = match colour {
            ColorChoice::Always | ColorChoice::AlwaysAnsi => Some(true),
            ColorChoice::Never => Some(false),
            ColorChoice::Auto => None,
        };
        Log { level: moved.or(self.log_level), default_level, format: self.log_format, colour }
    }
}

impl Command {
    async fn execute(self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        match self {
            Command::Run(arguments) => arguments.execute().await,
            Command::Validate(arguments) => arguments.execute(output),
            Command::Diff(arguments) => arguments.execute(output).await,
            Command::Test(arguments) => arguments.execute(output).await,
            Command::Explain(arguments) => arguments.execute(output).await,
            Command::ExplainCode(arguments) => arguments.execute(output),
            Command::Connectivity(arguments) => arguments.execute(output).await,
            Command::Plan(arguments) => arguments.execute(output).await,
            Command::Get(arguments) => arguments.execute(output).await,
            Command::Status(arguments) => arguments.execute(output).await,
            Command::Restore(arguments) => arguments.execute(output),
            Command::Cleanup(arguments) => arguments.execute(output),
            Command::Crds(arguments) => arguments.execute(output),
            Command::Schema(arguments) => arguments.execute(output),
            Command::Completions(arguments) => arguments.execute(output),
            Command::Man(arguments) => arguments.execute(output),
        }
    }
}

impl ValueEnum for Level {
    fn value_variants<'a>() -> &'a [Self] {
        &[Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }))
    }
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &[Format::Text, Format::Json]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Format::Text => "text",
            Format::Json => "json",
        }))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn more_and_less_start_from_the_commands_own_level() {
        let level = |arguments: &[&str]| {
            let cli = Cli::try_parse_from([&["dockgate"], arguments].concat()).unwrap();
            let log = cli.global.log(&cli.command, ColorChoice::Never);
            (log.level, log.default_level)
        };
        assert_eq!(level(&["validate", "x"]), (None, Level::Warn));
        assert_eq!(level(&["validate", "-v", "x"]), (Some(Level::Info), Level::Warn));
        assert_eq!(level(&["validate", "-qqq", "x"]), (Some(Level::Error), Level::Warn));
        assert_eq!(level(&["run", "--policies", "x", "-vvvvv"]), (Some(Level::Trace), Level::Info));
        assert_eq!(level(&["--log-level", "error", "run", "--policies", "x"]), (Some(Level::Error), Level::Info));
    }
}
