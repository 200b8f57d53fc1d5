//! The load generator.

use std::net::{Ipv4Addr, UdpSocket};

use crate::{PSK, Server, run, stderr, stdout};

#[test]
fn load_measures_and_loses_nothing() {
    let server = Server::start(&["--psk", PSK]);
    let address = server.address();
    let output = run(
        "load",
        &[
            "--connect",
            &address,
            "--psk",
            PSK,
            "--connections",
            "20",
            "--messages",
            "5",
            "--stall",
            "10",
            "--hold",
            "0",
        ],
    );
    let told = stdout(&output);
    assert!(output.status.success(), "{told}{}", stderr(&output));
    for expected in [
        "handshakes: 18 completed, 0 failed, 2 stalled on purpose",
        "messages: 90 came back, 0 lost",
        "after the idle time: 18 came back, 0 lost",
        "99 % below",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

#[test]
fn load_tells_what_failed() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let output = run(
        "load",
        &[
            "--connect",
            &address,
            "--insecure",
            "--connections",
            "3",
            "--handshake-timeout",
            "0.2",
        ],
    );
    assert_eq!(output.status.code(), Some(1));
    let told = stdout(&output);
    assert!(told.contains("0 completed, 3 failed"), "{told}");
    assert!(told.contains("3 failed: the handshake timed out"), "{told}");
}

#[test]
fn floods_are_for_loopback_only() {
    for kind in [
        "--spoof-hellos",
        "--wrong-cookies",
        "--garbage",
        "--half-open",
    ] {
        let output = run(
            "load",
            &["--connect", "192.0.2.1:1", "--insecure", kind, "1"],
        );
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("loopback"), "{kind}");
    }
}
