use super::*;

fn policy(name: &str) -> String {
    format!("apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: {name}}}\nspec: {{}}\n")
}

/// One state of the directory and what is to follow from it.
struct Step {
    files: Vec<(&'static str, String)>,
    in_force: &'static [&'static str],
    held: &'static [&'static str],
    missing: &'static [&'static str],
    codes: &'static [&'static str],
}

fn run(store: &mut Store, case: &str, steps: Vec<Step>) {
    for (number, step) in steps.into_iter().enumerate() {
        let case = format!("{case}, step {number}");
        let files: Vec<_> = step.files.iter().map(|(path, text)| SourceFile::new(*path, text)).collect();
        let update = store.update(&files);
        let names: Vec<_> = update.policies.policies.iter().map(|policy| policy.key.name.as_str()).collect();
        let paths = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(names, step.in_force, "{case}: in force");
        assert_eq!(paths(&update.held), step.held, "{case}: held");
        assert_eq!(paths(&update.missing), step.missing, "{case}: missing");
        assert_eq!(update.diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), step.codes, "{case}: codes");
        assert_eq!(update.files, files.len());
        let reversed: Vec<_> = files.iter().rev().cloned().collect();
        assert_eq!(store.clone().update(&reversed).policies, update.policies, "{case}: the order of files");
    }
}

const NONE: &[&str] = &[];

#[test]
fn the_last_good_version_stays_in_force() {
    let broken = || "kind: [".to_owned();
    let step = |files, in_force, held, missing, codes| Step { files, in_force, held, missing, codes };
    run(
        &mut Store::default(),
        "good, broken, good, gone",
        vec![
            step(vec![("a", policy("x")), ("b", policy("y"))], &["x", "y"], NONE, NONE, NONE),
            step(vec![("a", broken()), ("b", policy("y"))], &["x", "y"], &["a"], NONE, &["DG1001"]),
            step(vec![("a", broken()), ("b", broken())], &["x", "y"], &["a", "b"], NONE, &["DG1001", "DG1001"]),
            // As long as `b` is broken, it may be the file that `x` was moved to.
            step(vec![("a", policy("z")), ("b", broken())], &["x", "y", "z"], &["b"], NONE, &["DG3104", "DG1001"]),
            step(vec![("a", policy("z"))], &["z"], NONE, NONE, NONE),
            step(vec![("a", policy("z")), ("b", broken())], &["z"], NONE, &["b"], &["DG1001"]),
            step(vec![], NONE, NONE, NONE, NONE),
        ],
    );
    run(
        &mut Store::default(),
        "broken at the first start",
        vec![
            step(vec![("a", broken()), ("b", policy("y"))], &["y"], NONE, &["a"], &["DG1001"]),
            step(vec![("a", policy("x")), ("b", policy("y"))], &["x", "y"], NONE, NONE, NONE),
        ],
    );
    run(
        &mut Store::default(),
        "nothing of a file that is partly broken",
        vec![step(vec![("a", format!("{}---\nkind: [", policy("x")))], NONE, NONE, &["a"], &["DG1001"])],
    );
}

#[test]
fn a_restart_begins_with_what_was_kept() {
    let mut before = Store::default();
    before.update(&[SourceFile::new("a", policy("x"))]);
    let mut after = Store::new(before.good().clone(), before.former().to_vec());
    let update = after.update(&[SourceFile::new("a", "kind: [")]);
    assert_eq!(update.held, [PathBuf::from("a")]);
    assert_eq!(update.policies.policies.len(), 1);
    assert_eq!(after, before);
}

#[test]
fn an_unreadable_file_is_held() {
    let mut store = Store::default();
    store.update(&[SourceFile::new("a", policy("x"))]);
    let unreadable = Some(crate::policy::Unreadable::Refused("no".to_owned()));
    let update = store.update(&[SourceFile { unreadable, ..SourceFile::new("a", "") }]);
    assert_eq!((update.held.len(), update.policies.policies.len()), (1, 1));
}

#[test]
fn a_policy_in_an_unknown_tier_is_in_force_and_reported() {
    let mut store = Store::default();
    let update = store.update(&[SourceFile::new("a", policy("x").replace("{}", "{tier: nowhere}"))]);
    assert_eq!((update.held.len(), update.missing.len(), update.policies.policies.len()), (0, 0, 1));
    assert_eq!(update.diagnostics[0].code, "DG3029");
    assert_eq!(store.good().len(), 1);
}

#[test]
fn resources_that_collide_hold_the_later_file() {
    let step = |files, in_force, held, missing, codes| Step { files, in_force, held, missing, codes };
    run(
        &mut Store::default(),
        "a second definition",
        vec![
            step(vec![("b", policy("x"))], &["x"], NONE, NONE, NONE),
            step(vec![("b", policy("x")), ("c", policy("x"))], &["x"], NONE, &["c"], &["DG3030"]),
            step(vec![("b", policy("y")), ("c", policy("x"))], &["x", "y"], NONE, NONE, NONE),
            step(vec![("b", policy("x")), ("c", policy("x"))], &["x", "y"], &["b", "c"], NONE, &["DG3030", "DG3030"]),
        ],
    );
    run(
        &mut Store::default(),
        "a newcomer whose name sorts first",
        vec![
            step(vec![("b", policy("x"))], &["x"], NONE, NONE, NONE),
            step(vec![("a", policy("x")), ("b", policy("x"))], &["x"], &["b"], &["a"], &["DG3030", "DG3030"]),
            step(vec![("a", policy("x"))], &["x"], NONE, NONE, NONE),
        ],
    );
    run(
        &mut Store::default(),
        "a good version that comes back",
        vec![
            step(vec![("a", policy("x")), ("b", policy("y"))], &["x", "y"], NONE, NONE, NONE),
            // `b` may not take over `x` while the version of `a` that defines it is in force.
            step(
                vec![("a", "[".to_owned()), ("b", policy("x"))],
                &["x", "y"],
                &["a", "b"],
                NONE,
                &["DG1001", "DG3030"],
            ),
            step(vec![("a", policy("z")), ("b", policy("x"))], &["x", "z"], NONE, NONE, NONE),
        ],
    );
}

#[test]
fn while_a_file_is_broken_no_resource_goes() {
    let step = |files, in_force, held, missing, codes| Step { files, in_force, held, missing, codes };
    let broken = |name: &str| format!("{}---\nkind: [", policy(name));
    let both = || format!("{}---\n{}", policy("x"), policy("y"));
    run(
        &mut Store::default(),
        "renamed and broken, then fixed with another content",
        vec![
            step(vec![("a", policy("x"))], &["x"], NONE, NONE, NONE),
            step(vec![("b", broken("x"))], &["x"], &["a"], &["b"], &["DG3104", "DG1001"]),
            step(vec![("b", policy("z"))], &["z"], NONE, NONE, NONE),
        ],
    );
    run(
        &mut Store::default(),
        "renamed and broken onto a file with a good version",
        vec![
            step(vec![("a", policy("x")), ("b", policy("y"))], &["x", "y"], NONE, NONE, NONE),
            step(vec![("b", broken("x"))], &["x", "y"], &["a", "b"], NONE, &["DG3104", "DG1001"]),
            step(vec![("b", policy("x"))], &["x"], NONE, NONE, NONE),
        ],
    );
    run(
        &mut Store::default(),
        "renamed and whole beside a broken file",
        vec![
            step(vec![("a", policy("x")), ("c", "[".to_owned())], &["x"], NONE, &["c"], &["DG1001"]),
            step(vec![("b", policy("x")), ("c", "[".to_owned())], &["x"], NONE, &["c"], &["DG1001"]),
            // What replaced the version of `a` is what stays, not `a`.
            step(vec![("c", "[".to_owned())], &["x"], &["b"], &["c"], &["DG3104", "DG1001"]),
        ],
    );
    run(
        &mut Store::default(),
        "one policy moved out of a valid file into a broken one",
        vec![
            step(vec![("a", both())], &["x", "y"], NONE, NONE, NONE),
            step(vec![("a", policy("x")), ("b", broken("y"))], &["x", "y"], NONE, &["b"], &["DG3104", "DG1001"]),
            step(vec![("a", policy("x")), ("b", policy("y"))], &["x", "y"], NONE, NONE, NONE),
            step(vec![("a", policy("x"))], &["x"], NONE, NONE, NONE),
        ],
    );
    run(
        &mut Store::default(),
        "taken out one by one",
        vec![
            step(vec![("a", both()), ("b", "[".to_owned())], &["x", "y"], NONE, &["b"], &["DG1001"]),
            step(vec![("a", policy("x")), ("b", "[".to_owned())], &["x", "y"], NONE, &["b"], &["DG3104", "DG1001"]),
            step(vec![("b", "[".to_owned())], &["x", "y"], &["a"], &["b"], &["DG3104", "DG3104", "DG1001"]),
            step(vec![("a", "[".to_owned()), ("b", "[".to_owned())], &["x", "y"], &["a"], &["b"], &["DG1001"; 2]),
            step(vec![("a", policy("y"))], &["y"], NONE, NONE, NONE),
        ],
    );
    run(
        &mut Store::default(),
        "deleted while another is broken, which is then deleted as well",
        vec![
            step(vec![("a", policy("x")), ("b", policy("y"))], &["x", "y"], NONE, NONE, NONE),
            step(vec![("b", "[".to_owned())], &["x", "y"], &["a", "b"], NONE, &["DG3104", "DG1001"]),
            step(vec![], NONE, NONE, NONE, NONE),
        ],
    );
    run(
        &mut Store::default(),
        "deleted in a clean directory",
        vec![
            step(vec![("a", policy("x")), ("b", policy("y"))], &["x", "y"], NONE, NONE, NONE),
            step(vec![("b", policy("y"))], &["y"], NONE, NONE, NONE),
        ],
    );
}

#[test]
fn the_newer_definition_counts_while_a_file_is_broken() {
    let ordered = |order: u32| policy("x").replace("{}", &format!("{{order: {order}}}"));
    let order = |update: &Update| update.policies.policies.iter().map(|policy| policy.order.0).collect::<Vec<_>>();
    let mut store = Store::default();
    store.update(&[SourceFile::new("a", ordered(1))]);
    // In the same place of the same file: the two versions must not be taken for one.
    let broken = SourceFile::new("c", "[");
    let edited = store.update(&[SourceFile::new("a", ordered(2)), broken.clone()]);
    assert_eq!((order(&edited), store.former().len()), (vec![Some(2.0)], 0));
    let moved = store.update(&[SourceFile::new("b", ordered(3)), broken.clone()]);
    assert_eq!((order(&moved), moved.held.len()), (vec![Some(3.0)], 0));
    let gone = store.update(&[broken]);
    assert_eq!((order(&gone), gone.held), (vec![Some(3.0)], vec![PathBuf::from("b")]));
}

#[test]
fn sets_and_tiers_stay_as_policies_do() {
    let tier = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: t}\nspec: {order: 1}\n";
    let set = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {name: s}\nspec: {}\n";
    let mut store = Store::default();
    let before = store.update(&[SourceFile::new("a", format!("{tier}---\n{set}"))]);
    let after = store.update(&[SourceFile::new("b", "[")]);
    assert_eq!(after.policies, before.policies);
    let messages: Vec<_> = after.diagnostics.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(
        messages[..2],
        [
            "GlobalNetworkSet `s` is no longer defined, and stays in force while a file is broken",
            "Tier `t` is no longer defined, and stays in force while a file is broken",
        ]
    );
}

#[test]
fn what_waits_to_go_survives_a_restart() {
    let mut before = Store::default();
    before.update(&[SourceFile::new("a", policy("x"))]);
    let broken = [SourceFile::new("b", "[")];
    let running = before.update(&broken);
    let mut after = Store::new(before.good().clone(), before.former().to_vec());
    assert_eq!(after.last_good().policies, running.policies);
    assert_eq!(after.last_good().held, [PathBuf::from("a")]);
    assert_eq!(after.update(&broken), running);
}

#[test]
fn an_emptied_file_is_one_that_is_half_written() {
    let step = |files, in_force, held, missing, codes| Step { files, in_force, held, missing, codes };
    let both = format!("{}---\n{}", policy("x"), policy("y"));
    for (name, emptied) in [("nothing", ""), ("blanks", " \n\n"), ("a marker", "---\n"), ("comments", "# kind: Tier\n")]
    {
        let emptied = || emptied.to_owned();
        run(
            &mut Store::default(),
            name,
            vec![
                step(vec![("a", emptied())], NONE, NONE, NONE, NONE),
                step(vec![("a", both.clone())], &["x", "y"], NONE, NONE, NONE),
                step(vec![("a", emptied())], &["x", "y"], &["a"], NONE, &["DG1009"]),
                step(vec![("a", policy("x"))], &["x"], NONE, NONE, NONE),
                step(vec![("a", emptied())], &["x"], &["a"], NONE, &["DG1009"]),
                step(vec![], NONE, NONE, NONE, NONE),
                step(vec![("a", emptied())], NONE, NONE, NONE, NONE),
            ],
        );
        let mut store = Store::default();
        store.update(&[SourceFile::new("a", &both)]);
        let update = store.update(&[SourceFile::new("a", emptied())]);
        assert_eq!(update.diagnostics[0].message, "the file is empty, its last good version had 2 resources");
    }
    run(
        &mut Store::default(),
        "an editor that deletes the file first, beside a broken one",
        vec![
            step(vec![("a", policy("x")), ("b", "[".to_owned())], &["x"], NONE, &["b"], &["DG1001"]),
            step(vec![("b", "[".to_owned())], &["x"], &["a"], &["b"], &["DG3104", "DG1001"]),
            step(vec![("a", String::new()), ("b", "[".to_owned())], &["x"], &["a"], &["b"], &["DG1009", "DG1001"]),
            step(vec![("a", String::new())], &["x"], &["a"], NONE, &["DG1009"]),
        ],
    );
    run(
        &mut Store::default(),
        "a list without items is meant",
        vec![
            step(vec![("a", policy("x"))], &["x"], NONE, NONE, NONE),
            step(vec![("a", "{apiVersion: v1, kind: List, items: []}".to_owned())], NONE, NONE, NONE, NONE),
        ],
    );
}

#[test]
fn another_directory_is_forgotten() {
    let version = |path: &str| (PathBuf::from(path), policy("x"));
    let mut store = Store::new(
        BTreeMap::from(["new/a.yaml", "old/a.yaml", "newer/a.yaml"].map(version)),
        ["old/b.yaml", "new/sub/b.yaml"].map(version).to_vec(),
    );
    store.retain_below(Path::new("new/"));
    assert_eq!(store, Store::new(BTreeMap::from([version("new/a.yaml")]), vec![version("new/sub/b.yaml")]));
    store.retain_below(Path::new("old"));
    assert!(store.is_empty());
}

/// What an update comes to does not depend on what was read before it: a store that has seen everything and one that has
/// just been started from the same texts agree, whatever the files go through.
#[test]
fn what_was_read_before_makes_no_difference() {
    let texts = [
        policy("x"),
        policy("y"),
        format!("{}---\n{}", policy("x"), policy("z")),
        policy("x").replace("{}", "{tier: nowhere}"),
        policy("y").replace("spec", "spek"),
        format!(
            "kind: List\napiVersion: v1\nitems: [{{kind: Tier, apiVersion: projectcalico.org/v3, metadata: {{name: t}}}}, 7]\n---\n{}",
            policy("z")
        ),
        "kind: [".to_owned(),
        "# nothing\n".to_owned(),
    ];
    let mut running = Store::default();
    // A walk over all pairs of texts of two files, and of one that comes and goes.
    for step in 0..4 * texts.len() * texts.len() {
        let (a, b) = (&texts[(step * 5) % texts.len()], &texts[(step * 3 / texts.len()) % texts.len()]);
        let mut files = vec![SourceFile::new("a", a), SourceFile::new("b", b)];
        if step % 3 == 0 {
            files.push(SourceFile::new("c", &texts[step % texts.len()]));
        }
        let mut started = Store::new(running.good().clone(), running.former().to_vec());
        let update = running.update(&files);
        assert_eq!(update, started.update(&files), "step {step}: {files:#?}");
        if update.held.is_empty() && update.missing.is_empty() {
            assert_eq!(update.policies, crate::policy::load(&files).policies, "step {step}");
        }
        assert_eq!(running, started, "step {step}");
        assert_eq!(running.last_good(), started.last_good(), "step {step}");
    }
}
