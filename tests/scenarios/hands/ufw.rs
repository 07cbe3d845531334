//! Debian's own front end of the packet filter.

use std::time::Instant;

use crate::support::Lab;

use super::{Hands, foreign};

/// Debian's ufw with its files copied, so that the machine's own stay as they are.
pub(super) fn enable_and_disable(hands: &mut Hands) {
    const SCRIPT: &str = r#"
        files=$1
        mount --make-rprivate /
        rm -rf "$files"; mkdir -p "$files/run"
        for path in /etc/ufw /lib/ufw /etc/default/ufw; do
            mkdir -p "$files$(dirname $path)"
            cp -a "$path" "$files$path"
            mount --bind "$files$path" "$path"
        done
        mount --bind "$files/run" /run
        # It would set sysctls of its own choice.
        sed 's/^IPT_SYSCTL=.*/IPT_SYSCTL=/' /etc/default/ufw >"$files/default"
        cat "$files/default" >/etc/default/ufw
        shift
        for action; do ufw $action; done
        umount /run
    "#;
    let files = hands.lab.directory().join("ufw");
    let files = files.to_string_lossy();
    let ufw = |lab: &Lab, actions: &[&str]| {
        let command = ["unshare", "--mount", "sh", "-euc", SCRIPT, "ufw", &files];
        lab.run(&[&command[..], actions].concat())
    };
    let before = foreign(&hands.lab);
    let _undo = hands.kept.clone();
    let began = Instant::now();
    ufw(&hands.lab, &["allow 22/tcp", "allow 7000", "--force enable"]);
    assert!(foreign(&hands.lab).contains("ufw-user-input"), "ufw is in force");
    let own = |text: &str| text.lines().filter(|line| !line.contains("ufw")).map(str::to_owned).collect::<Vec<_>>();
    // It drops what is forwarded, and the older engine has no rules of its own for IPv6.
    hands.expect_closed(began, "while ufw came");
    let policies = |lines: Vec<String>| lines.into_iter().filter(|line| !line.starts_with(':')).collect::<Vec<_>>();
    assert_eq!(policies(own(&foreign(&hands.lab))), policies(own(&before)), "ufw's coming changed other rules");
    let began = Instant::now();
    ufw(&hands.lab, &["--force enable", "disable"]);
    hands.expect_quiet(began, "while ufw went");
    assert_eq!(policies(own(&foreign(&hands.lab))), policies(own(&before)), "ufw's going changed other rules");
    assert_eq!(hands.plan().status.code(), Some(0), "nothing is left to be done");
}
