//! Findings as a SARIF 2.1.0 log, which code scanning services and editors read.
//!
//! Input: a report. Output: one run. The rules are all codes, also those without a finding, so that a rule's index does not
//! depend on what was found. Findings that are not told are in the log with their suppression, as the standard wants it.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::policy::Severity;
use crate::policy::codes::{CODES, Code};
use crate::policy::suppress::{Finding, Suppression, relative};

use super::report::{Report, message};

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// Stands for the directory that paths are relative to.
const ROOT: &str = "%SRCROOT%";

pub(super) fn log(report: &Report<'_>) -> Value {
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": "dockgate",
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "rules": CODES.iter().map(rule).collect::<Vec<_>>(),
                },
            },
            "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": { ROOT: { "description": { "text": "The directory that dockgate was started in." } } },
            "results": report.findings.iter().map(|finding| result(report, finding)).collect::<Vec<_>>(),
        }],
    })
}

fn rule(code: &Code) -> Value {
    json!({
        "id": code.id,
        "name": pascal_case(code.name),
        "shortDescription": { "text": capitalized(code.title) + "." },
        "fullDescription": { "text": code.explanation },
        "help": { "text": format!("{}\n\n`dockgate explain-code {}` prints this text.", code.explanation, code.id) },
        "defaultConfiguration": { "level": level(code.severity) },
    })
}

fn result(report: &Report<'_>, finding: &Finding) -> Value {
    let Finding { diagnostic, fingerprint, suppressed } = finding;
    let mut result = json!({
        "ruleId": diagnostic.code,
        "level": level(diagnostic.severity),
        "message": { "text": message(diagnostic) },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": artifact(&diagnostic.location.file, report.base),
                "region": { "startLine": diagnostic.location.line, "startColumn": diagnostic.location.column },
            },
        }],
        "partialFingerprints": { "dockgateFinding/v1": fingerprint },
    });
    if let Some(index) = CODES.iter().position(|code| code.id == diagnostic.code) {
        result["ruleIndex"] = index.into();
    }
    if !diagnostic.field.is_empty() {
        result["locations"][0]["logicalLocations"] = json!([{ "fullyQualifiedName": diagnostic.field }]);
    }
    match suppressed {
        Some(Suppression::Comment { reason }) => {
            result["suppressions"] = json!([{ "kind": "inSource", "justification": reason }]);
        }
        Some(Suppression::Baseline) => {
            result["suppressions"] = json!([{ "kind": "external", "justification": "known in the baseline" }]);
        }
        // Where some results have the list, those without any have an empty one (3.27.23).
        None => result["suppressions"] = json!([]),
    }
    result
}

/// Where a file is: relative to the root where it is below it, else as it is.
fn artifact(file: &Path, base: &Path) -> Value {
    let path = relative(file, base);
    if path.is_absolute() {
        json!({ "uri": format!("file://{}", percent_encoded(&path)) })
    } else {
        json!({ "uri": percent_encoded(&path), "uriBaseId": ROOT })
    }
}

/// A path as that of a URI (RFC 3986): what is not unreserved there is encoded, whatever bytes the name holds.
fn percent_encoded(path: &Path) -> String {
    let path = path.as_os_str().as_bytes();
    let mut encoded = String::with_capacity(path.len());
    for byte in path {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(byte) {
            encoded.push(char::from(*byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

/// `UNKNOWN_FIELD` as `UnknownField`.
fn pascal_case(constant: &str) -> String {
    constant.split('_').map(|word| capitalized(&word.to_lowercase())).collect()
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_from_the_root_or_absolutely() {
        let base = Path::new("/work/repository");
        for (name, file, expected) in [
            ("relative", "./policies/a b.yaml", json!({ "uri": "policies/a%20b.yaml", "uriBaseId": ROOT })),
            ("below the root", "/work/repository/a.yaml", json!({ "uri": "a.yaml", "uriBaseId": ROOT })),
            ("elsewhere", "/etc/ü.yaml", json!({ "uri": "file:///etc/%C3%BC.yaml" })),
            ("standard input", "<stdin>", json!({ "uri": "%3Cstdin%3E", "uriBaseId": ROOT })),
        ] {
            assert_eq!(artifact(Path::new(file), base), expected, "{name}");
        }
    }

    #[test]
    fn every_byte_of_a_name_is_in_the_uri() {
        let file = Path::new(std::ffi::OsStr::from_bytes(b"a\xff\n.yaml"));
        assert_eq!(artifact(file, Path::new("/")), json!({ "uri": "a%FF%0A.yaml", "uriBaseId": ROOT }));
    }

    #[test]
    fn names_are_words_for_people() {
        assert_eq!(pascal_case("UNKNOWN_FIELD"), "UnknownField");
        assert_eq!(pascal_case("NOT_UTF8"), "NotUtf8");
        assert_eq!(capitalized("wrong type"), "Wrong type");
        assert_eq!(capitalized(""), "");
    }
}
