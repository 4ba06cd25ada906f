//! A graph without matrix kernels or sizes, run node after node without the runtime's plan.
//!
//! Most exports of scikit-learn, XGBoost, LightGBM and CatBoost are such graphs, often of a
//! single node of ours. The plan prepares a state, resolves symbols and wraps each value, which
//! for a single row takes longer than the trees themselves.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::logic::Iff;
use tract_onnx::tract_core::ops::source::TypedSource;
use tract_onnx::tract_hir::internal::*;

use super::kernel::{Kernel, Own};
use super::registers::clear_upper_halves;

#[derive(Debug)]
enum Operator {
    /// Ours, with the outputs that become values.
    Own(Arc<dyn Kernel>, TVec<usize>),
    /// One of the runtime's that needs nothing but its inputs.
    Theirs(Box<dyn TypedOp>),
}

/// Where a value lies during a run.
#[derive(Debug, Clone)]
enum Place {
    /// Among the values that only our operators read, which takes least.
    Plain(usize),
    /// Among those that an operator of the runtime makes or reads.
    Shared(usize),
    Constant(Arc<Tensor>),
}

#[derive(Debug)]
struct Step {
    operator: Operator,
    inputs: TVec<Place>,
    /// Whether the outputs are plain.
    gives_plain: bool,
    /// Shared values that no later step reads.
    spent: TVec<usize>,
}

/// The operators of a plan in order.
#[derive(Debug)]
pub(crate) struct Steps {
    steps: Vec<Step>,
    /// Whether each input is plain.
    inputs: Vec<bool>,
    outputs: Vec<Place>,
    plain: usize,
}

impl Steps {
    /// The steps of `plan`; `None` when it holds a node that needs more than its inputs.
    pub(crate) fn of(plan: &TypedRunnableModel) -> Option<Self> {
        let model = plan.model();
        let mut places = Places::default();
        let nodes = plan.order_without_consts().iter().map(|id| model.node(*id));
        let nodes: Vec<&TypedNode> = nodes.filter(|node| !node.op_is::<TypedSource>()).collect();
        let read_by_theirs: HashSet<OutletId> = nodes
            .iter()
            .filter(|node| !node.op_is::<Own>())
            .flat_map(|node| node.inputs.iter().copied())
            .collect();
        let is_plain = |outlet: &OutletId| !read_by_theirs.contains(outlet);
        let inputs: Vec<bool> = model.inputs.iter().map(is_plain).collect();
        for (outlet, plain) in model.inputs.iter().zip(&inputs) {
            places.add(*outlet, *plain);
        }
        let mut steps = Vec::with_capacity(nodes.len());
        for node in nodes {
            let operator = operator(model, node)?;
            let inputs = node.inputs.iter().map(|outlet| places.of(model, *outlet));
            let inputs = inputs.collect::<Option<TVec<Place>>>()?;
            let (own, outputs) = match &operator {
                Operator::Own(_, wanted) => (true, wanted.len()),
                Operator::Theirs(_) => (false, node.outputs.len()),
            };
            let outlets: TVec<OutletId> = (0..outputs).map(|i| OutletId::new(node.id, i)).collect();
            let gives_plain = own && outlets.iter().all(is_plain);
            outlets.iter().for_each(|outlet| places.add(*outlet, gives_plain));
            steps.push(Step { operator, inputs, gives_plain, spent: tvec!() });
        }
        let outputs = model.outputs.iter().map(|outlet| places.of(model, *outlet));
        let outputs = outputs.collect::<Option<Vec<Place>>>()?;
        let mut read = HashSet::new();
        let shared = |place: &Place| if let Place::Shared(n) = place { Some(*n) } else { None };
        read.extend(outputs.iter().filter_map(shared));
        for step in steps.iter_mut().rev() {
            let inputs = step.inputs.iter().filter_map(shared);
            step.spent = inputs.filter(|number| read.insert(*number)).collect();
        }
        Some(Self { steps, inputs, outputs, plain: places.plain })
    }

    /// Runs all steps on `inputs`, which are of the types and ranks of the model's inputs.
    pub(crate) fn run(&self, inputs: Vec<Tensor>) -> TractResult<Values<'_>> {
        let mut values = Values {
            plain: Vec::with_capacity(self.plain),
            shared: Vec::new(),
            outputs: &self.outputs,
        };
        for (input, plain) in inputs.into_iter().zip(&self.inputs) {
            values.push(input, *plain);
        }
        clear_upper_halves();
        for step in &self.steps {
            match &step.operator {
                Operator::Own(kernel, wanted) => {
                    let inputs = step.inputs.iter().map(|place| values.tensor(place));
                    let given = kernel.eval(&inputs.collect::<TractResult<TVec<&Tensor>>>()?)?;
                    if step.gives_plain && wanted.len() == given.len() {
                        values.plain.extend(given);
                        continue;
                    }
                    for (slot, tensor) in given.into_iter().enumerate() {
                        if wanted.contains(&slot) {
                            values.push(tensor, step.gives_plain);
                        }
                    }
                }
                Operator::Theirs(op) => {
                    let inputs = step.inputs.iter().map(|place| values.value(place));
                    let inputs = inputs.collect::<TractResult<TVec<TValue>>>()?;
                    // What nobody else holds may be written over.
                    step.spent.iter().for_each(|number| values.shared[*number] = None);
                    let given = op.eval(&EvalContext::out_of_plan(), inputs)?;
                    values.shared.extend(given.into_iter().map(Some));
                    clear_upper_halves();
                }
            }
        }
        Ok(values)
    }
}

/// Where the values go, while steps are added.
#[derive(Default)]
struct Places {
    by_outlet: HashMap<OutletId, Place>,
    plain: usize,
    shared: usize,
}

impl Places {
    fn add(&mut self, outlet: OutletId, plain: bool) {
        let (count, place): (_, fn(usize) -> Place) =
            if plain { (&mut self.plain, Place::Plain) } else { (&mut self.shared, Place::Shared) };
        self.by_outlet.insert(outlet, place(*count));
        *count += 1;
    }

    fn of(&self, model: &TypedModel, outlet: OutletId) -> Option<Place> {
        let constant = || model.outlet_fact(outlet).ok()?.konst.clone().map(Place::Constant);
        self.by_outlet.get(&outlet).cloned().or_else(constant)
    }
}

/// How `node` is run; `None` when it may need a plan.
fn operator(model: &TypedModel, node: &TypedNode) -> Option<Operator> {
    // Symbolic integers want the run's symbols.
    let inputs = model.node_input_facts(node.id).ok()?;
    let mut facts = inputs.into_iter().chain(node.outputs.iter().map(|output| &output.fact));
    if facts.any(|fact| fact.datum_type == DatumType::TDim) {
        return None;
    }
    if let Some(own) = node.op_as::<Own>() {
        return Some(Operator::Own(own.kernel.clone(), own.wanted.clone()));
    }
    let needs_inputs_only = node.op_is::<ElementWiseOp>()
        || node.op_is::<Cast>()
        || node.op_is::<Iff>()
        || node.op_is::<TypedConcat>()
        || matches!(node.op_as(), Some(AxisOp::Add(_) | AxisOp::Rm(_) | AxisOp::Move(..)));
    needs_inputs_only.then(|| Operator::Theirs(node.op.clone()))
}

/// The values of one run.
#[derive(Debug)]
pub(crate) struct Values<'s> {
    plain: Vec<Tensor>,
    /// `None` when nothing reads them any more.
    shared: Vec<Option<TValue>>,
    outputs: &'s [Place],
}

impl Values<'_> {
    fn push(&mut self, tensor: Tensor, plain: bool) {
        if plain {
            self.plain.push(tensor);
        } else {
            self.shared.push(Some(tensor.into_tvalue()));
        }
    }

    fn tensor<'t>(&'t self, place: &'t Place) -> TractResult<&'t Tensor> {
        match place {
            Place::Plain(number) => Ok(&self.plain[*number]),
            Place::Shared(number) => Ok(self.shared[*number].as_ref().context(SPENT)?),
            Place::Constant(tensor) => Ok(tensor),
        }
    }

    fn value(&self, place: &Place) -> TractResult<TValue> {
        match place {
            Place::Plain(number) => Ok(self.plain[*number].clone().into_tvalue()),
            Place::Shared(number) => self.shared[*number].clone().context(SPENT),
            Place::Constant(tensor) => Ok(tensor.clone().into_tvalue()),
        }
    }

    /// The outputs in the model's order.
    pub(crate) fn outputs(&self) -> TractResult<TVec<&Tensor>> {
        self.outputs.iter().map(|place| self.tensor(place)).collect()
    }
}

const SPENT: &str = "a value is read after its last use";
