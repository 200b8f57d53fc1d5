//! Hands the keys of a [`TicketRing`] to libssl.

use core::ffi::{c_char, c_int};
use core::ptr;
use std::sync::OnceLock;

use foreign_types::ForeignTypeRef;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::rand::rand_bytes;
use openssl::ssl::{Ssl, SslContextBuilder, SslRef};

use super::ffi;
use crate::error::Error;
use crate::ticket::{TicketKey, TicketRing};
use crate::{guard, parking};

/// Bytes of a key's name in a ticket.
const NAME_LEN: usize = 16;
/// Bytes of an initialisation vector of AES in CBC mode, which is `EVP_MAX_IV_LENGTH`.
const IV_LEN: usize = 16;
/// The callback's answers.
const FAILED: c_int = -1;
const NO_KEY: c_int = 0;
const USE: c_int = 1;
const USE_AND_RENEW: c_int = 2;

/// Where in an `SSL` its ring is.
fn index() -> Result<Index<Ssl, TicketRing>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, TicketRing>> = OnceLock::new();
    if let Some(index) = INDEX.get() {
        return Ok(*index);
    }
    let index = Ssl::new_ex_index()?;
    Ok(*INDEX.get_or_init(|| index))
}

/// Makes servers of `builder` ask the ring of each `SSL`. Corresponds to `SSL_CTX_set_tlsext_ticket_key_evp_cb`.
pub(crate) fn install(builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
    // SAFETY: the context is valid, and the callback keeps its contract.
    let answer =
        unsafe { ffi::SSL_CTX_set_tlsext_ticket_key_evp_cb(builder.as_ptr(), Some(key_callback)) };
    if answer == 1 {
        Ok(())
    } else {
        Err(ErrorStack::get())
    }
}

/// Gives `ssl` the ring that its tickets are made with.
pub(crate) fn attach(ssl: &mut SslRef, ring: &TicketRing) -> Result<(), ErrorStack> {
    ssl.set_ex_data(index()?, ring.clone());
    Ok(())
}

unsafe extern "C" fn key_callback(
    ssl: *mut ffi::SSL,
    name: *mut u8,
    iv: *mut u8,
    cipher: *mut ffi::EVP_CIPHER_CTX,
    mac: *mut ffi::EVP_MAC_CTX,
    encrypt: c_int,
) -> c_int {
    // SAFETY: libssl calls with the valid `SSL` of a connection, and nobody else uses it meanwhile.
    let ssl = unsafe { SslRef::from_ptr(ssl) };
    guard::run(FAILED, || {
        let Some(ring) = index().ok().and_then(|index| ssl.ex_data(index)) else {
            return NO_KEY;
        };
        let answer = if encrypt == 1 {
            // SAFETY: libssl lends room for the name of a ticket and for the vector that follows it.
            unsafe { begin_encryption(ring, name, iv, cipher, mac) }
        } else {
            // SAFETY: libssl lends the name of a ticket and the vector that follows it.
            unsafe { begin_decryption(ring, name, iv, cipher, mac) }
        };
        answer.unwrap_or_else(|stack| {
            parking::park_error(ssl, Error::Random(stack));
            FAILED
        })
    })
}

/// Makes ready to encrypt a ticket with the current key.
///
/// # Errors
///
/// The random generator's.
///
/// # Safety
///
/// Room for [`NAME_LEN`] bytes at `name` and for [`IV_LEN`] at `iv`; valid contexts.
unsafe fn begin_encryption(
    ring: &TicketRing,
    name: *mut u8,
    iv: *mut u8,
    cipher: *mut ffi::EVP_CIPHER_CTX,
    mac: *mut ffi::EVP_MAC_CTX,
) -> Result<c_int, ErrorStack> {
    let key = ring.current();
    let mut vector = [0; IV_LEN];
    rand_bytes(&mut vector)?;
    // SAFETY: the caller's promise.
    unsafe { ptr::copy_nonoverlapping(key.name.as_ptr(), name, NAME_LEN) };
    // SAFETY: the caller's promise.
    unsafe { ptr::copy_nonoverlapping(vector.as_ptr(), iv, IV_LEN) };
    // SAFETY: takes no arguments.
    let aes = unsafe { ffi::EVP_aes_256_cbc() };
    let no_engine = ptr::null_mut();
    // SAFETY: the context is valid, and key and vector have the lengths of AES-256-CBC.
    let ready = unsafe { ffi::EVP_EncryptInit_ex(cipher, aes, no_engine, key.cipher.as_ptr(), iv) };
    // SAFETY: the context is valid.
    let ready = ready == 1 && unsafe { set_mac_key(mac, &key) };
    Ok(if ready { USE } else { FAILED })
}

/// Makes ready to decrypt a ticket with the key it names, if there is one.
///
/// # Safety
///
/// [`NAME_LEN`] bytes at `name` and [`IV_LEN`] at `iv`; valid contexts.
unsafe fn begin_decryption(
    ring: &TicketRing,
    name: *const u8,
    iv: *const u8,
    cipher: *mut ffi::EVP_CIPHER_CTX,
    mac: *mut ffi::EVP_MAC_CTX,
) -> Result<c_int, ErrorStack> {
    // SAFETY: the caller's promise.
    let name = unsafe { core::slice::from_raw_parts(name, NAME_LEN) };
    let Some((key, is_current)) = ring.find(name) else {
        return Ok(NO_KEY);
    };
    // SAFETY: takes no arguments.
    let aes = unsafe { ffi::EVP_aes_256_cbc() };
    let no_engine = ptr::null_mut();
    // SAFETY: the context is valid, and key and vector have the lengths of AES-256-CBC.
    let ready = unsafe { ffi::EVP_DecryptInit_ex(cipher, aes, no_engine, key.cipher.as_ptr(), iv) };
    // SAFETY: the context is valid.
    let ready = ready == 1 && unsafe { set_mac_key(mac, &key) };
    Ok(match (ready, is_current) {
        (false, _) => FAILED,
        (true, true) => USE,
        (true, false) => USE_AND_RENEW,
    })
}

/// Makes `mac` an HMAC-SHA256 with the key's second half.
///
/// # Safety
///
/// `mac` is a valid context of an HMAC.
unsafe fn set_mac_key(mac: *mut ffi::EVP_MAC_CTX, key: &TicketKey) -> bool {
    let (name, start) = (c"key".as_ptr(), key.mac.as_ptr().cast_mut().cast());
    // SAFETY: describes the key's bytes, which are only read.
    let key = unsafe { ffi::OSSL_PARAM_construct_octet_string(name, start, key.mac.len()) };
    let digest: *mut c_char = c"SHA256".as_ptr().cast_mut();
    // SAFETY: describes a string that lives for ever and is only read; 0 asks for its length to be counted.
    let digest = unsafe { ffi::OSSL_PARAM_construct_utf8_string(c"digest".as_ptr(), digest, 0) };
    // SAFETY: takes no arguments.
    let end = unsafe { ffi::OSSL_PARAM_construct_end() };
    let params = [key, digest, end];
    // SAFETY: the context is valid and the list has its end.
    unsafe { ffi::EVP_MAC_CTX_set_params(mac, params.as_ptr()) == 1 }
}
