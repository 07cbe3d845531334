//! The loop of the host controller: events in, one owner of state, changes of the kernel out.
//!
//! Input: the policy directory, the Docker engine, signals. Output: the kernel's rules, the status, the log. What an
//! event means is decided in [`core`]; here it is only carried out. Rules stay in the kernel when the loop ends, however
//! it ends.

#![expect(clippy::disallowed_methods, reason = "the loop has the clock")]

mod attention;
mod beside;
pub mod boot;
pub mod core;
mod course;
mod enforcer;
mod memory;
mod notices;
mod pace;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::compile;
use crate::dataplane::{self, Kernel};
use crate::inventory::{Change, docker};
use crate::policy::{Diagnostic, Severity, SourceFile, Store, files};
use crate::telemetry::{self, Lock, NamespaceLock, Notifier, Status, UnenforceableEndpoint};

use self::core::{Core, Event, Need};
use beside::Occasion;
use course::{Course, Matter, Reload, Round, Turn};
use enforcer::Enforcer;
pub(crate) use memory::write_whole;
use notices::{Heard, Notices};
use pace::Pace;

/// Changes of the inventory that may wait while one is being applied. When it is full, the reader of Docker's events
/// waits, and Docker keeps them.
const CHANGES_IN_FLIGHT: usize = 1024;

/// How often an absent Docker socket is looked for.
const SOCKET_INTERVAL: Duration = Duration::from_millis(500);

/// What the user chose.
#[derive(Clone, Debug)]
pub struct Options {
    /// The policy directory.
    pub policies: PathBuf,
    /// Where the last good policies and the control socket are.
    pub state_directory: PathBuf,
    /// Choices about the ruleset.
    pub compile: compile::Options,
    /// How often the kernel is read back and repaired.
    pub resync_interval: Duration,
    /// How long the policy directory has to be quiet before it is read.
    pub debounce: Duration,
    /// How the kernel is reached.
    pub kernel: dataplane::Options,
    /// Names of containers that policy may select without reaching them: no trouble, but told all the same. Not theirs to
    /// say, or one that is governed could silence the alarm about itself.
    pub accepted_out_of_reach: BTreeSet<String>,
}

/// Why the controller could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory is not usable, or another controller uses it.
    #[error(transparent)]
    Lock(#[from] telemetry::LockError),
    /// The control socket cannot be opened.
    #[error(transparent)]
    Control(#[from] telemetry::BindError),
    /// The last good policies cannot be read.
    #[error(transparent)]
    Memory(#[from] memory::Error),
    /// The policy directory cannot be read, and there is nothing to go on with.
    #[error(transparent)]
    Policies(#[from] files::Error),
    /// The policies are invalid, and there is no last good version to go on with.
    #[error("{} of the policy files are invalid, and no earlier version of them is known", .files.len())]
    Invalid {
        /// The files.
        files: Vec<PathBuf>,
        /// What is wrong with them.
        diagnostics: Vec<Diagnostic>,
        /// What was read, for showing the findings in their lines.
        sources: Vec<SourceFile>,
    },
    /// The Docker engine cannot be addressed.
    #[error(transparent)]
    Docker(#[from] docker::Error),
    /// The kernel or its tools cannot do what is needed.
    #[error(transparent)]
    Kernel(#[from] dataplane::Error),
    /// A signal handler cannot be installed.
    #[error("cannot wait for signals")]
    Signals(#[source] std::io::Error),
    /// A task that has to run as long as the controller has ended.
    #[error("{0} has ended unexpectedly")]
    Ended(&'static str),
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(options: Options) -> Result<(), Error> {
    let lock = Lock::acquire(&options.state_directory)?;
    let _namespace = NamespaceLock::acquire()?;
    let store = first_policies(&options.policies, memory::recall(&options.state_directory)?)?;
    let (reread, reread_requests) = mpsc::channel(1);
    let files = files::watch(&options.policies, store.paths(), options.debounce, reread_requests);
    let core = Core::new(options.compile.clone(), store);
    // What is missing will not come by itself; anything else may be the engine's, which need not be up yet.
    if let Err(missing @ dataplane::Error::Missing(_)) = Kernel::open(options.kernel) {
        return Err(missing.into());
    }
    // Before the kernel is first read: what changes after that is notified.
    let notices = Notices::new(dataplane::watch);
    let (status, status_reader) = watch::channel(Status::default());
    let control = tokio::spawn(telemetry::serve(telemetry::bind(&lock)?, status_reader));
    let (changes_in, changes) = mpsc::channel(CHANGES_IN_FLIGHT);
    match docker::connect() {
        // The engine may come later.
        Ok(_) | Err(docker::Error::NoSocket { .. }) => tokio::spawn(follow_engine(changes_in)),
        Err(error) => return Err(error.into()),
    };
    info!(policies = %options.policies.display(), state = %options.state_directory.display(), "started");
    let signals = Signals::install().map_err(Error::Signals)?;
    let enforcer = Enforcer::new(options.kernel, &options.state_directory);
    let controller = Controller { options, core, enforcer, status, notifier: Notifier, reread, announced: false };
    let inputs = Inputs { files, changes, notices, control };
    controller.run(inputs, signals).await
}

/// Checks the policies before anything is touched: a first start on an invalid directory is refused, as a web server
/// refuses a bad configuration. What the store holds of another directory makes it no less the first: it is dropped.
fn first_policies(directory: &Path, mut store: Store) -> Result<Store, Error> {
    store.retain_below(directory);
    if !store.is_empty() {
        return Ok(store);
    }
    let sources = files::read(&[directory.to_owned()])?;
    let update = store.try_update(&sources);
    if !update.missing.is_empty() {
        let diagnostics = update.diagnostics.into_iter().filter(|d| d.severity == Severity::Error).collect();
        return Err(Error::Invalid { files: update.missing, diagnostics, sources });
    }
    Ok(store)
}

/// Follows the engine, once its socket is there.
async fn follow_engine(changes: mpsc::Sender<Change>) {
    loop {
        match docker::connect() {
            Ok(docker) => return docker::follow(docker, changes).await,
            Err(error) => {
                if changes.send(Change::Unreachable(telemetry::chain(&error))).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(SOCKET_INTERVAL).await;
    }
}

struct Inputs {
    files: mpsc::Receiver<Result<Vec<SourceFile>, files::Error>>,
    changes: mpsc::Receiver<Change>,
    notices: Notices,
    /// The server of the control socket, which ends only by a fault.
    control: JoinHandle<()>,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

struct Controller {
    options: Options,
    core: Core,
    enforcer: Enforcer,
    status: watch::Sender<Status>,
    notifier: Notifier,
    reread: mpsc::Sender<()>,
    /// Whether systemd was told that we are ready.
    announced: bool,
}

impl Controller {
    async fn run(mut self, mut inputs: Inputs, mut signals: Signals) -> Result<(), Error> {
        let mut course = Course::new(self.options.resync_interval);
        while let Some(turn) = self.next(&mut inputs, &mut signals, &mut course).await? {
            self.enforcer.set_watch_trouble(inputs.notices.trouble());
            self.take_turn(turn, &mut course);
        }
        self.notifier.stopping();
        info!("ending; the rules stay in force");
        Ok(())
    }

    /// Waits for what comes next, and takes it in; `None` when the controller is to end.
    async fn next(
        &mut self,
        inputs: &mut Inputs,
        signals: &mut Signals,
        course: &mut Course,
    ) -> Result<Option<Turn>, Error> {
        let (retry_at, retry) = self.enforcer.retry().unzip();
        let read_back = course.pace.due().filter(|_| !course.beside.is_under_way());
        let links_due = course.pace.links_due();
        let next_shift = self.enforcer.next_shift();
        let settled = self.core.settles_at().map(Instant::from_std);
        loop {
            let round = &course.round;
            let may = |matter| round.admits(matter);
            let may_at = |matter, at: Option<Instant>| at.is_some() && round.admits(matter);
            let (matter, turn) = tokio::select! {
                // In the order of [`Matter`].
                biased;
                _ = &mut inputs.control => return Err(Error::Ended("the control socket")),
                _ = signals.terminate.recv() => return Ok(None),
                _ = signals.interrupt.recv() => return Ok(None),
                _ = signals.hangup.recv() => {
                    self.ask_for_policies();
                    course.reload = Reload::Asked;
                    return Ok(Some(Turn::of(Need::Nothing)));
                }
                (occasion, began, listed) = course.beside.next(), if may(Matter::Listed) => {
                    (Matter::Listed, course.listed(occasion, began, listed))
                }
                () = sleep_until(read_back), if may_at(Matter::ReadBack, read_back) => {
                    let occasion = if course.engine_writes { Occasion::Engine } else { Occasion::Notice };
                    (Matter::ReadBack, self.read_back(course, occasion))
                }
                heard = inputs.notices.next(), if may(Matter::Notices) => {
                    (Matter::Notices, self.heed(heard, &mut course.pace))
                }
                change = inputs.changes.recv(), if may(Matter::Changes) => {
                    let change = change.ok_or(Error::Ended("the reader of Docker's events"))?;
                    (Matter::Changes, Turn::of(self.take_changes(change, &mut inputs.changes)))
                }
                files = inputs.files.recv(), if may(Matter::Files) => {
                    let files = files.ok_or(Error::Ended("the watch on the policy directory"))?;
                    let need = self.core.take(Event::Policies(files));
                    if course.reload == Reload::Asked {
                        course.reload = Reload::Read;
                    }
                    self.remember();
                    self.report_policies();
                    (Matter::Files, Turn::of(need))
                }
                () = sleep_until(retry_at), if may_at(Matter::Retry, retry_at) => {
                    let need = retry.unwrap_or(Need::Nothing);
                    (Matter::Retry, Turn { is_look: need == Need::Apply, ..Turn::of(need) })
                }
                () = sleep_until(settled), if may_at(Matter::Settled, settled) => {
                    // What the engine has said by now comes first: a network may be about to open. A full queue has held up
                    // whoever listens to it.
                    let was_held_up = inputs.changes.len() >= CHANGES_IN_FLIGHT;
                    let need = inputs.changes.try_recv().map(|change| self.take_changes(change, &mut inputs.changes));
                    let now = Instant::now().into_std();
                    let listening_since = if was_held_up { now } else { course.attention.since(now) };
                    let opens = self.core.settle(now, listening_since);
                    (Matter::Settled, Turn::of(opens.max(need.unwrap_or(Need::Nothing))))
                }
                () = sleep_until(links_due), if may_at(Matter::Links, links_due) => {
                    course.pace.links_read();
                    (Matter::Links, Turn { is_look: true, ..Turn::read_back(Need::ObserveLinks) })
                }
                _ = course.resync.tick(), if may(Matter::Resync) => {
                    if self.enforcer.has_memory_trouble() {
                        self.remember();
                    }
                    (Matter::Resync, self.read_back(course, Occasion::Clock))
                }
                () = sleep_until(next_shift), if may_at(Matter::Flows, next_shift) => {
                    (Matter::Flows, Turn { is_look: true, ends_flows: true, ..Turn::of(Need::Nothing) })
                }
                _ = course.alive.tick(), if may(Matter::Alive) => (Matter::Alive, Turn::of(Need::Nothing)),
                // Nobody else is waiting.
                () = std::future::ready(()), if round.is_begun() => {
                    course.round = Round::default();
                    continue;
                }
            };
            course.round.takes(matter);
            return Ok(Some(turn));
        }
    }

    fn take_turn(&mut self, turn: Turn, course: &mut Course) {
        let Turn { need, cause, is_look, found, ends_flows } = turn;
        let applied = self.enforcer.applied();
        let before = is_look.then(|| self.enforcer.told(&self.core));
        // The work is short and blocks: netlink, and processes of iptables.
        let read_back = tokio::task::block_in_place(|| {
            let now = Instant::now();
            if ends_flows {
                self.enforcer.end_condemned_flows();
                return None;
            }
            if let Some((began, found)) = found {
                self.enforcer.settle(&mut self.core, found, cause);
                return Some(began);
            }
            if need == Need::Observe {
                course.everything_is_read();
            }
            self.enforcer.enforce(&mut self.core, need, cause);
            (need == Need::Observe).then_some(now)
        });
        if let Some(began) = read_back {
            course.pace.read_back(began, Instant::now(), self.enforcer.applied() > applied);
        }
        if need == Need::ObserveSoon {
            course.engine_writes = true;
            course.pace.noticed(Instant::now());
        }
        course.attention.keep(self.core.awaits_others());
        self.enforcer.let_ports_settle(&mut self.core, Instant::now());
        // The status is made of all endpoints and policies, and the next change waits for it.
        if before.is_none_or(|before| before != self.enforcer.told(&self.core)) {
            self.publish();
        }
        self.announce(&mut course.reload);
        if course.is_watched {
            self.notifier.alive();
        }
        if ends_flows {
            self.enforcer.rest();
        }
    }

    /// Begins to read the kernel back beside other work, or asks for it at once where that cannot be.
    fn read_back(&mut self, course: &mut Course, occasion: Occasion) -> Turn {
        if !course.beside.is_under_way() {
            let scope = course.scope(occasion);
            let Some(listing) = self.enforcer.read_back(&mut self.core, scope) else {
                return Turn { cause: occasion.cause(), ..Turn::of(Need::Observe) };
            };
            course.begins(occasion, scope, listing);
        }
        Turn { is_look: true, ..Turn::read_back(Need::Nothing) }
    }

    /// What the kernel's notification asks for at once; what can wait is put down. Where something may have changed unheard
    /// the kernel is read back.
    fn heed(&mut self, heard: Heard, pace: &mut Pace) -> Turn {
        let Heard::Notice(notice) = heard else { return Turn::read_back(Need::Observe) };
        if notice.rules {
            pace.noticed(Instant::now());
        }
        if !notice.links.is_nothing() {
            pace.links_noticed(Instant::now());
            self.enforcer.note_links(notice.links);
        }
        Turn { is_look: true, ..Turn::read_back(Need::Nothing) }
    }

    /// Tells the service manager once the rules are in force. The engine's word about its firewall, which the status waits
    /// for, can take long; who starts after us needs the rules.
    fn announce(&mut self, reload: &mut Reload) {
        if self.enforcer.in_sync() && (*reload == Reload::Read || !self.announced) {
            self.notifier.ready();
            self.announced = true;
            *reload = Reload::None;
        }
    }

    fn ask_for_policies(&self) {
        info!("reading the policies again on request");
        self.notifier.reloading();
        // A full queue means that a request is waiting already.
        let _ = self.reread.try_send(());
    }

    /// Takes a change and those that wait behind it, so that a burst is applied at once.
    fn take_changes(&mut self, first: Change, waiting: &mut mpsc::Receiver<Change>) -> Need {
        let mut need = Need::Nothing;
        let mut next = Some(first);
        let mut left = CHANGES_IN_FLIGHT;
        while let Some(change) = next {
            match &change {
                Change::Unreachable(reason) => {
                    warn!(%reason, "the Docker engine cannot be reached; rules stay in force");
                }
                Change::Snapshot(inventory) => info!(
                    containers = inventory.containers.len(),
                    networks = inventory.networks.len(),
                    "listed the Docker engine"
                ),
                Change::Engine(engine) => {
                    for trouble in engine.trouble() {
                        error!("{trouble}");
                    }
                }
                other => tracing::debug!(change = ?other, "Docker changed"),
            }
            need = need.max(self.core.take(Event::Inventory(change)));
            // Not without end: what is known now must reach the kernel even if changes never stop.
            left -= 1;
            next = if left > 0 { waiting.try_recv().ok() } else { None };
        }
        need
    }

    /// Keeps the last good policies before they are in force: after a crash in between, a file that is broken by then is
    /// known. They are compiled meanwhile. When it fails, enforcement goes on; only a restart would miss them. A directory
    /// that cannot be read changes nothing of them.
    fn remember(&mut self) {
        if self.core.policies().is_none_or(|state| state.unreadable.is_some()) {
            return;
        }
        let (directory, text) = (&self.options.state_directory, memory::text(self.core.store()));
        let kept = tokio::task::block_in_place(|| {
            thread::scope(|scope| {
                let writing = scope.spawn(|| memory::keep(directory, text));
                self.core.compiled();
                writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        });
        if let Err(error) = &kept {
            error!(error = %telemetry::chain(error), "cannot keep the last good policies");
        }
        self.enforcer.set_memory_trouble(kept.err().map(|error| telemetry::chain(&error)));
    }

    fn report_policies(&self) {
        let Some(state) = self.core.policies() else { return };
        if let Some(reason) = &state.unreadable {
            error!(%reason, "the policy directory cannot be read; the policies in force stay");
        }
        for diagnostic in state.diagnostics.iter().filter(|d| d.severity == Severity::Error) {
            error!(code = diagnostic.code, place = %diagnostic.location, "{}", diagnostic.message);
        }
        info!(
            files = state.files,
            policies = state.policies.policies.len(),
            held = state.held.len(),
            "read the policies"
        );
    }

    fn publish(&self) {
        let status = self.enforcer.status(&self.core, &self.options.policies, &self.options.accepted_out_of_reach);
        report_reach(&self.status.borrow().endpoints.unenforceable, &status.endpoints.unenforceable);
        self.status.send_if_modified(|current| {
            let changed = *current != status;
            if changed {
                self.notifier.status(status.problems.first().map_or("in sync", String::as_str));
                *current = status;
            }
            changed
        });
    }
}

/// Logs each endpoint that policy cannot reach once, when it appears or when policies select it anew.
fn report_reach(before: &[UnenforceableEndpoint], now: &[UnenforceableEndpoint]) {
    for found in now.iter().filter(|found| !before.contains(found)) {
        if found.policies.is_empty() || found.accepted {
            info!(endpoint = %found, "policy cannot reach this endpoint");
        } else {
            warn!(endpoint = %found, policies = found.policies.join(", "), "policy is not enforced on this endpoint");
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
