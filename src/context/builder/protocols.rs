//! What the hellos are to agree on besides keys.

use super::{ContextBuilder, ForClient};
use crate::context::{AlpnPolicy, MaxFragmentLength};

impl<R> ContextBuilder<R> {
    /// The application protocols this end speaks, each 1 to 255 bytes, the preferred one first: a server takes the first of its
    /// own that the client offers (ALPN, RFC 7301). Default: none.
    ///
    /// What was agreed on is [`HandshakeInfo::application_protocol`](crate::HandshakeInfo::application_protocol). Corresponds to
    /// `SSL_CTX_set_alpn_protos` and `SSL_CTX_set_alpn_select_cb`.
    pub fn application_protocols<P: AsRef<[u8]>>(
        mut self,
        protocols: impl IntoIterator<Item = P>,
    ) -> Self {
        self.settings.protocols.alpn = protocols
            .into_iter()
            .map(|protocol| protocol.as_ref().to_vec())
            .collect();
        self
    }

    /// What happens if there is no application protocol that both ends speak.
    pub fn alpn_policy(mut self, policy: AlpnPolicy) -> Self {
        self.settings.protocols.policy = policy;
        self
    }

    /// The most bytes of a message, or of a fragment of a handshake message, that this end puts into one record: 512 to 16384.
    /// Default: 16384, so that the MTU decides.
    ///
    /// Limits [`data_mtu`](crate::Connection::data_mtu). Corresponds to `SSL_CTX_set_max_send_fragment`.
    pub fn max_send_fragment(mut self, bytes: usize) -> Self {
        self.settings.protocols.max_send_fragment = Some(bytes);
        self
    }

    /// Ends connections with peers that do not know the extended master secret (RFC 7627), as soon as the handshake is complete
    /// and before a message passes, with [`Error::NoExtendedMasterSecret`](crate::Error::NoExtendedMasterSecret).
    ///
    /// It is always offered. Without it, keys exported to other protocols are not bound to one handshake.
    pub fn require_extended_master_secret(mut self) -> Self {
        self.settings.protocols.require_extended_master_secret = true;
        self
    }
}

impl ContextBuilder<ForClient> {
    /// Asks servers that no record hold more than this, for clients with little memory. Servers of libssl follow; others may
    /// not: see [`HandshakeInfo::max_fragment_length`](crate::HandshakeInfo::max_fragment_length).
    ///
    /// Once agreed on it limits [`data_mtu`](crate::Connection::data_mtu) of both ends. Corresponds to
    /// `SSL_CTX_set_tlsext_max_fragment_length`.
    pub fn max_fragment_length(mut self, length: MaxFragmentLength) -> Self {
        self.settings.protocols.max_fragment_length = Some(length);
        self
    }
}
