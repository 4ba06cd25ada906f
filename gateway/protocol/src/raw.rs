//! Tensors as bytes: little-endian, row-major, without gaps.
//!
//! Binary tensor data of REST and `raw_input_contents` of gRPC share this form. BOOL is one byte
//! of 0 or 1; FP16 is the IEEE 754 half, BF16 the upper 16 bits of an FP32; each element of BYTES
//! is a u32 length and that many bytes. Nothing is allocated before the bytes that came can fill
//! it: at most 6 times their length, for BYTES of empty elements.

use weighbridge_config::tensor::element_count;
use weighbridge_config::{Datatype, Tensor, TensorData};

use crate::error::BadRequest;

/// The length in front of each element of BYTES.
const LENGTH_BYTES: usize = size_of::<u32>();

/// Makes a tensor of `shape` from all of `bytes`. `label` names it in errors.
///
/// # Errors
/// A length that `datatype` and `shape` do not give, elements that cannot be counted, a BOOL
/// beside 0 and 1, an element of BYTES that runs over the end.
pub fn decode(
    label: &str,
    datatype: Datatype,
    shape: Vec<usize>,
    bytes: &[u8],
) -> Result<Tensor, BadRequest> {
    let data = match datatype.size() {
        Some(size) => {
            let came = bytes.len();
            let wanted = element_count(&shape)
                .and_then(|count| count.checked_mul(size))
                .ok_or_else(|| uncountable(label, &shape))?;
            if came != wanted {
                return Err(BadRequest(format!(
                    "{label}: {came} bytes came, shape {shape:?} of {datatype} wants {wanted}"
                )));
            }
            numbers(label, datatype, bytes)?
        }
        None => {
            let count = element_count(&shape).ok_or_else(|| uncountable(label, &shape))?;
            TensorData::Bytes(texts(label, &shape, count, bytes)?)
        }
    };
    Tensor::new(shape, data).map_err(|e| BadRequest(format!("{label}: {e}")))
}

fn uncountable(label: &str, shape: &[usize]) -> BadRequest {
    BadRequest(format!("{label}: shape {shape:?} holds more elements than can be counted"))
}

/// Elements of a fixed size from as many bytes as they take.
fn numbers(label: &str, datatype: Datatype, bytes: &[u8]) -> Result<TensorData, BadRequest> {
    // One move of memory on a little-endian machine, since there the conversion does nothing.
    macro_rules! words {
        ($variant:ident, $kind:ty) => {{
            let (words, _) = bytes.as_chunks::<{ size_of::<$kind>() }>();
            TensorData::$variant(words.iter().map(|word| <$kind>::from_le_bytes(*word)).collect())
        }};
    }
    Ok(match datatype {
        Datatype::Bool => match bytemuck::checked::try_cast_slice::<u8, bool>(bytes) {
            Ok(truths) => TensorData::Bool(truths.to_vec()),
            Err(_) => return Err(not_a_truth(label, bytes)),
        },
        Datatype::Uint8 => TensorData::Uint8(bytes.to_vec()),
        Datatype::Uint16 => words!(Uint16, u16),
        Datatype::Uint32 => words!(Uint32, u32),
        Datatype::Uint64 => words!(Uint64, u64),
        Datatype::Int8 => TensorData::Int8(bytemuck::cast_slice::<u8, i8>(bytes).to_vec()),
        Datatype::Int16 => words!(Int16, i16),
        Datatype::Int32 => words!(Int32, i32),
        Datatype::Int64 => words!(Int64, i64),
        Datatype::Fp16 => words!(Fp16, u16),
        Datatype::Bf16 => words!(Bf16, u16),
        Datatype::Fp32 => words!(Fp32, f32),
        Datatype::Fp64 => words!(Fp64, f64),
        Datatype::Bytes => {
            return Err(BadRequest(format!("{label}: BYTES has no elements of one size")));
        }
    })
}

fn not_a_truth(label: &str, bytes: &[u8]) -> BadRequest {
    let odd = bytes.iter().enumerate().find(|(_, byte)| **byte > 1);
    let (place, came) = odd.map_or((0, 0), |(place, byte)| (place, *byte));
    BadRequest(format!("{label}: element {place} is {came}, BOOL wants a byte of 0 or 1"))
}

fn texts(
    label: &str,
    shape: &[usize],
    count: usize,
    bytes: &[u8],
) -> Result<Vec<Vec<u8>>, BadRequest> {
    let came = bytes.len();
    // Before room is made: a shape may promise anything.
    if count > came / LENGTH_BYTES {
        return Err(BadRequest(format!(
            "{label}: {came} bytes came, shape {shape:?} of BYTES wants {count} elements of at least {LENGTH_BYTES} bytes"
        )));
    }
    let mut elements = Vec::with_capacity(count);
    let mut rest = bytes;
    for place in 0..count {
        let Some((length, after)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
            let left = rest.len();
            return Err(BadRequest(format!(
                "{label}: element {place} wants {LENGTH_BYTES} bytes for its length, {left} are left"
            )));
        };
        let length = u32::from_le_bytes(*length);
        let split = usize::try_from(length).ok().and_then(|length| after.split_at_checked(length));
        let Some((element, after)) = split else {
            let left = after.len();
            return Err(BadRequest(format!(
                "{label}: element {place} says it has {length} bytes, {left} are left"
            )));
        };
        elements.push(element.to_vec());
        rest = after;
    }
    if !rest.is_empty() {
        let left = rest.len();
        return Err(BadRequest(format!(
            "{label}: {left} of {came} bytes are left over after the {count} elements that shape {shape:?} wants"
        )));
    }
    Ok(elements)
}

/// The bytes that [`encode`] adds.
pub fn encoded_len(data: &TensorData) -> usize {
    match data {
        TensorData::Bytes(elements) => elements.iter().map(|e| LENGTH_BYTES + e.len()).sum(),
        data => data.len() * data.datatype().size().unwrap_or(0),
    }
}

/// Appends the elements to `out`. An element of BYTES beyond 4 GiB, which its length cannot say,
/// is cut there.
pub fn encode(data: &TensorData, out: &mut Vec<u8>) {
    out.reserve(encoded_len(data));
    macro_rules! words {
        ($elements:expr) => {
            if cfg!(target_endian = "little") {
                out.extend_from_slice(bytemuck::cast_slice($elements.as_slice()));
            } else {
                out.extend($elements.iter().flat_map(|element| element.to_le_bytes()));
            }
        };
    }
    match data {
        TensorData::Bool(v) => out.extend_from_slice(bytemuck::cast_slice(v.as_slice())),
        TensorData::Uint8(v) => out.extend_from_slice(v),
        TensorData::Uint16(v) | TensorData::Fp16(v) | TensorData::Bf16(v) => words!(v),
        TensorData::Uint32(v) => words!(v),
        TensorData::Uint64(v) => words!(v),
        TensorData::Int8(v) => out.extend_from_slice(bytemuck::cast_slice(v.as_slice())),
        TensorData::Int16(v) => words!(v),
        TensorData::Int32(v) => words!(v),
        TensorData::Int64(v) => words!(v),
        TensorData::Fp32(v) => words!(v),
        TensorData::Fp64(v) => words!(v),
        TensorData::Bytes(elements) => {
            for element in elements {
                let length = u32::try_from(element.len()).unwrap_or(u32::MAX);
                out.extend_from_slice(&length.to_le_bytes());
                out.extend(element.iter().take(length as usize));
            }
        }
    }
}

#[cfg(test)]
mod tests;
