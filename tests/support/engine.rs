//! A Docker engine of our own in a network namespace.
//!
//! Input: [`Options`], a namespace and a directory. Output: a running dockerd that answers on a unix socket in that
//! directory, a way to run its client, and ways to end it and to start it again.
//!
//! The engine runs in a mount namespace of its own: containerd keeps its sockets in `/run/containerd` whatever the
//! engine's configuration says, and an engine of the machine may be using that directory. What the engine mounts
//! disappears with its last process. An engine that is started again comes into the mount namespace of the one before,
//! as it does on a host, so that it finds the containers that live on.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
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
    /// A newer one, from Debian 13, unpacked by `tests/laboratory/newer-engine.sh`.
    Trixie,
    /// The newest one, from Debian's unstable suite, unpacked likewise.
    Sid,
}

impl Engine {
    /// The Debian suite that it is unpacked from; `None` for the machine's own.
    fn suite(self) -> Option<&'static str> {
        match self {
            Engine::Installed => None,
            Engine::Trixie => Some("trixie"),
            Engine::Sid => Some("sid"),
        }
    }
}

/// Which implementation of the iptables commands an engine finds in its PATH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Iptables {
    /// `iptables-nft`
    Nft,
    /// `iptables-legacy`
    Legacy,
}

impl Iptables {
    /// The word in the commands' names.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Iptables::Nft => "nft",
            Iptables::Legacy => "legacy",
        }
    }
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
    /// Whether the engine writes any firewall rule.
    pub(crate) iptables: bool,
    /// The `iptables` in the engine's PATH; `None` for the one that its system has chosen.
    pub(crate) variant: Option<Iptables>,
    /// Whether containers outlive the engine.
    pub(crate) live_restore: bool,
    /// Whether bridges pass their traffic to netfilter when the engine starts; `None` leaves it to the kernel, which has
    /// it on in a new namespace.
    pub(crate) bridge_netfilter: Option<bool>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            engine: Engine::Installed,
            ip6tables: None,
            userland_proxy: true,
            iptables: true,
            variant: None,
            live_restore: false,
            bridge_netfilter: None,
        }
    }
}

impl From<Engine> for Options {
    fn from(engine: Engine) -> Options {
        Options { engine, ..Options::default() }
    }
}

/// Runs commands of the engine's own client. Cheap to clone; follows the engine when it is started again.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    host: String,
    engine: Arc<AtomicU32>,
}

impl Client {
    /// `docker ARGUMENTS…`; returns its standard output, panics when it fails.
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        self.run(arguments, &[])
    }

    /// As [`Client::docker`], with something on standard input.
    pub(crate) fn run(&self, arguments: &[&str], input: &[u8]) -> String {
        self.entered(arguments, |command| command::run_with_input(command, input))
    }

    /// `docker ARGUMENTS…`, whatever comes of it: its output or its complaint.
    pub(crate) fn try_docker(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.entered(arguments, |command| command::output(command, &[]));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// In the engine's mount namespace the client that fits the engine is the one that is found.
    fn entered<T>(&self, arguments: &[&str], run: impl FnOnce(&[&str]) -> T) -> T {
        let engine = self.engine.load(Ordering::Relaxed).to_string();
        let command = ["nsenter", "--mount", "--target", &engine, "docker", "--host", &self.host];
        run(&[&command[..], arguments].concat())
    }

    /// The engine's address, as `DOCKER_HOST` takes it.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }
}

/// An engine, running or ended.
#[derive(Debug)]
pub(crate) struct Daemon {
    process: Child,
    place: Place,
    engine: Engine,
    driver: &'static str,
    client: Client,
    /// The engine's mount namespace, which outlives the engine in this handle.
    mounts: Option<File>,
    kept: bool,
}

/// Where an engine runs.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Name of the network namespace.
    pub(crate) namespace: String,
    /// Directory for everything that the engine writes.
    pub(crate) directory: PathBuf,
    /// The environment variable by which its processes are known.
    pub(crate) mark: &'static str,
}

impl Daemon {
    /// Starts an engine and waits until it answers. Panics with the engine's log when it does not come up.
    pub(crate) fn start(options: &Options, place: &Place) -> Daemon {
        let mut complaint = String::new();
        // overlay2 does not work everywhere (an overlay over an overlay, an old kernel); vfs does.
        for driver in ["overlay2", "vfs"] {
            let process = spawn(options, driver, place, Before::Nothing);
            let client = Client { host: place.host(), engine: Arc::new(AtomicU32::new(process.id())) };
            let (engine, place) = (options.engine, place.clone());
            let mut daemon = Daemon { process, place, engine, driver, client, mounts: None, kept: false };
            match daemon.wait_until_it_answers() {
                Ok(()) => return daemon,
                Err(error) => complaint = format!("{error}\n{}", daemon.log_tail(60)),
            }
        }
        panic!("the engine did not start: {complaint}");
    }

    /// Starts an engine that has ended, or another one in its place, and waits until it answers.
    pub(crate) fn start_again(&mut self, options: &Options) {
        let mounts = self.mounts.take().expect("an engine that answered has a mount namespace");
        let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), mounts.as_raw_fd()));
        let before = if options.engine == self.engine { Before::Same(&path) } else { Before::Other(&path) };
        self.process = spawn(options, self.driver, &self.place, before);
        self.engine = options.engine;
        self.client.engine.store(self.process.id(), Ordering::Relaxed);
        if let Err(error) = self.wait_until_it_answers() {
            panic!("the engine did not start again: {error}\n{}", self.log_tail(60));
        }
    }

    fn wait_until_it_answers(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while start.elapsed() < START_PATIENCE {
            if let Some(status) = self.process.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("it ended ({status})"));
            }
            if ping(&self.place.socket()) {
                let mounts = File::open(format!("/proc/{}/ns/mnt", self.process.id()));
                self.mounts = Some(mounts.map_err(|error| error.to_string())?);
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(format!("no answer within {START_PATIENCE:?}"))
    }

    /// The client for this engine.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The process id of dockerd.
    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Asks dockerd to end, as an init system does, and waits until it has: its containers end with it, unless it is
    /// configured otherwise.
    pub(crate) fn stop(&mut self) {
        self.end(Signal::SIGTERM);
    }

    /// Ends dockerd as a crash does. Its containers live on; its containerd dies with it.
    pub(crate) fn kill(&mut self) {
        self.end(Signal::SIGKILL);
        let file = self.place.directory.join("exec/containerd/containerd.pid");
        let Ok(containerd) = fs::read_to_string(&file) else { return };
        let status = PathBuf::from(format!("/proc/{}/stat", containerd.trim()));
        let is_alive = || fs::read_to_string(&status).is_ok_and(|status| !status.contains(") Z "));
        let end = Instant::now() + Duration::from_secs(10);
        while is_alive() {
            assert!(Instant::now() < end, "containerd outlives the dockerd that it belongs to");
            thread::sleep(Duration::from_millis(5));
        }
        // Where nobody waits for orphans, as an init system does, a dead containerd stays in the table of processes, and
        // the next dockerd would take it for one that runs.
        let _gone = fs::remove_file(file);
    }

    fn end(&mut self, signal: Signal) {
        let process = i32::try_from(self.process.id()).expect("process ids of Linux fit");
        kill(Pid::from_raw(process), signal).expect("dockerd runs and is ours");
        self.process.wait().expect("dockerd is a child of this process");
    }

    /// Lets the engine run on when the handle is dropped.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }

    /// The last complaints in the engine's log. (containerd's shims write what they do into it too, whatever the level.)
    pub(crate) fn log_tail(&self, lines: usize) -> String {
        let log = tail(&self.place.directory.join("dockerd.log"), usize::MAX);
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

impl Place {
    fn socket(&self) -> PathBuf {
        self.directory.join("docker.sock")
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }
}

/// What an engine comes after.
#[derive(Clone, Copy)]
enum Before<'a> {
    /// Nothing: it makes its mount namespace.
    Nothing,
    /// The same engine, in the mount namespace at this path.
    Same(&'a Path),
    /// Another one, whose containers it takes over.
    Other(&'a Path),
}

fn spawn(options: &Options, driver: &str, place: &Place, before: Before<'_>) -> Child {
    let directory = &place.directory;
    let configuration = directory.join("daemon.json");
    fs::write(&configuration, settings(options, driver, place).to_string()).expect("the directory takes files");
    let log = File::options().create(true).append(true).open(directory.join("dockerd.log"));
    let log = log.expect("the directory takes files");
    let also_log = log.try_clone().expect("a file can be opened twice");
    let root = options.engine.suite().map(unpacked).unwrap_or_default();
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{}", place.namespace));
    if let Before::Same(mounts) | Before::Other(mounts) = before {
        command.arg(format!("--mount={}", mounts.display()));
    }
    let unshare = ["unshare", "--mount", "--propagation", "slave"];
    let (inner, start): (&[&str], _) = match before {
        Before::Nothing => (&unshare, "fresh"),
        Before::Same(_) => (&[], "again"),
        Before::Other(_) => (&unshare, "takeover"),
    };
    command
        .args(inner)
        .args(["sh", "-euc", include_str!("engine.sh"), "engine", start])
        .args([root.as_os_str(), directory.as_os_str(), configuration.as_os_str()])
        .arg(options.variant.map_or("", Iptables::name))
        .env(place.mark, &place.namespace)
        // Ctrl-C at the terminal is for the test, which then ends the engine in its own way.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(also_log);
    command.spawn().expect("nsenter can be run")
}

fn settings(options: &Options, driver: &str, place: &Place) -> serde_json::Value {
    let directory = &place.directory;
    let mut settings = serde_json::json!({
        "data-root": directory.join("data"),
        "exec-root": directory.join("exec"),
        "pidfile": directory.join("docker.pid"),
        "hosts": [place.host()],
        "storage-driver": driver,
        "log-level": "warn",
        "userland-proxy": options.userland_proxy,
        "iptables": options.iptables,
        "live-restore": options.live_restore,
        // Control groups under a name of our own can be found, killed and removed without touching others.
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "cgroup-parent": format!("/{}", place.namespace),
    });
    if let Some(enabled) = options.ip6tables {
        settings["ip6tables"] = enabled.into();
        settings["experimental"] = enabled.into();
    }
    settings
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

/// The root directory with the engine of a Debian suite, made when it is not there yet.
fn unpacked(suite: &str) -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/laboratory/newer-engine.sh");
    PathBuf::from(command::run(&["sh", script, suite]))
}
