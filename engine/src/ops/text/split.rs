//! StringSplit: the parts of each text side by side, and how many there are.
//!
//! Texts are cut at white space of Unicode when there is no delimiter, as the standard asks;
//! ONNX Runtime takes the space alone. Where the standard is silent, the rest of a text behind
//! the last cut loses the white space at its end, as in ONNX Runtime.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;

use super::super::attributes;
use super::super::kernel::{self, Fact, Kernel, filled, values};
use super::expect_texts;

#[derive(Debug)]
struct StringSplit {
    /// Empty: at white space, however long.
    delimiter: String,
    most_cuts: usize,
    /// The parts of the text that has most.
    longest: TDim,
}

pub(in super::super) fn read(node: &NodeProto, longest: TDim) -> TractResult<Box<dyn Kernel>> {
    let delimiter = attributes::text(node, "delimiter", "")?.to_owned();
    let cuts = node.get_attr_opt::<i64>("maxsplit")?;
    let most_cuts = cuts.map_or(usize::MAX, |cuts| usize::try_from(cuts).unwrap_or(usize::MAX));
    Ok(Box::new(StringSplit { delimiter, most_cuts, longest }))
}

impl Kernel for StringSplit {
    fn name(&self) -> &'static str {
        "StringSplit"
    }

    fn output_count(&self) -> usize {
        2
    }

    fn makes_sizes(&self) -> bool {
        true
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        expect_texts(&inputs[0])?;
        let shape = &inputs[0].1;
        let parts = shape.iter().cloned().chain([self.longest.clone()]).collect();
        Ok(vec![(String::datum_type(), parts), (i64::datum_type(), shape.clone())])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let texts = values::<String>(inputs[0])?;
        let parts: Vec<Vec<&str>> = texts.iter().map(|text| self.parts(text)).collect();
        let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
        let mut shape: TVec<usize> = inputs[0].shape().into();
        let counts = filled::<i64>(&shape, |out| {
            out.iter_mut().zip(&parts).for_each(|(out, parts)| *out = parts.len() as i64);
            Ok(())
        })?;
        shape.push(longest);
        let padded = |parts: &Vec<&str>| -> Vec<String> {
            let parts = parts.iter().copied().chain(std::iter::repeat(""));
            parts.take(longest).map(str::to_owned).collect()
        };
        Ok(vec![kernel::texts(&shape, parts.iter().flat_map(padded).collect())?, counts])
    }
}

impl StringSplit {
    fn parts<'a>(&self, text: &'a str) -> Vec<&'a str> {
        match (text.is_empty(), self.delimiter.as_str()) {
            (true, _) => vec![],
            (false, "") => self.words(text),
            (false, delimiter) => {
                text.splitn(self.most_cuts.saturating_add(1), delimiter).collect()
            }
        }
    }

    fn words<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let mut parts = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let end = rest.find(char::is_whitespace).filter(|_| parts.len() < self.most_cuts);
            let (word, more) = rest.split_at(end.unwrap_or(rest.len()));
            parts.push(word);
            rest = more.trim_start();
        }
        parts
    }
}
