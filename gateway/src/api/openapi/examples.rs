//! Requests that the demo models answer (`serve --demo`).

use serde_json::{Value, json};

const DIGITS_V2: &str = include_str!("../../../demo/requests/digits.json");
const DIGITS_V1: &str = include_str!("../../../demo/requests/digits.v1.json");

fn read(text: &str) -> Value {
    // A file of this repository, which a test reads.
    serde_json::from_str(text).unwrap_or_default()
}

/// An image for the model `digits`, by the Open Inference Protocol.
pub fn infer() -> Value {
    read(DIGITS_V2)
}

/// The same for `/v1`.
pub fn predict() -> Value {
    read(DIGITS_V1)
}

/// A value reported on a unit.
pub fn feedback() -> Value {
    json!({"unit": "user-7", "metric": "liked", "value": 1})
}

/// An experiment on the model `digits`.
pub fn experiment() -> Value {
    json!({"spec": {
        "name": "greeting",
        "unit": "header:x-user-id",
        "variants": [
            {"name": "control", "version": 1, "weight": 50},
            {"name": "treatment", "version": 2, "weight": 50},
        ],
        "metrics": {"primary": {"name": "liked", "kind": "binary", "window": "1h"}},
    }})
}

/// An example for the model `digits`, for `:classify`.
pub fn examples() -> Value {
    json!({"examples": [{"image": predict()["instances"][0]}]})
}
