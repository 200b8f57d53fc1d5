//! `openssl s_client` against our server.

use std::process::Command;

use openssl_dtls::openssl::ssl::SslVersion;
use openssl_dtls::{Alert, Context, Error, Mtu};

use super::super::{
    Files, GCM_SUITE, Peer, assert_alert, assert_rejected, assert_served, files, missing, quick,
    requiring_certificate, serving_certificate, serving_psk,
};
use super::{DTLS1_CIPHERS, PSK_SUITE, hex};
use crate::loopback::Server;
use crate::support::certs::{self, Authority};
use crate::support::{IDENTITY, KEY};

pub(super) fn s_client(server: &Server, arguments: &[&str]) -> Peer {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &server.address.to_string()]);
    Peer::start(command.args(arguments))
}

/// Starts it with trust in the authority, for `localhost`.
pub(super) fn trusting_s_client(server: &Server, files: &Files, arguments: &[&str]) -> Peer {
    let ca = files.authority(certs::authority());
    let mut all = vec![
        "-CAfile",
        &ca,
        "-verify_return_error",
        "-verify_hostname",
        "localhost",
    ];
    all.extend(arguments);
    s_client(server, &all)
}

/// Ends it as its user would: with the letter that does so.
fn quit(server: &Server, peer: &mut Peer) {
    peer.say("Q\n");
    server.closed();
    let status = peer.exit();
    assert!(status.success(), "{status}: {}", peer.printed());
}

#[test]
fn certificate_with_and_without_server_name() {
    if missing("openssl") {
        return;
    }
    let server = Server::new(&serving_certificate().build().unwrap());
    for (arguments, name) in [
        (
            &["-dtls", "-servername", "localhost"][..],
            Some("localhost"),
        ),
        (&["-dtls1_2", "-servername", "localhost"], Some("localhost")),
        (&["-dtls1_2", "-noservername"], None),
    ] {
        let files = Files::new();
        let mut peer = trusting_s_client(&server, &files, arguments);
        let info = server.connected();
        assert_eq!(info.version(), Some(SslVersion::DTLS1_2));
        assert_eq!(info.cipher_suite(), GCM_SUITE);
        assert_eq!(info.server_name(), name);
        peer.expect("ECDHE-ECDSA-AES256-GCM-SHA384");
        peer.expect("Verify return code: 0 (ok)");
        assert_served(&server, &mut peer);
        quit(&server, &mut peer);
    }
}

#[test]
fn mutual_certificates() {
    if missing("openssl") {
        return;
    }
    let server = Server::new(&requiring_certificate().build().unwrap());
    let files = Files::new();
    let credentials = files::named("client-1");
    let [cert, key] = files.identity("client", &credentials);
    let arguments = ["-dtls1_2", "-cert", &cert, "-key", &key];
    let mut peer = trusting_s_client(&server, &files, &arguments);
    let info = server.connected();
    assert_eq!(info.cipher_suite(), GCM_SUITE);
    // It sends the authority's, too.
    assert_eq!(info.peer_chain()[0], credentials.chain[0]);
    assert_served(&server, &mut peer);
    quit(&server, &mut peer);

    let peer = trusting_s_client(&server, &files, &["-dtls1_2"]);
    let error = server.failed();
    assert!(matches!(error, Error::NoPeerCertificate(_)), "{error:?}");
    peer.expect("alert handshake failure");

    let stranger = Authority::root("another authority", certs::ec_key());
    let leaf = certs::Leaf::named("client-2");
    let [cert, key] = files.identity("other", &files::Credentials::issue(&stranger, &leaf));
    let arguments = ["-dtls1_2", "-cert", &cert, "-key", &key];
    let peer = trusting_s_client(&server, &files, &arguments);
    assert_rejected(&server.failed(), 20);
    peer.expect("alert unknown ca");
}

#[test]
fn psk() {
    if missing("openssl") {
        return;
    }
    let server = Server::new(&serving_psk().build().unwrap());
    let key = hex(KEY);
    let identity = std::str::from_utf8(IDENTITY).unwrap();
    let arguments = |identity| {
        let ciphers = "ECDHE-PSK-CHACHA20-POLY1305";
        let key = key.as_str();
        [
            "-dtls1_2",
            "-psk",
            key,
            "-psk_identity",
            identity,
            "-cipher",
            ciphers,
        ]
    };
    let mut peer = s_client(&server, &arguments(identity));
    let info = server.connected();
    assert_eq!(info.cipher_suite(), PSK_SUITE);
    assert_eq!(info.psk_identity(), Some(IDENTITY));
    peer.expect("ECDHE-PSK-CHACHA20-POLY1305");
    assert_served(&server, &mut peer);
    quit(&server, &mut peer);

    let peer = s_client(&server, &arguments("nobody"));
    let error = server.failed();
    assert!(matches!(error, Error::UnknownPskIdentity(_)), "{error:?}");
    peer.expect("unknown psk identity");
}

#[test]
fn rsa_chain_in_fragments() {
    if missing("openssl") {
        return;
    }
    let (root, credentials) = files::rsa();
    let files = Files::new();
    let ca = files.authority(root);
    let narrow = quick().mtu(Mtu::new(500).unwrap());
    let context = Context::server(credentials.identity()).transport(narrow);
    let server = Server::new(&context.build().unwrap());
    let arguments = ["-dtls1_2", "-CAfile", &ca, "-verify_return_error"];
    let mut peer = s_client(&server, &arguments);
    assert_eq!(
        server.connected().cipher_suite(),
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
    );
    peer.expect("Verify return code: 0 (ok)");
    assert_served(&server, &mut peer);
    peer.say("Q\n");
    let stats = server.closed();
    assert!(stats.datagrams_sent >= 6, "{stats:?}");
}

#[test]
fn rsa_chain_of_the_client_in_fragments() {
    if missing("openssl") {
        return;
    }
    let (root, credentials) = files::rsa();
    let context = requiring_certificate().trust_pem(&root.pem());
    let server = Server::new(&context.build().unwrap());
    let files = Files::new();
    let [cert, key] = files.identity("client", credentials);
    let arguments = [
        "-dtls1_2",
        "-mtu",
        "500",
        "-cert",
        &cert,
        "-cert_chain",
        &cert,
        "-key",
        &key,
    ];
    let mut peer = trusting_s_client(&server, &files, &arguments);
    let info = server.connected();
    assert_eq!(info.cipher_suite(), GCM_SUITE);
    assert_eq!(info.peer_chain()[0], credentials.chain[0]);
    assert!(info.peer_chain().len() >= 2);
    assert_served(&server, &mut peer);
    peer.say("Q\n");
    let stats = server.closed();
    assert!(stats.datagrams_received >= 6, "{stats:?}");
}

#[test]
fn dtls1_0_at_security_level_0() {
    if missing("openssl") {
        return;
    }
    let arguments = ["-dtls1", "-cipher", DTLS1_CIPHERS];
    let files = Files::new();
    let old = serving_certificate().dangerous().allow_dtls1_0();
    let server = Server::new(&old.build().unwrap());
    let mut peer = trusting_s_client(&server, &files, &arguments);
    let info = server.connected();
    assert_eq!(info.version(), Some(SslVersion::DTLS1));
    assert_eq!(info.cipher_suite(), "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA");
    peer.expect("ECDHE-ECDSA-AES256-SHA");
    assert_served(&server, &mut peer);
    quit(&server, &mut peer);

    // Not by default.
    let server = Server::new(&serving_certificate().build().unwrap());
    let peer = trusting_s_client(&server, &files, &arguments);
    let error = server.failed();
    assert!(matches!(error, Error::NoSharedVersion(_)), "{error:?}");
    peer.expect("alert protocol version");
}

#[test]
fn its_refusals_are_told() {
    if missing("openssl") {
        return;
    }
    let files = Files::new();
    let ca = files.authority(certs::authority());
    let other = Authority::root("another authority", certs::ec_key());
    let other = files.write("other.pem", other.pem());
    let good = files::localhost;
    for (credentials, arguments, alert) in [
        (good(), &["-CAfile", &other][..], Alert::UNKNOWN_CA),
        (
            good(),
            &["-CAfile", &ca, "-verify_hostname", "other.example"],
            Alert::BAD_CERTIFICATE,
        ),
        (
            files::expired(),
            &["-CAfile", &ca],
            Alert::CERTIFICATE_EXPIRED,
        ),
    ] {
        let context = Context::server(credentials.identity()).transport(quick());
        let server = Server::new(&context.build().unwrap());
        let arguments = [&["-dtls1_2", "-verify_return_error"][..], arguments].concat();
        let peer = s_client(&server, &arguments);
        assert_alert(&server.failed(), alert);
        peer.expect("certificate verify failed");
    }
}

#[test]
fn no_common_suite() {
    if missing("openssl") {
        return;
    }
    let context = serving_certificate().cipher_list("ECDHE-ECDSA-CHACHA20-POLY1305");
    let server = Server::new(&context.build().unwrap());
    let arguments = ["-dtls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"];
    let peer = s_client(&server, &arguments);
    let error = server.failed();
    assert!(matches!(error, Error::NoSharedCipherSuite(_)), "{error:?}");
    peer.expect("alert handshake failure");
}

#[test]
fn hazard_c33_renegotiation_is_refused() {
    if missing("openssl") {
        return;
    }
    let server = Server::new(&serving_certificate().build().unwrap());
    let files = Files::new();
    let mut peer = trusting_s_client(&server, &files, &["-dtls1_2"]);
    server.connected();
    assert_served(&server, &mut peer);
    peer.say("R\n");
    // It takes a refusal for the end.
    let error = server.failed();
    assert!(matches!(error, Error::AlertReceived { .. }), "{error:?}");
    assert!(!peer.exit().success());
    peer.expect("no renegotiation");

    // Of that connection, and not of the server.
    let mut peer = trusting_s_client(&server, &files, &["-dtls1_2"]);
    server.connected();
    assert_served(&server, &mut peer);
    quit(&server, &mut peer);
}
