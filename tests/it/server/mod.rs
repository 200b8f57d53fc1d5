//! The blocking server over loopback.

mod control;
mod faults;
mod serving;
#[cfg(target_os = "linux")]
mod workers;

use std::any::Any;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use openssl_dtls::udp::blocking::{Client, End, Handler, Peer, Server, ServerConfig};
use openssl_dtls::{CloseReason, ConnectionHandle, Context, Path, SendError, TransportConfig};

use crate::loopback::DEADLINE;
use crate::support::psk_contexts;

const ANY_PORT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

fn contexts() -> (Context, Context) {
    psk_contexts(&TransportConfig::default())
}

/// What a handler was told.
#[derive(Debug, PartialEq)]
enum Told {
    Connected(SocketAddr),
    Message(SocketAddr, Vec<u8>),
    Closed(ConnectionHandle, CloseReason),
    Failed(ConnectionHandle),
    HandshakeFailed,
    Foreign(Path, Vec<u8>),
    Woken,
    Panicked(Option<ConnectionHandle>, String),
}

/// Answers every message with itself and tells all, but for messages that say what else to do.
struct Echo(Sender<Told>);

impl Echo {
    fn tell(&self, told: Told) {
        // The test may have heard enough.
        self.0.send(told).unwrap_or_default();
    }
}

impl Handler for Echo {
    fn connected(&mut self, peer: &mut Peer<'_>) {
        assert!(peer.handshake_info().is_some());
        self.tell(Told::Connected(peer.path().unwrap().peer));
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: &[u8]) {
        let from = peer.path().unwrap().peer;
        self.tell(Told::Message(from, message.to_vec()));
        match message {
            b"panic" => panic!("as asked"),
            b"close" => {
                peer.send(b"farewell").unwrap();
                peer.close();
                assert!(matches!(peer.send(b"late"), Err(SendError::Closed)));
            }
            b"burst" => {
                for n in 0..100_u32 {
                    let mut message = vec![0; 1000];
                    message[..4].copy_from_slice(&n.to_be_bytes());
                    peer.send(&message).unwrap();
                }
            }
            _ => peer.send(message).unwrap(),
        }
    }

    fn closed(&mut self, handle: ConnectionHandle, end: End<'_>) {
        self.tell(match end {
            End::Closed(reason) => Told::Closed(handle, reason),
            _ => Told::Failed(handle),
        });
    }

    fn handshake_failed(&mut self, _: ConnectionHandle, _: End<'_>) {
        self.tell(Told::HandshakeFailed);
    }

    fn foreign(&mut self, server: &Server, path: Path, datagram: &[u8]) {
        self.tell(Told::Foreign(path, datagram.to_vec()));
        assert_ne!(datagram, b"\x00panic");
        server.send_plain(path, b"plain answer").unwrap();
    }

    fn woken(&mut self, _: &Server) {
        self.tell(Told::Woken);
    }

    fn panicked(&mut self, handle: Option<ConnectionHandle>, panic: &(dyn Any + Send)) {
        let said = panic.downcast_ref::<&str>().copied().unwrap_or_default();
        self.tell(Told::Panicked(handle, said.to_owned()));
        assert_ne!(said, "as asked", "this may panic as well");
    }
}

/// A server that runs in a thread of its own until it is dropped.
struct Running {
    server: Server,
    address: SocketAddr,
    told: Receiver<Told>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Running {
    fn new(context: &Context) -> Running {
        Self::with(Server::bind(ANY_PORT.into(), context, ServerConfig::new()).unwrap())
    }

    fn with(server: Server) -> Running {
        let (tell, told) = mpsc::channel();
        let running = server.clone();
        Running {
            address: server.local_addr().unwrap(),
            server,
            told,
            thread: Some(thread::spawn(move || running.run(&mut Echo(tell)))),
        }
    }

    fn told(&self) -> Told {
        self.told.recv_timeout(DEADLINE).expect("it tells")
    }

    /// What was told until something is as wanted, that included.
    fn until(&self, wanted: impl Fn(&Told) -> bool) -> Vec<Told> {
        let mut all = Vec::new();
        loop {
            all.push(self.told());
            if all.last().is_some_and(&wanted) {
                return all;
            }
        }
    }

    fn join(mut self) -> std::io::Result<()> {
        self.thread.take().unwrap().join().unwrap()
    }

    fn only_connection(&self) -> ConnectionHandle {
        let connections = self.server.connections();
        assert_eq!(connections.len(), 1);
        connections[0]
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.stop();
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            assert!(thread::panicking() || outcome.unwrap().is_ok());
        }
    }
}

fn connect(context: &Context, address: SocketAddr) -> Client {
    let client = Client::connect(context, address, None).unwrap();
    client.set_read_timeout(Some(DEADLINE));
    client
}

fn recv(client: &Client) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 16_384];
    let length = client.recv(&mut buffer).unwrap();
    length.map(|length| buffer[..length].to_vec())
}

fn assert_echo(client: &Client, message: &[u8]) {
    client.send(message).unwrap();
    assert_eq!(recv(client).as_deref(), Some(message));
}
