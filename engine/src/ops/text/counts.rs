//! Tokenizer, Flatten and TfIdfVectorizer in one: counts the tokens of each text where they
//! stand, without a tensor of them.
//!
//! The padding that makes rows of one length is not there either. So a text's counts do not
//! depend on how long the texts beside it are, even when the pool holds the padding.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::super::kernel::{Fact, Kernel, filled, values};
use super::expect_texts;
use super::ngrams::{Ngrams, UNKNOWN};
use super::tfidf::{Vocabulary, read_texts};
use super::tokens::Rule;

/// The operator's name in the register; [`super::fuse`] writes it, no file can.
pub(super) const NAME: &str = "weighbridge.TokenCounts";

#[derive(Debug)]
struct TokenCounts {
    rule: Rule,
    vocabulary: Vocabulary,
    ngrams: Ngrams,
}

/// Reads a node that has the attributes of both operators.
pub(in super::super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let (vocabulary, ngrams) = read_texts(node)?.context("pool_strings are needed")?;
    Ok(Box::new(TokenCounts { rule: Rule::read(node)?, vocabulary, ngrams }))
}

impl Kernel for TokenCounts {
    fn name(&self) -> &'static str {
        "TokenCounts"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        expect_texts(&inputs[0])?;
        let width = self.ngrams.width().to_dim();
        let rows = match &*inputs[0].1 {
            [rows] => rows,
            [rows, one] if *one == 1.to_dim() => rows,
            other => {
                bail!("texts of the shape {other:?} are cut into tokens: [N] or [N, 1] is needed")
            }
        };
        Ok(vec![(f32::datum_type(), tvec!(rows.clone(), width))])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let texts = values::<String>(inputs[0])?;
        let width = self.ngrams.width();
        let counts = filled::<f32>(&[texts.len(), width], |out| {
            let mut row = Vec::new();
            for (text, out) in texts.iter().zip(out.chunks_exact_mut(width)) {
                let id = |token: &str| self.vocabulary.get(token).copied().unwrap_or(UNKNOWN);
                if self.ngrams.are_single() {
                    self.rule.each(text, |token| self.ngrams.count_single(id(token), out))?;
                } else {
                    row.clear();
                    self.rule.each(text, |token| row.push(id(token)))?;
                    self.ngrams.count(&row, out);
                }
            }
            Ok(())
        })?;
        Ok(vec![counts])
    }
}
