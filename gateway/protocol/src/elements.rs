//! JSON arrays, flat or nested, decoded into one typed buffer.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use weighbridge_config::{Datatype, TensorData, with_elements};

use crate::bare;
use crate::error::{BadRequest, shown};

/// Arrays may nest this deep: more axes than any model has.
const DEEPEST: usize = 16;

/// A value that the datatype cannot hold; the text says what was wanted.
pub(crate) struct Unfit(&'static str);

/// How one element of a tensor is made from a JSON value.
pub(crate) trait Element: Sized {
    const WANTED: &'static str;

    fn from_u64(_: u64) -> Result<Self, Unfit> {
        Err(Unfit(Self::WANTED))
    }
    fn from_i64(_: i64) -> Result<Self, Unfit> {
        Err(Unfit(Self::WANTED))
    }
    fn from_f64(_: f64) -> Result<Self, Unfit> {
        Err(Unfit(Self::WANTED))
    }
    fn from_bool(_: bool) -> Result<Self, Unfit> {
        Err(Unfit(Self::WANTED))
    }
    fn from_str(_: &str) -> Result<Self, Unfit> {
        Err(Unfit(Self::WANTED))
    }
    fn from_null() -> Result<Self, Unfit> {
        Err(Unfit(Self::WANTED))
    }
    /// From the text of `{"b64": text}`, where such objects are taken.
    fn from_base64(_: &str) -> Result<Self, Unfit> {
        Err(Unfit(Self::WANTED))
    }
}

macro_rules! integer {
    ($($kind:ty: $wanted:literal),*) => {$(
        impl Element for $kind {
            const WANTED: &'static str = $wanted;
            fn from_u64(n: u64) -> Result<Self, Unfit> {
                Self::try_from(n).map_err(|_| Unfit($wanted))
            }
            fn from_i64(n: i64) -> Result<Self, Unfit> {
                Self::try_from(n).map_err(|_| Unfit($wanted))
            }
        }
    )*};
}
integer! {
    u8: "a whole number from 0 to 255",
    u32: "a whole number from 0 to 4294967295",
    u64: "a whole number from 0 to 18446744073709551615",
    i8: "a whole number from -128 to 127",
    i16: "a whole number from -32768 to 32767",
    i32: "a whole number from -2147483648 to 2147483647",
    i64: "a whole number from -9223372036854775808 to 9223372036854775807"
}

/// UINT16; FP16 and BF16 share its storage but never come as JSON (see [`append_json`]).
impl Element for u16 {
    const WANTED: &'static str = "a whole number from 0 to 65535";
    fn from_u64(n: u64) -> Result<Self, Unfit> {
        Self::try_from(n).map_err(|_| Unfit(Self::WANTED))
    }
}

impl Element for f32 {
    const WANTED: &'static str = "a number within FP32 or null for a missing value";
    fn from_u64(n: u64) -> Result<Self, Unfit> {
        Ok(n as f32)
    }
    fn from_i64(n: i64) -> Result<Self, Unfit> {
        Ok(n as f32)
    }
    fn from_f64(n: f64) -> Result<Self, Unfit> {
        let narrow = n as f32;
        // JSON has no infinity: one that appears here is a number FP32 cannot hold.
        if narrow.is_infinite() { Err(Unfit(Self::WANTED)) } else { Ok(narrow) }
    }
    fn from_str(text: &str) -> Result<Self, Unfit> {
        bare::number(text).map(|n| n as f32).ok_or(Unfit(Self::WANTED))
    }
    fn from_null() -> Result<Self, Unfit> {
        Ok(f32::NAN)
    }
}

impl Element for f64 {
    const WANTED: &'static str = "a number or null for a missing value";
    fn from_u64(n: u64) -> Result<Self, Unfit> {
        Ok(n as f64)
    }
    fn from_i64(n: i64) -> Result<Self, Unfit> {
        Ok(n as f64)
    }
    fn from_f64(n: f64) -> Result<Self, Unfit> {
        Ok(n)
    }
    fn from_str(text: &str) -> Result<Self, Unfit> {
        bare::number(text).ok_or(Unfit(Self::WANTED))
    }
    fn from_null() -> Result<Self, Unfit> {
        Ok(f64::NAN)
    }
}

impl Element for bool {
    const WANTED: &'static str = "true or false (or 1 or 0)";
    fn from_u64(n: u64) -> Result<Self, Unfit> {
        match n {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Unfit(Self::WANTED)),
        }
    }
    fn from_bool(b: bool) -> Result<Self, Unfit> {
        Ok(b)
    }
}

impl Element for Vec<u8> {
    const WANTED: &'static str = "a string";
    fn from_str(text: &str) -> Result<Self, Unfit> {
        Ok(text.as_bytes().to_vec())
    }
    fn from_base64(text: &str) -> Result<Self, Unfit> {
        BASE64.decode(text).map_err(|_| Unfit("base64 in {\"b64\": …}"))
    }
}

/// With or without padding, as clients write it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The lengths of nested arrays, learnt while they pass.
#[derive(Debug, Default)]
pub struct Nesting {
    lengths: Vec<Option<usize>>,
    /// The depth at which plain values stand, once one was seen.
    leaves_at: Option<usize>,
    ragged: bool,
}

impl Nesting {
    fn leaf(&mut self, depth: usize) {
        self.ragged |= *self.leaves_at.get_or_insert(depth) != depth;
    }

    fn array(&mut self, depth: usize, length: usize) {
        if self.lengths.len() <= depth {
            self.lengths.resize(depth + 1, None);
        }
        self.ragged |= *self.lengths[depth].get_or_insert(length) != length;
    }

    /// The nesting with one more axis of `rows` in front, for values that came one by one.
    pub(crate) fn under_rows(mut self, rows: usize) -> Self {
        self.lengths.insert(0, Some(rows));
        self.leaves_at = self.leaves_at.map(|depth| depth + 1);
        self
    }

    /// The shape, or `None` when arrays of one depth differ in length or in depth.
    pub fn shape(&self) -> Option<Vec<usize>> {
        let lengths: Option<Vec<usize>> = self.lengths.iter().copied().collect();
        let shape = lengths.filter(|_| !self.ragged)?;
        match self.leaves_at {
            Some(depth) if depth != shape.len() => None,
            _ => Some(shape),
        }
    }
}

/// Appends a JSON value (a plain value, an array, nested arrays) to `data`.
///
/// `label` names the tensor in errors; `depth` is how many arrays already stand around the
/// value.
pub(crate) struct Append<'a> {
    pub data: &'a mut TensorData,
    pub nesting: &'a mut Nesting,
    pub label: &'a str,
    pub depth: usize,
    /// Whether `{"b64": "…"}` stands for an element of BYTES.
    pub base64: bool,
}

impl<'de> DeserializeSeed<'de> for Append<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let Self { data, nesting, label, depth, base64 } = self;
        let datatype = data.datatype();
        if matches!(datatype, Datatype::Fp16 | Datatype::Bf16) {
            return Err(D::Error::custom(format_args!(
                "{label}: {datatype} cannot be sent as JSON: wanted binary tensor data (parameter binary_data_size)"
            )));
        }
        let read = with_elements!(data, out => {
            Sink { out, nesting, label, datatype, depth, base64 }.deserialize(json)
        });
        read.map_err(|error| named(label, error))
    }
}

/// An error of the reader about a value, with the name of whose it is: the reader refuses such
/// values before an element could.
pub(crate) fn named<E: serde::de::Error>(label: &str, error: E) -> E {
    const OF_VALUES: [&str; 3] = ["number out of range", "unexpected end of hex", "lone"];
    let text = error.to_string();
    if !OF_VALUES.iter().any(|start| text.starts_with(start)) {
        return error;
    }
    let told = text.split_once(" at line ").map_or(text.as_str(), |(told, _)| told);
    E::custom(format_args!("{label}: {told}"))
}

/// Text borrowed unless it holds escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Sink<'a, T> {
    out: &'a mut Vec<T>,
    nesting: &'a mut Nesting,
    label: &'a str,
    datatype: Datatype,
    depth: usize,
    base64: bool,
}

impl<T: Element> Sink<'_, T> {
    fn push<E: serde::de::Error>(
        self,
        element: Result<T, Unfit>,
        came: impl FnOnce() -> String,
    ) -> Result<(), E> {
        match element {
            Ok(element) => {
                self.nesting.leaf(self.depth);
                self.out.push(element);
                Ok(())
            }
            Err(Unfit(wanted)) => {
                let (label, place, datatype) = (self.label, self.out.len(), self.datatype);
                let came = came();
                Err(E::custom(format_args!(
                    "{label}: element {place} is {came}, {datatype} wants {wanted}"
                )))
            }
        }
    }
}

impl<'de, T: Element> DeserializeSeed<'de> for Sink<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, T: Element> Visitor<'de> for Sink<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: values of {}", self.label, self.datatype)
    }

    fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<(), E> {
        self.push(T::from_u64(n), || n.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<(), E> {
        self.push(T::from_i64(n), || n.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, n: f64) -> Result<(), E> {
        self.push(T::from_f64(n), || n.to_string())
    }

    fn visit_bool<E: serde::de::Error>(self, b: bool) -> Result<(), E> {
        self.push(T::from_bool(b), || b.to_string())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.push(T::from_str(text), || shown(text))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.push(T::from_null(), || "null".to_owned())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        let Self { out, nesting, label, datatype, depth, base64 } = self;
        if depth >= DEEPEST {
            return Err(A::Error::custom(format_args!(
                "{label}: arrays nest deeper than {DEEPEST}"
            )));
        }
        let mut length = 0;
        loop {
            let depth = depth + 1;
            let (out, nesting) = (&mut *out, &mut *nesting);
            let element = Sink { out, nesting, label, datatype, depth, base64 };
            if values.next_element_seed(element)?.is_none() {
                break;
            }
            length += 1;
        }
        nesting.array(depth, length);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let (label, place, datatype) = (self.label, self.out.len(), self.datatype);
        let odd = |wanted: &str| {
            A::Error::custom(format_args!(
                "{label}: element {place} is an object, {datatype} wants {wanted}"
            ))
        };
        if !self.base64 || datatype != Datatype::Bytes {
            return Err(odd(T::WANTED));
        }
        const WANTED: &str = "a string or {\"b64\": \"…\"} with that one key";
        let came = members.next_entry::<Text<'de>, Text<'de>>()?;
        let Some((Text(key), Text(text))) = came else { return Err(odd(WANTED)) };
        if key != "b64" || members.next_key::<IgnoredAny>()?.is_some() {
            return Err(odd(WANTED));
        }
        self.push(T::from_base64(&text), || shown(&text))
    }
}

/// Appends one JSON text to `data`; used where the value was kept as text.
pub(crate) fn append_json(
    json: &str,
    data: &mut TensorData,
    nesting: &mut Nesting,
    label: &str,
) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(json);
    Append { data, nesting, label, depth: 0, base64: false }.deserialize(&mut reader)
}

/// The elements of one JSON text, an array that may nest. `label` names the tensor in errors;
/// `expected` is how many elements its shape promises, for room.
pub fn read(
    json: &str,
    datatype: Datatype,
    expected: usize,
    label: &str,
) -> Result<TensorData, BadRequest> {
    // An element takes at least two bytes of JSON: a digit and a comma.
    let mut data = TensorData::with_capacity(datatype, expected.min(json.len() / 2 + 1));
    append_json(json, &mut data, &mut Nesting::default(), label)
        .map_err(|e| BadRequest::text(&e))?;
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(datatype: Datatype, json: &str) -> Result<(TensorData, Option<Vec<usize>>), String> {
        let mut data = TensorData::with_capacity(datatype, 0);
        let mut nesting = Nesting::default();
        append_json(json, &mut data, &mut nesting, "input \"x\"").map_err(|e| e.to_string())?;
        Ok((data, nesting.shape()))
    }

    #[test]
    fn flat_and_nested_arrays_give_the_same_elements() {
        let (flat, shape) = read(Datatype::Fp32, "[1, 2.5, -3, 1e2]").unwrap();
        assert_eq!((&flat, shape), (&TensorData::Fp32(vec![1.0, 2.5, -3.0, 100.0]), Some(vec![4])));
        let (nested, shape) = read(Datatype::Fp32, "[[1, 2.5], [-3, 1e2]]").unwrap();
        assert_eq!((nested, shape), (flat, Some(vec![2, 2])));
        assert_eq!(read(Datatype::Int64, "7").unwrap().1, Some(vec![]));
        assert_eq!(read(Datatype::Int64, "[]").unwrap().1, Some(vec![0]));
        assert_eq!(read(Datatype::Int64, "[[],[]]").unwrap().1, Some(vec![2, 0]));
    }

    #[test]
    fn ragged_arrays_have_no_shape() {
        for json in ["[[1,2],[3]]", "[1,[2]]", "[[1],2]", "[[1],[]]", "[[[1]],[2]]"] {
            assert_eq!(read(Datatype::Int32, json).unwrap().1, None, "{json}");
        }
    }

    #[test]
    fn every_datatype_takes_its_values_and_refuses_others() {
        let cases: [(Datatype, &str, bool); 30] = [
            (Datatype::Bool, "[true,false,1,0]", true),
            (Datatype::Bool, "[2]", false),
            (Datatype::Bool, "[\"true\"]", false),
            (Datatype::Uint8, "[0,255]", true),
            (Datatype::Uint8, "[256]", false),
            (Datatype::Uint8, "[-1]", false),
            (Datatype::Uint16, "[65535]", true),
            (Datatype::Uint16, "[65536]", false),
            (Datatype::Uint32, "[4294967295]", true),
            (Datatype::Uint64, "[18446744073709551615]", true),
            (Datatype::Uint64, "[18446744073709551616]", false),
            (Datatype::Int8, "[-128,127]", true),
            (Datatype::Int8, "[128]", false),
            (Datatype::Int16, "[-32768]", true),
            (Datatype::Int32, "[2147483648]", false),
            (Datatype::Int64, "[-9223372036854775808]", true),
            (Datatype::Int64, "[1.0]", false),
            (Datatype::Int64, "[null]", false),
            (Datatype::Int64, "[\"1\"]", false),
            (Datatype::Int64, "[true]", false),
            (Datatype::Int64, "[{}]", false),
            (Datatype::Fp32, "[1, -2, 3.5, null]", true),
            (Datatype::Fp32, "[1e39]", false),
            (Datatype::Fp32, "[\"1\"]", false),
            (Datatype::Fp64, "[1e39, null]", true),
            (Datatype::Fp64, "[1e999]", false),
            (Datatype::Bytes, "[\"é\", \"\"]", true),
            (Datatype::Bytes, "[1]", false),
            (Datatype::Bytes, "[null]", false),
            (Datatype::Fp16, "[1]", false),
        ];
        for (datatype, json, fits) in cases {
            assert_eq!(read(datatype, json).is_ok(), fits, "{datatype} {json}");
        }
    }

    #[test]
    fn null_is_nan_in_a_float_tensor_and_named_in_an_integer_tensor() {
        let Ok((TensorData::Fp32(values), _)) = read(Datatype::Fp32, "[null]") else {
            panic!("wanted floats");
        };
        assert!(values[0].is_nan());
        let error = read(Datatype::Int32, "[1, null]").unwrap_err();
        assert!(error.contains("element 1 is null"), "{error}");
        assert!(error.contains("INT32 wants a whole number"), "{error}");
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = "[".repeat(40) + &"]".repeat(40);
        assert!(read(Datatype::Fp32, &deep).unwrap_err().contains("deeper than 16"));
    }
}
