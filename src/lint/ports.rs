//! Sets of ports, as rules list them.
//!
//! Input: lists of [`Port`]s. Output: whether one holds what another lists. A name is only ever the same as itself: which
//! ports it stands for is the containers' to say.

use crate::net::PortRange;
use crate::policy::Port;

/// The numeric ports of a list.
pub(super) fn ranges(ports: &[Port]) -> Vec<PortRange> {
    let mut ranges: Vec<PortRange> = ports
        .iter()
        .filter_map(|port| match port {
            Port::Range(range) => Some(*range),
            Port::Named(_) => None,
        })
        .collect();
    ranges.sort();
    ranges
}

/// The names of a list, each with its place in it.
pub(super) fn names(ports: &[Port]) -> impl Iterator<Item = (usize, &str)> {
    ports.iter().enumerate().filter_map(|(index, port)| match port {
        Port::Named(name) => Some((index, name.as_str())),
        Port::Range(_) => None,
    })
}

/// Whether every port of a range lies in one of the ranges, which are sorted.
pub(super) fn within(range: PortRange, ranges: &[PortRange]) -> bool {
    let mut missing = range.first();
    for known in ranges.iter().filter(|known| known.last() >= range.first()) {
        if known.first() > missing {
            return false;
        }
        if known.last() >= range.last() {
            return true;
        }
        missing = missing.max(known.last() + 1);
    }
    false
}

/// Whether a list holds every port of another, both as they stand.
pub(super) fn hold(wide: &[Port], narrow: &[Port]) -> bool {
    let known = ranges(wide);
    narrow.iter().all(|port| match port {
        Port::Range(range) => within(*range, &known),
        Port::Named(_) => wide.contains(port),
    })
}

/// Whether a list names a port number.
pub(super) fn list_number(ports: &[Port], number: u16) -> bool {
    ranges(ports).iter().any(|range| range.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_within_what_covers_it_without_a_gap() {
        let range = |text: &str| text.parse::<PortRange>().expect("range");
        let rows: &[(&str, &[&str], bool)] = &[
            ("80", &["80"], true),
            ("80", &["1:79", "81:65535"], false),
            ("80:90", &["1:85", "86:90"], true),
            ("80:90", &["1:85", "87:90"], false),
            ("80:90", &["1:100", "5:6"], true),
            ("1:65535", &["1:65535"], true),
            ("65535", &["1:65534"], false),
            ("80", &[], false),
        ];
        for (asked, known, expected) in rows {
            let known: Vec<_> = known.iter().map(|text| range(text)).collect();
            assert_eq!(within(range(asked), &known), *expected, "{asked} in {known:?}");
        }
    }
}
