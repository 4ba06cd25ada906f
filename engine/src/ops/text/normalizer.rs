//! StringNormalizer: drops stop words and changes the case of the rest.

use std::collections::HashSet;

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::super::attributes;
use super::super::kernel::{self, Fact, Kernel, values};
use super::case::{Case, Letters};
use super::expect_texts;

#[derive(Debug)]
struct StringNormalizer {
    /// What is done to the texts that stay.
    change: Option<Case>,
    letters: Letters,
    stop_words: HashSet<String>,
    /// Texts are compared with the stop words after this change.
    compare: Option<Case>,
    /// How many texts are left, when that depends on the texts.
    left: TDim,
}

pub(in super::super) fn read(node: &NodeProto, left: TDim) -> TractResult<Box<dyn Kernel>> {
    let change = match attributes::text(node, "case_change_action", "NONE")? {
        "NONE" => None,
        "LOWER" => Some(Case::Lower),
        "UPPER" => Some(Case::Upper),
        other => bail!("the case_change_action {other} is unknown"),
    };
    let letters = letters(attributes::text(node, "locale", "en_US.UTF-8")?)?;
    let sensitive = node.get_attr_opt::<i64>("is_case_sensitive")?.unwrap_or(0) != 0;
    let compare = (!sensitive).then_some(change.unwrap_or(Case::Lower));
    let listed = attributes::texts(node, "stopwords")?;
    let stop_words = listed.into_iter().map(|word| match compare {
        Some(case) => case.change(&word, letters),
        None => word,
    });
    let stop_words = stop_words.collect();
    Ok(Box::new(StringNormalizer { change, letters, stop_words, compare, left }))
}

/// The locale of the C library knows the case of ASCII letters only, every other one that of
/// all. None need be installed here.
fn letters(locale: &str) -> TractResult<Letters> {
    ensure!(
        !["tr", "az"].iter().any(|turkic| locale.starts_with(turkic)),
        "the locale {locale} has its own rules for the letter i, which are not served: \
         export with the locale en_US.UTF-8"
    );
    Ok(if matches!(locale, "C" | "POSIX") { Letters::Ascii } else { Letters::Unicode })
}

impl Kernel for StringNormalizer {
    fn name(&self) -> &'static str {
        "StringNormalizer"
    }

    fn makes_sizes(&self) -> bool {
        !self.stop_words.is_empty()
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        expect_texts(&inputs[0])?;
        let (dt, mut shape) = inputs[0].clone();
        if self.stop_words.is_empty() {
            return Ok(vec![(dt, shape)]);
        }
        ensure!(
            shape.len() == 1 || (shape.len() == 2 && shape[0] == 1.to_dim()),
            "texts of the shape {shape:?}: with stop words [C] or [1, C] is needed"
        );
        shape.pop();
        shape.push(self.left.clone());
        Ok(vec![(dt, shape)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let texts = values::<String>(inputs[0])?;
        let mut left: Vec<String> = texts
            .iter()
            .filter(|text| !self.is_stop_word(text))
            .map(|text| match self.change {
                Some(case) => case.change(text, self.letters),
                None => text.clone(),
            })
            .collect();
        let mut shape: TVec<usize> = inputs[0].shape().into();
        if left.len() < texts.len() {
            if left.is_empty() {
                left.push(String::new());
            }
            shape.pop();
            shape.push(left.len());
        }
        Ok(vec![kernel::texts(&shape, left)?])
    }
}

impl StringNormalizer {
    fn is_stop_word(&self, text: &str) -> bool {
        if self.stop_words.is_empty() {
            return false;
        }
        match self.compare {
            Some(case) => self.stop_words.contains(&case.change(text, self.letters)),
            None => self.stop_words.contains(text),
        }
    }
}
