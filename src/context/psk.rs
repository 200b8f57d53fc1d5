//! Pre-shared keys.

use std::collections::HashMap;
use std::ffi::CString;
use std::fmt;

use openssl::error::ErrorStack;
use openssl::ssl::{SslContextBuilder, SslRef};
use zeroize::Zeroizing;

use crate::error::{ConfigError, Error};
use crate::sys::context as sys;
use crate::{guard, parking};

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
    /// Takes an identity of 1 to 255 bytes, none of them zero, and a key of 1 to 512 bytes. The identity need not be text. It is
    /// sent in the clear.
    ///
    /// # Errors
    ///
    /// [`ConfigError::PskLength`], or [`ConfigError::PskHasZero`].
    pub fn new(identity: &[u8], key: &[u8]) -> Result<Psk, ConfigError> {
        check_name("identity", identity)?;
        Ok(Psk {
            identity: identity.to_vec(),
            key: PskKey::new(key)?,
        })
    }

    /// A key that goes by the empty identity, for peers that have but one key and give it no name.
    ///
    /// # Errors
    ///
    /// [`ConfigError::PskLength`].
    pub fn unnamed(key: &[u8]) -> Result<Psk, ConfigError> {
        Ok(Psk {
            identity: Vec::new(),
            key: PskKey::new(key)?,
        })
    }

    /// What the key goes by; empty for [`unnamed`](Self::unnamed).
    pub fn identity(&self) -> &[u8] {
        &self.identity
    }

    /// Writes both into the buffers that libssl lends, and answers the key's length.
    fn write(&self, identity: &mut [u8], key: &mut [u8]) -> Result<usize, ErrorStack> {
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

/// Checks what goes through C as a string.
fn check_name(what: &'static str, bytes: &[u8]) -> Result<(), ConfigError> {
    check_length(what, MAX_IDENTITY_LEN, bytes)?;
    if bytes.contains(&0) {
        return Err(ConfigError::PskHasZero { what });
    }
    Ok(())
}

type Failure = Box<dyn std::error::Error + Send + Sync>;
type ByHint = Box<dyn Fn(Option<&[u8]>) -> Result<Option<Psk>, Failure> + Send + Sync>;
type ByIdentity = Box<dyn Fn(&[u8]) -> Result<Option<PskKey>, Failure> + Send + Sync>;

/// How a client comes by its key.
pub(super) enum PskChoice {
    Fixed(Psk),
    ByHint(ByHint),
}

impl PskChoice {
    pub(super) fn by_hint<E: Into<Failure>>(
        look_up: impl Fn(Option<&[u8]>) -> Result<Option<Psk>, E> + Send + Sync + 'static,
    ) -> PskChoice {
        PskChoice::ByHint(Box::new(move |hint| look_up(hint).map_err(Into::into)))
    }

    /// Makes clients of `builder` use this. Corresponds to `SSL_CTX_set_psk_client_callback`.
    pub(super) fn install(self, builder: &mut SslContextBuilder) {
        builder.set_psk_client_callback(move |ssl, hint, identity, key| match &self {
            PskChoice::Fixed(psk) => psk.write(identity, key),
            PskChoice::ByHint(look_up) => {
                match guard::run(Ok(None), || look_up(hint)) {
                    Ok(Some(psk)) => psk.write(identity, key),
                    // A length of zero tells libssl that there is none.
                    Ok(None) => Ok(0),
                    Err(failure) => refuse(ssl, failure),
                }
            }
        });
    }
}

impl fmt::Debug for PskChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PskChoice::Fixed(psk) => psk.fmt(f),
            PskChoice::ByHint(_) => f.write_str("ByHint"),
        }
    }
}

/// How a server finds the key of an identity.
pub struct PskLookup {
    look_up: ByIdentity,
    hint: Option<CString>,
}

impl PskLookup {
    /// Asks `look_up` for the key of each identity a client names; `None` refuses the client with the alert
    /// unknown_psk_identity and [`Error::UnknownPskIdentity`].
    ///
    /// It runs inside the handshake, on the thread that called, and must not block. A panic goes through to that caller. An
    /// identity is 0 to 255 bytes of anything but zero, and nothing of it is proved yet.
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
        PskLookup {
            look_up: Box::new(move |identity| Ok(look_up(identity))),
            hint: None,
        }
    }

    /// As [`new`](Self::new), with a look-up that may fail. What it fails with ends that client's handshake alone, as
    /// [`Error::PskLookup`]; the client gets the alert unknown_psk_identity.
    ///
    /// ```
    /// # use openssl_dtls::{PskKey, PskLookup};
    /// # fn read_key(_: &str) -> std::io::Result<Option<PskKey>> { Ok(None) }
    /// let look_up = PskLookup::fallible(|identity| match std::str::from_utf8(identity) {
    ///     Ok(name) => read_key(name),
    ///     Err(_) => Ok(None),
    /// });
    /// ```
    pub fn fallible<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        look_up: impl Fn(&[u8]) -> Result<Option<PskKey>, E> + Send + Sync + 'static,
    ) -> PskLookup {
        PskLookup {
            look_up: Box::new(move |identity| look_up(identity).map_err(Into::into)),
            hint: None,
        }
    }

    /// One key for one identity.
    pub fn single(psk: Psk) -> PskLookup {
        PskLookup::new(move |identity| (identity == psk.identity).then(|| psk.key.clone()))
    }

    /// A fixed set of identities, each with its key. Of two with the same identity the later one counts.
    pub fn table(psks: impl IntoIterator<Item = Psk>) -> PskLookup {
        let keys: HashMap<_, _> = psks
            .into_iter()
            .map(|psk| (psk.identity, psk.key))
            .collect();
        PskLookup::new(move |identity| keys.get(identity).cloned())
    }

    /// Sends `hint` to every client, to choose an identity by: 1 to 255 bytes, none of them zero.
    ///
    /// None is sent without this, and few clients know what to do with one. Corresponds to `SSL_CTX_use_psk_identity_hint`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::PskLength`], or [`ConfigError::PskHasZero`].
    pub fn with_hint(mut self, hint: &[u8]) -> Result<PskLookup, ConfigError> {
        const WHAT: &str = "identity hint";
        check_name(WHAT, hint)?;
        self.hint = Some(CString::new(hint).map_err(|_| ConfigError::PskHasZero { what: WHAT })?);
        Ok(self)
    }

    /// Makes servers of `builder` ask this. Corresponds to `SSL_CTX_set_psk_server_callback`.
    pub(super) fn install(self, builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        let PskLookup { look_up, hint } = self;
        if let Some(hint) = hint {
            sys::use_psk_identity_hint(builder, &hint)?;
        }
        builder.set_psk_server_callback(move |ssl, identity, out| {
            let found = guard::run(Ok(None), || identity.map_or(Ok(None), &look_up));
            let key = match found {
                Ok(Some(key)) => key,
                // A length of zero tells libssl that there is no such identity.
                Ok(None) => return Ok(0),
                Err(failure) => return refuse(ssl, failure),
            };
            let Some(out) = out.get_mut(..key.0.len()) else {
                return Ok(0);
            };
            out.copy_from_slice(&key.0);
            Ok(key.0.len())
        });
        Ok(())
    }
}

/// Ends the handshake of `ssl` with what a look-up failed with.
fn refuse(ssl: &SslRef, failure: Failure) -> Result<usize, ErrorStack> {
    parking::park_error(ssl, Error::PskLookup(failure));
    Ok(0)
}

impl fmt::Debug for PskLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PskLookup")
            .field("hint", &self.hint)
            .finish_non_exhaustive()
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
            Err(ConfigError::PskHasZero { what: "identity" })
        ));
        let hinted = |hint: &[u8]| PskLookup::new(|_| None).with_hint(hint);
        assert!(hinted(&[b'h'; 255]).is_ok());
        for hint in [&b""[..], &[b'h'; 256]] {
            assert!(matches!(
                hinted(hint),
                Err(ConfigError::PskLength {
                    what: "identity hint",
                    ..
                })
            ));
        }
        assert!(matches!(
            hinted(b"a\0b"),
            Err(ConfigError::PskHasZero {
                what: "identity hint"
            })
        ));
        assert!(Psk::unnamed(&[7; 512]).is_ok_and(|psk| psk.identity().is_empty()));
        assert!(Psk::unnamed(b"").is_err());
    }
}
