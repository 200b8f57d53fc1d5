//! What only servers have.

use openssl::ssl::SslVerifyMode;
use openssl::x509::X509Ref;

use super::{ContextBuilder, Parts, RawPublicKey};
use crate::context::names::{Names, UnknownName};
use crate::context::ocsp::{OcspStaple, Staples};
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

/// How a server authenticates itself: made of an [`Identity`] or several in a `Vec`, of a [`PskLookup`], or
/// of a pair of both; or of a [`RawPublicKey`].
#[derive(Debug)]
pub struct Credentials {
    identities: Vec<Identity>,
    psk: Option<PskLookup>,
    raw_key: Option<RawPublicKey>,
}

impl From<Identity> for Credentials {
    fn from(identity: Identity) -> Self {
        Credentials {
            identities: vec![identity],
            psk: None,
            raw_key: None,
        }
    }
}

impl From<Vec<Identity>> for Credentials {
    /// Several identities, whose keys must be of different types: libssl chooses by the signature algorithms a client takes.
    fn from(identities: Vec<Identity>) -> Self {
        Credentials {
            identities,
            psk: None,
            raw_key: None,
        }
    }
}

impl From<RawPublicKey> for Credentials {
    fn from(key: RawPublicKey) -> Self {
        Credentials {
            identities: Vec::new(),
            psk: None,
            raw_key: Some(key),
        }
    }
}

impl From<PskLookup> for Credentials {
    fn from(psk: PskLookup) -> Self {
        Credentials {
            identities: Vec::new(),
            psk: Some(psk),
            raw_key: None,
        }
    }
}

impl From<(Vec<Identity>, PskLookup)> for Credentials {
    fn from((identities, psk): (Vec<Identity>, PskLookup)) -> Self {
        Credentials {
            identities,
            psk: Some(psk),
            raw_key: None,
        }
    }
}

impl From<(Identity, PskLookup)> for Credentials {
    fn from((identity, psk): (Identity, PskLookup)) -> Self {
        Credentials {
            identities: vec![identity],
            psk: Some(psk),
            raw_key: None,
        }
    }
}

/// What only a server's context has; a type parameter of [`ContextBuilder`].
#[derive(Debug)]
pub struct ForServer {
    credentials: Credentials,
    client_certificates: ClientCertificates,
    names: Names,
    staples: Option<Staples>,
}

impl ContextBuilder<ForServer> {
    pub(in crate::context) fn server(credentials: Credentials) -> Self {
        Self::new(ForServer {
            credentials,
            client_certificates: ClientCertificates::None,
            names: Names::default(),
            staples: None,
        })
    }

    /// Whether to ask clients for certificates. Default: no.
    pub fn client_certificates(mut self, client_certificates: ClientCertificates) -> Self {
        self.for_role.client_certificates = client_certificates;
        self
    }

    /// The identity to show to clients that ask for `name` (SNI): a DNS name, or `*.` and one, for all names with one label more.
    ///
    /// Several for one name must have keys of different types. A client that asks for no name, or for one without an identity,
    /// is shown what the context was made with; see [`unknown_name`](Self::unknown_name). Corresponds to
    /// `SSL_CTX_set_tlsext_servername_callback` and `SSL_use_cert_and_key`.
    pub fn identity_for(mut self, name: &str, identity: Identity) -> Self {
        self.for_role.names.add(name, identity);
        self
    }

    /// Asks `choose` for the identity of names that [`identity_for`](Self::identity_for) does not know; `None` says that it has
    /// none either. Names come in lower case and are well-formed; nothing else of them is certain.
    ///
    /// It runs inside the handshake, on the thread that called, and must not block. A panic goes through to that caller.
    pub fn identity_by_name(
        mut self,
        choose: impl Fn(&str) -> Option<Identity> + Send + Sync + 'static,
    ) -> Self {
        self.for_role.names.set_choice(choose);
        self
    }

    /// What to do with clients that ask for a name without an identity. Default: [`UnknownName::UseDefault`].
    pub fn unknown_name(mut self, policy: UnknownName) -> Self {
        self.for_role.names.unknown = policy;
        self
    }

    /// Asks `choose` for the OCSP staple of the certificate that is about to be shown to a client that wants one; `None` staples
    /// nothing. A response that is not about that certificate is not shown, and none is for a self-signed one.
    ///
    /// It runs inside the handshake, on the thread that called, and must not block: fetch responses beforehand, and swap them
    /// behind the closure before they are out of date. A panic goes through to that caller. Corresponds to
    /// `SSL_CTX_set_tlsext_status_cb`.
    pub fn ocsp_staple(
        mut self,
        choose: impl Fn(&X509Ref) -> Option<OcspStaple> + Send + Sync + 'static,
    ) -> Self {
        self.for_role.staples = Some(Staples::new(choose));
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
                    names,
                    staples,
                },
            mut settings,
        } = self;
        let verify_mode = match client_certificates {
            ClientCertificates::None => SslVerifyMode::NONE,
            ClientCertificates::Optional => SslVerifyMode::PEER,
            ClientCertificates::Required => {
                SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT
            }
        };
        if client_certificates != ClientCertificates::None
            && !settings.verification.needs_no_trust()
            && settings.raw_keys.expected.is_empty()
            && settings.trust.is_empty()
        {
            return Err(ConfigError::EmptyTrust);
        }
        settings.raw_keys.own = credentials.raw_key;
        let parts = Parts {
            role: Role::Server,
            certificates: !credentials.identities.is_empty() || settings.raw_keys.own.is_some(),
            identities: credentials.identities,
            names,
            staples,
            stapling: None,
            client_psk: None,
            server_psk: credentials.psk,
            verify_mode,
            name_required: false,
        };
        settings.build(parts)
    }
}
