//! Pointers from C, and the references and copies that are made of them.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use super::error::{Failure, odtls_result, text_of};

/// What every object is: a value that one call at a time may use, and the text of its last failure.
#[derive(Debug)]
pub(super) struct Object<T> {
    value: Mutex<T>,
    last_error: Mutex<String>,
}

impl<T> Object<T> {
    pub(super) fn new(value: T) -> Object<T> {
        Object {
            value: Mutex::new(value),
            last_error: Mutex::new(String::new()),
        }
    }

    /// The value, or `ODTLS_BUSY` while another call has it. A value that a panic left is still sound.
    pub(super) fn lock(&self) -> Result<MutexGuard<'_, T>, odtls_result> {
        match self.value.try_lock() {
            Ok(guard) => Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(odtls_result::ODTLS_BUSY),
        }
    }

    /// Remembers the text of `error` for this object and for this thread.
    pub(super) fn remember<E: Failure>(&self, error: &E) {
        let text = text_of(error);
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&text);
        super::error::remember(text);
    }

    /// Remembers `error`, and answers its code.
    pub(super) fn failed<E: Failure>(&self, error: E) -> odtls_result {
        self.remember(&error);
        error.result()
    }

    /// The text of the last failure; empty if there was none.
    pub(super) fn last_error(&self) -> String {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The object behind `pointer`.
///
/// # Safety
///
/// `pointer` is null, or points to a live `T` that is not freed while the reference is used.
pub(super) unsafe fn object<'a, T>(pointer: *const T) -> Result<&'a T, odtls_result> {
    // SAFETY: the caller's contract.
    unsafe { pointer.as_ref() }.ok_or(odtls_result::ODTLS_NULL_POINTER)
}

/// Hands `value` to C.
///
/// # Safety
///
/// `out` is not null and valid for a write.
pub(super) unsafe fn give<T>(out: *mut *mut T, value: T) {
    // SAFETY: the caller's contract.
    unsafe { out.write(Box::into_raw(Box::new(value))) };
}

/// Takes an object back and drops it.
///
/// # Safety
///
/// `pointer` is null, or was made by [`give`] and not freed before.
pub(super) unsafe fn free<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // There is nobody to answer, so a panic of a drop is only remembered as this thread's last failure.
        let _: odtls_result = super::panic::guarded(|| {
            // SAFETY: the caller's contract.
            drop(unsafe { Box::from_raw(pointer) });
            Ok(())
        });
    }
}

/// Whether a place for an output was given.
pub(super) fn required<T>(out: *mut T) -> Result<*mut T, odtls_result> {
    if out.is_null() {
        Err(odtls_result::ODTLS_NULL_POINTER)
    } else {
        Ok(out)
    }
}

/// Bytes lent by C: a null pointer is allowed with a length of zero.
///
/// # Safety
///
/// `pointer` is null, or valid for reading `length` bytes while the slice is used.
pub(super) unsafe fn bytes<'a>(
    pointer: *const u8,
    length: usize,
) -> Result<&'a [u8], odtls_result> {
    match (pointer.is_null(), length) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(odtls_result::ODTLS_NULL_POINTER),
        _ if isize::try_from(length).is_err() => Err(odtls_result::ODTLS_INVALID_ARGUMENT),
        // SAFETY: not null, no longer than a slice may be, and the caller's contract.
        _ => Ok(unsafe { core::slice::from_raw_parts(pointer, length) }),
    }
}

/// A buffer lent by C for writing, as [`bytes`].
///
/// # Safety
///
/// `pointer` is null, or valid for writing `length` bytes while the slice is used. The bytes may be uninitialised only in the sense of C: they are
/// written before they are read.
pub(super) unsafe fn buffer<'a>(
    pointer: *mut u8,
    length: usize,
) -> Result<&'a mut [u8], odtls_result> {
    match (pointer.is_null(), length) {
        (_, 0) => Ok(&mut []),
        (true, _) => Err(odtls_result::ODTLS_NULL_POINTER),
        _ if isize::try_from(length).is_err() => Err(odtls_result::ODTLS_INVALID_ARGUMENT),
        // SAFETY: not null, no longer than a slice may be, and the caller's contract.
        _ => Ok(unsafe { core::slice::from_raw_parts_mut(pointer, length) }),
    }
}

/// A string lent by C in UTF-8; `None` for a null pointer.
///
/// # Safety
///
/// `pointer` is null, or points to a string that ends in a zero byte and stays while the slice is used.
pub(super) unsafe fn string<'a>(
    pointer: *const core::ffi::c_char,
) -> Result<Option<&'a str>, odtls_result> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's contract.
    let string = unsafe { core::ffi::CStr::from_ptr(pointer) };
    string
        .to_str()
        .map(Some)
        .map_err(|_| odtls_result::ODTLS_INVALID_ARGUMENT)
}

/// Copies `value` to C: its length always, its bytes if they fit.
///
/// # Safety
///
/// `pointer` and `size` are as for [`buffer`]; `length` is null or valid for a write.
pub(super) unsafe fn copy_out(
    value: &[u8],
    pointer: *mut u8,
    size: usize,
    length: *mut usize,
) -> Result<(), odtls_result> {
    let length = required(length)?;
    // SAFETY: the caller's contract.
    let room = unsafe { buffer(pointer, size) }?;
    // SAFETY: not null, and the caller's contract.
    unsafe { length.write(value.len()) };
    match room.get_mut(..value.len()) {
        Some(room) => {
            room.copy_from_slice(value);
            Ok(())
        }
        None => Err(odtls_result::ODTLS_BUFFER_TOO_SMALL),
    }
}
