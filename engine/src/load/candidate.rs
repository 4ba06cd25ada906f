//! Ways to read the free axes of a model, best first.
//!
//! A file says little about its batch axis: it may be free, free under a name, or fixed to the 1
//! that the exporter happened to trace with. So several readings are tried; what the runtime
//! then finds about the outputs decides.

use std::collections::HashMap;

use tract_onnx::prelude::{
    DatumType, InferenceFact, InferenceModel, Symbol, TDim, TVec, ToDim as _,
};

use super::declared::{Axis, DeclaredInput};
use crate::error::{Error, ErrorKind};
use crate::exchange::runtime_type;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// Axis 0 of every input is one symbol, the number of rows.
    Batch,
    /// As the file declares it; each free axis is a symbol.
    Declared,
    /// As [`Candidate::Batch`], with a plan for each of a few numbers of rows.
    BatchBySize,
    /// Axis 0 is 1 wherever the file leaves it free.
    SingleRow,
    /// Axis 0 of every input is this number of rows. No reading of its own: a part of others.
    Rows(usize),
}

/// The readings of these inputs that make sense, in the order to try them.
pub(crate) fn candidates(inputs: &[DeclaredInput]) -> Vec<Candidate> {
    let free_first = inputs.iter().any(|i| !matches!(i.axes.first(), Some(Axis::Fixed(_)) | None));
    match (may_batch(inputs), free_first) {
        (true, true) => vec![Candidate::Batch, Candidate::BatchBySize, Candidate::SingleRow],
        (true, false) => vec![Candidate::Batch, Candidate::Declared],
        (false, true) => vec![Candidate::Declared, Candidate::SingleRow],
        (false, false) => vec![Candidate::Declared],
    }
}

/// True when axis 0 of every input can be the batch: all free under no contradicting names, or
/// all fixed to 1, and no other axis is tied to it by name.
pub(crate) fn may_batch(inputs: &[DeclaredInput]) -> bool {
    let firsts: Option<Vec<&Axis>> = inputs.iter().map(|i| i.axes.first()).collect();
    let Some(firsts) = firsts else { return false };
    if firsts.iter().all(|a| **a == Axis::Fixed(1)) {
        return true;
    }
    if firsts.iter().any(|a| matches!(a, Axis::Fixed(_))) {
        return false;
    }
    let names: Vec<&Axis> = firsts.into_iter().filter(|a| matches!(a, Axis::Named(_))).collect();
    let agree = names.windows(2).all(|pair| pair[0] == pair[1]);
    let tied = inputs.iter().flat_map(|i| &i.axes[1..]).any(|a| names.contains(&a));
    agree && !tied
}

/// The type and the axes of an input.
type Form = (DatumType, TVec<TDim>);

/// Gives the model's inputs the facts of `candidate`; returns them and the rows symbol.
///
/// # Errors
/// [`ErrorKind::Signature`] for an input whose datatype the runtime does not have.
pub(crate) fn input_facts(
    model: &InferenceModel,
    inputs: &[DeclaredInput],
    candidate: Candidate,
) -> Result<(Vec<Form>, Symbol), Error> {
    // Fresh symbols: the file may use the name N for something else.
    let rows = model.symbols.new_with_prefix("N");
    let mut named: HashMap<String, Symbol> = HashMap::new();
    let mut dim = |position: usize, axis: &Axis| match (candidate, position, axis) {
        (Candidate::Batch, 0, _) => rows.clone().into(),
        (Candidate::Rows(rows), 0, _) => rows.to_dim(),
        (Candidate::SingleRow, 0, Axis::Named(_) | Axis::Free) => 1.to_dim(),
        (_, _, Axis::Fixed(n)) => n.to_dim(),
        (_, _, Axis::Named(name)) => {
            let fresh = || model.symbols.new_with_prefix("axis");
            named.entry(name.clone()).or_insert_with(fresh).clone().into()
        }
        (_, _, Axis::Free) => model.symbols.new_with_prefix("axis").into(),
    };
    let facts = inputs
        .iter()
        .map(|input| {
            let dims: TVec<TDim> = input.axes.iter().enumerate().map(|(i, a)| dim(i, a)).collect();
            let (name, datatype) = (&input.name, input.datatype);
            let runtime_type = runtime_type(datatype).ok_or_else(|| {
                let message =
                    format!("loading the model: input \"{name}\": {datatype} cannot be served");
                Error::new(ErrorKind::Signature, message)
            })?;
            Ok((runtime_type, dims))
        })
        .collect::<Result<_, Error>>()?;
    Ok((facts, rows))
}

pub(crate) fn as_fact((datum_type, dims): &(DatumType, TVec<TDim>)) -> InferenceFact {
    InferenceFact::dt_shape(*datum_type, dims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighbridge_config::Datatype;

    fn input(axes: &[Axis]) -> DeclaredInput {
        DeclaredInput { name: "x".into(), datatype: Datatype::Fp32, axes: axes.to_vec() }
    }

    fn named(name: &str) -> Axis {
        Axis::Named(name.into())
    }

    #[test]
    fn axis_zero_is_a_batch_only_when_nothing_speaks_against_it() {
        use Axis::{Fixed, Free};
        let batch = |inputs: &[&[Axis]]| {
            let inputs: Vec<_> = inputs.iter().map(|a| input(a)).collect();
            candidates(&inputs)[0] == Candidate::Batch
        };
        assert!(batch(&[&[Free, Fixed(3)]]));
        assert!(batch(&[&[Free]]));
        assert!(batch(&[&[Fixed(1), Fixed(3)], &[Fixed(1)]]));
        assert!(batch(&[&[named("n"), Fixed(3)], &[named("n"), named("t")], &[Free]]));
        assert!(!batch(&[&[named("n"), named("n")]]), "a square matrix of rows");
        assert!(!batch(&[&[named("boxes")], &[named("scores")]]), "two lengths");
        assert!(!batch(&[&[Free, Fixed(3)], &[Fixed(1)]]), "one input is shared by all rows");
        assert!(!batch(&[&[Fixed(3), Fixed(8)]]), "fixed to other than 1");
        assert!(!batch(&[&[Free], &[]]), "a scalar input");
    }
}
