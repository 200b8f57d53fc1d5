//! What a caller is told when a handshake fails: the variant, and what it carries.

use std::error::Error as _;
use std::time::Duration;

use openssl_dtls::openssl::ssl::{AlpnError, SslContextBuilder, SslMethod, SslVerifyMode};
use openssl_dtls::openssl::x509::X509VerifyResult;
use openssl_dtls::{
    Alert, ClientCertificates, Context, ContextBuilder, Error, ForClient, ForServer, Psk, Role,
    TransportConfig,
};

use crate::support::certs::{self, Leaf};
use crate::support::{KEY, Pair, psk_contexts};

fn client() -> ContextBuilder<ForClient> {
    Context::client().trust_pem(&certs::authority().pem())
}

fn server() -> ContextBuilder<ForServer> {
    Context::server(certs::server_identity())
}

/// What both ends are told when the handshake is over.
fn failures(client: Context, server: Context) -> (Error, Error) {
    let mut pair = Pair::new(&(client, server));
    pair.travel(Duration::from_secs(100));
    let Some(client) = pair.client_error.take() else {
        panic!("the client was told nothing: {pair:?}");
    };
    let Some(server) = pair.server_errors.pop() else {
        panic!("the server was told nothing: {pair:?}");
    };
    (client, server)
}

/// A chain of root, intermediate and leaf.
fn chain() -> (certs::Authority, openssl_dtls::Identity) {
    let root = certs::Authority::root("root", certs::ec_key());
    let identity = root
        .intermediate("intermediate", certs::ec_key())
        .issue(&Leaf::named("localhost"));
    (root, identity)
}

fn assert_rejected(error: &Error, code: i32, at: u32) {
    match error {
        Error::CertificateRejected { result, depth, .. } => {
            assert_eq!(result.as_raw(), code, "{}", result.error_string());
            assert_eq!(*depth, Some(at));
            assert!(error.source().is_some());
        }
        _ => panic!("{error:?}"),
    }
}

fn assert_alert(error: &Error, wanted: Alert) {
    assert!(
        matches!(error, Error::AlertReceived { alert } if *alert == wanted),
        "{error:?}"
    );
}

#[test]
fn refused_certificate_says_why_and_which() {
    let (root, identity) = chain();
    // The peer's own certificate is in order but for its name.
    let trusting = Context::client().trust_certificate(root.certificate.clone());
    let named = certs::authority().issue(&Leaf::named("elsewhere.example"));
    let (error, other) = failures(
        client().build().unwrap(),
        Context::server(named).build().unwrap(),
    );
    assert_rejected(&error, 62, 0);
    assert_alert(&other, Alert::BAD_CERTIFICATE);

    // The one above it leads to no trusted one.
    let server = || Context::server(identity.clone()).build().unwrap();
    let (error, _) = failures(client().build().unwrap(), server());
    assert_rejected(&error, 20, 1);

    // The verification closure of a context of ours refuses the root.
    let picky = trusting.verify_callback(|good, store| good && store.error_depth() < 2);
    let (error, _) = failures(picky.build().unwrap(), server());
    assert!(
        matches!(error, Error::CertificateRejected { depth: Some(2), .. }),
        "{error:?}"
    );
}

#[test]
fn verification_closure_of_an_adopted_context_still_decides() {
    let (root, identity) = chain();
    let refusing = |refused_depth: u32| {
        let mut builder = SslContextBuilder::new(SslMethod::dtls()).unwrap();
        builder
            .cert_store_mut()
            .add_cert(root.certificate.clone())
            .unwrap();
        builder.set_verify_callback(SslVerifyMode::PEER, move |good, store| {
            if store.error_depth() == refused_depth {
                store.set_error(X509VerifyResult::APPLICATION_VERIFICATION);
                return false;
            }
            good
        });
        Context::adopt(builder.build(), Role::Client, TransportConfig::default()).unwrap()
    };
    let server = Context::server(identity).build().unwrap();
    for depth in 0..=2 {
        let (error, _) = failures(refusing(depth), server.clone());
        assert_rejected(
            &error,
            X509VerifyResult::APPLICATION_VERIFICATION.as_raw(),
            depth,
        );
    }
    Pair::connected(&(refusing(7), server)).assert_works();
}

#[test]
fn both_ends_are_told_that_nothing_is_shared() {
    let suite = "ECDHE-RSA-AES128-GCM-SHA256";
    let (told, other) = failures(
        client().cipher_list(suite).build().unwrap(),
        server().build().unwrap(),
    );
    assert_alert(&told, Alert::HANDSHAKE_FAILURE);
    assert!(matches!(other, Error::NoSharedCipherSuite(_)), "{other:?}");

    let (told, other) = failures(
        client()
            .signature_algorithms("ECDSA+SHA512")
            .build()
            .unwrap(),
        server()
            .signature_algorithms("ECDSA+SHA256")
            .build()
            .unwrap(),
    );
    assert_alert(&told, Alert::HANDSHAKE_FAILURE);
    assert!(
        matches!(
            other,
            Error::NoSharedSignatureAlgorithm(_) | Error::NoSharedCipherSuite(_)
        ),
        "{other:?}"
    );

    let picky = server().configure(|builder| {
        builder.set_alpn_select_callback(|_, _| Err(AlpnError::ALERT_FATAL));
        Ok(())
    });
    let offering = client().configure(|builder| builder.set_alpn_protos(b"\x04coap"));
    let (told, other) = failures(offering.build().unwrap(), picky.build().unwrap());
    assert_alert(&told, Alert::NO_APPLICATION_PROTOCOL);
    assert!(
        matches!(other, Error::NoSharedApplicationProtocol(_)),
        "{other:?}"
    );
}

#[test]
fn missing_client_certificate_is_told() {
    let strict = server()
        .trust_pem(&certs::authority().pem())
        .client_certificates(ClientCertificates::Required);
    let (told, other) = failures(client().build().unwrap(), strict.build().unwrap());
    assert_alert(&told, Alert::HANDSHAKE_FAILURE);
    assert!(matches!(other, Error::NoPeerCertificate(_)), "{other:?}");
}

#[test]
fn weak_key_of_the_peer_is_told() {
    let weak = Leaf {
        key: certs::rsa_key(1024),
        ..Leaf::named("localhost")
    };
    let weak_server = Context::server(certs::authority().issue(&weak)).security_level(0);
    let (error, _) = failures(
        client().security_level(2).build().unwrap(),
        weak_server.build().unwrap(),
    );
    // X509_V_ERR_EE_KEY_TOO_SMALL: found while the chain is verified.
    assert_rejected(&error, 66, 0);
}

#[test]
fn unknown_identity_is_told_and_a_wrong_key_is_a_timeout() {
    let (_, server) = psk_contexts(&TransportConfig::default());
    let stranger = Context::client().psk(Psk::new(b"nobody", KEY).unwrap());
    let (told, other) = failures(stranger.build().unwrap(), server.clone());
    assert_alert(&told, Alert::UNKNOWN_PSK_IDENTITY);
    assert!(matches!(other, Error::UnknownPskIdentity(_)), "{other:?}");

    let wrong = Psk::new(crate::support::IDENTITY, b"another key").unwrap();
    let (told, other) = failures(Context::client().psk(wrong).build().unwrap(), server);
    assert!(matches!(told, Error::HandshakeTimeout), "{told:?}");
    assert!(matches!(other, Error::HandshakeTimeout), "{other:?}");
}
