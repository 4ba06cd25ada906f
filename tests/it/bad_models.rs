//! A model that cannot be served is refused with the reason, and everything else goes on.

use http::Method;
use serde_json::json;
use weighbridge_tests::gateway::any_row;
use weighbridge_tests::onnx::{mlp, odd, tag, unknown_operator};
use weighbridge_tests::open_loop::OpenLoop;
use weighbridge_tests::{Answer, Gateway};

async fn upload(gateway: &Gateway, model: &str, info: &serde_json::Value, onnx: &[u8]) -> Answer {
    gateway.versions_ask(model).upload(info, onnx).send().await
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
    upload(&gateway, "new", &wrong, &onnx).await.refused(422, &["0000"]);
    upload(&gateway, "new", &json!({"size": 5}), &onnx).await.refused(422, &["5"]);
    upload(&gateway, "new", &json!({"colour": "red"}), &onnx).await.refused(400, &["colour"]);
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

#[tokio::test]
async fn graphs_that_cannot_be_are_rejected_and_everything_else_goes_on() {
    let start = Gateway::start().model("steady", &tag(1.0)).setting("engine.vet_memory", "1GiB");
    let gateway = start.setting("engine.vet_timeout", "20s").ready().await;
    for (onnx, about) in [
        (odd::cyclic(), "a circle"),
        (odd::overflowing_weight(), "a weight of more elements than there are numbers"),
        (odd::overflowing_input(), "rows that no memory holds"),
        (odd::enormous_constant(), "a constant of 16 TiB"),
    ] {
        let version = gateway.push("odd", &onnx).await;
        assert_eq!(version["state"], "rejected", "{about}: {version}");
        let reason = version["reason"].as_str().expect("a reason");
        assert!(reason.len() > 20, "{about}: {reason}");
        gateway.infer("steady", &any_row()).await.expect(200);
    }
}

/// Damage to files of every kind: what comes of each is a version that is ready or one that is
/// rejected with a reason, and the gateway goes on. `DAMAGED_MODELS` is how many are tried.
#[tokio::test]
async fn damaged_models_are_found_out_or_served_and_never_bring_the_gateway_down() {
    let wanted = std::env::var("DAMAGED_MODELS").ok().and_then(|n| n.parse().ok());
    let rounds: u64 = wanted.unwrap_or(40);
    let start = Gateway::start().model("steady", &tag(1.0)).setting("engine.vet_memory", "1GiB");
    let gateway = start.setting("engine.vet_timeout", "20s").ready().await;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures");
    let entries = std::fs::read_dir(folder).expect("the fixtures");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "onnx"));
    files.retain(|path| path.metadata().is_ok_and(|m| m.len() < 20_000));
    files.sort();
    assert!(files.len() > 50, "{} fixtures", files.len());
    let mut random = load_tests::random::Random::new(7);
    let mut below = |limit: usize| (random.unit() * limit as f64) as usize;
    for round in 0..rounds {
        let path = &files[below(files.len())];
        let mut onnx = std::fs::read(path).expect("a fixture");
        for _ in 0..1 + below(3) {
            let at = below(onnx.len());
            match below(4) {
                0 => onnx[at] ^= 1 << below(8),
                1 => onnx[at] = [0, 0x7f, 0x80, 0xff][below(4)],
                2 => onnx.truncate(at.max(1)),
                _ => onnx.insert(at, below(256) as u8),
            }
        }
        let about = format!("round {round}: {}", path.display());
        let answer = upload(&gateway, "damaged", &json!({}), &onnx).await;
        if answer.status == 422 {
            answer.refused(422, &[]);
            continue;
        }
        // The same file again is the same version.
        let version = gateway.push("damaged", &onnx).await;
        match version["state"].as_str() {
            Some("ready") => {}
            Some("rejected") => assert!(version["reason"].is_string(), "{about}: {version}"),
            _ => panic!("{about}: {version}"),
        }
        gateway.infer("steady", &any_row()).await.expect(200);
    }
}
