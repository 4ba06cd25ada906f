//! The weights of one direction, ready for the products.

use std::ops::Range;
use std::sync::Arc;

use tract_onnx::tract_hir::internal::*;

use super::super::kernel::values;
use super::cell::Cell;
use super::product::{self, Panels};

/// The tensors W, R, B and P of the node, all in f32.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub input: Arc<Tensor>,
    pub recurrent: Arc<Tensor>,
    pub bias: Option<Arc<Tensor>>,
    pub peepholes: Option<Arc<Tensor>>,
}

/// One direction's part of them.
#[derive(Debug)]
pub(super) struct Weights {
    pub hidden: usize,
    features: usize,
    gates: usize,
    given: Given,
    direction: usize,
    /// Of the gates that one product yields: all, or for a GRU whose reset gate comes before the
    /// product the first two and the last one.
    panels: Vec<(Range<usize>, Panels)>,
    /// `[gates * hidden]`: both biases, but for what `candidate_bias` holds.
    bias: Vec<f32>,
    /// The recurrent bias of a GRU's candidate where the reset gate is applied to it: `[hidden]`.
    pub candidate_bias: Vec<f32>,
    /// Of the gates input, output and forget, `[hidden]` each.
    pub peepholes: Option<[Vec<f32>; 3]>,
}

impl Weights {
    /// Those of `direction`, of `directions`.
    pub(super) fn new(
        given: &Given,
        cell: Cell,
        direction: usize,
        directions: usize,
    ) -> TractResult<Self> {
        let gates = cell.gates();
        let &[_, _, hidden] = given.recurrent.shape() else {
            bail!("R has {} axes, three are needed", given.recurrent.rank());
        };
        let &[_, _, features] = given.input.shape() else {
            bail!("W has {} axes, three are needed", given.input.rank());
        };
        let rows = gates * hidden;
        expect(&given.input, "W", &[directions, rows, features])?;
        expect(&given.recurrent, "R", &[directions, rows, hidden])?;
        let recurrent = part(&given.recurrent, direction, directions)?;
        let ranges = match cell {
            Cell::Gru { linear_before_reset: false } => vec![0..2, 2..3],
            _ => std::iter::once(0..gates).collect(),
        };
        let panels = |range: Range<usize>| {
            let weights = &recurrent[range.start * hidden * hidden..range.end * hidden * hidden];
            let panels = Panels::of(weights, hidden, range.len() * hidden);
            (range, panels)
        };
        let panels = ranges.into_iter().map(panels).collect();
        let (mut bias, mut candidate_bias) = (vec![0.0; rows], vec![0.0; hidden]);
        if let Some(given) = &given.bias {
            expect(given, "B", &[directions, 2 * rows])?;
            let (input, recurrent) = part(given, direction, directions)?.split_at(rows);
            bias.copy_from_slice(input);
            let is_linear = cell == (Cell::Gru { linear_before_reset: true });
            let joined = if is_linear { 2 * hidden } else { rows };
            bias.iter_mut().zip(&recurrent[..joined]).for_each(|(b, r)| *b += r);
            if is_linear {
                candidate_bias.copy_from_slice(&recurrent[joined..]);
            }
        }
        let peepholes = match &given.peepholes {
            None => None,
            Some(given) => {
                expect(given, "P", &[directions, 3 * hidden])?;
                let all = part(given, direction, directions)?;
                Some([0, 1, 2].map(|gate| all[gate * hidden..][..hidden].to_vec()))
            }
        };
        let given = given.clone();
        Ok(Self {
            hidden,
            features,
            gates,
            given,
            direction,
            panels,
            bias,
            candidate_bias,
            peepholes,
        })
    }

    /// The part of the input in all gates of all steps: `[rows, gates * hidden]` for `rows` of
    /// features.
    pub(super) fn of_input(&self, rows: &[f32], count: usize) -> TractResult<Vec<f32>> {
        let columns = self.gates * self.hidden;
        let mut out = Vec::with_capacity(count * columns);
        (0..count).for_each(|_| out.extend_from_slice(&self.bias));
        if columns > 0 {
            let weights =
                &values::<f32>(&self.given.input)?[self.direction * columns * self.features..];
            let weights = &weights[..columns * self.features];
            product::add(rows, weights, self.features, columns, &mut out)?;
        }
        Ok(out)
    }

    /// The part of the state in `gates`: `[rows, gates * hidden]`. `gates` must be one of the
    /// ranges that the cell's equations multiply at once.
    pub(super) fn recurrent(
        &self,
        gates: Range<usize>,
        state: &[f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        let (_, panels) = self.panels.iter().find(|(range, _)| *range == gates).context("gates")?;
        let size = self.hidden * self.hidden;
        let first = (self.direction * self.gates + gates.start) * size;
        let weights = &values::<f32>(&self.given.recurrent)?[first..first + gates.len() * size];
        panels.set(state, weights, out)
    }

    pub(super) fn features(&self) -> usize {
        self.features
    }
}

/// The `direction`-th of `directions` equal parts.
fn part(tensor: &Tensor, direction: usize, directions: usize) -> TractResult<&[f32]> {
    let all = values::<f32>(tensor)?;
    let length = all.len() / directions;
    Ok(&all[direction * length..][..length])
}

pub(super) fn expect(tensor: &Tensor, name: &str, shape: &[usize]) -> TractResult<()> {
    ensure!(
        tensor.shape() == shape,
        "{name} has the shape {:?}, {shape:?} is needed",
        tensor.shape()
    );
    Ok(())
}
