//! Sets of ports, exact over the whole port space.
//!
//! Input: ranges in any order. Output: a [`PortSet`] in its only form, so that equal sets are equal values. Questions about
//! reachability are answered with these and never by trying some ports.

use std::fmt;

use serde::{Serialize, Serializer};

use super::PortRange;

/// The highest port.
const LAST: u16 = u16::MAX;

/// A set of ports from 1 to 65535.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSet {
    /// In ascending order; between two of them there is at least one port that belongs to neither.
    ranges: Vec<PortRange>,
}

impl PortSet {
    /// No port.
    pub fn empty() -> PortSet {
        PortSet::default()
    }

    /// Every port.
    pub fn all() -> PortSet {
        PortRange::new(1, LAST).into_iter().collect()
    }

    /// Whether it has no port.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether it has every port.
    pub fn is_all(&self) -> bool {
        *self == PortSet::all()
    }

    /// Whether a port belongs to it.
    pub fn contains(&self, port: u16) -> bool {
        let before = self.ranges.partition_point(|range| range.last() < port);
        self.ranges.get(before).is_some_and(|range| range.contains(port))
    }

    /// The lowest port; `None` if it has none.
    pub fn first(&self) -> Option<u16> {
        self.ranges.first().map(|range| range.first())
    }

    /// Its ranges, as few as possible, in ascending order.
    pub fn ranges(&self) -> &[PortRange] {
        &self.ranges
    }

    /// Number of ports.
    pub fn len(&self) -> usize {
        self.ranges.iter().map(|range| usize::from(range.last() - range.first()) + 1).sum()
    }

    /// The ports of either.
    #[must_use]
    pub fn union(&self, other: &PortSet) -> PortSet {
        self.ranges.iter().chain(&other.ranges).copied().collect()
    }

    /// The ports of both.
    #[must_use]
    pub fn intersection(&self, other: &PortSet) -> PortSet {
        let overlap = |one: &PortRange, other: &PortRange| {
            PortRange::new(one.first().max(other.first()), one.last().min(other.last()))
        };
        self.ranges.iter().flat_map(|one| other.ranges.iter().filter_map(|other| overlap(one, other))).collect()
    }

    /// The ports of this one that are not of the other.
    #[must_use]
    pub fn difference(&self, other: &PortSet) -> PortSet {
        self.intersection(&other.complement())
    }

    /// All other ports.
    #[must_use]
    pub fn complement(&self) -> PortSet {
        let mut gaps = Vec::new();
        let mut next = Some(1);
        for range in &self.ranges {
            gaps.extend(next.and_then(|next| PortRange::new(next, range.first() - 1)));
            next = range.last().checked_add(1);
        }
        gaps.extend(next.and_then(|next| PortRange::new(next, LAST)));
        PortSet { ranges: gaps }
    }
}

impl FromIterator<PortRange> for PortSet {
    fn from_iter<I: IntoIterator<Item = PortRange>>(ranges: I) -> PortSet {
        let mut sorted: Vec<PortRange> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut joined: Vec<PortRange> = Vec::new();
        for range in sorted {
            match joined.last_mut().filter(|last| range.first() <= last.last().saturating_add(1)) {
                Some(last) => last.last = last.last.max(range.last()),
                None => joined.push(range),
            }
        }
        PortSet { ranges: joined }
    }
}

impl fmt::Display for PortSet {
    /// `80,443,8000:8099` as in iptables; `all` and `none` for the two extremes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str("all");
        }
        if self.is_empty() {
            return f.write_str("none");
        }
        for (index, range) in self.ranges.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{range}")?;
        }
        Ok(())
    }
}

impl Serialize for PortSet {
    /// As a list of ranges in text: `["80", "8000:8099"]`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.ranges.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(text: &str) -> PortSet {
        text.split(',')
            .filter(|part| !part.is_empty())
            .map(|part| part.parse::<PortRange>().expect("a range"))
            .collect()
    }

    #[test]
    fn neighbours_and_overlaps_are_one_range() {
        for (text, printed) in [
            ("", "none"),
            ("1:65535", "all"),
            ("2:65535,1", "all"),
            ("80,81,443", "80:81,443"),
            ("10:20,15:30,5", "5,10:30"),
            ("65535,65534", "65534:65535"),
            ("10:100,20:30", "10:100"),
        ] {
            assert_eq!(set(text).to_string(), printed, "{text}");
        }
    }

    fn any_set() -> impl Strategy<Value = PortSet> {
        let edge = prop_oneof![1..=40_u16, (LAST - 40)..=LAST];
        let range = (edge.clone(), edge).prop_map(|(a, b)| PortRange::new(a.min(b), a.max(b)).expect("not 0"));
        proptest::collection::vec(range, 0..6).prop_map(|ranges| ranges.into_iter().collect())
    }

    proptest! {
        #[test]
        fn operations_are_those_of_sets(a in any_set(), b in any_set(), port in prop_oneof![1..=42_u16, (LAST - 42)..=LAST]) {
            let (in_a, in_b) = (a.contains(port), b.contains(port));
            prop_assert_eq!(a.union(&b).contains(port), in_a || in_b);
            prop_assert_eq!(a.intersection(&b).contains(port), in_a && in_b);
            prop_assert_eq!(a.difference(&b).contains(port), in_a && !in_b);
            prop_assert_eq!(a.complement().contains(port), !in_a);
            prop_assert_eq!(a.complement().complement(), a.clone());
            prop_assert_eq!(a.len() + a.complement().len(), usize::from(LAST));
            prop_assert_eq!(a.union(&b), b.union(&a));
        }
    }
}
