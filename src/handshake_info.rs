//! What a handshake agreed on.

use openssl::pkey::{PKey, Public};
use openssl::ssl::{NameType, SslVersion};
use openssl::x509::X509;

use crate::context::MaxFragmentLength;
use crate::groups::Group;
use crate::parking;
use crate::server_name::ServerName;
use crate::srtp::SrtpProfile;
use crate::sys::context as sys;
use crate::sys::raw_keys;
use crate::sys::ssl::BoundSsl;
use crate::verification::{Fingerprint, VerificationError};

/// What a completed handshake agreed on, copied out of libssl once.
#[derive(Clone)]
pub struct HandshakeInfo {
    version: Option<SslVersion>,
    cipher_suite: &'static str,
    peer_chain: Vec<X509>,
    verified_name: Option<String>,
    /// What a client named its peer.
    asked_name: Option<ServerName>,
    server_name: Option<String>,
    psk_identity: Option<Vec<u8>>,
    peer_raw_public_key: Option<PKey<Public>>,
    srtp_profile: Option<SrtpProfile>,
    resumed: bool,
    application_protocol: Option<Vec<u8>>,
    extended_master_secret: bool,
    ocsp_staple: Option<Vec<u8>>,
    max_fragment_length: Option<MaxFragmentLength>,
    group: Option<Group>,
    verification_errors: Vec<VerificationError>,
}

impl HandshakeInfo {
    pub(crate) fn of(bound: &BoundSsl) -> HandshakeInfo {
        let ssl = bound.ssl();
        let cipher = ssl.current_cipher();
        let leaf = ssl.peer_certificate();
        let mut peer_chain: Vec<X509> = leaf.into_iter().collect();
        // A client's view of the chain begins with the leaf, a server's does not.
        for certificate in ssl.peer_cert_chain().into_iter().flatten() {
            if peer_chain.first().is_none_or(|leaf| &**leaf != certificate) {
                peer_chain.push(certificate.to_owned());
            }
        }
        let parked = parking::take(ssl);
        HandshakeInfo {
            version: ssl.version2(),
            cipher_suite: cipher
                .map_or("", |cipher| cipher.standard_name().unwrap_or(cipher.name())),
            peer_chain,
            verified_name: bound.verified_name(),
            asked_name: None,
            server_name: ssl
                .servername(NameType::HOST_NAME)
                .map(str::to_owned)
                .or(parked.asked_name),
            peer_raw_public_key: raw_keys::peer_key(ssl),
            psk_identity: ssl.psk_identity().map(<[u8]>::to_vec),
            srtp_profile: ssl
                .selected_srtp_profile()
                .and_then(|profile| u16::try_from(profile.id().as_raw()).ok())
                .and_then(SrtpProfile::from_id),
            resumed: ssl.session_reused(),
            application_protocol: ssl.selected_alpn_protocol().map(<[u8]>::to_vec),
            ocsp_staple: ssl.ocsp_status().map(<[u8]>::to_vec),
            extended_master_secret: ssl.extms_support() == Some(true),
            group: Group::from_nid(sys::negotiated_group(ssl)),
            max_fragment_length: MaxFragmentLength::from_code(sys::max_fragment_length(ssl)),
            verification_errors: parked.verification_errors,
        }
    }

    /// Adds what only a client knows: the name it asked for, and the one that was verified when a session it offered was made.
    pub(crate) fn set_names(&mut self, asked: Option<ServerName>, resumed: Option<String>) {
        self.asked_name = asked;
        if self.resumed {
            self.verified_name = resumed;
        }
    }

    /// What a client named its peer.
    pub(crate) fn asked_name(&self) -> Option<&ServerName> {
        self.asked_name.as_ref()
    }

    /// The protocol version, e.g. [`SslVersion::DTLS1_2`]. Corresponds to `SSL_version`.
    pub fn version(&self) -> Option<SslVersion> {
        self.version
    }

    /// The cipher suite by its RFC name, e.g. `TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384`.
    ///
    /// Corresponds to `SSL_CIPHER_standard_name`.
    pub fn cipher_suite(&self) -> &'static str {
        self.cipher_suite
    }

    /// The peer's certificate; `None` if it sent none. Corresponds to `SSL_get1_peer_certificate`.
    pub fn peer_certificate(&self) -> Option<&X509> {
        self.peer_chain.first()
    }

    /// The SHA-256 of the peer's certificate; `None` if it sent none.
    pub fn peer_fingerprint(&self) -> Option<Fingerprint> {
        // libcrypto has read the certificate, so it can write it.
        self.peer_certificate()
            .and_then(|certificate| Fingerprint::of(certificate).ok())
    }

    /// The certificates the peer sent in DER, its own first; see [`peer_chain`](Self::peer_chain).
    pub fn peer_chain_der(&self) -> Vec<Vec<u8>> {
        self.peer_chain
            .iter()
            .filter_map(|certificate| certificate.to_der().ok())
            .collect()
    }

    /// The certificates the peer sent, its own first. Corresponds to `SSL_get_peer_cert_chain`.
    ///
    /// They are as the peer sent them: only the peer's own was used for more than building a chain.
    pub fn peer_chain(&self) -> &[X509] {
        &self.peer_chain
    }

    /// What verification objected to and was overruled in, in the order it was raised: by
    /// [`no_verification`](crate::Dangerous::no_verification), or by a
    /// [`verify_callback`](crate::ContextBuilder::verify_callback).
    ///
    /// Empty if the peer's certificate is good, if it sent none, after resumption, and on adopted contexts.
    pub fn verification_errors(&self) -> &[VerificationError] {
        &self.verification_errors
    }

    /// The key the peer showed in place of a certificate (RFC 7250). Corresponds to `SSL_get0_peer_rpk`.
    pub fn peer_raw_public_key(&self) -> Option<&PKey<Public>> {
        self.peer_raw_public_key.as_ref()
    }

    /// The name in the peer's certificate that matched the one asked for; after a resumption, when the session was made.
    ///
    /// Corresponds to `SSL_get0_peername`.
    pub fn verified_name(&self) -> Option<&str> {
        self.verified_name.as_deref()
    }

    /// The server name the client asked for (SNI). Corresponds to `SSL_get_servername`.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The pre-shared key identity that was used. Corresponds to `SSL_get_psk_identity`.
    pub fn psk_identity(&self) -> Option<&[u8]> {
        self.psk_identity.as_deref()
    }

    /// The SRTP profile (RFC 5764); `None` if both ends have none in common. Corresponds to `SSL_get_selected_srtp_profile`.
    pub fn srtp_profile(&self) -> Option<SrtpProfile> {
        self.srtp_profile
    }

    /// The application protocol that was agreed on (ALPN). Corresponds to `SSL_get0_alpn_selected`.
    pub fn application_protocol(&self) -> Option<&[u8]> {
        self.application_protocol.as_deref()
    }

    /// The server's OCSP staple in DER, which was found good; `None` if the client did not ask or the server has none. Corresponds
    /// to `SSL_get_tlsext_status_ocsp_resp`.
    pub fn ocsp_staple(&self) -> Option<&[u8]> {
        self.ocsp_staple.as_deref()
    }

    /// The group of the key exchange; `None` if there was none, as with pre-shared keys alone. Corresponds to
    /// `SSL_get_negotiated_group`.
    pub fn group(&self) -> Option<Group> {
        self.group
    }

    /// Whether the keys are bound to the whole handshake (RFC 7627). Corresponds to `SSL_get_extms_support`.
    pub fn has_extended_master_secret(&self) -> bool {
        self.extended_master_secret
    }

    /// The longest message that the client lets either end put into one record, if it asked for one. Corresponds to
    /// `SSL_SESSION_get_max_fragment_length`.
    pub fn max_fragment_length(&self) -> Option<MaxFragmentLength> {
        self.max_fragment_length
    }

    /// Whether an earlier session was resumed. Corresponds to `SSL_session_reused`.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }
}

impl std::fmt::Debug for HandshakeInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandshakeInfo")
            .field("version", &self.version)
            .field("cipher_suite", &self.cipher_suite)
            .field("peer_chain", &self.peer_chain.len())
            .field("verified_name", &self.verified_name)
            .field("server_name", &self.server_name)
            .field("srtp_profile", &self.srtp_profile)
            .field("resumed", &self.resumed)
            .finish_non_exhaustive()
    }
}
