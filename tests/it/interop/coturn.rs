//! coturn: STUN over DTLS (RFC 7350).

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use openssl_dtls::udp::blocking::ClientError;
use openssl_dtls::{Alert, Error, TransportConfig};

use super::{Files, GCM_SUITE, Peer, connect, files, localhost, missing, trusting};
use crate::support::certs;

const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const TRANSACTION: &[u8; 12] = b"twelve bytes";
const TRIES: usize = 5;
const MISTAKE: &str = "cookie mismatch";
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

fn turnserver(files: &Files) -> (Peer, SocketAddr) {
    let [cert, key] = files.identity("turn", &files::localhost());
    let config = files.write("turnserver.conf", "");
    let database = files.write("turndb", "");
    let pid = files.write("pid", "");
    let command = |port: u16| {
        let mut command = Command::new("turnserver");
        command.args(["-c", &config, "--pidfile", &pid, "--userdb", &database]);
        command.args(["--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1"]);
        command.args(["--tls-listening-port", &port.to_string()]);
        command.args(["--cert", &cert, "--pkey", &key, "--realm", "example.org"]);
        command.args(["--no-udp", "--no-tcp", "--no-tls", "--no-cli"]);
        command.args(["--log-file", "stdout", "--simple-log", "--verbose"]);
        command
    };
    // The last thing it says before it serves.
    Peer::start_on_free_port(command, "SQLite DB connection success")
}

/// The address in the answer to a binding request (RFC 5389, 15.2).
fn mapped_address(answer: &[u8]) -> SocketAddr {
    assert_eq!(answer[..2], BINDING_SUCCESS);
    assert_eq!(answer[4..8], MAGIC_COOKIE);
    assert_eq!(answer[8..20], *TRANSACTION);
    let mut attributes = &answer[20..];
    loop {
        let kind = u16::from_be_bytes([attributes[0], attributes[1]]);
        let length = usize::from(u16::from_be_bytes([attributes[2], attributes[3]]));
        let value = &attributes[4..4 + length];
        if kind == XOR_MAPPED_ADDRESS {
            assert_eq!(value[1], 1, "it is an IPv4 address");
            let port = u16::from_be_bytes([value[2] ^ MAGIC_COOKIE[0], value[3] ^ MAGIC_COOKIE[1]]);
            let ip: [u8; 4] = std::array::from_fn(|index| value[4 + index] ^ MAGIC_COOKIE[index]);
            return (IpAddr::from(ip), port).into();
        }
        attributes = &attributes[4 + length.next_multiple_of(4)..];
    }
}

#[test]
fn binding_request_is_answered() {
    if missing("turnserver") {
        return;
    }
    let files = Files::new();
    let (peer, address) = turnserver(&files);
    // It takes a hello that was sent twice, as on a machine under load, for one with a wrong cookie.
    let patient = TransportConfig::new();
    let context = trusting(certs::authority()).transport(patient);
    let context = context.build().unwrap();
    let client = (0..TRIES)
        .find_map(|_| match connect(&context, address, localhost()) {
            Err(ClientError::Connection(Error::AlertReceived { alert }))
                if alert == Alert::HANDSHAKE_FAILURE && peer.printed().contains(MISTAKE) =>
            {
                None
            }
            outcome => Some(outcome.unwrap()),
        })
        .unwrap();
    let info = client.handshake_info().unwrap();
    assert_eq!(info.cipher_suite(), GCM_SUITE);
    assert_eq!(info.verified_name(), Some("localhost"));

    let request = [&BINDING_REQUEST[..], &[0, 0], &MAGIC_COOKIE, TRANSACTION].concat();
    for _ in 0..2 {
        client.send(&request).unwrap();
        let mut answer = vec![0; 1500];
        let length = client.recv(&mut answer).unwrap().expect("an answer");
        assert_eq!(
            mapped_address(&answer[..length]),
            client.local_addr().unwrap()
        );
    }
    client.close().unwrap();
    peer.expect("SSL shutdown received");
}
