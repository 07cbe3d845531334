//! A running `dockgate run`, watched from outside: its log with times, the processes that it starts, what it uses.
//!
//! Input: where it is to run. Output: moments and amounts. Its PATH has a program for each tool that takes a note and becomes
//! the tool, and nothing else, so that processes are counted and not estimated.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::host::Host;
use crate::tools::{TOOLS, find};

/// The binary that is measured.
pub(crate) const DOCKGATE: &str = env!("CARGO_BIN_EXE_dockgate");

/// Where controllers run and what they read.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) host: &'a Host,
    pub(crate) docker_host: String,
    pub(crate) policies: &'a Path,
    /// For the state, the counting tools and their notes.
    pub(crate) directory: &'a Path,
}

impl Place<'_> {
    /// `dockgate COMMAND` there.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(DOCKGATE);
        command.args(arguments).env("DOCKER_HOST", &self.docker_host).env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    /// Removes everything that a controller has left in the kernel and on disk.
    pub(crate) fn clean(&self) {
        let mut command = self.command(&["cleanup"]);
        command.arg("--state-dir").arg(self.state());
        let output = self.host.namespace().run(|| command.output().expect("the binary runs"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let _ = fs::remove_dir_all(self.state());
    }

    fn state(&self) -> PathBuf {
        self.directory.join("state")
    }
}

/// Which tools of the kernel a controller finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tools {
    /// Those of the machine.
    Bare,
    /// Those that take a note first, which costs a millisecond or two each.
    Counted,
}

/// A line of the log.
#[derive(Debug)]
struct Line {
    at: Instant,
    text: String,
}

/// The process.
#[derive(Debug)]
pub(crate) struct Controller {
    process: Child,
    started: Instant,
    log: Receiver<Line>,
    notes: PathBuf,
}

impl Controller {
    /// Starts one that reads the kernel back only when the kernel says that something has changed.
    pub(crate) fn start(place: &Place<'_>, tools: Tools) -> Controller {
        let notes = place.directory.join("processes");
        let mut command = place.command(&["--log-format", "json", "run", "--resync-interval", "1h"]);
        command.arg("--policies").arg(place.policies).arg("--state-dir").arg(place.state());
        if tools == Tools::Counted {
            command.env("PATH", counting_tools(place.directory, &notes));
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut process = place.host.namespace().run(|| command.spawn().expect("the binary runs"));
        let stderr = process.stderr.take().expect("standard error is piped");
        let (sender, log) = mpsc::channel();
        thread::spawn(move || {
            for text in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(Line { at: Instant::now(), text }).is_err() {
                    return;
                }
            }
        });
        Controller { process, started, log, notes }
    }

    /// When it was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// The moment at which it says that it has changed the kernel, of what is said from now on; `None` if it does not within
    /// the limit. Panics when it ends.
    pub(crate) fn applied(&mut self, limit: Duration) -> Option<Instant> {
        let deadline = Instant::now() + limit;
        while let Ok(line) = self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            match said(&line.text).as_deref() {
                Some("applied") => return Some(line.at),
                Some(_) => {}
                None => eprintln!("    dockgate: {}", line.text),
            }
        }
        let ended = self.process.try_wait().expect("a child can be waited for");
        assert!(ended.is_none(), "dockgate has ended: {ended:?}");
        None
    }

    /// Waits until `dockgate status` says that all of the world is enforced. Panics when it does not become so: the figures
    /// would be of something else.
    pub(crate) fn wait_until_ready(&mut self, place: &Place<'_>, limit: Duration) {
        let began = Instant::now();
        loop {
            let mut command = Command::new(DOCKGATE);
            let output = command.arg("status").arg("--state-dir").arg(place.state()).output().expect("the binary runs");
            if output.status.success() {
                return;
            }
            let ended = self.process.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "dockgate has ended: {ended:?}");
            let said = [output.stdout, output.stderr].concat();
            assert!(began.elapsed() < limit, "dockgate is not ready:\n{}", String::from_utf8_lossy(&said));
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Passes over what was said until now.
    pub(crate) fn forget_log(&mut self) {
        for line in self.log.try_iter() {
            if said(&line.text).is_none() {
                eprintln!("    dockgate: {}", line.text);
            }
        }
    }

    /// How many processes of tools it has started.
    pub(crate) fn processes(&self) -> Vec<String> {
        fs::read_to_string(&self.notes).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Its resident memory in MB.
    pub(crate) fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: Option<f64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kilobytes.expect("the process runs") / 1024.0
    }

    /// The time for which it has been on a processor. The ticks of `/proc/PID/stat` are too coarse for a process that
    /// does next to nothing.
    pub(crate) fn processor_time(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).expect("the process runs");
        let nanoseconds = tasks.flatten().filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanoseconds.sum())
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            let id = Pid::from_raw(i32::try_from(self.process.id()).expect("a process id is an i32"));
            // It is our child and not reaped yet, so the id is its own.
            let _ = kill(id, Signal::SIGTERM);
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Ok(None) = self.process.try_wait() {
            if Instant::now() > deadline {
                let _ = self.process.kill();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The message of a line of the log; `None` of one that a person should read.
fn said(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let is_trouble = matches!(line["level"].as_str(), Some("WARN" | "ERROR"));
    (!is_trouble).then(|| line["message"].as_str().unwrap_or_default().to_owned())
}

/// Makes the counting tools and returns their directory. No notes are there yet.
fn counting_tools(directory: &Path, notes: &Path) -> PathBuf {
    let tools = directory.join("tools");
    fs::create_dir_all(&tools).expect("a temporary directory takes directories");
    let _ = fs::remove_file(notes);
    for tool in TOOLS {
        let Some(real) = find(tool) else { continue };
        let script = format!("#!/bin/sh\necho {tool} \"$@\" >>{}\nexec {} \"$@\"\n", notes.display(), real.display());
        let path = tools.join(tool);
        fs::write(&path, script).expect("a temporary directory takes files");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our file");
    }
    tools
}
