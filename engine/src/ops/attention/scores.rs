//! The calculation: per head the products of queries and keys, masked, as weights of the values.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::tract_ndarray::{
    Array2, Array4, ArrayView2, ArrayView4, ArrayViewMut2, Axis, concatenate, s,
};
use tract_onnx::tract_hir::internal::*;

use crate::ops::real::Real;

/// Which scores are shown in the fourth output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Products,
    Capped,
    Masked,
    Weights,
}

impl Stage {
    pub(super) fn read(mode: i64) -> TractResult<Self> {
        Ok(match mode {
            0 => Stage::Products,
            1 => Stage::Capped,
            2 => Stage::Masked,
            3 => Stage::Weights,
            other => bail!("qk_matmul_output_mode of {other}"),
        })
    }
}

/// All three as `[batch, heads, steps, size]`; keys and values with those of the cache before
/// them.
pub(super) struct Heads<T> {
    pub query: Array4<T>,
    pub key: Array4<T>,
    pub value: Array4<T>,
}

/// Which keys a query may look at.
pub(super) struct Masks<'a> {
    /// None that come after it.
    pub is_causal: bool,
    /// Steps in the cache.
    pub past: usize,
    pub mask: Option<&'a Tensor>,
}

pub(super) struct Scores<T> {
    pub scale: T,
    /// 0 for none.
    pub soft_cap: T,
    pub stage: Stage,
    /// The heads of a step of the output lie side by side: `[batch, steps, heads * size]`.
    pub sits_side_by_side: bool,
}

/// A view of `tensor` as `[batch, heads, steps, size]`.
pub(super) fn spread<'t, T: Real>(
    tensor: &'t Tensor,
    heads: Option<usize>,
    what: &str,
) -> TractResult<ArrayView4<'t, T>> {
    let view = tensor.to_plain_array_view::<T>()?;
    match *tensor.shape() {
        [_, _, _, _] => Ok(view.into_dimensionality()?),
        [batch, steps, width] => {
            let heads = heads.with_context(|| format!("the number of heads of {what}"))?;
            ensure!(width % heads == 0, "{what}: {width} columns for {heads} heads");
            let view = view.into_shape_with_order((batch, steps, heads, width / heads))?;
            Ok(view.permuted_axes([0, 2, 1, 3]))
        }
        _ => bail!("{what} has {} axes, three or four are needed", tensor.rank()),
    }
}

/// `tensor` behind what the cache holds.
pub(super) fn continued<T: Real>(
    past: Option<&Tensor>,
    tensor: &Tensor,
    heads: Option<usize>,
    what: &str,
) -> TractResult<Array4<T>> {
    let new = spread(tensor, heads, what)?;
    let Some(past) = past else { return Ok(new.as_standard_layout().into_owned()) };
    let past = spread(past, None, "the cache")?;
    concatenate(Axis(2), &[past, new])
        .with_context(|| format!("{what} of {:?} behind a cache of another form", tensor.shape()))
}

impl<T: Real> Scores<T> {
    /// The output, and the scores at the stage to show.
    pub(super) fn attend(&self, heads: &Heads<T>, masks: &Masks) -> TractResult<(Tensor, Tensor)> {
        let &[batch, count, steps, size] = heads.query.shape() else { bail!("four axes") };
        let &[of_batch, key_heads, total, of_key] = heads.key.shape() else { bail!("four axes") };
        let &[_, _, of_steps, of_value] = heads.value.shape() else { bail!("four axes") };
        ensure!(
            of_batch == batch && heads.value.shape()[..2] == [batch, key_heads],
            "Q, K and V differ in batch or heads"
        );
        ensure!(of_key == size && of_steps == total, "K does not fit Q or V");
        ensure!(key_heads > 0 && count % key_heads == 0, "{count} heads on {key_heads} of keys");
        let group = count / key_heads;
        let mask = masks.mask.map(|mask| Mask::<T>::of(mask, [batch, count, steps, total]));
        let mask = mask.transpose()?;
        let mut out = Array4::<T>::zeros((batch, count, steps, of_value));
        let mut shown = Array4::<T>::zeros((batch, count, steps, total));
        for (b, h) in (0..batch).flat_map(|b| (0..count).map(move |h| (b, h))) {
            let query = heads.query.slice(s![b, h, .., ..]);
            let key = heads.key.slice(s![b, h / group, .., ..]);
            let mut scores = query.dot(&key.t());
            scores.mapv_inplace(|x| x * self.scale);
            let mut show = |stage, scores: &Array2<T>| {
                if self.stage == stage {
                    shown.slice_mut(s![b, h, .., ..]).assign(scores);
                }
            };
            show(Stage::Products, &scores);
            if self.soft_cap > T::zero() {
                scores.mapv_inplace(|x| (x / self.soft_cap).tanh() * self.soft_cap);
            }
            show(Stage::Capped, &scores);
            if let Some(mask) = &mask {
                mask.put_on(&mut scores, b, h);
            }
            if masks.is_causal {
                hide_future(scores.view_mut(), masks.past);
            }
            show(Stage::Masked, &scores);
            scores.rows_mut().into_iter().for_each(|mut row| {
                if let Some(row) = row.as_slice_mut() {
                    softmax(row);
                }
            });
            show(Stage::Weights, &scores);
            let value = heads.value.slice(s![b, h / group, .., ..]);
            out.slice_mut(s![b, h, .., ..]).assign(&scores.dot(&value));
        }
        let out = if self.sits_side_by_side {
            let rows = out.permuted_axes([0, 2, 1, 3]).as_standard_layout().into_owned();
            rows.into_shape_with_order((batch, steps, count * of_value))?.into_tensor()
        } else {
            out.into_tensor()
        };
        Ok((out, shown.into_tensor()))
    }
}

/// A mask of four axes, each as long as that of the scores, or 1 for all of it.
enum Mask<'a, T> {
    Allowed(ArrayView4<'a, bool>),
    Added(ArrayView4<'a, T>),
}

impl<'a, T: Real> Mask<'a, T> {
    fn of(mask: &'a Tensor, scores: [usize; 4]) -> TractResult<Self> {
        fn spread<E: Datum>(mask: &Tensor, scores: [usize; 4]) -> TractResult<ArrayView4<'_, E>> {
            let mut view = mask.to_plain_array_view::<E>()?;
            while view.ndim() < 4 {
                view = view.insert_axis(Axis(0));
            }
            let fits = view.shape().iter().zip(scores).all(|(of, all)| *of == 1 || *of == all);
            ensure!(fits, "a mask of {:?} for scores of {scores:?}", mask.shape());
            Ok(view.into_dimensionality()?)
        }
        Ok(match mask.datum_type() {
            DatumType::Bool => Mask::Allowed(spread(mask, scores)?),
            _ => Mask::Added(spread(mask, scores)?),
        })
    }

    fn put_on(&self, scores: &mut Array2<T>, b: usize, h: usize) {
        match self {
            Mask::Allowed(mask) => scores.zip_mut_with(&plane(mask, b, h), |score, allowed| {
                if !allowed {
                    *score = T::neg_infinity();
                }
            }),
            Mask::Added(mask) => {
                scores.zip_mut_with(&plane(mask, b, h), |score, add| *score = *score + *add);
            }
        }
    }
}

fn plane<'m, E>(mask: &'m ArrayView4<'_, E>, b: usize, h: usize) -> ArrayView2<'m, E> {
    let (batch, heads, ..) = mask.dim();
    mask.slice(s![b.min(batch - 1), h.min(heads - 1), .., ..])
}

/// Query `i` sees the cache and the keys up to its own.
fn hide_future<T: Real>(mut scores: ArrayViewMut2<'_, T>, past: usize) {
    for (i, mut row) in scores.rows_mut().into_iter().enumerate() {
        row.iter_mut().skip(i + past + 1).for_each(|score| *score = T::neg_infinity());
    }
}

/// A row that may look at nothing weighs nothing.
fn softmax<T: Real>(row: &mut [T]) {
    let most = row.iter().copied().fold(T::neg_infinity(), T::max);
    if most == T::neg_infinity() {
        row.fill(T::zero());
        return;
    }
    row.iter_mut().for_each(|x| *x = (*x - most).exp());
    let sum: T = row.iter().copied().sum();
    row.iter_mut().for_each(|x| *x = *x / sum);
}
