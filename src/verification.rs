//! What verification has to say about a peer's certificate.

use std::fmt;
use std::str::FromStr;

use openssl::error::ErrorStack;
use openssl::sha::sha256;
use openssl::x509::{X509, X509Ref, X509StoreContextRef, X509VerifyResult};

use crate::error::ConfigError;

/// One objection to a peer's certificate or to the chain above it.
#[derive(Clone)]
pub struct VerificationError {
    result: X509VerifyResult,
    depth: u32,
    certificate: Option<X509>,
}

impl VerificationError {
    /// The objection libssl raises in a verification callback.
    pub(crate) fn of(store: &X509StoreContextRef) -> VerificationError {
        VerificationError {
            result: store.error(),
            depth: store.error_depth(),
            certificate: store.current_cert().map(ToOwned::to_owned),
        }
    }

    /// What is wrong. Corresponds to `X509_STORE_CTX_get_error`.
    pub fn result(&self) -> X509VerifyResult {
        self.result
    }

    /// Which certificate it is about: 0 for the peer's own, 1 for the one above it, and so on. Corresponds to
    /// `X509_STORE_CTX_get_error_depth`.
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// The certificate, if the objection is to one. Corresponds to `X509_STORE_CTX_get_current_cert`.
    pub fn certificate(&self) -> Option<&X509> {
        self.certificate.as_ref()
    }
}

impl fmt::Debug for VerificationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationError")
            .field("result", &self.result)
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for VerificationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at depth {}", self.result, self.depth)
    }
}

/// The SHA-256 of a certificate in DER, by which WebRTC and others know a peer.
///
/// Reads and prints as in SDP (RFC 8122, 5): bytes in hexadecimal, separated by colons. Reads without colons too.
///
/// ```
/// use openssl_dtls::Fingerprint;
///
/// # fn main() -> Result<(), openssl_dtls::ConfigError> {
/// let fingerprint: Fingerprint = "4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:3E:8F:00:11:22:33:44:55:66:77:88:99"
///     .parse()?;
/// assert_eq!(fingerprint.as_bytes()[..2], [0x4a, 0xad]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of `certificate`.
    ///
    /// # Errors
    ///
    /// libcrypto's, if it cannot write the certificate.
    pub fn of(certificate: &X509Ref) -> Result<Fingerprint, ErrorStack> {
        Ok(Fingerprint(sha256(&certificate.to_der()?)))
    }

    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Fingerprint {
    fn from(bytes: [u8; 32]) -> Self {
        Fingerprint(bytes)
    }
}

impl FromStr for Fingerprint {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let bad = || ConfigError::BadFingerprint {
            given: text.to_owned(),
        };
        let step = if text.contains(':') { 3 } else { 2 };
        let mut fingerprint = [0; 32];
        if text.len() + step - 2 != fingerprint.len() * step {
            return Err(bad());
        }
        for (index, byte) in fingerprint.iter_mut().enumerate() {
            let start = index * step;
            let digits = text.get(start..start + 2).ok_or_else(bad)?;
            let separator = text.get(start + 2..start + step).unwrap_or(":");
            // `from_str_radix` alone would take a sign.
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit())
                || (step == 3 && separator != ":")
            {
                return Err(bad());
            }
            *byte = u8::from_str_radix(digits, 16).map_err(|_| bad())?;
        }
        Ok(Fingerprint(fingerprint))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ":" };
            write!(f, "{separator}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_with_and_without_colons() {
        let bytes: [u8; 32] = std::array::from_fn(|index| (index * 8) as u8);
        let fingerprint = Fingerprint::from(bytes);
        let text = fingerprint.to_string();
        assert!(text.starts_with("00:08:10:") && text.ends_with(":F0:F8"));
        for spelling in [
            text.clone(),
            text.to_lowercase(),
            text.replace(':', ""),
            text.replace(':', "").to_lowercase(),
        ] {
            assert_eq!(spelling.parse::<Fingerprint>().unwrap(), fingerprint);
        }
        for bad in [
            String::new(),
            text[3..].to_owned(),
            format!("{text}:00"),
            format!("{text}0"),
            text.replacen(':', "-", 1),
            text.replacen("00", "+1", 1),
            text.replacen("00", "g0", 1),
            text.replacen("00", "\u{e9}", 1),
            text.replace(':', "")[1..].to_owned(),
        ] {
            let refused = bad.parse::<Fingerprint>();
            assert!(
                matches!(&refused, Err(ConfigError::BadFingerprint { given }) if *given == bad),
                "{bad:?}: {refused:?}"
            );
        }
    }
}
