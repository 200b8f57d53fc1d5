//! Option structs that may grow: their first field is the size the caller was compiled with.

use super::error::odtls_result;

/// A struct of numbers and pointers whose first field is `size: usize`, and for which all zeroes mean the defaults.
///
/// # Safety
///
/// The type is `repr(C)`, starts with a `usize`, has no padding that C would leave uninitialised at its end, and every bit pattern is a value of it.
pub(super) unsafe trait Options: Copy {
    /// All zeroes.
    const DEFAULT: Self;
}

/// Reads options of any known size.
///
/// A smaller struct, of an older header, gets the defaults for the rest. A larger one, of a newer header, is taken if what this library does not know
/// is zero.
///
/// # Safety
///
/// `options` is null, or valid for reading as many bytes as its first field says.
pub(super) unsafe fn read<T: Options>(options: *const T) -> Result<T, odtls_result> {
    if options.is_null() {
        return Ok(T::DEFAULT);
    }
    // SAFETY: the first field, by the caller's contract.
    let size = unsafe { options.cast::<usize>().read() };
    if size < size_of::<usize>() || size > 64 * 1024 {
        return Err(odtls_result::ODTLS_INVALID_ARGUMENT);
    }
    // SAFETY: the caller's contract.
    let given = unsafe { super::handle::bytes(options.cast(), size) }?;
    let (known, unknown) = given.split_at(size.min(size_of::<T>()));
    if unknown.iter().any(|&byte| byte != 0) {
        return Err(odtls_result::ODTLS_INVALID_ARGUMENT);
    }
    let mut read = T::DEFAULT;
    // SAFETY: `known` is no longer than the value, and every bit pattern is one of the type.
    unsafe {
        core::ptr::copy_nonoverlapping(known.as_ptr(), (&raw mut read).cast(), known.len());
    }
    Ok(read)
}

/// Writes a struct of results whose first field is the size the caller was compiled with: as much of it as the caller has room for.
///
/// # Safety
///
/// `out` is null, or valid for reading its first field and for writing as many bytes as that says.
pub(super) unsafe fn write<T: Options>(value: &T, out: *mut T) -> Result<(), odtls_result> {
    let out = super::handle::required(out)?;
    // SAFETY: the first field, by the caller's contract.
    let size = unsafe { out.cast::<usize>().read() };
    let first = size_of::<usize>();
    if size < first {
        return Err(odtls_result::ODTLS_INVALID_ARGUMENT);
    }
    let count = size.min(size_of::<T>()) - first;
    let (from, to) = (&raw const *value, out);
    // SAFETY: both have at least `first + count` bytes, and are different objects.
    unsafe {
        core::ptr::copy_nonoverlapping(
            from.cast::<u8>().wrapping_add(first),
            to.cast::<u8>().wrapping_add(first),
            count,
        );
    }
    Ok(())
}
