//! What one handshake found out.

use std::fmt;

use openssl::ssl::{SslCipherRef, SslVersion};
use openssl::x509::X509;

use super::ssl_error::SslError;
use super::types::SslProtocol;
use crate::handshake_info::HandshakeInfo;

/// What one handshake found out; forgotten as a whole.
pub(super) struct Results {
    /// The peer's certificate first.
    pub(super) chain: Vec<X509>,
    /// By its OpenSSL name.
    pub(super) cipher: Option<String>,
    pub(super) protocol: SslProtocol,
    pub(super) errors: Vec<SslError>,
}

impl Default for Results {
    fn default() -> Self {
        Results {
            chain: Vec::new(),
            cipher: None,
            protocol: SslProtocol::UnknownProtocol,
            errors: Vec::new(),
        }
    }
}

impl Results {
    pub(super) fn of(info: &HandshakeInfo, cipher: Option<&SslCipherRef>) -> Results {
        Results {
            chain: info.peer_chain().to_vec(),
            cipher: cipher.map(|cipher| cipher.name().to_owned()),
            protocol: match info.version() {
                Some(SslVersion::DTLS1_2) => SslProtocol::DtlsV1_2,
                Some(SslVersion::DTLS1) => SslProtocol::DtlsV1_0,
                _ => SslProtocol::UnknownProtocol,
            },
            errors: Vec::new(),
        }
    }
}

impl fmt::Debug for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results")
            .field("chain", &self.chain.len())
            .field("cipher", &self.cipher)
            .field("protocol", &self.protocol)
            .field("errors", &self.errors)
            .finish()
    }
}
