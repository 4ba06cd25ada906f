//! Metrics and logs say what happened.

use serde_json::{Value, json};
use weighbridge_tests::gateway::{any_row, fp32};
use weighbridge_tests::onnx::{doubling, tag};
use weighbridge_tests::{Gateway, Metrics, wait};

#[tokio::test]
async fn metrics_tell_requests_and_latencies_by_model_and_version() {
    let gateway =
        Gateway::start().model("fraud", &tag(1.0)).model("double", &doubling()).ready().await;
    gateway.push_ready("fraud", &tag(2.0)).await;
    for _ in 0..5 {
        gateway.infer("fraud", &any_row()).await.expect(200);
    }
    gateway.infer("fraud/versions/2", &any_row()).await.expect(200);
    gateway.infer("double", &fp32("x", &[[1.0; 4]; 3])).await.expect(200);
    gateway.infer("double", &fp32("x", &[[1.0; 3]])).await.expect(400);
    let metrics = gateway.metrics().await;
    for (version, count) in [("1", 5.0), ("2", 1.0)] {
        let labels = [("model", "fraud"), ("version", version)];
        assert_eq!(metrics.sum("weighbridge_requests_total", &labels), count);
        for histogram in ["request", "queue", "compute"] {
            let name = format!("weighbridge_{histogram}_seconds");
            assert_histogram(&metrics, &name, &labels, count);
        }
        assert_histogram(&metrics, "weighbridge_batch_rows", &labels, count);
    }
    let double = [("model", "double"), ("version", "1")];
    assert_eq!(metrics.sum("weighbridge_batch_rows_sum", &double), 3.0);
    let refused = [("model", "double"), ("reason", "invalid-request")];
    assert_eq!(metrics.sum("weighbridge_refused_total", &refused), 1.0);
    assert_eq!(metrics.sum("weighbridge_loaded_versions", &[]), 3.0);
    assert_eq!(metrics.sum("weighbridge_queue_rows", &[]), 0.0);
    assert!(metrics.sum("weighbridge_resident_bytes", &[]) > 1e6);
    assert!(metrics.sum("weighbridge_cpu_seconds", &[]) > 0.0);
    let (revision, history) =
        (metrics.sum("weighbridge_snapshot_revision", &[]), gateway.history().await);
    assert_eq!(revision, history.len() as f64);
    assert_eq!(metrics.sum("weighbridge_loads_total", &[("outcome", "ok")]), 3.0);
    let bad = [("listener", "data"), ("status", "400")];
    assert_eq!(metrics.sum("weighbridge_http_requests_total", &bad), 1.0);
}

/// A histogram of `count` samples whose buckets only grow and end in all of them.
fn assert_histogram(metrics: &Metrics, name: &str, labels: &[(&str, &str)], count: f64) {
    let (sum, counted) = (metrics.sum(&format!("{name}_sum"), labels), format!("{name}_count"));
    assert_eq!(metrics.sum(&counted, labels), count, "{name}");
    assert!(sum > 0.0, "{name}");
    let buckets = format!("{name}_bucket");
    let buckets: Vec<f64> = metrics.of(&buckets, labels).map(|sample| sample.value).collect();
    assert!(buckets.len() > 5 && buckets.is_sorted(), "{name}: {buckets:?}");
    assert_eq!(buckets.last(), Some(&count), "{name}: the last bucket is +Inf");
}

#[tokio::test]
async fn names_that_clients_make_up_never_become_labels() {
    let gateway = Gateway::start().model("fraud", &tag(1.0)).ready().await;
    for made_up in ["zz-made-up", "fraud/versions/77777"] {
        gateway.infer(made_up, &any_row()).await.expect(404);
    }
    let text = gateway.admin.get("/metrics").await.expect(200).text();
    assert!(!text.contains("made-up") && !text.contains("77777"), "{text}");
}

#[tokio::test]
async fn every_access_line_carries_its_request_id() {
    let start = Gateway::start().model("fraud", &tag(1.0));
    let gateway = start.setting("logging.access", "all").ready().await;
    let ask = gateway.infer_ask("fraud").header("x-request-id", "good-1");
    ask.json(&any_row()).send().await.expect(200);
    let ask = gateway.infer_ask("fraud").header("x-request-id", "bad-1");
    ask.body("{").send().await.expect(400);
    let made = gateway.infer("fraud", &any_row()).await.expect(200);
    let made = made.header("x-request-id").expect("one is made").to_owned();
    for (id, status, message) in
        [("good-1", 200, "answered"), ("bad-1", 400, "refused"), (&*made, 200, "answered")]
    {
        let line = wait::until("the line is written", async || line_of(&gateway, id)).await;
        assert_eq!(
            (&line["status"], &line["message"]),
            (&status.into(), &message.into()),
            "{line}"
        );
        assert_eq!(line["path"], "/v2/models/fraud/infer");
        assert_eq!(line["listener"], "data");
        assert!(line["ms"].is_number() && line["timestamp"].is_string(), "{line}");
    }
    let lines = gateway.stderr();
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{lines}");
}

fn line_of(gateway: &Gateway, request_id: &str) -> Option<Value> {
    let log = gateway.stderr();
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.find(|line| line["request_id"] == request_id)
}

#[tokio::test]
async fn by_default_only_failures_are_logged_and_changes_are_audited() {
    let gateway = Gateway::start().model("fraud", &tag(1.0)).ready().await;
    let ask = gateway.infer_ask("fraud").header("x-request-id", "quiet-1");
    ask.json(&any_row()).send().await.expect(200);
    let ask = gateway.infer_ask("fraud").header("x-request-id", "loud-1");
    ask.body("{").send().await.expect(400);
    wait::until("the failure is logged", async || line_of(&gateway, "loud-1")).await;
    assert!(line_of(&gateway, "quiet-1").is_none());

    gateway.push_ready("fraud", &tag(2.0)).await;
    gateway.promote("fraud", 2).await.expect(200);
    let last = gateway.history().await.pop().expect("an event");
    assert_eq!(last["action"], "route.promoted");
    assert_eq!(last["model"], "fraud");
    assert_eq!(last["actor_name"], "first admin key");
    assert!(last["actor"].as_str().is_some_and(|actor| actor.starts_with("key:wbk_")), "{last}");
    assert_eq!(last["from"]["weights"], json!({"1": 10_000}));
    assert_eq!(last["to"]["weights"], json!({"2": 10_000}));
    assert!(last["at"].is_u64());
}
