//! What Qt does not test, and had better: messages, alerts, failing sockets, ends.

use openssl_dtls::DropReason;
use openssl_dtls::openssl::error::ErrorStack;
use openssl_dtls::openssl::x509::X509;
use openssl_dtls::qdtls::{
    DatagramOutcome, DtlsError, HandshakeState, PeerVerifyMode, SslErrorCode, SslMode,
};

use super::fixtures::{HOST, Party, Usage, parties};
use super::network::{
    Ends, assert_no_error, client_configuration, failure_in_time, ipv4, kind, new_end,
    server_configuration, verified_hello, verifier,
};
use crate::support::certs::ec_key;
use crate::support::clock;

#[test]
fn several_records_in_one_datagram() {
    let mut ends = Ends::connected();
    for count in [2, 3] {
        let messages: Vec<Vec<u8>> = (0..count).map(|n| vec![b'a' + n; 10]).collect();
        let mut joined = Vec::new();
        for message in &messages {
            ends.client
                .write_datagram_encrypted(&ends.to_server, message)
                .unwrap();
            joined.extend(ends.to_server.expect());
        }
        let decrypted = ends
            .server
            .decrypt_datagram(&ends.to_client, &joined)
            .unwrap();
        assert_eq!(decrypted.outcome(), DatagramOutcome::Data);
        assert_eq!(decrypted.into_messages(), messages);
        // Nothing waits, and nothing later is lost.
        assert!(ends.server.take_messages().is_empty());
        ends.assert_works();
    }
    // Messages in front of a close_notify in the same datagram come out as well.
    ends.client
        .write_datagram_encrypted(&ends.to_server, b"the last one")
        .unwrap();
    ends.client.shutdown(&ends.to_server).unwrap();
    let joined = [ends.to_server.expect(), ends.to_server.expect()].concat();
    let closed = ends.server.decrypt_datagram(&ends.to_client, &joined);
    assert_eq!(
        kind(&ends.server, closed),
        DtlsError::RemoteClosedConnectionError
    );
    assert_eq!(ends.server.take_messages(), [b"the last one"]);
}

/// Ends of which the server is complete and has written `messages`; answers its last flight and these.
fn server_is_ahead(messages: &[&[u8]]) -> (Ends, Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut ends = Ends::with_psk(client_configuration(), server_configuration());
    ends.start();
    while !ends.server.is_connection_encrypted() {
        if let Some(datagram) = ends.to_server.receive() {
            ends.server
                .do_handshake(&ends.to_client, &datagram)
                .unwrap();
        } else {
            let datagram = ends.to_client.expect();
            ends.client
                .do_handshake(&ends.to_server, &datagram)
                .unwrap();
        }
    }
    let flight: Vec<_> = std::iter::from_fn(|| ends.to_client.receive()).collect();
    for message in messages {
        ends.server
            .write_datagram_encrypted(&ends.to_client, message)
            .unwrap();
    }
    let data = std::iter::from_fn(|| ends.to_client.receive()).collect();
    (ends, flight, data)
}

#[test]
fn messages_with_and_before_the_last_flight() {
    // With it.
    let (mut ends, flight, data) = server_is_ahead(&[b"one", b"two"]);
    let joined = [flight.concat(), data.concat()].concat();
    let state = ends.client.do_handshake(&ends.to_server, &joined).unwrap();
    assert_eq!(state, HandshakeState::HandshakeComplete);
    assert_eq!(ends.client.take_messages(), [b"one", b"two"]);
    assert!(ends.client.take_messages().is_empty());
    ends.assert_works();

    // Before it, and fetched with the next datagram.
    let (mut ends, flight, data) = server_is_ahead(&[b"one", b"two"]);
    for datagram in data.iter().chain(&flight) {
        ends.client.do_handshake(&ends.to_server, datagram).unwrap();
    }
    assert!(ends.client.is_connection_encrypted());
    ends.server
        .write_datagram_encrypted(&ends.to_client, b"three")
        .unwrap();
    let third = ends.to_client.expect();
    let decrypted = ends.client.decrypt_datagram(&ends.to_server, &third);
    let messages = decrypted.unwrap().into_messages();
    assert_eq!(messages, [&b"one"[..], b"two", b"three"]);

    // With it, and with the end.
    let (mut ends, flight, data) = server_is_ahead(&[b"all there is"]);
    ends.server.shutdown(&ends.to_client).unwrap();
    let joined = [flight.concat(), data.concat(), ends.to_client.expect()].concat();
    let closed = ends.client.do_handshake(&ends.to_server, &joined);
    assert_eq!(
        kind(&ends.client, closed),
        DtlsError::RemoteClosedConnectionError
    );
    assert_eq!(
        ends.client.handshake_state(),
        HandshakeState::HandshakeNotStarted
    );
    assert_eq!(ends.client.take_messages(), [b"all there is"]);
}

#[test]
fn fatal_alert_after_completion() {
    let mut server = server_configuration();
    parties().self_signed.identify(&mut server);
    let mut client = client_configuration();
    client.set_handshake_must_interrupt_on_error(false);
    let mut ends = Ends::new(client, server, HOST);
    ends.start();
    ends.exchange();
    assert!(ends.server.is_connection_encrypted());
    // A forged one in the clear does nothing.
    let forged = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40];
    let dropped = ends
        .server
        .decrypt_datagram(&ends.to_client, &forged)
        .unwrap();
    assert_eq!(
        dropped.outcome(),
        DatagramOutcome::Dropped(DropReason::UnprovenAlert)
    );
    ends.client.abort_handshake(&ends.to_server).unwrap();
    let alert = ends.to_server.expect();
    let ended = ends.server.decrypt_datagram(&ends.to_client, &alert);
    let error = ended.unwrap_err();
    assert_eq!(error.kind(), DtlsError::TlsFatalError);
    let text = error.error_string();
    let named = ["internal_error", "handshake_failure"];
    assert!(named.iter().any(|name| text.contains(name)), "{text}");
    assert_eq!(
        ends.server.handshake_state(),
        HandshakeState::HandshakeNotStarted
    );
    let refused = ends
        .server
        .write_datagram_encrypted(&ends.to_client, b"too late");
    assert_eq!(kind(&ends.server, refused), DtlsError::InvalidOperation);
}

#[test]
fn refused_sends_are_reported() {
    let socket = DtlsError::UnderlyingSocketError;
    let mut server = server_configuration();
    server.set_dtls_cookie_verification_enabled(true);
    parties().self_signed.identify(&mut server);
    let mut client = client_configuration();
    client.set_handshake_must_interrupt_on_error(false);
    let mut ends = Ends::new(client, server, "");
    let mut verifier = verifier();
    let (to_server, to_client) = (ends.to_server.clone(), ends.to_client.clone());

    // The first datagram is lost, as any can be, and comes again.
    to_server.refuses.set(true);
    let refused = ends.client.do_handshake(&to_server, &[]);
    assert_eq!(kind(&ends.client, refused), socket);
    assert!(ends.client.dtls_error_string().contains("network is down"));
    assert_eq!(
        ends.client.handshake_state(),
        HandshakeState::HandshakeInProgress
    );
    clock::move_to(ends.client.next_timeout().unwrap());
    let refused = ends.client.handle_timeout(&to_server);
    assert_eq!(kind(&ends.client, refused), socket);
    to_server.refuses.set(false);
    clock::move_to(ends.client.next_timeout().unwrap());
    assert!(ends.client.handle_timeout(&to_server).unwrap());

    let hello = to_server.expect();
    to_client.refuses.set(true);
    let error = verifier
        .verify_client(&to_client, &hello, ends.addresses.0)
        .unwrap_err();
    assert_eq!(error.kind(), socket);
    assert_eq!(verifier.dtls_error(), socket);
    to_client.refuses.set(false);
    verifier
        .verify_client(&to_client, &hello, ends.addresses.0)
        .unwrap();

    to_server.refuses.set(true);
    let refused = ends.client.do_handshake(&to_server, &to_client.expect());
    assert_eq!(kind(&ends.client, refused), socket);
    to_server.refuses.set(false);
    clock::move_to(ends.client.next_timeout().unwrap());
    ends.client.handle_timeout(&to_server).unwrap();
    let hello = to_server.expect();
    assert!(
        verifier
            .verify_client(&to_client, &hello, ends.addresses.0)
            .unwrap()
    );

    to_client.refuses.set(true);
    let refused = ends.server.do_handshake(&to_client, &hello);
    assert_eq!(kind(&ends.server, refused), socket);
    assert_eq!(
        ends.server.handshake_state(),
        HandshakeState::HandshakeInProgress
    );
    to_client.refuses.set(false);
    clock::move_to(ends.server.next_timeout().unwrap());
    ends.server.handle_timeout(&to_client).unwrap();

    // The server's last flight is lost, which it repairs when the client repeats its own.
    while ends.client.handshake_state() == HandshakeState::HandshakeInProgress
        && to_server.is_empty()
    {
        let datagram = to_client.expect();
        ends.client.do_handshake(&to_server, &datagram).unwrap();
    }
    let flight: Vec<_> = std::iter::from_fn(|| to_server.receive()).collect();
    to_client.refuses.set(true);
    let mut refused = Ok(HandshakeState::HandshakeInProgress);
    for datagram in &flight {
        refused = ends.server.do_handshake(&to_client, datagram);
    }
    assert_eq!(kind(&ends.server, refused), socket);
    assert!(ends.server.is_connection_encrypted());
    clock::move_to(ends.client.next_timeout().unwrap());
    ends.client.handle_timeout(&to_server).unwrap();
    let mut refused = None;
    while let Some(datagram) = to_server.receive() {
        refused = refused.or(ends.server.decrypt_datagram(&to_client, &datagram).err());
    }
    assert_eq!(refused.map(|error| error.kind()), Some(socket));
    let written = ends.server.write_datagram_encrypted(&to_client, b"lost");
    assert_eq!(kind(&ends.server, written), socket);
    assert!(ends.server.is_connection_encrypted());
    to_client.refuses.set(false);
    clock::move_to(ends.client.next_timeout().unwrap());
    ends.client.handle_timeout(&to_server).unwrap();
    while let Some(datagram) = to_server.receive() {
        drop(ends.server.decrypt_datagram(&to_client, &datagram).unwrap());
    }
    while ends.client.handshake_state() == HandshakeState::HandshakeInProgress {
        let step = ends.client.do_handshake(&to_server, &to_client.expect());
        assert_ne!(step.map_err(|error| error.kind()).err(), Some(socket));
    }

    // The client does not like the certificate; its alert is lost, and it goes all the same.
    assert_eq!(
        ends.client.handshake_state(),
        HandshakeState::PeerVerificationFailed
    );
    to_server.refuses.set(true);
    let refused = ends.client.abort_handshake(&to_server);
    assert_eq!(kind(&ends.client, refused), socket);
    assert_eq!(
        ends.client.handshake_state(),
        HandshakeState::HandshakeNotStarted
    );
    to_client.refuses.set(true);
    let refused = ends.server.shutdown(&to_client);
    assert_eq!(kind(&ends.server, refused), socket);
    assert_eq!(
        ends.server.handshake_state(),
        HandshakeState::HandshakeNotStarted
    );
}

/// Leaves something on this thread's queue of OpenSSL's errors.
fn leave_an_error() -> String {
    let stack = X509::from_pem(b"no certificate").unwrap_err();
    for error in stack.errors() {
        error.put();
    }
    stack.to_string()
}

#[test]
fn stale_errors_never_show_up() {
    let mut ends = Ends::with_psk(client_configuration(), server_configuration());
    leave_an_error();
    ends.start();
    leave_an_error();
    ends.exchange();
    ends.assert_success();
    for _ in 0..2 {
        leave_an_error();
        ends.assert_works();
    }
    let stale = leave_an_error();
    let nothing = ends
        .client
        .decrypt_datagram(&ends.to_server, b"garbage")
        .unwrap();
    assert!(nothing.is_empty());
    assert_no_error(&ends.client);
    leave_an_error();
    let refused = ends
        .client
        .write_datagram_encrypted(&ends.to_server, &[0; 20_000]);
    let text = refused.unwrap_err().error_string();
    assert!(!text.contains("PEM") && !text.contains(&stale), "{text}");
    leave_an_error();
    ends.client.shutdown(&ends.to_server).unwrap();
    assert_no_error(&ends.client);

    // A failure of its own tells its own reason.
    let mut client = client_configuration();
    client.set_ciphers(&["PSK-AES128-GCM-SHA256"]);
    let mut server = server_configuration();
    server.set_ciphers(&["PSK-AES256-GCM-SHA384"]);
    let mut ends = Ends::with_psk(client, server);
    leave_an_error();
    ends.start();
    leave_an_error();
    let (_, error) = ends.exchange();
    let text = error.unwrap().error_string();
    assert!(text.contains("no shared cipher"), "{text}");
    assert!(!text.contains("PEM"), "{text}");
    drop(ErrorStack::get());
}

#[test]
fn close_notify_is_sent_after_a_remote_close_and_a_new_handshake() {
    let mut ends = Ends::connected();
    for _ in 0..3 {
        ends.client.shutdown(&ends.to_server).unwrap();
        let close = ends.to_server.expect();
        let closed = ends.server.decrypt_datagram(&ends.to_client, &close);
        assert_eq!(
            kind(&ends.server, closed),
            DtlsError::RemoteClosedConnectionError
        );
        assert_eq!(ends.server.session_cipher(), None);
        ends.handshake();
        ends.server.shutdown(&ends.to_client).unwrap();
        let close = ends.to_client.expect();
        let closed = ends.client.decrypt_datagram(&ends.to_server, &close);
        assert_eq!(
            kind(&ends.client, closed),
            DtlsError::RemoteClosedConnectionError
        );
        assert!(ends.to_client.is_empty());
        ends.handshake();
    }
}

#[test]
fn chain_and_leaf_are_new_after_a_remote_close() {
    let client = {
        let mut client = client_configuration();
        client.set_peer_verify_mode(PeerVerifyMode::VerifyNone);
        client
    };
    let other_authority = Party::self_signed("other authority", Usage::Authority, ec_key());
    let other = other_authority
        .signs(HOST, Usage::Server, ec_key())
        .below(&other_authority);
    let first = parties().server.clone().below(&parties().authority);
    let mut ends = Ends::new(client, server_configuration(), HOST);
    for party in [&first, &other, &first] {
        let mut configuration = server_configuration();
        party.identify(&mut configuration);
        ends.server.set_dtls_configuration(configuration).unwrap();
        ends.handshake();
        assert_eq!(ends.client.peer_certificate(), Some(party.leaf()));
        assert_eq!(ends.client.peer_certificate_chain(), party.chain);
        ends.server.shutdown(&ends.to_client).unwrap();
        let close = ends.to_client.expect();
        let closed = ends.client.decrypt_datagram(&ends.to_server, &close);
        assert_eq!(
            kind(&ends.client, closed),
            DtlsError::RemoteClosedConnectionError
        );
        assert!(ends.client.peer_certificate_chain().is_empty());
    }
}

#[test]
fn lost_last_flight_is_repaired_from_the_completed_side() {
    let (mut ends, flight, _) = server_is_ahead(&[]);
    assert!(!flight.is_empty());
    clock::move_to(ends.client.next_timeout().unwrap());
    assert!(ends.client.handle_timeout(&ends.to_server).unwrap());
    let mut answered = false;
    while let Some(datagram) = ends.to_server.receive() {
        let decrypted = ends
            .server
            .decrypt_datagram(&ends.to_client, &datagram)
            .unwrap();
        assert!(decrypted.is_empty());
        answered |= decrypted.outcome() == DatagramOutcome::HandshakeAnswered;
        assert_no_error(&ends.server);
    }
    assert!(answered);
    let errors = ends.exchange();
    assert!(errors.0.is_none(), "{errors:?}");
    ends.assert_success();
    ends.assert_works();
}

#[test]
fn message_sizes() {
    let mut ends = Ends::connected();
    let sent = ends.to_server.sent();
    let written = ends.client.write_datagram_encrypted(&ends.to_server, b"");
    assert_eq!(written.unwrap(), 0);
    assert_no_error(&ends.client);
    assert_eq!(ends.to_server.sent(), sent);
    for length in [1, 1_400, 16_384] {
        let message = vec![b'x'; length];
        let sent = ends.to_server.sent();
        assert_eq!(ends.client_says(&message), [message]);
        assert_eq!(ends.to_server.sent(), sent + 1);
    }
    let refused = ends
        .client
        .write_datagram_encrypted(&ends.to_server, &[b'x'; 16_385]);
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), DtlsError::InvalidInputParameters);
    assert!(error.error_string().contains("16384"), "{error:?}");
    ends.assert_works();

    // An empty datagram holds nothing and ends nothing.
    let nothing = ends.server.decrypt_datagram(&ends.to_client, &[]).unwrap();
    assert_eq!(
        nothing.outcome(),
        DatagramOutcome::Dropped(DropReason::EmptyDatagram)
    );
    assert_no_error(&ends.server);
    ends.assert_works();
}

#[test]
fn known_peer_restarts_on_the_same_port() {
    let mut configuration = server_configuration();
    configuration.set_dtls_cookie_verification_enabled(true);
    let mut ends = Ends::with_psk(client_configuration(), configuration.clone());
    let mut verifier = verifier();
    let hello = verified_hello(&mut ends, &mut verifier);
    ends.server.do_handshake(&ends.to_client, &hello).unwrap();
    ends.exchange();
    ends.assert_success();

    // The client forgets everything and begins anew from the same port.
    let mut again = Ends::with_psk(client_configuration(), configuration);
    again.start();
    let first = again.to_server.expect();
    assert!(ends.server.starts_new_handshake(&first));
    let nothing = ends
        .server
        .decrypt_datagram(&ends.to_client, &first)
        .unwrap();
    assert_eq!(
        nothing.outcome(),
        DatagramOutcome::Dropped(DropReason::RepeatedHello)
    );
    assert!(ends.to_client.is_empty());
    // Not everything is a new hello: the old association goes on beside the new handshake.
    ends.client
        .write_datagram_encrypted(&ends.to_server, b"still here")
        .unwrap();
    let data = ends.to_server.expect();
    assert!(!ends.server.starts_new_handshake(&data));
    let peer = again.addresses.0;
    assert!(
        !verifier
            .verify_client(&again.to_client, &first, peer)
            .unwrap()
    );
    let answer = again.to_client.expect();
    again
        .client
        .do_handshake(&again.to_server, &answer)
        .unwrap();
    let second = again.to_server.expect();
    assert!(
        verifier
            .verify_client(&again.to_client, &second, peer)
            .unwrap()
    );
    again
        .server
        .do_handshake(&again.to_client, verifier.verified_hello())
        .unwrap();
    let messages = ends
        .server
        .decrypt_datagram(&ends.to_client, &data)
        .unwrap();
    assert_eq!(messages.messages(), [b"still here"]);
    again.exchange();
    again.assert_success();
    again.assert_works();
}

#[test]
fn dropped_association_says_nothing() {
    let Ends {
        client,
        mut server,
        to_server,
        to_client,
        ..
    } = Ends::connected();
    let sent = to_server.sent();
    drop(client);
    assert_eq!(to_server.sent(), sent);
    // The other side does not know, and can close by itself.
    assert!(server.is_connection_encrypted());
    server
        .write_datagram_encrypted(&to_client, b"to nobody")
        .unwrap();
    server.shutdown(&to_client).unwrap();
    assert_no_error(&server);
}

#[test]
fn pre_shared_key_is_as_good_as_a_certificate() {
    for late in [true, false] {
        let mut client = client_configuration();
        client.set_handshake_must_interrupt_on_error(!late);
        let mut server = server_configuration();
        server.set_peer_verify_mode(PeerVerifyMode::VerifyPeer);
        server.set_handshake_must_interrupt_on_error(!late);
        // The server has a certificate as well, which this client would not take.
        parties().server.identify(&mut server);
        let mut ends = Ends::new(client.clone(), server.clone(), "");
        ends.share_key();
        ends.handshake();
        assert!(ends.client.session_cipher().unwrap().contains("PSK"));
        assert!(ends.client.peer_certificate().is_none());
        ends.assert_works();

        // One that trusts authorities takes the certificate, and verifies it.
        client.set_ca_certificates(parties().authority.chain.clone());
        server.set_peer_verify_mode(PeerVerifyMode::VerifyNone);
        let mut ends = Ends::new(client, server, "elsewhere.example");
        ends.share_key();
        ends.start();
        let (error, _) = ends.exchange();
        assert_eq!(error.unwrap().kind(), DtlsError::PeerVerificationError);
        let errors = ends.client.peer_verification_errors();
        assert_eq!(errors[0].error(), SslErrorCode::HostNameMismatch);
    }
}

#[test]
fn closures_are_sockets_and_panics_reach_the_caller() {
    let mut sent = Vec::new();
    let mut client = new_end(SslMode::SslClientMode);
    client
        .set_dtls_configuration(client_configuration())
        .unwrap();
    client.set_peer(ipv4().1, "").unwrap();
    client
        .do_handshake(
            |datagram: &[u8], peer| {
                sent.push((datagram.to_vec(), peer));
                Ok(())
            },
            &[],
        )
        .unwrap();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].1, ipv4().1);

    let mut ends = Ends::with_psk(client_configuration(), server_configuration());
    ends.server.on_psk_required(|_| panic!("no key today"));
    ends.start();
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ends.exchange()));
    let panic = panic.unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"no key today"));
    let error = failure_in_time(&mut ends.server, &ends.to_client);
    assert_eq!(error.kind(), DtlsError::TlsFatalError);
    assert_eq!(
        ends.server.handshake_state(),
        HandshakeState::HandshakeNotStarted
    );
}

#[test]
fn application_protocol_is_told() {
    let (mut client, mut server) = (client_configuration(), server_configuration());
    client.set_allowed_next_protocols(&[b"coap", b"echo/2"]);
    server.set_allowed_next_protocols(&[b"echo/2", b"coap"]);
    let mut ends = Ends::with_psk(client, server);
    ends.handshake();
    for end in [&ends.client, &ends.server] {
        assert_eq!(end.next_negotiated_protocol(), Some(&b"echo/2"[..]));
    }
}

#[test]
fn session_resumes_only_where_no_client_is_verified() {
    for verifies in [false, true] {
        for late in [false, true] {
            let mut server = server_configuration();
            parties().server.identify(&mut server);
            server.set_ca_certificates(parties().authority.chain.clone());
            server.set_handshake_must_interrupt_on_error(!late);
            if verifies {
                server.set_peer_verify_mode(PeerVerifyMode::VerifyPeer);
            }
            let mut client = client_configuration();
            client.set_ca_certificates(parties().authority.chain.clone());
            parties().client.identify(&mut client);
            let mut ends = Ends::new(client, server, HOST);
            ends.handshake();
            let session = ends.client.saved_session();
            assert_eq!(session.is_some(), !verifies);
            ends.client.shutdown(&ends.to_server).unwrap();
            ends.server.shutdown(&ends.to_client).unwrap();
            ends.to_server.clear();
            ends.to_client.clear();
            if let Some(session) = session {
                ends.client.set_session(session).unwrap();
                ends.handshake();
                assert!(ends.client.handshake_info().unwrap().is_resumed());
                let leaf = ends.client.peer_certificate();
                assert_eq!(leaf, Some(parties().server.leaf()));
                ends.assert_works();
            }
        }
    }
}
