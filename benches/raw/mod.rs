//! DTLS by plain calls into libssl, as a C program makes them: the reference our cost is measured against.
//!
//! It does what libssl's documentation asks of a caller, clearing the error queue before each call included, and no more: no gate, no bounds, no
//! checks of what cannot fail here.

#![expect(
    unsafe_code,
    clippy::multiple_unsafe_ops_per_block,
    reason = "the reference is plain C calls"
)]

use core::ffi::{c_char, c_int, c_long, c_void};
use core::ptr;

use openssl_dtls::openssl::ssl::{Ssl, SslContext};
use openssl_sys as sys;

const BIO_TYPE_SOURCE_SINK: c_int = 0x0400;
const BIO_CTRL_DGRAM_GET_MTU_OVERHEAD: c_int = 49;
const SSL_OP_NO_QUERY_MTU: u64 = 1 << 12;
const SSL_OP_COOKIE_EXCHANGE: u64 = 1 << 13;

unsafe extern "C" {
    fn DTLSv1_listen(ssl: *mut sys::SSL, client: *mut c_void) -> c_int;
    fn BIO_ADDR_new() -> *mut c_void;
    fn BIO_ADDR_free(addr: *mut c_void);
    fn SSL_set_options(ssl: *mut sys::SSL, options: u64) -> u64;
    fn SSL_up_ref(ssl: *mut sys::SSL) -> c_int;
}

/// The other end's datagrams, and ours.
#[derive(Default)]
struct Wire {
    input: Vec<u8>,
    output: Vec<u8>,
    /// Lengths of the datagrams in `output`.
    lengths: Vec<usize>,
}

unsafe extern "C" fn read(bio: *mut sys::BIO, buffer: *mut c_char, room: c_int) -> c_int {
    // SAFETY: `RawEnd::new` stored a `Wire`, which only the trampolines touch while libssl runs.
    let wire = unsafe { &mut *sys::BIO_get_data(bio).cast::<Wire>() };
    // SAFETY: the BIO is valid.
    unsafe { sys::BIO_clear_retry_flags(bio) };
    if wire.input.is_empty() {
        // SAFETY: as above.
        unsafe { sys::BIO_set_retry_read(bio) };
        return -1;
    }
    let count = wire.input.len().min(room as usize);
    // SAFETY: libssl lends `room` bytes.
    unsafe { ptr::copy_nonoverlapping(wire.input.as_ptr().cast(), buffer, count) };
    wire.input.clear();
    count as c_int
}

unsafe extern "C" fn write(bio: *mut sys::BIO, buffer: *const c_char, count: c_int) -> c_int {
    // SAFETY: as in `read`.
    let wire = unsafe { &mut *sys::BIO_get_data(bio).cast::<Wire>() };
    // SAFETY: libssl lends `count` bytes.
    let datagram = unsafe { core::slice::from_raw_parts(buffer.cast::<u8>(), count as usize) };
    wire.output.extend_from_slice(datagram);
    wire.lengths.push(datagram.len());
    count
}

unsafe extern "C" fn ctrl(_: *mut sys::BIO, command: c_int, _: c_long, _: *mut c_void) -> c_long {
    match command {
        sys::BIO_CTRL_FLUSH => 1,
        BIO_CTRL_DGRAM_GET_MTU_OVERHEAD => 28,
        _ => 0,
    }
}

unsafe extern "C" fn create(bio: *mut sys::BIO) -> c_int {
    // SAFETY: the BIO is valid.
    unsafe { sys::BIO_set_init(bio, 1) };
    1
}

unsafe extern "C" fn destroy(bio: *mut sys::BIO) -> c_int {
    // SAFETY: `RawEnd::new` stored a boxed `Wire`, freed here and nowhere else.
    drop(unsafe { Box::from_raw(sys::BIO_get_data(bio).cast::<Wire>()) });
    1
}

fn method() -> *mut sys::BIO_METHOD {
    static METHOD: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    let address = *METHOD.get_or_init(|| {
        // SAFETY: the table is filled in before anybody uses it, and never freed.
        unsafe {
            let method = sys::BIO_meth_new(BIO_TYPE_SOURCE_SINK | 100, c"wire".as_ptr());
            sys::BIO_meth_set_read__fixed_rust(method, Some(read));
            sys::BIO_meth_set_write__fixed_rust(method, Some(write));
            sys::BIO_meth_set_ctrl__fixed_rust(method, Some(ctrl));
            sys::BIO_meth_set_create__fixed_rust(method, Some(create));
            sys::BIO_meth_set_destroy__fixed_rust(method, Some(destroy));
            method as usize
        }
    });
    address as *mut sys::BIO_METHOD
}

/// One end of a connection.
pub(crate) struct RawEnd {
    ssl: *mut sys::SSL,
    wire: *mut Wire,
    scratch: Vec<u8>,
}

impl RawEnd {
    pub(crate) fn new(context: &SslContext, server: bool, mtu: u32) -> RawEnd {
        use foreign_types::ForeignTypeRef as _;
        let mut owned = Ssl::new(context).expect("an SSL");
        if server {
            owned.set_accept_state();
        } else {
            owned.set_connect_state();
        }
        let ssl = owned.as_ptr();
        let wire = Box::into_raw(Box::<Wire>::default());
        // SAFETY: `ssl` is valid and takes over the one BIO for both directions; a reference of `ssl` outlives `owned`.
        unsafe {
            SSL_up_ref(ssl);
            let bio = sys::BIO_new(method());
            sys::BIO_set_data(bio, wire.cast());
            sys::SSL_set_bio(ssl, bio, bio);
            SSL_set_options(ssl, SSL_OP_NO_QUERY_MTU);
        }
        owned.set_mtu(mtu).expect("an MTU");
        RawEnd {
            ssl,
            wire,
            scratch: vec![0; 16_384],
        }
    }

    fn wire(&mut self) -> &mut Wire {
        // SAFETY: lives as long as the BIO, and libssl does not run while the reference does.
        unsafe { &mut *self.wire }
    }

    /// One step of the handshake; answers whether it is complete.
    pub(crate) fn handshake(&mut self) -> bool {
        // SAFETY: `ssl` is valid.
        unsafe {
            sys::ERR_clear_error();
            let answer = sys::SSL_do_handshake(self.ssl);
            if answer != 1 {
                let kind = sys::SSL_get_error(self.ssl, answer);
                assert_eq!(
                    kind,
                    sys::SSL_ERROR_WANT_READ,
                    "the reference's handshake failed: {}",
                    openssl_dtls::openssl::error::ErrorStack::get()
                );
            }
            answer == 1
        }
    }

    /// Runs `DTLSv1_listen` on one datagram; answers whether its cookie was good.
    pub(crate) fn listen(&mut self, datagram: &[u8]) -> bool {
        self.wire().input.extend_from_slice(datagram);
        // SAFETY: `ssl` is valid, and the address is freed once.
        unsafe {
            SSL_set_options(self.ssl, SSL_OP_COOKIE_EXCHANGE);
            sys::ERR_clear_error();
            let client = BIO_ADDR_new();
            let answer = DTLSv1_listen(self.ssl, client);
            BIO_ADDR_free(client);
            answer == 1
        }
    }

    pub(crate) fn receives(&mut self, datagram: &[u8]) {
        self.wire().input.extend_from_slice(datagram);
    }

    /// Hands every datagram that waits to `deliver`.
    pub(crate) fn drain(&mut self, mut deliver: impl FnMut(&[u8])) {
        let wire = self.wire();
        let output = std::mem::take(&mut wire.output);
        let lengths = std::mem::take(&mut wire.lengths);
        let mut at = 0;
        for length in &lengths {
            deliver(&output[at..at + length]);
            at += length;
        }
        // The memory is used again.
        let wire = self.wire();
        wire.output = output;
        wire.output.clear();
        wire.lengths = lengths;
        wire.lengths.clear();
    }

    pub(crate) fn send(&mut self, message: &[u8]) {
        let mut written = 0;
        // SAFETY: `ssl` is valid and `message` has as many bytes.
        unsafe {
            sys::ERR_clear_error();
            let answer = sys::SSL_write_ex(
                self.ssl,
                message.as_ptr().cast(),
                message.len(),
                &mut written,
            );
            assert_eq!(answer, 1);
        }
    }

    /// Reads one message; answers its length, 0 if there is none.
    pub(crate) fn read_into(&mut self, buffer: &mut [u8]) -> usize {
        let mut count = 0;
        // SAFETY: `ssl` is valid and `buffer` has as many bytes.
        unsafe {
            sys::ERR_clear_error();
            let room = buffer.len();
            let answer = sys::SSL_read_ex(self.ssl, buffer.as_mut_ptr().cast(), room, &mut count);
            if answer == 1 { count } else { 0 }
        }
    }

    /// Reads until nothing is left; answers how many bytes came.
    pub(crate) fn read(&mut self) -> usize {
        let mut total = 0;
        loop {
            let mut count = 0;
            // SAFETY: `ssl` is valid and `scratch` has as many bytes.
            unsafe {
                sys::ERR_clear_error();
                let room = self.scratch.len();
                let answer =
                    sys::SSL_read_ex(self.ssl, self.scratch.as_mut_ptr().cast(), room, &mut count);
                if answer != 1 {
                    assert_eq!(
                        sys::SSL_get_error(self.ssl, answer),
                        sys::SSL_ERROR_WANT_READ
                    );
                    return total;
                }
            }
            total += count;
        }
    }
}

impl Drop for RawEnd {
    fn drop(&mut self) {
        // SAFETY: owns one reference; the BIO and its wire go with it.
        unsafe { sys::SSL_free(self.ssl) };
    }
}

/// A handshake of two ends, without cookies.
pub(crate) fn connect(client: &mut RawEnd, server: &mut RawEnd) {
    loop {
        let client_done = client.handshake();
        let mut server_done = false;
        client.drain(|datagram| {
            server.receives(datagram);
            server_done = server.handshake();
        });
        let mut finished = client_done;
        server.drain(|datagram| {
            client.receives(datagram);
            finished = client.handshake();
        });
        if finished && server_done {
            return;
        }
    }
}
