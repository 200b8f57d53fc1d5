//! Whose certificates are trusted.

use std::path::{Path, PathBuf};

use openssl::ssl::{SslContextBuilder, SslVerifyMode};
use openssl::x509::store::X509Store;
use openssl::x509::{X509, X509Crl};

use super::{ContextBuilder, Parts};
use crate::context::identity::{certificates_from_pem, parse, read_file};
use crate::error::ConfigError;
use crate::sys::certificates;
use crate::types::Role;

/// What errors call a revocation list.
const LIST: &str = "revocation list";

/// What is trusted, as it was named.
#[derive(Default)]
pub(super) struct Trust {
    store: Option<X509Store>,
    sources: Vec<Source>,
    lists: Vec<ListSource>,
}

/// Where revocation lists come from.
enum ListSource {
    Pem(Vec<u8>),
    Der(Vec<u8>),
    File(PathBuf),
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

    /// Refuses certificates that are in the revocation lists in `pem`, one or more; see [`revocation`](Self::revocation).
    /// Corresponds to `X509_STORE_add_crl`.
    pub fn crl_pem(mut self, pem: &[u8]) -> Self {
        self.settings
            .trust
            .lists
            .push(ListSource::Pem(pem.to_vec()));
        self
    }

    /// As [`crl_pem`](Self::crl_pem), with one list in DER.
    pub fn crl_der(mut self, der: &[u8]) -> Self {
        self.settings
            .trust
            .lists
            .push(ListSource::Der(der.to_vec()));
        self
    }

    /// As [`crl_pem`](Self::crl_pem), from a PEM file.
    pub fn crl_file(mut self, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_owned();
        self.settings.trust.lists.push(ListSource::File(path));
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

    pub(super) fn has_revocation_lists(&self) -> bool {
        !self.lists.is_empty()
    }

    /// Whether there is a list, or a place that may hold one.
    pub(super) fn may_have_revocation_lists(&self) -> bool {
        let is_place = |source: &Source| matches!(source, Source::Directory(_) | Source::System);
        self.has_revocation_lists() || self.store.is_some() || self.sources.iter().any(is_place)
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
        let mut trusted = Vec::new();
        for trust in self.sources {
            match trust {
                Source::Pem(pem) => trusted.extend(certificates_from_pem(&pem)?),
                Source::Der(der) => {
                    trusted.push(X509::from_der(&der).map_err(parse("certificate"))?);
                }
                Source::Certificate(certificate) => trusted.push(certificate),
                Source::File(path) => {
                    trusted.extend(certificates_from_pem(&read_file(&path)?)?);
                }
                Source::Directory(path) => {
                    trust_directory(builder, &path)?;
                    trusts_something = true;
                }
                Source::System => trusts_something |= trust_system(builder)?,
            }
        }
        for certificate in &trusted {
            builder.cert_store_mut().add_cert(certificate.clone())?;
            if parts.role == Role::Server && parts.verify_mode != SslVerifyMode::NONE {
                builder.add_client_ca(certificate)?;
            }
        }
        for source in self.lists {
            let lists = match source {
                ListSource::Pem(pem) => lists_from_pem(&pem)?,
                ListSource::Der(der) => vec![X509Crl::from_der(&der).map_err(parse(LIST))?],
                ListSource::File(path) => lists_from_pem(&read_file(&path)?)?,
            };
            for list in lists {
                certificates::add_revocation_list(builder, &list)?;
            }
        }
        if !trusts_something && trusted.is_empty() {
            return Err(ConfigError::EmptyTrust);
        }
        Ok(trusted)
    }
}

/// At least one revocation list in PEM.
fn lists_from_pem(pem: &[u8]) -> Result<Vec<X509Crl>, ConfigError> {
    const END: &[u8] = b"-----END X509 CRL-----";
    let mut lists = Vec::new();
    let mut rest = pem;
    // libcrypto reads one; what follows it is the next one's.
    loop {
        lists.push(X509Crl::from_pem(rest).map_err(parse(LIST))?);
        let Some(at) = rest.windows(END.len()).position(|window| window == END) else {
            return Ok(lists);
        };
        rest = &rest[at + END.len()..];
        if rest.trim_ascii().is_empty() {
            return Ok(lists);
        }
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
