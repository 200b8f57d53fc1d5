//! The echo server and its client.

use std::io::Write;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Stdio;

use openssl_dtls::openssl::hash::MessageDigest;
use openssl_dtls::openssl::x509::X509;

use crate::{PSK, Server, certificate, example, run, stderr, stdout, talk};

#[test]
fn messages_come_back_with_certificates_on_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let [cert, key] = certificate(&directory);
    let server = Server::start(&[
        "--cert",
        &cert,
        "--key",
        &key,
        "--client-ca",
        &cert,
        "--once",
    ]);
    let address = server.address();
    let arguments = [
        "--connect",
        &address,
        "--server-name",
        "localhost",
        "--ca",
        &cert,
        "--cert",
        &cert,
        "--key",
        &key,
        "--message",
        "one",
        "--message",
        "two words",
    ];
    let output = run("echo_client", &arguments);
    let printed = stdout(&output);
    assert!(output.status.success(), "{printed}{}", stderr(&output));
    assert!(
        printed.contains("peer verified as \"localhost\""),
        "{printed}"
    );
    assert!(printed.ends_with("one\ntwo words\nclosed\n"), "{printed}");
    let (status, printed) = server.end();
    assert!(status.success(), "{printed}");
    assert!(
        printed.contains("certificate of \"localhost\""),
        "{printed}"
    );
    assert!(printed.contains("closed after 2 messages"), "{printed}");
}

#[test]
fn lines_of_standard_input_come_back_with_a_psk() {
    let server = Server::start(&["--psk", PSK, "--mtu", "300", "--once"]);
    let mut client = example("echo_client")
        .args(["--connect", &server.address(), "--psk", PSK])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(b"first line\nsecond line\n").unwrap();
    drop(stdin);
    let output = client.wait_with_output().unwrap();
    let printed = stdout(&output);
    assert!(output.status.success(), "{printed}");
    assert!(
        printed.ends_with("first line\nsecond line\nclosed\n"),
        "{printed}"
    );
    let (status, printed) = server.end();
    assert!(status.success(), "{printed}");
    assert!(printed.contains("PSK identity \"sensor:7\""), "{printed}");
}

#[test]
fn peers_are_served_one_after_the_other() {
    let server = Server::start(&["--self-signed", "--dtls1.0"]);
    for _ in 0..2 {
        let arguments = [
            "--connect",
            &server.address(),
            "--insecure",
            "--message",
            "hello",
        ];
        let output = run("echo_client", &arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stdout(&output).contains("DTLS 1.2"), "{}", stdout(&output));
    }
}

#[test]
fn suites_protocols_and_profiles_are_agreed_on() {
    let server = Server::start(&[
        "--self-signed",
        "--once",
        "--alpn",
        "coap,h3",
        "--srtp",
        "SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80",
        "--security-level",
        "1",
    ]);
    let printed = talk(
        &server,
        &[
            "--insecure",
            "--cipher",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "--security-level",
            "2",
            "--alpn",
            "h3",
            "--srtp",
            "SRTP_AES128_CM_SHA1_80",
        ],
    );
    let (status, told) = server.end();
    assert!(status.success(), "{told}");
    for printed in [printed, told] {
        for expected in [
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "protocol \"h3\"",
            "SRTP profile \"SRTP_AES128_CM_SHA1_80\"",
        ] {
            assert!(printed.contains(expected), "{expected}: {printed}");
        }
    }
    let output = run(
        "echo_client",
        &[
            "--connect",
            "127.0.0.1:9",
            "--insecure",
            "--srtp",
            "SRTP_ROT13",
        ],
    );
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn peers_are_pinned_by_their_fingerprints() {
    let directory = tempfile::tempdir().unwrap();
    let [cert, key] = certificate(&directory);
    let pem = std::fs::read(&cert).unwrap();
    let digest = X509::from_pem(&pem)
        .unwrap()
        .digest(MessageDigest::sha256());
    let fingerprint = hex::encode(digest.unwrap());
    let identity = ["--cert", &cert, "--key", &key];
    let pinned = ["--fingerprint", &fingerprint];
    let server = Server::start(&[&identity[..], &pinned[..]].concat());
    talk(&server, &[&identity[..], &pinned[..]].concat());

    let other = "00".repeat(32);
    let address = server.address();
    let arguments = ["--connect", &address, "--fingerprint", &other];
    let output = run("echo_client", &[&arguments[..], &identity[..]].concat());
    assert!(!output.status.success(), "{}", stdout(&output));
    // A client that shows nothing is not the pinned one.
    let arguments = ["--connect", &address, "--fingerprint", &fingerprint];
    let output = run("echo_client", &arguments);
    assert!(!output.status.success(), "{}", stdout(&output));
}

#[test]
fn hints_are_sent_to_clients_with_a_psk() {
    let server = Server::start(&["--psk", PSK, "--psk-hint", "plant 2", "--once"]);
    let printed = talk(&server, &["--psk", PSK]);
    assert!(printed.contains("PSK identity \"sensor:7\""), "{printed}");
}

#[test]
fn sessions_are_saved_and_resumed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("session");
    let path = path.to_str().unwrap();
    let arguments = ["--insecure", "--session", path];
    let required = [&arguments[..], &["--require-resumption"]].concat();
    let server = Server::start(&["--self-signed"]);
    let first = talk(&server, &arguments);
    assert!(!first.contains(", resumed"), "{first}");
    for _ in 0..2 {
        let printed = talk(&server, &required);
        assert!(printed.contains(", resumed"), "{printed}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    // Another server, with other keys.
    let server = Server::start(&["--self-signed"]);
    let address = server.address();
    let mut all = vec!["--connect", &address, "--message", "hello"];
    all.extend(&required);
    let output = run("echo_client", &all);
    assert!(!output.status.success(), "{}", stdout(&output));
    assert!(
        stderr(&output).contains("not resumed"),
        "{}",
        stderr(&output)
    );
    talk(&server, &arguments);
    talk(&server, &required);
}

#[test]
fn keys_are_logged_where_asked() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (ours, theirs) = (path("client.log"), path("server.log"));
    let server = Server::start(&["--self-signed", "--once", "--keylog", &theirs]);
    talk(&server, &["--insecure", "--keylog", &ours]);
    server.end();
    let ours = std::fs::read_to_string(ours).unwrap();
    assert!(ours.starts_with("CLIENT_RANDOM "), "{ours}");
    assert_eq!(ours, std::fs::read_to_string(theirs).unwrap());
}

#[test]
fn failures_are_told_with_an_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let [cert, _] = certificate(&directory);
    let server = Server::start(&["--self-signed", "--once"]);
    let address = server.address();
    let arguments = [
        "--connect",
        &address,
        "--server-name",
        "localhost",
        "--ca",
        &cert,
        "--message",
        "secret",
    ];
    let output = run("echo_client", &arguments);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(
        told.contains("the peer's certificate was refused"),
        "{told}"
    );
    let (status, printed) = server.end();
    assert_eq!(status.code(), Some(1), "{printed}");
    assert!(printed.contains("unknown_ca"), "{printed}");

    // Nobody answers.
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let arguments = ["--connect", &address, "--insecure", "--timeout", "0.2"];
    let output = run("echo_client", &arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("timed out"), "{}", stderr(&output));

    for arguments in [
        ["--listen", &address, "--psk", PSK].as_slice(),
        &[
            "--listen",
            "127.0.0.1:0",
            "--cert",
            "missing.pem",
            "--key",
            "missing.pem",
        ],
    ] {
        let output = run("echo_server", arguments);
        assert_eq!(output.status.code(), Some(1));
        let told = stderr(&output);
        assert!(told.starts_with("echo_server: cannot "), "{told}");
    }
}
