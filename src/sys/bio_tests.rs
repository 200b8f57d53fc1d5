//! The datagram BIO, called as libssl calls it.

use core::mem::ManuallyDrop;
use std::cell::Cell;

use openssl::ssl::{Ssl, SslContext, SslMethod};
use openssl_sys::{BIO_ctrl, BIO_read, BIO_write};

use super::*;

const SHOULD_RETRY: c_int = 0x08;

unsafe extern "C" {
    fn BIO_test_flags(bio: *const ffi::BIO, flags: c_int) -> c_int;
}

thread_local! {
    static ALIVE: Cell<usize> = const { Cell::new(0) };
}

/// Counts how many states there are on this thread.
pub(super) struct Alive;

impl Alive {
    pub(super) fn new() -> Alive {
        ALIVE.set(ALIVE.get() + 1);
        Alive
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.set(ALIVE.get() - 1);
    }
}

fn bio_to(peer: &str) -> DatagramBio {
    let second = Duration::from_secs(1);
    DatagramBio::new(peer.parse().unwrap(), 100, second, second).unwrap()
}

fn bio() -> DatagramBio {
    bio_to("192.0.2.1:4433")
}

fn ssl() -> Ssl {
    let context = SslContext::builder(SslMethod::dtls()).unwrap().build();
    Ssl::new(&context).unwrap()
}

fn control(bio: &DatagramBio, command: c_int, number: c_long) -> c_long {
    // SAFETY: the BIO is valid, and these commands take no pointer.
    unsafe { BIO_ctrl(bio.bio.as_ptr(), command, number, ptr::null_mut()) }
}

/// Reads at most `room` bytes.
fn read_from(bio: &DatagramBio, room: usize) -> Result<Vec<u8>, c_int> {
    let mut buffer = vec![0_u8; room];
    let start = buffer.as_mut_ptr().cast();
    // SAFETY: the buffer has `room` bytes.
    let count = unsafe { BIO_read(bio.bio.as_ptr(), start, room as c_int) };
    buffer.truncate(usize::try_from(count).map_err(|_| count)?);
    Ok(buffer)
}

fn write_to(bio: &DatagramBio, datagram: &[u8]) -> c_int {
    let start = datagram.as_ptr().cast();
    // SAFETY: the datagram has so many bytes.
    unsafe { BIO_write(bio.bio.as_ptr(), start, datagram.len() as c_int) }
}

fn wants_retry(bio: &DatagramBio) -> bool {
    // SAFETY: the BIO is valid.
    unsafe { BIO_test_flags(bio.bio.as_ptr(), SHOULD_RETRY) != 0 }
}

#[test]
fn hazard_c5_state_goes_once_with_the_last_reference() {
    drop(bio());
    assert_eq!(ALIVE.get(), 0);

    // The handle goes first, or the `SSL` does.
    for handle_first in [true, false] {
        let (handle, ssl) = (bio(), ssl());
        // SAFETY: the `SSL` is valid.
        unsafe { handle.attach(foreign_types::ForeignTypeRef::as_ptr(&*ssl)) }.unwrap();
        assert_eq!(ALIVE.get(), 1);
        if handle_first {
            drop(handle);
            assert_eq!(ALIVE.get(), 1, "the `SSL` still reads and writes");
            drop(ssl);
        } else {
            drop(ssl);
            assert_eq!(handle.state().output.len(), 0);
            drop(handle);
        }
        assert_eq!(ALIVE.get(), 0);
    }

    // One after the other, as when a handshake is tried again.
    let (handle, first, second) = (bio(), ssl(), ssl());
    for ssl in [&first, &second, &second] {
        // SAFETY: the `SSL` is valid.
        unsafe { handle.attach(foreign_types::ForeignTypeRef::as_ptr(&**ssl)) }.unwrap();
    }
    drop((first, handle));
    assert_eq!(ALIVE.get(), 1);
    drop(second);
    assert_eq!(ALIVE.get(), 0);
}

#[test]
fn hazard_c5_bio_whose_making_failed_half_way_is_freed_without_a_state() {
    let method = BioMethod::shared().unwrap();
    // SAFETY: the method lives for ever.
    let bio = NonNull::new(unsafe { ffi::BIO_new(method.as_ptr()) }).unwrap();
    let half = DatagramBio { bio };
    // libssl can do nothing with it, and nothing happens.
    assert!(read_from(&half, 16).is_err());
    assert!(write_to(&half, b"lost") < 0);
    assert_eq!(control(&half, ffi::BIO_CTRL_FLUSH, 0), 0);
    drop(half);
    assert_eq!(ALIVE.get(), 0);
}

#[test]
fn hazard_c6_every_question_of_libssl_has_an_answer() {
    for (peer, overhead) in [
        ("192.0.2.1:4433", 28),
        ("[2001:db8::1]:4433", 48),
        ("[::ffff:192.0.2.1]:4433", 28),
    ] {
        let bio = bio_to(peer);
        assert_eq!(
            control(&bio, ffi::BIO_CTRL_DGRAM_GET_MTU_OVERHEAD, 0),
            overhead
        );
    }
    let bio = bio();
    for (command, number, answer) in [
        (ffi::BIO_CTRL_FLUSH, 0, 1),
        (ffi::BIO_CTRL_DUP, 0, 0),
        (ffi::BIO_CTRL_PENDING, 0, 0),
        (ffi::BIO_CTRL_WPENDING, 0, 0),
        (ffi::BIO_CTRL_DGRAM_QUERY_MTU, 0, 0),
        (ffi::BIO_CTRL_DGRAM_GET_MTU, 0, 0),
        (ffi::BIO_CTRL_DGRAM_GET_FALLBACK_MTU, 0, 0),
        (ffi::BIO_CTRL_DGRAM_MTU_EXCEEDED, 0, 0),
        (ffi::BIO_CTRL_DGRAM_SET_MTU, 1200, 1200),
        (ffi::BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT, 0, 1),
        (ffi::BIO_CTRL_DGRAM_SET_PEER, 0, 1),
        // No address to fill in.
        (ffi::BIO_CTRL_DGRAM_GET_PEER, 0, 0),
        (9999, 1, 0),
    ] {
        assert_eq!(control(&bio, command, number), answer, "{command}");
    }
    let mut peer = crate::sys::addr::BioAddr::unspecified().unwrap();
    let pointer = ForeignTypeRef::as_ptr(&*peer).cast();
    // SAFETY: the command fills in the address it is lent.
    let known = unsafe { BIO_ctrl(bio.bio.as_ptr(), ffi::BIO_CTRL_DGRAM_GET_PEER, 0, pointer) };
    assert_eq!((known, peer.get()), (1, Some(bio.state().peer())));
    assert!(peer.set(bio.state().peer()));
}

#[test]
fn hazard_c51_read_without_a_record_is_never_the_end_of_file() {
    let mut bio = bio();
    assert_eq!(read_from(&bio, 16), Err(-1));
    assert!(wants_retry(&bio));
    // Another name for it, which owns no reference.
    let raw = ManuallyDrop::new(DatagramBio { bio: bio.bio });
    let (outcome, _) = bio.lend(&[], || read_from(&raw, 16));
    assert_eq!(outcome, Err(-1));
    let ((first, second), was_read) =
        bio.lend(b"record", || (read_from(&raw, 16), read_from(&raw, 16)));
    assert_eq!((first, second), (Ok(b"record".to_vec()), Err(-1)));
    assert!(was_read);
    // Cut as a socket would, and gone after the call.
    let (cut, _) = bio.lend(b"record", || read_from(&raw, 3));
    assert_eq!(cut, Ok(b"rec".to_vec()));
    let (_, was_read) = bio.lend(b"record", || ());
    assert!(!was_read);
    assert_eq!(read_from(&bio, 16), Err(-1));
    // Looking does not take.
    let (looked, was_read) = bio.lend(b"record", || {
        control(&raw, ffi::BIO_CTRL_DGRAM_SET_PEEK_MODE, 1);
        assert_eq!(control(&raw, ffi::BIO_CTRL_PENDING, 0), 6);
        let looked = read_from(&raw, 16);
        control(&raw, ffi::BIO_CTRL_DGRAM_SET_PEEK_MODE, 0);
        looked
    });
    assert_eq!((looked, was_read), (Ok(b"record".to_vec()), false));
}

#[test]
fn hazard_c13_write_always_takes_the_whole_and_counts_what_is_lost() {
    let bio = bio();
    for _ in 0..3 {
        assert_eq!(write_to(&bio, &[7; 40]), 40);
        assert!(!wants_retry(&bio));
    }
    assert_eq!((bio.state().output.len(), bio.state().lost_full), (2, 1));
    assert!(write_to(&bio, &[]) <= 0);
}

#[test]
fn record_that_was_lent_is_taken_back_also_when_the_call_panics() {
    let mut bio = bio();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        bio.lend(b"record", || std::panic::resume_unwind(Box::new(())));
    }));
    assert!(panicked.is_err());
    assert_eq!(read_from(&bio, 16), Err(-1));
}
