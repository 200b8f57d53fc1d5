//! Raw public keys in place of certificates (RFC 7250), from OpenSSL 3.2 on.

use std::time::Duration;

use openssl_dtls::openssl::pkey::{PKey, Private, Public};
use openssl_dtls::{
    ClientCertificates, ConfigError, Context, Error, HandshakeInfo, PskLookup, RawPublicKey,
};

use crate::support::{Pair, certs, psk};

/// Whether this libssl has raw public keys.
fn available() -> bool {
    openssl_dtls::openssl::version::number() >= 0x3020_0000
}

fn public(key: &PKey<Private>) -> PKey<Public> {
    PKey::public_key_from_der(&key.public_key_to_der().unwrap()).unwrap()
}

fn client(expected: &PKey<Private>) -> Result<Context, ConfigError> {
    Context::client()
        .expect_raw_public_keys([public(&certs::ec_key()), public(expected)])
        .build()
}

fn shows(info: Option<&HandshakeInfo>, key: &PKey<Private>) -> bool {
    let shown = info.unwrap().peer_raw_public_key();
    shown.is_some_and(|shown| shown.public_eq(key))
}

#[test]
fn server_with_a_raw_key_is_known_by_it() {
    for key in [certs::ec_key(), certs::rsa_key(2048)] {
        let server = Context::server(RawPublicKey::new(key.clone())).build();
        if !available() {
            assert!(matches!(server, Err(ConfigError::Unsupported { .. })));
            assert!(matches!(client(&key), Err(ConfigError::Unsupported { .. })));
            continue;
        }
        let server = server.unwrap();
        let mut pair = Pair::connected(&(client(&key).unwrap(), server.clone()));
        pair.assert_works();
        assert!(shows(pair.client.handshake_info(), &key));
        assert!(
            pair.client
                .handshake_info()
                .unwrap()
                .peer_certificate()
                .is_none()
        );

        let mut pair = Pair::new(&(client(&certs::ec_key()).unwrap(), server));
        pair.travel(Duration::from_secs(20));
        assert!(
            matches!(pair.client_error, Some(Error::UnexpectedPublicKey)),
            "{pair:?}"
        );
    }
}

#[test]
fn client_with_a_raw_key_is_known_by_it() {
    if !available() {
        let client = Context::client()
            .trust_pem(&certs::authority().pem())
            .raw_public_key(RawPublicKey::new(certs::ec_key()))
            .build();
        assert!(matches!(client, Err(ConfigError::Unsupported { .. })));
        return;
    }
    let (server_key, key) = (certs::ec_key(), certs::ec_key());
    let client = |own: &PKey<Private>| {
        Context::client()
            .raw_public_key(RawPublicKey::new(own.clone()))
            .expect_raw_public_keys([public(&server_key)])
            .build()
            .unwrap()
    };
    let server = Context::server(RawPublicKey::new(server_key.clone()))
        .client_certificates(ClientCertificates::Required)
        .expect_raw_public_keys([public(&key)])
        .build()
        .unwrap();
    let mut pair = Pair::connected(&(client(&key), server.clone()));
    pair.assert_works();
    assert!(shows(pair.server().unwrap().handshake_info(), &key));
    assert!(shows(pair.client.handshake_info(), &server_key));

    let mut pair = Pair::new(&(client(&certs::ec_key()), server.clone()));
    pair.travel(Duration::from_secs(5));
    assert!(
        matches!(pair.server_errors[0], Error::UnexpectedPublicKey),
        "{pair:?}"
    );

    let without = Context::client()
        .expect_raw_public_keys([public(&server_key)])
        .build()
        .unwrap();
    let mut pair = Pair::new(&(without, server));
    pair.travel(Duration::from_secs(5));
    assert!(!pair.is_established() && !pair.server_errors.is_empty());
}

#[test]
fn certificate_is_no_raw_key() {
    if !available() {
        return;
    }
    // The server's certificate has the very key, but it comes as a certificate.
    let key = certs::server_key();
    let server = Context::server(certs::server_identity()).build().unwrap();
    let mut pair = Pair::new(&(client(&key).unwrap(), server));
    pair.travel(Duration::from_secs(20));
    assert!(!pair.client.is_established(), "{pair:?}");
    assert!(pair.client_error.is_some(), "{pair:?}");
}

#[test]
fn raw_keys_go_with_nothing_else_that_decides() {
    let key = certs::ec_key();
    let expecting = || Context::client().expect_raw_public_keys([public(&key)]);
    let pin = openssl_dtls::Fingerprint::of(certs::server_identity().certificate()).unwrap();
    for refused in [
        expecting().trust_pem(&certs::authority().pem()).build(),
        expecting().pin([pin]).build(),
        expecting().verify_callback(|_, _| true).build(),
        expecting().dangerous().no_verification().build(),
        Context::server(certs::server_identity())
            .expect_raw_public_keys([public(&key)])
            .build(),
        Context::client()
            .trust_pem(&certs::authority().pem())
            .identity(certs::client_identity())
            .raw_public_key(RawPublicKey::new(key.clone()))
            .build(),
    ] {
        assert!(
            matches!(refused, Err(ConfigError::Contradiction { .. })),
            "{refused:?}"
        );
    }
    // Keys and pre-shared keys do not get in each other's way.
    let both = expecting().psk(psk()).build();
    if available() {
        let server = Context::server(PskLookup::single(psk())).build().unwrap();
        Pair::connected(&(both.unwrap(), server)).assert_works();
    } else {
        assert!(matches!(both, Err(ConfigError::Unsupported { .. })));
    }
}
