//! Col2Im: adds patches up to images, the reverse of cutting an image into patches.

use std::borrow::Cow;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{length_of_list, sizes};
use crate::ops::attributes::ints;
use crate::ops::kernel::{Fact, Kernel, Lengths, values};
use crate::ops::real::{Calculation, Real, calculate, expect_floats};

#[derive(Debug)]
struct Col2Im {
    /// Empty for ones, and for zeros in the case of pads (all begins, then all ends).
    dilations: Vec<i64>,
    strides: Vec<i64>,
    pads: Vec<i64>,
    /// 0 is the number of channels, the others are the image's axes.
    lengths: Lengths,
}

pub(in crate::ops) fn read(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<Box<dyn Kernel>> {
    let list = |name| ints(node, name).map(<[i64]>::to_vec);
    let kernel = Col2Im {
        dilations: list("dilations")?,
        strides: list("strides")?,
        pads: list("pads")?,
        lengths: Lengths::of(context),
    };
    let steps = kernel.dilations.iter().chain(&kernel.strides);
    ensure!(steps.into_iter().all(|s| *s > 0), "dilations and strides must be above zero");
    Ok(Box::new(kernel))
}

impl Kernel for Col2Im {
    fn name(&self) -> &'static str {
        "Col2Im"
    }

    fn input_count(&self) -> usize {
        3
    }

    fn shaping_inputs(&self) -> &[usize] {
        &[1, 2]
    }

    fn lengths(&self) -> Option<&Lengths> {
        Some(&self.lengths)
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let [(dt, columns), (_, image), (_, block)] = inputs else {
            bail!("three inputs are needed")
        };
        expect_floats(&[&inputs[0]])?;
        ensure!(columns.len() == 3, "patches of {} axes, three are needed", columns.len());
        let axes = length_of_list(image, "image_shape")?;
        ensure!(length_of_list(block, "block_shape")? == axes, "block_shape has other axes");
        let lengths = (0..=axes).map(|axis| self.lengths.get(axis));
        Ok(vec![(*dt, [columns[0].clone()].into_iter().chain(lengths).collect())])
    }

    fn facts_of_values(
        &self,
        inputs: &[Fact],
        values_of: &[Option<Cow<'_, Tensor>>],
    ) -> TractResult<Vec<Fact>> {
        let mut facts = self.facts(inputs)?;
        let shape = &mut facts[0].1;
        if let Some(Some(image)) = values_of.get(1) {
            for (axis, length) in sizes(image, "image_shape")?.iter().enumerate() {
                shape[axis + 2] = length.to_dim();
            }
        }
        if let Some(Some(block)) = values_of.get(2) {
            let block: usize = sizes(block, "block_shape")?.iter().product();
            if let Ok(rows) = inputs[0].1[1].to_usize() {
                ensure!(block > 0 && rows % block == 0, "{rows} rows of patches of {block} pixels");
                shape[1] = (rows / block).to_dim();
            }
        }
        Ok(facts)
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        calculate(self, inputs)
    }
}

/// Where the patches of one image axis lie.
struct Line {
    image: i64,
    block: usize,
    patches: usize,
    dilation: i64,
    stride: i64,
    pad: i64,
}

impl Line {
    /// The pixel under element `element` of patch `patch`; `None` in the padding.
    fn pixel(&self, element: usize, patch: usize) -> Option<usize> {
        let at = patch as i64 * self.stride + element as i64 * self.dilation - self.pad;
        (at >= 0 && at < self.image).then_some(at as usize)
    }
}

impl Col2Im {
    fn lines(&self, image: &[usize], block: &[usize]) -> TractResult<Vec<Line>> {
        let axes = image.len();
        for (list, wanted) in
            [(&self.dilations, axes), (&self.strides, axes), (&self.pads, 2 * axes)]
        {
            ensure!(
                list.is_empty() || list.len() == wanted,
                "an attribute of {} values for {axes} axes",
                list.len()
            );
        }
        let of = |list: &[i64], at: usize, default: i64| list.get(at).copied().unwrap_or(default);
        let line = |axis: usize| {
            let (dilation, stride) = (of(&self.dilations, axis, 1), of(&self.strides, axis, 1));
            let (pad, end) = (of(&self.pads, axis, 0), of(&self.pads, axes + axis, 0));
            let covered = dilation * (block[axis] as i64 - 1) + 1;
            let room = image[axis] as i64 + pad + end - covered;
            ensure!(block[axis] > 0 && room >= 0, "a patch is larger than the image");
            Ok(Line {
                image: image[axis] as i64,
                block: block[axis],
                patches: (room / stride) as usize + 1,
                dilation,
                stride,
                pad,
            })
        };
        (0..axes).map(line).collect()
    }
}

impl Calculation for Col2Im {
    fn calculate<T: Real>(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let [columns, image, block] = inputs else { bail!("three inputs are needed") };
        let (image, block) = (sizes(image, "image_shape")?, sizes(block, "block_shape")?);
        ensure!(image.len() == block.len(), "image_shape and block_shape differ in length");
        let lines = self.lines(&image, &block)?;
        let [batch, rows, patches] = *columns.shape() else {
            bail!("patches of {} axes, three are needed", columns.rank())
        };
        let elements: usize = block.iter().product();
        let fitting: usize = lines.iter().map(|l| l.patches).product();
        ensure!(rows % elements == 0, "{rows} rows of patches of {elements} pixels");
        ensure!(patches == fitting, "{patches} patches, {fitting} fit the image");
        let channels = rows / elements;
        let pixels: usize = image.iter().product();
        let from = values::<T>(columns)?;
        let mut found = vec![T::zero(); batch * channels * pixels];
        for (row, line) in from.chunks_exact(patches.max(1)).enumerate() {
            let (plane, element) = (row / elements, row % elements);
            let plane = &mut found[plane * pixels..][..pixels];
            for (patch, value) in line.iter().enumerate() {
                if let Some(pixel) = pixel(&lines, element, patch) {
                    plane[pixel] = plane[pixel] + *value;
                }
            }
        }
        let shape: Vec<usize> = [batch, channels].iter().chain(&image).copied().collect();
        Ok(vec![tract_ndarray::ArrayD::from_shape_vec(shape, found)?.into_tensor()])
    }
}

fn pixel(lines: &[Line], mut element: usize, mut patch: usize) -> Option<usize> {
    let (mut pixel, mut width) = (0, 1);
    for line in lines.iter().rev() {
        pixel += line.pixel(element % line.block, patch % line.patches)? * width;
        width *= line.image as usize;
        element /= line.block;
        patch /= line.patches;
    }
    Some(pixel)
}
