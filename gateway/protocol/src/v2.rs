//! Open Inference Protocol v2 over REST: requests decoded, answers written, in JSON and with
//! binary tensor data.
//!
//! Sources: `inference_rest.md` of kserve/open-inference-protocol and
//! `extension_binary_data.md` of triton-inference-server. Unknown members are ignored, since
//! clients send their own; a member that comes twice is refused. FP16 and BF16 come in binary
//! only, and leave in JSON as numbers too: each is exact there.

mod answer;
mod binary;
mod request;

use serde::de::DeserializeSeed as _;
use weighbridge_config::Signature;

use crate::bare;
use crate::bind::NamedTensor;
use crate::error::BadRequest;
use crate::parameters::{Parameter, Parameters};

pub use answer::{Encoded, InferResponse, NON_FINITE, encode};

/// A decoded inference request, not yet held against a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InferRequest {
    /// Echoed in the answer.
    pub id: Option<String>,
    pub inputs: Vec<NamedTensor>,
    /// The outputs asked for; `None` means all.
    pub outputs: Option<Vec<RequestedOutput>>,
    pub parameters: Parameters,
}

/// An output as a request asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestedOutput {
    pub name: String,
    /// Whether it shall come as bytes; `None` leaves that to the request.
    pub binary: Option<bool>,
    /// So many of its best classes are wanted in place of its values: never 0.
    pub classification: Option<u32>,
}

impl AsRef<str> for RequestedOutput {
    fn as_ref(&self) -> &str {
        &self.name
    }
}

/// The parameter of a request that asks for all outputs as bytes.
const BINARY_OUTPUT: &str = "binary_data_output";

impl InferRequest {
    /// A parameter of the request as text.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.parameters.get(name).map(ToString::to_string)
    }

    /// Whether outputs come as bytes where nothing else is said of them.
    pub fn wants_binary(&self) -> bool {
        self.parameters.get(BINARY_OUTPUT).and_then(Parameter::as_bool).unwrap_or(false)
    }

    /// What is asked of one output; `None` when the request lists none or others.
    pub fn asked_of(&self, output: &str) -> Option<&RequestedOutput> {
        self.outputs.as_ref()?.iter().find(|asked| asked.name == output)
    }

    /// Whether one output comes as bytes: its own parameter wins over the request's.
    pub fn wants_binary_of(&self, output: &str) -> bool {
        let own = self.asked_of(output).and_then(|asked| asked.binary);
        own.unwrap_or_else(|| self.wants_binary())
    }
}

/// Decodes the body of `POST /v2/models/{m}/infer` that is JSON as a whole.
///
/// # Errors
/// What is not valid JSON or no request, by the member at fault; an input without `data`.
pub fn decode(body: &[u8]) -> Result<InferRequest, BadRequest> {
    let head = head(body, false)?;
    let inputs =
        head.inputs.into_iter().map(|input| input.tensor(None)).collect::<Result<_, _>>()?;
    Ok(InferRequest { inputs, ..head.request })
}

/// Decodes a body that begins with `json_length` bytes of JSON, behind which the blobs of the
/// inputs without `data` stand in their order. A missing `binary_data_size` is taken from shape
/// and datatype, or, for a single input of BYTES, from what the other blobs leave.
///
/// # Errors
/// As [`decode`]; a JSON part longer than the body; blobs that do not fill the rest of the body,
/// or do not fit shape and datatype of their input.
pub fn decode_binary(body: &[u8], json_length: usize) -> Result<InferRequest, BadRequest> {
    let Some((json, blobs)) = body.split_at_checked(json_length) else {
        let came = body.len();
        return Err(BadRequest(format!(
            "Inference-Header-Content-Length is {json_length}: wanted at most the {came} bytes of the body"
        )));
    };
    let head = head(json, true)?;
    let inputs = binary::tensors(head.inputs, blobs)?;
    Ok(InferRequest { inputs, ..head.request })
}

/// Makes a request of a body that is nothing but the bytes of a model's only input, of one row.
/// All outputs are to come as bytes. The body of a BYTES input is its one element, without a
/// length in front.
///
/// # Errors
/// A model of several inputs or with more than one free axis besides the batch, and a body that
/// does not fill its rows.
pub fn decode_raw(body: &[u8], signature: &Signature) -> Result<InferRequest, BadRequest> {
    let inputs = vec![binary::only_input(body, signature)?];
    let mut parameters = Parameters::default();
    parameters.insert(BINARY_OUTPUT, Parameter::Bool(true))?;
    Ok(InferRequest { inputs, parameters, ..InferRequest::default() })
}

fn head(json: &[u8], has_blobs: bool) -> Result<request::Head, BadRequest> {
    let decode = |json: &[u8]| {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let seed = request::Request { body_bytes: json.len(), has_blobs };
        let head = seed.deserialize(&mut reader)?;
        reader.end()?;
        Ok(head)
    };
    bare::decode(json, decode, request::Head::has_mark)
}

#[cfg(test)]
mod tests;
