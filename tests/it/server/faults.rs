//! Whatever fails ends its own connection and nothing else.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use openssl_dtls::udp::blocking::{Client, Server, ServerConfig, ServerError};
use openssl_dtls::{
    CloseReason, ConfigError, Connection, Context, EndpointConfig, Psk, PskKey, PskLookup,
    TransportConfig,
};

use super::{ANY_PORT, Running, Told, assert_echo, connect, contexts, recv};
use crate::loopback::DEADLINE;
use crate::support::{IDENTITY, KEY, psk};

/// A client whose socket and connection the test drives, and can leave without a word.
struct ByHand {
    socket: UdpSocket,
    connection: Connection,
}

impl ByHand {
    fn start(context: &Context, address: SocketAddr) -> ByHand {
        let socket = UdpSocket::bind(ANY_PORT).unwrap();
        socket.connect(address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let connection = Connection::client(context, address, None, Instant::now()).unwrap();
        let mut by_hand = ByHand { socket, connection };
        by_hand.flush();
        by_hand
    }

    fn connect(context: &Context, address: SocketAddr) -> ByHand {
        let mut by_hand = Self::start(context, address);
        while !by_hand.connection.is_established() {
            by_hand.turn();
        }
        by_hand
    }

    fn flush(&mut self) {
        while let Some(transmit) = self.connection.poll_transmit() {
            self.socket.send(transmit.contents).unwrap();
        }
    }

    fn turn(&mut self) {
        let mut buffer = [0; 2048];
        let length = self.socket.recv(&mut buffer).unwrap();
        self.connection
            .handle_datagram(Instant::now(), &buffer[..length])
            .unwrap();
        self.flush();
    }
}

#[test]
fn panicking_handler_ends_its_own_connection() {
    let (client, server) = contexts();
    let running = Running::new(&server);
    let (bad, good) = (
        connect(&client, running.address),
        connect(&client, running.address),
    );
    assert_echo(&good, b"before");
    let bad_address = bad.local_addr().unwrap();
    bad.send(b"panic").unwrap();
    assert_eq!(recv(&bad), None, "it is told that it is over");
    assert_echo(&good, b"after");
    let told = running.until(|told| matches!(told, Told::Closed(..)));
    let Some(Told::Panicked(Some(handle), said)) = told.iter().rev().nth(1) else {
        panic!("not told: {told:?}");
    };
    assert_eq!(said, "as asked");
    assert!(told.contains(&Told::Message(bad_address, b"panic".to_vec())));
    assert_eq!(
        told.last(),
        Some(&Told::Closed(*handle, CloseReason::Local))
    );
    assert_eq!(running.server.connections().len(), 1);
    // What was told of the panic panicked as well.
    assert_eq!(running.server.stats().handler_panics, 2);
    assert_echo(&connect(&client, running.address), b"a new one");
}

#[test]
fn panicking_callback_ends_its_own_handshake() {
    let (client, _) = contexts();
    let lookup = PskLookup::new(|identity: &[u8]| {
        assert_ne!(identity, b"evil");
        (identity == IDENTITY).then(|| PskKey::new(KEY).unwrap())
    });
    let server = Context::server(lookup).build().unwrap();
    let running = Running::new(&server);
    let good = connect(&client, running.address);
    let transport = TransportConfig::new().handshake_timeout(Duration::from_millis(300));
    let evil = Context::client()
        .psk(Psk::new(b"evil", KEY).unwrap())
        .transport(transport)
        .build()
        .unwrap();
    assert!(Client::connect(&evil, running.address, None).is_err());
    assert_echo(&good, b"unharmed");
    assert_echo(&connect(&client, running.address), b"a new one");
    running.until(|told| *told == Told::HandshakeFailed);
    let stats = running.server.stats();
    assert!(stats.callback_panics >= 1);
    assert_eq!(stats.handler_panics, 0);
    assert_eq!(stats.endpoint.accepted.failed, stats.callback_panics);
}

#[test]
fn hazard_c38_peer_that_is_gone_harms_no_other() {
    let (client, server) = contexts();
    let running = Running::new(&server);
    let by_hand = ByHand::connect(&client, running.address);
    assert!(matches!(running.told(), Told::Connected(_)));
    let gone = running.only_connection();
    let other = connect(&client, running.address);
    assert!(matches!(running.told(), Told::Connected(_)));
    drop(by_hand);
    for _ in 0..20 {
        running.server.send(gone, b"nobody listens").unwrap();
        assert_echo(&other, b"unharmed");
    }
    let stats = running.server.stats();
    assert_eq!((stats.udp.send_errors, stats.udp.receive_errors), (0, 0));
    let both = running.server.connections();
    assert_eq!(both.len(), 2, "anybody can forge ICMP messages");
    let other = *both.iter().find(|handle| **handle != gone).unwrap();
    assert_eq!(running.server.icmp_errors(other), 0);
    if cfg!(target_os = "linux") {
        let count = running.server.icmp_errors(gone);
        assert!(count > 0 && count <= stats.udp.icmp_errors, "{count}");
        running.server.close(gone);
        running.until(|told| matches!(told, Told::Closed(..)));
        assert_eq!(running.server.icmp_errors(gone), 0);
    }
}

#[test]
fn unusable_datagrams_are_counted_and_harm_nobody() {
    let (client, server) = contexts();
    let running = Running::new(&server);
    let mut hello = Connection::client(&client, running.address, None, Instant::now()).unwrap();
    let hello = hello.poll_transmit().unwrap().contents.to_vec();
    let client = connect(&client, running.address);
    let stranger = UdpSocket::bind(ANY_PORT).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let mut sent = 0;
    let mut send = |datagram: &[u8]| {
        stranger.send_to(datagram, running.address).unwrap();
        sent += 1;
    };
    send(&[]);
    send(&vec![22; 65_507]);
    for length in 0..hello.len() {
        send(&hello[..length]);
    }
    for _ in 0..500 {
        let length = random.usize(1..1500);
        let mut garbage: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        garbage[0] = random.u8(20..64);
        send(&garbage);
    }
    let deadline = Instant::now() + DEADLINE;
    let stats = loop {
        assert_echo(&client, b"unharmed");
        let stats = running.server.stats().endpoint;
        let dropped = stats.drops.total();
        if dropped >= sent {
            break stats;
        }
        assert!(Instant::now() < deadline, "{dropped} of {sent}");
    };
    assert_eq!(stats.connections, 1);
    assert_eq!(stats.cookies_sent, 1, "for the client alone");
}

#[test]
fn peer_that_stops_in_its_handshake_is_given_up() {
    let (client, _) = contexts();
    let transport = TransportConfig::new().handshake_timeout(Duration::from_millis(200));
    let server = Context::server(PskLookup::single(psk())).transport(transport);
    let running = Running::new(&server.build().unwrap());
    let mut silent = ByHand::start(&client, running.address);
    // Returns its cookie, and says no more.
    silent.turn();
    assert_eq!(running.told(), Told::HandshakeFailed);
    assert_eq!(running.server.stats().endpoint.accepted.timed_out, 1);
    let server = contexts().1;
    running.server.set_context(&server).unwrap();
    assert_echo(&connect(&client, running.address), b"others go on");
}

#[test]
fn bad_set_ups_are_refused() {
    let (client, server) = contexts();
    let bind = |context: &Context, config| Server::bind(ANY_PORT.into(), context, config);
    assert!(matches!(
        bind(&client, ServerConfig::new()),
        Err(ServerError::Config(ConfigError::WrongRole { .. }))
    ));
    let none = EndpointConfig::new().max_connections(0);
    assert!(matches!(
        bind(&server, ServerConfig::new().endpoint(none)),
        Err(ServerError::Config(ConfigError::OutOfRange { .. }))
    ));
    let first = bind(&server, ServerConfig::new()).unwrap();
    let taken = Server::bind(first.local_addr().unwrap(), &server, ServerConfig::new());
    assert!(matches!(taken, Err(ServerError::Io(_))));
    assert!(matches!(
        Server::bind_workers(ANY_PORT.into(), 0, &server, ServerConfig::new()),
        Err(ServerError::Io(_))
    ));
}
