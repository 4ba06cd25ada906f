//! Answers: JSON, behind which the outputs stand that were wanted as bytes.

use crate::output::Output;
use crate::raw;
use crate::write::{self, Style};

/// The parameter of an output in JSON that says how many of its elements are `null` because they
/// are NaN or infinite, for which JSON has no word. Outputs as bytes are exact.
pub const NON_FINITE: &str = "non_finite_as_null";

/// What an answer is made of.
#[derive(Debug)]
pub struct InferResponse<'a> {
    pub model_name: &'a str,
    pub model_version: &'a str,
    pub id: Option<&'a str>,
    /// The outputs in the order asked for; a labelled one gets the parameter `by_label`.
    pub outputs: &'a [Output<'a>],
}

/// An answer on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub body: Vec<u8>,
    /// The bytes of JSON at the start of `body`, for the header Inference-Header-Content-Length,
    /// when binary outputs follow; `None` when the whole body is JSON.
    pub json_length: Option<usize>,
}

/// Writes the answer of `infer`. In JSON, NaN and infinities become `null`, which the output's
/// parameter [`NON_FINITE`] counts.
pub fn encode(answer: &InferResponse<'_>) -> Encoded {
    let room: usize = answer.outputs.iter().map(room).sum();
    let mut out = Vec::with_capacity(160 + answer.model_name.len() + room);
    out.extend_from_slice(b"{\"model_name\":");
    write::string(&mut out, answer.model_name);
    out.extend_from_slice(b",\"model_version\":");
    write::string(&mut out, answer.model_version);
    if let Some(id) = answer.id {
        out.extend_from_slice(b",\"id\":");
        write::string(&mut out, id);
    }
    out.extend_from_slice(b",\"outputs\":[");
    for (place, output) in answer.outputs.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        json(&mut out, output);
    }
    out.extend_from_slice(b"]}");
    let json_length = out.len();
    let mut has_blobs = false;
    for output in answer.outputs.iter().filter(|output| output.binary) {
        has_blobs = true;
        raw::encode(output.tensor.data(), &mut out);
    }
    Encoded { body: out, json_length: has_blobs.then_some(json_length) }
}

/// About the bytes that an output takes.
fn room(output: &Output<'_>) -> usize {
    let data = output.tensor.data();
    let elements = if output.binary { raw::encoded_len(data) } else { data.len() * 12 };
    elements + 128 + output.name.len()
}

fn json(out: &mut Vec<u8>, output: &Output<'_>) {
    let Output { name, tensor, binary, .. } = output;
    out.extend_from_slice(b"{\"name\":");
    write::string(out, name);
    out.extend_from_slice(b",\"datatype\":\"");
    out.extend_from_slice(tensor.datatype().name().as_bytes());
    out.extend_from_slice(b"\",\"shape\":");
    write::shape(out, tensor.shape());
    let mut parameters = Parameters { out, any: false };
    if *binary {
        parameters.count("binary_data_size", raw::encoded_len(tensor.data()));
    } else {
        match write::non_finite(tensor.data()) {
            0 => {}
            count => parameters.count(NON_FINITE, count),
        }
    }
    if output.is_labelled() {
        output.write_by_label(parameters.named("by_label"), Style::default());
    }
    parameters.end();
    if !binary {
        out.extend_from_slice(b",\"data\":");
        write::flat(out, tensor.data());
    }
    out.push(b'}');
}

/// The member `parameters`, left out when it has none.
struct Parameters<'a> {
    out: &'a mut Vec<u8>,
    any: bool,
}

impl Parameters<'_> {
    /// Where the value of a parameter is to be written.
    fn named(&mut self, name: &str) -> &mut Vec<u8> {
        let lead: &[u8] = if self.any { b"," } else { b",\"parameters\":{" };
        self.any = true;
        self.out.extend_from_slice(lead);
        write::string(self.out, name);
        self.out.push(b':');
        self.out
    }

    fn count(&mut self, name: &str, count: usize) {
        let digits = count.to_string();
        self.named(name).extend_from_slice(digits.as_bytes());
    }

    fn end(self) {
        if self.any {
            self.out.push(b'}');
        }
    }
}
