//! Leads libssl's reports to an [`Observer`].

use core::ffi::{CStr, c_int, c_void};
use std::sync::OnceLock;

use foreign_types::ForeignTypeRef;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{Ssl, SslRef};

use super::bio::with_state;
use super::ffi;
use crate::guard;
use crate::observe::{self, Direction, Observation, Observer};
use crate::types::Role;

/// Where in an `SSL` its observer is.
fn index() -> Result<Index<Ssl, Observer>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, Observer>> = OnceLock::new();
    if let Some(index) = INDEX.get() {
        return Ok(*index);
    }
    let index = Ssl::new_ex_index()?;
    Ok(*INDEX.get_or_init(|| index))
}

/// Tells `observer` what happens in `ssl`, once it is bound to its BIO.
///
/// Corresponds to `SSL_set_msg_callback` and `SSL_set_info_callback`.
pub(crate) fn attach(ssl: &mut SslRef, observer: &Observer) -> Result<(), ErrorStack> {
    ssl.set_ex_data(index()?, observer.clone());
    // SAFETY: `ssl` is valid, and the callback keeps its contract.
    unsafe { ffi::SSL_set_msg_callback(ssl.as_ptr(), Some(on_message)) };
    // SAFETY: as above.
    unsafe { ffi::SSL_set_info_callback(ssl.as_ptr(), Some(on_info)) };
    Ok(())
}

unsafe extern "C" fn on_message(
    sent: c_int,
    _version: c_int,
    content_type: c_int,
    bytes: *const c_void,
    length: usize,
    ssl: *mut ffi::SSL,
    _argument: *mut c_void,
) {
    let bytes = if bytes.is_null() {
        &[]
    } else {
        // SAFETY: libssl lends `length` bytes for the length of the call.
        unsafe { core::slice::from_raw_parts(bytes.cast::<u8>(), length) }
    };
    let direction = if sent == 1 {
        Direction::Sent
    } else {
        Direction::Received
    };
    if let Some(what) = observe::of_message(direction, content_type, bytes) {
        // SAFETY: libssl calls with its valid `SSL`.
        unsafe { tell(ssl, what) };
    }
}

unsafe extern "C" fn on_info(ssl: *const ffi::SSL, place: c_int, _answer: c_int) {
    let what = if place & ffi::SSL_CB_HANDSHAKE_START != 0 {
        Observation::HandshakeStarted
    } else if place & ffi::SSL_CB_HANDSHAKE_DONE != 0 {
        Observation::HandshakeDone
    } else if place & ffi::SSL_CB_LOOP != 0 {
        // SAFETY: libssl calls with its valid `SSL`.
        let name = unsafe { ffi::SSL_state_string_long(ssl) };
        if name.is_null() {
            return;
        }
        // SAFETY: the names are literals, which live for ever.
        let name: &'static CStr = unsafe { CStr::from_ptr(name) };
        Observation::State {
            name: name.to_str().unwrap_or("?"),
        }
    } else {
        return;
    };
    // SAFETY: as above; it is not changed through the pointer.
    unsafe { tell(ssl.cast_mut(), what) };
}

/// Tells the observer of `ssl`, if it has one.
///
/// # Safety
///
/// `ssl` is a valid `SSL`.
unsafe fn tell(ssl: *mut ffi::SSL, what: Observation<'_>) {
    // SAFETY: the caller's promise.
    let bio = unsafe { ffi::SSL_get_rbio(ssl) };
    if bio.is_null() {
        return;
    }
    // SAFETY: observed connections read from a datagram BIO, and references to its state end before libssl is called.
    let peer = unsafe { with_state(bio, None, |state| Some(state.peer())) };
    // SAFETY: the caller's promise.
    let ssl = unsafe { SslRef::from_ptr(ssl) };
    let observer = index().ok().and_then(|index| ssl.ex_data(index));
    if let (Some(peer), Some(observer)) = (peer, observer) {
        let role = if ssl.is_server() {
            Role::Server
        } else {
            Role::Client
        };
        guard::run((), || observer.tell(peer, role, what));
    }
}
