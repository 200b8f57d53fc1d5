//! libcoap's tools, over OpenSSL and over GnuTLS: CoAP with pre-shared keys (RFC 7252, 9.1).

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::thread;

use openssl_dtls::{Context, Psk, PskLookup};

use super::{Files, GCM_SUITE, Peer, connect, files, localhost, missing, quick, trusting};
use crate::loopback::Accepted;
use crate::support::certs;
use crate::support::{IDENTITY, KEY, psk};

const BACKENDS: [&str; 2] = ["openssl", "gnutls"];
const PSK_SUITE: &str = "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256";
/// What every CoAP device has (RFC 7252, 9.1.3.1). OpenSSL 4 takes it at security level 0 only.
const CCM8: (&str, &str) = ("PSK-AES128-CCM8", "TLS_PSK_WITH_AES_128_CCM_8");

const GET: u8 = 0x01;
const CONTENT: u8 = 0x45;
const TOKEN: u8 = 0x5a;
const URI_PATH: u8 = 11;
const END_OF_OPTIONS: u8 = 0xff;

/// A confirmable GET, with a token of one byte and one segment of a path or none.
fn get(message_id: u16, segment: &str) -> Vec<u8> {
    let [high, low] = message_id.to_be_bytes();
    let mut request = vec![0x41, GET, high, low, TOKEN];
    if !segment.is_empty() {
        let length = u8::try_from(segment.len()).unwrap();
        assert!(length < 13, "longer ones are written in another way");
        request.push(URI_PATH << 4 | length);
        request.extend(segment.as_bytes());
    }
    request
}

/// The payload of an acknowledgement with content for that request.
fn content(answer: &[u8], message_id: u16) -> &[u8] {
    let [high, low] = message_id.to_be_bytes();
    assert_eq!(&answer[..5], [0x61, CONTENT, high, low, TOKEN]);
    let mut rest = &answer[5..];
    loop {
        let head = rest[0];
        if head == END_OF_OPTIONS {
            return &rest[1..];
        }
        // No answer here has an option with a longer head.
        assert!(head >> 4 < 14 && head & 0x0f < 13, "{answer:?}");
        let extended = usize::from(head >> 4 == 13);
        rest = &rest[1 + extended + usize::from(head & 0x0f)..];
    }
}

/// Starts a server; its port for DTLS is the one after that for UDP.
fn coap_server(backend: &str, arguments: &[&str]) -> (Peer, SocketAddr) {
    let command = |port: u16| {
        let mut command = Command::new(format!("coap-server-{backend}"));
        let udp = (port - 1).to_string();
        command.args(["-A", "127.0.0.1", "-p", &udp, "-v", "7"]);
        command.args(arguments);
        command
    };
    Peer::start_on_free_port(command, "created DTLS endpoint")
}

fn key() -> &'static str {
    std::str::from_utf8(KEY).unwrap()
}

fn assert_resource(context: &Context, address: SocketAddr) -> openssl_dtls::HandshakeInfo {
    let client = connect(context, address, localhost()).unwrap();
    let mut answer = vec![0; 1500];
    client.send(&get(7, "")).unwrap();
    let length = client.recv(&mut answer).unwrap().expect("an answer");
    let payload = content(&answer[..length], 7);
    assert!(payload.starts_with(b"This is a test server made with libcoap"));

    client.send(&get(8, "time")).unwrap();
    let length = client.recv(&mut answer).unwrap().expect("an answer");
    assert!(!content(&answer[..length], 8).is_empty());
    client.close().unwrap();
    client.handshake_info().unwrap()
}

#[test]
fn psk_of_its_server() {
    for backend in BACKENDS {
        if missing(&format!("coap-server-{backend}")) {
            continue;
        }
        // It sends an identity hint always: "CoAP".
        let (_peer, address) = coap_server(backend, &["-k", key()]);
        let context = Context::client().psk(psk()).transport(quick());
        let info = assert_resource(&context.build().unwrap(), address);
        assert_eq!(info.cipher_suite(), PSK_SUITE);
        assert_eq!(info.psk_identity(), Some(IDENTITY));

        let context = Context::client()
            .psk(Psk::new(b"another", KEY).unwrap())
            .cipher_list(CCM8.0)
            .security_level(0)
            .transport(quick());
        let info = assert_resource(&context.build().unwrap(), address);
        assert_eq!(info.cipher_suite(), CCM8.1);
    }
}

#[test]
fn certificate_of_its_server() {
    for backend in BACKENDS {
        if missing(&format!("coap-server-{backend}")) {
            continue;
        }
        let files = Files::new();
        let [cert, key] = files.identity("server", &files::localhost());
        let (_peer, address) = coap_server(backend, &["-c", &cert, "-j", &key, "-n"]);
        let context = trusting(certs::authority()).build().unwrap();
        let info = assert_resource(&context, address);
        assert_eq!(info.cipher_suite(), GCM_SUITE);
        assert_eq!(info.verified_name(), Some("localhost"));
    }
}

#[test]
fn psk_of_its_client() {
    for backend in BACKENDS {
        if missing(&format!("coap-client-{backend}")) {
            continue;
        }
        let lookup = || Context::server(PskLookup::single(psk())).transport(quick());
        let ccm8 = lookup().cipher_list(CCM8.0).security_level(0);
        for (context, suite) in [(lookup(), PSK_SUITE), (ccm8, CCM8.1)] {
            let context = context.build().unwrap();
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let uri = format!("coaps://{}/degrees", socket.local_addr().unwrap());
            let server = thread::spawn(move || Accepted::wait(socket, &context));
            let mut command = Command::new(format!("coap-client-{backend}"));
            let identity = std::str::from_utf8(IDENTITY).unwrap();
            command.args(["-m", "get", "-u", identity, "-k", key(), "-v", "7", &uri]);
            let mut peer = Peer::start(&mut command);
            let mut server = server
                .join()
                .unwrap_or_else(|_| panic!("{}", peer.printed()));
            let info = server.connection.handshake_info().unwrap();
            assert_eq!(info.cipher_suite(), suite);
            assert_eq!(info.psk_identity(), Some(IDENTITY));

            let request = server.recv();
            assert_eq!(request[1], GET);
            let path = [&[URI_PATH << 4 | 7][..], b"degrees"].concat();
            let has_path = request
                .windows(path.len())
                .any(|window| window[1..] == path[1..]);
            assert!(has_path, "{request:?}");
            // The same token and message id, as an acknowledgement.
            let token = usize::from(request[0] & 0x0f);
            let mut answer = request[..4 + token].to_vec();
            answer[0] |= 0x20;
            answer[1] = CONTENT;
            answer.push(END_OF_OPTIONS);
            answer.extend(b"21.5 degrees");
            server.send(&answer);
            peer.expect("21.5 degrees");
            while !server.connection.is_closed_by_peer() {
                server.receive_datagram();
            }
            let status = peer.exit();
            assert!(status.success(), "{status}: {}", peer.printed());
        }
    }
}
