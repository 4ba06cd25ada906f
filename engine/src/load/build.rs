//! One attempt: input facts in, optimised plan and signature out.

use std::collections::HashSet;
use std::time::Instant;

use tract_onnx::prelude::{
    DatumType, InferenceModel, InferenceModelExt as _, IntoRunnable as _, Symbol, TDim, TractError,
    TractResult, TypedFact, TypedModel,
};
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::internal::SpecialOps as _;
use weighbridge_config::{Signature, TensorSpec};

use super::Built;
use super::candidate::{Candidate, as_fact, input_facts};
use super::declared::{DeclaredInput, DeclaredOutput};
use super::symbolic_sizes;
use crate::error::{Error, ErrorKind};
use crate::exchange::datatype;
use crate::ops;
use crate::run::TractPlan;

pub(crate) fn build(
    model: &InferenceModel,
    inputs: &[DeclaredInput],
    outputs: &[DeclaredOutput],
    candidate: Candidate,
) -> Result<Built, Error> {
    let failed = |cause| Error::because(ErrorKind::Load, "optimising the model", cause);
    let mut model = model.clone();
    let (facts, rows) = input_facts(&model, inputs, candidate)?;
    for (slot, fact) in facts.iter().enumerate() {
        model.set_input_fact(slot, as_fact(fact)).map_err(failed)?;
    }
    let mut typed = model.into_typed().map_err(failed)?;
    ops::exact_sizes(&mut typed).map_err(failed)?;
    ops::exact_integers(&mut typed).map_err(failed)?;
    resolve_sizes(&mut typed).map_err(failed)?;
    symbolic_sizes::wrap(&mut typed).map_err(failed)?;
    let start = Instant::now();
    let mut typed = typed.into_decluttered().map_err(failed)?;
    ops::rewrite(&mut typed).map_err(failed)?;
    let (signature, why_alone) = signature(&typed, inputs, outputs, candidate, &rows)?;
    let weight_bytes = weight_bytes(&typed);
    let plan = typed.into_optimized().and_then(|t| t.into_runnable()).map_err(failed)?;
    let (plan, is_shaped) = TractPlan::lightest(plan, &signature);
    let optimise_ms = start.elapsed().as_secs_f64() * 1e3;
    Ok(Built { plan, signature, why_alone, optimise_ms, weight_bytes, is_shaped })
}

/// Bytes of the constants, of which each plan holds a copy of its own.
fn weight_bytes(typed: &TypedModel) -> u64 {
    let facts = typed.nodes.iter().flat_map(|node| &node.outputs).map(|output| &output.fact);
    let constants = facts.filter_map(|fact| fact.konst.as_ref());
    constants.map(|tensor| (tensor.len() * tensor.datum_type().size_of()) as u64).sum()
}

/// Sizes calculated in the graph are symbolic integers; an output of them is cast to int64 inside
/// the plan, where the run's symbols have values.
fn resolve_sizes(typed: &mut TypedModel) -> TractResult<()> {
    let mut outputs = typed.outputs.clone();
    for (slot, outlet) in outputs.iter_mut().enumerate() {
        if typed.outlet_fact(*outlet)?.datum_type == DatumType::TDim {
            let name = format!("weighbridge.output.{slot}.int64");
            *outlet = typed.wire_node(name, cast(DatumType::I64), &[*outlet])?[0];
        }
    }
    typed.select_output_outlets(&outputs)
}

fn signature(
    typed: &TypedModel,
    inputs: &[DeclaredInput],
    outputs: &[DeclaredOutput],
    candidate: Candidate,
    rows: &Symbol,
) -> Result<(Signature, Option<String>), Error> {
    let failed = |cause: TractError| Error::because(ErrorKind::Load, "reading the shapes", cause);
    let input_specs = inputs.iter().enumerate().map(|(slot, input)| {
        let fact = typed.input_fact(slot).map_err(failed)?;
        let shape = dims(fact);
        Ok(TensorSpec { name: input.name.clone(), datatype: input.datatype, shape, labels: vec![] })
    });
    let mut batchable = candidate == Candidate::Batch;
    let mut why_alone = None;
    let fed = symbols_fed(typed).map_err(failed)?;
    let output_specs = outputs.iter().enumerate().map(|(slot, output)| {
        let fact = typed.output_fact(slot).map_err(failed)?;
        if batchable && !keeps_rows(fact, rows, &fed) {
            batchable = false;
            why_alone = Some(format!(
                "output \"{}\" has the shape {} and not one row per input row",
                output.name,
                fact.shape.iter().map(|d| d.to_string()).collect::<Vec<_>>().join(",")
            ));
        }
        let datatype = datatype(fact.datum_type).ok_or_else(|| {
            let message = format!(
                "loading the model: output \"{}\": its type {:?} cannot be served",
                output.name, fact.datum_type
            );
            Error::new(ErrorKind::Signature, message)
        })?;
        let shape = dims(fact);
        let columns = shape.last().copied();
        let fits = columns.is_some_and(|c| c < 0 || c as usize == output.labels.len());
        let labels = if fits { output.labels.clone() } else { vec![] };
        Ok(TensorSpec { name: output.name.clone(), datatype, shape, labels })
    });
    let outputs = output_specs.collect::<Result<Vec<_>, Error>>()?;
    let inputs = input_specs.collect::<Result<Vec<_>, Error>>()?;
    Ok((Signature { inputs, outputs, batchable }, why_alone))
}

fn dims(fact: &TypedFact) -> Vec<i64> {
    fact.shape.iter().map(|d| d.to_i64().unwrap_or(-1)).collect()
}

/// The sizes that the shapes of the inputs leave open.
fn symbols_fed(typed: &TypedModel) -> TractResult<HashSet<Symbol>> {
    let mut fed = HashSet::new();
    for slot in 0..typed.inputs.len() {
        fed.extend(typed.input_fact(slot)?.shape.iter().flat_map(|d| d.symbols()));
    }
    Ok(fed)
}

/// True when axis 0 is exactly the number of rows, and no other axis depends on it or on the
/// values of the inputs. A graph may accept any number of rows and still fold them into another
/// axis (an exported Reshape to [1, -1]); then rows of different callers would be mixed. Or it
/// may pad all rows to the longest of them; then the callers would see whom they shared with.
fn keeps_rows(fact: &TypedFact, rows: &Symbol, fed: &HashSet<Symbol>) -> bool {
    let is_tied = |d: &TDim| d.symbols().iter().any(|s| s == rows || !fed.contains(s));
    fact.shape.first() == Some(&TDim::from(rows.clone())) && !fact.shape.iter().skip(1).any(is_tied)
}
