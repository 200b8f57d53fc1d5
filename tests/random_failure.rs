//! What happens when the random generator fails. A process of its own, since the generator is replaced for all of it.
//!
//! The tests share one generator, so they are one test.

#![expect(unsafe_code, reason = "replaces OpenSSL's random generator")]

use core::ffi::{c_double, c_int, c_uchar, c_void};
use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use openssl_dtls::{
    AddressProof, ClockAnchor, ConfigError, Connection, Context, CookieError, CookieRing,
    CookieSecret, Error, Incoming, Listener, Psk, PskLookup, TicketRing, TicketSecret,
};

/// `rand.h`: a table of functions, any of which may be null.
#[repr(C)]
struct RandMethod {
    seed: Option<unsafe extern "C" fn(*const c_void, c_int) -> c_int>,
    bytes: Option<unsafe extern "C" fn(*mut c_uchar, c_int) -> c_int>,
    cleanup: Option<unsafe extern "C" fn()>,
    add: Option<unsafe extern "C" fn(*const c_void, c_int, c_double) -> c_int>,
    pseudorand: Option<unsafe extern "C" fn(*mut c_uchar, c_int) -> c_int>,
    status: Option<unsafe extern "C" fn() -> c_int>,
}

unsafe extern "C" {
    fn RAND_set_rand_method(method: *const RandMethod) -> c_int;
}

/// Whether the generator fails now; while it does not, it counts.
static FAILS: AtomicBool = AtomicBool::new(false);

unsafe extern "C" fn bytes(buffer: *mut c_uchar, count: c_int) -> c_int {
    if FAILS.load(Ordering::SeqCst) {
        return 0;
    }
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: OpenSSL lends `count` bytes.
    let buffer = unsafe { core::slice::from_raw_parts_mut(buffer, count) };
    for (at, byte) in buffer.iter_mut().enumerate() {
        *byte = (at * 7 + 1) as u8;
    }
    1
}

unsafe extern "C" fn status() -> c_int {
    1
}

static METHOD: RandMethod = RandMethod {
    seed: None,
    bytes: Some(bytes),
    cleanup: None,
    add: None,
    pseudorand: Some(bytes),
    status: Some(status),
};

#[test]
fn a_failing_generator_is_an_error_of_the_call_that_needed_it() {
    // SAFETY: the table lives for ever, and no other thread uses OpenSSL yet.
    assert_eq!(unsafe { RAND_set_rand_method(&raw const METHOD) }, 1);

    let start = Instant::now();
    let anchor = ClockAnchor::new(start, SystemTime::now());
    let psk = || Psk::new(b"sensor", b"0123456789abcdef").unwrap();
    let server = Context::server(PskLookup::single(psk())).build().unwrap();
    let client = Context::client().psk(psk()).build().unwrap();
    let peer: SocketAddr = "192.0.2.1:4433".parse().unwrap();

    let ring = CookieRing::random(anchor).unwrap();
    let mut listener = Listener::new(&server, ring).unwrap();
    let mut connection = Connection::client(&client, peer, None, start).unwrap();
    let hello = connection.poll_transmit().unwrap().contents.to_vec();

    FAILS.store(true, Ordering::SeqCst);

    // A secret.
    assert!(matches!(
        CookieSecret::random(),
        Err(CookieError::Random(_))
    ));
    assert!(matches!(
        CookieRing::random(anchor),
        Err(CookieError::Random(_))
    ));

    // A rotation that is due, days later: the error of the datagram that found it due, with its source inside.
    let later = start + Duration::from_secs(30 * 24 * 3600);
    let error = listener.handle_datagram(later, peer, &hello).unwrap_err();
    assert!(
        matches!(error, Error::Cookie(CookieError::Random(_))),
        "{error:?}"
    );
    assert!(
        error
            .source()
            .is_some_and(|cookie| cookie.source().is_some()),
        "{error:?}"
    );

    // A ClientHello cannot be made without random bytes.
    let error = Connection::client(&client, peer, None, start).unwrap_err();
    assert!(matches!(error, ConfigError::OpenSsl(_)), "{error:?}");

    FAILS.store(false, Ordering::SeqCst);
    ticket_keys(&server, &client, peer, start);

    // All of it recovers.
    assert!(matches!(
        listener.handle_datagram(later, peer, &hello),
        Ok(Incoming::Reply(_))
    ));
    assert!(Connection::client(&client, peer, None, start).is_ok());
    assert!(CookieSecret::random().is_ok());
}

/// The keys of tickets, and what makes each ticket unlike any other.
fn ticket_keys(server: &Context, client: &Context, peer: SocketAddr, start: Instant) {
    let accept = |now| Connection::server(server, peer, now, AddressProof::ProvedElsewhere);
    // The first use says since when the key is in use.
    let mut answering = accept(start).unwrap();
    let mut asking = Connection::client(client, peer, None, start).unwrap();
    let give = |from: &mut Connection, to: &mut Connection| {
        let mut outcome = Ok(());
        while let Some(transmit) = from.poll_transmit() {
            outcome = outcome.and(to.handle_datagram(start, transmit.contents));
        }
        outcome
    };
    give(&mut asking, &mut answering).unwrap();
    give(&mut answering, &mut asking).unwrap();

    FAILS.store(true, Ordering::SeqCst);
    // The client's last flight is to be answered with a ticket.
    let error = give(&mut asking, &mut answering).unwrap_err();
    assert!(matches!(error, Error::Random(_)), "{error:?}");

    let refused = |outcome: Result<(), ConfigError>| {
        assert!(
            matches!(outcome, Err(ConfigError::Random(_))),
            "{outcome:?}"
        );
    };
    refused(TicketSecret::random().map(drop));
    refused(TicketRing::random().map(drop));
    let psk = Psk::new(b"sensor", b"0123456789abcdef").unwrap();
    // libssl makes random keys of its own first, and says that memory failed.
    assert!(Context::server(PskLookup::single(psk)).build().is_err());
    // A rotation that is due, days later.
    let later = start + Duration::from_secs(30 * 24 * 3600);
    refused(accept(later).map(drop));

    FAILS.store(false, Ordering::SeqCst);
    assert!(accept(later).is_ok());
}
