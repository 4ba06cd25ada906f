//! TfIdfVectorizer: how often each known n-gram occurs in a row.

use std::collections::HashMap;

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::super::attributes;
use super::super::kernel::{Fact, Kernel, filled, values};
use super::ngrams::{Id, Ngrams, UNKNOWN, numbered};

#[derive(Debug)]
struct TfIdf {
    known: Known,
    ngrams: Ngrams,
}

#[derive(Debug)]
enum Known {
    Texts(Vocabulary),
    Ints(HashMap<i64, Id>),
}

/// The numbers of the texts of a pool. The keys come with the model, so nobody else can make
/// them collide.
pub(super) type Vocabulary = HashMap<String, Id, rustc_hash::FxBuildHasher>;

/// The pool of texts, numbered, and its n-grams; `None` when the pool holds integers.
pub(super) fn read_texts(node: &NodeProto) -> TractResult<Option<(Vocabulary, Ngrams)>> {
    let pool = attributes::texts(node, "pool_strings")?;
    if pool.is_empty() {
        return Ok(None);
    }
    let (vocabulary, numbers) = numbered(pool.into_iter());
    Ok(Some((vocabulary, Ngrams::read(node, &numbers)?)))
}

pub(in super::super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    if let Some((vocabulary, ngrams)) = read_texts(node)? {
        return Ok(Box::new(TfIdf { known: Known::Texts(vocabulary), ngrams }));
    }
    let pool = attributes::ints(node, "pool_int64s")?;
    ensure!(!pool.is_empty(), "pool_strings or pool_int64s are needed");
    let (known, numbers) = numbered(pool.iter().copied());
    let ngrams = Ngrams::read(node, &numbers)?;
    Ok(Box::new(TfIdf { known: Known::Ints(known), ngrams }))
}

impl Kernel for TfIdf {
    fn name(&self) -> &'static str {
        "TfIdfVectorizer"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let (dt, shape) = &inputs[0];
        let fits = match self.known {
            Known::Texts(_) => *dt == String::datum_type(),
            Known::Ints(_) => matches!(dt, DatumType::I32 | DatumType::I64),
        };
        ensure!(fits, "an input of {dt:?} for a pool of another type");
        let width = self.ngrams.width().to_dim();
        let shape = match &**shape {
            [] | [_] => tvec!(width),
            [rows, _] => tvec!(rows.clone(), width),
            other => bail!("an input of {} axes, one or two are allowed", other.len()),
        };
        Ok(vec![(f32::datum_type(), shape)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let x = inputs[0];
        let length = x.shape().last().copied().unwrap_or(1);
        let ids: Vec<Id> = match &self.known {
            Known::Texts(known) => values::<String>(x)?
                .iter()
                .map(|t| known.get(t).copied().unwrap_or(UNKNOWN))
                .collect(),
            Known::Ints(known) => {
                let x = x.cast_to::<i64>()?;
                values::<i64>(&x)?
                    .iter()
                    .map(|i| known.get(i).copied().unwrap_or(UNKNOWN))
                    .collect()
            }
        };
        let width = self.ngrams.width();
        let shape: TVec<usize> = match x.shape() {
            [rows, _] => tvec!(*rows, width),
            _ => tvec!(width),
        };
        let counts = filled::<f32>(&shape, |out| {
            let rows = ids.chunks_exact(length.max(1));
            rows.zip(out.chunks_exact_mut(width))
                .for_each(|(row, out)| self.ngrams.count(row, out));
            Ok(())
        })?;
        Ok(vec![counts])
    }
}
