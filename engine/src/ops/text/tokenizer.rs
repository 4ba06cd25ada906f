//! Tokenizer of com.microsoft: the tokens of each text side by side, padded to the longest row.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::super::attributes;
use super::super::kernel::{self, Fact, Kernel, values};
use super::expect_texts;
use super::tokens::Rule;

const START: &str = "\u{2}";
const END: &str = "\u{3}";

#[derive(Debug)]
struct Tokenizer {
    rule: Rule,
    /// Each row begins and ends with a mark.
    marks: bool,
    padding: String,
    /// The tokens of the text that has most, with the marks.
    longest: TDim,
}

pub(in super::super) fn read(node: &NodeProto, longest: TDim) -> TractResult<Box<dyn Kernel>> {
    let marks = node.get_attr_opt::<i64>("mark")?.unwrap_or(0) != 0;
    let padding = attributes::text(node, "pad_value", "")?.to_owned();
    Ok(Box::new(Tokenizer { rule: Rule::read(node)?, marks, padding, longest }))
}

impl Kernel for Tokenizer {
    fn name(&self) -> &'static str {
        "Tokenizer"
    }

    fn makes_sizes(&self) -> bool {
        true
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        expect_texts(&inputs[0])?;
        let (dt, mut shape) = inputs[0].clone();
        ensure!(
            matches!(shape.len(), 1 | 2),
            "texts of {} axes, one or two are allowed",
            shape.len()
        );
        shape.push(self.longest.clone());
        Ok(vec![(dt, shape)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let texts = values::<String>(inputs[0])?;
        let mut rows = Vec::with_capacity(texts.len());
        for text in texts {
            let mut row = Vec::new();
            self.rule.each(text, |token| row.push(token))?;
            rows.push(row);
        }
        let tokens = rows.iter().map(Vec::len).max().unwrap_or(0);
        let marks = if self.marks && tokens > 0 { 2 } else { 0 };
        let mut shape: TVec<usize> = inputs[0].shape().into();
        shape.push(tokens + marks);
        let mut padded = Vec::with_capacity(texts.len() * (tokens + marks));
        for row in rows.iter().filter(|_| tokens > 0) {
            let padding = tokens - row.len();
            let marks = |mark: &'static str| std::iter::once(mark).take(marks);
            let row = marks(START).chain(row.iter().copied()).chain(marks(END));
            padded.extend(row.map(str::to_owned));
            padded.extend(std::iter::repeat_n(&self.padding, padding).cloned());
        }
        Ok(vec![kernel::texts(&shape, padded)?])
    }
}
