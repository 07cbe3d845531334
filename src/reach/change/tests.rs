use super::*;
use crate::reach::boundaries;
use crate::reach::sample::{SHOP, compiled, inventory};

/// The database for the api, and nothing else said.
const DB: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: db}
spec:
  selector: app == 'db'
  ingress:
    - {action: Allow, protocol: TCP, source: {selector: app == 'api'}, destination: {ports: ['5432:5440']}}
";

fn name(units: &[Unit]) -> String {
    let join = |nets: &[Cidr]| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let names = units.iter().map(|unit| match unit {
        Unit::Container(name) | Unit::Service { name, .. } => name.clone(),
        Unit::Host => "host".to_owned(),
        Unit::Outside { nets, except } if except.is_empty() => join(nets),
        Unit::Outside { nets, except } => format!("{} but {}", join(nets), join(except)),
    });
    names.collect::<Vec<_>>().join(" and ")
}

/// The changes, one a line: `widened added api-* -> db TCP 80: old rules => new rules`.
fn changes(old: (&str, &str), new: (&str, &str)) -> Vec<String> {
    let (before, now) = (inventory(old.0), inventory(new.0));
    let compiled = [(old.1, &before), (new.1, &now)].map(|(text, world)| compiled(text, world));
    let both = compiled.iter().flat_map(|compiled| boundaries(&compiled.ruleset)).collect();
    let old = Reach::new(&before, &compiled[0], &both);
    let new = Reach::new(&now, &compiled[1], &both);
    let found = compare(Side { reach: &old, compiled: &compiled[0] }, Side { reach: &new, compiled: &compiled[1] });
    let told = found.iter().map(|Change { fact, from, to }| {
        let traffic: Vec<String> = fact.traffic.iter().map(|(service, ports)| format!("{service} {ports}")).collect();
        let reason = |reason: &Reason| match reason {
            Reason::NoWay => "no way".to_owned(),
            Reason::Rules(rules) if rules.is_empty() => "nobody".to_owned(),
            Reason::Rules(rules) => rules.join(" + "),
        };
        let via = match &fact.via {
            Via::Direct => String::new(),
            Via::Published { host_port } | Via::Proxy { host_port } => format!(" at {host_port}"),
        };
        let network = fact.network.as_ref().map(|network| format!(" on {network}")).unwrap_or_default();
        let words = format!("{:?} {:?}", fact.effect, fact.kind).to_lowercase();
        let traffic = traffic.join(", ");
        let (old, new) = (reason(&fact.old), reason(&fact.new));
        format!("{words} {} -> {} {traffic}{via}{network}: {old} => {new}", name(from), name(to))
    });
    told.collect()
}

#[test]
fn changes_are_exact_and_told_once_for_all_whom_they_are_about() {
    for (name, old, new, expected) in [
        ("the same", DB, DB.to_owned(), vec![]),
        (
            "a narrower range",
            DB,
            DB.replace("5432:5440", "5432:5434"),
            vec!["narrowed changed api-* -> db TCP 5435:5440: db ingress[0] => end of tier default after db, ingress"],
        ),
        (
            "both ways at once",
            DB,
            DB.replace("5432:5440", "5440:5441"),
            vec![
                "widened changed api-* -> db TCP 5441: end of tier default after db, ingress => db ingress[0]",
                "narrowed changed api-* -> db TCP 5432:5439: db ingress[0] => end of tier default after db, ingress",
            ],
        ),
        (
            "one of two replicas",
            DB,
            DB.replace("app == 'api'", "special == 'yes'"),
            vec!["narrowed removed api-1 -> db TCP 5432:5440: db ingress[0] => end of tier default after db, ingress"],
        ),
    ] {
        assert_eq!(changes((SHOP, old), (SHOP, &new)), expected, "{name}");
    }
}

#[test]
fn addresses_outside_are_told_as_nets_or_as_all_but_some() {
    let policy = |nets: &str| {
        format!(
            "{{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {{name: out}}, spec: {{selector: app == \
             'db', types: [Egress], egress: [{{action: Allow, protocol: TCP, destination: {{{nets}, ports: [443]}}}}]}}}}"
        )
    };
    for (name, old, new, expected) in [
        (
            "one net more",
            "nets: [203.0.113.0/25]",
            "nets: [203.0.113.0/24]",
            "widened added db -> 203.0.113.128/25 TCP 443: end of tier default after out, egress => out egress[0]",
        ),
        (
            "across the networks of this host",
            "nets: [203.0.113.0/25]",
            "nets: [203.0.113.0/25, 10.0.0.0/8]",
            "widened added db -> 10.0.0.0/8 TCP 443: end of tier default after out, egress => out egress[0]",
        ),
        (
            "all but one",
            "nets: [203.0.113.0/24]",
            "nets: [0.0.0.0/0]",
            "widened added db -> 0.0.0.0/0 but 203.0.113.0/24 TCP 443: end of tier default after out, egress => out egress[0]",
        ),
    ] {
        let found = changes((SHOP, &policy(old)), (SHOP, &policy(new)));
        assert!(found.iter().any(|line| line == expected), "{name}: {found:#?}");
    }
}

#[test]
fn a_label_or_a_container_that_comes_changes_what_may_be_reached() {
    let relabelled = SHOP.replace("{name: web-1, labels: {app: web}", "{name: web-1, labels: {app: api}");
    assert_eq!(changes((SHOP, DB), (&relabelled, DB)), Vec::<String>::new(), "web is not on the network of db");
    let more = format!("{SHOP}    - {{name: batch, labels: {{app: api}}, networks: [back]}}\n");
    let found = changes((SHOP, DB), (&more, DB));
    assert!(
        found.iter().any(|line| line == "widened added batch -> db TCP 5432:5440: no way => db ingress[0]"),
        "{found:#?}"
    );
    let back = changes((&more, DB), (SHOP, DB));
    assert!(
        back.iter().any(|line| line == "narrowed removed batch -> db TCP 5432:5440: db ingress[0] => no way"),
        "{back:#?}"
    );
}

#[test]
fn a_way_that_changes_on_one_of_two_networks_names_it() {
    let policy = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: api}
spec:
  selector: app == 'api' && dockgate.io/network == 'front'
  ingress:
    - {action: Deny, source: {selector: app == 'api'}}
    - {action: Allow}
";
    let found = changes((SHOP, ""), (SHOP, policy));
    assert_eq!(
        found,
        ["narrowed changed api-* -> api-* TCP all, UDP all, SCTP all, ping all on front: nobody => api ingress[0]"]
    );
}
