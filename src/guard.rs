//! Keeps what user closures must not do to C away from it: panics, and errors left on the thread.
//!
//! A closure that libssl calls through us runs in [`run`]. Its panic is parked on this thread and C is given a refusal; whoever
//! called into libssl takes the panic up again with [`resume`] as soon as the C function is back, whatever it returned.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use openssl::error::ErrorStack;

thread_local! {
    static PARKED: RefCell<Option<Box<dyn Any + Send>>> = const { RefCell::new(None) };
}

/// Runs `closure`; if it panics, or a panic is parked already, answers `refusal`.
///
/// With a panic parked no closure runs: libssl may call several times before it returns, and the first panic is the one to tell.
pub(crate) fn run<R>(refusal: R, closure: impl FnOnce() -> R) -> R {
    if is_parked() {
        return refusal;
    }
    // libssl takes whatever lies in this thread's error queue for its own: neither side may see the other's.
    let before = ErrorStack::get();
    let outcome = catch_unwind(AssertUnwindSafe(closure));
    drop(ErrorStack::get());
    before.put();
    match outcome {
        Ok(answer) => answer,
        Err(payload) => {
            park(payload);
            refusal
        }
    }
}

/// Goes on with the parked panic, if there is one.
pub(crate) fn resume() {
    let parked = PARKED.try_with(|parked| parked.borrow_mut().take());
    if let Ok(Some(payload)) = parked {
        resume_unwind(payload);
    }
}

/// Programs in C call also while their thread ends, when the place to park is gone: then nothing is parked.
fn is_parked() -> bool {
    PARKED
        .try_with(|parked| parked.borrow().is_some())
        .unwrap_or(false)
}

fn park(payload: Box<dyn Any + Send>) {
    // Where there is no place left the panic ends here: the refusal is all that can be told.
    PARKED
        .try_with(|parked| *parked.borrow_mut() = Some(payload))
        .unwrap_or_default();
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

    #[test]
    fn errors_on_the_thread_are_kept_apart() {
        let error = || openssl::x509::X509::from_pem(b"no certificate").unwrap_err();
        let earlier = error();
        earlier.put();
        run((), || {
            assert!(ErrorStack::get().errors().is_empty());
            error().put();
        });
        assert_eq!(ErrorStack::get().errors().len(), earlier.errors().len());
        run((), || error().put());
        assert!(ErrorStack::get().errors().is_empty());
    }
}
