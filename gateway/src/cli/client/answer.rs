//! What the server answered.

use http::HeaderMap;
use serde::de::DeserializeOwned;

use crate::cli::error::CliError;

/// A successful answer.
#[derive(Debug)]
pub struct Answer {
    pub headers: HeaderMap,
    pub body: String,
    /// Where it came from.
    pub url: String,
}

impl Answer {
    /// The body as what it should be.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, CliError> {
        serde_json::from_str(&self.body).map_err(|error| {
            let url = &self.url;
            CliError::failed(format!("the answer of {url} is not what was expected: {error}"))
        })
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
