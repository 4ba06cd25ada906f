//! Messages ⇄ requests and answers of the Open Inference Protocol.

use std::collections::BTreeMap;

use bytes::Bytes;
use weighbridge_config::{Datatype, Tensor, TensorData};
use weighbridge_protocol::bind::NamedTensor;
use weighbridge_protocol::v2::{InferRequest, RequestedOutput};
use weighbridge_protocol::{BadRequest, Output, Parameter, Parameters, raw};

use crate::inference::infer_parameter::ParameterChoice;
use crate::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::inference::model_infer_response::InferOutputTensor;
use crate::inference::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse,
};

/// The parameter by which a client of a stream asks to be told which answer is the last.
const ASKS_FOR_FINAL: &str = "triton_enable_empty_final_response";
/// How it is told.
const IS_FINAL: &str = "triton_final_response";
/// The longest shape that is looked at.
const MOST_AXES: usize = 16;

/// A request, and what of it concerns gRPC alone.
#[derive(Debug)]
pub struct Decoded {
    pub request: InferRequest,
    /// Whether the answer shall say that it is the last one.
    pub asks_for_final: bool,
}

/// Takes a request over. Tensors are copied once, numbers all at once.
///
/// # Errors
/// What does not fit together, named by input.
pub fn decode(message: ModelInferRequest) -> Result<Decoded, BadRequest> {
    let ModelInferRequest { id, mut parameters, inputs, outputs, raw_input_contents, .. } = message;
    let asks_for_final = match parameters.remove(ASKS_FOR_FINAL) {
        None => false,
        Some(value) => match value.parameter_choice {
            Some(ParameterChoice::BoolParam(asks)) => asks,
            _ => {
                return Err(BadRequest::new(format!(
                    "parameter {ASKS_FOR_FINAL} wants a truth value"
                )));
            }
        },
    };
    let request = InferRequest {
        id: Some(id).filter(|id| !id.is_empty()),
        inputs: tensors(inputs, &raw_input_contents)?,
        outputs: requested(outputs)?,
        parameters: taken(parameters)?,
    };
    Ok(Decoded { request, asks_for_final })
}

fn taken(parameters: BTreeMap<String, InferParameter>) -> Result<Parameters, BadRequest> {
    let mut taken = Parameters::default();
    for (name, value) in parameters {
        let value = match value.parameter_choice {
            Some(ParameterChoice::BoolParam(truth)) => Parameter::Bool(truth),
            Some(ParameterChoice::Int64Param(number)) => Parameter::Int(number),
            Some(ParameterChoice::Uint64Param(number)) => Parameter::Uint(number),
            Some(ParameterChoice::DoubleParam(number)) => Parameter::Double(number),
            Some(ParameterChoice::StringParam(text)) => Parameter::Text(text),
            // Not set.
            None => continue,
        };
        taken.insert(&name, value)?;
    }
    Ok(taken)
}

fn requested(
    outputs: Vec<InferRequestedOutputTensor>,
) -> Result<Option<Vec<RequestedOutput>>, BadRequest> {
    let one = |InferRequestedOutputTensor { name, parameters }| {
        let label = format!("output \"{}\"", name.chars().take(60).collect::<String>());
        refuse_shared_memory(&label, &parameters)?;
        let classification = match taken(parameters)?.get("classification") {
            None => None,
            Some(value) => match value.as_u64().map(u32::try_from) {
                Some(Ok(0)) => None,
                Some(Ok(most)) => Some(most),
                _ => {
                    return Err(BadRequest::new(format!(
                        "{label}: classification is {value}, wanted a whole number"
                    )));
                }
            },
        };
        Ok(RequestedOutput { name, binary: None, classification })
    };
    let outputs: Vec<_> = outputs.into_iter().map(one).collect::<Result<_, _>>()?;
    Ok(Some(outputs).filter(|outputs| !outputs.is_empty()))
}

fn tensors(inputs: Vec<InferInputTensor>, raw: &[Bytes]) -> Result<Vec<NamedTensor>, BadRequest> {
    let has_contents = |input: &InferInputTensor| {
        input.contents.as_ref().is_some_and(|contents| contents != &InferTensorContents::default())
    };
    if !raw.is_empty()
        && let Some(input) = inputs.iter().find(|input| has_contents(input))
    {
        let name: String = input.name.chars().take(60).collect();
        return Err(BadRequest::new(format!(
            "contents field must not be specified when using raw_input_contents for '{name}'"
        )));
    }
    if !raw.is_empty() && raw.len() != inputs.len() {
        return Err(BadRequest::new(format!(
            "raw_input_contents has {} entries and there are {} inputs: wanted one for each",
            raw.len(),
            inputs.len()
        )));
    }
    let one = |(place, input): (usize, InferInputTensor)| {
        let InferInputTensor { name, datatype, shape, contents, parameters } = input;
        let label = match name.is_empty() {
            true => format!("inputs[{place}]"),
            false => format!("input \"{}\"", name.chars().take(60).collect::<String>()),
        };
        let datatype: Datatype =
            datatype.parse().map_err(|e| BadRequest::new(format!("{label}: {e}")))?;
        let shape = lengths(&label, &shape)?;
        refuse_shared_memory(&label, &parameters)?;
        let tensor = match raw.get(place) {
            Some(bytes) => raw::decode(&label, datatype, shape, bytes)?,
            None => {
                let data = typed(&label, datatype, contents.unwrap_or_default())?;
                Tensor::new(shape, data).map_err(|e| BadRequest::new(format!("{label}: {e}")))?
            }
        };
        Ok(NamedTensor { name, tensor })
    };
    inputs.into_iter().enumerate().map(one).collect()
}

/// Whoever puts tensors into shared memory would miss them without a word.
fn refuse_shared_memory(
    label: &str,
    parameters: &BTreeMap<String, InferParameter>,
) -> Result<(), BadRequest> {
    const REGION: &str = "shared_memory_region";
    if parameters.contains_key(REGION) {
        return Err(BadRequest::new(format!(
            "{label}: {REGION} came: shared memory is not offered"
        )));
    }
    Ok(())
}

fn lengths(label: &str, shape: &[i64]) -> Result<Vec<usize>, BadRequest> {
    let wrong = |came: String| {
        BadRequest::new(format!(
            "{label}: shape wants at most {MOST_AXES} lengths of 0 or more, {came} came"
        ))
    };
    if shape.len() > MOST_AXES {
        return Err(wrong(format!("{} axes", shape.len())));
    }
    let length = |n: &i64| usize::try_from(*n).map_err(|_| wrong(n.to_string()));
    shape.iter().map(length).collect()
}

/// The elements of the field that holds `datatype`.
fn typed(
    label: &str,
    datatype: Datatype,
    contents: InferTensorContents,
) -> Result<TensorData, BadRequest> {
    let InferTensorContents {
        bool_contents,
        int_contents,
        int64_contents,
        uint_contents,
        uint64_contents,
        fp32_contents,
        fp64_contents,
        bytes_contents,
    } = contents;
    let field = match datatype {
        Datatype::Bool => "bool_contents",
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => "int_contents",
        Datatype::Int64 => "int64_contents",
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => "uint_contents",
        Datatype::Uint64 => "uint64_contents",
        Datatype::Fp32 => "fp32_contents",
        Datatype::Fp64 => "fp64_contents",
        Datatype::Bytes => "bytes_contents",
        Datatype::Fp16 | Datatype::Bf16 => {
            return Err(BadRequest::new(format!(
                "{label}: {datatype} has no contents field, send it in raw_input_contents"
            )));
        }
    };
    let filled = [
        ("bool_contents", bool_contents.len()),
        ("int_contents", int_contents.len()),
        ("int64_contents", int64_contents.len()),
        ("uint_contents", uint_contents.len()),
        ("uint64_contents", uint64_contents.len()),
        ("fp32_contents", fp32_contents.len()),
        ("fp64_contents", fp64_contents.len()),
        ("bytes_contents", bytes_contents.len()),
    ];
    if let Some((other, count)) = filled.iter().find(|(name, count)| *name != field && *count > 0) {
        return Err(BadRequest::new(format!(
            "{label}: {other} came with {count} elements, {datatype} wants {field}"
        )));
    }
    Ok(match datatype {
        Datatype::Bool => TensorData::Bool(bool_contents),
        Datatype::Int8 => TensorData::Int8(narrow(label, datatype, int_contents)?),
        Datatype::Int16 => TensorData::Int16(narrow(label, datatype, int_contents)?),
        Datatype::Int32 => TensorData::Int32(int_contents),
        Datatype::Int64 => TensorData::Int64(int64_contents),
        Datatype::Uint8 => TensorData::Uint8(narrow(label, datatype, uint_contents)?),
        Datatype::Uint16 => TensorData::Uint16(narrow(label, datatype, uint_contents)?),
        Datatype::Uint32 => TensorData::Uint32(uint_contents),
        Datatype::Uint64 => TensorData::Uint64(uint64_contents),
        Datatype::Fp32 => TensorData::Fp32(fp32_contents),
        Datatype::Fp64 => TensorData::Fp64(fp64_contents),
        // Refused above.
        Datatype::Bytes | Datatype::Fp16 | Datatype::Bf16 => TensorData::Bytes(bytes_contents),
    })
}

fn narrow<W: Copy + std::fmt::Display, N: TryFrom<W>>(
    label: &str,
    datatype: Datatype,
    wide: Vec<W>,
) -> Result<Vec<N>, BadRequest> {
    let one = |(place, wide): (usize, W)| {
        N::try_from(wide).map_err(|_| {
            BadRequest::new(format!("{label}: element {place} is {wide}, no value of {datatype}"))
        })
    };
    wide.into_iter().enumerate().map(one).collect()
}

/// What an answer is made of.
#[derive(Debug)]
pub struct Answer<'a> {
    pub model_name: &'a str,
    pub model_version: &'a str,
    pub id: Option<&'a str>,
    pub outputs: &'a [Output<'a>],
    /// Whether it shall say that it is the last one.
    pub is_final: bool,
}

/// Writes an answer; tensors always as bytes.
pub fn encode(answer: &Answer<'_>) -> ModelInferResponse {
    let mut parameters = BTreeMap::new();
    if answer.is_final {
        let choice = Some(ParameterChoice::BoolParam(true));
        parameters.insert(IS_FINAL.to_owned(), InferParameter { parameter_choice: choice });
    }
    let described = |output: &Output<'_>| InferOutputTensor {
        name: output.name.to_owned(),
        datatype: output.tensor.datatype().name().to_owned(),
        shape: output.tensor.shape().iter().map(|n| *n as i64).collect(),
        parameters: BTreeMap::new(),
        contents: None,
    };
    let bytes = |output: &Output<'_>| {
        let data = output.tensor.data();
        let mut bytes = Vec::with_capacity(raw::encoded_len(data));
        raw::encode(data, &mut bytes);
        Bytes::from(bytes)
    };
    ModelInferResponse {
        model_name: answer.model_name.to_owned(),
        model_version: answer.model_version.to_owned(),
        id: answer.id.unwrap_or_default().to_owned(),
        parameters,
        outputs: answer.outputs.iter().map(described).collect(),
        raw_output_contents: answer.outputs.iter().map(bytes).collect(),
    }
}

#[cfg(test)]
mod tests;
