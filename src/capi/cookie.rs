//! Cookie secrets.

use std::time::{Instant, SystemTime};

use super::error::{failed, odtls_result};
use super::handle::{bytes, free, give, object, required};
use super::panic::guarded;
use crate::cookie::{ClockAnchor, CookieRing, CookieSecret};

/// The secrets that cookies are made with. Can be used by any number of threads at once.
#[derive(Debug)]
pub struct odtls_cookie_ring(pub(super) CookieRing);

/// Fewest bytes of a shared secret.
pub const ODTLS_COOKIE_SECRET_LEN: usize = CookieSecret::LEN;

fn anchor() -> ClockAnchor {
    ClockAnchor::new(Instant::now(), SystemTime::now())
}

/// A ring with a random secret, which changes by itself every hour.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_cookie_ring_new(ring: *mut *mut odtls_cookie_ring) -> odtls_result {
    guarded(|| {
        let ring = required(ring)?;
        let made = CookieRing::random(anchor()).map_err(failed)?;
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { give(ring, odtls_cookie_ring(made)) };
        Ok(())
    })
}

/// A ring with a secret that several servers share: at least `ODTLS_COOKIE_SECRET_LEN` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_cookie_ring_new_shared(
    secret: *const u8,
    secret_len: usize,
    ring: *mut *mut odtls_cookie_ring,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for bytes.
        let secret = unsafe { bytes(secret, secret_len) }?;
        let ring = required(ring)?;
        let secret = CookieSecret::from_shared(secret).map_err(failed)?;
        // SAFETY: not null, and the header's contract for outputs.
        unsafe {
            give(
                ring,
                odtls_cookie_ring(CookieRing::shared(secret, anchor())),
            )
        };
        Ok(())
    })
}

/// Makes cookies with a new random secret from now on; those of the one before stay good until they expire.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_cookie_ring_rotate(ring: *mut odtls_cookie_ring) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let ring = unsafe { object(ring) }?;
        let secret = CookieSecret::random().map_err(failed)?;
        ring.0.rotate(secret, Instant::now());
        Ok(())
    })
}

/// As [`odtls_cookie_ring_rotate`], with a secret that several servers share.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_cookie_ring_rotate_shared(
    ring: *mut odtls_cookie_ring,
    secret: *const u8,
    secret_len: usize,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for objects.
        let ring = unsafe { object(ring) }?;
        // SAFETY: the header's contract for bytes.
        let secret = unsafe { bytes(secret, secret_len) }?;
        let secret = CookieSecret::from_shared(secret).map_err(failed)?;
        ring.0.rotate(secret, Instant::now());
        Ok(())
    })
}

/// Frees a ring; listeners and endpoints that use it keep it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_cookie_ring_free(ring: *mut odtls_cookie_ring) {
    // SAFETY: the header's contract for `_free`.
    unsafe { free(ring) };
}
