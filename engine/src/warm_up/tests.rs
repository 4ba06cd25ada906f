//! Plans that misbehave, made by hand.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use weighbridge_config::{Datatype, TensorSpec};

use super::*;
use crate::run::TractPlan;

/// Claims to keep its input's shape, and then does something else.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bad {
    Panics,
    DropsRows,
    Fails,
}

impl Op for Bad {
    fn name(&self) -> StaticName {
        "Bad".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Bad {
    not_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        match self {
            Self::Panics => panic!("the model's own mistake"),
            Self::DropsRows => Ok(tvec!(inputs[0].slice(0, 0, 1)?.into_tvalue())),
            Self::Fails => bail!("no such token"),
        }
    }
}

impl TypedOp for Bad {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }

    as_op!();
}

fn bad(op: Bad) -> (TractPlan, Signature) {
    let mut model = TypedModel::default();
    let rows = model.symbols.sym("N");
    let x = model.add_source("x", f32::fact(dims!(rows, 2))).unwrap();
    let y = model.wire_node("y", op, &[x]).unwrap();
    model.select_output_outlets(&y).unwrap();
    let spec = |name: &str| TensorSpec {
        name: name.into(),
        datatype: Datatype::Fp32,
        shape: vec![-1, 2],
        labels: vec![],
    };
    let signature =
        Signature { inputs: vec![spec("x")], outputs: vec![spec("y")], batchable: true };
    (TractPlan(model.into_runnable().unwrap()), signature)
}

fn kind(op: Bad, rows: usize) -> ErrorKind {
    let (plan, signature) = bad(op);
    let probe = probe_inputs(&signature, rows);
    let error = plan.run(&signature, &[&probe]).unwrap_err();
    assert!(error.to_string().starts_with("running the model"), "{error}");
    error.kind()
}

#[test]
fn a_panic_of_the_model_is_caught() {
    assert_eq!(kind(Bad::Panics, 1), ErrorKind::Panicked);
    let (plan, signature) = bad(Bad::Panics);
    assert!(matches!(first_runs(&plan, &signature), FirstRuns::Impossible(_)));
}

#[test]
fn missing_rows_are_noticed_before_they_are_handed_out() {
    assert_eq!(kind(Bad::DropsRows, 3), ErrorKind::OutputRows);
}

#[test]
fn a_refused_probe_is_a_doubt_and_no_more() {
    assert_eq!(kind(Bad::Fails, 1), ErrorKind::Run);
    let (plan, signature) = bad(Bad::Fails);
    let FirstRuns::Failed(why) = first_runs(&plan, &signature) else { panic!("it cannot run") };
    assert!(why.contains("no such token"), "{why}");
}
