//! The body of a classify or regress request: examples, and what they have in common.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use weighbridge_config::Signature;

use super::columns::{Columns, Key};
use super::predict::check_signature_name;
use crate::error::BadRequest;

/// The memory that a context may take when it is put into all examples: so many times the body,
/// and this much besides. A long context and many examples would fill the memory else.
const CONTEXT_GROWTH: usize = 8;
const CONTEXT_SPARE_BYTES: usize = 16 * 1024;

pub(super) fn read<'s>(
    body: &[u8],
    signature: &'s Signature,
) -> Result<Columns<'s>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    // The context may stand behind the examples: both are kept as text until all came.
    let parts = reader.deserialize_map(Whole)?;
    reader.end()?;
    let room = body.len().saturating_mul(CONTEXT_GROWTH).saturating_add(CONTEXT_SPARE_BYTES);
    let mut columns = Columns::new(signature);
    let mut context = Context { values: vec![None; signature.inputs.len()], room };
    if let Some(text) = parts.context.filter(|text| text.get() != "null") {
        let mut reader = serde_json::Deserializer::from_str(text.get());
        let values = reader.deserialize_map(ContextOf { columns: &columns });
        context.values = values.map_err(without_place)?;
    }
    let mut reader = serde_json::Deserializer::from_str(parts.examples.get());
    let rows = Rows { columns: &mut columns, context };
    rows.deserialize(&mut reader).map_err(without_place)?;
    Ok(columns)
}

/// Line and column of a text cut out of the body would mislead.
fn without_place(error: serde_json::Error) -> serde_json::Error {
    serde_json::Error::custom(BadRequest::text(&error))
}

/// The members of a body, as text.
struct Parts<'de> {
    context: Option<&'de RawValue>,
    examples: &'de RawValue,
}

struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = Parts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a classify or regress request: an object with \"examples\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Parts<'de>, A::Error> {
        let (mut context, mut examples) = (None, None);
        while let Some(Key(key)) = members.next_key::<Key<'de>>()? {
            let place = match key.as_ref() {
                "context" => &mut context,
                "examples" => &mut examples,
                "signature_name" => {
                    check_signature_name(members.next_value()?)?;
                    continue;
                }
                _ => {
                    members.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if place.replace(members.next_value::<&RawValue>()?).is_some() {
                return Err(A::Error::custom(format_args!("\"{key}\" came twice")));
            }
        }
        let examples = examples.ok_or_else(|| A::Error::custom("missing \"examples\""))?;
        Ok(Parts { context, examples })
    }
}

/// The values that examples take which lack them, by place of the input.
struct Context<'de> {
    values: Vec<Option<&'de RawValue>>,
    /// The bytes of elements that may still be put into examples.
    room: usize,
}

struct ContextOf<'c, 'a> {
    columns: &'c Columns<'a>,
}

impl<'de> Visitor<'de> for ContextOf<'_, '_> {
    type Value = Vec<Option<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"context\": an object of input names and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut values = vec![None; self.columns.signature.inputs.len()];
        while let Some(Key(name)) = members.next_key::<Key<'de>>()? {
            let place: usize = self.columns.place(&name)?;
            let value: &RawValue = members.next_value()?;
            if values[place].replace(value).is_some() {
                let name = crate::error::shown(&name);
                return Err(A::Error::custom(format_args!("context: input {name} came twice")));
            }
        }
        Ok(values)
    }
}

struct Rows<'c, 'a, 'de> {
    columns: &'c mut Columns<'a>,
    context: Context<'de>,
}

impl<'de> DeserializeSeed<'de> for Rows<'_, '_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rows<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"examples\": a list with one object per row")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut rows: A) -> Result<(), A::Error> {
        let mut count = 0;
        loop {
            let row = Row { columns: &mut *self.columns, context: &mut self.context, count };
            if rows.next_element_seed(row)?.is_none() {
                break;
            }
            count += 1;
        }
        if count == 0 {
            return Err(A::Error::custom("\"examples\" is empty: wanted at least one row"));
        }
        self.columns.came_as_rows(count);
        Ok(())
    }
}

struct Row<'c, 'a, 'de> {
    columns: &'c mut Columns<'a>,
    context: &'c mut Context<'de>,
    /// The rows before this one.
    count: usize,
}

impl<'de> DeserializeSeed<'de> for Row<'_, '_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "examples[{}]: an object of input names and values", self.count)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        let before = self.columns.values();
        self.columns.read_members(members, &before)?;
        for (place, value) in self.context.values.iter().enumerate() {
            let Some(value) = value.filter(|_| !self.columns.has_more(place, &before)) else {
                continue;
            };
            let elements_before = self.columns.elements(place);
            let mut reader = serde_json::Deserializer::from_str(value.get());
            let read = self.columns.append(place).deserialize(&mut reader);
            read.map_err(|e| A::Error::custom(BadRequest::text(&e)))?;
            let more = self.columns.elements(place) - elements_before;
            // Texts are their place in the list and, about, what was written.
            let taken = match self.columns.signature.inputs[place].datatype.size() {
                Some(size) => more * size,
                None => more * size_of::<Vec<u8>>() + value.get().len(),
            };
            self.context.room = self.context.room.checked_sub(taken).ok_or_else(|| {
                A::Error::custom(
                    "context: put into all examples its values are far longer than the body, wanted them in the examples that need them",
                )
            })?;
        }
        self.columns.all_came(&before)
    }
}
