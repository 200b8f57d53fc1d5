//! What contexts need beyond the safe API of `openssl`.

use core::ffi::{CStr, c_int, c_long};
use core::ptr;
use std::ffi::CString;

use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::error::ErrorStack;
use openssl::lib_ctx::LibCtx;
use openssl::ssl::{SslCipherRef, SslContextBuilder, SslContextRef, SslMethod, SslRef};

use super::ffi;
use crate::types::Role;

/// What libssl takes for the most bytes of a message in one record.
pub(crate) const SEND_FRAGMENT: core::ops::RangeInclusive<usize> = 512..=16_384;

/// Whether `ssl` speaks DTLS. Corresponds to `SSL_is_dtls`.
pub(crate) fn is_dtls(ssl: &SslRef) -> bool {
    // SAFETY: `ssl` is valid.
    unsafe { ffi::SSL_is_dtls(ssl.as_ptr()) == 1 }
}

/// Sets on one connection what must hold on each, whoever made its context.
///
/// The MTU is ours to say, not the BIO's; renegotiation is refused; encrypt-then-MAC is not offered, since with it one forged
/// record ends an established connection. Corresponds to `SSL_set_options`.
pub(crate) fn set_invariants(ssl: &mut SslRef) {
    let options =
        ffi::SSL_OP_NO_QUERY_MTU | ffi::SSL_OP_NO_RENEGOTIATION | ffi::SSL_OP_NO_ENCRYPT_THEN_MAC;
    // SAFETY: `ssl` is valid.
    unsafe { ffi::SSL_set_options(ssl.as_ptr(), options) };
}

/// The most bytes of certificates that `ssl` takes from its peer. Corresponds to `SSL_get_max_cert_list`.
pub(crate) fn max_certificate_list(ssl: &SslRef) -> usize {
    // SAFETY: `ssl` is valid; the control takes no argument.
    let bytes = unsafe {
        ffi::SSL_ctrl(
            ssl.as_ptr(),
            ffi::SSL_CTRL_GET_MAX_CERT_LIST,
            0,
            ptr::null_mut(),
        )
    };
    usize::try_from(bytes).unwrap_or(0)
}

/// Corresponds to `SSL_CTX_set_max_cert_list`.
pub(crate) fn set_max_certificate_list(builder: &mut SslContextBuilder, bytes: usize) {
    let bytes = c_long::try_from(bytes).unwrap_or(c_long::MAX);
    // SAFETY: the context is valid, and the control takes a number.
    unsafe {
        ffi::SSL_CTX_ctrl(
            builder.as_ptr(),
            ffi::SSL_CTRL_SET_MAX_CERT_LIST,
            bytes,
            ptr::null_mut(),
        )
    };
}

/// The most bytes of a message that `ssl` puts into one record, by its own setting.
///
/// libssl has no getter for it, but takes no split point beyond it: `SSL_set_split_send_fragment`, of no effect in DTLS, tells.
pub(crate) fn max_send_fragment(ssl: &mut SslRef) -> usize {
    let accepts = |bytes: usize| {
        let bytes = c_long::try_from(bytes).unwrap_or(c_long::MAX);
        // SAFETY: `ssl` is valid, and the control takes a number.
        let answer = unsafe {
            ffi::SSL_ctrl(
                ssl.as_ptr(),
                ffi::SSL_CTRL_SET_SPLIT_SEND_FRAGMENT,
                bytes,
                ptr::null_mut(),
            )
        };
        answer == 1
    };
    let (mut accepted, mut refused) = (*SEND_FRAGMENT.start(), SEND_FRAGMENT.end() + 1);
    while refused - accepted > 1 {
        let middle = accepted.midpoint(refused);
        if accepts(middle) {
            accepted = middle;
        } else {
            refused = middle;
        }
    }
    accepted
}

/// Corresponds to `SSL_CTX_set_max_send_fragment`.
pub(crate) fn set_max_send_fragment(
    builder: &mut SslContextBuilder,
    bytes: usize,
) -> Result<(), ErrorStack> {
    let bytes = c_long::try_from(bytes).unwrap_or(c_long::MAX);
    // SAFETY: the context is valid, and the control takes a number.
    let answer = unsafe {
        ffi::SSL_CTX_ctrl(
            builder.as_ptr(),
            ffi::SSL_CTRL_SET_MAX_SEND_FRAGMENT,
            bytes,
            ptr::null_mut(),
        )
    };
    succeeded(answer == 1)
}

/// Asks servers for records of a length with the number `code`. Corresponds to `SSL_CTX_set_tlsext_max_fragment_length`.
pub(crate) fn set_max_fragment_length(
    builder: &mut SslContextBuilder,
    code: u8,
) -> Result<(), ErrorStack> {
    // SAFETY: the context is valid.
    let answer = unsafe { ffi::SSL_CTX_set_tlsext_max_fragment_length(builder.as_ptr(), code) };
    succeeded(answer == 1)
}

/// The number of the record length that was agreed on; 0 for none. Corresponds to `SSL_SESSION_get_max_fragment_length`.
pub(crate) fn max_fragment_length(ssl: &SslRef) -> u8 {
    // SAFETY: `ssl` is valid and keeps its session.
    let session = unsafe { ffi::SSL_get_session(ssl.as_ptr()) };
    if session.is_null() {
        return 0;
    }
    // SAFETY: the session is valid.
    unsafe { ffi::SSL_SESSION_get_max_fragment_length(session) }
}

fn succeeded(yes: bool) -> Result<(), ErrorStack> {
    if yes { Ok(()) } else { Err(ErrorStack::get()) }
}

/// A new context with the method of `context` and nothing else of it.
pub(crate) fn sibling(
    context: &SslContextRef,
    library: &Library,
) -> Result<SslContextBuilder, ErrorStack> {
    // SAFETY: `context` is valid.
    let method = unsafe { ffi::SSL_CTX_get_ssl_method(context.as_ptr()) };
    // SAFETY: methods are tables that live for ever, and a context always has one.
    new_builder(library, unsafe { SslMethod::from_ptr(method) })
}

/// Where algorithms come from.
#[derive(Clone, Default)]
pub(crate) struct Library {
    /// libcrypto's default if there is none. For ever, since whatever is made in it refers to it without counting.
    pub(crate) context: Option<&'static LibCtx>,
    pub(crate) properties: Option<CString>,
}

/// A new context whose algorithms come from `library`. Corresponds to `SSL_CTX_new_ex`.
pub(crate) fn new_builder(
    library: &Library,
    method: SslMethod,
) -> Result<SslContextBuilder, ErrorStack> {
    let context = library
        .context
        .map_or(ptr::null_mut(), |context| context.as_ptr());
    let properties = library.properties.as_ref();
    let properties = properties.map_or(ptr::null(), |properties| properties.as_ptr());
    openssl::init();
    // SAFETY: the library context lives for ever; libssl copies the properties; methods live for ever.
    let raw = unsafe { ffi::SSL_CTX_new_ex(context, properties, method.as_ptr()) };
    if raw.is_null() {
        return Err(ErrorStack::get());
    }
    // SAFETY: made just now, and owned by the builder.
    Ok(unsafe { SslContextBuilder::from_ptr(raw) })
}

/// Sends `hint` to clients that offer pre-shared keys. Corresponds to `SSL_CTX_use_psk_identity_hint`.
pub(crate) fn use_psk_identity_hint(
    builder: &mut SslContextBuilder,
    hint: &CStr,
) -> Result<(), ErrorStack> {
    // SAFETY: the context is valid, and libssl copies the string.
    let answer = unsafe { ffi::SSL_CTX_use_psk_identity_hint(builder.as_ptr(), hint.as_ptr()) };
    succeeded(answer == 1)
}

/// Whether a client would offer a suite on `ssl`. Corresponds to `SSL_get1_supported_ciphers`.
pub(crate) fn offers_a_cipher(ssl: &SslRef) -> bool {
    // SAFETY: `ssl` is valid; the caller owns the stack, whose entries live for ever.
    let stack = unsafe { ffi::SSL_get1_supported_ciphers(ssl.as_ptr()) }.cast();
    // SAFETY: counting a null stack answers -1.
    let count = unsafe { ffi::OPENSSL_sk_num(stack) };
    // SAFETY: owned here; null is allowed.
    unsafe { ffi::OPENSSL_sk_free(stack) };
    count > 0
}

/// The suites `ssl` may use, by their names in RFCs, in order of preference: of a client those that it offers, of a server those
/// that it is set to. Corresponds to `SSL_get1_supported_ciphers`, `SSL_get_ciphers` and `SSL_CIPHER_standard_name`.
pub(crate) fn suites(ssl: &SslRef, role: Role) -> Vec<&'static str> {
    let owned = match role {
        // SAFETY: `ssl` is valid; the caller owns the stack, whose entries live for ever.
        Role::Client => unsafe { ffi::SSL_get1_supported_ciphers(ssl.as_ptr()) },
        // What a server can use depends on its keys and its clients, which libssl asks later.
        Role::Server => ptr::null_mut(),
    };
    let stack = match role {
        Role::Client => owned,
        // SAFETY: `ssl` is valid and keeps the stack.
        Role::Server => unsafe { ffi::SSL_get_ciphers(ssl.as_ptr()) },
    };
    // SAFETY: counting a null stack answers -1.
    let count: c_int = unsafe { ffi::OPENSSL_sk_num(stack.cast()) };
    let names = (0..count).filter_map(|index| {
        // SAFETY: `index` is below the count.
        let cipher = unsafe { ffi::OPENSSL_sk_value(stack.cast(), index) }.cast();
        // SAFETY: entries are ciphers, which live for ever.
        let authentication = unsafe { ffi::SSL_CIPHER_get_auth_nid(cipher) };
        // SAFETY: as above.
        let cipher = unsafe { SslCipherRef::from_ptr(cipher) };
        // Suites of TLS 1.3 are in every list and of no use.
        (authentication != ffi::NID_AUTH_ANY).then(|| cipher.standard_name().unwrap_or(""))
    });
    let names = names.filter(|name| !name.is_empty()).collect();
    // SAFETY: owned here, or null, which is allowed.
    unsafe { ffi::OPENSSL_sk_free(owned.cast()) };
    names
}

/// Lets `ssl` offer every suite there is. Corresponds to `SSL_set_cipher_list`.
pub(crate) fn allow_all_suites(ssl: &mut SslRef) -> Result<(), ErrorStack> {
    // SAFETY: `ssl` is valid, and the string ends in zero.
    succeeded(unsafe { ffi::SSL_set_cipher_list(ssl.as_ptr(), c"ALL".as_ptr()) } == 1)
}

/// The group of the key exchange as libssl numbers it; 0 for none. Corresponds to `SSL_get_negotiated_group`.
pub(crate) fn negotiated_group(ssl: &SslRef) -> c_long {
    // SAFETY: `ssl` is valid; the control takes no argument.
    unsafe {
        ffi::SSL_ctrl(
            ssl.as_ptr(),
            ffi::SSL_CTRL_GET_NEGOTIATED_GROUP,
            0,
            ptr::null_mut(),
        )
    }
}

/// How a server authenticates itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authentication {
    Rsa,
    Ecdsa,
    Psk,
    /// Suites of TLS 1.3, without authentication, or of national standards.
    Other,
}

/// How the server authenticates itself in each suite `ssl` allows. Corresponds to `SSL_get_ciphers` and
/// `SSL_CIPHER_get_auth_nid`.
pub(crate) fn cipher_authentications(ssl: &SslRef) -> impl Iterator<Item = Authentication> {
    // SAFETY: `ssl` is valid and keeps the stack.
    let stack = unsafe { ffi::SSL_get_ciphers(ssl.as_ptr()) }.cast();
    // SAFETY: counting a null stack answers -1.
    let count: c_int = unsafe { ffi::OPENSSL_sk_num(stack) };
    (0..count).map(move |index| {
        // SAFETY: `index` is below the count, and nobody changes the list of a frozen context's `SSL` meanwhile.
        let cipher = unsafe { ffi::OPENSSL_sk_value(stack, index) };
        // SAFETY: entries are ciphers, which live for ever.
        match unsafe { ffi::SSL_CIPHER_get_auth_nid(cipher.cast()) } {
            ffi::NID_AUTH_RSA => Authentication::Rsa,
            ffi::NID_AUTH_ECDSA => Authentication::Ecdsa,
            ffi::NID_AUTH_PSK => Authentication::Psk,
            _ => Authentication::Other,
        }
    })
}
