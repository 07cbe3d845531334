//! The long-lived `ipset` process: one change of a member takes some 50 µs through it, against milliseconds for a process
//! each.
//!
//! Input: lines of `ipset` commands. Output: the word that the kernel has them, or what was refused.
//!
//! It reads a command per line, executes it at once, complains on standard error and goes on. It never says that it
//! succeeded, and its standard output is buffered. So each batch ends with a command that is certain to be refused with a
//! complaint that quotes a number of ours: once that complaint is read, every line before it has been executed.

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
            Err(Error::Silent) => {
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
            none => none.insert(Interactive::start()?),
        };
        let complaints = process.ask(&batch.join("\n"))?;
        if complaints.is_empty() { Ok(()) } else { Err(Error::Refused { complaint: complaints.join("; ") }) }
    }
}

fn restore(lines: &[String]) -> Result<(), Error> {
    exec::run("ipset", &["restore"], &exec::lines(lines)).map(drop)
}

/// A running `ipset -`.
#[derive(Debug)]
struct Interactive {
    child: Child,
    stdin: ChildStdin,
    stderr: ChildStderr,
    batches: u64,
}

impl Interactive {
    fn start() -> Result<Interactive, Error> {
        let failed = |source| Error::Start { command: "ipset -".to_owned(), source };
        let mut child = exec::command("ipset", &["-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        match (child.stdin.take(), child.stderr.take()) {
            (Some(stdin), Some(stderr)) => Ok(Interactive { child, stdin, stderr, batches: 0 }),
            _ => Err(Error::Silent),
        }
    }

    /// Hands over a batch and then what is certain to be refused with a complaint that quotes the mark. Returns what was
    /// said before the mark was.
    fn ask(&mut self, batch: &str) -> Result<Vec<String>, Error> {
        self.batches += 1;
        let mark = format!("dockgate-batch-{}-end", self.batches);
        // No set type has this name, which ipset finds out without asking the kernel.
        let input = format!("{batch}\ncreate {mark} {mark}\n");
        self.stdin.write_all(input.as_bytes()).map_err(|_| Error::Silent)?;
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
                Ok(0) | Err(_) => return Err(Error::Silent),
                Ok(length) => bytes.extend_from_slice(&buffer[..length]),
            }
        }
    }

    fn wait_readable(&self, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.stderr.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => Err(Error::Silent),
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(_) => Err(Error::Silent),
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
