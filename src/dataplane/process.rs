//! The long-lived `ipset` and `nft` processes: one change of a member takes some 50 µs through the one and 200 µs through
//! the other, against milliseconds for a process each.
//!
//! Input: lines of `ipset` or `nft` commands. Output: the word that the kernel has them, or what was refused.
//!
//! Both read a command per line, execute it at once, complain on standard error and go on. They never say that
//! they succeeded, and their standard output is buffered. So each batch ends with a command that is certain to be refused
//! with a complaint that quotes a number of ours: once that complaint is read, every line before it has been executed.

#![expect(clippy::disallowed_methods, reason = "the door to the ipset process")]

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStderr, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::dataplane::exec::{self, Error};

/// How long a batch may take to be acknowledged.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest batch in lines: it has to fit into the pipe (64 KiB), or writing it could block while `ipset` blocks on its
/// own output.
const BATCH: usize = 200;
/// Larger changes go to a process of their own, whose `restore` packs many members into one message to the kernel.
const RESTORE_FROM: usize = 500;
/// Longest transaction in bytes that goes to the long-lived `nft`: it has to fit into the pipe, as a batch has.
const LONGEST_TRANSACTION: usize = 8192;

/// Applies lines of `ipset` input in order and returns once the kernel has them.
#[derive(Debug, Default)]
pub(super) struct Ipset {
    process: Option<Interactive>,
}

impl Ipset {
    /// Applies the lines. Each has to be repeatable, because a batch that got no answer is applied again.
    pub(super) fn apply(&mut self, lines: &[String]) -> Result<(), Error> {
        if lines.len() >= RESTORE_FROM {
            return restore(lines);
        }
        lines.chunks(BATCH).try_for_each(|batch| self.apply_batch(batch))
    }

    fn apply_batch(&mut self, batch: &[String]) -> Result<(), Error> {
        match self.ask(batch) {
            Err(Error::Silent { .. }) => {
                // A killed process or one of another ipset generation: what it did of the batch is not known.
                self.process = None;
                restore(batch)
            }
            answered => answered,
        }
    }

    fn ask(&mut self, batch: &[String]) -> Result<(), Error> {
        let process = match &mut self.process {
            Some(process) => process,
            none => none.insert(Interactive::start("ipset", "-")?),
        };
        // No set type has this name, which ipset finds out without asking the kernel.
        let complaints = process.ask(&batch.join("\n"), |mark| format!("create {mark} {mark}"))?;
        if complaints.is_empty() {
            Ok(())
        } else {
            Err(Error::Refused { program: "ipset", complaint: complaints.join("; ") })
        }
    }
}

fn restore(lines: &[String]) -> Result<(), Error> {
    let mut input = lines.join("\n");
    input.push('\n');
    exec::run("ipset", &["restore"], &input).map(drop)
}

/// Carries out transactions of nftables. The long-lived `nft -i` takes one of some elements in 0.2 ms, a process for it
/// several milliseconds.
#[derive(Debug, Default)]
pub(super) struct Nft {
    process: Option<Interactive>,
}

impl Nft {
    /// Carries out commands, each on a line, in one transaction.
    pub(super) fn apply(&mut self, lines: &[String]) -> Result<(), Error> {
        // A line is a transaction, and may have several commands.
        let transaction = lines.join("; ");
        if transaction.len() > LONGEST_TRANSACTION {
            return self.load(&(lines.join("\n") + "\n"));
        }
        let process = match &mut self.process {
            Some(process) => process,
            none => none.insert(Interactive::start("nft", "-i")?),
        };
        // No command begins with this word, which nft finds out without asking the kernel.
        match process.ask(&transaction, str::to_owned).and_then(|said| judge_nft(&said)) {
            Err(Error::Silent { .. }) => {
                self.process = None;
                self.load(&(lines.join("\n") + "\n"))
            }
            judged => judged,
        }
    }

    /// Carries out a file of commands in one transaction, by a process of its own.
    #[expect(clippy::unused_self, reason = "the door to nft is one")]
    pub(super) fn load(&self, input: &str) -> Result<(), Error> {
        exec::run("nft", &["-f", "-"], input).map(drop)
    }
}

/// What `nft -i` said before the line that quotes the mark: what it has against the transaction, and then that the mark is
/// a syntax error. Below each line that it quotes it puts carets; those below the mark before may come as late as now.
fn judge_nft(said: &[String]) -> Result<(), Error> {
    let carets = |line: &str| line.chars().all(|c| matches!(c, ' ' | '^' | '~'));
    let said: Vec<&str> = said.iter().map(String::as_str).filter(|line| !carets(line)).collect();
    match said.split_last() {
        Some((last, complaints)) if last.starts_with("Error: syntax error") => match complaints {
            [] => Ok(()),
            _ => Err(Error::Refused { program: "nft", complaint: complaints.join("; ") }),
        },
        // Without a word on the mark it is not known whether the transaction was even read.
        _ => Err(Error::Silent { program: "nft" }),
    }
}

/// A running `ipset -` or `nft -i`.
#[derive(Debug)]
struct Interactive {
    program: &'static str,
    child: Child,
    stdin: ChildStdin,
    stderr: ChildStderr,
    batches: u64,
}

impl Interactive {
    fn start(program: &'static str, interactive: &str) -> Result<Interactive, Error> {
        let failed = |source| Error::Start { command: format!("{program} {interactive}"), source };
        let mut child = exec::command(program, &[interactive])
            // Where nft would leave the history of its commands.
            .env("HOME", "/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        match (child.stdin.take(), child.stderr.take()) {
            (Some(stdin), Some(stderr)) => Ok(Interactive { program, child, stdin, stderr, batches: 0 }),
            _ => Err(Error::Silent { program }),
        }
    }

    /// Hands over a batch and then what is certain to be refused with a complaint that quotes the mark. Returns what was
    /// said before the mark was.
    fn ask(&mut self, batch: &str, refused: impl Fn(&str) -> String) -> Result<Vec<String>, Error> {
        self.batches += 1;
        let mark = format!("dockgate-batch-{}-end", self.batches);
        let input = format!("{batch}\n{}\n", refused(&mark));
        self.stdin.write_all(input.as_bytes()).map_err(|_| self.silent())?;
        self.read_until(&mark)
    }

    /// The lines before the one that quotes the mark.
    fn read_until(&mut self, mark: &str) -> Result<Vec<String>, Error> {
        let deadline = Instant::now() + LIMIT;
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes);
            if text.ends_with('\n')
                && let Some(last) = text.lines().position(|line| line.contains(mark))
            {
                return Ok(text.lines().take(last).map(str::to_owned).collect());
            }
            self.wait_readable(deadline)?;
            let mut buffer = [0; 4096];
            match self.stderr.read(&mut buffer) {
                Ok(0) | Err(_) => return Err(self.silent()),
                Ok(length) => bytes.extend_from_slice(&buffer[..length]),
            }
        }
    }

    fn silent(&self) -> Error {
        Error::Silent { program: self.program }
    }

    fn wait_readable(&self, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.stderr.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => Err(self.silent()),
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(_) => Err(self.silent()),
        }
    }
}

impl Drop for Interactive {
    fn drop(&mut self) {
        // It holds nothing that would be lost; waiting collects its entry in the process table.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_nft_says_before_it_comes_to_the_mark_is_a_refusal() {
        let mark = "Error: syntax error, unexpected newline, expecting string";
        for (said, refused) in [
            (vec![mark], Some(false)),
            (vec!["                    ^", mark], Some(false)),
            (vec!["Error: No such file or directory", "add element bridge x y { 1 }", "   ^^^", mark], Some(true)),
            (vec!["netlink: Error: cache initialization failed: Operation not permitted", mark], Some(true)),
            (vec!["Operation not permitted (you must be root)", mark], Some(true)),
            (vec!["internal:0:0-0: Error: Could not process rule: Device or resource busy", mark], Some(true)),
            (vec![], None),
            (vec!["netlink: Error: cache initialization failed"], None),
        ] {
            let lines: Vec<String> = said.iter().map(ToString::to_string).collect();
            match (judge_nft(&lines), refused) {
                (Ok(()), Some(false)) | (Err(Error::Silent { program: "nft" }), None) => {}
                (Err(Error::Refused { program: "nft", complaint }), Some(true)) => {
                    assert!(complaint.contains(said[0]) && !complaint.contains("syntax error"), "{complaint}");
                }
                (other, _) => panic!("{said:?}: {other:?}"),
            }
        }
    }
}
