//! Names that appear on the wire, in the registry and in file names, checked once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name or version number that does not follow the rules; says what came and what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} \"{got}\" is not valid: {wanted}")]
pub struct InvalidName {
    what: &'static str,
    got: String,
    wanted: &'static str,
}

const MODEL_RULE: &str =
    "wanted 1 to 128 letters, digits, dots, underscores or dashes, the first a letter or digit";
const RESERVED: [&str; 3] = ["stats", "ready", "index"];
const DERIVED_ALIASES: [&str; 2] = ["stable", "canary"];

fn follows_name_rule(name: &str) -> bool {
    let first_fits = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let all_fit =
        name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    first_fits && all_fit && name.len() <= 128
}

/// The name of a model: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`, not one of the words that the
/// wire protocols use in its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(
    feature = "openapi",
    schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", example = "digits")
)]
pub struct ModelName(String);

impl ModelName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModelName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |wanted| Err(InvalidName { what: "model name", got: shortened(text), wanted });
        if !follows_name_rule(text) {
            return refuse(MODEL_RULE);
        }
        if RESERVED.contains(&text) {
            return refuse("\"stats\", \"ready\" and \"index\" are reserved by the protocols");
        }
        Ok(Self(text.to_owned()))
    }
}

/// A model's version: a positive integer that never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 2147483647, example = 1))]
pub struct Version(u32);

impl Version {
    /// The version as a number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Version {
    type Error = InvalidName;

    fn try_from(number: u32) -> Result<Self, InvalidName> {
        if number == 0 || number > i32::MAX as u32 {
            return Err(InvalidName {
                what: "version",
                got: number.to_string(),
                wanted: "wanted a whole number from 1 to 2147483647",
            });
        }
        Ok(Self(number))
    }
}

impl FromStr for Version {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let number = text.parse::<u32>().ok().filter(|_| !text.starts_with('+'));
        number.and_then(|n| Self::try_from(n).ok()).ok_or_else(|| InvalidName {
            what: "version",
            got: shortened(text),
            wanted: "wanted a whole number from 1 to 2147483647",
        })
    }
}

/// An operator's own alias of a version. `stable` and `canary` follow from the route and
/// cannot be set; an alias of digits only would be taken for a version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(
    feature = "openapi",
    schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", example = "best")
)]
pub struct AliasName(String);

impl AliasName {
    /// The alias as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AliasName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |wanted| Err(InvalidName { what: "alias", got: shortened(text), wanted });
        if !follows_name_rule(text) {
            return refuse(MODEL_RULE);
        }
        if DERIVED_ALIASES.contains(&text) {
            return refuse("\"stable\" and \"canary\" follow from the route and cannot be set");
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return refuse("a name of digits only would be taken for a version number");
        }
        Ok(Self(text.to_owned()))
    }
}

/// Keeps error texts short whatever a client sends.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 140;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let head: String = text.chars().take(LONGEST).collect();
    format!("{head}…")
}

macro_rules! text_name {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
        /// So that maps keyed by the name can be asked with the text of a path.
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}
text_name!(ModelName, AliasName);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Version> for u32 {
    fn from(version: Version) -> u32 {
        version.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_names_follow_the_rule() {
        for good in ["fraud", "a", "A1._-", &"x".repeat(128)] {
            assert!(good.parse::<ModelName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a/b", "a b", "é", "stats", "ready", "index", &"x".repeat(129)]
        {
            assert!(bad.parse::<ModelName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_are_positive_integers() {
        assert_eq!("7".parse::<Version>().map(Version::get), Ok(7));
        for bad in ["", "0", "-1", "+1", "1.0", "v1", "4294967296", "2147483648"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn aliases_cannot_take_the_derived_names_or_look_like_versions() {
        assert!("champion".parse::<AliasName>().is_ok());
        for bad in ["stable", "canary", "12", "", "a b"] {
            assert!(bad.parse::<AliasName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_say_what_came_and_what_is_wanted() {
        let text = "a/b".parse::<ModelName>().unwrap_err().to_string();
        assert!(text.contains("a/b") && text.contains("wanted"), "{text}");
    }
}
