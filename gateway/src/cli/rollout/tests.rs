//! The commands of `rollout` against a small server in this process.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{RawQuery, Request};
use axum::http::StatusCode;
use axum::routing::any;
use serde_json::{Value, json};

use super::follow::{Follower, Seen};
use super::*;
use crate::cli::client::tests::{client, run, serve};
use crate::cli::error::Exit;

/// Rollout 3 of `fraud` at its second step.
pub fn view() -> Value {
    json!({
        "id": "ro-0000000000000003", "model": "fraud", "number": 3, "attempt": 1,
        "from": 1, "to": 2, "spec": {"steps": [1, 2.5, 25, 50], "alpha": 0.01},
        "phase": "live", "step": 1, "standing": "running", "revision": 9,
        "started_at": 0, "started_by": "key:wbk_ab", "step_since": 0, "ended_at": null,
        "reason": null, "base_route": 1, "undo_until": null, "a_later_member": true,
    })
}

/// The same after its end.
pub fn ended(outcome: &str) -> Value {
    let mut view = view();
    view["phase"] = json!("ended");
    view["outcome"] = json!(outcome);
    view["ended_at"] = json!(9000);
    view
}

/// What its controller knows.
pub fn live(canary: u64, stable: u64, text: &str) -> Value {
    json!({
        "verdict": {}, "text": text, "weight": 2.5, "canary_requests": canary,
        "stable_requests": stable, "rescued": 2, "eta_s": null,
    })
}

fn standing(word: &str) -> Value {
    let mut view = view();
    view["standing"] = json!(word);
    view
}

type Asked = Arc<Mutex<Vec<String>>>;

/// Answers calls by their method and path: with what stands in `script` for them, one after the
/// other, the last one again and again. Notes each call with its query, revision and body.
pub async fn scripted(script: &[(&str, &[(u16, Value)])]) -> (String, Asked) {
    let asked = Asked::default();
    let mut script: Vec<(String, Vec<(u16, Value)>)> =
        script.iter().map(|(call, answers)| ((*call).to_owned(), answers.to_vec())).collect();
    for (_, answers) in &mut script {
        answers.reverse();
    }
    let (script, noted) = (Arc::new(Mutex::new(script)), Arc::clone(&asked));
    let answer = move |RawQuery(query): RawQuery, request: Request| async move {
        let call = format!("{} {}", request.method(), request.uri().path());
        let header = request.headers().get("if-match").cloned();
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let mut note = call.clone();
        if let Some(query) = query {
            note.push_str(&format!("?{query}"));
        }
        if let Some(revision) = header {
            note.push_str(&format!(" {}", revision.to_str().unwrap()));
        }
        if !body.is_empty() {
            note.push_str(&format!(" {}", String::from_utf8_lossy(&body)));
        }
        noted.lock().unwrap().push(note);
        let mut script = script.lock().unwrap();
        let Some((_, answers)) = script.iter_mut().find(|(known, _)| *known == call) else {
            return (StatusCode::NOT_FOUND, json!({"error": format!("no {call}")}).to_string());
        };
        let (status, body) = match answers.len() {
            1 => answers[0].clone(),
            _ => answers.pop().unwrap(),
        };
        (StatusCode::from_u16(status).unwrap(), body.to_string())
    };
    let url = serve(Router::new().fallback(any(answer))).await;
    (url, asked)
}

fn calls(asked: &Asked) -> Vec<String> {
    std::mem::take(&mut *asked.lock().unwrap())
}

const SHOW: &str = "GET /models/fraud/rollout";
const START: &str = "POST /models/fraud/rollouts";
const WHY: &str = "GET /models/fraud/rollout/why";

#[tokio::test]
async fn a_start_sends_what_the_spec_says_and_no_more() {
    let (url, asked) = scripted(&[(START, &[(201, view())])]).await;
    run(&url, "rollout start fraud --to 2").await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "steps = [5, 50]\nstep_min = \"10s\"\n").unwrap();
    let spec = file.path().to_str().unwrap();
    let line = format!("rollout start fraud --to 2 --spec {spec} --reason new --if-revision 7");
    run(&url, &line).await.unwrap();
    let wanted = [
        r#"POST /models/fraud/rollouts {"to":2}"#,
        r#"POST /models/fraud/rollouts "7" {"to":2,"spec":{"step_min":"10s","steps":[5,50]},"reason":"new"}"#,
    ];
    assert_eq!(calls(&asked), wanted);

    std::fs::write(file.path(), "steps = [50, 5]\n").unwrap();
    let error = run(&url, &line).await.unwrap_err();
    assert_eq!((error.exit, calls(&asked).len()), (Exit::WrongUsage, 0), "nothing was sent");
}

#[tokio::test]
async fn what_the_server_refuses_exits_with_5() {
    let running = json!({"error": "rollout 3 of fraud runs already"});
    let refused = [(409, running)];
    let (url, _) =
        scripted(&[(START, &refused), ("POST /models/fraud/rollout/approve", &refused)]).await;
    for line in ["rollout start fraud --to 2 --wait", "rollout approve fraud"] {
        let error = run(&url, line).await.unwrap_err();
        assert_eq!(error.exit, Exit::Refused, "{line}");
        assert!(error.text.starts_with("rollout 3 of fraud runs already"), "{error}");
    }
}

#[tokio::test]
async fn every_verb_asks_its_call() {
    let why = json!({
        "text": "ROLLED BACK ...", "verdict": {}, "decisions": [], "replayed": {"same": false},
    });
    let verb = |verb: &str| format!("POST /models/fraud/rollout/{verb}");
    let verbs = ["pause", "resume", "approve", "promote", "rollback"].map(verb);
    let answers = [(200, view())];
    let listed = [(200, json!({"rollouts": [view()], "frozen": true}))];
    let (why, frozen) = ([(200, why)], [(200, json!({"frozen": true}))]);
    let mut script: Vec<(&str, &[(u16, Value)])> = vec![
        (SHOW, &answers),
        (WHY, &why),
        ("GET /models/fraud/rollouts", &listed),
        ("GET /rollouts", &listed),
        ("PUT /rollouts/freeze", &frozen),
    ];
    script.extend(verbs.iter().map(|verb| (verb.as_str(), &answers[..])));
    let (url, asked) = scripted(&script).await;
    for (line, call) in [
        ("rollout status fraud", SHOW),
        ("rollout status fraud --json", SHOW),
        ("rollout why fraud", WHY),
        ("rollout why fraud --number 2", "GET /models/fraud/rollout/why?number=2"),
        ("rollout pause fraud", "POST /models/fraud/rollout/pause {}"),
        (
            "rollout resume fraud --reason x --if-revision 9",
            r#"POST /models/fraud/rollout/resume "9" {"reason":"x"}"#,
        ),
        ("rollout approve fraud", "POST /models/fraud/rollout/approve {}"),
        ("rollout promote fraud --json", "POST /models/fraud/rollout/promote {}"),
        (
            "rollout rollback fraud --reason x",
            r#"POST /models/fraud/rollout/rollback {"reason":"x"}"#,
        ),
        ("rollout list", "GET /rollouts"),
        ("rollout list fraud", "GET /models/fraud/rollouts?limit=20"),
        ("rollout freeze", r#"PUT /rollouts/freeze {"frozen":true}"#),
        ("rollout unfreeze --reason x", r#"PUT /rollouts/freeze {"frozen":false,"reason":"x"}"#),
    ] {
        run(&url, line).await.unwrap();
        assert_eq!(calls(&asked), [call], "{line}");
    }
}

#[tokio::test]
async fn a_wait_ends_with_the_exit_code_of_the_end() {
    let why = [(200, json!({"text": "the verdict"}))];
    for (last, exit) in [
        (ended("promoted"), None),
        (ended("rolled_back"), Some(Exit::RolledBack)),
        (ended("ended"), Some(Exit::Held)),
        (standing("held"), Some(Exit::Held)),
        (standing("waits_for_approval"), Some(Exit::WaitsForApproval)),
    ] {
        let answers = [(503, json!({"error": "busy"})), (200, view()), (200, last)];
        let (url, asked) =
            scripted(&[(START, &[(201, view())]), (SHOW, &answers), (WHY, &why)]).await;
        let ended = run(&url, "rollout start fraud --to 2 --wait").await;
        assert_eq!(ended.err().map(|error| error.exit), exit);
        assert_eq!(calls(&asked).last().unwrap(), "GET /models/fraud/rollout/why?number=3");
    }
}

#[tokio::test]
async fn a_wait_may_be_over_first() {
    let (url, _) =
        scripted(&[(START, &[(201, view())]), (SHOW, &[(200, standing("paused"))])]).await;
    let line = "rollout start fraud --to 2 --wait --timeout 50ms --json";
    let error = run(&url, line).await.unwrap_err();
    assert_eq!(error.exit, Exit::WaitTimedOut);
    assert!(error.text.contains("step 2 of 4 (2.5%), paused"), "{error}");
}

#[tokio::test]
async fn states_are_told_once_each() {
    let answers = [(200, view()), (200, standing("paused")), (200, ended("promoted"))];
    let (url, _) = scripted(&[(SHOW, &answers)]).await;
    let client = client(&url);
    let first = Seen::of(&client.get("models/fraud/rollout").await.unwrap()).unwrap();
    let mut follower = Follower::of(&client, &first.view);
    let mut told = Vec::new();
    let tell = |view: &RolloutView| told.push(words::state(view));
    let last = wait::until_decided(&mut follower, first, None, tell).await.unwrap();
    assert_eq!(told, ["step 2 of 4 (2.5%)", "step 2 of 4 (2.5%), paused", "promoted"]);
    assert_eq!(last.json, ended("promoted").to_string());
}

#[tokio::test]
async fn a_rollout_is_followed_when_another_one_has_begun() {
    let mut next = view();
    next["id"] = json!("ro-0000000000000004");
    let both = json!({"rollouts": [next.clone(), ended("rolled_back")]});
    let listed = [(200, both), (200, json!({"rollouts": [next.clone()]}))];
    let (url, _) =
        scripted(&[(SHOW, &[(200, next)]), ("GET /models/fraud/rollouts", &listed)]).await;
    let client = client(&url);
    let own: RolloutView = serde_json::from_value(view()).unwrap();
    let mut follower = Follower::of(&client, &own);
    let seen = follower.look().await.unwrap().unwrap();
    assert_eq!(words::headline(&seen.view), "fraud: rollout 3 (1 → 2), rolled back");
    let error = follower.look().await.unwrap_err();
    assert!(error.text.contains("ro-0000000000000003"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for_but_not_for_ever() {
    let (url, _) = scripted(&[(SHOW, &[(503, json!({"error": "stopping"}))])]).await;
    let gone = "http://127.0.0.1:1";
    for (url, exit) in [(url.as_str(), Exit::Failed), (gone, Exit::Unreachable)] {
        let client = client(url);
        let own: RolloutView = serde_json::from_value(view()).unwrap();
        assert!(Follower::of(&client, &own).look().await.unwrap().is_none());
        let error = Follower::of(&client, &own).impatient().look().await.unwrap_err();
        assert_eq!(error.exit, exit);
        assert!(error.text.contains("weighbridge rollout status fraud"), "{error}");
    }
    let (url, _) = scripted(&[]).await;
    let client = client(&url);
    let own: RolloutView = serde_json::from_value(view()).unwrap();
    let error = Follower::of(&client, &own).look().await.unwrap_err();
    assert_eq!(error.exit, Exit::Failed, "there is no such rollout: nothing to wait for");
}

#[tokio::test]
async fn watching_ends_with_the_rollout() {
    let answers = [(200, view()), (200, standing("held")), (200, ended("rolled_back"))];
    for line in ["rollout watch fraud", "rollout watch fraud --json"] {
        let why = [(500, json!({"error": "no text"}))];
        let (url, asked) = scripted(&[(SHOW, &answers), (WHY, &why)]).await;
        run(&url, line).await.unwrap();
        let shown = calls(&asked).iter().filter(|call| *call == SHOW).count();
        assert_eq!(shown, 3, "{line}");
    }
}

#[tokio::test]
async fn changes_of_a_route_may_end_a_rollout() {
    let model = crate::cli::models::tests::model();
    let answers = [(200, model)];
    let script: Vec<(&str, &[(u16, Value)])> = [
        "GET /models/fraud",
        "PUT /models/fraud/route",
        "POST /models/fraud/promote",
        "POST /models/fraud/rollback",
    ]
    .map(|call| (call, &answers[..]))
    .to_vec();
    let (url, asked) = scripted(&script).await;
    for (line, call) in [
        ("route fraud 1=100", r#"PUT /models/fraud/route {"weights":{"1":10000}}"#),
        (
            "route fraud 1=100 --end-rollout",
            r#"PUT /models/fraud/route {"weights":{"1":10000},"end_rollout":true}"#,
        ),
        ("promote fraud 2", r#"POST /models/fraud/promote {"version":2}"#),
        (
            "promote fraud 2 --end-rollout",
            r#"POST /models/fraud/promote {"version":2,"end_rollout":true}"#,
        ),
        ("rollback fraud", "POST /models/fraud/rollback"),
        ("rollback fraud --end-rollout", r#"POST /models/fraud/rollback {"end_rollout":true}"#),
    ] {
        run(&url, line).await.unwrap();
        assert_eq!(calls(&asked), ["GET /models/fraud", call], "{line}");
    }
}
