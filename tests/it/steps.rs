//! What an operator does with the command line, step by step as the README says it.

use http::Method;
use serde_json::{Value, json};
use weighbridge_tests::gateway::any_row;
use weighbridge_tests::onnx::tag;
use weighbridge_tests::{Gateway, Invocation};

/// How often each version answers, out of `count` requests.
async fn answers(gateway: &Gateway, count: usize) -> Vec<u32> {
    let mut versions = Vec::new();
    for _ in 0..count {
        let answer = gateway.infer("fraud", &any_row()).await.expect(200);
        assert_eq!(answer.output("y"), [f64::from(answer.version()) * 10.0]);
        versions.push(answer.version());
    }
    versions
}

/// A gateway whose `fraud` has versions 1 and 2, which answer 10 and 20; 1 takes all traffic.
async fn with_two_versions() -> Gateway {
    let gateway = Gateway::start().ready().await;
    for tagged in [10.0, 20.0] {
        gateway.push_ready("fraud", &tag(tagged)).await;
    }
    gateway.promote("fraud", 1).await.expect(200);
    gateway
}

#[tokio::test]
async fn the_six_steps_work_as_they_are_written() {
    let mut gateway = Gateway::start().ready().await;
    gateway.file("fraud.onnx", &tag(10.0));
    gateway.file("fraud2.onnx", &tag(20.0));

    let pushed = gateway.cli(&["push", "fraud", "./fraud.onnx"]).await;
    let found =
        ["1 of fraud, ready", "x FP32 [-1, 4]", "y FP32 [-1, 1]", "digest", "to load", "memory"];
    let pushed = pushed.ended(0, &found);
    assert!(pushed.stdout.contains("takes no traffic yet: weighbridge promote fraud 1"));
    let unpromoted = gateway.infer("fraud", &any_row()).await;
    let told = "no version of fraud has been promoted: weighbridge promote fraud 1";
    assert!(unpromoted.refused(503, &[told]).header("retry-after").is_some());

    gateway.cli(&["promote", "fraud", "1"]).await.ended(0, &["fraud: 1=100%"]);
    gateway.cli(&["push", "fraud", "./fraud2.onnx"]).await.ended(0, &["2 of fraud, ready"]);
    assert!(answers(&gateway, 40).await.iter().all(|v| *v == 1), "version 2 takes no traffic");

    let split = gateway.cli(&["route", "fraud", "1=95", "2=5"]).await;
    split.ended(0, &["fraud: 1=95% 2=5% (was 1=100%)"]);
    assert!(answers(&gateway, 400).await.contains(&2), "0.95^400 is 1e-9");
    let promoted = gateway.cli(&["promote", "fraud", "2"]).await;
    promoted.ended(0, &["fraud: 2=100% (was 1=95% 2=5%)"]);
    assert!(answers(&gateway, 40).await.iter().all(|v| *v == 2));

    gateway.kill9();
    gateway.restart().await;
    assert!(answers(&gateway, 10).await.iter().all(|v| *v == 2));
    let back = gateway.cli(&["rollback", "fraud"]).await;
    back.ended(0, &["fraud: 1=95% 2=5% (was 2=100%)"]);
    let further = gateway.cli(&["rollback", "fraud"]).await;
    further.ended(0, &["fraud: 1=100% (was 1=95% 2=5%)"]);
    assert!(answers(&gateway, 40).await.iter().all(|v| *v == 1));
    gateway.cli(&["rollback", "fraud"]).await.ended(5, &["no earlier route"]);
    gateway.cli(&["audit", "fraud"]).await.ended(0, &["route.rolled_back", "version.registered"]);
}

#[tokio::test]
async fn the_same_file_is_the_same_version() {
    let gateway = with_two_versions().await;
    let file = gateway.file("again.onnx", &tag(10.0));
    let again = gateway.cli(&["push", "fraud", file.to_str().unwrap()]).await;
    again.ended(0, &["this file is version 1 already", "version 1 takes 100% of the traffic"]);
    assert_eq!(gateway.model("fraud").await["versions"].as_array().map(Vec::len), Some(2));
    let as_three = gateway.cli(&["push", "fraud", file.to_str().unwrap(), "--version", "3"]).await;
    as_three.ended(5, &["version 1 already"]);
    let other = gateway.file("other.onnx", &tag(30.0));
    let as_one = gateway.cli(&["push", "fraud", other.to_str().unwrap(), "--version", "1"]).await;
    as_one.ended(5, &["has other files"]);
}

#[tokio::test]
async fn an_alias_picks_a_version_and_moves_no_traffic() {
    let gateway = with_two_versions().await;
    gateway.cli(&["alias", "fraud", "champion", "2"]).await.ended(0, &["champion"]);
    assert!(answers(&gateway, 20).await.iter().all(|v| *v == 1));
    gateway.route("fraud", &json!({"1": 9900, "2": 100})).await.expect(200);
    for (alias, version) in [("champion", 2), ("canary", 2), ("stable", 1)] {
        let ask = gateway.infer_ask("fraud").header("weighbridge-alias", alias);
        let answer = ask.json(&any_row()).send().await.expect(200);
        assert_eq!(answer.version(), version, "{alias}");
        let reason = format!("alias; name={alias}");
        assert_eq!(answer.header("weighbridge-reason"), Some(reason.as_str()));

        let row = json!({"instances": [[1, 2, 3, 4]]});
        let labelled = gateway.predict(&format!("fraud/labels/{alias}"), &row).await.expect(200);
        assert_eq!(labelled.json(), json!({"predictions": [[f64::from(version) * 10.0]]}));
    }
    let unknown = gateway.infer_ask("fraud").header("weighbridge-alias", "loser");
    unknown.json(&any_row()).send().await.refused(404, &["fraud", "loser"]);
    let derived = gateway.cli(&["alias", "fraud", "stable", "2"]).await;
    assert!(derived.code == Some(2) || derived.code == Some(5), "read-only: {derived:?}");
}

#[tokio::test]
async fn a_version_in_use_is_neither_archived_nor_deleted() {
    let gateway = with_two_versions().await;
    gateway.cli(&["archive", "fraud", "1"]).await.ended(5, &["version 1 of fraud", "100%"]);
    gateway.cli(&["delete", "fraud", "1", "--yes"]).await.ended(5, &["version 1 of fraud", "100%"]);
    gateway.cli(&["delete", "fraud", "--yes"]).await.ended(5, &["fraud", "takes traffic"]);
    gateway.cli(&["alias", "fraud", "next", "2"]).await.ended(0, &[]);
    gateway.cli(&["archive", "fraud", "2"]).await.ended(5, &["alias next"]);
    gateway.admin.delete("/admin/v1/models/fraud/aliases/next").await.expect(200);
    gateway.cli(&["archive", "fraud", "2"]).await.ended(0, &["version 2 is archived"]);
    gateway.cli(&["promote", "fraud", "2"]).await.ended(5, &["version 2", "archived"]);
    gateway.cli(&["delete", "fraud", "2"]).await.ended(2, &["--yes"]);

    let file = gateway.file("again.onnx", &tag(20.0));
    let revived = gateway.cli(&["push", "fraud", file.to_str().unwrap()]).await;
    revived.ended(0, &["2 of fraud, ready"]);
    gateway.cli(&["delete", "fraud", "2", "--yes"]).await.ended(0, &["deleted version 2 of fraud"]);
    gateway.infer("fraud/versions/2", &any_row()).await.refused(404, &["fraud", "version 2"]);
    assert_eq!(gateway.push_ready("fraud", &tag(30.0)).await, 3, "numbers are never used twice");
}

#[tokio::test]
async fn a_change_based_on_an_old_revision_is_refused() {
    let gateway = with_two_versions().await;
    let old = gateway.model("fraud").await["revision"].to_string();
    let promote = async |revision: &str| {
        let ask = gateway.admin.ask(Method::POST, "/admin/v1/models/fraud/promote");
        ask.header("if-match", revision).json(&json!({"version": 2})).send().await
    };
    let answer = promote(&format!("\"{old}\"")).await.expect(200);
    let new = answer.json()["revision"].to_string();
    assert_eq!(answer.header("etag"), Some(format!("\"{new}\"").as_str()));
    promote(&format!("\"{old}\"")).await.refused(412, &["fraud", &old, &new]);
    promote("soon").await.refused(400, &["If-Match"]);
    let by_cli = gateway.cli(&["promote", "fraud", "1", "--if-revision", &old]).await;
    by_cli.ended(5, &["changed meanwhile"]);
    gateway.cli(&["promote", "fraud", "1", "--if-revision", &new]).await.ended(0, &["1=100%"]);
}

#[tokio::test]
async fn every_command_prints_json_when_asked_to() {
    let gateway = with_two_versions().await;
    let file = gateway.file("third.onnx", &tag(30.0));
    let body = gateway.file("row.json", any_row().to_string().as_bytes());
    let (file, body) = (file.to_str().unwrap(), body.to_str().unwrap());
    let json = async |args: &[&str]| -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        gateway.cli(&args).await.ended(0, &[]).json()
    };
    assert_eq!(json(&["push", "fraud", file]).await["result"]["version"], 3);
    assert_eq!(json(&["models"]).await["models"][0]["name"], "fraud");
    assert_eq!(json(&["versions", "fraud"]).await["versions"][2]["state"], "ready");
    assert_eq!(json(&["versions", "fraud", "2"]).await["version"], 2);
    assert_eq!(json(&["status"]).await["ready"], true);
    assert_eq!(json(&["audit", "fraud"]).await["events"][0]["action"], "version.ready");
    assert_eq!(json(&["operations"]).await["operations"][0]["state"], "done");
    assert_eq!(json(&["configure", "fraud", "timeout=2s"]).await["settings"]["timeout_ms"], 2000);
    assert_eq!(json(&["route", "fraud", "1=50", "2=50"]).await["name"], "fraud");
    assert_eq!(json(&["route", "fraud"]).await["history"].as_array().map(Vec::len), Some(2));
    assert_eq!(json(&["promote", "fraud", "2"]).await["route"]["cause"], "promote");
    assert_eq!(json(&["predict", "fraud", "--file", body]).await["model_version"], "2");
    assert_eq!(json(&["rollback", "fraud"]).await["route"]["cause"], "roll_back");
    assert_eq!(json(&["alias", "fraud", "old", "1"]).await["aliases"]["old"], 1);
    assert_eq!(json(&["archive", "fraud", "3"]).await["state"], "archived");
    let key = json(&["keys", "create", "ci", "--role", "predict"]).await;
    let prefix = key["key"]["prefix"].as_str().unwrap();
    assert_eq!(json(&["keys", "list"]).await["keys"].as_array().map(Vec::len), Some(2));
    assert_eq!(json(&["keys", "revoke", prefix]).await["name"], "ci");
    assert_eq!(json(&["delete", "fraud", "3", "--yes"]).await["deleted"]["version"], 3);
}

#[tokio::test]
async fn exit_codes_tell_scripts_what_went_wrong() {
    let gateway = with_two_versions().await;
    gateway.cli(&["promote", "fraud", "9"]).await.ended(1, &["version 9 of fraud was not found"]);
    gateway.cli(&["promote", "nobody", "1"]).await.ended(1, &["nobody"]);
    gateway.cli(&["promote", "fraud"]).await.ended(2, &["VERSION"]);
    gateway.cli(&["route", "fraud", "1=95", "2=6"]).await.ended(2, &["101"]);
    gateway.cli(&["configure", "fraud", "colour=red"]).await.ended(2, &["colour"]);
    gateway.cli(&["push", "fraud", "./absent.onnx"]).await.ended(1, &["absent.onnx"]);
    let nowhere = ["status", "--url", "http://127.0.0.1:1", "--key", "k"];
    gateway.cli(&nowhere).await.ended(3, &["127.0.0.1:1"]);
    gateway.cli(&["status", "--key", "wbk_wrong"]).await.ended(4, &["not valid"]);
    let folder = tempfile::tempdir().unwrap();
    let no_server = ["status", "--data-dir", folder.path().to_str().unwrap()];
    Invocation::run(no_server).await.ended(3, &["no server address"]);
}

#[tokio::test]
async fn pushes_of_one_file_at_once_are_one_version_and_all_end_well() {
    let gateway = Gateway::start().ready().await;
    let file = gateway.file("same.onnx", &tag(1.0));
    let push = ["push", "same", file.to_str().unwrap()];
    let (a, b, c) = tokio::join!(gateway.cli(&push), gateway.cli(&push), gateway.cli(&push));
    for pushed in [a, b, c] {
        pushed.ended(0, &["1 of same, ready"]);
    }
    let versions = gateway.cli(&["versions", "same", "--json"]).await.ended(0, &[]).json();
    assert_eq!(versions["versions"].as_array().map(Vec::len), Some(1));
}
