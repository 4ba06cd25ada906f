//! Panics of model code become errors.
//!
//! The runtime panics on some malformed or unusual models (an unwrapped option deep in an
//! optimiser pass). All its state is built inside the call or reached through an `Arc` that is
//! never written, so nothing half-changed is seen after a caught panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, ErrorKind};

/// Runs `work`; a panic inside becomes an error of kind [`ErrorKind::Panicked`].
pub(crate) fn guarded<T>(
    attempt: &str,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = panic_text(payload.as_ref());
        Err(Error::new(
            ErrorKind::Panicked,
            format!("{attempt}: the model's code panicked: {text}"),
        ))
    })
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_text() {
        let caught = guarded::<()>("loading", || panic!("index {} of {}", 3, 2)).unwrap_err();
        assert_eq!(caught.kind(), ErrorKind::Panicked);
        assert!(caught.to_string().contains("index 3 of 2"), "{caught}");
        assert_eq!(guarded("loading", || Ok(7)).unwrap(), 7);
    }
}
