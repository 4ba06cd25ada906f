//! One step of a layer in one direction, for all rows of the batch together.
//!
//! Gates lie gate by gate, `[gates, batch, hidden]`, so that an activation is one call over all
//! rows. The equations and the order of gates are those of the operators LSTM, GRU and RNN of the
//! ONNX standard; what clipping applies to is as in ONNX Runtime.

use tract_onnx::tract_hir::internal::*;

use super::activation::Activation;
use super::weights::Weights;

/// Which operator, with what only this operator has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    Lstm { input_forget: bool },
    Gru { linear_before_reset: bool },
    Rnn,
}

impl Cell {
    pub(super) fn gates(self) -> usize {
        match self {
            Self::Lstm { .. } => 4,
            Self::Gru { .. } => 3,
            Self::Rnn => 1,
        }
    }

    /// The functions of one direction when the node names none.
    pub(super) fn default_activations(self) -> &'static [&'static str] {
        match self {
            Self::Lstm { .. } => &["Sigmoid", "Tanh", "Tanh"],
            Self::Gru { .. } => &["Sigmoid", "Tanh"],
            Self::Rnn => &["Tanh"],
        }
    }
}

/// What a step reads and writes, apart from the weights: `[batch, hidden]` each, but for `gates`
/// and `product`, which are `[gates, batch, hidden]` and `[batch, gates * hidden]`.
#[derive(Debug)]
pub(super) struct State {
    pub hidden: Vec<f32>,
    pub memory: Vec<f32>,
    pub gates: Vec<f32>,
    product: Vec<f32>,
    spare: Vec<f32>,
}

impl State {
    pub(super) fn new(cell: Cell, hidden: Vec<f32>, memory: Vec<f32>) -> Self {
        let size = hidden.len();
        let gates = vec![0.0; cell.gates() * size];
        Self { product: gates.clone(), gates, spare: vec![0.0; size], hidden, memory }
    }
}

/// The functions of one direction and what they are applied to.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub cell: Cell,
    pub activations: Vec<Activation>,
    pub clip: Option<f32>,
}

impl Step {
    /// Takes `state.gates`, which hold the part of the input and the bias, to the next `hidden`
    /// and `memory`.
    pub(super) fn advance(&self, weights: &Weights, state: &mut State) -> TractResult<()> {
        if state.hidden.is_empty() {
            return Ok(());
        }
        match self.cell {
            Cell::Lstm { input_forget } => self.lstm(weights, state, input_forget),
            Cell::Gru { linear_before_reset: false } => self.gru(weights, state),
            Cell::Gru { linear_before_reset: true } => self.gru_linear(weights, state),
            Cell::Rnn => {
                weights.recurrent(0..1, &state.hidden, &mut state.product)?;
                add(&mut state.gates, &state.product);
                self.activate(0, &mut state.gates)?;
                state.hidden.copy_from_slice(&state.gates);
                Ok(())
            }
        }
    }

    fn lstm(&self, weights: &Weights, state: &mut State, input_forget: bool) -> TractResult<()> {
        let State { hidden, memory, gates, product, spare } = state;
        weights.recurrent(0..4, hidden, product)?;
        add_by_gate(gates, product, weights.hidden, 4);
        let (input_output, forget_cell) = gates.split_at_mut(2 * hidden.len());
        let (input, output) = input_output.split_at_mut(hidden.len());
        let (forget, cell) = forget_cell.split_at_mut(hidden.len());
        if let Some(peepholes) = &weights.peepholes {
            add_scaled(input, memory, &peepholes[0]);
            add_scaled(forget, memory, &peepholes[2]);
        }
        self.activate(0, input)?;
        if input_forget {
            forget.iter_mut().zip(&*input).for_each(|(f, i)| *f = 1.0 - i);
        } else {
            self.activate(0, forget)?;
        }
        self.activate(1, cell)?;
        for (((memory, forget), input), cell) in
            memory.iter_mut().zip(&*forget).zip(&*input).zip(&*cell)
        {
            *memory = forget * *memory + input * cell;
        }
        if let Some(peepholes) = &weights.peepholes {
            add_scaled(output, memory, &peepholes[1]);
        }
        self.activate(0, output)?;
        spare.copy_from_slice(memory);
        // The memory is not clipped here, though it is the input of an activation.
        self.activations[2].apply(spare)?;
        for ((hidden, output), memory) in hidden.iter_mut().zip(&*output).zip(&*spare) {
            *hidden = output * memory;
        }
        Ok(())
    }

    fn gru(&self, weights: &Weights, state: &mut State) -> TractResult<()> {
        let State { hidden, gates, product, spare, .. } = state;
        let size = hidden.len();
        let (first_two, candidate) = gates.split_at_mut(2 * size);
        weights.recurrent(0..2, hidden, &mut product[..2 * size])?;
        add_by_gate(first_two, &product[..2 * size], weights.hidden, 2);
        self.activate(0, first_two)?;
        let (update, reset) = first_two.split_at(size);
        for ((spare, reset), hidden) in spare.iter_mut().zip(reset).zip(&*hidden) {
            *spare = reset * hidden;
        }
        weights.recurrent(2..3, spare, &mut product[..size])?;
        add(candidate, &product[..size]);
        self.activate(1, candidate)?;
        mix(hidden, update, candidate);
        Ok(())
    }

    /// The reset gate on the product instead of on the state it is made from.
    fn gru_linear(&self, weights: &Weights, state: &mut State) -> TractResult<()> {
        let State { hidden, gates, product, .. } = state;
        let size = hidden.len();
        let (first_two, candidate) = gates.split_at_mut(2 * size);
        weights.recurrent(0..3, hidden, product)?;
        let width = weights.hidden;
        for (row, product) in product.chunks_exact(3 * width).enumerate() {
            for (gate, product) in product.chunks_exact(width).take(2).enumerate() {
                add(&mut first_two[gate * size + row * width..][..width], product);
            }
        }
        self.activate(0, first_two)?;
        let (update, reset) = first_two.split_at(size);
        for ((candidate, reset), product) in candidate
            .chunks_exact_mut(width)
            .zip(reset.chunks_exact(width))
            .zip(product.chunks_exact(3 * width))
        {
            let linear = product[2 * width..].iter().zip(&weights.candidate_bias);
            for ((candidate, reset), (product, bias)) in candidate.iter_mut().zip(reset).zip(linear)
            {
                *candidate += reset * (product + bias);
            }
        }
        self.activate(1, candidate)?;
        mix(hidden, update, candidate);
        Ok(())
    }

    /// Clips, then applies the function at `place` in the order of the node's list.
    fn activate(&self, place: usize, values: &mut [f32]) -> TractResult<()> {
        if let Some(clip) = self.clip {
            values.iter_mut().for_each(|x| *x = x.clamp(-clip, clip));
        }
        self.activations[place].apply(values)
    }
}

/// The next state of a GRU: `(1 - update) * candidate + update * hidden`.
fn mix(hidden: &mut [f32], update: &[f32], candidate: &[f32]) {
    for ((hidden, update), candidate) in hidden.iter_mut().zip(update).zip(candidate) {
        *hidden = (1.0 - update) * candidate + update * *hidden;
    }
}

fn add(values: &mut [f32], more: &[f32]) {
    values.iter_mut().zip(more).for_each(|(x, y)| *x += y);
}

/// `gates` is [gates, batch, width], `product` [batch, gates * width].
fn add_by_gate(gates: &mut [f32], product: &[f32], width: usize, count: usize) {
    if gates.len() == count * width {
        return add(gates, product);
    }
    let size = gates.len() / count;
    for (row, product) in product.chunks_exact(count * width).enumerate() {
        for (gate, product) in product.chunks_exact(width).enumerate() {
            add(&mut gates[gate * size + row * width..][..width], product);
        }
    }
}

/// `values += state * scale`, the scale being one row for all rows.
fn add_scaled(values: &mut [f32], state: &[f32], scale: &[f32]) {
    let rows = values.chunks_exact_mut(scale.len()).zip(state.chunks_exact(scale.len()));
    for (values, state) in rows {
        for ((value, state), scale) in values.iter_mut().zip(state).zip(scale) {
            *value += state * scale;
        }
    }
}
