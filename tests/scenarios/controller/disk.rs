//! A disk that can be filled.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::support::command;

/// A file system of little size on a directory, until this is dropped.
pub(super) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(super) fn mount(on: &Path) -> SmallDisk {
        command::run(&["mount", "-t", "tmpfs", "-o", "size=256k", "dockgate-lab", &on.to_string_lossy()]);
        SmallDisk(on.to_owned())
    }

    pub(super) fn fill(&self) {
        let mut filler = fs::File::options().create(true).append(true).open(self.filler()).expect("an inode is free");
        while filler.write(&[0; 512]).is_ok() {}
    }

    pub(super) fn empty(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A controller that is left after a panic still has its lock there.
        command::run(&["umount", "--lazy", &self.0.to_string_lossy()]);
    }
}
