//! RoiAlign: samples regions of feature maps at points between the pixels (He et al., Mask R-CNN,
//! 2017).

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use crate::ops::attributes::text;
use crate::ops::kernel::{Fact, Kernel, values};
use crate::ops::real::{Calculation, Real, calculate, expect_floats, real};

#[derive(Debug)]
struct RoiAlign {
    /// Pixels are points at halves, and regions may be smaller than a pixel.
    is_half_pixel: bool,
    is_max: bool,
    height: usize,
    width: usize,
    /// Samples per bin and axis; 0 for as many as a bin has pixels.
    sampling: usize,
    scale: f64,
}

pub(in crate::ops) fn read(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<Box<dyn Kernel>> {
    // The attribute came with opset 16; before, no half pixel was taken off.
    let default =
        if context.onnx_operator_set_version >= 16 { "half_pixel" } else { "output_half_pixel" };
    let is_half_pixel = match text(node, "coordinate_transformation_mode", default)? {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => bail!("coordinate_transformation_mode {other}"),
    };
    let is_max = match text(node, "mode", "avg")? {
        "avg" => false,
        "max" => true,
        other => bail!("mode {other}"),
    };
    let size = |name| -> TractResult<usize> {
        let size = node.get_attr_opt::<i64>(name)?.unwrap_or(1);
        usize::try_from(size).ok().filter(|s| *s > 0).with_context(|| format!("{name} of {size}"))
    };
    let sampling: i64 = node.get_attr_opt("sampling_ratio")?.unwrap_or(0);
    Ok(Box::new(RoiAlign {
        is_half_pixel,
        is_max,
        height: size("output_height")?,
        width: size("output_width")?,
        sampling: usize::try_from(sampling)
            .with_context(|| format!("a sampling_ratio of {sampling}"))?,
        scale: f64::from(node.get_attr_opt::<f32>("spatial_scale")?.unwrap_or(1.0)),
    }))
}

impl Kernel for RoiAlign {
    fn name(&self) -> &'static str {
        "RoiAlign"
    }

    fn input_count(&self) -> usize {
        3
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let [x, rois, (of_maps, maps)] = inputs else { bail!("three inputs are needed") };
        expect_floats(&[x, rois])?;
        ensure!(*of_maps == i64::datum_type() && maps.len() == 1, "batch_indices must be int64");
        ensure!(x.1.len() == 4, "feature maps of {} axes, four are needed", x.1.len());
        ensure!(
            rois.1.len() == 2 && (rois.1[1].to_i64().is_err() || rois.1[1] == 4.to_dim()),
            "regions must have four coordinates each"
        );
        let shape =
            tvec!(rois.1[0].clone(), x.1[1].clone(), self.height.to_dim(), self.width.to_dim());
        Ok(vec![(x.0, shape)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        calculate(self, inputs)
    }
}

/// A sample: four pixels of a channel with their weights.
type Sample<T> = [(usize, T); 4];

impl Calculation for RoiAlign {
    fn calculate<T: Real>(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let [x, rois, maps] = inputs else { bail!("three inputs are needed") };
        let [images, channels, rows, columns] = *x.shape() else {
            bail!("feature maps of {} axes, four are needed", x.rank())
        };
        ensure!(rois.rank() == 2 && rois.shape()[1] == 4, "regions need four coordinates each");
        let maps = values::<i64>(maps)?;
        let regions = values::<T>(rois)?.as_chunks::<4>().0;
        ensure!(maps.len() == regions.len(), "{} regions, {} indices", regions.len(), maps.len());
        let pixels = values::<T>(x)?;
        let area = rows * columns;
        let bins = self.height * self.width;
        let mut found = vec![T::zero(); regions.len() * channels * bins];
        for (number, (region, map)) in regions.iter().zip(maps).enumerate() {
            let map = usize::try_from(*map).ok().filter(|m| *m < images);
            let map = map.with_context(|| format!("region {number} of none of {images} images"))?;
            let samples = self.samples(region, rows, columns)?;
            for channel in 0..channels {
                let plane = &pixels[(map * channels + channel) * area..][..area];
                let out = &mut found[(number * channels + channel) * bins..][..bins];
                for (bin, samples) in out.iter_mut().zip(&samples) {
                    *bin = if self.is_max { largest(plane, samples) } else { mean(plane, samples) };
                }
            }
        }
        let shape = [regions.len(), channels, self.height, self.width];
        Ok(vec![tract_ndarray::ArrayD::from_shape_vec(&shape[..], found)?.into_tensor()])
    }
}

impl RoiAlign {
    /// The samples of each bin of a region.
    fn samples<T: Real>(
        &self,
        region: &[T; 4],
        rows: usize,
        columns: usize,
    ) -> TractResult<Vec<Vec<Sample<T>>>> {
        /// More samples per bin and axis than any image has pixels are a broken region.
        const MOST: usize = 1 << 14;
        let offset = T::of(if self.is_half_pixel { 0.5 } else { 0.0 });
        let [left, top, right, bottom] = region.map(|c| c * T::of(self.scale) - offset);
        let (mut wide, mut high) = (right - left, bottom - top);
        if !self.is_half_pixel {
            (wide, high) = (wide.max(T::one()), high.max(T::one()));
        }
        let (bin_wide, bin_high) = (wide / real(self.width), high / real(self.height));
        let count = |bin: T| match self.sampling {
            0 => bin.ceil().to_usize().unwrap_or(0),
            fixed => fixed,
        };
        let (across, down) = (count(bin_wide), count(bin_high));
        ensure!(across <= MOST && down <= MOST, "a region of {high:?} by {wide:?} pixels");
        let half = T::of(0.5);
        let mut bins = Vec::with_capacity(self.height * self.width);
        for row in 0..self.height {
            for column in 0..self.width {
                let mut samples = Vec::with_capacity(across * down);
                for i in 0..down {
                    let y = top + bin_high * (real::<T>(row) + (real::<T>(i) + half) / real(down));
                    for j in 0..across {
                        let x = left
                            + bin_wide * (real::<T>(column) + (real::<T>(j) + half) / real(across));
                        samples.push(sample(y, x, rows, columns));
                    }
                }
                bins.push(samples);
            }
        }
        Ok(bins)
    }
}

/// Bilinear weights; a point more than a pixel outside of the map counts as zero.
fn sample<T: Real>(y: T, x: T, rows: usize, columns: usize) -> Sample<T> {
    let is_outside = |at: T, length: usize| at < -T::one() || at > real(length) || at.is_nan();
    if is_outside(y, rows) || is_outside(x, columns) {
        return [(0, T::zero()); 4];
    }
    let (y0, y1, dy) = between(y, rows);
    let (x0, x1, dx) = between(x, columns);
    let (ey, ex) = (T::one() - dy, T::one() - dx);
    [
        (y0 * columns + x0, ey * ex),
        (y0 * columns + x1, ey * dx),
        (y1 * columns + x0, dy * ex),
        (y1 * columns + x1, dy * dx),
    ]
}

/// The two pixels beside `at`, and how far it is from the first.
fn between<T: Real>(at: T, length: usize) -> (usize, usize, T) {
    let at = at.max(T::zero());
    let low = at.to_usize().unwrap_or(0);
    if low + 1 >= length {
        return (length - 1, length - 1, T::zero());
    }
    (low, low + 1, at - real(low))
}

fn mean<T: Real>(plane: &[T], samples: &[Sample<T>]) -> T {
    let all = samples.iter().flatten().map(|(pixel, weight)| plane[*pixel] * *weight);
    all.sum::<T>() / real(samples.len().max(1))
}

/// The largest weighted pixel, as ONNX Runtime and ONNX's cases have it, not the largest sample.
fn largest<T: Real>(plane: &[T], samples: &[Sample<T>]) -> T {
    let weighted = samples.iter().flatten().map(|(pixel, weight)| plane[*pixel] * *weight);
    weighted.reduce(T::max).unwrap_or_else(T::zero)
}
