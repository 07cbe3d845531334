//! What a scenario is, and how groups of them are run and reported.
//!
//! Input: groups of scenarios, each with the world that they share. Output: one named test per scenario and per
//! protection that it rests on, and the table of what they came to.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::support::evidence::TOO_LATE;
use crate::support::world::{packet_filter, wait_for};
use crate::support::{Controller, Lab, Protection};

/// What the scenarios of a group share: built for the first of them, and anew after one that failed.
pub(crate) trait World: Send + 'static {
    /// The laboratory.
    fn lab(&self) -> &Lab;

    /// The controller that is running in it.
    fn controller(&mut self) -> &mut Controller;

    /// What the kernel holds, as far as it must be the same after a scenario as before.
    fn in_force(&self) -> String {
        packet_filter(self.lab())
    }

    /// Takes a protection out for the scenario that runs next, and sees to it that it is not put back: the controller is
    /// halted. A world in which the controller has to act first does this later, when it has.
    fn sabotage(&mut self, protection: Protection) {
        self.controller().halt();
        protection.remove(self.lab());
    }

    /// Lets the controller go on, which puts back what is in its own hands; anything else is put back here.
    fn end_sabotage(&mut self) {
        self.controller().signal(Signal::SIGCONT);
    }

    /// Waits until everything is repaired after that; `enforced` is what the kernel held before.
    fn wait_until_repaired(&mut self, enforced: &str) {
        let repaired = || wait_for("what was taken out to be put back", || self.in_force() == enforced);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(repaired)) {
            panic!("{}\n{}", message(panic.as_ref()), differences(enforced, &self.in_force()));
        }
    }
}

/// Scenarios that share a world.
pub(crate) struct Group<W> {
    /// Its name, the first part of the tests' names.
    pub(crate) name: &'static str,
    /// Makes the world, with a controller that is in sync and that reads the kernel back at least once a second.
    pub(crate) build: fn() -> W,
    /// The scenarios, in the order in which they run.
    pub(crate) scenarios: Vec<Scenario<W>>,
}

/// One thing that must hold.
pub(crate) struct Scenario<W> {
    /// What holds, in lower case with underscores, e.g. `neighbour_cannot_take_an_address`.
    pub(crate) name: &'static str,
    /// The way of the packets, e.g. `container → container, same bridge`.
    pub(crate) path: &'static str,
    /// `IPv4`, `IPv6` or `both`.
    pub(crate) family: &'static str,
    /// What goes wrong meanwhile; empty when nothing does.
    pub(crate) accident: &'static str,
    /// What makes it hold: with any one of them taken out (see [`World::sabotage`]), `run` must panic, and say that it is
    /// packets that have shown it (see [`Protection::evidence`]).
    pub(crate) rests_on: &'static [Protection],
    /// Tries it with packets, and panics unless it holds. Leaves the world as it found it, also when it panics.
    pub(crate) run: fn(&mut W),
}

impl<W: World> Group<W> {
    /// The tests of the group.
    pub(crate) fn trials(self, board: &Board) -> Vec<Trial> {
        let world: Arc<Mutex<Option<W>>> = Arc::default();
        let mut trials = Vec::new();
        for scenario in self.scenarios.into_iter().map(Arc::new) {
            let title = format!("{}::{}", self.name, scenario.name);
            let build = self.build;
            for without in [None].into_iter().chain(scenario.rests_on.iter().copied().map(Some)) {
                let name = match without {
                    None => title.clone(),
                    Some(protection) => format!("{title} fails without {}", protection.name()),
                };
                let (scenario, world, board, title) =
                    (Arc::clone(&scenario), Arc::clone(&world), board.clone(), title.clone());
                trials.push(Trial::test(name.clone(), move || {
                    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
                    let mut attempt = || {
                        let outcome = catch_unwind(AssertUnwindSafe(|| {
                            let world = world.get_or_insert_with(build);
                            match without {
                                None => (scenario.run)(world),
                                Some(protection) => expect_failure(world, &scenario, protection),
                            }
                        }));
                        outcome.map_err(|panic| message(panic.as_ref()) + &last_words(world.take()))
                    };
                    let mut outcome = attempt();
                    let mut tries = 1;
                    // A deadline that has passed may be the fault of a busy machine, and is tried once more, in a world of its
                    // own. Anything else stands. That something fails without its protection has to be seen only once.
                    if let Err(reason) = &outcome
                        && (without.is_some() || reason.starts_with(TOO_LATE))
                    {
                        println!("{name}: a second try, because of the first: {reason}");
                        outcome = attempt();
                        tries = 2;
                    }
                    board.note(&title, &scenario, without, tries, outcome.is_ok());
                    outcome.map_err(Into::into)
                }));
            }
        }
        trials
    }
}

/// The end of the log of the controller of a world in which something has failed.
fn last_words(world: Option<impl World>) -> String {
    // It can be what has failed that there is none.
    let told = catch_unwind(AssertUnwindSafe(|| world.map(|mut world| world.controller().log())));
    told.ok().flatten().map_or_else(String::new, |log| format!("\ndockgate's last words:\n{log}"))
}

/// Runs a scenario without something that it rests on, and panics when it holds all the same, or fails for a reason that
/// shows nothing: a deadline, a set-up, a status.
fn expect_failure<W: World>(world: &mut W, scenario: &Scenario<W>, protection: Protection) {
    let enforced = world.in_force();
    world.sabotage(protection);
    let outcome = catch_unwind(AssertUnwindSafe(|| (scenario.run)(world)));
    world.end_sabotage();
    world.wait_until_repaired(&enforced);
    let Err(panic) = outcome else {
        panic!("it holds without {} as well, so something else makes it hold", protection.name());
    };
    let reason = message(panic.as_ref());
    let wanted = protection.evidence();
    assert!(
        reason.starts_with(wanted),
        "without {} it fails, but for a reason that shows nothing (wanted: `{wanted}...`): {reason}",
        protection.name(),
    );
    println!("without {}: {}", protection.name(), reason.lines().next().unwrap_or_default());
}

/// The lines that only one of two texts has.
fn differences(wanted: &str, found: &str) -> String {
    let only = |one: &str, other: &str, mark: &str| {
        let other: Vec<&str> = other.lines().collect();
        let lines = one.lines().filter(|line| !other.contains(line));
        lines.map(|line| format!("{mark} {line}")).collect::<Vec<_>>()
    };
    [only(wanted, found, "-"), only(found, wanted, "+")].concat().join("\n")
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "panic".to_owned())
}

/// The tests of several groups by turns, so that groups run beside each other.
pub(crate) fn interleave(groups: Vec<Vec<Trial>>) -> Vec<Trial> {
    let mut queues: Vec<_> = groups.into_iter().map(Vec::into_iter).collect();
    let mut trials = Vec::new();
    loop {
        let round: Vec<Trial> = queues.iter_mut().filter_map(Iterator::next).collect();
        if round.is_empty() {
            return trials;
        }
        trials.extend(round);
    }
}

/// What the scenarios came to.
#[derive(Clone, Default)]
pub(crate) struct Board {
    rows: Arc<Mutex<Vec<Row>>>,
}

struct Row {
    title: String,
    path: &'static str,
    family: &'static str,
    accident: &'static str,
    holds: Option<bool>,
    /// How often a second try was needed.
    repeated: usize,
    /// How often packets have shown that it fails without something.
    shown: usize,
    /// How often something that opens nothing was not put back without the controller.
    repaired: usize,
    unshown: usize,
}

impl Board {
    fn note<W>(
        &self,
        title: &str,
        scenario: &Scenario<W>,
        without: Option<Protection>,
        tries: usize,
        as_expected: bool,
    ) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let index = rows.iter().position(|row| row.title == title).unwrap_or_else(|| {
            rows.push(Row {
                title: title.to_owned(),
                path: scenario.path,
                family: scenario.family,
                accident: scenario.accident,
                holds: None,
                repeated: 0,
                shown: 0,
                repaired: 0,
                unshown: 0,
            });
            rows.len() - 1
        });
        rows[index].repeated += tries - 1;
        match (without, as_expected) {
            (None, holds) => rows[index].holds = Some(holds),
            (Some(Protection::Repair), true) => rows[index].repaired += 1,
            (Some(_), true) => rows[index].shown += 1,
            (Some(_), false) => rows[index].unshown += 1,
        }
    }
}

impl fmt::Display for Board {
    /// The table, a line per scenario, by name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.sort_by(|a, b| a.title.cmp(&b.title));
        let width = |text: fn(&Row) -> &str, title: &str| {
            rows.iter().map(|row| text(row).chars().count()).max().unwrap_or(0).max(title.len())
        };
        let widths = [
            width(|row| &row.title, "scenario"),
            width(|row| row.path, "path"),
            width(|row| row.family, "family"),
            width(|row| row.accident, "accident"),
        ];
        let mut line = |cells: [&str; 5]| {
            for (cell, width) in cells.iter().zip(widths) {
                write!(f, "{cell:width$}  ")?;
            }
            writeln!(f, "{}", cells[4])
        };
        line(["scenario", "path", "family", "accident", "outcome"])?;
        for row in rows.iter() {
            let outcome = match row.holds {
                Some(true) => "holds".to_owned(),
                Some(false) => "DOES NOT HOLD".to_owned(),
                None => "not run".to_owned(),
            };
            let mutations = match (row.shown, row.repaired, row.unshown) {
                (0, 0, 0) => String::new(),
                (0, _, 0) => ", repaired by the controller, not shown by packets".to_owned(),
                (shown, _, 0) => format!(", fails without its protection ({shown})"),
                (.., unshown) => format!(", NOT SHOWN TO REST ON ITS PROTECTION ({unshown})"),
            };
            let tries = match row.repeated {
                0 => String::new(),
                number => format!(" (second tries: {number})"),
            };
            line([&row.title, row.path, row.family, row.accident, &format!("{outcome}{mutations}{tries}")])?;
        }
        let held = rows.iter().filter(|row| row.holds == Some(true)).count();
        write!(f, "{held} of {} scenarios hold", rows.len())
    }
}
