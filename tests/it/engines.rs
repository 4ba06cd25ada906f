//! Two engines: which one runs a version, who says so, and what happens without the second.

use serde_json::{Value, json};
use weighbridge_tests::gateway::{any_row, fp32};
use weighbridge_tests::invocation::onnxruntime;
use weighbridge_tests::onnx::{LOOP, SEQUENCE, doubling, tag};
use weighbridge_tests::start::Start;
use weighbridge_tests::{Gateway, Invocation};

fn with_library() -> Start {
    let library = onnxruntime();
    Gateway::start().setting("engine.onnxruntime_library", library.to_str().expect("text"))
}

fn rows() -> Value {
    fp32("x", &[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
}

/// Pushes with `--engine`; the version once its check has ended.
async fn pushed(gateway: &Gateway, model: &str, onnx: &[u8], engine: &str) -> Value {
    gateway.pushed(gateway.versions_ask(model).upload(&json!({"engine": engine}), onnx)).await
}

#[track_caller]
fn engine(version: &Value) -> (&str, &str) {
    let engine = &version["report"]["engine"];
    let text = |key: &str| engine[key].as_str().unwrap_or_else(|| panic!("{key}: {version}"));
    (text("name"), text("reason"))
}

#[tokio::test]
#[ignore = "needs ONNX Runtime, which tests/run installs"]
async fn a_loop_and_a_sequence_are_served_through_auto_and_survive_a_restart() {
    let mut gateway = with_library().model("steady", &tag(1.0)).ready().await;
    let file = gateway.file("loop.onnx", LOOP);
    let push = gateway.cli(&["push", "loop", file.to_str().unwrap()]).await;
    push.ended(0, &["onnxruntime: tract does not load it", "Loop"]);
    gateway.promote("loop", 1).await.expect(200);
    assert_eq!(gateway.push_ready("sequence", SEQUENCE).await, 1);
    gateway.promote("sequence", 1).await.expect(200);
    let check = async |gateway: &Gateway| {
        let answer = gateway.infer("loop", &rows()).await.expect(200);
        assert_eq!(answer.output("y"), [8.0, 16.0, 24.0, 32.0, 40.0, 48.0, 56.0, 64.0]);
        let answer = gateway.infer("sequence", &rows()).await.expect(200);
        assert_eq!(answer.output("y"), [3.0, 4.0, 1.0, 2.0, 7.0, 8.0, 5.0, 6.0]);
    };
    check(&gateway).await;
    let version = &gateway.model("loop").await["versions"][0];
    assert_eq!(engine(version).0, "onnxruntime");
    assert_eq!(version["report"]["engine"]["asked"], "auto");
    assert_eq!(version["report"]["signature"]["batchable"], true);
    gateway.cli(&["versions", "loop"]).await.ended(0, &["ENGINE", "onnxruntime"]);
    let (ended, said) = gateway.terminate().await;
    assert!(ended.success(), "the library is open when the process ends: {ended:?}\n{said}");
    gateway.restart().await;
    check(&gateway).await;
}

#[tokio::test]
#[ignore = "needs ONNX Runtime, which tests/run installs"]
async fn auto_measures_both_once_and_stores_the_figures() {
    let gateway = with_library().ready().await;
    let version = pushed(&gateway, "m", &doubling(), "auto").await;
    assert_eq!(version["state"], "ready", "{version}");
    let (name, reason) = engine(&version);
    assert_eq!(name, "tract", "{reason}");
    let timings = version["report"]["engine"]["timings"].as_array().expect("timings");
    assert_eq!(timings[0]["rows"], 1);
    for timing in timings {
        for engine in ["tract", "onnxruntime"] {
            assert!(timing["us"][engine].as_f64().is_some_and(|us| us > 0.0), "{timing}");
        }
    }
    gateway.promote("m", 1).await.expect(200);
    assert_eq!(gateway.infer("m", &rows()).await.expect(200).output("y")[7], 16.0);
}

#[tokio::test]
#[ignore = "needs ONNX Runtime, which tests/run installs"]
async fn the_push_says_the_engine_before_the_model_and_the_model_before_the_process() {
    let gateway = with_library().setting("engine.default", "onnxruntime").ready().await;
    let of = async |onnx: &[u8], info: Value| {
        let version = gateway.pushed(gateway.versions_ask("m").upload(&info, onnx)).await;
        engine(&version).0.to_owned()
    };
    assert_eq!(of(&tag(1.0), json!({})).await, "onnxruntime");
    gateway.cli(&["configure", "m", "engine=tract"]).await.ended(0, &["engine=tract"]);
    assert_eq!(of(&tag(2.0), json!({})).await, "tract");
    assert_eq!(of(&tag(3.0), json!({"engine": "onnxruntime"})).await, "onnxruntime");
    let bad = gateway.versions_ask("m").upload(&json!({"engine": "torch"}), &tag(4.0));
    bad.send().await.refused(400, &["torch", "onnxruntime"]);
    gateway.promote("m", 3).await.expect(200);
    assert_eq!(gateway.infer("m", &any_row()).await.expect(200).output("y"), [3.0]);
}

#[tokio::test]
#[ignore = "needs ONNX Runtime, which tests/run installs"]
async fn a_library_that_is_gone_fails_its_versions_and_no_others() {
    let start = with_library().model("steady", &tag(1.0));
    let mut gateway = start.ready().await;
    assert_eq!(gateway.push_ready("loop", LOOP).await, 1);
    gateway.promote("loop", 1).await.expect(200);
    gateway.terminate().await;
    let settings = "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
                    [logging]\nformat = \"json\"\n";
    gateway.file("weighbridge.toml", settings.as_bytes());
    gateway.restart().await;
    gateway.infer("steady", &any_row()).await.expect(200);
    gateway.infer("loop", &rows()).await.refused(503, &["loop"]);
    gateway.cli(&["versions", "loop"]).await.ended(0, &["engine.onnxruntime_library"]);
}

#[tokio::test]
async fn without_a_library_the_gateway_runs_as_before_and_says_what_is_missing() {
    let gateway = Gateway::start().model("steady", &tag(1.0)).ready().await;
    let version = &gateway.model("steady").await["versions"][0];
    assert_eq!(engine(version), ("tract", "ONNX Runtime is not configured"));
    let rejected = pushed(&gateway, "loop", LOOP, "auto").await;
    let reason = rejected["reason"].as_str().expect("a reason");
    assert!(reason.contains("Loop"), "{reason}");
    let rejected = pushed(&gateway, "other", &tag(2.0), "onnxruntime").await;
    let reason = rejected["reason"].as_str().expect("a reason");
    assert!(reason.contains("engine.onnxruntime_library"), "{reason}");
    gateway.infer("steady", &any_row()).await.expect(200);
}

#[tokio::test]
async fn a_library_that_is_none_is_told_with_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let serve = async |library: &str| {
        let settings = format!("[engine]\nonnxruntime_library = \"{library}\"\n");
        let file = folder.path().join("settings.toml");
        std::fs::write(&file, settings).unwrap();
        let (file, data) = (file.to_str().unwrap(), folder.path().join("data"));
        let listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let args = ["serve", "--config", file, "--data-dir", data.to_str().unwrap()];
        Invocation::run(args.into_iter().chain(listen)).await
    };
    let missing = "/nonexistent/libonnxruntime.so";
    serve(missing).await.ended(1, &[missing, "engine.onnxruntime_library"]);
    let is_folder = folder.path().to_str().unwrap();
    serve(is_folder).await.ended(1, &[is_folder, "not a file"]);
    // A file that is no library is found out when it is opened: then it is only not used.
    let text = folder.path().join("text.so");
    std::fs::write(&text, "not a library").unwrap();
    let text = text.to_str().unwrap();
    let gateway = Gateway::start().setting("engine.onnxruntime_library", text);
    let gateway = gateway.model("steady", &tag(1.0)).ready().await;
    let (name, reason) = {
        let version = gateway.model("steady").await["versions"][0].clone();
        let (name, reason) = engine(&version);
        (name.to_owned(), reason.to_owned())
    };
    assert_eq!(name, "tract");
    assert!(reason.contains(text) && reason.contains("not a 64-bit ELF"), "{reason}");
    gateway.infer("steady", &any_row()).await.expect(200);
}
