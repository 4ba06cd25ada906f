//! The JSON of a request, read member by member straight into typed buffers.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use weighbridge_config::{Datatype, Tensor, TensorData, tensor::element_count};

use super::{BINARY_OUTPUT, InferRequest, RequestedOutput};
use crate::bare;
use crate::bind::NamedTensor;
use crate::elements::{Append, Nesting, append_json};
use crate::error::{BadRequest, shown};
use crate::parameters::{Parameters, members};
use crate::raw;

/// A request whose inputs may still lack their blobs.
pub(super) struct Head {
    pub request: InferRequest,
    pub inputs: Vec<HeadInput>,
}

/// An input as its JSON describes it.
pub(super) struct HeadInput {
    pub name: String,
    pub datatype: Datatype,
    pub shape: Vec<usize>,
    pub given: Given,
}

/// Where the elements of an input are.
pub(super) enum Given {
    /// They came as `data`.
    Data(TensorData),
    /// Behind the JSON, in a blob of so many bytes when the input says it.
    Blob(Option<u64>),
}

impl Head {
    /// True when a bare word stood for a text.
    pub(super) fn has_mark(&self) -> bool {
        let is_mark = |text: &str| text.starts_with(bare::MARK);
        let request = &self.request;
        let outputs = request.outputs.iter().flatten();
        request.id.as_deref().is_some_and(is_mark)
            || outputs.into_iter().any(|asked| is_mark(&asked.name))
            || request.parameters.iter().any(|(_, p)| p.as_text().is_some_and(is_mark))
            || self.inputs.iter().any(|input| {
                is_mark(&input.name)
                    || matches!(&input.given, Given::Data(data) if bare::is_in(data))
            })
    }
}

impl HeadInput {
    /// How errors name this input.
    pub(super) fn label(&self) -> String {
        format!("input {}", shown(&self.name))
    }

    /// The tensor, with its blob if the elements did not come in the JSON.
    pub(super) fn tensor(self, blob: Option<&[u8]>) -> Result<NamedTensor, BadRequest> {
        let label = self.label();
        let tensor = match (self.given, blob) {
            (Given::Data(data), _) => {
                Tensor::new(self.shape, data).map_err(|e| BadRequest(format!("{label}: {e}")))?
            }
            (Given::Blob(_), Some(blob)) => raw::decode(&label, self.datatype, self.shape, blob)?,
            (Given::Blob(_), None) => {
                return Err(BadRequest(format!("{label}: \"data\" is missing")));
            }
        };
        Ok(NamedTensor { name: self.name, tensor })
    }
}

/// Reads a whole request of `body_bytes` bytes of JSON.
pub(super) struct Request {
    pub body_bytes: usize,
    /// Whether blobs may follow the JSON.
    pub has_blobs: bool,
}

impl<'de> DeserializeSeed<'de> for Request {
    type Value = Head;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Head, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Request {
    type Value = Head;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an inference request: an object with \"inputs\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Head, A::Error> {
        let mut request = InferRequest::default();
        let (mut inputs, mut parameters) = (None, None);
        while let Some(Key(key)) = members.next_key::<Key<'de>>()? {
            match key.as_ref() {
                "id" => set_once(&mut request.id, "id", members.next_value::<Id>()?.0)?,
                "inputs" if inputs.is_some() => return Err(twice("inputs")),
                "inputs" => inputs = Some(members.next_value_seed(Inputs(&self))?),
                "outputs" => {
                    let asked = members.next_value::<Option<Vec<OutputText<'de>>>>()?;
                    if let Some(asked) = asked {
                        let asked = asked.into_iter().map(output).collect::<Result<_, _>>();
                        let asked = asked.map_err(A::Error::custom)?;
                        set_once(&mut request.outputs, "outputs", asked)?;
                    }
                }
                "parameters" => {
                    let json = members.next_value::<&RawValue>()?;
                    let read = Parameters::read(json).map_err(A::Error::custom)?;
                    set_once(&mut parameters, "parameters", read)?;
                }
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        let inputs = inputs
            .ok_or_else(|| A::Error::custom("\"inputs\" is missing: wanted a list of tensors"))?;
        // An empty list asks for nothing in particular: clients mean all outputs.
        request.outputs = request.outputs.filter(|asked| !asked.is_empty());
        request.parameters = parameters.unwrap_or_default();
        request.parameters.truth(BINARY_OUTPUT).map_err(A::Error::custom)?;
        Ok(Head { request, inputs })
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

/// A requested output, its parameters still as text.
#[derive(Deserialize)]
#[serde(expecting = "outputs: an object with the name of an output")]
struct OutputText<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

fn output(text: OutputText<'_>) -> Result<RequestedOutput, BadRequest> {
    let label = format!("output {}", shown(&text.name));
    let mut asked = RequestedOutput { name: text.name.into_owned(), ..RequestedOutput::default() };
    let Some(parameters) = text.parameters else { return Ok(asked) };
    for (name, value) in members(parameters, &format!("{label}: parameters"))? {
        let odd = |wanted: &str| {
            let came = shown(value.get());
            BadRequest(format!("{label}: parameter {name} is {came}, wanted {wanted}"))
        };
        match name.as_ref() {
            "binary_data" => {
                let truth = serde_json::from_str(value.get());
                asked.binary = truth.map_err(|_| odd("true or false"))?;
            }
            "classification" => {
                let count: Result<Option<u32>, _> = serde_json::from_str(value.get());
                let count = count.map_err(|_| odd("how many classes, a whole number"))?;
                asked.classification = count.filter(|count| *count > 0);
            }
            name => refuse_shared_memory(&label, name)?,
        }
    }
    Ok(asked)
}

/// Whoever puts tensors into shared memory would miss them without a word.
fn refuse_shared_memory(label: &str, parameter: &str) -> Result<(), BadRequest> {
    if parameter.starts_with("shared_memory_") {
        return Err(BadRequest(format!(
            "{label}: parameter {parameter} came, wanted the tensor in the body: shared memory is not offered"
        )));
    }
    Ok(())
}

struct Inputs<'r>(&'r Request);

impl<'de> DeserializeSeed<'de> for Inputs<'_> {
    type Value = Vec<HeadInput>;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Inputs<'_> {
    type Value = Vec<HeadInput>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"inputs\": a list of tensors")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut inputs = Vec::new();
        loop {
            let seed = Input { request: self.0, place: inputs.len() };
            match list.next_element_seed(seed)? {
                Some(input) => inputs.push(input),
                None => return Ok(inputs),
            }
        }
    }
}

struct Input<'r> {
    request: &'r Request,
    place: usize,
}

impl<'de> DeserializeSeed<'de> for Input<'_> {
    type Value = HeadInput;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<HeadInput, D::Error> {
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
    parameters: Option<&'de RawValue>,
}

impl<'de> Visitor<'de> for Input<'_> {
    type Value = HeadInput;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inputs[{}]: an object with name, shape, datatype and data", self.place)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<HeadInput, A::Error> {
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
                            base64: false,
                        })?;
                        got.data = Some(data);
                    }
                    None => got.early_data = Some(members.next_value()?),
                },
                "parameters" => {
                    let json = members.next_value()?;
                    set_once(&mut got.parameters, "parameters", json)?;
                }
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        self.input(got).map_err(A::Error::custom)
    }
}

impl Input<'_> {
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
        TensorData::with_capacity(datatype, said.min(self.request.body_bytes / 2 + 1))
    }

    fn input(&self, mut got: Members<'_>) -> Result<HeadInput, BadRequest> {
        let label = self.label(&got);
        let missing = |member: &str| BadRequest(format!("{label}: \"{member}\" is missing"));
        let datatype = got.datatype.ok_or_else(|| missing("datatype"))?;
        if let Some(json) = got.early_data {
            let mut data = self.buffer(datatype, got.shape.as_deref());
            append_json(json.get(), &mut data, &mut Nesting::default(), &label)
                .map_err(|e| BadRequest::text(&e))?;
            got.data = Some(data);
        }
        let name = got.name.ok_or_else(|| missing("name"))?.into_owned();
        let shape = got.shape.ok_or_else(|| missing("shape"))?;
        let size = got.parameters.map(|json| binary_data_size(json, &label)).transpose()?.flatten();
        let given = match (got.data, size) {
            (Some(_), Some(_)) => {
                return Err(BadRequest(format!(
                    "{label}: data and binary_data_size both came, wanted one of them"
                )));
            }
            (Some(data), None) => Given::Data(data),
            (None, Some(_)) if !self.request.has_blobs => {
                return Err(BadRequest(format!(
                    "{label}: binary_data_size came, but no binary part: wanted the header Inference-Header-Content-Length"
                )));
            }
            (None, None) if !self.request.has_blobs => return Err(missing("data")),
            (None, size) => Given::Blob(size),
        };
        Ok(HeadInput { name, datatype, shape, given })
    }
}

/// The length of an input's blob, if its parameters say it.
fn binary_data_size(json: &RawValue, label: &str) -> Result<Option<u64>, BadRequest> {
    let mut size = None;
    for (name, value) in members(json, &format!("{label}: parameters"))? {
        if name != "binary_data_size" {
            refuse_shared_memory(label, &name)?;
            continue;
        }
        if size.is_some() {
            return Err(BadRequest(format!("{label}: binary_data_size came twice")));
        }
        let came: Option<u64> = serde_json::from_str(value.get()).map_err(|_| {
            let came = shown(value.get());
            BadRequest(format!(
                "{label}: binary_data_size is {came}, wanted a whole number of 0 or more"
            ))
        })?;
        size = came;
    }
    Ok(size)
}

struct Shape<'a> {
    label: &'a str,
}

impl Shape<'_> {
    const MOST_AXES: usize = 16;

    fn odd<E: serde::de::Error>(&self, came: impl fmt::Display) -> E {
        E::custom(format_args!(
            "{}: shape wants a list of at most {} lengths of 0 or more, {came} came",
            self.label,
            Self::MOST_AXES
        ))
    }
}

impl<'de> DeserializeSeed<'de> for Shape<'_> {
    type Value = Vec<usize>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Vec<usize>, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Shape<'_> {
    type Value = Vec<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: shape wants a list of at most {} lengths", self.label, Self::MOST_AXES)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<usize>, A::Error> {
        let mut shape = Vec::with_capacity(4);
        while let Some(length) = list.next_element::<serde_json::Number>()? {
            if shape.len() == Self::MOST_AXES {
                return Err(self.odd("one axis more"));
            }
            let length = length.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or(length);
            shape.push(length.map_err(|came| self.odd(came))?);
        }
        Ok(shape)
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
