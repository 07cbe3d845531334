//! A policy that the kernel refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::assert_by_packets;
use crate::support::world::wait_for;

use super::Accidents;

/// What the policy below is refused for.
const PORT: &str = "4242";

/// It allows what `allowed` probes; closed instead, it does not.
const REFUSED: &str = "
{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: refused}, spec: {
    selector: app == 'peer', ingress: [
        {action: Allow, protocol: UDP}, {action: Allow, protocol: TCP, destination: {ports: [4242]}}]}}
";

/// The command in the place of the real one, which has the kernel refuse what has that port, as iptables-nft says it.
const SCRIPT: &str = r#"#!/bin/sh
input=$(cat; echo .)
number=$(printf %s "$input" | grep -n -e "PORT" | cut -d: -f1 | head -n 1)
if [ -n "$number" ]; then
    echo "iptables-nft-restore v1.8.9 (nf_tables): " >&2
    echo "line $number: RULE_APPEND failed (Invalid argument): rule in chain X" >&2
    exit 4
fi
printf %s "${input%.}" | /usr/sbin/iptables-nft-restore "$@"
"#;

/// What it selects is closed, and nothing else is different.
pub(super) fn refused(accidents: &mut Accidents) {
    let began = Instant::now();
    let directory = accidents.lab.directory().join("refusing");
    fs::create_dir_all(&directory).expect("the laboratory's directory takes directories");
    let command = directory.join("iptables-nft-restore");
    fs::write(&command, SCRIPT.replace("PORT", PORT)).expect("the laboratory's directory takes files");
    fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).expect("the file is ours");
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", directory.display());
    accidents.start_by("exec \"$@\"", &[("PATH", &path)]);
    accidents.policies.save("refused.yaml", REFUSED);
    wait_for("the refusal to be told", || {
        let document = accidents.controller.as_ref().expect("it was started").document();
        document["in_sync"] == true && document["problems"].to_string().contains("the kernel refuses policy refused")
    });
    let told = Instant::now();
    thread::sleep(Duration::from_secs(1));
    let passed = accidents.allowed.passed_since(told);
    let problems = accidents.problems();
    accidents.policies.remove("refused.yaml");
    wait_for("the trouble to be over", || accidents.problems() == "[]");
    accidents.controller = None;
    accidents.start_controller();
    assert_by_packets!(passed.is_empty(), "packets have passed to what a refused policy selects: {passed:?}");
    assert_eq!(problems.matches("the kernel refuses").count(), 1, "one is refused: {problems}");
    accidents.expect_order_since(began);
}
