//! The figures as lines of the table and of the plot.

use std::collections::BTreeSet;

use crate::controller::DOCKGATE;
use crate::form::{Outcome, Row, Series};
use crate::large::Large;
use crate::point::{Point, START_LIMIT};
use crate::replicas::Replicas;
use crate::samples::Samples;

/// The world of which the targets speak.
const TARGET: usize = 10_000;
/// The engine is told of in each row that it has a part in.
const ENGINE: &str = "imitated engine";

type Points = [(usize, Option<Point>)];
type Compiled = [(usize, Samples)];

pub(crate) fn outcome(
    points: &Points,
    compiled: &Compiled,
    validated: &Samples,
    replicas: Option<&Replicas>,
) -> Outcome {
    let reached: Vec<&Point> = points.iter().filter_map(|(_, point)| point.as_ref()).collect();
    let mut rows: Vec<Row> = points.iter().filter(|(_, point)| point.is_none()).map(not_in_sync).collect();
    rows.extend(reached.iter().map(|point| latency(point, &reached)));
    rows.extend(reached.last().map(|point| processes(point)));
    rows.extend(compiled.last().map(|(size, times)| compile(*size, times)));
    if let Some((point, large)) = reached.iter().find_map(|point| Some((*point, point.large.as_ref()?))) {
        rows.extend(of_the_largest(point, large));
    }
    rows.extend(reached.last().map(|point| rules(point, replicas)));
    rows.push(validate(validated));
    rows.push(binary());
    Outcome { rows, series: series(&reached, compiled) }
}

fn not_in_sync((size, _): &(usize, Option<Point>)) -> Row {
    Row {
        what: format!("first start, {} endpoints", grouped(*size)),
        measured: format!("not in sync within {} s", START_LIMIT.as_secs()),
        holds: Some(false),
        ..Row::default()
    }
}

fn latency(point: &Point, all: &[&Point]) -> Row {
    let (p50, p99) = (point.latency.quantile(0.5), point.latency.quantile(0.99));
    let row = Row {
        what: format!("network connect event → member in the set, {} endpoints, {ENGINE}", grouped(point.endpoints)),
        measured: format!("p50 {}, p99 {} of {}", ms(p50), ms(p99), point.latency.len()),
        ..Row::default()
    };
    match point.endpoints {
        1000 => Row {
            target: "p50 ≤ 3 ms, p99 ≤ 8 ms".to_owned(),
            holds: p50.zip(p99).map(|(p50, p99)| p50 <= 3.0 && p99 <= 8.0),
            ..row
        },
        TARGET => {
            let at_100 = all.iter().find(|point| point.endpoints == 100).and_then(|point| point.latency.median());
            let ratio = ratio(p50, at_100);
            Row {
                target: "≤ 1.3 × that at 100".to_owned(),
                compared: at_100.map_or_else(String::new, |p50| format!("p50 at 100: {}", ms(Some(p50)))),
                ratio,
                holds: ratio.map(|ratio| ratio <= 1.3),
                ..row
            }
        }
        _ => row,
    }
}

fn processes(point: &Point) -> Row {
    // Created, connected, started, ended, disconnected, removed.
    let events = 6 * point.latency.len();
    Row {
        what: format!("processes per container event, {} endpoints, {ENGINE}", grouped(point.endpoints)),
        target: "0".to_owned(),
        measured: format!("{} in {events} events", point.processes.len()),
        compared: if point.processes.is_empty() { String::new() } else { format!("they were {}", tools(point)) },
        holds: Some(point.processes.is_empty()),
        ..Row::default()
    }
}

/// The tools that were started, each once.
fn tools(point: &Point) -> String {
    let names = point.processes.iter().filter_map(|note| note.split_whitespace().next());
    names.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

fn compile(size: usize, times: &Samples) -> Row {
    let median = times.median();
    Row {
        what: format!("full compile, {} endpoints, 1,000 policies, 200 label sets", grouped(size)),
        target: "≤ 100 ms".to_owned(),
        measured: ms(median),
        holds: of_target(size, median.map(|median| median <= 100.0)),
        ..Row::default()
    }
}

fn of_the_largest(point: &Point, large: &Large) -> [Row; 5] {
    let size = point.endpoints;
    let world = format!("{} endpoints, 1,000 policies", grouped(size));
    let (edit, edit_load) = (large.edits.median(), large.edit_loads.median());
    let (start, load) = (large.starts.median(), large.loads.median());
    let start_ratio = ratio(start, load);
    [
        Row {
            what: format!("one policy edited → in force, {world}"),
            target: "≤ 150 ms, 50 ms debounce included".to_owned(),
            measured: ms(edit),
            compared: format!("iptables-restore of the changed chains: {}", ms(edit_load)),
            ratio: ratio(edit, edit_load),
            holds: of_target(size, edit.map(|edit| edit <= 150.0)),
        },
        Row {
            what: format!("first start → in sync, {world}, {ENGINE}"),
            target: "≤ 2 × loading".to_owned(),
            measured: ms(start),
            compared: format!("ipset restore, iptables-restore of the same text: {}", ms(load)),
            ratio: start_ratio,
            holds: of_target(size, start_ratio.map(|ratio| ratio <= 2.0)),
        },
        Row {
            what: format!("resident memory, {world}"),
            target: "≤ 100 MB".to_owned(),
            measured: format!("{:.0} MB", large.resident),
            holds: of_target(size, Some(large.resident <= 100.0)),
            ..Row::default()
        },
        Row {
            what: format!("idle: part of a core, {world}"),
            target: "≤ 0.1 %".to_owned(),
            measured: format!("{:.3} %", 100.0 * large.idle),
            holds: of_target(size, Some(large.idle <= 0.001)),
            ..Row::default()
        },
        Row {
            what: format!("idle, with a list of everything each 30 s, {world}, {ENGINE}"),
            measured: format!("{:.3} %", 100.0 * large.idle_with_list),
            ..Row::default()
        },
    ]
}

fn rules(point: &Point, replicas: Option<&Replicas>) -> Row {
    let rules = point.rules.count();
    let (sets, members) = point.rules.sets();
    let compared = replicas.map(|Replicas { kinds, rules, per_pair }| {
        format!(
            "{} rules with {} endpoints and the same networks, label sets and policies; computed, a rule per pair that \
             policy allows: {}, on common networks {}",
            grouped(*rules),
            grouped(*kinds),
            grouped(per_pair.all),
            grouped(per_pair.on_one_network)
        )
    });
    Row {
        what: format!("kernel objects, {} endpoints: rules, chains, sets, members", grouped(point.endpoints)),
        target: "no rule per endpoint".to_owned(),
        measured: format!(
            "{}, {}, {}, {}",
            grouped(rules),
            grouped(point.rules.chains()),
            grouped(sets),
            grouped(members)
        ),
        compared: compared.unwrap_or_default(),
        ratio: replicas.map(|replicas| rules as f64 / replicas.rules as f64),
        holds: replicas.map(|replicas| rules == replicas.rules),
    }
}

fn validate(times: &Samples) -> Row {
    let median = times.median();
    Row {
        what: "validate of 1,000 files, read from disk".to_owned(),
        target: "≤ 1 s".to_owned(),
        measured: ms(median),
        holds: median.map(|median| median <= 1000.0),
        ..Row::default()
    }
}

fn binary() -> Row {
    let bytes = std::fs::metadata(DOCKGATE).map(|file| file.len()).unwrap_or_default();
    let megabytes = bytes as f64 / 1e6;
    Row {
        what: "the binary, stripped".to_owned(),
        target: "≤ 15 MB".to_owned(),
        measured: format!("{megabytes:.1} MB"),
        // Another profile neither optimizes nor strips.
        holds: (!cfg!(debug_assertions)).then_some(megabytes <= 15.0),
        ..Row::default()
    }
}

fn series(points: &[&Point], compiled: &Compiled) -> Vec<Series> {
    let of_points = |name: &str, unit: &str, value: fn(&Point) -> Option<f64>| Series {
        name: name.to_owned(),
        unit: unit.to_owned(),
        points: points.iter().filter_map(|point| Some((point.endpoints as f64, value(point)?))).collect(),
    };
    let compile = compiled.iter().filter_map(|(size, times)| Some((*size as f64, times.median()?)));
    vec![
        of_points("event latency p50, imitated engine", "ms", |point| point.latency.quantile(0.5)),
        of_points("event latency p99, imitated engine", "ms", |point| point.latency.quantile(0.99)),
        Series { name: "full compile".to_owned(), unit: "ms".to_owned(), points: compile.collect() },
        of_points("rules", "", |point| Some(point.rules.count() as f64)),
        of_points("first start", "ms", |point| Some(point.start.as_secs_f64() * 1000.0)),
    ]
}

/// Whether it holds, where the world is that of the targets.
fn of_target(size: usize, holds: Option<bool>) -> Option<bool> {
    holds.filter(|_| size == TARGET)
}

fn ratio(value: Option<f64>, of: Option<f64>) -> Option<f64> {
    Some(value? / of.filter(|of| *of > 0.0)?)
}

fn ms(value: Option<f64>) -> String {
    match value {
        None => "not measured".to_owned(),
        Some(value) if value < 10.0 => format!("{value:.2} ms"),
        Some(value) if value < 100.0 => format!("{value:.1} ms"),
        Some(value) => format!("{value:.0} ms"),
    }
}

/// With commas between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join(",")
}
