//! `make demo`: a small shop on a real Docker engine, before and after `dockgate run`.
//!
//! Everything that is said is measured: the tables are packets, and the demo fails when they are not what the policies
//! of `examples/shop` mean.

mod support;

use std::fmt::Write;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use anstream::println;
use anstyle::{AnsiColor, Style};
use nix::sys::signal::{SigSet, Signal};

use support::lab::HOST;
use support::world::rules;
use support::{Cell, Container, Engine, Lab, Matrix, Outcome, Probe, Source, Survey, Target};

const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shop");
const HEADING: Style = Style::new().bold();
const OPEN: Style = AnsiColor::Green.on_default();
const CLOSED: Style = AnsiColor::Red.on_default();
const NEVER: Style = Style::new().dimmed();

/// Set when the user has had enough.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn main() {
    clean_up_when_interrupted();
    let start = Instant::now();
    println!("{HEADING}dockgate: who reaches whom in a small shop{HEADING:#}\n");
    println!("Starting a Docker engine. It lives in a network namespace of its own: this machine's firewall,");
    println!("interfaces and Docker stay as they are, and everything is removed at the end.\n");
    let lab = Lab::start(Engine::Installed);
    let mut shop = Shop::open(&lab);
    println!(
        "Docker {} runs the shop: web and api share a network, api and db share another one.",
        lab.engine_version()
    );
    println!(
        "web serves port 80, which the host publishes as port 8080; api serves 8080 and, by mistake, a debugger on"
    );
    println!(
        "9000; db serves 5432. `outside` is another host. Each cell below is a TCP connection, over IPv4 and IPv6.\n"
    );

    println!("{HEADING}Before{HEADING:#} (only Docker's own rules)\n");
    let before = shop.survey().measure();
    print_table(&before, None);
    if !lab.run(&["ip6tables", "-S"]).contains("DOCKER") {
        println!(
            "\n(This engine sets up no packet filter for IPv6: what its networks separate for IPv4 is open there.)"
        );
    }

    println!("\n{HEADING}$ dockgate run --policies examples/shop{HEADING:#}");
    for (file, says) in policy_files() {
        println!("  {file:18} {says}");
    }
    let begun = Instant::now();
    let mut dockgate = lab.dockgate(&["run", "--policies", POLICIES]);
    dockgate.wait_until_ready();
    println!("It is ready and in sync after {:.1} s.\n", seconds(begun));

    println!("{HEADING}After{HEADING:#} (open; `closed`: was open before; -: never was)\n");
    let after = shop.survey().expect(|cell| before.is_open(cell) && policies_allow(cell));
    print_table(&after, Some(&before));

    println!("\n{HEADING}Scaling: a second web{HEADING:#}\n");
    let rules_before = rules(&lab);
    let begun = Instant::now();
    shop.scale_web();
    let scaled = shop.survey_of_containers().expect(|cell| like_the_first_web(cell, &after));
    print_table(&scaled, Some(&before.with_twin("web-1", "web-2")));
    assert!(rules_before == rules(&lab), "scaling has changed a packet filter rule");
    println!("\nIt took {:.1} s to create it and to measure this. It is a new member of address sets;", seconds(begun));
    println!("not one iptables rule has changed.");

    drop(dockgate);
    drop(shop);
    drop(lab);
    println!("\nEverything is removed again; all of it took {:.0} s. On a host of your own it is:", seconds(start));
    println!("  docker compose -f examples/shop/compose.yaml up -d && sudo dockgate run --policies examples/shop");
}

/// The containers of `examples/shop/compose.yaml`, as Compose would name and label them.
struct Shop<'a> {
    lab: &'a Lab,
    containers: Vec<Container>,
}

impl Shop<'_> {
    fn open(lab: &Lab) -> Shop<'_> {
        lab.network("shop_front", &["172.30.7.0/24", "2001:db8:30:7::/64"]);
        lab.network("shop_back", &["172.30.8.0/24", "2001:db8:30:8::/64"]);
        check_interruption();
        let containers = lab.start_all(vec![
            Self::container(lab, "web-1", "web").network("shop_front").publish("8080:80").serve(&[80]),
            Self::container(lab, "api-1", "api").network("shop_front").network("shop_back").serve(&[8080, 9000]),
            Self::container(lab, "db-1", "db").network("shop_back").serve(&[5432]),
        ]);
        Shop { lab, containers }
    }

    fn scale_web(&mut self) {
        check_interruption();
        let web = Self::container(self.lab, "web-2", "web").network("shop_front").serve(&[80]);
        self.containers.push(web.start());
    }

    fn container(lab: &Lab, name: &str, app: &str) -> support::container::Builder {
        let project = "com.docker.compose.project";
        lab.container(&format!("shop-{name}")).label("app", app).label(project, "shop")
    }

    /// Everyone connects to every port that is served.
    fn survey(&self) -> Survey {
        self.survey_of_containers().source(self.lab.outside_source())
    }

    /// As [`Shop::survey`], but the outside stays out.
    fn survey_of_containers(&self) -> Survey {
        check_interruption();
        let survey = Survey::new().target(Target::published("host", &HOST, Probe::Tcp(8080)));
        self.containers.iter().fold(survey, |survey, container| {
            let name = short(container.name());
            let ports: &[u16] = match app(name) {
                "web" => &[80],
                "api" => &[8080, 9000],
                _ => &[5432],
            };
            let probes: Vec<Probe> = ports.iter().map(|port| Probe::Tcp(*port)).collect();
            let target = Target { name: name.to_owned(), ..container.target(&probes) };
            survey.source(Source { name: name.to_owned(), ..container.source() }).target(target)
        })
    }
}

/// `web-1` of `shop-web-1`.
fn short(name: &str) -> &str {
    name.trim_start_matches("shop-")
}

/// `web` of `web-1`.
fn app(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}

/// What the policies of `examples/shop` mean: anyone to web, web to api, api to db, and nothing else. A container that
/// knocks at the published port is judged as if it knocked at web, and none may open connections to web.
fn policies_allow(cell: &Cell) -> bool {
    match (app(&cell.source), app(&cell.target), cell.probe) {
        ("outside", "web" | "host", _) => true,
        _ if cell.source == cell.target => true,
        // Asked under its address on the back network, api answers web by its port on the front one, where that address is
        // not bound.
        ("web", "api", Probe::Tcp(8080)) => !cell.address.to_string().starts_with("2001:db8:30:8:"),
        ("api", "db", Probe::Tcp(5432)) => true,
        _ => false,
    }
}

/// The second web may do what the first may; and no container of the shop may open connections to a web.
fn like_the_first_web(cell: &Cell, after: &Matrix) -> bool {
    match (cell.source.as_str(), cell.target.as_str()) {
        (source, target) if source == target => true,
        (_, "web-2") | ("web-2", "web-1") => false,
        ("web-2", _) => after.is_open(&Cell { source: "web-1".to_owned(), ..cell.clone() }),
        _ => after.is_open(cell),
    }
}

fn seconds(since: Instant) -> f32 {
    since.elapsed().as_secs_f32()
}

/// The policy files, each with what its first line says.
fn policy_files() -> Vec<(String, String)> {
    let entries = fs::read_dir(POLICIES).expect("the example is part of the repository").flatten();
    let mut files: Vec<(String, String)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let text = fs::read_to_string(entry.path()).ok()?;
            let mut comments = text.lines().filter_map(|line| line.strip_prefix("# "));
            let comment = comments.find(|line| !line.starts_with("yaml-language-server"))?;
            let says = comment.strip_suffix('.').or(comment.split(';').next())?.to_owned();
            text.contains("NetworkPolicy").then_some((name, says))
        })
        .collect();
    files.sort();
    files
}

/// A line per source, a column per served port.
fn print_table(matrix: &Matrix, before: Option<&Matrix>) {
    let mut sources: Vec<&str> = matrix.cells.keys().map(|cell| cell.source.as_str()).collect();
    let mut targets: Vec<(&str, Probe)> = matrix.cells.keys().map(|cell| (cell.target.as_str(), cell.probe)).collect();
    sources.sort_by_key(|name| (rank(name), *name));
    sources.dedup();
    targets.sort_by_key(|(name, probe)| (rank(name), *name, *probe));
    targets.dedup();
    let mut heading = format!("  {:10}", "from");
    for (target, probe) in &targets {
        add(&mut heading, Style::new(), &title(target, *probe));
    }
    println!("{heading}");
    for source in sources {
        let mut line = format!("  {source:10}");
        for (target, probe) in &targets {
            if source == *target {
                add(&mut line, NEVER, "");
            } else {
                let (style, text) = describe(matrix, before, source, target, *probe);
                add(&mut line, style, text);
            }
        }
        println!("{line}");
    }
}

/// Adds a right-aligned column.
fn add(line: &mut String, style: Style, text: &str) {
    write!(line, "{style}{text:>13}{style:#}").expect("a String takes everything");
}

/// outside, web, api, db, and the host last.
fn rank(name: &str) -> usize {
    ["outside", "web", "api", "db"].iter().position(|known| *known == app(name)).unwrap_or(usize::MAX)
}

fn title(target: &str, probe: Probe) -> String {
    match probe {
        Probe::Tcp(port) | Probe::Udp(port) => format!("{target}:{port}"),
        Probe::Ping => target.to_owned(),
    }
}

fn describe(
    matrix: &Matrix,
    before: Option<&Matrix>,
    source: &str,
    target: &str,
    probe: Probe,
) -> (Style, &'static str) {
    let open = |matrix: &Matrix, v6: bool| {
        let cells = matrix.cells.iter().filter(|(cell, _)| {
            cell.source == source && cell.target == target && cell.probe == probe && cell.address.is_ipv6() == v6
        });
        // A container on two networks is reached when one of its addresses is.
        cells.map(|(_, outcome)| *outcome).any(Outcome::is_open)
    };
    match (open(matrix, false), open(matrix, true)) {
        (true, true) => (OPEN, "open"),
        (true, false) => (OPEN, "IPv4 only"),
        (false, true) => (OPEN, "IPv6 only"),
        (false, false) if before.is_some_and(|before| open(before, false) || open(before, true)) => (CLOSED, "closed"),
        (false, false) => (NEVER, "-"),
    }
}

/// On Ctrl-C the namespaces, containers and processes are removed as at the end. A step under way is finished first.
fn clean_up_when_interrupted() {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    // Threads and not children inherit the mask: the standard library resets it for programs that it starts.
    signals.thread_block().expect("the signals can be blocked");
    thread::spawn(move || {
        if signals.wait().is_ok() {
            INTERRUPTED.store(true, Ordering::Relaxed);
            println!("\nInterrupted: removing everything ...");
        }
    });
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !INTERRUPTED.load(Ordering::Relaxed) {
            report(panic);
        }
    }));
}

fn check_interruption() {
    assert!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
}
