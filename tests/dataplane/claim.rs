//! One controller per network namespace.

use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use dockgate::telemetry::{LockError, NamespaceLock};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};

use super::namespace::in_namespace;

#[test]
fn a_network_namespace_has_one_controller() {
    in_namespace(|| {
        let lock = NamespaceLock::acquire().expect("nobody has it");
        let groups =
            std::fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_log").expect("the kernel tells");
        assert!(groups.trim_start().starts_with("53354 "), "the right is held in the kernel: {groups:?}");
        let second = NamespaceLock::acquire().expect_err("it is taken");
        assert!(matches!(second, LockError::Running), "{second}");
        in_namespace(|| drop(NamespaceLock::acquire().expect("another namespace has rules of its own")));
        drop(lock);
        // A program that another test is starting has a copy of every descriptor until it runs.
        let given_free = || NamespaceLock::acquire().map_err(|_| thread::sleep(Duration::from_millis(20)));
        assert!((0..250).any(|_| given_free().is_ok()), "the kernel has given it free");
    });
}

/// Anybody may have names in the abstract namespace of unix sockets, which a lock must not rest on.
#[test]
fn nobody_without_rights_keeps_a_controller_from_starting() {
    in_namespace(|| {
        let open = || {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            socket(AddressFamily::Unix, SockType::Stream, flags, None).expect("a fixture of this test")
        };
        let name = UnixAddr::new_abstract(b"dockgate/controller").expect("a fixture of this test");
        let (squatter, visitor) = (open(), open());
        bind(squatter.as_raw_fd(), &name).expect("a fixture of this test");
        listen(&squatter, Backlog::new(0).expect("a backlog")).expect("a fixture of this test");
        connect(visitor.as_raw_fd(), &name).expect("a fixture of this test");
        drop(NamespaceLock::acquire().expect("a name is not a right"));
    });
}
