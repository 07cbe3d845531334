//! Names of network interfaces, and what several of them begin with.
//!
//! Input: text. Output: checked values. A name has nothing in it that would be a wildcard to iptables, so that a wildcard is
//! always meant as one.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Error, from_text};

/// A Linux network interface name (kernel: `IFNAMSIZ` is 16 with the terminating zero). Copies share the text: every
/// member of a set that is bound to its bridge has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(Arc<str>);

impl InterfaceName {
    /// `lo`, the interface on which a host talks to itself.
    pub fn loopback() -> InterfaceName {
        InterfaceName(Arc::from("lo"))
    }

    /// The first of all names in their order: no interface has a shorter name or one that begins with less than `0`.
    pub fn least() -> InterfaceName {
        InterfaceName(Arc::from("0"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for InterfaceName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl FromStr for InterfaceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // The kernel takes nearly every byte; what would be a wildcard, a quote, a list or an option to iptables and ipset
        // is not taken here.
        let valid = (1..=15).contains(&text.len())
            && !text.starts_with(['-', '.'])
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if valid { Ok(InterfaceName(Arc::from(text))) } else { Err(Error::Interface(text.to_owned())) }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What several interface names begin with: 1 to 14 bytes of such a name. To iptables it is that with a `+` behind it, and
/// the whole is no longer than a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfacePrefix(Arc<str>);

impl InterfacePrefix {
    /// Whether a name begins so.
    pub fn begins(&self, name: &InterfaceName) -> bool {
        name.0.starts_with(&*self.0)
    }

    /// Whether all names that begin like `other` begin so as well.
    pub fn covers(&self, other: &InterfacePrefix) -> bool {
        other.0.starts_with(&*self.0)
    }
}

impl Serialize for InterfacePrefix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl FromStr for InterfacePrefix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let InterfaceName(text) = text.parse()?;
        if text.len() <= 14 { Ok(InterfacePrefix(text)) } else { Err(Error::Interface(text.to_string())) }
    }
}

impl fmt::Display for InterfacePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for InterfaceName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

impl<'de> Deserialize<'de> for InterfacePrefix {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_leaves_room_for_the_wildcard() {
        for text in ["", "fifteen-bytes-x", "br+", "-a", "a b"] {
            assert!(text.parse::<InterfacePrefix>().is_err(), "{text}");
        }
        let prefix = |text: &str| text.parse::<InterfacePrefix>().unwrap();
        let name = |text: &str| text.parse::<InterfaceName>().unwrap();
        let fourteen = prefix("br-0123456789a");
        assert!(fourteen.begins(&name("br-0123456789ab")) && fourteen.begins(&name("br-0123456789a")));
        assert!(!fourteen.begins(&name("br-0123456789")) && !fourteen.begins(&name("br-0123456789b")));
        assert!(prefix("br-").covers(&fourteen) && prefix("br-").covers(&prefix("br-")));
        assert!(!fourteen.covers(&prefix("br-")));
        assert_eq!(serde_json::from_str::<InterfacePrefix>("\"br-\"").unwrap(), prefix("br-"));
        assert!(serde_json::from_str::<InterfacePrefix>("\"br+\"").is_err());
    }

    #[test]
    fn interface_names_fit_the_kernel() {
        assert!("br-0123456789ab".parse::<InterfaceName>().is_ok());
        for text in ["", "sixteen-bytes-xx", "a b", "a/b", ".", "br+", "a\"b", "a,b", "!a", "-a"] {
            assert!(text.parse::<InterfaceName>().is_err(), "{text}");
        }
    }
}
