//! A network namespace for one test, and what the kernel holds in it.

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{process, thread};

use dockgate::dataplane::Variant;
use nix::sched::{CloneFlags, setns};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Runs `test` on a thread in a network namespace of its own, which is removed afterwards whatever happens.
pub(crate) fn in_namespace(test: impl FnOnce() + Send) {
    struct Namespace(String);
    impl Drop for Namespace {
        fn drop(&mut self) {
            run("ip", &["netns", "del", &self.0]);
        }
    }
    let namespace = Namespace(format!("dgt-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    run("ip", &["netns", "add", &namespace.0]);
    let entered = File::open(format!("/run/netns/{}", namespace.0)).expect("a fixture of this test");
    let ended = thread::scope(|scope| {
        let inside = scope.spawn(move || {
            setns(&entered, CloneFlags::CLONE_NEWNET).expect("a fixture of this test");
            test();
        });
        inside.join()
    });
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a command that has to succeed, in the namespace of the calling thread.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {complaint}");
    String::from_utf8(output.stdout).expect("a fixture of this test")
}

/// Runs a command line that has to succeed.
pub(crate) fn sh(line: &str) -> String {
    run("sh", &["-ec", line])
}

/// Compares two dumps and shows the lines that differ.
pub(crate) fn assert_same(found: &str, expected: &str, name: &str) {
    let only = |one: &str, other: &str, mark: &str| -> String {
        let other: Vec<&str> = other.lines().collect();
        let lines = one.lines().filter(|line| !other.contains(line)).map(|line| format!("{mark} {line}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let (missing, surplus) = (only(expected, found, "-"), only(found, expected, "+"));
    assert!(found == expected, "{name}: the kernel does not hold what it should\n{missing}\n{surplus}");
}

/// Everything in the tables that we use and in the sets, without what the kernel chooses or counts.
pub(crate) fn dump(variant: Variant) -> String {
    let mut dump = String::new();
    for (command, table) in
        ["iptables", "ip6tables"].into_iter().flat_map(|command| ["mangle", "filter"].map(|table| (command, table)))
    {
        dump.extend(["== ", command, " ", table, "\n"]);
        for line in run(&format!("{command}-{variant}-save"), &["-t", table]).lines().filter(|l| !l.starts_with('#')) {
            dump += line.split(" [").next().unwrap_or_default();
            dump += "\n";
        }
    }
    let sets = run("ipset", &["save"]);
    let mut lines: Vec<String> = sets
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let chosen = words.iter().position(|word| *word == "hashsize").unwrap_or(words.len());
            words[..chosen].join(" ")
        })
        .collect();
    lines.sort();
    dump + "== sets\n" + &lines.join("\n") + "\n"
}
