//! What the hellos agree on: server names, application protocols, fragment lengths, the extended master secret.

use std::time::Duration;

use openssl_dtls::openssl::ssl::SslContextBuilder;
use openssl_dtls::{
    Alert, AlpnPolicy, ConfigError, Connection, Context, ContextBuilder, Error, ForClient,
    ForServer, HandshakeInfo, Identity, MaxFragmentLength, SendError, ServerName, TransportConfig,
    UnknownName,
};

use crate::support::certs::{self, Leaf};
use crate::support::pair::{receive, server_addr};
use crate::support::{Pair, clock, psk_contexts};

fn client() -> ContextBuilder<ForClient> {
    Context::client().trust_pem(&certs::authority().pem())
}

fn server() -> ContextBuilder<ForServer> {
    Context::server(certs::server_identity())
}

fn identity(name: &str) -> Identity {
    certs::authority().issue(&Leaf::named(name))
}

fn rsa_identity(name: &str) -> Identity {
    certs::authority().issue(&Leaf {
        key: certs::rsa_key(2048),
        ..Leaf::named(name)
    })
}

/// A client that asks for `name`, and the server, before their handshake.
fn asking(client: &Context, server: &Context, name: &str) -> Pair {
    let mut pair = Pair::new(&(client.clone(), server.clone()));
    let name = ServerName::try_from(name).unwrap();
    pair.client = Connection::client(client, server_addr(), Some(name), clock::now()).unwrap();
    pair
}

/// The name in the certificate a client is shown that asks for `name`.
fn shown(client: &Context, server: &Context, name: &str) -> String {
    let mut pair = asking(client, server, name);
    pair.handshake();
    pair.assert_works();
    let certificate = client_info(&pair).peer_certificate().unwrap();
    let subject = certificate.subject_name().entries().next().unwrap();
    subject.data().to_string().unwrap()
}

fn client_info(pair: &Pair) -> &HandshakeInfo {
    pair.client.handshake_info().unwrap()
}

fn server_info(pair: &Pair) -> &HandshakeInfo {
    pair.server().unwrap().handshake_info().unwrap()
}

fn assert_alert(error: Option<&Error>, expected: Alert) {
    assert!(
        matches!(error, Some(Error::AlertReceived { alert }) if *alert == expected),
        "{error:?}"
    );
}

fn weaken(builder: &mut SslContextBuilder) {
    // SSL_OP_NO_EXTENDED_MASTER_SECRET, in ssl.h
    let no_ems = openssl_dtls::openssl::ssl::SslOptions::from_bits_retain(1);
    builder.set_options(no_ems);
}

#[test]
fn server_shows_the_identity_of_the_name_it_is_asked_for() {
    let client = client().build().unwrap();
    let server = server()
        .identity_for("a.example", identity("a.example"))
        .identity_for("B.example.", identity("b.example"))
        .identity_for("*.c.example", identity("*.c.example"))
        .identity_by_name(|name| name.ends_with(".d.example").then(|| identity(name)))
        .build()
        .unwrap();
    for (asked, expected) in [
        ("a.example", "a.example"),
        ("A.Example", "a.example"),
        ("b.example", "b.example"),
        ("x.c.example", "*.c.example"),
        ("x.d.example", "x.d.example"),
        ("localhost", "localhost"),
        ("127.0.0.1", "localhost"),
    ] {
        assert_eq!(shown(&client, &server, asked), expected, "{asked}");
    }
}

#[test]
fn unknown_name_is_shown_the_default_or_refused() {
    let client = client().dangerous().no_verification().build().unwrap();
    let knowing = || server().identity_for("a.example", identity("a.example"));
    let lenient = knowing().build().unwrap();
    assert_eq!(shown(&client, &lenient, "b.example"), "localhost");

    let strict = knowing().unknown_name(UnknownName::Refuse).build().unwrap();
    assert_eq!(shown(&client, &strict, "a.example"), "a.example");
    // No name is not an unknown one.
    assert_eq!(shown(&client, &strict, "127.0.0.1"), "localhost");
    let mut pair = asking(&client, &strict, "b.example");
    pair.travel(Duration::from_secs(5));
    assert!(
        matches!(&pair.server_errors[0], Error::UnknownServerName { name } if name == "b.example"),
        "{pair:?}"
    );
    assert_alert(pair.client_error.as_ref(), Alert::UNRECOGNIZED_NAME);
}

#[test]
fn names_and_signature_algorithms_choose_together() {
    let server = Context::server(vec![certs::server_identity(), rsa_identity("localhost")])
        .identity_for("a.example", identity("a.example"))
        .identity_for("a.example", rsa_identity("a.example"))
        .identity_for("b.example", identity("b.example"))
        .build()
        .unwrap();
    for (algorithm, suite) in [
        ("ECDSA+SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
        ("RSA-PSS+SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ] {
        let client = client().signature_algorithms(algorithm).build().unwrap();
        for name in ["localhost", "a.example"] {
            let mut pair = asking(&client, &server, name);
            pair.handshake();
            assert_eq!(client_info(&pair).cipher_suite(), suite);
            assert_eq!(client_info(&pair).verified_name(), Some(name));
        }
    }
    // The default's RSA key is no answer to a name that has an ECDSA key alone.
    let client = client()
        .cipher_list("ECDHE-RSA-AES256-GCM-SHA384")
        .build()
        .unwrap();
    let mut pair = asking(&client, &server, "b.example");
    pair.travel(Duration::from_secs(5));
    assert!(
        matches!(pair.server_errors[0], Error::NoSharedCipherSuite(_)),
        "{pair:?}"
    );
}

#[test]
fn contradictions_about_names_are_refused() {
    let refused = server().unknown_name(UnknownName::Refuse).build();
    assert!(matches!(refused, Err(ConfigError::Contradiction { .. })));
    for bad in ["no name", "192.0.2.1", "*", "*.", "a.*.example", ""] {
        let refused = server().identity_for(bad, identity("a.example")).build();
        assert!(
            matches!(&refused, Err(ConfigError::BadServerName { given }) if given == bad),
            "{bad}: {refused:?}"
        );
    }
    let twice = server()
        .identity_for("a.example", identity("a.example"))
        .identity_for("A.example", identity("a.example"))
        .build();
    assert!(matches!(
        twice,
        Err(ConfigError::SameKeyType { kind: "EC" })
    ));
    let twice = Context::server(vec![certs::server_identity(), identity("localhost")]).build();
    assert!(matches!(
        twice,
        Err(ConfigError::SameKeyType { kind: "EC" })
    ));
    let twice = client()
        .identity(identity("one"))
        .identity(identity("two"))
        .build();
    assert!(matches!(
        twice,
        Err(ConfigError::SameKeyType { kind: "EC" })
    ));
}

#[test]
#[should_panic(expected = "a choice that panics")]
fn panic_of_a_choice_by_name_goes_through() {
    let server = server()
        .identity_by_name(|_| panic!("a choice that panics"))
        .build()
        .unwrap();
    asking(&client().build().unwrap(), &server, "a.example").handshake();
}

#[test]
fn servers_order_decides_about_the_application_protocol() {
    let client = client()
        .application_protocols(["h2", "coap", "\u{e9}"])
        .build()
        .unwrap();
    for (ours, expected) in [
        (&["coap", "h2"][..], "coap"),
        (&["other", "\u{e9}"], "\u{e9}"),
    ] {
        let server = server().application_protocols(ours).build().unwrap();
        let pair = Pair::connected(&(client.clone(), server));
        for info in [client_info(&pair), server_info(&pair)] {
            assert_eq!(info.application_protocol(), Some(expected.as_bytes()));
        }
    }
}

#[test]
fn application_protocol_that_is_not_shared() {
    let client = |policy| {
        client()
            .application_protocols(["coap"])
            .alpn_policy(policy)
            .build()
            .unwrap()
    };
    let server = |policy| {
        server()
            .application_protocols(["webrtc"])
            .alpn_policy(policy)
            .build()
            .unwrap()
    };
    for policy in [AlpnPolicy::RefuseMismatch, AlpnPolicy::Require] {
        let mut pair = Pair::new(&(client(AlpnPolicy::GoOn), server(policy)));
        pair.travel(Duration::from_secs(5));
        assert!(
            matches!(pair.server_errors[0], Error::NoSharedApplicationProtocol(_)),
            "{pair:?}"
        );
        assert_alert(pair.client_error.as_ref(), Alert::NO_APPLICATION_PROTOCOL);
    }
    for policy in [AlpnPolicy::RefuseMismatch, AlpnPolicy::GoOn] {
        let mut pair = Pair::connected(&(client(policy), server(AlpnPolicy::GoOn)));
        pair.assert_works();
        assert_eq!(client_info(&pair).application_protocol(), None);
        assert_eq!(server_info(&pair).application_protocol(), None);
    }
    let mut pair = Pair::new(&(client(AlpnPolicy::Require), server(AlpnPolicy::GoOn)));
    pair.travel(Duration::from_secs(5));
    assert!(
        matches!(
            pair.client_error,
            Some(Error::NoSharedApplicationProtocol(_))
        ),
        "{pair:?}"
    );
}

#[test]
fn peer_without_application_protocols_is_welcome_unless_one_is_required() {
    let silent_client = client().build().unwrap();
    let silent_server = server().build().unwrap();
    let speaking = |policy| {
        (
            client()
                .application_protocols(["coap"])
                .alpn_policy(policy)
                .build()
                .unwrap(),
            server()
                .application_protocols(["coap"])
                .alpn_policy(policy)
                .build()
                .unwrap(),
        )
    };
    for policy in [AlpnPolicy::RefuseMismatch, AlpnPolicy::GoOn] {
        let (client, server) = speaking(policy);
        Pair::connected(&(silent_client.clone(), server)).assert_works();
        Pair::connected(&(client, silent_server.clone())).assert_works();
    }
    let (client, server) = speaking(AlpnPolicy::Require);
    let mut pair = Pair::new(&(client, silent_server));
    pair.travel(Duration::from_secs(5));
    assert!(
        matches!(
            pair.client_error,
            Some(Error::NoSharedApplicationProtocol(_))
        ),
        "{pair:?}"
    );
    // The server had thought the handshake good, and is told otherwise.
    assert!(
        matches!(pair.server_errors[..], [Error::AlertReceived { .. }]),
        "{pair:?}"
    );
    let mut pair = Pair::new(&(silent_client, server));
    pair.travel(Duration::from_secs(5));
    assert!(
        matches!(pair.server_errors[0], Error::NoSharedApplicationProtocol(_)),
        "{pair:?}"
    );
}

#[test]
fn malformed_application_protocols_are_refused() {
    let long = "x".repeat(256);
    for bad in ["", &long] {
        for refused in [
            client().application_protocols(["coap", bad]).build(),
            server().application_protocols([bad]).build(),
        ] {
            assert!(
                matches!(&refused, Err(ConfigError::BadApplicationProtocol { given }) if given == bad.as_bytes()),
                "{refused:?}"
            );
        }
    }
    let many = std::iter::repeat_n("x".repeat(255), 257);
    let refused = client().application_protocols(many).build();
    assert!(matches!(refused, Err(ConfigError::OutOfRange { .. })));
    let refused = client().alpn_policy(AlpnPolicy::Require).build();
    assert!(matches!(refused, Err(ConfigError::Contradiction { .. })));
}

#[test]
fn required_extended_master_secret_is_checked_before_a_message_passes() {
    let old = |builder: &mut SslContextBuilder| {
        weaken(builder);
        Ok(())
    };
    let good = (
        client().require_extended_master_secret().build().unwrap(),
        server().require_extended_master_secret().build().unwrap(),
    );
    let mut pair = Pair::connected(&good);
    pair.assert_works();
    assert!(client_info(&pair).has_extended_master_secret());
    assert!(server_info(&pair).has_extended_master_secret());

    let (strict_client, strict_server) = good;
    let old_client = client().configure(old).build().unwrap();
    let old_server = server().configure(old).build().unwrap();
    let mut pair = Pair::new(&(strict_client, old_server.clone()));
    pair.travel(Duration::from_secs(5));
    assert!(
        matches!(pair.client_error, Some(Error::NoExtendedMasterSecret)),
        "{pair:?}"
    );
    assert!(pair.client.is_closed());
    assert!(
        matches!(pair.server_errors[..], [Error::AlertReceived { .. }]),
        "{pair:?}"
    );

    // A message right behind the client's Finished is not taken.
    let mut pair = Pair::new(&(old_client.clone(), strict_server));
    pair.travel(Duration::from_secs(5));
    assert!(
        matches!(pair.server_errors[0], Error::NoExtendedMasterSecret),
        "{pair:?}"
    );
    assert!(pair.server().is_none(), "{pair:?}");

    let pair = Pair::connected(&(old_client, old_server));
    assert!(!client_info(&pair).has_extended_master_secret());
}

#[test]
fn agreed_fragment_length_limits_messages_of_both_ends() {
    let transport = TransportConfig::default();
    for (length, bytes) in [
        (MaxFragmentLength::Bytes512, 512),
        (MaxFragmentLength::Bytes1024, 1024),
        (MaxFragmentLength::Bytes2048, 1200),
        (MaxFragmentLength::Bytes4096, 1200),
    ] {
        let client = client().max_fragment_length(length).build().unwrap();
        let mut pair = Pair::connected(&(client, server().build().unwrap()));
        for info in [client_info(&pair), server_info(&pair)] {
            assert_eq!(info.max_fragment_length(), Some(length));
        }
        for end in 0..2 {
            let connection = if end == 0 {
                &mut pair.client
            } else {
                pair.server_mut()
            };
            let limit = connection.data_mtu().unwrap();
            assert!(limit <= bytes && limit + 60 > bytes, "{limit} of {bytes}");
            let too_long = vec![7; limit + 1];
            assert!(matches!(
                connection.send(&too_long),
                Err(SendError::TooLarge { max }) if max == limit
            ));
            connection.send(&too_long[1..]).unwrap();
            pair.travel(Duration::from_millis(50));
            let got = if end == 0 {
                receive(pair.server_mut())
            } else {
                receive(&mut pair.client)
            };
            assert_eq!(got.map(|got| got.len()), Some(limit));
        }
        pair.assert_works();
    }
    let pair = Pair::connected(&psk_contexts(&transport));
    assert_eq!(client_info(&pair).max_fragment_length(), None);
}

#[test]
fn oversize_messages_respect_the_agreed_fragment_length() {
    let transport = TransportConfig::default().allow_oversize(true);
    let client = client()
        .max_fragment_length(MaxFragmentLength::Bytes2048)
        .transport(transport.clone())
        .build()
        .unwrap();
    let server = server().transport(transport).build().unwrap();
    let mut pair = Pair::connected(&(client, server));
    assert!(matches!(
        pair.server_mut().send(&[7; 2049]),
        Err(SendError::TooLarge { max: 2048 })
    ));
    assert_eq!(pair.server_says(&[7; 2048]).unwrap().len(), 2048);
    assert_eq!(pair.client_says(&[7; 2048]).unwrap().len(), 2048);
}
