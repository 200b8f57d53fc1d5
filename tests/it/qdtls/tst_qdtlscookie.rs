//! What Qt tests of `QDtlsClientVerifier`.

use std::net::SocketAddr;

use openssl_dtls::qdtls::{
    CookieHash, Dtls, DtlsClientVerifier, DtlsError, GeneratorParameters, HandshakeState, SslMode,
};

use super::network::{NULL, Wire, client_configuration, ipv4, new_end, verifier};

/// A client that has begun, and its wire.
fn client() -> (Dtls, Wire) {
    let mut client = new_end(SslMode::SslClientMode);
    client
        .set_dtls_configuration(client_configuration())
        .unwrap();
    client.set_peer(ipv4().1, "").unwrap();
    let wire = Wire::default();
    client.do_handshake(&wire, &[]).unwrap();
    (client, wire)
}

fn assert_no_error(verifier: &DtlsClientVerifier) {
    assert_eq!(verifier.dtls_error(), DtlsError::NoError);
    assert_eq!(verifier.dtls_error_string(), "");
}

#[test]
fn construction() {
    let verifier = DtlsClientVerifier::new().unwrap();
    assert_no_error(&verifier);
    assert!(verifier.verified_hello().is_empty());
    let parameters = verifier.cookie_generator_parameters();
    assert_eq!(parameters.hash, CookieHash::Sha256);
    assert!(!parameters.secret().is_empty());
    // Every object of a process has the same ones.
    assert_eq!(
        *parameters,
        Dtls::new(SslMode::SslServerMode)
            .cookie_generator_parameters()
            .unwrap()
    );
    let default = GeneratorParameters::default();
    assert_eq!(default.hash, CookieHash::Sha256);
    assert!(default.secret().is_empty());
}

#[test]
fn validate_parameters() {
    let good: SocketAddr = ipv4().0;
    let addresses = [
        good,
        "0.0.0.0:40000".parse().unwrap(),
        "255.255.255.255:40000".parse().unwrap(),
        "224.0.0.0:40000".parse().unwrap(),
    ];
    let wire = Wire::default();
    let hello = client().1.expect();
    let mut rows = 0;
    for socket in [Some(&wire), NULL] {
        for datagram in [&hello[..], &[]] {
            for address in addresses {
                if socket.is_some() && !datagram.is_empty() && address == good {
                    continue;
                }
                rows += 1;
                let mut verifier = verifier();
                let error = verifier
                    .verify_client(socket, datagram, address)
                    .unwrap_err();
                assert_eq!(error.kind(), DtlsError::InvalidInputParameters);
                assert_eq!(verifier.dtls_error(), DtlsError::InvalidInputParameters);
                assert!(!verifier.dtls_error_string().is_empty());
                assert!(verifier.verified_hello().is_empty());
            }
        }
    }
    assert_eq!(rows, 15);
    assert!(wire.is_empty());
}

#[test]
fn verify_client() {
    let (mut client, to_server) = client();
    let (address, _) = ipv4();
    let to_client = Wire::default();
    let mut verifier = verifier();
    let first = to_server.expect();
    assert!(!verifier.verify_client(&to_client, &first, address).unwrap());
    assert_no_error(&verifier);
    assert!(verifier.verified_hello().is_empty());
    assert_eq!(to_client.log.borrow()[0].0, address);

    client
        .do_handshake(&to_server, &to_client.expect())
        .unwrap();
    assert_eq!(
        client.handshake_state(),
        HandshakeState::HandshakeInProgress
    );
    let second = to_server.expect();
    for _ in 0..2 {
        assert!(
            verifier
                .verify_client(&to_client, &second, address)
                .unwrap()
        );
        assert_no_error(&verifier);
        assert_eq!(verifier.verified_hello(), second);
    }
    assert!(to_client.is_empty());

    let mut fresh = super::network::verifier();
    assert!(fresh.verify_client(&to_client, &second, address).unwrap());
    assert_eq!(fresh.verified_hello(), second);

    // A call that is refused leaves the hello as it was.
    fresh.verify_client(NULL, &second, address).unwrap_err();
    assert_eq!(fresh.verified_hello(), second);

    let elsewhere = SocketAddr::new(address.ip(), address.port() + 1);
    assert!(
        !verifier
            .verify_client(&to_client, &second, elsewhere)
            .unwrap()
    );
    assert_no_error(&verifier);
    assert!(verifier.verified_hello().is_empty());

    // Noise is neither answered nor an error.
    to_client.clear();
    for noise in [&b"hello"[..], &[0; 100], &[22; 64 * 1024], &second[..20]] {
        assert!(!verifier.verify_client(&to_client, noise, address).unwrap());
        assert_no_error(&verifier);
    }
    assert!(to_client.is_empty());
}

#[test]
fn cookie_generator_parameters() {
    let mut verifier = verifier();
    let before = verifier.cookie_generator_parameters().clone();
    let mut parameters = GeneratorParameters::default();
    for secret in [&b""[..], &[1; 31]] {
        parameters.set_secret(secret);
        let error = verifier
            .set_cookie_generator_parameters(&parameters)
            .unwrap_err();
        assert_eq!(error.kind(), DtlsError::InvalidInputParameters);
        assert_eq!(verifier.dtls_error(), DtlsError::InvalidInputParameters);
        assert_eq!(*verifier.cookie_generator_parameters(), before);
    }
    parameters.set_secret(&[1; 32]);
    verifier
        .set_cookie_generator_parameters(&parameters)
        .unwrap();
    assert_no_error(&verifier);
    assert_eq!(*verifier.cookie_generator_parameters(), parameters);

    let mut dtls = new_end(SslMode::SslServerMode);
    dtls.set_cookie_generator_parameters(&GeneratorParameters::default())
        .unwrap_err();
    dtls.set_cookie_generator_parameters(&parameters).unwrap();
    assert_eq!(dtls.cookie_generator_parameters().unwrap(), parameters);
    assert!(!format!("{parameters:?}").contains('1'));
}

#[test]
fn verify_multiple_clients() {
    let mut verifier = verifier();
    let to_client = Wire::default();
    let noise_maker: SocketAddr = "192.0.2.99:9".parse().unwrap();
    let mut verified = 0;
    for round in 0..10_u16 {
        for number in 0..10 {
            let address = SocketAddr::new(ipv4().0.ip(), 40_000 + 10 * round + number);
            let (mut client, to_server) = client();
            loop {
                // Between any two datagrams the noise maker sends text, and a hello whose answer it never reads.
                let noise = [b"noise".to_vec(), self::client().1.expect()];
                for datagram in noise {
                    assert!(
                        !verifier
                            .verify_client(&Wire::default(), &datagram, noise_maker)
                            .unwrap()
                    );
                    assert_no_error(&verifier);
                }
                let datagram = to_server.expect();
                if verifier
                    .verify_client(&to_client, &datagram, address)
                    .unwrap()
                {
                    break;
                }
                assert_no_error(&verifier);
                client
                    .do_handshake(&to_server, &to_client.expect())
                    .unwrap();
            }
            assert_no_error(&verifier);
            verified += 1;
        }
    }
    assert_eq!(verified, 100);
}
