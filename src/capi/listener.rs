//! Listeners: the stateless front door, for programs that keep their own table of peers.

use core::ffi::c_int;
use std::time::Instant;

use super::address::{self, sockaddr};
use super::connection::odtls_connection;
use super::context::odtls_context;
use super::cookie::odtls_cookie_ring;
use super::error::{failed, object_text, odtls_result};
use super::handle::{Object, bytes, copy_out, free, give, object, required};
use super::panic::guarded;
use crate::listener::{Incoming, Listener};

/// The stateless front door of a server.
#[derive(Debug)]
pub struct odtls_listener(Object<Front>);

#[derive(Debug)]
struct Front {
    listener: Listener,
    /// The last HelloVerifyRequest, until it is taken.
    reply: Vec<u8>,
}

/// The datagram was dropped.
pub const ODTLS_INCOMING_DROPPED: c_int = 0;
/// A HelloVerifyRequest waits in `odtls_listener_take_reply`.
pub const ODTLS_INCOMING_REPLY: c_int = 1;
/// The peer proved its address; the connection is the caller's.
pub const ODTLS_INCOMING_CONNECTION: c_int = 2;
/// The peer proved its address and its handshake failed at once; the connection is the caller's, and an alert may wait in it.
pub const ODTLS_INCOMING_REFUSED: c_int = 3;

/// A listener that makes connections on `context` and cookies with `ring`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_listener_new(
    context: *const odtls_context,
    ring: *const odtls_cookie_ring,
    listener: *mut *mut odtls_listener,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let context = unsafe { object(context) }?;
        // SAFETY: the header's contract for objects.
        let ring = unsafe { object(ring) }?;
        let out = required(listener)?;
        let listener = Listener::new(&context.0, ring.0.clone()).map_err(failed)?;
        let reply = Vec::new();
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { give(out, odtls_listener(Object::new(Front { listener, reply }))) };
        Ok(())
    })
}

/// Takes one datagram of a peer without a connection, and answers what it came to: `ODTLS_INCOMING_...`.
///
/// `connection` is written for `ODTLS_INCOMING_CONNECTION` and `ODTLS_INCOMING_REFUSED` only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_listener_handle_datagram(
    listener: *mut odtls_listener,
    peer: *const sockaddr,
    peer_len: socket2::socklen_t,
    datagram: *const u8,
    datagram_len: usize,
    incoming: *mut c_int,
    connection: *mut *mut odtls_connection,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let object = &unsafe { object(listener) }?.0;
        // SAFETY: the header's contract for addresses.
        let peer = unsafe { address::read(peer, peer_len) }?;
        // SAFETY: the header's contract for bytes.
        let datagram = unsafe { bytes(datagram, datagram_len) }?;
        let (incoming, connection) = (required(incoming)?, required(connection)?);
        let mut front = object.lock()?;
        let Front { listener, reply } = &mut *front;
        reply.clear();
        let outcome = listener.handle_datagram(Instant::now(), peer, datagram);
        let (kind, made) = match outcome.map_err(|error| object.failed(error))? {
            Incoming::Reply(transmit) => {
                reply.extend_from_slice(transmit.contents);
                (ODTLS_INCOMING_REPLY, None)
            }
            Incoming::Connection(connection) => (ODTLS_INCOMING_CONNECTION, Some(connection)),
            Incoming::Refused { connection, error } => {
                // What it failed with is told by the text; the call itself worked.
                object.remember(&error);
                (ODTLS_INCOMING_REFUSED, Some(connection))
            }
            Incoming::Dropped(_) => (ODTLS_INCOMING_DROPPED, None),
        };
        if let Some(made) = made {
            // SAFETY: not null, and the header's contract for outputs.
            unsafe { give(connection, odtls_connection::new(*made)) };
        }
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { incoming.write(kind) };
        Ok(())
    })
}

/// Copies the HelloVerifyRequest of the last call, to be sent to its peer; `ODTLS_NOTHING` if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_listener_take_reply(
    listener: *mut odtls_listener,
    datagram: *mut u8,
    size: usize,
    length: *mut usize,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let mut front = unsafe { object(listener) }?.0.lock()?;
        if front.reply.is_empty() {
            return Err(odtls_result::ODTLS_NOTHING);
        }
        // SAFETY: the header's contract for buffers.
        unsafe { copy_out(&front.reply, datagram, size, length) }?;
        front.reply.clear();
        Ok(())
    })
}

/// The text of this listener's last failure, as `odtls_last_error`; 0 for a null listener.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_listener_last_error(
    listener: *const odtls_listener,
    text: *mut core::ffi::c_char,
    size: usize,
) -> usize {
    // SAFETY: the header's contract for objects.
    let object = unsafe { object(listener) }.map(|listener| &listener.0);
    // SAFETY: the header's contract for text buffers.
    unsafe { object_text(object, text, size) }
}

/// Frees a listener; its connections live on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_listener_free(listener: *mut odtls_listener) {
    // SAFETY: the header's contract for `_free`.
    unsafe { free(listener) };
}
