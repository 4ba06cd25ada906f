//! One growing buffer per input of the model.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Error as _, MapAccess};
use weighbridge_config::{Datatype, Signature, Tensor, TensorData, TensorSpec};

use crate::bare;
use crate::bind::NamedTensor;
use crate::elements::{Append, Nesting};
use crate::error::{BadRequest, shown};

/// Names and keys borrow from the body unless they hold escapes.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Key<'a>(#[serde(borrow)] pub Cow<'a, str>);

pub(super) struct Columns<'a> {
    pub signature: &'a Signature,
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
    pub(super) fn new(signature: &'a Signature) -> Self {
        let column = |datatype| Column {
            data: TensorData::with_capacity(datatype, 0),
            nesting: Nesting::default(),
            values: 0,
        };
        let columns = signature.inputs.iter().map(|spec| column(spec.datatype)).collect();
        let labels = signature.inputs.iter().map(|s| format!("input {}", shown(&s.name))).collect();
        Self { signature, columns, labels }
    }

    /// True when a bare word stood for a text.
    pub(super) fn has_mark(&self) -> bool {
        self.columns.iter().any(|column| bare::is_in(&column.data))
    }

    /// What reads a value into input number `place`.
    pub(super) fn append(&mut self, place: usize) -> Append<'_> {
        let column = &mut self.columns[place];
        column.values += 1;
        Append {
            data: &mut column.data,
            nesting: &mut column.nesting,
            label: &self.labels[place],
            depth: 0,
            base64: true,
        }
    }

    /// The only input, where a bare value stands for it.
    pub(super) fn only_input<E: serde::de::Error>(&self) -> Result<usize, E> {
        if self.columns.len() == 1 {
            return Ok(0);
        }
        Err(E::custom(format_args!(
            "the model has {} inputs ({}): each wants its name, send objects instead of plain values",
            self.columns.len(),
            self.names()
        )))
    }

    /// Whether an object with the one key `b64` stands for a value, as no input has that name.
    pub(super) fn takes_bare_base64(&self) -> bool {
        matches!(&self.signature.inputs[..], [TensorSpec { name, datatype, .. }]
            if *datatype == Datatype::Bytes && name != "b64")
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.signature.inputs.iter().map(|s| shown(&s.name)).collect();
        names.join(", ")
    }

    /// The place of an input by name.
    pub(super) fn place<E: serde::de::Error>(&self, name: &str) -> Result<usize, E> {
        self.signature.input_index(name).ok_or_else(|| {
            E::custom(format_args!(
                "unknown input {}: the model takes {}",
                shown(name),
                self.names()
            ))
        })
    }

    /// How many values each input has.
    pub(super) fn values(&self) -> Vec<usize> {
        self.columns.iter().map(|column| column.values).collect()
    }

    /// How many elements input number `place` has.
    pub(super) fn elements(&self, place: usize) -> usize {
        self.columns[place].data.len()
    }

    /// Whether input number `place` got a value since `before`.
    pub(super) fn has_more(&self, place: usize, before: &[usize]) -> bool {
        before.get(place).is_some_and(|values| self.columns[place].values != *values)
    }

    /// Reads the members of an object of input name → value.
    pub(super) fn read_members<'de, A: MapAccess<'de>>(
        &mut self,
        mut members: A,
        before: &[usize],
    ) -> Result<(), A::Error> {
        while let Some(Key(name)) = members.next_key::<Key<'de>>()? {
            let place = self.place(&name)?;
            if self.has_more(place, before) {
                return Err(A::Error::custom(format_args!("input {} came twice", shown(&name))));
            }
            members.next_value_seed(self.append(place))?;
        }
        Ok(())
    }

    /// Refuses an object in which an input was missing.
    pub(super) fn all_came<E: serde::de::Error>(&self, before: &[usize]) -> Result<(), E> {
        match (0..self.columns.len()).find(|place| !self.has_more(*place, before)) {
            Some(place) => Err(E::custom(format_args!("{} is missing", self.labels[place]))),
            None => Ok(()),
        }
    }

    /// Tells each input that its values were `rows` rows.
    pub(super) fn came_as_rows(&mut self, rows: usize) {
        for column in &mut self.columns {
            column.nesting = std::mem::take(&mut column.nesting).under_rows(rows);
        }
    }

    /// The tensors, with the axis of instances in front in row form. A model that wants a
    /// column (`[-1, 1]`) takes plain values: that is how people write tables.
    pub(super) fn into_tensors(self) -> Result<Vec<NamedTensor>, BadRequest> {
        self.shaped(|shape, wanted| {
            if shape.len() + 1 == wanted.len() && wanted.last() == Some(&1) {
                shape.push(1);
            }
        })
    }

    /// As [`Self::into_tensors`]; a model that wants plain values (`[-1]`) takes lists of one too:
    /// a feature of an example is a list.
    pub(super) fn into_rows(self) -> Result<Vec<NamedTensor>, BadRequest> {
        self.shaped(|shape, wanted| {
            if shape.len() + 1 == wanted.len() && wanted.last() == Some(&1) {
                shape.push(1);
            } else if shape.len() == wanted.len() + 1 && shape.last() == Some(&1) {
                shape.pop();
            }
        })
    }

    fn shaped(self, fit: impl Fn(&mut Vec<usize>, &[i64])) -> Result<Vec<NamedTensor>, BadRequest> {
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
            fit(&mut shape, &spec.shape);
            let tensor =
                Tensor::new(shape, column.data).map_err(|e| BadRequest(format!("{label}: {e}")))?;
            tensors.push(NamedTensor { name: spec.name.clone(), tensor });
        }
        Ok(tensors)
    }
}
