//! What `diff` found, as data, and in the form that was asked for.
//!
//! Input: changes in reachability with the origins of their rules, and differing resources. Output: a report. The JSON form
//! is the report itself.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;

use crate::cli::output::{count, json};
use crate::compile::{Compiled, Origin};
use crate::net::{Cidr, Family, PortSet};
use crate::policy::location::file_name;
use crate::policy::{Direction, PolicyKind};
use crate::reach::change::{Change, Effect, Kind, Reason, Unit};
use crate::reach::{Service, Via};

use super::resources::{self, Differences, Resource};
use super::{csv, html, human, markdown};

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Human,
    /// Markdown for a comment on a pull request, of at most 65,000 characters
    Md,
    /// For machines; the fields are an interface
    Json,
    /// A line for each change, sender and destination
    Csv,
    /// A page that needs nothing else
    Html,
}

/// The report; its JSON form is documented in docs/diff.md.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    summary: Summary,
    /// Widened first.
    pub(super) changes: Vec<Row>,
    /// Resources that are not the same.
    pub(super) resources: Vec<Resource>,
    /// Files in which only the text differs.
    #[serde(serialize_with = "crate::policy::location::serialize_files")]
    pub(super) rewritten: Vec<PathBuf>,
}

/// Numbers of changes.
#[derive(Clone, Copy, Debug, Serialize)]
struct Summary {
    widened: usize,
    narrowed: usize,
    added: usize,
    removed: usize,
    changed: usize,
}

/// One change.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) effect: &'static str,
    pub(super) connection: &'static str,
    pub(super) from: Vec<Party>,
    pub(super) to: Vec<Party>,
    pub(super) via: &'static str,
    pub(super) host_port: Option<u16>,
    pub(super) network: Option<String>,
    /// Both where it is empty: the addresses of a party outside say it.
    pub(super) ip_versions: Vec<Family>,
    pub(super) traffic: Vec<Traffic>,
    pub(super) old: Ruling,
    pub(super) new: Ruling,
}

/// A party, or several that are told as one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub(super) enum Party {
    Container { name: String },
    Service { name: String, containers: Vec<String> },
    Host,
    Outside { nets: Vec<Cidr>, except: Vec<Cidr> },
}

/// A service and its ports.
#[derive(Debug, Serialize)]
pub(super) struct Traffic {
    /// `TCP`, `UDP`, `SCTP` or `ping`.
    pub(super) protocol: Service,
    /// Empty for a ping.
    pub(super) ports: PortSet,
}

/// What was or is decided, and why.
#[derive(Debug, Serialize)]
pub(super) struct Ruling {
    pub(super) decision: &'static str,
    /// `policy`, `no-policy` where none is asked, `fixed` where a rule of dockgate's own denies, `no-way` where one of the
    /// two worlds has no such way.
    pub(super) reason: &'static str,
    pub(super) rules: Vec<Decider>,
}

/// Where a rule stands.
#[derive(Debug, Serialize)]
pub(super) struct Decider {
    pub(super) policy: String,
    pub(super) kind: &'static str,
    pub(super) tier: String,
    /// Index in the policy's list of that direction; absent when the tier's default action decided.
    pub(super) rule: Option<usize>,
    pub(super) direction: Direction,
    #[serde(serialize_with = "crate::policy::location::serialize_file")]
    pub(super) file: PathBuf,
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Report {
    /// Puts changes into words; the rules of each are looked up in what was compiled before and after.
    pub(super) fn new(changes: &[Change], compiled: [&Compiled; 2], differences: Differences) -> Report {
        let mut ordered: Vec<&Change> = changes.iter().collect();
        ordered.sort_by_key(|change| (change.fact.effect, change.fact.kind, &change.from, &change.to, &change.fact));
        let changes: Vec<Row> = ordered.into_iter().map(|change| Row::new(change, compiled)).collect();
        let deciders = changes.iter().flat_map(|row| row.old.rules.iter().chain(&row.new.rules));
        let named: BTreeSet<(&str, &str)> = deciders.map(|rule| (rule.kind, rule.policy.as_str())).collect();
        let Differences { mut resources, rewritten } = differences;
        for resource in &mut resources {
            resource.responsible = named.contains(&(resource.kind, resource.name.as_str()));
        }
        let number = |is: &dyn Fn(&Row) -> bool| changes.iter().filter(|row| is(row)).count();
        let summary = Summary {
            widened: number(&|row| row.is_widened()),
            narrowed: number(&|row| !row.is_widened()),
            added: number(&|row| row.connection == "added"),
            removed: number(&|row| row.connection == "removed"),
            changed: number(&|row| row.connection == "changed"),
        };
        Report { summary, changes, resources, rewritten }
    }

    /// Whether nothing may be reached otherwise than before.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Number of changes with an effect.
    pub(super) fn count(&self, effect: Effect) -> usize {
        match effect {
            Effect::Widened => self.summary.widened,
            Effect::Narrowed => self.summary.narrowed,
        }
    }

    /// One line that says how much changed.
    pub(super) fn summary(&self) -> String {
        if self.is_empty() {
            return "no change in reachability".to_owned();
        }
        let Summary { widened, narrowed, added, removed, changed } = self.summary;
        let told = |numbers: &[(usize, &str)]| {
            let told =
                numbers.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}"));
            told.collect::<Vec<_>>().join(", ")
        };
        let effects = told(&[(widened, "widened"), (narrowed, "narrowed")]);
        let connections = told(&[(added, "added"), (removed, "removed"), (changed, "changed")]);
        format!("{effects} (connections: {connections})")
    }

    /// What is to be said of resources and files, a line each.
    pub(super) fn remarks(&self) -> Vec<String> {
        let resource = |resource: &Resource| {
            let Resource { kind, name, change, fields, responsible, old, new } = resource;
            let place = |place: &Option<resources::Place>| {
                place.as_ref().map(|place| format!("{}:{}", file_name(&place.file), place.line)).unwrap_or_default()
            };
            let (old, new) = (place(old), place(new));
            let what = match change {
                resources::Kind::Added if new.is_empty() => "added".to_owned(),
                resources::Kind::Added => format!("added in {new}"),
                resources::Kind::Removed if old.is_empty() => "removed".to_owned(),
                resources::Kind::Removed => format!("removed from {old}"),
                resources::Kind::Moved => format!("moved from {old} to {new}, means the same"),
                resources::Kind::Changed => {
                    let fields = fields.iter().map(|field| match (&field.old, &field.new) {
                        (Some(old), Some(new)) => format!("{} {old} -> {new}", field.name),
                        _ => field.name.to_owned(),
                    });
                    format!("{} changed", fields.collect::<Vec<_>>().join(", "))
                }
            };
            let consequence = match change {
                resources::Kind::Moved => "",
                _ if *responsible => "; a rule above is of it",
                _ if self.is_empty() => "; no change in reachability",
                _ => "; no change above names it",
            };
            format!("{} {name}: {what}{consequence}", PolicyKind::in_words(kind))
        };
        let file =
            |file: &PathBuf| format!("{}: only the text differs, every resource means the same", file_name(file));
        self.resources.iter().map(resource).chain(self.rewritten.iter().map(file)).collect()
    }

    /// Writes the report.
    pub(super) fn write(&self, format: Format, output: &mut dyn Write) -> anyhow::Result<()> {
        match format {
            Format::Human => human::write(self, output)?,
            Format::Md => output.write_all(markdown::text(self).as_bytes())?,
            Format::Json => json(output, self)?,
            Format::Csv => csv::write(self, output)?,
            Format::Html => output.write_all(html::page(self).as_bytes())?,
        }
        Ok(())
    }
}

impl Row {
    fn new(change: &Change, compiled: [&Compiled; 2]) -> Row {
        let fact = &change.fact;
        let widened = fact.effect == Effect::Widened;
        let (via, host_port) = match fact.via {
            Via::Direct => ("direct", None),
            Via::Published { host_port } => ("published", Some(host_port)),
            Via::Proxy { host_port } => ("proxy", Some(host_port)),
        };
        let traffic = fact.traffic.iter().map(|(service, ports)| Traffic {
            protocol: *service,
            ports: if *service == Service::Ping { PortSet::empty() } else { ports.clone() },
        });
        Row {
            effect: if widened { "widened" } else { "narrowed" },
            connection: match fact.kind {
                Kind::Added => "added",
                Kind::Removed => "removed",
                Kind::Changed => "changed",
            },
            from: change.from.iter().map(Party::new).collect(),
            to: change.to.iter().map(Party::new).collect(),
            via,
            host_port,
            network: fact.network.clone(),
            ip_versions: fact.families.clone(),
            traffic: traffic.collect(),
            old: Ruling::new(!widened, &fact.old, compiled[0]),
            new: Ruling::new(widened, &fact.new, compiled[1]),
        }
    }

    /// Whether more may be reached than before.
    pub(super) fn is_widened(&self) -> bool {
        self.effect == "widened"
    }

    /// `TCP 80,443; ping`, or `everything` for all that is asked about, and how it goes where that is not by the other's own address.
    pub(super) fn traffic(&self) -> String {
        let traffic = self.traffic.iter().map(|Traffic { protocol, ports }| match protocol {
            Service::Ping => "ping".to_owned(),
            Service::Ports(protocol) => format!("{protocol} {ports}"),
        });
        let mut text = traffic.collect::<Vec<_>>().join("; ");
        let is_all = |traffic: &Traffic| traffic.ports.is_all() || traffic.protocol == Service::Ping;
        if self.traffic.len() == Service::ALL.len() && self.traffic.iter().all(is_all) {
            "everything".clone_into(&mut text);
        }
        if let Some(port) = self.host_port {
            let whose = if self.via == "proxy" { "docker-proxy's" } else { "published" };
            let _ = write!(text, " by {whose} port {port}");
        }
        if let Some(network) = &self.network {
            let _ = write!(text, " on {network}");
        }
        if let [family] = self.ip_versions.as_slice() {
            let _ = write!(text, ", {family}");
        }
        text
    }
}

impl Party {
    fn new(unit: &Unit) -> Party {
        match unit.clone() {
            Unit::Container(name) => Party::Container { name },
            Unit::Service { name, containers } => Party::Service { name, containers },
            Unit::Host => Party::Host,
            Unit::Outside { nets, except } => Party::Outside { nets, except },
        }
    }
}

impl std::fmt::Display for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |nets: &[Cidr]| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Party::Container { name } => f.write_str(name),
            Party::Service { name, containers } => {
                write!(f, "{name} ({})", count(containers.len(), "replica", "replicas"))
            }
            Party::Host => f.write_str("host"),
            Party::Outside { nets, except } => {
                let everything = Family::ALL.map(Cidr::everything);
                let anywhere = everything.iter().all(|net| nets.contains(net));
                let nets = if anywhere { "outside".to_owned() } else { format!("outside {}", list(nets)) };
                if except.is_empty() { f.write_str(&nets) } else { write!(f, "{nets} except {}", list(except)) }
            }
        }
    }
}

/// Parties as one text.
pub(super) fn list(parties: &[Party]) -> String {
    parties.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Ruling {
    fn new(allowed: bool, reason: &Reason, compiled: &Compiled) -> Ruling {
        let (reason, rules) = match reason {
            Reason::NoWay => ("no-way", Vec::new()),
            Reason::Rules(rules) if !rules.is_empty() => ("policy", rules.clone()),
            Reason::Rules(_) => (if allowed { "no-policy" } else { "fixed" }, Vec::new()),
        };
        Ruling {
            decision: if allowed { "allow" } else { "deny" },
            reason,
            rules: rules
                .iter()
                .filter_map(|rule| compiled.origins.get(rule.as_str()))
                .map(|origin| Decider::new(origin))
                .collect(),
        }
    }

    /// The reasons, each as what it is and where it stands.
    pub(super) fn told(&self) -> Vec<(String, Option<String>)> {
        let words = match self.reason {
            "no-way" => "there is no such way",
            "no-policy" => "no policy is asked",
            "fixed" => "a rule of dockgate's own",
            _ => {
                let told =
                    |rule: &Decider| (rule.to_string(), Some(format!("{}:{}", file_name(&rule.file), rule.line)));
                return self.rules.iter().map(told).collect();
            }
        };
        vec![(words.to_owned(), None)]
    }
}

impl Decider {
    fn new(origin: &Origin) -> Decider {
        let Origin { policy, tier, direction, rule, location } = origin;
        Decider {
            policy: policy.to_string(),
            kind: policy.kind.name(),
            tier: tier.clone(),
            rule: *rule,
            direction: *direction,
            file: location.file.clone(),
            line: location.line,
            column: location.column,
        }
    }
}

impl std::fmt::Display for Decider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Decider { policy, tier, rule, direction, .. } = self;
        match rule {
            Some(index) => write!(f, "{policy} {direction}[{index}]"),
            None => write!(f, "end of tier {tier} after {policy}, {direction}"),
        }
    }
}
