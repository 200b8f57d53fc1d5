//! What only the inside of a connection shows.

use std::net::SocketAddr;
use std::time::Instant;

use super::*;
use crate::{DropReason, Psk, PskLookup};

fn client_addr() -> SocketAddr {
    "192.0.2.1:40000".parse().unwrap()
}

fn server_addr() -> SocketAddr {
    "192.0.2.2:4433".parse().unwrap()
}

fn contexts() -> (Context, Context) {
    let psk = || Psk::new(b"sensor", b"0123456789abcdef").unwrap();
    let client = Context::client().psk(psk()).build().unwrap();
    let server = Context::server(PskLookup::single(psk())).build().unwrap();
    (client, server)
}

/// A client and a server with their handshake done.
fn connected(now: Instant) -> (Connection, Connection) {
    let (client, server) = contexts();
    let mut client = Connection::client(&client, server_addr(), None, now).unwrap();
    let proof = AddressProof::ProvedElsewhere;
    let mut server = Connection::server(&server, client_addr(), now, proof).unwrap();
    while !(client.is_established() && server.is_established()) {
        carry(now, &mut client, &mut server);
        carry(now, &mut server, &mut client);
    }
    (client, server)
}

/// Carries what waits in `from` to `to`.
fn carry(now: Instant, from: &mut Connection, to: &mut Connection) {
    while let Some(transmit) = from.poll_transmit() {
        to.handle_datagram(now, transmit.contents).unwrap();
    }
}

#[test]
fn new_path_is_taken_by_what_waits_and_by_what_follows() {
    let now = Instant::now();
    let (mut client, mut server) = connected(now);
    let moved = Path {
        peer: "198.51.100.7:50000".parse().unwrap(),
        local: Some([192, 0, 2, 3].into()),
    };
    server.send(b"before").unwrap();
    server.set_path(moved);
    server.send(b"after").unwrap();
    assert_eq!(server.path(), moved);
    let mut datagrams = Vec::new();
    while let Some(transmit) = server.poll_transmit() {
        assert_eq!(transmit.path, moved);
        datagrams.push(transmit.contents.to_vec());
    }
    assert_eq!(server.state_mut().unwrap().peer(), moved.peer);
    let mut buffer = [0; 16];
    for (datagram, message) in datagrams.iter().zip([&b"before"[..], b"after"]) {
        client.handle_datagram(now, datagram).unwrap();
        let length = client.recv(&mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..length], message);
    }
    // Over: there is no BIO left to tell.
    server.close();
    while server.poll_transmit().is_some() {}
    server.set_path(server_addr().into());
    assert_eq!(server.path().peer, server_addr());
}

#[test]
fn close_notify_that_found_no_room_does_not_count_as_sent() {
    let (mut client, _server) = connected(Instant::now());
    client.send(b"waits").unwrap();
    client.limit_growth(0, 0);
    client.close();
    assert!(!client.stats().close_notify_sent);
    assert_eq!(client.stats().drops.count(DropReason::SendQueueFull), 1);
    assert!(client.poll_transmit().is_some());
    assert!(client.poll_transmit().is_none());
}
