//! A kernel without `xt_sctp`: policy is enforced all the same, and the status says what is then not prevented.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::world::{OWNERS_EXAMPLE, Policies, rules, wait_for};
use crate::support::{Engine, Lab, Probe, Survey};

/// Refuses what such a kernel refuses; the tools do not say why.
const REFUSING: &str = r#"#!/bin/sh
input=$(cat)
case "$input" in
    *"-m sctp"*) echo "${0##*/}: line 2 failed" >&2; exit 1 ;;
esac
printf '%s\n' "$input" | "/usr/sbin/${0##*/}" "$@"
"#;

#[test]
fn the_rest_is_enforced_and_the_status_says_so() {
    let lab = Lab::start(Engine::Installed);
    lab.network("shop", &["10.78.0.0/24", "2001:db8:78::/64"]);
    let start = |name: &str| lab.container(name).network("shop").label("app", name).serve(&[80]).start();
    let [web, api, other] = ["web", "api", "other"].map(start);
    let policies = Policies::new(&lab);
    policies.save("allow-web-to-api.yaml", OWNERS_EXAMPLE);
    let programs = lab.directory().join("programs");
    fs::create_dir(&programs).expect("the laboratory's directory takes directories");
    for (family, variant) in
        [("iptables", "nft"), ("ip6tables", "nft"), ("iptables", "legacy"), ("ip6tables", "legacy")]
    {
        let program = programs.join(format!("{family}-{variant}-restore"));
        fs::write(&program, REFUSING).expect("the laboratory's directory takes files");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("the file is ours");
    }
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
    let arguments = ["run", "--policies", &policies.argument(), "--resync-interval", "1s"];
    let enforced = || {
        let survey = Survey::new().source(web.source()).source(other.source()).target(api.target(&[Probe::Tcp(80)]));
        survey.expect(|cell| cell.source == "web");
    };
    let about_sctp = || rules(&lab).matches("-m sctp").count();

    let controller = lab.dockgate_with(&[("PATH", &path)], &arguments);
    wait_for("a status that says what is not prevented", || {
        let status = controller.status();
        status.status.code() == Some(1) && String::from_utf8_lossy(&status.stdout).contains("flows of SCTP")
    });
    enforced();
    assert_eq!(about_sctp(), 0);
    assert!(controller.stop().success());

    let mut controller = lab.dockgate(&arguments);
    controller.wait_until_ready();
    assert!(about_sctp() > 0);
    enforced();
}
