//! Network namespaces: opened, entered by a thread, written to.
//!
//! Input: a path or a process id. Output: a handle that keeps the namespace reachable as long as it lives.
//! A namespace is a property of a thread, so code runs in another one on a thread of its own and nothing has to be
//! switched back.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use nix::ifaddrs::getifaddrs;
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    file: Arc<File>,
}

impl Namespace {
    /// The namespace at a path such as `/run/netns/NAME`.
    pub(crate) fn open(path: impl AsRef<Path>) -> io::Result<Namespace> {
        Ok(Namespace { file: Arc::new(File::open(path)?) })
    }

    /// A new namespace without a name, which ends with the last handle to it and the last process in it.
    pub(crate) fn anonymous() -> Namespace {
        let maker = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("making a network namespace takes root");
            Namespace::open("/proc/thread-self/ns/net").expect("a thread has a namespace")
        });
        maker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// The namespace that a process is in.
    pub(crate) fn of_process(id: u32) -> io::Result<Namespace> {
        Namespace::open(format!("/proc/{id}/ns/net"))
    }

    /// A path by which other processes find it, as long as the handle lives.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Moves the calling thread into the namespace, for good.
    pub(crate) fn enter(&self) {
        setns(&*self.file, CloneFlags::CLONE_NEWNET).expect("entering a network namespace takes root");
    }

    /// Runs `work` in the namespace and returns its result.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                self.enter();
                work()
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Writes a network sysctl of the namespace, e.g. `net.ipv4.ip_forward`. A value that the kernel does not have is
    /// passed over: which ones exist differs between kernels.
    pub(crate) fn set_sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.run(|| match fs::write(&path, value) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("cannot set {name} to {value}: {error}"),
            _ => (),
        });
    }

    /// Whether an IPv6 address is still in duplicate address detection: the kernel does not answer on it yet.
    pub(crate) fn has_tentative_address(&self) -> bool {
        const IFA_F_TENTATIVE: u32 = 0x40;
        // Columns: address, interface index, prefix length, scope, flags, name; all numbers in hexadecimal.
        let table = self.run(|| fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default());
        table
            .lines()
            .filter_map(|line| u32::from_str_radix(line.split_whitespace().nth(4)?, 16).ok())
            .any(|flags| flags & IFA_F_TENTATIVE != 0)
    }
}

/// The addresses of the interfaces in the calling thread's namespace, without link-local ones.
pub(crate) fn local_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    interfaces
        .filter_map(|interface| interface.address)
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .filter(|address| match address {
            IpAddr::V4(address) => !address.is_link_local(),
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        })
        .collect()
}
