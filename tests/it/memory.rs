//! Loaded versions stay within a budget of memory: what nobody needs makes room, what is asked
//! for comes back, what a route needs stays.

use serde_json::{Value, json};
use weighbridge_tests::gateway::any_row;
use weighbridge_tests::onnx::{mlp, tag};
use weighbridge_tests::open_loop::OpenLoop;
use weighbridge_tests::wait::until;
use weighbridge_tests::{Answer, Gateway};

/// About 1 MiB of weights, and too fast for plans beside the first: those hold weights too, and
/// whether they are worth it is measured anew at each load.
const LAYERS: [usize; 4] = [4, 512, 512, 1];

/// What one such model takes in memory, as the check of a push measures it.
async fn measured() -> u64 {
    let gateway = Gateway::start().ready().await;
    let version = gateway.push("one", &mlp(&LAYERS, 1)).await;
    let bytes = version["report"]["memory_bytes"].as_u64().expect("bytes");
    assert!((1 << 20..16 << 20).contains(&bytes), "{bytes}");
    bytes
}

/// A gateway whose budget holds one such model and half of another.
async fn room_for_one(min_stay: &str) -> Gateway {
    let budget = format!("{}B", measured().await * 3 / 2);
    let start = Gateway::start().setting("engine.memory", &budget);
    start.setting("engine.min_stay", min_stay).ready().await
}

async fn promoted_on_demand(gateway: &Gateway, model: &str, onnx: &[u8]) {
    assert_eq!(gateway.push(model, onnx).await["state"], "ready");
    gateway.configure(model, &json!({"residency": "on_demand"})).await;
    gateway.promote(model, 1).await.expect(200);
}

async fn infer(gateway: &Gateway, model: &str) -> Answer {
    gateway.infer(model, &any_row()).await
}

#[tokio::test]
async fn models_on_demand_take_turns_where_only_one_fits() {
    let gateway = room_for_one("0s").await;
    let mut wanted = Vec::new();
    for (seed, model) in [(1, "a"), (2, "b"), (3, "c")] {
        promoted_on_demand(&gateway, model, &mlp(&LAYERS, seed)).await;
        wanted.push((model, infer(&gateway, model).await.expect(200).output("y")));
    }
    for _ in 0..4 {
        for (model, y) in &wanted {
            assert_eq!(infer(&gateway, model).await.expect(200).output("y"), *y);
        }
    }
    let metrics = gateway.metrics().await;
    assert!(metrics.sum("weighbridge_put_away_total", &[]) >= 12.0);
    let budget = metrics.sum("weighbridge_memory_budget_bytes", &[]);
    assert!(metrics.sum("weighbridge_loaded_bytes", &[]) <= budget);

    // Who asks for its metadata or its health finds it as ready as any other model.
    for (model, _) in &wanted {
        let path = format!("/v2/models/{model}");
        gateway.data.get(&format!("{path}/ready")).await.expect(200);
        let described = gateway.data.get(&path).await.expect(200).json();
        assert_eq!(described["inputs"][0]["name"], "x");
    }
    gateway.cli(&["configure", "a"]).await.ended(0, &["residency", "on_demand"]);

    // Loads are shared by those who wait for them, and no answer is mixed up.
    let (data, names) = (gateway.data.clone(), ["a", "b", "c"]);
    let load = OpenLoop::begin(60, move |number| {
        let model = names[number as usize / 20 % 3];
        let ask = data.ask(http::Method::POST, &format!("/v2/models/{model}/infer"));
        let ask = ask.json(&any_row());
        async move { (model, ask.send().await.expect(200).output("y")) }
    });
    until("turns under load", async || {
        let metrics = gateway.metrics().await;
        (metrics.sum("weighbridge_put_away_total", &[]) >= 24.0).then_some(())
    })
    .await;
    for (model, y) in load.end().await {
        assert!(wanted.contains(&(model, y)), "{model} answered for another");
    }
}

#[tokio::test]
async fn what_was_just_loaded_stays_a_while_and_the_refusal_says_what_to_do() {
    let gateway = room_for_one("1h").await;
    for (seed, model) in [(1, "a"), (2, "b")] {
        promoted_on_demand(&gateway, model, &mlp(&LAYERS, seed)).await;
    }
    // What an operator asks for goes before what requests asked for: it is b that is there.
    infer(&gateway, "b").await.expect(200);
    infer(&gateway, "a").await.refused(503, &["engine.memory", "residency=on_demand"]);
    infer(&gateway, "b").await.expect(200);
}

#[tokio::test]
async fn what_a_route_needs_is_never_put_away() {
    let gateway = room_for_one("0s").await;
    gateway.push_ready("a", &mlp(&LAYERS, 1)).await;
    gateway.promote("a", 1).await.expect(200);
    gateway.push_ready("small", &tag(1.0)).await;
    gateway.promote("small", 1).await.expect(200);
    let pushed = gateway.push("b", &mlp(&LAYERS, 2)).await;
    assert_eq!(pushed["state"], "ready", "it may be needed where there is more room: {pushed}");
    gateway.promote("b", 1).await.refused(409, &["version 1 of b", "engine.memory"]);
    infer(&gateway, "b").await.refused(503, &["b"]);
    infer(&gateway, "a").await.expect(200);
    infer(&gateway, "small").await.expect(200);

    // Once its owner allows that it is put away, the other one fits.
    gateway.configure("a", &json!({"residency": "on_demand"})).await;
    gateway.promote("b", 1).await.expect(200);
    infer(&gateway, "b").await.expect(200);
    infer(&gateway, "a").await.refused(503, &["engine.memory"]);
    gateway.configure("b", &json!({"residency": "on_demand"})).await;
    infer(&gateway, "a").await.expect(200);
}

#[tokio::test]
async fn an_older_version_that_is_pinned_to_is_loaded_only_if_the_model_allows_it() {
    let gateway = Gateway::start().setting("engine.loaded_versions_per_model", "2").ready().await;
    for version in 1..=4 {
        gateway.push_ready("m", &tag(version as f32)).await;
        gateway.promote("m", version).await.expect(200);
    }
    let first = gateway.infer("m/versions/1", &any_row()).await;
    first.refused(503, &["version 1 of m", "residency=on_demand"]);
    gateway.configure("m", &json!({"residency": "on_demand"})).await;
    let first = gateway.infer("m/versions/1", &any_row()).await.expect(200);
    assert_eq!(first.output("y"), [1.0]);
    let served: Value = gateway.admin.get("/admin/v1/models/m").await.expect(200).json();
    assert_eq!(served["serving"]["1"]["state"], "loaded", "{served}");
}

#[tokio::test]
async fn memory_comes_back_after_models_were_put_away() {
    let gateway = room_for_one("0s").await;
    let resident = async || gateway.metrics().await.sum("weighbridge_resident_bytes", &[]);
    for (seed, model) in [(1, "a"), (2, "b")] {
        promoted_on_demand(&gateway, model, &mlp(&LAYERS, seed)).await;
    }
    let turn = async || {
        for model in ["a", "b"] {
            infer(&gateway, model).await.expect(200);
        }
    };
    turn().await;
    let before = resident().await;
    for _ in 0..15 {
        turn().await;
    }
    let most = before + f64::from(8 << 20);
    until("resident memory back where it was", async || (resident().await < most).then_some(()))
        .await;
}
