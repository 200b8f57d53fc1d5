//! Peers, messages, sockets.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;

use openssl_dtls::udp::SocketConfig;
use openssl_dtls::udp::blocking::{Client, Peer, Server, ServerConfig};
use openssl_dtls::{CloseReason, EndpointConfig, SendError};

use super::{ANY_PORT, Running, Told, assert_echo, connect, contexts, recv};
use crate::loopback::DEADLINE;

#[test]
fn peers_are_served_side_by_side() {
    let (client, server) = contexts();
    let running = Running::new(&server);
    let clients: Vec<_> = (0..20).map(|_| connect(&client, running.address)).collect();
    for round in 0..3 {
        for (n, client) in clients.iter().enumerate() {
            client.send(format!("{n} in {round}").as_bytes()).unwrap();
        }
        for (n, client) in clients.iter().enumerate() {
            let expected = format!("{n} in {round}");
            assert_eq!(recv(client).as_deref(), Some(expected.as_bytes()));
        }
    }
    assert_eq!(running.server.connections().len(), 20);
    drop(clients);
    for _ in 0..20 {
        running.until(|told| matches!(told, Told::Closed(_, CloseReason::Peer)));
    }
    let stats = running.server.stats();
    assert_eq!(stats.endpoint.accepted.completed, 20);
    assert_eq!(stats.endpoint.ended.closed_by_peer, 20);
    assert_eq!(stats.endpoint.messages_received, 60);
    assert_eq!(stats.endpoint.messages_sent, 60);
    assert_eq!(
        stats.udp.datagrams_received,
        stats.endpoint.datagrams_received
    );
    assert_eq!((stats.udp.send_errors, stats.udp.receive_errors), (0, 0));
    assert_eq!((stats.handler_panics, stats.callback_panics), (0, 0));
    assert_eq!(stats.troubles, 0);
}

#[test]
fn closure_is_a_handler() {
    let (client, server) = contexts();
    let server = Server::bind(ANY_PORT.into(), &server, ServerConfig::new()).unwrap();
    let address = server.local_addr().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            server.run(&mut |peer: &mut Peer<'_>, message: &[u8]| {
                let reversed: Vec<u8> = message.iter().rev().copied().collect();
                peer.send(&reversed).unwrap();
            })
        });
        let client = connect(&client, address);
        client.send(b"abc").unwrap();
        assert_eq!(recv(&client).as_deref(), Some(&b"cba"[..]));
        server.stop();
    });
}

#[test]
fn dual_stack_socket_serves_both_families() {
    let (client, server) = contexts();
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let server = Server::bind(everywhere, &server, ServerConfig::new()).unwrap();
    let running = Running::with(server);
    let port = running.address.port();
    for host in ["127.0.0.1", "[::1]"] {
        let to: SocketAddr = format!("{host}:{port}").parse().unwrap();
        let client = connect(&client, to);
        let from = client.local_addr().unwrap();
        assert_eq!(running.told(), Told::Connected(from));
        assert_echo(&client, b"over either");
        client.close().unwrap();
        running.until(|told| matches!(told, Told::Closed(..)));
    }
}

/// Linux routes all of 127.0.0.0/8 to this host. A connected client hears only the address it connected to.
#[cfg(target_os = "linux")]
#[test]
fn answers_come_from_the_address_that_the_client_chose() {
    let (client, server) = contexts();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let server = Server::bind(everywhere, &server, ServerConfig::new()).unwrap();
    let running = Running::with(server);
    let port = running.address.port();
    let clients = [[127, 0, 0, 1], [127, 0, 0, 9], [127, 3, 2, 1]]
        .map(|host| connect(&client, SocketAddr::from((host, port))));
    for client in &clients {
        assert_echo(client, b"from there");
    }
}

#[test]
fn existing_socket_is_served() {
    let (client, server) = contexts();
    let socket = UdpSocket::bind(ANY_PORT).unwrap();
    let address = socket.local_addr().unwrap();
    let config = ServerConfig::new().socket(SocketConfig::new().receive_buffer(1 << 18));
    let running = Running::with(Server::over(socket, &server, config).unwrap());
    assert_eq!(running.address, address);
    assert_echo(&connect(&client, address), b"hello");
}

#[test]
fn any_thread_sends_and_closes() {
    let (client, server) = contexts();
    let running = Running::new(&server);
    let client = connect(&client, running.address);
    let from = client.local_addr().unwrap();
    assert_eq!(running.told(), Told::Connected(from));
    let handle = running.only_connection();
    thread::scope(|scope| {
        for thread in 0..4_u8 {
            let server = &running.server;
            scope.spawn(move || {
                for n in 0..25 {
                    server.send(handle, &[thread, n]).unwrap();
                }
            });
        }
    });
    let mut next = [0; 4];
    for _ in 0..100 {
        let message = recv(&client).unwrap();
        let [thread, n] = message[..] else {
            panic!("not as sent: {message:?}");
        };
        let expected = &mut next[usize::from(thread)];
        assert_eq!(*expected, n, "in the order of each thread");
        *expected += 1;
    }
    running.server.close(handle);
    assert_eq!(recv(&client), None);
    assert_eq!(running.told(), Told::Closed(handle, CloseReason::Local));
    assert!(matches!(
        running.server.send(handle, b"x"),
        Err(SendError::Closed)
    ));
}

#[test]
fn burst_arrives_whole_and_in_order() {
    let (client, server) = contexts();
    let running = Running::new(&server);
    let client = connect(&client, running.address);
    client.send(b"burst").unwrap();
    for n in 0..100_u32 {
        let message = recv(&client).unwrap();
        assert_eq!((message.len(), &message[..4]), (1000, &n.to_be_bytes()[..]));
    }
    let udp = running.server.stats().udp;
    if cfg!(target_os = "linux") {
        assert!(udp.send_calls < 50, "{} calls", udp.send_calls);
    }
}

#[test]
fn closing_peer_gets_what_was_said_before_and_is_heard_no_more() {
    let (client, server) = contexts();
    let running = Running::new(&server);
    let client = connect(&client, running.address);
    client.send(b"close").unwrap();
    for _ in 0..10 {
        client.send(b"unheard").unwrap();
    }
    assert_eq!(recv(&client).as_deref(), Some(&b"farewell"[..]));
    assert_eq!(recv(&client), None);
    let told = running.until(|told| matches!(told, Told::Closed(..)));
    let messages = told.iter().filter(|told| matches!(told, Told::Message(..)));
    assert_eq!(messages.count(), 1, "{told:?}");
    assert!(running.server.connections().is_empty());
}

#[test]
fn foreign_datagrams_share_the_socket() {
    let (client, server) = contexts();
    let config = ServerConfig::new().endpoint(EndpointConfig::new().hand_out_foreign(true));
    let running = Running::with(Server::bind(ANY_PORT.into(), &server, config).unwrap());
    let client: Client = connect(&client, running.address);
    let stun = UdpSocket::bind(ANY_PORT).unwrap();
    stun.set_read_timeout(Some(DEADLINE)).unwrap();
    let binding_request = b"\x00\x01\x00\x00\x21\x12\xa4\x42twelve bytes";
    for datagram in [&b"\x00panic"[..], binding_request] {
        stun.send_to(datagram, running.address).unwrap();
    }
    let mut buffer = [0; 64];
    let (length, from) = stun.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"plain answer");
    assert_eq!(from, running.address);
    let told =
        running.until(|told| matches!(told, Told::Foreign(_, data) if data == binding_request));
    let from = stun.local_addr().unwrap();
    assert!(matches!(told.last(), Some(Told::Foreign(path, _)) if path.peer == from));
    assert_echo(&client, b"as before");
    let stats = running.server.stats();
    assert_eq!(stats.endpoint.foreign_datagrams, 2);
    assert_eq!(stats.handler_panics, 1);
}

#[test]
fn server_opens_connections_from_its_socket() {
    let (client, server) = contexts();
    let (one, other) = (Running::new(&server), Running::new(&server));
    let handle = one.server.connect(&client, other.address, None).unwrap();
    assert_eq!(one.told(), Told::Connected(other.address));
    assert_eq!(other.told(), Told::Connected(one.address));
    one.server.send(handle, b"to and fro").unwrap();
    let message = b"to and fro".to_vec();
    assert_eq!(other.told(), Told::Message(one.address, message.clone()));
    assert_eq!(one.told(), Told::Message(other.address, message));
    // Each echoes the other's echo until one is stopped.
    one.server.stop();
    other.server.stop();
}
