//! Answer times in buckets at most 3.2 % wide, and the thresholds that come from them.

#[cfg(test)]
mod tests;

use std::time::Duration;

/// The number of buckets: 1 µs to nine minutes; what is outside falls into the outermost ones.
pub const BUCKETS: usize = OCTAVES * PARTS;
/// The quantiles of stable's answer times that separate the levels.
pub const QUANTILES: [f64; 8] = [0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 0.999];
/// A histogram is never decayed below this weight: a quiet model remembers its last requests.
pub const LEAST_WEIGHT: f64 = 200.0;
/// With less than this weight there are no thresholds.
pub const LEAST_FOR_THRESHOLDS: f64 = 20.0;

/// Doublings of the answer time, from 2^10 ns on.
const OCTAVES: usize = 29;
const FIRST_OCTAVE: u32 = 10;
/// Equal parts of each octave: integers do, and no edge is rounded.
const PARTS: usize = 32;
const PART_BITS: u32 = PARTS.ilog2();

/// The bucket of an answer time.
pub fn bucket_of(ns: u64) -> usize {
    let octave = ns.max(1).ilog2();
    if octave < FIRST_OCTAVE {
        return 0;
    }
    let part = (ns >> (octave - PART_BITS)) as usize % PARTS;
    ((octave - FIRST_OCTAVE) as usize * PARTS + part).min(BUCKETS - 1)
}

/// The longest answer time of a bucket, in nanoseconds (of the last one: of those that are not
/// beyond the range).
pub fn upper_edge_ns(bucket: usize) -> u64 {
    let bucket = bucket.min(BUCKETS - 1);
    let octave = (bucket / PARTS) as u32 + FIRST_OCTAVE;
    let parts = (PARTS + bucket % PARTS + 1) as u64;
    (parts << (octave - PART_BITS)) - 1
}

/// Lets `histogram` forget half of itself per minute, but keeps at least [`LEAST_WEIGHT`].
pub fn decay(histogram: &mut [f64; BUCKETS], elapsed: Duration) {
    let total: f64 = histogram.iter().sum();
    if total <= LEAST_WEIGHT {
        return;
    }
    let factor = 0.5_f64.powf(elapsed.as_secs_f64() / 60.0).max(LEAST_WEIGHT / total);
    histogram.iter_mut().for_each(|weight| *weight *= factor);
}

/// The answer time in nanoseconds that a share `q` does not exceed; `None` without weight.
pub fn quantile_ns(histogram: &[f64; BUCKETS], q: f64) -> Option<u64> {
    let total: f64 = histogram.iter().sum();
    if total <= 0.0 {
        return None;
    }
    let mut below = 0.0;
    for (bucket, weight) in histogram.iter().enumerate() {
        below += weight;
        if below >= q * total {
            return Some(upper_edge_ns(bucket));
        }
    }
    Some(upper_edge_ns(BUCKETS - 1))
}

/// What separates the latency levels.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds;

impl Thresholds {
    /// Stable's quantiles in nanoseconds, rising; `None` while there is too little to say.
    pub fn of(histogram: &[f64; BUCKETS]) -> Option<[u64; 8]> {
        if histogram.iter().sum::<f64>() < LEAST_FOR_THRESHOLDS {
            return None;
        }
        let mut all = [0; 8];
        for (threshold, q) in all.iter_mut().zip(QUANTILES) {
            *threshold = quantile_ns(histogram, q)?;
        }
        Some(all)
    }

    /// Thresholds for the canary: exceeding one of them is exceeding stable's after division of
    /// the answer time by `scale`.
    pub fn scaled(stable: &[u64; 8], scale: f64) -> [u64; 8] {
        stable.map(|threshold| (threshold as f64 * scale) as u64)
    }
}

/// How many thresholds an answer time exceeds: 0 to 8.
pub fn level(latency_ns: u64, thresholds: &[u64; 8]) -> usize {
    thresholds.iter().filter(|threshold| latency_ns > **threshold).count()
}
