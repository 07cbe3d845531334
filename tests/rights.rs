//! The rights that the deployment files grant are enough: with them and no others, dockgate enforces policy on a real
//! engine. Seccomp, masked paths and the read-only file system of a container are Docker's own here; of the systemd unit
//! only the capabilities can be tried without systemd.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use support::leftovers::MARK;
use support::{Container, Conversation, Engine, Lab, Probe, Survey, Transport};

const BINARY: &str = env!("CARGO_BIN_EXE_dockgate");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shop");
/// How long dockgate may take to become ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// web and api of `examples/shop`.
struct Shop {
    web: Container,
    api: Container,
}

impl Shop {
    fn open(lab: &Lab) -> Shop {
        lab.network("shop_front", &["172.30.7.0/24", "2001:db8:30:7::/64"]);
        let container = |app: &str, port: u16| {
            let builder = lab.container(app).network("shop_front").label("app", app);
            builder.label("com.docker.compose.project", "shop").serve(&[port]).start()
        };
        Shop { web: container("web", 80), api: container("api", 8080) }
    }

    /// A flow that the policy forbids, open before it is in force.
    fn open_flow(&self) -> Conversation {
        let api = SocketAddr::new(self.api.address("shop_front", false), 9999);
        Conversation::open(Transport::Tcp, self.web.namespace(), api, (self.api.namespace(), 9999))
    }

    /// The policy is in force on one bridge, in both families.
    fn assert_governed(&self) {
        let allowed = Survey::new().source(self.web.source()).target(self.api.target(&[Probe::Tcp(8080)]));
        allowed.expect(|_| true);
        let denied = Survey::new().source(self.api.source()).target(self.web.target(&[Probe::Tcp(80)]));
        denied.expect(|_| false);
    }
}

fn deployment_file(name: &str) -> String {
    let path = Path::new(ROOT).join("helm-free-deploy").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn wait_until_ready(status: impl Fn() -> Output, log: impl Fn() -> String) {
    let start = Instant::now();
    loop {
        let answer = status();
        if answer.status.success() {
            return;
        }
        let said = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
        assert!(start.elapsed() < PATIENCE, "dockgate is not ready: {said}\nits log:\n{}", log());
        thread::sleep(Duration::from_millis(50));
    }
}

fn assert_nothing_is_left(lab: &Lab) {
    for save in ["iptables-save", "ip6tables-save"] {
        assert!(!lab.run(&[save]).contains("DG-"), "{save} still shows chains of ours");
    }
    assert_eq!(lab.run(&["ipset", "list", "-n"]).trim(), "");
    assert!(!lab.run(&["nft", "list", "tables"]).contains("dockgate"), "the table against spoofing is left");
}

/// A process that ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already when the test failed because of that.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_capabilities_of_the_unit_are_enough() {
    let unit = deployment_file("dockgate.service");
    let granted = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).expect("the unit has them");
    let bounding = granted
        .split_whitespace()
        .fold("-all".to_owned(), |set, name| format!("{set},+{}", name.trim_start_matches("CAP_").to_lowercase()));

    let lab = Lab::start(Engine::Installed);
    let shop = Shop::open(&lab);
    let mut flow = shop.open_flow();
    let state = lab.directory().join("state");
    let log = lab.directory().join("dockgate.log");
    let file = fs::File::create(&log).expect("the laboratory's directory takes files");
    let process = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{}", lab.name()))
        .args(["setpriv", "--bounding-set", &bounding, "--inh-caps", "-all", "--no-new-privs"])
        .args([BINARY, "run", "--policies", POLICIES, "--state-dir"])
        .arg(&state)
        .env("DOCKER_HOST", lab.docker_host())
        .env(MARK, lab.name())
        .stdin(Stdio::null())
        .stderr(file)
        .spawn()
        .expect("nsenter can be run");
    let _running = Running(process);

    let status = || {
        let mut command = Command::new(BINARY);
        command.args(["status", "--state-dir"]).arg(&state).output().expect("the binary can be run")
    };
    wait_until_ready(status, || fs::read_to_string(&log).unwrap_or_default());
    shop.assert_governed();
    flow.expect_silence();
}

#[derive(Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
}

/// The service, as far as it concerns rights and commands.
#[derive(Deserialize)]
struct Service {
    command: Vec<String>,
    network_mode: String,
    cap_drop: Vec<String>,
    cap_add: Vec<String>,
    security_opt: Vec<String>,
    read_only: bool,
    volumes: Vec<Mount>,
}

#[derive(Deserialize)]
struct Mount {
    #[serde(rename = "type")]
    kind: String,
    target: String,
    #[serde(default)]
    read_only: bool,
}

impl Service {
    /// Its rights and mounts as arguments of `docker run`; `here` says what stands for a source in the laboratory.
    fn arguments(&self, here: impl Fn(&Mount) -> String) -> Vec<String> {
        let mut arguments = vec!["--network".to_owned(), self.network_mode.clone()];
        let lists =
            [("--cap-drop", &self.cap_drop), ("--cap-add", &self.cap_add), ("--security-opt", &self.security_opt)];
        for (flag, values) in lists {
            arguments.extend(values.iter().flat_map(|value| [flag.to_owned(), value.clone()]));
        }
        if self.read_only {
            arguments.push("--read-only".to_owned());
        }
        for mount in &self.volumes {
            let access = if mount.read_only { ",readonly" } else { "" };
            let mount = format!("type={},source={},target={}{access}", mount.kind, here(mount), mount.target);
            arguments.extend(["--mount".to_owned(), mount]);
        }
        arguments
    }
}

#[test]
fn the_rights_of_the_container_are_enough() {
    let compose: Compose = serde_yaml::from_str(&deployment_file("compose.yaml")).expect("it is a Compose file");
    let service = &compose.services["dockgate"];

    let lab = Lab::start(Engine::Installed);
    let shop = Shop::open(&lab);
    let directory = lab.directory();
    let lock = directory.join("xtables.lock");
    fs::write(&lock, "").expect("the laboratory's directory takes files");
    let socket = lab.docker_host().trim_start_matches("unix://").to_owned();
    let mut arguments = service.arguments(|mount| match mount.target.as_str() {
        "/etc/dockgate/policies" => POLICIES.to_owned(),
        "/var/run/docker.sock" => socket.clone(),
        "/run/xtables.lock" => lock.to_string_lossy().into_owned(),
        "/var/lib/dockgate" => "state".to_owned(),
        other => panic!("what stands for {other} in the laboratory?"),
    });
    // The image would be built from the network's packages; here it is this machine's own programs and this build.
    let programs = [("/usr", "/usr"), ("/etc/alternatives", "/etc/alternatives"), (BINARY, "/dockgate")];
    for (source, target) in programs {
        arguments.extend(["--mount".to_owned(), format!("type=bind,source={source},target={target},readonly")]);
    }
    let image = import_image_for_programs(&lab);
    arguments.extend(["--entrypoint", "/dockgate", "--env", "PATH=/usr/sbin:/usr/bin", &image].map(str::to_owned));
    let run = |flags: &[&str], command: &[String]| {
        let mut words: Vec<&str> = [&["run"], flags].concat();
        words.extend(arguments.iter().chain(command).map(String::as_str));
        lab.docker(&words)
    };

    let mut flow = shop.open_flow();
    run(&["--detach", "--name", "dockgate"], &service.command);
    let status = || {
        let mut command = Command::new("docker");
        command.args(["exec", "dockgate", "/dockgate", "status", "--state-dir", "/var/lib/dockgate"]);
        command.env("DOCKER_HOST", lab.docker_host()).output().expect("docker can be run")
    };
    wait_until_ready(status, || lab.docker(&["logs", "dockgate"]));
    shop.assert_governed();
    flow.expect_silence();

    lab.docker(&["stop", "dockgate"]);
    assert_eq!(lab.docker(&["inspect", "--format", "{{.State.ExitCode}}", "dockgate"]), "0");
    shop.assert_governed();
    run(&["--rm"], &["cleanup".to_owned()]);
    assert_nothing_is_left(&lab);
}

/// An image of nothing but the directories that programs of this machine expect, as mount points and links.
fn import_image_for_programs(lab: &Lab) -> String {
    let root = lab.directory().join("image");
    for directory in ["usr", "etc/alternatives", "etc/dockgate/policies", "run", "var/run", "var/lib/dockgate"] {
        fs::create_dir_all(root.join(directory)).expect("the laboratory's directory takes directories");
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{link}"), root.join(link)).expect("the links have different names");
    }
    let archive = lab.directory().join("image.tar");
    let (root, archive) = (root.to_string_lossy(), archive.to_string_lossy());
    lab.run(&["tar", "--create", "--file", &archive, "--directory", &root, "."]);
    lab.docker(&["import", &archive, "dockgate:programs"]);
    "dockgate:programs".to_owned()
}
