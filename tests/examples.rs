//! The examples are true: each loads without a finding, its two worlds are the same, and it allows what its README says.

#[path = "support/command_line.rs"]
mod command_line;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use command_line::{Invocation, code_blocks, dockgate, root};
use dockgate::inventory::{Inventory, Network, compose, file};
use dockgate::lint::lint;
use dockgate::policy::{self, Diagnostic, Severity, SourceFile};

/// The owner's policy as it stands in the document that this project started from.
const OWNERS_POLICY: &str = "\
# Calico network policy example
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: allow-web-to-api
spec:
  selector: app == 'api'
  ingress:
    - action: Allow
      source:
        selector: app == 'web'
  egress:
    - action: Deny
";

const ALLOW: bool = true;
const DENY: bool = false;

/// From, to, port, whether policy allows it.
type Case = (&'static str, &'static str, &'static str, bool);

/// What each example's README says, cell by cell. 203.0.113.0/24, 198.51.100.0/24 and 192.0.2.0/24 are outside.
const VERDICTS: &[(&str, &[Case])] = &[
    (
        "owner",
        &[
            ("owner-web-1", "owner-api-1", "8080/tcp", ALLOW),
            ("owner-web-1", "owner-api-1", "53/udp", ALLOW),
            ("owner-batch-1", "owner-api-1", "8080/tcp", DENY),
            ("203.0.113.9", "owner-api-1", "8080/tcp", DENY),
            ("owner-api-1", "owner-web-1", "80/tcp", DENY),
            ("owner-api-1", "owner-batch-1", "9000/tcp", DENY),
            ("owner-api-1", "203.0.113.9", "443/tcp", DENY),
            ("owner-web-1", "owner-batch-1", "9000/tcp", ALLOW),
            ("owner-batch-1", "owner-web-1", "80/tcp", ALLOW),
            // Policy allows it; it is not published.
            ("203.0.113.9", "owner-web-1", "80/tcp", DENY),
            ("owner-batch-1", "203.0.113.9", "443/tcp", ALLOW),
        ],
    ),
    (
        "strict-segmentation",
        &[
            ("203.0.113.9", "segmented-nginx-1", "80/tcp", ALLOW),
            ("203.0.113.9", "segmented-nginx-1", "22/tcp", DENY),
            ("segmented-nginx-1", "segmented-app-1", "8000/tcp", ALLOW),
            ("segmented-nginx-1", "segmented-app-1", "5432/tcp", DENY),
            ("segmented-app-1", "segmented-db-1", "5432/tcp", ALLOW),
            ("segmented-app-1", "segmented-db-1", "5432/udp", DENY),
            ("segmented-app-1", "segmented-nginx-1", "80/tcp", DENY),
            ("segmented-nginx-1", "segmented-db-1", "5432/tcp", DENY),
            ("segmented-db-1", "segmented-app-1", "8000/tcp", DENY),
            ("segmented-db-1", "203.0.113.9", "443/tcp", DENY),
            ("segmented-nginx-1", "203.0.113.9", "443/tcp", DENY),
            ("203.0.113.9", "segmented-db-1", "5432/tcp", DENY),
        ],
    ),
    (
        "only-the-proxy",
        &[
            ("proxied-proxy-1", "proxied-wiki-1", "3000/tcp", ALLOW),
            ("proxied-proxy-1", "proxied-git-1", "3001/tcp", ALLOW),
            ("proxied-git-1", "proxied-wiki-1", "3000/tcp", DENY),
            ("proxied-wiki-1", "proxied-git-1", "3001/tcp", DENY),
            ("203.0.113.9", "proxied-wiki-1", "3000/tcp", DENY),
            ("203.0.113.9", "proxied-proxy-1", "80/tcp", ALLOW),
            ("proxied-wiki-1", "proxied-proxy-1", "80/tcp", ALLOW),
            ("proxied-wiki-1", "203.0.113.9", "443/tcp", ALLOW),
        ],
    ),
    (
        "default-deny-namespace",
        &[
            ("203.0.113.9", "team-a-web-1", "80/tcp", ALLOW),
            ("203.0.113.9", "team-a-web-1", "8088/tcp", DENY),
            ("team-a-web-1", "team-a-api-1", "8080/tcp", ALLOW),
            ("team-a-api-1", "team-a-queue-1", "6379/tcp", ALLOW),
            ("team-a-web-1", "team-a-queue-1", "6379/tcp", DENY),
            ("team-a-queue-1", "team-a-api-1", "8080/tcp", DENY),
            ("team-a-api-1", "203.0.113.9", "443/tcp", DENY),
            ("team-a-metrics-1", "team-a-web-1", "9100/tcp", ALLOW),
            ("team-a-metrics-1", "team-a-queue-1", "9100/tcp", ALLOW),
            ("team-a-metrics-1", "team-a-queue-1", "6379/tcp", DENY),
            ("team-a-web-1", "team-a-queue-1", "9100/tcp", DENY),
            ("team-a-web-1", "team-a-metrics-1", "9090/tcp", DENY),
            ("team-a-metrics-1", "203.0.113.9", "443/tcp", ALLOW),
            // Policy allows it; it is not published.
            ("203.0.113.9", "team-a-metrics-1", "9090/tcp", DENY),
        ],
    ),
    (
        "egress-dns",
        &[
            ("egress-importer-1", "192.0.2.53", "53/udp", ALLOW),
            ("egress-importer-1", "192.0.2.53", "53/tcp", ALLOW),
            ("egress-importer-1", "198.51.100.7", "443/tcp", ALLOW),
            ("egress-importer-1", "198.51.100.7", "80/tcp", DENY),
            ("egress-importer-1", "198.51.100.7", "443/udp", DENY),
            ("egress-importer-1", "203.0.113.9", "443/tcp", DENY),
            ("egress-importer-1", "egress-cache-1", "6379/tcp", DENY),
            ("egress-cache-1", "egress-importer-1", "8080/tcp", ALLOW),
            ("egress-cache-1", "203.0.113.9", "443/tcp", ALLOW),
            // Policy allows it; it is not published.
            ("203.0.113.9", "egress-importer-1", "8080/tcp", DENY),
        ],
    ),
    (
        "kubernetes",
        &[
            ("orders-api-1", "orders-db-1", "5432/tcp", ALLOW),
            ("orders-api-1", "orders-db-1", "22/tcp", DENY),
            ("orders-worker-1", "orders-db-1", "5432/tcp", DENY),
            ("203.0.113.9", "orders-db-1", "5432/tcp", DENY),
            ("203.0.113.9", "orders-gateway-1", "80/tcp", ALLOW),
            ("203.0.113.9", "orders-gateway-1", "443/tcp", DENY),
            ("203.0.113.200", "orders-gateway-1", "80/tcp", DENY),
            ("198.51.100.7", "orders-gateway-1", "80/tcp", DENY),
            ("orders-api-1", "orders-gateway-1", "80/tcp", DENY),
            ("orders-worker-1", "orders-api-1", "8080/tcp", ALLOW),
            ("orders-db-1", "orders-api-1", "8080/tcp", ALLOW),
            ("orders-db-1", "203.0.113.9", "443/tcp", ALLOW),
        ],
    ),
    (
        "shop",
        &[
            ("203.0.113.9", "shop-web-1", "80/tcp", ALLOW),
            ("203.0.113.9", "shop-web-1", "8080/tcp", DENY),
            ("shop-api-1", "shop-web-1", "80/tcp", DENY),
            ("shop-web-1", "shop-api-1", "8080/tcp", ALLOW),
            ("shop-web-1", "shop-api-1", "80/tcp", DENY),
            ("shop-web-1", "shop-api-1", "8080/udp", DENY),
            ("shop-api-1", "shop-db-1", "5432/tcp", ALLOW),
            ("shop-api-1", "shop-db-1", "22/tcp", DENY),
            ("shop-db-1", "shop-api-1", "8080/tcp", DENY),
            ("shop-web-1", "shop-db-1", "5432/tcp", DENY),
            ("203.0.113.9", "shop-api-1", "8080/tcp", DENY),
            ("203.0.113.9", "shop-db-1", "5432/tcp", DENY),
            ("shop-web-1", "203.0.113.9", "443/tcp", DENY),
            ("shop-api-1", "192.0.2.53", "53/udp", DENY),
        ],
    ),
];

/// A container as both worlds describe it: namespace, labels, networks, published ports as `HOST:CONTAINER`.
type Description = (String, BTreeMap<String, String>, BTreeSet<String>, BTreeSet<String>);

/// Files for pipelines, which `tests/pipelines.rs` looks at.
const CI: &str = "ci";

fn examples() -> BTreeSet<String> {
    fs::read_dir(root().join("examples"))
        .expect("the examples are part of the repository")
        .map(|entry| entry.expect("a directory can be listed to its end"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != CI)
        .collect()
}

fn source(path: &Path) -> SourceFile {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    SourceFile::new(path, text)
}

fn directory(example: &str) -> PathBuf {
    Path::new("examples").join(example)
}

fn inventory(example: &str) -> (Inventory, Vec<Diagnostic>) {
    file::load(&source(&directory(example).join("inventory.yaml")))
}

/// The policy files of an example: every YAML file that is neither one of its two worlds nor its tests.
fn policy_files(example: &str) -> Vec<SourceFile> {
    let mut names: Vec<PathBuf> = fs::read_dir(root().join(directory(example)))
        .expect("the example was just listed")
        .map(|entry| PathBuf::from(entry.expect("a directory can be listed to its end").file_name()))
        .filter(|name| name.extension().is_some_and(|extension| extension == "yaml"))
        .filter(|name| !["compose.yaml", "inventory.yaml", "tests.yaml"].map(Path::new).contains(&name.as_path()))
        .collect();
    names.sort();
    names.iter().map(|name| source(&directory(example).join(name))).collect()
}

fn assert_no_findings(what: &str, diagnostics: &[Diagnostic]) {
    let findings: Vec<&Diagnostic> =
        diagnostics.iter().filter(|diagnostic| diagnostic.severity != Severity::Note).collect();
    assert!(findings.is_empty(), "{what}: {findings:#?}");
}

#[test]
fn every_example_is_complete_and_has_its_verdicts_stated() {
    let stated: BTreeSet<String> = VERDICTS.iter().map(|(example, _)| (*example).to_owned()).collect();
    assert_eq!(examples(), stated);
    for example in examples() {
        for name in ["compose.yaml", "inventory.yaml", "README.md"] {
            assert!(root().join(directory(&example)).join(name).is_file(), "examples/{example}/{name} is missing");
        }
        assert!(!policy_files(&example).is_empty(), "examples/{example} has no policy");
    }
}

#[test]
fn the_owners_policy_is_verbatim() {
    assert_eq!(source(Path::new("examples/owner/allow-web-to-api.yaml")).text, OWNERS_POLICY);
}

#[test]
fn every_example_loads_without_a_finding() {
    for example in examples() {
        let loaded = policy::load(&policy_files(&example));
        assert_no_findings(&example, &loaded.diagnostics);
        assert!(!loaded.policies.policies.is_empty(), "{example} says nothing");
        let (inventory, diagnostics) = inventory(&example);
        assert_no_findings(&format!("{example}/inventory.yaml"), &diagnostics);
        assert!(!inventory.containers.is_empty(), "{example} has an empty world");
    }
}

#[test]
fn the_examples_can_be_enforced_together() {
    let files: Vec<SourceFile> = examples().iter().flat_map(|example| policy_files(example)).collect();
    assert_no_findings("all examples", &policy::load(&files).diagnostics);
}

#[test]
fn the_daemons_reader_finds_nothing_to_complain_of_in_a_whole_example_directory() {
    for example in examples() {
        let path = directory(&example);
        let output = dockgate(&["validate", &path.to_string_lossy()]);
        assert_eq!(output.status.code(), Some(0), "{example}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn no_lint_has_anything_to_say_about_an_example_in_its_own_world() {
    for example in examples() {
        let files = policy_files(&example);
        let policies = policy::load(&files).policies;
        for world in [Some(inventory(&example).0), None] {
            assert_eq!(lint(&policies, world.as_ref(), &files), [], "{example}");
        }
    }
    let files: Vec<SourceFile> = examples().iter().flat_map(|example| policy_files(example)).collect();
    assert_eq!(lint(&policy::load(&files).policies, None, &files), [], "all examples");
}

#[test]
fn the_inventory_describes_the_same_world_as_the_compose_file() {
    for example in examples() {
        let (inventory, _) = inventory(&example);
        let request = compose::Request {
            files: vec![source(&directory(&example).join("compose.yaml"))],
            working_directory: root(),
            ..compose::Request::default()
        };
        let composed = compose::load(&request, &mut |_| Ok(None));
        assert_eq!(composed.diagnostics, [], "{example}/compose.yaml");
        assert_eq!(describe(&inventory), describe(&composed.inventory), "{example}: containers");
        assert_eq!(describe_networks(&inventory), describe_networks(&composed.inventory), "{example}: networks");
    }
}

/// Driver and whether it is internal of each network.
fn describe_networks(inventory: &Inventory) -> BTreeMap<String, (String, bool)> {
    let describe = |network: &Network| (network.name.clone(), (network.driver.clone(), network.internal));
    inventory.networks.values().map(describe).collect()
}

fn describe(inventory: &Inventory) -> BTreeMap<String, Description> {
    inventory
        .containers
        .values()
        .map(|container| {
            let networks =
                container.attachments.iter().map(|attachment| inventory.networks[&attachment.network].name.clone());
            let ports = container.published.iter().map(|port| {
                let host = port.host_port.expect("the inventories of the examples state the host's port");
                format!("{host}:{}", port.container_port)
            });
            // An inventory that a person writes need not hold what Compose says of itself.
            let labels = container.labels.iter().filter(|(key, _)| !key.starts_with("com.docker.compose."));
            let labels = labels.map(|(key, value)| (key.to_string(), value.to_string())).collect();
            let description = (container.namespace().to_owned(), labels, networks.collect(), ports.collect());
            (container.name.clone(), description)
        })
        .collect()
}

#[test]
fn every_example_allows_what_it_says() {
    let mut wrong = Vec::new();
    for (example, cases) in VERDICTS {
        let policies = directory(example);
        let worlds =
            ["inventory", "compose"].map(|world| (format!("--{world}"), policies.join(format!("{world}.yaml"))));
        for ((option, world), (from, to, port, allowed)) in
            worlds.iter().flat_map(|world| cases.iter().map(move |case| (world, case)))
        {
            let output = dockgate(&[
                "explain",
                "--policies",
                &policies.to_string_lossy(),
                option,
                &world.to_string_lossy(),
                "--from",
                from,
                "--to",
                to,
                "--port",
                port,
            ]);
            let expected = i32::from(!*allowed);
            if output.status.code() != Some(expected) {
                wrong.push(format!(
                    "{example} {option}: {from} -> {to}:{port} should exit {expected}, not {:?}\n{}{}",
                    output.status.code(),
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr),
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_tests_of_the_examples_pass_in_both_worlds() {
    let tested: Vec<String> =
        examples().into_iter().filter(|example| root().join(directory(example)).join("tests.yaml").is_file()).collect();
    assert!(tested.len() >= 3, "{tested:?}");
    for example in tested {
        let path = directory(&example);
        let world = |name: &str| path.join(name).to_string_lossy().into_owned();
        for (option, world) in [("--inventory", world("inventory.yaml")), ("--compose", world("compose.yaml"))] {
            let output = dockgate(&["test", &path.to_string_lossy(), option, &world]);
            let text = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
        }
        let output = dockgate(&["test", &path.to_string_lossy()]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn the_readmes_use_commands_that_exist() {
    for example in examples() {
        let readme = source(&directory(&example).join("README.md")).text;
        let used: Vec<Invocation> =
            code_blocks(&readme, &["sh"]).iter().flat_map(|block| Invocation::in_shell(block)).collect();
        let subcommands: BTreeSet<&str> = used.iter().map(Invocation::subcommand).collect();
        assert!(subcommands.is_superset(&BTreeSet::from(["run", "explain"])), "{example}: {subcommands:?}");
        for invocation in used {
            assert_eq!(invocation.unknown(), Vec::<String>::new(), "examples/{example}/README.md: {invocation:?}");
        }
    }
}
