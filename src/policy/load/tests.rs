use super::*;

fn loaded(files: &[(&str, &str)]) -> Loaded {
    load(&files.iter().map(|(path, text)| SourceFile::new(*path, *text)).collect::<Vec<_>>())
}

/// Codes and places of all findings.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    loaded(files).diagnostics.iter().map(|d| format!("{} {}", d.code, d.location)).collect()
}

fn policy(kind: &str, namespace: &str, name: &str, spec: &str) -> String {
    let group = if kind == "KubernetesNetworkPolicy" { "networking.k8s.io/v1" } else { "projectcalico.org/v3" };
    let kind = kind.strip_prefix("Kubernetes").unwrap_or(kind);
    let namespace = if namespace.is_empty() { String::new() } else { format!(", namespace: {namespace}") };
    format!("apiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}{namespace}}}\nspec: {spec}\n")
}

#[test]
fn policies_are_in_evaluation_order() {
    let text = [
        policy("NetworkPolicy", "n", "a", "{order: 5}"),
        policy("NetworkPolicy", "n", "a-b", "{order: 5}"),
        policy("GlobalNetworkPolicy", "", "a", "{order: 5}"),
        policy("GlobalNetworkPolicy", "", "last", "{}"),
        policy("GlobalNetworkPolicy", "", "half", "{order: 0.5}"),
        policy("GlobalNetworkPolicy", "", "first", "{order: -1}"),
        policy("KubernetesNetworkPolicy", "n", "a", "{}"),
        policy("GlobalNetworkPolicy", "", "baseline", "{tier: kube-baseline, order: -5}"),
        policy("GlobalNetworkPolicy", "", "admin", "{tier: kube-admin}"),
        policy("GlobalNetworkPolicy", "", "own", "{tier: own}"),
        policy("Tier", "", "own", "{order: 1000}"),
    ]
    .join("---\n");
    let order: Vec<String> = loaded(&[("p", &text)])
        .policies
        .policies
        .iter()
        .map(|policy| format!("{}/{}", policy.key.kind.name(), policy.key))
        .collect();
    let expected = [
        "GlobalNetworkPolicy/admin",
        "GlobalNetworkPolicy/own",
        "GlobalNetworkPolicy/first",
        "GlobalNetworkPolicy/half",
        "NetworkPolicy/n/a-b",
        "GlobalNetworkPolicy/a",
        "NetworkPolicy/n/a",
        "KubernetesNetworkPolicy/n/a",
        "GlobalNetworkPolicy/last",
        "GlobalNetworkPolicy/baseline",
    ];
    assert_eq!(order, expected);
}

#[test]
fn a_resource_may_be_defined_once() {
    let a = policy("GlobalNetworkPolicy", "", "a", "{order: 1}");
    let b = policy("GlobalNetworkPolicy", "", "a", "{order: 2}");
    assert_eq!(found(&[("2", &b), ("1", &a)]), ["DG3030 2:3:18"]);
    assert_eq!(loaded(&[("2", &b), ("1", &a)]).policies.policies[0].order.0, Some(1.0));
    let both = format!("{a}---\n{b}");
    let message = &loaded(&[("1", &both)]).diagnostics[0].message;
    assert_eq!(message, "GlobalNetworkPolicy `a` is defined already at 1:3:18");
    let broken = a.replace("order", "odrer");
    assert_eq!(found(&[("1", &broken), ("2", &b)]), ["DG2004 1:4:8", "DG3030 2:3:18"]);
    let others = [
        policy("NetworkPolicy", "n", "a", "{}"),
        policy("NetworkPolicy", "m", "a", "{}"),
        policy("KubernetesNetworkPolicy", "n", "a", "{}"),
        policy("StagedGlobalNetworkPolicy", "", "a", "{}"),
    ]
    .join("---\n");
    assert_eq!(found(&[("1", &a), ("2", &others)]), Vec::<String>::new());
}

#[test]
fn valid_resources_are_there_beside_invalid_ones() {
    let good = policy("GlobalNetworkPolicy", "", "good", "{}");
    let bad = policy("GlobalNetworkPolicy", "", "bad", "{selector: '('}");
    let loaded = loaded(&[("p", &format!("{bad}---\n{good}---\nx: ["))]);
    assert_eq!(loaded.policies.policies.len(), 1);
    assert_eq!(loaded.resources, BTreeMap::from([("GlobalNetworkPolicy".to_owned(), 2)]));
    assert_eq!(loaded.diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), ["DG3010", "DG1001"]);
}

#[test]
fn the_items_of_lists_are_documents() {
    let item = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: NAME}, spec: {SPEC}}";
    let item = |name: &str, spec: &str| item.replace("NAME", name).replace("SPEC", spec);
    for (header, expected) in [
        ("apiVersion: v1\nkind: List\n", vec!["DG2004 p:5:93"]),
        ("apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicyList\n", vec!["DG2004 p:5:93"]),
        ("apiVersion: v1\nkind: GlobalNetworkPolicyList\n", vec!["DG2003 p:2:7"]),
    ] {
        let text = format!("{header}items:\n- {}\n- {}\n", item("a", ""), item("b", "x: 1"));
        assert_eq!(found(&[("p", &text)]), expected, "{header}");
    }
    let text = format!("apiVersion: v1\nkind: List\nitems:\n- {}\n- {}\n", item("a", ""), item("b", "x: 1"));
    let loaded = loaded(&[("p", &text)]);
    assert_eq!((loaded.policies.policies.len(), loaded.diagnostics[0].field.as_str()), (1, "items[1].spec.x"));
    let list = "apiVersion: v1\nkind: List\n";
    for (name, rest, expected) in [
        ("no items", "", vec!["DG2005 p:1:1"]),
        ("not a list", "items: {}\n", vec!["DG2006 p:3:8"]),
        ("not mappings", "items: [1]\nmore: 2\n", vec!["DG1007 p:3:9", "DG2004 p:4:1"]),
        ("without a kind", "items: [{}]\n", vec!["DG2001 p:3:9", "DG2001 p:3:9"]),
    ] {
        assert_eq!(found(&[("p", &format!("{list}{rest}"))]), expected, "{name}");
    }
}

#[test]
fn documents_that_are_no_policies_are_told_apart() {
    for (name, text, code, help) in [
        ("nothing known", "a: 1\n", "DG2001", None),
        ("a Compose file", "services: {web: {image: nginx}}\n", "DG3202", None),
        ("an inventory", "apiVersion: dockgate.io/v1alpha1\nkind: Inventory\nspec: {}\n", "DG3202", None),
        ("a test", "apiVersion: dockgate.io/v1alpha1\nkind: PolicyTest\n", "DG3202", None),
        (
            "a host endpoint",
            "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\n",
            "DG4005",
            Some("dockgate polices containers, not the host's own interfaces"),
        ),
        (
            "a misspelt kind",
            "apiVersion: projectcalico.org/v3\nkind: NetworkPolcy\n",
            "DG2003",
            Some("did you mean `NetworkPolicy`?"),
        ),
        (
            "a kind of another group",
            "apiVersion: networking.k8s.io/v1\nkind: Tier\n",
            "DG2003",
            Some("Tier belongs to `projectcalico.org/v3`"),
        ),
        (
            "Calico's internal group",
            "apiVersion: crd.projectcalico.org/v1\nkind: GlobalNetworkPolicy\n",
            "DG2002",
            Some("GlobalNetworkPolicy belongs to `projectcalico.org/v3`"),
        ),
        (
            "another version",
            "apiVersion: networking.k8s.io/v1beta1\nkind: NetworkPolicy\n",
            "DG2002",
            Some("did you mean `networking.k8s.io/v1`?"),
        ),
        (
            "Calico's internal group, a kind of two groups",
            "apiVersion: crd.projectcalico.org/v1\nkind: NetworkPolicy\n",
            "DG2002",
            Some("NetworkPolicy belongs to `projectcalico.org/v3`"),
        ),
        (
            "a former group of Kubernetes",
            "apiVersion: extensions/v1beta1\nkind: NetworkPolicy\n",
            "DG2002",
            Some("NetworkPolicy belongs to `networking.k8s.io/v1`"),
        ),
        (
            "another group",
            "apiVersion: apps/v1\nkind: Deployment\n",
            "DG2002",
            Some("policies are of `projectcalico.org/v3` or `networking.k8s.io/v1`"),
        ),
        (
            "another project's policy",
            "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n",
            "DG4005",
            Some("use a GlobalNetworkPolicy of `projectcalico.org/v3`"),
        ),
        (
            "something else",
            "apiVersion: v1\nkind: ConfigMap\n",
            "DG2003",
            Some("leave it out: only policies, network sets and tiers are read"),
        ),
        (
            "a list without a List",
            "- apiVersion: projectcalico.org/v3\n",
            "DG1007",
            Some("put several resources under `items:` of a `v1` List, or `---` between them"),
        ),
        ("a number", "apiVersion: 1\nkind: Tier\n", "DG2006", None),
    ] {
        let loaded = loaded(&[("p", text)]);
        let finding = loaded.diagnostics.iter().find(|found| found.code == code);
        let finding = finding.unwrap_or_else(|| panic!("{name}: {:?}", loaded.diagnostics));
        assert_eq!(finding.help.as_deref(), help, "{name}");
        assert!(loaded.policies.policies.is_empty());
    }
    assert_eq!(found(&[("p", "kind: Tier\nmetadata: {name: a}\nspec: {}\n")]), ["DG2001 p:1:1"]);
}

#[test]
fn every_code_that_is_emitted_is_in_the_table() {
    let texts = [
        policy("GlobalNetworkPolicy", "", "UPPER", "{tier: x, selector: '(', types: [Up], order: a}"),
        policy("NetworkPolicy", "", "x", "{ingress: [{action: Allow, protocol: tcp}], types: [Egress]}"),
        "x: [\n---\n- 1\n---\na: 1\na: 2\n".to_owned(),
    ];
    let files: Vec<SourceFile> = texts.iter().map(|text| SourceFile::new("p", text)).collect();
    let loaded = load(&files);
    assert!(loaded.diagnostics.len() > 6);
    for diagnostic in loaded.diagnostics {
        assert!(codes::CODES.iter().any(|code| code.id == diagnostic.code), "{}", diagnostic.code);
    }
}

#[test]
fn an_ambiguous_resource_is_not_there() {
    let text = policy("GlobalNetworkPolicy", "", "a", "{ingress: [{action: Deny}], ingress: [{action: Allow}]}");
    let loaded = loaded(&[("p", &text)]);
    assert_eq!(loaded.diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), ["DG1002"]);
    assert!(loaded.policies.policies.is_empty());
}

#[test]
fn faults_of_shape_and_of_meaning_are_found_together() {
    let text = "\
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {}
spec:
  selector: a = 'b'
  types: [ingress, Egress]
  ingress:
  - action: allow
    protocol: tcp
    source: {notselector: c, nets: [10.0.0.1/8, 5], ports: [x-]}
  - protocl: TCP
    destination: {ports: [80, 0]}
";
    let fields: Vec<String> = loaded(&[("p", text)])
        .diagnostics
        .iter()
        .map(|d| format!("{} {} {}", d.location.line, d.code, d.field))
        .collect();
    let expected = [
        "3 DG2005 metadata.name",
        "5 DG3010 spec.selector",
        "6 DG2007 spec.types[0]",
        "8 DG2007 spec.ingress[0].action",
        "9 DG3012 spec.ingress[0].protocol",
        "10 DG2004 spec.ingress[0].source.notselector",
        "10 DG3020 spec.ingress[0].source.nets[0]",
        "10 DG2006 spec.ingress[0].source.nets[1]",
        "10 DG3013 spec.ingress[0].source.ports[0]",
        "11 DG2004 spec.ingress[1].protocl",
        "11 DG2005 spec.ingress[1].action",
        "12 DG2008 spec.ingress[1].destination.ports[1]",
    ];
    assert_eq!(fields, expected);
}

mod arbitrary {
    use proptest::prelude::*;

    use super::*;

    /// Pieces from which texts are made that come close to policies.
    fn piece() -> impl Strategy<Value = String> {
        const PIECES: &[&str] = &[
            "apiVersion: projectcalico.org/v3\n",
            "kind: NetworkPolicy\n",
            "kind: List\nitems:\n",
            "metadata: {name: a}\n",
            "spec:\n",
            "  selector: a == 'b'\n",
            "  ingress:\n",
            "  - action: Allow\n",
            "    source: {nets: [10.0.0.0/8]}\n",
            "---\n",
            "...\n",
            "- ",
            "? ",
            ": ",
            "&a ",
            "*a ",
            "<<: *a\n",
            "!x ",
            "'",
            "\"",
            "\\",
            "[",
            "]",
            "{",
            "}",
            "|\n",
            ">-\n",
            "\t",
            "  ",
            "\n",
            "\r\n",
            "\u{feff}",
            "#",
            "%YAML 1.2\n",
            "ü",
            "\u{0}",
            "~",
            "0755",
            ".inf",
            "1e999",
            "99999999999999999999999999999999999999999",
            "order: -0.0\n",
        ];
        prop_oneof![4 => proptest::sample::select(PIECES).prop_map(str::to_owned), 1 => any::<String>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever a file holds, loading ends, and every finding has a place in the file and a code in the table.
        #[test]
        fn any_text_is_loaded(pieces in proptest::collection::vec(piece(), 0..40)) {
            let text = pieces.concat();
            let loaded = load(&[SourceFile::new("p", text.as_str())]);
            let lines = u32::try_from(text.lines().count().max(1)).expect("few lines");
            for finding in loaded.diagnostics {
                prop_assert!((1..=lines).contains(&finding.location.line), "{finding:?} in {text:?}");
                prop_assert!(finding.location.column >= 1);
                prop_assert!(codes::CODES.iter().any(|code| code.id == finding.code));
            }
        }

        /// A policy with one character changed is in force or reported, but never silently gone.
        #[test]
        fn a_damaged_policy_is_still_loaded(at in 0usize..200, with in any::<char>()) {
            let text = policy("GlobalNetworkPolicy", "", "a", "{selector: b == 'c', ingress: [{action: Allow, protocol: TCP}]}");
            let at = at % text.len();
            let damaged = format!("{}{with}{}", &text[..at], &text[at + 1..]);
            let loaded = load(&[SourceFile::new("p", damaged.as_str())]);
            prop_assert!(loaded.policies.policies.len() == 1 || !loaded.diagnostics.is_empty(), "{damaged:?}");
        }
    }
}

#[test]
#[rustfmt::skip]
fn mistakes_are_told_in_words_that_help() {
    let with = |spec: &str| policy("NetworkPolicy", "n", "a", spec);
    let rule = |fields: &str| with(&format!("{{ingress: [{{{fields}}}]}}"));
    let kubernetes = |spec: &str| policy("KubernetesNetworkPolicy", "n", "a", spec);
    let list = |item: &str, count: usize| vec![item; count].join(", ");
    let bomb = ('b'..='h').fold(format!("a: &a [{}]\n", list("x", 20)), |text, name| {
        text + &format!("{name}: &{name} [{}]\n", list(&format!("*{}", char::from(name as u8 - 1)), 20))
    });
    let kinds = "`Allow`, `Deny`, `Log`, `Pass`";
    let mut differing = Vec::new();
    for (name, text, message, help) in [
        ("too deep", format!("a: {}{}\n", "[".repeat(40), "]".repeat(40)), "the document is nested more than 32 levels deep".to_owned(), ""),
        ("too many aliases", bomb, "the document has more than 500000 values, with aliases expanded".to_owned(), "write values out instead of repeating them by aliases, or split the document"),
        ("an empty key", "~: 1\n".to_owned(), "a key is empty".to_owned(), "give it a name, or put quotes around it if it is to be `null` or `~`"),
        ("a key that is no text", "? {a: b}\n: 1\n".to_owned(), "a key must be text".to_owned(), "put quotes around text that begins with `{` or `[`"),
        ("a merge of nothing", "a: {<<: 5}\n".to_owned(), "`<<` takes in something that is no mapping".to_owned(), "give it an alias of a mapping, such as `<<: *defaults`"),
        ("an alias without an anchor", "b: *x\n".to_owned(), "an alias without its anchor".to_owned(), "an anchor counts in its own document and below it; put quotes around text that begins with `*`"),
        ("an alias of itself", "a: &a [*a]\n".to_owned(), "an alias within the value that it stands for".to_owned(), "write the value out"),
        ("a tab beside a template", "a: {{ .Values.a }}\nb: 1\nc:\n\td: 1\n".replace("{{ .Values.a }}", "\"{{ .Values.a }}\""), "tabs disallowed within this context (block indentation)".to_owned(), "indent with spaces"),
        ("a template", "metadata:\n{{- if .x }}\n  name: a\n{{- end }}\n".to_owned(), "\"-\" is only valid inside a block".to_owned(), "this is a template: render it first, e.g. with `helm template`"),
        ("a field in lower case", "apiversion: v1\nkind: List\nitems: []\n".to_owned(), "the field `apiVersion` is required".to_owned(), "write `apiVersion` instead of `apiversion`"),
        ("a field in upper case", "apiVersion: v1\nKind: List\nitems: []\n".to_owned(), "the field `kind` is required".to_owned(), "write `kind` instead of `Kind`"),
        ("no apiVersion", "kind: NetworkPolicy\n".to_owned(), "the field `apiVersion` is required".to_owned(), "NetworkPolicy belongs to `networking.k8s.io/v1` or `projectcalico.org/v3`"),
        ("an action of iptables", rule("action: Drop"), format!("`Drop` is not one of {kinds}"), "write `Deny`"),
        ("an action of iptables in upper case", rule("action: ACCEPT"), format!("`ACCEPT` is not one of {kinds}"), "write `Allow`"),
        ("another action of iptables", rule("action: Reject"), format!("`Reject` is not one of {kinds}"), "write `Deny`"),
        ("an action in lower case", rule("action: allow"), format!("`allow` is not one of {kinds}"), "did you mean `Allow`?"),
        ("a choice of numbers", rule("action: Allow, ipVersion: 5"), "`5` is not one of `4`, `6`".to_owned(), ""),
        ("a direction of others", with("{types: [Inbound]}"), "`Inbound` is not one of `Ingress`, `Egress`".to_owned(), "write `Ingress`"),
        ("an optional choice", policy("Tier", "", "a", "{defaultAction: Drop}"), "`Drop` is not one of `Deny`, `Pass`".to_owned(), "write `Deny`"),
        ("ports of a rule", rule("action: Allow, protocol: TCP, ports: [80]"), "unknown field `ports`".to_owned(), "put it under `destination`: `destination: {ports: ...}`"),
        ("a port of a rule", rule("action: Allow, protocol: TCP, port: 80"), "unknown field `port`".to_owned(), "put it under `destination`: `destination: {ports: ...}`"),
        ("a selector of a rule", rule("action: Allow, selector: all()"), "unknown field `selector`".to_owned(), "put it under `source`: `source: {selector: ...}`"),
        ("nets of a rule out", with("{egress: [{action: Allow, nets: [10.0.0.0/8]}]}"), "unknown field `nets`".to_owned(), "put it under `destination`: `destination: {nets: ...}`"),
        ("labels beside matchLabels", kubernetes("{podSelector: {app: web}}"), "unknown field `app`".to_owned(), "labels stand under `matchLabels`: `matchLabels: {app: ...}`"),
        ("labels for a selector", with("{selector: {app: web, tier: db}}"), "expected text, found a mapping".to_owned(), "a selector is text: `app == 'web' && tier == 'db'`"),
        ("a label selector of Kubernetes", with("{selector: {matchLabels: {app: web}}}"), "expected text, found a mapping".to_owned(), "a selector is text: `app == 'web'`"),
        ("a version as a label", kubernetes("{podSelector: {matchLabels: {version: 1.10}}}"), "expected text, found `1.10`".to_owned(), "put it in quotes: `\"1.10\"`"),
        ("an exponent as a label", kubernetes("{podSelector: {matchLabels: {commit: 1e3}}}"), "expected text, found `1e3`".to_owned(), "put it in quotes: `\"1e3\"`"),
        ("a number out of range as it stands there", rule("action: Allow, protocol: 1e3"), "1e3 is above 255, the largest number allowed".to_owned(), ""),
        ("a quoted number", with("{order: '1e3'}"), "expected a number, found text".to_owned(), "leave the quotes out"),
        ("an item without a blank", with("\n  ingress:\n  -action: Allow"), "unknown field `-action`".to_owned(), "an item of a list begins with `-` and a blank"),
        ("a block for a peer", rule("action: Allow, source: 10.0.0.0/8"), "expected a mapping, found text".to_owned(), "say what is meant by it, such as `nets: [10.0.0.0/8]`"),
        ("a word for a peer", rule("action: Allow, source: web"), "expected a mapping, found text".to_owned(), "say what is meant by it, such as `selector: app == 'web'`"),
        ("quotes in quotes", with("{selector: 'app == 'web''}"), "invalid trailing content after single-quoted scalar".to_owned(), "put the whole value into one kind of quotes, and use the other kind inside"),
        ("a percent sign", with("{selector: %x}"), "unexpected character: `%'".to_owned(), "put quotes around text that begins with this character"),
        ("a control character", "a: b\0\n".to_owned(), "unexpected character: `\\u{0}'".to_owned(), "remove this control character"),
        ("a tag that does not fit", with("{order: !!int x}"), "the value does not fit its tag".to_owned(), "leave out the tag, the word with `!`"),
        ("a spec that is not indented", "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: a}\nspec:\n".to_owned(), "expected a mapping, found nothing".to_owned(), "indent what belongs to it deeper, or write `{}` if nothing does"),
        ("an item that is nothing", rule("action: Allow, source: {nets: [null]}"), "expected text, found nothing".to_owned(), "give it a value, or leave it out"),
        ("an underscore", with("{order: 1_000}"), "expected a number, found text".to_owned(), "write `1000`"),
        ("a leading zero", with("{order: 010}"), "expected a number, found text".to_owned(), "write `10`"),
    ] {
        let diagnostics = loaded(&[("p", &text)]).diagnostics;
        let told: Vec<_> = diagnostics.iter().map(|d| (d.message.as_str(), d.help.as_deref().unwrap_or_default())).collect();
        if told != [(message.as_str(), help)] {
            differing.push(format!("{name}: {told:#?}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
