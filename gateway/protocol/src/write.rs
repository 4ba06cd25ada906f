//! Typed buffers written as JSON.

use std::ops::Range;

use base64::Engine as _;
use weighbridge_config::{Tensor, TensorData, with_elements};

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

/// How values are written that JSON has no one way for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    /// NaN and infinities as the bare words of TF Serving, which are no JSON; else `null`.
    pub bare: bool,
    /// Elements of BYTES as `{"b64": "…"}`; else as text, in which what is not UTF-8 is lost.
    pub base64: bool,
}

/// Elements that JSON can show.
trait Written {
    fn write(slice: &[Self], out: &mut Vec<u8>, style: Style)
    where
        Self: Sized;
}

macro_rules! as_serde {
    ($($kind:ty),*) => {$(
        impl Written for $kind {
            fn write(slice: &[Self], out: &mut Vec<u8>, _: Style) {
                json(out, slice);
            }
        }
    )*};
}
as_serde!(bool, u8, u16, u32, u64, i8, i16, i32, i64);

macro_rules! float {
    ($($kind:ty),*) => {$(
        impl Written for $kind {
            fn write(slice: &[Self], out: &mut Vec<u8>, style: Style) {
                if !style.bare || slice.iter().all(|x| x.is_finite()) {
                    return json(out, slice);
                }
                list(out, slice, |out, x| match x {
                    x if x.is_nan() => out.extend_from_slice(b"NaN"),
                    x if x.is_finite() => json(out, x),
                    x if *x > 0.0 => out.extend_from_slice(b"Infinity"),
                    _ => out.extend_from_slice(b"-Infinity"),
                });
            }
        }
    )*};
}
float!(f32, f64);

fn list<T>(out: &mut Vec<u8>, slice: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (place, element) in slice.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write(out, element);
    }
    out.push(b']');
}

impl Written for Vec<u8> {
    fn write(slice: &[Self], out: &mut Vec<u8>, style: Style) {
        list(out, slice, |out, bytes| {
            if style.base64 {
                out.extend_from_slice(b"{\"b64\":");
                string(out, &base64::engine::general_purpose::STANDARD.encode(bytes));
                out.push(b'}');
            } else {
                string(out, &String::from_utf8_lossy(bytes));
            }
        });
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
    range(out, data, 0..data.len(), Style::default());
}

fn widened(narrow: &[u16], widen: fn(u16) -> f32) -> Vec<f32> {
    narrow.iter().map(|bits| widen(*bits)).collect()
}

fn range(out: &mut Vec<u8>, data: &TensorData, range: Range<usize>, style: Style) {
    match data {
        TensorData::Fp16(v) => f32::write(&widened(&v[range], half_to_f32), out, style),
        TensorData::Bf16(v) => f32::write(&widened(&v[range], brain_to_f32), out, style),
        data => with_elements!(data, v => Written::write(&v[range], out, style)),
    }
}

/// Row `row` of a tensor as nested arrays: a plain value when the tensor has one axis.
pub(crate) fn nested_row(out: &mut Vec<u8>, tensor: &Tensor, row: usize, style: Style) {
    let shape = tensor.shape().get(1..).unwrap_or(&[]);
    let per_row: usize = shape.iter().product();
    nested(out, shape, tensor.data(), row * per_row, style);
}

/// The elements of `shape` that begin at `from`, as nested arrays.
pub(crate) fn nested(
    out: &mut Vec<u8>,
    shape: &[usize],
    data: &TensorData,
    from: usize,
    style: Style,
) {
    match shape {
        [] => {
            let start = out.len();
            range(out, data, from..from + 1, style);
            // One element came as `[x]`: keep what stands between the brackets.
            out.pop();
            out.remove(start);
        }
        [length] => range(out, data, from..from + length, style),
        [length, rest @ ..] => {
            let step: usize = rest.iter().product();
            out.push(b'[');
            for place in 0..*length {
                if place > 0 {
                    out.push(b',');
                }
                nested(out, rest, data, from + place * step, style);
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
        nested(&mut out, shape, data, 0, Style::default());
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
        let tensor = |shape: &[usize]| Tensor::new(shape.to_vec(), data.clone()).unwrap();
        nested_row(&mut row, &tensor(&[2, 3]), 1, Style::default());
        assert_eq!(row, b"[4,5,6]");
        let mut scalar = Vec::new();
        nested_row(&mut scalar, &tensor(&[6]), 2, Style::default());
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

    #[test]
    fn what_json_has_no_word_for_is_written_as_asked() {
        let floats = TensorData::Fp64(vec![1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
        let bytes = TensorData::Bytes(vec![vec![0xff, 0], b"a".to_vec()]);
        let text = |data: &TensorData, style: Style| {
            let mut out = Vec::new();
            nested(&mut out, &[data.len()], data, 0, style);
            String::from_utf8(out).unwrap()
        };
        let plain = Style::default();
        assert_eq!(text(&floats, plain), "[1.5,null,null,null]");
        assert_eq!(text(&floats, Style { bare: true, ..plain }), "[1.5,NaN,Infinity,-Infinity]");
        assert_eq!(text(&bytes, plain), "[\"\u{fffd}\\u0000\",\"a\"]");
        let base64 = Style { base64: true, ..plain };
        assert_eq!(text(&bytes, base64), r#"[{"b64":"/wA="},{"b64":"YQ=="}]"#);
    }
}
