//! A Docker engine of our own in a network namespace.
//!
//! Input: [`Options`], a namespace and a directory. Output: a running dockerd that answers on a unix socket in that
//! directory, and a way to run its client.
//!
//! The engine runs in a mount namespace of its own: containerd keeps its sockets in `/run/containerd` whatever the
//! engine's configuration says, and an engine of the machine may be using that directory. What the engine mounts
//! disappears with its last process.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::command;

/// How long an engine may take to answer after its start.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Which engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// The dockerd that is installed on this machine.
    Installed,
    /// A newer one, from Debian's unstable suite, unpacked by `tests/laboratory/newer-engine.sh`.
    Sid,
}

/// How the engine is set up. The defaults are the engine's own.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Which engine.
    pub(crate) engine: Engine,
    /// `ip6tables`; `None` leaves it to the engine, which has it off before version 27. Engine 20.10 takes it only with
    /// `experimental`, which is then set too.
    pub(crate) ip6tables: Option<bool>,
    /// Whether published ports are also served by `docker-proxy`.
    pub(crate) userland_proxy: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { engine: Engine::Installed, ip6tables: None, userland_proxy: true }
    }
}

impl From<Engine> for Options {
    fn from(engine: Engine) -> Options {
        Options { engine, ..Options::default() }
    }
}

/// Runs commands of the engine's own client. Cheap to clone; valid as long as the engine runs.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    host: String,
    engine: u32,
}

impl Client {
    /// `docker ARGUMENTS…`; returns its standard output, panics when it fails.
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        self.run(arguments, &[])
    }

    /// As [`Client::docker`], with something on standard input.
    pub(crate) fn run(&self, arguments: &[&str], input: &[u8]) -> String {
        let engine = self.engine.to_string();
        // In the engine's mount namespace the client that fits the engine is the one that is found.
        let mut command = vec!["nsenter", "--mount", "--target", &engine, "docker", "--host", &self.host];
        command.extend(arguments);
        command::run_with_input(&command, input)
    }

    /// `docker ARGUMENTS…`, whatever comes of it.
    pub(crate) fn succeeds(&self, arguments: &[&str]) -> bool {
        let engine = self.engine.to_string();
        let mut command = vec!["nsenter", "--mount", "--target", &engine, "docker", "--host", &self.host];
        command.extend(arguments);
        command::succeeds(&command)
    }

    /// The engine's address, as `DOCKER_HOST` takes it.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }
}

/// A running engine.
#[derive(Debug)]
pub(crate) struct Daemon {
    process: Child,
    directory: PathBuf,
    kept: bool,
}

impl Daemon {
    /// Starts an engine in a network namespace, with everything it writes below `directory`, and waits until it answers.
    /// Its processes carry `mark` in their environment. Panics with the engine's log when it does not come up.
    pub(crate) fn start(options: &Options, namespace: &str, directory: &Path, mark: (&str, &str)) -> Daemon {
        let mut complaint = String::new();
        // overlay2 does not work everywhere (an overlay over an overlay, an old kernel); vfs does.
        for driver in ["overlay2", "vfs"] {
            let mut daemon = Daemon::spawn(options, driver, namespace, directory, mark);
            match daemon.wait_until_it_answers() {
                Ok(()) => return daemon,
                Err(error) => complaint = format!("{error}\n{}", daemon.log_tail(60)),
            }
        }
        panic!("the engine did not start: {complaint}");
    }

    fn spawn(options: &Options, driver: &str, namespace: &str, directory: &Path, mark: (&str, &str)) -> Daemon {
        let configuration = directory.join("daemon.json");
        let socket = directory.join("docker.sock");
        let mut settings = serde_json::json!({
            "data-root": directory.join("data"),
            "exec-root": directory.join("exec"),
            "pidfile": directory.join("docker.pid"),
            "hosts": [format!("unix://{}", socket.display())],
            "storage-driver": driver,
            "log-level": "warn",
            "userland-proxy": options.userland_proxy,
            // Control groups under a name of our own can be found, killed and removed without touching others.
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "cgroup-parent": format!("/{}", mark.1),
        });
        if let Some(enabled) = options.ip6tables {
            settings["ip6tables"] = enabled.into();
            settings["experimental"] = enabled.into();
        }
        fs::write(&configuration, settings.to_string()).expect("the laboratory's directory takes files");
        let log = File::create(directory.join("dockerd.log")).expect("the laboratory's directory takes files");
        let also_log = log.try_clone().expect("a file can be opened twice");
        let root = match options.engine {
            Engine::Installed => PathBuf::new(),
            Engine::Sid => newer_engine(),
        };
        let process = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{namespace}"))
            .args(["unshare", "--mount", "--propagation", "slave", "sh", "-euc", include_str!("engine.sh"), "engine"])
            .args([root.as_os_str(), directory.as_os_str(), configuration.as_os_str()])
            .env(mark.0, mark.1)
            // Ctrl-C at the terminal is for the test, which then ends the engine in its own way.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(also_log)
            .spawn()
            .expect("nsenter can be run");
        Daemon { process, directory: directory.to_owned(), kept: false }
    }

    fn wait_until_it_answers(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while start.elapsed() < START_PATIENCE {
            if let Some(status) = self.process.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("it ended ({status})"));
            }
            if ping(&self.directory.join("docker.sock")) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(format!("no answer within {START_PATIENCE:?}"))
    }

    /// The client for this engine.
    pub(crate) fn client(&self) -> Client {
        let host = format!("unix://{}", self.directory.join("docker.sock").display());
        Client { host, engine: self.process.id() }
    }

    /// The process id of dockerd.
    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Asks dockerd to end, as an init system does, and waits until it has: its containers end with it.
    pub(crate) fn stop(&mut self) {
        let process = i32::try_from(self.process.id()).expect("process ids of Linux fit");
        kill(Pid::from_raw(process), Signal::SIGTERM).expect("dockerd runs and is ours");
        self.process.wait().expect("dockerd is a child of this process");
    }

    /// Lets the engine run on when the handle is dropped.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }

    /// The last complaints in the engine's log. (containerd's shims write what they do into it too, whatever the level.)
    pub(crate) fn log_tail(&self, lines: usize) -> String {
        let log = tail(&self.directory.join("dockerd.log"), usize::MAX);
        let complaints: Vec<&str> = log.lines().filter(|line| !line.contains("level=info")).collect();
        complaints[complaints.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Daemon {
    /// Kills dockerd. What it started is found and ended by the laboratory.
    fn drop(&mut self) {
        if !self.kept {
            let _already_dead = self.process.kill();
            let _reaped = self.process.wait();
        }
    }
}

/// The last lines of a file, or nothing.
pub(crate) fn tail(file: &Path, lines: usize) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn ping(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let mut answer = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok()
        && stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.contains(" 200 ")
}

/// The root directory with the newer engine, made when it is not there yet.
fn newer_engine() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/laboratory/newer-engine.sh");
    PathBuf::from(command::run(&["sh", script, "sid"]))
}
