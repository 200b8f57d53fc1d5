//! Our client against `openssl s_server`.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use openssl_dtls::openssl::ssl::SslVersion;
use openssl_dtls::udp::blocking::ClientError;
use openssl_dtls::{Alert, Context, Error, Mtu, Psk, SendError, ServerName, TransportConfig};

use super::super::{
    Files, GCM_SUITE, Peer, assert_alert, assert_conversation, assert_rejected, connect, files,
    localhost, missing, quick, refusal, trusting,
};
use super::{DTLS1_CIPHERS, PSK_SUITE, hex};
use crate::support::certs::{self, Authority};
use crate::support::{IDENTITY, KEY, psk};

/// Starts it on a port that it picks and prints.
pub(super) fn s_server(arguments: &[&str]) -> (Peer, SocketAddr) {
    let mut command = Command::new("openssl");
    command.args(["s_server", "-accept", "127.0.0.1:0"]);
    let peer = Peer::start(command.args(arguments));
    let address = peer.rest_of_line("ACCEPT ").parse().unwrap();
    (peer, address)
}

/// Starts it with a certificate for `localhost`.
pub(super) fn s_server_with(
    credentials: &files::Credentials,
    arguments: &[&str],
) -> (Peer, SocketAddr) {
    let files = Files::new();
    let [cert, key] = files.identity("server", credentials);
    let mut all = vec!["-cert", &cert, "-cert_chain", &cert, "-key", &key];
    all.extend(arguments);
    // It has read its files when it prints its port.
    s_server(&all)
}

#[test]
fn certificate_in_every_mode() {
    if missing("openssl") {
        return;
    }
    let context = trusting(certs::authority()).build().unwrap();
    for mode in [&["-dtls"][..], &["-dtls1_2"], &["-dtls1_2", "-listen"]] {
        let (mut peer, address) = s_server_with(&files::localhost(), mode);
        let client = connect(&context, address, localhost()).unwrap();
        assert_conversation(&client, &mut peer);
        let info = client.handshake_info().unwrap();
        assert_eq!(info.version(), Some(SslVersion::DTLS1_2));
        assert_eq!(info.cipher_suite(), GCM_SUITE);
        assert_eq!(info.verified_name(), Some("localhost"));
        peer.expect("CIPHER is ECDHE-ECDSA-AES256-GCM-SHA384");
        assert_eq!(client.stats().drops.total(), 0, "{mode:?}");

        client.close().unwrap();
        assert!(client.stats().close_notify_sent);
        peer.expect("DONE");
    }
}

#[test]
fn server_name_chooses_the_certificate() {
    if missing("openssl") {
        return;
    }
    let files = Files::new();
    let [cert, key] = files.identity("second", &files::named("gateway.example"));
    let arguments = [
        "-dtls1_2",
        "-servername",
        "gateway.example",
        "-cert2",
        &cert,
        "-key2",
        &key,
    ];
    let context = trusting(certs::authority()).build().unwrap();
    for name in ["gateway.example", "127.0.0.1"] {
        let (mut peer, address) = s_server_with(&files::localhost(), &arguments);
        let server_name = ServerName::try_from(name).unwrap();
        let client = connect(&context, address, Some(server_name)).unwrap();
        assert_conversation(&client, &mut peer);
        // An address is checked against the first certificate, and not sent.
        let was_sent = peer.printed().contains("Hostname in TLS extension");
        assert_eq!(was_sent, name == "gateway.example", "{}", peer.printed());
    }
}

#[test]
fn mutual_certificates() {
    if missing("openssl") {
        return;
    }
    let files = Files::new();
    let ca = files.authority(certs::authority());
    let arguments = [
        "-dtls1_2",
        "-CAfile",
        &ca,
        "-Verify",
        "1",
        "-verify_return_error",
    ];
    let (mut peer, address) = s_server_with(&files::localhost(), &arguments);
    let context = trusting(certs::authority())
        .identity(certs::client_identity())
        .build()
        .unwrap();
    let client = connect(&context, address, localhost()).unwrap();
    assert_conversation(&client, &mut peer);
    assert_eq!(client.handshake_info().unwrap().cipher_suite(), GCM_SUITE);
    peer.expect("CN = client-1");

    let (peer, address) = s_server_with(&files::localhost(), &arguments);
    let context = trusting(certs::authority()).build().unwrap();
    assert_alert(&refusal(&context, address), Alert::HANDSHAKE_FAILURE);
    peer.expect("peer did not return a certificate");

    let stranger = Authority::root("another authority", certs::ec_key());
    let leaf = certs::Leaf::named("client-2");
    let context = trusting(certs::authority())
        .identity(stranger.issue(&leaf))
        .build()
        .unwrap();
    let (peer, address) = s_server_with(&files::localhost(), &arguments);
    assert_alert(&refusal(&context, address), Alert::UNKNOWN_CA);
    peer.expect("certificate verify failed");
}

#[test]
fn psk_with_and_without_hint() {
    if missing("openssl") {
        return;
    }
    let key = hex(KEY);
    let identity = std::str::from_utf8(IDENTITY).unwrap();
    let arguments = [
        "-dtls1_2",
        "-nocert",
        "-psk",
        &key,
        "-psk_identity",
        identity,
    ];
    let context = Context::client()
        .psk(psk())
        .transport(quick())
        .build()
        .unwrap();
    for hint in [&[][..], &["-psk_hint", "a hint"]] {
        let (mut peer, address) = s_server(&[&arguments[..], hint].concat());
        let client = connect(&context, address, None).unwrap();
        assert_conversation(&client, &mut peer);
        let info = client.handshake_info().unwrap();
        assert_eq!(info.cipher_suite(), PSK_SUITE);
        assert_eq!(info.psk_identity(), Some(IDENTITY));
        peer.expect("CIPHER is ECDHE-PSK-CHACHA20-POLY1305");
    }
}

#[test]
fn hazard_c55_wrong_psk_is_silence() {
    if missing("openssl") {
        return;
    }
    let key = hex(b"another sixteen.");
    let identity = std::str::from_utf8(IDENTITY).unwrap();
    let arguments = [
        "-dtls1_2",
        "-nocert",
        "-psk",
        &key,
        "-psk_identity",
        identity,
    ];
    let (peer, address) = s_server(&arguments);
    let transport = quick().handshake_timeout(Duration::from_secs(1));
    let context = Context::client()
        .psk(Psk::new(IDENTITY, KEY).unwrap())
        .transport(transport)
        .build()
        .unwrap();
    let error = refusal_without_name(&context, address);
    assert!(matches!(error, Error::HandshakeTimeout), "{error:?}");
    assert!(!peer.printed().contains("CIPHER is"), "{}", peer.printed());
}

fn refusal_without_name(context: &Context, address: SocketAddr) -> Error {
    match connect(context, address, None) {
        Err(ClientError::Connection(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rsa_chain_in_fragments() {
    if missing("openssl") {
        return;
    }
    let (root, credentials) = files::rsa();
    let context = trusting(root).build().unwrap();
    let arguments = ["-dtls1_2", "-mtu", "500"];
    let (mut peer, address) = s_server_with(credentials, &arguments);
    let client = connect(&context, address, localhost()).unwrap();
    assert_conversation(&client, &mut peer);
    let info = client.handshake_info().unwrap();
    assert_eq!(info.cipher_suite(), "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384");
    peer.expect("CIPHER is ECDHE-RSA-AES256-GCM-SHA384");
    assert_eq!(info.peer_chain(), credentials.chain);
    // Two certificates of 1.2 KB and more, in datagrams of 500 bytes.
    let stats = client.stats();
    assert!(stats.datagrams_received >= 6, "{stats:?}");
    assert_eq!(stats.drops.total(), 0, "{stats:?}");
}

#[test]
fn our_rsa_chain_in_fragments() {
    if missing("openssl") {
        return;
    }
    let (root, credentials) = files::rsa();
    let files = Files::new();
    let ca = files.authority(root);
    let arguments = [
        "-dtls1_2",
        "-CAfile",
        &ca,
        "-Verify",
        "2",
        "-verify_return_error",
    ];
    let (mut peer, address) = s_server_with(&files::localhost(), &arguments);
    let narrow = quick().mtu(Mtu::new(500).unwrap());
    let context = trusting(certs::authority())
        .identity(credentials.identity())
        .transport(narrow)
        .build()
        .unwrap();
    let client = connect(&context, address, localhost()).unwrap();
    assert_conversation(&client, &mut peer);
    assert_eq!(client.handshake_info().unwrap().cipher_suite(), GCM_SUITE);
    peer.expect("CN = rsa intermediate");
    let stats = client.stats();
    assert!(stats.datagrams_sent >= 6, "{stats:?}");
}

#[test]
fn dtls1_0_at_security_level_0() {
    if missing("openssl") {
        return;
    }
    let arguments = ["-dtls1", "-cipher", DTLS1_CIPHERS];
    let (mut peer, address) = s_server_with(&files::localhost(), &arguments);
    let old = trusting(certs::authority())
        .dangerous()
        .allow_dtls1_0()
        .build()
        .unwrap();
    let client = connect(&old, address, localhost()).unwrap();
    assert_conversation(&client, &mut peer);
    let info = client.handshake_info().unwrap();
    assert_eq!(info.version(), Some(SslVersion::DTLS1));
    assert_eq!(info.cipher_suite(), "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA");
    peer.expect("CIPHER is ECDHE-ECDSA-AES256-SHA");

    // Not by default.
    let (_peer, address) = s_server_with(&files::localhost(), &arguments);
    let context = trusting(certs::authority())
        .security_level(0)
        .cipher_list("ECDHE-ECDSA-AES256-SHA:ECDHE-ECDSA-AES256-GCM-SHA384");
    let error = refusal(&context.build().unwrap(), address);
    assert!(matches!(error, Error::NoSharedVersion(_)), "{error:?}");
}

#[test]
fn wrong_authority() {
    if missing("openssl") {
        return;
    }
    let other = Authority::root("another authority", certs::ec_key());
    let (peer, address) = s_server_with(&files::localhost(), &["-dtls1_2"]);
    let error = refusal(&trusting(&other).build().unwrap(), address);
    // X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    assert_rejected(&error, 20);
    peer.expect("unknown ca");
}

#[test]
fn wrong_authority_with_a_second_try() {
    if missing("openssl") {
        return;
    }
    let other = Authority::root("another authority", certs::ec_key());
    let (_peer, address) = s_server_with(&files::localhost(), &["-dtls1_2"]);
    let transport =
        TransportConfig::new().retransmission(Duration::from_millis(100), Duration::from_secs(1));
    let context = trusting(&other).transport(transport).build().unwrap();
    // The first answer could have been forged, so there is a second try; what is told is the same.
    assert_rejected(&refusal(&context, address), 20);
}

#[test]
fn wrong_name() {
    if missing("openssl") {
        return;
    }
    let (peer, address) = s_server_with(&files::named("other.example"), &["-dtls1_2"]);
    let error = refusal(&trusting(certs::authority()).build().unwrap(), address);
    // X509_V_ERR_HOSTNAME_MISMATCH
    assert_rejected(&error, 62);
    peer.expect("alert bad certificate");
}

#[test]
fn expired_certificate() {
    if missing("openssl") {
        return;
    }
    let (peer, address) = s_server_with(&files::expired(), &["-dtls1_2"]);
    let error = refusal(&trusting(certs::authority()).build().unwrap(), address);
    // X509_V_ERR_CERT_HAS_EXPIRED
    assert_rejected(&error, 10);
    peer.expect("certificate expired");
}

#[test]
fn no_common_suite() {
    if missing("openssl") {
        return;
    }
    let arguments = ["-dtls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"];
    let (peer, address) = s_server_with(&files::localhost(), &arguments);
    let context = trusting(certs::authority())
        .cipher_list("ECDHE-ECDSA-CHACHA20-POLY1305")
        .build()
        .unwrap();
    assert_alert(&refusal(&context, address), Alert::HANDSHAKE_FAILURE);
    peer.expect("no shared cipher");
}

#[test]
fn hazard_c33_request_to_renegotiate_is_refused() {
    if missing("openssl") {
        return;
    }
    let (mut peer, address) = s_server_with(&files::localhost(), &["-dtls1_2"]);
    let context = trusting(certs::authority()).build().unwrap();
    let client = connect(&context, address, localhost()).unwrap();
    assert_conversation(&client, &mut peer);
    peer.say("r\n");
    // We refuse, and it takes that for the end.
    match client.recv(&mut [0; 100]) {
        Err(ClientError::Connection(error)) => assert_alert(&error, Alert::HANDSHAKE_FAILURE),
        other => panic!("{other:?}"),
    }
    peer.expect("no renegotiation");
    assert!(matches!(
        client.send(b"late"),
        Err(ClientError::Send(SendError::Closed))
    ));
}
