//! Rollouts of real models: the good one is promoted, the bad ones go back by themselves, and
//! no caller sees a failure.

use serde_json::{Value, json};
use weighbridge_tests::Gateway;
use weighbridge_tests::answer::Answer;
use weighbridge_tests::onnx::tag;
use weighbridge_tests::rollouts::{quick_spec, row};
use weighbridge_tests::wait;

use load_tests::onnx_file::faults;

/// Answers 10 to a row that the fault models fail on or spoil.
const BAD_ROW: [f32; 4] = [3.0, 0.0, 0.0, 0.0];

/// A gateway whose model `m` has version 1, promoted, and version 2, which takes no traffic.
async fn with_versions(stable: &[u8], canary: &[u8]) -> Gateway {
    let gateway = Gateway::start().ready().await;
    assert_eq!(gateway.push_ready("m", stable).await, 1);
    gateway.promote("m", 1).await.expect(200);
    assert_eq!(gateway.push_ready("m", canary).await, 2);
    gateway
}

/// Every answer is a success, and what the version it names would say.
fn assert_all_right(answers: Vec<Result<Answer, impl std::fmt::Debug>>, of: impl Fn(u32) -> f64) {
    assert!(answers.len() > 3, "{} answers", answers.len());
    for answer in answers {
        let answer = answer.expect("an answer").expect(200);
        assert_eq!(answer.output("y"), [of(answer.version())], "{:?}", answer.headers);
    }
}

#[tokio::test]
async fn an_equal_version_is_promoted_through_all_steps_and_can_be_undone_in_one_swap() {
    let mut other_bytes = tag(10.0);
    // Field 6 of a model is its doc string: other bytes, the same function.
    other_bytes.extend([0x32, 4, b's', b'a', b'm', b'e']);
    let gateway = with_versions(&tag(10.0), &other_bytes).await;
    let load = gateway.load("m", 300, row([1.0; 4]));
    let started = gateway.start_rollout("m", 2, &quick_spec()).await;
    assert_eq!((&started["phase"], &started["step"]), (&json!("live"), &json!(0)), "{started}");
    let rollout = gateway.rollout_ended("m").await;
    assert_all_right(load.end().await, |_| 10.0);
    assert_eq!(rollout["outcome"], "promoted", "{rollout}");

    let why = gateway.why("m").await;
    let text = why["text"].as_str().unwrap();
    assert!(text.starts_with("PROMOTED"), "{text}");
    assert_eq!(why["replayed"]["same"], true, "{}", why["replayed"]);
    let actions: Vec<&str> = why["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["rollout.started", "rollout.advanced", "rollout.promoted"]);

    // The version before is still loaded: going back needs no load.
    let model = gateway.model("m").await;
    assert_eq!(model["serving"]["1"]["state"], "loaded");
    let loads = gateway.metrics().await.sum("weighbridge_loads_total", &[]);
    let back = gateway.admin.post("/admin/v1/models/m/rollback", &json!({})).await.expect(200);
    assert_eq!(back.json()["route"]["split"], json!([{"version": 1, "weight": 10_000}]));
    assert_eq!(gateway.metrics().await.sum("weighbridge_loads_total", &[]), loads);
}

/// A canary that goes wrong on `x` is rolled back, and nobody sees a failure.
async fn goes_back(canary: &[u8], x: [f32; 4]) -> Value {
    let mut gateway = with_versions(&tag(10.0), canary).await;
    gateway.models_may_panic();
    let load = gateway.load("m", 200, row(x));
    gateway.start_rollout("m", 2, &quick_spec()).await;
    let rollout = gateway.rollout_ended("m").await;
    let answers = load.end().await;
    let rescued =
        answers.iter().flatten().filter(|a| a.header("weighbridge-rescued-from").is_some());
    let rescued = rescued.count();
    assert_all_right(answers, |_| 10.0);
    assert_eq!(rollout["outcome"], "rolled_back", "{rollout}");
    let why = gateway.why("m").await;
    let text = why["text"].as_str().unwrap();
    assert!(text.starts_with("ROLLED BACK"), "{text}");
    // The guard or the comparison of errors: whichever has its evidence first.
    assert!(text.contains("✗ decided"), "{text}");
    assert_eq!(why["replayed"]["same"], true, "{}", why["replayed"]);
    let route = gateway.model("m").await;
    assert_eq!(route["route"]["split"], json!([{"version": 1, "weight": 10_000}]));
    let counted = gateway.metrics().await.sum("weighbridge_rescued_total", &[("model", "m")]);
    assert_eq!(counted, rescued as f64);
    json!({"rescued": rescued, "text": text})
}

#[tokio::test]
async fn beside_a_canary_stable_is_loaded_a_second_time_unless_the_spec_wants_none() {
    let gateway = with_versions(&tag(10.0), &tag(20.0)).await;
    let load = gateway.load("m", 200, row([1.0; 4]));
    let loads = async || gateway.metrics().await.sum("weighbridge_loads_total", &[]);
    let (before, mut spec) = (loads().await, quick_spec_that_stays());
    gateway.start_rollout("m", 2, &spec).await;
    assert_eq!(loads().await, before + 1.0, "version 2 was loaded at push, and stable again");
    // Answer times are compared with those of as many requests of stable, errors with all.
    let seen = wait::until("answer times count", async || {
        let rollout = gateway.rollout("m").await;
        let streams = rollout["live"]["verdict"]["seen"]["streams"].as_array()?.clone();
        let of = |word: &str| streams.iter().find(|s| s["stream"] == word).cloned();
        let n = |stream: &Value, variant: &str| stream["seen"][variant]["n"].as_f64();
        let (err, rank) = (of("err")?, of("rank")?);
        (n(&rank, "canary")? >= 20.0).then(|| {
            let ratio = |of: &Value| n(of, "stable").unwrap() / n(of, "canary").unwrap();
            (ratio(&err), ratio(&rank))
        })
    })
    .await;
    // 9 and 1 are expected.
    assert!(seen.0 > 4.0 && seen.1 < 3.0, "{seen:?}");
    gateway.rollout_verb("m", "rollback").await.expect(200);
    spec["latency"]["against"] = json!("stable");
    gateway.start_rollout("m", 2, &spec).await;
    assert_eq!(loads().await, before + 1.0);
    gateway.rollout_verb("m", "rollback").await.expect(200);
    let answers = load.end().await;
    assert_all_right(answers, |version| if version == 1 { 10.0 } else { 20.0 });
}

#[tokio::test]
async fn a_version_that_fails_goes_back_and_stable_answers_for_it() {
    let seen = goes_back(&faults::fails(10.0, 1), BAD_ROW).await;
    let rescued = seen["rescued"].as_u64().unwrap();
    assert!((3..40).contains(&rescued), "{seen}");
}

#[tokio::test]
async fn a_version_whose_index_runs_out_of_range_goes_back() {
    goes_back(&faults::gather_fault(10.0, 1), BAD_ROW).await;
}

#[tokio::test]
async fn a_version_that_panics_inside_an_operator_goes_back() {
    goes_back(&faults::panics(10.0), [0.0, faults::PANICS_AT, 0.0, 0.0]).await;
}

#[tokio::test]
async fn a_version_that_divides_by_zero_goes_back() {
    goes_back(&faults::divides(10.0), BAD_ROW).await;
}

#[tokio::test]
async fn a_version_that_answers_in_another_shape_goes_back() {
    let other = faults::other_shape(10.0, faults::Declared::Hidden);
    goes_back(&other, BAD_ROW).await;
}

#[tokio::test]
async fn a_version_ten_times_slower_goes_back() {
    let gateway = with_versions(&faults::slow(10.0, 20), &faults::slow(10.0, 200)).await;
    let load = gateway.load("m", 40, row([1.0; 4]));
    // The quick spec promotes what is less than ten times slower.
    let mut spec = quick_spec();
    spec["latency"]["promote_scale"] = json!(2.0);
    gateway.start_rollout("m", 2, &spec).await;
    let rollout = gateway.rollout_ended("m").await;
    assert_all_right(load.end().await, |_| 10.0);
    assert_eq!(rollout["outcome"], "rolled_back", "{rollout}");
}

#[tokio::test]
async fn a_version_that_hangs_goes_back_and_stables_answers_go_on() {
    let gateway = with_versions(&tag(10.0), &tag(20.0)).await;
    let load = gateway.load("m", 200, row([1.0; 4]));
    wait::until("stable's answer times are known", async || {
        let metrics = gateway.metrics().await;
        (metrics.sum("weighbridge_requests_total", &[("model", "m")]) > 100.0).then_some(())
    })
    .await;
    // Longer than it takes to give a run up that nobody waits for: the judge must not be faster.
    gateway.configure("m", &json!({"rescue_after": "300ms"})).await;
    gateway.start_rollout("m", 2, &quick_spec()).await;
    let drill = json!({"fault": "hang"});
    gateway.admin.post("/admin/v1/models/m/rollout/drill", &drill).await.expect(200);
    let rollout = gateway.rollout_ended("m").await;
    assert_all_right(load.end().await, |version| f64::from(version) * 10.0);
    assert_eq!(rollout["outcome"], "rolled_back", "{rollout}");
    let lost =
        gateway.metrics().await.sum("weighbridge_runs_written_off_total", &[("version", "2")]);
    assert!(lost >= 1.0, "a run hung and was given up");
    // Stable answers as ever, also after the drill has ended.
    let answer = gateway.infer("m", &row([1.0; 4])).await.expect(200);
    assert_eq!(answer.version(), 1);
}

#[tokio::test]
async fn an_outage_of_both_versions_holds_and_rolls_nothing_back() {
    // Both fail on the same rows, as when something they share is down.
    let (one, two) = (faults::fails(10.0, 1), faults::fails(20.0, 1));
    let gateway = with_versions(&one, &two).await;
    let well = gateway.load("m", 200, row([0.0; 4]));
    gateway.start_rollout("m", 2, &quick_spec_that_stays()).await;
    gateway.rollout_until("m", |r| r["live"]["canary_requests"].as_u64() >= Some(10)).await;
    let outage = gateway.load("m", 200, row(BAD_ROW));
    let held = gateway
        .rollout_until("m", |r| r["phase"] == "ended" || r["live"]["verdict"]["decision"] == "hold")
        .await;
    assert_eq!(held["live"]["verdict"]["because"]["hold"], "common_cause", "{held}");
    outage.end().await;
    assert_eq!(gateway.rollout("m").await["phase"], "live");
    drop(well);
}

/// As [`quick_spec`], but it never advances.
fn quick_spec_that_stays() -> Value {
    let mut spec = quick_spec();
    spec["step_min"] = json!("9m");
    spec
}

#[tokio::test]
async fn people_move_a_rollout_and_what_is_not_possible_is_refused_with_the_reason() {
    let gateway = with_versions(&tag(10.0), &tag(20.0)).await;
    gateway.rollout_verb("m", "pause").await.refused(409, &["no active rollout"]);
    gateway.start_rollout("m", 2, &quick_spec_that_stays()).await;
    gateway.try_rollout("m", 2, &quick_spec()).await.refused(409, &["rollout"]);
    gateway.promote("m", 1).await.refused(409, &["rollout"]);
    gateway.route("m", &json!({"1": 10_000})).await.refused(409, &["rollout"]);
    let post = |path: &str| gateway.admin.ask(http::Method::POST, path);
    post("/admin/v1/models/m/rollback").send().await.refused(409, &["rollout"]);

    let paused = gateway.rollout_verb("m", "pause").await.expect(200).json();
    assert_eq!(paused["standing"], "paused");
    gateway.rollout_verb("m", "sneeze").await.refused(404, &["pause", "rollback"]);
    gateway.rollout_verb("m", "resume").await.expect(200);
    let promoted = gateway.rollout_verb("m", "promote").await.expect(200).json();
    assert_eq!(promoted["outcome"], "promoted");
    assert_eq!(gateway.infer("m", &row([1.0; 4])).await.expect(200).version(), 2);

    // Back to 1 by a second rollout, which somebody ends by hand.
    gateway.start_rollout("m", 1, &quick_spec_that_stays()).await;
    let reason = json!({"reason": "it smells"});
    let path = "/admin/v1/models/m/rollout/rollback";
    let back = gateway.admin.post(path, &reason).await.expect(200).json();
    assert_eq!((&back["outcome"], &back["reason"]), (&json!("rolled_back"), &json!("it smells")));
    let model = gateway.model("m").await;
    assert_eq!(model["route"]["split"], json!([{"version": 2, "weight": 10_000}]));

    // A third one is ended by a promotion.
    gateway.start_rollout("m", 1, &quick_spec_that_stays()).await;
    let body = json!({"version": 1, "end_rollout": true});
    gateway.admin.post("/admin/v1/models/m/promote", &body).await.expect(200);
    assert_eq!(gateway.rollout("m").await["outcome"], "ended");
    let actors: Vec<Value> = gateway.history().await.iter().map(|e| e["actor"].clone()).collect();
    assert!(actors.iter().all(|a| a.as_str().is_some_and(|a| !a.is_empty())));
}

#[tokio::test]
async fn an_approval_is_waited_for_and_a_freeze_keeps_everything_in_place() {
    let gateway = with_versions(&tag(10.0), &tag(10.5)).await;
    let load = gateway.load("m", 300, row([1.0; 4]));
    let mut spec = quick_spec();
    spec["approve"] = json!([100]);
    let freeze = json!({"frozen": true, "reason": "the big sale"});
    gateway.admin.put("/admin/v1/rollouts/freeze", &freeze).await.expect(200);
    gateway.start_rollout("m", 2, &spec).await;
    let proved = gateway
        .rollout_until("m", |r| {
            let streams = r["live"]["verdict"]["seen"]["streams"].as_array();
            streams.is_some_and(|s| {
                s.iter().all(|s| s["log_v"].as_f64() >= s["log_v_required"].as_f64())
            })
        })
        .await;
    assert_eq!((&proved["step"], &proved["standing"]), (&json!(0), &json!("running")), "frozen");
    gateway.admin.put("/admin/v1/rollouts/freeze", &json!({"frozen": false})).await.expect(200);
    let waits = gateway.rollout_until("m", |r| r["standing"] == "waits_for_approval").await;
    assert_eq!(waits["step"], 1, "{waits}");
    gateway.rollout_verb("m", "approve").await.expect(200);
    assert_eq!(gateway.rollout_ended("m").await["outcome"], "promoted");
    assert_all_right(load.end().await, |version| if version == 1 { 10.0 } else { 10.5 });
}

#[tokio::test]
async fn a_killed_gateway_takes_the_same_rollout_up_and_decides_once() {
    let mut gateway = with_versions(&tag(10.0), &faults::fails(10.0, 1)).await;
    let load = gateway.load("m", 100, row([0.0; 4]));
    let started = gateway.start_rollout("m", 2, &quick_spec_that_stays()).await;
    let counted = |r: &Value| r["live"]["canary_requests"].as_u64().unwrap_or(0);
    let before = gateway.rollout_until("m", |r| counted(r) > 50).await;
    gateway.kill9();
    drop(load);
    gateway.restart().await;
    let after = gateway.rollout_until("m", |r| r["live"].is_object()).await;
    assert_eq!((&after["id"], &after["step"]), (&started["id"], &started["step"]));
    assert!(counted(&after) > 0 && counted(&after) <= counted(&before) + 50, "{after}");
    // Evidence from before the crash and a fault after it.
    let load = gateway.load("m", 100, row(BAD_ROW));
    assert_eq!(gateway.rollout_ended("m").await["outcome"], "rolled_back");
    assert_all_right(load.end().await, |_| 10.0);
    gateway.kill9();
    gateway.restart().await;
    let why = gateway.why("m").await;
    let decisions = why["decisions"].as_array().unwrap();
    assert_eq!(decisions.len(), 2, "started, rolled back: {decisions:?}");
    assert_eq!(gateway.model("m").await["route"]["split"][0]["version"], 1);
}

#[tokio::test]
async fn bad_specs_are_refused_with_field_and_reason() {
    let gateway = with_versions(&tag(10.0), &tag(20.0)).await;
    for (spec, facts) in [
        (json!({"steps": [50, 120]}), ["steps[1]", "percent"]),
        (json!({"steps": [50, 25]}), ["steps[1]", "larger"]),
        (json!({"colour": "red"}), ["colour", "no such field"]),
        (json!({"err": {"margin": 1}}), ["err.margin", "no such field"]),
        (json!({"unit": "key"}), ["unit", "sticky"]),
        (json!({"webhooks": [{"url": "gopher://x/"}]}), ["webhooks[0].url", "https://"]),
    ] {
        gateway.try_rollout("m", 2, &spec).await.refused(422, &facts);
    }
    gateway.try_rollout("m", 9, &json!({})).await.refused(404, &["version 9"]);
    gateway.try_rollout("m", 1, &json!({})).await.refused(409, &["1"]);
    gateway.try_rollout("nobody", 1, &json!({})).await.refused(404, &["nobody"]);
    let drill = json!({"fault": "errors"});
    let path = "/admin/v1/models/m/rollout/drill";
    gateway.admin.post(path, &drill).await.refused(409, &["canary"]);
}

#[tokio::test]
async fn a_shadow_stage_finds_other_answers_before_anybody_gets_one() {
    let gateway = with_versions(&tag(10.0), &tag(20.0)).await;
    let load = gateway.load("m", 100, row([1.0; 4]));
    let mut spec = quick_spec();
    spec["shadow"] = json!({"requests": 500, "max": "5m"});
    let started = gateway.start_rollout("m", 2, &spec).await;
    assert_eq!(started["phase"], "shadow");
    let rollout = gateway.rollout_ended("m").await;
    let answers = load.end().await;
    assert!(answers.iter().flatten().all(|a| a.version() == 1), "no caller met version 2");
    assert_all_right(answers, |_| 10.0);
    assert_eq!(rollout["outcome"], "rolled_back", "{rollout}");
    let why = gateway.why("m").await;
    assert!(why["text"].as_str().unwrap().contains("diff"), "{}", why["text"]);
    assert_eq!(why["replayed"]["same"], true, "{}", why["replayed"]);
}

#[tokio::test]
async fn a_shadow_stage_that_finds_nothing_leads_to_the_first_step() {
    let mut same = tag(10.0);
    same.extend([0x32, 1, b'x']);
    let gateway = with_versions(&tag(10.0), &same).await;
    let load = gateway.load("m", 100, row([1.0; 4]));
    let mut spec = quick_spec_that_stays();
    spec["shadow"] = json!({"requests": 50, "max": "5m"});
    gateway.start_rollout("m", 2, &spec).await;
    let live = gateway.rollout_until("m", |r| r["phase"] != "shadow").await;
    assert_eq!((&live["phase"], &live["step"]), (&json!("live"), &json!(0)), "{live}");
    assert_all_right(load.end().await, |_| 10.0);
}

#[tokio::test]
async fn the_command_line_starts_waits_explains_and_drills() {
    let gateway = with_versions(&tag(10.0), &tag(10.5)).await;
    let load = gateway.load("m", 300, row([1.0; 4]));
    let spec = gateway.file("spec.json", quick_spec().to_string().as_bytes());
    let spec = spec.to_str().unwrap();
    let wait = ["rollout", "start", "m", "--to", "2", "--spec", spec, "--wait", "--timeout", "2m"];
    let promoted = gateway.cli(&wait).await;
    assert_eq!(promoted.code, Some(0), "{promoted:?}");
    let why = gateway.cli(&["rollout", "why", "m"]).await;
    assert!(why.code == Some(0) && why.stdout.contains("PROMOTED"), "{why:?}");

    let stays = gateway.file("stays.json", quick_spec_that_stays().to_string().as_bytes());
    let stays = stays.to_str().unwrap();
    let started = gateway.cli(&["rollout", "start", "m", "--to", "1", "--spec", stays]).await;
    assert_eq!(started.code, Some(0), "{started:?}");
    let refused = gateway.cli(&["promote", "m", "1"]).await;
    assert!(refused.code == Some(5) && refused.stderr.contains("--end-rollout"), "{refused:?}");
    let drill = gateway.cli(&["drill", "m", "--fault", "errors", "--timeout", "1m"]).await;
    assert!(drill.code == Some(0) && drill.stdout.contains("the fault lasted"), "{drill:?}");
    let status = gateway.cli(&["rollout", "status", "m"]).await;
    assert!(status.code == Some(0) && status.stdout.contains("rolled back"), "{status:?}");
    let chain = gateway.cli(&["audit", "--verify"]).await;
    assert!(chain.code == Some(0) && chain.stdout.contains("the chain holds"), "{chain:?}");
    let bad = gateway.file("bad.toml", b"steps = [50, 25]\ncolour = 1\n");
    let bad = ["rollout", "start", "m", "--to", "1", "--spec", bad.to_str().unwrap()];
    let bad = gateway.cli(&bad).await;
    assert!(
        bad.code == Some(2) && bad.stderr.contains("steps[1]") && bad.stderr.contains("colour")
    );
    assert_all_right(load.end().await, |version| if version == 1 { 10.0 } else { 10.5 });
}
