//! What a completed handshake agreed on, and the keys that can be exported from it.

use core::ffi::{c_char, c_int};

use super::error::{failed, odtls_result};
use super::handle::{buffer, bytes, string};
use crate::connection::Connection;
use crate::error::Error;
use crate::handshake_info::HandshakeInfo;

/// The suite by its RFC name.
pub const ODTLS_INFO_CIPHER_SUITE: c_int = 0;
/// `DTLSv1.2` or `DTLSv1`.
pub const ODTLS_INFO_VERSION: c_int = 1;
/// The peer's certificate in DER.
pub const ODTLS_INFO_PEER_CERTIFICATE: c_int = 2;
/// The name in the peer's certificate that matched.
pub const ODTLS_INFO_VERIFIED_NAME: c_int = 3;
/// The server name the client asked for.
pub const ODTLS_INFO_SERVER_NAME: c_int = 4;
/// The pre-shared key identity that was used.
pub const ODTLS_INFO_PSK_IDENTITY: c_int = 5;
/// The application protocol that was agreed on (ALPN).
pub const ODTLS_INFO_APPLICATION_PROTOCOL: c_int = 6;

/// The fact that `what` names: `ODTLS_INFO_...`.
pub(super) fn fact(info: &HandshakeInfo, what: c_int) -> Result<Vec<u8>, odtls_result> {
    let text = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
    match what {
        ODTLS_INFO_CIPHER_SUITE => text(Some(info.cipher_suite())),
        ODTLS_INFO_VERSION => text(match info.version() {
            Some(openssl::ssl::SslVersion::DTLS1_2) => Some("DTLSv1.2"),
            Some(openssl::ssl::SslVersion::DTLS1) => Some("DTLSv1"),
            _ => None,
        }),
        ODTLS_INFO_PEER_CERTIFICATE => match info.peer_certificate().map(|leaf| leaf.to_der()) {
            Some(Ok(der)) => Some(der),
            Some(Err(stack)) => return Err(failed(Error::Protocol(stack))),
            None => None,
        },
        ODTLS_INFO_VERIFIED_NAME => text(info.verified_name()),
        ODTLS_INFO_SERVER_NAME => text(info.server_name()),
        ODTLS_INFO_PSK_IDENTITY => info.psk_identity().map(<[u8]>::to_vec),
        ODTLS_INFO_APPLICATION_PROTOCOL => info.application_protocol().map(<[u8]>::to_vec),
        _ => return Err(odtls_result::ODTLS_INVALID_ARGUMENT),
    }
    .ok_or(odtls_result::ODTLS_NOTHING)
}

/// Exports keying material of `connection`.
///
/// # Safety
///
/// As [`string`], [`bytes`] and [`buffer`].
pub(super) unsafe fn export(
    connection: &Connection,
    label: *const c_char,
    (context, context_len): (*const u8, usize),
    (out, size): (*mut u8, usize),
) -> Result<(), odtls_result> {
    // SAFETY: the caller's contract.
    let label = unsafe { string(label) }?.ok_or(odtls_result::ODTLS_NULL_POINTER)?;
    let context = if context.is_null() {
        None
    } else {
        // SAFETY: the caller's contract.
        Some(unsafe { bytes(context, context_len) }?)
    };
    // SAFETY: the caller's contract.
    let out = unsafe { buffer(out, size) }?;
    connection
        .export_keying_material(out, label, context)
        .map_err(failed)
}
