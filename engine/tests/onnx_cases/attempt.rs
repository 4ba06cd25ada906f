//! What a case comes to.

use std::time::Instant;

use prost::Message as _;
use weighbridge_config::{Tensor, TensorData};
use weighbridge_engine::{Error, ErrorKind, LoadOptions, LoadedModel};

use crate::case::{self, Case, DataSet};

/// Of the expected value, as ONNX's own runner has it.
const RELATIVE: f64 = 1e-3;
/// Differences below this count for nothing. ONNX's runner has 1e-7, which is less than the
/// rounding of float32 sums that cancel out.
const ABSOLUTE: f64 = 1e-5;
/// A case that takes longer has lost itself.
const LONGEST_SECONDS: u64 = 60;

#[derive(Debug, PartialEq)]
pub enum Outcome {
    Pass,
    /// It passes when the inputs after the first are weights of the model.
    PassWithConstants,
    /// Refused at load, with the operator, type or input named.
    Refused(String),
    /// An error at load or at the run.
    Failed(String),
    /// An answer that differs from the one expected.
    Wrong(String),
}

/// Tries `case` with all inputs fed, and with the inputs after the first as constants if that
/// gives no answer.
pub fn outcome(case: &Case) -> Outcome {
    let start = Instant::now();
    let fed = fed(case);
    let several = case.data_sets.iter().any(|set| set.inputs.len() > 1);
    let outcome = match fed {
        Outcome::Refused(_) | Outcome::Failed(_) if several => match with_constants(case) {
            Outcome::Pass => Outcome::PassWithConstants,
            Outcome::Wrong(why) => Outcome::Wrong(format!("with constants: {why}")),
            _ => fed,
        },
        outcome => outcome,
    };
    let seconds = start.elapsed().as_secs();
    assert!(seconds <= LONGEST_SECONDS, "{} took {seconds} s", case.name);
    outcome
}

fn fed(case: &Case) -> Outcome {
    let model = match load(&case.model) {
        Ok(model) => model,
        Err(outcome) => return outcome,
    };
    first_that_does_not_pass(case.data_sets.iter().map(|set| run(&model, set, set.inputs.len())))
}

/// The values of the constants are part of the model: it is loaded anew for each data set.
fn with_constants(case: &Case) -> Outcome {
    first_that_does_not_pass(case.data_sets.iter().map(|set| {
        let mut model = case.proto();
        let Some(graph) = &mut model.graph else { return Outcome::Failed("no graph".into()) };
        for (input, file) in graph.input.split_off(1).into_iter().zip(&set.inputs[1..]) {
            match case::weight(&input, file) {
                Ok(weight) => graph.initializer.push(weight),
                Err(why) => return Outcome::Failed(why),
            }
        }
        match load(&model.encode_to_vec()) {
            Ok(model) => run(&model, set, 1),
            Err(outcome) => outcome,
        }
    }))
}

fn first_that_does_not_pass(outcomes: impl Iterator<Item = Outcome>) -> Outcome {
    outcomes.into_iter().find(|o| *o != Outcome::Pass).unwrap_or(Outcome::Pass)
}

fn load(onnx: &[u8]) -> Result<LoadedModel, Outcome> {
    LoadedModel::load(onnx, &LoadOptions { max_batch_rows: 1, ..LoadOptions::default() })
        .map_err(|error| judge(&error))
}

fn judge(error: &Error) -> Outcome {
    let is_by_name = matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Signature);
    if is_by_name {
        Outcome::Refused(error.to_string())
    } else {
        Outcome::Failed(error.to_string())
    }
}

fn run(model: &LoadedModel, set: &DataSet, fed: usize) -> Outcome {
    let tensors = |files: &[Vec<u8>]| {
        files.iter().map(|f| case::tensor(&case::proto(f)?)).collect::<Result<Vec<_>, _>>()
    };
    let (inputs, wanted) = match (tensors(&set.inputs[..fed]), tensors(&set.outputs)) {
        (Ok(inputs), Ok(wanted)) => (inputs, wanted),
        (Err(why), _) | (_, Err(why)) => return Outcome::Failed(why),
    };
    match model.run(&[&inputs]) {
        Ok(answers) => {
            compare(&answers[0], &wanted).map_or_else(Outcome::Wrong, |()| Outcome::Pass)
        }
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

fn compare(got: &[Tensor], wanted: &[Tensor]) -> Result<(), String> {
    if got.len() != wanted.len() {
        return Err(format!("{} outputs, {} wanted", got.len(), wanted.len()));
    }
    for (slot, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        if got.datatype() != wanted.datatype() || got.shape() != wanted.shape() {
            return Err(format!(
                "output {slot} is {} {:?}, wanted {} {:?}",
                got.datatype(),
                got.shape(),
                wanted.datatype(),
                wanted.shape()
            ));
        }
        match (floats(got), floats(wanted)) {
            (Some(a), Some(b)) => {
                if let Some(at) = (0..a.len()).find(|i| !close(a[*i], b[*i])) {
                    return Err(format!("output {slot}[{at}]: {}, wanted {}", a[at], b[at]));
                }
            }
            _ if got.data() == wanted.data() => {}
            _ => {
                return Err(format!("output {slot}: {:?}, wanted {:?}", got.data(), wanted.data()));
            }
        }
    }
    Ok(())
}

fn floats(tensor: &Tensor) -> Option<Vec<f64>> {
    match tensor.data() {
        TensorData::Fp16(v) => Some(v.iter().map(|x| half::f16::from_bits(*x).to_f64()).collect()),
        TensorData::Fp32(v) => Some(v.iter().map(|x| f64::from(*x)).collect()),
        TensorData::Fp64(v) => Some(v.clone()),
        _ => None,
    }
}

fn close(got: f64, wanted: f64) -> bool {
    got == wanted
        || (got.is_nan() && wanted.is_nan())
        || (got - wanted).abs() <= ABSOLUTE + RELATIVE * wanted.abs()
}
