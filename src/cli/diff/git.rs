//! The door to git: the policy files of a revision, without a working tree.
//!
//! Input: a revision and a path in it. Output: the files, chosen and read by the rules for directories. Only objects that
//! are in the repository are asked for: nothing is checked out, fetched or changed, and no shell is between.

#![expect(clippy::disallowed_methods, reason = "the door to git")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, bail};

use crate::cli::failure::Failure;
use crate::policy::files::{self, MAX_FILE_SIZE};
use crate::policy::{SourceFile, Unreadable};

/// Type of a symbolic link in a tree.
const LINK: &str = "120000";

/// An entry of a tree.
struct Entry {
    mode: String,
    object: String,
    path: PathBuf,
}

/// The policy files of a path in a revision, by their path below it.
pub(super) fn read(revision: &str, path: &str) -> anyhow::Result<BTreeMap<PathBuf, SourceFile>> {
    let name = format!("{revision}:{path}");
    if revision.is_empty() || revision.starts_with('-') {
        return Err(Failure {
            message: format!("{name} names no revision"),
            help: "name a file, a directory, or REVISION:PATH as in HEAD~1:policies".to_owned(),
        }
        .into());
    }
    in_repository(&name)?;
    if resolve(&format!("{revision}^{{tree}}"))?.is_none() {
        return Err(Failure {
            message: format!("git knows no revision {revision}"),
            help: format!(
                "a shallow clone has no older revisions: `git fetch` brings them; a file of the name {name} does not exist"
            ),
        }
        .into());
    }
    // To git `.` alone is the name of a file.
    let named_path = if matches!(path, "." | "..") { format!("{path}/") } else { path.to_owned() };
    let Some(object) = resolve(&format!("{revision}:{named_path}"))? else {
        return Err(Failure {
            message: format!("there is no {path} in revision {revision}"),
            help: "a path in a revision begins at the top of the repository; ./PATH begins in the current directory"
                .to_owned(),
        }
        .into());
    };
    let kind = text(run(&["cat-file", "-t", &object], None)?)?;
    let base = format!("{revision}:{}", path.trim_end_matches('/'));
    let entries = match kind.as_str() {
        "tree" => entries(&object)?,
        _ => vec![Entry { mode: String::new(), object, path: PathBuf::new() }],
    };
    let (readable, others): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| entry.mode.is_empty() || entry.mode.starts_with("100"));
    let mut found = BTreeMap::new();
    for (entry, bytes) in readable.iter().zip(contents(&readable)?) {
        let name = named(&base, &entry.path);
        let source = match bytes {
            Ok(bytes) => files::decode(&name, bytes),
            Err(size) => SourceFile { unreadable: Some(Unreadable::TooLarge { size }), ..SourceFile::new(name, "") },
        };
        found.insert(entry.path.clone(), source);
    }
    for entry in others {
        let what = if entry.mode == LINK { "a symbolic link" } else { "a submodule" };
        let why = format!("it is {what}, and those are not followed in a revision");
        let source = SourceFile::new(named(&base, &entry.path), "");
        found.insert(entry.path, SourceFile { unreadable: Some(Unreadable::Refused(why)), ..source });
    }
    Ok(found)
}

/// The name of a file in findings: as git writes it.
fn named(base: &str, path: &Path) -> PathBuf {
    match (path.as_os_str().is_empty(), base.ends_with(':')) {
        (true, _) => PathBuf::from(base),
        (false, true) => PathBuf::from(format!("{base}{}", path.display())),
        (false, false) => Path::new(base).join(path),
    }
}

/// What of a tree belongs to policies. A link or a submodule may stand for a directory that holds some.
fn entries(tree: &str) -> anyhow::Result<Vec<Entry>> {
    let listing = run(&["ls-tree", "-r", "-z", "--full-tree", tree], None)?;
    checked(&listing)?;
    let mut entries = Vec::new();
    for record in listing.stdout.split(|byte| *byte == 0).filter(|record| !record.is_empty()) {
        let tab = record.iter().position(|byte| *byte == b'\t').context("git lists a tree in an unknown form")?;
        let head = std::str::from_utf8(&record[..tab]).context("git lists a tree in an unknown form")?;
        let [mode, _, object] = head.split(' ').collect::<Vec<_>>()[..] else {
            bail!("git lists a tree in an unknown form: {head}");
        };
        let path = PathBuf::from(OsStr::from_bytes(&record[tab + 1..]));
        let belongs = if mode.starts_with("100") { files::is_read(&path) } else { !files::is_below_hidden(&path) };
        if belongs {
            entries.push(Entry { mode: mode.to_owned(), object: object.to_owned(), path });
        }
    }
    Ok(entries)
}

/// The contents of objects, in their order, or the size of those that are too large.
fn contents(entries: &[Entry]) -> anyhow::Result<Vec<Result<Vec<u8>, u64>>> {
    let input: String = entries.iter().flat_map(|entry| [entry.object.as_str(), "\n"]).collect();
    let output = run(&["cat-file", "--batch"], Some(input.as_bytes()))?;
    checked(&output)?;
    let mut rest = output.stdout.as_slice();
    let mut contents = Vec::new();
    for entry in entries {
        let unknown = || format!("git gives object {} in an unknown form", entry.object);
        // OBJECT TYPE SIZE, a line break, the content, a line break.
        let end = rest.iter().position(|byte| *byte == b'\n').with_context(unknown)?;
        let head = std::str::from_utf8(&rest[..end]).with_context(unknown)?;
        let size: usize = head
            .rsplit(' ')
            .next()
            .and_then(|size| size.parse().ok())
            .with_context(|| format!("git does not have object {} ({head})", entry.object))?;
        let content = rest.get(end + 1..end + 1 + size).with_context(unknown)?;
        contents.push(if size as u64 > MAX_FILE_SIZE { Err(size as u64) } else { Ok(content.to_vec()) });
        rest = rest.get(end + 2 + size..).with_context(unknown)?;
    }
    Ok(contents)
}

fn in_repository(name: &str) -> anyhow::Result<()> {
    let output = run(&["rev-parse", "--git-dir"], None)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure {
        message: format!("{name} does not exist as a file, and git has no revision: {}", said(&output)),
        help: "REVISION:PATH is looked for in the repository of the current directory".to_owned(),
    }
    .into())
}

/// The object of a name; `None` if there is none.
fn resolve(name: &str) -> anyhow::Result<Option<String>> {
    let output = run(&["rev-parse", "--verify", "--quiet", name], None)?;
    if output.status.success() { text(output).map(Some) } else { Ok(None) }
}

/// Runs git. What it may not do is fetch objects that a partial clone left out: nothing here uses the network.
fn run(arguments: &[&str], input: Option<&[u8]>) -> anyhow::Result<Output> {
    let mut command = Command::new("git");
    command.args(arguments).env("GIT_NO_LAZY_FETCH", "1").env("GIT_OPTIONAL_LOCKS", "0").env("LC_ALL", "C");
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow::Error::new(Failure {
            message: "git is not installed, or not in PATH".to_owned(),
            help: "install git, or name files and directories".to_owned(),
        }),
        _ => anyhow::Error::new(error).context("cannot start git"),
    })?;
    let pipe = child.stdin.take();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            if let (Some(mut pipe), Some(input)) = (pipe, input) {
                // When git ends early it says why by itself.
                let _ = pipe.write_all(input);
            }
        });
        child.wait_with_output()
    });
    output.context("cannot read what git says")
}

fn checked(output: &Output) -> anyhow::Result<()> {
    if output.status.success() { Ok(()) } else { bail!("git failed: {}", said(output)) }
}

fn text(output: Output) -> anyhow::Result<String> {
    checked(&output)?;
    let text = String::from_utf8(output.stdout).context("git does not answer in text")?;
    Ok(text.trim_end().to_owned())
}

/// The first line of what git says against it.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
    line.trim_start_matches("fatal: ").to_owned()
}
