//! `diff`: what changes in reachability, in every form, of paths and of git revisions.

use super::*;

/// Two replicas that are told as one, a database, and an outside.
const WORLD: &str = "\
apiVersion: dockgate.io/v1alpha1
kind: Inventory
metadata: {name: shop}
spec:
  networks:
    - {name: back, subnets: [172.31.0.0/24, 'fd00:31::/64']}
  containers:
    - {name: shop-api-1, namespace: shop, labels: {app: api}, networks: [back]}
    - {name: shop-api-2, namespace: shop, labels: {app: api}, networks: [back]}
    - {name: shop-db-1, namespace: shop, labels: {app: db}, networks: [back], ports: ['5432:5432']}
    - {name: shop-jobs-1, namespace: shop, labels: {app: jobs}, networks: [back]}
";

const DB: &str = "\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: db
  namespace: shop
spec:
  selector: app == 'db'
  order: 10
  ingress:
    - action: Allow
      protocol: TCP
      source:
        selector: app == 'api'
      destination:
        ports: ['5432:5440']
    - action: Allow
      protocol: TCP
      source:
        nets: [203.0.113.0/25]
      destination:
        ports: [5432]
";

const JOBS: &str = "\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: jobs
  namespace: shop
spec:
  selector: app == 'jobs'
  order: 20
  types: [Ingress]
";

/// DB with other keys first, comments, and the first range of ports in two.
const DB_REWRITTEN: &str = "\
# The database.
kind: NetworkPolicy
apiVersion: projectcalico.org/v3
spec:
  order: 10
  ingress:
    # The api.
    - {protocol: TCP, action: Allow, source: {selector: \"app in {'api'}\"}, destination: {ports: ['5432:5436', '5437:5440']}}
    - {protocol: TCP, action: Allow, source: {nets: [203.0.113.0/25]}, destination: {ports: [5432]}}
  selector: \"app == 'db'\"
metadata: {namespace: shop, name: db, labels: {team: data}}
";

fn files(old: &[(&str, &str)], new: &[(&str, &str)]) -> Files {
    let mut files = vec![("world.yaml".to_owned(), WORLD)];
    for (side, of_side) in [("old", old), ("new", new)] {
        files.extend(of_side.iter().map(|(name, text)| (format!("{side}/{name}"), *text)));
    }
    Files::new(&files.iter().map(|(name, text)| (name.as_str(), *text)).collect::<Vec<_>>())
}

fn diff(files: &Files, more: &[&str]) -> Answer {
    files.run(&[&["diff", "old", "new", "--inventory", "world.yaml"], more].concat())
}

/// Effect, connection, senders, receivers and traffic of each change, in short.
fn changes(answer: &Answer) -> Vec<String> {
    let list = |value: &Value| {
        let names = value.as_array().unwrap().iter().map(|party| match party["kind"].as_str().unwrap() {
            "host" => "host".to_owned(),
            "outside" => party["nets"].to_string(),
            _ => party["name"].as_str().unwrap().to_owned(),
        });
        names.collect::<Vec<_>>().join(" ")
    };
    let json = answer.json();
    let rows = json["changes"].as_array().unwrap().iter().map(|row| {
        let traffic = row["traffic"].as_array().unwrap().iter();
        let traffic = traffic
            .map(|traffic| format!("{} {}", traffic["protocol"], traffic["ports"]))
            .collect::<Vec<_>>()
            .join(" ");
        let (effect, connection, via) = (&row["effect"], &row["connection"], &row["via"]);
        format!("{effect} {connection} {} -> {} {traffic} {via}", list(&row["from"]), list(&row["to"])).replace('"', "")
    });
    rows.collect()
}

#[test]
fn what_means_the_same_is_told_as_no_change() {
    let relabelled = DB.replace("  namespace: shop\n", "  namespace: shop\n  labels: {team: data}\n");
    let reordered = DB.replace("order: 10", "order: 30");
    for (name, new, remark) in [
        ("labels", vec![("db.yaml", relabelled.as_str()), ("jobs.yaml", JOBS)], "db.yaml: only the text differs"),
        (
            "order",
            vec![("db.yaml", reordered.as_str()), ("jobs.yaml", JOBS)],
            "NetworkPolicy shop/db: order 10 -> 30 changed; no change in reachability",
        ),
        (
            "a rewrite",
            vec![("db.yaml", DB_REWRITTEN), ("jobs.yaml", JOBS)],
            "NetworkPolicy shop/db: ingress changed; no change in reachability",
        ),
        (
            "a file renamed",
            vec![("data/base.yml", DB), ("jobs.yaml", JOBS)],
            "NetworkPolicy shop/db: moved from db.yaml:1 to data/base.yml:1, means the same",
        ),
        (
            "two files in one",
            vec![("db.yaml", &format!("{JOBS}---\n{DB}"))],
            "NetworkPolicy shop/jobs: moved from jobs.yaml:1 to db.yaml:1, means the same",
        ),
    ] {
        let files = files(&[("db.yaml", DB), ("jobs.yaml", JOBS)], &new);
        let answer = diff(&files, &["--fail-on", "any"]);
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{name}: {answer:?}");
        assert!(answer.stdout.contains(remark), "{name}: {}", answer.stdout);
        assert!(answer.stdout.ends_with("\nno change in reachability\n"), "{name}: {}", answer.stdout);
    }
    let same = files(&[("db.yaml", DB)], &[("db.yaml", DB)]);
    assert_eq!(diff(&same, &[]).stdout, "no change in reachability\n");
}

#[test]
fn changes_are_exact_and_decide_about_the_exit_code() {
    let wider = DB.replace("203.0.113.0/25", "203.0.113.0/24");
    let narrower = DB.replace("5432:5440", "5432:5433");
    let other = DB.replace("5432:5440", "5440:5441");
    // An order that does matter: the denial comes first.
    let closed = format!(
        "{}---\n{}",
        DB,
        DB.replace("name: db", "name: closed").replace("order: 10", "order: 5").split("  ingress:").next().unwrap()
    );
    for (name, new, widened, any, expected) in [
        ("a net", &wider, 1, 1, vec!["widened added [203.0.113.128/25] -> shop-db-1 TCP [5432] published"]),
        ("a port range", &narrower, 0, 1, vec!["narrowed changed shop-api-* -> shop-db-1 TCP [5434:5440] direct"]),
        (
            "both",
            &other,
            1,
            1,
            vec![
                "widened changed shop-api-* -> shop-db-1 TCP [5441] direct",
                "narrowed changed shop-api-* -> shop-db-1 TCP [5432:5439] direct",
                "narrowed changed shop-api-* -> shop-db-1 TCP [5432] proxy",
            ],
        ),
        ("a policy after which nothing changes", &closed, 0, 0, vec![]),
    ] {
        let files = files(&[("db.yaml", DB)], &[("db.yaml", new)]);
        let answer = diff(&files, &["-o", "json"]);
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{name}: {answer:?}");
        assert_eq!(changes(&answer), expected, "{name}");
        assert_eq!(diff(&files, &["--fail-on", "widened"]).code, Some(widened), "{name}");
        assert_eq!(diff(&files, &["--fail-on", "any"]).code, Some(any), "{name}");
    }
}

#[test]
fn a_label_that_opens_the_database_is_told_of_two_worlds() {
    let files = files(&[("db.yaml", DB)], &[("db.yaml", DB)]);
    fs::write(files.path().join("after.yaml"), WORLD.replace("{app: jobs}", "{app: api}")).unwrap();
    let answer =
        files.run(&["diff", "old", "new", "--old-inventory", "world.yaml", "--inventory", "after.yaml", "-o", "json"]);
    let expected = [
        "widened added shop-jobs-1 -> shop-db-1 TCP [5432:5440] direct",
        // By an address of the host, too.
        "widened added shop-jobs-1 -> shop-db-1 TCP [5432] proxy",
    ];
    assert_eq!(changes(&answer), expected, "{answer:?}");
}

#[test]
fn each_form_is_as_it_was_looked_at() {
    let after = DB.replace("203.0.113.0/25", "203.0.113.0/24").replace("5432:5440", "5433:5440");
    let moved = format!("# Once a file of its own.\n{JOBS}").replace("order: 20", "order: 15");
    let files = files(&[("db.yaml", DB), ("jobs.yaml", JOBS)], &[("db.yaml", &after), ("jobs.yaml", &moved)]);
    for form in ["human", "md", "json", "csv", "html"] {
        let answer = diff(&files, &["-o", form]);
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{form}: {answer:?}");
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cli/diff/report.{form}"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(golden.parent().unwrap()).unwrap();
            fs::write(&golden, &answer.stdout).unwrap();
        }
        assert_eq!(answer.stdout, fs::read_to_string(&golden).unwrap(), "UPDATE_GOLDEN=1 writes {}", golden.display());
        let written = diff(&files, &["-o", form, "--output", "report"]);
        assert_eq!(fs::read_to_string(files.path().join("report")).unwrap(), answer.stdout);
        assert_eq!(written.stdout, "1 widened, 2 narrowed (connections: 1 added, 2 changed)\n", "{form}");
    }
    let mistaken = diff(&files, &["--output", "json"]);
    assert_eq!(mistaken.code, Some(2));
    assert!(mistaken.stderr.contains("`-o json` chooses the form"), "{mistaken:?}");
}

#[test]
fn a_comment_on_a_pull_request_is_never_too_long() {
    let containers: Vec<String> = (0..80)
        .map(|number| format!("    - {{name: c{number}x, labels: {{app: c{number}}}, networks: [back]}}\n"))
        .collect();
    let containers = containers.concat();
    let policies: String = (0..80)
        .map(|number| {
            DB.replace("name: db", &format!("name: c{number}"))
                .replace("  namespace: shop\n", "")
                .replace("'db'", &format!("'c{number}'"))
                + "---\n"
        })
        .collect();
    let files = files(&[("db.yaml", DB)], &[("db.yaml", &policies)]);
    fs::write(files.path().join("world.yaml"), format!("{WORLD}{containers}").replace("0/24", "0/16")).unwrap();
    let answer = diff(&files, &["-o", "md"]);
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""));
    let length = answer.stdout.chars().count();
    assert!((30_000..=65_000).contains(&length), "{length}");
    assert!(answer.stdout.contains("more changes are not shown here."), "{}", answer.stdout);
    assert_eq!(answer.stdout.matches("<details>").count(), answer.stdout.matches("</details>").count());
}

#[test]
fn invalid_policies_of_either_side_are_told_and_nothing_is_answered() {
    let broken = DB.replace("action: Allow", "action: Alow");
    for (old, new, file) in [(&broken, DB, "old/db.yaml:"), (&DB.to_owned(), broken.as_str(), "new/db.yaml:")] {
        let answer = diff(&files(&[("db.yaml", old)], &[("db.yaml", new)]), &[]);
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""));
        assert!(answer.stderr.contains(file) && answer.stderr.contains("Alow"), "{answer:?}");
    }
    let missing = files(&[("db.yaml", DB)], &[]);
    assert_eq!(diff(&missing, &[]).code, Some(2));
    let neither = files(&[("db.txt", DB)], &[("db.txt", DB)]);
    assert!(diff(&neither, &[]).stderr.contains("no policy files"), "{:?}", diff(&neither, &[]));
}

/// Runs git in a directory, with nobody's configuration.
fn git(directory: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Test").env(format!("GIT_{who}_EMAIL"), "test@example.com");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A repository whose first commit, `v1`, has DB and whose second has it for a wider net, beside what is no policy.
fn repository() -> Files {
    let files = Files::new(&[
        ("world.yaml", WORLD),
        ("deploy/policies/db.yaml", DB),
        ("deploy/policies/.hidden/broken.yaml", "a: ["),
        ("deploy/policies/notes.txt", "a: ["),
        ("deploy/policies/nä me.yml", JOBS),
    ]);
    git(files.path(), &["init", "--quiet", "--initial-branch", "main"]);
    git(files.path(), &["add", "."]);
    git(files.path(), &["commit", "--quiet", "-m", "first"]);
    git(files.path(), &["tag", "v1"]);
    fs::write(files.path().join("deploy/policies/db.yaml"), DB.replace("203.0.113.0/25", "203.0.113.0/24")).unwrap();
    git(files.path(), &["commit", "--quiet", "--all", "-m", "second"]);
    files
}

#[test]
fn revisions_of_git_are_read_as_directories_are() {
    let files = repository();
    let expected = ["widened added [203.0.113.128/25] -> shop-db-1 TCP [5432] published"];
    for (old, new) in [
        ("v1:deploy/policies", "HEAD:deploy/policies"),
        ("v1:deploy/policies/", "main:deploy/policies"),
        ("HEAD~1:./deploy/policies", "deploy/policies"),
        ("v1:deploy/policies/db.yaml", "main:deploy/policies/db.yaml"),
    ] {
        let answer = files.run(&["diff", old, new, "--inventory", "world.yaml", "-o", "json"]);
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{old} {new}: {answer:?}");
        assert_eq!(changes(&answer), expected, "{old} {new}");
        let rule = &answer.json()["changes"][0]["old"]["rules"][0];
        let file = format!("{}/db.yaml", old.trim_end_matches('/').trim_end_matches("/db.yaml"));
        assert_eq!((rule["file"].as_str(), rule["line"].as_u64()), (Some(file.as_str()), Some(1)), "{rule}");
    }
}

#[test]
fn the_whole_of_a_revision_can_be_named() {
    let files = repository();
    for (old, new) in [("v1:", "main:"), ("v1:.", "main:."), ("v1:./", "main:./")] {
        let answer = files.run(&["diff", old, new, "--inventory", "world.yaml", "-o", "json"]);
        assert_eq!(changes(&answer).len(), 1, "{old} {new}: {answer:?}");
    }
}

#[test]
fn a_name_is_a_name_in_every_form() {
    let world = "\
apiVersion: dockgate.io/v1alpha1
kind: Inventory
metadata: {name: odd}
spec:
  networks:
    - {name: back, subnets: [172.31.0.0/24]}
  containers:
    - {name: \"=cmd|'/c calc'!A1\", labels: {app: api}, networks: [back]}
    - {name: \"<script>`x`\\u202e\\n\", labels: {app: db}, networks: [back]}
";
    let policy = DB.replace("  namespace: shop\n", "");
    let wider = policy.replace("5432:5440", "5432:5441");
    let files = files(&[("a.yaml", &policy)], &[("a.yaml", &wider)]);
    fs::write(files.path().join("world.yaml"), world).unwrap();
    for (form, sender, receiver) in [
        ("human", "=cmd|'/c calc'!A1 ->", "-> <script>`x`\\u{202e}\\n  TCP 5441"),
        ("md", "| `=cmd\\|'/c calc'!A1` |", "| `<script>'x'\\u{202e}\\n` |"),
        ("md", "- **widened** `=cmd|'/c calc'!A1` →", "→ `<script>'x'\\u{202e}\\n` `TCP 5441"),
        ("csv", ",'=cmd|'/c calc'!A1,", ",<script>`x`\\u{202e}\\n,"),
        ("html", "<td>=cmd|'/c calc'!A1</td>", "<td>&lt;script&gt;`x`\\u{202e}\\n</td>"),
    ] {
        let answer = diff(&files, &["-o", form]);
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{form}: {answer:?}");
        assert!(answer.stdout.contains(sender) && answer.stdout.contains(receiver), "{form}: {}", answer.stdout);
    }
    // Twice the same, byte for byte.
    assert_eq!(diff(&files, &["-o", "json"]).stdout, diff(&files, &["-o", "json"]).stdout);
}

#[test]
fn what_git_cannot_give_is_said() {
    let files = repository();
    std::os::unix::fs::symlink("../elsewhere", files.path().join("deploy/policies/link")).unwrap();
    git(files.path(), &["add", "."]);
    git(files.path(), &["commit", "--quiet", "-m", "third"]);
    for (old, message) in [
        ("nope:deploy/policies", "git knows no revision nope"),
        ("v1:policies", "there is no policies in revision v1"),
        (":deploy/policies", "names no revision"),
        ("./v1:deploy", "cannot read ./v1:deploy"),
        ("HEAD:deploy/policies", "it is a symbolic link, and those are not followed in a revision"),
    ] {
        let answer = files.run(&["diff", old, "deploy/policies", "--inventory", "world.yaml"]);
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{old}: {answer:?}");
        assert!(answer.stderr.contains(message), "{old}: {answer:?}");
    }
    let option = files.run(&["diff", "--inventory", "world.yaml", "--", "-x:deploy/policies", "deploy/policies"]);
    assert!(option.stderr.contains("-x:deploy/policies names no revision"), "{option:?}");
    let outside = Files::new(&[("world.yaml", WORLD), ("new/db.yaml", DB)]);
    let answer = outside.run(&["diff", "HEAD:new", "new", "--inventory", "world.yaml"]);
    assert_eq!(answer.code, Some(2));
    assert!(answer.stderr.contains("not a git repository"), "{answer:?}");
    let mut without = command(&["diff", "HEAD:new", "new", "--inventory", "world.yaml"]);
    let output = without.env("PATH", "/nonexistent").current_dir(outside.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("git is not installed"), "{output:?}");
}
