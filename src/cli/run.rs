//! `dockgate run`: the controller.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValue;

use crate::compile::{DenyAction, Options};
use crate::controller;

use super::diagnostics::render;
use super::world::KernelArguments;
use super::{Outcome, STATE_DIRECTORY};

/// Run the controller: enforce a directory of policies on this host's containers
///
/// Follows the directory and the Docker engine, and keeps the kernel as the policies say. SIGHUP reads the directory
/// again. SIGTERM and SIGINT end the controller and leave the rules in force; only `dockgate cleanup` removes them.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Directory of policy files
    #[arg(long, value_name = "DIR", env = "DOCKGATE_POLICIES")]
    policies: PathBuf,

    /// Directory for the last good policies and the control socket
    #[arg(long, value_name = "DIR", env = "DOCKGATE_STATE_DIR", default_value = STATE_DIRECTORY)]
    state_dir: PathBuf,

    /// How a denied packet is answered
    #[arg(long, value_name = "ACTION", env = "DOCKGATE_DENY_ACTION", default_value = "drop")]
    deny_action: DenyAction,

    /// NFLOG group of Log rules
    #[arg(long, value_name = "N", env = "DOCKGATE_LOG_GROUP", default_value_t = Options::default().log_group)]
    log_group: u16,

    /// How often the kernel is compared with what it should hold, beside each time it notifies of a change; what it
    /// notifies of, every sixth time
    #[arg(long, value_name = "DURATION", env = "DOCKGATE_RESYNC_INTERVAL", default_value = "10s",
        value_parser = duration)]
    resync_interval: Duration,

    /// How long the policy directory must be quiet before it is read again
    #[arg(long, value_name = "DURATION", env = "DOCKGATE_DEBOUNCE", default_value = "50ms", value_parser = duration)]
    debounce: Duration,

    /// Name of a container that policies may select though they cannot reach it; can be given several times
    ///
    /// Such a container (on the host's network, on a network without a bridge) makes the controller not ready, because a
    /// policy looks enforced and is not. One that is named here is listed in the status and no trouble.
    #[arg(long, value_name = "CONTAINER", env = "DOCKGATE_ACCEPT_OUT_OF_REACH", value_delimiter = ',')]
    accept_out_of_reach: Vec<String>,

    #[command(flatten)]
    kernel: KernelArguments,
}

impl Arguments {
    pub(super) async fn execute(self) -> anyhow::Result<Outcome> {
        let options = controller::Options {
            policies: self.policies,
            state_directory: self.state_dir,
            compile: Options { deny_action: self.deny_action, log_group: self.log_group },
            resync_interval: self.resync_interval,
            debounce: self.debounce,
            kernel: self.kernel.options(),
            accepted_out_of_reach: self.accept_out_of_reach.into_iter().collect(),
        };
        match controller::run(options).await {
            Ok(()) => Ok(Outcome::Yes),
            Err(error) => {
                if let controller::Error::Invalid { diagnostics, sources, .. } = &error {
                    // Findings are told beside the failure; whether they can be written does not change it.
                    let _ = write!(anstream::stderr(), "{}", render(diagnostics, sources));
                }
                Err(error.into())
            }
        }
    }
}

/// Reads a duration with its unit: `50ms`, `10s`, `2m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .and_then(|(_, factor)| number.parse::<u64>().ok()?.checked_mul(*factor))
        .filter(|milliseconds| *milliseconds > 0);
    milliseconds
        .map(Duration::from_millis)
        .ok_or_else(|| "use a number above 0 and a unit: 50ms, 10s, 2m, 1h".to_owned())
}

impl clap::ValueEnum for DenyAction {
    fn value_variants<'a>() -> &'a [Self] {
        &[DenyAction::Drop, DenyAction::Reject]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            DenyAction::Drop => PossibleValue::new("drop").help("Not at all"),
            DenyAction::Reject => PossibleValue::new("reject").help("By a TCP reset or an ICMP error"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_are_never_zero() {
        for (text, milliseconds) in [("50ms", 50), ("10s", 10_000), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "10", "0s", "-1s", "1.5s", "s", "10 s", "10d", "99999999999999999999h", "9999999999999999999h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
