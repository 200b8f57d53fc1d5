//! Panics of the program's closures, which run inside libssl.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use openssl_dtls::{
    AddressProof, ClientCertificates, Connection, Context, PskLookup, SendError, ServerName,
    TransportConfig,
};

use crate::support::pair::{client_addr, server_addr};
use crate::support::{Pair, certificate_contexts, certs, clock, psk, psk_contexts};

/// What the panic that `run` ends with says.
fn panic_of(run: impl FnOnce()) -> String {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let outcome = catch_unwind(AssertUnwindSafe(run));
    std::panic::set_hook(hook);
    let payload = outcome.expect_err("a panic");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("a text")).to_owned(),
    }
}

/// The connection whose closure panicked can be called, closed and dropped.
fn assert_usable(connection: &mut Connection) {
    let now = clock::now();
    assert!(!connection.is_established());
    assert!(matches!(
        connection.send(b"no"),
        Err(SendError::NotEstablished | SendError::Closed)
    ));
    // libssl took the panic for a refusal, so at most it tells of a failure.
    connection.handle_timeout(now).unwrap_or_default();
    while connection.poll_transmit().is_some() {}
    connection
        .handle_timeout(now + Duration::from_secs(100))
        .unwrap_or_default();
    connection.close();
    assert!(connection.is_closed());
}

#[test]
fn hazard_c4_panic_in_verification_reaches_the_caller() {
    let client = Context::client()
        .trust_pem(&certs::authority().pem())
        .verify_callback(|_, _| panic!("on the client's side"))
        .build()
        .unwrap();
    let (_, server) = certificate_contexts(&TransportConfig::default());
    let mut pair = Pair::new(&(client, server));
    let text = panic_of(|| pair.travel(Duration::from_secs(1)));
    assert_eq!(text, "on the client's side");
    assert_usable(&mut pair.client);

    let server = Context::server(certs::server_identity())
        .trust_pem(&certs::authority().pem())
        .client_certificates(ClientCertificates::Required)
        .verify_callback(|_, _| panic!("on the server's side"))
        .build()
        .unwrap();
    let client = Context::client()
        .trust_pem(&certs::authority().pem())
        .identity(certs::client_identity())
        .build()
        .unwrap();
    let mut pair = Pair::new(&(client, server));
    let text = panic_of(|| pair.travel(Duration::from_secs(1)));
    assert_eq!(text, "on the server's side");
    assert_usable(pair.server_mut());
}

#[test]
fn hazard_c4_panic_in_a_key_look_up_reaches_the_caller_and_nobody_else() {
    let look_up = PskLookup::new(|identity| match identity {
        b"bad" => panic!("{} bytes", identity.len()),
        _ => Some(openssl_dtls::PskKey::new(crate::support::KEY).unwrap()),
    });
    let server = Context::server(look_up).build().unwrap();
    let bad = openssl_dtls::Psk::new(b"bad", crate::support::KEY).unwrap();
    let bad = Context::client().psk(bad).build().unwrap();
    let good = Context::client().psk(psk()).build().unwrap();
    let mut pair = Pair::new(&(bad, server.clone()));
    let mut other = Pair::new(&(good.clone(), server.clone()));
    other.travel(Duration::from_millis(20));
    let text = panic_of(|| pair.travel(Duration::from_secs(1)));
    assert_eq!(text, "3 bytes");
    assert_usable(pair.server_mut());
    drop(pair);
    // Connections that were under way, and new ones on the same context and thread.
    other.handshake();
    other.assert_works();
    Pair::connected(&(good, server)).assert_works();
}

#[test]
fn hazard_c4_panic_in_a_callback_that_fails_the_call_and_in_one_that_does_not() {
    // Accepting after the panic would let the handshake go on: the panic must come through all the same.
    let client = Context::client()
        .trust_pem(&certs::authority().pem())
        .verify_callback(|good, chain| {
            assert!(good);
            assert!(chain.error_depth() != 0, "the leaf");
            true
        })
        .build()
        .unwrap();
    let (_, server) = certificate_contexts(&TransportConfig::default());
    let proof = AddressProof::ProvedElsewhere;
    let now = clock::now();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = Connection::client(&client, server_addr(), Some(name), now).unwrap();
    let mut server = Connection::server(&server, client_addr(), now, proof).unwrap();
    while let Some(transmit) = client.poll_transmit() {
        server.handle_datagram(now, transmit.contents).unwrap();
    }
    let mut datagrams = Vec::new();
    while let Some(transmit) = server.poll_transmit() {
        datagrams.push(transmit.contents.to_vec());
    }
    let text = panic_of(|| {
        for datagram in &datagrams {
            client.handle_datagram(now, datagram).unwrap();
        }
    });
    assert_eq!(text, "the leaf");
    assert_usable(&mut client);
    drop(client);
    // Nothing of it stays on this thread.
    Pair::connected(&psk_contexts(&TransportConfig::default())).assert_works();
}
