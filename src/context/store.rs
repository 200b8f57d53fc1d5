//! Keys that live elsewhere: in files, tokens and whatever else libcrypto's providers open by URI.

use std::ffi::CString;

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};

use super::Identity;
use crate::error::ConfigError;
use crate::sys::store::{Loaded, load};

/// Loads the private key that `uri` names: `file:/etc/key.pem`, or `pkcs11:token=box;object=key` where a provider for PKCS#11 is
/// active. The key may never leave its token.
///
/// `passphrase` answers a store that asks for one: the passphrase of a file, the PIN of a token. Empty: there is none; nobody is
/// ever asked on the terminal. Corresponds to `OSSL_STORE_open` and `OSSL_STORE_load`.
///
/// ```no_run
/// use openssl_dtls::openssl::x509::X509;
/// use openssl_dtls::{Identity, load_private_key};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = load_private_key("pkcs11:token=box;object=key;type=private", b"1234")?;
/// let chain = X509::stack_from_pem(&std::fs::read("chain.pem")?)?;
/// let identity = Identity::from_parts(chain, key)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`ConfigError::Store`], or [`ConfigError::NoPrivateKey`] if the store holds none.
pub fn load_private_key(uri: &str, passphrase: &[u8]) -> Result<PKey<Private>, ConfigError> {
    let loaded = open(uri, passphrase)?;
    loaded
        .keys
        .into_iter()
        .next()
        .ok_or(ConfigError::NoPrivateKey)
}

impl Identity {
    /// Loads certificates and key from stores by their URIs, which may be the same: the certificate comes first, then those
    /// above it. `passphrase` is as for [`load_private_key`].
    ///
    /// # Errors
    ///
    /// [`ConfigError::Store`], and those of [`from_parts`](Self::from_parts) and [`load_private_key`].
    pub fn from_store(
        chain_uri: &str,
        key_uri: &str,
        passphrase: &[u8],
    ) -> Result<Identity, ConfigError> {
        let key = load_private_key(key_uri, passphrase)?;
        Identity::from_parts(open(chain_uri, passphrase)?.certificates, key)
    }
}

fn open(uri: &str, passphrase: &[u8]) -> Result<Loaded, ConfigError> {
    let failed = |source| ConfigError::Store {
        uri: without_query(uri),
        source,
    };
    let uri = CString::new(uri).map_err(|_| failed(ErrorStack::get()))?;
    load(&uri, passphrase).map_err(failed)
}

/// A URI without its query, in which a PIN may stand (RFC 7512, 2.4).
fn without_query(uri: &str) -> String {
    uri.split('?').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_stay_out_of_errors() {
        assert_eq!(
            without_query("pkcs11:token=box?pin-value=1234"),
            "pkcs11:token=box"
        );
        assert_eq!(without_query("file:/key.pem"), "file:/key.pem");
    }
}
