//! A graph of our own operators only, run one after the other.
//!
//! Most exports of scikit-learn, XGBoost, LightGBM and CatBoost are such graphs, often of a
//! single node. The runtime's plan prepares a state, resolves symbols and wraps each value,
//! which for a single row takes longer than the trees themselves.

use std::collections::HashMap;
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::source::TypedSource;

use super::kernel::{Kernel, Own};

#[derive(Debug)]
struct Step {
    kernel: Arc<dyn Kernel>,
    /// The kernel's outputs that become values.
    wanted: TVec<usize>,
    /// Numbers of the values that it takes.
    inputs: TVec<usize>,
}

/// The operators of a plan in order. Values are numbered: first the inputs, then what each step
/// gives.
#[derive(Debug)]
pub(crate) struct Steps {
    steps: Vec<Step>,
    values: usize,
    outputs: Vec<usize>,
}

impl Steps {
    /// The steps of `plan`; `None` when it holds a node that is not ours.
    pub(crate) fn of(plan: &TypedRunnableModel) -> Option<Self> {
        let model = plan.model();
        let mut numbers: HashMap<OutletId, usize> =
            model.inputs.iter().enumerate().map(|(number, outlet)| (*outlet, number)).collect();
        let mut steps = Vec::new();
        for id in plan.order_without_consts() {
            let node = model.node(*id);
            if node.op_is::<TypedSource>() {
                continue;
            }
            let own = node.op_as::<Own>()?;
            let inputs = node.inputs.iter().map(|outlet| numbers.get(outlet).copied());
            let inputs = inputs.collect::<Option<TVec<usize>>>()?;
            for slot in 0..own.wanted.len() {
                let number = numbers.len();
                numbers.insert(OutletId::new(*id, slot), number);
            }
            steps.push(Step { kernel: own.kernel.clone(), wanted: own.wanted.clone(), inputs });
        }
        let outputs = model.outputs.iter().map(|outlet| numbers.get(outlet).copied());
        let outputs = outputs.collect::<Option<Vec<usize>>>()?;
        Some(Self { steps, values: numbers.len(), outputs })
    }

    /// Runs all steps on `inputs`, which are of the types and ranks of the model's inputs.
    pub(crate) fn run(&self, inputs: Vec<Tensor>) -> TractResult<Values<'_>> {
        let mut values = inputs;
        values.reserve(self.values - values.len().min(self.values));
        for step in &self.steps {
            let inputs: TVec<&Tensor> = step.inputs.iter().map(|i| &values[*i]).collect();
            let given = step.kernel.eval(&inputs)?;
            drop(inputs);
            if step.wanted.len() == given.len() {
                values.extend(given);
            } else {
                let wanted = given.into_iter().enumerate().filter(|(i, _)| step.wanted.contains(i));
                values.extend(wanted.map(|(_, tensor)| tensor));
            }
        }
        Ok(Values { values, outputs: &self.outputs })
    }
}

/// The values of one run.
#[derive(Debug)]
pub(crate) struct Values<'s> {
    values: Vec<Tensor>,
    outputs: &'s [usize],
}

impl Values<'_> {
    /// The outputs in the model's order.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = &Tensor> {
        self.outputs.iter().map(|number| &self.values[*number])
    }
}
