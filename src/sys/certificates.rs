//! Certificates with chains of their own, on contexts and on single connections.

use core::ptr;

use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::error::ErrorStack;
use openssl::pkey::{PKeyRef, Private};
use openssl::ssl::{SslContextBuilder, SslRef};
use openssl::stack::Stack;
use openssl::x509::{X509, X509CrlRef, X509Ref, X509StoreContextRef, X509VerifyResult};

use super::ffi;

/// A certificate, those above it, and the key, as libssl takes them.
pub(crate) struct Certified<'a> {
    pub(crate) leaf: &'a X509Ref,
    pub(crate) above: Stack<X509>,
    pub(crate) key: &'a PKeyRef<Private>,
}

impl Certified<'_> {
    /// Adds this to what `builder` has, in place of what has a key of the same type.
    ///
    /// Corresponds to `SSL_CTX_use_cert_and_key`, which takes a chain for this certificate alone.
    pub(crate) fn install(&self, builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        let (leaf, key, above) = self.pointers();
        // SAFETY: the context is valid; libssl takes references of its own to all three.
        let answer =
            unsafe { ffi::SSL_CTX_use_cert_and_key(builder.as_ptr(), leaf, key, above, 1) };
        succeeded(answer)
    }

    /// The same for one connection. Corresponds to `SSL_use_cert_and_key`.
    pub(crate) fn install_on(&self, ssl: &mut SslRef) -> Result<(), ErrorStack> {
        let (leaf, key, above) = self.pointers();
        // SAFETY: `ssl` is valid; libssl takes references of its own to all three.
        let answer = unsafe { ffi::SSL_use_cert_and_key(ssl.as_ptr(), leaf, key, above, 1) };
        succeeded(answer)
    }

    fn pointers(&self) -> (*mut ffi::X509, *mut ffi::EVP_PKEY, *mut ffi::stack_st_X509) {
        // With an empty chain libssl sends none, with no chain it builds one of what it trusts.
        let above = if self.above.is_empty() {
            ptr::null_mut()
        } else {
            ForeignType::as_ptr(&self.above)
        };
        (self.leaf.as_ptr(), self.key.as_ptr(), above)
    }
}

/// Takes every certificate from `ssl`. Corresponds to `SSL_certs_clear`.
pub(crate) fn clear(ssl: &mut SslRef) {
    // SAFETY: `ssl` is valid.
    unsafe { ffi::SSL_certs_clear(ssl.as_ptr()) };
}

/// Says of a certificate that it is refused, which the peer is told as bad_certificate.
pub(crate) fn reject(store: &mut X509StoreContextRef) {
    // SAFETY: a number that libcrypto knows.
    store.set_error(unsafe { X509VerifyResult::from_raw(ffi::X509_V_ERR_CERT_REJECTED) });
}

/// Adds a revocation list to what `builder` trusts. Corresponds to `X509_STORE_add_crl`.
pub(crate) fn add_revocation_list(
    builder: &mut SslContextBuilder,
    list: &X509CrlRef,
) -> Result<(), ErrorStack> {
    let store = builder.cert_store_mut().as_ptr();
    // SAFETY: the context keeps its store; libcrypto takes a reference of its own to the list.
    succeeded(unsafe { ffi::X509_STORE_add_crl(store, list.as_ptr()) })
}

fn succeeded(answer: core::ffi::c_int) -> Result<(), ErrorStack> {
    if answer == 1 {
        Ok(())
    } else {
        Err(ErrorStack::get())
    }
}
