//! What is wrong with a file is found at its place.

use super::*;

/// One row: what it is about, the Compose file, and `CODE LINE:COLUMN FIELD` of the findings.
type Row = (&'static str, &'static str, &'static [&'static str]);

const FINDINGS: &[Row] = &[
    ("not YAML", "services: [\n", &["DG1001 1:11 "]),
    ("a key twice", "services: {a: {image: i, image: j}}\n", &["DG1002 1:26 services.a.image"]),
    ("another tag", "services: {a: {image: !x i}}\n", &["DG1008 1:23 "]),
    ("a tag in a list", "services:\n  a: {image: i, ports: [!reset '1:1']}\n", &["DG1008 2:25 "]),
    ("services as a list", "services: [a]\n", &["DG2006 1:11 services"]),
    ("a service without content", "services:\n  a:\n", &["DG2006 2:3 services.a"]),
    ("a misspelt key of the file", "service: {}\n", &["DG2004 1:1 service"]),
    ("a misspelt key of a service", "services: {a: {image: i, network: [x]}}\n", &["DG2004 1:26 services.a.network"]),
    ("a key of a later Compose", "services: {a: {image: i, teleport: 1}}\n", &[]),
    ("an unknown key of the file", "services: {}\nfoo: bar\nx-foo: bar\nversion: '3'\n", &["DG2004 2:1 foo"]),
    ("the first form of Compose", "web:\n  image: x\n", &["DG2004 1:1 web"]),
    ("an empty file", "", &["DG2005 1:1 "]),
    ("a file without services", "networks: {n: }\n", &["DG2005 1:1 "]),
    ("a list", "[]\n", &["DG1007 1:1 "]),
    (
        "policies",
        "apiVersion: v1\nkind: List\nitems: []\n---\nmetadata: {name: x}\nkind: Tier\napiVersion: x/v3\n",
        &["DG2004 1:1 apiVersion", "DG2004 7:1 apiVersion"],
    ),
    (
        "keys that are close to others",
        "volumes: {}\nservices: {a: {image: i, init: true, expose: [1], volumes: [], develop: {}, env_file: x}}\n",
        &[],
    ),
    (
        "unknown networks",
        "services:\n  a: {image: i, networks: [frnt]}\n  b:\n    image: i\n    networks:\n      other:\nnetworks: {front: }\n",
        &["DG3040 2:28 services.a.networks[0]", "DG3040 6:7 services.b.networks.other"],
    ),
    (
        "an address twice",
        "services:
  a: {image: i, networks: {n: {ipv4_address: 10.0.0.5}}}
  b: {image: i, networks: {n: {ipv4_address: 10.0.0.5}}}
networks: {n: {ipam: {config: [{subnet: 10.0.0.0/24}]}}}
",
        &["DG3043 3:46 services.b.networks.n.ipv4_address"],
    ),
    (
        "addresses that cannot be",
        "services:
  a: {image: i, networks: {n: {ipv4_address: 10.0.1.5}}}
  b: {image: i, networks: {n: {ipv4_address: 10.0.0.1}}}
  c: {image: i, networks: {n: {ipv4_address: x}}}
  d: {image: i, networks: {n: {ipv6_address: 'fd00::5'}}}
  e: {image: i, networks: {free: {ipv4_address: 172.18.0.5}}}
  f: {image: i, networks: {n: {mac_address: x}}}
networks: {free: , n: {ipam: {config: [{subnet: 10.0.0.0/24}]}}}
",
        &[
            "DG3042 2:46 services.a.networks.n.ipv4_address",
            "DG3042 3:46 services.b.networks.n.ipv4_address",
            "DG3042 4:46 services.c.networks.n.ipv4_address",
            "DG3042 5:46 services.d.networks.n.ipv6_address",
            "DG3042 6:49 services.e.networks.free.ipv4_address",
            "DG3042 7:45 services.f.networks.n.mac_address",
        ],
    ),
    (
        "bad subnets",
        "services: {a: {image: i, networks: [n, m]}}
networks:
  n: {ipam: {config: [{subnet: 10.0.0.1/24}, {subnet: 10.0.0.0}, {subnet: x/8}, {subnet: 10.1.0.0/16}]}}
  m: {ipam: {config: [{subnet: 10.1.2.0/24}, {subnet: 10.2.0.0/24, gateway: 10.3.0.1, ip_range: 10.0.0.0/8}]}}
",
        &[
            "DG3020 3:32 networks.n.ipam.config[0].subnet",
            "DG3019 3:55 networks.n.ipam.config[1].subnet",
            "DG3019 3:75 networks.n.ipam.config[2].subnet",
            "DG3043 3:90 networks.n.ipam.config[3].subnet",
            "DG3042 4:77 networks.m.ipam.config[1].gateway",
            "DG3042 4:97 networks.m.ipam.config[1].ip_range",
        ],
    ),
    (
        "a subnet that is full",
        "services: {a: {image: i, scale: 2, networks: [n]}}\nnetworks: {n: {ipam: {config: [{subnet: 10.0.0.0/30}]}}}\n",
        &["DG3044 1:47 services.a.networks[0]"],
    ),
    (
        "bad ports",
        "services: {a: {image: i, ports: ['80:http', {target: 0}, {target: 1, host_ip: x}, {published: '1'}, 80:80:80]}}\n",
        &[
            "DG3013 1:34 services.a.ports[0]",
            "DG3013 1:54 services.a.ports[1].target",
            "DG3042 1:79 services.a.ports[2].host_ip",
            "DG3013 1:83 services.a.ports[3]",
            "DG3042 1:101 services.a.ports[4]",
        ],
    ),
    (
        "network modes",
        "services:
  a: {image: i, network_mode: hots}
  b: {image: i, network_mode: host, networks: [n]}
  c: {image: i, network_mode: 'service:d', ports: ['1:1']}
  d: {image: i}
  e: {image: i, network_mode: 'service:x'}
  f: {image: i, network_mode: 'service:g'}
  g: {image: i, profiles: [p]}
  h: {image: i, network_mode: 'container:x'}
networks: {n: }
",
        &[
            "DG3045 2:31 services.a.network_mode",
            "DG3045 3:31 services.b.network_mode",
            "DG3045 4:51 services.c.ports",
            "DG3064 6:31 services.e.network_mode",
            "DG3064 7:31 services.f.network_mode",
            "DG3103 9:31 services.h.network_mode",
        ],
    ),
    (
        "a bridge that cannot be",
        "services: {a: {image: i, networks: [n]}}\nnetworks: {n: {driver_opts: {com.docker.network.bridge.name: a/b}}}\n",
        &["DG3046 2:62 networks.n.driver_opts[\"com.docker.network.bridge.name\"]"],
    ),
    (
        "numbers",
        "services: {a: {image: i, scale: -1}, b: {image: i, scale: 2, deploy: {replicas: 3}}, c: {image: i, scale: x}}\n",
        &["DG2008 1:33 services.a.scale", "DG3067 1:59 services.b.scale", "DG2008 1:107 services.c.scale"],
    ),
    (
        "names of containers",
        "services:
  a: {image: i, container_name: x, scale: 2}
  b: {image: i, container_name: x}
",
        &["DG3067 2:33 services.a.container_name", "DG3041 3:33 services.b.container_name"],
    ),
    (
        "an external network that is described",
        "services: {a: {image: i, networks: [n]}}\nnetworks: {n: {external: true, internal: true}}\n",
        &["DG3067 2:42 networks.n.internal"],
    ),
    ("not a boolean", "networks: {n: {internal: perhaps}}\nservices: {}\n", &["DG2006 1:26 networks.n.internal"]),
    (
        "variables",
        "services:\n  a: {image: '${TAG:?which}', container_name: $NAME, labels: {a: '${'}}\n",
        &["DG3061 2:14 services.a.image", "DG3150 2:47 services.a.container_name", "DG3060 2:66 services.a.labels.a"],
    ),
    (
        "services that extend",
        "services:
  a: {extends: base}
  b: {extends: {file: nowhere.yaml, service: x}}
  c: {extends: {file: compose.yaml, service: basic}}
  d: {extends: {file: other.yaml}}
  e: {extends: f}
  f: {extends: e}
  base1: {image: i}
",
        &[
            "DG3064 2:16 services.a.extends",
            "DG3066 3:23 services.b.extends.file",
            "DG3064 4:46 services.c.extends.service",
            "DG2005 5:16 services.d.extends",
            "DG3065 6:16 services.e.extends",
            "DG3065 7:16 services.f.extends",
        ],
    ),
    (
        "files that are included",
        "include: [compose.yaml, nowhere.yaml, 'https://example.com/x.yaml', {env_file: x}]\nservices: {}\n",
        &["DG3065 1:11 include[0]", "DG3066 1:25 include[1]", "DG3066 1:39 include[2]", "DG2005 1:69 include[3]"],
    ),
    (
        "a host port twice",
        "services:
  a: {image: i, ports: ['80:80', '127.0.0.1:81:81']}
  b: {image: i, ports: ['127.0.0.1:80:8080', '[::1]:81:81', '80:80/udp']}
",
        &["DG3151 3:25 services.b.ports[0]"],
    ),
    (
        "a host port twice, in the long form and by one service",
        "services:
  a: {image: i, ports: ['90', {target: 80, published: 80}]}
  b: {image: i, ports: [{target: 80, published: 80}]}
  c: {image: i, scale: 2, ports: ['91:90']}
  d: {image: i, scale: 2, ports: ['92-93:90']}
",
        &["DG3151 3:49 services.b.ports[0].published", "DG3151 4:35 services.c.ports[0]"],
    ),
    (
        "services that use each other's network",
        "services:
  a: {image: i, network_mode: 'service:b'}
  b: {image: i, network_mode: 'service:a'}
  c: {image: i, network_mode: 'service:a'}
  d: {image: i, network_mode: 'service:d'}
  e: {image: i, network_mode: 'service:f'}
  f: {image: i}
  g: {image: i, network_mode: 'container:h'}
  h: {image: i, container_name: h, network_mode: 'service:g'}
",
        &[
            "DG3065 2:31 services.a.network_mode",
            "DG3065 3:31 services.b.network_mode",
            "DG3065 5:31 services.d.network_mode",
            "DG3065 8:31 services.g.network_mode",
            "DG3065 9:50 services.h.network_mode",
        ],
    ),
];

#[test]
fn findings_have_their_code_and_place() {
    let mut wrong = Vec::new();
    for (name, text, expected) in FINDINGS {
        let found: Vec<String> = World::new(&[("compose.yaml", text)])
            .load()
            .diagnostics
            .iter()
            .map(|d| format!("{} {}:{} {}", d.code, d.location.line, d.location.column, d.field))
            .collect();
        if found != *expected {
            wrong.push(format!("{name}: found {found:#?}, expected {expected:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn findings_name_what_was_probably_meant() {
    let text = "services:
  web: {image: i, networks: [frnt], network: x}
  api: {extends: wbe}
  job: {image: i, network_mode: hots}
networks: {front: }
";
    let loaded = World::new(&[("compose.yaml", text)]).load();
    let helps: Vec<&str> = loaded.diagnostics.iter().filter_map(|finding| finding.help.as_deref()).collect();
    assert_eq!(
        helps,
        ["did you mean `front`?", "did you mean `networks`?", "did you mean `web`?", "did you mean `host`?"]
    );
}

#[test]
fn findings_say_whom_or_what_they_are_about() {
    let text = "services:
  a: {image: i, ports: ['80:80'], scale: 2, networks: [n]}
  b: {image: i, ports: ['80:81', 'x:1:2'], networks: [m]}
  c: {image: i, network_mode: 'service:d'}
  d: {image: i, network_mode: 'service:c'}
  e: {image: i, networks: [k]}
networks:
  n: {ipam: {config: [{subnet: 10.1.0.0/30}]}}
  m: {ipam: {config: [{subnet: 10.0.0.0/29}]}}
  k: {ipam: {config: [{subnet: 10.0.0.0/28}]}}
";
    let loaded = World::new(&[("compose.yaml", text)]).load();
    let messages: Vec<&str> = loaded.diagnostics.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "only one of the 2 containers of `a` can have port 80 of the host",
            "the network `myshop_n` has no IPv4 address left for `myshop-a-2`",
            "port 80 of the host is published by `myshop-a-1` already",
            "`x` is not an IP address of the host: a port is `[[HOST-ADDRESS:]HOST-PORT:]PORT[/PROTOCOL]`",
            "services use each other's network in a circle: c → d → c",
            "services use each other's network in a circle: d → c → d",
            "`10.0.0.0/29` overlaps `10.0.0.0/28` (compose.yaml:10:32), and no two networks of a host may",
        ]
    );
}

#[test]
fn an_invalid_project_name_is_told_where_it_stands() {
    let files = [("compose.yaml", "services: {}\n"), (".env", "A=1\n export COMPOSE_PROJECT_NAME=Not.Valid\n")];
    let found = |variables: &[(&str, &str)]| {
        let mut world = World::new(&files);
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        world.request.variables = variables.iter().map(own).collect();
        let found = world.load().diagnostics;
        found.iter().map(|found| format!("{} {}", found.location, found.message)).collect::<Vec<_>>()
    };
    let message = |name: &str| format!("`{name}`, the value of `COMPOSE_PROJECT_NAME`, is not the name of a project");
    assert_eq!(found(&[]), [format!(".env:2:1 {}", message("Not.Valid"))]);
    assert_eq!(found(&[("COMPOSE_PROJECT_NAME", "No!")]), [format!("compose.yaml:1:1 {}", message("No!"))]);
}

#[test]
fn findings_in_other_files_have_the_place_there() {
    let mut world = World::new(&[
        ("compose.yaml", "services: {a: {extends: {file: base.yaml, service: base}}}\n"),
        ("base.yaml", "services:\n  base:\n    image: i\n    ports: ['x']\n"),
        ("override.yaml", "services:\n  a: {labels: 5, ports: {a: b}}\n"),
        (".env", "1 2=3\n"),
    ]);
    world.compose = &["compose.yaml", "override.yaml"];
    let loaded = world.load();
    let found: Vec<String> = loaded.diagnostics.iter().map(|d| format!("{} {}", d.code, d.location)).collect();
    assert_eq!(
        found,
        ["DG3062 .env:1:1", "DG2006 override.yaml:2:15", "DG2006 override.yaml:2:25", "DG2006 override.yaml:2:25"]
    );
    let sources: Vec<_> = loaded.sources.iter().map(|source| source.path.to_string_lossy().into_owned()).collect();
    assert_eq!(sources, [".env", "compose.yaml", "base.yaml", "override.yaml"]);
}

#[test]
fn tags_are_taken_for_tags_only_where_they_are() {
    let mut world = World::new(&[
        (
            "compose.yaml",
            "services: {a: {image: i, ports: ['1:1'], labels: {x: '1', y: '1'}, networks: [n]}}\nnetworks: {n: }\n",
        ),
        (
            "override.yaml",
            "# ports: !reset []
services:
  a:
    labels: {z: '!reset', w: \"a !override\", \"x\": !reset }
    ports: !override # not !reset

      # nor this
      - '2:2'
    networks: !reset []
",
        ),
    ]);
    world.compose = &["compose.yaml", "override.yaml"];
    let inventory = world.clean();
    let a = container(&inventory, "myshop-a-1");
    assert_eq!(own_labels(a), ["w=a !override", "y=1", "z=!reset"]);
    assert_eq!(ports(a), ["2->2/tcp"]);
    assert_eq!(networks(&inventory), ["myshop_default bridge 172.18.0.0/16 172.18.0.1"]);
}

#[test]
fn long_chains_of_services_end() {
    let services: Vec<String> = (0..100).map(|number| format!("  s{number}: {{extends: s{}}}\n", number + 1)).collect();
    let text = format!("services:\n{}  s100: {{image: i}}\n", services.concat());
    let loaded = World::new(&[("compose.yaml", text.as_str())]).load();
    assert!(loaded.diagnostics.iter().any(|finding| finding.code == codes::LIMIT.id), "{:?}", loaded.diagnostics);
}

/// Everything that has a meaning of its own.
const SAMPLE: &str = "name: ${P:-p}
include: [x.yaml]
services:
  a: &a {image: 'i:${T:-1}', ports: ['80-81:80-81', {target: 1, published: '2'}], networks: {n: {ipv4_address: 10.0.0.5}}}
  b:
    <<: *a
    extends: {file: x.yaml, service: x}
    networks: !override [n]
    labels: !reset [a=b, \"ü=$$ß\"]
    scale: 2
  c: {extends: b, network_mode: 'service:a', profiles: [p]}
networks: {n: {enable_ipv6: true, ipam: {config: [{subnet: 10.0.0.0/24, gateway: 10.0.0.9}]}}}
";

proptest::proptest! {
    /// A change of the sample at any place: what is read is an inventory with usable bridges, or has findings.
    #[test]
    fn damaged_files_are_read_or_refused(
        place in 0usize..1000, removed in 0usize..4, inserted in "[-${}:!'\"\\n #a1ü/\\[\\],&*<.]{0,4}"
    ) {
        let characters: Vec<char> = SAMPLE.chars().collect();
        let place = place % characters.len();
        let text: String = characters[..place]
            .iter()
            .copied()
            .chain(inserted.chars())
            .chain(characters[(place + removed).min(characters.len())..].iter().copied())
            .collect();
        let mut world = World::new(&[("compose.yaml", ""), ("x.yaml", "services: {x: {image: x}}\n"), (".env", "")]);
        let files = [("compose.yaml", text.as_str()), world.files[1], (".env", text.as_str())];
        world.files = &files;
        let loaded = world.load();
        for network in loaded.inventory.networks.values().filter(|network| network.driver == "bridge") {
            proptest::prop_assert!(network.bridge.is_some() || !loaded.diagnostics.is_empty());
        }
        for finding in &loaded.diagnostics {
            proptest::prop_assert!(codes::CODES.iter().any(|code| code.id == finding.code), "{}", finding.code);
        }
    }
}
