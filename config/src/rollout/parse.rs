//! A submitted document becomes a spec, or a list of what is wrong with it.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::RolloutSpec;

/// One thing that is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SpecMistake {
    /// Where, such as `steps[1]` or `err.rollback_pp`; empty for the document as a whole.
    pub field: String,
    /// What came and what was wanted.
    pub reason: String,
}

impl fmt::Display for SpecMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.reason),
            field => write!(f, "{field}: {}", self.reason),
        }
    }
}

/// A document that is no spec: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct InvalidSpec(pub Vec<SpecMistake>);

impl InvalidSpec {
    pub(crate) fn one(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self(vec![SpecMistake { field: field.into(), reason: reason.into() }])
    }
}

impl RolloutSpec {
    /// Reads a file: JSON when it begins with a brace, TOML otherwise.
    ///
    /// # Errors
    /// All unknown fields and all values that cannot work together; of values of a wrong type
    /// the first.
    pub fn parse(text: &str) -> Result<Self, InvalidSpec> {
        read_text(text, Self::mistakes)
    }

    /// Reads a JSON document.
    ///
    /// # Errors
    /// As [`RolloutSpec::parse`].
    pub fn from_json(document: Value) -> Result<Self, InvalidSpec> {
        read(document, Self::mistakes)
    }
}

/// Reads a file of either form; `mistakes` looks at the values.
pub(crate) fn read_text<S: DeserializeOwned>(
    text: &str,
    mistakes: impl FnOnce(&S) -> Vec<SpecMistake>,
) -> Result<S, InvalidSpec> {
    if text.trim_start().starts_with('{') {
        let value: Result<Value, _> = serde_json::from_str(text);
        return read(value.map_err(|e| InvalidSpec::one("", e.to_string()))?, mistakes);
    }
    let table = toml::Deserializer::parse(text)
        .map_err(|e| InvalidSpec::one("", e.to_string().trim_end().to_owned()))?;
    read(table, mistakes)
}

/// Reads a document strictly; `mistakes` looks at the values.
pub(crate) fn read<'de, S: Deserialize<'de>, D: Deserializer<'de>>(
    document: D,
    mistakes: impl FnOnce(&S) -> Vec<SpecMistake>,
) -> Result<S, InvalidSpec>
where
    D::Error: fmt::Display,
{
    let mut unknown = Vec::new();
    // An optional table is a step of its own in these paths, written as a question mark.
    let mut note = |path: serde_ignored::Path<'_>| unknown.push(path.to_string().replace(".?", ""));
    let mut track = serde_path_to_error::Track::new();
    let document = serde_path_to_error::Deserializer::new(document, &mut track);
    let document = serde_ignored::Deserializer::new(document, &mut note);
    let spec = match S::deserialize(document) {
        Ok(spec) => spec,
        Err(error) => {
            let field = track.path().to_string();
            let reason = error.to_string().trim_end().to_owned();
            return Err(InvalidSpec::one(if field == "." { String::new() } else { field }, reason));
        }
    };
    let mut found: Vec<SpecMistake> = unknown
        .into_iter()
        .map(|field| SpecMistake { field, reason: "there is no such field".to_owned() })
        .collect();
    found.extend(mistakes(&spec));
    if found.is_empty() { Ok(spec) } else { Err(InvalidSpec(found)) }
}
