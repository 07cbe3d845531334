//! `validate` for pipelines: every form says the same, in the grammar of those who read it.

use serde_json::json;

use super::*;

/// Ten mistakes of all kinds in one document.
const TEN: &str = "\
apiVersion: projectcalico.org/v3
kind: NetworkPolcy
metadata:
  name: Web
  namespace: shop
  lables: {}
spec:
  tier: platform
  order: first
  selector: app = 'web'
  types: [ingress]
  ingress:
    - action: Allow
      protocol: tcp
      source:
        nets: [10.0.0.1/8]
    - action: Allow
      destination:
        ports: [80]
";

/// Code, line and column of each.
const PLACES: [(&str, u64, u64); 10] = [
    ("DG2003", 2, 7),
    ("DG3001", 4, 9),
    ("DG2004", 6, 3),
    ("DG3029", 8, 9),
    ("DG2006", 9, 10),
    ("DG3010", 10, 17),
    ("DG2007", 11, 11),
    ("DG3012", 14, 17),
    ("DG3020", 16, 16),
    ("DG3014", 19, 17),
];

/// A policy with a note in line 4 and a warning in line 9.
const REMARKS: &str = "\
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

fn ten() -> Files {
    Files::new(&[("policies/ten.yaml", TEN), ("policies/web.yaml", POLICY)])
}

/// What stands between two texts, if both are there.
fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}

fn place(text: &str) -> (u64, u64) {
    let (line, column) = text.split_once(':').expect("line and column");
    (line.parse().expect("a line"), column.parse().expect("a column"))
}

fn expected() -> Vec<(String, u64, u64)> {
    PLACES.iter().map(|(code, line, column)| ((*code).to_owned(), *line, *column)).collect()
}

#[track_caller]
fn report(files: &Files, arguments: &[&str], code: i32) -> String {
    let answer = files.run(&[&["validate", "policies"], arguments].concat());
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(code), ""), "{answer:?}");
    answer.stdout
}

#[test]
fn ten_mistakes_in_one_document_are_ten_findings_for_people() {
    let text = report(&ten(), &[], 1);
    let codes = text.lines().filter_map(|line| between(line, "error[", "]").map(str::to_owned));
    let places = text.lines().filter_map(|line| Some(place(line.split_once("--> policies/ten.yaml:")?.1)));
    let found: Vec<_> = codes.zip(places).map(|(code, (line, column))| (code, line, column)).collect();
    assert_eq!(found, expected(), "{text}");
    assert!(text.ends_with("\n10 errors in 2 files (1 resource)\n"), "{text}");
}

#[test]
fn ten_mistakes_in_one_document_are_ten_findings_in_json() {
    let json: Value = serde_json::from_str(&report(&ten(), &["-o", "json"], 1)).unwrap();
    let found = json["diagnostics"].as_array().unwrap().iter().map(|found| {
        let number = |key: &str| found[key].as_u64().unwrap();
        (found["code"].as_str().unwrap().to_owned(), number("line"), number("column"))
    });
    assert_eq!(found.collect::<Vec<_>>(), expected());
    assert_eq!(json["suppressed"], json!([]));
}

#[test]
fn ten_mistakes_in_one_document_are_ten_results_in_sarif() {
    let log = sarif(&report(&ten(), &["--format", "sarif"], 1));
    let run = &log["runs"][0];
    let results = run["results"].as_array().unwrap();
    let found = results.iter().map(|result| {
        let physical = &result["locations"][0]["physicalLocation"];
        assert_eq!(physical["artifactLocation"], json!({"uri": "policies/ten.yaml", "uriBaseId": "%SRCROOT%"}));
        assert_eq!(result["level"], "error");
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
        let number = |key: &str| physical["region"][key].as_u64().unwrap();
        (result["ruleId"].as_str().unwrap().to_owned(), number("startLine"), number("startColumn"))
    });
    assert_eq!(found.collect::<Vec<_>>(), expected());
    let message = "unknown field `lables`\nhelp: did you mean `labels`?";
    assert_eq!(results[2]["message"]["text"], message);
    assert_eq!(results[2]["locations"][0]["logicalLocations"][0]["fullyQualifiedName"], "metadata.lables");
}

#[test]
fn ten_mistakes_in_one_document_are_ten_failures_in_junit() {
    let text = report(&ten(), &["--format", "junit"], 1);
    let found = text.lines().filter_map(|line| {
        let name = between(line, "<testcase name=\"", "\" classname=\"policies/ten.yaml\"")?;
        let (code, rest) = name.split_once(' ').expect("a code and a title");
        let (line, column) = place(rest.rsplit_once(" at ").expect("a place").1);
        Some((code.to_owned(), line, column))
    });
    assert_eq!(found.collect::<Vec<_>>(), expected(), "{text}");
    assert_eq!(text.matches("<failure type=\"error\" message=\"").count(), 10, "{text}");
    for line in [
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
        "<testsuites name=\"dockgate validate\" tests=\"11\" failures=\"10\" skipped=\"0\" errors=\"0\" time=\"0\">",
        "  <testsuite name=\"policies/ten.yaml\" tests=\"10\" failures=\"10\" skipped=\"0\" errors=\"0\" time=\"0\">",
        "  <testsuite name=\"policies/web.yaml\" tests=\"1\" failures=\"0\" skipped=\"0\" errors=\"0\" time=\"0\">",
        "    <testcase name=\"no problems\" classname=\"policies/web.yaml\" file=\"policies/web.yaml\" time=\"0\"/>",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn ten_mistakes_in_one_document_are_ten_annotations_of_github() {
    let text = report(&ten(), &["--format", "github"], 1);
    let found = text.lines().map(|line| {
        let properties = between(line, "::error file=policies/ten.yaml,", "::").expect("a command");
        let value = |key: &str| between(properties, key, ",").expect("a property").parse().expect("a number");
        let code = between(properties, "title=", " ").expect("a title");
        (code.to_owned(), value("line="), value("col="))
    });
    assert_eq!(found.collect::<Vec<_>>(), expected(), "{text}");
    let line = "::error file=policies/ten.yaml,line=6,col=3,title=DG2004 unknown field::unknown field `lables`%0Ahelp: did \
                you mean `labels`?";
    assert_eq!(text.lines().nth(2), Some(line));
}

#[test]
fn ten_mistakes_in_one_document_are_ten_issues_of_gitlab() {
    let issues: Value = serde_json::from_str(&report(&ten(), &["--format", "gitlab"], 1)).unwrap();
    let issues = issues.as_array().unwrap();
    let found = issues.iter().map(|issue| {
        assert_eq!(issue["location"]["path"], "policies/ten.yaml");
        assert_eq!(issue["severity"], "major");
        (issue["check_name"].as_str().unwrap(), issue["location"]["lines"]["begin"].as_u64().unwrap())
    });
    let expected: Vec<_> = PLACES.iter().map(|(code, line, _)| (*code, *line)).collect();
    assert_eq!(found.collect::<Vec<_>>(), expected);
    assert_eq!(issues[2]["description"], "unknown field `lables`; did you mean `labels`?");
    let fingerprints: std::collections::BTreeSet<_> =
        issues.iter().map(|issue| issue["fingerprint"].as_str().unwrap()).collect();
    assert_eq!(fingerprints.len(), 10, "GitLab shows one issue for each fingerprint");
}

#[test]
fn machines_are_told_of_clean_files() {
    let files = Files::shop();
    for (name, format, expected) in [
        ("github", "github", ""),
        ("gitlab", "gitlab", "[]\n"),
        (
            "junit",
            "junit",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <testsuites name=\"dockgate validate\" tests=\"1\" failures=\"0\" skipped=\"0\" errors=\"0\" time=\"0\">\n\
             \x20 <testsuite name=\"policies/web.yaml\" tests=\"1\" failures=\"0\" skipped=\"0\" errors=\"0\" time=\"0\">\n\
             \x20   <testcase name=\"no problems\" classname=\"policies/web.yaml\" file=\"policies/web.yaml\" time=\"0\"/>\n\
             \x20 </testsuite>\n\
             </testsuites>\n",
        ),
    ] {
        assert_eq!(report(&files, &["--format", format], 0), expected, "{name}");
    }
    assert_eq!(sarif(&report(&files, &["--format", "sarif"], 0))["runs"][0]["results"], json!([]));
}

#[test]
fn remarks_are_no_failures_unless_they_are_to_fail() {
    let files = Files::new(&[("policies/web.yaml", REMARKS)]);
    let junit = report(&files, &["--format", "junit"], 0);
    assert!(junit.contains("tests=\"2\" failures=\"0\" skipped=\"2\""), "{junit}");
    assert!(junit.contains("<skipped message=\"warning: these rules have no effect:"), "{junit}");
    let junit = report(&files, &["--format", "junit", "--strict"], 1);
    assert!(junit.contains("tests=\"2\" failures=\"1\" skipped=\"1\""), "{junit}");
    let github = report(&files, &["--format", "github"], 0);
    let commands: Vec<_> = github.lines().filter_map(|line| line.split_once(' ')).map(|(command, _)| command).collect();
    assert_eq!(commands, ["::notice", "::warning"]);
    let gitlab: Value = serde_json::from_str(&report(&files, &["--format", "gitlab"], 0)).unwrap();
    assert_eq!((&gitlab[0]["severity"], &gitlab[1]["severity"]), (&json!("info"), &json!("minor")));
}

#[test]
fn hostile_text_cannot_forge_what_machines_read() {
    let text = "kind: \"x\\n::error::forged\\u001b[2J\"\napiVersion: \"<!-- ]]> & ,:%\"\n";
    let files = Files::new(&[("policies/%,: a.yaml", text)]);
    let github = report(&files, &["--format", "github"], 1);
    assert!(github.lines().all(|line| line.starts_with("::error file=policies/%25%2C%3A a.yaml,line=")), "{github}");
    let junit = report(&files, &["--format", "junit"], 1);
    assert!(
        !junit.contains("<!--") && !junit.contains('\u{1b}') && junit.contains("&lt;!-- ]]&gt; &amp; ,:%"),
        "{junit}"
    );
    sarif(&report(&files, &["--format", "sarif"], 1));
}

/// The standard's schema, which looks at the formats of texts too.
fn sarif_schema() -> jsonschema::Validator {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sarif-schema-2.1.0.json"));
    let mut schema: Value = serde_json::from_str(&text.unwrap()).unwrap();
    // As published the pattern has a bracket too many; errata 01 of the standard corrects it to this.
    for definition in ["run", "toolComponent"] {
        let language = &mut schema["definitions"][definition]["properties"]["language"];
        language["pattern"] = json!("^[a-zA-Z]{2}(-[a-zA-Z]{2})?$");
    }
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

/// Reads a log and holds it against the standard's schema.
#[track_caller]
fn sarif(text: &str) -> Value {
    let validator = sarif_schema();
    let log: Value = serde_json::from_str(text).unwrap();
    let errors: Vec<_> =
        validator.iter_errors(&log).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    log
}

#[test]
fn the_schema_refuses_what_is_no_sarif() {
    let validator = sarif_schema();
    let mut log = sarif(&report(&ten(), &["--format", "sarif"], 1));
    assert!(validator.is_valid(&log));
    log["runs"][0]["results"][0]["level"] = json!("fatal");
    assert!(!validator.is_valid(&log), "an unknown level");
}

#[test]
fn every_code_is_a_rule_of_sarif() {
    let log = sarif(&report(&Files::shop(), &["--format", "sarif"], 0));
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    let codes = dockgate::policy::codes::CODES;
    assert_eq!(rules.len(), codes.len());
    for (rule, code) in rules.iter().zip(codes) {
        assert_eq!((&rule["id"], &rule["fullDescription"]["text"]), (&json!(code.id), &json!(code.explanation)));
        assert_eq!(rule["defaultConfiguration"]["level"], json!(code.severity.to_string()));
    }
}

#[test]
fn a_report_goes_to_a_file_whole() {
    let files = ten();
    for (form, begins) in [("sarif", "{"), ("junit", "<?xml"), ("human", "error[DG2003]")] {
        let path = files.path().join("report");
        fs::write(&path, "an earlier one").unwrap();
        let stdout = report(&files, &["--format", form, "--output", "report", "--color", "always"], 1);
        assert_eq!(stdout, "10 errors in 2 files (1 resource)\n", "{form}");
        let written = fs::read_to_string(&path).unwrap();
        assert_eq!(written, report(&files, &["--format", form], 1), "{form}");
        assert!(written.starts_with(begins), "{form}: {written}");
    }
    let left: Vec<_> = fs::read_dir(files.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn what_is_no_file_is_written_to_and_not_replaced() {
    let stdout = report(&ten(), &["--format", "github", "--output", "/dev/null"], 1);
    assert_eq!(stdout, "10 errors in 2 files (1 resource)\n");
    assert!(fs::metadata("/dev/null").is_ok_and(|metadata| !metadata.is_file()));
}

#[test]
fn the_name_of_a_form_is_no_file() {
    let files = Files::shop();
    for form in ["human", "json", "sarif", "junit", "github", "gitlab"] {
        let answer = files.run(&["validate", "policies", "--output", form]);
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{answer:?}");
        assert!(answer.stderr.contains(&format!("`--format {form}`")), "{answer:?}");
        assert!(!files.path().join(form).exists());
    }
    let explicit = files.run(&["validate", "policies", "--output", "./json"]);
    assert_eq!(explicit.code, Some(0), "{explicit:?}");
    let unwritable = files.run(&["validate", "policies", "--output", "nowhere/report"]);
    assert_eq!((unwritable.code, unwritable.stdout.as_str()), (Some(2), ""), "{unwritable:?}");
}

#[test]
fn what_a_comment_ignores_is_not_told_and_does_not_fail() {
    let text = REMARKS.replace("egress:\n", "egress: # dockgate:ignore DG3101 until May\n");
    let files = Files::new(&[("policies/web.yaml", &text)]);
    let human = report(&files, &["--strict"], 0);
    assert!(human.ends_with("1 note in 1 file (1 resource); 1 ignored by a comment\n"), "{human}");
    let json: Value = serde_json::from_str(&report(&files, &["-o", "json"], 0)).unwrap();
    assert_eq!((&json["warnings"], json["diagnostics"].as_array().unwrap().len()), (&json!(0), 1));
    let suppressed = &json["suppressed"][0];
    assert_eq!((&suppressed["code"], &suppressed["line"]), (&json!("DG3101"), &json!(9)));
    assert_eq!((&suppressed["by"], &suppressed["reason"]), (&json!("comment"), &json!("until May")));
    let log = sarif(&report(&files, &["-o", "sarif"], 0));
    let suppressions: Vec<_> =
        log["runs"][0]["results"].as_array().unwrap().iter().map(|result| &result["suppressions"]).collect();
    assert_eq!(suppressions, [&json!([]), &json!([{"kind": "inSource", "justification": "until May"}])]);
    for form in ["junit", "github", "gitlab"] {
        assert!(!report(&files, &["--format", form], 0).contains("DG3101"), "{form}");
    }
}

#[test]
fn run_and_the_other_commands_do_not_care_what_is_ignored() {
    let text = format!("# dockgate:ignore DG3001,DG9999 that\n{POLICY}").replace("name: allow", "name: Allow");
    let files = Files::new(&[("policies/web.yaml", &text), ("inventory.yaml", INVENTORY)]);
    let answer = files.run(&["get", "policies", "--policies", "policies", "--inventory", "inventory.yaml"]);
    assert_eq!(answer.code, Some(2), "{answer:?}");
    assert!(answer.stderr.contains("error[DG3001]") && !answer.stderr.contains("DG90"), "{answer:?}");
}

#[test]
fn a_baseline_leaves_what_is_new() {
    let files = Files::new(&[("policies/web.yaml", REMARKS)]);
    let first = report(&files, &["--strict", "--write-baseline", ".baseline.json"], 0);
    assert_eq!(first, "no problems in 1 file (1 resource); 2 in the baseline\n");
    let written = fs::read_to_string(files.path().join(".baseline.json")).unwrap();
    let baseline: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(baseline["findings"][0]["code"], "DG3101");
    assert_eq!(baseline["findings"][0]["file"], "policies/web.yaml");
    assert_eq!(written.lines().count(), 7, "a line for each finding: {written}");

    // Lines shift, and one more finding comes.
    let second = REMARKS.replace("name: web", "name: api");
    fs::write(files.path().join("policies/web.yaml"), format!("# moved\n{REMARKS}---\n{second}")).unwrap();
    let text = report(&files, &["--strict", "--baseline", ".baseline.json"], 1);
    assert!(text.ends_with("\n1 warning, 1 note in 1 file (2 resources); 2 in the baseline\n"), "{text}");
    assert!(text.contains("policies/web.yaml:21:3"), "{text}");

    // Another path that leads to the same file.
    let absolute = files.path().canonicalize().unwrap().join("policies");
    let again = files.run(&["validate", absolute.to_str().unwrap(), "--baseline", ".baseline.json"]);
    assert!(again.stdout.ends_with("2 in the baseline\n"), "{again:?}");

    // What is gone is told, in the line of the baseline.
    fs::write(files.path().join("policies/web.yaml"), POLICY).unwrap();
    let text = report(&files, &["--strict", "--baseline", ".baseline.json"], 0);
    assert!(text.contains("note[DG9005]: DG3101 in policies/web.yaml is gone"), "{text}");
    assert!(text.contains("--> .baseline.json:4:5"), "{text}");
    assert!(text.ends_with("\n2 notes in 1 file (1 resource)\n"), "{text}");

    // Of files that were not looked at nothing is known.
    fs::write(files.path().join("other.yaml"), POLICY).unwrap();
    let other = files.run(&["validate", "other.yaml", "--baseline", ".baseline.json"]);
    assert_eq!(other.stdout, "no problems in 1 file (1 resource)\n");
}

#[test]
fn a_baseline_holds_no_errors() {
    let files = ten();
    let text = report(&files, &["--write-baseline", "baseline.json"], 1);
    assert!(text.ends_with("\n10 errors in 2 files (1 resource)\n"), "{text}");
    assert!(!fs::read_to_string(files.path().join("baseline.json")).unwrap().contains("DG"));
}

#[test]
fn a_baseline_that_cannot_be_used_is_no_answer() {
    let files = Files::new(&[("policies/web.yaml", REMARKS), ("bad.json", "{}")]);
    for (name, arguments, expected) in [
        ("missing", &["--baseline", "none.json"][..], "error: there is no baseline none.json\nhelp: "),
        ("damaged", &["--baseline", "bad.json"], "error: cannot use bad.json: the baseline is not what"),
        ("both", &["--baseline", "a", "--write-baseline", "b"], "error: the argument '--baseline <FILE>' cannot be"),
        ("unwritable", &["--write-baseline", "no/where"], "error: cannot write no/where"),
    ] {
        let answer = files.run(&[&["validate", "policies"], arguments].concat());
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{name}: {answer:?}");
        assert!(answer.stderr.starts_with(expected), "{name}: {answer:?}");
    }
}

#[test]
fn a_code_is_explained() {
    let files = Files::new(&[]);
    let answer = files.run(&["explain-code", "dg2004"]);
    let expected = "error[DG2004]: unknown field\n\nThe kind has no such field. Unknown fields are errors because a misspelt \
                    `notSelector` widens a rule.\n";
    assert_eq!((answer.stdout.as_str(), answer.code), (expected, Some(0)));
    let json = files.run(&["explain-code", "DG2004", "-o", "json"]).json();
    assert_eq!((&json["code"], &json["severity"]), (&json!("DG2004"), &json!("error")));

    let all = files.run(&["explain-code"]);
    let codes: Vec<_> = all.stdout.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(codes, dockgate::policy::codes::CODES.iter().map(|code| code.id).collect::<Vec<_>>());
    let listed = files.run(&["explain-code", "-o", "json"]).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(codes.len()));

    for (code, help) in [("DG204", "did you mean `DG2004`?"), ("E0308", "`dockgate explain-code` lists all codes")] {
        let answer = files.run(&["explain-code", code]);
        let expected = format!("error: there is no code {code}\nhelp: {help}\n");
        assert_eq!((answer.stderr, answer.stdout.as_str(), answer.code), (expected, "", Some(2)));
    }
}

#[test]
fn a_report_and_a_baseline_take_the_place_of_nothing_that_is_read() {
    let files = Files::shop();
    let link = files.path().join("link");
    std::os::unix::fs::symlink(files.path().join("policies/web.yaml"), &link).unwrap();
    for (option, target) in [
        ("--output", "policies/web.yaml"),
        ("--output", "link"),
        ("--output", "inventory.yaml"),
        ("--write-baseline", "./policies/web.yaml"),
    ] {
        let answer = files.run(&["validate", "policies", "--inventory", "inventory.yaml", option, target]);
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{answer:?}");
        assert!(answer.stderr.contains("is one of the files that are read"), "{answer:?}");
        let read = |name: &str| fs::read_to_string(files.path().join(name)).unwrap();
        assert_eq!((read("policies/web.yaml").as_str(), read("inventory.yaml").as_str()), (POLICY, INVENTORY));
    }
}
