//! Resumption, DTLS-SRTP, the exporter and the key log against `openssl`, in both roles.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};

use openssl_dtls::udp::blocking::Client;
use openssl_dtls::{Connection, Context, HandshakeInfo, SavedSession, SrtpProfile};

use super::super::{
    Files, Peer, assert_conversation, assert_served, connect, files, localhost, missing,
    serving_certificate, trusting,
};
use super::client::{s_client, trusting_s_client};
use super::server::s_server_with;
use crate::loopback::{Accepted, DEADLINE, Server};
use crate::support::certs;

/// The label of SRTP keys, and how many bytes of them are compared.
const SRTP_LABEL: &str = "EXTRACTOR-dtls_srtp";

fn client() -> Context {
    trusting(certs::authority()).build().unwrap()
}

fn resume(context: &Context, address: std::net::SocketAddr, session: &SavedSession) -> Client {
    let client = Client::connect_resuming(context, address, localhost(), session).unwrap();
    client.set_read_timeout(Some(DEADLINE));
    client
}

fn is_resumed(client: &Client) -> bool {
    client.handshake_info().unwrap().is_resumed()
}

#[test]
fn s_client_resumes_by_ticket_and_by_cache() {
    if missing("openssl") {
        return;
    }
    let ticket = serving_certificate().build().unwrap();
    let cache = serving_certificate()
        .no_tickets()
        .session_cache(10)
        .build()
        .unwrap();
    let neither = serving_certificate().no_tickets().build().unwrap();
    for (context, options, resumable) in [
        (&ticket, &[][..], true),
        (&ticket, &["-no_ticket"], false),
        (&cache, &[], true),
        (&cache, &["-no_ticket"], true),
        (&neither, &[], false),
    ] {
        let server = Server::new(context);
        let files = Files::new();
        let session = files.write("session.pem", "");
        let converse = |session_option: &str| -> HandshakeInfo {
            let mut arguments = vec!["-dtls1_2", "-servername", "localhost"];
            arguments.extend([session_option, session.as_str()]);
            arguments.extend(options);
            let mut peer = trusting_s_client(&server, &files, &arguments);
            let info = server.connected();
            peer.expect(if info.is_resumed() { "Reused," } else { "New," });
            assert_served(&server, &mut peer);
            peer.say("Q\n");
            server.closed();
            assert!(peer.exit().success(), "{}", peer.printed());
            info
        };
        assert!(!converse("-sess_out").is_resumed());
        if std::fs::metadata(&session).unwrap().len() == 0 {
            // It got nothing to write down.
            assert!(!resumable, "{options:?}");
            continue;
        }
        let info = converse("-sess_in");
        assert_eq!(info.is_resumed(), resumable, "{options:?}");
        assert_eq!(info.server_name(), Some("localhost"));
    }
}

#[test]
fn s_client_does_not_resume_under_another_name() {
    if missing("openssl") {
        return;
    }
    let server = Server::new(&serving_certificate().build().unwrap());
    let files = Files::new();
    let session = files.write("session.pem", "");
    for (option, name, expected) in [
        ("-sess_out", "localhost", false),
        ("-sess_in", "localhost", true),
        ("-sess_in", "gateway.example", false),
    ] {
        let arguments = ["-dtls1_2", "-servername", name, option, &session];
        let mut peer = s_client(&server, &arguments);
        assert_eq!(server.connected().is_resumed(), expected, "{name}");
        assert_served(&server, &mut peer);
        peer.say("Q\n");
        server.closed();
    }
}

#[test]
fn s_server_resumes_by_ticket_and_by_cache() {
    if missing("openssl") {
        return;
    }
    let context = client();
    for options in [&["-dtls1_2"][..], &["-dtls1_2", "-no_ticket"]] {
        let (mut peer, address) = s_server_with(&files::localhost(), options);
        let first = connect(&context, address, localhost()).unwrap();
        assert!(!is_resumed(&first));
        assert_conversation(&first, &mut peer);
        let session = first.saved_session().expect("it gives sessions");
        first.close().unwrap();
        peer.expect("DONE");

        // Through bytes, as a program that was started again would.
        let session = SavedSession::from_bytes(&session.to_bytes()).unwrap();
        let second = resume(&context, address, &session);
        assert!(is_resumed(&second), "{options:?}");
        assert_eq!(
            second.handshake_info().unwrap().verified_name(),
            Some("localhost")
        );
        peer.expect("Reused session-id");
        assert_conversation(&second, &mut peer);
    }
    // Another process knows nothing of it, and the handshake is a full one.
    let (mut peer, address) = s_server_with(&files::localhost(), &["-dtls1_2"]);
    let first = connect(&context, address, localhost()).unwrap();
    let session = first.saved_session().unwrap();
    drop((first, peer));
    let (other, address) = s_server_with(&files::localhost(), &["-dtls1_2"]);
    peer = other;
    let second = resume(&context, address, &session);
    assert!(!is_resumed(&second));
    assert_conversation(&second, &mut peer);
}

/// What the process printed as keying material.
fn printed_material(peer: &Peer) -> Vec<u8> {
    hex::decode(peer.rest_of_line("Keying material: ")).unwrap()
}

fn material(export: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut out = vec![0; SrtpProfile::Aes128CmSha1_80.key_len() * 2 + 28];
    export(&mut out);
    out
}

#[test]
fn s_client_agrees_on_srtp_and_its_keys() {
    if missing("openssl") {
        return;
    }
    let context = serving_certificate()
        .srtp(&[SrtpProfile::Aes128CmSha1_80, SrtpProfile::AeadAes128Gcm])
        .build()
        .unwrap();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let arguments = [
        "s_client",
        "-connect",
        &address,
        "-dtls1_2",
        "-use_srtp",
        "SRTP_AES128_CM_SHA1_32:SRTP_AES128_CM_SHA1_80",
        "-keymatexport",
        SRTP_LABEL,
        "-keymatexportlen",
        "60",
    ];
    let peer = Peer::start(std::process::Command::new("openssl").args(arguments));
    let accepted = Accepted::wait(socket, &context);
    let connection: &Connection = &accepted.connection;
    let info = connection.handshake_info().unwrap();
    assert_eq!(info.srtp_profile(), Some(SrtpProfile::Aes128CmSha1_80));
    peer.expect("SRTP Extension negotiated, profile=SRTP_AES128_CM_SHA1_80");
    let printed = printed_material(&peer);
    let keys = connection.srtp_keys().unwrap();
    let ours = [
        keys.client().key(),
        keys.server().key(),
        keys.client().salt(),
        keys.server().salt(),
    ]
    .concat();
    assert_eq!(ours, printed);
    let exported = material(|out| {
        connection
            .export_keying_material(out, SRTP_LABEL, None)
            .unwrap();
    });
    assert_eq!(exported, printed);
}

#[test]
fn s_server_agrees_on_srtp_and_its_keys() {
    if missing("openssl") {
        return;
    }
    let context = trusting(certs::authority())
        .srtp(&[SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmSha1_80])
        .build()
        .unwrap();
    let arguments = [
        "-dtls1_2",
        "-use_srtp",
        "SRTP_AES128_CM_SHA1_80",
        "-keymatexport",
        SRTP_LABEL,
        "-keymatexportlen",
        "60",
    ];
    let (mut peer, address) = s_server_with(&files::localhost(), &arguments);
    let client = connect(&context, address, localhost()).unwrap();
    let info = client.handshake_info().unwrap();
    assert_eq!(info.srtp_profile(), Some(SrtpProfile::Aes128CmSha1_80));
    let printed = printed_material(&peer);
    let keys = client.srtp_keys().unwrap();
    assert_eq!(keys.outbound().key(), &printed[..16]);
    assert_eq!(keys.inbound().key(), &printed[16..32]);
    assert_eq!(keys.outbound().salt(), &printed[32..46]);
    assert_eq!(keys.inbound().salt(), &printed[46..]);
    assert_conversation(&client, &mut peer);
}

/// The lines of a key log that begin as the format says, in the order they were written.
fn key_lines(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .filter(|line| line.starts_with("CLIENT_RANDOM "));
    lines.map(str::to_lowercase).collect()
}

#[test]
fn key_logs_agree() {
    if missing("openssl") {
        return;
    }
    let lines = Arc::new(Mutex::new(String::new()));
    let log = |lines: &Arc<Mutex<String>>| {
        let lines = lines.clone();
        move |line: &str| lines.lock().unwrap().extend([line, "\n"])
    };
    let files = Files::new();
    let path = files.write("keys.log", "");

    // We serve.
    let context = serving_certificate().key_log(log(&lines)).build().unwrap();
    let server = Server::new(&context);
    let mut peer = trusting_s_client(&server, &files, &["-dtls1_2", "-keylogfile", &path]);
    server.connected();
    assert_served(&server, &mut peer);
    peer.say("Q\n");
    server.closed();
    assert!(peer.exit().success());

    // They serve.
    let context = trusting(certs::authority()).key_log(log(&lines));
    let arguments = ["-dtls1_2", "-keylogfile", &path];
    let (mut peer, address) = s_server_with(&files::localhost(), &arguments);
    let client = connect(&context.build().unwrap(), address, localhost()).unwrap();
    assert_conversation(&client, &mut peer);
    client.close().unwrap();
    peer.expect("DONE");

    let ours = key_lines(&lines.lock().unwrap());
    assert_eq!(ours.len(), 2);
    // It keeps the file open, but writes line by line.
    assert_eq!(key_lines(&std::fs::read_to_string(&path).unwrap()), ours);
}
