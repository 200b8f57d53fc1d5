//! What a client keeps of a connection to shorten the next handshake.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::error::ConfigError;
use crate::secret_bytes::SecretBytes;
use crate::server_name::ServerName;
use crate::sys::session;

/// First bytes of a saved session: what it is, and the form of what follows.
const MAGIC: &[u8; 8] = b"dtls-s01";
/// Bytes of the hash of the rules a session was made under.
const RULES_LEN: usize = 32;

/// A client's session: what [`Connection::client_resuming`](crate::Connection::client_resuming) needs to skip certificates and key
/// exchange.
///
/// It is as secret as the connection it came from, which whoever has it can decrypt unless the suite had forward secrecy, and can
/// impersonate: it never appears in `Debug` output and is wiped when dropped. It resumes connections to the same server name only,
/// with the same client identity and the same verification: a resumed handshake verifies no certificate again.
#[derive(Clone)]
pub struct SavedSession {
    server_name: Option<ServerName>,
    /// The name in the peer's certificate that matched.
    verified_name: Option<String>,
    /// Hash of the client's identity and verification.
    rules: [u8; RULES_LEN],
    expires_at: SystemTime,
    der: Zeroizing<Vec<u8>>,
}

impl SavedSession {
    pub(crate) fn new(
        server_name: Option<ServerName>,
        verified_name: Option<String>,
        rules: [u8; RULES_LEN],
        (der, expires_at): (Zeroizing<Vec<u8>>, SystemTime),
    ) -> SavedSession {
        SavedSession {
            server_name,
            verified_name,
            rules,
            expires_at,
            der,
        }
    }

    /// The name the connection was made to.
    pub fn server_name(&self) -> Option<&ServerName> {
        self.server_name.as_ref()
    }

    /// When the server will have forgotten it: a handshake with it after that is a full one.
    ///
    /// Corresponds to `SSL_SESSION_get_time`, `SSL_SESSION_get_timeout` and `SSL_SESSION_get_ticket_lifetime_hint`.
    pub fn expires_at(&self) -> SystemTime {
        self.expires_at
    }

    /// Writes it down, to keep it beyond this process. Keep the bytes as secret as a private key, and unchanged.
    ///
    /// Corresponds to `i2d_SSL_SESSION`.
    pub fn to_bytes(&self) -> SecretBytes {
        let mut bytes = Zeroizing::new(Vec::new());
        // Room for all of it, so that no secret stays behind in an outgrown buffer.
        bytes.reserve_exact(MAGIC.len() + RULES_LEN + 2 * (2 + 255) + self.der.len());
        bytes.extend(MAGIC);
        bytes.extend(self.rules);
        let name = self.server_name.as_ref().map(ToString::to_string);
        put_text(&mut bytes, name.as_deref());
        put_text(&mut bytes, self.verified_name.as_deref());
        bytes.extend(self.der.iter());
        SecretBytes::new(bytes)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote. Corresponds to `d2i_SSL_SESSION`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::BadSavedSession`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<SavedSession, ConfigError> {
        Self::parse(bytes).ok_or(ConfigError::BadSavedSession)
    }

    fn parse(bytes: &[u8]) -> Option<SavedSession> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (rules, rest) = rest.split_first_chunk::<RULES_LEN>()?;
        let (name, rest) = take_text(rest)?;
        let (verified_name, der) = take_text(rest)?;
        let server_name = match name {
            Some(name) => Some(ServerName::try_from(name).ok()?),
            None => None,
        };
        Some(SavedSession {
            server_name,
            verified_name: verified_name.map(str::to_owned),
            rules: *rules,
            expires_at: session::expiry_of(der).ok()?,
            der: Zeroizing::new(der.to_vec()),
        })
    }

    /// The session, if it may be offered to `server_name` under `rules`.
    pub(crate) fn for_use(
        &self,
        server_name: Option<&ServerName>,
        rules: &[u8; RULES_LEN],
    ) -> Result<&[u8], ConfigError> {
        if !same_name(self.server_name.as_ref(), server_name) {
            return Err(ConfigError::SessionMismatch {
                what: "server name",
            });
        }
        if self.rules != *rules {
            return Err(ConfigError::SessionMismatch {
                what: "client identity or verification",
            });
        }
        Ok(&self.der)
    }

    pub(crate) fn verified_name(&self) -> Option<&str> {
        self.verified_name.as_deref()
    }
}

/// DNS names do not differ by case, nor addresses by the family they are written in.
fn same_name(one: Option<&ServerName>, other: Option<&ServerName>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(ServerName::Dns(one)), Some(ServerName::Dns(other))) => {
            one.as_str().eq_ignore_ascii_case(other.as_str())
        }
        (Some(ServerName::Ip(one)), Some(ServerName::Ip(other))) => {
            IpAddr::to_canonical(one) == other.to_canonical()
        }
        _ => false,
    }
}

/// A length of two bytes and the text; the length 65535 for none.
fn put_text(bytes: &mut Vec<u8>, text: Option<&str>) {
    let text = text.filter(|text| text.len() < usize::from(u16::MAX));
    let length = text.map_or(u16::MAX, |text| text.len() as u16);
    bytes.extend(length.to_be_bytes());
    bytes.extend(text.unwrap_or_default().bytes());
}

fn take_text(bytes: &[u8]) -> Option<(Option<&str>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    match u16::from_be_bytes(*length) {
        u16::MAX => Some((None, rest)),
        length => {
            let (text, rest) = rest.split_at_checked(usize::from(length))?;
            Some((Some(str::from_utf8(text).ok()?), rest))
        }
    }
}

impl fmt::Debug for SavedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SavedSession")
            .field("server_name", &self.server_name)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
