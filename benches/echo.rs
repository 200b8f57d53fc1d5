//! What a server's processor time goes into, over loopback: our server against one with a connected socket for each peer, and many
//! records to one peer against a call of the system for each.
//!
//! `cargo bench --bench echo`, or with `-- --quick` for fewer messages. Prints one line per figure. Each figure is the processor
//! time of the server's thread alone, and the fastest of several runs taken in turn.

mod processor;
#[allow(dead_code, reason = "the other benchmark needs more of it")]
mod raw;
#[path = "../examples/common/report.rs"]
#[allow(dead_code, reason = "the examples print more")]
mod report;
#[path = "../examples/common/swarm.rs"]
#[allow(dead_code, reason = "the example prints more")]
mod swarm;

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use openssl_dtls::openssl::asn1::Asn1Time;
use openssl_dtls::openssl::ec::{EcGroup, EcKey};
use openssl_dtls::openssl::hash::MessageDigest;
use openssl_dtls::openssl::nid::Nid;
use openssl_dtls::openssl::pkey::PKey;
use openssl_dtls::openssl::ssl::{SslContext, SslMethod, SslVerifyMode};
use openssl_dtls::openssl::x509::X509;
use openssl_dtls::udp::blocking::{Handler, Peer, Server, ServerConfig};
use openssl_dtls::{ConnectionHandle, Context, Role, TransportConfig};

use crate::raw::RawEnd;
use crate::swarm::{Plan, Swarm};

const MTU: u32 = 1176;
const RUNS: usize = 5;
const PEERS: usize = 64;
/// Bytes of an echoed message, and of one in bulk.
const SMALL: usize = 64;
const LARGE: usize = 1100;
/// Messages of one bulk run, and of one turn of it.
const TRAIN: usize = 64;

struct Contexts {
    server: SslContext,
    ours: Context,
    client: Context,
}

impl Contexts {
    fn new() -> Contexts {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a group");
        let key = PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key");
        let mut certificate = X509::builder().expect("a builder");
        certificate.set_version(2).expect("a version");
        certificate.set_pubkey(&key).expect("a key");
        let time = |days| Asn1Time::days_from_now(days).expect("a time");
        certificate.set_not_before(&time(0)).expect("a time");
        certificate.set_not_after(&time(1)).expect("a time");
        let signed = certificate.sign(&key, MessageDigest::sha256());
        signed.expect("a signature");
        let builder = || {
            let mut builder = SslContext::builder(SslMethod::dtls()).expect("a context");
            builder
                .set_cipher_list("ECDHE-ECDSA-AES128-GCM-SHA256")
                .expect("a suite");
            builder
        };
        let (mut server, mut client) = (builder(), builder());
        server
            .set_certificate(&certificate.build())
            .expect("a certificate");
        server.set_private_key(&key).expect("a key");
        client.set_verify(SslVerifyMode::NONE);
        let (server, client) = (server.build(), client.build());
        let adopt = |context: &SslContext, role| {
            Context::adopt(context.clone(), role, TransportConfig::default()).expect("adoptable")
        };
        Contexts {
            ours: adopt(&server, Role::Server),
            client: adopt(&client, Role::Client),
            server,
        }
    }
}

/// Counts echoes, and measures from the first after the warm-up to the last.
struct Meter {
    echoes: u64,
    warm_up: u64,
    begun: Duration,
}

impl Meter {
    fn new(messages: u64) -> Meter {
        Meter {
            echoes: 0,
            warm_up: messages / 5,
            begun: Duration::ZERO,
        }
    }

    fn count(&mut self) {
        self.echoes += 1;
        if self.echoes == self.warm_up {
            self.begun = processor::time();
        }
    }

    /// Microseconds for each echo.
    fn each(&self) -> f64 {
        let took = processor::time() - self.begun;
        took.as_secs_f64() * 1e6 / (self.echoes - self.warm_up) as f64
    }
}

/// Has [`PEERS`] clients ask `messages` in all of the server at `to`.
fn ask(contexts: &Contexts, to: SocketAddr, messages: u64) {
    let plan = Plan {
        to,
        server_name: None,
        connections: PEERS,
        // The reference loses handshakes otherwise.
        at_once: 1,
        stall: 0,
        messages: messages / PEERS as u64,
        size: SMALL,
        hold: None,
        handshake_timeout: Duration::from_secs(30),
        answer_timeout: Duration::from_secs(30),
    };
    let swarm = Swarm::new(plan, &contexts.client, |_| {}).expect("a swarm");
    let outcome = swarm.run().expect("answers");
    assert_eq!((outcome.failures.len(), outcome.lost), (0, 0));
    let _ = (
        outcome.agreed,
        outcome.handshakes_took,
        outcome.messages_took,
    );
    let _ = (
        outcome.held,
        outcome.held_lost,
        outcome.not_sent,
        outcome.stalled,
    );
}

struct Echo(Meter);

impl Handler for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: &[u8]) {
        peer.send(message).expect("room");
        self.0.count();
    }
}

/// Processor time for each echo of ours.
fn our_echo(contexts: &Contexts, messages: u64) -> f64 {
    let server = Server::bind(loopback(), &contexts.ours, ServerConfig::new()).expect("a server");
    let address = server.local_addr().expect("an address");
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            let mut echo = Echo(Meter::new(messages));
            server.run(&mut echo).expect("a socket that works");
            echo.0.each()
        });
        ask(contexts, address, messages);
        server.stop();
        running.join().expect("a figure")
    })
}

/// Processor time for each echo of a server with a connected socket for each peer.
fn their_echo(contexts: &Contexts, messages: u64) -> f64 {
    let listening = reusable(None).expect("a socket");
    let address = listening.local_addr().expect("an address");
    let (stop, stopped) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let running = scope.spawn(move || {
            let mut meter = Meter::new(messages);
            let mut serve = Connected::new(listening, &contexts.server).expect("a poll");
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                serve.turn(&mut meter).expect("sockets that work");
            }
            meter.each()
        });
        ask(contexts, address, messages);
        drop::<Sender<()>>(stop);
        running.join().expect("a figure")
    })
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// A socket on `at`, or on any port, whose port others can have too.
fn reusable(at: Option<SocketAddr>) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.bind(&at.unwrap_or_else(loopback).into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// The server that a C program's author writes first: `recv`, `SSL_read`, `SSL_write`, `send` on a socket for each peer.
struct Connected<'a> {
    poll: Poll,
    events: Events,
    listening: UdpSocket,
    context: &'a SslContext,
    peers: HashMap<usize, (UdpSocket, RawEnd, bool)>,
    buffer: Vec<u8>,
}

impl<'a> Connected<'a> {
    fn new(mut listening: UdpSocket, context: &'a SslContext) -> io::Result<Connected<'a>> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(&mut listening, Token(0), Interest::READABLE)?;
        Ok(Connected {
            poll,
            events: Events::with_capacity(256),
            listening,
            context,
            peers: HashMap::new(),
            buffer: vec![0; 65_535],
        })
    }

    fn turn(&mut self, meter: &mut Meter) -> io::Result<()> {
        let longest = Some(Duration::from_millis(50));
        match self.poll.poll(&mut self.events, longest) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let ready: Vec<_> = self.events.iter().map(|event| event.token().0).collect();
        for token in ready {
            if token == 0 {
                self.accept()?;
            } else {
                self.serve(token, meter)?;
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok((length, from)) = self.listening.recv_from(&mut self.buffer) {
            let mut socket = reusable(Some(self.listening.local_addr()?))?;
            socket.connect(from)?;
            let token = self.peers.len() + 1;
            let registry = self.poll.registry();
            registry.register(&mut socket, Token(token), Interest::READABLE)?;
            let mut end = RawEnd::new(self.context, true, MTU);
            end.receives(&self.buffer[..length]);
            let done = end.handshake();
            send_all(&mut end, &socket);
            self.peers.insert(token, (socket, end, done));
        }
        Ok(())
    }

    fn serve(&mut self, token: usize, meter: &mut Meter) -> io::Result<()> {
        let Some((socket, end, done)) = self.peers.get_mut(&token) else {
            return Ok(());
        };
        while let Ok(length) = socket.recv(&mut self.buffer) {
            end.receives(&self.buffer[..length]);
            if *done {
                let count = end.read_into(&mut self.buffer);
                if count > 0 {
                    end.send(&self.buffer[..count]);
                    meter.count();
                }
            } else {
                *done = end.handshake();
            }
            send_all(end, socket);
        }
        Ok(())
    }
}

fn send_all(end: &mut RawEnd, socket: &UdpSocket) {
    end.drain(|datagram| {
        // Its peer may be gone.
        socket.send(datagram).unwrap_or_default();
    });
}

/// Sends `messages` to the peer that asks, [`TRAIN`] in each turn of the loop.
struct Bulk {
    left: u64,
    peer: Option<ConnectionHandle>,
    begun: Duration,
    took: Duration,
}

impl Handler for Bulk {
    fn message(&mut self, peer: &mut Peer<'_>, _: &[u8]) {
        self.peer = Some(peer.handle());
        self.begun = processor::time();
        self.train(peer);
    }

    fn woken(&mut self, server: &Server) {
        let Some(handle) = self.peer else {
            return;
        };
        for _ in 0..TRAIN {
            server.send(handle, &[7; LARGE]).expect("room");
        }
        self.left = self.left.saturating_sub(TRAIN as u64);
        self.go_on(server);
    }
}

impl Bulk {
    fn train(&mut self, peer: &mut Peer<'_>) {
        for _ in 0..TRAIN {
            peer.send(&[7; LARGE]).expect("room");
        }
        self.left = self.left.saturating_sub(TRAIN as u64);
        self.go_on(peer.server());
    }

    fn go_on(&mut self, server: &Server) {
        if self.left > 0 {
            server.wake();
        } else {
            self.took = processor::time() - self.begun;
            server.stop();
        }
    }
}

/// A peer that asks for bulk and drops what comes, on a socket that takes joined datagrams.
struct Sink;

impl Handler for Sink {
    fn connected(&mut self, peer: &mut Peer<'_>) {
        peer.send(b"go").expect("room");
    }

    fn message(&mut self, _: &mut Peer<'_>, _: &[u8]) {}
}

/// Processor time for each record to one peer.
fn our_bulk(contexts: &Contexts, messages: u64) -> f64 {
    let bind = || Server::bind(loopback(), &contexts.ours, ServerConfig::new()).expect("a server");
    let (server, sink) = (bind(), bind());
    let address = server.local_addr().expect("an address");
    thread::scope(|scope| {
        let sinking = scope.spawn(|| sink.run(&mut Sink).expect("a socket that works"));
        let connected = sink.connect(&contexts.client, address, None);
        connected.expect("a connection");
        let mut bulk = Bulk {
            left: messages,
            peer: None,
            begun: Duration::ZERO,
            took: Duration::ZERO,
        };
        server.run(&mut bulk).expect("a socket that works");
        sink.stop();
        sinking.join().expect("a sink");
        bulk.took.as_secs_f64() * 1e6 / messages as f64
    })
}

/// The same with `SSL_write` and `send` for each record, to a peer that reads as ours does.
fn their_bulk(contexts: &Contexts, messages: u64) -> f64 {
    let sink = Server::bind(loopback(), &contexts.ours, ServerConfig::new()).expect("a server");
    let socket = std::net::UdpSocket::bind(loopback()).expect("a socket");
    socket
        .connect(sink.local_addr().expect("an address"))
        .expect("connected");
    let address = socket.local_addr().expect("an address");
    thread::scope(|scope| {
        let sinking = scope.spawn(|| sink.run(&mut Sink).expect("a socket that works"));
        let connected = sink.connect(&contexts.client, address, None);
        connected.expect("a connection");
        let mut end = RawEnd::new(&contexts.server, true, MTU);
        let mut buffer = [0; 2048];
        let mut done = false;
        while !done {
            let length = socket.recv(&mut buffer).expect("a datagram");
            end.receives(&buffer[..length]);
            done = end.handshake();
            end.drain(|datagram| {
                socket.send(datagram).expect("room");
            });
        }
        let begun = processor::time();
        for _ in 0..messages {
            end.send(&[7; LARGE]);
            end.drain(|datagram| {
                socket.send(datagram).expect("room");
            });
        }
        let took = processor::time() - begun;
        sink.stop();
        sinking.join().expect("a sink");
        took.as_secs_f64() * 1e6 / messages as f64
    })
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (echoes, records) = if quick {
        (12_800, 12_800)
    } else {
        (192_000, 192_000)
    };
    let contexts = Contexts::new();
    for (name, reference, ours, messages) in [
        (
            "echo, connected sockets",
            their_echo as fn(&Contexts, u64) -> f64,
            our_echo as fn(&Contexts, u64) -> f64,
            echoes,
        ),
        ("bulk record, a call each", their_bulk, our_bulk, records),
    ] {
        let (mut least_reference, mut least_ours) = (f64::MAX, f64::MAX);
        for _ in 0..RUNS {
            least_reference = least_reference.min(reference(&contexts, messages));
            least_ours = least_ours.min(ours(&contexts, messages));
        }
        println!(
            "{name}: {least_reference:.2} us, ours {least_ours:.2} us, ratio {:.3}",
            least_ours / least_reference
        );
    }
}
