//! Counts heap allocations, Rust's and OpenSSL's. A process of its own, since both allocators are replaced for all of it.

#![expect(unsafe_code, reason = "replaces both allocators")]

use core::ffi::{c_char, c_int, c_void};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Once;
use std::time::{Duration, Instant, SystemTime};

use openssl_dtls::{
    ClockAnchor, Connection, ConnectionHandle, Context, CookieRing, Endpoint, EndpointConfig,
    EndpointEvent, Handled, Incoming, Listener, Psk, PskLookup,
};

thread_local! {
    /// Allocations of this thread: Rust's, OpenSSL's.
    static COUNTS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    /// Bytes that this thread allocated and did not free: Rust's, OpenSSL's.
    static LIVE: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// Counts bytes that came to or went from Rust's heap and OpenSSL's.
fn count_live(rust: isize, openssl: isize) {
    let (live_rust, live_openssl) = LIVE.get();
    LIVE.set((live_rust + rust, live_openssl + openssl));
}

/// Bytes behind `pointer`, which came from `malloc` or is null.
unsafe fn usable(pointer: *mut c_void) -> isize {
    // SAFETY: the caller's contract is the same.
    unsafe { libc::malloc_usable_size(pointer) as isize }
}

struct Counting;

// SAFETY: hands every call on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNTS.set((COUNTS.get().0 + 1, COUNTS.get().1));
        count_live(layout.size() as isize, 0);
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count_live(-(layout.size() as isize), 0);
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNTS.set((COUNTS.get().0 + 1, COUNTS.get().1));
        count_live(size as isize - layout.size() as isize, 0);
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
    let made = unsafe { libc::malloc(size) };
    // SAFETY: just made, or null.
    count_live(0, unsafe { usable(made) });
    made
}

unsafe extern "C" fn count_realloc(
    pointer: *mut c_void,
    size: usize,
    _: *const c_char,
    _: c_int,
) -> *mut c_void {
    COUNTS.set((COUNTS.get().0, COUNTS.get().1 + 1));
    // SAFETY: `pointer` came from `count_malloc` or is null.
    let before = unsafe { usable(pointer) };
    // SAFETY: `pointer` came from `count_malloc` or is null.
    let moved = unsafe { libc::realloc(pointer, size) };
    // SAFETY: just made, or null.
    count_live(0, unsafe { usable(moved) } - before);
    moved
}

unsafe extern "C" fn count_free(pointer: *mut c_void, _: *const c_char, _: c_int) {
    // SAFETY: `pointer` came from `count_malloc` or is null.
    count_live(0, -unsafe { usable(pointer) });
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

/// A client and the connection the listener made of its hello.
fn accepted(
    client: &Context,
    listener: &mut Listener,
    now: Instant,
) -> (Connection, Box<Connection>) {
    let mut client = Connection::client(client, peer(), None, now).unwrap();
    loop {
        let datagram = client.poll_transmit().unwrap().contents.to_vec();
        match listener.handle_datagram(now, peer(), &datagram).unwrap() {
            Incoming::Reply(reply) => client.handle_datagram(now, reply.contents).unwrap(),
            Incoming::Connection(connection) => return (client, connection),
            other => panic!("{other:?}"),
        }
    }
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
    let (mut client, mut server) = accepted(&client, &mut listener, now);
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

/// Bytes of heap that an established server connection holds while it is idle: ours, OpenSSL's.
fn idle_server(client: &Context, server: &Context) -> (isize, isize) {
    const CONNECTIONS: isize = 16;
    let now = Instant::now();
    let mut listener = listener(server, now);
    let mut kept = Vec::with_capacity(64);
    let mut connect = |kept: &mut Vec<Box<Connection>>| {
        let (mut client, mut server) = accepted(client, &mut listener, now);
        let mut buffer = [0; 64];
        let mut rounds = 0;
        while rounds < 3 {
            while let Some(transmit) = server.poll_transmit() {
                client.handle_datagram(now, transmit.contents).unwrap();
            }
            while let Some(transmit) = client.poll_transmit() {
                server.handle_datagram(now, transmit.contents).unwrap();
            }
            while client.poll_event().is_some() || server.poll_event().is_some() {}
            if client.is_established() && server.is_established() {
                rounds += 1;
                client.send(b"message").unwrap();
                server.send(b"message").unwrap();
                while let Ok(Some(_)) = server.recv(&mut buffer) {}
            }
        }
        server.release_buffers();
        kept.push(server);
    };
    // What libcrypto makes once is no connection's.
    for _ in 0..3 {
        connect(&mut kept);
    }
    let before = LIVE.get();
    for _ in 0..CONNECTIONS {
        connect(&mut kept);
    }
    let after = LIVE.get();
    (
        (after.0 - before.0) / CONNECTIONS,
        (after.1 - before.1) / CONNECTIONS,
    )
}

#[test]
fn hazard_c36_idle_server_connection_is_small() {
    count_openssl();
    let (client, server) = contexts();
    let (ours, openssl) = idle_server(&client, &server);
    // From 3.2 on each epoch has record layers of its own, and the first one's stay for retransmissions.
    let limit = if openssl_dtls::openssl::version::number() < 0x3020_0000 {
        37 * 1024
    } else {
        72 * 1024
    };
    println!("{ours} bytes of ours and {openssl} of OpenSSL's");
    assert!(ours > 0 && ours <= 1024, "{ours}");
    assert!(ours + openssl <= limit, "{ours} + {openssl}");
}

fn server_endpoint(server: &Context, now: Instant) -> Endpoint {
    let ring = CookieRing::random(ClockAnchor::new(now, SystemTime::now())).unwrap();
    Endpoint::server(EndpointConfig::new(), server, ring).unwrap()
}

fn nth_peer(number: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], number))
}

/// A client whose handshake with `endpoint` is done, and its handle there.
fn join(
    endpoint: &mut Endpoint,
    client: &Context,
    from: SocketAddr,
    now: Instant,
) -> (Connection, ConnectionHandle) {
    let mut client = Connection::client(client, peer(), None, now).unwrap();
    loop {
        while let Some(transmit) = client.poll_transmit() {
            let handled = endpoint.handle_datagram(now, from, transmit.contents);
            assert_eq!(handled.unwrap(), Handled::Consumed);
        }
        while let Some(transmit) = endpoint.poll_transmit() {
            assert_eq!(transmit.path.peer, from);
            client.handle_datagram(now, transmit.contents).unwrap();
        }
        while client.poll_event().is_some() {}
        if let Some((handle, event)) = endpoint.poll_event() {
            assert!(matches!(event, EndpointEvent::Connected), "{event:?}");
            assert!(client.is_established());
            return (client, handle);
        }
    }
}

#[test]
fn an_endpoint_rejects_hellos_without_allocating() {
    count_openssl();
    let (client, server) = contexts();
    let now = Instant::now();
    let mut endpoint = server_endpoint(&server, now);
    let mut connection = Connection::client(&client, peer(), None, now).unwrap();
    let hello = connection.poll_transmit().unwrap().contents.to_vec();
    let flood = |endpoint: &mut Endpoint, ports: std::ops::Range<u16>| {
        for port in ports {
            let handled = endpoint.handle_datagram(now, nth_peer(port), &hello);
            assert_eq!(handled.unwrap(), Handled::Consumed);
            let junk = endpoint.handle_datagram(now, nth_peer(port), &hello[..20]);
            assert_eq!(junk.unwrap(), Handled::Consumed);
            if port % 50 == 0 {
                while endpoint.poll_transmit().is_some() {}
            }
        }
    };
    // Grows what is used again from then on, to its limit: as many replies as may wait.
    flood(&mut endpoint, 1..50);
    for port in 1..2000 {
        let _ = endpoint
            .handle_datagram(now, nth_peer(port), &hello)
            .unwrap();
    }
    while endpoint.poll_transmit().is_some() {}
    assert_eq!(allocations(|| flood(&mut endpoint, 1000..4000)), (0, 0));
}

#[test]
fn an_endpoint_in_steady_state_allocates_nothing_of_ours() {
    count_openssl();
    let (client, server) = contexts();
    let now = Instant::now();
    let mut endpoint = server_endpoint(&server, now);
    let mut peers: Vec<_> = (1..=8)
        .map(|number| {
            let from = nth_peer(number);
            (from, join(&mut endpoint, &client, from, now).0)
        })
        .collect();
    let mut now = now;
    let mut echo = |rounds| {
        let mut buffer = [0; 1500];
        for _ in 0..rounds {
            now += Duration::from_millis(7);
            for (from, client) in &mut peers {
                client.send(&[7; 1000]).unwrap();
                while let Some(transmit) = client.poll_transmit() {
                    let handled = endpoint.handle_datagram(now, *from, transmit.contents);
                    assert_eq!(handled.unwrap(), Handled::Consumed);
                }
            }
            while let Some((handle, _)) = endpoint.poll_event() {
                while let Ok(Some(length)) = endpoint.recv(handle, &mut buffer) {
                    endpoint.send(handle, &buffer[..length]).unwrap();
                }
            }
            while let Some(transmit) = endpoint.poll_transmit_batch(4) {
                let to = transmit.path.peer;
                let (_, client) = peers.iter_mut().find(|(from, _)| *from == to).unwrap();
                client.handle_datagram(now, transmit.contents).unwrap();
            }
            for (_, client) in &mut peers {
                assert_eq!(client.recv(&mut buffer).unwrap(), Some(1000));
                while client.poll_event().is_some() {}
            }
            if endpoint.poll_timeout().is_some_and(|at| at <= now) {
                endpoint.handle_timeout(now);
            }
        }
    };
    echo(20);
    let (ours, openssl) = allocations(|| echo(1000));
    assert_eq!(ours, 0, "and {openssl} of OpenSSL's");
}

#[test]
fn idle_connections_of_an_endpoint_give_their_buffers_back() {
    const CONNECTIONS: isize = 64;
    count_openssl();
    let (client, server) = contexts();
    let mut now = Instant::now();
    let mut endpoint = server_endpoint(&server, now);
    let mut handles = Vec::with_capacity(100);
    let mut ports = 1..;
    let mut open = |endpoint: &mut Endpoint, count: isize, now: Instant| {
        for port in ports.by_ref().take(usize::try_from(count).unwrap()) {
            let (mut client, handle) = join(endpoint, &client, nth_peer(port), now);
            client.send(b"message").unwrap();
            while let Some(transmit) = client.poll_transmit() {
                let handled = endpoint.handle_datagram(now, nth_peer(port), transmit.contents);
                assert_eq!(handled.unwrap(), Handled::Consumed);
            }
            assert!(endpoint.poll_event().is_some());
            assert!(endpoint.recv(handle, &mut [0; 16]).unwrap().is_some());
            endpoint.send(handle, b"answer").unwrap();
            while endpoint.poll_transmit().is_some() {}
            handles.push(handle);
        }
    };
    open(&mut endpoint, 3, now);
    now += Duration::from_secs(6);
    endpoint.handle_timeout(now);
    let before = LIVE.get();
    open(&mut endpoint, CONNECTIONS, now);
    let busy = LIVE.get();
    now += Duration::from_secs(6);
    endpoint.handle_timeout(now);
    let idle = LIVE.get();
    let each = |after: (isize, isize)| {
        (
            (after.0 - before.0) / CONNECTIONS,
            (after.1 - before.1) / CONNECTIONS,
        )
    };
    println!(
        "busy {:?}, idle {:?}: ours, OpenSSL's",
        each(busy),
        each(idle)
    );
    let limit = if openssl_dtls::openssl::version::number() < 0x3020_0000 {
        37 * 1024
    } else {
        72 * 1024
    };
    let (ours, openssl) = each(idle);
    assert!(ours > 0 && ours <= 1536, "{ours}");
    assert!(ours + openssl <= limit, "{ours} + {openssl}");
    assert!(each(busy).1 > openssl + 20 * 1024);
    // And they are there again when they are needed.
    for handle in handles {
        endpoint.send(handle, b"still here").unwrap();
    }
    assert_eq!(endpoint.stats().messages_sent, 2 * (CONNECTIONS as u64 + 3));
}
