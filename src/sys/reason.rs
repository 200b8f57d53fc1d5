//! Finds the error a caller can act on in libssl's error stack, by reason code.

use core::ffi::c_int;

use openssl::error::ErrorStack;
use openssl::x509::X509VerifyResult;

use super::ffi;
use crate::error::Error;
use crate::types::Alert;

/// What a reason code comes to.
type Make = fn(ErrorStack) -> Error;

/// Every reason that has a variant of its own, apart from those that carry more than the stack.
const REASONS: &[(Make, &[c_int])] = &[
    (
        Error::NoSharedCipherSuite,
        &[ffi::SSL_R_NO_SHARED_CIPHER, ffi::SSL_R_NO_CIPHERS_AVAILABLE],
    ),
    (
        Error::NoSharedGroup,
        &[
            ffi::SSL_R_NO_SHARED_GROUPS,
            ffi::SSL_R_NO_SUITABLE_GROUPS,
            ffi::SSL_R_UNSUPPORTED_ELLIPTIC_CURVE,
            ffi::SSL_R_WRONG_CURVE,
        ],
    ),
    (
        Error::NoSharedSignatureAlgorithm,
        &[
            ffi::SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS,
            ffi::SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM,
            ffi::SSL_R_WRONG_SIGNATURE_TYPE,
            ffi::SSL_R_LEGACY_SIGALG_DISALLOWED_OR_UNSUPPORTED,
        ],
    ),
    (
        Error::NoSharedVersion,
        &[
            ffi::SSL_R_UNSUPPORTED_PROTOCOL,
            ffi::SSL_R_UNSUPPORTED_SSL_VERSION,
            ffi::SSL_R_WRONG_SSL_VERSION,
            ffi::SSL_R_WRONG_VERSION_NUMBER,
            ffi::SSL_R_VERSION_TOO_LOW,
            ffi::SSL_R_VERSION_TOO_HIGH,
            ffi::SSL_R_NO_PROTOCOLS_AVAILABLE,
        ],
    ),
    (
        Error::NoSharedApplicationProtocol,
        &[ffi::SSL_R_NO_APPLICATION_PROTOCOL],
    ),
    (
        Error::NoPeerCertificate,
        &[ffi::SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE],
    ),
    (
        Error::UnusablePeerCertificate,
        &[
            ffi::SSL_R_UNKNOWN_CERTIFICATE_TYPE,
            ffi::SSL_R_WRONG_CERTIFICATE_TYPE,
            ffi::SSL_R_SIGNATURE_FOR_NON_SIGNING_CERTIFICATE,
        ],
    ),
    (
        Error::PeerTooWeak,
        &[
            ffi::SSL_R_DH_KEY_TOO_SMALL,
            ffi::SSL_R_EE_KEY_TOO_SMALL,
            ffi::SSL_R_CA_KEY_TOO_SMALL,
            ffi::SSL_R_CA_MD_TOO_WEAK,
        ],
    ),
    (
        Error::BadProof,
        &[ffi::SSL_R_BAD_SIGNATURE, ffi::SSL_R_DIGEST_CHECK_FAILED],
    ),
    (
        Error::UnknownPskIdentity,
        &[
            ffi::SSL_R_PSK_IDENTITY_NOT_FOUND,
            ffi::SSL_R_PSK_NO_CLIENT_CB,
            ffi::SSL_R_PSK_NO_SERVER_CB,
        ],
    ),
    (
        Error::SessionRefused,
        &[
            ffi::SSL_R_ATTEMPT_TO_REUSE_SESSION_IN_DIFFERENT_CONTEXT,
            ffi::SSL_R_SESSION_ID_CONTEXT_UNINITIALIZED,
            ffi::SSL_R_OLD_SESSION_CIPHER_NOT_RETURNED,
            ffi::SSL_R_INCONSISTENT_EXTMS,
        ],
    ),
    (
        Error::Renegotiation,
        &[
            ffi::SSL_R_NO_RENEGOTIATION,
            ffi::SSL_R_RENEGOTIATION_MISMATCH,
        ],
    ),
    (
        Error::NoSecureRenegotiation,
        &[ffi::SSL_R_UNSAFE_LEGACY_RENEGOTIATION_DISABLED],
    ),
    (
        Error::BadRecord,
        &[
            ffi::SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC,
            ffi::SSL_R_DECRYPTION_FAILED,
            ffi::SSL_R_BAD_RECORD_TYPE,
            ffi::SSL_R_RECORD_LENGTH_MISMATCH,
            ffi::SSL_R_RECORD_TOO_SMALL,
            ffi::SSL_R_DATA_LENGTH_TOO_LONG,
            ffi::SSL_R_ENCRYPTED_LENGTH_TOO_LONG,
            ffi::SSL_R_INVALID_ALERT,
            ffi::SSL_R_UNKNOWN_ALERT_TYPE,
            ffi::SSL_R_TOO_MANY_WARN_ALERTS,
        ],
    ),
    (
        Error::Decode,
        &[
            ffi::SSL_R_LENGTH_MISMATCH,
            ffi::SSL_R_LENGTH_TOO_SHORT,
            ffi::SSL_R_LENGTH_TOO_LONG,
            ffi::SSL_R_BAD_LENGTH,
            ffi::SSL_R_BAD_PACKET,
            ffi::SSL_R_BAD_PACKET_LENGTH,
            ffi::SSL_R_BAD_EXTENSION,
            ffi::SSL_R_BAD_HANDSHAKE_LENGTH,
            ffi::SSL_R_BAD_DIGEST_LENGTH,
            ffi::SSL_R_BAD_ECPOINT,
            ffi::SSL_R_CERT_LENGTH_MISMATCH,
            ffi::SSL_R_CA_DN_LENGTH_MISMATCH,
            ffi::SSL_R_ERROR_IN_RECEIVED_CIPHER_LIST,
            ffi::SSL_R_BAD_SRTP_PROTECTION_PROFILE_LIST,
            ffi::SSL_R_BAD_SRTP_MKI_VALUE,
        ],
    ),
    (Error::MessageTooLong, &[ffi::SSL_R_EXCESSIVE_MESSAGE_SIZE]),
    (
        Error::UnexpectedMessage,
        &[
            ffi::SSL_R_UNEXPECTED_MESSAGE,
            ffi::SSL_R_GOT_A_FIN_BEFORE_A_CCS,
            ffi::SSL_R_CCS_RECEIVED_EARLY,
            ffi::SSL_R_BAD_CHANGE_CIPHER_SPEC,
        ],
    ),
];

/// Makes an error of the first reason in `stack` that has a variant.
///
/// `verified` and `depth` are what verification of the peer's certificate ended with, and where. What it objected to before is
/// the caller's to add.
pub(super) fn classify(stack: ErrorStack, verified: X509VerifyResult, depth: Option<u32>) -> Error {
    let reasons = stack
        .errors()
        .iter()
        .filter(|error| error.library_code() == ffi::ERR_LIB_SSL);
    for reason in reasons.map(openssl::error::Error::reason_code) {
        match reason {
            ffi::SSL_R_CERTIFICATE_VERIFY_FAILED => {
                return Error::CertificateRejected {
                    result: verified,
                    depth,
                    errors: Vec::new(),
                    source: stack,
                };
            }
            ffi::SSL_R_READ_TIMEOUT_EXPIRED => return Error::HandshakeTimeout,
            _ => {}
        }
        if let Some((make, _)) = REASONS.iter().find(|(_, codes)| codes.contains(&reason)) {
            return make(stack);
        }
        if let Ok(alert) = u8::try_from(reason - ffi::SSL_AD_REASON_OFFSET) {
            return Error::AlertReceived {
                alert: Alert(alert),
            };
        }
    }
    let random_failed = stack
        .errors()
        .iter()
        .any(|error| error.library_code() == ffi::ERR_LIB_RAND);
    if random_failed {
        Error::Random(stack)
    } else {
        Error::Protocol(stack)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::error::Error as _;
    use std::mem::{Discriminant, discriminant};

    use super::*;

    /// A reason that says nothing a caller could act on: `SSL_R_BIO_NOT_SET`.
    const OTHER_REASON: c_int = 128;
    const ERR_LIB_BIO: c_int = 32;

    /// The stack libssl leaves when it raises `errors`, each of a library and a reason, in this order.
    fn raised(errors: &[(c_int, c_int)]) -> ErrorStack {
        drop(ErrorStack::get());
        for &(library, reason) in errors {
            // SAFETY: takes no arguments.
            unsafe { openssl_sys::ERR_new() };
            // SAFETY: a null format adds no text.
            unsafe { openssl_sys::ERR_set_error(library, reason, core::ptr::null()) };
        }
        ErrorStack::get()
    }

    fn classified(errors: &[(c_int, c_int)]) -> Error {
        classify(
            raised(errors),
            X509VerifyResult::APPLICATION_VERIFICATION,
            Some(1),
        )
    }

    fn kind(error: &Error) -> Discriminant<Error> {
        discriminant(error)
    }

    #[test]
    fn every_reason_has_one_variant_and_every_variant_keeps_the_stack() {
        let mut seen = HashSet::new();
        let mut kinds = HashSet::new();
        for (make, codes) in REASONS {
            let wanted = kind(&make(raised(&[])));
            assert!(kinds.insert(wanted), "two rows make the same variant");
            for &code in *codes {
                assert!(seen.insert(code), "{code} stands twice");
                let error = classified(&[(ffi::ERR_LIB_SSL, code)]);
                assert_eq!(kind(&error), wanted, "{code} is {error:?}");
                assert!(error.source().is_some(), "{error:?}");
            }
        }
        assert!(kinds.len() >= 17 && seen.len() >= 60);
    }

    #[test]
    fn refused_certificates_tell_why_and_where() {
        let error = classified(&[(ffi::ERR_LIB_SSL, ffi::SSL_R_CERTIFICATE_VERIFY_FAILED)]);
        assert!(
            matches!(
                error,
                Error::CertificateRejected {
                    result: X509VerifyResult::APPLICATION_VERIFICATION,
                    depth: Some(1),
                    ..
                }
            ),
            "{error:?}"
        );
    }

    #[test]
    fn alerts_of_the_peer_are_told_by_number() {
        for alert in 0..=u8::MAX {
            let reason = ffi::SSL_AD_REASON_OFFSET + c_int::from(alert);
            let error = classified(&[(ffi::ERR_LIB_SSL, reason)]);
            assert!(
                matches!(error, Error::AlertReceived { alert: told } if told == Alert(alert)),
                "{alert}: {error:?}"
            );
        }
    }

    #[test]
    fn a_lapsed_timer_is_a_timeout() {
        let error = classified(&[(ffi::ERR_LIB_SSL, ffi::SSL_R_READ_TIMEOUT_EXPIRED)]);
        assert!(matches!(error, Error::HandshakeTimeout), "{error:?}");
    }

    #[test]
    fn a_failed_generator_is_told() {
        let error = classified(&[
            (ffi::ERR_LIB_RAND, OTHER_REASON),
            (ffi::ERR_LIB_SSL, OTHER_REASON),
        ]);
        assert!(matches!(error, Error::Random(_)), "{error:?}");
    }

    #[test]
    fn first_reason_that_says_something_is_told() {
        let error = classified(&[
            (ERR_LIB_BIO, ffi::SSL_R_NO_SHARED_CIPHER),
            (ffi::ERR_LIB_SSL, OTHER_REASON),
            (ffi::ERR_LIB_SSL, ffi::SSL_R_UNEXPECTED_MESSAGE),
            (ffi::ERR_LIB_SSL, ffi::SSL_R_NO_SHARED_CIPHER),
        ]);
        assert!(matches!(error, Error::UnexpectedMessage(_)), "{error:?}");
    }

    #[test]
    fn everything_else_is_a_protocol_failure() {
        for errors in [
            &[][..],
            &[(ffi::ERR_LIB_SSL, OTHER_REASON)],
            &[(ffi::ERR_LIB_SSL, ffi::SSL_AD_REASON_OFFSET + 256)],
            &[(ERR_LIB_BIO, ffi::SSL_R_NO_SHARED_CIPHER)],
        ] {
            let error = classified(errors);
            assert!(matches!(error, Error::Protocol(_)), "{errors:?}: {error:?}");
        }
    }
}
