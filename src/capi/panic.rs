//! Keeps panics on this side of the border.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::error::{forget_freshness, odtls_result, remember, remember_result};

/// Runs `body` and makes a result code of its error or its panic.
///
/// What a panic leaves behind is sound: a connection that was at work is over, everything else goes on.
pub(super) fn guarded(body: impl FnOnce() -> Result<(), odtls_result>) -> odtls_result {
    forget_freshness();
    let result = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => odtls_result::ODTLS_OK,
        Ok(Err(result)) => result,
        Err(payload) => {
            let text = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned());
            remember(format!("a panic: {}", text.unwrap_or_default()));
            odtls_result::ODTLS_PANIC
        }
    };
    remember_result(result);
    result
}
