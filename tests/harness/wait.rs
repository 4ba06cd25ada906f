//! Waiting for a condition, within a bound.

use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine with two cores.
pub const BOUND: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// What `look` finds, as soon as it finds something.
///
/// # Panics
/// When it finds nothing within [`BOUND`]; `what` says what was missing.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(BOUND, what, look).await
}

/// As [`until`], for what takes longer by its nature.
///
/// # Panics
/// When it finds nothing within `bound`.
pub async fn until_within<T>(
    bound: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < bound, "waited {bound:?} in vain: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
