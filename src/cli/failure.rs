//! How a command that could not run says so: the chain of causes once, and what to do about it where that is known.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::controller;
use crate::inventory::docker;
use crate::telemetry::{AskError, LockError};

use super::output::{BAD, REMARK, printable};

/// An error of the command line itself, with its remedy.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failure {
    /// What is wrong.
    pub(super) message: String,
    /// What to do.
    pub(super) help: String,
}

/// Prints an error with its causes, and the remedy if one is known, to standard error.
pub fn report(error: &anyhow::Error) {
    let mut text = format!("{BAD}error{BAD:#}: {}\n", printable(&format!("{error:#}")));
    if let Some(help) = remedy(error) {
        let _ = writeln!(text, "{REMARK}help{REMARK:#}: {}", printable(&help));
    }
    // When standard error is closed there is nobody left to tell; the exit code still says it.
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// The remedy for the innermost cause that has one.
fn remedy(error: &anyhow::Error) -> Option<String> {
    error.chain().rev().find_map(|cause| {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return Some(failure.help.clone());
        }
        if cause.is::<docker::Error>() {
            return Some(
                "the commands that only read take --inventory FILE or --compose FILE instead of an engine".to_owned(),
            );
        }
        let lock = cause.downcast_ref().or_else(|| match cause.downcast_ref() {
            Some(controller::Error::Lock(lock)) => Some(lock),
            _ => None,
        });
        if let Some(LockError::Held { .. } | LockError::Running) = lock {
            return Some("one controller enforces everything on a host: stop the other one first".to_owned());
        }
        if let Some(AskError::Socket { .. } | AskError::Unreadable { .. }) = cause.downcast_ref() {
            return Some("the control socket is for root alone; is this the version that is running?".to_owned());
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_remedy_is_given() {
        let failure = Failure { message: "m".to_owned(), help: "do this".to_owned() };
        let error = anyhow::Error::new(failure).context("outer");
        assert_eq!(remedy(&error).as_deref(), Some("do this"));
        assert_eq!(remedy(&anyhow::anyhow!("nothing known")), None);
    }
}
