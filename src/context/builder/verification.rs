//! How the peer's certificate is verified.

use openssl::pkey::{PKey, Public};
use openssl::ssl::{SslContextBuilder, SslRef, SslVerifyMode};
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509PurposeId, X509StoreContext, X509StoreContextRef};

use super::raw_keys::{RawKeys, is_expected};
use super::trust::Trust;
use super::{ContextBuilder, Dangerous};
use crate::error::{ConfigError, Error};
use crate::sys::certificates;
use crate::verification::{Fingerprint, VerificationError};
use crate::{guard, parking};

/// libssl's own limit.
const MAX_DEPTH: u32 = 100;

type Callback = Box<dyn Fn(bool, &mut X509StoreContextRef) -> bool + Send + Sync>;

/// Which certificates of a chain revocation lists are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// The peer's own.
    Leaf,
    /// All below the root. Each authority's list must be there.
    Chain,
}

/// How the peer's certificate is verified.
pub(super) struct Verification {
    pub(super) on: bool,
    callback: Option<Callback>,
    pub(super) pins: Vec<Fingerprint>,
    depth: Option<u32>,
    purpose: Option<X509PurposeId>,
    revocation: Option<Revocation>,
}

impl Default for Verification {
    fn default() -> Self {
        Verification {
            on: true,
            callback: None,
            pins: Vec::new(),
            depth: None,
            purpose: None,
            revocation: None,
        }
    }
}

impl<R> ContextBuilder<R> {
    /// Has the last word on each certificate of the peer's chain: `callback` gets libssl's verdict and answers its own.
    ///
    /// What libssl objects to is remembered either way: see
    /// [`HandshakeInfo::verification_errors`](crate::HandshakeInfo::verification_errors).
    ///
    /// It runs inside the handshake, on the thread that called. A panic goes through to that caller. Corresponds to
    /// `SSL_CTX_set_verify`.
    ///
    /// The closure must own what it needs:
    ///
    /// ```compile_fail
    /// # use openssl_dtls::Context;
    /// fn borrows(accept: &bool) {
    ///     let builder = Context::client().verify_callback(|_, _| *accept);
    /// }
    /// ```
    pub fn verify_callback(
        mut self,
        callback: impl Fn(bool, &mut X509StoreContextRef) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.settings.verification.callback = Some(Box::new(callback));
        self
    }

    /// Takes a peer whose certificate has one of these fingerprints, and no other, whoever signed the certificate and whatever
    /// name and dates it has: for WebRTC and others that exchange fingerprints beforehand.
    ///
    /// A mode of its own: no authority is trusted beside it, and no name is checked. Any other certificate is
    /// [`Error::UnpinnedCertificate`]. What verification would have objected to is in
    /// [`HandshakeInfo::verification_errors`](crate::HandshakeInfo::verification_errors).
    pub fn pin(mut self, fingerprints: impl IntoIterator<Item = Fingerprint>) -> Self {
        self.settings.verification.pins.extend(fingerprints);
        self
    }

    /// How many certificates may stand between the peer's and the root: 0 to 100. Default: 100. Corresponds to
    /// `SSL_CTX_set_verify_depth`.
    pub fn verify_depth(mut self, depth: u32) -> Self {
        self.settings.verification.depth = Some(depth);
        self
    }

    /// What the peer's certificate must be good for. Default: to be a server for a client's peer, and a client for a server's.
    /// [`X509PurposeId::ANY`] takes certificates whatever their extended key usage. Corresponds to
    /// `X509_VERIFY_PARAM_set_purpose`.
    pub fn purpose(mut self, purpose: X509PurposeId) -> Self {
        self.settings.verification.purpose = Some(purpose);
        self
    }

    /// Refuses revoked certificates, and those without a valid revocation list of their authority. Giving a list turns on
    /// [`Revocation::Leaf`]. Corresponds to `X509_V_FLAG_CRL_CHECK` and `X509_V_FLAG_CRL_CHECK_ALL`.
    pub fn revocation(mut self, revocation: Revocation) -> Self {
        self.settings.verification.revocation = Some(revocation);
        self
    }
}

impl<R> Dangerous<R> {
    /// Takes any certificate: anybody on the path can be the peer, unless the program decides otherwise afterwards.
    ///
    /// The handshake completes whatever verification says, and every objection, to the name as to the chain, waits in
    /// [`HandshakeInfo::verification_errors`](crate::HandshakeInfo::verification_errors). A program that judges them does so at
    /// [`Event::Connected`](crate::Event::Connected), before it sends or takes a message.
    pub fn no_verification(mut self) -> ContextBuilder<R> {
        self.builder.settings.verification.on = false;
        self.builder
    }
}

impl Verification {
    /// Whether certificates can be accepted without a trusted authority.
    pub(super) fn needs_no_trust(&self) -> bool {
        !self.on || !self.pins.is_empty()
    }

    /// Whether the name in the peer's certificate matters.
    pub(super) fn checks_names(&self) -> bool {
        self.on && self.pins.is_empty()
    }

    /// Refuses what cannot be meant together.
    pub(super) fn check(
        &self,
        trust: &Trust,
        raw_keys: &RawKeys,
        asks_for_certificates: bool,
    ) -> Result<(), ConfigError> {
        let contradicts = |what, with| Err(ConfigError::Contradiction { what, with });
        if !self.pins.is_empty() {
            const PINS: &str = "pinning fingerprints";
            if !trust.is_empty() {
                return contradicts(PINS, "trusted authorities");
            }
            if !self.on {
                return contradicts(PINS, "no verification");
            }
            if self.callback.is_some() {
                return contradicts(PINS, "a verification callback");
            }
            if !asks_for_certificates {
                return contradicts(PINS, "asking for no certificates");
            }
        }
        if !raw_keys.expected.is_empty() {
            const RAW: &str = "expecting raw public keys";
            if !trust.is_empty() {
                return contradicts(RAW, "trusted authorities");
            }
            if !self.pins.is_empty() {
                return contradicts(RAW, "pinned fingerprints");
            }
            if !self.on {
                return contradicts(RAW, "no verification");
            }
            if self.callback.is_some() {
                return contradicts(RAW, "a verification callback");
            }
            if !asks_for_certificates {
                return contradicts(RAW, "asking for no certificates");
            }
        }
        let revokes = self.revocation.is_some() || trust.has_revocation_lists();
        if revokes && self.needs_no_trust() {
            return contradicts("checking revocation", "trusting no authority");
        }
        if revokes && !trust.may_have_revocation_lists() {
            return contradicts("checking revocation", "no revocation list");
        }
        if self.depth.is_some_and(|depth| depth > MAX_DEPTH) {
            return Err(ConfigError::OutOfRange {
                what: "the verification depth",
            });
        }
        Ok(())
    }

    /// Corresponds to `SSL_CTX_set_verify`.
    pub(super) fn install(
        self,
        builder: &mut SslContextBuilder,
        mode: SslVerifyMode,
        trust_has_lists: bool,
        raw_keys: Vec<PKey<Public>>,
    ) -> Result<(), ConfigError> {
        if let Some(depth) = self.depth {
            builder.set_verify_depth(depth);
        }
        let param = builder.verify_param_mut();
        if let Some(purpose) = self.purpose {
            param.set_purpose(purpose)?;
        }
        let flags = match self.revocation {
            Some(Revocation::Chain) => X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL,
            Some(Revocation::Leaf) => X509VerifyFlags::CRL_CHECK,
            None if trust_has_lists => X509VerifyFlags::CRL_CHECK,
            None => X509VerifyFlags::empty(),
        };
        param.set_flags(flags)?;
        let Verification {
            on, callback, pins, ..
        } = self;
        builder.set_verify_callback(mode, move |good, store| {
            if !raw_keys.is_empty() {
                return is_expected(&raw_keys, store);
            }
            if !good {
                remember(store);
            }
            if !pins.is_empty() {
                return is_pinned(&pins, store);
            }
            match &callback {
                Some(callback) => guard::run(false, || callback(good, store)),
                None => good || !on,
            }
        });
        Ok(())
    }
}

/// Whether the certificate that `store` is about may be accepted: only the peer's own matters.
fn is_pinned(pins: &[Fingerprint], store: &mut X509StoreContextRef) -> bool {
    if store.error_depth() != 0 {
        return true;
    }
    let shown = store
        .current_cert()
        .and_then(|certificate| Fingerprint::of(certificate).ok());
    match shown {
        Some(fingerprint) if pins.contains(&fingerprint) => true,
        Some(fingerprint) => {
            park(store, |ssl| {
                parking::park_error(ssl, Error::UnpinnedCertificate { fingerprint });
            });
            certificates::reject(store);
            false
        }
        // Whatever it is about, the completed handshake is checked again.
        None => true,
    }
}

/// Leaves libssl's objection for the connection.
fn remember(store: &X509StoreContextRef) {
    let error = VerificationError::of(store);
    park(store, |ssl| parking::park_verification_error(ssl, error));
}

pub(super) fn park(store: &X509StoreContextRef, leave: impl FnOnce(&SslRef)) {
    if let Ok(index) = X509StoreContext::ssl_idx()
        && let Some(ssl) = store.ex_data(index)
    {
        leave(ssl);
    }
}
