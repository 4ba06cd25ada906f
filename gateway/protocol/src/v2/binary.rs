//! The part of a body behind its JSON, and bodies that are nothing else.

use weighbridge_config::tensor::element_count;
use weighbridge_config::{Datatype, Signature, Tensor, TensorData, TensorSpec};

use super::request::{Given, HeadInput};
use crate::bind::NamedTensor;
use crate::error::{BadRequest, shown};
use crate::raw;

/// Gives each input that came without `data` its part of `blobs`, in order.
pub(super) fn tensors(
    inputs: Vec<HeadInput>,
    blobs: &[u8],
) -> Result<Vec<NamedTensor>, BadRequest> {
    let unsized_input = unsized_input(&inputs)?;
    // What the blob of the one input of unknown length has left.
    let mut spare = 0;
    if let Some(place) = unsized_input {
        let known = inputs.iter().enumerate().filter(|(other, _)| *other != place);
        let known = known.filter_map(|(_, input)| blob_bytes(input));
        let known = known.fold(0usize, |sum, bytes| sum.saturating_add(bytes));
        spare = blobs.len().saturating_sub(known);
    }
    let mut rest = blobs;
    let mut tensors = Vec::with_capacity(inputs.len());
    for (place, input) in inputs.into_iter().enumerate() {
        let blob = match &input.given {
            Given::Data(_) => None,
            Given::Blob(_) => {
                let label = input.label();
                let wanted = if unsized_input == Some(place) {
                    spare
                } else {
                    blob_bytes(&input).unwrap_or(usize::MAX)
                };
                let (blob, after) = rest.split_at_checked(wanted).ok_or_else(|| {
                    let (left, shape) = (rest.len(), &input.shape);
                    BadRequest(match input.given {
                        Given::Blob(Some(said)) => format!(
                            "{label}: binary_data_size is {said}, but {left} bytes are left in the body"
                        ),
                        _ => format!(
                            "{label}: {left} bytes are left in the body, shape {shape:?} of {} wants more",
                            input.datatype
                        ),
                    })
                })?;
                rest = after;
                Some(blob)
            }
        };
        tensors.push(input.tensor(blob)?);
    }
    if !rest.is_empty() {
        // The first words are those that Triton's clients look for.
        return Err(BadRequest(format!(
            "unexpected additional input data: the inputs take {} of the {} bytes behind the JSON",
            blobs.len() - rest.len(),
            blobs.len()
        )));
    }
    Ok(tensors)
}

/// The one input whose blob has a length that neither it nor its shape says.
fn unsized_input(inputs: &[HeadInput]) -> Result<Option<usize>, BadRequest> {
    let is_unsized = |input: &HeadInput| {
        matches!(input.given, Given::Blob(None)) && input.datatype == Datatype::Bytes
    };
    let mut found = inputs.iter().enumerate().filter(|(_, input)| is_unsized(input));
    let first = found.next().map(|(place, _)| place);
    match found.next() {
        None => Ok(first),
        Some((_, second)) => Err(BadRequest(format!(
            "{}: binary_data_size is missing, and another input of BYTES has none either",
            second.label()
        ))),
    }
}

/// The length of an input's blob as it says itself, else as shape and datatype make it. `None`
/// without a blob, and for a length that cannot be known or counted.
fn blob_bytes(input: &HeadInput) -> Option<usize> {
    match input.given {
        Given::Data(_) => None,
        Given::Blob(Some(said)) => Some(usize::try_from(said).unwrap_or(usize::MAX)),
        Given::Blob(None) => element_count(&input.shape)?.checked_mul(input.datatype.size()?),
    }
}

/// The only input of a model from a body that is its bytes: one row, and at most one free axis,
/// whose length the body gives.
pub(super) fn only_input(body: &[u8], signature: &Signature) -> Result<NamedTensor, BadRequest> {
    let [spec] = &signature.inputs[..] else {
        let count = signature.inputs.len();
        return Err(BadRequest(format!(
            "Inference-Header-Content-Length is 0, which wants a model of one input: this one has {count}"
        )));
    };
    let label = format!("input {}", shown(&spec.name));
    let tensor = match spec.datatype.size() {
        None => one_text(&label, body, spec, signature.batchable)?,
        Some(size) => {
            let shape = shape_for(&label, body.len(), size, spec, signature.batchable)?;
            raw::decode(&label, spec.datatype, shape, body)?
        }
    };
    Ok(NamedTensor { name: spec.name.clone(), tensor })
}

/// The model's axes with the batch as one row; -1 stands for those that are free.
fn axes_of_one_row(spec: &TensorSpec, batchable: bool) -> Vec<i64> {
    let mut axes = spec.shape.clone();
    if let (true, Some(batch)) = (batchable, axes.first_mut()) {
        *batch = 1;
    }
    axes
}

fn one_text(
    label: &str,
    body: &[u8],
    spec: &TensorSpec,
    batchable: bool,
) -> Result<Tensor, BadRequest> {
    let axes = axes_of_one_row(spec, batchable);
    if axes.iter().any(|length| *length != 1) {
        return Err(BadRequest(format!(
            "{label}: the model wants shape {:?} of BYTES, a body without JSON holds one element only",
            spec.shape
        )));
    }
    let data = TensorData::Bytes(vec![body.to_vec()]);
    Tensor::new(vec![1; axes.len()], data).map_err(|e| BadRequest(format!("{label}: {e}")))
}

fn shape_for(
    label: &str,
    came: usize,
    size: usize,
    spec: &TensorSpec,
    batchable: bool,
) -> Result<Vec<usize>, BadRequest> {
    let (datatype, wanted) = (spec.datatype, &spec.shape);
    let axes = axes_of_one_row(spec, batchable);
    let fixed = axes.iter().filter_map(|length| usize::try_from(*length).ok());
    let per_step = fixed.clone().try_fold(size, |bytes, length| bytes.checked_mul(length));
    let per_step = per_step.unwrap_or(usize::MAX);
    let free = match axes.len() - fixed.count() {
        0 => 1,
        1 if came.checked_rem(per_step) == Some(0) => came / per_step,
        1 => {
            return Err(BadRequest(format!(
                "{label}: {came} bytes came, shape {wanted:?} of {datatype} wants a multiple of {per_step}"
            )));
        }
        _ => {
            return Err(BadRequest(format!(
                "{label}: the model wants shape {wanted:?}, a body without JSON can give the length of one free axis only"
            )));
        }
    };
    Ok(axes.iter().map(|length| usize::try_from(*length).unwrap_or(free)).collect())
}
