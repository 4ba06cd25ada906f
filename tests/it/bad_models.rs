//! A model that cannot be served is refused with the reason, and everything else goes on.

use http::Method;
use serde_json::json;
use weighbridge_tests::gateway::any_row;
use weighbridge_tests::onnx::{mlp, tag, unknown_operator};
use weighbridge_tests::open_loop::OpenLoop;
use weighbridge_tests::{Answer, Gateway};

async fn upload(gateway: &Gateway, info: &serde_json::Value, onnx: &[u8]) -> Answer {
    let ask = gateway.admin.ask(Method::POST, "/admin/v1/models/new/versions");
    ask.upload(info, onnx).send().await
}

#[tokio::test]
async fn files_that_are_no_models_never_become_versions() {
    let gateway = Gateway::start().model("steady", &tag(1.0)).ready().await;
    let data = gateway.data.clone();
    let load = OpenLoop::begin(100, move |_| {
        let ask = data.ask(Method::POST, "/v2/models/steady/infer").json(&any_row());
        async move { ask.send().await.expect(200).output("y") }
    });
    let whole = mlp(&[16, 32, 4], 1);
    let mut altered = whole.clone();
    altered[3..40].fill(0xff);
    let cases: [(&str, &[u8]); 6] = [
        ("html", b"<!DOCTYPE html><html><body>Sign in</body></html>"),
        ("pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"),
        ("empty", b""),
        ("cut", &whole[..whole.len() / 2]),
        ("altered", &altered),
        ("noise", &[0x5a; 4000]),
    ];
    for (name, bytes) in cases {
        let file = gateway.file(&format!("{name}.onnx"), bytes);
        let pushed = gateway.cli(&["push", "new", file.to_str().unwrap()]).await;
        let is_refused = pushed.code == Some(5) || pushed.code == Some(1);
        assert!(is_refused && pushed.stderr.starts_with("error: "), "{name}: {pushed:?}");
        println!("{name}: {}", pushed.stderr.trim());
    }
    gateway.admin.get("/admin/v1/models/new").await.refused(404, &["new"]);
    assert!(load.end().await.iter().all(|y| *y == [1.0]));
}

#[tokio::test]
async fn a_file_that_is_not_as_announced_is_refused() {
    let gateway = Gateway::start().ready().await;
    let onnx = tag(1.0);
    let wrong = json!({"sha256": "0".repeat(64)});
    upload(&gateway, &wrong, &onnx).await.refused(422, &["0000"]);
    upload(&gateway, &json!({"size": 5}), &onnx).await.refused(422, &["5"]);
    upload(&gateway, &json!({"colour": "red"}), &onnx).await.refused(400, &["colour"]);
    let no_model = gateway.admin.ask(Method::POST, "/admin/v1/models/new/versions");
    let parts = "--b\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nx\r\n--b--\r\n";
    let no_model = no_model.header("content-type", "multipart/form-data; boundary=b");
    no_model.body(parts).send().await.refused(400, &["file", "model"]);
    gateway.admin.get("/admin/v1/models/new").await.refused(404, &[]);
    for name in ["a b", "stats", "-x", "a%2Fb"] {
        let path = format!("/admin/v1/models/{name}/versions");
        let ask = gateway.admin.ask(Method::POST, &path).upload(&json!({}), &onnx);
        ask.send().await.refused(400, &[]);
    }
    let temporary = gateway.data_dir().join("store/tmp");
    assert_eq!(std::fs::read_dir(temporary).expect("a folder").count(), 0, "nothing is left");
}

#[tokio::test]
async fn a_model_with_an_unknown_operator_is_rejected_with_its_name() {
    let gateway = Gateway::start().model("steady", &tag(1.0)).ready().await;
    let file = gateway.file("odd.onnx", &unknown_operator());
    let pushed = gateway.cli(&["push", "new", file.to_str().unwrap()]).await;
    pushed.ended(5, &["1 of new, rejected", "Frobnicate"]);
    gateway.infer("new", &any_row()).await.refused(503, &["new"]);
    gateway.infer("new/versions/1", &any_row()).await.refused(503, &["new", "Frobnicate"]);
    gateway.promote("new", 1).await.refused(409, &["version 1 of new", "rejected", "Frobnicate"]);
    gateway.cli(&["versions", "new"]).await.ended(0, &["rejected", "Frobnicate"]);
    gateway.cli(&["audit", "new"]).await.ended(0, &["version.rejected"]);
    gateway.infer("steady", &any_row()).await.expect(200);
    assert_eq!(gateway.push_ready("new", &tag(2.0)).await, 2);
    gateway.promote("new", 2).await.expect(200);
    assert_eq!(gateway.infer("new", &any_row()).await.expect(200).output("y"), [2.0]);
}

#[tokio::test]
async fn a_model_that_takes_too_long_or_too_much_to_load_is_rejected() {
    let start = Gateway::start().model("steady", &tag(1.0));
    let gateway = start.setting("engine.vet_memory", "256MiB").ready().await;
    let large = mlp(&[512, 8192, 4096, 10], 1);
    let version = gateway.push("large", &large).await;
    assert_eq!(version["state"], "rejected", "{version}");
    let reason = version["reason"].as_str().expect("a reason");
    assert!(reason.contains("memory"), "{reason}");
    gateway.infer("steady", &any_row()).await.expect(200);
}
