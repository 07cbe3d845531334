//! Commands that kill the controller at a step of an apply.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::Lab;

/// Commands in the place of the real ones that carry out one change of the kernel after the other and kill who ordered
/// them, before or after one of them, when its number has come. What only reads is not counted, and what goes over netlink has
/// no command: members of sets that are there already, and elements of the table against spoofing. Between these it is killed by
/// the clock.
pub(super) struct Wrappers {
    directory: PathBuf,
}

impl Wrappers {
    const SCRIPT: &str = r#"#!/bin/sh
step() {
    read -r left <"LEFT"
    echo $((left - 1)) >"LEFT"
    if [ "$left" -eq 1 ]; then
        read -r name <"/proc/$PPID/comm"
        [ "$name" != dockgate ] || kill -9 "$PPID"
        exit 1
    fi
}
name=${0##*/}
case "$name $*" in
    "ipset restore") set -f; while read -r line; do step; "/usr/sbin/$name" $line </dev/null || exit; done ;;
    *-save\ *|*\ -S*|*\ -C\ *|*--version*|*--check*|"ipset save"*|"ipset list"*|"nft list"*|"nft -j list"*)
        exec "/usr/sbin/$name" "$@" ;;
    *) step; "/usr/sbin/$name" "$@"; result=$?; step; exit $result ;;
esac
"#;

    pub(super) fn new(lab: &Lab) -> Wrappers {
        let wrappers = Wrappers { directory: lab.directory().join("wrappers") };
        fs::create_dir_all(&wrappers.directory).expect("the laboratory's directory takes directories");
        wrappers.kill_at(0);
        let script = Wrappers::SCRIPT.replace("LEFT", &wrappers.left().to_string_lossy());
        let families = ["iptables", "ip6tables"];
        let iptables = families.iter().flat_map(|name| ["nft", "nft-restore"].map(|verb| format!("{name}-{verb}")));
        for name in iptables.chain(["ipset", "nft"].map(str::to_owned)) {
            let file = wrappers.directory.join(name);
            fs::write(&file, &script).expect("the laboratory's directory takes files");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("the file is ours");
        }
        wrappers
    }

    /// The number of the step to kill at, from 1; 0 for none.
    pub(super) fn kill_at(&self, step: usize) {
        fs::write(self.left(), format!("{step}\n")).expect("the laboratory's directory takes files");
    }

    fn left(&self) -> PathBuf {
        self.directory.join("left")
    }

    pub(super) fn path(&self) -> String {
        format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.directory.display())
    }
}
