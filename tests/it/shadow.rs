//! Shadow versions see copies, answer nobody, and cost the live requests nothing.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use weighbridge_tests::gateway::{any_row, fp32, timed};
use weighbridge_tests::onnx::{
    doubling, doubling_traced_with_one_row, lookup, lookup_of, slow_doubling, slow_doubling_of, tag,
};
use weighbridge_tests::{Answer, Gateway, wait};

/// The shadow `version` of `model`, as the admin API reports it.
async fn report(gateway: &Gateway, model: &str, version: u64) -> Value {
    let path = format!("/admin/v1/models/{model}/shadows");
    let body = gateway.admin.get(&path).await.expect(200).json();
    let shadows = body["shadows"].as_array().expect("shadows");
    let found = shadows.iter().find(|shadow| shadow["version"] == version);
    found.unwrap_or_else(|| panic!("no shadow {version}: {body}")).clone()
}

/// The report, as soon as `count` pairs have been compared.
async fn compared(gateway: &Gateway, model: &str, version: u64, count: u64) -> Value {
    wait::until(&format!("{count} copies are compared"), async || {
        let report = report(gateway, model, version).await;
        (pairs(&report) >= count).then_some(report)
    })
    .await
}

fn pairs(report: &Value) -> u64 {
    let of = |name: &str| report["pairs"][name].as_u64().expect("a count");
    of("both_ok") + of("shadow_err") + of("live_err") + of("both_err")
}

async fn exemplars(gateway: &Gateway, model: &str, version: u64) -> Vec<Value> {
    let path = format!("/admin/v1/models/{model}/shadows/{version}/exemplars");
    let body = gateway.admin.get(&path).await.expect(200).json();
    body["exemplars"].as_array().expect("exemplars").clone()
}

async fn configure(gateway: &Gateway, model: &str, changes: &Value) -> Answer {
    let path = format!("/admin/v1/models/{model}/settings");
    gateway.admin.ask(Method::PATCH, &path).json(changes).send().await
}

/// A gateway whose budget is no part of the scenario.
async fn start(onnx: &[u8]) -> Gateway {
    let start = Gateway::start().model("m", onnx).setting("shadow.cpu_share", "100");
    start.ready().await
}

/// One row of numbers to look up.
fn places(numbers: &[i64]) -> Value {
    json!({"inputs": [
        {"name": "x", "datatype": "INT64", "shape": [numbers.len(), 1], "data": numbers}
    ]})
}

#[tokio::test]
async fn copies_arrive_at_each_shadow_and_no_answer_comes_from_one() {
    let gateway = start(&tag(1.0)).await;
    let (two, three) =
        (gateway.push_ready("m", &tag(2.0)).await, gateway.push_ready("m", &tag(3.0)).await);
    gateway.configure("m", &json!({"shadows": "2=100,3=100"})).await;
    for _ in 0..30 {
        let answer = gateway.infer("m", &any_row()).await.expect(200);
        assert_eq!((answer.version(), answer.output("y")), (1, vec![1.0]));
        assert_eq!(answer.header("weighbridge-variant"), Some("stable"));
    }
    for version in [two, three] {
        let report = compared(&gateway, "m", version, 30).await;
        assert_eq!((&report["copied"], &report["pairs"]["differ"]), (&json!(30), &json!(30)));
        assert_eq!((&report["state"], &report["dropped"]), (&json!("on"), &json!({})));
    }
    let metrics = gateway.metrics().await;
    let of = |name: &str, version: &str| metrics.sum(name, &[("model", "m"), ("version", version)]);
    for version in ["2", "3"] {
        assert_eq!(of("weighbridge_shadow_copied_total", version), 30.0);
        assert_eq!(of("weighbridge_shadow_pairs_total", version), 30.0);
        assert_eq!(of("weighbridge_requests_total", version), 0.0, "no request was its own");
        assert_eq!(of("weighbridge_compute_seconds_count", version), 0.0);
    }
    assert_eq!(of("weighbridge_requests_total", "1"), 30.0);
}

#[tokio::test]
async fn requests_for_a_version_are_not_copied_nor_those_that_the_shadow_answers() {
    let gateway = start(&tag(1.0)).await;
    gateway.push_ready("m", &tag(2.0)).await;
    gateway.configure("m", &json!({"shadows": "2=100"})).await;
    gateway.infer("m/versions/1", &any_row()).await.expect(200);
    gateway.promote("m", 2).await.expect(200);
    gateway.infer("m", &any_row()).await.expect(200);
    gateway.promote("m", 1).await.expect(200);
    gateway.infer("m", &any_row()).await.expect(200);
    // Copies are taken in order: the last one is there, so none of the others will come.
    assert_eq!(compared(&gateway, "m", 2, 1).await["copied"], 1);
}

#[tokio::test]
async fn a_disagreement_is_found_shown_with_its_request_and_on_the_command_line() {
    let gateway = start(&lookup_of(&[10.0, 20.0, 30.0, 40.0])).await;
    gateway.push_ready("m", &lookup_of(&[10.0, 20.0, 30.0, 45.0])).await;
    gateway.configure("m", &json!({"shadows": "2=100"})).await;
    for number in [0, 1, 2, 0, 1, 2] {
        gateway.infer("m", &places(&[number])).await.expect(200);
    }
    let odd = gateway.infer_ask("m").header("x-request-id", "odd-one");
    odd.json(&places(&[3])).send().await.expect(200);
    let report = compared(&gateway, "m", 2, 7).await;
    assert_eq!((&report["pairs"]["both_ok"], &report["pairs"]["differ"]), (&json!(7), &json!(1)));
    assert_eq!(report["outputs"]["absolute"]["max"], 5.0);
    assert_eq!(report["outputs"]["absolute"]["p50"], 0.0);
    assert!(report["compute"]["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0), "{report}");
    let found = exemplars(&gateway, "m", 2).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let exemplar = &found[0];
    assert_eq!(
        (&exemplar["request_id"], &exemplar["live_version"]),
        (&json!("odd-one"), &json!(1))
    );
    assert_eq!(exemplar["inputs"], places(&[3])["inputs"]);
    assert_eq!(exemplar["live_outputs"][0]["data"], json!([40.0]));
    assert_eq!(exemplar["shadow_outputs"][0]["data"], json!([45.0]));
    assert_eq!(exemplar["differences"][0]["beyond"], 1);
    // It is a request as it came, and can be asked again.
    let again = json!({"inputs": exemplar["inputs"]});
    assert_eq!(gateway.infer("m/versions/2", &again).await.expect(200).output("y"), [45.0]);

    gateway.cli(&["shadows", "m"]).await.ended(0, &["100%", "on", "1 (14.3%)"]);
    gateway.cli(&["shadows", "m", "2"]).await.ended(0, &["differ", "1 (14.3%)", "compute time"]);
    let shown = gateway.cli(&["shadows", "m", "2", "--exemplars"]).await;
    shown.ended(0, &["odd-one", "element 0 is 40 live, 45 here"]);
    gateway.cli(&["shadows", "m", "1"]).await.ended(1, &["version 1 is no shadow of m"]);
    let path = "/admin/v1/models/m/shadows/1/exemplars";
    gateway.admin.get(path).await.refused(404, &["version 1", "shadows here: 2"]);
}

#[tokio::test]
async fn no_exemplars_are_kept_where_none_are_wanted() {
    let start = Gateway::start().model("m", &tag(1.0)).setting("shadow.exemplars", "0");
    let gateway = start.ready().await;
    gateway.push_ready("m", &tag(2.0)).await;
    gateway.configure("m", &json!({"shadows": "2=100"})).await;
    gateway.infer("m", &any_row()).await.expect(200);
    let report = compared(&gateway, "m", 2, 1).await;
    assert_eq!((&report["pairs"]["differ"], &report["exemplars"]), (&json!(1), &json!(0)));
    assert!(exemplars(&gateway, "m", 2).await.is_empty());
}

#[tokio::test]
async fn a_shadow_that_fails_or_panics_costs_no_live_request_anything() {
    let mut gateway = start(&lookup_of(&[10.0, 20.0, 30.0, 40.0])).await;
    gateway.models_may_panic();
    // Version 2 panics inside an operator on 3, which the live version knows.
    gateway.push_ready("m", &lookup()).await;
    gateway.push_ready("m", &lookup_of(&[10.0, 20.0, 30.0, 40.0, 50.0])).await;
    gateway.configure("m", &json!({"shadows": "2=100,3=100"})).await;
    for number in [3, 0, 3, 1, 3] {
        let answer = gateway.infer("m", &places(&[number])).await.expect(200);
        assert_eq!(answer.output("y"), [10.0 + 10.0 * number as f64]);
    }
    // Only the live version fails.
    gateway.infer("m", &places(&[4])).await.expect(500);
    let failing = compared(&gateway, "m", 2, 6).await;
    assert_eq!(
        failing["pairs"],
        json!({"both_ok": 2, "shadow_err": 3, "live_err": 0, "both_err": 1, "differ": 0})
    );
    let steady = compared(&gateway, "m", 3, 6).await;
    assert_eq!(
        steady["pairs"],
        json!({"both_ok": 5, "shadow_err": 0, "live_err": 1, "both_err": 0, "differ": 0})
    );
    assert!(failing["last_error"]["error"].as_str().is_some_and(|e| !e.is_empty()), "{failing}");
    let found = exemplars(&gateway, "m", 2).await;
    assert_eq!(found.len(), 1, "the same request is kept once: {found:?}");
    assert_eq!(found[0]["kind"], "shadow_error");
    let metrics = gateway.metrics().await;
    let errors = [("version", "2"), ("outcome", "shadow-error")];
    assert_eq!(metrics.sum("weighbridge_shadow_pairs_total", &errors), 3.0);
    let failed = [("version", "1"), ("outcome", "model-failed")];
    assert_eq!(metrics.sum("weighbridge_requests_total", &failed), 1.0);
}

#[tokio::test]
async fn a_shadow_whose_run_does_not_end_is_switched_off_and_the_rest_goes_on() {
    let start = Gateway::start().model("m", &doubling()).setting("shadow.cpu_share", "100");
    let gateway = start.setting("shadow.run_limit", "10ms").ready().await;
    // A copy of 64 rows runs piece by piece; each takes more than 15 ms.
    gateway.push_ready("m", &slow_doubling_of(1024, 100)).await;
    gateway.push_ready("m", &doubling_traced_with_one_row()).await;
    gateway.configure("m", &json!({"shadows": "2=100,3=100"})).await;
    let rows = vec![[1.0, 2.0, 3.0, 4.0]; 64];
    // On a busy machine the first copies may find no room in the budget.
    let report = wait::until("it is switched off", async || {
        let (answer, took) = timed(gateway.infer("m", &fp32("x", &rows))).await;
        answer.expect(200);
        assert!(took < Duration::from_secs(5), "{took:?}");
        let report = report(&gateway, "m", 2).await;
        (report["state"] == "off").then_some(report)
    })
    .await;
    let reason = report["reason"].as_str().expect("a reason");
    assert!(reason.contains("10ms") && reason.contains("shadow.run_limit"), "{reason}");
    assert_eq!(report["pairs"]["shadow_err"], 1);
    let before = report["dropped"]["off"].as_u64().unwrap_or(0);
    let third = pairs(&self::report(&gateway, "m", 3).await);
    wait::until("the other shadow goes on", async || {
        gateway.infer("m", &fp32("x", &[[1.0; 4]])).await.expect(200);
        (pairs(&self::report(&gateway, "m", 3).await) > third).then_some(())
    })
    .await;
    let off = self::report(&gateway, "m", 2).await;
    assert_eq!(off["pairs"]["shadow_err"], 1);
    assert!(off["dropped"]["off"].as_u64().is_some_and(|now| now > before), "{off}");
    gateway.cli(&["shadows", "m"]).await.ended(0, &["version 2 is off", "10ms"]);
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("weighbridge_shadow_written_off_total", &[("version", "2")]), 1.0);
}

#[tokio::test]
async fn copies_are_shed_first_when_they_are_over_their_budget() {
    let start = Gateway::start().model("m", &doubling()).setting("shadow.cpu_share", "1");
    let gateway = start.ready().await;
    // About 4 ms a row: 1 % of the processors has time for a few a second.
    gateway.push_ready("m", &slow_doubling(400)).await;
    gateway.configure("m", &json!({"shadows": "2=100"})).await;
    const ASKED: u64 = 200;
    for _ in 0..ASKED {
        gateway.infer("m", &fp32("x", &[[1.0; 4]])).await.expect(200);
    }
    let report = wait::until("what was taken is compared", async || {
        let report = report(&gateway, "m", 2).await;
        (Some(pairs(&report)) == report["copied"].as_u64()).then_some(report)
    })
    .await;
    let shed = report["dropped"]["budget"].as_u64().expect("some are shed");
    assert_eq!(report["copied"].as_u64(), Some(ASKED - shed), "{report}");
    assert!(shed > ASKED / 2, "{report}");
    let metrics = gateway.metrics().await;
    let budget = [("version", "2"), ("reason", "budget")];
    assert_eq!(metrics.sum("weighbridge_shadow_dropped_total", &budget), shed as f64);
}

#[tokio::test]
async fn the_share_of_copied_requests_is_as_configured_and_can_be_changed() {
    const ASKED: u64 = 2000;
    let gateway = start(&tag(1.0)).await;
    gateway.push_ready("m", &tag(2.0)).await;
    gateway.push_ready("m", &tag(3.0)).await;
    gateway.configure("m", &json!({"shadows": "2=10,3=2.5"})).await;
    let mut connection = gateway.connect().await.expect("a connection");
    let body = any_row().to_string();
    for _ in 0..ASKED {
        let answer = connection.exchange("POST", "/v2/models/m/infer", body.as_bytes()).await;
        answer.expect("an answer").expect(200);
    }
    for (version, share) in [(2, 0.1), (3, 0.025)] {
        let report = report(&gateway, "m", version).await;
        let dropped = report["dropped"].as_object().expect("reasons").values();
        let dropped: u64 = dropped.filter_map(Value::as_u64).sum();
        let chosen = (report["copied"].as_u64().expect("a count") + dropped) as f64;
        // Six standard deviations.
        let (mean, all) = (share * ASKED as f64, ASKED as f64);
        let bound = 6.0 * (all * share * (1.0 - share)).sqrt();
        assert!((chosen - mean).abs() <= bound, "{share}: {chosen}");
    }
    let before = report(&gateway, "m", 3).await["copied"].as_u64();
    gateway.configure("m", &json!({"shadows": "3=100"})).await;
    gateway.infer("m", &any_row()).await.expect(200);
    let after = report(&gateway, "m", 3).await;
    assert_eq!(after["copied"].as_u64(), before.map(|n| n + 1), "counts go on");
    gateway.configure("m", &json!({"shadows": "default"})).await;
    let body = gateway.admin.get("/admin/v1/models/m/shadows").await.expect(200).json();
    assert_eq!(body["shadows"], json!([]));
    gateway.cli(&["shadows", "m"]).await.ended(0, &["m has no shadows", "configure m shadows="]);
}

#[tokio::test]
async fn a_setting_that_cannot_be_is_refused_with_the_reason() {
    let gateway = start(&tag(1.0)).await;
    gateway.push_ready("m", &tag(2.0)).await;
    gateway.push_ready("m", &tag(3.0)).await;
    gateway.admin.post("/admin/v1/models/m/versions/3/archive", &json!({})).await.expect(200);
    for (shadows, facts) in [
        ("2=120", &["shadows = \"2=120\"", "up to 100"][..]),
        ("2=0", &["above 0"]),
        ("2", &["VERSION=PERCENT"]),
        ("9=10", &["shadows = \"9=10\"", "no version 9", "1, 2, 3"]),
        ("2=10,3=10", &["version 3 of m is archived"]),
    ] {
        let answer = configure(&gateway, "m", &json!({"shadows": shadows})).await;
        answer.refused(400, facts);
    }
    let both = json!({"shadows": "2=10", "idempotent": "false"});
    configure(&gateway, "m", &both).await.refused(400, &["shadows", "idempotent"]);
    gateway.configure("m", &json!({"shadows": "2=10"})).await;
    let answer = configure(&gateway, "m", &json!({"idempotent": "false"})).await;
    answer.refused(400, &["shadows", "idempotent"]);
    let refused = gateway.cli(&["configure", "m", "shadows=2=120"]).await;
    refused.ended(2, &["shadows = \"2=120\""]);
    gateway.cli(&["configure", "m"]).await.ended(0, &["shadows", "2=10"]);
    // A shadow may be put away all the same, and is then said to be missing.
    gateway.admin.post("/admin/v1/models/m/versions/2/archive", &json!({})).await.expect(200);
    let report = report(&gateway, "m", 2).await;
    assert_eq!(report["state"], "not_loaded");
    assert_eq!(report["reason"], "version 2 is archived");
}

#[tokio::test]
async fn a_shadow_is_loaded_again_after_a_restart() {
    let start = Gateway::start().model("m", &tag(1.0)).setting("shadow.cpu_share", "100");
    let start = start.setting("engine.loaded_versions_per_model", "2");
    let mut gateway = start.ready().await;
    for value in [2.0, 3.0, 4.0] {
        let version = gateway.push("m", &tag(value)).await;
        assert_eq!(version["state"], "ready", "{version}");
    }
    // Version 2 is neither routed nor new: only the setting keeps it loaded.
    gateway.configure("m", &json!({"shadows": "2=100"})).await;
    // The answer to the change means that it is loaded.
    gateway.infer("m", &any_row()).await.expect(200);
    compared(&gateway, "m", 2, 1).await;
    gateway.kill9();
    gateway.restart().await;
    wait::until("it is loaded again", async || {
        (report(&gateway, "m", 2).await["state"] == "on").then_some(())
    })
    .await;
    gateway.infer("m", &any_row()).await.expect(200);
    assert_eq!(compared(&gateway, "m", 2, 1).await["copied"], 1);
    let (exit, _) = gateway.terminate().await;
    assert!(exit.success(), "{exit:?}");
}
