//! Golden cases, the latency budget and the signature of stable stand between a pushed version
//! and traffic.

use serde_json::{Value, json};
use weighbridge_tests::gateway::any_row;
use weighbridge_tests::onnx::{doubling, lookup, quotient, slow_doubling, sum_and_difference, tag};
use weighbridge_tests::{Gateway, Invocation, store, wait};

fn tensor(name: &str, datatype: &str, shape: &[usize], data: Value) -> Value {
    json!({"name": name, "datatype": datatype, "shape": shape, "data": data})
}

/// A row of [`doubling`] and what is expected for it.
fn doubled(row: [f32; 4], expected: [f32; 4]) -> Value {
    let (x, y) = (json!(row), json!(expected));
    let (x, y) = (tensor("x", "FP32", &[1, 4], x), tensor("y", "FP32", &[1, 4], y));
    json!({"inputs": [x], "outputs": [y]})
}

fn named(name: &str, mut case: Value) -> Value {
    case["name"] = json!(name);
    case
}

/// Three cases of [`doubling`], all right.
fn right() -> Value {
    json!({"cases": [
        doubled([1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0, 8.0]),
        named("within", doubled([0.0; 4], [0.0, 0.00005, 0.0, 0.0])),
        doubled([-1.0, 0.5, 1e6, 0.0], [-2.0, 1.0, 2e6, 0.0]),
    ]})
}

/// `push` with the command line; `file` and `cases` are written beside the data folder.
async fn push(gateway: &Gateway, onnx: &[u8], cases: &Value, more: &[&str]) -> Invocation {
    let onnx = gateway.file("pushed.onnx", onnx);
    let cases = gateway.file("cases.json", cases.to_string().as_bytes());
    let (onnx, cases) = (onnx.to_str().unwrap(), cases.to_str().unwrap());
    let args: Vec<&str> =
        ["push", "fraud", onnx, "--golden", cases].iter().chain(more).copied().collect();
    gateway.cli(&args).await
}

/// As [`push`] over HTTP; the version once its check has ended.
async fn pushed(gateway: &Gateway, onnx: &[u8], cases: &Value) -> Value {
    let cases = cases.to_string();
    let ask = gateway.versions_ask("fraud").upload_golden(&json!({}), cases.as_bytes(), onnx);
    gateway.pushed(ask).await
}

/// The reason of a version that was rejected.
#[track_caller]
fn reason(version: &Value) -> &str {
    assert_eq!(version["state"], "rejected", "{version}");
    version["reason"].as_str().expect("a reason")
}

#[tokio::test]
async fn a_version_that_passes_its_cases_says_so_and_can_take_traffic() {
    let gateway = Gateway::start().ready().await;
    let mut cases = right();
    cases["latency_budget"] = json!("30s");
    let told = ["1 of fraud, ready", "3 of 3 cases passed, the slowest takes", "budget 30.0 s"];
    push(&gateway, &doubling(), &cases, &[]).await.ended(0, &told);
    gateway.cli(&["versions", "fraud", "1"]).await.ended(0, &told);
    let shown = gateway.cli(&["versions", "fraud", "1", "--json"]).await.ended(0, &[]).json();
    let golden = &shown["report"]["golden"];
    assert_eq!((&golden["cases"], &golden["passed"]), (&json!(3), &json!(3)), "{shown}");
    assert_eq!(golden["latency_budget_us"], 30_000_000.0);
    assert!(golden["slowest_us"].as_f64().unwrap() > 0.0, "{shown}");
    let files = shown["manifest"]["files"].as_array().unwrap();
    let roles: Vec<&Value> = files.iter().map(|file| &file["role"]).collect();
    assert_eq!(roles, ["golden", "model"]);
    store::assert_holds(&gateway.data_dir(), &[gateway.model("fraud").await]);
    gateway.promote("fraud", 1).await.expect(200);
    assert_eq!(gateway.infer("fraud", &any_row()).await.expect(200).output("y")[3], 8.0);

    let again = push(&gateway, &doubling(), &cases, &[]).await;
    again.ended(0, &["this file is version 1 already"]);
    cases["absolute"] = json!(0.01);
    push(&gateway, &doubling(), &cases, &[]).await.ended(0, &["2 of fraud, ready"]);
    assert_eq!(gateway.push_ready("fraud", &doubling()).await, 3, "cases are part of a version");
}

#[tokio::test]
async fn a_version_that_fails_a_case_never_takes_traffic_and_says_which_and_by_how_much() {
    let gateway = Gateway::start().ready().await;
    let mut cases = right();
    let wrong = named("refund", doubled([1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.25, 9.0]));
    cases["cases"].as_array_mut().unwrap().insert(1, wrong);
    let told = "1 of 4 golden cases failed: case 2 \"refund\": output \"y\": element [0, 3] is 8.0, \
                expected 9.0: off by 1, 0.0091 allowed (2 of 4 elements are off)";
    for _ in 0..2 {
        let failed = push(&gateway, &doubling(), &cases, &[]).await;
        failed.ended(5, &["1 of fraud, rejected", "3 of 4 cases passed", told]);
    }
    gateway.cli(&["versions", "fraud"]).await.ended(0, &[told]);
    gateway.cli(&["audit", "fraud"]).await.ended(0, &["version.rejected"]);
    gateway.promote("fraud", 1).await.refused(409, &["version 1 of fraud", "\"refund\""]);
    gateway.cli(&["route", "fraud", "1=100"]).await.ended(5, &["rejected"]);
    gateway.infer("fraud/versions/1", &any_row()).await.refused(503, &["fraud"]);

    // What is wrong in the cases themselves is found too, and all of it is counted.
    let row = [1.0, 2.0, 3.0, 4.0];
    let misfit = json!({
        "inputs": [tensor("x", "FP32", &[4], json!(row))],
        "outputs": [tensor("y", "FP32", &[1, 4], json!(row))],
    });
    let unknown = json!({
        "inputs": [tensor("x", "FP32", &[1, 4], json!(row))],
        "outputs": [tensor("p", "FP32", &[1, 4], json!(row))],
    });
    let shaped = json!({
        "inputs": [tensor("x", "FP32", &[1, 4], json!(row))],
        "outputs": [tensor("y", "INT64", &[1, 4], json!([2, 4, 6, 8]))],
    });
    let mut several = vec![misfit, unknown, shaped];
    several.extend(vec![doubled(row, row); 9]);
    let version = pushed(&gateway, &doubling(), &json!({"cases": several})).await;
    let told = reason(&version);
    for fact in [
        "12 of 12 golden cases failed: case 1: input \"x\" came with shape [4], the model wants",
        "case 2: unknown output \"p\": the model gives \"y\"",
        "case 3: output \"y\": FP32 [1, 4] came, INT64 [1, 4] was expected",
        "case 4: output \"y\": element [0, 3] is 8.0, expected 4.0",
        "; and 7 more",
    ] {
        assert!(told.contains(fact), "{told} should contain {fact}");
    }
    assert_eq!(version["report"]["golden"]["passed"], 0);
    assert_eq!(version["report"]["signature"]["inputs"][0]["name"], "x", "{version}");
}

#[tokio::test]
async fn nan_is_told_from_numbers_and_a_failing_run_from_a_wrong_one() {
    let gateway = Gateway::start().ready().await;
    let divided = |b: [f32; 2], y: Value| {
        let (a, b) = (json!([0.0, 1.0]), json!(b));
        json!({
            "inputs": [tensor("a", "FP32", &[1, 2], a), tensor("b", "FP32", &[1, 2], b)],
            "outputs": [tensor("y", "FP32", &[1, 2], y)],
        })
    };
    let cases = json!({"cases": [
        divided([0.0, 1.0], json!([null, 1.0])),
        divided([0.0, 1.0], json!([0.5, 1.0])),
        divided([2.0, 1.0], json!([null, 1.0])),
        divided([1.0, 0.0], json!([0.0, 3.0])),
    ]});
    let version = pushed(&gateway, &quotient(), &cases).await;
    let wanted = "3 of 4 golden cases failed: \
        case 2: output \"y\": element [0, 0] is NaN, expected 0.5 (1 of 2 elements is off); \
        case 3: output \"y\": element [0, 0] is 0.0, expected NaN (1 of 2 elements is off); \
        case 4: output \"y\": element [0, 1] is inf, expected 3.0 (1 of 2 elements is off)";
    assert_eq!(reason(&version), wanted);

    let looked_up = |x: i64, y: f32| {
        json!({
            "inputs": [tensor("x", "INT64", &[1, 1], json!([x]))],
            "outputs": [tensor("y", "FP32", &[1, 1], json!([y]))],
        })
    };
    let cases = json!({"cases": [looked_up(1, 20.0), named("far", looked_up(7, 30.0))]});
    let version = pushed(&gateway, &lookup(), &cases).await;
    let told = reason(&version);
    assert!(told.starts_with("1 of 2 golden cases failed: case 2 \"far\": running"), "{told}");
}

#[tokio::test]
async fn a_version_over_its_latency_budget_is_rejected() {
    let gateway = Gateway::start().ready().await;
    let mut cases = right();
    cases["latency_budget"] = json!("1ns");
    let told = ["3 of 3 golden cases failed: case 1: a run takes", "the latency budget is 1ns"];
    push(&gateway, &doubling(), &cases, &[]).await.ended(5, &told);
    // A wrong answer is told as such, however long it took.
    cases["cases"][1] = doubled([1.0; 4], [0.0; 4]);
    let told = ["case 1: a run takes", "case 2: output \"y\"", "case 3: a run takes"];
    push(&gateway, &doubling(), &cases, &[]).await.ended(5, &told);
}

#[tokio::test]
async fn cases_that_cannot_be_read_leave_no_version() {
    let gateway = Gateway::start().ready().await;
    let mut odd = right();
    odd["cases"][1]["outputs"][0]["data"][2] = json!("six");
    let unreadable: [(Value, &str); 4] = [
        (odd, "case 2 \"within\": output \"y\": element 2 is \"six\", FP32 wants a number"),
        (json!({"cases": [], "colour": "red"}), "unknown field `colour`"),
        (json!({"cases": []}), "cases: 0 came, wanted from 1 to 10000"),
        (json!({"cases": vec![0; 10_001]}), "cases: 10001 came, wanted from 1 to 10000"),
    ];
    for (cases, told) in unreadable {
        let text = cases.to_string();
        let ask = gateway.versions_ask("fraud");
        let ask = ask.upload_golden(&json!({}), text.as_bytes(), &doubling());
        ask.send().await.refused(422, &["golden cases: ", told]);
        push(&gateway, &doubling(), &cases, &[]).await.ended(5, &["cases.json: ", told]);
    }
    let (info, golden, model) = (("info", &b"{}"[..]), ("golden", &b"{"[..]), doubling());
    let model = ("model", &model[..]);
    let right = right().to_string();
    let right = ("golden", right.as_bytes());
    type Parts<'a> = &'a [(&'static str, &'a [u8])];
    let uploads: [(Parts<'_>, u16, &str); 7] = [
        (&[info, golden, model], 422, "not valid JSON"),
        // Nothing that stands behind the model is ignored.
        (&[model, golden], 422, "not valid JSON"),
        (&[model, info], 400, "\"info\" came after \"model\""),
        (&[right, right, model], 400, "\"golden\" came twice"),
        (&[model, model], 400, "\"model\" came twice"),
        (&[right, info], 400, "no part \"model\""),
        (&[right, ("golden", b""), model], 400, "\"golden\" came twice"),
    ];
    for (parts, status, told) in uploads {
        let ask = gateway.versions_ask("fraud").upload_parts(parts);
        ask.send().await.refused(status, &[told]);
    }
    let empty = gateway.versions_ask("fraud").upload_parts(&[("golden", b""), model]);
    empty.send().await.refused(422, &["golden cases: ", "no bytes"]);
    let absent = gateway.cli(&["push", "fraud", "pushed.onnx", "--golden", "absent.json"]).await;
    absent.ended(1, &["absent.json"]);
    gateway.admin.get("/admin/v1/models/fraud").await.refused(404, &[]);
    let behind = gateway.versions_ask("fraud").upload_parts(&[model, right]);
    assert_eq!(gateway.pushed(behind).await["report"]["golden"]["passed"], 3);
}

#[tokio::test]
async fn a_signature_that_breaks_stables_callers_needs_a_word() {
    let gateway = Gateway::start().ready().await;
    // Nothing is stable yet: nothing to compare with.
    assert_eq!(gateway.push_ready("fraud", &doubling()).await, 1);
    assert_eq!(gateway.push_ready("fraud", &tag(1.0)).await, 2);
    gateway.promote("fraud", 1).await.expect(200);

    let change = "output \"y\": shape [-1, 1] came, stable has [-1, 4] (axis 1 is 1, not 4)";
    let file = gateway.file("other.onnx", &tag(3.0));
    let file = file.to_str().unwrap();
    let told = ["3 of fraud, rejected", "breaks callers of version 1, which is stable", change];
    let refused = gateway.cli(&["push", "fraud", file]).await.ended(5, &told);
    assert!(refused.stderr.contains("push again with --allow-incompatible"), "{refused:?}");
    gateway.promote("fraud", 3).await.refused(409, &["version 3 of fraud", change]);
    gateway.cli(&["push", "fraud", file]).await.ended(5, &told);

    let allowed = gateway.cli(&["push", "fraud", file, "--allow-incompatible"]).await;
    allowed.ended(0, &["3 of fraud, ready", "as --allow-incompatible allowed", change]);
    let version = gateway.model("fraud").await["versions"][2].clone();
    assert_eq!(version["info"]["allow_incompatible"], true, "{version}");
    gateway.promote("fraud", 3).await.expect(200);
    assert_eq!(gateway.infer("fraud", &any_row()).await.expect(200).output("y"), [3.0]);

    // Stable is another version now, and what breaks its callers is another thing.
    let pair = gateway.push("fraud", &sum_and_difference()).await;
    let told = reason(&pair);
    for fact in [
        "version 3",
        "input \"x\": did not come, stable has it as FP32 [-1, 4]",
        "input \"a\": came as FP32 [-1, 2], which every request would have to bring",
        "output \"y\": shape [-1, 2] came, stable has [-1, 1]",
    ] {
        assert!(told.contains(fact), "{told} should contain {fact}");
    }
    assert_eq!(gateway.push("fraud", &tag(4.0)).await["state"], "ready", "the same signature");

    // Both reasons are told at once.
    let mut cases = right();
    cases["cases"][2] = doubled([1.0; 4], [0.0; 4]);
    let both = pushed(&gateway, &doubling(), &cases).await;
    let told = reason(&both);
    assert!(told.starts_with("1 of 3 golden cases failed: case 3: output \"y\""), "{told}");
    assert!(told.contains("; its signature breaks callers of version 3"), "{told}");
}

/// Cases of [`slow_doubling`] that keep the check busy for a while.
fn many(count: usize) -> Value {
    let rows: Vec<f32> = (0..64).map(|i| i as f32).collect();
    let doubled: Vec<f32> = rows.iter().map(|x| 2.0 * x).collect();
    let case = json!({
        "inputs": [tensor("x", "FP32", &[16, 4], json!(rows))],
        "outputs": [tensor("y", "FP32", &[16, 4], json!(doubled))],
    });
    json!({"cases": vec![case; count]})
}

/// Uploads, kills the gateway while the cases run, starts it again and returns the version once
/// its check has ended.
async fn cut_off(gateway: &mut Gateway, info: &Value, cases: &Value, onnx: &[u8]) -> Value {
    let resumed = |gateway: &Gateway| gateway.stderr().matches("resuming the check").count();
    let before = resumed(gateway);
    let ask = gateway.versions_ask("fraud");
    let ask = ask.upload_golden(info, cases.to_string().as_bytes(), onnx);
    let operation = ask.send().await.expect(202).json()["operation"].clone();
    let path = format!("/admin/v1/operations/{}", operation["id"].as_str().unwrap());
    wait::until("the cases run", async || {
        let operation = gateway.admin.get(&path).await.expect(200).json();
        operation["progress"].as_str()?.contains("running its golden cases").then_some(())
    })
    .await;
    gateway.kill9();
    gateway.restart().await;
    let ended = wait::until("the check ends", async || {
        let operation = gateway.admin.get(&path).await.expect(200).json();
        (operation["state"] != "running").then_some(operation)
    })
    .await;
    assert_eq!(resumed(gateway), before + 1, "the kill came too late: {}", gateway.stderr());
    ended["result"].clone()
}

#[tokio::test]
async fn a_check_that_is_cut_off_comes_to_the_same_result() {
    let mut gateway = Gateway::start().model("fraud", &tag(1.0)).ready().await;
    let onnx = slow_doubling(40);
    let mut cases = many(300);
    cases["cases"][299]["outputs"][0]["data"][5] = json!(-1);
    let whole = gateway.versions_ask("whole");
    let whole = whole.upload_golden(&json!({}), cases.to_string().as_bytes(), &onnx);
    let whole = gateway.pushed(whole).await;
    let wrong = reason(&whole);
    assert!(
        wrong.starts_with("1 of 300 golden cases failed: case 300: output \"y\": element [1, 1]")
    );

    let cut = cut_off(&mut gateway, &json!({}), &cases, &onnx).await;
    let change = "output \"y\": shape [-1, 4] came, stable has [-1, 1] (axis 1 is 4, not 1)";
    let told = reason(&cut);
    assert!(told.starts_with(wrong) && told.contains(change), "{told}");

    let incompatible = cut_off(&mut gateway, &json!({}), &many(300), &onnx).await;
    let told = reason(&incompatible);
    assert!(told.starts_with("its signature breaks") && told.contains(change), "{told}");
    let allowed = json!({"allow_incompatible": true});
    let allowed = cut_off(&mut gateway, &allowed, &many(300), &onnx).await;
    assert_eq!(
        (&allowed["state"], &allowed["version"]),
        (&json!("ready"), &incompatible["version"])
    );
    assert_eq!(allowed["report"]["golden"]["passed"], 300);
}

#[tokio::test]
async fn what_is_allowed_while_the_check_runs_is_not_ignored() {
    let gateway = Gateway::start().model("fraud", &tag(1.0)).ready().await;
    let (cases, onnx) = (many(3000).to_string(), slow_doubling(40));
    let upload = async |info: Value| {
        let ask = gateway.versions_ask("fraud").upload_golden(&info, cases.as_bytes(), &onnx);
        ask.send().await
    };
    upload(json!({})).await.expect(202);
    upload(json!({})).await.expect(202);
    let late = upload(json!({"allow_incompatible": true})).await;
    late.refused(409, &["version 2 of fraud", "being checked", "allow_incompatible", "push again"]);
}

#[tokio::test]
async fn cases_that_take_too_long_are_told_by_number() {
    let start = Gateway::start().setting("engine.vet_timeout", "3s");
    let gateway = start.ready().await;
    let mut cases = many(3000);
    // Each of the cases is run again and again: it is never within this budget.
    cases["latency_budget"] = json!("1ns");
    let version = pushed(&gateway, &slow_doubling(40), &cases).await;
    let told = reason(&version);
    let limit =
        told.contains("did not end within 3s") || told.contains("used up its processor time");
    assert!(told.contains("golden cases as far as case ") && limit, "{told}");
}
