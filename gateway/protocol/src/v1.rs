//! The `/v1` forms of TF Serving and KServe: predict, classify and regress.
//!
//! Row form: `{"instances": [...]}` answered by `{"predictions": [...]}`; column form:
//! `{"inputs": ...}` answered by `{"outputs": ...}` (TF Serving) or `{"predictions": ...}`
//! (KServe). Tensors carry no datatype and no shape here: the first comes from the model's
//! signature, the second from how the arrays nest. `{"b64": "…"}` stands for an element of BYTES,
//! and outputs of BYTES whose name ends in `_bytes` leave as such. NaN and infinities leave as
//! bare words in TF Serving's dialect, which are no JSON, and as `null` in KServe's; both take
//! either. Source: TF Serving's `api_rest.md`.

mod answer;
mod columns;
mod examples;
mod predict;
mod results;

use serde::de::DeserializeSeed as _;
use weighbridge_config::Signature;

use crate::bare;
use crate::bind::NamedTensor;
use crate::error::BadRequest;
use columns::Columns;

pub use answer::encode;
pub use results::{encode_classes, encode_regression};

/// Which of the two forms a request came in; the answer takes the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `instances`: one element per row.
    Row,
    /// `inputs`: one value per input.
    Column,
}

/// Decodes the body of `POST /v1/models/{m}:predict` with the model's signature.
///
/// # Errors
/// What is not valid JSON or no predict request, by the member or the input at fault; another
/// `signature_name` than `serving_default`.
pub fn decode(body: &[u8], signature: &Signature) -> Result<(Form, Vec<NamedTensor>), BadRequest> {
    let read = |body: &[u8]| {
        let mut reader = serde_json::Deserializer::from_slice(body);
        let mut columns = Columns::new(signature);
        let form = predict::Predict { columns: &mut columns }.deserialize(&mut reader)?;
        reader.end()?;
        Ok((form, columns))
    };
    let has_mark = |(_, columns): &(Form, Columns<'_>)| columns.has_mark();
    let (form, columns) = bare::decode(body, read, has_mark)?;
    Ok((form, columns.into_tensors()?))
}

/// Decodes the body of `:classify` or `:regress`: `{"examples": [{"input": value, …}, …],
/// "context": {…}}`. Each example is a row; it takes from `context` the inputs that it lacks.
///
/// # Errors
/// As [`decode`]; also a context that, put into all examples, would make far more of the body
/// than came.
pub fn decode_examples(body: &[u8], signature: &Signature) -> Result<Vec<NamedTensor>, BadRequest> {
    let read = |body: &[u8]| examples::read(body, signature);
    bare::decode(body, read, Columns::has_mark)?.into_rows()
}

#[cfg(test)]
mod tests;
