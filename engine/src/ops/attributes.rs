//! Attributes of a node, with the defaults of the standard.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{NodeProto, TensorProto};
use tract_onnx::prelude::TractResult;
use tract_onnx::tract_hir::internal::*;

/// A list of integers; empty when absent.
pub(super) fn ints<'a>(node: &'a NodeProto, name: &str) -> TractResult<&'a [i64]> {
    Ok(node.get_attr_opt_slice::<i64>(name)?.unwrap_or_default())
}

/// A list of floats; empty when absent.
pub(super) fn floats<'a>(node: &'a NodeProto, name: &str) -> TractResult<&'a [f32]> {
    Ok(node.get_attr_opt_slice::<f32>(name)?.unwrap_or_default())
}

/// A list of texts; empty when absent.
pub(super) fn texts(node: &NodeProto, name: &str) -> TractResult<Vec<String>> {
    Ok(node.get_attr_opt_vec::<String>(name)?.unwrap_or_default())
}

/// A text, or `default` when absent.
pub(super) fn text<'a>(node: &'a NodeProto, name: &str, default: &'a str) -> TractResult<&'a str> {
    Ok(node.get_attr_opt::<&str>(name)?.unwrap_or(default))
}

/// A tensor of uint8 in the attribute `name`, which must be there.
pub(super) fn bytes(node: &NodeProto, name: &str) -> TractResult<Vec<u8>> {
    let tensor: &TensorProto = node.get_attr(name)?;
    let is_bytes = tensor.data_type == DataType::Uint8 as i32;
    ensure!(is_bytes, "the attribute {name} is not a tensor of uint8");
    if !tensor.raw_data.is_empty() {
        return Ok(tensor.raw_data.to_vec());
    }
    let byte = |v: &i32| u8::try_from(*v).map_err(|_| format_err!("{v} in the attribute {name}"));
    tensor.int32_data.iter().map(byte).collect()
}

/// A tensor of f64 in the attribute `name`, of f32 or of f16; `None` when absent.
pub(super) fn doubles(node: &NodeProto, name: &str) -> TractResult<Option<Vec<f64>>> {
    if let Some(halves) = halves(node, name)? {
        return Ok(Some(halves));
    }
    let Some(tensor) = tensor(node, name)? else { return Ok(None) };
    match tensor {
        Numbers::Doubles(values) => Ok(Some(values)),
        Numbers::Floats(values) => Ok(Some(values.into_iter().map(f64::from).collect())),
        _ => bail!("the attribute {name} is not a tensor of floats"),
    }
}

fn halves(node: &NodeProto, name: &str) -> TractResult<Option<Vec<f64>>> {
    let tensor = node.get_attr_opt::<&TensorProto>(name)?;
    let Some(tensor) = tensor.filter(|t| t.data_type == DataType::Float16 as i32) else {
        return Ok(None);
    };
    let bits = if tensor.raw_data.is_empty() {
        tensor.int32_data.iter().map(|bits| *bits as u16).collect()
    } else {
        chunks(&tensor.raw_data, u16::from_le_bytes)?
    };
    Ok(Some(bits.into_iter().map(|bits| half::f16::from_bits(bits).to_f64()).collect()))
}

/// The elements of an attribute tensor.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Numbers {
    Ints(Vec<i64>),
    /// int16, which keeps its type in outputs.
    Shorts(Vec<i16>),
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    Texts(Vec<String>),
}

/// A tensor attribute; `None` when absent.
pub(super) fn tensor(node: &NodeProto, name: &str) -> TractResult<Option<Numbers>> {
    let Some(tensor) = node.get_attr_opt::<&TensorProto>(name)? else { return Ok(None) };
    read(tensor).with_context(|| format!("the attribute {name}")).map(Some)
}

/// Elements lie either in a typed list or as little-endian bytes.
fn read(tensor: &TensorProto) -> TractResult<Numbers> {
    let raw = &*tensor.raw_data;
    let kind = DataType::try_from(tensor.data_type).map_err(|_| format_err!("an unknown type"))?;
    Ok(match kind {
        DataType::Double if raw.is_empty() => Numbers::Doubles(tensor.double_data.clone()),
        DataType::Double => Numbers::Doubles(chunks(raw, f64::from_le_bytes)?),
        DataType::Float if raw.is_empty() => Numbers::Floats(tensor.float_data.clone()),
        DataType::Float => Numbers::Floats(chunks(raw, f32::from_le_bytes)?),
        DataType::Int64 if raw.is_empty() => Numbers::Ints(tensor.int64_data.clone()),
        DataType::Int64 => Numbers::Ints(chunks(raw, i64::from_le_bytes)?),
        DataType::Int16 if raw.is_empty() => {
            Numbers::Shorts(tensor.int32_data.iter().map(|v| *v as i16).collect())
        }
        DataType::Int16 => Numbers::Shorts(chunks(raw, i16::from_le_bytes)?),
        DataType::String => {
            let text = |bytes: &Vec<u8>| Ok(String::from_utf8(bytes.clone())?);
            Numbers::Texts(tensor.string_data.iter().map(text).collect::<TractResult<_>>()?)
        }
        other => bail!("a tensor of {other:?} is not supported here"),
    })
}

fn chunks<const W: usize, T>(raw: &[u8], read: fn([u8; W]) -> T) -> TractResult<Vec<T>> {
    let (whole, rest) = raw.as_chunks::<W>();
    ensure!(rest.is_empty(), "{} bytes are not a multiple of {W}", raw.len());
    Ok(whole.iter().map(|bytes| read(*bytes)).collect())
}
