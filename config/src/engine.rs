//! Which engine runs the versions of a model.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An engine, by name.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum EngineName {
    /// Built in.
    #[default]
    Tract,
    /// ONNX Runtime, a library that the operator installs.
    OnnxRuntime,
}

impl EngineName {
    /// Every engine.
    pub const ALL: [EngineName; 2] = [Self::Tract, Self::OnnxRuntime];

    /// The word in settings, answers and reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tract => "tract",
            Self::OnnxRuntime => "onnxruntime",
        }
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What an operator says about the engine of a version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EngineChoice {
    /// tract, where it is right and not much slower than ONNX Runtime; found out once, when the
    /// version is checked.
    #[default]
    Auto,
    Tract,
    OnnxRuntime,
}

impl EngineChoice {
    /// Every choice by its word.
    pub const WORDS: [(&'static str, EngineChoice); 3] =
        [("auto", Self::Auto), ("tract", Self::Tract), ("onnxruntime", Self::OnnxRuntime)];

    /// The word in settings and requests.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Tract => EngineName::Tract.word(),
            Self::OnnxRuntime => EngineName::OnnxRuntime.word(),
        }
    }
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl From<EngineName> for EngineChoice {
    fn from(name: EngineName) -> Self {
        match name {
            EngineName::Tract => Self::Tract,
            EngineName::OnnxRuntime => Self::OnnxRuntime,
        }
    }
}

/// A word that names no engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an engine: wanted auto, tract or onnxruntime")]
pub struct UnknownEngine(pub String);

impl FromStr for EngineChoice {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        let known = Self::WORDS.iter().find(|(word, _)| *word == text);
        let unknown = || UnknownEngine(text.chars().take(40).collect());
        known.map(|(_, choice)| *choice).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_json_and_in_texts_are_the_same() {
        for (word, choice) in EngineChoice::WORDS {
            assert_eq!((choice.word(), word.parse()), (word, Ok(choice)));
            assert_eq!(serde_json::to_value(choice).unwrap(), word);
        }
        for name in EngineName::ALL {
            assert_eq!(serde_json::to_value(name).unwrap(), name.word());
            assert_eq!(name.word().parse(), Ok(EngineChoice::from(name)));
        }
        let error = EngineChoice::from_str("torch").unwrap_err().to_string();
        assert!(error.contains("\"torch\"") && error.contains("onnxruntime"), "{error}");
    }
}
