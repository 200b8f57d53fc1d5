//! Endpoints: many connections behind one socket of the program's own.

use core::ffi::{c_char, c_int};
use core::ptr;
use std::time::{Duration, Instant};

use foreign_types::ForeignTypeRef as _;

use super::address::{self, sockaddr};
use super::connection::{
    ODTLS_EVENT_CLOSED, ODTLS_EVENT_CONNECTED, ODTLS_EVENT_FAILED, ODTLS_EVENT_MTU_CHANGED,
    ODTLS_EVENT_READABLE, close_reason, export, fact, milliseconds_until, odtls_event, odtls_stats,
    parse_mtu, parse_name, write_received,
};
use super::context::odtls_context;
use super::cookie::odtls_cookie_ring;
use super::error::{failed, object_text, odtls_result};
use super::handle::{Object, buffer, bytes, copy_out, free, give, object, required};
use super::options::{self, Options};
use super::panic::guarded;
use crate::connection::Connection;
use crate::endpoint::{
    ConnectionHandle, Endpoint, EndpointConfig, EndpointEvent, EndpointStats, Handled,
};
use crate::sys::ffi::SSL;
use crate::types::Path;

/// Many connections behind one socket.
#[derive(Debug)]
pub struct odtls_endpoint(Object<Ends>);

#[derive(Debug)]
struct Ends {
    endpoint: Endpoint,
    /// A datagram that did not fit the caller's buffer, and its way.
    outgoing: Option<(Path, Vec<u8>)>,
}

/// "Never", for a time in milliseconds.
pub const ODTLS_NEVER: u32 = u32::MAX;

/// Limits of an endpoint. 0 is the default of each.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct odtls_endpoint_options {
    /// `sizeof(odtls_endpoint_options)`.
    pub size: usize,
    /// Connections in all.
    pub max_connections: usize,
    /// Accepted handshakes under way.
    pub max_half_open: usize,
    /// The same from one network.
    pub max_half_open_per_prefix: usize,
    /// Bytes of datagrams that wait to be taken, of all connections.
    pub max_send_bytes: usize,
    /// Bytes of messages that wait to be received, of all connections.
    pub max_receive_bytes: usize,
    /// HelloVerifyRequests that wait to be taken.
    pub max_replies: usize,
    /// Leading bits of an IPv4 address that say which network it is of.
    pub ipv4_prefix: u32,
    /// The same of IPv6.
    pub ipv6_prefix: u32,
    /// Time for an accepted handshake, in milliseconds.
    pub handshake_timeout_ms: u32,
    /// After how long in silence an accepted connection is closed; `ODTLS_NEVER`.
    pub idle_timeout_ms: u32,
    /// The same for connections this endpoint opened.
    pub client_idle_timeout_ms: u32,
    /// After how long without use a connection's buffers are given back; `ODTLS_NEVER`.
    pub release_buffers_after_ms: u32,
    /// How long what an ended connection left stays.
    pub linger_ms: u32,
    /// Not 0: datagrams that are not DTLS are handed out.
    pub hand_out_foreign: u32,
}

// SAFETY: `repr(C)`, starts with a `usize`, numbers only.
unsafe impl Options for odtls_endpoint_options {
    const DEFAULT: Self = odtls_endpoint_options {
        size: 0,
        max_connections: 0,
        max_half_open: 0,
        max_half_open_per_prefix: 0,
        max_send_bytes: 0,
        max_receive_bytes: 0,
        max_replies: 0,
        ipv4_prefix: 0,
        ipv6_prefix: 0,
        handshake_timeout_ms: 0,
        idle_timeout_ms: 0,
        client_idle_timeout_ms: 0,
        release_buffers_after_ms: 0,
        linger_ms: 0,
        hand_out_foreign: 0,
    };
}

/// What an endpoint counted, and how it stands.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct odtls_endpoint_stats {
    /// `sizeof(odtls_endpoint_stats)`, set by the caller.
    pub size: usize,
    /// Datagrams given to it.
    pub datagrams_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Datagrams taken from it.
    pub datagrams_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Datagrams that are not DTLS.
    pub foreign_datagrams: u64,
    /// HelloVerifyRequests made.
    pub cookies_sent: u64,
    /// Hellos with a good cookie.
    pub cookies_accepted: u64,
    /// Hellos with a wrong one.
    pub cookies_rejected: u64,
    /// Accepted handshakes begun.
    pub handshakes_accepted: u64,
    /// Accepted handshakes completed.
    pub handshakes_completed: u64,
    /// Accepted handshakes that failed, timed out or made room.
    pub handshakes_failed: u64,
    /// Newcomers refused by a limit.
    pub refused: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Messages sent.
    pub messages_sent: u64,
    /// Flights sent again.
    pub retransmissions: u64,
    /// Records, datagrams and messages dropped, for any reason.
    pub drops: u64,
    /// Connections there are, ended ones included.
    pub connections: u64,
    /// Established ones.
    pub established: u64,
    /// Accepted handshakes under way.
    pub half_open: u64,
    /// Bytes that wait to be taken.
    pub queued_send_bytes: u64,
    /// Bytes that wait to be received.
    pub queued_receive_bytes: u64,
}

// SAFETY: `repr(C)`, starts with a `usize`, numbers only.
unsafe impl Options for odtls_endpoint_stats {
    const DEFAULT: Self = odtls_endpoint_stats {
        size: 0,
        datagrams_received: 0,
        bytes_received: 0,
        datagrams_sent: 0,
        bytes_sent: 0,
        foreign_datagrams: 0,
        cookies_sent: 0,
        cookies_accepted: 0,
        cookies_rejected: 0,
        handshakes_accepted: 0,
        handshakes_completed: 0,
        handshakes_failed: 0,
        refused: 0,
        messages_received: 0,
        messages_sent: 0,
        retransmissions: 0,
        drops: 0,
        connections: 0,
        established: 0,
        half_open: 0,
        queued_send_bytes: 0,
        queued_receive_bytes: 0,
    };
}

impl From<&EndpointStats> for odtls_endpoint_stats {
    fn from(stats: &EndpointStats) -> odtls_endpoint_stats {
        let accepted = &stats.accepted;
        odtls_endpoint_stats {
            size: size_of::<odtls_endpoint_stats>(),
            datagrams_received: stats.datagrams_received,
            bytes_received: stats.bytes_received,
            datagrams_sent: stats.datagrams_sent,
            bytes_sent: stats.bytes_sent,
            foreign_datagrams: stats.foreign_datagrams,
            cookies_sent: stats.cookies_sent,
            cookies_accepted: stats.cookies_accepted,
            cookies_rejected: stats.cookies_rejected,
            handshakes_accepted: accepted.begun,
            handshakes_completed: accepted.completed,
            handshakes_failed: accepted.failed + accepted.timed_out + accepted.evicted,
            refused: stats.refused.no_room + stats.refused.shutting_down,
            messages_received: stats.messages_received,
            messages_sent: stats.messages_sent,
            retransmissions: stats.retransmissions,
            drops: stats.drops.total(),
            connections: stats.connections as u64,
            established: stats.established as u64,
            half_open: stats.half_open as u64,
            queued_send_bytes: stats.queued_send_bytes as u64,
            queued_receive_bytes: stats.queued_receive_bytes as u64,
        }
    }
}

/// An endpoint for clients; with `odtls_endpoint_set_server` a server as well. `options` may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_new(
    options: *const odtls_endpoint_options,
    endpoint: *mut *mut odtls_endpoint,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for options.
        let options = unsafe { options::read(options) }?.complete()?;
        let out = required(endpoint)?;
        let endpoint = Endpoint::new(config(&options)?).map_err(failed)?;
        let outgoing = None;
        // SAFETY: not null, and the header's contract for outputs.
        unsafe {
            give(
                out,
                odtls_endpoint(Object::new(Ends { endpoint, outgoing })),
            )
        };
        Ok(())
    })
}

fn config(options: &odtls_endpoint_options) -> Result<EndpointConfig, odtls_result> {
    let bits = |value: u32, default| match value {
        0 => Ok(default),
        value => u8::try_from(value).map_err(|_| odtls_result::ODTLS_INVALID_ARGUMENT),
    };
    let mut config = EndpointConfig::new()
        .source_prefixes(
            bits(options.ipv4_prefix, 24)?,
            bits(options.ipv6_prefix, 56)?,
        )
        .hand_out_foreign(options.hand_out_foreign != 0);
    let count = |value, set: fn(EndpointConfig, usize) -> EndpointConfig, config| match value {
        0 => config,
        value => set(config, value),
    };
    config = count(
        options.max_connections,
        EndpointConfig::max_connections,
        config,
    );
    config = count(options.max_half_open, EndpointConfig::max_half_open, config);
    config = count(
        options.max_half_open_per_prefix,
        EndpointConfig::max_half_open_per_prefix,
        config,
    );
    config = count(
        options.max_send_bytes,
        EndpointConfig::max_send_bytes,
        config,
    );
    config = count(
        options.max_receive_bytes,
        EndpointConfig::max_receive_bytes,
        config,
    );
    config = count(options.max_replies, EndpointConfig::max_replies, config);
    let time = |value| match value {
        0 => None,
        ODTLS_NEVER => Some(None),
        value => Some(Some(Duration::from_millis(u64::from(value)))),
    };
    if let Some(idle) = time(options.idle_timeout_ms) {
        config = config.idle_timeout(idle);
    }
    if let Some(idle) = time(options.client_idle_timeout_ms) {
        config = config.client_idle_timeout(idle);
    }
    if let Some(quiet) = time(options.release_buffers_after_ms) {
        config = config.release_buffers_after(quiet);
    }
    if options.handshake_timeout_ms != 0 {
        config =
            config.handshake_timeout(Duration::from_millis(options.handshake_timeout_ms.into()));
    }
    if options.linger_ms != 0 {
        config = config.linger(Duration::from_millis(options.linger_ms.into()));
    }
    Ok(config)
}

/// Accepts peers from now on, on `context` and with cookies of `ring`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_set_server(
    endpoint: *mut odtls_endpoint,
    context: *const odtls_context,
    ring: *const odtls_cookie_ring,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let object = unsafe { self::object(endpoint) }.map(|endpoint| &endpoint.0)?;
        // SAFETY: the header's contract for objects.
        let context = unsafe { self::object(context) }?;
        // SAFETY: the header's contract for objects.
        let ring = unsafe { self::object(ring) }?;
        let set = object
            .lock()?
            .endpoint
            .set_server(&context.0, ring.0.clone());
        set.map_err(|error| object.failed(error))
    })
}

/// Accepts peers on another context from now on; connections that exist keep theirs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_set_context(
    endpoint: *mut odtls_endpoint,
    context: *const odtls_context,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let object = unsafe { self::object(endpoint) }.map(|endpoint| &endpoint.0)?;
        // SAFETY: the header's contract for objects.
        let context = unsafe { self::object(context) }?;
        let set = object.lock()?.endpoint.set_context(&context.0);
        set.map_err(|error| object.failed(error))
    })
}

/// Makes cookies with a new random secret from now on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_rotate_cookie_secret(
    endpoint: *mut odtls_endpoint,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let object = unsafe { self::object(endpoint) }.map(|endpoint| &endpoint.0)?;
        let rotated = object.lock()?.endpoint.rotate_cookie_secret(Instant::now());
        rotated.map_err(|error| object.failed(error))
    })
}

/// Opens a connection to `peer`, as `odtls_connection_client_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_connect(
    endpoint: *mut odtls_endpoint,
    context: *const odtls_context,
    peer: *const sockaddr,
    peer_len: socket2::socklen_t,
    server_name: *const c_char,
    handle: *mut u64,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let object = unsafe { self::object(endpoint) }.map(|endpoint| &endpoint.0)?;
        // SAFETY: the header's contract for objects.
        let context = unsafe { self::object(context) }?;
        // SAFETY: the header's contract for addresses.
        let peer = unsafe { address::read(peer, peer_len) }?;
        // SAFETY: the header's contract for strings.
        let server_name = unsafe { parse_name(server_name) }?;
        let out = required(handle)?;
        let mut ends = object.lock()?;
        let made = ends
            .endpoint
            .connect(Instant::now(), &context.0, peer, server_name);
        let made = made.map_err(|error| object.failed(error))?;
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { out.write(made.to_bits()) };
        Ok(())
    })
}

/// Takes one datagram of the socket, from `peer`, received at `local`, which may be null.
///
/// `foreign` is written 1 for a datagram that is not DTLS and the program's to deal with, else 0. A failure is one of this side's own, such as a random
/// generator that fails; the endpoint goes on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_handle_datagram(
    endpoint: *mut odtls_endpoint,
    peer: *const sockaddr,
    peer_len: socket2::socklen_t,
    local: *const sockaddr,
    local_len: socket2::socklen_t,
    datagram: *const u8,
    datagram_len: usize,
    foreign: *mut c_int,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let object = unsafe { self::object(endpoint) }.map(|endpoint| &endpoint.0)?;
        // SAFETY: the header's contract for addresses.
        let peer = unsafe { address::read(peer, peer_len) }?;
        let local = if local.is_null() {
            None
        } else {
            // SAFETY: the header's contract for addresses.
            Some(unsafe { address::read(local, local_len) }?.ip())
        };
        // SAFETY: the header's contract for bytes.
        let datagram = unsafe { bytes(datagram, datagram_len) }?;
        let out = required(foreign)?;
        let path = Path { peer, local };
        let mut ends = object.lock()?;
        let handled = ends
            .endpoint
            .handle_datagram(Instant::now(), path, datagram);
        let handled = handled.map_err(|error| object.failed(error))?;
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { out.write((handled == Handled::Foreign).into()) };
        Ok(())
    })
}

/// Copies the next datagram to send, and where to; `ODTLS_NOTHING` if there is none. One that does not fit stays, and is lost if the endpoint is drained
/// before it is taken.
///
/// `*peer_len` is the room on the way in. `local`, which may be null, is the address to send from: `*local_len` is written 0 if any will do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_take_datagram(
    endpoint: *mut odtls_endpoint,
    datagram: *mut u8,
    size: usize,
    length: *mut usize,
    peer: *mut sockaddr,
    peer_len: *mut socket2::socklen_t,
    local: *mut sockaddr,
    local_len: *mut socket2::socklen_t,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let mut ends = unsafe { object(endpoint) }?.0.lock()?;
        let Ends { endpoint, outgoing } = &mut *ends;
        // SAFETY: the header's contract for buffers and addresses.
        let copy = |path: Path, contents: &[u8]| unsafe {
            let way = Way {
                peer,
                peer_len,
                local,
                local_len,
            };
            copy_datagram(path, contents, (datagram, size, length), way)
        };
        if let Some((path, contents)) = outgoing {
            copy(*path, contents)?;
            *outgoing = None;
            return Ok(());
        }
        let transmit = endpoint
            .poll_transmit()
            .ok_or(odtls_result::ODTLS_NOTHING)?;
        let copied = copy(transmit.path, transmit.contents);
        if copied.is_err() {
            *outgoing = Some((transmit.path, transmit.contents.to_vec()));
        }
        copied
    })
}

/// Where C wants addresses.
struct Way {
    peer: *mut sockaddr,
    peer_len: *mut socket2::socklen_t,
    local: *mut sockaddr,
    local_len: *mut socket2::socklen_t,
}

/// Copies a datagram and its way. If one of the three does not fit the lengths that are needed are written, of all of them.
///
/// # Safety
///
/// The pointers are as the header says.
unsafe fn copy_datagram(
    path: Path,
    contents: &[u8],
    (datagram, size, length): (*mut u8, usize, *mut usize),
    way: Way,
) -> Result<(), odtls_result> {
    required(length)?;
    required(way.peer_len)?;
    let wants_local = !way.local.is_null() || !way.local_len.is_null();
    // SAFETY: the caller's contract.
    let peer = unsafe { address::write(path.peer, way.peer, way.peer_len) };
    let local = match path.local {
        // SAFETY: the caller's contract.
        Some(ip) if wants_local => unsafe {
            address::write((ip, 0).into(), way.local, way.local_len)
        },
        // SAFETY: not null, and the caller's contract.
        None if wants_local => required(way.local_len).map(|length| unsafe { length.write(0) }),
        _ => Ok(()),
    };
    // SAFETY: the caller's contract.
    let copied = unsafe { copy_out(contents, datagram, size, length) };
    peer.and(local).and(copied)
}

/// Milliseconds until `odtls_endpoint_handle_timeout` is due, rounded up; `ODTLS_NOTHING` if it is not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_timeout(
    endpoint: *const odtls_endpoint,
    milliseconds: *mut u64,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let ends = unsafe { object(endpoint) }?.0.lock()?;
        let out = required(milliseconds)?;
        let at = ends
            .endpoint
            .poll_timeout()
            .ok_or(odtls_result::ODTLS_NOTHING)?;
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { out.write(milliseconds_until(at)) };
        Ok(())
    })
}

/// Tells the endpoint that time went by. Early calls do nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_handle_timeout(
    endpoint: *mut odtls_endpoint,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        unsafe { object(endpoint) }?
            .0
            .lock()?
            .endpoint
            .handle_timeout(Instant::now());
        Ok(())
    })
}

/// The next event, and whose it is; `ODTLS_NOTHING` if there is none. The text of a failure is the endpoint's last error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_poll_event(
    endpoint: *mut odtls_endpoint,
    handle: *mut u64,
    event: *mut odtls_event,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let object = unsafe { self::object(endpoint) }.map(|endpoint| &endpoint.0)?;
        let (handle, out) = (required(handle)?, required(event)?);
        let mut ends = object.lock()?;
        let (whose, event) = ends
            .endpoint
            .poll_event()
            .ok_or(odtls_result::ODTLS_NOTHING)?;
        let (kind, value) = match event {
            EndpointEvent::Connected => (ODTLS_EVENT_CONNECTED, 0),
            EndpointEvent::Readable => (ODTLS_EVENT_READABLE, 0),
            EndpointEvent::MtuChanged(mtu) => (
                ODTLS_EVENT_MTU_CHANGED,
                c_int::try_from(mtu.bytes()).unwrap_or(c_int::MAX),
            ),
            EndpointEvent::Closed(reason) => (ODTLS_EVENT_CLOSED, close_reason(reason)),
            EndpointEvent::Failed(error) => (ODTLS_EVENT_FAILED, object.failed(error) as c_int),
        };
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { handle.write(whose.to_bits()) };
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { out.write(odtls_event { kind, value }) };
        Ok(())
    })
}

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
    guarded(|| {
        // SAFETY: the header's contract for objects.
        unsafe { object(endpoint) }?
            .0
            .lock()?
            .endpoint
            .refuse(ConnectionHandle::from_bits(handle));
        Ok(())
    })
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
    guarded(|| {
        // SAFETY: the header's contract for objects.
        unsafe { object(endpoint) }?
            .0
            .lock()?
            .endpoint
            .close(ConnectionHandle::from_bits(handle));
        Ok(())
    })
}

/// Drops what an ended connection left to be received.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_forget(
    endpoint: *mut odtls_endpoint,
    handle: u64,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        unsafe { object(endpoint) }?
            .0
            .lock()?
            .endpoint
            .forget(ConnectionHandle::from_bits(handle));
        Ok(())
    })
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

/// Refuses new peers, closes every connection, and lets what waits be taken for `drain_ms` at most.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_shutdown(
    endpoint: *mut odtls_endpoint,
    drain_ms: u32,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let mut ends = unsafe { object(endpoint) }?.0.lock()?;
        ends.endpoint
            .shutdown(Instant::now(), Duration::from_millis(drain_ms.into()));
        Ok(())
    })
}

/// Whether the endpoint was shut down and nothing waits to be taken: 1 or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_is_drained(endpoint: *const odtls_endpoint) -> c_int {
    let mut drained = false;
    let asked = guarded(|| {
        // SAFETY: the header's contract for objects.
        let ends = unsafe { object(endpoint) }?.0.lock()?;
        drained = ends.endpoint.is_drained();
        Ok(())
    });
    (asked == odtls_result::ODTLS_OK && drained).into()
}

/// Writes what the endpoint counted; its cost grows with the number of connections. `stats->size` is set by the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_get_stats(
    endpoint: *const odtls_endpoint,
    stats: *mut odtls_endpoint_stats,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let ends = unsafe { object(endpoint) }?.0.lock()?;
        let counted = odtls_endpoint_stats::from(&ends.endpoint.stats());
        // SAFETY: the header's contract for structs with a size.
        unsafe { options::write(&counted, stats) }
    })
}

/// The text of this endpoint's last failure, as `odtls_last_error`; 0 for a null endpoint.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_last_error(
    endpoint: *const odtls_endpoint,
    text: *mut c_char,
    size: usize,
) -> usize {
    // SAFETY: the header's contract for objects.
    let object = unsafe { object(endpoint) }.map(|endpoint| &endpoint.0);
    // SAFETY: the header's contract for text buffers.
    unsafe { object_text(object, text, size) }
}

/// Frees an endpoint with all its connections, without a word to their peers: shut it down first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_endpoint_free(endpoint: *mut odtls_endpoint) {
    // SAFETY: the header's contract for `_free`.
    unsafe { free(endpoint) };
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
