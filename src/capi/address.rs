//! Socket addresses as C has them.

use std::net::SocketAddr;

use socket2::{SockAddr, SockAddrStorage, socklen_t};

use super::error::odtls_result;

/// A `struct sockaddr`, which is only ever pointed to.
#[repr(C)]
#[derive(Debug)]
pub struct sockaddr {
    opaque: [u8; 0],
}

/// Reads an IPv4 or IPv6 address.
///
/// # Safety
///
/// `address` is null, or valid for reading `given` bytes.
pub(super) unsafe fn read(
    address: *const sockaddr,
    given: socklen_t,
) -> Result<SocketAddr, odtls_result> {
    let length = usize::try_from(given).map_err(|_| odtls_result::ODTLS_INVALID_ARGUMENT)?;
    // SAFETY: the caller's contract.
    let bytes = unsafe { super::handle::bytes(address.cast(), length) }?;
    let mut storage = SockAddrStorage::zeroed();
    if bytes.is_empty() || bytes.len() > size_of_val(&storage) {
        return Err(odtls_result::ODTLS_INVALID_ARGUMENT);
    }
    let start = (&raw mut storage).cast::<u8>();
    // SAFETY: the storage is at least as long as `bytes`, which was checked, and is not part of them.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len()) };
    let size = storage.size_of();
    // SAFETY: `size` bytes are initialised: with the address, and with zeroes behind it.
    let parsed = unsafe { SockAddr::new(storage, size) };
    let least = if parsed.is_ipv4() {
        SockAddr::from(V4).len()
    } else {
        SockAddr::from(V6).len()
    };
    if given < least {
        return Err(odtls_result::ODTLS_INVALID_ARGUMENT);
    }
    parsed
        .as_socket()
        .ok_or(odtls_result::ODTLS_INVALID_ARGUMENT)
}

const V4: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(
    std::net::Ipv4Addr::UNSPECIFIED,
    0,
));
const V6: SocketAddr = SocketAddr::V6(std::net::SocketAddrV6::new(
    std::net::Ipv6Addr::UNSPECIFIED,
    0,
    0,
    0,
));

/// Writes `value` to C, its length included. If it does not fit the length that is needed is written, and nothing else.
///
/// # Safety
///
/// `address` is null or valid for writing `*length` bytes; `length` is null or valid for reading and writing.
pub(super) unsafe fn write(
    value: SocketAddr,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> Result<(), odtls_result> {
    let length = super::handle::required(length)?;
    // SAFETY: not null, and the caller's contract.
    let room = unsafe { length.read() };
    let room = usize::try_from(room).map_err(|_| odtls_result::ODTLS_INVALID_ARGUMENT)?;
    let value = SockAddr::from(value);
    let size = usize::try_from(value.len()).unwrap_or(usize::MAX);
    // SAFETY: the caller's contract.
    let out = unsafe { super::handle::buffer(address.cast(), room) }?;
    // SAFETY: not null, and the caller's contract.
    unsafe { length.write(value.len() as socklen_t) };
    let Some(out) = out.get_mut(..size) else {
        return Err(odtls_result::ODTLS_BUFFER_TOO_SMALL);
    };
    // SAFETY: socket2 keeps `size` bytes there, and `out` has as many.
    unsafe { core::ptr::copy_nonoverlapping(value.as_ptr().cast(), out.as_mut_ptr(), size) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_there_and_back() {
        for text in ["127.0.0.1:4433", "[2001:db8::1%3]:5684", "[::1]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut storage = [0_u8; 128];
            let mut length = 128;
            // SAFETY: `storage` has `length` bytes.
            let written = unsafe { write(address, storage.as_mut_ptr().cast(), &raw mut length) };
            assert_eq!(written, Ok(()));
            // SAFETY: `storage` has `length` bytes.
            let whole = unsafe { read(storage.as_ptr().cast(), length) };
            assert_eq!(whole, Ok(address));
            // SAFETY: as above, and one less.
            let cut = unsafe { read(storage.as_ptr().cast(), length - 1) };
            assert_eq!(cut, Err(odtls_result::ODTLS_INVALID_ARGUMENT));
        }
    }

    #[test]
    fn other_families_and_lengths_are_refused() {
        let storage = [0xff_u8; 512];
        for length in [0, 1, 2, 16, 28, 128, 129, 512] {
            // SAFETY: `storage` has `length` bytes.
            let read = unsafe { read(storage.as_ptr().cast(), length) };
            assert_eq!(read, Err(odtls_result::ODTLS_INVALID_ARGUMENT), "{length}");
        }
        // SAFETY: null is allowed.
        let nothing = unsafe { read(core::ptr::null(), 16) };
        assert_eq!(nothing, Err(odtls_result::ODTLS_NULL_POINTER));
    }
}
