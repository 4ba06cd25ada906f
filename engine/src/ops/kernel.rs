//! What an operator of ours has to say, and the adapter that makes the runtime accept it.
//!
//! A kernel states the types and shapes of its outputs, given those of its inputs, and computes
//! them. The runtime's three views of an operator (inference, typed, evaluation) are written
//! here once.

mod lengths;

use std::borrow::Cow;
use std::sync::Arc;

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::rules::{InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::*;

pub(super) use lengths::Lengths;

use super::quantised::Steps;
use super::registers::clear_upper_halves;
use crate::support;

/// Element type and shape; dimensions may be symbols.
pub(super) type Fact = (DatumType, TVec<TDim>);

/// An operator as a function of its inputs.
pub(super) trait Kernel: std::fmt::Debug + Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// Inputs that the node has; one that the file leaves out by an empty name is not counted.
    fn input_count(&self) -> usize {
        1
    }

    fn output_count(&self) -> usize {
        1
    }

    /// True for an operator whose only output is its only input: nothing is computed or copied.
    fn forwards_input(&self) -> bool {
        false
    }

    /// True when a size of an output depends on the values of the inputs; `facts` then gives a
    /// symbol that no other node has.
    fn makes_sizes(&self) -> bool {
        false
    }

    /// The outputs' types and shapes. Refuses inputs that [`Kernel::eval`] cannot take.
    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>>;

    /// Inputs whose values the shapes of the outputs depend on, such as sizes and axes.
    fn shaping_inputs(&self) -> &[usize] {
        &[]
    }

    /// The lengths of output axes that only a run shows.
    fn lengths(&self) -> Option<&Lengths> {
        None
    }

    /// Like [`Kernel::facts`], with the values of those [`Kernel::shaping_inputs`] that are
    /// constants; `values` has the length of `inputs`. The number of axes of an output must not
    /// depend on values.
    fn facts_of_values(
        &self,
        inputs: &[Fact],
        _values: &[Option<Cow<'_, Tensor>>],
    ) -> TractResult<Vec<Fact>> {
        self.facts(inputs)
    }

    /// All outputs. The inputs have the types and ranks that `facts` has let pass.
    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>>;

    /// What an operator that only rounds its first input in f32 rounds it to: for all of it, or
    /// per place of an axis. `None` for all others. `constants` as for [`Kernel::prepared`].
    fn rounds_to(&self, _constants: &[Option<Arc<Tensor>>]) -> TractResult<Option<Vec<Steps>>> {
        Ok(None)
    }

    /// The same operator with the work on its constant inputs done in advance, for speed; `None`
    /// when there is nothing to gain. Inputs that vary from run to run are `None`.
    /// A prepared operator answers `None`.
    fn prepared(&self, _constants: &[Option<Arc<Tensor>>]) -> TractResult<Option<Box<dyn Kernel>>> {
        Ok(None)
    }
}

/// Wraps `kernel` for the node that it was read from, which must be of `domain`.
pub(super) fn operator(
    domain: &str,
    node: &NodeProto,
    kernel: Box<dyn Kernel>,
) -> TractResult<Box<dyn InferenceOp>> {
    let of = support::domain(&node.domain);
    ensure!(of == domain, "{} of the domain \"{of}\"", node.op_type);
    // Outputs without a name are not asked for, and the runtime does not count them.
    let wanted = (0..kernel.output_count())
        .filter(|i| node.output.get(*i).is_some_and(|name| !name.is_empty()))
        .collect();
    Ok(expand(Own { kernel: kernel.into(), wanted }))
}

/// Adds `kernel`, of one output, to a typed graph.
pub(super) fn wire(
    kernel: Box<dyn Kernel>,
    name: &str,
    model: &mut TypedModel,
    inputs: &[OutletId],
) -> TractResult<TVec<OutletId>> {
    model.wire_node(name, Own { kernel: kernel.into(), wanted: tvec!(0) }, inputs)
}

#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) kernel: Arc<dyn Kernel>,
    /// The outputs that the graph names.
    pub(super) wanted: TVec<usize>,
}

/// Kernels hold floats, which have no full equality: the same kernel is the same object.
impl PartialEq for Own {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kernel, &other.kernel) && self.wanted == other.wanted
    }
}

impl Eq for Own {}

impl Own {
    fn facts(&self, inputs: &[Fact], values: &[Option<Cow<'_, Tensor>>]) -> TractResult<Vec<Fact>> {
        // int64 may arrive as the runtime's symbolic integers; kernels see int64.
        let plain = |(dt, shape): &Fact| match dt {
            DatumType::TDim => (DatumType::I64, shape.clone()),
            dt => (dt.unquantized(), shape.clone()),
        };
        let inputs: Vec<Fact> = inputs.iter().map(plain).collect();
        let facts =
            self.kernel.facts_of_values(&inputs, values).with_context(|| self.kernel.name())?;
        Ok(self.wanted.iter().map(|i| facts[*i].clone()).collect())
    }

    /// Types, numbers of axes and the lengths that do not wait for a run.
    fn conclude(
        &self,
        solver: &mut Solver<'_>,
        facts: Vec<Fact>,
        outputs: &[TensorProxy],
    ) -> InferenceResult {
        for ((dt, shape), output) in facts.into_iter().zip(outputs) {
            solver.equals(&output.datum_type, dt)?;
            solver.equals(&output.rank, shape.len() as i64)?;
            for (axis, length) in shape.into_iter().enumerate() {
                if self.kernel.lengths().is_none_or(|l| !l.are_in(&length)) {
                    solver.equals(&output.shape[axis], length)?;
                }
            }
        }
        Ok(())
    }

    /// Waits for the types and shapes of all `inputs`, of which `known` are known, then concludes.
    fn conclude_when_known<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
        known: Vec<Fact>,
    ) -> InferenceResult {
        if let Some(next) = inputs.get(known.len()) {
            return solver.given_2(&next.datum_type, &next.shape, move |solver, dt, shape| {
                let known = known.iter().cloned().chain([(dt, shape)]).collect();
                self.conclude_when_known(solver, inputs, outputs, known)
            });
        }
        self.conclude(solver, self.facts(&known, &vec![None; inputs.len()])?, outputs)?;
        if self.kernel.shaping_inputs().is_empty() {
            return Ok(());
        }
        self.conclude_when_constant(solver, inputs, outputs, known, Vec::new())
    }

    /// Waits for the values of the shaping inputs, which may never come, then concludes.
    fn conclude_when_constant<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
        known: Vec<Fact>,
        values: Vec<Arc<Tensor>>,
    ) -> InferenceResult {
        let shaping = self.kernel.shaping_inputs();
        if let Some(next) = shaping.get(values.len()) {
            return solver.given(&inputs[*next].value, move |solver, value| {
                let values = values.iter().cloned().chain([value]).collect();
                self.conclude_when_constant(solver, inputs, outputs, known.clone(), values)
            });
        }
        let mut by_input = vec![None; inputs.len()];
        for (slot, value) in shaping.iter().zip(&values) {
            by_input[*slot] = plain(value, None);
        }
        self.conclude(solver, self.facts(&known, &by_input)?, outputs)
    }
}

/// A tensor as kernels see it: the runtime's symbolic integers become int64. `None` when one of
/// them depends on a symbol without a value.
fn plain<'t>(tensor: &'t Tensor, symbols: Option<&SymbolValues>) -> Option<Cow<'t, Tensor>> {
    if tensor.datum_type() != DatumType::TDim {
        return Some(Cow::Borrowed(tensor));
    }
    let sizes = values::<TDim>(tensor).ok()?.iter().map(|size| match symbols {
        Some(symbols) => size.eval(symbols).to_i64().ok(),
        None => size.to_i64().ok(),
    });
    let sizes = sizes.collect::<Option<Vec<i64>>>()?;
    let array = tract_ndarray::ArrayD::from_shape_vec(tensor.shape(), sizes).ok()?;
    Some(Cow::Owned(array.into_tensor()))
}

impl Expansion for Own {
    fn name(&self) -> StaticName {
        self.kernel.name().into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.wanted.len())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, self.kernel.input_count())?;
        check_output_arity(outputs, self.wanted.len())?;
        self.conclude_when_known(solver, inputs, outputs, Vec::new())
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        if self.kernel.forwards_input() {
            return Ok(inputs.into());
        }
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl Op for Own {
    fn mints_runtime_symbols(&self) -> bool {
        self.kernel.makes_sizes()
    }

    fn name(&self) -> StaticName {
        self.kernel.name().into()
    }

    op_as_typed_op!();
}

impl EvalOp for Own {
    fn eval_out_of_plan(&self, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        if inputs.iter().any(|input| plain(input, None).is_none()) {
            return Ok(None);
        }
        self.eval(&EvalContext::out_of_plan(), inputs).map(Some)
    }

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let inputs = inputs
            .iter()
            .map(|input| plain(input, Some(context.symbols)).context("a size without a value"))
            .collect::<TractResult<TVec<_>>>()?;
        let inputs: TVec<&Tensor> = inputs.iter().map(|input| input.as_ref()).collect();
        clear_upper_halves();
        let outputs = self.kernel.eval(&inputs)?;
        let wanted = outputs.into_iter().enumerate().filter(|(i, _)| self.wanted.contains(i));
        Ok(wanted.map(|(_, tensor)| tensor.into_tvalue()).collect())
    }
}

impl TypedOp for Own {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let known: Vec<Fact> =
            inputs.iter().map(|f| (f.datum_type, f.shape.iter().cloned().collect())).collect();
        let mut values = vec![None; inputs.len()];
        for slot in self.kernel.shaping_inputs() {
            values[*slot] = inputs[*slot].konst.as_ref().and_then(|value| plain(value, None));
        }
        let facts = self.facts(&known, &values)?;
        Ok(facts.into_iter().map(|(dt, shape)| dt.fact(&*shape)).collect())
    }

    fn codegen(
        &self,
        model: &TypedModel,
        node: &TypedNode,
    ) -> TractResult<Option<TypedModelPatch>> {
        let constants = model.node_input_facts(node.id)?.iter().map(|f| f.konst.clone()).collect();
        let constants: Vec<Option<Arc<Tensor>>> = constants;
        let Some(kernel) = self.kernel.prepared(&constants)? else { return Ok(None) };
        let own = Own { kernel: kernel.into(), wanted: self.wanted.clone() };
        TypedModelPatch::replace_single_op(model, node, &node.inputs, own).map(Some)
    }

    as_op!();
}

/// The elements of a tensor whose type is known.
pub(super) fn values<T: Datum>(tensor: &Tensor) -> TractResult<&[T]> {
    tensor.try_as_plain_ram()?.as_slice::<T>()
}

/// A tensor of `shape`, of numbers or booleans, whose elements `fill` writes.
pub(super) fn filled<T: Datum>(
    shape: &[usize],
    fill: impl FnOnce(&mut [T]) -> TractResult<()>,
) -> TractResult<Tensor> {
    let mut tensor = Tensor::zero_dt(T::datum_type(), shape)?;
    fill(tensor.try_as_plain_ram_mut()?.as_slice_mut::<T>()?)?;
    Ok(tensor)
}

/// A tensor of text.
pub(super) fn texts(shape: &[usize], values: Vec<String>) -> TractResult<Tensor> {
    Ok(tract_ndarray::ArrayD::from_shape_vec(shape, values)?.into_tensor())
}

/// Rows and features of an input of the machine-learning operators: `[rows, features]`, or a
/// single row `[features]`.
pub(super) fn rows_and_width(shape: &[usize]) -> TractResult<(usize, usize)> {
    match shape {
        [width] => Ok((1, *width)),
        [rows, width] => Ok((*rows, *width)),
        other => bail!("an input of {} axes, one or two are allowed", other.len()),
    }
}

/// The symbolic form of [`rows_and_width`].
pub(super) fn rows_and_width_facts(shape: &[TDim]) -> TractResult<(TDim, TDim)> {
    match shape {
        [width] => Ok((1.to_dim(), width.clone())),
        [rows, width] => Ok((rows.clone(), width.clone())),
        other => bail!("an input of {} axes, one or two are allowed", other.len()),
    }
}

/// Refuses text where numbers are needed.
pub(super) fn expect_numbers((dt, _): &Fact) -> TractResult<()> {
    ensure!(dt.is_number() || *dt == DatumType::Bool, "an input of {dt:?}, numbers are needed");
    Ok(())
}
