//! How connections end: closed from either side, refused, given up, failed; and what can be called after that.

use std::time::{Duration, Instant};

use openssl_dtls::openssl::ssl::{ErrorCode, ShutdownResult};
use openssl_dtls::{
    AddressProof, Alert, CloseReason, Connection, Context, DropReason, Error, Event, Psk,
    SendError, ServerName, TransportConfig,
};

use crate::support::pair::{client_addr, receive, server_addr};
use crate::support::{
    IDENTITY, Pair, Settings, certificate_contexts, certs, clock, fragment, psk_contexts, raw,
    record,
};

const CLOSED_HERE: Event = Event::Closed(CloseReason::Local);
const CLOSED_BY_PEER: Event = Event::Closed(CloseReason::Peer);
const FATAL_HANDSHAKE_FAILURE: [u8; 2] = [2, 40];

fn transport() -> TransportConfig {
    TransportConfig::default()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn drained(connection: &mut Connection) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    while let Some(transmit) = connection.poll_transmit() {
        datagrams.push(transmit.contents.to_vec());
    }
    datagrams
}

fn events(connection: &mut Connection) -> Vec<Event> {
    std::iter::from_fn(|| connection.poll_event()).collect()
}

/// Calls everything on a connection that is over: nothing must come of it.
fn assert_over(connection: &mut Connection) {
    let now = clock::now();
    drained(connection);
    events(connection);
    let sent = connection.stats().datagrams_sent;
    assert!(connection.is_closed());
    assert!(!connection.is_established());
    assert_eq!(connection.poll_timeout(), None);
    assert!(matches!(connection.send(b"late"), Err(SendError::Closed)));
    assert!(matches!(connection.send(&[]), Err(SendError::Closed)));
    assert_eq!(connection.recv(&mut []).unwrap(), None);
    let late = [
        record(22, 0, 9, &fragment(1, 40, 1, 0, &[3; 40])),
        record(21, 0, 10, &FATAL_HANDSHAKE_FAILURE),
        record(23, 1, 11, &[7; 40]),
        Vec::new(),
    ];
    for datagram in &late {
        connection.handle_datagram(now, datagram).unwrap();
    }
    connection.handle_timeout(now).unwrap();
    connection.handle_timeout(now + seconds(100_000)).unwrap();
    connection.release_buffers();
    connection.close();
    assert_eq!(drained(connection), [[0; 0]; 0]);
    assert_eq!(events(connection), []);
    assert_eq!(connection.stats().datagrams_sent, sent);
    assert_eq!(connection.stats().drops.count(DropReason::Closed), 3);
}

#[test]
fn close_during_the_handshake_says_nothing() {
    for (steps, server_closes) in (0..7).flat_map(|steps| [(steps, false), (steps, true)]) {
        let mut pair = Pair::new(&certificate_contexts(&transport()));
        pair.drain();
        for _ in 0..steps {
            pair.travel(Duration::from_millis(10));
        }
        let closed = if server_closes {
            let Some(server) = pair.server.as_deref_mut() else {
                continue;
            };
            server
        } else {
            &mut pair.client
        };
        let was_established = closed.is_established();
        events(closed);
        closed.close();
        assert_eq!(events(closed), [CLOSED_HERE]);
        assert_eq!(drained(closed).len(), usize::from(was_established));
        assert_eq!(closed.stats().close_notify_sent, was_established);
        assert_over(closed);
    }
}

#[test]
fn close_sends_one_close_notify_and_the_peer_may_go_on_sending() {
    let mut pair = Pair::connected(&psk_contexts(&transport()));
    pair.client.send(b"last words").unwrap();
    pair.client.close();
    pair.client.close();
    pair.travel(seconds(1));
    assert_eq!(pair.client_events.last(), Some(&CLOSED_HERE));
    assert!(pair.client.stats().close_notify_sent);
    let sent = pair.client.stats().datagrams_sent;

    // The other end reads what came before, and still sends.
    let server = pair.server_mut();
    assert_eq!(receive(server).unwrap(), b"last words");
    assert!(server.is_closed_by_peer());
    assert!(server.is_established());
    server.send(b"understood").unwrap();
    pair.travel(seconds(1));
    assert_eq!(pair.server_events.last(), Some(&CLOSED_BY_PEER));
    assert_eq!(pair.client.stats().drops.count(DropReason::Closed), 1);
    pair.server_mut().close();
    pair.travel(seconds(100));
    assert_eq!(pair.server_events.last(), Some(&CLOSED_HERE));
    // Nothing is repeated and nothing waited for.
    assert_eq!(pair.client.stats().datagrams_sent, sent);
    assert_over(pair.server_mut());
}

#[test]
fn messages_after_close_notify_are_dropped() {
    let mut pair = Pair::connected(&psk_contexts(&transport()));
    pair.client.send(b"overtaken").unwrap();
    let overtaken = drained(&mut pair.client).remove(0);
    pair.client.close();
    pair.travel(seconds(1));
    assert!(pair.server().unwrap().is_closed_by_peer());
    pair.server_receives(&overtaken);
    assert_eq!(receive(pair.server_mut()), None);
    let drops = &pair.server().unwrap().stats().drops;
    assert_eq!(drops.count(DropReason::Closed), 1);
}

#[test]
fn both_ends_may_close_at_once() {
    let mut pair = Pair::connected(&psk_contexts(&transport()));
    pair.client.close();
    pair.server_mut().close();
    pair.travel(seconds(100));
    assert_eq!(pair.client_events.last(), Some(&CLOSED_HERE));
    assert_eq!(pair.server_events.last(), Some(&CLOSED_HERE));
    assert!(pair.client_error.is_none() && pair.server_errors.is_empty());
}

#[test]
fn lost_close_notify_is_not_repeated() {
    let mut pair = Pair::connected(&psk_contexts(&transport()));
    pair.to_server
        .settings
        .lost
        .insert(pair.to_server.log.len());
    pair.client.close();
    pair.travel(seconds(100));
    assert_eq!(pair.to_server.lost, 1);
    assert!(!pair.server().unwrap().is_closed_by_peer());
}

#[test]
fn close_notify_has_room_when_the_queue_is_full() {
    let transport = transport().send_queue(64 * 1024);
    let mut pair = Pair::connected(&psk_contexts(&transport));
    let client = &mut pair.client;
    let message = vec![7; client.data_mtu().unwrap()];
    while client.send(&message).is_ok() {}
    while client.send(b"7").is_ok() {}
    assert!(matches!(client.send(b"7"), Err(SendError::Full)));
    client.close();
    assert!(client.stats().close_notify_sent);
    assert_eq!(client.stats().drops.total(), 0);
    pair.travel(seconds(1));
    assert!(pair.server().unwrap().is_closed_by_peer());
}

#[test]
fn hazard_c29_second_shutdown_of_libssl_waits_and_ours_does_not() {
    let suite = "PSK-AES128-GCM-SHA256";
    let (mut client, mut server) = raw::connected(raw::psk_client(suite), raw::psk_server(suite));
    assert_eq!(client.stream.shutdown().unwrap(), ShutdownResult::Sent);
    let error = client.stream.shutdown().unwrap_err();
    assert_eq!(error.code(), ErrorCode::WANT_READ);
    assert_eq!(client.carry_to(&mut server).len(), 1);
    // The one that was told can still write, and the one that told can still read.
    assert_eq!(
        server.stream.ssl_read(&mut [0; 9]).unwrap_err().code(),
        ErrorCode::ZERO_RETURN
    );
    server.stream.ssl_write(b"still here").unwrap();
    server.carry_to(&mut client);
    assert_eq!(client.stream.ssl_read(&mut [0; 16]).unwrap(), 10);
    assert!(client.stream.ssl_write(b"too late").is_err());
}

#[test]
fn hazard_c19_silence_ends_after_twelve_repetitions_with_doubled_intervals_up_to_a_minute() {
    let transport = transport().handshake_timeout(seconds(24 * 3600));
    let (client, _) = psk_contexts(&transport);
    let began = clock::now();
    let mut client = Connection::client(&client, server_addr(), None, began).unwrap();
    let (times, error) = until_given_up(&mut client);
    let waits = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60];
    let mut at = 0;
    let mut expected = vec![seconds(0)];
    for wait in waits {
        at += wait;
        expected.push(seconds(at));
    }
    assert_eq!(times, expected);
    assert!(matches!(error, Error::HandshakeTimeout), "{error:?}");
    assert_eq!(clock::now() - began, seconds(at + 60));
    assert_over(&mut client);
}

#[test]
fn hazard_c19_silence_ends_at_the_deadline() {
    for server_is_silent in [true, false] {
        let (client, server) = certificate_contexts(&transport());
        let name = ServerName::try_from("localhost").unwrap();
        let began = clock::now();
        let mut silent = Connection::client(&client, server_addr(), Some(name), began).unwrap();
        if !server_is_silent {
            // A server whose client falls silent after its hello.
            let hello = drained(&mut silent).remove(0);
            let proof = AddressProof::ProvedElsewhere;
            silent = Connection::server(&server, client_addr(), began, proof).unwrap();
            silent.handle_datagram(began, &hello).unwrap();
        }
        let (times, error) = until_given_up(&mut silent);
        assert_eq!(times, [0, 1, 3, 7, 15, 31].map(seconds));
        assert!(matches!(error, Error::HandshakeTimeout), "{error:?}");
        assert_eq!(clock::now() - began, seconds(60));
        assert_over(&mut silent);
    }
}

#[test]
fn hazard_c50_intervals_are_as_configured() {
    let ms = Duration::from_millis;
    let transport = transport()
        .retransmission(ms(16), ms(100))
        .handshake_timeout(ms(500));
    let (client, _) = psk_contexts(&transport);
    let mut client = Connection::client(&client, server_addr(), None, clock::now()).unwrap();
    let (times, error) = until_given_up(&mut client);
    assert!(matches!(error, Error::HandshakeTimeout), "{error:?}");
    // libssl takes a timer with 15 ms left for one that has run out, but is not asked before.
    assert_eq!(times, [0, 16, 48, 112, 212, 312, 412].map(ms));
}

/// When datagrams went out, counted from now, until `connection` gave up, and why it did.
fn until_given_up(connection: &mut Connection) -> (Vec<Duration>, Error) {
    let began = clock::now();
    let mut times = Vec::new();
    loop {
        if !drained(connection).is_empty() {
            times.push(clock::now() - began);
        }
        let at = connection.poll_timeout().unwrap();
        clock::move_to(at);
        if let Err(error) = connection.handle_timeout(at) {
            return (times, error);
        }
    }
}

#[test]
fn hazard_c20_steps_of_the_wall_clock_neither_stall_nor_flood() {
    for step in [3600, -3600, 1, -1] {
        let (client, _) = psk_contexts(&transport());
        let began = clock::now();
        let mut client = Connection::client(&client, server_addr(), None, began).unwrap();
        drained(&mut client);
        clock::step_wall_clock(step);
        let mut repeated = 0;
        let mut asked = 0;
        loop {
            let at = client.poll_timeout().unwrap();
            assert!(at <= began + seconds(60), "{step}");
            clock::move_to(at);
            asked += 1;
            let outcome = client.handle_timeout(at);
            repeated += drained(&mut client).len();
            if let Err(error) = outcome {
                assert!(matches!(error, Error::HandshakeTimeout));
                break;
            }
        }
        assert_eq!(clock::now() - began, seconds(60), "{step}");
        assert!(repeated <= 6 && asked <= 70, "{step}: {repeated} {asked}");
        // The clock that was put right again is seen within an interval.
        clock::step_wall_clock(-step);
    }
}

#[test]
fn hazard_c20_clock_put_back_and_right_again_costs_one_interval() {
    let (client, _) = psk_contexts(&transport());
    let began = clock::now();
    let mut client = Connection::client(&client, server_addr(), None, began).unwrap();
    drained(&mut client);
    clock::step_wall_clock(-3600);
    let at = client.poll_timeout().unwrap();
    assert_eq!(at, began + seconds(1));
    clock::move_to(at);
    client.handle_timeout(at).unwrap();
    clock::step_wall_clock(3600);
    let at = client.poll_timeout().unwrap();
    assert!(at <= began + seconds(2), "{:?}", at - began);
    clock::move_to(at);
    client.handle_timeout(at).unwrap();
    assert_eq!(drained(&mut client).len(), 1);
}

#[test]
fn time_that_goes_backwards_does_no_harm() {
    let mut pair = Pair::new(&psk_contexts(&transport()));
    let now = clock::now();
    let before = now - seconds(3600).min(seconds(60));
    drained(&mut pair.client);
    pair.client.handle_timeout(before).unwrap();
    assert!(drained(&mut pair.client).is_empty());
    clock::move_to(now + seconds(1));
    pair.client.handle_timeout(now + seconds(1)).unwrap();
    pair.client.handle_timeout(before).unwrap();
    pair.client
        .handle_datagram(before, &record(22, 0, 0, &[0; 3]))
        .unwrap();
    pair.handshake();
    pair.server_mut().handle_timeout(before).unwrap();
    pair.assert_works();
}

#[test]
fn moments_at_the_end_of_time_do_not_overflow() {
    let (client, server) = psk_contexts(&transport());
    let mut end = clock::now();
    for power in (0..64).rev() {
        end = end.checked_add(seconds(1 << power)).unwrap_or(end);
    }
    assert!(end.checked_add(seconds(2)).is_none());
    let mut client = Connection::client(&client, server_addr(), None, end).unwrap();
    let proof = AddressProof::ProvedElsewhere;
    let mut server = Connection::server(&server, client_addr(), end, proof).unwrap();
    client
        .handle_datagram(end, &record(21, 0, 0, &FATAL_HANDSHAKE_FAILURE))
        .unwrap();
    for datagram in drained(&mut client) {
        server.handle_datagram(end, &datagram).unwrap();
    }
    let _: Option<Instant> = client.poll_timeout();
    assert!(client.handle_timeout(end).is_err());
}

#[test]
fn hazard_c30_alert_of_a_failure_waits_to_be_sent_and_the_rest_is_over() {
    let other = certs::Authority::root("another authority", certs::ec_key());
    let transport = transport().handshake_restarts(0);
    let client = Context::client()
        .trust_pem(&other.pem())
        .transport(transport.clone());
    let (_, server) = certificate_contexts(&transport);
    let mut pair = Pair::new(&(client.build().unwrap(), server));
    let failed = pair.run(seconds(5), |pair| pair.client_error.is_some());
    assert!(failed);
    assert!(matches!(
        pair.client_error,
        Some(Error::CertificateRejected { .. })
    ));
    let last = pair.to_server.log.last().unwrap();
    assert_eq!(last[0], 21, "an alert");
    assert_eq!(last[13..], [2, Alert::UNKNOWN_CA.0]);
    assert_over(&mut pair.client);
    // The server's end comes from that alert.
    pair.travel(seconds(5));
    assert!(matches!(
        pair.server_errors[..],
        [Error::AlertReceived {
            alert: Alert::UNKNOWN_CA
        }]
    ));
    assert!(pair.server.is_none());
}

#[test]
fn hazard_c33_renegotiation_is_refused_and_ends_only_the_connection_that_asked() {
    let suite = "PSK-AES128-GCM-SHA256";
    let context = raw::psk_client(suite).build();
    let (mut client, mut server) = raw_client_of_ours(&context);
    let info = format!("{:?}", server.handshake_info());
    client.renegotiate();
    let mut outcome = Ok(());
    let mut asked = false;
    for _ in 0..4 {
        // It fails by the answer; what it says to that is for the server to hear.
        client.stream.do_handshake().unwrap_or_default();
        for datagram in std::mem::take(&mut client.stream.get_mut().outgoing) {
            asked |= datagram.starts_with(&[22, 0xfe, 0xfd, 0, 1]);
            outcome = outcome.and(server.handle_datagram(clock::now(), &datagram));
        }
        client
            .stream
            .get_mut()
            .incoming
            .extend(drained(&mut server));
    }
    assert!(asked, "a handshake message under the keys there are");
    // No second handshake was begun: at most the client's own alert ended the connection.
    assert_eq!(format!("{:?}", server.handshake_info()), info);
    match outcome {
        Ok(()) => assert!(server.is_established()),
        Err(error) => {
            assert!(matches!(error, Error::AlertReceived { .. }), "{error:?}");
            assert_over(&mut server);
        }
    }
    // Others on the same context are not touched.
    Pair::connected(&psk_contexts(&transport())).assert_works();
}

/// A client that is libssl alone, connected to a server that is ours.
fn raw_client_of_ours(context: &openssl_dtls::openssl::ssl::SslContext) -> (raw::Raw, Connection) {
    let now = clock::now();
    let (_, server) = psk_contexts(&transport());
    let mut client = raw::Raw::client(context, |_| ());
    let proof = AddressProof::ProvedElsewhere;
    let mut server = Connection::server(&server, client_addr(), now, proof).unwrap();
    while !(client.step() && server.is_established()) {
        let datagrams: Vec<_> = client.stream.get_mut().outgoing.drain(..).collect();
        for datagram in datagrams {
            server.handle_datagram(now, &datagram).unwrap();
        }
        let answers = drained(&mut server);
        client.stream.get_mut().incoming.extend(answers);
    }
    events(&mut server);
    (client, server)
}

#[test]
fn hazard_c55_wrong_key_ends_in_silence_and_the_deadline_says_what_may_be_wrong() {
    let (_, server) = psk_contexts(&transport());
    let client = Context::client()
        .psk(Psk::new(IDENTITY, b"not the same key").unwrap())
        .build()
        .unwrap();
    let mut pair = Pair::new(&(client, server));
    let began = clock::now();
    pair.run(seconds(200), |pair| {
        pair.client_error.is_some() && !pair.server_errors.is_empty()
    });
    assert!(clock::now() - began < seconds(62));
    for error in [pair.client_error.as_ref().unwrap(), &pair.server_errors[0]] {
        assert!(matches!(error, Error::HandshakeTimeout));
        assert!(error.to_string().contains("another key"), "{error}");
    }
}

#[test]
fn forged_alert_and_a_lost_flight_together_do_not_end_a_handshake() {
    // Whatever of the server's is lost, and whenever the alert comes.
    for lost in [0, 1, 2] {
        for at in [0, 5, 15, 25, 45, 55, 500, 990] {
            let mut pair = Pair::new(&certificate_contexts(&transport()));
            pair.to_client.settings = Settings::losing(lost);
            pair.travel(Duration::from_millis(at));
            pair.client_receives(&record(21, 0, 1, &FATAL_HANDSHAKE_FAILURE));
            pair.handshake();
            let stats = pair.client.stats();
            assert_eq!(stats.handshake_restarts, 0, "{lost} {at}");
            assert_eq!(
                stats.drops.count(DropReason::AlertOverruled)
                    + stats.drops.count(DropReason::UnprovenAlert),
                1,
                "{lost} {at}: {pair:?}"
            );
        }
    }
}

#[test]
fn refusal_is_told_within_two_intervals() {
    let suite = "ECDHE-RSA-AES128-GCM-SHA256";
    let client = Context::client()
        .trust_pem(&certs::authority().pem())
        .cipher_list(suite)
        .build()
        .unwrap();
    let (_, server) = certificate_contexts(&transport());
    let began = clock::now();
    let mut pair = Pair::new(&(client, server));
    assert!(pair.run(seconds(100), |pair| pair.client_error.is_some()));
    assert!(matches!(
        pair.client_error,
        Some(Error::AlertReceived {
            alert: Alert::HANDSHAKE_FAILURE
        })
    ));
    let took = clock::now() - began;
    assert!(took <= Duration::from_millis(2100), "{took:?}");
}

#[test]
fn server_that_waits_for_a_hello_believes_no_alert() {
    let contexts = psk_contexts(&transport());
    let proof = AddressProof::ProvedElsewhere;
    let now = clock::now();
    let mut server = Connection::server(&contexts.1, client_addr(), now, proof).unwrap();
    for alert in [FATAL_HANDSHAKE_FAILURE, [1, 0]] {
        let datagram = record(21, 0, 1, &alert);
        server.handle_datagram(now, &datagram).unwrap();
    }
    assert_eq!(server.stats().drops.count(DropReason::UnprovenAlert), 2);
    assert_eq!(server.poll_timeout(), Some(now + seconds(60)));
}

#[test]
fn server_without_a_listener_takes_the_first_hello_for_its_own() {
    let contexts = psk_contexts(&transport());
    let now = clock::now();
    let client = || Connection::client(&contexts.0, server_addr(), None, now).unwrap();
    let (hello, other) = (
        drained(&mut client()).remove(0),
        drained(&mut client()).remove(0),
    );
    let proof = AddressProof::ProvedElsewhere;
    let mut server = Connection::server(&contexts.1, client_addr(), now, proof).unwrap();
    assert!(!server.starts_new_handshake(&hello));
    server.handle_datagram(now, &hello).unwrap();
    assert!(!server.starts_new_handshake(&hello));
    assert!(server.starts_new_handshake(&other));
    assert!(!server.starts_new_handshake(&[]));
}
