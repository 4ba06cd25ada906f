//! The one error of decoding: always the client's to mend.

/// A request that cannot be understood or does not fit the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRequest(pub String);

impl BadRequest {
    /// A mistake described in one lower-case sentence.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    pub(crate) fn json(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        if error.is_data() {
            return Self(text);
        }
        Self(format!("the body is not valid JSON: {text}"))
    }

    /// A mistake in a piece of JSON that was cut out of a body: its line and column there would
    /// mislead.
    pub(crate) fn text(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        Self(text.rsplit_once(" at line ").map_or(text.clone(), |(told, _)| told.to_owned()))
    }
}

/// Text of the client shown back to it: short, whatever it sent.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return format!("\"{text}\"");
    }
    let head: String = text.chars().take(LONGEST).collect();
    format!("\"{head}…\"")
}
