//! Inputs made up for first runs: warm-up, measuring and vetting.

use weighbridge_config::{Datatype, Signature, Tensor, TensorData, TensorSpec};

/// The length given to a free axis that is not the batch, such as a sequence of tokens.
const FREE_AXIS: usize = 8;

/// Plausible inputs in signature order: `rows` rows of zeros and ones by turns, the empty string
/// for text. The same arguments always give the same inputs.
///
/// A free axis 0 becomes `rows`, other free axes a length of 8; fixed axes stay. A model may
/// refuse them all the same (a token that its table does not hold), so a failing probe proves
/// nothing.
pub fn probe_inputs(signature: &Signature, rows: usize) -> Vec<Tensor> {
    signature.inputs.iter().map(|spec| filled(spec, rows, |i| (i % 2) as f64)).collect()
}

/// Like [`probe_inputs`], but with values in [0, 1) that differ from row to row, so that a model
/// that mixes rows gives itself away. Integers stay 0 or 1 for the sake of small tables; texts
/// have different numbers of words.
pub(crate) fn varied_inputs(signature: &Signature, rows: usize) -> Vec<Tensor> {
    // The fractional parts of multiples of the golden ratio: spread evenly, no two alike.
    let value = |i: usize| (i as f64 * 0.618_033_988_749_895 + 0.1).fract();
    signature.inputs.iter().map(|spec| filled(spec, rows, value)).collect()
}

/// The values of made-up inputs whose answers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// In [0, 1).
    Unit,
    /// In [-4, 4), where standardised features lie.
    Standard,
    /// In [-300, 300), far beyond most thresholds.
    Wide,
}

impl Spread {
    pub(crate) const ALL: [Spread; 3] = [Self::Unit, Self::Standard, Self::Wide];
}

/// Inputs of `rows` rows, others for each `seed`. Integers stay 0 or 1 and booleans differ:
/// an integer is most often a place in a table.
pub(crate) fn spread_inputs(
    signature: &Signature,
    rows: usize,
    spread: Spread,
    seed: usize,
) -> Vec<Tensor> {
    // Further along the same even spread for each seed and input.
    let value = |place: usize, i: usize| {
        ((i + 977 * seed + 131 * place) as f64 * 0.618_033_988_749_895 + 0.1).fract()
    };
    let inputs = signature.inputs.iter().enumerate();
    let filled = inputs.map(|(place, spec)| {
        let is_float = matches!(
            spec.datatype,
            Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64
        );
        filled(spec, rows, |i| match (is_float, spread) {
            (false, _) | (true, Spread::Unit) => value(place, i),
            (true, Spread::Standard) => value(place, i) * 8.0 - 4.0,
            (true, Spread::Wide) => value(place, i) * 600.0 - 300.0,
        })
    });
    filled.collect()
}

fn filled(spec: &TensorSpec, rows: usize, value: impl Fn(usize) -> f64) -> Tensor {
    let length = |(axis, &dim): (usize, &i64)| match usize::try_from(dim) {
        Ok(fixed) => fixed,
        Err(_) if axis == 0 => rows,
        Err(_) => FREE_AXIS,
    };
    let shape: Vec<usize> = spec.shape.iter().enumerate().map(length).collect();
    let count = shape.iter().product();
    let data = elements(spec.datatype, (0..count).map(value));
    Tensor::new(shape, data).expect("as many elements were made as the shape wants")
}

fn elements(datatype: Datatype, values: impl Iterator<Item = f64>) -> TensorData {
    match datatype {
        Datatype::Bool => TensorData::Bool(values.map(|v| v >= 0.5).collect()),
        Datatype::Uint8 => TensorData::Uint8(values.map(|v| v.round() as u8).collect()),
        Datatype::Uint16 => TensorData::Uint16(values.map(|v| v.round() as u16).collect()),
        Datatype::Uint32 => TensorData::Uint32(values.map(|v| v.round() as u32).collect()),
        Datatype::Uint64 => TensorData::Uint64(values.map(|v| v.round() as u64).collect()),
        Datatype::Int8 => TensorData::Int8(values.map(|v| v.round() as i8).collect()),
        Datatype::Int16 => TensorData::Int16(values.map(|v| v.round() as i16).collect()),
        Datatype::Int32 => TensorData::Int32(values.map(|v| v.round() as i32).collect()),
        Datatype::Int64 => TensorData::Int64(values.map(|v| v.round() as i64).collect()),
        Datatype::Fp16 => {
            TensorData::Fp16(values.map(|v| half::f16::from_f64(v).to_bits()).collect())
        }
        Datatype::Bf16 => {
            TensorData::Bf16(values.map(|v| half::bf16::from_f64(v).to_bits()).collect())
        }
        Datatype::Fp32 => TensorData::Fp32(values.map(|v| v as f32).collect()),
        Datatype::Fp64 => TensorData::Fp64(values.collect()),
        Datatype::Bytes => TensorData::Bytes(values.map(words).collect()),
    }
}

/// Up to three words, by the fraction of `value`; a whole number has none.
fn words(value: f64) -> Vec<u8> {
    let count = (value.fract() * 4.0) as usize;
    vec!["word"; count].join(" ").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_have_the_asked_rows_and_are_the_same_each_time() {
        let spec = |datatype, shape: &[i64]| TensorSpec {
            name: "x".into(),
            datatype,
            shape: shape.to_vec(),
            labels: vec![],
        };
        for datatype in Datatype::ALL {
            let signature = Signature {
                inputs: vec![
                    spec(datatype, &[-1, 3]),
                    spec(datatype, &[-1, -1]),
                    spec(datatype, &[2]),
                ],
                outputs: vec![],
                batchable: true,
            };
            let tensors = probe_inputs(&signature, 5);
            let shapes: Vec<_> = tensors.iter().map(Tensor::shape).collect();
            assert_eq!(shapes, [&[5, 3][..], &[5, 8], &[2]]);
            assert!(tensors.iter().all(|t| t.datatype() == datatype));
            assert_eq!(tensors, probe_inputs(&signature, 5));
        }
    }
}
