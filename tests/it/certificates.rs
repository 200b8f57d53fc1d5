//! Certificates: what is verified, what is objected to, and who has the last word.

use std::time::Duration;

use openssl_dtls::openssl::x509::X509PurposeId;
use openssl_dtls::{
    Alert, ClientCertificates, ConfigError, Context, ContextBuilder, Error, Fingerprint, ForClient,
    HandshakeInfo, Role, VerificationError,
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

fn fingerprint(identity: &openssl_dtls::Identity) -> Fingerprint {
    Fingerprint::of(identity.certificate()).unwrap()
}

#[test]
fn pinned_certificates_are_taken_and_no_others() {
    let (ours, theirs) = (bad_identity(), bad_identity());
    let pins = [fingerprint(&ours), fingerprint(&certs::server_identity())];
    let client = Context::client()
        .identity(theirs.clone())
        .pin(pins)
        .build()
        .unwrap();
    let serve = |identity: &openssl_dtls::Identity, pin| {
        Context::server(identity.clone())
            .client_certificates(ClientCertificates::Required)
            .pin([pin])
            .build()
            .unwrap()
    };
    for identity in [&ours, &certs::server_identity()] {
        let server = serve(identity, fingerprint(&theirs));
        let mut pair = Pair::connected(&(client.clone(), server));
        pair.assert_works();
        assert_eq!(
            client_info(&pair).peer_fingerprint(),
            Some(fingerprint(identity))
        );
        assert_eq!(
            server_info(&pair).peer_fingerprint(),
            Some(fingerprint(&theirs))
        );
    }
    let pair = Pair::connected(&(client.clone(), serve(&ours, fingerprint(&theirs))));
    assert!(!client_info(&pair).verification_errors().is_empty());
    assert_eq!(
        client_info(&pair).peer_chain_der(),
        [ours.certificate().to_der().unwrap()]
    );

    // One that chains to the system's authorities would be refused as well.
    let other = certs::authority().issue(&Leaf::named("localhost"));
    let mut pair = Pair::new(&(client.clone(), serve(&other, fingerprint(&theirs))));
    pair.travel(Duration::from_secs(20));
    assert!(
        matches!(pair.client_error, Some(Error::UnpinnedCertificate { fingerprint: f }) if f == fingerprint(&other)),
        "{pair:?}"
    );
    assert!(
        matches!(
            pair.server_errors[0],
            Error::AlertReceived {
                alert: Alert::BAD_CERTIFICATE
            }
        ),
        "{pair:?}"
    );
    let mut pair = Pair::new(&(client, serve(&ours, fingerprint(&ours))));
    pair.travel(Duration::from_secs(20));
    assert!(
        matches!(pair.server_errors[0], Error::UnpinnedCertificate { fingerprint: f } if f == fingerprint(&theirs)),
        "{pair:?}"
    );
}

#[test]
fn pins_go_with_nothing_else_that_decides() {
    let pin = || [fingerprint(&certs::server_identity())];
    let server = || Context::server(certs::server_identity());
    let contradictions = [
        trusting().pin(pin()).build(),
        Context::client()
            .pin(pin())
            .dangerous()
            .no_verification()
            .build(),
        Context::client()
            .pin(pin())
            .verify_callback(|_, _| true)
            .build(),
        server().pin(pin()).build(),
    ];
    for refused in contradictions {
        assert!(
            matches!(
                refused,
                Err(ConfigError::Contradiction {
                    what: "pinning fingerprints",
                    ..
                })
            ),
            "{refused:?}"
        );
    }
}

/// A root, three authorities one above the other, and a certificate of the last for `localhost`.
fn deep_chain() -> (Authority, openssl_dtls::Identity) {
    let root = Authority::root("deep root", certs::ec_key());
    let mut authority = root.clone();
    for name in ["one", "two", "three"] {
        authority = authority.intermediate(name, certs::ec_key());
    }
    let identity = authority.issue(&Leaf::named("localhost"));
    (root, identity)
}

#[test]
fn chain_may_be_as_deep_as_is_said() {
    const TOO_LONG: i32 = 22;
    let (root, identity) = deep_chain();
    let server = Context::server(identity).build().unwrap();
    let client = |depth| {
        Context::client()
            .trust_certificate(root.certificate.clone())
            .verify_depth(depth)
            .build()
    };
    let pair = Pair::connected(&(client(3).unwrap(), server.clone()));
    assert_eq!(client_info(&pair).peer_chain().len(), 4);
    let mut pair = Pair::new(&(client(2).unwrap(), server));
    pair.travel(Duration::from_secs(20));
    match &pair.client_error {
        Some(Error::CertificateRejected { errors, .. }) => {
            let told = codes(errors);
            assert!(
                told.iter()
                    .any(|&(code, _)| code == TOO_LONG || code == NO_LOCAL_ISSUER),
                "{told:?}"
            );
        }
        _ => panic!("{pair:?}"),
    }
    assert!(matches!(
        client(101),
        Err(ConfigError::OutOfRange {
            what: "the verification depth"
        })
    ));
}

#[test]
fn certificate_must_be_good_for_its_purpose() {
    const WRONG_PURPOSE: i32 = 26;
    let identity = certs::authority().issue(&Leaf {
        usage: Some(Role::Client),
        ..Leaf::named("localhost")
    });
    let server = Context::server(identity.clone()).build().unwrap();
    let mut pair = Pair::new(&(trusting().build().unwrap(), server.clone()));
    pair.travel(Duration::from_secs(20));
    assert!(
        matches!(&pair.client_error, Some(Error::CertificateRejected { result, .. }) if result.as_raw() == WRONG_PURPOSE),
        "{pair:?}"
    );
    let lenient = trusting().purpose(X509PurposeId::ANY).build().unwrap();
    Pair::connected(&(lenient, server)).assert_works();

    let server = |usage| {
        let identity = certs::authority().issue(&Leaf {
            usage: Some(usage),
            ..Leaf::named("a client")
        });
        let client = trusting().identity(identity).build().unwrap();
        let server = Context::server(certs::server_identity())
            .trust_pem(&certs::authority().pem())
            .client_certificates(ClientCertificates::Required)
            .build()
            .unwrap();
        Pair::new(&(client, server))
    };
    server(Role::Client).handshake();
    let mut pair = server(Role::Server);
    pair.travel(Duration::from_secs(5));
    assert!(
        matches!(&pair.server_errors[0], Error::CertificateRejected { result, .. } if result.as_raw() == WRONG_PURPOSE),
        "{pair:?}"
    );
}
