//! What was measured on one engine, as lines of the table and of the plot.
//!
//! Input: [`Measured`]. Output: rows and a series.

use std::collections::BTreeMap;

use super::form::{Row, Series};
use super::rounds::Start;

/// Targets in milliseconds, with the part of all starts that is to meet each. The first packets that a median is compared
/// with are in the middle too; what is late is compared with those that are early.
const TARGETS: [(&str, f64, f64, &str); 2] = [("p50", 0.5, 3.0, ""), ("p99", 0.99, 8.0, "the earliest 1 %: ")];

/// What was measured on one engine.
pub(crate) struct Measured {
    /// The engine.
    pub(crate) version: String,
    /// Networks of the world.
    pub(crate) networks: usize,
    /// Endpoints of the small world, and the starts beside them.
    pub(crate) small: (usize, Vec<Start>),
    /// Endpoints of the large world.
    pub(crate) endpoints: usize,
    /// The starts beside them.
    pub(crate) starts: Vec<Start>,
    /// The processes that dockgate started meanwhile.
    pub(crate) commands: Vec<String>,
    /// From the event to the engine's answer about the network, for one who does nothing else; in milliseconds.
    pub(crate) answers: Vec<f64>,
    /// Its calls to the engine's API.
    pub(crate) calls: Vec<String>,
    /// For so many containers.
    pub(crate) counted: usize,
}

impl Measured {
    /// Lines of the table.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let place = format!("Docker {}, {} endpoints on {} networks", self.version, self.endpoints, self.networks);
        let mut rows = self.latency(&place);
        rows.push(self.answer(&place));
        rows.push(self.lead(&place));
        rows.push(self.growth());
        let processes = sorted(&self.starts, |start| f64::from(u32::try_from(start.processes).unwrap_or(u32::MAX)));
        rows.push(Row {
            what: format!("processes per container that comes and goes, {place}"),
            target: "0 in the steady state".to_owned(),
            measured: format!("{} (median), {} (most)", quantile(&processes, 0.5), quantile(&processes, 1.0)),
            compared: by_kind(self.commands.iter().map(|command| program(command)), self.starts.len()),
            ratio: None,
            holds: Some(quantile(&processes, 0.5) < 1.0),
        });
        rows.push(Row {
            what: format!("calls to the engine's API per container that comes and goes, {place}"),
            measured: format!("{:.1}", each(self.calls.len(), self.counted)),
            compared: by_kind(self.calls.iter().map(|call| kind(call)), self.counted),
            ..Row::default()
        });
        rows
    }

    /// The line of the plot.
    pub(crate) fn series(&self) -> Series {
        let point = |endpoints: usize, starts: &[Start]| (each(endpoints, 1), median(starts, |start| start.known));
        Series {
            name: format!("event latency p50, Docker {}", self.version),
            unit: "ms".to_owned(),
            points: vec![point(self.small.0, &self.small.1), point(self.endpoints, &self.starts)],
        }
    }

    fn latency(&self, place: &str) -> Vec<Row> {
        let (known, packet) = (sorted(&self.starts, |start| start.known), sorted(&self.starts, |start| start.packet));
        let row = |(name, part, target, which): (&str, f64, f64, &str)| {
            let (measured, packet) = (quantile(&known, part), quantile(&packet, 1.0 - part));
            Row {
                what: format!("`network connect` event → members in the kernel's sets, {place}, {name}"),
                target: format!("≤ {target} ms"),
                measured: format!("{measured:.2} ms"),
                compared: format!("the container's first packet, {which}{packet:.1} ms after the event"),
                ratio: Some(measured / packet),
                holds: Some(measured <= target),
            }
        };
        TARGETS.into_iter().map(row).collect()
    }

    /// What of that is the engine's: nobody has the address before the engine has answered.
    fn answer(&self, place: &str) -> Row {
        let mut answers = self.answers.clone();
        answers.sort_by(f64::total_cmp);
        let known = median(&self.starts, |start| start.known);
        let [p50, p99] = [0.5, 0.99].map(|part| quantile(&answers, part));
        Row {
            what: format!("of that, the engine's answer to GET /networks/ID, asked for by nobody else, {place}"),
            measured: format!("p50 {p50:.2} ms, p99 {p99:.2} ms of {}", answers.len()),
            compared: format!("p50 of the whole: {known:.2} ms"),
            ratio: Some(p50 / known),
            ..Row::default()
        }
    }

    fn lead(&self, place: &str) -> Row {
        let late = self.starts.iter().filter(|start| start.known >= start.packet).count();
        let lead = sorted(&self.starts, |start| start.packet - start.known);
        Row {
            what: format!("first packets that were earlier than that, {place}"),
            target: "0".to_owned(),
            measured: format!("{late} of {}", self.starts.len()),
            compared: format!("the lead: {:.1} ms at least, {:.1} ms in the median", lead[0], quantile(&lead, 0.5)),
            ratio: None,
            holds: Some(late == 0),
        }
    }

    fn growth(&self) -> Row {
        let (small, of_small) = &self.small;
        let [before, after] = [of_small, &self.starts].map(|starts| median(starts, |start| start.known));
        Row {
            what: format!("p50 as endpoints grow, Docker {}, {} networks", self.version, self.networks),
            measured: format!("{after:.2} ms at {}", self.endpoints),
            compared: format!("{before:.2} ms at {small}"),
            ratio: Some(after / before),
            ..Row::default()
        }
    }
}

/// The name of a command without its directory and arguments.
fn program(command: &str) -> String {
    command.split(' ').next().unwrap_or_default().to_owned()
}

/// A request without what differs between two of its kind.
fn kind(request: &str) -> String {
    let path = request.split('?').next().unwrap_or(request);
    let is_id = |part: &str| part.len() == 64;
    path.split('/').map(|part| if is_id(part) { "ID" } else { part }).collect::<Vec<_>>().join("/")
}

/// How often each thing was there, per container.
fn by_kind(things: impl Iterator<Item = String>, containers: usize) -> String {
    let mut counts = BTreeMap::<String, usize>::new();
    for thing in things {
        *counts.entry(thing).or_default() += 1;
    }
    let all = counts.iter().map(|(thing, count)| format!("{thing} {:.1}", each(*count, containers)));
    all.collect::<Vec<_>>().join(", ")
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn each(count: usize, of: usize) -> f64 {
    count as f64 / of as f64
}

fn sorted(starts: &[Start], of: impl Fn(&Start) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = starts.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(starts: &[Start], of: impl Fn(&Start) -> f64) -> f64 {
    quantile(&sorted(starts, of), 0.5)
}

/// The smallest of sorted values that at least this part of them do not exceed.
pub(crate) fn quantile(sorted: &[f64], part: f64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "there are few values, and a part is between 0 and 1"
    )]
    let place = (part * sorted.len() as f64).ceil() as usize;
    sorted[place.clamp(1, sorted.len()) - 1]
}
