//! Between the start of the host and the start of the controller: containers that the engine restarts by itself talk as
//! soon as they can, and nothing of it may pass before the controller has found out who is on which network.
//!
//! The reboot is made of what is left of one: the engine ended, and every rule, set, flow and bridge gone.

use std::net::IpAddr;

use crate::scenario::{Group, Scenario, World};
use crate::support::lab::OUTSIDE;
use crate::support::world::{Policies, packet_filter, wait_for};
use crate::support::{
    Container, Controller, Engine, Iptables, Lab, Options, Protection, Sender, Tap, assert_by_packets,
};

/// Marks of the packets that policy forbids and of those that it allows.
const FORBIDDEN: [u16; 2] = [7101, 7102];
const ALLOWED: u16 = 7103;

const POLICIES: &str = "
{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: api}, spec: {
    selector: app == 'api', ingress: [{action: Allow, source: {selector: app == 'web'}}]}}
---
{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: other}, spec: {
    selector: app == 'other', types: [Egress]}}
";

const API: [&str; 2] = ["10.83.0.10", "2001:db8:83::10"];

/// A host that can be rebooted.
pub(crate) struct Boot {
    // Dropped in this order: the controller before the laboratory.
    controller: Option<Controller>,
    tap: Tap,
    senders: Vec<Sender>,
    containers: Vec<Container>,
    policies: Policies,
    /// Whether the last rules are put back at boot.
    restores: bool,
    lab: Lab,
}

impl World for Boot {
    fn lab(&self) -> &Lab {
        &self.lab
    }

    fn controller(&mut self) -> &mut Controller {
        self.controller.as_mut().expect("every scenario leaves a controller behind")
    }

    /// Engines do not put the rules of their networks in the same order at each start.
    fn in_force(&self) -> String {
        let filter = packet_filter(&self.lab);
        let mut lines: Vec<&str> = filter.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    }

    fn sabotage(&mut self, protection: Protection) {
        assert_eq!(protection, Protection::Restore, "a boot rests on nothing that is in the kernel before it");
        self.restores = false;
    }

    fn end_sabotage(&mut self) {
        self.restores = true;
        self.boot("1", |_| {});
    }
}

impl Boot {
    fn on_installed() -> Boot {
        Boot::build(Engine::Installed.into())
    }

    fn on_legacy() -> Boot {
        Boot::build(Options { variant: Some(Iptables::Legacy), ..Engine::Installed.into() })
    }

    fn on_trixie() -> Boot {
        Boot::build(Engine::Trixie.into())
    }

    fn on_sid() -> Boot {
        Boot::build(Engine::Sid.into())
    }

    fn build(options: Options) -> Boot {
        let lab = Lab::start(options);
        lab.network("front", &["10.83.0.0/24", "2001:db8:83::/64"]);
        let start = |name: &str, addresses: &[&str]| {
            let builder = lab.container(name).network("front").label("app", name).option("--restart").option("always");
            addresses.iter().fold(builder, |builder, address| builder.ip(address)).start()
        };
        let api = start("api", &API);
        let web = start("web", &["10.83.0.11", "2001:db8:83::11"]);
        let other = start("other", &["10.83.0.12", "2001:db8:83::12"]);
        let policies = Policies::new(&lab);
        policies.save("policies.yaml", POLICIES);
        let tap = Tap::start(lab.host(), &[FORBIDDEN[0], FORBIDDEN[1], ALLOWED]);
        let api_addresses: Vec<IpAddr> = API.iter().map(|text| text.parse().expect("an address")).collect();
        let mut boot = Boot {
            controller: None,
            senders: Vec::new(),
            tap,
            containers: vec![api, web, other],
            policies,
            restores: true,
            lab,
        };
        boot.start_controller();
        let [_, web, other] = &boot.containers[..] else { unreachable!("three containers were started") };
        boot.senders = vec![
            Sender::from_container(&boot.lab, other.id(), FORBIDDEN[0], &api_addresses),
            Sender::from_container(&boot.lab, other.id(), FORBIDDEN[1], &OUTSIDE),
            Sender::from_container(&boot.lab, web.id(), ALLOWED, &api_addresses),
        ];
        boot.wait_for_rounds();
        // Every scenario begins as it ends: after a boot.
        boot.boot("1", |_| {});
        boot
    }

    fn start_controller(&mut self) {
        let mut controller = self.lab.dockgate(&["run", "--policies", &self.policies.argument()]);
        controller.wait_until_ready();
        self.controller = Some(controller);
    }

    /// Waits until every container has sent for half a second more.
    fn wait_for_rounds(&self) {
        let before: Vec<u64> = self.senders.iter().map(Sender::rounds).collect();
        wait_for("every container to send", || {
            self.senders.iter().zip(&before).all(|(sender, before)| sender.rounds() > before + 25)
        });
    }

    /// Reboots, with a look at what has come through since the boot before the controller runs. `switch` is the
    /// namespace's setting for bridges to be filtered.
    fn boot(&mut self, switch: &str, before_controller: impl FnOnce(&Boot)) {
        let controller = self.controller.take().expect("every scenario leaves a controller behind");
        let state = controller.state().to_string_lossy().into_owned();
        controller.crash();
        self.lab.stop_engine();
        self.lose_everything();
        for family in ["iptables", "ip6tables"] {
            self.lab.host().set_sysctl(&format!("net.bridge.bridge-nf-call-{family}"), switch);
        }
        let marks = [FORBIDDEN[0], FORBIDDEN[1], ALLOWED];
        self.tap = Tap::start(self.lab.host(), &marks);
        if self.restores {
            let restored = self.lab.dockgate_output(&["restore", "--state-dir", &state]);
            let said = String::from_utf8_lossy(&[restored.stdout, restored.stderr].concat()).into_owned();
            assert!(restored.status.success() && said.contains("1 network is closed"), "{said}");
        }
        self.lab.start_engine();
        self.containers.iter_mut().for_each(Container::rejoin);
        self.wait_for_rounds();
        before_controller(self);
        self.start_controller();
        for family in ["iptables", "ip6tables"] {
            self.lab.host().set_sysctl(&format!("net.bridge.bridge-nf-call-{family}"), "1");
        }
    }

    /// What does not outlive a reboot.
    fn lose_everything(&self) {
        let flush = "
            nft flush ruleset
            for f in iptables-legacy ip6tables-legacy; do for t in filter nat mangle raw; do
                $f -t $t -P OUTPUT ACCEPT; $f -t $t -F; $f -t $t -X; done
                $f -P FORWARD ACCEPT
            done
            ipset destroy
            conntrack -F 2>/dev/null
            for link in $(ip -o link show type bridge | cut -d : -f 2); do ip link delete $link; done";
        self.lab.run(&["sh", "-ec", flush]);
        let left = packet_filter(&self.lab);
        assert!(!left.contains("DG-") && !left.contains("dg-") && !left.contains("DOCKER"), "{left}");
    }

    /// The marks of what has come through since the boot.
    fn came_through(&self) -> Vec<String> {
        let deliveries = self.tap.deliveries();
        deliveries.iter().map(|(delivery, count)| format!("{delivery} ({} packets)", count.packets)).collect()
    }

    /// Boots, and expects that nothing passes before the controller runs, that what is allowed does afterwards, and that
    /// nothing forbidden ever does.
    fn expect_closed_boot(&mut self, switch: &str) {
        let mut early = Vec::new();
        self.boot(switch, |boot| early = boot.came_through());
        let v6 = |text: &str| text.contains("2001:db8:83::10");
        wait_for("what is allowed to pass in both families", || {
            let passed = self.came_through();
            let allowed: Vec<_> = passed.iter().filter(|text| text.starts_with(&ALLOWED.to_string())).collect();
            allowed.iter().any(|text| v6(text)) && allowed.iter().any(|text| !v6(text))
        });
        self.wait_for_rounds();
        assert_by_packets!(early.is_empty(), "before the controller ran: {early:?}");
        let forbidden = |text: &String| FORBIDDEN.iter().any(|mark| text.starts_with(&mark.to_string()));
        let late: Vec<_> = self.came_through().into_iter().filter(forbidden).collect();
        assert_by_packets!(late.is_empty(), "when the controller came: {late:?}");
    }

    /// A last ruleset that cannot be read is told, and nothing is changed.
    fn expect_refusal(&mut self) {
        let file = self.controller().state().join("last-ruleset.json");
        let state = self.controller().state().to_string_lossy().into_owned();
        let running = self.lab.dockgate_output(&["restore", "--state-dir", &state]);
        assert_eq!(running.status.code(), Some(2), "a controller runs");
        self.controller.take().expect("every scenario leaves a controller behind").crash();
        let whole = std::fs::read(&file).expect("the controller keeps its rules");
        let before = packet_filter(&self.lab);
        std::fs::write(&file, &whole[..whole.len() / 2]).expect("the state directory takes files");
        let damaged = self.lab.dockgate_output(&["restore", "--state-dir", &state]);
        let after = packet_filter(&self.lab);
        self.start_controller();
        let said = String::from_utf8_lossy(&damaged.stderr).into_owned();
        assert!(damaged.status.code() == Some(2) && said.contains("damaged"), "{said}");
        assert_eq!(before, after, "nothing was changed");
        assert_eq!(std::fs::read(&file).expect("it was written anew"), whole, "the controller writes it anew");
    }
}

fn scenario(name: &'static str, accident: &'static str, run: fn(&mut Boot)) -> Scenario<Boot> {
    let path = "same bridge, container → outside";
    Scenario { name, path, family: "both", accident, rests_on: &[Protection::Restore], run }
}

/// The groups, one per engine: each has a laboratory of its own.
pub(crate) fn groups() -> Vec<Group<Boot>> {
    let closed =
        |accident| scenario("nothing_passes_before_the_controller_runs", accident, |boot| boot.expect_closed_boot("1"));
    vec![
        Group {
            name: "boot",
            build: Boot::on_installed,
            scenarios: vec![
                closed("reboot"),
                scenario("a_bridge_is_filtered_from_its_first_packet", "reboot, bridge netfilter off", |boot| {
                    boot.expect_closed_boot("0");
                }),
                Scenario {
                    rests_on: &[],
                    ..scenario("a_damaged_ruleset_is_told", "damaged file, running controller", Boot::expect_refusal)
                },
            ],
        },
        Group { name: "boot_legacy", build: Boot::on_legacy, scenarios: vec![closed("reboot, iptables-legacy")] },
        Group { name: "boot_26", build: Boot::on_trixie, scenarios: vec![closed("reboot, engine 26.1")] },
        Group { name: "boot_28", build: Boot::on_sid, scenarios: vec![closed("reboot, engine 28.5")] },
    ]
}
