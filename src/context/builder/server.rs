//! What only servers have.

use openssl::ssl::SslVerifyMode;

use super::{ContextBuilder, Parts};
use crate::context::{Context, Identity, PskLookup};
use crate::error::ConfigError;
use crate::types::Role;

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
/// What only a server's context has; a type parameter of [`ContextBuilder`].
#[derive(Debug)]
pub struct ForServer {
    credentials: Credentials,
    client_certificates: ClientCertificates,
}

impl ContextBuilder<ForServer> {
    pub(in crate::context) fn server(credentials: Credentials) -> Self {
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
            && settings.verification.on
            && settings.trust.is_empty()
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
