//! Keys and certificates by URI, from whatever stores libcrypto's providers have.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;

use foreign_types::{ForeignType, foreign_type};
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use super::ffi;

/// More objects than a store has for one end of a connection.
const MAX_OBJECTS: usize = 1024;

/// What a URI led to.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) keys: Vec<PKey<Private>>,
    pub(crate) certificates: Vec<X509>,
}

foreign_type! {
    type CType = ffi::UI_METHOD;
    fn drop = ffi::UI_destroy_method;

    /// How a passphrase is asked for.
    pub struct UiMethod;
    /// A borrowed one.
    pub struct UiMethodRef;
}

/// An open store, closed on every path.
struct Store(*mut ffi::OSSL_STORE_CTX);

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: opened by us, and closed once. What closing says is of no use to anybody.
        unsafe { ffi::OSSL_STORE_close(self.0) };
    }
}

/// One object of a store.
struct Object(*mut ffi::OSSL_STORE_INFO);

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: given to us by the store.
        unsafe { ffi::OSSL_STORE_INFO_free(self.0) };
    }
}

/// Loads the private keys and certificates that `uri` names; `passphrase` answers whoever asks for one.
///
/// Corresponds to `OSSL_STORE_open` and `OSSL_STORE_load`.
pub(crate) fn load(uri: &CStr, passphrase: &[u8]) -> Result<Loaded, ErrorStack> {
    // SAFETY: the callback keeps the contract of one.
    let method = unsafe { ffi::UI_UTIL_wrap_read_pem_callback(Some(answer), 0) };
    if method.is_null() {
        return Err(ErrorStack::get());
    }
    // SAFETY: made just now, and owned here.
    let method = unsafe { UiMethod::from_ptr(method) };
    let data = ptr::from_ref(&passphrase).cast_mut().cast();
    // SAFETY: the strings end in zero; the method and what `data` points to, which is only read, outlive the store.
    let store =
        unsafe { ffi::OSSL_STORE_open(uri.as_ptr(), method.as_ptr(), data, None, ptr::null_mut()) };
    if store.is_null() {
        return Err(ErrorStack::get());
    }
    let store = Store(store);
    let mut loaded = Loaded::default();
    for _ in 0..MAX_OBJECTS {
        // SAFETY: the store is open.
        if unsafe { ffi::OSSL_STORE_eof(store.0) } != 0 {
            break;
        }
        // SAFETY: the store is open.
        let object = unsafe { ffi::OSSL_STORE_load(store.0) };
        if object.is_null() {
            // Also said of what cannot be decoded, and, without an error, behind the last object.
            let failure = ErrorStack::get();
            if !failure.errors().is_empty() {
                return Err(failure);
            }
            continue;
        }
        loaded.take(&Object(object));
    }
    // Objects of other kinds leave their traces.
    drop(ErrorStack::get());
    Ok(loaded)
}

impl Loaded {
    fn take(&mut self, object: &Object) {
        // SAFETY: the object is valid.
        match unsafe { ffi::OSSL_STORE_INFO_get_type(object.0) } {
            ffi::OSSL_STORE_INFO_PKEY => {
                // SAFETY: the object is a private key; the caller owns the answer.
                let key = unsafe { ffi::OSSL_STORE_INFO_get1_PKEY(object.0) };
                if !key.is_null() {
                    // SAFETY: owned here, and private.
                    self.keys.push(unsafe { PKey::from_ptr(key) });
                }
            }
            ffi::OSSL_STORE_INFO_CERT => {
                // SAFETY: the object is a certificate; the caller owns the answer.
                let certificate = unsafe { ffi::OSSL_STORE_INFO_get1_CERT(object.0) };
                if !certificate.is_null() {
                    // SAFETY: owned here.
                    self.certificates
                        .push(unsafe { X509::from_ptr(certificate) });
                }
            }
            _ => {}
        }
    }
}

/// Answers with the passphrase behind `data`, if it fits.
unsafe extern "C" fn answer(
    buffer: *mut c_char,
    size: c_int,
    _writes: c_int,
    data: *mut c_void,
) -> c_int {
    // SAFETY: `load` passes a pointer to the slice it was given, which outlives the store.
    let passphrase = unsafe { *data.cast::<&[u8]>() };
    let room = usize::try_from(size).unwrap_or(0);
    match c_int::try_from(passphrase.len()) {
        Ok(length) if passphrase.len() <= room => {
            // SAFETY: the buffer has room for `size` bytes, and does not overlap ours.
            unsafe {
                ptr::copy_nonoverlapping(passphrase.as_ptr(), buffer.cast(), passphrase.len())
            };
            length
        }
        _ => -1,
    }
}
