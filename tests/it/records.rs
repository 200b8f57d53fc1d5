//! Records, versions, suites and groups: what is set, what is told, what is refused.

use std::time::Duration;

use openssl_dtls::openssl::ssl::{SslContextBuilder, SslMethod, SslVersion};
use openssl_dtls::openssl::x509::store::X509StoreBuilder;
use openssl_dtls::{
    ConfigError, Context, ContextBuilder, ForClient, ForServer, PskLookup, Role, SendError,
    TransportConfig,
};

use crate::support::certs::Leaf;
use crate::support::pair::receive;
use crate::support::settings::set_max_send_fragment;
use crate::support::{Pair, certs, psk, psk_contexts, records};

fn client() -> ContextBuilder<ForClient> {
    Context::client().trust_pem(&certs::authority().pem())
}

fn server() -> ContextBuilder<ForServer> {
    Context::server(certs::server_identity())
}

fn names(context: &Context) -> Vec<String> {
    let groups = context.supported_groups().unwrap();
    groups.iter().map(ToString::to_string).collect()
}

#[test]
fn send_fragment_limits_messages_and_handshake_fragments() {
    let (root, identity) = certs::rsa_chain();
    let client = Context::client().trust_certificate(root.certificate.clone());
    let server = Context::server(identity.clone()).max_send_fragment(512);
    let mut pair = Pair::connected(&(client.build().unwrap(), server.build().unwrap()));
    assert_eq!(pair.server().unwrap().data_mtu(), Some(512));
    assert!(pair.client.data_mtu().unwrap() > 1000);
    assert!(matches!(
        pair.server_mut().send(&[7; 513]),
        Err(SendError::TooLarge { max: 512 })
    ));
    assert_eq!(pair.server_says(&[7; 512]).unwrap().len(), 512);
    assert_eq!(pair.client_says(&[7; 1000]).unwrap().len(), 1000);
    // Header of the record, its payload, and what encryption adds.
    let handshake = pair.to_client.log.iter().flat_map(|datagram| {
        records(datagram)
            .into_iter()
            .filter(|record| record[0] == 22)
    });
    let longest = handshake.map(<[u8]>::len).max().unwrap();
    assert!((400..=13 + 12 + 512).contains(&longest), "{longest}");

    for bytes in [0, 511, 16_385, usize::MAX] {
        let refused = self::client().max_send_fragment(bytes).build();
        assert!(
            matches!(refused, Err(ConfigError::OutOfRange { .. })),
            "{bytes}: {refused:?}"
        );
    }
}

#[test]
fn send_fragment_of_a_hatch_or_of_an_adopted_context_is_found() {
    let transport = TransportConfig::default().allow_oversize(true);
    let mut theirs = SslContextBuilder::new(SslMethod::dtls()).unwrap();
    let mut store = X509StoreBuilder::new().unwrap();
    store
        .add_cert(certs::authority().certificate.clone())
        .unwrap();
    theirs.set_cert_store(store.build());
    set_max_send_fragment(&mut theirs, 700);
    let adopted = Context::adopt(theirs.build(), Role::Client, transport.clone()).unwrap();
    let server = server()
        .transport(transport)
        .configure(move |builder| {
            set_max_send_fragment(builder, 600);
            Ok(())
        })
        .build()
        .unwrap();
    let mut pair = Pair::connected(&(adopted, server));
    for (connection, limit) in [
        (&mut pair.client, 700),
        (pair.server.as_mut().unwrap(), 600),
    ] {
        let refused = connection.send(&vec![7; limit + 1]);
        assert!(
            matches!(refused, Err(SendError::TooLarge { max }) if max == limit),
            "{refused:?}"
        );
        connection.send(&vec![7; limit]).unwrap();
    }
    pair.travel(Duration::from_millis(50));
    assert_eq!(receive(pair.server_mut()).unwrap().len(), 700);
    assert_eq!(receive(&mut pair.client).unwrap().len(), 600);
}

#[test]
fn suites_are_told_in_order() {
    let context = client()
        .cipher_list("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-CCM:AES128-SHA")
        .build()
        .unwrap();
    assert_eq!(
        context.supported_suites().unwrap(),
        [
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_128_CCM",
            "TLS_RSA_WITH_AES_128_CBC_SHA"
        ]
    );
    let (client, server) = psk_contexts(&TransportConfig::default());
    for context in [client, server] {
        let suites = context.supported_suites().unwrap();
        assert_eq!(suites[0], "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256");
        assert!(
            suites.iter().all(|suite| suite.contains("PSK")),
            "{suites:?}"
        );
    }
    let suites = self::server().build().unwrap().supported_suites().unwrap();
    assert_eq!(suites[0], "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
    assert_eq!(suites.len(), 6);
    for suite in suites {
        assert!(suite.contains("ECDHE") && !suite.contains("CBC"), "{suite}");
    }
}

#[test]
fn groups_are_told_and_negotiated() {
    let default = ["X25519", "P-256", "P-384"];
    let psk_server = Context::server(PskLookup::single(psk())).build().unwrap();
    for context in [
        client().build().unwrap(),
        server().build().unwrap(),
        psk_server,
    ] {
        assert_eq!(names(&context), default);
    }
    // With ECDSA the certificate's group would have to be among them.
    let identity = certs::authority().issue(&Leaf {
        key: certs::rsa_key(2048),
        ..Leaf::named("localhost")
    });
    for group in ["X25519", "P-256", "P-384", "P-521", "X448"] {
        let client = client().groups(group).build().unwrap();
        assert_eq!(names(&client), [group]);
        let server = Context::server(identity.clone()).groups(&format!("brainpoolP256r1:{group}"));
        let pair = Pair::connected(&(client, server.build().unwrap()));
        for end in [&pair.client, pair.server().unwrap()] {
            let told = end.handshake_info().unwrap().group().unwrap();
            assert_eq!(told.name(), Some(group));
        }
    }
    let client = Context::client().psk(psk()).cipher_list("PSK-AES128-CCM");
    let (_, server) = psk_contexts(&TransportConfig::default());
    let pair = Pair::connected(&(client.build().unwrap(), server));
    assert_eq!(pair.client.handshake_info().unwrap().group(), None);
}

#[test]
fn lists_that_libssl_cannot_read_are_refused() {
    for (refused, expected) in [
        (client().cipher_list("no-such-suite").build(), "cipher list"),
        (client().cipher_list("").build(), "cipher list"),
        (client().groups("P-999").build(), "groups"),
        (
            client().signature_algorithms("no+such").build(),
            "signature algorithms",
        ),
    ] {
        assert!(
            matches!(&refused, Err(ConfigError::BadList { what, .. }) if *what == expected),
            "{expected}: {refused:?}"
        );
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    for refused in [
        client().security_level(6).build(),
        client().max_certificate_list(1023).build(),
        client().max_certificate_list(1024 * 1024 + 1).build(),
        server().security_level(u32::MAX).build(),
    ] {
        assert!(
            matches!(refused, Err(ConfigError::OutOfRange { .. })),
            "{refused:?}"
        );
    }
    for level in 0..=2 {
        assert!(server().security_level(level).build().is_ok(), "{level}");
    }
}

#[test]
fn security_level_that_leaves_no_suite_is_refused() {
    let refused = client()
        .cipher_list("ECDHE-ECDSA-AES128-GCM-SHA256")
        .security_level(5)
        .build();
    assert!(
        matches!(refused, Err(ConfigError::NoCipherSuites)),
        "{refused:?}"
    );
}

#[test]
fn versions_must_be_in_order_and_dtls_1_0_is_a_choice() {
    for refused in [
        client().max_version(SslVersion::DTLS1).build(),
        client().max_version(SslVersion::TLS1_2).build(),
        server()
            .dangerous()
            .allow_dtls1_0()
            .max_version(SslVersion::TLS1_3)
            .build(),
    ] {
        assert!(
            matches!(refused, Err(ConfigError::VersionRange)),
            "{refused:?}"
        );
    }
    let old = server()
        .dangerous()
        .allow_dtls1_0()
        .max_version(SslVersion::DTLS1)
        .build()
        .unwrap();
    assert!(
        old.supported_suites()
            .unwrap()
            .contains(&"TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA")
    );
}
