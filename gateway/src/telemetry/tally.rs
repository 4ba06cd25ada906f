//! Sums of one version since it was loaded, as Triton's extension "statistics" shows them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::now_ms;

/// A number of things and the time that they took together.
#[derive(Debug, Default)]
struct Sum {
    count: AtomicU64,
    ns: AtomicU64,
}

impl Sum {
    fn add(&self, took: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.ns.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    fn total(&self) -> Total {
        Total { count: self.count.load(Ordering::Relaxed), ns: self.ns.load(Ordering::Relaxed) }
    }
}

/// A [`Sum`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Total {
    pub count: u64,
    /// Nanoseconds.
    pub ns: u64,
}

/// The sums.
#[derive(Debug, Default)]
pub struct Tally {
    success: Sum,
    fail: Sum,
    queue: Sum,
    compute: Sum,
    rows: AtomicU64,
    last_ms: AtomicU64,
    /// Runs, by the rows in them: as many as there are sizes of batches.
    batches: Mutex<BTreeMap<usize, Total>>,
}

/// A [`Tally`] at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Requests that were answered.
    pub success: Total,
    pub fail: Total,
    /// What the answered ones waited.
    pub queue: Total,
    /// What their runs took.
    pub compute: Total,
    /// Rows that were run.
    pub rows: u64,
    /// When a request was answered last, in Unix milliseconds; 0: never.
    pub last_ms: u64,
    /// Runs and what they took, by the rows in them.
    pub batches: BTreeMap<usize, Total>,
}

impl Tally {
    /// A request was answered.
    pub fn answered(&self, total: Duration, queued: Duration, computed: Duration) {
        self.success.add(total);
        self.queue.add(queued);
        self.compute.add(computed);
        self.last_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// A request failed.
    pub fn failed(&self, total: Duration) {
        self.fail.add(total);
    }

    /// A run ended.
    pub fn ran(&self, rows: usize, computed: Duration) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let of = batches.entry(rows).or_default();
        of.count += 1;
        of.ns += computed.as_nanos() as u64;
    }

    /// All sums.
    pub fn told(&self) -> Told {
        Told {
            success: self.success.total(),
            fail: self.fail.total(),
            queue: self.queue.total(),
            compute: self.compute.total(),
            rows: self.rows.load(Ordering::Relaxed),
            last_ms: self.last_ms.load(Ordering::Relaxed),
            batches: self.batches.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_grow_by_request_and_by_run() {
        let (ms, tally) = (Duration::from_millis, Tally::default());
        assert_eq!(tally.told(), Told::default());
        tally.ran(3, ms(2));
        tally.ran(3, ms(4));
        tally.ran(1, ms(1));
        tally.answered(ms(9), ms(5), ms(4));
        tally.failed(ms(7));
        let told = tally.told();
        let total = |count, ms: u64| Total { count, ns: ms * 1_000_000 };
        assert_eq!((told.success, told.fail), (total(1, 9), total(1, 7)));
        assert_eq!((told.queue, told.compute), (total(1, 5), total(1, 4)));
        assert_eq!(told.rows, 7);
        assert!(told.last_ms > 0);
        assert_eq!(told.batches, BTreeMap::from([(1, total(1, 1)), (3, total(2, 6))]));
    }
}
