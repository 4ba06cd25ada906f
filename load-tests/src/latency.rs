//! Latencies into percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Nanoseconds from 1 up to an hour with three significant digits: quick to record into, and
/// fine enough for differences of a few microseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3)
        .expect("the bounds are constants that hdrhistogram accepts")
}

/// Adds one latency; one beyond an hour counts as an hour.
pub fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(1));
}

/// What a report says of a set of latencies, in milliseconds. All zero when there are none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    pub count: u64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    #[serde(rename = "p99.9_ms")]
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Percentiles {
    /// Reads the percentiles off a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| milliseconds(histogram.value_at_quantile(quantile) as f64);
        Self {
            count: histogram.len(),
            mean_ms: if histogram.is_empty() { 0.0 } else { milliseconds(histogram.mean()) },
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: milliseconds(histogram.max() as f64),
        }
    }
}

/// Whole nanoseconds are kept, no more: JSON reports stay readable.
fn milliseconds(nanoseconds: f64) -> f64 {
    nanoseconds.round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_set() {
        let mut histogram = histogram();
        for milliseconds in 1..=1_000 {
            record(&mut histogram, Duration::from_millis(milliseconds));
        }
        let percentiles = Percentiles::of(&histogram);
        assert_eq!(percentiles.count, 1_000);
        for (is, expected) in [
            (percentiles.mean_ms, 500.5),
            (percentiles.p50_ms, 500.0),
            (percentiles.p90_ms, 900.0),
            (percentiles.p99_ms, 990.0),
            (percentiles.p999_ms, 999.0),
            (percentiles.max_ms, 1_000.0),
        ] {
            assert!((is / expected - 1.0).abs() < 2e-3, "{is} is not {expected}");
        }
    }

    #[test]
    fn no_latency_gives_zeros() {
        let percentiles = Percentiles::of(&histogram());
        assert_eq!(percentiles.count, 0);
        assert_eq!(percentiles.max_ms, 0.0);
        assert_eq!(percentiles.mean_ms, 0.0);
    }

    #[test]
    fn an_absurd_latency_is_kept_at_the_upper_bound() {
        let mut histogram = histogram();
        record(&mut histogram, Duration::from_secs(1_000_000));
        assert!(Percentiles::of(&histogram).max_ms >= 3_600_000.0);
    }
}
