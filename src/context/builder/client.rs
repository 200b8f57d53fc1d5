//! What only clients have.

use openssl::ssl::SslVerifyMode;

use super::{ContextBuilder, Dangerous, Parts};
use crate::context::names::Names;
use crate::context::ocsp::OcspStapling;
use crate::context::psk::{Psk, PskChoice};
use crate::context::{Context, Identity};
use crate::error::ConfigError;
use crate::types::Role;

/// What only a client's context has; a type parameter of [`ContextBuilder`].
#[derive(Debug)]
pub struct ForClient {
    identities: Vec<Identity>,
    stapling: Option<OcspStapling>,
    psk: Option<PskChoice>,
    check_name: bool,
}

impl ContextBuilder<ForClient> {
    pub(in crate::context) fn client() -> Self {
        Self::new(ForClient {
            identities: Vec::new(),
            stapling: None,
            psk: None,
            check_name: true,
        })
    }

    /// The certificate to show to servers that ask for one. Each call adds one; libssl chooses by the signature algorithms a
    /// server takes. Corresponds to `SSL_CTX_use_cert_and_key`.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.for_role.identities.push(identity);
        self
    }

    /// Offers suites with this pre-shared key.
    ///
    /// A client that trusts no certificate needs one; a client that has both offers both.
    pub fn psk(mut self, psk: Psk) -> Self {
        self.for_role.psk = Some(PskChoice::Fixed(psk));
        self
    }

    /// Offers suites with pre-shared keys, and asks `look_up` for identity and key once the server has sent its hint, or none.
    ///
    /// `None` ends the handshake with [`Error::UnknownPskIdentity`](crate::Error::UnknownPskIdentity), a failure with
    /// [`Error::PskLookup`](crate::Error::PskLookup). The hint is 1 to 255 bytes that anybody may have sent. The closure runs
    /// inside the handshake, on the thread that called, and must not block. A panic goes through to that caller.
    ///
    /// Corresponds to `SSL_CTX_set_psk_client_callback`.
    ///
    /// ```
    /// use openssl_dtls::{ConfigError, Context, Psk};
    ///
    /// # fn main() -> Result<(), ConfigError> {
    /// let context = Context::client()
    ///     .psk_by_hint(|hint| match hint {
    ///         Some(b"plant-2") => Psk::new(b"sensor-7", b"the key for plant two").map(Some),
    ///         _ => Ok(None),
    ///     })
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn psk_by_hint<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        mut self,
        look_up: impl Fn(Option<&[u8]>) -> Result<Option<Psk>, E> + Send + Sync + 'static,
    ) -> Self {
        self.for_role.psk = Some(PskChoice::by_hint(look_up));
        self
    }

    /// Asks the server for an OCSP staple, and checks it against the verified chain. Default: none is asked for.
    ///
    /// A bad one, or none where one is required, is [`Error::CertificateStatus`](crate::Error::CertificateStatus). A resumed
    /// handshake has no certificate, and so no staple. Corresponds to `SSL_set_tlsext_status_type`,
    /// `SSL_CTX_set_tlsext_status_cb` and `OCSP_basic_verify`.
    pub fn ocsp_stapling(mut self, stapling: OcspStapling) -> Self {
        self.for_role.stapling = Some(stapling);
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
                    identities,
                    stapling,
                    psk,
                    check_name,
                },
            settings,
        } = self;
        let certificates = !settings.trust.is_empty()
            || settings.verification.needs_no_trust()
            || !settings.raw_keys.expected.is_empty();
        if !certificates && psk.is_none() {
            return Err(ConfigError::EmptyTrust);
        }
        let verify_mode = if settings.verification.on {
            SslVerifyMode::PEER
        } else {
            SslVerifyMode::NONE
        };
        let parts = Parts {
            role: Role::Client,
            identities,
            names: Names::default(),
            staples: None,
            stapling,
            client_psk: psk,
            server_psk: None,
            verify_mode,
            certificates,
            name_required: settings.verification.checks_names()
                && settings.raw_keys.expected.is_empty()
                && certificates
                && check_name,
        };
        settings.build(parts)
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
