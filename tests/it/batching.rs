//! Requests share runs, and each caller gets its own rows back.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use weighbridge_tests::gateway::fp32;
use weighbridge_tests::onnx::{
    doubling, doubling_traced_with_one_row, doubling_two_rows, slow_doubling,
};
use weighbridge_tests::{Connection, Gateway, wait};

/// A row that no other request has.
fn row(client: u32, number: u32) -> [f32; 4] {
    [client as f32, number as f32, (client * 1000 + number) as f32, 0.5]
}

/// `clients` clients ask at once, `each` times, for rows of their own, and get them.
async fn ask_at_once(gateway: &Gateway, model: &str, clients: u32, each: u32) {
    let mut asking = JoinSet::new();
    for client in 0..clients {
        let (data, path) = (gateway.data.clone(), format!("/v2/models/{model}/infer"));
        asking.spawn(async move {
            for number in 0..each {
                let row = row(client, number);
                let answer = data.post(&path, &fp32("x", &[row])).await.expect(200);
                assert_eq!(answer.output("y"), row.map(|x| f64::from(2.0 * x)));
            }
        });
    }
    asking.join_all().await;
}

#[tokio::test]
async fn concurrent_rows_share_runs_and_come_back_to_their_callers() {
    let gateway = Gateway::start().model("slow", &slow_doubling(200)).ready().await;
    ask_at_once(&gateway, "slow", 32, 5).await;
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("weighbridge_batch_rows_sum", &[("model", "slow")]), 160.0);
    let shared = metrics.batches_above("slow", 1);
    let cost = gateway.model("slow").await["versions"][0]["report"]["cost"].clone();
    assert!(shared > 0.0, "batches form while workers are busy: {cost}");
}

#[tokio::test]
async fn a_request_larger_than_a_batch_is_split_and_comes_back_whole_and_in_order() {
    let gateway = Gateway::start().model("double", &doubling()).ready().await;
    gateway.configure("double", &json!({"max_batch_size": "8"})).await;
    let rows: Vec<[f32; 4]> = (0..300).map(|number| row(7, number)).collect();
    let answer = gateway.infer("double", &fp32("x", &rows)).await.expect(200);
    let wanted: Vec<f64> = rows.concat().iter().map(|x| f64::from(2.0 * x)).collect();
    assert_eq!(answer.output("y"), wanted);
    assert_eq!(answer.json()["outputs"][0]["shape"], json!([300, 4]));
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("weighbridge_batch_rows_sum", &[("model", "double")]), 300.0);
    assert_eq!(metrics.batches_above("double", 8), 0.0);
}

#[tokio::test]
async fn no_batch_is_larger_than_the_setting_allows() {
    let gateway = Gateway::start().model("slow", &slow_doubling(200)).ready().await;
    gateway.configure("slow", &json!({"max_batch_size": "4"})).await;
    ask_at_once(&gateway, "slow", 32, 4).await;
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.batches_above("slow", 4), 0.0);
    assert!(metrics.batches_above("slow", 1) > 0.0);
    gateway.configure("slow", &json!({"max_batch_size": "1"})).await;
    let before = gateway.metrics().await;
    ask_at_once(&gateway, "slow", 16, 2).await;
    let after = gateway.metrics().await;
    assert_eq!(after.batches_above("slow", 1), before.batches_above("slow", 1));
}

#[tokio::test]
async fn a_queue_delay_lets_a_batch_form_on_an_idle_server() {
    let gateway = Gateway::start().model("slow", &slow_doubling(200)).ready().await;
    gateway.configure("slow", &json!({"max_queue_delay": "400ms"})).await;
    ask_at_once(&gateway, "slow", 3, 1).await;
    let metrics = gateway.metrics().await;
    let runs: Vec<_> = metrics.of("weighbridge_batches_total", &[("model", "slow")]).collect();
    assert!(metrics.batches_above("slow", 1) > 0.0, "three rows waited for one another: {runs:?}");

    // A full batch does not wait: the delay is the most, not the least.
    gateway.configure("slow", &json!({"max_queue_delay": "10s", "max_batch_size": "2"})).await;
    let began = Instant::now();
    ask_at_once(&gateway, "slow", 2, 1).await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test]
async fn requests_whose_caller_left_are_dropped_and_counted() {
    const LEAVING: usize = 20;
    let gateway = Gateway::start().model("slow", &slow_doubling(200)).ready().await;
    let (busy, body) = (vec![[1.0; 4]; 1500], fp32("x", &[[2.0; 4]]).to_string());
    let long = tokio::spawn(gateway.infer_ask("slow").json(&fp32("x", &busy)).send());
    wait::until("the workers are busy", async || {
        let waiting = gateway.metrics().await.sum("weighbridge_queue_rows", &[("model", "slow")]);
        (waiting > 0.0).then_some(())
    })
    .await;
    let before = gateway.metrics().await.sum("weighbridge_batch_rows_sum", &[("model", "slow")]);
    for _ in 0..LEAVING {
        let mut connection: Connection = gateway.connect().await.expect("a connection");
        connection.send("POST", "/v2/models/slow/infer", body.as_bytes()).await.expect("sent");
    }
    long.await.expect("no panic").expect(200);
    let metrics = wait::until("those who left are dropped", async || {
        let metrics = gateway.metrics().await;
        let dropped = metrics.sum("weighbridge_dropped_total", &[("reason", "abandoned")]);
        (dropped > 0.0).then_some(metrics)
    })
    .await;
    let ran = metrics.sum("weighbridge_batch_rows_sum", &[("model", "slow")]) - before;
    assert!(ran < (1500 + LEAVING) as f64, "they did not run: {ran}");
    ask_at_once(&gateway, "slow", 4, 1).await;
}

#[tokio::test]
async fn requests_whose_deadline_passes_in_the_queue_are_dropped_and_counted() {
    let gateway = Gateway::start().model("slow", &slow_doubling(200)).ready().await;
    let busy = vec![[1.0; 4]; 1500];
    let long = tokio::spawn(gateway.infer_ask("slow").json(&fp32("x", &busy)).send());
    wait::until("the workers are busy", async || {
        let waiting = gateway.metrics().await.sum("weighbridge_queue_rows", &[("model", "slow")]);
        (waiting > 0.0).then_some(())
    })
    .await;
    let late = gateway.infer_ask("slow").header("x-request-timeout-ms", "20");
    late.json(&fp32("x", &[[1.0; 4]])).send().await.refused(504, &["slow", "20ms"]);
    long.await.expect("no panic").expect(200);
    wait::until("it is dropped", async || {
        let metrics = gateway.metrics().await;
        (metrics.sum("weighbridge_dropped_total", &[("model", "slow")]) > 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_model_without_a_batch_axis_runs_each_request_alone() {
    let gateway = Gateway::start().model("two", &doubling_two_rows()).ready().await;
    let asking = (0..32u8).map(|number| {
        let rows = [[f32::from(number); 4], [0.5; 4]];
        let ask = gateway.infer_ask("two").json(&fp32("x", &rows)).send();
        async move { (f64::from(number), ask.await) }
    });
    for (number, answer) in asking.collect::<JoinSet<_>>().join_all().await {
        let wanted = [[2.0 * number; 4], [1.0; 4]].concat();
        assert_eq!(answer.expect(200).output("y"), wanted);
    }
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.batches_above("two", 1), 0.0);
    assert_eq!(metrics.sum("weighbridge_batches_total", &[("close", "single")]), 32.0);
}

#[tokio::test]
async fn a_model_traced_with_one_row_takes_any_number() {
    let gateway = Gateway::start().model("traced", &doubling_traced_with_one_row()).ready().await;
    ask_at_once(&gateway, "traced", 16, 4).await;
    let answer = gateway.infer("traced", &fp32("x", &[row(1, 1), row(2, 2), row(3, 3)])).await;
    assert_eq!(answer.expect(200).json()["outputs"][0]["shape"], json!([3, 4]));
    let metadata = gateway.data.get("/v2/models/traced").await.expect(200).json();
    assert_eq!(metadata["inputs"][0]["shape"], json!([-1, 4]));
}
