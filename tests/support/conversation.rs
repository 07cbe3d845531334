//! A flow whose both ends are in the test's hands: either of them can speak first, and be heard or not.
//!
//! Input: where each end stands, and the address that the client uses. Output: whether what the one says now reaches the
//! other. A policy that ends a flow has to hold against both of them, and TCP repeats itself on its own.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::evidence::{BY_PACKETS, assert_by_packets};
use super::namespace::Namespace;

/// How long the opening of a conversation may take, and how long a word may be under way where it must arrive.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a word may be under way before it counts as lost for now.
const HEARING: Duration = Duration::from_millis(150);

/// Which transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// One end.
#[derive(Debug)]
enum End {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl End {
    /// One that takes what others send to a port, of either family.
    fn at(place: &Namespace, port: u16) -> End {
        let socket = place.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))).expect("the port is free there");
        let end = End::Udp(socket);
        end.set_nonblocking();
        end
    }

    fn say(&mut self, word: &[u8]) {
        // A word that cannot be sent is not heard, which is what the caller looks at. Our own host's rules are told to
        // the sender of a datagram.
        let _unsent = match self {
            End::Tcp(stream) => stream.write(word),
            End::Udp(socket) => socket.send(word),
        };
    }

    /// What arrives first, if anything does before `end`.
    fn hear(&mut self, end: Instant) -> Option<Vec<u8>> {
        let mut buffer = [0; 4096];
        loop {
            let heard = match self {
                End::Tcp(stream) => stream.read(&mut buffer),
                End::Udp(socket) => socket.recv(&mut buffer),
            };
            match heard {
                Ok(length) if length > 0 => return Some(buffer[..length].to_vec()),
                // An ICMP error for an earlier datagram.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused && matches!(self, End::Udp(_)) => (),
                Err(error) if error.kind() == ErrorKind::WouldBlock => (),
                _ => return None,
            }
            if Instant::now() >= end {
                return None;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn set_nonblocking(&self) {
        let set = match self {
            End::Tcp(stream) => stream.set_nonblocking(true),
            End::Udp(socket) => socket.set_nonblocking(true),
        };
        set.expect("a socket can be made non-blocking");
    }
}

/// An open flow.
#[derive(Debug)]
pub(crate) struct Conversation {
    client: End,
    server: End,
}

impl Conversation {
    /// Opens one from `client` to the address `to`, which leads to the port `port` in `server`. Panics when it does not
    /// open: a flow that never was cannot be ended.
    pub(crate) fn open(
        transport: Transport,
        client: &Namespace,
        to: SocketAddr,
        (server, port): (&Namespace, u16),
    ) -> Conversation {
        let opened = match transport {
            Transport::Tcp => open_tcp(client, to, server, port),
            Transport::Udp => open_udp(client, to, server, port),
        };
        let (client, server) = opened.unwrap_or_else(|error| panic!("no {transport:?} flow to {to} opens: {error}"));
        client.set_nonblocking();
        server.set_nonblocking();
        let mut conversation = Conversation { client, server };
        assert!(conversation.client_is_heard_within(PATIENCE), "the server does not hear the client on {to}");
        assert!(conversation.server_is_heard_within(PATIENCE), "the client does not hear the server on {to}");
        conversation
    }

    /// Whether what the client says now arrives, or something that it has been trying to say.
    pub(crate) fn client_is_heard(&mut self) -> bool {
        self.client_is_heard_within(HEARING)
    }

    /// The server says something, heard or not.
    pub(crate) fn server_speaks(&mut self) {
        self.server.say(b"server\n");
    }

    fn client_is_heard_within(&mut self, patience: Duration) -> bool {
        self.client.say(b"client\n");
        self.server.hear(Instant::now() + patience).is_some()
    }

    fn server_is_heard_within(&mut self, patience: Duration) -> bool {
        self.server.say(b"server\n");
        self.client.hear(Instant::now() + patience).is_some()
    }

    /// Where the client speaks from.
    pub(crate) fn client_address(&self) -> SocketAddr {
        let address = match &self.client {
            End::Tcp(stream) => stream.local_addr(),
            End::Udp(socket) => socket.local_addr(),
        };
        address.expect("a socket that is open has an address")
    }

    /// Puts another client in the place of the one that was, with the same port.
    pub(crate) fn exchange_client(&mut self, client: &Namespace) {
        let port = self.client_address().port();
        self.client = End::at(client, port);
    }

    /// Puts another server in the place of the one that was, at a port.
    pub(crate) fn exchange_server(&mut self, server: &Namespace, port: u16) {
        self.server = End::at(server, port);
    }

    /// Panics when the client hears the server, which goes on talking for a second.
    pub(crate) fn expect_deaf_client(&mut self) {
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            assert_by_packets!(
                !self.server_is_heard_within(HEARING),
                "the client hears the server on a flow that is not its own"
            );
        }
    }

    /// Waits until the server does not hear the client any more. Panics when it still does after three seconds.
    pub(crate) fn wait_until_cut(&mut self) {
        let end = Instant::now() + Duration::from_secs(3);
        while self.client_is_heard() {
            assert_by_packets!(Instant::now() < end, "the flow is still open, three seconds after policy forbade it");
        }
    }

    /// Panics unless both ends go on talking and neither is heard for a second, in which TCP repeats itself several
    /// times.
    pub(crate) fn expect_silence(&mut self) {
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            // The server first: what it sends is what could open the flow anew, the other way round.
            assert_by_packets!(
                !self.server_is_heard_within(HEARING),
                "the client hears the server on a flow that is forbidden"
            );
            assert_by_packets!(!self.client_is_heard(), "the server hears the client on a flow that is forbidden");
        }
    }

    /// Lets both ends talk without a pause, in a thread of its own.
    pub(crate) fn talk(self) -> Talk {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = Arc::clone(&stop);
            thread::spawn(move || talk(self, &stop))
        };
        Talk { stop, thread: Some(thread) }
    }
}

/// A server's sockets take both families: behind a proxy it is not the client's that counts.
fn open_tcp(client: &Namespace, to: SocketAddr, server: &Namespace, port: u16) -> io::Result<(End, End)> {
    let listener = server.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))?;
    listener.set_nonblocking(true)?;
    let stream = client.run(|| TcpStream::connect_timeout(&to, PATIENCE))?;
    let end = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((accepted, _)) => return Ok((End::Tcp(stream), End::Tcp(accepted))),
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error),
        }
    }
}

fn open_udp(client: &Namespace, to: SocketAddr, server: &Namespace, port: u16) -> io::Result<(End, End)> {
    let listening = server.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)))?;
    listening.set_read_timeout(Some(PATIENCE))?;
    let asking = client.run(|| {
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(to)?;
        socket.send(b"hello\n")?;
        Ok::<_, io::Error>(socket)
    })?;
    let (_, peer) = listening.recv_from(&mut [0; 16])?;
    listening.connect(peer)?;
    Ok((End::Udp(asking), End::Udp(listening)))
}

/// A conversation that goes on in a thread.
#[derive(Debug)]
pub(crate) struct Talk {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<(Conversation, Result<u32, String>)>>,
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Talk {
    /// Ends the talking. Panics unless every byte has arrived, in order, on both sides, up to now.
    pub(crate) fn expect_unbroken(mut self) -> Conversation {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("only this takes the thread");
        let (conversation, outcome) = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match outcome {
            Ok(turns) => assert!(turns > 0, "nothing was said"),
            Err(what) => panic!("{BY_PACKETS}a flow that policy allows was disturbed: {what}"),
        }
        conversation
    }
}

fn talk(mut conversation: Conversation, stop: &AtomicBool) -> (Conversation, Result<u32, String>) {
    let mut turns: u32 = 0;
    let outcome = loop {
        let word = format!("turn {turns:08}\n");
        let Conversation { client, server } = &mut conversation;
        let heard = say_to(client, server, &word).and_then(|()| say_to(server, client, &word));
        if let Err(what) = heard {
            break Err(format!("in turn {turns}: {what}"));
        }
        turns += 1;
        if stop.load(Ordering::Relaxed) {
            break Ok(turns);
        }
        thread::sleep(Duration::from_millis(2));
    };
    (conversation, outcome)
}

fn say_to(speaker: &mut End, hearer: &mut End, word: &str) -> Result<(), String> {
    speaker.say(word.as_bytes());
    let end = Instant::now() + PATIENCE;
    let mut heard = Vec::new();
    while heard.len() < word.len() {
        match hearer.hear(end) {
            Some(bytes) => heard.extend(bytes),
            None => return Err(format!("{word:?} did not arrive")),
        }
    }
    if heard == word.as_bytes() {
        Ok(())
    } else {
        Err(format!("{word:?} arrived as {:?}", String::from_utf8_lossy(&heard)))
    }
}
