//! Against a stand-in that assigns by the user's name and always finds the second variant better.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};

use crate::http::Target;
use crate::testing::Server;

use super::*;

#[derive(Default)]
struct Fake {
    pushed: AtomicU64,
    clicks: AtomicU64,
    /// Every so-manieth answer names the other variant.
    fickle: u64,
    asked: AtomicU64,
}

async fn infer(State(fake): State<Arc<Fake>>, headers: HeaderMap) -> Response {
    let user = headers["x-user-id"].to_str().unwrap();
    let number: usize = user.rsplit_once('-').unwrap().1.parse().unwrap();
    let asked = fake.asked.fetch_add(1, Ordering::SeqCst) + 1;
    let is_fickle = fake.fickle > 0 && asked % fake.fickle == 0;
    let place = (number + usize::from(is_fickle)) % 2;
    let mut headers = HeaderMap::new();
    headers.insert("weighbridge-variant", HeaderValue::from_static(VARIANTS[place]));
    headers.insert("weighbridge-served-version", HeaderValue::from(place as u64 + 1));
    let output = json!({"name": "y", "shape": [1, 1], "data": [place as f64 + 1.0]});
    (headers, Json(json!({"outputs": [output]}))).into_response()
}

async fn feedback(State(fake): State<Arc<Fake>>, Json(told): Json<Value>) -> Response {
    let is_whole = ["unit", "metric", "idempotency_key"].iter().all(|key| told[key].is_string());
    if !is_whole {
        return StatusCode::BAD_REQUEST.into_response();
    }
    fake.clicks.fetch_add(told["value"].as_u64().unwrap(), Ordering::SeqCst);
    Json(json!({"accepted": 1, "duplicate": 0, "unknown": 0})).into_response()
}

async fn view(State(fake): State<Arc<Fake>>) -> Json<Value> {
    let decision = if fake.clicks.load(Ordering::SeqCst) > 100 { "ship" } else { "keep_going" };
    let effect = json!({"difference": 0.2, "lower": 0.12, "upper": 0.28});
    Json(json!({"name": NAME, "analysis": {
        "split": {"evidence": 0.3, "required": 1000.0, "is_wrong": false},
        "comparisons": [{"variant": "new", "decision": decision, "reason": "clicked is better",
            "primary": {"metric": METRIC, "effect": effect}}],
    }}))
}

fn play(fake: Fake) -> RunReport {
    let push = |State(fake): State<Arc<Fake>>| async move {
        let version = fake.pushed.fetch_add(1, Ordering::SeqCst) + 1;
        Json(json!({"operation": {"id": "op", "state": "done", "version": version}}))
    };
    let done = || async { Json(json!({})) };
    let admin = "/admin/v1/models/scenario";
    let app = Router::new()
        .route("/v2/models/scenario/infer", post(infer))
        .route("/v2/models/scenario/feedback", post(feedback))
        .route(&format!("{admin}/versions"), post(push))
        .route(&format!("{admin}/promote"), post(done))
        .route(&format!("{admin}/experiments"), post(done))
        .route(&format!("{admin}/experiments/trial"), get(view))
        .with_state(Arc::new(fake));
    let server = Server::start(app);
    let folder = server.data_folder("key");
    let admin = Admin::find(folder.path()).unwrap();
    let stage = Stage { target: Target::resolve(&server.url()).unwrap(), admin };
    played(&stage, 1, 1, &Stop::default()).unwrap()
}

#[test]
fn rounds_go_on_until_there_is_a_verdict() {
    let report = play(Fake::default());
    // 80 of 400 users click in a round: the verdict comes after the second one.
    assert_eq!((report.users, report.assigned["old"], report.assigned["new"]), (800, 400, 400));
    assert_eq!(report.requests, 2400, "twice in its round and once in the end");
    assert_eq!((report.moved, report.wrong), (0, 0));
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!((report.decision.as_str(), report.interval), ("ship", Some([0.12, 0.28])));
    assert!(bounds(&[report], 1).iter().all(|bound| bound.met));
}

#[test]
fn users_who_are_moved_are_found_out() {
    let report = play(Fake { fickle: 47, ..Fake::default() });
    // 51 of 2,400 answers; 47 divides no round, so that they fall on other users each time.
    assert!(report.moved > 30, "{}", report.moved);
    assert_eq!(report.wrong, 0, "each answer is that of the variant it names");
    assert!(report.examples[0].contains("was "), "{:?}", report.examples);
    let missed: Vec<String> = bounds(&[report], 1)
        .into_iter()
        .filter(|bound| !bound.met)
        .map(|bound| bound.what)
        .collect();
    assert_eq!(missed, ["users who changed their variant"]);
}
