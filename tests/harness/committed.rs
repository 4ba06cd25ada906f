//! The demo rows that are committed with the outputs ONNX Runtime gives for them.

use std::path::Path;

use serde_json::{Value, json};

/// The demo models.
pub const DEMO_MODELS: [&str; 3] = ["digits", "breast_cancer", "diabetes"];

/// Floats may differ by this much, or by this share of an expected value above 1. That is the
/// difference that `gateway/demo/train.py` defines for these rows: ONNX Runtime's own
/// probabilities near 0 have an absolute error of about 1e-7.
const TOLERANCE: f64 = 1e-5;

/// The rows of one model.
#[derive(Debug)]
pub struct Committed {
    pub model: String,
    /// Name of the one input.
    pub input: String,
    pub rows: Vec<Vec<f64>>,
    /// Version and its outputs for all rows.
    pub expected: Vec<(String, Vec<Output>)>,
}

/// One output for all rows.
#[derive(Debug)]
pub struct Output {
    pub name: String,
    pub datatype: String,
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Committed {
    /// Reads `gateway/demo/rows/{model}.json`.
    ///
    /// # Panics
    /// When the file is not what its README says.
    pub fn of(model: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway/demo/rows");
        let text = std::fs::read_to_string(folder.join(format!("{model}.json"))).expect("rows");
        let file: Value = serde_json::from_str(&text).expect("JSON");
        let input = &file["inputs"][0];
        let width = input["shape"][1].as_u64().expect("a width") as usize;
        let rows = numbers(&input["data"]).chunks(width).map(<[f64]>::to_vec).collect();
        let expected = file["expected"].as_object().expect("versions").iter();
        let outputs = |of: &Value| of.as_array().expect("outputs").iter().map(output).collect();
        Self {
            model: model.to_owned(),
            input: input["name"].as_str().expect("a name").to_owned(),
            rows,
            expected: expected.map(|(version, of)| (version.clone(), outputs(of))).collect(),
        }
    }

    /// A `/v2` body of one row, its members in the order of the protocol's text.
    pub fn v2_text(&self, row: &[f64]) -> String {
        let (name, width, data) = (&self.input, row.len(), json!(row));
        format!(
            r#"{{"inputs":[{{"name":"{name}","shape":[1,{width}],"datatype":"FP32","data":{data}}}]}}"#
        )
    }

    /// A `/v2` body of these rows, its members in the order of the alphabet.
    pub fn v2(&self, rows: &[Vec<f64>]) -> Value {
        let shape = [rows.len(), rows[0].len()];
        let data = rows.concat();
        json!({"inputs": [
            {"name": self.input, "datatype": "FP32", "shape": shape, "data": data}
        ]})
    }
}

impl Output {
    /// The elements of some of the rows.
    pub fn of_rows(&self, from: usize, to: usize) -> &[f64] {
        let per_row = self.shape[1..].iter().product::<usize>();
        &self.values[from * per_row..to * per_row]
    }

    /// The shape with `rows` rows.
    pub fn shape_of(&self, rows: usize) -> Vec<usize> {
        let mut shape = self.shape.clone();
        shape[0] = rows;
        shape
    }

    /// Asserts that `came` are the expected elements: whole numbers exactly, floats within the
    /// tolerance. `came` may nest.
    ///
    /// # Panics
    /// When they are not.
    pub fn assert_close(&self, came: &Value, wanted: &[f64], about: &str) {
        let came = numbers(came);
        assert_eq!(came.len(), wanted.len(), "{about}: {}", self.name);
        for (came, wanted) in came.iter().zip(wanted) {
            let bound =
                if self.datatype == "FP32" { TOLERANCE * wanted.abs().max(1.0) } else { 0.0 };
            let is_close = (came - wanted).abs() <= bound;
            assert!(is_close, "{about}: {} is {came}, not {wanted}", self.name);
        }
    }
}

fn output(of: &Value) -> Output {
    let text = |key: &str| of[key].as_str().expect("text").to_owned();
    let shape = numbers(&of["shape"]).into_iter().map(|n| n as usize).collect();
    Output { name: text("name"), datatype: text("datatype"), shape, values: numbers(&of["data"]) }
}

/// All numbers of an array, however it nests.
pub fn numbers(of: &Value) -> Vec<f64> {
    match of {
        Value::Array(inner) => inner.iter().flat_map(numbers).collect(),
        other => vec![other.as_f64().unwrap_or_else(|| panic!("no number: {other}"))],
    }
}
