//! `docs/tutorial.md` on a host: every step, on a real engine, by a shell in which `docker` is the laboratory's.
//!
//! Compose is not in the laboratory; what the page asks of it is done as it does it, so two of its commands are known here.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::steps::{Command, Step, steps};
use crate::support::controller::Controller;
use crate::support::{Engine, Lab};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const DOCKGATE: &str = env!("CARGO_BIN_EXE_dockgate");

/// The page's words for `docker compose` with the file of the shop.
const COMPOSE: &str = "docker compose -f examples/shop/compose.yaml ";
/// The page's line that goes on while others follow.
const RUN: &str = "sudo dockgate run --policies my-policies";

/// Until then what the page promises has to be so: the controller follows a change, and does not hurry ahead of it.
const PATIENCE: Duration = Duration::from_secs(15);

/// Starts the shop, as `docker compose up` does: names, labels, and services that find each other by name.
fn up(lab: &Lab) {
    for network in ["shop_front", "shop_back"] {
        lab.docker(&["network", "create", network]);
    }
    for (service, port, networks) in [
        ("web", "80", &["shop_front"][..]),
        ("api", "8080", &["shop_front", "shop_back"]),
        ("db", "5432", &["shop_back"]),
    ] {
        let name = format!("shop-{service}-1");
        let labels = [format!("app={service}"), "com.docker.compose.project=shop".to_owned()];
        let mut create =
            vec!["create", "--init", "--name", &name, "--network", networks[0], "--network-alias", service];
        create.extend(labels.iter().flat_map(|label| ["--label", label]));
        if service == "web" {
            create.extend(["--publish", "8080:80"]);
        }
        create.extend(["busybox", "nc", "-ll", "-p", port, "-e", "echo", service]);
        lab.docker(&create);
        for network in &networks[1..] {
            lab.docker(&["network", "connect", "--alias", service, network, &name]);
        }
        lab.docker(&["start", &name]);
    }
}

/// Somebody who follows the page at a shell of the host.
struct Reader<'a> {
    lab: &'a Lab,
    directory: PathBuf,
    controller: Option<Controller>,
}

impl Reader<'_> {
    fn new(lab: &Lab) -> Reader<'_> {
        let directory = lab.directory().join("repository");
        fs::create_dir(&directory).expect("the laboratory's directory takes directories");
        symlink(Path::new(ROOT).join("examples"), directory.join("examples")).expect("a link can be made");
        let bin = directory.join(".git/bin");
        let reader = Reader { lab, directory, controller: None };
        reader.shell("git init --quiet --initial-branch main");
        fs::create_dir_all(&bin).expect("a directory can be made");
        // Whoever runs this test is root already.
        fs::write(bin.join("sudo"), "#!/bin/sh\nexec \"$@\"\n").expect("a file can be written");
        fs::set_permissions(bin.join("sudo"), PermissionsExt::from_mode(0o755)).expect("it is our file");
        symlink(DOCKGATE, bin.join("dockgate")).expect("a link can be made");
        reader
    }

    fn shell(&self, line: &str) -> Output {
        let state = self.controller.as_ref().map_or("/nonexistent".into(), |controller| controller.state().to_owned());
        let setup = format!(
            "cd '{0}' && export PATH='{0}/.git/bin':$PATH DOCKER_HOST='{1}' DOCKGATE_STATE_DIR='{2}' \
             GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=reader GIT_AUTHOR_EMAIL=reader@example.org \
             GIT_COMMITTER_NAME=reader GIT_COMMITTER_EMAIL=reader@example.org\n{line}",
            self.directory.display(),
            self.lab.docker_host(),
            state.display(),
        );
        self.lab.output(&["sh", "-c", &setup])
    }

    /// Does what a line of the page says, until it ends as the page says.
    fn type_in(&mut self, command: &Command) -> String {
        if command.line == RUN {
            let policies = self.directory.join("my-policies");
            let mut controller = self.lab.dockgate(&["run", "--policies", &policies.to_string_lossy()]);
            controller.wait_until_ready();
            self.controller = Some(controller);
            return String::new();
        }
        if command.line == format!("{COMPOSE}up -d") {
            up(self.lab);
            return String::new();
        }
        if command.line.starts_with("sudo dockgate cleanup") {
            // `All of it: stop the controller (Ctrl-C, or the service), then`
            let controller = self.controller.as_mut().expect("the page has started a controller");
            controller.signal(Signal::SIGINT);
            let end = Instant::now() + PATIENCE;
            while controller.ended().is_none() {
                assert!(Instant::now() < end, "the controller does not end by Ctrl-C");
                thread::sleep(Duration::from_millis(10));
            }
        }
        let line = match command.line.strip_prefix(COMPOSE).map(|rest| rest.strip_prefix("exec -T ")) {
            Some(Some(rest)) => format!("docker exec -i shop-{}", rest.replacen(' ', "-1 ", 1)),
            Some(None) => panic!("what does Compose do here? {command:?}"),
            None => command.line.clone(),
        };
        // A change may be on its way to the kernel, but only by a question may one wait for it.
        let asks = ["docker ", "sudo dockgate status", "sudo dockgate plan"].iter().any(|word| line.starts_with(word));
        let end = Instant::now() + PATIENCE;
        loop {
            let output = self.shell(&line);
            let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
            let is_printed = command.prints.as_ref().is_none_or(|wanted| stdout.trim_end() == wanted);
            if output.status.code() == Some(command.exit_code) && is_printed {
                return stdout;
            }
            let stderr = String::from_utf8_lossy(&output.stderr);
            let log = self.controller.as_ref().map(Controller::log).unwrap_or_default();
            assert!(
                asks && Instant::now() < end,
                "{command:?} ends with {:?}\n{stdout}{stderr}\nthe controller says:\n{log}",
                output.status
            );
            thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn every_step_of_the_tutorial_works_on_a_host() {
    let lab = Lab::start(Engine::Installed);
    let before = lab.run(&["iptables-save"]);
    assert!(!before.contains("dockgate") && !before.contains("DG-"), "{before}");
    let page = fs::read_to_string(Path::new(ROOT).join("docs/tutorial.md")).expect("the page can be read");
    let mut reader = Reader::new(&lab);
    let (mut exchanged, mut refused) = (0, 0);
    let mut said = String::new();
    for step in steps(&page) {
        match step {
            Step::File { name, content } => {
                fs::write(reader.directory.join(&name), content).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
            Step::Command(command) => {
                said = reader.type_in(&command);
                if command.line.contains(" nc ") {
                    *(if command.prints.is_some() { &mut exchanged } else { &mut refused }) += 1;
                }
            }
            Step::Output(output) => assert_eq!(said, output, "the output that is shown"),
        }
    }
    assert!(exchanged >= 5 && refused >= 4, "{exchanged} {refused}");
    for family in ["iptables-save", "ip6tables-save"] {
        let after = lab.run(&[family]).to_lowercase();
        assert!(!after.contains("dockgate") && !after.contains("dg-"), "cleanup has left rules:\n{after}");
    }
    assert_eq!(lab.run(&["ipset", "list", "-name"]), "");
    assert!(!lab.run(&["nft", "list", "tables"]).contains("dockgate"));
}
