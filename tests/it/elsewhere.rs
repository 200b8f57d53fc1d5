//! Keys and algorithms that come from elsewhere: stores, library contexts, property queries.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use openssl_dtls::openssl::lib_ctx::LibCtx;
use openssl_dtls::openssl::provider::Provider;
use openssl_dtls::openssl::symm::Cipher;
use openssl_dtls::{ConfigError, Context, ContextBuilder, ForClient, ForServer, Identity};
use openssl_dtls::{PskLookup, load_private_key};

use crate::support::{Pair, certs, psk};

fn uri(path: &Path) -> String {
    format!("file:{}", path.display())
}

fn client() -> ContextBuilder<ForClient> {
    Context::client().trust_pem(&certs::authority().pem())
}

fn server() -> ContextBuilder<ForServer> {
    Context::server(certs::server_identity())
}

/// A library context with the provider `name` in it, for ever.
fn library(name: &str) -> &'static LibCtx {
    // Where a leak check finds them.
    static KEPT: Mutex<Vec<(&LibCtx, Provider)>> = Mutex::new(Vec::new());
    let library: &LibCtx = Box::leak(Box::new(LibCtx::new().unwrap()));
    let provider = Provider::load(Some(library), name).unwrap();
    KEPT.lock().unwrap().push((library, provider));
    library
}

#[test]
fn keys_and_certificates_come_from_stores() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    let key = certs::server_key();
    let (_, long_chain) = certs::rsa_chain();
    let certificate = certs::server_identity().certificate().to_pem().unwrap();
    let plain = key.private_key_to_pem_pkcs8().unwrap();
    let sealed = key
        .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"secret")
        .unwrap();
    fs::write(path("both.pem"), [&certificate[..], &plain].concat()).unwrap();
    fs::write(path("sealed.pem"), &sealed).unwrap();
    fs::write(path("chain.pem"), &certificate).unwrap();

    let both = uri(&path("both.pem"));
    let identities = [
        Identity::from_store(&both, &both, b"").unwrap(),
        Identity::from_store(
            &uri(&path("chain.pem")),
            &uri(&path("sealed.pem")),
            b"secret",
        )
        .unwrap(),
        Identity::from_parts(
            vec![certs::server_identity().certificate().clone()],
            load_private_key(&both, b"").unwrap(),
        )
        .unwrap(),
    ];
    for identity in identities {
        let server = Context::server(identity).build().unwrap();
        Pair::connected(&(client().build().unwrap(), server)).assert_works();
    }

    let chain = uri(&path("chain.pem"));
    assert!(matches!(
        load_private_key(&chain, b""),
        Err(ConfigError::NoPrivateKey)
    ));
    let sealed = uri(&path("sealed.pem"));
    assert!(matches!(
        Identity::from_store(&sealed, &both, b"secret"),
        Err(ConfigError::NoCertificate)
    ));
    for wrong in [&b"wrong"[..], b"", &[b'x'; 100_000]] {
        let refused = load_private_key(&sealed, wrong);
        assert!(
            matches!(
                refused,
                Err(ConfigError::Store { .. } | ConfigError::NoPrivateKey)
            ),
            "{refused:?}"
        );
    }
    for missing in ["file:/no/such/file", "no-such-scheme:key", "a\0b"] {
        assert!(matches!(
            load_private_key(missing, b""),
            Err(ConfigError::Store { uri, .. }) if uri == missing
        ));
    }
    fs::write(
        path("foreign.pem"),
        long_chain.certificate().to_pem().unwrap(),
    )
    .unwrap();
    assert!(matches!(
        Identity::from_store(&uri(&path("foreign.pem")), &both, b""),
        Err(ConfigError::KeyMismatch)
    ));
}

#[test]
fn algorithms_come_from_a_library_context_of_its_own() {
    let own = library("default");
    let client = client().library_context(own).build().unwrap();
    let server = server().library_context(own).build().unwrap();
    let mut pair = Pair::connected(&(client, server));
    pair.assert_works();

    let psk_client = Context::client().psk(psk()).library_context(own);
    let psk_server = Context::server(PskLookup::single(psk())).build().unwrap();
    Pair::connected(&(psk_client.build().unwrap(), psk_server)).assert_works();

    // The null provider has nothing.
    let empty = library("null");
    for refused in [
        self::client().library_context(empty).build(),
        self::server().library_context(empty).build(),
    ] {
        assert!(
            matches!(
                refused,
                Err(ConfigError::NoCipherSuites | ConfigError::OpenSsl(_))
            ),
            "{refused:?}"
        );
    }
}

#[test]
fn properties_choose_among_providers() {
    for query in ["provider=default", "?fips=yes"] {
        let contexts = (
            client().properties(query).build().unwrap(),
            server().properties(query).build().unwrap(),
        );
        Pair::connected(&contexts).assert_works();
    }
    // No such provider is loaded here.
    for query in ["fips=yes", "provider=nobody"] {
        for refused in [
            client().properties(query).build(),
            server().properties(query).build(),
        ] {
            assert!(
                matches!(
                    refused,
                    Err(ConfigError::NoCipherSuites | ConfigError::OpenSsl(_))
                ),
                "{query}: {refused:?}"
            );
        }
    }
    let refused = client().properties("fips=\0").build();
    assert!(
        matches!(
            &refused,
            Err(ConfigError::BadList {
                what: "property query",
                ..
            })
        ),
        "{refused:?}"
    );
}
