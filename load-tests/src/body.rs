//! Request bodies of the Open Inference Protocol, made from a seed.

use std::fmt::Write;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::json;

use crate::random::Random;

/// More elements than this in one row are taken for a mistake in the metadata.
const MOST_ELEMENTS: u64 = 16 << 20;

/// What `GET /v2/models/{model}` answers, as far as a request needs it.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    pub inputs: Vec<Input>,
}

/// One input of a model; `-1` in the shape is an axis that the request chooses.
#[derive(Debug, Deserialize)]
pub struct Input {
    pub name: String,
    pub datatype: String,
    pub shape: Vec<i64>,
}

/// One row of random values that fits the metadata: every axis left open is 1.
pub fn one_row(metadata: &[u8], seed: u64) -> Result<Vec<u8>> {
    let metadata: Metadata =
        serde_json::from_slice(metadata).context("the model's metadata is not as the protocol")?;
    ensure!(!metadata.inputs.is_empty(), "the model's metadata names no input");
    let mut random = Random::new(seed);
    let mut body = String::from("{\"inputs\": [");
    for (index, input) in metadata.inputs.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        let text = tensor(input, &mut random).with_context(|| format!("input {}", input.name))?;
        write!(body, "{separator}{text}")?;
    }
    body.push_str("]}");
    Ok(body.into_bytes())
}

/// The row that `saturate` sends: `width` numbers of normal size with six decimals, separated as
/// Python's `json.dumps` does (the commonest client).
pub fn floats(width: usize, seed: u64) -> Vec<u8> {
    let input = Input { name: "x".into(), datatype: "FP32".into(), shape: vec![1, width as i64] };
    let data = values(width as u64, &mut Random::new(seed), float);
    format!("{{\"inputs\": [{}]}}", with_data(&input, &[1, width as u64], &data)).into_bytes()
}

fn tensor(input: &Input, random: &mut Random) -> Result<String> {
    let shape: Vec<u64> =
        input.shape.iter().map(|&axis| u64::try_from(axis).unwrap_or(1)).collect();
    let elements = shape.iter().try_fold(1, |product: u64, &axis| product.checked_mul(axis));
    let elements = elements.filter(|&count| count <= MOST_ELEMENTS).with_context(|| {
        format!("one row of shape {:?} has more than {MOST_ELEMENTS} elements", input.shape)
    })?;
    let data = match input.datatype.as_str() {
        "FP32" | "FP64" => values(elements, random, float),
        "BOOL" => values(elements, random, |random| (random.bits() % 2 == 0).to_string()),
        // Small and positive: in range for every integer type, and for most vocabularies.
        "INT8" | "INT16" | "INT32" | "INT64" | "UINT8" | "UINT16" | "UINT32" | "UINT64" => {
            values(elements, random, |random| (random.bits() % 10).to_string())
        }
        "BYTES" => values(elements, random, |random| format!("\"word{}\"", random.bits() % 1000)),
        other => bail!("{other} cannot be sent as JSON: give the request's body with --body"),
    };
    Ok(with_data(input, &shape, &data))
}

fn with_data(input: &Input, shape: &[u64], data: &str) -> String {
    format!(
        "{{\"name\": {}, \"shape\": {}, \"datatype\": {}, \"data\": [{data}]}}",
        json!(input.name),
        json!(shape),
        json!(input.datatype)
    )
}

fn float(random: &mut Random) -> String {
    format!("{:.6}", random.normal())
}

fn values(count: u64, random: &mut Random, draw: impl Fn(&mut Random) -> String) -> String {
    let drawn: Vec<String> = (0..count).map(|_| draw(random)).collect();
    drawn.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_row_fits_each_input() {
        let metadata = json!({"name": "m", "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "ids", "datatype": "INT64", "shape": [-1, -1, 2]},
            {"name": "words", "datatype": "BYTES", "shape": [1]},
            {"name": "flags", "datatype": "BOOL", "shape": [-1, 2]},
        ]});
        let body = one_row(metadata.to_string().as_bytes(), 1).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let shapes: Vec<_> = (0..4).map(|index| body["inputs"][index]["shape"].clone()).collect();
        assert_eq!(shapes, [json!([1, 3]), json!([1, 1, 2]), json!([1]), json!([1, 2])]);
        for (index, length) in [3, 2, 1, 2].into_iter().enumerate() {
            assert_eq!(body["inputs"][index]["data"].as_array().unwrap().len(), length);
        }
        assert!(body["inputs"][0]["data"][0].is_f64());
        assert!(body["inputs"][1]["data"][0].is_u64());
        assert!(body["inputs"][2]["data"][0].is_string());
        assert!(body["inputs"][3]["data"][0].is_boolean());
    }

    #[test]
    fn what_json_cannot_carry_is_refused() {
        let half = br#"{"inputs":[{"name":"x","datatype":"FP16","shape":[-1]}]}"#;
        assert!(format!("{:#}", one_row(half, 1).unwrap_err()).contains("--body"));
        let huge = br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1000000,1000000]}]}"#;
        assert!(one_row(huge, 1).is_err());
        assert!(one_row(br#"{"inputs":[]}"#, 1).is_err());
    }

    #[test]
    fn the_comparison_row_has_the_size_of_the_published_measurements() {
        let body = floats(512, 7);
        assert!((5_200..5_600).contains(&body.len()), "{} bytes", body.len());
        assert_eq!(body, floats(512, 7));
        let parsed: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(parsed["inputs"][0]["data"].as_array().unwrap().len(), 512);
    }
}
