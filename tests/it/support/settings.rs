//! Settings of libssl that `openssl` has no name for.

#![expect(unsafe_code, reason = "`openssl` has no name for these")]

use core::ffi::c_long;
use core::ptr;

use openssl_dtls::openssl::ssl::SslContextBuilder;
use openssl_sys as ffi;

/// `SSL_CTX_set_max_send_fragment`, in ssl.h.
pub fn set_max_send_fragment(builder: &mut SslContextBuilder, bytes: c_long) {
    const SSL_CTRL_SET_MAX_SEND_FRAGMENT: core::ffi::c_int = 52;
    // SAFETY: the context is valid, and the control takes a number.
    let answer = unsafe {
        ffi::SSL_CTX_ctrl(
            builder.as_ptr(),
            SSL_CTRL_SET_MAX_SEND_FRAGMENT,
            bytes,
            ptr::null_mut(),
        )
    };
    assert_eq!(answer, 1);
}
