//! Typed buffers written as JSON.

use weighbridge_config::{TensorData, with_elements};

/// Writing to a `Vec` cannot fail; serde_json says so only through a `Result`.
fn json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let from = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(from);
        out.extend_from_slice(b"null");
    }
}

pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    json(out, text);
}

pub(crate) fn shape(out: &mut Vec<u8>, shape: &[usize]) {
    json(out, shape);
}

/// Elements that JSON can show.
trait Written {
    fn write(slice: &[Self], out: &mut Vec<u8>)
    where
        Self: Sized;
}

macro_rules! as_serde {
    ($($kind:ty),*) => {$(
        impl Written for $kind {
            fn write(slice: &[Self], out: &mut Vec<u8>) {
                json(out, slice);
            }
        }
    )*};
}
as_serde!(bool, u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

impl Written for Vec<u8> {
    fn write(slice: &[Self], out: &mut Vec<u8>) {
        out.push(b'[');
        for (place, bytes) in slice.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            string(out, &String::from_utf8_lossy(bytes));
        }
        out.push(b']');
    }
}

/// IEEE 754 binary16 to binary32: every one is exact.
pub(crate) fn half_to_f32(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from((bits >> 10) & 0x1f), f32::from(bits & 0x3ff));
    match exponent {
        0 => sign * fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    }
}

/// The upper 16 bits of an FP32 to that FP32.
pub(crate) fn brain_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// How many elements are NaN or infinite.
pub(crate) fn non_finite(data: &TensorData) -> usize {
    match data {
        TensorData::Fp32(v) => v.iter().filter(|x| !x.is_finite()).count(),
        TensorData::Fp64(v) => v.iter().filter(|x| !x.is_finite()).count(),
        // All bits of the exponent set.
        TensorData::Fp16(v) => v.iter().filter(|bits| *bits & 0x7c00 == 0x7c00).count(),
        TensorData::Bf16(v) => v.iter().filter(|bits| *bits & 0x7f80 == 0x7f80).count(),
        _ => 0,
    }
}

/// All elements in one flat array.
pub(crate) fn flat(out: &mut Vec<u8>, data: &TensorData) {
    range(out, data, 0, data.len());
}

fn widened(narrow: &[u16], widen: fn(u16) -> f32) -> Vec<f32> {
    narrow.iter().map(|bits| widen(*bits)).collect()
}

fn range(out: &mut Vec<u8>, data: &TensorData, from: usize, to: usize) {
    match data {
        TensorData::Fp16(v) => f32::write(&widened(&v[from..to], half_to_f32), out),
        TensorData::Bf16(v) => f32::write(&widened(&v[from..to], brain_to_f32), out),
        data => with_elements!(data, v => Written::write(&v[from..to], out)),
    }
}

/// Row `row` of a tensor as nested arrays: a plain value when the tensor has one axis.
pub(crate) fn nested_row(out: &mut Vec<u8>, shape: &[usize], data: &TensorData, row: usize) {
    let per_row: usize = shape.iter().skip(1).product();
    nested(out, shape.get(1..).unwrap_or(&[]), data, row * per_row);
}

/// A whole tensor as nested arrays.
pub(crate) fn nested(out: &mut Vec<u8>, shape: &[usize], data: &TensorData, from: usize) {
    match shape {
        [] => {
            let start = out.len();
            range(out, data, from, from + 1);
            // One element came as `[x]`: keep what stands between the brackets.
            out.pop();
            out.remove(start);
        }
        [length] => range(out, data, from, from + length),
        [length, rest @ ..] => {
            let step: usize = rest.iter().product();
            out.push(b'[');
            for place in 0..*length {
                if place > 0 {
                    out.push(b',');
                }
                nested(out, rest, data, from + place * step);
            }
            out.push(b']');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(shape: &[usize], data: &TensorData) -> String {
        let mut out = Vec::new();
        nested(&mut out, shape, data, 0);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nested_arrays_follow_the_shape() {
        let data = TensorData::Int64(vec![1, 2, 3, 4, 5, 6]);
        assert_eq!(text(&[2, 3], &data), "[[1,2,3],[4,5,6]]");
        assert_eq!(text(&[3, 2, 1], &data), "[[[1],[2]],[[3],[4]],[[5],[6]]]");
        assert_eq!(text(&[6], &data), "[1,2,3,4,5,6]");
        assert_eq!(text(&[], &data), "1");
        assert_eq!(text(&[2, 0], &data), "[[],[]]");
        let mut row = Vec::new();
        nested_row(&mut row, &[2, 3], &data, 1);
        assert_eq!(row, b"[4,5,6]");
        let mut scalar = Vec::new();
        nested_row(&mut scalar, &[6], &data, 2);
        assert_eq!(scalar, b"3");
    }

    #[test]
    fn halves_are_widened_exactly() {
        let cases =
            [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 5.960_464_5e-8), (0x7bff, 65504.0), (0, 0.0)];
        for (bits, value) in cases {
            assert_eq!(half_to_f32(bits), value);
        }
        assert!(half_to_f32(0x7e00).is_nan());
        assert_eq!(half_to_f32(0xfc00), f32::NEG_INFINITY);
        assert_eq!(text(&[2], &TensorData::Fp16(vec![0x3c00, 0x7e00])), "[1.0,null]");
        assert_eq!(
            text(&[3], &TensorData::Bf16(vec![0x3f80, 0xc049, 0x7fc0])),
            "[1.0,-3.140625,null]"
        );
    }
}
