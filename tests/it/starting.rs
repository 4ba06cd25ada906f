//! What a start refuses, and what it survives.

use std::net::TcpListener;

use weighbridge_tests::gateway::any_row;
use weighbridge_tests::onnx::{tag, unknown_operator};
use weighbridge_tests::{Gateway, Invocation};

const ANY_PORTS: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

async fn serve(args: &[&str]) -> Invocation {
    Invocation::run(["serve"].iter().chain(args)).await
}

#[tokio::test]
async fn a_second_start_on_the_same_folder_is_refused() {
    let gateway = Gateway::start().model("fraud", &tag(1.0)).ready().await;
    let folder = gateway.data_dir();
    let folder = folder.to_str().unwrap();
    let second = serve(&[&["--data-dir", folder][..], &ANY_PORTS].concat()).await;
    let second = second.ended(1, &[folder, "in use by another weighbridge"]);
    assert_eq!(second.stderr.trim().lines().count(), 1, "{}", second.stderr);
    gateway.infer("fraud", &any_row()).await.expect(200);
    gateway.cli(&["status"]).await.ended(0, &["ready"]);
}

#[tokio::test]
async fn a_busy_port_is_named_with_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    for (flag, other, setting) in [
        ("--listen", "--admin-listen", "server.listen"),
        ("--admin-listen", "--listen", "admin.listen"),
    ] {
        let args = ["--data-dir", folder, flag, &address, other, "127.0.0.1:0"];
        serve(&args).await.ended(1, &[&address, setting]);
    }
}

#[tokio::test]
async fn five_mistakes_in_the_settings_are_told_in_five_lines_before_anything_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    let data = folder.path().join("data");
    let text = "[server]\nlisten = \"nowhere\"\ndrain_timeout = \"30\"\ncolour = \"red\"\n\
                [limits]\nbody = \"many\"\n[serving]\nmax_batch_size = 0\n";
    std::fs::write(&file, text).unwrap();
    let (file, data) = (file.to_str().unwrap(), data.to_str().unwrap());
    let keys = [
        "server.listen",
        "server.drain_timeout",
        "server.colour",
        "limits.body",
        "serving.max_batch_size",
    ];
    let served = serve(&["--config", file, "--data-dir", data]).await.ended(64, &keys);
    assert_eq!(served.stderr.trim().lines().count(), 5, "{}", served.stderr);
    assert!(!std::path::Path::new(data).exists(), "nothing was touched");
    let checked = Invocation::run(["check-config", "--config", file]).await.ended(2, &keys);
    assert_eq!(checked.stdout.trim().lines().count(), 5, "{}", checked.stdout);

    std::fs::write(file, "[server]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    Invocation::run(["check-config", "--config", file]).await.ended(0, &["ok"]);
}

#[tokio::test]
async fn a_bad_file_on_the_command_line_does_not_stop_the_others() {
    let start = Gateway::start().model("bad", &unknown_operator()).model("good", &tag(5.0));
    let mut gateway = start.model("html", b"<html>not found</html>").ready().await;
    assert_eq!(gateway.infer("good", &any_row()).await.expect(200).output("y"), [5.0]);
    gateway.infer("bad", &any_row()).await.refused(503, &["bad"]);
    gateway.infer("html", &any_row()).await.refused(404, &["html"]);
    let log = gateway.stderr();
    for told in ["not served: bad: ", "Frobnicate", "not served: html: "] {
        assert!(log.contains(told), "the log should tell \"{told}\":\n{log}");
    }
    // Once more on the same folder: nothing is pushed twice, and the good one is still good.
    gateway.kill9();
    gateway.restart().await;
    assert_eq!(gateway.infer("good", &any_row()).await.expect(200).version(), 1);
}

#[tokio::test]
async fn a_model_on_the_command_line_never_changes_an_operators_route() {
    let mut gateway = Gateway::start().model("fraud", &tag(1.0)).ready().await;
    let second = gateway.push_ready("fraud", &tag(2.0)).await;
    gateway.promote("fraud", second).await.expect(200);
    gateway.kill9();
    gateway.restart().await;
    assert_eq!(gateway.infer("fraud", &any_row()).await.expect(200).output("y"), [2.0]);
    assert_eq!(gateway.model("fraud").await["versions"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn an_empty_gateway_is_ready_and_stops_at_once() {
    let mut gateway = Gateway::start().ready().await;
    gateway.data.get("/v2/models").await.expect(200);
    let (status, log) = gateway.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
}
