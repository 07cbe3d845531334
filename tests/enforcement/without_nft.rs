//! A machine without `nft`: policy is enforced by iptables and ipset alone, and the status says what is then not prevented.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::tools::{NFT, TOOLS, find};
use crate::support::world::{OWNERS_EXAMPLE, Policies, bridge_table, rules, wait_for};
use crate::support::{Engine, Lab, Probe, Survey};

#[test]
fn the_status_says_what_is_not_prevented() {
    let lab = Lab::start(Engine::Installed);
    lab.network("shop", &["10.77.0.0/24", "2001:db8:77::/64"]);
    let start = |name: &str| lab.container(name).network("shop").label("app", name).serve(&[80]).start();
    let [web, api, other] = ["web", "api", "other"].map(start);
    let policies = Policies::new(&lab);
    policies.save("allow-web-to-api.yaml", OWNERS_EXAMPLE);

    let path = lab.directory().join("programs");
    fs::create_dir(&path).expect("the laboratory's directory takes directories");
    // The last one starts dockgate here.
    for program in TOOLS.into_iter().filter(|tool| *tool != NFT).chain(["nsenter"]) {
        let Some(place) = find(program) else { continue };
        symlink(place, path.join(program)).expect("the programs have different names");
    }
    let path = path.to_string_lossy().into_owned();
    let arguments = ["run", "--policies", &policies.argument(), "--resync-interval", "1s"];
    let enforced = || {
        let survey = Survey::new().source(web.source()).source(other.source()).target(api.target(&[Probe::Tcp(80)]));
        survey.expect(|cell| cell.source == "web");
    };

    let controller = lab.dockgate_with(&[("PATH", &path)], &arguments);
    let said = || {
        let status = controller.status();
        (status.status.code(), String::from_utf8_lossy(&status.stdout).into_owned())
    };
    wait_for("a status that says what is not prevented", || {
        let (code, text) = said();
        code == Some(1)
            && ["spoofing is NOT prevented", "take the address of another container", "`nftables`"]
                .iter()
                .all(|part| text.contains(part))
    });
    wait_for("the rules", || rules(&lab).contains("allow-web-to-api"));
    enforced();
    assert_eq!(bridge_table(&lab), "");
    assert!(controller.stop().success());

    let mut controller = lab.dockgate(&arguments);
    controller.wait_until_ready();
    assert_ne!(bridge_table(&lab), "");
    enforced();
}
