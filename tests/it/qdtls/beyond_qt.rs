//! What Qt does not test, and had better: handshakes, their timers and their ends.

use std::time::Duration;

use openssl_dtls::openssl::x509::X509;
use openssl_dtls::qdtls::{DtlsConfiguration, DtlsError, HandshakeState, PeerVerifyMode, SslMode};

use super::fixtures::{HOST, parties};
use super::network::{
    Ends, Wire, assert_no_error, client_configuration, failure_in_time, ipv4, ipv6, kind, mapped,
    new_end, server_configuration, verified_hello, verifier,
};
use crate::support::clock;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn handle_timeout_in_every_other_state_is_refused() {
    let wire = Wire::default();
    for mode in [
        SslMode::UnencryptedMode,
        SslMode::SslClientMode,
        SslMode::SslServerMode,
    ] {
        let mut fresh = new_end(mode);
        let refused = fresh.handle_timeout(&wire);
        assert_eq!(kind(&fresh, refused), DtlsError::InvalidOperation);
    }

    let mut ends = Ends::connected();
    for end in [&mut ends.client, &mut ends.server] {
        assert_eq!(end.next_timeout(), None);
        let refused = end.handle_timeout(&wire);
        assert_eq!(kind(end, refused), DtlsError::InvalidOperation);
        assert!(end.is_connection_encrypted());
        end.shutdown(&wire).unwrap();
        let refused = end.handle_timeout(&wire);
        assert_eq!(kind(end, refused), DtlsError::InvalidOperation);
    }

    let mut server = server_configuration();
    parties().self_signed.identify(&mut server);
    for late in [true, false] {
        let mut client = client_configuration();
        client.set_handshake_must_interrupt_on_error(!late);
        let mut ends = Ends::new(client, server.clone(), "");
        ends.start();
        ends.exchange();
        assert_eq!(
            ends.client.handshake_state(),
            HandshakeState::PeerVerificationFailed
        );
        assert_eq!(ends.client.next_timeout(), None);
        let refused = ends.client.handle_timeout(&wire);
        assert_eq!(kind(&ends.client, refused), DtlsError::InvalidOperation);
    }
}

#[test]
fn no_timeout_after_abort() {
    let mut ends = Ends::with_psk(client_configuration(), server_configuration());
    ends.start();
    let hello = ends.to_server.expect();
    ends.server.do_handshake(&ends.to_client, &hello).unwrap();
    for (end, wire) in [
        (&mut ends.client, &ends.to_server),
        (&mut ends.server, &ends.to_client),
    ] {
        assert!(end.next_timeout().is_some());
        wire.clear();
        let sent = wire.sent();
        end.abort_handshake(wire).unwrap();
        assert_no_error(end);
        assert_eq!(end.handshake_state(), HandshakeState::HandshakeNotStarted);
        assert_eq!(end.next_timeout(), None);
        // A peer that waits for the handshake is told nothing.
        assert_eq!(wire.sent(), sent);
        let refused = end.abort_handshake(wire);
        assert_eq!(kind(end, refused), DtlsError::InvalidOperation);
    }
    // The same objects do for another handshake.
    ends.handshake();
    ends.assert_works();
}

#[test]
fn garbage_does_not_delay_retransmission() {
    let mut ends = Ends::with_psk(client_configuration(), server_configuration());
    ends.start();
    let due = clock::now() + SECOND;
    let sent = ends.to_server.sent();
    for _ in 0..8 {
        clock::move_to(clock::now() + SECOND / 10);
        for garbage in [&b"garbage"[..], &[22; 60], &[0; 13]] {
            let state = ends.client.do_handshake(&ends.to_server, garbage).unwrap();
            assert_eq!(state, HandshakeState::HandshakeInProgress);
        }
    }
    let next = ends.client.next_timeout().unwrap();
    assert!(next <= due, "{:?} late", next - due);
    // Before its time it does nothing.
    assert!(!ends.client.handle_timeout(&ends.to_server).unwrap());
    assert_eq!(ends.to_server.sent(), sent);
    clock::move_to(next);
    assert!(ends.client.handle_timeout(&ends.to_server).unwrap());
    assert_eq!(ends.to_server.sent(), sent + 1);
}

#[test]
fn server_without_cookies_takes_a_hello_that_carries_one() {
    let mut ends = Ends::with_psk(client_configuration(), server_configuration());
    // The verifier is asked, though the server does not want it.
    let hello = verified_hello(&mut ends, &mut verifier());
    let state = ends.server.do_handshake(&ends.to_client, &hello).unwrap();
    assert_eq!(state, HandshakeState::HandshakeInProgress);
    ends.exchange();
    ends.assert_success();
    ends.assert_works();

    // What is no hello starts nothing, with cookies or without.
    for cookies in [false, true] {
        let mut configuration = server_configuration();
        configuration.set_dtls_cookie_verification_enabled(cookies);
        let mut ends = Ends::with_psk(client_configuration(), configuration);
        ends.start();
        let hello = ends.to_server.expect();
        let mut data = hello.clone();
        data[0] = 23;
        for garbage in [b"garbage", &[0; 100][..], &data, &hello[..30]] {
            let refused = ends.server.do_handshake(&ends.to_client, garbage);
            assert_eq!(kind(&ends.server, refused), DtlsError::TlsFatalError);
            let state = ends.server.handshake_state();
            assert_eq!(state, HandshakeState::HandshakeNotStarted);
            assert!(ends.to_client.is_empty());
        }
        let started = ends.server.do_handshake(&ends.to_client, &hello);
        assert_eq!(started.is_ok(), !cookies);
    }
}

#[test]
fn handshake_ends_after_twelve_retransmissions() {
    for mode in [SslMode::SslClientMode, SslMode::SslServerMode] {
        let mut ends = Ends::with_psk(client_configuration(), server_configuration());
        ends.start();
        let (end, wire) = if mode == SslMode::SslClientMode {
            (&mut ends.client, &ends.to_server)
        } else {
            let hello = ends.to_server.expect();
            ends.server.do_handshake(&ends.to_client, &hello).unwrap();
            (&mut ends.server, &ends.to_client)
        };
        let began = clock::now();
        let mut seconds = Vec::new();
        let error = loop {
            clock::move_to(end.next_timeout().expect("the handshake goes on"));
            match end.handle_timeout(wire) {
                Ok(true) => seconds.push((clock::now() - began).as_secs()),
                Ok(false) => {}
                Err(error) => break error,
            }
            assert!(seconds.len() <= 12);
        };
        assert_eq!(seconds, [1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363, 423]);
        assert_eq!(error.kind(), DtlsError::TlsFatalError);
        assert!(error.error_string().contains("timed out"), "{error:?}");
        assert_eq!(end.dtls_error(), DtlsError::TlsFatalError);
        assert_eq!(end.handshake_state(), HandshakeState::HandshakeNotStarted);
        assert_eq!(end.next_timeout(), None);
    }
}

/// A client before a server that it does not trust, or the other way round.
fn distrusting(client_distrusts: bool, late: bool) -> Ends {
    let nobody: Vec<X509> = Vec::new();
    let judge = |configuration: &mut DtlsConfiguration| {
        configuration.set_ca_certificates(nobody.clone());
        configuration.set_peer_verify_mode(PeerVerifyMode::VerifyPeer);
        configuration.set_handshake_must_interrupt_on_error(!late);
    };
    let (mut client, mut server) = (client_configuration(), server_configuration());
    parties().server.identify(&mut server);
    parties().client.identify(&mut client);
    client.set_peer_verify_mode(PeerVerifyMode::VerifyNone);
    judge(if client_distrusts {
        &mut client
    } else {
        &mut server
    });
    Ends::new(client, server, HOST)
}

#[test]
fn refused_peer_gets_an_alert() {
    for client_distrusts in [true, false] {
        for late in [true, false] {
            let mut ends = distrusting(client_distrusts, late);
            ends.start();
            ends.exchange();
            let Ends {
                mut client,
                mut server,
                to_server,
                to_client,
                ..
            } = ends;
            let (refuses, wire, told, back) = if client_distrusts {
                (&mut client, &to_server, &mut server, &to_client)
            } else {
                (&mut server, &to_client, &mut client, &to_server)
            };
            assert_eq!(
                refuses.handshake_state(),
                HandshakeState::PeerVerificationFailed
            );
            let sent = wire.sent();
            refuses.abort_handshake(wire).unwrap();
            let error = if late {
                // It took the association for complete, and is now told that it is not.
                assert!(told.is_connection_encrypted());
                assert_eq!(wire.sent(), sent + 1);
                told.decrypt_datagram(back, &wire.expect()).unwrap_err()
            } else {
                // It was told already, by an alert in the clear, which is believed late.
                assert_eq!(wire.sent(), sent);
                assert_eq!(told.handshake_state(), HandshakeState::HandshakeInProgress);
                failure_in_time(told, back)
            };
            assert_eq!(error.kind(), DtlsError::TlsFatalError);
            let text = error.error_string();
            assert!(text.contains("alert"), "{text}");
            if !late {
                assert!(text.contains("unknown_ca"), "{text}");
            }
            assert_eq!(told.handshake_state(), HandshakeState::HandshakeNotStarted);
        }
    }
}

#[test]
fn every_address_family() {
    for addresses in [ipv4(), ipv6(), mapped()] {
        let mut server = server_configuration();
        server.set_dtls_cookie_verification_enabled(true);
        parties().server.identify(&mut server);
        let mut client = client_configuration();
        client.set_ca_certificates(parties().authority.chain.clone());
        let mut ends = Ends::at(addresses, client, server, HOST);
        let hello = verified_hello(&mut ends, &mut verifier());
        let state = ends.server.do_handshake(&ends.to_client, &hello).unwrap();
        assert_eq!(state, HandshakeState::HandshakeInProgress);
        ends.exchange();
        ends.assert_success();
        ends.assert_works();
        let went_to = |wire: &Wire, address| wire.log.borrow().iter().all(|(to, _)| *to == address);
        assert!(went_to(&ends.to_client, addresses.0));
        assert!(went_to(&ends.to_server, addresses.1));
        ends.server.shutdown(&ends.to_client).unwrap();
        let close = ends.to_client.expect();
        let closed = ends.client.decrypt_datagram(&ends.to_server, &close);
        assert_eq!(
            kind(&ends.client, closed),
            DtlsError::RemoteClosedConnectionError
        );

        // The address of a connected socket stands in for a name.
        let mut server = server_configuration();
        parties().server.identify(&mut server);
        let mut client = client_configuration();
        client.set_ca_certificates(parties().authority.chain.clone());
        let mut ends = Ends::at(addresses, client, server, "");
        ends.to_server.connected = Some(addresses.1);
        ends.handshake();
    }
}
