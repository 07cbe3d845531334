//! The main job: the owner's example on a real engine, from the policy file to the packets.

use crate::support::lab::HOST;
use crate::support::world::{OWNERS_EXAMPLE, Policies, packet_filter, rules, wait_for};
use crate::support::{Cell, Container, Engine, Lab, Probe, Survey, Target};

const FILE: &str = "allow-web-to-api.yaml";
const PROBES: [Probe; 3] = [Probe::Tcp(80), Probe::Udp(80), Probe::Ping];

struct Shop {
    lab: Lab,
    containers: Vec<Container>,
}

impl Shop {
    fn open() -> Shop {
        let lab = Lab::start(Engine::Installed);
        lab.network("shop", &["10.77.0.0/24", "2001:db8:77::/64"]);
        let mut shop = Shop { lab, containers: Vec::new() };
        for (name, app) in [("web", "web"), ("api", "api"), ("db", "db"), ("other", "other")] {
            shop.add(name, app);
        }
        shop
    }

    fn add(&mut self, name: &str, app: &str) {
        let builder = self.lab.container(name).network("shop").label("app", app).serve(&[80]);
        let builder = if app == "api" { builder.publish("8080:80") } else { builder };
        self.containers.push(builder.start());
    }

    fn container(&mut self, name: &str) -> &mut Container {
        self.containers.iter_mut().find(|container| container.name() == name).expect("a container of the shop")
    }

    /// Everybody probes everybody, and the published port.
    fn survey(&self) -> Survey {
        let published = Target {
            name: "published".to_owned(),
            addresses: HOST.to_vec(),
            probes: vec![Probe::Tcp(8080)],
            home: None,
        };
        let mut survey = Survey::new().source(self.lab.outside_source()).target(published);
        for container in &self.containers {
            survey = survey.source(container.source()).target(container.target(&PROBES));
        }
        survey
    }
}

fn is_web(name: &str) -> bool {
    name.starts_with("web")
}

/// What the owner's example means: web reaches api, nothing else does, api reaches nobody, the rest is untouched.
fn by_the_owners_example(cell: &Cell) -> bool {
    match (cell.source.as_str(), cell.target.as_str()) {
        // A container's own address does not leave it.
        (source, target) if source == target => true,
        ("api", _) => false,
        (source, "api" | "published") => is_web(source),
        _ => true,
    }
}

#[test]
fn the_owners_example_is_enforced() {
    let mut shop = Shop::open();
    let policies = Policies::new(&shop.lab);
    let open = shop.survey().measure();
    println!("without policy:\n{open}");
    open.assert(|cell| cell.source != "outside" || open.cells[cell].is_open());
    // From the outside Docker itself keeps containers closed, in the families and engines in which it does. A replica
    // fares as the first of its kind.
    let docker_allows = |cell: &Cell| {
        let first = |name: &str| name.trim_end_matches("-2").to_owned();
        open.outcome(&first(&cell.source), &first(&cell.target), cell.probe, cell.address.is_ipv6()).is_open()
    };
    let untouched = packet_filter(&shop.lab);

    policies.save(FILE, OWNERS_EXAMPLE);
    let mut controller = shop.lab.dockgate(&["run", "--policies", &policies.argument(), "--resync-interval", "1s"]);
    controller.wait_until_ready();
    let expected = |cell: &Cell| by_the_owners_example(cell) && docker_allows(cell);
    println!("with the owner's example:\n{}", shop.survey().expect(expected));
    let enforced = rules(&shop.lab);
    assert!(enforced.contains("allow-web-to-api ingress[0]"), "rules name policy and rule:\n{enforced}");

    // A new replica of web is let in, another new container is not; no rule changes for it.
    shop.add("web-2", "web");
    shop.add("other-2", "other");
    shop.survey().expect(expected);
    assert_eq!(rules(&shop.lab), enforced, "containers come without a change of rules");

    shop.container("api").restart();
    shop.survey().expect(expected);

    // A broken edit: enforced as before, and the status says where it is broken.
    policies.save(FILE, &OWNERS_EXAMPLE.replace("app == 'web'", "app = 'web'"));
    wait_for("a status that names the broken line", || {
        let status = controller.status();
        let said = String::from_utf8_lossy(&status.stdout).into_owned();
        status.status.code() == Some(1) && said.contains(&format!("{FILE}:11:"))
    });
    shop.survey().expect(expected);

    policies.save(FILE, OWNERS_EXAMPLE);
    controller.wait_until_ready();

    policies.remove(FILE);
    wait_for("the rules to go with their policy", || !rules(&shop.lab).contains("allow-web-to-api"));
    controller.wait_until_ready();
    shop.survey().expect(docker_allows);

    // Stopped: the rules stay. Cleaned up: as it was.
    policies.save(FILE, OWNERS_EXAMPLE);
    wait_for("the policy to be back", || rules(&shop.lab).contains("allow-web-to-api"));
    let state = controller.state().to_string_lossy().into_owned();
    assert!(controller.stop().success());
    shop.survey().expect(expected);
    for name in ["web-2", "other-2"] {
        let index = shop.containers.iter().position(|container| container.name() == name).expect("it is there");
        shop.containers.swap_remove(index).remove();
    }
    let cleanup = shop.lab.dockgate_output(&["cleanup", "--state-dir", &state]);
    assert!(cleanup.status.success(), "{}", String::from_utf8_lossy(&cleanup.stderr));
    let after = packet_filter(&shop.lab);
    assert!(!after.contains("DG-") && !after.contains("dg-"), "{after}");
    assert_eq!(in_any_order(&after), in_any_order(&untouched));
    shop.survey().expect(docker_allows);
}

/// Docker writes api's published port anew when it is restarted, at another place of the same chain.
fn in_any_order(filter: &str) -> Vec<&str> {
    let mut lines: Vec<_> = filter.lines().collect();
    lines.sort_unstable();
    lines
}
