//! Parameters of a request, an input or an output: names with plain values.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{BadRequest, shown};

/// More parameters than any client sends.
const MOST: usize = 256;
/// Names that the protocol keeps for the server's own use.
const RESERVED: &str = "triton_";

/// A plain value. REST has no kinds of its own for whole numbers: one that is 0 or more and
/// fits is an `Int`.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameter {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
}

impl Parameter {
    /// A whole number of 0 or more, whatever kind holds it.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Int(n) => u64::try_from(*n).ok(),
            Self::Uint(n) => Some(*n),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(truth) => truth.fmt(f),
            Self::Int(n) => n.fmt(f),
            Self::Uint(n) => n.fmt(f),
            // As JSON writes it: `{}` has no exponents, so that 1e300 would fill a page.
            Self::Double(n) => write!(f, "{n:?}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// The parameters of a request by name; at most 256.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters(BTreeMap<String, Parameter>);

impl Parameters {
    /// Adds a parameter.
    ///
    /// # Errors
    /// A name that came already or that begins with `triton_`, and the 257th parameter.
    pub fn insert(&mut self, name: &str, value: Parameter) -> Result<(), BadRequest> {
        if name.starts_with(RESERVED) {
            let name = shown(name);
            return Err(BadRequest(format!(
                "parameter {name} came: names that begin with \"{RESERVED}\" are kept for the server"
            )));
        }
        if self.0.len() >= MOST {
            return Err(too_many("parameters"));
        }
        if self.0.insert(name.to_owned(), value).is_some() {
            return Err(BadRequest(format!("parameter {} came twice", shown(name))));
        }
        Ok(())
    }

    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.0.get(name)
    }

    /// All parameters, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A truth value by name.
    ///
    /// # Errors
    /// A value of another kind.
    pub fn truth(&self, name: &str) -> Result<Option<bool>, BadRequest> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| {
            let came = shown(&value.to_string());
            BadRequest(format!("parameters.{name} is {came}: wanted true or false"))
        })
    }

    /// Reads the member `parameters` of a request. `null` stands for a parameter that is not set.
    pub(crate) fn read(json: &RawValue) -> Result<Self, BadRequest> {
        let mut parameters = Self::default();
        for (name, text) in members(json, "parameters")? {
            if let Some(value) = value(text, &name)? {
                parameters.insert(&name, value)?;
            }
        }
        Ok(parameters)
    }
}

fn value(json: &RawValue, name: &str) -> Result<Option<Parameter>, BadRequest> {
    let text = json.get();
    let odd = |came: &str| {
        let name = shown(name);
        BadRequest(format!(
            "parameter {name} is {came}: wanted a string, a number or a truth value"
        ))
    };
    Ok(Some(match text.as_bytes().first() {
        Some(b'n') => return Ok(None),
        Some(b't') => Parameter::Bool(true),
        Some(b'f') => Parameter::Bool(false),
        Some(b'"') => {
            Parameter::Text(serde_json::from_str(text).map_err(|e| BadRequest::text(&e))?)
        }
        Some(b'{') => return Err(odd("an object")),
        Some(b'[') => return Err(odd("a list")),
        _ => {
            let number: serde_json::Number =
                serde_json::from_str(text).map_err(|_| odd(&shown(text)))?;
            let whole = number.as_i64().map(Parameter::Int);
            let whole = whole.or_else(|| number.as_u64().map(Parameter::Uint));
            let number = whole.or_else(|| number.as_f64().map(Parameter::Double));
            number.ok_or_else(|| odd(&shown(text)))?
        }
    }))
}

/// The members of an object of parameters, their values still as text; none for `null`.
///
/// # Errors
/// A value that is no object, or one of more than 256 members. `label` names it.
pub(crate) fn members<'a>(json: &'a RawValue, label: &str) -> Result<Members<'a>, BadRequest> {
    match json.get().as_bytes().first() {
        Some(b'n') => Ok(Vec::new()),
        Some(b'{') => serde_json::from_str::<Object<'a>>(json.get())
            .map(|object| object.0)
            .map_err(|e| BadRequest(format!("{label}: {}", BadRequest::text(&e)))),
        _ => {
            let came = shown(json.get());
            Err(BadRequest(format!("{label}: {came} came, wanted an object")))
        }
    }
}

fn too_many(label: &str) -> BadRequest {
    BadRequest(format!("{label}: more than {MOST} came"))
}

pub(crate) type Members<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

struct Object<'a>(Members<'a>);

/// Borrowed unless it holds escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of parameters")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &RawValue>()? {
                    if members.len() >= MOST {
                        return Err(A::Error::custom(format_args!("more than {MOST} came")));
                    }
                    members.push((name, value));
                }
                Ok(Object(members))
            }
        }
        json.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Parameters, String> {
        Parameters::read(serde_json::from_str(json).unwrap()).map_err(|e| e.0)
    }

    #[test]
    fn each_kind_of_value_is_told_from_the_others() {
        let json =
            r#"{"b":true,"i":-7,"n":7,"u":18446744073709551615,"d":1e300,"t":"zoë","x":null}"#;
        let read = read(json).unwrap();
        let wanted = [
            ("b", Parameter::Bool(true)),
            ("d", Parameter::Double(1e300)),
            ("i", Parameter::Int(-7)),
            ("n", Parameter::Int(7)),
            ("t", Parameter::Text("zoë".into())),
            ("u", Parameter::Uint(u64::MAX)),
        ];
        assert!(read.iter().eq(wanted.iter().map(|(name, value)| (*name, value))));
        let texts: Vec<String> = read.iter().map(|(_, value)| value.to_string()).collect();
        assert_eq!(texts, ["true", "1e300", "-7", "7", "zoë", "18446744073709551615"]);
        assert_eq!(read.get("n").unwrap().as_u64(), Some(7));
        assert_eq!(read.get("i").unwrap().as_u64(), None);
        assert_eq!(read.truth("b"), Ok(Some(true)));
        assert_eq!(read.truth("absent"), Ok(None));
        let odd = read.truth("t").unwrap_err().0;
        assert_eq!(odd, "parameters.t is \"zoë\": wanted true or false");
    }

    #[test]
    fn each_mistake_names_the_parameter() {
        let many: Vec<String> = (0..=MOST).map(|i| format!("\"p{i}\":1")).collect();
        let table = [
            (r#"{"a":{}}"#, "parameter \"a\" is an object: wanted a string"),
            (r#"{"a":[1]}"#, "parameter \"a\" is a list: wanted a string"),
            (r#"{"a":1,"a":2}"#, "parameter \"a\" came twice"),
            (r#"{"a":1e999}"#, "parameter \"a\" is \"1e999\""),
            (r#"{"triton_x":1}"#, "parameter \"triton_x\" came: names that begin with \"triton_\""),
            ("[1]", "parameters: \"[1]\" came, wanted an object"),
            ("7", "parameters: \"7\" came, wanted an object"),
            (&format!("{{{}}}", many.join(",")), "parameters: more than 256 came"),
        ];
        for (json, told) in table {
            let mistake = read(json).unwrap_err();
            assert!(mistake.contains(told), "{json}: {mistake} should contain {told}");
        }
        assert!(read("null").unwrap().is_empty());
    }
}
