//! The stateless front door of a server.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use crate::connection::Connection;
use crate::context::Context;
use crate::cookie::{self, Checked, CookieCall, CookieRing};
use crate::error::{ConfigError, CookieError, Error};
use crate::sys::ssl::{BoundSsl, Outcome};
use crate::trace;
use crate::types::{AddressProof, DropReason, Drops, Path, Role, Transmit};
use crate::wire::{self, ClientHello, MAX_COOKIE_LEN, MAX_HELLO_VERIFY_REQUEST_LEN};

/// The `message_seq` of the ClientHello that answers a HelloVerifyRequest.
const SECOND_MESSAGE: u16 = 1;
/// The highest record number of a ClientHello that is taken: a client that repeated both of its hellos for minutes stays below, and
/// what it sends next lies in libssl's replay window though somebody repeated its hello with this number.
const MAX_HELLO_SEQUENCE: u64 = 63;

/// The stateless front door of a server: answers each ClientHello with a cookie, and makes a [`Connection`] of one that returns it.
///
/// Until then a peer costs no memory, no OpenSSL object and no heap allocation, and is never sent more bytes than it sent
/// (RFC 6347, 4.2.1).
pub struct Listener {
    context: Context,
    exchange: CookieExchange,
}

/// The cookie exchange of a listener: all it does before there is a connection.
pub(crate) struct CookieExchange {
    ring: CookieRing,
    reply: [u8; MAX_HELLO_VERIFY_REQUEST_LEN],
    stats: ListenerStats,
}

/// What a datagram from an unknown peer proves.
pub(crate) enum Proof<'a> {
    /// A ClientHello with a good cookie for this peer.
    Good(ClientHello<'a>),
    /// A ClientHello without one; [`CookieExchange::reply`] lends so many bytes to answer with.
    Reply(usize),
    /// Nothing to answer.
    Dropped(DropReason),
}

/// Counts of one listener, from its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerStats {
    /// Datagrams received.
    pub datagrams_received: u64,
    /// HelloVerifyRequests made, each with a fresh cookie.
    pub cookies_sent: u64,
    /// ClientHellos with a good cookie.
    pub cookies_accepted: u64,
    /// What was dropped or answered with a new cookie, by reason.
    pub drops: Drops,
}

/// What a datagram from an unknown peer came to.
#[derive(Debug)]
#[non_exhaustive]
#[must_use]
pub enum Incoming<'a> {
    /// Send this HelloVerifyRequest and forget the peer.
    Reply(Transmit<'a>),
    /// The peer proved its address and its handshake is under way. Drain the connection's
    /// [`poll_transmit`](Connection::poll_transmit).
    Connection(Box<Connection>),
    /// The peer proved its address, but its handshake failed at once. An alert for it may wait in the connection's
    /// [`poll_transmit`](Connection::poll_transmit).
    Refused {
        /// The connection, which is closed.
        connection: Box<Connection>,
        /// Why it failed.
        error: Error,
    },
    /// Nothing to do.
    Dropped(DropReason),
}

impl Listener {
    /// A listener that makes connections on `context` and cookies with `ring`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::WrongRole`] for a client's context.
    pub fn new(context: &Context, ring: CookieRing) -> Result<Listener, ConfigError> {
        context.require_role(Role::Server)?;
        Ok(Listener {
            context: context.clone(),
            exchange: CookieExchange::new(ring),
        })
    }

    /// Takes one datagram, the whole UDP payload, of a peer without a connection.
    ///
    /// Corresponds to `DTLSv1_listen`, which runs on hellos with a good cookie only.
    ///
    /// # Errors
    ///
    /// [`Error::Cookie`] if a cookie cannot be made or checked, [`Error::Setup`] or [`Error::Protocol`] if libssl cannot make a
    /// connection. The listener goes on.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        path: impl Into<Path>,
        datagram: &[u8],
    ) -> Result<Incoming<'_>, Error> {
        let path = path.into();
        match self.exchange.judge(now, path.peer, datagram)? {
            Proof::Good(hello) => self.accept(now, path, &hello, datagram),
            Proof::Reply(length) => {
                let reply = self.exchange.reply(length);
                Ok(Incoming::Reply(Transmit::single(path, reply)))
            }
            Proof::Dropped(reason) => Ok(Incoming::Dropped(reason)),
        }
    }

    /// The cookies' secrets, to rotate them.
    pub fn cookie_ring(&self) -> &CookieRing {
        &self.exchange.ring
    }

    /// What was counted.
    pub fn stats(&self) -> &ListenerStats {
        &self.exchange.stats
    }

    /// Everything that comes before there is a connection, for an owner that may refuse one.
    pub(crate) fn exchange(&mut self) -> &mut CookieExchange {
        &mut self.exchange
    }

    /// Makes connections on `context` from now on.
    pub(crate) fn set_context(&mut self, context: &Context) -> Result<(), ConfigError> {
        context.require_role(Role::Server)?;
        self.context = context.clone();
        Ok(())
    }

    /// Makes a connection of a hello whose cookie is good.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        path: Path,
        hello: &ClientHello<'_>,
        datagram: &[u8],
    ) -> Result<Incoming<'static>, Error> {
        let ring = Some(&self.exchange.ring);
        let Some(bound) = listen(&self.context, ring, now, path, hello)? else {
            let reason = DropReason::HelloRefused;
            self.exchange.stats.drops.add(reason);
            return Ok(Incoming::Dropped(reason));
        };
        self.exchange.stats.cookies_accepted += 1;
        trace::event!(DEBUG, peer = %path.peer, "accepted");
        let (connection, outcome) =
            Connection::accepted(&self.context, path, bound, now, hello, datagram);
        let connection = Box::new(connection);
        Ok(match outcome {
            Ok(()) => Incoming::Connection(connection),
            Err(error) => Incoming::Refused { connection, error },
        })
    }
}

/// Takes a ClientHello through `DTLSv1_listen`; without a ring any cookie in it is good. `None` if libssl does not take it.
fn listen(
    context: &Context,
    ring: Option<&CookieRing>,
    now: Instant,
    path: Path,
    hello: &ClientHello<'_>,
) -> Result<Option<BoundSsl>, Error> {
    context.rotate_tickets(now)?;
    let mut ssl = context.new_ssl(None)?;
    let call = CookieCall::new(ring, now, path.peer, hello.preamble);
    cookie::park(&mut ssl, call).map_err(Error::Protocol)?;
    let mut bound = BoundSsl::new(ssl, path.peer, context.transport()).map_err(Error::Protocol)?;
    let (cookie_context, ssl_context) = (context.cookie_context()?, context.ssl_context());
    let outcome = bound
        .listen(cookie_context, ssl_context, hello.record.bytes)
        .map_err(Error::Protocol)?;
    // A callback's error wins over what libssl makes of it, which is a wrong cookie.
    if let Some(error) = cookie::take_error(bound.ssl_mut()) {
        return Err(error.into());
    }
    Ok(matches!(outcome, Outcome::Done).then_some(bound))
}

/// A connection, and how its first datagram went.
pub(crate) type Begun = (Connection, Result<(), Error>);

/// Makes a connection of a ClientHello whatever cookie it has, or none, as `proof` allows. `None` if `datagram` begins with none.
pub(crate) fn accept_unproved(
    context: &Context,
    peer: SocketAddr,
    now: Instant,
    proof: AddressProof,
    datagram: &[u8],
) -> Result<Option<Begun>, Error> {
    let Ok(hello) = wire::first_client_hello(datagram) else {
        return Ok(None);
    };
    if hello.message_seq != SECOND_MESSAGE {
        let mut connection = Connection::server(context, peer, now, proof)?;
        let outcome = connection.handle_datagram(now, datagram);
        return Ok(Some((connection, outcome)));
    }
    // Another server asked for this cookie. libssl waits for the message before it unless it is told that it listened.
    let path = Path::from(peer);
    let Some(mut bound) = listen(context, None, now, path, &hello)? else {
        return Ok(None);
    };
    if proof == AddressProof::Dangerous {
        bound.state_mut().allowance = Some(0);
    }
    let accepted = Connection::accepted(context, path, bound, now, &hello, datagram);
    Ok(Some(accepted))
}

impl CookieExchange {
    pub(crate) fn new(ring: CookieRing) -> CookieExchange {
        CookieExchange {
            ring,
            reply: [0; MAX_HELLO_VERIFY_REQUEST_LEN],
            stats: ListenerStats {
                drops: Drops::with_memory(),
                ..ListenerStats::default()
            },
        }
    }

    /// Looks at a datagram of `peer` and makes a HelloVerifyRequest if it wants one.
    pub(crate) fn judge<'a>(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        datagram: &'a [u8],
    ) -> Result<Proof<'a>, CookieError> {
        self.stats.datagrams_received += 1;
        let hello = match wire::first_client_hello(datagram) {
            Ok(hello) => hello,
            Err(reason) => return Ok(self.dropped(reason)),
        };
        self.ring.rotate_if_due(now)?;
        let checked = self.ring.check(now, peer, hello.preamble, hello.cookie);
        if let Checked::Wrong(cookie) = checked {
            if !hello.cookie.is_empty() {
                self.stats.drops.add(DropReason::BadCookie);
            }
            return Ok(self.verify(&hello, datagram.len(), &cookie));
        }
        if hello.record.sequence > MAX_HELLO_SEQUENCE {
            // libssl would drop the client's next records as too old.
            return Ok(self.dropped(DropReason::SequenceTooFar));
        }
        if hello.message_seq != SECOND_MESSAGE {
            // libssl goes on counting from here and would wait for the second message for ever.
            return Ok(self.dropped(DropReason::HelloRefused));
        }
        Ok(Proof::Good(hello))
    }

    /// The first `length` bytes of the HelloVerifyRequest that was just made: all of it.
    pub(crate) fn reply(&self, length: usize) -> &[u8] {
        &self.reply[..length.min(self.reply.len())]
    }

    /// Answers with a HelloVerifyRequest.
    fn verify(
        &mut self,
        hello: &ClientHello<'_>,
        received: usize,
        cookie: &[u8; MAX_COOKIE_LEN],
    ) -> Proof<'static> {
        let length = wire::write_hello_verify_request(&mut self.reply, hello, cookie);
        if length > received {
            return self.dropped(DropReason::AmplificationLimit);
        }
        self.stats.cookies_sent += 1;
        trace::event!(TRACE, "asked for a cookie");
        Proof::Reply(length)
    }

    fn dropped(&mut self, reason: DropReason) -> Proof<'static> {
        self.stats.drops.add(reason);
        Proof::Dropped(reason)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("context", &self.context)
            .field("stats", &self.exchange.stats)
            .finish_non_exhaustive()
    }
}
