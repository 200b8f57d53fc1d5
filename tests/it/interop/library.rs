//! Libraries without tools of their own: small programs over them, in `tests/peers`, compiled by the tests.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use openssl_dtls::{Alert, Context, Error, Mtu};

use super::{
    Files, Peer, assert_alert, assert_echo, assert_rejected, connect, files, localhost, missing,
    quick, refusal, requiring_certificate, serving_certificate, serving_psk, skip, trusting,
};
use crate::loopback::Server;
use crate::support::certs::{self, Authority};
use crate::support::{IDENTITY, KEY, psk};

/// What the programs send as clients.
const QUESTION: &[u8] = b"there and back again";

/// A library, and what it agrees with us on.
pub(crate) struct Library {
    /// The name of the program's source.
    pub(crate) name: &'static str,
    pub(crate) header: &'static str,
    pub(crate) link: &'static [&'static str],
    /// Our name of each suite, and the library's.
    pub(crate) ecdsa: [&'static str; 2],
    pub(crate) rsa: [&'static str; 2],
    pub(crate) psk: [&'static str; 2],
    /// The alert it sends when it does not know who signed our certificate.
    pub(crate) unknown_authority: Alert,
}

/// A compiled program, and files for it.
pub(crate) struct Program {
    files: Files,
    path: PathBuf,
}

impl Library {
    /// Compiles the program; `None` if the library or a compiler is missing, which is said.
    fn compile(&self) -> Option<Program> {
        if missing("cc") {
            return None;
        }
        let mut probe = Command::new("cc");
        probe.args(["-fsyntax-only", "-include", self.header, "-x", "c", "-"]);
        if !Peer::start(&mut probe).exit_at_once().success() {
            skip(&format!("{} is not installed", self.header));
            return None;
        }
        let files = Files::new();
        let path = files.path(self.name);
        let source = format!("{}/tests/peers/{}.c", env!("CARGO_MANIFEST_DIR"), self.name);
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-Wall", "-Wextra", "-Werror", "-o"]);
        compiler.arg(&path).arg(source).args(self.link);
        let mut compiler = Peer::start(&mut compiler);
        let status = compiler.exit_at_once();
        assert!(status.success(), "{}", compiler.printed());
        Some(Program { files, path })
    }
}

impl Program {
    /// Starts it as a server of one peer.
    fn server(&self, arguments: &[&str]) -> (Peer, SocketAddr) {
        let peer = Peer::start(Command::new(&self.path).arg("server").args(arguments));
        let port: u16 = peer.rest_of_line("port ").parse().unwrap();
        (peer, (Ipv4Addr::LOCALHOST, port).into())
    }

    fn certificate_server(
        &self,
        credentials: &files::Credentials,
        more: &[&str],
    ) -> (Peer, SocketAddr) {
        let [chain, key] = self.files.identity("server", credentials);
        self.server(&[&["cert", &chain, &key], more].concat())
    }

    fn client(&self, server: &Server, arguments: &[&str]) -> Peer {
        let mut command = Command::new(&self.path);
        command.args(["client", &server.address.port().to_string()]);
        Peer::start(command.args(arguments))
    }

    /// Starts it as a client that trusts `authority` and expects `localhost`.
    fn trusting_client(&self, server: &Server, authority: &Authority, more: &[&str]) -> Peer {
        let ca = self.files.authority(authority);
        self.client(server, &[&["ca", &ca, "localhost"], more].concat())
    }
}

/// The suite is what both say it is.
#[track_caller]
fn assert_suite(ours: &str, peer: &Peer, [expected, theirs]: [&str; 2]) {
    assert_eq!(ours, expected);
    assert_eq!(peer.rest_of_line("suite "), theirs);
}

/// The program exits as after a success.
#[track_caller]
fn assert_success(peer: &mut Peer) {
    let status = peer.exit();
    assert!(status.success(), "{status}: {}", peer.printed());
    peer.expect("closed");
}

pub(crate) fn its_server_with_a_certificate(library: &Library) {
    let Some(program) = library.compile() else {
        return;
    };
    let (mut peer, address) = program.certificate_server(&files::localhost(), &[]);
    let context = trusting(certs::authority()).build().unwrap();
    let client = connect(&context, address, localhost()).unwrap();
    let info = client.handshake_info().unwrap();
    assert_suite(info.cipher_suite(), &peer, library.ecdsa);
    assert_eq!(info.verified_name(), Some("localhost"));
    for message in ["one", "two words"] {
        assert_echo(&client, message.as_bytes());
        peer.expect(&format!("got {message}"));
    }
    client.close().unwrap();
    assert_success(&mut peer);
}

pub(crate) fn its_server_asks_for_a_certificate(library: &Library) {
    let Some(program) = library.compile() else {
        return;
    };
    let ca = program.files.authority(certs::authority());
    let (mut peer, address) = program.certificate_server(&files::localhost(), &[&ca]);
    let context = trusting(certs::authority()).identity(certs::client_identity());
    let client = connect(&context.build().unwrap(), address, localhost()).unwrap();
    assert_echo(&client, b"known");
    let info = client.handshake_info().unwrap();
    assert_suite(info.cipher_suite(), &peer, library.ecdsa);
    client.close().unwrap();
    assert_success(&mut peer);

    // One of an authority that it does not know.
    let stranger = Authority::root("another authority", certs::ec_key());
    let (mut peer, address) = program.certificate_server(&files::localhost(), &[&ca]);
    let identity = stranger.issue(&certs::Leaf::named("client-2"));
    let context = trusting(certs::authority()).identity(identity);
    let error = refusal(&context.build().unwrap(), address);
    assert_alert(&error, library.unknown_authority);
    assert!(!peer.exit().success());
}

pub(crate) fn its_server_with_a_psk(library: &Library) {
    let Some(program) = library.compile() else {
        return;
    };
    let identity = std::str::from_utf8(IDENTITY).unwrap();
    let key = std::str::from_utf8(KEY).unwrap();
    let (mut peer, address) = program.server(&["psk", identity, key]);
    let context = Context::client().psk(psk()).transport(quick());
    let client = connect(&context.build().unwrap(), address, None).unwrap();
    assert_echo(&client, b"shared");
    let info = client.handshake_info().unwrap();
    assert_suite(info.cipher_suite(), &peer, library.psk);
    assert_eq!(info.psk_identity(), Some(IDENTITY));
    client.close().unwrap();
    assert_success(&mut peer);
}

pub(crate) fn its_server_with_a_large_chain(library: &Library) {
    let Some(program) = library.compile() else {
        return;
    };
    let (root, credentials) = files::rsa();
    let (mut peer, address) = program.certificate_server(credentials, &[]);
    let client = connect(&trusting(root).build().unwrap(), address, localhost()).unwrap();
    assert_echo(&client, b"in pieces");
    let info = client.handshake_info().unwrap();
    assert_suite(info.cipher_suite(), &peer, library.rsa);
    assert_eq!(info.peer_chain(), credentials.chain);
    client.close().unwrap();
    assert_success(&mut peer);
}

pub(crate) fn its_server_is_refused(library: &Library) {
    let Some(program) = library.compile() else {
        return;
    };
    let stranger = Authority::root("another authority", certs::ec_key());
    let leaf = certs::Leaf::named("localhost");
    for (credentials, result) in [
        (files::Credentials::issue(&stranger, &leaf), 20),
        (files::named("other.example"), 62),
        (files::expired(), 10),
    ] {
        let (mut peer, address) = program.certificate_server(&credentials, &[]);
        let context = trusting(certs::authority()).build().unwrap();
        assert_rejected(&refusal(&context, address), result);
        assert!(!peer.exit().success());
        peer.expect("failed: handshake");
    }
}

pub(crate) fn its_client_with_a_certificate(library: &Library) {
    let Some(program) = library.compile() else {
        return;
    };
    let server = Server::new(&serving_certificate().build().unwrap());
    let mut peer = program.trusting_client(&server, certs::authority(), &[]);
    let info = server.connected();
    assert_suite(info.cipher_suite(), &peer, library.ecdsa);
    assert_eq!(info.server_name(), Some("localhost"));
    server.assert_message(QUESTION);
    assert_success(&mut peer);
    server.closed();

    let server = Server::new(&requiring_certificate().build().unwrap());
    let credentials = files::named("client-1");
    let [chain, key] = program.files.identity("client", &credentials);
    let mut peer = program.trusting_client(&server, certs::authority(), &[&chain, &key]);
    assert_eq!(server.connected().peer_chain(), credentials.chain);
    server.assert_message(QUESTION);
    assert_success(&mut peer);
    server.closed();

    let mut peer = program.trusting_client(&server, certs::authority(), &[]);
    let error = server.failed();
    assert!(matches!(error, Error::NoPeerCertificate(_)), "{error:?}");
    assert!(!peer.exit().success());
}

pub(crate) fn its_client_with_a_psk(library: &Library) {
    let Some(program) = library.compile() else {
        return;
    };
    let server = Server::new(&serving_psk().build().unwrap());
    let identity = std::str::from_utf8(IDENTITY).unwrap();
    let key = std::str::from_utf8(KEY).unwrap();
    let mut peer = program.client(&server, &["psk", identity, key]);
    let info = server.connected();
    assert_suite(info.cipher_suite(), &peer, library.psk);
    assert_eq!(info.psk_identity(), Some(IDENTITY));
    server.assert_message(QUESTION);
    assert_success(&mut peer);
    server.closed();

    let mut peer = program.client(&server, &["psk", "nobody", key]);
    let error = server.failed();
    assert!(matches!(error, Error::UnknownPskIdentity(_)), "{error:?}");
    assert!(!peer.exit().success());
}

pub(crate) fn its_client_takes_fragments(library: &Library) {
    let Some(program) = library.compile() else {
        return;
    };
    let (root, credentials) = files::rsa();
    let narrow = quick().mtu(Mtu::new(500).unwrap());
    let context = Context::server(credentials.identity()).transport(narrow);
    let server = Server::new(&context.build().unwrap());
    let mut peer = program.trusting_client(&server, root, &[]);
    assert_suite(server.connected().cipher_suite(), &peer, library.rsa);
    server.assert_message(QUESTION);
    assert_success(&mut peer);
    let stats = server.closed();
    assert!(stats.datagrams_sent >= 6, "{stats:?}");
}

pub(crate) fn its_client_refuses_us(library: &Library) {
    let Some(program) = library.compile() else {
        return;
    };
    let stranger = Authority::root("another authority", certs::ec_key());
    let server = Server::new(&serving_certificate().build().unwrap());
    let mut peer = program.trusting_client(&server, &stranger, &[]);
    assert_alert(&server.failed(), library.unknown_authority);
    assert!(!peer.exit().success());
    peer.expect("failed: handshake");
}

/// The tests that every library has.
macro_rules! library_tests {
    ($library:expr; $($name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                $crate::interop::library::$name(&$library);
            }
        )+
    };
}
pub(crate) use library_tests;
