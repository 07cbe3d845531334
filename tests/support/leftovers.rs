//! What a laboratory leaves in the machine, and its removal.
//!
//! Input: a claimed name. Output: nothing of it is left. Processes carry the name in their environment or are in its
//! control group; namespaces and the directory carry it in their names; mounts live in a mount namespace that ends with
//! the processes. So the same code that ends a laboratory ends that of a test which was killed: its directory is then
//! no longer locked.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::command;

/// The environment variable that marks the processes of a laboratory with its name.
pub(crate) const MARK: &str = "DOCKGATE_LAB";

/// Directory with a directory per laboratory. Only root may write here, and paths of sockets in it are short.
const BASE: &str = "/var/lib/dockgate-lab";

/// Prefix of all names.
const PREFIX: &str = "dockgate-lab-";

/// A name that no other laboratory has, with everything that will carry it. Dropped: removed.
#[derive(Debug)]
pub(crate) struct Claim {
    name: String,
    kept: bool,
    /// The lock on the directory. The kernel drops it when this process ends, however it ends.
    _lock: File,
}

impl Claim {
    /// Removes the laboratories of tests that were killed, and claims a name.
    pub(crate) fn new() -> Claim {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        fs::create_dir_all(BASE).unwrap_or_else(|error| panic!("cannot make {BASE}: {error}"));
        // While this is locked, no directory is both made and not yet locked by its owner.
        let base = File::open(BASE).and_then(|base| base.lock().map(|()| base));
        let _base = base.unwrap_or_else(|error| panic!("cannot lock {BASE}: {error}"));
        sweep();
        let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = Path::new(BASE).join(&name);
        fs::create_dir(&directory).unwrap_or_else(|error| panic!("cannot make {}: {error}", directory.display()));
        let lock = File::open(&directory).and_then(|lock| lock.lock().map(|()| lock));
        let lock = lock.unwrap_or_else(|error| panic!("cannot lock {}: {error}", directory.display()));
        Claim { name, kept: false, _lock: lock }
    }

    /// The name: of the control group, of the host's namespace, and in [`MARK`].
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The name of the outside host's namespace.
    pub(crate) fn outside(&self) -> String {
        outside(&self.name)
    }

    /// The directory of the laboratory.
    pub(crate) fn directory(&self) -> PathBuf {
        Path::new(BASE).join(&self.name)
    }

    /// Leaves everything where it is for a person to look at; the next laboratory's start removes it.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        remove(&self.name);
        if let Ok(base) = File::open(BASE)
            && base.lock().is_ok()
            && fs::read_dir(BASE).is_ok_and(|mut entries| entries.next().is_none())
        {
            // The mount point that every engine of ours needed. It stays when someone else has something in it.
            let _in_use = fs::remove_dir("/run/containerd");
        }
    }
}

fn outside(name: &str) -> String {
    format!("{name}-outside")
}

/// Removes every laboratory whose owner is gone. The caller holds the lock of [`BASE`].
fn sweep() {
    let names =
        fs::read_dir(BASE).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    for name in names.filter(|name| name.starts_with(PREFIX)) {
        let unlocked = File::open(Path::new(BASE).join(&name)).is_ok_and(|directory| directory.try_lock().is_ok());
        if unlocked {
            eprintln!("removing {name}, which a killed test left behind");
            remove(&name);
        }
    }
}

/// Removes everything that carries the name. Complains, and goes on, where that fails.
fn remove(name: &str) {
    let groups = control_groups(name);
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let processes = processes(name, &groups);
        if processes.is_empty() || Instant::now() > end {
            break;
        }
        for process in processes {
            // One that has ended in the meantime is what we want.
            let _gone = kill(process, Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(10));
    }
    for namespace in [name.to_owned(), outside(name)] {
        if Path::new("/run/netns").join(&namespace).exists() {
            complain(command::succeeds(&["ip", "netns", "delete", &namespace]), "network namespace", &namespace);
        }
    }
    for group in groups {
        complain(remove_group(&group).is_ok(), "control group", &group.to_string_lossy());
    }
    let directory = Path::new(BASE).join(name);
    let removed = fs::remove_dir_all(&directory);
    complain(removed.is_ok_and(|()| !directory.exists()), "directory", &directory.to_string_lossy());
}

fn complain(succeeded: bool, what: &str, name: &str) {
    if !succeeded {
        eprintln!("cannot remove the {what} {name}");
    }
}

/// The control groups of a name: one in a unified hierarchy, else one per controller.
pub(crate) fn control_groups(name: &str) -> Vec<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let controllers = fs::read_dir(&root).into_iter().flatten().flatten().map(|entry| entry.path());
    let candidates = std::iter::once(root.clone()).chain(controllers).map(|parent| parent.join(name));
    let mut groups: Vec<PathBuf> = candidates.filter(|group| group.is_dir()).collect();
    // `cpu` and `cpu,cpuacct` may be one directory by two names.
    groups.sort();
    groups.dedup_by_key(|group| group.canonicalize().unwrap_or_else(|_| group.clone()));
    groups
}

fn remove_group(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_group(&entry.path())?;
        }
    }
    // A group whose last process is still being reaped is busy for a moment.
    let end = Instant::now() + Duration::from_secs(2);
    loop {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < end => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => return other,
        }
    }
}

/// The processes that carry the mark or are in one of the groups.
fn processes(name: &str, groups: &[PathBuf]) -> Vec<Pid> {
    let mark = format!("{MARK}={name}");
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let marked = all.filter_map(|entry| {
        let id: i32 = entry.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()).then_some(id)
    });
    let mut ids: Vec<i32> = marked.chain(groups.iter().flat_map(|group| members(group))).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter().map(Pid::from_raw).collect()
}

fn members(group: &Path) -> Vec<i32> {
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let own = listed.lines().filter_map(|line| line.parse().ok());
    let below = fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path());
    own.chain(below.filter(|path| path.is_dir()).flat_map(|path| members(&path))).collect()
}
