//! Where a request's unit comes from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Who or what a request is counted under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum UnitSource {
    /// The value of this HTTP header (lower case).
    Header(String),
    /// The value of this member of `parameters` in an Open Inference Protocol request.
    Parameter(String),
}

/// The longest name of a header or parameter.
const LONGEST: usize = 64;

impl FromStr for UnitSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let token = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let is_name = |n: &str| !n.is_empty() && n.len() <= LONGEST && n.bytes().all(token);
        match text.split_once(':') {
            Some(("header", name)) if is_name(name) => Ok(Self::Header(name.to_ascii_lowercase())),
            Some(("parameter", name)) if is_name(name) => Ok(Self::Parameter(name.to_owned())),
            Some(("claim", _)) => Err(format!(
                "\"{text}\": this release reads no tokens, so it has no claims; wanted header:NAME or parameter:NAME"
            )),
            _ => {
                let text: String = text.chars().take(100).collect();
                Err(format!(
                    "\"{text}\": wanted header:NAME, such as header:x-user-id, or parameter:NAME"
                ))
            }
        }
    }
}

impl fmt::Display for UnitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Parameter(name) => write!(f, "parameter:{name}"),
        }
    }
}

impl TryFrom<String> for UnitSource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<UnitSource> for String {
    fn from(source: UnitSource) -> Self {
        source.to_string()
    }
}
