//! Acceptance, errors, evaluation and round trips of the selector language.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::expression::{Expression, Test};
use super::{MAX_DEPTH, Selector};

fn canonical(text: &str) -> String {
    Selector::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error} at {}", error.offset)).to_string()
}

#[test]
fn accepted_texts_have_their_canonical_form() {
    #[rustfmt::skip]
    let rows = [
        ("nothing", "", "all()"),
        ("blanks", " \t ", "all()"),
        ("line breaks only", "\n\r\n", "all()"),
        ("all", "all()", "all()"),
        ("blanks inside all", " all(\t ) ", "all()"),
        ("global", "global( )", "global()"),
        ("has", "has(app)", "has(app)"),
        ("blanks inside has", "has( app\t)", "has(app)"),
        ("double quotes", r#"app == "web""#, r#"app == "web""#),
        ("single quotes", "app == 'web'", r#"app == "web""#),
        ("a double quote in the value", r#"app == 'we"b'"#, r#"app == 'we"b'"#),
        ("a single quote in the value", r#"app == "we'b""#, r#"app == "we'b""#),
        ("empty value", "app == ''", r#"app == """#),
        ("no blanks", "app=='web'&&tier!='db'||has(x)", r#"((app == "web" && tier != "db") || has(x))"#),
        ("a line break and other characters in a value", "a == 'ü\n%'", "a == \"ü\n%\""),
        ("contains", "a contains 'b'", r#"a contains "b""#),
        ("word operator without blanks", "a contains'b'", r#"a contains "b""#),
        ("starts with", "a starts with 'b'", r#"a starts with "b""#),
        ("startswith", "a startswith 'b'", r#"a starts with "b""#),
        ("ends with, blanks and tab", "a ends \t with'b'", r#"a ends with "b""#),
        ("set, sorted and without duplicates", "a in {'c','b' , \"c\"}", r#"a in {"b", "c"}"#),
        ("empty set", "a in {}", "a in {}"),
        ("empty set with blanks", "a in { }", "a in {}"),
        ("one trailing comma", "a in {'x',}", r#"a in {"x"}"#),
        ("not in", "a not in {'b'}", r#"a not in {"b"}"#),
        ("notin", "a notin{'b'}", r#"a not in {"b"}"#),
        ("not in, blanks and tab", "a not \t in {'b'}", r#"a not in {"b"}"#),
        ("and binds stronger than or", "has(a) || has(b) && has(c)", "(has(a) || (has(b) && has(c)))"),
        ("parentheses", "(has(a) || has(b)) && has(c)", "((has(a) || has(b)) && has(c))"),
        ("flat on one level", "has(a) && has(b) && has(c)", "(has(a) && has(b) && has(c))"),
        ("a group stays nested", "has(a) && (has(b) && has(c))", "(has(a) && (has(b) && has(c)))"),
        ("a group of one loses its parentheses", "( (all() ) )", "all()"),
        ("truth case 34: not binds to one primary", r#"!a == "x" && b == "y""#, r#"(!a == "x" && b == "y")"#),
        ("not of a group", "!(has(a) && has(b))", "!(has(a) && has(b))"),
        ("not of a group of one", "! (has(a))", "!has(a)"),
        ("two nots", "!! has(a)", "has(a)"),
        ("three nots", "!!!has(a)", "!has(a)"),
        ("two nots, one in parentheses", "!(!has(a))", "has(a)"),
        ("keyword as key: contains", "contains contains 'contains'", r#"contains contains "contains""#),
        ("keyword as key: in", "in in {'x'}", r#"in in {"x"}"#),
        ("keyword as key: not", "not == 'a'", r#"not == "a""#),
        ("keyword as key: not not in", "not not in {'a'}", r#"not not in {"a"}"#),
        ("keyword as key: has", "has == 'a'", r#"has == "a""#),
        ("keyword as key: has(has)", "has(has)", "has(has)"),
        ("keyword as key: all", "all in {'a'}", r#"all in {"a"}"#),
        ("keyword as key: starts starts with", "starts starts with 's'", r#"starts starts with "s""#),
        ("a key that begins with a keyword", "has(all) && hassle == 'a'", r#"(has(all) && hassle == "a")"#),
        ("a key of many characters", "has(calico/k8s_NS-.1/role)", "has(calico/k8s_NS-.1/role)"),
        ("a key of digits", "0 == '1'", r#"0 == "1""#),
        ("a key that begins with a slash", "/-. == '1'", r#"/-. == "1""#),
        ("white space around, as YAML blocks leave it", "\u{a0}\n app == 'web'\n\n", r#"app == "web""#),
    ];
    for (name, text, expected) in rows {
        assert_eq!(canonical(text), expected, "{name}");
        assert_eq!(canonical(expected), expected, "{name}: the canonical form is canonical");
    }
}

#[test]
fn errors_tell_what_is_wrong_where_and_what_to_write() {
    const OPERAND: &str = "expected a label key, `has(...)`, `all()`, `!` or `(`, found";
    #[rustfmt::skip]
    let rows: &[(&str, &str, usize, String, Option<&str>)] = &[
        ("label alone", "app", 3, "expected an operator after the label key `app`, found the end".into(), Some("use `has(app)` to ask whether there is such a label")),
        ("label alone in a group", "(app)", 4, "expected an operator after the label key `app`, found `)`".into(), Some("use `has(app)` to ask whether there is such a label")),
        ("two labels", "a b", 2, "expected an operator after the label key `a`, found `b`".into(), None),
        ("all without parentheses", "all", 3, "expected an operator after the label key `all`, found the end".into(), Some("write `all()`")),
        ("global without parentheses in a group", "!(global)", 8, "expected an operator after the label key `global`, found `)`".into(), Some("write `global()`")),
        ("all with a blank", "all ()", 4, "expected an operator after the label key `all`, found `(`".into(), Some("write `all(` without a blank in between")),
        ("all in upper case", "ALL()", 3, "expected an operator after the label key `ALL`, found `(`".into(), Some("write `all()`")),
        ("another function", "exists(a)", 6, "expected an operator after the label key `exists`, found `(`".into(), Some("write `has(KEY)`")),
        ("has without parentheses", "has a", 4, "expected an operator after the label key `has`, found `a`".into(), Some("write `has(a)`")),
        ("a star for everything", "*", 0, "expected a label key, `has(...)`, `all()`, `!` or `(`, found `*`".into(), Some("write `all()` to match everything")),
        ("not null", "a != null", 5, "expected a quoted value, found `null`".into(), Some("use `has(a)` to ask whether there is such a label")),
        ("null", "a == null", 5, "expected a quoted value, found `null`".into(), Some("use `!has(a)` to ask whether there is no such label")),
        ("a word for equality", "a is 'b'", 2, "expected an operator after the label key `a`, found `is`".into(), Some("use `==`")),
        ("no operator", "a 'b'", 2, "expected an operator after the label key `a`, found a quoted text".into(), Some("use `==`")),
        ("a word for a pattern", "a like 'b*'", 2, "expected an operator after the label key `a`, found `like`".into(), Some("there are no patterns: use `contains`, `starts with` or `ends with`")),
        ("single equals sign", r#"a = "b""#, 2, "expected an operator after the label key `a`, found `=`".into(), Some("use `==`")),
        ("three equals signs", r#"a === "b""#, 4, "expected a quoted value, found `=`".into(), Some("use `==`")),
        ("colon", "a: 'b'", 1, "expected an operator after the label key `a`, found `:`".into(), Some("use `==`")),
        ("pattern", "a =~ 'b'", 2, "expected an operator after the label key `a`, found `=`".into(), Some("use `==`")),
        ("pattern with tilde", "a ~ 'b'", 2, "expected an operator after the label key `a`, found `~`".into(), Some("there are no patterns: use `contains`, `starts with` or `ends with`")),
        ("order", "a < '5'", 2, "expected an operator after the label key `a`, found `<`".into(), Some("values are text and have no order: use `in {...}`")),
        ("blank within an operator", "a ! = 'b'", 2, "expected an operator after the label key `a`, found `!`".into(), None),
        ("value without quotes", "a == b", 5, "expected a quoted value, found `b`".into(), Some("put it in quotes: `\"b\"`")),
        ("value missing", "a ==", 4, "expected a quoted value, found the end".into(), None),
        ("typographic quotes", "a == “b”", 5, "expected a quoted value, found `“`".into(), Some("use straight quotes, `\"` or `'`")),
        ("quoted text without end", "a == 'b", 5, "the quoted text does not end".into(), Some("close it with `'`; there are no escapes inside")),
        ("other quote at the end", "a == \"b'", 5, "the quoted text does not end".into(), Some("close it with `\"`; there are no escapes inside")),
        ("set without braces", "a in 'b'", 5, "expected `{`, found a quoted text".into(), Some("values of `in` stand in braces: `{\"a\", \"b\"}`")),
        ("set in parentheses", "a in ('b')", 5, "expected `{`, found `(`".into(), Some("values of `in` stand in braces: `{\"a\", \"b\"}`")),
        ("set of nothing but a comma", "a in {,}", 6, "expected a quoted value or `}`, found `,`".into(), None),
        ("two trailing commas", "a in {'x',,}", 10, "expected a quoted value or `}`, found `,`".into(), None),
        ("set without end", "a in {'x'", 9, "expected `,` or `}`, found the end".into(), None),
        ("set without comma", "a in {'x' 'y'}", 10, "expected `,` or `}`, found a quoted text".into(), None),
        ("word in a set", "a in {x}", 6, "expected a quoted value or `}`, found `x`".into(), Some("put it in quotes: `\"x\"`")),
        ("operator word that goes on", "a inb {'x'}", 2, "expected an operator after the label key `a`, found `inb`".into(), None),
        ("operator words that go on", "a ends withs 'x'", 2, "expected an operator after the label key `a`, found `ends`".into(), None),
        ("word after notin", "a notin b", 8, "expected `{`, found `b`".into(), Some("values of `in` stand in braces: `{\"a\", \"b\"}`")),
        ("half an operator", "a not 'b'", 2, "expected an operator after the label key `a`, found `not`".into(), None),
        ("blank before a parenthesis", "has (a)", 4, "expected an operator after the label key `has`, found `(`".into(), Some("write `has(` without a blank in between")),
        ("blank before a parenthesis of all", "all ()", 4, "expected an operator after the label key `all`, found `(`".into(), Some("write `all(` without a blank in between")),
        ("has without key", "has()", 4, "expected a label key, found `)`".into(), None),
        ("has with quotes", "has('a')", 4, "expected a label key, found a quoted text".into(), Some("a key has no quotes")),
        ("has without end", "has(a", 5, "expected `)` after `has(`, found the end".into(), None),
        ("has of two keys", "has(a, b)", 5, "expected `)` after `has(`, found `,`".into(), None),
        ("all of a key", "all(a)", 4, "expected `)` after `all(`, found `a`".into(), None),
        ("global without end", "global(", 7, "expected `)` after `global(`, found the end".into(), None),
        ("unknown function", "foo(a)", 3, "expected an operator after the label key `foo`, found `(`".into(), Some("the functions are `has(KEY)`, `all()` and `global()`")),
        ("not as a word", "not has(a)", 4, "expected an operator after the label key `not`, found `has`".into(), Some("use `!` to negate")),
        ("empty group", "()", 1, format!("{OPERAND} `)`"), None),
        ("group without end", "(has(a)", 7, "expected `&&`, `||` or `)`, found the end".into(), None),
        ("end without group", "has(a))", 6, "expected `&&`, `||` or the end, found `)`".into(), None),
        ("operator at the end", "has(a) &&", 9, format!("{OPERAND} the end"), None),
        ("operator at the beginning", "|| has(a)", 0, format!("{OPERAND} `|`"), None),
        ("single ampersand", "has(a) & has(b)", 7, "expected `&&`, `||` or the end, found `&`".into(), Some("use `&&`")),
        ("single bar", "has(a) | has(b)", 7, "expected `&&`, `||` or the end, found `|`".into(), Some("use `||`")),
        ("and as a word", "has(a) and has(b)", 7, "expected `&&`, `||` or the end, found `and`".into(), Some("use `&&`")),
        ("or as a word in a group", "(has(a) or has(b))", 8, "expected `&&`, `||` or `)`, found `or`".into(), Some("use `||`")),
        ("comma, as kubectl has it", "a == 'b', c == 'd'", 8, "expected `&&`, `||` or the end, found `,`".into(), Some("use `&&`")),
        ("more after the end", "has(a) has(b)", 7, "expected `&&`, `||` or the end, found `has`".into(), None),
        ("not alone", "!", 1, format!("{OPERAND} the end"), None),
        ("text on the left", "'b' == a", 0, format!("{OPERAND} a quoted text"), Some("the key comes first: `key == \"value\"`")),
        ("foreign character", "a == 'b' && %", 12, format!("{OPERAND} `%`"), None),
        ("letter that no key has", "ä == 'b'", 0, format!("{OPERAND} `ä`"), None),
        ("letter that no key has, within a key", "aä == 'b'", 1, "expected an operator after the label key `a`, found `ä`".into(), None),
        ("control character", "has(a) \u{1b}", 7, "expected `&&`, `||` or the end, found the character U+001B".into(), None),
        ("no-break space", "has(a)\u{a0}&& has(b)", 6, "expected `&&`, `||` or the end, found the character U+00A0".into(), None),
        ("line break inside", "has(a) &&\nhas(b)", 9, format!("{OPERAND} a line break"), Some("a selector stands on one line; a folded YAML block (`>-`) joins its lines with blanks")),
        ("carriage return inside", "has(a)\r\n&& has(b)", 6, "expected `&&`, `||` or the end, found a line break".into(), Some("a selector stands on one line; a folded YAML block (`>-`) joins its lines with blanks")),
        ("offset counts what is trimmed at the beginning", "\n\u{a0} a = 'b'\n", 6, "expected an operator after the label key `a`, found `=`".into(), Some("use `==`")),
        ("end is before what is trimmed", "a == \n", 4, "expected a quoted value, found the end".into(), None),
    ];
    for (name, text, offset, message, help) in rows {
        let error = Selector::parse(text).expect_err(name);
        assert_eq!((error.offset, &error.message, error.help.as_deref()), (*offset, message, *help), "{name}");
    }
}

#[test]
fn truth_cases_32_to_35() {
    for (text, accepted) in [
        (r#"a in {"x",}"#.to_owned(), true),
        ("a in {}".to_owned(), true),
        ("a in {,}".to_owned(), false),
        ("has (a)".to_owned(), false),
        (r#"a = "b""#.to_owned(), false),
        ("a == b".to_owned(), false),
        ("has(a) &&\nhas(b)".to_owned(), false),
        (format!("has({})", "k".repeat(512)), true),
        (format!("has({})", "k".repeat(513)), false),
    ] {
        assert_eq!(Selector::parse(&text).is_ok(), accepted, "{text}");
    }
    assert!(!Selector::parse("a in {}").is_ok_and(|selector| selector.matches(&labels(&[("a", "")]))));
    assert_eq!(canonical(r#"!a == "x" && b == "y""#), r#"(!a == "x" && b == "y")"#);
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn each_form_is_evaluated_as_calico_does() {
    // Selector on the label `k`; result for k = "abc", for k = "x", for k = "" and for no such label.
    #[rustfmt::skip]
    let rows = [
        ("k == 'abc'",             [true,  false, false, false]),
        ("k == ''",                [false, false, true,  false]),
        ("k == 'ABC'",             [false, false, false, false]),
        ("k != 'abc'",             [false, true,  true,  true ]),
        ("k in {'abc', 'd'}",      [true,  false, false, false]),
        ("k in {}",                [false, false, false, false]),
        ("k not in {'abc', 'd'}",  [false, true,  true,  true ]),
        ("k not in {}",            [true,  true,  true,  true ]),
        ("k contains 'b'",         [true,  false, false, false]),
        ("k contains ''",          [true,  true,  true,  false]),
        ("k starts with 'ab'",     [true,  false, false, false]),
        ("k starts with 'bc'",     [false, false, false, false]),
        ("k starts with ''",       [true,  true,  true,  false]),
        ("k ends with 'bc'",       [true,  false, false, false]),
        ("k ends with 'ab'",       [false, false, false, false]),
        ("k ends with ''",         [true,  true,  true,  false]),
        ("has(k)",                 [true,  true,  true,  false]),
        ("!has(k)",                [false, false, false, true ]),
        ("!k == 'abc'",            [false, true,  true,  true ]),
        ("!(k in {'abc'})",        [false, true,  true,  true ]),
        ("has(k) && k != 'abc'",   [false, true,  true,  false]),
        ("k == 'abc' || k == 'x'", [true,  true,  false, false]),
        ("!(k == 'abc' || k == 'x')", [false, false, true, true ]),
        ("all()",                  [true,  true,  true,  true ]),
        ("global()",               [true,  true,  true,  true ]),
        ("!all()",                 [false, false, false, false]),
    ];
    let worlds = [labels(&[("k", "abc")]), labels(&[("k", "x")]), labels(&[("k", "")]), labels(&[("K", "abc")])];
    for (text, expected) in rows {
        let selector = Selector::parse(text).expect(text);
        let found: Vec<bool> = worlds.iter().map(|world| selector.matches(world)).collect();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn constructors_build_what_parsing_does() {
    let rows = [
        (Selector::all(), ""),
        (Selector::equals("a", "x"), "a == 'x'"),
        (Selector::has("a"), "has(a)"),
        (Selector::is_in("a", ["y", "x", "y"]), "a in {'x', 'y'}"),
        (Selector::is_in("a", Vec::<String>::new()), "a in {}"),
        (Selector::not_in("a", ["x"]), "a not in {'x'}"),
        (Selector::has("a").and(Selector::all()), "has(a)"),
        (Selector::all().and(Selector::has("a")), "has(a)"),
        (Selector::has("a").and(Selector::has("b")).and(Selector::has("c")), "has(a) && has(b) && has(c)"),
        (Selector::has("a").negate(), "!has(a)"),
        (Selector::has("a").negate().negate(), "has(a)"),
        (Selector::has("a").and(Selector::has("b")).negate(), "!(has(a) && has(b))"),
    ];
    for (built, text) in rows {
        assert_eq!(built, Selector::parse(text).expect(text), "{text}");
    }
}

#[test]
fn namespace_selectors_are_rewritten_on_the_tree() {
    for (text, expected) in [
        ("env == 'prod'", r#"pcns.env == "prod""#),
        ("all()", "has(projectcalico.org/namespace)"),
        ("global()", "!has(projectcalico.org/namespace)"),
        ("!global()", "has(projectcalico.org/namespace)"),
        ("env != 'all()' && all()", r#"(pcns.env != "all()" && has(projectcalico.org/namespace))"#),
        ("!(has(a) || b in {'x'})", r#"!(has(pcns.a) || pcns.b in {"x"})"#),
    ] {
        assert_eq!(Selector::parse(text).expect(text).on_namespaces().to_string(), expected);
    }
}

#[test]
fn global_is_found_wherever_it_stands() {
    for (text, mentions, is) in [
        ("global()", true, true),
        ("( global( ) )", true, true),
        ("!global()", true, false),
        ("has(a) || (b == 'c' && global())", true, false),
        ("a == 'global()' && has(global)", false, false),
        ("all()", false, false),
    ] {
        let selector = Selector::parse(text).expect(text);
        assert_eq!((selector.mentions_global(), selector.is_global()), (mentions, is), "{text}");
    }
}

#[test]
fn nesting_is_bounded() {
    let parentheses = |depth: usize| format!("{}has(a){}", "(".repeat(depth), ")".repeat(depth));
    assert!(Selector::parse(&parentheses(MAX_DEPTH)).is_ok());
    let error = Selector::parse(&parentheses(MAX_DEPTH + 1)).expect_err("one too many");
    assert_eq!((error.offset, error.message.as_str()), (MAX_DEPTH, "the selector is nested more than 64 levels deep"));

    // Each step adds two levels to the canonical form though it adds one pair of parentheses to the text.
    let alternating =
        |steps: usize| (0..steps).fold("has(a)".to_owned(), |inner, _| format!("x == 'y' || z == '' && ({inner})"));
    let deepest = canonical(&alternating(MAX_DEPTH / 2));
    assert_eq!(canonical(&deepest), deepest);
    assert!(Selector::parse(&alternating(MAX_DEPTH / 2 + 1)).is_err());

    // Text that would overflow the stack of a parser without a bound; negations cost no depth.
    assert!(Selector::parse(&"(".repeat(1_000_000)).is_err());
    assert!(Selector::parse(&"!(".repeat(1_000_000)).is_err());
    assert_eq!(canonical(&format!("{}has(a)", "!".repeat(1_000_001))), "!has(a)");
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-d]",
        2 => "[A-Za-z0-9_./-]{1,12}",
        1 => proptest::sample::select(vec!["has", "all", "global", "in", "not", "contains", "starts", "with"])
            .prop_map(str::to_owned),
    ]
}

fn value() -> impl Strategy<Value = String> {
    // Values that the language can write: not both kinds of quotes.
    prop_oneof![4 => "[x-z]{0,2}", 1 => "[^\"]{0,6}", 1 => "[^']{0,6}"]
}

fn test() -> impl Strategy<Value = Test> {
    let values = || proptest::collection::btree_set(value(), 0..4);
    prop_oneof![
        Just(Test::Exists),
        value().prop_map(Test::Equals),
        value().prop_map(Test::Differs),
        value().prop_map(Test::Contains),
        value().prop_map(Test::StartsWith),
        value().prop_map(Test::EndsWith),
        values().prop_map(Test::In),
        values().prop_map(Test::NotIn),
    ]
}

fn selector() -> impl Strategy<Value = Selector> {
    let leaf = prop_oneof![
        1 => Just(Expression::All),
        1 => Just(Expression::Global),
        8 => (key(), test()).prop_map(|(key, test)| Expression::Label { key, test }),
    ];
    let tree = leaf.prop_recursive(6, 40, 4, |inner| {
        let operands = || proptest::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            inner.clone().prop_map(Expression::negate),
            operands().prop_map(Expression::And),
            operands().prop_map(Expression::Or),
        ]
    });
    tree.prop_map(Selector)
}

fn world() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map(key(), value(), 0..6)
}

/// Texts that are nearly selectors, so that errors far inside are reached too.
fn nearly_a_selector() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    let pieces = vec![
        "has(", "all(", "global(", "(", ")", "!", "&&", "||", "&", "|", "=", "==", "!=", "{", "}", ",", "'", "\"",
        "in", "not in", "contains", "starts with", "ends", "a", "app/x.y", "'v'", "\"v\"", " ", "\t", "\n", "ü", "\u{0}",
    ];
    proptest::collection::vec(proptest::sample::select(pieces), 0..40).prop_map(|pieces| pieces.concat())
}

fn assert_errors_point_into(text: &str) {
    if let Err(error) = Selector::parse(text) {
        assert!(text.is_char_boundary(error.offset), "{error:?}");
    }
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_the_same(selector in selector(), world in world()) {
        let parsed = Selector::parse(&selector.to_string());
        prop_assert_eq!(parsed.as_ref(), Ok(&selector));
        prop_assert_eq!(parsed.map(|parsed| parsed.matches(&world)), Ok(selector.matches(&world)));
    }

    #[test]
    fn and_and_negate_are_what_they_say(left in selector(), right in selector(), world in world()) {
        let both = left.matches(&world) && right.matches(&world);
        prop_assert_eq!(left.clone().and(right).matches(&world), both);
        prop_assert_eq!(left.clone().negate().matches(&world), !left.matches(&world));
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in any::<String>()) {
        assert_errors_point_into(&text);
    }

    #[test]
    fn any_nearly_right_text_is_parsed_or_refused(text in nearly_a_selector()) {
        assert_errors_point_into(&text);
    }
}

proptest! {
    #[test]
    fn what_is_proved_of_a_selector_holds_for_all_labels(one in selector(), other in selector(), world in world()) {
        let matches = one.matches(&world);
        prop_assert!(!(one.is_contradiction() && matches), "{one} matches {world:?}");
        prop_assert!(!one.is_tautology() || matches, "{one} does not match {world:?}");
        prop_assert!(!(one.implies(&other) && matches) || other.matches(&world), "{one} does not imply {other}: {world:?}");
        let both = one.clone().and(other.clone());
        prop_assert!(!(both.is_contradiction() && matches && other.matches(&world)), "{both} matches {world:?}");
        let all = one.conjuncts().into_iter().fold(Selector::all(), Selector::and);
        prop_assert_eq!(all.matches(&world), matches, "the parts of {}", one);
        if let Some(example) = one.example() {
            prop_assert!(one.matches(&example), "{one} does not match its example {example:?}");
            prop_assert!(!one.is_contradiction(), "{one} has an example");
        }
    }
}
