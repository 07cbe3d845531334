//! `test`, held against the truth: cases that must pass, and cases that must not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use dockgate::net::Family;
use dockgate::reach::Service;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};

use crate::commands::Desk;
use crate::matrix::{list, text};
use crate::truth::{Party, Question, RuleName, Truth, Way};

use super::{Tally, explanations};

/// Cases of each world.
const CASES: usize = 16;

struct Case {
    question: Question,
    via: Option<&'static str>,
    expects_open: bool,
    by: Option<RuleName>,
    passes: bool,
}

/// Writes a `PolicyTest` about some of the questions, and has it run.
pub(super) fn check(
    truth: &Truth<'_>,
    questions: &[Question],
    rules: &BTreeSet<RuleName>,
    desk: &Desk,
    random: &mut StdRng,
    tally: &mut Tally,
) -> Result<(), String> {
    // What has no way is a case about nothing, which must fail. A few of those are enough.
    let mut chosen: Vec<Question> = questions.sample(random, 2 * CASES).cloned().collect();
    chosen.retain(|question| !truth.ways(question).is_empty() || random.random_ratio(1, 8));
    chosen.truncate(CASES);
    let cases: Vec<Case> = chosen.into_iter().map(|question| case(truth, question, rules, random)).collect();
    if cases.is_empty() {
        return Ok(());
    }
    let file = file(&cases);
    let answer = desk.test(&file).ok_or_else(|| format!("test: no answer to\n{file}"))?;
    let results: BTreeMap<String, _> =
        list(&answer.json["results"]).iter().map(|result| (text(&result["name"]), result)).collect();
    for (index, case) in cases.iter().enumerate() {
        let result = results.get(&index.to_string()).ok_or_else(|| format!("test: {index} is missing"))?;
        if result["passed"] != case.passes {
            return Err(format!(
                "test: case {index} {}: {result:#}\n{file}",
                if case.passes { "fails" } else { "passes" }
            ));
        }
        if !result["trace"].is_null() {
            explanations::answers(&case.question, &truth.ways(&case.question), &result["trace"])?;
            tally.explained += 1;
        }
        *(if case.passes { &mut tally.passing } else { &mut tally.failing }) += 1;
        tally.by += usize::from(case.passes && case.by.is_some());
    }
    if answer.is_yes == cases.iter().any(|case| !case.passes) {
        return Err(format!("test: the exit code is not the answer to\n{file}"));
    }
    Ok(())
}

fn case(truth: &Truth<'_>, mut question: Question, rules: &BTreeSet<RuleName>, random: &mut StdRng) -> Case {
    if random.random_ratio(1, 4) {
        question.family = Family::ALL.choose(random).copied();
    }
    let mut ways = truth.ways(&question);
    // Of a port of this host that is a container's a case says nothing.
    ways.retain(|way| way.word.is_some());
    let via = if random.random_ratio(1, 4) { ways.choose(random).and_then(|way| way.word) } else { None };
    ways.retain(|way| via.is_none() || way.word == via);
    let is_open = ways.iter().any(Way::is_open);
    if random.random_ratio(1, 8) {
        return Case { question, via, expects_open: !is_open, by: None, passes: false };
    }
    let mut case = Case { question, via, expects_open: is_open, by: None, passes: !ways.is_empty() };
    if random.random_ratio(1, 2) {
        // Of what is open only open ways count, and of what is closed all, which policy must have closed.
        let counted: Vec<&Way<'_>> = ways.iter().filter(|way| !is_open || way.is_open()).collect();
        let decide = |way: &&Way<'_>| -> BTreeSet<RuleName> {
            let is_decided = way.is_allowed() == is_open;
            way.deciders.iter().filter(|_| is_decided).cloned().collect()
        };
        let common = counted.iter().map(decide).reduce(|all, one| &all & &one).unwrap_or_default();
        let others = || rules.iter().filter(|rule| rule.2.is_some() && !common.contains(*rule));
        case.by = if common.is_empty() || random.random_ratio(1, 5) {
            others().choose(random).cloned()
        } else {
            common.iter().choose(random).cloned()
        };
        case.passes &= case.by.as_ref().is_none_or(|by| common.contains(by));
    }
    case
}

fn file(cases: &[Case]) -> String {
    let mut text = "apiVersion: dockgate.io/v1alpha1\nkind: PolicyTest\nmetadata: {}\nspec:\n  cases:\n".to_owned();
    let end = |party: &Party| match party {
        Party::Outside(address) => format!("'{address}'"),
        Party::Container(_) | Party::Host => party.to_string(),
    };
    for (index, Case { question, via, expects_open, by, .. }) in cases.iter().enumerate() {
        let (from, to) = (end(&question.from), end(&question.to));
        let mut case = format!("    - {{name: '{index}', from: {from}, to: {to}");
        match question.service {
            Service::Ports(protocol) => write!(case, ", protocol: {protocol}, port: {}", question.port),
            Service::Ping => write!(case, ", protocol: ICMP"),
        }
        .expect("a text grows");
        if let Some(family) = question.family {
            write!(case, ", ipVersion: {}", family.digit()).expect("a text grows");
        }
        if let Some(via) = via {
            write!(case, ", via: {via}").expect("a text grows");
        }
        if let Some((policy, direction, rule)) = by {
            let rule = rule.map(|rule| format!("[{rule}]")).unwrap_or_default();
            write!(case, ", by: '{policy} {direction}{rule}'").expect("a text grows");
        }
        let expect = if *expects_open { "Allow" } else { "Deny" };
        writeln!(text, "{case}, expect: {expect}}}").expect("a text grows");
    }
    text
}
