//! Option structs that may grow: their first field is the size the caller was compiled with.

use super::error::odtls_result;

/// A struct of numbers and pointers whose first field is `size: usize`, and for which all zeroes mean the defaults.
///
/// # Safety
///
/// The type is `repr(C)`, starts with a `usize`, and every bit pattern is a value of it.
pub(super) unsafe trait Options: Copy {
    /// All zeroes.
    const DEFAULT: Self;
}

/// Options that were read.
pub(super) struct Read<T> {
    /// What this library knows of them.
    pub(super) known: T,
    /// Whether there is something it does not know.
    has_unknown: bool,
}

impl<T> Read<T> {
    /// The options, if this library knows all that is set in them.
    pub(super) fn complete(self) -> Result<T, odtls_result> {
        if self.has_unknown {
            super::error::remember("options that this version does not know are set".to_owned());
            return Err(odtls_result::ODTLS_INVALID_ARGUMENT);
        }
        Ok(self.known)
    }
}

/// Reads options of any known size.
///
/// A smaller struct, of an older header, gets the defaults for the rest. A larger one, of a newer header, is taken if what this library does not know
/// is zero.
///
/// # Safety
///
/// `options` is null, or aligned and valid for reading as many bytes as its first field says.
pub(super) unsafe fn read<T: Options>(options: *const T) -> Result<Read<T>, odtls_result> {
    let mut read = Read {
        known: T::DEFAULT,
        has_unknown: false,
    };
    if options.is_null() {
        return Ok(read);
    }
    // SAFETY: the first field, by the caller's contract.
    let size = check_size(unsafe { options.cast::<usize>().read() })?;
    // SAFETY: the caller's contract.
    let given = unsafe { super::handle::bytes(options.cast(), size) }?;
    let (known, unknown) = given.split_at(size.min(size_of::<T>()));
    read.has_unknown = unknown.iter().any(|&byte| byte != 0);
    let to = (&raw mut read.known).cast();
    // SAFETY: `known` is no longer than the value, and every bit pattern is one of the type.
    unsafe { core::ptr::copy_nonoverlapping(known.as_ptr(), to, known.len()) };
    Ok(read)
}

/// A size that a struct of options can have in C: whole fields, and not absurd.
fn check_size(size: usize) -> Result<usize, odtls_result> {
    if size < size_of::<usize>() || size > 64 * 1024 || !size.is_multiple_of(size_of::<usize>()) {
        super::error::remember(format!(
            "a struct cannot have {size} bytes: set its first field"
        ));
        return Err(odtls_result::ODTLS_INVALID_ARGUMENT);
    }
    Ok(size)
}

/// Writes a struct of results whose first field is the size the caller was compiled with: as much of it as the caller has room for, and zeroes behind it.
///
/// # Safety
///
/// `out` is null, or aligned, and valid for reading its first field and for writing as many bytes as that says.
pub(super) unsafe fn write<T: Options>(value: &T, out: *mut T) -> Result<(), odtls_result> {
    let out = super::handle::required(out)?;
    // SAFETY: the first field, by the caller's contract.
    let size = check_size(unsafe { out.cast::<usize>().read() })?;
    let first = size_of::<usize>();
    let known = size.min(size_of::<T>());
    let from = (&raw const *value).cast::<u8>().wrapping_add(first);
    let to = out.cast::<u8>();
    // SAFETY: both have at least `known` bytes, and are different objects.
    unsafe { core::ptr::copy_nonoverlapping(from, to.wrapping_add(first), known - first) };
    // SAFETY: the caller has `size` bytes.
    unsafe { core::ptr::write_bytes(to.wrapping_add(known), 0, size - known) };
    Ok(())
}
