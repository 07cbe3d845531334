use super::*;

fn parsed(text: &str) -> (Vec<Document>, Vec<Diagnostic>) {
    parse(&SourceFile::new("p.yaml", text))
}

fn found(text: &str) -> Vec<(&'static str, u32, u32)> {
    let (_, diagnostics) = parsed(text);
    diagnostics.iter().map(|d| (d.code, d.location.line, d.location.column)).collect()
}

#[test]
fn every_key_and_value_knows_its_place() {
    let (documents, diagnostics) =
        parsed("# c\n---\na: 1\n---\nspec:\n  rules:\n  - port: \"80\"\n    nets: [x, 10]\n");
    assert_eq!(diagnostics, []);
    let document = &documents[1];
    let place = |location: Location| (location.line, location.column);
    let root = FieldPath::root();
    let rule = root.key("spec.rules").index(0);
    assert_eq!(place(document.locate(&root)), (5, 1));
    assert_eq!(place(document.locate(&rule.key("port"))), (7, 11));
    assert_eq!(place(document.locate_key(&rule.key("port"))), (7, 5));
    assert_eq!(place(document.locate(&rule.key("nets").index(1))), (8, 15));
    assert_eq!(place(document.locate(&rule.key("absent.deeper"))), place(document.locate(&rule)));
    assert_eq!(document.path_of("/spec/rules/0/nets/1"), rule.key("nets").index(1));
    assert_eq!(document.text("spec.rules"), None);
    assert_eq!(document.value()["spec"]["rules"][0]["port"], "80");
}

#[test]
fn scalars_have_the_types_of_yaml_1_2() {
    let (documents, _) =
        parsed("[1, \"1\", 0755, 1_000, yes, true, ~, .inf, 1.5, -3, 2026-01-01]".replace('[', "a: [").as_str());
    let expected = serde_json::json!([1, "1", "0755", "1_000", "yes", true, null, ".inf", 1.5, -3, "2026-01-01"]);
    assert_eq!(documents[0].value()["a"], expected);
}

#[test]
fn aliases_and_merge_keys_are_expanded_where_they_are_used() {
    let (documents, diagnostics) = parsed("x: &a {p: 1, q: 2}\ny:\n  <<: *a\n  p: 3\n");
    assert_eq!(diagnostics, []);
    assert_eq!(documents[0].value()["y"], serde_json::json!({"p": 3, "q": 2}));
    assert_eq!(documents[0].locate(&FieldPath::root().key("y.q")).line, 3);
}

#[test]
fn json_is_read_too_even_when_indented_with_tabs() {
    let (documents, diagnostics) = parsed("{\n\t\"a\": {\n\t\t\"b\": [1, 2]\n\t}\n}\n");
    assert_eq!(diagnostics, []);
    assert_eq!(documents[0].locate(&FieldPath::root().key("a.b").index(1)).line, 3);
}

#[test]
fn broken_documents_are_found_at_their_place() {
    for (name, text, expected) in [
        ("nothing", "", vec![]),
        ("only comments and markers", "# a\n---\n---\n# b\n", vec![]),
        ("unclosed bracket", "a: [1, 2\nb: 3\n", vec![("DG1001", 2, 2)]),
        ("tab", "a:\n\tb: 1\n", vec![("DG1001", 2, 2)]),
        ("two colons", "a: b: c\n", vec![("DG1001", 1, 5)]),
        ("unclosed quote at the end", "a: 'x\n", vec![("DG1001", 1, 1)]),
        ("unknown alias", "a: *nope\n", vec![("DG1001", 1, 4)]),
        ("tag", "spec:\n  selector: !has(x)\n", vec![("DG1008", 2, 13)]),
        ("duplicate keys", "a: 1\nb: {c: 1, c: 2}\na: 2\n", vec![("DG1002", 3, 1), ("DG1002", 2, 11)]),
        ("sequence", "- a\n", vec![("DG1007", 1, 1)]),
        ("word", "a\n", vec![("DG1007", 1, 1)]),
        ("second of three", "a: 1\n---\nb: [\n---\nc: }\n", vec![("DG1001", 3, 4), ("DG1001", 5, 4)]),
        ("control character", "a: \u{7}\n", vec![("DG1001", 1, 4)]),
        ("null key", "~: 1\n", vec![("DG1001", 1, 1)]),
    ] {
        assert_eq!(found(text), expected, "{name}");
    }
}

#[test]
fn hostile_documents_are_bounded() {
    let depth = format!("a: {}{}", "[".repeat(200), "]".repeat(200));
    assert_eq!(found(&depth)[0].0, "DG1003");
    let level = |name: char, below: char| format!("{name}: &{name} [{}]\n", vec![format!("*{below}"); 20].join(","));
    let bomb: String = ('b'..='h').map(|name| level(name, (name as u8 - 1) as char)).collect();
    assert_eq!(found(&format!("a: &a [{}]\n{bomb}", ["x"; 20].join(",")))[0].0, "DG1003");
}

#[test]
fn items_of_a_list_keep_their_places() {
    let (documents, _) = parsed("kind: List\nitems:\n- a: 1\n- b:\n    c: 2\n");
    let items = documents[0].clone().into_items().expect("a list");
    let path = FieldPath::root().key("b.c");
    let finding = items[1].finding(&codes::WRONG_TYPE, &path, "x");
    assert_eq!((finding.field.as_str(), finding.location.line, finding.location.column), ("items[1].b.c", 5, 8));
}

#[test]
fn unreadable_files_are_findings() {
    let file =
        SourceFile { unreadable: Some(Unreadable::NotUtf8 { line: 3, column: 7 }), ..SourceFile::new("x", "a: 1") };
    let (documents, diagnostics) = parse(&file);
    assert!(documents.is_empty());
    assert_eq!((diagnostics[0].code, diagnostics[0].location.line, diagnostics[0].location.column), ("DG1005", 3, 7));
}
