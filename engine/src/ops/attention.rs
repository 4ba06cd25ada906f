//! Attention, of opset 23: scaled dot products with a mask, a cache and groups of heads.
//!
//! What the outputs are follows ONNX Runtime and the standard as corrected after its first
//! release: heads of 3-D inputs lie side by side in a step, a key's head serves a run of
//! neighbouring query heads, and the soft cap comes before the mask.

mod rotary;
mod scores;

pub(super) use rotary::build as rotary_embedding;

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::kernel::{Fact, Kernel};
use super::real::{Calculation, Real, calculate, expect_floats};
use super::slots::Slots;
use scores::{Heads, Masks, Scores, Stage};

const MASK: usize = 3;
const PAST_KEY: usize = 4;
const PAST_VALUE: usize = 5;
const VALID_LENGTHS: usize = 6;

#[derive(Debug)]
struct Attention {
    slots: Slots,
    is_causal: bool,
    /// Only for inputs of three axes.
    query_heads: Option<usize>,
    key_heads: Option<usize>,
    /// `None`: one over the root of the head's size.
    scale: Option<f64>,
    /// 0 for none.
    soft_cap: f64,
    /// Which scores are the fourth output.
    stage: Stage,
}

pub(super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let slots = Slots::of(node);
    ensure!(slots.place(VALID_LENGTHS).is_none(), "nonpad_kv_seqlen is not served");
    ensure!(
        slots.place(PAST_KEY).is_some() == slots.place(PAST_VALUE).is_some(),
        "past_key and past_value belong together"
    );
    for name in ["left_window_size", "right_window_size"] {
        let size = node.get_attr_opt::<i64>(name)?.unwrap_or(-1);
        ensure!(size == -1, "{name} of {size}: sliding windows are not served");
    }
    let heads = |name| -> TractResult<Option<usize>> {
        let Some(count) = node.get_attr_opt::<i64>(name)? else { return Ok(None) };
        let count = usize::try_from(count).ok().filter(|c| *c > 0);
        count.with_context(|| format!("{name} must be above zero")).map(Some)
    };
    Ok(Box::new(Attention {
        slots,
        is_causal: node.get_attr_opt::<i64>("is_causal")?.unwrap_or(0) != 0,
        query_heads: heads("q_num_heads")?,
        key_heads: heads("kv_num_heads")?,
        scale: node.get_attr_opt::<f32>("scale")?.map(f64::from),
        soft_cap: f64::from(node.get_attr_opt::<f32>("softcap")?.unwrap_or(0.0)),
        stage: Stage::read(node.get_attr_opt("qk_matmul_output_mode")?.unwrap_or(0))?,
    }))
}

/// An input as `[batch, heads, steps, size]`.
type Spread = [TDim; 4];

impl Attention {
    fn spread(&self, shape: &[TDim], heads: Option<usize>, what: &str) -> TractResult<Spread> {
        match shape {
            [batch, heads, steps, size] => {
                Ok([batch.clone(), heads.clone(), steps.clone(), size.clone()])
            }
            [batch, steps, width] => {
                let heads = heads.with_context(|| format!("the number of heads of {what}"))?;
                let width = width.to_usize().with_context(|| format!("the width of {what}"))?;
                ensure!(width % heads == 0, "{what}: {width} columns for {heads} heads");
                Ok([batch.clone(), heads.to_dim(), steps.clone(), (width / heads).to_dim()])
            }
            other => bail!("{what} has {} axes, three or four are needed", other.len()),
        }
    }
}

impl Kernel for Attention {
    fn name(&self) -> &'static str {
        "Attention"
    }

    fn input_count(&self) -> usize {
        self.slots.count()
    }

    fn output_count(&self) -> usize {
        4
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let [query, key, value, ..] = inputs else { bail!("three inputs are needed") };
        expect_floats(&[query, key, value])?;
        let dt = query.0;
        let rank = query.1.len();
        ensure!(key.1.len() == rank && value.1.len() == rank, "Q, K and V differ in axes");
        if let Some((of_mask, mask)) = self.slots.pick(inputs, MASK) {
            ensure!(*of_mask == DatumType::Bool || *of_mask == dt, "a mask of {of_mask:?}");
            ensure!(mask.len() <= 4, "a mask of {} axes", mask.len());
        }
        let [batch, heads, steps, _] = self.spread(&query.1, self.query_heads, "Q")?;
        let [_, key_heads, new, size] = self.spread(&key.1, self.key_heads, "K")?;
        let [.., of_value] = self.spread(&value.1, self.key_heads, "V")?;
        if let (Ok(heads), Ok(key_heads)) = (heads.to_usize(), key_heads.to_usize()) {
            ensure!(
                key_heads > 0 && heads % key_heads == 0,
                "{heads} heads of queries are not a multiple of {key_heads} of keys"
            );
        }
        let total = match self.slots.pick(inputs, PAST_KEY) {
            Some((of_past, past)) if *of_past == dt && past.len() == 4 => past[2].clone() + new,
            Some((of_past, past)) => bail!("past_key is {of_past:?} with {} axes", past.len()),
            None => new,
        };
        let out = if rank == 3 {
            tvec!(batch.clone(), steps.clone(), heads.clone() * of_value.clone())
        } else {
            tvec!(batch.clone(), heads.clone(), steps.clone(), of_value.clone())
        };
        Ok(vec![
            (dt, out),
            (dt, tvec!(batch.clone(), key_heads.clone(), total.clone(), size)),
            (dt, tvec!(batch.clone(), key_heads, total.clone(), of_value)),
            (dt, tvec!(batch, heads, steps, total)),
        ])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        calculate(self, inputs)
    }
}

impl Calculation for Attention {
    fn calculate<T: Real>(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let [query, key, value, ..] = inputs else { bail!("three inputs are needed") };
        let past = |slot| self.slots.pick(inputs, slot).copied();
        let heads = Heads::<T> {
            query: scores::spread(query, self.query_heads, "Q")?.to_owned(),
            key: scores::continued(past(PAST_KEY), key, self.key_heads, "K")?,
            value: scores::continued(past(PAST_VALUE), value, self.key_heads, "V")?,
        };
        let masks = Masks {
            is_causal: self.is_causal,
            past: past(PAST_KEY).map_or(0, |past| past.shape()[2]),
            mask: past(MASK),
        };
        let size = heads.query.shape()[3];
        let scale = self.scale.unwrap_or_else(|| 1.0 / (size.max(1) as f64).sqrt());
        let scores = Scores {
            scale: T::of(scale),
            soft_cap: T::of(self.soft_cap),
            stage: self.stage,
            sits_side_by_side: query.rank() == 3,
        };
        let (out, shown) = scores.attend(&heads, &masks)?;
        Ok(vec![out, heads.key.into_tensor(), heads.value.into_tensor(), shown])
    }
}
