//! Qt itself: programs on its `QDtls` and `QDtlsClientVerifier`, and the facade in its shape.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use openssl_dtls::qdtls::{
    Dtls, DtlsClientVerifier, DtlsConfiguration, DtlsError, Error, HandshakeState, PeerVerifyMode,
    SslErrorCode, SslMode,
};
use openssl_dtls::{ClockAnchor, CookieRing, CookieSecret};

use super::files::{self, Files};
use super::peer::Peer;
use super::{missing, skip};
use crate::loopback::DEADLINE;
use crate::support::certs::{self, Authority, ec_key};

/// A pre-shared key, as Qt's programs take it and as it is.
const KEY_HEX: &str = "0102030405060708090a0b0c0d0e0f10";

/// The interpreter of the environment that `.ci/qt-env` makes, or nothing, which is said.
fn python() -> Option<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) if !cache.is_empty() => PathBuf::from(cache),
        _ => Path::new(&std::env::var_os("HOME")?).join(".cache"),
    };
    let python = cache.join("openssl-dtls/qt-env/bin/python");
    if python.is_file() {
        return Some(python);
    }
    skip("Qt's environment is not there; .ci/qt-env makes it");
    None
}

fn program(python: &Path, name: &str) -> Command {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/qt");
    let mut command = Command::new(python);
    command.arg(directory.join(name)).args(["--timeout", "60"]);
    command
}

/// A server of Qt's with `arguments`, and where it listens.
fn qt_server(python: &Path, arguments: &[&str]) -> (Peer, SocketAddr) {
    let peer = Peer::start(program(python, "qdtls_server.py").args(arguments));
    let line = peer.rest_of_line("LISTENING 127.0.0.1 ");
    let port = line.parse().unwrap();
    (peer, (Ipv4Addr::LOCALHOST, port).into())
}

/// One end of the facade on a socket.
struct End {
    dtls: Dtls,
    socket: UdpSocket,
    /// Messages that came and were not looked at.
    messages: VecDeque<Vec<u8>>,
    /// Every datagram that was sent in the handshake.
    sent: Vec<Vec<u8>>,
}

impl End {
    fn new(mode: SslMode, configuration: DtlsConfiguration, socket: UdpSocket) -> End {
        let mut dtls = Dtls::new(mode);
        dtls.set_dtls_configuration(configuration).unwrap();
        End {
            dtls,
            socket,
            messages: VecDeque::new(),
            sent: Vec::new(),
        }
    }

    /// The next datagram, or nothing if there is something to do before.
    fn receive(&self, until: Instant) -> Option<(Vec<u8>, SocketAddr)> {
        let now = Instant::now();
        let next = self.dtls.next_timeout().unwrap_or(until).min(until);
        let wait = next.saturating_duration_since(now);
        // Zero would be for ever.
        let wait = wait.max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(wait)).unwrap();
        let mut buffer = vec![0; 65_536];
        let (length, from) = self.socket.recv_from(&mut buffer).ok()?;
        buffer.truncate(length);
        Some((buffer, from))
    }

    fn step(&mut self, datagram: &[u8]) -> Result<HandshakeState, Error> {
        let End {
            dtls, socket, sent, ..
        } = self;
        let send = |datagram: &[u8], peer: SocketAddr| {
            sent.push(datagram.to_vec());
            socket.send_to(datagram, peer).map(drop)
        };
        dtls.do_handshake(send, datagram)
    }

    /// Goes on with a handshake until it is over in any way.
    fn finish(&mut self) -> Result<(), Error> {
        let until = Instant::now() + DEADLINE;
        while self.dtls.handshake_state() == HandshakeState::HandshakeInProgress {
            assert!(Instant::now() < until, "{:?}", self.dtls);
            match self.receive(until) {
                Some((datagram, _)) => drop(self.step(&datagram)?),
                None => drop(self.dtls.handle_timeout(&self.socket)?),
            }
        }
        Ok(())
    }

    /// The next message of the peer.
    fn message(&mut self) -> Result<Vec<u8>, Error> {
        let until = Instant::now() + DEADLINE;
        self.messages.extend(self.dtls.take_messages());
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Ok(message);
            }
            assert!(Instant::now() < until, "{:?}", self.dtls);
            if let Some((datagram, _)) = self.receive(until) {
                let decrypted = self.dtls.decrypt_datagram(&self.socket, &datagram)?;
                self.messages.extend(decrypted);
            }
        }
    }

    fn say(&mut self, message: &[u8]) {
        let written = self.dtls.write_datagram_encrypted(&self.socket, message);
        assert_eq!(written.unwrap(), message.len());
    }

    fn assert_echo(&mut self, message: &[u8]) {
        self.say(message);
        assert_eq!(self.message().unwrap(), message);
    }

    /// Sends back what comes until the peer goes, or until `count` messages; answers how many came.
    fn echo(&mut self, count: usize) -> usize {
        for echoed in 0..count {
            match self.message() {
                Ok(message) => self.say(&message),
                Err(error) => {
                    assert_eq!(error.kind(), DtlsError::RemoteClosedConnectionError);
                    return echoed;
                }
            }
        }
        count
    }
}

fn bind() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// A client that has begun with `server`.
fn client(configuration: DtlsConfiguration, server: SocketAddr, name: &str) -> End {
    let mut client = End::new(SslMode::SslClientMode, configuration, bind());
    client.dtls.set_peer(server, name).unwrap();
    client
}

fn trusting(authority: &Authority) -> DtlsConfiguration {
    let mut configuration = DtlsConfiguration::default_dtls_configuration();
    configuration.set_ca_certificates(vec![authority.certificate.clone()]);
    configuration
}

fn with_psk(end: &mut End, identity: &'static [u8]) {
    end.dtls.on_psk_required(move |authenticator| {
        if !authenticator.identity().is_empty() {
            assert_eq!(authenticator.identity(), identity);
        } else {
            assert_eq!(authenticator.identity_hint(), b"which");
            authenticator.set_identity(identity).unwrap();
        }
        let key = hex::decode(KEY_HEX).unwrap();
        authenticator.set_pre_shared_key(&key).unwrap();
    });
}

/// Waits for the first client whose cookie comes back, and begins with it.
fn accept(configuration: DtlsConfiguration, socket: UdpSocket, psk: bool) -> End {
    let mut verifier = DtlsClientVerifier::new().unwrap();
    let mut server = End::new(SslMode::SslServerMode, configuration, socket);
    if psk {
        with_psk(&mut server, b"alice");
    }
    let until = Instant::now() + DEADLINE;
    loop {
        let (datagram, from) = server.receive(until).expect("a client comes");
        if verifier
            .verify_client(&server.socket, &datagram, from)
            .unwrap()
        {
            server.dtls.set_peer(from, "").unwrap();
            server.step(verifier.verified_hello()).unwrap();
            return server;
        }
    }
}

fn serving() -> DtlsConfiguration {
    let credentials = files::localhost();
    let mut configuration = DtlsConfiguration::default_dtls_configuration();
    configuration.set_peer_verify_mode(PeerVerifyMode::VerifyNone);
    configuration.set_local_certificate_chain(credentials.chain);
    configuration.set_private_key(credentials.key);
    configuration
}

#[test]
fn qt_server_takes_our_cookie_and_shows_a_certificate_for_its_name() {
    let Some(python) = python() else { return };
    let files = Files::new();
    let [certificate, key] = files.identity("server", &files::localhost());
    let arguments = ["--cert", &certificate, "--key", &key, "--sessions", "1"];
    let (mut server, address) = qt_server(&python, &arguments);
    let mut client = client(trusting(certs::authority()), address, "localhost");
    client.step(&[]).unwrap();
    client.finish().unwrap();
    server.expect("HELLO_VERIFY");
    server.expect("VERIFIED");
    server.expect("ENCRYPTED");
    for message in [&b"one"[..], &[b'x'; 1_200], b"three"] {
        client.assert_echo(message);
    }
    client.dtls.shutdown(&client.socket).unwrap();
    server.expect("CLOSED");
    server.expect("echoed=3");
    assert!(server.exit().success(), "{}", server.printed());
}

#[test]
fn qt_server_with_a_pre_shared_key_shuts_down_first() {
    let Some(python) = python() else { return };
    let arguments = [
        "--psk",
        KEY_HEX,
        "--psk-identity",
        "alice",
        "--psk-hint",
        "which",
        "--close-after",
        "2",
        "--sessions",
        "1",
    ];
    let (mut server, address) = qt_server(&python, &arguments);
    let mut configuration = DtlsConfiguration::default_dtls_configuration();
    configuration.set_ca_certificates(Vec::new());
    let mut client = client(configuration, address, "");
    with_psk(&mut client, b"alice");
    client.step(&[]).unwrap();
    client.finish().unwrap();
    assert!(client.dtls.session_cipher().unwrap().contains("PSK"));
    client.assert_echo(b"one");
    client.assert_echo(b"two");
    let closed = client.message().unwrap_err();
    assert_eq!(closed.kind(), DtlsError::RemoteClosedConnectionError);
    assert_eq!(
        client.dtls.handshake_state(),
        HandshakeState::HandshakeNotStarted
    );
    server.expect("PSK");
    server.expect("identity=alice");
    server.expect("SHUTDOWN");
    assert!(server.exit().success(), "{}", server.printed());
}

#[test]
fn certificate_of_a_qt_server_is_refused_then_the_program_decides() {
    let Some(python) = python() else { return };
    let files = Files::new();
    let [certificate, key] = files.identity("server", &files::localhost());
    let arguments = ["--cert", &certificate, "--key", &key];
    let stranger = Authority::root("stranger", ec_key());
    for (late, resumes) in [(true, true), (true, false), (false, false)] {
        let (server, address) = qt_server(&python, &arguments);
        let mut configuration = trusting(&stranger);
        configuration.set_handshake_must_interrupt_on_error(!late);
        let mut client = client(configuration, address, "localhost");
        client.step(&[]).unwrap();
        let refused = client.finish().unwrap_err();
        assert_eq!(refused.kind(), DtlsError::PeerVerificationError);
        let errors = client.dtls.peer_verification_errors().to_vec();
        assert_eq!(
            errors[0].error(),
            SslErrorCode::UnableToGetLocalIssuerCertificate
        );
        if resumes {
            client.dtls.ignore_verification_errors(&errors);
            client.dtls.resume_handshake(&client.socket).unwrap();
            client.assert_echo(b"all the same");
            client.dtls.shutdown(&client.socket).unwrap();
            server.expect("CLOSED");
        } else {
            client.dtls.abort_handshake(&client.socket).unwrap();
            // In the handshake Qt calls the alert fatal, after it non-fatal; it hears of it either way.
            server.expect("ERROR");
            server.expect(if late {
                "TlsNonFatalError"
            } else {
                "TlsFatalError"
            });
        }
    }
}

#[test]
fn qt_server_asks_for_our_certificate() {
    let Some(python) = python() else { return };
    let files = Files::new();
    let [certificate, key] = files.identity("server", &files::localhost());
    let authority = files.authority(certs::authority());
    let arguments = [
        "--cert",
        &certificate,
        "--key",
        &key,
        "--ca",
        &authority,
        "--sessions",
        "1",
    ];
    let (mut server, address) = qt_server(&python, &arguments);
    let credentials = files::named("client-1");
    let mut configuration = trusting(certs::authority());
    configuration.set_local_certificate_chain(credentials.chain);
    configuration.set_private_key(credentials.key);
    let mut client = client(configuration, address, "localhost");
    client.step(&[]).unwrap();
    client.finish().unwrap();
    client.assert_echo(b"it is me");
    client.dtls.shutdown(&client.socket).unwrap();
    server.expect("cert=client-1");
    assert!(server.exit().success(), "{}", server.printed());
}

#[test]
fn compatible_ring_takes_the_cookie_of_a_qt_server() {
    let Some(python) = python() else { return };
    let secret = [0x5a; 32];
    let arguments = [
        "--psk",
        KEY_HEX,
        "--psk-identity",
        "alice",
        "--psk-hint",
        "which",
        "--cookie-secret",
        &hex::encode(secret),
    ];
    let (_server, address) = qt_server(&python, &arguments);
    let mut configuration = DtlsConfiguration::default_dtls_configuration();
    configuration.set_ca_certificates(Vec::new());
    let mut client = client(configuration, address, "");
    with_psk(&mut client, b"alice");
    client.step(&[]).unwrap();
    client.finish().unwrap();
    let here = client.socket.local_addr().unwrap();
    // The second datagram is the hello with the cookie that Qt made.
    let hello = &client.sent[1];
    let secret = CookieSecret::from_shared(&secret).unwrap();
    let anchor = ClockAnchor::new(Instant::now(), SystemTime::now());
    let mut verifier = DtlsClientVerifier::new().unwrap();
    let nowhere = |_: &[u8], _: SocketAddr| Ok(());
    assert!(!verifier.verify_client(nowhere, hello, here).unwrap());
    verifier.set_cookie_ring(CookieRing::qt_compatible(secret, anchor));
    assert!(verifier.verify_client(nowhere, hello, here).unwrap());
}

#[test]
fn qt_client_checks_our_certificate_and_name_and_shuts_down() {
    let Some(python) = python() else { return };
    let files = Files::new();
    let authority = files.authority(certs::authority());
    let socket = bind();
    let port = socket.local_addr().unwrap().port().to_string();
    let arguments = [
        "127.0.0.1",
        &port,
        "--ca",
        &authority,
        "--name",
        "localhost",
    ];
    let mut client = Peer::start(program(&python, "qdtls_client.py").args(arguments));
    let mut server = accept(serving(), socket, false);
    server.finish().unwrap();
    assert_eq!(server.echo(10), 3);
    assert_eq!(
        server.dtls.handshake_state(),
        HandshakeState::HandshakeNotStarted
    );
    client.expect("ENCRYPTED DtlsV1_2");
    client.expect("cert=localhost");
    client.expect("REPLY 3");
    client.expect("SHUTDOWN ok");
    assert!(client.exit().success(), "{}", client.printed());
}

#[test]
fn qt_client_with_a_pre_shared_key_sees_our_shutdown() {
    let Some(python) = python() else { return };
    let socket = bind();
    let port = socket.local_addr().unwrap().port().to_string();
    let arguments = [
        "127.0.0.1",
        &port,
        "--psk",
        KEY_HEX,
        "--psk-identity",
        "alice",
        "--await-close",
    ];
    let mut client = Peer::start(program(&python, "qdtls_client.py").args(arguments));
    let mut configuration = DtlsConfiguration::default_dtls_configuration();
    configuration.set_peer_verify_mode(PeerVerifyMode::VerifyNone);
    configuration.set_pre_shared_key_identity_hint(b"which");
    let mut server = accept(configuration, socket, true);
    server.finish().unwrap();
    assert_eq!(server.echo(3), 3);
    client.expect("PSK hint=which");
    client.expect("REPLY 3");
    server.dtls.shutdown(&server.socket).unwrap();
    client.expect("REMOTE_CLOSED after=3");
    assert!(client.exit().success(), "{}", client.printed());
}

#[test]
fn qt_client_refuses_our_certificate() {
    let Some(python) = python() else { return };
    let files = Files::new();
    let stranger = files.write("stranger.pem", Authority::root("stranger", ec_key()).pem());
    let socket = bind();
    let port = socket.local_addr().unwrap().port().to_string();
    let arguments = ["127.0.0.1", &port, "--ca", &stranger, "--name", "localhost"];
    let mut client = Peer::start(program(&python, "qdtls_client.py").args(arguments));
    let mut server = accept(serving(), socket, false);
    // Qt judges after the last flight and goes without a word.
    server.finish().unwrap();
    client.expect("VERIFY_ERROR UnableToGetLocalIssuerCertificate");
    assert_eq!(client.exit().code(), Some(5), "{}", client.printed());
    server.say(b"nobody hears this");
}

#[test]
fn qt_client_shows_us_its_certificate() {
    let Some(python) = python() else { return };
    let files = Files::new();
    let authority = files.authority(certs::authority());
    let [certificate, key] = files.identity("client", &files::named("client-1"));
    let socket = bind();
    let port = socket.local_addr().unwrap().port().to_string();
    let arguments = [
        "127.0.0.1",
        &port,
        "--ca",
        &authority,
        "--name",
        "localhost",
        "--cert",
        &certificate,
        "--key",
        &key,
    ];
    let mut client = Peer::start(program(&python, "qdtls_client.py").args(arguments));
    let mut configuration = serving();
    configuration.set_peer_verify_mode(PeerVerifyMode::VerifyPeer);
    configuration.set_ca_certificates(vec![certs::authority().certificate.clone()]);
    let mut server = accept(configuration, socket, false);
    server.finish().unwrap();
    assert!(server.dtls.peer_certificate().is_some());
    assert_eq!(server.echo(10), 3);
    assert!(client.exit().success(), "{}", client.printed());
}

/// Reads until the peer ends the association, and answers how.
fn end_of(end: &mut End) -> Error {
    loop {
        if let Err(error) = end.message() {
            return error;
        }
    }
}

#[test]
fn renegotiation_is_refused() {
    if missing("openssl") {
        return;
    }
    // Asked for by a server.
    let files = Files::new();
    let [certificate, key] = files.identity("server", &files::localhost());
    let (mut server, address) = Peer::start_on_free_port(
        |port| {
            let mut command = Command::new("openssl");
            command.args(["s_server", "-dtls1_2", "-accept"]);
            command.arg(format!("127.0.0.1:{port}"));
            command.args(["-cert", &certificate, "-key", &key]);
            command
        },
        "ACCEPT",
    );
    let mut client = client(trusting(certs::authority()), address, "localhost");
    client.step(&[]).unwrap();
    client.finish().unwrap();
    let cipher = client.dtls.session_cipher().unwrap().to_owned();
    client.say(b"hello\n");
    server.expect("hello");
    server.say("r\n");
    let ended = end_of(&mut client);
    assert_eq!(ended.kind(), DtlsError::TlsFatalError, "{cipher} {ended:?}");
    assert!(
        ended.error_string().contains("handshake_failure"),
        "{ended:?}"
    );

    // Asked for by a client.
    let socket = bind();
    let address = socket.local_addr().unwrap().to_string();
    let mut client = Command::new("openssl");
    client.args(["s_client", "-dtls1_2", "-connect", &address]);
    let mut client = Peer::start(&mut client);
    let mut server = accept(serving(), socket, false);
    server.finish().unwrap();
    client.say("hello\n");
    assert_eq!(server.message().unwrap(), b"hello\n");
    client.say("R\n");
    let ended = end_of(&mut server);
    assert_eq!(ended.kind(), DtlsError::TlsFatalError, "{ended:?}");
    assert!(
        ended.error_string().contains("handshake_failure"),
        "{ended:?}"
    );
}
