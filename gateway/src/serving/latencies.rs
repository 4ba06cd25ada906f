//! How long the recent answers of a version took, in buckets 3 % apart.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use weighbridge_judge::{BUCKETS, Thresholds, bucket_of, quantile_ns};

/// A histogram that any thread may add to. Halved once a minute, it tells of the last minutes.
#[derive(Debug)]
pub struct LatencyHistogram {
    buckets: Box<[AtomicU32; BUCKETS]>,
}

/// So many are kept at least: the past is all that is known.
const FEWEST: u64 = 200;

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self { buckets: Box::new([const { AtomicU32::new(0) }; BUCKETS]) }
    }
}

impl LatencyHistogram {
    /// Adds one answer.
    pub fn record(&self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(nanos)].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts everything so far half.
    pub fn halve(&self) {
        let total: u64 = self.buckets.iter().map(|b| u64::from(b.load(Ordering::Relaxed))).sum();
        if total < 2 * FEWEST {
            return;
        }
        for bucket in self.buckets.iter() {
            let count = bucket.load(Ordering::Relaxed);
            // Of an odd count the last one goes by chance: most buckets of a tail hold only one.
            let goes = count / 2 + u32::from(count % 2 == 1 && rand::random());
            // What is added meanwhile stays whole: this is the only place that subtracts.
            bucket.fetch_sub(goes, Ordering::Relaxed);
        }
    }

    /// The quantiles that answer times are measured against, in nanoseconds; none when too
    /// little is known.
    pub fn thresholds(&self) -> Option<[u64; 8]> {
        Thresholds::of(&self.counts())
    }

    /// The time in nanoseconds that a share `q` of the answers did not exceed.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        quantile_ns(&self.counts(), q)
    }

    fn counts(&self) -> [f64; BUCKETS] {
        std::array::from_fn(|at| f64::from(self.buckets[at].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_follow_what_was_recorded_and_halving_keeps_them() {
        let histogram = LatencyHistogram::default();
        assert_eq!(histogram.thresholds(), None);
        for ms in 1..=1000 {
            histogram.record(Duration::from_millis(ms));
        }
        let median = |h: &LatencyHistogram| h.quantile(0.5).unwrap() as f64 / 1e6;
        assert!((median(&histogram) / 500.0 - 1.0).abs() < 0.04, "{}", median(&histogram));
        let before: f64 = histogram.counts().iter().sum();
        histogram.halve();
        let after: f64 = histogram.counts().iter().sum();
        // Each odd bucket may keep one more or less than half.
        assert!((after / before - 0.5).abs() < 0.1, "{after} of {before}");
        assert!((median(&histogram) / 500.0 - 1.0).abs() < 0.2, "{}", median(&histogram));
    }

    #[test]
    fn a_short_past_is_kept_whole() {
        let histogram = LatencyHistogram::default();
        (0..399).for_each(|_| histogram.record(Duration::from_millis(5)));
        histogram.halve();
        assert_eq!(histogram.counts().iter().sum::<f64>(), 399.0);
        histogram.record(Duration::from_millis(5));
        histogram.halve();
        assert_eq!(histogram.counts().iter().sum::<f64>(), 200.0);
    }

    #[test]
    fn halving_keeps_the_tail() {
        let histogram = LatencyHistogram::default();
        // Each in a bucket of its own, beside a body that fills one.
        (0..9_900).for_each(|_| histogram.record(Duration::from_millis(1)));
        (0..100).for_each(|n| histogram.record(Duration::from_millis(10) * (n + 1)));
        histogram.halve();
        let tail: f64 = histogram.counts()[bucket_of(5_000_000)..].iter().sum();
        assert!((25.0..=75.0).contains(&tail), "{tail} of 100");
    }
}
