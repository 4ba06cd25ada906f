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
    let cases: [(&[u8], &str); 6] = [
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "web page (HTML)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "Git LFS pointer"),
        (b"", "no bytes"),
        (&whole[..whole.len() / 2], "not a whole ONNX file"),
        (&altered, "not a whole ONNX file"),
        (&[0x5a; 4000], "not an ONNX file"),
    ];
    for (bytes, reason) in cases {
        let file = gateway.file("new.onnx", bytes);
        gateway.cli(&["push", "new", file.to_str().unwrap()]).await.ended(5, &["error: ", reason]);
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
async fn a_model_that_takes_too_much_memory_is_rejected_for_that_and_a_small_one_is_not() {
    let start = Gateway::start().model("steady", &tag(1.0)).setting("engine.vet_memory", "256MiB");
    let gateway = start.setting("engine.vet_timeout", "20s").ready().await;
    gateway.infer("steady", &any_row()).await.expect(200);
    // 48 MiB, which does not fit a few times over; 145 MiB, which can hardly be read.
    for layers in [&[1024, 12_288, 8][..], &[512, 8192, 4096, 10]] {
        let version = gateway.push("large", &mlp(layers, 1)).await;
        assert_eq!(version["state"], "rejected", "{version}");
        let reason = version["reason"].as_str().expect("a reason");
        assert!(reason.contains("engine.vet_memory"), "{layers:?}: {reason}");
        gateway.infer("steady", &any_row()).await.expect(200);
    }
}
