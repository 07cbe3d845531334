//! Programs run to their end.
//!
//! Input: a command. Output: what it wrote, or a panic that quotes the command, its status and its complaint: a test
//! that cannot set up its world has nothing better to do than to say why.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs a command and returns its standard output without the final newline. Panics when it fails.
pub(crate) fn run(command: &[&str]) -> String {
    succeed(command, &output(command, &[]))
}

/// As [`run`], with `input` on standard input.
pub(crate) fn run_with_input(command: &[&str], input: &[u8]) -> String {
    succeed(command, &output(command, input))
}

/// Whether a command succeeds; what it writes is dropped.
pub(crate) fn succeeds(command: &[&str]) -> bool {
    output(command, &[]).status.success()
}

/// Runs a command to its end, whatever that is. Panics only when it cannot be started.
pub(crate) fn output(command: &[&str], input: &[u8]) -> Output {
    let (program, arguments) = command.split_first().expect("a command has a program");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run `{program}`: {error}"));
    let mut stdin = child.stdin.take().expect("standard input is piped");
    std::thread::scope(|scope| {
        // A program that ends without reading its input is judged by its status, not by our broken pipe.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap_or_else(|error| panic!("cannot wait for `{program}`: {error}"))
    })
}

fn succeed(command: &[&str], output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned();
    assert!(
        output.status.success(),
        "`{}` failed ({})\n{}{text}",
        command.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
