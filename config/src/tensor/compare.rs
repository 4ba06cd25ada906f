//! How far two answers to the same request lie apart.

use serde::{Deserialize, Serialize};

use super::{Tensor, TensorData};

/// The distance between an expected tensor and the one that came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The largest |came − expected|; infinite when only one of two elements is a number, 1 for
    /// strings and booleans that differ.
    pub max_absolute: f64,
    /// The largest |came − expected| / |expected|, over elements that are not expected to be 0.
    pub max_relative: f64,
    /// Elements compared.
    pub elements: u64,
    /// Elements beyond the tolerance.
    pub beyond: u64,
    /// The element furthest beyond (or nearest to) its tolerance.
    pub worst: Option<Worst>,
    /// Rows whose largest element stands in the same place, of rows that have several numbers.
    pub top1: Option<Agreement>,
}

/// One element, as text: it may be a string or NaN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worst {
    /// Row-major.
    pub index: u64,
    pub expected: String,
    pub came: String,
}

/// How many of how many agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Agreement {
    pub agree: u64,
    pub of: u64,
}

/// Two tensors that cannot be compared element by element.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{came} came, {expected} was expected")]
pub struct Unlike {
    pub expected: String,
    pub came: String,
}

impl Difference {
    /// True when every element lies within the tolerance.
    pub fn is_within(&self) -> bool {
        self.beyond == 0
    }
}

/// Compares element by element: one is within the tolerance when
/// |came − expected| ≤ absolute + relative · |expected|. NaN equals NaN; strings and booleans
/// must be equal.
///
/// # Errors
/// When datatype or shape differ.
pub fn compare(
    expected: &Tensor,
    came: &Tensor,
    absolute: f64,
    relative: f64,
) -> Result<Difference, Unlike> {
    if expected.datatype() != came.datatype() || expected.shape() != came.shape() {
        let told = |t: &Tensor| format!("{} {:?}", t.datatype(), t.shape());
        return Err(Unlike { expected: told(expected), came: told(came) });
    }
    let mut found = Difference {
        max_absolute: 0.0,
        max_relative: 0.0,
        elements: expected.data().len() as u64,
        beyond: 0,
        worst: None,
        top1: None,
    };
    if let (TensorData::Bytes(a), TensorData::Bytes(b)) = (expected.data(), came.data()) {
        for (index, (expected, came)) in a.iter().zip(b).enumerate() {
            if expected != came {
                let text = |bytes: &[u8]| {
                    String::from_utf8_lossy(bytes).chars().take(80).collect::<String>()
                };
                found.note(index, 1.0, f64::INFINITY, || (text(expected), text(came)));
            }
        }
        return Ok(found);
    }
    let (expected_numbers, came_numbers) = (numbers(expected.data()), numbers(came.data()));
    let mut worst_excess = f64::NEG_INFINITY;
    for (index, (e, c)) in expected_numbers.iter().zip(&came_numbers).enumerate() {
        let distance = distance(*e, *c);
        if *e != 0.0 && distance.is_finite() {
            found.max_relative = found.max_relative.max(distance / e.abs());
        }
        found.max_absolute = found.max_absolute.max(distance);
        let excess = distance - (absolute + relative * if e.is_finite() { e.abs() } else { 0.0 });
        if excess > 0.0 {
            found.beyond += 1;
        }
        if distance > 0.0 && excess > worst_excess {
            worst_excess = excess;
            found.worst =
                Some(Worst { index: index as u64, expected: e.to_string(), came: c.to_string() });
        }
    }
    found.top1 = top1(expected, &expected_numbers, &came_numbers);
    Ok(found)
}

impl Difference {
    fn note(
        &mut self,
        index: usize,
        distance: f64,
        relative: f64,
        texts: impl Fn() -> (String, String),
    ) {
        self.beyond += 1;
        self.max_absolute = self.max_absolute.max(distance);
        self.max_relative = self.max_relative.max(relative);
        if self.worst.is_none() {
            let (expected, came) = texts();
            self.worst = Some(Worst { index: index as u64, expected, came });
        }
    }
}

/// 0 for equals, NaN included; infinite when only one of the two is NaN or infinite.
fn distance(expected: f64, came: f64) -> f64 {
    if expected == came || (expected.is_nan() && came.is_nan()) {
        return 0.0;
    }
    let distance = (came - expected).abs();
    if distance.is_nan() { f64::INFINITY } else { distance }
}

fn top1(of: &Tensor, expected: &[f64], came: &[f64]) -> Option<Agreement> {
    let width = of.shape().last().copied().filter(|w| of.shape().len() > 1 && *w > 1)?;
    let place = |row: &[f64]| {
        let beats = |best: usize, i: usize| if row[i] > row[best] { i } else { best };
        (1..row.len()).fold(0, beats)
    };
    let rows = expected.chunks_exact(width).zip(came.chunks_exact(width));
    let agree = rows.filter(|(e, c)| place(e) == place(c)).count() as u64;
    Some(Agreement { agree, of: (expected.len() / width) as u64 })
}

/// True when an element is NaN or infinite.
pub fn has_non_finite(data: &TensorData) -> bool {
    match data {
        TensorData::Fp32(v) => v.iter().any(|x| !x.is_finite()),
        TensorData::Fp64(v) => v.iter().any(|x| !x.is_finite()),
        // All bits of the exponent set.
        TensorData::Fp16(v) => v.iter().any(|bits| bits & 0x7c00 == 0x7c00),
        TensorData::Bf16(v) => v.iter().any(|bits| bits & 0x7f80 == 0x7f80),
        _ => false,
    }
}

fn numbers(data: &TensorData) -> Vec<f64> {
    match data {
        TensorData::Bool(v) => v.iter().map(|x| f64::from(u8::from(*x))).collect(),
        TensorData::Uint8(v) => v.iter().map(|x| f64::from(*x)).collect(),
        TensorData::Uint16(v) => v.iter().map(|x| f64::from(*x)).collect(),
        TensorData::Uint32(v) => v.iter().map(|x| f64::from(*x)).collect(),
        TensorData::Uint64(v) => v.iter().map(|x| *x as f64).collect(),
        TensorData::Int8(v) => v.iter().map(|x| f64::from(*x)).collect(),
        TensorData::Int16(v) => v.iter().map(|x| f64::from(*x)).collect(),
        TensorData::Int32(v) => v.iter().map(|x| f64::from(*x)).collect(),
        TensorData::Int64(v) => v.iter().map(|x| *x as f64).collect(),
        TensorData::Fp16(v) => v.iter().map(|bits| half::f16::from_bits(*bits).to_f64()).collect(),
        TensorData::Bf16(v) => v.iter().map(|bits| half::bf16::from_bits(*bits).to_f64()).collect(),
        TensorData::Fp32(v) => v.iter().map(|x| f64::from(*x)).collect(),
        TensorData::Fp64(v) => v.clone(),
        TensorData::Bytes(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::new(shape.to_vec(), TensorData::Fp32(values.to_vec())).unwrap()
    }

    #[test]
    fn tolerance_is_absolute_plus_relative() {
        let (a, b) = (floats(&[3], &[100.0, 0.0, 1.0]), floats(&[3], &[100.5, 0.01, 1.0]));
        let found = compare(&a, &b, 0.0, 0.01).unwrap();
        assert_eq!((found.beyond, found.elements), (1, 3));
        assert_eq!(found.worst.as_ref().map(|w| w.index), Some(1));
        assert!((found.max_absolute - 0.5).abs() < 1e-6 && found.max_relative < 0.0051);
        assert!(compare(&a, &b, 0.02, 0.01).unwrap().is_within());
    }

    #[test]
    fn nan_equals_only_itself() {
        let (a, b) = (floats(&[2], &[f32::NAN, 1.0]), floats(&[2], &[f32::NAN, f32::NAN]));
        assert!(compare(&a, &a, 0.0, 0.0).unwrap().is_within());
        let found = compare(&a, &b, 1e9, 0.0).unwrap();
        assert_eq!((found.beyond, found.max_absolute), (1, f64::INFINITY));
    }

    #[test]
    fn the_largest_of_each_row_is_compared() {
        let (a, b) =
            (floats(&[2, 2], &[0.4, 0.6, 0.9, 0.1]), floats(&[2, 2], &[0.6, 0.4, 0.8, 0.2]));
        let found = compare(&a, &b, 1.0, 0.0).unwrap();
        assert_eq!(found.top1, Some(Agreement { agree: 1, of: 2 }));
    }

    #[test]
    fn sixteen_bit_floats_are_compared_as_numbers() {
        let brains =
            |bits: &[u16]| Tensor::new(vec![bits.len()], TensorData::Bf16(bits.to_vec())).unwrap();
        // 1.0 and its upper neighbour, 1.0078125.
        let found = compare(&brains(&[0x3f80]), &brains(&[0x3f81]), 0.0, 0.0).unwrap();
        assert_eq!((found.beyond, found.max_absolute), (1, 0.007_812_5));
        assert!(compare(&brains(&[0x3f80]), &brains(&[0x3f81]), 0.01, 0.0).unwrap().is_within());
    }

    #[test]
    fn strings_must_be_equal_and_shapes_too() {
        let text =
            |s: &str| Tensor::new(vec![1], TensorData::Bytes(vec![s.as_bytes().to_vec()])).unwrap();
        assert!(compare(&text("a"), &text("a"), 0.0, 0.0).unwrap().is_within());
        let found = compare(&text("a"), &text("b"), 9.0, 9.0).unwrap();
        assert_eq!(found.worst.unwrap().came, "b");
        let unlike = compare(&text("a"), &floats(&[1], &[0.0]), 0.0, 0.0).unwrap_err();
        assert_eq!(unlike.to_string(), "FP32 [1] came, BYTES [1] was expected");
    }

    #[test]
    fn non_finite_elements_are_found_in_every_float() {
        assert!(has_non_finite(&TensorData::Fp16(vec![0x3c00, 0x7c00])));
        assert!(has_non_finite(&TensorData::Fp64(vec![f64::NAN])));
        assert!(!has_non_finite(&TensorData::Fp16(vec![0x3c00, 0xbc00])));
        assert!(has_non_finite(&TensorData::Bf16(vec![0x3f80, 0xff80])));
        assert!(!has_non_finite(&TensorData::Bf16(vec![0x3f80, 0x7f7f])));
        assert!(!has_non_finite(&TensorData::Int64(vec![i64::MAX])));
    }
}
