//! Keeps panics of user closures from crossing C.
//!
//! A closure that libssl calls through us runs in [`run`]. Its panic is parked on this thread and C is given a refusal; whoever
//! called into libssl takes the panic up again with [`resume`] as soon as the C function is back, whatever it returned.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

thread_local! {
    static PARKED: RefCell<Option<Box<dyn Any + Send>>> = const { RefCell::new(None) };
}

/// Runs `closure`; if it panics, or a panic is parked already, answers `refusal`.
///
/// With a panic parked no closure runs: libssl may call several times before it returns, and the first panic is the one to tell.
pub(crate) fn run<R>(refusal: R, closure: impl FnOnce() -> R) -> R {
    if PARKED.with_borrow(Option::is_some) {
        return refusal;
    }
    match catch_unwind(AssertUnwindSafe(closure)) {
        Ok(answer) => answer,
        Err(payload) => {
            PARKED.with_borrow_mut(|parked| *parked = Some(payload));
            refusal
        }
    }
}

/// Goes on with the parked panic, if there is one.
pub(crate) fn resume() {
    if let Some(payload) = PARKED.with_borrow_mut(Option::take) {
        resume_unwind(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_panic_is_parked_and_resumed_once() {
        assert_eq!(run(0, || 1), 1);
        assert_eq!(run(0, || panic!("first")), 0);
        assert_eq!(run(0, || unreachable!("runs no more closures")), 0);
        let payload = catch_unwind(resume).unwrap_err();
        assert_eq!(*payload.downcast::<&str>().unwrap(), "first");
        resume();
        assert_eq!(run(0, || 2), 2);
    }
}
