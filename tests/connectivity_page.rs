//! The page and the picture of `connectivity` in a real browser: what a filter leaves, what a click tells, and that no label
//! lies over another, of 5, 20 and 100 services.
//!
//! The browser is `chromium`, which `make test` installs on Debian; `DOCKGATE_CHROMIUM` names another of its kind. Without
//! one the tests fail: a picture that nobody has looked at is not known to be one.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world ends there")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Seconds after which a browser is taken to hang.
const PATIENCE: &str = "120";

fn browser() -> String {
    if let Ok(named) = std::env::var("DOCKGATE_CHROMIUM") {
        return named;
    }
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let answers = |name: &&&str| Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok();
    let found = names.iter().find(answers);
    let found = found.unwrap_or_else(|| panic!("there is none of {names:?}: `make browser` installs one"));
    (*found).to_owned()
}

/// Runs the browser without a window.
fn browse(arguments: &[&str]) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("timeout")
        .args(["--kill-after=5", PATIENCE, &browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
        .args(["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The page after its scripts have run.
fn dom(page: &Path, hash: &str) -> String {
    browse(&["--dump-dom", &format!("file://{}{hash}", page.display())])
}

/// The text of an element with this id, markup included.
fn element<'a>(dom: &'a str, name: &str, id: &str) -> &'a str {
    let start = dom.find(&format!("<{name} id=\"{id}\"")).unwrap_or_else(|| panic!("no {id} in {dom}"));
    let end = dom[start..].find(&format!("</{name}>")).unwrap();
    &dom[start..start + end]
}

/// The cells of the list, row by row.
fn list(dom: &str) -> Vec<Vec<String>> {
    let body = element(dom, "table", "list").split("<tbody>").nth(1).unwrap();
    let cells =
        |row: &str| row.split("<td>").skip(1).map(|cell| cell.split("</td>").next().unwrap().to_owned()).collect();
    body.split("<tr").skip(1).map(cells).collect()
}

/// Writes an answer of the command.
fn write(directory: &Path, policies: &str, inventory: &str, format: &str) -> PathBuf {
    let path = directory.join(format!("answer.{format}"));
    let output = Command::new(env!("CARGO_BIN_EXE_dockgate"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["connectivity", "--policies", policies, "--inventory", inventory, "-o", format, "--output"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

/// A directory with the page of the example.
fn shop() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let page = write(directory.path(), "examples/shop", "examples/shop/inventory.yaml", "html");
    (directory, page)
}

/// A world of so many services with two replicas each, in stacks of five, and policies for most of them.
fn world(directory: &Path, services: usize) -> (String, String) {
    const KINDS: [&str; 5] = ["web", "api", "worker", "db", "cache-of-all-kinds-of-things"];
    let mut inventory =
        "apiVersion: dockgate.io/v1alpha1\nkind: Inventory\nmetadata: {name: big}\nspec:\n  networks:\n\
         \x20   - {name: shared, subnets: [10.200.0.0/16]}\n"
            .to_owned();
    let mut containers = String::from("  containers:\n    - {name: agent, networkMode: host}\n");
    let mut policies = String::new();
    for stack in 0..services.div_ceil(KINDS.len()) {
        let _ = writeln!(inventory, "    - {{name: s{stack}, subnets: [10.{stack}.0.0/16]}}");
        for (index, kind) in KINDS.iter().enumerate().take(services - stack * KINDS.len()) {
            for replica in 1..=2 {
                let shared = if index < 2 { ", shared" } else { "" };
                let ports =
                    if index == 0 { format!(", ports: ['{}:80']", 8000 + stack * 2 + replica) } else { String::new() };
                let _ = writeln!(
                    containers,
                    "    - {{name: s{stack}-{kind}-{replica}, namespace: s{stack}, labels: {{app: {kind}}}, \
                     networks: [s{stack}{shared}]{ports}}}"
                );
            }
        }
        if stack % 3 != 2 {
            for (name, source, port) in [("db", "worker", "5432"), ("api", "web", "'8080:8090'")] {
                let _ = writeln!(
                    policies,
                    "---\napiVersion: projectcalico.org/v3\nkind: NetworkPolicy\n\
                     metadata: {{name: {name}, namespace: s{stack}}}\nspec:\n  selector: app == '{name}'\n  ingress:\n    \
                     - {{action: Allow, protocol: TCP, source: {{selector: app == '{source}'}}, \
                     destination: {{ports: [{port}]}}}}"
                );
            }
        }
    }
    let (policies_file, inventory_file) = (directory.join("policies.yaml"), directory.join("inventory.yaml"));
    fs::write(&policies_file, policies).unwrap();
    fs::write(&inventory_file, inventory + &containers).unwrap();
    (policies_file.display().to_string(), inventory_file.display().to_string())
}

#[test]
fn the_page_shows_everything_until_it_is_filtered() {
    let (_directory, page) = shop();
    let all = dom(&page, "");
    assert_eq!(list(&all).len(), 7, "{all}");
    assert_eq!(element(&all, "table", "matrix").matches("<th scope=\"row\"").count(), 5);

    let filtered = dom(&page, "#filter=db");
    let pairs: Vec<(String, String)> =
        list(&filtered).into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let expected = [("shop-api-1", "shop-db-1"), ("host", "shop-db-1")];
    assert_eq!(pairs, expected.map(|(from, to)| (from.to_owned(), to.to_owned())));
    assert_eq!(element(&filtered, "table", "matrix").matches("<th scope=\"row\"").count(), 2, "{filtered}");
    assert_eq!(element(&filtered, "table", "matrix").matches("<th scope=\"col\"").count(), 1, "{filtered}");
    assert!(element(&filtered, "output", "shown").ends_with(">2 lines"), "{filtered}");

    let policy_and_port = dom(&page, "#filter=shop/web%208080");
    assert_eq!(list(&policy_and_port).len(), 3, "the port of the container and that of the host: {policy_and_port}");
    assert!(list(&dom(&page, "#filter=nobody")).is_empty());
}

#[test]
fn the_page_tells_the_rules_of_a_cell_that_was_clicked() {
    let (directory, page) = shop();
    let rule = "NetworkPolicy shop/db ingress[0] (examples/shop/db.yaml:13:7)";
    let linked = dom(&page, "#from=shop-api-1&to=shop-db-1");
    assert!(element(&linked, "aside", "detail").contains(rule), "{linked}");

    let script = "<script>
        document.querySelectorAll('#list thead button')[1].click();
        document.querySelectorAll('#list thead button')[1].click();
        document.querySelector('#matrix td.some').click();
        document.body.append('address ' + location.hash);
    </script></body>";
    let clicked = directory.path().join("clicked.html");
    fs::write(&clicked, fs::read_to_string(&page).unwrap().replace("</body>", script)).unwrap();
    let clicked = dom(&clicked, "");
    assert!(element(&clicked, "aside", "detail").contains(rule), "{clicked}");
    assert!(clicked.contains("address #sort=-1&amp;from=shop-api-1&amp;to=shop-db-1"), "{clicked}");
    let to: Vec<String> = list(&clicked).into_iter().map(|row| row[1].clone()).collect();
    assert!(to.is_sorted_by(|one, other| one >= other), "sorted by the second column, descending: {to:?}");
}

#[test]
fn the_page_has_what_is_denied_when_it_is_asked_to() {
    let (_directory, page) = shop();
    let denied = list(&dom(&page, "#denied=yes&filter=deny%20shop-web-1%20shop-api-1"));
    assert!(!denied.is_empty() && denied.iter().all(|row| row[2] == "deny"), "{denied:?}");
}

#[test]
fn no_name_is_markup() {
    let directory = tempfile::tempdir().unwrap();
    let name = "</script><script>document.title='taken'</script><b title=\\\"x\\\">&amp;";
    let inventory = format!(
        "apiVersion: dockgate.io/v1alpha1\nkind: Inventory\nmetadata: {{name: x}}\nspec:\n  networks:\n    - {{name: n, \
         subnets: [10.1.0.0/24]}}\n  containers:\n    - {{name: a, networks: [n], labels: {{com.docker.compose.service: \
         \"{name}\"}}}}\n    - {{name: b, networks: [n]}}\n"
    );
    let file = directory.path().join("inventory.yaml");
    fs::write(&file, inventory).unwrap();
    for format in ["html", "svg"] {
        let page = write(directory.path(), "examples/shop", file.to_str().unwrap(), format);
        let dom = dom(&page, "");
        assert!(!dom.contains("<title>taken</title>") && !dom.contains("<b title"), "{format}: {dom}");
        assert!(dom.contains("&lt;/script&gt;&lt;script&gt;document.title"), "{format}: {dom}");
    }
}

/// Says in the document which labels lie over others, and which signs are outside of their cells.
const MEASURE: &str = "<script>
    const box = (element) => element.getBoundingClientRect();
    const apart = (a, b) => a.right <= b.left + 0.5 || b.right <= a.left + 0.5
        || a.bottom <= b.top + 0.5 || b.bottom <= a.top + 0.5;
    const picture = box(document.querySelector('svg'));
    const texts = [...document.querySelectorAll('svg > text')];
    const wrong = [];
    texts.forEach((one, index) => {
        if (box(one).right > picture.right || box(one).left < picture.left || box(one).top < picture.top)
            wrong.push('cut: ' + one.textContent);
        for (const other of texts.slice(index + 1))
            if (!apart(box(one), box(other))) wrong.push('over: ' + one.textContent + ' / ' + other.textContent);
        for (const rect of document.querySelectorAll('svg > rect.none, svg > g > rect'))
            if (!apart(box(one), box(rect))) wrong.push('on a cell: ' + one.textContent);
    });
    for (const cell of document.querySelectorAll('svg > g')) {
        const [rect, inner] = [box(cell.querySelector('rect')), [...cell.querySelectorAll('text')].map(box)];
        inner.forEach((text) => {
            if (text.left < rect.left || text.right > rect.right) wrong.push('wide: ' + cell.textContent);
        });
    }
    document.title = 'texts ' + texts.length + ', wrong ' + wrong.length + ' ' + wrong.slice(0, 5).join('; ');
</script>";

#[test]
fn pictures_and_pages_are_laid_out_at_5_20_and_100_services() {
    for services in [5, 20, 100] {
        let directory = tempfile::tempdir().unwrap();
        let (policies, inventory) = world(directory.path(), services);
        let svg = write(directory.path(), &policies, &inventory, "svg");
        let html = write(directory.path(), &policies, &inventory, "html");

        let measured = directory.path().join("measured.html");
        fs::write(
            &measured,
            format!("<!doctype html><meta charset=utf-8>{}{MEASURE}", fs::read_to_string(&svg).unwrap()),
        )
        .unwrap();
        let measured = dom(&measured, "");
        let title = measured.split("<title>texts ").nth(1).and_then(|rest| rest.split("</title>").next());
        let title = title.unwrap_or_else(|| panic!("nothing was measured: {measured}"));
        let (texts, wrong) = title.split_once(", wrong ").unwrap();
        assert!(texts.parse::<usize>().unwrap() > 2 * services, "{services} services: {texts} labels");
        assert_eq!(wrong.trim(), "0", "{services} services");

        let page = dom(&html, "");
        // The services, this host and the outside.
        let rows = element(&page, "table", "matrix").matches("<th scope=\"row\"").count();
        assert_eq!(rows, services + 2, "{services} services");

        for picture in [&svg, &html] {
            let png = directory.path().join("shot.png");
            let (shot, url) = (format!("--screenshot={}", png.display()), format!("file://{}", picture.display()));
            browse(&[&shot, "--window-size=1400,1000", &url]);
            let png = fs::read(&png).unwrap();
            // A white picture of this size has 5 kB.
            assert!(png.starts_with(b"\x89PNG") && png.len() > 15_000, "{}: {} bytes", picture.display(), png.len());
        }
    }
}
