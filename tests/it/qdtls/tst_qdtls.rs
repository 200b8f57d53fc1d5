//! What Qt tests of `QDtls`: states, configurations, handshakes, messages.

use std::time::Duration;

use openssl_dtls::openssl::ssl::{SslContext, SslMethod};
use openssl_dtls::qdtls::{
    CookieHash, Dtls, DtlsConfiguration, DtlsError, HandshakeState, PeerVerifyMode, SslMode,
    SslProtocol,
};

use super::fixtures::{HOST, parties, rsa_server};
use super::network::{
    CHILD, Ends, NULL, Wire, assert_no_error, client_configuration, ipv4, kind, new_end,
    passes_elsewhere, server_configuration,
};

const MODES: [SslMode; 2] = [SslMode::SslClientMode, SslMode::SslServerMode];

/// Objects may move to another thread.
const _: fn() = || {
    fn movable<T: Send>() {}
    movable::<Dtls>();
    movable::<openssl_dtls::qdtls::DtlsClientVerifier>();
    movable::<DtlsConfiguration>();
};

#[test]
fn construction() {
    for mode in MODES {
        let dtls = Dtls::new(mode);
        assert_eq!(dtls.peer_address(), None);
        assert_eq!(dtls.peer_port(), 0);
        assert_eq!(dtls.peer_verification_name(), "");
        assert_eq!(dtls.ssl_mode(), mode);
        assert_eq!(dtls.mtu_hint(), 0);
        let parameters = dtls.cookie_generator_parameters().unwrap();
        assert_eq!(parameters.hash, CookieHash::Sha256);
        assert!(!parameters.secret().is_empty());
        assert_eq!(
            *dtls.dtls_configuration(),
            DtlsConfiguration::default_dtls_configuration()
        );
        assert_eq!(dtls.handshake_state(), HandshakeState::HandshakeNotStarted);
        assert!(!dtls.is_connection_encrypted());
        assert_eq!(dtls.session_cipher(), None);
        assert_eq!(dtls.session_protocol(), SslProtocol::UnknownProtocol);
        assert!(dtls.peer_certificate().is_none());
        assert!(dtls.peer_verification_errors().is_empty());
        assert_eq!(dtls.next_timeout(), None);
        assert_no_error(&dtls);
    }
}

/// The secret bits of a suite, by its name.
fn bits(name: &str) -> u32 {
    let mut builder = SslContext::builder(SslMethod::dtls()).unwrap();
    builder
        .set_cipher_list(name)
        .expect("OpenSSL knows the suite");
    [("AES128", 128), ("AES256", 256), ("CHACHA20", 256)]
        .into_iter()
        .find(|(cipher, _)| name.contains(cipher))
        .map_or(0, |(_, bits)| bits)
}

#[test]
fn configuration() {
    if std::env::var_os(CHILD).is_some() {
        return change_the_default();
    }
    for mode in MODES {
        let mut dtls = new_end(mode);
        let default = dtls.dtls_configuration().clone();
        assert_eq!(default.protocol(), SslProtocol::DtlsV1_2OrLater);
        assert!(!default.ciphers().is_empty());
        for name in default.ciphers() {
            assert!(bits(&name) >= 128, "{name}");
        }
        assert!(default.dtls_cookie_verification_enabled());
        assert_eq!(default.peer_verify_mode(), PeerVerifyMode::AutoVerifyPeer);
        assert_eq!(default.peer_verify_depth(), 0);
        assert!(default.local_certificate().is_none());
        assert!(default.private_key().is_none());
        assert!(default.ca_certificates().is_none());
        assert!(default.server_cipher_preference());

        let mut other = default.clone();
        other.set_protocol(SslProtocol::DtlsV1_2);
        other.set_dtls_cookie_verification_enabled(false);
        assert_ne!(other, default);
        dtls.set_dtls_configuration(other.clone()).unwrap();
        assert_no_error(&dtls);
        assert_eq!(*dtls.dtls_configuration(), other);

        if mode == SslMode::SslClientMode {
            dtls.set_peer(ipv4().1, "").unwrap();
            dtls.do_handshake(&Wire::default(), &[]).unwrap();
            let refused = dtls.set_dtls_configuration(default);
            assert_eq!(kind(&dtls, refused), DtlsError::InvalidOperation);
            assert_eq!(*dtls.dtls_configuration(), other);
        }
    }
    // The default is the whole process's, and other tests start with it.
    assert!(passes_elsewhere(
        "qdtls::tst_qdtls::configuration",
        "default"
    ));
}

fn change_the_default() {
    let default = DtlsConfiguration::default_dtls_configuration();
    DtlsConfiguration::set_default_dtls_configuration(DtlsConfiguration::empty());
    let empty = DtlsConfiguration::default_dtls_configuration();
    assert_eq!(empty, DtlsConfiguration::empty());
    assert_eq!(
        *Dtls::new(SslMode::SslClientMode).dtls_configuration(),
        empty
    );
    DtlsConfiguration::set_default_dtls_configuration(default.clone());
    assert_eq!(DtlsConfiguration::default_dtls_configuration(), default);
}

#[test]
fn invalid_configuration() {
    for protocol in [SslProtocol::TlsV1_2, SslProtocol::UnknownProtocol] {
        let mut dtls = new_end(SslMode::SslClientMode);
        dtls.set_peer(ipv4().1, "").unwrap();
        let mut configuration = client_configuration();
        configuration.set_protocol(protocol);
        dtls.set_dtls_configuration(configuration.clone()).unwrap();
        assert_no_error(&dtls);
        assert_eq!(*dtls.dtls_configuration(), configuration);
        let wire = Wire::default();
        let refused = dtls.do_handshake(&wire, &[]);
        assert_eq!(kind(&dtls, refused), DtlsError::TlsInitializationError);
        assert_eq!(dtls.handshake_state(), HandshakeState::HandshakeNotStarted);
        assert!(wire.is_empty());
    }
    let mut dtls = new_end(SslMode::UnencryptedMode);
    dtls.set_peer(ipv4().1, "").unwrap();
    let refused = dtls.do_handshake(&Wire::default(), &[]);
    assert_eq!(kind(&dtls, refused), DtlsError::TlsInitializationError);
}

#[test]
fn set_peer() {
    for mode in MODES {
        let mut dtls = new_end(mode);
        dtls.set_dtls_configuration(client_configuration()).unwrap();
        for (address, port) in [
            ("0.0.0.0", 443),
            ("::", 443),
            ("255.255.255.255", 443),
            ("224.0.0.0", 443),
            ("ff02::1", 443),
            ("::ffff:224.0.0.0", 443),
            ("192.0.2.2", 0),
        ] {
            let refused = dtls.set_peer(
                (address.parse::<std::net::IpAddr>().unwrap(), port).into(),
                HOST,
            );
            assert_eq!(kind(&dtls, refused), DtlsError::InvalidInputParameters);
            assert_eq!(dtls.peer_address(), None, "{address}");
            assert_eq!(dtls.peer_port(), 0);
            assert_eq!(dtls.peer_verification_name(), "");
        }
        let refused = dtls.set_peer(ipv4().1, "not a name");
        assert_eq!(kind(&dtls, refused), DtlsError::InvalidInputParameters);

        let peer = ipv4().1;
        dtls.set_peer(peer, HOST).unwrap();
        assert_no_error(&dtls);
        assert_eq!(dtls.peer_address(), Some(peer.ip()));
        assert_eq!(dtls.peer_port(), peer.port());
        assert_eq!(dtls.peer_verification_name(), HOST);
        // A call without a name takes it back.
        dtls.set_peer(peer, "").unwrap();
        assert_eq!(dtls.peer_verification_name(), "");
        dtls.set_peer_verification_name(HOST).unwrap();
        assert_eq!(dtls.peer_verification_name(), HOST);

        if mode == SslMode::SslClientMode {
            dtls.do_handshake(&Wire::default(), &[]).unwrap();
            let refused = dtls.set_peer(ipv4().0, "");
            assert_eq!(kind(&dtls, refused), DtlsError::InvalidOperation);
            let refused = dtls.set_peer_verification_name("");
            assert_eq!(kind(&dtls, refused), DtlsError::InvalidOperation);
            assert_eq!(dtls.peer(), Some(peer));
            assert_eq!(dtls.peer_verification_name(), HOST);
        }
    }
}

#[test]
fn handshake() {
    for with_certificate in [false, true] {
        let (mut client, mut server) = (client_configuration(), server_configuration());
        if with_certificate {
            parties().self_signed.identify(&mut server);
            client.set_ca_certificates(parties().self_signed.chain.clone());
        } else {
            client.set_peer_verify_mode(PeerVerifyMode::VerifyNone);
        }
        let name = if with_certificate { HOST } else { "" };
        let (to_server, to_client) = (Wire::default(), Wire::default());

        let mut ends = Ends::new(client.clone(), server.clone(), name);
        ends.client = new_end(SslMode::SslClientMode);
        ends.server = new_end(SslMode::SslServerMode);
        ends.client.set_dtls_configuration(client).unwrap();
        ends.server.set_dtls_configuration(server).unwrap();
        if !with_certificate {
            ends.share_key();
        }
        let refused = ends.client.do_handshake(&to_server, &[]);
        assert_eq!(kind(&ends.client, refused), DtlsError::InvalidOperation);
        let refused = ends.server.do_handshake(&to_client, b"a datagram");
        assert_eq!(kind(&ends.server, refused), DtlsError::InvalidOperation);

        let (client_address, server_address) = ends.addresses;
        ends.client.set_peer(server_address, name).unwrap();
        ends.server.set_peer(client_address, "").unwrap();
        let refused = ends.client.do_handshake(NULL, &[]);
        assert_eq!(
            kind(&ends.client, refused),
            DtlsError::InvalidInputParameters
        );
        ends.start();
        assert_no_error(&ends.client);
        assert_eq!(ends.to_server.log.borrow()[0].0, server_address);

        let hello = ends.to_server.expect();
        let refused = ends.server.do_handshake(NULL, &hello);
        assert_eq!(
            kind(&ends.server, refused),
            DtlsError::InvalidInputParameters
        );
        let refused = ends.server.do_handshake(&to_client, &[]);
        assert_eq!(
            kind(&ends.server, refused),
            DtlsError::InvalidInputParameters
        );
        let refused = ends.server.decrypt_datagram(&to_client, &hello);
        assert_eq!(kind(&ends.server, refused), DtlsError::InvalidOperation);
        let refused = ends.client.do_handshake(&to_server, &[]);
        assert_eq!(
            kind(&ends.client, refused),
            DtlsError::InvalidInputParameters
        );
        assert_eq!(
            ends.client.handshake_state(),
            HandshakeState::HandshakeInProgress
        );
        ends.to_server.put(&hello);
        let errors = ends.exchange();
        assert!(errors.0.is_none() && errors.1.is_none(), "{errors:?}");
        ends.assert_success();
        let certificate = ends.client.peer_certificate();
        assert_eq!(
            certificate,
            with_certificate.then(|| parties().self_signed.leaf())
        );
        assert!(ends.server.peer_certificate().is_none());

        for (end, wire) in [
            (&mut ends.client, &ends.to_server),
            (&mut ends.server, &ends.to_client),
        ] {
            let refused = end.do_handshake(wire, b"a datagram");
            assert_eq!(kind(end, refused), DtlsError::InvalidOperation);
            let refused = end.set_peer(server_address, "");
            assert_eq!(kind(end, refused), DtlsError::InvalidOperation);
        }
        ends.assert_works();
    }
}

#[test]
fn handshake_with_retransmission() {
    let mut ends = Ends::with_psk(client_configuration(), server_configuration());
    ends.to_server.lose.set(1);
    ends.to_client.lose.set(1);
    let began = crate::support::clock::now();
    ends.start();
    while !(ends.client.is_connection_encrypted() && ends.server.is_connection_encrypted()) {
        ends.exchange();
        if ends.to_server.is_empty() && ends.to_client.is_empty() {
            ends.pass_time(Duration::from_secs(10));
        }
        let elapsed = crate::support::clock::now() - began;
        assert!(elapsed < Duration::from_secs(10), "{ends:?}");
    }
    ends.assert_success();
}

#[test]
fn session_cipher() {
    let mut ends = Ends::connected();
    let cipher = ends.client.session_cipher().unwrap().to_owned();
    assert_eq!(ends.server.session_cipher(), Some(&cipher[..]));
    assert!(client_configuration().ciphers().contains(&cipher));
    for end in [&ends.client, &ends.server] {
        assert_eq!(end.session_protocol(), SslProtocol::DtlsV1_2);
    }
    ends.client.shutdown(&ends.to_server).unwrap();
    assert_eq!(ends.client.session_cipher(), None);
    assert_eq!(ends.client.session_protocol(), SslProtocol::UnknownProtocol);
}

#[test]
fn cipher_preferences() {
    let names = ["AES128-SHA", "AES256-SHA"];
    let reversed = ["AES256-SHA", "AES128-SHA"];
    for prefers_own in [true, false] {
        let (mut client, mut server) = (client_configuration(), server_configuration());
        rsa_server().identify(&mut server);
        server.set_ciphers(&names);
        server.set_server_cipher_preference(prefers_own);
        client.set_ciphers(&reversed);
        client.set_peer_verify_mode(PeerVerifyMode::VerifyNone);
        let mut ends = Ends::new(client, server, HOST);
        ends.handshake();
        let expected = if prefers_own { names[0] } else { reversed[0] };
        for end in [&ends.client, &ends.server] {
            assert_eq!(end.session_cipher(), Some(expected));
        }
    }
}

#[test]
fn protocol_version_matching() {
    use SslProtocol::{DtlsV1_0, DtlsV1_0OrLater, DtlsV1_2, DtlsV1_2OrLater};
    for (server_protocol, client_protocol, works) in [
        (DtlsV1_2, DtlsV1_2, true),
        (DtlsV1_2OrLater, DtlsV1_2, true),
        (DtlsV1_2, DtlsV1_2OrLater, true),
        (DtlsV1_2OrLater, DtlsV1_2OrLater, true),
        (DtlsV1_0, DtlsV1_0, true),
        (DtlsV1_0OrLater, DtlsV1_0, true),
        (DtlsV1_0, DtlsV1_0OrLater, true),
        (DtlsV1_0OrLater, DtlsV1_0OrLater, true),
        (DtlsV1_0, DtlsV1_2, false),
        (DtlsV1_0, DtlsV1_2OrLater, false),
        (DtlsV1_2, DtlsV1_0, false),
        (DtlsV1_2OrLater, DtlsV1_0, false),
    ] {
        let (mut client, mut server) = (client_configuration(), server_configuration());
        client.set_protocol(client_protocol);
        server.set_protocol(server_protocol);
        let mut ends = Ends::with_psk(client, server);
        if works {
            ends.handshake();
            let version = match (server_protocol, client_protocol) {
                (DtlsV1_0, _) | (_, DtlsV1_0) => DtlsV1_0,
                _ => DtlsV1_2,
            };
            assert_eq!(ends.client.session_protocol(), version);
            ends.assert_works();
        } else {
            ends.start();
            ends.exchange();
            for end in [&ends.client, &ends.server] {
                assert!(!end.is_connection_encrypted());
                assert_ne!(end.handshake_state(), HandshakeState::HandshakeComplete);
            }
        }
    }
}

#[test]
fn read_write_encrypted() {
    for server_shuts_down in [false, true] {
        let mut ends = Ends::with_psk(client_configuration(), server_configuration());
        let (to_server, to_client) = (ends.to_server.clone(), ends.to_client.clone());
        for (end, wire) in [
            (&mut ends.client, &to_server),
            (&mut ends.server, &to_client),
        ] {
            let refused = end.write_datagram_encrypted(wire, b"too early");
            assert_eq!(kind(end, refused), DtlsError::InvalidOperation);
            let refused = end.shutdown(wire);
            assert_eq!(kind(end, refused), DtlsError::InvalidOperation);
        }
        ends.start();
        let refused = ends.client.decrypt_datagram(&to_server, b"too early");
        assert_eq!(kind(&ends.client, refused), DtlsError::InvalidOperation);
        ends.exchange();
        ends.assert_success();

        let refused = ends.client.write_datagram_encrypted(NULL, b"hello");
        assert_eq!(
            kind(&ends.client, refused),
            DtlsError::InvalidInputParameters
        );
        let written = ends.client.write_datagram_encrypted(&to_server, b"hello");
        assert_eq!(written.unwrap(), 5);
        assert_no_error(&ends.client);
        let datagram = to_server.expect();
        let refused = ends.server.decrypt_datagram(NULL, &datagram);
        assert_eq!(
            kind(&ends.server, refused),
            DtlsError::InvalidInputParameters
        );
        let messages = ends.server.decrypt_datagram(&to_client, &datagram).unwrap();
        assert_eq!(messages.messages(), [b"hello"]);
        assert_no_error(&ends.server);
        assert_eq!(ends.server_says(b"and back"), [b"and back"]);
        // The same datagram once more.
        let again = ends.server.decrypt_datagram(&to_client, &datagram).unwrap();
        assert!(again.is_empty());
        assert_no_error(&ends.server);

        let Ends { client, server, .. } = ends;
        let (mut first, mut second, wire, back) = if server_shuts_down {
            (server, client, to_client, to_server)
        } else {
            (client, server, to_server, to_client)
        };
        let refused = first.shutdown(NULL);
        assert_eq!(kind(&first, refused), DtlsError::InvalidInputParameters);
        first.shutdown(&wire).unwrap();
        assert_no_error(&first);
        assert_eq!(first.handshake_state(), HandshakeState::HandshakeNotStarted);
        assert!(!first.is_connection_encrypted());
        let closed = second.decrypt_datagram(&back, &wire.expect());
        assert_eq!(
            kind(&second, closed),
            DtlsError::RemoteClosedConnectionError
        );
        assert_eq!(
            second.handshake_state(),
            HandshakeState::HandshakeNotStarted
        );
        assert!(!second.is_connection_encrypted());
        // No close_notify answers the other one.
        assert!(back.is_empty() && wire.is_empty());
    }
}

#[test]
fn datagram_fragmentation() {
    let mut ends = Ends::connected();
    let refused = ends
        .client
        .write_datagram_encrypted(&ends.to_server, &[b'x'; 17 * 1024]);
    assert_eq!(
        kind(&ends.client, refused),
        DtlsError::InvalidInputParameters
    );
    assert!(ends.client.is_connection_encrypted());
    assert!(ends.to_server.is_empty());
    assert_eq!(ends.client_says(b"small"), [b"small"]);
    assert_no_error(&ends.client);
}
