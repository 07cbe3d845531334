//! Probes that never stop, to see when a way is open.
//!
//! Input: a namespace and addresses of a [`Responder`](super::responder::Responder). Output: the moments at which a
//! datagram was sent that came through. Every datagram is a flow of its own, so that none passes because an earlier one
//! did.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::namespace::Namespace;

/// How often every address is tried.
pub(crate) const INTERVAL: Duration = Duration::from_millis(20);

/// Ports that datagrams are sent from, one after the other: one that comes again while the kernel still knows the flow of
/// an earlier datagram would belong to that flow.
const PORTS: std::ops::Range<u16> = 20_000..60_000;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// Probes until it is dropped.
#[derive(Debug)]
pub(crate) struct Vigil {
    stop: Arc<AtomicBool>,
    account: Arc<Mutex<Account>>,
    thread: Option<JoinHandle<()>>,
}

/// What was sent and what came through.
#[derive(Debug, Default)]
struct Account {
    sent: usize,
    passed: Vec<(Instant, SocketAddr)>,
    lost: Vec<(Instant, SocketAddr)>,
}

impl Vigil {
    /// Probes the addresses from a namespace, all of them every [`INTERVAL`].
    pub(crate) fn start(from: &Namespace, to: &[SocketAddr]) -> Vigil {
        let stop = Arc::new(AtomicBool::new(false));
        let account = Arc::<Mutex<Account>>::default();
        let thread = {
            let (from, to, stop, account) = (from.clone(), to.to_vec(), Arc::clone(&stop), Arc::clone(&account));
            thread::spawn(move || {
                from.enter();
                watch(&to, &stop, &account);
            })
        };
        Vigil { stop, account, thread: Some(thread) }
    }

    /// The moments from `since` on at which a datagram was sent that came through, with where it went.
    pub(crate) fn passed_since(&self, since: Instant) -> Vec<(Instant, SocketAddr)> {
        let account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        account.passed.iter().filter(|(at, _)| *at >= since).copied().collect()
    }

    /// The moments from `since` on at which a datagram was sent, or could not be, that has not come through, with where it
    /// was to go. One is known to be lost half a second later.
    pub(crate) fn lost_since(&self, since: Instant) -> Vec<(Instant, SocketAddr)> {
        let account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        account.lost.iter().filter(|(at, _)| *at >= since).copied().collect()
    }

    /// How many datagrams were sent.
    pub(crate) fn sent(&self) -> usize {
        self.account.lock().unwrap_or_else(PoisonError::into_inner).sent
    }
}

impl Drop for Vigil {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed; the test sees it as probes that were not sent.
            drop(thread.join());
        }
    }
}

fn watch(to: &[SocketAddr], stop: &AtomicBool, account: &Mutex<Account>) {
    static FIRST: AtomicU16 = AtomicU16::new(0);
    let offset = usize::from(FIRST.fetch_add(3571, Ordering::Relaxed));
    let mut ports = PORTS.cycle().skip(offset % PORTS.len());
    let mut flights: Vec<(Instant, SocketAddr, UdpSocket)> = Vec::new();
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let mut unsent = Vec::new();
        for (address, port) in to.iter().zip(&mut ports) {
            let sent = Instant::now();
            // It may not be possible to send at all: an output rule, a missing route and a missing bridge forbid it.
            match send(*address, port) {
                Some(socket) => flights.push((sent, *address, socket)),
                None => unsent.push((sent, *address)),
            }
        }
        let mut account = account.lock().unwrap_or_else(PoisonError::into_inner);
        account.sent += to.len();
        account.lost.extend(unsent);
        flights.retain(|(sent, address, socket)| match socket.recv(&mut [0; 16]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && sent.elapsed() < PATIENCE => true,
            // Also a refusal, which is what the host's own rules answer in the other end's place.
            Err(_) => {
                account.lost.push((*sent, *address));
                false
            }
            Ok(_) => {
                account.passed.push((*sent, *address));
                false
            }
        });
        drop(account);
        next += INTERVAL;
        // A machine that was stalled does not catch up with a burst.
        next = next.max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
    }
}

fn send(to: SocketAddr, port: u16) -> Option<UdpSocket> {
    let any = match to.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, port)).ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect(to).ok()?;
    socket.send(b"probe").ok()?;
    Some(socket)
}
