//! Revoked certificates: lists and OCSP staples.

use std::time::Duration;

use openssl_dtls::openssl::ssl::SslContextBuilder;
use openssl_dtls::openssl::x509::X509Crl;
use openssl_dtls::{
    Alert, ClientCertificates, ConfigError, Context, ContextBuilder, Error, ForClient, Identity,
    OcspStaple, OcspStapling, PskLookup, Revocation, StapleProblem,
};

use crate::support::certs::{self, Authority, Leaf, NOT_AFTER};
use crate::support::status::{Status, ocsp_response, revocation_list};
use crate::support::{Pair, psk};

/// Numbers of `X509_V_ERR_*`, in x509_vfy.h.
const NO_LIST: i32 = 3;
const LIST_EXPIRED: i32 = 12;
const REVOKED: i32 = 23;

struct Chain {
    root: Authority,
    intermediate: Authority,
    good: Identity,
    revoked: Identity,
}

impl Chain {
    fn new() -> Chain {
        let root = Authority::root("root", certs::ec_key());
        let intermediate = root.intermediate("intermediate", certs::ec_key());
        Chain {
            good: intermediate.issue(&Leaf::named("localhost")),
            revoked: intermediate.issue(&Leaf::named("localhost")),
            root,
            intermediate,
        }
    }

    /// The list of the authority that issued the leaves.
    fn list(&self) -> X509Crl {
        revocation_list(&self.intermediate, &[self.revoked.certificate()], NOT_AFTER)
    }

    fn trusting(&self) -> ContextBuilder<ForClient> {
        Context::client().trust_certificate(self.root.certificate.clone())
    }
}

/// What the client makes of the server's certificate: `None` if it takes it.
fn objection(client: &Context, identity: &Identity) -> Option<i32> {
    let server = Context::server(identity.clone()).build().unwrap();
    let mut pair = Pair::new(&(client.clone(), server));
    pair.travel(Duration::from_secs(20));
    match &pair.client_error {
        None => {
            assert!(pair.is_established(), "{pair:?}");
            None
        }
        Some(Error::CertificateRejected { result, .. }) => Some(result.as_raw()),
        Some(error) => panic!("{error:?}"),
    }
}

#[test]
fn revoked_certificates_are_refused() {
    let chain = Chain::new();
    let list = chain.list();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("list.pem");
    let two = [
        revocation_list(&chain.root, &[], NOT_AFTER)
            .to_pem()
            .unwrap(),
        list.to_pem().unwrap(),
    ]
    .concat();
    std::fs::write(&file, &two).unwrap();
    for client in [
        chain.trusting().crl_pem(&list.to_pem().unwrap()),
        chain.trusting().crl_pem(&two),
        chain.trusting().crl_der(&list.to_der().unwrap()),
        chain.trusting().crl_file(&file),
    ] {
        let client = client.build().unwrap();
        assert_eq!(objection(&client, &chain.good), None);
        assert_eq!(objection(&client, &chain.revoked), Some(REVOKED));
    }
    let unaware = chain.trusting().build().unwrap();
    assert_eq!(objection(&unaware, &chain.revoked), None);
}

#[test]
fn server_refuses_revoked_clients() {
    let chain = Chain::new();
    let server = Context::server(certs::server_identity())
        .trust_certificate(chain.root.certificate.clone())
        .client_certificates(ClientCertificates::Required)
        .crl_der(&chain.list().to_der().unwrap())
        .build()
        .unwrap();
    let client = |identity: &Identity| {
        Context::client()
            .trust_pem(&certs::authority().pem())
            .identity(identity.clone())
            .build()
            .unwrap()
    };
    Pair::connected(&(client(&chain.good), server.clone())).assert_works();
    let mut pair = Pair::new(&(client(&chain.revoked), server));
    pair.travel(Duration::from_secs(5));
    assert!(
        matches!(&pair.server_errors[0], Error::CertificateRejected { result, .. } if result.as_raw() == REVOKED),
        "{pair:?}"
    );
}

#[test]
fn whole_chain_is_asked_about_only_if_wanted() {
    let chain = Chain::new();
    let list = chain.list().to_der().unwrap();
    let roots = |revoked: &[&openssl_dtls::openssl::x509::X509Ref]| {
        revocation_list(&chain.root, revoked, NOT_AFTER)
            .to_der()
            .unwrap()
    };
    let thorough = || {
        chain
            .trusting()
            .crl_der(&list)
            .revocation(Revocation::Chain)
    };
    assert_eq!(
        objection(&thorough().build().unwrap(), &chain.good),
        Some(NO_LIST)
    );
    let all = thorough().crl_der(&roots(&[])).build().unwrap();
    assert_eq!(objection(&all, &chain.good), None);
    let above = roots(&[&chain.intermediate.certificate]);
    let all = thorough().crl_der(&above).build().unwrap();
    assert_eq!(objection(&all, &chain.good), Some(REVOKED));
    let leaf_only = chain.trusting().crl_der(&list).crl_der(&above);
    assert_eq!(objection(&leaf_only.build().unwrap(), &chain.good), None);
}

#[test]
fn stale_and_foreign_lists_are_no_lists() {
    let chain = Chain::new();
    let stale = revocation_list(&chain.intermediate, &[], "20250101000000Z");
    let client = chain.trusting().crl_der(&stale.to_der().unwrap());
    assert_eq!(
        objection(&client.build().unwrap(), &chain.good),
        Some(LIST_EXPIRED)
    );
    let foreign = revocation_list(certs::authority(), &[], NOT_AFTER);
    let client = chain.trusting().crl_der(&foreign.to_der().unwrap());
    assert_eq!(
        objection(&client.build().unwrap(), &chain.good),
        Some(NO_LIST)
    );
}

#[test]
fn contradictions_about_revocation_are_refused() {
    let chain = Chain::new();
    let list = chain.list().to_der().unwrap();
    let refused = chain.trusting().revocation(Revocation::Leaf).build();
    assert!(
        matches!(
            refused,
            Err(ConfigError::Contradiction {
                with: "no revocation list",
                ..
            })
        ),
        "{refused:?}"
    );
    let refused = Context::client()
        .crl_der(&list)
        .dangerous()
        .no_verification()
        .build();
    assert!(matches!(refused, Err(ConfigError::Contradiction { .. })));
    for bad in [
        chain.trusting().crl_pem(b"no list").build(),
        chain.trusting().crl_der(b"no list").build(),
        chain
            .trusting()
            .crl_pem(&chain.root.certificate.to_pem().unwrap())
            .build(),
    ] {
        assert!(
            matches!(
                bad,
                Err(ConfigError::Parse {
                    what: "revocation list",
                    ..
                })
            ),
            "{bad:?}"
        );
    }
    let missing = chain.trusting().crl_file("no/such/file").build();
    assert!(matches!(missing, Err(ConfigError::File { .. })));
}

fn staple(chain: &Chain, identity: &Identity, status: Status) -> OcspStaple {
    let certificate = identity.certificate();
    let issuer = &chain.intermediate;
    let der = ocsp_response(certificate, issuer, issuer, status, NOT_AFTER);
    OcspStaple::from_der(&der).unwrap()
}

/// A client that has an opinion about staples, and a server that shows `staple`.
fn stapling_pair(chain: &Chain, stapling: OcspStapling, staple: Option<OcspStaple>) -> Pair {
    let client = chain.trusting().ocsp_stapling(stapling).build().unwrap();
    let expected = chain.good.certificate().to_der().unwrap();
    let server = Context::server(chain.good.clone())
        .ocsp_staple(move |certificate| {
            assert_eq!(certificate.to_der().unwrap(), expected);
            staple.clone()
        })
        .build()
        .unwrap();
    Pair::new(&(client, server))
}

#[test]
fn good_staple_is_checked_and_told() {
    let chain = Chain::new();
    let good = staple(&chain, &chain.good, Status::Good);
    for stapling in [OcspStapling::Request, OcspStapling::Require] {
        let mut pair = stapling_pair(&chain, stapling, Some(good.clone()));
        pair.handshake();
        pair.assert_works();
        let info = pair.client.handshake_info().unwrap();
        assert_eq!(info.ocsp_staple(), Some(good.as_der()));
    }
    // Nobody asks.
    let server = Context::server(chain.good.clone())
        .ocsp_staple(|_| panic!("no client asked"))
        .build()
        .unwrap();
    let pair = Pair::connected(&(chain.trusting().build().unwrap(), server));
    assert_eq!(pair.client.handshake_info().unwrap().ocsp_staple(), None);
}

#[test]
fn missing_staple_matters_only_if_one_is_required() {
    let chain = Chain::new();
    let mut pair = stapling_pair(&chain, OcspStapling::Request, None);
    pair.handshake();
    pair.assert_works();
    let mut pair = stapling_pair(&chain, OcspStapling::Require, None);
    assert_eq!(problem(&mut pair), StapleProblem::Missing);
    // A pre-shared key has no status.
    let client = chain
        .trusting()
        .psk(psk())
        .cipher_list("PSK-AES128-GCM-SHA256")
        .ocsp_stapling(OcspStapling::Require)
        .build()
        .unwrap();
    let server = Context::server(PskLookup::single(psk())).build().unwrap();
    Pair::connected(&(client, server)).assert_works();
}

fn problem(pair: &mut Pair) -> StapleProblem {
    pair.travel(Duration::from_secs(20));
    assert!(
        matches!(
            pair.server_errors[0],
            Error::AlertReceived { alert: Alert(113) }
        ),
        "{pair:?}"
    );
    match pair.client_error {
        Some(Error::CertificateStatus(problem)) => problem,
        _ => panic!("{pair:?}"),
    }
}

#[test]
fn bad_staples_are_refused() {
    let chain = Chain::new();
    let good = chain.good.certificate();
    let issuer = &chain.intermediate;
    let stranger = Authority::root("stranger", certs::ec_key());
    for (der, expected) in [
        (
            ocsp_response(good, issuer, issuer, Status::Revoked, NOT_AFTER),
            StapleProblem::Revoked,
        ),
        (
            ocsp_response(good, issuer, issuer, Status::Unknown, NOT_AFTER),
            StapleProblem::UnknownCertificate,
        ),
        (
            ocsp_response(good, issuer, issuer, Status::Good, "20250101000000Z"),
            StapleProblem::OutOfDate,
        ),
        (
            ocsp_response(good, issuer, &stranger, Status::Good, NOT_AFTER),
            StapleProblem::Untrusted,
        ),
    ] {
        let staple = OcspStaple::from_der(&der).unwrap();
        for stapling in [OcspStapling::Request, OcspStapling::Require] {
            let mut pair = stapling_pair(&chain, stapling, Some(staple.clone()));
            assert_eq!(problem(&mut pair), expected);
        }
    }
}

#[test]
fn staple_about_another_certificate_is_not_shown() {
    let chain = Chain::new();
    let other = staple(&chain, &chain.revoked, Status::Good);
    let mut pair = stapling_pair(&chain, OcspStapling::Request, Some(other.clone()));
    pair.handshake();
    assert_eq!(pair.client.handshake_info().unwrap().ocsp_staple(), None);
    let mut pair = stapling_pair(&chain, OcspStapling::Require, Some(other));
    assert_eq!(problem(&mut pair), StapleProblem::Missing);

    // Nor is any for a certificate that signed itself.
    let own = Authority::self_signed("localhost", certs::ec_key());
    let about_itself = ocsp_response(&own.certificate, &own, &own, Status::Good, NOT_AFTER);
    let about_itself = OcspStaple::from_der(&about_itself).unwrap();
    let identity = Identity::from_parts(vec![own.certificate.clone()], own.key.clone()).unwrap();
    let server = Context::server(identity)
        .ocsp_staple(move |_| Some(about_itself.clone()))
        .build()
        .unwrap();
    let client = Context::client()
        .trust_certificate(own.certificate.clone())
        .ocsp_stapling(OcspStapling::Request)
        .build()
        .unwrap();
    Pair::connected(&(client, server)).assert_works();
}

#[test]
fn staple_of_a_careless_server_is_refused() {
    let chain = Chain::new();
    let other = staple(&chain, &chain.revoked, Status::Good);
    let careless = move |builder: &mut SslContextBuilder| {
        builder.set_status_callback(move |ssl| {
            ssl.set_ocsp_status(other.as_der())?;
            Ok(true)
        })
    };
    let server = Context::server(chain.good.clone())
        .configure(careless)
        .build()
        .unwrap();
    let client = chain.trusting().ocsp_stapling(OcspStapling::Request);
    let mut pair = Pair::new(&(client.build().unwrap(), server));
    pair.travel(Duration::from_secs(100));
    match pair.client_error {
        Some(Error::CertificateStatus(problem)) => {
            assert_eq!(problem, StapleProblem::OtherCertificate);
        }
        // OpenSSL 3.6 and 4 do not send it, and get out of step.
        Some(Error::HandshakeTimeout) => {
            assert!(openssl_dtls::openssl::version::number() >= 0x3060_0000);
        }
        _ => panic!("{pair:?}"),
    }
}

#[test]
fn hazard_c47_what_is_no_response_cannot_be_stapled() {
    // A response that says internalError.
    let no_answer = [0x30, 0x03, 0x0a, 0x01, 0x02];
    for bad in [&b""[..], b"no response", &no_answer] {
        assert!(matches!(
            OcspStaple::from_der(bad),
            Err(ConfigError::Parse {
                what: "OCSP response",
                ..
            })
        ));
    }
}

#[test]
fn staples_cannot_be_checked_where_nobody_is_trusted() {
    let refused = Context::client()
        .ocsp_stapling(OcspStapling::Request)
        .dangerous()
        .no_verification()
        .build();
    assert!(
        matches!(
            refused,
            Err(ConfigError::Contradiction {
                what: "checking OCSP staples",
                ..
            })
        ),
        "{refused:?}"
    );
}
