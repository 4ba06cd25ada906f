//! Whether two engines give the same answers to made-up rows.

use weighbridge_config::{Tensor, TensorData};

use super::Ready;
use crate::probe::{Spread, spread_inputs};

/// What the comparison showed.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    Alike,
    /// The first difference.
    Different(String),
    /// No rows that both could answer.
    Nothing(String),
}

/// Numbers of rows that are asked together.
const SIZES: [usize; 2] = [1, 7];

/// Asks both the same rows: of small and of large values, so that trees are walked along many
/// paths, one at a time and several together.
pub(super) fn compare(tract: &Ready, other: &Ready) -> Found {
    let signatures = (&tract.signature, &other.signature);
    if let Some(how) = unlike(signatures.0, signatures.1) {
        return Found::Different(how);
    }
    // Rows that one of them takes alone only are asked alone.
    let together = takes_rows(tract) && takes_rows(other);
    let (mut compared, mut refused) = (0, None);
    for (seed, spread) in Spread::ALL.into_iter().cycle().take(12).enumerate() {
        let rows = if together { SIZES[seed % 2] } else { 1 };
        let inputs = spread_inputs(&tract.signature, rows, spread, seed);
        // One may have fixed a free axis 0 to 1 where the other has not: one row fits both.
        match (tract.plan.run(signatures.0, &[&inputs]), other.plan.run(signatures.1, &[&inputs])) {
            (Ok(ours), Ok(theirs)) => {
                compared += 1;
                let (ours, theirs) = (ours.concat(), theirs.concat());
                if let Some(how) = different(tract, &ours, &theirs) {
                    return Found::Different(how);
                }
            }
            (Err(error), Ok(_)) => {
                return Found::Different(format!("it fails where ONNX Runtime answers: {error}"));
            }
            // A value that suits no model of this kind, such as a token that does not exist.
            (_, Err(error)) => refused = refused.or(Some(error.to_string())),
        }
    }
    match (compared, refused) {
        (0, Some(why)) => Found::Nothing(why),
        _ => Found::Alike,
    }
}

fn takes_rows(ready: &Ready) -> bool {
    ready.signature.inputs.iter().all(|i| i.shape.first() == Some(&-1))
}

/// Why the answers of two signatures cannot be the same.
fn unlike(
    tract: &weighbridge_config::Signature,
    other: &weighbridge_config::Signature,
) -> Option<String> {
    tract.outputs.iter().zip(&other.outputs).find_map(|(a, b)| {
        (a.datatype != b.datatype).then(|| {
            format!(
                "output \"{}\" is {} and not {}, as ONNX Runtime has it",
                a.name, a.datatype, b.datatype
            )
        })
    })
}

/// The first element that differs: numbers by more than a thousandth (above 1: relative; half
/// floats, which carry three digits: a hundredth; BF16, which carries two: a tenth), everything
/// else at all.
fn different(tract: &Ready, ours: &[Tensor], theirs: &[Tensor]) -> Option<String> {
    let outputs = tract.signature.outputs.iter().zip(ours.iter().zip(theirs));
    outputs.into_iter().find_map(|(spec, (a, b))| {
        if a.shape() != b.shape() {
            return Some(format!(
                "output \"{}\" has the shape {:?} and not {:?}",
                spec.name,
                a.shape(),
                b.shape()
            ));
        }
        let at = match (a.data(), b.data()) {
            (TensorData::Fp32(a), TensorData::Fp32(b)) => {
                first_apart(a, b, 1e-3, |x| f64::from(*x))
            }
            (TensorData::Fp64(a), TensorData::Fp64(b)) => first_apart(a, b, 1e-3, |x| *x),
            (TensorData::Fp16(a), TensorData::Fp16(b)) => {
                first_apart(a, b, 1e-2, |x| half::f16::from_bits(*x).to_f64())
            }
            (TensorData::Bf16(a), TensorData::Bf16(b)) => {
                first_apart(a, b, 1e-1, |x| half::bf16::from_bits(*x).to_f64())
            }
            (a, b) if a == b => None,
            (TensorData::Int64(a), TensorData::Int64(b)) => {
                let at = a.iter().zip(b).find(|(a, b)| a != b);
                at.map(|(a, b)| format!("{a} and not {b}"))
            }
            (TensorData::Bytes(a), TensorData::Bytes(b)) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(40).collect();
                let at = a.iter().zip(b).find(|(a, b)| a != b);
                at.map(|(a, b)| {
                    let (a, b): (String, String) = (text(a), text(b));
                    format!("\"{a}\" and not \"{b}\"")
                })
            }
            _ => Some("other values".to_owned()),
        };
        at.map(|at| format!("output \"{}\" has {at}", spec.name))
    })
}

fn first_apart<T>(
    ours: &[T],
    theirs: &[T],
    tolerance: f64,
    number: impl Fn(&T) -> f64,
) -> Option<String> {
    let close = |x: f64, y: f64| {
        x == y
            || (x.is_nan() && y.is_nan())
            || (x - y).abs() <= tolerance * x.abs().max(y.abs()).max(1.0)
    };
    let mut pairs = ours.iter().map(&number).zip(theirs.iter().map(&number));
    pairs.find(|(x, y)| !close(*x, *y)).map(|(x, y)| format!("{x} and not {y}"))
}
