//! Objections to a peer's certificate, with Qt's names and numbers.

use std::fmt;

use openssl::x509::{X509, X509VerifyResult};

use crate::verification::VerificationError;

macro_rules! codes {
    ($($name:ident = $number:literal $text:literal [$($openssl:literal)|*],)+) => {
        /// What is wrong with a certificate; Qt's `QSslError::SslError`, as far as DTLS meets it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i8)]
        #[non_exhaustive]
        pub enum SslErrorCode {
            $(#[doc = $text] $name = $number,)+
            /// Another one; [`SslError::error_string`] tells.
            UnspecifiedError = -1,
        }

        impl SslErrorCode {
            /// Of a number of libcrypto's (x509_vfy.h, `X509_V_ERR_`).
            fn of(result: X509VerifyResult) -> SslErrorCode {
                match result.as_raw() {
                    $($($openssl => SslErrorCode::$name,)*)+
                    _ => SslErrorCode::UnspecifiedError,
                }
            }

            fn text(self) -> &'static str {
                match self {
                    $(SslErrorCode::$name => $text,)+
                    SslErrorCode::UnspecifiedError => "An unspecified error.",
                }
            }
        }
    };
}

codes! {
    UnableToGetIssuerCertificate = 1 "The issuer's certificate cannot be found." [2],
    UnableToDecryptCertificateSignature = 2 "The signature cannot be decrypted." [4],
    UnableToDecodeIssuerPublicKey = 3 "The issuer's public key cannot be read." [6],
    CertificateSignatureFailed = 4 "The signature is wrong." [7],
    CertificateNotYetValid = 5 "The certificate is not valid yet." [9],
    CertificateExpired = 6 "The certificate has expired." [10],
    InvalidNotBeforeField = 7 "The beginning of validity is no time." [13],
    InvalidNotAfterField = 8 "The end of validity is no time." [14],
    SelfSignedCertificate = 9 "The certificate is self-signed and not trusted." [18],
    SelfSignedCertificateInChain = 10 "The root of the chain is self-signed and not trusted." [19],
    UnableToGetLocalIssuerCertificate = 11 "The issuer's certificate is not known here." [20],
    UnableToVerifyFirstCertificate = 12 "No certificate of the chain can be verified." [21],
    CertificateRevoked = 13 "The certificate is revoked." [23],
    InvalidCaCertificate = 14 "A certificate that issued another is no authority's." [79],
    PathLengthExceeded = 15 "The chain is longer than an authority allows." [25],
    InvalidPurpose = 16 "The certificate is for another purpose." [26],
    CertificateUntrusted = 17 "The root is not trusted for this purpose." [27],
    CertificateRejected = 18 "The root is rejected for this purpose." [28],
    SubjectIssuerMismatch = 19 "The issuer's name differs from the certificate's issuer." [29],
    AuthorityIssuerSerialNumberMismatch = 20 "The issuer's key or serial number differs." [30 | 31],
    NoPeerCertificate = 21 "The peer sent no certificate." [],
    HostNameMismatch = 22 "The certificate is not for the name of the peer." [62 | 64],
    CertificateBlacklisted = 24 "The certificate is denied." [],
}

/// One objection to a peer's certificate; Qt's `QSslError`.
///
/// Two are equal if they say the same of the same certificate.
#[derive(Clone)]
pub struct SslError {
    code: SslErrorCode,
    certificate: Option<X509>,
    result: Option<X509VerifyResult>,
}

impl SslError {
    /// What is wrong, and with which certificate.
    pub fn new(code: SslErrorCode, certificate: Option<X509>) -> SslError {
        SslError {
            code,
            certificate,
            result: None,
        }
    }

    pub(super) fn of(error: &VerificationError) -> SslError {
        let result = error.result();
        SslError {
            code: SslErrorCode::of(result),
            certificate: error.certificate().cloned(),
            result: Some(result),
        }
    }

    /// What is wrong.
    pub fn error(&self) -> SslErrorCode {
        self.code
    }

    /// With which certificate; `None` if with none.
    pub fn certificate(&self) -> Option<&X509> {
        self.certificate.as_ref()
    }

    /// What is wrong, in words: libcrypto's where it raised it.
    pub fn error_string(&self) -> &'static str {
        match (self.code, self.result) {
            (SslErrorCode::UnspecifiedError, Some(result)) => result.error_string(),
            (code, _) => code.text(),
        }
    }
}

impl PartialEq for SslError {
    fn eq(&self, other: &Self) -> bool {
        let same_certificate = match (&self.certificate, &other.certificate) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => false,
        };
        let same_result =
            self.code != SslErrorCode::UnspecifiedError || self.result == other.result;
        self.code == other.code && same_result && same_certificate
    }
}

impl Eq for SslError {}

impl fmt::Debug for SslError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SslError")
            .field("code", &self.code)
            .field("result", &self.result)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for SslError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.error_string())
    }
}

/// The objections of `errors` that `ignored` does not hold.
pub(super) fn not_ignored<'a>(errors: &'a [SslError], ignored: &[SslError]) -> Vec<&'a SslError> {
    errors
        .iter()
        .filter(|error| !ignored.contains(error))
        .collect()
}
