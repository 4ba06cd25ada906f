//! What a run costs, measured at load.

use std::time::{Duration, Instant};

use weighbridge_config::Signature;

use crate::load::Plan;
use crate::probe::probe_inputs;
use crate::warm_up::run;

/// The time of a run is about `base_us + per_row_us * rows`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Microseconds that a run takes whatever its rows.
    pub base_us: f64,
    /// Microseconds per row.
    pub per_row_us: f64,
    /// The largest power of two up to which the time per row stays within a tenth of the best
    /// seen; 1 when batching does not pay.
    pub best_batch_rows: usize,
}

/// All measuring together; a slow model gets one run per size and fewer sizes.
const BUDGET: Duration = Duration::from_millis(50);
/// More runs of one size than this teach nothing.
const MOST_RUNS: u32 = 200;
/// A batch must save this much per row against single rows to be worth forming.
const WORTH: f64 = 0.95;
/// How much worse than the best time per row a size may be.
const SLACK: f64 = 1.1;

/// Times runs of 1, 2, 4, … rows, up to `max_rows`. The lowest time of each size counts: a
/// neighbour on the machine only ever adds.
pub(crate) fn measure(plan: &Plan, signature: &Signature, max_rows: usize) -> Cost {
    let most = if signature.batchable { max_rows.max(1) } else { 1 };
    let sizes: Vec<usize> = std::iter::successors(Some(1usize), |n| n.checked_mul(2))
        .take_while(|n| *n <= most)
        .collect();
    let slice = BUDGET / sizes.len() as u32;
    let start = Instant::now();
    let mut seen: Vec<(usize, f64)> = Vec::with_capacity(sizes.len());
    for rows in sizes {
        // The next size may take twice as long as the last one.
        let expected = seen.last().map_or(Duration::ZERO, |(_, us)| micros(us * 2.0));
        if start.elapsed() + expected > BUDGET {
            break;
        }
        match lowest_time(plan, signature, rows, slice) {
            Some(us) => seen.push((rows, us)),
            None => break,
        }
    }
    summarise(&seen)
}

fn micros(us: f64) -> Duration {
    Duration::from_secs_f64(us * 1e-6)
}

/// The lowest time of a run in microseconds; `None` when the probe fails.
fn lowest_time(plan: &Plan, signature: &Signature, rows: usize, slice: Duration) -> Option<f64> {
    let probe = probe_inputs(signature, rows);
    let begin = Instant::now();
    let mut lowest = f64::INFINITY;
    for _ in 0..MOST_RUNS {
        let start = Instant::now();
        run(plan, signature, &[&probe]).ok()?;
        lowest = lowest.min(start.elapsed().as_secs_f64() * 1e6);
        if begin.elapsed() > slice {
            break;
        }
    }
    Some(lowest)
}

fn summarise(seen: &[(usize, f64)]) -> Cost {
    let (Some(&(_, one)), Some(&(most, all))) = (seen.first(), seen.last()) else {
        return Cost { base_us: 0.0, per_row_us: 0.0, best_batch_rows: 1 };
    };
    let per_row_us = match most {
        1 => one,
        _ => ((all - one) / (most - 1) as f64).max(0.0),
    };
    let base_us = (one - per_row_us).max(0.0);
    Cost { base_us, per_row_us, best_batch_rows: best_rows(seen) }
}

fn best_rows(seen: &[(usize, f64)]) -> usize {
    let (mut lowest, mut best) = (f64::INFINITY, 1);
    for &(rows, us) in seen {
        let per_row = us / rows as f64;
        if per_row > lowest * SLACK {
            break;
        }
        lowest = lowest.min(per_row);
        best = rows;
    }
    let pays = seen.first().is_some_and(|(_, one)| lowest < one * WORTH);
    if pays { best } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_batch_is_the_largest_that_still_pays() {
        // Times of libraries.md 6.3: a small dense network, a convolution, a transformer.
        let dense = [(1, 6.0), (8, 19.0), (32, 58.0)];
        let convolution = [(1, 1450.0), (8, 17_600.0), (32, 113_000.0)];
        let transformer = [(1, 349.0), (8, 2700.0), (32, 10_900.0)];
        assert_eq!(best_rows(&dense), 32);
        assert_eq!(best_rows(&convolution), 1);
        assert_eq!(best_rows(&transformer), 1, "three per cent are not worth a wait");
        assert_eq!(best_rows(&[(1, 10.0), (2, 11.0), (4, 13.0), (8, 60.0)]), 4);
        assert_eq!(best_rows(&[]), 1);
    }

    #[test]
    fn the_line_goes_through_the_smallest_and_the_largest_size() {
        let cost = summarise(&[(1, 12.0), (2, 14.0), (32, 74.0)]);
        assert!(
            (cost.per_row_us - 2.0).abs() < 1e-9 && (cost.base_us - 10.0).abs() < 1e-9,
            "{cost:?}"
        );
        let alone = summarise(&[(1, 12.0)]);
        assert_eq!((alone.base_us, alone.per_row_us), (0.0, 12.0));
    }
}
