//! The controller as a service manager sees it: notifications, watchdog, signals, exit code.
//!
//! It runs in an empty network namespace, which needs root, beside an engine that never answers: so it must not say
//! that it is ready, and must say everything else.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world ends there")]

#[path = "support/command.rs"]
#[expect(dead_code, reason = "a part of the laboratory's support is used")]
mod command;
#[path = "support/namespace.rs"]
#[expect(dead_code, reason = "a part of the laboratory's support is used")]
mod namespace;

use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use namespace::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough that a busy machine is not taken for a controller that hangs.
const WATCHDOG: Duration = Duration::from_secs(2);

/// The engine's socket.
const ENGINE: &str = "docker.sock";

/// A running controller; ended when dropped.
struct Controller(Child);

impl Controller {
    fn start(directory: &Path, manager: &Path) -> Controller {
        let child = Command::new(env!("CARGO_BIN_EXE_dockgate"))
            .args(["run", "--policies", "policies", "--state-dir", "state"])
            .current_dir(directory)
            .env("DOCKER_HOST", format!("unix://{}", directory.join(ENGINE).display()))
            .env("NOTIFY_SOCKET", manager)
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
            .env_remove("WATCHDOG_PID")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Controller(child)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads notifications until one has all these lines; returns those that came before it.
fn wait_for(manager: &UnixDatagram, wanted: &[&str]) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while Instant::now() < deadline {
        let Ok(length) = manager.recv(&mut buffer) else { continue };
        let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
        let lines: Vec<&str> = message.lines().collect();
        if wanted.iter().all(|wanted| lines.iter().any(|line| line.starts_with(wanted))) {
            return seen;
        }
        seen.push(message);
    }
    panic!("no notification with {wanted:?} came, only {seen:?}");
}

#[test]
fn a_service_manager_is_told_what_it_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("policies")).unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(WATCHDOG)).unwrap();
    // Takes connections and says nothing, not even no: a controller that hears something has its own reasons to speak.
    let _engine = UnixListener::bind(directory.path().join(ENGINE)).unwrap();

    Namespace::anonymous().run(|| {
        let mut controller = Controller::start(directory.path(), &path);
        let before = wait_for(&manager, &["WATCHDOG=1"]);
        assert!(!before.concat().contains("READY=1"), "{before:?}");

        // systemd ends a service that once says nothing for so long.
        for _ in 0..3 {
            let start = Instant::now();
            wait_for(&manager, &["WATCHDOG=1"]);
            assert!(start.elapsed() < WATCHDOG, "{:?}", start.elapsed());
        }

        let status = Command::new(env!("CARGO_BIN_EXE_dockgate"))
            .args(["status", "--state-dir", "state", "-o", "json"])
            .current_dir(directory.path())
            .output()
            .unwrap();
        let document: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        assert_eq!(status.status.code(), Some(1), "{document:#}");
        assert_eq!((&document["running"], &document["ready"]), (&true.into(), &false.into()), "{document:#}");
        assert_eq!(document["pid"], controller.0.id(), "{document:#}");
        assert_ne!(document["problems"], serde_json::json!([]), "{document:#}");

        controller.signal(Signal::SIGHUP);
        wait_for(&manager, &["RELOADING=1", "MONOTONIC_USEC="]);
        controller.signal(Signal::SIGTERM);
        wait_for(&manager, &["STOPPING=1"]);
        assert_eq!(controller.0.wait().unwrap().code(), Some(0));
    });
}
