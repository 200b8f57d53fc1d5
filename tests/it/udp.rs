//! The blocking client over loopback.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use openssl_dtls::openssl::ssl::SslVersion;
use openssl_dtls::udp::blocking::{Client, ClientError};
use openssl_dtls::{
    Alert, ConfigError, Context, Error, Mtu, Psk, RecvError, SendError, ServerName, TransportConfig,
};

use crate::loopback::{Accepted, DEADLINE, Server, Told};
use crate::support::{IDENTITY, KEY, certificate_contexts, psk_contexts, record};

/// A time that passes before nothing happens.
const SHORT: Duration = Duration::from_millis(50);

fn contexts() -> (Context, Context) {
    psk_contexts(&TransportConfig::default())
}

fn bind() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// A client that does not wait for ever.
fn connect(context: &Context, addresses: &[SocketAddr]) -> Client {
    let client = Client::connect(context, addresses, None).unwrap();
    client.set_read_timeout(Some(DEADLINE));
    client
}

/// A client and the connection that serves it, which the test drives.
fn connect_by_hand() -> (Client, Accepted) {
    let (client, server) = contexts();
    let socket = bind();
    let address = socket.local_addr().unwrap();
    let server = thread::spawn(move || Accepted::wait(socket, &server));
    let client = connect(&client, &[address]);
    (client, server.join().unwrap())
}

fn recv(client: &Client) -> Result<Option<Vec<u8>>, ClientError> {
    let mut buffer = vec![0; 16_384];
    let length = client.recv(&mut buffer)?;
    Ok(length.map(|length| buffer[..length].to_vec()))
}

fn assert_echo(client: &Client, message: &[u8]) {
    client.send(message).unwrap();
    assert_eq!(recv(client).unwrap().as_deref(), Some(message));
}

#[test]
fn messages_go_both_ways_until_closed() {
    let (client, server) = certificate_contexts(&TransportConfig::default());
    let server = Server::new(&server);
    let name = ServerName::try_from("localhost").unwrap();
    let client = Client::connect(&client, server.address, Some(name)).unwrap();
    client.set_read_timeout(Some(DEADLINE));

    let info = client.handshake_info().unwrap();
    assert_eq!(info.version(), Some(SslVersion::DTLS1_2));
    assert_eq!(info.verified_name(), Some("localhost"));
    assert_eq!(server.connected().server_name(), Some("localhost"));
    assert_eq!(client.peer_addr(), server.address);

    assert_echo(&client, b"one");
    server.assert_message(b"one");
    let largest = vec![7; client.data_mtu().unwrap()];
    assert_echo(&client, &largest);
    server.assert_message(&largest);
    assert!(matches!(
        client.send(&vec![7; largest.len() + 1]),
        Err(ClientError::Send(SendError::TooLarge { max })) if max == largest.len()
    ));

    client.close().unwrap();
    assert!(client.stats().close_notify_sent);
    assert_eq!(server.closed().messages_received, 2);
    assert_eq!(recv(&client).unwrap(), None);
    assert!(matches!(
        client.send(b"late"),
        Err(ClientError::Send(SendError::Closed))
    ));
}

#[test]
fn every_address_is_tried() {
    let (client, server) = contexts();
    let server = Server::new(&server);
    // Connected to itself, so that it takes no datagram from anybody else and the system refuses them.
    let refusing = bind();
    let refused = refusing.local_addr().unwrap();
    refusing.connect(refused).unwrap();

    let connected = connect(&client, &[refused, server.address]);
    assert_eq!(connected.peer_addr(), server.address);
    assert_echo(&connected, b"found");

    let none: &[SocketAddr] = &[];
    assert!(matches!(
        Client::connect(&client, none, None),
        Err(ClientError::NoAddress)
    ));
}

#[test]
fn unreachable_port_is_told() {
    let (client, _) = contexts();
    let refusing = bind();
    let refused = refusing.local_addr().unwrap();
    refusing.connect(refused).unwrap();
    let begin = Instant::now();
    match Client::connect(&client, refused, None) {
        Err(ClientError::Connection(Error::Unreachable(error))) => assert!(matches!(
            error.kind(),
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
        )),
        other => panic!("{other:?}"),
    }
    // Not by the handshake's timeout.
    assert!(begin.elapsed() < DEADLINE);
}

#[test]
fn alert_of_a_peer_that_is_gone_is_told() {
    let quick = TransportConfig::new().retransmission(SHORT, DEADLINE);
    let (client, _) = psk_contexts(&quick);
    let elsewhere = bind();
    let refuses = |error| {
        assert!(
            matches!(
                error,
                Err(ClientError::Connection(Error::AlertReceived { alert }))
                    if alert == Alert::HANDSHAKE_FAILURE
            ),
            "{error:?}"
        );
    };
    let alert = record(21, 0, 0, &[2, Alert::HANDSHAKE_FAILURE.0]);

    // The client sends its hello again, and is told that the peer is gone, before it believes the alert.
    let peer = bind();
    let address = peer.local_addr().unwrap();
    thread::scope(|scope| {
        let attempt = scope.spawn(|| Client::connect(&client, address, None));
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        let (_, from) = peer.recv_from(&mut [0; 1500]).unwrap();
        peer.send_to(&alert, from).unwrap();
        peer.connect(elsewhere.local_addr().unwrap()).unwrap();
        refuses(attempt.join().unwrap());
    });

    // It is told so before it has read the alert.
    let peer = bind();
    let socket = bind();
    let address = peer.local_addr().unwrap();
    socket.connect(address).unwrap();
    peer.send_to(&alert, socket.local_addr().unwrap()).unwrap();
    peer.connect(elsewhere.local_addr().unwrap()).unwrap();
    socket.send(b"refused").unwrap();
    refuses(Client::over(&client, socket, address, None));
}

#[test]
fn silent_peer_times_out() {
    let transport = TransportConfig::new().handshake_timeout(SHORT);
    let (client, _) = psk_contexts(&transport);
    let silent = bind();
    assert!(matches!(
        Client::connect(&client, silent.local_addr().unwrap(), None),
        Err(ClientError::Connection(Error::HandshakeTimeout))
    ));
    // It was asked.
    let mut hello = [0; 1500];
    silent.set_read_timeout(Some(DEADLINE)).unwrap();
    assert!(silent.recv(&mut hello).unwrap() > 13);
}

#[test]
fn refusal_is_told_to_both_ends() {
    let quick = TransportConfig::new().retransmission(SHORT, DEADLINE);
    let other = Psk::new(b"nobody", KEY).unwrap();
    let client = Context::client()
        .psk(other)
        .transport(quick)
        .build()
        .unwrap();
    let (_, server) = contexts();
    let server = Server::new(&server);
    assert!(matches!(
        Client::connect(&client, server.address, None),
        Err(ClientError::Connection(Error::AlertReceived { alert }))
            if alert == Alert::UNKNOWN_PSK_IDENTITY
    ));
    assert!(matches!(server.failed(), Error::UnknownPskIdentity(_)));
}

#[test]
fn contradictions_are_told_before_anything_is_sent() {
    let (client, server) = certificate_contexts(&TransportConfig::default());
    let peer = bind();
    let address = peer.local_addr().unwrap();
    assert!(matches!(
        Client::connect(&client, address, None),
        Err(ClientError::Config(ConfigError::NoServerName))
    ));
    assert!(matches!(
        Client::connect(&server, address, None),
        Err(ClientError::Config(ConfigError::WrongRole { .. }))
    ));
    peer.set_nonblocking(true).unwrap();
    assert_eq!(
        peer.recv(&mut [0; 10]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
}

#[test]
fn existing_socket_drops_what_others_send() {
    let (client, server) = contexts();
    let server = Server::new(&server);
    let socket = bind();
    // Whatever mode it was in.
    socket.set_nonblocking(true).unwrap();
    let local = socket.local_addr().unwrap();
    let client = Client::over(&client, socket, server.address, None).unwrap();
    client.set_read_timeout(Some(DEADLINE));
    assert_eq!(client.local_addr().unwrap(), local);
    assert_eq!(server.connected().psk_identity(), Some(IDENTITY));

    let stranger = bind();
    stranger.send_to(b"not for you", local).unwrap();
    assert_echo(&client, b"still here");
    assert_eq!(client.socket_stats().strays, 1);
    assert_eq!(client.stats().drops.total(), 0);
}

#[test]
fn existing_socket_may_be_connected_to_the_peer_only() {
    let (client, server) = contexts();
    let server = Server::new(&server);
    let socket = bind();
    socket.connect(server.address).unwrap();
    let connected = Client::over(&client, socket, server.address, None).unwrap();
    connected.set_read_timeout(Some(DEADLINE));
    assert_echo(&connected, b"over it");

    let elsewhere = bind();
    let socket = bind();
    socket.connect(elsewhere.local_addr().unwrap()).unwrap();
    match Client::over(&client, socket, server.address, None) {
        Err(ClientError::Io(error)) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
        other => panic!("{other:?}"),
    }
}

#[test]
fn mapped_address_is_the_same_peer() {
    let Ok(socket) = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) else {
        println!("skipped: this system has no IPv6");
        return;
    };
    let (client, server) = contexts();
    let server = Server::new(&server);
    let mapped = (Ipv4Addr::LOCALHOST.to_ipv6_mapped(), server.address.port());
    if let Err(error) = socket.send_to(b"", mapped) {
        println!("skipped: this system has no dual-stack sockets: {error}");
        return;
    }
    let client = Client::over(&client, socket, mapped.into(), None).unwrap();
    client.set_read_timeout(Some(DEADLINE));
    assert_echo(&client, b"mapped");
    assert_eq!(client.socket_stats().strays, 0);
}

#[test]
fn ipv6_peer_is_found() {
    let Ok(socket) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) else {
        println!("skipped: this system has no IPv6");
        return;
    };
    let (client, server) = contexts();
    let server = Server::on(socket, &server);
    let client = connect(&client, &[server.address]);
    assert_echo(&client, b"six");
    assert!(client.local_addr().unwrap().is_ipv6());
}

#[test]
fn one_thread_sends_while_another_waits() {
    const MESSAGES: u32 = 50;
    let (client, mut server) = connect_by_hand();
    thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let messages = std::iter::from_fn(|| recv(&client).unwrap());
            messages.take(MESSAGES as usize).collect::<Vec<_>>()
        });
        // The server answers nothing before it has all, so the receiver waits all the while.
        for number in 0..MESSAGES {
            client.send(&number.to_be_bytes()).unwrap();
        }
        for number in 0..MESSAGES {
            assert_eq!(server.recv(), number.to_be_bytes());
        }
        for number in 0..MESSAGES {
            server.send(&number.to_be_bytes());
        }
        let expected: Vec<_> = (0..MESSAGES).map(|n| n.to_be_bytes().to_vec()).collect();
        assert_eq!(receiver.join().unwrap(), expected);
    });
}

#[test]
fn close_wakes_a_waiting_thread() {
    let (client, mut server) = connect_by_hand();
    client.set_read_timeout(None);
    thread::scope(|scope| {
        let receiver = scope.spawn(|| recv(&client));
        client.close().unwrap();
        assert_eq!(receiver.join().unwrap().unwrap(), None);
    });
    server.receive_datagram();
    assert!(server.connection.is_closed_by_peer());
}

#[test]
fn read_timeout_passes_and_the_connection_goes_on() {
    let (client, mut server) = connect_by_hand();
    for timeout in [Duration::ZERO, SHORT] {
        client.set_read_timeout(Some(timeout));
        let begin = Instant::now();
        assert!(matches!(recv(&client), Err(ClientError::TimedOut)));
        assert!(begin.elapsed() >= timeout);
    }
    // However short it is, what is there is taken.
    server.send(b"there");
    client.set_read_timeout(Some(Duration::ZERO));
    assert_eq!(recv(&client).unwrap().as_deref(), Some(&b"there"[..]));
    // Too long for the clock.
    server.send(b"there again");
    client.set_read_timeout(Some(Duration::MAX));
    assert_eq!(recv(&client).unwrap().as_deref(), Some(&b"there again"[..]));
}

#[test]
fn write_timeout_of_zero_is_refused() {
    let (client, _server) = connect_by_hand();
    assert_eq!(
        client
            .set_write_timeout(Some(Duration::ZERO))
            .unwrap_err()
            .kind(),
        ErrorKind::InvalidInput
    );
    client.set_write_timeout(Some(DEADLINE)).unwrap();
    client.send(b"in time").unwrap();
}

#[test]
fn short_buffer_keeps_the_message() {
    let (client, mut server) = connect_by_hand();
    server.send(b"eleven byte");
    assert!(matches!(
        client.recv(&mut [0; 10]),
        Err(ClientError::Recv(RecvError::TooSmall { needed: 11 }))
    ));
    assert_eq!(recv(&client).unwrap().as_deref(), Some(&b"eleven byte"[..]));
}

#[test]
fn messages_before_the_close_of_the_peer_are_received() {
    let (client, mut server) = connect_by_hand();
    server.send(b"last");
    server.connection.close();
    server.flush();
    assert_eq!(recv(&client).unwrap().as_deref(), Some(&b"last"[..]));
    assert_eq!(recv(&client).unwrap(), None);
    assert_eq!(recv(&client).unwrap(), None);
    // The peer hears no more, but may be told.
    client.send(b"farewell").unwrap();
    assert!(!client.stats().close_notify_sent);
    client.close().unwrap();
    assert!(client.stats().close_notify_sent);
}

#[test]
fn hazard_c38_icmp_after_the_handshake_is_harmless() {
    let (client, mut server) = connect_by_hand();
    // A socket that is connected elsewhere takes nothing from the client, and the system says so to the client.
    let elsewhere = bind();
    server
        .socket
        .connect(elsewhere.local_addr().unwrap())
        .unwrap();
    client.send(b"refused").unwrap();
    client.send(b"refused").unwrap();
    client.set_read_timeout(Some(SHORT));
    assert!(matches!(recv(&client), Err(ClientError::TimedOut)));
    assert!(client.socket_stats().icmp_errors > 0);

    server.socket.connect(server.peer).unwrap();
    client.set_read_timeout(Some(DEADLINE));
    client.send(b"taken").unwrap();
    let mut datagram = vec![0; 1500];
    let length = server.socket.recv(&mut datagram).unwrap();
    server
        .connection
        .handle_datagram(Instant::now(), &datagram[..length])
        .unwrap();
    assert_eq!(server.recv(), b"taken");
    server.connection.send(b"answer").unwrap();
    let answer = server.connection.poll_transmit().unwrap();
    server.socket.send(answer.contents).unwrap();
    assert_eq!(recv(&client).unwrap().as_deref(), Some(&b"answer"[..]));
}

#[test]
fn dropped_client_closes() {
    let (client, server) = contexts();
    let server = Server::new(&server);
    let client = connect(&client, &[server.address]);
    server.connected();
    drop(client);
    server.closed();
}

#[test]
fn peers_are_served_side_by_side() {
    let (client, server) = contexts();
    let server = Server::new(&server);
    let clients: Vec<_> = (0..4)
        .map(|_| connect(&client, &[server.address]))
        .collect();
    for (number, client) in clients.iter().enumerate() {
        assert_echo(client, format!("number {number}").as_bytes());
    }
}

#[test]
fn client_that_starts_anew_from_its_address_is_served() {
    let (client, server) = contexts();
    let server = Server::new(&server);
    let socket = bind();
    let first = Client::over(&client, socket.try_clone().unwrap(), server.address, None).unwrap();
    first.set_read_timeout(Some(DEADLINE));
    server.connected();
    assert_echo(&first, b"before");
    server.assert_message(b"before");
    // As after a crash: the first one has not closed, and reads no more.
    let second = Client::over(&client, socket, server.address, None).unwrap();
    second.set_read_timeout(Some(DEADLINE));
    server.connected();
    assert_echo(&second, b"after");
    server.assert_message(b"after");
}

#[test]
fn message_too_large_for_the_way_back_is_told() {
    let (client, _) = contexts();
    let narrow = TransportConfig::new().mtu(Mtu::MIN);
    let (_, server) = psk_contexts(&narrow);
    let server = Server::new(&server);
    let client = connect(&client, &[server.address]);
    server.connected();
    client.send(&[7; 1000]).unwrap();
    server.assert_message(&[7; 1000]);
    assert!(matches!(
        server.told(),
        Told::NotSent(SendError::TooLarge { max }) if max < Mtu::MIN.bytes()
    ));
}

#[test]
fn client_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Client>();
}

#[cfg(unix)]
#[test]
fn descriptor_is_lent() {
    use std::os::fd::AsFd;

    let (client, _server) = connect_by_hand();
    let socket = UdpSocket::from(client.as_fd().try_clone_to_owned().unwrap());
    assert_eq!(socket.local_addr().unwrap(), client.local_addr().unwrap());
}
