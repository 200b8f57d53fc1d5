//! A system that has no room for a datagram, refuses it, or cannot read. A process of its own: its `sendmsg` and `recvmmsg` take the
//! place of the C library's.
#![cfg(all(feature = "udp", target_os = "linux"))]
#![expect(
    unsafe_code,
    reason = "takes the place of two functions of the C library"
)]

use core::ffi::{c_int, c_long};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use openssl_dtls::udp::blocking::{Client, Peer, Server, ServerConfig, ServerStats};
use openssl_dtls::{Context, Psk, PskLookup, TransportConfig};

/// What `sendmsg` fails with, and how many calls of each [`PERIOD`]. The server's socket alone uses it.
static ERROR: AtomicI32 = AtomicI32::new(0);
static FAILING: AtomicU64 = AtomicU64::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);
const PERIOD: u64 = 10;

#[unsafe(no_mangle)]
unsafe extern "C" fn sendmsg(socket: c_int, message: *const libc::msghdr, flags: c_int) -> isize {
    let call = CALLS.fetch_add(1, Ordering::SeqCst);
    if call % PERIOD < FAILING.load(Ordering::SeqCst) {
        // SAFETY: the C library's variable of this thread.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: as above.
        unsafe { errno.write(ERROR.load(Ordering::SeqCst)) };
        return -1;
    }
    // SAFETY: what the caller gave, passed on to the kernel as it is; the C library's wrapper does no more.
    let sent: c_long = unsafe { libc::syscall(libc::SYS_sendmsg, socket, message, flags) };
    sent as isize
}

/// How often `recvmmsg` fails from now on, and what with.
static DEAF: AtomicU64 = AtomicU64::new(0);
static DEAF_ERROR: AtomicI32 = AtomicI32::new(0);

#[unsafe(no_mangle)]
unsafe extern "C" fn recvmmsg(
    socket: c_int,
    messages: *mut libc::mmsghdr,
    count: libc::c_uint,
    flags: c_int,
    timeout: *mut libc::timespec,
) -> c_int {
    let left = DEAF.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
        left.checked_sub(1)
    });
    if left.is_ok() {
        // SAFETY: the C library's variable of this thread.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: as above.
        unsafe { errno.write(DEAF_ERROR.load(Ordering::SeqCst)) };
        return -1;
    }
    // SAFETY: what the caller gave, passed on to the kernel as it is; the C library's wrapper does no more.
    let received: c_long =
        unsafe { libc::syscall(libc::SYS_recvmmsg, socket, messages, count, flags, timeout) };
    received as c_int
}

fn fail(failing: u64, error: c_int) {
    CALLS.store(0, Ordering::SeqCst);
    ERROR.store(error, Ordering::SeqCst);
    FAILING.store(failing, Ordering::SeqCst);
}

/// One test at a time: they share `sendmsg`.
struct Fixture {
    server: Server,
    client: Client,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    _alone: MutexGuard<'static, ()>,
}

const DEADLINE: Duration = Duration::from_secs(60);
const BURST: u32 = 60;

impl Fixture {
    /// A client that completed its handshake while nothing failed.
    fn new() -> Fixture {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        fail(0, 0);
        let psk = || Psk::new(b"sensor-7", b"sixteen byte key").unwrap();
        let context = Context::server(PskLookup::single(psk())).build().unwrap();
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let server = Server::bind(address, &context, ServerConfig::new()).unwrap();
        let running = server.clone();
        let thread = thread::spawn(move || running.run(&mut answer));
        let transport = TransportConfig::new()
            .retransmission(Duration::from_millis(50), Duration::from_millis(200));
        let context = Context::client().psk(psk()).transport(transport).build();
        let client =
            Client::connect(&context.unwrap(), server.local_addr().unwrap(), None).unwrap();
        client.set_read_timeout(Some(DEADLINE));
        Fixture {
            server,
            client,
            thread: Some(thread),
            _alone: alone,
        }
    }

    fn recv(&self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let length = self.client.recv(&mut buffer).unwrap().unwrap();
        buffer[..length].to_vec()
    }

    /// Asks for many messages, of two sizes in turns so that they go in batches, and gets all in order.
    fn assert_burst(&self) -> ServerStats {
        self.client.send(b"burst").unwrap();
        for number in 0..BURST {
            assert_eq!(self.recv()[..4], number.to_be_bytes());
        }
        self.server.stats()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        fail(0, 0);
        self.server.stop();
        let outcome = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(outcome, Some(Ok(Ok(())))));
    }
}

fn answer(peer: &mut Peer<'_>, message: &[u8]) {
    if message != b"burst" {
        peer.send(message).unwrap();
        return;
    }
    for number in 0..BURST {
        let mut message = vec![0; if number / 20 % 2 == 0 { 1000 } else { 300 }];
        message[..4].copy_from_slice(&number.to_be_bytes());
        peer.send(&message).unwrap();
    }
}

#[test]
fn full_socket_is_waited_for_and_nothing_is_lost() {
    let fixture = Fixture::new();
    for failing in [1, 5, 9] {
        fail(failing, libc::EAGAIN);
        let stats = fixture.assert_burst();
        assert!(stats.udp.blocked > 0);
        assert_eq!(stats.udp.send_errors, 0);
    }
}

#[test]
fn missing_buffers_are_waited_for_and_nothing_is_lost() {
    let fixture = Fixture::new();
    for error in [libc::ENOBUFS, libc::ENOMEM] {
        fail(9, error);
        let stats = fixture.assert_burst();
        assert!(stats.udp.blocked > 0);
        assert_eq!(stats.udp.send_errors, 0);
    }
}

/// A driver that cannot split a train says so with one of these.
#[test]
fn trains_that_are_refused_go_one_by_one() {
    for error in [libc::EIO, libc::EMSGSIZE] {
        let fixture = Fixture::new();
        // The first call of the burst is one with many datagrams.
        fail(1, error);
        fixture.client.send(b"burst").unwrap();
        let mut numbers = Vec::new();
        // Later failures hit single datagrams, which are then lost and counted: all that are not lost come.
        fixture
            .client
            .set_read_timeout(Some(Duration::from_millis(500)));
        let mut buffer = [0; 2048];
        while let Ok(Some(_)) = fixture.client.recv(&mut buffer) {
            numbers.push(u32::from_be_bytes(*buffer.first_chunk().unwrap()));
        }
        let stats = fixture.server.stats();
        assert!(numbers.is_sorted(), "{numbers:?}");
        let lost = u64::from(BURST) - numbers.len() as u64;
        assert_eq!(
            lost, stats.udp.send_errors,
            "none lost without being counted"
        );
        assert!(lost < u64::from(BURST) / 4, "{lost} lost");
    }
}

/// As when the interface is down, or a firewall forbids it: lost like anything on a network, counted, and the server goes on.
#[test]
fn refused_datagrams_are_counted_and_the_server_goes_on() {
    let fixture = Fixture::new();
    let mut errors = 0;
    for error in [
        libc::ENETDOWN,
        libc::EPERM,
        libc::ENETUNREACH,
        libc::EHOSTUNREACH,
    ] {
        fail(PERIOD, error);
        for _ in 0..3 {
            fixture.client.send(b"lost").unwrap();
        }
        let begun = std::time::Instant::now();
        errors += 3;
        while fixture.server.stats().udp.send_errors < errors {
            assert!(
                begun.elapsed() < DEADLINE,
                "{:?}",
                fixture.server.stats().udp
            );
            thread::sleep(Duration::from_millis(1));
        }
        fail(0, 0);
        fixture.client.send(b"up again").unwrap();
        assert_eq!(fixture.recv(), b"up again");
    }
    let stats = fixture.server.stats();
    assert_eq!(stats.udp.send_errors, errors);
    assert_eq!(stats.endpoint.established, 1);
}

#[test]
fn interface_that_comes_up_again_is_heard() {
    let fixture = Fixture::new();
    DEAF_ERROR.store(libc::ENETDOWN, Ordering::SeqCst);
    DEAF.store(5, Ordering::SeqCst);
    fixture.client.send(b"heard in the end").unwrap();
    assert_eq!(fixture.recv(), b"heard in the end");
    assert_eq!(fixture.server.stats().udp.receive_errors, 5);
}

#[test]
fn socket_that_cannot_be_read_ends_the_run() {
    let mut fixture = Fixture::new();
    DEAF_ERROR.store(libc::ENOTSOCK, Ordering::SeqCst);
    DEAF.store(u64::MAX, Ordering::SeqCst);
    fixture.client.send(b"unheard").unwrap();
    let outcome = fixture.thread.take().unwrap().join().unwrap();
    DEAF.store(0, Ordering::SeqCst);
    assert_eq!(outcome.unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
    fixture.thread = Some(thread::spawn(|| Ok(())));
}

#[test]
fn handshake_completes_on_a_nearly_full_socket() {
    let fixture = Fixture::new();
    fail(7, libc::EAGAIN);
    let psk = Psk::new(b"sensor-7", b"sixteen byte key").unwrap();
    let context = Context::client().psk(psk).build().unwrap();
    let client = Client::connect(&context, fixture.server.local_addr().unwrap(), None).unwrap();
    client.set_read_timeout(Some(DEADLINE));
    client.send(b"hello").unwrap();
    let mut buffer = [0; 16];
    assert_eq!(client.recv(&mut buffer).unwrap(), Some(5));
}

#[test]
fn shutdown_ends_though_nothing_can_be_sent() {
    let mut fixture = Fixture::new();
    fail(PERIOD, libc::EAGAIN);
    fixture.server.shutdown(Duration::from_millis(200));
    let outcome = fixture.thread.take().unwrap().join().unwrap();
    outcome.unwrap();
    fixture.thread = Some(thread::spawn(|| Ok(())));
}
