//! How long the recent answers of a version took, in buckets 3 % apart.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use weighbridge_judge::{BUCKETS, Thresholds, bucket_of, quantile_ns};

/// A histogram that any thread may add to. Halved once a minute, it tells of the last minutes.
#[derive(Debug)]
pub struct LatencyHistogram {
    buckets: Box<[AtomicU32; BUCKETS]>,
}

/// Below this count it is not halved: the past is all that is known.
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
        if total < FEWEST {
            return;
        }
        for bucket in self.buckets.iter() {
            // What is added meanwhile stays whole: this is the only place that subtracts.
            let goes = bucket.load(Ordering::Relaxed).div_ceil(2);
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
        assert!(after <= before * 0.5 && after > 0.0, "{after}");
        assert!((median(&histogram) / 500.0 - 1.0).abs() < 0.2, "{}", median(&histogram));
    }

    #[test]
    fn a_short_past_is_kept_whole() {
        let histogram = LatencyHistogram::default();
        (0..50).for_each(|_| histogram.record(Duration::from_millis(5)));
        histogram.halve();
        assert_eq!(histogram.counts().iter().sum::<f64>(), 50.0);
    }
}
