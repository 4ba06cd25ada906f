//! LSTM, GRU and RNN of the default domain: all directions, both layouts, any number of rows.
//!
//! The runtime's own run a lone reverse layer forward, need the batch to be a number when it
//! comes first, and run a graph per step. Here the input's part of all steps is one matrix
//! product, and a step is one more for all rows of the batch. float16 and double are calculated
//! in float32.

mod activation;
mod cell;
mod product;
mod run;
mod weights;

use std::sync::Arc;

use tract_onnx::model::optional_inputs;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::attributes::{floats, text, texts};
use super::kernel::{Fact, Kernel, values};
use activation::Activation;
use cell::{Cell, State, Step};
use run::Run;
use weights::{Given, Weights, expect};

pub(super) fn read_lstm(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let input_forget = node.get_attr_opt("input_forget")?.unwrap_or(0i64) != 0;
    read(node, Cell::Lstm { input_forget })
}

pub(super) fn read_gru(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let linear_before_reset = node.get_attr_opt("linear_before_reset")?.unwrap_or(0i64) != 0;
    read(node, Cell::Gru { linear_before_reset })
}

pub(super) fn read_rnn(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    read(node, Cell::Rnn)
}

/// Where the inputs stand among those that the node has; `None` for those it leaves out.
#[derive(Debug, Clone)]
struct Slots {
    count: usize,
    bias: Option<usize>,
    lengths: Option<usize>,
    initial_hidden: Option<usize>,
    initial_memory: Option<usize>,
    peepholes: Option<usize>,
}

#[derive(Debug, Clone)]
struct Recurrent {
    cell: Cell,
    /// One per direction: whether it runs backward, and its functions.
    directions: Vec<(bool, Step)>,
    batch_first: bool,
    hidden: Option<i64>,
    slots: Slots,
    /// Per direction, when the weights are constants.
    weights: Option<Arc<Vec<Weights>>>,
}

fn read(node: &NodeProto, cell: Cell) -> TractResult<Box<dyn Kernel>> {
    let backward: &[bool] = match text(node, "direction", "forward")? {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => bail!("the direction \"{other}\" is not one of the standard's"),
    };
    let names = texts(node, "activations")?;
    let per_direction = cell.default_activations().len();
    let wanted = per_direction * backward.len();
    let names: Vec<&str> = match names.len() {
        0 => cell.default_activations().iter().copied().cycle().take(wanted).collect(),
        n if n == wanted => names.iter().map(String::as_str).collect(),
        n => bail!("{n} activations for {} directions, {wanted} are needed", backward.len()),
    };
    let mut alphas = floats(node, "activation_alpha")?.iter().copied();
    let mut betas = floats(node, "activation_beta")?.iter().copied();
    let activations = names.iter().map(|name| Activation::read(name, &mut alphas, &mut betas));
    let activations = activations.collect::<TractResult<Vec<_>>>()?;
    let clip = node.get_attr_opt::<f32>("clip")?.filter(|clip| *clip > 0.0);
    let step = |functions: &[Activation]| Step { cell, activations: functions.to_vec(), clip };
    let directions =
        backward.iter().copied().zip(activations.chunks(per_direction).map(step)).collect();
    let layout: i64 = node.get_attr_opt("layout")?.unwrap_or(0);
    ensure!(matches!(layout, 0 | 1), "the layout is {layout}, it is 0 or 1");
    let given: Vec<Option<usize>> = optional_inputs(node).take(8).collect();
    ensure!(given[..3].iter().all(Option::is_some), "one of the inputs X, W and R is missing");
    let is_lstm = matches!(cell, Cell::Lstm { .. });
    let slots = Slots {
        count: given.iter().flatten().count(),
        bias: given[3],
        lengths: given[4],
        initial_hidden: given[5],
        initial_memory: given[6].filter(|_| is_lstm),
        peepholes: given[7].filter(|_| is_lstm),
    };
    let hidden = node.get_attr_opt("hidden_size")?;
    Ok(Box::new(Recurrent {
        cell,
        directions,
        batch_first: layout == 1,
        hidden,
        slots,
        weights: None,
    }))
}

impl Recurrent {
    fn is_lstm(&self) -> bool {
        matches!(self.cell, Cell::Lstm { .. })
    }

    /// The tensors W, R, B and P among `inputs`.
    fn given<T>(
        &self,
        inputs: &[T],
        cast: impl Fn(&T) -> TractResult<Arc<Tensor>>,
    ) -> TractResult<Given> {
        let at = |slot: Option<usize>| slot.map(|slot| cast(&inputs[slot])).transpose();
        Ok(Given {
            input: cast(&inputs[1])?,
            recurrent: cast(&inputs[2])?,
            bias: at(self.slots.bias)?,
            peepholes: at(self.slots.peepholes)?,
        })
    }

    fn weights(&self, given: &Given) -> TractResult<Vec<Weights>> {
        let count = self.directions.len();
        (0..count).map(|direction| Weights::new(given, self.cell, direction, count)).collect()
    }

    /// What the layout makes of directions, batch and width.
    fn state_shape<D>(&self, directions: D, batch: D, hidden: D) -> TVec<D> {
        if self.batch_first {
            tvec![batch, directions, hidden]
        } else {
            tvec![directions, batch, hidden]
        }
    }

    /// What the layout makes of steps, directions, batch and width.
    fn sequence_shape<D>(&self, steps: D, directions: D, batch: D, hidden: D) -> TVec<D> {
        if self.batch_first {
            tvec![batch, steps, directions, hidden]
        } else {
            tvec![steps, directions, batch, hidden]
        }
    }

    /// Steps and rows of the input.
    fn steps_and_batch<D: Clone>(&self, shape: &[D]) -> (D, D) {
        let (first, second) = (shape[0].clone(), shape[1].clone());
        if self.batch_first { (second, first) } else { (first, second) }
    }

    /// How many steps each row has.
    fn lengths(&self, inputs: &[&Tensor], steps: usize, batch: usize) -> TractResult<Vec<usize>> {
        let Some(slot) = self.slots.lengths else { return Ok(vec![steps; batch]) };
        expect(inputs[slot], "sequence_lens", &[batch])?;
        let lengths = inputs[slot].cast_to::<i64>()?;
        let length = |n: &i64| {
            usize::try_from(*n)
                .ok()
                .filter(|n| *n <= steps)
                .with_context(|| format!("sequence_lens holds {n}, the input has {steps} steps"))
        };
        values::<i64>(&lengths)?.iter().map(length).collect()
    }

    /// The state that `direction` begins with, `[batch, hidden]`: zeros when the input is left out.
    fn initial(
        &self,
        input: Option<&Tensor>,
        name: &str,
        direction: usize,
        batch: usize,
        hidden: usize,
    ) -> TractResult<Vec<f32>> {
        let Some(input) = input else { return Ok(vec![0.0; batch * hidden]) };
        let directions = self.directions.len();
        expect(input, name, &self.state_shape(directions, batch, hidden))?;
        let input = input.cast_to::<f32>()?;
        let all = values::<f32>(&input)?;
        let row = |row: usize| &all[self.state_row(row, direction, batch) * hidden..][..hidden];
        Ok((0..batch).flat_map(row).copied().collect())
    }

    /// The place of a row in a tensor of states, in rows.
    fn state_row(&self, row: usize, direction: usize, batch: usize) -> usize {
        if self.batch_first {
            row * self.directions.len() + direction
        } else {
            direction * batch + row
        }
    }
}

impl Kernel for Recurrent {
    fn name(&self) -> &'static str {
        match self.cell {
            Cell::Lstm { .. } => "LSTM",
            Cell::Gru { .. } => "GRU",
            Cell::Rnn => "RNN",
        }
    }

    fn input_count(&self) -> usize {
        self.slots.count
    }

    fn output_count(&self) -> usize {
        if self.is_lstm() { 3 } else { 2 }
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let (dt, shape) = &inputs[0];
        ensure!(dt.is_float(), "an input of {dt:?}, floats are needed");
        ensure!(shape.len() == 3, "an input of {} axes, three are needed", shape.len());
        for (name, slot, rank) in [
            ("W", Some(1), 3),
            ("R", Some(2), 3),
            ("B", self.slots.bias, 2),
            ("initial_h", self.slots.initial_hidden, 3),
            ("initial_c", self.slots.initial_memory, 3),
            ("P", self.slots.peepholes, 2),
        ] {
            let Some((dt, shape)) = slot.map(|slot| &inputs[slot]) else { continue };
            ensure!(dt.is_float(), "{name} is of {dt:?}, floats are needed");
            ensure!(shape.len() == rank, "{name} has {} axes, {rank} are needed", shape.len());
        }
        let hidden = inputs[2].1[2].clone();
        if let (Some(said), Ok(found)) = (self.hidden, hidden.to_i64()) {
            ensure!(said == found, "hidden_size is {said}, but R is made for {found}");
        }
        let (steps, batch) = self.steps_and_batch(shape);
        let directions = self.directions.len().to_dim();
        let state = self.state_shape(directions.clone(), batch.clone(), hidden.clone());
        let all = self.sequence_shape(steps, directions, batch, hidden);
        let mut facts = vec![(*dt, all), (*dt, state.clone())];
        if self.is_lstm() {
            facts.push((*dt, state));
        }
        Ok(facts)
    }

    fn prepared(&self, constants: &[Option<Arc<Tensor>>]) -> TractResult<Option<Box<dyn Kernel>>> {
        let needed = [Some(1), Some(2), self.slots.bias, self.slots.peepholes];
        if self.weights.is_some()
            || needed.into_iter().flatten().any(|slot| constants[slot].is_none())
        {
            return Ok(None);
        }
        let given = self.given(constants, |constant| {
            let constant = constant.as_ref().context("a constant")?;
            match constant.datum_type() {
                DatumType::F32 => Ok(constant.clone()),
                _ => Ok(constant.cast_to::<f32>()?.into_owned().into_arc_tensor()),
            }
        })?;
        let weights = Some(Arc::new(self.weights(&given)?));
        Ok(Some(Box::new(Self { weights, ..self.clone() })))
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let made;
        let weights = match &self.weights {
            Some(weights) => &**weights,
            None => {
                let cast = |t: &&Tensor| Ok(t.cast_to::<f32>()?.into_owned().into_arc_tensor());
                made = self.weights(&self.given(inputs, cast)?)?;
                &made
            }
        };
        let input = inputs[0];
        ensure!(input.rank() == 3, "an input of {} axes, three are needed", input.rank());
        let (steps, batch) = self.steps_and_batch(input.shape());
        let (count, hidden) = (self.directions.len(), weights[0].hidden);
        ensure!(
            input.shape()[2] == weights[0].features(),
            "the input has {} features, W is made for {}",
            input.shape()[2],
            weights[0].features()
        );
        let dt = input.datum_type();
        let input = input.cast_to::<f32>()?;
        let lengths = self.lengths(inputs, steps, batch)?;
        let all_shape = self.sequence_shape(steps, count, batch, hidden);
        let state_shape = self.state_shape(count, batch, hidden);
        let mut all = vec![0.0; all_shape.iter().product()];
        let mut last = vec![0.0; count * batch * hidden];
        let mut memory = vec![0.0; if self.is_lstm() { last.len() } else { 0 }];
        for (direction, (backward, step)) in self.directions.iter().enumerate() {
            let at = |slot: Option<usize>| slot.map(|slot| inputs[slot]);
            let begin = |slot, name| self.initial(at(slot), name, direction, batch, hidden);
            let first = begin(self.slots.initial_hidden, "initial_h")?;
            let remembered = match self.is_lstm() {
                true => begin(self.slots.initial_memory, "initial_c")?,
                false => vec![],
            };
            let run = Run {
                layer: self,
                direction,
                backward: *backward,
                step,
                weights: &weights[direction],
                steps,
                batch,
                lengths: &lengths,
            };
            let state = State::new(self.cell, first, remembered);
            let state = run.all_steps(values::<f32>(&input)?, state, &mut all)?;
            for row in 0..batch {
                let (from, to) = (row * hidden, self.state_row(row, direction, batch) * hidden);
                last[to..to + hidden].copy_from_slice(&state.hidden[from..from + hidden]);
                if self.is_lstm() {
                    memory[to..to + hidden].copy_from_slice(&state.memory[from..from + hidden]);
                }
            }
        }
        let tensor = |shape: &[usize], values: Vec<f32>| -> TractResult<Tensor> {
            let tensor = tract_ndarray::ArrayD::from_shape_vec(shape, values)?.into_tensor();
            if dt == DatumType::F32 { Ok(tensor) } else { Ok(tensor.cast_to_dt(dt)?.into_owned()) }
        };
        let mut outputs = vec![tensor(&all_shape, all)?, tensor(&state_shape, last)?];
        if self.is_lstm() {
            outputs.push(tensor(&state_shape, memory)?);
        }
        Ok(outputs)
    }
}
