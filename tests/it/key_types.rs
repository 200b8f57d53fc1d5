//! Which types of keys certificates may have, by role: what libssl cannot use is refused when the context is built.

use openssl_dtls::openssl::pkey::{PKey, Private};
use openssl_dtls::{ClientCertificates, ConfigError, Context};

use crate::support::Pair;
use crate::support::certs::{self, Leaf};

fn keys() -> [(&'static str, PKey<Private>); 5] {
    [
        ("EC", certs::ec_key()),
        ("RSA", certs::rsa_key(2048)),
        ("RSA-PSS", certs::rsa_pss_key()),
        ("ED25519", PKey::generate_ed25519().unwrap()),
        ("ED448", PKey::generate_ed448().unwrap()),
    ]
}

/// Builds a context, and holds its connection and its refusal to what is expected of the type.
fn assert_usable(
    kind: &str,
    usable: bool,
    built: Result<Context, ConfigError>,
    pair: impl FnOnce(Context) -> Pair,
) {
    match built {
        Ok(context) => {
            assert!(usable, "{kind} was accepted");
            let mut pair = pair(context);
            pair.handshake();
            pair.assert_works();
        }
        Err(ConfigError::UnusableKey { kind: told }) => {
            assert!(!usable, "{kind} was refused");
            assert_eq!(told, kind);
        }
        Err(error) => panic!("{kind}: {error:?}"),
    }
}

#[test]
fn hazard_c46_server_keys_are_usable_or_refused() {
    for (kind, key) in keys() {
        let identity = certs::authority().issue(&Leaf {
            key,
            ..Leaf::named("localhost")
        });
        let server = Context::server(identity).build();
        let usable = matches!(kind, "EC" | "RSA");
        assert_usable(kind, usable, server, |server| {
            let client = Context::client().trust_pem(&certs::authority().pem());
            Pair::new(&(client.build().unwrap(), server))
        });
    }
}

#[test]
fn hazard_c46_client_keys_are_usable_or_refused() {
    for (kind, key) in keys() {
        let identity = certs::authority().issue(&Leaf {
            key,
            ..Leaf::named("a client")
        });
        let client = Context::client()
            .trust_pem(&certs::authority().pem())
            .identity(identity)
            .build();
        assert_usable(kind, true, client, |client| {
            let server = Context::server(certs::server_identity())
                .trust_pem(&certs::authority().pem())
                .client_certificates(ClientCertificates::Required)
                .build();
            Pair::new(&(client, server.unwrap()))
        });
    }
}
