use std::collections::BTreeSet;

use super::*;
use crate::inventory::Inventory;
use crate::policy::PolicySet;
use crate::reach::table::{GroupKind, Pairs, Row};
use crate::reach::{Service, Via};
use crate::verdict::Decision;

#[test]
fn each_form_keeps_a_name_from_being_more_than_a_name() {
    let name = "a|b \"c\" <d> & 'e', \\n `f` \u{1b}[2J @g";
    assert_eq!(csv::quoted(name), "\"a|b \"\"c\"\" <d> & 'e', \\n `f` \\u{1b}[2J @g\"");
    for (field, expected) in [
        ("plain words", "plain words"),
        ("one; two", "\"one; two\""),
        ("=cmd|'/c calc'!A1", "'=cmd|'/c calc'!A1"),
        ("@SUM(1,2)", "\"'@SUM(1,2)\""),
        ("-1+2", "'-1+2"),
        ("+1", "'+1"),
    ] {
        assert_eq!(csv::quoted(field), expected);
    }
    assert_eq!(markdown::escaped(name), "a\\|b \"c\" &lt;d&gt; &amp; 'e', \\\\n \\`f\\` \\\\u{1b}\\[2J &#64;g");
    assert_eq!(dot::quoted(name), "\"a|b \\\"c\\\" <d> &amp; 'e', \\\\n `f` \\\\u{1b}[2J @g\"");
    assert_eq!(svg::escaped(name), "a|b &quot;c&quot; &lt;d&gt; &amp; &#39;e&#39;, \\n `f` \\u{1b}[2J @g");
}

/// A row from the second group to the first, as text: what a line of it says.
fn lines(rows: &[(Service, Decision, &str, &[crate::net::Family])]) -> Vec<String> {
    let (inventory, policies) = (Inventory::default(), PolicySet::default());
    let compiled = compile::compile(&policies, &inventory, &Options::default());
    let reach = Reach::new(&inventory, &compiled, &BTreeSet::new());
    let mut table = Table::new(&reach, &inventory, By::Service);
    assert_eq!(table.groups.iter().map(|group| group.kind).collect::<Vec<_>>(), [GroupKind::Host, GroupKind::Outside]);
    let row = |(service, decision, ports, families): &(Service, Decision, &str, &[crate::net::Family])| Row {
        from: 1,
        to: 0,
        service: *service,
        via: Via::Published { host_port: 8080 },
        decision: *decision,
        pairs: Pairs::All,
        ports: ports.split(',').map(|range| range.parse::<crate::net::PortRange>().unwrap()).collect(),
        families: families.iter().copied().collect(),
        rules: Vec::new(),
    };
    table.rows = rows.iter().map(row).collect();
    let nobody = Choice { from: &[], to: &[], network: None, port: None };
    let chosen = nobody.choose(&table, &reach, &inventory).unwrap();
    let view = View::new(&table, &reach, &compiled, &inventory, chosen, false);
    let cells = matrix::cells(&view);
    let told = cells.values().flat_map(|cell| {
        let state = cell.state.class().to_owned();
        [state].into_iter().chain(cell.texts())
    });
    told.collect()
}

#[test]
fn protocols_with_the_same_answer_are_one_line_and_families_are_named_where_they_differ() {
    use crate::net::Family::{V4, V6};
    const TCP: Service = Service::Ports(Protocol::TCP);
    const UDP: Service = Service::Ports(Protocol::UDP);
    const SCTP: Service = Service::Ports(Protocol::SCTP);
    use Decision::{Allow, Deny};
    let all = "1:65535";
    for (rows, expected) in [
        (
            [
                (TCP, Allow, all, &[V4, V6][..]),
                (UDP, Allow, all, &[V4, V6]),
                (SCTP, Allow, all, &[V4, V6]),
                (Service::Ping, Allow, all, &[V4, V6]),
            ],
            vec!["some", "any via published 8080"],
        ),
        (
            [
                (TCP, Allow, "80,443", &[V4, V6]),
                (UDP, Allow, "80,443", &[V4, V6]),
                (SCTP, Deny, all, &[V4, V6]),
                (Service::Ping, Allow, all, &[V4, V6]),
            ],
            vec!["some", "TCP,UDP 80,443 via published 8080", "ping via published 8080"],
        ),
        (
            [
                (TCP, Allow, "1:79,81:65535", &[V4]),
                (UDP, Allow, "53", &[V4, V6]),
                (SCTP, Deny, all, &[V4]),
                (Service::Ping, Deny, all, &[V4]),
            ],
            vec!["some", "TCP all but 80 via published 8080 IPv4", "UDP 53 via published 8080"],
        ),
        (
            [
                (TCP, Deny, all, &[V4]),
                (UDP, Deny, all, &[V4]),
                (SCTP, Deny, all, &[V4]),
                (Service::Ping, Deny, all, &[V4]),
            ],
            vec!["denied"],
        ),
    ] {
        assert_eq!(lines(&rows), expected);
    }
}
