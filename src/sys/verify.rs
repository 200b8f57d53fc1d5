//! Stands in front of a connection's verification callback, whoever set it, to see which certificate is refused.

use core::ffi::c_int;

use super::bio::with_state;
use super::ffi;

/// Puts [`observe`] in front of the verification callback of `ssl`.
///
/// # Safety
///
/// `ssl` is a valid `SSL` that reads from a datagram BIO.
pub(super) unsafe fn watch(ssl: *mut ffi::SSL) {
    // SAFETY: `ssl` is valid.
    let callback = unsafe { ffi::SSL_get_verify_callback(ssl) };
    // SAFETY: `ssl` is valid.
    let mode = unsafe { ffi::SSL_get_verify_mode(ssl) };
    // SAFETY: `ssl` is valid.
    let bio = unsafe { ffi::SSL_get_rbio(ssl) };
    // SAFETY: a datagram BIO, and no reference to its state is alive.
    unsafe {
        with_state(bio, (), |state| {
            state.verify_callback = callback;
            state.rejected_depth = None;
        });
    };
    // SAFETY: `ssl` is valid, and `observe` keeps the contract of a verification callback.
    unsafe { ffi::SSL_set_verify(ssl, mode, Some(observe)) };
}

/// Answers what the callback behind it does, or libssl's verdict if there is none, and notes the depth of a refusal.
unsafe extern "C" fn observe(verdict: c_int, store: *mut ffi::X509_STORE_CTX) -> c_int {
    // SAFETY: takes no pointers.
    let index = unsafe { ffi::SSL_get_ex_data_X509_STORE_CTX_idx() };
    // SAFETY: libssl calls with the valid store context of a chain it verifies.
    let ssl = unsafe { ffi::X509_STORE_CTX_get_ex_data(store, index) }.cast();
    // SAFETY: libssl stores there the `SSL` whose peer it verifies, on which `watch` was called.
    let bio = unsafe { ffi::SSL_get_rbio(ssl) };
    // SAFETY: the BIO `watch` was called with; references to its state end before libssl is called.
    let callback = unsafe { with_state(bio, None, |state| state.verify_callback) };
    let answer = match callback {
        // SAFETY: the `SSL`'s own callback, called as libssl would have.
        Some(callback) => unsafe { callback(verdict, store) },
        None => verdict,
    };
    if answer == 0 {
        // SAFETY: the store context is valid.
        let depth = unsafe { ffi::X509_STORE_CTX_get_error_depth(store) };
        // SAFETY: as above.
        unsafe {
            with_state(bio, (), |state| {
                state.rejected_depth = u32::try_from(depth).ok();
            });
        };
    }
    answer
}
