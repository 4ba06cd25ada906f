//! The gateway's admin API, as far as measurements need it: blocking, one connection a call.
//!
//! Every error carries what the server said: a scenario that fails far away explains itself.

mod multipart;
pub mod page;
mod rollout;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::http::exchange::{self, Answer};
use crate::http::{Header, Target};

pub use rollout::{Live, RolloutView, Why, canary_requests};

/// For one call.
const LIMIT: Duration = Duration::from_secs(20);
/// For an operation: a push checks the file in a process of its own.
const OPERATION_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// Where the admin API is, and the key to it.
#[derive(Debug, Clone)]
pub struct Admin {
    target: Target,
    bearer: Header,
}

impl Admin {
    /// Reads the address and the key that the gateway leaves in its data folder.
    pub fn find(data_dir: &Path) -> Result<Self> {
        let url = first_line(&data_dir.join("admin-url"))?;
        let key = first_line(&data_dir.join("admin-key"))?;
        let bearer = Header::new("authorization", format!("Bearer {key}"));
        Ok(Self { target: Target::resolve(&url)?, bearer })
    }

    /// The metrics page.
    pub fn metrics(&self) -> Result<String> {
        let bearer = [self.bearer.clone()];
        let page = exchange::get(&self.target, "/metrics", &bearer, LIMIT)?;
        String::from_utf8(page.success()?).context("the metrics page is not text")
    }

    /// Pushes a file as the next version of `model`, waits until it may take traffic, and returns
    /// its number.
    pub fn push(&self, model: &str, onnx: &[u8]) -> Result<u64> {
        self.push_checked(model, onnx).with_context(|| format!("push a version of {model}"))
    }

    fn push_checked(&self, model: &str, onnx: &[u8]) -> Result<u64> {
        #[derive(Deserialize)]
        struct Started {
            operation: Operation,
        }
        let (content_type, body) = multipart::upload(onnx);
        let headers = [self.bearer.clone(), Header::new("content-type", content_type)];
        let path = format!("{}/versions", model_path(model));
        let answer =
            exchange::send(&self.target, "POST", &path, &headers, Some(&body), OPERATION_LIMIT)?;
        let mut operation: Operation = understand::<Started>(answer)?.operation;
        let deadline = Instant::now() + OPERATION_LIMIT;
        while operation.state == "running" {
            ensure!(Instant::now() < deadline, "the check did not end in {OPERATION_LIMIT:?}");
            thread::sleep(POLL);
            operation = self.get(&format!("/admin/v1/operations/{}", operation.id))?;
        }
        ensure!(operation.state == "done", "the check ended {}", operation.told());
        operation.version.context("the operation names no version")
    }

    /// All traffic to `version`.
    pub fn promote(&self, model: &str, version: u64) -> Result<()> {
        self.change("POST", &format!("{}/promote", model_path(model)), &json!({"version": version}))
    }

    /// The split outright, in percent per version.
    pub fn route(&self, model: &str, weights: &[(u64, f64)]) -> Result<()> {
        let points = weights
            .iter()
            .map(|(version, percent)| {
                (version.to_string(), json!((percent * 100.0).round() as u64))
            })
            .collect::<serde_json::Map<_, _>>();
        self.change("PUT", &format!("{}/route", model_path(model)), &json!({"weights": points}))
    }

    /// Settings of a model; `default` clears one.
    pub fn configure(&self, model: &str, settings: &[(&str, &str)]) -> Result<()> {
        let settings: serde_json::Map<_, _> =
            settings.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let path = format!("{}/settings", model_path(model));
        self.change("PATCH", &path, &Value::Object(settings))
    }

    /// Makes a key for predictions, and returns the header that carries it.
    pub fn predict_key(&self, name: &str, tenant: &str, tier: &str) -> Result<Header> {
        #[derive(Deserialize)]
        struct Made {
            secret: String,
        }
        let wanted = json!({"name": name, "role": "predict", "tenant": tenant, "tier": tier});
        let made: Made = self.post("/admin/v1/keys", &wanted)?;
        Ok(Header::new("authorization", format!("Bearer {}", made.secret)))
    }

    /// Starts a rollout to `version`.
    pub fn start_rollout(&self, model: &str, version: u64, spec: &Value) -> Result<RolloutView> {
        let path = format!("{}/rollouts", model_path(model));
        self.post(&path, &json!({"to": version, "spec": spec}))
    }

    /// The rollout that runs, or else the latest.
    pub fn rollout(&self, model: &str) -> Result<RolloutView> {
        self.get(&format!("{}/rollout", model_path(model)))
    }

    /// Why the latest rollout is where it is.
    pub fn why(&self, model: &str) -> Result<Why> {
        self.get(&format!("{}/rollout/why", model_path(model)))
    }

    /// Injects a fault into the canary.
    pub fn drill(&self, model: &str, fault: &str) -> Result<()> {
        let path = format!("{}/rollout/drill", model_path(model));
        self.change("POST", &path, &json!({"fault": fault}))
    }

    /// `GET path`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call("GET", path, None)
    }

    /// `POST path` with a JSON body.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        self.call("POST", path, Some(body))
    }

    fn change(&self, verb: &str, path: &str, body: &Value) -> Result<()> {
        self.call::<Value>(verb, path, Some(body)).map(drop)
    }

    fn call<T: DeserializeOwned>(&self, verb: &str, path: &str, body: Option<&Value>) -> Result<T> {
        let bearer = [self.bearer.clone()];
        let body = body.map(|body| body.to_string().into_bytes());
        let answer = exchange::send(&self.target, verb, path, &bearer, body.as_deref(), LIMIT)?;
        understand(answer).with_context(|| match body {
            Some(body) => format!("{verb} {path} {}", String::from_utf8_lossy(&body)),
            None => format!("{verb} {path}"),
        })
    }
}

/// A long call, as the server tells of it.
#[derive(Debug, Deserialize)]
struct Operation {
    id: String,
    state: String,
    version: Option<u64>,
    error: Option<Value>,
}

impl Operation {
    fn told(&self) -> String {
        let error = self.error.as_ref().map_or_else(|| "no reason given".to_owned(), plain);
        format!("{}: {error}", self.state)
    }
}

/// The body of a success; anything else is an error with what the server said of it.
fn understand<T: DeserializeOwned>(answer: Answer) -> Result<T> {
    let Answer { status, body } = answer;
    let said = || {
        let text = String::from_utf8_lossy(&body);
        text.trim().chars().take(2000).collect::<String>()
    };
    if !(200..300).contains(&status) {
        let problem: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        match problem["detail"].as_str() {
            Some(detail) => bail!("the gateway refused with {status}: {detail}"),
            None => bail!("the gateway answered {status}: {}", said()),
        }
    }
    serde_json::from_slice(&body).with_context(|| format!("understand the answer {}", said()))
}

/// Text as it is, anything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn model_path(model: &str) -> String {
    format!("/admin/v1/models/{model}")
}

fn first_line(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}
