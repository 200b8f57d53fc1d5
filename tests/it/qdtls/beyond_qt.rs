//! What Qt does not test, and had better.

use openssl_dtls::qdtls::{DtlsError, HandshakeState};

use super::fixtures::{HOST, parties};
use super::network::{
    Ends, client_configuration, ipv4, ipv6, kind, mapped, server_configuration, verifier,
};

/// Passes the cookie exchange with `verifier` and answers the verified hello.
fn verified_hello(
    ends: &mut Ends,
    verifier: &mut openssl_dtls::qdtls::DtlsClientVerifier,
) -> Vec<u8> {
    ends.start();
    let peer = ends.addresses.0;
    loop {
        let datagram = ends.to_server.expect();
        if verifier
            .verify_client(&ends.to_client, &datagram, peer)
            .unwrap()
        {
            return verifier.verified_hello().to_vec();
        }
        let answer = ends.to_client.expect();
        ends.client.do_handshake(&ends.to_server, &answer).unwrap();
    }
}

#[test]
fn every_address_family() {
    for addresses in [ipv4(), ipv6(), mapped()] {
        let mut server = server_configuration();
        server.set_dtls_cookie_verification_enabled(true);
        parties().server.identify(&mut server);
        let mut client = client_configuration();
        client.set_ca_certificates(parties().authority.chain.clone());
        let mut ends = Ends::at(addresses, client, server, HOST);
        let hello = verified_hello(&mut ends, &mut verifier());
        let state = ends.server.do_handshake(&ends.to_client, &hello).unwrap();
        assert_eq!(state, HandshakeState::HandshakeInProgress);
        ends.exchange();
        ends.assert_success();
        ends.assert_works();
        assert!(
            ends.to_client
                .log
                .borrow()
                .iter()
                .all(|(to, _)| *to == addresses.0)
        );
        assert!(
            ends.to_server
                .log
                .borrow()
                .iter()
                .all(|(to, _)| *to == addresses.1)
        );
        ends.server.shutdown(&ends.to_client).unwrap();
        let closed = ends
            .client
            .decrypt_datagram(&ends.to_server, &ends.to_client.expect());
        assert_eq!(
            kind(&ends.client, closed),
            DtlsError::RemoteClosedConnectionError
        );

        // An address of its own stands for the name of a connected socket's peer.
        let mut server = server_configuration();
        parties().server.identify(&mut server);
        let mut client = client_configuration();
        client.set_ca_certificates(parties().authority.chain.clone());
        let mut ends = Ends::at(addresses, client, server, "");
        ends.to_server.connected = Some(addresses.1);
        ends.handshake();
    }
}
