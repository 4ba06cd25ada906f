//! Plans for fixed numbers of rows: where one for any number cannot be built, and where one for
//! a single row or a full batch is faster.

use std::sync::Arc;

use weighbridge_config::Signature;

use super::candidate::Candidate;
use super::{Attempts, Built};
use crate::cost;
use crate::error::{Error, ErrorKind};
use crate::run::{BySize, Run, WithFaster};

/// Below this many microseconds for one row a plan of its own saves nothing that callers notice,
/// and a row had better get the same answer to the last digit, alone or in a batch.
const SLOW_US: f64 = 100.0;
/// A plan of its own must save this much of the time to be worth its memory.
const WORTH: f64 = 0.93;

impl Attempts {
    /// One plan for each power of two up to `max_rows`, as far as their weights fit into the
    /// bytes that plans may take; all are built now, so that no request waits for one.
    pub(super) fn by_size(&self) -> Result<Built, Error> {
        let (two, four) = (self.build(Candidate::Rows(2))?, self.build(Candidate::Rows(4))?);
        let signature = joined_signature(&two.signature, &four.signature)?;
        let one = self.build(Candidate::Rows(1))?;
        let bytes = one.weight_bytes;
        let mut optimise_ms = one.optimise_ms + two.optimise_ms + four.optimise_ms;
        let mut plans = vec![(1, one.plan)];
        let mut ready = [(2, two), (4, four)].into_iter();
        let sizes = std::iter::successors(Some(2usize), |n| n.checked_mul(2));
        for size in sizes.take_while(|n| *n <= self.max_rows) {
            if bytes.saturating_mul(plans.len() as u64) > self.extra_bytes {
                break;
            }
            let built = match ready.next() {
                Some((_, built)) => built,
                None => {
                    let built = self.build(Candidate::Rows(size))?;
                    optimise_ms += built.optimise_ms;
                    built
                }
            };
            plans.push((size, built.plan));
        }
        Ok(Built {
            plan: Arc::new(BySize::new(plans)),
            signature,
            why_alone: None,
            optimise_ms,
            weight_bytes: bytes,
            is_shaped: true,
        })
    }

    /// `built` with plans of their own for one row and for the batch that pays best, where they
    /// are faster. Returns the numbers of rows that have one.
    pub(super) fn with_faster(&self, mut built: Built) -> (Built, Vec<usize>) {
        let signature = &built.signature;
        if !signature.batchable || !built.is_shaped {
            return (built, vec![]);
        }
        let cost = cost::measure(&*built.plan, signature, self.max_rows);
        if cost.base_us + cost.per_row_us < SLOW_US {
            return (built, vec![]);
        }
        let best = cost.best_batch_rows;
        let mut room = self.extra_bytes;
        let mut faster = Vec::new();
        for rows in if best > 1 { vec![1, best] } else { vec![1] } {
            if built.weight_bytes > room {
                break;
            }
            let Ok(fixed) = self.build(Candidate::Rows(rows)) else { continue };
            let times = cost::compare(&*fixed.plan, &*built.plan, signature, rows);
            if times.is_some_and(|(fixed, any)| fixed < any * WORTH) {
                room -= built.weight_bytes;
                built.optimise_ms += fixed.optimise_ms;
                faster.push((rows, fixed.plan));
            }
        }
        let sizes = faster.iter().map(|(rows, _)| *rows).collect();
        if !faster.is_empty() {
            let any: Arc<dyn Run> = Arc::clone(&built.plan);
            built.plan = Arc::new(WithFaster { any, faster });
        }
        (built, sizes)
    }
}

/// The signature of a model that takes 2 rows as `two` says and 4 as `four` says, if each output
/// has one row per row and is otherwise the same.
fn joined_signature(two: &Signature, four: &Signature) -> Result<Signature, Error> {
    let mut joined = two.clone();
    for (spec, other) in joined.outputs.iter_mut().zip(&four.outputs) {
        let keeps_rows = spec.shape.first() == Some(&2) && other.shape.first() == Some(&4);
        if !keeps_rows || spec.shape[1..] != other.shape[1..] {
            let message = format!(
                "output \"{}\" has the shape {:?} for 2 rows and {:?} for 4",
                spec.name, spec.shape, other.shape
            );
            return Err(Error::new(ErrorKind::Load, message));
        }
        spec.shape[0] = -1;
    }
    for spec in &mut joined.inputs {
        spec.shape[0] = -1;
    }
    joined.batchable = true;
    Ok(joined)
}
