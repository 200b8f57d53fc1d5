//! What the hellos agree on besides keys: application protocols, fragment lengths, the extended master secret.

use openssl::ssl::{AlpnError, SslContextBuilder};

use crate::error::{ConfigError, Error};
use crate::handshake_info::HandshakeInfo;
use crate::sys::context as sys;
use crate::types::Role;
use crate::verification::Fingerprint;

const PROTOCOL_LENGTHS: std::ops::RangeInclusive<usize> = 1..=255;
/// Bytes of a list of protocols, each with its length in front.
const MAX_PROTOCOL_LIST: usize = 65_535;

/// What happens if there is no application protocol that both ends speak (ALPN, RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AlpnPolicy {
    /// A server refuses clients that offer others only, with the alert no_application_protocol; a peer that knows nothing of
    /// application protocols is welcome.
    #[default]
    RefuseMismatch,
    /// The connection goes on without one.
    GoOn,
    /// As [`RefuseMismatch`](Self::RefuseMismatch), and a connection without an agreed protocol ends when its handshake is
    /// complete, before a message passes.
    Require,
}

/// The longest message a client asks its server to send in one record (RFC 6066, 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MaxFragmentLength {
    /// 512 bytes.
    Bytes512,
    /// 1024 bytes.
    Bytes1024,
    /// 2048 bytes.
    Bytes2048,
    /// 4096 bytes.
    Bytes4096,
}

impl MaxFragmentLength {
    /// The number on the wire.
    fn code(self) -> u8 {
        match self {
            MaxFragmentLength::Bytes512 => 1,
            MaxFragmentLength::Bytes1024 => 2,
            MaxFragmentLength::Bytes2048 => 3,
            MaxFragmentLength::Bytes4096 => 4,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<MaxFragmentLength> {
        Some(match code {
            1 => MaxFragmentLength::Bytes512,
            2 => MaxFragmentLength::Bytes1024,
            3 => MaxFragmentLength::Bytes2048,
            4 => MaxFragmentLength::Bytes4096,
            _ => return None,
        })
    }

    /// The length in bytes.
    pub fn bytes(self) -> usize {
        256 << self.code()
    }
}

/// What the hellos are to agree on.
#[derive(Debug, Default)]
pub(super) struct Protocols {
    pub(super) alpn: Vec<Vec<u8>>,
    pub(super) policy: AlpnPolicy,
    pub(super) max_fragment_length: Option<MaxFragmentLength>,
    pub(super) max_send_fragment: Option<usize>,
    pub(super) require_extended_master_secret: bool,
}

impl Protocols {
    /// Corresponds to `SSL_CTX_set_alpn_protos`, `SSL_CTX_set_alpn_select_cb` and `SSL_CTX_set_tlsext_max_fragment_length`.
    pub(super) fn install(
        &self,
        builder: &mut SslContextBuilder,
        role: Role,
    ) -> Result<(), ConfigError> {
        if let Some(length) = self.max_fragment_length {
            sys::set_max_fragment_length(builder, length.code())?;
        }
        match self.max_send_fragment {
            Some(bytes) if !sys::SEND_FRAGMENT.contains(&bytes) => {
                return Err(ConfigError::OutOfRange {
                    what: "the send fragment",
                });
            }
            Some(bytes) => sys::set_max_send_fragment(builder, bytes)?,
            None => {}
        }
        if self.alpn.is_empty() {
            if self.policy == AlpnPolicy::Require {
                return Err(ConfigError::Contradiction {
                    what: "requiring an application protocol",
                    with: "an empty list of them",
                });
            }
            return Ok(());
        }
        let mut list = Vec::new();
        for protocol in &self.alpn {
            match u8::try_from(protocol.len()) {
                Ok(length) if PROTOCOL_LENGTHS.contains(&protocol.len()) => list.push(length),
                _ => {
                    return Err(ConfigError::BadApplicationProtocol {
                        given: protocol.clone(),
                    });
                }
            }
            list.extend(protocol);
        }
        if list.len() > MAX_PROTOCOL_LIST {
            return Err(ConfigError::OutOfRange {
                what: "the list of application protocols",
            });
        }
        match role {
            Role::Client => builder.set_alpn_protos(&list)?,
            Role::Server => {
                let ours = self.alpn.clone();
                let mismatch = match self.policy {
                    AlpnPolicy::GoOn => AlpnError::NOACK,
                    AlpnPolicy::RefuseMismatch | AlpnPolicy::Require => AlpnError::ALERT_FATAL,
                };
                builder.set_alpn_select_callback(move |_, offered| {
                    select(&ours, offered).ok_or(mismatch)
                });
            }
        }
        Ok(())
    }

    /// What each completed handshake is held against.
    pub(super) fn requirements(self, pins: Vec<Fingerprint>, ocsp_staple: bool) -> Requirements {
        Requirements {
            application_protocols: self.alpn,
            application_protocol: self.policy == AlpnPolicy::Require,
            pins,
            ocsp_staple,
            extended_master_secret: self.require_extended_master_secret,
        }
    }
}

/// The first of `ours` that is in the list `offered`, in which each has its length in front.
fn select<'a>(ours: &[Vec<u8>], offered: &'a [u8]) -> Option<&'a [u8]> {
    ours.iter().find_map(|wanted| {
        let mut rest = offered;
        while let Some((&length, tail)) = rest.split_first() {
            let (protocol, tail) = tail.split_at_checked(usize::from(length))?;
            if protocol == wanted {
                return Some(protocol);
            }
            rest = tail;
        }
        None
    })
}

/// What a completed handshake must have agreed on, where libssl does not insist. Nothing, on adopted contexts.
#[derive(Debug, Clone, Default)]
pub(super) struct Requirements {
    /// What this end speaks.
    application_protocols: Vec<Vec<u8>>,
    application_protocol: bool,
    pins: Vec<Fingerprint>,
    /// Asked for on each connection; the callback sees to the answer.
    pub(super) ocsp_staple: bool,
    extended_master_secret: bool,
}

impl Requirements {
    pub(super) fn check(&self, info: &HandshakeInfo) -> Result<(), Error> {
        let no_protocol = || {
            Err(Error::NoSharedApplicationProtocol(
                openssl::error::ErrorStack::get(),
            ))
        };
        match info.application_protocol() {
            None if self.application_protocol => return no_protocol(),
            // Not every libssl checks that a server chose what was offered.
            Some(protocol)
                if !self.application_protocols.is_empty()
                    && !self
                        .application_protocols
                        .iter()
                        .any(|ours| ours == protocol) =>
            {
                return no_protocol();
            }
            _ => {}
        }
        // The callback has seen to it already, but for certificates of resumed sessions.
        if let Some(fingerprint) = info.peer_fingerprint()
            && !self.pins.is_empty()
            && !self.pins.contains(&fingerprint)
        {
            return Err(Error::UnpinnedCertificate { fingerprint });
        }
        if self.extended_master_secret && !info.has_extended_master_secret() {
            return Err(Error::NoExtendedMasterSecret);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_order_decides_and_broken_lists_select_nothing() {
        let ours = [b"h2".to_vec(), b"coap".to_vec()];
        assert_eq!(select(&ours, b"\x04coap\x02h2"), Some(&b"h2"[..]));
        assert_eq!(select(&ours, b"\x01x\x04coap"), Some(&b"coap"[..]));
        assert_eq!(select(&ours, b"\x01x"), None);
        assert_eq!(select(&ours, b""), None);
        assert_eq!(select(&ours, b"\x09coap"), None);
        assert_eq!(select(&ours, b"\x00\x02h2"), Some(&b"h2"[..]));
    }

    #[test]
    fn fragment_lengths_have_their_codes() {
        for (code, bytes) in [(1, 512), (2, 1024), (3, 2048), (4, 4096)] {
            let length = MaxFragmentLength::from_code(code).unwrap();
            assert_eq!((length.code(), length.bytes()), (code, bytes));
        }
        assert!(MaxFragmentLength::from_code(0).is_none());
        assert!(MaxFragmentLength::from_code(5).is_none());
    }
}
