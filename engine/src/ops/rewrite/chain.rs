//! A product with a constant matrix and what follows it column by column.

use std::collections::HashSet;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::einsum::EinSum;

use super::super::dense::{Dense, IntegerDense};
use super::super::kernel::{Own, values};
use super::super::quantised::Steps;
use super::super::row_wise::{Column, Combine, Next, RowWise, Start};
use super::{columns_of, shunt};

/// Larger matrices are the runtime's: its kernels use wider vectors and blocks for the caches.
const MOST_WEIGHTS: usize = 1 << 14;

/// The chains of `model`, in which no node is in two.
pub(super) fn rewrite(model: &mut TypedModel) -> TractResult<()> {
    let mut done = HashSet::new();
    for id in model.eval_order()? {
        if done.contains(&id) {
            continue;
        }
        let Some(chain) = Chain::starting_at(model, id)? else { continue };
        done.extend(chain.nodes.iter().copied());
        chain.replace(model)?;
    }
    Ok(())
}

/// Nodes of which each is the only reader of the one before.
struct Chain {
    input: OutletId,
    start: Start,
    steps: Vec<Next>,
    width: usize,
    nodes: Vec<usize>,
}

impl Chain {
    fn starting_at(model: &TypedModel, id: usize) -> TractResult<Option<Self>> {
        let node = model.node(id);
        let mut chain = if let Some((input, start)) = product(model, node)? {
            let width = match &start {
                Start::Dense(dense) => dense.width(),
                Start::Integer(dense) => dense.width(),
                Start::Rows => return Ok(None),
            };
            Self { input, start, steps: vec![], width, nodes: vec![id] }
        } else if let Some((input, column, width)) = column(model, node)? {
            let steps = vec![Next::Column(column)];
            Self { input, start: Start::Rows, steps, width, nodes: vec![id] }
        } else {
            return Ok(None);
        };
        while let Some(next) = chain.only_reader(model) {
            let next_node = model.node(next);
            let step = match column(model, next_node)? {
                Some((_, column, _)) => Next::Column(column),
                None => match rounding(model, next_node)? {
                    Some((_, steps)) if !feeds_product(model, next_node) => Next::Round(steps),
                    _ => break,
                },
            };
            chain.steps.push(step);
            chain.nodes.push(next);
        }
        Ok(Some(chain))
    }

    fn last(&self) -> OutletId {
        self.nodes.last().copied().map_or(self.input, |id| id.into())
    }

    fn only_reader(&self, model: &TypedModel) -> Option<usize> {
        let last = self.last();
        match &*model.node(last.node).outputs[0].successors {
            [reader] if !model.outputs.contains(&last) => Some(reader.node),
            _ => None,
        }
    }

    fn replace(self, model: &mut TypedModel) -> TractResult<()> {
        let (input, last) = (self.input, self.last());
        let kernel = RowWise { start: self.start, steps: self.steps, width: self.width };
        shunt(model, input, last, kernel)
    }
}

/// The only input of `node` that is not a constant, its place, and the constant.
fn input_and_constant(
    model: &TypedModel,
    node: &TypedNode,
) -> TractResult<Option<(usize, Arc<Tensor>)>> {
    let [first, second] = &*node.inputs else { return Ok(None) };
    let (first, second) = (model.outlet_fact(*first)?, model.outlet_fact(*second)?);
    Ok(match (&first.konst, &second.konst) {
        (None, Some(constant)) => Some((0, constant.clone())),
        (Some(constant), None) => Some((1, constant.clone())),
        _ => None,
    })
}

/// A product of rows with a constant matrix: a small one, or one of 8 bits with rows of 8 bits,
/// whose rounding then belongs to the product.
fn product(model: &TypedModel, node: &TypedNode) -> TractResult<Option<(OutletId, Start)>> {
    let Some(op) = node.op_as::<EinSum>() else { return Ok(None) };
    let Some((place, constant)) = input_and_constant(model, node)? else { return Ok(None) };
    let of_f32 = op.operating_dt == f32::datum_type() && op.q_params.is_none();
    let input = node.inputs[place];
    let (Some(depth), Some(width)) =
        (columns_of(model.outlet_fact(input)?), columns_of(&node.outputs[0].fact))
    else {
        return Ok(None);
    };
    if !of_f32 || constant.datum_type() != f32::datum_type() || constant.rank() != 2 {
        return Ok(None);
    }
    let Some(summed_first) = matrix_axes(op, place) else { return Ok(None) };
    let weights = values::<f32>(&constant)?;
    let weight = |i: usize, j: usize| {
        if summed_first { weights[i * width + j] } else { weights[j * depth + i] }
    };
    if let Some((rows, steps)) = rounding(model, model.node(input.node))?
        && let Some(dense) = IntegerDense::new(steps, depth, width, weight)
    {
        return Ok(Some((rows, Start::Integer(dense))));
    }
    let is_small = depth * width <= MOST_WEIGHTS;
    Ok(is_small.then(|| (input, Start::Dense(Dense::new(depth, width, weight)))))
}

/// Whether a product takes the rows of `node`, which then wants to round them itself.
fn feeds_product(model: &TypedModel, node: &TypedNode) -> bool {
    node.outputs[0].successors.iter().any(|reader| model.node(reader.node).op_is::<EinSum>())
}

/// Rounding of rows to steps that are the same for all of them: its input and the steps.
fn rounding(model: &TypedModel, node: &TypedNode) -> TractResult<Option<(OutletId, Steps)>> {
    let Some(own) = node.op_as::<Own>() else { return Ok(None) };
    let facts = model.node_input_facts(node.id)?;
    let constants: Vec<_> = facts.iter().map(|fact| fact.konst.clone()).collect();
    let Some(steps) = own.kernel.rounds_to(&constants)? else { return Ok(None) };
    let has_rows = columns_of(facts[0]).is_some();
    Ok(match steps[..] {
        [steps] if has_rows => Some((node.inputs[0], steps)),
        _ => None,
    })
}

/// Whether the matrix lies as `[features, columns]` (true) or `[columns, features]`; `None` when
/// the axes are not those of a product of rows with a matrix.
fn matrix_axes(op: &EinSum, rows: usize) -> Option<bool> {
    let mut summed_first = None;
    let mut axes = 0;
    for axis in op.axes.iter_all_axes() {
        axes += 1;
        match (&*axis.inputs[rows], &*axis.inputs[1 - rows], &*axis.outputs[0]) {
            ([0], [], [0]) => {}
            ([1], [place], []) => summed_first = Some(*place == 0),
            ([], [_], [1]) => {}
            _ => return None,
        }
    }
    summed_first.filter(|_| axes == 3)
}

/// An operation of rows with a constant per column: its input, itself and the columns.
fn column(model: &TypedModel, node: &TypedNode) -> TractResult<Option<(OutletId, Column, usize)>> {
    let Some(op) = node.op_as::<TypedBinOp>() else { return Ok(None) };
    let Some((place, constant)) = input_and_constant(model, node)? else { return Ok(None) };
    let input = node.inputs[place];
    let (Some(width), Some(out)) =
        (columns_of(model.outlet_fact(input)?), columns_of(&node.outputs[0].fact))
    else {
        return Ok(None);
    };
    let fits = constant.datum_type() == f32::datum_type()
        && (constant.len() == 1 || constant.shape() == [1, width]);
    if width != out || !fits {
        return Ok(None);
    }
    let combine = match (op.0.name(), place) {
        ("Add", _) => Combine::Add,
        ("Mul", _) => Combine::Mul,
        ("Sub", 0) => Combine::Sub,
        ("Sub", _) => Combine::SubFrom,
        ("Div", 0) => Combine::Div,
        ("Div", _) => Combine::DivInto,
        ("Max", _) => Combine::Max,
        ("Min", _) => Combine::Min,
        _ => return Ok(None),
    };
    let constants = values::<f32>(&constant)?.to_vec();
    Ok(Some((input, Column { combine, constants }, width)))
}
