//! The body of a predict request, read straight into the columns.

use std::fmt;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::Form;
use super::columns::{Columns, Key};
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
        // Only the value itself tells whether it is an object: keep its text and look.
        let text = <&RawValue>::deserialize(json)?.get();
        let mut reader = serde_json::Deserializer::from_str(text);
        let is_named = match text.strip_prefix('{') {
            Some(members) => {
                let is_base64 = members.trim_start().starts_with("\"b64\"");
                !(is_base64 && self.columns.takes_bare_base64())
            }
            None => false,
        };
        let read = if is_named {
            reader.deserialize_map(Named { columns: self.columns })
        } else {
            let place = self.columns.only_input()?;
            self.columns.append(place).deserialize(&mut reader)
        };
        // Where it stood in its own text says nothing about the body.
        read.map_err(|e| D::Error::custom(crate::error::BadRequest::text(&e)))
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
        let before = self.columns.values();
        self.columns.read_members(members, &before)?;
        self.columns.all_came(&before)
    }
}
