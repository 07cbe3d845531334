//! When an address becomes known to the kernel's sets.
//!
//! Input: the host's namespace, an address and its bridge. Output: the moment from which the set of known endpoints
//! holds it. An address becomes known last, after its class sets have it. An `ipset` that is open already answers a
//! question in some 25 µs; a process for each would take longer than what is measured.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::support::Namespace;

/// From one question to the next. With the timer's slack and the question itself, it is asked some ten times in a
/// millisecond.
const INTERVAL: Duration = Duration::from_micros(20);
/// The same where nothing is measured.
const LEISURE: Duration = Duration::from_millis(2);
/// Longest wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// The members of the set of known endpoints.
pub(crate) struct Members {
    process: Child,
    input: ChildStdin,
    // What `ipset` says of a test goes to its standard error, whatever the answer is.
    answers: BufReader<ChildStderr>,
}

impl Members {
    /// Starts to ask in a namespace.
    pub(crate) fn of(host: &Namespace) -> Members {
        let start = || {
            let mut command = Command::new("ipset");
            command.arg("-").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()
        };
        let mut process = host.run(start).expect("ipset can be run");
        let input = process.stdin.take().expect("standard input is piped");
        let answers = BufReader::new(process.stderr.take().expect("standard error is piped"));
        Members { process, input, answers }
    }

    /// Waits until an endpoint is known, and returns since when: nanoseconds since the beginning of 1970.
    pub(crate) fn wait_until_known(&mut self, address: Ipv4Addr, bridge: &str) -> i64 {
        self.wait_until(true, address, bridge, INTERVAL)
    }

    /// Waits until an endpoint is not known any more.
    pub(crate) fn wait_until_unknown(&mut self, address: Ipv4Addr, bridge: &str) {
        self.wait_until(false, address, bridge, LEISURE);
    }

    fn wait_until(&mut self, known: bool, address: Ipv4Addr, bridge: &str, interval: Duration) -> i64 {
        let question = format!("test dg-4-known {address},{bridge}\n");
        let end = Instant::now() + PATIENCE;
        while self.is_member(&question) != known {
            assert!(Instant::now() < end, "{address} on {bridge} is not known = {known} within {PATIENCE:?}");
            thread::sleep(interval);
        }
        now()
    }

    fn is_member(&mut self, question: &str) -> bool {
        self.input.write_all(question.as_bytes()).expect("ipset runs");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("ipset runs");
        // `Warning: MEMBER is in set NAME.` and `MEMBER is NOT in set NAME.`
        match (answer.contains(" is in set "), answer.contains(" is NOT in set ")) {
            (true, false) => true,
            (false, true) => false,
            _ => panic!("ipset answers `{}` to `{}`", answer.trim_end(), question.trim_end()),
        }
    }
}

/// Nanoseconds since the beginning of 1970.
pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970");
    i64::try_from(now.as_nanos()).expect("this lasts until the year 2262")
}

impl Drop for Members {
    fn drop(&mut self) {
        let _already_dead = self.process.kill();
        let _reaped = self.process.wait();
    }
}
