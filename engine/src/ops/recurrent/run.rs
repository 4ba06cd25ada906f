//! The steps of one direction, one after the other, over rows of different lengths.

use tract_onnx::tract_hir::internal::*;

use super::Recurrent;
use super::cell::{State, Step};
use super::weights::Weights;

/// One direction over one input.
pub(super) struct Run<'a> {
    pub layer: &'a Recurrent,
    pub direction: usize,
    pub backward: bool,
    pub step: &'a Step,
    pub weights: &'a Weights,
    pub steps: usize,
    pub batch: usize,
    pub lengths: &'a [usize],
}

impl Run<'_> {
    /// Writes the outputs of all steps into `all`; returns the state after each row's last step.
    pub(super) fn all_steps(
        &self,
        input: &[f32],
        mut state: State,
        all: &mut [f32],
    ) -> TractResult<State> {
        let hidden = self.weights.hidden;
        let gates = self.layer.cell.gates();
        let of_input = self.weights.of_input(input, self.steps * self.batch)?;
        let longest = self.lengths.iter().copied().max().unwrap_or(0);
        let size = self.batch * hidden;
        for step in 0..longest {
            for (row, length) in self.lengths.iter().enumerate().filter(|(_, n)| step < **n) {
                let from = &of_input[self.input_row(step, row, *length) * gates * hidden..];
                for gate in 0..gates {
                    state.gates[gate * size + row * hidden..][..hidden]
                        .copy_from_slice(&from[gate * hidden..][..hidden]);
                }
            }
            let ended = self.lengths.iter().any(|length| step >= *length);
            let before = ended.then(|| (state.hidden.clone(), state.memory.clone()));
            self.step.advance(self.weights, &mut state)?;
            for (row, length) in self.lengths.iter().enumerate() {
                let span = row * hidden..(row + 1) * hidden;
                if step < *length {
                    let place = self.output_row(step, row, *length) * hidden;
                    all[place..place + hidden].copy_from_slice(&state.hidden[span]);
                } else if let Some((kept, remembered)) = &before {
                    state.hidden[span.clone()].copy_from_slice(&kept[span.clone()]);
                    if !remembered.is_empty() {
                        state.memory[span.clone()].copy_from_slice(&remembered[span]);
                    }
                }
            }
        }
        for (row, _) in self.lengths.iter().enumerate().filter(|(_, length)| **length == 0) {
            // ONNX Runtime answers zeros for a row without steps, not the initial state.
            let span = row * hidden..(row + 1) * hidden;
            state.hidden[span.clone()].fill(0.0);
            if let Some(memory) = state.memory.get_mut(span) {
                memory.fill(0.0);
            }
        }
        Ok(state)
    }

    /// The time of a row's `step`: a backward run begins at the row's own end.
    fn time(&self, step: usize, length: usize) -> usize {
        if self.backward { length - 1 - step } else { step }
    }

    fn input_row(&self, step: usize, row: usize, length: usize) -> usize {
        let time = self.time(step, length);
        if self.layer.batch_first { row * self.steps + time } else { time * self.batch + row }
    }

    fn output_row(&self, step: usize, row: usize, length: usize) -> usize {
        let count = self.layer.directions.len();
        if self.layer.batch_first {
            self.input_row(step, row, length) * count + self.direction
        } else {
            (self.time(step, length) * count + self.direction) * self.batch + row
        }
    }
}
