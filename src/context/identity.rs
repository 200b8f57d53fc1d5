//! A certificate, its chain and its private key.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use openssl::error::ErrorStack;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{Id, PKey, Private};
use openssl::stack::Stack;
use openssl::x509::X509;
use zeroize::Zeroizing;

use crate::error::ConfigError;
use crate::sys::certificates::Certified;

/// A certificate with the chain above it, and its private key.
#[derive(Clone)]
pub struct Identity {
    /// The leaf first.
    chain: Vec<X509>,
    key: PKey<Private>,
}

impl Identity {
    /// Takes what is parsed already: the certificate, then those above it, and the key, which may live in an HSM or a provider.
    ///
    /// # Errors
    ///
    /// [`ConfigError::NoCertificate`], [`ConfigError::KeyMismatch`].
    pub fn from_parts(chain: Vec<X509>, key: PKey<Private>) -> Result<Identity, ConfigError> {
        let leaf = chain.first().ok_or(ConfigError::NoCertificate)?;
        if !leaf
            .public_key()
            .map_err(parse("certificate"))?
            .public_eq(&key)
        {
            return Err(ConfigError::KeyMismatch);
        }
        Ok(Identity { chain, key })
    }

    /// Parses PEM: `chain` holds the certificate and then those above it, `key` the private key, which must not be encrypted.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Parse`], and those of [`from_parts`](Self::from_parts).
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Identity, ConfigError> {
        // With a passphrase given libcrypto never asks for one on the terminal.
        Self::from_pem_encrypted(chain, key, b"")
    }

    /// As [`from_pem`](Self::from_pem), with a key that `passphrase` decrypts.
    ///
    /// # Errors
    ///
    /// As [`from_pem`](Self::from_pem).
    pub fn from_pem_encrypted(
        chain: &[u8],
        key: &[u8],
        passphrase: &[u8],
    ) -> Result<Identity, ConfigError> {
        let key =
            PKey::private_key_from_pem_passphrase(key, passphrase).map_err(parse("private key"))?;
        Self::from_parts(certificates_from_pem(chain)?, key)
    }

    /// Parses DER: the certificate, then those above it, one each, and the private key in PKCS#8 or its own format.
    ///
    /// # Errors
    ///
    /// As [`from_pem`](Self::from_pem).
    pub fn from_der(chain: &[&[u8]], key: &[u8]) -> Result<Identity, ConfigError> {
        let key = PKey::private_key_from_der(key).map_err(parse("private key"))?;
        let chain: Result<_, _> = chain.iter().map(|der| X509::from_der(der)).collect();
        Self::from_parts(chain.map_err(parse("certificate"))?, key)
    }

    /// Opens a PKCS#12 archive: the certificate, those above it, and the key.
    ///
    /// # Errors
    ///
    /// [`ConfigError::NoPrivateKey`], and those of [`from_pem`](Self::from_pem).
    pub fn from_pkcs12(der: &[u8], password: &str) -> Result<Identity, ConfigError> {
        // C would take the zero byte for the password's end.
        if password.contains('\0') {
            return Err(ConfigError::Parse {
                what: "PKCS#12 archive",
                source: ErrorStack::get(),
            });
        }
        let parsed = Pkcs12::from_der(der)
            .and_then(|archive| archive.parse2(password))
            .map_err(parse("PKCS#12 archive"))?;
        let mut chain: Vec<X509> = parsed.cert.into_iter().collect();
        chain.extend(parsed.ca.into_iter().flatten());
        Self::from_parts(chain, parsed.pkey.ok_or(ConfigError::NoPrivateKey)?)
    }

    /// Reads PEM from two files, as [`from_pem`](Self::from_pem).
    ///
    /// # Errors
    ///
    /// [`ConfigError::File`], and those of [`from_pem`](Self::from_pem).
    pub fn from_files(
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Identity, ConfigError> {
        let chain = read_file(chain.as_ref())?;
        let key = Zeroizing::new(read_file(key.as_ref())?);
        Self::from_pem(&chain, &key)
    }

    /// The certificate, without those above it.
    pub fn certificate(&self) -> &X509 {
        &self.chain[0]
    }

    pub(super) fn key(&self) -> &PKey<Private> {
        &self.key
    }

    /// The type of the key, by OpenSSL's name.
    pub(super) fn key_type(&self) -> &'static str {
        match self.key.id() {
            Id::RSA => "RSA",
            Id::RSA_PSS => "RSA-PSS",
            Id::EC => "EC",
            Id::ED25519 => "ED25519",
            Id::ED448 => "ED448",
            _ => "another type",
        }
    }

    /// As libssl takes it.
    pub(super) fn certified(&self) -> Result<Certified<'_>, ErrorStack> {
        let mut above = Stack::new()?;
        for certificate in self.chain.iter().skip(1) {
            above.push(certificate.clone())?;
        }
        Ok(Certified {
            leaf: self.certificate(),
            above,
            key: &self.key,
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("chain", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// Refuses two identities whose keys are of one type: libssl would put the second in the place of the first.
pub(super) fn key_types_differ(identities: &[Identity]) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    for kind in identities.iter().map(Identity::key_type) {
        if !seen.insert(kind) {
            return Err(ConfigError::SameKeyType { kind });
        }
    }
    Ok(())
}

/// At least one certificate in PEM.
pub(super) fn certificates_from_pem(pem: &[u8]) -> Result<Vec<X509>, ConfigError> {
    let certificates = X509::stack_from_pem(pem).map_err(parse("certificate"))?;
    if certificates.is_empty() {
        return Err(ConfigError::NoCertificate);
    }
    Ok(certificates)
}

pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::File {
        path: path.display().to_string(),
        source,
    })
}

pub(super) fn parse(what: &'static str) -> impl Fn(ErrorStack) -> ConfigError {
    move |source| ConfigError::Parse { what, source }
}
