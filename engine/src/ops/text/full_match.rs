//! RegexFullMatch: whether each whole text matches a pattern of RE2.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;

use super::super::attributes;
use super::super::kernel::{Fact, Kernel, values};
use super::expect_texts;
use super::pattern::Whole;

#[derive(Debug)]
struct RegexFullMatch(Whole);

pub(in super::super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let pattern = attributes::text(node, "pattern", "")?;
    Ok(Box::new(RegexFullMatch(Whole::new(pattern)?)))
}

impl Kernel for RegexFullMatch {
    fn name(&self) -> &'static str {
        "RegexFullMatch"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        expect_texts(&inputs[0])?;
        Ok(vec![(bool::datum_type(), inputs[0].1.clone())])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let texts = values::<String>(inputs[0])?;
        let matches: Vec<bool> = texts.iter().map(|text| self.0.is_match(text)).collect();
        Ok(vec![Tensor::from_shape(inputs[0].shape(), &matches)?])
    }
}
