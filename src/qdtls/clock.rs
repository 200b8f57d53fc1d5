//! Where the time comes from.

use std::time::Instant;

/// A clock; the system's unless told otherwise.
#[derive(Default)]
pub(super) struct Clock(Option<Box<dyn Fn() -> Instant + Send>>);

impl Clock {
    pub(super) fn new(clock: impl Fn() -> Instant + Send + 'static) -> Clock {
        Clock(Some(Box::new(clock)))
    }

    pub(super) fn now(&self) -> Instant {
        self.0.as_ref().map_or_else(Instant::now, |clock| clock())
    }
}
