//! The deployment files are true: they parse, grant what their README says, and start the binary as it can be started.

#[expect(dead_code, reason = "shared by three tests; this one reads no code blocks")]
#[path = "support/command_line.rs"]
mod command_line;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use command_line::{Invocation, root};
use serde::Deserialize;

/// The capabilities that the README names, and no more.
const CAPABILITIES: [&str; 2] = ["CAP_NET_ADMIN", "CAP_NET_RAW"];

fn text(name: &str) -> String {
    let path = root().join("helm-free-deploy").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A systemd unit: the values of each `Section.Key`, in order.
fn unit(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut section = "";
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else {
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("not a setting: {line}"));
            values.entry(format!("{section}.{key}")).or_default().push(value.to_owned());
        }
    }
    values
}

fn words(unit: &BTreeMap<String, Vec<String>>, key: &str) -> BTreeSet<String> {
    unit.get(key).into_iter().flatten().flat_map(|value| value.split_whitespace()).map(str::to_owned).collect()
}

fn one<'a>(unit: &'a BTreeMap<String, Vec<String>>, key: &str) -> &'a str {
    match unit.get(key).map(Vec::as_slice) {
        Some([value]) => value,
        other => panic!("{key} is stated {} times", other.map_or(0, <[String]>::len)),
    }
}

/// Asserts that the words after the name of the binary start the controller, with flags that exist.
fn assert_runs<'a>(where_: &str, words: impl IntoIterator<Item = &'a str>, policies: &str) {
    let words: Vec<&str> = words.into_iter().collect();
    let invocation = Invocation::of_words(words.iter().copied());
    assert_eq!(invocation.subcommand(), "run", "{where_}");
    assert_eq!(invocation.unknown(), Vec::<String>::new(), "{where_}");
    let value = |flag: &str| words.iter().position(|word| *word == flag).and_then(|at| words.get(at + 1)).copied();
    assert_eq!(value("--policies"), Some(policies), "{where_}");
    assert_eq!(value("--state-dir"), Some("/var/lib/dockgate"), "{where_}");
}

#[test]
fn the_unit_starts_the_controller_with_flags_that_exist() {
    let unit = unit(&text("dockgate.service"));
    let mut words = one(&unit, "Service.ExecStart").split_whitespace();
    assert_eq!(words.next(), Some("/usr/local/bin/dockgate"));
    assert_runs("ExecStart", words, "/etc/dockgate/policies");
    assert_eq!(one(&unit, "Service.StateDirectory"), "dockgate", "/var/lib/dockgate must be writable");
    assert_eq!(one(&unit, "Service.Type"), "notify");
    assert!(unit.contains_key("Service.WatchdogSec"));
}

#[test]
fn the_unit_grants_what_the_readme_says() {
    let unit = unit(&text("dockgate.service"));
    let capabilities = words(&unit, "Service.CapabilityBoundingSet");
    assert_eq!(capabilities, BTreeSet::from(CAPABILITIES.map(str::to_owned)));
    let readme = text("README.md");
    for capability in CAPABILITIES {
        assert!(readme.contains(capability), "{capability}");
    }
    assert_eq!(one(&unit, "Service.NoNewPrivileges"), "yes");
    assert_eq!(one(&unit, "Service.ProtectSystem"), "strict");
    assert_eq!(one(&unit, "Service.ReadWritePaths"), "-/run/xtables.lock");
}

#[test]
fn a_restart_of_docker_does_not_stop_the_unit() {
    let unit = unit(&text("dockgate.service"));
    assert!(words(&unit, "Unit.After").contains("docker.service"));
    for key in ["Unit.Requires", "Unit.BindsTo", "Unit.PartOf", "Unit.Requisite"] {
        assert!(!words(&unit, key).contains("docker.service"), "{key}");
    }
}

#[test]
fn the_boot_unit_closes_before_docker_starts() {
    let boot = unit(&text("dockgate-boot.service"));
    let invocation = Invocation::of_words(one(&boot, "Service.ExecStart").split_whitespace().skip(1));
    assert_eq!((invocation.subcommand(), invocation.unknown()), ("restore", Vec::new()));
    assert!(one(&boot, "Service.ExecStart").ends_with("--state-dir /var/lib/dockgate"));
    assert!(words(&boot, "Unit.Before").is_superset(&["docker.service", "dockgate.service"].map(str::to_owned).into()));
    assert!(words(&boot, "Unit.After").contains("nftables.service"), "it flushes the ruleset when it starts");
    assert_eq!(one(&boot, "Unit.RequiresMountsFor"), "/var/lib/dockgate");
    assert_eq!(one(&boot, "Install.WantedBy"), "docker.service");
    // Without it systemd counts the unit as stopped, and a restart of Docker would close networks that are in use.
    assert_eq!(one(&boot, "Service.RemainAfterExit"), "yes");
    assert_eq!(one(&boot, "Service.Type"), "oneshot", "Docker waits until it has ended");
    let running = unit(&text("dockgate.service"));
    for key in ["Service.CapabilityBoundingSet", "Service.StateDirectory", "Service.ReadWritePaths"] {
        assert_eq!(words(&boot, key), words(&running, key), "{key}");
    }
    assert!(text("README.md").contains("systemctl enable dockgate-boot"));
}

#[derive(Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
}

#[derive(Deserialize)]
struct Service {
    command: Vec<String>,
    container_name: String,
    network_mode: String,
    cap_drop: Vec<String>,
    cap_add: BTreeSet<String>,
    security_opt: Vec<String>,
    read_only: bool,
    volumes: Vec<Mount>,
    healthcheck: Healthcheck,
}

#[derive(Deserialize)]
struct Mount {
    target: String,
    #[serde(default)]
    read_only: bool,
}

#[derive(Deserialize)]
struct Healthcheck {
    test: Vec<String>,
}

#[test]
fn the_container_is_started_and_confined_as_the_readme_says() {
    let compose: Compose = serde_yaml::from_str(&text("compose.yaml")).expect("compose.yaml is a Compose file");
    let service = &compose.services["dockgate"];
    assert_runs("compose.yaml", service.command.iter().map(String::as_str), "/etc/dockgate/policies");

    assert_eq!(service.network_mode, "host");
    let accepts = ["--accept-out-of-reach", &service.container_name];
    assert!(
        service.command.windows(2).any(|words| words == accepts),
        "on the host's network it is out of its own reach"
    );
    assert_eq!(service.cap_drop, ["ALL"]);
    assert_eq!(service.cap_add, CAPABILITIES.map(|name| name.trim_start_matches("CAP_").to_owned()).into());
    assert_eq!(service.security_opt, ["no-new-privileges:true"]);
    assert!(service.read_only);

    let mounts: BTreeMap<&str, bool> =
        service.volumes.iter().map(|mount| (mount.target.as_str(), mount.read_only)).collect();
    assert_eq!(mounts.get("/etc/dockgate/policies"), Some(&true));
    assert_eq!(mounts.get("/var/lib/dockgate"), Some(&false));
    assert!(mounts.contains_key("/var/run/docker.sock"));

    let mut check = service.healthcheck.test.iter().map(String::as_str);
    assert_eq!((check.next(), check.next()), (Some("CMD"), Some("/usr/local/bin/dockgate")));
    let check = Invocation::of_words(check);
    assert_eq!((check.subcommand(), check.unknown()), ("status", Vec::new()));
}

#[test]
fn the_image_holds_the_programs_and_starts_the_controller() {
    let dockerfile = text("Dockerfile");
    for program in ["ipset", "iptables"] {
        assert!(dockerfile.lines().any(|line| line.contains("apt-get install") && line.contains(program)), "{program}");
    }
    let instruction = |name: &str| -> Vec<String> {
        let line = dockerfile.lines().rfind(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
        serde_json::from_str(line.trim_start_matches(name)).expect("the exec form is a JSON list")
    };
    assert_eq!(instruction("ENTRYPOINT"), ["/usr/local/bin/dockgate"]);
    assert_runs("CMD", instruction("CMD").iter().map(String::as_str), "/etc/dockgate/policies");
}

/// What the image's build takes from the repository.
fn copied() -> BTreeSet<String> {
    let copies = text("Dockerfile");
    let copies = copies.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from="));
    let sources = |line: &str| {
        let words: Vec<String> = line.split_whitespace().skip(1).map(str::to_owned).collect();
        words[..words.len() - 1].to_vec()
    };
    copies.flat_map(sources).collect()
}

#[test]
fn everything_that_the_image_copies_is_sent_to_the_engine() {
    let allowed = text("Dockerfile.dockerignore");
    let allowed: BTreeSet<&str> = allowed.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for source in copied() {
        assert!(allowed.contains(source.as_str()), "{source} is left out of the build context");
        assert!(root().join(&source).exists(), "{source} does not exist");
    }
}

#[test]
fn the_image_copies_every_file_without_which_cargo_refuses_the_manifest() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("this is a package");
    let copied = copied();
    for (heading, directory) in [("[[test]]", "tests"), ("[[bench]]", "benches"), ("[[example]]", "examples")] {
        for table in manifest.split(heading).skip(1) {
            let table = table.split("\n[").next().unwrap_or(table);
            let value =
                |key: &str| table.lines().find_map(|line| line.strip_prefix(key)).map(|text| text.trim_matches('"'));
            let name = value("name = ").expect("a target has a name");
            let file = value("path = ").map_or_else(|| format!("{directory}/{name}.rs"), str::to_owned);
            assert!(copied.contains(&file), "Cargo.toml names {file}");
        }
    }
}
