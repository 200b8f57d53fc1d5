//! A server that answers every message with itself: one socket, one [`Listener`], and a map of [`Connection`]s.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use openssl_dtls::{
    ClockAnchor, CloseReason, Connection, Context, CookieRing, Error, Event, HandshakeInfo,
    Incoming, Listener, SendError, Stats,
};

/// Room for the largest UDP datagram, in bytes.
const LARGEST_DATAGRAM: usize = 65_535;
/// Room for the largest message, in bytes.
const LARGEST_MESSAGE: usize = 16_384;
/// More peers than this wait until others have gone.
const MOST_PEERS: usize = 1024;
/// How long a peer may be silent.
const LONGEST_SILENCE: Duration = Duration::from_secs(120);

/// What the server has to tell about one peer.
pub(crate) enum Notice<'a> {
    Connected(&'a HandshakeInfo),
    /// A message came and is sent back.
    Message(&'a [u8]),
    /// A message could not be sent back.
    NotSent(SendError),
    /// The peer closed, and was answered.
    Closed(&'a Stats),
    Failed(Error),
    /// The peer was silent for too long.
    Silent,
}

/// The server; `tell` hears what happens.
pub(crate) struct EchoServer<F> {
    socket: UdpSocket,
    buffer: Vec<u8>,
    listener: Listener,
    peers: HashMap<SocketAddr, Peer>,
    tell: F,
}

struct Peer {
    connection: Box<Connection>,
    /// A handshake from the same address, begun while `connection` was established: that one stays until this one is
    /// complete (RFC 6347, 4.2.8).
    next: Option<Box<Connection>>,
    heard: Instant,
}

impl<F: FnMut(SocketAddr, Notice<'_>)> EchoServer<F> {
    pub(crate) fn new(
        socket: UdpSocket,
        context: &Context,
        tell: F,
    ) -> Result<EchoServer<F>, Box<dyn std::error::Error>> {
        let anchor = ClockAnchor::new(Instant::now(), SystemTime::now());
        Ok(EchoServer {
            socket,
            buffer: vec![0; LARGEST_DATAGRAM],
            listener: Listener::new(context, CookieRing::random(anchor)?)?,
            peers: HashMap::new(),
            tell,
        })
    }

    /// Waits for one datagram or one timer, `longest` at most, and does what it asks for.
    pub(crate) fn turn(&mut self, longest: Duration) -> io::Result<()> {
        let now = Instant::now();
        let wake = self
            .peers
            .values()
            .filter_map(|peer| {
                let next = peer.next.as_ref().and_then(|next| next.poll_timeout());
                peer.connection.poll_timeout().into_iter().chain(next).min()
            })
            .fold(now + longest, Instant::min);
        // A read timeout of zero would mean for ever.
        let sleep = wake
            .saturating_duration_since(now)
            .max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(sleep))?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let received = self.socket.recv_from(&mut buffer);
        if let Ok((length, from)) = received {
            self.handle_datagram(from, &buffer[..length]);
        }
        self.buffer = buffer;
        self.handle_timeouts();
        match received.map_err(|error| (error.kind(), error)) {
            Ok(_) => Ok(()),
            Err((ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted, _)) => {
                Ok(())
            }
            // An answer to a datagram sent earlier, to whomever: that peer has gone.
            Err((ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset, _)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }

    fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8]) {
        let now = Instant::now();
        let Some(peer) = self.peers.get_mut(&from) else {
            if self.peers.len() < MOST_PEERS {
                self.admit(now, from, datagram);
            }
            return;
        };
        let newest = peer.next.as_ref().unwrap_or(&peer.connection);
        if newest.starts_new_handshake(datagram) {
            return self.admit(now, from, datagram);
        }
        peer.heard = now;
        let mut taken = false;
        if let Some(mut next) = peer.next.take() {
            let outcome = next.handle_datagram(now, datagram);
            flush(&self.socket, &mut next);
            match outcome {
                Ok(()) if next.is_established() => {
                    peer.connection = next;
                    taken = true;
                }
                Ok(()) => peer.next = Some(next),
                Err(error) => (self.tell)(from, Notice::Failed(error)),
            }
        }
        // What was not for the new one may be for the old one, which drops it if not.
        let outcome = if taken {
            Ok(())
        } else {
            peer.connection.handle_datagram(now, datagram)
        };
        self.go_on(from, outcome);
    }

    /// Gives a datagram without a connection to the listener.
    fn admit(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        match self.listener.handle_datagram(now, from, datagram) {
            Ok(Incoming::Reply(reply)) => {
                // A reply that is not sent is as good as lost: the peer asks again.
                self.socket.send_to(reply.contents, from).unwrap_or(0);
            }
            Ok(Incoming::Connection(connection)) => {
                match self.peers.get_mut(&from) {
                    Some(peer) if peer.connection.is_established() => {
                        let mut connection = connection;
                        flush(&self.socket, &mut connection);
                        peer.next = Some(connection);
                    }
                    _ => {
                        let peer = Peer {
                            connection,
                            next: None,
                            heard: now,
                        };
                        self.peers.insert(from, peer);
                    }
                }
                self.go_on(from, Ok(()));
            }
            Ok(Incoming::Refused {
                mut connection,
                error,
            }) => {
                flush(&self.socket, &mut connection);
                (self.tell)(from, Notice::Failed(error));
            }
            // Dropped, and counted by the listener.
            Ok(_) => {}
            Err(error) => (self.tell)(from, Notice::Failed(error)),
        }
    }

    fn handle_timeouts(&mut self) {
        let now = Instant::now();
        let is_due =
            |connection: &Connection| connection.poll_timeout().is_some_and(|at| at <= now);
        let mut due = Vec::new();
        for (&from, peer) in &mut self.peers {
            if let Some(next) = peer.next.as_mut().filter(|next| is_due(next)) {
                let outcome = next.handle_timeout(now);
                flush(&self.socket, next);
                if let Err(error) = outcome {
                    peer.next = None;
                    (self.tell)(from, Notice::Failed(error));
                }
            }
            if is_due(&peer.connection) || now.duration_since(peer.heard) > LONGEST_SILENCE {
                due.push(from);
            }
        }
        for from in due {
            let Some(peer) = self.peers.get_mut(&from) else {
                continue;
            };
            if now.duration_since(peer.heard) > LONGEST_SILENCE {
                peer.connection.close();
                flush(&self.socket, &mut peer.connection);
                self.peers.remove(&from);
                (self.tell)(from, Notice::Silent);
            } else {
                let outcome = peer.connection.handle_timeout(now);
                self.go_on(from, outcome);
            }
        }
    }

    /// What every call on a peer's connection is followed by.
    fn go_on(&mut self, from: SocketAddr, outcome: Result<(), Error>) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        let connection = &mut peer.connection;
        let mut closed = false;
        while let Some(event) = connection.poll_event() {
            match (event, connection.handshake_info()) {
                (Event::Connected, Some(info)) => (self.tell)(from, Notice::Connected(info)),
                (Event::Closed(CloseReason::Peer), _) => closed = true,
                _ => {}
            }
        }
        let mut message = [0; LARGEST_MESSAGE];
        // The buffer has room for any message, so nothing else ends this than the last one.
        while let Ok(Some(length)) = connection.recv(&mut message) {
            let message = &message[..length];
            (self.tell)(from, Notice::Message(message));
            if let Err(error) = connection.send(message) {
                (self.tell)(from, Notice::NotSent(error));
            }
            flush(&self.socket, connection);
        }
        if closed {
            connection.close();
        }
        flush(&self.socket, connection);
        if let Err(error) = outcome {
            self.peers.remove(&from);
            (self.tell)(from, Notice::Failed(error));
        } else if closed {
            (self.tell)(from, Notice::Closed(connection.stats()));
            self.peers.remove(&from);
        }
    }
}

/// Sends what waits in `connection`. A datagram that the socket does not take is lost, as any can be: the handshake repeats it.
fn flush(socket: &UdpSocket, connection: &mut Connection) {
    while let Some(transmit) = connection.poll_transmit() {
        socket
            .send_to(transmit.contents, transmit.path.peer)
            .unwrap_or(0);
    }
}
