//! ReverseSequence: turns the first steps of each sequence of a batch round, as many as its
//! length says.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use crate::ops::kernel::{Fact, Kernel, values};

#[derive(Debug)]
struct ReverseSequence {
    /// Axis 1 counts the sequences and axis 0 the steps; else the other way round.
    is_time_first: bool,
}

pub(in crate::ops) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let batch: i64 = node.get_attr_opt("batch_axis")?.unwrap_or(1);
    let time: i64 = node.get_attr_opt("time_axis")?.unwrap_or(0);
    let is_time_first = match (batch, time) {
        (1, 0) => true,
        (0, 1) => false,
        other => bail!("batch_axis and time_axis of {other:?}, 0 and 1 are needed"),
    };
    Ok(Box::new(ReverseSequence { is_time_first }))
}

impl Kernel for ReverseSequence {
    fn name(&self) -> &'static str {
        "ReverseSequence"
    }

    fn input_count(&self) -> usize {
        2
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let [(dt, shape), (of_lengths, lengths)] = inputs else { bail!("two inputs are needed") };
        ensure!(shape.len() >= 2, "an input of {} axes, two or more are needed", shape.len());
        ensure!(
            *of_lengths == i64::datum_type() && lengths.len() == 1,
            "the lengths are {of_lengths:?} with {} axes, a list of int64 is needed",
            lengths.len()
        );
        Ok(vec![(*dt, shape.clone())])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let [x, lengths] = inputs else { bail!("two inputs are needed") };
        let lengths = values::<i64>(lengths)?;
        let (steps, sequences) = match (self.is_time_first, x.shape()) {
            (true, [steps, sequences, ..]) => (*steps, *sequences),
            (false, [sequences, steps, ..]) => (*steps, *sequences),
            _ => bail!("an input of {} axes, two or more are needed", x.rank()),
        };
        ensure!(lengths.len() == sequences, "{} lengths for {sequences} sequences", lengths.len());
        let lengths = lengths
            .iter()
            .map(|l| usize::try_from(*l).ok().filter(|l| *l <= steps))
            .collect::<Option<Vec<usize>>>()
            .with_context(|| format!("the lengths {lengths:?} of sequences of {steps} steps"))?;
        let turn = Turn { is_time_first: self.is_time_first, steps, lengths };
        Ok(vec![dispatch_datum!(turned(x.datum_type())(x, &turn))?])
    }
}

struct Turn {
    is_time_first: bool,
    steps: usize,
    lengths: Vec<usize>,
}

fn turned<T: Datum>(x: &Tensor, turn: &Turn) -> TractResult<Tensor> {
    let from = values::<T>(x)?;
    let inner: usize = x.shape()[2..].iter().product();
    let sequences = turn.lengths.len();
    let mut elements = Vec::with_capacity(from.len());
    for outer in 0..turn.steps * sequences {
        let (step, sequence) = if turn.is_time_first {
            (outer / sequences, outer % sequences)
        } else {
            (outer % turn.steps, outer / turn.steps)
        };
        let length = turn.lengths[sequence];
        let step = if step < length { length - 1 - step } else { step };
        let place = if turn.is_time_first {
            step * sequences + sequence
        } else {
            sequence * turn.steps + step
        };
        elements.extend_from_slice(&from[place * inner..(place + 1) * inner]);
    }
    Ok(tract_ndarray::ArrayD::from_shape_vec(x.shape(), elements)?.into_tensor())
}
