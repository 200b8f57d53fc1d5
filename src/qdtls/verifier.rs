//! The front door of a server: cookies.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use zeroize::Zeroizing;

use super::clock::Clock;
use super::error::{Error, LastError};
use super::socket::{Socket, check_peer, check_socket};
use super::types::{CookieHash, DtlsError};
use crate::cookie::{ClockAnchor, CookieRing, CookieSecret};
use crate::error::CookieError;
use crate::listener::{CookieExchange, Proof};

/// What cookies are made with; Qt's `QDtlsClientVerifier::GeneratorParameters`.
///
/// Wiped when dropped.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct GeneratorParameters {
    /// The hash of the HMAC.
    pub hash: CookieHash,
    secret: Zeroizing<Vec<u8>>,
}

impl GeneratorParameters {
    /// Bytes of the shortest secret that is taken.
    pub const MIN_SECRET_LEN: usize = CookieSecret::LEN;

    /// Parameters with this secret. One that is too short is refused where it is set.
    pub fn new(hash: CookieHash, secret: &[u8]) -> GeneratorParameters {
        GeneratorParameters {
            hash,
            secret: Zeroizing::new(secret.to_vec()),
        }
    }

    /// The secret; empty in default parameters, which are refused where they are set.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// Changes the secret.
    pub fn set_secret(&mut self, secret: &[u8]) {
        self.secret = Zeroizing::new(secret.to_vec());
    }
}

impl fmt::Debug for GeneratorParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratorParameters")
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

/// Parameters and the ring made of them.
#[derive(Debug, Clone)]
pub(super) struct Cookies {
    pub(super) parameters: GeneratorParameters,
    pub(super) ring: CookieRing,
}

impl Cookies {
    /// Those of the process: with a random secret, drawn at their first use and shared by all objects that are given no others.
    pub(super) fn of_process() -> Result<Cookies, CookieError> {
        static COOKIES: Mutex<Option<Cookies>> = Mutex::new(None);
        let mut cookies = COOKIES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cookies) = &*cookies {
            return Ok(cookies.clone());
        }
        let secret = CookieSecret::random()?;
        let parameters = GeneratorParameters::new(CookieHash::Sha256, secret.bytes());
        let made = Self::with(parameters, secret, Instant::now());
        Ok(cookies.insert(made).clone())
    }

    pub(super) fn of(parameters: GeneratorParameters, now: Instant) -> Result<Cookies, Error> {
        let secret = CookieSecret::from_shared(&parameters.secret)
            .map_err(|error| Error::new(DtlsError::InvalidInputParameters, error.to_string()))?;
        Ok(Self::with(parameters, secret, now))
    }

    fn with(parameters: GeneratorParameters, secret: CookieSecret, now: Instant) -> Cookies {
        let anchor = ClockAnchor::new(now, SystemTime::now());
        let ring = CookieRing::shared(secret, anchor);
        Cookies { parameters, ring }
    }
}

/// Lets in those clients that receive at the address they send from; Qt's `QDtlsClientVerifier`.
///
/// Stateless: whatever it is shown costs no memory. One is enough for a socket.
pub struct DtlsClientVerifier {
    exchange: CookieExchange,
    parameters: GeneratorParameters,
    ring: CookieRing,
    verified: Vec<u8>,
    clock: Clock,
    last: LastError,
}

impl DtlsClientVerifier {
    /// A verifier with the parameters of this process, which a fresh [`Dtls`](super::Dtls) has as well.
    ///
    /// # Errors
    ///
    /// [`DtlsError::TlsFatalError`] if the random generator fails; there is no verifier without a secret.
    pub fn new() -> Result<DtlsClientVerifier, Error> {
        let Cookies { parameters, ring } = Cookies::of_process()?;
        Ok(DtlsClientVerifier {
            exchange: CookieExchange::new(ring.clone()),
            parameters,
            ring,
            verified: Vec::new(),
            clock: Clock::default(),
            last: LastError::default(),
        })
    }

    /// Reads the time from `clock` instead of [`Instant::now`].
    pub fn set_clock(&mut self, clock: impl Fn() -> Instant + Send + 'static) {
        self.clock = Clock::new(clock);
    }

    /// Makes cookies with `parameters` from now on, and takes no others. The [`Dtls`](super::Dtls) of each client needs the same.
    ///
    /// To change a secret while clients are on their way set a [`CookieRing`] with [`set_cookie_ring`](Self::set_cookie_ring)
    /// and rotate that.
    ///
    /// # Errors
    ///
    /// [`DtlsError::InvalidInputParameters`] for a secret below [`GeneratorParameters::MIN_SECRET_LEN`]; nothing changes.
    pub fn set_cookie_generator_parameters(
        &mut self,
        parameters: &GeneratorParameters,
    ) -> Result<(), Error> {
        let result = Cookies::of(parameters.clone(), self.clock.now()).map(|cookies| {
            self.parameters = cookies.parameters;
            self.use_ring(cookies.ring);
        });
        self.last.note(result)
    }

    /// The parameters in force. Those of a ring that was set are its own secret; what was in force before is answered then.
    pub fn cookie_generator_parameters(&self) -> &GeneratorParameters {
        &self.parameters
    }

    /// Makes and takes cookies with `ring`: one that rotates by itself, one that is rotated by hand, or one that is
    /// [`qt_compatible`](CookieRing::qt_compatible). Give each client's [`Dtls`](super::Dtls) a clone of it.
    pub fn set_cookie_ring(&mut self, ring: CookieRing) {
        self.use_ring(ring);
    }

    /// The ring in force.
    pub fn cookie_ring(&self) -> &CookieRing {
        &self.ring
    }

    fn use_ring(&mut self, ring: CookieRing) {
        self.ring = ring.clone();
        self.exchange = CookieExchange::new(ring);
    }

    /// Looks at a datagram of a client without a [`Dtls`](super::Dtls): `true` if it is a ClientHello with a good cookie.
    ///
    /// Then [`verified_hello`](Self::verified_hello) is the first datagram for a [`Dtls`](super::Dtls) of that client. Else
    /// nothing is to be done: a ClientHello without a good cookie was answered with one, anything else was dropped.
    ///
    /// # Errors
    ///
    /// [`DtlsError::InvalidInputParameters`] without a socket, for an empty datagram, and for an address nobody can have;
    /// [`DtlsError::UnderlyingSocketError`] if the answer could not be sent, [`DtlsError::TlsFatalError`] if the random generator
    /// failed.
    pub fn verify_client(
        &mut self,
        socket: impl Socket,
        datagram: &[u8],
        peer: SocketAddr,
    ) -> Result<bool, Error> {
        let result = check_socket(&socket)
            .and_then(|()| check_peer(peer))
            .and_then(|()| match datagram {
                [] => Err(Error::input("there is no datagram")),
                _ => self.judge(socket, datagram, peer),
            });
        self.last.note(result)
    }

    fn judge(
        &mut self,
        mut socket: impl Socket,
        datagram: &[u8],
        peer: SocketAddr,
    ) -> Result<bool, Error> {
        self.verified.clear();
        match self.exchange.judge(self.clock.now(), peer, datagram)? {
            Proof::Good(_) => {
                self.verified.extend_from_slice(datagram);
                Ok(true)
            }
            Proof::Reply(length) => {
                let reply = self.exchange.reply(length);
                socket.send_datagram(reply, peer).map_err(Error::socket)?;
                Ok(false)
            }
            Proof::Dropped(_) => Ok(false),
        }
    }

    /// The datagram that was verified last; empty if the last one was not.
    pub fn verified_hello(&self) -> &[u8] {
        &self.verified
    }

    /// How the last operation ended.
    pub fn dtls_error(&self) -> DtlsError {
        self.last.kind
    }

    /// The same in words; empty for [`DtlsError::NoError`].
    pub fn dtls_error_string(&self) -> &str {
        &self.last.text
    }
}

impl fmt::Debug for DtlsClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DtlsClientVerifier")
            .field("ring", &self.ring)
            .field("verified_hello", &self.verified.len())
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}
