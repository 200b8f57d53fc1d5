//! The contexts of a configuration, made when they are needed and shared.

use std::sync::{Arc, Mutex, PoisonError};

use openssl::ssl::{SslOptions, SslVersion};
use openssl::x509::store::X509StoreBuilder;

use super::calls;
use super::config::DtlsConfiguration;
use super::psk::PreSharedKeyAuthenticator;
use super::types::{PeerVerifyMode, SslProtocol};
use crate::context::{
    ClientCertificates, Context, ContextBuilder, Credentials, Identity, PskLookup,
};
use crate::error::ConfigError;
use crate::types::Role;

/// What of an object decides which context it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) role: Role,
    /// Whether it answers when a pre-shared key is asked for.
    pub(super) psk: bool,
    /// Whether clients without a certificate are refused at once.
    pub(super) certificate: bool,
}

/// The contexts there are.
#[derive(Clone, Default)]
pub(super) struct Contexts(Arc<Mutex<Vec<(Needs, Context)>>>);

impl DtlsConfiguration {
    /// Whether an end verifies its peer.
    pub(super) fn verifies(&self, role: Role) -> bool {
        match self.verify_mode {
            PeerVerifyMode::VerifyPeer => true,
            PeerVerifyMode::AutoVerifyPeer => role == Role::Client,
            PeerVerifyMode::VerifyNone | PeerVerifyMode::QueryPeer => false,
        }
    }

    /// The context for `needs`.
    pub(super) fn context(&self, needs: Needs) -> Result<Context, ConfigError> {
        let mut made = self
            .contexts
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, context)) = made.iter().find(|(of, _)| *of == needs) {
            return Ok(context.clone());
        }
        let context = match needs.role {
            Role::Client => self.client(needs)?,
            Role::Server => self.server(needs)?,
        };
        made.push((needs, context.clone()));
        Ok(context)
    }

    fn client(&self, needs: Needs) -> Result<Context, ConfigError> {
        let mut builder = Context::client();
        if let Some(identity) = self.identity()? {
            builder = builder.identity(identity);
        }
        if needs.psk {
            builder = builder.psk_by_hint(|hint| {
                let mut authenticator =
                    PreSharedKeyAuthenticator::for_client(hint.unwrap_or_default());
                calls::ask_for_psk(&mut authenticator);
                Ok::<_, ConfigError>(authenticator.client_key())
            });
        }
        // A missing name is judged here, since it can be forgiven.
        self.common(builder, needs)?
            .dangerous()
            .no_name_check()
            .build()
    }

    fn server(&self, needs: Needs) -> Result<Context, ConfigError> {
        let hint = self.psk_hint.clone();
        let look_up = PskLookup::new(move |identity| {
            let mut authenticator = PreSharedKeyAuthenticator::for_server(&hint, identity);
            calls::ask_for_psk(&mut authenticator);
            authenticator.server_key()
        });
        let look_up = match &self.psk_hint[..] {
            [] => look_up,
            hint => look_up.with_hint(hint)?,
        };
        let credentials = match (self.identity()?, needs.psk) {
            (Some(identity), true) => Credentials::from((identity, look_up)),
            (Some(identity), false) => Credentials::from(identity),
            (None, true) => Credentials::from(look_up),
            (None, false) => return Err(ConfigError::NoCertificate),
        };
        let wanted = match self.verify_mode {
            PeerVerifyMode::VerifyNone => ClientCertificates::None,
            _ if needs.certificate => ClientCertificates::Required,
            _ => ClientCertificates::Optional,
        };
        let mut builder = Context::server(credentials).client_certificates(wanted);
        if self.verifies(Role::Server) {
            // A resumed handshake verifies no certificate, and whoever is refused late has a ticket by then.
            builder = builder.no_tickets();
        }
        self.common(builder, needs)?.build()
    }

    fn identity(&self) -> Result<Option<Identity>, ConfigError> {
        match (&self.local_chain[..], &self.private_key) {
            ([], None) => Ok(None),
            (_, None) => Err(ConfigError::NoPrivateKey),
            (chain, Some(key)) => Identity::from_parts(chain.to_vec(), key.clone()).map(Some),
        }
    }

    /// What both roles have.
    fn common<R>(
        &self,
        mut builder: ContextBuilder<R>,
        needs: Needs,
    ) -> Result<ContextBuilder<R>, ConfigError> {
        builder = match self.protocol {
            SslProtocol::DtlsV1_2 | SslProtocol::DtlsV1_2OrLater => builder,
            SslProtocol::DtlsV1_0OrLater => builder.dangerous().allow_dtls1_0(),
            SslProtocol::DtlsV1_0 => builder
                .dangerous()
                .allow_dtls1_0()
                .max_version(SslVersion::DTLS1),
            _ => return Err(ConfigError::NotDtls),
        };
        // Without any trust a client offers suites with pre-shared keys only.
        let trusts_keys_alone = needs.role == Role::Client
            && needs.psk
            && self.verifies(needs.role)
            && self.ca_certificates.as_ref().is_some_and(Vec::is_empty);
        if self.verifies(needs.role) && !trusts_keys_alone {
            // Trusts nobody by itself; what is refused then is told as any other objection.
            builder = builder.trust_store(X509StoreBuilder::new()?.build());
            match &self.ca_certificates {
                None => builder = builder.trust_system(),
                Some(certificates) => {
                    for certificate in certificates {
                        builder = builder.trust_certificate(certificate.clone());
                    }
                }
            }
        }
        if self.verifies(needs.role) && (self.interrupt || trusts_keys_alone) {
            builder = builder.verify_callback(calls::verify);
        } else {
            builder = builder.dangerous().no_verification();
        }
        builder = builder.application_protocols(&self.next_protocols);
        if !self.ciphers.is_empty() {
            builder = builder.cipher_list(&self.ciphers.join(":"));
        }
        if !self.groups.is_empty() {
            builder = builder.groups(&self.groups.join(":"));
        }
        let (depth, preference) = (self.verify_depth, self.server_preference);
        let backend = self.backend.clone();
        Ok(builder.configure(move |context| {
            if depth > 0 {
                context.set_verify_depth(depth);
            }
            if preference {
                context.set_options(SslOptions::CIPHER_SERVER_PREFERENCE);
            } else {
                context.clear_options(SslOptions::CIPHER_SERVER_PREFERENCE);
            }
            backend.map_or(Ok(()), |backend| backend(context))
        }))
    }
}
