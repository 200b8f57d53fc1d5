//! Certificates: what is verified, what is objected to, and who has the last word.

use std::time::Duration;

use openssl_dtls::{
    ClientCertificates, Context, ContextBuilder, Error, ForClient, HandshakeInfo, VerificationError,
};

use crate::support::certs::{self, Authority, Leaf};
use crate::support::{Pair, certificate_contexts};

/// Numbers of `X509_V_ERR_*`, in x509_vfy.h.
const NO_LOCAL_ISSUER: i32 = 20;
const UNVERIFIED_LEAF: i32 = 21;
const EXPIRED: i32 = 10;
const WRONG_NAME: i32 = 62;

fn trusting() -> ContextBuilder<ForClient> {
    Context::client().trust_pem(&certs::authority().pem())
}

fn codes(errors: &[VerificationError]) -> Vec<(i32, u32)> {
    let code = |error: &VerificationError| (error.result().as_raw(), error.depth());
    errors.iter().map(code).collect()
}

fn client_info(pair: &Pair) -> &HandshakeInfo {
    pair.client.handshake_info().unwrap()
}

fn server_info(pair: &Pair) -> &HandshakeInfo {
    pair.server().unwrap().handshake_info().unwrap()
}

/// A certificate that is expired, names somebody else, and comes from an authority nobody trusts.
fn bad_identity() -> openssl_dtls::Identity {
    let authority = Authority::root("nobody's authority", certs::ec_key());
    authority.issue(&Leaf {
        not_after: "20210101000000Z",
        ..Leaf::named("elsewhere.example")
    })
}

#[test]
fn without_verification_every_objection_is_told_and_the_handshake_completes() {
    let client = trusting().dangerous().no_verification().build().unwrap();
    let server = Context::server(bad_identity()).build().unwrap();
    let mut pair = Pair::connected(&(client.clone(), server));
    pair.assert_works();
    let errors = client_info(&pair).verification_errors();
    let mut told = codes(errors);
    told.sort_unstable();
    assert_eq!(
        told,
        [
            (EXPIRED, 0),
            (NO_LOCAL_ISSUER, 0),
            (UNVERIFIED_LEAF, 0),
            (WRONG_NAME, 0)
        ]
    );
    let leaf = client_info(&pair).peer_certificate().unwrap();
    for error in errors {
        assert_eq!(
            error.certificate().unwrap().to_der().unwrap(),
            leaf.to_der().unwrap()
        );
    }

    let (_, server) = certificate_contexts(&Default::default());
    let pair = Pair::connected(&(client, server));
    assert!(client_info(&pair).verification_errors().is_empty());
}

#[test]
fn server_without_verification_is_told_what_is_wrong_with_its_client() {
    let server = Context::server(certs::server_identity())
        .client_certificates(ClientCertificates::Required)
        .dangerous()
        .no_verification()
        .build()
        .unwrap();
    let client = trusting().identity(bad_identity()).build().unwrap();
    let mut pair = Pair::connected(&(client, server.clone()));
    pair.assert_works();
    let told = codes(server_info(&pair).verification_errors());
    for expected in [NO_LOCAL_ISSUER, EXPIRED] {
        assert!(told.contains(&(expected, 0)), "{told:?}");
    }

    // A certificate there must be all the same.
    let mut pair = Pair::new(&(trusting().build().unwrap(), server));
    pair.travel(Duration::from_secs(5));
    assert!(
        matches!(pair.server_errors[0], Error::NoPeerCertificate(_)),
        "{pair:?}"
    );
}

#[test]
fn refusal_tells_the_objection_with_its_depth_and_certificate() {
    let root = certs::authority();
    let mut leaf = Leaf::named("localhost");
    leaf.not_after = "20210101000000Z";
    let server = Context::server(root.issue(&leaf)).build().unwrap();
    let mut pair = Pair::new(&(trusting().build().unwrap(), server));
    pair.travel(Duration::from_secs(20));
    match &pair.client_error {
        Some(Error::CertificateRejected { result, errors, .. }) => {
            assert_eq!(codes(errors), [(EXPIRED, 0)]);
            assert_eq!(result.as_raw(), EXPIRED);
            assert_eq!(errors[0].to_string(), "certificate has expired at depth 0");
        }
        _ => panic!("{pair:?}"),
    }
}

#[test]
fn verify_callback_overrules_what_it_chooses_to() {
    let client = trusting()
        .verify_callback(|good, store| good || store.error().as_raw() == EXPIRED)
        .build()
        .unwrap();
    let expired = Leaf {
        not_after: "20210101000000Z",
        ..Leaf::named("localhost")
    };
    let server = Context::server(certs::authority().issue(&expired))
        .build()
        .unwrap();
    let pair = Pair::connected(&(client.clone(), server));
    assert_eq!(
        codes(client_info(&pair).verification_errors()),
        [(EXPIRED, 0)]
    );
    assert_eq!(client_info(&pair).verified_name(), Some("localhost"));

    let named = Leaf::named("elsewhere.example");
    let server = Context::server(certs::authority().issue(&named))
        .build()
        .unwrap();
    let mut pair = Pair::new(&(client, server));
    pair.travel(Duration::from_secs(20));
    match &pair.client_error {
        Some(Error::CertificateRejected { errors, .. }) => {
            assert_eq!(codes(errors), [(WRONG_NAME, 0)]);
        }
        _ => panic!("{pair:?}"),
    }
}

#[test]
fn verify_callback_may_refuse_what_libssl_accepts() {
    let client = trusting().verify_callback(|_, _| false).build().unwrap();
    let (_, server) = certificate_contexts(&Default::default());
    let mut pair = Pair::new(&(client, server));
    pair.travel(Duration::from_secs(20));
    match &pair.client_error {
        Some(Error::CertificateRejected { errors, .. }) => assert!(errors.is_empty()),
        _ => panic!("{pair:?}"),
    }
}
