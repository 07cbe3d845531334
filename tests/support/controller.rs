//! A running `dockgate run`.
//!
//! Input: its command. Output: a guard with its log and its state; dropped, the process ends. Its rules stay, as they do
//! on a real host.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::command;
use super::engine::tail;
use super::evidence::TOO_LATE;

/// How long a controller may take to become ready.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// A process that was started by `Lab::dockgate`.
#[derive(Debug)]
pub(crate) struct Controller {
    process: Child,
    state: PathBuf,
    log: PathBuf,
}

impl Controller {
    pub(super) fn start(mut command: Command, state: PathBuf, log: PathBuf) -> Controller {
        let file =
            File::options().create(true).append(true).open(&log).expect("the laboratory's directory takes files");
        let also_file = file.try_clone().expect("a file can be opened twice");
        let process = command.stdin(Stdio::null()).stdout(file).stderr(also_file).spawn().expect("nsenter can be run");
        Controller { process, state, log }
    }

    /// Waits until `dockgate status` says that it is ready and in sync. Panics with its log when it does not become so.
    pub(crate) fn wait_until_ready(&mut self) {
        let start = Instant::now();
        while !self.status().status.success() {
            if let Some(status) = self.ended() {
                panic!("dockgate ended ({status}):\n{}", self.log());
            }
            if start.elapsed() > START_PATIENCE {
                let answer = self.status();
                let said = [answer.stdout, answer.stderr].concat();
                panic!(
                    "{TOO_LATE}dockgate is not ready after {START_PATIENCE:?}; status says:\n{}\nits log:\n{}",
                    String::from_utf8_lossy(&said),
                    self.log()
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What `dockgate status` answers about it.
    pub(crate) fn status(&self) -> Output {
        command::output(&[env!("CARGO_BIN_EXE_dockgate"), "status", "--state-dir", &self.state.to_string_lossy()], &[])
    }

    /// What `dockgate status -o json` says about it; nothing before it has its socket.
    pub(crate) fn document(&self) -> serde_json::Value {
        let state = self.state.to_string_lossy();
        let answer =
            command::output(&[env!("CARGO_BIN_EXE_dockgate"), "status", "-o", "json", "--state-dir", &state], &[]);
        serde_json::from_slice(&answer.stdout).unwrap_or_default()
    }

    /// Its process id.
    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Its state directory.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// The end of what it has written, and of what controllers before it in the same laboratory wrote.
    pub(crate) fn log(&self) -> String {
        tail(&self.log, 200)
    }

    /// How much it and controllers before it have written.
    pub(crate) fn written(&self) -> usize {
        std::fs::metadata(&self.log).map_or(0, |metadata| usize::try_from(metadata.len()).unwrap_or(0))
    }

    /// What was written since there was so much.
    pub(crate) fn log_since(&self, written: usize) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(written..).unwrap_or_default()).into_owned()
    }

    /// Halts it, and waits until it has: a signal takes its time on a busy machine.
    pub(crate) fn halt(&mut self) {
        self.signal(Signal::SIGSTOP);
        let start = Instant::now();
        while !self.is_halted() {
            assert!(start.elapsed() < START_PATIENCE, "dockgate does not halt");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether it was sent SIGSTOP and not SIGCONT since.
    pub(crate) fn is_halted(&self) -> bool {
        // `PID (COMMAND) STATE ...`; the command of ours has no parenthesis.
        let status = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap_or_default();
        status.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().expect("a child can be waited for")
    }

    /// Sends it a signal.
    pub(crate) fn signal(&mut self, signal: Signal) {
        // Until `try_wait` has reaped the child, its id cannot be another process'.
        if self.ended().is_none() {
            let id = Pid::from_raw(i32::try_from(self.process.id()).expect("a process id is an i32"));
            kill(id, signal).expect("the process is our child");
        }
    }

    /// Ends it as an init system does, and returns how it ended.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.terminate()
    }

    /// Ends it as a crash does.
    pub(crate) fn crash(mut self) {
        self.signal(Signal::SIGKILL);
        let _status = self.terminate();
    }

    fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            if let Some(status) = self.ended() {
                return status;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.signal(Signal::SIGKILL);
        self.process.wait().expect("a child can be waited for")
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("dockgate's last words:\n{}", tail(&self.log, 40));
        }
        self.terminate();
    }
}
