//! How many refusals are logged: under overload, or when somebody tries keys, there are thousands
//! a second, each like the one before. The metrics count them all.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// Lines of one second.
const MOST_LINES: u32 = 20;

/// The lines of one listener.
#[derive(Debug)]
pub struct Flood {
    since: Instant,
    second: AtomicU64,
    lines: AtomicU32,
    passed_over: AtomicU64,
}

impl Default for Flood {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            second: AtomicU64::new(0),
            lines: AtomicU32::new(0),
            passed_over: AtomicU64::new(0),
        }
    }
}

impl Flood {
    /// Whether a line may be written now, and how many were passed over since the last one.
    /// Counts are relaxed: a line more or less at the turn of a second is none too many.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let second = now.saturating_duration_since(self.since).as_secs();
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.lines.store(0, Ordering::Relaxed);
        }
        if self.lines.fetch_add(1, Ordering::Relaxed) < MOST_LINES {
            return Some(self.passed_over.swap(0, Ordering::Relaxed));
        }
        self.passed_over.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn so_many_lines_a_second_and_the_rest_is_counted() {
        let flood = Flood::default();
        let admitted = |now| (0..100).filter_map(|_| flood.admit(now)).collect::<Vec<_>>();
        let now = Instant::now();
        assert_eq!(admitted(now), vec![0; MOST_LINES as usize]);
        let later = admitted(now + Duration::from_secs(1));
        assert_eq!((later.len(), later[0], later[1]), (MOST_LINES as usize, 80, 0));
    }
}
