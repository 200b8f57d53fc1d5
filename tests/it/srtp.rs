//! DTLS-SRTP and keying material, between our own ends.

use openssl_dtls::{
    Connection, Context, ExportError, PskLookup, SrtpKeys, SrtpProfile, TransportConfig,
};

use crate::support::{Pair, psk, psk_contexts};

fn contexts(offered: &[SrtpProfile], accepted: &[SrtpProfile]) -> (Context, Context) {
    let client = Context::client().psk(psk()).srtp(offered);
    let server = Context::server(PskLookup::single(psk())).srtp(accepted);
    (client.build().unwrap(), server.build().unwrap())
}

fn keys(connection: &Connection) -> SrtpKeys {
    connection.srtp_keys().unwrap()
}

#[test]
fn both_ends_get_the_same_keys_for_every_profile() {
    for &profile in SrtpProfile::ALL {
        if !profile.is_available() {
            let refused = Context::client().psk(psk()).srtp(&[profile]).build();
            assert!(refused.is_err(), "{profile}");
            continue;
        }
        let mut pair = Pair::connected(&contexts(&[profile], &[profile]));
        pair.assert_works();
        let server = pair.server().unwrap();
        for end in [&pair.client, server] {
            let info = end.handshake_info().unwrap();
            assert_eq!(info.srtp_profile(), Some(profile));
            let keys = keys(end);
            for side in [keys.client(), keys.server()] {
                assert_eq!(side.key().len(), profile.key_len());
                assert_eq!(side.salt().len(), profile.salt_len());
            }
            assert_ne!(keys.client().key(), keys.server().key());
        }
        let (ours, theirs) = (keys(&pair.client), keys(server));
        assert_eq!(ours.outbound().key(), theirs.inbound().key());
        assert_eq!(ours.outbound().salt(), theirs.inbound().salt());
        assert_eq!(ours.inbound().key(), theirs.outbound().key());
        assert_eq!(ours.inbound().salt(), theirs.outbound().salt());
    }
}

#[test]
fn server_chooses_by_its_own_preference() {
    use SrtpProfile::{AeadAes128Gcm, AeadAes256Gcm, Aes128CmSha1_80};
    let pair = Pair::connected(&contexts(
        &[Aes128CmSha1_80, AeadAes128Gcm, AeadAes256Gcm],
        &[AeadAes256Gcm, Aes128CmSha1_80],
    ));
    let info = pair.client.handshake_info().unwrap();
    assert_eq!(info.srtp_profile(), Some(AeadAes256Gcm));
}

#[test]
fn ends_without_a_common_profile_go_on_without_keys() {
    use SrtpProfile::{AeadAes128Gcm, Aes128CmSha1_80};
    for (offered, accepted) in [
        (&[AeadAes128Gcm][..], &[Aes128CmSha1_80][..]),
        (&[AeadAes128Gcm], &[]),
        (&[], &[Aes128CmSha1_80]),
    ] {
        let mut pair = Pair::connected(&contexts(offered, accepted));
        pair.assert_works();
        for end in [&pair.client, pair.server().unwrap()] {
            assert_eq!(end.handshake_info().unwrap().srtp_profile(), None);
            assert!(matches!(end.srtp_keys(), Err(ExportError::NoSrtpProfile)));
        }
    }
}

fn exported(connection: &Connection, label: &str, context: Option<&[u8]>) -> [u8; 48] {
    let mut out = [0; 48];
    connection
        .export_keying_material(&mut out, label, context)
        .unwrap();
    out
}

#[test]
fn keying_material_depends_on_connection_label_and_context() {
    let contexts = psk_contexts(&TransportConfig::default());
    let pair = Pair::connected(&contexts);
    let server = pair.server().unwrap();
    let label = "EXPERIMENTAL test";
    let mut seen = Vec::new();
    for (label, context) in [
        (label, None),
        (label, Some(&b""[..])),
        (label, Some(b"context")),
        ("EXPERIMENTAL other", None),
    ] {
        let material = exported(&pair.client, label, context);
        assert_eq!(material, exported(server, label, context));
        assert!(!seen.contains(&material), "{label} {context:?}");
        seen.push(material);
    }
    let other = Pair::connected(&contexts);
    assert!(!seen.contains(&exported(&other.client, label, None)));
    let refused = pair
        .client
        .export_keying_material(&mut [0; 16], "master secret", None);
    assert!(matches!(refused, Err(ExportError::OpenSsl(_))));
}

#[test]
fn keying_material_is_there_while_the_connection_is() {
    use SrtpProfile::AeadAes128Gcm;
    let contexts = contexts(&[AeadAes128Gcm], &[AeadAes128Gcm]);
    let mut pair = Pair::new(&contexts);
    let mut out = [0; 16];
    let refused = pair.client.export_keying_material(&mut out, "label", None);
    assert!(matches!(refused, Err(ExportError::NotEstablished)));
    assert!(matches!(
        pair.client.srtp_keys(),
        Err(ExportError::NotEstablished)
    ));
    pair.handshake();
    let before = exported(&pair.client, "EXPERIMENTAL test", None);
    pair.assert_works();
    pair.client.release_buffers();
    assert_eq!(exported(&pair.client, "EXPERIMENTAL test", None), before);
    pair.assert_works();
    pair.client.close();
    assert!(matches!(
        pair.client.srtp_keys(),
        Err(ExportError::NotEstablished)
    ));
}

#[test]
fn srtp_keys_do_not_appear_in_debug_output() {
    use SrtpProfile::Aes128CmSha1_80;
    let pair = Pair::connected(&contexts(&[Aes128CmSha1_80], &[Aes128CmSha1_80]));
    let keys = keys(&pair.client);
    let printed = format!("{keys:?} {:?} {:?}", keys.client(), pair.client);
    for secret in [keys.client().key(), keys.server().salt()] {
        assert!(!printed.contains(&hex::encode(secret)));
        assert!(!printed.contains(&format!("{secret:?}")));
    }
    assert!(printed.contains("Aes128CmSha1_80"));
}

#[cfg(feature = "udp")]
mod sockets {
    //! The same over sockets.

    use std::sync::mpsc;
    use std::thread;

    use openssl_dtls::udp::blocking::{Client, Handler, Peer, Server, ServerConfig};
    use openssl_dtls::{ExportError, SrtpKeys, SrtpProfile};

    use super::contexts;
    use crate::loopback::DEADLINE;

    /// Hands out what it learns of each peer that completes its handshake.
    struct Learns(mpsc::Sender<(SrtpKeys, [u8; 32])>);

    impl Handler for Learns {
        fn connected(&mut self, peer: &mut Peer<'_>) {
            let mut material = [0; 32];
            peer.export_keying_material(&mut material, "EXPERIMENTAL test", Some(b"context"))
                .unwrap();
            self.0.send((peer.srtp_keys().unwrap(), material)).unwrap();
            peer.server().stop();
        }

        fn message(&mut self, _peer: &mut Peer<'_>, _message: &[u8]) {}
    }

    #[test]
    fn blocking_client_and_server_agree_on_keys() {
        let profiles = [SrtpProfile::AeadAes256Gcm];
        let (client, server) = contexts(&profiles, &profiles);
        let server =
            Server::bind("127.0.0.1:0".parse().unwrap(), &server, ServerConfig::new()).unwrap();
        let address = server.local_addr().unwrap();
        let (tell, told) = mpsc::channel();
        let running = server.clone();
        let thread = thread::spawn(move || running.run(&mut Learns(tell)));
        let client = Client::connect(&client, address, None).unwrap();
        let (theirs, their_material) = told.recv_timeout(DEADLINE).unwrap();
        let ours = client.srtp_keys().unwrap();
        assert_eq!(ours.profile(), SrtpProfile::AeadAes256Gcm);
        assert_eq!(ours.outbound().key(), theirs.inbound().key());
        assert_eq!(ours.inbound().salt(), theirs.outbound().salt());
        let mut material = [0; 32];
        client
            .export_keying_material(&mut material, "EXPERIMENTAL test", Some(b"context"))
            .unwrap();
        assert_eq!(material, their_material);
        thread.join().unwrap().unwrap();
        client.close().unwrap();
        assert!(matches!(
            client.srtp_keys(),
            Err(ExportError::NotEstablished)
        ));
    }
}
