//! How an association goes from one state to the next.

use std::io;
use std::net::SocketAddr;

use super::calls::{self, Judge};
use super::contexts::Needs;
use super::decrypted::{DatagramOutcome, Decrypted};
use super::dtls::Dtls;
use super::error::Error;
use super::results::Results;
use super::socket::Socket;
use super::ssl_error::{SslError, SslErrorCode, not_ignored};
use super::types::{DtlsError, HandshakeState};
use crate::connection::Connection;
use crate::context::Context;
use crate::error::{Error as CoreError, RecvError};
use crate::listener::{self, Incoming, Listener};
use crate::server_name::ServerName;
use crate::types::{AddressProof, Mtu, Role};

/// The smallest link there is for DTLS, in bytes (RFC 6347, 4.1.1.1).
const MIN_LINK_MTU: u16 = 256;
/// Bytes of IP and UDP headers.
const HEADERS_V4: u16 = 20 + 8;
const HEADERS_V6: u16 = 40 + 8;

impl Dtls {
    pub(super) fn start_client(
        &mut self,
        socket: &mut impl Socket,
        peer: SocketAddr,
        datagram: &[u8],
    ) -> Result<HandshakeState, Error> {
        let name = self.expected_name(socket);
        self.name_is_missing = name.is_none();
        let context = self.start_context(Role::Client, peer)?;
        self.begin();
        let now = self.now();
        let session = self.session.take();
        let connection = calls::during(&mut self.hooks, || match &session {
            Some(session) => Connection::client_resuming(&context, peer, name, session, now),
            None => Connection::client(&context, peer, name, now),
        })
        .map_err(Error::initialization)?;
        self.connection = Some(Box::new(connection));
        self.state = HandshakeState::HandshakeInProgress;
        if datagram.is_empty() {
            self.settle(socket, Ok(()))
        } else {
            self.feed(socket, datagram)
        }
    }

    pub(super) fn start_server(
        &mut self,
        socket: &mut impl Socket,
        peer: SocketAddr,
        datagram: &[u8],
    ) -> Result<HandshakeState, Error> {
        if datagram.is_empty() {
            return Err(Error::input("a server starts with a ClientHello"));
        }
        self.name_is_missing = false;
        let context = self.start_context(Role::Server, peer)?;
        self.begin();
        let started = if self.configuration.cookies {
            self.start_with_cookie(&context, peer, datagram)?
        } else {
            self.start_without_cookie(&context, peer, datagram)?
        };
        self.state = HandshakeState::HandshakeInProgress;
        self.settle(socket, started)
    }

    /// Nothing is sent unless `datagram` carries a good cookie.
    fn start_with_cookie(
        &mut self,
        context: &Context,
        peer: SocketAddr,
        datagram: &[u8],
    ) -> Result<Result<(), CoreError>, Error> {
        let ring = self.cookie_ring()?;
        let mut listener = Listener::new(context, ring).map_err(Error::initialization)?;
        let now = self.now();
        let incoming = calls::during(&mut self.hooks, || {
            listener.handle_datagram(now, peer, datagram)
        });
        match incoming? {
            Incoming::Connection(connection) => {
                self.connection = Some(connection);
                Ok(Ok(()))
            }
            Incoming::Refused { connection, error } => {
                self.connection = Some(connection);
                Ok(Err(error))
            }
            Incoming::Reply(_) | Incoming::Dropped(_) => Err(Error::new(
                DtlsError::TlsFatalError,
                "the datagram is no ClientHello with a good cookie",
            )),
        }
    }

    fn start_without_cookie(
        &mut self,
        context: &Context,
        peer: SocketAddr,
        datagram: &[u8],
    ) -> Result<Result<(), CoreError>, Error> {
        // Said by turning the cookies off.
        let proof = AddressProof::ProvedElsewhere;
        let now = self.now();
        let started = calls::during(&mut self.hooks, || {
            listener::accept_unproved(context, peer, now, proof, datagram)
        });
        let Some((connection, started)) = started? else {
            return Err(Error::new(
                DtlsError::TlsFatalError,
                "the datagram is no ClientHello",
            ));
        };
        self.connection = Some(Box::new(connection));
        Ok(started)
    }

    /// The context of this start, with this object's MTU.
    fn start_context(&self, role: Role, peer: SocketAddr) -> Result<Context, Error> {
        let configuration = &self.configuration;
        let wants_certificate = !self
            .ignored
            .contains(&SslError::new(SslErrorCode::NoPeerCertificate, None));
        let needs = Needs {
            role,
            psk: self.hooks.psk.is_some(),
            certificate: role == Role::Server
                && configuration.verifies(role)
                && configuration.interrupt
                && wants_certificate,
        };
        let transport = configuration
            .transport
            .clone()
            .allow_oversize(true)
            .mtu(payload(self.mtu_hint(), peer));
        configuration
            .context(needs)
            .and_then(|context| context.with_transport(transport))
            .map_err(Error::initialization)
    }

    /// The verification name, or else the address that the socket is connected to.
    fn expected_name(&self, socket: &impl Socket) -> Option<ServerName> {
        match self.peer_verification_name() {
            "" => {
                let peer = socket.connected_peer()?;
                Some(peer.ip().to_canonical().into())
            }
            name => ServerName::try_from(name).ok(),
        }
    }

    /// Forgets what earlier handshakes found out.
    fn begin(&mut self) {
        self.results = Results::default();
        self.left.clear();
        self.hooks.judge = Judge::default();
        self.prepare_judge();
    }

    fn prepare_judge(&mut self) {
        let judge = &mut self.hooks.judge;
        judge.deny.clone_from(&self.configuration.deny);
        judge.name_is_missing = self.name_is_missing;
        judge.ignored.clone_from(&self.ignored);
    }

    pub(super) fn continue_handshake(
        &mut self,
        socket: &mut impl Socket,
        datagram: &[u8],
    ) -> Result<HandshakeState, Error> {
        let peer = self.peer();
        let hint = self.mtu_hint();
        if let (Some(connection), Some(peer)) = (&mut self.connection, peer)
            && hint != 0
            && connection.mtu() > payload(hint, peer)
        {
            connection
                .set_mtu(payload(hint, peer))
                .map_err(Error::initialization)?;
        }
        self.feed(socket, datagram)
    }

    fn feed(&mut self, socket: &mut impl Socket, datagram: &[u8]) -> Result<HandshakeState, Error> {
        self.prepare_judge();
        let now = self.now();
        let outcome = match &mut self.connection {
            Some(connection) => calls::during(&mut self.hooks, || {
                connection.handle_datagram(now, datagram)
            }),
            None => Ok(()),
        };
        self.settle(socket, outcome)
    }

    pub(super) fn retransmit(&mut self, socket: &mut impl Socket) -> Result<bool, Error> {
        self.prepare_judge();
        let now = self.now();
        let Some(connection) = &mut self.connection else {
            return Err(Error::operation("no handshake is in progress"));
        };
        if self.state != HandshakeState::HandshakeInProgress {
            return Err(Error::operation("no handshake is in progress"));
        }
        let before = connection.stats().retransmissions;
        let outcome = calls::during(&mut self.hooks, || connection.handle_timeout(now));
        let after = connection.stats().retransmissions;
        self.settle(socket, outcome)?;
        Ok(after > before)
    }

    /// Looks at what a step of the handshake came to: sends, judges, changes the state.
    fn settle(
        &mut self,
        socket: &mut impl Socket,
        outcome: Result<(), CoreError>,
    ) -> Result<HandshakeState, Error> {
        let sent = self.flush(socket);
        if let Err(error) = outcome {
            return Err(self.failed(error));
        }
        self.look_for_completion()?;
        sent.map_err(Error::socket)?;
        Ok(self.state)
    }

    /// The handshake failed with `error`.
    fn failed(&mut self, error: CoreError) -> Error {
        let role = self.role().unwrap_or(Role::Client);
        let verifies = self.configuration.verifies(role);
        let errors = match &error {
            CoreError::CertificateRejected { errors, .. } => calls::all_objections(
                &self.hooks.judge.chain,
                self.hooks.judge.deny.as_ref(),
                self.hooks.judge.name_is_missing,
                errors,
            ),
            CoreError::NoPeerCertificate(_) if verifies && role == Role::Server => {
                vec![SslError::new(SslErrorCode::NoPeerCertificate, None)]
            }
            _ => {
                self.reset();
                return Error::from(error);
            }
        };
        self.connection = None;
        self.results.chain = std::mem::take(&mut self.hooks.judge.chain);
        self.results.errors = errors;
        self.state = HandshakeState::PeerVerificationFailed;
        Error::verification(error)
    }

    /// Judges the peer once the handshake is done on the wire.
    fn look_for_completion(&mut self) -> Result<(), Error> {
        let Some(connection) = &self.connection else {
            return Ok(());
        };
        if self.state != HandshakeState::HandshakeInProgress || !connection.is_established() {
            return Ok(());
        }
        let Some(info) = connection.handshake_info() else {
            return Ok(());
        };
        let cipher = connection.ssl().and_then(|ssl| ssl.current_cipher());
        self.results = Results::of(info, cipher);
        let raised = info.verification_errors();
        let role = connection.role();
        if self.configuration.verifies(role) {
            let judge = &self.hooks.judge;
            self.results.errors = match &self.results.chain[..] {
                // A peer that has the key is the right one.
                [] if info.psk_identity().is_some() => Vec::new(),
                [] => vec![SslError::new(SslErrorCode::NoPeerCertificate, None)],
                chain => {
                    calls::all_objections(chain, judge.deny.as_ref(), judge.name_is_missing, raised)
                }
            };
        }
        let left = not_ignored(&self.results.errors, &self.ignored);
        if left.is_empty() {
            self.state = HandshakeState::HandshakeComplete;
            return self.look_for_the_end();
        }
        let names: Vec<_> = left.iter().map(|error| error.error_string()).collect();
        let text = format!(
            "the peer's certificate is not acceptable: {}",
            names.join(" ")
        );
        self.state = HandshakeState::PeerVerificationFailed;
        Err(Error::new(DtlsError::PeerVerificationError, text))
    }

    /// A peer can close in the very datagram that completes the handshake.
    fn look_for_the_end(&mut self) -> Result<(), Error> {
        if !self
            .connection
            .as_ref()
            .is_some_and(|connection| connection.is_closed_by_peer())
        {
            return Ok(());
        }
        let mut messages = Vec::new();
        self.receive_into(&mut messages);
        self.reset();
        self.left = messages;
        Err(closed_by_peer())
    }

    pub(super) fn write(
        &mut self,
        socket: &mut impl Socket,
        message: &[u8],
    ) -> Result<usize, Error> {
        if message.is_empty() {
            return Ok(0);
        }
        let Some(connection) = &mut self.connection else {
            return Ok(0);
        };
        let outcome = connection.send(message);
        let is_over = connection.is_closed();
        let sent = self.flush(socket);
        if is_over {
            self.reset();
        }
        outcome.map_err(Error::send)?;
        sent.map_err(Error::socket)?;
        Ok(message.len())
    }

    pub(super) fn decrypt(
        &mut self,
        socket: &mut impl Socket,
        datagram: &[u8],
    ) -> Result<Decrypted, Error> {
        let now = self.now();
        let Some(connection) = &mut self.connection else {
            return Err(Error::operation("there is no association"));
        };
        let drops = connection.stats().drops.clone();
        let repeated = connection.stats().retransmissions;
        let outcome = calls::during(&mut self.hooks, || {
            connection.handle_datagram(now, datagram)
        });
        let answered = connection.stats().retransmissions > repeated;
        let dropped = connection
            .stats()
            .drops
            .iter()
            .find(|&(reason, count)| count > drops.count(reason))
            .map(|(reason, _)| reason);
        let is_closed = connection.is_closed_by_peer();
        let sent = self.flush(socket);
        let mut messages = std::mem::take(&mut self.left);
        self.receive_into(&mut messages);
        if outcome.is_err() || is_closed {
            self.reset();
            self.left = messages;
            outcome?;
            return Err(closed_by_peer());
        }
        if let Err(error) = sent {
            self.left = messages;
            return Err(Error::socket(error));
        }
        let outcome = match dropped {
            _ if !messages.is_empty() => DatagramOutcome::Data,
            _ if answered => DatagramOutcome::HandshakeAnswered,
            Some(reason) => DatagramOutcome::Dropped(reason),
            None => DatagramOutcome::NotAuthentic,
        };
        Ok(Decrypted { messages, outcome })
    }

    /// Takes the messages that wait in the connection.
    pub(super) fn receive_into(&mut self, messages: &mut Vec<Vec<u8>>) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        loop {
            let mut message = Vec::new();
            let taken = match connection.recv(&mut message) {
                Err(RecvError::TooSmall { needed }) => {
                    message.resize(needed, 0);
                    connection.recv(&mut message)
                }
                taken => taken,
            };
            match taken {
                Ok(Some(_)) => messages.push(message),
                Ok(None) | Err(_) => break,
            }
        }
    }

    /// Sends every datagram that waits; answers the first failure.
    pub(super) fn flush(&mut self, socket: &mut impl Socket) -> io::Result<()> {
        let mut sent = Ok(());
        let Some(connection) = &mut self.connection else {
            return sent;
        };
        while let Some(transmit) = connection.poll_transmit() {
            let now_sent = socket.send_datagram(transmit.contents, transmit.path.peer);
            sent = sent.and(now_sent);
        }
        // What they tell is asked for where it matters.
        while connection.poll_event().is_some() {}
        sent
    }

    /// Forgets the association and all that it found out; peer, name and configuration stay.
    pub(super) fn reset(&mut self) {
        self.connection = None;
        self.results = Results::default();
        self.ignored.clear();
        self.left.clear();
        self.hooks.judge = Judge::default();
        self.state = HandshakeState::HandshakeNotStarted;
    }
}

fn closed_by_peer() -> Error {
    let text = "the peer closed the association";
    Error::new(DtlsError::RemoteClosedConnectionError, text)
}

/// The UDP payload for a link of `hint` bytes.
fn payload(hint: u16, peer: SocketAddr) -> Mtu {
    if hint == 0 {
        return Mtu::DEFAULT;
    }
    let headers = if peer.ip().to_canonical().is_ipv4() {
        HEADERS_V4
    } else {
        HEADERS_V6
    };
    Mtu::step(hint.max(MIN_LINK_MTU) - headers).min(Mtu::MAX)
}
