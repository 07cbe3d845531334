//! The command line as a user meets it: the real binary on real files, its text, its JSON and its exit codes.
//!
//! Docker is not needed: the world comes from Inventory files, and the engine that is named does not exist.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world ends there")]

#[path = "cli/answers.rs"]
mod answers;
#[path = "cli/compose.rs"]
mod compose;
#[path = "cli/explain.rs"]
mod explain;
#[path = "cli/connectivity.rs"]
mod connectivity;
#[path = "cli/diff.rs"]
mod diff;
#[path = "cli/process.rs"]
mod process;
#[path = "cli/reports.rs"]
mod reports;
#[path = "cli/status.rs"]
mod status;
#[path = "cli/test.rs"]
mod test;
#[path = "cli/test_coverage.rs"]
mod test_coverage;
#[path = "cli/test_watch.rs"]
mod test_watch;
#[path = "cli/validate.rs"]
mod validate;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The owner's example.
const POLICY: &str = "\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: allow-web-to-api
  namespace: shop
spec:
  selector: app == 'api'
  ingress:
    - action: Allow
      source:
        selector: app == 'web'
  egress:
    - action: Deny
";

/// web, api and batch on one network in both families; api on another one too; agent on the host's network.
const INVENTORY: &str = "\
apiVersion: dockgate.io/v1alpha1
kind: Inventory
metadata:
  name: shop
spec:
  networks:
    - name: front
      subnets: [172.30.0.0/24, 'fd00:30::/64']
    - name: back
      subnets: [172.31.0.0/24]
    - name: lan
      driver: macvlan
      subnets: [192.0.2.0/24]
  containers:
    - name: api
      namespace: shop
      labels: {app: api}
      networks: [front, back]
      ports: ['8081:8080']
    - name: batch
      namespace: shop
      labels: {app: batch}
      networks: [front]
    - name: camera
      networks: [lan]
    - name: web
      namespace: shop
      labels: {app: web}
      networks: [front]
";

/// A directory with the files of a test.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Files {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Files(directory)
    }

    /// Policies and inventory of the shop.
    fn shop() -> Files {
        Files::new(&[("policies/web.yaml", POLICY), ("inventory.yaml", INVENTORY)])
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        self.run_with_input(arguments, "")
    }

    fn run_with_input(&self, arguments: &[&str], input: &str) -> Answer {
        let mut child = command(arguments)
            .current_dir(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read has closed its end already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Answer {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The binary, in an environment that says nothing about this machine.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(PathBuf::from(env!("CARGO_BIN_EXE_dockgate")));
    command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    command
}

/// What the binary said.
#[derive(Debug)]
struct Answer {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Answer {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
