//! Pre-shared keys: identities, hints, look-ups that fail, and the suites that use them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssl_dtls::{Alert, ConfigError, Context, Error, Psk, PskKey, PskLookup};

use crate::support::{IDENTITY, KEY, Pair, certs, psk};

/// A failure of a look-up.
#[derive(Debug, thiserror::Error)]
#[error("the directory is down")]
struct Down;

fn server(look_up: PskLookup) -> Context {
    Context::server(look_up).build().unwrap()
}

fn client(psk: Psk) -> Context {
    Context::client().psk(psk).build().unwrap()
}

/// Runs a handshake that fails and answers the errors of client and server.
fn refused(contexts: &(Context, Context)) -> (Error, Error) {
    let mut pair = Pair::new(contexts);
    pair.travel(Duration::from_secs(5));
    let server = pair.server_errors.remove(0);
    (pair.client_error.take().unwrap(), server)
}

fn assert_alert(error: &Error, expected: Alert) {
    assert!(
        matches!(error, Error::AlertReceived { alert } if *alert == expected),
        "{error:?}"
    );
}

#[test]
fn each_of_many_identities_has_its_key() {
    let names: [&[u8]; 4] = [b"a", b"b", b"\xff\xfe not text \x80", &[b'x'; 255]];
    let psks = names.map(|name| Psk::new(name, &[b"key of ", name].concat()).unwrap());
    let server = server(PskLookup::table(psks.clone()));
    for psk in psks {
        let identity = psk.identity().to_vec();
        let mut pair = Pair::connected(&(client(psk), server.clone()));
        pair.assert_works();
        for end in [&pair.client, pair.server().unwrap()] {
            let info = end.handshake_info().unwrap();
            assert_eq!(info.psk_identity(), Some(&identity[..]));
        }
    }
    let nobody = client(Psk::new(b"c", b"key of c").unwrap());
    let (client_error, server_error) = refused(&(nobody, server));
    assert!(matches!(server_error, Error::UnknownPskIdentity(_)));
    assert_alert(&client_error, Alert::UNKNOWN_PSK_IDENTITY);
}

#[test]
fn longest_key_works() {
    let psk = Psk::new(IDENTITY, &[7; 512]).unwrap();
    let server = server(PskLookup::single(psk.clone()));
    Pair::connected(&(client(psk), server)).assert_works();
}

#[test]
fn empty_identity_is_a_choice() {
    let psk = Psk::unnamed(KEY).unwrap();
    let server = server(PskLookup::single(psk.clone()));
    let mut pair = Pair::connected(&(client(psk), server));
    pair.assert_works();
    let info = pair.server().unwrap().handshake_info().unwrap();
    assert_eq!(info.psk_identity(), Some(&b""[..]));
}

#[test]
fn client_chooses_by_the_hint() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let client = Context::client()
        .psk_by_hint(move |hint| {
            noted.lock().unwrap().push(hint.map(<[u8]>::to_vec));
            match hint {
                Some(b"plant \xff") => Psk::new(b"other", b"the other key").map(Some),
                Some(_) => Ok(None),
                None => Psk::new(IDENTITY, KEY).map(Some),
            }
        })
        .build()
        .unwrap();
    let keys = || PskLookup::table([psk(), Psk::new(b"other", b"the other key").unwrap()]);

    for (look_up, identity) in [
        (keys(), IDENTITY),
        (keys().with_hint(b"plant \xff").unwrap(), &b"other"[..]),
    ] {
        let mut pair = Pair::connected(&(client.clone(), server(look_up)));
        pair.assert_works();
        let info = pair.server().unwrap().handshake_info().unwrap();
        assert_eq!(info.psk_identity(), Some(identity));
    }
    assert_eq!(*seen.lock().unwrap(), [None, Some(b"plant \xff".to_vec())]);

    let unknown = server(keys().with_hint(&[b'h'; 255]).unwrap());
    let mut pair = Pair::new(&(client, unknown));
    pair.travel(Duration::from_secs(5));
    assert!(
        matches!(pair.client_error, Some(Error::UnknownPskIdentity(_))),
        "{pair:?}"
    );
}

#[test]
fn hint_is_ignored_by_clients_with_one_key() {
    let hinted = PskLookup::single(psk()).with_hint(b"plant-2").unwrap();
    Pair::connected(&(client(psk()), server(hinted))).assert_works();
}

#[test]
fn failed_look_up_on_the_server_is_told_with_its_cause() {
    let failing = PskLookup::fallible(|identity| match identity {
        b"sensor-7" => PskKey::new(KEY).map(Some).map_err(|_| Down),
        b"nobody" => Ok(None),
        _ => Err(Down),
    });
    let server = server(failing);
    Pair::connected(&(client(psk()), server.clone())).assert_works();

    let other = client(Psk::new(b"other", KEY).unwrap());
    let (client_error, server_error) = refused(&(other, server.clone()));
    match &server_error {
        Error::PskLookup(cause) => assert!(cause.is::<Down>(), "{cause:?}"),
        error => panic!("{error:?}"),
    }
    let cause = std::error::Error::source(&server_error).unwrap();
    assert_eq!(cause.to_string(), "the directory is down");
    assert_alert(&client_error, Alert::UNKNOWN_PSK_IDENTITY);

    let nobody = client(Psk::new(b"nobody", KEY).unwrap());
    let (_, server_error) = refused(&(nobody, server));
    assert!(
        matches!(server_error, Error::UnknownPskIdentity(_)),
        "{server_error:?}"
    );
}

#[test]
fn failed_look_up_on_the_client_ends_its_handshake_at_once() {
    let client = Context::client()
        .psk_by_hint(|_| Err(Down))
        .build()
        .unwrap();
    let mut pair = Pair::new(&(client, server(PskLookup::single(psk()))));
    pair.travel(Duration::from_secs(5));
    match &pair.client_error {
        Some(Error::PskLookup(cause)) => assert!(cause.is::<Down>()),
        _ => panic!("{pair:?}"),
    }
    assert_eq!(pair.client.stats().handshake_restarts, 0);
}

#[test]
#[should_panic(expected = "a look-up that panics")]
fn panic_of_a_look_up_goes_through() {
    let server = server(PskLookup::new(|_| panic!("a look-up that panics")));
    Pair::new(&(client(psk()), server)).handshake();
}

#[test]
fn every_suite_for_pre_shared_keys_works() {
    // Suites with tags of 8 bytes are below security level 1 in newer libssls.
    for (suite, name, level) in [
        (
            "ECDHE-PSK-CHACHA20-POLY1305",
            "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256",
            1,
        ),
        (
            "ECDHE-PSK-AES128-CBC-SHA256",
            "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256",
            1,
        ),
        (
            "PSK-AES256-GCM-SHA384",
            "TLS_PSK_WITH_AES_256_GCM_SHA384",
            1,
        ),
        (
            "PSK-CHACHA20-POLY1305",
            "TLS_PSK_WITH_CHACHA20_POLY1305_SHA256",
            1,
        ),
        ("PSK-AES128-CCM", "TLS_PSK_WITH_AES_128_CCM", 1),
        ("PSK-AES256-CCM", "TLS_PSK_WITH_AES_256_CCM", 1),
        ("PSK-AES128-CCM8", "TLS_PSK_WITH_AES_128_CCM_8", 0),
        ("PSK-AES256-CCM8", "TLS_PSK_WITH_AES_256_CCM_8", 0),
    ] {
        let client = Context::client()
            .psk(psk())
            .cipher_list(suite)
            .security_level(level);
        let server = Context::server(PskLookup::single(psk()))
            .cipher_list(suite)
            .security_level(level);
        let mut pair = Pair::connected(&(client.build().unwrap(), server.build().unwrap()));
        pair.assert_works();
        let info = pair.client.handshake_info().unwrap();
        assert_eq!(info.cipher_suite(), name);
    }
}

#[test]
fn hazard_c53_short_tags_need_security_level_0_where_libssl_says_so() {
    let build = |level| {
        Context::client()
            .psk(psk())
            .cipher_list("PSK-AES128-CCM8")
            .security_level(level)
            .build()
    };
    assert!(build(0).is_ok());
    match build(1) {
        // Every level will do.
        Ok(_) => assert!(openssl_dtls::openssl::version::number() < 0x3060_0000),
        Err(error) => assert!(matches!(error, ConfigError::NoCipherSuites), "{error:?}"),
    }
}

#[test]
fn rsa_and_finite_field_key_exchange_are_left_out() {
    for suite in ["RSA-PSK-AES128-GCM-SHA256", "DHE-PSK-AES128-GCM-SHA256"] {
        let client = Context::client().psk(psk()).cipher_list(suite).build();
        assert!(
            matches!(&client, Err(ConfigError::BadList { given, .. }) if given == suite),
            "{client:?}"
        );
        let look_up = PskLookup::single(psk());
        let server = Context::server((certs::server_identity(), look_up))
            .cipher_list(suite)
            .build();
        assert!(matches!(server, Err(ConfigError::BadList { .. })));

        let list = format!("{suite}:PSK-AES128-GCM-SHA256");
        let client = Context::client().psk(psk()).cipher_list(&list);
        let look_up = PskLookup::single(psk());
        let server = Context::server((certs::server_identity(), look_up)).cipher_list(&list);
        let pair = Pair::connected(&(client.build().unwrap(), server.build().unwrap()));
        let info = pair.client.handshake_info().unwrap();
        assert_eq!(info.cipher_suite(), "TLS_PSK_WITH_AES_128_GCM_SHA256");
    }
}

#[test]
fn server_with_keys_alone_has_no_suite_for_certificates() {
    let server = Context::server(PskLookup::single(psk()))
        .cipher_list("ECDHE-ECDSA-AES128-GCM-SHA256")
        .build();
    assert!(matches!(server, Err(ConfigError::NoCipherSuites)));
    let client = Context::client()
        .trust_pem(&certs::authority().pem())
        .cipher_list("PSK-AES128-GCM-SHA256")
        .build();
    assert!(matches!(client, Err(ConfigError::NoCipherSuites)));
}

#[test]
fn error_that_a_look_up_leaves_in_libcrypto_is_not_the_handshakes() {
    let leave = || {
        let unreadable = openssl_dtls::openssl::x509::X509::from_pem(b"no certificate");
        unreadable.unwrap_err().put();
    };
    let look_up = PskLookup::new(move |_| {
        leave();
        Some(PskKey::new(KEY).unwrap())
    });
    let client = Context::client()
        .psk_by_hint(move |_| {
            leave();
            Psk::new(IDENTITY, KEY).map(Some)
        })
        .build()
        .unwrap();
    Pair::connected(&(client, server(look_up))).assert_works();
}
