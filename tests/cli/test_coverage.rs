//! `test --coverage`: which rules the tests exercise.

use super::test::{one_case, shop_with, spec};
use super::*;

#[test]
fn coverage_names_the_rules_that_no_case_exercises() {
    let answer =
        shop_with(&one_case("{from: web, to: api, port: 80, expect: Allow}")).run(&["test", ".", "--coverage"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let told = "1 passed; 1 of 2 rules exercised (50 %)\n  not exercised: shop/allow-web-to-api egress[0] (policies/web.yaml:13:7)\n";
    assert!(answer.stdout.ends_with(told), "{}", answer.stdout);
    // A packet that does not go the way in question exercises nothing.
    let other = one_case("{from: 203.0.113.9, to: api, port: 8080, via: proxy, expect: Allow}");
    let answer = shop_with(&other).run(&["test", "tests.yaml", "--coverage"]);
    assert!(answer.stdout.contains("; 0 of 2 rules exercised (0 %)\n"), "{}", answer.stdout);
}

#[test]
fn coverage_tells_what_invariants_alone_exercise() {
    let tests = |cases: &str, invariant: &str| spec(&format!("{cases}  invariants:\n    - {invariant}\n"));
    let run = |text: &str, form: &str| shop_with(text).run(&["test", "tests.yaml", "--coverage", "-o", form]);
    // The end of a tier is no rule.
    let nothing = run(&tests("", "{from: batch, to: api, expect: Deny}"), "human");
    assert!(nothing.stdout.contains("; 0 of 2 rules exercised (0 %)\n"), "{}", nothing.stdout);
    let egress = tests("", "{from: api, to: {selector: has(app)}, expect: Deny}");
    let told = "1 passed; 1 of 2 rules exercised (50 %), 1 by invariants alone\n  \
                not exercised: shop/allow-web-to-api ingress[0] (policies/web.yaml:9:7)\n  \
                exercised by invariants alone: shop/allow-web-to-api egress[0] (policies/web.yaml:13:7)\n";
    assert!(run(&egress, "human").stdout.ends_with(told), "{}", run(&egress, "human").stdout);
    let coverage = &run(&egress, "json").json()["coverage"];
    assert_eq!((&coverage["exercised"], &coverage["percent"]), (&1.into(), &50.into()));
    assert_eq!(coverage["only_by_invariants"][0]["direction"], "egress");
    assert_eq!(coverage["missed"][0]["direction"], "ingress");
    // A case comes before, and what is excepted is not asked about.
    let case = "  cases: [{from: api, to: web, port: 1, expect: Deny}]\n";
    let both = run(&tests(case, "{from: api, to: {selector: has(app)}, expect: Deny}"), "human");
    assert!(both.stdout.contains("; 1 of 2 rules exercised (50 %)\n"), "{}", both.stdout);
    let excepted =
        run(&tests("", "{from: {selector: has(app)}, to: api, expect: Deny, except: [{from: web}]}"), "human");
    assert!(excepted.stdout.contains("; 0 of 2 rules exercised (0 %)\n"), "{}", excepted.stdout);
}

#[test]
fn what_only_matches_on_the_way_is_exercised_by_each_that_it_matches() {
    // The same rule denies both, so that all that is told of them is equal.
    let policy = "\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  selector: app == 'api'
  ingress:
    - {action: Log, source: {selector: app == 'web'}}
    - {action: Log, source: {selector: app == 'batch'}}
    - {action: Deny}
";
    let files = shop_with(&spec(
        "  invariants:\n    - {from: {selector: app != 'api'}, to: api, expect: Deny, except: [{from: camera}]}\n",
    ));
    fs::write(files.path().join("policies/web.yaml"), policy).unwrap();
    let answer = files.run(&["test", "tests.yaml", "--coverage"]);
    assert!(answer.stdout.contains("; 3 of 3 rules exercised (100 %), 3 by invariants alone\n"), "{}", answer.stdout);
}
