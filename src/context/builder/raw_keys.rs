//! Raw public keys in place of certificates (RFC 7250).

use std::fmt;

use openssl::pkey::{Id, PKey, Private, Public};
use openssl::ssl::SslContextBuilder;
use openssl::x509::X509StoreContextRef;

use super::verification::park;
use super::{ContextBuilder, ForClient};
use crate::error::{ConfigError, Error};
use crate::parking;
use crate::sys::raw_keys as sys;
use crate::types::Role;

/// A private key whose public half takes the place of a certificate (RFC 7250): credentials of a server, or of a client.
///
/// Needs OpenSSL 3.2 or newer, both ends' agreement, and a peer that expects this very key.
#[derive(Clone)]
pub struct RawPublicKey(PKey<Private>);

impl RawPublicKey {
    /// Takes a private key, which may live in an HSM or a provider.
    pub fn new(key: PKey<Private>) -> RawPublicKey {
        RawPublicKey(key)
    }

    pub(super) fn id(&self) -> Id {
        self.0.id()
    }
}

impl fmt::Debug for RawPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawPublicKey").finish_non_exhaustive()
    }
}

/// Raw keys of both sides, as far as they were given.
#[derive(Default)]
pub(super) struct RawKeys {
    pub(super) own: Option<RawPublicKey>,
    pub(super) expected: Vec<PKey<Public>>,
}

impl<R> ContextBuilder<R> {
    /// Takes a peer that has one of these keys, raw, and no other: it shows no certificate, and no authority and no name matters
    /// (RFC 7250). For a server this goes with [`client_certificates`](Self::client_certificates).
    ///
    /// Another key is [`Error::UnexpectedPublicKey`]. `build` fails with
    /// [`ConfigError::Unsupported`] before OpenSSL 3.2. Corresponds to
    /// `SSL_CTX_set1_server_cert_type` and `SSL_CTX_set1_client_cert_type`.
    pub fn expect_raw_public_keys(mut self, keys: impl IntoIterator<Item = PKey<Public>>) -> Self {
        self.settings.raw_keys.expected.extend(keys);
        self
    }
}

impl ContextBuilder<ForClient> {
    /// Shows this key, raw, to servers that ask for a certificate and take keys in place of them. Corresponds to
    /// `SSL_CTX_set1_client_cert_type` and `SSL_CTX_use_PrivateKey`.
    pub fn raw_public_key(mut self, key: RawPublicKey) -> Self {
        self.settings.raw_keys.own = Some(key);
        self
    }
}

impl RawKeys {
    pub(super) fn install(
        &self,
        builder: &mut SslContextBuilder,
        role: Role,
        has_identity: bool,
    ) -> Result<(), ConfigError> {
        if self.own.is_none() && self.expected.is_empty() {
            return Ok(());
        }
        if self.own.is_some() && has_identity {
            return Err(ConfigError::Contradiction {
                what: "a raw public key",
                with: "a certificate",
            });
        }
        let (ours, theirs) = match role {
            Role::Client => (Role::Client, Role::Server),
            Role::Server => (Role::Server, Role::Client),
        };
        if let Some(RawPublicKey(key)) = &self.own {
            sys::show_raw_key(builder, ours)?;
            builder.set_private_key(key)?;
        }
        if !self.expected.is_empty() {
            sys::show_raw_key(builder, theirs)?;
        }
        Ok(())
    }
}

/// Whether the raw key that `store` is about may be accepted.
pub(super) fn is_expected(expected: &[PKey<Public>], store: &X509StoreContextRef) -> bool {
    let accepted = sys::key_to_verify(store)
        .is_some_and(|shown| expected.iter().any(|key| key.public_eq(&shown)));
    if !accepted {
        park(store, |ssl| {
            parking::park_error(ssl, Error::UnexpectedPublicKey)
        });
    }
    accepted
}
