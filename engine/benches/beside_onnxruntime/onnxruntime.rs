//! The other engine: ONNX Runtime through its C library, loaded at run time.

use std::path::Path;

use ort::environment::Environment;
use ort::session::{Session as Inner, SessionInputValue};
use ort::value::{DynValue, MapValueType, Tensor as Value, TensorElementType, ValueType};
use weighbridge_config::{Tensor, TensorData};

use crate::rows::Batch;

pub(crate) fn environment(library: &Path) -> Result<Environment, String> {
    let failed = |cause: String| format!("{}: {cause}", library.display());
    let builder = ort::init_from(library).map_err(|e| failed(e.to_string()))?;
    builder.build().map_err(|e| failed(e.to_string()))
}

/// A session of one thread, with the settings that ONNX Runtime has by itself.
pub(crate) struct Session(Inner);

impl Session {
    pub(crate) fn load(environment: &Environment, onnx: &[u8]) -> Result<Self, String> {
        let builder = Inner::builder(environment).map_err(text)?;
        let mut builder = builder.with_intra_threads(1).map_err(text)?;
        builder.commit_from_memory(onnx).map(Self).map_err(text)
    }

    /// One call: copies the inputs in and the outputs out. Maps (ZipMap) stay where they are,
    /// which spares ONNX Runtime the dear part of reading them.
    pub(crate) fn run(&mut self, batch: &Batch) -> Result<Vec<Tensor>, String> {
        let inputs = values(batch)?;
        let outputs = self.0.run(&inputs[..]).map_err(text)?;
        let tensors = outputs.values().filter(|v| v.is_tensor());
        tensors.map(|v| tensor(&v)).collect()
    }

    /// Like [`Self::run`], with the values of maps as a tensor.
    pub(crate) fn run_with_maps(&mut self, batch: &Batch) -> Result<Vec<Tensor>, String> {
        let inputs = values(batch)?;
        let outputs = self.0.run(&inputs[..]).map_err(text)?;
        let read = |v: &DynValue| if v.is_tensor() { tensor(v) } else { maps(v) };
        outputs.values().map(|v| read(&v)).collect()
    }
}

fn text<R>(error: ort::Error<R>) -> String {
    error.to_string()
}

fn values(batch: &Batch) -> Result<Vec<SessionInputValue<'static>>, String> {
    batch.inputs.iter().zip(&batch.texts).map(|(tensor, texts)| value(tensor, texts)).collect()
}

fn value(tensor: &Tensor, texts: &[String]) -> Result<SessionInputValue<'static>, String> {
    let shape = tensor.shape().to_vec();
    Ok(match tensor.data() {
        TensorData::Fp32(v) => Value::from_array((shape, v.clone())).map_err(text)?.into(),
        TensorData::Fp64(v) => Value::from_array((shape, v.clone())).map_err(text)?.into(),
        TensorData::Int64(v) => Value::from_array((shape, v.clone())).map_err(text)?.into(),
        TensorData::Bool(v) => Value::from_array((shape, v.clone())).map_err(text)?.into(),
        TensorData::Bytes(_) => Value::from_string_array((shape, texts)).map_err(text)?.into(),
        other => return Err(format!("inputs of {} are not written here", other.datatype())),
    })
}

fn tensor(value: &DynValue) -> Result<Tensor, String> {
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(format!("an output of type {:?}", value.dtype()));
    };
    let shape = shape.iter().map(|d| *d as usize).collect();
    let data = match ty {
        TensorElementType::Float32 => TensorData::Fp32(elements(value)?.to_vec()),
        TensorElementType::Float64 => TensorData::Fp64(elements(value)?.to_vec()),
        TensorElementType::Int64 => TensorData::Int64(elements(value)?.to_vec()),
        TensorElementType::Bool => TensorData::Bool(elements(value)?.to_vec()),
        TensorElementType::String => {
            let (_, texts) = value.try_extract_strings().map_err(text)?;
            TensorData::Bytes(texts.into_iter().map(String::into_bytes).collect())
        }
        other => return Err(format!("outputs of {other} are not read here")),
    };
    Tensor::new(shape, data).map_err(|e| e.to_string())
}

fn elements<T: ort::value::PrimitiveTensorElementType>(value: &DynValue) -> Result<&[T], String> {
    value.try_extract_tensor::<T>().map(|(_, data)| data).map_err(text)
}

/// A sequence of maps from class to score, as a tensor of the scores. The maps are sorted by
/// class, as the columns are.
fn maps(value: &DynValue) -> Result<Tensor, String> {
    let by_number = value.try_extract_sequence::<MapValueType<i64, f32>>();
    let rows: Vec<Vec<f32>> = match by_number {
        Ok(maps) => maps.iter().map(scores::<i64>).collect::<Result<_, _>>()?,
        Err(_) => {
            let maps = value.try_extract_sequence::<MapValueType<String, f32>>().map_err(text)?;
            maps.iter().map(scores::<String>).collect::<Result<_, _>>()?
        }
    };
    let shape = vec![rows.len(), rows.first().map_or(0, Vec::len)];
    Tensor::new(shape, TensorData::Fp32(rows.concat())).map_err(|e| e.to_string())
}

fn scores<K>(map: &ort::value::Map<K, f32>) -> Result<Vec<f32>, String>
where
    K: ort::value::IntoTensorElementType + std::fmt::Debug + Clone + std::hash::Hash + Ord,
{
    let mut pairs = map.try_extract_key_values::<K, f32>().map_err(text)?;
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(pairs.into_iter().map(|(_, score)| score).collect())
}
