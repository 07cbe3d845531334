//! `dockgate status`: how the running controller is.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::policy::Severity;
use crate::telemetry::{self, AskError, Status};

use super::output::{AnswerFormat, BAD, GOOD, count, json, printable};
use super::{Outcome, STATE_DIRECTORY};

/// Say how the running controller is
///
/// Exit code 0: it runs, is ready, and the kernel holds what the policies say; 1: it does not run or something keeps it
/// from that, and the output says what; 2: it could not be asked.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// State directory of the controller
    #[arg(long, value_name = "DIR", env = "DOCKGATE_STATE_DIR", default_value = STATE_DIRECTORY)]
    state_dir: PathBuf,

    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = AnswerFormat::Human, value_name = "FORMAT")]
    output: AnswerFormat,
}

/// The documented JSON form: the controller's document with `running` in front of it.
#[derive(Serialize)]
struct Running<'a> {
    running: bool,
    #[serde(flatten)]
    status: &'a Status,
}

/// The JSON form when no controller answers.
#[derive(Serialize)]
struct Absent {
    running: bool,
    ready: bool,
    in_sync: bool,
    problems: [String; 1],
}

impl Arguments {
    pub(super) async fn execute(self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        match telemetry::ask(&self.state_dir).await {
            Ok(status) => {
                match self.output {
                    AnswerFormat::Json => json(output, &Running { running: true, status: &status })?,
                    AnswerFormat::Human => write(output, &status)?,
                }
                Ok(Outcome::from_clean(status.ready && status.in_sync))
            }
            Err(error @ (AskError::NotRunning(_) | AskError::Silent(_))) => {
                let problem = error.to_string();
                match self.output {
                    AnswerFormat::Json => {
                        let running = matches!(error, AskError::Silent(_));
                        json(output, &Absent { running, ready: false, in_sync: false, problems: [problem] })?;
                    }
                    AnswerFormat::Human => writeln!(output, "{BAD}not ready{BAD:#}: {}", printable(&problem))?,
                }
                Ok(Outcome::No)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn write(output: &mut dyn Write, status: &Status) -> io::Result<()> {
    let Status { version, pid, ready, in_sync, problems, policies, engine, endpoints, kernel } = status;
    match (ready, in_sync) {
        (true, true) => writeln!(output, "{GOOD}ready{GOOD:#}: the kernel holds what the policies say")?,
        (false, true) => writeln!(output, "{BAD}not ready{BAD:#}: the kernel holds the rules, but see below")?,
        (_, false) => writeln!(output, "{BAD}not in sync{BAD:#}: the kernel does not hold what the policies say")?,
    }
    for problem in problems {
        writeln!(output, "  {BAD}!{BAD:#} {}", printable(problem))?;
    }
    writeln!(output, "controller   version {}, process {pid}", printable(version))?;
    let path = |path: &Path| printable(&path.to_string_lossy()).into_owned();
    writeln!(
        output,
        "policies     {} in {} of {}",
        count(policies.policies, "policy", "policies"),
        count(policies.files, "file", "files"),
        path(&policies.directory)
    )?;
    for held in &policies.held {
        writeln!(output, "  held       {}: its last good version is in force", path(held))?;
    }
    for missing in &policies.missing {
        writeln!(output, "  missing    {}: invalid, and no good version is known", path(missing))?;
    }
    for finding in &policies.diagnostics {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => continue,
        };
        let (file, line, column) = (path(&finding.file), finding.line, finding.column);
        let message = printable(&finding.message);
        writeln!(output, "  {severity:<10} {file}:{line}:{column}: {message} [{}]", printable(&finding.code))?;
    }
    let firewall = engine.firewall.as_deref().map(|word| format!(", firewall by {}", printable(word)));
    let connected = if engine.connected { "connected" } else { "not connected" };
    writeln!(output, "engine       {connected}{}", firewall.unwrap_or_default())?;
    let governed = count(endpoints.governed, "endpoint", "endpoints");
    writeln!(output, "endpoints    {governed} of {} governed by policy", endpoints.total)?;
    for endpoint in &endpoints.unenforceable {
        let accepted = if endpoint.accepted { " (accepted)" } else { "" };
        writeln!(output, "  not reached {}{accepted}", printable(&endpoint.to_string()))?;
    }
    for ports in &endpoints.unreadable_ports {
        writeln!(output, "  bad label  dockgate.io/ports of {}", printable(ports))?;
    }
    let variant = kernel.variant.map_or("not known yet".to_owned(), |variant| format!("iptables-{variant}"));
    let (applied, repairs) = (count_u64(kernel.applied, "change"), count_u64(kernel.repairs, "repair"));
    let flows = count_u64(kernel.flows_cut, "flow");
    writeln!(output, "kernel       {variant}, {applied} applied, {repairs}, {flows} cut")?;
    if let Some(error) = &kernel.last_error {
        writeln!(output, "  error      {}", printable(error))?;
    }
    Ok(())
}

fn count_u64(number: u64, singular: &str) -> String {
    format!("{number} {singular}{}", if number == 1 { "" } else { "s" })
}
