//! Variables, environment files and ports: what a text means.

use std::collections::{BTreeMap, BTreeSet};

use crate::inventory::compose::template::{Problem, substitute};
use crate::inventory::compose::{environment, ports};
use crate::policy::SourceFile;

fn variables() -> BTreeMap<String, String> {
    [("SET", "value"), ("EMPTY", ""), ("_x1", "low")].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

#[test]
fn variables_are_substituted_as_compose_does_it() {
    for (template, expected) in [
        ("plain", "plain"),
        ("$SET-${SET}", "value-value"),
        ("$SETx", ""),
        ("${_x1}$_x1.", "lowlow."),
        ("$UNSET|${UNSET}", "|"),
        ("${SET:-d}${EMPTY:-d}${UNSET:-d}", "valuedd"),
        ("${SET-d}${EMPTY-d}${UNSET-d}", "valued"),
        ("${SET:+r}${EMPTY:+r}${UNSET:+r}", "r"),
        ("${SET+r}${EMPTY+r}${UNSET+r}", "rr"),
        ("${SET:?e}${SET?e}${EMPTY?e}", "valuevalue"),
        ("${UNSET:-${EMPTY:-$SET}}!", "value!"),
        ("${UNSET:-a:-b?c}", "a:-b?c"),
        ("${UNSET:-{}}", "{}"),
        ("$$SET $${SET} $$$SET", "$SET ${SET} $value"),
        ("$1 $ a$", "$1 $ a$"),
    ] {
        let result = substitute(template, &variables(), &mut BTreeSet::new());
        assert_eq!(result, Ok(expected.to_owned()), "{template}");
    }
}

#[test]
fn what_cannot_be_substituted_says_why() {
    let required = |name: &str, reason: &str| Problem::Required { name: name.to_owned(), reason: reason.to_owned() };
    for (template, expected) in [
        ("${UNSET:?set it}", required("UNSET", "set it")),
        ("${EMPTY:?}", required("EMPTY", "")),
        ("${UNSET?no $SET}", required("UNSET", "no value")),
        ("a ${SET", Problem::Invalid("${SET".to_owned())),
        ("${}", Problem::Invalid("${}".to_owned())),
        ("${ SET}", Problem::Invalid("${ SET}".to_owned())),
        ("${SET!}", Problem::Invalid("${SET!}".to_owned())),
        ("${1}", Problem::Invalid("${1}".to_owned())),
        (&format!("{}{}", "${X:-".repeat(50), "}".repeat(50)), Problem::Deep),
    ] {
        assert_eq!(substitute(template, &variables(), &mut BTreeSet::new()), Err(expected), "{template}");
    }
    let mut unset = BTreeSet::new();
    assert_eq!(substitute("$A ${B} ${C:-}", &variables(), &mut unset), Ok("  ".to_owned()));
    assert_eq!(unset.into_iter().collect::<Vec<_>>(), ["A", "B"], "one with a default is not needed");
}

#[test]
fn environment_files_are_read_as_compose_reads_them() {
    let text = "\u{feff}# comment

A=plain # comment
  export B = spaced  \r
C: yaml
D=\"double $SET\\n\\$SET \\\"q\\\"\" # comment
E='single $SET \\n it\\'s'
F=\"two
lines\"
G=${A}+${F}
H=a#b
I=
SET=own
J=$SET
SET
MISSING
K.x-1[0]=odd
";
    let (set, findings) = environment::read(&SourceFile::new(".env", text), &variables());
    assert_eq!(findings, []);
    let set: Vec<String> = set.iter().map(|(name, value)| format!("{name}={}", value.escape_debug())).collect();
    assert_eq!(
        set,
        [
            "A=plain",
            "B=spaced",
            "C=yaml",
            "D=double value\\n$SET \\\"q\\\"",
            "E=single $SET \\\\n it\\'s",
            "F=two\\nlines",
            "G=plain+two\\nlines",
            "H=a#b",
            "I=",
            "J=value",
            "K.x-1[0]=odd",
            "SET=value",
        ]
    );
}

#[test]
fn environment_files_say_in_which_line_they_are_wrong() {
    let text = "A=1\nB=\"two\nlines\"\nwrong name=1\nC=${X:?why}\nD='open\nE=1\n";
    let (set, findings) = environment::read(&SourceFile::new(".env", text), &BTreeMap::new());
    let found: Vec<String> = findings.iter().map(|f| format!("{}:{} {}", f.code, f.location.line, f.message)).collect();
    assert_eq!(
        found,
        [
            "DG3062:4 `wrong name` is not the name of a variable",
            "DG3062:5 the variable `X` is required and not set: why",
            "DG3062:6 a quoted value does not end",
        ]
    );
    assert_eq!(set.keys().collect::<Vec<_>>(), ["A", "B", "C", "E"], "the rest is read all the same");
}

#[test]
fn ports_in_the_short_form() {
    let read = |text: &str| -> Result<String, String> {
        let ports = ports::short(text).map_err(|problem| problem.code.id.to_owned())?;
        let text = |port: &crate::inventory::PublishedPort| {
            let address = port.host_address.map_or(String::new(), |address| format!("{address} "));
            let host = port.host_port.map_or("?".to_owned(), |port| port.to_string());
            format!("{address}{host}->{}/{}", port.container_port, port.protocol)
        };
        Ok(ports.iter().map(text).collect::<Vec<_>>().join(", "))
    };
    for (text, expected) in [
        ("80", "?->80/TCP"),
        ("8080:80", "8080->80/TCP"),
        ("8080:80/udp", "8080->80/UDP"),
        ("80/SCTP", "?->80/SCTP"),
        ("0:80", "?->80/TCP"),
        (":80", "?->80/TCP"),
        ("127.0.0.1:8080:80", "127.0.0.1 8080->80/TCP"),
        ("127.0.0.1::80", "127.0.0.1 ?->80/TCP"),
        ("[::1]:8080:80", "::1 8080->80/TCP"),
        ("::1:8080:80", "::1 8080->80/TCP"),
        ("3000-3002", "?->3000/TCP, ?->3001/TCP, ?->3002/TCP"),
        ("8000-8001:80-81/udp", "8000->80/UDP, 8001->81/UDP"),
        ("8000-8010:80", "?->80/TCP"),
        ("0.0.0.0:1-2:3-4", "0.0.0.0 1->3/TCP, 0.0.0.0 2->4/TCP"),
    ] {
        assert_eq!(read(text), Ok(expected.to_owned()), "{text}");
    }
    for (text, code) in [
        ("", "DG3013"),
        ("http", "DG3013"),
        ("0", "DG3013"),
        ("65536", "DG3013"),
        ("80:", "DG3013"),
        ("+1:80", "DG3013"),
        ("2-1", "DG3013"),
        ("1-3:80-81", "DG3013"),
        ("80/icmp", "DG3013"),
        ("80/", "DG3013"),
        ("web:80:80", "DG3042"),
        ("[::1:80:80", "DG3042"),
    ] {
        assert_eq!(read(text), Err(code.to_owned()), "{text}");
    }
}
