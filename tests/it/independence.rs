//! Predictions never wait on the registry, on the store or on a neighbour that is loading.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use http::Method;
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, Executor, SqliteConnection};
use weighbridge_tests::gateway::{any_row, timed};
use weighbridge_tests::onnx::{mlp, tag};
use weighbridge_tests::open_loop::OpenLoop;
use weighbridge_tests::{Gateway, wait};

async fn assert_answers(gateway: &Gateway) {
    for _ in 0..20 {
        let answer = gateway.infer("fraud", &any_row()).await.expect(200);
        assert_eq!(answer.output("y"), [1.0]);
    }
    gateway.data.get("/v2/health/ready").await.expect(200);
}

#[tokio::test]
async fn predictions_go_on_while_the_registry_cannot_be_read() {
    let start = Gateway::start().model("fraud", &tag(1.0));
    let gateway = start.setting("registry.poll_interval", "100ms").ready().await;
    for suffix in ["", "-wal", "-shm"] {
        overwrite(&gateway.data_dir().join(format!("registry.sqlite{suffix}")));
    }
    wait::until("a read of the registry fails", async || {
        assert_answers(&gateway).await;
        let errors = gateway.metrics().await.sum("weighbridge_registry_errors_total", &[]);
        (errors >= 1.0).then_some(())
    })
    .await;
    assert_answers(&gateway).await;
    let refused = gateway.promote("fraud", 1).await;
    assert!(refused.status.is_server_error(), "{}", refused.text());
    assert!(refused.json()["error"].is_string());
    assert_answers(&gateway).await;
}

/// Noise instead of what a file holds; its length stays.
fn overwrite(path: &Path) {
    let Ok(length) = std::fs::metadata(path).map(|file| file.len()) else { return };
    let mut file = OpenOptions::new().write(true).open(path).expect("the file opens");
    file.write_all(&vec![0xa5; length as usize]).expect("it can be written");
}

#[tokio::test]
async fn predictions_go_on_while_the_registry_is_locked() {
    let gateway = Gateway::start().model("fraud", &tag(1.0)).ready().await;
    gateway.push_ready("fraud", &tag(2.0)).await;
    let options = SqliteConnectOptions::new().filename(gateway.data_dir().join("registry.sqlite"));
    let mut other = SqliteConnection::connect_with(&options).await.expect("another process");
    other.execute("BEGIN IMMEDIATE").await.expect("the lock");
    let change = gateway.admin.ask(Method::POST, "/admin/v1/models/fraud/promote");
    let change = tokio::spawn(change.json(&json!({"version": 2})).send());
    assert_answers(&gateway).await;
    let refused = change.await.expect("no panic").refused(503, &["registry"]);
    assert!(refused.header("retry-after").is_some());
    assert_answers(&gateway).await;
    other.execute("ROLLBACK").await.expect("the lock is given back");
    gateway.promote("fraud", 2).await.expect(200);
    assert_eq!(gateway.infer("fraud", &any_row()).await.expect(200).output("y"), [2.0]);
}

#[tokio::test]
async fn predictions_go_on_while_the_store_is_away() {
    let gateway = Gateway::start().model("fraud", &tag(1.0)).ready().await;
    let (store, away) = (gateway.data_dir().join("store"), gateway.data_dir().join("away"));
    std::fs::rename(&store, &away).expect("it moves");
    assert_answers(&gateway).await;
    let ask = gateway.admin.ask(Method::POST, "/admin/v1/models/fraud/versions");
    let refused = ask.upload(&json!({}), &tag(2.0)).send().await;
    assert!(refused.status.is_server_error(), "{}", refused.text());
    assert_answers(&gateway).await;
    std::fs::rename(&away, &store).expect("it moves back");
    assert_eq!(gateway.push_ready("fraud", &tag(2.0)).await, 2);
    assert_answers(&gateway).await;
}

#[tokio::test]
async fn neighbours_are_answered_while_a_large_model_is_pushed_and_loaded() {
    let gateway = Gateway::start().model("fraud", &tag(1.0)).ready().await;
    let large = mlp(&[1024, 2048, 2048, 10], 1);
    let data = gateway.data.clone();
    let load = OpenLoop::begin(100, move |_| {
        let ask = data.ask(Method::POST, "/v2/models/fraud/infer").json(&any_row());
        async move {
            let (answer, took) = timed(ask.try_send()).await;
            (answer.map(|answer| answer.status.as_u16()).map_err(|e| e.to_string()), took)
        }
    });
    for seed_byte in 0..2u8 {
        // The last byte is one of a weight: another file, hence another version.
        let mut other = large.clone();
        let place = other.len() / 2;
        other[place] = seed_byte;
        let version = gateway.push_ready("large", &other).await;
        gateway.promote("large", version).await.expect(200);
    }
    let answers = load.end().await;
    assert!(answers.len() > 20, "{} requests", answers.len());
    let failed: Vec<_> = answers.iter().filter(|(answer, _)| *answer != Ok(200)).collect();
    assert!(failed.is_empty(), "{failed:?}");
    let slowest = answers.iter().map(|(_, took)| took).max().expect("some");
    assert!(slowest.as_secs() < 5, "{slowest:?}");
}
