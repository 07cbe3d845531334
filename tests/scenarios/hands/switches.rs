//! The switches by which a bridge's packets pass the packet filter.

use std::time::Instant;

use crate::support::Namespace;

use super::{Hands, Then};

/// The namespace's switch for bridges to be filtered, which is on again when this goes.
struct Switch(Namespace);

impl Switch {
    fn set(&self, value: &str) {
        for family in ["iptables", "ip6tables"] {
            self.0.set_sysctl(&format!("net.bridge.bridge-nf-call-{family}"), value);
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.set("1");
    }
}

/// The kernel filters a bridge while the bridge's own switch or the namespace's is on.
pub(super) fn bridge_off(hands: &mut Hands) {
    let undo = Switch(hands.lab.host().clone());
    undo.set("0");
    let off = format!("ip link set {} type bridge nf_call_iptables 0 nf_call_ip6tables 0", hands.bridge);
    hands.repairs_after(&off, &Then::Same);
}

/// The namespace's switch is another one than the bridge's; a hardening script turns it off.
pub(super) fn namespace_off(hands: &mut Hands) {
    let undo = Switch(hands.lab.host().clone());
    let began = Instant::now();
    undo.set("0");
    hands.expect_quiet(began, "without the namespace's switch");
}
