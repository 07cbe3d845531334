//! Every lint: what it finds and where, what is nearly the same and fine, and that it is silent without a world if it
//! needs one.
//!
//! In the texts `«DG5001»` stands directly before the place at which a finding with that code is expected.

use super::lint;
use crate::inventory::{self, Inventory};
use crate::policy::{Diagnostic, Severity, SourceFile, load};

mod rules;
mod selectors;
mod world;

/// Code, line and column.
type Place = (String, u32, u32);

/// Takes the marks out of a text; gives the text and what they say.
fn unmark(marked: &str) -> (String, Vec<Place>) {
    let mut pieces = marked.split('«');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    let mut places = Vec::new();
    for piece in pieces {
        let (code, rest) = piece.split_once('»').expect("a mark is closed");
        let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let place = |number: usize| u32::try_from(number).expect("a test file is small");
        places.push((code.to_owned(), place(text.matches('\n').count() + 1), place(column)));
        text.push_str(rest);
    }
    (text, places)
}

/// What `validate` says about a text, notes about namespaces aside.
fn findings(text: &str, world: Option<&Inventory>) -> Vec<Diagnostic> {
    let files = [SourceFile::new("p.yaml", text)];
    let loaded = load(&files);
    let mut all = loaded.diagnostics;
    assert!(all.iter().all(|found| found.severity != Severity::Error), "{all:#?}\n{text}");
    all.extend(lint(&loaded.policies, world, &files));
    Diagnostic::sort(&mut all);
    all.retain(|found| found.code != "DG3201");
    all
}

/// Name of the row, and marked policies.
type Row = (&'static str, String);

/// Compares what is found with what is marked, in a world or without.
#[track_caller]
fn check(world: Option<&Inventory>, rows: impl IntoIterator<Item = Row>) {
    let mut differing = Vec::new();
    for (name, marked) in rows {
        let (text, expected) = unmark(&marked);
        let found = findings(&text, world);
        let places: Vec<Place> =
            found.iter().map(|d| (d.code.to_owned(), d.location.line, d.location.column)).collect();
        if places != expected {
            let told: Vec<String> =
                found.iter().map(|d| format!("    {} {} {}", d.code, d.location, d.message)).collect();
            differing.push(format!("{name}\n  expected {expected:?}\n  found\n{}\n{text}", told.join("\n")));
        }
    }
    assert!(differing.is_empty(), "\n{}", differing.join("\n"));
}

/// Rows that a lint which needs a world marks: as they stand in the world, and without any mark outside of it.
#[track_caller]
fn check_in(world: &Inventory, rows: impl IntoIterator<Item = Row>) {
    let rows: Vec<Row> = rows.into_iter().collect();
    check(Some(world), rows.clone());
    check(None, rows.into_iter().map(|(name, marked)| (name, unmark(&marked).0)));
}

/// An inventory; see the tests of `inventory::file` for its form.
fn inventory(spec: &str) -> Inventory {
    let text = format!("apiVersion: dockgate.io/v1alpha1\nkind: Inventory\nmetadata: {{name: host}}\nspec:\n{spec}");
    let (inventory, diagnostics) = inventory::file::load(&SourceFile::new("inventory.yaml", text));
    assert_eq!(diagnostics, []);
    inventory
}

/// Web, api and db of a shop, and a container without labels. Web and api are on a network of both families.
fn shop() -> Inventory {
    inventory(
        "  networks:
    - {name: front, subnets: [172.30.0.0/24, 'fd00:30::/64']}
    - {name: back, subnets: [172.31.0.0/24], internal: true}
    - {name: lan, driver: macvlan, subnets: [192.168.7.0/24]}
  containers:
    - {name: web, namespace: shop, labels: {app: web, dockgate.io/ports: 'http=80/tcp'}, networks: [front], ports: ['8080:80']}
    - {name: api, namespace: shop, labels: {app: api, role: backend}, networks: [front, back], ports: ['9000:9000']}
    - {name: db, namespace: shop, labels: {app: db, role: db, dockgate.io/ports: 'postgres=5432/tcp'}, networks: [back]}
    - {name: tool, namespace: ops, networks: [front]}
    - {name: camera, namespace: home, labels: {app: camera}, networks: [lan]}
",
    )
}

/// A resource of `projectcalico.org/v3`.
fn calico(kind: &str, metadata: &str, spec: &str) -> String {
    format!("apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{{metadata}}}\nspec: {{{spec}}}\n---\n")
}

/// A NetworkPolicy of the shop.
fn policy(spec: &str) -> String {
    calico("NetworkPolicy", "name: p, namespace: shop", spec)
}

/// A GlobalNetworkPolicy.
fn global(spec: &str) -> String {
    calico("GlobalNetworkPolicy", "name: g", spec)
}

/// An ingress policy of the shop with these rules.
fn ingress(rules: &str) -> String {
    policy(&format!("selector: has(app), ingress: [{rules}]"))
}

/// An egress policy of the shop with these rules.
fn egress(rules: &str) -> String {
    policy(&format!("selector: has(app), egress: [{rules}]"))
}

/// A NetworkPolicy of Kubernetes in the shop.
fn kubernetes(spec: &str) -> String {
    let head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: k, namespace: shop}\n";
    format!("{head}spec: {{{spec}}}\n---\n")
}

#[test]
fn findings_name_their_field_also_within_lists() {
    let policy = ingress("{action: Allow, source: {selector: a == 'x' && a == 'y'}}");
    let item = policy.trim_end_matches("---\n").replace('\n', "\n  ");
    let found = findings(&format!("apiVersion: v1\nkind: List\nitems:\n- {item}"), None);
    let [found] = &found[..] else { panic!("{found:#?}") };
    assert_eq!((found.code, found.field.as_str()), ("DG5001", "items[0].spec.ingress[0].source.selector"));
}

#[test]
fn without_the_files_a_finding_stands_at_its_rule() {
    let text = ingress("{action: Log}, {action: Allow, source: {selector: a == 'x' && a == 'y'}}");
    let loaded = load(&[SourceFile::new("p.yaml", text)]);
    let found = lint(&loaded.policies, None, &[]);
    let rule = &loaded.policies.policies[0].ingress.as_ref().expect("ingress")[1];
    assert_eq!(found.iter().map(|found| &found.location).collect::<Vec<_>>(), [&rule.location]);
}
