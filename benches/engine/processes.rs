//! The processes that a program starts for the packet filter.
//!
//! Input: a directory. Output: a `PATH` in which each command of the packet filter is a script that notes when it began,
//! and when it ended if that is asked for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where the commands themselves are.
const SYSTEM: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
/// How their names begin.
const COMMANDS: [&str; 4] = ["ipset", "nft", "iptables", "ip6tables"];

/// What a script does beside what its command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notes {
    /// It notes its beginning and becomes the command. dockgate tells the changes of its own `nft` from those of others,
    /// and a script that stays between the two would make them others'.
    Beginning,
    /// It notes the end as well.
    BeginningAndEnd,
}

/// The scripts, and what they have noted.
pub(crate) struct Processes {
    directory: PathBuf,
    notes: PathBuf,
}

impl Processes {
    /// Writes the scripts.
    pub(crate) fn watch(directory: &Path, what: Notes) -> Processes {
        let processes = Processes { directory: directory.join("path"), notes: directory.join("processes") };
        fs::create_dir_all(&processes.directory).expect("the laboratory's directory takes directories");
        fs::write(&processes.notes, "").expect("the laboratory's directory takes files");
        for command in SYSTEM.into_iter().flat_map(commands) {
            let name = command.file_name().expect("commands have names");
            let script = processes.directory.join(name);
            if script.exists() {
                continue;
            }
            // bash tells the time without starting a process for it.
            let (notes, command) = (processes.notes.display(), command.display());
            let beginning = format!("#!/bin/bash\necho \"$EPOCHREALTIME began $0 $*\" >>{notes}\n");
            let text = match what {
                Notes::Beginning => format!("{beginning}exec {command} \"$@\"\n"),
                Notes::BeginningAndEnd => format!(
                    "{beginning}{command} \"$@\"\nresult=$?\necho \"$EPOCHREALTIME ended $result $0\" >>{notes}\n\
                     exit $result\n"
                ),
            };
            fs::write(&script, text).expect("the laboratory's directory takes files");
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("the file was just written");
        }
        processes
    }

    /// The value of `PATH`.
    pub(crate) fn path(&self) -> String {
        format!("{}:{}", self.directory.display(), std::env::var("PATH").unwrap_or_default())
    }

    /// Number of processes that have begun.
    pub(crate) fn begun(&self) -> usize {
        self.notes().lines().filter(|line| line.contains(" began ")).count()
    }

    /// The commands that have begun, as they were called.
    pub(crate) fn commands(&self) -> Vec<String> {
        let notes = self.notes();
        let called = notes.lines().filter_map(|line| line.split_once(" began ")).map(|(_, called)| called);
        let without_directory = called.map(|called| called.trim_start_matches(&*self.directory.to_string_lossy()));
        without_directory.map(|called| called.trim_start_matches('/').to_owned()).collect()
    }

    /// When the last process ended: nanoseconds since the beginning of 1970.
    pub(crate) fn last_end(&self) -> Option<i64> {
        let notes = self.notes();
        let last = notes.lines().rfind(|line| line.contains(" ended "))?;
        // Seconds, and six digits for microseconds.
        let (seconds, micros) = last.split(' ').next()?.split_once(['.', ','])?;
        Some(seconds.parse::<i64>().ok()? * 1_000_000_000 + micros.parse::<i64>().ok()? * 1000)
    }

    /// Whether a process has ended in failure.
    pub(crate) fn has_failed(&self) -> bool {
        self.notes().lines().any(|line| line.contains(" ended ") && !line.contains(" ended 0 "))
    }

    /// Everything that is noted.
    pub(crate) fn notes(&self) -> String {
        fs::read_to_string(&self.notes).unwrap_or_default()
    }
}

fn commands(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| COMMANDS.iter().any(|command| name.starts_with(command)))
    };
    entries.filter(is_ours).collect()
}
