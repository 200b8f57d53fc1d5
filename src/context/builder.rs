//! How a context is made.

use std::fmt;
use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use openssl::pkey::Id;
use openssl::sha::Sha256;
use openssl::ssl::{
    Ssl, SslContextBuilder, SslMethod, SslSessionCacheMode, SslVerifyMode, SslVersion,
};
use openssl::x509::store::X509Store;
use openssl::x509::{X509, X509StoreContextRef};

use super::identity::{certificates_from_pem, parse, read_file};
use super::{Context, Identity, Psk, PskLookup, check_library_version, trial};
use crate::error::ConfigError;
use crate::guard;
use crate::sys::context::{self as sys, Authentication};
use crate::transport::TransportConfig;
use crate::types::Role;

/// Suites for peers with certificates: forward secrecy and AEAD.
pub(super) const CERTIFICATE_SUITES: &str = "ECDHE-ECDSA-AES256-GCM-SHA384:\
    ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
    ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256";
/// Suites for pre-shared keys: AEAD; the one with forward secrecy first, the one every CoAP device has last.
const PSK_SUITES: &str = "ECDHE-PSK-CHACHA20-POLY1305:PSK-AES256-GCM-SHA384:\
    PSK-CHACHA20-POLY1305:PSK-AES128-GCM-SHA256:PSK-AES128-CCM:PSK-AES128-CCM8";
/// Suites that DTLS 1.0 has.
const CERTIFICATE_SUITES_1_0: &str = "ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA:\
    ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA";
const PSK_SUITES_1_0: &str = "ECDHE-PSK-AES128-CBC-SHA:PSK-AES128-CBC-SHA";
const GROUPS: &str = "X25519:P-256:P-384";
/// Without X25519, which a FIPS provider may not have.
const NIST_GROUPS: &str = "P-256:P-384";

/// Bytes of certificates taken from a peer: a chain of four RSA certificates has half of that.
const MAX_CERTIFICATE_LIST: usize = 32 * 1024;
/// The same where no certificate is asked for: forged ones should cost little.
const MAX_UNWANTED_CERTIFICATES: usize = 4 * 1024;
const CERTIFICATE_LIST_RANGE: std::ops::RangeInclusive<usize> = 1024..=1024 * 1024;
const MAX_SECURITY_LEVEL: u32 = 5;

/// Whether a server asks its clients for certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// Asks for none.
    #[default]
    None,
    /// Asks for one and verifies it, but goes on without.
    Optional,
    /// Refuses clients without a good one.
    Required,
}

/// How a server authenticates itself: made of an [`Identity`], a [`PskLookup`], or a pair of both.
#[derive(Debug)]
pub struct Credentials {
    identity: Option<Identity>,
    psk: Option<PskLookup>,
}

impl From<Identity> for Credentials {
    fn from(identity: Identity) -> Self {
        Credentials {
            identity: Some(identity),
            psk: None,
        }
    }
}

impl From<PskLookup> for Credentials {
    fn from(psk: PskLookup) -> Self {
        Credentials {
            identity: None,
            psk: Some(psk),
        }
    }
}

impl From<(Identity, PskLookup)> for Credentials {
    fn from((identity, psk): (Identity, PskLookup)) -> Self {
        Credentials {
            identity: Some(identity),
            psk: Some(psk),
        }
    }
}

/// What only a client's context has; a type parameter of [`ContextBuilder`].
#[derive(Debug)]
pub struct ForClient {
    identity: Option<Identity>,
    psk: Option<Psk>,
    check_name: bool,
}

/// What only a server's context has; a type parameter of [`ContextBuilder`].
#[derive(Debug)]
pub struct ForServer {
    credentials: Credentials,
    client_certificates: ClientCertificates,
}

/// Where trusted certificates come from.
enum Trust {
    Pem(Vec<u8>),
    Der(Vec<u8>),
    Certificate(X509),
    File(PathBuf),
    Directory(PathBuf),
    System,
}

type VerifyCallback = Box<dyn Fn(bool, &mut X509StoreContextRef) -> bool + Send + Sync>;
type Configure = Box<dyn FnOnce(&mut SslContextBuilder) -> Result<(), ErrorStack>>;

/// Collects the settings of a [`Context`]; `build` checks them all.
///
/// Defaults: DTLS 1.2; AEAD suites, with forward secrecy for certificates; groups X25519, P-256, P-384; a client verifies its
/// peer's certificate and name; no renegotiation, no session cache; [`TransportConfig::default`].
#[must_use]
pub struct ContextBuilder<R> {
    for_role: R,
    settings: Settings,
}

/// What both roles have.
struct Settings {
    store: Option<X509Store>,
    trust: Vec<Trust>,
    verify: bool,
    verify_callback: Option<VerifyCallback>,
    max_version: SslVersion,
    allow_dtls1_0: bool,
    cipher_list: Option<String>,
    groups: Option<String>,
    signature_algorithms: Option<String>,
    security_level: Option<u32>,
    max_certificate_list: Option<usize>,
    transport: TransportConfig,
    configure: Vec<Configure>,
}

/// What a role makes of its settings.
struct Parts {
    role: Role,
    identity: Option<Identity>,
    client_psk: Option<Psk>,
    server_psk: Option<PskLookup>,
    verify_mode: SslVerifyMode,
    /// Whether suites with certificates are of use.
    certificates: bool,
    name_required: bool,
}

impl ContextBuilder<ForClient> {
    pub(super) fn client() -> Self {
        Self::new(ForClient {
            identity: None,
            psk: None,
            check_name: true,
        })
    }

    /// The certificate to show to servers that ask for one.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.for_role.identity = Some(identity);
        self
    }

    /// Offers suites with this pre-shared key.
    ///
    /// A client that trusts no certificate needs one; a client that has both offers both.
    pub fn psk(mut self, psk: Psk) -> Self {
        self.for_role.psk = Some(psk);
        self
    }

    /// Makes the context.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: every contradiction among the settings, files that cannot be read, and what libssl refuses.
    pub fn build(self) -> Result<Context, ConfigError> {
        let ContextBuilder {
            for_role:
                ForClient {
                    identity,
                    psk,
                    check_name,
                },
            settings,
        } = self;
        let certificates = settings.trusts_anything() || !settings.verify;
        if !certificates && psk.is_none() {
            return Err(ConfigError::EmptyTrust);
        }
        let verify_mode = if settings.verify {
            SslVerifyMode::PEER
        } else {
            SslVerifyMode::NONE
        };
        let parts = Parts {
            role: Role::Client,
            identity,
            client_psk: psk,
            server_psk: None,
            verify_mode,
            certificates,
            name_required: settings.verify && certificates && check_name,
        };
        settings.build(parts)
    }
}

impl ContextBuilder<ForServer> {
    pub(super) fn server(credentials: Credentials) -> Self {
        Self::new(ForServer {
            credentials,
            client_certificates: ClientCertificates::None,
        })
    }

    /// Whether to ask clients for certificates. Default: no.
    pub fn client_certificates(mut self, client_certificates: ClientCertificates) -> Self {
        self.for_role.client_certificates = client_certificates;
        self
    }

    /// Makes the context.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: every contradiction among the settings, files that cannot be read, and what libssl refuses.
    pub fn build(self) -> Result<Context, ConfigError> {
        let ContextBuilder {
            for_role:
                ForServer {
                    credentials,
                    client_certificates,
                },
            settings,
        } = self;
        let verify_mode = match client_certificates {
            ClientCertificates::None => SslVerifyMode::NONE,
            ClientCertificates::Optional => SslVerifyMode::PEER,
            ClientCertificates::Required => {
                SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT
            }
        };
        if client_certificates != ClientCertificates::None
            && settings.verify
            && !settings.trusts_anything()
        {
            return Err(ConfigError::EmptyTrust);
        }
        let parts = Parts {
            role: Role::Server,
            certificates: credentials.identity.is_some(),
            identity: credentials.identity,
            client_psk: None,
            server_psk: credentials.psk,
            verify_mode,
            name_required: false,
        };
        settings.build(parts)
    }
}

impl<R> ContextBuilder<R> {
    fn new(for_role: R) -> Self {
        let settings = Settings {
            store: None,
            trust: Vec::new(),
            verify: true,
            verify_callback: None,
            max_version: SslVersion::DTLS1_2,
            allow_dtls1_0: false,
            cipher_list: None,
            groups: None,
            signature_algorithms: None,
            security_level: None,
            max_certificate_list: None,
            transport: TransportConfig::default(),
            configure: Vec::new(),
        };
        ContextBuilder { for_role, settings }
    }

    fn trust(mut self, trust: Trust) -> Self {
        self.settings.trust.push(trust);
        self
    }

    /// Trusts the certificate authorities in `pem`, one or more.
    pub fn trust_pem(self, pem: &[u8]) -> Self {
        self.trust(Trust::Pem(pem.to_vec()))
    }

    /// Trusts the certificate authority in `der`.
    pub fn trust_der(self, der: &[u8]) -> Self {
        self.trust(Trust::Der(der.to_vec()))
    }

    /// Trusts `certificate`.
    pub fn trust_certificate(self, certificate: X509) -> Self {
        self.trust(Trust::Certificate(certificate))
    }

    /// Trusts the certificate authorities in a PEM file.
    pub fn trust_file(self, path: impl AsRef<Path>) -> Self {
        self.trust(Trust::File(path.as_ref().to_owned()))
    }

    /// Trusts the certificate authorities in a directory that `openssl rehash` has prepared. Corresponds to
    /// `X509_LOOKUP_hash_dir`, which reads files as they are needed.
    pub fn trust_directory(self, path: impl AsRef<Path>) -> Self {
        self.trust(Trust::Directory(path.as_ref().to_owned()))
    }

    /// Trusts what `store` does, with its lookups and its revocation lists, besides what other setters name.
    pub fn trust_store(mut self, store: X509Store) -> Self {
        self.settings.store = Some(store);
        self
    }

    /// Trusts the certificate authorities of this system, wherever it keeps them; `SSL_CERT_FILE` and `SSL_CERT_DIR` say
    /// otherwise.
    pub fn trust_system(self) -> Self {
        self.trust(Trust::System)
    }

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
        self.settings.verify_callback = Some(Box::new(callback));
        self
    }

    /// The highest version: DTLS 1.2, the default, or DTLS 1.0 where [`Dangerous::allow_dtls1_0`] allows it.
    pub fn max_version(mut self, version: SslVersion) -> Self {
        self.settings.max_version = version;
        self
    }

    /// The cipher suites, in OpenSSL's notation and in order of preference. Corresponds to `SSL_CTX_set_cipher_list`.
    ///
    /// With CBC suites a peer gets MAC-then-encrypt, since libssl ends an established connection over one forged record with
    /// encrypt-then-MAC.
    pub fn cipher_list(mut self, list: &str) -> Self {
        self.settings.cipher_list = Some(list.to_owned());
        self
    }

    /// The groups for key exchange, separated by colons. Corresponds to `SSL_CTX_set1_groups_list`.
    pub fn groups(mut self, list: &str) -> Self {
        self.settings.groups = Some(list.to_owned());
        self
    }

    /// The signature algorithms, separated by colons. Default: libssl's. Corresponds to `SSL_CTX_set1_sigalgs_list`.
    pub fn signature_algorithms(mut self, list: &str) -> Self {
        self.settings.signature_algorithms = Some(list.to_owned());
        self
    }

    /// What libssl takes for secure, 0 to 5. Default: libssl's. Corresponds to `SSL_CTX_set_security_level`.
    ///
    /// OpenSSL 4 allows `TLS_PSK_WITH_AES_128_CCM_8`, which CoAP devices have, at level 0 only.
    pub fn security_level(mut self, level: u32) -> Self {
        self.settings.security_level = Some(level);
        self
    }

    /// The most bytes of certificates to take from a peer, 1 KiB to 1 MiB. Default: 32 KiB, or 4 KiB on a server that asks for
    /// none. Corresponds to `SSL_CTX_set_max_cert_list`.
    pub fn max_certificate_list(mut self, bytes: usize) -> Self {
        self.settings.max_certificate_list = Some(bytes);
        self
    }

    /// How connections use the network.
    pub fn transport(mut self, transport: TransportConfig) -> Self {
        self.settings.transport = transport;
        self
    }

    /// Lets `configure` do to the `SSL_CTX` what no setter does. It runs in `build`, after all else.
    ///
    /// Re-applied after it: the least version, the MTU and timer of each connection, no renegotiation, cookies. Turning off
    /// verification here is [`ConfigError::Weakened`].
    pub fn configure(
        mut self,
        configure: impl FnOnce(&mut SslContextBuilder) -> Result<(), ErrorStack> + 'static,
    ) -> Self {
        self.settings.configure.push(Box::new(configure));
        self
    }

    /// Settings that make connections less secure.
    pub fn dangerous(self) -> Dangerous<R> {
        Dangerous { builder: self }
    }
}

impl<R: fmt::Debug> fmt::Debug for ContextBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextBuilder")
            .field("for_role", &self.for_role)
            .field("verify", &self.settings.verify)
            .field("allow_dtls1_0", &self.settings.allow_dtls1_0)
            .field("transport", &self.settings.transport)
            .finish_non_exhaustive()
    }
}

/// Settings that make connections less secure; see [`ContextBuilder::dangerous`].
#[derive(Debug)]
#[must_use]
pub struct Dangerous<R> {
    builder: ContextBuilder<R>,
}

impl<R> Dangerous<R> {
    /// Takes any certificate: anybody on the path can be the peer. For tests, and for protocols that check
    /// [`HandshakeInfo::peer_certificate`](crate::HandshakeInfo::peer_certificate) themselves, as WebRTC does.
    pub fn no_verification(mut self) -> ContextBuilder<R> {
        self.builder.settings.verify = false;
        self.builder
    }

    /// Goes down to DTLS 1.0, with its CBC suites and SHA-1, at libssl's security level 0.
    pub fn allow_dtls1_0(mut self) -> ContextBuilder<R> {
        self.builder.settings.allow_dtls1_0 = true;
        self.builder
    }
}

impl Dangerous<ForClient> {
    /// Verifies the chain but takes any name in it: whoever has a certificate of a trusted authority can be the peer. A
    /// [`ServerName`](crate::ServerName) that is given all the same is checked.
    pub fn no_name_check(mut self) -> ContextBuilder<ForClient> {
        self.builder.for_role.check_name = false;
        self.builder
    }
}

impl Settings {
    fn trusts_anything(&self) -> bool {
        self.store.is_some() || !self.trust.is_empty()
    }

    fn build(mut self, parts: Parts) -> Result<Context, ConfigError> {
        check_library_version()?;
        self.transport.check()?;
        let mut builder = SslContextBuilder::new(SslMethod::dtls())?;
        self.set_versions(&mut builder)?;
        self.set_algorithms(&mut builder, &parts)?;
        let trusted = self.set_trust(&mut builder, &parts)?;
        self.set_verification(&mut builder, &parts);

        let Parts {
            role,
            identity,
            client_psk,
            server_psk,
            verify_mode,
            name_required,
            ..
        } = parts;
        builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        if role == Role::Server {
            builder.set_session_id_context(&session_id_context(verify_mode, &trusted))?;
        }
        let has_psk = server_psk.is_some();
        if let Some(identity) = &identity {
            identity.install(&mut builder)?;
        }
        if let Some(psk) = client_psk {
            psk.install(&mut builder);
        }
        if let Some(psk) = server_psk {
            psk.install(&mut builder);
        }
        for configure in std::mem::take(&mut self.configure) {
            configure(&mut builder)?;
        }
        self.set_versions(&mut builder)?;

        let ssl_context = builder.build();
        if !ssl_context.verify_mode().contains(verify_mode) {
            return Err(ConfigError::Weakened {
                what: "verification",
            });
        }
        let ssl = Ssl::new(&ssl_context)?;
        let has_suite = match role {
            Role::Client => sys::offers_a_cipher(&ssl),
            Role::Server => serves_a_cipher(&ssl, identity.as_ref(), has_psk),
        };
        if !has_suite {
            return Err(ConfigError::NoCipherSuites);
        }
        if let Some(kind) = identity.as_ref().and_then(doubtful_key) {
            if !trial::identity_is_usable(&ssl_context, role)? {
                return Err(ConfigError::UnusableKey {
                    kind: kind.to_owned(),
                });
            }
        }
        Context::freeze(ssl_context, role, self.transport, name_required)
    }

    /// Corresponds to `SSL_CTX_set_min_proto_version` and `SSL_CTX_set_max_proto_version`.
    fn set_versions(&self, builder: &mut SslContextBuilder) -> Result<(), ConfigError> {
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

    fn set_algorithms(
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
            .set_cipher_list(&suites)
            .map_err(bad_list("cipher list", &suites))?;
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

    /// Loads what is trusted, and answers what of it has a fixed place in the configuration.
    fn set_trust(
        &mut self,
        builder: &mut SslContextBuilder,
        parts: &Parts,
    ) -> Result<Vec<X509>, ConfigError> {
        // A store that was handed over may hold anything; the rest is counted.
        let mut trusts_something = self.store.is_some() || self.trust.is_empty();
        if let Some(store) = self.store.take() {
            builder.set_cert_store(store);
        }
        let mut certificates = Vec::new();
        for trust in std::mem::take(&mut self.trust) {
            match trust {
                Trust::Pem(pem) => certificates.extend(certificates_from_pem(&pem)?),
                Trust::Der(der) => {
                    certificates.push(X509::from_der(&der).map_err(parse("certificate"))?);
                }
                Trust::Certificate(certificate) => certificates.push(certificate),
                Trust::File(path) => {
                    certificates.extend(certificates_from_pem(&read_file(&path)?)?);
                }
                Trust::Directory(path) => {
                    trust_directory(builder, &path)?;
                    trusts_something = true;
                }
                Trust::System => trusts_something |= trust_system(builder)?,
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

    fn set_verification(&mut self, builder: &mut SslContextBuilder, parts: &Parts) {
        let accept_all: Option<VerifyCallback> = if self.verify {
            None
        } else {
            Some(Box::new(|_, _| true))
        };
        match self.verify_callback.take().or(accept_all) {
            Some(callback) => builder.set_verify_callback(parts.verify_mode, move |good, store| {
                guard::run(false, || callback(good, store))
            }),
            None => builder.set_verify(parts.verify_mode),
        }
    }
}

fn bad_list<'a>(what: &'static str, given: &'a str) -> impl FnOnce(ErrorStack) -> ConfigError + 'a {
    move |source| ConfigError::BadList {
        what,
        given: given.to_owned(),
        source,
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

/// Sessions are resumed under the rules they were made under: the context's id stands for what was asked of clients.
fn session_id_context(verify_mode: SslVerifyMode, trusted: &[X509]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(&verify_mode.bits().to_be_bytes());
    for certificate in trusted {
        // A certificate that cannot be written again could not be verified either.
        hash.update(&certificate.to_der().unwrap_or_default());
    }
    hash.finish()
}

/// Whether a server has what one of its suites needs.
fn serves_a_cipher(ssl: &Ssl, identity: Option<&Identity>, has_psk: bool) -> bool {
    let key = identity.map(|identity| identity.key().id());
    sys::cipher_authentications(ssl).any(|authentication| match authentication {
        Authentication::Psk => has_psk,
        Authentication::Rsa => matches!(key, Some(Id::RSA | Id::RSA_PSS)),
        Authentication::Ecdsa => matches!(key, Some(Id::EC | Id::ED25519 | Id::ED448)),
        Authentication::Other => false,
    })
}

/// The kind of a key that libssl may not be able to use in DTLS 1.2: it compares with a version of TLS that is 0 for DTLS
/// (t1_lib.c, `ssl_cert_lookup` and `tls12_check_peer_sigalg`).
fn doubtful_key(identity: &Identity) -> Option<&'static str> {
    match identity.key().id() {
        Id::ED25519 => Some("ED25519"),
        Id::ED448 => Some("ED448"),
        Id::RSA_PSS => Some("RSA-PSS"),
        _ => None,
    }
}
