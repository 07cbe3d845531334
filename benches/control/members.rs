//! Whether an address is in a set of the kernel, asked often.
//!
//! Input: a namespace. Output: yes or no, some 50 µs after the question: one `ipset -` answers all of them, on standard error
//! and at once.

use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::host::Host;

/// Pause between two questions: they must not take the processor away from the one who is asked about.
const PAUSE: Duration = Duration::from_micros(50);

#[derive(Debug)]
pub(crate) struct Members {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStderr>,
}

impl Members {
    pub(crate) fn of(host: &Host) -> Members {
        let mut command = Command::new("ipset");
        command.arg("-").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = host.namespace().run(|| command.spawn().expect("ipset is installed"));
        let questions = process.stdin.take().expect("standard input is piped");
        let answers = BufReader::new(process.stderr.take().expect("standard error is piped"));
        Members { process, questions, answers }
    }

    /// Whether the address is known at its bridge, in the set that every packet is looked up in.
    pub(crate) fn has(&mut self, address: IpAddr, bridge: &str) -> bool {
        let set = if address.is_ipv4() { "dg-4-known" } else { "dg-6-known" };
        writeln!(self.questions, "test {set} {address},{bridge}").expect("ipset runs");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("ipset answers");
        match answer {
            _ if answer.contains("is in set") => true,
            _ if answer.contains("is NOT in set") => false,
            _ => panic!("ipset says: {answer}"),
        }
    }

    /// The moment at which the address is known; `None` if it is not within the limit.
    pub(crate) fn wait_for(&mut self, address: IpAddr, bridge: &str, limit: Duration) -> Option<Instant> {
        let began = Instant::now();
        while began.elapsed() < limit {
            if self.has(address, bridge) {
                return Some(Instant::now());
            }
            thread::sleep(PAUSE);
        }
        None
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
