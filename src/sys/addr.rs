//! `BIO_ADDR`, libcrypto's socket address.

use core::ffi::{c_int, c_ushort, c_void};
use std::net::{IpAddr, SocketAddr};

use foreign_types::{ForeignType, ForeignTypeRef, foreign_type};
use openssl::error::ErrorStack;

use super::ffi;

/// Address family numbers as this system's C library has them.
#[cfg(not(windows))]
mod family {
    pub(super) use libc::{AF_INET, AF_INET6};
}
#[cfg(windows)]
mod family {
    pub(super) const AF_INET: core::ffi::c_int = 2;
    pub(super) const AF_INET6: core::ffi::c_int = 23;
}

foreign_type! {
    type CType = ffi::BIO_ADDR;
    fn drop = ffi::BIO_ADDR_free;

    /// An owned `BIO_ADDR`; made by `BIO_ADDR_new`, which clears it to `AF_UNSPEC`.
    pub struct BioAddr;
    /// A borrowed `BIO_ADDR`.
    pub struct BioAddrRef;
}

impl BioAddr {
    /// A cleared address.
    pub(crate) fn unspecified() -> Result<BioAddr, ErrorStack> {
        // SAFETY: takes no arguments.
        let addr = unsafe { ffi::BIO_ADDR_new() };
        if addr.is_null() {
            return Err(ErrorStack::get());
        }
        // SAFETY: `addr` is not null and nobody else owns it.
        Ok(unsafe { BioAddr::from_ptr(addr) })
    }
}

impl BioAddrRef {
    /// Writes `peer` into this address. Answers whether libcrypto took it.
    pub(crate) fn set(&mut self, peer: SocketAddr) -> bool {
        let octets: ([u8; 16], usize, c_int) = match peer.ip() {
            IpAddr::V4(ip) => {
                let mut bytes = [0; 16];
                bytes[..4].copy_from_slice(&ip.octets());
                (bytes, 4, family::AF_INET)
            }
            IpAddr::V6(ip) => (ip.octets(), 16, family::AF_INET6),
        };
        let (bytes, length, family) = octets;
        let port: c_ushort = peer.port().to_be();
        let bytes: *const c_void = bytes.as_ptr().cast();
        // SAFETY: `bytes` has 16 bytes, `length` is at most that, and `BIO_ADDR_rawmake` copies them.
        unsafe { ffi::BIO_ADDR_rawmake(self.as_ptr(), family, bytes, length, port) == 1 }
    }

    /// Reads the address back; `None` while it is cleared.
    #[cfg(test)]
    pub(crate) fn get(&self) -> Option<SocketAddr> {
        let mut bytes = [0_u8; 16];
        let mut length = 0_usize;
        // SAFETY: a null buffer asks for the length alone.
        let known = unsafe {
            ffi::BIO_ADDR_rawaddress(self.as_ptr(), core::ptr::null_mut(), &raw mut length)
        };
        if known != 1 || length > bytes.len() {
            return None;
        }
        // SAFETY: the address has `length` bytes, which the buffer holds.
        let known = unsafe {
            ffi::BIO_ADDR_rawaddress(
                self.as_ptr(),
                bytes.as_mut_ptr().cast(),
                core::ptr::null_mut(),
            )
        };
        // SAFETY: reads a field of a valid address.
        let port = u16::from_be(unsafe { ffi::BIO_ADDR_rawport(self.as_ptr()) });
        let ip = match (known, length) {
            (1, 4) => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
            (1, 16) => IpAddr::from(bytes),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_address_is_cleared() {
        assert_eq!(BioAddr::unspecified().unwrap().get(), None);
    }

    #[test]
    fn address_and_port_survive_the_way_through_c() {
        for text in [
            "127.0.0.1:4433",
            "[2001:db8::1]:65535",
            "0.0.0.0:1",
            "[::]:0",
        ] {
            let peer: SocketAddr = text.parse().unwrap();
            let mut addr = BioAddr::unspecified().unwrap();
            assert!(addr.set(peer));
            assert_eq!(addr.get(), Some(peer));
        }
    }
}
