//! DeformConv: a convolution whose taps are moved by learnt offsets (Dai et al., 2017; Zhu et al.,
//! 2019, for the mask), over images.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use crate::ops::attributes::ints;
use crate::ops::kernel::{Fact, Kernel, values};
use crate::ops::real::{Calculation, Real, calculate, expect_floats, real};
use crate::ops::slots::Slots;

const BIAS: usize = 3;
const MASK: usize = 4;

#[derive(Debug)]
struct DeformConv {
    slots: Slots,
    /// Down and across.
    strides: [usize; 2],
    dilations: [usize; 2],
    /// Top and left; what is below and right follows from the output's size.
    pads: [usize; 2],
    groups: usize,
    offset_groups: usize,
}

pub(in crate::ops) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let pair = |name: &str, least: i64, default: usize| -> TractResult<[usize; 2]> {
        match ints(node, name)? {
            [] => Ok([default; 2]),
            [down, across, ..] if *down >= least && *across >= least => {
                Ok([*down as usize, *across as usize])
            }
            other => bail!("{name} of {other:?}"),
        }
    };
    let count = |name| -> TractResult<usize> {
        let count = node.get_attr_opt::<i64>(name)?.unwrap_or(1);
        usize::try_from(count).ok().filter(|c| *c > 0).with_context(|| format!("{name} of {count}"))
    };
    Ok(Box::new(DeformConv {
        slots: Slots::of(node),
        strides: pair("strides", 1, 1)?,
        dilations: pair("dilations", 1, 1)?,
        pads: pair("pads", 0, 0)?,
        groups: count("group")?,
        offset_groups: count("offset_group")?,
    }))
}

impl Kernel for DeformConv {
    fn name(&self) -> &'static str {
        "DeformConv"
    }

    fn input_count(&self) -> usize {
        self.slots.count()
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        expect_floats(&inputs.iter().collect::<Vec<_>>())?;
        let [x, weight, offset, ..] = inputs else { bail!("three inputs are needed") };
        ensure!(
            x.1.len() == 4 && weight.1.len() == 4 && offset.1.len() == 4,
            "inputs of {}, {} and {} axes; only images, of four axes, are served",
            x.1.len(),
            weight.1.len(),
            offset.1.len()
        );
        // There is an offset for each pixel of the output.
        let shape =
            tvec!(x.1[0].clone(), weight.1[0].clone(), offset.1[2].clone(), offset.1[3].clone());
        Ok(vec![(x.0, shape)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        calculate(self, inputs)
    }
}

impl Calculation for DeformConv {
    fn calculate<T: Real>(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let [x, weight, offset, ..] = inputs else { bail!("three inputs are needed") };
        let (&[batch, channels, rows, columns], &[filters, of_group, down, across]) =
            (x.shape(), weight.shape())
        else {
            bail!("images and filters of four axes are needed")
        };
        let taps = down * across;
        let &[_, _, high, wide] = offset.shape() else { bail!("offsets of four axes are needed") };
        ensure!(
            channels == of_group * self.groups
                && filters % self.groups == 0
                && channels % self.offset_groups == 0,
            "{channels} channels and {filters} filters of {of_group} in {} and {} groups",
            self.groups,
            self.offset_groups
        );
        ensure!(
            *offset.shape() == [batch, 2 * taps * self.offset_groups, high, wide],
            "offsets of {:?}",
            offset.shape()
        );
        let mask = self.slots.pick(inputs, MASK);
        if let Some(mask) = mask {
            let wanted = [batch, taps * self.offset_groups, high, wide];
            ensure!(*mask.shape() == wanted, "a mask of {:?}", mask.shape());
        }
        let bias = self.slots.pick(inputs, BIAS).map(|b| values::<T>(b)).transpose()?;
        ensure!(bias.is_none_or(|b| b.len() == filters), "a bias for other than {filters} filters");
        let (pixels, moves) = (values::<T>(x)?, values::<T>(offset)?);
        let mask = mask.map(|m| values::<T>(m)).transpose()?;
        let weights = values::<T>(weight)?;
        let points = high * wide;
        let of_filters = filters / self.groups;
        let mut found = Vec::with_capacity(batch * filters * points);
        // The taps of all points of one image, [channels * taps, points].
        let mut patches = vec![T::zero(); channels * taps * points];
        for image in 0..batch {
            for (row, patch) in patches.chunks_exact_mut(points.max(1)).enumerate() {
                let (channel, tap) = (row / taps, row % taps);
                let plane =
                    &pixels[(image * channels + channel) * rows * columns..][..rows * columns];
                let group = channel / (channels / self.offset_groups);
                let tap_of_group = (image * self.offset_groups + group) * taps + tap;
                let down_by = &moves[2 * tap_of_group * points..][..points];
                let across_by = &moves[(2 * tap_of_group + 1) * points..][..points];
                let start = |axis: usize, at: usize, tap: usize| {
                    real::<T>(at * self.strides[axis] + tap * self.dilations[axis])
                        - real(self.pads[axis])
                };
                for (point, value) in patch.iter_mut().enumerate() {
                    let y = start(0, point / wide, tap / across) + down_by[point];
                    let x = start(1, point % wide, tap % across) + across_by[point];
                    let kept = mask.map_or(T::one(), |m| m[tap_of_group * points + point]);
                    *value = kept * bilinear(plane, rows, columns, y, x);
                }
            }
            for group in 0..self.groups {
                let terms = of_group * taps;
                let patches = tract_ndarray::ArrayView2::from_shape(
                    (terms, points),
                    &patches[group * terms * points..][..terms * points],
                )?;
                let weights = tract_ndarray::ArrayView2::from_shape(
                    (of_filters, terms),
                    &weights[group * of_filters * terms..][..of_filters * terms],
                )?;
                let product = weights.dot(&patches);
                for (filter, line) in product.rows().into_iter().enumerate() {
                    let plus = bias.map_or(T::zero(), |b| b[group * of_filters + filter]);
                    found.extend(line.iter().map(|value| *value + plus));
                }
            }
        }
        let shape = [batch, filters, high, wide];
        Ok(vec![tract_ndarray::ArrayD::from_shape_vec(&shape[..], found)?.into_tensor()])
    }
}

/// The value between the pixels at (`y`, `x`); pixels outside of the image are zero.
fn bilinear<T: Real>(plane: &[T], rows: usize, columns: usize, y: T, x: T) -> T {
    let (low, left) = (y.floor(), x.floor());
    let pixel = |y: T, x: T| match (y.to_usize(), x.to_usize()) {
        (Some(row), Some(column))
            if y >= T::zero() && x >= T::zero() && row < rows && column < columns =>
        {
            plane[row * columns + column]
        }
        _ => T::zero(),
    };
    let (dy, dx) = (y - low, x - left);
    let (high, right) = (low + T::one(), left + T::one());
    if !(dy.is_finite() && dx.is_finite()) {
        return T::zero();
    }
    (T::one() - dy) * ((T::one() - dx) * pixel(low, left) + dx * pixel(low, right))
        + dy * ((T::one() - dx) * pixel(high, left) + dx * pixel(high, right))
}
