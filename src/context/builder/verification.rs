//! How the peer's certificate is verified.

use openssl::ssl::{SslContextBuilder, SslVerifyMode};
use openssl::x509::{X509StoreContext, X509StoreContextRef};

use super::{ContextBuilder, Dangerous};
use crate::verification::VerificationError;
use crate::{guard, parking};

type Callback = Box<dyn Fn(bool, &mut X509StoreContextRef) -> bool + Send + Sync>;

/// How the peer's certificate is verified.
pub(super) struct Verification {
    pub(super) on: bool,
    callback: Option<Callback>,
}

impl Default for Verification {
    fn default() -> Self {
        Verification {
            on: true,
            callback: None,
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
    /// Corresponds to `SSL_CTX_set_verify`.
    pub(super) fn install(self, builder: &mut SslContextBuilder, mode: SslVerifyMode) {
        let Verification { on, callback } = self;
        builder.set_verify_callback(mode, move |good, store| {
            if !good {
                remember(store);
            }
            match &callback {
                Some(callback) => guard::run(false, || callback(good, store)),
                None => good || !on,
            }
        });
    }
}

/// Leaves libssl's objection for the connection.
fn remember(store: &X509StoreContextRef) {
    let error = VerificationError::of(store);
    if let Ok(index) = X509StoreContext::ssl_idx()
        && let Some(ssl) = store.ex_data(index)
    {
        parking::park_verification_error(ssl, error);
    }
}
