//! Runs golden cases on a loaded version.
//!
//! A case passes when every output that it names lies within its tolerance and, with a latency
//! budget, the time of a single run does too. That time is compute alone: one run of all rows
//! of the case, in the process that checks, without queue or batching. After the run whose
//! outputs are compared, the case is run again, up to [`RUNS`] times a round; the time of a
//! round is their median, and that of the case the best of up to [`ROUNDS`] rounds, since other
//! work on the machine only ever makes runs slower. A round ends as soon as its median is known
//! to be within the budget or over it.

use std::time::Duration;

use weighbridge_config::golden::{GoldenCase, GoldenCases};
use weighbridge_config::settings::units::format_duration;
use weighbridge_config::{Signature, Tensor};
use weighbridge_protocol::{NamedTensor, bind, bind::requested_outputs};

use super::report::GoldenReport;

/// Runs of a round, an odd number.
const RUNS: usize = 5;
/// Rounds before a case counts as too slow.
const ROUNDS: usize = 3;
/// So many failing cases are told; of the rest only the count.
const MOST_TOLD: usize = 5;
/// The most characters that are told of one: it may differ in hundreds of outputs.
const LONGEST_TOLD: usize = 500;

/// Runs every case with `run`, which says how long it took. `begin` is called before each one.
pub(super) fn run(
    golden: &GoldenCases,
    signature: &Signature,
    mut begin: impl FnMut(&GoldenCase),
    mut run: impl FnMut(&[Tensor]) -> (Result<Vec<Tensor>, String>, Duration),
) -> GoldenReport {
    let mut report = GoldenReport {
        cases: golden.cases.len(),
        latency_budget_us: golden.latency_budget.map(micros),
        ..GoldenReport::default()
    };
    for case in &golden.cases {
        begin(case);
        let tried = bound(case, signature).map(|(inputs, outputs)| {
            let tried = try_case(case, &inputs, &outputs, golden.latency_budget, &mut run);
            if micros(tried.took) > report.slowest_us {
                report.slowest_us = micros(tried.took);
                report.slowest_case = case.label();
            }
            tried.failure
        });
        match tried.unwrap_or_else(Some) {
            None => report.passed += 1,
            Some(_) if report.failures.len() == MOST_TOLD => {}
            Some(told) => report.failures.push(cut(format!("{}: {told}", case.label()))),
        }
    }
    report
}

/// What came of a case.
struct Tried {
    /// How long a run takes.
    took: Duration,
    failure: Option<String>,
}

/// The inputs of a case in the order of the signature, and where each of its outputs stands.
fn bound(case: &GoldenCase, signature: &Signature) -> Result<(Vec<Tensor>, Vec<usize>), String> {
    let named = case.inputs.iter();
    let named =
        named.map(|(name, tensor)| NamedTensor { name: name.clone(), tensor: tensor.clone() });
    let inputs = bind::bind(named.collect(), signature).map_err(|e| e.0)?.inputs;
    let names: Vec<String> = case.outputs.iter().map(|(name, _)| name.clone()).collect();
    Ok((inputs, requested_outputs(Some(&names), signature).map_err(|e| e.0)?))
}

fn try_case(
    case: &GoldenCase,
    inputs: &[Tensor],
    places: &[usize],
    budget: Option<Duration>,
    run: &mut impl FnMut(&[Tensor]) -> (Result<Vec<Tensor>, String>, Duration),
) -> Tried {
    let (outputs, took) = run(inputs);
    let outputs = match outputs {
        Ok(outputs) => outputs,
        Err(reason) => return Tried { took, failure: Some(reason) },
    };
    let mut differences = Vec::new();
    for ((name, expected), place) in case.outputs.iter().zip(places) {
        differences.extend(match outputs.get(*place) {
            Some(came) => case.difference(name, expected, came),
            None => Some(format!("output \"{name}\" did not come")),
        });
    }
    if !differences.is_empty() {
        return Tried { took, failure: Some(differences.join(", ")) };
    }
    let Some(budget) = budget else { return Tried { took, failure: None } };
    match time_of(budget, || run(inputs)) {
        Ok(took) => {
            let over = took > budget;
            let failure = over.then(|| {
                let budget = format_duration(budget);
                format!("a run takes {:.1} µs, the latency budget is {budget}", micros(took))
            });
            Tried { took, failure }
        }
        Err(reason) => Tried { took, failure: Some(format!("run again: {reason}")) },
    }
}

/// The best median of up to [`ROUNDS`] rounds; the first one within the budget is enough.
fn time_of(
    budget: Duration,
    mut run: impl FnMut() -> (Result<Vec<Tensor>, String>, Duration),
) -> Result<Duration, String> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let mut times = Vec::with_capacity(RUNS);
        let (mut within, mut over) = (0, 0);
        // More than half of all runs on one side decide on which side the median is.
        while within.max(over) <= RUNS / 2 {
            let (outcome, took) = run();
            outcome?;
            times.push(took);
            if took <= budget { within += 1 } else { over += 1 }
        }
        times.sort_unstable();
        best = best.min(times[(times.len() - 1) / 2]);
        if best <= budget {
            break;
        }
    }
    Ok(best)
}

fn cut(told: String) -> String {
    match told.char_indices().nth(LONGEST_TOLD) {
        None => told,
        Some((end, _)) => format!("{}…", &told[..end]),
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

impl GoldenReport {
    /// What is wrong with the version, unless every case passed.
    pub(super) fn reason(&self) -> Option<String> {
        let failed = self.cases - self.passed;
        if failed == 0 {
            return None;
        }
        let told = self.failures.join("; ");
        let rest = match failed.saturating_sub(self.failures.len()) {
            0 => String::new(),
            rest => format!("; and {rest} more"),
        };
        Some(format!("{failed} of {} golden cases failed: {told}{rest}", self.cases))
    }
}

#[cfg(test)]
mod tests;
