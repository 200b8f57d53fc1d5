//! The examples in the shape of Qt's.

use crate::{PSK, Server, certificate, run, stderr, stdout};

#[test]
fn secure_udp_examples_talk_with_a_pre_shared_key() {
    let server = Server::of("secure_udp_server", &["--psk", PSK, "--clients", "1"]);
    let address = server.address();
    let client = run(
        "secure_udp_client",
        &["--connect", &address, "--psk", PSK, "--interval", "0.01"],
    );
    let printed = stdout(&client);
    assert!(client.status.success(), "{printed}{}", stderr(&client));
    assert!(printed.contains("connected to 127.0.0.1:"), "{printed}");
    assert_eq!(
        printed.matches("answer: to 127.0.0.1:").count(),
        3,
        "{printed}"
    );
    assert!(printed.ends_with("closed\n"), "{printed}");
    let (status, printed) = server.end();
    assert!(status.success());
    assert!(printed.contains("please accept ping 3"), "{printed}");
    assert!(printed.contains("left"), "{printed}");
}

#[test]
fn secure_udp_examples_verify_each_other_s_claims() {
    let directory = tempfile::tempdir().unwrap();
    let [cert, key] = certificate(&directory);
    let server = Server::of(
        "secure_udp_server",
        &[
            "--cert",
            &cert,
            "--key",
            &key,
            "--psk",
            PSK,
            "--clients",
            "1",
        ],
    );
    let address = server.address();
    let connect = ["--connect", &address, "--timeout", "5"];
    let with = |more: &[&str]| {
        let arguments: Vec<&str> = connect.iter().chain(more).copied().collect();
        run("secure_udp_client", &arguments)
    };
    // Another name, and another key.
    let refused = with(&["--ca", &cert, "--server-name", "elsewhere.example"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("not the right server"),
        "{}",
        stderr(&refused)
    );
    let refused = with(&["--psk", "sensor:8:00112233445566778899aabbccddeeff"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("unknown_psk_identity"),
        "{}",
        stderr(&refused)
    );

    let client = with(&["--ca", &cert, "--server-name", "localhost", "--pings", "1"]);
    assert!(client.status.success(), "{}", stderr(&client));
    let (status, printed) = server.end();
    assert!(status.success());
    assert!(printed.contains("alert bad_certificate"), "{printed}");
    assert!(printed.contains("identity is unknown"), "{printed}");
    assert!(printed.contains("please accept ping 1"), "{printed}");
}
