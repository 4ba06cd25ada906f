//! Runs against a stand-in for the gateway, which plays the rollouts of the contract.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Router, body::Bytes};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::http::Target;
use crate::scenario::Scenario;
use crate::scenario::rows::Rows;
use crate::scenario::story::{Outage, spec};
use crate::testing::Server;

use super::*;

/// How the stand-in's canary behaves, and what it does about that.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Plot {
    /// Fails; rolled back after so many canary requests, each of which stable rescues.
    Fails(u64),
    /// As good as stable; promoted after so many canary requests.
    Good(u64),
    /// As `Good`, but answers with stable's value.
    Liar(u64),
    /// Rows beyond the table fail in both versions, which holds the rollout.
    Shared,
}

struct Fake {
    plot: Plot,
    pushed: AtomicU64,
    asked: AtomicU64,
    canary: AtomicU64,
    failing: AtomicU64,
    started_at: Mutex<Option<u64>>,
    ended_at: Mutex<Option<u64>>,
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

impl Fake {
    fn outcome(&self) -> Option<&'static str> {
        self.ended_at.lock().unwrap().map(|_| match self.plot {
            Plot::Fails(_) => "rolled_back",
            _ => "promoted",
        })
    }

    fn view(&self) -> Value {
        let ended_at = *self.ended_at.lock().unwrap();
        let n = self.canary.load(Ordering::SeqCst);
        let canary = json!({"ok": 0, "err": n, "client_error": 0, "unit_err": 0});
        let mut view = json!({
            "id": "ro-1", "model": MODEL, "number": 1, "attempt": 1, "from": 1, "to": 2,
            "revision": 1, "standing": "running", "phase": "live", "step": 0,
            "started_at": *self.started_at.lock().unwrap(), "ended_at": ended_at,
            "verdict": {"decision": "stay", "about": {"elapsed_ms": 250},
                "seen": {"stage": "live", "counted": {"canary": canary}, "total": {"canary": canary}}},
        });
        if let Some(outcome) = self.outcome() {
            view["phase"] = json!("ended");
            view["step"] = Value::Null;
            view["outcome"] = json!(outcome);
        } else if self.failing.load(Ordering::SeqCst) > 0 {
            view["verdict"]["decision"] = json!("hold");
            view["verdict"]["because"] = json!({"hold": "common_cause"});
        }
        view
    }
}

async fn infer(State(fake): State<Arc<Fake>>, body: Bytes) -> Response {
    let number = fake.asked.fetch_add(1, Ordering::SeqCst);
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let is_beyond = asked["inputs"][0]["data"][0].as_f64().unwrap() >= 2.0;
    if fake.plot == Plot::Shared {
        fake.failing.store(u64::from(is_beyond), Ordering::SeqCst);
        if is_beyond {
            return (StatusCode::INTERNAL_SERVER_ERROR, "the model failed").into_response();
        }
    }
    let runs = fake.started_at.lock().unwrap().is_some() && fake.outcome().is_none();
    let is_canary = fake.outcome() == Some("promoted") || runs && number % 20 == 7;
    if runs && is_canary {
        let canary = fake.canary.fetch_add(1, Ordering::SeqCst) + 1;
        let (Plot::Fails(last) | Plot::Good(last) | Plot::Liar(last)) = fake.plot else {
            return answer(2, None, 2.0);
        };
        if canary == last {
            *fake.ended_at.lock().unwrap() = Some(unix_ms());
        }
    }
    match (is_canary, fake.plot) {
        (true, Plot::Fails(_)) => answer(1, Some(2), 1.0),
        (true, Plot::Liar(_)) => answer(2, None, 1.0),
        (true, _) => answer(2, None, 2.0),
        (false, _) => answer(1, None, 1.0),
    }
}

fn answer(version: u64, rescued_from: Option<u64>, value: f64) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert("weighbridge-served-version", HeaderValue::from(version));
    if let Some(canary) = rescued_from {
        headers.insert("weighbridge-rescued-from", HeaderValue::from(canary));
    }
    let output = json!({"name": "y", "datatype": "FP32", "shape": [1, 1], "data": [value]});
    let body =
        json!({"model_name": MODEL, "model_version": version.to_string(), "outputs": [output]});
    (headers, Json(body)).into_response()
}

async fn push(State(fake): State<Arc<Fake>>) -> Response {
    let version = fake.pushed.fetch_add(1, Ordering::SeqCst) + 1;
    let operation = json!({"id": "op-1", "state": "done", "version": version});
    (StatusCode::ACCEPTED, Json(json!({"operation": operation}))).into_response()
}

async fn start(State(fake): State<Arc<Fake>>) -> Response {
    *fake.started_at.lock().unwrap() = Some(unix_ms());
    (StatusCode::CREATED, Json(fake.view())).into_response()
}

/// A stand-in that is reached over real sockets.
struct Stand {
    stage: Stage,
    _folder: tempfile::TempDir,
    _server: Server,
}

impl Stand {
    fn start(plot: Plot) -> Self {
        let fake = Arc::new(Fake {
            plot,
            pushed: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            canary: AtomicU64::new(0),
            failing: AtomicU64::new(0),
            started_at: Mutex::new(None),
            ended_at: Mutex::new(None),
        });
        let view = |State(fake): State<Arc<Fake>>| async move { Json(fake.view()) };
        let why = |State(fake): State<Arc<Fake>>| async move {
            let text = format!("{} scenario v2", fake.outcome().unwrap_or("HOLD"));
            Json(json!({"text": text, "verdict": {}, "decisions": [], "replayed": {"same": true}}))
        };
        let admin = "/admin/v1/models/scenario";
        let app = Router::new()
            .route("/v2/models/scenario/infer", post(infer))
            .route(&format!("{admin}/versions"), post(push))
            .route(&format!("{admin}/promote"), post(|| async { Json(json!({})) }))
            .route(&format!("{admin}/rollouts"), post(start))
            .route(&format!("{admin}/rollout"), get(view))
            .route(&format!("{admin}/rollout/why"), get(why))
            .with_state(fake);
        let server = Server::start(app);
        let folder = server.data_folder("key");
        let admin = Admin::find(folder.path()).unwrap();
        let stage = Stage { target: Target::resolve(&server.url()).unwrap(), admin };
        Self { stage, _folder: folder, _server: server }
    }

    fn play(plot: Plot) -> RunReport {
        let outage = (plot == Plot::Shared).then_some(Outage {
            after: Duration::from_millis(300),
            length: Duration::from_millis(700),
            watch: Duration::from_millis(300),
        });
        let story = Story {
            scenario: Scenario::CanaryErrors,
            stable: b"stable".to_vec(),
            canary: b"canary".to_vec(),
            models: String::new(),
            spec: spec(),
            load: Load::PerSecond(400.0),
            rows: [Rows::Usual, Rows::Beyond],
            drill: None,
            outage,
            lead: Duration::from_millis(100),
            limit: Duration::from_secs(20),
            after: Duration::from_millis(1500),
        };
        let stand = Self::start(plot);
        played(&story, 1, 1, &stand.stage, &Stop::default()).unwrap()
    }
}

#[test]
fn a_failing_canary_is_counted_by_headers_and_by_verdict() {
    let report = Stand::play(Plot::Fails(5));
    assert_eq!(report.outcome, "rolled_back");
    assert_eq!(report.canary_requests, 5);
    assert_eq!((report.rescued, report.wrong, report.misrouted), (5, 0, 0));
    assert_eq!(report.verdict_canary_requests, Some(5));
    assert_eq!(report.verdict_seconds, Some(0.25));
    assert_eq!(report.failures(), 0);
    assert!(report.requests > 500, "load went on after the end: {}", report.requests);
    assert!(report.seconds.is_some_and(|seconds| seconds < 10.0), "{:?}", report.seconds);
    let places: Vec<&str> = report.places.iter().map(|place| place.place.as_str()).collect();
    assert_eq!((places[0], places[places.len() - 1]), ("live step 1", "rolled_back"));
    assert!(report.verdict.starts_with("rolled_back") && report.replayed_same == Some(true));
    assert!(report.stable_silence_s < 1.0, "{}", report.stable_silence_s);
    assert_eq!(report.canary_latency.total.count, 0, "no answer was the canary's own");
}

#[test]
fn after_the_promotion_the_canary_answers_everybody() {
    let report = Stand::play(Plot::Good(8));
    assert_eq!((report.outcome.as_str(), report.misrouted, report.wrong), ("promoted", 0, 0));
    assert_eq!(report.canary_requests, 8);
    assert_eq!(report.canary_latency.total.count, 8);
}

#[test]
fn a_version_that_answers_with_anothers_value_is_found_out() {
    let report = Stand::play(Plot::Liar(4));
    assert!(report.wrong > 100, "{}", report.wrong);
    assert!(report.examples[0].contains("version 2 answers 2"), "{:?}", report.examples);
}

#[test]
fn an_outage_is_told_from_failures_around_it() {
    let report = Stand::play(Plot::Shared);
    assert!(report.outcome.starts_with("live step 1"), "{}", report.outcome);
    assert_eq!(report.held.as_deref(), Some("common_cause"));
    assert!(report.failures() > 100 && report.failures() == report.failed_in_outage);
    assert_eq!(report.seconds, None);
}
