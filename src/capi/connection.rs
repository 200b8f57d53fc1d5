//! Connections: datagrams in, datagrams out, for programs with their own sockets and loops.

use core::ffi::{c_char, c_int};
use core::ptr;
use std::time::{Duration, Instant};

use foreign_types::ForeignTypeRef as _;

use super::address::{self, sockaddr};
use super::context::odtls_context;
use super::error::{failed, object_text, odtls_result};
use super::handle::{Object, buffer, bytes, copy_out, free, give, object, required, string};
use super::info::{export, fact};
use super::options;
use super::panic::guarded;
use super::stats::odtls_stats;
use crate::connection::Connection;
use crate::error::RecvError;
use crate::handshake_info::HandshakeInfo;
use crate::server_name::ServerName;
use crate::sys::ffi::SSL;
use crate::types::{AddressProof, CloseReason, Event, Mtu};

/// One DTLS connection with one peer.
#[derive(Debug)]
pub struct odtls_connection(Object<Conn>);

#[derive(Debug)]
struct Conn {
    connection: Connection,
    /// A datagram that did not fit the caller's buffer.
    outgoing: Vec<u8>,
}

impl odtls_connection {
    pub(super) fn new(connection: Connection) -> odtls_connection {
        let outgoing = Vec::new();
        odtls_connection(Object::new(Conn {
            connection,
            outgoing,
        }))
    }
}

/// Something else proved the peer's address.
pub const ODTLS_PROVED_ELSEWHERE: c_int = 0;
/// Nothing did: at most three times the received bytes are sent until the handshake is complete.
pub const ODTLS_PROOF_DANGEROUS: c_int = 1;

/// The handshake is complete.
pub const ODTLS_EVENT_CONNECTED: c_int = 1;
/// A message can be received.
pub const ODTLS_EVENT_READABLE: c_int = 2;
/// The largest datagram changed; `value` is its bytes.
pub const ODTLS_EVENT_MTU_CHANGED: c_int = 3;
/// The connection is over in an orderly way; `value` is `ODTLS_CLOSED_...`.
pub const ODTLS_EVENT_CLOSED: c_int = 4;
/// The connection failed; `value` is an `odtls_result`. Endpoints only: a connection's own calls answer it.
pub const ODTLS_EVENT_FAILED: c_int = 5;

/// Closed here.
pub const ODTLS_CLOSED_LOCAL: c_int = 0;
/// The peer sent close_notify.
pub const ODTLS_CLOSED_BY_PEER: c_int = 1;
/// A new connection of the same peer took its place.
pub const ODTLS_CLOSED_REPLACED: c_int = 2;
/// Nothing came for the idle timeout.
pub const ODTLS_CLOSED_IDLE: c_int = 3;
/// A limit of the endpoint ended it.
pub const ODTLS_CLOSED_EVICTED: c_int = 4;

/// Something a connection has to tell.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct odtls_event {
    /// `ODTLS_EVENT_...`.
    pub kind: c_int,
    /// What `kind` says.
    pub value: c_int,
}

/// Opens a connection to `peer`; its first datagrams wait to be taken. `server_name` is a DNS name or an IP address, or null where none is checked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_client_new(
    context: *const odtls_context,
    peer: *const sockaddr,
    peer_len: socket2::socklen_t,
    server_name: *const c_char,
    connection: *mut *mut odtls_connection,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let context = unsafe { object(context) }?;
        // SAFETY: the header's contract for addresses.
        let peer = unsafe { address::read(peer, peer_len) }?;
        // SAFETY: the header's contract for strings.
        let server_name = unsafe { parse_name(server_name) }?;
        let out = required(connection)?;
        let made =
            Connection::client(&context.0, peer, server_name, Instant::now()).map_err(failed)?;
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { give(out, odtls_connection::new(made)) };
        Ok(())
    })
}

/// Waits for a ClientHello of `peer` without a cookie exchange; `proof` says why that is safe: `ODTLS_PROVED_ELSEWHERE` or `ODTLS_PROOF_DANGEROUS`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_server_new(
    context: *const odtls_context,
    peer: *const sockaddr,
    peer_len: socket2::socklen_t,
    proof: c_int,
    connection: *mut *mut odtls_connection,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let context = unsafe { object(context) }?;
        // SAFETY: the header's contract for addresses.
        let peer = unsafe { address::read(peer, peer_len) }?;
        let proof = match proof {
            ODTLS_PROVED_ELSEWHERE => AddressProof::ProvedElsewhere,
            ODTLS_PROOF_DANGEROUS => AddressProof::Dangerous,
            _ => return Err(odtls_result::ODTLS_INVALID_ARGUMENT),
        };
        let out = required(connection)?;
        let made = Connection::server(&context.0, peer, Instant::now(), proof).map_err(failed)?;
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { give(out, odtls_connection::new(made)) };
        Ok(())
    })
}

/// Takes one datagram from the peer. A failure ends the connection: take its last datagrams and free it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_handle_datagram(
    connection: *mut odtls_connection,
    datagram: *const u8,
    datagram_len: usize,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let object = &unsafe { object(connection) }?.0;
        // SAFETY: the header's contract for bytes.
        let datagram = unsafe { bytes(datagram, datagram_len) }?;
        let mut conn = object.lock()?;
        let outcome = conn.connection.handle_datagram(Instant::now(), datagram);
        outcome.map_err(|error| object.failed(error))
    })
}

/// Copies the next datagram to send; `ODTLS_NOTHING` if there is none. One that does not fit stays.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_take_datagram(
    connection: *mut odtls_connection,
    datagram: *mut u8,
    size: usize,
    length: *mut usize,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let mut conn = unsafe { object(connection) }?.0.lock()?;
        let Conn {
            connection,
            outgoing,
        } = &mut *conn;
        if outgoing.is_empty() {
            let transmit = connection
                .poll_transmit()
                .ok_or(odtls_result::ODTLS_NOTHING)?;
            // SAFETY: the header's contract for buffers.
            let copied = unsafe { copy_out(transmit.contents, datagram, size, length) };
            if copied.is_err() {
                outgoing.extend_from_slice(transmit.contents);
            }
            return copied;
        }
        // SAFETY: the header's contract for buffers.
        unsafe { copy_out(outgoing, datagram, size, length) }?;
        outgoing.clear();
        Ok(())
    })
}

/// Milliseconds until `odtls_connection_handle_timeout` is due, rounded up; `ODTLS_NOTHING` if it is not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_timeout(
    connection: *const odtls_connection,
    milliseconds: *mut u64,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let conn = unsafe { object(connection) }?.0.lock()?;
        let out = required(milliseconds)?;
        let at = conn
            .connection
            .poll_timeout()
            .ok_or(odtls_result::ODTLS_NOTHING)?;
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { out.write(milliseconds_until(at)) };
        Ok(())
    })
}

/// Tells the connection that time went by. Early calls do nothing; a failure ends it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_handle_timeout(
    connection: *mut odtls_connection,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let object = &unsafe { object(connection) }?.0;
        let mut conn = object.lock()?;
        let outcome = conn.connection.handle_timeout(Instant::now());
        outcome.map_err(|error| object.failed(error))
    })
}

/// The next event; `ODTLS_NOTHING` if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_poll_event(
    connection: *mut odtls_connection,
    event: *mut odtls_event,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let mut conn = unsafe { object(connection) }?.0.lock()?;
        let out = required(event)?;
        let event = conn
            .connection
            .poll_event()
            .ok_or(odtls_result::ODTLS_NOTHING)?;
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { out.write(odtls_event::from(event)) };
        Ok(())
    })
}

impl From<Event> for odtls_event {
    fn from(event: Event) -> odtls_event {
        let (kind, value) = match event {
            Event::Connected => (ODTLS_EVENT_CONNECTED, 0),
            Event::Readable => (ODTLS_EVENT_READABLE, 0),
            Event::MtuChanged(mtu) => (
                ODTLS_EVENT_MTU_CHANGED,
                c_int::try_from(mtu.bytes()).unwrap_or(c_int::MAX),
            ),
            Event::Closed(reason) => (ODTLS_EVENT_CLOSED, close_reason(reason)),
        };
        odtls_event { kind, value }
    }
}

fn close_reason(reason: CloseReason) -> c_int {
    match reason {
        CloseReason::Local => ODTLS_CLOSED_LOCAL,
        CloseReason::Peer => ODTLS_CLOSED_BY_PEER,
        CloseReason::Replaced => ODTLS_CLOSED_REPLACED,
        CloseReason::IdleTimeout => ODTLS_CLOSED_IDLE,
        CloseReason::Evicted => ODTLS_CLOSED_EVICTED,
    }
}

/// Sends `message` as one record in one datagram, which waits to be taken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_send(
    connection: *mut odtls_connection,
    message: *const u8,
    message_len: usize,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let object = &unsafe { object(connection) }?.0;
        // SAFETY: the header's contract for bytes.
        let message = unsafe { bytes(message, message_len) }?;
        let mut conn = object.lock()?;
        conn.connection
            .send(message)
            .map_err(|error| object.failed(error))
    })
}

/// Copies the next message; `ODTLS_NOTHING` if there is none. One that does not fit stays.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_recv(
    connection: *mut odtls_connection,
    message: *mut u8,
    size: usize,
    length: *mut usize,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let mut conn = unsafe { object(connection) }?.0.lock()?;
        // SAFETY: the header's contract for buffers.
        let room = unsafe { buffer(message, size) }?;
        let length = required(length)?;
        let received = conn.connection.recv(room);
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { write_received(received, length) }
    })
}

/// Tells C what receiving came to.
///
/// # Safety
///
/// `length` is valid for a write.
pub(super) unsafe fn write_received(
    received: Result<Option<usize>, RecvError>,
    length: *mut usize,
) -> Result<(), odtls_result> {
    let (result, value) = match received {
        Ok(None) => return Err(odtls_result::ODTLS_NOTHING),
        Ok(Some(value)) => (Ok(()), value),
        Err(RecvError::TooSmall { needed }) => (Err(odtls_result::ODTLS_BUFFER_TOO_SMALL), needed),
    };
    // SAFETY: the caller's contract.
    unsafe { length.write(value) };
    result
}

/// Changes the largest datagram from now on, in bytes of UDP payload: 256 to 4096.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_set_mtu(
    connection: *mut odtls_connection,
    mtu: u32,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let object = &unsafe { object(connection) }?.0;
        let set = object.lock()?.connection.set_mtu(parse_mtu(mtu)?);
        set.map_err(|error| object.failed(error))
    })
}

pub(super) fn parse_mtu(mtu: u32) -> Result<Mtu, odtls_result> {
    Mtu::new(usize::try_from(mtu).unwrap_or(usize::MAX)).map_err(failed)
}

/// Ends an established connection with a fatal alert instead of close_notify, which waits to be taken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_refuse(
    connection: *mut odtls_connection,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        unsafe { object(connection) }?.0.lock()?.connection.refuse();
        Ok(())
    })
}

/// Fills `out` with keying material of an established connection (RFC 5705). A null `context` is not the same as one of no bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_export(
    connection: *const odtls_connection,
    label: *const c_char,
    context: *const u8,
    context_len: usize,
    out: *mut u8,
    size: usize,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let object = &unsafe { object(connection) }?.0;
        let conn = object.lock()?;
        // SAFETY: the header's contract for strings, bytes and buffers.
        unsafe { export(&conn.connection, label, (context, context_len), (out, size)) }
    })
}

/// Ends the connection from this side: one close_notify waits to be taken if it was established.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_close(connection: *mut odtls_connection) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        unsafe { object(connection) }?.0.lock()?.connection.close();
        Ok(())
    })
}

/// Gives libssl's record buffers back until the connection is used again: for idle connections.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_release_buffers(
    connection: *mut odtls_connection,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        unsafe { object(connection) }?
            .0
            .lock()?
            .connection
            .release_buffers();
        Ok(())
    })
}

/// Whether the handshake is complete and the connection not closed here: 1 or 0, also 0 for a null or busy connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_is_established(
    connection: *const odtls_connection,
) -> c_int {
    // SAFETY: the header's contract for objects.
    unsafe { ask(connection, false, Connection::is_established) }.into()
}

/// Whether the connection is over on this side: 1 or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_is_closed(connection: *const odtls_connection) -> c_int {
    // SAFETY: the header's contract for objects.
    unsafe { ask(connection, false, Connection::is_closed) }.into()
}

/// Whether the peer sent close_notify: 1 or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_is_closed_by_peer(
    connection: *const odtls_connection,
) -> c_int {
    // SAFETY: the header's contract for objects.
    unsafe { ask(connection, false, Connection::is_closed_by_peer) }.into()
}

/// The largest message that fits into one datagram, in bytes; 0 before the handshake is complete.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_data_mtu(connection: *const odtls_connection) -> usize {
    // SAFETY: the header's contract for objects.
    unsafe {
        ask(connection, 0, |connection| {
            connection.data_mtu().unwrap_or(0)
        })
    }
}

/// The largest datagram that is sent now, in bytes of UDP payload; 0 for a null connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_mtu(connection: *const odtls_connection) -> usize {
    // SAFETY: the header's contract for objects.
    unsafe { ask(connection, 0, |connection| connection.mtu().bytes()) }
}

/// Whether an earlier session was resumed: 1 or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_is_resumed(connection: *const odtls_connection) -> c_int {
    let resumed = |connection: &Connection| {
        connection
            .handshake_info()
            .is_some_and(HandshakeInfo::is_resumed)
    };
    // SAFETY: the header's contract for objects.
    unsafe { ask(connection, false, resumed) }.into()
}

/// Whether `datagram` begins a new handshake of a peer that started anew, and is for the listener: 1 or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_starts_new_handshake(
    connection: *const odtls_connection,
    datagram: *const u8,
    datagram_len: usize,
) -> c_int {
    // SAFETY: the header's contract for bytes.
    let Ok(datagram) = (unsafe { bytes(datagram, datagram_len) }) else {
        return 0;
    };
    // SAFETY: the header's contract for objects.
    unsafe {
        ask(connection, false, |connection| {
            connection.starts_new_handshake(datagram)
        })
    }
    .into()
}

/// Writes what the connection counted. `stats->size` is set by the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_stats(
    connection: *const odtls_connection,
    stats: *mut odtls_stats,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let conn = unsafe { object(connection) }?.0.lock()?;
        let counted = odtls_stats::from(conn.connection.stats());
        // SAFETY: the header's contract for structs with a size.
        unsafe { options::write(&counted, stats) }
    })
}

/// Copies a fact of the completed handshake, without a zero byte at the end: `what` is `ODTLS_INFO_...`. `ODTLS_NOTHING` if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_info(
    connection: *const odtls_connection,
    what: c_int,
    value: *mut u8,
    size: usize,
    length: *mut usize,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let object = &unsafe { object(connection) }?.0;
        let conn = object.lock()?;
        let info = conn.connection.handshake_info();
        let fact = fact(info.ok_or(odtls_result::ODTLS_NOT_ESTABLISHED)?, what)?;
        // SAFETY: the header's contract for buffers.
        unsafe { copy_out(&fact, value, size, length) }
    })
}

/// The text of this connection's last failure, as `odtls_last_error`; 0 for a null connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_last_error(
    connection: *const odtls_connection,
    text: *mut c_char,
    size: usize,
) -> usize {
    // SAFETY: the header's contract for objects.
    let object = unsafe { object(connection) }.map(|connection| &connection.0);
    // SAFETY: the header's contract for text buffers.
    unsafe { object_text(object, text, size) }
}

/// The `SSL` of a connection, for reading until the next call on it; null once libssl no longer serves it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_ssl(connection: *const odtls_connection) -> *mut SSL {
    let raw =
        |connection: &Connection| connection.ssl().map_or(ptr::null_mut(), |ssl| ssl.as_ptr());
    // SAFETY: the header's contract for objects.
    unsafe { ask(connection, ptr::null_mut(), raw) }
}

/// Frees a connection, without a word to the peer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_connection_free(connection: *mut odtls_connection) {
    // SAFETY: the header's contract for `_free`.
    unsafe { free(connection) };
}

/// A DNS name or an IP address; `None` for a null pointer.
///
/// # Safety
///
/// As [`string`].
pub(super) unsafe fn parse_name(name: *const c_char) -> Result<Option<ServerName>, odtls_result> {
    // SAFETY: the caller's contract.
    let name = unsafe { string(name) }?;
    name.map(ServerName::try_from).transpose().map_err(failed)
}

/// Milliseconds from now until `at`, rounded up so that a sleeper does not wake too early.
pub(super) fn milliseconds_until(at: Instant) -> u64 {
    let left = at.saturating_duration_since(Instant::now());
    let rounded = left + Duration::from_nanos(999_999);
    u64::try_from(rounded.as_millis()).unwrap_or(u64::MAX)
}

/// Asks a connection something that cannot fail; `otherwise` for a null or busy one.
///
/// # Safety
///
/// As [`object`].
unsafe fn ask<R: Copy>(
    connection: *const odtls_connection,
    otherwise: R,
    question: impl FnOnce(&Connection) -> R,
) -> R {
    let mut answer = otherwise;
    let asked = guarded(|| {
        // SAFETY: the caller's contract.
        let conn = unsafe { object(connection) }?.0.lock()?;
        answer = question(&conn.connection);
        Ok(())
    });
    if asked == odtls_result::ODTLS_OK {
        answer
    } else {
        otherwise
    }
}
