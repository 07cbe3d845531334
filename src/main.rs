//! The `dockgate` command.

fn main() {}
