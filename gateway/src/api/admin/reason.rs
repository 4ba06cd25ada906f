//! Why somebody does something: what every verb may be given, and the audit log keeps.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The longest reason, in characters.
const LONGEST: usize = 500;

/// A reason of at most 500 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(max_length = 500)]
pub struct Reason(String);

/// A body with nothing but a reason; an empty one says nothing.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReasonBody {
    pub reason: Option<Reason>,
}

impl TryFrom<String> for Reason {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.chars().count() {
            ..=LONGEST => Ok(Self(text)),
            more => Err(format!("reason: {more} characters, wanted at most {LONGEST}")),
        }
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_a_longest_length_in_characters() {
        let of = |length: usize| {
            let body = serde_json::json!({"reason": "ä".repeat(length)});
            serde_json::from_value::<ReasonBody>(body).map_err(|e| e.to_string())
        };
        assert_eq!(of(500).unwrap().reason.map(String::from), Some("ä".repeat(500)));
        assert_eq!(of(501).unwrap_err(), "reason: 501 characters, wanted at most 500");
        let nothing = serde_json::from_str::<ReasonBody>("{}").unwrap();
        assert_eq!(nothing.reason, None);
        assert!(serde_json::from_str::<ReasonBody>(r#"{"why": "x"}"#).is_err());
    }
}
