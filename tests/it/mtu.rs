//! The size of datagrams: of the handshake's, of messages', and what is done when they are too large for the network.

use std::time::Duration;

use openssl_dtls::{ClientCertificates, Context, Event, Mtu, SendError, TransportConfig};

use crate::support::pair::receive;
use crate::support::raw::{self, Raw};
use crate::support::{Pair, Settings, certs, clock, psk, psk_contexts};

/// Suites with every kind of record: AEAD with an explicit nonce, without one, with a short tag, and CBC.
const PSK_SUITES: [&str; 5] = [
    "PSK-AES128-GCM-SHA256",
    "ECDHE-PSK-CHACHA20-POLY1305",
    "PSK-AES128-CCM8",
    "PSK-AES128-CBC-SHA256",
    "PSK-AES256-CBC-SHA",
];

fn mtu(bytes: usize) -> TransportConfig {
    TransportConfig::default().mtu(Mtu::new(bytes).unwrap())
}

/// Both ends show chains of three RSA certificates with 4096 bits.
fn large_contexts(client: &TransportConfig, server: &TransportConfig) -> (Context, Context) {
    let (root, identity) = certs::rsa_chain();
    let server = Context::server(identity.clone())
        .trust_certificate(root.certificate.clone())
        .client_certificates(ClientCertificates::Required)
        .transport(server.clone());
    let client = Context::client()
        .trust_certificate(root.certificate.clone())
        .identity(identity.clone())
        .transport(client.clone());
    (client.build().unwrap(), server.build().unwrap())
}

fn psk_contexts_with(suite: &str, transport: &TransportConfig) -> (Context, Context) {
    let client = Context::client()
        .psk(psk())
        .cipher_list(suite)
        .security_level(0)
        .transport(transport.clone());
    let server = Context::server(openssl_dtls::PskLookup::single(psk()))
        .cipher_list(suite)
        .security_level(0)
        .transport(transport.clone());
    (client.build().unwrap(), server.build().unwrap())
}

fn largest(log: &[Vec<u8>]) -> usize {
    log.iter().map(Vec::len).max().unwrap()
}

#[test]
fn hazard_c7_mtu_holds_in_the_handshake_and_is_used() {
    for bytes in [256, 512, 1200, 4096] {
        let transport = mtu(bytes);
        let mut pair = Pair::connected(&large_contexts(&transport, &transport));
        for log in [&pair.to_server.log, &pair.to_client.log] {
            let largest = largest(log);
            assert!(largest <= bytes, "{largest} of {bytes}");
            // All but what a last fragment and the header of another leave.
            assert!(largest > bytes.min(3100) - 64, "{largest} of {bytes}");
        }
        assert!(
            pair.client_events
                .iter()
                .all(|event| !matches!(event, Event::MtuChanged(_)))
        );
        assert_eq!(pair.client.mtu().bytes(), bytes);
        pair.assert_works();
    }
}

#[test]
fn hazard_c7_libssl_alone_forgets_the_mtu_it_was_given() {
    let (root, identity) = certs::rsa_chain();
    let mut server = raw::certificate_server();
    server.set_certificate(identity.certificate()).unwrap();
    server.set_private_key(&certs::rsa_leaf_key()).unwrap();
    let client = raw::certificate_client(&root.certificate);
    let mut client = Raw::client(&client.build(), |ssl| ssl.set_mtu(1124).unwrap());
    let mut server = Raw::server(&server.build());
    client.step();
    client.carry_to(&mut server);
    server.step();
    let lengths = server.carry_to(&mut client);
    // The least there is.
    assert!(lengths.iter().all(|&length| length <= 256), "{lengths:?}");
}

#[test]
fn hazard_c42_mtu_holds_for_encrypted_handshake_messages_of_every_suite() {
    for suite in PSK_SUITES {
        for bytes in [256, 300] {
            let mut pair = Pair::connected(&psk_contexts_with(suite, &mtu(bytes)));
            for log in [&pair.to_server.log, &pair.to_client.log] {
                assert!(largest(log) <= bytes, "{suite} {bytes}");
            }
            pair.assert_works();
        }
    }
    // In a flight with a certificate the encrypted message follows right behind a full datagram.
    for bytes in 256..300 {
        let transport = mtu(bytes);
        let pair = Pair::connected(&large_contexts(&transport, &transport));
        for log in [&pair.to_server.log, &pair.to_client.log] {
            assert!(largest(log) <= bytes, "{bytes}");
        }
    }
}

#[test]
fn hazard_c8_datagrams_get_smaller_when_a_flight_is_lost_again_and_again() {
    for (link, steps) in [(700, &[548][..]), (300, &[548, 228])] {
        let transport = TransportConfig::default().handshake_timeout(Duration::from_secs(300));
        let (client, server) = large_contexts(&transport, &transport);
        let settings = Settings {
            mtu: link,
            ..Settings::default()
        };
        let mut pair = Pair::over((&client, &server), settings.clone(), settings);
        let began = clock::now();
        let done = pair.run(Duration::from_secs(300), Pair::is_established);
        assert!(done, "{link}: {pair:?}");
        let took = clock::now() - began;
        // Each end sees its own flight lost: 1 + 2 + 4 s, and 8 s more for the second step.
        let limit = if steps.len() == 1 { 15 } else { 31 };
        assert!(took < Duration::from_secs(limit), "{link}: {took:?}");
        for (end, events) in [
            (&pair.client, &pair.client_events),
            (pair.server().unwrap(), &pair.server_events),
        ] {
            let told: Vec<_> = events
                .iter()
                .filter_map(|event| match event {
                    Event::MtuChanged(mtu) => Some(mtu.bytes()),
                    _ => None,
                })
                .collect();
            assert_eq!(told, steps, "{link}");
            assert_eq!(end.mtu().bytes(), steps[steps.len() - 1], "{link}");
            assert!(end.data_mtu().unwrap() < end.mtu().bytes(), "{link}");
        }
        // What fits is known, so messages pass as well.
        let message = vec![7; pair.client.data_mtu().unwrap()];
        assert_eq!(pair.client_says(&message).unwrap(), message);
        let message = vec![8; pair.server().unwrap().data_mtu().unwrap()];
        assert_eq!(pair.server_says(&message).unwrap(), message);
    }
}

#[test]
fn small_flights_are_not_taken_for_too_large() {
    let mut pair = Pair::new(&psk_contexts(&TransportConfig::default()));
    pair.to_server.settings.lost = (0..5).collect();
    pair.to_client.settings.lost = (1..5).collect();
    pair.handshake();
    assert_eq!(pair.client.mtu(), Mtu::DEFAULT);
    assert_eq!(pair.server().unwrap().mtu(), Mtu::DEFAULT);
}

#[test]
fn large_flight_that_arrived_does_not_make_a_small_one_smaller() {
    // The client's last flight is small; what the server sent before was not.
    let (root, identity) = certs::rsa_chain();
    let client = Context::client().trust_certificate(root.certificate.clone());
    let server = Context::server(identity.clone());
    let contexts = (client.build().unwrap(), server.build().unwrap());
    let mut pair = Pair::new(&contexts);
    pair.to_server.settings.lost = (2..7).collect();
    pair.run(Duration::from_secs(60), Pair::is_established);
    assert!(pair.is_established(), "{pair:?}");
    assert_eq!(pair.client.mtu(), Mtu::DEFAULT);
}

#[test]
fn data_mtu_is_exact() {
    for suite in PSK_SUITES {
        for bytes in [256, 1200, 1201, 1207, 4096] {
            let mut pair = Pair::connected(&psk_contexts_with(suite, &mtu(bytes)));
            let max = pair.client.data_mtu().unwrap();
            let message = vec![7; max];
            pair.client.send(&message).unwrap();
            let length = pair.client.poll_transmit().unwrap().contents.len();
            // CBC pads to blocks of 16 bytes.
            let unused = if suite.contains("CBC") { 15 } else { 0 };
            assert!(
                (bytes - unused..=bytes).contains(&length),
                "{suite} {bytes}: {length}"
            );
            match pair.client.send(&vec![7; max + 1]) {
                Err(SendError::TooLarge { max: told }) => assert_eq!(told, max),
                other => panic!("{suite} {bytes}: {other:?}"),
            }
            assert!(pair.client.poll_transmit().is_none());
            assert_eq!(pair.client_says(&message).unwrap(), message);
        }
    }
}

#[test]
fn hazard_c9_libssl_alone_sends_what_no_network_takes_and_ours_does_not() {
    let suite = PSK_SUITES[0];
    let (mut client, mut server) = raw::connected(raw::psk_client(suite), raw::psk_server(suite));
    client.stream.ssl_write(&[7; 5000]).unwrap();
    assert_eq!(client.carry_to(&mut server), [5000 + 37]);

    let mut pair = Pair::connected(&psk_contexts_with(suite, &mtu(1400)));
    let refused = pair.client.send(&[7; 5000]);
    assert!(matches!(refused, Err(SendError::TooLarge { max: 1363 })));
    pair.assert_works();
}

#[test]
fn oversized_messages_are_for_those_who_ask() {
    let transport = TransportConfig::default().allow_oversize(true);
    for suite in PSK_SUITES {
        let mut pair = Pair::connected(&psk_contexts_with(suite, &transport));
        for length in [1200, 5000, 16_383, 16_384] {
            let message = vec![7; length];
            assert_eq!(pair.client_says(&message).unwrap(), message, "{suite}");
            assert_eq!(pair.server_says(&message).unwrap(), message, "{suite}");
        }
        let refused = pair.client.send(&[7; 16_385]);
        assert!(matches!(refused, Err(SendError::TooLarge { max: 16_384 })));
        pair.assert_works();
    }
}

#[test]
fn hazard_c54_hello_goes_out_whole_and_is_split_only_if_it_is_large_and_lost() {
    // Some peers cannot take a ClientHello in fragments.
    let (client, _) = large_contexts(&mtu(256), &mtu(256));
    let began = clock::now();
    let name = openssl_dtls::ServerName::try_from("localhost").unwrap();
    let peer = crate::support::pair::server_addr();
    let mut client = openssl_dtls::Connection::client(&client, peer, Some(name), began).unwrap();
    for _ in 0..6 {
        let mut datagrams = 0;
        while let Some(transmit) = client.poll_transmit() {
            assert!(transmit.contents.len() > 100);
            datagrams += 1;
        }
        assert_eq!(datagrams, 1);
        let at = client.poll_timeout().unwrap();
        clock::move_to(at);
        client.handle_timeout(at).unwrap_or_default();
    }
    assert_eq!(client.mtu().bytes(), 256);
}

#[test]
fn received_messages_of_any_size_are_taken_whatever_the_own_mtu() {
    let large = TransportConfig::default().allow_oversize(true);
    let (client, _) = psk_contexts(&large);
    let (_, server) = psk_contexts(&mtu(256));
    let mut pair = Pair::connected(&(client, server));
    pair.client.send(&[7; 16_384]).unwrap();
    pair.travel(Duration::from_millis(50));
    assert_eq!(receive(pair.server_mut()).unwrap().len(), 16_384);
}
