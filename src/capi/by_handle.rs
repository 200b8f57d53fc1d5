//! One connection of an endpoint, named by its handle.

use core::ffi::{c_char, c_int};
use core::ptr;

use foreign_types::ForeignTypeRef as _;

use super::address::{self, sockaddr};
use super::connection::{parse_mtu, write_received};
use super::endpoint::odtls_endpoint;
use super::error::odtls_result;
use super::handle::{buffer, bytes, copy_out, object, required};
use super::info::{export, fact};
use super::options;
use super::panic::guarded;
use super::stats::odtls_stats;
use crate::connection::Connection;
use crate::endpoint::{ConnectionHandle, Endpoint};
use crate::sys::ffi::SSL;

/// Sends `message` to the peer of a connection as one record in one datagram.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_send(
    endpoint: *mut odtls_endpoint,
    handle: u64,
    message: *const u8,
    message_len: usize,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let object = unsafe { self::object(endpoint) }.map(|endpoint| &endpoint.0)?;
        // SAFETY: the header's contract for bytes.
        let message = unsafe { bytes(message, message_len) }?;
        let sent = object
            .lock()?
            .endpoint
            .send(ConnectionHandle::from_bits(handle), message);
        sent.map_err(|error| object.failed(error))
    })
}

/// Copies the next message of a connection; `ODTLS_NOTHING` if there is none. One that does not fit stays.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_recv(
    endpoint: *mut odtls_endpoint,
    handle: u64,
    message: *mut u8,
    size: usize,
    length: *mut usize,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let mut ends = unsafe { object(endpoint) }?.0.lock()?;
        // SAFETY: the header's contract for buffers.
        let room = unsafe { buffer(message, size) }?;
        let length = required(length)?;
        let received = ends
            .endpoint
            .recv(ConnectionHandle::from_bits(handle), room);
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { write_received(received, length) }
    })
}

/// Changes the largest datagram of a connection from now on, as `odtls_connection_set_mtu`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_set_mtu(
    endpoint: *mut odtls_endpoint,
    handle: u64,
    mtu: u32,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let object = unsafe { self::object(endpoint) }.map(|endpoint| &endpoint.0)?;
        let mtu = parse_mtu(mtu)?;
        let set = object
            .lock()?
            .endpoint
            .set_mtu(ConnectionHandle::from_bits(handle), mtu);
        set.map_err(|error| object.failed(error))
    })
}

/// Ends an established connection with a fatal alert instead of close_notify.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_refuse(
    endpoint: *mut odtls_endpoint,
    handle: u64,
) -> odtls_result {
    // SAFETY: the header's contract for objects.
    unsafe { tell(endpoint, handle, Endpoint::refuse) }
}

/// Fills `out` with keying material of a connection, as `odtls_connection_export`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_export(
    endpoint: *const odtls_endpoint,
    handle: u64,
    label: *const c_char,
    context: *const u8,
    context_len: usize,
    out: *mut u8,
    size: usize,
) -> odtls_result {
    // SAFETY: the header's contract for strings, bytes and buffers.
    let fill = |connection: &Connection| unsafe {
        export(connection, label, (context, context_len), (out, size))
    };
    // SAFETY: the header's contract for objects.
    unsafe { look_at(endpoint, handle, fill) }
}

/// Closes a connection: one close_notify waits to be taken if it was established.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_close(
    endpoint: *mut odtls_endpoint,
    handle: u64,
) -> odtls_result {
    // SAFETY: the header's contract for objects.
    unsafe { tell(endpoint, handle, Endpoint::close) }
}

/// Drops what an ended connection left to be received.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_forget(
    endpoint: *mut odtls_endpoint,
    handle: u64,
) -> odtls_result {
    // SAFETY: the header's contract for objects.
    unsafe { tell(endpoint, handle, Endpoint::forget) }
}

/// The connection that lives at an address; `ODTLS_NOTHING` if none does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_handle_of(
    endpoint: *const odtls_endpoint,
    peer: *const sockaddr,
    peer_len: socket2::socklen_t,
    handle: *mut u64,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let ends = unsafe { object(endpoint) }?.0.lock()?;
        // SAFETY: the header's contract for addresses.
        let peer = unsafe { address::read(peer, peer_len) }?;
        let out = required(handle)?;
        let found = ends
            .endpoint
            .handle_of(peer)
            .ok_or(odtls_result::ODTLS_NOTHING)?;
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { out.write(found.to_bits()) };
        Ok(())
    })
}

/// The peer's address of a connection; `*peer_len` is the room on the way in.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_peer_of(
    endpoint: *const odtls_endpoint,
    handle: u64,
    peer: *mut sockaddr,
    peer_len: *mut socket2::socklen_t,
) -> odtls_result {
    // SAFETY: the header's contract for addresses.
    let write =
        |connection: &Connection| unsafe { address::write(connection.path().peer, peer, peer_len) };
    // SAFETY: the header's contract for objects.
    unsafe { look_at(endpoint, handle, write) }
}

/// Copies a fact of a connection's completed handshake, as `odtls_connection_info`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_info(
    endpoint: *const odtls_endpoint,
    handle: u64,
    what: c_int,
    value: *mut u8,
    size: usize,
    length: *mut usize,
) -> odtls_result {
    let copy = |connection: &Connection| {
        let info = connection.handshake_info();
        let fact = fact(info.ok_or(odtls_result::ODTLS_NOT_ESTABLISHED)?, what)?;
        // SAFETY: the header's contract for buffers.
        unsafe { copy_out(&fact, value, size, length) }
    };
    // SAFETY: the header's contract for objects.
    unsafe { look_at(endpoint, handle, copy) }
}

/// Writes what a connection counted. `stats->size` is set by the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_connection_stats(
    endpoint: *const odtls_endpoint,
    handle: u64,
    stats: *mut odtls_stats,
) -> odtls_result {
    let write = |connection: &Connection| {
        let counted = odtls_stats::from(connection.stats());
        // SAFETY: the header's contract for structs with a size.
        unsafe { options::write(&counted, stats) }
    };
    // SAFETY: the header's contract for objects.
    unsafe { look_at(endpoint, handle, write) }
}

/// The largest message that fits into one datagram of a connection, in bytes; 0 before its handshake is complete, and for a stale handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_data_mtu(
    endpoint: *const odtls_endpoint,
    handle: u64,
) -> usize {
    let mut data_mtu = 0;
    let ask = |connection: &Connection| {
        data_mtu = connection.data_mtu().unwrap_or(0);
        Ok(())
    };
    // SAFETY: the header's contract for objects.
    match unsafe { look_at(endpoint, handle, ask) } {
        odtls_result::ODTLS_OK => data_mtu,
        _ => 0,
    }
}

/// The `SSL` of a connection, for reading until the next call on the endpoint; null where there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_ssl(
    endpoint: *const odtls_endpoint,
    handle: u64,
) -> *mut SSL {
    let mut ssl = ptr::null_mut();
    let ask = |connection: &Connection| {
        ssl = connection.ssl().map_or(ptr::null_mut(), |ssl| ssl.as_ptr());
        Ok(())
    };
    // SAFETY: the header's contract for objects.
    match unsafe { look_at(endpoint, handle, ask) } {
        odtls_result::ODTLS_OK => ssl,
        _ => ptr::null_mut(),
    }
}

/// Moves an established connection to another address of its peer, which the program learned by means that nobody can forge. `ODTLS_INVALID_ARGUMENT` where
/// another connection lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_rebind(
    endpoint: *mut odtls_endpoint,
    handle: u64,
    peer: *const sockaddr,
    peer_len: socket2::socklen_t,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let object = unsafe { self::object(endpoint) }.map(|endpoint| &endpoint.0)?;
        // SAFETY: the header's contract for addresses.
        let peer = unsafe { address::read(peer, peer_len) }?;
        let moved = object
            .lock()?
            .endpoint
            .rebind(ConnectionHandle::from_bits(handle), peer);
        moved.map_err(|error| object.failed(error))
    })
}

/// Asks a connection something; `ODTLS_STALE_HANDLE` if there is none.
///
/// # Safety
///
/// As [`object`].
unsafe fn look_at(
    endpoint: *const odtls_endpoint,
    handle: u64,
    question: impl FnOnce(&Connection) -> Result<(), odtls_result>,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the caller's contract.
        let ends = unsafe { object(endpoint) }?.0.lock()?;
        let connection = ends
            .endpoint
            .connection(ConnectionHandle::from_bits(handle));
        question(connection.ok_or(odtls_result::ODTLS_STALE_HANDLE)?)
    })
}

/// Tells a connection something that cannot fail, and that a stale handle makes nothing of.
///
/// # Safety
///
/// As [`object`].
unsafe fn tell(
    endpoint: *mut odtls_endpoint,
    handle: u64,
    verb: fn(&mut Endpoint, ConnectionHandle),
) -> odtls_result {
    guarded(|| {
        // SAFETY: the caller's contract.
        let mut ends = unsafe { object(endpoint) }?.0.lock()?;
        verb(&mut ends.endpoint, ConnectionHandle::from_bits(handle));
        Ok(())
    })
}
