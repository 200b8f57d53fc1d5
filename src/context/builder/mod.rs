//! How a context is made.

mod algorithms;
mod client;
mod observation;
mod protocols;
mod raw_keys;
mod resumption;
mod server;
mod trust;
mod verification;

use std::ffi::CString;
use std::fmt;

use openssl::error::ErrorStack;
use openssl::lib_ctx::LibCtx;
use openssl::pkey::Id;
use openssl::ssl::{Ssl, SslContextBuilder, SslMethod, SslVerifyMode};

use self::algorithms::Algorithms;
pub(super) use self::algorithms::CERTIFICATE_SUITES;
pub(crate) use self::algorithms::default_suites;
pub use self::client::ForClient;
use self::observation::Watching;
use self::raw_keys::RawKeys;
pub use self::raw_keys::RawPublicKey;
use self::resumption::Resumption;
pub use self::server::{ClientCertificates, Credentials, ForServer};
use self::trust::Trust;
pub use self::verification::Revocation;
use self::verification::Verification;
use super::identity::key_types_differ;
use super::names::Names;
use super::ocsp::{self, OcspStapling, Staples};
use super::protocols::Protocols;
use super::psk::PskChoice;
use super::{Attached, Context, Identity, PskLookup, check_library_version, session_rules, trial};
use crate::error::ConfigError;
use crate::srtp::{self, SrtpProfile};
use crate::sys::context::{self as sys, Library};
use crate::transport::TransportConfig;
use crate::types::Role;

type Configure = Box<dyn FnOnce(&mut SslContextBuilder) -> Result<(), ErrorStack>>;

/// Collects the settings of a [`Context`]; `build` checks them all.
///
/// Defaults: DTLS 1.2; AEAD suites, with forward secrecy for certificates; groups X25519, P-256, P-384; a client verifies its
/// peer's certificate and name; no renegotiation; a server gives tickets with a random ring of keys and keeps no
/// session cache; [`TransportConfig::default`].
#[must_use]
pub struct ContextBuilder<R> {
    for_role: R,
    settings: Settings,
}

/// What both roles have.
#[derive(Default)]
struct Settings {
    trust: Trust,
    verification: Verification,
    algorithms: Algorithms,
    resumption: Resumption,
    srtp: Vec<SrtpProfile>,
    watching: Watching,
    transport: TransportConfig,
    protocols: Protocols,
    raw_keys: RawKeys,
    library: Library,
    properties: Option<String>,
    configure: Vec<Configure>,
}

/// What a role makes of its settings.
struct Parts {
    role: Role,
    identities: Vec<Identity>,
    names: Names,
    staples: Option<Staples>,
    stapling: Option<OcspStapling>,
    client_psk: Option<PskChoice>,
    server_psk: Option<PskLookup>,
    verify_mode: SslVerifyMode,
    /// Whether suites with certificates are of use.
    certificates: bool,
    name_required: bool,
}
impl<R> ContextBuilder<R> {
    fn new(for_role: R) -> Self {
        ContextBuilder {
            for_role,
            settings: Settings::default(),
        }
    }

    /// How connections use the network.
    pub fn transport(mut self, transport: TransportConfig) -> Self {
        self.settings.transport = transport;
        self
    }

    /// Offers these SRTP profiles, or accepts the first of them that a client offers (RFC 5764). Default: none.
    ///
    /// What was agreed on is [`HandshakeInfo::srtp_profile`](crate::HandshakeInfo::srtp_profile), and the keys are
    /// [`Connection::srtp_keys`](crate::Connection::srtp_keys). An end that gets no profile may go on without one: whether to is
    /// the program's to say. `build` fails with [`ConfigError::BadList`] for a profile that the loaded libssl does not know; see
    /// [`SrtpProfile::is_available`]. Corresponds to `SSL_CTX_set_tlsext_use_srtp`.
    pub fn srtp(mut self, profiles: &[SrtpProfile]) -> Self {
        self.settings.srtp = profiles.to_vec();
        self
    }

    /// Takes algorithms from the providers of this library context in place of libcrypto's default one. It lives for ever, as what
    /// is made in it refers to it: a static, or one that was leaked. Corresponds to `SSL_CTX_new_ex`.
    ///
    /// Keys and certificates are the default library context's unless they were made elsewhere.
    pub fn library_context(mut self, library: &'static LibCtx) -> Self {
        self.settings.library.context = Some(library);
        self
    }

    /// Takes only algorithms with these properties, such as `fips=yes`, or prefers them, such as `?fips=yes`. Corresponds to
    /// `SSL_CTX_new_ex`.
    ///
    /// `build` fails with [`ConfigError::NoCipherSuites`] if no provider has what the default suites need, and with
    /// [`ConfigError::BadList`] for a query with a zero byte.
    pub fn properties(mut self, query: &str) -> Self {
        self.settings.properties = Some(query.to_owned());
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
            .field("verify", &self.settings.verification.on)
            .field("allow_dtls1_0", &self.settings.algorithms.allow_dtls1_0)
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

impl Settings {
    fn build(mut self, parts: Parts) -> Result<Context, ConfigError> {
        check_library_version()?;
        self.transport.check()?;
        if let Some(query) = self.properties.take() {
            let bad_query = |_| ConfigError::BadList {
                what: "property query",
                given: query.clone(),
                source: ErrorStack::get(),
            };
            self.library.properties = Some(CString::new(query.clone()).map_err(bad_query)?);
        }
        let mut builder = sys::new_builder(&self.library, SslMethod::dtls())?;
        self.algorithms.set_versions(&mut builder)?;
        self.algorithms.install(&mut builder, &parts)?;
        let asks_for_certificates =
            parts.role == Role::Client || parts.verify_mode != SslVerifyMode::NONE;
        self.verification
            .check(&self.trust, &self.raw_keys, asks_for_certificates)?;
        let has_lists = self.trust.has_revocation_lists();
        let trusted = self.trust.install(&mut builder, &parts)?;
        let trusts_nobody =
            self.verification.needs_no_trust() || !self.raw_keys.expected.is_empty();
        let pins = self.verification.pins.clone();
        self.verification.install(
            &mut builder,
            parts.verify_mode,
            has_lists,
            self.raw_keys.expected.clone(),
        )?;
        self.raw_keys
            .install(&mut builder, parts.role, !parts.identities.is_empty())?;

        let Parts {
            role,
            identities,
            names,
            staples,
            stapling,
            client_psk,
            server_psk,
            verify_mode,
            name_required,
            ..
        } = parts;
        let rules = session_rules(verify_mode, &trusted);
        let tickets = self.resumption.install(&mut builder, role, rules)?;
        let has_psk = server_psk.is_some();
        key_types_differ(&identities)?;
        for identity in &identities {
            identity.certified()?.install(&mut builder)?;
        }
        let mut doubtful: Vec<Identity> = identities
            .iter()
            .chain(names.identities())
            .cloned()
            .collect();
        doubtful.retain(has_doubtful_key);
        names.install(&mut builder)?;
        self.protocols.install(&mut builder, role)?;
        if let Some(staples) = staples {
            staples.install(&mut builder)?;
        }
        if let Some(stapling) = stapling {
            if trusts_nobody {
                return Err(ConfigError::Contradiction {
                    what: "checking OCSP staples",
                    with: "trusting no authority",
                });
            }
            ocsp::install_check(&mut builder, stapling)?;
        }
        if let Some(psk) = client_psk {
            psk.install(&mut builder);
        }
        if let Some(psk) = server_psk {
            psk.install(&mut builder)?;
        }
        if !self.srtp.is_empty() {
            srtp::install(&self.srtp, &mut builder)?;
        }
        let observer = self.watching.install(&mut builder)?;
        for configure in self.configure {
            configure(&mut builder)?;
        }
        self.algorithms.set_versions(&mut builder)?;

        let ssl_context = builder.build();
        if !ssl_context.verify_mode().contains(verify_mode) {
            return Err(ConfigError::Weakened {
                what: "verification",
            });
        }
        let ssl = Ssl::new(&ssl_context)?;
        let has_suite = match role {
            Role::Client => sys::offers_a_cipher(&ssl),
            Role::Server => {
                let raw = self.raw_keys.own.as_ref().map(RawPublicKey::id);
                let keys = identities.iter().map(|identity| identity.key().id());
                algorithms::serves_a_cipher(&ssl, &keys.chain(raw).collect::<Vec<_>>(), has_psk)
            }
        };
        if !has_suite {
            return Err(ConfigError::NoCipherSuites);
        }
        for identity in &doubtful {
            if !trial::identity_is_usable(&ssl_context, role, identity)? {
                return Err(ConfigError::UnusableKey {
                    kind: identity.key_type().to_owned(),
                });
            }
        }
        let requirements = self.protocols.requirements(pins, stapling.is_some());
        Context::freeze(
            ssl_context,
            role,
            self.transport,
            name_required,
            requirements,
            Attached {
                library: self.library,
                rules,
                tickets,
                observer,
            },
        )
    }
}

/// Whether libssl may not be able to use the key in DTLS 1.2: it compares with a version of TLS that is 0 for DTLS (t1_lib.c,
/// `ssl_cert_lookup` and `tls12_check_peer_sigalg`).
fn has_doubtful_key(identity: &Identity) -> bool {
    matches!(identity.key().id(), Id::ED25519 | Id::ED448 | Id::RSA_PSS)
}
