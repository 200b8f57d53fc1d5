//! The datagram BIO: what libssl reads from and writes to instead of a socket.
//!
//! It reads from one record that is lent to it for the length of a call, and writes whole datagrams into a queue. It runs no I/O
//! and never says "would block" to a write: libssl loses what it could not write, so a full queue counts a loss instead, as a
//! network would.

use core::ffi::{c_char, c_int, c_long, c_void};
use core::ptr::{self, NonNull};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use foreign_types::{ForeignType, ForeignTypeRef, foreign_type};
use openssl::error::ErrorStack;

use super::addr::BioAddrRef;
use super::ffi;
use crate::queue::ByteQueue;
use crate::wire;

/// Bytes of IP and UDP headers in front of a datagram: libssl subtracts them from link MTUs.
const OVERHEAD_V4: usize = 20 + 8;
const OVERHEAD_V6: usize = 40 + 8;

foreign_type! {
    type CType = ffi::BIO_METHOD;
    fn drop = ffi::BIO_meth_free;

    /// The table of functions of a BIO.
    pub struct BioMethod;
    /// A borrowed table.
    pub struct BioMethodRef;
}

// SAFETY: a `BIO_METHOD` is only read once `BioMethod::new` has returned it.
unsafe impl Send for BioMethod {}
// SAFETY: as above: nobody writes to it any more.
unsafe impl Sync for BioMethod {}

impl BioMethod {
    /// The one table all datagram BIOs share, made on first use.
    fn shared() -> Result<&'static BioMethod, ErrorStack> {
        static SHARED: OnceLock<BioMethod> = OnceLock::new();
        if let Some(method) = SHARED.get() {
            return Ok(method);
        }
        // Two threads may both make one; the loser's is dropped.
        let method = BioMethod::new()?;
        Ok(SHARED.get_or_init(|| method))
    }

    fn new() -> Result<BioMethod, ErrorStack> {
        // SAFETY: takes no arguments.
        let index = unsafe { ffi::BIO_get_new_index() };
        if index < 0 {
            return Err(ErrorStack::get());
        }
        let name = c"datagram queue".as_ptr();
        // SAFETY: the name is a string that lives for ever.
        let method = unsafe { ffi::BIO_meth_new(index | ffi::BIO_TYPE_SOURCE_SINK, name) };
        if method.is_null() {
            return Err(ErrorStack::get());
        }
        // SAFETY: not null, and nobody else owns it.
        let method = unsafe { BioMethod::from_ptr(method) };
        let table = method.as_ptr();
        let set = [
            // SAFETY: `table` is a valid method, and the function keeps the contract of `BIO_read`.
            unsafe { ffi::BIO_meth_set_read__fixed_rust(table, Some(read)) },
            // SAFETY: as above, of `BIO_write`.
            unsafe { ffi::BIO_meth_set_write__fixed_rust(table, Some(write)) },
            // SAFETY: as above, of `BIO_puts`.
            unsafe { ffi::BIO_meth_set_puts__fixed_rust(table, Some(puts)) },
            // SAFETY: as above, of `BIO_ctrl`.
            unsafe { ffi::BIO_meth_set_ctrl__fixed_rust(table, Some(ctrl)) },
            // SAFETY: as above, called once by `BIO_new`.
            unsafe { ffi::BIO_meth_set_create__fixed_rust(table, Some(create)) },
            // SAFETY: as above, called once when the last reference goes.
            unsafe { ffi::BIO_meth_set_destroy__fixed_rust(table, Some(destroy)) },
        ];
        if set.contains(&0) {
            return Err(ErrorStack::get());
        }
        Ok(method)
    }
}

/// libssl's retransmission timer, as its callback keeps it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timer {
    /// The first interval.
    pub(crate) first: Duration,
    /// The longest interval.
    pub(crate) max: Duration,
    /// The interval that runs now.
    pub(crate) current: Duration,
    /// How often it ran out since the flight was first sent.
    pub(crate) expired_in_flight: u32,
    /// How often it ran out in all.
    pub(crate) expired: u64,
}

/// What a datagram BIO holds. Owned by the BIO and freed when its last reference goes.
pub(crate) struct State {
    /// The record libssl may read now; lent by [`DatagramBio::lend`].
    input: Option<NonNull<[u8]>>,
    /// Whether reading leaves the record where it is.
    peek: bool,
    peer: SocketAddr,
    /// Datagrams that libssl wrote.
    pub(crate) output: ByteQueue,
    /// The number that the first record written in the clear must have, until that was written.
    pub(crate) first_sequence: Option<u64>,
    /// What libssl's numbers of records in the clear are short of.
    sequence_offset: u64,
    /// Bytes that may still be sent to an unproved address; `None` once it is proved. Datagrams beyond it wait in `output`.
    pub(crate) allowance: Option<usize>,
    /// Datagrams lost because `output` was full.
    pub(crate) lost_full: u64,
    pub(crate) timer: Timer,
    /// The verification callback that [`super::verify`] stands in front of.
    pub(super) verify_callback: ffi::SSL_verify_cb,
    /// Which certificate of the chain was refused.
    pub(super) rejected_depth: Option<u32>,
    #[cfg(test)]
    _alive: tests::Alive,
}

impl State {
    /// Bytes of IP and UDP headers in front of each datagram.
    pub(crate) fn overhead(&self) -> usize {
        if self.peer.ip().to_canonical().is_ipv4() {
            OVERHEAD_V4
        } else {
            OVERHEAD_V6
        }
    }

    /// Says that datagrams come from and go to `peer` from now on.
    pub(crate) fn set_peer(&mut self, peer: SocketAddr) {
        self.peer = peer;
    }

    /// Where the peer is.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }
}

/// One reference to a datagram BIO. The queue lives on while any `SSL` or handle holds one.
pub(crate) struct DatagramBio {
    bio: NonNull<ffi::BIO>,
}

// SAFETY: the BIO and its state have no thread affinity; access needs `&self` or `&mut self`, which one thread has at a time
// because `DatagramBio` is not `Sync`.
unsafe impl Send for DatagramBio {}

impl Drop for DatagramBio {
    fn drop(&mut self) {
        // SAFETY: this handle owns exactly one reference, given up here.
        unsafe { ffi::BIO_free(self.bio.as_ptr()) };
    }
}

impl DatagramBio {
    /// A BIO for datagrams from and to `peer`, with room for `limit` bytes of output.
    pub(crate) fn new(
        peer: SocketAddr,
        limit: usize,
        first: Duration,
        max: Duration,
    ) -> Result<DatagramBio, ErrorStack> {
        let method = BioMethod::shared()?;
        // SAFETY: the method lives for ever.
        let bio = unsafe { ffi::BIO_new(method.as_ptr()) };
        let Some(bio) = NonNull::new(bio) else {
            return Err(ErrorStack::get());
        };
        // From here on dropping the handle frees the BIO, and `destroy` its state if there is one.
        let handle = DatagramBio { bio };
        let state = Box::new(State {
            input: None,
            peek: false,
            peer,
            output: ByteQueue::new(limit),
            first_sequence: None,
            sequence_offset: 0,
            allowance: None,
            lost_full: 0,
            timer: Timer {
                first,
                max,
                current: first,
                expired_in_flight: 0,
                expired: 0,
            },
            verify_callback: None,
            rejected_depth: None,
            #[cfg(test)]
            _alive: tests::Alive::new(),
        });
        // SAFETY: `bio` is valid; it owns the state from now on.
        unsafe { ffi::BIO_set_data(bio.as_ptr(), Box::into_raw(state).cast()) };
        // SAFETY: `bio` is valid and ready for use.
        unsafe { ffi::BIO_set_init(bio.as_ptr(), 1) };
        Ok(handle)
    }

    /// Hands `ssl` a reference for reading and one for writing.
    ///
    /// # Safety
    ///
    /// `ssl` is a valid `SSL`.
    pub(super) unsafe fn attach(&self, ssl: *mut ffi::SSL) -> Result<(), ErrorStack> {
        // SAFETY: `bio` is valid.
        if unsafe { ffi::BIO_up_ref(self.bio.as_ptr()) } != 1 {
            return Err(ErrorStack::get());
        }
        // SAFETY: takes over the reference just made.
        unsafe { ffi::SSL_set0_rbio(ssl, self.bio.as_ptr()) };
        // SAFETY: `bio` is valid.
        if unsafe { ffi::BIO_up_ref(self.bio.as_ptr()) } != 1 {
            return Err(ErrorStack::get());
        }
        // SAFETY: takes over the reference just made.
        unsafe { ffi::SSL_set0_wbio(ssl, self.bio.as_ptr()) };
        Ok(())
    }

    /// Lets libssl read `record` while `call` runs, and answers what `call` answers and whether the record was read.
    pub(crate) fn lend<R>(&mut self, record: &[u8], call: impl FnOnce() -> R) -> (R, bool) {
        /// Takes the record back also when `call` unwinds.
        struct Recall<'a>(&'a mut DatagramBio);
        impl Drop for Recall<'_> {
            fn drop(&mut self) {
                self.0.state_mut().input = None;
            }
        }
        // A read of nothing would be the end of file to libssl, and the end of the connection.
        let input = if record.is_empty() {
            None
        } else {
            Some(NonNull::from(record))
        };
        self.state_mut().input = input;
        let recall = Recall(self);
        let answer = call();
        let was_read = recall.0.state().input.is_none();
        drop(recall);
        (answer, was_read)
    }

    /// The state, for reading.
    pub(crate) fn state(&self) -> &State {
        // SAFETY: `new` stored a `State`, which lives as long as the BIO. The reference ends before any call into libssl that
        // reaches a trampoline: those need `&mut` of what owns this handle, and what only asks reaches none.
        unsafe { &*self.state_ptr() }
    }

    /// The state, for writing.
    pub(crate) fn state_mut(&mut self) -> &mut State {
        // SAFETY: as in `state`; `&mut self` makes it the only reference.
        unsafe { &mut *self.state_ptr() }
    }

    fn state_ptr(&self) -> *mut State {
        // SAFETY: `bio` is valid.
        unsafe { ffi::BIO_get_data(self.bio.as_ptr()) }.cast()
    }
}

/// Runs `use_state` on the state of `bio`, or answers `otherwise` when it has none.
///
/// # Safety
///
/// `bio` is a valid datagram BIO and no reference to its state is alive.
pub(super) unsafe fn with_state<R>(
    bio: *mut ffi::BIO,
    otherwise: R,
    use_state: impl FnOnce(&mut State) -> R,
) -> R {
    // SAFETY: `bio` is valid.
    let state: *mut State = unsafe { ffi::BIO_get_data(bio) }.cast();
    // SAFETY: null before `DatagramBio::new` has stored a state, and a valid `State` after; the caller holds no reference to it.
    match unsafe { state.as_mut() } {
        Some(state) => use_state(state),
        None => otherwise,
    }
}

/// The timer of the datagram BIO that `ssl` reads from: libssl asks for each next interval here.
///
/// Doubles the interval up to the longest (RFC 6347, 4.2.4.1).
pub(super) unsafe extern "C" fn next_interval(
    ssl: *mut ffi::SSL,
    last: core::ffi::c_uint,
) -> core::ffi::c_uint {
    // SAFETY: libssl calls with the valid `SSL` that the callback was set on.
    let bio = unsafe { ffi::SSL_get_rbio(ssl) };
    // SAFETY: only `BoundSsl` sets this callback, and it attaches a datagram BIO first.
    let next = unsafe {
        with_state(bio, Duration::from_secs(1), |state| {
            let timer = &mut state.timer;
            if last == 0 {
                timer.current = timer.first;
                timer.expired_in_flight = 0;
            } else {
                timer.current = (timer.current * 2).min(timer.max);
                timer.expired_in_flight += 1;
                timer.expired += 1;
            }
            timer.current
        })
    };
    core::ffi::c_uint::try_from(next.as_micros()).unwrap_or(core::ffi::c_uint::MAX)
}

unsafe extern "C" fn create(bio: *mut ffi::BIO) -> c_int {
    // SAFETY: `BIO_new` calls with the BIO it makes.
    unsafe { ffi::BIO_set_data(bio, ptr::null_mut()) };
    // SAFETY: as above; ready only once it has its state.
    unsafe { ffi::BIO_set_init(bio, 0) };
    1
}

unsafe extern "C" fn destroy(bio: *mut ffi::BIO) -> c_int {
    if bio.is_null() {
        return 0;
    }
    // SAFETY: `BIO_free` calls with the BIO it frees.
    let state: *mut State = unsafe { ffi::BIO_get_data(bio) }.cast();
    if !state.is_null() {
        // SAFETY: as above; a second call finds no state.
        unsafe { ffi::BIO_set_data(bio, ptr::null_mut()) };
        // SAFETY: `DatagramBio::new` made it with `Box::into_raw`, and the BIO owned it.
        drop(unsafe { Box::from_raw(state) });
    }
    1
}

/// Gives libssl the record that is lent, cut to its buffer as a socket would.
unsafe extern "C" fn read(bio: *mut ffi::BIO, buffer: *mut c_char, length: c_int) -> c_int {
    // SAFETY: libssl calls with its valid BIO.
    unsafe { ffi::BIO_clear_retry_flags(bio) };
    let room = usize::try_from(length).unwrap_or(0);
    let take = |state: &mut State| {
        let record = state.input?;
        if !state.peek {
            state.input = None;
        }
        Some(record)
    };
    // SAFETY: the BIO is valid, and references to its state end before libssl is called.
    let record = unsafe { with_state(bio, None, take) };
    match record {
        Some(record) if room > 0 && !buffer.is_null() => {
            let count = record.len().min(room);
            // SAFETY: `lend` keeps the record borrowed while libssl runs, `buffer` has `length` bytes, and libssl's buffer is
            // not part of a record of ours.
            unsafe { ptr::copy_nonoverlapping(record.as_ptr().cast(), buffer, count) };
            c_int::try_from(count).unwrap_or(c_int::MAX)
        }
        _ => {
            // SAFETY: the BIO is valid.
            unsafe { ffi::BIO_set_retry_read(bio) };
            -1
        }
    }
}

/// Takes one datagram from libssl. Always takes it whole: what does not fit is lost and counted.
unsafe extern "C" fn write(bio: *mut ffi::BIO, buffer: *const c_char, length: c_int) -> c_int {
    // SAFETY: libssl calls with its valid BIO.
    unsafe { ffi::BIO_clear_retry_flags(bio) };
    let Ok(count @ 1..) = usize::try_from(length) else {
        return 0;
    };
    if buffer.is_null() {
        return 0;
    }
    // SAFETY: libssl lends `length` bytes at `buffer`.
    let datagram = unsafe { core::slice::from_raw_parts(buffer.cast::<u8>(), count) };
    let put = |state: &mut State| {
        if let Some(wanted) = state.first_sequence.take() {
            let written =
                wire::split_record(datagram).map_or(wanted, |(record, _)| record.sequence);
            state.sequence_offset = wanted.saturating_sub(written);
        }
        if !state.output.push(datagram) {
            state.lost_full += 1;
        } else if state.sequence_offset > 0
            && let Some(datagram) = state.output.back_mut()
        {
            wire::renumber(datagram, state.sequence_offset);
        }
    };
    // SAFETY: the BIO is valid, and references to its state end before libssl is called.
    unsafe { with_state(bio, (), put) };
    length
}

unsafe extern "C" fn puts(bio: *mut ffi::BIO, text: *const c_char) -> c_int {
    if text.is_null() {
        return 0;
    }
    // SAFETY: `BIO_puts` takes a string.
    let length = unsafe { core::ffi::CStr::from_ptr(text) }.to_bytes().len();
    match c_int::try_from(length) {
        // SAFETY: the string has `length` bytes.
        Ok(length) => unsafe { write(bio, text, length) },
        Err(_) => -1,
    }
}

/// Answers libssl's questions. `0` means "no" or "not supported".
unsafe extern "C" fn ctrl(
    bio: *mut ffi::BIO,
    command: c_int,
    number: c_long,
    pointer: *mut c_void,
) -> c_long {
    let answer = |state: &mut State| match command {
        // Nothing is buffered here, so a flush always succeeds; a copy would share the state, so there is none.
        ffi::BIO_CTRL_FLUSH => 1,
        ffi::BIO_CTRL_DUP => 0,
        ffi::BIO_CTRL_PENDING => {
            let pending = state.input.map_or(0, |record| record.len());
            c_long::try_from(pending).unwrap_or(c_long::MAX)
        }
        ffi::BIO_CTRL_WPENDING => 0,
        // The MTU is set on the `SSL`; libssl is told not to ask (SSL_OP_NO_QUERY_MTU), and asks all the same in places.
        ffi::BIO_CTRL_DGRAM_QUERY_MTU
        | ffi::BIO_CTRL_DGRAM_GET_MTU
        | ffi::BIO_CTRL_DGRAM_GET_FALLBACK_MTU
        | ffi::BIO_CTRL_DGRAM_MTU_EXCEEDED => 0,
        ffi::BIO_CTRL_DGRAM_SET_MTU => number,
        ffi::BIO_CTRL_DGRAM_GET_MTU_OVERHEAD => {
            c_long::try_from(state.overhead()).unwrap_or(c_long::MAX)
        }
        ffi::BIO_CTRL_DGRAM_SET_PEEK_MODE => {
            state.peek = number != 0;
            1
        }
        // The timer is asked for with DTLSv1_get_timeout when it is needed; the peer never changes.
        ffi::BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT | ffi::BIO_CTRL_DGRAM_SET_PEER => 1,
        ffi::BIO_CTRL_DGRAM_GET_PEER if !pointer.is_null() => {
            // SAFETY: the command's contract: `pointer` is a valid BIO_ADDR to fill in.
            let addr = unsafe { BioAddrRef::from_ptr_mut(pointer.cast()) };
            c_long::from(addr.set(state.peer))
        }
        _ => 0,
    };
    // SAFETY: libssl calls with its valid BIO; references to its state end before libssl is called.
    unsafe { with_state(bio, 0, answer) }
}

#[cfg(test)]
#[path = "bio_tests.rs"]
mod tests;
