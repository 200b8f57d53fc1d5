//! Counts heap allocations, Rust's and OpenSSL's. A process of its own, since both allocators are replaced for all of it.

#![expect(unsafe_code, reason = "replaces both allocators")]

use core::ffi::{c_char, c_int, c_void};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Once;
use std::time::{Instant, SystemTime};

use openssl_dtls::{
    ClockAnchor, Connection, Context, CookieRing, Incoming, Listener, Psk, PskLookup,
};

thread_local! {
    /// Allocations of this thread: Rust's, OpenSSL's.
    static COUNTS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

struct Counting;

// SAFETY: hands every call on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNTS.set((COUNTS.get().0 + 1, COUNTS.get().1));
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNTS.set((COUNTS.get().0 + 1, COUNTS.get().1));
        // SAFETY: the caller's contract is the same.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

unsafe extern "C" {
    fn CRYPTO_set_mem_functions(
        malloc: unsafe extern "C" fn(usize, *const c_char, c_int) -> *mut c_void,
        realloc: unsafe extern "C" fn(*mut c_void, usize, *const c_char, c_int) -> *mut c_void,
        free: unsafe extern "C" fn(*mut c_void, *const c_char, c_int),
    ) -> c_int;
}

unsafe extern "C" fn count_malloc(size: usize, _: *const c_char, _: c_int) -> *mut c_void {
    COUNTS.set((COUNTS.get().0, COUNTS.get().1 + 1));
    // SAFETY: any size is fine.
    unsafe { libc::malloc(size) }
}

unsafe extern "C" fn count_realloc(
    pointer: *mut c_void,
    size: usize,
    _: *const c_char,
    _: c_int,
) -> *mut c_void {
    COUNTS.set((COUNTS.get().0, COUNTS.get().1 + 1));
    // SAFETY: `pointer` came from `count_malloc` or is null.
    unsafe { libc::realloc(pointer, size) }
}

unsafe extern "C" fn count_free(pointer: *mut c_void, _: *const c_char, _: c_int) {
    // SAFETY: `pointer` came from `count_malloc` or is null.
    unsafe { libc::free(pointer) }
}

/// Replaces OpenSSL's allocator, which it takes only before its first allocation.
fn count_openssl() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the functions keep the contracts of malloc, realloc and free.
        let taken = unsafe { CRYPTO_set_mem_functions(count_malloc, count_realloc, count_free) };
        assert_eq!(taken, 1, "OpenSSL has allocated before");
    });
}

/// Allocations of `work`: Rust's, OpenSSL's.
fn allocations(work: impl FnOnce()) -> (u64, u64) {
    let before = COUNTS.get();
    work();
    let after = COUNTS.get();
    (after.0 - before.0, after.1 - before.1)
}

fn contexts() -> (Context, Context) {
    let psk = || Psk::new(b"sensor", b"0123456789abcdef").unwrap();
    let client = Context::client().psk(psk()).build().unwrap();
    let server = Context::server(PskLookup::single(psk())).build().unwrap();
    (client, server)
}

fn peer() -> SocketAddr {
    "192.0.2.1:40000".parse().unwrap()
}

fn listener(server: &Context, now: Instant) -> Listener {
    let ring = CookieRing::random(ClockAnchor::new(now, SystemTime::now())).unwrap();
    Listener::new(server, ring).unwrap()
}

#[test]
fn a_hello_without_a_good_cookie_allocates_nothing() {
    count_openssl();
    let (client, server) = contexts();
    let now = Instant::now();
    let mut listener = listener(&server, now);
    let mut connection = Connection::client(&client, peer(), None, now).unwrap();
    let hello = connection.poll_transmit().unwrap().contents.to_vec();
    let Ok(Incoming::Reply(reply)) = listener.handle_datagram(now, peer(), &hello) else {
        panic!("no answer");
    };
    let reply = reply.contents.to_vec();
    connection.handle_datagram(now, &reply).unwrap();
    let with_cookie = connection.poll_transmit().unwrap().contents.to_vec();
    let other: SocketAddr = "192.0.2.2:40000".parse().unwrap();

    let counted = allocations(|| {
        for _ in 0..1000 {
            assert!(matches!(
                listener.handle_datagram(now, other, &hello),
                Ok(Incoming::Reply(_))
            ));
            // The cookie of another address.
            assert!(matches!(
                listener.handle_datagram(now, other, &with_cookie),
                Ok(Incoming::Reply(_))
            ));
            assert!(matches!(
                listener.handle_datagram(now, other, &hello[..20]),
                Ok(Incoming::Dropped(_))
            ));
        }
    });
    assert_eq!(counted, (0, 0));
    // The count itself works.
    assert_eq!(allocations(|| drop(Box::new(1))).0, 1);
    assert!(allocations(|| drop(Connection::client(&client, peer(), None, now))).1 > 0);
}

#[test]
fn a_record_in_steady_state_allocates_nothing_of_ours() {
    count_openssl();
    let (client, server) = contexts();
    let now = Instant::now();
    let mut listener = listener(&server, now);
    let mut client = Connection::client(&client, peer(), None, now).unwrap();
    let mut server = loop {
        let datagram = client.poll_transmit().unwrap().contents.to_vec();
        match listener.handle_datagram(now, peer(), &datagram).unwrap() {
            Incoming::Reply(reply) => client.handle_datagram(now, reply.contents).unwrap(),
            Incoming::Connection(connection) => break connection,
            other => panic!("{other:?}"),
        }
    };
    let mut echo = |rounds| {
        let mut buffer = [0; 1500];
        for _ in 0..rounds {
            while let Some(transmit) = client.poll_transmit() {
                server.handle_datagram(now, transmit.contents).unwrap();
            }
            while let Ok(Some(length)) = server.recv(&mut buffer) {
                server.send(&buffer[..length]).unwrap();
            }
            while let Some(transmit) = server.poll_transmit() {
                client.handle_datagram(now, transmit.contents).unwrap();
            }
            while let Ok(Some(_)) = client.recv(&mut buffer) {}
            while client.poll_event().is_some() || server.poll_event().is_some() {}
            if client.is_established() {
                client.send(&[7; 1000]).unwrap();
            }
        }
    };
    echo(20);
    let (ours, openssl) = allocations(|| echo(1000));
    assert_eq!(ours, 0, "and {openssl} of OpenSSL's");
}
