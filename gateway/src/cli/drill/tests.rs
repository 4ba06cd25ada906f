//! Drills against a small server in this process.

use serde_json::{Value, json};

use super::*;
use crate::cli::client::tests::{client, run};
use crate::cli::rollout::tests::{ended, live, scripted, view};

const SHOW: &str = "GET /models/fraud/rollout";
const ARM: &str = "POST /models/fraud/rollout/drill";
const DISARM: &str = "DELETE /models/fraud/rollout/drill";

fn verdict_of(ok: u64, err: u64, rescued: u64) -> Value {
    let canary = json!({"ok": ok, "err": err, "client_error": 0, "unit_err": err});
    json!({"about": {"rescued": rescued}, "seen": {"total": {"canary": canary}}})
}

fn with(mut view: Value, ok: u64, err: u64, rescued: u64) -> Value {
    view["live"] = live(ok + err, 1000, "");
    view["live"]["verdict"] = verdict_of(ok, err, rescued);
    view
}

#[tokio::test]
async fn a_drill_arms_waits_and_disarms() {
    let answers = [
        (200, with(view(), 10, 0, 0)),
        (200, with(view(), 10, 2, 2)),
        (200, with(ended("rolled_back"), 10, 5, 5)),
    ];
    let none = [(404, json!({"error": "no drill"}))];
    let armed = [(200, json!({"drill": {"fault": "errors"}}))];
    for line in ["drill fraud --fault errors", "drill fraud --fault errors --json"] {
        let (url, asked) = scripted(&[(SHOW, &answers), (ARM, &armed), (DISARM, &none)]).await;
        run(&url, line).await.unwrap();
        let calls = asked.lock().unwrap().clone();
        assert_eq!(calls[1], format!("{ARM} {}", r#"{"fault":"errors","after_ms":0}"#));
        assert_eq!(calls.iter().filter(|call| *call == DISARM).count(), 1, "{calls:?}");
    }
}

#[tokio::test]
async fn a_drill_that_is_not_rolled_back_fails_and_is_disarmed() {
    let mut held = view();
    held["standing"] = json!("held");
    for (last, exit) in [
        (ended("promoted"), Exit::Failed),
        (ended("ended"), Exit::Held),
        (held, Exit::Held),
        (view(), Exit::WaitTimedOut),
    ] {
        let answers = [(200, view()), (200, last)];
        let done = [(200, json!({"drill": null}))];
        let (url, asked) = scripted(&[(SHOW, &answers), (ARM, &done), (DISARM, &done)]).await;
        let line = "drill fraud --fault slow --at 10ms --share 0.5 --timeout 300ms --json";
        let error = run(&url, line).await.unwrap_err();
        assert_eq!(error.exit, exit, "{error}");
        let calls = asked.lock().unwrap().clone();
        let armed = r#"{"fault":"slow","after_ms":10,"share":0.5}"#;
        assert_eq!(calls[1], format!("{ARM} {armed}"));
        assert_eq!(calls.last().unwrap(), DISARM);
    }
}

#[tokio::test]
async fn a_rollback_before_the_fault_proves_nothing() {
    let answers = [(200, view()), (200, ended("rolled_back"))];
    let done = [(200, json!({"drill": null}))];
    let (url, asked) = scripted(&[(SHOW, &answers), (ARM, &done), (DISARM, &done)]).await;
    let error = run(&url, "drill fraud --fault slow --at 1m").await.unwrap_err();
    assert_eq!(error.exit, Exit::Failed);
    assert!(error.text.contains("before the fault began"), "{error}");
    assert_eq!(asked.lock().unwrap().last().unwrap(), DISARM);
}

#[tokio::test]
async fn without_a_rollout_there_is_no_drill() {
    let (url, asked) = scripted(&[(SHOW, &[(200, ended("promoted"))])]).await;
    let error = run(&url, "drill fraud --fault leak").await.unwrap_err();
    assert_eq!(error.exit, Exit::Refused);
    assert!(error.text.contains("rollout start fraud"), "{error}");
    assert_eq!(asked.lock().unwrap().len(), 1);

    let refused = [(409, json!({"error": "a drill is on"}))];
    let (url, asked) = scripted(&[(SHOW, &[(200, view())]), (ARM, &refused)]).await;
    let error = run(&url, "drill fraud --fault leak").await.unwrap_err();
    assert_eq!(error.exit, Exit::Refused);
    assert_eq!(asked.lock().unwrap().len(), 2, "another one's drill is not ended");
}

#[tokio::test]
async fn only_what_comes_after_the_beginning_counts() {
    let waits = |mut view: Value| {
        view["standing"] = json!("waits_for_approval");
        view
    };
    // Its controller has forgotten it: what the decision rested on counts.
    let mut last = ended("rolled_back");
    last["verdict"] = verdict_of(39, 7, 3);
    let answers =
        [(200, waits(with(view(), 39, 1, 0))), (200, waits(with(view(), 39, 3, 2))), (200, last)];
    let (url, _) = scripted(&[(SHOW, &answers)]).await;
    let client = client(&url);
    let first = with(view(), 10, 0, 0);
    let first = Seen { json: first.to_string(), view: serde_json::from_value(first).unwrap() };
    let begins = Instant::now() + Duration::from_millis(400);
    let limit = Duration::from_secs(60);
    let pause = Duration::from_millis(420);
    let watched = watch(&client, first, begins, limit, pause, &Steps::new()).await;
    let (toll, last) = watched.unwrap();
    assert!(matches!(last.view.phase, Phase::Ended { .. }));
    let wanted = Toll { seconds: toll.seconds, canary_requests: 6, rescued: 3, failed: 3 };
    assert_eq!(toll, wanted, "the first 40 came before");
    assert!(toll.seconds > 0.0 && toll.seconds < limit.as_secs_f64());
}

#[test]
fn what_a_fault_cost_is_told() {
    let toll = Toll { seconds: 0.84, canary_requests: 5, rescued: 5, failed: 0 };
    let told = "the fault lasted 0.8 s and 5 canary requests, of which 5 were rescued and 0 failed";
    assert_eq!(toll.told(), told);
    let last = ended("rolled_back");
    let last = Seen { json: last.to_string(), view: serde_json::from_value(last).unwrap() };
    let json: Value = serde_json::from_str(&toll.json(Fault::Hang, &last).unwrap()).unwrap();
    let wanted = json!({
        "fault": "hang", "state": "rolled back", "seconds": 0.84, "canary_requests": 5,
        "rescued": 5, "failed": 0, "rollout": ended("rolled_back"),
    });
    assert_eq!(json, wanted);
}
