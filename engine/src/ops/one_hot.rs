//! OneHotEncoder: one column per category behind the last axis.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::attributes;
use super::kernel::{Fact, Kernel, filled, values};

#[derive(Debug)]
struct OneHot {
    categories: Categories,
    count: usize,
    /// An unknown category gives a row of zeros; else it is an error.
    zeros: bool,
}

/// The keys come with the model, so nobody else can make them collide.
#[derive(Debug)]
enum Categories {
    Ints(HashMap<i64, usize, FxBuildHasher>),
    Texts(HashMap<String, usize, FxBuildHasher>),
}

pub(super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let ints = attributes::ints(node, "cats_int64s")?;
    let texts = attributes::texts(node, "cats_strings")?;
    let count = ints.len().max(texts.len());
    ensure!(
        count > 0 && (ints.is_empty() || texts.is_empty()),
        "categories of one kind are needed"
    );
    let categories = match texts.is_empty() {
        true => Categories::Ints(ints.iter().copied().zip(0..).collect()),
        false => Categories::Texts(texts.into_iter().zip(0..).collect()),
    };
    let zeros = node.get_attr_opt::<i64>("zeros")?.unwrap_or(1) != 0;
    Ok(Box::new(OneHot { categories, count, zeros }))
}

impl Kernel for OneHot {
    fn name(&self) -> &'static str {
        "OneHotEncoder"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let (dt, shape) = &inputs[0];
        let is_text = *dt == DatumType::String;
        let wants_text = matches!(self.categories, Categories::Texts(_));
        ensure!(is_text == wants_text, "an input of {dt:?} for categories of another kind");
        let mut shape = shape.clone();
        shape.push(self.count.to_dim());
        Ok(vec![(f32::datum_type(), shape)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let mut shape: TVec<usize> = inputs[0].shape().into();
        shape.push(self.count);
        let hot = match &self.categories {
            Categories::Texts(known) => {
                let x = values::<String>(inputs[0])?;
                filled(&shape, |out| self.mark(out, x.iter().map(|v| known.get(v).copied())))?
            }
            Categories::Ints(known) => {
                // Floats are cut to integers, as a cast does.
                let x = inputs[0].cast_to::<i64>()?;
                let x = values::<i64>(&x)?;
                filled(&shape, |out| self.mark(out, x.iter().map(|v| known.get(v).copied())))?
            }
        };
        Ok(vec![hot])
    }
}

impl OneHot {
    fn mark(&self, out: &mut [f32], found: impl Iterator<Item = Option<usize>>) -> TractResult<()> {
        for (out, column) in out.chunks_exact_mut(self.count).zip(found) {
            match column {
                Some(column) => out[column] = 1.0,
                None => ensure!(self.zeros, "an unknown category"),
            }
        }
        Ok(())
    }
}
