//! What verification has to say about a peer's certificate.

use std::fmt;

use openssl::x509::{X509, X509StoreContextRef, X509VerifyResult};

/// One objection to a peer's certificate or to the chain above it.
#[derive(Clone)]
pub struct VerificationError {
    result: X509VerifyResult,
    depth: u32,
    certificate: Option<X509>,
}

impl VerificationError {
    /// The objection libssl raises in a verification callback.
    pub(crate) fn of(store: &X509StoreContextRef) -> VerificationError {
        VerificationError {
            result: store.error(),
            depth: store.error_depth(),
            certificate: store.current_cert().map(ToOwned::to_owned),
        }
    }

    /// What is wrong. Corresponds to `X509_STORE_CTX_get_error`.
    pub fn result(&self) -> X509VerifyResult {
        self.result
    }

    /// Which certificate it is about: 0 for the peer's own, 1 for the one above it, and so on. Corresponds to
    /// `X509_STORE_CTX_get_error_depth`.
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// The certificate, if the objection is to one. Corresponds to `X509_STORE_CTX_get_current_cert`.
    pub fn certificate(&self) -> Option<&X509> {
        self.certificate.as_ref()
    }
}

impl fmt::Debug for VerificationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationError")
            .field("result", &self.result)
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for VerificationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at depth {}", self.result, self.depth)
    }
}
