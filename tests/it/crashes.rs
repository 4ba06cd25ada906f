//! A process that dies at any moment leaves a registry and a store that start and agree.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use weighbridge_tests::gateway::{any_row, timed};
use weighbridge_tests::onnx::tag;
use weighbridge_tests::{Gateway, store, wait};

const KILLS: u32 = 20;

/// Everything that must hold once the process is ready again.
async fn assert_sound(gateway: &Gateway) {
    assert_history_is_whole(gateway).await;
    let models = wait::until("no version is being checked", async || {
        let models = gateway.admin.get("/admin/v1/models").await.expect(200).json();
        let models = models["models"].as_array().expect("models").clone();
        let mut versions =
            models.iter().flat_map(|m| m["versions"].as_array().into_iter().flatten());
        versions.all(|version| version["state"] == "ready").then_some(models)
    })
    .await;
    store::assert_holds(&gateway.data_dir(), &models);
    for model in &models {
        assert_versions_answer(gateway, model).await;
    }
    wait::until("no operation runs", async || {
        let operations = gateway.admin.get("/admin/v1/operations").await.expect(200).json();
        let operations = operations["operations"].as_array().expect("operations").clone();
        operations.iter().all(|operation| operation["state"] != "running").then_some(())
    })
    .await;
}

/// Every change is in the trail exactly once.
async fn assert_history_is_whole(gateway: &Gateway) {
    let history = gateway.history().await;
    let sequences: Vec<u64> = history.iter().filter_map(|e| e["sequence"].as_u64()).collect();
    let wanted: Vec<u64> = (1..=history.len() as u64).collect();
    assert_eq!(sequences, wanted, "a gap in the audit trail");
}

/// Loaded versions answer what their description says.
async fn assert_versions_answer(gateway: &Gateway, model: &Value) {
    let name = model["name"].as_str().expect("a name");
    for version in model["versions"].as_array().expect("versions") {
        let number = version["version"].to_string();
        let is_loaded = |model: &Value| model["serving"][&number]["state"] == "loaded";
        if !is_loaded(model) {
            continue;
        }
        let path = format!("{name}/versions/{number}");
        let answer = gateway.infer(&path, &any_row()).await;
        // A newer version may have taken its place meanwhile.
        if answer.status == 503 && !is_loaded(&gateway.model(name).await) {
            continue;
        }
        let answer = answer.expect(200);
        let tagged = answer.output("y")[0].to_string();
        assert_eq!(version["info"]["description"], tagged, "{path}");
    }
    if !model["route"].is_null() {
        gateway.infer(name, &any_row()).await.expect(200);
    }
}

/// An upload whose description says what the version answers. True when it was acknowledged.
fn upload(gateway: &Gateway, tagged: u32) -> impl Future<Output = bool> + Send + use<> {
    let info = json!({"description": tagged.to_string()});
    let ask = gateway.admin.ask(Method::POST, "/admin/v1/models/fraud/versions");
    let ask = ask.upload(&info, &tag(tagged as f32));
    async move { ask.try_send().await.is_ok_and(|answer| answer.status == 202) }
}

fn has_version(model: &Value, tagged: u32) -> bool {
    let description = json!(tagged.to_string());
    let mut versions = model["versions"].as_array().expect("versions").iter();
    versions.any(|v| v["info"]["description"] == description)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_during_a_push_leaves_a_registry_and_a_store_that_agree() {
    let mut gateway = Gateway::start().ready().await;
    let whole = timed(async {
        assert!(upload(&gateway, 100).await);
        assert_sound(&gateway).await;
    });
    let ((), whole) = whole.await;
    gateway.promote("fraud", 1).await.expect(200);
    let mut acknowledged = 0;
    for round in 0..KILLS {
        // The delay is what is tested. The first half of the kills falls into the upload,
        // which takes some milliseconds; the second half into the check that follows it.
        let delay = match round.checked_sub(KILLS / 2) {
            None => Duration::from_micros(700) * round,
            Some(late) => whole * (late + 1) / (KILLS / 2),
        };
        let sent = tokio::spawn(upload(&gateway, round));
        tokio::time::sleep(delay).await;
        gateway.kill9();
        let is_acknowledged = sent.await.expect("no panic");
        gateway.restart().await;
        assert_sound(&gateway).await;
        let model = gateway.model("fraud").await;
        assert!(!is_acknowledged || has_version(&model, round), "round {round}: a lost push");
        assert_eq!(gateway.infer("fraud", &any_row()).await.expect(200).output("y"), [100.0]);
        acknowledged += u32::from(is_acknowledged);
    }
    assert!(
        (1..KILLS).contains(&acknowledged),
        "kills within and after the upload: {acknowledged}"
    );
    for round in 0..KILLS {
        assert!(upload(&gateway, round).await, "what was cut off can be pushed again");
    }
    assert_sound(&gateway).await;
    let versions = gateway.model("fraud").await["versions"].as_array().map(Vec::len);
    assert_eq!(versions, Some(KILLS as usize + 1), "the same bytes are the same version");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_during_a_promotion_leaves_the_old_route_or_the_new_one() {
    let mut gateway = Gateway::start().ready().await;
    for tagged in [1, 2] {
        assert!(upload(&gateway, tagged).await);
        assert_sound(&gateway).await;
    }
    gateway.promote("fraud", 1).await.expect(200);
    gateway.kill9();
    gateway.restart().await;
    let (answer, whole) = timed(gateway.promote("fraud", 2)).await;
    answer.expect(200);
    let (mut current, mut acknowledged) = (2, 0);
    for round in 0..KILLS {
        let wanted = 3 - current;
        let ask = gateway.admin.ask(Method::POST, "/admin/v1/models/fraud/promote");
        let ask = ask.json(&json!({"version": wanted}));
        let sent = tokio::spawn(async move { ask.try_send().await });
        tokio::time::sleep(whole * round / (KILLS / 2)).await;
        gateway.kill9();
        let is_acknowledged = sent.await.expect("no panic").is_ok_and(|a| a.status == 200);
        gateway.restart().await;
        assert_sound(&gateway).await;
        let split = gateway.model("fraud").await["route"]["split"].clone();
        let found = split[0]["version"].as_u64().expect("a route");
        assert_eq!(split, json!([{"version": found, "weight": 10_000}]));
        assert!(
            found == wanted || (found == current && !is_acknowledged),
            "round {round}: {found}"
        );
        let answer = gateway.infer("fraud", &any_row()).await.expect(200);
        assert_eq!(answer.output("y"), [found as f64]);
        current = found;
        acknowledged += u32::from(is_acknowledged);
    }
    assert!((1..KILLS).contains(&acknowledged), "kills before and after the end: {acknowledged}");
}

#[tokio::test]
async fn a_restart_keeps_models_routes_aliases_settings_keys_and_history() {
    let mut gateway = Gateway::start().model("fraud", &tag(1.0)).ready().await;
    gateway.push_ready("fraud", &tag(2.0)).await;
    gateway.push("fraud", &weighbridge_tests::onnx::unknown_operator()).await;
    gateway.route("fraud", &json!({"1": 7500, "2": 2500})).await.expect(200);
    let alias = json!({"version": 2});
    gateway.admin.put("/admin/v1/models/fraud/aliases/next", &alias).await.expect(200);
    gateway.configure("fraud", &json!({"sticky": "header:x-user", "max_batch_size": "8"})).await;
    let key = json!({"name": "ci", "role": "admin"});
    let key = gateway.admin.post("/admin/v1/keys", &key).await.expect(200).json();
    let (_, before) = state(&gateway).await;

    gateway.without_models();
    gateway.kill9();
    gateway.restart().await;
    let (model, after) = state(&gateway).await;
    assert_eq!(after, before);
    let loaded = json!({"state": "loaded"});
    assert_eq!((&model["serving"]["1"], &model["serving"]["2"]), (&loaded, &loaded));
    let by_key = gateway.admin.with_key(key["secret"].as_str());
    by_key.get("/admin/v1/models").await.expect(200);
    let alias = gateway.infer_ask("fraud").header("weighbridge-alias", "next");
    assert_eq!(alias.json(&any_row()).send().await.expect(200).output("y"), [2.0]);
}

/// The model as it is served, and all that the registry holds.
async fn state(gateway: &Gateway) -> (Value, Value) {
    let mut model = gateway.model("fraud").await;
    let served = model.clone();
    // What this process has loaded is no state of the registry.
    model.as_object_mut().expect("an object").remove("serving");
    let mut keys = gateway.admin.get("/admin/v1/keys").await.expect(200).json();
    for key in keys["keys"].as_array_mut().expect("keys") {
        key["last_used_at"] = Value::Null;
    }
    let route = gateway.admin.get("/admin/v1/models/fraud/route").await.expect(200).json();
    let history = gateway.history().await;
    (served, json!({"model": model, "keys": keys, "route": route, "history": history}))
}
