//! Windows and mel filters of a size that the run may calculate.

use std::borrow::Cow;
use std::f64::consts::PI;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::kernel::{Fact, Kernel, Lengths, values};

/// The attribute output_datatype; float32 when absent.
fn output_type(node: &NodeProto) -> TractResult<DatumType> {
    let number = node.get_attr_opt::<i64>("output_datatype")?.unwrap_or(DataType::Float as i64);
    let kind = i32::try_from(number).ok().and_then(|n| DataType::try_from(n).ok());
    let kind = kind.with_context(|| format!("output_datatype {number}"))?;
    let dt = DatumType::try_from(kind)?;
    ensure!(dt.is_number(), "output_datatype {dt:?}");
    Ok(dt)
}

/// A single whole number of any type.
fn whole(tensor: &Tensor, what: &str) -> TractResult<usize> {
    ensure!(tensor.len() == 1, "{what} has {} elements", tensor.len());
    let number = tensor.cast_to::<i64>()?;
    let number = values::<i64>(&number)?[0];
    usize::try_from(number).with_context(|| format!("{what} of {number}"))
}

/// Zeros for a size of the run, which may be anything: refused instead of ending the process.
fn zeros(count: Option<usize>) -> TractResult<Vec<f64>> {
    let count = count.context("the size is too large")?;
    let mut zeros = Vec::new();
    zeros.try_reserve_exact(count).context("the size is too large")?;
    zeros.resize(count, 0.0);
    Ok(zeros)
}

#[derive(Debug)]
struct Window {
    name: &'static str,
    /// Weights of the cosines of 0, 1 and 2 turns.
    terms: [f64; 3],
    is_periodic: bool,
    output: DatumType,
    length: Lengths,
}

pub(super) fn window(context: &ParsingContext, node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let (name, terms) = match &*node.op_type {
        "HannWindow" => ("HannWindow", [0.5, -0.5, 0.0]),
        "HammingWindow" => ("HammingWindow", [25.0 / 46.0, -21.0 / 46.0, 0.0]),
        "BlackmanWindow" => ("BlackmanWindow", [0.42, -0.5, 0.08]),
        other => bail!("{other} is no window"),
    };
    Ok(Box::new(Window {
        name,
        terms,
        is_periodic: node.get_attr_opt::<i64>("periodic")?.unwrap_or(1) != 0,
        output: output_type(node)?,
        length: Lengths::of(context),
    }))
}

impl Kernel for Window {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shaping_inputs(&self) -> &[usize] {
        &[0]
    }

    fn lengths(&self) -> Option<&Lengths> {
        Some(&self.length)
    }

    fn facts(&self, _: &[Fact]) -> TractResult<Vec<Fact>> {
        Ok(vec![(self.output, tvec!(self.length.get(0)))])
    }

    fn facts_of_values(
        &self,
        inputs: &[Fact],
        values_of: &[Option<Cow<'_, Tensor>>],
    ) -> TractResult<Vec<Fact>> {
        match values_of.first() {
            Some(Some(size)) => {
                Ok(vec![(self.output, tvec!(whole(size, "the window's size")?.to_dim()))])
            }
            _ => self.facts(inputs),
        }
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let size = whole(inputs[0], "the window's size")?;
        let steps = if self.is_periodic { size } else { size.saturating_sub(1) };
        let mut weights = zeros(Some(size))?;
        for (n, weight) in weights.iter_mut().enumerate() {
            let turn = 2.0 * PI * n as f64 / steps as f64;
            let terms = self.terms.iter().enumerate();
            *weight = terms.map(|(k, term)| term * (turn * k as f64).cos()).sum();
        }
        Ok(vec![tensor1(&weights).cast_to_dt(self.output)?.into_owned()])
    }
}

#[derive(Debug)]
struct MelWeightMatrix {
    output: DatumType,
    /// 0 are the bins of the spectrogram, 1 those of the mel scale.
    lengths: Lengths,
}

pub(super) fn mel(context: &ParsingContext, node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    Ok(Box::new(MelWeightMatrix { output: output_type(node)?, lengths: Lengths::of(context) }))
}

impl Kernel for MelWeightMatrix {
    fn name(&self) -> &'static str {
        "MelWeightMatrix"
    }

    fn input_count(&self) -> usize {
        5
    }

    fn shaping_inputs(&self) -> &[usize] {
        &[0, 1]
    }

    fn lengths(&self) -> Option<&Lengths> {
        Some(&self.lengths)
    }

    fn facts(&self, _: &[Fact]) -> TractResult<Vec<Fact>> {
        Ok(vec![(self.output, tvec!(self.lengths.get(0), self.lengths.get(1)))])
    }

    fn facts_of_values(
        &self,
        inputs: &[Fact],
        values_of: &[Option<Cow<'_, Tensor>>],
    ) -> TractResult<Vec<Fact>> {
        let mut facts = self.facts(inputs)?;
        if let Some(Some(bins)) = values_of.first() {
            facts[0].1[1] = whole(bins, "num_mel_bins")?.to_dim();
        }
        if let Some(Some(length)) = values_of.get(1) {
            facts[0].1[0] = (whole(length, "dft_length")? / 2 + 1).to_dim();
        }
        Ok(facts)
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let [bins, length, rate, low, high] = inputs else { bail!("five inputs are needed") };
        let bins = whole(bins, "num_mel_bins")?;
        let length = whole(length, "dft_length")?;
        let rate = whole(rate, "sample_rate")?;
        ensure!(rate > 0, "a sample_rate of 0");
        let rows = length / 2 + 1;
        let mut weights = zeros(bins.checked_add(2).and_then(|n| rows.checked_mul(n)))?;
        weights.truncate(rows * bins);
        let [low, high] = [low, high].map(|edge| -> TractResult<f64> {
            ensure!(edge.len() == 1, "an edge of {} elements", edge.len());
            let edge = edge.cast_to::<f64>()?;
            Ok(values::<f64>(&edge)?[0])
        });
        let edges = edges(bins, length, rate, low?, high?);
        ensure!(
            edges.iter().all(|edge| *edge < rows),
            "the upper edge is above half of the sample rate"
        );
        for (bin, edges) in edges.windows(3).enumerate() {
            let [left, centre, right] = edges else { continue };
            let rise = (centre - left) as f64;
            for row in *left..=*centre {
                weights[row * bins + bin] =
                    if rise == 0.0 { 1.0 } else { (row - left) as f64 / rise };
            }
            for row in *centre..*right {
                weights[row * bins + bin] = (right - row) as f64 / (right - centre) as f64;
            }
        }
        let matrix = tract_ndarray::Array2::from_shape_vec((rows, bins), weights)?.into_tensor();
        Ok(vec![matrix.cast_to_dt(self.output)?.into_owned()])
    }
}

/// The bins of the spectrogram at which the filters begin, peak and end: `bins + 2`, evenly spaced
/// on the mel scale (O'Shaughnessy's, 2595 log10(1 + f / 700)) the way ONNX counts the steps.
fn edges(bins: usize, length: usize, rate: usize, low: f64, high: f64) -> Vec<usize> {
    let mel = |hertz: f64| 2595.0 * (hertz / 700.0).ln_1p() / std::f64::consts::LN_10;
    let step = (mel(high) - mel(low)) / (bins + 2) as f64;
    let hertz = |mel: f64| 700.0 * (mel / 2595.0 * std::f64::consts::LN_10).exp_m1();
    (0..bins + 2)
        .map(|k| {
            let frequency = hertz(mel(low) + step * k as f64);
            ((length + 1) as f64 * frequency / rate as f64).floor().max(0.0) as usize
        })
        .collect()
}
