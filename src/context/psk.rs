//! Pre-shared keys.

use std::fmt;

use openssl::error::ErrorStack;
use openssl::ssl::SslContextBuilder;
use zeroize::Zeroizing;

use crate::error::ConfigError;
use crate::guard;

/// libssl's `PSK_MAX_IDENTITY_LEN`, in bytes, without the zero byte that ends the identity in C.
const MAX_IDENTITY_LEN: usize = 255;
/// libssl's `PSK_MAX_PSK_LEN`, in bytes.
const MAX_KEY_LEN: usize = 512;

/// A pre-shared key. It never appears in `Debug` output and is wiped when dropped.
#[derive(Clone)]
pub struct PskKey(Zeroizing<Vec<u8>>);

impl PskKey {
    /// Takes 1 to 512 bytes, which must be as hard to guess as a key: not a password.
    ///
    /// # Errors
    ///
    /// [`ConfigError::PskLength`].
    pub fn new(key: &[u8]) -> Result<PskKey, ConfigError> {
        check_length("key", MAX_KEY_LEN, key)?;
        Ok(PskKey(Zeroizing::new(key.to_vec())))
    }
}

impl fmt::Debug for PskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PskKey").finish_non_exhaustive()
    }
}

/// A pre-shared key and the identity it goes by.
#[derive(Debug, Clone)]
pub struct Psk {
    identity: Vec<u8>,
    key: PskKey,
}

impl Psk {
    /// Takes an identity of 1 to 255 bytes, none of them zero, and a key of 1 to 512 bytes. The identity is sent in the clear.
    ///
    /// # Errors
    ///
    /// [`ConfigError::PskLength`], or [`ConfigError::PskIdentityHasZero`].
    pub fn new(identity: &[u8], key: &[u8]) -> Result<Psk, ConfigError> {
        check_length("identity", MAX_IDENTITY_LEN, identity)?;
        if identity.contains(&0) {
            return Err(ConfigError::PskIdentityHasZero);
        }
        Ok(Psk {
            identity: identity.to_vec(),
            key: PskKey::new(key)?,
        })
    }

    /// Makes clients of `builder` use this key. Corresponds to `SSL_CTX_set_psk_client_callback`.
    pub(super) fn install(self, builder: &mut SslContextBuilder) {
        builder.set_psk_client_callback(move |_, _hint, identity, key| {
            // libssl lends zeroed buffers, so the identity ends in a zero byte; refused if ever they are too small.
            match (
                identity.get_mut(..self.identity.len()),
                key.get_mut(..self.key.0.len()),
            ) {
                (Some(identity), Some(key)) => {
                    identity.copy_from_slice(&self.identity);
                    key.copy_from_slice(&self.key.0);
                    Ok(self.key.0.len())
                }
                _ => Err(ErrorStack::get()),
            }
        });
    }
}

fn check_length(what: &'static str, max: usize, bytes: &[u8]) -> Result<(), ConfigError> {
    let min = 1;
    if (min..=max).contains(&bytes.len()) {
        return Ok(());
    }
    Err(ConfigError::PskLength {
        what,
        min,
        max,
        given: bytes.len(),
    })
}

/// How a server finds the key of an identity.
pub struct PskLookup(Box<dyn Fn(&[u8]) -> Option<PskKey> + Send + Sync>);

impl PskLookup {
    /// Asks `look_up` for the key of each identity a client names; `None` refuses the client with the alert unknown_psk_identity.
    ///
    /// It runs inside the handshake, on the thread that called, and must not block. A panic goes through to that caller.
    ///
    /// The closure must own what it needs:
    ///
    /// ```compile_fail
    /// # use openssl_dtls::{PskKey, PskLookup};
    /// fn borrows(key: &PskKey) -> PskLookup {
    ///     PskLookup::new(|_| Some(key.clone()))
    /// }
    /// ```
    pub fn new(look_up: impl Fn(&[u8]) -> Option<PskKey> + Send + Sync + 'static) -> PskLookup {
        PskLookup(Box::new(look_up))
    }

    /// One key for one identity.
    pub fn single(psk: Psk) -> PskLookup {
        PskLookup::new(move |identity| (identity == psk.identity).then(|| psk.key.clone()))
    }

    /// Makes servers of `builder` ask this. Corresponds to `SSL_CTX_set_psk_server_callback`.
    pub(super) fn install(self, builder: &mut SslContextBuilder) {
        builder.set_psk_server_callback(move |_, identity, out| {
            let key = guard::run(None, || identity.and_then(|identity| (self.0)(identity)));
            // A length of zero tells libssl that there is no such identity.
            let Some(key) = key else { return Ok(0) };
            let Some(out) = out.get_mut(..key.0.len()) else {
                return Ok(0);
            };
            out.copy_from_slice(&key.0);
            Ok(key.0.len())
        });
    }
}

impl fmt::Debug for PskLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PskLookup").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked() {
        assert!(Psk::new(&[b'i'; 255], &[7; 512]).is_ok());
        for (identity, key, what) in [
            (&[b'i'; 256][..], &[7; 16][..], "identity"),
            (b"", &[7; 16], "identity"),
            (b"i", &[7; 513], "key"),
            (b"i", b"", "key"),
        ] {
            assert!(matches!(
                Psk::new(identity, key),
                Err(ConfigError::PskLength { what: w, .. }) if w == what
            ));
        }
        assert!(matches!(
            Psk::new(b"a\0b", b"key"),
            Err(ConfigError::PskIdentityHasZero)
        ));
    }
}
