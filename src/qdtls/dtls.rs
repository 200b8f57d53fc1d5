//! One association with one peer.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use openssl::x509::X509;

use super::calls::Hooks;
use super::clock::Clock;
use super::config::DtlsConfiguration;
use super::decrypted::Decrypted;
use super::error::{Error, LastError};
use super::psk::PreSharedKeyAuthenticator;
use super::results::Results;
use super::socket::{Socket, check_peer, check_socket};
use super::ssl_error::{SslError, not_ignored};
use super::types::{DtlsError, HandshakeState, SslMode, SslProtocol};
use super::verifier::{Cookies, GeneratorParameters};
use crate::connection::Connection;
use crate::cookie::CookieRing;
use crate::handshake_info::HandshakeInfo;
use crate::saved_session::SavedSession;
use crate::server_name::ServerName;
use crate::types::Role;

/// One association with one peer; Qt's `QDtls`.
///
/// It reads no socket: give it the datagrams of its peer, and a socket to answer through. While a handshake is in progress come
/// back with [`handle_timeout`](Self::handle_timeout) when [`next_timeout`](Self::next_timeout) says.
///
/// Every operation answers a `Result`, and [`dtls_error`](Self::dtls_error) remembers the last one. Dropping an association tells
/// its peer nothing; [`shutdown`](Self::shutdown) does.
pub struct Dtls {
    mode: SslMode,
    peer: Option<SocketAddr>,
    name: String,
    mtu_hint: u16,
    cookies: Option<Cookies>,
    ring: Option<CookieRing>,
    pub(super) configuration: DtlsConfiguration,
    pub(super) state: HandshakeState,
    pub(super) connection: Option<Box<Connection>>,
    pub(super) results: Results,
    pub(super) ignored: Vec<SslError>,
    /// Messages of an association that is over.
    pub(super) left: Vec<Vec<u8>>,
    pub(super) hooks: Hooks,
    pub(super) name_is_missing: bool,
    /// To be offered by the next start.
    pub(super) session: Option<SavedSession>,
    clock: Clock,
    last: LastError,
}

impl Dtls {
    /// An association that is not begun, with the [default
    /// configuration](DtlsConfiguration::default_dtls_configuration) as it is now.
    pub fn new(mode: SslMode) -> Dtls {
        Dtls {
            mode,
            peer: None,
            name: String::new(),
            mtu_hint: 0,
            cookies: None,
            ring: None,
            configuration: DtlsConfiguration::default_dtls_configuration(),
            state: HandshakeState::HandshakeNotStarted,
            connection: None,
            results: Results::default(),
            ignored: Vec::new(),
            left: Vec::new(),
            hooks: Hooks::default(),
            name_is_missing: false,
            session: None,
            clock: Clock::default(),
            last: LastError::default(),
        }
    }

    /// Reads the time from `clock` instead of [`Instant::now`].
    pub fn set_clock(&mut self, clock: impl Fn() -> Instant + Send + 'static) {
        self.clock = Clock::new(clock);
    }

    /// Says whose datagrams these will be, and which name its certificate must have: a DNS name in its ASCII form or an IP
    /// address. An empty name takes an earlier one back.
    ///
    /// # Errors
    ///
    /// [`DtlsError::InvalidOperation`] once a handshake has begun, [`DtlsError::InvalidInputParameters`] for an address that is
    /// unspecified, broadcast or multicast, for port 0, and for what is no name. Nothing changes then.
    pub fn set_peer(&mut self, peer: SocketAddr, verification_name: &str) -> Result<(), Error> {
        let result = self
            .require_not_started()
            .and_then(|()| check_peer(peer))
            .and_then(|()| check_name(verification_name));
        self.last.note(result)?;
        self.peer = Some(peer);
        self.name = verification_name.to_owned();
        Ok(())
    }

    /// Says which name the peer's certificate must have, as [`set_peer`](Self::set_peer).
    ///
    /// # Errors
    ///
    /// As [`set_peer`](Self::set_peer).
    pub fn set_peer_verification_name(&mut self, name: &str) -> Result<(), Error> {
        let result = self.require_not_started().and_then(|()| check_name(name));
        self.last.note(result)?;
        self.name = name.to_owned();
        Ok(())
    }

    /// The peer's address and port.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The peer's address.
    pub fn peer_address(&self) -> Option<IpAddr> {
        self.peer.map(|peer| peer.ip())
    }

    /// The peer's port; 0 before one is set.
    pub fn peer_port(&self) -> u16 {
        self.peer.map_or(0, |peer| peer.port())
    }

    /// The name the peer's certificate must have; empty before one is set.
    pub fn peer_verification_name(&self) -> &str {
        &self.name
    }

    /// Which end this is.
    pub fn ssl_mode(&self) -> SslMode {
        self.mode
    }

    /// Says how large the peer's link is: bytes of an IP datagram with its headers, 20 or 40 for IP and 8 for UDP; 0 for unknown.
    ///
    /// It limits the datagrams of handshakes, from the next [`do_handshake`](Self::do_handshake) on; those of messages are as large
    /// as their message. Less than 256 counts as 256, and datagrams never have more than 4096 bytes of UDP payload. Unknown is a
    /// payload of 1200 bytes, lowered when flights are lost.
    pub fn set_mtu_hint(&mut self, mtu_hint: u16) {
        self.mtu_hint = mtu_hint;
    }

    /// What [`set_mtu_hint`](Self::set_mtu_hint) said; 0 at first.
    pub fn mtu_hint(&self) -> u16 {
        self.mtu_hint
    }

    /// Takes cookies that a verifier with the same parameters made, from the next start of a server on.
    ///
    /// # Errors
    ///
    /// [`DtlsError::InvalidInputParameters`] for a secret that is too short; nothing changes.
    pub fn set_cookie_generator_parameters(
        &mut self,
        parameters: &GeneratorParameters,
    ) -> Result<(), Error> {
        let result = Cookies::of(parameters.clone(), self.clock.now()).map(|cookies| {
            self.cookies = Some(cookies);
            self.ring = None;
        });
        self.last.note(result)
    }

    /// Takes the cookies of `ring`: a clone of what the verifier has.
    pub fn set_cookie_ring(&mut self, ring: CookieRing) {
        self.ring = Some(ring);
    }

    /// The parameters in force: those of this process unless others were set.
    ///
    /// # Errors
    ///
    /// [`DtlsError::TlsFatalError`] if the process has none yet and the random generator fails.
    pub fn cookie_generator_parameters(&self) -> Result<GeneratorParameters, Error> {
        match &self.cookies {
            Some(cookies) => Ok(cookies.parameters.clone()),
            None => Ok(Cookies::of_process()?.parameters),
        }
    }

    pub(super) fn cookie_ring(&self) -> Result<CookieRing, Error> {
        match (&self.ring, &self.cookies) {
            (Some(ring), _) => Ok(ring.clone()),
            (None, Some(cookies)) => Ok(cookies.ring.clone()),
            (None, None) => Ok(Cookies::of_process()?.ring),
        }
    }

    /// Uses `configuration` from now on. It is not checked before a handshake starts.
    ///
    /// # Errors
    ///
    /// [`DtlsError::InvalidOperation`] once a handshake has begun.
    pub fn set_dtls_configuration(
        &mut self,
        configuration: DtlsConfiguration,
    ) -> Result<(), Error> {
        let result = self.require_not_started();
        self.last.note(result)?;
        self.configuration = configuration;
        Ok(())
    }

    /// The configuration in use.
    pub fn dtls_configuration(&self) -> &DtlsConfiguration {
        &self.configuration
    }

    /// Answers when a handshake needs a pre-shared key: once, on the thread that called. Qt's signal `pskRequired`.
    ///
    /// Without this no suite with a pre-shared key is offered or served. A panic goes through to the caller of the operation.
    pub fn on_psk_required(
        &mut self,
        handler: impl FnMut(&mut PreSharedKeyAuthenticator) + Send + 'static,
    ) {
        self.hooks.psk = Some(Box::new(handler));
    }

    /// Where the association stands.
    pub fn handshake_state(&self) -> HandshakeState {
        self.state
    }

    /// Whether messages can be exchanged.
    pub fn is_connection_encrypted(&self) -> bool {
        self.state == HandshakeState::HandshakeComplete
    }

    /// The cipher suite by its OpenSSL name; `None` until the handshake is done.
    pub fn session_cipher(&self) -> Option<&str> {
        self.results.cipher.as_deref()
    }

    /// The version; [`SslProtocol::UnknownProtocol`] until the handshake is done.
    pub fn session_protocol(&self) -> SslProtocol {
        self.results.protocol
    }

    /// The peer's certificate, if it sent one. Known as well while its acceptance is open.
    pub fn peer_certificate(&self) -> Option<&X509> {
        self.results.chain.first()
    }

    /// The peer's certificate and those it sent besides.
    pub fn peer_certificate_chain(&self) -> &[X509] {
        &self.results.chain
    }

    /// The application protocol that was agreed on (ALPN); `None` if none was.
    pub fn next_negotiated_protocol(&self) -> Option<&[u8]> {
        self.handshake_info()?.application_protocol()
    }

    /// What it takes a client to resume this association later, with [`set_session`](Self::set_session); `None` if the server offers
    /// no resumption, as those do not that verify their clients.
    pub fn saved_session(&self) -> Option<SavedSession> {
        let connection = self.connection.as_ref()?;
        // A peer that waits to be judged is not one to come back to.
        self.is_connection_encrypted()
            .then(|| connection.saved_session())?
    }

    /// Offers to resume `session` at the next start of a client. It takes the place of verification: offer only what was made with
    /// the same name and configuration.
    ///
    /// # Errors
    ///
    /// [`DtlsError::InvalidOperation`] once a handshake has begun.
    pub fn set_session(&mut self, session: SavedSession) -> Result<(), Error> {
        let result = self.require_not_started();
        self.last.note(result)?;
        self.session = Some(session);
        Ok(())
    }

    /// All that the handshake agreed on; `None` until it is done.
    pub fn handshake_info(&self) -> Option<&HandshakeInfo> {
        self.connection.as_ref()?.handshake_info()
    }

    /// The connection beneath, while there is one: for statistics, keying material, and what else Qt has no word for.
    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_deref()
    }

    /// How the last operation ended.
    pub fn dtls_error(&self) -> DtlsError {
        self.last.kind
    }

    /// The same in words; empty for [`DtlsError::NoError`].
    pub fn dtls_error_string(&self) -> &str {
        &self.last.text
    }

    /// What was wrong with the peer's certificate in this handshake, ignored or not.
    pub fn peer_verification_errors(&self) -> &[SslError] {
        &self.results.errors
    }

    /// Ignores these objections and no others, in this handshake or in the next: each to its certificate.
    pub fn ignore_verification_errors(&mut self, errors: &[SslError]) {
        self.ignored = errors.to_vec();
    }

    /// Starts a handshake, or goes on with one.
    ///
    /// A client starts with an empty datagram, a server with the one its verifier has verified. From then on each datagram of the
    /// peer goes in here until the state is [`HandshakeState::HandshakeComplete`]; after that all of them, repetitions of the
    /// handshake as well, go to [`decrypt_datagram`](Self::decrypt_datagram). Messages that came along wait in
    /// [`take_messages`](Self::take_messages).
    ///
    /// # Errors
    ///
    /// [`DtlsError::InvalidOperation`] in another state or without a peer, [`DtlsError::InvalidInputParameters`] without a socket
    /// or, where one is needed, a datagram. [`DtlsError::TlsInitializationError`] for a configuration that cannot work,
    /// [`DtlsError::TlsFatalError`] if the handshake failed or a server's first datagram starts none: the state is
    /// [`HandshakeState::HandshakeNotStarted`] then. [`DtlsError::PeerVerificationError`] if the peer's certificate is not
    /// acceptable: the state is [`HandshakeState::PeerVerificationFailed`]. [`DtlsError::RemoteClosedConnectionError`] if the peer
    /// closed as soon as the handshake was complete.
    /// [`DtlsError::UnderlyingSocketError`] if a datagram could not be sent; the state tells how far the handshake is, which goes
    /// on.
    pub fn do_handshake(
        &mut self,
        mut socket: impl Socket,
        datagram: &[u8],
    ) -> Result<HandshakeState, Error> {
        let result = self.step(&mut socket, datagram);
        self.last.note(result)
    }

    fn step(&mut self, socket: &mut impl Socket, datagram: &[u8]) -> Result<HandshakeState, Error> {
        match self.state {
            HandshakeState::HandshakeNotStarted => {
                check_socket(socket)?;
                let peer = self
                    .peer
                    .ok_or_else(|| Error::operation("no peer was set"))?;
                match self.role()? {
                    Role::Client => self.start_client(socket, peer, datagram),
                    Role::Server => self.start_server(socket, peer, datagram),
                }
            }
            HandshakeState::HandshakeInProgress => {
                check_socket(socket)?;
                if datagram.is_empty() {
                    return Err(Error::input("there is no datagram"));
                }
                self.continue_handshake(socket, datagram)
            }
            _ => Err(Error::operation("no handshake can go on in this state")),
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if no datagram comes before. `None` outside of a handshake.
    ///
    /// Takes the place of Qt's signal `handshakeTimeout`. May change with every operation.
    #[must_use = "a handshake makes no progress without its timer"]
    pub fn next_timeout(&self) -> Option<Instant> {
        match (self.state, &self.connection) {
            (HandshakeState::HandshakeInProgress, Some(connection)) => connection.poll_timeout(),
            _ => None,
        }
    }

    /// Sends again what was not answered, if it is time; servers need this as clients do. Answers whether it was.
    ///
    /// # Errors
    ///
    /// [`DtlsError::InvalidInputParameters`] without a socket, [`DtlsError::InvalidOperation`] outside of a handshake,
    /// [`DtlsError::TlsFatalError`] if the time of the handshake is over or the peer refused it: the state is
    /// [`HandshakeState::HandshakeNotStarted`] then. [`DtlsError::UnderlyingSocketError`] if a datagram could not be sent.
    pub fn handle_timeout(&mut self, mut socket: impl Socket) -> Result<bool, Error> {
        let result = check_socket(&socket).and_then(|()| self.retransmit(&mut socket));
        self.last.note(result)
    }

    /// Goes on in spite of the objections to the peer's certificate, if all of them are ignored.
    ///
    /// # Errors
    ///
    /// [`DtlsError::InvalidInputParameters`] without a socket, [`DtlsError::InvalidOperation`] in another state than
    /// [`HandshakeState::PeerVerificationFailed`] or if the handshake was
    /// [interrupted](DtlsConfiguration::set_handshake_must_interrupt_on_error), [`DtlsError::PeerVerificationError`] if an
    /// objection is not ignored, whose text names it.
    pub fn resume_handshake(&mut self, socket: impl Socket) -> Result<(), Error> {
        let result = check_socket(&socket).and_then(|()| self.accept_peer());
        self.last.note(result)
    }

    fn accept_peer(&mut self) -> Result<(), Error> {
        if self.state != HandshakeState::PeerVerificationFailed {
            return Err(Error::operation("no certificate waits to be judged"));
        }
        if self.connection.is_none() {
            return Err(Error::operation(
                "the handshake was interrupted, as the configuration wants it",
            ));
        }
        let left = not_ignored(&self.results.errors, &self.ignored);
        if !left.is_empty() {
            let names: Vec<_> = left.iter().map(|error| error.error_string()).collect();
            return Err(Error::new(
                DtlsError::PeerVerificationError,
                format!("not ignored: {}", names.join(" ")),
            ));
        }
        self.results.errors.clear();
        self.ignored.clear();
        self.state = HandshakeState::HandshakeComplete;
        Ok(())
    }

    /// Gives a handshake up. A peer whose certificate was not acceptable is told by a fatal alert; one that still waits for the
    /// handshake is told nothing.
    ///
    /// # Errors
    ///
    /// [`DtlsError::InvalidInputParameters`] without a socket, [`DtlsError::InvalidOperation`] in a state without a handshake,
    /// [`DtlsError::UnderlyingSocketError`] if the alert could not be sent: the handshake is given up all the same.
    pub fn abort_handshake(&mut self, mut socket: impl Socket) -> Result<(), Error> {
        let result = check_socket(&socket).and_then(|()| match self.state {
            HandshakeState::HandshakeInProgress | HandshakeState::PeerVerificationFailed => {
                if let Some(connection) = &mut self.connection {
                    connection.refuse();
                }
                self.send_last(&mut socket)
            }
            _ => Err(Error::operation("no handshake can be given up")),
        });
        self.last.note(result)
    }

    /// Ends the association and tells the peer, once and without waiting for an answer.
    ///
    /// # Errors
    ///
    /// [`DtlsError::InvalidInputParameters`] without a socket, [`DtlsError::InvalidOperation`] if there is no association,
    /// [`DtlsError::UnderlyingSocketError`] if the alert could not be sent: the association is over all the same.
    pub fn shutdown(&mut self, mut socket: impl Socket) -> Result<(), Error> {
        let result = check_socket(&socket)
            .and_then(|()| self.require_encrypted())
            .and_then(|()| {
                if let Some(connection) = &mut self.connection {
                    connection.close();
                }
                self.send_last(&mut socket)
            });
        self.last.note(result)
    }

    /// Sends what waits and forgets the association.
    fn send_last(&mut self, socket: &mut impl Socket) -> Result<(), Error> {
        let sent = self.flush(socket);
        self.reset();
        sent.map_err(Error::socket)
    }

    /// Sends `message` as one record in one datagram and answers its length. An empty message is not sent.
    ///
    /// # Errors
    ///
    /// [`DtlsError::InvalidInputParameters`] without a socket and for more than 16,384 bytes,
    /// [`DtlsError::InvalidOperation`] if there is no association, [`DtlsError::UnderlyingSocketError`] if the socket refused the
    /// datagram, which is lost: the association goes on after all of these. [`DtlsError::TlsFatalError`] if libssl failed, which
    /// ends it.
    pub fn write_datagram_encrypted(
        &mut self,
        mut socket: impl Socket,
        message: &[u8],
    ) -> Result<usize, Error> {
        let result = check_socket(&socket)
            .and_then(|()| self.require_encrypted())
            .and_then(|()| self.write(&mut socket, message));
        self.last.note(result)
    }

    /// Takes one datagram of the peer, whatever it is, and answers the messages in it.
    ///
    /// # Errors
    ///
    /// [`DtlsError::InvalidInputParameters`] without a socket, [`DtlsError::InvalidOperation`] if there is no association.
    /// [`DtlsError::RemoteClosedConnectionError`] if the peer closed it, and [`DtlsError::TlsFatalError`] if the peer or libssl
    /// ended it: it is over, and messages that came before wait in [`take_messages`](Self::take_messages).
    /// [`DtlsError::UnderlyingSocketError`] if an answer could not be sent: messages wait there as well.
    pub fn decrypt_datagram(
        &mut self,
        mut socket: impl Socket,
        datagram: &[u8],
    ) -> Result<Decrypted, Error> {
        let result = check_socket(&socket)
            .and_then(|()| self.require_encrypted())
            .and_then(|()| self.decrypt(&mut socket, datagram));
        self.last.note(result)
    }

    /// Messages that came with the end of the handshake, or before the end of the association, oldest first.
    ///
    /// [`decrypt_datagram`](Self::decrypt_datagram) answers those of the first kind as well, with the next datagram.
    #[must_use = "messages that are not taken are lost"]
    pub fn take_messages(&mut self) -> Vec<Vec<u8>> {
        let mut messages = std::mem::take(&mut self.left);
        if self.state == HandshakeState::HandshakeComplete {
            self.receive_into(&mut messages);
        }
        messages
    }

    /// Whether a server's peer began anew with `datagram`: show it to the verifier, and keep this association until the new one is
    /// complete (RFC 6347, 4.2.8).
    pub fn starts_new_handshake(&self, datagram: &[u8]) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.starts_new_handshake(datagram))
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(super) fn role(&self) -> Result<Role, Error> {
        match self.mode {
            SslMode::SslClientMode => Ok(Role::Client),
            SslMode::SslServerMode => Ok(Role::Server),
            SslMode::UnencryptedMode => Err(Error::new(
                DtlsError::TlsInitializationError,
                "an unencrypted mode has no handshake",
            )),
        }
    }

    fn require_not_started(&self) -> Result<(), Error> {
        match self.state {
            HandshakeState::HandshakeNotStarted => Ok(()),
            _ => Err(Error::operation("a handshake has begun")),
        }
    }

    fn require_encrypted(&self) -> Result<(), Error> {
        match self.state {
            HandshakeState::HandshakeComplete => Ok(()),
            _ => Err(Error::operation("there is no association")),
        }
    }
}

/// Refuses what no certificate could be for.
fn check_name(name: &str) -> Result<(), Error> {
    if !name.is_empty() {
        ServerName::try_from(name)
            .map_err(|error| Error::new(DtlsError::InvalidInputParameters, error.to_string()))?;
    }
    Ok(())
}

impl fmt::Debug for Dtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dtls")
            .field("mode", &self.mode)
            .field("peer", &self.peer)
            .field("state", &self.state)
            .field("results", &self.results)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}
