//! GnuTLS's command line tools.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use openssl_dtls::openssl::ssl::SslVersion;
use openssl_dtls::{Context, Error, TransportConfig};

use super::{
    Files, GCM_SUITE, Peer, assert_echo, assert_rejected, assert_served, connect, files, localhost,
    missing, quick, refusal, requiring_certificate, serving_certificate, serving_psk, trusting,
};
use crate::loopback::Server;
use crate::support::certs::{self, Authority};
use crate::support::{IDENTITY, KEY, psk as our_psk};

/// Starts `gnutls-serv`, which sends back what it gets.
fn serv(arguments: &[&str]) -> (Peer, SocketAddr) {
    let command = |port: u16| {
        let mut command = Command::new("gnutls-serv");
        command.args(["--udp", "--echo", "--port", &port.to_string()]);
        command.args(arguments);
        command
    };
    // Said first of IPv4 and then of IPv6.
    Peer::start_on_free_port(command, "...done")
}

/// Starts `gnutls-serv` with a certificate.
fn serv_with(credentials: &files::Credentials, arguments: &[&str]) -> (Peer, SocketAddr) {
    let files = Files::new();
    let [cert, key] = files.identity("server", credentials);
    let mut all = vec!["--x509certfile", &cert, "--x509keyfile", &key];
    all.extend(arguments);
    serv(&all)
}

/// For refusals of `gnutls-serv`, which sends no alert over UDP.
fn impatient() -> TransportConfig {
    quick().handshake_timeout(Duration::from_secs(2))
}

/// Starts `gnutls-cli`.
fn cli(server: &Server, arguments: &[&str]) -> Peer {
    let mut command = Command::new("gnutls-cli");
    command.args(["--udp", "--port", &server.address.port().to_string()]);
    Peer::start(command.args(arguments).arg("127.0.0.1"))
}

/// Starts `gnutls-cli` with trust in the authority, for `localhost`.
fn trusting_cli(server: &Server, files: &Files, arguments: &[&str]) -> Peer {
    let ca = files.authority(certs::authority());
    let mut all = vec![
        "--x509cafile",
        &ca,
        "--verify-hostname",
        "localhost",
        "--sni-hostname",
        "localhost",
    ];
    all.extend(arguments);
    cli(server, &all)
}

#[test]
fn certificate_of_its_server() {
    if missing("gnutls-serv") {
        return;
    }
    let (peer, address) = serv_with(&files::localhost(), &["--disable-client-cert"]);
    let context = trusting(certs::authority()).build().unwrap();
    let client = connect(&context, address, localhost()).unwrap();
    assert_echo(&client, b"there and back again");
    peer.expect("there and back again");
    let info = client.handshake_info().unwrap();
    assert_eq!(info.version(), Some(SslVersion::DTLS1_2));
    assert_eq!(info.cipher_suite(), GCM_SUITE);
    assert_eq!(info.verified_name(), Some("localhost"));
    assert_eq!(client.stats().drops.total(), 0);
    client.close().unwrap();
    assert!(client.stats().close_notify_sent);

    // It goes on with the next peer.
    let client = connect(&context, address, localhost()).unwrap();
    assert_echo(&client, b"again");
}

#[test]
fn rsa_chain_of_its_server_in_fragments() {
    if missing("gnutls-serv") {
        return;
    }
    let (root, credentials) = files::rsa();
    let arguments = ["--disable-client-cert", "--mtu", "600"];
    let (_peer, address) = serv_with(credentials, &arguments);
    let client = connect(&trusting(root).build().unwrap(), address, localhost()).unwrap();
    assert_echo(&client, b"in pieces");
    let info = client.handshake_info().unwrap();
    assert_eq!(info.cipher_suite(), "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384");
    assert_eq!(info.peer_chain(), credentials.chain);
    let stats = client.stats();
    assert!(stats.datagrams_received >= 6, "{stats:?}");
}

#[test]
fn our_certificate_is_verified_by_its_server() {
    if missing("gnutls-serv") {
        return;
    }
    let files = Files::new();
    let ca = files.authority(certs::authority());
    let arguments = ["--x509cafile", &ca, "--require-client-cert"];
    let (peer, address) = serv_with(&files::localhost(), &arguments);
    let with_certificate = trusting(certs::authority()).identity(certs::client_identity());
    let client = connect(&with_certificate.build().unwrap(), address, localhost()).unwrap();
    assert_echo(&client, b"known");
    assert_eq!(client.handshake_info().unwrap().cipher_suite(), GCM_SUITE);
    client.close().unwrap();

    let without = trusting(certs::authority()).transport(impatient());
    let error = refusal(&without.build().unwrap(), address);
    assert!(matches!(error, Error::HandshakeTimeout), "{error:?}");
    peer.expect("No certificate was found");
}

#[test]
fn psk_of_its_server() {
    if missing("gnutls-serv") {
        return;
    }
    let files = Files::new();
    let identity = std::str::from_utf8(IDENTITY).unwrap();
    let keys = files.write("keys", format!("{identity}:{}\n", hex::encode(KEY)));
    let priority = "NORMAL:-KX-ALL:+ECDHE-PSK";
    let arguments = ["--pskpasswd", &keys, "--priority", priority];
    let (_peer, address) = serv(&arguments);
    let context = Context::client().psk(our_psk()).transport(quick());
    let client = connect(&context.build().unwrap(), address, None).unwrap();
    assert_echo(&client, b"shared");
    let info = client.handshake_info().unwrap();
    assert_eq!(
        info.cipher_suite(),
        "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256"
    );
    assert_eq!(info.psk_identity(), Some(IDENTITY));
}

#[test]
fn its_server_is_refused() {
    if missing("gnutls-serv") {
        return;
    }
    let context = trusting(certs::authority()).build().unwrap();
    let stranger = Authority::root("another authority", certs::ec_key());
    let leaf = certs::Leaf::named("localhost");
    for (credentials, result) in [
        (files::Credentials::issue(&stranger, &leaf), 20),
        (files::named("other.example"), 62),
        (files::expired(), 10),
    ] {
        let (_peer, address) = serv_with(&credentials, &["--disable-client-cert"]);
        assert_rejected(&refusal(&context, address), result);
    }
}

#[test]
fn no_common_suite_with_its_server() {
    if missing("gnutls-serv") {
        return;
    }
    let priority = "NORMAL:-CIPHER-ALL:+AES-128-GCM";
    let arguments = ["--disable-client-cert", "--priority", priority];
    let (peer, address) = serv_with(&files::localhost(), &arguments);
    let context = trusting(certs::authority())
        .cipher_list("ECDHE-ECDSA-CHACHA20-POLY1305")
        .transport(impatient());
    let error = refusal(&context.build().unwrap(), address);
    assert!(matches!(error, Error::HandshakeTimeout), "{error:?}");
    peer.expect("Error in handshake");
}

#[test]
fn certificate_for_its_client() {
    if missing("gnutls-cli") {
        return;
    }
    let server = Server::new(&serving_certificate().build().unwrap());
    let files = Files::new();
    let mut peer = trusting_cli(&server, &files, &[]);
    let info = server.connected();
    assert_eq!(info.version(), Some(SslVersion::DTLS1_2));
    assert_eq!(info.cipher_suite(), GCM_SUITE);
    assert_eq!(info.server_name(), Some("localhost"));
    peer.expect("The certificate is trusted");
    peer.expect("(AES-256-GCM)");
    assert_served(&server, &mut peer);
    peer.say_no_more();
    server.closed();
    let status = peer.exit();
    assert!(status.success(), "{status}: {}", peer.printed());
}

#[test]
fn certificate_of_its_client() {
    if missing("gnutls-cli") {
        return;
    }
    let server = Server::new(&requiring_certificate().build().unwrap());
    let files = Files::new();
    let credentials = files::named("client-1");
    let [cert, key] = files.identity("client", &credentials);
    let arguments = ["--x509certfile", &cert, "--x509keyfile", &key];
    let mut peer = trusting_cli(&server, &files, &arguments);
    let info = server.connected();
    assert_eq!(info.cipher_suite(), GCM_SUITE);
    assert_eq!(info.peer_chain(), credentials.chain);
    assert_served(&server, &mut peer);
    drop(peer);

    let _peer = trusting_cli(&server, &files, &[]);
    let error = server.failed();
    assert!(matches!(error, Error::NoPeerCertificate(_)), "{error:?}");
}

#[test]
fn psk_of_its_client() {
    if missing("gnutls-cli") {
        return;
    }
    let server = Server::new(&serving_psk().build().unwrap());
    let key = hex::encode(KEY);
    // GnuTLS 3.7.9's client crashes when it prints what was agreed with ECDHE-PSK.
    let priority = "NORMAL:-KX-ALL:+PSK";
    let arguments = |identity| {
        let key = key.as_str();
        [
            "--pskusername",
            identity,
            "--pskkey",
            key,
            "--priority",
            priority,
        ]
    };
    let mut peer = cli(&server, &arguments(std::str::from_utf8(IDENTITY).unwrap()));
    let info = server.connected();
    assert_eq!(info.cipher_suite(), "TLS_PSK_WITH_AES_256_GCM_SHA384");
    assert_eq!(info.psk_identity(), Some(IDENTITY));
    assert_served(&server, &mut peer);
    drop(peer);

    let _peer = cli(&server, &arguments("nobody"));
    let error = server.failed();
    assert!(matches!(error, Error::UnknownPskIdentity(_)), "{error:?}");
}

#[test]
fn its_client_refuses_us() {
    if missing("gnutls-cli") {
        return;
    }
    let files = Files::new();
    let context = Context::server(files::named("other.example").identity());
    let server = Server::new(&context.transport(quick()).build().unwrap());
    let peer = trusting_cli(&server, &files, &[]);
    let error = server.failed();
    assert!(matches!(error, Error::AlertReceived { .. }), "{error:?}");
    peer.expect("The name in the certificate does not match the expected");
}
