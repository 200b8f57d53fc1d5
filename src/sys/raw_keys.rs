//! Raw public keys, which libssl has from 3.2 on.

use openssl::pkey::{PKey, Public};
use openssl::ssl::{SslContextBuilder, SslRef};
use openssl::x509::X509StoreContextRef;

use crate::error::ConfigError;
use crate::types::Role;

#[cfg(ossl320)]
mod available {
    use foreign_types::{ForeignType, ForeignTypeRef};
    use openssl::error::ErrorStack;

    use super::{ConfigError, PKey, Public, Role, SslContextBuilder, SslRef, X509StoreContextRef};
    use crate::sys::ffi;

    /// Has the end `whose` show its key and no certificate. Corresponds to `SSL_CTX_set1_server_cert_type` and
    /// `SSL_CTX_set1_client_cert_type`.
    pub(crate) fn show_raw_key(
        builder: &mut SslContextBuilder,
        whose: Role,
    ) -> Result<(), ConfigError> {
        let types = [ffi::TLSEXT_cert_type_rpk];
        let (types, length) = (types.as_ptr(), types.len());
        let context = builder.as_ptr();
        let set = match whose {
            // SAFETY: the context is valid, and libssl copies `length` bytes.
            Role::Server => unsafe { ffi::SSL_CTX_set1_server_cert_type(context, types, length) },
            // SAFETY: as above.
            Role::Client => unsafe { ffi::SSL_CTX_set1_client_cert_type(context, types, length) },
        };
        if set == 1 {
            Ok(())
        } else {
            Err(ErrorStack::get().into())
        }
    }

    /// The key that is to be verified. Corresponds to `X509_STORE_CTX_get0_rpk`.
    pub(crate) fn key_to_verify(store: &X509StoreContextRef) -> Option<PKey<Public>> {
        // SAFETY: the store context is valid and keeps the key.
        owned(unsafe { ffi::X509_STORE_CTX_get0_rpk(store.as_ptr()) })
    }

    /// The key the peer showed. Corresponds to `SSL_get0_peer_rpk`.
    pub(crate) fn peer_key(ssl: &SslRef) -> Option<PKey<Public>> {
        // SAFETY: `ssl` is valid, and its session keeps the key.
        owned(unsafe { ffi::SSL_get0_peer_rpk(ssl.as_ptr()) })
    }

    /// A reference of our own to a key that is lent.
    fn owned(key: *mut ffi::EVP_PKEY) -> Option<PKey<Public>> {
        if key.is_null() {
            return None;
        }
        // SAFETY: the key is valid.
        if unsafe { ffi::EVP_PKEY_up_ref(key) } != 1 {
            return None;
        }
        // SAFETY: the reference just taken is given to the new owner.
        Some(unsafe { PKey::from_ptr(key) })
    }
}

#[cfg(not(ossl320))]
mod available {
    use super::{ConfigError, PKey, Public, Role, SslContextBuilder, SslRef, X509StoreContextRef};

    /// There are none.
    pub(crate) fn show_raw_key(_: &mut SslContextBuilder, _: Role) -> Result<(), ConfigError> {
        Err(ConfigError::Unsupported {
            what: "raw public keys",
            needs: "OpenSSL 3.2",
        })
    }

    /// There is none.
    pub(crate) fn key_to_verify(_: &X509StoreContextRef) -> Option<PKey<Public>> {
        None
    }

    /// There is none.
    pub(crate) fn peer_key(_: &SslRef) -> Option<PKey<Public>> {
        None
    }
}

pub(crate) use available::{key_to_verify, peer_key, show_raw_key};
