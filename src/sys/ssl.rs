//! The one funnel for `SSL_*` calls, and the few verbs a connection needs.
//!
//! Every call clears this thread's OpenSSL error queue first, takes it afterwards, and goes on with a panic that a callback parked.

use core::ffi::{CStr, c_int, c_long};
use core::ops::{Deref, DerefMut};
use core::ptr;
use std::net::SocketAddr;
use std::time::Duration;

use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::error::ErrorStack;
use openssl::ssl::{Ssl, SslContextRef, SslRef};

use super::addr::BioAddr;
use super::bio::{self, DatagramBio, State};
use super::{ffi, reason, verify};
use crate::error::Error;
use crate::queue::Writer;
use crate::transport::TransportConfig;
use crate::types::Mtu;
use crate::{guard, parking};

/// The largest message DTLS has, in bytes (RFC 6347, 4.1).
pub(crate) const MAX_MESSAGE: usize = 16_384;
/// How many bytes OpenSSL 3 writes over the MTU it was given, in datagrams with encrypted handshake messages: it forgets the
/// explicit nonce and the tag. OpenSSL 4 counts them.
const OVERRUN: usize = 24;
/// The smallest link MTU that libssl works with, in bytes (d1_lib.c, `dtls1_link_min_mtu`).
const MIN_LINK_MTU: usize = 256;
/// The first version without the overrun, as `OpenSSL_version_num` writes it.
const NO_OVERRUN_FROM: i64 = 0x4000_0000;
/// The first version in which each epoch has buffers of its own. The first epoch's writing one stays for retransmissions, and
/// `SSL_free_buffers` does not reach it.
const BUFFERS_PER_EPOCH_FROM: i64 = 0x3020_0000;

/// What a call into libssl came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Done.
    Done,
    /// libssl waits for a record, or for something that its owner's callbacks wait for.
    Waits,
    /// The peer sent close_notify.
    CloseNotify,
    /// libssl gave up; nothing can be done with this `SSL` any more.
    Failed(ErrorStack),
}

/// What reading came to.
#[derive(Debug)]
pub(crate) enum Read {
    /// A whole message of so many bytes.
    Message(usize),
    /// Nothing more to read now.
    Nothing,
    /// The peer sent close_notify.
    CloseNotify,
    /// libssl gave up.
    Failed(ErrorStack),
}

/// An `SSL` that was closed in order when it goes, as far as its session is concerned.
///
/// Otherwise libssl forgets the session of each connection whose peer just went away, as peers over UDP do. Sessions of
/// connections that failed it has forgotten already.
struct Owned(Ssl);

impl Drop for Owned {
    fn drop(&mut self) {
        let both = ffi::SSL_SENT_SHUTDOWN | ffi::SSL_RECEIVED_SHUTDOWN;
        // SAFETY: the `SSL` is valid, and sends nothing because of this.
        unsafe { ffi::SSL_set_shutdown(self.0.as_ptr(), both) };
    }
}

impl Deref for Owned {
    type Target = Ssl;

    fn deref(&self) -> &Ssl {
        &self.0
    }
}

impl DerefMut for Owned {
    fn deref_mut(&mut self) -> &mut Ssl {
        &mut self.0
    }
}

/// An `SSL` and the datagram BIO it reads from and writes to.
pub(crate) struct BoundSsl {
    ssl: Owned,
    bio: DatagramBio,
    /// `SSL_free_buffers` was called: OpenSSL 3.0 crashes if it writes before `SSL_alloc_buffers`.
    buffers_released: bool,
    /// The first epoch is not there yet, and is to give its buffers back after each use.
    first_epoch_to_come: bool,
}

impl BoundSsl {
    /// Binds a fresh `ssl`, whose role, options and names are set, to a BIO of its own.
    pub(crate) fn new(
        ssl: Ssl,
        peer: SocketAddr,
        transport: &TransportConfig,
    ) -> Result<BoundSsl, ErrorStack> {
        let bio = DatagramBio::new(
            peer,
            transport.send_queue,
            transport.first_retransmission,
            transport.max_retransmission,
        )?;
        Self::with_bio(ssl, bio, transport.mtu)
    }

    /// Binds a fresh `ssl` to the BIO of an earlier one, with the datagrams that still wait in it.
    pub(crate) fn with_bio(ssl: Ssl, bio: DatagramBio, mtu: Mtu) -> Result<BoundSsl, ErrorStack> {
        // SAFETY: `ssl` is valid.
        unsafe { bio.attach(ssl.as_ptr()) }?;
        // SAFETY: the callback finds the datagram BIO just attached.
        unsafe { ffi::DTLS_set_timer_cb(ssl.as_ptr(), Some(bio::next_interval)) };
        // SAFETY: `ssl` is valid and reads from the datagram BIO just attached.
        unsafe { verify::watch(ssl.as_ptr()) };
        let mut bound = BoundSsl {
            ssl: Owned(ssl),
            bio,
            buffers_released: false,
            first_epoch_to_come: false,
        };
        bound.begin_first_epoch();
        bound.forbid_cookie_exchange();
        bound.set_mtu(mtu)?;
        Ok(bound)
    }

    /// Ends the use of libssl and keeps the BIO, in whose queue datagrams may wait.
    pub(crate) fn into_bio(self) -> DatagramBio {
        self.bio
    }

    /// The queue and the timer.
    pub(crate) fn state(&self) -> &State {
        self.bio.state()
    }

    /// The queue and the timer.
    pub(crate) fn state_mut(&mut self) -> &mut State {
        self.bio.state_mut()
    }

    /// The `SSL`, for reading facts.
    pub(crate) fn ssl(&self) -> &SslRef {
        &self.ssl
    }

    /// The `SSL`, for what is parked in it.
    pub(crate) fn ssl_mut(&mut self) -> &mut SslRef {
        &mut self.ssl
    }

    /// Sets the largest datagram of handshake messages, in bytes of UDP payload. Corresponds to `SSL_set_mtu`.
    pub(crate) fn set_mtu(&mut self, mtu: Mtu) -> Result<(), ErrorStack> {
        let overrun = if openssl::version::number() < NO_OVERRUN_FROM {
            OVERRUN
        } else {
            0
        };
        // libssl takes no less; what it writes over that is split afterwards.
        let least = MIN_LINK_MTU - self.state().overhead();
        let bytes = mtu.bytes();
        self.set_raw_mtu(bytes.saturating_sub(overrun).max(least.min(bytes)))
    }

    fn set_raw_mtu(&mut self, bytes: usize) -> Result<(), ErrorStack> {
        // SAFETY: no pointers are involved.
        unsafe { ffi::ERR_clear_error() };
        self.ssl.set_mtu(u32::try_from(bytes).unwrap_or(u32::MAX))
    }

    /// How many bytes of a message fit into one datagram of `mtu`. Corresponds to `DTLS_get_data_mtu`.
    pub(crate) fn data_mtu(&mut self, mtu: Mtu) -> Result<usize, ErrorStack> {
        self.set_raw_mtu(mtu.bytes())?;
        // SAFETY: `ssl` is valid.
        let data_mtu = unsafe { ffi::DTLS_get_data_mtu(self.ssl.as_ptr()) };
        self.set_mtu(mtu)?;
        Ok(data_mtu)
    }

    /// Takes the handshake as far as it goes with `record`, or with none if it is empty. Answers also whether the record was read.
    ///
    /// Corresponds to `SSL_do_handshake`.
    pub(crate) fn handshake(&mut self, record: &[u8]) -> (Outcome, bool) {
        if let Err(stack) = self.restore_buffers() {
            return (Outcome::Failed(stack), false);
        }
        if self.first_epoch_to_come {
            // Makes the first epoch, and a client's first flight.
            let (outcome, _) = self.advance(&[]);
            self.end_first_epoch();
            if record.is_empty() || !matches!(outcome, Outcome::Waits) {
                return (outcome, false);
            }
        }
        self.advance(record)
    }

    fn advance(&mut self, record: &[u8]) -> (Outcome, bool) {
        let ssl = &self.ssl;
        self.bio.lend(record, || {
            // SAFETY: `ssl` is valid.
            call(ssl, |ssl| unsafe { ffi::SSL_do_handshake(ssl) })
        })
    }

    /// Makes the first epoch give its buffers back after each use, where it has its own; those of the next stay, since making them
    /// anew for each record costs.
    fn begin_first_epoch(&mut self) {
        let wanted = ffi::SSL_MODE_RELEASE_BUFFERS;
        if openssl::version::number() >= BUFFERS_PER_EPOCH_FROM
            && self.mode(ffi::SSL_CTRL_MODE, 0) & wanted == 0
        {
            self.mode(ffi::SSL_CTRL_MODE, wanted);
            self.first_epoch_to_come = true;
        }
    }

    fn end_first_epoch(&mut self) {
        if std::mem::take(&mut self.first_epoch_to_come) {
            self.mode(ffi::SSL_CTRL_CLEAR_MODE, ffi::SSL_MODE_RELEASE_BUFFERS);
        }
    }

    /// Sets or clears `bits` and answers what is set then. Corresponds to `SSL_set_mode` and `SSL_clear_mode`.
    fn mode(&mut self, control: c_int, bits: c_long) -> c_long {
        // SAFETY: `ssl` is valid, and both controls take a number.
        unsafe { ffi::SSL_ctrl(self.ssl.as_ptr(), control, bits, ptr::null_mut()) }
    }

    /// Feeds the ClientHello in `record`, whose cookie was checked, to `DTLSv1_listen`; [`Outcome::Done`] says that libssl agrees.
    ///
    /// libssl asks `cookie_context` for its callbacks meanwhile, so `context` needs none of ours. Whatever libssl queued in
    /// between is discarded: a refusal is not answered from here.
    pub(crate) fn listen(
        &mut self,
        cookie_context: &SslContextRef,
        context: &SslContextRef,
        record: &[u8],
    ) -> Result<Outcome, ErrorStack> {
        // Where the datagram came from is known from the socket; libssl's opinion is not looked at.
        let client = BioAddr::unspecified()?;
        self.ssl.set_ssl_context(cookie_context)?;
        let ssl = &self.ssl;
        let (outcome, _) = self.bio.lend(record, || {
            // SAFETY: `ssl` and `client` are valid for the length of the call.
            call(ssl, |ssl| unsafe {
                ffi::DTLSv1_listen(ssl, ForeignType::as_ptr(&client))
            })
        });
        self.end_first_epoch();
        self.bio.state_mut().output.truncate(0);
        self.ssl.set_ssl_context(context)?;
        self.forbid_cookie_exchange();
        Ok(outcome)
    }

    /// A cookie exchange is ours to run: left on, libssl runs one of its own, with the application's callbacks.
    fn forbid_cookie_exchange(&mut self) {
        // SAFETY: `ssl` is valid.
        unsafe { ffi::SSL_clear_options(self.ssl.as_ptr(), ffi::SSL_OP_COOKIE_EXCHANGE) };
    }

    /// Reads one whole message from `record`, or from what libssl holds back, straight into `writer`. Answers also whether the record
    /// was read.
    ///
    /// Corresponds to `SSL_read_ex`. What it finds no room for it gives to the next call as if that were another message, and
    /// `SSL_pending` counts the bytes of all messages that are held back: so there must be room for the whole at once.
    pub(crate) fn read(&mut self, record: &[u8], writer: &mut Writer<'_>) -> (Read, bool) {
        if let Err(stack) = self.restore_buffers() {
            return (Read::Failed(stack), false);
        }
        // A message is shorter than its record, unless it was compressed; of what is held back only the bound is known.
        let mut room = if record.is_empty() || self.pending() > 0 {
            MAX_MESSAGE
        } else {
            record.len()
        };
        let ssl = &self.ssl;
        self.bio.lend(record, || {
            let mut length = 0;
            loop {
                let start = writer.room(room).as_mut_ptr().cast();
                let mut count = 0;
                // SAFETY: `ssl` is valid, and `writer` lent `room` bytes at `start`.
                let outcome = call(ssl, |ssl| unsafe {
                    ffi::SSL_read_ex(ssl, start, room, &raw mut count)
                });
                // libssl cannot have written more than it was given room for.
                let count = if matches!(outcome, Outcome::Done) {
                    count.min(room)
                } else {
                    0
                };
                writer.keep(room, count);
                match outcome {
                    Outcome::Done => length += count,
                    Outcome::Waits => return Read::Nothing,
                    Outcome::CloseNotify => return Read::CloseNotify,
                    Outcome::Failed(stack) => return Read::Failed(stack),
                }
                // SAFETY: `ssl` is valid.
                let rest = unsafe { ffi::SSL_pending(ssl.as_ptr()) };
                let rest = usize::try_from(rest).unwrap_or(0);
                if count < room || length >= MAX_MESSAGE || rest == 0 {
                    return Read::Message(length);
                }
                room = rest.min(MAX_MESSAGE - length);
            }
        })
    }

    /// Bytes of messages that libssl decrypted and holds back. Corresponds to `SSL_pending`.
    fn pending(&self) -> usize {
        // SAFETY: `ssl` is valid.
        let pending = unsafe { ffi::SSL_pending(self.ssl.as_ptr()) };
        usize::try_from(pending).unwrap_or(0)
    }

    /// Whether libssl holds records back that can be read without a new one. Corresponds to `SSL_has_pending`.
    pub(crate) fn has_pending(&self) -> bool {
        // SAFETY: `ssl` is valid.
        unsafe { ffi::SSL_has_pending(self.ssl.as_ptr()) == 1 }
    }

    /// Sends `message` as one record in one datagram. Corresponds to `SSL_write_ex`.
    pub(crate) fn write(&mut self, message: &[u8]) -> Outcome {
        if let Err(stack) = self.restore_buffers() {
            return Outcome::Failed(stack);
        }
        let (start, length) = (message.as_ptr().cast(), message.len());
        let mut written = 0;
        // SAFETY: `ssl` is valid, and `message` has `length` bytes.
        call(&self.ssl, |ssl| unsafe {
            ffi::SSL_write_ex(ssl, start, length, &raw mut written)
        })
    }

    /// Sends close_notify, once, and waits for nothing. Corresponds to `SSL_shutdown`.
    pub(crate) fn shutdown(&mut self) -> Outcome {
        if let Err(stack) = self.restore_buffers() {
            return Outcome::Failed(stack);
        }
        call(&self.ssl, |ssl| {
            // SAFETY: `ssl` is valid.
            let answer = unsafe { ffi::SSL_shutdown(ssl) };
            // 0 says that close_notify is out and the peer's not in.
            if answer == 0 { 1 } else { answer }
        })
    }

    /// Sends a fatal alert on an established connection; nothing can be done with this `SSL` afterwards.
    ///
    /// libssl has no function for it, but sends one when it cannot begin what it is asked for: a renegotiation without a suite to
    /// offer or to serve (statem_clnt.c, `ssl_cipher_list_to_bytes`; statem_lib.c, `tls_setup_handshake`).
    pub(crate) fn refuse(&mut self) -> Outcome {
        if let Err(stack) = self.restore_buffers() {
            return Outcome::Failed(stack);
        }
        // SAFETY: `ssl` is valid.
        unsafe { ffi::SSL_clear_options(self.ssl.as_ptr(), ffi::SSL_OP_NO_RENEGOTIATION) };
        // libssl says that nothing matches, and takes the empty list all the same.
        drop(self.ssl.set_cipher_list("!ALL"));
        // SAFETY: as above.
        match call(&self.ssl, |ssl| unsafe { ffi::SSL_renegotiate(ssl) }) {
            // SAFETY: as above.
            Outcome::Done => call(&self.ssl, |ssl| unsafe { ffi::SSL_do_handshake(ssl) }),
            refused => refused,
        }
    }

    /// Time until the retransmission timer runs out by libssl's own clock; `None` while it is stopped.
    ///
    /// Corresponds to `DTLSv1_get_timeout`, which says 0 when 15 ms or less are left.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let mut left = ffi::timeval {
            tv_sec: 0,
            tv_usec: 0,
        };
        let pointer = (&raw mut left).cast();
        // SAFETY: `ssl` is valid, and the control writes one `timeval`.
        let runs =
            unsafe { ffi::SSL_ctrl(self.ssl.as_ptr(), ffi::DTLS_CTRL_GET_TIMEOUT, 0, pointer) };
        if runs != 1 {
            return None;
        }
        let seconds = u64::try_from(left.tv_sec).unwrap_or(0);
        let micros = u64::try_from(left.tv_usec).unwrap_or(0);
        Some(Duration::from_secs(seconds) + Duration::from_micros(micros))
    }

    /// Resends the last flight if libssl's timer has run out. Corresponds to `DTLSv1_handle_timeout`.
    pub(crate) fn handle_timeout(&mut self) -> Outcome {
        if let Err(stack) = self.restore_buffers() {
            return Outcome::Failed(stack);
        }
        let outcome = call(&self.ssl, |ssl| {
            // SAFETY: `ssl` is valid; the control takes no argument.
            let answer =
                unsafe { ffi::SSL_ctrl(ssl, ffi::DTLS_CTRL_HANDLE_TIMEOUT, 0, ptr::null_mut()) };
            // 0 says that the timer had not run out: nothing to do is done as well.
            if answer < 0 { -1 } else { 1 }
        });
        match outcome {
            // The flight is out again, and its answer is what the handshake waits for.
            Outcome::Done => Outcome::Waits,
            // -1 is final here, whatever `SSL_get_error` makes of it.
            Outcome::Waits | Outcome::CloseNotify => Outcome::Failed(ErrorStack::get()),
            failed @ Outcome::Failed(_) => failed,
        }
    }

    /// Gives libssl's record buffers back until the next call. Corresponds to `SSL_free_buffers`.
    pub(crate) fn release_buffers(&mut self) {
        if !self.buffers_released {
            // SAFETY: `ssl` is valid; libssl refuses while the buffers hold something.
            self.buffers_released = unsafe { ffi::SSL_free_buffers(self.ssl.as_ptr()) == 1 };
        }
    }

    /// Undoes [`BoundSsl::release_buffers`]. Corresponds to `SSL_alloc_buffers`.
    fn restore_buffers(&mut self) -> Result<(), ErrorStack> {
        if self.buffers_released {
            // SAFETY: no pointers are involved.
            unsafe { ffi::ERR_clear_error() };
            // SAFETY: `ssl` is valid.
            if unsafe { ffi::SSL_alloc_buffers(self.ssl.as_ptr()) } != 1 {
                return Err(ErrorStack::get());
            }
            self.buffers_released = false;
        }
        Ok(())
    }

    /// The name or address the peer's certificate was checked against and has. Corresponds to `SSL_get0_peername`.
    pub(crate) fn verified_name(&self) -> Option<String> {
        // SAFETY: `ssl` is valid.
        let name = unsafe { ffi::SSL_get0_peername(self.ssl.as_ptr()) };
        if name.is_null() {
            return None;
        }
        // SAFETY: libssl answers a string that lives until the next handshake.
        let name = unsafe { CStr::from_ptr(name) };
        name.to_str().ok().map(str::to_owned)
    }

    /// Makes an error of what libssl, or a callback inside it, left when it gave up.
    pub(crate) fn error(&self, stack: ErrorStack) -> Error {
        let parked = parking::take(&self.ssl);
        if let Some(error) = parked.error {
            return error;
        }
        let (verified, depth) = (self.ssl.verify_result(), self.state().rejected_depth);
        let mut error = reason::classify(stack, verified, depth);
        if let Error::CertificateRejected { errors, .. } = &mut error {
            *errors = parked.verification_errors;
        }
        error
    }
}

/// The funnel: clears this thread's error queue, calls, takes the queue, goes on with a parked panic, and sorts the answer.
fn call(ssl: &SslRef, verb: impl FnOnce(*mut ffi::SSL) -> c_int) -> Outcome {
    let raw = ssl.as_ptr();
    // SAFETY: no pointers are involved.
    unsafe { ffi::ERR_clear_error() };
    let answer = verb(raw);
    // SAFETY: `raw` is valid; asked at once, while the queue is as the call left it.
    let kind = unsafe { ffi::SSL_get_error(raw, answer) };
    let stack = ErrorStack::get();
    guard::resume();
    match kind {
        _ if answer > 0 => Outcome::Done,
        ffi::SSL_ERROR_ZERO_RETURN => Outcome::CloseNotify,
        ffi::SSL_ERROR_SSL | ffi::SSL_ERROR_SYSCALL => Outcome::Failed(stack),
        // WANT_READ, or WANT_X509_LOOKUP and the like where an adopted context's callback asks to be called again.
        _ => Outcome::Waits,
    }
}
