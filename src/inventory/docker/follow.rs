//! The loop of following an engine: subscribe, list, then translate events; and all of it again after any failure.
//!
//! Input: a client. Output: [`Change`]s on a channel. What is asked and what an answer is worth is decided in
//! [`super::tracker`]; here are the sockets and the clock.

#![expect(
    clippy::disallowed_methods,
    reason = "part of the Docker door: when the subscription begins, how long it held"
)]

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::super::{Change, ContainerId};
use super::tracker::{Answer, Call, Event, Tracker};
use super::{Error, about, listing};

/// Everything is listed anew this often, because events can be lost without a sign: an engine drops them for a reader that
/// is too slow, and some changes have none (`network connect` to a stopped container). Within this time any such loss is
/// repaired; it costs an engine with 100 containers some 10 ms.
const RELIST_INTERVAL: Duration = Duration::from_secs(30);
/// The container list can lag behind the events; what had an event is looked at again after one to two of these intervals.
/// What waits for it is the disappearance of an attachment whose addresses are gone already. Ports do not: where the list may
/// lag, they do not count until the change that may have made them others is written (see [`Tracker::next_inspection`]).
const SECOND_LOOK_INTERVAL: Duration = Duration::from_millis(300);
/// Calls under way at the same time: enough for a burst of starts on many networks, few enough to leave the engine to
/// others.
const PARALLEL_CALLS: usize = 8;
/// Containers inspected at the same time. Each may have to wait for something long that the engine does with it, and holds up
/// nothing but the next inspection.
const PARALLEL_INSPECTIONS: usize = 4;
/// First wait before the engine is tried again.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Longest wait before the engine is tried again. Short, because an engine that comes back starts containers at once, and
/// what it gave an address to while nobody listened is not known.
const LONGEST_DELAY: Duration = Duration::from_millis(500);

/// Follows the engine until the receiver is dropped: subscribes, then lists, then sends each change as it happens;
/// reconnects with back-off and lists anew.
///
/// The first change and the first one after each [`Change::Unreachable`] is a [`Change::Snapshot`]. A [`Change::Engine`]
/// follows, because the engine that comes back may be another one.
pub async fn follow(docker: Docker, changes: mpsc::Sender<Change>) {
    let mut failures = 0;
    loop {
        let began = Instant::now();
        let Err(error) = connection(&docker, &changes).await else { return };
        failures = if began.elapsed() > LONGEST_DELAY { 0 } else { failures + 1 };
        if changes.send(Change::Unreachable(reason(&error))).await.is_err() {
            return;
        }
        let random = RandomState::new().hash_one(failures);
        tokio::select! {
            () = tokio::time::sleep(delay(failures, random)) => {}
            () = changes.closed() => return,
        }
    }
}

/// The wait before the next try: doubled with each failure in a row up to the longest, and then shortened by up to a half, so
/// that several followers do not come back at the same moment.
fn delay(failures: u32, random: u64) -> Duration {
    let full = FIRST_DELAY.saturating_mul(1 << failures.min(16)).min(LONGEST_DELAY);
    let thousandths = u32::try_from(random % 501).unwrap_or_default();
    full * (1000 - thousandths) / 1000
}

/// The error with its causes, without repeating a cause that the error before it spells out already.
pub(super) fn reason(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(current) = cause {
        let message = current.to_string();
        if !text.ends_with(&message) {
            text = format!("{text}: {message}");
        }
        cause = current.source();
    }
    text
}

/// One connection: from subscribing to the first failure. Ends well when the receiver is dropped.
async fn connection(docker: &Docker, changes: &mpsc::Sender<Change>) -> Result<(), Error> {
    // Events since now, so that none is missed between the listing and the moment the subscription takes effect.
    let mut events = pin!(subscribe(docker, SystemTime::now()));
    let mut early = Vec::new();
    let mut tracker = {
        let mut listed = pin!(listing::everything(docker));
        loop {
            tokio::select! {
                biased;
                event = events.next() => early.extend(event.ok_or(Error::EventsEnded)??),
                listing = &mut listed => break Tracker::new(listing?),
                () = changes.closed() => return Ok(()),
            }
        }
    };
    for event in early {
        tracker.event(event);
    }

    let mut calls: FuturesUnordered<BoxFuture<'_, Result<Answer, Error>>> = FuturesUnordered::new();
    let mut inspections: FuturesUnordered<BoxFuture<'_, (ContainerId, bool)>> = FuturesUnordered::new();
    let mut is_told = false;
    let mut asking = Some(about::engine(docker).boxed());
    let mut relisting: Option<BoxFuture<'_, Result<listing::Listing, Error>>> = None;
    let mut relist = tokio::time::interval(RELIST_INTERVAL);
    relist.set_missed_tick_behavior(MissedTickBehavior::Delay);
    relist.reset();
    let mut second_look = tokio::time::interval(SECOND_LOOK_INTERVAL);
    second_look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        while calls.len() < PARALLEL_CALLS
            && let Some(call) = tracker.next_call()
        {
            calls.push(ask(docker, call).boxed());
        }
        while inspections.len() < PARALLEL_INSPECTIONS
            && let Some(id) = tracker.next_inspection()
        {
            inspections.push(inspect(docker, id).boxed());
        }
        for change in tracker.take_changes() {
            if changes.send(change).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            // Events first: what they end must not be followed by an answer of before.
            biased;
            event = events.next() => {
                if let Some(event) = event.ok_or(Error::EventsEnded)?? {
                    tracker.event(event);
                }
            }
            Some(answer) = calls.next() => tracker.answer(answer?),
            Some((id, answered)) = inspections.next() => tracker.inspection_ended(&id, answered),
            Some(engine) = async { Some(asking.as_mut()?.await) } => {
                asking = None;
                is_told = engine.silent.is_none();
                if changes.send(Change::Engine(engine)).await.is_err() {
                    return Ok(());
                }
            }
            Some(listing) = async { Some(relisting.as_mut()?.await) } => {
                relisting = None;
                if tracker.listing(listing?) {
                    tracing::info!("the engine's list differed from its events");
                }
            }
            _ = second_look.tick() => tracker.tick(),
            _ = relist.tick(), if relisting.is_none() => {
                if !is_told {
                    asking.get_or_insert_with(|| about::engine(docker).boxed());
                }
                tracker.listing_begins();
                relisting = Some(listing::everything(docker).boxed());
            }
            () = changes.closed() => return Ok(()),
        }
    }
}

/// The engine's events from a moment on; an item without an event is one that does not concern the inventory.
fn subscribe(docker: &Docker, since: SystemTime) -> impl Stream<Item = Result<Option<Event>, Error>> {
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
    let filters = HashMap::from([("type", vec!["container", "network"]), ("event", Event::ACTIONS.to_vec())]);
    let options = EventsOptionsBuilder::default()
        .since(&format!("{}.{:09}", since.as_secs(), since.subsec_nanos()))
        .filters(&filters)
        .build();
    docker.events(Some(options)).map(|message| Ok(Event::read(message?)))
}

async fn ask(docker: &Docker, call: Call) -> Result<Answer, Error> {
    match call {
        Call::Network(id) => {
            let found = listing::network(docker, &id.0).await?;
            Ok(Answer::Network(id, found.map(Box::new)))
        }
        Call::Containers(ids) => {
            let found = listing::containers(docker, &ids).await?;
            Ok(Answer::Containers(ids, found))
        }
    }
}

/// Waits until the engine can say how a container is. Returns whether it said anything: an error is an answer, and so is what
/// cannot be read. An engine that is stuck with one container is no reason to take it for gone.
async fn inspect(docker: &Docker, id: ContainerId) -> (ContainerId, bool) {
    let answered = matches!(listing::inspected(docker, &id).await, Ok(()) | Err(Error::Engine(_)));
    (id, answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_limit_and_varies_by_half() {
        let rows = [
            ("first", 0, 0, 100),
            ("second", 1, 0, 200),
            ("third, shortened by a half", 2, 500, 200),
            ("limit", 10, 0, 500),
            ("limit, shortened by a half", u32::MAX, 500, 250),
        ];
        for (name, failures, random, milliseconds) in rows {
            assert_eq!(delay(failures, random), Duration::from_millis(milliseconds), "{name}");
        }
    }

    #[test]
    fn a_reason_holds_the_causes_once() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = Error::from(bollard::errors::Error::from(refused));
        assert_eq!(reason(&error), "the Docker engine is not running at its address: connection refused");
    }
}
