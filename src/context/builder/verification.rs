//! How the peer's certificate is verified.

use openssl::ssl::{SslContextBuilder, SslVerifyMode};
use openssl::x509::X509StoreContextRef;

use super::{ContextBuilder, Dangerous};
use crate::guard;

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
    /// Takes any certificate: anybody on the path can be the peer. For tests, and for protocols that check
    /// [`HandshakeInfo::peer_certificate`](crate::HandshakeInfo::peer_certificate) themselves, as WebRTC does.
    pub fn no_verification(mut self) -> ContextBuilder<R> {
        self.builder.settings.verification.on = false;
        self.builder
    }
}

impl Verification {
    pub(super) fn install(self, builder: &mut SslContextBuilder, mode: SslVerifyMode) {
        let accept_all: Option<Callback> = if self.on {
            None
        } else {
            Some(Box::new(|_, _| true))
        };
        match self.callback.or(accept_all) {
            Some(callback) => builder.set_verify_callback(mode, move |good, store| {
                guard::run(false, || callback(good, store))
            }),
            None => builder.set_verify(mode),
        }
    }
}
