//! Servers on loopback, for clients that wait.

#[path = "../../examples/common/echo.rs"]
mod echo;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use openssl_dtls::{
    ClockAnchor, Connection, Context, CookieRing, Error, HandshakeInfo, Incoming, Listener,
    SendError, Stats,
};

use self::echo::{EchoServer, Notice};

/// No test waits longer for anything: long enough for a machine under load, and nothing is decided by it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What a server told about a peer.
#[derive(Debug)]
pub(crate) enum Told {
    Connected(HandshakeInfo),
    Message(Vec<u8>),
    NotSent(SendError),
    Closed(Stats),
    Failed(Error),
    Silent,
}

/// A server that answers every message with itself, in a thread of its own, until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    told: Receiver<(SocketAddr, Told)>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn new(context: &Context) -> Server {
        Self::on(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), context)
    }

    pub(crate) fn on(socket: UdpSocket, context: &Context) -> Server {
        let address = socket.local_addr().unwrap();
        let (tell, told) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (context, stopped) = (context.clone(), stop.clone());
        let thread = thread::spawn(move || {
            let mut server = EchoServer::new(socket, &context, |peer, notice| {
                let notice = match notice {
                    Notice::Connected(info) => Told::Connected(info.clone()),
                    Notice::Message(message) => Told::Message(message.to_vec()),
                    Notice::NotSent(error) => Told::NotSent(error),
                    Notice::Closed(stats) => Told::Closed(stats.clone()),
                    Notice::Failed(error) => Told::Failed(error),
                    Notice::Silent => Told::Silent,
                };
                // The test may have heard enough.
                tell.send((peer, notice)).unwrap_or_default();
            })
            .unwrap();
            while !stopped.load(Ordering::Relaxed) {
                server.turn(Duration::from_millis(50)).unwrap();
            }
        });
        Server {
            address,
            told,
            stop,
            thread: Some(thread),
        }
    }

    /// The next thing told, about any peer.
    pub(crate) fn told(&self) -> Told {
        self.told
            .recv_timeout(DEADLINE)
            .expect("the server tells")
            .1
    }

    /// What the next handshake agreed on; panics with what else was told.
    pub(crate) fn connected(&self) -> HandshakeInfo {
        match self.told() {
            Told::Connected(info) => info,
            other => panic!("not connected: {other:?}"),
        }
    }

    /// The next thing told is this message.
    pub(crate) fn assert_message(&self, expected: &[u8]) {
        match self.told() {
            Told::Message(message) if message == expected => {}
            other => panic!("not {:?}: {other:?}", String::from_utf8_lossy(expected)),
        }
    }

    /// The next thing told is that the peer closed.
    pub(crate) fn closed(&self) -> Stats {
        match self.told() {
            Told::Closed(stats) => stats,
            other => panic!("not closed: {other:?}"),
        }
    }

    /// The next thing told is an error.
    pub(crate) fn failed(&self) -> Error {
        match self.told() {
            Told::Failed(error) => error,
            other => panic!("not failed: {other:?}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let outcome = self.thread.take().map(JoinHandle::join);
        if let Some(Err(panic)) = outcome
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// One established server connection and its socket, to be driven by hand.
pub(crate) struct Accepted {
    pub(crate) socket: UdpSocket,
    pub(crate) connection: Connection,
    pub(crate) peer: SocketAddr,
}

impl Accepted {
    /// Waits for one client to complete its handshake.
    pub(crate) fn wait(socket: UdpSocket, context: &Context) -> Accepted {
        let anchor = ClockAnchor::new(Instant::now(), SystemTime::now());
        let mut listener = Listener::new(context, CookieRing::random(anchor).unwrap()).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut datagram = vec![0; 65_535];
        let (connection, peer) = loop {
            let (length, from) = socket.recv_from(&mut datagram).unwrap();
            match listener
                .handle_datagram(Instant::now(), from, &datagram[..length])
                .unwrap()
            {
                Incoming::Reply(reply) => {
                    socket.send_to(reply.contents, from).unwrap();
                }
                Incoming::Connection(connection) => break (*connection, from),
                other => panic!("{other:?}"),
            }
        };
        let mut accepted = Accepted {
            socket,
            connection,
            peer,
        };
        accepted.flush();
        while !accepted.connection.is_established() {
            accepted.receive_datagram();
        }
        accepted
    }

    pub(crate) fn flush(&mut self) {
        while let Some(transmit) = self.connection.poll_transmit() {
            self.socket.send_to(transmit.contents, self.peer).unwrap();
        }
    }

    pub(crate) fn send(&mut self, message: &[u8]) {
        self.connection.send(message).unwrap();
        self.flush();
    }

    /// Waits for the next message.
    pub(crate) fn recv(&mut self) -> Vec<u8> {
        let mut message = vec![0; 16_384];
        loop {
            if let Some(length) = self.connection.recv(&mut message).unwrap() {
                message.truncate(length);
                return message;
            }
            self.receive_datagram();
        }
    }

    /// Waits for one datagram and gives it to the connection.
    pub(crate) fn receive_datagram(&mut self) {
        let mut datagram = vec![0; 65_535];
        let (length, from) = self.socket.recv_from(&mut datagram).unwrap();
        assert_eq!(from, self.peer);
        self.connection
            .handle_datagram(Instant::now(), &datagram[..length])
            .unwrap();
        self.flush();
    }
}
