//! Pre-shared keys, asked for when they are needed.

use std::fmt;

use zeroize::Zeroizing;

use super::error::Error;
use crate::context::{Psk, PskKey};

/// The longest identity, in bytes.
const MAX_IDENTITY_LEN: usize = 255;
/// The longest key, in bytes.
const MAX_KEY_LEN: usize = 512;

/// What a handshake asks the program for; Qt's `QSslPreSharedKeyAuthenticator`.
///
/// Lent to the closure of [`Dtls::on_psk_required`](super::Dtls::on_psk_required). Without a key the handshake is refused.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PreSharedKeyAuthenticator {
    is_server: bool,
    hint: Vec<u8>,
    identity: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl PreSharedKeyAuthenticator {
    pub(super) fn for_client(hint: &[u8]) -> Self {
        PreSharedKeyAuthenticator {
            hint: hint.to_vec(),
            ..Self::default()
        }
    }

    pub(super) fn for_server(hint: &[u8], identity: &[u8]) -> Self {
        PreSharedKeyAuthenticator {
            is_server: true,
            hint: hint.to_vec(),
            identity: identity.to_vec(),
            ..Self::default()
        }
    }

    /// A client: what the server tells about the key it wants. A server: what it told itself. Empty if nothing was told.
    pub fn identity_hint(&self) -> &[u8] {
        &self.hint
    }

    /// A server: what the client calls its key. A client: what [`set_identity`](Self::set_identity) said, empty at first.
    pub fn identity(&self) -> &[u8] {
        &self.identity
    }

    /// Names the client's key: at most [`maximum_identity_length`](Self::maximum_identity_length) bytes, none of them zero. Has no
    /// effect on a server.
    ///
    /// # Errors
    ///
    /// [`DtlsError::InvalidInputParameters`](super::DtlsError::InvalidInputParameters), and the identity stays what it was.
    pub fn set_identity(&mut self, identity: &[u8]) -> Result<(), Error> {
        if self.is_server {
            return Ok(());
        }
        if identity.len() > MAX_IDENTITY_LEN || identity.contains(&0) {
            return Err(Error::input(
                "an identity has at most 255 bytes, none of them zero",
            ));
        }
        self.identity = identity.to_vec();
        Ok(())
    }

    /// Bytes of the longest identity; 0 on a server, which sets none.
    pub fn maximum_identity_length(&self) -> usize {
        if self.is_server { 0 } else { MAX_IDENTITY_LEN }
    }

    /// What [`set_pre_shared_key`](Self::set_pre_shared_key) said, empty at first.
    pub fn pre_shared_key(&self) -> &[u8] {
        &self.key
    }

    /// Gives the key: at most [`maximum_pre_shared_key_length`](Self::maximum_pre_shared_key_length) bytes. An empty one refuses
    /// the handshake.
    ///
    /// # Errors
    ///
    /// [`DtlsError::InvalidInputParameters`](super::DtlsError::InvalidInputParameters), and the key stays what it was.
    pub fn set_pre_shared_key(&mut self, key: &[u8]) -> Result<(), Error> {
        if key.len() > MAX_KEY_LEN {
            return Err(Error::input("a pre-shared key has at most 512 bytes"));
        }
        self.key = Zeroizing::new(key.to_vec());
        Ok(())
    }

    /// Bytes of the longest key.
    pub fn maximum_pre_shared_key_length(&self) -> usize {
        MAX_KEY_LEN
    }

    /// The key as a server uses it; `None` refuses.
    pub(super) fn server_key(&self) -> Option<PskKey> {
        PskKey::new(&self.key).ok()
    }

    /// Key and identity as a client uses them; `None` refuses.
    pub(super) fn client_key(&self) -> Option<Psk> {
        if self.identity.is_empty() {
            Psk::unnamed(&self.key).ok()
        } else {
            Psk::new(&self.identity, &self.key).ok()
        }
    }
}

impl fmt::Debug for PreSharedKeyAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreSharedKeyAuthenticator")
            .field("identity_hint", &self.hint.len())
            .field("identity", &self.identity.len())
            .finish_non_exhaustive()
    }
}
