//! Tensors of ours to values of ONNX Runtime and back.
//!
//! A request that runs alone is not copied on its way in; several are joined, one memcpy per
//! part. Outputs are cut into one vector per part.

use half::slice::{HalfBitsSliceExt as _, HalfFloatSliceExt as _};
use ort::session::SessionInputValue;
use ort::value::{DynValue, Tensor as Value, TensorElementType, TensorRef, ValueType};
use weighbridge_config::{Datatype, Tensor, TensorData, TensorSpec};

use crate::error::{Error, ErrorKind};
use crate::exchange::{batch_shape, cut, texts};

/// The datatype on the wire for a type of the library; `None` when it cannot be served.
pub(super) fn datatype(of: TensorElementType) -> Option<Datatype> {
    Some(match of {
        TensorElementType::Bool => Datatype::Bool,
        TensorElementType::Uint8 => Datatype::Uint8,
        TensorElementType::Uint16 => Datatype::Uint16,
        TensorElementType::Uint32 => Datatype::Uint32,
        TensorElementType::Uint64 => Datatype::Uint64,
        TensorElementType::Int8 => Datatype::Int8,
        TensorElementType::Int16 => Datatype::Int16,
        TensorElementType::Int32 => Datatype::Int32,
        TensorElementType::Int64 => Datatype::Int64,
        TensorElementType::Float16 => Datatype::Fp16,
        TensorElementType::Bfloat16 => Datatype::Bf16,
        TensorElementType::Float32 => Datatype::Fp32,
        TensorElementType::Float64 => Datatype::Fp64,
        TensorElementType::String => Datatype::Bytes,
        _ => return None,
    })
}

/// Joins input number `index` of all `parts` along axis 0 into one value.
///
/// # Errors
/// [`ErrorKind::Run`] for what does not fit `spec`, and for text that is not UTF-8 or holds a
/// zero byte. The message names the input.
pub(super) fn gather<'a>(
    spec: &TensorSpec,
    index: usize,
    parts: &[&'a [Tensor]],
) -> Result<SessionInputValue<'a>, Error> {
    let shape = batch_shape(spec, index, parts)?;
    let failed = |cause: ort::Error| {
        let attempt = format!("running the model: input \"{}\"", spec.name);
        super::because(ErrorKind::Run, &attempt, &cause)
    };
    // Runs alone: a view. Else: one vector with the elements of all parts.
    macro_rules! value {
        ($variant:ident, $elements:ident => $plain:expr) => {{
            if let ([_], TensorData::$variant($elements)) = (parts, parts[0][index].data()) {
                return Ok(TensorRef::from_array_view((shape, $plain)).map_err(failed)?.into());
            }
            let mut joined = Vec::with_capacity(shape.iter().product());
            for part in parts {
                if let TensorData::$variant($elements) = part[index].data() {
                    joined.extend_from_slice($plain);
                }
            }
            Value::from_array((shape, joined)).map_err(failed)?.into()
        }};
    }
    Ok(match spec.datatype {
        Datatype::Bool => value!(Bool, v => v.as_slice()),
        Datatype::Uint8 => value!(Uint8, v => v.as_slice()),
        Datatype::Uint16 => value!(Uint16, v => v.as_slice()),
        Datatype::Uint32 => value!(Uint32, v => v.as_slice()),
        Datatype::Uint64 => value!(Uint64, v => v.as_slice()),
        Datatype::Int8 => value!(Int8, v => v.as_slice()),
        Datatype::Int16 => value!(Int16, v => v.as_slice()),
        Datatype::Int32 => value!(Int32, v => v.as_slice()),
        Datatype::Int64 => value!(Int64, v => v.as_slice()),
        Datatype::Fp16 => value!(Fp16, v => v.reinterpret_cast::<half::f16>()),
        Datatype::Bf16 => value!(Bf16, v => v.reinterpret_cast::<half::bf16>()),
        Datatype::Fp32 => value!(Fp32, v => v.as_slice()),
        Datatype::Fp64 => value!(Fp64, v => v.as_slice()),
        Datatype::Bytes => {
            // Owned: the library's binding takes no borrowed text.
            let texts = texts(spec, parts.iter().map(|part| part[index].data()))?;
            let texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
            Value::from_string_array((shape, texts.as_slice())).map_err(failed)?.into()
        }
    })
}

/// The shape of an output value.
///
/// # Errors
/// [`ErrorKind::Run`] when it is no tensor, or none with countable elements.
pub(super) fn shape_of(spec: &TensorSpec, output: &DynValue) -> Result<Vec<usize>, Error> {
    let unfit = |detail: &str| {
        let message = format!("running the model: output \"{}\": {detail}", spec.name);
        Error::new(ErrorKind::Run, message)
    };
    let ValueType::Tensor { shape, .. } = output.dtype() else {
        return Err(unfit("it is not a tensor"));
    };
    let length = |d: &i64| usize::try_from(*d).map_err(|_| unfit("an axis has no length"));
    shape.iter().map(length).collect()
}

/// Cuts `output`, whose shape is `shape`, along axis 0 into tensors of `rows[0]`, `rows[1]`, …
/// rows; the caller has checked that they add up. With a single entry the whole tensor is handed
/// back whatever its shape.
///
/// # Errors
/// [`ErrorKind::Run`] when it has another type than `spec`.
pub(super) fn scatter(
    spec: &TensorSpec,
    output: &DynValue,
    shape: &[usize],
    rows: &[usize],
) -> Result<Vec<Tensor>, Error> {
    let attempt = || format!("running the model: output \"{}\"", spec.name);
    let failed = |cause: ort::Error| super::because(ErrorKind::Run, &attempt(), &cause);
    macro_rules! tensors {
        ($type:ty, $variant:ident, $values:ident => $plain:expr) => {{
            let (_, values) = output.try_extract_tensor::<$type>().map_err(failed)?;
            cut(shape, values, rows, |$values: &[$type]| TensorData::$variant($plain))
        }};
    }
    let cut = match spec.datatype {
        Datatype::Bool => tensors!(bool, Bool, v => v.to_vec()),
        Datatype::Uint8 => tensors!(u8, Uint8, v => v.to_vec()),
        Datatype::Uint16 => tensors!(u16, Uint16, v => v.to_vec()),
        Datatype::Uint32 => tensors!(u32, Uint32, v => v.to_vec()),
        Datatype::Uint64 => tensors!(u64, Uint64, v => v.to_vec()),
        Datatype::Int8 => tensors!(i8, Int8, v => v.to_vec()),
        Datatype::Int16 => tensors!(i16, Int16, v => v.to_vec()),
        Datatype::Int32 => tensors!(i32, Int32, v => v.to_vec()),
        Datatype::Int64 => tensors!(i64, Int64, v => v.to_vec()),
        Datatype::Fp16 => tensors!(half::f16, Fp16, v => v.reinterpret_cast().to_vec()),
        Datatype::Bf16 => tensors!(half::bf16, Bf16, v => v.reinterpret_cast().to_vec()),
        Datatype::Fp32 => tensors!(f32, Fp32, v => v.to_vec()),
        Datatype::Fp64 => tensors!(f64, Fp64, v => v.to_vec()),
        Datatype::Bytes => {
            let (_, values) = output.try_extract_strings().map_err(failed)?;
            cut(shape, &values, rows, |v: &[String]| {
                TensorData::Bytes(v.iter().map(|text| text.as_bytes().to_vec()).collect())
            })
        }
    };
    cut.map_err(|cause| Error::new(ErrorKind::Run, format!("{}: {cause}", attempt())))
}
