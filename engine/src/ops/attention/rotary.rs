//! RotaryEmbedding of opset 23: turns pairs of channels by an angle of the position (Su et al.,
//! RoFormer, 2021). The operator of com.microsoft is the runtime's.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use crate::ops::fallback;
use crate::ops::kernel::{self, Fact, Kernel, values};
use crate::ops::real::{Calculation, Real, calculate, expect_floats};
use crate::ops::slots::Slots;
use crate::support;

const POSITIONS: usize = 3;

#[derive(Debug)]
struct RotaryEmbedding {
    slots: Slots,
    /// Pairs are neighbours; else a channel of the first half goes with one of the second.
    is_interleaved: bool,
    /// Only for inputs of three axes; 0 when absent.
    heads: usize,
    /// Channels that turn; 0 for all.
    turning: usize,
}

pub(in crate::ops) fn build(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    if !support::domain(&node.domain).is_empty() {
        return fallback::theirs(context, node);
    }
    let size = |name| -> TractResult<usize> {
        let size = node.get_attr_opt::<i64>(name)?.unwrap_or(0);
        usize::try_from(size).with_context(|| format!("{name} of {size}"))
    };
    let kernel = RotaryEmbedding {
        slots: Slots::of(node),
        is_interleaved: node.get_attr_opt::<i64>("interleaved")?.unwrap_or(0) != 0,
        heads: size("num_heads")?,
        turning: size("rotary_embedding_dim")?,
    };
    ensure!(kernel.turning.is_multiple_of(2), "an odd rotary_embedding_dim of {}", kernel.turning);
    Ok((kernel::operator("", node, Box::new(kernel))?, vec![]))
}

impl Kernel for RotaryEmbedding {
    fn name(&self) -> &'static str {
        "RotaryEmbedding"
    }

    fn input_count(&self) -> usize {
        self.slots.count()
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let [x, cos, sin, ..] = inputs else { bail!("three inputs are needed") };
        expect_floats(&[x, cos, sin])?;
        ensure!(matches!(x.1.len(), 3 | 4), "an input of {} axes", x.1.len());
        if let Some((of_positions, positions)) = self.slots.pick(inputs, POSITIONS) {
            ensure!(*of_positions == i64::datum_type() && positions.len() == 2, "position_ids");
        }
        Ok(vec![x.clone()])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        calculate(self, inputs)
    }
}

impl Calculation for RotaryEmbedding {
    fn calculate<T: Real>(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let [x, cos, sin, ..] = inputs else { bail!("three inputs are needed") };
        // The strides of batch, head and step, in heads.
        let (batch, heads, steps, size, is_head_first) = match *x.shape() {
            [batch, heads, steps, size] => (batch, heads, steps, size, true),
            [batch, steps, width] => {
                ensure!(self.heads > 0, "num_heads is needed for an input of three axes");
                ensure!(width % self.heads == 0, "{width} columns for {} heads", self.heads);
                (batch, self.heads, steps, width / self.heads, false)
            }
            _ => bail!("an input of {} axes", x.rank()),
        };
        let turning = if self.turning == 0 { size } else { self.turning };
        ensure!(
            turning <= size && turning.is_multiple_of(2),
            "{turning} turning channels of {size}"
        );
        let pairs = turning / 2;
        ensure!(
            cos.shape() == sin.shape() && cos.shape().last() == Some(&pairs),
            "caches of {:?} and {:?} for {pairs} pairs of channels",
            cos.shape(),
            sin.shape()
        );
        let positions = self.slots.pick(inputs, POSITIONS);
        if let Some(positions) = positions {
            ensure!(*positions.shape() == [batch, steps], "positions of {:?}", positions.shape());
        }
        let positions = positions.map(|p| values::<i64>(p)).transpose()?;
        let (cos, sin) = (values::<T>(cos)?, values::<T>(sin)?);
        let known = cos.len().checked_div(pairs).unwrap_or(0);
        let mut turned = values::<T>(x)?.to_vec();
        for (number, head) in turned.chunks_exact_mut(size.max(1)).enumerate() {
            let (b, step) = if is_head_first {
                (number / (heads * steps), number % steps)
            } else {
                (number / (heads * steps), number / heads % steps)
            };
            let row = match positions {
                Some(positions) => usize::try_from(positions[b * steps + step]).ok(),
                None => Some(b * steps + step),
            };
            let row = row.filter(|r| *r < known).context("a position outside of the caches")?;
            for pair in 0..pairs {
                let (c, s) = (cos[row * pairs + pair], sin[row * pairs + pair]);
                let (i, j) = if self.is_interleaved {
                    (2 * pair, 2 * pair + 1)
                } else {
                    (pair, pair + pairs)
                };
                let (a, b) = (head[i], head[j]);
                head[i] = c * a - s * b;
                head[j] = s * a + c * b;
            }
        }
        Ok(vec![tract_ndarray::ArrayD::from_shape_vec(x.shape(), turned)?.into_tensor()])
    }
}
