//! Unique: the distinct elements, or slices along an axis, with first places, inverse and counts.

use std::cmp::Ordering;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{around, axis};
use crate::ops::kernel::{Fact, Kernel, Lengths, values};

#[derive(Debug)]
struct Unique {
    /// `None`: over all elements in order.
    axis: Option<i64>,
    is_sorted: bool,
    distinct: Lengths,
}

pub(in crate::ops) fn read(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<Box<dyn Kernel>> {
    Ok(Box::new(Unique {
        axis: node.get_attr_opt("axis")?,
        is_sorted: node.get_attr_opt::<i64>("sorted")?.unwrap_or(1) != 0,
        distinct: Lengths::of(context),
    }))
}

impl Kernel for Unique {
    fn name(&self) -> &'static str {
        "Unique"
    }

    fn output_count(&self) -> usize {
        4
    }

    fn lengths(&self) -> Option<&Lengths> {
        Some(&self.distinct)
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let (dt, shape) = &inputs[0];
        let distinct = self.distinct.get(0);
        let mut of_values = shape.clone();
        let inverse = match self.axis {
            None => {
                let all = shape.iter().product();
                of_values = tvec!(distinct.clone());
                all
            }
            Some(of) => {
                let at = axis(of, shape.len())?;
                std::mem::replace(&mut of_values[at], distinct.clone())
            }
        };
        let places = |length: TDim| (i64::datum_type(), tvec!(length));
        Ok(vec![(*dt, of_values), places(distinct.clone()), places(inverse), places(distinct)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let x = inputs[0];
        macro_rules! of {
            ($($kind:ident => $of:ty),+) => {
                match x.datum_type() {
                    $(DatumType::$kind => self.of::<$of>(x, |a, b| a.partial_cmp(b)),)+
                    other => bail!("elements of {other:?} have no order"),
                }
            };
        }
        of!(
            Bool => bool, String => String, F16 => f16, F32 => f32, F64 => f64,
            U8 => u8, U16 => u16, U32 => u32, U64 => u64,
            I8 => i8, I16 => i16, I32 => i32, I64 => i64
        )
    }
}

impl Unique {
    fn of<T: Datum>(
        &self,
        x: &Tensor,
        order: fn(&T, &T) -> Option<Ordering>,
    ) -> TractResult<Vec<Tensor>> {
        let at = self.axis.map(|of| axis(of, x.rank())).transpose()?;
        let (before, along, behind) = at.map_or((1, x.len(), 1), |at| around(x.shape(), at));
        let elements = values::<T>(x)?;
        // The elements of slice number `k`, in the order that compares slices.
        let slice = |k: usize| {
            (0..before).flat_map(move |outer| {
                let start = (outer * along + k) * behind;
                elements[start..start + behind].iter()
            })
        };
        // What has no order, NaN, comes last and equals itself.
        let compare = |a: usize, b: usize| {
            let differ = slice(a).zip(slice(b)).map(|(a, b)| {
                order(a, b).unwrap_or_else(|| order(a, a).is_none().cmp(&order(b, b).is_none()))
            });
            differ.into_iter().find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        };
        let mut places: Vec<usize> = (0..along).collect();
        places.sort_by(|a, b| compare(*a, *b));
        // Groups of equal slices; sorting is stable, so each begins with its first place.
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for place in places {
            match groups.last_mut() {
                Some(group) if compare(group[0], place).is_eq() => group.push(place),
                _ => groups.push(vec![place]),
            }
        }
        if !self.is_sorted {
            groups.sort_by_key(|group| group[0]);
        }
        let mut inverse = vec![0i64; along];
        for (number, group) in groups.iter().enumerate() {
            group.iter().for_each(|place| inverse[*place] = number as i64);
        }
        let mut kept = Vec::with_capacity(before * groups.len() * behind);
        for outer in 0..before {
            for group in &groups {
                let start = (outer * along + group[0]) * behind;
                kept.extend_from_slice(&elements[start..start + behind]);
            }
        }
        let mut shape: TVec<usize> = at.map_or_else(|| tvec!(0), |_| x.shape().into());
        shape[at.unwrap_or(0)] = groups.len();
        let firsts: Vec<i64> = groups.iter().map(|group| group[0] as i64).collect();
        let counts: Vec<i64> = groups.iter().map(|group| group.len() as i64).collect();
        Ok(vec![
            tract_ndarray::ArrayD::from_shape_vec(&*shape, kept)?.into_tensor(),
            tensor1(&firsts),
            tensor1(&inverse),
            tensor1(&counts),
        ])
    }
}
