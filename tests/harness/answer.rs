//! An answer over HTTP, whole.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// Status, headers and body of an answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What was asked, for messages.
    pub asked: String,
}

impl Answer {
    /// The answer itself, whose status is known to be `status`.
    ///
    /// # Panics
    /// When the status is another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}: {}", self.asked, self.text());
        self
    }

    /// The body of a refusal with this status: a problem document with the member `error`,
    /// which names every one of `facts`.
    ///
    /// # Panics
    /// When the answer is anything else.
    #[track_caller]
    pub fn refused(self, status: u16, facts: &[&str]) -> Self {
        let answer = self.expect(status);
        let path = answer.asked.split_once(' ').map_or("", |(_, path)| path);
        let kind = answer.header("content-type");
        // The data listener's word for it, and the admin listener's.
        let is_right = match kind {
            Some("application/problem+json") => path.starts_with("/admin") || path == "/metrics",
            kind => kind == Some("application/json"),
        };
        assert!(is_right, "{}: {kind:?}", answer.asked);
        let body = answer.json();
        assert_eq!(body["status"], status, "{body}");
        assert_eq!(body["request_id"].as_str(), answer.header("x-request-id"), "{body}");
        let error = body["error"].as_str().unwrap_or_default();
        for fact in facts {
            assert!(error.contains(fact), "{}: \"{error}\" should name {fact}", answer.asked);
        }
        answer
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        let parsed = serde_json::from_slice(&self.body);
        parsed.unwrap_or_else(|e| panic!("{}: {e}: {}", self.asked, self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, if it came and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The version that answered, which the body and the header must agree on.
    ///
    /// # Panics
    /// When they do not.
    #[track_caller]
    pub fn version(&self) -> u32 {
        let version = self.json()["model_version"].as_str().map(str::to_owned);
        assert_eq!(version.as_deref(), self.header("weighbridge-served-version"));
        version.and_then(|v| v.parse().ok()).expect("an answer of a version")
    }

    /// The elements of an output of a `/v2` answer.
    ///
    /// # Panics
    /// When there is no such output, or it is not of numbers (`null` is NaN).
    #[track_caller]
    pub fn output(&self, name: &str) -> Vec<f64> {
        let body = self.json();
        let outputs = body["outputs"].as_array().into_iter().flatten();
        let mut found = outputs.filter(|output| output["name"] == name);
        let output = found.next().unwrap_or_else(|| panic!("no output {name}: {body}"));
        let number = |n: &Value| if n.is_null() { Some(f64::NAN) } else { n.as_f64() };
        let elements = output["data"].as_array().expect("an array");
        elements.iter().map(|n| number(n).expect("a number")).collect()
    }
}
