//! Reading a case: a model, and per data set its inputs and the outputs expected.

use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{ModelProto, TensorProto, ValueInfoProto};
use weighbridge_config::{Tensor, TensorData};

pub struct Case {
    pub name: String,
    pub model: Vec<u8>,
    pub data_sets: Vec<DataSet>,
}

/// The tensors of one run, in the order of the model's inputs and outputs, as files. A file that
/// is no tensor (a sequence or an optional) decodes to something senseless, so nothing is decoded
/// before the model has been accepted.
pub struct DataSet {
    pub inputs: Vec<Vec<u8>>,
    pub outputs: Vec<Vec<u8>>,
}

impl Case {
    /// True when the model is the body of an operator's definition instead of the operator.
    pub fn is_expanded(&self) -> bool {
        self.name.contains("_expanded")
    }

    pub fn proto(&self) -> ModelProto {
        ModelProto::decode(&*self.model).expect("a model of ONNX decodes")
    }
}

/// All cases of a wheel, sorted by name.
pub fn all(folder: &Path) -> Vec<Case> {
    let mut found: Vec<Case> = ["node", "simple"]
        .iter()
        .flat_map(|kind| paths(&folder.join(kind)))
        .filter(|path| path.join("model.onnx").is_file())
        .map(|path| read(&path))
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn read(path: &Path) -> Case {
    let sets = paths(path).into_iter().filter(|p| p.is_dir());
    Case {
        name: path.file_name().unwrap().to_string_lossy().into_owned(),
        model: fs::read(path.join("model.onnx")).unwrap(),
        data_sets: sets
            .map(|p| DataSet { inputs: files(&p, "input"), outputs: files(&p, "output") })
            .collect(),
    }
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths
}

fn files(folder: &Path, kind: &str) -> Vec<Vec<u8>> {
    (0..).map_while(|i| fs::read(folder.join(format!("{kind}_{i}.pb"))).ok()).collect()
}

pub fn proto(file: &[u8]) -> Result<TensorProto, String> {
    TensorProto::decode(file).map_err(|e| format!("a tensor of the case does not decode: {e}"))
}

/// The value of `input` as a weight. The files of bfloat16 tensors say uint16, so the type is held
/// against the one declared.
pub fn weight(input: &ValueInfoProto, file: &[u8]) -> Result<TensorProto, String> {
    let mut tensor = proto(file)?;
    let declared = match input.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(Value::TensorType(of)) => of.elem_type,
        _ => return Err(format!("input {} is no tensor", input.name)),
    };
    if tensor.data_type != declared {
        return Err(format!(
            "input {} is of type {declared}, its value of {}",
            input.name, tensor.data_type
        ));
    }
    tensor.name = input.name.clone();
    Ok(tensor)
}

/// The tensor in the form that callers use; an error for types that have none on the wire.
pub fn tensor(proto: &TensorProto) -> Result<Tensor, String> {
    let kind = DataType::try_from(proto.data_type).map_err(|e| e.to_string())?;
    let raw = &*proto.raw_data;
    let is_raw = !raw.is_empty();
    let narrow = &proto.int32_data;
    let data = match kind {
        DataType::Bool if is_raw => TensorData::Bool(raw.iter().map(|b| *b != 0).collect()),
        DataType::Bool => TensorData::Bool(narrow.iter().map(|v| *v != 0).collect()),
        DataType::Uint8 if is_raw => TensorData::Uint8(raw.to_vec()),
        DataType::Uint8 => TensorData::Uint8(narrow.iter().map(|v| *v as u8).collect()),
        DataType::Int8 if is_raw => TensorData::Int8(raw.iter().map(|b| *b as i8).collect()),
        DataType::Int8 => TensorData::Int8(narrow.iter().map(|v| *v as i8).collect()),
        DataType::Uint16 if is_raw => TensorData::Uint16(words(raw, u16::from_le_bytes)),
        DataType::Uint16 => TensorData::Uint16(narrow.iter().map(|v| *v as u16).collect()),
        DataType::Int16 if is_raw => TensorData::Int16(words(raw, i16::from_le_bytes)),
        DataType::Int16 => TensorData::Int16(narrow.iter().map(|v| *v as i16).collect()),
        DataType::Float16 if is_raw => TensorData::Fp16(words(raw, u16::from_le_bytes)),
        DataType::Float16 => TensorData::Fp16(narrow.iter().map(|v| *v as u16).collect()),
        DataType::Int32 if is_raw => TensorData::Int32(words(raw, i32::from_le_bytes)),
        DataType::Int32 => TensorData::Int32(narrow.clone()),
        DataType::Uint32 if is_raw => TensorData::Uint32(words(raw, u32::from_le_bytes)),
        DataType::Uint32 => {
            TensorData::Uint32(proto.uint64_data.iter().map(|v| *v as u32).collect())
        }
        DataType::Int64 if is_raw => TensorData::Int64(words(raw, i64::from_le_bytes)),
        DataType::Int64 => TensorData::Int64(proto.int64_data.clone()),
        DataType::Uint64 if is_raw => TensorData::Uint64(words(raw, u64::from_le_bytes)),
        DataType::Uint64 => TensorData::Uint64(proto.uint64_data.clone()),
        DataType::Float if is_raw => TensorData::Fp32(words(raw, f32::from_le_bytes)),
        DataType::Float => TensorData::Fp32(proto.float_data.clone()),
        DataType::Double if is_raw => TensorData::Fp64(words(raw, f64::from_le_bytes)),
        DataType::Double => TensorData::Fp64(proto.double_data.clone()),
        DataType::String => TensorData::Bytes(proto.string_data.clone()),
        other => return Err(format!("a tensor of {other:?} has no form on the wire")),
    };
    let shape = proto.dims.iter().map(|d| *d as usize).collect();
    Tensor::new(shape, data).map_err(|e| e.to_string())
}

fn words<const W: usize, T>(raw: &[u8], read: fn([u8; W]) -> T) -> Vec<T> {
    raw.as_chunks::<W>().0.iter().map(|bytes| read(*bytes)).collect()
}
