//! Models with rows and ONNX Runtime's answers, from the JSON files beside them.
#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weighbridge_config::{Datatype, Tensor, TensorData};
use weighbridge_engine::{LoadOptions, LoadedModel};

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

pub fn fixture(name: &str) -> Vec<u8> {
    let path = fixtures().join(name).with_extension("onnx");
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub fn load(onnx: &[u8]) -> LoadedModel {
    LoadedModel::load(onnx, &LoadOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

/// An expected output: the tensor, its name, and the labels of a ZipMap.
pub struct Expected {
    pub name: String,
    pub tensor: Tensor,
    pub labels: Vec<String>,
}

pub struct Case {
    pub name: String,
    pub onnx: Vec<u8>,
    /// Weights in a file of their own, by the name that the model gives it.
    pub external: Option<(String, Vec<u8>)>,
    pub input_names: Vec<String>,
    pub inputs: Vec<Tensor>,
    pub expected: Vec<Expected>,
}

/// All models of `folder` that have expected answers, sorted by name.
pub fn all(folder: &Path) -> Vec<Case> {
    let entries = fs::read_dir(folder).expect("the folder of fixtures");
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "json"));
    paths.sort();
    paths.iter().map(|path| case(path)).collect()
}

pub fn case(json: &Path) -> Case {
    let content: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let inputs = content["inputs"].as_array().unwrap();
    Case {
        name: json.file_stem().unwrap().to_string_lossy().into_owned(),
        onnx: fs::read(json.with_extension("onnx")).unwrap(),
        external: external(&json.with_extension("bin")),
        input_names: inputs.iter().map(|i| text(&i["name"])).collect(),
        inputs: inputs.iter().map(tensor).collect(),
        expected: content["expected"].as_array().unwrap().iter().map(expected).collect(),
    }
}

fn external(path: &Path) -> Option<(String, Vec<u8>)> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    fs::read(path).ok().map(|content| (name, content))
}

impl Case {
    pub fn load(&self, options: &LoadOptions) -> Result<LoadedModel, String> {
        let files =
            self.external.iter().map(|(name, content)| (name.clone(), &**content)).collect();
        LoadedModel::load_with_files(&self.onnx, &files, options).map_err(|e| e.to_string())
    }
}

pub fn expected(value: &Value) -> Expected {
    let label = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let labels = value["labels"].as_array().map_or(vec![], |l| l.iter().map(label).collect());
    Expected { name: text(&value["name"]), tensor: tensor(value), labels }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A tensor in the form of the Open Inference Protocol; NaN and infinities are texts.
pub fn tensor(value: &Value) -> Tensor {
    let shape =
        value["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
    let data = value["data"].as_array().unwrap();
    let number = |v: &Value| v.as_f64().unwrap_or_else(|| v.as_str().unwrap().parse().unwrap());
    let int = |v: &Value| v.as_i64().unwrap();
    let data = match value["datatype"].as_str().unwrap().parse().unwrap() {
        Datatype::Bool => TensorData::Bool(data.iter().map(|v| int(v) != 0).collect()),
        Datatype::Int64 => TensorData::Int64(data.iter().map(int).collect()),
        Datatype::Int32 => TensorData::Int32(data.iter().map(|v| int(v) as i32).collect()),
        Datatype::Fp16 => TensorData::Fp16(
            data.iter().map(|v| half::f16::from_f64(number(v)).to_bits()).collect(),
        ),
        Datatype::Fp32 => TensorData::Fp32(data.iter().map(|v| number(v) as f32).collect()),
        Datatype::Fp64 => TensorData::Fp64(data.iter().map(number).collect()),
        Datatype::Bytes => TensorData::Bytes(data.iter().map(|v| text(v).into_bytes()).collect()),
        other => panic!("{other} is not used in the fixtures"),
    };
    Tensor::new(shape, data).unwrap()
}

/// The rows `from..to` of each tensor.
pub fn slice(tensors: &[Tensor], from: usize, to: usize) -> Vec<Tensor> {
    tensors.iter().map(|t| t.slice_rows(from, to)).collect()
}

/// Compares outputs: floats within `tolerance` relative above 1, everything else exactly.
pub fn compare(got: &[Tensor], wanted: &[Tensor], tolerance: f64) -> Result<(), String> {
    if got.len() != wanted.len() {
        return Err(format!("{} outputs, {} wanted", got.len(), wanted.len()));
    }
    for (k, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        if got.shape() != wanted.shape() {
            return Err(format!(
                "output {k}: shape {:?}, {:?} wanted",
                got.shape(),
                wanted.shape()
            ));
        }
        match (numbers(got), numbers(wanted)) {
            (Some(a), Some(b)) if got.datatype() == wanted.datatype() => {
                if let Some(i) = (0..a.len()).find(|i| !close(a[*i], b[*i], tolerance)) {
                    return Err(format!("output {k}[{i}]: {}, {} wanted", a[i], b[i]));
                }
            }
            _ if got.data() == wanted.data() => {}
            _ => return Err(format!("output {k}: {:?}, {:?} wanted", got.data(), wanted.data())),
        }
    }
    Ok(())
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * b.abs().max(1.0)
}

fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    match tensor.data() {
        TensorData::Fp32(v) => Some(v.iter().map(|x| f64::from(*x)).collect()),
        TensorData::Fp64(v) => Some(v.clone()),
        TensorData::Fp16(v) => Some(v.iter().map(|x| half::f16::from_bits(*x).to_f64()).collect()),
        _ => None,
    }
}

/// Runs `inputs` in parts of the given lengths, in one batch, and joins the answers.
pub fn run_in_parts(
    model: &LoadedModel,
    inputs: &[Tensor],
    lengths: &[usize],
) -> Result<Vec<Tensor>, String> {
    let mut from = 0;
    let parts: Vec<Vec<Tensor>> = lengths
        .iter()
        .map(|n| {
            from += n;
            slice(inputs, from - n, from)
        })
        .collect();
    let parts: Vec<&[Tensor]> = parts.iter().map(Vec::as_slice).collect();
    let answers = model.run(&parts).map_err(|e| e.to_string())?;
    if answers.len() != parts.len() {
        return Err(format!("{} answers for {} parts", answers.len(), parts.len()));
    }
    let mut answers = answers.into_iter();
    let mut joined = answers.next().ok_or("no parts")?;
    for answer in answers {
        for (whole, more) in joined.iter_mut().zip(answer) {
            whole.append_rows(more).map_err(|e| e.to_string())?;
        }
    }
    Ok(joined)
}
