//! Shortened handshakes: a client's saved sessions.

use std::time::Instant;

use super::{Connection, Phase};
use crate::context::Context;
use crate::error::ConfigError;
use crate::saved_session::SavedSession;
use crate::server_name::ServerName;
use crate::sys::session;
use crate::types::{Path, Role};

impl Connection {
    /// As [`client`](Self::client), offering to resume `session`: without certificates and key exchange, if the server agrees.
    ///
    /// Whether it did is [`HandshakeInfo::is_resumed`](crate::HandshakeInfo::is_resumed); if not, the handshake is a full one, and
    /// so is one that has to start again. Corresponds to `SSL_set_session`.
    ///
    /// # Errors
    ///
    /// Those of [`client`](Self::client); [`ConfigError::SessionMismatch`] if the session was made with another server name, client
    /// identity or verification than `context` and `server_name` ask for: a resumed handshake verifies no certificate again.
    pub fn client_resuming(
        context: &Context,
        path: impl Into<Path>,
        server_name: Option<ServerName>,
        session: &SavedSession,
        now: Instant,
    ) -> Result<Connection, ConfigError> {
        context.require_role(Role::Client)?;
        // Whoever lacks a name is told so first.
        let mut ssl = context.new_ssl(server_name.as_ref())?;
        let der = session.for_use(server_name.as_ref(), context.session_rules())?;
        session::offer(&mut ssl, der).map_err(|_| ConfigError::BadSavedSession)?;
        let mut connection = Self::open(context, path.into(), server_name, ssl, now)?;
        if let Phase::Handshaking(handshake) = &mut connection.phase {
            handshake.resumed_name = session.verified_name().map(str::to_owned);
        }
        Ok(connection)
    }

    /// What it takes to resume this connection later, from [`client_resuming`](Self::client_resuming).
    ///
    /// `None` on servers, before the handshake is complete, once the connection is over, and if the server offers no resumption.
    /// Each use of one may give a new one: keep the last. Corresponds to `SSL_get1_session`.
    pub fn saved_session(&self) -> Option<SavedSession> {
        let Phase::Established(bound) = &self.phase else {
            return None;
        };
        if self.role != Role::Client {
            return None;
        }
        let info = self.handshake_info()?;
        Some(SavedSession::new(
            info.asked_name().cloned(),
            info.verified_name().map(str::to_owned),
            *self.context.session_rules(),
            session::save(bound.ssl())?,
        ))
    }
}
