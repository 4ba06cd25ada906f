//! Cuts an output of the runtime into one tensor per request.

use half::slice::HalfFloatSliceExt as _;
use tract_onnx::prelude::{Datum, DatumType, TractResult};
use tract_onnx::tract_hir::internal::bail;
use weighbridge_config::tensor::ShapeMismatch;
use weighbridge_config::{Tensor, TensorData};

use super::RuntimeTensor;

/// Cuts `output` along axis 0 into tensors of `rows[0]`, `rows[1]`, … rows; the caller has
/// checked that they add up to axis 0. With a single entry the whole tensor is handed back
/// whatever its shape.
pub(crate) fn scatter(output: &RuntimeTensor, rows: &[usize]) -> TractResult<Vec<Tensor>> {
    let output = match output.datum_type() {
        // int64 shapes calculated in the graph come out as the runtime's symbolic integers.
        DatumType::TDim => output.cast_to::<i64>()?,
        _ => std::borrow::Cow::Borrowed(output),
    };
    let output = output.as_ref();
    match output.datum_type().unquantized() {
        DatumType::Bool => plain(output, rows, |v: &[bool]| TensorData::Bool(v.to_vec())),
        DatumType::U8 => plain(output, rows, |v: &[u8]| TensorData::Uint8(v.to_vec())),
        DatumType::U16 => plain(output, rows, |v: &[u16]| TensorData::Uint16(v.to_vec())),
        DatumType::U32 => plain(output, rows, |v: &[u32]| TensorData::Uint32(v.to_vec())),
        DatumType::U64 => plain(output, rows, |v: &[u64]| TensorData::Uint64(v.to_vec())),
        DatumType::I8 => plain(output, rows, |v: &[i8]| TensorData::Int8(v.to_vec())),
        DatumType::I16 => plain(output, rows, |v: &[i16]| TensorData::Int16(v.to_vec())),
        DatumType::I32 => plain(output, rows, |v: &[i32]| TensorData::Int32(v.to_vec())),
        DatumType::I64 => plain(output, rows, |v: &[i64]| TensorData::Int64(v.to_vec())),
        DatumType::F16 => {
            plain(output, rows, |v: &[half::f16]| TensorData::Fp16(v.reinterpret_cast().to_vec()))
        }
        DatumType::F32 => plain(output, rows, |v: &[f32]| TensorData::Fp32(v.to_vec())),
        DatumType::F64 => plain(output, rows, |v: &[f64]| TensorData::Fp64(v.to_vec())),
        DatumType::String => plain(output, rows, |v: &[String]| {
            TensorData::Bytes(v.iter().map(|text| text.as_bytes().to_vec()).collect())
        }),
        other => bail!("outputs of type {other:?} cannot be served"),
    }
}

fn plain<T: Datum>(
    output: &RuntimeTensor,
    rows: &[usize],
    keep: impl Fn(&[T]) -> TensorData,
) -> TractResult<Vec<Tensor>> {
    let view = output.try_as_plain_ram()?;
    Ok(cut(output.shape(), view.as_slice::<T>()?, rows, keep)?)
}

/// As [`scatter`], for elements of any engine.
pub(crate) fn cut<T>(
    shape: &[usize],
    values: &[T],
    rows: &[usize],
    keep: impl Fn(&[T]) -> TensorData,
) -> Result<Vec<Tensor>, ShapeMismatch> {
    if let [_] = rows {
        return Ok(vec![Tensor::new(shape.to_vec(), keep(values))?]);
    }
    let total: usize = rows.iter().sum();
    let width = values.len().checked_div(total).unwrap_or(0);
    let mut from = 0;
    let mut tensors = Vec::with_capacity(rows.len());
    for &count in rows {
        let to = from + count * width;
        let mut shape = shape.to_vec();
        if let Some(axis) = shape.first_mut() {
            *axis = count;
        }
        tensors.push(Tensor::new(shape, keep(&values[from..to]))?);
        from = to;
    }
    Ok(tensors)
}
