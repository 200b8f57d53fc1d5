//! Handshakes over a network that loses nothing: every kind of credentials, every role, every refusal.

use std::time::Duration;

use openssl_dtls::openssl::ssl::{
    SslContext, SslContextBuilder, SslMethod, SslVerifyMode, SslVersion,
};
use openssl_dtls::{
    AddressProof, Alert, ClientCertificates, ConfigError, Connection, Context, DropReason, Error,
    Event, Mtu, Psk, PskKey, PskLookup, Role, ServerName, TransportConfig,
};

use crate::support::certs::{self, Leaf};
use crate::support::pair::{client_addr, server_addr};
use crate::support::{IDENTITY, KEY, Pair, certificate_contexts, clock, psk, psk_contexts};

fn transport() -> TransportConfig {
    TransportConfig::default()
}

fn trusting() -> openssl_dtls::ContextBuilder<openssl_dtls::ForClient> {
    Context::client().trust_pem(&certs::authority().pem())
}

#[test]
fn certificate_is_verified_and_told() {
    let mut pair = Pair::connected(&certificate_contexts(&transport()));
    pair.assert_works();

    let info = pair.client.handshake_info().unwrap();
    assert_eq!(info.version(), Some(SslVersion::DTLS1_2));
    assert_eq!(
        info.cipher_suite(),
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
    );
    assert_eq!(info.verified_name(), Some("localhost"));
    let certificate = info.peer_certificate().unwrap();
    assert_eq!(
        certificate.to_der().unwrap(),
        certs::server_identity().certificate().to_der().unwrap()
    );
    assert_eq!(info.peer_chain().len(), 1);
    assert!(!info.is_resumed());
    assert_eq!(info.psk_identity(), None);

    let info = pair.server().unwrap().handshake_info().unwrap();
    assert_eq!(info.server_name(), Some("localhost"));
    assert!(info.peer_certificate().is_none());
    assert_eq!(pair.client_events[0], Event::Connected);
    assert_eq!(pair.server_events[0], Event::Connected);
    assert_eq!(pair.accepted, 1);
}

#[test]
fn address_is_checked_and_not_sent_as_server_name() {
    let contexts = certificate_contexts(&transport());
    let mut pair = Pair::new(&contexts);
    let name = ServerName::try_from("127.0.0.1").unwrap();
    pair.client = Connection::client(&contexts.0, server_addr(), Some(name), clock::now()).unwrap();
    pair.handshake();
    assert_eq!(
        pair.server()
            .unwrap()
            .handshake_info()
            .unwrap()
            .server_name(),
        None
    );

    let name = ServerName::try_from("127.0.0.2").unwrap();
    let mut pair = Pair::new(&contexts);
    pair.client = Connection::client(&contexts.0, server_addr(), Some(name), clock::now()).unwrap();
    assert_rejected(&mut pair, 64);
}

#[test]
fn psk_without_certificates() {
    let mut pair = Pair::connected(&psk_contexts(&transport()));
    pair.assert_works();
    for end in [&pair.client, pair.server().unwrap()] {
        let info = end.handshake_info().unwrap();
        assert_eq!(
            info.cipher_suite(),
            "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256"
        );
        assert_eq!(info.psk_identity(), Some(IDENTITY));
        assert!(info.peer_certificate().is_none());
    }
}

#[test]
fn psk_without_forward_secrecy() {
    let suite = "PSK-AES128-GCM-SHA256";
    let client = Context::client()
        .psk(psk())
        .cipher_list(suite)
        .build()
        .unwrap();
    let (_, server) = psk_contexts(&transport());
    let mut pair = Pair::connected(&(client, server));
    pair.assert_works();
    let info = pair.client.handshake_info().unwrap();
    assert_eq!(info.cipher_suite(), "TLS_PSK_WITH_AES_128_GCM_SHA256");
}

#[test]
fn server_with_both_credentials_serves_both_kinds() {
    let look_up = PskLookup::new(|identity| {
        (identity == b"other" || identity == IDENTITY).then(|| PskKey::new(KEY).unwrap())
    });
    let server = Context::server((certs::server_identity(), look_up))
        .build()
        .unwrap();
    for psk in [Psk::new(b"other", KEY).unwrap(), psk()] {
        let client = Context::client().psk(psk).build().unwrap();
        Pair::connected(&(client, server.clone())).assert_works();
    }
    Pair::connected(&(trusting().build().unwrap(), server)).assert_works();
}

#[test]
fn mutual_certificates() {
    for asked in [ClientCertificates::Optional, ClientCertificates::Required] {
        let server = Context::server(certs::server_identity())
            .trust_pem(&certs::authority().pem())
            .client_certificates(asked)
            .build()
            .unwrap();
        let client = trusting()
            .identity(certs::client_identity())
            .build()
            .unwrap();
        let mut pair = Pair::connected(&(client, server.clone()));
        pair.assert_works();
        let info = pair.server().unwrap().handshake_info().unwrap();
        let shown = info.peer_certificate().unwrap().to_der().unwrap();
        assert_eq!(
            shown,
            certs::client_identity().certificate().to_der().unwrap()
        );

        // Without one: fine if it is optional.
        let mut pair = Pair::new(&(trusting().build().unwrap(), server));
        match asked {
            ClientCertificates::Optional => pair.handshake(),
            _ => {
                pair.travel(Duration::from_secs(5));
                assert!(
                    matches!(pair.server_errors[..], [Error::NoPeerCertificate(_)]),
                    "{pair:?}"
                );
                assert!(
                    matches!(
                        pair.client_error,
                        Some(Error::AlertReceived {
                            alert: Alert::HANDSHAKE_FAILURE
                        })
                    ),
                    "{pair:?}"
                );
            }
        }
    }
}

#[test]
fn long_chain_goes_out_in_fragments() {
    let (root, identity) = certs::rsa_chain();
    for mtu in [256, 512, 1200, 4096] {
        let transport = transport().mtu(Mtu::new(mtu).unwrap());
        let client = Context::client().trust_certificate(root.certificate.clone());
        let client = client.transport(transport.clone()).build().unwrap();
        let server = Context::server(identity.clone())
            .transport(transport)
            .build()
            .unwrap();
        let mut pair = Pair::connected(&(client, server));
        pair.assert_works();
        let largest = pair.to_client.log.iter().map(Vec::len).max().unwrap();
        assert!(largest <= mtu, "{largest} of {mtu}");
        assert_eq!(pair.client.handshake_info().unwrap().peer_chain().len(), 2);
        assert_eq!(
            pair.client.handshake_info().unwrap().cipher_suite(),
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
        );
    }
}

#[test]
fn dtls1_0_only_where_it_is_allowed() {
    let old_server = || {
        Context::server(certs::server_identity())
            .dangerous()
            .allow_dtls1_0()
    };
    let client = trusting().dangerous().allow_dtls1_0();
    let server = old_server().max_version(SslVersion::DTLS1).build().unwrap();
    let mut pair = Pair::connected(&(client.build().unwrap(), server.clone()));
    pair.assert_works();
    let info = pair.client.handshake_info().unwrap();
    assert_eq!(info.version(), Some(SslVersion::DTLS1));
    assert_eq!(info.cipher_suite(), "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA");

    let mut pair = Pair::new(&(trusting().build().unwrap(), server));
    pair.travel(Duration::from_secs(5));
    assert_refuses_each_hello(&pair, |error| {
        matches!(
            error,
            Error::NoSharedVersion(_) | Error::NoSharedCipherSuite(_)
        )
    });
    assert!(pair.client_error.is_some(), "{pair:?}");
    // Both allow it, and still speak the better one.
    let client = trusting().dangerous().allow_dtls1_0().build().unwrap();
    let pair = Pair::connected(&(client, old_server().build().unwrap()));
    assert_eq!(
        pair.client.handshake_info().unwrap().version(),
        Some(SslVersion::DTLS1_2)
    );
}

/// The server refused the hello, and again when the client repeated it.
///
/// A client cannot tell a refusal from a forged one, so it does not stop asking while it waits for the server to contradict it: if
/// it did, a forged alert and one lost flight would end the handshake. The server keeps nothing of a handshake that failed, so it
/// takes the repeated hello for a new one.
fn assert_refuses_each_hello(pair: &Pair, is_reason: impl Fn(&Error) -> bool) {
    assert_eq!(pair.server_errors.len(), 2, "{pair:?}");
    assert!(pair.server_errors.iter().all(is_reason), "{pair:?}");
    assert_eq!(pair.client.stats().retransmissions, 1);
    assert!(pair.server.is_none());
}

/// Runs a handshake in which the client refuses the server's certificate for reason `code`.
fn assert_rejected(pair: &mut Pair, code: i32) {
    pair.travel(Duration::from_secs(20));
    match &pair.client_error {
        Some(Error::CertificateRejected { result, .. }) => {
            assert_eq!(result.as_raw(), code, "{}", result.error_string());
        }
        _ => panic!("{pair:?}"),
    }
}

#[test]
fn certificate_of_another_authority_is_refused() {
    let other = certs::Authority::root("another authority", certs::ec_key());
    let client = Context::client().trust_pem(&other.pem()).build().unwrap();
    let (_, server) = certificate_contexts(&transport());
    let mut pair = Pair::new(&(client, server));
    assert_rejected(&mut pair, 20);
    assert!(
        matches!(
            pair.server_errors.last(),
            Some(Error::AlertReceived {
                alert: Alert::UNKNOWN_CA
            })
        ),
        "{pair:?}"
    );
}

#[test]
fn certificate_for_another_name_is_refused() {
    let client = trusting().build().unwrap();
    let identity = certs::authority().issue(&Leaf::named("elsewhere.example"));
    let server = Context::server(identity).build().unwrap();
    assert_rejected(&mut Pair::new(&(client, server.clone())), 62);
    let client = trusting().dangerous().no_name_check().build().unwrap();
    let mut pair = Pair::new(&(client.clone(), server.clone()));
    // A name that is given is checked all the same.
    assert_rejected(&mut pair, 62);
    let mut pair = Pair::new(&(client.clone(), server.clone()));
    pair.client = Connection::client(&client, server_addr(), None, clock::now()).unwrap();
    pair.handshake();
    let client = trusting().dangerous().no_verification().build().unwrap();
    Pair::connected(&(client, server)).assert_works();
}

#[test]
fn expired_certificate_is_refused() {
    let leaf = Leaf {
        not_after: "20210101000000Z",
        ..Leaf::named("localhost")
    };
    let server = Context::server(certs::authority().issue(&leaf))
        .build()
        .unwrap();
    assert_rejected(&mut Pair::new(&(trusting().build().unwrap(), server)), 10);
}

#[test]
fn client_without_a_shared_suite_is_refused() {
    let suite = "ECDHE-RSA-AES128-GCM-SHA256";
    let client = trusting().cipher_list(suite).build().unwrap();
    let (_, server) = certificate_contexts(&transport());
    let mut pair = Pair::new(&(client, server));
    pair.travel(Duration::from_secs(5));
    assert_refuses_each_hello(&pair, |error| {
        matches!(error, Error::NoSharedCipherSuite(_))
    });
    assert!(
        matches!(
            pair.client_error,
            Some(Error::AlertReceived {
                alert: Alert::HANDSHAKE_FAILURE
            })
        ),
        "{pair:?}"
    );
}

#[test]
fn unknown_psk_identity_is_refused_and_a_wrong_key_ends_in_silence() {
    let (_, server) = psk_contexts(&transport());
    let client = Context::client()
        .psk(Psk::new(b"nobody", KEY).unwrap())
        .build()
        .unwrap();
    let mut pair = Pair::new(&(client, server.clone()));
    pair.travel(Duration::from_secs(5));
    assert!(
        matches!(pair.server_errors[..], [Error::UnknownPskIdentity(_)]),
        "{pair:?}"
    );
    assert!(
        matches!(
            pair.client_error,
            Some(Error::AlertReceived {
                alert: Alert::UNKNOWN_PSK_IDENTITY
            })
        ),
        "{pair:?}"
    );

    let client = Context::client()
        .psk(Psk::new(IDENTITY, b"another key").unwrap())
        .build()
        .unwrap();
    let mut pair = Pair::new(&(client, server));
    pair.travel(Duration::from_secs(100));
    assert!(
        matches!(pair.client_error, Some(Error::HandshakeTimeout)),
        "{pair:?}"
    );
    assert!(
        matches!(pair.server_errors[..], [Error::HandshakeTimeout]),
        "{pair:?}"
    );
}

#[test]
fn name_must_be_given_where_it_is_checked() {
    let (client, server) = certificate_contexts(&transport());
    let refused = Connection::client(&client, server_addr(), None, clock::now());
    assert!(matches!(refused, Err(ConfigError::NoServerName)));
    let refused = Connection::client(&server, server_addr(), None, clock::now());
    assert!(matches!(
        refused,
        Err(ConfigError::WrongRole {
            wanted: Role::Client
        })
    ));
    let refused = Connection::server(
        &client,
        client_addr(),
        clock::now(),
        AddressProof::ProvedElsewhere,
    );
    assert!(matches!(
        refused,
        Err(ConfigError::WrongRole {
            wanted: Role::Server
        })
    ));
}

fn their_builder() -> SslContextBuilder {
    let mut builder = SslContextBuilder::new(SslMethod::dtls()).unwrap();
    builder.set_alpn_select_callback(|_, offered| {
        openssl_dtls::openssl::ssl::select_next_proto(b"\x04coap", offered)
            .ok_or(openssl_dtls::openssl::ssl::AlpnError::NOACK)
    });
    builder
}

fn their_server() -> SslContext {
    let mut builder = their_builder();
    builder.set_session_id_context(b"theirs").unwrap();
    let pkcs8 = certs::server_identity();
    builder.set_certificate(pkcs8.certificate()).unwrap();
    builder.set_private_key(&certs::server_key()).unwrap();
    builder.set_cookie_generate_cb(|_, _| panic!("the application's cookies are not asked for"));
    builder.set_cookie_verify_cb(|_, _| panic!("the application's cookies are not asked for"));
    builder.build()
}

#[test]
fn adopted_contexts_work_and_are_not_changed() {
    let mut builder = their_builder();
    builder.set_verify(SslVerifyMode::PEER);
    builder
        .cert_store_mut()
        .add_cert(certs::authority().certificate.clone())
        .unwrap();
    builder.set_alpn_protos(b"\x04coap").unwrap();
    let (client, server) = (builder.build(), their_server());
    let mode = client.verify_mode();
    let adopt =
        |context: &SslContext, role| Context::adopt(context.clone(), role, transport()).unwrap();
    let contexts = (adopt(&client, Role::Client), adopt(&server, Role::Server));
    let mut pair = Pair::connected(&contexts);
    pair.assert_works();
    assert_eq!(
        pair.client.handshake_info().unwrap().verified_name(),
        Some("localhost")
    );
    assert_eq!(client.verify_mode(), mode);

    // The name is checked although the context knows nothing of it.
    let mut pair = Pair::new(&contexts);
    let name = ServerName::try_from("elsewhere.example").unwrap();
    pair.client = Connection::client(&contexts.0, server_addr(), Some(name), clock::now()).unwrap();
    assert_rejected(&mut pair, 62);
}

#[test]
fn unproved_address_gets_at_most_three_times_its_bytes() {
    let (client, server) = certificate_contexts(&transport());
    let mut client = Connection::client(
        &client,
        server_addr(),
        ServerName::try_from("localhost").ok(),
        clock::now(),
    )
    .unwrap();
    let mut server = Connection::server(
        &server,
        client_addr(),
        clock::now(),
        AddressProof::Dangerous,
    )
    .unwrap();
    let hello = client.poll_transmit().unwrap().contents.to_vec();
    server.handle_datagram(clock::now(), &hello).unwrap();
    // Nothing more comes from the peer: it may not exist.
    while let Some(at) = server.poll_timeout() {
        clock::move_to(at);
        if server.handle_timeout(at).is_err() {
            break;
        }
    }
    let mut sent = 0;
    while let Some(transmit) = server.poll_transmit() {
        sent += transmit.contents.len();
    }
    assert!(sent <= 3 * hello.len(), "{sent} for {}", hello.len());
    assert!(server.stats().drops.count(DropReason::AmplificationLimit) > 0);
}

#[test]
fn long_flight_reaches_an_unproved_address_that_answers() {
    // It takes several hellos until three times their bytes are enough.
    let patient = transport().handshake_timeout(Duration::from_secs(600));
    let (root, identity) = certs::rsa_chain();
    let client = Context::client()
        .trust_pem(&root.pem())
        .transport(patient.clone());
    let server = Context::server(identity.clone()).transport(patient);
    let (client, server) = (client.build().unwrap(), server.build().unwrap());
    let name = ServerName::try_from("localhost").ok();
    let mut client = Connection::client(&client, server_addr(), name, clock::now()).unwrap();
    let proof = AddressProof::Dangerous;
    let mut server = Connection::server(&server, client_addr(), clock::now(), proof).unwrap();
    let (mut received, mut sent) = (0, 0);
    while !(client.is_established() && server.is_established()) {
        let mut is_quiet = true;
        while let Some(transmit) = client.poll_transmit() {
            is_quiet = false;
            received += transmit.contents.len();
            server
                .handle_datagram(clock::now(), transmit.contents)
                .unwrap();
        }
        while let Some(transmit) = server.poll_transmit() {
            is_quiet = false;
            sent += transmit.contents.len();
            client
                .handle_datagram(clock::now(), transmit.contents)
                .unwrap();
        }
        assert!(server.is_established() || sent <= 3 * received);
        if is_quiet {
            let next = [client.poll_timeout(), server.poll_timeout()];
            clock::move_to(next.into_iter().flatten().min().unwrap());
            client.handle_timeout(clock::now()).unwrap();
            server.handle_timeout(clock::now()).unwrap();
        }
    }
}

#[test]
fn handshake_without_a_listener_where_the_address_is_proved_elsewhere() {
    for proof in [AddressProof::ProvedElsewhere, AddressProof::Dangerous] {
        let contexts = psk_contexts(&transport());
        let mut pair = Pair::new(&contexts);
        let server = Connection::server(&contexts.1, client_addr(), clock::now(), proof).unwrap();
        pair.server = Some(Box::new(server));
        // Whatever begins a handshake is for the connection that waits for one.
        while !pair.is_established() {
            pair.drain();
            let at = [pair.to_server.next_arrival(), pair.to_client.next_arrival()];
            clock::move_to(
                at.into_iter()
                    .flatten()
                    .min()
                    .expect("something is under way"),
            );
            while let Some(datagram) = pair.to_server.receive(clock::now()) {
                pair.server_mut()
                    .handle_datagram(clock::now(), &datagram)
                    .unwrap();
                pair.drain();
            }
            while let Some(datagram) = pair.to_client.receive(clock::now()) {
                pair.client_receives(&datagram);
            }
        }
        pair.assert_works();
        assert_eq!(pair.listener.stats().cookies_sent, 0);
    }
}

#[test]
fn every_order_of_calls_is_legal() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut pair = Pair::new(&psk_contexts(&transport()));
        let mut buffer = [0; 64];
        for _ in 0..60 {
            let now = clock::now();
            let connection = match (random.bool(), pair.server.as_deref_mut()) {
                (true, Some(server)) => server,
                _ => &mut pair.client,
            };
            // Failures are of no interest here, panics are.
            match random.u8(0..12) {
                0 => drop(connection.send(b"message")),
                1 => drop(connection.recv(&mut buffer)),
                2 => drop(connection.handle_datagram(now, &[])),
                3 => drop(connection.handle_timeout(now)),
                4 => drop(connection.poll_event()),
                5 => drop(connection.poll_transmit()),
                6 => connection.release_buffers(),
                7 if random.u8(0..4) == 0 => connection.close(),
                8 => drop(connection.handle_datagram(now, &[22; 30])),
                9 => drop(format!("{connection:?}")),
                _ => pair.travel(Duration::from_millis(random.u64(0..40))),
            }
        }
    }
}

#[test]
fn connection_can_be_dropped_in_every_state() {
    for steps in 0..40 {
        let mut pair = Pair::new(&certificate_contexts(&transport()));
        for _ in 0..steps {
            pair.travel(Duration::from_millis(2));
        }
        drop(pair);
    }
    let mut pair = Pair::connected(&certificate_contexts(&transport()));
    pair.client.close();
    drop(pair);
}
