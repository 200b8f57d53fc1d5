//! Where identities and trust come from, and every way in which a configuration can be wrong.

use std::fs;
use std::time::Duration;

use openssl_dtls::openssl::error::ErrorStack;
use openssl_dtls::openssl::nid::Nid;
use openssl_dtls::openssl::pkcs12::Pkcs12;
use openssl_dtls::openssl::ssl::SslVerifyMode;
use openssl_dtls::openssl::stack::Stack;
use openssl_dtls::openssl::symm::Cipher;
use openssl_dtls::openssl::x509::store::X509StoreBuilder;
use openssl_dtls::{
    ClientCertificates, ConfigError, Context, ContextBuilder, Error, ForClient, Identity, Mtu,
    PskLookup, TransportConfig,
};

use crate::support::certs::{self, Authority, Leaf};
use crate::support::{Pair, psk};

/// A leaf of an intermediate authority, with its key, and the root.
struct Chain {
    root: Authority,
    certificates: Vec<openssl_dtls::openssl::x509::X509>,
    key: openssl_dtls::openssl::pkey::PKey<openssl_dtls::openssl::pkey::Private>,
}

impl Chain {
    fn new() -> Chain {
        let root = Authority::root("root", certs::ec_key());
        let two = root
            .intermediate("one", certs::ec_key())
            .intermediate("two", certs::ec_key());
        let leaf = Leaf::named("localhost");
        Chain {
            root,
            certificates: two.issue_chain(&leaf),
            key: leaf.key,
        }
    }

    fn pem(&self) -> Vec<u8> {
        let pem = self.certificates.iter().map(|each| each.to_pem().unwrap());
        pem.collect::<Vec<_>>().concat()
    }

    fn trusting(&self) -> ContextBuilder<ForClient> {
        Context::client().trust_certificate(self.root.certificate.clone())
    }

    fn pkcs12(&self, password: &str, with_key: bool) -> Vec<u8> {
        let mut above = Stack::new().unwrap();
        for certificate in &self.certificates[1..] {
            above.push(certificate.clone()).unwrap();
        }
        let mut builder = Pkcs12::builder();
        builder.cert(&self.certificates[0]).ca(above);
        if with_key {
            builder.pkey(&self.key);
        }
        // Of a kind that needs no legacy provider.
        builder
            .key_algorithm(Nid::AES_256_CBC)
            .cert_algorithm(Nid::AES_256_CBC);
        builder.build2(password).unwrap().to_der().unwrap()
    }
}

#[test]
fn identities_come_in_every_format() {
    let chain = Chain::new();
    let (pem, key) = (chain.pem(), chain.key.private_key_to_pem_pkcs8().unwrap());
    let sealed = chain
        .key
        .private_key_to_pem_pkcs8_passphrase(Cipher::aes_128_cbc(), b"secret")
        .unwrap();
    let der: Vec<_> = chain
        .certificates
        .iter()
        .map(|each| each.to_der().unwrap())
        .collect();
    let der: Vec<_> = der.iter().map(Vec::as_slice).collect();
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    fs::write(path("chain.pem"), &pem).unwrap();
    fs::write(path("key.pem"), &key).unwrap();
    let (pkcs8, sec1) = (
        chain.key.private_key_to_pkcs8().unwrap(),
        chain.key.private_key_to_der().unwrap(),
    );
    for identity in [
        Identity::from_pem(&pem, &key),
        Identity::from_pem_encrypted(&pem, &sealed, b"secret"),
        Identity::from_der(&der, &pkcs8),
        Identity::from_der(&der, &sec1),
        Identity::from_parts(chain.certificates.clone(), chain.key.clone()),
        Identity::from_pkcs12(&chain.pkcs12("pass", true), "pass"),
        Identity::from_files(path("chain.pem"), path("key.pem")),
    ] {
        let server = Context::server(identity.unwrap()).build().unwrap();
        let pair = Pair::connected(&(chain.trusting().build().unwrap(), server));
        let shown = pair.client.handshake_info().unwrap().peer_chain_der();
        assert_eq!(shown, der);
    }
}

#[test]
fn identities_that_are_none_are_refused() {
    let chain = Chain::new();
    let (pem, key) = (chain.pem(), chain.key.private_key_to_pem_pkcs8().unwrap());
    let sealed = chain
        .key
        .private_key_to_pem_pkcs8_passphrase(Cipher::aes_128_cbc(), b"secret")
        .unwrap();
    let other = certs::ec_key();
    let parse = |refused: Result<Identity, ConfigError>, expected: &str| {
        assert!(
            matches!(&refused, Err(ConfigError::Parse { what, .. }) if *what == expected),
            "{expected}: {refused:?}"
        );
    };
    parse(Identity::from_pem(&pem, b"no key"), "private key");
    parse(Identity::from_pem(&pem, &sealed), "private key");
    let wrong = Identity::from_pem_encrypted(&pem, &sealed, b"wrong");
    parse(wrong, "private key");
    parse(Identity::from_der(&[b"none"], &pem), "private key");
    let pkcs8 = chain.key.private_key_to_pkcs8().unwrap();
    parse(Identity::from_der(&[b"none"], &pkcs8), "certificate");
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    parse(Identity::from_pem(broken, &key), "certificate");
    let archive = chain.pkcs12("pass", true);
    parse(Identity::from_pkcs12(&archive, "wrong"), "PKCS#12 archive");
    parse(Identity::from_pkcs12(&archive, "pa\0ss"), "PKCS#12 archive");
    parse(Identity::from_pkcs12(b"none", "pass"), "PKCS#12 archive");

    let keyless = Identity::from_pkcs12(&chain.pkcs12("pass", false), "pass");
    assert!(
        matches!(
            keyless,
            Err(ConfigError::NoPrivateKey | ConfigError::NoCertificate)
        ),
        "{keyless:?}"
    );
    for empty in [
        Identity::from_pem(b"", &key),
        Identity::from_der(&[], &pkcs8),
        Identity::from_parts(Vec::new(), other.clone()),
    ] {
        assert!(
            matches!(empty, Err(ConfigError::NoCertificate)),
            "{empty:?}"
        );
    }
    for foreign in [
        Identity::from_parts(chain.certificates.clone(), other.clone()),
        Identity::from_pem(&pem, &other.private_key_to_pem_pkcs8().unwrap()),
    ] {
        assert!(
            matches!(foreign, Err(ConfigError::KeyMismatch)),
            "{foreign:?}"
        );
    }
    let missing = Identity::from_files("no/such/chain", "no/such/key");
    assert!(
        matches!(&missing, Err(ConfigError::File { path, .. }) if path == "no/such/chain"),
        "{missing:?}"
    );
}

#[test]
fn trust_comes_from_every_source() {
    let chain = Chain::new();
    let root = &chain.root.certificate;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    fs::write(&file, chain.root.pem()).unwrap();
    // As `openssl rehash` names it.
    let hashed = format!("{:08x}.0", root.subject_name_hash());
    fs::write(directory.path().join(hashed), chain.root.pem()).unwrap();
    let two = [certs::authority().pem(), chain.root.pem()].concat();
    let store = || {
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(root.clone()).unwrap();
        store.build()
    };
    let identity = Identity::from_parts(chain.certificates.clone(), chain.key.clone()).unwrap();
    let server = Context::server(identity).build().unwrap();
    let others = certs::authority().pem();
    for client in [
        Context::client().trust_pem(&chain.root.pem()),
        Context::client().trust_pem(&two),
        Context::client().trust_der(&root.to_der().unwrap()),
        Context::client().trust_certificate(root.clone()),
        Context::client().trust_file(&file),
        Context::client().trust_directory(directory.path()),
        Context::client().trust_store(store()),
        Context::client().trust_store(store()).trust_pem(&others),
    ] {
        let client = client.build().unwrap();
        Pair::connected(&(client, server.clone())).assert_works();
    }
    // The system's authorities do not know ours; where it has none that is said at once.
    match Context::client().trust_system().build() {
        Ok(client) => {
            let mut pair = Pair::new(&(client, server));
            pair.travel(Duration::from_secs(20));
            assert!(
                matches!(pair.client_error, Some(Error::CertificateRejected { .. })),
                "{pair:?}"
            );
        }
        Err(error) => assert!(matches!(error, ConfigError::EmptyTrust), "{error:?}"),
    }
}

#[test]
fn trust_that_is_none_is_refused() {
    let server = || Context::server(certs::server_identity());
    for empty in [
        Context::client().build(),
        server()
            .client_certificates(ClientCertificates::Optional)
            .build(),
        server()
            .client_certificates(ClientCertificates::Required)
            .build(),
    ] {
        assert!(matches!(empty, Err(ConfigError::EmptyTrust)), "{empty:?}");
    }
    let none = Context::client().trust_pem(b"no certificate").build();
    assert!(matches!(none, Err(ConfigError::NoCertificate)), "{none:?}");
    let none = Context::client().trust_der(b"no certificate").build();
    assert!(
        matches!(
            none,
            Err(ConfigError::Parse {
                what: "certificate",
                ..
            })
        ),
        "{none:?}"
    );
    for missing in [
        Context::client().trust_file("no/such/place").build(),
        Context::client().trust_directory("no/such/place").build(),
    ] {
        assert!(
            matches!(&missing, Err(ConfigError::File { path, .. }) if path == "no/such/place"),
            "{missing:?}"
        );
    }
}

#[test]
fn hatch_cannot_turn_off_what_only_dangerous_may() {
    let trusting = || Context::client().trust_pem(&certs::authority().pem());
    let off = trusting()
        .configure(|builder| {
            builder.set_verify(SslVerifyMode::NONE);
            Ok(())
        })
        .build();
    assert!(
        matches!(
            off,
            Err(ConfigError::Weakened {
                what: "verification"
            })
        ),
        "{off:?}"
    );
    let lenient = Context::server(certs::server_identity())
        .trust_pem(&certs::authority().pem())
        .client_certificates(ClientCertificates::Required)
        .configure(|builder| {
            builder.set_verify(SslVerifyMode::PEER);
            Ok(())
        })
        .build();
    assert!(
        matches!(lenient, Err(ConfigError::Weakened { .. })),
        "{lenient:?}"
    );

    // The least version is set again behind it.
    let lowered = trusting()
        .configure(|builder| builder.set_min_proto_version(None))
        .build()
        .unwrap();
    let old = Context::server(certs::server_identity())
        .dangerous()
        .allow_dtls1_0()
        .max_version(openssl_dtls::openssl::ssl::SslVersion::DTLS1)
        .build()
        .unwrap();
    let mut pair = Pair::new(&(lowered, old));
    pair.travel(Duration::from_secs(5));
    assert!(!pair.is_established());

    let failed = trusting().configure(|_| Err(ErrorStack::get())).build();
    assert!(matches!(failed, Err(ConfigError::OpenSsl(_))), "{failed:?}");
}

#[test]
fn transport_is_checked_with_the_rest() {
    for bytes in [0, 255, 4097] {
        let refused = Mtu::new(bytes);
        assert!(
            matches!(refused, Err(ConfigError::MtuOutOfRange { given }) if given == bytes),
            "{refused:?}"
        );
    }
    let transport = TransportConfig::new().retransmission(Duration::ZERO, Duration::from_secs(1));
    for refused in [
        Context::client()
            .psk(psk())
            .transport(transport.clone())
            .build(),
        Context::server(PskLookup::single(psk()))
            .transport(transport)
            .build(),
    ] {
        assert!(
            matches!(refused, Err(ConfigError::OutOfRange { .. })),
            "{refused:?}"
        );
    }
}
