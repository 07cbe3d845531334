//! What is sent from the client to the server of a site, and how much of it arrives.
//!
//! Input: a site and how long. Output: connections, datagrams or bits per second. A socket stays in the namespace in which
//! it was made, so only the making of one takes a thread there.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dockgate::dataplane::conntrack::Condemned;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, SockRef, Socket, Type};

use crate::cores::bind_to_core;
use crate::site::Site;

/// Ports to which connections are made, for each a core that is busy with that alone.
const CONNECTION_PORTS: [u16; 2] = [5001, 5002];
const DATAGRAM_PORT: u16 = 5003;
const STREAM_PORT: u16 = 5004;

/// Room for what comes until the reader looks again.
const RECEIVE_BUFFER: usize = 32 << 20;
/// A reader that waited in the kernel would have to be woken by the sender, who would pay for it.
const READER_PAUSE: Duration = Duration::from_millis(1);
/// A flow begins slowly.
const WARM_UP: Duration = Duration::from_millis(100);
/// How long something is waited for that may be forbidden.
const PATIENCE: Duration = Duration::from_millis(500);

const EXPECT: &str = "sockets can be made in a namespace of this bench's own";

/// Whether a connection to this port of the server comes about. Panics when it is refused, which no rule here does.
pub(crate) fn connects(site: &Site, port: u16) -> bool {
    let _listener = listen(site, port);
    let address = server(site, port);
    match site.client.run(|| TcpStream::connect_timeout(&address, PATIENCE)) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::TimedOut => false,
        Err(error) => panic!("a connection is neither let through nor dropped: {error}"),
    }
}

/// Whether a datagram to this port of the server arrives.
pub(crate) fn arrives(site: &Site, port: u16) -> bool {
    let (sender, receiver) = datagram_sockets(site, port);
    receiver.set_read_timeout(Some(PATIENCE)).expect(EXPECT);
    sender.send(&[0]).expect("what is dropped on the way is no error of the sender's");
    receiver.recv(&mut [0]).is_ok()
}

/// Connections per second: opened, and reset at once, so that they leave neither end in `TIME_WAIT` and the handshake is
/// most of what there is of them.
pub(crate) fn connections(site: &Site, duration: Duration) -> f64 {
    forget_flows(site);
    let listeners = CONNECTION_PORTS.map(|port| listen(site, port));
    let start = Barrier::new(CONNECTION_PORTS.len());
    let made: io::Result<f64> = thread::scope(|scope| {
        for (core, listener) in listeners.iter().enumerate() {
            scope.spawn(move || {
                bind_to_core(core);
                while listener.accept().is_ok() {}
            });
        }
        let client = |(core, port): (usize, u16)| {
            let address = server(site, port).into();
            let start = &start;
            scope.spawn(move || {
                site.client.enter();
                bind_to_core(core);
                start.wait();
                let (started, mut made) = (Instant::now(), 0.0);
                while started.elapsed() < duration {
                    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
                    socket.set_linger(Some(Duration::ZERO))?;
                    socket.connect(&address)?;
                    made += 1.0;
                }
                Ok(made / started.elapsed().as_secs_f64())
            })
        };
        let clients: Vec<_> = CONNECTION_PORTS.into_iter().enumerate().map(client).collect();
        let made: Vec<_> = clients.into_iter().map(|client| client.join().expect("nothing in it panics")).collect();
        for listener in &listeners {
            // Its thread waits in accept.
            SockRef::from(listener).shutdown(Shutdown::Both).expect(EXPECT);
        }
        made.into_iter().sum()
    });
    made.expect("a connection that policy allows comes about")
}

/// Datagrams per second that the server receives, and never answers: each is the first of its flow to conntrack, and asks
/// all rules.
pub(crate) fn datagrams(site: &Site, duration: Duration) -> f64 {
    forget_flows(site);
    let (sender, receiver) = datagram_sockets(site, DATAGRAM_PORT);
    setsockopt(&receiver, sockopt::RcvBufForce, &RECEIVE_BUFFER).expect(EXPECT);
    receiver.set_nonblocking(true).expect(EXPECT);
    let is_over = AtomicBool::new(false);
    let (arrived, sent, elapsed) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            bind_to_core(1);
            let mut count = 0_u32;
            loop {
                // Asked before reading: what was sent before it was said is read.
                let is_last = is_over.load(Ordering::Acquire);
                while receiver.recv(&mut [0; 64]).is_ok() {
                    count += 1;
                }
                if is_last {
                    return count;
                }
                thread::sleep(READER_PAUSE);
            }
        });
        let writer = scope.spawn(|| {
            bind_to_core(0);
            let (started, mut count) = (Instant::now(), 0_u32);
            while started.elapsed() < duration && (0..32).all(|_| sender.send(&[0; 32]).is_ok()) {
                count += 32;
            }
            (count, started.elapsed())
        });
        let (sent, elapsed) = writer.join().expect("nothing in it panics");
        // The last ones are on their way.
        thread::sleep(READER_PAUSE);
        is_over.store(true, Ordering::Release);
        (reader.join().expect("nothing in it panics"), sent, elapsed)
    });
    assert!(elapsed >= duration, "a datagram could not be sent after {sent}");
    assert!(arrived > sent / 2, "of {sent} datagrams that policy allows, {arrived} arrive");
    f64::from(arrived) / elapsed.as_secs_f64()
}

/// Bits per second of one established flow.
pub(crate) fn stream(site: &Site, duration: Duration) -> f64 {
    forget_flows(site);
    let listener = listen(site, STREAM_PORT);
    let address = server(site, STREAM_PORT);
    let sender = site.client.run(|| TcpStream::connect_timeout(&address, PATIENCE));
    let mut sender = sender.expect("a connection that policy allows comes about");
    let (mut receiver, _) = listener.accept().expect(EXPECT);
    let measured: io::Result<_> = thread::scope(|scope| {
        scope.spawn(move || {
            bind_to_core(0);
            let block = vec![0; 128 << 10];
            while sender.write_all(&block).is_ok() {}
        });
        let reader = scope.spawn(move || {
            bind_to_core(1);
            let mut block = vec![0; 256 << 10];
            let mut read_for = |duration: Duration| {
                let (started, mut bytes) = (Instant::now(), 0.0);
                while started.elapsed() < duration {
                    let read = receiver.read(&mut block)?;
                    bytes += f64::from(u32::try_from(read).expect("a block is small"));
                }
                Ok((bytes, started.elapsed()))
            };
            // It ends with its socket: what is unread resets the connection, which ends the sender.
            read_for(WARM_UP).and_then(|_| read_for(duration))
        });
        reader.join().expect("nothing in it panics")
    });
    let (bytes, elapsed) = measured.expect("an established flow goes on");
    8.0 * bytes / elapsed.as_secs_f64()
}

/// The table of flows is as empty for each measurement as for the first.
fn forget_flows(site: &Site) {
    let ended = site.host.run(|| {
        let mut all = Condemned::default();
        all.add(|_| Some(Vec::new())).and_then(|()| all.end(usize::MAX).1)
    });
    ended.expect("flows can be ended");
}

fn server(site: &Site, port: u16) -> SocketAddr {
    SocketAddr::new(site.ends[1].address, port)
}

fn listen(site: &Site, port: u16) -> TcpListener {
    let listener = site.server.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&server(site, port).into())?;
        socket.listen(16384)?;
        io::Result::Ok(socket)
    });
    listener.expect(EXPECT).into()
}

/// A socket of the client's that is connected to one of the server's.
fn datagram_sockets(site: &Site, port: u16) -> (UdpSocket, UdpSocket) {
    let receiver = site.server.run(|| UdpSocket::bind(server(site, port))).expect(EXPECT);
    let sender = site.client.run(|| {
        let socket = UdpSocket::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0))?;
        socket.connect(server(site, port))?;
        io::Result::Ok(socket)
    });
    (sender.expect(EXPECT), receiver)
}
