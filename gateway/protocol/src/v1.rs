//! The `/v1` predict forms of TF Serving and KServe.
//!
//! Row form: `{"instances": [...]}` answered by `{"predictions": [...]}`; column form:
//! `{"inputs": ...}` answered by `{"outputs": ...}` (TF Serving) or `{"predictions": ...}`
//! (KServe). Tensors carry no datatype and no shape here: the first comes from the model's
//! signature, the second from how the arrays nest. Source: TF Serving's `api_rest.md`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use weighbridge_config::{Signature, Tensor, TensorData, V1Dialect};

use crate::bare;
use crate::bind::NamedTensor;
use crate::elements::{Append, Nesting};
use crate::error::{BadRequest, shown};
use crate::output::Output;
use crate::write;

/// Which of the two forms a request came in; the answer takes the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `instances`: one element per row.
    Row,
    /// `inputs`: one value per input.
    Column,
}

/// Decodes the body of `POST /v1/models/{m}:predict` with the model's signature.
pub fn decode(body: &[u8], signature: &Signature) -> Result<(Form, Vec<NamedTensor>), BadRequest> {
    let read = |body: &[u8]| {
        let mut reader = serde_json::Deserializer::from_slice(body);
        let mut columns = Columns::new(signature);
        let form = Predict { columns: &mut columns }.deserialize(&mut reader)?;
        reader.end()?;
        Ok((form, columns))
    };
    let has_mark = |(_, columns): &(Form, Columns<'_>)| {
        columns.columns.iter().any(|column| bare::is_in(&column.data))
    };
    let (form, columns) = bare::decode(body, read, has_mark)?;
    Ok((form, columns.into_tensors()?))
}

/// Writes the answer: `outputs` stand in signature order; the rows of labelled ones are objects.
pub fn encode(
    form: Form,
    dialect: V1Dialect,
    outputs: &[Output<'_>],
) -> Result<Vec<u8>, BadRequest> {
    let mut out = Vec::with_capacity(256);
    match form {
        Form::Row => {
            out.extend_from_slice(b"{\"predictions\":");
            rows(&mut out, outputs)?;
        }
        Form::Column => {
            let key = match dialect {
                V1Dialect::Tfs => "{\"outputs\":",
                V1Dialect::Kserve => "{\"predictions\":",
            };
            out.extend_from_slice(key.as_bytes());
            match outputs {
                [only] => whole(&mut out, only),
                several => object(&mut out, several, whole),
            }
        }
    }
    out.push(b'}');
    Ok(out)
}

fn rows(out: &mut Vec<u8>, outputs: &[Output<'_>]) -> Result<(), BadRequest> {
    let count = outputs.first().map_or(0, |o| o.tensor.rows());
    if outputs.iter().any(|o| o.tensor.shape().first() != Some(&count)) {
        return Err(BadRequest::new(
            "the model's outputs do not have one element per instance: ask with \"inputs\" instead of \"instances\"",
        ));
    }
    out.push(b'[');
    for row in 0..count {
        if row > 0 {
            out.push(b',');
        }
        match outputs {
            [only] => one_row(out, only, row),
            several => object(out, several, |out, output| one_row(out, output, row)),
        }
    }
    out.push(b']');
    Ok(())
}

fn whole(out: &mut Vec<u8>, output: &Output<'_>) {
    if output.is_labelled() {
        output.write_by_label(out);
    } else {
        write::nested(out, output.tensor.shape(), output.tensor.data(), 0);
    }
}

fn one_row(out: &mut Vec<u8>, output: &Output<'_>, row: usize) {
    if output.is_labelled() {
        output.write_row_by_label(out, row);
    } else {
        write::nested_row(out, output.tensor.shape(), output.tensor.data(), row);
    }
}

fn object(out: &mut Vec<u8>, outputs: &[Output<'_>], value: impl Fn(&mut Vec<u8>, &Output<'_>)) {
    out.push(b'{');
    for (place, output) in outputs.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write::string(out, output.name);
        out.push(b':');
        value(out, output);
    }
    out.push(b'}');
}

/// One growing buffer per input of the model.
struct Columns<'a> {
    signature: &'a Signature,
    columns: Vec<Column>,
    /// How errors name each input.
    labels: Vec<String>,
}

struct Column {
    data: TensorData,
    /// The nesting of one row (row form) or of the whole value (column form).
    nesting: Nesting,
    /// Values that came: rows in row form, one in column form.
    values: usize,
}

impl<'a> Columns<'a> {
    fn new(signature: &'a Signature) -> Self {
        let column = |datatype| Column {
            data: TensorData::with_capacity(datatype, 0),
            nesting: Nesting::default(),
            values: 0,
        };
        let columns = signature.inputs.iter().map(|spec| column(spec.datatype)).collect();
        let labels = signature.inputs.iter().map(|s| format!("input {}", shown(&s.name))).collect();
        Self { signature, columns, labels }
    }

    fn append(&mut self, place: usize) -> Append<'_> {
        let column = &mut self.columns[place];
        column.values += 1;
        Append {
            data: &mut column.data,
            nesting: &mut column.nesting,
            label: &self.labels[place],
            depth: 0,
        }
    }

    /// The only input, where a bare value stands for it.
    fn only_input<E: serde::de::Error>(&self) -> Result<usize, E> {
        if self.columns.len() == 1 {
            return Ok(0);
        }
        Err(E::custom(format_args!(
            "the model has {} inputs ({}): each wants its name, send objects instead of plain values",
            self.columns.len(),
            self.names()
        )))
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.signature.inputs.iter().map(|s| shown(&s.name)).collect();
        names.join(", ")
    }

    /// Reads an object of input name → value.
    fn read_named<'de, A: MapAccess<'de>>(&mut self, mut members: A) -> Result<(), A::Error> {
        let before: Vec<usize> = self.columns.iter().map(|c| c.values).collect();
        while let Some(Key(name)) = members.next_key::<Key<'de>>()? {
            let Some(place) = self.signature.input_index(&name) else {
                return Err(A::Error::custom(format_args!(
                    "unknown input {}: the model takes {}",
                    shown(&name),
                    self.names()
                )));
            };
            if self.columns[place].values != before[place] {
                return Err(A::Error::custom(format_args!("input {} came twice", shown(&name))));
            }
            members.next_value_seed(self.append(place))?;
        }
        let missing = (0..before.len()).find(|p| self.columns[*p].values == before[*p]);
        match missing {
            Some(place) => Err(A::Error::custom(format_args!("{} is missing", self.labels[place]))),
            None => Ok(()),
        }
    }

    /// The tensors, with the axis of instances in front in row form. A model that wants a
    /// column (`[-1, 1]`) takes plain values: that is how people write tables.
    fn into_tensors(self) -> Result<Vec<NamedTensor>, BadRequest> {
        let mut tensors = Vec::with_capacity(self.columns.len());
        for ((column, spec), label) in
            self.columns.into_iter().zip(&self.signature.inputs).zip(&self.labels)
        {
            let Some(mut shape) = column.nesting.shape() else {
                return Err(BadRequest(format!(
                    "{label}: its arrays differ in length, wanted shape {:?}",
                    spec.shape
                )));
            };
            if shape.len() + 1 == spec.shape.len() && spec.shape.last() == Some(&1) {
                shape.push(1);
            }
            let tensor =
                Tensor::new(shape, column.data).map_err(|e| BadRequest(format!("{label}: {e}")))?;
            tensors.push(NamedTensor { name: spec.name.clone(), tensor });
        }
        Ok(tensors)
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

struct Predict<'c, 'a> {
    columns: &'c mut Columns<'a>,
}

impl<'de> DeserializeSeed<'de> for Predict<'_, '_> {
    type Value = Form;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Form, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Predict<'_, '_> {
    type Value = Form;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a predict request: an object with \"instances\" or \"inputs\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Form, A::Error> {
        let mut form = None;
        while let Some(Key(key)) = members.next_key::<Key<'de>>()? {
            let came = match key.as_ref() {
                "instances" => Form::Row,
                "inputs" => Form::Column,
                _ => {
                    members.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if form.replace(came).is_some() {
                return Err(A::Error::custom(
                    "wanted one of \"instances\" and \"inputs\", both came",
                ));
            }
            match came {
                Form::Row => members.next_value_seed(Instances { columns: &mut *self.columns })?,
                Form::Column => members.next_value_seed(Whole { columns: &mut *self.columns })?,
            }
        }
        form.ok_or_else(|| A::Error::custom("missing \"instances\" or \"inputs\""))
    }
}

struct Instances<'c, 'a> {
    columns: &'c mut Columns<'a>,
}

impl<'de> DeserializeSeed<'de> for Instances<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Instances<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"instances\": a list with one element per row")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        let mut count = 0;
        while rows.next_element_seed(Instance { columns: &mut *self.columns })?.is_some() {
            count += 1;
        }
        if count == 0 {
            return Err(A::Error::custom("\"instances\" is empty: wanted at least one row"));
        }
        for column in &mut self.columns.columns {
            column.nesting = std::mem::take(&mut column.nesting).under_rows(count);
        }
        Ok(())
    }
}

/// One row: a plain value or array for a model of one input, or an object of inputs.
struct Instance<'c, 'a> {
    columns: &'c mut Columns<'a>,
}

impl<'de> DeserializeSeed<'de> for Instance<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        // Only the value itself tells whether it is an object: keep its text and look.
        let text = <&serde_json::value::RawValue>::deserialize(json)?.get();
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = if text.starts_with('{') {
            reader.deserialize_map(Named { columns: self.columns })
        } else {
            let place = self.columns.only_input()?;
            self.columns.append(place).deserialize(&mut reader)
        };
        read.map_err(D::Error::custom)
    }
}

/// The whole column form: a bare value for a model of one input, or an object of inputs.
struct Whole<'c, 'a> {
    columns: &'c mut Columns<'a>,
}

impl<'de> DeserializeSeed<'de> for Whole<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        Instance { columns: self.columns }.deserialize(json)
    }
}

struct Named<'c, 'a> {
    columns: &'c mut Columns<'a>,
}

impl<'de> Visitor<'de> for Named<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of input names and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        self.columns.read_named(members)
    }
}

#[cfg(test)]
mod tests;
