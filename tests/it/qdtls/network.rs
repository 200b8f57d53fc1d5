//! Two ends and the datagrams between them, on a clock that stands still.

#![expect(unreachable_pub, reason = "shared by the modules of these tests")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use openssl_dtls::qdtls::{
    Dtls, DtlsClientVerifier, DtlsConfiguration, DtlsError, Error, HandshakeState, PeerVerifyMode,
    Socket, SslMode,
};

use crate::support::clock;

/// Datagrams and where they went.
type Log = Rc<RefCell<Vec<(SocketAddr, Vec<u8>)>>>;

/// A socket that keeps what is sent through it.
#[derive(Clone, Debug, Default)]
pub struct Wire {
    waiting: Rc<RefCell<VecDeque<Vec<u8>>>>,
    /// Every datagram that was sent, and where to.
    pub log: Log,
    /// How many datagrams to lose from now on.
    pub lose: Rc<Cell<usize>>,
    pub refuses: Rc<Cell<bool>>,
    pub connected: Option<SocketAddr>,
}

impl Wire {
    pub fn receive(&self) -> Option<Vec<u8>> {
        self.waiting.borrow_mut().pop_front()
    }

    /// The next datagram, which must be there.
    pub fn expect(&self) -> Vec<u8> {
        self.receive().expect("a datagram was sent")
    }

    pub fn put(&self, datagram: &[u8]) {
        self.waiting.borrow_mut().push_back(datagram.to_vec());
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    pub fn clear(&self) {
        self.waiting.borrow_mut().clear();
    }

    pub fn sent(&self) -> usize {
        self.log.borrow().len()
    }
}

impl Socket for &Wire {
    fn send_datagram(&mut self, datagram: &[u8], peer: SocketAddr) -> io::Result<()> {
        if self.refuses.get() {
            return Err(io::Error::other("the network is down"));
        }
        self.log.borrow_mut().push((peer, datagram.to_vec()));
        match self.lose.get() {
            0 => self.put(datagram),
            left => self.lose.set(left - 1),
        }
        Ok(())
    }

    fn connected_peer(&self) -> Option<SocketAddr> {
        self.connected
    }
}

/// No socket.
pub const NULL: Option<&Wire> = None;

/// Addresses of a client and a server.
pub type Addresses = (SocketAddr, SocketAddr);

pub fn ipv4() -> Addresses {
    (
        "192.0.2.1:40000".parse().unwrap(),
        "192.0.2.2:4433".parse().unwrap(),
    )
}

pub fn ipv6() -> Addresses {
    (
        "[2001:db8::1]:40000".parse().unwrap(),
        "[2001:db8::2]:4433".parse().unwrap(),
    )
}

pub fn mapped() -> Addresses {
    (
        "[::ffff:192.0.2.1]:40000".parse().unwrap(),
        "[::ffff:192.0.2.2]:4433".parse().unwrap(),
    )
}

/// A client and a server.
pub struct Ends {
    pub client: Dtls,
    pub server: Dtls,
    pub to_server: Wire,
    pub to_client: Wire,
    pub addresses: Addresses,
}

/// A server as Qt's tests have it: no cookies, nothing verified.
pub fn server_configuration() -> DtlsConfiguration {
    let mut configuration = DtlsConfiguration::default_dtls_configuration();
    configuration.set_dtls_cookie_verification_enabled(false);
    configuration.set_peer_verify_mode(PeerVerifyMode::VerifyNone);
    configuration
}

pub fn client_configuration() -> DtlsConfiguration {
    let mut configuration = DtlsConfiguration::default_dtls_configuration();
    configuration.set_ca_certificates(Vec::new());
    configuration
}

pub fn new_end(mode: SslMode) -> Dtls {
    let mut end = Dtls::new(mode);
    end.set_clock(clock::now);
    end
}

pub fn verifier() -> DtlsClientVerifier {
    let mut verifier = DtlsClientVerifier::new().unwrap();
    verifier.set_clock(clock::now);
    verifier
}

impl Ends {
    pub fn new(client: DtlsConfiguration, server: DtlsConfiguration, name: &str) -> Ends {
        Self::at(ipv4(), client, server, name)
    }

    pub fn at(
        addresses: Addresses,
        client_configuration: DtlsConfiguration,
        server_configuration: DtlsConfiguration,
        name: &str,
    ) -> Ends {
        let mut client = new_end(SslMode::SslClientMode);
        client.set_peer(addresses.1, name).unwrap();
        client.set_dtls_configuration(client_configuration).unwrap();
        let mut server = new_end(SslMode::SslServerMode);
        server.set_peer(addresses.0, "").unwrap();
        server.set_dtls_configuration(server_configuration).unwrap();
        Ends {
            client,
            server,
            to_server: Wire::default(),
            to_client: Wire::default(),
            addresses,
        }
    }

    /// Two ends that share a key and verify nothing.
    pub fn with_psk(mut client: DtlsConfiguration, server: DtlsConfiguration) -> Ends {
        client.set_peer_verify_mode(PeerVerifyMode::VerifyNone);
        let mut ends = Ends::new(client, server, "");
        ends.share_key();
        ends
    }

    pub fn share_key(&mut self) {
        for end in [&mut self.client, &mut self.server] {
            end.on_psk_required(|authenticator| {
                authenticator
                    .set_pre_shared_key(b"sixteen byte key")
                    .unwrap();
            });
        }
    }

    /// Ends in the middle of a message exchange.
    pub fn connected() -> Ends {
        let mut ends = Ends::with_psk(client_configuration(), server_configuration());
        ends.handshake();
        ends
    }

    pub fn start(&mut self) {
        let state = self.client.do_handshake(&self.to_server, &[]).unwrap();
        assert_eq!(state, HandshakeState::HandshakeInProgress);
    }

    /// Passes the handshake's datagrams until none is left, and answers how the last step of each end came out that failed.
    pub fn exchange(&mut self) -> (Option<Error>, Option<Error>) {
        let (mut client_error, mut server_error) = (None, None);
        loop {
            if let Some(datagram) = self.to_server.receive() {
                if takes_handshake(&self.server)
                    && let Err(error) = self.server.do_handshake(&self.to_client, &datagram)
                {
                    server_error = Some(error);
                }
            } else if let Some(datagram) = self.to_client.receive() {
                if takes_handshake(&self.client)
                    && self.client.handshake_state() != HandshakeState::HandshakeNotStarted
                    && let Err(error) = self.client.do_handshake(&self.to_server, &datagram)
                {
                    client_error = Some(error);
                }
            } else {
                return (client_error, server_error);
            }
        }
    }

    /// Moves the clock to the next timeout and serves it; answers whether there was one before `limit`.
    pub fn pass_time(&mut self, limit: Duration) -> bool {
        let end = clock::now() + limit;
        let next = [self.client.next_timeout(), self.server.next_timeout()];
        let Some(next) = next.into_iter().flatten().min().filter(|at| *at <= end) else {
            return false;
        };
        clock::move_to(next);
        for (end, wire) in [
            (&mut self.client, &self.to_server),
            (&mut self.server, &self.to_client),
        ] {
            if end.next_timeout().is_some_and(|at| at <= next) {
                end.handle_timeout(wire).unwrap();
            }
        }
        true
    }

    /// A whole handshake without losses.
    pub fn handshake(&mut self) {
        self.start();
        let errors = self.exchange();
        assert!(errors.0.is_none() && errors.1.is_none(), "{errors:?}");
        self.assert_success();
    }

    pub fn assert_success(&self) {
        for end in [&self.client, &self.server] {
            assert!(end.is_connection_encrypted(), "{end:?}");
            assert_eq!(end.handshake_state(), HandshakeState::HandshakeComplete);
            assert_no_error(end);
            assert!(end.peer_verification_errors().is_empty(), "{end:?}");
        }
    }

    /// Sends `message` to the server and answers what it got.
    pub fn client_says(&mut self, message: &[u8]) -> Vec<Vec<u8>> {
        self.client
            .write_datagram_encrypted(&self.to_server, message)
            .unwrap();
        let datagram = self.to_server.expect();
        let decrypted = self.server.decrypt_datagram(&self.to_client, &datagram);
        decrypted.unwrap().into_messages()
    }

    /// Sends `message` to the client and answers what it got.
    pub fn server_says(&mut self, message: &[u8]) -> Vec<Vec<u8>> {
        self.server
            .write_datagram_encrypted(&self.to_client, message)
            .unwrap();
        let datagram = self.to_client.expect();
        let decrypted = self.client.decrypt_datagram(&self.to_server, &datagram);
        decrypted.unwrap().into_messages()
    }

    pub fn assert_works(&mut self) {
        assert_eq!(self.client_says(b"ping"), [b"ping"]);
        assert_eq!(self.server_says(b"pong"), [b"pong"]);
    }
}

/// Passes the cookie exchange with `verifier` and answers the hello it verified.
pub fn verified_hello(ends: &mut Ends, verifier: &mut DtlsClientVerifier) -> Vec<u8> {
    ends.start();
    let peer = ends.addresses.0;
    loop {
        let datagram = ends.to_server.expect();
        if verifier
            .verify_client(&ends.to_client, &datagram, peer)
            .unwrap()
        {
            return verifier.verified_hello().to_vec();
        }
        let answer = ends.to_client.expect();
        ends.client.do_handshake(&ends.to_server, &answer).unwrap();
    }
}

/// Passes time until the handshake of `end` fails, and answers how: an alert in the clear is believed late.
pub fn failure_in_time(end: &mut Dtls, wire: &Wire) -> Error {
    loop {
        clock::move_to(end.next_timeout().expect("the handshake goes on"));
        if let Err(error) = end.handle_timeout(wire) {
            return error;
        }
    }
}

/// A server that was let down waits for a new hello; a client does not begin by itself.
fn takes_handshake(end: &Dtls) -> bool {
    matches!(
        end.handshake_state(),
        HandshakeState::HandshakeNotStarted | HandshakeState::HandshakeInProgress
    )
}

pub fn assert_no_error(end: &Dtls) {
    assert_eq!(end.dtls_error(), DtlsError::NoError, "{end:?}");
    assert_eq!(end.dtls_error_string(), "");
}

/// The kind of the error that `result` must be, which `end` must remember with a text.
#[track_caller]
pub fn kind<T: std::fmt::Debug>(end: &Dtls, result: Result<T, Error>) -> DtlsError {
    let error = result.unwrap_err();
    assert_eq!(end.dtls_error(), error.kind());
    assert_eq!(end.dtls_error_string(), error.error_string());
    assert!(!error.error_string().is_empty());
    error.kind()
}

impl std::fmt::Debug for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ends")
            .field("client", &self.client)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// Runs the test `name` of this binary again, in a process of its own, with `input`; answers whether it passed.
pub fn passes_elsewhere(name: &str, input: &str) -> bool {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--test-threads=1", "--nocapture"])
        .env(CHILD, input)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("running 1 test"), "{printed}");
    output.status.success()
}

/// Says to a test that it is the process another one started, and what for.
pub const CHILD: &str = "OPENSSL_DTLS_TEST_CHILD";
