//! What a run costs, measured at load.

use std::time::{Duration, Instant};

use weighbridge_config::Signature;

use crate::probe::probe_inputs;
use crate::run::Run;

/// The time of a run is about `base_us + per_row_us * rows`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Microseconds that a run takes whatever its rows.
    pub base_us: f64,
    /// Microseconds per row.
    pub per_row_us: f64,
    /// The largest power of two whose time per row stays within a quarter of the best seen; 1
    /// when batching does not pay.
    pub best_batch_rows: usize,
}

/// All measuring together; a slow model gets fewer rounds and fewer sizes.
const BUDGET: Duration = Duration::from_millis(80);
/// What the sizes of [`SURE`] may take at the most: on a busy machine, where the budget is gone
/// in no time, a version must not go without batches until it is loaded again.
const SURE_BUDGET: Duration = Duration::from_millis(500);
/// Sizes that are measured whatever the budget, [`SURE_ROUNDS`] times.
const SURE: usize = 8;
const SURE_ROUNDS: u32 = 3;
/// More rounds than this teach nothing.
const MOST_ROUNDS: u32 = 200;
/// A batch must save this much per row against single rows to be worth forming.
const WORTH: f64 = 0.95;
/// How much worse than the best time per row a size may be: wide enough for a noisy machine,
/// far below the factor of two and more of models that batches hurt.
const SLACK: f64 = 1.25;

/// Times runs of 1, 2, 4, … rows, up to `max_rows`, in rounds over all sizes, so that a busy
/// moment of the machine does not fall on one size alone. The lowest time of each size counts:
/// a neighbour only ever adds.
pub(crate) fn measure(plan: &dyn Run, signature: &Signature, max_rows: usize) -> Cost {
    let most = if signature.batchable { max_rows.max(1) } else { 1 };
    let sizes = std::iter::successors(Some(1usize), |n| n.checked_mul(2));
    let start = Instant::now();
    let mut seen: Vec<(usize, f64)> = Vec::new();
    for rows in sizes.take_while(|n| *n <= most) {
        // The next size may take twice as long as the last one.
        let expected = seen.last().map_or(Duration::ZERO, |(_, us)| micros(us * 2.0));
        if start.elapsed() + expected > budget(rows, 0) {
            break;
        }
        match time_run(plan, signature, rows) {
            Some(us) => seen.push((rows, us)),
            None => break,
        }
    }
    for round in 1..MOST_ROUNDS {
        for (rows, lowest) in &mut seen {
            if start.elapsed() + micros(*lowest) > budget(*rows, round) {
                continue;
            }
            if let Some(us) = time_run(plan, signature, *rows) {
                *lowest = lowest.min(us);
            }
        }
    }
    summarise(&seen)
}

/// The lowest times, in microseconds, that two plans take for `rows` rows in interleaved runs;
/// `None` when one of them fails.
pub(crate) fn compare(
    one: &dyn Run,
    other: &dyn Run,
    signature: &Signature,
    rows: usize,
) -> Option<(f64, f64)> {
    let start = Instant::now();
    let mut lowest = (time_run(one, signature, rows)?, time_run(other, signature, rows)?);
    for round in 1..MOST_ROUNDS {
        if round >= SURE_ROUNDS && start.elapsed() > BUDGET || start.elapsed() > SURE_BUDGET {
            break;
        }
        lowest.0 = lowest.0.min(time_run(one, signature, rows)?);
        lowest.1 = lowest.1.min(time_run(other, signature, rows)?);
    }
    Some(lowest)
}

/// What may have passed before a size is measured in a round.
fn budget(rows: usize, round: u32) -> Duration {
    if rows <= SURE && round < SURE_ROUNDS { SURE_BUDGET } else { BUDGET }
}

fn micros(us: f64) -> Duration {
    Duration::from_secs_f64(us * 1e-6)
}

/// The time of one run in microseconds; `None` when the probe fails.
fn time_run(plan: &dyn Run, signature: &Signature, rows: usize) -> Option<f64> {
    let probe = probe_inputs(signature, rows);
    let start = Instant::now();
    plan.run(signature, &[&probe]).ok()?;
    Some(start.elapsed().as_secs_f64() * 1e6)
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
    let per_row = |(rows, us): &(usize, f64)| us / *rows as f64;
    let lowest = seen.iter().map(per_row).fold(f64::INFINITY, f64::min);
    let pays = seen.first().is_some_and(|(_, one)| lowest < one * WORTH);
    if !pays {
        return 1;
    }
    let good = seen.iter().filter(|size| per_row(size) <= lowest * SLACK);
    good.map(|(rows, _)| *rows).max().unwrap_or(1)
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
