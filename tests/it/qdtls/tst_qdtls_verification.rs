//! What Qt tests of `QDtls`: certificates, and who judges them.

use openssl_dtls::openssl::x509::X509;
use openssl_dtls::qdtls::{
    DtlsConfiguration, DtlsError, HandshakeState, PeerVerifyMode, SslError, SslErrorCode,
    SslProtocol,
};

use super::fixtures::{HOST, Party, parties};
use super::network::{
    Ends, NULL, assert_no_error, client_configuration, kind, server_configuration,
};

const EVERY_MODE: [PeerVerifyMode; 4] = [
    PeerVerifyMode::AutoVerifyPeer,
    PeerVerifyMode::QueryPeer,
    PeerVerifyMode::VerifyNone,
    PeerVerifyMode::VerifyPeer,
];

/// A configuration that lets the handshake complete before the program decides, or one that does not.
fn judging_late(mut configuration: DtlsConfiguration, late: bool) -> DtlsConfiguration {
    configuration.set_handshake_must_interrupt_on_error(!late);
    configuration
}

/// A client without a name or trust, before a server that signed its certificate itself.
fn strangers(late: bool) -> Ends {
    let mut server = server_configuration();
    parties().self_signed.identify(&mut server);
    Ends::new(judging_late(client_configuration(), late), server, "")
}

fn codes(errors: &[SslError]) -> Vec<SslErrorCode> {
    errors.iter().map(SslError::error).collect()
}

fn assert_refused(ends: &Ends, text: &str) {
    let client = &ends.client;
    assert_eq!(
        client.dtls_error(),
        DtlsError::PeerVerificationError,
        "{text}"
    );
    assert!(!client.dtls_error_string().is_empty());
    assert_eq!(
        client.handshake_state(),
        HandshakeState::PeerVerificationFailed
    );
    assert!(!client.is_connection_encrypted());
    assert!(!client.peer_verification_errors().is_empty(), "{text}");
    assert_eq!(client.next_timeout(), None);
}

#[test]
fn verification_errors() {
    for late in [true, false] {
        for resumes in [false, true] {
            let mut ends = strangers(late);
            ends.start();
            let (client_error, server_error) = ends.exchange();
            assert_eq!(
                client_error.unwrap().kind(),
                DtlsError::PeerVerificationError
            );
            assert_refused(&ends, "self-signed");
            let errors = ends.client.peer_verification_errors().to_vec();
            assert_eq!(
                codes(&errors),
                [
                    SslErrorCode::HostNameMismatch,
                    SslErrorCode::SelfSignedCertificate
                ]
            );
            let leaf = parties().self_signed.leaf();
            assert!(errors.iter().all(|error| error.certificate() == Some(leaf)));
            assert_eq!(ends.client.peer_certificate(), Some(leaf));
            assert!(server_error.is_none());
            assert_no_error(&ends.server);
            if late {
                assert!(ends.client.session_cipher().is_some());
                assert_eq!(ends.client.session_protocol(), SslProtocol::DtlsV1_2);
            }

            let to_server = ends.to_server.clone();
            if !resumes {
                let refused = ends.client.abort_handshake(NULL);
                assert_eq!(
                    kind(&ends.client, refused),
                    DtlsError::InvalidInputParameters
                );
                ends.client.abort_handshake(&to_server).unwrap();
                assert_no_error(&ends.client);
                let client = &ends.client;
                assert_eq!(
                    client.handshake_state(),
                    HandshakeState::HandshakeNotStarted
                );
                assert!(!client.is_connection_encrypted());
                assert_eq!(client.session_cipher(), None);
                assert_eq!(client.session_protocol(), SslProtocol::UnknownProtocol);
                assert!(client.peer_certificate().is_none());
                assert!(client.peer_certificate_chain().is_empty());
                assert!(client.peer_verification_errors().is_empty());
                continue;
            }
            let refused = ends.client.resume_handshake(&to_server);
            if !late {
                // It was interrupted, as the configuration says.
                assert_eq!(kind(&ends.client, refused), DtlsError::InvalidOperation);
                continue;
            }
            assert_eq!(
                kind(&ends.client, refused),
                DtlsError::PeerVerificationError
            );
            assert!(ends.client.dtls_error_string().contains("self-signed"));
            ends.client.ignore_verification_errors(&errors);
            let refused = ends.client.resume_handshake(NULL);
            assert_eq!(
                kind(&ends.client, refused),
                DtlsError::InvalidInputParameters
            );
            ends.client.resume_handshake(&to_server).unwrap();
            ends.assert_success();
            ends.assert_works();
        }
    }
}

#[test]
fn preset_expected_errors() {
    let leaf = || Some(parties().self_signed.leaf().clone());
    let name = SslError::new(SslErrorCode::HostNameMismatch, leaf());
    let signature = SslError::new(SslErrorCode::SelfSignedCertificate, leaf());
    let bare = SslError::new(SslErrorCode::SelfSignedCertificate, None);
    let unrelated = SslError::new(SslErrorCode::CertificateExpired, leaf());
    for late in [true, false] {
        for (ignored, passes) in [
            (vec![name.clone()], false),
            // A code without a certificate ignores nothing of a certificate.
            (vec![name.clone(), bare.clone()], false),
            (vec![name.clone(), signature.clone()], true),
            (
                vec![unrelated.clone(), signature.clone(), name.clone()],
                true,
            ),
        ] {
            let mut ends = strangers(late);
            ends.client.ignore_verification_errors(&ignored);
            assert_no_error(&ends.client);
            ends.start();
            ends.exchange();
            if passes {
                for end in [&ends.client, &ends.server] {
                    assert!(end.is_connection_encrypted());
                    assert_eq!(end.handshake_state(), HandshakeState::HandshakeComplete);
                    assert_no_error(end);
                }
                assert_eq!(ends.client.peer_verification_errors().len(), 2);
                ends.assert_works();
            } else {
                assert_refused(&ends, "one error ignored");
            }
        }
    }
}

#[test]
fn verify_server_certificate() {
    let Party { chain, .. } = &parties().server;
    for late in [true, false] {
        // A certificate without its key starts nothing.
        let mut server = server_configuration();
        server.set_local_certificate_chain(chain.clone());
        let mut ends = Ends::new(client_configuration(), server, HOST);
        ends.start();
        let (client_error, server_error) = ends.exchange();
        assert_eq!(
            server_error.unwrap().kind(),
            DtlsError::TlsInitializationError
        );
        assert_eq!(
            ends.server.handshake_state(),
            HandshakeState::HandshakeNotStarted
        );
        assert!(client_error.is_none());
        assert_no_error(&ends.client);
        assert_eq!(
            ends.client.handshake_state(),
            HandshakeState::HandshakeInProgress
        );

        let with = |mode, trusted: &[X509], name: &str| {
            let mut server = server_configuration();
            parties().server.identify(&mut server);
            let mut client = judging_late(client_configuration(), late);
            client.set_ca_certificates(trusted.to_vec());
            client.set_peer_verify_mode(mode);
            Ends::new(client, server, name)
        };
        for mode in EVERY_MODE {
            let mut ends = with(mode, &parties().authority.chain, HOST);
            ends.handshake();
            assert_eq!(ends.client.peer_certificate(), chain.first());
            ends.assert_works();
        }
        let verify = PeerVerifyMode::VerifyPeer;
        let unknown = [
            SslErrorCode::UnableToGetLocalIssuerCertificate,
            SslErrorCode::UnableToVerifyFirstCertificate,
        ];
        for (mut ends, expected) in [
            (with(verify, &[], HOST), &unknown[..]),
            (
                with(verify, &parties().authority.chain, ""),
                &[SslErrorCode::HostNameMismatch],
            ),
            (
                with(verify, &parties().authority.chain, "alice.example"),
                &[SslErrorCode::HostNameMismatch],
            ),
        ] {
            ends.start();
            ends.exchange();
            assert_refused(&ends, "unknown or not named");
            assert_eq!(codes(ends.client.peer_verification_errors()), expected);
            let refused = ends
                .client
                .write_datagram_encrypted(&ends.to_server, b"too early");
            assert_eq!(kind(&ends.client, refused), DtlsError::InvalidOperation);
        }
        // The address of a connected socket stands in for a name.
        let mut ends = with(verify, &parties().authority.chain, "");
        ends.to_server.connected = Some(ends.addresses.1);
        ends.handshake();
        let mut ends = with(verify, &parties().authority.chain, "192.0.2.2");
        ends.handshake();
    }
}

#[test]
fn verify_client_certificate() {
    let alone = Party {
        chain: vec![parties().client.leaf().clone()],
        key: parties().client.key.clone(),
    };
    for late in [true, false] {
        for mode in EVERY_MODE {
            for (party, acceptable) in [
                (None, false),
                (Some(&parties().self_signed_client), false),
                (Some(&parties().server), false),
                (Some(&alone), true),
                (Some(&parties().client), true),
            ] {
                let mut server = judging_late(server_configuration(), late);
                parties().server.identify(&mut server);
                server.set_ca_certificates(parties().authority.chain.clone());
                server.set_peer_verify_mode(mode);
                let mut client = client_configuration();
                client.set_peer_verify_mode(PeerVerifyMode::VerifyNone);
                if let Some(party) = party {
                    party.identify(&mut client);
                }
                let mut ends = Ends::new(client, server, HOST);
                assert!(ends.server.peer_certificate().is_none());
                if mode != PeerVerifyMode::VerifyPeer || acceptable {
                    ends.handshake();
                    let sent = match mode {
                        PeerVerifyMode::VerifyNone => &[],
                        _ => party.map_or(&[][..], |party| &party.chain),
                    };
                    assert_eq!(ends.server.peer_certificate(), sent.first());
                    assert_eq!(ends.server.peer_certificate_chain(), sent);
                    continue;
                }
                refuse_client(&mut ends, party);
            }
        }
    }
}

/// A server that refuses its client, before the client hears of it.
fn refuse_client(ends: &mut Ends, party: Option<&Party>) {
    ends.start();
    let mut error = None;
    while error.is_none() {
        if let Some(datagram) = ends.to_server.receive() {
            error = ends.server.do_handshake(&ends.to_client, &datagram).err();
        } else {
            let datagram = ends.to_client.expect();
            ends.client
                .do_handshake(&ends.to_server, &datagram)
                .unwrap();
        }
    }
    assert_eq!(error.unwrap().kind(), DtlsError::PeerVerificationError);
    let server = &ends.server;
    assert_eq!(server.dtls_error(), DtlsError::PeerVerificationError);
    assert!(!server.dtls_error_string().is_empty());
    assert_eq!(
        server.handshake_state(),
        HandshakeState::PeerVerificationFailed
    );
    assert!(!server.is_connection_encrypted());
    let codes = codes(server.peer_verification_errors());
    match party {
        None => {
            assert_eq!(codes, [SslErrorCode::NoPeerCertificate]);
            assert!(server.peer_certificate().is_none());
        }
        Some(party) => {
            let expected = if party.leaf() == parties().server.leaf() {
                SslErrorCode::InvalidPurpose
            } else {
                SslErrorCode::SelfSignedCertificate
            };
            assert_eq!(codes, [expected]);
            assert_eq!(server.peer_certificate(), Some(party.leaf()));
        }
    }
    assert_eq!(
        ends.client.handshake_state(),
        HandshakeState::HandshakeInProgress
    );
    assert_no_error(&ends.client);
}

#[test]
fn blacklisted_certificate() {
    let denied = parties().server.leaf();
    for late in [true, false] {
        for denies in [true, false] {
            let mut server = server_configuration();
            parties().server.identify(&mut server);
            let mut client = judging_late(client_configuration(), late);
            client.set_ca_certificates(parties().authority.chain.clone());
            client.set_deny_list(move |certificate| denies && certificate == denied);
            let mut ends = Ends::new(client, server, HOST);
            if !denies {
                ends.handshake();
                continue;
            }
            ends.start();
            ends.exchange();
            assert_refused(&ends, "denied");
            let errors = ends.client.peer_verification_errors();
            assert_eq!(codes(errors), [SslErrorCode::CertificateBlacklisted]);
            assert_eq!(errors[0].certificate(), Some(denied));
        }
    }
}
