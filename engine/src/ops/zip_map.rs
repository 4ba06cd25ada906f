//! ZipMap: passes the scores through.
//!
//! The operator turns each row of scores into a map from class to score, a form that only
//! Python callers like. Here the tensor stays a tensor, and the class names become the labels
//! of that output in the signature.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;

use super::kernel::{Fact, Kernel};

#[derive(Debug)]
struct ZipMap;

pub(super) fn read(_: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    Ok(Box::new(ZipMap))
}

impl Kernel for ZipMap {
    fn name(&self) -> &'static str {
        "ZipMap"
    }

    fn forwards_input(&self) -> bool {
        true
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        Ok(inputs.to_vec())
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        Ok(vec![inputs[0].clone()])
    }
}
