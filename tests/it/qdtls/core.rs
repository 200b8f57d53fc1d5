//! What the facade needs of a connection.

use openssl_dtls::{Error, Mtu, TransportConfig};

use crate::support::{Pair, certificate_contexts, psk_contexts};

#[test]
fn refusing_an_established_peer_sends_it_a_fatal_alert() {
    for contexts in [
        psk_contexts(&TransportConfig::default()),
        certificate_contexts(&TransportConfig::default()),
    ] {
        for client_refuses in [true, false] {
            let mut pair = Pair::connected(&contexts);
            if client_refuses {
                pair.client.refuse();
            } else {
                pair.server_mut().refuse();
            }
            pair.travel(std::time::Duration::from_millis(50));
            let error = if client_refuses {
                pair.server_errors.first()
            } else {
                pair.client_error.as_ref()
            };
            assert!(
                matches!(error, Some(Error::AlertReceived { .. })),
                "{client_refuses} {error:?} {pair:?}"
            );
            assert!(!pair.client.is_established());
        }
    }
}

#[test]
fn shared_context_with_another_transport_uses_it() {
    let (client, server) = certificate_contexts(&TransportConfig::default());
    let small = TransportConfig::default().mtu(Mtu::new(300).unwrap());
    let server = server.with_transport(small).unwrap();
    let mut pair = Pair::connected(&(client, server));
    pair.assert_works();
    assert!(
        pair.to_client
            .log
            .iter()
            .all(|datagram| datagram.len() <= 300)
    );
    assert_eq!(pair.server().unwrap().mtu().bytes(), 300);
}
