//! Against a stand-in for the admin API, with the JSON of the contract.

use std::sync::{Arc, Mutex};

use super::*;
use crate::testing::Server;
use axum::Router;
use axum::extract::{Path as UrlPath, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{any, get, post};

/// A data folder, and a server behind it.
struct Stand {
    folder: tempfile::TempDir,
    /// Verb, path and body of each call.
    seen: Arc<Mutex<Vec<String>>>,
    _server: Server,
}

impl Stand {
    fn start(app: Router) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let note = move |request: Request, next: axum::middleware::Next| {
            let noted = Arc::clone(&noted);
            async move {
                let key = request.headers().get("authorization").cloned();
                let key = key.and_then(|key| key.to_str().ok().map(str::to_owned));
                let (verb, path) = (request.method().clone(), request.uri().path().to_owned());
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let text = String::from_utf8_lossy(&body).into_owned();
                noted
                    .lock()
                    .unwrap()
                    .push(format!("{} {verb} {path} {text}", key.unwrap_or_default()));
                next.run(Request::from_parts(parts, body.into())).await
            }
        };
        let app = app.layer(axum::middleware::from_fn(note));
        let server = Server::start(app);
        Self { folder: server.data_folder("wb_secret"), seen, _server: server }
    }

    fn admin(&self) -> Admin {
        Admin::find(self.folder.path()).unwrap()
    }

    fn last_call(&self) -> String {
        self.seen.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

fn operation(state: &str) -> Value {
    let error = if state == "failed" { json!("no such operator: Frobnicate") } else { Value::Null };
    json!({"id": "op-1", "kind": "push", "model": "m", "version": 2, "state": state,
        "progress": null, "error": error})
}

async fn accepted() -> Response {
    (StatusCode::ACCEPTED, Json(json!({"operation": operation("running")}))).into_response()
}

fn pushes(end: &'static str) -> Router {
    let path = "/admin/v1/models/{model}/versions";
    Router::new().route(path, post(accepted)).route(
        "/admin/v1/operations/{id}",
        get(move |_: UrlPath<String>| async move { Json(operation(end)) }),
    )
}

#[test]
fn a_push_is_polled_to_its_end() {
    let stand = Stand::start(pushes("done"));
    assert_eq!(stand.admin().push("m", b"file").unwrap(), 2);
    let first = stand.seen.lock().unwrap()[0].clone();
    assert!(first.starts_with("Bearer wb_secret POST /admin/v1/models/m/versions "), "{first}");
    assert!(first.contains("name=\"model\"") && first.contains("\r\n\r\nfile\r\n"), "{first}");
}

#[test]
fn a_file_that_is_refused_says_why() {
    let stand = Stand::start(pushes("failed"));
    let error = format!("{:#}", stand.admin().push("m", b"file").unwrap_err());
    assert!(error.contains("push a version of m") && error.contains("Frobnicate"), "{error}");
}

#[test]
fn a_problem_is_told_with_the_call_that_met_it() {
    let refuse = || async {
        let problem = json!({"title": "conflict", "status": 409, "detail": "a rollout runs"});
        (StatusCode::CONFLICT, Json(problem)).into_response()
    };
    let stand = Stand::start(Router::new().fallback(any(refuse)));
    let error = format!("{:#}", stand.admin().promote("m", 2).unwrap_err());
    for part in ["409", "a rollout runs", "POST /admin/v1/models/m/promote", "\"version\":2"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let plain =
        Stand::start(Router::new().fallback(any(|| async { (StatusCode::BAD_GATEWAY, "oh") })));
    let error = format!("{:#}", plain.admin().rollout("m").unwrap_err());
    assert!(error.contains("502") && error.contains("oh"), "{error}");
}

#[test]
fn calls_have_the_forms_of_the_contract() {
    let stand = Stand::start(Router::new().fallback(any(|| async { Json(json!({})) })));
    let admin = stand.admin();
    admin.route("m", &[(1, 97.5), (2, 2.5)]).unwrap();
    let call = stand.last_call();
    assert!(call.contains("PUT /admin/v1/models/m/route "), "{call}");
    let body: Value = serde_json::from_str(call.split_once("route ").unwrap().1).unwrap();
    assert_eq!(body, json!({"weights": {"1": 9750, "2": 250}}));
    admin.configure("m", &[("shadows", "2=100")]).unwrap();
    let call = stand.last_call();
    assert!(call.ends_with("PATCH /admin/v1/models/m/settings {\"shadows\":\"2=100\"}"), "{call}");
    // A body without a secret is no key.
    assert!(admin.predict_key("k", "victim", "high").is_err());
    let call = stand.last_call();
    let body: Value = serde_json::from_str(call.split_once("keys ").unwrap().1).unwrap();
    let wanted = json!({"name": "k", "role": "predict", "tenant": "victim", "tier": "high"});
    assert_eq!(body, wanted, "{call}");
    admin.drill("m", "hang").unwrap();
    let call = stand.last_call();
    assert!(call.ends_with("POST /admin/v1/models/m/rollout/drill {\"fault\":\"hang\"}"), "{call}");
}

fn view(part: Value) -> RolloutView {
    let mut whole = json!({"id": "ro-1", "model": "m", "number": 1, "from": 1, "to": 2,
        "phase": "live", "step": 0, "standing": "running", "started_at": 1000, "revision": 3});
    for (key, value) in part.as_object().unwrap() {
        whole[key] = value.clone();
    }
    serde_json::from_value(whole).unwrap()
}

#[test]
fn a_hold_is_seen_in_the_standing_and_in_the_verdict() {
    assert_eq!(view(json!({})).held(), None);
    assert_eq!(view(json!({})).place(), "live step 1");
    let stopped = view(json!({"standing": "held", "held_reason": "inconclusive"}));
    assert_eq!(stopped.held().as_deref(), Some("inconclusive"));
    let verdict = json!({"decision": "hold", "because": {"hold": "common_cause"}});
    let passing = view(json!({"live": {"verdict": verdict, "text": "HOLD"}}));
    assert_eq!(passing.held().as_deref(), Some("common_cause"));
    assert_eq!(passing.place(), "live step 1, held: common_cause");
    let ended = view(json!({"phase": "ended", "step": null, "outcome": "rolled_back"}));
    assert!(ended.has_ended() && ended.place() == "rolled_back");
}

#[test]
fn requests_are_counted_from_the_verdicts_outcomes() {
    let verdict = json!({"seen": {"stage": "live",
        "counted": {"canary": {"ok": 40, "err": 2, "client_error": 1, "unit_err": 0}},
        "total": {"canary": {"ok": 60, "err": 3, "client_error": 1, "unit_err": 0}}}});
    assert_eq!(canary_requests(&verdict), Some((64, 43)));
    assert_eq!(canary_requests(&json!({})), None);
}
