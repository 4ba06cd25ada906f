//! The body of a predict request, read straight into the columns.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, IntoDeserializer as _, MapAccess,
    SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::Form;
use super::columns::{Columns, Key};
use crate::elements::named;
use crate::error::shown;

/// Refuses another signature than the one that models have here.
pub(super) fn check_signature_name<E: serde::de::Error>(json: &RawValue) -> Result<(), E> {
    match json.get() {
        "null" | "\"\"" | "\"serving_default\"" => Ok(()),
        other => Err(E::custom(format_args!(
            "signature_name is {}: wanted \"serving_default\", the only signature of a model",
            shown(other.trim_matches('"'))
        ))),
    }
}

pub(super) struct Predict<'c, 'a> {
    pub columns: &'c mut Columns<'a>,
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
                "signature_name" => {
                    check_signature_name(members.next_value()?)?;
                    continue;
                }
                _ => {
                    members.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            match form.replace(came) {
                None => {}
                Some(before) if before == came => {
                    return Err(A::Error::custom(format_args!("\"{key}\" came twice")));
                }
                Some(_) => {
                    return Err(A::Error::custom(
                        "wanted one of \"instances\" and \"inputs\", both came",
                    ));
                }
            }
            match came {
                Form::Row => members.next_value_seed(Instances { columns: &mut *self.columns })?,
                // The whole column form is a single value of each input.
                Form::Column => {
                    members.next_value_seed(Instance { columns: &mut *self.columns })?
                }
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
        self.columns.came_as_rows(count);
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
        let signature = self.columns.signature;
        json.deserialize_any(self).map_err(|error| match &signature.inputs[..] {
            [only] => named(&format!("input {}", shown(&only.name)), error),
            _ => error,
        })
    }
}

impl Instance<'_, '_> {
    /// Gives the only input a value that was read already.
    fn only<'de, D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        let place = self.columns.only_input()?;
        self.columns.append(place).deserialize(value)
    }
}

impl<'de> Visitor<'de> for Instance<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("values of the only input, or an object of input names and values")
    }

    fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<(), E> {
        self.only(n.into_deserializer())
    }

    fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<(), E> {
        self.only(n.into_deserializer())
    }

    fn visit_f64<E: serde::de::Error>(self, n: f64) -> Result<(), E> {
        self.only(n.into_deserializer())
    }

    fn visit_bool<E: serde::de::Error>(self, truth: bool) -> Result<(), E> {
        self.only(truth.into_deserializer())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.only(text.into_deserializer())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.only(().into_deserializer())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<(), A::Error> {
        self.only(SeqAccessDeserializer::new(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let first = members.next_key::<Key<'de>>()?.map(|Key(name)| name);
        let is_base64 = first.as_deref() == Some("b64") && self.columns.takes_bare_base64();
        let members = Begun { first, rest: members };
        if is_base64 {
            return self.only(MapAccessDeserializer::new(members));
        }
        let before = self.columns.values();
        self.columns.read_members(members, &before)?;
        self.columns.all_came(&before)
    }
}

/// The members of an object whose first name was read to see what the object is.
struct Begun<'de, A> {
    first: Option<Cow<'de, str>>,
    rest: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Begun<'de, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        match self.first.take() {
            Some(Cow::Borrowed(name)) => {
                seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
            }
            Some(name) => seed.deserialize(name.into_deserializer()).map(Some),
            None => self.rest.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.rest.next_value_seed(seed)
    }
}
