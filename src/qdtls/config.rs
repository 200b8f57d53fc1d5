//! The configuration of an association.

use std::fmt;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::SslContextBuilder;
use openssl::x509::{X509, X509Ref};

use super::calls::Deny;
use super::contexts::Contexts;
use super::types::{PeerVerifyMode, SslProtocol};
use crate::context::default_suites;
use crate::transport::TransportConfig;

/// Longer than libssl goes on retransmitting: twelve times, up to a minute apart.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(600);

/// Does to an `SSL_CTX` what no setter does.
pub(super) type Backend =
    Arc<dyn Fn(&mut SslContextBuilder) -> Result<(), ErrorStack> + Send + Sync>;

/// What an association is made of: the part of Qt's `QSslConfiguration` that DTLS uses.
///
/// A plain value: setters change this one only, and nothing is checked before a handshake starts. Clones that are not changed share
/// one `SSL_CTX`, which is made at the first start. What a handshake finds out is not in here but with its
/// [`Dtls`](super::Dtls).
#[derive(Clone)]
pub struct DtlsConfiguration {
    pub(super) protocol: SslProtocol,
    pub(super) cookies: bool,
    pub(super) verify_mode: PeerVerifyMode,
    pub(super) verify_depth: u32,
    /// `None`: the system's.
    pub(super) ca_certificates: Option<Vec<X509>>,
    pub(super) local_chain: Vec<X509>,
    pub(super) private_key: Option<PKey<Private>>,
    /// Empty: the default ones.
    pub(super) ciphers: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) psk_hint: Vec<u8>,
    pub(super) next_protocols: Vec<Vec<u8>>,
    pub(super) server_preference: bool,
    pub(super) interrupt: bool,
    pub(super) deny: Option<Deny>,
    pub(super) backend: Option<Backend>,
    pub(super) transport: TransportConfig,
    pub(super) contexts: Contexts,
}

static DEFAULT: LazyLock<RwLock<DtlsConfiguration>> =
    LazyLock::new(|| RwLock::new(DtlsConfiguration::initial()));

impl Default for DtlsConfiguration {
    /// As [`default_dtls_configuration`](Self::default_dtls_configuration).
    fn default() -> Self {
        Self::default_dtls_configuration()
    }
}

impl DtlsConfiguration {
    /// What new objects of this process start with.
    ///
    /// Unless changed: [`SslProtocol::DtlsV1_2OrLater`], cookies, [`PeerVerifyMode::AutoVerifyPeer`], the system's certificate
    /// authorities, no identity, the suites of [`Context`](crate::Context).
    pub fn default_dtls_configuration() -> DtlsConfiguration {
        DEFAULT
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes what new objects of this process start with. Those there are keep what they have.
    pub fn set_default_dtls_configuration(configuration: DtlsConfiguration) {
        *DEFAULT.write().unwrap_or_else(PoisonError::into_inner) = configuration;
    }

    /// A configuration with nothing in it, not even a protocol of DTLS: no handshake starts with it. Qt's default constructor.
    pub fn empty() -> DtlsConfiguration {
        DtlsConfiguration {
            protocol: SslProtocol::SecureProtocols,
            ca_certificates: Some(Vec::new()),
            ..Self::initial()
        }
    }

    fn initial() -> DtlsConfiguration {
        DtlsConfiguration {
            protocol: SslProtocol::DtlsV1_2OrLater,
            cookies: true,
            verify_mode: PeerVerifyMode::AutoVerifyPeer,
            verify_depth: 0,
            ca_certificates: None,
            local_chain: Vec::new(),
            private_key: None,
            ciphers: Vec::new(),
            groups: Vec::new(),
            psk_hint: Vec::new(),
            next_protocols: Vec::new(),
            server_preference: true,
            interrupt: true,
            deny: None,
            backend: None,
            transport: TransportConfig::default()
                .handshake_timeout(HANDSHAKE_TIMEOUT)
                .handshake_restarts(0),
            contexts: Contexts::default(),
        }
    }

    /// What is changed is no longer what the contexts were made of.
    fn changed(&mut self) -> &mut Self {
        self.contexts = Contexts::default();
        self
    }

    /// The versions to speak.
    pub fn protocol(&self) -> SslProtocol {
        self.protocol
    }

    /// The versions to speak. DTLS 1.0 brings its CBC suites, SHA-1 and libssl's security level 0 along.
    pub fn set_protocol(&mut self, protocol: SslProtocol) {
        self.changed().protocol = protocol;
    }

    /// Whether a server's first datagram must carry a cookie.
    pub fn dtls_cookie_verification_enabled(&self) -> bool {
        self.cookies
    }

    /// Whether a server's first datagram must carry a cookie of its [`DtlsClientVerifier`](super::DtlsClientVerifier).
    ///
    /// Turning it off states that clients are known to receive at the address they send from, by ICE or the like: to an address
    /// that nobody proved a server sends many times what a forger sent.
    pub fn set_dtls_cookie_verification_enabled(&mut self, enable: bool) {
        self.cookies = enable;
    }

    /// How the peer's certificate is treated.
    pub fn peer_verify_mode(&self) -> PeerVerifyMode {
        self.verify_mode
    }

    /// How the peer's certificate is treated.
    pub fn set_peer_verify_mode(&mut self, mode: PeerVerifyMode) {
        self.changed().verify_mode = mode;
    }

    /// How many certificates may stand above the peer's; 0 is libssl's default.
    pub fn peer_verify_depth(&self) -> u32 {
        self.verify_depth
    }

    /// How many certificates may stand above the peer's; 0 is libssl's default.
    pub fn set_peer_verify_depth(&mut self, depth: u32) {
        self.changed().verify_depth = depth;
    }

    /// The certificate authorities that are trusted; `None` are those of the system.
    pub fn ca_certificates(&self) -> Option<&[X509]> {
        self.ca_certificates.as_deref()
    }

    /// Trusts these certificate authorities and no others. With an empty list no certificate is acceptable, and a client with a
    /// pre-shared key offers nothing else.
    pub fn set_ca_certificates(&mut self, certificates: Vec<X509>) {
        self.changed().ca_certificates = Some(certificates);
    }

    /// Trusts `certificate` besides; the first one takes the place of the system's.
    pub fn add_ca_certificate(&mut self, certificate: X509) {
        let trusted = &mut self.changed().ca_certificates;
        trusted.get_or_insert_default().push(certificate);
    }

    /// This side's certificate.
    pub fn local_certificate(&self) -> Option<&X509> {
        self.local_chain.first()
    }

    /// This side's certificate, alone.
    pub fn set_local_certificate(&mut self, certificate: X509) {
        self.set_local_certificate_chain(vec![certificate]);
    }

    /// This side's certificate and those above it.
    pub fn local_certificate_chain(&self) -> &[X509] {
        &self.local_chain
    }

    /// This side's certificate first, then those above it.
    pub fn set_local_certificate_chain(&mut self, chain: Vec<X509>) {
        self.changed().local_chain = chain;
    }

    /// The key of this side's certificate.
    pub fn private_key(&self) -> Option<&PKey<Private>> {
        self.private_key.as_ref()
    }

    /// The key of this side's certificate.
    pub fn set_private_key(&mut self, key: PKey<Private>) {
        self.changed().private_key = Some(key);
    }

    /// The cipher suites by their OpenSSL names, in order of preference.
    pub fn ciphers(&self) -> Vec<String> {
        if self.ciphers.is_empty() {
            return default_suites().map(str::to_owned).collect();
        }
        self.ciphers.clone()
    }

    /// The cipher suites by their OpenSSL names, in order of preference. An empty list is the default one.
    pub fn set_ciphers(&mut self, names: &[&str]) {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        self.changed().ciphers = names;
    }

    /// The groups for key exchange, by their OpenSSL names; empty for the default ones.
    pub fn elliptic_curves(&self) -> &[String] {
        &self.groups
    }

    /// The groups for key exchange, by their OpenSSL names. An empty list is the default one.
    pub fn set_elliptic_curves(&mut self, names: &[&str]) {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        self.changed().groups = names;
    }

    /// What a server tells its clients about the pre-shared key it wants; empty for nothing.
    pub fn pre_shared_key_identity_hint(&self) -> &[u8] {
        &self.psk_hint
    }

    /// What a server tells its clients about the pre-shared key it wants: at most 255 bytes, none of them zero.
    pub fn set_pre_shared_key_identity_hint(&mut self, hint: &[u8]) {
        self.changed().psk_hint = hint.to_vec();
    }

    /// The application protocols this side speaks, the preferred one first.
    pub fn allowed_next_protocols(&self) -> &[Vec<u8>] {
        &self.next_protocols
    }

    /// The application protocols this side speaks, the preferred one first (ALPN). What was agreed on is
    /// [`Dtls::next_negotiated_protocol`](super::Dtls::next_negotiated_protocol).
    pub fn set_allowed_next_protocols(&mut self, protocols: &[&[u8]]) {
        let protocols = protocols.iter().map(|&protocol| protocol.to_vec());
        self.changed().next_protocols = protocols.collect();
    }

    /// Whether a server's order of suites counts more than a client's.
    pub fn server_cipher_preference(&self) -> bool {
        self.server_preference
    }

    /// Whether a server's order of suites counts more than a client's. Qt says it the other way round:
    /// `SslOptionDisableServerCipherPreference`.
    pub fn set_server_cipher_preference(&mut self, prefer: bool) {
        self.changed().server_preference = prefer;
    }

    /// Whether a certificate that is not acceptable ends the handshake at once.
    pub fn handshake_must_interrupt_on_error(&self) -> bool {
        self.interrupt
    }

    /// Whether a certificate that is not acceptable ends the handshake at once, with an alert that tells the peer why: the
    /// default. Else the handshake completes first, and the program decides then, with
    /// [`resume_handshake`](super::Dtls::resume_handshake) or [`abort_handshake`](super::Dtls::abort_handshake); the peer takes
    /// the association for established meanwhile.
    pub fn set_handshake_must_interrupt_on_error(&mut self, interrupt: bool) {
        self.changed().interrupt = interrupt;
    }

    /// Denies certificates that are known to be bad: `deny` is asked for each of the peer's chain, and a denied one is
    /// [`CertificateBlacklisted`](super::SslErrorCode::CertificateBlacklisted). Qt has a list of its own for this.
    pub fn set_deny_list(&mut self, deny: impl Fn(&X509Ref) -> bool + Send + Sync + 'static) {
        self.deny = Some(Arc::new(deny));
    }

    /// Lets `configure` do to the `SSL_CTX` what no setter does, in place of Qt's `setBackendConfiguration`. Its failure is a
    /// [`TlsInitializationError`](super::DtlsError::TlsInitializationError).
    pub fn set_backend_configuration(
        &mut self,
        configure: impl Fn(&mut SslContextBuilder) -> Result<(), ErrorStack> + Send + Sync + 'static,
    ) {
        self.changed().backend = Some(Arc::new(configure));
    }

    /// Timing, queues and restarts.
    pub fn transport(&self) -> &TransportConfig {
        &self.transport
    }

    /// Timing, queues and restarts. Of it the MTU and the oversize rule are not used: the first is
    /// [`Dtls::set_mtu_hint`](super::Dtls::set_mtu_hint), and messages larger than it are sent, as in Qt.
    ///
    /// Default: that of [`TransportConfig`], but no restarts, and ten minutes for a handshake, so that libssl's own limit of
    /// twelve retransmissions comes first.
    pub fn set_transport(&mut self, transport: TransportConfig) {
        self.transport = transport;
    }
}

impl PartialEq for DtlsConfiguration {
    /// Closures are equal if they are the same one.
    fn eq(&self, other: &Self) -> bool {
        fn same<T: ?Sized>(ours: Option<&Arc<T>>, theirs: Option<&Arc<T>>) -> bool {
            match (ours, theirs) {
                (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
                (None, None) => true,
                _ => false,
            }
        }
        let same_key = match (&self.private_key, &other.private_key) {
            (Some(ours), Some(theirs)) => ours.public_eq(theirs),
            (None, None) => true,
            _ => false,
        };
        same_key
            && self.protocol == other.protocol
            && self.cookies == other.cookies
            && self.verify_mode == other.verify_mode
            && self.verify_depth == other.verify_depth
            && self.ca_certificates == other.ca_certificates
            && self.local_chain == other.local_chain
            && self.ciphers == other.ciphers
            && self.groups == other.groups
            && self.psk_hint == other.psk_hint
            && self.next_protocols == other.next_protocols
            && self.server_preference == other.server_preference
            && self.interrupt == other.interrupt
            && self.transport == other.transport
            && same(self.deny.as_ref(), other.deny.as_ref())
            && same(self.backend.as_ref(), other.backend.as_ref())
    }
}

impl fmt::Debug for DtlsConfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DtlsConfiguration")
            .field("protocol", &self.protocol)
            .field("dtls_cookie_verification_enabled", &self.cookies)
            .field("peer_verify_mode", &self.verify_mode)
            .field(
                "ca_certificates",
                &self.ca_certificates.as_ref().map(Vec::len),
            )
            .field("local_certificate_chain", &self.local_chain.len())
            .field("ciphers", &self.ciphers)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}
