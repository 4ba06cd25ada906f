//! Open Inference Protocol v2 in JSON: requests decoded, answers written.
//!
//! Source: `inference_rest.md` of kserve/open-inference-protocol. Unknown members are
//! ignored, since clients send their own; a member that comes twice is refused.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use weighbridge_config::{Datatype, Tensor, TensorData, tensor::element_count};

use crate::bind::NamedTensor;
use crate::elements::{Append, Nesting, append_json};
use crate::error::{BadRequest, shown};
use crate::output::Output;
use crate::write;

/// A decoded inference request, not yet held against a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InferRequest {
    /// Echoed in the answer.
    pub id: Option<String>,
    pub inputs: Vec<NamedTensor>,
    /// The outputs asked for; `None` means all.
    pub outputs: Option<Vec<String>>,
    /// The member `parameters` as it came: JSON, read when somebody asks for one.
    pub parameters: Option<String>,
}

impl InferRequest {
    /// A parameter of the request as text, if it came and is text, a number or a truth value.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let parameters: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(self.parameters.as_deref()?).ok()?;
        match parameters.get(name)? {
            serde_json::Value::String(text) => Some(text.clone()),
            value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => {
                Some(value.to_string())
            }
            _ => None,
        }
    }
}

/// Decodes the body of `POST /v2/models/{m}/infer`.
pub fn decode(body: &[u8]) -> Result<InferRequest, BadRequest> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let seed = Request { body_bytes: body.len() };
    let request = seed.deserialize(&mut reader).map_err(|e| BadRequest::json(&e))?;
    reader.end().map_err(|e| BadRequest::json(&e))?;
    Ok(request)
}

/// What an answer is made of.
#[derive(Debug)]
pub struct InferResponse<'a> {
    pub model_name: &'a str,
    pub model_version: &'a str,
    pub id: Option<&'a str>,
    /// The outputs in the order asked for; a labelled one gets the parameter `by_label`.
    pub outputs: &'a [Output<'a>],
}

/// Writes the answer of `infer`. NaN and infinities become `null`: JSON has no word for them.
pub fn encode(answer: &InferResponse<'_>) -> Vec<u8> {
    let elements: usize = answer.outputs.iter().map(|o| o.tensor.data().len()).sum();
    let mut out = Vec::with_capacity(160 + answer.outputs.len() * 80 + elements * 12);
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
        let Output { name, tensor, .. } = output;
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"name\":");
        write::string(&mut out, name);
        out.extend_from_slice(b",\"datatype\":\"");
        out.extend_from_slice(tensor.datatype().name().as_bytes());
        out.extend_from_slice(b"\",\"shape\":");
        write::shape(&mut out, tensor.shape());
        out.extend_from_slice(b",\"data\":");
        write::flat(&mut out, tensor.data());
        if output.is_labelled() {
            out.extend_from_slice(b",\"parameters\":{\"by_label\":");
            output.write_by_label(&mut out);
            out.push(b'}');
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    out
}

struct Request {
    body_bytes: usize,
}

impl<'de> DeserializeSeed<'de> for Request {
    type Value = InferRequest;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<InferRequest, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Request {
    type Value = InferRequest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an inference request: an object with \"inputs\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<InferRequest, A::Error> {
        let mut request = InferRequest::default();
        let mut seen_inputs = false;
        while let Some(Key(key)) = members.next_key::<Key<'de>>()? {
            match key.as_ref() {
                "id" => set_once(&mut request.id, "id", members.next_value::<Id>()?.0)?,
                "inputs" if seen_inputs => return Err(twice("inputs")),
                "inputs" => {
                    seen_inputs = true;
                    request.inputs =
                        members.next_value_seed(Inputs { body_bytes: self.body_bytes })?;
                }
                "outputs" => {
                    let asked = members.next_value::<Option<Vec<RequestedOutput>>>()?;
                    let names = asked.map(|list| list.into_iter().map(|o| o.name).collect());
                    if let Some(names) = names {
                        set_once(&mut request.outputs, "outputs", names)?;
                    }
                }
                "parameters" => {
                    let json = members.next_value::<&RawValue>()?.get().to_owned();
                    if !json.starts_with('{') && json != "null" {
                        return Err(A::Error::custom("\"parameters\": wanted an object"));
                    }
                    set_once(&mut request.parameters, "parameters", json)?;
                }
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        if !seen_inputs {
            return Err(A::Error::custom("\"inputs\" is missing: wanted a list of tensors"));
        }
        // An empty list asks for nothing in particular: clients mean all outputs.
        request.outputs = request.outputs.filter(|names| !names.is_empty());
        Ok(request)
    }
}

/// Members borrow their name from the body unless it holds escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Clients send ids as text; some as numbers.
struct Id(String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "\"id\" wants a string")]
        enum TextOrNumber {
            Text(String),
            Number(u64),
        }
        Ok(match TextOrNumber::deserialize(json)? {
            TextOrNumber::Text(text) => Id(text),
            TextOrNumber::Number(number) => Id(number.to_string()),
        })
    }
}

#[derive(Deserialize)]
struct RequestedOutput {
    name: String,
}

struct Inputs {
    body_bytes: usize,
}

impl<'de> DeserializeSeed<'de> for Inputs {
    type Value = Vec<NamedTensor>;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Inputs {
    type Value = Vec<NamedTensor>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"inputs\": a list of tensors")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut inputs = Vec::new();
        loop {
            let seed = Input { body_bytes: self.body_bytes, place: inputs.len() };
            match list.next_element_seed(seed)? {
                Some(input) => inputs.push(input),
                None => return Ok(inputs),
            }
        }
    }
}

struct Input {
    body_bytes: usize,
    place: usize,
}

impl<'de> DeserializeSeed<'de> for Input {
    type Value = NamedTensor;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<NamedTensor, D::Error> {
        json.deserialize_map(self)
    }
}

/// The members of an input as they come, in any order.
#[derive(Default)]
struct Members<'de> {
    name: Option<Cow<'de, str>>,
    shape: Option<Vec<usize>>,
    datatype: Option<Datatype>,
    data: Option<TensorData>,
    /// `data` that stood before `datatype`, kept as text until the type is known.
    early_data: Option<&'de RawValue>,
}

impl<'de> Visitor<'de> for Input {
    type Value = NamedTensor;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inputs[{}]: an object with name, shape, datatype and data", self.place)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<NamedTensor, A::Error> {
        let mut got = Members::default();
        while let Some(Key(key)) = members.next_key::<Key<'de>>()? {
            match key.as_ref() {
                "name" => set_once(&mut got.name, "name", members.next_value::<Key<'de>>()?.0)?,
                "shape" => {
                    let shape = members.next_value_seed(Shape { label: &self.label(&got) })?;
                    set_once(&mut got.shape, "shape", shape)?;
                }
                "datatype" => {
                    let word = members.next_value::<Key<'de>>()?.0;
                    let datatype = word
                        .parse()
                        .map_err(|e| A::Error::custom(format_args!("{}: {e}", self.label(&got))))?;
                    set_once(&mut got.datatype, "datatype", datatype)?;
                }
                "data" if got.data.is_some() || got.early_data.is_some() => {
                    return Err(twice("data"));
                }
                "data" => match got.datatype {
                    Some(datatype) => {
                        let mut data = self.buffer(datatype, got.shape.as_deref());
                        let label = self.label(&got);
                        let mut nesting = Nesting::default();
                        let (data_ref, nesting) = (&mut data, &mut nesting);
                        members.next_value_seed(Append {
                            data: data_ref,
                            nesting,
                            label: &label,
                            depth: 0,
                        })?;
                        got.data = Some(data);
                    }
                    None => got.early_data = Some(members.next_value()?),
                },
                "parameters" => {
                    let parameters = members.next_value::<Option<InputParameters>>()?;
                    if parameters.is_some_and(|p| p.binary_data_size.is_some()) {
                        return Err(A::Error::custom(format_args!(
                            "{}: binary_data_size came, but this server takes tensors as JSON \"data\"",
                            self.label(&got)
                        )));
                    }
                }
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        self.tensor(got).map_err(A::Error::custom)
    }
}

#[derive(Deserialize)]
struct InputParameters {
    binary_data_size: Option<IgnoredAny>,
}

impl Input {
    /// How errors name this input: by name once it is known, else by place.
    fn label(&self, got: &Members<'_>) -> String {
        match &got.name {
            Some(name) => format!("input {}", shown(name)),
            None => format!("inputs[{}]", self.place),
        }
    }

    /// A buffer for the shape, never larger than the body could fill.
    fn buffer(&self, datatype: Datatype, shape: Option<&[usize]>) -> TensorData {
        let said = shape.and_then(element_count).unwrap_or(0);
        // An element takes at least two bytes of JSON: a digit and a comma.
        TensorData::with_capacity(datatype, said.min(self.body_bytes / 2 + 1))
    }

    fn tensor(&self, mut got: Members<'_>) -> Result<NamedTensor, String> {
        let label = self.label(&got);
        let missing = |member: &str| format!("{label}: \"{member}\" is missing");
        let datatype = got.datatype.ok_or_else(|| missing("datatype"))?;
        if let Some(json) = got.early_data {
            let mut data = self.buffer(datatype, got.shape.as_deref());
            append_json(json.get(), &mut data, &mut Nesting::default(), &label)
                .map_err(|e| e.to_string())?;
            got.data = Some(data);
        }
        let name = got.name.ok_or_else(|| missing("name"))?.into_owned();
        let shape = got.shape.ok_or_else(|| missing("shape"))?;
        let data = got.data.ok_or_else(|| missing("data"))?;
        let tensor = Tensor::new(shape, data).map_err(|e| format!("{label}: {e}"))?;
        Ok(NamedTensor { name, tensor })
    }
}

struct Shape<'a> {
    label: &'a str,
}

impl<'de> DeserializeSeed<'de> for Shape<'_> {
    type Value = Vec<usize>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Vec<usize>, D::Error> {
        const MOST_AXES: usize = 16;
        let wanted = |came: &dyn fmt::Display| {
            D::Error::custom(format_args!(
                "{}: shape wants a list of at most {MOST_AXES} lengths of 0 or more, {came} came",
                self.label
            ))
        };
        let lengths = Vec::<serde_json::Number>::deserialize(json).map_err(|e| wanted(&e))?;
        if lengths.len() > MOST_AXES {
            return Err(wanted(&format_args!("{} axes", lengths.len())));
        }
        let length = |n: &serde_json::Number| {
            n.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| wanted(n))
        };
        lengths.iter().map(length).collect()
    }
}

fn set_once<T, E: serde::de::Error>(field: &mut Option<T>, name: &str, value: T) -> Result<(), E> {
    if field.replace(value).is_some() {
        return Err(twice(name));
    }
    Ok(())
}

fn twice<E: serde::de::Error>(name: &str) -> E {
    E::custom(format_args!("\"{name}\" came twice"))
}

#[cfg(test)]
mod tests;
