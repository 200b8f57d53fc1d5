//! Takes sessions out of connections and offers them again; ties a server's sessions to the name the client asks for.

use core::ffi::{c_int, c_long};
use std::ptr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foreign_types::ForeignTypeRef;
use openssl::error::ErrorStack;
use openssl::sha::Sha256;
use openssl::ssl::{
    ClientHelloResponse, SslContextBuilder, SslOptions, SslRef, SslSession, SslSessionRef,
};
use zeroize::Zeroizing;

use super::ffi;
use crate::parking;

/// The number of the extension server_name (RFC 6066, 3).
const EXTENSION_SERVER_NAME: u32 = 0;
/// List length, name type and name length in front of the name.
const SERVER_NAME_HEAD: usize = 5;

/// The session of `ssl` as DER, and when it ends; `None` if the server gave nothing to resume by.
///
/// Corresponds to `SSL_get0_session`, `SSL_SESSION_is_resumable` and `i2d_SSL_SESSION`.
pub(crate) fn save(ssl: &SslRef) -> Option<(Zeroizing<Vec<u8>>, SystemTime)> {
    let session = ssl.session()?;
    // SAFETY: the session is valid.
    if unsafe { ffi::SSL_SESSION_is_resumable(session.as_ptr()) } != 1 {
        return None;
    }
    let der = Zeroizing::new(session.to_der().ok()?);
    Some((der, expires_at(session)))
}

/// Reads a session, and answers when it ends. Corresponds to `d2i_SSL_SESSION`.
pub(crate) fn expiry_of(der: &[u8]) -> Result<SystemTime, ErrorStack> {
    drop(ErrorStack::get());
    Ok(expires_at(&*SslSession::from_der(der)?))
}

#[allow(
    clippy::useless_conversion,
    reason = "the widths of the numbers depend on the system and the version of OpenSSL"
)]
fn expires_at(session: &SslSessionRef) -> SystemTime {
    let seconds = |number: i64| Duration::from_secs(u64::try_from(number).unwrap_or(0));
    let begin = UNIX_EPOCH + seconds(i64::try_from(session.time()).unwrap_or(0));
    let lifetime = seconds(session.timeout());
    // SAFETY: the session is valid.
    let hint = unsafe { ffi::SSL_SESSION_get_ticket_lifetime_hint(session.as_ptr()) };
    // A hint of 0 leaves it open (RFC 5077, 3.3).
    let hint = match hint.into() {
        0 => lifetime,
        seconds => Duration::from_secs(seconds),
    };
    begin + lifetime.min(hint)
}

/// Makes the client `ssl` offer the session in `der`. Corresponds to `SSL_set_session`.
pub(crate) fn offer(ssl: &mut SslRef, der: &[u8]) -> Result<(), ErrorStack> {
    drop(ErrorStack::get());
    let session = SslSession::from_der(der)?;
    // SAFETY: the session is fresh, and no context and no other connection knows it.
    unsafe { ssl.set_session(&session) }
}

/// How long sessions of `builder`'s contexts last. Corresponds to `SSL_CTX_set_timeout`.
pub(crate) fn set_lifetime(builder: &mut SslContextBuilder, lifetime: Duration) {
    let seconds = c_long::try_from(lifetime.as_secs()).unwrap_or(c_long::MAX);
    // SAFETY: the context is valid.
    unsafe { ffi::SSL_CTX_set_timeout(builder.as_ptr(), seconds) };
}

/// No tickets. Corresponds to `SSL_OP_NO_TICKET`.
pub(crate) fn refuse_tickets(builder: &mut SslContextBuilder) {
    builder.set_options(SslOptions::NO_TICKET);
}

/// Ties each session of `builder`'s servers to `rules` and to the name its client asked for: libssl resumes one under any name.
///
/// Corresponds to `SSL_set_session_id_context`, called from `SSL_CTX_set_client_hello_cb`.
pub(crate) fn bind_to_name(
    builder: &mut SslContextBuilder,
    rules: [u8; 32],
) -> Result<(), ErrorStack> {
    // What holds until a ClientHello is read.
    builder.set_session_id_context(&rules)?;
    builder.set_client_hello_callback(move |ssl, _alert| {
        let mut hash = Sha256::new();
        hash.update(&rules);
        let name = asked_name(ssl);
        hash.update(&name.to_ascii_lowercase());
        parking::park_asked_name(ssl, name);
        let context = hash.finish();
        let length = context.len() as core::ffi::c_uint;
        // SAFETY: `ssl` is valid, and the bytes are copied; libssl takes up to 32 of them.
        let answer =
            unsafe { ffi::SSL_set_session_id_context(ssl.as_ptr(), context.as_ptr(), length) };
        if answer == 1 {
            Ok(ClientHelloResponse::SUCCESS)
        } else {
            Err(ErrorStack::get())
        }
    });
    Ok(())
}

/// The name in the ClientHello that `ssl` reads; empty if there is none.
fn asked_name(ssl: &SslRef) -> &[u8] {
    let mut start = ptr::null();
    let mut length = 0;
    // SAFETY: `ssl` is valid and in its ClientHello callback; libssl answers bytes that live as long as that.
    let found: c_int = unsafe {
        ffi::SSL_client_hello_get0_ext(
            ssl.as_ptr(),
            EXTENSION_SERVER_NAME,
            &raw mut start,
            &raw mut length,
        )
    };
    if found != 1 || start.is_null() {
        return &[];
    }
    // SAFETY: as above.
    let extension = unsafe { core::slice::from_raw_parts(start, length) };
    extension.get(SERVER_NAME_HEAD..).unwrap_or_default()
}
