//! `plan` and `cleanup` on a real kernel: what `plan` prints is what a shell can run, and `cleanup` undoes all of it.
//!
//! The kernel is that of an empty network namespace, which needs root. Docker is not needed.

#[path = "support/command.rs"]
#[expect(dead_code, reason = "a part of the laboratory's support is used")]
mod command;
#[path = "support/namespace.rs"]
#[expect(dead_code, reason = "a part of the laboratory's support is used")]
mod namespace;

use std::process::Output;

use command::{output, run, run_with_input};
use namespace::Namespace;

/// The bridge of the example's network, as an Inventory file without an id names it.
const BRIDGE: &str = "br-owner_app";

fn dockgate(arguments: &[&str]) -> Output {
    output(&[&[env!("CARGO_BIN_EXE_dockgate")], arguments].concat(), &[])
}

fn plan(more: &[&str]) -> Output {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/owner");
    let inventory = format!("{example}/inventory.yaml");
    dockgate(&[&["plan", "--policies", example, "--inventory", &inventory], more].concat())
}

/// Everything that iptables, ipset and the bridge family hold, without comments and counters of bytes.
fn kernel() -> [String; 4] {
    let rules = |text: String| text.lines().filter(|line| !line.starts_with(['#', ':'])).collect::<Vec<_>>().join("\n");
    [
        rules(run(&["iptables-save"])),
        rules(run(&["ip6tables-save"])),
        run(&["ipset", "save"]),
        run(&["nft", "list", "tables", "bridge"]),
    ]
}

#[test]
fn a_plan_can_be_carried_out_by_a_shell_and_undone_by_cleanup() {
    Namespace::anonymous().run(|| {
        run(&["ip", "link", "add", BRIDGE, "type", "bridge"]);
        let before = kernel();

        let planned = plan(&[]);
        assert_eq!(planned.status.code(), Some(1), "{planned:?}");
        assert_eq!(kernel(), before, "a plan changes nothing");

        run_with_input(&["sh", "-e"], &planned.stdout);
        let again = plan(&[]);
        assert_eq!(again.status.code(), Some(0), "{again:?}");
        // The containers are not there, so neither are their ports.
        let told = String::from_utf8_lossy(&again.stdout).into_owned();
        assert!(told.contains("# nothing to change") && told.contains("owner-web-1@owner_app is closed"), "{told}");
        let json: serde_json::Value = serde_json::from_slice(&plan(&["-o", "json"]).stdout).unwrap();
        assert_eq!((&json["changes"], &json["steps"]), (&false.into(), &serde_json::json!([])));

        let rejecting = plan(&["--deny-action", "reject", "-o", "json"]);
        let json: serde_json::Value = serde_json::from_slice(&rejecting.stdout).unwrap();
        assert_eq!((rejecting.status.code(), &json["changes"]), (Some(1), &true.into()));
        assert!(json["commands"].to_string().contains("--reject-with tcp-reset"), "{json:#}");

        let cleaned = dockgate(&["cleanup", "--state-dir", "/nonexistent"]);
        assert_eq!(cleaned.status.code(), Some(0), "{cleaned:?}");
        assert!(String::from_utf8_lossy(&cleaned.stdout).starts_with("removed 6 jumps, "), "{cleaned:?}");
        assert_eq!(kernel(), before, "cleanup leaves the kernel as it was");
    });
}

#[test]
fn cleanup_names_what_somebody_else_holds_on_to() {
    Namespace::anonymous().run(|| {
        run(&["ip", "link", "add", BRIDGE, "type", "bridge"]);
        run_with_input(&["sh", "-e"], &plan(&[]).stdout);
        run(&["iptables", "-A", "FORWARD", "-j", "DG-INPUT"]);
        let cleaned = dockgate(&["cleanup", "--state-dir", "/nonexistent"]);
        assert_eq!(cleaned.status.code(), Some(1), "{cleaned:?}");
        let text = String::from_utf8_lossy(&cleaned.stdout).into_owned();
        assert!(text.contains("left: ") && text.contains("DG-INPUT"), "{text}");
    });
}
