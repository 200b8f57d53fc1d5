//! Which sessions a server lets clients resume.

use std::time::Duration;

use openssl::ssl::{SslContextBuilder, SslSessionCacheMode};

use super::{ContextBuilder, ForServer};
use crate::error::ConfigError;
use crate::sys::{session, ticket};
use crate::ticket::TicketRing;
use crate::types::Role;

/// How long sessions last unless told otherwise: as long as libssl has it.
const LIFETIME: Duration = Duration::from_secs(2 * 3600);
const SHORTEST: Duration = Duration::from_secs(1);
/// The most RFC 8446 allows, which RFC 5246 only recommends to stay below.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a server gives its clients to resume by.
#[derive(Default)]
pub(super) struct Resumption {
    tickets: Tickets,
    /// Sessions to keep; `None` for no cache.
    cache: Option<usize>,
    lifetime: Option<Duration>,
}

#[derive(Default)]
enum Tickets {
    #[default]
    RandomKeys,
    Ring(TicketRing),
    None,
}

impl ContextBuilder<ForServer> {
    /// Encrypts session tickets with the keys of `ring`, to share them with other servers or to rotate them by hand. Default: a
    /// random ring of this context's own.
    ///
    /// Corresponds to `SSL_CTX_set_tlsext_ticket_key_evp_cb`.
    pub fn ticket_ring(mut self, ring: TicketRing) -> Self {
        self.settings.resumption.tickets = Tickets::Ring(ring);
        self
    }

    /// Gives no session tickets. Corresponds to `SSL_OP_NO_TICKET`.
    pub fn no_tickets(mut self) -> Self {
        self.settings.resumption.tickets = Tickets::None;
        self
    }

    /// Keeps up to `sessions` sessions in memory, for clients that take no tickets. Default: none; at least 1.
    ///
    /// The oldest go first. One takes a kilobyte or two, more with a client certificate. Corresponds to
    /// `SSL_CTX_set_session_cache_mode` and `SSL_CTX_sess_set_cache_size`.
    pub fn session_cache(mut self, sessions: usize) -> Self {
        self.settings.resumption.cache = Some(sessions);
        self
    }

    /// How long a session can be resumed, in whole seconds from its full handshake on. Default: 2 hours; from 1 second to 7 days.
    ///
    /// A ticket also ends with its key: see [`TicketRing`]. Corresponds to `SSL_CTX_set_timeout`.
    pub fn session_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.resumption.lifetime = Some(lifetime);
        self
    }
}

impl Resumption {
    /// Sets it all, and answers the ring that each connection is to be given.
    ///
    /// `rules` stand for what clients had to show when a session was made.
    pub(super) fn install(
        self,
        builder: &mut SslContextBuilder,
        role: Role,
        rules: [u8; 32],
    ) -> Result<Option<TicketRing>, ConfigError> {
        builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        if role == Role::Client {
            // Clients keep their sessions themselves.
            return Ok(None);
        }
        session::bind_to_name(builder, rules)?;
        if let Some(sessions) = self.cache {
            if sessions == 0 {
                return Err(ConfigError::OutOfRange {
                    what: "the size of the session cache",
                });
            }
            // libssl counts the session it adds before it makes room, and so keeps one less than it is told.
            let size = i32::try_from(sessions)
                .unwrap_or(i32::MAX)
                .saturating_add(1);
            builder.set_session_cache_mode(SslSessionCacheMode::SERVER);
            builder.set_session_cache_size(size);
        }
        let lifetime = self.lifetime.unwrap_or(LIFETIME);
        if !(SHORTEST..=LONGEST).contains(&lifetime) {
            return Err(ConfigError::OutOfRange {
                what: "the lifetime of sessions",
            });
        }
        session::set_lifetime(builder, lifetime);
        let ring = match self.tickets {
            Tickets::RandomKeys => TicketRing::random()?,
            Tickets::Ring(ring) => ring,
            Tickets::None => {
                session::refuse_tickets(builder);
                return Ok(None);
            }
        };
        ticket::install(builder)?;
        Ok(Some(ring))
    }
}
