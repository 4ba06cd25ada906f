//! First runs of a fresh plan: the first request shall not be the slow one, and rows that
//! influence each other shall be found out before callers share a batch.

use std::time::{Duration, Instant};

use weighbridge_config::{Signature, Tensor, TensorData};

use crate::error::{Error, ErrorKind};
use crate::probe::{probe_inputs, varied_inputs};
use crate::run::Run;

/// A model that is slower than this is warm after its smallest runs.
const ENOUGH: Duration = Duration::from_millis(100);

/// What the first runs showed.
#[derive(Debug)]
pub(crate) enum FirstRuns {
    Fine,
    /// It runs, but rows influence each other or only one row works.
    RowsMix(String),
    /// The probe was refused; real inputs may work.
    Failed(String),
    /// It panicked, or an operator has no kernel for the type of its input: other values would
    /// fare no better.
    Impossible(Error),
}

pub(crate) fn first_runs(plan: &dyn Run, signature: &Signature) -> FirstRuns {
    let start = Instant::now();
    let mut failed = None;
    for rows in [1, 2, 5] {
        if rows > 2 && start.elapsed() > ENOUGH {
            break;
        }
        match plan.run(signature, &[&probe_inputs(signature, rows)]) {
            Ok(_) if failed.is_none() => {}
            Err(error) if is_final(&error) => return FirstRuns::Impossible(error),
            Ok(_) => {}
            Err(error) => failed = failed.or(Some(error.to_string())),
        }
        if !has_free_rows(signature) {
            break;
        }
    }
    if let Some(why) = failed {
        return FirstRuns::Failed(why);
    }
    if signature.batchable { independence(plan, signature) } else { FirstRuns::Fine }
}

fn is_final(error: &Error) -> bool {
    // The runtime's words for a missing kernel.
    error.kind() == ErrorKind::Panicked || error.to_string().contains(" does not support ")
}

fn has_free_rows(signature: &Signature) -> bool {
    signature.inputs.iter().any(|i| i.shape.first() == Some(&-1))
}

/// Runs two different rows together and alone: a softmax or a mean over the batch axis keeps
/// the shapes right and still lets one caller's row change another's answer.
fn independence(plan: &dyn Run, signature: &Signature) -> FirstRuns {
    let both = varied_inputs(signature, 2);
    let alone: Vec<Vec<Tensor>> =
        (0..2).map(|row| both.iter().map(|t| t.slice_rows(row, row + 1)).collect()).collect();
    let together = plan.run(signature, &[&alone[0], &alone[1]]);
    let first = plan.run(signature, &[&alone[0]]);
    let second = plan.run(signature, &[&alone[1]]);
    let (Ok(together), Ok(first), Ok(second)) = (together, first, second) else {
        // These values may be unsuitable where the plain probe was not; shapes have the say.
        return FirstRuns::Fine;
    };
    let alone = [first, second].concat();
    for (row, (a, b)) in together.iter().zip(&alone).enumerate() {
        for ((a, b), spec) in a.iter().zip(b).zip(&signature.outputs) {
            if !alike(a, b) {
                let why = format!(
                    "output \"{}\" of row {row} changes with the other rows of the batch",
                    spec.name
                );
                return FirstRuns::RowsMix(why);
            }
        }
    }
    FirstRuns::Fine
}

/// Equal up to what another order of summing does to floats.
fn alike(a: &Tensor, b: &Tensor) -> bool {
    const TOLERANCE: f64 = 1e-3;
    let close = |x: f64, y: f64| {
        (x.is_nan() && y.is_nan())
            || x == y
            || (x - y).abs() <= TOLERANCE * x.abs().max(y.abs()).max(1.0)
    };
    let half = |bits: u16| f64::from(half::f16::from_bits(bits).to_f32());
    let brain = |bits: u16| f64::from(half::bf16::from_bits(bits).to_f32());
    a.shape() == b.shape()
        && match (a.data(), b.data()) {
            (TensorData::Fp32(a), TensorData::Fp32(b)) => {
                a.iter().zip(b).all(|(x, y)| close(f64::from(*x), f64::from(*y)))
            }
            (TensorData::Fp64(a), TensorData::Fp64(b)) => {
                a.iter().zip(b).all(|(x, y)| close(*x, *y))
            }
            (TensorData::Fp16(a), TensorData::Fp16(b)) => {
                // Half floats carry three digits.
                a.iter().zip(b).all(|(x, y)| close(half(*x) / 10.0, half(*y) / 10.0))
            }
            (TensorData::Bf16(a), TensorData::Bf16(b)) => {
                // And the other sixteen-bit floats barely more than two.
                a.iter().zip(b).all(|(x, y)| close(brain(*x) / 100.0, brain(*y) / 100.0))
            }
            (a, b) => a == b,
        }
}

#[cfg(test)]
mod tests;
