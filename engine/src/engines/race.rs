//! How fast two engines are, run by run in turns: a busy moment of the machine falls on both.

use std::time::{Duration, Instant};

use weighbridge_config::{EngineName, Signature, Tensor};

use super::{EngineTiming, Ready};
use crate::probe::{Spread, probe_inputs, spread_inputs};

/// How many times ONNX Runtime's time tract may take: beyond that the library is worth having.
pub(super) const SLOWER: f64 = 1.5;
/// Measuring one size.
const BUDGET: Duration = Duration::from_millis(300);
/// Pairs of runs whatever the budget, and at the most.
const LEAST_PAIRS: usize = 5;
const MOST_PAIRS: usize = 301;
/// Inputs that take turns, so that no branch predictor learns a row.
const INPUTS: usize = 8;

/// Times one row, and the larger of the batches that pay in either engine.
pub(super) fn race(tract: &Ready, other: &Ready) -> Vec<EngineTiming> {
    let batchable = tract.signature.batchable && other.signature.batchable;
    let full = match batchable {
        true => tract.cost.best_batch_rows.max(other.cost.best_batch_rows),
        false => 1,
    };
    let mut sizes = vec![1, full];
    sizes.dedup();
    sizes.into_iter().filter_map(|rows| time(tract, other, rows)).collect()
}

/// Medians for `rows` rows; `None` when a run fails.
fn time(tract: &Ready, other: &Ready, rows: usize) -> Option<EngineTiming> {
    let inputs = inputs_for(tract, other, rows)?;
    let start = Instant::now();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for pair in 0..MOST_PAIRS {
        if pair >= LEAST_PAIRS && start.elapsed() > BUDGET {
            break;
        }
        let input = &inputs[pair % inputs.len()];
        // Who comes second finds the input in the cache.
        if pair % 2 == 0 {
            ours.push(run(tract, input)?);
            theirs.push(run(other, input)?);
        } else {
            theirs.push(run(other, input)?);
            ours.push(run(tract, input)?);
        }
    }
    Some(EngineTiming { rows, tract_us: median(ours), onnxruntime_us: median(theirs) })
}

/// Varied inputs that both answer, else the plain one.
fn inputs_for(tract: &Ready, other: &Ready, rows: usize) -> Option<Vec<Vec<Tensor>>> {
    let signature: &Signature = &tract.signature;
    let answered = |input: &Vec<Tensor>| run(tract, input).and(run(other, input)).is_some();
    let varied = (0..INPUTS).map(|seed| spread_inputs(signature, rows, Spread::Unit, seed));
    let varied: Vec<_> = varied.filter(answered).collect();
    if !varied.is_empty() {
        return Some(varied);
    }
    Some(vec![probe_inputs(signature, rows)]).filter(|plain| answered(&plain[0]))
}

/// Microseconds of one run.
fn run(ready: &Ready, input: &[Tensor]) -> Option<f64> {
    let start = Instant::now();
    ready.plan.run(&ready.signature, &[input]).ok()?;
    Some(start.elapsed().as_secs_f64() * 1e6)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}

/// Who serves, and the clause that says why with both figures.
pub(super) fn verdict(timings: &[EngineTiming]) -> (EngineName, String) {
    if timings.is_empty() {
        let reason = "its answers are ONNX Runtime's; no made-up rows could be timed".to_owned();
        return (EngineName::Tract, reason);
    }
    let figures: Vec<String> = timings
        .iter()
        .map(|t| {
            let plural = if t.rows == 1 { "row" } else { "rows" };
            format!("{:.1} us and {:.1} us for {} {plural}", t.tract_us, t.onnxruntime_us, t.rows)
        })
        .collect();
    let figures = format!("tract and ONNX Runtime take {}", figures.join(", "));
    match timings.iter().all(|t| t.tract_us <= SLOWER * t.onnxruntime_us) {
        true => {
            (EngineName::Tract, format!("right, and within {SLOWER} times the time: {figures}"))
        }
        false => (
            EngineName::OnnxRuntime,
            format!("tract takes more than {SLOWER} times as long: {figures}"),
        ),
    }
}
