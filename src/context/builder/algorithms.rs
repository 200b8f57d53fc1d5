//! Versions, suites, groups, signature algorithms, and the limits beside them.

use openssl::error::ErrorStack;
use openssl::pkey::Id;
use openssl::ssl::{Ssl, SslContextBuilder, SslVerifyMode, SslVersion};

use super::{ContextBuilder, Dangerous, Parts};
use crate::error::ConfigError;
use crate::sys::context::{self as sys, Authentication};
use crate::types::Role;

/// Suites for peers with certificates: forward secrecy and AEAD.
pub(in crate::context) const CERTIFICATE_SUITES: &str = "ECDHE-ECDSA-AES256-GCM-SHA384:\
    ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
    ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256";
/// Suites for pre-shared keys: AEAD; the one with forward secrecy first, the one every CoAP device has last.
const PSK_SUITES: &str = "ECDHE-PSK-CHACHA20-POLY1305:PSK-AES256-GCM-SHA384:\
    PSK-CHACHA20-POLY1305:PSK-AES128-GCM-SHA256:PSK-AES128-CCM:PSK-AES128-CCM8";
/// Suites that DTLS 1.0 has.
const CERTIFICATE_SUITES_1_0: &str = "ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA:\
    ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA";
const PSK_SUITES_1_0: &str = "ECDHE-PSK-AES128-CBC-SHA:PSK-AES128-CBC-SHA";
/// Never negotiated, whatever a list says: RSA key transport for pre-shared keys, which needs a certificate besides and has no
/// forward secrecy, and finite-field groups, which ECDHE replaces.
const REFUSED: &str = "!kRSAPSK:!kDHEPSK";
const GROUPS: &str = "X25519:P-256:P-384";
/// Without X25519, which a FIPS provider may not have.
const NIST_GROUPS: &str = "P-256:P-384";

/// Bytes of certificates taken from a peer: a chain of four RSA certificates has half of that.
const MAX_CERTIFICATE_LIST: usize = 32 * 1024;
/// The same where no certificate is asked for: forged ones should cost little.
const MAX_UNWANTED_CERTIFICATES: usize = 4 * 1024;
const CERTIFICATE_LIST_RANGE: std::ops::RangeInclusive<usize> = 1024..=1024 * 1024;
const MAX_SECURITY_LEVEL: u32 = 5;

/// What is negotiated, as far as it was said.
pub(super) struct Algorithms {
    max_version: SslVersion,
    pub(super) allow_dtls1_0: bool,
    cipher_list: Option<String>,
    groups: Option<String>,
    signature_algorithms: Option<String>,
    security_level: Option<u32>,
    max_certificate_list: Option<usize>,
}

impl Default for Algorithms {
    fn default() -> Self {
        Algorithms {
            max_version: SslVersion::DTLS1_2,
            allow_dtls1_0: false,
            cipher_list: None,
            groups: None,
            signature_algorithms: None,
            security_level: None,
            max_certificate_list: None,
        }
    }
}

impl<R> ContextBuilder<R> {
    /// The highest version: DTLS 1.2, the default, or DTLS 1.0 where [`Dangerous::allow_dtls1_0`] allows it.
    pub fn max_version(mut self, version: SslVersion) -> Self {
        self.settings.algorithms.max_version = version;
        self
    }

    /// The cipher suites, in OpenSSL's notation and in order of preference. Corresponds to `SSL_CTX_set_cipher_list`.
    ///
    /// Pre-shared keys with RSA or finite-field Diffie-Hellman key exchange are left out of any list. With CBC suites a peer gets
    /// MAC-then-encrypt, since libssl ends an established connection over one forged record with encrypt-then-MAC.
    pub fn cipher_list(mut self, list: &str) -> Self {
        self.settings.algorithms.cipher_list = Some(list.to_owned());
        self
    }

    /// The groups for key exchange, separated by colons. Corresponds to `SSL_CTX_set1_groups_list`.
    pub fn groups(mut self, list: &str) -> Self {
        self.settings.algorithms.groups = Some(list.to_owned());
        self
    }

    /// The signature algorithms, separated by colons. Default: libssl's. Corresponds to `SSL_CTX_set1_sigalgs_list`.
    pub fn signature_algorithms(mut self, list: &str) -> Self {
        self.settings.algorithms.signature_algorithms = Some(list.to_owned());
        self
    }

    /// What libssl takes for secure, 0 to 5. Default: libssl's. Corresponds to `SSL_CTX_set_security_level`.
    ///
    /// Newer libssls (3.6 and 4.0 are known) allow `TLS_PSK_WITH_AES_128_CCM_8` and the other suites with tags of 8 bytes, which
    /// are all that some CoAP devices have, at level 0 only.
    pub fn security_level(mut self, level: u32) -> Self {
        self.settings.algorithms.security_level = Some(level);
        self
    }

    /// The most bytes of certificates to take from a peer, 1 KiB to 1 MiB. Default: 32 KiB, or 4 KiB on a server that asks for
    /// none. Corresponds to `SSL_CTX_set_max_cert_list`.
    pub fn max_certificate_list(mut self, bytes: usize) -> Self {
        self.settings.algorithms.max_certificate_list = Some(bytes);
        self
    }
}

impl<R> Dangerous<R> {
    /// Goes down to DTLS 1.0, with its CBC suites and SHA-1, at libssl's security level 0.
    pub fn allow_dtls1_0(mut self) -> ContextBuilder<R> {
        self.builder.settings.algorithms.allow_dtls1_0 = true;
        self.builder
    }
}

impl Algorithms {
    /// Corresponds to `SSL_CTX_set_min_proto_version` and `SSL_CTX_set_max_proto_version`.
    pub(super) fn set_versions(&self, builder: &mut SslContextBuilder) -> Result<(), ConfigError> {
        let min = if self.allow_dtls1_0 {
            SslVersion::DTLS1
        } else {
            SslVersion::DTLS1_2
        };
        if self.max_version != SslVersion::DTLS1_2 && self.max_version != min {
            return Err(ConfigError::VersionRange);
        }
        builder.set_min_proto_version(Some(min))?;
        builder.set_max_proto_version(Some(self.max_version))?;
        Ok(())
    }

    pub(super) fn install(
        &self,
        builder: &mut SslContextBuilder,
        parts: &Parts,
    ) -> Result<(), ConfigError> {
        match self.security_level {
            Some(level) if level > MAX_SECURITY_LEVEL => {
                return Err(ConfigError::OutOfRange {
                    what: "the security level",
                });
            }
            Some(level) => builder.set_security_level(level),
            None if self.allow_dtls1_0 => builder.set_security_level(0),
            None => {}
        }
        let suites = self
            .cipher_list
            .clone()
            .unwrap_or_else(|| self.default_suites(parts));
        builder
            .set_cipher_list(&format!("{suites}:{REFUSED}"))
            .map_err(|source| match &self.cipher_list {
                Some(list) => bad_list("cipher list", list)(source),
                // Nothing is wrong with our own list: the providers have none of it.
                None => ConfigError::NoCipherSuites,
            })?;
        if let Some(groups) = &self.groups {
            builder
                .set_groups_list(groups)
                .map_err(bad_list("groups", groups))?;
        } else if builder.set_groups_list(GROUPS).is_err() {
            builder.set_groups_list(NIST_GROUPS)?;
        }
        if let Some(list) = &self.signature_algorithms {
            builder
                .set_sigalgs_list(list)
                .map_err(bad_list("signature algorithms", list))?;
        }
        let wanted = parts.role == Role::Client || parts.verify_mode != SslVerifyMode::NONE;
        let bytes = match self.max_certificate_list {
            Some(bytes) if !CERTIFICATE_LIST_RANGE.contains(&bytes) => {
                return Err(ConfigError::OutOfRange {
                    what: "the certificate list",
                });
            }
            Some(bytes) => bytes,
            None if wanted => MAX_CERTIFICATE_LIST,
            None => MAX_UNWANTED_CERTIFICATES,
        };
        sys::set_max_certificate_list(builder, bytes);
        Ok(())
    }

    fn default_suites(&self, parts: &Parts) -> String {
        let has_psk = parts.client_psk.is_some() || parts.server_psk.is_some();
        let suites = [
            (CERTIFICATE_SUITES, parts.certificates),
            (PSK_SUITES, has_psk),
            (
                CERTIFICATE_SUITES_1_0,
                parts.certificates && self.allow_dtls1_0,
            ),
            (PSK_SUITES_1_0, has_psk && self.allow_dtls1_0),
        ];
        let wanted: Vec<_> = suites
            .iter()
            .filter(|(_, wanted)| *wanted)
            .map(|(list, _)| *list)
            .collect();
        wanted.join(":")
    }
}

/// The suites that are offered or served unless told otherwise, by their OpenSSL names.
pub(crate) fn default_suites() -> impl Iterator<Item = &'static str> {
    [CERTIFICATE_SUITES, PSK_SUITES]
        .into_iter()
        .flat_map(|list| list.split(':'))
}

fn bad_list<'a>(what: &'static str, given: &'a str) -> impl FnOnce(ErrorStack) -> ConfigError + 'a {
    move |source| ConfigError::BadList {
        what,
        given: given.to_owned(),
        source,
    }
}

/// Whether a server has what one of its suites needs.
pub(super) fn serves_a_cipher(ssl: &Ssl, keys: &[Id], has_psk: bool) -> bool {
    let has_key = |types: &[Id]| keys.iter().any(|key| types.contains(key));
    sys::cipher_authentications(ssl).any(|authentication| match authentication {
        Authentication::Psk => has_psk,
        Authentication::Rsa => has_key(&[Id::RSA, Id::RSA_PSS]),
        Authentication::Ecdsa => has_key(&[Id::EC, Id::ED25519, Id::ED448]),
        Authentication::Other => false,
    })
}
