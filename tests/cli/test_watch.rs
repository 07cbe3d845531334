//! `test --watch`: what it does when files change, break and vanish, and how it ends.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::test::{one_case, shop_with};
use super::*;

/// A command that goes on until it is told to end, and is killed with the test or after a minute: a test that waits for what
/// never comes would hold up all others.
struct Watching {
    child: Arc<Mutex<Child>>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watching {
    fn start(directory: &Path) -> Watching {
        let mut child = command(&["test", "tests.yaml", "--watch"])
            .current_dir(directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let child = Arc::new(Mutex::new(child));
        let watched = Arc::clone(&child);
        thread::spawn(move || {
            thread::sleep(Duration::from_secs(60));
            watched.lock().unwrap().kill()
        });
        Watching { child, lines }
    }

    fn until(&mut self, wanted: &str) {
        assert!(self.lines.by_ref().map(Result::unwrap).any(|line| line == wanted), "it ended without `{wanted}`");
    }

    /// The exit code after Ctrl-C.
    fn interrupt(mut self) -> Option<i32> {
        let pid = Pid::from_raw(self.child.lock().unwrap().id().try_into().unwrap());
        kill(pid, Signal::SIGINT).unwrap();
        // The end of its output is its own, or that of the minute.
        self.lines.by_ref().for_each(drop);
        self.child.lock().unwrap().wait().unwrap().code()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[test]
fn watching_judges_again_after_a_change() {
    let files = shop_with(&one_case("{from: batch, to: api, port: 80, expect: Deny}"));
    let mut watching = Watching::start(files.path());
    watching.until("1 passed");
    watching.until("waiting for a change; Ctrl-C ends");
    fs::write(files.path().join("policies/web.yaml"), POLICY.replace("app == 'web'", "all()")).unwrap();
    watching.until("1 failed, 0 passed");
    watching.until("waiting for a change; Ctrl-C ends");
    assert_eq!(watching.interrupt(), Some(1));
}

#[test]
fn watching_ends_by_an_interrupt_that_comes_while_it_judges() {
    let files = shop_with(&one_case("{from: batch, to: api, port: 80, expect: Deny}"));
    let mut watching = Watching::start(files.path());
    watching.until("waiting for a change; Ctrl-C ends");
    fs::write(files.path().join("policies/web.yaml"), POLICY.replace("app == 'web'", "all()")).unwrap();
    // The line before the one that says that it waits.
    watching.until("1 failed, 0 passed");
    assert_eq!(watching.interrupt(), Some(1));
}

#[test]
fn watching_goes_on_while_what_it_watches_is_gone() {
    let files = shop_with(&one_case("{from: batch, to: api, port: 80, expect: Deny}"));
    let mut watching = Watching::start(files.path());
    watching.until("1 passed");
    for name in ["tests.yaml", "policies", "inventory.yaml"] {
        watching.until("waiting for a change; Ctrl-C ends");
        fs::rename(files.path().join(name), files.path().join("away")).unwrap();
        watching.until("waiting for a change; Ctrl-C ends");
        fs::rename(files.path().join("away"), files.path().join(name)).unwrap();
        watching.until("1 passed");
    }
    assert_eq!(watching.interrupt(), Some(0));
}
