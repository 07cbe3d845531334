//! The door to the kernel's tools: the only place that runs processes for the data plane.
//!
//! Input: a command with its standard input. Output: what it printed, or an error that says what was run, how it ended
//! and what it complained of. Every command has a time limit: one that hangs must not hang policy.

#![expect(clippy::disallowed_methods, reason = "the door to processes")]

use std::fmt::{self, Write as _};
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, gettid};

use crate::dataplane::Variant;
use crate::dataplane::writers::Writer;
use crate::net::Family;

/// How long a command may take. The largest measured transaction (50,000 rules) takes about a second.
const LIMIT: Duration = Duration::from_secs(30);
/// Seconds that the iptables commands wait for the lock that they share with Docker.
pub(super) const LOCK_WAIT: &str = "10";
/// How long commands are killed for that have not ended in time.
const KILL_LIMIT: Duration = Duration::from_secs(1);
/// How often that is tried.
const KILL_POLL: Duration = Duration::from_millis(10);
/// How often a listing is tried.
const LIST_ATTEMPTS: u32 = 3;
/// Pause before it is tried again.
const LIST_PAUSE: Duration = Duration::from_millis(10);
/// How often the end of a process that has closed its output is looked for.
const END_POLL: Duration = Duration::from_micros(200);

/// Why a command did not do what it was run for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started.
    #[error("cannot run `{command}`")]
    Start {
        /// The command line.
        command: String,
        /// The cause.
        source: std::io::Error,
    },
    /// It did not end in time.
    #[error("`{command}` did not end within {} s and was killed", .limit.as_secs())]
    Timeout {
        /// The command line.
        command: String,
        /// The time limit.
        limit: Duration,
    },
    /// It ended in failure.
    #[error("`{command}` failed ({status}): {complaint}{}", refused(.line.as_deref()))]
    Failed {
        /// The command line.
        command: String,
        /// Its exit status.
        status: ExitStatus,
        /// What it wrote to standard error.
        complaint: String,
        /// The line of its input that it named as the cause, if it named one.
        line: Option<String>,
    },
    /// A command of the `iptables` package failed.
    #[error("`{command}` failed: {complaint}")]
    Jump {
        /// What was tried.
        command: String,
        /// What the package reports.
        complaint: String,
    },
}

/// What the commands and the kernel say when it is not the input that is at fault.
const NO_REFUSAL: [&str; 12] = [
    "xtables lock",
    "Resource temporarily unavailable",
    "annot allocate memory",
    "emory allocation problem",
    "Out of memory",
    "No buffer space available",
    "No space left on device",
    "Too many open files",
    "Device or resource busy",
    "Interrupted system call",
    "Operation not permitted",
    "Permission denied",
];

impl Error {
    /// Whether a command, or the kernel by it, has judged its input and does not take it. A lock that another process
    /// holds, too little memory, a command that was killed or does not answer say nothing about the input.
    pub(super) fn is_refusal(&self) -> bool {
        // The exit status does not tell: 4 is a lock that was not given, and with iptables-nft a rule that was refused.
        let complaint = match self {
            Error::Failed { status, complaint, line: Some(_), .. } if status.code().is_some() => complaint,
            Error::Failed { .. } | Error::Start { .. } | Error::Timeout { .. } | Error::Jump { .. } => {
                return false;
            }
        };
        !NO_REFUSAL.iter().any(|reason| complaint.contains(reason))
    }
}

fn refused(line: Option<&str>) -> String {
    line.map(|line| format!(", in this line: {line}")).unwrap_or_default()
}

/// The commands of one variant and family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Commands {
    /// For single rules.
    pub(super) iptables: &'static str,
    /// For listings.
    pub(super) save: &'static str,
    /// For transactions.
    pub(super) restore: &'static str,
}

impl Commands {
    /// The names that iptables installs beside the plain ones since its version 1.8.
    pub(super) fn of(variant: Variant, family: Family) -> Commands {
        let (iptables, save, restore) = match (variant, family) {
            (Variant::Nft, Family::V4) => ("iptables-nft", "iptables-nft-save", "iptables-nft-restore"),
            (Variant::Nft, Family::V6) => ("ip6tables-nft", "ip6tables-nft-save", "ip6tables-nft-restore"),
            (Variant::Legacy, Family::V4) => ("iptables-legacy", "iptables-legacy-save", "iptables-legacy-restore"),
            (Variant::Legacy, Family::V6) => ("ip6tables-legacy", "ip6tables-legacy-save", "ip6tables-legacy-restore"),
        };
        Commands { iptables, save, restore }
    }

    /// All of them.
    pub(super) fn names(self) -> [&'static str; 3] {
        [self.iptables, self.save, self.restore]
    }
}

/// A command in the language that its messages are read in, out of reach of a Ctrl-C that is meant for us.
fn command(program: &str, arguments: &[&str]) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").process_group(0);
    command
}

/// Runs a command to its end and returns what it printed.
pub(super) fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, Error> {
    run_within(LIMIT, program, arguments, input)
}

/// As [`run`], for a command that changes rules in one go: what it does is known to be ours when the kernel notifies of it.
pub(super) fn change(program: &str, arguments: &[&str], input: &str) -> Result<String, Error> {
    run_as(Role::Writer, LIMIT, program, arguments, input)
}

/// A command on each line.
pub(super) fn lines(commands: &[impl fmt::Display]) -> String {
    let mut text = String::new();
    for command in commands {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{command}");
    }
    text
}

/// As [`run`], for a command that lists what somebody else may be changing. `iptables-nft-save` reads rules one by one and
/// asks the kernel for the name of each rule's set, which may be gone by then: it fails, and the next try need not.
pub(super) fn list(program: &str, arguments: &[&str]) -> Result<String, Error> {
    let mut attempt = 1;
    loop {
        match run(program, arguments, "") {
            Err(Error::Failed { .. }) if attempt < LIST_ATTEMPTS => thread::sleep(LIST_PAUSE),
            done => return done,
        }
        attempt += 1;
    }
}

fn run_within(limit: Duration, program: &str, arguments: &[&str], input: &str) -> Result<String, Error> {
    run_as(Role::Other, limit, program, arguments, input)
}

/// Whether a process is taken down, until its end, as one that changes rules.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Writer,
    Other,
}

fn run_as(role: Role, limit: Duration, program: &str, arguments: &[&str], input: &str) -> Result<String, Error> {
    let shown = || [&[program], arguments].concat().join(" ");
    let deadline = Instant::now() + limit;
    let mut child = command(program, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| Error::Start { command: shown(), source })?;
    let _writer = (role == Role::Writer).then(|| Writer::begins(child.id()));

    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_owned();
        // A command that ends before it has read everything says why on its standard error.
        thread::spawn(move || stdin.write_all(input.as_bytes()));
    }
    let output = child.stdout.take().map(read_aside);
    let complaint = child.stderr.take().map(read_aside);
    let collected = collect(output, deadline).zip(collect(complaint, deadline));
    let ended = collected.and_then(|texts| Some((texts, wait_until(&mut child, deadline)?)));
    let Some(((output, complaint), status)) = ended else {
        // The process may be beyond killing for a while; nothing waits for it here.
        let _ = child.kill();
        thread::spawn(move || child.wait());
        return Err(Error::Timeout { command: shown(), limit });
    };
    if status.success() {
        return Ok(output);
    }
    let line = named_line(&complaint).and_then(|number| input.lines().nth(number.checked_sub(1)?)).map(str::to_owned);
    Err(Error::Failed { command: shown(), status, complaint: one_line(&complaint), line })
}

fn read_aside(mut stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before a read error is still worth showing.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes);
        let _ = sender.send(text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()));
    });
    receiver
}

fn collect(stream: Option<mpsc::Receiver<String>>, deadline: Instant) -> Option<String> {
    stream.map_or(Some(String::new()), |stream| {
        stream.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
    })
}

fn wait_until(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(END_POLL),
            Ok(None) | Err(_) => return None,
        }
    }
}

/// The number of the input line that a complaint names: `line 3: RULE_APPEND failed`, `line 4 failed`,
/// `Error occurred at line: 6`, `Error in line 2: ...`.
fn named_line(complaint: &str) -> Option<usize> {
    let lower = complaint.to_lowercase();
    lower.split("line").skip(1).find_map(|rest| {
        let digits: String = rest.trim_start_matches([':', ' ']).chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    })
}

fn one_line(text: &str) -> String {
    let hint = |line: &&str| !line.is_empty() && !line.starts_with("Try `") && !line.starts_with("# Warning");
    text.lines().map(str::trim).filter(hint).collect::<Vec<_>>().join("; ")
}

/// Runs work that waits for commands, on a thread of its own: the `iptables` package has no time limits, and lets its
/// commands wait for their lock without end. `None` when it does not end in time; every command that it still runs is
/// killed then, so that none gets the lock later and undoes what has been done meanwhile. The thread is in the network
/// namespace of its creator, as all children of a thread are.
pub(super) fn within_limit<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    within(LIMIT, work)
}

fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    let (name, named) = mpsc::channel();
    thread::spawn(move || {
        let _ = name.send(gettid());
        let _ = sender.send(work());
    });
    let thread = named.recv().ok()?;
    if let Ok(done) = receiver.recv_timeout(limit) {
        return Some(done);
    }
    // After a command that was killed the work may begin another one.
    let deadline = Instant::now() + KILL_LIMIT;
    while Instant::now() < deadline {
        kill_children(thread);
        match receiver.recv_timeout(KILL_POLL) {
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            // It has failed, and says no more than that.
            Ok(_) | Err(mpsc::RecvTimeoutError::Disconnected) => return None,
        }
    }
    None
}

/// Kills what a thread of ours has started and waits for.
fn kill_children(thread: Pid) {
    let children = std::fs::read_to_string(format!("/proc/self/task/{thread}/children")).unwrap_or_default();
    for child in children.split_whitespace().filter_map(|id| id.parse().ok()) {
        // It may have ended just now; its id is not given out again before all others have been.
        let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_hangs_is_killed() {
        let limit = Duration::from_millis(100);
        let begin = Instant::now();
        let error = run_within(limit, "sleep", &["60"], "").unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_command_that_was_given_up_does_nothing_later() {
        let directory = tempfile::tempdir().unwrap();
        let acted = |name: &str| directory.path().join(name).exists();
        let path = directory.path().to_owned();
        // The second command is what the work falls back to when the first one was killed.
        let work = move || {
            for name in ["first", "second"] {
                let script = format!("sleep 1; touch {}", path.join(name).display());
                let _ended = command("sh", &["-c", &script]).output();
            }
        };
        within(LIMIT, work.clone()).unwrap();
        assert!(acted("first") && acted("second"), "they act when they are left alone");
        for name in ["first", "second"] {
            std::fs::remove_file(directory.path().join(name)).unwrap();
        }
        assert_eq!(within(Duration::from_millis(100), work), None);
        thread::sleep(Duration::from_millis(2500));
        assert!(!acted("first") && !acted("second"), "one has acted late");
    }

    #[test]
    fn a_failure_carries_command_status_and_complaint() {
        let error =
            run("sh", &["-c", "echo 'Error occurred at line: 2' >&2; exit 3"], "one\ntwo\nthree\n").unwrap_err();
        let text = error.to_string();
        for part in ["sh -c", "exit status: 3", "Error occurred at line: 2", "in this line: two"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn only_what_was_judged_was_refused() {
        for (script, input, refused) in [
            ("echo 'iptables-restore: line 2 failed' >&2; exit 1", "one\ntwo\n", true),
            ("echo 'line 2: RULE_APPEND failed (Invalid argument): rule in chain T' >&2; exit 4", "one\ntwo\n", true),
            ("echo 'line 2: RULE_APPEND failed (No buffer space available)' >&2; exit 4", "one\ntwo\n", false),
            ("echo 'Error occurred at line: 1' >&2; kill -9 $$", "one\n", false),
            ("echo 'a fault in no line' >&2; exit 1", "one\n", false),
            (
                "echo \"Can't lock /x: Resource temporarily unavailable\" >&2
                 echo 'Another app is currently holding the xtables lock. Stopped waiting after 10s.' >&2; exit 4",
                "one\n",
                false,
            ),
        ] {
            let error = run("sh", &["-c", script], input).unwrap_err();
            assert_eq!(error.is_refusal(), refused, "{error}");
        }
        let started = run("dockgate-no-such-command", &[], "").unwrap_err();
        let limit = Duration::from_millis(10);
        let late = run_within(limit, "sleep", &["60"], "").unwrap_err();
        assert!(!started.is_refusal() && !late.is_refusal());
    }

    #[test]
    fn a_listing_that_fails_is_tried_again_but_not_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let count = directory.path().join("count");
        // Fails as often as it is told to.
        let script = "echo x >>\"$0\"; test $(wc -l <\"$0\") -gt $1 && echo listed";
        let tries = |failures: &str| {
            let _none_before = std::fs::remove_file(&count);
            let outcome = list("sh", &["-c", script, &count.to_string_lossy(), failures]);
            (outcome.ok(), std::fs::read_to_string(&count).unwrap().lines().count())
        };
        assert_eq!(tries("0"), (Some("listed\n".to_owned()), 1));
        assert_eq!(tries("2"), (Some("listed\n".to_owned()), 3));
        assert_eq!(tries("9"), (None, 3));
    }

    #[test]
    fn a_missing_command_is_named() {
        let error = run("dockgate-no-such-command", &[], "").unwrap_err();
        assert_eq!(error.to_string(), "cannot run `dockgate-no-such-command`");
    }

    #[test]
    fn large_input_and_output_do_not_block_each_other() {
        let input = "x".repeat(1 << 20);
        assert_eq!(run("cat", &[], &input).unwrap(), input);
    }

    #[test]
    fn the_line_of_a_complaint_is_found_in_every_form() {
        for (complaint, number) in [
            ("iptables-nft-restore v1.8.9 (nf_tables): \nline 3: RULE_APPEND failed (Invalid argument)", Some(3)),
            ("iptables-restore: line 4 failed", Some(4)),
            ("ip6tables-restore v1.8.9 (legacy): Set nope doesn't exist.\n\nError occurred at line: 6\n", Some(6)),
            ("ipset v7.17: Error in line 2: Syntax error", Some(2)),
            ("something on no particular line", None),
        ] {
            assert_eq!(named_line(complaint), number, "{complaint}");
        }
    }
}
