//! A model's signature: names, types and fixed axes as the file and the library declare them;
//! whether rows may share a run, from runs.
//!
//! A model is batchable when the file leaves axis 0 of its inputs free (or a traced 1 can be
//! freed), and runs of 1, 2 and 5 rows give outputs whose axis 0 is that number and whose other
//! axes do not change with it, and two rows together get the answers they get alone. Each run
//! counts the rows again.

use ort::value::{Outlet, ValueType};
use tract_onnx::pb::ModelProto;
use weighbridge_config::{Signature, Tensor, TensorSpec};

use super::OrtModel;
use super::exchange::datatype;
use crate::error::{Error, ErrorKind};
use crate::inspect::each_node;
use crate::load::candidate::may_batch;
use crate::load::declared::{Axis, DeclaredInput, DeclaredOutput};
use crate::probe::probe_inputs;
use crate::run::Run;
use crate::warm_up::{FirstRuns, first_runs};

/// Numbers of rows that are tried: no two axes of an output are equal to all of them by chance.
const SIZES: [usize; 3] = [1, 2, 5];

/// A way to read the inputs' axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Axis 0 of each input is the number of rows, as the file says.
    Batch,
    /// It is in a changed file; in the one that came it is 1.
    FreedBatch,
    /// As the file declares it.
    Declared,
}

/// The readings of these inputs, in the order to try them; the last one always holds.
pub(super) fn readings(inputs: &[DeclaredInput]) -> Vec<Reading> {
    let is_traced = inputs.iter().all(|i| matches!(i.axes.first(), Some(Axis::Fixed(_))));
    match (may_batch(inputs), is_traced) {
        (true, true) => vec![Reading::FreedBatch, Reading::Declared],
        (true, false) => vec![Reading::Batch],
        (false, _) => vec![Reading::Declared],
    }
}

/// What was found out about a model.
#[derive(Debug)]
pub(super) struct Found {
    pub signature: Signature,
    pub notes: Vec<String>,
}

/// The signature of `model`, whose inputs are read as `reading`; `None` when that reading does
/// not hold and the next one is to be tried.
///
/// # Errors
/// [`ErrorKind::Signature`] for an output that cannot be served, [`ErrorKind::Panicked`].
pub(super) fn find(
    model: &OrtModel,
    inputs: &[DeclaredInput],
    outputs: &[DeclaredOutput],
    reading: Reading,
    proto: &ModelProto,
) -> Result<Option<Found>, Error> {
    let mut signature = declared(model, inputs, outputs, reading)?;
    let known: Vec<Vec<i64>> = signature.outputs.iter().map(|o| o.shape.clone()).collect();
    let has_rows = reading != Reading::Declared;
    let sizes = if has_rows { &SIZES[..] } else { &SIZES[..1] };
    let mut seen = Vec::new();
    let mut failed = None;
    for rows in sizes {
        match model.run(&signature, &[&probe_inputs(&signature, *rows)]) {
            Ok(answers) => seen.push((*rows, shapes(answers))),
            Err(error) if error.kind() == ErrorKind::Panicked => return Err(error),
            Err(error) => {
                failed = Some(error.to_string());
                break;
            }
        }
    }
    let mut notes = Vec::new();
    let why_alone = match &failed {
        None if has_rows => {
            loses_rows(&signature, &seen).or_else(|| padded(&signature, &seen, proto))
        }
        _ => None,
    };
    let may_batch = has_rows && failed.is_none() && why_alone.is_none();
    if reading == Reading::FreedBatch && !may_batch {
        return Ok(None);
    }
    for (place, (spec, known)) in signature.outputs.iter_mut().zip(known).enumerate() {
        let seen: Vec<&[usize]> = seen.iter().map(|(_, shapes)| &*shapes[place]).collect();
        spec.shape = shape(&known, &seen, may_batch, &spec.labels);
        let columns = spec.shape.last().copied();
        if !columns.is_some_and(|c| c < 0 || c as usize == spec.labels.len()) {
            spec.labels.clear();
        }
    }
    if let Some(why) = why_alone {
        notes.push(format!("requests are not batched together: {why}"));
    }
    match failed {
        Some(why) if has_rows && !seen.is_empty() => {
            notes.push(format!("with any number of rows: {why}"));
            notes.push("the model takes one row per call, without batching".to_owned());
            for spec in &mut signature.inputs {
                if let Some(axis) = spec.shape.first_mut() {
                    *axis = 1;
                }
            }
        }
        Some(why) => notes.push(format!("the model was not warmed up: {why}")),
        None => {}
    }
    if may_batch {
        signature.batchable = true;
        match first_runs(model, &signature) {
            FirstRuns::Fine => {}
            FirstRuns::Impossible(error) => return Err(error),
            FirstRuns::RowsMix(why) | FirstRuns::Failed(why) => {
                if reading == Reading::FreedBatch {
                    return Ok(None);
                }
                signature.batchable = false;
                notes.push(format!("requests are not batched together: {why}"));
            }
        }
    }
    Ok(Some(Found { signature, notes }))
}

/// Names, types and declared axes; not batchable yet.
fn declared(
    model: &OrtModel,
    inputs: &[DeclaredInput],
    outputs: &[DeclaredOutput],
    reading: Reading,
) -> Result<Signature, Error> {
    let mut lease = model.0.lease()?;
    let session = lease.session()?;
    let names = |outlets: &[Outlet]| -> Vec<String> {
        outlets.iter().map(|o| o.name().to_owned()).collect()
    };
    let same = |found: &[String], wanted: Vec<&String>| found.iter().eq(wanted);
    let (in_names, out_names) = (names(session.inputs()), names(session.outputs()));
    if !same(&in_names, inputs.iter().map(|i| &i.name).collect())
        || !same(&out_names, outputs.iter().map(|o| &o.name).collect())
    {
        let message = format!(
            "loading the model: ONNX Runtime found the inputs {in_names:?} and the outputs \
             {out_names:?}, which are not those of the file"
        );
        return Err(Error::new(ErrorKind::Signature, message));
    }
    let input = |i: &DeclaredInput| {
        let length = |axis: &Axis| match axis {
            Axis::Fixed(n) => i64::try_from(*n).unwrap_or(-1),
            _ => -1,
        };
        let mut shape: Vec<i64> = i.axes.iter().map(length).collect();
        if let (Reading::FreedBatch, Some(rows)) = (reading, shape.first_mut()) {
            *rows = -1;
        }
        TensorSpec { name: i.name.clone(), datatype: i.datatype, shape, labels: vec![] }
    };
    let output = |(o, outlet): (&DeclaredOutput, &Outlet)| {
        let refused = |detail: &str| {
            let message = format!("loading the model: output \"{}\": {detail}", o.name);
            Error::new(ErrorKind::Signature, message)
        };
        let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
            return Err(refused(&format!(
                "it is {} and not a tensor: sequences, maps and optionals can be used inside a \
                 model only",
                outlet.dtype()
            )));
        };
        let datatype =
            datatype(*ty).ok_or_else(|| refused(&format!("its type {ty} cannot be served")))?;
        let shape = shape.iter().copied().collect();
        let labels = o.labels.clone();
        Ok(TensorSpec { name: o.name.clone(), datatype, shape, labels })
    };
    let outputs =
        outputs.iter().zip(session.outputs()).map(output).collect::<Result<_, Error>>()?;
    Ok(Signature { inputs: inputs.iter().map(input).collect(), outputs, batchable: false })
}

fn shapes(answers: Vec<Vec<Tensor>>) -> Vec<Vec<usize>> {
    answers.into_iter().flatten().map(|t| t.shape().to_vec()).collect()
}

/// Why rows cannot be told apart in the outputs: the first one that has not exactly the number
/// of rows as its axis 0, or has it in another axis.
fn loses_rows(signature: &Signature, seen: &[(usize, Vec<Vec<usize>>)]) -> Option<String> {
    let (_, of_one) = seen.first()?;
    seen.iter().find_map(|(rows, shapes)| {
        let outputs = signature.outputs.iter().zip(shapes.iter().zip(of_one));
        outputs.into_iter().find_map(|(spec, (shape, of_one))| {
            let keeps = shape.first() == Some(rows) && shape.get(1..) == of_one.get(1..);
            (!keeps).then(|| {
                format!(
                    "output \"{}\" has the shape {shape:?} for {rows} rows and {of_one:?} for 1",
                    spec.name
                )
            })
        })
    })
}

/// Operators whose outputs are as long as their inputs' values make them.
const BY_VALUES: [&str; 9] = [
    "Compress",
    "Loop",
    "NonMaxSuppression",
    "NonZero",
    "Range",
    "SequenceMap",
    "StringSplit",
    "Tokenizer",
    "Unique",
];

/// Why rows may be padded to the longest of them, so that callers would see whom they shared a
/// run with: the first output with an open axis, in a model with such an operator. Made-up rows
/// need not show it.
fn padded(
    signature: &Signature,
    seen: &[(usize, Vec<Vec<usize>>)],
    proto: &ModelProto,
) -> Option<String> {
    let (_, of_one) = seen.first()?;
    let mut operator = None;
    each_node(proto, &mut |node| {
        let by_values = BY_VALUES.contains(&&*node.op_type);
        operator = operator.or(by_values.then_some(&node.op_type));
    });
    let operator = operator?;
    let is_open = |(spec, seen): &(&TensorSpec, &Vec<usize>)| {
        let unknown = spec.shape.len() != seen.len() && seen.len() > 1;
        unknown || spec.shape.iter().skip(1).any(|axis| *axis < 0)
    };
    let (spec, _) = signature.outputs.iter().zip(of_one).find(is_open)?;
    Some(format!("the length of output \"{}\" may follow the values ({operator})", spec.name))
}

/// The axes of an output: those that the library knows and no run contradicts, -1 for others.
/// It gives no axes for an output of unknown rank.
fn shape(known: &[i64], seen: &[&[usize]], has_rows: bool, labels: &[String]) -> Vec<i64> {
    let Some(first) = seen.first() else { return known.to_vec() };
    let mut shape = match known.len() == first.len() {
        true => known.to_vec(),
        false => vec![-1; first.len()],
    };
    for (place, axis) in shape.iter_mut().enumerate() {
        let fits = |s: &&[usize]| s.get(place).is_some_and(|n| i64::try_from(*n) == Ok(*axis));
        if (place == 0 && has_rows) || !seen.iter().all(fits) {
            *axis = -1;
        }
    }
    // The scores of a classifier: a column per class.
    let is_scores = !labels.is_empty() && first.last() == Some(&labels.len()) && first.len() > 1;
    if let (true, Some(axis)) = (is_scores, shape.last_mut()) {
        *axis = labels.len() as i64;
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_what_is_declared_and_not_contradicted() {
        let labels = ["a".to_owned(), "b".to_owned()];
        let seen: [&[usize]; 3] = [&[1, 2], &[2, 2], &[5, 2]];
        assert_eq!(shape(&[-1, 2], &seen, true, &[]), [-1, 2]);
        assert_eq!(shape(&[1, 3], &seen, true, &[]), [-1, -1]);
        assert_eq!(shape(&[], &seen, true, &[]), [-1, -1], "unknown rank");
        assert_eq!(shape(&[], &seen, true, &labels), [-1, 2]);
        assert_eq!(shape(&[-1], &[&[7]], false, &labels), [-1]);
        assert_eq!(shape(&[3], &[&[3]], false, &[]), [3]);
        assert_eq!(shape(&[-1, 4], &[], false, &[]), [-1, 4], "no run");
    }
}
