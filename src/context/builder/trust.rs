//! Whose certificates are trusted.

use std::path::{Path, PathBuf};

use openssl::ssl::{SslContextBuilder, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::store::X509Store;

use super::{ContextBuilder, Parts};
use crate::context::identity::{certificates_from_pem, parse, read_file};
use crate::error::ConfigError;
use crate::types::Role;

/// What is trusted, as it was named.
#[derive(Default)]
pub(super) struct Trust {
    store: Option<X509Store>,
    sources: Vec<Source>,
}

/// Where trusted certificates come from.
enum Source {
    Pem(Vec<u8>),
    Der(Vec<u8>),
    Certificate(X509),
    File(PathBuf),
    Directory(PathBuf),
    System,
}

impl<R> ContextBuilder<R> {
    fn trust(mut self, source: Source) -> Self {
        self.settings.trust.sources.push(source);
        self
    }

    /// Trusts the certificate authorities in `pem`, one or more.
    pub fn trust_pem(self, pem: &[u8]) -> Self {
        self.trust(Source::Pem(pem.to_vec()))
    }

    /// Trusts the certificate authority in `der`.
    pub fn trust_der(self, der: &[u8]) -> Self {
        self.trust(Source::Der(der.to_vec()))
    }

    /// Trusts `certificate`.
    pub fn trust_certificate(self, certificate: X509) -> Self {
        self.trust(Source::Certificate(certificate))
    }

    /// Trusts the certificate authorities in a PEM file.
    pub fn trust_file(self, path: impl AsRef<Path>) -> Self {
        self.trust(Source::File(path.as_ref().to_owned()))
    }

    /// Trusts the certificate authorities in a directory that `openssl rehash` has prepared. Corresponds to
    /// `X509_LOOKUP_hash_dir`, which reads files as they are needed.
    pub fn trust_directory(self, path: impl AsRef<Path>) -> Self {
        self.trust(Source::Directory(path.as_ref().to_owned()))
    }

    /// Trusts what `store` does, with its lookups and its revocation lists, besides what other setters name.
    pub fn trust_store(mut self, store: X509Store) -> Self {
        self.settings.trust.store = Some(store);
        self
    }

    /// Trusts the certificate authorities of this system, wherever it keeps them; `SSL_CERT_FILE` and `SSL_CERT_DIR` say
    /// otherwise.
    pub fn trust_system(self) -> Self {
        self.trust(Source::System)
    }
}

impl Trust {
    pub(super) fn is_empty(&self) -> bool {
        self.store.is_none() && self.sources.is_empty()
    }

    /// Loads what is trusted, and answers what of it has a fixed place in the configuration.
    pub(super) fn install(
        self,
        builder: &mut SslContextBuilder,
        parts: &Parts,
    ) -> Result<Vec<X509>, ConfigError> {
        // A store that was handed over may hold anything; the rest is counted.
        let mut trusts_something = self.store.is_some() || self.sources.is_empty();
        if let Some(store) = self.store {
            builder.set_cert_store(store);
        }
        let mut certificates = Vec::new();
        for trust in self.sources {
            match trust {
                Source::Pem(pem) => certificates.extend(certificates_from_pem(&pem)?),
                Source::Der(der) => {
                    certificates.push(X509::from_der(&der).map_err(parse("certificate"))?);
                }
                Source::Certificate(certificate) => certificates.push(certificate),
                Source::File(path) => {
                    certificates.extend(certificates_from_pem(&read_file(&path)?)?);
                }
                Source::Directory(path) => {
                    trust_directory(builder, &path)?;
                    trusts_something = true;
                }
                Source::System => trusts_something |= trust_system(builder)?,
            }
        }
        for certificate in &certificates {
            builder.cert_store_mut().add_cert(certificate.clone())?;
            if parts.role == Role::Server && parts.verify_mode != SslVerifyMode::NONE {
                builder.add_client_ca(certificate)?;
            }
        }
        if !trusts_something && certificates.is_empty() {
            return Err(ConfigError::EmptyTrust);
        }
        Ok(certificates)
    }
}

fn trust_directory(builder: &mut SslContextBuilder, path: &Path) -> Result<(), ConfigError> {
    // libssl takes any name and finds nothing there later.
    let unreadable = |source| ConfigError::File {
        path: path.display().to_string(),
        source,
    };
    std::fs::read_dir(path).map_err(unreadable)?;
    builder
        .load_verify_locations(None, Some(path))
        .map_err(ConfigError::from)
}

/// Trusts what the system does, and answers whether there is anything.
fn trust_system(builder: &mut SslContextBuilder) -> Result<bool, ConfigError> {
    let found = openssl_probe::probe();
    let mut trusts_something = false;
    if let Some(file) = &found.cert_file {
        builder.load_verify_locations(Some(file), None)?;
        trusts_something = true;
    }
    for directory in &found.cert_dir {
        trust_directory(builder, directory)?;
        trusts_something = true;
    }
    Ok(trusts_something)
}
