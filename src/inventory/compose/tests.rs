//! Tables per rule of Compose. What is expected here was compared by hand with what Compose's own loader makes of such files.

mod findings;
mod syntax;

use super::*;
use crate::inventory::{CONTAINER_LABEL, Container, Endpoint};
use crate::net::Family;

/// Files by name; those in `compose` are the Compose files.
struct World<'a> {
    files: &'a [(&'a str, &'a str)],
    compose: &'a [&'a str],
    request: Request,
}

impl<'a> World<'a> {
    /// A world whose first file is the Compose file, in the directory `/srv/My.Shop`.
    fn new(files: &'a [(&'a str, &'a str)]) -> World<'a> {
        let working_directory = PathBuf::from("/srv/My.Shop");
        World { files, compose: &[], request: Request { working_directory, ..Request::default() } }
    }

    fn load(&self) -> Loaded {
        let read = |path: &Path| {
            let known = self.files.iter().find(|(name, _)| normalized(path) == Path::new(name));
            known.map(|(_, text)| SourceFile::new(path, *text))
        };
        let first = self.files.first().map(|(name, _)| *name).into_iter();
        let names: Vec<&str> = if self.compose.is_empty() { first.collect() } else { self.compose.to_vec() };
        let files = names.iter().map(|name| read(Path::new(name)).expect("the file is part of the world")).collect();
        load(&Request { files, ..self.request.clone() }, &mut |path| Ok(read(path)))
    }

    /// The inventory of a world that has no finding.
    #[track_caller]
    fn clean(&self) -> Inventory {
        let loaded = self.load();
        assert_eq!(loaded.diagnostics, []);
        loaded.inventory
    }
}

/// The inventory of one file that has no finding.
#[track_caller]
fn clean(text: &str) -> Inventory {
    World::new(&[("compose.yaml", text)]).clean()
}

fn container<'i>(inventory: &'i Inventory, name: &str) -> &'i Container {
    let mut containers = inventory.containers.values();
    containers.find(|container| container.name == name).unwrap_or_else(|| panic!("{name}: {:?}", names(inventory)))
}

fn names(inventory: &Inventory) -> Vec<&str> {
    let mut names: Vec<&str> = inventory.containers.values().map(|container| container.name.as_str()).collect();
    names.sort_unstable();
    names
}

/// `CONTAINER@NETWORK IPV4 IPV6` of every endpoint.
fn addresses(inventory: &Inventory) -> Vec<String> {
    let text = |address: Option<std::net::IpAddr>| address.map_or("-".to_owned(), |address| address.to_string());
    let endpoint =
        |e: &Endpoint<'_>| format!("{} {} {}", e.name(), text(e.address(Family::V4)), text(e.address(Family::V6)));
    inventory.endpoints().iter().map(endpoint).collect()
}

/// `NAME DRIVER SUBNETS GATEWAYS`, with `internal` where it is, of every network.
fn networks(inventory: &Inventory) -> Vec<String> {
    let joined = |items: Vec<String>| if items.is_empty() { "-".to_owned() } else { items.join(",") };
    let mut networks: Vec<String> = inventory
        .networks
        .values()
        .map(|network| {
            let subnets = joined(network.subnets.iter().map(ToString::to_string).collect());
            let gateways = joined(network.gateways.iter().map(ToString::to_string).collect());
            let internal = if network.internal { " internal" } else { "" };
            format!("{} {} {subnets} {gateways}{internal}", network.name, network.driver)
        })
        .collect();
    networks.sort();
    networks
}

fn ports(container: &Container) -> Vec<String> {
    let port = |port: &crate::inventory::PublishedPort| {
        let address = port.host_address.map_or(String::new(), |address| format!("{address} "));
        let host = port.host_port.map_or("?".to_owned(), |port| port.to_string());
        format!("{address}{host}->{}/{}", port.container_port, port.protocol.to_string().to_lowercase())
    };
    container.published.iter().map(port).collect()
}

/// A container's labels that Compose did not set.
fn own_labels(container: &Container) -> Vec<String> {
    let own = container.labels.iter().filter(|(key, _)| !key.starts_with("com.docker.compose."));
    own.map(|(key, value)| format!("{key}={value}")).collect()
}

#[test]
fn containers_are_named_as_compose_names_them() {
    let inventory = clean(
        "services:
  one: {image: i}
  named: {image: i, container_name: my-name}
  scaled: {image: i, scale: 2}
  deployed: {image: i, deploy: {replicas: '3', mode: replicated}}
  agreed: {image: i, scale: 2, deploy: {replicas: 2}}
  none: {image: i, scale: 0}
  built: {build: .}
  provided: {provider: {type: model}}
",
    );
    assert_eq!(
        names(&inventory),
        [
            "my-name",
            "myshop-agreed-1",
            "myshop-agreed-2",
            "myshop-built-1",
            "myshop-deployed-1",
            "myshop-deployed-2",
            "myshop-deployed-3",
            "myshop-one-1",
            "myshop-scaled-1",
            "myshop-scaled-2",
        ]
    );
    assert_eq!(container(&inventory, "myshop-one-1").image, "i");
    assert_eq!(container(&inventory, "myshop-built-1").image, "myshop-built");
    assert_eq!(container(&inventory, "myshop-one-1").namespace(), "myshop");
}

#[test]
fn the_project_is_named_by_option_environment_file_and_directory_in_this_order() {
    const NAMED: &str = "name: From-${WHERE:-file}\nservices: {a: {image: i}}\n";
    const BARE: &str = "services: {a: {image: i}}\n";
    let variable = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    for (name, text, option, variables, expected) in [
        ("option", NAMED, Some("opt"), variable("COMPOSE_PROJECT_NAME", "env"), "opt-a-1"),
        ("environment", NAMED, None, variable("COMPOSE_PROJECT_NAME", "env"), "env-a-1"),
        ("empty environment", NAMED, None, variable("COMPOSE_PROJECT_NAME", ""), "from-file-a-1"),
        ("file, with a variable", NAMED, None, variable("WHERE", "There"), "from-there-a-1"),
        ("directory", BARE, None, BTreeMap::new(), "myshop-a-1"),
    ] {
        let files = [("compose.yaml", text)];
        let mut world = World::new(&files);
        world.request.project_name = option.map(str::to_owned);
        world.request.variables = variables;
        let loaded = world.load();
        assert_eq!((names(&loaded.inventory), loaded.diagnostics), (vec![expected], vec![]), "{name}");
    }
    let mut world = World::new(&[("../Other_Dir/compose.yaml", BARE)]);
    assert_eq!(names(&world.clean()), ["other_dir-a-1"]);
    world.request.project_name = Some("Not Valid".to_owned());
    assert_eq!(world.load().diagnostics[0].code, codes::PROJECT_NAME.id);
    let mut root = World::new(&[("compose.yaml", BARE)]);
    root.request.working_directory = PathBuf::from("/");
    assert_eq!(root.load().diagnostics[0].code, codes::PROJECT_NAME.id, "a directory without a name");
}

#[test]
fn later_files_override_earlier_ones_by_the_rules_of_each_key() {
    let mut world = World::new(&[
        (
            "compose.yaml",
            "name: first
services:
  web:
    image: old
    labels: {a: '1', b: '1'}
    ports: ['80:80', '81:81']
    networks: [front]
    profiles: [x]
    depends_on: [db]
  gone: {image: i}
  kept: {image: i, ports: ['9:9']}
networks:
  front: {ipam: {config: [{subnet: 10.0.0.0/24, gateway: 10.0.0.7}, {subnet: 10.1.0.0/24}]}}
",
        ),
        (
            "override.yaml",
            "name: second
services:
  web:
    image: new
    labels: [b=2, c=3]
    ports: ['80:80', '82:82']
    networks: {back: {}}
    profiles: !reset []
    depends_on: {cache: {condition: service_healthy, restart: true}}
  gone: !reset null
  kept:
    ports: !override
      - '8:8'
networks:
  front: {internal: true, ipam: {config: [{subnet: 10.0.0.0/24}]}}
  back:
",
        ),
    ]);
    world.compose = &["compose.yaml", "override.yaml"];
    let inventory = world.clean();
    assert_eq!(names(&inventory), ["second-kept-1", "second-web-1"]);
    let web = container(&inventory, "second-web-1");
    assert_eq!(web.image, "new");
    assert_eq!(own_labels(web), ["a=1", "b=2", "c=3"]);
    assert_eq!(ports(web), ["80->80/tcp", "81->81/tcp", "82->82/tcp"]);
    assert_eq!(&*web.labels["com.docker.compose.depends_on"], "cache:service_healthy:true,db:service_started:false");
    assert_eq!(ports(container(&inventory, "second-kept-1")), ["8->8/tcp"]);
    assert_eq!(
        networks(&inventory),
        [
            "second_back bridge 172.18.0.0/16 172.18.0.1",
            "second_default bridge 172.19.0.0/16 172.19.0.1",
            "second_front bridge 10.0.0.0/24 10.0.0.7 internal",
        ]
    );
}

#[test]
fn documents_of_one_file_override_each_other() {
    let inventory = clean("services: {a: {image: i, labels: {x: '1'}}}\n---\nservices: {a: {labels: {x: '2'}}}\n");
    assert_eq!(own_labels(container(&inventory, "myshop-a-1")), ["x=2"]);
}

#[test]
fn services_extend_others_of_the_file_and_of_other_files() {
    let inventory = World::new(&[
        (
            "compose.yaml",
            "services:
  base: {image: b, labels: {from: base, who: base}, ports: ['1:1'], profiles: [never], networks: [n]}
  child: {extends: base, labels: {who: child}, ports: ['2:2'], profiles: !reset []}
  far: {extends: {file: parts/far.yaml, service: far}, labels: [who=far]}
networks: {n: {}}
",
        ),
        (
            "parts/far.yaml",
            "services:
  far: {extends: {file: deep/deep.yaml, service: deep}, ports: ['3'], label_file: far.labels}
",
        ),
        ("parts/deep/deep.yaml", "services: {deep: {image: d, scale: 2, labels: {from: deep, who: deep}}}\n"),
        ("parts/far.labels", "FILE=yes\nFILE2=$FILE.$HOME\nwho=file\n"),
    ])
    .clean();
    assert_eq!(names(&inventory), ["myshop-child-1", "myshop-far-1", "myshop-far-2"]);
    let child = container(&inventory, "myshop-child-1");
    assert_eq!(own_labels(child), ["from=base", "who=child"]);
    assert_eq!((ports(child), child.image.as_str()), (vec!["1->1/tcp".to_owned(), "2->2/tcp".to_owned()], "b"));
    assert_eq!(inventory.networks.values().map(|network| network.name.as_str()).max(), Some("myshop_n"));
    assert_eq!(own_labels(container(&inventory, "myshop-far-2")), ["FILE=yes", "FILE2=yes.", "from=deep", "who=far"]);
}

#[test]
fn included_files_have_their_own_directory_and_variables() {
    let inventory = World::new(&[
        (
            "compose.yaml",
            "name: outer
include:
  - parts/one.yaml
  - {path: [parts/two.yaml, parts/more.yaml], env_file: two.env}
services:
  own: {image: '${WHERE:-nowhere}', networks: [shared]}
  one: {labels: {over: 'yes'}}
",
        ),
        ("parts/.env", "WHERE=parts\n"),
        ("two.env", "WHERE=two\n"),
        (
            "parts/one.yaml",
            "name: inner\nservices: {one: {image: '${WHERE}', networks: [shared]}}\nnetworks: {shared: {}}\n",
        ),
        ("parts/two.yaml", "services: {two: {image: '${WHERE}'}}\n"),
        ("parts/more.yaml", "services: {two: {labels: {more: '1'}}}\n"),
    ])
    .clean();
    assert_eq!(names(&inventory), ["outer-one-1", "outer-own-1", "outer-two-1"]);
    let images: Vec<&str> = names(&inventory).iter().map(|name| container(&inventory, name).image.as_str()).collect();
    assert_eq!(images, ["parts", "nowhere", "two"]);
    assert_eq!(own_labels(container(&inventory, "outer-one-1")), ["over=yes"]);
    assert_eq!(own_labels(container(&inventory, "outer-two-1")), ["more=1"]);
}

#[test]
fn variables_come_from_the_environment_then_from_files() {
    const COMPOSE: &str = "services: {a: {image: '${A}-${B:-none}-${COMPOSE_PROJECT_NAME}'}}\n";
    let files =
        [("compose.yaml", COMPOSE), (".env", "A=dotenv\nB=dotenv\n"), ("x.env", "A=x\nB=${A}2\n"), ("y.env", "B=y\n")];
    let image = |variables: &[(&str, &str)], environment_files: Option<&[&str]>| {
        let mut world = World::new(&files);
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        world.request.variables = variables.iter().map(own).collect();
        world.request.environment_files = environment_files.map(|names| {
            let file = |name: &&str| {
                let (_, text) = files.iter().find(|(known, _)| known == name).expect("the file is in the list");
                SourceFile::new(name, *text)
            };
            names.iter().map(file).collect()
        });
        container(&world.clean(), "myshop-a-1").image.clone()
    };
    assert_eq!(image(&[], None), "dotenv-dotenv-myshop");
    assert_eq!(image(&[("A", "process")], None), "process-dotenv-myshop");
    assert_eq!(image(&[], Some(&["x.env"])), "x-x2-myshop");
    assert_eq!(image(&[("A", "process")], Some(&["x.env"])), "process-process2-myshop");
    assert_eq!(image(&[], Some(&["x.env", "y.env"])), "x-y-myshop");
}

#[test]
fn variables_that_no_policy_can_see_are_not_asked_for() {
    clean(
        "services: {a: {image: i, environment: {P: '${SECRET:?no}'}, command: '${X}', build: {args: {Y: '${Y:?}'}}}}\n",
    );
}

#[test]
fn services_with_profiles_are_there_when_one_is_active() {
    const TEXT: &str = "services:
  always: {image: i}
  debug: {image: i, profiles: [debug]}
  both: {image: i, profiles: [debug, test]}
  broken: {image: i, profiles: [other], networks: [unknown]}
";
    let active = |profiles: &[&str], variable: &str| {
        let mut world = World::new(&[("compose.yaml", TEXT)]);
        world.request.profiles = profiles.iter().map(|profile| (*profile).to_owned()).collect();
        world.request.variables = BTreeMap::from([(PROFILES.to_owned(), variable.to_owned())]);
        let loaded = world.load();
        (names(&loaded.inventory).join(" ").replace("myshop-", ""), loaded.diagnostics.len())
    };
    assert_eq!(active(&[], ""), ("always-1".to_owned(), 0));
    assert_eq!(active(&["test"], "debug"), ("always-1 both-1".to_owned(), 0));
    assert_eq!(active(&[], "debug, x"), ("always-1 both-1 debug-1".to_owned(), 0));
    assert_eq!(active(&["*"], ""), ("always-1 both-1 broken-1 debug-1".to_owned(), 1));
}

#[test]
fn network_modes_are_what_the_live_inventory_says_of_them() {
    let inventory = clean(
        "services:
  host: {image: i, network_mode: host, ports: ['1:1']}
  none: {image: i, network_mode: none}
  bridge: {image: i, network_mode: bridge, ports: ['2:2']}
  owner: {image: i, container_name: own}
  service: {image: i, network_mode: 'service:owner'}
  container: {image: i, network_mode: 'container:own'}
  predefined: {image: i, networks: [h]}
  remote: {image: i, networks: [lan, swarm]}
networks:
  h: {external: true, name: host}
  lan: {driver: macvlan}
  swarm: {driver: overlay}
",
    );
    let endpoints = inventory.endpoints();
    let reasons: Vec<String> = endpoints
        .iter()
        .map(|e| format!("{}: {}", e.name(), e.unenforceable.as_ref().map_or("-".to_owned(), ToString::to_string)))
        .collect();
    let host = "host network: the container has no address of its own";
    let shares = "shares the endpoint of container own, whose labels count";
    let driver = |name: &str| format!("driver {name}: its packets pass none of the host's netfilter hooks");
    assert_eq!(
        reasons,
        [
            "myshop-bridge-1@bridge: -".to_owned(),
            format!("myshop-container-1: {shares}"),
            format!("myshop-host-1: {host}"),
            format!("myshop-predefined-1: {host}"),
            format!("myshop-remote-1@myshop_lan: {}", driver("macvlan")),
            format!("myshop-remote-1@myshop_swarm: {}", driver("overlay")),
            format!("myshop-service-1: {shares}"),
            "own@myshop_default: -".to_owned(),
        ]
    );
    assert_eq!(ports(container(&inventory, "myshop-host-1")), Vec::<String>::new());
    assert_eq!(ports(container(&inventory, "myshop-bridge-1")), ["2->2/tcp"]);
    let bridge = inventory.networks.values().find(|network| network.name == "bridge").expect("it is used");
    assert_eq!(bridge.bridge.as_ref().map(crate::net::InterfaceName::as_str), Some("docker0"));
}

#[test]
fn networks_have_the_names_and_subnets_that_compose_and_docker_give() {
    let inventory = clean(
        "name: p
services:
  a: {image: i, networks: [plain, named, ext, dual, given, mac, six]}
  b: {image: i}
networks:
  plain:
  named: {name: other}
  ext: {external: true}
  dual: {enable_ipv6: true, internal: true}
  given: {ipam: {config: [{subnet: 172.18.0.0/15}, {subnet: 'fd00:0:0:1::/64'}]}, enable_ipv6: true}
  mac: {driver: macvlan}
  six: {enable_ipv4: false, enable_ipv6: 'yes'}
  unused: {}
",
    );
    assert_eq!(
        networks(&inventory),
        [
            "ext bridge 172.22.0.0/16 172.22.0.1",
            "other bridge 172.24.0.0/16 172.24.0.1",
            "p_default bridge 172.20.0.0/16 172.20.0.1",
            "p_dual bridge 172.21.0.0/16,fd00:0:0:2::/64 172.21.0.1,fd00:0:0:2::1 internal",
            "p_given bridge 172.18.0.0/15,fd00:0:0:1::/64 172.18.0.1,fd00:0:0:1::1",
            "p_mac macvlan 172.23.0.0/16 172.23.0.1",
            "p_plain bridge 172.25.0.0/16 172.25.0.1",
            "p_six bridge fd00:0:0:3::/64 fd00:0:0:3::1",
        ]
    );
    for network in inventory.networks.values() {
        assert_eq!(network.has_own_bridge(), network.driver == "bridge", "{network:?}");
    }
}

#[test]
fn after_the_large_pools_come_the_small_ones_and_then_nothing() {
    let world = |count: usize| {
        let keys: Vec<String> = (0..count).map(|number| format!("n{number:02}")).collect();
        let declared = keys.join(":\n  ");
        let text =
            format!("services: {{a: {{image: i, networks: [{}]}}}}\nnetworks:\n  {declared}:\n", keys.join(", "));
        World::new(&[("compose.yaml", text.as_str())]).load()
    };
    let full = world(30);
    assert_eq!(full.diagnostics, []);
    let networks = networks(&full.inventory);
    assert_eq!(networks[13], "myshop_n13 bridge 172.31.0.0/16 172.31.0.1");
    assert_eq!(networks[14], "myshop_n14 bridge 192.168.0.0/20 192.168.0.1");
    assert_eq!(networks[29], "myshop_n29 bridge 192.168.240.0/20 192.168.240.1");
    let codes: Vec<&str> = world(31).diagnostics.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [codes::SUBNET_FULL.id]);
}

#[test]
fn stated_addresses_are_kept_and_the_others_go_around_them() {
    let inventory = clean(
        "services:
  a: {image: i, scale: 2, networks: [n]}
  b:
    image: i
    networks:
      n: {ipv4_address: 10.0.0.3, ipv6_address: 'fd01::2', mac_address: '02:42:ac:11:00:03'}
      ext: {ipv4_address: 192.0.2.9}
  c: {image: i, mac_address: '02:42:ac:11:00:04', networks: {n: {}, ext: {priority: 5}}}
  d: {image: i, networks: [part]}
networks:
  n: {enable_ipv6: true, ipam: {config: [{subnet: 10.0.0.0/24, aux_addresses: {x: 10.0.0.4}}, {subnet: 'fd01::/64'}]}}
  ext: {external: true}
  part: {ipam: {config: [{subnet: 10.2.0.0/16, ip_range: 10.2.5.0/24, gateway: 10.2.0.9}]}}
",
    );
    assert_eq!(
        addresses(&inventory),
        [
            "myshop-a-1@myshop_n 10.0.0.2 fd01::3",
            "myshop-a-2@myshop_n 10.0.0.5 fd01::4",
            "myshop-b-1@ext 192.0.2.9 -",
            "myshop-b-1@myshop_n 10.0.0.3 fd01::2",
            "myshop-c-1@ext 192.0.0.2 -",
            "myshop-c-1@myshop_n 10.0.0.6 fd01::5",
            "myshop-d-1@myshop_part 10.2.5.1 -",
        ]
    );
    let macs = |name: &str| -> Vec<String> {
        let attachments = container(&inventory, name).attachments.iter();
        let mac = |attachment: &crate::inventory::Attachment| {
            Some(format!("{} {}", inventory.networks[&attachment.network].name, attachment.mac?))
        };
        attachments.filter_map(mac).collect()
    };
    assert_eq!(macs("myshop-b-1"), ["myshop_n 02:42:ac:11:00:03"]);
    assert_eq!(macs("myshop-c-1"), ["ext 02:42:ac:11:00:04"]);
}

#[test]
fn containers_have_the_labels_that_compose_sets() {
    let mut world = World::new(&[
        (
            "deploy/compose.yaml",
            "services:
  web:
    image: i
    scale: 2
    labels: {com.docker.compose.service: forged, app: web}
    depends_on: [db]
    links: ['cache:c']
    volumes_from: ['db:ro', 'container:x']
  db: {image: i}
",
        ),
        ("vars.env", ""),
    ]);
    world.request.environment_files = Some(vec![SourceFile::new("vars.env", "")]);
    let inventory = world.clean();
    let labels: Vec<String> = container(&inventory, "deploy-web-2")
        .labels
        .iter()
        .map(|(key, value)| format!("{}={value}", key.replace("com.docker.compose.", ".")))
        .collect();
    assert_eq!(
        labels,
        [
            "app=web",
            ".container-number=2",
            ".depends_on=cache:service_started:true,db:service_started:false",
            ".oneoff=False",
            ".project=deploy",
            ".project.config_files=/srv/My.Shop/deploy/compose.yaml",
            ".project.environment_file=/srv/My.Shop/vars.env",
            ".project.working_dir=/srv/My.Shop/deploy",
            ".service=web",
        ]
    );
    let endpoints = inventory.endpoints();
    let web =
        endpoints.iter().find(|endpoint| endpoint.labels[CONTAINER_LABEL] == "deploy-web-1").expect("it is there");
    let selector = crate::selector::Selector::parse("com.docker.compose.service == 'web'").expect("it is valid");
    assert!(selector.matches(&web.labels));
}

#[test]
fn labels_are_texts_from_mappings_and_lists() {
    let inventory = clean(
        "services:
  map: {image: i, labels: {text: a, number: 1, float: 1.0, flag: true, nothing: , 'key.$X': '$$x'}}
  list: {image: i, labels: [a=b=c, bare, 'empty=']}
",
    );
    assert_eq!(
        own_labels(container(&inventory, "myshop-map-1")),
        ["flag=true", "float=1", "key.$X=$x", "nothing=", "number=1", "text=a"]
    );
    assert_eq!(own_labels(container(&inventory, "myshop-list-1")), ["a=b=c", "bare=", "empty="]);
}

#[test]
fn anchors_merge_keys_and_extensions_are_understood() {
    let inventory = clean(
        "x-common: &common
  image: c
  labels: &labels {a: '1', b: '1'}
x-other: {networks: [whatever]}
services:
  one: {<<: *common}
  two:
    <<: *common
    labels: {<<: *labels, b: '2'}
    x-note: [1]
networks: {x-skip: 3}
",
    );
    assert_eq!(own_labels(container(&inventory, "myshop-one-1")), ["a=1", "b=1"]);
    assert_eq!(own_labels(container(&inventory, "myshop-two-1")), ["a=1", "b=2"]);
}

#[test]
fn equal_files_give_equal_inventories() {
    let text = "services: {a: {image: i, scale: 3, networks: [x, y]}, b: {image: i}}\nnetworks: {x: , y: }\n";
    assert_eq!(clean(text), clean(text));
}
