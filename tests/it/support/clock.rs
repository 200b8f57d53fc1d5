//! A clock of each thread that stands still until it is moved.
//!
//! libssl reads the time with `gettimeofday` and `time` and has no way to set it. A binary that defines both symbols takes them
//! over from the C library, for a shared and for a static libssl. Where that does not work moving the clock sleeps.

use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    /// What this thread's clock was moved by; `None` before it is stopped.
    static MOVED: Cell<Option<Duration>> = const { Cell::new(None) };
    static STARTED: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Seconds that the wall clock, which is what libssl reads, was put forward or back.
    static STEPPED: Cell<i64> = const { Cell::new(0) };
}

/// Stops this thread's clock, or leaves it stopped, and answers what it says.
pub fn now() -> Instant {
    let started = STARTED.get().unwrap_or_else(|| {
        let now = Instant::now();
        STARTED.set(Some(now));
        now
    });
    if !cfg!(target_os = "linux") {
        return Instant::now();
    }
    let moved = MOVED.get().unwrap_or_default();
    MOVED.set(Some(moved));
    started + moved
}

/// Moves this thread's clock to `to`, if that lies ahead.
pub fn move_to(to: Instant) {
    let ahead = to.saturating_duration_since(now());
    if cfg!(target_os = "linux") {
        MOVED.set(MOVED.get().map(|moved| moved + ahead));
    } else {
        std::thread::sleep(ahead);
    }
}

/// Puts the wall clock forward or back by so many seconds; what [`now`] says stays.
pub fn step_wall_clock(seconds: i64) {
    STEPPED.set(STEPPED.get() + seconds);
}

#[cfg(target_os = "linux")]
mod preempted {
    #![expect(
        unsafe_code,
        reason = "takes the place of two functions of the C library"
    )]

    use core::ffi::{c_int, c_void};
    use std::time::Duration;

    use super::{MOVED, STEPPED};

    /// Any moment will do for a stopped clock: 2030.
    const EPOCH: Duration = Duration::from_secs(1_893_456_000);

    fn unix_time() -> Duration {
        if let Ok(Some(moved)) = MOVED.try_with(|moved| moved.get()) {
            let stepped = STEPPED.try_with(|stepped| stepped.get()).unwrap_or(0);
            let size = Duration::from_secs(stepped.unsigned_abs());
            return if stepped < 0 {
                EPOCH + moved - size
            } else {
                EPOCH + moved + size
            };
        }
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: fills in the `timespec` it is lent.
        unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn gettimeofday(out: *mut libc::timeval, _zone: *mut c_void) -> c_int {
        let time = unix_time();
        let time = libc::timeval {
            tv_sec: time.as_secs() as libc::time_t,
            tv_usec: libc::suseconds_t::from(time.subsec_micros()),
        };
        if !out.is_null() {
            // SAFETY: the caller lends one `timeval`.
            unsafe { out.write(time) };
        }
        0
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn time(out: *mut libc::time_t) -> libc::time_t {
        let time = unix_time().as_secs() as libc::time_t;
        if !out.is_null() {
            // SAFETY: the caller lends one `time_t`.
            unsafe { out.write(time) };
        }
        time
    }
}
