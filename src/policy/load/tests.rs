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
