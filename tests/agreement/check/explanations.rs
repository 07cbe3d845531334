//! `explain`, held against the truth, way by way.

use std::collections::BTreeSet;

use dockgate::net::Family;
use dockgate::verdict::path::Route;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, to_value};

use crate::commands::Desk;
use crate::matrix::list;
use crate::truth::{Party, Question, RuleName, Truth, Way, told_name};

use super::Tally;

/// Questions that are put by a command of their own in each world; what `test` shows of cases that fail is held to the same.
const QUESTIONS: usize = 1;

/// Asks some of the questions.
pub(super) fn check(
    truth: &Truth<'_>,
    questions: &[Question],
    desk: &Desk,
    random: &mut StdRng,
    tally: &mut Tally,
) -> Result<(), String> {
    for question in questions.sample(random, QUESTIONS) {
        let mut question = question.clone();
        if random.random() {
            question.family = Family::ALL.choose(random).copied();
        }
        let ways = truth.ways(&question);
        match desk.explain(&question) {
            None if ways.is_empty() || ways.iter().any(|way| way.word.is_none()) => {}
            None => return Err(format!("explain: no answer to {question:?}")),
            Some(answer) => {
                answers(&question, &ways, &answer.json)?;
                if answer.is_yes != (answer.json["decision"] == "allow") {
                    return Err(format!("explain: the exit code is not the answer to {question:?}"));
                }
            }
        }
        tally.explained += 1;
        let is_closed = !ways.iter().any(Way::is_open) && ways.iter().any(Way::is_allowed);
        tally.closed_by_docker += usize::from(is_closed);
    }
    Ok(())
}

/// Whether an answer is the right one to a question.
pub(super) fn answers(question: &Question, ways: &[Way<'_>], answer: &Value) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("explain: {what} in the answer to {question:?}:\n{answer:#}"));
    // Whose a port of this host is, if a container's, is not asked here.
    if ways.iter().any(|way| way.word.is_none()) {
        return Ok(());
    }
    // Of this host as a whole, an address to which a container's port is bound is one more way.
    let asked: BTreeSet<_> = ways.iter().map(|way| way.path.packet.destination.to_string()).collect();
    let is_elsewhere = |way: &&Value| {
        way["route"]["kind"] == "through-published-port"
            && question.to == Party::Host
            && !way["packet"]["destination"].as_str().is_some_and(|address| asked.contains(address))
    };
    let (elsewhere, told): (Vec<&Value>, Vec<&Value>) = list(&answer["paths"]).iter().partition(is_elsewhere);
    if told.len() != ways.len() {
        return wrong(&format!("{} ways instead of {}", told.len(), ways.len()));
    }
    for (told, way) in told.iter().zip(ways) {
        // A port that a container has in the other family is judged as if it had it in both, as the rules do: what
        // `docker-proxy` listens on there, the engine does not say.
        let leads = matches!(way.path.route, Route::ToHost { .. })
            && told["route"]["kind"] == "through-published-port"
            && told["route"]["port"] == question.port;
        let is_same = leads || told["route"] == to_value(&way.path.route).expect("JSON");
        if !is_same || told["packet"] != to_value(&way.path.packet).expect("JSON") {
            return wrong("another way");
        }
        if told["decision"] != word(way.is_allowed()) {
            return wrong("another decision of a way");
        }
        let (named, deciders) = (named(told), way.deciders.iter().cloned().collect::<BTreeSet<_>>());
        let is_right = if way.is_allowed() {
            named.is_subset(&deciders) && named.is_empty() == deciders.is_empty()
        } else {
            named == deciders
        };
        if !is_right {
            return wrong(&format!("{named:?} instead of {deciders:?}"));
        }
        if told["fixed"].is_null() == (!way.is_allowed() && deciders.is_empty()) {
            return wrong("a fixed rule where there is none, or none where there is one");
        }
    }
    // An answer that tells what Docker's own rules close counts that as closed; otherwise it is about policy alone.
    let is_open_elsewhere = elsewhere.iter().any(|way| way["decision"] == "allow");
    let allowed = ways.iter().any(Way::is_allowed) || is_open_elsewhere;
    let passes = ways.iter().any(Way::is_open) || is_open_elsewhere;
    let (expected, is_closed) = match answer["closed_by_docker"].as_bool() {
        Some(told) => (passes, told == (allowed && !passes)),
        None => (allowed, true),
    };
    if answer["decision"] == word(expected) && is_closed { Ok(()) } else { wrong("another decision") }
}

/// The rules of policies that are said to decide about a way.
pub(super) fn named(way: &Value) -> BTreeSet<RuleName> {
    let sides = ["egress", "ingress"].map(|side| &way[side]);
    let decide = sides.into_iter().filter(|side| side["result"] == way["decision"]);
    decide.map(|side| &side["decided_by"]).filter(|rule| !rule.is_null()).map(told_name).collect()
}

fn word(allowed: bool) -> &'static str {
    if allowed { "allow" } else { "deny" }
}
