//! What a thread's work cost.

use std::time::Duration;

/// Processor time of this thread.
#[cfg(unix)]
#[expect(unsafe_code, reason = "std does not tell")]
pub(crate) fn time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: fills in the `timespec` it is lent.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The time of day instead, which is more than the work.
#[cfg(not(unix))]
pub(crate) fn time() -> Duration {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default()
}
