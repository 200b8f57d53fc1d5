//! Endpoints: many connections behind one socket of the program's own.

use core::ffi::{c_char, c_int};
use std::time::{Duration, Instant};

use super::address::{self, sockaddr};
use super::connection::{ODTLS_EVENT_FAILED, milliseconds_until, odtls_event, parse_name};
use super::context::odtls_context;
use super::cookie::odtls_cookie_ring;
use super::error::{failed, object_text, odtls_result};
use super::handle::{Object, bytes, copy_out, free, give, object, required};
use super::limits::{config, odtls_endpoint_options};
use super::options;
use super::panic::guarded;
use super::stats::odtls_endpoint_stats;
use crate::endpoint::{Endpoint, EndpointEvent, Handled};
use crate::types::{Event, Path};

/// Many connections behind one socket.
#[derive(Debug)]
pub struct odtls_endpoint(pub(super) Object<Ends>);

#[derive(Debug)]
pub(super) struct Ends {
    pub(super) endpoint: Endpoint,
    /// A datagram that did not fit the caller's buffer, and its way.
    outgoing: Option<(Path, Vec<u8>)>,
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
        let event = match event {
            EndpointEvent::Connected => Event::Connected.into(),
            EndpointEvent::Readable => Event::Readable.into(),
            EndpointEvent::MtuChanged(mtu) => Event::MtuChanged(mtu).into(),
            EndpointEvent::Closed(reason) => Event::Closed(reason).into(),
            EndpointEvent::Failed(error) => odtls_event {
                kind: ODTLS_EVENT_FAILED,
                value: object.failed(error) as c_int,
            },
        };
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { handle.write(whose.to_bits()) };
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { out.write(event) };
        Ok(())
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
