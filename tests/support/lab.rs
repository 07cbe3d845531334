//! One laboratory: a host with a Docker engine, and a host outside of it.
//!
//! Input: [`Options`]. Output: an engine in a network namespace of its own that is this "machine"; a second namespace,
//! joined to it by a virtual cable, is the rest of the world. Everything is gone when the value is dropped, also when
//! the test panics; `DOCKGATE_LAB_KEEP=1` keeps it until the next laboratory starts.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::command::{output, run, run_with_input};
use super::container::{Builder, Container};
use super::controller::Controller;
use super::engine::{Client, Daemon, Iptables, Options, Place};
use super::leftovers::{Claim, MARK};
use super::namespace::Namespace;
use super::survey::Source;

/// The host's addresses on the cable to the outside (documentation addresses, RFC 5737 and RFC 3849).
pub(crate) const HOST: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1))];

/// The outside host's addresses.
pub(crate) const OUTSIDE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 9))];

/// The one image of the laboratory: busybox and nothing else.
pub(crate) const IMAGE: &str = "busybox";

/// A running laboratory.
#[derive(Debug)]
pub(crate) struct Lab {
    client: Client,
    host: Namespace,
    outside: Namespace,
    options: Options,
    // Dropped in this order: first dockerd, then what it left.
    daemon: Mutex<Daemon>,
    claim: Claim,
}

impl Lab {
    /// Starts an engine and waits until it can run containers. Takes an `Engine` or `Options`.
    pub(crate) fn start(options: impl Into<Options>) -> Lab {
        assert!(nix::unistd::geteuid().is_root(), "the laboratory needs root: run it by `make test`");
        let claim = Claim::new();
        let (name, directory) = (claim.name(), claim.directory());
        connect_hosts(name, &claim.outside());
        let options = options.into();
        let host = Namespace::open(Path::new("/run/netns").join(name)).expect("the namespace was made above");
        if let Some(on) = options.bridge_netfilter {
            for family in ["iptables", "ip6tables"] {
                host.set_sysctl(&format!("net.bridge.bridge-nf-call-{family}"), if on { "1" } else { "0" });
            }
        }
        let daemon = Daemon::start(&options, &Place { namespace: name.to_owned(), directory, mark: MARK });
        let lab = Lab {
            client: daemon.client(),
            host,
            outside: Namespace::open(Path::new("/run/netns").join(claim.outside()))
                .expect("the namespace was made above"),
            options,
            daemon: Mutex::new(daemon),
            claim,
        };
        lab.import_image();
        lab
    }

    /// Its name, which everything of it carries.
    pub(crate) fn name(&self) -> &str {
        self.claim.name()
    }

    /// The namespace that is the Docker host.
    pub(crate) fn host(&self) -> &Namespace {
        &self.host
    }

    /// The namespace of the host outside.
    pub(crate) fn outside(&self) -> &Namespace {
        &self.outside
    }

    /// The outside host as a source of probes.
    pub(crate) fn outside_source(&self) -> Source {
        Source::new("outside", &self.outside)
    }

    /// The Docker host itself as a source of probes.
    pub(crate) fn host_source(&self) -> Source {
        Source::new("host", &self.host)
    }

    /// A directory for the files of a test; removed with the laboratory.
    pub(crate) fn directory(&self) -> PathBuf {
        let directory = self.claim.directory().join("files");
        fs::create_dir_all(&directory).expect("the laboratory's directory takes directories");
        directory
    }

    /// `docker ARGUMENTS…` against the laboratory's engine; panics when it fails.
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        self.client.docker(arguments)
    }

    /// `docker ARGUMENTS…`, whatever comes of it: its output or its complaint.
    pub(crate) fn try_docker(&self, arguments: &[&str]) -> Result<String, String> {
        self.client.try_docker(arguments)
    }

    /// The engine's version, e.g. `20.10.24+dfsg1`.
    pub(crate) fn engine_version(&self) -> String {
        self.docker(&["version", "--format", "{{.Server.Version}}"])
    }

    /// Ends the engine as an init system does, and starts it again. Its networks and containers are the same.
    pub(crate) fn restart_engine(&self) {
        self.stop_engine();
        self.start_engine();
    }

    /// Ends the engine as an init system does.
    pub(crate) fn stop_engine(&self) {
        self.daemon().stop();
    }

    /// Ends the engine as a crash does: its containers live on.
    pub(crate) fn kill_engine(&self) {
        self.daemon().kill();
    }

    /// Starts the engine that has ended.
    pub(crate) fn start_engine(&self) {
        self.daemon().start_again(&self.options);
    }

    /// Starts another engine, or the same one with other settings, in the place of the one that has ended.
    pub(crate) fn start_engine_as(&mut self, options: Options) {
        self.options = options;
        self.start_engine();
    }

    /// How the engine is set up.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Name of the iptables command of the engine's variant: `ip6tables-save` is `ip6tables-legacy-save` where the engine
    /// uses that one.
    pub(crate) fn tool(&self, command: &str) -> String {
        let Some(variant) = self.options.variant.map(Iptables::name) else { return command.to_owned() };
        match command.split_once('-') {
            Some((family, verb)) => format!("{family}-{variant}-{verb}"),
            None => format!("{command}-{variant}"),
        }
    }

    /// The engine's address, as `DOCKER_HOST` takes it.
    pub(crate) fn docker_host(&self) -> &str {
        self.client.host()
    }

    /// Creates a bridge network with the given subnets; one with a colon makes it an IPv6 network too.
    pub(crate) fn network(&self, name: &str, subnets: &[&str]) {
        let mut arguments = vec!["network", "create"];
        if subnets.iter().any(|subnet| subnet.contains(':')) {
            arguments.push("--ipv6");
        }
        for subnet in subnets {
            arguments.extend(["--subnet", subnet]);
        }
        arguments.push(name);
        self.docker(&arguments);
    }

    /// Describes a container; `start` on the result makes it.
    pub(crate) fn container(&self, name: &str) -> Builder {
        Builder::new(&self.client, name)
    }

    /// Starts several containers at once.
    #[expect(clippy::unused_self, reason = "the builders come from this laboratory and carry its client")]
    pub(crate) fn start_all(&self, builders: Vec<Builder>) -> Vec<Container> {
        thread::scope(|scope| {
            let threads: Vec<_> = builders.into_iter().map(|builder| scope.spawn(|| builder.start())).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }

    /// Runs a command on the Docker host and returns its standard output; panics when it fails.
    ///
    /// Only the network namespace is the host's. `/sys` is still the machine's, as it is for everything that is started
    /// by `nsenter --net`.
    pub(crate) fn run(&self, command: &[&str]) -> String {
        self.run_with_input(command, &[])
    }

    /// As [`Lab::run`], for a command that may fail.
    pub(crate) fn output(&self, command: &[&str]) -> Output {
        output(&[&["nsenter", &self.enter()], command].concat(), &[])
    }

    /// As [`Lab::run`], for a command that lists what somebody may be changing. `iptables-nft` reads rules one by one and
    /// asks the kernel for the name of each rule's set, which may be gone by then; it is asked again.
    pub(crate) fn list(&self, command: &[&str]) -> String {
        let enter = self.enter();
        let entered = [&["nsenter", &enter], command].concat();
        let listed = (0..20).map(|_| output(&entered, &[])).find(|listed| listed.status.success());
        let listed = listed.unwrap_or_else(|| panic!("`{}` fails time and again", entered.join(" ")));
        String::from_utf8_lossy(&listed.stdout).trim_end_matches('\n').to_owned()
    }

    /// As [`Lab::run`], with something on standard input.
    pub(crate) fn run_with_input(&self, command: &[&str], input: &[u8]) -> String {
        let enter = self.enter();
        let mut entered = vec!["nsenter", &enter];
        entered.extend(command);
        run_with_input(&entered, input)
    }

    /// Starts `dockgate ARGUMENTS…` (with a long-lived subcommand) on the Docker host. `--state-dir` is added.
    pub(crate) fn dockgate(&self, arguments: &[&str]) -> Controller {
        self.dockgate_with(&[], arguments)
    }

    /// As [`Lab::dockgate`], with an environment, as a service manager gives it.
    pub(crate) fn dockgate_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Controller {
        let state = self.claim.directory().join("state");
        let mut command = Command::new("nsenter");
        command.arg(self.enter()).arg(env!("CARGO_BIN_EXE_dockgate")).args(arguments);
        command.arg("--state-dir").arg(&state);
        command.env("DOCKER_HOST", self.docker_host()).env(MARK, self.claim.name());
        command.envs(environment.iter().copied());
        Controller::start(command, state, self.claim.directory().join("dockgate.log"))
    }

    /// As [`Lab::dockgate`], on another state directory of this name.
    pub(crate) fn dockgate_on(&self, state: &str, arguments: &[&str]) -> Controller {
        let directory = self.claim.directory();
        let mut command = Command::new("nsenter");
        command.arg(self.enter()).arg(env!("CARGO_BIN_EXE_dockgate")).args(arguments);
        command.arg("--state-dir").arg(directory.join(state));
        command.env("DOCKER_HOST", self.docker_host()).env(MARK, self.claim.name());
        Controller::start(command, directory.join(state), directory.join("dockgate.log"))
    }

    /// As [`Lab::dockgate`], on the outside host: the engine's bridges are not there.
    pub(crate) fn dockgate_outside(&self, arguments: &[&str]) -> Controller {
        let state = self.claim.directory().join("outside");
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.claim.outside()));
        command.arg(env!("CARGO_BIN_EXE_dockgate")).args(arguments).arg("--state-dir").arg(&state);
        command.env("DOCKER_HOST", self.docker_host()).env(MARK, self.claim.name());
        Controller::start(command, state, self.claim.directory().join("outside.log"))
    }

    /// As [`Lab::dockgate_with`], by a shell script in a mount namespace of its own that ends with `exec "$@"`.
    pub(crate) fn dockgate_by(&self, script: &str, environment: &[(&str, &str)], arguments: &[&str]) -> Controller {
        let state = self.claim.directory().join("state");
        let mut command = Command::new("nsenter");
        command.arg(self.enter()).args(["unshare", "--mount", "sh", "-ec", script, "sh"]);
        command.args(["env"]).args(environment.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(env!("CARGO_BIN_EXE_dockgate")).args(arguments).arg("--state-dir").arg(&state);
        command.env("DOCKER_HOST", self.docker_host()).env(MARK, self.claim.name());
        Controller::start(command, state, self.claim.directory().join("dockgate.log"))
    }

    /// Runs `dockgate ARGUMENTS…` on the Docker host to its end, whatever that is.
    pub(crate) fn dockgate_output(&self, arguments: &[&str]) -> Output {
        let enter = self.enter();
        let docker_host = format!("DOCKER_HOST={}", self.docker_host());
        let mut command = vec!["nsenter", &enter, "env", &docker_host, env!("CARGO_BIN_EXE_dockgate")];
        command.extend(arguments);
        output(&command, &[])
    }

    fn daemon(&self) -> MutexGuard<'_, Daemon> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self) -> String {
        format!("--net=/run/netns/{}", self.claim.name())
    }

    /// Makes an image of the machine's static busybox. No registry is asked.
    fn import_image(&self) {
        const BUSYBOX: &str = "/bin/busybox";
        let root = self.claim.directory().join("image");
        let bin = root.join("bin");
        fs::create_dir_all(&bin).expect("the laboratory's directory takes directories");
        fs::copy(BUSYBOX, bin.join("busybox")).unwrap_or_else(|error| panic!("cannot read {BUSYBOX}: {error}"));
        for applet in run(&[BUSYBOX, "--list"]).lines().filter(|applet| *applet != "busybox") {
            symlink("busybox", bin.join(applet)).expect("applets have different names");
        }
        let archive = output(&["tar", "--create", "--directory", &root.to_string_lossy(), "."], &[]);
        self.client.run(&["import", "--change", "ENV PATH=/bin", "-", IMAGE], &archive.stdout);
        fs::remove_dir_all(root).expect("what was made above can be removed");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let kept = std::env::var_os("DOCKGATE_LAB_KEEP").is_some();
        if thread::panicking() {
            eprintln!("the engine's last words:\n{}", self.daemon().log_tail(30));
            if !kept {
                eprintln!("(DOCKGATE_LAB_KEEP=1 keeps the laboratory of a test, to be looked at.)");
            }
        }
        if kept {
            self.daemon().keep();
            self.claim.keep();
            eprintln!("kept: nsenter {} env DOCKER_HOST={} bash", self.enter(), self.docker_host());
        }
    }
}

/// Makes the two namespaces and the cable between them.
fn connect_hosts(host: &str, outside: &str) {
    for namespace in [host, outside] {
        run(&["ip", "netns", "add", namespace]);
        run(&["ip", "-n", namespace, "link", "set", "lo", "up"]);
        let handle = Namespace::open(Path::new("/run/netns").join(namespace)).expect("the namespace was just made");
        for (name, value) in [
            // Duplicate address detection would keep new bridges mute for a second.
            ("net.ipv6.conf.all.accept_dad", "0"),
            ("net.ipv6.conf.default.accept_dad", "0"),
        ] {
            handle.set_sysctl(name, value);
        }
    }
    run(&["ip", "-n", host, "link", "add", "ext0", "type", "veth", "peer", "name", "ext0", "netns", outside]);
    for (namespace, own, other) in [(host, HOST, OUTSIDE), (outside, OUTSIDE, HOST)] {
        run(&["ip", "-n", namespace, "link", "set", "ext0", "up"]);
        for (own, other) in own.iter().zip(other) {
            let prefix = if own.is_ipv4() { 24 } else { 64 };
            run(&["ip", "-n", namespace, "address", "add", &format!("{own}/{prefix}"), "dev", "ext0"]);
            run(&["ip", "-n", namespace, "route", "add", "default", "via", &other.to_string()]);
        }
    }
}
