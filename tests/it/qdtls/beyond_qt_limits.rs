//! What Qt does not test, and had better: sizes, secrets, memory.

use std::time::Duration;

use openssl_dtls::openssl::x509::X509;
use openssl_dtls::qdtls::{
    CookieHash, Dtls, DtlsError, GeneratorParameters, HandshakeState, PeerVerifyMode,
    PreSharedKeyAuthenticator, SslMode,
};
use openssl_dtls::{ClockAnchor, CookieRing, CookieSecret, TransportConfig};

use super::fixtures::{HOST, Party, Usage, parties};
use super::network::{
    Addresses, CHILD, Ends, Wire, client_configuration, failure_in_time, ipv4, ipv6, kind, new_end,
    passes_elsewhere, server_configuration, verified_hello, verifier,
};
use crate::support::certs::ec_key;
use crate::support::clock;

/// A chain of about 5 KB below an authority.
fn long_chain() -> (Party, Party) {
    let root = Party::self_signed("root", Usage::Authority, ec_key());
    let mut issuer = root.clone();
    let mut above: Vec<X509> = Vec::new();
    for number in 0..12 {
        let name = format!("intermediate number {number} of a long chain");
        let next = issuer.signs(&name, Usage::Authority, ec_key());
        above.splice(0..0, next.chain.clone());
        issuer = next;
    }
    let mut leaf = issuer.signs(HOST, Usage::Server, ec_key());
    leaf.chain.extend(above);
    (root, leaf)
}

/// The largest datagram that a hint allows, in bytes of UDP payload.
fn payload(hint: u16, (client, _): Addresses) -> usize {
    let headers = if client.is_ipv4() { 28 } else { 48 };
    match hint {
        0 => 1200,
        hint => (usize::from(hint).max(256) - headers).min(4096),
    }
}

#[test]
fn mtu_hints() {
    let (root, leaf) = long_chain();
    let bytes: usize = leaf
        .chain
        .iter()
        .map(|certificate| certificate.to_der().unwrap().len())
        .sum();
    assert!((4_500..6_000).contains(&bytes), "{bytes}");
    for addresses in [ipv4(), ipv6()] {
        for hint in [0, 1, 255, 256, 300, 576, 1280, 1500, 4096, 4097, 65_535] {
            let mut server = server_configuration();
            leaf.identify(&mut server);
            server.set_ca_certificates(root.chain.clone());
            server.set_peer_verify_mode(PeerVerifyMode::VerifyPeer);
            let mut client = client_configuration();
            client.set_ca_certificates(root.chain.clone());
            root.signs("client", Usage::Client, ec_key())
                .identify(&mut client);
            let mut ends = Ends::at(addresses, client, server, HOST);
            for end in [&mut ends.client, &mut ends.server] {
                end.set_mtu_hint(hint);
                assert_eq!(end.mtu_hint(), hint);
            }
            ends.handshake();
            let max = payload(hint, addresses);
            for wire in [&ends.to_server, &ends.to_client] {
                for (_, datagram) in wire.log.borrow().iter() {
                    assert!(datagram.len() <= max, "{} with {hint}", datagram.len());
                }
            }
            for end in [&ends.client, &ends.server] {
                assert_eq!(end.connection().unwrap().stats().retransmissions, 0);
            }
            // Messages are as large as they are.
            let message = vec![b'x'; 5_000];
            assert_eq!(ends.client_says(&message), [message]);
        }
    }
    // A hint that comes late counts from the next step on.
    let mut server = server_configuration();
    leaf.identify(&mut server);
    let mut client = client_configuration();
    client.set_peer_verify_mode(PeerVerifyMode::VerifyNone);
    let mut ends = Ends::new(client, server, HOST);
    ends.start();
    ends.client.set_mtu_hint(400);
    ends.exchange();
    ends.assert_success();
    assert_eq!(ends.client.connection().unwrap().mtu().bytes(), 372);
}

/// Ends that answer for pre-shared keys with these closures.
fn with_keys(
    client: impl FnMut(&mut PreSharedKeyAuthenticator) + Send + 'static,
    server: impl FnMut(&mut PreSharedKeyAuthenticator) + Send + 'static,
) -> Ends {
    let mut configuration = server_configuration();
    configuration.set_pre_shared_key_identity_hint(b"which key");
    let mut ends = Ends::with_psk(client_configuration(), configuration);
    ends.client.on_psk_required(client);
    ends.server.on_psk_required(server);
    ends
}

#[test]
fn pre_shared_keys() {
    // The longest that fit, seen by both sides as they are.
    let identity: Vec<u8> = (1..=255).collect();
    let key = vec![0xa5; 512];
    let (client_key, server_key, expected) = (key.clone(), key, identity.clone());
    let mut ends = with_keys(
        move |authenticator| {
            assert_eq!(authenticator.identity_hint(), b"which key");
            assert_eq!(authenticator.identity(), b"");
            assert_eq!(authenticator.maximum_identity_length(), 255);
            assert_eq!(authenticator.maximum_pre_shared_key_length(), 512);
            let too_long = authenticator.set_identity(&[1; 256]).unwrap_err();
            assert_eq!(too_long.kind(), DtlsError::InvalidInputParameters);
            authenticator.set_identity(b"a\0b").unwrap_err();
            authenticator.set_pre_shared_key(&[1; 513]).unwrap_err();
            assert_eq!(authenticator.pre_shared_key(), b"");
            authenticator.set_identity(&identity).unwrap();
            authenticator.set_pre_shared_key(&client_key).unwrap();
        },
        move |authenticator| {
            assert_eq!(authenticator.identity_hint(), b"which key");
            assert_eq!(authenticator.identity(), expected);
            assert_eq!(authenticator.maximum_identity_length(), 0);
            authenticator.set_identity(b"no effect").unwrap();
            assert_eq!(authenticator.identity(), expected);
            authenticator.set_pre_shared_key(&[2; 513]).unwrap_err();
            authenticator.set_pre_shared_key(&server_key).unwrap();
        },
    );
    ends.handshake();
    ends.assert_works();

    // A key that is not given refuses, on either side.
    let give = |authenticator: &mut PreSharedKeyAuthenticator| {
        authenticator
            .set_pre_shared_key(b"sixteen byte key")
            .unwrap();
    };
    let mut ends = with_keys(|_| {}, give);
    ends.start();
    let (error, _) = ends.exchange();
    assert_eq!(error.unwrap().kind(), DtlsError::TlsFatalError);
    let mut ends = with_keys(give, |_| {});
    ends.start();
    let (_, error) = ends.exchange();
    assert_eq!(error.unwrap().kind(), DtlsError::TlsFatalError);
    let error = failure_in_time(&mut ends.client, &ends.to_server);
    assert!(
        error.error_string().contains("unknown_psk_identity"),
        "{error:?}"
    );
}

#[test]
fn different_keys_end_at_the_deadline() {
    let mut ends = with_keys(
        |authenticator| authenticator.set_pre_shared_key(b"one key").unwrap(),
        |authenticator| authenticator.set_pre_shared_key(b"another").unwrap(),
    );
    let deadline = Duration::from_secs(10);
    for end in [&mut ends.client, &mut ends.server] {
        let mut configuration = end.dtls_configuration().clone();
        let transport = TransportConfig::new()
            .handshake_timeout(deadline)
            .handshake_restarts(0);
        configuration.set_transport(transport);
        end.set_dtls_configuration(configuration).unwrap();
    }
    let began = clock::now();
    ends.start();
    let errors = loop {
        let errors = ends.exchange();
        assert!(errors.0.is_none() && errors.1.is_none(), "{errors:?}");
        let next = [ends.client.next_timeout(), ends.server.next_timeout()];
        clock::move_to(next.into_iter().flatten().min().unwrap());
        let steps = [
            (&mut ends.client, &ends.to_server),
            (&mut ends.server, &ends.to_client),
        ]
        .map(|(end, wire)| end.handle_timeout(wire).err());
        if steps.iter().all(Option::is_some) {
            break steps;
        }
        assert!(clock::now() - began <= deadline);
    };
    assert_eq!(clock::now() - began, deadline);
    for (error, end) in errors
        .into_iter()
        .flatten()
        .zip([&ends.client, &ends.server])
    {
        assert_eq!(error.kind(), DtlsError::TlsFatalError);
        assert!(error.error_string().contains("another key"), "{error:?}");
        assert_eq!(end.handshake_state(), HandshakeState::HandshakeNotStarted);
    }
}

const SHARED: [u8; 32] = [7; 32];

#[test]
fn cookies_verify_elsewhere_until_their_secret_is_retired() {
    let peer = ipv4().0;
    let parameters = GeneratorParameters::new(CookieHash::Sha256, &SHARED);
    if let Ok(hello) = std::env::var(CHILD) {
        let mut verifier = verifier();
        verifier
            .set_cookie_generator_parameters(&parameters)
            .unwrap();
        let hello = hex::decode(hello).unwrap();
        let wire = Wire::default();
        assert!(verifier.verify_client(&wire, &hello, peer).unwrap());
        return;
    }
    let mut here = verifier();
    here.set_cookie_generator_parameters(&parameters).unwrap();
    let mut ends = Ends::with_psk(client_configuration(), server_configuration());
    let hello = verified_hello(&mut ends, &mut here);
    let name = "qdtls::beyond_qt_limits::cookies_verify_elsewhere_until_their_secret_is_retired";
    assert!(passes_elsewhere(name, &hex::encode(&hello)));
    let mut altered = hello.clone();
    // The hello's random.
    altered[13 + 12 + 2 + 5] ^= 1;
    assert!(!passes_elsewhere(name, &hex::encode(&altered)));
    let wire = Wire::default();
    assert!(!here.verify_client(&wire, &altered, peer).unwrap());
    assert!(!verifier().verify_client(&wire, &hello, peer).unwrap());

    // A ring that is rotated takes the cookies of the secret before for a while.
    let secret = |byte| CookieSecret::from_shared(&[byte; 32]).unwrap();
    let anchor = ClockAnchor::new(clock::now(), std::time::SystemTime::now());
    let ring = CookieRing::shared(secret(1), anchor);
    let mut verifier = verifier();
    verifier.set_cookie_ring(ring.clone());
    let mut configuration = server_configuration();
    configuration.set_dtls_cookie_verification_enabled(true);
    let mut ends = Ends::with_psk(client_configuration(), configuration);
    ends.server.set_cookie_ring(ring.clone());
    let hello = verified_hello(&mut ends, &mut verifier);
    ring.rotate(secret(2), clock::now());
    assert!(verifier.verify_client(&wire, &hello, peer).unwrap());
    ends.server.do_handshake(&ends.to_client, &hello).unwrap();
    ends.exchange();
    ends.assert_success();
    clock::move_to(clock::now() + Duration::from_secs(180));
    assert!(!verifier.verify_client(&wire, &hello, peer).unwrap());
    let mut late = new_end(SslMode::SslServerMode);
    late.set_peer(peer, "").unwrap();
    late.set_cookie_ring(ring);
    late.on_psk_required(|_| {});
    let refused = late.do_handshake(&wire, &hello);
    assert_eq!(kind(&late, refused), DtlsError::TlsFatalError);
}

#[test]
fn cookies_of_qt_pass_where_they_are_asked_for() {
    let anchor = ClockAnchor::new(clock::now(), std::time::SystemTime::now());
    let secret = || CookieSecret::from_shared(&SHARED).unwrap();
    let ring = CookieRing::qt_compatible(secret(), anchor);
    let mut verifier = verifier();
    verifier.set_cookie_ring(ring.clone());
    let mut configuration = server_configuration();
    configuration.set_dtls_cookie_verification_enabled(true);
    let mut ends = Ends::with_psk(client_configuration(), configuration);
    ends.server.set_cookie_ring(ring);
    let hello = verified_hello(&mut ends, &mut verifier);
    ends.server.do_handshake(&ends.to_client, &hello).unwrap();
    ends.exchange();
    ends.assert_success();
    let mut bound = super::network::verifier();
    let parameters = GeneratorParameters::new(CookieHash::Sha256, &SHARED);
    bound.set_cookie_generator_parameters(&parameters).unwrap();
    let wire = Wire::default();
    assert!(!bound.verify_client(&wire, &hello, ipv4().0).unwrap());
}

/// Bytes of memory this process has.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[cfg(target_os = "linux")]
#[test]
fn memory_stays_flat_over_ten_thousand_handshakes() {
    if std::env::var_os(CHILD).is_none() {
        // Other tests of this process would be measured as well.
        let name = "qdtls::beyond_qt_limits::memory_stays_flat_over_ten_thousand_handshakes";
        assert!(passes_elsewhere(name, "measure"));
        return;
    }
    let mut certificate_server = server_configuration();
    parties().self_signed.identify(&mut certificate_server);
    let distrusting = client_configuration();
    let mut trusting = client_configuration();
    trusting.set_peer_verify_mode(PeerVerifyMode::VerifyNone);
    let server = server_configuration();
    let mut before = 0;
    for round in 0..10_000 {
        // Configurations that are not changed share their contexts; now and then new ones are made.
        if round % 500 == 0 {
            trusting.set_peer_verify_depth(0);
            certificate_server.set_peer_verify_depth(0);
        }
        let mut ends = Ends::new(trusting.clone(), server.clone(), "");
        ends.share_key();
        match round % 3 {
            0 => {
                ends.handshake();
                ends.assert_works();
            }
            1 => {
                ends.start();
                let hello = ends.to_server.expect();
                ends.server.do_handshake(&ends.to_client, &hello).unwrap();
                let abort = |end: &mut Dtls, wire| end.abort_handshake(wire).unwrap();
                abort(&mut ends.client, &ends.to_server);
                abort(&mut ends.server, &ends.to_client);
            }
            _ => {
                let server = certificate_server.clone();
                let mut ends = Ends::new(distrusting.clone(), server, HOST);
                ends.start();
                let (error, _) = ends.exchange();
                assert_eq!(error.unwrap().kind(), DtlsError::PeerVerificationError);
            }
        }
        if round == 2_000 {
            before = resident();
        }
    }
    let after = resident();
    let grown = after.saturating_sub(before);
    // One lost kilobyte in each would be eight megabytes.
    assert!(grown < 2 * 1024 * 1024, "{before} bytes became {after}");
}
