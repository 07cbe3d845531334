use std::path::Path;

use super::baseline::{Baseline, Error};
use super::comment::{Comment, Scope, comments};
use super::*;
use crate::policy::load;

/// A policy with a note in its fourth line and a warning in its ninth.
const POLICY: &str = "\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: web
spec:
  selector: app == 'web'
  types: [Ingress]
  ingress: []
  egress:
    - action: Deny
";

fn judged(text: &str) -> Vec<Finding> {
    let sources = [SourceFile::new("p.yaml", text)];
    let loaded = load(&sources);
    judge(&sources, loaded.diagnostics, Path::new("/"), |_| true)
}

/// `CODE:LINE` of what is told, and the same in parentheses of what is not.
fn told(text: &str) -> Vec<String> {
    let told = judged(text).into_iter().map(|finding| {
        let place = format!("{}:{}", finding.diagnostic.code, finding.diagnostic.location.line);
        if finding.suppressed.is_some() { format!("({place})") } else { place }
    });
    told.collect()
}

/// The policy with text put behind the line of this number; 0 is above the first.
fn policy_with(additions: &[(usize, &str)]) -> String {
    let mut lines = vec![String::new()];
    lines.extend(POLICY.lines().map(|line| format!("{line}\n")));
    for (line, addition) in additions {
        let own_line = addition.starts_with('\n');
        let text = lines[*line].trim_end().to_owned();
        lines[*line] = if own_line { format!("{text}{addition}\n") } else { format!("{text} {addition}\n") };
    }
    lines.concat().trim_start_matches('\n').to_owned()
}

#[test]
#[rustfmt::skip]
fn a_comment_covers_its_line_the_one_below_or_the_document_below() {
    for (name, text, expected) in [
        ("none", POLICY.to_owned(), &["DG3201:4", "DG3101:9"][..]),
        ("on the line", policy_with(&[(4, "# dockgate:ignore DG3201 all of them")]), &["(DG3201:4)", "DG3101:9"]),
        ("on another line", policy_with(&[(5, "# dockgate:ignore DG3201 all of them")]), &["DG3201:4", "DG9004:5", "DG3101:9"]),
        ("above the line", policy_with(&[(8, "\n  # dockgate:ignore DG3101 not yet")]), &["DG3201:4", "(DG3101:10)"]),
        ("above other comments", policy_with(&[(8, "\n  # dockgate:ignore DG3101 not yet\n  # and more")]), &["DG3201:4", "(DG3101:11)"]),
        ("with a line between", policy_with(&[(8, "\n  # dockgate:ignore DG3101 not yet\n")]), &["DG3201:4", "DG9004:9", "DG3101:11"]),
        ("above the document", policy_with(&[(0, "\n# dockgate:ignore DG3101,DG3201 a template")]), &["(DG3201:5)", "(DG3101:10)"]),
        ("above its marker", policy_with(&[(0, "\n# dockgate:ignore DG3201 all of them\n---")]), &["(DG3201:6)", "DG3101:11"]),
        ("on its marker", policy_with(&[(0, "\n--- # dockgate:ignore DG3201 all of them")]), &["(DG3201:5)", "DG3101:10"]),
        ("below its marker", policy_with(&[(0, "\n---\n\n# dockgate:ignore DG3201 all of them\n")]), &["(DG3201:8)", "DG3101:13"]),
        ("in lower case, with blanks in the list", policy_with(&[(0, "\n# dockgate:ignore dg3101, dg3201 a template")]), &["(DG3201:5)", "(DG3101:10)"]),
        ("text that looks like one", policy_with(&[(4, "\n  annotations:\n    text: |\n      # dockgate:ignore DG3201 text")]), &["DG3201:4", "DG3101:12"]),
        ("a quoted text that looks like one", policy_with(&[(4, "\n  annotations: {text: ' # dockgate:ignore DG3201 text'}")]), &["DG3201:4", "DG3101:10"]),
        ("another word", policy_with(&[(4, "# dockgate:ignored DG3201 text")]), &["DG3201:4", "DG3101:9"]),
    ] {
        assert_eq!(told(&text), expected, "{name}\n{text}");
    }
}

#[test]
fn a_comment_above_a_marker_covers_the_document_below_and_no_other() {
    let second = POLICY.replace("name: web", "name: api");
    let text = format!("{POLICY}# dockgate:ignore DG3201 a template\n---\n{second}");
    assert_eq!(told(&text), ["DG3201:4", "DG3101:9", "(DG3201:16)", "DG3101:21"]);
    let text = format!("# dockgate:ignore DG3201 a template\n{POLICY}---\n{second}");
    assert_eq!(told(&text), ["(DG3201:5)", "DG3101:10", "DG3201:16", "DG3101:21"]);
}

#[test]
#[rustfmt::skip]
fn a_comment_that_is_of_no_use_is_told() {
    for (name, comment, expected) in [
        ("no reason", "# dockgate:ignore DG3201", &["DG3201:4", "DG9001:4"][..]),
        ("no code", "# dockgate:ignore", &["DG3201:4", "DG9002:4"]),
        ("no code but a reason", "# dockgate:ignore because of that", &["DG3201:4", "DG9002:4"]),
        ("an unknown code", "# dockgate:ignore DG3299 that", &["DG3201:4", "DG9002:4"]),
        ("an unknown code beside a known one", "# dockgate:ignore DG3299,DG3201 that", &["(DG3201:4)", "DG9002:4"]),
        ("an error", "# dockgate:ignore DG2004 that", &["DG3201:4", "DG9003:4"]),
        ("nothing there", "# dockgate:ignore DG3201,DG3105 that", &["(DG3201:4)", "DG9004:4"]),
    ] {
        let mut found = told(&policy_with(&[(4, comment)]));
        assert_eq!(found.pop().as_deref(), Some("DG3101:9"), "{name}");
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn errors_are_told_whatever_a_comment_says() {
    let text = policy_with(&[(6, "\n  order: first # dockgate:ignore DG2006 that")]);
    assert_eq!(told(&text), ["DG2006:7", "DG9003:7"]);
}

#[test]
fn what_could_not_have_been_found_is_not_missed() {
    let text = policy_with(&[(4, "# dockgate:ignore DG3105 the camera")]);
    let sources = [SourceFile::new("p.yaml", text)];
    let findings = judge(&sources, load(&sources).diagnostics, Path::new("/"), |code| code != &codes::OUT_OF_REACH);
    assert!(findings.iter().all(|finding| finding.diagnostic.code != "DG9004"), "{findings:?}");
}

#[test]
fn comments_know_their_place() {
    let text = "a: 1\n--- # x\nb: ü # dockgate:ignore DG1 r s \r\n";
    let found = comments(&SourceFile::new("p.yaml", text));
    let location = Location { file: "p.yaml".into(), line: 3, column: 6 };
    let expected = Comment { location, scope: Scope::Line(3), codes: vec!["DG1".to_owned()], reason: "r s".to_owned() };
    assert_eq!(found, [expected]);
}

#[test]
fn a_file_full_of_comments_is_gone_through_once() {
    let comments = "# dockgate:ignore DG3201 that\n".repeat(50_000);
    let text = format!("{comments}{POLICY}{}", "---\n# dockgate:ignore DG3201 that\na: 1\n".repeat(2_000));
    let findings = judged(&text);
    assert!(findings.iter().any(|finding| finding.diagnostic.code == "DG3201" && finding.suppressed.is_some()));
    assert_eq!(findings.iter().filter(|finding| finding.diagnostic.code == "DG9004").count(), 2_000);
}

#[test]
fn fingerprints_differ_and_outlive_what_happens_elsewhere_in_the_file() {
    let second = POLICY.replace("name: web", "name: api");
    let text = format!("{POLICY}---\n{second}---\n{}", second.replace("app ==", "app !="));
    let before = judged(&text);
    let fingerprints = |findings: &[Finding], code: &str| -> Vec<String> {
        let of_code = findings.iter().filter(|finding| finding.diagnostic.code == code);
        of_code.map(|finding| finding.fingerprint.clone()).collect()
    };
    for code in ["DG3201", "DG3101", "DG3030"] {
        let mut known = fingerprints(&before, code);
        let after = judged(&format!("# a comment\n\n{text}"));
        assert_eq!(fingerprints(&after, code), known, "{code}");
        known.sort();
        known.dedup();
        assert_eq!(known.len(), fingerprints(&before, code).len(), "{code}: fingerprints differ");
    }
}

/// The findings of a text, beside a baseline of another.
fn beside(known: &str, text: &str) -> Vec<String> {
    let baseline = Baseline::of(&judged(known), Path::new("/")).text().expect("a baseline is text");
    let source = SourceFile::new("base.json", baseline);
    let mut findings = judged(text);
    let baseline = Baseline::parse(&source.text).expect("what was written can be read");
    baseline.apply(&mut findings, &source, Path::new("/"), |file| file == "p.yaml", |_| true);
    let told = findings.into_iter().filter(|finding| finding.suppressed.is_none());
    told.map(|finding| format!("{} {}", finding.diagnostic.code, finding.diagnostic.location)).collect()
}

#[test]
fn only_what_is_new_is_told_beside_a_baseline() {
    let moved = format!("# moved\n{POLICY}");
    let open = POLICY.replace("types: [Ingress]", "types: [Ingress, Egress]");
    let broken = POLICY.replace("spec:", "spec:\n  order: first");
    for (name, known, text, expected) in [
        ("the same", POLICY, POLICY, &[][..]),
        ("moved", POLICY, &moved, &[]),
        ("one more", &open, POLICY, &["DG3101 p.yaml:9:3"]),
        ("one less", POLICY, &open, &["DG9005 base.json:4:5"]),
        ("errors are not known", &broken, &broken, &["DG2006 p.yaml:6:10"]),
    ] {
        assert_eq!(beside(known, text), expected, "{name}");
    }
}

#[test]
fn a_baseline_of_another_form_is_refused() {
    for (name, text) in [
        ("no JSON", "findings:"),
        ("a field too many", r#"{"version": 1, "findings": [], "x": 1}"#),
        ("no version", r#"{"findings": []}"#),
    ] {
        assert!(matches!(Baseline::parse(text), Err(Error::Form(_))), "{name}");
    }
    assert!(matches!(Baseline::parse(r#"{"version": 2, "findings": []}"#), Err(Error::Version(2))));
}
