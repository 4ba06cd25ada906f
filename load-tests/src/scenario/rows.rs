//! The rows that are asked: `x` FP32 `[1, 4]`, as the models of `onnx_file` take them.

use std::ops::Range;

use serde_json::json;

use crate::random::Random;

/// Different rows of each kind: enough that a row mixed up with another shows.
pub const ROWS: usize = 64;

/// What the rows do to a fault model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Each fault model answers them rightly.
    Usual,
    /// `x[0]` is beyond tables of two places.
    Beyond,
}

impl Rows {
    fn first_column(self) -> Range<f64> {
        match self {
            Self::Usual => 0.0..1.0,
            Self::Beyond => 2.0..9.0,
        }
    }

    /// Request bodies of the Open Inference Protocol.
    pub fn bodies(self, seed: u64) -> Vec<Vec<u8>> {
        let mut random = Random::new(seed);
        (0..ROWS).map(|_| body(1, &self.row(&mut random))).collect()
    }

    /// One request body of so many rows.
    pub fn batch(self, rows: usize, seed: u64) -> Vec<u8> {
        let mut random = Random::new(seed);
        let data: Vec<f64> = (0..rows).flat_map(|_| self.row(&mut random)).collect();
        body(rows, &data)
    }

    fn row(self, random: &mut Random) -> Vec<f64> {
        let first = self.first_column();
        // `unit` is above 0 and at most 1: turned round, so that the upper end is left out.
        let mut within = |range: &Range<f64>| {
            range.start + (range.end - range.start) * (1.0 - random.unit()).min(0.999)
        };
        let mut row = vec![within(&first)];
        // Never 0, and below what any fault model minds.
        row.extend((1..4).map(|_| within(&(0.1..1.0))));
        row.iter().map(|value| (value * 1e6).round() / 1e6).collect()
    }
}

fn body(rows: usize, data: &[f64]) -> Vec<u8> {
    let input = json!({"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": data});
    json!({"inputs": [input]}).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn rows_stay_within_what_their_kind_promises() {
        for (kind, least, most) in [(Rows::Usual, 0.0, 1.0), (Rows::Beyond, 2.0, 9.0)] {
            let bodies = kind.bodies(3);
            assert_eq!(bodies.len(), ROWS);
            for body in &bodies {
                let body: Value = serde_json::from_slice(body).unwrap();
                let data: Vec<f64> =
                    serde_json::from_value(body["inputs"][0]["data"].clone()).unwrap();
                assert!((least..most).contains(&data[0]), "{data:?}");
                assert!(data[1..].iter().all(|value| (0.09..1.0).contains(value)), "{data:?}");
            }
            assert_eq!(bodies, kind.bodies(3));
            assert_ne!(bodies, kind.bodies(4));
        }
    }

    #[test]
    fn a_batch_has_all_its_rows() {
        let body: Value = serde_json::from_slice(&Rows::Usual.batch(8, 1)).unwrap();
        assert_eq!(body["inputs"][0]["shape"], json!([8, 4]));
        assert_eq!(body["inputs"][0]["data"].as_array().unwrap().len(), 32);
    }
}
