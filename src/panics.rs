//! Panics are caught, and become errors.

use crate::error::{Code, Error};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `f`. If it panics, the result is that of `on_panic`, which gets the panic message.
#[inline]
pub fn catch_panic<T>(on_panic: impl FnOnce(&str) -> T, f: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => value,
        Err(panic) => {
            let message = panic
                .downcast_ref::<&str>()
                .map(|s| s.to_string())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            on_panic(&message)
        }
    }
}

/// The error that a caller gets for a panic.
pub fn panic_error(message: &str) -> Error {
    Error::new(
        Code::Internal,
        format_args!("a bug in librediscluster: {message}"),
    )
}
