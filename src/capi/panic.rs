//! Keeps panics on this side of the border.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::error::{odtls_result, remember};

/// Runs `body` and makes a result code of its error or its panic.
///
/// What a panic leaves behind is dropped with its object; every object can still be freed.
pub(super) fn guarded(body: impl FnOnce() -> Result<(), odtls_result>) -> odtls_result {
    match catch_unwind(AssertUnwindSafe(body)) {
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
    }
}
