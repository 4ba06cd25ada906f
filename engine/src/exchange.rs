//! Tensors of ours to tensors of the runtime and back.
//!
//! Inputs of several requests are copied straight into one runtime tensor, one memcpy per part;
//! outputs are cut into one vector per part. A request that runs alone is copied once each way.

mod scatter;

use half::slice::HalfBitsSliceExt as _;
use tract_onnx::prelude::{DatumType, IntoTensor as _, TractResult, tract_ndarray};
use weighbridge_config::{Datatype, Tensor, TensorData, TensorSpec};

#[cfg(feature = "onnxruntime")]
pub(crate) use scatter::cut;
pub(crate) use scatter::scatter;

use crate::error::{Error, ErrorKind};

type RuntimeTensor = tract_onnx::prelude::Tensor;

/// The datatype on the wire for a type of the runtime; `None` when it cannot be served.
/// `TDim` is how the runtime calculates with int64 sizes; quantised types are their raw integers.
pub(crate) fn datatype(of: DatumType) -> Option<Datatype> {
    Some(match of.unquantized() {
        DatumType::Bool => Datatype::Bool,
        DatumType::U8 => Datatype::Uint8,
        DatumType::U16 => Datatype::Uint16,
        DatumType::U32 => Datatype::Uint32,
        DatumType::U64 => Datatype::Uint64,
        DatumType::I8 => Datatype::Int8,
        DatumType::I16 => Datatype::Int16,
        DatumType::I32 => Datatype::Int32,
        DatumType::I64 | DatumType::TDim => Datatype::Int64,
        DatumType::F16 => Datatype::Fp16,
        DatumType::F32 => Datatype::Fp32,
        DatumType::F64 => Datatype::Fp64,
        DatumType::String => Datatype::Bytes,
        _ => return None,
    })
}

/// Joins input number `index` of all `parts` along axis 0 into one runtime tensor.
///
/// # Errors
/// [`ErrorKind::Run`] when a part's tensor is missing, has another datatype or shape than `spec`,
/// or, for text, is not UTF-8. The message names the input.
pub(crate) fn gather(
    spec: &TensorSpec,
    index: usize,
    parts: &[&[Tensor]],
) -> Result<RuntimeTensor, Error> {
    let shape = batch_shape(spec, index, parts)?;
    if let [_] = parts {
        return copied(spec, &parts[0][index]);
    }
    joined(spec, &shape, parts.iter().map(|part| part[index].data()))
}

/// The shape of input number `index` of all `parts` joined along axis 0.
///
/// # Errors
/// As [`gather`].
pub(crate) fn batch_shape(
    spec: &TensorSpec,
    index: usize,
    parts: &[&[Tensor]],
) -> Result<Vec<usize>, Error> {
    let missing = || refused(spec, "it is missing");
    let first = parts.first().and_then(|part| part.get(index)).ok_or_else(missing)?;
    let mut rows = 0;
    for part in parts {
        let tensor = part.get(index).ok_or_else(missing)?;
        check(spec, tensor)?;
        if tensor.shape().get(1..) != first.shape().get(1..) {
            return Err(refused(spec, "requests of different row shapes cannot share a batch"));
        }
        rows += tensor.rows();
    }
    let mut shape = first.shape().to_vec();
    if let ([_, _, ..], Some(axis)) = (parts, shape.first_mut()) {
        *axis = rows;
    }
    Ok(shape)
}

fn check(spec: &TensorSpec, tensor: &Tensor) -> Result<(), Error> {
    if tensor.datatype() != spec.datatype {
        let detail = format!("it is {}, the model takes {}", tensor.datatype(), spec.datatype);
        return Err(refused(spec, &detail));
    }
    let fits = |(&wanted, &got): (&i64, &usize)| {
        usize::try_from(wanted).map_or(true, |fixed| fixed == got)
    };
    let same_rank = tensor.shape().len() == spec.shape.len();
    if !same_rank || !spec.shape.iter().zip(tensor.shape()).all(fits) {
        let detail = format!("its shape is {:?}, the model takes {:?}", tensor.shape(), spec.shape);
        return Err(refused(spec, &detail));
    }
    Ok(())
}

fn refused(spec: &TensorSpec, detail: &str) -> Error {
    Error::new(ErrorKind::Run, format!("running the model: input \"{}\": {detail}", spec.name))
}

fn broken(spec: &TensorSpec, cause: tract_onnx::prelude::TractError) -> Error {
    let attempt = format!("running the model: input \"{}\"", spec.name);
    Error::because(ErrorKind::Run, &attempt, cause)
}

/// Runs `$body` with `$v` bound to the elements as the runtime's own copyable type.
macro_rules! with_plain {
    ($data:expr, $v:ident => $body:expr, $text:ident => $otherwise:expr) => {
        match $data {
            TensorData::Bool($v) => $body,
            TensorData::Uint8($v) => $body,
            TensorData::Uint16($v) => $body,
            TensorData::Uint32($v) => $body,
            TensorData::Uint64($v) => $body,
            TensorData::Int8($v) => $body,
            TensorData::Int16($v) => $body,
            TensorData::Int32($v) => $body,
            TensorData::Int64($v) => $body,
            TensorData::Fp32($v) => $body,
            TensorData::Fp64($v) => $body,
            TensorData::Fp16(bits) => {
                let $v = bits.reinterpret_cast::<half::f16>();
                $body
            }
            // Text, and what the runtime has no type for.
            $text @ (TensorData::Bytes(_) | TensorData::Bf16(_)) => $otherwise,
        }
    };
}

fn copied(spec: &TensorSpec, tensor: &Tensor) -> Result<RuntimeTensor, Error> {
    let made = with_plain!(
        tensor.data(),
        v => RuntimeTensor::from_shape(tensor.shape(), v),
        _text => return joined(spec, tensor.shape(), std::iter::once(tensor.data()))
    );
    made.map_err(|cause| broken(spec, cause))
}

fn joined<'a>(
    spec: &TensorSpec,
    shape: &[usize],
    chunks: impl Iterator<Item = &'a TensorData>,
) -> Result<RuntimeTensor, Error> {
    if spec.datatype == Datatype::Bytes {
        let texts = texts(spec, chunks)?.into_iter().map(str::to_owned).collect();
        let array = tract_ndarray::ArrayD::from_shape_vec(shape, texts);
        return array
            .map(|a: tract_ndarray::ArrayD<String>| a.into_tensor())
            .map_err(|cause| broken(spec, cause.into()));
    }
    let Some(runtime_type) = runtime_type(spec.datatype) else {
        return Err(refused(spec, &format!("{} cannot be served", spec.datatype)));
    };
    let joined = || -> TractResult<RuntimeTensor> {
        let mut whole = RuntimeTensor::zero_dt(runtime_type, shape)?;
        let mut view = whole.try_as_plain_ram_mut()?;
        let mut at = 0;
        for chunk in chunks {
            at += with_plain!(chunk, v => place(&mut view.as_slice_mut()?[at..], v), _text => 0);
        }
        Ok(whole)
    };
    joined().map_err(|cause| broken(spec, cause))
}

fn place<T: Copy>(space: &mut [T], chunk: &[T]) -> usize {
    space[..chunk.len()].copy_from_slice(chunk);
    chunk.len()
}

/// The elements of a text input.
///
/// # Errors
/// [`ErrorKind::Run`] for an element that is not UTF-8, by its number.
pub(crate) fn texts<'a>(
    spec: &TensorSpec,
    chunks: impl Iterator<Item = &'a TensorData>,
) -> Result<Vec<&'a str>, Error> {
    let mut texts = Vec::new();
    for chunk in chunks {
        let TensorData::Bytes(values) = chunk else { continue };
        for value in values {
            let text = std::str::from_utf8(value).map_err(|_| {
                refused(spec, &format!("element {} is not UTF-8 text", texts.len()))
            })?;
            texts.push(text);
        }
    }
    Ok(texts)
}

/// The runtime's type for a datatype on the wire; `None` when it has none.
pub(crate) fn runtime_type(datatype: Datatype) -> Option<DatumType> {
    Some(match datatype {
        Datatype::Bool => DatumType::Bool,
        Datatype::Uint8 => DatumType::U8,
        Datatype::Uint16 => DatumType::U16,
        Datatype::Uint32 => DatumType::U32,
        Datatype::Uint64 => DatumType::U64,
        Datatype::Int8 => DatumType::I8,
        Datatype::Int16 => DatumType::I16,
        Datatype::Int32 => DatumType::I32,
        Datatype::Int64 => DatumType::I64,
        Datatype::Fp16 => DatumType::F16,
        Datatype::Bf16 => return None,
        Datatype::Fp32 => DatumType::F32,
        Datatype::Fp64 => DatumType::F64,
        Datatype::Bytes => DatumType::String,
    })
}

#[cfg(test)]
mod tests;
